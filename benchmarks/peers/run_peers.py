"""The same two jobs in other libraries, each in an environment of its own, beside this project, in one run.

1. **Bars.** A moving-average cross (10, 40; long above, short below; one lot; 2.25 a lot and side) over all 30-minute NQ bars of
   2020 to 2024: bars a second through the whole path, and what each library filled, when and at which price.
2. **Quotes and trades.** A made stream (a random walk; four quotes to a trade) through each library's backtest while nothing
   is decided, beside our market step alone and our whole backtest with risk and audit.

Each library runs in a process of its own that stays up. A first round is not counted: imports, compilation and the making of
each library's own objects are outside. Then rounds follow in which everybody does each job once, in turn, so that a
busy moment of the machine meets all of them. Times are CPU seconds of that process; the median counts.
A regression means: a lower ratio to a library in the same run, or a fill that is no longer where it was.

    make bench-peers                          remakes docs/benchmarks/peers.md
    make bench-peers ARGS='--quick --no-page' a check that everything runs

The environments are ``.venv-peer-NAME``, their pins ``benchmarks/peers/NAME.txt``. No library here is a dependency.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "benchmarks" / "peers.md"
BARS_FILE = ROOT.parent / "shared" / "data" / "bars" / "futures_30m" / "NQ_30m_eth_20200629_20240628.csv.gz"
OURS = "grandmodel"
PEERS = ("nautilus_trader", "raptorbt", "backtesting", "backtrader", "vectorbt", "hftbacktest")
TICK_VALUE, FEE = 5.0, 2.25

RULES = {
    "grandmodel": "the next bar's open; a turn is an exit and an entry",
    "nautilus_trader": "at once, at the close of the bar that gave the signal: with bars alone its book is made from the bar that has just ended; an exit and an entry",
    "raptorbt": "the next bar's open; an exit and an entry; what is open at the end is closed at the last price, and profit is reckoned at one lot",
    "backtesting": "the next bar's open; an exit and an entry; its first decision comes one bar after both averages are known",
    "backtrader": "the next bar's open; an exit and an entry",
    "vectorbt": "where it is told to: signals moved on by one bar by hand, filled at the open (its default is the signal's own close); one order of two lots",
}
LABELS = {
    ("grandmodel", "rows_market_step"): "grandmodel, market step alone",
    ("grandmodel", "rows"): "grandmodel, whole backtest with risk and audit; rows in the journal by sha256",
    ("grandmodel", "rows_kept"): "grandmodel, the same, rows written into the journal",
    ("nautilus_trader", "rows"): "nautilus_trader, a strategy that gets every row",
    ("hftbacktest", "rows"): "hftbacktest, a compiled loop that wakes at every row",
    ("hftbacktest", "rows_five_minutes"): "hftbacktest, a compiled loop that wakes every five minutes",
}


@dataclass
class Library:
    """One process under measurement."""

    name: str
    process: subprocess.Popen[str]
    version: str
    jobs: list[str]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)

    def do(self, job: str, *, counts: bool) -> None:
        """Run one job and keep what came out."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(job + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended during job {job} with status {self.process.wait()}")
        answer = json.loads(line)
        if counts:
            self.seconds.setdefault(job, []).append(answer["seconds"])
        self.last[job] = answer

    def median(self, job: str) -> float:
        """CPU seconds."""
        return statistics.median(self.seconds[job])


def prepare(name: str) -> str:
    """Make or bring up to date the environment of one library; what went wrong, or nothing."""
    folder, pins = ROOT / f".venv-peer-{name}", HERE / f"{name}.txt"
    marker = folder / ".pins"
    wanted = pins.read_text(encoding="utf-8")
    if marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return ""
    print(f"{name}: installing into {folder.name}", file=sys.stderr)
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--requirement", str(pins)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    marker.write_text(wanted, encoding="utf-8")
    return ""


def start(name: str, data: Path) -> Library:
    """Start one library's process and read what it can do."""
    python = sys.executable if name == OURS else str(ROOT / f".venv-peer-{name}" / "bin" / "python")
    script = HERE / f"peer_{name}.py"
    process = subprocess.Popen(
        [python, str(script), str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{name}: did not start (status {process.wait()})")
    hello = json.loads(line)
    return Library(name, process, hello["version"], hello["jobs"])


def write_bars(folder: Path) -> int:
    """The real bars, through the importer, for all; how many."""
    from grandmodel.data.historical.importing import read_file
    from grandmodel.data.historical.profile import ImportProfile, Label
    from grandmodel.domain.ids import InstrumentId
    from grandmodel.domain.instruments import BUILT_IN

    blocks, _ = read_file(
        BARS_FILE, BUILT_IN[InstrumentId("NQ")], ImportProfile(time_zone="Asia/Jerusalem", label=Label.OPEN)
    )
    (block,) = blocks.values()
    columns = ("ts_open", "open", "high", "low", "close", "volume")
    np.save(folder / "bars.npy", np.stack([block[name] for name in columns], axis=1).astype(np.int64))
    return len(block)


def write_rows(folder: Path, count: int) -> None:
    """Made quotes and trades of one day for all."""
    generator = np.random.default_rng(1)
    rows = np.zeros((count, 7), np.int64)
    span = 23 * 3_600 * 10**9
    rows[:, 0] = 1_720_400_000 * 10**9 + np.cumsum(generator.integers(1, 2 * span // count, count))
    is_trade = generator.random(count) < 0.2
    bid = 80_000 + np.cumsum(generator.integers(-1, 2, count))
    is_buy = generator.integers(0, 2, count)
    rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 6] = is_trade, bid, bid + 1, is_buy
    rows[:, 4] = np.where(is_trade, bid + is_buy, 0)
    rows[:, 5] = np.where(is_trade, generator.integers(1, 10, count), 0)
    np.save(folder / "rows.npy", rows)


@dataclass(frozen=True)
class Turns:
    """What a library did: the bar whose close decided -> (net lots, price in ticks)."""

    decided: dict[int, tuple[int, float]]

    @classmethod
    def of(cls, name: str, answer: dict[str, Any], bars: np.ndarray) -> Turns:
        """Fills of one bar together; a fill at the next open was decided one bar before."""
        shift = 0 if name == "nautilus_trader" else 1
        decided: dict[int, tuple[int, float]] = {}
        for at, lots, price in answer["fills"]:
            row = int(np.searchsorted(bars[:, 0], at)) - shift
            decided[row] = (decided.get(row, (0, 0.0))[0] + lots, price)
        return cls(decided)

    def pnl(self, prices: dict[int, float], last: float) -> float:
        """Money of these turns at other ``prices`` (ticks by deciding bar), marked at ``last``, fees taken off."""
        total = lots_held = fees = 0.0
        for row, (lots, _) in self.decided.items():
            total -= lots * prices[row]
            lots_held += lots
            fees += abs(lots) * FEE
        return (total + lots_held * last) * TICK_VALUE - fees


def compare(libraries: list[Library], bars: np.ndarray) -> list[str]:
    """The table of fills and speed on bars, and what explains each difference."""
    mine = next(library for library in libraries if library.name == OURS)
    ours = Turns.of(OURS, mine.last["bars"], bars)
    lines = [
        "| library | orders | turns | decided as ours | filled at our price | P&L, USD | less ours | CPU s, median (least) | bars/s | our bars/s over theirs |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for library in libraries:
        if "bars" not in library.jobs:
            continue
        answer = library.last["bars"]
        theirs = Turns.of(library.name, answer, bars)
        same = [row for row, (lots, _) in theirs.decided.items() if ours.decided.get(row, (0, 0.0))[0] == lots]
        at_price = sum(abs(theirs.decided[row][1] - ours.decided[row][1]) < 1e-6 for row in same)
        seconds = library.median("bars")
        lines.append(
            f"| {library.name} {library.version} | {answer['orders']:,} | {len(theirs.decided):,} | {len(same):,} | {at_price:,} | "
            f"{answer['pnl']:,.2f} | {answer['pnl'] - mine.last['bars']['pnl']:+,.2f} | {seconds:.3f} ({min(library.seconds['bars']):.3f}) | "
            f"{len(bars) / seconds:,.0f} | {seconds / mine.median('bars'):.2f} |"
        )
        if library.name == OURS:
            continue
        missing = sorted(set(ours.decided) - set(same))
        extra = sorted(set(theirs.decided) - set(same))
        if missing or extra:
            notes.append(
                f"- {library.name}: of our turns it lacks those decided at bar {_some(missing)}; it has of its own those at bar "
                f"{_some(extra)} (bars counted from 0; the averages are known from bar 39 on)."
            )
        if library.name == "nautilus_trader":
            closes = {row: float(bars[row, 4]) for row in theirs.decided}
            at_close = sum(abs(price - closes[row]) < 1e-6 for row, (_, price) in theirs.decided.items())
            expected = ours.pnl({row: float(bars[row, 4]) for row in ours.decided}, float(bars[-1, 4]))
            notes.append(
                f"- nautilus_trader: {at_close:,} of its {len(theirs.decided):,} turns are at the close of the bar that decided. Our turns, "
                f"reckoned at those closes, give {expected:,.2f}; it reports {answer['pnl']:,.2f}."
            )
    return [*lines, "", *notes]


def _some(rows: list[int]) -> str:
    return (", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")) or "none"


def speed(libraries: list[Library]) -> list[str]:
    """The table of quotes and trades a second."""
    whole = next(library for library in libraries if library.name == OURS).median("rows")
    lines = [
        "| path | CPU s, median (least) | rows/s | events of its layout/s | our whole backtest's rows/s over theirs |",
        "|---|---|---|---|---|",
    ]
    for (name, job), label in LABELS.items():
        library = next((library for library in libraries if library.name == name), None)
        if library is None or job not in library.seconds:
            continue
        seconds, answer = library.median(job), library.last[job]
        lines.append(
            f"| {label} | {seconds:.4f} ({min(library.seconds[job]):.4f}) | {answer['rows'] / seconds:,.0f} | "
            f"{answer['events'] / seconds:,.0f} | {seconds / whole:.2f} |"
        )
    return lines


def aims(libraries: list[Library], bars: np.ndarray, rows: int) -> list[str]:
    """What the design aims for beside what was measured here."""
    mine = next(library for library in libraries if library.name == OURS)
    measured = (
        ("market step, quotes and trades a second", 30e6, rows / mine.median("rows_market_step")),
        ("whole backtest, nothing decided, rows a second", 10e6, rows / mine.median("rows")),
        ("bars a second through the whole path, a Python rule asked at each", 125e3, len(bars) / mine.median("bars")),
        ("bars a second through the whole path, woken by its rule", 1e6, len(bars) / mine.median("bars_woken")),
    )
    lines = ["| path | aim | measured | |", "|---|---|---|---|"]
    for path, aim, found in measured:
        lines.append(
            f"| {path} | {aim:,.0f} | {found:,.0f} | {'met' if found >= aim else f'missed: {found / aim:.2f} of it'} |"
        )
    return lines


def machine() -> str:
    """What it ran on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model.removesuffix(' Processor')}, {os.cpu_count()} shared cores, Python {platform.python_version()}"


def page(
    libraries: list[Library], bars: np.ndarray, rounds: int, rows: int, loads: list[float], failed: dict[str, str]
) -> str:
    """The whole results page."""
    rules = [f"| {name} | {rule} |" for name, rule in RULES.items() if name not in failed]
    absent = [f"- {name}: not measured. Its pinned versions did not install: `{why}`" for name, why in failed.items()]
    text = [
        "# Beside other libraries",
        "",
        "Made by `make bench-peers`; every figure here comes from one run of it. What it does, and what is inside and outside the times,",
        "is at the top of `benchmarks/peers/run_peers.py`; the scripts beside it are the jobs.",
        "",
        f"Machine: {machine()}. Other work ran on it: the load average was {min(loads):.1f} to {max(loads):.1f} during the rounds (1 of it ours), so",
        "compare figures within this page, not with another. Times are CPU seconds (a busy neighbour still slows them, by shared caches and",
        f"hyperthreads), the median of {rounds} rounds in which everybody took turns.",
        "",
        f"## A moving-average cross on {len(bars):,} real bars",
        "",
        "NQ, 30 minutes, 2020-06-29 to 2024-06-28, one lot, averages of 10 and 40 closes, long above and short below, 2.25 USD a lot and",
        "side; contract rolls and bad stretches are not marked, since no peer knows them. Each library uses its own averages. P&L is",
        "marked at the last close.",
        "",
        *compare(libraries, bars),
        "",
        "What each fills on:",
        "",
        "| library | a decision at a bar's close fills at |",
        "|---|---|",
        *rules,
        "",
        "What the times hold: ours every pre-trade check, value at risk after every bar, a hash-chained record of every step and the journal on",
        "disk. nautilus_trader has its risk engine, cache and message bus, and writes nothing. backtesting.py adds its statistics;",
        "backtrader and vectorbt do nothing of the kind, and vectorbt has no event path at all: it computes on whole columns.",
        "",
        f"## {rows:,} quotes and trades",
        "",
        "A made stream of one instrument, four quotes to a trade, nothing decided. hftbacktest's layout spends two to four events on a quote.",
        "",
        *speed(libraries),
        "",
        "hftbacktest keeps a book of many levels and queue positions, which this stream does not use; our step builds 5- and 30-minute bars, counts",
        "data quality and compares equity with the risk line at each row, which hftbacktest does not do.",
    ]
    text += [
        "",
        "## Beside our own aims",
        "",
        *aims(libraries, bars, rows),
        "",
        "That fills and money of both instruments are right, with and without rolls, is not shown here but tested:",
        "`tests/e2e/test_reckoning.py` (a second reckoning in plain Python) and `tests/e2e/test_peer_backtesting.py`, to the cent.",
    ]
    if absent:
        text += ["", "## Not measured", "", *absent]
    return "\n".join(text) + "\n"


def main() -> None:
    """Prepare, run in turns, compare, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2_000_000, help="quotes and trades of the made stream")
    parser.add_argument("--quick", action="store_true", help="one round and few rows: a check that it runs")
    parser.add_argument("--no-page", action="store_true", help="print only")
    chosen = parser.parse_args()
    rounds, rows = (1, 100_000) if chosen.quick else (chosen.rounds, chosen.rows)
    if not BARS_FILE.exists():
        raise SystemExit(f"found no ../shared/data/bars/futures_30m/{BARS_FILE.name}; the comparison needs those bars")
    failed = {name: why for name in PEERS if (why := prepare(name))}
    libraries: list[Library] = []
    with tempfile.TemporaryDirectory(prefix="peers-") as root:
        folder = Path(root)
        write_bars(folder)
        write_rows(folder, rows)
        bars = np.load(folder / "bars.npy")
        try:
            libraries = [start(name, folder) for name in (OURS, *PEERS) if name not in failed]
            jobs = list(dict.fromkeys(job for library in libraries for job in library.jobs))
            loads = []
            for number in range(rounds + 1):
                began = time.monotonic()
                for job in jobs:
                    for library in libraries:
                        if job in library.jobs:
                            library.do(job, counts=number > 0)
                loads.append(os.getloadavg()[0])
                print(
                    f"round {number} of {rounds} took {time.monotonic() - began:.0f} s, load {loads[-1]:.1f}",
                    file=sys.stderr,
                )
        finally:
            for library in libraries:
                assert library.process.stdin is not None
                library.process.stdin.close()
                library.process.wait(timeout=60)
    for library in libraries:
        for job, answer in library.last.items():
            # hftbacktest wakes once for rows of one moment and at its own intervals; the others see every row.
            if job.startswith("rows") and library.name != "hftbacktest" and answer["seen"] != rows:
                raise SystemExit(f"{library.name}, {job}: found {answer['seen']} rows seen, expected {rows}")
    text = page(libraries, bars, rounds, rows, loads, failed)
    print(text)
    if not chosen.no_page:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
