"""Random wishes of three agents at once through the whole engine, on real bars and quotes, under an outside observer.

Orders of every type and time in force, targets with and without protection, brackets, one-cancels-other groups whose
numbers the agents share, changes and cancels of any order of the account, and people's commands between them. Limits,
fees, latency, slippage and fill rules are drawn anew for each episode. ``record_observer.Observer`` reads the records alone.

    python -m tests.tools.fuzz_engine                       a million wishes
    python -m tests.tools.fuzz_engine --wishes 20000 --seed 3 --markets NQ+CL
    python -m tests.tools.fuzz_engine --planted             the same with each planted fault: every one must be found

Run from the checkout; reads the shared market data beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import itertools

from engine_runs import open_risk
from grandmodel.data.historical.importing import read_file
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.agents import Agent
from grandmodel.domain.blocks import Block, freeze
from grandmodel.domain.decisions import CancelIntent, PlaceOrder, ReplaceIntent, TargetPosition, Urgency
from grandmodel.domain.events import Advance, Command, CommandKind, End
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.domain.orders import OrderType, Side, TimeInForce
from grandmodel.domain.report_rows import REPORT
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, NS_PER_SECOND, THIRTY_MINUTES_NS
from grandmodel.journal.format import encode_record
from grandmodel.risk.settings import BreakerSettings, FlowLimits, Thresholds
from grandmodel.runtime.books import Books
from grandmodel.runtime.engine import Engine
from grandmodel.runtime.order_planner import OrderPlanner
from grandmodel.runtime.sequencer import sequence
from grandmodel.runtime.settings import AccountSettings, AgentSettings, Mode, RunSettings
from grandmodel.simulation.models import (
    ConstantLatency,
    FillRuleName,
    FixedSlippage,
    LiquidityName,
    LognormalLatency,
    NoSlippage,
    PerLotFee,
    RandomSlippage,
    VenueSettings,
)
from risk import planted
from tools.baseline_run import FILES, engine_bars, numbered
from tools.record_observer import Observer

SHARED = Path(__file__).resolve().parents[3] / "shared"
BOOK = "data/orderbook/databento_es/"
CAPITAL_MICROS = 10**15
GROUPS = 4
"""Group numbers that every agent draws from, so that agents and instruments meet in the same number."""


@dataclass(frozen=True)
class Market:
    """Real rows to walk, and the bars that agents decide on."""

    name: str
    instruments: tuple[Instrument, ...]
    schedules: tuple[SessionSchedule, ...]
    rows: Block
    width_ns: int
    episode_rows: int
    is_bars: bool


class Wild(Agent):
    """Draws wishes of every kind, about any instrument and any order of the account."""

    name = "wild"

    def __init__(self, instruments, generator, width_ns):
        super().__init__(instruments, generator)
        self.name = f"wild{int(generator.integers(0, 10**6))}"
        self.width_ns = width_ns
        self.can_reduce_only = "reduce_only" in PlaceOrder.__struct_fields__
        self.quiet = False

    def on_bars(self, bars, account):
        if self.quiet:
            return []
        wishes = []
        for bar in bars:
            if bar.width_ns == self.width_ns:
                wishes += [self.wish(bar.instrument, account) for _ in range(int(self.generator.integers(0, 6)))]
        return wishes

    def on_reports(self, reports, fills, account):  # noqa: ARG002
        if self.quiet:
            return []
        return [self.wish(fill.instrument, account) for fill in fills if self.generator.random() < 0.3]

    def wish(self, name, account):
        draw = self.generator
        kind = draw.random()
        working = account.working(name)
        if kind < 0.25:
            return TargetPosition(
                instrument=name,
                lots=int(draw.integers(-9, 10)),
                urgency=(Urgency.PASSIVE, Urgency.AGGRESSIVE, Urgency.WAIT)[int(draw.choice(3, p=[0.4, 0.55, 0.05]))],
                stop_ticks=int(draw.integers(0, 40)) if draw.random() < 0.5 else 0,
                target_ticks=int(draw.integers(0, 40)) if draw.random() < 0.5 else 0,
            )
        if kind < 0.35 and working:
            which = None if draw.random() < 0.1 else working[int(draw.integers(0, len(working)))].order_id
            return CancelIntent(instrument=name, order_id=which)
        if kind < 0.5 and working:
            return self.change(working[int(draw.integers(0, len(working)))])
        return self.order(name, account)

    def change(self, order):
        draw = self.generator
        moved = int(draw.integers(-9, 10))
        return ReplaceIntent(
            instrument=order.instrument,
            order_id=order.order_id,
            quantity=int(draw.integers(1, 13)),
            price=order.price + moved if order.price is not None and draw.random() < 0.7 else None,
            stop_price=order.stop_price + moved if order.stop_price is not None and draw.random() < 0.7 else None,
        )

    def order(self, name, account):
        draw = self.generator
        close = account.mark(name) or 0
        side = Side.BUY if draw.random() < 0.5 else Side.SELL
        order_type = OrderType(int(draw.choice([1, 2, 3, 4], p=[0.3, 0.35, 0.2, 0.15])))
        near = int(draw.integers(-12, 13))
        limit = close + near if order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None
        stop = close + int(draw.integers(-12, 13)) if order_type in (OrderType.STOP, OrderType.STOP_LIMIT) else None
        life = list(TimeInForce)[int(draw.choice(5, p=[0.4, 0.3, 0.1, 0.1, 0.1]))]
        more = {}
        if draw.random() < 0.25:
            away = int(draw.integers(1, 30))
            more["bracket_stop"] = close - away * int(side)
            if draw.random() < 0.7:
                more["bracket_target"] = close + away * int(side)
        if self.can_reduce_only and draw.random() < 0.15:
            more = {"reduce_only": True}
        return PlaceOrder(
            instrument=name,
            side=side,
            quantity=int(draw.integers(1, 9)),
            order_type=order_type,
            price=limit,
            stop_price=stop,
            time_in_force=life,
            expire_ts=account.now + int(draw.integers(1, 40)) * self.width_ns if life is TimeInForce.GTD else None,
            oco_group=int(draw.integers(1, GROUPS + 1)) if draw.random() < 0.4 else 0,
            **more,
        )


def load_markets(names: list[str]) -> list[Market]:
    """The shared NQ and CL bars together, four minutes of ES quotes and trades, and a day of the ES book."""
    found = []
    if "NQ+CL" in names:
        blocks = [
            numbered(engine_bars(SHARED / file, name)[0], number, keep=0xFFFF)
            for number, (name, file) in enumerate(FILES.items())
        ]
        found.append(_market("NQ+CL", tuple(FILES), blocks, THIRTY_MINUTES_NS, 2_400, is_bars=True))
    if "ES-quotes" in names:
        blocks = _es(("ESU4_mbp1_20240701_4min.dbn.zst",))
        found.append(_market("ES-quotes", ("ES",), blocks, NS_PER_SECOND // 4, 4_000, is_bars=False))
    if "ES-book" in names:
        blocks = _es(("ESH4_mbo_20231225.dbn.zst",))
        found.append(_market("ES-book", ("ES",), blocks, 30 * NS_PER_SECOND, 20_000, is_bars=False))
    return found


def _es(files: tuple[str, ...]) -> list[Block]:
    blocks = []
    for file in files:
        read, _ = read_file(SHARED / BOOK / file, BUILT_IN[InstrumentId("ES")])
        blocks += list(read.values())
    return blocks


def _market(name, ids, blocks, width_ns, episode_rows, *, is_bars):
    instruments = tuple(BUILT_IN[InstrumentId(i)] for i in ids)
    (rows,) = sequence(blocks, sum(len(b) for b in blocks))
    first, last = int(rows["ts_init"][0]), int(rows["ts_init"][-1])
    schedules = tuple(session_schedule(i, first - 5 * NS_PER_DAY, last + 10 * NS_PER_DAY) for i in instruments)
    return Market(name, instruments, schedules, freeze(rows), width_ns, episode_rows, is_bars)


def draw_settings(rng: np.random.Generator, market: Market) -> RunSettings:
    """Limits of every tightness, every fill rule, with and without latency and slippage."""
    wide = open_risk(market.width_ns)
    never = Thresholds()
    breakers = (
        wide.breakers
        if rng.random() < 0.7
        else BreakerSettings(
            automatic_release="halt", calm_ns=market.width_ns * 20, loss_streak=never, volatility=never
        )
    )
    lots = int(rng.choice([1, 3, 5, 8, 20, 60]))
    replace = msgspec.structs.replace
    risk = replace(
        wide,
        limits=replace(
            wide.limits,
            max_order_lots=int(rng.choice([2, 10, 500])),
            max_long_lots=lots,
            max_short_lots=int(rng.choice([0, lots, lots + 3])),
        ),
        portfolio=replace(wide.portfolio, max_overall_lots=int(rng.choice([lots, 2 * lots, 2_000]))),
        flow=wide.flow if rng.random() < 0.8 else FlowLimits(max_repeats=10**6),
        breakers=breakers,
        shrink=bool(rng.random() < 0.8),
    )
    slow = not market.is_bars and rng.random() < 0.6
    venue = VenueSettings(
        fees=PerLotFee(per_lot_micros=int(rng.integers(0, 3_000_000))),
        latency=LognormalLatency(floor=10**6, median=50 * 10**6) if slow else ConstantLatency(),
        slippage=(NoSlippage(), FixedSlippage(), RandomSlippage())[int(rng.integers(0, 3))],
        fill_rule=list(FillRuleName)[int(rng.integers(0, 3))],
        liquidity=list(LiquidityName)[int(rng.integers(0, 2))],
        participation_ppm=int(rng.choice([0, 2_000])),
        half_spread_ticks=int(rng.integers(0, 3)),
    )
    return RunSettings(
        mode=Mode.BACKTEST,
        seed=int(rng.integers(0, 2**62)),
        account=AccountSettings(capital_micros=CAPITAL_MICROS),
        agents=tuple(AgentSettings(kind=str(k)) for k in range(3)),
        venue=venue,
        risk=risk,
        widths_ns=(market.width_ns,),
    )


def run_episode(market: Market, rng: np.random.Generator, rows: int) -> tuple[Observer, int]:
    """One engine over ``rows`` rows from somewhere in the market, ending flat; the observer, and how many wishes there were."""
    settings = draw_settings(rng, market)
    made: list[Wild] = []

    def build(kind, parameters, instruments, seed):
        made.append(Wild(instruments, np.random.Generator(np.random.PCG64(seed)), market.width_ns))
        return made[-1]

    engine = Engine(settings, market.instruments, market.schedules, build)
    observer = Observer(
        market.instruments, settings.risk, CAPITAL_MICROS, checks_equity_at_bars=market.is_bars, must_be_flat=True
    )
    wishes = 0

    def keep(records) -> None:
        nonlocal wishes
        for record in records:
            wishes += len(record.intents)
            observer.take(encode_record(record))

    keep([engine.begin({})])
    first = int(rng.integers(0, max(1, len(market.rows) - rows)))
    block = market.rows[first : first + rows]
    quiet_from = len(block) * 9 // 10  # The last tenth: nobody wants anything, a person flattens.
    edges = sorted({0, quiet_from, *(int(x) for x in rng.integers(0, quiet_from, 6))})
    for start, stop in itertools.pairwise(edges):
        keep(engine.on_block(block[start:stop]))
        kind = (CommandKind.PAUSE, CommandKind.FLATTEN, None)[int(rng.choice(3, p=[0.2, 0.2, 0.6]))]
        if kind is not None:
            keep(engine.on_command(_command(engine, kind)))
            keep(engine.on_command(_command(engine, CommandKind.RESUME)))
    for agent in made:
        agent.quiet = True
    keep(engine.on_command(_command(engine, CommandKind.FLATTEN)))
    keep(engine.on_block(block[quiet_from:]))
    # Day orders end with the session; what a person flattened needs an open market, which the last tenth had.
    keep(engine.on_advance(Advance(ts=engine.now + 5 * NS_PER_DAY)))
    keep(engine.on_end(End(ts=engine.now)))
    observer.finish()
    return observer, wishes


def _command(engine: Engine, kind: CommandKind) -> Command:
    return Command(kind=kind, ts=engine.now, who="fuzz/risk_officer", why="fuzz")


def fuzz(wishes: int, seed: int, markets: list[Market], on_progress: Callable[[int, Counter[str]], None] | None = None):
    """At least ``wishes`` wishes over the markets in turn; (wishes, counts, faults with their market and seed)."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    done = episode = 0
    while done < wishes:
        market = markets[episode % len(markets)]
        rng = np.random.default_rng([seed, episode])
        try:
            observer, made = run_episode(market, rng, market.episode_rows)
        except Exception as error:  # noqa: BLE001 (whatever stops the engine is a finding)
            faults.append(f"{market.name}, seed {seed}, episode {episode}: the engine stopped: {error!r}")
            counts["stopped"] += 1
            made = 1
        else:
            faults += [f"{market.name}, seed {seed}, episode {episode}: {text}" for text in observer.faults]
            counts += observer.counts
        done += made
        episode += 1
        counts["episodes"] = episode
        if on_progress is not None:
            on_progress(done, counts)
    return done, counts, faults


# -- planted faults: the observer and the engine's own checks must find each ------------------------------------------


def _blind_groups() -> contextlib.AbstractContextManager[object]:
    """Risk forgets that a group's order counts at all."""
    return mock.patch.object(OrderPlanner, "_ask", planted.asks_whole(lambda order: order.oco_group > 0))


def _approve_all() -> contextlib.AbstractContextManager[object]:
    """Every order that opens is let through whole, whatever its size."""
    return mock.patch.object(OrderPlanner, "_ask", planted.asks_whole(lambda _: True))


def _forgotten_fee() -> contextlib.AbstractContextManager[object]:
    """The ledger drops one fee in fifty."""
    plain = Books.apply_reports
    calls = iter(range(10**12))

    def apply(self, step, reports):
        fills = plain(self, step, reports)
        for fill in fills:
            if next(calls) % 50 == 49:
                self.ledger.move_cash(self.instruments[self.index[fill.instrument]].currency, fill.fee_micros)
                self.follow_ledger()
        return fills

    return mock.patch.object(Books, "apply_reports", apply)


def _lost_fills() -> contextlib.AbstractContextManager[object]:
    """Risk does not hear of one step of fills in twenty."""
    plain = Books.apply_reports
    calls = iter(range(10**12))

    def apply(self, step, reports):
        before = self.gate.working.save()
        fills = plain(self, step, reports)
        if fills and next(calls) % 20 == 19:
            self.gate.working.restore(before)
        return fills

    return mock.patch.object(Books, "apply_reports", apply)


def _early_forgetting() -> contextlib.AbstractContextManager[object]:
    """A cancel counts as done when it is asked for."""
    plain = OrderPlanner._hand_on_cancel

    def hand_on(self, step, order_id, reason):
        seen = self._gate.account.rows.seen[0]
        seen["buys"] = seen["sells"] = 0
        return plain(self, step, order_id, reason)

    return mock.patch.object(OrderPlanner, "_hand_on_cancel", hand_on)


def _half_lots() -> contextlib.AbstractContextManager[object]:
    """An order leaves with a tag that is none."""
    plain = OrderPlanner._hand_on
    calls = iter(range(10**12))

    def hand_on(self, step, deed, order):
        if next(calls) % 500 == 499:
            order = msgspec.structs.replace(order, tag=0.5)
        return plain(self, step, deed, order)

    return mock.patch.object(OrderPlanner, "_hand_on", hand_on)


def _greedy_stops() -> contextlib.AbstractContextManager[object]:
    """What the record says of a stop's fill is a tick better than its trigger."""
    plain = Books.apply_reports

    def apply(self, step, reports):
        changed = []
        for k, report in enumerate(reports):
            order = self.lives.order(report.order_id)
            if report.last_quantity and order is not None and order.order_type is OrderType.STOP:
                better = order.stop_price - int(order.side)
                self.intake._said[k, REPORT.names.index("last_price")] = better
                changed.append(msgspec.structs.replace(report, last_price=better))
            else:
                changed.append(report)
        return plain(self, step, tuple(changed))

    return mock.patch.object(Books, "apply_reports", apply)


PLANTED: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    "a group's order counts for nothing": _blind_groups,
    "everything is approved": _approve_all,
    "a fee is forgotten": _forgotten_fee,
    "risk does not hear of a fill": _lost_fills,
    "a cancel counts before it is done": _early_forgetting,
    "a record cannot be read": _half_lots,
    "a stop fills better than its trigger": _greedy_stops,
}


def found_of_each(wishes: int, seed: int, markets: list[Market]) -> Iterator[tuple[str, list[str]]]:
    """Each planted fault and what was found of it."""
    for name, plant in PLANTED.items():
        with plant():
            yield name, fuzz(wishes, seed, markets)[2]


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wishes", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markets", default="NQ+CL,ES-quotes,ES-book", help="of NQ+CL, ES-quotes, ES-book")
    parser.add_argument("--planted", action="store_true", help="with each planted fault in turn")
    given = parser.parse_args()
    markets = load_markets(given.markets.split(","))
    if given.planted:
        missed = 0
        for name, found in found_of_each(min(given.wishes, 20_000), given.seed, markets):
            missed += not found
            print(f"{'found ' if found else 'MISSED'}  {name}: {found[0] if found else ''}", flush=True)
        return int(missed > 0)
    began = last = time.monotonic()

    def progress(done: int, counts: Counter[str]) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            print(
                f"{done:>10,} wishes, {counts['orders']:,} orders, {counts['fills']:,} fills",
                file=sys.stderr,
                flush=True,
            )

    done, counts, faults = fuzz(given.wishes, given.seed, markets, progress)
    print(f"{done:,} wishes in {time.monotonic() - began:.0f} s")
    for name, count in sorted(counts.items()):
        print(f"{count:>12,}  {name}")
    for text in faults[:100]:
        print(text)
    print("nothing found" if not faults else f"{len(faults)} faults listed")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
