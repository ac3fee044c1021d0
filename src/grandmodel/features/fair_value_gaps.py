"""Fair value gaps: places that price crossed in one strong bar, leaving a range in which nobody traded both ways.

**Bullish**: low[t] > high[t-2], and the body |close - open| of bar t-1 is more than 1.5 times the mean body of the 20
bars before it (t-21 ... t-2). The gap lies from high[t-2] up to low[t]. **Bearish** is mirrored: high[t] < low[t-2].

A gap ends when price trades back through it (a bullish gap when a low reaches its lower edge, a bearish one when a
high reaches its upper edge), or at the age of 50 bars. Its **level** is the edge that price would touch first on the
way back: the upper edge of a bullish gap, the lower of a bearish one. ``averages.py`` explains the two forms.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_columns
from grandmodel.features.averages import sma_slots, sma_state, sma_update
from grandmodel.kernels import kernel

# The middle bar's body must exceed this many mean bodies ...
STRONG_BODY = 1.5
# ... of so many bars before it.
BODY_BARS = 20
# A gap lives for less than this many bars. At most one gap begins per bar, so no more can be alive.
GAP_BARS = 50
# A comparison of bodies that rounding alone could decide is a draw.
DRAW = 1e-12
# Slots: bars seen (at most BODY_BARS + 1), high and low of the last bar and of the one before, body of the last bar,
# mean body before it, gaps alive; then the SMA of the bodies; then per gap its direction, level, far edge and age.
GAPS_HEADER = 8
GAP_SLOTS = 4
GAPS_AT = GAPS_HEADER + sma_slots(BODY_BARS)
GAPS_SLOTS = GAPS_AT + GAP_SLOTS * GAP_BARS


def fair_value_gaps(open_: npt.ArrayLike, high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike) -> Floats:
    """Shape (T, 5): is a bullish gap alive (1 or 0), is a bearish one, level and age of the nearest, did one end on this bar.

    The nearest gap is the one whose level is nearest the close (the youngest of equals). Level (price units) and age
    (bars) are NaN where no gap is alive. The last column is 1 where price traded back through a gap on this bar.
    Warm-up: 22 bars less one.
    """
    opens, highs, lows, closes = as_columns(open=open_, high=high, low=low, close=close)
    out = np.full((len(closes), 5), np.nan)
    _fair_value_gaps_batch(opens, highs, lows, closes, fair_value_gaps_state(), out)
    return out


def fair_value_gaps_state() -> Floats:
    """No gaps yet; ``GAPS_HEADER`` describes the slots."""
    state = np.zeros(GAPS_SLOTS)
    state[GAPS_HEADER:GAPS_AT] = sma_state(BODY_BARS)
    return state


@kernel
def fair_value_gaps_update(
    state: Floats, at: int, open_: float, high: float, low: float, close: float
) -> tuple[float, float, float, float, float]:
    """Take in the next bar; the five columns of ``fair_value_gaps``."""
    body = abs(close - open_)
    if math.isnan(body) or math.isnan(high) or math.isnan(low):
        state[at] = 0.0
        state[at + 7] = 0.0
        sma_update(state, at + GAPS_HEADER, math.nan)
        return math.nan, math.nan, math.nan, math.nan, math.nan
    ended = _end_gaps(state, at, high, low)
    mean_body: float = state[at + 6]
    strong: bool = state[at + 5] > STRONG_BODY * mean_body + DRAW * mean_body
    seen = int(state[at])
    if seen > BODY_BARS and strong:
        if low > state[at + 3]:
            _begin_gap(state, at, 1.0, low, state[at + 3])
        elif high < state[at + 4]:
            _begin_gap(state, at, -1.0, high, state[at + 4])
    # What the next bar will need: its two bars before, and the bodies before the middle one.
    state[at + 3] = state[at + 1]
    state[at + 4] = state[at + 2]
    state[at + 1] = high
    state[at + 2] = low
    if seen > 0:
        state[at + 6] = sma_update(state, at + GAPS_HEADER, state[at + 5])
    state[at + 5] = body
    if seen <= BODY_BARS:
        state[at] = seen + 1
        return math.nan, math.nan, math.nan, math.nan, math.nan
    bullish, bearish, level, age = _nearest_gap(state, at, close)
    return bullish, bearish, level, age, ended


@kernel
def _end_gaps(state: Floats, at: int, high: float, low: float) -> float:
    """Age every gap by one bar and drop the ended ones; 1 if price traded through one, else 0."""
    ended = 0.0
    alive = 0
    gaps = at + GAPS_AT
    for j in range(int(state[at + 7])):
        gap = gaps + GAP_SLOTS * j
        through = low <= state[gap + 2] if state[gap] > 0.0 else high >= state[gap + 2]
        age: float = state[gap + 3] + 1.0
        if age >= GAP_BARS:
            continue
        if through:
            ended = 1.0
        else:
            kept = gaps + GAP_SLOTS * alive
            state[kept] = state[gap]
            state[kept + 1] = state[gap + 1]
            state[kept + 2] = state[gap + 2]
            state[kept + 3] = age
            alive += 1
    state[at + 7] = alive
    return ended


@kernel
def _begin_gap(state: Floats, at: int, direction: float, level: float, far_edge: float) -> None:
    """Add a gap of age 0."""
    alive = int(state[at + 7])
    gap = at + GAPS_AT + GAP_SLOTS * alive
    state[gap] = direction
    state[gap + 1] = level
    state[gap + 2] = far_edge
    state[gap + 3] = 0.0
    state[at + 7] = alive + 1


@kernel
def _nearest_gap(state: Floats, at: int, close: float) -> tuple[float, float, float, float]:
    """Are there bullish and bearish gaps, and level and age of the nearest."""
    bullish = 0.0
    bearish = 0.0
    level = math.nan
    age = math.nan
    nearest = math.inf
    for j in range(int(state[at + 7])):
        gap = at + GAPS_AT + GAP_SLOTS * j
        if state[gap] > 0.0:
            bullish = 1.0
        else:
            bearish = 1.0
        distance = abs(close - state[gap + 1])
        if distance <= nearest:
            nearest = distance
            level = state[gap + 1]
            age = state[gap + 3]
    return bullish, bearish, level, age


@kernel
def _fair_value_gaps_batch(open_: Floats, high: Floats, low: Floats, close: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(close)):
        out[t, 0], out[t, 1], out[t, 2], out[t, 3], out[t, 4] = fair_value_gaps_update(
            state, 0, open_[t], high[t], low[t], close[t]
        )
