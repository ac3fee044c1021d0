"""The networks of one layer as torch modules, built from an ``Architecture``, and back to plain arrays.

``LayerActor`` computes what ``models/architecture.py`` describes and names its tensors as that file does, so that its
``state_dict`` is what a model file holds and what compiled inference reads. ``build_layer_networks`` hands actor and critic to
``mappo.train``.

Dropout is no part of ``forward``. PPO compares the policy that acted with the policy that is improved: were other features
dropped in each of the two, their ratio would not be 1 before the first step, and the clip would hold back noise instead of
change. Dropout belongs to the supervised warm start (``warm_start.py``) and to decisions, which compiled inference samples.

Windows are normalised when they arrive (``features.Normaliser``), so the trainer must not standardise observations once
more: the runtime would have to carry those moments too. The critic's state is a few raw numbers that the runtime never sees, and
is standardised: ``Settings(critic_input="state", normalise_observations=False, normalise_state=True)``.

Read next: ``pipeline.py``, which trains them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from grandmodel.models.architecture import BELIEF, Architecture, HeadSpec, TrunkSpec
from grandmodel.training.batched import EnvSpec
from grandmodel.training.errors import TrainingDataError, TrainingSettingsError
from grandmodel.training.mappo import BuildNetworks, Settings
from grandmodel.training.networks import POLICY_GAIN, ActorCritic, Critic, joint_width

Weights = dict[str, NDArray[np.float32]]
"""The tensors of ``Architecture.shapes()``, or some of them, by name."""


class LayerTrunk(nn.Module):
    """The temporal encoder of a window: linear layers over patches of rows, each followed by a ReLU."""

    def __init__(self, spec: TrunkSpec) -> None:
        super().__init__()
        (_, *first), (_, *second), (_, *last) = spec.layers()
        self.patch1 = _blank_linear(*first)
        self.patch2 = _blank_linear(*second)
        self.features = _blank_linear(*last)

    def forward(self, windows: Tensor) -> Tensor:
        """Features (B, 32) of normalised windows (B, rows * columns), oldest row first."""
        x = windows
        for layer in (self.patch1, self.patch2, self.features):
            x = functional.relu(layer(x.reshape(-1, layer.in_features)))  # (B * patches, width)
        return x


class LayerHead(nn.Module):
    """One agent's logits from [features or beliefs, tail]."""

    def __init__(self, spec: HeadSpec, inputs: int) -> None:
        super().__init__()
        for name, width, outputs in spec.layers(inputs):
            self.add_module(name, _blank_linear(width, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (..., K) of inputs (..., features + tail)."""
        *hidden, last = self.children()
        for layer in hidden:
            inputs = functional.relu(layer(inputs))
        logits: Tensor = last(inputs)
        return logits


class LayerActor(nn.Module):
    """All agents of a layer: observations (B, A, F) to logits (B, A, K), both padded with zeros.

    An agent's observation is [its trunk's window, flattened; its tail]; the Coordinator's is its tail alone, and the beliefs that it
    weighs are the softmax of the other agents' logits. Those are detached: the Coordinator learns whom to trust, and never moves
    a belief to make its own choice easier. Agents that share a trunk each run it on the window in their own observation.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        for trunk in architecture.trunks:
            self.add_module(trunk.name, LayerTrunk(trunk))
        for head in architecture.heads:
            self.add_module(head.agent, LayerHead(head, architecture.head_inputs(head)))
        self._action_width = max(len(head.actions) for head in architecture.heads)

    def initialise(self, generator: torch.Generator) -> None:
        """Orthogonal weights, zero biases, logits of gain ``POLICY_GAIN``: the first policy is close to uniform."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith(".bias"):
                    parameter.zero_()
                else:
                    gain = POLICY_GAIN if name.endswith(".logits.weight") else math.sqrt(2.0)
                    nn.init.orthogonal_(parameter, gain, generator=generator)

    def forward(self, observations: Tensor) -> Tensor:
        """Logits (B, A, K) of observations (B, A, F)."""
        waiting = iter(self.features(observations))
        heads = self.architecture.heads
        found: dict[str, Tensor] = {}
        for a, head in enumerate(heads):
            if head.trunk:
                found[head.agent] = self.agent_logits(head.agent, next(waiting), self.tail(head, observations[:, a]))
        beliefs = [logits.detach().softmax(-1) for logits in found.values()]
        for a, head in enumerate(heads):
            if not head.trunk:
                tail = self.tail(head, observations[:, a])
                found[head.agent] = self.agent_logits(head.agent, torch.cat(beliefs, dim=-1), tail)
        padded = [functional.pad(found[head.agent], (0, self._action_width - len(head.actions))) for head in heads]
        return torch.stack(padded, dim=1)  # (B, A, K)

    def features(self, observations: Tensor) -> list[Tensor]:
        """Features (B, 32) of every agent with a trunk, in the order of the heads, before any dropout."""
        found: list[Tensor] = []
        for a, head in enumerate(self.architecture.heads):
            if head.trunk:
                trunk = self.get_submodule(head.trunk)
                found.append(trunk(observations[:, a, : self.architecture.trunk(head.trunk).inputs]))
        return found

    def agent_logits(self, agent: str, features: Tensor, tail: Tensor | None = None) -> Tensor:
        """Logits (..., K) of one agent, not padded, from its features (..., 32) and its tail (..., tail)."""
        inputs = features if tail is None else torch.cat([features, tail], dim=-1)
        logits: Tensor = self.get_submodule(agent)(inputs)
        return logits

    def tail(self, head: HeadSpec, observation: Tensor) -> Tensor | None:
        """What the agent sees besides its window (B, tail), from its observation (B, F); None where there is none."""
        if not head.tail:
            return None
        window = self.architecture.trunk(head.trunk).inputs if head.trunk else 0
        return observation[..., window : window + head.tail]


def layer_spec(architecture: Architecture, state_size: int = 0) -> EnvSpec:
    """The agents and sizes that an environment of this layer must have."""
    return EnvSpec(
        agents=tuple(head.agent for head in architecture.heads),
        observation_sizes=tuple(
            (architecture.trunk(head.trunk).inputs if head.trunk else 0) + head.tail for head in architecture.heads
        ),
        action_counts=tuple(len(head.actions) for head in architecture.heads),
        state_size=state_size,
    )


def build_actor(architecture: Architecture, generator: torch.Generator) -> LayerActor:
    """A freshly initialised actor."""
    actor = LayerActor(architecture)
    actor.initialise(generator)
    return actor


class LayerActorCritic(ActorCritic):
    """A layer's actor and critic; beliefs are held near those of a warm start.

    A belief is a forecast before it is a policy: what is read of it is how likely the market rises. Reward alone makes it surer than it
    may be: after 250,000 frames on NQ and CL the collapsed belief scored 2.22 nats on the months behind (1.10 with the best
    temperature), a constant forecast 1.099, a belief anchored with weight 0.3 1.072. So the KL divergence of every belief from the warm
    start's, times ``weight``, is added to the loss; where the reward speaks clearly it still moves.
    """

    def __init__(self, actor: LayerActor, critic: Critic, anchor: LayerActor | None, weight: float) -> None:
        super().__init__(actor, critic)
        self.anchor = anchor
        self.weight = weight
        heads = actor.architecture.heads
        self._believers = [a for a, head in enumerate(heads) if head.actions == BELIEF and head.trunk]

    def extra_loss(self, observations: Tensor, log_probabilities: Tensor) -> Tensor | None:
        """``weight`` times the mean, over frames and believers, of KL(warm start's belief || belief)."""
        if self.anchor is None:
            return None
        with torch.no_grad():
            meant = self.anchor(observations)[:, self._believers, : len(BELIEF)].log_softmax(-1)
        held = log_probabilities[:, self._believers, : len(BELIEF)]
        divergence: Tensor = (meant.exp() * (meant - held)).sum(-1).mean()
        return self.weight * divergence


def build_layer_networks(
    architecture: Architecture, initial_weights: Weights | None = None, *, belief_anchor: float = 0.0
) -> BuildNetworks:
    """What ``mappo.train(..., build_networks=...)`` calls: the layer's actor, and a critic of the settings' hidden layers.

    ``initial_weights`` replace what they name (a warm start has no Coordinator); with ``belief_anchor`` above 0 beliefs are held near
    theirs by that weight. The result raises ``TrainingSettingsError`` where the environment's agents, observations or actions are not
    the architecture's.
    """

    def build(spec: EnvSpec, settings: Settings, generator: torch.Generator) -> ActorCritic:
        wanted = layer_spec(architecture, spec.state_size)
        for name in ("agents", "observation_sizes", "action_counts"):
            if getattr(spec, name) != getattr(wanted, name):
                raise TrainingSettingsError(
                    f"{architecture.layer} networks: found an environment of {name} {getattr(spec, name)}, "
                    f"expected {getattr(wanted, name)}"
                )
        actor = build_actor(architecture, generator)
        anchor = None
        if initial_weights is not None:
            load_weights(actor, initial_weights, partial=True)
            if belief_anchor > 0.0:
                anchor = copy.deepcopy(actor).requires_grad_(requires_grad=False)
        critic = Critic(joint_width(spec), spec.agent_count, settings.hidden, settings.activation)
        critic.initialise(generator)
        return LayerActorCritic(actor, critic, anchor, belief_anchor)

    return build


def export_weights(actor: LayerActor) -> Weights:
    """Copies of all tensors by name, float32, in the order of ``Architecture.shapes()``."""
    state = actor.state_dict()
    return {name: state[name].detach().cpu().numpy().astype(np.float32) for name in actor.architecture.shapes()}


def load_weights(actor: LayerActor, weights: Mapping[str, NDArray[np.float32]], *, partial: bool = False) -> None:
    """Put ``weights`` into the actor; with ``partial`` some may be absent, and stay as they are.

    Raises ``TrainingDataError`` where a name is missing or unknown, or a shape differs.
    """
    shapes = actor.architecture.shapes()
    unknown, missing = sorted(weights.keys() - shapes.keys()), sorted(shapes.keys() - weights.keys())
    if unknown or (missing and not partial):
        raise TrainingDataError(
            f"weights of the {actor.architecture.layer} layer: found unknown {unknown}, missing {missing}; expected {sorted(shapes)}"
        )
    state = actor.state_dict()
    with torch.no_grad():
        for name, array in weights.items():
            if array.shape != shapes[name]:
                raise TrainingDataError(f"weights {name}: found shape {array.shape}, expected {shapes[name]}")
            state[name].copy_(torch.from_numpy(np.array(array, dtype=np.float32)))


def _blank_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer of zeros; torch's own constructor would draw from its global generator."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
