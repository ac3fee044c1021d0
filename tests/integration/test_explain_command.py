"""``grandmodel explain``: on a real journal, at a decision, at a bar without one, at anything else, in words, JSON and as a page."""

import json
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from grandmodel.cli import main as command
from grandmodel.domain.decisions import StrategicDecision, TacticalDecision
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Cause
from grandmodel.domain.moments import expanded
from grandmodel.domain.time import FIVE_MINUTES_NS, THIRTY_MINUTES_NS, text_from_ns
from grandmodel.features.schema import STRATEGIC_SCHEMA, TACTICAL_SCHEMA
from grandmodel.journal.format import JournalReader, decode_record
from grandmodel.models.architecture import AGENT_COLUMNS, TIME_COLUMNS
from grandmodel.models.loaded import LoadedModel
from grandmodel.models.model_file import read_model
from grandmodel.runtime.explain import explain
from grandmodel.runtime.explain_page import explain_page
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AgentSettings
from learning_runs import BAD, NQ, SCHEDULE, run_settings, walk, write_random_model

HALF_HOURS = walk(THIRTY_MINUTES_NS, 700)
FIVES = walk(FIVE_MINUTES_NS, 3_700)


def run(folder, chosen, bars):
    with Session.start(folder, chosen, [NQ], [SCHEDULE], data="walk", clock_ns=lambda: 0) as session:
        session.feed([bars])
        session.end()
    return folder


def records_of(folder):
    with JournalReader.open(folder) as reader:
        return [decode_record(row.body) for row in reader.record_rows()]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_random_model(folder / "strategic.safetensors", "strategic", seed=4)
    write_random_model(folder / "tactical.safetensors", "tactical", seed=3)
    return {name: str(folder / f"{name}.safetensors") for name in ("strategic", "tactical")}


@pytest.fixture(scope="module")
def direct(tmp_path_factory, models):
    chosen = run_settings(THIRTY_MINUTES_NS, strategic=models["strategic"])
    return run(tmp_path_factory.mktemp("runs") / "direct", chosen, HALF_HOURS)


@pytest.fixture(scope="module")
def both(tmp_path_factory, models):
    return run(tmp_path_factory.mktemp("runs") / "both", run_settings(FIVE_MINUTES_NS, **models), FIVES)


def invoke(*arguments):
    command.app.command("explain")(command.explain_command)
    return CliRunner().invoke(command.app, ["explain", *map(str, arguments)])


def test_the_last_decision_is_explained_by_default_and_the_networks_say_it_again(direct):
    told = explain(direct)
    decided = [one for one in records_of(direct) if any(isinstance(d, StrategicDecision) for d in one.decisions)]
    assert told.record == decided[-1].number
    (made,) = told.decisions
    kept = decided[-1].decisions[0]
    assert made.recomputed
    assert made.belief == (kept.belief.bullish, kept.belief.neutral, kept.belief.bearish)
    assert made.model == kept.model
    assert [one.code for one in made.reasons] == list(kept.reasons)
    assert all(one.meaning for one in made.reasons)
    assert [one.weight for one in made.agents] == list(kept.weights)
    assert told.previous_decision == decided[-2].number
    assert told.next_decision is None
    assert len(made.window) == 48


def test_every_column_is_occluded_once_and_the_largest_effect_stands_first(direct):
    (made,) = explain(direct).decisions
    assert sorted(one.column for one in made.columns) == sorted(STRATEGIC_SCHEMA.names)
    effects = [abs(one.effect) for one in made.columns]
    assert effects == sorted(effects, reverse=True)
    assert effects[0] > 0.0


def test_occlusion_is_the_change_that_the_networks_show(direct, models):
    """By hand: the window of the explanation, one column at its centre, the networks asked with the record's own inputs."""
    told = explain(direct)
    inputs = InputEngine()
    with JournalReader.open(direct) as reader:
        for number, given in reader.inputs():
            for record in inputs.on_input(number, given):
                if record.number == told.record:
                    break
            else:
                continue
            break
    kept = inputs.engine.asking.agents[0].strategic.inputs(NQ.id)
    model = LoadedModel(read_model(Path(models["strategic"])), "")
    window = np.array(told.decisions[0].window)
    column = next(one for one in told.decisions[0].columns if one.column == "momentum_20")
    answers = []
    for centre in (None, column.centre):
        asked = window.copy()
        if centre is not None:
            asked[:, STRATEGIC_SCHEMA.place("momentum_20")] = centre
        said = model.calibrate(model.compiled.strategic(asked, kept.tail, kept.seed, spread=kept.spread).belief)
        answers.append(said[0] - said[2])
    assert column.effect == pytest.approx(answers[0] - answers[1], abs=1e-12)
    assert {STRATEGIC_SCHEMA.place("momentum_20")} <= set(AGENT_COLUMNS["mlmi"]) - set(TIME_COLUMNS)


def test_a_bar_without_a_decision_says_why(direct):
    told = explain(direct, "5")
    assert told.why_none.startswith("strategic, NQ: no decision: a column of the window is not known yet")
    assert not told.decisions[0].decided
    closes = [one for one in records_of(direct) if one.cause is Cause.BAR]
    bad = closes[-BAD]
    assert "marked bad" in explain(direct, str(bad.number)).why_none
    assert "bad_stretch" in explain(direct, str(bad.number)).bars[0].marks


def test_a_record_that_is_no_bar_says_so(direct):
    moments = pairwise(expanded(records_of(direct)))
    report = next(one for one, after in moments if one.cause is Cause.REPORT and after.ts > one.ts)
    told = explain(direct, text_from_ns(report.ts))
    assert (told.record, told.ts) == (report.number, report.ts)
    assert told.why_none == "the record's cause is report: agents decide when a bar closes"
    assert told.next_decision is not None


def test_a_time_names_the_decision_taken_then(direct):
    decided = [one for one in records_of(direct) if any(isinstance(d, StrategicDecision) for d in one.decisions)]
    assert explain(direct, text_from_ns(decided[3].ts)).record == decided[3].number
    later = explain(direct, text_from_ns(decided[3].ts + 60 * 10**9))
    assert decided[3].number <= later.record < decided[4].number


def test_what_followed_stands_beside_it(direct):
    wished = next(one for one in records_of(direct) if one.orders and one.cause is Cause.BAR)
    told = explain(direct, str(wished.number))
    assert {line.order for line in told.orders} == {order.order_id for order in wished.orders}
    assert told.orders[0].filled > 0
    assert told.wishes[0].agent == "grandmodel"
    assert {"position_long", "var", "drawdown"} <= {check.name for check in told.wishes[0].checks}


def test_both_layers_are_told(both):
    decided = [one for one in records_of(both) if len([d for d in one.decisions if not hasattr(d, "layer")]) == 2]
    told = explain(both, str(decided[-1].number))
    assert [one.layer for one in told.decisions] == ["strategic", "tactical"]
    assert all(one.recomputed for one in told.decisions)
    tactical = told.decisions[1]
    assert sorted(one.column for one in tactical.columns) == sorted(TACTICAL_SCHEMA.names)
    assert [one.agent for one in tactical.agents] == ["tactical", "risk", "execution"]
    kept = next(d for d in decided[-1].decisions if isinstance(d, TacticalDecision))
    assert {one.name: one.value for one in tactical.tail}["exposure"] == pytest.approx(kept.exposure, abs=1e-6)


def test_the_page_holds_its_pictures(both):
    page = explain_page(explain(both))
    assert page.count("<svg") >= 4
    assert "The window, in units of the training data" in page
    assert "What each column added to enter less exit" in page


def test_an_agent_that_only_wishes_leaves_nothing_to_explain(tmp_path):
    chosen = msgspec.structs.replace(run_settings(THIRTY_MINUTES_NS), agents=(AgentSettings(kind="buy_and_hold"),))
    folder = run(tmp_path / "simple", chosen, HALF_HOURS[:50])
    close = next(one for one in records_of(folder) if one.cause is Cause.BAR)
    told = explain(folder, str(close.number))
    assert told.why_none == "the run's agents (buy_and_hold) only wish; they put no decision on the record"


@pytest.mark.parametrize("asked", ["999999", "yesterday", "2001-01-01"])
def test_what_is_not_there_is_refused_with_what_there_is(direct, asked):
    with pytest.raises(UsageError, match="expected"):
        explain(direct, asked)


def test_the_command_prints_words_json_and_a_page(direct, tmp_path):
    words = invoke(direct)
    assert words.exit_code == 0
    assert "columns that mattered most to bullish less bearish" in words.stdout
    assert "nats of uncertainty" in words.stdout
    made = invoke(direct, "--json", "--page", tmp_path / "page.html")
    assert json.loads(made.stdout)["decisions"][0]["layer"] == "strategic"
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
