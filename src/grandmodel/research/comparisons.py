"""What several agents are held against: one agent that sees and does everything, and one network that foretells alone.

Both have about the layer's own number of weights, the same data, the same warm start and, the single agent, the same trainer and
frames, so that what is left is the division into agents. ``SingleAgentBatch`` shows the layer's environment to one agent;
``train_single_agent`` trains it; ``train_one_network`` trains a forecaster on all columns, for the ablation of the superposition.
Both end as a ``Forecaster``, which gives beliefs for ``evaluation.strategies.AnyForecaster``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from grandmodel.features.schema import STRATEGIC_SCHEMA, TIME_COLUMNS
from grandmodel.models.architecture import (
    BELIEF,
    COORDINATOR,
    DIRECTIONS,
    STRATEGIC_TAIL,
    Architecture,
    HeadSpec,
    TrunkSpec,
    strategic_architecture,
    tactical_architecture,
)
from grandmodel.models.tails import write_strategic_tail
from grandmodel.training import mappo
from grandmodel.training.batched import BatchedEnv, EnvSpec, IntArray, Outcome, Seen
from grandmodel.training.errors import TrainingDataError
from grandmodel.training.layer_networks import (
    LayerActor,
    Weights,
    build_actor,
    build_layer_networks,
    export_weights,
    layer_spec,
    load_weights,
)
from grandmodel.training.market import Layer, Span, TrainingMarket
from grandmodel.training.pipeline import (
    LayerTrainingSettings,
    OnProgress,
    Prepared,
    TrainingProgress,
    build_env,
    default_settings,
    prepare,
    split_labelled,
    stage_seed,
)
from grandmodel.training.warm_start import ClassifierReport, WarmStartSettings, train_belief, warm_start_trunk

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]

SINGLE = "single"
_TIME_OF_DAY, _DAY_OF_WEEK = TIME_COLUMNS

ONE_TRUNK = TrunkSpec(
    name="single_trunk",
    columns=tuple(range(len(STRATEGIC_SCHEMA.columns))),
    rows=STRATEGIC_SCHEMA.rows,
    patches=(4, 3),
    widths=(32, 72),
)
"""All thirteen columns; about as many weights as the three strategic trunks together."""


def single_architecture(layer: Layer) -> Architecture:
    """One agent with the whole window, the tail, and an action for each thing that the layer's agents can do together."""
    actions = tuple(" | ".join(names) for names in _joint_names(layer))
    if layer == "strategic":
        head = HeadSpec(agent=SINGLE, trunk=ONE_TRUNK.name, tail=len(STRATEGIC_TAIL), hidden=16, actions=actions)
        return Architecture(layer=layer, trunks=(ONE_TRUNK,), heads=(head,))
    own = tactical_architecture()
    (trunk,) = own.trunks
    head = HeadSpec(agent=SINGLE, trunk=trunk.name, tail=own.heads[0].tail, hidden=38, actions=actions)
    return Architecture(layer=layer, trunks=(trunk,), heads=(head,))


def one_network_architecture() -> Architecture:
    """One trunk over all thirteen strategic columns, and one belief."""
    head = HeadSpec(agent=SINGLE, trunk=ONE_TRUNK.name, tail=0, hidden=0, actions=BELIEF)
    return Architecture(layer="strategic", trunks=(ONE_TRUNK,), heads=(head,))


def joint_actions(layer: Layer) -> Integers:
    """(J, A) what each agent of the layer does at each of the single agent's actions.

    Strategic: all three believe the same, whom the Coordinator follows is then one. Tactical: every combination.
    """
    if layer == "strategic":
        return np.array([[k, k, k, 0] for k in range(len(BELIEF))], np.int64)
    counts = [range(len(head.actions)) for head in tactical_architecture().heads]
    return np.array(list(itertools.product(*counts)), np.int64)


class SingleAgentBatch(BatchedEnv):
    """A layer's batched environment as one agent meets it: all that its agents see, each number once; one action for all of them.

    The layer's agents earn the same and end together, so the first one's rewards and ends are the single agent's.
    """

    def __init__(self, inner: BatchedEnv, layer: Layer) -> None:
        self.inner, self.count = inner, inner.count
        self.spec = layer_spec(single_architecture(layer), inner.spec.state_size)
        self._choices = joint_actions(layer)
        self._sources = _sources(layer, inner.spec)

    def reset(self, seed: int) -> Seen:
        """Start every copy anew."""
        return self._look(self.inner.reset(seed))

    def step(self, actions: IntArray) -> Outcome:
        """Play ``actions`` (N, 1)."""
        outcome = self.inner.step(self._choices[actions[:, 0]])
        final = self._look(outcome.final)
        seen = final if outcome.seen is outcome.final else self._look(outcome.seen)
        return Outcome(
            outcome.rewards[:, :1],
            outcome.terminated[:, :1],
            outcome.truncated[:, :1],
            outcome.restarted,
            final,
            seen,
        )

    def save(self) -> dict[str, NDArray[np.generic]]:
        """What the environment inside saves."""
        return self.inner.save()

    def restore(self, saved: dict[str, NDArray[np.generic]]) -> Seen:
        """Go back to what ``save`` returned."""
        return self._look(self.inner.restore(saved))

    def close(self) -> None:
        """Release what the environment inside holds."""
        self.inner.close()

    def _look(self, seen: Seen) -> Seen:
        flat = seen.observations.reshape(self.count, -1)[:, self._sources]  # (N, F)
        return Seen(flat[:, None], seen.alive[:, :1], None, seen.state)


@dataclass(frozen=True, slots=True)
class Forecaster:
    """A trained comparison: its network, and what its inputs are normalised with."""

    prepared: Prepared
    architecture: Architecture
    weights: Weights
    warm_start: tuple[ClassifierReport, ...]
    history: tuple[mappo.Update, ...] = ()

    def actor(self) -> LayerActor:
        """Its network."""
        actor = build_actor(self.architecture, torch.Generator().manual_seed(0))
        load_weights(actor, self.weights)
        return actor

    def beliefs(self, market: TrainingMarket, places: Integers) -> Floats:
        """Its distribution (N, 3) over ``BELIEF`` at ``places`` (N,) of a strategic ``market``, in order of time.

        Where the network sees the account, that is one that holds the likeliest direction from each place on: its position, open
        profit and bars held follow; drawdown, day's result and shortfall are 0.
        """
        if self.architecture.layer != "strategic":
            raise TrainingDataError(f"beliefs: found a {self.architecture.layer} agent, expected a strategic one")
        rows = self.prepared.normaliser.apply(market.rows).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(rows, market.schema.rows, axis=0)
        found = np.empty((len(places), len(BELIEF)))
        actor, (head,) = self.actor(), self.architecture.heads
        with torch.no_grad(), mappo.torch_threads(1):
            features = torch.cat(
                [
                    actor.get_submodule(ONE_TRUNK.name)(
                        torch.from_numpy(
                            np.moveaxis(windows[part - market.schema.rows + 1], 2, 1).reshape(len(part), -1)
                        )
                    )
                    for part in np.array_split(places, len(places) // 1_024 + 1)
                ]
            )
            if not head.tail:
                return np.asarray(actor.agent_logits(SINGLE, features).double().softmax(-1).numpy())
            account = _Held(market, self.prepared.mean_scale[str(market.instrument.id)])
            for n, place in enumerate(places.tolist()):
                tail = torch.from_numpy(account.tail(place))
                found[n] = actor.agent_logits(SINGLE, features[n], tail).double().softmax(-1).numpy()
                account.hold(DIRECTIONS[int(found[n].argmax())], place)
        return found


def train_single_agent(
    layer: Layer,
    markets: Sequence[TrainingMarket],
    span: Span,
    settings: LayerTrainingSettings | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Forecaster:
    """PPO with one agent: its trunk warm-started through an auxiliary head, then as many frames as the layer's own training."""
    chosen, tell = settings or default_settings(layer), on_progress or (lambda _: None)
    prepared, architecture = prepare(layer, markets, span, chosen.env), single_architecture(layer)
    weights: Weights = {}
    reports: tuple[ClassifierReport, ...] = ()
    if chosen.warm_start is not None:
        classes = BELIEF if layer == "strategic" else ("up", "down")
        started = warm_start_trunk(
            architecture, prepared.windows, *split_labelled(prepared, chosen.warm_start), chosen.warm_start,
            stage_seed(seed, "warm start"), classes=classes,
        )  # fmt: skip
        weights, reports = started.weights, started.reports
    options = msgspec.structs.replace(chosen.mappo, seed=stage_seed(seed, "mappo"))
    result = mappo.train(
        lambda: SingleAgentBatch(build_env(prepared, options.envs), layer),
        options,
        build_networks=build_layer_networks(architecture, weights or None),
        on_update=[
            lambda update: tell(
                TrainingProgress(stage="mappo", done=update.update, total=options.updates, report=update)
            )
        ],
    )
    actor = result.policy.networks.actor
    assert isinstance(actor, LayerActor)  # noqa: S101 - for the type checker
    return Forecaster(prepared, architecture, export_weights(actor), reports, result.history)


def train_one_network(
    markets: Sequence[TrainingMarket], span: Span, settings: LayerTrainingSettings | None = None, seed: int = 0
) -> Forecaster:
    """One supervised forecaster over all thirteen columns."""
    chosen = settings or default_settings("strategic")
    prepared, architecture = prepare("strategic", markets, span, chosen.env), one_network_architecture()
    options = chosen.warm_start or WarmStartSettings()
    found = train_belief(
        architecture,
        prepared.windows,
        *split_labelled(prepared, options),
        options,
        (stage_seed(seed, "warm start"), 0),
    )
    return Forecaster(prepared, architecture, found.weights, found.reports)


def train_comparison(
    name: str, markets: Sequence[TrainingMarket], span: Span, settings: LayerTrainingSettings, seed: int
) -> Forecaster:
    """The strategic comparison called ``name``, on one thread of torch: what a process of its own is given to do."""
    with mappo.torch_threads(1):
        if name == "one big network":
            return train_one_network(markets, span, settings, seed)
        return train_single_agent("strategic", markets, span, settings, seed)


class _Held:
    """An account that holds a whole exposure in one direction, as the Coordinator's tail tells of it."""

    def __init__(self, market: TrainingMarket, mean_scale: float) -> None:
        self._market, self._mean_scale = market, mean_scale
        self._direction, self._since, self._entry, self._segment = 0, 0, 0.0, -1
        self._tail = np.zeros(len(STRATEGIC_TAIL), np.float32)

    def tail(self, place: int) -> Singles:
        """What is seen at ``place``. Nothing is carried from one segment into another."""
        market = self._market
        if market.segment[place] != self._segment:
            self._direction, self._since, self._segment = 0, place, int(market.segment[place])
        row, scale = market.rows[place], float(market.scale[place])
        profit = self._direction * (float(market.bars["close"][place]) - self._entry)
        write_strategic_tail(
            self._tail, row[_TIME_OF_DAY], row[_DAY_OF_WEEK], self._direction, 1.0, profit,
            abs(self._direction) * scale * math.sqrt(market.horizon), 0.0, 1.0, 0.0, 1.0, self._direction,
            place - self._since, scale, self._mean_scale,
        )  # fmt: skip
        return self._tail

    def hold(self, direction: int, place: int) -> None:
        """Go over to ``direction`` at the close of ``place``."""
        if direction != self._direction:
            self._direction, self._since = direction, place
            self._entry = float(self._market.bars["close"][place])


def _joint_names(layer: Layer) -> list[tuple[str, ...]]:
    if layer == "strategic":
        return [(name,) for name in BELIEF]
    return list(itertools.product(*(head.actions for head in tactical_architecture().heads)))


def _sources(layer: Layer, spec: EnvSpec) -> Integers:
    """Places in a flat row of padded observations (A * F) from which the single agent's observation is put together."""
    width = spec.observation_width
    if layer == "tactical":
        return np.arange(spec.observation_sizes[0])
    architecture = strategic_architecture()
    where: dict[int, tuple[int, int, int]] = {}  # column -> agent, place in its row, columns of its row
    for a, head in enumerate(architecture.heads):
        if head.trunk:
            columns = architecture.trunk(head.trunk).columns
            where |= {column: (a, k, len(columns)) for k, column in enumerate(columns)}
    window = [
        a * width + row * columns + k
        for row in range(ONE_TRUNK.rows)
        for a, k, columns in (where[column] for column in ONE_TRUNK.columns)
    ]
    coordinator = [head.agent for head in architecture.heads].index(COORDINATOR)
    return np.array([*window, *(coordinator * width + np.arange(len(STRATEGIC_TAIL)))], np.int64)
