"""LEAN tick zips: the carry of one-sided quotes, scales, zones, and what is refused."""

import contextlib
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.lean import read_lean_ticks
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.registry import reader_for
from grandmodel.domain.blocks import UNDEFINED_PRICE, Flag, Schema
from grandmodel.domain.errors import GrandModelError, UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument

US_EQUITY = Instrument(
    id=InstrumentId("IBM"),
    name="IBM",
    tick_size=Decimal("0.01"),
    tick_value_micros=10_000,
    currency="USD",
    mic="XNYS",
    calendar="XNYS",
    time_zone="America/New_York",
)
EURUSD = BUILT_IN[InstrumentId("EURUSD")]
GC = BUILT_IN[InstrumentId("GC")]
Zip = Callable[..., Path]


@pytest.fixture
def make_zip(tmp_path: Path) -> Zip:
    def make(name: str, **members: str) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            for member, text in members.items():
                archive.writestr(f"{member}.csv", text)
        return path

    return make


def test_zero_on_one_side_carries_that_side_from_the_row_before(make_zip: Zip) -> None:
    path = make_zip(
        "20131007_quote.zip",
        **{
            "20131007_ibm_Quote_Tick": "14400054,0,0,1836300,100,Q,1,0\n14400241,1800100,300,0,0,P,1,0\n"
            "14400277,0,0,1818000,3000,P,1,0\n"
        },
    )
    reading = read_lean_ticks(path, US_EQUITY, TickOptions())
    block = reading.blocks["IBM"]
    assert reading.schema is Schema.QUOTES
    assert block["bid_price"].tolist() == [UNDEFINED_PRICE, 18001, 18001]
    assert block["bid_size"].tolist() == [0, 300, 300]
    assert block["ask_price"].tolist() == [18363, 18363, 18180]
    assert block["ask_size"].tolist() == [100, 100, 3000]
    assert {finding.kind: finding.count for finding in reading.findings} == {
        "bid_unchanged_quotes": 2,
        "ask_unchanged_quotes": 1,
    }
    # 04:00:00.054 in New York, four hours behind UTC in October.
    expected = datetime(2013, 10, 7, 8, 0, 0, 54_000, tzinfo=UTC)
    assert block["ts_event"][0] == int(expected.timestamp() * 1_000) * 1_000_000


def test_a_suspicious_quote_is_flagged_and_not_carried_on(make_zip: Zip) -> None:
    path = make_zip(
        "20131007_quote.zip",
        **{
            "20131007_ibm_Quote_Tick": "1,1800000,1,0,0,Q,1,0\n2,0,0,1810000,2,Q,1,0\n3,9990000,5,0,0,Q,1,1\n"
            "4,0,0,1820000,3,Q,1,0\n"
        },
    )
    reading = read_lean_ticks(path, US_EQUITY, TickOptions())
    block = reading.blocks["IBM"]
    assert block["bid_price"].tolist() == [18000, 18000, 99900, 18000]
    assert block["flags"].tolist() == [0, 0, Flag.BAD_STRETCH, 0]
    assert "suspicious_rows" in {finding.kind for finding in reading.findings}


def test_identical_trades_stay_and_are_counted(make_zip: Zip) -> None:
    path = make_zip("20131007_trade.zip", **{"20131007_gc_tick_trade_201312": "5,1313.8,1,usa,,0\n" * 3})
    reading = read_lean_ticks(path, GC, TickOptions(time_zone="UTC"))
    assert reading.blocks["GC201312"]["price"].tolist() == [13138] * 3
    assert [(finding.kind, finding.count, finding.lines) for finding in reading.findings] == [
        ("identical_trades", 2, (2, 3))
    ]


def test_equities_alone_are_stored_times_ten_thousand(make_zip: Zip) -> None:
    equity = make_zip("a.zip", **{"20131007_ibm_Trade_Tick": "5,1815200,283,P,2000,0\n"})
    assert read_lean_ticks(equity, US_EQUITY, TickOptions()).blocks["IBM"]["price"].tolist() == [18152]
    forex = make_zip("b.zip", **{"20140505_eurusd_tick_quote": "3074,1.38756,1.38758\n"})
    block = read_lean_ticks(forex, EURUSD, TickOptions(time_zone="-05:00")).blocks["EURUSD"]
    assert (block["bid_price"].tolist(), block["ask_price"].tolist()) == ([138756], [138758])
    assert block["ts_event"][0] == int(datetime(2014, 5, 5, 5, tzinfo=UTC).timestamp()) * 10**9 + 3_074_000_000


def test_the_zone_of_midnight_is_never_guessed(make_zip: Zip) -> None:
    path = make_zip("20140505_quote.zip", **{"20140505_eurusd_tick_quote": "3074,1.38756,1.38758\n"})
    with pytest.raises(AmbiguousError, match=r"--time-zone.*-05:00 for FXCM"):
        read_lean_ticks(path, EURUSD, TickOptions())
    futures = make_zip("x.zip", **{"20131007_gc_tick_trade_201312": "5,1313.8,1,usa,,0\n"})
    with pytest.raises(AmbiguousError, match="--time-zone"):
        read_lean_ticks(futures, GC, TickOptions())


def test_the_date_comes_from_the_member_the_file_or_the_option(make_zip: Zip) -> None:
    text = "1000,1.1,1.2\n"
    undated = make_zip("quotes.zip", eurusd_tick_quote=text)
    with pytest.raises(AmbiguousError, match="--date"):
        read_lean_ticks(undated, EURUSD, TickOptions(time_zone="UTC"))
    told = read_lean_ticks(undated, EURUSD, TickOptions(time_zone="UTC", date="2014-05-05"))
    named = read_lean_ticks(
        make_zip("20140505_quote.zip", eurusd_tick_quote=text), EURUSD, TickOptions(time_zone="UTC")
    )
    assert told.blocks["EURUSD"]["ts_event"][0] == named.blocks["EURUSD"]["ts_event"][0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1.1\n", "found 2 columns"),
        ("1,1.1,x\n", "does not parse"),
        ("1,1.1,1.2\n2,1.1\n", "line 2: found no ask_price"),
        ("86400000,1.1,1.2\n", "expected 0 to 86399999"),
        ("-1,1.1,1.2\n", "expected 0 to 86399999"),
        ("1,1.1,1.2,9\n", "found 4 columns"),
    ],
)
def test_a_damaged_table_is_refused_with_its_line(make_zip: Zip, text: str, message: str) -> None:
    path = make_zip("20140505_quote.zip", **{"20140505_eurusd_tick_quote": text})
    with pytest.raises(CorruptFileError, match=message):
        read_lean_ticks(path, EURUSD, TickOptions(time_zone="UTC"))


def test_plain_prices_under_an_equity_name_are_refused(make_zip: Zip) -> None:
    path = make_zip("20131007_trade.zip", **{"20131007_ibm_Trade_Tick": "5,181.52,283,P,2000,0\n"})
    with pytest.raises(CorruptFileError, match="--price-divisor 1"):
        read_lean_ticks(path, US_EQUITY, TickOptions())
    block = read_lean_ticks(path, US_EQUITY, TickOptions(price_divisor=1)).blocks["IBM"]
    assert block["price"].tolist() == [18152]


def test_trades_and_quotes_in_one_zip_are_refused(make_zip: Zip) -> None:
    path = make_zip("x.zip", **{"20140505_eurusd_tick_quote": "1,1,1\n", "20140505_eurusd_tick_trade": "1,1,1\n"})
    with pytest.raises(UsageError, match="expected one kind"):
        read_lean_ticks(path, EURUSD, TickOptions(time_zone="UTC"))


def test_minute_bars_are_left_to_the_bar_readers(make_zip: Zip) -> None:
    bars = make_zip("20131006_es_minute_trade.zip", **{"20131006_es_minute_trade_201312": "1,2,3,4,5,6\n"})
    ticks = make_zip("20131007_trade.zip", **{"20131007_gc_tick_trade_201312": "5,1313.8,1,usa,,0\n"})
    assert reader_for(bars) is None
    assert reader_for(ticks) is read_lean_ticks


def test_a_truncated_zip_is_refused(make_zip: Zip) -> None:
    path = make_zip("20140505_quote.zip", **{"20140505_eurusd_tick_quote": "1,1.1,1.2\n" * 50})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorruptFileError, match="damaged or cut off"):
        read_lean_ticks(path, EURUSD, TickOptions(time_zone="UTC"))


side = st.tuples(st.integers(1, 50), st.integers(1, 9))
quote_rows = st.lists(st.tuples(st.none() | side, st.none() | side, st.booleans()), min_size=1, max_size=30)


@settings(deadline=None, max_examples=50)
@given(rows=quote_rows)
def test_the_compiled_carry_agrees_with_a_plain_one(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[tuple[int, int] | None, tuple[int, int] | None, bool]]
) -> None:
    lines, expected = [], []
    last = {"bid": (UNDEFINED_PRICE, 0), "ask": (UNDEFINED_PRICE, 0)}
    for number, (bid, ask, suspicious) in enumerate(rows):
        parts = [(value or (0, 0)) for value in (bid, ask)]
        cells = ",".join(f"{price * 100},{size}" for price, size in parts)
        lines.append(f"{number},{cells},Q,1,{int(suspicious)}")
        expected.append((bid or last["bid"], ask or last["ask"]))
        if not suspicious:
            last = {"bid": bid or last["bid"], "ask": ask or last["ask"]}
    path = tmp_path_factory.mktemp("lean") / "20131007_quote.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("20131007_ibm_Quote_Tick.csv", "\n".join(lines))
    block = read_lean_ticks(path, US_EQUITY, TickOptions()).blocks["IBM"]
    found = [
        ((int(row["bid_price"]), int(row["bid_size"])), (int(row["ask_price"]), int(row["ask_size"]))) for row in block
    ]
    assert found == expected


@settings(deadline=None, max_examples=100)
@given(text=st.binary(max_size=200) | st.text("0123456789,.-e\nQ", max_size=200))
def test_no_content_of_a_member_breaks_out(tmp_path_factory: pytest.TempPathFactory, text: bytes | str) -> None:
    path = tmp_path_factory.mktemp("lean") / "20131007_quote.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("20131007_ibm_Quote_Tick.csv", text)
    try:
        reading = read_lean_ticks(path, US_EQUITY, TickOptions())
    except GrandModelError:
        return
    assert all(block.dtype == Schema.QUOTES.dtype for block in reading.blocks.values())
    assert np.all(reading.blocks["IBM"]["bid_size"] >= 0)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_zip_bytes_raise_our_errors_only(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "20131007_quote.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("20131007_ibm_Quote_Tick.csv", "14400054,0,0,1836300,100,Q,1,0\n" * 9)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]))
    with contextlib.suppress(GrandModelError):
        reader_for(path)
        read_lean_ticks(path, US_EQUITY, TickOptions(off_tick_share=1.0))
