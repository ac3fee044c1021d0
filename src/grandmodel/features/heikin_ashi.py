"""Heikin-Ashi bars: each bar averaged with the one before it, so that a trend shows as a run of one colour.

``mlmi.py`` uses their closes. ``averages.py`` explains the two forms.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_columns
from grandmodel.kernels import kernel

# Slots: whether a bar was seen, its averaged open and close.
HEIKIN_ASHI_SLOTS = 3


def heikin_ashi(open_: npt.ArrayLike, high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike) -> Floats:
    """Heikin-Ashi open, high, low, close, shape (T, 4), in price units.

    close = (open + high + low + close) / 4; open = the middle of the last averaged open and close (of the bar's own
    open and close on the first); high and low reach over the averaged open and close. No warm-up.
    """
    opens, highs, lows, closes = as_columns(open=open_, high=high, low=low, close=close)
    out = np.full((len(closes), 4), np.nan)
    _heikin_ashi_batch(opens, highs, lows, closes, heikin_ashi_state(), out)
    return out


def heikin_ashi_state() -> Floats:
    """Fresh Heikin-Ashi bars: three slots."""
    return np.zeros(HEIKIN_ASHI_SLOTS)


@kernel
def heikin_ashi_update(
    state: Floats, at: int, open_: float, high: float, low: float, close: float
) -> tuple[float, float, float, float]:
    """Take in the next bar; the averaged open, high, low, close."""
    average = heikin_ashi_close(open_, high, low, close)
    if math.isnan(average):
        state[at] = 0.0
        return math.nan, math.nan, math.nan, math.nan
    begin: float = 0.5 * (state[at + 1] + state[at + 2]) if state[at] == 1.0 else 0.5 * (open_ + close)
    state[at] = 1.0
    state[at + 1] = begin
    state[at + 2] = average
    return begin, max(high, begin, average), min(low, begin, average), average


@kernel
def heikin_ashi_close(open_: float, high: float, low: float, close: float) -> float:
    """The averaged close of one bar, which needs no bar before it."""
    return 0.25 * (open_ + high + low + close)


@kernel
def _heikin_ashi_batch(open_: Floats, high: Floats, low: Floats, close: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(close)):
        out[t, 0], out[t, 1], out[t, 2], out[t, 3] = heikin_ashi_update(state, 0, open_[t], high[t], low[t], close[t])
