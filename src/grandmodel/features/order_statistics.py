"""Sorted windows: the rolling median, and the two leaves that other kernels use, selection and sorted replacement.

A window is held twice: in the order of time (to know what leaves) and in the order of size (to read the median).
``mmd.py`` keeps its 528 returns the same way.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_series, check_period, unknown
from grandmodel.kernels import kernel

# Slots of a rolling median: period, values seen (at most the period), place in the ring, then the ring and the sorted window.
MEDIAN_HEADER = 3


def rolling_median(values: npt.ArrayLike, period: int) -> Floats:
    """The median of the last ``period`` values (the mean of the middle two for an even period). Warm-up: ``period - 1`` bars."""
    series = as_series(values)
    out = unknown(len(series))
    _rolling_median_batch(series, rolling_median_state(check_period(period)), out)
    return out


def rolling_median_state(period: int) -> Floats:
    """A fresh rolling median: ``2 * period + 3`` slots."""
    state = np.zeros(rolling_median_slots(period))
    state[0] = period
    return state


def rolling_median_slots(period: int) -> int:
    """How many slots a rolling median needs."""
    return MEDIAN_HEADER + 2 * period


@kernel
def rolling_median_update(state: Floats, at: int, value: float) -> float:
    """Take in the next value; the median of the last ``period``, NaN while fewer."""
    if math.isnan(value):
        state[at + 1] = 0.0
        state[at + 2] = 0.0
        return math.nan
    period = int(state[at])
    seen = int(state[at + 1])
    place = int(state[at + 2])
    ring = at + MEDIAN_HEADER
    ordered = ring + period
    if seen == period:
        replace_sorted(state, ordered, period, state[ring + place], value)
    else:
        insert_sorted(state, ordered, seen, value)
        seen += 1
        state[at + 1] = seen
    state[ring + place] = value
    place += 1
    state[at + 2] = 0 if place == period else place
    if seen < period:
        return math.nan
    upper: float = state[ordered + period // 2]
    if period % 2 == 1:
        return upper
    lower: float = state[ordered + period // 2 - 1]
    return 0.5 * (lower + upper)


@kernel
def _rolling_median_batch(values: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(values)):
        out[t] = rolling_median_update(state, 0, values[t])


@kernel
def first_not_below(ordered: Floats, at: int, size: int, value: float) -> int:
    """The first place, from 0 to ``size``, whose value in ``ordered[at : at + size]`` is not below ``value``."""
    low = 0
    high = size
    while low < high:
        middle = (low + high) >> 1
        if ordered[at + middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def insert_sorted(ordered: Floats, at: int, size: int, value: float) -> None:
    """Put ``value`` into the sorted stretch of ``size`` values that begins at ``at``; it grows by one."""
    place = first_not_below(ordered, at, size, value)
    for j in range(at + size, at + place, -1):
        ordered[j] = ordered[j - 1]
    ordered[at + place] = value


@kernel
def replace_sorted(ordered: Floats, at: int, size: int, old: float, new: float) -> None:
    """Take ``old`` out of the sorted stretch and put ``new`` in; only what lies between the two places moves."""
    gone = first_not_below(ordered, at, size, old)
    place = first_not_below(ordered, at, size, new)
    if place > gone:
        place -= 1
        for j in range(at + gone, at + place):
            ordered[j] = ordered[j + 1]
    else:
        for j in range(at + gone, at + place, -1):
            ordered[j] = ordered[j - 1]
    ordered[at + place] = new


@kernel
def select_smallest(values: Floats, at: int, size: int, rank: int) -> float:
    """The value of ``rank`` (0 is the smallest) in ``values[at : at + size]``, by quickselect; the stretch is reordered.

    Afterwards nothing before the rank is greater than it and nothing behind is smaller. Takes time in proportion to ``size``.
    """
    left = at
    right = at + size - 1
    wanted = at + rank
    while left < right:
        middle = (left + right) >> 1
        # The median of three as pivot, so that sorted input is not the worst case.
        if values[middle] < values[left]:
            values[middle], values[left] = values[left], values[middle]
        if values[right] < values[left]:
            values[right], values[left] = values[left], values[right]
        if values[right] < values[middle]:
            values[right], values[middle] = values[middle], values[right]
        pivot = values[middle]
        i = left
        j = right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            right = j
        elif wanted >= i:
            left = i
        else:
            break
    found: float = values[wanted]
    return found
