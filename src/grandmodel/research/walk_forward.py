"""What may be learnt from and what is tested on: folds in time, and the runner that plays all competitors through them.

::

    train, from the beginning | purge, embargo | calibration | purge, embargo | test        time ->

Each later fold learns from more. A label looks ``horizon`` bars ahead, so the last decisions of a stretch whose labels
reach its end are left out (purged), and ``embargo`` more bars, by default a window's length: then no label that was
learnt from overlaps any bar that a tested decision sees (Lopez de Prado, Advances in Financial Machine Learning, 2018,
chapter 7). ``fold_places`` gives the decisions of the three stretches in one market and checks exactly that.

The last fold is for one look: ``TrialLog.touch_last_fold`` writes the first one down and refuses a second one with other models
unless a reason is given; every report says how many looks there were. Read ``strategies.py`` next.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.time import ns_from_text, text_from_ns
from grandmodel.research.errors import EvaluationError
from grandmodel.research.measures import EquityPath
from grandmodel.training.market import Layer, Span, TrainingMarket

Integers = NDArray[np.int64]


class Fold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One round of learning and testing. Stretches are [start, end), in order of time; between them nothing is used."""

    name: str
    train: Span
    calibration: Span
    """Held back from learning: chooses among trials, fits temperatures and intervals."""
    test: Span
    is_last: bool = False
    """Whether it may be looked at only once."""

    def __post_init__(self) -> None:
        """Refuse stretches that overlap, or stand in the wrong order."""
        if self.train.end_ns > self.calibration.start_ns or self.calibration.end_ns > self.test.start_ns:
            raise EvaluationError(
                f"fold {self.name}: found train to {_date(self.train.end_ns)}, calibration {span_text(self.calibration)} and test "
                f"{span_text(self.test)}, expected one after the other without overlap"
            )


@dataclass(frozen=True, slots=True)
class FoldPlaces:
    """Decisions of one fold in one market, as places of its bars."""

    train: Integers
    calibration: Integers
    test: Integers
    """Every bar of the test span at which a decision may be taken, whether or not its outcome is known."""


def strategic_folds() -> list[Fold]:
    """NQ and CL, half-hour bars, July 2020 to June 2024: three half-years, and the last year for one look."""
    return _expanding(
        "2020-07-01",
        [
            ("2022H1", "2021-10-01", "2022-01-01", "2022-07-01"),
            ("2022H2", "2022-04-01", "2022-07-01", "2023-01-01"),
            ("2023H1", "2022-10-01", "2023-01-01", "2023-07-01"),
            ("last", "2023-04-01", "2023-07-01", "2024-06-29"),
        ],
    )


def tactical_folds() -> list[Fold]:
    """NQ and GC, five-minute bars, January to October 2019: two months, and the last two for one look.

    Training begins with the exchange-traded funds of December 2014 to July 2015, where they are given; nothing is tested on them.
    """
    return _expanding(
        "2014-12-01",
        [
            ("2019-07", "2019-06-01", "2019-07-01", "2019-08-01"),
            ("2019-08", "2019-07-01", "2019-08-01", "2019-09-01"),
            ("last", "2019-08-01", "2019-09-01", "2019-11-01"),
        ],
    )


def default_folds(layer: Layer) -> list[Fold]:
    """The folds that this project's tables use."""
    return strategic_folds() if layer == "strategic" else tactical_folds()


def check_folds(folds: Sequence[Fold]) -> None:
    """Raise ``EvaluationError`` where test spans overlap or run backwards, or the last fold is not the one at the end.

    A last fold's test span must also lie after everything that the other folds learn from or test on.
    """
    if not folds:
        raise EvaluationError("folds: found none, expected at least one")
    for before, after in itertools.pairwise(folds):
        if before.test.end_ns > after.test.start_ns:
            raise EvaluationError(
                f"folds {before.name} and {after.name}: found tests {span_text(before.test)} and {span_text(after.test)}, "
                "expected one after the other without overlap"
            )
        if before.is_last:
            raise EvaluationError(f"fold {before.name}: it is marked the last, expected none after it")
    names = [fold.name for fold in folds]
    if len(set(names)) < len(names):
        raise EvaluationError(f"folds: found names {names}, expected each once")


def default_embargo(market: TrainingMarket) -> int:
    """A window's length: no bar that a tested decision sees was part of a label that was learnt from."""
    return market.schema.rows


def fold_places(fold: Fold, market: TrainingMarket, embargo_bars: int | None = None) -> FoldPlaces:
    """The decisions of ``fold`` in ``market``; labels are purged and embargoed at the end of training and of calibration.

    Raises ``EvaluationError`` where a label of one stretch would still reach into the next: it cannot, and is checked.
    """
    embargo = default_embargo(market) if embargo_bars is None else embargo_bars
    train = market.decisions(fold.train, embargo_bars=embargo)
    calibration = market.decisions(fold.calibration, embargo_bars=embargo)
    test = np.flatnonzero(market.usable & fold.test.holds(market.ts_event))
    for name, earlier, later in (("training", train, fold.calibration), ("calibration", calibration, fold.test)):
        reach = market.ts_event[earlier + market.horizon]
        if len(reach) and int(reach.max()) >= later.start_ns:
            raise EvaluationError(
                f"fold {fold.name}, {market.instrument.id}: a {name} label reaches {text_from_ns(int(reach.max()))}, "
                f"expected it to end before {text_from_ns(later.start_ns)}"
            )
    return FoldPlaces(train=train, calibration=calibration, test=test.astype(np.int64))


# -------------------------------------------------------------------------------------------------------- the runner


class Competitor(Protocol):
    """Somebody who trades: a rule, or a trained model."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def seeds(self) -> int:
        """Runs that differ by their seed alone; 1 for a rule without chance."""
        ...

    def targets(self, market: TrainingMarket, fold: Fold, seed: int) -> Integers:
        """(T,) lots to hold from each bar of ``market`` on, signed; only usable bars of ``fold.test`` are read."""
        ...


@dataclass(frozen=True, slots=True)
class Walk:
    """One competitor's walk through one fold with one seed: a path per market."""

    fold: str
    competitor: str
    seed: int
    paths: tuple[EquityPath, ...]


WalkMarket = Callable[[TrainingMarket, Integers, Span], EquityPath]
"""(market, target lots (T,), test span) -> the account's path over the span, after costs, through exchange and gate."""


def run_walk_forward(
    folds: Sequence[Fold],
    markets: Sequence[TrainingMarket],
    competitors: Sequence[Competitor],
    walk: WalkMarket,
    on_walk: Callable[[Walk], None] | None = None,
) -> list[Walk]:
    """Every competitor through every fold with every seed of its own, in every market that has a decision in the test span.

    All trade the same bars through the same ``walk``. Targets outside the test span, and at bars where no decision may be
    taken, are not handed on. Raises ``EvaluationError`` where no market has a decision in a fold's test span.
    """
    check_folds(folds)
    walks = []
    for fold in folds:
        tested = [(market, fold_places(fold, market).test) for market in markets]
        tested = [(market, places) for market, places in tested if len(places)]
        if not tested:
            raise EvaluationError(f"fold {fold.name}: found no decision in {span_text(fold.test)} in any market")
        for competitor in competitors:
            for seed in range(competitor.seeds):
                paths = []
                for market, places in tested:
                    wished = np.asarray(competitor.targets(market, fold, seed), dtype=np.int64)
                    paths.append(walk(market, _held_over(wished, places, len(market.bars)), fold.test))
                walks.append(Walk(fold=fold.name, competitor=competitor.name, seed=seed, paths=tuple(paths)))
                if on_walk is not None:
                    on_walk(walks[-1])
    return walks


def _held_over(wished: Integers, places: Integers, bars: int) -> Integers:
    """(T,) ``wished`` at the ``places`` and the last wish between them; 0 before the first and from the last on, so that all is closed."""
    if wished.shape != (bars,):
        raise EvaluationError(f"targets: found shape {wished.shape}, expected one entry per bar, {bars}")
    latest = np.searchsorted(places, np.arange(bars), side="right") - 1
    held = np.where(latest >= 0, wished[places[np.maximum(latest, 0)]], 0)
    held[places[-1] :] = 0
    return held.astype(np.int64)


def walks_of(walks: Iterable[Walk], competitor: str, fold: str | None = None) -> list[Walk]:
    """The walks of one competitor, of one fold or of all."""
    return [walk for walk in walks if walk.competitor == competitor and (fold is None or walk.fold == fold)]


def span_text(span: Span) -> str:
    """``2022-01-01 to 2022-07-01``, the end not included."""
    return f"{_date(span.start_ns)} to {_date(span.end_ns)}"


def _date(ts: int) -> str:
    return text_from_ns(ts)[:10]


def _expanding(start: str, rounds: Sequence[tuple[str, str, str, str]]) -> list[Fold]:
    """Folds of (name, start of calibration, start of test, end of test), all learning from ``start`` on; the final one is the last."""
    folds = []
    for place, (name, *dates) in enumerate(rounds):
        calibration, test, end = (ns_from_text(date) for date in dates)
        folds.append(
            Fold(
                name=name,
                train=Span(ns_from_text(start), calibration),
                calibration=Span(calibration, test),
                test=Span(test, end),
                is_last=place == len(rounds) - 1,
            )
        )
    return folds
