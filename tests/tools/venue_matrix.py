"""Measure the simulated venue on every recorded feed of the project: ``docs/benchmarks/venue.md``.

``python tests/tools/venue_matrix.py [--shared DIR] [--orders N] [--seed N] [--only NAME ...] [--out FILE]`` runs the plan of ``grandmodel venue
check`` on each and writes the tables as Markdown. Feeds that no reader of the product takes (Bitstamp's order log, raw frames of Binance) are
brought into its layouts here, in the plainest way; what that means is said beside the table.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import lzma
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.domain.blocks import Action, Block, BookSide, Flag, Schema, empty_block
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.runtime.feeds import schedules_for
from grandmodel.runtime.sequencer import sequence
from grandmodel.runtime.venue_check import DEFAULT_ORDERS, GroupResult, VenueCheckReport, check_venue
from grandmodel.simulation.models import FillRuleName

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
PAIRED_MS = 200
"""Bitstamp names both orders of a trade, in rows so far apart at most."""


@dataclass(frozen=True)
class Feed:
    """One recorded feed."""

    name: str
    title: str
    instrument: str
    load: Callable[[Path], Block]
    note: str = ""
    also_quotes: bool = False


def from_file(place: str, instrument: str, mapped: str = "") -> Callable[[Path], Block]:
    """Read by the product's own reader."""

    def load(shared: Path) -> Block:
        options = TickOptions(mapped={mapped: instrument}) if mapped else None
        blocks, _ = read_file(shared / place, BUILT_IN[InstrumentId(instrument)], options=options)
        return next(iter(blocks.values()))

    return load


def woven(quotes: Callable[[Path], Block], trades: Callable[[Path], Block]) -> Callable[[Path], Block]:
    """Two files of one market in the order of time."""
    return lambda shared: np.concatenate(list(sequence([quotes(shared), trades(shared)], 10**6)))


@dataclass
class BitstampOrder:
    side: BookSide
    price: int
    volume: int
    shown: bool = True


def bitstamp(shared: Path) -> Block:
    """The order log as order-by-order events, lots of 0.001 BTC.

    The log has no trades: two orders of both sides that shrink by the same volume within ``PAIRED_MS`` traded, and the younger one
    was the aggressor. It enters the book with what it has left after its last trade, not before, as on an exchange whose events are whole.
    """
    raw = lzma.decompress((shared / "orderbook/bitstamp_l3/orders_20150501.csv.xz").read_bytes())
    rows = list(pl.read_csv(io.BytesIO(raw)).unique(maintain_order=True).iter_rows(named=True))
    volumes: dict[int, int] = {}
    cuts: list[tuple[int, int, int, str, int]] = []  # row, ms, order, side, volume
    for k, row in enumerate(rows):
        before = volumes.get(row["id"])
        if before is not None and (row["action"] == "changed" or (row["action"] == "deleted" and row["volume"] == 0)):
            cuts.append((k, row["timestamp"], row["id"], row["direction"], before - row["volume"]))
        volumes[row["id"]] = row["volume"]
    trades: dict[int, tuple[int, int, int]] = {}  # by the later row: resting, aggressor, volume
    used: set[int] = set()
    for place, (k, ms, order, side, volume) in enumerate(cuts):
        for other in range(place - 1, -1, -1):
            k_before, ms_before, before, side_before, volume_before = cuts[other]
            if ms - ms_before > PAIRED_MS:
                break
            if k_before not in used and side_before != side and abs(volume - volume_before) <= 1 and volume > 0:
                used |= {k, k_before}
                trades[k] = (min(order, before), max(order, before), volume)
                break
    aggressor_rows: dict[int, int] = {}
    for k, (_, aggressor, _) in trades.items():
        aggressor_rows[aggressor] = max(k, aggressor_rows.get(aggressor, 0))
    return _bitstamp_block(rows, trades, used, aggressor_rows)


def _bitstamp_block(
    rows: Sequence[dict[str, Any]], trades: dict[int, tuple[int, int, int]], used: set[int], last_taken: dict[int, int]
) -> Block:
    book: dict[int, BitstampOrder] = {}
    told: list[tuple[int, Action, int, BookSide, int, int, int]] = []

    def say(ms: int, *messages: tuple[Action, int, BookSide, int, int]) -> None:
        for k, message in enumerate(messages):
            told.append((ms * 10**6, *message, int(Flag.LAST) if k == len(messages) - 1 else 0))

    for k, row in enumerate(rows):
        name, ms = row["id"], row["timestamp"]
        lots, price = row["volume"] // 100_000, round(row["price"] * 100)
        side = BookSide.BID if row["direction"] == "bid" else BookSide.ASK
        if row["action"] == "created":
            book[name] = BitstampOrder(side, price, lots, name not in last_taken)
            if book[name].shown and lots:
                say(ms, (Action.ADD, name, side, price, lots))
            continue
        if name not in book:
            continue
        if k in trades:
            resting, aggressor, volume = trades[k]
            if resting in book and aggressor in book:
                one, other = book[resting], book[aggressor]
                size = min(one.volume, max(1, round(volume / 100_000)))
                one.volume -= size
                other.volume = max(0, other.volume - size)
                change = Action.MODIFY if one.volume else Action.CANCEL
                messages = [
                    (Action.TRADE, aggressor, other.side, one.price, size),
                    (Action.FILL, resting, one.side, one.price, size),
                    (change, resting, one.side, one.price, one.volume or size),
                ]
                if last_taken[aggressor] == k:
                    other.shown = True
                    if other.volume:
                        messages.append((Action.ADD, aggressor, other.side, other.price, other.volume))
                say(ms, *messages)
            continue
        if k in used:
            continue
        one = book[name]
        if row["action"] == "changed" and lots:
            one.volume = lots
            if one.shown:
                say(ms, (Action.MODIFY, name, side, one.price, lots))
        else:
            if one.shown and one.volume:
                say(ms, (Action.CANCEL, name, side, one.price, one.volume))
            del book[name]
    block = empty_block(Schema.BOOK, len(told))
    for k, (ts, action, name, side, price, size, flags) in enumerate(told):
        block[k] = (ts, ts, name, price, size, k, 0, int(action), int(side), flags)
    return block


def binance(place: str, tick: float, lot: float) -> Callable[[Path], Block]:
    """Best quotes and trades of raw frames, in the order and with the stamps of who recorded them."""

    def load(shared: Path) -> Block:
        rows: list[tuple[int, dict[str, Any]]] = []
        with gzip.open(shared / "orderbook/binance_raw" / place, "rt") as lines:
            for line in lines:
                stamp, _, text = line.partition(" ")
                if "@bookTicker" in text or "@trade" in text:
                    rows.append((int(stamp), json.loads(text)["data"]))
        block = empty_block(Schema.QUOTES, len(rows))
        block["side"] = int(BookSide.NONE)
        for k, (ts, data) in enumerate(rows):
            row = block[k]
            row["ts_event"] = row["ts_init"] = ts
            row["sequence"] = k
            if "a" in data:
                row["action"] = int(Action.QUOTE)
                row["bid_price"], row["ask_price"] = round(float(data["b"]) / tick), round(float(data["a"]) / tick)
                row["bid_size"], row["ask_size"] = round(float(data["B"]) / lot), round(float(data["A"]) / lot)
            else:
                row["action"] = int(Action.TRADE)
                row["price"], row["size"] = round(float(data["p"]) / tick), max(1, round(float(data["q"]) / lot))
                row["side"] = int(BookSide.ASK if data["m"] else BookSide.BID)
        keep = np.concatenate(([True], np.maximum.accumulate(block["ts_init"])[:-1] <= block["ts_init"][1:]))
        return block[keep & ((block["action"] == int(Action.QUOTE)) | (block["price"] > 0))]

    return load


RAW = "raw frames, best quotes and trades as they arrived; prints come after the quote that they changed as often as before it"
FEEDS = (
    Feed(
        "es", "E-mini S&P 500, order by order, 2023-12-25 (one hour of trading)", "ES",
        from_file("orderbook/databento_es/ESH4_mbo_20231225.dbn.zst", "ES"), also_quotes=True,
    ),
    Feed(
        "bitstamp", "BTC/USD, Bitstamp, order by order, 2015-05-01, five hours", "BTCUSD", bitstamp,
        "lots of 0.001 BTC; the log has no trades, so pairs of orders that shrank alike are taken for one, the younger for the aggressor; "
        "orders from before the recording are not known",
        also_quotes=True,
    ),
    Feed(
        "es-mbp", "E-mini S&P 500, best quotes and trades, 2024-07-01, four minutes", "ES",
        from_file("orderbook/databento_es/ESU4_mbp1_20240701_4min.dbn.zst", "ES"),
    ),
    *(
        Feed(
            f"if-{day}", f"CSI 300 futures, CFFEX, snapshots twice a second, 2021-01-{day}", "IF",
            from_file(f"ticks/cffex_if/IF2101_ticks_202101{day}.parquet", "IF"),
        )
        for day in ("04", "05")
    ),
    Feed(
        "tardis", "BTCUSDT perpetual, Binance, 2020-02-22, some minutes", "BTCUSD",
        woven(
            from_file("ticks/tardis_binance_futures/BTCUSDT_quotes_20200222.csv.gz", "BTCUSD", "BTCUSDT"),
            from_file("ticks/tardis_binance_futures/BTCUSDT_trades_20200222.csv.gz", "BTCUSD", "BTCUSDT"),
        ),
    ),
    Feed(
        "spot-btc", "BTC/USDT spot, Binance, 2024-08-08, six minutes", "BTCUSD",
        binance("spot_btcusdt_20240808.jsonl.gz", 0.01, 0.00001), f"{RAW}; lots of 0.00001 BTC",
    ),
    Feed(
        "spot-eth", "ETH/USDT spot, Binance, 2024-08-08, six minutes", "BTCUSD",
        binance("spot_ethusdt_20240808.jsonl.gz", 0.01, 0.0001), f"{RAW}; lots of 0.0001 ETH",
    ),
    Feed(
        "usdm-btc", "BTCUSDT perpetual, Binance, 2024-08-08, six minutes", "BTCUSD",
        binance("usdm_btcusdt_20240808.jsonl.gz", 0.1, 0.001), f"{RAW}; lots of 0.001 BTC",
    ),
    Feed(
        "usdm-eth", "ETHUSDT perpetual, Binance, 2024-08-08, six minutes", "BTCUSD",
        binance("usdm_ethusdt_20240808.jsonl.gz", 0.01, 0.001), f"{RAW}; lots of 0.001 ETH",
    ),
)  # fmt: skip


def measured(feed: Feed, shared: Path, orders: int, seed: int) -> VenueCheckReport:
    """The report of one feed."""
    block = feed.load(shared).copy()
    block["instrument"] = 0
    instrument: Instrument = BUILT_IN[InstrumentId(feed.instrument)]
    (schedule,) = schedules_for((instrument,), int(block["ts_init"][0]), int(block["ts_init"][-1]))
    return check_venue(
        block, instrument, schedule, list(FillRuleName), source=feed.name, orders=orders, seed=seed, also_quotes=feed.also_quotes
    )  # fmt: skip


HEADS = (
    "venue sees", "rule", "order", "filled / possible", "false", "lots / possible", "false lots", "missed lots", "early s", "late s",
    "lots too good", "ticks too good", "too bad", "most",
)  # fmt: skip


def _cells(one: GroupResult, is_known: bool) -> tuple[str, ...]:
    def share(part: int, whole: int) -> str:
        return f"{part / whole:.1%}" if whole else "-"

    return (
        f"{one.filled_orders:,} / {one.oracle_orders:,} of {one.orders:,}", share(one.false_orders, one.filled_orders),
        f"{one.lots:,} / {one.oracle_lots:,}", f"{one.false_lots:,}", f"{one.missed_lots:,}" if is_known else "-", f"{one.early_s:.3f}",
        f"{one.late_s:.3f}" if is_known else "-", share(one.too_good_lots, one.shared_lots), f"{one.too_good_ticks:.3f}",
        f"{one.too_bad_ticks:.3f}" if is_known else "-", str(one.best_ticks),
    )  # fmt: skip


def tables(report: VenueCheckReport) -> list[str]:
    """One table a feed; lines that all rules share stand once."""
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    for feed in dict.fromkeys(one.feed for one in report.results):
        groups = dict.fromkeys(one.group for one in report.results if one.feed == feed)
        for group in groups:
            same: dict[tuple[str, ...], list[str]] = {}
            for one in report.results:
                if (one.feed, one.group) == (feed, group):
                    same.setdefault(_cells(one, report.names_orders), []).append(one.rule)
            for cells, rules in same.items():
                named = "all" if len(rules) == len(FillRuleName) else ", ".join(rules)
                lines.append("| " + " | ".join((feed, named, group, *cells)) + " |")
    return lines


HEAD = """# Fills of the simulated venue on recorded feeds

Made by `python tests/tools/venue_matrix.py --out docs/benchmarks/venue.md`. What is drawn, what the oracle knows and what the columns mean is said in
[how far to trust fills](../reference/venue-check.md). {orders} moments, seed {seed}; a dash is what a feed without order ids cannot tell.
"""


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description="Measure the simulated venue on recorded feeds.")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--orders", type=int, default=DEFAULT_ORDERS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=[feed.name for feed in FEEDS])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    page = [HEAD.format(orders=given.orders, seed=given.seed)]
    for feed in FEEDS:
        if given.only and feed.name not in given.only:
            continue
        began = time.perf_counter()
        report = measured(feed, given.shared, given.orders, given.seed)
        print(f"{feed.name}: {report.rows:,} rows, {time.perf_counter() - began:.1f} s", file=sys.stderr)
        notes = [note for note in (feed.note, *report.notes) if note]
        page += [f"## {feed.title}\n", f"{report.rows:,} rows, {report.events:,} exchange events."]
        page += [note[0].upper() + note[1:] + "." for note in notes]
        page += ["", *(f"- {sentence}" for sentence in report.sentences), "", *tables(report), ""]
    text = "\n".join(page)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
