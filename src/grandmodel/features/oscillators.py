"""Oscillators: RSI, MACD, the stochastic and CCI. Start values are TA-Lib's, which these equal.

``averages.py`` explains the two forms and the rules on holes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_columns, as_series, check_period, unknown
from grandmodel.features.averages import (
    EMA_SLOTS,
    ema_reset,
    ema_state,
    ema_update,
    sma_reset,
    sma_state,
    sma_update,
)
from grandmodel.features.errors import FeatureError
from grandmodel.features.extremes import larger, smaller
from grandmodel.kernels import kernel

# Slots of an RSI: period, changes seen (at most the period; -1 before the first value), last value, mean gain, mean loss.
RSI_SLOTS = 5
# A MACD has the values still to skip before the fast average begins, then the fast, slow and signal averages.
# Slots of a stochastic: period, whether one block is complete, place in the block, highest high and lowest low of the
# head, then period + 1 highs, period + 1 lows, and the two averages.
STOCHASTIC_HEADER = 5
# CCI's scale, chosen by Lambert so that most values lie between -100 and 100.
CCI_SCALE = 0.015


def rsi(values: npt.ArrayLike, period: int = 14) -> Floats:
    """Relative strength index, 0 to 100: 100 * mean gain / (mean gain + mean loss), both smoothed as Wilder did.

    Warm-up: ``period`` bars. Where nothing has moved it is 0, as TA-Lib has it.
    """
    series = as_series(values)
    out = unknown(len(series))
    _rsi_batch(series, check_period(period), out)
    return out


def rsi_state(period: int = 14) -> Floats:
    """A fresh RSI: five slots."""
    return np.array([period, -1.0, 0.0, 0.0, 0.0])


@kernel
def rsi_update(state: Floats, at: int, value: float) -> float:
    """Take in the next value; the index, NaN while fewer than ``period`` changes were seen."""
    if math.isnan(value):
        state[at + 1] = -1.0
        return math.nan
    period: float = state[at]
    seen: float = state[at + 1]
    change: float = value - state[at + 2]
    state[at + 2] = value
    gain = larger(change, 0.0)
    loss = larger(-change, 0.0)
    if seen == period:
        part = 1.0 / period
        gain = state[at + 3] * (1.0 - part) + gain * part
        loss = state[at + 4] * (1.0 - part) + loss * part
    else:
        seen += 1.0
        state[at + 1] = seen
        if seen == 0.0:
            state[at + 3] = 0.0
            state[at + 4] = 0.0
            return math.nan
        gain += state[at + 3]
        loss += state[at + 4]
        if seen == period:
            gain /= period
            loss /= period
    state[at + 3] = gain
    state[at + 4] = loss
    if seen < period:
        return math.nan
    both = gain + loss
    return 100.0 * (gain / both) if both > 0.0 else 0.0


@kernel
def _rsi_batch(values: Floats, period: int, out: Floats) -> None:
    part = 1.0 / period
    keep = 1.0 - part
    gain = 0.0
    loss = 0.0
    last = 0.0
    seen = -1
    for t in range(len(values)):
        value = values[t]
        if math.isnan(value):
            seen = -1
            continue
        change = value - last
        last = value
        up = larger(change, 0.0)
        down = larger(-change, 0.0)
        if seen == period:
            gain = gain * keep + up * part
            loss = loss * keep + down * part
        else:
            seen += 1
            if seen == 0:
                gain = 0.0
                loss = 0.0
                continue
            gain += up
            loss += down
            if seen < period:
                continue
            gain /= period
            loss /= period
        both = gain + loss
        out[t] = 100.0 * (gain / both) if both > 0.0 else 0.0


def macd(values: npt.ArrayLike, fast: int = 12, slow: int = 26, signal: int = 9) -> Floats:
    """Moving average convergence divergence, shape (T, 3): EMA(fast) - EMA(slow), the EMA of that, and their difference.

    Both averages give their first value on the same bar; all three columns begin together. Warm-up: ``slow + signal - 2`` bars.
    """
    series = as_series(values)
    _check_fast_below_slow(check_period(fast), check_period(slow))
    out = np.full((len(series), 3), np.nan)
    _macd_batch(series, fast, slow, check_period(signal), out)
    return out


def macd_state(fast: int = 12, slow: int = 26, signal: int = 9) -> Floats:
    """A fresh MACD: eleven slots."""
    return np.concatenate([[slow - fast, slow - fast], ema_state(fast), ema_state(slow), ema_state(signal)])


@kernel
def macd_update(state: Floats, at: int, value: float) -> tuple[float, float, float]:
    """Take in the next value; the difference of the averages, its own average, and the difference of these two."""
    if math.isnan(value):
        state[at] = state[at + 1]
        for average in range(3):
            ema_reset(state, at + 2 + average * EMA_SLOTS)
        return math.nan, math.nan, math.nan
    slow = ema_update(state, at + 2 + EMA_SLOTS, value)
    if state[at] > 0.0:
        state[at] -= 1.0
        return math.nan, math.nan, math.nan
    fast = ema_update(state, at + 2, value)
    if math.isnan(slow):
        return math.nan, math.nan, math.nan
    difference = fast - slow
    signal = ema_update(state, at + 2 + 2 * EMA_SLOTS, difference)
    if math.isnan(signal):
        return math.nan, math.nan, math.nan
    return difference, signal, difference - signal


@kernel
def _macd_batch(values: Floats, fast: int, slow: int, signal: int, out: Floats) -> None:
    fast_factor, slow_factor, signal_factor = 2.0 / (fast + 1.0), 2.0 / (slow + 1.0), 2.0 / (signal + 1.0)
    fast_keep, slow_keep, signal_keep = 1.0 - fast_factor, 1.0 - slow_factor, 1.0 - signal_factor
    fast_average, slow_average, average = 0.0, 0.0, 0.0
    run = 0
    signal_seen = 0
    for t in range(len(values)):
        value = values[t]
        if math.isnan(value):
            run = 0
            signal_seen = 0
            continue
        if run < slow:
            slow_average = value if run == 0 else slow_average + value
            if run >= slow - fast:
                fast_average = value if run == slow - fast else fast_average + value
            run += 1
            if run < slow:
                continue
            slow_average /= slow
            fast_average /= fast
        else:
            slow_average = slow_average * slow_keep + value * slow_factor
            fast_average = fast_average * fast_keep + value * fast_factor
        difference = fast_average - slow_average
        if signal_seen == signal:
            average = average * signal_keep + difference * signal_factor
        else:
            average = difference if signal_seen == 0 else average + difference
            signal_seen += 1
            if signal_seen < signal:
                continue
            average /= signal
        out[t, 0] = difference
        out[t, 1] = average
        out[t, 2] = difference - average


def stochastic(
    high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, period: int = 5, slowing: int = 3, smoothing: int = 3
) -> Floats:
    """Slow stochastic, shape (T, 2), 0 to 100: where the close lies in the range of the last ``period`` bars.

    %K is that place averaged over ``slowing`` bars, %D is %K averaged over ``smoothing``. Both begin together. A range
    of zero gives 0, as TA-Lib has it. Warm-up: ``period + slowing + smoothing - 3`` bars.
    """
    highs, lows, closes = as_columns(high=high, low=low, close=close)
    for name, bars in (("period", period), ("slowing", slowing), ("smoothing", smoothing)):
        check_period(bars, name)
    out = np.full((len(closes), 2), np.nan)
    _stochastic_batch(highs, lows, closes, stochastic_state(period, slowing, smoothing), out)
    return out


def stochastic_state(period: int = 5, slowing: int = 3, smoothing: int = 3) -> Floats:
    """A fresh stochastic; ``STOCHASTIC_HEADER`` describes the slots."""
    state = np.zeros(STOCHASTIC_HEADER + 2 * (period + 1))
    state[0] = period
    state[STOCHASTIC_HEADER + period] = -np.inf
    state[STOCHASTIC_HEADER + 2 * period + 1] = np.inf
    return np.concatenate([state, sma_state(slowing), sma_state(smoothing)])


@kernel(inline=True)
def stochastic_update(state: Floats, at: int, high: float, low: float, close: float) -> tuple[float, float]:
    """Take in the next bar; %K and %D, NaN while they warm up."""
    period = int(state[at])
    slowing = at + STOCHASTIC_HEADER + 2 * (period + 1)
    smoothing = slowing + int(state[slowing]) + 5
    if math.isnan(high) or math.isnan(low) or math.isnan(close):
        state[at + 1] = 0.0
        state[at + 2] = 0.0
        sma_reset(state, slowing)
        sma_reset(state, smoothing)
        return math.nan, math.nan
    place = int(state[at + 2])
    highs = at + STOCHASTIC_HEADER
    lows = highs + period + 1
    top = high
    bottom = low
    if place > 0:
        top = larger(state[at + 3], high)
        bottom = smaller(state[at + 4], low)
    state[at + 3] = top
    state[at + 4] = bottom
    highest = larger(state[highs + place + 1], top)
    lowest = smaller(state[lows + place + 1], bottom)
    state[highs + place] = high
    state[lows + place] = low
    place += 1
    if place == period:
        state[at + 1] = 1.0
        highest = top
        lowest = bottom
        tail_high = high
        tail_low = low
        for j in range(period - 2, -1, -1):
            tail_high = larger(state[highs + j], tail_high)
            tail_low = smaller(state[lows + j], tail_low)
            state[highs + j] = tail_high
            state[lows + j] = tail_low
        place = 0
    state[at + 2] = place
    if state[at + 1] == 0.0:
        return math.nan, math.nan
    reach = highest - lowest
    fast = (close - lowest) / reach * 100.0 if reach != 0.0 else 0.0
    slow = sma_update(state, slowing, fast)
    if math.isnan(slow):
        return math.nan, math.nan
    smooth = sma_update(state, smoothing, slow)
    if math.isnan(smooth):
        return math.nan, math.nan
    return slow, smooth


@kernel
def _stochastic_batch(high: Floats, low: Floats, close: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(close)):
        out[t, 0], out[t, 1] = stochastic_update(state, 0, high[t], low[t], close[t])


def cci(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, period: int = 14) -> Floats:
    """Commodity channel index: (typical price - its mean) / (0.015 * mean absolute deviation), over ``period`` bars.

    The typical price is (high + low + close) / 3. Where nothing deviates it is 0, as TA-Lib has it. Warm-up: ``period - 1`` bars.
    """
    highs, lows, closes = as_columns(high=high, low=low, close=close)
    out = unknown(len(closes))
    _cci_batch(highs, lows, closes, cci_state(check_period(period, least=2)), out)
    return out


def cci_state(period: int = 14) -> Floats:
    """A fresh CCI: place in the ring, a ring of ``period`` typical prices, then an SMA with its own period."""
    return np.concatenate([sma_state(period), np.zeros(period + 1)])


@kernel(inline=True)
def cci_update(state: Floats, at: int, high: float, low: float, close: float) -> float:
    """Take in the next bar; the index, NaN while it warms up."""
    typical = (high + low + close) / 3.0
    mean = sma_update(state, at, typical)
    period = int(state[at])
    ring = at + period + 6
    if math.isnan(typical):
        state[ring - 1] = 0.0
        return math.nan
    place = int(state[ring - 1])
    state[ring + place] = typical
    place += 1
    state[ring - 1] = 0 if place == period else place
    if math.isnan(mean):
        return math.nan
    # Two sums side by side: one alone would wait for each addition to end.
    even = 0.0
    odd = 0.0
    for j in range(ring, ring + period - 1, 2):
        even += abs(state[j] - mean)
        odd += abs(state[j + 1] - mean)
    if period % 2 == 1:
        even += abs(state[ring + period - 1] - mean)
    deviations = even + odd
    away = typical - mean
    # Rounding of the mean alone must not look like a deviation.
    if away == 0.0 or deviations <= 1e-14 * abs(mean) * period:
        return 0.0
    return away * period / (CCI_SCALE * deviations)


@kernel
def _cci_batch(high: Floats, low: Floats, close: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(close)):
        out[t] = cci_update(state, 0, high[t], low[t], close[t])


def _check_fast_below_slow(fast: int, slow: int) -> None:
    if fast >= slow:
        raise FeatureError(f"fast: found {fast}, expected less than slow, which is {slow}")
