"""Whether probabilities mean what they say: how to measure it, and one number that mends most of it.

- ``fit_temperature`` on held-back data, ``calibrated`` at every decision: p_k^(1/T), normalised (Guo et al., 2017). T above 1 makes
  a belief humbler, below 1 bolder; which class is likeliest never changes.
- ``log_loss``, ``brier_score`` and its decomposition (Murphy, 1973), ``calibration_error`` over the likeliest class or over every
  class, ``reliability_bins`` for a picture: beliefs (N, K) against labels (N,), plain numpy.
- ``fit_class_outcomes``, ``expected_move``: what the classes stand for, and so what a belief says about the move itself.

Read next: ``conformal.py``, an interval of the move that keeps its promise even where the belief does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.models.errors import ModelError
from grandmodel.models.model_file import ClassOutcomes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEAST_PROBABILITY = 1e-12
"""A probability below this is read as this: float32 networks can say 0, and its logarithm has no end."""
TEMPERATURES = (0.05, 20.0)
"""The search stays within these."""
FEWEST_SAMPLES = 100
_STEPS = 60
_TOLERANCE = 1e-6


class Temperature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``fit_temperature`` found; losses are mean log losses in nats over the data it was fitted on."""

    value: float
    samples: int
    loss_before: float
    loss_after: float
    is_bounded: bool = False
    """Whether the best value lay beyond ``TEMPERATURES``, so that the nearer end was taken."""


@dataclass(frozen=True, slots=True)
class ReliabilityBins:
    """Forecasts of one probability, gathered by what was said. All arrays (B,), over the bins that hold any."""

    said: Floats
    """Mean probability that was given."""
    happened: Floats
    """How often it came true."""
    count: Integers

    @property
    def error(self) -> float:
        """Mean distance between the two, weighted by the counts: the expected calibration error."""
        return float(np.sum(self.count * np.abs(self.said - self.happened)) / np.sum(self.count))


@dataclass(frozen=True, slots=True)
class BrierParts:
    """``score = reliability - resolution + uncertainty + within_bins``, exactly.

    ``reliability``: what miscalibration costs, 0 at best. ``resolution``: what telling cases apart gains. ``uncertainty``: the
    score of the class frequencies. ``within_bins``: what is left because forecasts that differ share a bin (Stephenson et al., 2008).
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


@kernel
def scale_belief(belief: Floats, temperature: float, out: Floats) -> None:
    """``belief`` (K,) at ``temperature`` into ``out`` (K,), which may be the same array: p_k^(1/T), normalised."""
    highest = -math.inf
    for k in range(len(belief)):
        out[k] = math.log(max(belief[k], LEAST_PROBABILITY)) / temperature
        highest = max(highest, out[k])
    total = 0.0
    for k in range(len(belief)):
        out[k] = math.exp(out[k] - highest)
        total += out[k]
    for k in range(len(belief)):
        out[k] /= total


def calibrated(beliefs: Floats, temperature: float) -> Floats:
    """Beliefs (..., K) at ``temperature``. Raises ``ModelError`` where the temperature is not above 0."""
    if not (temperature > 0.0 and math.isfinite(temperature)):
        raise ModelError(f"temperature: found {temperature}, expected a finite number above 0")
    logits = np.log(np.maximum(np.asarray(beliefs, np.float64), LEAST_PROBABILITY)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scaled: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return scaled


def fit_temperature(beliefs: Floats, labels: Integers) -> Temperature:
    """The temperature of least log loss of ``beliefs`` (N, K) against ``labels`` (N,), which must not be what the model learnt from.

    In b = 1 / T the mean loss log(sum of exp(b z_k)) - b z_label, with z = log p, is convex, so its slope, the expected less the
    realised logit, rises: 60 halvings find where it crosses 0. Raises ``ModelError`` for data it cannot be fitted on.
    """
    beliefs, labels = _checked(beliefs, labels)
    if len(labels) < FEWEST_SAMPLES:
        raise ModelError(
            f"temperature: found {len(labels)} samples, expected at least {FEWEST_SAMPLES}; hold back more data"
        )
    logits = np.log(np.maximum(beliefs, LEAST_PROBABILITY))
    realised = logits[np.arange(len(labels)), labels].mean()

    def slope(inverse: float) -> float:
        return float((calibrated(beliefs, 1.0 / inverse) * logits).sum(axis=1).mean() - realised)

    low, high = 1.0 / TEMPERATURES[1], 1.0 / TEMPERATURES[0]
    is_bounded = True
    if slope(low) >= 0.0:
        best = low
    elif slope(high) <= 0.0:
        best = high
    else:
        is_bounded = False
        for _ in range(_STEPS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if slope(middle) < 0.0 else (low, middle)
        best = 0.5 * (low + high)
    return Temperature(
        value=1.0 / best,
        samples=len(labels),
        loss_before=log_loss(beliefs, labels),
        loss_after=log_loss(calibrated(beliefs, 1.0 / best), labels),
        is_bounded=is_bounded,
    )


def log_loss(beliefs: Floats, labels: Integers) -> float:
    """Mean of -log of the probability given to what happened, nats. ``beliefs`` (N, K), ``labels`` (N,) in 0 ... K - 1."""
    beliefs, labels = _checked(beliefs, labels)
    return float(-np.log(np.maximum(beliefs[np.arange(len(labels)), labels], LEAST_PROBABILITY)).mean())


def brier_score(beliefs: Floats, labels: Integers) -> float:
    """Mean over the samples of the summed squared distance of belief and outcome over the classes, in [0, 2]."""
    beliefs, labels = _checked(beliefs, labels)
    return float(((beliefs - _one_hot(labels, beliefs.shape[1])) ** 2).sum(axis=1).mean())


def brier_parts(beliefs: Floats, labels: Integers, bins: int = 15) -> BrierParts:
    """The Brier score taken apart, class by class over ``bins`` equal bins of probability, and summed."""
    beliefs, labels = _checked(beliefs, labels)
    came_true = _one_hot(labels, beliefs.shape[1])
    frequency = came_true.mean(axis=0)
    reliability = resolution = 0.0
    for k in range(beliefs.shape[1]):
        found = reliability_bins(beliefs[:, k], came_true[:, k] > 0.5, bins)
        share = found.count / len(labels)
        reliability += float(np.sum(share * (found.said - found.happened) ** 2))
        resolution += float(np.sum(share * (found.happened - frequency[k]) ** 2))
    score = brier_score(beliefs, labels)
    uncertainty = float(np.sum(frequency * (1.0 - frequency)))
    return BrierParts(score, reliability, resolution, uncertainty, score - (reliability - resolution + uncertainty))


def reliability_bins(probabilities: Floats, came_true: NDArray[np.bool_], bins: int = 15) -> ReliabilityBins:
    """``probabilities`` (N,) gathered into ``bins`` equal bins of [0, 1], beside whether each came true (N,)."""
    if len(probabilities) != len(came_true) or not len(came_true) or bins < 1:
        raise ModelError(
            f"reliability: found {len(probabilities)} probabilities, {len(came_true)} outcomes and {bins} bins, "
            "expected as many outcomes as probabilities, and at least one of each"
        )
    place = np.clip((probabilities * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    held = count > 0
    said = np.bincount(place, probabilities, minlength=bins)[held] / count[held]
    happened = np.bincount(place, came_true, minlength=bins)[held] / count[held]
    return ReliabilityBins(said, happened, count[held].astype(np.int64))


def calibration_error(beliefs: Floats, labels: Integers, bins: int = 15) -> float:
    """Expected calibration error of the likeliest class: how far confidence lies from how often it was right."""
    beliefs, labels = _checked(beliefs, labels)
    return reliability_bins(beliefs.max(axis=1), beliefs.argmax(axis=1) == labels, bins).error


def classwise_calibration_error(beliefs: Floats, labels: Integers, bins: int = 15) -> float:
    """The same over every class's own probability, averaged over the classes (Kull et al., 2019)."""
    beliefs, labels = _checked(beliefs, labels)
    errors = [reliability_bins(beliefs[:, k], labels == k, bins).error for k in range(beliefs.shape[1])]
    return float(np.mean(errors))


def fit_class_outcomes(outcomes: Floats) -> ClassOutcomes:
    """Classes of equal frequency over the training data's ``outcomes`` (N,) (``TrainingMarket.outcome``), and their moments.

    Raises ``ModelError`` where there are too few, where one is not finite, or where a class would be empty.
    """
    if len(outcomes) < FEWEST_SAMPLES or not np.isfinite(outcomes).all():
        raise ModelError(
            f"outcomes: found {len(outcomes)}, {int((~np.isfinite(outcomes)).sum())} of them not finite, "
            f"expected at least {FEWEST_SAMPLES}, all finite"
        )
    lower, upper = (float(value) for value in np.quantile(outcomes, [1 / 3, 2 / 3]))
    classes = classify_outcomes(outcomes, lower, upper)
    counts = np.bincount(classes, minlength=3)
    if not counts.all():
        raise ModelError(
            f"outcomes: found classes of {counts.tolist()} samples, expected some in each; do prices move?"
        )
    first = np.bincount(classes, outcomes, minlength=3) / counts
    second = np.bincount(classes, outcomes**2, minlength=3) / counts
    return ClassOutcomes(
        lower=lower,
        upper=upper,
        mean=(float(first[0]), float(first[1]), float(first[2])),
        mean_square=(float(second[0]), float(second[1]), float(second[2])),
    )


def classify_outcomes(outcomes: Floats, lower: float, upper: float) -> Integers:
    """The class of each outcome in the order of ``BELIEF``: 0 above ``upper``, 2 below ``lower``, 1 between."""
    classes: Integers = np.where(outcomes > upper, 0, np.where(outcomes < lower, 2, 1)).astype(np.int64)
    return classes


@kernel
def expected_move(belief: Floats, mean: Floats, mean_square: Floats) -> tuple[float, float]:
    """Mean and variance of the outcome that ``belief`` (3,) foretells, from the moments within each class (3,).

    In units of the scale of moves times sqrt(horizon): times that, the mean is in ticks, and the root of the variance too.
    """
    first, second = 0.0, 0.0
    for k in range(len(belief)):
        first += belief[k] * mean[k]
        second += belief[k] * mean_square[k]
    return first, max(second - first * first, 0.0)


def expected_moves(beliefs: Floats, outcomes: ClassOutcomes) -> tuple[Floats, Floats]:
    """The same for many beliefs (..., 3): mean and variance (...)."""
    first: Floats = beliefs @ np.array(outcomes.mean, np.float64)
    second: Floats = beliefs @ np.array(outcomes.mean_square, np.float64)
    variance: Floats = np.maximum(second - first**2, 0.0)
    return first, variance


@dataclass(frozen=True, slots=True)
class DirectionSupport:
    """How far held-back data support the direction of the expected moves."""

    slope: float
    """Outcome per unit of expected move; 1 where the forecasts mean what they say, 0 where they say nothing of the direction."""
    deviation: float
    """Standard error of the slope, outcomes that overlap allowed for."""
    share: float
    """In [0, 1]: the expected sign of the true slope, 2 Phi(slope / deviation) - 1, and 0 where that is negative."""


def direction_support(parts: Sequence[tuple[Floats, Floats]], horizon: int) -> DirectionSupport:
    """Hold expected moves against outcomes: ``parts`` are (expected (N,), outcome (N,)) of each market, in order of time.

    Least squares through the origin, since a position proportional to the expected move earns just that slope. Outcomes of ``horizon`` bars
    overlap, so the error is Newey and West's (1987) over as many lags. Without any forecast, or any error, the share is 0.
    """
    square = sum(float(x @ x) for x, _ in parts)
    if not square > 0.0:
        return DirectionSupport(0.0, math.inf, 0.0)
    slope = sum(float(x @ y) for x, y in parts) / square
    variance = 0.0
    for x, y in parts:
        score = x * (y - slope * x)
        variance += float(score @ score)
        for lag in range(1, min(horizon, len(score))):
            variance += 2.0 * (1.0 - lag / horizon) * float(score[lag:] @ score[:-lag])
    deviation = math.sqrt(max(variance, 0.0)) / square
    share = math.erf(slope / deviation / math.sqrt(2.0)) if deviation > 0.0 else 0.0
    return DirectionSupport(slope, deviation, max(share, 0.0))


def _one_hot(labels: Integers, classes: int) -> Floats:
    hot: Floats = (labels[:, None] == np.arange(classes)).astype(np.float64)
    return hot


def _checked(beliefs: Floats, labels: Integers) -> tuple[Floats, Integers]:
    """Both as arrays of the types meant, or ``ModelError``: distributions over K classes, and a class for each."""
    beliefs, labels = np.asarray(beliefs, np.float64), np.asarray(labels)
    if beliefs.ndim != 2 or labels.shape != beliefs.shape[:1] or not len(labels):
        raise ModelError(f"beliefs: found shapes {beliefs.shape} and {labels.shape}, expected (N, K) and labels (N,)")
    if not (np.abs(beliefs.sum(axis=1) - 1.0) <= _TOLERANCE * beliefs.shape[1]).all() or (beliefs < 0.0).any():
        raise ModelError("beliefs: found rows that are not distributions, expected numbers from 0 that add up to 1")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= beliefs.shape[1]:
        raise ModelError(
            f"labels: found {labels.dtype} from {labels.min()} to {labels.max()}, expected whole numbers from 0 to {beliefs.shape[1] - 1}"
        )
    return beliefs, labels.astype(np.int64)
