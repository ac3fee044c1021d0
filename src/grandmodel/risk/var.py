"""Value at risk and expected shortfall: parametric, historical, filtered historical and Monte Carlo.

Losses are positive, in the unit of the exposures or of the P&L. ``level`` is the confidence (0.99), never implied.
Every result carries Euler components, which add up to its value: what each position contributes, not what it is alone.

Which method is the default, and why, is in ``docs/risk/var-backtests.md``, measured. The gate's own running VaR is in
``running.py``; the volatilities of the filtered method are in ``volatility.py``. Read next: ``backtests.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.risk.correlation import FloatArray, nearest_psd
from grandmodel.risk.distributions import loss_quantile, loss_shortfall
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.symmetric import symmetric_product
from grandmodel.risk.volatility import ewma_volatility, garch_volatility

Revaluation = Callable[[FloatArray], FloatArray]
"""From returns (scenarios, n) to the P&L of the whole book in each (scenarios,)."""


class VarResult(msgspec.Struct, frozen=True, eq=False):
    """One value at risk. Shapes: ``components`` and ``marginal`` (n,)."""

    value: float
    """Loss that is not exceeded with probability ``level``; negative where even that outcome is a gain."""
    expected_shortfall: float
    """Mean loss in the tail at or beyond ``value``."""
    components: FloatArray
    """Each position's share of ``value``; they add up to it."""
    marginal: FloatArray
    """Change of ``value`` per unit of exposure; NaN where the method does not give it."""
    level: float
    method: str


def parametric(
    exposures: FloatArray,
    covariance: FloatArray,
    level: float,
    *,
    horizon: float = 1.0,
    degrees: float | None = None,
) -> VarResult:
    """VaR of linear positions whose returns are normal, or Student t with ``degrees`` of freedom of the same covariance.

    ``exposures`` (n,) money, signed; ``covariance`` (n, n) symmetric, of returns over one period; ``horizon`` periods
    (square-root scaling). VaR = q sqrt(h x'Sx); component i = q sqrt(h) x_i (Sx)_i / sqrt(x'Sx) (Litterman, 1996).
    Raises ``RiskInputError`` on NaN or a negative variance.
    """
    x = np.ascontiguousarray(exposures, dtype=np.float64)
    matrix = np.ascontiguousarray(covariance, dtype=np.float64)
    if matrix.shape != (x.size, x.size) or x.ndim != 1:
        raise RiskInputError(
            f"found exposures {x.shape} and covariance {matrix.shape}, expected (n,) and (n, n) with the same n"
        )
    if not horizon > 0.0:
        raise RiskInputError(f"found horizon {horizon}, expected a positive number of periods")
    quantile, tail = loss_quantile(level, degrees), loss_shortfall(level, degrees)
    marginal, components = np.empty(x.size), np.empty(x.size)
    variance = write_components(matrix, x, quantile, horizon, marginal, components)
    if not 0.0 <= variance < math.inf:
        raise RiskInputError(
            f"found a portfolio variance of {variance}, expected 0 or more: exposures and covariance must be finite, "
            "and the matrix positive semi-definite (nearest_psd repairs one)"
        )
    deviation = math.sqrt(variance * horizon)
    return VarResult(quantile * deviation, tail * deviation, components, marginal, level, "parametric")


@kernel
def write_components(
    covariance: FloatArray, x: FloatArray, quantile: float, horizon: float, marginal: FloatArray, components: FloatArray
) -> float:
    """The portfolio's variance; ``marginal`` and ``components`` (n,) of its VaR are filled, with 0 where there is no variance."""
    variance = symmetric_product(covariance, x, marginal)
    deviation = math.sqrt(variance * horizon) if variance > 0.0 else 0.0
    scale = quantile * horizon / deviation if deviation > 0.0 else 0.0
    for i in range(len(x)):
        marginal[i] *= scale
        components[i] = x[i] * marginal[i]
    return variance


def historical(pnl: FloatArray, level: float) -> VarResult:
    """VaR of past outcomes: the ceil(T x (1 - level))-th worst, with 1 - level taken exactly.

    ``pnl`` (T,) or (T, n), gains positive; rows are dates and columns positions. The value is the loss of that one
    scenario, its components the columns' losses in it; the shortfall is the mean of every outcome as bad or worse.
    """
    table = np.asarray(pnl, dtype=np.float64)
    if table.ndim not in (1, 2) or not table.size:
        raise RiskInputError(f"found P&L of shape {table.shape}, expected (T,) or (T, n) with at least one row")
    total = table if table.ndim == 1 else table.sum(axis=1)
    if not np.isfinite(total).all():
        raise RiskInputError("found NaN or infinity in the P&L, expected finite numbers: leave missing days out")
    return _from_scenarios(total, table.reshape(len(total), -1), level, "historical")


def filtered_historical(
    returns: FloatArray,
    exposures: FloatArray,
    level: float,
    *,
    volatility: str = "ewma",
    decay: float = 0.94,
) -> VarResult:
    """Historical VaR with each past return scaled from the volatility of its day to tomorrow's (Hull and White, 1998).

    ``returns`` (T, n), ``exposures`` (n,). ``volatility`` is ``ewma`` (with ``decay``) or ``garch`` (GARCH(1,1), fitted to
    each column). The correlation between columns stays that of the days themselves.
    """
    table = np.ascontiguousarray(returns, dtype=np.float64)
    x = np.asarray(exposures, dtype=np.float64)
    if table.ndim != 2 or x.shape != (table.shape[1],):
        raise RiskInputError(f"found returns {table.shape} and exposures {x.shape}, expected (T, n) and (n,)")
    if not np.isfinite(table).all() or not np.isfinite(x).all():
        raise RiskInputError("found NaN or infinity in returns or exposures, expected finite numbers")
    if volatility not in ("ewma", "garch"):
        raise RiskInputError(f"found volatility {volatility!r}, expected 'ewma' or 'garch'")
    scaled = np.empty_like(table)
    for k in range(table.shape[1]):
        series = table[:, k]
        path = ewma_volatility(series, decay) if volatility == "ewma" else garch_volatility(series)
        scaled[:, k] = rescale(series, path)
    pnl = scaled * x
    return _from_scenarios(pnl.sum(axis=1), pnl, level, f"filtered_historical_{volatility}")


def rescale(returns: FloatArray, volatility: FloatArray) -> FloatArray:
    """Past ``returns`` (T,) at tomorrow's volatility: r_t sigma_{T+1} / sigma_t, for ``volatility`` (T + 1,)."""
    today = volatility[:-1]
    return np.asarray(returns * (volatility[-1] / np.where(today > 0.0, today, volatility[-1])))


def monte_carlo(
    exposures: FloatArray,
    covariance: FloatArray,
    level: float,
    *,
    scenarios: int,
    rng: np.random.Generator,
    degrees: float | None = None,
    revalue: Revaluation | None = None,
) -> VarResult:
    """VaR from ``scenarios`` seeded draws of normal returns, or Student t with ``degrees`` (> 2) and the same covariance.

    Linear positions (no ``revalue``): the P&L is one normal (or t) variable whose variance is known, so it is drawn
    directly, in antithetic pairs; components are Euler shares of that value. With ``revalue`` the returns of every
    instrument are drawn, also in antithetic pairs, and the book is revalued in each; ``components`` are then those of the
    book's regression on the linear positions, rescaled to the value (all on the first position where there are none).
    """
    if scenarios < 2:
        raise RiskInputError(f"found {scenarios} scenarios, expected at least 2")
    linear = parametric(exposures, covariance, level, degrees=degrees)
    half = (scenarios + 1) // 2
    if revalue is None:
        deviation = linear.value / loss_quantile(level, degrees)
        draws = rng.standard_normal(half) * _mixing(rng, half, degrees)
        pnl = np.concatenate((draws, -draws))[:scenarios] * deviation
    else:
        factor = _cholesky(np.asarray(covariance, dtype=np.float64))
        returns = rng.standard_normal((half, len(factor))) @ factor.T
        if degrees is not None:
            returns *= _mixing(rng, half, degrees)[:, None]
        pnl = np.concatenate((revalue(returns), revalue(-returns)))[:scenarios]
        if pnl.shape != (scenarios,) or not np.isfinite(pnl).all():
            raise RiskInputError(f"revaluation gave shape {pnl.shape}, expected {scenarios} finite P&L numbers")
    found = _from_scenarios(pnl, pnl[:, None], level, "monte_carlo")
    share = found.value / linear.value if linear.value > 0.0 else 0.0
    return VarResult(
        value=found.value,
        expected_shortfall=found.expected_shortfall,
        components=linear.components * share,
        marginal=linear.marginal * share,
        level=level,
        method="monte_carlo" if degrees is None else "monte_carlo_t",
    )


def incremental(exposures: FloatArray, covariance: FloatArray, trade: FloatArray, level: float) -> float:
    """Change of the parametric VaR when ``trade`` (n,) is added to ``exposures`` (n,): negative where it hedges."""
    before = parametric(exposures, covariance, level)
    after = parametric(np.asarray(exposures) + np.asarray(trade), covariance, level)
    return after.value - before.value


def _tail_probability(level: float) -> Fraction:
    if not 0.0 < level < 1.0:
        raise RiskInputError(f"found level {level}, expected a confidence between 0 and 1, both excluded (0.99)")
    return 1 - Fraction(repr(float(level)))


def _quantile(values: FloatArray, probability: Fraction) -> tuple[float, float]:
    rank = math.ceil(len(values) * probability)
    quantile = float(np.partition(values, rank - 1)[rank - 1])
    return quantile, float(values[values <= quantile].mean())


def _from_scenarios(total: FloatArray, table: FloatArray, level: float, method: str) -> VarResult:
    quantile, mean = _quantile(total, _tail_probability(level))
    at = int(np.argmax(total == quantile))
    components = -table[at]
    return VarResult(
        value=-quantile,
        expected_shortfall=-mean,
        components=components,
        marginal=np.full(len(components), math.nan),
        level=level,
        method=method,
    )


def _mixing(rng: np.random.Generator, count: int, degrees: float | None) -> NDArray[np.float64]:
    """Factors that turn unit normals into unit-variance Student t: sqrt((v - 2) / chi-square_v)."""
    if degrees is None:
        return np.ones(count)
    return np.asarray(np.sqrt((degrees - 2.0) / rng.chisquare(degrees, count)))


def _cholesky(matrix: FloatArray) -> FloatArray:
    try:
        return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        repaired = nearest_psd(matrix, floor=1e-10)
    try:
        return np.asarray(np.linalg.cholesky(repaired), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        raise RiskInputError("the covariance cannot be factored even after repair: is a variance zero?") from error
