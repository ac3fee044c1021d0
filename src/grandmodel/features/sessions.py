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
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from grandmodel.features.arrays import Integers
from grandmodel.features.errors import FeatureError
from grandmodel.kernels import kernel

# The range of the default schedule.
FIRST_DEFAULT_DAY = date(1990, 1, 1)
LAST_DEFAULT_DAY = date(2059, 12, 31)


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
    days = pl.date_range(FIRST_DEFAULT_DAY, LAST_DEFAULT_DAY, interval="1d", eager=True).alias("day").to_frame()
    days = days.filter(pl.col("day").dt.weekday() <= 5)
    return _from_local_times(days, "America/New_York", opens_hour=18, opens_day_before=True, closes_hour=17)


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
    frame = pl.DataFrame(
        {
            "day": [stamp.date() for stamp in schedule.index],
            "open": [int(stamp.value) for stamp in schedule["open"]],
            "close": [int(stamp.value) for stamp in schedule["close"]],
        }
    ).filter(pl.col("day") >= first)
    return TradingDays(
        opens_ns=frame["open"].to_numpy(),
        closes_ns=frame["close"].to_numpy(),
        weekdays=(frame["day"].dt.weekday().cast(pl.Int64) - 1).to_numpy(),
    )


def _from_local_times(
    days: pl.DataFrame, zone: str, opens_hour: int, opens_day_before: bool, closes_hour: int
) -> TradingDays:
    def utc_ns(hour: int, days_before: int) -> Integers:
        local = (pl.col("day").cast(pl.Datetime("ns")) - pl.duration(days=days_before)) + pl.duration(hours=hour)
        in_utc = local.dt.replace_time_zone(zone).dt.convert_time_zone("UTC").dt.epoch("ns")
        return days.select(in_utc).to_series().to_numpy()

    return TradingDays(
        opens_ns=utc_ns(opens_hour, 1 if opens_day_before else 0),
        closes_ns=utc_ns(closes_hour, 0),
        weekdays=days.select(pl.col("day").dt.weekday().cast(pl.Int64) - 1).to_series().to_numpy(),
    )


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
