"""Quiet bars share a record and wake rules keep agents from being asked: neither changes what a run does or what its records say."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_runs import Restless, build_engine, encoded, open_risk, records_of
from grandmodel.domain.agents import Agent, WakeRule
from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import TargetPosition
from grandmodel.domain.events import Cause, Command, CommandKind
from grandmodel.domain.moments import expanded, moments_of
from grandmodel.kernels import kernel
from grandmodel.risk.settings import Thresholds
from grandmodel.runtime.errors import AgentChoiceError, AgentError
from grandmodel.runtime.snapshot import restore_engine, save_engine
from grandmodel.tactical.baselines import BuyAndHold, MovingAverageCross
from strategies import ALL_DAY, CL, MINUTE, NQ, bar_row, bars, schedule_of, stack, ticks

SLOW = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
PAUSED = schedule_of((0, 33, 0), (40, 90, 0), (100, 2_000, 1))
UNIVERSE = tuple(msgspec.structs.replace(NQ if k % 2 == 0 else CL, id=f"N{k}") for k in range(10))


@kernel
def every_so_often(bars, count, lots, memory):
    """Wakes where the closes so far, and what is held, come out even."""
    for k in range(count):
        memory[0] = (memory[0] * 31 + bars[k].close + bars[k].flags) % 1_000_003
    memory[1] += count
    held = 0
    for k in range(len(lots)):
        held += lots[k]
    return (memory[0] + held) % memory[2] == 0


@kernel
def by_mean(bars, count, lots, memory):
    """Wakes where a close lies two ticks above the slow mean of all closes; its memory is of floats."""
    for k in range(count):
        memory[0] += (bars[k].close - memory[0]) * 0.25
    wakes = False
    for k in range(count):
        wakes |= bars[k].close > memory[0] + 2.0
    return wakes


class Often(Agent):
    """Turns its position where its rule says so: sometimes nothing is wished even then."""

    name = "often"
    every = 5

    def __init__(self, instruments, generator):
        super().__init__(instruments, generator)
        self.wake = WakeRule(every_so_often, np.array([1, 0, self.every], dtype=np.int64))
        self.asked = 0

    def on_bars(self, bars, account):
        self.asked += 1
        seen, _, every = self.wake.memory.tolist()
        if (seen + sum(account.lots(name) for name in self.instruments)) % every:
            return ()
        return [TargetPosition(instrument=bars[0].instrument, lots=seen % 5 - 2)] if seen % 3 else ()


class Above(Agent):
    name = "above"

    def __init__(self, instruments, generator):
        super().__init__(instruments, generator)
        self.wake = WakeRule(by_mean, np.zeros(1))

    def on_bars(self, bars, account):
        mean = float(self.wake.memory[0])
        return [
            TargetPosition(instrument=bar.instrument, lots=1 - account.lots(bar.instrument))
            for bar in bars
            if bar.close > mean + 2.0 and bar.close % 2
        ]


class Cross(MovingAverageCross):
    def __init__(self, instruments, generator):
        super().__init__(instruments, generator, fast=1, slow=3, width_ns=5 * MINUTE)


class Hold(BuyAndHold):
    def __init__(self, instruments, generator):
        super().__init__(instruments, generator, width_ns=5 * MINUTE)


class Silent(Agent):
    """Without a wake rule: asked at every bar, and never wishes."""

    def on_bars(self, bars, account):  # noqa: ARG002
        return ()


class Deaf(Restless):
    """Wishes of every kind, now and then, and hears no report: compiled code takes them all."""

    name = "deaf"
    on_reports = Agent.on_reports

    def on_bars(self, bars, account):
        return super().on_bars(bars, account) if self.generator.random() < 0.4 else ()


AGENTS = (
    (Deaf,),
    (Deaf, Often),
    (Often,),
    (Cross,),
    (Hold, Above),
    (Often, Cross, Above),
    (Silent,),
    (Silent, Often),
    (Restless, Cross),
    (),
)
BREAKERS = (
    {},
    {"volatility": Thresholds(caution=1.01), "drawdown": Thresholds(caution=1e-6, reduce=2e-6, halt=1e-4)},
    {"loss_streak": Thresholds(caution=1, reduce=2, halt=4), "order_rejects": Thresholds(caution=1)},
    {"daily_loss": Thresholds(caution=1e-7), "data_quality": Thresholds(caution=1), "var_breach": Thresholds(caution=1e-5)},
)  # fmt: skip


def fresh(agents, count, seed, breakers, **changes):
    fields = {
        "instruments": UNIVERSE[:count],
        "schedules": [ALL_DAY if k % 3 != 1 else PAUSED for k in range(count)],
        "risk": open_risk(5 * MINUTE, **breakers),
        "seed": seed,
    }
    return build_engine(agents, **(fields | changes))


def alike(records):
    """Records one a moment and without their numbers, as the journal stores them."""
    return encoded(msgspec.structs.replace(record, number=0) for record in expanded(records))


@st.composite
def marked_bars(draw):
    """Bars of one to ten instruments with rolls and bad stretches among them."""
    count = draw(st.integers(1, 10))
    rows = draw(bars(instruments=count, min_size=4, max_size=40))
    for row in rows:
        row["flags"] |= draw(st.sampled_from((0,) * 12 + (int(Flag.ROLL), int(Flag.BAD_STRETCH))))
    return count, rows


@SLOW
@given(
    marked_bars(),
    st.sampled_from(AGENTS),
    st.sampled_from(BREAKERS),
    st.integers(0, 2**20),
    st.sampled_from((2, 3, 1024)),
    st.lists(st.integers(0, 40), max_size=6),
)
def test_quiet_records_say_what_single_ones_say_however_the_stream_is_cut(drawn, agents, breakers, seed, most, cuts):
    count, rows = drawn
    single = records_of(fresh(agents, count, seed, breakers), rows)
    many = records_of(fresh(agents, count, seed, breakers, quiet_moments=most), rows)
    assert alike(many) == alike(single)
    assert [record.number for record in many] == list(range(len(many)))
    assert all(1 <= len(list(moments_of(record))) <= most for record in many)
    assert not any(one.cause is other.cause is Cause.QUIET for one, other in pairwise(many)) or most < 1024
    cut = records_of(
        fresh(agents, count, seed, breakers, quiet_moments=most), rows, cuts=sorted({c for c in cuts if c < len(rows)})
    )
    assert encoded(cut) == encoded(many)


@SLOW
@given(
    marked_bars(),
    st.sampled_from(AGENTS),
    st.sampled_from(BREAKERS),
    st.integers(0, 2**20),
    st.sampled_from((1, 4, 1024)),
)
def test_a_wake_rule_changes_no_byte(drawn, agents, breakers, seed, most):
    count, rows = drawn
    heeded = records_of(fresh(agents, count, seed, breakers, quiet_moments=most), rows)
    asked = records_of(fresh(agents, count, seed, breakers, quiet_moments=most, wake_rules=False), rows)
    assert encoded(heeded) == encoded(asked)


@SLOW
@given(
    ticks(instruments=2, min_size=20, max_size=80, warm=20),
    st.sampled_from(AGENTS),
    st.integers(0, 2**20),
    st.sampled_from((1, 3, 1024)),
)
def test_the_same_on_trades_and_quotes(rows, agents, seed, most):
    def made(**changes):
        changes = {"risk": open_risk(MINUTE), "widths_ns": (MINUTE, 5 * MINUTE)} | changes
        return records_of(fresh(agents, 2, seed, {}, **changes), rows)

    assert alike(made(quiet_moments=most)) == alike(made())
    assert encoded(made(quiet_moments=most)) == encoded(made(quiet_moments=most, wake_rules=False))


@SLOW
@given(marked_bars(), st.sampled_from(AGENTS), st.integers(0, 40), st.integers(0, 2**20), st.booleans())
def test_a_run_goes_on_from_a_snapshot_within_a_stretch(drawn, agents, at, seed, heeds):
    count, rows = drawn
    at = min(at, len(rows))

    def made():
        return fresh(agents, count, seed, BREAKERS[1], quiet_moments=9, wake_rules=heeds)

    whole = records_of(made(), rows)
    first = made()
    begun = list(first.on_block(stack(rows[:at]))) if at else []
    data = save_engine(first)
    second = made()
    restore_engine(second, data)
    assert save_engine(second) == data
    assert encoded([*begun, *records_of(second, rows[at:])]) == encoded(whole)


def calm_rows(count=400, instruments=1):
    return [
        bar_row(5 * k, 1_000 + k % 7, 1_004 + k % 7, 998, 1_000 + (k * 3) % 7, instrument=i, sequence=k)
        for k in range(count)
        for i in range(instruments)
    ]


def test_an_agent_with_a_wake_rule_is_asked_where_it_wants_and_at_every_bar_where_rules_are_off():
    rows = calm_rows()
    asleep, awake = (fresh((Often,), 1, 3, {}, quiet_moments=64, wake_rules=heeds) for heeds in (True, False))
    records, others = records_of(asleep, rows), records_of(awake, rows)
    assert encoded(records) == encoded(others)
    closes = sum(len(moment.bars) > 0 for record in records for moment in moments_of(record))
    assert awake.asking.agents[0].asked == closes
    assert 20 < asleep.asking.agents[0].asked < closes / 2
    assert sum(record.cause is Cause.QUIET for record in records) > 10


def test_no_agent_is_asked_after_a_stop_and_its_bars_stay_on_the_record():
    rows = calm_rows(60)
    engine = fresh((Often, Silent), 1, 3, {}, quiet_moments=64)
    records = list(engine.on_block(stack(rows[:30])))
    records += engine.on_command(Command(kind=CommandKind.STOP, ts=engine.now, who="ann/risk", why="test"))
    asked = engine.asking.agents[0].asked
    records += records_of(engine, rows[30:])
    assert engine.asking.agents[0].asked == asked
    closed = [
        bar.ts_event
        for record in records
        for moment in moments_of(record)
        for bar in moment.bars
        if bar.width_ns == 5 * MINUTE
    ]
    assert closed == [int(row["ts_event"]) for row in rows]


@kernel
def that_fails(bars, count, lots, memory):
    if bars[0].close == 1_003:
        raise ValueError("no such close")
    return False


@kernel
def that_pairs(bars, count, lots, memory):
    return count, count


@kernel
def that_writes_lots(bars, count, lots, memory):
    lots[0] = 1
    return False


@kernel
def that_writes_bars(bars, count, lots, memory):
    for k in range(count):
        bars[k].close = bars[k].flags = 1
    return False


def with_rule(condition, memory=None):
    class Ruled(Silent):
        name = "ruled"

        def __init__(self, instruments, generator):
            super().__init__(instruments, generator)
            self.wake = WakeRule(condition, np.zeros(1) if memory is None else memory)

    return Ruled


def test_a_condition_that_raises_ends_the_run_with_the_agents_name():
    engine = fresh((Silent, with_rule(that_fails)), 1, 1, {}, quiet_moments=64)
    with pytest.raises(AgentError, match=r"agent ruled: its wake rule's condition failed: .*no such close"):
        records_of(engine, calm_rows())


@pytest.mark.parametrize(
    ("condition", "memory", "text"),
    [
        (that_pairs, None, "condition cannot be used"),
        (lambda bars, count, lots, memory: False, None, "under @kernel"),  # noqa: ARG005
        (that_writes_lots, None, "condition cannot be used"),
        (by_mean, np.zeros((2, 2)), "expected a writable array"),
        (by_mean, np.zeros(0), "expected a writable array"),
        (by_mean, [0.0], "expected a writable array"),
        (by_mean, np.zeros(2, np.float32), "expected a writable array"),
    ],
)
def test_a_rule_that_compiled_code_cannot_call_is_refused_before_the_run(condition, memory, text):
    with pytest.raises(AgentChoiceError, match=text):
        fresh((with_rule(condition, memory),), 1, 1, {})


def test_what_a_condition_writes_to_the_bars_reaches_no_record():
    rows = calm_rows(80)
    expected = alike(records_of(fresh((Silent,), 1, 1, {}), rows))
    for most in (1, 16):
        assert alike(records_of(fresh((with_rule(that_writes_bars),), 1, 1, {}, quiet_moments=most), rows)) == expected
