"""Any PettingZoo parallel environment with discrete actions as a batched one.

Copies are stepped one after the other in this process. A copy is restarted with a seed made of the run's seed, its own
number and the number of its episode, so any moment of it can be reached again: restart it and play the same actions.
That is how a checkpoint restores environments that cannot save themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import AECEnv

from grandmodel.training.batched import BatchedEnv, EnvSpec, IntArray, Outcome, Seen
from grandmodel.training.errors import CheckpointError, EnvironmentContractError
from grandmodel.training.seeds import episode_seed
from grandmodel.training.spaces import BoolArray, FloatArray, build_coder, encode_observation, split_mask

V = TypeVar("V")
ABSENT = -1
"""In a log of played actions: the agent was not alive."""


@dataclass(slots=True)
class _Moment:
    """The arrays behind a ``Seen``, always all four."""

    observations: FloatArray
    alive: BoolArray
    legal: BoolArray
    state: FloatArray

    def take(self, other: _Moment, copies: int | slice) -> None:
        """Copy some copies' rows."""
        self.observations[copies] = other.observations[copies]
        self.alive[copies] = other.alive[copies]
        self.legal[copies] = other.legal[copies]
        self.state[copies] = other.state[copies]


def read_spec(env: Any, *, with_state: bool) -> EnvSpec:
    """Agents, sizes and coders of a PettingZoo parallel environment.

    Raises ``EnvironmentContractError`` for an agent-environment-cycle environment, for actions that are not
    ``Discrete``, and where ``with_state`` asks for a global state that the environment does not have.
    """
    if isinstance(env, AECEnv) or not hasattr(env, "possible_agents"):
        raise EnvironmentContractError(
            f"{type(env).__name__} is not a PettingZoo parallel environment; use its parallel_env() "
            "or pettingzoo.utils.conversions.aec_to_parallel"
        )
    agents = tuple(env.possible_agents)
    action_spaces = [env.action_space(agent) for agent in agents]
    for agent, space in zip(agents, action_spaces, strict=True):
        if not isinstance(space, spaces.Discrete):
            raise EnvironmentContractError(f"agent {agent!r} acts in {space!r}; expected a Discrete action space")
    coders = tuple(build_coder(env.observation_space(agent), str(agent)) for agent in agents)
    return EnvSpec(
        agents=tuple(str(agent) for agent in agents),
        observation_sizes=tuple(coder.size for coder in coders),
        action_counts=tuple(int(space.n) for space in action_spaces),
        action_starts=tuple(int(space.start) for space in action_spaces),
        state_size=_state_size(env) if with_state else 0,
        coders=coders,
    )


class ParallelBatch(BatchedEnv):
    """``count`` copies of ``make_env()``, a PettingZoo parallel environment.

    ``with_state`` also records ``env.state()`` at every step. ``first`` is a copy that was already built, to save one.
    ``offset`` is the number of the first copy, where several batches together are one: seeds follow from copies' numbers.
    """

    def __init__(
        self, make_env: Callable[[], Any], count: int, *, with_state: bool, first: Any | None = None, offset: int = 0
    ) -> None:
        self.count = count
        self._offset = offset
        self._copies = [make_env() if first is None else first, *(make_env() for _ in range(count - 1))]
        self._ids = tuple(self._copies[0].possible_agents)
        self.spec = read_spec(self._copies[0], with_state=with_state)
        self._coders = self.spec.agent_coders()
        self._starts = self.spec.agent_starts()
        self._seed = 0
        self._episodes = np.zeros(count, dtype=np.int64)
        self._played: list[list[IntArray]] = [[] for _ in range(count)]
        self._masked = self.spec.padded_actions
        self._existing = self.spec.existing_actions()
        self._seen = self._blank()
        self._final = self._blank()

    def reset(self, seed: int) -> Seen:
        """Start every copy anew."""
        self._seed = seed
        self._episodes[:] = -1
        for n in range(self.count):
            self._restart(n, self._seen)
        return self._view(self._seen)

    def step(self, actions: IntArray) -> Outcome:
        """Play one action per living agent in every copy; restart the copies in which nobody lives."""
        shape = (self.count, self.spec.agent_count)
        rewards = np.zeros(shape, dtype=np.float32)
        terminated = np.zeros(shape, dtype=np.bool_)
        truncated = np.zeros(shape, dtype=np.bool_)
        restarted = np.zeros(self.count, dtype=np.bool_)
        for n in range(self.count):
            rewards[n], terminated[n], truncated[n] = self._step_copy(n, actions[n])
            restarted[n] = not self._final.alive[n].any()
        self._seen.take(self._final, slice(None))
        for n in np.flatnonzero(restarted).tolist():
            self._restart(n, self._seen)
        return Outcome(rewards, terminated, truncated, restarted, self._view(self._final), self._view(self._seen))

    def read_spec(self) -> EnvSpec:
        """The spec, for callers in another process."""
        return self.spec

    def save(self) -> dict[str, NDArray[np.generic]]:
        """Seeds by number, and the actions of the running episodes."""
        lengths = np.array([len(log) for log in self._played], dtype=np.int64)
        actions = [row for log in self._played for row in log]
        empty = np.zeros((0, self.spec.agent_count), dtype=np.int64)
        return {
            "seed": np.array([self._seed], dtype=np.int64),
            "episodes": self._episodes.copy(),
            "lengths": lengths,
            "actions": np.stack(actions) if actions else empty,
            "observations": self._seen.observations.copy(),
        }

    def restore(self, saved: dict[str, NDArray[np.generic]]) -> Seen:
        """Restart each copy with the seed of its running episode and play the recorded actions again.

        Raises ``CheckpointError`` where the observations that this leads to are not the recorded ones: such an
        environment does not follow from its seed, and no run on it can be resumed exactly.
        """
        self._seed = int(saved["seed"][0])
        self._episodes = saved["episodes"].astype(np.int64) - 1
        logs = np.split(saved["actions"].astype(np.int64), np.cumsum(saved["lengths"])[:-1])
        for n, log in enumerate(logs):
            self._restart(n, self._seen)
            for row in log:
                self._step_copy(n, row)
                self._seen.take(self._final, n)
        if not np.array_equal(self._seen.observations, saved["observations"]):
            raise CheckpointError(
                "replaying the recorded actions led to other observations than those recorded; "
                "the environment draws from something else than the seed given to reset()"
            )
        return self._view(self._seen)

    def close(self) -> None:
        """Close every copy."""
        for env in self._copies:
            env.close()

    def _restart(self, n: int, into: _Moment) -> None:
        self._episodes[n] += 1
        self._played[n] = []
        observations, infos = self._copies[n].reset(
            seed=episode_seed(self._seed, self._offset + n, int(self._episodes[n]))
        )
        into.alive[n] = [agent in self._copies[n].agents for agent in self._ids]
        if not into.alive[n].any():
            raise EnvironmentContractError("reset() left no agent to act; expected at least one name in env.agents")
        self._write(n, observations, infos, into)

    def _step_copy(self, n: int, actions: IntArray) -> tuple[Any, Any, Any]:
        """Step copy ``n``, write what is then seen into ``_final``, return its rewards and ends."""
        env, alive = self._copies[n], self._seen.alive[n]
        self._played[n].append(np.where(alive, actions, ABSENT))
        choices = {agent: int(actions[a]) + self._starts[a] for a, agent in enumerate(self._ids) if alive[a]}
        observations, rewards, terminated, truncated, infos = env.step(choices)
        reward = [float(_of(rewards, agent, "rewards")) if alive[a] else 0.0 for a, agent in enumerate(self._ids)]
        ends = [
            [alive[a] and bool(_of(flags, agent, name)) for a, agent in enumerate(self._ids)]
            for name, flags in (("terminations", terminated), ("truncations", truncated))
        ]
        over = np.logical_or(ends[0], ends[1])
        listed = np.array([agent in env.agents for agent in self._ids])
        if (alive & ~listed & ~over).any():
            gone = [agent for a, agent in enumerate(self._ids) if alive[a] and not listed[a] and not over[a]]
            raise EnvironmentContractError(f"agents {gone} left env.agents without being terminated or truncated")
        self._final.alive[n] = listed & ~over
        self._write(n, observations, infos, self._final, needed=np.array(ends[1]))
        return reward, ends[0], ends[1]

    def _write(
        self,
        n: int,
        observations: Mapping[Any, Any],
        infos: Mapping[Any, Any],
        into: _Moment,
        needed: NDArray[np.bool_] | None = None,
    ) -> None:
        """Write one copy's observations, masks and state; those of living and of ``needed`` agents must be there."""
        needed = into.alive[n] if needed is None else needed | into.alive[n]
        into.observations[n] = 0.0
        into.legal[n] = self._existing
        for a, agent in enumerate(self._ids):
            if not needed[a]:
                continue
            observation, mask = split_mask(_of(observations, agent, "observations"))
            into.observations[n, a, : self.spec.observation_sizes[a]] = encode_observation(self._coders[a], observation)
            mask = infos.get(agent, {}).get("action_mask") if mask is None else mask
            if mask is not None and into.alive[n, a]:
                self._write_mask(n, a, mask, into.legal)
        if self.spec.state_size:
            into.state[n] = np.asarray(self._copies[n].state(), dtype=np.float32).ravel()

    def _write_mask(self, n: int, a: int, mask: Any, legal: BoolArray) -> None:
        self._masked = True
        count = self.spec.action_counts[a]
        allowed = np.asarray(mask).astype(np.bool_).ravel()
        if allowed.size != count or not allowed.any():
            raise EnvironmentContractError(
                f"the action mask of {self._ids[a]!r} is {mask!r}; expected {count} entries, at least one of them set"
            )
        legal[n, a, :count] = allowed

    def _blank(self) -> _Moment:
        A, F, K = self.spec.agent_count, self.spec.observation_width, self.spec.action_width
        return _Moment(
            np.zeros((self.count, A, F), dtype=np.float32),
            np.zeros((self.count, A), dtype=np.bool_),
            np.zeros((self.count, A, K), dtype=np.bool_),
            np.zeros((self.count, self.spec.state_size), dtype=np.float32),
        )

    def _view(self, moment: _Moment) -> Seen:
        """The same arrays, without the mask while no agent has ever shown one."""
        return Seen(
            moment.observations,
            moment.alive,
            moment.legal if self._masked else None,
            moment.state if self.spec.state_size else None,
        )


def _of(values: Mapping[Any, V], agent: Any, name: str) -> V:
    try:
        return values[agent]
    except KeyError as error:
        raise EnvironmentContractError(f"the environment returned no {name} for living agent {agent!r}") from error


def _state_size(env: Any) -> int:
    try:
        env.reset(seed=0)
        return int(np.asarray(env.state()).size)
    except NotImplementedError as error:
        raise EnvironmentContractError(
            f"{type(env).__name__} has no state(); set critic_input to 'observations'"
        ) from error
