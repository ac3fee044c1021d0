"""Competitors: what each rule wants, that models say what they would say in trading, and that nobody sees ahead."""

import dataclasses
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.models.calibration import log_loss
from grandmodel.models.loaded import LoadedModel, decision_seed
from grandmodel.models.model_file import DataSpan, DataSpans, Model
from grandmodel.models.registry import Entry, Stage
from grandmodel.research.decisions import (
    BEST,
    COMBINATIONS,
    COORDINATED,
    EQUAL,
    VOTE,
    DecisionBook,
    DecisionSettings,
    banded_lots,
    best_agent,
    check_unseen,
    combine,
    directions,
    models_trained_for,
)
from grandmodel.research.errors import EvaluationError
from grandmodel.research.measures import daily_returns
from grandmodel.research.strategies import (
    AnyForecaster,
    BuyAndHoldStrategy,
    CombinedAgents,
    LaneWalker,
    ModelAsTraded,
    MovingAverageStrategy,
    NoTrade,
    RandomTiming,
    Sizes,
    VolatilityTarget,
    full_lots,
    simple_rules,
)
from grandmodel.research.walk_forward import Fold, fold_places, run_walk_forward
from grandmodel.risk.sizing import ExposureSettings
from grandmodel.strategic.decision import StrategicSettings
from grandmodel.training.lanes import LaneSettings
from grandmodel.training.market import Span, build_market
from training_markets import NQ, some_bars
from unit.models.model_cases import manifest_of, weights_of

LANES = LaneSettings()
SIZES = Sizes(LANES.capital_micros, ExposureSettings())
SETTINGS = DecisionSettings(StrategicSettings(), LANES.risk, LANES.capital_micros)


def fold_of(market, calibration, test, end, name="one"):
    ts = market.ts_event
    return Fold(
        name=name,
        train=Span(int(ts[0]), int(ts[calibration])),
        calibration=Span(int(ts[calibration]), int(ts[test])),
        test=Span(int(ts[test]), int(ts[end])),
    )


def model_of(seed=0, size=3.0, train_to=10**18, **changes):
    spans = DataSpans(instruments=("NQ",), train=DataSpan(start_ns=0, end_ns=train_to))
    manifest = manifest_of(data=spans, **changes)
    return LoadedModel(Model(f"{seed:064x}", manifest, weights_of(seed=seed, size=size), {}), f"model {seed}")


@pytest.fixture(scope="module")
def market():
    return build_market(some_bars(1_700, 1, persistence=0.2), NQ, "strategic")


@pytest.fixture(scope="module")
def fold(market):
    return fold_of(market, 1_000, 1_250, 1_650)


@pytest.fixture(scope="module")
def walker():
    return LaneWalker(LANES, SIZES.full)


@pytest.fixture(scope="module")
def book():
    return DecisionBook({"one": [model_of(0), model_of(1)]}, SETTINGS)


# ---------------------------------------------------------------------------------------------------------- the rules


def test_the_rules_hold_what_they_say(market, fold):
    places = fold_places(fold, market).test
    whole = SIZES.whole_lots(market)
    assert not NoTrade().targets(market, fold, 0).any()
    assert set(BuyAndHoldStrategy(SIZES).targets(market, fold, 0)) == {whole[places[0]]}
    always = VolatilityTarget(SIZES).targets(market, fold, 0)[places]
    assert (np.abs(always - whole[places]) <= 0.1 * whole[places] + 1).all()
    assert len(np.unique(always)) < len(np.unique(whole[places]))
    closes = market.bars["close"].astype(float)
    cross = MovingAverageStrategy(SIZES, 5, 20).targets(market, fold, 0)
    for place in places:
        side = np.sign(closes[place - 4 : place + 1].mean() - closes[place - 19 : place + 1].mean())
        assert np.sign(cross[place]) == side


def test_a_full_exposure_is_a_volatility_of_a_tenth(market):
    lots = full_lots(market, LANES.capital_micros, SIZES.full)
    place = 1_500
    per_day = 46.0  # half hours of 23
    annual = lots[place] * market.scale[place] * NQ.tick_value_micros * math.sqrt(per_day * 252) / LANES.capital_micros
    var = lots[place] * market.scale[place] * NQ.tick_value_micros * math.sqrt(per_day) / LANES.capital_micros
    assert annual == pytest.approx(0.10) or var < 0.02
    assert annual <= 0.10 * (1 + 1e-9)


def test_rules_see_nothing_of_what_comes(market, fold):
    places = fold_places(fold, market).test
    cut = int(places[len(places) // 2])
    bars = market.bars.copy()
    bars["close"][cut + 1 :] += 4_000
    bars["high"][cut + 1 :] += 4_000
    other = dataclasses.replace(market, bars=bars)
    for rule in simple_rules(SIZES):
        assert (rule.targets(market, fold, 0)[: cut + 1] == rule.targets(other, fold, 0)[: cut + 1]).all()


def test_random_timing_trades_as_much_as_the_other(market, fold):
    places = fold_places(fold, market).test
    rule = MovingAverageStrategy(SIZES, 5, 20)
    other = rule.targets(market, fold, 0)[places]
    chance = RandomTiming(rule)
    seen = [chance.targets(market, fold, seed)[places] for seed in range(chance.seeds)]
    assert (seen[0] == chance.targets(market, fold, 0)[places]).all()
    for lots in seen:
        assert sorted(np.abs(lots)) == sorted(np.abs(other))
        assert np.abs(np.diff(lots)).sum() == pytest.approx(np.abs(np.diff(other)).sum(), abs=4.0 * np.abs(other).max())
        assert abs(np.corrcoef(lots, other)[0, 1]) < 0.9
    assert len({tuple(lots) for lots in seen}) == len(seen)


@given(held=st.integers(-50, 50), exposure=st.floats(-1, 1), full=st.floats(0, 50))
def test_a_small_change_is_not_traded_and_a_turn_always_is(held, exposure, full):
    lots, wish = banded_lots(held, exposure, full, 0.1), int(exposure * full)
    assert lots in {held, wish}
    if wish * held < 0 or wish == 0:
        assert lots == wish
    elif lots == held and held != wish:
        assert abs(wish - held) < 0.1 * full


# ---------------------------------------------------------------------------------------------------------- the walk


def test_all_walk_the_same_bars_and_pay(market, fold, walker):
    walks = run_walk_forward(
        [fold], [market], [*simple_rules(SIZES), RandomTiming(MovingAverageStrategy(SIZES))], walker
    )
    first = walks[0].paths[0]
    for walk in walks:
        path = walk.paths[0]
        assert (path.ts_event == first.ts_event).all()
        assert fold.test.holds(path.ts_event).all()
        assert path.lots[-1] == 0
        assert (path.traded_lots >= np.abs(np.diff(path.lots, prepend=0))).all()
        assert (path.cost_micros > 0).sum() == (path.traded_lots > 0).sum()
        assert np.isnan(path.volume).sum() == 0
    assert (first.equity_micros == LANES.capital_micros).all()


def test_profit_before_costs_is_lots_times_moves(market, fold, walker):
    path = walker(market, BuyAndHoldStrategy(SIZES).targets(market, fold, 0), fold.test)
    lots = path.lots.max()
    held = path.lots == lots
    assert held.sum() > 100
    moves = np.diff(market.bars["close"][fold.test.holds(market.ts_event)].astype(np.int64))
    inside = held[1:] & held[:-1]
    assert (path.pnl_micros[1:][inside] == lots * moves[inside] * NQ.tick_value_micros).all()


def test_foresight_makes_money_and_its_opposite_loses(market, fold, walker):
    places = fold_places(fold, market).test
    better = np.zeros(len(market.bars), np.int64)
    ahead = np.sign(market.bars["close"][np.minimum(places + 4, 1_699)] - market.bars["close"][places])
    better[places] = 10 * ahead
    good, bad = walker(market, better, fold.test), walker(market, -better, fold.test)
    assert good.equity_micros[-1] > LANES.capital_micros > bad.equity_micros[-1]
    _, returns = daily_returns([good])
    assert returns.mean() > 0


# --------------------------------------------------------------------------------------------------------- the models


def test_a_model_says_what_it_would_say_in_trading(market, fold, book):
    decided = book.decided(market, fold, 0)
    model = book.model(fold, 0)
    assert (decided.places == fold_places(fold, market).test).all()
    # The first decision is taken with an account that holds nothing: the tail is then known without walking.
    place = int(decided.places[0])
    tail = np.zeros(9, np.float32)
    tail[:2] = market.rows[place, 6:8]
    tail[8] = min(market.scale[place] / model.mean_scale("NQ"), 3.0)
    output, _, _ = model.strategic(market.rows[place - 47 : place + 1], tail, decision_seed(0, 0))
    assert decided.beliefs[0] == pytest.approx(output.beliefs)
    assert decided.weights[0] == pytest.approx(output.weights)
    assert decided.mutual_information[0] == pytest.approx(output.mutual_information)


def test_a_position_is_no_larger_than_a_full_exposure_and_follows_the_belief(market, fold, book):
    decided = book.decided(market, fold, 0)
    whole = full_lots(market, LANES.capital_micros, SIZES.full)[decided.places]
    assert np.abs(decided.lots).max() > 0
    assert (np.abs(decided.lots) <= 1.3 * whole + 1).all()  # the dead band, and equity that moves
    belief = combine(decided.beliefs, decided.weights, COORDINATED)
    held = decided.lots != 0
    sides = directions(belief)
    assert (np.sign(decided.lots[held]) * sides[held] >= 0).all()


def test_models_see_nothing_of_what_comes(market, fold, book):
    decided = book.decided(market, fold, 0)
    cut = int(decided.places[200])
    rows = market.rows.copy()
    rows[cut + 1 :] = 9.0
    bars = market.bars.copy()
    bars["close"][cut + 1 :] += 5_000
    other = dataclasses.replace(market, rows=rows, bars=bars, scale=np.where(np.arange(1_700) > cut, 7.0, market.scale))
    changed = DecisionBook(book.models, SETTINGS).decided(other, fold, 0)
    assert (changed.lots[:201] == decided.lots[:201]).all()
    assert (changed.beliefs[:201] == decided.beliefs[:201]).all()
    assert (changed.beliefs[201:] != decided.beliefs[201:]).any()


def test_ways_to_combine_are_what_they_say():
    beliefs = np.array([[[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.0, 0.2, 0.8]]])
    weights = np.array([[0.5, 0.5, 0.0]])
    assert combine(beliefs, weights, COORDINATED)[0] == pytest.approx([0.55, 0.35, 0.1])
    assert combine(beliefs, weights, EQUAL)[0] == pytest.approx([1.1 / 3, 0.3, 1 / 3])
    assert combine(beliefs, weights, VOTE)[0] == pytest.approx([2 / 3, 0.0, 1 / 3])
    assert combine(beliefs, weights, BEST, 2)[0] == pytest.approx([0.0, 0.2, 0.8])
    assert best_agent(np.repeat(beliefs, 4, axis=0), np.array([2, 2, 2, 2])) == 2
    assert best_agent(np.repeat(beliefs, 4, axis=0), np.array([0, 0, 0, 0])) == 0
    with pytest.raises(EvaluationError, match="expected one of"):
        combine(beliefs, weights, "wisdom")


def test_forecasts_are_calibrated_on_the_stretch_before_the_test(market, fold, book):
    for way in COMBINATIONS:
        forecast = book.forecast(market, fold, 0, way)
        assert forecast.belief.sum(axis=1) == pytest.approx(1.0)
        known = forecast.labels >= 0
        assert (np.isfinite(forecast.outcomes) == known).all()
        assert log_loss(forecast.belief[known], forecast.labels[known]) < 1.4  # a random network, made humble
        assert forecast.temperature > 1.0


def test_every_way_can_be_traded(market, fold, book, walker):
    competitors = [ModelAsTraded(book)]
    competitors += [CombinedAgents(book, way, SIZES, is_sized=sized) for way in COMBINATIONS for sized in (True, False)]
    walks = run_walk_forward([fold], [market], competitors, walker)
    assert len(walks) == 2 * 9
    assert len({walk.competitor for walk in walks}) == 9
    by_name = {(walk.competitor, walk.seed): walk.paths[0] for walk in walks}
    bare = by_name["coordinator, direction", 0]
    sized = by_name["coordinator, sized", 0]
    assert np.abs(bare.lots).mean() >= np.abs(sized.lots).mean()


def test_any_forecaster_can_be_held_against_it(market, fold):
    def bullish(market, fold, seed, places):
        return np.tile([0.8, 0.1, 0.1] if seed == 0 else [0.1, 0.1, 0.8], (len(places), 1))

    one = AnyForecaster("single agent", bullish, SIZES, seeds=2)
    places = fold_places(fold, market).test
    assert (one.targets(market, fold, 0)[places] > 0).all()
    assert (one.targets(market, fold, 1)[places] < 0).all()


def test_a_model_is_not_asked_about_what_it_learnt_from(market):
    ts = market.ts_event
    folds = [fold_of(market, 900, 1_000, 1_200, "a"), fold_of(market, 1_100, 1_200, 1_400, "b")]
    early = [model_of(k, train_to=int(ts[900])) for k in range(2)]
    late = [model_of(k + 5, train_to=int(ts[1_100])) for k in range(2)]
    check_unseen({"a": early, "b": late}, folds)
    check_unseen({"a": early, "b": early}, folds)
    with pytest.raises(EvaluationError, match="fold a, model 5: found a model made from data up to"):
        check_unseen({"a": late, "b": late}, folds)
    with pytest.raises(EvaluationError, match="as many seeds"):
        check_unseen({"a": early, "b": late[:1]}, folds)
    with pytest.raises(EvaluationError, match="at least one"):
        check_unseen({}, folds)
    spans = DataSpans(
        instruments=("NQ",),
        train=DataSpan(start_ns=0, end_ns=int(ts[900])),
        validation=DataSpan(start_ns=int(ts[900]), end_ns=int(ts[1_001])),
    )
    peeked = LoadedModel(Model("0" * 64, manifest_of(data=spans), weights_of(), {}), "peeked")
    with pytest.raises(EvaluationError, match="fold a, peeked"):
        check_unseen({"a": [peeked]}, folds[:1])


def entry_of(fold, seed, added=0, model="", **changes):
    def span(found):
        return DataSpan(start_ns=found.start_ns, end_ns=found.end_ns)

    spans = DataSpans(instruments=("NQ",), train=span(fold.train), validation=span(fold.calibration))
    manifest = manifest_of(data=spans, seeds=(seed,), **changes)
    return Entry(
        id=model or f"{fold.name}{seed}{added}", layer="strategic", stage=Stage.CANDIDATE, added_ns=added, bytes=1,
        manifest=manifest, problem="",
    )  # fmt: skip


def test_the_newest_model_of_each_seed_is_taken_from_the_registry(market):
    folds = [fold_of(market, 900, 1_000, 1_200, "a"), fold_of(market, 1_100, 1_200, 1_400, "b")]
    entries = [entry_of(fold, seed, added) for fold in folds for seed in (1, 0) for added in (5, 9, 7)]
    found = models_trained_for(entries, folds)
    assert found == {"a": ["a09", "a19"], "b": ["b09", "b19"]}
    damaged = msgspec.structs.replace(entries[0], manifest=None, id="x", added_ns=99)
    assert models_trained_for([damaged, *entries], folds) == found
    with pytest.raises(EvaluationError, match="fold b: found no model trained on"):
        models_trained_for(entries[:6], folds)
    with pytest.raises(EvaluationError, match="the same in each"):
        models_trained_for(entries[:9], folds)
    other = entry_of(folds[0], 1, 20, settings={"epochs": 4})
    with pytest.raises(EvaluationError, match="different settings"):
        models_trained_for([*entries, other], folds)
