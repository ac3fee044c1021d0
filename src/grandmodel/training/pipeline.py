"""From markets to a model file: one layer trained from beginning to end, in reading order.

    prepare      normaliser, classes, the scale of moves, all from the training span alone
    warm start   trunks and beliefs, supervised                                         (``warm_start.py``)
    MAPPO        all agents on the batched environment, beliefs anchored                 (``mappo.py``, ``environments/``)
    calibrate    novelty from training windows; temperature, intervals and the scores of the belief from the validation span,
                 with the very inference that will trade                                 (``models/``)
    assemble     everything into a manifest and its tensors                              (``models/model_file.py``)

The validation span lies behind the training span and is not learnt from: its decisions begin after the last training label and an embargo
of a whole window. Everything follows from the seed: the same markets, settings and seed give the same file, byte for byte.

Read next: ``comparisons.py``, the single agent and the one network that this is held against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel import __version__
from grandmodel.features.normaliser import Normaliser
from grandmodel.features.schema import TIME_COLUMNS
from grandmodel.models.architecture import STRATEGIC_TAIL, Architecture, strategic_architecture, tactical_architecture
from grandmodel.models.calibration import (
    brier_score,
    calibrated,
    classify_outcomes,
    classwise_calibration_error,
    direction_support,
    expected_moves,
    fit_class_outcomes,
    fit_temperature,
    log_loss,
)
from grandmodel.models.conformal import FEWEST_SCORES, ConformalSettings, fit_conformal
from grandmodel.models.loaded import LoadedModel, decision_seed
from grandmodel.models.model_file import (
    NOVELTY,
    ClassOutcomes,
    DataSpan,
    DataSpans,
    Model,
    ModelManifest,
    Tensors,
    model_bytes,
    model_from_bytes,
    write_model,
)
from grandmodel.models.novelty import Novelty, fit_novelty, window_statistics
from grandmodel.models.scale import STRATEGIC_DECAY, TACTICAL_DECAY
from grandmodel.models.tails import write_strategic_tail
from grandmodel.training import mappo
from grandmodel.training.environments import EnvSettings, RewardWeights, TradingBatch, strategic_batch, tactical_batch
from grandmodel.training.errors import TrainingDataError, TrainingSettingsError
from grandmodel.training.labels import Examples, Windows, find_examples, hold_back, signs_of
from grandmodel.training.layer_networks import LayerActor, Weights, build_layer_networks, export_weights
from grandmodel.training.market import HORIZON_BARS, Layer, Span, TrainingMarket, check_one_layer
from grandmodel.training.warm_start import (
    ClassifierReport,
    LabelledSet,
    WarmStart,
    WarmStartSettings,
    constant_log_loss,
    warm_start,
    warm_start_trunk,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TIME_OF_DAY, _DAY_OF_WEEK = TIME_COLUMNS


class LayerTrainingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a trained layer, apart from markets, spans and seed."""

    warm_start: WarmStartSettings | None = WarmStartSettings()
    """None: trunks and beliefs begin at random."""
    belief_anchor: float = 0.3
    """Weight of the divergence from the warm start's beliefs in MAPPO's loss; see ``layer_networks.LayerActorCritic``."""
    mappo: mappo.Settings = mappo.Settings(
        frames=250_000,
        envs=64,
        steps=64,
        epochs=4,
        minibatches=4,
        learning_rate=1e-3,
        discount=0.95,
        entropy_start=0.01,
        entropy_end=0.001,
        critic_input="state",
        normalise_observations=False,
    )
    """Its ``seed`` is replaced by one that follows from the run's."""
    env: EnvSettings = EnvSettings()
    """Its normaliser and mean scales are replaced by those of the training span."""
    coverage: float = 0.9
    """Of the conformal intervals."""

    def __post_init__(self) -> None:
        if self.mappo.critic_input != "state" or self.mappo.normalise_observations:
            raise TrainingSettingsError(
                f"mappo: found critic_input {self.mappo.critic_input!r} and normalise_observations {self.mappo.normalise_observations}, "
                "expected 'state' and false: windows arrive normalised, and the critic sees the environment's state"
            )
        if not 0.0 <= self.belief_anchor < math.inf:
            raise TrainingSettingsError(f"belief_anchor: found {self.belief_anchor}, expected 0 or more")


def default_settings(layer: Layer) -> LayerTrainingSettings:
    """What this project's models of ``layer`` are trained with.

    The tactical layer has no warm start: on NQ, January to May 2019, no pass over the sign of the next six bars was better on what was
    held back than the network before the first (0.693 nats, a coin's). Its reward leaves profit itself out: exposures are drawn at random
    in its training, so profit says nothing about how they were traded; the implementation term holds what does.
    """
    settings = LayerTrainingSettings()
    if layer == "strategic":
        return settings
    rewards = RewardWeights(profit=0.0, drawdown=1.0)
    return msgspec.structs.replace(
        settings,
        warm_start=None,
        belief_anchor=0.0,
        env=msgspec.structs.replace(settings.env, rewards=rewards),
        mappo=msgspec.structs.replace(
            settings.mappo, learning_rate=3e-3, minibatches=8, discount=0.8, trace_decay=0.9, entropy_start=0.005
        ),
    )


class TrainingProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a training run is."""

    stage: str
    """``warm start``, ``mappo`` or ``calibration``."""
    done: int
    total: int
    """Passes of one network at most, updates, or decisions."""
    report: ClassifierReport | mappo.Update | None = None


OnProgress = Callable[[TrainingProgress], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is fitted on the training span before any network."""

    layer: Layer
    markets: tuple[TrainingMarket, ...]
    span: Span
    architecture: Architecture
    normaliser: Normaliser
    windows: Windows
    examples: Examples
    """All decisions of the training span whose outcome ends an embargo before its end."""
    outcomes: ClassOutcomes
    mean_scale: dict[str, float]
    """By instrument, ticks."""
    env: EnvSettings


@dataclass(frozen=True, slots=True)
class TrainedLayer:
    """A trained layer: what its file holds, and how its training went."""

    manifest: ModelManifest
    tensors: Tensors
    """Weights, and ``novelty.*``."""
    warm_start: tuple[ClassifierReport, ...]
    history: tuple[mappo.Update, ...]

    def model(self) -> Model:
        """As if read from its file."""
        return model_from_bytes(model_bytes(self.manifest, self.tensors), "trained model")

    def write(self, path: Path) -> str:
        """Write the model file; its id."""
        return write_model(path, self.manifest, self.tensors)


# --- the run ----------------------------------------------------------------------------------------------------------


def train_layer(
    layer: Layer,
    markets: Sequence[TrainingMarket],
    span: Span,
    validation: Span,
    settings: LayerTrainingSettings | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> TrainedLayer:
    """Train one layer on ``span`` and calibrate it on ``validation``, which lies behind it.

    Raises ``TrainingDataError`` for spans in the wrong order or without decisions, ``TrainingSettingsError``, ``DivergenceError``.
    """
    chosen = settings or default_settings(layer)
    tell = on_progress or (lambda _: None)
    if validation.start_ns < span.end_ns:
        raise TrainingDataError(
            "validation: found a span that begins before the training span ends, expected it behind"
        )
    prepared = prepare(layer, markets, span, chosen.env)
    warm = run_warm_start(prepared, chosen.warm_start, seed, tell)
    result = run_mappo(prepared, warm.weights, chosen, seed, tell)
    actor = result.policy.networks.actor
    assert isinstance(actor, LayerActor)  # noqa: S101 - for the type checker
    return calibrate(prepared, export_weights(actor), validation, chosen, seed, warm.reports, result.history, tell)


def prepare(layer: Layer, markets: Sequence[TrainingMarket], span: Span, env: EnvSettings) -> Prepared:
    """Fit normaliser, classes and mean scales on the bars of ``span`` that lie in no bad stretch."""
    schema = check_one_layer(markets)
    if markets[0].layer != layer:
        raise TrainingDataError(f"markets: found those of the {markets[0].layer} layer, expected {layer} ones")
    inside = [span.holds(market.ts_event) & (market.segment >= 0) for market in markets]
    normaliser = Normaliser.fit(
        np.concatenate([market.rows[here] for market, here in zip(markets, inside, strict=True)]),
        np.concatenate([market.ts_event[here] for market, here in zip(markets, inside, strict=True)]),
        schema,
        train_from_ns=span.start_ns,
        train_to_ns=span.end_ns - 1,
    )
    windows = Windows.of(markets, normaliser)
    examples = find_examples(markets, windows, span, embargo_bars=schema.rows)
    mean_scale = {
        str(market.instrument.id): float(market.scale[here & (market.scale > 0.0)].mean())
        for market, here in zip(markets, inside, strict=True)
        if (here & (market.scale > 0.0)).any()
    }
    missing = [str(market.instrument.id) for market in markets if str(market.instrument.id) not in mean_scale]
    if missing:
        raise TrainingDataError(
            f"{', '.join(missing)}: found no bar with a known scale in the training span; leave it out"
        )
    return Prepared(
        layer=layer,
        markets=tuple(markets),
        span=span,
        architecture=strategic_architecture() if layer == "strategic" else tactical_architecture(),
        normaliser=normaliser,
        windows=windows,
        examples=examples,
        outcomes=fit_class_outcomes(examples.outcomes),
        mean_scale=mean_scale,
        env=msgspec.structs.replace(env, normaliser=normaliser.to_data(), mean_scale=mean_scale),
    )


def run_warm_start(
    prepared: Prepared, settings: WarmStartSettings | None, seed: int, on_progress: OnProgress
) -> WarmStart:
    """Beliefs of the strategic agents from the class of the outcome; the tactical trunk from its sign. None: nothing is done."""
    if settings is None:
        return WarmStart({}, ())
    learnt_from, held_back = split_labelled(prepared, settings)

    def tell(report: ClassifierReport) -> None:
        on_progress(TrainingProgress(stage="warm start", done=report.epochs, total=settings.epochs, report=report))

    start = warm_start if prepared.layer == "strategic" else warm_start_trunk
    return start(
        prepared.architecture, prepared.windows, learnt_from, held_back, settings, stage_seed(seed, "warm start"), tell
    )


def split_labelled(prepared: Prepared, settings: WarmStartSettings) -> tuple[LabelledSet, LabelledSet]:
    """The labelled decisions of the training span: those to learn from, and the held-back ones at its end."""
    first, last = hold_back(prepared.span, settings.held_back)
    learnt_from = find_examples(prepared.markets, prepared.windows, first, embargo_bars=settings.embargo_bars)
    held_back = find_examples(prepared.markets, prepared.windows, last, embargo_bars=prepared.normaliser.schema.rows)
    return label(prepared, learnt_from), label(prepared, held_back)


def label(prepared: Prepared, examples: Examples) -> LabelledSet:
    """``examples`` with the class that the layer's warm start learns."""
    if prepared.layer == "tactical":
        return LabelledSet(examples.places, signs_of(examples.outcomes))
    classes = classify_outcomes(examples.outcomes, prepared.outcomes.lower, prepared.outcomes.upper)
    return LabelledSet(examples.places, classes)


def run_mappo(
    prepared: Prepared, weights: Weights, settings: LayerTrainingSettings, seed: int, on_progress: OnProgress
) -> mappo.TrainResult:
    """Train all agents on the batched environment from ``weights``."""
    options = msgspec.structs.replace(settings.mappo, seed=stage_seed(seed, "mappo"))

    def tell(update: mappo.Update) -> None:
        on_progress(TrainingProgress(stage="mappo", done=update.update, total=options.updates, report=update))

    return mappo.train(
        lambda: build_env(prepared, options.envs),
        options,
        build_networks=build_layer_networks(
            prepared.architecture, weights or None, belief_anchor=settings.belief_anchor
        ),
        on_update=[tell],
    )


def build_env(prepared: Prepared, count: int) -> TradingBatch:
    """``count`` copies of the layer's environment on the training span."""
    build = strategic_batch if prepared.layer == "strategic" else tactical_batch
    return build(prepared.markets, prepared.env, count, prepared.span)


# --- calibration and assembly -----------------------------------------------------------------------------------------


def calibrate(
    prepared: Prepared,
    weights: Weights,
    validation: Span,
    settings: LayerTrainingSettings,
    seed: int,
    reports: tuple[ClassifierReport, ...],
    history: tuple[mappo.Update, ...],
    on_progress: OnProgress,
) -> TrainedLayer:
    """Fit novelty, temperature and intervals, and put the model together."""
    novelty = fit_layer_novelty(prepared)
    tensors: Tensors = dict(weights) | {f"{NOVELTY}{name}": array for name, array in novelty.tensors().items()}
    metrics = _training_metrics(reports, history)
    manifest = _manifest(prepared, validation, settings, seed, novelty, metrics)
    if prepared.layer == "strategic":
        raw = LoadedModel(model_from_bytes(model_bytes(manifest, tensors), "uncalibrated model"), "")
        forecasts = foretell(raw, prepared, validation, seed, on_progress)
        manifest = _calibrated_manifest(manifest, prepared, forecasts, settings.coverage)
    return TrainedLayer(manifest, tensors, reports, history)


def fit_layer_novelty(prepared: Prepared) -> Novelty:
    """The novelty score of the training windows."""
    schema = prepared.normaliser.schema
    columns = np.array(schema.known_columns, np.int64)
    examples, offsets = prepared.examples, prepared.windows.offsets
    statistics = [
        window_statistics(market.rows, examples.places[examples.market == m] - offsets[m], schema.rows, columns)
        for m, market in enumerate(prepared.markets)
    ]
    return fit_novelty(
        np.concatenate(statistics), examples.ts_event, window_rows=schema.rows, columns=schema.known_columns
    )


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What a strategic model said at the decisions of a span, from a flat account. All arrays have one entry per decision."""

    examples: Examples
    beliefs: Floats
    """(N, 3) collapsed, not calibrated."""
    agents: Floats
    """(N, A, 3) each agent's own."""
    mutual_information: Floats
    novelty: Floats
    unit: Floats
    """Ticks in one unit of outcome."""
    time_of_day: Floats


def foretell(model: LoadedModel, prepared: Prepared, span: Span, seed: int, on_progress: OnProgress) -> Forecasts:
    """Ask ``model`` at every decision of ``span`` with a known outcome, as it will be asked in trading: 1,000 dropout samples each.

    The account is flat, as at a run's beginning: which positions a run holds depends on its own past.
    Raises ``TrainingDataError`` where there is no such decision.
    """
    examples = find_examples(prepared.markets, prepared.windows, span, embargo_bars=prepared.normaliser.schema.rows)
    if not len(examples):
        raise TrainingDataError(
            "validation: found no decision with a known outcome in it, expected some: take a longer span"
        )
    count, rows = len(examples), prepared.normaliser.schema.rows
    beliefs, agents = np.empty((count, 3)), np.empty((count, len(model.compiled.agents), 3))
    mutual, novelty, unit, hours = (np.empty(count) for _ in range(4))
    tail = np.zeros(len(STRATEGIC_TAIL), np.float32)
    for n in range(count):
        market = prepared.markets[examples.market[n]]
        place = int(examples.places[n] - prepared.windows.offsets[examples.market[n]])
        scale = float(market.scale[place])
        newest = market.rows[place]
        write_strategic_tail(
            tail, newest[_TIME_OF_DAY], newest[_DAY_OF_WEEK], 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, scale,
            prepared.mean_scale[str(market.instrument.id)],
        )  # fmt: skip
        output, novelty[n], _ = model.strategic(market.rows[place - rows + 1 : place + 1], tail, decision_seed(seed, n))
        beliefs[n], agents[n], mutual[n] = output.belief, output.beliefs, output.mutual_information
        unit[n], hours[n] = scale * math.sqrt(market.horizon), newest[_TIME_OF_DAY]
        if n % 1_000 == 999 or n == count - 1:
            on_progress(TrainingProgress(stage="calibration", done=n + 1, total=count))
    return Forecasts(examples, beliefs, agents, mutual, novelty, unit, hours)


def _calibrated_manifest(
    manifest: ModelManifest, prepared: Prepared, forecasts: Forecasts, coverage: float
) -> ModelManifest:
    """``manifest`` with temperature, intervals and the scores of the belief on the validation span."""
    examples = forecasts.examples
    classes = classify_outcomes(examples.outcomes, prepared.outcomes.lower, prepared.outcomes.upper)
    learnt = classify_outcomes(prepared.examples.outcomes, prepared.outcomes.lower, prepared.outcomes.upper)
    temperature = fit_temperature(forecasts.beliefs, classes)
    scaled = calibrated(forecasts.beliefs, temperature.value)
    moves, _ = expected_moves(scaled, prepared.outcomes)
    support = direction_support(
        [(moves[examples.market == m], examples.outcomes[examples.market == m]) for m in range(len(prepared.markets))],
        prepared.markets[0].horizon,
    )
    conformal: dict[str, ConformalSettings] = {}
    for m, market in enumerate(prepared.markets):
        own = examples.market == m
        if own.sum() < FEWEST_SCORES:
            raise TrainingDataError(
                f"{market.instrument.id}: found {own.sum()} decisions in the validation span, expected at least {FEWEST_SCORES}: "
                "take a longer span, or leave the market out"
            )
        conformal[str(market.instrument.id)] = fit_conformal(
            (examples.outcomes * forecasts.unit)[own],
            (moves * forecasts.unit)[own],
            forecasts.unit[own],
            forecasts.time_of_day[own],
            coverage=coverage,
            horizon=market.horizon,
        )
    metrics = {
        "validation.decisions": float(len(examples)),
        "validation.log_loss": log_loss(scaled, classes),
        "validation.log_loss_uncalibrated": temperature.loss_before,
        "validation.log_loss_constant": constant_log_loss(learnt, classes),
        "validation.log_loss_mean_of_agents": log_loss(_distributions(forecasts.agents.mean(axis=1)), classes),
        "validation.brier": brier_score(scaled, classes),
        "validation.calibration_error": classwise_calibration_error(scaled, classes),
        "validation.direction_slope": support.slope,
        "validation.direction_slope_error": support.deviation,
        "validation.mutual_information": float(forecasts.mutual_information.mean()),
        "validation.novel_share": float((forecasts.novelty > 1.0).mean()),
    }
    for place, head in enumerate(head for head in prepared.architecture.heads if head.trunk):
        own_loss = log_loss(_distributions(forecasts.agents[:, place]), classes)
        metrics[f"validation.log_loss.{head.agent}"] = own_loss
    return msgspec.structs.replace(
        manifest,
        temperature=temperature.value,
        direction_support=support.share,
        conformal=msgspec.to_builtins(conformal),
        metrics=manifest.metrics | metrics,
    )


def _manifest(
    prepared: Prepared,
    validation: Span,
    settings: LayerTrainingSettings,
    seed: int,
    novelty: Novelty,
    metrics: dict[str, float],
) -> ModelManifest:
    schema = prepared.normaliser.schema
    is_strategic = prepared.layer == "strategic"
    return ModelManifest(
        layer=prepared.layer,
        architecture=prepared.architecture,
        schema_hash=schema.hash,
        volume=schema.volume,
        normaliser=prepared.normaliser.to_data(),
        horizon_bars=HORIZON_BARS[prepared.layer],
        scale_decay=STRATEGIC_DECAY if is_strategic else TACTICAL_DECAY,
        mean_scale=prepared.mean_scale,
        outcomes=prepared.outcomes if is_strategic else None,
        novelty=msgspec.to_builtins(novelty.parameters),
        data=DataSpans(
            instruments=tuple(str(market.instrument.id) for market in prepared.markets),
            train=DataSpan(start_ns=prepared.span.start_ns, end_ns=prepared.span.end_ns),
            validation=DataSpan(start_ns=validation.start_ns, end_ns=validation.end_ns),
        ),
        seeds=(seed,),
        settings=msgspec.to_builtins(settings),
        code_version=__version__,
        metrics=metrics,
    )


def _training_metrics(reports: Sequence[ClassifierReport], history: Sequence[mappo.Update]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for report in reports:
        metrics[f"warm_start.log_loss.{report.agent}"] = report.log_loss
        metrics[f"warm_start.log_loss_constant.{report.agent}"] = report.constant_log_loss
    returns = [update.episode_return for update in history if update.episode_return is not None]
    if returns:
        last = returns[-max(len(returns) // 5, 1) :]
        metrics["mappo.episode_return"] = float(np.mean(last))
    metrics["mappo.frames"] = float(history[-1].frames)
    return metrics


def _distributions(beliefs: Floats) -> Floats:
    """Beliefs (N, 3) made by float32 networks, adding up to 1 exactly enough."""
    whole: Floats = beliefs / beliefs.sum(axis=1, keepdims=True)
    return whole


def stage_seed(seed: int, stage: str) -> int:
    """A stage's own seed, so that a change in one leaves the draws of the other."""
    return int(np.random.SeedSequence([seed, *stage.encode()]).generate_state(1)[0] >> 1)
