"""Rolling one-day value at risk: each day's number from the days before it only, by every method, and its backtest.

``METHODS`` names them. A method is a function from the past P&L window to (VaR, expected shortfall), except for the two
that carry state along the whole series (EWMA, GARCH), which are causal recursions. Nothing at t sees the P&L of t.
``docs/risk/make_var_backtests.py`` runs them on real prices; the table there chose ``DEFAULT_METHOD``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from grandmodel.risk.backtests import (
    AcerbiSzekely,
    Christoffersen,
    Kupiec,
    acerbi_szekely,
    christoffersen,
    kupiec,
    traffic_light,
)
from grandmodel.risk.correlation import FloatArray
from grandmodel.risk.distributions import loss_quantile, loss_shortfall
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.var import historical, rescale
from grandmodel.risk.volatility import ewma_volatility, fit_garch, garch_volatility

WINDOW = 250
"""Days of the rolling window: one trading year."""

DEFAULT_METHOD = "filtered_historical_garch"
"""What reports use: of the methods that no test of ``docs/risk/var-backtests.md`` rejects over ten series, the one with the
smallest quantile loss. The gate uses ``parametric_ewma_t5``, the best of those whose value after one more trade costs a
few multiplications."""

STUDENT_DEGREES = 5.0
"""Degrees of freedom of the Student methods: the middle of what is usually found for daily share returns (3 to 7)."""

_GARCH_WINDOW = 1000
_GARCH_REFIT_DAYS = 25
_MONTE_CARLO_SCENARIOS = 10_000
_LIGHT_DAYS = 250


@dataclass(frozen=True, slots=True)
class RollingVar:
    """One method on one series. Shapes: (T,), NaN on the days before the method could speak."""

    method: str
    level: float
    value: FloatArray
    expected_shortfall: FloatArray


@dataclass(frozen=True, slots=True)
class RollingBacktest:
    """How one method did over the days on which every compared method spoke."""

    method: str
    days: int
    coverage: Kupiec
    independence: Christoffersen
    green_days: int
    yellow_days: int
    red_days: int
    """Days whose last 250 days stand in each zone of the traffic light."""
    shortfall: AcerbiSzekely
    mean_value: float
    """Mean VaR: what the method costs in capital."""


def rolling_var(pnl: FloatArray, method: str, level: float, window: int = WINDOW) -> RollingVar:
    """The VaR and shortfall of ``method`` for each day of ``pnl`` (T,), gains positive, from the days before it."""
    series = np.ascontiguousarray(pnl, dtype=np.float64)
    if series.ndim != 1 or len(series) <= window or not np.isfinite(series).all():
        raise RiskInputError(f"found P&L of shape {series.shape}, expected one finite series longer than {window}")
    if method not in METHODS:
        raise RiskInputError(f"found method {method!r}, expected one of: {', '.join(METHODS)}")
    value, shortfall = METHODS[method](series, level, window)
    return RollingVar(method, level, value, shortfall)


def backtest_rolling(pnl: FloatArray, rolled: RollingVar, first: int) -> RollingBacktest:
    """Backtest ``rolled`` on the days from ``first`` on."""
    gains, stated, tail = pnl[first:], rolled.value[first:], rolled.expected_shortfall[first:]
    hits = gains < -stated
    zones = traffic_light_days(hits, rolled.level)
    return RollingBacktest(
        method=rolled.method,
        days=len(hits),
        coverage=kupiec(int(hits.sum()), len(hits), rolled.level),
        independence=christoffersen(hits, rolled.level),
        green_days=int((zones == 0).sum()),
        yellow_days=int((zones == 1).sum()),
        red_days=int((zones == 2).sum()),
        shortfall=acerbi_szekely(gains, stated, tail, rolled.level),
        mean_value=float(stated.mean()),
    )


def traffic_light_days(hits: NDArray[np.bool_], level: float, window: int = _LIGHT_DAYS) -> NDArray[np.int64]:
    """The zone (0 green, 1 yellow, 2 red) of each window of ``window`` days of ``hits`` (T,): (T - window + 1,)."""
    if len(hits) < window:
        return np.empty(0, dtype=np.int64)
    sums = np.concatenate(([0], np.cumsum(hits)))
    counts = sums[window:] - sums[:-window]
    names = ["green", "yellow", "red"]
    zone = np.array([names.index(traffic_light(k, window, level).zone) for k in range(int(counts.max()) + 1)])
    return np.asarray(zone[counts], dtype=np.int64)


def _from_volatility(
    volatility: FloatArray, quantile: float, tail: float, window: int
) -> tuple[FloatArray, FloatArray]:
    value, shortfall = volatility[:-1] * quantile, volatility[:-1] * tail
    value[:window], shortfall[:window] = math.nan, math.nan
    return value, shortfall


def _ewma_normal(series: FloatArray, level: float, window: int) -> tuple[FloatArray, FloatArray]:
    path = ewma_volatility(series)
    return _from_volatility(path, loss_quantile(level, None), loss_shortfall(level, None), window)


def _ewma_student(series: FloatArray, level: float, window: int) -> tuple[FloatArray, FloatArray]:
    path, nu = ewma_volatility(series), STUDENT_DEGREES
    return _from_volatility(path, loss_quantile(level, nu), loss_shortfall(level, nu), window)


def _historical(series: FloatArray, level: float, window: int) -> tuple[FloatArray, FloatArray]:
    return _each_day(series, window, lambda past, _: past, level)


def _filtered_ewma(series: FloatArray, level: float, window: int) -> tuple[FloatArray, FloatArray]:
    path = ewma_volatility(series)
    return _each_day(series, window, lambda past, t: rescale(past, path[t - len(past) : t + 1]), level)


def _filtered_garch(series: FloatArray, level: float, window: int) -> tuple[FloatArray, FloatArray]:
    path = _rolling_garch(series, window)
    return _each_day(series, window, lambda past, t: rescale(past, path[t][-len(past) - 1 :]), level)


def _garch_normal(series: FloatArray, level: float, window: int) -> tuple[FloatArray, FloatArray]:
    path = _rolling_garch(series, window)
    volatility = np.array([*(float(p[-1]) for p in path), math.nan])
    return _from_volatility(volatility, loss_quantile(level, None), loss_shortfall(level, None), window)


def _monte_carlo(series: FloatArray, level: float, window: int) -> tuple[FloatArray, FloatArray]:
    """Antithetic Student draws on the EWMA volatility: what ``var.monte_carlo`` does for a linear book, day by day."""
    rng = np.random.default_rng(0)
    path = ewma_volatility(series)
    unit = math.sqrt((STUDENT_DEGREES - 2.0) / STUDENT_DEGREES)
    value, shortfall = np.full(len(series), math.nan), np.full(len(series), math.nan)
    for t in range(window, len(series)):
        draws = rng.standard_t(STUDENT_DEGREES, _MONTE_CARLO_SCENARIOS // 2) * (unit * path[t])
        found = historical(np.concatenate((draws, -draws)), level)
        value[t], shortfall[t] = found.value, found.expected_shortfall
    return value, shortfall


def _rolling_garch(series: FloatArray, window: int) -> list[FloatArray]:
    """For each day the volatility path up to it, from a model refitted every 25 days on at most 1,000 days before."""
    return _garch_paths(series.tobytes(), window)


@lru_cache(maxsize=1)  # two methods and several levels use the paths of one series, and fitting is all the work
def _garch_paths(data: bytes, window: int) -> list[FloatArray]:
    series = np.frombuffer(data, dtype=np.float64)
    paths: list[FloatArray] = [np.full(1, math.nan)] * window
    for t in range(window, len(series)):
        past = series[max(0, t - _GARCH_WINDOW) : t]
        if (t - window) % _GARCH_REFIT_DAYS == 0:
            model = fit_garch(past)
        paths.append(garch_volatility(past, model)[-window - 1 :])
    return paths


def _each_day(
    series: FloatArray, window: int, transform: Callable[[FloatArray, int], FloatArray], level: float
) -> tuple[FloatArray, FloatArray]:
    """Historical VaR of the transformed window before each day."""
    value, shortfall = np.full(len(series), math.nan), np.full(len(series), math.nan)
    for t in range(window, len(series)):
        found = historical(transform(series[t - window : t], t), level)
        value[t], shortfall[t] = found.value, found.expected_shortfall
    return value, shortfall


_Method = Callable[[FloatArray, float, int], tuple[FloatArray, FloatArray]]

METHODS: dict[str, _Method] = {
    "parametric_ewma": _ewma_normal,
    "parametric_ewma_t5": _ewma_student,
    "parametric_garch": _garch_normal,
    "historical": _historical,
    "filtered_historical_ewma": _filtered_ewma,
    "filtered_historical_garch": _filtered_garch,
    "monte_carlo_ewma_t5": _monte_carlo,
}
"""Every method that can be rolled, by name."""
