"""Drawdown by hand and by a plain loop, below zero too; trading days and bars of a year in sessions of every kind."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import THIRTY_MINUTES_NS, ns_from_text
from grandmodel.performance import drawdown
from grandmodel.performance.drawdown import compiled_drawdown_of, deepest_drawdown, drawdown_curve, drawdown_of
from grandmodel.performance.periods import (
    bars_per_year,
    busiest_schedule,
    trading_days_per_year,
    trading_ns_of_days,
    whole_weeks,
)
from strategies import schedule_of

HOUR = 3_600 * 10**9


@pytest.mark.parametrize(
    ("equity", "expected"),
    [
        ([100, 120, 90, 130, 117], 0.25),
        ([100, 110, 120], 0.0),
        ([], 0.0),
        ([100, 50, 100, 49], 0.51),
        ([100, 0], 1.0),
        ([100, 200, -100], 1.5),
    ],
)
def test_drawdown_by_hand_beyond_the_whole_account_too(equity, expected):
    assert deepest_drawdown(np.array(equity, dtype=float))[0] == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-1_000, 1_000), max_size=30), st.integers(1, 1_000))
def test_drawdown_is_the_worst_fall_from_any_earlier_value(later, first):
    equity = [first, *later]
    worst = max((max(equity[: i + 1]) - value) / max(equity[: i + 1]) for i, value in enumerate(equity))
    assert deepest_drawdown(np.array(equity))[0] == pytest.approx(worst)
    assert (drawdown_curve(np.array(equity)) >= 0.0).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(10**15), 10**15), max_size=30), st.integers(1, 10**15))
def test_one_moment_a_kernel_and_the_whole_curve_follow_one_rule(later, first):
    equity = np.array([first, *later])
    peaks = np.maximum.accumulate(equity)
    curve = drawdown_curve(equity)
    for value, peak, fall in zip(equity.tolist(), peaks.tolist(), curve.tolist(), strict=True):
        assert drawdown_of(value, peak) == compiled_drawdown_of(value, peak) == fall
    assert drawdown_of(5, 0) == compiled_drawdown_of(5, 0) == 0.0


def test_no_other_place_writes_the_rule_out():
    package = Path(drawdown.__file__).parents[1]
    rule = re.compile(r"1\.0 - [\w.]*equity\w* / [\w.]*peak|\(?[\w.]*peak\w* - [\w.]*equity\w*\) / ")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if rule.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"performance/drawdown.py"}


def test_an_account_that_begins_at_nothing_has_no_peak_to_fall_from():
    with pytest.raises(UsageError, match="above 0"):
        drawdown_curve(np.array([0, 5]))


def sessions(hours, days_a_week, weeks):
    return schedule_of(*((1_440 * k, 1_440 * k + 60 * hours, k) for k in range(7 * weeks) if k % 7 < days_a_week))


@pytest.mark.parametrize(("hours", "days_a_week"), [(23, 5), (4, 5), (24, 7), (6, 3)])
def test_days_and_bars_of_a_year_follow_the_sessions(hours, days_a_week):
    schedule = sessions(hours, days_a_week, 8)
    days = 365.25 * days_a_week / 7
    assert trading_days_per_year(schedule) == pytest.approx(days)
    assert bars_per_year(schedule, THIRTY_MINUTES_NS) == pytest.approx(days * hours * 2)
    assert bars_per_year(schedule, 24 * HOUR) == pytest.approx(days)
    assert trading_ns_of_days(schedule)[1].tolist() == [hours * HOUR] * days_a_week * 8


def test_a_pause_inside_a_day_is_not_open_and_a_bar_across_it_counts_once():
    schedule = schedule_of(
        *(part for k in range(21) for part in ((1_440 * k, 1_440 * k + 105, k), (1_440 * k + 110, 1_440 * k + 240, k)))
    )
    assert trading_ns_of_days(schedule)[1].tolist() == [235 * 60 * 10**9] * 21
    # Half hours from 0:00 to 4:00: the one from 1:30 to 2:00 holds the end of the first session and the beginning of the second.
    assert bars_per_year(schedule, THIRTY_MINUTES_NS) == pytest.approx(365.25 * 8)


def test_less_than_two_weeks_say_nothing():
    assert whole_weeks(sessions(23, 5, 1)) == 0
    assert trading_days_per_year(sessions(24, 7, 1)) is None
    assert bars_per_year(sessions(24, 7, 1), THIRTY_MINUTES_NS) is None
    assert trading_days_per_year(sessions(24, 7, 2)) == pytest.approx(365.25)


def test_a_year_of_nq_has_its_exchange_s_days_and_hours():
    start, end = ns_from_text("2021-01-01T00:00Z"), ns_from_text("2023-12-31T00:00Z")
    schedule = session_schedule(BUILT_IN["NQ"], start, end)
    assert 250 < trading_days_per_year(schedule) < 262
    assert (
        trading_days_per_year(schedule) * 44.5
        < bars_per_year(schedule, THIRTY_MINUTES_NS)
        < trading_days_per_year(schedule) * 46
    )


def test_of_several_instruments_the_one_with_the_most_days_tells_the_time():
    five, all_days = sessions(23, 5, 4), sessions(4, 7, 4)
    assert busiest_schedule([five, all_days]) is all_days
    assert busiest_schedule([sessions(4, 5, 4), five]) is five
    assert busiest_schedule([]) is None
