"""Returns and advantages: pure functions of arrays, one axis of time, any axes of environments and agents behind it."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


def generalised_advantages(
    reward_tp1: Array,
    value_t: Array,
    value_tp1: Array,
    terminated_tp1: Flags,
    truncated_tp1: Flags,
    alive_t: Flags,
    discount: float,
    trace_decay: float,
) -> Array:
    """Generalised advantage estimates, (T, ...), for agents that may end, be cut off, or be absent.

    ::

        delta_t     = r_{t+1} + discount * V(s_{t+1}) * [not terminated] - V(s_t)
        advantage_t = delta_t + discount * trace_decay * [goes on] * advantage_{t+1}

    Every argument is (T, ...). ``reward_tp1[t]`` was earned by the action at t; ``value_tp1[t]`` is the value of what that
    action led to **within the same episode**: after a truncation it is the value of the last observation before the
    restart, never of the first one after it. Termination drops that value; truncation keeps it; both stop the trace.
    Where ``alive_t`` is False nobody acted and the advantage is 0. The trace beyond the last row is 0, which leaves
    ``value_tp1[-1]`` as the bootstrap.

    Source: Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", eq. 16.
    """
    if not (reward_tp1.shape == value_t.shape == value_tp1.shape == alive_t.shape):
        raise ValueError(f"shapes differ: {reward_tp1.shape}, {value_t.shape}, {value_tp1.shape}, {alive_t.shape}")
    delta = reward_tp1 + discount * value_tp1 * ~terminated_tp1 - value_t
    goes_on = discount * trace_decay * ~(terminated_tp1 | truncated_tp1)
    advantages = np.zeros_like(delta)
    following = np.zeros(delta.shape[1:])
    for t in range(len(delta) - 1, -1, -1):
        following = np.where(alive_t[t], delta[t] + goes_on[t] * following, 0.0)
        advantages[t] = following
    return advantages


def standardise_advantages(advantages: Array, alive: Flags) -> Array:
    """Shift and scale to mean 0 and standard deviation 1 over the living entries; the others become 0."""
    living = advantages[alive]
    if living.size == 0:
        return np.zeros_like(advantages)
    return np.where(alive, (advantages - living.mean()) / (living.std() + 1e-8), 0.0)


def explained_variance(predictions: Array, targets: Array, alive: Flags) -> float:
    """1 - Var(target - prediction) / Var(target) over the living entries; NaN where the targets do not vary."""
    target = targets[alive]
    spread = float(np.var(target)) if target.size else 0.0
    if spread == 0.0:
        return float("nan")
    return 1.0 - float(np.var(target - predictions[alive])) / spread
