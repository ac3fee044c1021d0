"""Contract rolls in continuous futures series: where they are, and series adjusted for them.

An unadjusted series steps by the calendar spread at each roll; that step is carry, not a market move. ``find_rolls`` looks,
around each expiry, for what a roll leaves in the volume: the expiring contract runs dry, and the session that opens on the next
contract trades several times as much. Where volume does not show it, nothing is marked; the expiry is reported as unproven.
``back_adjust`` removes the steps on request. The store always keeps prices as they were traded.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import Block, Flag, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import MAX_PRICE_TICKS, Instrument
from grandmodel.domain.time import NS_PER_DAY

_EPOCH = dt.date(1970, 1, 1)
_QUARTERLY = frozenset({"NQ", "MNQ", "ES", "MES", "RTY", "M2K", "YM", "MYM"})
_CRUDE = frozenset({"CL", "MCL"})
_QUARTERS = (3, 6, 9, 12)

_NORMAL_SESSIONS = 15
"""The volume of the session before a roll is held against the median of so many sessions before the window."""
_DRY_SHARE = 0.75
_REVIVAL = 1.4


@dataclass(frozen=True, slots=True)
class Roll:
    """One roll, at the first row of a session."""

    row: int
    """The row of the block that is the first of the new contract."""
    day: str
    """The trading day that it begins."""
    ts_ns: int
    """When that row opens."""
    step_ticks: int
    """Its open less the close before it: carry and whatever the market did overnight."""
    evidence: str


def expiries(instrument: Instrument, first: dt.date, last: dt.date) -> list[tuple[dt.date, dt.date]]:
    """For each expiry of a known future between two dates: the first and the last day on which its series may roll.

    Equity index futures: the week of the third Friday of March, June, September and December. Crude oil: from five
    business days before to one after the last trading day, which is three business days before the 25th of the month
    (or before the last business day ahead of it). Holidays are not counted as days off here; the window is wide enough.
    An empty list for other instruments.
    """
    windows = []
    for year in range(first.year, last.year + 1):
        for month in range(1, 13):
            if instrument.id in _QUARTERLY and month in _QUARTERS:
                expiry = _third_friday(year, month)
                windows.append((expiry - dt.timedelta(days=4), expiry))
            elif instrument.id in _CRUDE:
                expiry = _business_days_before(_last_business_day_up_to(dt.date(year, month, 25)), 3)
                windows.append((_business_days_before(expiry, 5), expiry + dt.timedelta(days=3)))
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


def find_rolls(
    instrument: Instrument,
    day_ns: NDArray[np.int64],
    volume: NDArray[np.float64],
    first_row: NDArray[np.int64],
    opens_ns: NDArray[np.int64],
    open_ticks: NDArray[np.int64],
    close_ticks: NDArray[np.int64],
) -> tuple[list[Roll], list[dt.date]]:
    """Rolls that the volume proves, and the days of expiries for which it does not.

    ``day_ns``, ``volume`` (total, NaN where not known or not to be trusted) and ``first_row`` have one entry per session
    with bars, in order; the other three one per bar. A roll is the session in the window of an expiry that trades most
    against the one before it, provided that the one before had run dry.
    """
    if not len(day_ns):
        return [], []
    days = [_EPOCH + dt.timedelta(days=int(ns) // NS_PER_DAY) for ns in day_ns]
    rolls, unproven = [], []
    for start, end in expiries(instrument, days[0], days[-1]):
        inside = [place for place, day in enumerate(days) if start <= day <= end and place >= _NORMAL_SESSIONS]
        if not inside or days[-1] < end:
            continue
        best = max(inside, key=lambda place: _revival(volume, place))
        normal = _normal_volume(volume, inside)
        ratio = _revival(volume, best)
        dry = volume[best - 1] < _DRY_SHARE * normal
        if not (dry and ratio >= _REVIVAL):
            unproven.append(end)
            continue
        row = int(first_row[best])
        evidence = (
            f"{days[best - 1]} traded {volume[best - 1] / normal:.0%} of a normal session, {days[best]} "
            f"{ratio:.1f} times as much"
        )
        rolls.append(
            Roll(row, days[best].isoformat(), int(opens_ns[row]), int(open_ticks[row] - close_ticks[row - 1]), evidence)
        )
    return rolls, unproven


def _normal_volume(volume: NDArray[np.float64], inside: Sequence[int]) -> float:
    """The median volume of the sessions before the window; NaN where too few of them, or not all in it, are known."""
    before = volume[inside[0] - _NORMAL_SESSIONS : inside[0]]
    known = before[np.isfinite(before)]
    if len(known) < _NORMAL_SESSIONS // 2 or not np.isfinite(volume[inside]).all():
        return float("nan")
    return float(np.median(known))


def _revival(volume: NDArray[np.float64], place: int) -> float:
    before, after = volume[place - 1], volume[place]
    return float(after / before) if np.isfinite(before) and np.isfinite(after) and before > 0 else -np.inf


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
