"""``grandmodel model train``: a model in the registry, a trial on the log before it, the same file again from the same seed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from grandmodel.cli import model_training
from grandmodel.cli.model import app
from grandmodel.domain.errors import UsageError
from grandmodel.models.registry import Registry
from grandmodel.research import campaign
from grandmodel.research.trials import TrialLog
from grandmodel.training import pipeline
from grandmodel.training.errors import DivergenceError
from grandmodel.training.market import build_market
from training_markets import NQ, some_bars

RUNNER = CliRunner()
pytestmark = pytest.mark.slow


@pytest.fixture
def market(monkeypatch, tmp_path):
    made = build_market(some_bars(2_600, 3, persistence=0.3), NQ, "strategic")
    monkeypatch.setattr(model_training, "training_markets", lambda *_: [made])
    monkeypatch.chdir(tmp_path)
    return made


def train(*more):
    done = RUNNER.invoke(
        app,
        ["train", "strategic", "--frames", "4096", "--registry", "models", "--json", *more],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["models"]


def test_the_same_seed_gives_the_same_file_and_every_training_is_a_trial(market):
    (first,), (again,), (other,) = train("--tensorboard", "board"), train(), train("--seed", "1")
    assert first["id"] == again["id"] != other["id"]
    registry, log = Registry("models"), TrialLog(registry_log())
    assert {entry.id for entry in registry.entries("strategic")} == {first["id"], other["id"]}
    assert [trial.outcome for trial in log.trials("strategic")] == ["finished"] * 3
    assert [trial.ended.model for trial in log.trials()] == [first["id"], again["id"], other["id"]]
    manifest = registry.load(first["id"]).manifest
    assert manifest.data.validation.start_ns == manifest.data.train.end_ns
    assert manifest.metrics["validation.log_loss"] == pytest.approx(first["metrics"]["validation.log_loss"])
    assert any(entry.name.startswith("events.") for entry in (registry_log().parent.parent / "board").iterdir())


def registry_log():
    from pathlib import Path

    return Path.cwd() / "models" / "trials.jsonl"


def test_a_training_that_fails_still_counts(market, monkeypatch):
    def diverge(*_, **__):
        raise DivergenceError("a loss is not finite")

    monkeypatch.setattr(pipeline, "run_mappo", diverge)
    with pytest.raises(DivergenceError):
        train()
    (trial,) = TrialLog(registry_log()).trials()
    assert trial.outcome == "failed"
    assert "a loss is not finite" in trial.ended.why
    assert Registry("models").entries() == []


def test_two_processes_train_what_one_does(market):
    bars = market.ts_event
    settings = pipeline.default_settings("strategic")
    settings = model_training.with_frames(settings, 4_096)
    span = campaign.Span(int(bars[0]), int(bars[1_800])), campaign.Span(int(bars[1_800]), int(bars[-1]))
    jobs = [campaign.Job(f"seed {seed}", "strategic", *span, seed, settings) for seed in range(2)]
    ticks = iter(range(1, 100))
    results = [
        {
            done.job.seed: done.model
            for done in campaign.run_jobs(
                jobs, [market], TrialLog(registry_log()), lambda: next(ticks), workers=workers
            )
        }
        for workers in (1, 2)
    ]
    assert results[0] == results[1]
    assert len(set(results[0].values())) == 2


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["hourly"], "found layer 'hourly', expected strategic or tactical"),
        (["strategic", "--validation-from", "2031-01-01"], "expected a day inside the span"),
        (["strategic", "--folds", "--tensorboard", "x"], "found several trainings, expected one"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_logged(market, arguments, found):
    with pytest.raises(UsageError, match=found):
        RUNNER.invoke(app, ["train", *arguments, "--registry", "models"], catch_exceptions=False)
    assert not registry_log().exists()


def test_other_bars_have_another_data_hash(market):
    changed = some_bars(2_600, 3, persistence=0.3)
    changed["close"][-1] += 1
    changed["high"] = np.maximum(changed["high"], changed["close"])
    other = build_market(changed, NQ, "strategic")
    assert campaign.data_hash([market]) == campaign.data_hash([market]) != campaign.data_hash([other])
