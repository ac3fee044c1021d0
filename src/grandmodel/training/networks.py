"""Actors that see their own observation, one critic that sees everything.

All agents' weights lie in one tensor with a leading axis of groups: one group where the agents share an actor, one per
agent where they do not, so both are the same few matrix products. Observations narrower than the widest are padded with
zeros; the weights of padding start at zero and, meeting only zeros, stay there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from grandmodel.training.batched import EnvSpec

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": functional.relu}
HIDDEN_GAINS = {"tanh": 5.0 / 3.0, "relu": math.sqrt(2.0)}
POLICY_GAIN = 0.01
"""Gain of the last actor layer: the first policy is close to uniform."""

Generator: TypeAlias = torch.Generator


class StackedMlp(nn.Module):
    """A multilayer perceptron, G times side by side: (G, B, inputs) to (G, B, outputs)."""

    def __init__(self, groups: int, sizes: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.hidden_gain = HIDDEN_GAINS[activation]
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(groups, n, m)) for n, m in pairs])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(groups, 1, m)) for _, m in pairs])

    def initialise(self, input_columns: list[Tensor], output_gain: float, generator: Generator) -> None:
        """Orthogonal weights, zero biases. ``input_columns[g]`` are the inputs that group g really has."""
        last = len(self.weights) - 1
        with torch.no_grad():
            for layer, weight in enumerate(self.weights):
                gain = output_gain if layer == last else self.hidden_gain
                for group in range(weight.shape[0]):
                    rows = input_columns[group] if layer == 0 else torch.arange(weight.shape[1])
                    block = torch.empty(len(rows), weight.shape[2])
                    nn.init.orthogonal_(block, gain, generator=generator)
                    weight[group, rows] = block

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply every group's layers to its rows."""
        x = inputs
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer:
                x = self.activation(x)
            # One group is an ordinary linear layer, and much quicker as one than as a batched product of one.
            if weight.shape[0] == 1:
                x = torch.addmm(bias[0], x[0], weight[0]).unsqueeze(0)
            else:
                x = torch.baddbmm(bias, x, weight)
        return x


class Actor(nn.Module):
    """Logits of every agent's actions from its own observation alone: (B, A, F) to (B, A, K).

    Shared: one network for all, told by a one-hot column which agent it is (``agent_id``). Separate: one for each.
    """

    def __init__(
        self, spec: EnvSpec, hidden: tuple[int, ...], activation: str, *, shared: bool, agent_id: bool
    ) -> None:
        super().__init__()
        self.shared = shared
        self.agent_id = shared and agent_id
        inputs = spec.observation_width + (spec.agent_count if self.agent_id else 0)
        self.net = StackedMlp(1 if shared else spec.agent_count, (inputs, *hidden, spec.action_width), activation)
        self.register_buffer("identity", torch.eye(spec.agent_count), persistent=False)
        self.identity: Tensor

    def initialise(self, spec: EnvSpec, generator: Generator) -> None:
        """Orthogonal weights; the first policy is close to uniform."""
        width = self.net.weights[0].shape[1]
        columns = [torch.arange(width)] if self.shared else [torch.arange(size) for size in spec.observation_sizes]
        self.net.initialise(columns, POLICY_GAIN, generator)

    def forward(self, observations: Tensor) -> Tensor:
        """Logits (B, A, K) from observations (B, A, F)."""
        B, A, _ = observations.shape
        if not self.shared:
            logits: Tensor = self.net(observations.transpose(0, 1))  # (A, B, K)
            return logits.transpose(0, 1)
        if self.agent_id:
            observations = torch.cat([observations, self.identity.expand(B, A, A)], dim=-1)
        return self.net(observations.reshape(1, B * A, -1)).view(B, A, -1)  # type: ignore[no-any-return]  # Module.__call__


class ValueModule(nn.Module):
    """A critic: joint states (B, S) to standardised values (B, A), ending in a linear layer."""

    def output_layer(self) -> tuple[Tensor, Tensor]:
        """Weight (A, hidden) and bias (A,) of the last layer, as views: value normalisation rescales them in place."""
        raise NotImplementedError(f"{type(self).__name__} does not offer its last layer")


class Critic(ValueModule):
    """The value of the joint state to every agent: (B, S) to (B, A), in standardised units."""

    def __init__(self, inputs: int, agents: int, hidden: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self.net = StackedMlp(1, (inputs, *hidden, agents), activation)

    def initialise(self, generator: Generator) -> None:
        """Orthogonal weights of gain 1 at the end."""
        self.net.initialise([torch.arange(self.net.weights[0].shape[1])], 1.0, generator)

    def forward(self, joint_state: Tensor) -> Tensor:
        """Values (B, A) of joint states (B, S)."""
        return self.net(joint_state.unsqueeze(0)).squeeze(0)  # type: ignore[no-any-return]  # Module.__call__

    def output_layer(self) -> tuple[Tensor, Tensor]:
        """The last layer, seen as an ordinary linear layer."""
        return self.net.weights[-1][0].t(), self.net.biases[-1][0, 0]


class ActorCritic(nn.Module):
    """What the trainer trains: an actor for all agents and a critic.

    Any pair of modules will do that keeps these shapes: ``actor`` maps observations (B, A, F) to logits (B, A, K),
    ``critic`` maps joint states (B, S) to standardised values (B, A) and offers ``output_layer()``.
    """

    def __init__(self, actor: nn.Module, critic: ValueModule) -> None:
        super().__init__()
        self.actor = actor
        self.critic = critic

    def extra_loss(self, observations: Tensor, log_probabilities: Tensor) -> Tensor | None:  # noqa: ARG002 - for those who need it
        """What is added to the policy loss of a minibatch: observations (B, A, F), log probabilities (B, A, K). None: nothing."""
        return None


def joint_width(spec: EnvSpec) -> int:
    """S: the width of what the critic sees: the environment's own state, or all observations and who is alive."""
    return spec.state_size or sum(spec.observation_sizes) + spec.agent_count


def build_perceptrons(
    spec: EnvSpec, hidden: tuple[int, ...], activation: str, *, shared: bool, agent_id: bool, generator: Generator
) -> ActorCritic:
    """Multilayer perceptrons for actor and critic, initialised from ``generator``."""
    actor = Actor(spec, hidden, activation, shared=shared, agent_id=agent_id)
    critic = Critic(joint_width(spec), spec.agent_count, hidden, activation)
    actor.initialise(spec, generator)
    critic.initialise(generator)
    return ActorCritic(actor, critic)
