"""Journal: what a record costs, how long a commit takes, how fast a journal verifies and is taken up again.

Paths and units: ``append and commit`` (CPU us a record of 300 bytes: chain, Merkle tree, SQLite, checkpoints; 4,096 records a
commit, not waiting for the disk); ``commit`` (wall us for one input and one record, with each durability, and for 100 records);
``block`` (CPU ns a row: sha256, zstd, SQLite, blocks of 4,096 simulated quotes); ``verify`` and ``take up`` (CPU us a record).
Beside the first stands plain SQLite on the same bytes without a chain; beside the waiting commit, one ``fsync`` of 4 KB in the
same folder. Every journal is verified after it was timed. Times are medians.

A regression here slows every order that leaves (commit), every backtest with audit on (append), every audit (verify).

    python benchmarks/bench_journal.py [--json] [--quick] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from grandmodel.domain.blocks import TICK
from grandmodel.domain.events import Advance, MarketData
from grandmodel.journal.verification import verify_run
from grandmodel.journal.writer import Durability, Journal

RECORD = (
    b'{"number":1,"ts":1720445400000000000,"cause":"bar","position":1,"equity_micros":0,"note":"'.ljust(298, b"x")
    + b'"}'
)
PER_COMMIT = 4_096


@dataclass(frozen=True)
class Measure:
    """One measured path, and what stands beside it on the same input (None: nothing does)."""

    path: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    aim: float | None = None


def cpu_seconds(work: Callable[[], None]) -> float:
    """CPU seconds of this process for one call of ``work``."""
    began = time.process_time()
    work()
    return time.process_time() - began


def fill(folder: Path, commits: int) -> float:
    """CPU seconds a record for ``commits`` commits of ``PER_COMMIT`` records; the journal is left open-ended."""
    with Journal.create(folder, durability=Durability.OS) as journal:
        journal.append_input(Advance(ts=1))
        append = journal.append_record

        def work() -> None:
            for _ in range(commits):
                for _ in range(PER_COMMIT):
                    append(RECORD)
                journal.commit()

        return cpu_seconds(work) / (commits * PER_COMMIT)


def fill_plain(path: Path, commits: int) -> float:
    """The same bytes into SQLite with the same settings, without chain, tree and checkpoints."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size=8192")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("CREATE TABLE records (number INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")

    def work() -> None:
        for commit in range(commits):
            rows = [(commit * PER_COMMIT + i, RECORD) for i in range(PER_COMMIT)]
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO records VALUES (?, ?)", rows)
            connection.execute("COMMIT")

    seconds = cpu_seconds(work) / (commits * PER_COMMIT)
    connection.close()
    return seconds


def commit_times(folder: Path, durability: Durability, records: int, times: int) -> list[float]:
    """Wall seconds of ``times`` commits of one input and ``records`` records, sorted."""
    taken = []
    with Journal.create(folder, durability=durability) as journal:
        for _ in range(times):
            journal.append_input(Advance(ts=1))
            for _ in range(records):
                journal.append_record(RECORD)
            began = time.perf_counter()
            journal.commit()
            taken.append(time.perf_counter() - began)
        assert journal.head.records == records * times
    return sorted(taken)


def fsync_times(path: Path, times: int) -> list[float]:
    """Wall seconds of ``times`` writes of 4 KB with an fsync each, sorted."""
    taken = []
    with path.open("wb", buffering=0) as stream:
        for _ in range(times):
            began = time.perf_counter()
            stream.write(bytes(4_096))
            os.fsync(stream.fileno())
            taken.append(time.perf_counter() - began)
    return sorted(taken)


def quotes(rows: int) -> np.ndarray:
    """A seeded random walk of quotes."""
    generator = np.random.default_rng(1)
    block = np.zeros(rows, dtype=TICK)
    block["ts_event"] = 1_720_445_400_000_000_000 + np.cumsum(generator.integers(1, 20_000_000, rows))
    block["ts_init"] = block["ts_event"] + generator.integers(100_000, 300_000, rows)
    middle = 80_000 + np.cumsum(generator.integers(-1, 2, rows))
    block["price"], block["bid_price"], block["ask_price"] = middle, middle - 1, middle + 1
    for name in ("size", "bid_size", "ask_size"):
        block[name] = generator.geometric(0.2, rows)
    block["sequence"] = np.arange(rows)
    block["action"], block["side"] = ord("Q"), ord("N")
    return block


def store_blocks(folder: Path, block: np.ndarray) -> float:
    """CPU seconds a row to journal ``block`` in pieces of 4,096 rows."""
    pieces = [
        MarketData(schema="quotes", count=4_096, rows=block[at : at + 4_096].tobytes())
        for at in range(0, len(block), 4_096)
    ]
    with Journal.create(folder, durability=Durability.OS) as journal:

        def work() -> None:
            for piece in pieces:
                journal.append_input(piece)
                journal.commit()

        return cpu_seconds(work) / len(block)


def measure(base: Path, *, quick: bool) -> list[Measure]:
    """All paths, each journal verified."""
    repeats, commits, times = (2, 4, 100) if quick else (5, 24, 1_500)
    block = quotes(4_096 * (8 if quick else 64))
    appended, plain, blocks, verified, taken_up = [], [], [], [], []
    store_blocks(base / "warm", block[:4_096])
    for repeat in range(repeats):
        folder = base / f"fill{repeat}"
        appended.append(fill(folder, commits))
        plain.append(fill_plain(base / f"plain{repeat}.sqlite", commits))
        blocks.append(store_blocks(base / f"blocks{repeat}", block))
        records = commits * PER_COMMIT
        verified.append(cpu_seconds(lambda folder=folder, records=records: check(folder, records)) / records)
        taken_up.append(cpu_seconds(lambda folder=folder: Journal.open(folder).close()) / records)
        assert verify_run(base / f"blocks{repeat}").intact
    disk = commit_times(base / "disk", Durability.DISK, 1, times)
    disk_100 = commit_times(base / "disk100", Durability.DISK, 100, times // 5)
    not_waiting = commit_times(base / "os", Durability.OS, 1, times)
    fsync = fsync_times(base / "fsync", times)
    for name in ("disk", "disk100", "os"):
        check(base / name, None)
    us, ns = 1e6, 1e9
    return [
        Measure(
            "append and commit, 4,096 records",
            "CPU us/record",
            med(appended) * us,
            "sqlite3 alone",
            med(plain) * us,
            3.0,
        ),
        Measure("records a second", "1/CPU s", 1 / med(appended), "sqlite3 alone", 1 / med(plain)),
        Measure("commit, 1 record, disk, median", "us", at(disk, 0.5) * us, "fsync of 4 KB", at(fsync, 0.5) * us),
        Measure("commit, 1 record, disk, p99", "us", at(disk, 0.99) * us, "fsync of 4 KB", at(fsync, 0.99) * us),
        Measure("commit, 100 records, disk, median", "us", at(disk_100, 0.5) * us),
        Measure("commit, 1 record, os, median", "us", at(not_waiting, 0.5) * us),
        Measure("commit, 1 record, os, p99", "us", at(not_waiting, 0.99) * us),
        Measure("block of quotes", "CPU ns/row", med(blocks) * ns),
        Measure("verify", "CPU us/record", med(verified) * us),
        Measure("take up after a crash, without the engine", "CPU us/record", med(taken_up) * us),
    ]


def check(folder: Path, records: int | None) -> None:
    """The journal in ``folder`` must verify; ``records`` bodies here are no decodable records, their chain is what counts."""
    report = verify_run(folder)
    assert report.intact, report.findings
    assert records is None or report.records == records


def at(ordered: list[float], share: float) -> float:
    """The value below which ``share`` of the ordered values lie."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def med(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="few repeats, to see that it runs")
    parser.add_argument("--folder", type=Path, help="the disk to measure; the temporary folder unless given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench_journal", dir=given.folder) as base:
        measures = measure(Path(base), quick=given.quick)
    if given.json:
        print(json.dumps([asdict(one) for one in measures], indent=2))
        return
    for one in measures:
        beside = "" if one.theirs is None else f"   {one.peer}: {one.theirs:,.2f}"
        aim = "" if one.aim is None else f"   aim: < {one.aim:g}"
        print(f"{one.path:45} {one.ours:14,.2f} {one.unit:14}{beside}{aim}")


if __name__ == "__main__":
    main()
