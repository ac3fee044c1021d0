"""Instruments, time, blocks and sessions: conversions are exact, and what is wrong is refused."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.domain.blocks import (
    BAR,
    BOOK,
    TICK,
    UNDEFINED_PRICE,
    Schema,
    check_order,
    empty_block,
    freeze,
    schema_of,
)
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import (
    BUILT_IN,
    MAX_PRICE_TICKS,
    Instrument,
    convert_micros,
    currency_text,
    instrument_named,
    load_instruments,
)
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import ns_from_datetime, ns_from_text, text_from_ns
from strategies import NQ, START, bar_row, schedule_of, stack

ALL = sorted(BUILT_IN.values(), key=lambda one: one.id)


@given(st.sampled_from(ALL), st.integers(-MAX_PRICE_TICKS, MAX_PRICE_TICKS))
def test_ticks_to_price_and_back_is_exact(instrument, ticks):
    price = instrument.price_from_ticks(ticks)
    assert instrument.ticks_from_price(price) == instrument.ticks_from_price(str(price)) == ticks
    assert instrument.nearest_ticks(price) == ticks


@given(st.sampled_from(ALL), st.integers(-10_000_000, 10_000_000))
def test_prices_that_passed_through_float_come_back_as_their_ticks(instrument, ticks):
    prices = np.array([float(str(instrument.price_from_ticks(ticks)))])
    found, on_tick = instrument.ticks_from_prices(prices)
    assert (int(found[0]), bool(on_tick[0])) == (ticks, True)


@given(st.sampled_from(ALL), st.integers(-(2**62), 2**62), st.integers(0, 12))
def test_scaled_integers_are_divided_exactly(instrument, scaled, decimals):
    exact = Fraction(scaled, 10**decimals) / Fraction(instrument.tick_size)
    (ticks,), (on_tick,) = instrument.ticks_from_scaled(np.array([scaled]), decimals)
    floor = exact.numerator // exact.denominator
    if abs(floor) <= MAX_PRICE_TICKS:
        assert on_tick == (exact.denominator == 1)
        assert ticks == floor or not on_tick
    else:
        assert (ticks, on_tick) == (0, False)


@pytest.mark.parametrize("price", ["100.1", "nan", "Infinity", "abc", str(2**50)])
def test_a_price_off_the_tick_or_out_of_bounds_is_refused(price):
    with pytest.raises(UsageError):
        NQ.ticks_from_price(price)


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 1e30])
def test_a_price_from_a_feature_must_be_finite(price):
    with pytest.raises(UsageError):
        NQ.nearest_ticks(price)
    ticks, on_tick = NQ.ticks_from_prices(np.array([price]))
    assert (ticks[0], on_tick[0]) == (0, False)


def test_the_nearest_tick_rounds_ties_to_even():
    assert [NQ.nearest_ticks(value) for value in (0.125, 0.375, -0.125, 100.13)] == [0, 2, 0, 401]


def test_the_built_in_contracts_have_the_exchanges_tick_values():
    # Multiplier times tick size, from the contract specifications.
    multipliers = {"NQ": 20, "MNQ": 2, "ES": 50, "MES": 5, "CL": 1_000, "MCL": 100, "GC": 100, "6E": 125_000, "IF": 300}
    for name, multiplier in multipliers.items():
        one = BUILT_IN[name]
        assert one.tick_value_micros == multiplier * one.tick_size * 10**6


@pytest.mark.parametrize(
    "wrong",
    [{"tick_size": Decimal(0)}, {"lot_size": Decimal("NaN")}, {"tick_value_micros": 0}, {"tick_value_micros": 2**40}],
)
def test_an_instrument_with_impossible_units_is_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        msgspec.structs.replace(NQ, **wrong)


def test_instruments_come_from_a_file_and_mistakes_name_it(tmp_path):
    path = tmp_path / "own.json"
    entry = json.loads(msgspec.json.encode(NQ)) | {"id": "MINE"}
    path.write_text(json.dumps([entry]), encoding="utf-8")
    assert load_instruments(path)["MINE"].tick_size == NQ.tick_size
    for content, message in (
        (json.dumps([entry, entry]), "twice"),
        (json.dumps([entry | {"tik": 1}]), "tik"),
        ("[{", "not an instrument file"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(UsageError, match=message):
            load_instruments(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_instruments(tmp_path / "none.json")
    with pytest.raises(UsageError, match="expected one of: NQ"):
        instrument_named("XX")


@given(st.integers(-(2**60), 2**60), st.integers(1, 10**9))
def test_conversion_rounds_down_like_the_compiled_step(micros, rate):
    exact = Fraction(micros * rate, 10**6)
    assert convert_micros(micros, rate) == exact.numerator // exact.denominator


def test_money_for_people():
    assert currency_text(-1_234_505_000, "USD") == "-1,234.50 USD"
    assert currency_text(15_000) == "0.02"


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001  made aware in the next line
def test_time_is_exact_to_the_microsecond_and_prints_every_digit(moment):
    aware = moment.replace(tzinfo=UTC)
    ns = ns_from_datetime(aware)
    assert ns_from_text(aware.isoformat()) == ns
    assert text_from_ns(ns + 7).endswith(f"{moment.microsecond:06d}007Z")
    assert text_from_ns(ns)[:19] == moment.isoformat()[:19]


def test_a_time_without_a_zone_is_refused_and_a_date_is_midnight_utc():
    with pytest.raises(ValueError, match="zone"):
        ns_from_datetime(datetime(2024, 1, 1))  # noqa: DTZ001  the point of the test
    with pytest.raises(ValueError, match="zone"):
        ns_from_text("2024-01-01 10:00")
    assert ns_from_text("1970-01-02") == 86_400 * 10**9


def test_layouts_have_the_documented_sizes_and_schemas():
    assert (TICK.itemsize, BOOK.itemsize, BAR.itemsize) == (64, 48, 72)
    for schema in Schema:
        block = empty_block(schema, 2)
        assert schema_of(block) is (Schema.QUOTES if schema is Schema.TRADES else schema)
        for name in ("price", "bid_price", "ask_price"):
            if name in block.dtype.names:
                assert (block[name] == UNDEFINED_PRICE).all()
    with pytest.raises(UsageError, match="layout"):
        schema_of(np.zeros(1, dtype=[("a", "<i8")]))


def test_a_frozen_block_cannot_be_changed():
    block = freeze(empty_block(Schema.BARS, 1))
    with pytest.raises(ValueError, match="read-only"):
        block["open"] = 1


def test_order_is_by_time_and_then_by_sequence():
    check_order(stack([bar_row(0, 1, 1, 1, 1), bar_row(0, 1, 1, 1, 1, sequence=1), bar_row(5, 1, 1, 1, 1)]))
    with pytest.raises(UsageError, match="row 1"):
        check_order(stack([bar_row(0, 1, 1, 1, 1, sequence=1), bar_row(0, 1, 1, 1, 1)]))
    with pytest.raises(UsageError, match="row 2"):
        check_order(stack([bar_row(0, 1, 1, 1, 1), bar_row(10, 1, 1, 1, 1), bar_row(5, 1, 1, 1, 1)]))


def test_sessions_know_what_lies_inside_them():
    found = schedule_of((10, 20, 0), (20, 30, 0), (40, 50, 1))
    minutes = [9, 10, 19, 20, 29, 30, 39, 40, 49, 50]
    assert [found.index_at(START + minute * 60 * 10**9) for minute in minutes] == [-1, 0, 0, 1, 1, -1, -1, 2, 2, -1]


@pytest.mark.parametrize("rows", [[(0, 10, 0), (5, 20, 0)], [(0, 0, 0)], [(10, 20, 0), (0, 5, 0)]])
def test_sessions_that_overlap_or_are_out_of_order_are_refused(rows):
    with pytest.raises(UsageError, match="overlapping"):
        schedule_of(*rows)
    with pytest.raises(UsageError, match="lengths"):
        SessionSchedule(open_ns=np.zeros(2, np.int64), close_ns=np.ones(1, np.int64), day_ns=np.zeros(2, np.int64))


def test_built_in_instruments_have_their_kind():
    kinds = {str(one.id): one.kind.value for one in BUILT_IN.values()}
    assert {kinds[name] for name in kinds if name not in ("EURUSD", "BTCUSD")} == {"future"}
    assert (kinds["EURUSD"], kinds["BTCUSD"]) == ("fx_spot", "crypto_spot")
    assert [one.id for one in BUILT_IN.values() if one.pays_whole_price] == ["EURUSD", "BTCUSD"]


def test_an_instrument_of_before_there_were_kinds_still_loads():
    """As journals hold it: ``settlement`` and no ``kind``."""
    for name, kind, word in (
        ("NQ", "future", "futures"),
        ("EURUSD", "fx_spot", "spot"),
        ("BTCUSD", "crypto_spot", "spot"),
    ):
        fields = msgspec.to_builtins(BUILT_IN[InstrumentId(name)])
        del fields["kind"], fields["expiry"]
        fields["settlement"] = word
        loaded = msgspec.json.decode(msgspec.json.encode(fields), type=Instrument)
        assert (loaded.kind.value, loaded) == (kind, BUILT_IN[InstrumentId(name)])
    share = msgspec.structs.replace(NQ, settlement="spot", calendar="XNYS")
    assert (share.kind.value, share.settlement) == ("equity", "")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "option"}, "kind option: exercise"),
        ({"kind": "inverse_perpetual"}, "kind inverse_perpetual: a contract that pays in its own coin"),
        ({"kind": "warrant"}, "warrant"),
        ({"kind": "equity"}, r"tick_value_micros 5000000 for kind equity, expected tick_size x lot_size = 250000"),
        ({"kind": "equity", "tick_value_micros": 250_000, "expiry": "2024-09-20"}, "an expiry for kind equity"),
        ({"kind": "equity", "tick_value_micros": 250_000, "negative_prices": True}, "negative_prices"),
        ({"kind": "equity", "settlement": "futures"}, "expected one of the two"),
        ({"expiry": "20 September"}, "expected a day"),
    ],
)
def test_what_a_kind_cannot_have_is_refused_by_name(tmp_path, fields, message):
    path = tmp_path / "mine.json"
    own = msgspec.to_builtins(NQ) | fields
    path.write_bytes(msgspec.json.encode([own]))
    with pytest.raises(UsageError, match=message):
        load_instruments(path)


def test_an_instrument_file_may_be_toml(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        [[instrument]]
        id = "BTCPERP"
        name = "BTC perpetual"
        kind = "perpetual"
        tick_size = "0.1"
        lot_size = "0.001"
        tick_value_micros = 100
        currency = "USD"
        mic = "XXXX"
        calendar = "24/7"
        initial_margin_micros = 5000000
        """
    )
    (loaded,) = load_instruments(path).values()
    assert (loaded.kind.value, loaded.pays_whole_price) == ("perpetual", False)
