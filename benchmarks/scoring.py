"""Scoring a policy on a PettingZoo parallel environment, in the environment's own unit.

``random_act`` and the two rules below are what a score is read beside: no thought, and a few lines of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import permutations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grandmodel.training.seeds import episode_seed

Act: TypeAlias = Callable[[Mapping[Any, Any]], Mapping[Any, int]]

COAST = 0.4
"""In mpe2 a body at speed v coasts another 0.4 v: 0.1 s per step, a quarter of the speed lost at each."""
CLOSE = 0.1
"""Half of what one push moves a body in the end; nearer than this, a push does not help."""


def score_episodes(make_env: Callable[[], Any], act: Act, episodes: int, seed: int) -> NDArray[np.float64]:
    """Returns (episodes,): per episode the mean over agents of the undiscounted sum of their rewards.

    ``act`` maps observations to actions; episode i starts from a seed made of ``seed`` and i, so that two policies are
    scored on the same starts.
    """
    env = make_env()
    returns = np.zeros(episodes)
    for episode in range(episodes):
        observations, _ = env.reset(seed=episode_seed(seed, 0, episode))
        agents = len(env.agents)
        while env.agents:
            observations, rewards, _, _, _ = env.step(act({agent: observations[agent] for agent in env.agents}))
            returns[episode] += sum(rewards.values()) / agents
    env.close()
    return returns


def random_act(spaces: Mapping[Any, Any], generator: np.random.Generator) -> Act:
    """A policy that draws uniformly from each agent's discrete action space."""

    def act(observations: Mapping[Any, Any]) -> dict[Any, int]:
        return {a: int(spaces[a].start) + int(generator.integers(spaces[a].n)) for a in observations}

    return act


def spread_rule(observations: Mapping[Any, NDArray[np.float32]]) -> dict[Any, int]:
    """simple_spread by rule: the pairing of agents and landmarks with the least total distance, then straight there.

    Every agent sees all positions, so each finds the same pairing by itself.
    """
    actions = {}
    for number, (agent, seen) in enumerate(observations.items()):
        n = len(observations)
        landmarks = seen[4 : 4 + 2 * n].reshape(n, 2)  # (n, 2), relative to this agent
        others = seen[4 + 2 * n : 2 + 4 * n].reshape(n - 1, 2)
        bodies = np.insert(others, number, 0.0, axis=0)
        distance = np.linalg.norm(bodies[:, None] - landmarks[None], axis=-1)
        best = min(permutations(range(n)), key=lambda order: sum(distance[i, j] for i, j in enumerate(order)))
        actions[agent] = push_towards(landmarks[best[number]], seen[0:2])
    return actions


def speaker_listener_rule(observations: Mapping[Any, NDArray[np.float32]]) -> dict[Any, int]:
    """simple_speaker_listener by rule: say the number of the goal; go to the landmark whose number was heard."""
    actions = {"speaker_0": int(np.argmax(observations["speaker_0"]))}
    seen = observations["listener_0"]
    heard = seen[8:11]
    target = seen[2:8].reshape(3, 2)[int(np.argmax(heard))] if heard.any() else np.zeros(2)
    return actions | {"listener_0": push_towards(target, seen[0:2])}


def push_towards(offset: NDArray[Any], velocity: NDArray[Any]) -> int:
    """The push that reduces most what would be left of ``offset`` after coasting: 0 none, 1 left, 2 right, 3 down, 4 up."""
    left = offset - COAST * velocity
    axis = int(np.argmax(np.abs(left)))
    if abs(left[axis]) < CLOSE:
        return 0
    return 1 + 2 * axis + int(left[axis] > 0.0)
