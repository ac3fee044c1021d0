"""One seed, split into named generators.

Each purpose draws from a stream of its own, so that, for example, a larger network does not change which minibatches
are formed. Nothing seeds a global generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel

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


def episode_seeds(seed: int, envs: NDArray[np.int64], episodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """``episode_seed`` of each of ``envs`` (K,) and its number in ``episodes`` (K,), in a hundredth of the time."""
    if not 0 <= seed < 2**63:
        return np.array(
            [episode_seed(seed, *pair) for pair in zip(envs.tolist(), episodes.tolist(), strict=True)], np.int64
        )
    seeds = np.empty(len(envs), np.int64)
    _fill_seeds(seed, envs, episodes, seeds)
    return seeds


# numpy's ``SeedSequence`` with a pool of four words (O'Neill, "Developing a seed_seq alternative", 2015): three numbers become 32-bit words,
# the words are hashed into the pool and the pool's words into one another; the first word of the state is a hash of the pool's first.
_POOL = 4
_HASH, _HASH_STEP = np.uint64(0x43B0D7E5), np.uint64(0x931E8875)
_STATE, _STATE_STEP = np.uint64(0x8B51F9DD), np.uint64(0x58F38DED)
_LEFT, _RIGHT = np.uint64(0xCA01F9DD), np.uint64(0x4973F715)
_WORD, _HALF, _BITS, _ONE = np.uint64(0xFFFFFFFF), np.uint64(16), np.uint64(32), np.uint64(1)


@kernel
def _hashed(value: Any, constant: Any, step: Any) -> tuple[Any, Any]:
    """A word hashed, and the constant for the next one."""
    following = (constant * step) & _WORD
    value = ((value ^ constant) * following) & _WORD
    return value ^ (value >> _HALF), following


@kernel
def _mixed(one: Any, other: Any) -> Any:
    value = (_LEFT * one - _RIGHT * other) & _WORD
    return value ^ (value >> _HALF)


@kernel
def _fill_seeds(seed: int, envs: NDArray[np.int64], episodes: NDArray[np.int64], seeds: NDArray[np.int64]) -> None:
    words, pool = np.zeros(2 * 3, np.uint64), np.zeros(_POOL, np.uint64)
    for k in range(len(seeds)):
        count = 0
        for number in (seed, envs[k], episodes[k]):
            left = np.uint64(number)
            words[count] = left & _WORD
            count += 1
            if left >> _BITS:
                words[count] = left >> _BITS
                count += 1
        constant = _HASH
        for i in range(_POOL):
            pool[i], constant = _hashed(words[i] if i < count else np.uint64(0), constant, _HASH_STEP)
        for i in range(_POOL):
            for j in range(_POOL):
                if i != j:
                    value, constant = _hashed(pool[i], constant, _HASH_STEP)
                    pool[j] = _mixed(pool[j], value)
        for i in range(_POOL, count):
            for j in range(_POOL):
                value, constant = _hashed(words[i], constant, _HASH_STEP)
                pool[j] = _mixed(pool[j], value)
        first, _ = _hashed(pool[0], _STATE, _STATE_STEP)
        seeds[k] = np.int64(first >> _ONE)


def save_generators(generators: dict[str, np.random.Generator]) -> dict[str, Any]:
    """The state of every generator, as plain numbers for JSON."""
    return {name: generator.bit_generator.state for name, generator in generators.items()}


def restore_generators(generators: dict[str, np.random.Generator], states: dict[str, Any]) -> None:
    """Put every generator back where ``save_generators`` found it. A missing or extra name raises ``KeyError``."""
    if set(states) != set(generators):
        raise KeyError(f"generator names {sorted(states)} were saved, {sorted(generators)} are expected")
    for name, state in states.items():
        generators[name].bit_generator.state = state
