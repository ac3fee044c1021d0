"""All chance of an environment: numbers that follow from (seed, purpose, counter) alone.

No generator has a state here, so a compiled batch and a single Python environment meet the same chance without drawing in the
same order, and a moment in mid-episode is saved by three integers. The mixing is SplitMix64's finaliser (Steele, Lea and Flood,
2014), applied once per number mixed in.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from grandmodel.kernels import kernel

MARKET, START, EXPOSURE_CHANGE, EXPOSURE_IS_FLAT, EXPOSURE, EPISODE = 1, 2, 3, 4, 5, 6
"""Purposes: each has numbers of its own."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_U30, _U27, _U31, _U11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 2.0**-53


@kernel
def _mixed(word: Any, more: int) -> Any:
    z = (word ^ np.uint64(more)) + _GOLDEN
    z = (z ^ (z >> _U30)) * _MIX_1
    z = (z ^ (z >> _U27)) * _MIX_2
    return z ^ (z >> _U31)


@kernel
def draw_unit(seed: int, purpose: int, counter: int) -> float:
    """A uniform number in [0, 1), 53 bits."""
    word = _mixed(_mixed(_mixed(_GOLDEN, seed), purpose), counter)
    return float(np.float64(word >> _U11) * _TO_UNIT)


@kernel
def draw_below(seed: int, purpose: int, counter: int, count: int) -> int:
    """A uniform integer in [0, ``count``)."""
    return min(int(draw_unit(seed, purpose, counter) * count), count - 1)
