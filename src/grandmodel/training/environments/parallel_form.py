"""Both environments as PettingZoo parallel environments over the real engine (``training/engine_episode.py``).

One copy of what ``batch.py`` holds N of, and the same kernels in the same order; the account is the engine's own. So a step here
is what trading does, and a step there is held to it by ``tests/property/test_environments.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from grandmodel.features.normaliser import LIMIT
from grandmodel.training.engine_episode import EngineEpisode
from grandmodel.training.environments.batch import env_spec
from grandmodel.training.environments.episodes import (
    EPISODE,
    GOES_ON,
    TERMINATED,
    TRUNCATED,
    begin,
    build_numbers,
    draw_start,
    find_end,
    next_exposure,
    reward,
)
from grandmodel.training.environments.rewards import TERMS
from grandmodel.training.environments.strategic import decide_strategic, observe_strategic
from grandmodel.training.environments.tables import Ground
from grandmodel.training.environments.tactical import decide_tactical, observe_tactical
from grandmodel.training.errors import EnvironmentContractError
from grandmodel.training.lanes import ACCOUNT, AccountView
from grandmodel.training.seeds import episode_seed

Singles = NDArray[np.float32]
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
        self.numbers = build_numbers(ground.layer, ground.settings)
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
        self._firsts = np.cumsum([0, *(len(market.bars) for market in ground.markets)])
        self._accounts, self._episodes = np.zeros(1, ACCOUNT), np.zeros(1, EPISODE)
        self._terms = np.zeros(len(TERMS))
        self._observations = np.zeros((1, self.spec.agent_count, self.spec.observation_width), np.float32)
        self._state = np.zeros((1, self.spec.state_size), np.float32)
        self._engines: dict[int, EngineEpisode] = {}
        self._seed, self._unseeded = 0, 0
        self._is_tactical = ground.layer == "tactical"

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
        market, g = draw_start(self.ground.tables, chosen)
        self._market = market
        if market not in self._engines:
            self._engines[market] = EngineEpisode(self.ground.markets[market], self.ground.settings.lane)
        self._engine = self._engines[market]
        self._show(self._engine.start(int(g - self._firsts[market])))
        begin(self.ground.tables, self._episodes, 0, chosen, g)
        self._terms[:] = 0.0
        self._observe()
        self.agents = list(self.possible_agents)
        return self._seen(), self._infos()

    def step(
        self, actions: dict[str, int]
    ) -> tuple[Observations, dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Play one bar. All agents act, are rewarded alike and end together."""
        if not self.agents:
            raise EnvironmentContractError("found no living agent, expected reset() before step()")
        tables, account, episode = self.ground.tables, self._accounts[0], self._episodes[0]
        chosen = self._numbered(actions)
        if self._is_tactical:
            decide_tactical(tables, self.numbers, self._accounts, self._episodes, 0, chosen)
        else:
            decide_strategic(self.numbers, self._accounts, self._episodes, 0, chosen)
        if episode["wish_asked"]:
            self._engine.pursue(int(episode["wish_lots"]), int(episode["wish_urgency"]), int(episode["wish_stop"]))
        self._engine.advance()
        self._show(self._engine.view)
        end = find_end(tables, self.numbers, account, episode)
        if end != GOES_ON:
            self._show(self._engine.settle())
        earned = reward(tables, self.numbers, account, episode, self._is_tactical, self._terms)
        next_exposure(tables, account, episode)
        self._observe()
        seen, infos = self._seen(), self._infos()
        if end != GOES_ON:
            self.agents = []
        everyone = self.possible_agents
        return (
            seen,
            dict.fromkeys(everyone, earned),
            dict.fromkeys(everyone, end == TERMINATED),
            dict.fromkeys(everyone, end == TRUNCATED),
            infos,
        )

    def state(self) -> Singles:
        """The newest normalised row of the matrix and the tail: what a centralised critic needs."""
        newest: Singles = self._state[0].copy()
        return newest

    def render(self) -> None:
        """Nothing: ``docs/models/environments.md`` shows how to draw an episode."""

    def close(self) -> None:
        """Nothing is held open."""

    def _numbered(self, actions: dict[str, int]) -> NDArray[np.int64]:
        """(1, A) in the agents' order; refuses what no action is."""
        row = np.zeros((1, len(self.possible_agents)), np.int64)
        for a, agent in enumerate(self.possible_agents):
            if agent not in actions:
                raise EnvironmentContractError(f"found no action of {agent!r}, expected one of every living agent")
            if not self.action_spaces[agent].contains(actions[agent]):
                raise EnvironmentContractError(
                    f"found action {actions[agent]!r} of {agent!r}, expected a whole number from 0 to {self.spec.action_counts[a] - 1}"
                )
            row[0, a] = actions[agent]
        return row

    def _show(self, view: AccountView) -> None:
        """Bring the account's row up to the engine's view; rows there count within the market, here over all."""
        account = self._accounts[0]
        for name in _VIEWED:
            account[name] = getattr(view, name)
        account["market"] = self._market
        account["row"] += self._firsts[self._market]

    def _observe(self) -> None:
        observe = observe_tactical if self._is_tactical else observe_strategic
        observe(self.ground.tables, self.numbers, self._accounts, self._episodes, 0, self._observations, self._state)

    def _seen(self) -> Observations:
        return {
            agent: self._observations[0, a, :size].copy()
            for a, (agent, size) in enumerate(zip(self.spec.agents, self.spec.observation_sizes, strict=True))
        }

    def _infos(self) -> Infos:
        """Terms of the newest reward, and how the account stands: the same for all agents."""
        account, episode = self._accounts[0], self._episodes[0]
        info = {f"reward_{name}": float(value) for name, value in zip(TERMS, self._terms, strict=True)}
        info |= {name: float(account[name]) for name in _TOLD}
        info |= {
            "ts_event": float(self.ground.markets[self._market].ts_event[account["row"] - self._firsts[self._market]]),
            "target_lots": float(episode["target"]),
            "exposure": float(episode["exposure"]),
        }
        return {agent: dict(info) for agent in self.possible_agents}


_VIEWED = tuple(AccountView.__slots__)
_TOLD = ("equity_micros", "peak_micros", "lots", "fees_micros", "traded_lots", "refused_lots")


def _box(size: int) -> spaces.Box:
    return spaces.Box(-LIMIT, LIMIT, (size,), np.float32)
