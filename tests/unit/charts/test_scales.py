import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.charts.scales import LinearScale, TimeScale, nice_axis, time_ticks, value_range

S = 1_000_000_000
DAY = 86_400 * S
FINITE = st.floats(-1e300, 1e300)


def test_a_linear_scale_maps_its_ends_and_its_middle():
    scale = LinearScale(0.0, 10.0, 300.0, 100.0)
    assert [scale.at(v) for v in (0.0, 5.0, 10.0)] == [300.0, 200.0, 100.0]
    assert scale.pixels(np.array([2.5])).tolist() == [250.0]


def test_a_time_scale_keeps_single_nanoseconds_apart():
    start = 1_583_764_200_000_000_000
    scale = TimeScale(start, start + 10, 0.0, 100.0)
    assert scale.pixels(np.array([start, start + 1, start + 10])).tolist() == [0.0, 10.0, 100.0]
    assert scale.at(start + 3) == pytest.approx(30.0)


def test_a_nice_axis_by_hand():
    assert nice_axis(0.0, 10.0, 5) == (0.0, 10.0, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0], 2.0)
    assert nice_axis(0.13, 0.58, 5)[2] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


@given(FINITE, FINITE, st.integers(1, 12))
def test_a_nice_axis_holds_its_range_and_rises(a, b, count):
    low, high, ticks, step = nice_axis(min(a, b), max(a, b), count)
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert low < high
    assert step > 0
    assert low <= min(a, b) + 1e-9 * step
    assert high >= max(a, b) - 1e-9 * step
    assert all(x < y for x, y in itertools.pairwise(ticks))
    assert 2 <= len(ticks) <= 3 * count + 3


def test_the_range_of_values_leaves_out_what_cannot_be_drawn():
    parts = [np.array([np.nan, 2.0, np.inf]), np.array([]), np.array([-1.0, 1e301])]
    assert value_range(parts) == (-1.0, 2.0)
    assert value_range([np.array([5.0])], include_zero=True) == (0.0, 5.0)
    assert value_range([np.array([np.nan])]) is None


def labels(start_ns, end_ns, count=8):
    return [(tick.label, tick.context) for tick in time_ticks(start_ns, end_ns, count)]


def test_ticks_of_an_hour_are_minutes_with_the_day_once():
    start = 1_583_764_200 * S  # Monday 2020-03-09 14:30
    assert labels(start, start + 3600 * S, 6) == [
        ("14:30", "9 Mar 2020"), ("14:40", ""), ("14:50", ""), ("15:00", ""), ("15:10", ""), ("15:20", ""), ("15:30", ""),
    ]  # fmt: skip


def test_the_day_is_named_again_where_it_changes():
    start = 1_583_787_600 * S  # 2020-03-09 21:00
    assert labels(start, start + 6 * 3600 * S, 3) == [("22:00", "9 Mar 2020"), ("00:00", "10 Mar 2020"), ("02:00", "")]


def test_weekly_ticks_fall_on_mondays():
    ticks = time_ticks(1_583_764_200 * S, 1_583_764_200 * S + 50 * DAY, 8)
    assert [(tick.time_ns // DAY + 3) % 7 for tick in ticks] == [0] * len(ticks)
    assert ticks[0].label == "16 Mar"


def test_months_and_years_are_calendar_months_and_years():
    year = [("Jan", "2020"), ("Mar", ""), ("May", ""), ("Jul", ""), ("Sep", ""), ("Nov", ""), ("Jan", "2021")]
    assert labels(1_577_836_800 * S, 1_609_459_200 * S, 7) == year
    centuries = labels(-(2**62), 2**62, 6)
    assert [year for year, _ in centuries] == ["1850", "1900", "1950", "2000", "2050", "2100"]


def test_ticks_below_a_second_show_the_fraction():
    assert labels(0, 5_000_000, 5)[1] == ("00:00:00.001", "")
    assert labels(0, 5, 5)[1] == ("00:00:00.000000001", "")


@given(st.integers(-(2**62), 2**62), st.integers(0, 2**62), st.integers(1, 12))
def test_time_ticks_are_inside_in_order_and_not_too_many(start_ns, length_ns, count):
    ticks = [tick.time_ns for tick in time_ticks(start_ns, start_ns + length_ns, count)]
    assert all(start_ns <= tick <= start_ns + length_ns for tick in ticks)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= count + 2
