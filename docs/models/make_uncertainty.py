# ruff: noqa: INP001 (a script beside the page that it makes)
"""Remake ``docs/models/uncertainty.md``: are the numbers that say how sure a decision is to be trusted?

``python docs/models/make_uncertainty.py [FOLDER]``, where FOLDER holds the shared market data (default ``../shared/data``). Some four
CPU minutes. Nothing after June 2023 is read: later data belong to the final evaluation.
"""

from __future__ import annotations

import gzip
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

from grandmodel.data.historical.importing import read_file
from grandmodel.domain.blocks import Flag
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import THIRTY_MINUTES_NS, ns_from_text
from grandmodel.features.normaliser import Normaliser
from grandmodel.features.schema import STRATEGIC_SCHEMA
from grandmodel.features.strategic import strategic_rows
from grandmodel.kernels import kernel
from grandmodel.models.architecture import BELIEF, STRATEGIC_TAIL, strategic_architecture
from grandmodel.models.calibration import (
    Temperature,
    brier_parts,
    calibrated,
    calibration_error,
    classify_outcomes,
    classwise_calibration_error,
    expected_moves,
    fit_class_outcomes,
    fit_temperature,
    log_loss,
    reliability_bins,
)
from grandmodel.models.conformal import (
    ConformalHistory,
    ConformalSettings,
    conformal_history,
    fit_conformal,
    split_conformal_radius,
)
from grandmodel.models.inference import CompiledModel
from grandmodel.models.model_file import (
    ClassOutcomes,
    DataSpan,
    DataSpans,
    ModelManifest,
    model_bytes,
    model_from_bytes,
)
from grandmodel.models.novelty import Novelty, fit_novelty, spread_factor, window_statistics
from grandmodel.models.scale import STRATEGIC_DECAY
from grandmodel.strategic.decision import trust_in
from grandmodel.training.labels import Examples, Windows, find_examples, hold_back
from grandmodel.training.market import Span, TrainingMarket, build_market
from grandmodel.training.warm_start import LabelledSet, WarmStartSettings, warm_start

HERE = Path(__file__).resolve().parent
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

INSTRUMENTS = ("NQ", "CL")
FIRST, LAST = "2020-07-01", "2023-07-01"
FOLDS = (
    ("2021-07-01", "2022-01-01", "2022-07-01"),
    ("2022-01-01", "2022-07-01", "2023-01-01"),
    ("2022-07-01", "2023-01-01", LAST),
)
"""End of training, of calibration, of the test. Training begins at the first bar, calibration and test follow it."""
SEEDS = range(5)
EMBARGO_BARS = 48
COVERAGE = 0.9
SAMPLES = 1000
EVERY = 16
"""Dropout is sampled on every 16th decision: outcomes of neighbours overlap."""
LEARNING = WarmStartSettings(epochs=8, patience=2)
LATE_START = "2021-07-01"
BAR = 0.02
"""How far from what was asked the coverage of a half may lie."""
DTACI_STEPS = 0.001 * 2.0 ** np.arange(8)


def at(day: str) -> int:
    """Nanoseconds of a day's start, UTC."""
    return ns_from_text(f"{day}T00:00:00Z")


# --- what is learnt -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Decisions of one span with what was said of them."""

    examples: Examples
    labels: Integers
    members: Floats
    """(5, N, 3) each seed's belief, without dropout, not calibrated."""


@dataclass(frozen=True, slots=True)
class Member:
    """One network of the ensemble: its tensors, and compiled as trading has it."""

    weights: dict[str, NDArray[np.float32]]
    compiled: CompiledModel


@dataclass(frozen=True, slots=True)
class Fold:
    """One training, its calibration and its test."""

    outcomes: ClassOutcomes
    drawn: Floats
    """Outcomes that were learnt from: what residual noise is drawn from."""
    models: tuple[Member, ...]
    novelty: Novelty
    calibration: Forecasts
    test: Forecasts
    frequencies: Floats
    """(3,) of the classes over what was learnt from."""
    by_time: Floats
    """(48, 3) the same within each 48th of the trading day."""
    temperatures: tuple[Temperature, ...]
    """One for each seed."""
    ensemble_temperature: Temperature


def load_markets(folder: Path) -> list[TrainingMarket]:
    """NQ and CL up to the end of June 2023."""
    markets = []
    for name in INSTRUMENTS:
        instrument = BUILT_IN[InstrumentId(name)]
        path = folder / "bars" / "futures_30m" / f"{name}_30m_eth_20200629_20240628.csv.gz"
        (block,) = read_file(path, instrument)[0].values()
        markets.append(build_market(block[block["ts_event"] < at(LAST)], instrument, "strategic"))
    return markets


def learn(markets: Sequence[TrainingMarket], days: tuple[str, str, str]) -> Fold:
    """Five networks on one training span; classes, temperatures and novelty with them."""
    train, calibration, test = (Span(at(a), at(b)) for a, b in zip((FIRST, *days[:2]), days, strict=True))
    rows, stamps = np.concatenate([m.rows for m in markets]), np.concatenate([m.ts_event for m in markets])
    normaliser = Normaliser.fit(
        rows, stamps, STRATEGIC_SCHEMA, train_from_ns=train.start_ns, train_to_ns=train.end_ns - 1
    )
    windows = Windows.of(markets, normaliser)
    learnt_span, chosen_span = hold_back(train, LEARNING.held_back)
    learnt = find_examples(markets, windows, learnt_span, embargo_bars=EMBARGO_BARS)
    chosen = find_examples(markets, windows, chosen_span, embargo_bars=EMBARGO_BARS)
    outcomes = fit_class_outcomes(learnt.outcomes)

    def labelled(examples: Examples) -> Integers:
        return classify_outcomes(examples.outcomes, outcomes.lower, outcomes.upper)

    models = []
    for seed in SEEDS:
        found = warm_start(
            strategic_architecture(),
            windows,
            LabelledSet(learnt.places, labelled(learnt)),
            LabelledSet(chosen.places, labelled(chosen)),
            LEARNING,
            seed,
        )
        models.append(_compile(found.weights, normaliser, outcomes, train, seed))
    spans = (calibration, test)
    examples = [find_examples(markets, windows, span, embargo_bars=EMBARGO_BARS) for span in spans]
    said = [
        Forecasts(e, labelled(e), np.array([_beliefs(model.compiled, rows, e.places) for model in models]))
        for e in examples
    ]
    ensemble = fit_temperature(said[0].members.mean(axis=0), said[0].labels)
    part = _day_part(rows[learnt.places, 6])
    by_time = np.array([np.bincount(labelled(learnt)[part == k], minlength=3) + 10.0 for k in range(48)])
    places = [m.decisions(train) for m in markets]
    novelty = fit_novelty(
        np.concatenate([window_statistics(m.rows, p, 48, np.arange(13)) for m, p in zip(markets, places, strict=True)]),
        np.concatenate([m.ts_event[p] for m, p in zip(markets, places, strict=True)]),
        window_rows=48,
        columns=STRATEGIC_SCHEMA.known_columns,
    )
    return Fold(
        outcomes=outcomes,
        drawn=learnt.outcomes,
        models=tuple(models),
        novelty=novelty,
        calibration=said[0],
        test=said[1],
        frequencies=np.bincount(labelled(learnt), minlength=3) / len(learnt),
        by_time=by_time / by_time.sum(axis=1, keepdims=True),
        temperatures=tuple(fit_temperature(member, said[0].labels) for member in said[0].members),
        ensemble_temperature=ensemble,
    )


def _compile(
    weights: dict[str, NDArray[np.float32]], normaliser: Normaliser, outcomes: ClassOutcomes, train: Span, seed: int
) -> Member:
    """Through a model file, as trading does; the Coordinator, who is not trained here, weighs the agents evenly."""
    shapes = strategic_architecture().shapes()
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if name not in weights}
    manifest = ModelManifest(
        layer="strategic",
        architecture=strategic_architecture(),
        schema_hash=STRATEGIC_SCHEMA.hash,
        volume="known",
        normaliser=normaliser.to_data(),
        horizon_bars=8,
        scale_decay=STRATEGIC_DECAY,
        mean_scale={},
        outcomes=outcomes,
        data=DataSpans(instruments=INSTRUMENTS, train=DataSpan(start_ns=train.start_ns, end_ns=train.end_ns)),
        seeds=(seed,),
        settings={},
        code_version="study",
        metrics={},
    )
    model = model_from_bytes(model_bytes(manifest, weights | zeros), "study")
    return Member(weights | zeros, CompiledModel(model, samples=SAMPLES))


def windows_of(rows: Floats, places: Integers) -> Floats:
    """The raw windows (N, 48, 13) that end at ``places``."""
    return rows[places[:, None] + np.arange(-47, 1)]


def _beliefs(model: CompiledModel, rows: Floats, places: Integers) -> Floats:
    """(N, 3) collapsed beliefs without dropout."""
    parts = [places[i : i + 2048] for i in range(0, len(places), 2048)]
    tails = np.zeros((2048, len(STRATEGIC_TAIL)), np.float32)
    return np.concatenate([model.decide_batch(windows_of(rows, p), tails[: len(p)]).belief for p in parts])


def _day_part(time_of_day: Floats) -> Integers:
    return np.clip((time_of_day * 48).astype(np.int64), 0, 47)


# --- beliefs ------------------------------------------------------------------------------------------------------------------


def belief_section(markets: Sequence[TrainingMarket], folds: Sequence[Fold]) -> list[str]:
    """Scores of the test decisions of all folds, before and after temperature, beside what knows nothing."""
    rows = np.concatenate([m.rows for m in markets])
    labels = np.concatenate([fold.test.labels for fold in folds])
    constant = np.concatenate([np.tile(fold.frequencies, (len(fold.test.labels), 1)) for fold in folds])
    by_time = np.concatenate([fold.by_time[_day_part(rows[fold.test.examples.places, 6])] for fold in folds])
    table: list[tuple[str, list[Floats]]] = [
        ("class frequencies", [constant]),
        ("class frequencies by time of day", [by_time]),
        ("one network, as it is (mean of 5)", [np.concatenate([f.test.members[s] for f in folds]) for s in SEEDS]),
        (
            "one network, temperature (mean of 5)",
            [np.concatenate([calibrated(f.test.members[s], f.temperatures[s].value) for f in folds]) for s in SEEDS],
        ),
        ("ensemble of 5, as it is", [np.concatenate([f.test.members.mean(axis=0) for f in folds])]),
        ("ensemble of 5, temperature", [_ensemble(folds)]),
    ]
    lines = [
        "| belief | log loss | Brier | reliability | resolution | ECE | classwise ECE | hits | hits, up or down |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, beliefs in table:
        parts = [brier_parts(b, labels) for b in beliefs]
        numbers = (
            _mean(log_loss(b, labels) for b in beliefs),
            _mean(p.score for p in parts),
            _mean(p.reliability for p in parts),
            _mean(p.resolution for p in parts),
            _mean(calibration_error(b, labels) for b in beliefs),
            _mean(classwise_calibration_error(b, labels) for b in beliefs),
            _mean((b.argmax(axis=1) == labels).mean() for b in beliefs),
            _mean(_side_hits(b, labels) for b in beliefs),
        )
        lines.append(f"| {name} | " + " | ".join(f"{n:.4f}" for n in numbers) + " |")
    lines += ["", f"{len(labels):,} test decisions; a coin gives {math.log(3):.4f} nats, and 0.5 for up or down.", ""]
    lines += [
        "By fold (ensemble, after temperature):",
        "",
        "| test span | temperatures of the 5, of the ensemble | log loss | by time of day | ECE | worst ECE of one network |",
        "|---|---|---|---|---|---|",
    ]
    for fold, days in zip(folds, FOLDS, strict=True):
        said = calibrated(fold.test.members.mean(axis=0), fold.ensemble_temperature.value)
        single = [
            calibration_error(calibrated(fold.test.members[s], fold.temperatures[s].value), fold.test.labels)
            for s in SEEDS
        ]
        clock = fold.by_time[_day_part(rows[fold.test.examples.places, 6])]
        lines.append(
            f"| {days[1]} to {days[2]} | {', '.join(f'{t.value:.2f}' for t in fold.temperatures)}; {fold.ensemble_temperature.value:.2f} | "
            f"{log_loss(said, fold.test.labels):.4f} | {log_loss(clock, fold.test.labels):.4f} | "
            f"{calibration_error(said, fold.test.labels):.4f} | {max(single):.4f} |"
        )
    return [
        *lines,
        "",
        *_reliability(_ensemble(folds), labels),
        *_verdict(_ensemble(folds), by_time, constant, labels, folds),
    ]


def _ensemble(folds: Sequence[Fold]) -> Floats:
    return np.concatenate([calibrated(f.test.members.mean(axis=0), f.ensemble_temperature.value) for f in folds])


def _side_hits(beliefs: Floats, labels: Integers) -> float:
    """Share of the moves that were up or down whose side had the larger probability; ties count a half."""
    moved = labels != BELIEF.index("neutral")
    lean = beliefs[moved, 0] - beliefs[moved, 2]
    return float(np.where(lean == 0.0, 0.5, (lean > 0.0) == (labels[moved] == 0)).mean())


def _reliability(beliefs: Floats, labels: Integers) -> list[str]:
    """The reliability diagram of every class's own probability, as a table."""
    lines = [
        "Reliability diagram (ensemble, after temperature; bins of 0.05 with 50 decisions or more):",
        "",
        "| said | " + " | ".join(f"{name}: happened (n)" for name in BELIEF) + " |",
        "|---|---|---|---|",
    ]
    columns = [reliability_bins(beliefs[:, k], labels == k, 20) for k in range(3)]
    for low in np.arange(0.0, 1.0, 0.05):
        cells = []
        for column in columns:
            here = np.flatnonzero((column.said >= low) & (column.said < low + 0.05) & (column.count >= 50))
            cells.append(f"{column.happened[here[0]]:.3f} ({column.count[here[0]]:,})" if len(here) else "")
        if any(cells):
            lines.append(f"| {low:.2f} to {low + 0.05:.2f} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _verdict(said: Floats, by_time: Floats, constant: Floats, labels: Integers, folds: Sequence[Fold]) -> list[str]:
    """Whether the networks know more than the clock, with an error that allows for outcomes that overlap."""
    rows = np.arange(len(labels))
    week = np.concatenate([f.test.examples.ts_event for f in folds]) // (7 * 86_400 * 10**9)
    lines = []
    for name, other in (("class frequencies", constant), ("class frequencies by time of day", by_time)):
        gain = np.log(said[rows, labels]) - np.log(other[rows, labels])
        mean, error = clustered_mean(gain, week)
        lines.append(
            f"- Over {name} the ensemble gains {mean:+.4f} nats a decision (standard error by weeks {error:.4f}): "
            f"{'more than luck' if mean > 2.0 * error else 'not more than luck'}."
        )
    moved = labels != 1
    up = labels[moved] == 0
    hits = ((said[moved, 0] > said[moved, 2]) == up).astype(float)
    clock_hits = ((by_time[moved, 0] > by_time[moved, 2]) == up).astype(float)
    mean, error = clustered_mean(hits, week[moved])
    lines.append(
        f"- Of moves that were up or down it had the right side in {100 * mean:.1f} % (standard error {100 * error:.1f}): "
        f"{'more than a coin, by two errors or more' if mean - 0.5 > 2.0 * error else '**no better than a coin**'}."
    )
    mean, error = clustered_mean(hits - clock_hits, week[moved])
    lines.append(
        f"- That is {100 * mean:+.1f} points (standard error {100 * error:.1f}) beside the side that was commoner at that time of day "
        f"in training: {'more than luck' if mean > 2.0 * error else '**not more than luck**'}."
    )
    return [*lines, ""]


def clustered_mean(values: Floats, cluster: Integers) -> tuple[float, float]:
    """The mean, and its standard error where values of one cluster depend on each other."""
    _, place = np.unique(cluster, return_inverse=True)
    sums = np.bincount(place, values - values.mean())
    return float(values.mean()), float(np.sqrt(np.sum(sums**2)) / len(values))


def _mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]


# --- dropout against the ensemble ---------------------------------------------------------------------------------------------


def samples_section(markets: Sequence[TrainingMarket], folds: Sequence[Fold]) -> list[str]:
    """What dropout and the ensemble say of the move, with and without the noise of the market itself."""
    rows = np.concatenate([m.rows for m in markets])
    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[Floats, Bools]]] = {}
    information: dict[str, list[Floats]] = {"MC dropout": [], "ensemble of 5": []}
    losses: dict[str, list[Floats]] = {"MC dropout": [], "ensemble of 5": []}
    for fold in folds:
        places = fold.test.examples.places[::EVERY]
        labels, outcome = fold.test.labels[::EVERY], fold.test.examples.outcomes[::EVERY]
        dropped = dropout_beliefs(fold.models[0], windows_of(rows, places), rng)
        members = fold.test.members[:, ::EVERY].transpose(1, 0, 2)
        for name, sampled, temperature in (
            ("MC dropout", dropped, fold.temperatures[0].value),
            ("ensemble of 5", members, fold.ensemble_temperature.value),
        ):
            said = sampled.mean(axis=1)
            information[name].append(entropy(said) - entropy(sampled).mean(axis=1))
            losses[name].append(-np.log(calibrated(said, temperature)[np.arange(len(labels)), labels]))
            mean, _ = expected_moves(calibrated(sampled, temperature), fold.outcomes)
            for noise, low, high in (
                ("spread of the samples alone", *_spread_interval(mean)),
                ("with residual noise", *_noisy_interval(calibrated(sampled, temperature), fold, rng)),
            ):
                inside = (outcome >= low) & (outcome <= high)
                found.setdefault(f"{name}, {noise}", []).append((high - low, inside))
    lines = ["| | mutual information, mean, nats | its 99th percentile | log loss |", "|---|---|---|---|"]
    for name, values in information.items():
        every = np.concatenate(values)
        lines.append(
            f"| {name} | {every.mean():.5f} | {np.quantile(every, 0.99):.5f} | {np.concatenate(losses[name]).mean():.4f} |"
        )
    both = [np.concatenate(values) for values in information.values()]
    lines += [
        "",
        f"Rank correlation of the two mutual informations: {_rank_correlation(*both):.2f} over {len(both[0]):,} decisions.",
        "",
    ]
    lines += ["| 90 % interval from | covers | mean width, deviations of the move |", "|---|---|---|"]
    for name, parts in found.items():
        width, inside = (np.concatenate([part[k] for part in parts]) for k in range(2))
        lines.append(f"| {name} | {inside.mean():.3f} | {width.mean():.2f} |")
    return [*lines, ""]


def dropout_beliefs(member: Member, windows: Floats, rng: np.random.Generator) -> Floats:
    """(N, 1000, 3) collapsed beliefs under dropout, the agents weighed evenly; in numpy, beside the compiled form."""
    model = member.compiled
    features = model.features_batch(windows).reshape(len(windows), len(model.agents), -1).astype(np.float64)
    keep = 1.0 - model.architecture.dropout
    out = np.zeros((len(windows), SAMPLES, 3))
    for a, agent in enumerate(model.agents):
        weight, bias = member.weights[f"{agent}.logits.weight"], member.weights[f"{agent}.logits.bias"]
        for n in range(len(windows)):
            kept = (rng.random((SAMPLES, features.shape[2])) < keep) / keep
            logits = (kept * features[n, a]) @ weight.T + bias
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            out[n] += powers / powers.sum(axis=1, keepdims=True) / len(model.agents)
    return out


def entropy(beliefs: Floats) -> Floats:
    """Nats, over the last axis."""
    found: Floats = -(beliefs * np.log(np.maximum(beliefs, 1e-300))).sum(axis=-1)
    return found


def _spread_interval(means: Floats) -> tuple[Floats, Floats]:
    """The middle 90 % of a normal with the samples' mean and deviation: five members have no quantiles."""
    centre, deviation = means.mean(axis=1), means.std(axis=1, ddof=1)
    return centre - 1.645 * deviation, centre + 1.645 * deviation


def _noisy_interval(sampled: Floats, fold: Fold, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The middle 90 % of outcomes drawn: a sample, a class by its belief, a training outcome of that class."""
    classes = classify_outcomes(fold.drawn, fold.outcomes.lower, fold.outcomes.upper)
    pools = [fold.drawn[classes == k] for k in range(3)]
    low, high = np.empty(len(sampled)), np.empty(len(sampled))
    for n, beliefs in enumerate(sampled):
        each = beliefs[rng.integers(0, len(beliefs), SAMPLES)].cumsum(axis=1)
        drawn_class = np.minimum((rng.random((SAMPLES, 1)) > each).sum(axis=1), 2)
        drawn = np.empty(SAMPLES)
        for k, pool in enumerate(pools):
            drawn[drawn_class == k] = rng.choice(pool, int((drawn_class == k).sum()))
        low[n], high[n] = np.quantile(drawn, [0.05, 0.95])
    return low, high


def _rank_correlation(a: Floats, b: Floats) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


# --- intervals ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One instrument's bars, with what intervals need. All arrays (T,), moves in ticks."""

    name: str
    market: TrainingMarket
    breaks: Bools
    unit: Floats
    """Deviation of the horizon's move that the scale of moves foretells."""
    clock: Floats
    outcome: Floats

    @classmethod
    def of(cls, name: str, market: TrainingMarket) -> Line:
        """Of a market."""
        unit = market.scale * math.sqrt(market.horizon)
        breaks = (market.bars["flags"] & int(Flag.ROLL | Flag.BAD_STRETCH)) != 0
        return cls(name, market, breaks, unit, market.rows[:, 6], market.outcome * unit)

    def fit(self, inside: Bools, expected: Floats) -> ConformalSettings:
        """Settings from the decisions ``inside`` whose outcome is known."""
        here = inside & self.market.usable & ~np.isnan(self.outcome) & ~np.isnan(expected)
        return fit_conformal(self.outcome[here], expected[here], self.unit[here], self.clock[here])

    def walk(self, inside: Bools, expected: Floats, settings: ConformalSettings) -> ConformalHistory:
        """Intervals of every usable decision ``inside``, bar by bar."""
        said = np.where(inside & self.market.usable, expected, np.nan)
        return conformal_history(self.market.bars["close"], self.breaks, said, self.unit, self.clock, settings)


Intervals = tuple[Floats, Floats]
"""Half-width and centre (T,), ticks; NaN where there is none."""


def splits_of(line: Line, known: Bools) -> dict[str, Bools]:
    """Ways to call a decision stressed (the other half is calm): before the event, by calendar, and in hindsight."""
    close, stamps = line.market.bars["close"].astype(float), line.market.ts_event
    moves = np.where(line.breaks, 0.0, np.diff(close, prepend=close[0])) / np.abs(close)
    squares = np.cumsum(moves**2)
    back = np.maximum(np.arange(len(close)) - 20 * 46, 0)
    trailing = np.sqrt((squares - squares[back]) / np.maximum(np.arange(len(close)) - back, 1))
    found = {
        "scale now": line.unit > np.median(line.unit[known]),
        "20 days before": trailing > np.median(trailing[known]),
        "second half of the calendar": stamps > np.median(stamps[known]),
    }
    weeks = stamps // (7 * 86_400 * 10**9)
    months = stamps.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    for name, group in (
        ("month, in hindsight", months),
        ("week, in hindsight", weeks),
        ("day, in hindsight", line.market.day),
    ):
        _, place = np.unique(group, return_inverse=True)
        realised = np.sqrt(np.bincount(place, moves**2) / np.bincount(place))[place]
        found[name] = realised > np.median(realised[known])
    return found


def variant_section(lines: Sequence[Line]) -> list[str]:
    """Variants of adaptive intervals over two years of each instrument; nothing is foretold but the width."""
    return [row for line in lines for row in _variants(line)] + _unfitted(lines)


def _variants(line: Line) -> list[str]:
    early, late = (line.market.ts_event < at(LATE_START)), (line.market.ts_event >= at(LATE_START))
    fitted = line.fit(early, np.zeros(len(early)))
    known = late & line.market.usable & ~np.isnan(line.outcome)
    raw = np.abs(line.outcome / line.unit)[early & line.market.usable & ~np.isnan(line.outcome)]
    plain = msgspec.structs.replace(
        fitted, day_factors=(1.0,) * 48, start_level=math.log(split_conformal_radius(raw, COVERAGE))
    )
    tracking = "quantile tracking on the logarithm"
    ours: dict[str, tuple[ConformalSettings, float, float]] = {
        "fixed radius, no time of day": (plain, 1e-12, 0.0),
        "fixed radius": (fitted, 1e-12, 0.0),
        f"{tracking}, 0.01": (fitted, 0.01, 0.0),
        f"{tracking}, 0.02": (fitted, 0.02, 0.0),
        f"{tracking}, 0.05": (fitted, 0.05, 0.0),
        "the same with stress, 0.05": (fitted, 0.05, 0.05),
        "**the same with stress, 0.02 (ours)**": (fitted, 0.02, 0.02),
        "ours, no time of day": (plain, 0.02, 0.02),
    }
    ranks = {"ACI, step 0.005, last 2,000 scores": np.array([0.005]), "DtACI, 8 steps, last 2,000 scores": DTACI_STEPS}
    intervals = {name: _ours(line, late, *how) for name, how in ours.items()}
    intervals |= {name: _rank_based(line, early, late, fitted, steps) for name, steps in ranks.items()}
    worst = {name: _worst(line, known, interval) for name, interval in intervals.items()}
    kept = [name.replace("*", "") for name, distance in worst.items() if distance <= BAR]
    return [
        f"{line.name}, {known.sum():,} decisions from {LATE_START} on; start and time of day from the year before:",
        "",
        *_head(line, known),
        *(_row(line, known, name, interval) for name, interval in intervals.items()),
        "",
        f"Within {BAR} of {COVERAGE} in both halves of every split: {'; '.join(kept) or 'none'}.",
        "",
    ]


def _unfitted(lines: Sequence[Line]) -> list[str]:
    """All three years with the settings as they are in the code: nothing fitted, not even the start."""
    out = ["The whole three years from the default settings, nothing fitted (no time of day, no held-back scores):", ""]
    worst = []
    for line in lines:
        known = line.market.usable & ~np.isnan(line.outcome)
        interval = _ours(line, known, ConformalSettings(), 0.02, 0.02)
        if not out[-1]:
            out += _head(line, known)
        out.append(_row(line, known, line.name, interval))
        worst.append(_worst(line, known, interval))
    out += ["", f"Furthest from {COVERAGE} in any half: {max(worst):.3f}."]
    return [*out, ""]


def _head(line: Line, known: Bools) -> list[str]:
    names = [f"{name}: calm / stressed" for name in splits_of(line, known)]
    return [
        f"| variant | covers | {' | '.join(names)} | worst 1,000 in a row | mean width, ticks |",
        "|---|---|" + "---|" * (len(names) + 2),
    ]


def _row(line: Line, known: Bools, name: str, interval: Intervals) -> str:
    half, centre = interval
    inside = np.abs(line.outcome - centre) <= half
    splits = splits_of(line, known).values()
    halves = [f"{inside[known & ~s].mean():.3f} / {inside[known & s].mean():.3f}" for s in splits]
    rolling = np.convolve(inside[known], np.full(1000, 1e-3), "valid")
    # ACI asks at times for an interval without end; the largest radius seen stands in for it.
    return f"| {name} | {inside[known].mean():.3f} | {' | '.join(halves)} | {rolling.min():.3f} | {2.0 * half[known].mean():.1f} |"


def _worst(line: Line, known: Bools, interval: Intervals) -> float:
    """The largest distance from 0.9 over the halves of all splits."""
    inside = np.abs(line.outcome - interval[1]) <= interval[0]
    halves = [half for s in splits_of(line, known).values() for half in (known & s, known & ~s)]
    return max(abs(float(inside[half].mean()) - COVERAGE) for half in halves)


def _ours(line: Line, inside: Bools, settings: ConformalSettings, step: float, slope_step: float) -> Intervals:
    settings = msgspec.structs.replace(settings, step=step, slope_step=slope_step)
    found = line.walk(inside, np.zeros(len(inside)), settings)
    return 0.5 * (found.high - found.low), 0.5 * (found.high + found.low)


def _rank_based(line: Line, early: Bools, late: Bools, settings: ConformalSettings, steps: Floats) -> Intervals:
    """ACI (one step) and DtACI (several): they move the level of the quantile of recent scores, not the radius."""
    factor = np.array(settings.day_factors)[_day_part(np.nan_to_num(line.clock))]
    scores = np.where(line.market.usable, np.abs(line.outcome) / (line.unit * factor), np.nan)
    past = scores[early & ~np.isnan(scores)][-2000:]
    radius = rank_based_radii(np.where(late, scores, np.nan), past, steps, COVERAGE, 8)
    return radius * line.unit * factor, np.zeros(len(factor))


@kernel
def rank_based_radii(scores: Floats, past: Floats, steps: Floats, coverage: float, horizon: int) -> Floats:
    """Radii (T,) of DtACI (Gibbs and Candes, 2024) with delay: experts of different ``steps``, mixed by their quantile loss.

    With one step it is ACI (Gibbs and Candes, 2021). ``past`` (W,) held-back scores fill the window of recent ones.
    """
    miss, size, experts = 1.0 - coverage, len(past), len(steps)
    ring, newest, ordered = past.copy(), 0, np.sort(past)
    level, weight = np.full(experts, miss), np.full(experts, 1.0 / experts)
    said, radii = np.full((len(scores), experts), np.nan), np.full(len(scores), np.nan)
    for t in range(len(scores)):
        if t >= horizon and not np.isnan(scores[t - horizon]):
            score = scores[t - horizon]
            rank = 1.0 - np.searchsorted(ordered, score) / (size + 1)
            for k in range(experts):
                off = rank - said[t - horizon, k]
                weight[k] *= math.exp(-2.72 * (miss * off - min(0.0, off)))
                level[k] += steps[k] * (miss - (1.0 if said[t - horizon, k] > rank else 0.0))
            weight = 0.999 * weight / weight.sum() + 0.001 / experts
            gone = np.searchsorted(ordered, ring[newest])
            ordered[gone:-1] = ordered[gone + 1 :].copy()
            place = np.searchsorted(ordered[:-1], score)
            ordered[place + 1 :] = ordered[place:-1].copy()
            ordered[place] = score
            ring[newest] = score
            newest = (newest + 1) % size
        said[t] = level
        asked = 1.0 - (weight * level).sum()
        radii[t] = ordered[min(max(math.ceil(asked * (size + 1)), 1), size) - 1] if asked > 0.0 else 0.0
    return radii


def forecast_section(lines: Sequence[Line], folds: Sequence[Fold]) -> list[str]:
    """Intervals about the ensemble's expected move, walked forward: fitted on calibration, judged on test decisions."""
    out = []
    for m, line in enumerate(lines):
        expected, width = np.full(len(line.unit), np.nan), np.full(len(line.unit), np.nan)
        first = np.zeros(len(line.unit), np.bool_)
        offset = sum(len(other.unit) for other in lines[:m])
        for f, fold in enumerate(folds):
            for said, is_first in ((fold.calibration, f == 0), (fold.test, False)):
                if said is fold.calibration and not is_first:
                    continue
                own = said.examples.market == m
                places = said.examples.places[own] - offset
                belief = calibrated(said.members.mean(axis=0)[own], fold.ensemble_temperature.value)
                mean, variance = expected_moves(belief, fold.outcomes)
                expected[places], width[places] = mean * line.unit[places], np.sqrt(variance)
                first[places] = is_first
        test = ~np.isnan(expected) & ~first
        known = test & ~np.isnan(line.outcome)
        settings = line.fit(first, np.where(first, expected, np.nan))
        about = line.walk(test, expected, settings)
        zero = line.walk(test, np.zeros(len(expected)), settings)
        out += [f"{line.name}, {known.sum():,} test decisions:", "", *_head(line, known)]
        for name, found in (("about the expected move", about), ("about zero", zero)):
            out.append(_row(line, known, name, (0.5 * (found.high - found.low), 0.5 * (found.high + found.low))))
        belief_spread = Line(
            line.name,
            line.market,
            line.breaks,
            line.unit * np.where(np.isnan(width), 1.0, width),
            line.clock,
            line.outcome,
        )
        wide = belief_spread.walk(test, expected, belief_spread.fit(first, np.where(first, expected, np.nan)))
        out.append(
            _row(
                line,
                known,
                "about it, scale times the belief's own deviation",
                (0.5 * (wide.high - wide.low), 0.5 * (wide.high + wide.low)),
            )
        )
        out.append("")
    return out


# --- a series whose volatility doubles half way -------------------------------------------------------------------------------


def doubling_section() -> list[str]:
    """A small network with dropout forecasts a series; half way through the test its noise doubles."""
    rng = np.random.default_rng(0)
    length, memory, horizon = 8000, 8, 1
    noise = np.where(np.arange(4000 + length) < 4000 + length // 2, 1.0, 2.0)
    moves = np.zeros(4000 + length)
    for t in range(1, len(moves)):
        moves[t] = 0.3 * moves[t - 1] + noise[t] * rng.normal()
    past = np.lib.stride_tricks.sliding_window_view(moves, memory)[:-1]
    target = moves[memory:]
    train, held = slice(0, 3000), slice(3000, 4000 - memory)
    test = slice(4000 - memory, len(target))
    network = _fit_regressor(past[train], target[train])
    samples = _dropout_samples(network, past)
    mean, spread = samples.mean(axis=1), samples.std(axis=1)
    residual = float(np.std(target[held] - mean[held]))
    radius = split_conformal_radius(np.abs(target[held] - mean[held]), COVERAGE)
    # The forecast is of the move of one bar: the conformal state is fed the running sum as its closes.
    level = np.concatenate([[0.0], np.cumsum(target[test])])
    settings = ConformalSettings(horizon=horizon, start_level=math.log(radius / residual))
    count = len(target[test])
    adaptive = conformal_history(
        level[:-1], np.zeros(count, np.bool_), mean[test], np.full(count, residual), np.zeros(count), settings
    )
    found = {
        "spread of MC dropout alone": 1.645 * spread[test],
        "MC dropout and residual noise": 1.645 * np.sqrt(spread[test] ** 2 + residual**2),
        "static conformal": np.full(count, radius),
        "adaptive conformal (ours)": 0.5 * (adaptive.high - adaptive.low),
    }
    off = np.abs(target[test] - mean[test])
    lines = [
        "| 90 % interval from | covers, calm half | covers, stressed half | mean width, calm | stressed |",
        "|---|---|---|---|---|",
    ]
    half = count // 2
    for name, reach in found.items():
        inside = off <= reach
        lines.append(
            f"| {name} | {inside[:half].mean():.3f} | {inside[half:].mean():.3f} | {2 * reach[:half].mean():.2f} | {2 * reach[half:].mean():.2f} |"
        )
    after = off[half : half + 400] <= found["adaptive conformal (ours)"][half : half + 400]
    lines += ["", f"In the first 400 steps after the change the adaptive intervals covered {after.mean():.3f}.", ""]
    return lines


def _fit_regressor(past: Floats, target: Floats) -> nn.Sequential:
    """(8) -> 32 ReLU -> dropout 0.25 -> 1, by Adam."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.2, generator=generator)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    x, y = torch.tensor(past, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)
    for _ in range(400):
        hidden = network[1](network[0](x))
        kept = (torch.rand(hidden.shape, generator=generator) >= 0.25) / 0.75
        loss = ((network[2](hidden * kept)[:, 0] - y) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


@torch.no_grad()
def _dropout_samples(network: nn.Sequential, past: Floats) -> Floats:
    """(N, 1000) forecasts, each with features of its own dropped."""
    generator = torch.Generator().manual_seed(1)
    hidden = network[1](network[0](torch.tensor(np.ascontiguousarray(past), dtype=torch.float32)))
    kept = (torch.rand((SAMPLES, 32), generator=generator) >= 0.25) / 0.75
    weighted = kept * network[2].weight
    found: Floats = (hidden @ weighted.T + network[2].bias).numpy().astype(np.float64)
    return found


# --- data unlike the training data --------------------------------------------------------------------------------------------


def novelty_section(folder: Path, markets: Sequence[TrainingMarket], folds: Sequence[Fold]) -> list[str]:
    """Novelty, mutual information and what is left of the size, on windows of many kinds; networks of the first fold."""
    fold = folds[0]
    rng = np.random.default_rng(0)
    rows = np.concatenate([m.rows for m in markets])
    ordinary = windows_of(rows, fold.test.examples.places[::97])
    clock = [6, 7]
    usual = np.median(rows[fold.calibration.examples.places], axis=0)

    def spoil(change: Callable[[Floats], Floats]) -> Floats:
        """The windows changed, the clock left running."""
        changed = np.array([change(w) for w in ordinary])
        changed[:, :, clock] = ordinary[:, :, clock]
        return changed

    kinds: dict[str, Floats] = {
        f"ordinary (test, {FOLDS[0][1]} to {FOLDS[0][2]})": ordinary,
        "rows shuffled": spoil(rng.permutation),
        "scaled by 2": spoil(lambda w: 2.0 * w),
        "scaled by 4": spoil(lambda w: 4.0 * w),
        "sign flipped": spoil(lambda w: -w),
        "mirrored about the median": spoil(lambda w: 2.0 * usual - w),
        "sign flipped, clock too": -ordinary,
        "newest row repeated (a feed that stands)": spoil(lambda w: np.tile(w[-1], (48, 1))),
    }
    crisis = markets[1].ts_event
    inside = np.flatnonzero(markets[1].usable & (crisis >= at("2022-03-01")) & (crisis < at("2022-05-01")))
    kinds["CL, March and April 2022"] = windows_of(markets[1].rows, inside[::6])
    for name, path in (
        ("BTC", "crypto_30m/BTCUSD_30m_2017_2023.tsv.gz"),
        ("AAPL", "equity_30m/AAPL_30m_2017_2023.tsv.gz"),
        ("TSLA", "equity_30m/TSLA_30m_2017_2023.tsv.gz"),
    ):
        stamps, other = foreign_rows(folder / "bars" / path)
        for label, start, end in (
            ("autumn 2019", "2019-09-01", "2019-12-01"),
            ("March 2020", "2020-03-01", "2020-04-01"),
            ("9 to 20 March 2020", "2020-03-09", "2020-03-21"),
        ):
            kinds[f"{name}, {label}"] = whole_windows(stamps, other, at(start), at(end))
    lines = [
        "| windows | n | novelty, median | beyond 1 | mutual information: dropout alone | with the spread | size left, median | size left, mean |",
        "|---|---|---|---|---|---|---|---|",
    ]
    tail = np.zeros(len(STRATEGIC_TAIL), np.float32)
    model = fold.models[0].compiled
    for name, windows in kinds.items():
        scores, alone, spread, left = [], [], [], []
        for n, window in enumerate(windows):
            window = np.ascontiguousarray(window)
            score = fold.novelty.score(window)
            scores.append(score)
            alone.append(model.strategic(window, tail, n).mutual_information)
            spread.append(model.strategic(window, tail, n, spread=float(spread_factor(score))).mutual_information)
            left.append(math.prod(trust_in(spread[-1], score)))
        lines.append(
            f"| {name} | {len(windows)} | {np.median(scores):.2f} | {np.mean(np.array(scores) > 1.0):.3f} | {np.mean(alone):.5f} | "
            f"{np.mean(spread):.5f} | {np.median(left):.3f} | {np.mean(left):.3f} |"
        )
    return [*lines, "", *_crisis_scale(markets), *_rates(markets, folds)]


def _crisis_scale(markets: Sequence[TrainingMarket]) -> list[str]:
    """How a crisis whose windows look ordinary makes positions small all the same, and why the level is no part of novelty."""
    oil = markets[INSTRUMENTS.index("CL")]
    crisis = (oil.ts_event >= at("2022-03-01")) & (oil.ts_event < at("2022-05-01")) & oil.usable
    before = (oil.ts_event < at(FOLDS[0][0])) & oil.usable
    ratio = oil.scale[crisis].mean() / oil.scale[before].mean()
    beyond = []
    for name, market in zip(INSTRUMENTS, markets, strict=True):
        relative = market.scale / market.bars["close"]
        rates = []
        for trained, start, end in FOLDS:
            edge = np.quantile(relative[market.usable & (market.ts_event < at(trained))], 0.99)
            test = market.usable & (market.ts_event >= at(start)) & (market.ts_event < at(end))
            rates.append(float((relative[test] > edge).mean()))
        beyond.append(f"{name} {', '.join(f'{rate:.2f}' for rate in rates)}")
    return [
        (
            f"In March and April 2022 the scale of CL's moves was {ratio:.1f} times its mean over the training span of these networks. "
            f"The volatility target therefore gave {1.0 / ratio:.2f} times the lots, whatever the networks said."
        ),
        "",
        (
            "Were the scale itself, over the price, a part of novelty, this share of ordinary decisions would lie beyond its 99th "
            f"percentile in the three tests: {'; '.join(beyond)}. Volatility keeps no level from year to year, so it was left out."
        ),
        "",
    ]


def _rates(markets: Sequence[TrainingMarket], folds: Sequence[Fold]) -> list[str]:
    """How often windows of later spans lie beyond the edge."""
    lines = [
        "Share of ordinary later windows beyond 1 (asked: 0.01):",
        "",
        "| trained to | calibration span | test span |",
        "|---|---|---|",
    ]
    rows = np.concatenate([m.rows for m in markets])
    for fold, days in zip(folds, FOLDS, strict=True):
        rates = [
            (fold.novelty.scores(window_statistics(rows, said.examples.places, 48, fold.novelty.columns)) > 1.0).mean()
            for said in (fold.calibration, fold.test)
        ]
        lines.append(f"| {days[0]} | {rates[0]:.4f} | {rates[1]:.4f} |")
    return [*lines, ""]


def tactical_section(folder: Path) -> list[str]:
    """The same score over the tactical matrix: NQ, 5-minute bars of 2019, fitted on the first half of the year."""
    instrument = BUILT_IN[InstrumentId("NQ")]
    (block,) = read_file(folder / "bars" / "futures_5m" / "NQ_5m_20190101_20191031.csv.gz", instrument)[0].values()
    market = build_market(block, instrument, "tactical")
    size, columns = market.schema.rows, np.array(market.schema.known_columns)
    early = np.flatnonzero(market.usable & (market.ts_event < at("2019-07-01")))
    late = np.flatnonzero(market.usable & (market.ts_event >= at("2019-07-01")))
    novelty = fit_novelty(
        window_statistics(market.rows, early, size, columns),
        market.ts_event[early],
        window_rows=size,
        columns=market.schema.known_columns,
    )
    rng = np.random.default_rng(0)
    kinds: dict[str, Callable[[Floats], Floats]] = {
        "ordinary (July to October 2019)": lambda w: w,
        "rows shuffled": rng.permutation,
        "scaled by 2": lambda w: 2.0 * w,
        "scaled by 4": lambda w: 4.0 * w,
        "sign flipped": lambda w: -w,
        "newest row repeated": lambda w: np.tile(w[-1], (size, 1)),
    }
    lines = ["| windows | novelty, median | beyond 1 |", "|---|---|---|"]
    for name, change in kinds.items():
        windows = [market.rows[t - size + 1 : t + 1] for t in late[::12]]
        scores = np.array([novelty.score(np.ascontiguousarray(change(window))) for window in windows])
        lines.append(f"| {name} | {np.median(scores):.2f} | {(scores > 1.0).mean():.3f} |")
    return [*lines, ""]


def foreign_rows(path: Path) -> tuple[Integers, Floats]:
    """Closes (T,) and strategic rows (T, 13) of a tab-separated file of 30-minute bars, UTC, labelled by their open."""
    with gzip.open(path) as file:
        frame = pl.read_csv(file.read(), separator="\t")
    opened = frame["Time"].str.to_datetime(time_unit="ns").dt.epoch("ns")
    bars = frame.select(
        ts_event=opened + THIRTY_MINUTES_NS,
        open=pl.col("Open").cast(pl.Float64),
        high=pl.col("High").cast(pl.Float64),
        low=pl.col("Low").cast(pl.Float64),
        close=pl.col("Close").cast(pl.Float64),
        volume=pl.col("Volume").cast(pl.Float64),
    )
    bars = bars.filter(pl.col("ts_event").is_between(at("2018-06-01"), at("2020-05-01")))
    return bars["ts_event"].to_numpy(), strategic_rows(bars)


def whole_windows(stamps: Integers, rows: Floats, start_ns: int, end_ns: int) -> Floats:
    """Every fourth window (N, 48, 13) that ends in a span and is known throughout."""
    places = np.flatnonzero((stamps >= start_ns) & (stamps < end_ns))[::4]
    windows = windows_of(rows, places[places >= 47])
    return windows[np.isfinite(windows).all(axis=(1, 2))]


# --- the page -----------------------------------------------------------------------------------------------------------------

HEAD = """# Uncertainty that can be trusted

Remade by `python docs/models/make_uncertainty.py`. NQ and CL, 30-minute bars, July 2020 to June 2023; nothing later is read.
The code: [calibration](../../src/grandmodel/models/calibration.py), [conformal intervals](../../src/grandmodel/models/conformal.py),
[novelty](../../src/grandmodel/models/novelty.py), [dropout](../../src/grandmodel/models/dropout.py).

| question | answered by | when |
|---|---|---|
| how likely is up, flat, down? | the belief at a temperature fitted on held-back decisions | fitted once, applied at every decision |
| how far may the price move? | an interval about the expected move whose radius follows what happened | updated at every bar |
| has the model seen anything like this? | novelty of the window; it spreads the dropout samples, and mutual information rises | fitted once, measured at every decision |
| how ignorant is the model? | mutual information of 1,000 dropout samples | at every decision |

**Calm and stressed** are the two halves of the decisions by some measure of volatility. *Scale now* and *20 days before* are known at
the decision. *Month*, *week* and *day, in hindsight* are the volatility of the very period that holds the decision. No method that looks
only back can cover the wildest days as well as the quietest when they are chosen afterwards, so these columns are the hard ones.
"""

SECTIONS = {
    "A series whose volatility doubles half way": (
        "An autoregressive series; a network of 32 features with dropout of 0.25 learns it, then forecasts 8,000 steps, and the noise "
        "doubles after 4,000. Dropout tells how the network's answers differ, which is little, and nothing of the noise. Residual noise "
        "added once is right until the noise changes; so is a conformal radius that stays. Only a radius that learns follows.\n"
    ),
    "Beliefs": (
        "Three trainings, each on all that came before, each followed by half a year of calibration and half a year of test. A network is "
        "the three belief agents, weighed evenly, supervised by `training/warm_start.py`; five seeds make the ensemble. The classes are "
        "terciles of the training outcomes. `reliability` (0 is best) and `resolution` (more is better) are parts of the Brier score. "
        "The rows that matter as rivals are the frequencies: of the classes, and of the classes at that time of day.\n"
    ),
    "Monte Carlo dropout against a deep ensemble": (
        f"Every {EVERY}th test decision; one network with {SAMPLES:,} samples beside five networks. Residual noise: draw a sample, a class by "
        "its belief, an outcome of that class from the training data.\n"
    ),
    "Which adaptive interval": (
        "Adaptive conformal inference (ACI: Gibbs and Candes, 2021) moves the level of a quantile of recent scores; DtACI (Gibbs and "
        "Candes, 2024) mixes several steps of it; quantile tracking (Angelopoulos, Candes and Tibshirani, 2023) moves the radius "
        "itself. All learn of an outcome eight bars late. Ours tracks the logarithm of the radius and lets it depend on stress, "
        "the scale over its own slow mean. Where ACI asks for an interval without end it is given the largest score of its window. "
        "Time of day: a table of 48 factors from the year before.\n"
    ),
    "Intervals about what the networks expect": (
        "The same rule about the expected move of the ensemble after temperature, walked forward; start and time of day come from the "
        "first calibration half-year, and the state then runs on through all tests.\n"
    ),
    "Data unlike the training data": (
        "Networks and novelty of the first training. But for one row the clock columns are left as they are, so that it is the market's "
        "own columns that are noticed. Size left: the share of the exposure that ignorance and novelty leave (`strategic.decision.trust_in`). "
        "BTC, AAPL and TSLA were never trained on. AAPL and TSLA trade 13 bars a day, so their clock alone makes every window novel; BTC is "
        "the fair one, autumn 2019 against March 2020.\n"
    ),
    "The tactical matrix": (
        "NQ, 5-minute bars, 60 rows by the six columns that are known without volume; fitted on January to June 2019.\n"
    ),
}

READING = """## What to take from it

- The intervals keep their promise on both markets; how near in each half stands under the tables. What is left is what the wildest
  days do when they are chosen afterwards. Dropout or an ensemble alone cover a twentieth. Residual noise covers rightly on average
  over these tests, but has no way to follow a change.
- Stress in the radius evens out calm and stressed and narrows the interval; the factors of the day narrow it more than any choice of rule.
- A larger step follows sooner (see the worst 1,000 in a row) and costs width in quiet times. 0.02 is the compromise.
- After temperature the beliefs are calibrated. What they know is mostly the clock: when moves are large, hardly which way. The lines
  under the reliability diagram say whether anything is left beyond it.
- Temperatures below 1 say that the networks are too humble, not too bold: they stop early and are regularised.
- Dropout alone does not notice windows whose rows are shuffled, nor a feed that stands; novelty does. A market mirrored about its
  median is hardly novel to either, because falls look like rises turned over.
- The features are measured in the market's own volatility. A crisis that is only louder therefore looks ordinary, and the networks'
  forecasts, in the same units, are as good as ever there; positions shrink by the volatility target instead. Novelty rises where the
  shape changes, as it did in March 2020.
"""


def main() -> None:
    """Write the page."""
    started = time.process_time()
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[2] / "shared" / "data"
    markets = load_markets(folder)
    lines = [Line.of(name, market) for name, market in zip(INSTRUMENTS, markets, strict=True)]
    folds = [learn(markets, days) for days in FOLDS]
    made = (
        doubling_section(),
        belief_section(markets, folds),
        samples_section(markets, folds),
        variant_section(lines),
        forecast_section(lines, folds),
        novelty_section(folder, markets, folds),
        tactical_section(folder),
    )
    page = [HEAD]
    for (title, intro), body in zip(SECTIONS.items(), made, strict=True):
        page += [f"## {title}", "", intro, *body]
    page.append(READING)
    (HERE / "uncertainty.md").write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")
    sys.stderr.write(f"{time.process_time() - started:.0f} CPU seconds\n")


if __name__ == "__main__":
    main()
