"""What the trainer asks of every batched environment, and of the adapter that makes one of a PettingZoo environment."""

import numpy as np
import pytest
from gymnasium import spaces

from grandmodel.training.errors import CheckpointError, EnvironmentContractError
from grandmodel.training.parallel import ParallelBatch, read_spec
from simple_spread import SpreadBatch
from training_games import DelayedTeamGame, Game, MaskedGame, MatrixGame, MortalGame

MAKERS = {
    "matrix": lambda n: ParallelBatch(MatrixGame, n, with_state=False),
    "delayed": lambda n: ParallelBatch(DelayedTeamGame, n, with_state=False),
    "masked": lambda n: ParallelBatch(MaskedGame, n, with_state=False),
    "masked by info": lambda n: ParallelBatch(lambda: MaskedGame("info"), n, with_state=False),
    "mortal": lambda n: ParallelBatch(MortalGame, n, with_state=False),
    "mortal with state": lambda n: ParallelBatch(MortalGame, n, with_state=True),
    "compiled spread": SpreadBatch,
}


@pytest.fixture(params=MAKERS, ids=lambda name: name.replace(" ", "-"))
def make(request):
    return MAKERS[request.param]


def random_actions(env, seen, rng):
    legal = env.spec.existing_actions()[None] if seen.action_mask is None else seen.action_mask
    return (rng.random((env.count, *legal.shape[1:])) * legal).argmax(-1)


def frozen(seen):
    parts = (seen.observations, seen.alive, seen.action_mask, seen.state)
    return [None if part is None else part.copy() for part in parts]


def play(env, seen, rng, steps):
    """The whole trajectory, as copies."""
    rows = []
    for _ in range(steps):
        outcome = env.step(random_actions(env, seen, rng))
        flags = [outcome.rewards, outcome.terminated, outcome.truncated, outcome.restarted]
        rows.append([flag.copy() for flag in flags] + frozen(outcome.final) + frozen(outcome.seen))
        seen = outcome.seen
    return seen, rows


def assert_same(left, right):
    assert len(left) == len(right)
    for row, other in zip(left, right, strict=True):
        for a, b in zip(row, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_shapes_types_and_padding(make):
    env = make(3)
    spec, A = env.spec, env.spec.agent_count
    seen = env.reset(1)
    rng = np.random.default_rng(0)
    for _ in range(30):
        assert seen.observations.shape == (3, A, spec.observation_width)
        assert seen.observations.dtype == np.float32
        assert seen.alive.any(axis=1).all()
        for a, size in enumerate(spec.observation_sizes):
            assert (seen.observations[:, a, size:] == 0.0).all()
        assert (seen.observations[~seen.alive] == 0.0).all()
        if seen.action_mask is not None:
            assert not (seen.action_mask & ~spec.existing_actions()).any()
            assert seen.action_mask[seen.alive].any(axis=-1).all()
        before = seen.alive.copy()
        outcome = env.step(random_actions(env, seen, rng))
        ended = outcome.terminated | outcome.truncated
        assert not (ended & ~before).any()
        assert (outcome.rewards[~before] == 0.0).all()
        assert (outcome.restarted == ~(before & ~ended).any(axis=1)).all()
        stays = ~outcome.restarted
        np.testing.assert_array_equal(
            outcome.seen.observations[stays], outcome.final.observations[stays] * outcome.seen.alive[stays][..., None]
        )
        seen = outcome.seen


def test_same_seed_same_trajectory_and_another_seed_another(make):
    first, second, third = make(3), make(3), make(3)
    rows = [
        play(env, env.reset(seed), np.random.default_rng(1), 25)[1]
        for env, seed in ((first, 4), (second, 4), (third, 5))
    ]
    assert_same(rows[0], rows[1])
    if make is not MAKERS["matrix"]:
        assert any(not np.array_equal(a[-4], b[-4]) for a, b in zip(rows[0], rows[2], strict=True))


def test_copies_do_not_repeat_each_other(make):
    env = make(3)
    _, rows = play(env, env.reset(0), np.random.default_rng(1), 10)
    if make is not MAKERS["matrix"]:
        assert any(not np.array_equal(row[-4][0], row[-4][1]) for row in rows)


@pytest.mark.parametrize("steps", [0, 1, 13])
def test_a_saved_environment_goes_on_exactly_in_a_fresh_one(make, steps):
    env = make(3)
    seen, _ = play(env, env.reset(9), np.random.default_rng(2), steps)
    saved = {name: array.copy() for name, array in env.save().items()}
    here = frozen(seen)
    _, expected = play(env, seen, np.random.default_rng(3), 20)
    fresh = make(3)
    fresh.reset(123)
    restored = fresh.restore(saved)
    assert_same([frozen(restored)[:2]], [here[:2]])
    _, found = play(fresh, restored, np.random.default_rng(3), 20)
    assert_same([row[:4] for row in found], [row[:4] for row in expected])


def test_a_truncated_agents_last_observation_is_kept_and_a_dead_agents_is_not():
    env = ParallelBatch(MortalGame, 20, with_state=False)
    seen, rng = env.reset(0), np.random.default_rng(0)
    cut, ended = 0, 0
    for _ in range(30):
        outcome = env.step(random_actions(env, seen, rng))
        cut += outcome.truncated.sum()
        ended += outcome.terminated.sum()
        assert (outcome.final.observations[outcome.truncated] != 0.0).any(axis=-1).all()
        assert (outcome.final.observations[outcome.terminated] == 0.0).all()
        seen = outcome.seen
    assert cut > 0
    assert ended > 0


def test_actions_that_do_not_start_at_zero_reach_the_environment_by_their_own_numbers():
    env = ParallelBatch(MatrixGame, 1, with_state=False)
    env.reset(0)
    assert env.spec.action_starts == (0, 7)
    assert env.step(np.array([[2, 0]])).rewards.tolist() == [[8.0, 8.0]]


def test_an_agent_environment_cycle_is_refused_with_the_way_out():
    from mpe2 import simple_spread_v3

    with pytest.raises(EnvironmentContractError, match="parallel_env"):
        read_spec(simple_spread_v3.env(), with_state=False)


def test_continuous_actions_are_refused_by_agent_name():
    class Continuous(MatrixGame):
        actions = MatrixGame.actions | {"column": spaces.Box(-1, 1, (2,))}

    with pytest.raises(EnvironmentContractError, match="agent 'column' acts in Box"):
        read_spec(Continuous(), with_state=False)


def test_asking_for_a_state_that_is_not_there_is_refused():
    with pytest.raises(EnvironmentContractError, match="critic_input"):
        ParallelBatch(MatrixGame, 1, with_state=True)


def test_an_agent_that_leaves_without_an_end_is_refused():
    class Vanishing(MortalGame):
        def step(self, actions):
            observations, rewards, ends, cuts, infos = super().step(actions)
            return observations, rewards, dict.fromkeys(ends, False), cuts, infos

    env = ParallelBatch(Vanishing, 5, with_state=False)
    seen, rng = env.reset(0), np.random.default_rng(0)
    with pytest.raises(EnvironmentContractError, match="without being terminated or truncated"):
        play(env, seen, rng, 20)


def test_a_missing_reward_is_refused_not_taken_for_zero():
    class Silent(MortalGame):
        def step(self, actions):
            observations, rewards, *rest = super().step(actions)
            return observations, {a: r for a, r in rewards.items() if a != "y"}, *rest

    env = ParallelBatch(Silent, 1, with_state=False)
    env.reset(0)
    with pytest.raises(EnvironmentContractError, match="no rewards for living agent 'y'"):
        env.step(np.zeros((1, 3), dtype=np.int64))


def test_a_mask_that_allows_nothing_is_refused():
    class Stuck(MaskedGame):
        def _draw(self, agent):
            return np.zeros(self.sizes[agent], dtype=np.int8)

    with pytest.raises(EnvironmentContractError, match="at least one of them set"):
        ParallelBatch(Stuck, 1, with_state=False).reset(0)


def test_an_environment_that_does_not_follow_its_seed_cannot_be_restored():
    class Unruly(MortalGame):
        def reset(self, seed=None, options=None):  # noqa: ARG002 - the fault under test
            return super().reset(None, options)

    env = ParallelBatch(Unruly, 2, with_state=False)
    play(env, env.reset(0), np.random.default_rng(0), 7)
    with pytest.raises(CheckpointError, match="something else than the seed"):
        env.restore(env.save())


@pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning")
def test_the_games_used_here_keep_pettingzoos_own_contract():
    from pettingzoo.test.parallel_test import parallel_api_test

    for game in (DelayedTeamGame, MortalGame, MatrixGame):
        parallel_api_test(game(), num_cycles=50)
    assert issubclass(MatrixGame, Game)
