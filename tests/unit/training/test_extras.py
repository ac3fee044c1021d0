"""What training needs besides the runtime is named, with the way to get it, before anything is begun."""

import pytest
from typer.testing import CliRunner

from grandmodel.cli.model import app
from grandmodel.training import extras, strategic_env, tactical_env
from grandmodel.training.errors import TrainingSettingsError


@pytest.fixture
def runtime_only(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)


def test_training_without_torch_says_what_to_install(runtime_only):
    with pytest.raises(
        TrainingSettingsError, match=r"torch is not installed; .* torch==2\.13\.0 'grandmodel\[train\]'"
    ):
        CliRunner().invoke(app, ["train", "strategic"], catch_exceptions=False)


@pytest.mark.parametrize("make", [strategic_env, tactical_env])
def test_an_environment_without_pettingzoo_says_what_to_install(runtime_only, make):
    with pytest.raises(TrainingSettingsError, match="pettingzoo is not installed"):
        make()
