"""The batched environment: N copies stepped together, arrays in and arrays out.

The trainer knows only this contract. ``parallel.py`` meets it for any PettingZoo parallel environment, one Python step
per copy; a compiled environment meets it without touching Python per copy (``spread.py`` is an example). Shapes: N
copies, A agents, F the widest observation, K the largest number of actions; narrower agents are padded with zeros.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.training.errors import EnvironmentContractError
from grandmodel.training.spaces import BoolArray, Coder, FloatArray, VectorCoder

IntArray: TypeAlias = NDArray[np.int64]
V = TypeVar("V")


class EnvSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who acts in an environment, and the sizes of what they see and do. All tuples have one entry per agent."""

    agents: tuple[str, ...]
    observation_sizes: tuple[int, ...]
    action_counts: tuple[int, ...]
    state_size: int = 0
    """Width of the environment's own global state; 0 where it offers none."""
    action_starts: tuple[int, ...] = ()
    """The number of the first action; empty means 0 for all."""
    coders: tuple[Coder, ...] = ()
    """How raw observations become vectors; empty means that they are vectors already."""

    def __post_init__(self) -> None:
        if not self.agents or len(set(self.agents)) != len(self.agents):
            raise EnvironmentContractError(f"agents are {self.agents}; expected at least one, each named once")
        for name in ("observation_sizes", "action_counts"):
            sizes = getattr(self, name)
            if len(sizes) != len(self.agents) or min(sizes) < 1:
                raise EnvironmentContractError(f"{name} is {sizes}; expected {len(self.agents)} numbers of 1 or more")

    @property
    def agent_count(self) -> int:
        """A: the number of agents."""
        return len(self.agents)

    @property
    def observation_width(self) -> int:
        """F: the widest observation."""
        return max(self.observation_sizes)

    @property
    def action_width(self) -> int:
        """K: the largest number of actions."""
        return max(self.action_counts)

    @property
    def padded_actions(self) -> bool:
        """Whether some agent has fewer than K actions, so that a mask is always needed."""
        return min(self.action_counts) != self.action_width

    def existing_actions(self) -> BoolArray:
        """(A, K): which action numbers an agent has at all."""
        return np.arange(self.action_width)[None, :] < np.asarray(self.action_counts)[:, None]

    def observed_columns(self) -> IntArray:
        """Positions, in a flat (A * F) row of padded observations, that carry a real column."""
        real = np.arange(self.observation_width)[None, :] < np.asarray(self.observation_sizes)[:, None]
        return np.flatnonzero(real.ravel()).astype(np.int64)

    def agent_coders(self) -> tuple[Coder, ...]:
        """One coder per agent."""
        return self.coders or tuple(VectorCoder(size=size) for size in self.observation_sizes)

    def agent_starts(self) -> tuple[int, ...]:
        """The number of each agent's first action."""
        return self.action_starts or (0,) * self.agent_count


@dataclass(frozen=True)
class Seen:
    """What is seen at one moment in all N copies. The arrays may be reused by the environment at its next step."""

    observations: FloatArray
    """(N, A, F); zero in padding and for agents that are not alive."""
    alive: BoolArray
    """(N, A): who acts next."""
    action_mask: BoolArray | None = None
    """(N, A, K): which actions are legal; None means that every action an agent has is legal."""
    state: FloatArray | None = None
    """(N, S): the global state; None where the environment has none."""

    def of(self, copies: IntArray) -> Seen:
        """The rows of some copies, as arrays of their own; ``copies`` (K,) are their numbers."""
        return Seen(
            self.observations[copies],
            self.alive[copies],
            None if self.action_mask is None else self.action_mask[copies],
            None if self.state is None else self.state[copies],
        )


class MergedSeen(Seen):
    """``seen`` with other rows at ``copies`` (K,), which rise. Who looks at those alone (``of``) costs nobody a copy of the whole."""

    _seen: Seen
    _copies: IntArray
    _rows: Seen

    def __init__(self, seen: Seen, copies: IntArray, rows: Seen) -> None:
        vars(self).update(_seen=seen, _copies=copies, _rows=rows)

    def of(self, copies: IntArray) -> Seen:
        """The rows of some copies."""
        if np.array_equal(copies, self._copies):
            return self._rows
        return super().of(copies)

    @cached_property
    def observations(self) -> FloatArray:
        """(N, A, F)"""
        return self._merge(self._seen.observations, self._rows.observations)

    @cached_property
    def alive(self) -> BoolArray:
        """(N, A)"""
        return self._merge(self._seen.alive, self._rows.alive)

    @cached_property
    def action_mask(self) -> BoolArray | None:
        """(N, A, K)"""
        return self._merge(self._seen.action_mask, self._rows.action_mask)

    @cached_property
    def state(self) -> FloatArray | None:
        """(N, S)"""
        return self._merge(self._seen.state, self._rows.state)

    def _merge(self, whole: V, rows: V) -> V:
        if isinstance(whole, np.ndarray):
            whole = whole.copy()
            whole[self._copies] = rows
        return whole


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step brought to all N copies. A copy without a living agent has been restarted already."""

    rewards: FloatArray
    """(N, A)"""
    terminated: BoolArray
    """(N, A): the agent's task has ended; nothing follows, so nothing is bootstrapped."""
    truncated: BoolArray
    """(N, A): the agent was cut off (a time limit); its future still had value."""
    restarted: BoolArray
    """(N,): whether a new episode has begun."""
    final: Seen
    """What was seen at the end of this step, before any restart. The value of a truncated agent is taken here."""
    seen: Seen
    """What is seen now: the first observations of the next episode where ``restarted``, else the same as ``final``."""


class BatchedEnv(ABC):
    """N copies of one environment. Same seed and same actions must give the same arrays."""

    spec: EnvSpec
    count: int
    """N: the number of copies."""

    @abstractmethod
    def reset(self, seed: int) -> Seen:
        """Start every copy anew; all randomness of the environment follows from ``seed``."""

    @abstractmethod
    def step(self, actions: IntArray) -> Outcome:
        """Play ``actions`` (N, A), numbered from 0 for every agent; entries of agents not alive are ignored."""

    @abstractmethod
    def save(self) -> dict[str, NDArray[np.generic]]:
        """Everything that ``restore`` needs to go on exactly from here, in the middle of episodes too."""

    @abstractmethod
    def restore(self, saved: dict[str, NDArray[np.generic]]) -> Seen:
        """Go back to what ``save`` returned, and say what is seen there."""

    def close(self) -> None:  # noqa: B027 - most environments hold nothing that must be released
        """Release what the copies hold."""
