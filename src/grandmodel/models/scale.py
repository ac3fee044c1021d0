"""How far a price usually moves in one bar: the unit in which outcomes are foretold and positions are sized.

Moves are price changes in ticks, not log returns, so that a price near or below zero needs no special case. ``MoveScale``
takes one bar at a time, ``move_scales`` a whole history; both call the same compiled update and agree to the last bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

STRATEGIC_DECAY = 0.985
"""Weight of the past after one 30-minute bar: a half-life of one trading day."""
TACTICAL_DECAY = 0.9975
"""The same for 5-minute bars."""
WARM_UP_MOVES = 48
"""Moves before the scale is known."""

# Slots of the state: variance, weight behind it, last close, moves so far.
_VARIANCE, _WEIGHT, _CLOSE, _MOVES, _SLOTS = 0, 1, 2, 3, 4


def move_scale_state() -> Floats:
    """The state before the first bar."""
    state = np.zeros(_SLOTS)
    state[_CLOSE] = math.nan
    return state


@kernel
def move_scale_update(state: Floats, close: float, is_break: bool, decay: float) -> float:
    """Take in one close; the standard deviation of one bar's move, in ticks, NaN while fewer than 48 moves are known.

    ``is_break``: the first bar of a new contract, or one inside a bad stretch. No move is made from the bar before.
    """
    last = state[_CLOSE]
    state[_CLOSE] = close
    if not (is_break or math.isnan(last)):
        move = close - last
        state[_WEIGHT] = decay * state[_WEIGHT] + (1.0 - decay)
        state[_VARIANCE] = decay * state[_VARIANCE] + (1.0 - decay) * move * move
        state[_MOVES] += 1.0
    if state[_MOVES] < WARM_UP_MOVES:
        return math.nan
    return math.sqrt(state[_VARIANCE] / state[_WEIGHT])


class MoveScale:
    """The scale of one instrument's moves, bar by bar."""

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._state = move_scale_state()

    def update(self, close_ticks: int, *, is_break: bool) -> float:
        """Take in a closed bar; the standard deviation of one bar's move in ticks, NaN while it is not known."""
        return float(move_scale_update(self._state, float(close_ticks), is_break, self._decay))

    def save(self) -> list[float]:
        """Everything that the next update depends on."""
        values: list[float] = self._state.tolist()
        return values

    def restore(self, values: list[float]) -> None:
        """Go on from what ``save`` gave."""
        self._state[:] = values


@kernel
def move_scales(close: Floats, breaks: Bools, decay: float) -> Floats:
    """The scale after each bar of a history: closes in ticks (T,), whether a bar is a break (T,); (T,)."""
    state = np.zeros(_SLOTS)
    state[_CLOSE] = math.nan
    out = np.empty(len(close))
    for t in range(len(close)):
        out[t] = move_scale_update(state, close[t], breaks[t], decay)
    return out
