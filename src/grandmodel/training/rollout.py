"""Playing the current policy and writing down what happened.

``Rollout`` holds T steps of N copies in preallocated arrays; ``collect`` fills it. What the critic is shown is put
together here too, so that training and bootstrapping see the same layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from grandmodel.training.batched import BatchedEnv, EnvSpec, IntArray, Seen
from grandmodel.training.errors import DivergenceError
from grandmodel.training.spaces import BoolArray, FloatArray

Choose: TypeAlias = Callable[[FloatArray, BoolArray | None, FloatArray], tuple[IntArray, FloatArray]]
"""(observations (N, A, F), legal (N, A, K) or None, noise (N, A, K)) to actions and their log probabilities, (N, A)."""


@dataclass(slots=True)
class Rollout:
    """T steps of N copies with A agents. Row T of what is seen is where the next rollout begins."""

    observations: FloatArray
    """(T + 1, N, A, F)"""
    alive: BoolArray
    """(T + 1, N, A)"""
    legal: BoolArray
    """(T + 1, N, A, K)"""
    state: FloatArray
    """(T + 1, N, S); S is 0 where the critic joins the observations."""
    actions: IntArray
    log_probabilities: FloatArray
    rewards: FloatArray
    terminated: BoolArray
    truncated: BoolArray
    """(T, N, A), like the four above."""
    masked: bool
    """Whether ``legal`` says anything that the network does not know, so that it must be applied."""
    existing: BoolArray
    """(A, K): the actions that each agent has at all."""
    cut_at: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    """Steps and copies in which an agent was truncated, ..."""
    cut_seen: list[tuple[FloatArray, BoolArray, FloatArray]] = field(default_factory=list)
    """... and the observations, living agents and state at that moment."""

    @staticmethod
    def empty(spec: EnvSpec, steps: int, count: int) -> Rollout:
        """Arrays of the right size, nothing in them yet."""
        A, F, K = spec.agent_count, spec.observation_width, spec.action_width
        seen, acted = (steps + 1, count, A), (steps, count, A)
        legal = np.broadcast_to(spec.existing_actions(), (*seen, K)).copy()
        return Rollout(
            np.zeros((*seen, F), dtype=np.float32),
            np.zeros(seen, dtype=np.bool_),
            legal,
            np.zeros((steps + 1, count, spec.state_size), dtype=np.float32),
            np.zeros(acted, dtype=np.int64),
            np.zeros(acted, dtype=np.float32),
            np.zeros(acted, dtype=np.float32),
            np.zeros(acted, dtype=np.bool_),
            np.zeros(acted, dtype=np.bool_),
            spec.padded_actions,
            spec.existing_actions(),
        )

    def record_seen(self, t: int, seen: Seen) -> None:
        """Copy what is seen at time ``t``."""
        self.observations[t] = seen.observations
        self.alive[t] = seen.alive
        if seen.action_mask is not None:
            self.legal[t] = seen.action_mask
            self.masked = True
        elif self.masked:
            self.legal[t] = self.existing
        if seen.state is not None and self.state.shape[-1]:
            self.state[t] = seen.state


@dataclass(slots=True)
class EpisodeCounter:
    """Returns of running episodes, and of those that ended since the last call of ``take``."""

    returns: NDArray[np.float64]
    """(N, A): rewards of the running episodes so far."""
    acted: BoolArray
    """(N, A): who has been alive in the running episode."""
    ended: list[float] = field(default_factory=list)

    def add(self, rewards: FloatArray, alive: BoolArray, restarted: BoolArray) -> None:
        """Count one step; an episode's return is the mean, over the agents that took part, of the sum of rewards."""
        self.returns += np.where(alive, rewards, 0.0)
        self.acted |= alive
        if restarted.any():
            sums, counts = self.returns[restarted].sum(axis=1), self.acted[restarted].sum(axis=1)
            self.ended.extend((sums / np.maximum(counts, 1)).tolist())
            self.returns[restarted] = 0.0
            self.acted[restarted] = False

    def take(self) -> list[float]:
        """The returns of the episodes that have ended, which are then forgotten."""
        ended, self.ended = self.ended, []
        return ended


def collect(
    env: BatchedEnv, seen: Seen, choose: Choose, rollout: Rollout, episodes: EpisodeCounter, noise: FloatArray
) -> Seen:
    """Fill ``rollout`` by playing T steps from ``seen``; return what is seen at the end.

    ``noise`` (T, N, A, K) is the randomness of the choices, drawn by the caller. Raises ``DivergenceError`` where an
    observation or a reward is not finite.
    """
    rollout.cut_at.clear()
    rollout.cut_seen.clear()
    for t in range(len(rollout.actions)):
        rollout.record_seen(t, seen)
        legal = rollout.legal[t] if rollout.masked else None
        rollout.actions[t], rollout.log_probabilities[t] = choose(rollout.observations[t], legal, noise[t])
        outcome = env.step(rollout.actions[t])
        rollout.rewards[t] = outcome.rewards
        rollout.terminated[t] = outcome.terminated
        rollout.truncated[t] = outcome.truncated
        _record_cut(rollout, t, outcome.truncated, outcome.final)
        episodes.add(outcome.rewards, rollout.alive[t], outcome.restarted)
        seen = outcome.seen
    rollout.record_seen(len(rollout.actions), seen)
    for name in ("observations", "rewards"):
        if not np.isfinite(getattr(rollout, name)).all():
            raise DivergenceError(f"the environment returned {name} that are not finite")
    return seen


def joint_state(spec: EnvSpec, observations: FloatArray, alive: BoolArray, state: FloatArray) -> FloatArray:
    """What the critic sees, (..., S): the environment's own state, or all observations side by side and who is alive."""
    if spec.state_size:
        return state
    flat = observations.reshape(*observations.shape[:-2], -1)  # (..., A * F)
    columns = spec.observed_columns()
    real = flat if len(columns) == flat.shape[-1] else flat[..., columns]
    return np.concatenate([real, alive.astype(np.float32)], axis=-1)


def _record_cut(rollout: Rollout, t: int, truncated: BoolArray, final: Seen) -> None:
    copies = np.flatnonzero(truncated.any(axis=1))
    if not len(copies):
        return
    last = final.of(copies)
    state = last.state if last.state is not None else rollout.state[t, copies]
    # A truncated agent no longer acts, but the value asked for is that of its going on.
    alive = last.alive | truncated[copies]
    rollout.cut_at.append((np.full(len(copies), t, dtype=np.int64), copies.astype(np.int64)))
    rollout.cut_seen.append((last.observations, alive, state))
