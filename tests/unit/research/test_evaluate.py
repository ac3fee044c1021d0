"""Whole evaluations on small made-up markets: the numbers agree with each other, and the page and the card with the numbers."""

import math

import msgspec
import numpy as np
import pytest

from grandmodel.models.loaded import LoadedModel
from grandmodel.models.model_file import DataSpan, DataSpans, Model
from grandmodel.performance.ratios import moments
from grandmodel.research import evaluate as evaluate_module
from grandmodel.research.card import strategic_card
from grandmodel.research.errors import EvaluationError
from grandmodel.research.evaluate import (
    MODEL,
    Evaluation,
    EvaluationSettings,
    Trials,
    content_of,
    evaluate_strategic,
    verdict_of,
)
from grandmodel.research.report import evaluation_page
from grandmodel.research.statistics import PairedDifference, deflated_sharpe
from grandmodel.research.walk_forward import Fold
from grandmodel.training.market import Span, build_market
from training_markets import NQ, some_bars
from unit.models.model_cases import manifest_of, weights_of


def model_of(seed, train_to):
    spans = DataSpans(instruments=("NQ",), train=DataSpan(start_ns=0, end_ns=train_to))
    return LoadedModel(Model(f"{seed:064x}", manifest_of(data=spans), weights_of(seed=seed, size=3.0), {}), f"m{seed}")


def fold_of(market, calibration, test, end, name, is_last=False):
    ts = market.ts_event
    return Fold(
        name=name,
        train=Span(int(ts[0]), int(ts[calibration])),
        calibration=Span(int(ts[calibration]), int(ts[test])),
        test=Span(int(ts[test]), int(ts[end])),
        is_last=is_last,
    )


@pytest.fixture(scope="module")
def case():
    market = build_market(some_bars(2_400, 3, persistence=0.1), NQ, "strategic")
    folds = [fold_of(market, 1_000, 1_250, 1_750, "a"), fold_of(market, 1_500, 1_750, 2_300, "b")]
    models = {fold.name: [model_of(k, fold.train.end_ns) for k in range(2)] for fold in folds}
    return market, folds, models


@pytest.fixture(scope="module")
def found(case):
    market, folds, models = case
    return evaluate_strategic(
        [market], folds, models, Trials(count=12, sharpes=[0.01, -0.02, 0.03]), forecasters=FORECASTERS
    )


def hopeful(market, places):
    return np.tile([0.5, 0.3, 0.2], (len(places), 1))


def gloomy(market, places):
    return np.tile([0.2, 0.3, 0.5], (len(places), 1))


FORECASTERS = {"single agent": {"a": [hopeful, gloomy], "b": [hopeful, gloomy]}}


def test_an_evaluation_says_the_same_twice_and_survives_json(case, found):
    market, folds, models = case
    again = evaluate_strategic(
        [market], folds, models, Trials(count=12, sharpes=[0.01, -0.02, 0.03]), forecasters=FORECASTERS
    )
    encoded = msgspec.json.encode(found)
    assert msgspec.json.encode(again) == encoded
    assert msgspec.json.decode(encoded, type=Evaluation) == found


def test_numbers_agree_with_each_other(found):
    assert found.trials == 12
    assert {result.name for result in found.competitors} >= {MODEL, "no trade", "buy and hold", "random timing"}
    for result in found.competitors:
        assert len(result.equity) == len(found.day_ns)
        assert result.equity[-1] - 1 == pytest.approx(result.net_return, abs=1e-12)
        assert result.net_return == pytest.approx(np.mean([one.net_return for one in result.together]), abs=1e-9)
        for seed, together in enumerate(result.together):
            parts = sum(seeds[seed].net_return for seeds in result.folds.values())
            assert parts == pytest.approx(together.net_return, abs=1e-9)
        returns = np.diff(np.concatenate([[1.0], result.equity]))
        expected = deflated_sharpe(moments(returns), 12, result.deflated.trial_variance)
        assert result.deflated.probability == pytest.approx(expected.probability, abs=1e-6)
    no_trade = found.competitor("no trade")
    assert no_trade.net_return == 0.0
    assert no_trade.sharpe.value == 0.0
    difference = found.against["no trade"]
    assert difference.value == pytest.approx(found.competitor(MODEL).sharpe.value)
    assert (np.diff(found.day_ns) > 0).all()


def test_the_coordinator_is_compared_with_every_other_way(found):
    assert [way.name for way in found.ways] == [
        "coordinator",
        "equal weights",
        "majority vote",
        "best agent",
        "single agent",
    ]
    own = found.way
    assert own.log_loss_less is None
    for way in found.ways[1:]:
        assert way.log_loss_less.value == pytest.approx(own.log_loss - way.log_loss, abs=1e-9)
        assert way.brier_less.value == pytest.approx(own.brier - way.brier, abs=1e-9)
        assert way.sharpe_direction_more.value == pytest.approx(own.sharpe_direction - way.sharpe_direction, abs=1e-9)
        if way.name == "single agent":
            assert way.sharpe_sized is None
            assert "single agent" in found.against
            continue
        assert way.sharpe_sized_more.value == pytest.approx(own.sharpe_sized - way.sharpe_sized, abs=1e-9)
        assert way.log_loss_less.low <= way.log_loss_less.value <= way.log_loss_less.high
    assert found.log_loss_equal == pytest.approx(math.log(3))
    counted = [sum(row.count) for row in found.reliability]
    assert counted == [found.forecasts] * 3


def test_a_random_network_shows_no_edge(found):
    verdict = verdict_of(found)
    assert not verdict.has_edge
    assert "no edge" in verdict.sentences[-1]


def changed(found, name, **values):
    competitors = [
        msgspec.structs.replace(result, **values) if result.name == name else result for result in found.competitors
    ]
    return msgspec.structs.replace(found, competitors=competitors)


def test_the_verdict_follows_from_the_numbers_alone(found):
    above = PairedDifference(value=2.0, low=0.5, high=3.5, level=0.95, probability_above=0.99)
    model = found.competitor(MODEL)
    passing = msgspec.structs.replace(model.deflated, probability=0.97)
    good = changed(found, MODEL, deflated=passing, net_return=0.1)
    good = msgspec.structs.replace(good, against=dict.fromkeys(found.against, above))
    assert verdict_of(good).has_edge
    assert not verdict_of(changed(good, MODEL, net_return=-0.1)).has_edge
    failing = msgspec.structs.replace(model.deflated, probability=0.94)
    assert not verdict_of(changed(good, MODEL, deflated=failing)).has_edge
    unsure = msgspec.structs.replace(above, low=-0.1)
    assert not verdict_of(msgspec.structs.replace(good, against=good.against | {"buy and hold": unsure})).has_edge
    below = PairedDifference(value=-2.0, low=-3.5, high=-0.5, level=0.95, probability_above=0.01)
    worse = msgspec.structs.replace(good, against=good.against | {"buy and hold": below})
    assert any(sentence.startswith("It is beaten by buy and hold") for sentence in verdict_of(worse).sentences)


def test_page_and_card_show_the_numbers(case, found):
    _, _, models = case
    page = evaluation_page(found)
    assert page == evaluation_page(found)
    assert "<html" in page
    assert "Verdict: no edge" in page
    for name in ("buy and hold", "volatility-targeted long", "Reliability", "overfitting", "halves at"):
        assert name in page
    card = strategic_card(found, models["b"][0].manifest, models["b"][0].id)
    for sentence in verdict_of(found).sentences:
        assert f"- {sentence}" in card
    for heading in ("## Verdict", "## Folds", "## Calibration", "## Capacity", "## Where it must not be used"):
        assert heading in card
    assert "NQ" in card
    assert f"{found.competitor('buy and hold').sharpe.value:.2f}" in card
    assert "{" not in card


def test_the_last_fold_needs_a_look_on_the_record(case):
    market, folds, models = case
    last = [folds[0], msgspec.structs.replace(folds[1], is_last=True)]
    with pytest.raises(EvaluationError, match="no look noted"):
        evaluate_strategic([market], last, models, Trials(count=1))


def test_content_names_the_models(case):
    _, _, models = case
    assert content_of(models) == content_of({"x": [*models["a"], *models["b"]]})
    assert content_of(models) != content_of({"x": models["a"][:1]})


def test_settings_stand_in_the_evaluation(found):
    assert found.settings == EvaluationSettings()
    assert evaluate_module.PASSES == 0.95
