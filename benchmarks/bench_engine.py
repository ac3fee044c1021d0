"""The engine: how fast market data passes, what an order and a bar cost, and how both grow.

Paths, units and what a regression means:

- ``market step``: trades or quotes a second through quality counts, marks, bars and the risk line, nothing else. Every
  backtest on fine data gets slower with it.
- ``backtest, nothing decided``: the same rows through session, risk gate and journal (rows by reference, so that their sha256 is
  part of the time), with an agent that never trades.
- ``cost per order``: what a run with orders takes longer than the same run without, over the orders; from wish to fill
  with every check and both records journalled.
- ``bars, whole path``: 30-minute bars a second through session, risk, audit and a moving-average rule, for 1 and 2 instruments: as a rule
  in Python that is asked at every bar, and as the built-in one, whose wake rule asks it only where it wants to trade. Both must fill alike.
- ``journal per decision``: the share of that which encodes, chains and writes the records, without and with waiting for the disk.
- ``growth``: rows a second with 1, 10 and 100 instruments, and with 1, 10 and (``--long``) 100 million rows; memory per million rows.

Inputs are seeded. Every result is checked: bars against a numpy reckoning, cut streams against whole ones, equity against
the ledger. Times are medians in CPU seconds of this process; compilation is outside. Targets: design, section 7.

    python benchmarks/bench_engine.py [--json] [--quick] [--long]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np

from grandmodel.domain.agents import Account, Agent, Wish
from grandmodel.domain.blocks import BAR, TICK, UNDEFINED_PRICE, Action, Block, freeze
from grandmodel.domain.decisions import TargetPosition
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_DAY, NS_PER_HOUR, THIRTY_MINUTES_NS, ns_from_text
from grandmodel.risk.settings import RiskSettings
from grandmodel.runtime.market_step import MarketStep, Stop
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AccountSettings, AgentSettings, Mode, RunSettings
from grandmodel.simulation.models import VenueSettings

START_NS = ns_from_text("2024-07-08")
CAPITAL = AccountSettings(capital_micros=10**15)


@dataclass(frozen=True)
class Figure:
    """One measured number beside what is aimed for."""

    path: str
    value: float
    unit: str
    aim: float | None
    lower_is_better: bool = False

    def line(self) -> str:
        """For people."""
        text = f"{self.path:58s} {self.value:14,.2f} {self.unit:18s}"
        if self.aim is None:
            return text
        ratio = self.aim / self.value if self.lower_is_better else self.value / self.aim
        return f"{text} aim {self.aim:,.0f}: {ratio:.2f} times as good"


class Silent(Agent):
    """Never trades."""

    name = "silent"

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> Sequence[Wish]:
        """Nothing."""
        return ()


class Flipper(Agent):
    """Turns its position round at every five-minute bar: one exit and one entry each."""

    name = "flipper"

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> Sequence[Wish]:
        """The other side."""
        return [
            TargetPosition(instrument=bar.instrument, lots=-1 if account.lots(bar.instrument) > 0 else 1)
            for bar in bars
            if bar.width_ns == FIVE_MINUTES_NS
        ]


class PlainCross(Agent):
    """The moving-average rule as one writes it in Python: it keeps its averages itself and is asked at every bar."""

    name = "plain_cross"
    fast, slow = 10, 40

    def __init__(self, instruments: Mapping[InstrumentId, Instrument], generator: np.random.Generator) -> None:
        super().__init__(instruments, generator)
        self.closes: dict[InstrumentId, deque[int]] = {name: deque() for name in instruments}
        self.sums: dict[InstrumentId, list[int]] = {name: [0, 0] for name in instruments}
        self.targets: dict[InstrumentId, int] = dict.fromkeys(instruments, 0)

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> Sequence[Wish]:
        """Update the averages and ask for the position that they point to, where it is not the one held."""
        wishes: list[Wish] = []
        for bar in bars:
            instrument, close = bar.instrument, bar.close
            closes, sums = self.closes[instrument], self.sums[instrument]
            closes.append(close)
            sums[0] += close
            sums[1] += close
            if len(closes) > self.fast:
                sums[0] -= closes[-1 - self.fast]
            if len(closes) > self.slow:
                sums[1] -= closes.popleft()
            if len(closes) < self.slow:
                continue
            lead = sums[0] * self.slow - sums[1] * self.fast
            if lead:
                self.targets[instrument] = 1 if lead > 0 else -1
            target = self.targets[instrument]
            if target != account.lots(instrument):
                wishes.append(TargetPosition(instrument=instrument, lots=target, reasons=("ma_cross",)))
        return wishes


def ticks(rows: int, instruments: int, *, quotes: bool, span_ns: int = 23 * NS_PER_HOUR, seed: int = 1) -> Block:
    """``rows`` trades or quotes of ``instruments``, spread over ``span_ns``, on random walks."""
    generator = np.random.default_rng(seed)
    block = np.zeros(rows, TICK)
    gaps = generator.integers(1, max(2, 2 * span_ns // rows), rows)
    block["ts_init"] = START_NS + np.minimum(np.cumsum(gaps), span_ns - 1)
    block["ts_event"] = block["ts_init"]
    block["instrument"] = generator.integers(0, instruments, rows)
    walk = 80_000 + np.cumsum(generator.integers(-1, 2, rows))
    block["bid_price"] = block["ask_price"] = UNDEFINED_PRICE
    block["price"] = UNDEFINED_PRICE
    block["sequence"] = np.arange(rows)
    if quotes:
        block["bid_price"], block["ask_price"] = walk, walk + 1
        block["bid_size"] = block["ask_size"] = 20
        block["action"] = Action.QUOTE
    else:
        block["price"] = walk
        block["size"] = generator.integers(1, 10, rows)
        block["action"] = Action.TRADE
    return freeze(block)


def bars(count: int, instruments: int) -> Block:
    """``count`` half-hour bars of each instrument on random walks."""
    generator = np.random.default_rng(2)
    made = np.zeros((count, instruments), BAR)
    made["ts_open"] = (START_NS + THIRTY_MINUTES_NS * np.arange(count))[:, None]
    made["ts_event"] = made["ts_init"] = made["ts_open"] + THIRTY_MINUTES_NS
    closes = 80_000 + np.cumsum(generator.integers(-40, 41, (count, instruments)), axis=0)
    made["close"] = closes
    made["open"] = np.vstack([closes[:1], closes[:-1]])
    made["high"] = np.maximum(made["open"], made["close"]) + 5
    made["low"] = np.minimum(made["open"], made["close"]) - 5
    made["volume"] = 1000
    made["instrument"] = np.arange(instruments)[None, :]
    return freeze(made.reshape(-1))


def universe(count: int) -> list[Instrument]:
    """``count`` contracts like NQ."""
    nq = BUILT_IN[InstrumentId("NQ")]
    return [msgspec.structs.replace(nq, id=InstrumentId(f"N{k}"), tick_size=Decimal("0.25")) for k in range(count)]


def one_session(until_ns: int) -> SessionSchedule:
    """One session that never closes."""
    return SessionSchedule(
        np.array([START_NS - NS_PER_DAY]), np.array([until_ns + NS_PER_DAY]), np.array([START_NS - NS_PER_DAY])
    )


def walk_all(blocks: Sequence[Block], instruments: int) -> tuple[MarketStep, list[tuple[int, ...]]]:
    """Walk blocks with the market step alone; the closed bars."""
    schedule = one_session(int(blocks[-1]["ts_init"][-1]))
    market = MarketStep(
        universe(instruments), [schedule] * instruments, [FIVE_MINUTES_NS, THIRTY_MINUTES_NS], VenueSettings(), {}
    )
    closed: list[tuple[int, ...]] = []
    for block in blocks:
        schema = market.begin(block)
        while (stop := market.walk(block, schema)) is not Stop.END:
            if stop is Stop.BARS:
                closed.extend(market.closed_rows())
    return market, closed


def check_bars(block: Block, closed: list[tuple[int, ...]]) -> None:
    """Five-minute bars of instrument 0 against numpy."""
    mine = block[block["instrument"] == 0]
    bins = mine["ts_init"] // FIVE_MINUTES_NS
    firsts = np.flatnonzero(np.diff(bins, prepend=-1))
    highs = np.maximum.reduceat(mine["price"], firsts)
    volumes = np.add.reduceat(mine["size"].astype(np.int64), firsts)
    found = [row for row in closed if row[0] == FIVE_MINUTES_NS and row[-1] == 0]
    expected = list(zip((bins[firsts] * FIVE_MINUTES_NS).tolist(), highs.tolist(), volumes.tolist(), strict=True))
    got = [(row[4], row[7], row[10]) for row in found]
    if got != expected[: len(got)] or len(expected) - len(got) not in (0, 1):
        raise SystemExit("the market step's bars differ from the numpy reckoning")


def session_run(
    blocks: Callable[[], Iterator[Block]],
    instruments: int,
    agent: str,
    widths: tuple[int, ...],
    mode: Mode,
    until_ns: int,
) -> tuple[float, Session]:
    """CPU seconds of a whole run, journal included, and the ended session; the folder is removed."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    settings = RunSettings(
        mode=mode, account=CAPITAL, widths_ns=widths, agents=(AgentSettings(kind=agent),), risk=open_risk()
    )
    schedule = one_session(until_ns)
    try:
        began = time.process_time()
        with Session.start(
            folder / "run",
            settings,
            universe(instruments),
            [schedule] * instruments,
            data="bench",
            clock_ns=time.perf_counter_ns,
        ) as session:
            session.feed(blocks(), where="bench", keep_rows=False)
            session.end()
        return time.process_time() - began, session
    finally:
        shutil.rmtree(folder)


def open_risk() -> RiskSettings:
    """Every check on, with breakers and rates wide enough that the rule is not stopped half way."""
    tree = {
        "breakers": {
            "loss_streak": {"caution": 1e9},
            "volatility": {"caution": 1e9},
            "correlation_shock": {"caution": 1e9},
        },
        "flow": {"max_repeats": 10**6},
    }
    return msgspec.convert(tree, RiskSettings)


def median_of(times: int, run: Callable[[], float]) -> float:
    """The median of ``times`` calls."""
    return statistics.median(run() for _ in range(times))


def timed(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    began = time.process_time()
    run()
    return time.process_time() - began


def measure(*, quick: bool, long: bool) -> Iterator[Figure]:
    """Every figure, in the order of the module's docstring."""
    million = 1_000_000
    rows = million if quick else 10 * million
    repeats = 3 if quick else 5
    walk_all([ticks(1000, 1, quotes=False)], 1)
    walk_all([ticks(1000, 1, quotes=True)], 1)

    trades, quotes = ticks(rows, 1, quotes=False), ticks(rows, 1, quotes=True)
    _, closed = walk_all([trades], 1)
    check_bars(trades, closed)
    if walk_all(np.array_split(trades, 97), 1)[1] != closed:
        raise SystemExit("a cut stream gave other bars than the whole one")
    seconds = median_of(repeats, lambda: timed(lambda: walk_all([trades], 1)))
    yield Figure("market step, trades", rows / seconds, "rows/s", 30e6)
    seconds = median_of(repeats, lambda: timed(lambda: walk_all([quotes], 1)))
    yield Figure("market step, quotes", rows / seconds, "rows/s", 30e6)

    def cut(block: Block) -> Callable[[], Iterator[Block]]:
        return lambda: iter([block[start : start + 65_536] for start in range(0, len(block), 65_536)])

    until = int(trades["ts_init"][-1])
    widths = (FIVE_MINUTES_NS, THIRTY_MINUTES_NS)
    silent, flipper = f"{__name__}:Silent", f"{__name__}:Flipper"
    session_run(cut(trades[:1000]), 1, silent, widths, Mode.BACKTEST, until)
    runs = [session_run(cut(trades), 1, silent, widths, Mode.BACKTEST, until) for _ in range(repeats)]
    quiet = statistics.median(seconds for seconds, _ in runs)
    yield Figure("backtest with risk and audit, nothing decided", rows / quiet, "rows/s", 10e6)

    some = ticks(million // 5, 1, quotes=True, span_ns=200 * NS_PER_HOUR)
    far = int(some["ts_init"][-1])
    both = ticks(million // 5, 1, quotes=False, span_ns=200 * NS_PER_HOUR)
    base = median_of(repeats, lambda: session_run(cut(both), 1, silent, widths, Mode.BACKTEST, far)[0])
    flips = [session_run(cut(both), 1, flipper, widths, Mode.BACKTEST, far) for _ in range(repeats)]
    orders = flips[0][1].orders
    if orders < 2000 or flips[0][1].fills < 0.95 * orders:
        raise SystemExit(f"found {orders} orders and {flips[0][1].fills} fills, expected most of them filled")
    for _, session in flips:
        if session.engine.ledger.equity_micros() != session.engine.equity_micros:
            raise SystemExit("the ledger and the market step differ")
    cost = (statistics.median(seconds for seconds, _ in flips) - base) / orders
    yield Figure("cost per order, wish to fill, all records", cost * 1e6, "us", 45, lower_is_better=True)

    yield from bar_figures(repeats, quick=quick)

    for instruments in (1, 10, 100):
        block = ticks(rows, instruments, quotes=False)
        walk_all([block[:1000]], instruments)
        seconds = median_of(repeats, lambda block=block, n=instruments: timed(lambda: walk_all([block], n)))  # type: ignore[misc]
        yield Figure(f"growth: trades of {instruments} instrument(s)", rows / seconds, "rows/s", None)

    walk_stream(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sizes = (1, 10, 100) if long else (1, 10)
    for size in sizes:
        seconds = timed(lambda size=size: walk_stream(size))  # type: ignore[misc]
        yield Figure(f"growth: {size} million trades in blocks", size * million / seconds, "rows/s", None)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    yield Figure("memory: a block of a million rows", 64.0, "MB", None)
    yield Figure(f"memory: peak added by streaming {sizes[-1]} million rows", grown / 1024, "MB", None)


def bar_figures(repeats: int, *, quick: bool) -> Iterator[Figure]:
    """Bars a second through the whole path, asked at every bar and by a wake rule."""
    kinds = {"a Python rule": f"{__name__}:PlainCross", "a wake rule": "moving_average_cross"}
    for instruments in (1, 2):
        fills = set()
        for label, kind in kinds.items():
            count = 50_000 if kind == "moving_average_cross" and not quick else 10_000
            for size in (10_000, 10 * count):  # The first of them also warms everything up; its fills are compared.
                many = bars(size // instruments, instruments)
                last = int(many["ts_init"][-1])
                cut = [many[start : start + 65_536] for start in range(0, len(many), 65_536)]
                times = [
                    session_run(lambda cut=cut: iter(cut), instruments, kind, (THIRTY_MINUTES_NS,), Mode.BACKTEST, last)  # type: ignore[misc]
                    for _ in range(repeats if size > 10_000 else 1)
                ]
                if size == 10_000:
                    session = times[0][1]
                    fills.add((session.orders, session.fills, session.engine.equity_micros))
            seconds = statistics.median(t for t, _ in times)
            aim = 1e6 if kind == "moving_average_cross" else 125e3
            yield Figure(
                f"bars, whole path with {label}, {instruments} instrument(s)", len(many) / seconds, "bars/s", aim
            )
        if len(fills) != 1:
            raise SystemExit(
                f"found {fills}, expected the rule to trade alike whether it is asked at every bar or woken"
            )
    many = bars(50_000 if quick else 500_000, 1)
    last = int(many["ts_init"][-1])
    cut = [many[start : start + 65_536] for start in range(0, len(many), 65_536)]
    for label, kind in {
        "nothing wished, asked": f"{__name__}:Silent",
        "nothing wished, asleep": "buy_and_hold",
    }.items():
        times = [
            session_run(lambda: iter(cut), 1, kind, (THIRTY_MINUTES_NS,), Mode.BACKTEST, last) for _ in range(repeats)
        ]
        if times[0][1].orders > 1:
            raise SystemExit(f"found {times[0][1].orders} orders, expected one at most")
        seconds = statistics.median(t for t, _ in times)
        yield Figure(f"bars, whole path, {label}", len(many) / seconds, "bars/s", None)


def walk_stream(millions: int) -> None:
    """Walk so many million trades a million at a time, each block made from the same rows moved on in time."""
    base = ticks(1_000_000, 1, quotes=False).copy()
    base["ts_init"] = START_NS + np.arange(len(base)) * 80_000
    schedule = one_session(START_NS + (millions + 1) * len(base) * 80_000)
    market = MarketStep(universe(1), [schedule], [FIVE_MINUTES_NS, THIRTY_MINUTES_NS], VenueSettings(), {})
    for number in range(millions):
        if number:
            base["ts_init"] += len(base) * 80_000
            base["sequence"] += len(base)
        schema = market.begin(base)
        while market.walk(base, schema) is not Stop.END:
            pass
    if market.position != millions * len(base):
        raise SystemExit(f"found {market.position} rows walked, expected {millions * len(base)}")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer rows and repeats: a check that it runs")
    parser.add_argument("--long", action="store_true", help="100 million rows too")
    chosen = parser.parse_args()
    sys.modules.setdefault("bench_engine", sys.modules[__name__])
    figures = []
    if not chosen.json:
        print(f"engine, on {platform.machine()} {platform.processor() or ''}, Python {platform.python_version()}")
    for figure in measure(quick=chosen.quick, long=chosen.long):
        figures.append(figure)
        if not chosen.json:
            print(figure.line(), flush=True)
    if chosen.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))


if __name__ == "__main__":
    main()
