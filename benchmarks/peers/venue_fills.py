"""The plan of ``grandmodel venue check`` on the ES day through other libraries, beside our venue and the oracle.

    python benchmarks/peers/venue_fills.py [--orders N] [--seed N] [--python hftbacktest=PATH] [--shown N] [--out FILE]

Each library runs in its own environment (``.venv-peer-NAME``, pins in ``benchmarks/peers/NAME.txt``; ``--python`` names another), gets the messages
and the orders as arrays, and gives back its fills. They are held against the same oracle by the same comparison as ours. ``--shown`` prints, for so many
orders a library, the messages around the first lot that differs. ``--out docs/benchmarks/venue-peers.md`` makes the page.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from grandmodel.data.historical.importing import read_file
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.orders import OrderType
from grandmodel.runtime.feeds import schedules_for
from grandmodel.runtime.venue_check import (
    DEFAULT_ORDERS,
    GroupResult,
    TrialOrder,
    VenueFill,
    VenueTrials,
    compare,
    draw_trials,
    paired_lots,
)
from grandmodel.simulation.models import FillRuleName, VenueSettings
from grandmodel.simulation.venue_oracle import OracleFill, VenueOracle

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ES_DAY = ROOT.parent / "shared/data/orderbook/databento_es/ESH4_mbo_20231225.dbn.zst"
PEERS = (
    ("hftbacktest", "l3"),
    ("hftbacktest", "l2"),
    ("nautilus_trader", "l3"),
    ("nautilus_trader", "l1"),
)
KINDS = {OrderType.LIMIT: 0, OrderType.MARKET: 1, OrderType.STOP: 2}
ORDER = np.dtype(
    [
        ("ts", "<i8"),
        ("expire", "<i8"),
        ("side", "<i8"),
        ("kind", "<i8"),
        ("price", "<i8"),
        ("trigger", "<i8"),
        ("lots", "<i8"),
    ]
)
LEVEL = np.dtype([("ts", "<i8"), ("is_trade", "<i8"), ("side", "<i8"), ("price", "<i8"), ("size", "<i8")])


def level_rows(oracle: VenueOracle) -> np.ndarray:
    """Each event as its trades and then the price levels that it changed, emptied ones first; from the first open market on."""
    orders: dict[int, tuple[int, int, int]] = {}
    levels: dict[tuple[int, int], int] = {}
    rows: list[tuple[int, ...]] = []
    names = oracle.block.dtype.names or ()
    messages = [dict(zip(names, values, strict=True)) for values in oracle.block.tolist()]
    is_open = False
    for event, (first, end) in enumerate(zip(oracle.starts[:-1], oracle.starts[1:], strict=True)):
        changed: dict[tuple[int, int], None] = {}
        for row in messages[first:end]:
            action, name = chr(row["action"]), row["order_id"]
            side = {ord("B"): 1, ord("A"): -1}.get(row["side"], 0)
            if action == "R":
                orders, levels = {}, {}
            elif action == "T" and side and is_open:
                rows.append((row["ts_init"], 1, side, row["price"], row["size"]))
            elif action == "A":
                _shift(levels, changed, side, row["price"], row["size"])
                orders[name] = (side, row["price"], row["size"])
            elif action in "CM" and name in orders:
                side, price, size = orders.pop(name)
                left = size - row["size"] if action == "C" else row["size"]
                _shift(levels, changed, side, price, -size)
                if left > 0:
                    orders[name] = (side, price if action == "C" else row["price"], left)
                    _shift(levels, changed, side, orders[name][1], left)
        if not is_open and oracle.is_open(event + 1):
            is_open = True
            changed = dict.fromkeys(levels)
        if is_open:
            ts = int(oracle.last_ts[event])
            rows += sorted(
                (ts, 0, side, price, levels[side, price]) for side, price in changed if not levels[side, price]
            )
            rows += sorted((ts, 0, side, price, levels[side, price]) for side, price in changed if levels[side, price])
    return np.array(rows, LEVEL)


def _shift(
    levels: dict[tuple[int, int], int], changed: dict[tuple[int, int], None], side: int, price: int, lots: int
) -> None:
    levels[side, price] = levels.get((side, price), 0) + lots
    changed[side, price] = None


def peer_fills(name: str, model: str, folder: Path, python: Path, count: int) -> list[list[VenueFill]]:
    """What the library fills of each order."""
    subprocess.run([python, HERE / f"fills_{name}.py", folder, model], check=True)
    found: list[list[VenueFill]] = [[] for _ in range(count)]
    for k, ts, price, lots in np.load(folder / "fills.npy").tolist():
        found[k].append(VenueFill(ts, price, lots))
    return found


def version_of(peer: str, python: Path) -> str:
    """The library's version in its environment."""
    asked = f"import importlib.metadata as m; print(m.version({peer!r}))"
    return subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout.strip()


def table_of(title: str, lines: Sequence[GroupResult]) -> list[str]:
    """One library's table as Markdown."""
    made = ["", f"## {title}", "", "| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    for one in lines:
        share = f"{one.too_good_lots / one.shared_lots:.1%}" if one.shared_lots else "-"
        cells = (
            one.group, f"{one.filled_orders:,} / {one.oracle_orders:,} of {one.orders:,}", f"{one.false_orders:,}",
            f"{one.lots:,} / {one.oracle_lots:,}", f"{one.false_lots:,}", f"{one.missed_lots:,}", f"{one.early_s:.3f}", f"{one.late_s:.3f}",
            share, f"{one.too_good_ticks:.3f}", f"{one.too_bad_ticks:.3f}", str(one.best_ticks),
        )  # fmt: skip
        made.append("| " + " | ".join(cells) + " |")
    return made


HEADS = (
    "order", "filled / possible", "false orders", "lots / possible", "false lots", "missed lots", "early s", "late s", "lots too good",
    "ticks too good", "too bad", "most",
)  # fmt: skip
PAGE_HEAD = """# Fills of other libraries beside the same oracle

Made by `python benchmarks/peers/venue_fills.py --out docs/benchmarks/venue-peers.md`, in one run: the plan of `grandmodel venue check` ({orders} moments, seed
{seed}) on the ES day of 2023-12-25, {rows:,} messages. Columns and oracle: [how far to trust fills](../reference/venue-check.md). The libraries, in environments of their
own: {versions}.

Why they differ, read from the messages around the lots that do (`--shown 8` prints them):

- **hftbacktest, l3.** An order that its owner moves through the market fills under its own name, on its own side. Its queue of named orders takes that for
  a fill of a resting order and fills ours: a sell that nobody reached is filled at 19231 because another sell, moved from there to 19230, traded. It fills an order whole as soon as its first lot would fill.
- **hftbacktest, l2.** With its most careful queue a level's cancels never help us, so small orders are late as ours on quotes are. It fills orders whole here: with partial
  fills it stops at an error (14) on this feed.
- **hftbacktest, market orders** are filled whole at the best price. It has no stops.
- **nautilus_trader, limits** fill when the market goes through their price, never by a queue: late like our `THROUGH`. A large one is filled whole by what comes through, as often as it comes.
- **nautilus_trader, market orders** walk the whole book on l3, and meet it when the next row comes; on l1 what the best price does not hold fills one tick worse.
- **nautilus_trader, stops** start as soon as the other side's quote reaches the trigger, although they are told to look at trades; some never were reached by a trade.
"""


def show_differences(
    oracle: VenueOracle, trials: Sequence[TrialOrder], right: Sequence[Sequence[OracleFill]], found: Sequence[Sequence[VenueFill]], most: int
) -> None:  # fmt: skip
    """The messages around the first lot that differs, of up to ``most`` orders."""
    for trial, one, other in zip(trials, right, found, strict=True):
        if most == 0:
            return
        order = trial.order
        pair = next(
            ((a, b) for _, a, b in paired_lots(other, one) if a.price != b.price or not b.earliest <= a.ts <= b.latest),
            None,
        )
        if pair is None and sum(a.lots for a in other) == sum(b.lots for b in one):
            continue
        most -= 1
        print(
            f"\n{trial.group}: {order.side.name} {order.quantity} at {order.price or order.stop_price}, sent {order.ts}"
        )
        print(f"  found {other[:3]}\n  right {list(one[:3])}")
        at = pair[0].ts if pair else (other[-1].ts if other else one[-1].earliest)
        row = int(np.searchsorted(oracle.ts, at))
        for message in oracle.block[max(0, row - 4) : row + 8]:
            price = "-" if message["price"] == UNDEFINED_PRICE else int(message["price"])
            print(
                f"    {message['ts_init']} {chr(message['action'])}{chr(message['side'])} {message['order_id']} {price} x {message['size']}"
            )


def main() -> None:
    """Run everybody on the same orders."""
    parser = argparse.ArgumentParser(description="Fills of several libraries beside an oracle.")
    parser.add_argument("--orders", type=int, default=DEFAULT_ORDERS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--python", action="append", default=[], help="NAME=PATH of an interpreter with the library")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--shown", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    pythons = dict(text.split("=", 1) for text in given.python)
    instrument = BUILT_IN[InstrumentId("ES")]
    blocks, _ = read_file(ES_DAY, instrument)
    block = next(iter(blocks.values()))
    (schedule,) = schedules_for((instrument,), int(block["ts_init"][0]), int(block["ts_init"][-1]))
    oracle = VenueOracle(block)
    trials = draw_trials(oracle, instrument.id, given.orders, given.seed)
    orders = [trial.order for trial in trials]
    right = oracle.fills(orders)
    page: list[str] = []
    if not given.only or "grandmodel" in given.only:
        for feed, rows in (("book", block), ("quotes", oracle.best_quotes())):
            venue = VenueTrials(rows, instrument, schedule, VenueSettings(fill_rule=FillRuleName.QUEUE))
            page += table_of(f"grandmodel, QUEUE on {feed}", compare(trials, right, venue.fills(orders), feed, "queue"))
    table = np.array(
        [
            (o.ts, o.expire_ts, int(o.side), KINDS[o.order_type], o.price or 0, o.stop_price or 0, o.quantity)
            for o in orders
        ],
        ORDER,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "messages.npy", block)
        np.save(folder / "levels.npy", level_rows(oracle))
        np.save(folder / "quotes.npy", oracle.best_quotes())
        np.save(folder / "orders.npy", table)
        versions: dict[str, str] = {}
        for peer, model in PEERS:
            python = Path(pythons.get(peer, ROOT / f".venv-peer-{peer}/bin/python"))
            if (given.only and peer not in given.only) or not python.exists():
                continue
            found = peer_fills(peer, model, folder, python, len(orders))
            page += table_of(f"{peer}, {model}", compare(trials, right, found, model, peer))
            versions[peer] = version_of(peer, python)
            show_differences(oracle, trials, right, found, given.shown)
    named = ", ".join(f"{peer} {version}" for peer, version in versions.items())
    text = (
        PAGE_HEAD.format(orders=given.orders, seed=given.seed, rows=len(block), versions=named) + "\n".join(page) + "\n"
    )
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
