"""Learning to foretell before learning to trade: trunks and belief heads, supervised.

A strategic agent's trunk and head learn the class of the outcome (``labels.py``) by cross-entropy. Reward alone would have to find the
same features through noise that is far larger. Dropout is on here, so that leaving features out later, which is how ignorance is
measured, asks the network only what it was trained for.

The last part of the training span is held back: its log loss decides after which pass the weights are kept. Its first decisions begin
after the last outcome that was learnt from, and an embargo more. What is reported stands beside a constant forecast, the class
frequencies of the part that was learnt from: on these markets that is hard to beat, and where it was not beaten the report says so.

Everything follows from the seed. Read next: ``pipeline.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from grandmodel.models.architecture import BELIEF, Architecture, HeadSpec, TrunkSpec
from grandmodel.training.errors import DivergenceError, TrainingDataError, TrainingSettingsError
from grandmodel.training.labels import Integers, Windows
from grandmodel.training.layer_networks import LayerActor, Weights, build_actor, export_weights
from grandmodel.training.mappo import torch_threads

Gather = Callable[[Integers], Tensor]
"""Windows (B, N) at the given places (B,)."""


class WarmStartSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the supervised part is trained."""

    epochs: int = 12
    """Passes at most."""
    patience: int = 3
    """Passes without a better held-back log loss before it ends."""
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    """Of AdamW: decoupled from the gradient."""
    held_back: float = 0.15
    """Share of the training span, at its end, that chooses the pass."""
    embargo_bars: int = 48
    """Bars between the last outcome learnt from and the first decision held back."""

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch"):
            if getattr(self, name) < 1:
                raise TrainingSettingsError(f"{name}: found {getattr(self, name)}, expected 1 or more")
        if not 0.0 < self.held_back < 1.0 or self.learning_rate <= 0.0:
            raise TrainingSettingsError(
                f"found held_back {self.held_back}, learning_rate {self.learning_rate}; expected a share and a positive rate"
            )


class ClassifierReport(msgspec.Struct, frozen=True, kw_only=True):
    """How one network learnt. Log losses are in nats a decision."""

    agent: str
    epochs: int
    """Passes made; the weights are those after pass ``best_epoch``, 0 being before the first."""
    best_epoch: int
    learnt_from: int
    held_back: int
    """Decisions."""
    train_log_loss: float
    """Mean over the last pass, dropout on."""
    log_loss: float
    """Held back, dropout off."""
    constant_log_loss: float
    """What the class frequencies of the decisions learnt from score on those held back."""


OnClassifier = Callable[[ClassifierReport], None]
"""Called after every pass with what is known so far."""


@dataclass(frozen=True, slots=True)
class WarmStart:
    """Weights of the trunks and heads that were trained, and how it went."""

    weights: Weights
    reports: tuple[ClassifierReport, ...]


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Decisions with their classes."""

    places: Integers
    classes: Integers


def warm_start(
    architecture: Architecture,
    windows: Windows,
    learnt_from: LabelledSet,
    held_back: LabelledSet,
    settings: WarmStartSettings,
    seed: int,
    on_progress: OnClassifier | None = None,
) -> WarmStart:
    """Train every agent of ``architecture`` whose actions are a belief: its trunk and its head, each agent by itself."""
    weights: Weights = {}
    reports: list[ClassifierReport] = []
    for number, head in enumerate(architecture.heads):
        if head.actions != BELIEF or not head.trunk or head.tail:
            continue
        own = Architecture(
            layer=architecture.layer,
            trunks=(architecture.trunk(head.trunk),),
            heads=(head,),
            dropout=architecture.dropout,
        )
        found = train_belief(own, windows, learnt_from, held_back, settings, (seed, number), on_progress)
        weights |= found.weights
        reports.extend(found.reports)
    return WarmStart(weights, tuple(reports))


def warm_start_trunk(
    architecture: Architecture,
    windows: Windows,
    learnt_from: LabelledSet,
    held_back: LabelledSet,
    settings: WarmStartSettings,
    seed: int,
    on_progress: OnClassifier | None = None,
    *,
    classes: tuple[str, ...] = ("up", "down"),
) -> WarmStart:
    """Train the one trunk of ``architecture`` through an auxiliary head, which is then dropped.

    ``classes`` names what the labels count; the tactical trunk learns ``labels.signs_of``.
    """
    (trunk,) = architecture.trunks
    head = HeadSpec(agent="auxiliary", trunk=trunk.name, tail=0, hidden=0, actions=classes)
    own = Architecture(layer=architecture.layer, trunks=(trunk,), heads=(head,), dropout=architecture.dropout)
    found = train_belief(own, windows, learnt_from, held_back, settings, (seed, 0), on_progress)
    kept = {name: array for name, array in found.weights.items() if name.startswith(f"{trunk.name}.")}
    return WarmStart(kept, found.reports)


def train_belief(
    architecture: Architecture,
    windows: Windows,
    learnt_from: LabelledSet,
    held_back: LabelledSet,
    settings: WarmStartSettings,
    seed: tuple[int, int],
    on_progress: OnClassifier | None = None,
) -> WarmStart:
    """Train an architecture of one trunk and one head."""
    (trunk,), (head,) = architecture.trunks, architecture.heads
    generator = _generator(seed)
    with torch_threads(1):
        actor = build_actor(architecture, generator)
        report = train_classifier(
            _TrunkAndHead(actor, trunk, head),
            lambda places: torch.from_numpy(windows.gather(trunk, places)),
            learnt_from,
            held_back,
            settings,
            generator,
            dropout=architecture.dropout,
            name=head.agent,
            on_progress=on_progress,
        )
    return WarmStart(export_weights(actor), (report,))


class Classifier(nn.Module):
    """A network in two parts with dropout between them."""

    def features(self, windows: Tensor) -> Tensor:
        """(B, 32) of windows (B, N)."""
        raise NotImplementedError

    def logits(self, features: Tensor) -> Tensor:
        """(B, K) of features (B, 32)."""
        raise NotImplementedError


class _TrunkAndHead(Classifier):
    """The one trunk and the one head of an actor."""

    def __init__(self, actor: LayerActor, trunk: TrunkSpec, head: HeadSpec) -> None:
        super().__init__()
        self._trunk = actor.get_submodule(trunk.name)
        self._head = actor.get_submodule(head.agent)

    def features(self, windows: Tensor) -> Tensor:
        found: Tensor = self._trunk(windows)
        return found

    def logits(self, features: Tensor) -> Tensor:
        found: Tensor = self._head(features)
        return found


def train_classifier(
    network: Classifier,
    gather: Gather,
    learnt_from: LabelledSet,
    held_back: LabelledSet,
    settings: WarmStartSettings,
    generator: torch.Generator,
    *,
    dropout: float,
    name: str,
    on_progress: OnClassifier | None = None,
) -> ClassifierReport:
    """Train ``network`` in place; it ends with the weights of the pass with the least held-back log loss.

    Raises ``TrainingDataError`` where there is nothing to learn from or to hold back, ``DivergenceError`` where a loss is not finite.
    """
    if not len(learnt_from.places) or not len(held_back.places):
        raise TrainingDataError(
            f"{name}: found {len(learnt_from.places)} decisions to learn from and {len(held_back.places)} held back, expected some of both"
        )
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    constant = constant_log_loss(learnt_from.classes, held_back.classes)
    best, best_epoch, best_state = held_back_log_loss(network, gather, held_back), 0, _state_of(network)
    for epoch in range(1, settings.epochs + 1):
        train_loss = _one_pass(network, gather, learnt_from, settings.batch, optimiser, generator, dropout)
        found = held_back_log_loss(network, gather, held_back)
        if not (np.isfinite(train_loss) and np.isfinite(found)):
            raise DivergenceError(f"{name}: a loss is not finite after pass {epoch}; lower the learning rate")
        if found < best:
            best, best_epoch, best_state = found, epoch, _state_of(network)
        report = ClassifierReport(
            agent=name,
            epochs=epoch,
            best_epoch=best_epoch,
            learnt_from=len(learnt_from.places),
            held_back=len(held_back.places),
            train_log_loss=train_loss,
            log_loss=best,
            constant_log_loss=constant,
        )
        if on_progress is not None:
            on_progress(report)
        if epoch - best_epoch >= settings.patience:
            break
    network.load_state_dict(best_state)
    return report


def constant_log_loss(learnt_from: Integers, held_back: Integers) -> float:
    """Log loss on the classes ``held_back`` of forecasting, always, the frequencies of the classes ``learnt_from``."""
    counts = np.bincount(learnt_from, minlength=int(max(learnt_from.max(), held_back.max())) + 1)
    return float(-np.log(counts / counts.sum())[held_back].mean())


@torch.no_grad()
def held_back_log_loss(network: Classifier, gather: Gather, examples: LabelledSet, batch: int = 4_096) -> float:
    """Mean log loss on ``examples``, dropout off."""
    total = 0.0
    for first in range(0, len(examples.places), batch):
        part = slice(first, first + batch)
        logits = network.logits(network.features(gather(examples.places[part])))
        total += float(functional.cross_entropy(logits, torch.from_numpy(examples.classes[part]), reduction="sum"))
    return total / len(examples.places)


def _one_pass(
    network: Classifier,
    gather: Gather,
    examples: LabelledSet,
    batch: int,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    dropout: float,
) -> float:
    """One pass over ``examples`` in a drawn order; the mean loss."""
    total = 0.0
    order = torch.randperm(len(examples.places), generator=generator).numpy()
    for first in range(0, len(order), batch):
        index = order[first : first + batch]
        features = network.features(gather(examples.places[index]))
        kept = torch.rand(features.shape, generator=generator) >= dropout
        logits = network.logits(features * kept / (1.0 - dropout))
        loss = functional.cross_entropy(logits, torch.from_numpy(examples.classes[index]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += float(loss.detach()) * len(index)
    return total / len(order)


def _generator(seed: tuple[int, int]) -> torch.Generator:
    return torch.Generator().manual_seed(
        int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
    )


def _state_of(network: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(network.state_dict())
