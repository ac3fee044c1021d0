"""DBN files written by Databento's own package: every schema, units, names, and damage of every kind."""

import contextlib
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import databento_dbn as dbn
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from grandmodel.cli.data import app
from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.readers.dbn import read_dbn, read_dbn_parquet, read_definitions
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.registry import reader_for
from grandmodel.data.historical.reading import Treatment
from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, BookSide, Flag, Schema, check_order
from grandmodel.domain.errors import GrandModelError, UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, load_instruments
from grandmodel.domain.time import NS_PER_MINUTE

ES = BUILT_IN[InstrumentId("ES")]
START = 1_719_792_000_000_000_000
NO_OPTIONS = TickOptions()
Write = Callable[..., Path]


def _content(
    schema: str | None, records: Sequence[Any], mappings: dict[str, Sequence[tuple[date, date, str]]]
) -> bytes:
    listed = [
        SimpleNamespace(
            raw_symbol=symbol,
            intervals=[SimpleNamespace(start_date=first, end_date=last, symbol=name) for first, last, name in spans],
        )
        for symbol, spans in mappings.items()
    ]
    metadata = dbn.Metadata(
        dataset="GLBX.MDP3",
        start=START,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema.from_str(schema) if schema else None,
        symbols=list(mappings),
        mappings=listed,
        version=3,
    )
    return metadata.encode() + b"".join(bytes(record) for record in records)


ONE_NAME = {"ESU4": [(date(2024, 7, 1), date(2024, 7, 2), "118")]}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(schema: str | None, records: Sequence[Any], mappings: Any = None, *, packed: bool = False) -> Path:
        content = _content(schema, records, ONE_NAME if mappings is None else mappings)
        if packed:
            sink = pa.BufferOutputStream()
            with pa.CompressedOutputStream(sink, "zstd") as stream:
                stream.write(content)
            content = sink.getvalue().to_pybytes()
        path = tmp_path / "data.bin"
        path.write_bytes(content)
        return path

    return make


def _mbo(action: str, side: str, price: int, **fields: Any) -> dbn.MBOMsg:
    given_fields: dict[str, Any] = {
        "publisher_id": 1,
        "instrument_id": 118,
        "ts_event": START,
        "order_id": 7,
        "size": 3,
        "ts_recv": START + 5,
        "flags": 0,
        "channel_id": 0,
        "sequence": 1,
    }
    return dbn.MBOMsg(
        action=dbn.Action.from_str(action), side=dbn.Side.from_str(side), price=price, **{**given_fields, **fields}
    )


def _trade(price: int, instrument_id: int = 118, ts: int = START, **fields: Any) -> dbn.TradeMsg:
    return dbn.TradeMsg(
        publisher_id=1,
        instrument_id=instrument_id,
        ts_event=ts,
        price=price,
        size=2,
        action=dbn.Action.TRADE,
        side=dbn.Side.ASK,
        depth=0,
        ts_recv=ts + 1,
        **fields,
    )


@pytest.mark.parametrize("packed", [False, True])
def test_mbo_rows_keep_every_field_and_prices_become_ticks(write: Write, packed: bool) -> None:
    clear = _mbo("R", "N", dbn.UNDEF_PRICE, size=0, order_id=0, flags=dbn.F_SNAPSHOT)
    path = write("mbo", [clear, _mbo("A", "B", 5_528_750_000_000, flags=dbn.F_LAST)], packed=packed)
    assert reader_for(path) is read_dbn
    reading = read_dbn(path, ES, NO_OPTIONS)
    block = reading.blocks["ESU4"]
    assert reading.schema is Schema.BOOK
    assert block["price"].tolist() == [UNDEFINED_PRICE, 22_115]
    assert block["action"].tolist() == [Action.CLEAR, Action.ADD]
    assert block["side"].tolist() == [BookSide.NONE, BookSide.BID]
    assert block["size"].tolist() == [0, 3]
    assert block["order_id"].tolist() == [0, 7]
    assert (block["ts_event"][1], block["ts_init"][1]) == (START, START + 5)
    assert block["flags"].tolist() == [Flag.SNAPSHOT, Flag.LAST]
    assert {finding.kind: finding.count for finding in reading.findings} == {"snapshot_rows": 1, "sideless_rows": 1}


def test_a_doubtful_book_is_flagged(write: Write) -> None:
    reading = read_dbn(write("mbo", [_mbo("A", "B", 10**9, flags=dbn.F_MAYBE_BAD_BOOK)]), ES, NO_OPTIONS)
    assert reading.blocks["ESU4"]["flags"].tolist() == [Flag.BAD_STRETCH]
    assert [finding.kind for finding in reading.findings] == ["doubtful_book"]


def test_rows_that_restart_the_sequence_in_one_stamp_keep_the_order_of_the_file(write: Write) -> None:
    rows = [_mbo("A", "B", 10**9, sequence=number) for number in (9, 3, 5)]
    reading = read_dbn(write("mbo", rows), ES, NO_OPTIONS)
    assert reading.blocks["ESU4"]["sequence"].tolist() == [0, 1, 2]
    check_order(reading.blocks["ESU4"])
    assert [(finding.kind, finding.lines) for finding in reading.findings] == [("sequence_restarts", (2,))]


def test_mbp_1_gives_quotes_with_the_trades_between_them(write: Write) -> None:
    level: Any = dbn.BidAskPair(bid_px=5_528_500_000_000, ask_px=dbn.UNDEF_PRICE, bid_sz=29, ask_sz=0)
    rows = [
        dbn.MBP1Msg(
            publisher_id=1,
            instrument_id=118,
            ts_event=START,
            price=5_528_750_000_000,
            size=2,
            action=action,
            side=dbn.Side.BID,
            depth=0,
            ts_recv=START + 1,
            levels=level,
        )
        for action in (dbn.Action.TRADE, dbn.Action.CANCEL)
    ]
    reading = read_dbn(write("mbp-1", rows), ES, NO_OPTIONS)
    block = reading.blocks["ESU4"]
    assert reading.schema is Schema.QUOTES
    assert block["action"].tolist() == [Action.TRADE, Action.QUOTE]
    assert block["price"].tolist() == [22_115, UNDEFINED_PRICE]
    assert block["size"].tolist() == [2, 0]
    assert block["side"].tolist() == [BookSide.BID, BookSide.NONE]
    assert block["bid_price"].tolist() == [22_114] * 2
    assert block["bid_size"].tolist() == [29] * 2
    assert block["ask_price"].tolist() == [UNDEFINED_PRICE] * 2


def test_a_bar_stamped_at_its_open_becomes_its_close(write: Write) -> None:
    bar = dbn.OHLCVMsg(
        rtype=dbn.RType.OHLCV_1M.value,
        publisher_id=1,
        instrument_id=118,
        ts_event=START,
        open=5_528_000_000_000,
        high=5_529_000_000_000,
        low=5_527_250_000_000,
        close=5_528_500_000_000,
        volume=2**40,
    )
    reading = read_dbn(write("ohlcv-1m", [bar]), ES, NO_OPTIONS)
    row = reading.blocks["ESU4"][0]
    assert reading.schema is Schema.BARS
    assert (row["ts_open"], row["ts_event"], row["ts_init"]) == (START, START + NS_PER_MINUTE, START + NS_PER_MINUTE)
    assert [int(row[name]) for name in ("open", "high", "low", "close")] == [22_112, 22_116, 22_109, 22_114]
    assert row["volume"] == 2**40


def test_symbols_are_separated_and_named_by_the_date_of_their_row(write: Write) -> None:
    day = 86_400 * 10**9
    mappings = {
        "ES.c.0": [(date(2024, 7, 1), date(2024, 7, 2), "118"), (date(2024, 7, 2), date(2024, 7, 3), "119")],
        "ES.c.1": [(date(2024, 7, 1), date(2024, 7, 2), "119")],
    }
    rows = [
        _trade(10**9, 118),
        _trade(2 * 10**9, 119),
        _trade(3 * 10**9, 119, START + day),
        _trade(4 * 10**9, 500),
        _trade(5 * 10**9, 119, START + 2 * day),
    ]
    reading = read_dbn(write("trades", rows, mappings), ES, NO_OPTIONS)
    assert {name: block["price"].tolist() for name, block in reading.blocks.items()} == {
        "ES.c.0": [4, 12],
        "ES.c.1": [8],
        "500": [16],
        "119": [20],
    }
    only = read_dbn(write("trades", rows, mappings), ES, TickOptions(symbols=("ES.c.1",)))
    assert list(only.blocks) == ["ES.c.1"]


def test_other_records_of_a_stream_are_passed_over_and_counted(write: Write) -> None:
    message = dbn.SystemMsg(ts_event=START, msg="Heartbeat")
    reading = read_dbn(write(None, [_trade(10**9), message, _trade(2 * 10**9)]), ES, NO_OPTIONS)
    assert reading.blocks["ESU4"]["price"].tolist() == [4, 8]
    assert [(finding.kind, finding.count) for finding in reading.findings] == [("side_records", 1)]


def test_a_file_without_records_is_an_empty_reading(write: Write) -> None:
    reading = read_dbn(write("trades", []), ES, NO_OPTIONS)
    assert (reading.schema, reading.blocks, reading.rows_read) == (Schema.TRADES, {}, 0)


def test_prices_off_the_tick_are_refused(write: Write) -> None:
    with pytest.raises(AmbiguousError, match="1 of 1 rows"):
        read_dbn(write("trades", [_trade(10**9 + 1)]), ES, NO_OPTIONS)


def _definition(**fields: Any) -> dbn.InstrumentDefMsg:
    given_fields: dict[str, Any] = {
        "publisher_id": 1,
        "instrument_id": 118,
        "ts_event": START,
        "ts_recv": START,
        "min_price_increment": 10_000_000,
        "display_factor": 10**9,
        "raw_symbol": "CLQ4",
        "asset": "CL",
        "security_type": "FUT",
        "instrument_class": dbn.InstrumentClass.FUTURE,
        "security_update_action": dbn.SecurityUpdateAction.ADD,
        "expiration": START + 10,
        "unit_of_measure_qty": 1_000 * 10**9,
        "currency": "USD",
        "exchange": "XNYM",
        "maturity_year": 2024,
        "maturity_month": 8,
    }
    return dbn.InstrumentDefMsg(**{**given_fields, **fields})


def test_a_definition_becomes_an_instrument(write: Write) -> None:
    path = write("definition", [_definition()])
    (found,) = read_definitions(path)
    assert found.instrument.id == "CLQ4"
    assert found.instrument.tick_size == Decimal("0.01")
    assert found.instrument.tick_value_micros == BUILT_IN[InstrumentId("CL")].tick_value_micros
    assert (found.asset, found.multiplier, found.expiration_ns) == ("CL", Decimal(1000), START + 10)
    with pytest.raises(UsageError, match="data instruments FILE"):
        read_dbn(path, ES, NO_OPTIONS)


def test_the_command_shows_definitions_as_an_instrument_file(write: Write, tmp_path: Path) -> None:
    older = _definition(min_price_increment=50_000_000)
    path = write("definition", [older, _definition()])
    result = CliRunner().invoke(app, ["instruments", str(path)])
    assert result.exit_code == 0
    listed = tmp_path / "instruments.json"
    listed.write_text(result.stdout)
    (found,) = load_instruments(listed).values()
    assert (found.id, found.tick_size, found.calendar) == ("CLQ4", Decimal("0.01"), "CMES")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_price_increment_amount": 3 * 10**9}, "a tick value of 3 by the definition's own field"),
        ({"unit_of_measure_qty": dbn.UNDEF_PRICE}, "no tick size or contract unit"),
        ({"exchange": "XEUR"}, "trading calendar is not known"),
    ],
)
def test_a_definition_that_leaves_something_open_is_refused(write: Write, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AmbiguousError, match=message):
        read_definitions(write("definition", [_definition(**fields)]))


def test_definitions_are_asked_of_definition_files_only(write: Write) -> None:
    with pytest.raises(UsageError, match="expected definitions"):
        read_definitions(write("trades", [_trade(10**9)]))


def test_a_cut_file_is_refused_wherever_it_is_cut(write: Write) -> None:
    path = write("trades", [_trade(10**9), _trade(2 * 10**9)])
    whole = path.read_bytes()
    for length in {5, 7, 100, len(whole) - 1, len(whole) - 47}:
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFileError, match=r"cut off|no DBN header"):
            read_dbn(path, ES, NO_OPTIONS)


def test_a_cut_compressed_file_is_refused(write: Write) -> None:
    path = write("trades", [_trade(10**9)] * 50, packed=True)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CorruptFileError, match="compressed content is damaged or cut off"):
        read_dbn(path, ES, NO_OPTIONS)


def test_an_unknown_version_is_refused(write: Write) -> None:
    path = write("trades", [_trade(10**9)])
    content = bytearray(path.read_bytes())
    content[3] = 9
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match="found DBN version 9"):
        read_dbn(path, ES, NO_OPTIONS)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_damaged_bytes_raise_our_errors_only(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    rows = [_mbo("A", "B", 10**9), _mbo("C", "A", 2 * 10**9)]
    seeds = [
        _content("mbo", rows, ONE_NAME),
        _content("trades", [_trade(10**9)], ONE_NAME),
        _content("definition", [_definition()], ONE_NAME),
    ]
    content = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    path = tmp_path_factory.getbasetemp() / "damaged.dbn"
    path.write_bytes(bytes(content[:end]))
    for read in (lambda: read_dbn(path, ES, TickOptions(off_tick_share=1.0)), lambda: read_definitions(path)):
        with contextlib.suppress(GrandModelError):
            read()


prices = st.integers(-(10**6), 10**6).map(lambda ticks: ticks * 250_000_000)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ACMF"), st.sampled_from("ABN"), prices, st.integers(0, 2**31 - 1), st.integers(0, 99)
        ),
        min_size=1,
        max_size=20,
    )
)
def test_records_agree_with_the_decoder_of_databento(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int, int, int]]
) -> None:
    records = [
        _mbo(action, side, price, size=size, ts_recv=START + index, order_id=size, sequence=step)
        for index, (action, side, price, size, step) in enumerate(rows)
    ]
    content = _content("mbo", records, ONE_NAME)
    path = tmp_path_factory.getbasetemp() / "sound.dbn"
    path.write_bytes(content)
    block = read_dbn(path, ES, NO_OPTIONS).blocks["ESU4"]
    decoder = dbn.DBNDecoder()
    decoder.write(content)
    theirs = [record for record in decoder.decode() if isinstance(record, dbn.MBOMsg)]
    assert [
        (
            int(row["price"]) * 250_000_000,
            row["size"],
            row["order_id"],
            row["ts_init"],
            chr(row["action"]),
            chr(row["side"]),
        )
        for row in block
    ] == [(r.price, r.size, r.order_id, r.ts_recv, str(r.action), str(r.side)) for r in theirs]


def test_an_exported_table_reads_as_the_file_does(write: Write, tmp_path: Path) -> None:
    records = [
        _mbo("A", "B", 5_528_750_000_000),
        _mbo("R", "N", dbn.UNDEF_PRICE, size=0),
        _mbo("T", "A", 5_529_000_000_000),
    ]
    direct = read_dbn(write("mbo", records), ES, NO_OPTIONS).blocks["ESU4"]
    table = tmp_path / "mbo.parquet"
    frame = pl.DataFrame(
        {
            "ts_recv": [START + 5] * 3,
            "ts_event": [START] * 3,
            "sequence": [1] * 3,
            "order_id": [7] * 3,
            "action": ["A", "R", "T"],
            "side": ["B", "N", "A"],
            "price": [5528.75, None, 5529.0],
            "size": [3, 0, 3],
            "flags": [0] * 3,
        }
    )
    frame.write_parquet(table)
    assert reader_for(table) is read_dbn_parquet
    exported = read_dbn_parquet(table, ES, TickOptions(symbol="ESU4")).blocks["ESU4"]
    assert np.array_equal(direct, exported)
    frame.with_columns(size=-pl.col("size")).write_parquet(table)
    with pytest.raises(CorruptFileError, match="size values outside"):
        read_dbn_parquet(table, ES, NO_OPTIONS)
    frame.with_columns(action=pl.lit("??")).write_parquet(table)
    with pytest.raises(CorruptFileError, match="not one letter"):
        read_dbn_parquet(table, ES, NO_OPTIONS)


def _bars(rtype: Any, step_ns: int, count: int) -> list[dbn.OHLCVMsg]:
    return [
        dbn.OHLCVMsg(
            rtype=rtype.value,
            publisher_id=1,
            instrument_id=118,
            ts_event=START + number * step_ns,
            open=5_528_000_000_000,
            high=5_529_000_000_000 - (number == 7) * 2_000_000_000,
            low=5_527_250_000_000,
            close=5_528_500_000_000,
            volume=20,
        )
        for number in range(count)
    ]


def test_bars_of_a_file_go_through_the_checks_of_bars(write: Write) -> None:
    path = write("ohlcv-1m", _bars(dbn.RType.OHLCV_1M, NS_PER_MINUTE, 60))
    blocks, report = read_file(path, ES)
    assert blocks["ESU4"]["ts_event"][0] == START + NS_PER_MINUTE
    assert len(blocks["ESU4"]) == 59
    (series,) = report.series
    assert (series.schema, series.bar_width, series.label, series.rows_read) == ("bars", "1m", "open", 60)
    assert series.count("open_stamped_bars") == 60
    assert sum(finding.count for finding in series.findings if finding.treatment is Treatment.DROPPED) == 1


def test_daily_bars_are_refused_as_their_days_are_no_sessions(write: Write) -> None:
    path = write("ohlcv-1d", _bars(dbn.RType.OHLCV_1D, 86_400 * 10**9, 3))
    with pytest.raises(UsageError, match="whole UTC days"):
        read_file(path, ES)
