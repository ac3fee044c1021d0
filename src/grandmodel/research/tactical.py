"""The evaluation of a tactical model: what it costs to work given strategic positions, against simple ways of doing so.

Every competitor is given the same exposures, which change at half-hour closes, and works them with the same orders through the same
exchange and gate. The measure is the implementation shortfall: what the wished positions would have made, held from each close
without any cost, less what was made, in basis points of what those positions trade (Perold, 1988). Waiting is not free in it:
a move that was missed counts.

``walk_orders`` steps one compiled account bar by bar, since what a competitor asks for depends on what it holds. Read ``evaluate.py``
for the strategic layer's, ``report.py`` next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel import __version__
from grandmodel.domain.time import FIVE_MINUTES_NS, THIRTY_MINUTES_NS
from grandmodel.models.architecture import TACTICAL_TAIL
from grandmodel.models.choices import AGGRESSIVE, PASSIVE, SLICES, WAIT, part_of_gap
from grandmodel.models.loaded import LoadedModel, day_loss_of, decision_seed
from grandmodel.models.tails import write_tactical_tail
from grandmodel.performance.drawdown import drawdown_of
from grandmodel.performance.ratios import RatioEstimate, sharpe_estimate
from grandmodel.research.decisions import banded_lots, check_unseen
from grandmodel.research.errors import EvaluationError
from grandmodel.research.evaluate import LEVEL, MODEL, Trials, content_of
from grandmodel.research.measures import EquityPath, daily_returns, periods_per_year
from grandmodel.research.statistics import (
    PairedDifference,
    paired_difference,
    row_means,
)
from grandmodel.research.strategies import full_lots
from grandmodel.research.walk_forward import Fold, check_folds, fold_places
from grandmodel.risk.breakers import BreakerLadder, Trigger
from grandmodel.tactical.decision import TacticalSettings, collapse, plan_trade
from grandmodel.training.environments.episodes import CHANGE_SHARE, FLAT_SHARE
from grandmodel.training.lanes import (
    AccountView,
    LaneSettings,
    MarketArrays,
    build_lanes,
    build_market_arrays,
    pursue_target,
    settle_lane,
    start_lane,
    view_lane,
    walk_bar,
)
from grandmodel.training.market import TrainingMarket

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

AT_ONCE = "at once"
_URGENCY = {"wait": WAIT, "passive": PASSIVE, "aggressive": AGGRESSIVE}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be worked at one close."""

    place: int
    """The bar of the market."""
    exposure: float
    """Strategic, in [-1, 1]."""
    age: float
    """5-minute bars since it was decided."""
    wished: int
    """Lots of that exposure."""
    full_lots: float


Step = Callable[[Asked, AccountView], tuple[int, int, int]]
"""(what is asked, the account) -> (lots, urgency, distance of the stop in ticks): the order of this close."""


class Executor(Protocol):
    """One way to work positions."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def seeds(self) -> int:
        """Runs that differ by their seed alone."""
        ...

    def begin(self, market: TrainingMarket, fold: Fold, seed: int) -> Step:
        """Ready to work a fold's test in one market."""
        ...


class AtOnce:
    """Market orders for the whole difference, at every close."""

    name = AT_ONCE
    seeds = 1

    def begin(self, market: TrainingMarket, fold: Fold, seed: int) -> Step:  # noqa: ARG002 - the protocol's
        """Nothing to remember."""
        return lambda asked, account: (asked.wished, AGGRESSIVE, 0)  # noqa: ARG005 - the protocol's


class Slices:
    """Market orders for a third of what is left, at every close: even in time, whatever the market does."""

    name = "slices"
    seeds = 1

    def begin(self, market: TrainingMarket, fold: Fold, seed: int) -> Step:  # noqa: ARG002 - the protocol's
        """Nothing to remember."""
        return lambda asked, account: (int(part_of_gap(account.lots, asked.wished, SLICES)), AGGRESSIVE, 0)


class AlwaysPassive:
    """Limit orders at the mark for what opens, market orders for what closes."""

    name = "always passive"
    seeds = 1

    def begin(self, market: TrainingMarket, fold: Fold, seed: int) -> Step:  # noqa: ARG002 - the protocol's
        """Nothing to remember."""
        return lambda asked, account: (asked.wished, PASSIVE, 0)  # noqa: ARG005 - the protocol's


class RandomWait:
    """Trades at once at a third of the closes, drawn by chance, and waits at the others."""

    name = "random wait"

    def __init__(self, seeds: int = 5, share: float = 1.0 / 3.0) -> None:
        self.seeds = seeds
        self._share = share

    def begin(self, market: TrainingMarket, fold: Fold, seed: int) -> Step:  # noqa: ARG002 - the protocol's
        """A generator of its own."""
        generator = np.random.default_rng((seed, fold.test.start_ns % 2**32))

        def step(asked: Asked, account: AccountView) -> tuple[int, int, int]:  # noqa: ARG001 - the protocol's
            return asked.wished, AGGRESSIVE if generator.random() < self._share else WAIT, 0

        return step


class ModelExecutor:
    """The trained tactical agents as the engine runs them: each collapsed to its mode, the plan made of the three."""

    name = MODEL

    def __init__(
        self, models: Mapping[str, Sequence[LoadedModel]], settings: TacticalSettings, lane: LaneSettings
    ) -> None:
        self.seeds = len(next(iter(models.values())))
        ladder = BreakerLadder(lane.risk.breakers)
        self._limits = ladder.limits(Trigger.DRAWDOWN)[0], ladder.limits(Trigger.DAILY_LOSS)[0]
        self._models, self._settings = models, settings

    def begin(self, market: TrainingMarket, fold: Fold, seed: int) -> Step:
        """The fold's model of that seed."""
        model = self._models[fold.name][seed]
        if model.manifest.layer != "tactical":
            raise EvaluationError(f"{model.path}: found a {model.manifest.layer} model, expected a tactical one")
        tail, root = np.zeros(len(TACTICAL_TAIL), np.float32), math.sqrt(market.horizon)
        tick_value, rows, count = market.instrument.tick_value_micros, market.schema.rows, 0

        def step(asked: Asked, account: AccountView) -> tuple[int, int, int]:
            nonlocal count
            scale = float(market.scale[asked.place])
            write_tactical_tail(
                tail,
                asked.exposure,
                asked.age,
                account.lots,
                asked.full_lots,
                account.open_profit_micros,
                abs(account.lots) * scale * root * tick_value,
                drawdown_of(account.equity_micros, account.peak_micros),
                self._limits[0],
                day_loss_of(account.day_start_micros, account.equity_micros),
                self._limits[1],
                account.bars_held,
                account.working,
            )
            window = market.rows[asked.place - rows + 1 : asked.place + 1]
            output, novelty, _ = model.tactical(window, tail, decision_seed(seed, count))
            count += 1
            plan = plan_trade(
                collapse(output.distributions),
                exposure=asked.exposure,
                full_lots=asked.full_lots,
                held=account.lots,
                scale_ticks=scale,
                size_scale=1.0,
                is_novel=novelty > self._settings.most_novelty,
                settings=self._settings,
            )
            return plan.lots, _URGENCY[plan.urgency.value], plan.stop_ticks

        return step


# --------------------------------------------------------------------------------------------------------- the path


def draw_exposures(market: TrainingMarket, fold: Fold, seed: int) -> Floats:
    """(T,) strategic exposures as the training environments draw them: at half-hour closes of the test a third of the time a new one.

    A quarter of them are flat, the others even in [-1, 1]; 0 outside the test.
    """
    generator = np.random.default_rng((seed, fold.test.start_ns % 2**32, len(market.bars)))
    exposures = np.zeros(len(market.bars))
    now = 0.0
    for place in np.flatnonzero(fold.test.holds(market.ts_event)).tolist():
        if market.ts_event[place] % THIRTY_MINUTES_NS == 0:
            change, flat, level = generator.random(3)
            if change < CHANGE_SHARE:
                now = 0.0 if flat < FLAT_SHARE else 2.0 * level - 1.0
        exposures[place] = now
    return exposures


@dataclass(frozen=True, slots=True)
class WishedPath:
    """What all competitors are asked to work in one market and fold. Arrays (K,), over the bars of the test."""

    first: int
    """Bar of the market."""
    asked: tuple[Asked | None, ...]
    """None where no decision may be taken."""
    lots: Integers
    """Held from each close on by the perfect path."""
    pnl_micros: Integers
    """What the perfect path made in each bar."""
    notional_micros: float
    """What it traded in all."""


def wished_path(
    market: TrainingMarket, fold: Fold, exposures: Floats, settings: LaneSettings, tactical: TacticalSettings
) -> WishedPath:
    """The perfect path of ``exposures`` (T,): positions within the dead band, flat before every mark and at the end."""
    inside = np.flatnonzero(fold.test.holds(market.ts_event))
    whole = full_lots(market, settings.capital_micros, tactical.full)
    usable = np.zeros(len(market.bars), np.bool_)
    usable[fold_places(fold, market).test] = True
    usable[inside[-1]] = False
    asked: list[Asked | None] = []
    lots = np.zeros(len(inside), np.int64)
    held, decided = 0, int(market.ts_event[inside[0]])
    for k, place in enumerate(inside.tolist()):
        ts = int(market.ts_event[place])
        decided = ts if ts % THIRTY_MINUTES_NS == 0 else decided
        if not usable[place]:
            held = 0
            asked.append(None)
            continue
        exposure = float(exposures[place])
        held = banded_lots(held, exposure, float(whole[place]), tactical.dead_band)
        lots[k] = held
        asked.append(Asked(place, exposure, (ts - decided) / FIVE_MINUTES_NS, held, float(whole[place])))
    close, tick_value = market.bars["close"][inside].astype(np.int64), market.instrument.tick_value_micros
    pnl = np.zeros(len(inside), np.int64)
    pnl[1:] = lots[:-1] * np.diff(close) * tick_value
    notional = float((np.abs(np.diff(lots, prepend=0)) * np.abs(close)).sum()) * tick_value
    return WishedPath(int(inside[0]), tuple(asked), lots, pnl, notional)


def walk_orders(
    market: TrainingMarket, arrays: MarketArrays, path: WishedPath, step: Step, settings: LaneSettings, full: Floats
) -> EquityPath:
    """The account of one competitor that works ``path`` by ``step``; ``full`` (T,) lots of a full exposure.

    As ``lanes.walk_targets``: closed at the last mark before every mark and at the end, with costs, and where the ladder would leave
    normal, until the next trading day. At a bar without a decision what is held or rests is left alone.
    """
    count, lanes = len(path.asked), build_lanes(1, settings, orders=64)
    equity, lots, fees, traded = (np.zeros(count, np.int64) for _ in range(4))
    done = np.zeros(3, np.int64)  # profit, fees and lots of the stretches before this one
    is_inside, closed_day, refused, breaches = False, -(2**62), 0, 0
    begins = int(arrays.markets[0]["first"]) + path.first
    bars = arrays.bars[begins : begins + count]
    segments, days = bars["segment"].tolist(), bars["day"].tolist()
    for k, asked in enumerate(path.asked):
        if is_inside:
            walk_bar(lanes, 0, arrays)
        elif segments[k] >= 0 and days[k] > closed_day:
            start_lane(lanes, 0, arrays, 0, begins + k)
            is_inside = True
        if is_inside:
            account = view_lane(lanes, 0)
            is_end = k + 1 == count or segments[k + 1] != segments[k]
            if account.ended or is_end:
                settle_lane(lanes, 0, arrays)
                account, is_inside = view_lane(lanes, 0), False
                if not is_end:
                    breaches += 1
                    closed_day = days[k]
            elif asked is not None:
                wanted, urgency, stop = step(asked, account)
                pursue_target(lanes, 0, arrays, wanted, urgency, stop)
            now = np.array([account.equity_micros - settings.capital_micros, account.fees_micros, account.traded_lots])
            equity[k], fees[k], traded[k] = done + now
            lots[k] = account.lots
            if not is_inside:
                done += now
                refused += account.refused_lots
        else:
            equity[k], fees[k], traded[k] = done
    return _as_path(
        market, path, settings, full, equity + settings.capital_micros, lots, fees, traded, refused, breaches
    )


def _as_path(
    market: TrainingMarket,
    path: WishedPath,
    settings: LaneSettings,
    full: Floats,
    equity: Integers,
    lots: Integers,
    fees: Integers,
    traded: Integers,
    refused: int,
    breaches: int,
) -> EquityPath:
    part = slice(path.first, path.first + len(path.asked))
    volume = market.bars["volume"][part].astype(np.float64)
    return EquityPath(
        market=market.instrument.id,
        ts_event=market.ts_event[part],
        day=market.day[part],
        is_open=np.array([asked is not None for asked in path.asked]),
        capital_micros=settings.capital_micros,
        equity_micros=equity,
        lots=lots,
        traded_lots=np.diff(traded, prepend=0),
        cost_micros=np.diff(fees, prepend=0),
        full_lots=full[part],
        lot_notional_micros=np.abs(market.bars["close"][part].astype(np.float64)) * market.instrument.tick_value_micros,
        impact_micros=market.scale[part] * market.instrument.tick_value_micros,
        volume=np.where(volume > 0.0, volume, np.nan),
        refused_lots=refused,
        breaches=breaches,
    )


# ---------------------------------------------------------------------------------------------------------- the table


class ExecutorResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to work positions, over all folds and markets; means over the seeds."""

    name: str
    seeds: int
    shortfall_bps: float
    """Of the notional that the perfect path trades; below 0 is better than perfect."""
    shortfall_spread: float
    """Standard deviation between seeds."""
    saved_bps: PairedDifference | None
    """Less shortfall than trading at once, day by day; above 0 it is better. None for trading at once."""
    sharpe: RatioEstimate
    """Annual, of the account that is split between the seeds."""
    net_return: float
    lots_per_day: float
    off_path: float
    """Mean distance of what was held from what was wished, over full exposure."""
    refused_lots: float
    equity: list[float]
    """(D,) growth of the account on the evaluation's days, from 1."""


class TacticalEvaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about one evaluation of a tactical model."""

    code_version: str
    markets: list[str]
    folds: list[Fold]
    models: dict[str, list[str]]
    trials: int
    looks: int
    path_text: str
    """Where the exposures come from."""
    day_ns: list[int]
    competitors: list[ExecutorResult]
    content: str

    def competitor(self, name: str) -> ExecutorResult:
        """The one called ``name``."""
        return next(row for row in self.competitors if row.name == name)


def evaluate_tactical(
    markets: Sequence[TrainingMarket],
    folds: Sequence[Fold],
    models: Mapping[str, Sequence[LoadedModel]],
    trials: Trials,
    lane: LaneSettings | None = None,
    tactical: TacticalSettings | None = None,
    *,
    looks: int = 0,
    seed: int = 0,
    exposures: Callable[[TrainingMarket, Fold, int], Floats] | None = None,
    path_text: str = "Exposures were drawn as in training, by a seed of their own.",
) -> TacticalEvaluation:
    """Let ``models`` and the simple ways work the same ``exposures`` (drawn where left out) through the tests of ``folds``.

    Raises ``EvaluationError`` for folds that overlap, the last fold without a noted look, or a fold in which nothing can be traded.
    """
    check_folds(folds)
    if any(fold.is_last for fold in folds) and looks < 1:
        raise EvaluationError("the last fold is among the folds: found no look noted, expected it in the log of trials")
    check_unseen(models, folds)
    settings, plan = lane or LaneSettings(), tactical or TacticalSettings()
    executors: list[Executor] = [
        ModelExecutor(models, plan, settings), AtOnce(), Slices(), AlwaysPassive(), RandomWait()
    ]  # fmt: skip
    arrays: dict[str, MarketArrays] = {}
    stretches = []
    for fold in folds:
        tested = [market for market in markets if len(fold_places(fold, market).test)]
        if not tested:
            raise EvaluationError(f"fold {fold.name}: found no decision in any market, expected some")
        for market in tested:
            if market.instrument.id not in arrays:
                arrays[market.instrument.id] = build_market_arrays(market, settings)
            wished = wished_path(market, fold, (exposures or draw_exposures)(market, fold, seed), settings, plan)
            stretches.append((fold, market, wished, full_lots(market, settings.capital_micros, plan.full)))
    table = _Shortfalls()
    for executor in executors:
        for run in range(executor.seeds):
            for fold, market, wished, full in stretches:
                step = executor.begin(market, fold, run)
                path = walk_orders(market, arrays[market.instrument.id], wished, step, settings, full)
                table.add(executor.name, run, path, wished)
    return TacticalEvaluation(
        code_version=__version__,
        markets=sorted({market.instrument.id for _, market, _, _ in stretches}),
        folds=list(folds),
        models={name: [model.id for model in kept] for name, kept in models.items()},
        trials=trials.count,
        looks=looks,
        path_text=path_text,
        day_ns=table.day_ns(),
        competitors=[table.result(executor.name) for executor in executors],
        content=content_of(models),
    )


class _Shortfalls:
    """Walks of all competitors, and what they fell short of."""

    def __init__(self) -> None:
        self._walks: dict[str, dict[int, list[tuple[EquityPath, WishedPath]]]] = {}

    def add(self, name: str, seed: int, path: EquityPath, wished: WishedPath) -> None:
        """One walk more."""
        self._walks.setdefault(name, {}).setdefault(seed, []).append((path, wished))

    def day_ns(self) -> list[int]:
        """(D,) the last close of each day."""
        latest: dict[int, int] = {}
        for path, _ in self._walks[AT_ONCE][0]:
            for day, ts in zip(path.day.tolist(), path.ts_event.tolist(), strict=True):
                latest[day] = max(latest.get(day, ts), ts)
        return [latest[day] for day in self._days().tolist()]

    def result(self, name: str) -> ExecutorResult:
        """The row of one competitor."""
        days = self._days()
        seeds = self._walks[name]
        daily = [self._daily(walks, days) for walks in seeds.values()]
        bps = [float(one.sum()) for one in daily]
        mean = np.mean(daily, axis=0)
        saved = None
        if name != AT_ONCE:
            at_once = self._daily(self._walks[AT_ONCE][0], days)
            found = paired_difference(at_once, mean, np.random.default_rng(0), row_means, level=LEVEL)
            count = float(len(days))
            saved = msgspec.structs.replace(
                found, value=found.value * count, low=found.low * count, high=found.high * count
            )
        returns = np.mean([self._returns(walks, days) for walks in seeds.values()], axis=0)
        first = [path for path, _ in next(iter(seeds.values()))]
        every = [pair for walks in seeds.values() for pair in walks]
        return ExecutorResult(
            name=name,
            seeds=len(seeds),
            shortfall_bps=float(np.mean(bps)),
            shortfall_spread=float(np.std(bps, ddof=1)) if len(bps) > 1 else 0.0,
            saved_bps=saved,
            sharpe=sharpe_estimate(returns, LEVEL).annual(periods_per_year(first)),
            net_return=float(returns.sum()),
            lots_per_day=sum(float(path.traded_lots.sum()) for path, _ in every) / len(days) / len(seeds),
            off_path=float(np.mean(np.concatenate([_off_path(path, wished) for path, wished in every]))),
            refused_lots=sum(path.refused_lots for path, _ in every) / len(seeds),
            equity=(1.0 + np.cumsum(returns)).tolist(),
        )

    def _days(self) -> Integers:
        return np.unique(np.concatenate([path.day for path, _ in self._walks[AT_ONCE][0]])).astype(np.int64)

    def _daily(self, walks: Sequence[tuple[EquityPath, WishedPath]], days: Integers) -> Floats:
        """(D,) shortfall of each day in basis points of all that the perfect path trades."""
        total = np.zeros(len(days))
        for path, wished in walks:
            short = (wished.pnl_micros - path.pnl_micros).astype(np.float64)
            np.add.at(total, np.searchsorted(days, path.day), short)
        notional = sum(wished.notional_micros for _, wished in walks)
        if notional <= 0.0:
            raise EvaluationError("exposures: found a path that trades nothing, expected some trades to measure")
        return total / notional * 1e4

    def _returns(self, walks: Sequence[tuple[EquityPath, WishedPath]], days: Integers) -> Floats:
        """(D,) profit of each day over the capital of the markets."""
        paths = [path for path, _ in walks]
        capital = sum({path.market: path.capital_micros for path in paths}.values())
        total = np.zeros(len(days))
        for path in paths:
            own, returns = daily_returns([path])
            np.add.at(total, np.searchsorted(days, own), returns * path.capital_micros)
        return total / capital


def _off_path(path: EquityPath, wished: WishedPath) -> Floats:
    """(N,) distance of what was held, one bar later, from what was wished, over full exposure."""
    known = path.is_open & (path.full_lots > 0.0)
    known[-1] = False
    places = np.flatnonzero(known)
    distance: Floats = np.abs(path.lots[places + 1] - wished.lots[places]) / path.full_lots[places]
    return distance


def tactical_verdict(found: TacticalEvaluation) -> list[str]:
    """What the numbers say, in sentences."""
    model = found.competitor(MODEL)
    short = (
        f"Working the same positions, the model fell short of the perfect path by {model.shortfall_bps:.3f} basis points of what it "
        f"trades; between seeds that varies by {model.shortfall_spread:.3f}."
    )
    others = [row for row in found.competitors if row.name not in (MODEL, AT_ONCE)]
    sentences = [short, *(f"{row.name.capitalize()}: {row.shortfall_bps:.3f}." for row in others)]
    saved = model.saved_bps
    at_once = found.competitor(AT_ONCE).shortfall_bps
    if saved is not None:
        words = (
            "less, beyond luck"
            if saved.low > 0.0
            else "more, beyond luck"
            if saved.high < 0.0
            else "no different beyond luck"
        )
        sentences.append(
            f"Against trading at once ({at_once:.3f}) that is {words}: {saved.value:+.3f} saved "
            f"({saved.level:.0%}: {saved.low:+.3f} to {saved.high:+.3f})."
        )
    best = min(found.competitors, key=lambda row: row.shortfall_bps)
    is_better = saved is not None and saved.low > 0.0 and best.name == MODEL
    sentences.append(
        "Verdict: it works positions more cheaply than every simple way."
        if is_better
        else f"Verdict: it was not shown to work positions more cheaply than the simple ways. Least was measured for: {best.name}."
    )
    return sentences
