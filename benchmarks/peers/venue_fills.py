"""The plan of ``grandmodel venue check`` on the ES day through other libraries, beside our venue and the oracle.

    python benchmarks/peers/venue_fills.py [--orders N] [--seed N] [--python hftbacktest=PATH] [--shown N]

Each library runs in its own environment (``.venv-peer-NAME``, pins in ``benchmarks/peers/NAME.txt``; ``--python`` names another), gets the messages
and the orders as arrays, and gives back its fills. They are held against the same oracle by the same comparison as ours. ``--shown`` prints, for so many
orders a library, the messages around the first lot that differs.
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


def print_lines(title: str, lines: Sequence[GroupResult]) -> None:
    """A table for people."""
    print(f"\n{title}")
    print(
        f"{'order':28} filled/possible   false  lots/possible   false  missed  early s  late s  too good  ticks  too bad  most"
    )
    for one in lines:
        share = one.too_good_lots / one.shared_lots if one.shared_lots else 0.0
        print(
            f"{one.group:28} {one.filled_orders:5}/{one.oracle_orders:5} {one.false_orders:9} {one.lots:8}/{one.oracle_lots:7} "
            f"{one.false_lots:6} {one.missed_lots:7} {one.early_s:8.3f} {one.late_s:7.3f} {share:8.1%} {one.too_good_ticks:7.3f} "
            f"{one.too_bad_ticks:7.3f} {one.best_ticks:5}"
        )


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
    if not given.only or "grandmodel" in given.only:
        for feed, rows in (("book", block), ("quotes", oracle.best_quotes())):
            venue = VenueTrials(rows, instrument, schedule, VenueSettings(fill_rule=FillRuleName.QUEUE))
            print_lines(f"grandmodel, QUEUE on {feed}", compare(trials, right, venue.fills(orders), feed, "queue"))
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
        for peer, model in PEERS:
            python = Path(pythons.get(peer, ROOT / f".venv-peer-{peer}/bin/python"))
            if (given.only and peer not in given.only) or not python.exists():
                continue
            found = peer_fills(peer, model, folder, python, len(orders))
            print_lines(f"{peer}, {model}", compare(trials, right, found, model, peer))
            show_differences(oracle, trials, right, found, given.shown)


if __name__ == "__main__":
    main()
