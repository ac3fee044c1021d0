"""Small PettingZoo parallel environments whose optimum is known, for the trainer's tests."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Game(ParallelEnv[str, Any, int]):
    """The parts that the games below share: names, spaces, one generator seeded by ``reset``."""

    metadata: ClassVar[dict[str, Any]] = {"name": "game_v0", "render_modes": []}
    render_mode = None
    sizes: ClassVar[dict[str, int]]
    actions: ClassVar[dict[str, Any]]

    def __init__(self) -> None:
        self.possible_agents = list(self.sizes)
        self.boxes = {agent: spaces.Box(-10.0, 10.0, (size,), np.float32) for agent, size in self.sizes.items()}
        self.agents: list[str] = []
        self.rng = np.random.default_rng(0)
        self.time = 0

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.boxes[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.actions[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ARG002 - PettingZoo's signature
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.time = 0
        self.begin()
        return {a: self.look(a) for a in self.agents}, {a: self.info(a) for a in self.agents}

    def begin(self) -> None: ...

    def info(self, agent: str) -> dict[str, Any]:  # noqa: ARG002 - games with masks read it
        return {}

    def look(self, agent: str) -> Any:
        raise NotImplementedError


class MatrixGame(Game):
    """One move each, one payoff for both: the best pair is (2, 0), worth 8; a timid pair is worth 5 whatever happens."""

    sizes: ClassVar[dict[str, int]] = {"row": 1, "column": 2}
    actions: ClassVar[dict[str, Any]] = {"row": spaces.Discrete(3), "column": spaces.Discrete(2, start=7)}
    payoff = np.array([[5.0, 0.0], [0.0, 6.0], [8.0, -2.0]])

    def look(self, agent: str) -> Any:
        return np.ones(self.sizes[agent], dtype=np.float32)

    def step(self, actions: dict[str, int]) -> Any:
        paid = float(self.payoff[actions["row"], actions["column"] - 7])
        names, self.agents = self.agents, []
        return (
            {a: self.look(a) for a in names},
            dict.fromkeys(names, paid),
            dict.fromkeys(names, True),
            dict.fromkeys(names, False),
            {a: {} for a in names},
        )


class DelayedTeamGame(Game):
    """Each agent is shown a bit at each of four steps and should repeat it; only the last step pays, the team's share
    of bits repeated. The optimum is 1.0, chance 0.5.
    """

    sizes: ClassVar[dict[str, int]] = {"left": 2, "right": 3}
    actions: ClassVar[dict[str, Any]] = {"left": spaces.Discrete(2), "right": spaces.Discrete(2)}
    length = 4

    def begin(self) -> None:
        self.bits = self.rng.integers(2, size=(self.length + 1, 2))
        self.right = 0

    def look(self, agent: str) -> Any:
        seen = np.zeros(self.sizes[agent], dtype=np.float32)
        seen[self.bits[self.time, self.possible_agents.index(agent)]] = 1.0
        return seen

    def step(self, actions: dict[str, int]) -> Any:
        names = self.agents
        self.right += sum(int(actions[a]) == int(self.bits[self.time, i]) for i, a in enumerate(names))
        self.time += 1
        over = self.time == self.length
        paid = self.right / (2 * self.length) if over else 0.0
        self.agents = [] if over else names
        return (
            {a: self.look(a) for a in names},
            dict.fromkeys(names, paid),
            dict.fromkeys(names, over),
            dict.fromkeys(names, False),
            {a: {} for a in names},
        )


class MaskedGame(Game):
    """Some actions are illegal at each step, and playing one raises. A legal action pays its number; ``how`` says
    whether the mask comes in the observation or in the info.
    """

    sizes: ClassVar[dict[str, int]] = {"a": 4, "b": 3}
    actions: ClassVar[dict[str, Any]] = {"a": spaces.Discrete(4), "b": spaces.Discrete(3)}

    def __init__(self, how: str = "observation") -> None:
        super().__init__()
        self.how = how

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        box = super().observation_space(agent)
        if self.how == "info":
            return box
        return spaces.Dict({"observation": box, "action_mask": spaces.MultiBinary(self.sizes[agent])})

    def begin(self) -> None:
        self.masks = {a: self._draw(a) for a in self.possible_agents}

    def _draw(self, agent: str) -> Any:
        mask = self.rng.random(self.sizes[agent]) < 0.5
        mask[self.rng.integers(len(mask))] = True
        return mask.astype(np.int8)

    def info(self, agent: str) -> dict[str, Any]:
        return {"action_mask": self.masks[agent]} if self.how == "info" else {}

    def look(self, agent: str) -> Any:
        seen = self.masks[agent].astype(np.float32)
        return seen if self.how == "info" else {"observation": seen, "action_mask": self.masks[agent]}

    def step(self, actions: dict[str, int]) -> Any:
        names = self.agents
        for agent, action in actions.items():
            if not self.masks[agent][action]:
                raise ValueError(f"{agent} played {action}, which is not legal")
        rewards = {a: float(actions[a]) for a in names}
        self.time += 1
        self.begin()
        over = self.time == 5
        self.agents = [] if over else names
        return (
            {a: self.look(a) for a in names},
            rewards,
            dict.fromkeys(names, False),
            dict.fromkeys(names, over),
            {a: self.info(a) for a in names},
        )


class MortalGame(Game):
    """Three agents that die one by one at random, some by termination and some by truncation."""

    sizes: ClassVar[dict[str, int]] = {"x": 2, "y": 2, "z": 4}
    actions: ClassVar[dict[str, Any]] = {"x": spaces.Discrete(2), "y": spaces.Discrete(3), "z": spaces.Discrete(2)}

    def look(self, agent: str) -> Any:
        return self.rng.normal(size=self.sizes[agent]).astype(np.float32)

    def state(self) -> Any:
        return np.array([self.time, len(self.agents)], dtype=np.float32)

    def step(self, actions: dict[str, int]) -> Any:
        if set(actions) != set(self.agents):
            raise ValueError(f"actions of {sorted(actions)} came, {self.agents} are alive")
        names = self.agents
        self.time += 1
        ends = {a: self.rng.random() < 0.25 for a in names}
        cut = {a: self.time == 6 and not ends[a] for a in names}
        observations = {a: self.look(a) for a in names}
        self.agents = [a for a in names if not ends[a] and not cut[a]]
        rewards = {a: float(actions[a] == 1) for a in names}
        return observations, rewards, ends, cut, {a: {} for a in names}
