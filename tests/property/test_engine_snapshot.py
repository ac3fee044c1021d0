"""A run that goes on from a snapshot makes the records that it would have made without one."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_runs import Restless, RestlessOfEveryType, build_engine, encoded, open_risk, records_of
from grandmodel.domain.errors import UsageError
from grandmodel.runtime.snapshot import restore_engine, save_engine
from grandmodel.simulation.models import LognormalLatency, RandomSlippage, VenueSettings
from grandmodel.tactical.baselines import MovingAverageCross, RandomAgent
from strategies import ALL_DAY, CL, MINUTE, NQ, bars, schedule_of, stack, ticks

SLOW = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
PAUSED = schedule_of((0, 33, 0), (40, 90, 0), (100, 2_000, 1))


class Cross(MovingAverageCross):
    def __init__(self, instruments, generator):
        super().__init__(instruments, generator, fast=1, slow=3, width_ns=5 * MINUTE)


class Random(RandomAgent):
    def __init__(self, instruments, generator):
        super().__init__(instruments, generator, probability=0.7, width_ns=5 * MINUTE)


def fresh(seed, width_ns):
    return build_engine(
        (RestlessOfEveryType, Cross, Random),
        instruments=(NQ, CL),
        schedules=[ALL_DAY, PAUSED],
        venue=VenueSettings(latency=LognormalLatency(median=20 * 10**9, sigma=2.0), slippage=RandomSlippage()),
        risk=open_risk(width_ns),
        widths_ns=(width_ns, 5 * MINUTE) if width_ns < 5 * MINUTE else (5 * MINUTE, 30 * MINUTE),
        seed=seed,
    )


def check_snapshot(rows, at, seed, width_ns):
    at = min(at, len(rows))
    whole = records_of(fresh(seed, width_ns), rows)
    first = fresh(seed, width_ns)
    begun = list(first.on_block(stack(rows[:at]))) if at else []
    data = save_engine(first)
    second = fresh(seed, width_ns)
    restore_engine(second, data)
    assert save_engine(second) == data
    assert encoded([*begun, *records_of(second, rows[at:])]) == encoded(whole)


@SLOW
@given(bars(instruments=2, min_size=8, max_size=30), st.integers(0, 30), st.integers(0, 2**20))
def test_a_run_on_bars_goes_on_from_a_snapshot(rows, at, seed):
    check_snapshot(rows, at, seed, 5 * MINUTE)


@SLOW
@given(ticks(instruments=2, min_size=20, max_size=60, warm=16), st.integers(0, 76), st.integers(0, 2**20))
def test_a_run_on_trades_and_quotes_goes_on_from_a_snapshot(rows, at, seed):
    check_snapshot(rows, at, seed, MINUTE)


def test_a_snapshot_of_another_run_is_refused():
    data = save_engine(build_engine((Restless,)))
    with pytest.raises(UsageError, match="snapshot"):
        restore_engine(build_engine((Restless, Restless)), data)
    with pytest.raises(UsageError, match="snapshot"):
        restore_engine(build_engine((Restless,), instruments=(NQ, CL)), data)
    with pytest.raises(UsageError, match="snapshot"):
        restore_engine(build_engine((Restless,)), b"\x00")
