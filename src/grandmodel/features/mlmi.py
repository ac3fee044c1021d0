"""The machine-learning momentum index (MLMI): what usually came after moments like this one?

All on Heikin-Ashi closes. Each bar has the coordinates x = WMA20 of RSI20 and y = WMA20 of RSI5. Where WMA5 crosses
WMA20, either way, the bar's coordinates are stored as a point. At the next cross the point gets its label: +1 if the
close has risen since, -1 if not. From then on, and no sooner, it is used. The index is the mean label of the 200 stored
points nearest to the bar's own coordinates (all of them, while fewer), so it lies in [-1, 1]. The signal is +1 on the bar
where the index crosses above its own 20-bar weighted mean, -1 where it crosses below, else 0.

Decisions, all of which the reference makes as well:

- A series crosses above where it is above now and was not above on the bar before; "was not above" includes equal. Two
  averages are equal where they differ by less than 1e-12 of their size: rounding must not make a cross.
- A cross before the coordinates are known stores nothing. Equal distances: the older point is nearer.
- A hole (NaN) drops the point that waits for its label, and all averages warm up anew; labelled points stay.

The points grow without bound, some 100 a month of half-hour bars. They stand at the end of the state; when they fill
it, ``mlmi_with_room`` makes more. ``nearest.py`` finds the nearest at a price that does not grow with them. ``averages.py`` explains
the two forms.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_columns
from grandmodel.features.averages import wma_slots, wma_state, wma_update
from grandmodel.features.errors import FeatureError
from grandmodel.features.heikin_ashi import heikin_ashi_close
from grandmodel.features.nearest import (
    POINTS,
    add_point,
    clear_points,
    is_newest,
    mean_label,
    point_index,
    point_index_with_room,
)
from grandmodel.features.oscillators import RSI_SLOTS, rsi_state, rsi_update
from grandmodel.kernels import kernel

NEIGHBOURS = 200
FAST_CROSS, SLOW_CROSS = 5, 20
SLOW_RSI, FAST_RSI = 20, 5
COORDINATE_AVERAGE = 20
SIGNAL_AVERAGE = 20
# Averages that differ by less than this share of their size are equal.
EQUAL = 1e-12
# Room for points at the beginning.
FIRST_ROOM = 1024

# Slots: room for points, labelled points, whether a point waits for its label, its x, y and close, the last side of the
# averages (2: not known), the last side of the index (2: not known).
MLMI_HEADER = 8
FAST_WMA_AT = MLMI_HEADER
SLOW_WMA_AT = FAST_WMA_AT + wma_slots(FAST_CROSS)
SLOW_RSI_AT = SLOW_WMA_AT + wma_slots(SLOW_CROSS)
FAST_RSI_AT = SLOW_RSI_AT + RSI_SLOTS
SLOW_COORDINATE_AT = FAST_RSI_AT + RSI_SLOTS
FAST_COORDINATE_AT = SLOW_COORDINATE_AT + wma_slots(COORDINATE_AVERAGE)
SIGNAL_WMA_AT = FAST_COORDINATE_AT + wma_slots(COORDINATE_AVERAGE)
# Then x, y and label of the points, each in a stretch as long as the room.
POINTS_AT = SIGNAL_WMA_AT + wma_slots(SIGNAL_AVERAGE)
SIDE_UNKNOWN = 2.0


def mlmi(open_: npt.ArrayLike, high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike) -> Floats:
    """Index and signal, shape (T, 2).

    Warm-up: until two crosses have been seen with known coordinates (the 40th bar at the soonest); the signal needs 20
    bars of the index more. A market that never crosses has no index: NaN.
    """
    opens, highs, lows, closes = as_columns(open=open_, high=high, low=low, close=close)
    out = np.full((len(closes), 2), np.nan)
    # Never more points than bars with coordinates.
    state = mlmi_state(max(FIRST_ROOM, len(closes)))
    _mlmi_batch(opens, highs, lows, closes, state, mlmi_work(state), out)
    return out


def mlmi_state(room: int = FIRST_ROOM) -> Floats:
    """A fresh index with room for so many points."""
    state = np.zeros(POINTS_AT + 3 * room)
    state[0] = room
    state[6] = state[7] = SIDE_UNKNOWN
    for at, period in (
        (FAST_WMA_AT, FAST_CROSS),
        (SLOW_WMA_AT, SLOW_CROSS),
        (SLOW_COORDINATE_AT, COORDINATE_AVERAGE),
        (FAST_COORDINATE_AT, COORDINATE_AVERAGE),
        (SIGNAL_WMA_AT, SIGNAL_AVERAGE),
    ):
        state[at : at + wma_slots(period)] = wma_state(period)
    state[SLOW_RSI_AT : SLOW_RSI_AT + RSI_SLOTS] = rsi_state(SLOW_RSI)
    state[FAST_RSI_AT : FAST_RSI_AT + RSI_SLOTS] = rsi_state(FAST_RSI)
    return state


def mlmi_is_full(state: Floats, at: int = 0) -> bool:
    """Whether the next cross could find no room. Ask before each update; if so, ``mlmi_with_room`` first."""
    return bool(state[at + 1] >= state[at])


def mlmi_with_room(state: Floats, room: int, at: int = 0) -> Floats:
    """A copy with room for so many points, no fewer than there are. They must be the last thing in the array."""
    before, count, points = int(state[at]), int(state[at + 1]), at + POINTS_AT
    if len(state) != points + 3 * before:
        raise FeatureError(
            f"state: found {len(state)} slots, expected {points + 3 * before} with room for {before} points"
        )
    if room < count:
        raise FeatureError(f"room: found {room}, expected at least {count}, the points that are there")
    made = np.zeros(points + 3 * room)
    made[:points] = state[:points]
    made[at] = room
    for column in range(3):
        begin = points + column * before
        made[points + column * room : points + column * room + count] = state[begin : begin + count]
    return made


def mlmi_usual_room(count: int) -> int:
    """The room that a state with so many points has: more than that many, doubled from ``FIRST_ROOM`` on."""
    room = FIRST_ROOM
    while room <= count:
        room *= 2
    return room


def mlmi_work(state: Floats, at: int = 0) -> Floats:
    """The index of the state's points, ``nearest.py``, for ``mlmi_update``; no part of the state, since it follows from the points."""
    work, room = point_index(int(state[at])), int(state[at])
    index_points(state, at + POINTS_AT, room, int(state[at + 1]), work)
    return work


def mlmi_work_with_room(work: Floats, room: int) -> Floats:
    """The same index for a state that ``mlmi_with_room`` gave so much room."""
    return point_index_with_room(work, room)


@kernel
def mlmi_update(
    state: Floats, at: int, work: Floats, open_: float, high: float, low: float, close: float
) -> tuple[float, float]:
    """Take in the next bar; index and signal."""
    average = heikin_ashi_close(open_, high, low, close)
    x = wma_update(state, at + SLOW_COORDINATE_AT, rsi_update(state, at + SLOW_RSI_AT, average))
    y = wma_update(state, at + FAST_COORDINATE_AT, rsi_update(state, at + FAST_RSI_AT, average))
    fast = wma_update(state, at + FAST_WMA_AT, average)
    slow = wma_update(state, at + SLOW_WMA_AT, average)
    if math.isnan(average):
        state[at + 2] = 0.0
    side = side_of(fast, slow)
    crossed = is_cross(state[at + 6], side)
    state[at + 6] = side
    if crossed != 0.0:
        _label_waiting_point(state, at, average)
        if not math.isnan(x) and not math.isnan(y):
            state[at + 2] = 1.0
            state[at + 3] = x
            state[at + 4] = y
            state[at + 5] = average
    value = math.nan
    if not math.isnan(x) and not math.isnan(y):
        value = mean_label_of_nearest(state, at + POINTS_AT, int(state[at]), int(state[at + 1]), x, y, work)
    mean = wma_update(state, at + SIGNAL_WMA_AT, value)
    value_side = side_of(value, mean)
    signal: float = is_cross(state[at + 7], value_side)
    if value_side == SIDE_UNKNOWN or state[at + 7] == SIDE_UNKNOWN:
        signal = math.nan
    state[at + 7] = value_side
    return value, signal


@kernel
def side_of(value: float, level: float) -> float:
    """1 where the value is above the level, -1 below, 0 where they are equal but for rounding, 2 where one is unknown."""
    if math.isnan(value) or math.isnan(level):
        return SIDE_UNKNOWN
    difference = value - level
    if abs(difference) <= EQUAL * max(abs(value), abs(level)):
        return 0.0
    return 1.0 if difference > 0.0 else -1.0


@kernel
def is_cross(before: float, now: float) -> float:
    """1 where a side turned to above, -1 where it turned to below, else 0."""
    if before == SIDE_UNKNOWN or now == SIDE_UNKNOWN or now == 0.0 or before == now:
        return 0.0
    return now


@kernel
def _label_waiting_point(state: Floats, at: int, close: float) -> None:
    """Now that the next cross has come, the waiting point's label is known: append it to the points."""
    if state[at + 2] == 0.0:
        return
    room = int(state[at])
    count = int(state[at + 1])
    points = at + POINTS_AT
    state[points + count] = state[at + 3]
    state[points + room + count] = state[at + 4]
    state[points + 2 * room + count] = 1.0 if close > state[at + 5] else -1.0
    state[at + 1] = count + 1
    state[at + 2] = 0.0


@kernel
def mean_label_of_nearest(state: Floats, points: int, room: int, count: int, x: float, y: float, work: Floats) -> float:
    """Mean label of the ``NEIGHBOURS`` points nearest to (x, y), the older of equals first; NaN where there are none."""
    index_points(state, points, room, count, work)
    return mean_label(work, x, y, NEIGHBOURS)


@kernel
def index_points(state: Floats, points: int, room: int, count: int, work: Floats) -> None:
    """Take the points that the index lacks into it; all of them where it was made from another series."""
    known = int(work[POINTS])
    if known > count or (
        known > 0 and not is_newest(work, state[points + known - 1], state[points + room + known - 1])
    ):
        clear_points(work)
        known = 0
    for j in range(known, count):
        add_point(work, state[points + j], state[points + room + j], state[points + 2 * room + j])


@kernel
def _mlmi_batch(
    open_: Floats, high: Floats, low: Floats, close: Floats, state: Floats, work: Floats, out: Floats
) -> None:
    for t in range(len(close)):
        out[t, 0], out[t, 1] = mlmi_update(state, 0, work, open_[t], high[t], low[t], close[t])
