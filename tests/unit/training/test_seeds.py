"""Named generators."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grandmodel.training.seeds import (
    STREAMS,
    build_generators,
    episode_seed,
    episode_seeds,
    restore_generators,
    save_generators,
)


def test_the_same_seed_gives_the_same_streams_and_every_stream_its_own():
    left, right = build_generators(5), build_generators(5)
    draws = {name: left[name].integers(2**63) for name in STREAMS}
    assert draws == {name: right[name].integers(2**63) for name in STREAMS}
    assert len(set(draws.values())) == len(STREAMS)
    assert draws["exploration"] != build_generators(6)["exploration"].integers(2**63)


def test_saved_generators_go_on_where_they_were_even_through_json():
    generators = build_generators(1)
    generators["minibatches"].permutation(7)
    saved = json.loads(json.dumps(save_generators(generators)))
    expected = generators["minibatches"].random(5)
    fresh = build_generators(99)
    restore_generators(fresh, saved)
    np.testing.assert_array_equal(fresh["minibatches"].random(5), expected)


def test_a_missing_stream_is_refused():
    generators = build_generators(1)
    saved = save_generators(generators)
    del saved["exploration"]
    with pytest.raises(KeyError):
        restore_generators(generators, saved)


def test_episode_seeds_differ_by_copy_and_by_episode_and_fit_31_bits():
    seeds = {episode_seed(s, env, episode) for s in (0, 1) for env in range(10) for episode in range(10)}
    assert len(seeds) == 200
    assert max(seeds) < 2**31


@given(
    seed=st.integers(0, 2**64 - 1) | st.integers(0, 2**31 - 1),
    pairs=st.lists(st.tuples(st.integers(0, 2**63 - 1) | st.integers(0, 300), st.integers(0, 2**63 - 1)), max_size=5),
)
@example(seed=0, pairs=[(0, 0), (2**32, 2**32 - 1)])
@settings(deadline=None)
def test_seeds_of_many_episodes_are_those_of_numpys_seed_sequence(seed, pairs):
    envs, episodes = np.array(pairs, np.int64).reshape(-1, 2).T
    assert episode_seeds(seed, envs, episodes).tolist() == [episode_seed(seed, *pair) for pair in pairs]
