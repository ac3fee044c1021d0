"""The log of trials: what began counts, whatever became of it; lines are whole or not there."""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.models.model_file import DataSpan
from grandmodel.research.errors import LastFoldTouchedError
from grandmodel.research.trials import LOG_NAME, Failed, Finished, TrialLog
from grandmodel.training.errors import TrialLogError

SPANS = {"train": DataSpan(start_ns=0, end_ns=10), "validation": DataSpan(start_ns=10, end_ns=20)}


@pytest.fixture
def log(tmp_path):
    return TrialLog(tmp_path / "models" / LOG_NAME)


def start(log, layer="strategic", seed=0, at_ns=1, **more):
    return log.start(layer=layer, settings_hash="ab", seed=seed, spans=SPANS, data_hash="cd", at_ns=at_ns, **more)


def test_an_absent_log_holds_nothing(log):
    assert log.count() == 0
    assert log.sharpes().shape == (0,)
    assert log.last_fold("strategic") == []


def test_a_trial_is_on_the_disk_before_its_training_begins(log):
    assert start(log, seed=7, note="a try") == 1
    line = json.loads(log.path.read_text())
    assert line | {"spans": 0} == {
        "type": "started",
        "at_ns": 1,
        "trial": 1,
        "layer": "strategic",
        "settings_hash": "ab",
        "seed": 7,
        "spans": 0,
        "data_hash": "cd",
        "note": "a try",
    }
    assert TrialLog(log.path).count() == 1


def test_finished_failed_and_abandoned_trials_all_count_and_only_finished_ones_have_a_ratio(log):
    first, second, _ = start(log), start(log), start(log)
    tactical = start(log, layer="tactical")
    log.finish(first, {"sharpe": 0.02, "drawdown": 0.1}, at_ns=5, model="0f")
    log.fail(second, "DivergenceError: loss is nan", at_ns=6)
    log.finish(tactical, {"drawdown": 0.2}, at_ns=7)
    assert (log.count(), log.count("strategic"), log.count("tactical")) == (4, 3, 1)
    assert [trial.outcome for trial in log.trials()] == ["finished", "failed", "unfinished", "finished"]
    np.testing.assert_array_equal(log.sharpes(), [0.02])
    assert log.sharpes("tactical").size == 0
    assert log.trials()[0].ended == Finished(at_ns=5, trial=1, numbers={"sharpe": 0.02, "drawdown": 0.1}, model="0f")
    assert log.trials()[1].ended == Failed(at_ns=6, trial=2, why="DivergenceError: loss is nan")


def test_numbers_that_are_not_finite_are_refused_and_the_trial_is_still_open(log):
    trial = start(log)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(TrialLogError, match="finite"):
            log.finish(trial, {"sharpe": bad}, at_ns=2)
    assert log.trials()[0].outcome == "unfinished"


def test_a_trial_ends_once_and_only_if_it_began(log):
    with pytest.raises(TrialLogError, match="no trial 1"):
        log.fail(1, "x", at_ns=1)
    trial = start(log)
    log.finish(trial, {}, at_ns=2)
    for again in (lambda: log.finish(trial, {}, at_ns=3), lambda: log.fail(trial, "x", at_ns=3)):
        with pytest.raises(TrialLogError, match="ended before"):
            again()


def test_a_trial_in_a_with_block_is_recorded_either_way(log):
    ticks = itertools.count(100)
    given_ = {"layer": "strategic", "settings_hash": "a", "seed": 0, "spans": SPANS, "data_hash": "b"}
    with log.recorded(lambda: next(ticks), **given_) as result:
        assert log.trials()[-1].outcome == "unfinished"
        result["numbers"] = {"sharpe": 0.5}
        result["model"] = "m"
    with pytest.raises(ZeroDivisionError), log.recorded(lambda: next(ticks), **given_):
        _ = 1 / 0
    with pytest.raises(KeyboardInterrupt), log.recorded(lambda: next(ticks), **given_):
        raise KeyboardInterrupt
    ends = [trial.ended for trial in log.trials()]
    assert ends[0] == Finished(at_ns=101, trial=1, numbers={"sharpe": 0.5}, model="m")
    assert ends[1] == Failed(at_ns=103, trial=2, why="ZeroDivisionError: division by zero")
    assert ends[2] == Failed(at_ns=105, trial=3, why="KeyboardInterrupt")


# --- the last fold


def test_the_last_fold_is_free_once_and_for_the_same_model_and_costs_a_reason_after(log):
    first = log.touch_last_fold("m1", layer="strategic", at_ns=1)
    assert log.touch_last_fold("m1", layer="strategic", at_ns=9) == first
    with pytest.raises(LastFoldTouchedError, match="m1"):
        log.touch_last_fold("m2", layer="strategic", at_ns=2)
    with pytest.raises(LastFoldTouchedError):
        log.touch_last_fold("m2", "  ", layer="strategic", at_ns=2)
    assert [look.model for look in log.last_fold("strategic")] == ["m1"]
    log.touch_last_fold("m2", "a bug in the costs", layer="strategic", at_ns=3)
    assert [(look.model, look.reason) for look in log.last_fold("strategic")] == [
        ("m1", ""),
        ("m2", "a bug in the costs"),
    ]
    assert log.last_fold("tactical") == []
    log.touch_last_fold("m3", layer="tactical", at_ns=4)
    with pytest.raises(TrialLogError, match="no model"):
        log.touch_last_fold("", layer="tactical", at_ns=5)


# --- the file


@given(data=st.data())
def test_a_kill_in_the_middle_of_a_line_loses_that_line_alone_and_numbers_go_on(tmp_path_factory, data):
    log = TrialLog(tmp_path_factory.mktemp("torn") / LOG_NAME)
    for seed in range(3):
        start(log, seed=seed)
    content = log.path.read_bytes()
    lines = content.splitlines(keepends=True)
    cut = data.draw(st.integers(0, len(lines[2]) - 1))
    log.path.write_bytes(b"".join(lines[:2]) + lines[2][:cut])
    assert log.count() == 2
    assert start(log, seed=9) == 3
    assert [trial.started.seed for trial in log.trials()] == [0, 1, 9]
    assert log.path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("change", ["taken out", "twice", "garbage", "unknown"])
def test_a_log_that_was_changed_is_refused_by_name_and_line(log, change):
    for seed in range(3):
        start(log, seed=seed)
    lines = log.path.read_bytes().splitlines(keepends=True)
    changed = {
        "taken out": [lines[0], lines[2]],
        "twice": [*lines, lines[2]],
        "garbage": [lines[0], b"{\n"],
        "unknown": [lines[0], lines[1].replace(b'"note"', b'"secret"')],
    }[change]
    log.path.write_bytes(b"".join(changed))
    with pytest.raises(TrialLogError, match=rf"{LOG_NAME}, line \d"):
        log.count()
    before = log.path.read_bytes()
    with pytest.raises(TrialLogError):
        start(log)
    assert log.path.read_bytes() == before


def test_a_full_disk_is_an_error_and_leaves_the_log_as_it_was(log):
    start(log)
    before = log.path.read_bytes()
    for room in (0, 1, 50):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room,) * 2)
            try:
                start(log)
            except OSError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert log.path.read_bytes() == before
    assert start(log) == 2


def fork_writer(log, name):
    """A process that begins and ends 25 trials; its process number, and where it tells the numbers it was given."""
    told, tell = os.pipe()
    child = os.fork()
    if child:
        os.close(tell)
        return child, told
    os.close(told)
    for number in range(25):
        trial = log.start(layer="strategic", settings_hash=name, seed=number, spans=SPANS, data_hash="d", at_ns=number)
        os.write(tell, bytes([trial]))
        log.finish(trial, {"sharpe": float(trial)}, at_ns=number)
    os._exit(0)


def test_processes_that_write_at_once_get_numbers_of_their_own_and_a_killed_one_leaves_the_log_whole(log):
    writers = {name: fork_writer(log, name) for name in ("a", "b", "c", "killed")}
    os.read(writers["killed"][1], 5)
    os.kill(writers["killed"][0], signal.SIGKILL)
    told = {}
    for name, (child, reader) in writers.items():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == (-signal.SIGKILL if name == "killed" else 0)
        told[name] = list(os.read(reader, 100))
        os.close(reader)
    trials = log.trials()
    assert [trial.started.trial for trial in trials] == list(range(1, len(trials) + 1))
    for name in ("a", "b", "c"):
        assert [t.started.trial for t in trials if t.started.settings_hash == name] == told[name]
        assert len(told[name]) == 25
    assert sum(trial.outcome == "unfinished" for trial in trials) <= 1
    assert all(trial.ended.numbers == {"sharpe": trial.started.trial} for trial in trials if trial.ended)


def test_the_log_does_not_need_torch(tmp_path: Path):
    code = "import sys; import grandmodel.research.trials; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
