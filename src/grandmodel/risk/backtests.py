"""Was the value at risk right? Kupiec, Christoffersen, the Basel traffic light, and Acerbi and Szekely for the shortfall.

An exception (a hit) is a day whose loss was larger than the VaR stated for it the day before. The tests return their
statistic and its p-value; none of them decides anything. ``rolling.py`` makes the hits, ``docs/risk/var-backtests.md``
shows them on real prices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandmodel.risk.correlation import FloatArray
from grandmodel.risk.distributions import chi_square_survival
from grandmodel.risk.errors import RiskInputError

GREEN, YELLOW, RED = "green", "yellow", "red"

_YELLOW_FROM = 0.95
_RED_FROM = 0.9999
_MAR33_MULTIPLIERS = (1.5, 1.5, 1.5, 1.5, 1.5, 1.70, 1.76, 1.83, 1.88, 1.92, 2.0)
"""Basel MAR33, by exceptions in 250 days at 99 %; ten or more take the last."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """A likelihood ratio and the probability of one at least as large if the VaR is right."""

    __test__ = False  # not a test class, whatever its name suggests to pytest

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Kupiec:
    """Proportion of failures."""

    statistic: float
    p_value: float
    exceptions: int
    expected: float


@dataclass(frozen=True, slots=True)
class Christoffersen:
    """Do exceptions come independently, and at the right rate? ``statistic`` and ``p_value`` are the conditional test's."""

    statistic: float
    p_value: float
    coverage: TestResult
    independence: TestResult
    conditional: TestResult


@dataclass(frozen=True, slots=True)
class TrafficLight:
    """The Basel zone of a number of exceptions."""

    zone: str
    cumulative_probability: float
    """P(X <= exceptions) if the VaR is right."""
    multiplier: float | None
    """MAR33 capital multiplier; None unless 250 observations at 0.99."""


@dataclass(frozen=True, slots=True)
class AcerbiSzekely:
    """Their second test: 0 expected, negative where the shortfall was understated; about -0.7 is the 5 % point."""

    statistic: float
    exceptions: int


def kupiec(exceptions: int, observations: int, level: float) -> Kupiec:
    """Kupiec's proportion-of-failures test (1995): LR = -2 ln[(1-p)^(T-x) p^x / ((1-x/T)^(T-x) (x/T)^x)], chi-square(1)."""
    p = _probability(level)
    if not 0 <= exceptions <= observations or observations < 1:
        raise RiskInputError(f"found {exceptions} exceptions in {observations} days, expected 0 to the number of days")
    found = exceptions / observations
    statistic = 2.0 * (
        _log_power(found, exceptions)
        + _log_power(1.0 - found, observations - exceptions)
        - _log_power(p, exceptions)
        - _log_power(1.0 - p, observations - exceptions)
    )
    statistic = max(statistic, 0.0)
    return Kupiec(
        statistic=statistic,
        p_value=chi_square_survival(statistic, 1),
        exceptions=exceptions,
        expected=p * observations,
    )


def christoffersen(hits: Sequence[bool] | NDArray[np.bool_], level: float) -> Christoffersen:
    """Christoffersen's tests (1998) on ``hits`` (T,), True where the loss exceeded the VaR, in order of time.

    Independence compares a first-order Markov chain with equal probabilities, chi-square(1); conditional coverage adds
    Kupiec's statistic, chi-square(2). The first day has no day before it and enters the coverage only.
    """
    series = np.asarray(hits, dtype=np.bool_)
    if series.ndim != 1 or len(series) < 2:
        raise RiskInputError(f"found hits of shape {series.shape}, expected at least two days in a row (T,)")
    before, after = series[:-1], series[1:]
    n00 = int((~before & ~after).sum())
    n01 = int((~before & after).sum())
    n10 = int((before & ~after).sum())
    n11 = int((before & after).sum())
    joint = (n01 + n11) / (n00 + n01 + n10 + n11)
    calm = n01 / (n00 + n01) if n00 + n01 else 0.0
    struck = n11 / (n10 + n11) if n10 + n11 else 0.0
    independence = 2.0 * (
        _log_power(1.0 - calm, n00)
        + _log_power(calm, n01)
        + _log_power(1.0 - struck, n10)
        + _log_power(struck, n11)
        - _log_power(1.0 - joint, n00 + n10)
        - _log_power(joint, n01 + n11)
    )
    independence = max(independence, 0.0)
    coverage = kupiec(int(series.sum()), len(series), level)
    conditional = coverage.statistic + independence
    p_value = chi_square_survival(conditional, 2)
    return Christoffersen(
        statistic=conditional,
        p_value=p_value,
        coverage=TestResult(coverage.statistic, coverage.p_value),
        independence=TestResult(independence, chi_square_survival(independence, 1)),
        conditional=TestResult(conditional, p_value),
    )


def traffic_light(exceptions: int, observations: int, level: float) -> TrafficLight:
    """The Basel zone: green below 95 % of P(X <= exceptions), red from 99.99 % on, for X binomial(observations, 1 - level)."""
    p = _probability(level)
    if not 0 <= exceptions <= observations or observations < 1:
        raise RiskInputError(f"found {exceptions} exceptions in {observations} days, expected 0 to the number of days")
    cumulative = binomial_distribution(exceptions, observations, p)
    zone = GREEN if cumulative < _YELLOW_FROM else YELLOW if cumulative < _RED_FROM else RED
    standard = observations == 250 and level == 0.99
    multiplier = _MAR33_MULTIPLIERS[min(exceptions, 10)] if standard else None
    return TrafficLight(zone=zone, cumulative_probability=cumulative, multiplier=multiplier)


def acerbi_szekely(
    pnl: FloatArray, value_at_risk: FloatArray, expected_shortfall: FloatArray, level: float
) -> AcerbiSzekely:
    """Acerbi and Szekely's second test (2014): Z2 = sum(X_t I_t / (T a ES_t)) + 1 with I_t = [X_t + VaR_t < 0], a = 1 - level.

    ``pnl``, ``value_at_risk`` and ``expected_shortfall`` (T,): gains positive, losses stated as positive numbers.
    """
    gains, stated, tail = (np.asarray(a, dtype=np.float64) for a in (pnl, value_at_risk, expected_shortfall))
    if not gains.shape == stated.shape == tail.shape or gains.ndim != 1 or not gains.size:
        raise RiskInputError(f"found shapes {gains.shape}, {stated.shape}, {tail.shape}, expected three of (T,)")
    if not (np.isfinite(gains).all() and np.isfinite(stated).all() and (tail > 0.0).all()):
        raise RiskInputError("found NaN, infinity or a shortfall at or below 0, expected finite numbers")
    hits = gains + stated < 0.0
    statistic = float((gains[hits] / tail[hits]).sum()) / (len(gains) * _probability(level)) + 1.0
    return AcerbiSzekely(statistic=statistic, exceptions=int(hits.sum()))


def holm(p_values: Sequence[float], significance: float = 0.05) -> list[bool]:
    """Which of several tests are rejected together, so that a right model is rejected anywhere with probability ``significance`` at most.

    Holm's step-down (1979): the smallest p-value is held against significance / m, the next against significance / (m - 1),
    and so on until one is not below. It holds however the tests hang together.
    """
    if not all(0.0 <= p <= 1.0 for p in p_values):
        raise RiskInputError(f"found p-values {list(p_values)}, expected numbers from 0 to 1")
    rejected = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        if p_values[place] > significance / (len(p_values) - rank):
            break
        rejected[place] = True
    return rejected


def quantile_loss(pnl: FloatArray, value_at_risk: FloatArray, level: float) -> float:
    """The mean quantile (tick) loss of stated VaR: (a - [X + VaR < 0]) (X + VaR), a = 1 - level; smaller is better.

    It is the score that the true quantile minimises (Koenker and Bassett, 1978), so it compares methods of which the tests
    reject none: one that states too much pays for it, one that states too little pays more. ``pnl`` and
    ``value_at_risk`` (T,): gains positive, losses stated as positive numbers.
    """
    gains, stated = np.asarray(pnl, dtype=np.float64), np.asarray(value_at_risk, dtype=np.float64)
    if gains.shape != stated.shape or gains.ndim != 1 or not gains.size:
        raise RiskInputError(f"found shapes {gains.shape} and {stated.shape}, expected two of (T,)")
    above = gains + stated
    return float(np.mean((_probability(level) - (above < 0.0)) * above))


def binomial_distribution(k: int, n: int, p: float) -> float:
    """P(X <= k) of a binomial(n, p), summed term by term from the smaller tail of logarithms."""
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    ]
    return min(1.0, math.fsum(math.exp(x) for x in logs))


def _probability(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise RiskInputError(f"found level {level}, expected a confidence between 0 and 1, both excluded (0.99)")
    return round(1.0 - level, 15)


def _log_power(base: float, exponent: int) -> float:
    """Exponent x ln(base), 0 where the exponent is."""
    return exponent * math.log(base) if exponent else 0.0
