"""Normal and Student t: density, distribution and quantile, without scipy.

A machine that trades has numpy and numba only. scipy would be 113 MB more to install and to keep safe, and would cost every start 0.4
to 1 CPU second, since every run needs a quantile for its limits; what it would stand in for is this page, asked a few times a run.
Each quantile starts from a rough approximation and is polished by Halley or Newton steps against the exact distribution function, so
its error is that of ``math.erfc`` or of the incomplete beta function (continued fraction): about 1e-13 relative, 1e-11 for t with
thousands of degrees of freedom.
Tests hold them against scipy and QuantLib.
"""

from __future__ import annotations

import math
from functools import lru_cache

from grandmodel.kernels import kernel
from grandmodel.risk.errors import RiskInputError

_SQRT_2 = math.sqrt(2.0)
_SQRT_2_PI = math.sqrt(2.0 * math.pi)


@kernel
def normal_density(x: float) -> float:
    """The standard normal density at ``x``."""
    return math.exp(-0.5 * x * x) / _SQRT_2_PI


@kernel
def normal_distribution(x: float) -> float:
    """P(X <= x) of a standard normal."""
    return 0.5 * math.erfc(-x / _SQRT_2)


@kernel
def _normal_quantile(p: float) -> float:
    # Rough start (Abramowitz and Stegun 26.2.23, error below 4.5e-4), then Halley steps on the smaller tail.
    lower = min(p, 1.0 - p)
    t = math.sqrt(-2.0 * math.log(lower))
    x = -(t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))))
    for _ in range(3):
        error = 0.5 * math.erfc(-x / _SQRT_2) - lower
        step = error / (math.exp(-0.5 * x * x) / _SQRT_2_PI)
        x -= step / (1.0 + 0.5 * x * step)
    return x if p <= 0.5 else -x


def normal_quantile(p: float) -> float:
    """The standard normal quantile of ``p`` in (0, 1); raises ``RiskInputError`` outside."""
    _check_probability(p)
    return 0.0 if p == 0.5 else float(_normal_quantile(p))


@kernel
def _beta_fraction(a: float, b: float, x: float) -> float:
    # Continued fraction of the incomplete beta function, modified Lentz.
    tiny = 1e-300
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    h = d
    for m in range(1, 2000):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d = 1.0 + even * d
        d = 1.0 / (d if abs(d) > tiny else tiny)
        c = 1.0 + even / c
        c = c if abs(c) > tiny else tiny
        h *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d = 1.0 + odd * d
        d = 1.0 / (d if abs(d) > tiny else tiny)
        c = 1.0 + odd / c
        c = c if abs(c) > tiny else tiny
        change = d * c
        h *= change
        if abs(change - 1.0) < 1e-16:
            break
    return h


@kernel
def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), 0 <= x <= 1."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1.0 - x) / b


@kernel
def student_density(x: float, degrees: float) -> float:
    """The density of Student's t with ``degrees`` degrees of freedom at ``x``."""
    return math.exp(
        math.lgamma(0.5 * (degrees + 1.0))
        - math.lgamma(0.5 * degrees)
        - 0.5 * math.log(degrees * math.pi)
        - 0.5 * (degrees + 1.0) * math.log1p(x * x / degrees)
    )


@kernel
def _student_quantile(p: float, degrees: float) -> float:
    # Bisection on the smaller tail to a bracket, then Newton: the tail is monotone, so neither can fail.
    lower = min(p, 1.0 - p)
    low = -1.0
    while 0.5 * incomplete_beta(0.5 * degrees, 0.5, degrees / (degrees + low * low)) > lower:
        low *= 2.0
    high = 0.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        if 0.5 * incomplete_beta(0.5 * degrees, 0.5, degrees / (degrees + middle * middle)) > lower:
            high = middle
        else:
            low = middle
    x = 0.5 * (low + high)
    for _ in range(4):
        tail = 0.5 * incomplete_beta(0.5 * degrees, 0.5, degrees / (degrees + x * x))
        x -= (tail - lower) / student_density(x, degrees)
    return x if p <= 0.5 else -x


def student_quantile(p: float, degrees: float) -> float:
    """The quantile of ``p`` in (0, 1) of Student's t; raises ``RiskInputError`` outside or where ``degrees`` <= 0."""
    _check_probability(p)
    if not 0.0 < degrees < math.inf:
        raise RiskInputError(f"found degrees {degrees}, expected a positive finite number of degrees of freedom")
    return 0.0 if p == 0.5 else float(_student_quantile(p, degrees))


def chi_square_survival(x: float, degrees: int) -> float:
    """P(X > x) of a chi-square with 1 or 2 degrees of freedom, in closed form: the two that VaR backtests need."""
    if not x >= 0.0:
        raise RiskInputError(f"found a chi-square statistic of {x}, expected 0 or more")
    if degrees == 1:
        return math.erfc(math.sqrt(0.5 * x))
    if degrees == 2:
        return math.exp(-0.5 * x)
    raise RiskInputError(f"found {degrees} degrees of freedom, expected 1 or 2")


@lru_cache(maxsize=64)
def loss_quantile(level: float, degrees: float | None) -> float:
    """The ``level`` quantile of a unit-variance loss: normal, or Student t with ``degrees`` (> 2)."""
    if degrees is None:
        return normal_quantile(level)
    if not degrees > 2.0:
        raise RiskInputError(f"found degrees {degrees}, expected more than 2: the variance does not exist otherwise")
    return student_quantile(level, degrees) * math.sqrt((degrees - 2.0) / degrees)


@lru_cache(maxsize=64)
def loss_shortfall(level: float, degrees: float | None) -> float:
    """Mean of a unit-variance loss beyond its ``level`` quantile: normal, or Student t with ``degrees`` (> 2)."""
    return normal_shortfall_factor(level) if degrees is None else student_shortfall_factor(level, degrees)


def normal_shortfall_factor(level: float) -> float:
    """Expected shortfall of a standard normal loss at ``level``: density(z) / (1 - level)."""
    z = normal_quantile(level)
    return float(normal_density(z)) / (1.0 - level)


def student_shortfall_factor(level: float, degrees: float) -> float:
    """Expected shortfall of a t loss scaled to unit variance, at ``level``; ``degrees`` > 2 (McNeil, Frey, Embrechts 2.25)."""
    if not degrees > 2.0:
        raise RiskInputError(f"found degrees {degrees}, expected more than 2: the variance does not exist otherwise")
    t = student_quantile(level, degrees)
    raw = float(student_density(t, degrees)) / (1.0 - level) * (degrees + t * t) / (degrees - 1.0)
    return raw * math.sqrt((degrees - 2.0) / degrees)


def _check_probability(p: float) -> None:
    if not 0.0 < p < 1.0:
        raise RiskInputError(f"found probability {p}, expected a number between 0 and 1, both excluded")
