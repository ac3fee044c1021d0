"""How many trading days and trading hours a year has, counted in an instrument's own sessions.

A market that is open four hours a day has fewer half hours in a year than one that is open 23; a market of all days has 365 days.
Both are counted over whole weeks of the sessions at hand, because days and hours follow the week; fewer than two weeks say nothing,
and the answer is then None.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY

FEWEST_WEEKS = 2
_DAYS_OF_YEAR = 365.25


def trading_days_per_year(schedule: SessionSchedule) -> float | None:
    """Trading days of a year in the rhythm of ``schedule``; None where it covers fewer than two whole weeks."""
    weeks = whole_weeks(schedule)
    if weeks < FEWEST_WEEKS:
        return None
    days = np.unique(schedule.day_ns)
    inside = days < days[0] + weeks * 7 * NS_PER_DAY
    return int(inside.sum()) * _DAYS_OF_YEAR / (7 * weeks)


def bars_per_year(schedule: SessionSchedule, width_ns: int) -> float | None:
    """Bars of ``width_ns`` that a year of ``schedule`` makes; None where it covers fewer than two whole weeks.

    A bar ends at a multiple of its width, UTC, and counts where the market is open in some part of it.
    """
    weeks = whole_weeks(schedule)
    if weeks < FEWEST_WEEKS:
        return None
    inside = schedule.day_ns < schedule.day_ns.min() + weeks * 7 * NS_PER_DAY
    first = schedule.open_ns[inside] // width_ns
    last = (schedule.close_ns[inside] - 1) // width_ns
    shared = int(
        (first[1:] == last[:-1]).sum()
    )  # A bar that holds the end of one session and the beginning of the next.
    return (int((last - first + 1).sum()) - shared) * _DAYS_OF_YEAR / (7 * weeks)


def whole_weeks(schedule: SessionSchedule) -> int:
    """Whole weeks from the first trading day of ``schedule`` to its last."""
    if not len(schedule):
        return 0
    return int(int(schedule.day_ns.max()) - int(schedule.day_ns.min()) + NS_PER_DAY) // (7 * NS_PER_DAY)


def trading_ns_of_days(schedule: SessionSchedule) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(days (D,), open_ns (D,)): each trading day of ``schedule``, and for how long its market is open on it."""
    days, place = np.unique(schedule.day_ns, return_inverse=True)
    open_ns = np.zeros(len(days), np.int64)
    np.add.at(open_ns, place, schedule.close_ns - schedule.open_ns)
    return days.astype(np.int64), open_ns


def busiest_schedule(schedules: Sequence[SessionSchedule]) -> SessionSchedule | None:
    """The one of ``schedules`` that has the most trading days, then the most open time: the days and hours of an account that holds them all."""
    known = [schedule for schedule in schedules if len(schedule)]
    if not known:
        return None
    return max(known, key=lambda one: (len(np.unique(one.day_ns)), int((one.close_ns - one.open_ns).sum())))
