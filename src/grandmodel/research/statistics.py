"""How much of a Sharpe ratio is luck: its uncertainty, the number of trials behind it, and overfitting of the choice.

A strategy that was picked from many is the luckiest of them. Four questions, in the order in which they should be asked:

- How uncertain is the ratio itself? ``performance.ratios.sharpe_estimate``: an interval that allows for fat tails, skew and
  autocorrelation (Lo, 2002, with the covariance of Newey and West, 1987), and ``bootstrap_sharpe``, which resamples blocks of days
  (Politis and Romano, 1994; block length after Politis and White, 2004, corrected by Patton, Politis and White, 2009).
- Is it above a given ratio? ``probabilistic_sharpe`` (Bailey and Lopez de Prado, 2012) and ``minimum_track_record``.
- Is it above what the best of N trials shows by luck alone? ``deflated_sharpe`` (Bailey and Lopez de Prado, 2014).
- Does picking the best in one half of the days pick the good in the other? ``overfitting_probability``: combinatorially
  symmetric cross-validation (Bailey, Borwein, Lopez de Prado and Zhu, 2015).

Returns are simple or of a fixed capital, (n,), one per period, a trading day for instance. Sharpe ratios are per period
unless a name says ``annual``; multiply by the square root of the periods of a year. Kurtosis is 3 for a normal. Read
``measures.py`` next.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.performance.ratios import (
    ReturnMoments,
    checked_returns,
    no_variance,
    row_sharpe_ratios,
    sharpe_from_moments,
)
from grandmodel.research.errors import EvaluationError
from grandmodel.risk.distributions import normal_distribution, normal_quantile

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_EULER_GAMMA = 0.5772156649015329
_MOST_PLACES = 4_000_000


class DeflatedSharpe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Sharpe ratio against the best that ``trials`` would show by luck."""

    probability: float
    """That the true ratio is above 0, allowing for the trials; 0.95 is the usual bar."""
    sharpe: float
    threshold: float
    """What the best of so many trials is expected to show if none has an edge, per period."""
    trials: int
    trial_variance: float
    """Variance between the trials' ratios, per period squared."""


class Overfitting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What cross-validation says about picking the best of N strategies."""

    probability: float
    """Share of splits where the best in sample is below the median out of sample."""
    logits: list[float]
    """By split: log odds of the picked one's rank out of sample; below 0 is below the median."""
    loss_probability: float
    """Share of splits where the picked one loses out of sample."""
    slope: float
    """Of the picked one's ratio out of sample on that in sample; negative: the better it looked, the worse it was."""
    strategies: int
    blocks: int


# ---------------------------------------------------------------------------------------------------- one Sharpe ratio


def probabilistic_sharpe(found: ReturnMoments, benchmark: float = 0.0) -> float:
    """Probability that the true ratio is above ``benchmark``, per period (Bailey and Lopez de Prado, 2012, equation 11)."""
    spread = _sharpe_spread(found)
    return float(normal_distribution((found.sharpe - benchmark) * math.sqrt(found.periods - 1.0) / spread))


def minimum_track_record(found: ReturnMoments, benchmark: float = 0.0, level: float = 0.95) -> float:
    """Periods after which a ratio like this one would be above ``benchmark`` with probability ``level``.

    Infinite where the ratio is not above the benchmark (Bailey and Lopez de Prado, 2012, equation 13).
    """
    if found.sharpe <= benchmark:
        return math.inf
    return 1.0 + (_sharpe_spread(found) * normal_quantile(level) / (found.sharpe - benchmark)) ** 2


def _sharpe_spread(found: ReturnMoments) -> float:
    # Standard deviation of the estimate times sqrt(n - 1). Cauchy-Schwarz keeps it positive for moments of real returns.
    inside = 1.0 - found.skew * found.sharpe + 0.25 * (found.kurtosis - 1.0) * found.sharpe**2
    if inside <= 0.0:
        raise EvaluationError(
            f"sharpe: found skew {found.skew:g}, kurtosis {found.kurtosis:g} and ratio {found.sharpe:g}, which no returns have together"
        )
    return math.sqrt(inside)


# ------------------------------------------------------------------------------------------------------- many trials


def expected_maximum_sharpe(trials: int, trial_variance: float) -> float:
    """What the best of ``trials`` independent trials without edge is expected to show, per period.

    sqrt(V) ((1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e))), g the Euler-Mascheroni constant, Z the normal quantile (Bailey and
    Lopez de Prado, 2014, equation 2). 0 for one trial.
    """
    if trials < 1 or trial_variance < 0.0:
        raise EvaluationError(
            f"trials: found {trials} with variance {trial_variance:g}, expected 1 or more and a variance of 0 or more"
        )
    if trials == 1:
        return 0.0
    first = normal_quantile(1.0 - 1.0 / trials)
    second = normal_quantile(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(trial_variance) * ((1.0 - _EULER_GAMMA) * first + _EULER_GAMMA * second)


def deflated_sharpe(found: ReturnMoments, trials: int, trial_variance: float) -> DeflatedSharpe:
    """The probability that the true ratio is above 0 although it is the best of ``trials``; see ``trial_variance_of``."""
    threshold = expected_maximum_sharpe(trials, trial_variance)
    return DeflatedSharpe(
        probability=probabilistic_sharpe(found, threshold),
        sharpe=found.sharpe,
        threshold=threshold,
        trials=trials,
        trial_variance=trial_variance,
    )


def trial_variance_of(sharpes: Sequence[float] | Floats, periods: int) -> float:
    """Variance between trials' ratios (per period): the larger of what was seen and of pure luck over ``periods``, 1 / (n - 1).

    Trials that are much alike vary little, and few ones tell little; the variance of luck is then the floor, so that a
    sparse record of trials never makes the bar lower.
    """
    known = np.asarray(sharpes, dtype=np.float64)
    known = known[np.isfinite(known)]
    seen = float(known.var(ddof=1)) if len(known) > 1 else 0.0
    return max(seen, 1.0 / (periods - 1.0))


def overfitting_probability(returns: Floats, blocks: int = 16) -> Overfitting:
    """The probability that the best of N strategies in sample is below the median out of sample, from ``returns`` (n, N).

    Combinatorially symmetric cross-validation: the periods are cut into ``blocks`` stretches, every half of them is the
    sample once and the other half the test. Rows left over are shared out, so stretches differ by at most one row.
    Raises ``EvaluationError`` for fewer than 2 strategies, an odd number of blocks, or fewer than 2 rows a block.
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise EvaluationError(
            f"overfitting: found returns of shape {values.shape}, expected finite ones of at least 2 strategies"
        )
    if blocks < 2 or blocks % 2 or len(values) < 2 * blocks:
        raise EvaluationError(
            f"overfitting: found {blocks} blocks of {len(values)} periods, expected an even number and 2 periods a block"
        )
    parts = np.array_split(values, blocks)
    counts = np.array([float(len(part)) for part in parts])
    sums = np.array([part.sum(axis=0) for part in parts])
    squares = np.array([(part**2).sum(axis=0) for part in parts])
    chosen = np.zeros((math.comb(blocks, blocks // 2), blocks))
    for row, places in enumerate(itertools.combinations(range(blocks), blocks // 2)):
        chosen[row, list(places)] = 1.0
    inside = _split_sharpes(chosen, counts, sums, squares)
    outside = _split_sharpes(1.0 - chosen, counts, sums, squares)
    rows = np.arange(len(chosen))
    best = inside.argmax(axis=1)
    in_sample, picked = inside[rows, best], outside[rows, best]
    below = (outside < picked[:, None]).sum(axis=1)
    equal = (outside == picked[:, None]).sum(axis=1)
    rank = (below + 0.5 * (equal + 1.0)) / (values.shape[1] + 1.0)
    logits = np.log(rank / (1.0 - rank))
    spread = float(((in_sample - in_sample.mean()) ** 2).sum())
    slope = float(((in_sample - in_sample.mean()) * (picked - picked.mean())).sum()) / spread if spread > 0.0 else 0.0
    return Overfitting(
        probability=float((logits <= 0.0).mean()),
        logits=logits.tolist(),
        loss_probability=float((picked < 0.0).mean()),
        slope=slope,
        strategies=values.shape[1],
        blocks=blocks,
    )


def _split_sharpes(chosen: Floats, counts: Floats, sums: Floats, squares: Floats) -> Floats:
    """Ratios (C, N) of the blocks that each row of ``chosen`` (C, B) takes; 0 where nothing moves."""
    n = (chosen @ counts)[:, None]
    mean = (chosen @ sums) / n
    square = (chosen @ squares) / n
    return sharpe_from_moments(mean, square - mean**2, square)


# ---------------------------------------------------------------------------------------------------------- bootstrap


def mean_block_length(values: Floats) -> float:
    """The mean block length of the stationary bootstrap that estimates the variance of the mean of ``values`` (n,) best.

    Politis and White (2004), with the correction of Patton, Politis and White (2009): autocorrelations are taken in up to
    twice the lag after which five in a row are small, under a flat-top window. At least 1, at most min(3 sqrt(n), n / 3).
    """
    series = checked_returns(values)
    n = len(series)
    centred = series - series.mean()
    variance = float(centred @ centred) / n
    if variance <= no_variance(series):
        return 1.0
    in_a_row = max(5, math.ceil(math.sqrt(math.log10(n))))
    longest = min(math.ceil(math.sqrt(n)) + in_a_row, n - 1)
    covariance = np.array([float(centred[lag:] @ centred[: n - lag]) / n for lag in range(longest + 1)])
    small = np.abs(covariance / variance) < 2.0 * math.sqrt(math.log10(n) / n)
    last = next((lag for lag in range(longest - in_a_row + 1) if small[lag + 1 : lag + 1 + in_a_row].all()), longest)
    width = min(2 * max(last, 1), longest)
    lags = np.arange(1, width + 1)
    window = np.minimum(1.0, 2.0 * (1.0 - lags / width))
    tilt = 2.0 * float((window * lags * covariance[1 : width + 1]).sum())
    level = covariance[0] + 2.0 * float((window * covariance[1 : width + 1]).sum())
    if level <= 0.0:
        return 1.0
    length = (n * (tilt / level) ** 2) ** (1.0 / 3.0)
    return float(min(max(length, 1.0), 3.0 * math.sqrt(n), n / 3.0))


def bootstrap_places(periods: int, repeats: int, mean_block: float, generator: np.random.Generator) -> Integers:
    """Places (repeats, periods) of the stationary bootstrap: blocks of geometric length, wrapped round the end."""
    if repeats < 1 or mean_block < 1.0:
        raise EvaluationError(
            f"bootstrap: found {repeats} repeats and a mean block of {mean_block:g}, expected 1 or more of each"
        )
    starts = generator.integers(0, periods, size=(repeats, periods))
    is_start = generator.random((repeats, periods)) < 1.0 / mean_block
    return _joined_blocks(starts, is_start)


@kernel
def _joined_blocks(starts: Integers, is_start: NDArray[np.bool_]) -> Integers:
    repeats, periods = starts.shape
    for row in range(repeats):
        for t in range(1, periods):
            if not is_start[row, t]:
                starts[row, t] = (starts[row, t - 1] + 1) % periods
    return starts


def bootstrap_sharpe(
    returns: Floats, generator: np.random.Generator, level: float = 0.95, repeats: int = 2_000
) -> tuple[float, float]:
    """The interval of the Sharpe ratio of ``returns`` (n,), per period, by percentiles of the stationary bootstrap."""
    values = checked_returns(returns)
    found = [
        row_sharpe_ratios(values[places])
        for places in _resamples(len(values), repeats, mean_block_length(values), generator)
    ]
    return _percentiles(np.concatenate(found), level)


def _resamples(periods: int, repeats: int, mean_block: float, generator: np.random.Generator) -> Iterator[Integers]:
    """``bootstrap_places`` of ``repeats`` rows, in parts that fit into memory however long the series is."""
    most = max(1, _MOST_PLACES // periods)
    for first in range(0, repeats, most):
        yield bootstrap_places(periods, min(most, repeats - first), mean_block, generator)


class PairedDifference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much one strategy is above another on the same periods."""

    value: float
    low: float
    high: float
    level: float
    probability_above: float
    """Share of resamples where the difference is above 0."""


def paired_difference(
    first: Floats,
    second: Floats,
    generator: np.random.Generator,
    statistic: Callable[[Floats], Floats] | None = None,
    level: float = 0.95,
    repeats: int = 2_000,
) -> PairedDifference:
    """``statistic`` of ``first`` (n,) less that of ``second`` (n,), with the interval from resampling both together.

    ``statistic`` takes rows (R, n) and gives (R,): the Sharpe ratio where left out, ``row_means`` for scores. Blocks are of
    the length that suits the difference of the two series.
    """
    a, b = checked_returns(first), checked_returns(second)
    if len(a) != len(b):
        raise EvaluationError(f"paired difference: found {len(a)} and {len(b)} periods, expected the same periods")
    measure = statistic or row_sharpe_ratios
    parts = _resamples(len(a), repeats, mean_block_length(a - b), generator)
    differences = np.concatenate([measure(a[places]) - measure(b[places]) for places in parts])
    low, high = _percentiles(differences, level)
    value = float(measure(a[None, :])[0] - measure(b[None, :])[0])
    return PairedDifference(
        value=value, low=low, high=high, level=level, probability_above=float((differences > 0.0).mean())
    )


def row_means(rows: Floats) -> Floats:
    """The mean of each row (R, n) -> (R,)."""
    means: Floats = rows.mean(axis=1)
    return means


def _percentiles(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    return float(low), float(high)
