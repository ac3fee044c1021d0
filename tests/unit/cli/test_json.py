"""Every command says what it has to say as JSON too, and the settings that are shown are those that are used."""

import json
import sys

import pytest
import typer

from grandmodel.cli.main import main, whole_app
from grandmodel.cli.run import settings_of
from grandmodel.journal.format import JournalReader
from grandmodel.runtime.settings import Mode


def commands(command, words=()):
    """(words, command) of every verb."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*words, name))
    else:
        yield " ".join(words), command


ALL = dict(commands(typer.main.get_command(whole_app())))


@pytest.mark.parametrize("words", sorted(ALL))
def test_every_command_has_json(words):
    assert "--json" in {name for parameter in ALL[words].params for name in parameter.opts}


def said(capsysbinary, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["grandmodel", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    return json.loads(capsysbinary.readouterr().out)


def test_settings_show_what_run_and_backtest_run_use(capsysbinary, monkeypatch):
    shown = said(capsysbinary, monkeypatch, "settings", "show", "--json")
    assert shown["agents"] == [{"kind": "grandmodel", "parameters": {"strategic": "live", "tactical": "live"}}]
    assert shown["account"]["capital_micros"] == 10**13
    shown = said(capsysbinary, monkeypatch, "settings", "show", "--backtest")
    assert shown["risk"]["breakers"]["automatic_release"] == "halt"
    assert shown["mode"] == settings_of(Mode.BACKTEST, None).mode


@pytest.mark.slow
def test_the_settings_of_a_run_are_those_that_were_shown(capsysbinary, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shown = said(capsysbinary, monkeypatch, "settings", "show")
    said(capsysbinary, monkeypatch, "run", "--name", "demo", "--row-scale", "0.05", "--json")
    with JournalReader.open(tmp_path / "runs" / "demo") as reader:
        used = json.loads(bytes(next(reader.inputs())[1].settings))
    (agent,) = used["agents"]
    assert agent["kind"] == "grandmodel"
    for name in ("agents", "seed", "trade_from_ns"):  # Models by their hash, and what the feed and its options decide.
        used.pop(name)
        shown.pop(name)
    assert used == shown


def test_the_reference_has_a_row_a_setting(capsysbinary, monkeypatch):
    rows = {row["path"]: row for row in said(capsysbinary, monkeypatch, "settings", "reference", "--json")}
    assert json.loads(rows["risk.breakers.daily_loss"]["default"]) == {"caution": 0.02, "reduce": 0.03, "halt": 0.05}
    assert all(row["meaning"] for row in rows.values())


def test_benchmarks_come_as_lines(capsysbinary, monkeypatch, tmp_path):
    (tmp_path / "bench_small.py").write_text("print('one path   5.00 us   aim: < 6')\n", encoding="utf-8")
    report = said(capsysbinary, monkeypatch, "bench", "--folder", str(tmp_path), "--json")
    (only,) = report["benchmarks"]
    assert (only["topic"], only["passed"], only["lines"]) == ("small", True, ["one path   5.00 us   aim: < 6"])
