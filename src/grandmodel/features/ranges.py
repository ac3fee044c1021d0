"""How far a bar reaches: true range, its average (ATR) and the directional index (ADX), smoothed as Wilder did.

The start values are TA-Lib's, which these equal. ``averages.py`` explains the two forms and the rules on holes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_columns, check_period, unknown
from grandmodel.features.averages import smoothed
from grandmodel.features.extremes import larger
from grandmodel.kernels import kernel

# Slots of a true range: whether a close was seen, that close.
TRUE_RANGE_SLOTS = 2
# Slots of an ATR: period, ranges seen (at most the period), the average (the sum, while fewer), then a true range.
ATR_SLOTS = 5
# Slots of an ADX: period, bars seen (at most 2 * period), last high, low and close, smoothed rise, fall and range, the index.
ADX_SLOTS = 9


def true_range(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike) -> Floats:
    """The farthest reach of a bar, the close before it included: max(high, last close) - min(low, last close).

    In price units, shape (T,). Warm-up: one bar.
    """
    highs, lows, closes = as_columns(high=high, low=low, close=close)
    out = unknown(len(closes))
    _true_range_batch(highs, lows, closes, true_range_state(), out)
    return out


def true_range_state() -> Floats:
    """A fresh true range: two slots."""
    return np.zeros(TRUE_RANGE_SLOTS)


@kernel
def true_range_update(state: Floats, at: int, high: float, low: float, close: float) -> float:
    """Take in the next bar; its true range, NaN on the first."""
    if math.isnan(high) or math.isnan(low) or math.isnan(close):
        state[at] = 0.0
        return math.nan
    last: float = state[at + 1]
    state[at + 1] = close
    if state[at] == 0.0:
        state[at] = 1.0
        return math.nan
    return larger(larger(high - low, abs(high - last)), abs(low - last))


@kernel
def _true_range_batch(high: Floats, low: Floats, close: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(close)):
        out[t] = true_range_update(state, 0, high[t], low[t], close[t])


def atr(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, period: int = 14) -> Floats:
    """Average true range: the mean of the first ``period`` true ranges, then Wilder's (last * (n - 1) + range) / n.

    In price units. Warm-up: ``period`` bars.
    """
    highs, lows, closes = as_columns(high=high, low=low, close=close)
    out = unknown(len(closes))
    _atr_batch(highs, lows, closes, check_period(period), out)
    return out


def atr_state(period: int = 14) -> Floats:
    """A fresh ATR: five slots."""
    return np.array([period, 0.0, 0.0, 0.0, 0.0])


@kernel
def atr_update(state: Floats, at: int, high: float, low: float, close: float) -> float:
    """Take in the next bar; the average true range, NaN while fewer than ``period`` ranges were seen."""
    if math.isnan(high) or math.isnan(low) or math.isnan(close):
        state[at + 1] = 0.0
        state[at + 3] = 0.0
        return math.nan
    reach = true_range_update(state, at + 3, high, low, close)
    if math.isnan(reach):
        return math.nan
    return smoothed(state, at, reach, 1.0 / state[at])


@kernel
def _atr_batch(high: Floats, low: Floats, close: Floats, period: int, out: Floats) -> None:
    size = len(close)
    part = 1.0 / period
    keep = 1.0 - part
    average = 0.0
    last = 0.0
    seen = -1  # -1: no close yet
    for t in range(size):
        top, bottom, end = high[t], low[t], close[t]
        if math.isnan(top) or math.isnan(bottom) or math.isnan(end):
            seen = -1
            continue
        reach = larger(larger(top - bottom, abs(top - last)), abs(bottom - last))
        last = end
        if seen == period:
            average = average * keep + reach * part
            out[t] = average
            continue
        seen += 1
        if seen == 0:
            continue
        average = reach if seen == 1 else average + reach
        if seen == period:
            average /= period
            out[t] = average


def adx(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, period: int = 14) -> Floats:
    """Average directional index, 0 to 100: how one-sided the moves of the highs and lows are, whichever side.

    A bar's rise counts where the high moved up by more than the low moved down, its fall mirrored. Both, and the true
    range, are smoothed by Wilder's sum; the index is the smoothed 100 |rise - fall| / (rise + fall). Warm-up:
    ``2 * period - 1`` bars. A bar where nothing moved in the whole smoothed past leaves the index as it was.
    """
    highs, lows, closes = as_columns(high=high, low=low, close=close)
    out = unknown(len(closes))
    _adx_batch(highs, lows, closes, adx_state(check_period(period, least=2)), out)
    return out


def adx_state(period: int = 14) -> Floats:
    """A fresh ADX: nine slots."""
    state = np.zeros(ADX_SLOTS)
    state[0] = period
    return state


@kernel
def adx_update(state: Floats, at: int, high: float, low: float, close: float) -> float:
    """Take in the next bar; the directional index, NaN while it warms up."""
    if math.isnan(high) or math.isnan(low) or math.isnan(close):
        state[at + 1] = 0.0
        return math.nan
    period: float = state[at]
    seen: float = state[at + 1]
    last_high: float = state[at + 2]
    last_low: float = state[at + 3]
    last_close: float = state[at + 4]
    state[at + 2] = high
    state[at + 3] = low
    state[at + 4] = close
    if seen == 0.0:
        state[at + 1] = 1.0
        for slot in range(at + 5, at + 9):
            state[slot] = 0.0
        return math.nan
    up = high - last_high
    down = last_low - low
    rise = up if up > 0.0 and up > down else 0.0
    fall = down if down > 0.0 and down > up else 0.0
    reach = larger(larger(high - low, abs(high - last_close)), abs(low - last_close))
    keep = 1.0 if seen < period else (period - 1.0) / period
    smooth_rise: float = state[at + 5] * keep + rise
    smooth_fall: float = state[at + 6] * keep + fall
    smooth_range: float = state[at + 7] * keep + reach
    state[at + 5] = smooth_rise
    state[at + 6] = smooth_fall
    state[at + 7] = smooth_range
    if seen < period:
        state[at + 1] = seen + 1.0
        return math.nan
    both = smooth_rise + smooth_fall
    moved = smooth_range > 0.0 and both > 0.0
    one_sided = 100.0 * abs(smooth_fall - smooth_rise) / both if moved else 0.0
    index: float = state[at + 8]
    if seen < 2.0 * period:
        index += one_sided
        seen += 1.0
        state[at + 1] = seen
        if seen == 2.0 * period:
            index /= period
    elif moved:
        index = index * ((period - 1.0) / period) + one_sided / period
    state[at + 8] = index
    return index if seen == 2.0 * period else math.nan


@kernel
def _adx_batch(high: Floats, low: Floats, close: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(close)):
        out[t] = adx_update(state, 0, high[t], low[t], close[t])
