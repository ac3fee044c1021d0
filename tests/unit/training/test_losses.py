"""The losses: where their gradients point, and where they stop."""

import math

import pytest
import torch
from torch.testing import assert_close

from grandmodel.training.losses import (
    action_log_probability,
    approximate_kl,
    clip_share,
    clipped_policy_loss,
    clipped_value_loss,
    legal_logits,
    mean_over,
    policy_entropy,
)


def policy_gradient(ratio, advantage, clip=0.2):
    log_probability = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    loss = clipped_policy_loss(
        log_probability, torch.zeros(1, dtype=torch.float64), torch.tensor([advantage], dtype=torch.float64), None, clip
    )
    loss.backward()
    return loss.item(), float(log_probability.grad)


@pytest.mark.parametrize(
    ("ratio", "advantage"),
    [(1.3, 2.0), (0.7, -2.0)],
)
def test_no_policy_gradient_beyond_the_clip(ratio, advantage):
    _, gradient = policy_gradient(ratio, advantage)
    assert gradient == 0.0


@pytest.mark.parametrize(
    ("ratio", "advantage"),
    [(1.1, 2.0), (0.9, -2.0), (0.7, 2.0), (1.3, -2.0), (1.0, 2.0)],
)
def test_policy_gradient_inside_the_clip_and_on_the_way_back_is_that_of_the_ratio(ratio, advantage):
    loss, gradient = policy_gradient(ratio, advantage)
    assert loss == pytest.approx(-ratio * advantage)
    assert gradient == pytest.approx(-ratio * advantage)


def test_value_gradient_stops_once_the_value_has_moved_beyond_the_clip_towards_its_target():
    old, target = torch.zeros(3), torch.tensor([1.0, 1.0, -1.0])
    value = torch.tensor([0.5, 0.1, 0.5], requires_grad=True)
    clipped_value_loss(value, old, target, None, 0.2).backward()
    assert value.grad[0] == 0.0  # beyond the clip, towards the target
    assert value.grad[1] < 0.0  # inside the clip
    assert value.grad[2] > 0.0  # beyond the clip, but away from the target: it must come back


def test_value_loss_without_clip_is_half_the_squared_error():
    value, target = torch.tensor([0.5, 2.0]), torch.tensor([1.0, 1.0])
    assert_close(clipped_value_loss(value, torch.zeros(2), target, None, None), torch.tensor(0.5 * (0.25 + 1.0) / 2))


def test_absent_agents_add_neither_loss_nor_gradient():
    alive = torch.tensor([[True, False], [True, True]])
    terms = torch.tensor([[1.0, 1e30], [2.0, 3.0]], requires_grad=True)
    mean = mean_over(terms, alive)
    mean.backward()
    assert mean.item() == 2.0
    assert_close(terms.grad, torch.tensor([[1 / 3, 0.0], [1 / 3, 1 / 3]]))
    assert float(mean_over(terms.detach(), torch.zeros(2, 2, dtype=torch.bool))) == 0.0


def test_a_not_finite_entry_of_an_absent_agent_does_no_harm():
    terms = torch.tensor([1.0, math.inf], requires_grad=True)
    mean_over(terms, torch.tensor([True, False])).backward()
    assert_close(terms.grad, torch.tensor([1.0, 0.0]))


def test_entropy_is_that_of_the_uniform_distribution_and_its_gradient_flattens():
    assert float(policy_entropy(torch.zeros(4, 5).log_softmax(-1), None)) == pytest.approx(math.log(5))
    logits = torch.tensor([[2.0, 0.0, 0.0]], requires_grad=True)
    policy_entropy(logits.log_softmax(-1), None).backward()
    assert logits.grad[0, 0] < 0.0 < logits.grad[0, 1]


def test_illegal_actions_have_no_probability_no_entropy_and_no_gradient():
    logits = torch.tensor([[1.0, 5.0, 1.0]], requires_grad=True)
    log_probabilities = legal_logits(logits, torch.tensor([[True, False, True]])).log_softmax(-1)
    assert_close(log_probabilities.exp(), torch.tensor([[0.5, 0.0, 0.5]]))
    entropy = policy_entropy(log_probabilities, None)
    assert entropy.item() == pytest.approx(math.log(2))
    (entropy + log_probabilities[0, 0]).backward()
    assert logits.grad[0, 1] == 0.0
    assert torch.isfinite(logits.grad).all()


def test_action_log_probability_picks_the_chosen_action():
    log_probabilities = torch.arange(12.0).view(2, 2, 3)
    assert_close(
        action_log_probability(log_probabilities, torch.tensor([[0, 2], [1, 1]])),
        torch.tensor([[0.0, 5.0], [7.0, 10.0]]),
    )


def test_kl_estimate_is_zero_for_the_same_policy_and_positive_else():
    old = torch.tensor([-1.0, -2.0])
    assert float(approximate_kl(old, old, None)) == 0.0
    assert float(approximate_kl(old + 0.3, old, None)) == pytest.approx(math.exp(0.3) - 1.3, rel=1e-5)


def test_clip_share_counts_ratios_outside():
    ratios = torch.tensor([1.0, 1.19, 1.21, 0.79])
    assert float(clip_share(ratios.log(), torch.zeros(4), None, 0.2)) == 0.5
    assert float(
        clip_share(ratios.log(), torch.zeros(4), torch.tensor([True, True, True, False]), 0.2)
    ) == pytest.approx(1 / 3)
