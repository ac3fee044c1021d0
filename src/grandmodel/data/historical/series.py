"""A series of bars in order, held against its instrument's sessions and against itself.

``check_series`` makes two passes over pieces of the series: one that keeps what each session shows and which bars stand out, and one
more over the times where the source pauses in every session. What follows (stretches on a far contract, gaps, rolls) is decided from
those and reads only the few rows it is about. ``quality.py`` has put the rows in order; ``importing.py`` takes the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.historical.profile import Label
from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.data.historical.rolls import Roll, SessionBars, UnprovenRoll, find_rolls, has_expiry_rule
from grandmodel.data.historical.spool import PIECE_ROWS, Columns, Spool, median_of
from grandmodel.data.historical.stamps import Tally
from grandmodel.data.historical.zones import outside_sessions
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import UNKNOWN_VOLUME, Block, Flag, Schema, empty_block, freeze
from grandmodel.domain.instruments import Instrument, InstrumentKind
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, text_from_ns

_PAUSE_SHARE = 0.05
_LEAST_SESSIONS_FOR_PAUSES = 20
_TRUNCATED_SHARE = 0.25
"""A session is truncated where at least this share of its bars is missing at its end."""
_KNOWN_SHARE = 0.25
"""The volume of a session is judged where it is known for at least this share of its bars."""
_WHOLE_FILL = 0.9
"""A session is whole where at least this share of its bars is there."""
_THIN_SHARE = 0.05
_THIN_EDGE_SHARE = 0.25
_THIN_SESSIONS = 5
_THIN_FILL = 0.8
"""A far-contract stretch: five sessions or more in a row whose median bar volume is below 5 % of the file's, some of them
with less than 80 % of their bars; it reaches on while the median stays below 25 %."""
_LEAST_SESSIONS_FOR_STRETCHES = 60
_LEAST_BARS_FOR_JUMPS = 3
_JUMP_SCALES = 25.0
_JUMP_LEAST = 0.05
"""An extreme jump: a return of at least 5 % and of 25 robust standard deviations."""
_SPIKE_NEIGHBOURS = 5
_SPIKE_RANGES = 10.0
_SPIKE_LEAST = 0.05
_SPIKE_IMPOSSIBLE = 0.5
"""A spike: a high (or low) beyond the bar's own open and close and every price of the five bars on either side, by ten times
their largest range and by 5 % of the price. A real crash carries the close with it and widens the bars around it; from 50 % on
a spike is marked."""
_SPLIT_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0)
_SPLIT_TOLERANCE = 0.04
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SessionCount:
    """One session of the instrument and how many of its bars the file has."""

    day: str
    open_ns: int
    close_ns: int
    expected: int
    present: int
    mark: str = ""
    """``missing``, ``truncated``, ``bad_stretch`` or nothing."""


def series_spool() -> Spool:
    """An empty spool for bars in ticks and lots."""
    whole = ("ts_open", "ts_event", "open", "high", "low", "close", "volume", "line")
    return Spool(dict.fromkeys(whole, np.int64) | {"rounded": np.bool_})


_BLOCK_COLUMNS = ("ts_open", "ts_event", "open", "high", "low", "close", "volume", "rounded")


@dataclass(slots=True)
class CheckedBars:
    """A series after all checks; its rows lie in ``spool`` in order, their marks beside them."""

    spool: Spool
    findings: list[Finding]
    evidence: list[str]
    time_zone: str
    label: Label
    width_ns: int
    sessions: list[SessionCount] = field(default_factory=list)
    rolls: list[Roll] = field(default_factory=list)
    marks: list[tuple[int, int, int]] = field(default_factory=list)
    """First row, row after the last, ``Flag``."""

    @property
    def rows(self) -> int:
        """T."""
        return self.spool.rows

    @property
    def first_ns(self) -> int:
        """``ts_event`` of the first row."""
        return int(self.spool.read(0, 1, ("ts_event",))["ts_event"][0])

    @property
    def last_ns(self) -> int:
        """``ts_event`` of the last row."""
        return int(self.spool.read(self.rows - 1, self.rows, ("ts_event",))["ts_event"][0])

    @property
    def commonest_width_ns(self) -> int:
        """``width_ns``, but for daily bars, which span the session of their date."""
        if self.width_ns % NS_PER_DAY:
            return self.width_ns
        found: Counter[int] = Counter()
        for _, rows in self.spool.pieces(("ts_open", "ts_event")):
            widths, counts = np.unique(rows["ts_event"] - rows["ts_open"], return_counts=True)
            found.update(dict(zip(widths.tolist(), counts.tolist(), strict=True)))
        return max(sorted(found), key=found.__getitem__)

    def pieces(self, rows_per_piece: int = PIECE_ROWS) -> Iterator[Block]:
        """Blocks of bars with their flags, in order."""
        marks = np.array(sorted(self.marks), dtype=np.int64).reshape(-1, 3)
        for place, rows in self.spool.pieces(_BLOCK_COLUMNS, rows_per_piece):
            count = len(rows["ts_open"])
            block = empty_block(Schema.BARS, count)
            block["ts_init"] = rows["ts_event"]
            for name in _BLOCK_COLUMNS[:-1]:
                block[name] = rows[name]
            block["flags"] |= np.where(rows["rounded"], int(Flag.REPAIRED), 0).astype(np.uint16)
            here = marks[(marks[:, 0] < place + count) & (marks[:, 1] > place)]
            for start, stop, flag in here.tolist():
                block["flags"][max(0, start - place) : stop - place] |= flag
            yield block

    @property
    def block(self) -> Block:
        """All rows at once, frozen."""
        return freeze(np.concatenate(list(self.pieces(max(1, self.rows)))))

    def mark(self, start: int, stop: int, flag: Flag) -> None:
        """Put ``flag`` onto the rows ``start`` to ``stop`` (exclusive)."""
        self.marks.append((start, stop, int(flag)))

    def note(self, kind: str, tally: Tally, text: str, treatment: Treatment = Treatment.NOTED) -> None:
        """Add a finding about the rows of ``tally``, if there are any."""
        if tally.count:
            self.findings.append(Finding(kind, treatment, tally.count, text, tally.lines))

    def unchecked(self, what: str, count: int, text: str) -> None:
        """A check that could not run, on ``count`` sessions, bars or expiries: said like anything else that is found."""
        self.findings.append(Finding(f"unchecked_{what}", Treatment.NOTED, count, f"{text} are not looked for"))


def check_series(checked: CheckedBars, instrument: Instrument, *, is_daily: bool, piece_rows: int = PIECE_ROWS) -> None:
    """Add what the series shows to ``checked``: findings, marks, sessions and rolls. ``piece_rows`` are held at a time."""
    first = int(checked.spool.read(0, 1, ("ts_open",))["ts_open"][0])
    last = int(checked.spool.read(checked.rows - 1, checked.rows, ("ts_open",))["ts_open"][0])
    schedule = session_schedule(instrument, first, last + 1)
    sessions = _Sessions(checked, schedule, is_daily=is_daily)
    jumps, spikes = _Jumps(), _Spikes(checked)
    flat, empty = Tally(), Tally()
    knows_volume = False
    for place, rows in checked.spool.pieces(("ts_open", "open", "high", "low", "close", "volume", "line"), piece_rows):
        flat.add(rows["line"], rows["high"] == rows["low"])
        empty.add(rows["line"], rows["volume"] == 0)
        knows_volume = knows_volume or bool((rows["volume"] != UNKNOWN_VOLUME).any())
        sessions.add(place, rows)
        jumps.add(rows)
        spikes.add(place, len(rows["line"]))
    checked.note("flat_bars", flat, "bars whose high is their low")
    if knows_volume:
        checked.note("zero_volume_bars", empty, f"bars of {instrument.id} without any volume")
    sessions.finish(piece_rows)
    _report_sessions(checked, instrument, sessions)
    jumps.report(checked)
    spikes.report()


class _Sessions:
    """What each session of the schedule shows; shapes (S,), and (K,) for the places of a session."""

    def __init__(self, checked: CheckedBars, schedule: SessionSchedule, *, is_daily: bool) -> None:
        self.checked, self.schedule, self.is_daily = checked, schedule, is_daily
        sessions = len(schedule)
        span_ns = schedule.close_ns - schedule.open_ns
        self.lengths = np.ones(sessions, dtype=np.int64) if is_daily else -(-span_ns // checked.width_ns)
        self.outside, self.off_grid = Tally(), Tally()
        self.rows_before = 0
        """Rows before the first session."""
        self.rows = np.zeros(sessions, dtype=np.int64)
        """Rows from the open of a session to that of the next."""
        self.filled = np.zeros(sessions, dtype=np.int64)
        """Bars inside the session, of any place."""
        self.last_place = np.full(sessions, -1, dtype=np.int64)
        self.last_row = np.zeros(sessions, dtype=np.int64)
        self.last_line = np.zeros(sessions, dtype=np.int64)
        self.median = np.full(sessions, np.nan)
        """Of the known volumes; NaN where there is no bar or too few are known."""
        self._usual = np.zeros(int(self.lengths.max()) if sessions else 0, dtype=np.int64)
        self._waiting: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    def places(self, opens_ns: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place of each bar (T,) in its session, in bar widths after the open."""
        if self.is_daily:
            return np.zeros(len(index), dtype=np.int64)
        return (opens_ns - self.schedule.open_ns[index]) // self.checked.width_ns

    def add(self, place: int, rows: Columns) -> None:
        """Take in rows, of which the first is row ``place`` of the series."""
        outside, index = outside_sessions(rows["ts_open"], self.schedule)
        self.outside.add(rows["line"], outside)
        if not len(self.schedule):
            return
        sessions = len(self.schedule)
        self.rows_before += int(np.count_nonzero(index < 0))
        self.rows += np.bincount(index[index >= 0], minlength=sessions)
        inside = np.flatnonzero(~outside)
        if not len(inside):
            return
        everything = len(inside) == len(index)
        of_session = index if everything else index[inside]
        opens_ns = rows["ts_open"] if everything else rows["ts_open"][inside]
        if not self.is_daily:
            is_off = (opens_ns - self.schedule.open_ns[of_session]) % self.checked.width_ns != 0
            self.off_grid.add(rows["line"] if everything else rows["line"][inside], is_off)
        places = self.places(opens_ns, of_session)
        most = len(self._usual)
        self._usual += np.bincount(places, minlength=most)[:most]
        self.filled += np.bincount(of_session, minlength=sessions)
        starts = np.flatnonzero(np.concatenate(([True], of_session[1:] != of_session[:-1])))
        ends = np.append(starts[1:], len(of_session)) - 1
        seen = of_session[ends]
        self.last_place[seen] = np.maximum(self.last_place[seen], places[ends])
        self.last_row[seen] = place + inside[ends]
        self.last_line[seen] = rows["line"][inside[ends]]
        volumes = np.split(rows["volume"] if everything else rows["volume"][inside], starts[1:])
        for session, volume in zip(seen.tolist(), volumes, strict=True):
            if session != self._waiting[0]:
                self._settle_median()
                self._waiting = (session, [])
            self._waiting[1].append(volume)

    def _settle_median(self) -> None:
        session, parts = self._waiting
        if not parts:
            return
        volume = parts[0] if len(parts) == 1 else np.concatenate(parts)
        known = volume[volume != UNKNOWN_VOLUME]
        if len(known) >= _KNOWN_SHARE * len(volume):
            self.median[session] = np.median(known)

    def finish(self, piece_rows: int) -> None:
        """Count bars against the places of each session, leaving out places in which the source never has a bar."""
        self._settle_median()
        if not len(self.schedule):
            return
        most = len(self._usual)
        traded = np.flatnonzero(self.filled > 0)
        possible = len(traded) - np.searchsorted(np.sort(self.lengths[traded]), np.arange(most), side="right")
        is_rare = (self._usual < _PAUSE_SHARE * possible) & (possible >= _LEAST_SESSIONS_FOR_PAUSES)
        self.pauses = np.flatnonzero(is_rare)
        is_pause = np.zeros(most + 1, dtype=np.bool_)
        is_pause[self.pauses] = True
        open_before = np.concatenate(([0], np.cumsum(~is_pause[:most])))
        self.expected = open_before[self.lengths]
        self.tail = self.expected - open_before[self.last_place + 1]
        self.present = self.filled.copy()
        if len(self.pauses):
            for _, rows in self.checked.spool.pieces(("ts_open",), piece_rows):
                outside, index = outside_sessions(rows["ts_open"], self.schedule)
                of_session = index[~outside]
                in_pause = is_pause[self.places(rows["ts_open"][~outside], of_session)]
                self.present -= np.bincount(of_session[in_pause], minlength=len(self.schedule))
        self.first_row = self.rows_before + np.concatenate(([0], np.cumsum(self.rows)))

    def read(
        self, start: int, end: int, names: tuple[str, ...]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Columns]:
        """Rows inside the sessions ``start`` to ``end`` (exclusive), the session of each, and their columns ``names``."""
        first, stop = int(self.first_row[start]), int(self.first_row[end])
        columns = self.checked.spool.read(first, stop, ("ts_open", *names))
        outside, index = outside_sessions(columns["ts_open"], self.schedule)
        inside = np.flatnonzero(~outside)
        return first + inside, index[inside], {name: values[inside] for name, values in columns.items()}


def _report_sessions(checked: CheckedBars, instrument: Instrument, sessions: _Sessions) -> None:
    """What the sessions show, and the marks of what does not fit."""
    schedule, rows, is_daily = sessions.schedule, checked.rows, sessions.is_daily
    if not is_daily:
        share = sessions.outside.count / rows
        text = f"bars that open outside every session of {instrument.id} ({instrument.calendar})"
        if share > 0.01:
            text += "; so many of them speak for another time zone, label side or instrument"
        checked.note("bars_outside_sessions", sessions.outside, text)
    if not len(schedule) or sessions.outside.count == rows:
        checked.unchecked("sessions", rows, f"no bar lies in a session of {instrument.id}: gaps, stretches and rolls")
        return
    if not is_daily:
        text = "bars that do not start a whole number of bar widths after their session's open"
        checked.note("bars_off_the_grid", sessions.off_grid, text)
    _note_pauses(checked, sessions)
    marks = np.array([""] * len(schedule), dtype=object)
    if is_daily:
        checked.unchecked(
            "stretches", 1, "daily bars do not show bars missing in a session: stretches on a far contract"
        )
    else:
        _mark_stretches(checked, instrument, sessions, marks)
    _mark_gaps(checked, sessions, marks)
    _mark_rolls(checked, instrument, sessions, marks)
    checked.sessions = [
        SessionCount(_day_text(schedule, place), int(schedule.open_ns[place]), int(schedule.close_ns[place]),
                     int(sessions.expected[place]), int(sessions.present[place]), str(marks[place]))
        for place in range(len(schedule))
    ]  # fmt: skip


def _note_pauses(checked: CheckedBars, sessions: _Sessions) -> None:
    pauses = sessions.pauses
    if len(pauses):
        minutes = [int(place) * checked.width_ns // 60_000_000_000 for place in pauses[:3]]
        listed = ", ".join(f"{minute // 60}:{minute % 60:02d}" for minute in minutes)
        text = f"places in the session (hours after its open: {listed}{', ...' if len(pauses) > 3 else ''}) where the source never has a bar"
        checked.findings.append(Finding("regular_pauses", Treatment.NOTED, len(pauses), text))


def _day_text(schedule: SessionSchedule, place: int) -> str:
    return str(np.datetime64(int(schedule.day_ns[place]), "ns").astype("datetime64[D]"))


def _listed(schedule: SessionSchedule, places: NDArray[np.int64], amounts: NDArray[np.int64] | None = None) -> str:
    shown = [
        _day_text(schedule, int(place)) + (f": {int(amounts[place])}" if amounts is not None else "")
        for place in places[:_SHOWN]
    ]
    return ", ".join(shown) + (", ..." if len(places) > _SHOWN else "")


def _mark_stretches(
    checked: CheckedBars, instrument: Instrument, sessions: _Sessions, marks: NDArray[np.object_]
) -> None:
    """Mark runs of sessions in which the series sits in a contract that hardly trades; what cannot be judged is said."""
    schedule = sessions.schedule
    what = "stretches on a far contract"
    if len(schedule) < _LEAST_SESSIONS_FOR_STRETCHES:
        text = f"the file spans {len(schedule)} sessions, {_LEAST_SESSIONS_FOR_STRETCHES} show what is usual: {what}"
        checked.unchecked("stretches", len(schedule), text)
        return
    median = sessions.median
    fill = sessions.present / np.maximum(1, sessions.expected)
    idle = sessions.filled == 0
    unknown = ~idle & ~np.isfinite(median)
    whole = (fill > _WHOLE_FILL) & np.isfinite(median)
    if not whole.any():
        reason = "the volume is unknown" if unknown.any() else "no session is whole"
        checked.unchecked("stretches", len(schedule), f"{reason}: {what}")
        return
    if unknown.any():
        listed = _listed(schedule, np.flatnonzero(unknown))
        text = f"the volume of most bars is unknown in {int(unknown.sum())} sessions ({listed}): {what} there"
        checked.unchecked("stretches", int(unknown.sum()), text)
    normal = float(np.median(median[whole]))
    thin = idle | (median < _THIN_SHARE * normal)
    for start, end in _runs(unknown):  # a few unknown sessions inside a stretch do not cut it
        if end - start < _THIN_SESSIONS and thin[start - 1 : start].all() and thin[end : end + 1].all():
            thin[start:end] = True
    edge = idle | (median < _THIN_EDGE_SHARE * normal)
    vague = idle | unknown
    is_marked = np.zeros(len(schedule), dtype=np.bool_)
    for start, end in _runs(thin):
        is_dead = vague[start:end].all()
        if end - start < _THIN_SESSIONS or fill[start:end].min() >= _THIN_FILL or is_dead:
            continue
        while end < len(schedule) and edge[end] and not idle[end]:
            end += 1
        while start > 0 and edge[start - 1] and not idle[start - 1]:
            start -= 1
        while vague[start]:
            start += 1
        while vague[end - 1]:
            end -= 1
        if is_marked[start:end].any():
            continue
        is_marked[start:end] = ~idle[start:end]
        rows, _, columns = sessions.read(start, end, ("open", "volume", "line"))
        first, lines, volume = int(rows[0]), columns["line"], columns["volume"]
        step = 0
        if first:
            step = int(columns["open"][0] - checked.spool.read(first - 1, first, ("close",))["close"][0])
        for low, high in _runs_of(rows):
            checked.mark(low, high, Flag.BAD_STRETCH)
        marks[start:end] = "bad_stretch"
        known = volume[volume != UNKNOWN_VOLUME]
        text = (
            f"{_day_text(schedule, start)} to {_day_text(schedule, end - 1)}: {end - start} sessions{_without_bars(idle[start:end])} on a contract that hardly "
            f"trades (median volume {np.median(known):.0f} a bar against {normal:.0f}; "
            f"{int(sessions.present[start:end].sum())} of {int(sessions.expected[start:end].sum())} bars; lines {int(lines.min())} to "
            f"{int(lines.max())}); the series steps by {instrument.price_from_ticks(step)} where it begins. No returns across it"
        )
        tally = Tally()
        tally.add(lines, np.ones(len(lines), dtype=np.bool_))
        checked.note("bad_stretch", tally, text, Treatment.MARKED)


def _runs_of(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and row after the last of each run of consecutive ``rows`` (T,), which are in order."""
    starts = np.flatnonzero(np.concatenate(([True], np.diff(rows) != 1)))
    ends = np.append(starts[1:], len(rows)) - 1
    return [(int(rows[start]), int(rows[end]) + 1) for start, end in zip(starts, ends, strict=True)]


def _without_bars(idle: NDArray[np.bool_]) -> str:
    return f" ({int(idle.sum())} of them without a bar)" if idle.any() else ""


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _mark_gaps(checked: CheckedBars, sessions: _Sessions, marks: NDArray[np.object_]) -> None:
    """Missing sessions, truncated sessions and bars missing inside the others."""
    schedule = sessions.schedule
    is_plain = marks == ""
    missing = is_plain & (sessions.present == 0) & (sessions.expected > 0)
    if missing.any():
        places = np.flatnonzero(missing)
        marks[missing] = "missing"
        text = f"sessions without any bar: {_listed(schedule, places)}"
        checked.findings.append(Finding("missing_sessions", Treatment.NOTED, len(places), text))
    is_short = (sessions.tail >= 2) & (sessions.tail >= _TRUNCATED_SHARE * sessions.expected)
    truncated = is_plain & ~missing & is_short
    truncated[0] = truncated[-1] = False  # the file may begin or end inside them
    lacking = sessions.expected - sessions.present
    edges = np.unique([0, len(schedule) - 1])
    edges = edges[is_plain[edges] & (lacking[edges] > 0) & (sessions.expected[edges] > 0)]
    if len(edges):
        text = f"the file may begin or end inside its first or last session (bars lacking: {_listed(schedule, edges, lacking)}): gaps there"
        checked.unchecked("edges", len(edges), text)
    if truncated.any():
        places = np.flatnonzero(truncated)
        marks[truncated] = "truncated"
        for row in sessions.last_row[places].tolist():
            checked.mark(row, row + 1, Flag.TRUNCATED)
        text = f"sessions that stop early (bars there are: {_listed(schedule, places, sessions.present)}); the next open is no true gap"
        lines = tuple(int(line) for line in sessions.last_line[places][:5])
        checked.findings.append(Finding("truncated_sessions", Treatment.MARKED, len(places), text, lines))
    gaps = is_plain & ~missing & ~truncated & (lacking > 0)
    gaps[0] = gaps[-1] = False
    if gaps.any():
        places = np.flatnonzero(gaps)
        text = f"bars missing inside {len(places)} sessions ({_listed(schedule, places, lacking)})"
        checked.findings.append(Finding("missing_bars", Treatment.NOTED, int(lacking[gaps].sum()), text))


@dataclass(frozen=True, slots=True)
class _SessionRows:
    """The sessions with bars, for ``find_rolls``, which reads the bars around an expiry alone."""

    sessions: _Sessions
    places: NDArray[np.int64]
    is_whole: NDArray[np.bool_]

    @property
    def day_ns(self) -> NDArray[np.int64]:
        return self.sessions.schedule.day_ns[self.places]

    def cut(self, start: int, end: int) -> SessionBars:
        """The sessions ``start`` to ``end`` (exclusive) of those with bars."""
        of, part = self.sessions, slice(start, end)
        names = ("ts_event", "open", "close", "volume")
        rows, index, columns = of.read(int(self.places[start]), int(self.places[end - 1]) + 1, names)
        volume, opens_ns = columns["volume"], columns["ts_open"]
        return SessionBars(
            day_ns=self.day_ns[part],
            first=np.searchsorted(index, self.places[part]),
            lengths=of.expected[self.places[part]],
            is_whole=self.is_whole[part],
            rows=rows,
            slot=(opens_ns - of.schedule.open_ns[index]) // np.int64(of.checked.width_ns),
            volume=np.where(volume == UNKNOWN_VOLUME, np.nan, volume.astype(np.float64)),
            opens_ns=opens_ns,
            closes_ns=columns["ts_event"],
            open_ticks=columns["open"],
            close_ticks=columns["close"],
        )


def _mark_rolls(checked: CheckedBars, instrument: Instrument, sessions: _Sessions, marks: NDArray[np.object_]) -> None:
    """Find rolls in the sessions with bars; those in a bad stretch, truncated or with gaps say nothing about volume."""
    if not has_expiry_rule(instrument):
        if instrument.kind is InstrumentKind.FUTURE:
            checked.unchecked("rolls", 1, f"no rule of expiry is known for {instrument.id}: contract rolls")
        return
    places = np.flatnonzero(sessions.filled > 0)
    is_whole = (sessions.present[places] >= _WHOLE_FILL * sessions.expected[places]) & (marks[places] == "")
    rolls, unproven = find_rolls(instrument, _SessionRows(sessions, places, is_whole))
    checked.rolls = rolls
    if rolls:
        for roll in rolls:
            checked.mark(roll.row, roll.row + 1, Flag.ROLL)
        days = ", ".join(roll.day for roll in rolls[:_SHOWN])
        more = ", ..." if len(rolls) > _SHOWN else ""
        text = f"rolls shown around an expiry, first rows marked (sessions {days}{more}); the step there is carry, not a move"
        lines = tuple(int(checked.spool.read(roll.row, roll.row + 1, ("line",))["line"][0]) for roll in rolls[:5])
        checked.findings.append(Finding("roll_jumps", Treatment.MARKED, len(rolls), text, lines))
    _note_unproven(checked, unproven)


def _note_unproven(checked: CheckedBars, unproven: list[UnprovenRoll]) -> None:
    if unproven:
        listed = "; ".join(f"{expiry.window_end}: {expiry.reason}" for expiry in unproven[:_SHOWN])
        more = "; ..." if len(unproven) > _SHOWN else ""
        text = f"expiries around which no roll is proven, by the last day of their windows ({listed}{more}); nothing is marked there"
        checked.findings.append(Finding("unproven_rolls", Treatment.NOTED, len(unproven), text))


class _Jumps:
    """Returns far out of line, and those that look like a split; steps from or to a price at or below zero have none."""

    def __init__(self) -> None:
        self.rows = 0
        self.without_return = 0
        self.moves = Spool({"size": np.float64})
        self.large: list[Columns] = []
        """The moves that may be jumps."""
        self._last_close: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def add(self, rows: Columns) -> None:
        """Take in the next rows."""
        self.rows += len(rows["close"])
        closes = np.concatenate((self._last_close, rows["close"]))
        before, later = closes[:-1], closes[1:]
        skipped = len(rows["open"]) - len(before)
        after = rows["open"][skipped:]
        self._last_close = closes[-1:]
        usable = (before > 0) & (after > 0) & (later > 0)
        gap, moves = np.zeros(len(usable)), np.zeros(len(usable))
        if usable.all():
            gap, moves = np.log(after / before), np.log(later / before)
        else:
            self.without_return += int((~usable).sum())
            gap[usable] = np.log(after[usable] / before[usable])
            moves[usable] = np.log(later[usable] / before[usable])
        self.moves.append({"size": np.abs(moves[moves != 0])})
        size = np.maximum(np.abs(gap), np.abs(moves))
        large = np.flatnonzero(size >= _JUMP_LEAST)
        if len(large):
            stamps = {name: rows[name][skipped:][large] for name in ("ts_open", "line")}
            self.large.append({"gap": gap[large], "move": moves[large], "size": size[large], **stamps})

    def report(self, checked: CheckedBars) -> None:
        """Add what was found to ``checked``."""
        if self.without_return:
            text = "a price at or below zero has no return: jumps from or to it"
            checked.unchecked("jumps", self.without_return, text)
        if self.rows < _LEAST_BARS_FOR_JUMPS or not self.moves.rows:
            text = f"{self.rows} bars of which {self.moves.rows} move show no usual size: jumps"
            checked.unchecked("jumps", self.rows, text)
            return
        if not self.large:
            return
        scale = 1.4826 * median_of(self.moves, "size")
        found = {name: np.concatenate([part[name] for part in self.large]) for name in self.large[0]}
        is_extreme = found["size"] >= _JUMP_SCALES * scale
        is_split = np.zeros(len(is_extreme), dtype=np.bool_)
        for ratio in _SPLIT_RATIOS:
            is_split |= np.abs(np.abs(found["gap"]) - np.log(ratio)) < _SPLIT_TOLERANCE
        is_split &= is_extreme
        for kind, mask, text in (
            (
                "split_like_jumps",
                is_split,
                "opens at a simple fraction or multiple of the close before, as after a split",
            ),
            (
                "extreme_jumps",
                is_extreme & ~is_split,
                "moves from one bar to the next far beyond the series' own scale",
            ),
        ):
            places = np.flatnonzero(mask)
            if len(places):
                shown = ", ".join(
                    f"{text_from_ns(int(found['ts_open'][place]))[:10]} "
                    f"{np.expm1(_larger(found['gap'], found['move'], place)):+.1%}"
                    for place in places[:_SHOWN]
                )
                tally = Tally()
                tally.add(found["line"], mask)
                checked.note(kind, tally, f"{text}: {shown}{', ...' if len(places) > _SHOWN else ''}")


def _larger(gap: NDArray[np.float64], moves: NDArray[np.float64], place: int) -> float:
    return float(gap[place] if abs(gap[place]) >= abs(moves[place]) else moves[place])


class _Spikes:
    """Single bars whose high or low no bar around them comes near: a slipped decimal, a wrong print.

    Compared in ticks, so that prices at or below zero (crude oil, April 2020) need no case of their own.
    """

    def __init__(self, checked: CheckedBars) -> None:
        self.checked = checked
        self.impossible, self.noted = Tally(), Tally()
        self.shown: dict[bool, list[str]] = {True: [], False: []}

    def add(self, place: int, count: int) -> None:
        """Look at the rows ``place`` to ``place`` + ``count`` (exclusive), with those around them."""
        reach, total = _SPIKE_NEIGHBOURS, self.checked.rows
        if total < 2 * reach + 1:
            return
        start = max(0, place - reach)
        rows = self.checked.spool.read(start, place + count + reach, ("open", "high", "low", "close"))
        high, low = rows["high"].astype(np.float64), rows["low"].astype(np.float64)
        # At the ends of a file the bars there are on the other side have to do.
        opens, close = rows["open"].astype(np.float64), rows["close"].astype(np.float64)
        highest = np.fmax(_of_neighbours(high, reach), np.maximum(opens, close))
        lowest = np.fmin(-_of_neighbours(-low, reach), np.minimum(opens, close))
        widest = np.fmax(_of_neighbours(high - low, reach), np.abs(close - opens))
        level = np.maximum(np.abs(highest), np.abs(lowest))
        above, below = high - highest, lowest - low
        beyond = np.maximum(above, below)
        is_spike = (beyond > _SPIKE_RANGES * widest) & (beyond > _SPIKE_LEAST * level)
        is_spike[: place - start] = False
        is_spike[place - start + count :] = False
        found = np.flatnonzero(is_spike)
        if not len(found):
            return
        own = self.checked.spool.read(start, place + count, ("ts_open", "line"))
        for spike in found.tolist():
            is_impossible = bool(beyond[spike] > _SPIKE_IMPOSSIBLE * level[spike])
            tally = self.impossible if is_impossible else self.noted
            tally.add(own["line"][spike : spike + 1], np.ones(1, dtype=np.bool_))
            if is_impossible:
                self.checked.mark(start + spike, start + spike + 1, Flag.BAD_STRETCH)
            if len(self.shown[is_impossible]) < _SHOWN:
                self.shown[is_impossible].append(
                    f"{text_from_ns(int(own['ts_open'][spike]))[:16]} "
                    f"{'high' if above[spike] >= below[spike] else 'low'} {beyond[spike] / level[spike]:.1%} beyond"
                )

    def report(self) -> None:
        """Add what was found."""
        for is_impossible, tally, treatment, advice in (
            (True, self.impossible, Treatment.MARKED, "marked as a bad stretch: nothing is traded on them"),
            (False, self.noted, Treatment.NOTED, "kept as they are"),
        ):
            shown = ", ".join(self.shown[is_impossible])
            text = (
                f"bars whose high or low is far beyond their open and close and every price of the {_SPIKE_NEIGHBOURS} bars on either side ({shown}"
                f"{', ...' if tally.count > _SHOWN else ''}); {advice}"
            )
            self.checked.note("price_spikes", tally, text, treatment)


def _of_neighbours(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """For each value (T,) the largest of the ``reach`` before and after it, itself left out; NaN where there is none."""
    found = np.full(len(values), np.nan)
    for step in range(1, min(reach, len(values) - 1) + 1):
        np.fmax(found[step:], values[:-step], out=found[step:])
        np.fmax(found[:-step], values[step:], out=found[:-step])
    return found
