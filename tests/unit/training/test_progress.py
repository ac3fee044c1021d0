"""What is shown and logged of a run."""

import io

import pytest
from rich.console import Console

from grandmodel.training.errors import TrainingSettingsError
from grandmodel.training.mappo import Settings, Update, train
from grandmodel.training.progress import MEASURES, MlflowLog, ProgressLine, TensorBoardLog, format_update, measured
from training_games import DelayedTeamGame

SMALL = Settings(frames=120, envs=4, steps=10, epochs=1, hidden=(8,))


def an_update(**changes):
    fields = dict.fromkeys(Update.__struct_fields__, 0.25) | {
        "update": 3,
        "frames": 1200,
        "episodes": 2,
        "epochs": 5,
    }
    return Update(**(fields | changes))


def test_the_line_names_return_entropy_kl_clip_share_and_explained_variance():
    assert format_update(an_update(episode_return=-1.5, explained_variance=None)) == (
        "1,200 frames  return -1.50  entropy 0.25  KL 0.2500  clipped 25%  explained -"
    )


def test_the_progress_line_follows_a_run_to_its_end():
    out = io.StringIO()
    with ProgressLine(SMALL, Console(file=out, width=200, force_terminal=True)) as line:
        train(DelayedTeamGame, SMALL, on_update=[line])
    assert "100%" in out.getvalue()
    assert "120 frames  return 0." in out.getvalue()


def test_what_is_not_known_is_not_logged():
    assert "train/episode_return" not in measured(an_update(episode_return=None))
    assert measured(an_update())["train/kl"] == 0.25


@pytest.mark.slow
def test_tensorboard_reads_back_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TensorBoardLog(tmp_path) as log:
        result = train(DelayedTeamGame, SMALL, on_update=[log])
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == {f"train/{name}" for name in MEASURES}
    points = events.Scalars("train/entropy")
    assert [point.step for point in points] == [40, 80, 120]
    assert [point.value for point in points] == pytest.approx([row.entropy for row in result.history])


@pytest.mark.slow
def test_mlflow_reads_back_what_was_logged(tmp_path, monkeypatch):
    # A folder needs no database package; a tracking server or a database needs no such permission.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    uri = tmp_path.as_uri()
    with MlflowLog(SMALL, uri, "trainer") as log:
        train(DelayedTeamGame, SMALL, on_update=[log])
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.get_run(log.run_id)
    assert run.data.params["envs"] == "4"
    assert run.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(log.run_id, "train/kl")] == [40, 80, 120]


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("grandmodel.training.extras.find_spec", {}.get)
    with pytest.raises(TrainingSettingsError, match=r"grandmodel\[tensorboard\]"):
        TensorBoardLog(tmp_path)
    with pytest.raises(TrainingSettingsError, match=r"grandmodel\[mlflow\]"):
        MlflowLog(SMALL, tmp_path.as_uri(), "trainer")
