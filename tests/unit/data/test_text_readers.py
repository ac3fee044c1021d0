"""HistData, TrueFX, Dukascopy, Tardis and freqtrade: columns, stamps, units and damage."""

import gzip
import json
import lzma
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers import crypto, fx_ticks
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.registry import TickReader, reader_for
from grandmodel.domain.blocks import UNDEFINED_PRICE, BookSide, Schema
from grandmodel.domain.errors import GrandModelError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument

NO_OPTIONS = TickOptions()
Put = Callable[[str], Path]


def _instrument(tick: str, lot: str = "1") -> Instrument:
    return Instrument(
        id=InstrumentId("X"),
        name="X",
        tick_size=Decimal(tick),
        tick_value_micros=1,
        currency="USD",
        mic="XXXX",
        calendar="24/5",
        lot_size=Decimal(lot),
    )


def _ns(*parts: int) -> int:
    moment = datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1_000


FX = _instrument("0.00001")


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def write(text: str) -> Path:
        path = tmp_path / "ticks.txt"
        path.write_text(text)
        return path

    return write


def test_histdata_stamps_are_standard_time_in_summer_too(put: Put) -> None:
    path = put("20200701 170000065,1.121200,1.121720,0\n20200701 170010447,1.12120,1.121920,0\n")
    assert reader_for(path) is fx_ticks.read_histdata
    block = fx_ticks.read_histdata(path, FX, NO_OPTIONS).blocks["X"]
    # 17:00 at UTC-5, although New York is at UTC-4 in July.
    assert block["ts_event"].tolist() == [_ns(2020, 7, 1, 22, 0, 0, 65_000), _ns(2020, 7, 1, 22, 0, 10, 447_000)]
    assert block["bid_price"].tolist() == [112_120, 112_120]
    assert block["ask_price"].tolist() == [112_172, 112_192]


def test_truefx_reads_in_both_spellings(put: Put) -> None:
    own = put("EUR/USD,20130101 21:59:59.123,1.12120,1.12172\n")
    assert reader_for(own) is fx_ticks.read_truefx
    first = fx_ticks.read_truefx(own, FX, NO_OPTIONS)
    assert list(first.blocks) == ["EURUSD"]
    named = put("timestamp,bid,ask\n2013-01-01 21:59:59.123000+00:00,1.12120,1.12172\n")
    assert reader_for(named) is fx_ticks.read_truefx
    second = fx_ticks.read_truefx(named, FX, NO_OPTIONS)
    assert first.blocks["EURUSD"].tolist() == second.blocks["X"].tolist()
    assert second.blocks["X"]["ts_event"][0] == _ns(2013, 1, 1, 21, 59, 59, 123_000)


def test_iso_stamps_need_an_offset_or_the_option(put: Put) -> None:
    bare = put("timestamp,bid,ask\n2013-01-01 21:59:59.5,1.1,1.2\n")
    with pytest.raises(AmbiguousError, match="--time-zone"):
        fx_ticks.read_truefx(bare, FX, NO_OPTIONS)
    block = fx_ticks.read_truefx(bare, FX, TickOptions(time_zone="-05:00")).blocks["X"]
    assert block["ts_event"][0] == _ns(2013, 1, 2, 2, 59, 59, 500_000)
    mixed = put("timestamp,bid,ask\n2013-01-01 21:59:59+00:00,1.1,1.2\n2013-01-01 22:00:00,1.1,1.2\n")
    with pytest.raises(CorruptFileError, match="line 3: found a time without an offset"):
        fx_ticks.read_truefx(mixed, FX, NO_OPTIONS)


def test_dukascopy_has_ask_before_bid_and_an_offset_on_every_stamp(put: Put) -> None:
    path = put(
        "Local time,Ask,Bid,AskVolume,BidVolume\n"
        "04.09.2023 01:00:05.962 GMT+0300,4516.181,4515.664000000001,0.0006,0.0012\n"
        "29.10.2023 01:00:05.962 GMT-0330,4516.2,4515.9,0.0006,0.0012\n"
    )
    assert reader_for(path) is fx_ticks.read_dukascopy
    reading = fx_ticks.read_dukascopy(path, _instrument("0.001", "0.0001"), NO_OPTIONS)
    block = reading.blocks["X"]
    assert block["bid_price"].tolist() == [4_515_664, 4_515_900]
    assert block["ask_price"].tolist() == [4_516_181, 4_516_200]
    assert (block["bid_size"].tolist(), block["ask_size"].tolist()) == ([12, 12], [6, 6])
    assert block["ts_event"].tolist() == [_ns(2023, 9, 3, 22, 0, 5, 962_000), _ns(2023, 10, 29, 4, 30, 5, 962_000)]
    assert [(finding.kind, finding.count, finding.lines) for finding in reading.findings] == [
        ("float_noise_prices", 1, (2,))
    ]


def test_dukascopy_gmt_stamps_are_utc_and_bare_local_ones_are_unsettled(put: Put) -> None:
    row = ",AskVolume,BidVolume\n04.09.2023 01:00:05.962,2.1,2.0,1,1\n"
    gmt = fx_ticks.read_dukascopy(put("Gmt time,Ask,Bid" + row), FX, NO_OPTIONS)
    assert gmt.blocks["X"]["ts_event"][0] == _ns(2023, 9, 4, 1, 0, 5, 962_000)
    with pytest.raises(AmbiguousError, match="--time-zone"):
        fx_ticks.read_dukascopy(put("Local time,Ask,Bid" + row), FX, NO_OPTIONS)


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        (
            fx_ticks.read_histdata,
            "20200101 170000065,1.1,1.2,0\n20209901 170000065,1.1,1.2,0\n",
            "line 2: found the time",
        ),
        (fx_ticks.read_histdata, "20200101 170000065,1.1,1.2,0\n20200101 17000", "line 2: found no bid_price"),
        (fx_ticks.read_histdata, "20200101 170000065,1.1,x,0\n", "does not parse"),
        (fx_ticks.read_truefx, "timestamp,bid,ask\nyesterday+00:00,1.1,1.2\n", "line 2: found the time 'yesterday"),
        (
            fx_ticks.read_truefx,
            "EUR/USD,20130101 21:59:59.123,1.1,1.2\nUSD/JPY,20130101 21:59:59.123,1.1,1.2\n",
            "one in",
        ),
        (
            fx_ticks.read_dukascopy,
            "Local time,Ask,Bid,AskVolume,BidVolume\n9/4/2023,1,1,1,1\n",
            "line 2: found the time",
        ),
        (fx_ticks.read_dukascopy, "Local time,Ask\n", "expected Dukascopy's five columns"),
    ],
)
def test_damaged_text_is_refused_with_its_line(put: Put, reader: TickReader, text: str, message: str) -> None:
    with pytest.raises(CorruptFileError, match=message):
        reader(put(text), FX, NO_OPTIONS)


TARDIS_TRADES = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
TARDIS_QUOTES = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
BTC = _instrument("0.01", "0.001")


def test_tardis_trades_carry_both_stamps_and_the_aggressor(put: Put) -> None:
    path = put(
        TARDIS_TRADES + "b,BTCUSDT,1582329602111000,1582329602418379,1,buy,9682,0.132\n"
        "b,ETHUSDT,1582329602116000,1582329602418420,2,sell,9681.5,0.001\n"
        "b,BTCUSDT,1582329602116000,1582329602418420,3,unknown,9681.5,0.001\n"
    )
    assert reader_for(path) is crypto.read_tardis
    reading = crypto.read_tardis(path, BTC, NO_OPTIONS)
    assert reading.schema is Schema.TRADES
    assert {name: len(block) for name, block in reading.blocks.items()} == {"BTCUSDT": 2, "ETHUSDT": 1}
    block = reading.blocks["BTCUSDT"]
    assert (block["ts_event"][0], block["ts_init"][0]) == (1582329602111000000, 1582329602418379000)
    assert (block["price"].tolist(), block["size"].tolist()) == ([968_200, 968_150], [132, 1])
    assert block["side"].tolist() == [BookSide.BID, BookSide.NONE]
    assert reading.blocks["ETHUSDT"]["side"].tolist() == [BookSide.ASK]


def test_tardis_quotes_may_lack_a_side(put: Put) -> None:
    path = put(TARDIS_QUOTES + "b,BTCUSDT,1582329601096000,1582329603502092,0.84,9682,,\n")
    assert reader_for(path) is crypto.read_tardis
    (row,) = crypto.read_tardis(path, BTC, NO_OPTIONS).blocks["BTCUSDT"]
    assert (row["bid_price"], row["bid_size"], row["ask_price"], row["ask_size"]) == (UNDEFINED_PRICE, 0, 968_200, 840)


def test_tardis_stamps_in_another_unit_are_refused(put: Put) -> None:
    with pytest.raises(CorruptFileError, match="between 1970 and 2100"):
        crypto.read_tardis(
            put(TARDIS_TRADES + "b,X,1582329602111000000,1582329602418379000,1,buy,9682,1\n"), BTC, NO_OPTIONS
        )


def test_freqtrade_lists_read_packed_or_not(tmp_path: Path) -> None:
    rows = [
        [1570752011620, "13519807", None, "sell", 0.00141342, 23.0, 0.03250866],
        [1570752028907, "2", None, "buy", 0.1, 5.0, 1],
    ]
    path = tmp_path / "trades"
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    assert reader_for(path) is crypto.read_freqtrade
    block = crypto.read_freqtrade(path, _instrument("0.00000001"), NO_OPTIONS).blocks["X"]
    assert block["price"].tolist() == [141_342, 10_000_000]
    assert block["side"].tolist() == [BookSide.ASK, BookSide.BID]
    assert block["ts_event"].tolist() == [1570752011620000000, 1570752028907000000]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptFileError, match="cut off"):
        crypto.read_freqtrade(path, FX, NO_OPTIONS)
    path.write_text(json.dumps(rows)[:-9])
    with pytest.raises(CorruptFileError, match="is the file cut off"):
        crypto.read_freqtrade(path, FX, NO_OPTIONS)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bytes])
def test_packing_is_told_by_content(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "ticks.dat"
    path.write_bytes(pack(b"EUR/USD,20130101 21:59:59.123,1.12120,1.12172\n" * 40))
    assert reader_for(path) is fx_ticks.read_truefx
    assert len(fx_ticks.read_truefx(path, FX, NO_OPTIONS).blocks["EURUSD"]) == 40
    if pack is not bytes:
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(CorruptFileError, match="damaged or cut off"):
            fx_ticks.read_truefx(path, FX, NO_OPTIONS)


def test_files_of_bars_and_other_text_have_no_tick_reader(put: Put) -> None:
    for text in (
        "Timestamp,Open,High,Low,Close,Volume\n1,2,3,4,5,6\n",
        "",
        "hello\n",
        "[1,2]",
        "timestamp,price\n1,2\n",
    ):
        assert reader_for(put(text)) is None


pieces = st.sampled_from(
    ["20200101 170000065", "EUR/USD", "Local time", "Ask", "1.1", "-", "e9", ",", "\n", "04.09.2023 01:00:05.962", " GMT+0300",
     "timestamp,bid,ask", "2013-01-01 21:59:59", "+00:00", '"', "nan", "inf", "[[", "1582329602111000", "buy", "\x00", "9" * 30]
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    parts=st.lists(pieces, max_size=25),
    start=st.sampled_from(["", "20200101 170000065,1.1,1.2,0\n", "Gmt time,Ask,Bid,AskVolume,BidVolume\n", TARDIS_TRADES,
                           TARDIS_QUOTES, "timestamp,bid,ask\n"]),
)  # fmt: skip
def test_garbage_raises_our_errors_only(tmp_path_factory: pytest.TempPathFactory, parts: list[str], start: str) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.txt"
    path.write_text(start + "".join(parts))
    readers = (
        fx_ticks.read_histdata,
        fx_ticks.read_truefx,
        fx_ticks.read_dukascopy,
        crypto.read_tardis,
        crypto.read_freqtrade,
    )
    for reader in readers:
        try:
            reading = reader(path, FX, TickOptions(off_tick_share=1.0, off_lot_share=1.0, time_zone="UTC"))
        except GrandModelError:
            continue
        assert all(block.dtype == Schema.TRADES.dtype for block in reading.blocks.values())
