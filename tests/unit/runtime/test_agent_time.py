"""How long agents take is measured outside the engine; what follows is an input on the record."""

import pytest

from engine_runs import open_risk
from grandmodel.domain.agents import Agent
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Cause, Signal, SignalTrigger
from grandmodel.journal.format import JournalReader, decode_record
from grandmodel.journal.replay import replay
from grandmodel.risk.settings import Thresholds
from grandmodel.runtime.agent_time import AgentTimer, AgentTimeSettings
from grandmodel.runtime.agents import build_agent
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AgentSettings, Mode, RunSettings
from strategies import ALL_DAY, NQ, bar_row, stack

SECOND = 10**9


class FakeClock:
    """A clock that others put forward."""

    ns = 0

    def __call__(self):
        FakeClock.ns += 1_000
        return FakeClock.ns


class Slow(Agent):
    """Takes two seconds of the fake clock for every question."""

    name = "slow"

    def on_bars(self, bars, account):  # noqa: ARG002
        FakeClock.ns += 2 * SECOND
        return ()


def timer(misses=3):
    now = [0]
    return now, AgentTimer(lambda: now[0], AgentTimeSettings(budget_ns=SECOND, misses=misses))


def answer(now, timer, agent, took):
    timer.asked()
    now[0] += took
    timer.answered(agent)


def test_an_agent_is_late_after_so_many_misses_in_a_row():
    now, timed = timer()
    for took in (2, 3, 1, 2, 2):  # One that is in time starts the count anew.
        answer(now, timed, 0, took * SECOND)
        assert timed.take_late() == []
    answer(now, timed, 1, 9 * SECOND)
    answer(now, timed, 0, 4 * SECOND)
    assert timed.take_late() == [(0, 4 * SECOND)]
    assert timed.take_late() == []


def test_a_budget_of_its_own_length_is_kept():
    now, timed = timer(misses=1)
    answer(now, timed, 0, SECOND)
    assert timed.take_late() == []
    answer(now, timed, 0, SECOND + 1)
    assert timed.take_late() == [(0, SECOND + 1)]


@pytest.mark.parametrize("fields", [{"budget_ns": -1}, {"misses": 0}])
def test_a_budget_that_times_nothing_is_refused(fields):
    with pytest.raises(UsageError, match="agent_time"):
        AgentTimeSettings(**fields)


def run_slow(folder, mode, **changes):
    settings = RunSettings(
        mode=mode,
        agents=(AgentSettings(kind=f"{__name__}:Slow"),),
        risk=open_risk(latency=Thresholds(caution=0.5, halt=5.0)),
        widths_ns=(5 * 60 * SECOND,),
        **changes,
    )
    with Session.start(folder, settings, (NQ,), (ALL_DAY,), data="made by a test", clock_ns=FakeClock()) as session:
        rows = [bar_row(5 * k, 1_000, 1_002, 998, 1_000, sequence=k) for k in range(12)]
        session.feed([stack(rows[k : k + 4]) for k in range(0, 12, 4)])
        session.end()
    with JournalReader.open(folder) as reader:
        given = [one for _, one in reader.inputs()]
        return given, [decode_record(row.body) for row in reader.record_rows()]


def test_a_slow_agent_moves_the_ladder_by_an_input_on_the_record(tmp_path):
    given, records = run_slow(tmp_path / "paper", Mode.PAPER)
    signals = [one for one in given if isinstance(one, Signal)]
    assert [(one.trigger, one.value, one.source) for one in signals] == [
        (SignalTrigger.LATENCY, pytest.approx(2.0, abs=1e-3), "agent slow")
    ] * 3
    moved = [record for record in records if record.cause is Cause.SIGNAL]
    assert len(moved) == 3
    assert "normal to caution by latency" in " ".join(alert.text for alert in moved[0].alerts)
    assert [alert.code for record in moved for alert in record.alerts].count("slow_agent") == 3
    assert "agent slow took 2 s" in " ".join(alert.text for alert in moved[0].alerts)
    with JournalReader.open(tmp_path / "paper") as reader:
        report = replay(reader, InputEngine(build_agent))
    assert report.equal


@pytest.mark.parametrize("changes", [{"agent_time": AgentTimeSettings(budget_ns=0)}, {"trade_from_ns": 2**62}])
def test_an_agent_that_is_not_timed_or_only_warms_up_is_not_told_of(tmp_path, changes):
    given, _ = run_slow(tmp_path / "paper", Mode.PAPER, **changes)
    assert not [one for one in given if isinstance(one, Signal)]


def test_a_backtest_does_not_depend_on_the_machines_speed(tmp_path):
    given, _ = run_slow(tmp_path / "backtest", Mode.BACKTEST)
    assert not [one for one in given if isinstance(one, Signal)]
