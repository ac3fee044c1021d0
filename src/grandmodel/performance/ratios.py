"""The Sharpe and the Sortino ratio of a series of returns, each with its error.

A ratio without an interval says little: of a year of daily returns the 95 % interval of a Sharpe ratio is about 4 wide. Both
intervals come from one method (Lo, 2002): by the delta method a ratio moves with the mean of its influence values, whose long-run
variance Newey and West (1987) estimate with some autocovariances, so that fat tails, skew and autocorrelation are allowed for.

Returns are (n,), one per period; ratios are per period unless a name says ``annual``. No risk-free rate is subtracted. Kurtosis is 3
for a normal.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.performance.errors import PerformanceError

Floats = NDArray[np.float64]

FEWEST_RETURNS = 8
"""Fewer returns than this have no moments worth a name."""
_NORMAL = NormalDist()
_STILL = 1e-14
"""A variance below this share of the mean square is what rounding leaves of none."""


class ReturnMoments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the statistics need to know of a series of returns."""

    periods: int
    sharpe: float
    """Mean over standard deviation, per period; 0 where nothing moves."""
    skew: float
    kurtosis: float
    """3 for a normal."""


class RatioEstimate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ratio of returns with what is known about its error; all per period."""

    value: float
    standard_error: float
    low: float
    high: float
    level: float
    """Share of intervals like this one that hold the true ratio."""
    periods: int
    lags: int
    """Autocovariances that the standard error allows for; 0: as if periods were independent."""

    def annual(self, periods_per_year: float) -> RatioEstimate:
        """The same per year: everything times the square root of the periods of a year."""
        root = math.sqrt(periods_per_year)
        return msgspec.structs.replace(
            self,
            value=self.value * root,
            standard_error=self.standard_error * root,
            low=self.low * root,
            high=self.high * root,
        )


class AnnualRatios(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Both ratios of one series per year, or why there is none: a number and a reason never stand together."""

    sharpe_annual: float | None = None
    sharpe_interval_annual: tuple[float, float] | None = None
    sharpe_absent: str = ""
    """Why there is no Sharpe ratio; empty where there is one."""
    sortino_annual: float | None = None
    sortino_interval_annual: tuple[float, float] | None = None
    sortino_absent: str = ""
    ratio_level: float = 0.95
    """Of both intervals."""
    ratio_basis: str = ""
    """Which returns the ratios are made of, how many, how many of them make a year, and how the intervals came about."""


def annual_ratios(
    returns: Floats, periods_per_year: float | None, name: str, *, fewest: int = FEWEST_RETURNS, level: float = 0.95
) -> AnnualRatios:
    """Both ratios of simple ``returns`` (n,) per year; ``name`` says what a period is ("daily").

    Where one cannot be known, the reason stands in its place: fewer than ``fewest`` returns, none that differs, no year.
    """
    count = len(returns)
    basis = f"{count:,} {name} returns"
    absent = ""
    if count < fewest:
        absent = f"too few: {basis}, expected at least {fewest}"
    elif periods_per_year is None:
        absent = (
            f"not known how many {name} returns make a year: the sessions of the run cover less than two whole weeks"
        )
    if absent or periods_per_year is None:
        return AnnualRatios(sharpe_absent=absent, sortino_absent=absent, ratio_level=level, ratio_basis=basis)
    sharpe = sharpe_estimate(returns, level).annual(periods_per_year)
    sortino = sortino_estimate(returns, level)
    is_still = bool(np.var(returns) <= no_variance(returns))
    still = "no variance: every return is the same" if is_still else ""
    basis += f", {periods_per_year:,.1f} a year; {level:.0%} intervals after Lo (2002), {sharpe.lags} autocovariances"
    found = AnnualRatios(sharpe_absent=still, sortino_absent=still, ratio_level=level, ratio_basis=basis)
    if is_still:
        return found
    found = msgspec.structs.replace(found, sharpe_annual=sharpe.value, sharpe_interval_annual=(sharpe.low, sharpe.high))
    if sortino is None:
        return msgspec.structs.replace(found, sortino_absent="no return is below 0")
    yearly = sortino.annual(periods_per_year)
    return msgspec.structs.replace(
        found, sortino_annual=yearly.value, sortino_interval_annual=(yearly.low, yearly.high)
    )


def moments(returns: Floats) -> ReturnMoments:
    """Sharpe ratio, skew and kurtosis of ``returns`` (n,), by population moments.

    Raises ``PerformanceError`` for fewer than 8 returns or any that is not finite.
    """
    values = checked_returns(returns)
    centred = values - values.mean()
    variance = float((centred**2).mean())
    if variance <= no_variance(values):
        return ReturnMoments(periods=len(values), sharpe=0.0, skew=0.0, kurtosis=3.0)
    deviation = math.sqrt(variance)
    return ReturnMoments(
        periods=len(values),
        sharpe=float(values.mean()) / deviation,
        skew=float((centred**3).mean()) / deviation**3,
        kurtosis=float((centred**4).mean()) / variance**2,
    )


def sharpe_ratio(returns: Floats) -> float:
    """Mean over standard deviation of ``returns`` (n,), per period; 0 where nothing moves."""
    return moments(returns).sharpe


def row_sharpe_ratios(rows: Floats) -> Floats:
    """``sharpe_ratio`` of each row (R, n) -> (R,), unchecked: for the many resamples of series that were checked."""
    return sharpe_from_moments(rows.mean(axis=1), rows.var(axis=1), (rows**2).mean(axis=1))


def sharpe_from_moments(mean: Floats, variance: Floats, mean_square: Floats) -> Floats:
    """Mean over the root of the variance, element by element; 0 where nothing moves but for rounding (``no_variance``)."""
    is_still = variance <= _STILL * mean_square
    return np.where(is_still, 0.0, mean / np.sqrt(np.where(is_still, 1.0, variance)))


def sharpe_estimate(returns: Floats, level: float = 0.95, lags: int | None = None) -> RatioEstimate:
    """The Sharpe ratio of ``returns`` (n,) with a normal interval that allows for tails, skew and autocorrelation.

    Lo (2002), by the delta method on mean and variance: the ratio moves with the mean of
    (r - mu) / sigma - SR ((r - mu)^2 - sigma^2) / (2 sigma^2), whose long-run variance Newey and West estimate with
    ``lags`` autocovariances (by default 4 (n / 100)^(2/9)). With 0 lags it is the formula of Mertens (2002),
    1 - skew SR + (kurtosis - 1) SR^2 / 4, over n.
    """
    values = checked_returns(returns)
    found = moments(values)
    centred = values - values.mean()
    variance = float((centred**2).mean())
    if variance <= no_variance(values):
        return _estimate(0.0, np.zeros(len(values)), level, lags)
    influence = centred / math.sqrt(variance) - found.sharpe * (centred**2 - variance) / (2.0 * variance)
    return _estimate(found.sharpe, influence, level, lags)


def sortino_estimate(returns: Floats, level: float = 0.95, lags: int | None = None) -> RatioEstimate | None:
    """Mean over the root mean square of what lies below 0 of ``returns`` (n,) (target 0), with an interval; None where nothing does.

    The root is taken over all n returns, those above 0 as 0. The interval is made as that of ``sharpe_estimate``: the ratio moves
    with the mean of (r - mu) / d - S (min(r, 0)^2 - d^2) / (2 d^2), d the downside deviation.
    """
    values = checked_returns(returns)
    below = np.minimum(values, 0.0) ** 2
    mean_square = float(below.mean())
    if mean_square <= 0.0:
        return None
    deviation = math.sqrt(mean_square)
    ratio = float(values.mean()) / deviation
    influence = (values - values.mean()) / deviation - ratio * (below - mean_square) / (2.0 * mean_square)
    return _estimate(ratio, influence, level, lags)


def _estimate(value: float, influence: Floats, level: float, lags: int | None) -> RatioEstimate:
    """``value`` with the normal interval that follows from its ``influence`` values (n,), whose mean is 0."""
    n = len(influence)
    count = int(4.0 * (n / 100.0) ** (2.0 / 9.0)) if lags is None else lags
    if not 0 <= count < n:
        raise PerformanceError(f"ratio: found {count} lags for {n} returns, expected 0 to {n - 1}")
    error = math.sqrt(long_run_variance(influence, count) / n)
    half = _NORMAL.inv_cdf(0.5 + 0.5 * level) * error
    return RatioEstimate(
        value=value, standard_error=error, low=value - half, high=value + half, level=level, periods=n, lags=count
    )


def long_run_variance(values: Floats, lags: int) -> float:
    """Variance of sqrt(n) times the mean of ``values`` (n,), whose mean is about 0: Newey and West with Bartlett weights."""
    n = len(values)
    total = float(values @ values) / n
    for lag in range(1, lags + 1):
        total += 2.0 * (1.0 - lag / (lags + 1.0)) * float(values[lag:] @ values[:-lag]) / n
    return max(total, 0.0)


def checked_returns(returns: Floats) -> Floats:
    """``returns`` as float64 (n,); raises ``PerformanceError`` for fewer than 8, or any that is not finite."""
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 1 or len(values) < FEWEST_RETURNS:
        raise PerformanceError(
            f"returns: found an array of shape {values.shape}, expected one row of at least {FEWEST_RETURNS}"
        )
    if not np.isfinite(values).all():
        raise PerformanceError(f"returns: found {int((~np.isfinite(values)).sum())} that are not finite numbers")
    return values


def no_variance(values: Floats) -> float:
    """Variance below which a series is constant but for rounding."""
    return _STILL * float((values**2).mean())
