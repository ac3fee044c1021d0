"""Both environments as PettingZoo parallel environments over one lane of the compiled account (``training/lanes.py``).

One copy of what ``batch.py`` holds N of, stepped by the same kernels. ``engine_form.py`` is the same environment over the whole engine;
``tests/property/test_environments.py`` holds all three to the same trajectories.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from grandmodel.features.normaliser import LIMIT
from grandmodel.kernels import table_of
from grandmodel.training.environments.batch import (
    Copies,
    build_copies,
    env_spec,
    order_slots,
    start_copies,
    step_copies,
)
from grandmodel.training.environments.episodes import EPISODE, GOES_ON, TERMINATED, TRUNCATED
from grandmodel.training.environments.rewards import TERMS
from grandmodel.training.environments.tables import Ground, Integers, Singles
from grandmodel.training.errors import EnvironmentContractError
from grandmodel.training.lanes import ACCOUNT, build_lanes, build_market_arrays
from grandmodel.training.seeds import episode_seed

Observations = dict[str, Singles]
Infos = dict[str, dict[str, float]]


class TradingParallel(ParallelEnv[str, Singles, int]):  # type: ignore[misc]  # PettingZoo publishes no types
    """The environment on ``ground``; ``grandmodel.training.strategic_env`` and ``tactical_env`` make it.

    ``reset(seed)`` fixes the market, the start and, in the tactical layer, the strategic exposures. Without a seed the next
    episode follows from the last seed given (0 before any) and its number, so a run is the same twice either way.
    """

    render_mode = None

    def __init__(self, ground: Ground) -> None:
        self.ground, self.spec = ground, env_spec(ground)
        self.metadata = {"name": f"grandmodel_{ground.layer}_v1", "render_modes": [], "is_parallelizable": True}
        self.possible_agents = list(self.spec.agents)
        self.agents: list[str] = []
        self.observation_spaces = {
            agent: _box(size) for agent, size in zip(self.spec.agents, self.spec.observation_sizes, strict=True)
        }
        self.action_spaces = {
            agent: spaces.Discrete(count)
            for agent, count in zip(self.spec.agents, self.spec.action_counts, strict=True)
        }
        self.state_space = _box(self.spec.state_size)
        self._stamps = np.concatenate([market.ts_event for market in ground.markets])
        self._copies = self._build_copies()
        self._handle = table_of(self._copies)
        self._actions = np.zeros((1, self.spec.agent_count), np.int64)
        self._seed, self._unseeded = 0, 0

    def observation_space(self, agent: str) -> spaces.Box:
        """A vector: the newest rows of the agent's columns, flattened oldest first, then its tail."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """The agent's actions, in the order of ``models/architecture.py``."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observations, Infos]:  # noqa: ARG002
        """Begin an episode: flat, at a start that follows from the seed."""
        if seed is None:
            self._unseeded += 1
            chosen = episode_seed(self._seed, 0, self._unseeded)
        else:
            self._seed, self._unseeded, chosen = seed, 0, seed
        self._start(chosen)
        self._copies.terms[:] = 0.0
        self.agents = list(self.possible_agents)
        return self._seen(), self._infos()

    def step(
        self, actions: dict[str, int]
    ) -> tuple[Observations, dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Play one bar. All agents act, are rewarded alike and end together."""
        if not self.agents:
            raise EnvironmentContractError("found no living agent, expected reset() before step()")
        self._play(self._numbered(actions))
        end = int(self._copies.ends[0])
        first, second, third, fourth = self._copies.terms[0].tolist()
        seen, infos = self._seen(), self._infos()
        if end != GOES_ON:
            self.agents = []
        everyone = self.possible_agents
        return (
            seen,
            dict.fromkeys(everyone, first + second + third + fourth),
            dict.fromkeys(everyone, end == TERMINATED),
            dict.fromkeys(everyone, end == TRUNCATED),
            infos,
        )

    def state(self) -> Singles:
        """The newest normalised row of the matrix and the tail: what a centralised critic needs."""
        newest: Singles = self._copies.state[0].copy()
        return newest

    def render(self) -> None:
        """Nothing: ``docs/models/environments.md`` shows how to draw an episode."""

    def close(self) -> None:
        """Nothing is held open."""

    def _build_copies(self) -> Copies:
        """The memory of the only copy."""
        lane = self.ground.settings.lane
        self._markets = build_market_arrays(self.ground.markets, lane)
        self._lanes = build_lanes(1, lane, orders=order_slots(self.ground))
        return build_copies(self.ground, self.spec, self._lanes.account, table_of(self._lanes), table_of(self._markets))

    def _start(self, seed: int) -> None:
        """Begin the episode of ``seed``."""
        start_copies(self._handle, _FIRST, np.array([seed], np.int64))

    def _play(self, actions: Integers) -> None:
        """One step with ``actions`` (1, A)."""
        step_copies(self._handle, actions, True)

    def _numbered(self, actions: dict[str, int]) -> Integers:
        """(1, A) in the agents' order; refuses what no action is."""
        row = self._actions
        for a, agent in enumerate(self.possible_agents):
            if agent not in actions:
                raise EnvironmentContractError(f"found no action of {agent!r}, expected one of every living agent")
            action = actions[agent]
            is_one = type(action) is int and 0 <= action < self.spec.action_counts[a]
            if not (is_one or self.action_spaces[agent].contains(action)):
                raise EnvironmentContractError(
                    f"found action {action!r} of {agent!r}, expected a whole number from 0 to {self.spec.action_counts[a] - 1}"
                )
            row[0, a] = action
        return row

    def _seen(self) -> Observations:
        observations = self._copies.observations[0]
        return {
            agent: observations[a, :size].copy()
            for a, (agent, size) in enumerate(zip(self.spec.agents, self.spec.observation_sizes, strict=True))
        }

    def _infos(self) -> Infos:
        """Terms of the newest reward, and how the account stands: the same for all agents."""
        account, episode = self._copies.account[0].item(), self._copies.episodes[0].item()
        info: dict[str, float] = dict(zip(_REWARDS, self._copies.terms[0].tolist(), strict=True))
        for name, place in _TOLD:
            info[name] = float(account[place])
        info["ts_event"] = float(self._stamps[account[_ROW]])
        info["target_lots"], info["exposure"] = float(episode[_TARGET]), episode[_EXPOSURE]
        return {agent: info.copy() for agent in self.possible_agents}


_FIRST = np.zeros(1, np.int64)
_REWARDS = tuple(f"reward_{name}" for name in TERMS)
_ACCOUNT, _EPISODE = ACCOUNT.names or (), EPISODE.names or ()
_TOLD = tuple(
    (name, _ACCOUNT.index(name))
    for name in ("equity_micros", "peak_micros", "lots", "fees_micros", "traded_lots", "refused_lots")
)
_ROW, _TARGET, _EXPOSURE = _ACCOUNT.index("row"), _EPISODE.index("target"), _EPISODE.index("exposure")


def _box(size: int) -> spaces.Box:
    return spaces.Box(-LIMIT, LIMIT, (size,), np.float32)
