"""The competitors: simple rules, chance, and trained models, each as the lots that it wants to hold from each bar on.

All trade the same usable bars through ``LaneWalker``: the same exchange, costs, gate and limits, so that only the wishes differ.
Positions are in units of the full exposure (``risk.sizing.lots_of_full_exposure``), the same for all; the rules hold a whole one.
Read ``decisions.py`` for what the models say, ``evaluate.py`` for how it is put together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandmodel.research.decisions import (
    DecisionBook,
    banded_lots,
    class_outcomes,
    directions,
    sized_lots,
)
from grandmodel.research.errors import EvaluationError
from grandmodel.research.measures import EquityPath
from grandmodel.research.walk_forward import Competitor, Fold, fold_places
from grandmodel.risk.sizing import ExposureSettings
from grandmodel.training.lanes import LaneSettings, MarketArrays, build_market_arrays, walk_market
from grandmodel.training.market import Span, TrainingMarket

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DEAD_BAND = 0.1
"""Share of a full exposure by which a rule's wish must change before it trades: the strategic layer's own."""


class LaneWalker:
    """Walks wished positions through the compiled account (``training/lanes.py``), and says what came of them."""

    def __init__(self, settings: LaneSettings, full: ExposureSettings) -> None:
        self._settings, self._full = settings, full
        self._arrays: dict[str, MarketArrays] = {}

    def __call__(self, market: TrainingMarket, lots: Integers, span: Span) -> EquityPath:
        """The account's path over the bars of ``span``, wishing for ``lots`` (T,) at each close.

        The first walk of a market also walks it once by a real engine, for the risk numbers of a lot: seconds a year of bars.
        """
        instrument = market.instrument
        inside = np.flatnonzero(span.holds(market.ts_event))
        if not len(inside):
            raise EvaluationError(f"{instrument.id}: found no bar in the test span, expected some")
        if instrument.id not in self._arrays:
            self._arrays[instrument.id] = build_market_arrays(market, self._settings)
        part = slice(int(inside[0]), int(inside[-1]) + 1)
        made = walk_market(self._arrays[instrument.id], 0, lots[part], self._settings, first=part.start)
        traded = np.diff(made.traded_lots, prepend=0)
        slippage = traded * self._settings.slippage_ticks * instrument.tick_value_micros
        volume = market.bars["volume"][part].astype(np.float64)
        return EquityPath(
            market=instrument.id,
            ts_event=market.ts_event[part],
            day=market.day[part],
            is_open=market.usable[part],
            capital_micros=self._settings.capital_micros,
            equity_micros=made.equity_micros,
            lots=made.lots,
            traded_lots=traded,
            cost_micros=np.diff(made.fees_micros, prepend=0) + slippage,
            full_lots=full_lots(market, self._settings.capital_micros, self._full)[part],
            lot_notional_micros=np.abs(market.bars["close"][part].astype(np.float64)) * instrument.tick_value_micros,
            impact_micros=market.scale[part] * instrument.tick_value_micros,
            volume=np.where(volume > 0.0, volume, np.nan),
            refused_lots=made.refused_lots,
            breaches=len(made.breaches),
        )


def full_lots(market: TrainingMarket, capital_micros: int, full: ExposureSettings) -> Floats:
    """(T,) lots that an exposure of 1 stands for at each bar with that capital, not rounded; 0 where not known."""
    rule, tick_value = full.rule(market.width_ns), float(market.instrument.tick_value_micros)
    return np.array([rule.lots(scale, tick_value, float(capital_micros)) for scale in market.scale.tolist()])


# ---------------------------------------------------------------------------------------------------------- the rules


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the rules need to know of sizes: the capital, and what a full exposure is."""

    capital_micros: int
    full: ExposureSettings

    def whole_lots(self, market: TrainingMarket) -> Integers:
        """(T,) lots of a full exposure, rounded down."""
        return np.floor(full_lots(market, self.capital_micros, self.full)).astype(np.int64)


class NoTrade:
    """Holds nothing."""

    name = "no trade"
    seeds = 1

    def targets(self, market: TrainingMarket, fold: Fold, seed: int) -> Integers:  # noqa: ARG002 - the protocol's
        """Nothing, everywhere."""
        return np.zeros(len(market.bars), np.int64)


class BuyAndHoldStrategy:
    """Buys a full exposure at the first usable bar of the test and keeps those lots."""

    name = "buy and hold"
    seeds = 1

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes

    def targets(self, market: TrainingMarket, fold: Fold, seed: int) -> Integers:  # noqa: ARG002 - the protocol's
        """The same lots everywhere."""
        first = fold_places(fold, market).test[0]
        return np.full(len(market.bars), self._sizes.whole_lots(market)[first], np.int64)


class VolatilityTarget:
    """Always long a full exposure, whose lots follow the scale of moves; trades where they change by a tenth."""

    name = "volatility-targeted long"
    seeds = 1

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes

    def targets(self, market: TrainingMarket, fold: Fold, seed: int) -> Integers:  # noqa: ARG002 - the protocol's
        """A full exposure at every usable bar of the test."""
        return _banded(market, fold, np.ones(len(market.bars)), self._sizes)


class MovingAverageStrategy:
    """Long a full exposure while the mean of the last ``fast`` closes is above that of the last ``slow``, short while below.

    Closes are joined across marks by leaving out the jump, so that a roll is no signal.
    """

    seeds = 1

    def __init__(self, sizes: Sizes, fast: int = 10, slow: int = 40) -> None:
        if not 0 < fast < slow:
            raise EvaluationError(f"moving average: found fast {fast} and slow {slow}, expected 0 < fast < slow")
        self.name = f"moving-average cross {fast}/{slow}"
        self._sizes, self._fast, self._slow = sizes, fast, slow

    def targets(self, market: TrainingMarket, fold: Fold, seed: int) -> Integers:  # noqa: ARG002 - the protocol's
        """A full exposure in the direction of the cross."""
        moves = np.diff(market.bars["close"], prepend=market.bars["close"][0]).astype(np.float64)
        moves[np.diff(market.segment, prepend=market.segment[0]) != 0] = 0.0
        joined = np.cumsum(moves)
        side = np.sign(_mean_of_last(joined, self._fast) - _mean_of_last(joined, self._slow))
        return _banded(market, fold, side, self._sizes)


class RandomTiming:
    """Another competitor's positions at the wrong times: shifted round the test by a random number of bars, with a random sign.

    So it trades as much, and holds as much, as the other does; what is lost is only when, and which way.
    """

    def __init__(self, other: Competitor, seeds: int = 5, seed: int = 0) -> None:
        self.name = "random timing"
        self.seeds = seeds
        self._other, self._seed = other, seed

    def targets(self, market: TrainingMarket, fold: Fold, seed: int) -> Integers:
        """The other's lots at the usable bars of the test, moved."""
        places = fold_places(fold, market).test
        wished = self._other.targets(market, fold, seed % self._other.seeds)[places]
        generator = np.random.default_rng((self._seed, seed, fold.test.start_ns % 2**32))
        least = min(market.schema.rows, max(len(places) - 1, 0))
        shift = int(generator.integers(least, max(len(places) - least, least + 1)))
        lots = np.zeros(len(market.bars), np.int64)
        lots[places] = np.roll(wished, shift) * generator.choice([-1, 1])
        return lots


def _mean_of_last(values: Floats, count: int) -> Floats:
    """(T,) mean of the newest ``count`` values, of those there are at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - count, 0)
    means: Floats = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def _banded(market: TrainingMarket, fold: Fold, exposure: Floats, sizes: Sizes) -> Integers:
    """(T,) lots of ``exposure`` (T,) at the usable bars of the test, left as they are within the dead band."""
    whole = full_lots(market, sizes.capital_micros, sizes.full)
    lots = np.zeros(len(market.bars), np.int64)
    held = 0
    for place in fold_places(fold, market).test.tolist():
        held = banded_lots(held, float(exposure[place]), float(whole[place]), DEAD_BAND)
        lots[place] = held
    return lots


# --------------------------------------------------------------------------------------------------------- the models


class ModelAsTraded:
    """The trained model as the strategic layer trades it: collapsed by the mode, calibrated, sized by Kelly and its uncertainty."""

    def __init__(self, book: DecisionBook, name: str = "model") -> None:
        self.name = name
        self.seeds = book.seeds
        self._book = book

    def targets(self, market: TrainingMarket, fold: Fold, seed: int) -> Integers:
        """The decisions' lots."""
        decided = self._book.decided(market, fold, seed)
        lots = np.zeros(len(market.bars), np.int64)
        lots[decided.places] = decided.lots
        return lots


class CombinedAgents:
    """The model's agents, made one belief in a given way (``decisions.COMBINATIONS``), sized or as a bare direction.

    A bare direction holds a full exposure whatever the uncertainty; it shows what the forecast alone is worth.
    """

    def __init__(self, book: DecisionBook, way: str, sizes: Sizes, *, is_sized: bool) -> None:
        self.name = f"{way}, {'sized' if is_sized else 'direction'}"
        self.seeds = book.seeds
        self.way = way
        self._book, self._sizes, self._is_sized = book, sizes, is_sized

    def targets(self, market: TrainingMarket, fold: Fold, seed: int) -> Integers:
        """The lots that the combined belief asks for."""
        forecast = self._book.forecast(market, fold, seed, self.way)
        lots = np.zeros(len(market.bars), np.int64)
        if self._is_sized:
            lots[forecast.places] = sized_lots(
                market,
                forecast,
                self._book.decided(market, fold, seed),
                class_outcomes(self._book.model(fold, seed)),
                self._book.settings,
            )
            return lots
        exposure = np.zeros(len(market.bars))
        exposure[forecast.places] = directions(forecast.belief)
        return _banded(market, fold, exposure, self._sizes)


Beliefs = Callable[[TrainingMarket, Fold, int, Integers], Floats]
"""(market, fold, seed, places (N,)) -> beliefs (N, 3): any forecaster, a single-agent PPO or one big network for instance."""


class AnyForecaster:
    """A forecaster from elsewhere, as a bare direction at full exposure; it must not have learnt from the fold's test."""

    def __init__(self, name: str, beliefs: Beliefs, sizes: Sizes, seeds: int = 5) -> None:
        self.name = name
        self.seeds = seeds
        self._beliefs, self._sizes = beliefs, sizes

    def targets(self, market: TrainingMarket, fold: Fold, seed: int) -> Integers:
        """A full exposure in the direction of the belief's mode."""
        places = fold_places(fold, market).test
        exposure = np.zeros(len(market.bars))
        exposure[places] = directions(self._beliefs(market, fold, seed, places))
        return _banded(market, fold, exposure, self._sizes)


def simple_rules(sizes: Sizes) -> list[Competitor]:
    """What every model is held against."""
    return [NoTrade(), BuyAndHoldStrategy(sizes), VolatilityTarget(sizes), MovingAverageStrategy(sizes)]
