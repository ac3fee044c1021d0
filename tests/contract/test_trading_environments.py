"""Both trading environments keep the public contracts: PettingZoo's own tests, torchrl's, and whole episodes played twice."""

import numpy as np
import pytest
from pettingzoo.utils.conversions import parallel_to_aec

from grandmodel.training import strategic_env, tactical_env
from grandmodel.training.environments import EnvSettings, strategic_batch, tactical_batch
from grandmodel.training.environments.rewards import TERMS
from grandmodel.training.errors import EnvironmentContractError
from grandmodel.training.parallel import ParallelBatch

ENVIRONMENTS = {"strategic": (strategic_env, strategic_batch), "tactical": (tactical_env, tactical_batch)}
SHORT = EnvSettings(episode_bars=40)
# PettingZoo's tests import games of their own, which warn that they will move.
their_own_warnings = pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning")


@pytest.fixture(params=ENVIRONMENTS)
def layer(request):
    return request.param


@pytest.fixture
def make_env(layer):
    return ENVIRONMENTS[layer][0]


def play(env, seed, steps=10_000, choose=0):
    """One episode, or ``steps`` of it, with random actions: everything that came back, in order."""
    rng = np.random.default_rng(choose)
    rows = [env.reset(seed=seed), env.state()]
    while env.agents and steps:
        actions = {agent: int(rng.integers(env.action_space(agent).n)) for agent in env.agents}
        rows += [env.step(actions), env.state()]
        steps -= 1
    return rows


def assert_same(left, right):
    if isinstance(left, np.ndarray):
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, tuple | list):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    else:
        assert left == right


@their_own_warnings
def test_pettingzoos_parallel_api_test(make_env):
    from pettingzoo.test import parallel_api_test

    parallel_api_test(make_env(settings=SHORT), num_cycles=1_000)


@their_own_warnings
@pytest.mark.filterwarnings(
    # Advice that heterogeneous agents with names of their own cannot follow.
    "ignore:We recommend agents to be named in the format:UserWarning",
    "ignore:Agents have different:UserWarning",
    "ignore:Observations are different shapes:UserWarning",
)
def test_pettingzoos_api_test_of_a_thousand_cycles(make_env):
    from pettingzoo.test import api_test

    api_test(parallel_to_aec(make_env()), num_cycles=1_000)


@their_own_warnings
def test_pettingzoos_seed_test_of_five_hundred_cycles(make_env):
    from pettingzoo.test import seed_test

    seed_test(lambda: parallel_to_aec(make_env()), num_cycles=500)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_torchrls_check_env_specs(make_env):
    from torchrl.envs import PettingZooWrapper
    from torchrl.envs.utils import check_env_specs

    check_env_specs(PettingZooWrapper(make_env(settings=SHORT), return_state=False, group_map=None), seed=3)


def test_a_whole_episode_played_twice_is_the_same(make_env):
    env = make_env()
    first = play(env, 11)
    assert len(first) > 100
    assert_same(first, play(env, 11))
    assert_same(first, play(make_env(), 11))


def test_another_seed_is_another_episode_and_no_seed_goes_on_from_the_last(make_env):
    env, other = make_env(settings=SHORT), make_env(settings=SHORT)
    begins = [[here.reset(seed=5)[1], here.reset()[1], here.reset()[1], here.reset(seed=6)[1]] for here in (env, other)]
    assert_same(begins[0], begins[1])
    starts = [next(iter(infos.values()))["ts_event"] for infos in begins[0]]
    assert len(set(starts)) == 4


def test_all_agents_earn_alike_and_the_terms_add_up(make_env):
    for row in play(make_env(settings=SHORT), 4)[2::2]:
        _, rewards, terminated, truncated, infos = row
        assert len(set(rewards.values())) == 1
        assert len(set(terminated.values())) == len(set(truncated.values())) == 1
        for agent, info in infos.items():
            terms = [value for name, value in info.items() if name.startswith("reward_")]
            assert len(terms) == len(TERMS)
            assert sum(terms) == pytest.approx(rewards[agent], abs=1e-12)


@pytest.mark.parametrize("layer", ENVIRONMENTS)
@pytest.mark.parametrize("steps", [0, 1, 57, 240])
def test_a_batch_goes_on_exactly_from_what_it_saved(layer, steps):
    make = ENVIRONMENTS[layer][1]
    env, fresh = make(settings=SHORT, count=5), make(settings=SHORT, count=5)
    rng = np.random.default_rng(steps)
    sizes = (env.count, env.spec.agent_count)
    seen = env.reset(8)
    for _ in range(steps):
        seen = env.step(rng.integers(0, env.spec.action_counts, sizes)).seen
    saved = env.save()
    assert all(array.dtype.names is None for array in saved.values())  # What a safetensors file can hold.
    fresh.reset(99)
    restored = fresh.restore(saved)
    np.testing.assert_array_equal(restored.observations, seen.observations)
    np.testing.assert_array_equal(restored.state, seen.state)
    for _ in range(90):
        actions = rng.integers(0, env.spec.action_counts, sizes)
        left, right = env.step(actions), fresh.step(actions)
        for name in ("rewards", "terminated", "truncated", "restarted"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        for part in ("final", "seen"):
            np.testing.assert_array_equal(getattr(left, part).observations, getattr(right, part).observations)
            np.testing.assert_array_equal(getattr(left, part).state, getattr(right, part).state)


def test_the_pettingzoo_form_is_restored_by_the_trainers_adapter(make_env):
    env, fresh = (ParallelBatch(lambda: make_env(settings=SHORT), 2, with_state=True) for _ in range(2))
    rng = np.random.default_rng(0)
    env.reset(2)
    for _ in range(60):
        env.step(rng.integers(0, env.spec.action_counts, (2, env.spec.agent_count)))
    restored = fresh.restore(env.save())
    actions = rng.integers(0, env.spec.action_counts, (2, env.spec.agent_count))
    assert restored.observations.shape[0] == 2
    np.testing.assert_array_equal(env.step(actions).rewards, fresh.step(actions).rewards)


def test_wrong_use_is_refused_by_name(make_env):
    env = make_env(settings=SHORT)
    with pytest.raises(EnvironmentContractError, match=r"expected reset\(\)"):
        env.step({})
    env.reset(seed=0)
    actions = dict.fromkeys(env.agents, 0)
    last = env.agents[-1]
    with pytest.raises(EnvironmentContractError, match=f"found no action of '{last}'"):
        env.step(dict.fromkeys(env.agents[:-1], 0))
    with pytest.raises(EnvironmentContractError, match=f"found action 9 of '{last}'"):
        env.step(actions | {last: 9})
