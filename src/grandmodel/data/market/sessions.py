"""When an instrument trades: the sessions of an exchange calendar as arrays.

Trading days, holidays and early closes come from ``exchange_calendars`` (``calendar_days.py``). An instrument may override the
wall-clock hours (``session_open``, ``session_close``, ``time_zone``), because one calendar serves products of different hours.

The library keeps one calendar for all of CME and says so: it is the most conservative one. Where the exchange's groups of
products differ from it, ``calendar_corrections.toml`` says so, with the source of each line; nothing is corrected here. Left
alone on purpose, because it is not a session's end: the pause of equity index futures from 16:15 to 16:30 New York (until
June 2021); bars are simply absent there.

Read next: ``domain/sessions.py`` (the result), ``data/historical/quality.py`` (its first user).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.errors import CalendarError
from grandmodel.data.market.calendar_corrections import ProductGroup, calendar_corrections, day_kind
from grandmodel.data.market.calendar_days import CalendarDay, calendar_days
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
        _product_group(instrument),
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


@lru_cache(maxsize=64)
def _sessions_of_years(
    calendar: str,
    mic: str,
    group: ProductGroup | None,
    session_open: str,
    session_close: str,
    time_zone: str,
    first_year: int,
    last_year: int,
) -> tuple[tuple[int, int, int], ...]:
    """(open, close, day) of every session whose trading day lies in the years given."""
    found = calendar_days(calendar, first_year, last_year)
    days: Sequence[CalendarDay] = found.days
    zone = _zone(time_zone or found.zone)
    corrected = group if found.name == _CME_CALENDAR else None
    opens, closes = _time_of_day(session_open, mic), _time_of_day(session_close, mic)
    rows: list[tuple[int, int, int]] = []
    if corrected is not None:
        days = _with_days_not_closed(days, corrected)
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
            kind = day_kind(row.day, is_early_close=row.is_early_close, is_closed=row.is_closed)
            close_at = calendar_corrections().close_at(corrected, kind, row.day)
            if close_at is not None:
                close_ns = _wall_ns(row.day, close_at, _zone(_NEW_YORK))
        day_ns = (row.day - _EPOCH).days * NS_PER_DAY
        if row.break_start_ns and open_ns < row.break_start_ns and row.break_end_ns < close_ns:
            rows.append((open_ns, row.break_start_ns, day_ns))
            rows.append((row.break_end_ns, close_ns, day_ns))
        elif open_ns < close_ns:
            rows.append((open_ns, close_ns, day_ns))
    return tuple(rows)


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


_CME_CURRENCIES = frozenset({"6A", "6B", "6C", "6E", "6J", "6M", "6N", "6S", "M6A", "M6B", "M6E"})


def _product_group(instrument: Instrument) -> ProductGroup | None:
    if instrument.mic in {"XNYM", "XCEC"}:
        return ProductGroup.ENERGY_METAL
    if instrument.mic in {"XCME", "XCBT"}:
        return ProductGroup.CURRENCY if instrument.id in _CME_CURRENCIES else ProductGroup.INDEX
    return None


def _with_days_not_closed(days: Sequence[CalendarDay], group: ProductGroup) -> Sequence[CalendarDay]:
    """``days`` and, in order, the weekdays on which ``group`` trades although the library has them as closed."""
    if not days:
        return days
    corrections, new_york = calendar_corrections(), _zone(_NEW_YORK)
    known = {row.day for row in days}
    first, last = dt.date(days[0].day.year, 1, 1), dt.date(days[-1].day.year, 12, 31)
    weekdays = (first + _ONE_DAY * place for place in range((last - first).days + 1))
    added = [
        CalendarDay(
            day,
            open_ns=_wall_ns(day - _ONE_DAY, dt.time(18), new_york),
            close_ns=_wall_ns(day, dt.time(17), new_york),
            break_start_ns=0,
            break_end_ns=0,
            is_closed=True,
        )
        for day in weekdays
        if day.weekday() < 5 and day not in known and corrections.trades_on(group, day)
    ]
    return sorted([*days, *added], key=lambda row: row.day)
