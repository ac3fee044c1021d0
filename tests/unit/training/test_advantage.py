"""Advantages against brute force, against torchrl and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.training.advantage import explained_variance, generalised_advantages, standardise_advantages


def brute_force(reward, value, following, terminated, truncated, alive, discount, trace_decay):
    """The definition, term by term: sum of (discount * trace_decay)^k delta_{t+k} until the episode ends."""
    T, A = reward.shape
    out = np.zeros((T, A))
    for a in range(A):
        for t in range(T):
            if not alive[t, a]:
                continue
            weight = 1.0
            for k in range(t, T):
                target = reward[k, a] + (0.0 if terminated[k, a] else discount * following[k, a])
                out[t, a] += weight * (target - value[k, a])
                weight *= discount * trace_decay
                if terminated[k, a] or truncated[k, a] or k + 1 == T or not alive[k + 1, a]:
                    break
    return out


def random_case(seed, T=17, A=3):
    rng = np.random.default_rng(seed)
    reward, value, following = rng.normal(size=(3, T, A))
    terminated = rng.random((T, A)) < 0.15
    truncated = (rng.random((T, A)) < 0.15) & ~terminated
    alive = np.ones((T, A), dtype=bool)
    for a in range(A):
        for t in range(1, T):
            ended = (terminated | truncated)[t - 1, a]
            # After an end an agent may stay away for a while; without one it goes on.
            alive[t, a] = rng.random() < 0.6 if ended or not alive[t - 1, a] else True
    terminated &= alive
    truncated &= alive
    return reward, value, following, terminated, truncated, alive


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_advantages_equal_the_definition_under_random_ends_and_absences(seed, discount, trace_decay):
    case = random_case(seed)
    found = generalised_advantages(*case, discount, trace_decay)
    np.testing.assert_allclose(found, brute_force(*case, discount, trace_decay), rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_advantages_equal_torchrl(seed):
    from torchrl.objectives.value.functional import generalized_advantage_estimate

    reward, value, following, terminated, truncated, _ = random_case(seed)
    alive = np.ones_like(terminated)
    found = generalised_advantages(reward, value, following, terminated, truncated, alive, 0.97, 0.9)
    tensors = [torch.from_numpy(array) for array in (value, following, reward, terminated | truncated, terminated)]
    value_t, value_tp1, reward_tp1, done, ended = tensors
    expected, _ = generalized_advantage_estimate(
        0.97, 0.9, value_t, value_tp1, reward_tp1, done=done, terminated=ended, time_dim=0
    )
    # torchrl multiplies its discounts in float32.
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


def one_agent(*columns):
    return [np.array(column)[:, None] for column in columns]


def test_termination_drops_the_following_value_and_truncation_keeps_it():
    reward, value, following = one_agent([1.0], [0.0], [10.0])
    yes, no = one_agent([True], [False])
    assert generalised_advantages(reward, value, following, yes, no, yes, 0.5, 1.0)[0, 0] == 1.0
    assert generalised_advantages(reward, value, following, no, yes, yes, 0.5, 1.0)[0, 0] == 6.0


def test_nothing_of_the_next_episode_leaks_back_over_an_end():
    reward, value, following = one_agent([0.0, 1000.0], [0.0, 0.0], [0.0, 0.0])
    end, no, alive = one_agent([True, False], [False, False], [True, True])
    assert generalised_advantages(reward, value, following, end, no, alive, 0.9, 0.9)[0, 0] == 0.0
    assert generalised_advantages(reward, value, following, no, end, alive, 0.9, 0.9)[0, 0] == 0.0


def test_two_steps_worked_by_hand():
    reward, value, following = one_agent([1.0, 2.0], [0.5, 1.0], [1.0, 3.0])
    no, alive = one_agent([False, False], [True, True])
    # delta_1 = 2 + 0.5 * 3 - 1 = 2.5; delta_0 = 1 + 0.5 * 1 - 0.5 = 1; advantage_0 = 1 + 0.25 * 2.5
    found = generalised_advantages(reward, value, following, no, no, alive, 0.5, 0.5)
    np.testing.assert_array_equal(found[:, 0], [1.625, 2.5])


def test_shapes_that_differ_are_refused():
    zeros, flags = np.zeros((3, 2)), np.zeros((3, 2), dtype=bool)
    with pytest.raises(ValueError, match="shapes differ"):
        generalised_advantages(zeros, zeros[:2], zeros, flags, flags, flags, 0.9, 0.9)


def test_standardised_advantages_ignore_the_absent():
    advantages = np.array([[1.0, 1e9], [3.0, -1e9]])
    alive = np.array([[True, False], [True, False]])
    np.testing.assert_allclose(standardise_advantages(advantages, alive), [[-1.0, 0.0], [1.0, 0.0]], atol=1e-7)
    assert not standardise_advantages(advantages, np.zeros_like(alive)).any()


def test_explained_variance_is_one_when_exact_zero_for_the_mean_and_unknown_for_a_constant():
    targets = np.array([[1.0], [2.0], [6.0]])
    alive = np.ones((3, 1), dtype=bool)
    assert explained_variance(targets, targets, alive) == 1.0
    assert explained_variance(np.full((3, 1), 3.0), targets, alive) == pytest.approx(0.0)
    assert np.isnan(explained_variance(targets, np.ones((3, 1)), alive))
