"""Nadaraya-Watson regression with a rational quadratic kernel (NWRQK), at the end point only: it never repaints.

The regression value is a weighted mean of the last closes. The bar i back has the weight (1 + i^2 / (2 a h^2))^-a, cut
off where that falls below 1e-9; with h = 8 and a = 8 that is 113 bars. ``averages.py`` explains the two forms.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_series, unknown
from grandmodel.features.errors import FeatureError
from grandmodel.kernels import kernel

# Weights below this are left out.
SMALLEST_WEIGHT = 1e-9
# Slots: number of weights, values seen (at most that), place in the ring, whether there was a value, that value, then
# the weights (newest bar last, their sum 1) and the ring, kept twice so that every window is one stretch.
NWRQK_HEADER = 5


def nwrqk(values: npt.ArrayLike, bandwidth: float = 8.0, alpha: float = 8.0) -> Floats:
    """The regression value at each bar, shape (T,), in the units of ``values``.

    ``bandwidth`` is h in bars, ``alpha`` is a, the mixture of long and short scales. Warm-up: the number of weights
    less one (112 bars for h = a = 8).
    """
    series = as_series(values)
    out = unknown(len(series))
    _nwrqk_batch(series, nwrqk_state(bandwidth, alpha), out)
    return out


def nwrqk_weights(bandwidth: float = 8.0, alpha: float = 8.0) -> Floats:
    """The weights of the bars 0, 1, 2 ... back, not yet divided by their sum, down to the smallest kept."""
    if not (0 < bandwidth < 1000 and 0 < alpha < 1000):
        raise FeatureError(f"bandwidth, alpha: found {bandwidth!r}, {alpha!r}, expected both above 0 and below 1000")
    scale = 2.0 * alpha * bandwidth * bandwidth
    reach = math.sqrt(scale * (SMALLEST_WEIGHT ** (-1.0 / alpha) - 1.0))
    if reach > 100_000:
        raise FeatureError(
            f"alpha: found {alpha!r}, at which {reach:.0f} bars would weigh; expected at most 100,000 bars"
        )
    weights: Floats = (1.0 + np.arange(int(reach) + 2, dtype=np.float64) ** 2 / scale) ** -alpha
    return weights[weights >= SMALLEST_WEIGHT]


def nwrqk_state(bandwidth: float = 8.0, alpha: float = 8.0) -> Floats:
    """A fresh regression: three slots per weight and five more."""
    weights = nwrqk_weights(bandwidth, alpha)
    size = len(weights)
    state = np.zeros(NWRQK_HEADER + 3 * size)
    state[0] = size
    state[NWRQK_HEADER : NWRQK_HEADER + size] = weights[::-1] / weights.sum()
    return state


@kernel
def nwrqk_update(state: Floats, at: int, value: float) -> tuple[float, float]:
    """Take in the next value; the regression value, and how much it rose since the bar before. NaN while they warm up."""
    if math.isnan(value):
        for slot in range(at + 1, at + 4):
            state[slot] = 0.0
        return math.nan, math.nan
    size = int(state[at])
    place = int(state[at + 2])
    weights = at + NWRQK_HEADER
    ring = weights + size
    state[ring + place] = value
    state[ring + size + place] = value
    place += 1
    window = ring + place
    state[at + 2] = 0 if place == size else place
    if state[at + 1] < size:
        state[at + 1] += 1.0
        if state[at + 1] < size:
            return math.nan, math.nan
    # Four sums side by side: one alone would wait for each addition to end.
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    whole = size - size % 4
    for j in range(0, whole, 4):
        s0 += state[weights + j] * state[window + j]
        s1 += state[weights + j + 1] * state[window + j + 1]
        s2 += state[weights + j + 2] * state[window + j + 2]
        s3 += state[weights + j + 3] * state[window + j + 3]
    for j in range(whole, size):
        s0 += state[weights + j] * state[window + j]
    regression = (s0 + s1) + (s2 + s3)
    rise: float = regression - state[at + 4] if state[at + 3] == 1.0 else math.nan
    state[at + 3] = 1.0
    state[at + 4] = regression
    return regression, rise


@kernel
def _nwrqk_batch(values: Floats, state: Floats, out: Floats) -> None:
    for t in range(len(values)):
        out[t], _ = nwrqk_update(state, 0, values[t])
