"""When an instrument trades: the sessions of an exchange calendar as arrays.

Trading days, holidays and early closes come from ``exchange_calendars``. An instrument may override the wall-clock hours
(``session_open``, ``session_close``, ``time_zone``), because one calendar serves products of different hours.

The library keeps one calendar for all of CME and says so: it is the most conservative one. ``_cme_close`` and
``_with_good_fridays`` put right where the exchange's products differ from it; each rule below was seen in real bars (NQ and CL
2020-2024, NQ and GC 2019, ES and GC 2013) or, where marked so, taken from the exchange's published holiday hours and
not seen in our bars. Left alone on purpose, because it is not a session's end: the pause of equity index
futures from 16:15 to 16:30 New York (until June 2021); bars are simply absent there.

Read next: ``domain/sessions.py`` (the result), ``data/historical/quality.py`` (its first user).
"""

from __future__ import annotations

import datetime as dt
import enum
import warnings
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.errors import CalendarError
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY

_EPOCH = dt.date(1970, 1, 1)
_ONE_DAY = dt.timedelta(days=1)
_CME_CALENDAR = "CMES"
_NEW_YORK = "America/New_York"


def session_schedule(instrument: Instrument, start_ns: int, end_ns: int) -> SessionSchedule:
    """The sessions of ``instrument`` that overlap [``start_ns``, ``end_ns``), in order.

    Raises ``CalendarError`` where the calendar or time zone is unknown or does not reach the span.
    """
    if end_ns <= start_ns:
        return _schedule([])
    first = _EPOCH + dt.timedelta(days=start_ns // NS_PER_DAY - 2)
    last = _EPOCH + dt.timedelta(days=(end_ns - 1) // NS_PER_DAY + 2)
    rows = _sessions_of_years(
        instrument.calendar,
        instrument.mic,
        _cme_group(instrument),
        instrument.session_open,
        instrument.session_close,
        instrument.time_zone,
        first.year,
        last.year,
    )
    return _schedule([row for row in rows if row[1] > start_ns and row[0] < end_ns])


def _schedule(rows: list[tuple[int, int, int]]) -> SessionSchedule:
    table: NDArray[np.int64] = np.array(rows, dtype=np.int64).reshape(-1, 3)
    columns = [np.ascontiguousarray(table[:, column]) for column in range(3)]
    for column in columns:
        column.flags.writeable = False
    return SessionSchedule(open_ns=columns[0], close_ns=columns[1], day_ns=columns[2])


@dataclass(frozen=True, slots=True)
class _CalendarDay:
    """One trading day as the calendar library has it; times in ns, 0 for no break."""

    day: dt.date
    open_ns: int
    close_ns: int
    break_start_ns: int
    break_end_ns: int
    is_late_open: bool = False
    is_early_close: bool = False
    is_holiday: bool = False
    """The library has the day as closed."""


@lru_cache(maxsize=64)
def _sessions_of_years(
    calendar: str,
    mic: str,
    group: _CmeGroup | None,
    session_open: str,
    session_close: str,
    time_zone: str,
    first_year: int,
    last_year: int,
) -> tuple[tuple[int, int, int], ...]:
    """(open, close, day) of every session whose trading day lies in the years given."""
    resolved, zone_of_calendar, days = _calendar_days(calendar, first_year, last_year)
    zone = _zone(time_zone or zone_of_calendar)
    corrected = group if resolved == _CME_CALENDAR else None
    opens, closes = _time_of_day(session_open, mic), _time_of_day(session_close, mic)
    rows: list[tuple[int, int, int]] = []
    if corrected is not None and corrected is not _CmeGroup.ENERGY_METAL:
        days = _with_good_fridays(days)
    for row in days:
        open_ns, close_ns = row.open_ns, row.close_ns
        if opens is not None:
            start_day = row.day - _ONE_DAY if closes is None or opens >= closes else row.day
            wall_open_ns = _wall_ns(start_day, opens, zone)
            open_ns = max(wall_open_ns, open_ns) if row.is_late_open else wall_open_ns
        if closes is not None:
            wall_close_ns = _wall_ns(row.day, closes, zone)
            close_ns = min(wall_close_ns, close_ns) if row.is_early_close else wall_close_ns
        if corrected is not None:
            close_at = _cme_close(corrected, row)
            if close_at is not None:
                close_ns = _wall_ns(row.day, close_at, _zone(_NEW_YORK))
        day_ns = (row.day - _EPOCH).days * NS_PER_DAY
        if row.break_start_ns and open_ns < row.break_start_ns and row.break_end_ns < close_ns:
            rows.append((open_ns, row.break_start_ns, day_ns))
            rows.append((row.break_end_ns, close_ns, day_ns))
        elif open_ns < close_ns:
            rows.append((open_ns, close_ns, day_ns))
    return tuple(rows)


@lru_cache(maxsize=32)
def _calendar_days(name: str, first_year: int, last_year: int) -> tuple[str, str, list[_CalendarDay]]:
    """The resolved name, the time zone and the trading days of one library calendar over whole years."""
    import exchange_calendars  # noqa: PLC0415  (pulls in pandas; only those who need a calendar pay for it)
    from exchange_calendars.errors import InvalidCalendarName  # noqa: PLC0415

    start, end = f"{first_year}-01-01", f"{last_year}-12-31"
    try:
        with warnings.catch_warnings():
            # The library's own calls to deprecated parts of pandas are not for our users to act on.
            warnings.simplefilter("ignore", DeprecationWarning)
            calendar = exchange_calendars.get_calendar(name, start=start, end=end)
    except InvalidCalendarName as error:
        raise CalendarError(
            f"found calendar {name!r}, expected a name of exchange_calendars (CMES, XNYS, XSHG, 24/7, 24/5, ...)"
        ) from error
    except ValueError as error:
        raise CalendarError(
            f"calendar {name} does not reach {start} to {end}: {error}; shorten the span or update exchange_calendars"
        ) from error
    early = set(calendar.early_closes.date)
    late = set(calendar.late_opens.date)
    days = [
        _CalendarDay(day, opens, closes, max(0, pause), max(0, resume), day in late, day in early)
        for day, opens, closes, pause, resume in zip(
            calendar.sessions.date,
            calendar.opens_nanos.tolist(),
            calendar.closes_nanos.tolist(),
            calendar.break_starts_nanos.tolist(),  # the smallest int64 where there is no break
            calendar.break_ends_nanos.tolist(),
            strict=True,
        )
    ]
    return str(calendar.name), str(calendar.tz), days


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise CalendarError(f"found time zone {name!r}, expected an IANA name such as America/New_York") from error


def _time_of_day(text: str, where: str) -> dt.time | None:
    if not text:
        return None
    try:
        return dt.time.fromisoformat(text)
    except ValueError as error:
        raise CalendarError(f"instrument at {where}: found session time {text!r}, expected HH:MM") from error


def _wall_ns(day: dt.date, at: dt.time, zone: ZoneInfo) -> int:
    return int(dt.datetime.combine(day, at, tzinfo=zone).timestamp()) * 1_000_000_000


class _CmeGroup(enum.Enum):
    """Products of CME that share holiday hours."""

    INDEX = "equity index"
    CURRENCY = "currencies"
    ENERGY_METAL = "energy and metals"


_CME_CURRENCIES = frozenset({"6A", "6B", "6C", "6E", "6J", "6M", "6N", "6S", "M6A", "M6B", "M6E"})
_FIRST_JUNETEENTH = 2022
_LONGER_HOLIDAYS_FROM = 2022
_CLOSE_AT_1700_FROM = dt.date(2015, 9, 21)
_GOOD_FRIDAY_TRADING_FROM = 2010


def _cme_group(instrument: Instrument) -> _CmeGroup | None:
    if instrument.mic in {"XNYM", "XCEC"}:
        return _CmeGroup.ENERGY_METAL
    if instrument.mic in {"XCME", "XCBT"}:
        return _CmeGroup.CURRENCY if instrument.id in _CME_CURRENCIES else _CmeGroup.INDEX
    return None


def _cme_close(group: _CmeGroup, row: _CalendarDay) -> dt.time | None:
    """The New York close of a CME product on one day where it is not the product's usual one; ``None``: the usual one.

    - Day after Thanksgiving and 24 December: index and currencies 13:15, energy and metals 13:45 (the library: 13:00).
    - Weekday 3 July before a holiday on the 4th: index 13:15 (the library: a whole day).
    - Juneteenth, from 2022: a holiday (the library: a whole day).
    - Other holidays with trading: 13:00; from 2022 energy and metals 14:30 and currencies 17:00, but 13:00 on a Friday
      (the Friday case: published hours only; the currencies were seen on 2024-01-15). Until 2013 the exchange closed at 11:30 (index) or
      13:15 (energy) on them; not corrected, the library's 13:00 stands.
    - Good Friday on the first Friday of a month (jobs report): index 09:15, currencies 11:15 (the library: closed).
    - Until 2015-09-18 an ordinary day ended at 17:15.
    """
    day = row.day
    if row.is_early_close and ((day.month == 11 and day.weekday() == 4) or (day.month, day.day) == (12, 24)):
        return dt.time(13, 45) if group is _CmeGroup.ENERGY_METAL else dt.time(13, 15)
    if row.is_holiday:
        return dt.time(9, 15) if group is _CmeGroup.INDEX else dt.time(11, 15)
    if (day.month, day.day) == (7, 3) and day.weekday() < 4 and group is _CmeGroup.INDEX:
        return dt.time(13, 15)
    if row.is_early_close or _is_juneteenth(day):
        if day.year < _LONGER_HOLIDAYS_FROM or day.weekday() == 4 or group is _CmeGroup.INDEX:
            return dt.time(13, 0)
        return dt.time(14, 30) if group is _CmeGroup.ENERGY_METAL else dt.time(17, 0)
    return dt.time(17, 15) if day < _CLOSE_AT_1700_FROM else None


def _with_good_fridays(days: list[_CalendarDay]) -> list[_CalendarDay]:
    """``days`` and, in order, the Good Fridays with a few hours of trading for the jobs report.

    A Friday from 1 to 7 April that the library has as closed can only be Good Friday.
    """
    known = {row.day for row in days}
    years = range(max(_GOOD_FRIDAY_TRADING_FROM, days[0].day.year), days[-1].day.year + 1) if days else ()
    early_april = (dt.date(year, 4, day) for year in years for day in range(1, 8))
    new_york = _zone(_NEW_YORK)
    added = [
        _CalendarDay(
            day,
            open_ns=_wall_ns(day - _ONE_DAY, dt.time(18), new_york),
            close_ns=_wall_ns(day, dt.time(17), new_york),
            break_start_ns=0,
            break_end_ns=0,
            is_holiday=True,
        )
        for day in early_april
        if day.weekday() == 4 and day not in known
    ]
    return sorted(days + added, key=lambda row: row.day)


def _is_juneteenth(day: dt.date) -> bool:
    if day.year < _FIRST_JUNETEENTH or day.month != 6:
        return False
    holiday = dt.date(day.year, 6, 19)
    shift = {5: -1, 6: 1}.get(holiday.weekday(), 0)
    return day == holiday + shift * _ONE_DAY
