"""Observation spaces as flat float vectors.

A coder is the description of how one agent's observation becomes a vector: data that is saved with the weights, so that
a trained policy reads raw observations without the environment that it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from grandmodel.training.errors import EnvironmentContractError

FloatArray: TypeAlias = NDArray[np.float32]
BoolArray: TypeAlias = NDArray[np.bool_]


class VectorCoder(msgspec.Struct, frozen=True, kw_only=True, tag="vector", forbid_unknown_fields=True):
    """Numbers of any shape, read row by row."""

    size: int


class OneHotCoder(msgspec.Struct, frozen=True, kw_only=True, tag="one_hot", forbid_unknown_fields=True):
    """Choices, each as a one-hot vector: ``counts`` choices starting at ``starts``."""

    counts: tuple[int, ...]
    starts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(self.counts)


class TreeCoder(msgspec.Struct, frozen=True, kw_only=True, tag="tree", forbid_unknown_fields=True):
    """Named or numbered parts, one after the other."""

    keys: tuple[str | int, ...]
    parts: tuple[VectorCoder | OneHotCoder | TreeCoder, ...]

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(part.size for part in self.parts)


Coder: TypeAlias = VectorCoder | OneHotCoder | TreeCoder


def build_coder(space: spaces.Space[Any], agent: str) -> Coder:
    """The coder of one observation space.

    A dict space with the keys ``observation`` and ``action_mask`` is PettingZoo's way to carry a mask: only its
    ``observation`` is coded. Raises ``EnvironmentContractError`` for a space that has no flat vector (text, graphs,
    sequences).
    """
    match space:
        case spaces.Box():
            return VectorCoder(size=int(np.prod(space.shape, dtype=np.int64)))
        case spaces.MultiBinary():
            return VectorCoder(size=int(np.prod(space.shape, dtype=np.int64)))
        case spaces.Discrete():
            return OneHotCoder(counts=(int(space.n),), starts=(int(space.start),))
        case spaces.MultiDiscrete():
            counts = tuple(int(n) for n in np.ravel(space.nvec))
            return OneHotCoder(counts=counts, starts=tuple(int(s) for s in np.ravel(space.start)))
        case spaces.Dict():
            if carries_mask(space):
                return build_coder(space["observation"], agent)
            keys = tuple(space.keys())
            return TreeCoder(keys=keys, parts=tuple(build_coder(space[key], agent) for key in keys))
        case spaces.Tuple():
            return TreeCoder(
                keys=tuple(range(len(space))), parts=tuple(build_coder(part, agent) for part in space.spaces)
            )
    raise EnvironmentContractError(
        f"agent {agent!r} observes {space!r}, which has no fixed vector; "
        "expected Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of these"
    )


def carries_mask(space: spaces.Space[Any]) -> bool:
    """Whether the space is a dict of exactly ``observation`` and ``action_mask``."""
    return isinstance(space, spaces.Dict) and set(space.keys()) == {"observation", "action_mask"}


def split_mask(observation: Any) -> tuple[Any, Any | None]:
    """Observation and action mask of one agent; the mask is None where the observation carries none."""
    if isinstance(observation, Mapping) and set(observation) == {"observation", "action_mask"}:
        return observation["observation"], observation["action_mask"]
    return observation, None


def encode_observation(coder: Coder, observation: Any) -> FloatArray:
    """The observation as a float32 vector of ``coder.size`` entries. Raises ``EnvironmentContractError`` on a misfit."""
    match coder:
        case VectorCoder():
            vector = np.asarray(observation, dtype=np.float32).ravel()
            if vector.size != coder.size:
                raise EnvironmentContractError(f"an observation has {vector.size} numbers, its space has {coder.size}")
            return vector
        case OneHotCoder():
            choices = np.ravel(observation)
            if choices.size != len(coder.counts):
                raise EnvironmentContractError(
                    f"an observation has {choices.size} choices, its space has {len(coder.counts)}"
                )
            return _one_hot(choices, coder)
        case TreeCoder():
            parts = zip(coder.keys, coder.parts, strict=True)
            return np.concatenate([encode_observation(part, observation[key]) for key, part in parts])


def _one_hot(choices: NDArray[Any], coder: OneHotCoder) -> FloatArray:
    vector = np.zeros(coder.size, dtype=np.float32)
    offset = 0
    for choice, count, start in zip(choices, coder.counts, coder.starts, strict=True):
        index = int(choice) - start
        if not 0 <= index < count:
            raise EnvironmentContractError(f"an observation is {choice}, outside [{start}, {start + count})")
        vector[offset + index] = 1.0
        offset += count
    return vector
