"""Volume by price over the last bars: low-volume nodes (LVN), and how the volume leans.

Each bar's volume is spread evenly over its range, low to high. The range of the whole window is cut into equal bins,
and a **low-volume node** is a local minimum among them (a run of equal bins counts as one, at its middle) that holds
less than 30 % of the fullest bin, the point of control. Price passes quickly through such a place, or turns at it.

The skewness is that of the spread volume itself, in closed form, and does not depend on the bins.

An unknown volume (NaN) makes all of it unknown until it has left the window. ``averages.py`` explains the two forms.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_columns, check_period
from grandmodel.features.extremes import larger, smaller
from grandmodel.kernels import kernel

PROFILE_BARS = 48
PROFILE_BINS = 50
# A local minimum is a node where it holds less than this share of the point of control.
NODE_SHARE = 0.3
# Two bins whose volumes differ by less than this share of the point of control are equal: rounding makes no node.
EQUAL_SHARE = 1e-9
# Slots: bars in the window, bars seen (at most that), place in the ring, number of bins, then three rings (high, low,
# volume), each kept twice so that every window is one stretch, and room for the bins.
PROFILE_HEADER = 4


def volume_profile(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    bars: int = PROFILE_BARS,
    bins: int = PROFILE_BINS,
) -> Floats:
    """Shape (T, 3): price of the low-volume node nearest the close, its strength, and the skewness of volume by price.

    The strength is 1 - node volume / point-of-control volume. Where the profile has no node the price is NaN and the
    strength 0. The skewness is NaN where the whole window traded at one price. Warm-up: ``bars - 1`` bars.
    """
    highs, lows, closes, volumes = as_columns(high=high, low=low, close=close, volume=volume)
    state = volume_profile_state(check_period(bars, "bars"), check_period(bins, "bins", least=3))
    out = np.full((len(closes), 3), np.nan)
    _volume_profile_batch(highs, lows, closes, volumes, state, out)
    return out


def volume_profile_state(bars: int = PROFILE_BARS, bins: int = PROFILE_BINS) -> Floats:
    """A fresh profile: ``6 * bars + bins + 4`` slots."""
    state = np.zeros(PROFILE_HEADER + 6 * bars + bins)
    state[0] = bars
    state[3] = bins
    return state


@kernel
def volume_profile_update(
    state: Floats, at: int, high: float, low: float, close: float, volume: float
) -> tuple[float, float, float]:
    """Take in the next bar; node price, strength and skewness, NaN while the window fills or holds an unknown volume."""
    if math.isnan(high) or math.isnan(low) or math.isnan(close):
        state[at + 1] = 0.0
        state[at + 2] = 0.0
        return math.nan, math.nan, math.nan
    bars = int(state[at])
    place = int(state[at + 2])
    rings = at + PROFILE_HEADER
    for ring, value in ((0, high), (2, low), (4, volume)):
        state[rings + ring * bars + place] = value
        state[rings + (ring + 1) * bars + place] = value
    place += 1
    state[at + 2] = 0 if place == bars else place
    if state[at + 1] < bars:
        state[at + 1] += 1.0
        if state[at + 1] < bars:
            return math.nan, math.nan, math.nan
    highs = rings + place
    lows = highs + 2 * bars
    volumes = lows + 2 * bars
    total = 0.0
    for j in range(bars):
        total += state[volumes + j]
    if not total > 0.0:
        return math.nan, math.nan, math.nan
    node, strength = _nearest_node(state, highs, lows, volumes, bars, rings + 6 * bars, int(state[at + 3]), close)
    return node, strength, _spread_skewness(state, highs, lows, volumes, bars, total)


@kernel
def _nearest_node(
    state: Floats, highs: int, lows: int, volumes: int, bars: int, profile: int, bins: int, close: float
) -> tuple[float, float]:
    """Fill the bins at ``profile`` and look for the node nearest the close."""
    bottom: float = state[lows]
    top: float = state[highs]
    for j in range(1, bars):
        bottom = smaller(state[lows + j], bottom)
        top = larger(state[highs + j], top)
    if not top > bottom:
        return math.nan, 0.0
    width = (top - bottom) / bins
    fill_profile(state, highs, lows, volumes, bars, profile, bins, bottom, width)
    control: float = 0.0
    for j in range(profile, profile + bins):
        control = larger(state[j], control)
    equal = EQUAL_SHARE * control
    node = math.nan
    node_volume = control
    nearest = math.inf
    begin = -1  # where the present run of equal bins began, if it was reached by going down
    for j in range(1, bins):
        step: float = state[profile + j] - state[profile + j - 1]
        if step < -equal:
            begin = j
        elif step > equal:
            if begin >= 0 and state[profile + begin] < NODE_SHARE * control:
                price = bottom + width * (0.5 * (begin + j))
                if abs(close - price) < nearest:
                    nearest = abs(close - price)
                    node = price
                    node_volume = state[profile + begin]
            begin = -1
    return node, 1.0 - node_volume / control


@kernel
def fill_profile(
    state: Floats, highs: int, lows: int, volumes: int, bars: int, profile: int, bins: int, bottom: float, width: float
) -> None:
    """Spread each bar's volume evenly over the bins that its range covers."""
    for j in range(profile, profile + bins):
        state[j] = 0.0
    for j in range(bars):
        volume: float = state[volumes + j]
        first: float = (state[lows + j] - bottom) / width
        last: float = (state[highs + j] - bottom) / width
        low_bin = min(int(first), bins - 1)
        high_bin = min(int(last), bins - 1)
        if low_bin == high_bin:
            state[profile + low_bin] += volume
            continue
        per_bin = volume / (last - first)
        state[profile + low_bin] += per_bin * (low_bin + 1 - first)
        for b in range(profile + low_bin + 1, profile + high_bin):
            state[b] += per_bin
        state[profile + high_bin] += per_bin * (last - high_bin)


@kernel
def _spread_skewness(state: Floats, highs: int, lows: int, volumes: int, bars: int, total: float) -> float:
    """Skewness of a mixture of even spreads: each has its middle m, variance w^2 / 12 and no skew of its own."""
    # Measured from the newest bar's middle, so that a high price level costs no digits.
    origin: float = 0.5 * (state[highs + bars - 1] + state[lows + bars - 1])
    mean = 0.0
    for j in range(bars):
        mean += state[volumes + j] * (0.5 * (state[highs + j] + state[lows + j]) - origin)
    mean /= total
    second = 0.0
    third = 0.0
    for j in range(bars):
        away: float = 0.5 * (state[highs + j] + state[lows + j]) - origin - mean
        reach: float = state[highs + j] - state[lows + j]
        own = reach * reach / 12.0
        second += state[volumes + j] * (away * away + own)
        third += state[volumes + j] * away * (away * away + 3.0 * own)
    second /= total
    third /= total
    return third / (second * math.sqrt(second)) if second > 0.0 else math.nan


@kernel
def _volume_profile_batch(high: Floats, low: Floats, close: Floats, volume: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(close)):
        out[t, 0], out[t, 1], out[t, 2] = volume_profile_update(state, 0, high[t], low[t], close[t], volume[t])
