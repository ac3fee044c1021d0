"""Folds: nothing that is learnt from reaches what is tested; the runner hands all competitors the same bars."""

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.domain.blocks import BAR, Flag
from grandmodel.domain.time import THIRTY_MINUTES_NS
from grandmodel.research.errors import EvaluationError
from grandmodel.research.measures import EquityPath
from grandmodel.research.walk_forward import (
    Fold,
    check_folds,
    default_folds,
    fold_places,
    run_walk_forward,
    walks_of,
)
from grandmodel.runtime.feeds import instruments_named
from grandmodel.training.market import Span, build_market

NQ = instruments_named(["NQ"])[0]
START = 1_600_000_200 * 10**9 - (1_600_000_200 * 10**9) % THIRTY_MINUTES_NS
BARS = 1_600


def market_of(seed, marks=(), gaps=()):
    generator = np.random.default_rng(seed)
    close = 60_000 + generator.normal(0, 40, BARS).cumsum().round().astype(np.int64)
    bars = np.zeros(BARS, BAR)
    steps = np.ones(BARS, np.int64)
    steps[list(gaps)] = 30
    bars["ts_event"] = bars["ts_init"] = START + THIRTY_MINUTES_NS * np.cumsum(steps)
    bars["ts_open"] = bars["ts_event"] - THIRTY_MINUTES_NS
    bars["close"] = bars["open"] = close
    bars["high"], bars["low"] = close + 20, close - 20
    bars["volume"] = generator.integers(100, 5_000, BARS)
    for place, flag in marks:
        bars["flags"][place] |= int(flag)
    return build_market(bars, NQ, "strategic")


def fold_of(market, calibration, test, end, name="one", is_last=False):
    """Stretches that begin at the closes of these places of ``market``."""
    ts = market.ts_event
    return Fold(
        name=name,
        train=Span(int(ts[0]), int(ts[calibration])),
        calibration=Span(int(ts[calibration]), int(ts[test])),
        test=Span(int(ts[test]), int(ts[end])),
        is_last=is_last,
    )


PLACES = st.lists(st.integers(650, BARS - 1), min_size=3, max_size=3, unique=True).map(sorted)
MARKS = st.lists(st.tuples(st.integers(600, BARS - 1), st.sampled_from([Flag.ROLL, Flag.BAD_STRETCH])), max_size=3)
GAPS = st.lists(st.integers(1, BARS - 1), max_size=5, unique=True)


@settings(max_examples=25, deadline=None)
@given(places=PLACES, marks=MARKS, gaps=GAPS, seed=st.integers(0, 3))
def test_no_label_that_was_learnt_from_overlaps_a_bar_that_a_test_sees(places, marks, gaps, seed):
    market = market_of(seed, marks, gaps)
    fold = fold_of(market, *places)
    found = fold_places(fold, market)
    window = market.schema.rows
    for earlier, later in (
        (found.train, found.calibration),
        (found.train, found.test),
        (found.calibration, found.test),
    ):
        if len(earlier) and len(later):
            newest_label_bar = earlier.max() + market.horizon
            oldest_seen_bar = later.min() - window + 1
            assert newest_label_bar < oldest_seen_bar
    ts = market.ts_event
    assert (ts[found.train + market.horizon] < fold.calibration.start_ns).all()
    assert (ts[found.calibration + market.horizon] < fold.test.start_ns).all()
    assert fold.test.holds(ts[found.test]).all()
    assert market.usable[found.test].all()


def test_an_embargo_takes_the_end_of_a_stretch_only():
    market = market_of(0)
    fold = fold_of(market, 1_000, 1_200, 1_500)
    plain, held_back = fold_places(fold, market, embargo_bars=0), fold_places(fold, market, embargo_bars=100)
    assert plain.train.max() == 1_000 - market.horizon - 1
    assert held_back.train.max() == 1_000 - market.horizon - 101
    assert plain.train.min() == held_back.train.min()
    assert (plain.test == held_back.test).all()


@pytest.mark.parametrize("layer", ["strategic", "tactical"])
def test_the_default_folds_grow_and_keep_one_look_for_the_end(layer):
    folds = default_folds(layer)
    check_folds(folds)
    assert [fold.is_last for fold in folds] == [False] * (len(folds) - 1) + [True]
    for before, after in itertools.pairwise(folds):
        assert before.train.start_ns == after.train.start_ns
        assert before.train.end_ns < after.train.end_ns
        assert before.test.end_ns <= after.test.start_ns
    assert msgspec.json.decode(msgspec.json.encode(folds[0]), type=Fold) == folds[0]


def test_overlaps_are_refused():
    with pytest.raises(EvaluationError, match="one after the other without overlap"):
        Fold(name="x", train=Span(0, 10), calibration=Span(9, 20), test=Span(20, 30))
    with pytest.raises(EvaluationError, match="one after the other without overlap"):
        Fold(name="x", train=Span(0, 10), calibration=Span(10, 21), test=Span(20, 30))

    def fold(name, start, is_last=False):
        return Fold(
            name=name, train=Span(0, 10), calibration=Span(10, 20), test=Span(start, start + 10), is_last=is_last
        )

    check_folds([fold("a", 20), fold("b", 30, is_last=True)])
    for folds, message in (
        ([], "found none"),
        ([fold("a", 20), fold("b", 29)], "without overlap"),
        ([fold("b", 30), fold("a", 20)], "without overlap"),
        ([fold("a", 20, is_last=True), fold("b", 30)], "none after it"),
        ([fold("a", 20), fold("a", 30)], "each once"),
    ):
        with pytest.raises(EvaluationError, match=message):
            check_folds(folds)


# --------------------------------------------------------------------------------------------------------- the runner


class Numbered:
    """Wishes the place of the bar, plus the seed; what it wishes outside the test must not matter."""

    def __init__(self, name="numbered", seeds=1):
        self.name = name
        self.seeds = seeds

    def targets(self, *asked):
        market, _, seed = asked
        return np.arange(len(market.bars)) + seed


def recording_walk(seen):
    def walk(market, lots, span):
        seen.append((market, lots, span))
        inside = span.holds(market.ts_event)
        n = int(inside.sum())
        nothing, ones = np.zeros(n, np.int64), np.ones(n)
        return EquityPath(
            "NQ", market.ts_event[inside], market.day[inside], market.usable[inside], 10**9, nothing + 10**9, nothing,
            nothing, nothing, ones, ones, ones, ones,
        )  # fmt: skip

    return walk


def test_the_runner_hands_on_the_wishes_of_usable_bars_of_the_test_and_closes_at_its_end():
    market = market_of(0, marks=[(1_300, Flag.ROLL)])
    folds = [
        fold_of(market, 1_000, 1_200, 1_400),
        fold_of(market, 1_300, 1_400, 1_500, name="two", is_last=True),
    ]
    seen, told = [], []
    walks = run_walk_forward(
        folds, [market], [Numbered(), Numbered("other", seeds=3)], recording_walk(seen), told.append
    )
    assert len(walks) == len(told) == len(seen) == 2 * (1 + 3)
    assert [walk.seed for walk in walks_of(walks, "other", "two")] == [0, 1, 2]
    lots = seen[0][1]
    used = fold_places(folds[0], market).test
    assert not market.usable[1_299]
    assert (lots[used[:-1]] == used[:-1]).all()
    assert lots[1_299] == 1_298  # what was wished before still stands
    assert not lots[: used[0]].any()
    assert not lots[used[-1] :].any()
    assert (seen[3][1][used[:-1]] == used[:-1] + 2).all()


def test_a_fold_that_nobody_can_trade_is_refused():
    market = market_of(0)
    ts = market.ts_event
    late = Fold(
        name="late",
        train=Span(int(ts[0]), int(ts[900])),
        calibration=Span(int(ts[900]), int(ts[1_000])),
        test=Span(int(ts[-1]) + 1, int(ts[-1]) + 2),
    )
    with pytest.raises(EvaluationError, match="found no decision"):
        run_walk_forward([late], [market], [Numbered()], recording_walk([]))


def test_targets_of_another_length_are_refused():
    class Short(Numbered):
        def targets(self, *asked):
            return np.zeros(4 + len(asked) // 3)

    market = market_of(0)
    with pytest.raises(EvaluationError, match="one entry per bar"):
        run_walk_forward([fold_of(market, 1_000, 1_200, 1_400)], [market], [Short()], recording_walk([]))
