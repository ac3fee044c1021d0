"""Latencies in bounded room, against sorting all of them."""

import math

from hypothesis import given
from hypothesis import strategies as st

from grandmodel.runtime.latency import Latency, TimeHistogram
from grandmodel.runtime.market_step import Stop

times = st.lists(st.integers(-5, 300) | st.integers(0, 10**7) | st.integers(0, 2**62), min_size=1, max_size=60)


@given(times, st.floats(0.01, 1.0))
def test_a_percentile_lies_within_a_hundredth_of_the_sorted_times(taken, share):
    found = TimeHistogram()
    for one in taken:
        found.add(one)
    exact = sorted(max(one, 0) for one in taken)[math.ceil(share * len(taken) - 1e-9) - 1]
    assert abs(found.percentile(share) - exact) <= 0.008 * exact + 0.5
    assert found.longest == max(0, *taken)
    assert found.count == len(taken)


def test_nothing_timed_has_no_figures():
    assert TimeHistogram().figures() == {}
    assert TimeHistogram().percentile(0.5) == 0.0


def test_steps_on_bars_and_on_reports_are_timed_apart_and_others_not_at_all():
    ticks = iter(range(0, 10**6, 700))
    latency = Latency(lambda: next(ticks))
    for stop in (Stop.ASK, Stop.REPORTS, Stop.FULL, Stop.RISK, Stop.ROLL):
        latency.stopped()
        latency.settled(int(stop))
    figures = latency.percentiles()
    assert (figures["decision"]["count"], figures["report"]["count"]) == (2.0, 1.0)
    assert figures["report"]["max_us"] == 0.7
