"""Trading days: when each opens and closes, and how much of it has passed.

A schedule is three arrays, so that a kernel can search it. ``cme_globex_sessions()`` is the default of the two matrices; other
markets pass ``exchange_sessions("XNYS", ...)`` or a schedule of their own.

A bar that closes after an open and not after the close belongs to that session. A bar outside every session (in the
daily break, on a weekend) counts to the trading day that opens next, of which nothing has elapsed yet.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR, NS_PER_SECOND
from grandmodel.features.arrays import Integers
from grandmodel.features.errors import FeatureError
from grandmodel.kernels import kernel

# The range of the default schedule.
FIRST_DEFAULT_DAY = date(1990, 1, 1)
LAST_DEFAULT_DAY = date(2059, 12, 31)
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class TradingDays:
    """Trading days in order of time, not overlapping.

    ``opens_ns`` and ``closes_ns``, int64 nanoseconds UTC, shape (D,); ``weekdays``, Monday 0 ... Sunday 6, of the day that the
    session is booked on: the session that opens on Sunday evening is Monday's.
    """

    opens_ns: Integers
    closes_ns: Integers
    weekdays: Integers

    def __post_init__(self) -> None:
        """Refuse what the kernels could not search: other shapes, no time in a session, sessions that overlap."""
        if not len(self.opens_ns) == len(self.closes_ns) == len(self.weekdays) or len(self.opens_ns) == 0:
            found = f"{len(self.opens_ns)} opens, {len(self.closes_ns)} closes, {len(self.weekdays)} weekdays"
            raise FeatureError(f"sessions: found {found}, expected as many of each and at least one")
        if (self.closes_ns <= self.opens_ns).any() or (self.opens_ns[1:] < self.closes_ns[:-1]).any():
            raise FeatureError(
                "sessions: found some that end before they begin, or overlap; expected them in order of time"
            )

    def positions(self, ts_event: npt.ArrayLike) -> Integers:
        """Which session each bar belongs to, by its place in the schedule: the first that has not closed before it."""
        return np.searchsorted(self.closes_ns, np.asarray(ts_event, dtype=np.int64)).astype(np.int64)


@lru_cache(maxsize=1)
def cme_globex_sessions() -> TradingDays:
    """CME Globex as equity index and energy futures trade: 18:00 to 17:00 New York, Monday to Friday, 1990 to 2059.

    Holidays are not left out: a bar that traded on one has its place in that day like any other, and a shortened day
    simply ends early. So the columns of time never depend on a list of holidays.
    """
    sunday = FIRST_DEFAULT_DAY - timedelta(days=FIRST_DEFAULT_DAY.isoweekday() % 7)
    weeks = np.arange((LAST_DEFAULT_DAY - sunday).days // 7 + 1, dtype=np.int64)
    # Clocks change in the night to Sunday, when nothing trades: one offset holds from a week's first open to its last close.
    behind_ns = np.array([_behind_utc_ns(sunday + timedelta(days=7 * int(week))) for week in weeks], dtype=np.int64)
    weekdays = np.arange(5, dtype=np.int64)
    first_ns = (sunday - _EPOCH).days * NS_PER_DAY
    opens_ns = (first_ns + 7 * NS_PER_DAY * weeks + 18 * NS_PER_HOUR + behind_ns)[:, None] + NS_PER_DAY * weekdays
    days_ns = (first_ns + 7 * NS_PER_DAY * weeks)[:, None] + NS_PER_DAY * (weekdays + 1)
    kept = (days_ns >= (FIRST_DEFAULT_DAY - _EPOCH).days * NS_PER_DAY) & (
        days_ns <= (LAST_DEFAULT_DAY - _EPOCH).days * NS_PER_DAY
    )
    return TradingDays(
        opens_ns=opens_ns[kept],
        closes_ns=opens_ns[kept] + 23 * NS_PER_HOUR,
        weekdays=np.broadcast_to(weekdays, kept.shape)[kept],
    )


def exchange_sessions(calendar: str, first: date, last: date) -> TradingDays:
    """The sessions of an exchange from ``first`` to ``last``, holidays and early closes included.

    ``calendar`` is a name that exchange_calendars knows, such as XNYS. Raises ``FeatureError`` for an unknown name.
    """
    import exchange_calendars  # noqa: PLC0415 - takes a second to import, and most callers use the default schedule

    try:
        with warnings.catch_warnings():
            # exchange_calendars 4.13 calls what pandas 3.1 has deprecated; it is theirs to change.
            warnings.filterwarnings("ignore", message="Series.values")
            found = exchange_calendars.get_calendar(calendar, start=str(first - timedelta(days=7)), end=str(last))
        schedule = found.schedule
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise FeatureError(
            f"calendar: found {calendar!r}, expected a name that exchange_calendars knows, such as XNYS"
        ) from error
    kept = [stamp.date() >= first for stamp in schedule.index]
    weekdays = [stamp.weekday() for stamp in schedule.index]
    columns = (
        [int(stamp.value) for stamp in schedule["open"]],
        [int(stamp.value) for stamp in schedule["close"]],
        weekdays,
    )
    opens_ns, closes_ns, days = (np.array(column, dtype=np.int64)[kept] for column in columns)
    return TradingDays(opens_ns=opens_ns, closes_ns=closes_ns, weekdays=days)


def _behind_utc_ns(sunday: date) -> int:
    """How far New York's clock is behind UTC in the evening of a Sunday, ns."""
    offset = datetime(sunday.year, sunday.month, sunday.day, 18, tzinfo=ZoneInfo("America/New_York")).utcoffset()
    return -round((offset or timedelta()).total_seconds()) * NS_PER_SECOND


@kernel
def day_position(opens_ns: Integers, closes_ns: Integers, weekdays: Integers, ts_event: int) -> tuple[float, float]:
    """Fraction of the trading day elapsed, in [0, 1], and its weekday over 6; NaN where the schedule does not reach."""
    low = 0
    high = len(closes_ns)
    while low < high:
        middle = (low + high) >> 1
        if closes_ns[middle] < ts_event:
            low = middle + 1
        else:
            high = middle
    if low == len(closes_ns) or (low == 0 and ts_event <= opens_ns[0]):
        return math.nan, math.nan
    elapsed = (ts_event - opens_ns[low]) / (closes_ns[low] - opens_ns[low])
    return max(elapsed, 0.0), weekdays[low] / 6.0
