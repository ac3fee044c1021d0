"""Conditional volatility of one return series: EWMA and GARCH(1,1), zero mean.

Both return T + 1 numbers for T returns: the volatility forecast for each day from the days before it, and the one for the
day that has not happened yet. Nothing at t uses the return of t or later. The first value is a backcast: squared
returns of the first 75 days with weights falling by 0.94, which looks a little ahead at the very start, as is usual
(``arch`` does the same); whoever backtests leaves those days out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from grandmodel.kernels import kernel
from grandmodel.risk.correlation import FloatArray
from grandmodel.risk.errors import RiskInputError

_BACKCAST_DAYS = 75
_BACKCAST_DECAY = 0.94


@dataclass(frozen=True, slots=True)
class Garch:
    """A GARCH(1,1): s2_t = omega + alpha r2_{t-1} + beta s2_{t-1}."""

    omega: float
    alpha: float
    beta: float
    log_likelihood: float


def ewma_volatility(returns: FloatArray, decay: float = 0.94) -> FloatArray:
    """EWMA volatility forecasts (T + 1,) of ``returns`` (T,): s2_t = decay s2_{t-1} + (1 - decay) r2_{t-1}."""
    series = _checked(returns)
    if not 0.0 < decay < 1.0:
        raise RiskInputError(f"found decay {decay}, expected a number between 0 and 1, both excluded")
    return np.asarray(np.sqrt(_variance_path(series, 0.0, 1.0 - decay, decay, backcast(series))))


def garch_volatility(returns: FloatArray, model: Garch | None = None) -> FloatArray:
    """GARCH(1,1) volatility forecasts (T + 1,) of ``returns`` (T,); ``model`` is fitted to them where it is not given."""
    series = _checked(returns)
    found = model or fit_garch(series)
    return np.asarray(np.sqrt(_variance_path(series, found.omega, found.alpha, found.beta, backcast(series))))


def fit_garch(returns: FloatArray) -> Garch:
    """Fit GARCH(1,1) with zero mean to ``returns`` (T,), T at least 100, by maximum normal likelihood.

    The search is a Nelder-Mead simplex over (log omega share, alpha, beta) from three starts, on returns scaled to unit
    variance. Raises ``RiskInputError`` on a series that does not move.
    """
    series = _checked(returns)
    if len(series) < 100:
        raise RiskInputError(f"found {len(series)} returns, expected at least 100 to fit a GARCH")
    scale = math.sqrt(float(np.mean(series * series)))
    if not scale > 0.0:
        raise RiskInputError("found a series without movement, expected returns that vary")
    unit = series / scale
    start = backcast(unit)
    best = np.array([math.inf, 0.0, 0.0, 0.0])
    for alpha, beta in ((0.05, 0.90), (0.10, 0.80), (0.20, 0.50)):
        found = _simplex(unit, start, np.array([1.0 - alpha - beta, alpha, beta]))
        if found[0] < best[0]:
            best = found
    likelihood = -float(best[0]) - len(series) * math.log(scale)
    return Garch(
        omega=float(best[1]) * scale * scale, alpha=float(best[2]), beta=float(best[3]), log_likelihood=likelihood
    )


def backcast(returns: FloatArray) -> float:
    """The variance before the first return: weighted mean of the first squared returns, weights falling by 0.94."""
    count = min(_BACKCAST_DAYS, len(returns))
    weights = _BACKCAST_DECAY ** np.arange(count)
    return float((weights / weights.sum()) @ (returns[:count] ** 2))


def _checked(returns: FloatArray) -> FloatArray:
    series = np.ascontiguousarray(returns, dtype=np.float64)
    if series.ndim != 1 or not series.size or not np.isfinite(series).all():
        raise RiskInputError(f"found returns of shape {series.shape}, expected one finite series (T,)")
    return series


@kernel
def _variance_path(returns: FloatArray, omega: float, alpha: float, beta: float, start: float) -> FloatArray:
    path = np.empty(len(returns) + 1)
    path[0] = omega + (alpha + beta) * start
    for t in range(len(returns)):
        path[t + 1] = omega + alpha * returns[t] * returns[t] + beta * path[t]
    return path


@kernel
def _negative_likelihood(returns: FloatArray, start: float, omega: float, alpha: float, beta: float) -> float:
    """Minus the normal log likelihood; infinite outside omega > 0, alpha >= 0, beta >= 0, alpha + beta < 1."""
    if not (omega > 0.0 and alpha >= 0.0 and beta >= 0.0 and alpha + beta < 1.0):
        return math.inf
    variance = omega + (alpha + beta) * start
    total = 0.0
    for t in range(len(returns)):
        squared = returns[t] * returns[t]
        total += math.log(variance) + squared / variance
        variance = omega + alpha * squared + beta * variance
    return 0.5 * (total + len(returns) * math.log(2.0 * math.pi))


@kernel
def _simplex(returns: FloatArray, start: float, first: FloatArray) -> FloatArray:
    """Nelder and Mead (1965) on (omega, alpha, beta); returns (value, omega, alpha, beta)."""
    points = np.empty((4, 3))
    values = np.empty(4)
    for k in range(4):
        for d in range(3):
            points[k, d] = first[d]
        if k > 0:
            points[k, k - 1] *= 0.8
        values[k] = _negative_likelihood(returns, start, points[k, 0], points[k, 1], points[k, 2])
    for _ in range(600):
        order = np.argsort(values)
        points = points[order]
        values = values[order]
        if abs(values[3] - values[0]) <= 1e-10 * (1.0 + abs(values[0])):
            break
        centre = (points[0] + points[1] + points[2]) / 3.0
        reflected = centre + (centre - points[3])
        value = _negative_likelihood(returns, start, reflected[0], reflected[1], reflected[2])
        if value < values[0]:
            expanded = centre + 2.0 * (centre - points[3])
            further = _negative_likelihood(returns, start, expanded[0], expanded[1], expanded[2])
            if further < value:
                points[3] = expanded
                values[3] = further
            else:
                points[3] = reflected
                values[3] = value
        elif value < values[2]:
            points[3] = reflected
            values[3] = value
        else:
            inner = centre + 0.5 * (points[3] - centre)
            nearer = _negative_likelihood(returns, start, inner[0], inner[1], inner[2])
            if nearer < values[3]:
                points[3] = inner
                values[3] = nearer
            else:
                for k in range(1, 4):
                    points[k] = points[0] + 0.5 * (points[k] - points[0])
                    values[k] = _negative_likelihood(returns, start, points[k, 0], points[k, 1], points[k, 2])
    best = np.argmin(values)
    return np.array([values[best], points[best, 0], points[best, 1], points[best, 2]])
