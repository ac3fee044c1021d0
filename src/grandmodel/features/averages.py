"""Moving averages: simple (SMA), exponential (EMA) and linearly weighted (WMA).

Every indicator of this room has two forms, and the tests hold both to a third, slow and plain (``tests/feature_references.py``):

- **batch**, ``sma(values, period)``: one value per bar, NaN while it warms up;
- **streaming**, ``sma_update(state, at, value)``: one value in, one value out. The state is a stretch of a flat float64
  array that begins at slot ``at``, so that many indicators share one array, which is saved and restored as it is.
  ``sma_state(period)`` makes a fresh one. Nothing is allocated.

Three rules hold everywhere: a value at bar t uses bars up to t only; a NaN is a hole, answered with NaN, after which
the indicator warms up anew; and batch and streaming do the same arithmetic in the same order, so they agree to the last bit.

Sums over a moving window never subtract what leaves it, so an absurd price leaves no trace once it is out of the window.
The window of n values is kept as the head of the current block of n and the tail of the block before. The head's sum
grows by addition; when a block is full, its tail sums are made in one backward pass, in place.

Read ``oscillators.py`` and ``ranges.py`` next, then ``strategic.py``, where the indicators meet.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_series, check_period, unknown
from grandmodel.kernels import kernel

# Slots of an SMA: period, whether one block is complete, place in the block, sum of the head, then period + 1 values.
SMA_HEADER = 4
# Slots of a WMA: the same four, the weighted sum of the head, then period + 1 plain and period + 1 weighted tail sums.
WMA_HEADER = 5
# Slots of an EMA: period, values seen (at most the period), the average (the sum, while fewer).
EMA_SLOTS = 3


def sma(values: npt.ArrayLike, period: int) -> Floats:
    """Simple moving average: the mean of the last ``period`` values. Warm-up: ``period - 1`` bars.

    ``values`` has one value per bar, shape (T,); the result has the same shape. Raises ``FeatureError`` on a bad shape or period.
    """
    series = as_series(values)
    out = unknown(len(series))
    _sma_batch(series, sma_state(check_period(period)), out)
    return out


def sma_state(period: int) -> Floats:
    """A fresh SMA: ``period + 5`` slots."""
    state = np.zeros(sma_slots(period))
    state[0] = period
    return state


def sma_slots(period: int) -> int:
    """How many slots an SMA needs."""
    return SMA_HEADER + period + 1


@kernel(inline=True)
def sma_update(state: Floats, at: int, value: float) -> float:
    """Take in the next value; the mean of the last ``period``, NaN while fewer."""
    if math.isnan(value):
        sma_reset(state, at)
        return math.nan
    period = int(state[at])
    place = int(state[at + 2])
    head: float = value if place == 0 else state[at + 3] + value
    ring = at + SMA_HEADER
    total: float = state[ring + place + 1] + head
    state[ring + place] = value
    state[at + 3] = head
    place += 1
    if place == period:
        state[at + 2] = 0.0
        state[at + 1] = 1.0
        tail = 0.0
        for j in range(ring + period - 1, ring - 1, -1):
            tail += state[j]
            state[j] = tail
        return head / period
    state[at + 2] = place
    if state[at + 1] == 0.0:
        return math.nan
    return total / period


@kernel
def sma_reset(state: Floats, at: int) -> None:
    """Forget all values: what a hole does."""
    state[at + 1] = 0.0
    state[at + 2] = 0.0


@kernel
def _sma_batch(values: Floats, state: Floats, out: Floats) -> None:
    period = int(state[0])
    place = 0
    head = 0.0
    complete = False
    for t in range(len(values)):
        value = values[t]
        if math.isnan(value):
            place = 0
            complete = False
            continue
        head = value if place == 0 else head + value
        total = state[SMA_HEADER + place + 1] + head
        state[SMA_HEADER + place] = value
        place += 1
        if place == period:
            place = 0
            complete = True
            tail = 0.0
            for j in range(SMA_HEADER + period - 1, SMA_HEADER - 1, -1):
                tail += state[j]
                state[j] = tail
            out[t] = head / period
        elif complete:
            out[t] = total / period


def ema(values: npt.ArrayLike, period: int) -> Floats:
    """Exponential moving average with factor 2 / (period + 1), begun with the mean of the first ``period`` values.

    Warm-up: ``period - 1`` bars. Source of the start value: TA-Lib, which this equals.
    """
    series = as_series(values)
    out = unknown(len(series))
    ema_batch(series, check_period(period), out)
    return out


def ema_state(period: int) -> Floats:
    """A fresh EMA: three slots."""
    return np.array([period, 0.0, 0.0])


@kernel(inline=True)
def ema_update(state: Floats, at: int, value: float) -> float:
    """Take in the next value; the average, NaN while fewer than ``period`` values were seen."""
    if math.isnan(value):
        state[at + 1] = 0.0
        return math.nan
    return smoothed(state, at, value, 2.0 / (state[at] + 1.0))


@kernel(inline=True)
def smoothed(state: Floats, at: int, value: float, weight: float) -> float:
    """The mean of the first ``period`` values, and from there on last x (1 - ``weight``) + ``value`` x ``weight``; NaN before.

    Three slots from ``at``: period, values seen (at most the period), the average (the sum, while fewer).
    """
    period: float = state[at]
    seen: float = state[at + 1]
    if seen == period:
        average: float = state[at + 2] * (1.0 - weight) + value * weight
        state[at + 2] = average
        return average
    total: float = value if seen == 0.0 else state[at + 2] + value
    seen += 1.0
    state[at + 1] = seen
    if seen < period:
        state[at + 2] = total
        return math.nan
    state[at + 2] = total / period
    return total / period


@kernel
def ema_reset(state: Floats, at: int) -> None:
    """Forget all values: what a hole does."""
    state[at + 1] = 0.0


@kernel
def ema_batch(values: Floats, period: int, out: Floats) -> None:
    """Write the averages to ``out``, which holds NaN."""
    size = len(values)
    factor = 2.0 / (period + 1.0)
    keep = 1.0 - factor
    t = 0
    while t < size:
        total = 0.0
        seen = 0
        while t < size and seen < period and not math.isnan(values[t]):
            total = values[t] if seen == 0 else total + values[t]
            seen += 1
            t += 1
        if seen == period:
            average = total / period
            out[t - 1] = average
            while t < size and not math.isnan(values[t]):
                average = average * keep + values[t] * factor
                out[t] = average
                t += 1
        while t < size and math.isnan(values[t]):
            t += 1


def wma(values: npt.ArrayLike, period: int) -> Floats:
    """Linearly weighted moving average: weights 1 (oldest) to ``period`` (newest). Warm-up: ``period - 1`` bars."""
    series = as_series(values)
    out = unknown(len(series))
    _wma_batch(series, wma_state(check_period(period)), out)
    return out


def wma_state(period: int) -> Floats:
    """A fresh WMA: ``2 * period + 7`` slots."""
    state = np.zeros(wma_slots(period))
    state[0] = period
    return state


def wma_slots(period: int) -> int:
    """How many slots a WMA needs."""
    return WMA_HEADER + 2 * (period + 1)


@kernel
def wma_update(state: Floats, at: int, value: float) -> float:
    """Take in the next value; the weighted mean of the last ``period``, NaN while fewer."""
    if math.isnan(value):
        state[at + 1] = 0.0
        state[at + 2] = 0.0
        return math.nan
    period = int(state[at])
    place = int(state[at + 2])
    head: float = 0.0
    weighted: float = 0.0
    if place > 0:
        head = state[at + 3]
        weighted = state[at + 4]
    plain = at + WMA_HEADER
    tails = plain + period + 1
    old: float = state[tails + place + 1]
    state[plain + place] = value
    place += 1
    head += value
    weighted += place * value
    # The head's values weigh (period - place) more than their place in it: the tail lies before them.
    total: float = old + (weighted + (period - place) * head)
    state[at + 3] = head
    state[at + 4] = weighted
    if place == period:
        state[at + 2] = 0.0
        state[at + 1] = 1.0
        tail = 0.0
        weighted_tail = 0.0
        for j in range(period - 1, -1, -1):
            tail += state[plain + j]
            weighted_tail += tail
            state[plain + j] = tail
            state[tails + j] = weighted_tail
    else:
        state[at + 2] = place
        if state[at + 1] == 0.0:
            return math.nan
    return total / (0.5 * period * (period + 1))


@kernel
def _wma_batch(values: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(values)):
        out[t] = wma_update(state, 0, values[t])
