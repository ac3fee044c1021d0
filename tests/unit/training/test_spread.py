"""The compiled simple_spread is mpe2's, step by step."""

import numpy as np
import pytest

from simple_spread import SpreadBatch


@pytest.fixture(scope="module")
def simple_spread():
    from mpe2 import simple_spread_v3

    return simple_spread_v3


@pytest.mark.parametrize(("agents", "local_ratio"), [(3, 0.5), (2, 0.2)])
def test_every_step_equals_mpe2(simple_spread, agents, local_ratio):
    count, rng = 4, np.random.default_rng(agents)
    batch = SpreadBatch(count, agents=agents, max_cycles=25, local_ratio=local_ratio)
    batch.reset(0)
    originals = [simple_spread.parallel_env(N=agents, max_cycles=25, local_ratio=local_ratio) for _ in range(count)]
    collisions = 0
    for n, env in enumerate(originals):
        observations, _ = env.reset(seed=n)
        world = env.unwrapped.world
        if n < 2:
            # Crowded starts, so that bodies push each other in most steps.
            for body in world.agents:
                body.state.p_pos *= 0.2
        batch.positions[n] = [body.state.p_pos for body in world.agents]
        batch.landmarks[n] = [mark.state.p_pos for mark in world.landmarks]
        seen = batch.look().observations[n]
        expected = np.stack([env.unwrapped.observe(a) for a in env.possible_agents])
        np.testing.assert_allclose(seen, expected, atol=1e-6)
        assert batch.spec.observation_sizes == tuple(len(observations[a]) for a in env.possible_agents)
    for t in range(25):
        actions = rng.integers(5, size=(count, agents))
        outcome = batch.step(actions)
        for n, env in enumerate(originals):
            names = env.possible_agents
            observations, rewards, terminated, truncated, _ = env.step(
                {a: int(actions[n, i]) for i, a in enumerate(names)}
            )
            np.testing.assert_allclose(outcome.final.observations[n], [observations[a] for a in names], atol=1e-6)
            np.testing.assert_allclose(outcome.rewards[n], [rewards[a] for a in names], atol=1e-6)
            assert outcome.terminated[n].tolist() == [terminated[a] for a in names]
            assert outcome.truncated[n].tolist() == [truncated[a] for a in names]
            world = env.unwrapped.world
            collisions += env.unwrapped.scenario.is_collision(world.agents[0], world.agents[1])
        assert outcome.restarted.all() == (t == 24)
    assert collisions > 0


def test_a_restart_shows_the_new_start_and_keeps_the_old_end():
    batch = SpreadBatch(2, max_cycles=1)
    batch.reset(3)
    outcome = batch.step(np.zeros((2, 3), dtype=np.int64))
    assert outcome.restarted.all()
    assert not np.array_equal(outcome.final.observations, outcome.seen.observations)
    assert (outcome.seen.observations[:, :, :2] == 0.0).all()


def test_starts_are_spread_over_the_square_and_follow_the_seed():
    left, right, other = SpreadBatch(2000), SpreadBatch(2000), SpreadBatch(2000)
    for batch, seed in ((left, 1), (right, 1), (other, 2)):
        batch.reset(seed)
    np.testing.assert_array_equal(left.positions, right.positions)
    assert not np.array_equal(left.positions, other.positions)
    assert np.abs(left.positions.mean()) < 0.03
    assert left.positions.std() == pytest.approx(1 / np.sqrt(3), rel=0.03)
