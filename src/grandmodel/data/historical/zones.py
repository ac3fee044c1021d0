"""Wall clock to UTC, and what the trading calendar proves about a file's time zone and label side.

Stamps alone cannot say which clock they were read from or which end of a bar they name. The calendar often can: a reading
(zone, label side) that puts bars into the maintenance hour, a weekend or a holiday is wrong. Every IANA zone is tried with
both label sides. A reading counts as proven only if no bar falls outside a session, every other reading that gives
different instants puts at least ``CLEAR_MARGIN`` bars outside, and at least ``LEAST_SESSIONS`` sessions were looked at.
Anything less is reported with the readings that fit, and the file is refused until a person settles it.

The counts are exact and yet most bars are never looked at. Every ``n/2000``-th bar rules out the clocks that are far off. For the
others ``WallTimes`` cuts the file into stretches (a pause, a day's end or a step back ends one): where the first and the last bar of a
stretch lie in one session, all between them do. Only the bars of the other stretches, and of those in which the zone's clock is
changed, are read.

Calendars are wrong now and then, and always on the same kind of day: a holiday or a shortened one. So the closed hours around such
a day (``irregular_gaps``) prove nothing for or against a reading; bars in them are counted apart.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
from grandmodel.domain.time import NS_PER_DAY, NS_PER_MINUTE

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
_PAUSE_NS = 45 * NS_PER_MINUTE
_ROWS_AT_ONCE = 131_072
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


@dataclass(slots=True)
class ClockMemory:
    """What the conversion of one piece of a file has to know of the pieces before it."""

    twice_met: set[int] = field(default_factory=set)
    """Stamps of hours that the clock shows twice."""
    last_ns: int | None = None
    """The instant of the row before; ``None``: there is none, or its stamp never was."""


def utc_from_wall(
    wall_ns: NDArray[np.int64], zone: str, memory: ClockMemory | None = None, following_ns: int | None = None
) -> LocalTimes:
    """The instants of ``wall_ns`` (T,), in file order, read from a clock in ``zone``; ``CalendarError`` on no such zone.

    A file read in pieces hands the same ``memory`` to each, and the first stamp of the next piece as ``following_ns``.
    """
    plain = np.zeros(len(wall_ns), dtype=np.bool_)
    if zone == "UTC":
        return LocalTimes(wall_ns, ~plain, plain, plain.copy())
    known = memory if memory is not None else ClockMemory()
    local = pl.Series(wall_ns).cast(pl.Datetime("ns"))
    converted = _in_zone(local, zone, "null")
    missing = converted.is_null().to_numpy()
    utc_ns = converted.fill_null(0).to_numpy()
    if not missing.any():
        known.last_ns = int(utc_ns[-1]) if len(utc_ns) else known.last_ns
        return LocalTimes(utc_ns, ~plain, plain, plain.copy())
    utc_ns = utc_ns.copy()
    rows = np.flatnonzero(missing)
    early = _in_zone(local.gather(rows), zone, "earliest")
    late = _in_zone(local.gather(rows), zone, "latest")
    exists = ~plain
    exists[rows[early.is_null().to_numpy()]] = False
    twice, undecided = plain.copy(), plain.copy()
    for row, first_ns, second_ns in zip(rows.tolist(), early.to_list(), late.to_list(), strict=True):
        if first_ns is None or second_ns is None:
            continue
        twice[row] = True
        wall = int(wall_ns[row])
        before_ns = (int(utc_ns[row - 1]) if exists[row - 1] else None) if row else known.last_ns
        has_passed = before_ns is not None and before_ns >= first_ns
        if row + 1 < len(wall_ns):
            comes_first = bool(missing[row + 1]) and int(wall_ns[row + 1]) <= wall
        else:
            comes_first = (
                following_ns is not None and following_ns <= wall and _is_shown_twice_or_never(following_ns, zone)
            )
        is_second = wall in known.twice_met or has_passed
        utc_ns[row] = second_ns if is_second else first_ns
        undecided[row] = not (is_second or comes_first)
        known.twice_met.add(wall)
    known.last_ns = int(utc_ns[-1]) if exists[-1] else None
    return LocalTimes(utc_ns, exists, twice, undecided)


def _is_shown_twice_or_never(wall_ns: int, zone: str) -> bool:
    """Whether the clock shows a time twice or never."""
    return bool(_in_zone(pl.Series([wall_ns]).cast(pl.Datetime("ns")), zone, "null").is_null()[0])


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
    touches_next: NDArray[np.bool_]
    """(S,) Sessions that the next one follows without a pause; one false value where there is no session."""

    @classmethod
    def of(cls, instrument: Instrument, first_ns: int, last_ns: int) -> _Hours:
        schedule = session_schedule(instrument, first_ns, last_ns)
        touches = np.append(schedule.close_ns[:-1] >= schedule.open_ns[1:], False)
        return cls(schedule, irregular_gaps(schedule), touches)

    def outside(self, opens_ns: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
        """Which bars (T,) open outside the sessions, which in irregular closed hours, and the session last opened by then."""
        outside, index = outside_sessions(opens_ns, self.schedule)
        on_irregular = outside & self.irregular[index + 1]
        return outside & ~on_irregular, on_irregular, index


@dataclass(slots=True)
class WallTimes:
    """The stamps of a file in file order, as far as a search of readings needs them all at once.

    ``first`` and ``last`` (K,) are the first and last stamp of each stretch: rows ``start`` to ``stop`` (exclusive), in time, within one
    day of the clock, no step of 45 minutes or more. ``read(start, stop)`` gives the stamps of some rows.
    """

    rows: int
    lowest_ns: int
    highest_ns: int
    sample: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    read: Callable[[int, int], NDArray[np.int64]]

    @classmethod
    def of(cls, wall_ns: NDArray[np.int64]) -> WallTimes:
        """The same of stamps ``wall_ns`` (T,) in memory."""
        return cls.of_pieces([wall_ns], len(wall_ns), lambda start, stop: wall_ns[start:stop])

    @classmethod
    def of_pieces(
        cls, pieces: Iterable[NDArray[np.int64]], rows: int, read: Callable[[int, int], NDArray[np.int64]]
    ) -> WallTimes:
        """The same of stamps that come in pieces, ``rows`` in all."""
        stride = max(1, rows // _SAMPLE_ROWS)
        sample: list[NDArray[np.int64]] = []
        firsts: list[NDArray[np.int64]] = []
        lasts: list[NDArray[np.int64]] = []
        starts: list[NDArray[np.int64]] = []
        lowest, highest, done = np.iinfo(np.int64).max, np.iinfo(np.int64).min, 0
        before: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        for piece in pieces:
            if not len(piece):
                continue
            sample.append(piece[-done % stride :: stride].copy())
            lowest, highest = min(lowest, int(piece.min())), max(highest, int(piece.max()))
            joined = np.concatenate((before, piece))
            steps = np.diff(joined)
            days = joined // NS_PER_DAY
            ends = (steps < 0) | (steps >= _PAUSE_NS) | (days[1:] != days[:-1])
            places = np.flatnonzero(ends)
            lasts.append(joined[places])
            begins = places + 1 if len(before) else np.concatenate(([0], places + 1))
            firsts.append(joined[begins])
            starts.append(begins - len(before) + done)
            before = joined[-1:].copy()
            done += len(piece)
        lasts.append(before)
        first, last, start = (np.concatenate(parts) if parts else before for parts in (firsts, lasts, starts))
        return cls(
            rows, int(lowest), int(highest), np.concatenate(sample) if sample else before, first, last,
            start.astype(np.int64), np.append(start[1:], done).astype(np.int64), read,
        )  # fmt: skip

    def batches(self, stretches: NDArray[np.int64], trim: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """The stamps of ``stretches`` without ``trim`` rows at either end, some at a time, and of which stretch each is."""
        lengths = np.maximum(0, self.stop[stretches] - self.start[stretches] - 2 * trim)
        stretches, lengths = stretches[lengths > 0], lengths[lengths > 0]
        places = np.cumsum(lengths) // _ROWS_AT_ONCE
        for batch in np.unique(places).tolist():
            chosen = stretches[places == batch]
            parts = [
                self.read(start + trim, stop - trim)
                for start, stop in zip(self.start[chosen].tolist(), self.stop[chosen].tolist(), strict=True)
            ]
            yield np.concatenate(parts), np.repeat(chosen, [len(part) for part in parts])


def possible_readings(
    stamps: NDArray[np.int64] | WallTimes,
    width_ns: int,
    instrument: Instrument,
    zones: Sequence[str] = (),
    labels: Sequence[Label] = (),
) -> list[Reading]:
    """The readings of wall-clock ``stamps`` (T,) of bars of ``width_ns``, best first; those that hardly fit are left out.

    ``zones`` and ``labels`` restrict what is tried (default: every IANA zone, both sides). Readings that give the same
    instants are one, so a zone is only ever told apart from zones of another clock.
    """
    walls = stamps if isinstance(stamps, WallTimes) else WallTimes.of(stamps)
    if not walls.rows:
        return []
    hours = _Hours.of(instrument, walls.lowest_ns - 3 * NS_PER_DAY, walls.highest_ns + 3 * NS_PER_DAY)
    sample = walls.sample
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
    survivors: dict[bytes, tuple[list[tuple[str, Label]], _Tally]] = {}
    trial: _Trial | None = None
    for _, zone, label, shift in trials:
        if trial is None or trial.zone != zone:
            trial = _Trial(walls, zone)
        key = trial.key(shift)
        if key not in survivors:
            survivors[key] = ([], trial.count(shift, hours))
        survivors[key][0].append((zone, label))
    readings = []
    for names, tally in survivors.values():
        days = tuple(str(np.datetime64(day, "D")) for day in sorted(tally.irregular_days))
        for label in dict.fromkeys(label for _, label in names):
            ordered = _by_fame([zone for zone, of_label in names if of_label is label])
            sessions = int(tally.has_bar.sum())
            readings.append(Reading(tuple(ordered), label, tally.outside, sessions, tally.irregular, days))
    return sorted(readings, key=_rank)


@dataclass(slots=True)
class _Tally:
    """What one reading puts where."""

    has_bar: NDArray[np.bool_]
    """(S,)"""
    outside: int = 0
    irregular: int = 0
    irregular_days: set[int] = field(default_factory=set)

    def add(self, opens_ns: NDArray[np.int64], hours: _Hours) -> None:
        outside, irregular, index = hours.outside(opens_ns)
        self.outside += int(outside.sum())
        self.irregular += int(irregular.sum())
        self.has_bar[index[~outside & ~irregular]] = True
        if irregular.any():
            self.irregular_days.update(np.unique(opens_ns[irregular] // NS_PER_DAY).tolist())


class _Trial:
    """The stamps of a file read from a clock in one zone, as far as they must be looked at."""

    def __init__(self, walls: WallTimes, zone: str) -> None:
        self.walls, self.zone = walls, zone
        ends = np.column_stack((walls.first, walls.last)).ravel()
        local = pl.Series(ends).cast(pl.Datetime("ns"))
        converted = local.dt.timestamp("ns") if zone == "UTC" else _in_zone(local, zone, "null")
        is_null = converted.is_null().to_numpy().reshape(-1, 2)
        utc = converted.fill_null(0).to_numpy().reshape(-1, 2)
        offsets = ends.reshape(-1, 2) - utc
        self.is_changed = is_null.any(axis=1) | (offsets[:, 0] != offsets[:, 1])
        """Stretches in which the clock may be changed: all their rows are looked at."""
        self.offset_ns = offsets[:, 0]
        self.first_ns, self.last_ns = utc[:, 0], utc[:, 1]
        changed = np.flatnonzero(self.is_changed)
        self.shown_ns = np.empty(0, dtype=np.int64)
        self.exists = np.empty(0, dtype=np.bool_)
        self.stretch = np.empty(0, dtype=np.int64)
        if len(changed):
            self._read_changed(changed)

    def _read_changed(self, changed: NDArray[np.int64]) -> None:
        """Read the changed stretches whole; the row before each is read too, since the order of rows tells the hours apart."""
        walls: list[NDArray[np.int64]] = []
        owners: list[NDArray[np.int64]] = []
        for stretch in changed.tolist():
            if stretch and not self.is_changed[stretch - 1]:
                walls.append(self.walls.last[stretch - 1 : stretch])
                owners.append(np.array([-1]))
            rows = self.walls.read(int(self.walls.start[stretch]), int(self.walls.stop[stretch]))
            walls.append(rows)
            owners.append(np.full(len(rows), stretch))
        local = utc_from_wall(np.concatenate(walls), self.zone)
        owner = np.concatenate(owners)
        mine = owner >= 0
        self.shown_ns, self.exists, self.stretch = local.utc_ns[mine], local.exists[mine], owner[mine]

    def key(self, shift_ns: int) -> bytes:
        """The same for two readings that give every row the same instant."""
        plain = ~self.is_changed
        digest = hashlib.blake2b(digest_size=16)
        first, last = self.first_ns - shift_ns, self.last_ns - shift_ns
        rest: list[tuple[int, bytes]] = []
        if len(self.stretch):
            first, last, plain = first.copy(), last.copy(), plain.copy()
            opens = np.where(self.exists, self.shown_ns - shift_ns, -1)
            starts = np.flatnonzero(np.concatenate(([True], self.stretch[1:] != self.stretch[:-1])))
            for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(opens)], strict=True):
                stretch = int(self.stretch[start])
                rows = self.walls.read(int(self.walls.start[stretch]), int(self.walls.stop[stretch]))
                if self.exists[start:stop].all() and (rows - opens[start:stop] == rows[0] - opens[start]).all():
                    first[stretch], last[stretch] = opens[start], opens[stop - 1]
                    plain[stretch] = True
                else:
                    first[stretch] = last[stretch] = 0
                    rest.append((stretch, opens[start:stop].tobytes()))
        digest.update(plain.tobytes())
        digest.update(np.ascontiguousarray(first).tobytes())
        digest.update(np.ascontiguousarray(last).tobytes())
        for stretch, content in rest:
            digest.update(stretch.to_bytes(8, "little") + content)
        return digest.digest()

    def count(self, shift_ns: int, hours: _Hours) -> _Tally:
        """Where the bars lie if they open ``shift_ns`` before their stamps."""
        tally = _Tally(np.zeros(len(hours.schedule), dtype=np.bool_))
        opens = self.shown_ns - shift_ns
        # As a bar before 1970 cannot be told from one that never was, neither counts as shown.
        is_shown = self.exists & (opens >= 0)
        tally.add(opens[is_shown], hours)
        tally.outside += int((~self.exists).sum())
        plain = np.flatnonzero(~self.is_changed)
        first, last = self.first_ns[plain] - shift_ns, self.last_ns[plain] - shift_ns
        out_first, index_first = outside_sessions(first, hours.schedule)
        out_last, index_last = outside_sessions(last, hours.schedule)
        is_inside = ~out_first & ~out_last & (first >= 0)
        is_inside &= (index_last == index_first) | (
            (index_last == index_first + 1) & hours.touches_next[np.minimum(index_first, len(hours.touches_next) - 1)]
        )
        tally.has_bar[index_first[is_inside]] = True
        tally.has_bar[index_last[is_inside]] = True
        for walls, stretch in self.walls.batches(plain[~is_inside], 0):
            instants = walls - self.offset_ns[stretch] - shift_ns
            tally.add(instants[instants >= 0], hours)
        return tally


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
