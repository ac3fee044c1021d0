"""A market made of a user's own sessions: whole trading days of bars drawn again, those of all instruments together.

The stationary bootstrap (Politis and Romano, Journal of the American Statistical Association 89, 1994): blocks of consecutive
sessions, each begun at a session drawn at random, of geometric length, past the last session on to the first. Every session is laid
on a day of its own weekday, so weekend steps and weekly figures stay where they belong. Every instrument takes the same days, so what
they have in common within a day and over the days of a block stays. Prices are chained by returns: a
session's bars are multiplied by one number, such that it opens at the close before it times its own overnight step. All of it is
in integers.

Two passes over the source: one for a few numbers per session, from which all prices follow, and one for the bars that are written.
Read next: ``docs/concepts/simulated-market.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import Block, Flag, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, text_from_ns

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST_SESSIONS = 20
_SESSIONS_AT_ONCE = 40
_MOST_TICKS = 2**31
"""Prices and levels below this, so that their product is an int64."""
_SPOILT = int(Flag.BAD_STRETCH | Flag.TRUNCATED)
_CLEARED = int(Flag.BAD_STRETCH | Flag.TRUNCATED | Flag.ROLL)


@dataclass(frozen=True, slots=True)
class BarSource:
    """Bars of several instruments that can be read by time.

    ``read(place, start_ns, end_ns)`` gives those of ``instruments[place]`` with ``start_ns`` <= ``ts_init`` < ``end_ns`` in
    order, as often as it is asked. ``description`` names their origin.
    """

    instruments: tuple[Instrument, ...]
    start_ns: int
    end_ns: int
    read: Callable[[int, int, int], Iterable[Block]]
    description: str


@dataclass(frozen=True, slots=True)
class SessionPool:
    """The sessions that can be drawn: D trading days that all I instruments have whole. Arrays (I, D) in ticks unless said."""

    source: BarSource
    day_ns: Ints
    """(D,)"""
    open_ns: Ints
    close_ns: Ints
    rows: Ints
    first_open: Ints
    last_close: Ints
    low: Ints
    before: Ints
    """The close that the session opened after; 0 where the step over the pause is not known, or is a contract's carry."""
    width_ns: tuple[int, ...]
    """(I,) commonest width of the bars."""
    length_ns: tuple[int, ...]
    """(I,) length of a usual session."""
    left_out: tuple[dict[str, int], ...]
    """Per instrument: how many sessions cannot be drawn, by reason."""


def find_sessions(source: BarSource) -> SessionPool:
    """The sessions of ``source`` that can be drawn.

    Left out are sessions of another length than the usual one (half days), without bars or with less than half of the usual number,
    within marked bad stretches, cut short, or with a contract roll after their first bar, and days that not every instrument has. Raises ``UsageError`` where bars have
    prices at or below zero or beyond 2^31 ticks, where instruments have no session in common, or fewer than 20 are left.
    """
    surveys = [_survey(source, place) for place in range(len(source.instruments))]
    day_ns = surveys[0].day_ns[surveys[0].is_usable]
    for survey in surveys[1:]:
        day_ns = np.intersect1d(day_ns, survey.day_ns[survey.is_usable])
    if not len(day_ns) and all(survey.is_usable.any() for survey in surveys):
        spans = ", ".join(
            f"{instrument.id} {_day_text(survey.day_ns[survey.is_usable][0])} to {_day_text(survey.day_ns[survey.is_usable][-1])}"
            for instrument, survey in zip(source.instruments, surveys, strict=True)
        )
        raise UsageError(f"{source.description}: found no trading day that all instruments have whole ({spans})")
    if len(day_ns) < LEAST_SESSIONS:
        reasons = "; ".join(
            f"{instrument.id}: {int(survey.is_usable.sum())} whole, "
            + (", ".join(f"{count} {reason}" for reason, count in survey.left_out.items()) or "none left out")
            for instrument, survey in zip(source.instruments, surveys, strict=True)
        )
        raise UsageError(
            f"{source.description}: found {len(day_ns)} sessions to draw from, expected {LEAST_SESSIONS} or more ({reasons})"
        )
    places = [np.searchsorted(survey.day_ns, day_ns) for survey in surveys]
    for survey, place in zip(surveys, places, strict=True):
        other = int(survey.is_usable.sum()) - len(place)
        if other:
            survey.left_out["that another instrument has not"] = other

    def chosen(name: str) -> Ints:
        return np.stack([getattr(survey, name)[place] for survey, place in zip(surveys, places, strict=True)])

    return SessionPool(
        source=source,
        day_ns=day_ns,
        **{name: chosen(name) for name in ("open_ns", "close_ns", "rows", "first_open", "last_close", "low", "before")},
        width_ns=tuple(survey.width_ns for survey in surveys),
        length_ns=tuple(survey.length_ns for survey in surveys),
        left_out=tuple(survey.left_out for survey in surveys),
    )


def draw_sessions(source_weekdays: Ints, weekdays: Ints, mean_block: float, seed: int) -> Ints:
    """(N,) places of drawn sessions, each of the weekday that ``weekdays`` (N,) asks for: the stationary bootstrap.

    ``source_weekdays`` (D,) are those of the sessions that can be drawn. A block begins at a session drawn evenly among those of
    its weekday, and goes on to the next session with chance 1 - 1 / ``mean_block``, as long as the weekdays agree: they part at
    holidays, where a block ends early. A weekday that the source has not takes any session. Raises ``UsageError`` where a
    number is out of range.
    """
    sessions, count = len(source_weekdays), len(weekdays)
    if not 1 <= mean_block <= sessions:
        raise UsageError(f"bootstrap: found a mean block of {mean_block:g} sessions, expected 1 to {sessions}")
    if not 0 <= seed < 2**63:
        raise UsageError(f"bootstrap: found seed {seed}, expected 0 to 2^63 - 1")
    of_weekday = {day: np.flatnonzero(source_weekdays == day) for day in np.unique(source_weekdays).tolist()}
    draws = np.random.Generator(np.random.PCG64(seed)).random((count, 2))
    places = np.zeros(count, dtype=np.int64)
    for n in range(count):
        after = (places[n - 1] + 1) % sessions
        if n > 0 and draws[n, 0] >= 1.0 / mean_block and source_weekdays[after] == weekdays[n]:
            places[n] = after
            continue
        fitting = of_weekday.get(int(weekdays[n]), np.arange(sessions))
        places[n] = fitting[int(draws[n, 1] * len(fitting))]
    return places


def _weekdays(day_ns: Ints) -> Ints:
    """0 for Monday, of trading days."""
    found: Ints = (day_ns // NS_PER_DAY + 3) % 7
    return found


class Bootstrap:
    """``count`` sessions drawn from ``pool`` and laid on the trading days from ``start_ns`` on.

    ``drawn`` (N,) places in the pool; ``day_ns`` (N,) the trading days they are laid on, those that are of the usual length for
    every instrument; ``level`` (I, N) the price in ticks at which each session opens. The first session opens from the last
    close that the source has, so prices begin where the real ones end. Raises ``UsageError`` as ``draw_sessions``, and where
    prices would fall below a tick; ``CalendarError`` where the calendar ends before the days do.
    """

    def __init__(self, pool: SessionPool, count: int, mean_block: float, seed: int, start_ns: int) -> None:
        self.pool = pool
        self.day_ns, self.open_ns = _free_days(pool, count, start_ns)
        self.drawn = draw_sessions(_weekdays(pool.day_ns), _weekdays(self.day_ns), mean_block, seed)
        self.blocks = 1 + int((np.diff(self.drawn) % len(pool.day_ns) != 1).sum())
        self.description = (
            f"bootstrap (seed {seed}, {count} sessions, mean block {mean_block:g}) of {pool.source.description}"
        )
        self.level = np.stack([self._levels(place) for place in range(len(pool.source.instruments))])

    def _levels(self, place: int) -> Ints:
        """(N,) opening prices of one instrument, in ticks."""
        pool = self.pool
        level = np.zeros(len(self.drawn), dtype=np.int64)
        price = int(pool.last_close[place, -1])
        for n, d in enumerate(self.drawn.tolist()):
            first, before = int(pool.first_open[place, d]), int(pool.before[place, d])
            level[n] = price = _scaled(price, first, before) if before else price
            if _scaled(int(pool.low[place, d]), price, first) < 1 or price >= _MOST_TICKS:
                raise UsageError(
                    f"{self.description}: {pool.source.instruments[place].id} comes to {price} ticks in session {n + 1}, expected "
                    "prices of 1 tick or more; draw fewer sessions or another seed"
                )
            price = _scaled(int(pool.last_close[place, d]), price, first)
        return level

    @property
    def steps_not_known(self) -> int:
        """Drawn sessions, of any instrument, that open at the close before them, because their own step is not known."""
        return int((self.pool.before[:, self.drawn] == 0).sum())

    def rows(self, place: int) -> int:
        """Bars of the instrument at ``place``."""
        return int(self.pool.rows[place, self.drawn].sum())

    def bars(self, place: int, on_session: Callable[[], None] = lambda: None) -> Iterator[Block]:
        """The bars of the instrument at ``place``, a frozen block per session; ``on_session`` is called after each."""
        pool, drawn = self.pool, self.drawn
        first = 0
        while first < len(drawn):
            last = first + 1
            while last < len(drawn) and last - first < _SESSIONS_AT_ONCE and drawn[last] == drawn[last - 1] + 1:
                last += 1
            start_ns, end_ns = (
                int(pool.open_ns[place, drawn[first]]) + 1,
                int(pool.close_ns[place, drawn[last - 1]]) + 1,
            )
            read = np.concatenate([np.asarray(block) for block in pool.source.read(place, start_ns, end_ns)])
            for n in range(first, last):
                d = drawn[n]
                low, high = np.searchsorted(
                    read["ts_init"], [pool.open_ns[place, d], pool.close_ns[place, d]], side="right"
                )
                yield self._laid(read[low:high], place, n)
                on_session()
            first = last

    def _laid(self, bars: Block, place: int, n: int) -> Block:
        """One session's ``bars`` at its place and level."""
        made = bars.copy()
        moved = int(self.open_ns[place, n]) - int(self.pool.open_ns[place, self.drawn[n]])
        for name in ("ts_event", "ts_init", "ts_open"):
            made[name] += moved
        first = int(self.pool.first_open[place, self.drawn[n]])
        for name in ("open", "high", "low", "close"):
            made[name] = scaled_ticks(bars[name], int(self.level[place, n]), first)
        made["flags"] = bars["flags"] & np.uint16(0xFFFF ^ _CLEARED)
        made["instrument"] = place
        return freeze(made)


def scaled_ticks(ticks: Ints, numerator: int, denominator: int) -> Ints:
    """``ticks`` (T,), above zero, times a ratio, to the nearest whole tick; halves go up. Order is kept, so a high stays the high."""
    return _scaled(ticks.astype(np.int64), numerator, denominator)


_Ticks = TypeVar("_Ticks", int, Ints)


def _scaled(ticks: _Ticks, numerator: int, denominator: int) -> _Ticks:
    return (2 * ticks * numerator + denominator) // (2 * denominator)


@dataclass(frozen=True, slots=True)
class _SessionTable:
    """What one pass over an instrument's bars finds; arrays (S,) over its sessions."""

    day_ns: Ints
    open_ns: Ints
    close_ns: Ints
    rows: Ints
    first_open: Ints
    last_close: Ints
    low: Ints
    before: Ints
    is_usable: Bools
    width_ns: int
    length_ns: int
    left_out: dict[str, int]


def _survey(source: BarSource, place: int) -> _SessionTable:
    instrument = source.instruments[place]
    schedule = session_schedule(instrument, source.start_ns, source.end_ns)
    count = len(schedule.open_ns)
    if not count:
        raise UsageError(f"{source.description}: found no session of {instrument.id} in its span")
    rows, first_open, last_close = (np.zeros(count, dtype=np.int64) for _ in range(3))
    low = np.full(count, _MOST_TICKS, dtype=np.int64)
    flags, first_flags, rolls = (np.zeros(count, dtype=np.int64) for _ in range(3))
    widths: dict[int, int] = {}
    for block in source.read(place, source.start_ns, source.end_ns):
        session = np.searchsorted(schedule.open_ns, block["ts_init"], side="left") - 1
        inside = (session >= 0) & (block["ts_init"] <= schedule.close_ns[session])
        bars, session = block[inside], session[inside]
        if not len(bars):
            continue
        if int(bars["low"].min()) < 1 or int(bars["high"].max()) >= _MOST_TICKS:
            raise UsageError(
                f"{source.description}: found prices of {instrument.id} from {bars['low'].min()} to {bars['high'].max()} ticks, expected "
                "1 to 2^31: sessions are chained by returns"
            )
        starts = np.flatnonzero(np.diff(session, prepend=-1))
        ends = np.append(starts[1:], len(bars)) - 1
        here = session[starts]
        is_first = rows[here] == 0
        first_open[here] = np.where(is_first, bars["open"][starts], first_open[here])
        first_flags[here] = np.where(is_first, bars["flags"][starts], first_flags[here])
        last_close[here] = bars["close"][ends]
        low[here] = np.minimum(low[here], np.minimum.reduceat(bars["low"], starts))
        flags[here] |= np.bitwise_or.reduceat(bars["flags"].astype(np.int64), starts)
        rolls[here] += np.add.reduceat(((bars["flags"] & int(Flag.ROLL)) != 0).astype(np.int64), starts)
        rows[here] += ends - starts + 1
        for width, found in zip(*np.unique(bars["ts_event"] - bars["ts_open"], return_counts=True), strict=True):
            widths[int(width)] = widths.get(int(width), 0) + int(found)
    length = schedule.close_ns - schedule.open_ns
    lengths, counts = np.unique(length[rows > 0], return_counts=True)
    usual = int(lengths[np.argmax(counts)]) if len(lengths) else 0
    opens_with_roll = (first_flags & int(Flag.ROLL)) != 0
    is_usable, left_out = np.ones(count, dtype=np.bool_), {}
    usual_rows = float(np.median(rows[(rows > 0) & (length == usual)])) if usual else 0.0
    for reason, is_out in (
        ("without bars", rows == 0),
        ("of another length", length != usual),
        ("with less than half of the bars", rows < 0.5 * usual_rows),
        ("in bad stretches or cut short", (flags & _SPOILT) != 0),
        ("with a contract roll inside", rolls > opens_with_roll),
    ):
        if int((is_out & is_usable).sum()):
            left_out[reason] = int((is_out & is_usable).sum())
        is_usable &= ~is_out
    before = np.zeros(count, dtype=np.int64)
    is_known = (rows[:-1] > 0) & ((flags[:-1] & _SPOILT) == 0) & ~opens_with_roll[1:]
    before[1:] = np.where(is_known, last_close[:-1], 0)
    return _SessionTable(
        day_ns=schedule.day_ns,
        open_ns=schedule.open_ns,
        close_ns=schedule.close_ns,
        rows=rows,
        first_open=first_open,
        last_close=last_close,
        low=low,
        before=before,
        is_usable=is_usable,
        width_ns=max(widths, key=lambda width: (widths[width], -width)) if widths else 0,
        length_ns=usual,
        left_out=left_out,
    )


def _free_days(pool: SessionPool, count: int, start_ns: int) -> tuple[Ints, Ints]:
    """The first ``count`` days from ``start_ns`` on that are of the usual length for all, (N,), and their opens, (I, N)."""
    instruments = pool.source.instruments
    if count < 1:
        raise UsageError(f"bootstrap: found {count} sessions to draw, expected 1 or more")
    reach = int(count * 7 / 5 * 1.15) + 40
    schedules = [session_schedule(one, start_ns, start_ns + reach * NS_PER_DAY) for one in instruments]
    fitting = [_of_length(schedule, length) for schedule, length in zip(schedules, pool.length_ns, strict=True)]
    day_ns = schedules[0].day_ns[fitting[0]]
    for schedule, fits in zip(schedules[1:], fitting[1:], strict=True):
        day_ns = np.intersect1d(day_ns, schedule.day_ns[fits])
    if len(day_ns) < count:
        names = ", ".join(str(one.id) for one in instruments)
        raise UsageError(
            f"bootstrap: found {len(day_ns)} trading days of the usual length for {names} in the {reach} days from "
            f"{_day_text(start_ns)}, expected {count}"
        )
    day_ns = day_ns[:count]
    return day_ns, np.stack([one.open_ns[np.searchsorted(one.day_ns, day_ns)] for one in schedules])


def _of_length(schedule: SessionSchedule, length_ns: int) -> Bools:
    found: Bools = schedule.close_ns - schedule.open_ns == length_ns
    return found


def _day_text(ts_ns: int) -> str:
    return text_from_ns(int(ts_ns))[:10]


def source_of_blocks(instruments: Sequence[Instrument], blocks: Sequence[Block], description: str) -> BarSource:
    """A source of bars that lie in memory: ``blocks`` in order, their field ``instrument`` the place in ``instruments``."""
    joined = np.concatenate([np.asarray(block) for block in blocks])
    parts = [joined[joined["instrument"] == place] for place in range(len(instruments))]
    for instrument, part in zip(instruments, parts, strict=True):
        if not len(part):
            raise UsageError(f"{description}: found no bars of {instrument.id}, expected some")

    def read(place: int, start_ns: int, end_ns: int) -> Iterator[Block]:
        low, high = np.searchsorted(parts[place]["ts_init"], [start_ns, end_ns])
        if low < high:
            yield parts[place][low:high]

    start_ns = min(int(part["ts_open"][0]) for part in parts)
    end_ns = max(int(part["ts_init"][-1]) for part in parts) + 1
    return BarSource(tuple(instruments), start_ns, end_ns, read, description)
