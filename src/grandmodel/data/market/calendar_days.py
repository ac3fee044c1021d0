"""The trading days of an exchange calendar: from a file that comes with the package, or from the calendar library.

``exchange_calendars`` is the source, and takes a second to load, with pandas under it. So the days of the calendars that the
built-in instruments name are kept in ``calendar_days.json``, by year, as hours and the exceptions to them. The file answers for
the years it covers, as long as the library that is installed is of the version that it was made with; everything else is asked of
the library. A test holds the two against each other, day by day. ``python -m grandmodel.data.market.calendar_days`` makes the
file anew (``make calendars``).

Read next: ``sessions.py``, its one user.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from grandmodel.data.errors import CalendarError

FILE = "calendar_days.json"
LIBRARY = "exchange-calendars"
FIRST_YEAR, LAST_YEAR = 1990, 2035
"""What the file is made for; a calendar whose holidays the library knows for fewer years has fewer."""
KEPT = ("CMES", "XNYS", "XSHG", "24/5", "24/7")
"""The calendars of the built-in instruments."""

_EPOCH = dt.date(1970, 1, 1)
_ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """One trading day as the calendar library has it; times in ns, 0 for no break."""

    day: dt.date
    open_ns: int
    close_ns: int
    break_start_ns: int
    break_end_ns: int
    is_late_open: bool = False
    is_early_close: bool = False
    is_closed: bool = False
    """The library has the day as closed; the corrections say that it is not."""


class CalendarDays(msgspec.Struct, frozen=True, kw_only=True):
    """The trading days of one calendar over whole years."""

    name: str
    """As the library resolves it."""
    zone: str
    days: tuple[CalendarDay, ...]


class StoredCalendar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One calendar in the file. Hours are minutes from the day's own midnight in ``zone``; dates are ``MM-DD`` by year."""

    name: str
    zone: str
    first_year: int
    last_year: int
    weekdays: tuple[int, ...]
    """Monday: 0."""
    open: int
    close: int
    pause: tuple[int, int] | None
    closed: dict[str, str]
    """Weekdays without a session."""
    early: dict[str, dict[str, str]]
    """Close to dates."""
    late: dict[str, dict[str, str]]
    """Open to dates."""

    def days(self, first_year: int, last_year: int) -> Iterator[CalendarDay]:
        """The trading days of whole years, in order."""
        zone = ZoneInfo(self.zone)
        closed = set(_dates(self.closed))
        early = {day: int(minutes) for minutes, found in self.early.items() for day in _dates(found)}
        late = {day: int(minutes) for minutes, found in self.late.items() for day in _dates(found)}
        day, last = dt.date(first_year, 1, 1), dt.date(last_year, 12, 31)
        while day <= last:
            if day.weekday() in self.weekdays and day not in closed:
                pause = self.pause or (0, 0)
                yield CalendarDay(
                    day,
                    _utc_ns(day, late.get(day, self.open), zone),
                    _utc_ns(day, early.get(day, self.close), zone),
                    _utc_ns(day, pause[0], zone) if self.pause else 0,
                    _utc_ns(day, pause[1], zone) if self.pause else 0,
                    day in late,
                    day in early,
                )
            day += _ONE_DAY


class StoredCalendars(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    library: str
    """Name and version of the library that said so."""
    calendars: tuple[StoredCalendar, ...]


@lru_cache(maxsize=32)
def calendar_days(name: str, first_year: int, last_year: int) -> CalendarDays:
    """The trading days of a calendar over whole years; raises ``CalendarError`` where it is unknown or does not reach so far."""
    stored = _stored_calendars().get(name)
    if stored is None or first_year < stored.first_year or last_year > stored.last_year:
        return library_days(name, first_year, last_year)
    return CalendarDays(name=stored.name, zone=stored.zone, days=tuple(stored.days(first_year, last_year)))


def library_days(name: str, first_year: int, last_year: int) -> CalendarDays:
    """The same from the library, whatever the file says."""
    import exchange_calendars  # noqa: PLC0415  (pulls in pandas; only those who need it pay for it)
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
    days = tuple(
        CalendarDay(day, opens, closes, max(0, pause), max(0, resume), day in late, day in early)
        for day, opens, closes, pause, resume in zip(
            calendar.sessions.date,
            calendar.opens_nanos.tolist(),
            calendar.closes_nanos.tolist(),
            calendar.break_starts_nanos.tolist(),  # the smallest int64 where there is no break
            calendar.break_ends_nanos.tolist(),
            strict=True,
        )
    )
    return CalendarDays(name=str(calendar.name), zone=str(calendar.tz), days=days)


def stored(found: CalendarDays, first_year: int, last_year: int) -> StoredCalendar:
    """``found`` as the file has it; raises ``CalendarError`` where hours and exceptions do not give the same days again."""
    zone = ZoneInfo(found.zone)
    opens = [_minutes(one.day, one.open_ns, zone) for one in found.days]
    closes = [_minutes(one.day, one.close_ns, zone) for one in found.days]
    pauses = {
        (_minutes(one.day, one.break_start_ns, zone), _minutes(one.day, one.break_end_ns, zone))
        for one in found.days
        if one.break_start_ns
    }
    weekdays = tuple(sorted({one.day.weekday() for one in found.days}))
    there = {one.day for one in found.days}
    span = (dt.date(last_year, 12, 31) - dt.date(first_year, 1, 1)).days + 1
    every = (dt.date(first_year, 1, 1) + place * _ONE_DAY for place in range(span))
    usual_open, usual_close = (Counter(hours).most_common(1)[0][0] for hours in (opens, closes))
    made = StoredCalendar(
        name=found.name,
        zone=found.zone,
        first_year=first_year,
        last_year=last_year,
        weekdays=weekdays,
        open=usual_open,
        close=usual_close,
        pause=pauses.pop() if pauses else None,
        closed=_by_year([day for day in every if day.weekday() in weekdays and day not in there]),
        early=_exceptions(found.days, closes, usual_close),
        late=_exceptions(found.days, opens, usual_open),
    )
    again = tuple(made.days(first_year, last_year))
    for before, after in zip(found.days, again, strict=True):
        if before != after:
            raise CalendarError(f"calendar {found.name}: found {before}, which the file would have as {after}")
    return made


def write_file(path: Path) -> None:
    """Make the file from the library that is installed; a calendar gets the years, up to ``LAST_YEAR``, that the library knows."""
    calendars = []
    for name in KEPT:
        first, last = _years_known(name)
        calendars.append(stored(library_days(name, first, last), first, last))
    version = importlib.metadata.version(LIBRARY)
    made = StoredCalendars(library=f"{LIBRARY} {version}", calendars=tuple(calendars))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")


def _years_known(name: str) -> tuple[int, int]:
    first, last = FIRST_YEAR, LAST_YEAR
    while True:
        try:
            library_days(name, last, last)
            break
        except CalendarError:
            last -= 1
    while True:
        try:
            library_days(name, first, last)
        except CalendarError:
            first += 1
        else:
            return first, last


@cache
def _stored_calendars() -> dict[str, StoredCalendar]:
    """By name; none where another version of the library is installed, which may know better."""
    text = resources.files(__package__).joinpath(FILE).read_bytes()
    try:
        found = msgspec.json.decode(text, type=StoredCalendars)
    except msgspec.DecodeError as error:
        raise CalendarError(f"{FILE}: not a file of trading days: {error}; `make calendars` makes it anew") from error
    try:
        installed = f"{LIBRARY} {importlib.metadata.version(LIBRARY)}"
    except importlib.metadata.PackageNotFoundError:
        installed = found.library
    return {one.name: one for one in found.calendars} if installed == found.library else {}


def _minutes(day: dt.date, at_ns: int, zone: ZoneInfo) -> int:
    """Wall-clock minutes from the midnight that ``day`` begins with."""
    wall = dt.datetime.fromtimestamp(at_ns // 1_000_000_000, tz=zone)
    return (wall.date() - day).days * 1440 + wall.hour * 60 + wall.minute


def _utc_ns(day: dt.date, minutes: int, zone: ZoneInfo) -> int:
    days, of_day = divmod(minutes, 1440)
    wall = dt.datetime.combine(day + days * _ONE_DAY, dt.time(of_day // 60, of_day % 60), tzinfo=zone)
    return int(wall.timestamp()) * 1_000_000_000


def _exceptions(days: Sequence[CalendarDay], minutes: Sequence[int], usual: int) -> dict[str, dict[str, str]]:
    found: dict[int, list[dt.date]] = {}
    for one, at in zip(days, minutes, strict=True):
        if at != usual:
            found.setdefault(at, []).append(one.day)
    return {str(at): _by_year(dates) for at, dates in sorted(found.items())}


def _by_year(days: Sequence[dt.date]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for day in days:
        found.setdefault(str(day.year), []).append(f"{day:%m-%d}")
    return {year: " ".join(dates) for year, dates in found.items()}


def _dates(by_year: dict[str, str]) -> Iterator[dt.date]:
    for year, dates in by_year.items():
        for date in dates.split():
            yield dt.date(int(year), int(date[:2]), int(date[3:]))


if __name__ == "__main__":
    write_file(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name(FILE))
