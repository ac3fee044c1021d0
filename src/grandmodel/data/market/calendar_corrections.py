"""Where the calendar library's one CME calendar is wrong for a group of products: the file, and what it says of a day.

``calendar_corrections.toml`` beside this module is dated, names a source for every line, and is the only place where the
library is put right. Read next: ``sessions.py``, its one user.
"""

from __future__ import annotations

import datetime as dt
import enum
import tomllib
from functools import cache
from importlib import resources

import msgspec

from grandmodel.data.errors import CalendarError

_FILE = "calendar_corrections.toml"
_FRIDAY = 4


class ProductGroup(enum.StrEnum):
    """Products of CME that share holiday hours."""

    INDEX = "index"
    CURRENCY = "currency"
    ENERGY_METAL = "energy_metal"


class DayKind(enum.StrEnum):
    """What a weekday is to the exchange; the hours of one kind are the same in every year that a rule names."""

    ORDINARY = "ordinary"
    HOLIDAY = "holiday"
    """A holiday with trading until an early close; Juneteenth among them."""
    DAY_AFTER_THANKSGIVING = "day_after_thanksgiving"
    CHRISTMAS_EVE = "christmas_eve"
    JULY_3 = "july_3"
    """A Monday to Thursday before Independence Day."""
    GOOD_FRIDAY_WITH_JOBS_REPORT = "good_friday_with_jobs_report"
    """The first Friday of a month, closed by the library."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The close of one kind of day for some groups, from and until a date (inclusive), on some weekdays (0: Monday)."""

    kind: DayKind
    groups: tuple[ProductGroup, ...]
    close: dt.time
    library: str
    reason: str
    sources: tuple[str, ...]
    first: dt.date = msgspec.field(default=dt.date.min, name="from")
    until: dt.date = dt.date.max
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4)

    def fits(self, group: ProductGroup, kind: DayKind, day: dt.date) -> bool:
        """True where the rule speaks of ``day``."""
        return (
            kind is self.kind
            and group in self.groups
            and self.first <= day <= self.until
            and day.weekday() in self.weekdays
        )


class SingleDay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One date that no rule covers; without a close it is an ordinary day."""

    date: dt.date
    groups: tuple[ProductGroup, ...]
    library: str
    reason: str
    sources: tuple[str, ...]
    close: dt.time | None = None


class CalendarCorrections(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    checked: dt.date
    """When it was last held against its sources."""
    first_year: int
    last_year: int
    """The years that were checked day by day."""
    sources: dict[str, str]
    day: tuple[SingleDay, ...]
    rule: tuple[Rule, ...]

    def __post_init__(self) -> None:
        """Refuse a correction whose source is not named."""
        entries: tuple[SingleDay | Rule, ...] = (*self.day, *self.rule)
        for entry in entries:
            unknown = [source for source in entry.sources if source not in self.sources]
            if unknown or not entry.sources:
                raise ValueError(f"found sources {list(entry.sources)}, expected some of {', '.join(self.sources)}")

    def close_at(self, group: ProductGroup, kind: DayKind, day: dt.date) -> dt.time | None:
        """The New York close of ``group`` on ``day``; None: the instrument's usual one."""
        single = self._single(group, day)
        if single is not None:
            if single.close is not None:
                return single.close
            kind = DayKind.ORDINARY
        if kind is DayKind.JULY_3 and not any(rule.fits(group, kind, day) for rule in self.rule):
            kind = DayKind.ORDINARY
        return next((rule.close for rule in self.rule if rule.fits(group, kind, day)), None)

    def trades_on(self, group: ProductGroup, day: dt.date) -> bool:
        """True where ``group`` trades on a weekday that the library has as closed."""
        if self._single(group, day) is not None:
            return True
        # A Friday from 1 to 7 April that is no trading day can only be Good Friday.
        is_good_friday = day.month == 4 and day.day <= 7 and day.weekday() == _FRIDAY
        kind = DayKind.GOOD_FRIDAY_WITH_JOBS_REPORT
        return is_good_friday and any(rule.fits(group, kind, day) for rule in self.rule)

    def _single(self, group: ProductGroup, day: dt.date) -> SingleDay | None:
        return next((entry for entry in self.day if entry.date == day and group in entry.groups), None)


@cache
def calendar_corrections() -> CalendarCorrections:
    """The file that comes with the package; raises ``CalendarError`` where it is damaged."""
    text = resources.files(__package__).joinpath(_FILE).read_text(encoding="utf-8")
    return parse_corrections(text, _FILE)


def parse_corrections(text: str, where: str) -> CalendarCorrections:
    """Corrections from TOML ``text``; raises ``CalendarError`` naming the field that is missing, unknown or impossible."""
    try:
        return msgspec.convert(tomllib.loads(text), CalendarCorrections)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise CalendarError(f"{where}: not a file of calendar corrections: {error}") from error


def day_kind(day: dt.date, *, is_early_close: bool, is_closed: bool) -> DayKind:
    """What ``day`` is, given what the library says of it."""
    if is_closed:
        return DayKind.GOOD_FRIDAY_WITH_JOBS_REPORT
    if is_early_close and day.month == 11 and day.weekday() == _FRIDAY:
        return DayKind.DAY_AFTER_THANKSGIVING
    if is_early_close and (day.month, day.day) == (12, 24):
        return DayKind.CHRISTMAS_EVE
    if is_early_close or _is_juneteenth(day):
        return DayKind.HOLIDAY
    if (day.month, day.day) == (7, 3) and day.weekday() < _FRIDAY:
        return DayKind.JULY_3
    return DayKind.ORDINARY


_FIRST_JUNETEENTH = 2022


def _is_juneteenth(day: dt.date) -> bool:
    """19 June, or the weekday next to it where it falls on a weekend."""
    if day.year < _FIRST_JUNETEENTH or day.month != 6:
        return False
    holiday = dt.date(day.year, 6, 19)
    shift = {5: -1, 6: 1}.get(holiday.weekday(), 0)
    return day == holiday + shift * dt.timedelta(days=1)
