"""Exchange snapshots, nautilus_trader tables and tables of one's own by an explicit mapping."""

import contextlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers.dbn import read_dbn_parquet
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.exchange_snapshots import read_exchange_snapshots
from grandmodel.data.historical.readers.options import TickColumns, TickOptions
from grandmodel.data.historical.readers.registry import reader_for
from grandmodel.data.historical.readers.ticks_generic import read_mapped_ticks, read_nautilus_parquet
from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, BookSide, Schema, check_order
from grandmodel.domain.errors import GrandModelError, UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument

IF = BUILT_IN[InstrumentId("IF")]
NO_OPTIONS = TickOptions()


def _fx(lot: str = "1000") -> Instrument:
    return Instrument(
        id=InstrumentId("AUDUSD"),
        name="AUD/USD",
        tick_size=Decimal("0.00001"),
        tick_value_micros=1,
        currency="USD",
        mic="XXXX",
        calendar="24/5",
        lot_size=Decimal(lot),
    )


def _snapshots(path: Path, **changes: list[Any]) -> Path:
    columns: dict[str, list[Any]] = {
        "code": ["IF2101"] * 4,
        "trading_date": [20210104] * 4,
        "action_date": [20210104] * 4,
        "action_time": [92900400, 93000400, 93000900, 153048900],
        "price": [5230.0, 5230.8, 5230.8, 5260.0],
        "settle": [0.0, 0.0, 0.0, 5278.6],
        "total_volume": [240, 311, 311, 311],
        "bid_px_1": [5230.0, 5231.4, 0.0, 5259.2],
        "bid_qty_1": [1, 2, 0, 5],
        "ask_px_1": [5230.8, 5231.6, 5231.6, 5262.0],
        "ask_qty_1": [2, 1, 4, 14],
    }
    pl.DataFrame({**columns, **changes}).write_parquet(path)
    return path


def test_a_snapshot_is_a_trade_of_the_volume_since_the_last_and_a_quote(tmp_path: Path) -> None:
    path = _snapshots(tmp_path / "if.parquet")
    assert reader_for(path) is read_exchange_snapshots
    reading = read_exchange_snapshots(path, IF, NO_OPTIONS)
    block = reading.blocks["IF2101"]
    assert bytes(block["action"].tolist()) == b"TQTQQQ"
    assert block["price"].tolist() == [26_150, UNDEFINED_PRICE, 26_154] + [UNDEFINED_PRICE] * 3
    assert block["size"].tolist() == [240, 0, 71, 0, 0, 0]
    assert block["bid_price"].tolist()[1::2] == [26_150, 26_157, 26_296]
    assert block["bid_price"][4] == UNDEFINED_PRICE
    assert block["ask_size"].tolist() == [0, 2, 0, 1, 4, 14]
    # 09:29:00.400 in Shanghai.
    assert block["ts_event"][0] == 1_609_723_740_400_000_000
    check_order(block)
    assert {finding.kind: finding.count for finding in reading.findings} == {
        "quote_only_snapshots": 2,
        "opening_auction_trades": 1,
        "snapshots_after_settlement": 1,
    }
    assert reading.rows_read == 4


def test_the_volume_starts_anew_on_each_trading_day_and_for_each_contract(tmp_path: Path) -> None:
    path = _snapshots(
        tmp_path / "if.parquet", trading_date=[20210104, 20210104, 20210105, 20210105], total_volume=[5, 7, 3, 9]
    )
    assert read_exchange_snapshots(path, IF, NO_OPTIONS).blocks["IF2101"]["size"].sum() == 7 + 9
    two = _snapshots(tmp_path / "two.parquet", code=["A", "B", "A", "B"], total_volume=[5, 100, 6, 101])
    blocks = read_exchange_snapshots(two, IF, NO_OPTIONS).blocks
    assert {name: int(block["size"].sum()) for name, block in blocks.items()} == {"A": 6, "B": 101}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_volume": [240, 100, 311, 311]}, "row 2: found the day's volume falling from 240 to 100"),
        ({"action_time": [92900400, 93061400, 93000900, 153048900]}, "row 2: .* expected YYYYMMDD and HHMMSSmmm"),
        ({"action_date": [20210104, 20211304, 20210104, 20210104]}, "row 2: found the date 20211304"),
    ],
)
def test_impossible_snapshots_are_refused(tmp_path: Path, changes: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(CorruptFileError, match=message):
        read_exchange_snapshots(_snapshots(tmp_path / "if.parquet", **changes), IF, NO_OPTIONS)


def _nautilus(path: Path, **changes: pl.Series) -> Path:
    frame = pl.DataFrame(
        {
            "bid_price": [670_670_000, 670_670_000],
            "ask_price": [670_700_000, 670_670_000],
            "bid_size": pl.Series([10**15, 10**15], dtype=pl.UInt64),
            "ask_size": pl.Series([2 * 10**15, 10**15], dtype=pl.UInt64),
            "ts_event": pl.Series([1_580_398_089_820_000_000] * 2, dtype=pl.UInt64),
            "ts_init": pl.Series([1_580_398_089_820_000_001] * 2, dtype=pl.UInt64),
        }
    )
    frame.with_columns(**changes).write_parquet(path)
    return path


def test_nautilus_fixed_point_becomes_ticks_and_lots(tmp_path: Path) -> None:
    path = _nautilus(tmp_path / "q.parquet")
    assert reader_for(path) is read_nautilus_parquet
    block = read_nautilus_parquet(path, _fx(), NO_OPTIONS).blocks["AUDUSD"]
    assert block["bid_price"].tolist() == [67_067, 67_067]
    assert block["ask_price"].tolist() == [67_070, 67_067]
    assert (block["bid_size"].tolist(), block["ask_size"].tolist()) == ([1_000, 1_000], [2_000, 1_000])
    assert (block["ts_init"] - block["ts_event"]).tolist() == [1, 1]


def test_nautilus_values_beyond_int64_are_refused(tmp_path: Path) -> None:
    path = _nautilus(tmp_path / "q.parquet", ts_init=pl.Series([1, 2**64 - 1], dtype=pl.UInt64))
    with pytest.raises(CorruptFileError, match="row 2: found ts_init 18446744073709551615"):
        read_nautilus_parquet(path, _fx(), NO_OPTIONS)


def test_nautilus_trades_name_the_aggressor_by_number(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    stamps = pl.Series([1_580_398_089_820_000_000] * 3, dtype=pl.UInt64)
    pl.DataFrame(
        {
            "price": [670_670_000] * 3,
            "size": pl.Series([10**12] * 3, dtype=pl.UInt64),
            "aggressor_side": pl.Series([0, 1, 2], dtype=pl.UInt8),
            "trade_id": ["1", "2", "3"],
            "ts_event": stamps,
            "ts_init": stamps,
        }
    ).write_parquet(path)
    assert reader_for(path) is read_nautilus_parquet
    block = read_nautilus_parquet(path, _fx(), NO_OPTIONS).blocks["AUDUSD"]
    assert block["side"].tolist() == [BookSide.NONE, BookSide.BID, BookSide.ASK]


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = _nautilus(tmp_path / "q.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    assert reader_for(path) is None
    with pytest.raises(CorruptFileError, match="Parquet footer"):
        read_nautilus_parquet(path, _fx(), NO_OPTIONS)


MIXED = TickColumns(
    ts_event="when",
    ts_init="seen",
    time_unit="ms",
    symbol="what",
    price="last",
    size="qty",
    side="who",
    bid_price="b",
    ask_price="a",
    bid_size="bq",
    ask_size="aq",
)


def test_a_table_of_ones_own_reads_by_its_mapping(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "note;what;when;seen;last;qty;who;b;a;bq;aq\n"
        "x;ES;1600000000000;1600000000001;1.00002;2000;Sell;1.00001;1.00003;1000;3000\n"
        "x;ES;1600000000002;1600000000003;;;;1.00001;;1000;\n"
        "x;NQ;1600000000004;1600000000005;2;1000;b;;;;\n"
    )
    options = TickOptions(columns=MIXED)
    assert reader_for(path) is None
    assert reader_for(path, options) is read_mapped_ticks
    reading = read_mapped_ticks(path, _fx(), options)
    assert reading.schema is Schema.QUOTES
    first, second = reading.blocks["ES"]
    assert (first["action"], first["price"], first["size"], first["side"]) == (Action.TRADE, 100_002, 2, BookSide.ASK)
    assert (first["bid_price"], first["ask_price"], first["bid_size"], first["ask_size"]) == (100_001, 100_003, 1, 3)
    assert (first["ts_event"], first["ts_init"]) == (1_600_000_000_000_000_000, 1_600_000_000_001_000_000)
    assert (second["action"], second["price"], second["ask_price"]) == (Action.QUOTE, UNDEFINED_PRICE, UNDEFINED_PRICE)
    assert reading.blocks["NQ"]["side"].tolist() == [BookSide.BID]
    assert list(read_mapped_ticks(path, _fx(), TickOptions(columns=MIXED, symbols=("NQ",))).blocks) == ["NQ"]


@pytest.mark.parametrize(
    ("unit", "text", "zone", "expected"),
    [
        ("iso", "2020-07-01T12:00:00.5Z", "", 1_593_604_800_500_000_000),
        ("iso", "2020-07-01 12:00:00+02:00", "", 1_593_597_600_000_000_000),
        ("iso", "2020-07-01 12:00:00", "America/New_York", 1_593_619_200_000_000_000),
        ("%d/%m/%Y %H:%M:%S", "01/07/2020 12:00:00", "-05:00", 1_593_622_800_000_000_000),
        ("s", "1593604800", "", 1_593_604_800_000_000_000),
    ],
)
def test_time_is_read_as_the_mapping_says(tmp_path: Path, unit: str, text: str, zone: str, expected: int) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"t,p\n{text},1.5\n")
    options = TickOptions(columns=TickColumns(ts_event="t", price="p", time_unit=unit), time_zone=zone)
    block = read_mapped_ticks(path, _fx(), options).blocks["AUDUSD"]
    assert block["ts_event"].tolist() == [expected]
    assert block["price"].tolist() == [150_000]


def test_a_parquet_table_may_hold_datetimes(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    stamps = pl.Series(["2020-07-01T12:00:00.000001"]).str.to_datetime(time_unit="us")
    pl.DataFrame({"t": stamps, "z": stamps.dt.replace_time_zone("UTC"), "p": [1.5], "q": [3]}).write_parquet(path)
    zoned = TickOptions(columns=TickColumns(ts_event="z", price="p", size="q"))
    block = read_mapped_ticks(path, _fx("1"), zoned).blocks["AUDUSD"]
    assert (block["ts_event"].tolist(), block["size"].tolist()) == ([1_593_604_800_000_001_000], [3])
    naive = TickColumns(ts_event="t", price="p")
    with pytest.raises(AmbiguousError, match="--time-zone"):
        read_mapped_ticks(path, _fx(), TickOptions(columns=naive))
    local = read_mapped_ticks(path, _fx(), TickOptions(columns=naive, time_zone="+01:00")).blocks["AUDUSD"]
    assert local["ts_event"].tolist() == [1_593_601_200_000_001_000]


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        (None, AmbiguousError, "--columns"),
        (TickColumns(ts_event="t"), UsageError, "expected a trade price, or a bid and an ask"),
        (TickColumns(ts_event="t", bid_price="p"), UsageError, "expected a trade price, or a bid and an ask"),
        (TickColumns(ts_event="t", price="t"), UsageError, "one column mapped twice"),
        (TickColumns(ts_event="t", price="x"), UsageError, "found no column x"),
        (TickColumns(ts_event="t", price="p"), AmbiguousError, "say its form"),
        (TickColumns(ts_event="t", price="p", time_unit="iso"), AmbiguousError, "--time-zone"),
        (TickColumns(ts_event="t", price="p", time_unit="ns"), CorruptFileError, "does not parse"),
        (TickColumns(ts_event="t", price="p", time_unit="%Y-%m-%d %H:%M:%S"), AmbiguousError, "--time-zone"),
        (TickColumns(ts_event="t", price="p", time_unit="%Q"), GrandModelError, "time"),
    ],
)
def test_what_a_mapping_leaves_open_is_refused(
    tmp_path: Path, columns: TickColumns | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / "own.csv"
    path.write_text("t,p\n2020-01-01 00:00:00,1.5\n")
    with pytest.raises(error, match=message):
        read_mapped_ticks(path, _fx(), TickOptions(columns=columns))


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_parquet_bytes_raise_our_errors_only(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base = tmp_path_factory.getbasetemp()
    sound = data.draw(st.sampled_from([_nautilus, _snapshots]))(base / "sound.parquet")
    content = bytearray(sound.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # Half of the damage goes to the footer, which says where everything lies.
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(len(content) // 2, len(content) - 1))
        content[place] = data.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    path = base / "damaged.parquet"
    path.write_bytes(bytes(content[:end]))
    options = TickOptions(off_tick_share=1.0, off_lot_share=1.0)
    for reader in (read_nautilus_parquet, read_exchange_snapshots, read_dbn_parquet):
        with contextlib.suppress(GrandModelError):
            reader(path, IF, options)
