"""``grandmodel model`` on a registry, as a user would call it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grandmodel.cli.model import app
from grandmodel.cli.output import stdout
from grandmodel.domain.errors import UsageError
from grandmodel.models.model_file import DataSpan, DataSpans, write_model
from grandmodel.research.trials import LOG_NAME, TrialLog
from unit.models.model_cases import manifest_of, weights_of

RUNNER = CliRunner()
YEAR = DataSpans(
    instruments=("NQ", "CL"),
    train=DataSpan(start_ns=1_600_000_000 * 10**9, end_ns=1_650_000_000 * 10**9),
    test=DataSpan(start_ns=1_660_000_000 * 10**9, end_ns=1_670_000_000 * 10**9),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three model files and a card; the registry is its ``models/``."""
    write_model(tmp_path / "a.safetensors", manifest_of(data=YEAR), weights_of())
    write_model(tmp_path / "b.safetensors", manifest_of(metrics={}), weights_of(seed=1))
    write_model(tmp_path / "c.safetensors", manifest_of("tactical"), weights_of("tactical"))
    (tmp_path / "card.md").write_text("# Card of a\n\nIt does not beat the rules [really].\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRANDMODEL_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def call(*arguments: str) -> str:
    done = RUNNER.invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def add(name: str, *more: str) -> str:
    return json.loads(call("add", name, "--why", "first try", "--who", "ana", "--json", *more))["id"]


def test_an_empty_registry_says_what_fills_it(place: Path) -> None:
    assert "holds no models" in " ".join(call("list").split())
    assert json.loads(call("list", "--json")) == {"registry": str(place / "models"), "models": []}


def test_a_model_is_added_listed_moved_up_and_shown(place: Path) -> None:
    model = add("a.safetensors", "--card", "card.md")
    other = add("c.safetensors")
    call("promote", model[:8], "shadow", "--why", "calibrated", "--who", "ben")
    moved = json.loads(call("promote", "strategic/shadow", "live", "--why", "beat the rules", "--json"))
    assert moved["change"]["moves"] == [{"model": model, "before": "shadow", "after": "live"}]

    listed = json.loads(call("list", "--json"))["models"]
    assert [(one["layer"], one["stage"], one["id"]) for one in listed] == [
        ("strategic", "live", model),
        ("tactical", "candidate", other),
    ]
    assert listed[0]["metrics"] == {"brier": 0.66}
    assert listed[0]["data"]["instruments"] == ["NQ", "CL"]
    assert [one["id"] for one in json.loads(call("list", "--layer", "tactical", "--json"))["models"]] == [other]

    table = call("list")
    for text in ("strategic", "live", model[:12], "NQ CL, 2020-09-13", "2022-04-15", "brier 0.66"):
        assert text in table

    shown = json.loads(call("show", "strategic/live", "--json"))
    assert shown["card"].startswith("# Card of a")
    assert shown["manifest"]["settings"] == {"epochs": 3, "rate": 0.001}
    assert [change["who"] for change in shown["history"]][:2] == ["ana", "ben"]
    page = call("show", "strategic/live")
    for text in (model, "It does not beat the rules [really].", "2022-08-08", "metric brier", "ben: ", "(calibrated)"):
        assert text in page


def test_moving_to_where_it_stands_says_so(place: Path) -> None:
    model = add("a.safetensors")
    assert "nothing was changed" in call("promote", model, "candidate", "--why", "again")


def test_what_may_not_be_is_refused_and_nothing_moves(place: Path) -> None:
    model = add("b.safetensors")
    with pytest.raises(UsageError, match="one stage at a time"):
        call("promote", model, "live", "--why", "hurry")
    call("promote", model, "shadow", "--why", "look")
    with pytest.raises(UsageError, match="no metrics"):
        call("promote", model, "live", "--why", "hurry")
    with pytest.raises(UsageError, match="no model"):
        call("show", "0123abcd")
    with pytest.raises(UsageError, match="no whole"):
        call("add", "card.md", "--why", "mistake")
    assert RUNNER.invoke(app, ["promote", model, "live"]).exit_code == 2  # --why is not optional


def test_a_damaged_model_is_listed_as_such_with_exit_code_1(place: Path) -> None:
    model = add("a.safetensors")
    file = place / "models/strategic" / f"{model}.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    for arguments in (["list"], ["list", "--json"]):
        done = RUNNER.invoke(app, arguments)
        assert done.exit_code == 1
        assert "damaged" in done.output


def test_every_trial_is_listed_whatever_became_of_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout, "width", 160)
    assert "holds no trials" in " ".join(call("trials").split())
    log = TrialLog(place / "models" / LOG_NAME)
    for seed in range(3):
        log.start(
            layer="strategic", settings_hash="a", seed=seed, spans={}, data_hash="b", at_ns=10**18, note=f"try {seed}"
        )
    log.finish(1, {"sharpe": 0.0123}, at_ns=2 * 10**18)
    log.fail(2, "DivergenceError: [loss] is nan", at_ns=2 * 10**18)
    log.touch_last_fold("0f3a9c", layer="strategic", at_ns=10**18)
    table = call("trials")
    for text in (
        "finished",
        "try 0; sharpe 0.0123",
        "try 1; DivergenceError: [loss] is nan",
        "unfinished",
        "the first look",
    ):
        assert text in table
    assert "3 trials: 1 finished, 1 failed, 1 unfinished" in table
    told = json.loads(call("trials", "--json"))
    assert [trial["outcome"] for trial in told["trials"]] == ["finished", "failed", "unfinished"]
    assert told["looks"][0]["model"] == "0f3a9c"
    assert json.loads(call("trials", "--layer", "tactical", "--json"))["trials"] == []


def test_the_command_itself_finds_the_registry_and_ends_with_2_where_it_is_misused(place: Path) -> None:
    def grandmodel(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "grandmodel", "model", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=os.environ | environment,
        )

    model = add("a.safetensors")
    assert model[:12] in grandmodel("list").stdout
    assert model[:12] in grandmodel("list", "--registry", str(place / "models"), GRANDMODEL_MODELS="/nowhere").stdout
    refused = grandmodel("promote", model, "live", "--why", "hurry")
    assert refused.returncode == 2
    assert "one stage at a time" in " ".join(refused.stderr.split())
    assert refused.stdout == ""
