"""Closed bars into risk, compiled: the row of returns, the covariance and the shocks that follow, the pace of the feeds, the lines.

What risk does at nearly every moment is here, as kernels over the arrays of ``running.py``, ``shocks.py``, ``pace.py`` and
``standing.py``; ``RiskGate`` and the compiled loop of the engine (``runtime/quiet.py``) call the same ones. A kernel that meets what
people must hear of comes back with a code, and goes on from there when it is called again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import Flag
from grandmodel.kernels import kernel
from grandmodel.risk.breakers import BreakerLadder, BreakerState, Trigger
from grandmodel.risk.correlation import FULL, FloatArray, fill_full
from grandmodel.risk.pace import follow_pace
from grandmodel.risk.running import (
    HAS_RETURNS,
    POSITIONS,
    ROWS,
    IntArray,
    collect_close,
    fold_row,
    held_variance,
    is_complete,
)
from grandmodel.risk.shocks import LAST, LEVEL, MEAN, SEEN, watch

Rows = NDArray[Any]
"""Structured rows."""

_BAD_STRETCH = int(Flag.BAD_STRETCH)
_HALT = int(BreakerState.HALT)  # From there on no line of equity is left.
_NO_FLOOR = -(2**62)

_I8, _F8 = "<i8", "<f8"

INTAKE = np.dtype(
    [
        ("cursor", _I8),  # bars of this moment already taken
        ("counted", _I8),  # 1: the bar at the cursor has been counted among the bad ones
        ("code", _I8),  # what compiled code came back with, for Python to go on from; ``TAKEN``: nothing
        ("width", _I8),  # of the bars that make returns
        ("min_returns", _I8),
        ("min_history", _I8),
        ("unit", _F8),
        ("volatility_line", _F8),
        ("var_line", _F8),
        ("var_limit", _F8),
        ("found", _I8),  # of the last row: what ``watch`` found; 0: no shock, -1: nothing looked at
        ("rise", _F8),  # of the mean log volatility over its usual level
        ("variance", _F8),  # VaR squared of the positions held
    ]
)
"""One row an account: how far the bars of a moment are taken in, what is fixed, and what the last row of returns gave."""

BAR = np.dtype([(name, _I8) for name in ("width", "start", "end", "close", "flags", "instrument")])
"""A closed bar as far as risk looks at it; any array with these fields will do."""

TAKEN, BAD_BAR, TOLD, INFINITE = range(4)
"""What ``take_bars`` comes back with: all bars are taken; the one at the cursor is marked bad; a row of returns brought a shock or
crossed a line; a return was infinite. Count or tell, and call it again."""


@kernel
def take_bars(
    closed: Rows,
    count: int,
    intake: Rows,
    lots: IntArray,
    closes: IntArray,
    row: IntArray,
    tables: FloatArray,
    clock: FloatArray,
    money: FloatArray,
    shock_tables: FloatArray,
    eigenvector: FloatArray,
    history: FloatArray,
    shock_count: IntArray,
    pace: IntArray,
) -> int:
    """Take ``count`` closed bars, from the cursor on; one of ``TAKEN``, ``BAD_BAR``, ``TOLD``, ``INFINITE``.

    ``lots`` says what is held, at which rates, what is in session, and how many rows each feed of ticks has given.
    """
    state = intake[0]
    if state.cursor == 0 and state.counted == 0:
        is_fine = False
        for k in range(lots.shape[1]):
            is_fine |= lots[ROWS, k] >= 0
        if is_fine:
            for k in range(count):
                bar = closed[k]
                if bar.width == closed[0].width:
                    follow_pace(pace, bar.instrument, bar.end - bar.start, max(lots[ROWS, bar.instrument], 0))
    while state.cursor < count:
        bar = closed[state.cursor]
        if bar.flags & _BAD_STRETCH and state.counted == 0:
            state.counted = 1
            return BAD_BAR
        if bar.width == state.width and not collect_close(
            bar.instrument, bar.end, bar.close, bar.flags, closes, row, money
        ):
            code = _take_row(intake, lots, row, tables, clock, money, shock_tables, eigenvector, history, shock_count)
            if code != TAKEN:
                return code
            continue
        state.cursor += 1
        state.counted = 0
    if is_complete(row, money, lots):
        code = _take_row(intake, lots, row, tables, clock, money, shock_tables, eigenvector, history, shock_count)
        if code != TAKEN:
            return code
    state.cursor = 0
    state.counted = 0
    return TAKEN


@kernel
def _take_row(
    intake: Rows,
    lots: IntArray,
    row: IntArray,
    tables: FloatArray,
    clock: FloatArray,
    money: FloatArray,
    shock_tables: FloatArray,
    eigenvector: FloatArray,
    history: FloatArray,
    shock_count: IntArray,
) -> int:
    """Fold the row of returns, look for shocks, and hold the positions against the VaR limit."""
    state = intake[0]
    has_returns = row[HAS_RETURNS]
    row[0] = -1
    row[HAS_RETURNS] = 0
    if has_returns == 0:
        return TAKEN
    if not fold_row(tables, clock, money, lots, state.min_returns):
        return INFINITE
    full = tables[FULL]
    fill_full(tables, clock, full)
    seen = shock_count[SEEN]
    found = watch(full, shock_tables, eigenvector, history, seen, state.min_history)
    if found >= 0:
        shock_count[SEEN] = seen = seen + 1
    rise = history[LAST, LEVEL] - history[MEAN, LEVEL]
    variance = held_variance(full, lots, state.unit, state.min_returns)
    state.found, state.rise, state.variance = found, rise, variance
    if found > 0:
        return TOLD
    if seen > state.min_history and not math.exp(rise) < state.volatility_line:
        return TOLD
    if variance > 0.0 and is_holding(lots) and math.sqrt(variance) / state.var_limit >= state.var_line:
        return TOLD
    return TAKEN


@kernel
def is_holding(lots: IntArray) -> bool:
    """True where any position is open."""
    for k in range(lots.shape[1]):  # noqa: SIM110 (compiled)
        if lots[POSITIONS, k] != 0:
            return True
    return False


def lines_of(ladder: BreakerLadder) -> FloatArray:
    """(2, 3): the shares of drawdown (of the peak) and of the day's loss (of capital) that ask for caution, reduce and halt."""
    return np.array([ladder.limits(Trigger.DRAWDOWN), ladder.limits(Trigger.DAILY_LOSS)])


@kernel
def floor_of(lines: FloatArray, state: int, peak: int, day_start: int, capital: int) -> int:
    """The equity at or below which the ladder moves next from ``state``; -2**62 where none does.

    ``lines`` are those of ``lines_of``.
    """
    floor = _NO_FLOOR
    if state < _HALT:
        for k in range(state, 3):
            if lines[0, k] < 1e6:
                floor = max(floor, math.floor(peak - lines[0, k] * peak))
            if lines[1, k] < 1e6:
                floor = max(floor, math.floor(day_start - lines[1, k] * capital))
    return floor


@kernel
def renew_lines(standing: Rows, lines: FloatArray, equity: int, top: int, day: int, within: bool) -> bool:
    """Bring day, peak and the line of equity up to date; True where ``equity`` lies above that line.

    ``top`` is the highest equity since the step before, ``day`` midnight of the trading day. With ``within`` nothing is changed where
    the equity has reached the line.
    """
    now = standing[0]
    peak, day_start, floor = now.peak, now.day_start, now.floor
    if day != now.day or top > peak:
        if day != now.day:
            day_start = equity
        peak = max(peak, top)
        floor = floor_of(lines, now.state, peak, day_start, now.capital)
    if within and equity <= floor:
        return False
    now.day, now.peak, now.day_start, now.floor = day, peak, day_start, floor
    return bool(equity > floor)
