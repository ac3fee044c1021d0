"""Import: how fast a large file of bars and files of ticks are read, checked and stored, and how much memory that takes.

Paths and units: ``bars`` (CPU seconds of a process of its own that imports a CSV of one-minute bars into an empty store, and its peak
memory), ``rows of bars`` (CPU seconds for the rows alone: text to stamps and numbers), ``again`` (wall ms of a second import of the same file),
``zone`` (CPU seconds to prove zone and label side of the same stamps), ``ticks`` (rows a CPU second, text to a checked block). Beside bars and
ticks stands polars' own ``read_csv`` of the same file, once with its dates parsed (bars and ticks need them) and once as text. One thread. What
came into the store is compared with what was written before anything is said about its speed.

A regression here makes a new user wait, or fills the memory of the machine.

    python benchmarks/bench_import.py [--json] [--quick] [--rows N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl

from grandmodel.data.historical.importing import import_file, read_file
from grandmodel.data.historical.profile import ImportProfile, Label
from grandmodel.data.historical.readers.bars import read_bars
from grandmodel.data.historical.readers.options import TickColumns, TickOptions
from grandmodel.data.historical.store import Store
from grandmodel.data.historical.zones import possible_readings
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import Schema
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import NS_PER_MINUTE, ns_from_text

NQ = BUILT_IN[InstrumentId("NQ")]
PROFILE = ImportProfile(time_zone="UTC", label=Label.OPEN)
ROWS_AT_ONCE = 500_000


@dataclass(frozen=True)
class Measure:
    """One measured path, and what stands beside it on the same file (None: nothing does)."""

    path: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process for one call of ``work``, and what it returned."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def write_bars(path: Path, rows: int) -> tuple[int, int]:
    """About ``rows`` one-minute bars of NQ up to 2025 in UTC; returns how many, and the sum of their closes in ticks."""
    schedule = session_schedule(NQ, ns_from_text("1997-01-01"), ns_from_text("2026-01-01"))
    opens = np.concatenate(
        [
            np.arange(opened, closed, NS_PER_MINUTE)
            for opened, closed in zip(schedule.open_ns.tolist(), schedule.close_ns.tolist(), strict=True)
        ]
    )[-rows:]
    rng = np.random.default_rng(1)
    close = 40_000 + np.clip(np.cumsum(rng.integers(-6, 7, len(opens))), -30_000, 30_000)
    begin = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(begin, close) + rng.integers(0, 9, len(opens))
    low = np.minimum(begin, close) - rng.integers(0, 9, len(opens))
    volume = rng.integers(100, 5_000, len(opens))
    with path.open("wb") as file:
        file.write(b"Timestamp,Open,High,Low,Close,Volume\n")
        for start in range(0, len(opens), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            stamps = pl.Series(opens[part]).cast(pl.Datetime("ns")).dt.strftime("%Y-%m-%d %H:%M:%S")
            prices = {name: values[part] / 4 for name, values in zip("ohlc", (begin, high, low, close), strict=True)}
            pl.DataFrame({"t": stamps, **prices, "v": volume[part]}).write_csv(file, include_header=False)
    return len(opens), int(close.sum())


def import_once(path: Path, folder: Path) -> None:
    """Import ``path`` into an empty store and print what it took; runs in a process of its own."""
    store = Store(folder)
    seconds, report = cpu_seconds(lambda: import_file(store, path, NQ, PROFILE))
    # Not getrusage: its peak begins at that of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak_mb = int(status["VmHWM"].split()[0]) / 1_024
    began = time.perf_counter()
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    hash_ms = 1e3 * (time.perf_counter() - began)
    began = time.perf_counter()
    again = import_file(store, path, NQ, PROFILE)
    again_ms = 1e3 * (time.perf_counter() - began)
    closes = sum(int(block["close"].sum()) for block in store.blocks([NQ], Schema.BARS, 0, 2**62))
    print(json.dumps([seconds, peak_mb, again_ms, hash_ms, again.is_known, report.rows_added, closes]))


def bars(folder: Path, rows: int) -> list[Measure]:
    """What a large CSV of bars takes."""
    path = folder / "bars.csv"
    count, closes = write_bars(path, rows)
    megabytes = path.stat().st_size / 1e6
    ran = subprocess.run(
        [sys.executable, __file__, "--import", str(path), "--folder", str(folder / "store")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    seconds, peak_mb, again_ms, hash_ms, is_known, added, stored = json.loads(ran.stdout)
    assert (added, stored, is_known) == (count, closes, True)
    read_bars(path, PROFILE)  # compiles
    reading, found = cpu_seconds(lambda: read_bars(path, PROFILE))
    (raw,) = found.values()
    assert raw.rows == count
    dated, frame = cpu_seconds(lambda: pl.read_csv(path, try_parse_dates=True))
    assert frame.height == count
    walls = frame["Timestamp"].dt.timestamp("ns").to_numpy()
    plain, _ = cpu_seconds(lambda: pl.read_csv(path))
    proving, readings = cpu_seconds(lambda: possible_readings(walls, NS_PER_MINUTE, NQ))
    assert readings[0].outside == 0
    name = f"{megabytes:,.0f} MB, {count:,} bars"
    return [
        Measure(f"bars: import ({name})", "CPU s", seconds, "polars read_csv with dates", dated),
        Measure("bars: import", "CPU s", seconds, "polars read_csv, stamps as text", plain),
        Measure("rows of bars", "CPU s", reading, "polars read_csv with dates", dated),
        Measure("bars: peak memory of the process", "MB", peak_mb, "size of the file", megabytes),
        Measure("again", "ms", again_ms, "SHA-256 of the file", hash_ms),
        Measure("zone and label side", "CPU s", proving),
    ]


def ticks(folder: Path, rows: int) -> list[Measure]:
    """Rows a second of text formats."""
    rng = np.random.default_rng(2)
    micros = 1_704_150_000_000_000 + np.cumsum(rng.integers(1, 200_000, rows))
    moments = pl.Series(micros).cast(pl.Datetime("us"))
    price = (64_000 + np.cumsum(rng.integers(-1, 2, rows))) / 4
    size, side = rng.integers(1, 9, rows), np.where(rng.random(rows) < 0.5, "buy", "sell")
    iso = moments.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    own = TickColumns(ts_event="time", time_unit="iso", price="price", size="size", side="side")
    files: dict[str, tuple[pl.DataFrame, bool, TickOptions]] = {
        "generic, ISO, New York": (
            pl.DataFrame({"time": iso, "price": price, "size": size, "side": side}),
            True,
            TickOptions(time_zone="America/New_York", columns=own),
        ),
        "Tardis trades": (
            pl.DataFrame(
                {
                    "exchange": ["x"] * rows, "symbol": ["NQ"] * rows, "timestamp": micros, "local_timestamp": micros + 900,
                    "id": np.arange(rows), "side": side, "price": price, "amount": size.astype(np.float64),
                }
            ),
            True,
            TickOptions(),
        ),
        "HistData quotes": (
            pl.DataFrame({"t": moments.dt.strftime("%Y%m%d %H%M%S%3f"), "b": price, "a": price + 0.25, "v": [0] * rows}),
            False,
            TickOptions(),
        ),
        "Dukascopy quotes": (
            pl.DataFrame(
                {
                    "Local time": moments.dt.strftime("%d.%m.%Y %H:%M:%S%.3f GMT+0000"), "Ask": price + 0.25, "Bid": price,
                    "AskVolume": size.astype(np.float64), "BidVolume": size.astype(np.float64),
                }
            ),
            True,
            TickOptions(),
        ),
    }  # fmt: skip
    found = []
    for name, (frame, has_heading, options) in files.items():
        path = folder / "ticks.csv"
        frame.write_csv(path, include_header=has_heading)

        def read(path: Path = path, options: TickOptions = options) -> Any:
            return read_file(path, NQ, None, options)

        read()  # compiles
        seconds, (blocks, _) = cpu_seconds(read)
        (block,) = blocks.values()
        prices = block["price"] if name in {"generic, ISO, New York", "Tardis trades"} else block["bid_price"]
        assert (prices == np.rint(price * 4)).all()
        peer, _ = cpu_seconds(partial(pl.read_csv, path, has_header=has_heading))
        found.append(
            Measure(f"ticks: {name}", "rows/CPU s", rows / seconds, "polars read_csv, stamps as text", rows / peer)
        )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="A tenth of the rows.")
    parser.add_argument("--rows", type=int, default=10_000_000, help="Bars of the large file.")
    parser.add_argument("--folder", type=Path, help="Where the files are written (default: a temporary folder).")
    parser.add_argument("--import", dest="imported", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.imported is not None:
        import_once(arguments.imported, arguments.folder)
        return
    share = 10 if arguments.quick else 1
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measures = [*bars(Path(folder), arguments.rows // share), *ticks(Path(folder), 500_000 // share)]
    if arguments.json:
        print(json.dumps([asdict(measure) for measure in measures], indent=2))
        return
    for measure in measures:
        beside = f"   {measure.peer}: {measure.theirs:,.2f}" if measure.theirs is not None else ""
        print(f"{measure.path:48} {measure.ours:14,.2f} {measure.unit:10}{beside}")


if __name__ == "__main__":
    main()
