"""Wall clock to UTC, and what the trading calendar proves about a file's time zone and label side.

Stamps alone cannot say which clock they were read from or which end of a bar they name. The calendar often can: a reading
(zone, label side) that puts bars into the maintenance hour, a weekend or a holiday is wrong. Every IANA zone is tried with
both label sides. A reading counts as proven only if no bar falls outside a session, every other reading that gives
different instants puts at least ``CLEAR_MARGIN`` bars outside, and at least ``LEAST_SESSIONS`` sessions were looked at.
Anything less is reported with the readings that fit, and the file is refused until a person settles it.

Calendars are wrong now and then, and always on the same kind of day: a holiday or a shortened one. So the closed hours around such
a day (``irregular_gaps``) prove nothing for or against a reading; bars in them are counted apart.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.errors import CalendarError
from grandmodel.data.historical.profile import Label
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY

CLEAR_MARGIN = 3
"""A reading is excluded where it puts this many bars outside the sessions."""

LEAST_SESSIONS = 20
"""Fewer sessions than this prove nothing."""

LARGEST_SHARE_OUTSIDE = 0.002
"""A stated clock that puts a larger share of the bars (and ``CLEAR_MARGIN`` of them) outside is refused unless forced. An hour off puts one
bar in 23 outside, a wrong label side one a session, the weeks between two countries' clock changes one in 350."""

LARGEST_SHARE_UNEXPLAINED = 0.02
"""The same where no other clock fits better: what is outside then speaks of the instrument's hours as much as of the clock."""

_SAMPLE_ROWS = 2_000
_SAMPLE_OUTSIDE = 0.02
_GROUP_OUTSIDE = 0.05
_GROUP_MISSES = 10
_MOST_TRIALS = 250
"""Readings tried on the whole file; where more fit the sample without a miss, the market has no hours that could prove one."""
_WELL_KNOWN = (
    "UTC", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Sao_Paulo",
    "Europe/London", "Europe/Paris", "Europe/Berlin", "Europe/Athens", "Europe/Moscow", "Asia/Jerusalem", "Asia/Dubai",
    "Asia/Kolkata", "Asia/Shanghai", "Asia/Singapore", "Asia/Hong_Kong", "Asia/Tokyo", "Asia/Seoul", "Australia/Sydney",
)  # fmt: skip
"""Names preferred when several zones are the same over the file."""


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """Instants of wall-clock stamps in one zone. Shapes (T,).

    ``exists`` is false where the zone never shows that time (clocks go forward). ``twice`` marks times that the zone
    shows twice; ``undecided`` those of them that neither their place in the file nor a repeat of the stamp settles (the
    first of the two instants is taken).
    """

    utc_ns: NDArray[np.int64]
    exists: NDArray[np.bool_]
    twice: NDArray[np.bool_]
    undecided: NDArray[np.bool_]


def utc_from_wall(wall_ns: NDArray[np.int64], zone: str) -> LocalTimes:
    """The instants of ``wall_ns`` (T,), in file order, read from a clock in ``zone``; ``CalendarError`` on no such zone."""
    plain = np.zeros(len(wall_ns), dtype=np.bool_)
    if zone == "UTC":
        return LocalTimes(wall_ns, ~plain, plain, plain.copy())
    local = pl.Series(wall_ns).cast(pl.Datetime("ns"))
    converted = _in_zone(local, zone, "null")
    missing = converted.is_null().to_numpy()
    utc_ns = converted.fill_null(0).to_numpy()
    if not missing.any():
        return LocalTimes(utc_ns, ~plain, plain, plain.copy())
    utc_ns = utc_ns.copy()
    rows = np.flatnonzero(missing)
    early = _in_zone(local.gather(rows), zone, "earliest")
    late = _in_zone(local.gather(rows), zone, "latest")
    exists = ~plain
    exists[rows[early.is_null().to_numpy()]] = False
    twice, undecided = plain.copy(), plain.copy()
    seen: set[int] = set()
    for row, first_ns, second_ns in zip(rows.tolist(), early.to_list(), late.to_list(), strict=True):
        if first_ns is None or second_ns is None:
            continue
        twice[row] = True
        wall = int(wall_ns[row])
        has_passed = row > 0 and exists[row - 1] and int(utc_ns[row - 1]) >= first_ns
        comes_first = row + 1 < len(wall_ns) and bool(missing[row + 1]) and int(wall_ns[row + 1]) <= wall
        utc_ns[row] = second_ns if wall in seen or has_passed else first_ns
        undecided[row] = not (wall in seen or has_passed or comes_first)
        seen.add(wall)
    return LocalTimes(utc_ns, exists, twice, undecided)


def _in_zone(local: pl.Series, zone: str, ambiguous: str) -> pl.Series:
    try:
        zoned = local.dt.replace_time_zone(zone, ambiguous=ambiguous, non_existent="null")  # type: ignore[arg-type]  # a plain string is accepted
    except pl.exceptions.PolarsError as error:
        raise CalendarError(f"found time zone {zone!r}, expected an IANA name such as America/New_York") from error
    return zoned.dt.timestamp("ns")


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a file's stamps: zones that give equal instants, a label side, and what the calendar says."""

    zones: tuple[str, ...]
    label: Label
    outside: int
    """Bars that open outside every session, but for those of irregular days."""
    sessions: int
    """Sessions with at least one bar."""
    irregular: int = 0
    """Bars in the closed hours around a holiday or a shortened day."""
    irregular_days: tuple[str, ...] = ()
    """The days that those bars lie on, in UTC."""

    @property
    def text(self) -> str:
        """``Asia/Jerusalem, label open: 0 bars outside``."""
        more = f" (and {len(self.zones) - 1} equal ones)" if len(self.zones) > 1 else ""
        return f"{self.zones[0]}{more}, label {self.label}: {self.outside} bars outside"


def outside_sessions(
    opens_ns: NDArray[np.int64], schedule: SessionSchedule
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which bars (T,) open outside every session, and the index of the last session opened by then (-1: none)."""
    index = np.searchsorted(schedule.open_ns, opens_ns, side="right") - 1
    if not len(schedule):
        return np.ones(len(opens_ns), dtype=np.bool_), index
    return (index < 0) | (opens_ns >= schedule.close_ns[index]), index


def irregular_gaps(schedule: SessionSchedule) -> NDArray[np.bool_]:
    """Which closed hours (S + 1,) lie around a holiday or a shortened day; number k lies before session k, the last after all.

    A session is shortened where it is shorter than most of those that have its place in the day; a holiday is a day
    without a session on a weekday that mostly has one.
    """
    irregular = np.zeros(len(schedule) + 1, dtype=np.bool_)
    if not len(schedule):
        return irregular
    days, places = np.unique(schedule.day_ns, return_index=True)
    in_day = np.arange(len(schedule)) - np.repeat(places, np.diff(np.append(places, len(schedule))))
    lengths = schedule.close_ns - schedule.open_ns
    for place in np.unique(in_day):
        same = in_day == place
        irregular[1:][same] |= lengths[same] < np.median(lengths[same])
    numbers = days // NS_PER_DAY
    weekdays = np.bincount(numbers % 7, minlength=7)
    every = np.arange(numbers[0], numbers[-1] + 1)
    is_holiday = (2 * weekdays[every % 7] > weekdays.max()) & ~np.isin(every, numbers)
    holidays = np.cumsum(is_holiday)
    passed = holidays[np.searchsorted(every, schedule.day_ns // NS_PER_DAY)]
    irregular[1:-1] |= np.diff(passed) > 0
    return irregular


@dataclass(frozen=True, slots=True)
class _Hours:
    """The sessions that bars are held against, and the closed hours that prove nothing."""

    schedule: SessionSchedule
    irregular: NDArray[np.bool_]

    @classmethod
    def of(cls, instrument: Instrument, first_ns: int, last_ns: int) -> _Hours:
        schedule = session_schedule(instrument, first_ns, last_ns)
        return cls(schedule, irregular_gaps(schedule))

    def outside(self, opens_ns: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
        """Which bars (T,) open outside the sessions, which in irregular closed hours, and the session last opened by then."""
        outside, index = outside_sessions(opens_ns, self.schedule)
        on_irregular = outside & self.irregular[index + 1]
        return outside & ~on_irregular, on_irregular, index


def possible_readings(
    wall_ns: NDArray[np.int64],
    width_ns: int,
    instrument: Instrument,
    zones: Sequence[str] = (),
    labels: Sequence[Label] = (),
) -> list[Reading]:
    """The readings of stamps ``wall_ns`` (T,) of bars of ``width_ns``, best first; those that hardly fit are left out.

    ``zones`` and ``labels`` restrict what is tried (default: every IANA zone, both sides). Readings that give the same
    instants are one, so a zone is only ever told apart from zones of another clock.
    """
    if not len(wall_ns):
        return []
    hours = _Hours.of(instrument, int(wall_ns.min()) - 3 * NS_PER_DAY, int(wall_ns.max()) + 3 * NS_PER_DAY)
    stride = max(1, len(wall_ns) // _SAMPLE_ROWS)
    sample = wall_ns[::stride]
    sides = [(label, width_ns if label is Label.CLOSE else 0) for label in (labels or tuple(Label))]
    trials: list[tuple[float, str, Label, int]] = []
    for zone in zones or _plausible_zones(sample, sides, hours):
        try:
            instants = utc_from_wall(sample, zone)
        except CalendarError:
            if zones:
                raise
            continue  # a name known to this system's zone data, not to polars'
        for label, shift in sides:
            share = _share_outside(instants, shift, hours)
            if share <= _SAMPLE_OUTSIDE or share * len(sample) < CLEAR_MARGIN or zones:
                trials.append((share, zone, label, shift))
    if sum(share == 0 for share, *_ in trials) > _MOST_TRIALS:
        # A market that hardly closes: nearly every clock fits, nothing can be proven, and trying all would take long.
        return [
            Reading((zone,), label, 0, sessions=0)
            for share, zone, label, _ in trials
            if share == 0 and zone in _WELL_KNOWN
        ]
    survivors: dict[bytes, tuple[list[tuple[str, Label]], NDArray[np.int64], int]] = {}
    known: dict[str, LocalTimes] = {}
    for _, zone, label, shift in trials:
        if zone not in known:
            known[zone] = utc_from_wall(wall_ns, zone)
        whole = known[zone]
        opens_ns = np.where(whole.exists, whole.utc_ns - shift, -1)
        lost = int((~whole.exists).sum())
        survivors.setdefault(opens_ns.tobytes(), ([], opens_ns, lost))[0].append((zone, label))
    readings = []
    for names, opens_ns, lost in survivors.values():
        shown = opens_ns[opens_ns >= 0]
        outside, irregular, index = hours.outside(shown)
        sessions = len(np.unique(index[~outside & ~irregular]))
        days = tuple(np.unique(shown[irregular].astype("datetime64[ns]").astype("datetime64[D]")).astype(str).tolist())
        for label in dict.fromkeys(label for _, label in names):
            ordered = _by_fame([zone for zone, of_label in names if of_label is label])
            count = int(outside.sum()) + lost
            readings.append(Reading(tuple(ordered), label, count, sessions, int(irregular.sum()), days))
    return sorted(readings, key=_rank)


def _rank(reading: Reading) -> tuple[int, int, bool, str]:
    return reading.outside, reading.irregular, reading.zones[0] not in _WELL_KNOWN, reading.zones[0]


def _plausible_zones(sample: NDArray[np.int64], sides: Sequence[tuple[Label, int]], hours: _Hours) -> list[str]:
    """All zones, without those of a clock that is far off: zones of equal winters and summers are judged by one of them."""
    plausible: list[str] = []
    for zones in _zones_by_offsets(_year_of(sample[0]), _year_of(sample[-1])):
        try:
            instants = utc_from_wall(sample, zones[0])
        except CalendarError:
            plausible.extend(zones)
            continue
        best = min(_share_outside(instants, shift, hours) for _, shift in sides)
        if best <= _GROUP_OUTSIDE or best * len(sample) < _GROUP_MISSES:
            plausible.extend(zones)
    return plausible


def _year_of(ns: int) -> int:
    return int(np.datetime64(int(ns), "ns").astype("datetime64[Y]").astype(np.int64)) + 1970


@cache
def _zones_by_offsets(first_year: int, last_year: int) -> list[list[str]]:
    """Zones grouped by their distance from UTC in January and July of every year."""
    moments = [
        dt.datetime(year, month, 1, tzinfo=dt.UTC) for year in range(first_year, last_year + 1) for month in (1, 7)
    ]
    groups: dict[tuple[dt.timedelta | None, ...], list[str]] = {}
    for name in _all_zones():
        zone = ZoneInfo(name)
        groups.setdefault(tuple(moment.astimezone(zone).utcoffset() for moment in moments), []).append(name)
    return list(groups.values())


def _share_outside(instants: LocalTimes, shift_ns: int, hours: _Hours) -> float:
    outside, _, _ = hours.outside(instants.utc_ns - shift_ns)
    return float((outside | ~instants.exists).mean())


def proven_reading(readings: Sequence[Reading]) -> Reading | None:
    """The one reading that the calendar proves, or ``None``: see the module's rule."""
    if not readings or readings[0].outside > 0 or readings[0].sessions < LEAST_SESSIONS:
        return None
    if len(readings) > 1 and readings[1].outside < CLEAR_MARGIN:
        return None
    return readings[0]


@cache
def _all_zones() -> tuple[str, ...]:
    skipped = ("posix/", "right/", "SystemV/")
    return tuple(sorted(zone for zone in available_timezones() if not zone.startswith(skipped) and zone != "localtime"))


def _by_fame(zones: list[str]) -> list[str]:
    def rank(zone: str) -> tuple[int, int, str]:
        return (
            _WELL_KNOWN.index(zone) if zone in _WELL_KNOWN else len(_WELL_KNOWN),
            0 if "/" in zone and not zone.startswith("Etc/") else 1,
            zone,
        )

    return sorted(zones, key=rank)
