"""``grandmodel model evaluate`` on a small made-up market: one look at the last fold, and a card for the models."""

import json

import pytest
from typer.testing import CliRunner

from grandmodel.cli import model_evaluation
from grandmodel.cli.model import app
from grandmodel.models.model_file import DataSpan, DataSpans, model_bytes
from grandmodel.models.registry import Registry
from grandmodel.research import walk_forward
from grandmodel.research.errors import EvaluationError, LastFoldTouchedError
from grandmodel.research.walk_forward import Fold
from grandmodel.training.market import Span, build_market
from training_markets import NQ, some_bars

from ..models.model_cases import manifest_of, weights_of  # noqa: TID252 - the models' own cases, one home

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def market():
    return build_market(some_bars(2_400, 3), NQ, "strategic")


@pytest.fixture
def folds(market, monkeypatch, tmp_path):
    """Two folds of the market instead of the default ones, and a working folder of one's own."""
    ts = market.ts_event.tolist()

    def fold(name, calibration, test, end, is_last):
        train, held_back = Span(ts[0], ts[calibration]), Span(ts[calibration], ts[test])
        return Fold(name=name, train=train, calibration=held_back, test=Span(ts[test], ts[end]), is_last=is_last)

    made = [fold("a", 1_000, 1_250, 1_750, False), fold("last", 1_500, 1_750, 2_300, True)]
    monkeypatch.setattr(walk_forward, "default_folds", lambda *_: made)
    monkeypatch.setattr(model_evaluation, "training_markets", lambda *_: [market])
    monkeypatch.chdir(tmp_path)
    return made


def add_models(folds, seed):
    """One model for each fold; another ``seed`` gives other content of the same training spans."""
    registry, ids = Registry("models"), []
    for fold in folds:
        spans = DataSpans(
            instruments=("NQ",),
            train=DataSpan(start_ns=fold.train.start_ns, end_ns=fold.train.end_ns),
            validation=DataSpan(start_ns=fold.calibration.start_ns, end_ns=fold.calibration.end_ns),
        )
        content = model_bytes(manifest_of(data=spans, seeds=(0,)), weights_of(seed=seed))
        ids.append(registry.add(content, who="ana", why="test", at_ns=seed))
    return ids


def evaluate(*more):
    done = RUNNER.invoke(
        app, ["evaluate", "strategic", "--registry", "models", "--json", *more], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_last_fold_is_looked_at_once(folds, tmp_path):
    with pytest.raises(EvaluationError, match="found no model trained on"):
        evaluate()
    ids = add_models(folds, 1)
    before = evaluate("--without-last")
    assert (before["looks"], len(before["folds"])) == (0, 1)
    assert Registry("models").card(ids[0], "strategic").startswith("# Strategic model")
    first = evaluate("--out", "whole.json")
    assert (first["looks"], len(first["folds"])) == (1, 2)
    assert json.loads((tmp_path / "whole.json").read_text(encoding="utf-8")) == first
    assert "looked at 1 time" in (tmp_path / "evaluation-strategic.html").read_text(encoding="utf-8")
    card = Registry("models").card(ids[1], "strategic")
    assert "looked at 1 time;" in card
    # The same models again make the same table and are no new look; others need a reason.
    assert evaluate() == first
    add_models(folds, 2)
    with pytest.raises(LastFoldTouchedError, match="give a reason"):
        evaluate()
    assert evaluate("--without-last")["looks"] == 1
    assert evaluate("--again", "the first run had a bug in its costs")["looks"] == 2
