"""Which part of a run its models had seen: hand-made runs of 120 days, models that learnt from this month or that market."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from grandmodel.domain.ids import RunId
from grandmodel.domain.learnt import LearntFrom
from grandmodel.domain.time import NS_PER_DAY
from grandmodel.runtime.inputs import begin_run
from grandmodel.runtime.report import report_page
from grandmodel.runtime.results import InstrumentHistory, ModelInForce, RunResults
from grandmodel.runtime.samples import IN_SAMPLE, NOT_KNOWN, OUT_OF_SAMPLE, SAME_TIME, overlap_of
from grandmodel.runtime.settings import AgentSettings, RunSettings
from grandmodel.runtime.summary import Summary, summarise
from strategies import CL, MINUTE, NQ, START, schedule_of

DAYS = 200
CAPITAL = 10**12
BEGIN = -(2**63)


def day(number):
    return START + number * NS_PER_DAY


def learnt(train, calibration=None, instruments=("NQ",), model="strategic/one", layer="strategic"):
    return LearntFrom(
        layer=layer,
        model=model,
        instruments=instruments,
        train_ns=(day(train[0]), day(train[1])),
        calibration_ns=None if calibration is None else (day(calibration[0]), day(calibration[1])),
    )


def in_force(one, from_ns=BEGIN, agent="grandmodel"):
    return ModelInForce(from_ns=from_ns, agent=agent, learnt_from=one)


def run_of(*models, instruments=(NQ,), data="file: test", kind="grandmodel"):
    """A run of 200 days that gains every day of the first 100 and loses in the rest, with a record at each close."""
    chosen = RunSettings(agents=(AgentSettings(kind=kind),))
    schedule = schedule_of(*((1_440 * k, 1_440 * k + 1_380, k) for k in range(DAYS)))
    begin = begin_run(RunId("run"), chosen, instruments, [schedule] * len(instruments), data)
    results = RunResults(folder=Path("/nowhere"), begin=begin, settings=chosen, record_head="00")
    steps = np.random.default_rng(4).normal(0, 10**9, DAYS) + np.where(np.arange(DAYS) < 100, 10**9, -(10**9))
    results.times = [START + (1_440 * k + 1_380) * MINUTE for k in range(DAYS)]
    results.equity = [CAPITAL + int(x) for x in np.cumsum(steps)]
    results.history = {one.id: InstrumentHistory() for one in instruments}
    results.models = list(models)
    return results


def parts_of(summary):
    return {one.part: one for one in summary.samples.parts}


def test_a_run_that_its_model_learnt_from_in_part_has_no_ratio_but_those_of_its_parts():
    summary = summarise(run_of(in_force(learnt((0, 80), (80, 100)))))
    parts = parts_of(summary)
    assert list(parts) == [IN_SAMPLE, OUT_OF_SAMPLE]
    assert parts[IN_SAMPLE].sharpe_annual > 5 > -5 > parts[OUT_OF_SAMPLE].sharpe_annual
    assert (summary.sharpe_annual, summary.sortino_annual, summary.sharpe_interval_annual) == (None, None, None)
    assert "a model had seen some of this run before" in summary.sharpe_absent
    assert (parts[IN_SAMPLE].periods, parts[OUT_OF_SAMPLE].periods) == (100, DAYS - 1 - 100)
    assert sum(one.share for one in parts.values()) == pytest.approx(1.0)
    # The day after the last calibrated one begins inside the calibrated span's end, so it counts as seen.
    assert (parts[IN_SAMPLE].from_ns, parts[OUT_OF_SAMPLE].to_ns) == (summary.start_ns, summary.end_ns)
    made = (summary.equity_micros - run_of().equity[0]) / 1e6
    assert sum(one.profit for one in parts.values()) == pytest.approx(made)


def test_summary_page_and_json_carry_the_word_and_both_spans():
    results = run_of(in_force(learnt((0, 80), (80, 100))))
    summary = summarise(results)
    page = report_page(results, summary)
    for text in ("In-sample", "Sharpe (in-sample)", "Sharpe (out-of-sample)", "learnt from NQ", "was calibrated on"):
        assert text in page
    assert ">Sharpe<" not in page
    tree = msgspec.to_builtins(summary)
    assert tree["sharpe_annual"] is None
    (model,) = tree["samples"]["models"]
    assert model["train_overlap_ns"] == (day(0) + 1_380 * MINUTE, day(80))
    assert model["calibration_overlap_ns"] == (day(80), day(100))
    assert model["learnt_from"]["train_ns"] == (day(0), day(80))
    assert [part["part"] for part in tree["samples"]["parts"]] == [IN_SAMPLE, OUT_OF_SAMPLE]
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary


def test_a_model_that_learnt_before_the_run_leaves_the_ratio_of_the_whole():
    results = run_of(in_force(learnt((-300, -50), (-50, 0))))
    summary = summarise(results)
    assert list(parts_of(summary)) == [OUT_OF_SAMPLE]
    assert summary.sharpe_annual == parts_of(summary)[OUT_OF_SAMPLE].sharpe_annual is not None
    assert summary.samples.text == "out-of-sample: the models had seen nothing of this run"
    assert "It had seen nothing of this run." in summary.samples.models[0].text
    assert ">Sharpe<" in report_page(results, summary)


def test_a_model_of_other_instruments_is_told_apart_from_one_of_these():
    """Learnt from NQ, run on CL in the same months: not in-sample, and not unseen either."""
    summary = summarise(run_of(in_force(learnt((0, 100))), instruments=(CL,)))
    assert list(parts_of(summary)) == [SAME_TIME, OUT_OF_SAMPLE]
    (model,) = summary.samples.models
    assert (model.seen, model.not_seen, model.part) == ((), ("CL",), SAME_TIME)
    assert "It never saw CL, but it learnt from" in model.text
    assert "of NQ: the same time" in model.text
    assert summary.sharpe_annual is None
    both = summarise(run_of(in_force(learnt((0, 100))), instruments=(NQ, CL)))
    assert list(parts_of(both)) == [IN_SAMPLE, OUT_OF_SAMPLE]
    (model,) = both.samples.models
    assert (model.seen, model.not_seen) == (("NQ",), ("CL",))
    assert "In-sample: of NQ" in model.text
    assert "It never saw CL" in model.text


def test_a_model_that_takes_over_in_the_middle_counts_from_there():
    """The first had seen nothing; the second learnt from days 0 to 150 and decides from day 120: days 120 to 150 are in-sample."""
    summary = summarise(
        run_of(in_force(learnt((-90, -1))), in_force(learnt((0, 150), model="strategic/two"), from_ns=day(120)))
    )
    first, second = summary.samples.models
    assert (first.part, second.part) == (OUT_OF_SAMPLE, IN_SAMPLE)
    assert first.to_ns == second.from_ns == day(120)
    assert second.train_overlap_ns == (day(120), day(150))
    assert parts_of(summary)[IN_SAMPLE].periods == 31  # 30 days, and the period that reaches into the first of them


def test_a_model_that_left_before_its_own_months_had_seen_nothing_of_what_it_decided():
    summary = summarise(
        run_of(in_force(learnt((120, 150))), in_force(learnt((-90, -1), model="strategic/two"), from_ns=day(100)))
    )
    assert list(parts_of(summary)) == [OUT_OF_SAMPLE]


def test_layers_are_told_apart_and_the_worst_holds():
    summary = summarise(
        run_of(
            in_force(learnt((-90, -1))),
            in_force(learnt((50, 60), model="tactical/one", layer="tactical")),
            in_force(learnt((0, 10), model="tactical/two", layer="tactical"), from_ns=day(100)),
        )
    )
    strategic, first, second = summary.samples.models
    assert strategic.to_ns == second.to_ns > first.to_ns == day(100)
    assert (strategic.part, first.part, second.part) == (OUT_OF_SAMPLE, IN_SAMPLE, OUT_OF_SAMPLE)
    assert parts_of(summary)[IN_SAMPLE].periods == 11


def test_invented_prices_are_seen_by_no_model():
    summary = summarise(run_of(in_force(learnt((0, 100))), data="simulated market: test"))
    assert list(parts_of(summary)) == [OUT_OF_SAMPLE]
    assert summary.samples.text.startswith("out-of-sample: the prices are invented")
    assert "no model had seen them" in summary.samples.models[0].text


def test_a_rule_has_seen_nothing_and_an_agent_that_does_not_say_is_named():
    rule = summarise(run_of(kind="moving_average_cross"))
    assert (rule.samples.parts, rule.samples.models) == ((), ())
    assert rule.samples.text.startswith("no trained model decided")
    assert rule.sharpe_annual is not None
    silent = summarise(run_of(in_force(None, agent="own"), kind="own_agent:Own"))
    assert silent.samples.text == "not known: agent own does not say what it was fitted on"
    assert silent.sharpe_annual is not None
    beside = summarise(run_of(in_force(learnt((-90, -1))), in_force(None, agent="own")))
    assert beside.samples.text.endswith("agent own does not say what it was fitted on")


def test_a_journal_that_does_not_hold_what_its_models_learnt_from_has_no_ratio_without_the_word():
    results = run_of()
    summary = summarise(results)
    assert list(parts_of(summary)) == [NOT_KNOWN]
    assert summary.sharpe_annual is None
    assert "Sharpe (not known)" in report_page(results, summary)


@pytest.mark.parametrize(
    ("instruments", "at", "part"),
    [(("NQ",), 50, IN_SAMPLE), (("NQ",), 85, IN_SAMPLE), (("CL",), 50, SAME_TIME), (("NQ",), 100, OUT_OF_SAMPLE)],
)
def test_one_decision_is_held_against_its_own_moment(instruments, at, part):
    assert overlap_of("", learnt((0, 80), (80, 100)), instruments, (day(at), day(at) + 1)).part == part
