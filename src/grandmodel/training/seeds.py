"""One seed, split into named generators.

Each purpose draws from a stream of its own, so that, for example, a larger network does not change which minibatches
are formed. Nothing seeds a global generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np

STREAMS = ("environments", "initialisation", "exploration", "minibatches", "evaluation")


def build_generators(seed: int) -> dict[str, np.random.Generator]:
    """One independent numpy generator per name in ``STREAMS``, all derived from ``seed``."""
    children = np.random.SeedSequence(seed).spawn(len(STREAMS))
    return {name: np.random.Generator(np.random.PCG64(child)) for name, child in zip(STREAMS, children, strict=True)}


def draw_seed(generator: np.random.Generator) -> int:
    """A seed in [0, 2^31), the range that every environment and torch accept."""
    return int(generator.integers(2**31))


def episode_seed(seed: int, env: int, episode: int) -> int:
    """The seed of episode number ``episode`` of environment copy ``env``: the same three numbers, the same episode."""
    return int(np.random.SeedSequence((seed, env, episode)).generate_state(1)[0] >> 1)


def save_generators(generators: dict[str, np.random.Generator]) -> dict[str, Any]:
    """The state of every generator, as plain numbers for JSON."""
    return {name: generator.bit_generator.state for name, generator in generators.items()}


def restore_generators(generators: dict[str, np.random.Generator], states: dict[str, Any]) -> None:
    """Put every generator back where ``save_generators`` found it. A missing or extra name raises ``KeyError``."""
    if set(states) != set(generators):
        raise KeyError(f"generator names {sorted(states)} were saved, {sorted(generators)} are expected")
    for name, state in states.items():
        generators[name].bit_generator.state = state
