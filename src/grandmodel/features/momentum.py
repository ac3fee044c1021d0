"""Momentum and relative volatility, from log returns; and the bounded percent move of the tactical matrix.

A log return needs two prices above zero: where one is not (crude oil has traded at -37 dollars), it is unknown, and
so is every window that holds it. ``averages.py`` explains the two forms.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_series, check_period, unknown
from grandmodel.features.dispersion import (
    compiled_deviation_slots,
    moments_update,
    standard_deviation_state,
    standard_deviation_update,
)
from grandmodel.features.order_statistics import (
    rolling_median_state,
    rolling_median_update,
)
from grandmodel.kernels import kernel

# Slots of a log return: whether a price was seen, that price.
LOG_RETURN_SLOTS = 2
# Slots of a percent momentum: period, prices seen (at most the period), place in the ring, then a ring of prices.
PERCENT_HEADER = 3
# A five-percent move is "one": the scale of the tactical column.
PERCENT_SCALE = 5.0


def log_returns(close: npt.ArrayLike) -> Floats:
    """log(close / last close), shape (T,); NaN on the first bar and where either price is not above zero."""
    closes = as_series(close, "close")
    out = unknown(len(closes))
    _log_returns_batch(closes, log_return_state(), out)
    return out


def log_return_state() -> Floats:
    """A fresh log return: two slots."""
    return np.zeros(LOG_RETURN_SLOTS)


@kernel
def log_return_update(state: Floats, at: int, close: float) -> float:
    """Take in the next price; the log return, NaN where it or the price before is missing or not above zero."""
    usable = close > 0.0  # False for NaN as well
    last: float = state[at + 1]
    known = state[at] == 1.0
    state[at] = 1.0 if usable else 0.0
    state[at + 1] = close
    return math.log(close / last) if usable and known else math.nan


@kernel
def _log_returns_batch(close: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(close)):
        out[t] = log_return_update(state, 0, close[t])


def momentum(close: npt.ArrayLike, period: int) -> Floats:
    """Log return over ``period`` bars, in units of its own expected size: r / (s * sqrt(period)).

    s is the population standard deviation of the ``period`` one-bar log returns that make up r. A steady drift gives
    large values, a random walk values around -1 to 1. NaN where s is 0: there is nothing to measure against.
    Warm-up: ``period`` bars.
    """
    returns = log_returns(close)
    out = unknown(len(returns))
    _momentum_batch(returns, standard_deviation_state(check_period(period, least=2)), out)
    return out


@kernel
def momentum_update(state: Floats, at: int, log_return: float) -> float:
    """Take in the next log return; the momentum. The state is that of ``dispersion.standard_deviation_state(period)``."""
    mean, variance = moments_update(state, at, log_return)
    if not variance > 0.0:
        return math.nan
    # The returns of the window sum to mean * period; over s * sqrt(period) that leaves one root of the period.
    return mean * math.sqrt(state[at]) / math.sqrt(variance)


@kernel
def _momentum_batch(returns: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(returns)):
        out[t] = momentum_update(state, 0, returns[t])


def relative_volatility(close: npt.ArrayLike, period: int = 30, history: int = 480) -> Floats:
    """Standard deviation of the last ``period`` log returns over the median of its own last ``history`` values.

    1 is as volatile as usual, 2 twice that. The present value is one of the ``history``. NaN where the median is 0.
    Warm-up: ``period + history - 1`` bars.
    """
    returns = log_returns(close)
    out = unknown(len(returns))
    check_period(history, "history")
    _relative_volatility_batch(returns, relative_volatility_state(check_period(period, least=2), history), out)
    return out


def relative_volatility_state(period: int = 30, history: int = 480) -> Floats:
    """A fresh relative volatility: a standard deviation, then a rolling median."""
    return np.concatenate([standard_deviation_state(period), rolling_median_state(history)])


@kernel
def relative_volatility_update(state: Floats, at: int, log_return: float) -> float:
    """Take in the next log return; the relative volatility."""
    deviation = standard_deviation_update(state, at, log_return)
    usual = rolling_median_update(state, at + compiled_deviation_slots(int(state[at])), deviation)
    return deviation / usual if usual > 0.0 else math.nan


@kernel
def _relative_volatility_batch(returns: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(returns)):
        out[t] = relative_volatility_update(state, 0, returns[t])


def percent_momentum(close: npt.ArrayLike, period: int = 5) -> Floats:
    """tanh(m / 5), where m is the move over ``period`` bars in percent of the price at their beginning. Warm-up: ``period`` bars.

    NaN where the price at the beginning is not above zero.
    """
    closes = as_series(close, "close")
    out = unknown(len(closes))
    _percent_momentum_batch(closes, percent_momentum_state(check_period(period)), out)
    return out


def percent_momentum_state(period: int = 5) -> Floats:
    """A fresh percent momentum: ``period + 3`` slots."""
    state = np.zeros(PERCENT_HEADER + period)
    state[0] = period
    return state


@kernel
def percent_momentum_update(state: Floats, at: int, close: float) -> float:
    """Take in the next price; the bounded move, NaN while fewer than ``period`` prices came before."""
    if math.isnan(close):
        state[at + 1] = 0.0
        state[at + 2] = 0.0
        return math.nan
    period = int(state[at])
    place = int(state[at + 2])
    begin: float = state[at + PERCENT_HEADER + place]
    state[at + PERCENT_HEADER + place] = close
    state[at + 2] = 0 if place + 1 == period else place + 1
    if state[at + 1] < period:
        state[at + 1] += 1.0
        return math.nan
    if not begin > 0.0:
        return math.nan
    return math.tanh(100.0 * (close / begin - 1.0) / PERCENT_SCALE)


@kernel
def _percent_momentum_batch(close: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(close)):
        out[t] = percent_momentum_update(state, 0, close[t])
