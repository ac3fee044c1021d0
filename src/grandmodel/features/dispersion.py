"""How far values spread: the rolling standard deviation and Bollinger bands.

Both divide by n, as TA-Lib and numpy do by default. The window's mean and squared deviations are merged from the head
of the current block and the tail of the block before (Chan, Golub and LeVeque's rule), so nothing is subtracted that
was added long ago: a constant series has a deviation of exactly 0 and a wild value is forgotten with its window.
``averages.py`` explains the blocks and the two forms.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_series, check_period, unknown
from grandmodel.kernels import kernel

# Slots: period, whether one block is complete, place in the block, mean and squared deviations of the head, then
# period + 1 means and period + 1 squared deviations of the tail, and 1/1 ... 1/period (a product is quicker than a quotient).
DEVIATION_HEADER = 5
# Bollinger: the number of deviations, then the slots above.
BOLLINGER_HEADER = 1


def standard_deviation(values: npt.ArrayLike, period: int) -> Floats:
    """Population standard deviation of the last ``period`` values. Warm-up: ``period - 1`` bars."""
    series = as_series(values)
    out = unknown(len(series))
    _standard_deviation_batch(series, standard_deviation_state(check_period(period)), out)
    return out


def standard_deviation_state(period: int) -> Floats:
    """A fresh rolling standard deviation: ``3 * period + 7`` slots."""
    state = np.zeros(deviation_slots(period))
    state[0] = period
    state[-period:] = 1.0 / np.arange(1, period + 1)
    return state


def deviation_slots(period: int) -> int:
    """How many slots a rolling standard deviation needs."""
    return DEVIATION_HEADER + 2 * (period + 1) + period


compiled_deviation_slots = kernel(deviation_slots)
"""The same inside a kernel: whoever only lays out a state compiles nothing."""


@kernel
def standard_deviation_update(state: Floats, at: int, value: float) -> float:
    """Take in the next value; the deviation of the last ``period``, NaN while fewer."""
    _, variance = moments_update(state, at, value)
    return math.sqrt(variance)


@kernel(inline=True)
def moments_update(state: Floats, at: int, value: float) -> tuple[float, float]:
    """Take in the next value; mean and population variance of the last ``period``, NaN while fewer."""
    if math.isnan(value):
        state[at + 1] = 0.0
        state[at + 2] = 0.0
        return math.nan, math.nan
    period = int(state[at])
    place = int(state[at + 2])
    means = at + DEVIATION_HEADER
    squares = means + period + 1
    parts = squares + period  # 1 / k is at parts + k
    tail_mean: float = state[means + place + 1]
    tail_square: float = state[squares + place + 1]
    mean: float = 0.0
    square: float = 0.0
    if place > 0:
        mean = state[at + 3]
        square = state[at + 4]
    state[means + place] = value
    place += 1
    delta = value - mean
    mean += delta * state[parts + place]
    square += delta * (value - mean)
    state[at + 3] = mean
    state[at + 4] = square
    if place == period:
        state[at + 2] = 0.0
        state[at + 1] = 1.0
        back_mean = 0.0
        back_square = 0.0
        for j in range(period - 1, -1, -1):
            raw = state[means + j]
            away = raw - back_mean
            back_mean += away * state[parts + period - j]
            back_square += away * (raw - back_mean)
            state[means + j] = back_mean
            state[squares + j] = back_square
        return mean, square * state[parts + period]
    state[at + 2] = place
    if state[at + 1] == 0.0:
        return math.nan, math.nan
    between = mean - tail_mean
    part: float = state[parts + period]
    share = place * part
    return tail_mean + between * share, (square + tail_square) * part + between * between * share * (1.0 - share)


@kernel
def _standard_deviation_batch(values: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(values)):
        out[t] = standard_deviation_update(state, 0, values[t])


def bollinger(values: npt.ArrayLike, period: int = 20, deviations: float = 2.0) -> Floats:
    """Bollinger bands, shape (T, 3): the mean plus ``deviations`` standard deviations, the mean, the mean minus as much.

    Warm-up: ``period - 1`` bars.
    """
    series = as_series(values)
    out = np.full((len(series), 3), np.nan)
    _bollinger_batch(series, bollinger_state(check_period(period), deviations), out)
    return out


def bollinger_state(period: int = 20, deviations: float = 2.0) -> Floats:
    """Fresh Bollinger bands: ``3 * period + 8`` slots."""
    return np.concatenate([[deviations], standard_deviation_state(period)])


@kernel
def bollinger_update(state: Floats, at: int, value: float) -> tuple[float, float, float]:
    """Take in the next value; upper band, middle, lower band."""
    deviations: float = state[at]
    mean, variance = moments_update(state, at + BOLLINGER_HEADER, value)
    width = deviations * math.sqrt(variance)
    return mean + width, mean, mean - width


@kernel
def _bollinger_batch(values: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(values)):
        out[t, 0], out[t, 1], out[t, 2] = bollinger_update(state, 0, values[t])
