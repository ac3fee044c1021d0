"""Every shared file of ticks and of the ES order book reads, with the counts that its own description states."""

from collections import Counter
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers.dbn import read_definitions
from grandmodel.data.historical.readers.iex import iex_message_counts
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.registry import reader_for
from grandmodel.data.historical.reading import Reading
from grandmodel.data.historical.tick_quality import check_book, check_ticks
from grandmodel.domain.blocks import Action, BookSide, Flag, Schema, check_order
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.domain.time import ns_from_text
from shared_data import SHARED, shared

pytestmark = pytest.mark.shared


def _instrument(name: str, tick: str, lot: str = "1", zone: str = "") -> Instrument:
    return Instrument(
        id=InstrumentId(name),
        name=name,
        tick_size=Decimal(tick),
        tick_value_micros=100,
        currency="USD",
        mic="XXXX",
        calendar="24/7",
        lot_size=Decimal(lot),
        time_zone=zone,
    )


EQUITY = _instrument("EQUITY", "0.01", zone="America/New_York")
EURUSD = BUILT_IN[InstrumentId("EURUSD")]
GC, ES, IF = (BUILT_IN[InstrumentId(name)] for name in ("GC", "ES", "IF"))
AUDUSD = _instrument("AUDUSD", "0.00001", "1000")
BTC = _instrument("BTCUSDT", "0.01", "0.001")


def _read(relative: str, instrument: Instrument, **options: str) -> Reading:
    path = shared(relative)
    chosen = TickOptions(**options)  # type: ignore[arg-type]
    reader = reader_for(path, chosen)
    assert reader is not None
    reading = reader(path, instrument, chosen)
    for block in reading.blocks.values():
        assert block.flags.writeable
        assert block.dtype == reading.schema.dtype
    return reading


def _counts(reading: Reading) -> dict[str, int]:
    found: Counter[str] = Counter()
    for finding in reading.findings:
        found[finding.kind] += finding.count
    return dict(found)


def _quality(reading: Reading, instrument: Instrument) -> dict[str, int]:
    found: Counter[str] = Counter()
    for block in reading.blocks.values():
        checked, findings = check_book(block) if reading.schema is Schema.BOOK else check_ticks(block, instrument)
        check_order(checked)
        assert len(checked) == len(block)
        for finding in findings:
            found[finding.kind] += finding.count
    del found["unchecked_sessions"]  # no schedule was given
    return dict(found)


def test_every_file_of_the_two_folders_has_a_reader() -> None:
    folders = (shared("data/ticks"), shared("data/orderbook/databento_es"))
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(files) == 38
    assert [path.relative_to(SHARED) for path in files if reader_for(path) is None] == []


@pytest.mark.parametrize(
    ("file", "rows", "bid_unchanged", "ask_unchanged", "suspicious", "crossed"),
    [
        ("bac/20131007", 476_855, 238_428, 238_427, 0, 0),
        ("ibm/20131007", 109_067, 54_534, 54_533, 1, 89),
        ("ibm/20131008", 125_750, 62_875, 62_875, 1, 79),
        ("ibm/20131009", 135_492, 67_746, 67_746, 0, 108),
        ("ibm/20131010", 105_428, 52_714, 52_714, 1, 51),
    ],
)
def test_lean_equity_quotes(
    file: str, rows: int, bid_unchanged: int, ask_unchanged: int, suspicious: int, crossed: int
) -> None:
    reading = _read(f"data/ticks/lean_equity/{file}_quote.zip", EQUITY)
    found = _counts(reading)
    assert reading.rows_read == rows
    assert (found["bid_unchanged_quotes"], found["ask_unchanged_quotes"]) == (bid_unchanged, ask_unchanged)
    assert found.get("suspicious_rows", 0) == suspicious
    quality = _quality(reading, EQUITY)
    assert quality.get("crossed_quotes", 0) == crossed
    assert quality["one_sided_quotes"] == 1
    (block,) = reading.blocks.values()
    assert block["ts_event"][0] > ns_from_text("2013-10-07T08:00:00+00:00")
    assert int((block["flags"] == Flag.CROSSED).sum()) <= crossed


@pytest.mark.parametrize(
    ("file", "rows", "identical"),
    [
        ("bac/20131007", 88_172, 9_346),
        ("ibm/20131007", 24_293, 1_274),
        ("ibm/20131008", 33_381, 2_149),
        ("ibm/20131009", 27_042, 1_565),
        ("ibm/20131010", 22_415, 990),
        ("spy/20131007", 250_601, 47_880),
    ],
)
def test_lean_equity_trades(file: str, rows: int, identical: int) -> None:
    reading = _read(f"data/ticks/lean_equity/{file}_trade.zip", EQUITY)
    (block,) = reading.blocks.values()
    assert (reading.rows_read, len(block)) == (rows, rows)
    assert _counts(reading) == {"identical_trades": identical}


def test_lean_gold_keeps_identical_trades() -> None:
    reading = _read("data/ticks/lean_gc/20131007_trade.zip", GC, time_zone="UTC")
    december = next(finding for finding in reading.findings if "GC201312" in finding.text)
    assert (december.kind, december.count) == ("identical_trades", 7_169)
    assert (reading.rows_read, len(reading.blocks), len(reading.blocks["GC201312"])) == (40_192, 10, 39_702)
    assert _quality(reading, GC)["sizeless_trades"] == 147
    second = _read("data/ticks/lean_gc/20131008_trade.zip", GC, time_zone="UTC")
    assert (second.rows_read, len(second.blocks), len(second.blocks["GC201312"])) == (52_322, 8, 52_038)


@pytest.mark.parametrize(
    ("day", "rows", "crossed", "locked"),
    [
        (5, 58_143, 4_987, 7_109),
        (6, 102_682, 9_999, 12_154),
        (7, 89_504, 9_847, 12_823),
        (8, 167_466, 18_285, 19_051),
    ],
)
def test_fxcm_quotes_are_often_crossed_or_locked(day: int, rows: int, crossed: int, locked: int) -> None:
    reading = _read(f"data/ticks/lean_fxcm_eurusd/2014050{day}_quote.zip", EURUSD, time_zone="-05:00")
    quality = _quality(reading, EURUSD)
    assert (reading.rows_read, quality["crossed_quotes"], quality["locked_quotes"]) == (rows, crossed, locked)
    (block,) = reading.blocks.values()
    assert int(((block["flags"] & Flag.CROSSED) != 0).sum()) == crossed
    assert len(block) == rows


def test_fxcm_without_a_zone_is_refused() -> None:
    with pytest.raises(AmbiguousError, match="--time-zone"):
        _read("data/ticks/lean_fxcm_eurusd/20140505_quote.zip", EURUSD)


@pytest.mark.parametrize(("day", "rows"), [(5, 25_177), (6, 44_864)])
def test_oanda_quotes_are_never_crossed(day: int, rows: int) -> None:
    reading = _read(f"data/ticks/lean_oanda_eurusd/2014050{day}_quote.zip", EURUSD, time_zone="UTC")
    quality = _quality(reading, EURUSD)
    assert reading.rows_read == rows
    assert not {"crossed_quotes", "locked_quotes", "one_sided_quotes"} & set(quality)


def test_the_two_brokers_of_one_currency_agree_in_time() -> None:
    """FXCM at UTC-5 beside Oanda at UTC: with the right zones their mid prices move together."""
    mids = []
    for folder, zone in (("lean_fxcm_eurusd", "-05:00"), ("lean_oanda_eurusd", "UTC")):
        (block,) = _read(f"data/ticks/{folder}/20140506_quote.zip", EURUSD, time_zone=zone).blocks.values()
        mids.append((block["ts_event"], block["bid_price"] + block["ask_price"]))
    grid = np.arange(ns_from_text("2014-05-06T06:00:00+00:00"), ns_from_text("2014-05-06T20:00:00+00:00"), 60 * 10**9)
    fxcm, oanda = (levels[np.searchsorted(stamps, grid) - 1] for stamps, levels in mids)
    assert float(np.median(np.abs(fxcm - oanda))) <= 8  # half ticks, a tick being a tenth of a pip


def test_nautilus_quotes() -> None:
    reading = _read("data/ticks/nautilus/AUDUSD_quotes_20200130.parquet", AUDUSD)
    quality = _quality(reading, AUDUSD)
    assert reading.rows_read == 100_000
    assert quality.get("crossed_quotes", 0) + quality["locked_quotes"] == 3_498
    assert quality["repeated_stamps"] == 179


def test_free_fx_and_cfd_quotes() -> None:
    histdata = _read("data/ticks/histdata/EURUSD_quotes_20200101.csv", EURUSD)
    assert (histdata.rows_read, _quality(histdata, EURUSD)) == (9_500, {})
    assert histdata.blocks["EURUSD"]["ts_event"][0] == ns_from_text("2020-01-01T22:00:00.065+00:00")
    usdjpy = _instrument("USDJPY", "0.001")
    truefx = _read("data/ticks/truefx/USDJPY_quotes_20130101.csv", usdjpy)
    assert (truefx.rows_read, _quality(truefx, usdjpy)) == (1_000, {"locked_quotes": 1, "repeated_stamps": 7})
    cfd = _instrument("USA500", "0.001", "0.0001")
    dukascopy = _read("data/ticks/dukascopy/USA500IDXUSD_ticks_20230904.csv.gz", cfd)
    assert (dukascopy.rows_read, _counts(dukascopy)) == (10_235, {"float_noise_prices": 3_987})
    block = dukascopy.blocks["USA500"]
    assert block["ts_event"][0] == ns_from_text("2023-09-03T22:00:05.962+00:00")
    assert int((block["bid_price"] >= block["ask_price"]).sum()) == 0


def test_crypto_trades_and_quotes() -> None:
    for name in ("trades", "quotes"):
        reading = _read(f"data/ticks/tardis_binance_futures/BTCUSDT_{name}_20200222.csv.gz", BTC)
        block = reading.blocks["BTCUSDT"]
        assert (reading.rows_read, len(block), _counts(reading)) == (9_999, 9_999, {})
        assert (block["ts_init"] > block["ts_event"]).all()
    xrp = _instrument("XRPETH", "0.00000001")
    freqtrade = _read("data/ticks/freqtrade/XRP_ETH_trades_201910.json.gz", xrp)
    assert (freqtrade.rows_read, len(freqtrade.blocks["XRPETH"]), _counts(freqtrade)) == (12_477, 12_477, {})


@pytest.mark.parametrize(
    ("day", "snapshots", "quote_only", "after", "volume"),
    [(4, 27_955, 6_977, 2, 84_288), (5, 28_254, 5_789, 3, 88_203)],
)
def test_exchange_snapshots(day: int, snapshots: int, quote_only: int, after: int, volume: int) -> None:
    file = f"data/ticks/cffex_if/IF2101_ticks_2021010{day}.parquet"
    reading = _read(file, IF)
    block = reading.blocks["IF2101"]
    assert _counts(reading) == {
        "quote_only_snapshots": quote_only,
        "opening_auction_trades": 1,
        "snapshots_after_settlement": after,
    }
    assert len(block) == snapshots + (snapshots - quote_only)
    table = pl.read_parquet(shared(file))
    assert int(block["size"].sum()) == table["total_volume"][-1] == volume
    trades = block[block["action"] == Action.TRADE]
    assert trades["size"].tolist() == table.filter(pl.col("volume") > 0)["volume"].to_list()
    assert "crossed_quotes" not in _quality(reading, IF)


def test_iex_tops() -> None:
    us = _instrument("US", "0.0001")
    file = "data/ticks/iex/TOPS16.pcapng.gz"
    counts = iex_message_counts(shared(file))
    assert (counts["packets"], counts["Q"], counts["T"]) == (13_022, 27_217, 6_390)
    reading = _read(file, us)
    rows = np.concatenate(list(reading.blocks.values()))
    assert Counter(chr(action) for action in rows["action"].tolist()) == {"Q": 27_217, "T": 6_390, "H": 3, "U": 1}
    assert _counts(reading) == {"trade_breaks": 3}
    assert len(reading.blocks) == 7_799
    assert "early_knowledge" not in _quality(reading, us)


def test_iex_deep() -> None:
    us = _instrument("US", "0.0001")
    file = "data/ticks/iex/DEEP10.pcap.gz"
    counts = iex_message_counts(shared(file))
    # The description counts 27,580 level updates: 12 of them, the last cut in half, lie in the truncated packet.
    assert (counts["packets"], counts["T"], counts["8"] + counts["5"]) == (121_315, 83_343, 27_580 - 12)
    reading = _read(file, us)
    assert reading.schema is Schema.BOOK
    assert _counts(reading) == {
        "truncated_packet": 1,
        "feed_restarts": 11,
        "unknown_level_removals": 8,
        "trade_breaks": 73,
    }
    rows = np.concatenate(list(reading.blocks.values()))
    assert Counter(chr(action) for action in rows["action"].tolist()) == {
        "T": 83_343, "A": 4_023, "C": 2_876, "M": 20_669, "R": 39, "H": 2, "U": 2,
    }  # fmt: skip
    assert _quality(reading, us) == {}


def test_es_order_book_day() -> None:
    folder = "data/orderbook/databento_es"
    reading = _read(f"{folder}/ESH4_mbo_20231225.dbn.zst", ES)
    block = reading.blocks["ESH4"]
    assert Counter(chr(action) for action in block["action"].tolist()) == {
        "A": 29_216, "C": 17_999, "M": 12_233, "F": 6_371, "T": 2_973,
    }  # fmt: skip
    assert int((block["side"] == BookSide.NONE).sum()) == 36
    assert _counts(reading) == {"snapshot_rows": 8_725, "sideless_rows": 36, "sequence_restarts": 1_684}
    assert "unsorted_rows" not in _quality(reading, ES)
    table = pl.read_parquet(shared(f"{folder}/ESH4_mbo_20231225.parquet"))
    assert block["ts_init"].tolist() == table["ts_recv"].to_list()
    assert block["ts_event"].tolist() == table["ts_event"].to_list()
    assert block["order_id"].tolist() == table["order_id"].to_list()
    assert block["size"].tolist() == table["size"].to_list()
    assert (block["price"] * 0.25).tolist() == table["price"].to_list()
    assert "".join(map(chr, block["action"].tolist())) == "".join(table["action"].to_list())
    exported = _read(f"{folder}/ESH4_mbo_20231225.parquet", ES, symbol="ESH4")
    assert np.array_equal(exported.blocks["ESH4"], block)


def test_es_samples() -> None:
    folder = "data/orderbook/databento_es"
    snapshot = _read(f"{folder}/ESH4_mbo_20231224_snapshot.dbn.zst", ES)
    assert (snapshot.rows_read, _counts(snapshot)["snapshot_rows"]) == (8_725, 8_725)
    two_seconds = _read(f"{folder}/ESM4_mbo_20240508_2s.dbn.zst", ES)
    assert (two_seconds.rows_read, two_seconds.blocks["ESM4"]["action"][0]) == (13_796, Action.CLEAR)
    quotes = _read(f"{folder}/ESU4_mbp1_20240701_4min.dbn.zst", ES)
    trades = _read(f"{folder}/ESU4_trades_20240701_4min.dbn.zst", ES)
    assert (quotes.rows_read, trades.rows_read) == (2_288, 120)
    printed = quotes.blocks["ESU4"][quotes.blocks["ESU4"]["action"] == Action.TRADE]
    for name in ("ts_event", "ts_init", "price", "size", "side", "sequence"):
        assert printed[name].tolist() == trades.blocks["ESU4"][name].tolist()
    _quality(quotes, ES)


def test_es_and_nq_definitions() -> None:
    folder = "data/orderbook/databento_es"
    first, second = read_definitions(shared(f"{folder}/ESU4_NQU4_definition_20240701.dbn.zst"))
    for found, known, multiplier in ((first, ES, 50), (second, BUILT_IN[InstrumentId("NQ")], 20)):
        assert found.instrument.tick_size == known.tick_size
        assert found.instrument.tick_value_micros == known.tick_value_micros
        assert found.multiplier == multiplier
        assert found.expiration_ns == ns_from_text("2024-09-20T13:30:00+00:00")
        assert found.asset == known.id
    assert len(read_definitions(shared(f"{folder}/ESM3_definition_202304.dbn.zst"))) == 2
