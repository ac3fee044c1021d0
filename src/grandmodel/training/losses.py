"""The losses of clipped policy optimisation, and the numbers that watch it: pure functions of tensors.

Every mean is taken over the entries that count: ``alive`` is a boolean tensor of the shape of the terms, or None where all
of them count. An agent that is not alive adds neither loss nor gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

FORBIDDEN = -1e9
"""Logit of an action that is not legal. Finite, so that 0 * log 0 stays 0 in the entropy."""


def mean_over(terms: Tensor, alive: Tensor | None) -> Tensor:
    """Mean of ``terms`` over the entries that count; 0 where none does."""
    if alive is None:
        return terms.mean()
    return torch.where(alive, terms, 0.0).sum() / alive.sum().clamp(min=1)


def legal_logits(logits: Tensor, legal: Tensor | None) -> Tensor:
    """``logits`` (..., K) with the actions that are not ``legal`` (..., K) made impossible."""
    return logits if legal is None else torch.where(legal, logits, FORBIDDEN)


def action_log_probability(log_probabilities: Tensor, actions: Tensor) -> Tensor:
    """The log probability log pi(a) (...,) from all log probabilities (..., K) and the chosen ``actions`` (...,)."""
    return log_probabilities.gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def policy_entropy(log_probabilities: Tensor, alive: Tensor | None) -> Tensor:
    """Mean entropy, in nats, of the distributions (..., K)."""
    return mean_over(-(log_probabilities.exp() * log_probabilities).sum(-1), alive)


def clipped_policy_loss(
    log_probability: Tensor, old_log_probability: Tensor, advantage: Tensor, alive: Tensor | None, clip: float
) -> Tensor:
    """Minus the mean of min(ratio * A, clamp(ratio, 1 - clip, 1 + clip) * A), ratio = pi / pi_old.

    Beyond the clip, on the side where the ratio has already moved the way the advantage asks, the gradient is zero.
    Source: Schulman et al. 2017, "Proximal policy optimization algorithms", eq. 7.
    """
    ratio = (log_probability - old_log_probability).exp()
    held = ratio.clamp(1.0 - clip, 1.0 + clip)
    return -mean_over(torch.minimum(ratio * advantage, held * advantage), alive)


def clipped_value_loss(
    value: Tensor, old_value: Tensor, target: Tensor, alive: Tensor | None, clip: float | None
) -> Tensor:
    """Half the mean squared error of the value, or of the value held within ``clip`` of the old one if that is larger.

    Once a value has moved more than ``clip`` towards its target the gradient is zero. None means no clip.
    """
    error = (value - target).square()
    if clip is not None:
        held = old_value + (value - old_value).clamp(-clip, clip)
        error = torch.maximum(error, (held - target).square())
    return 0.5 * mean_over(error, alive)


@torch.no_grad()
def approximate_kl(log_probability: Tensor, old_log_probability: Tensor, alive: Tensor | None) -> Tensor:
    """Mean of (ratio - 1) - log ratio: an estimate of KL(old || new), in nats, that is never negative."""
    log_ratio = log_probability - old_log_probability
    return mean_over(log_ratio.exp() - 1.0 - log_ratio, alive)


@torch.no_grad()
def clip_share(log_probability: Tensor, old_log_probability: Tensor, alive: Tensor | None, clip: float) -> Tensor:
    """Share of the entries whose ratio lies outside [1 - clip, 1 + clip]."""
    ratio = (log_probability - old_log_probability).exp()
    return mean_over(((ratio - 1.0).abs() > clip).to(ratio.dtype), alive)
