"""Working given positions: the perfect path by hand, costs of each way, and that the stepped account is the compiled one."""

import dataclasses

import msgspec
import numpy as np
import pytest

from grandmodel.domain.blocks import Flag
from grandmodel.domain.time import FIVE_MINUTES_NS
from grandmodel.models.loaded import LoadedModel
from grandmodel.models.model_file import DataSpan, DataSpans, Model
from grandmodel.research.card import tactical_card
from grandmodel.research.errors import EvaluationError
from grandmodel.research.evaluate import Trials
from grandmodel.research.report import tactical_page
from grandmodel.research.strategies import full_lots
from grandmodel.research.tactical import (
    AlwaysPassive,
    AtOnce,
    RandomWait,
    Slices,
    TacticalEvaluation,
    draw_exposures,
    evaluate_tactical,
    tactical_verdict,
    walk_orders,
    wished_path,
)
from grandmodel.research.walk_forward import Fold
from grandmodel.tactical.decision import TacticalSettings
from grandmodel.training.lanes import LaneSettings, build_market_arrays, walk_market
from grandmodel.training.market import Span, build_market
from lane_markets import wild_bars
from training_markets import NQ
from unit.models.model_cases import manifest_of, weights_of

LANES, PLAN = LaneSettings(), TacticalSettings()
ROLL = 1_700


@pytest.fixture(scope="module")
def market():
    bars = wild_bars(np.random.default_rng(5), NQ, 5, 4_500, start_price=30_000, missing=0.0, marks=0.0).copy()
    bars["flags"] = 0
    bars["flags"][ROLL] = int(Flag.ROLL)
    bars["open"][1:] = bars["close"][:-1]
    bars["high"] = np.maximum(bars["high"], bars["open"])
    bars["low"] = np.minimum(bars["low"], bars["open"])
    return build_market(bars, NQ, "tactical")


@pytest.fixture(scope="module")
def fold(market):
    ts = market.ts_event
    return Fold(
        name="one",
        train=Span(int(ts[0]), int(ts[700])),
        calibration=Span(int(ts[700]), int(ts[1_000])),
        test=Span(int(ts[1_000]), int(ts[4_400])),
    )


@pytest.fixture(scope="module")
def work(market, fold):
    path = wished_path(market, fold, draw_exposures(market, fold, 0), LANES, PLAN)
    arrays = build_market_arrays(market, LANES)
    full = full_lots(market, LANES.capital_micros, PLAN.full)

    def walk(executor, seed=0):
        return walk_orders(market, arrays, path, executor.begin(market, fold, seed), LANES, full)

    return path, arrays, walk


def test_exposures_change_at_half_hours_only_and_are_seeded(market, fold):
    exposures = draw_exposures(market, fold, 0)
    inside = fold.test.holds(market.ts_event)
    assert not exposures[~inside].any()
    changed = np.flatnonzero(np.diff(exposures) != 0) + 1
    half_hours = market.ts_event[changed] % (6 * FIVE_MINUTES_NS) == 0
    assert half_hours[:-1].all()  # the last one is the end of the test
    assert (exposures == draw_exposures(market, fold, 0)).all()
    assert (exposures != draw_exposures(market, fold, 1)).any()
    assert np.abs(exposures).max() <= 1.0


def test_the_perfect_path_is_lots_times_moves(market, work):
    path, _, _ = work
    close = market.bars["close"][path.first : path.first + len(path.lots)].astype(np.int64)
    total = sum(
        int(path.lots[k]) * int(close[k + 1] - close[k]) * NQ.tick_value_micros for k in range(len(path.lots) - 1)
    )
    assert path.pnl_micros.sum() == total
    roll = ROLL - path.first
    assert path.lots[roll - 1] == 0  # nothing is held across a mark
    assert path.lots[-1] == 0
    assert path.notional_micros > 0
    whole = np.array([0 if asked is None else asked.full_lots for asked in path.asked])
    assert (np.abs(path.lots) <= 1.1 * whole + 1).all()


def test_the_stepped_account_is_the_compiled_walk(work):
    path, arrays, walk = work
    stepped = walk(AtOnce())
    compiled = walk_market(arrays, 0, path.lots, LANES, first=path.first)
    assert (stepped.lots == compiled.lots).all()
    assert (stepped.equity_micros == compiled.equity_micros).all()
    assert stepped.traded_lots.sum() == compiled.traded_lots[-1]
    assert stepped.cost_micros.sum() == compiled.fees_micros[-1]


def test_trading_at_once_falls_short_by_its_costs(market, work):
    path, _, walk = work
    made = walk(AtOnce())
    short = int(path.pnl_micros.sum() - made.pnl_micros.sum())
    slippage = int(made.traded_lots.sum()) * NQ.tick_value_micros
    # Orders fill at the next bar's open, which is the close here: what is missing is slippage and fees, and the few orders that a
    # session's end puts off.
    assert short == pytest.approx(slippage + made.cost_micros.sum(), rel=0.06)


def test_each_way_does_what_it_says(work):
    path, _, walk = work
    at_once, slices, passive, waits = walk(AtOnce()), walk(Slices()), walk(AlwaysPassive()), walk(RandomWait())
    distance = [np.abs(one.lots[1:] - path.lots[:-1]).mean() for one in (at_once, slices, passive, waits)]
    assert distance[0] <= min(distance[1:])
    assert len({tuple(one.lots) for one in (at_once, slices, waits)}) == 3
    # A limit at the mark fills where the next bar opens at it, and pays no slippage.
    assert passive.equity_micros[-1] > at_once.equity_micros[-1]
    assert (walk(RandomWait(), 1).lots != waits.lots).any()
    assert (walk(RandomWait(), 0).lots == waits.lots).all()


def model_of(seed, train_to):
    spans = DataSpans(instruments=("NQ",), train=DataSpan(start_ns=0, end_ns=train_to))
    manifest = manifest_of("tactical", data=spans, outcomes=None)
    return LoadedModel(Model(f"{seed:064x}", manifest, weights_of("tactical", seed=seed, size=2.0), {}), f"m{seed}")


@pytest.fixture(scope="module")
def found(market, fold):
    models = {"one": [model_of(k, fold.train.end_ns) for k in range(2)]}
    return evaluate_tactical([market], [fold], models, Trials(count=4)), models


def test_an_evaluation_holds_together(found, market, fold):
    result, models = found
    assert msgspec.json.decode(msgspec.json.encode(result), type=TacticalEvaluation) == result
    assert [row.name for row in result.competitors] == ["model", "at once", "slices", "always passive", "random wait"]
    at_once = result.competitor("at once")
    for row in result.competitors:
        if row.saved_bps is not None:
            assert row.saved_bps.value == pytest.approx(at_once.shortfall_bps - row.shortfall_bps, abs=1e-6)
        assert row.equity[-1] - 1 == pytest.approx(row.net_return)
    assert at_once.shortfall_bps > 0
    assert evaluate_tactical([market], [fold], models, Trials(count=4)) == result


def test_page_and_card_show_it(found):
    result, models = found
    page, card = tactical_page(result), tactical_card(result, models["one"][0].manifest)
    for sentence in tactical_verdict(result):
        assert f"- {sentence}" in card
    assert "always passive" in page
    assert "Shortfall" in page
    assert "## Where it must not be used" in card


def test_what_cannot_be_evaluated_is_refused(market, fold, found):
    _, models = found
    with pytest.raises(EvaluationError, match="no look noted"):
        evaluate_tactical([market], [msgspec.structs.replace(fold, is_last=True)], models, Trials(count=1))
    with pytest.raises(EvaluationError, match="trades nothing"):
        evaluate_tactical([market], [fold], models, Trials(count=1), exposures=lambda one, *_: np.zeros(len(one.bars)))
    unusable = dataclasses.replace(market, usable=np.zeros(len(market.bars), np.bool_))
    with pytest.raises(EvaluationError, match="no decision in any market"):
        evaluate_tactical([unusable], [fold], models, Trials(count=1))
