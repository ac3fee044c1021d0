"""Contract rolls in continuous futures series: where they are, and series adjusted for them.

An unadjusted series steps by the calendar spread at each roll; that step is carry, not a market move. ``find_rolls`` looks,
around each expiry, for what a roll leaves in a series: the expiring contract runs dry, the next one trades several times as
much from one bar to the next, and the price steps there. The roll is the bar where these meet: the open of a session, or a
bar inside it (many vendors change contract at midnight of the exchange). What does not meet is not marked; the expiry is
listed with the reason. ``back_adjust`` removes the steps on request. The store always keeps prices as they were traded.

Volumes are held against the usual volume of the same place in the session, so that a quiet night is not taken for a dry
contract. A shortened session (a holiday, an early close) trades little for its own reasons: it is never the dry one.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import Block, Flag, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import MAX_PRICE_TICKS, Instrument
from grandmodel.domain.time import NS_PER_DAY

_EPOCH = dt.date(1970, 1, 1)
_QUARTERLY = frozenset({"NQ", "MNQ", "ES", "MES", "RTY", "M2K", "YM", "MYM"})
_QUARTERS = (3, 6, 9, 12)
_CRUDE = frozenset({"CL", "MCL"})
_GOLD = frozenset({"GC", "MGC"})
_GOLD_MONTHS = (2, 4, 6, 8, 12)
"""October gold hardly trades: continuous series go from August to December."""

_USUAL_SESSIONS = 20
_LEAST_SESSIONS = 8
_SEARCHED_SESSIONS = 60
_KNOWN_SHARE = 0.25
"""Usual volumes come from the last 20 whole sessions before the window, 8 at least; usual steps from the last 60. Where volumes
are unknown, the known ones must stand for a quarter of the usual volume at least."""
_SESSIONS_AFTER = 3
_DRY_SHARE = 0.75
_REVIVAL = 1.4
"""Over a whole session before the roll the volume is below this share of the usual one; over the session after, so many times
that."""
_DRY_SHARE_ALONE = 0.6
"""The same where the step there is no larger than usual, so that the volume must tell alone."""
_BREAK_AT_OPEN = 0.9
_BREAK_INSIDE = 3.0
"""Inside a session the volume must rise so many times over a quarter of a session, and over a sixteenth."""
_CLEAR_STEP = 3.0
"""A step stands out where it is so many times the usual: the median step of session opens, the 99 % point inside sessions."""
_RIVAL_SHARE = 0.5
"""A day competes with the best where its volume break times its step is more than this share of the best's."""
_STEP_ALONE = 10.0
_STEP_ALONE_LEAST = 0.002
"""A step between two bars that touch proves a roll alone: 10 times the 99.9 % point inside sessions, and 0.2 % of the price."""


@dataclass(frozen=True, slots=True)
class Roll:
    """One roll, at the first bar of the new contract."""

    row: int
    """The row of the block that is the first of the new contract."""
    day: str
    """The trading day of that row's session."""
    ts_ns: int
    """When that row opens."""
    step_ticks: int
    """Its open less the close before it: carry and whatever the market did between the two."""
    evidence: str


@dataclass(frozen=True, slots=True)
class UnprovenRoll:
    """An expiry around which no bar is marked."""

    window_end: dt.date
    reason: str


@dataclass(frozen=True, slots=True)
class SessionBars:
    """A series as ``find_rolls`` reads it: bars inside sessions, in order. Shapes: sessions (S,), bars (T,)."""

    day_ns: NDArray[np.int64]
    """(S,) The trading day, midnight UTC."""
    first: NDArray[np.int64]
    """(S,) The place among the bars of each session's first one."""
    lengths: NDArray[np.int64]
    """(S,) Bars that the calendar expects."""
    is_whole: NDArray[np.bool_]
    """(S,) False where bars are missing, or the volume is another contract's (truncated, bad stretch)."""
    rows: NDArray[np.int64]
    """(T,) The row of the block."""
    slot: NDArray[np.int64]
    """(T,) The place in the session, in bar widths after its open."""
    volume: NDArray[np.float64]
    """(T,) NaN where unknown."""
    opens_ns: NDArray[np.int64]
    closes_ns: NDArray[np.int64]
    open_ticks: NDArray[np.int64]
    close_ticks: NDArray[np.int64]

    def cut(self, start: int, end: int) -> SessionBars:
        """The sessions ``start`` to ``end`` (exclusive) and their bars."""
        part = slice(int(self.first[start]), _end_of(self, end - 1))
        sessions = slice(start, end)
        return SessionBars(
            self.day_ns[sessions], self.first[sessions] - part.start, self.lengths[sessions], self.is_whole[sessions],
            self.rows[part], self.slot[part], self.volume[part], self.opens_ns[part], self.closes_ns[part],
            self.open_ticks[part], self.close_ticks[part],
        )  # fmt: skip


class Sessions(Protocol):
    """Sessions with bars, whose bars need not be in memory."""

    @property
    def day_ns(self) -> NDArray[np.int64]:
        """(S,) The trading day, midnight UTC."""
        ...

    def cut(self, start: int, end: int) -> SessionBars:
        """The sessions ``start`` to ``end`` (exclusive) and their bars."""
        ...


def has_expiry_rule(instrument: Instrument) -> bool:
    """Whether the expiries of ``instrument`` are known here."""
    return instrument.id in _QUARTERLY | _CRUDE | _GOLD


def expiries(instrument: Instrument, first: dt.date, last: dt.date) -> list[tuple[dt.date, dt.date]]:
    """For each expiry of a known future between two dates: the first and the last day on which its series may roll.

    Equity index futures: from Monday of the week before to the third Friday of March, June, September and December.
    Crude oil: from five business days before to one after the last trading day, which is three business days before the
    25th of the month (or before the last business day ahead of it). Gold: the last six business days of the month before
    the delivery months February, April, June, August and December, whose last one is the first notice day. Holidays are
    not counted as days off here; the windows are wide enough. An empty list for other instruments.
    """
    windows = []
    for year in range(first.year, last.year + 2):
        for month in range(1, 13):
            if instrument.id in _QUARTERLY and month in _QUARTERS:
                expiry = _third_friday(year, month)
                windows.append((expiry - dt.timedelta(days=11), expiry))
            elif instrument.id in _CRUDE:
                expiry = _business_days_before(_last_business_day_up_to(dt.date(year, month, 25)), 3)
                windows.append((_business_days_before(expiry, 5), expiry + dt.timedelta(days=3)))
            elif instrument.id in _GOLD and month in _GOLD_MONTHS:
                notice = _last_business_day_up_to(dt.date(year, month, 1) - dt.timedelta(days=1))
                windows.append((_business_days_before(notice, 5), notice))
    return [window for window in windows if window[1] >= first and window[0] <= last]


def _third_friday(year: int, month: int) -> dt.date:
    first = dt.date(year, month, 1)
    return first + dt.timedelta(days=(4 - first.weekday()) % 7 + 14)


def _last_business_day_up_to(day: dt.date) -> dt.date:
    while day.weekday() > 4:
        day -= dt.timedelta(days=1)
    return day


def _business_days_before(day: dt.date, count: int) -> dt.date:
    while count:
        day -= dt.timedelta(days=1)
        count -= day.weekday() < 5
    return day


def find_rolls(instrument: Instrument, bars: Sessions) -> tuple[list[Roll], list[UnprovenRoll]]:
    """The rolls that the series proves, and the expiries around which it proves none, with the reason.

    Around each expiry the candidates are the opens of sessions, and bars inside sessions, where the volume of the
    session before is dry (under ``_DRY_SHARE`` of the usual), that of the session after ``_REVIVAL`` times as much, and
    the price steps. Each has a volume break (a quarter of a session after against one before) and a step (in usual steps
    of its kind); their product says how well it fits. The best is marked where its step stands out, or where the volume
    tells alone, and where no other session fits half as well. A step beyond anything that the series does between two
    bars that touch proves a roll without volume.
    """
    if not len(bars.day_ns):
        return [], []
    days = [_EPOCH + dt.timedelta(days=int(ns) // NS_PER_DAY) for ns in bars.day_ns]
    rolls: list[Roll] = []
    unproven: list[UnprovenRoll] = []
    for start, end in expiries(instrument, days[0], days[-1]):
        found = _roll_in(bars, days, start, end)
        if isinstance(found, Roll):
            rolls.append(found)
        else:
            unproven.append(UnprovenRoll(end, found))
    return rolls, unproven


def _roll_in(bars: Sessions, days: list[dt.date], start: dt.date, end: dt.date) -> Roll | str:
    """The roll in one window, or why none is marked."""
    inside = [place for place, day in enumerate(days) if start <= day <= end]
    if not inside:
        return "no bar in its window"
    if days[-1] < end:
        return "the file ends inside its window"
    low, high = max(0, inside[0] - _SEARCHED_SESSIONS), min(len(days), inside[-1] + 1 + _SESSIONS_AFTER)
    cut, days = bars.cut(low, high), days[low:high]
    window = _Window.of(cut, inside[0] - low, inside[-1] + 1 - low)
    if window is None:
        return f"fewer than {_LEAST_SESSIONS} whole sessions before its window"
    found = window.candidates()
    alone = window.steps_that_prove_alone()
    if not found:
        if len(alone) == 1:
            return _roll_by_step(cut, days, window, int(alone[0]))
        if len(alone) > 1:
            return f"steps inside {_days_of(days, window, alone)} compete"
        return window.why_none(days)
    best = found[0]
    session = int(window.session[best.bar])
    rivals = [
        other.bar
        for other in found[1:]
        if window.session[other.bar] != session
        and abs(other.bar - best.bar) > window.quarter
        and other.fit > _RIVAL_SHARE * best.fit
        and (other.step >= _CLEAR_STEP or best.step < _CLEAR_STEP)
    ]
    rivals += [int(bar) for bar in alone if window.session[bar] != session]
    if rivals:
        return f"{_days_of(days, window, np.array([best.bar, *rivals]))} compete"
    if best.step < _CLEAR_STEP and best.before >= _DRY_SHARE_ALONE:
        return f"the volume rises on {days[session]}, but not clearly and without a step beyond the usual"
    return _roll_at(
        cut,
        days,
        session,
        best.bar,
        f"traded {best.before:.0%} of the usual over the session before and {best.after / best.before:.1f} times as much "
        f"over the one after ({best.rise:.1f} times over a quarter of a session); a step of {best.step:.1f} usual ones",
    )


def _days_of(days: list[dt.date], window: _Window, at: NDArray[np.int64]) -> str:
    named = sorted({days[int(window.session[bar])].isoformat() for bar in at})
    return " and ".join(named)


def _roll_by_step(bars: SessionBars, days: list[dt.date], window: _Window, bar: int) -> Roll:
    times = abs(window.steps[bar]) / window.extreme_step
    evidence = f"the price steps inside the session by {times:.0f} times the 99.9 % point of such steps; the volume does not show it"
    return _roll_at(bars, days, int(window.session[bar]), bar, evidence)


def _roll_at(bars: SessionBars, days: list[dt.date], session: int, bar: int, evidence: str) -> Roll:
    return Roll(
        int(bars.rows[bar]),
        days[session].isoformat(),
        int(bars.opens_ns[bar]),
        int(bars.open_ticks[bar] - bars.close_ticks[bar - 1]),
        evidence,
    )


@dataclass(frozen=True, slots=True)
class _Candidate:
    bar: int
    before: float
    """Share of the usual volume over the session before."""
    after: float
    rise: float
    """The volume over a quarter of a session after, against the one before."""
    step: float
    """In usual steps of its kind."""

    @property
    def fit(self) -> float:
        return self.rise * max(self.step, 0.5)


class _Window:
    """The bars around one expiry, with the usual volume of each and the usual size of steps."""

    def __init__(self, bars: SessionBars, start: int, end: int, usual: NDArray[np.float64], length: int) -> None:
        self.bars = bars
        self.start, self.end = int(bars.first[start]), _end_of(bars, end - 1)
        self.session = np.searchsorted(bars.first, np.arange(len(bars.rows)), side="right") - 1
        self.length, self.quarter = length, max(1, length // 4)
        self.is_open = np.zeros(len(bars.rows), dtype=np.bool_)
        self.is_open[bars.first] = True
        self.steps = np.zeros(len(bars.rows))
        self.steps[1:] = bars.open_ticks[1:] - bars.close_ticks[:-1]
        touches = np.zeros(len(bars.rows), dtype=np.bool_)
        touches[1:] = (bars.opens_ns[1:] == bars.closes_ns[:-1]) & ~self.is_open[1:]
        is_short = bars.lengths < length
        self.in_short = is_short[self.session]
        self.expected = usual[np.minimum(bars.slot, len(usual) - 1)]
        self.is_known = np.isfinite(bars.volume) & np.isfinite(self.expected)
        self.touches = touches
        before = slice(0, self.start)
        sizes = np.abs(self.steps[before])
        trusted = bars.is_whole[self.session[before]]
        inner, outer = sizes[touches[before] & trusted], sizes[self.is_open[before] & trusted]
        self.usual_step = max(1.0, float(np.quantile(inner, 0.99))) if len(inner) else np.inf
        self.extreme_step = max(1.0, float(np.quantile(inner, 0.999))) if len(inner) else np.inf
        self.usual_open = max(1.0, float(np.median(outer))) if len(outer) else np.inf
        self._ordinary = _Sums(bars.volume, self.expected, self.is_known, (bars.is_whole & ~is_short)[self.session])
        self._all = _Sums(bars.volume, self.expected, self.is_known, np.ones(len(bars.rows), dtype=np.bool_))

    @classmethod
    def of(cls, bars: SessionBars, start: int, end: int) -> _Window | None:
        """The window of the sessions ``start`` to ``end``; None where too little lies before it to know what is usual."""
        reach = np.arange(max(0, start - 2 * _USUAL_SESSIONS), start)
        whole = reach[bars.is_whole[reach]]
        if len(whole) < _LEAST_SESSIONS:
            return None
        length = int(np.median(bars.lengths[whole]))
        usual_sessions = whole[bars.lengths[whole] >= length][-_USUAL_SESSIONS:]
        if len(usual_sessions) < _LEAST_SESSIONS:
            return None
        table = np.full((len(usual_sessions), int(bars.lengths.max()) + 1), np.nan)
        for line, place in enumerate(usual_sessions.tolist()):
            part = slice(int(bars.first[place]), _end_of(bars, place))
            table[line, np.minimum(bars.slot[part], table.shape[1] - 1)] = bars.volume[part]
        known = np.isfinite(table).sum(axis=0) >= _LEAST_SESSIONS // 2
        usual = np.full(table.shape[1], np.nan)
        usual[known] = np.nanmedian(table[:, known], axis=0)
        return cls(bars, start, end, usual, length)

    def candidates(self) -> list[_Candidate]:
        """Bars at which the volume runs dry and comes back and the price steps, best first."""
        return sorted((found for found in self._breaks() if self.steps[found.bar] != 0), key=lambda found: -found.fit)

    def _breaks(self) -> list[_Candidate]:
        """Bars at which the volume runs dry and comes back, whatever the price does."""
        bars = np.arange(max(1, self.start), self.end)
        bars = bars[self.is_open[bars] | self.touches[bars]]
        before, after = self._ordinary.around(bars, self.length)
        found = []
        for place in np.flatnonzero((before < _DRY_SHARE) & (after >= _REVIVAL * before)):
            bar, is_open = int(bars[place]), bool(self.is_open[bars[place]])
            rise = self._rise_at_open(bar) if is_open else self._rise_inside(bar)
            if rise >= (_BREAK_AT_OPEN if is_open else _BREAK_INSIDE):
                step = abs(self.steps[bar]) / (self.usual_open if is_open else self.usual_step)
                found.append(_Candidate(bar, float(before[place]), float(after[place]), rise, float(step)))
        return found

    def _rise_at_open(self, bar: int) -> float:
        """A quarter session after an open against the last one of an ordinary session; NaN where a short one between them had come back."""
        before = self._ordinary.before(bar, self.quarter)
        last = self._ordinary.last_before(bar)
        if last < bar - 1 and self._all.between(last + 1, bar) >= _REVIVAL * before:
            return float("nan")
        return self._all.between(bar, bar + self.quarter) / before

    def _rise_inside(self, bar: int) -> float:
        """The smaller of the rises over a quarter and a sixteenth of a session, both sides of one kind of session."""
        rises = []
        for width in (self.quarter, max(1, self.quarter // 4)):
            if self.in_short[bar]:
                first = int(self.bars.first[self.session[bar]])
                sums, low, high = self._all, max(first, bar - width), min(bar + width, self._end(bar))
                rises.append(sums.between(bar, high) / sums.between(low, bar))
            else:
                sums = self._ordinary
                rises.append(sums.after(bar, width) / sums.before(bar, width))
        known = [rise for rise in rises if np.isfinite(rise)]
        return min(known) if known else float("nan")

    def _end(self, bar: int) -> int:
        return _end_of(self.bars, int(self.session[bar]))

    def steps_that_prove_alone(self) -> NDArray[np.int64]:
        """Bars that touch the one before and yet step beyond anything that the series does."""
        bars = np.arange(max(1, self.start), self.end)
        sizes = np.abs(self.steps[bars])
        least = np.maximum(_STEP_ALONE * self.extreme_step, _STEP_ALONE_LEAST * np.abs(self.bars.close_ticks[bars - 1]))
        return bars[self.touches[bars] & self.bars.is_whole[self.session[bars]] & (sizes >= least)]

    def why_none(self, days: list[dt.date]) -> str:
        """The reason where there is no candidate at all."""
        if not self.is_known[self.start : self.end].any():
            return "its volume is unknown, and no step proves it alone"
        stepless = np.array([found.bar for found in self._breaks()], dtype=np.int64)
        if len(stepless):
            return f"the volume comes back on {_days_of(days, self, stepless)}, but the price does not step there"
        sessions = np.unique(self.session[self.start : self.end])
        broken = int((~self.bars.is_whole[sessions]).sum())
        if broken:
            return f"no volume shows it; {broken} of its {len(sessions)} sessions are not whole ones"
        return "no session's volume shows it"


def _end_of(bars: SessionBars, place: int) -> int:
    return int(bars.first[place + 1]) if place + 1 < len(bars.first) else len(bars.rows)


class _Sums:
    """Shares of the usual volume over runs of bars, by running sums over the bars of ``kept``."""

    def __init__(
        self,
        volume: NDArray[np.float64],
        expected: NDArray[np.float64],
        is_known: NDArray[np.bool_],
        kept: NDArray[np.bool_],
    ) -> None:
        self.bars = np.flatnonzero(kept)
        known = is_known[self.bars]
        usual = np.where(np.isfinite(expected[self.bars]), expected[self.bars], 0.0)
        self._traded = np.concatenate(([0.0], np.cumsum(np.where(known, volume[self.bars], 0.0))))
        self._known = np.concatenate(([0.0], np.cumsum(np.where(known, usual, 0.0))))
        self._usual = np.concatenate(([0.0], np.cumsum(usual)))

    def before(self, bar: int, count: int) -> float:
        place = int(np.searchsorted(self.bars, bar))
        return self._share(max(0, place - count), place)

    def after(self, bar: int, count: int) -> float:
        place = int(np.searchsorted(self.bars, bar))
        return self._share(place, min(len(self.bars), place + count))

    def around(self, bars: NDArray[np.int64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``before`` and ``after`` of each of ``bars`` (K,)."""
        place = np.searchsorted(self.bars, bars)
        low, high = np.maximum(0, place - count), np.minimum(len(self.bars), place + count)
        return self._shares(low, place), self._shares(place, high)

    def _shares(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.float64]:
        known, usual = self._known[high] - self._known[low], self._usual[high] - self._usual[low]
        is_told = (known > 0.0) & (known >= _KNOWN_SHARE * usual)
        shares = np.full(len(low), np.nan)
        traded = np.maximum(self._traded[high] - self._traded[low], 1e-9)
        shares[is_told] = traded[is_told] / known[is_told]
        return shares

    def between(self, low: int, high: int) -> float:
        return self._share(int(np.searchsorted(self.bars, low)), int(np.searchsorted(self.bars, high)))

    def last_before(self, bar: int) -> int:
        place = int(np.searchsorted(self.bars, bar))
        return int(self.bars[place - 1]) if place else -1

    def _share(self, low: int, high: int) -> float:
        """Traded against usual, over the bars whose volume is known; NaN where those are too small a part of the usual volume."""
        known, usual = self._known[high] - self._known[low], self._usual[high] - self._usual[low]
        if not known > 0.0 or known < _KNOWN_SHARE * usual:
            return float("nan")
        return float(max(self._traded[high] - self._traded[low], 1e-9) / known)


class Adjustment(enum.StrEnum):
    """How a series is joined across rolls."""

    DIFFERENCE = "difference"
    """Prices before a roll move by its step: differences in ticks stay true, levels do not."""
    RATIO = "ratio"
    """Prices before a roll are scaled: returns stay true; needs positive prices."""


def roll_rows(block: Block) -> NDArray[np.int64]:
    """The rows of bars that carry ``Flag.ROLL``."""
    return np.flatnonzero(block["flags"] & int(Flag.ROLL))


def back_adjust(
    block: Block, rolls: Sequence[int] | NDArray[np.int64], how: Adjustment = Adjustment.DIFFERENCE
) -> Block:
    """A new block of bars without the steps at the rows ``rolls`` (see ``roll_rows``); the last contract stays as it was.

    The step of a roll is taken as the open of its first row less the close before it, so whatever the market did while it was
    closed is taken out with the carry: with one series alone the two cannot be told apart. ``RATIO`` rounds to whole
    ticks once per price, from the product of all later ratios. Raises ``UsageError`` where a row is no roll (row 0,
    outside the block), where a ratio meets a price that is not positive, or where a price leaves its bounds.
    """
    rows = np.unique(np.asarray(rolls, dtype=np.int64))
    adjusted = block.copy()
    adjusted.flags.writeable = True
    if not len(rows):
        return freeze(adjusted)
    if rows[0] < 1 or rows[-1] >= len(block):
        raise UsageError(f"found roll rows {int(rows[0])} to {int(rows[-1])}, expected rows from 1 to {len(block) - 1}")
    after, before = block["open"][rows], block["close"][rows - 1]
    names = ("open", "high", "low", "close")
    segment = np.searchsorted(rows, np.arange(len(block)), side="right")  # rolls at or before each row
    if how is Adjustment.DIFFERENCE:
        later_steps = np.concatenate((np.cumsum((after - before)[::-1])[::-1], [0]))
        for name in names:
            adjusted[name] = block[name] + later_steps[segment]
    else:
        if any((block[name] <= 0).any() for name in names):
            raise UsageError(
                "found a price at or below zero, expected positive ones for ratio adjustment: use difference"
            )
        later_ratios = np.concatenate((np.cumprod((after / before)[::-1])[::-1], [1.0]))
        for name in names:
            adjusted[name] = np.rint(block[name] * later_ratios[segment]).astype(np.int64)
    for name in names:
        if (np.abs(adjusted[name]) > MAX_PRICE_TICKS).any():
            raise UsageError("back-adjusted prices leave the bounds of a price; adjust a shorter span")
    return freeze(adjusted)
