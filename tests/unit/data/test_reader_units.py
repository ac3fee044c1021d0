"""Prices to ticks and sizes to lots: exact arithmetic against Decimal, and every way in which a value may not fit."""

from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.units import UnitConversion
from grandmodel.data.historical.reading import Treatment
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import MAX_PRICE_TICKS, MAX_QUANTITY_LOTS, Instrument

FILE = Path("ticks.csv")
TICK_SIZES = ["0.25", "0.01", "0.1", "0.00005", "0.00001", "0.0001", "0.2", "1", "5", "0.00000001", "0.03125"]


def _instrument(tick: str = "0.01", lot: str = "1") -> Instrument:
    return Instrument(
        id=InstrumentId("X"),
        name="X",
        tick_size=Decimal(tick),
        tick_value_micros=1,
        currency="USD",
        mic="XXXX",
        calendar="24/7",
        lot_size=Decimal(lot),
    )


def _conversion(tick: str = "0.01", lot: str = "1", **options: float) -> UnitConversion:
    return UnitConversion(FILE, _instrument(tick, lot), TickOptions(**options), first_line=2)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=200)
@given(
    tick=st.sampled_from(TICK_SIZES),
    scaled=st.lists(st.integers(-(2**62), 2**63 - 1), min_size=1, max_size=20),
    decimals=st.integers(0, 9),
)
def test_scaled_prices_agree_with_decimal_arithmetic(tick: str, scaled: list[int], decimals: int) -> None:
    ticks, on_tick = _instrument(tick).ticks_from_scaled(np.array(scaled, dtype=np.int64), decimals)
    for value, found, exact in zip(scaled, ticks.tolist(), on_tick.tolist(), strict=True):
        quotient = Decimal(value).scaleb(-decimals) / Decimal(tick)
        if abs(quotient) > MAX_PRICE_TICKS:
            assert not exact
            assert found in (0, int(quotient.to_integral_value(ROUND_FLOOR)))
        else:
            assert found == int(quotient.to_integral_value(ROUND_FLOOR))
            assert exact == (quotient == quotient.to_integral_value())


@settings(deadline=None, max_examples=100)
@given(tick=st.sampled_from(TICK_SIZES), ticks=st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_decimal_text_read_as_float_gives_its_ticks_without_noise(tick: str, ticks: list[int]) -> None:
    texts = [str(Decimal(tick) * count) for count in ticks]
    conversion = _conversion(tick)
    found = conversion.prices({"price": np.array([float(text) for text in texts])})
    assert found["price"].tolist() == ticks
    assert conversion.findings == []


def test_float_noise_is_rounded_and_counted_with_its_lines() -> None:
    conversion = _conversion("0.001")
    found = conversion.prices({"price": np.array([4515.664, 4515.664000000001, 4515.847000000001])})
    assert found["price"].tolist() == [4515664, 4515664, 4515847]
    (finding,) = conversion.findings
    assert (finding.kind, finding.treatment, finding.count, finding.lines) == (
        "float_noise_prices",
        Treatment.REPAIRED,
        2,
        (3, 4),
    )


def test_prices_off_the_tick_are_refused_by_default_and_the_message_says_what_to_do() -> None:
    with pytest.raises(AmbiguousError, match=r"2 of 3 rows .* 0.01 of X \(lines 3, 4\).*--off-tick-share"):
        _conversion().prices({"price": np.array([1.00, 1.005, 1.007])})


@pytest.mark.parametrize("scaled", [False, True])
def test_allowed_off_tick_prices_never_narrow_the_spread(scaled: bool) -> None:
    conversion = _conversion(off_tick_share=1.0)
    values = np.array([1.004, 1.006, 1.000])
    columns = dict.fromkeys(("bid_price", "ask_price", "price"), values)
    if scaled:
        columns = {name: np.rint(value * 1000).astype(np.int64) for name, value in columns.items()}
    found = conversion.prices(columns, decimals=3)
    assert found["bid_price"].tolist() == [100, 100, 100]
    assert found["ask_price"].tolist() == [101, 101, 100]
    assert found["price"].tolist() == [100, 101, 100]
    assert [(finding.kind, finding.count) for finding in conversion.findings] == [("off_tick_prices", 2)]
    assert conversion.repaired is not None
    assert conversion.repaired.tolist() == [True, True, False]


def test_prices_that_are_none_drop_their_row_and_are_not_called_off_tick() -> None:
    conversion = _conversion()
    conversion.prices({"price": np.array([np.nan, np.inf, 1e300, 1.0, -np.inf])})
    assert [(finding.kind, finding.count) for finding in conversion.findings] == [("impossible_prices", 4)]
    assert conversion.impossible is not None
    assert conversion.impossible.tolist() == [True, True, True, False, True]


def test_a_scaled_price_beyond_every_market_is_impossible() -> None:
    conversion = _conversion("0.00000001")
    conversion.prices({"price": np.array([2**62, -(2**62), 100], dtype=np.int64)}, decimals=0)
    assert conversion.impossible is not None
    assert conversion.impossible.tolist() == [True, True, False]


def test_missing_prices_are_undefined_and_cost_nothing() -> None:
    conversion = _conversion()
    values = np.array([np.nan, 1.0])
    found = conversion.prices({"bid_price": values}, missing={"bid_price": np.isnan(values)})
    assert found["bid_price"].tolist() == [UNDEFINED_PRICE, 100]
    assert conversion.findings == []


def test_sizes_become_whole_lots_and_never_grow() -> None:
    conversion = _conversion(lot="0.001", off_lot_share=1.0)
    found = conversion.lots({"size": np.array([0.132, 0.0019, 0.0, 0.0009999])})
    assert found["size"].tolist() == [132, 1, 0, 0]
    assert [(finding.kind, finding.count) for finding in conversion.findings] == [("off_lot_sizes", 2)]


def test_sizes_off_the_lot_are_refused_by_default() -> None:
    with pytest.raises(AmbiguousError, match=r"1 of 2 rows .* lot 1 of X \(lines 3\).*--off-lot-share"):
        _conversion().lots({"size": np.array([2.0, 2.5])})


@settings(deadline=None, max_examples=100)
@given(
    lot=st.sampled_from(["1", "0.001", "1000", "0.0001", "100"]),
    scaled=st.lists(st.integers(0, 2**62), min_size=1, max_size=20),
    decimals=st.integers(0, 9),
)
def test_scaled_sizes_agree_with_decimal_arithmetic(lot: str, scaled: list[int], decimals: int) -> None:
    lots, whole = _instrument(lot=lot).lots_from_scaled(np.array(scaled, dtype=np.int64), decimals)
    for value, found, exact in zip(scaled, lots.tolist(), whole.tolist(), strict=True):
        quotient = Decimal(value).scaleb(-decimals) / Decimal(lot)
        if quotient <= MAX_QUANTITY_LOTS:
            assert found == int(quotient)
            assert exact == (quotient == int(quotient))
        else:
            assert not exact


def test_sizes_negative_not_a_number_or_huge_drop_their_row() -> None:
    conversion = _conversion()
    found = conversion.lots({"size": np.array([-1.0, np.nan, 1e12, 3.0])})
    assert found["size"].dtype == np.int32
    assert conversion.impossible is not None
    assert conversion.impossible.tolist() == [True, True, True, False]
    huge = _conversion()
    huge.lots({"size": np.array([2**40, -5, 7], dtype=np.int64)})
    assert huge.impossible is not None
    assert huge.impossible.tolist() == [True, True, False]
