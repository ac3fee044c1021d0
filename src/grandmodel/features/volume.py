"""Volume against price: on-balance volume (OBV) and the volume-weighted average price (VWAP) of a session.

An unknown volume (NaN) is never taken for zero. ``averages.py`` explains the two forms; ``volume_profile.py`` has the
volume by price.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_columns, as_series, check_period, unknown
from grandmodel.features.averages import ema_state, ema_update
from grandmodel.kernels import kernel

# Slots of an OBV: whether a close was seen, that close, the sum.
OBV_SLOTS = 3
# Slots of a VWAP: whether a bar was seen, the session, sum of price times volume, sum of volume.
VWAP_SLOTS = 4


def obv(close: npt.ArrayLike, volume: npt.ArrayLike) -> Floats:
    """On-balance volume: begins with the first volume, then adds a bar's volume where the close rose, takes it where it fell.

    In lots. No warm-up. After a hole it begins anew.
    """
    closes, volumes = as_columns(close=close, volume=volume)
    out = unknown(len(closes))
    _obv_batch(closes, volumes, obv_state(), out)
    return out


def obv_state() -> Floats:
    """A fresh OBV: three slots."""
    return np.zeros(OBV_SLOTS)


@kernel
def obv_update(state: Floats, at: int, close: float, volume: float) -> float:
    """Take in the next bar; the sum so far."""
    if math.isnan(close) or math.isnan(volume):
        state[at] = 0.0
        return math.nan
    last: float = state[at + 1]
    total: float = state[at + 2]
    if state[at] == 0.0:
        state[at] = 1.0
        total = volume
    elif close > last:
        total += volume
    elif close < last:
        total -= volume
    state[at + 1] = close
    state[at + 2] = total
    return total


@kernel
def _obv_batch(close: Floats, volume: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(close)):
        out[t] = obv_update(state, 0, close[t], volume[t])


def vwap(
    high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, volume: npt.ArrayLike, session: npt.ArrayLike
) -> Floats:
    """Volume-weighted average of the typical price (high + low + close) / 3 since the session began.

    ``session`` is any number that changes with each session (see ``sessions.TradingDays.positions``). In price
    units; NaN while nothing has traded, and from a bar with an unknown volume or price to the end of its session.
    """
    highs, lows, closes, volumes, sessions = as_columns(high=high, low=low, close=close, volume=volume, session=session)
    out = unknown(len(closes))
    _vwap_batch(highs, lows, closes, volumes, sessions, vwap_state(), out)
    return out


def vwap_state() -> Floats:
    """A fresh VWAP: four slots."""
    return np.zeros(VWAP_SLOTS)


@kernel
def vwap_update(state: Floats, at: int, high: float, low: float, close: float, volume: float, session: float) -> float:
    """Take in the next bar; the average since its session began."""
    if state[at] == 0.0 or state[at + 1] != session:
        state[at] = 1.0
        state[at + 1] = session
        state[at + 2] = 0.0
        state[at + 3] = 0.0
    money: float = state[at + 2] + (high + low + close) / 3.0 * volume
    lots: float = state[at + 3] + volume
    state[at + 2] = money
    state[at + 3] = lots
    return money / lots if lots != 0.0 else math.nan


@kernel
def _vwap_batch(
    high: Floats, low: Floats, close: Floats, volume: Floats, session: Floats, state: Floats, out: Floats
) -> None:
    for t in range(len(close)):
        out[t] = vwap_update(state, 0, high[t], low[t], close[t], volume[t], session[t])


def volume_ratio(volume: npt.ArrayLike, period: int = 20) -> Floats:
    """tanh(log(volume / its EMA)), in [-1, 1): 0 is a usual volume, -1 none at all. The bar's own volume is part of the EMA.

    NaN where the volume is unknown, while the EMA warms up (``period - 1`` bars) and while nothing has ever traded.
    """
    volumes = as_series(volume, "volume")
    out = unknown(len(volumes))
    _volume_ratio_batch(volumes, ema_state(check_period(period)), out)
    return out


@kernel
def volume_ratio_update(state: Floats, at: int, volume: float) -> float:
    """Take in the next volume; the bounded ratio. The state is that of ``averages.ema_state(period)``."""
    usual = ema_update(state, at, volume)
    if not usual > 0.0:
        return math.nan
    # tanh(log r) = (r^2 - 1) / (r^2 + 1), which needs neither and is defined at r = 0.
    ratio = volume / usual
    return 1.0 - 2.0 / (ratio * ratio + 1.0)


@kernel
def _volume_ratio_batch(volume: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(volume)):
        out[t] = volume_ratio_update(state, 0, volume[t])
