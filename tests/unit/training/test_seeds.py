"""Named generators."""

import json

import numpy as np
import pytest

from grandmodel.training.seeds import STREAMS, build_generators, episode_seed, restore_generators, save_generators


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
