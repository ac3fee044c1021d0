"""Observations of every supported kind as vectors."""

import msgspec
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces.utils import flatten

from grandmodel.training.errors import EnvironmentContractError
from grandmodel.training.spaces import Coder, build_coder, encode_observation, split_mask

NESTED = spaces.Dict(
    {"near": spaces.Tuple((spaces.Discrete(3), spaces.Box(0, 1, (2,), np.float64))), "far": spaces.MultiBinary(4)}
)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3,), np.float32),
        spaces.Box(0, 255, (2, 3, 1), np.uint8),
        spaces.Discrete(5),
        spaces.MultiBinary((2, 2)),
        spaces.MultiDiscrete([2, 5, 3]),
        NESTED,
    ],
)
def test_vectors_equal_gymnasiums_and_survive_being_saved(space):
    space.seed(3)
    coder = msgspec.convert(msgspec.to_builtins(build_coder(space, "a")), Coder)
    for _ in range(10):
        observation = space.sample()
        vector = encode_observation(coder, observation)
        assert vector.dtype == np.float32
        assert vector.shape == (coder.size,)
        np.testing.assert_array_equal(vector, flatten(space, observation).astype(np.float32))


def test_a_choice_that_starts_elsewhere_is_counted_from_there():
    coder = build_coder(spaces.Discrete(3, start=-1), "a")
    assert encode_observation(coder, -1).tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(EnvironmentContractError, match=r"outside \[-1, 2\)"):
        encode_observation(coder, 2)


def test_a_mask_beside_the_observation_is_taken_apart():
    space = spaces.Dict({"observation": spaces.Box(0, 1, (2,), np.float32), "action_mask": spaces.MultiBinary(3)})
    assert build_coder(space, "a").size == 2
    observation, mask = split_mask({"observation": [1, 2], "action_mask": [1, 0, 1]})
    assert (observation, mask) == ([1, 2], [1, 0, 1])
    assert split_mask([1, 2]) == ([1, 2], None)


@pytest.mark.parametrize("space", [spaces.Text(4), spaces.Sequence(spaces.Discrete(2))])
def test_a_space_without_a_vector_is_refused_by_name(space):
    with pytest.raises(EnvironmentContractError, match="agent 'seer' observes"):
        build_coder(space, "seer")


def test_an_observation_of_the_wrong_length_is_refused():
    with pytest.raises(EnvironmentContractError, match="has 3 numbers, its space has 2"):
        encode_observation(build_coder(spaces.Box(0, 1, (2,), np.float32), "a"), np.zeros(3))
