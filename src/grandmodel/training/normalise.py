"""Running mean and scale of values and of observations, and the way back.

``Moments`` are sums, so one formula serves both an exact mean over all data (decay 1) and an exponentially forgetting one
(decay below 1) without a start-up bias: old sums shrink by ``decay`` at each update, new ones are added whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
VARIANCE_FLOOR = 1e-4
"""A column that hardly moves is divided by 0.01, not by nothing."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Weighted count, sum and sum of squares, one entry per column; all float64 of one shape."""

    weight: Array
    total: Array
    squares: Array

    @staticmethod
    def empty(shape: tuple[int, ...]) -> Moments:
        """Nothing seen yet: mean 0, scale 1."""
        return Moments(np.zeros(shape), np.zeros(shape), np.zeros(shape))

    @property
    def mean(self) -> Array:
        """Mean per column; 0 where nothing was seen."""
        return self.total / np.maximum(self.weight, 1e-12)

    @property
    def scale(self) -> Array:
        """Standard deviation per column, at least the root of ``VARIANCE_FLOOR``; 1 where nothing was seen."""
        variance = self.squares / np.maximum(self.weight, 1e-12) - self.mean**2
        return np.where(self.weight > 0.0, np.sqrt(np.maximum(variance, VARIANCE_FLOOR)), 1.0)


def update_moments(moments: Moments, values: Array, counted: NDArray[np.bool_], decay: float) -> Moments:
    """Add rows ``values`` (B, ...) where ``counted`` (B, ... or broadcastable to it) is True; older sums shrink by ``decay``."""
    weights = np.broadcast_to(counted, values.shape).astype(np.float64)
    kept = np.where(weights > 0.0, values, 0.0)
    return Moments(
        decay * moments.weight + weights.sum(axis=0),
        decay * moments.total + kept.sum(axis=0),
        decay * moments.squares + (kept**2).sum(axis=0),
    )


def standardise(values: Array, moments: Moments) -> Array:
    """(value - mean) / scale, column by column."""
    return (values - moments.mean) / moments.scale


@dataclass(frozen=True, slots=True)
class Scale:
    """Moments made ready for network inputs: float32, held within ``bound`` standard deviations."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    bound: np.float32

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardise and hold. A column that was always zero, as padding is, stays zero."""
        held: NDArray[np.float32] = np.clip((values - self.mean) / self.scale, -self.bound, self.bound)
        return held


def build_scale(moments: Moments, bound: float = 10.0) -> Scale:
    """The moments as they are now, in float32."""
    return Scale(moments.mean.astype(np.float32), moments.scale.astype(np.float32), np.float32(bound))


def restore(standardised: Array, moments: Moments) -> Array:
    """The inverse of ``standardise``."""
    return standardised * moments.scale + moments.mean


@torch.no_grad()
def rescale_output(weight: torch.Tensor, bias: torch.Tensor, old: Moments, new: Moments) -> None:
    """Change a linear layer in place so that its restored output is the same under ``new`` as it was under ``old``.

    ``weight`` is (columns, inputs), ``bias`` (columns,). Source: van Hasselt et al. 2016, "Learning values across many
    orders of magnitude" (the output-preserving step of PopArt).
    """
    ratio = torch.as_tensor(old.scale / new.scale, dtype=weight.dtype, device=weight.device)
    shift = torch.as_tensor((old.mean - new.mean) / new.scale, dtype=weight.dtype, device=weight.device)
    weight.mul_(ratio[:, None])
    bias.mul_(ratio).add_(shift)
