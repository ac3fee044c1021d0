"""Shock detection: has the market's structure just left its own history?

Three statistics of the running covariance, each beside its own past: the mean off-diagonal correlation, the first
eigenvalue's share of the correlation matrix (power iteration, started from the last eigenvector) and the mean log
volatility. A statistic is a shock when it stands ``threshold`` standard deviations above its own exponentially weighted
mean **and** has risen by at least a floor, so that a very quiet history cannot make a small move look large. It fires
once, and again only after it came back below ``rearm``. What caused it is named: the pair or instrument furthest from
its own usual value. Read next: ``breakers.py``, which the shocks feed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.risk.errors import RiskInputError

FloatArray = NDArray[np.float64]

KINDS = ("average_correlation", "first_eigenvalue_share", "volatility")


class ShockSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a rise is a shock. Defaults were chosen on the daily panels; ``docs/risk/var-backtests.md`` gives the rates."""

    history_updates: int = 500
    """Half-life, in updates, of the history that a statistic is compared with."""
    min_history: int = 120
    """No shock is declared before so many updates."""
    threshold: float = 3.5
    """Standard deviations above its own mean."""
    rearm: float = 2.0
    """A statistic that fired must fall below this before it can fire again."""
    min_correlation_rise: float = 0.15
    min_share_rise: float = 0.15
    min_volatility_rise: float = 0.4
    """Of mean log volatility: 0.4 is half as much again."""


@dataclass(frozen=True, slots=True)
class Shock:
    """One statistic that left its history."""

    kind: str
    """One of ``KINDS``."""
    value: float
    usual: float
    """The mean of its history."""
    deviations: float
    """How many standard deviations above ``usual``."""
    cause: tuple[int, ...]
    """The pair (two indices) or the instrument (one) that moved most."""


class ShockDetector:
    """Compares each new covariance of ``n`` series with the history of the ones before it."""

    __slots__ = ("_armed", "_eigenvector", "_mean", "_pair_mean", "_spread", "_values", "n", "seen", "settings")

    def __init__(self, n: int, settings: ShockSettings | None = None) -> None:
        if n < 1:
            raise RiskInputError(f"found n = {n}, expected at least one series")
        self.n = n
        self.settings = settings or ShockSettings()
        self.seen = 0
        self._values: FloatArray = np.full(3, math.nan)
        self._mean: FloatArray = np.zeros(3)
        self._spread: FloatArray = np.zeros(3)
        self._pair_mean: FloatArray = np.zeros((n, n))
        self._eigenvector: FloatArray = np.full(n, 1.0 / math.sqrt(n))
        self._armed = [True, True, True]

    @property
    def average_correlation(self) -> float:
        """Mean off-diagonal correlation of the last covariance; NaN for one series."""
        return float(self._values[0])

    @property
    def first_eigenvalue_share(self) -> float:
        """The first eigenvalue of the last correlation matrix over n; NaN for one series."""
        return float(self._values[1])

    @property
    def volatility_ratio(self) -> float:
        """Mean volatility over its own usual level (geometric); NaN before any history."""
        return math.exp(float(self._values[2] - self._mean[2])) if self.seen else math.nan

    def update(self, covariance: FloatArray) -> tuple[Shock, ...]:
        """Take one covariance (n, n); returns the shocks it brings. One with unknown entries is passed over."""
        decay = 0.5 ** (1.0 / self.settings.history_updates)
        step = max(1.0 - decay, 1.0 / (self.seen + 1))
        if not _statistics(covariance, self._eigenvector, self._values):
            return ()
        found = self._shocks(covariance) if self.seen >= self.settings.min_history else ()
        _learn(covariance, self._values, self._mean, self._spread, self._pair_mean, step)
        self.seen += 1
        return found

    def _shocks(self, covariance: FloatArray) -> tuple[Shock, ...]:
        floors = (
            self.settings.min_correlation_rise,
            self.settings.min_share_rise,
            self.settings.min_volatility_rise,
        )
        found: list[Shock] = []
        values, means, spreads = self._values.tolist(), self._mean.tolist(), self._spread.tolist()
        for k, kind in enumerate(KINDS):
            value, usual, spread = values[k], means[k], math.sqrt(spreads[k])
            rise = value - usual
            if not rise > self.settings.rearm * spread:
                self._armed[k] = True
            elif self._armed[k] and rise > self.settings.threshold * spread and rise > floors[k]:
                self._armed[k] = False
                cause = _widest(covariance, self._pair_mean, kind == "volatility")
                found.append(
                    Shock(
                        kind=kind,
                        value=value,
                        usual=usual,
                        deviations=rise / spread if spread > 0.0 else math.inf,
                        cause=cause,
                    )
                )
        return tuple(found)

    def save(self) -> bytes:
        """The state as bytes."""
        head = np.array([self.n, self.seen, *self._armed], dtype=np.int64).tobytes()
        parts = (self._values, self._mean, self._spread, self._eigenvector, self._pair_mean)
        return head + b"".join(part.tobytes() for part in parts)

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save`` of a detector of the same size."""
        n, seen, *armed = (int(x) for x in np.frombuffer(data, dtype=np.int64, count=5))
        if n != self.n or len(data) != 40 + 8 * (9 + n + n * n):
            raise RiskInputError(f"found a saved shock state of {n} series, expected {self.n}")
        rest = np.frombuffer(data, offset=40)
        self.seen = seen
        self._armed = [bool(x) for x in armed]
        self._values, self._mean, self._spread = rest[0:3].copy(), rest[3:6].copy(), rest[6:9].copy()
        self._eigenvector = rest[9 : 9 + n].copy()
        self._pair_mean = rest[9 + n :].reshape(n, n).copy()


def _widest(covariance: FloatArray, usual: FloatArray, own: bool) -> tuple[int, ...]:
    """The instrument whose log volatility, or the pair whose correlation, stands furthest above its usual value."""
    variance = np.diagonal(covariance)
    if own:
        return (int(np.argmax(0.5 * np.log(variance) - np.diagonal(usual))),)
    scale = np.sqrt(variance)
    rise = np.tril(covariance / np.outer(scale, scale) - usual, -1)
    rise[np.triu_indices(len(rise))] = -np.inf
    first, second = np.unravel_index(int(np.argmax(rise)), rise.shape)
    return (int(second), int(first))


@kernel
def _statistics(covariance: FloatArray, eigenvector: FloatArray, values: FloatArray) -> bool:
    """Fill ``values`` with the three statistics; False where an entry is unknown or a variance not positive."""
    n = len(covariance)
    inverse = np.empty(n)
    log_volatility = 0.0
    for i in range(n):
        if not covariance[i, i] > 0.0:
            return False
        inverse[i] = 1.0 / math.sqrt(covariance[i, i])
        log_volatility += 0.5 * math.log(covariance[i, i])
    total = 0.0
    for i in range(n):
        row = 0.0
        for j in range(i):
            row += covariance[i, j] * inverse[j]
        total += row * inverse[i]
    if math.isnan(total):
        return False
    values[2] = log_volatility / n
    if n == 1:
        values[0] = math.nan
        values[1] = math.nan
        return True
    values[0] = total / (0.5 * n * (n - 1))
    values[1] = _largest_eigenvalue(covariance, inverse, eigenvector) / n
    return True


@kernel
def _largest_eigenvalue(covariance: FloatArray, inverse: FloatArray, vector: FloatArray) -> float:
    """Power iteration on the correlation matrix, at most 50 steps; ``vector`` keeps the eigenvector for the next call."""
    n = len(vector)
    scaled = np.empty(n)
    product = np.empty(n)
    value = 0.0
    for _ in range(50):
        for i in range(n):
            scaled[i] = vector[i] * inverse[i]
        for i in range(n):
            product[i] = 0.0
        for i in range(n):  # symmetric: row i times a scalar, so that the inner loop has no reduction
            weight = scaled[i]
            for j in range(n):
                product[j] += covariance[i, j] * weight
        norm = 0.0
        for i in range(n):
            product[i] *= inverse[i]
            norm += product[i] * product[i]
        norm = math.sqrt(norm)
        if norm == 0.0:
            # The start is orthogonal to everything: begin again from the first axis.
            for i in range(n):
                vector[i] = 0.0
            vector[0] = 1.0
            continue
        for i in range(n):
            vector[i] = product[i] / norm
        done = abs(norm - value) <= 1e-6 * norm
        value = norm
        if done:
            break
    return value


@kernel
def _learn(
    covariance: FloatArray,
    values: FloatArray,
    mean: FloatArray,
    spread: FloatArray,
    pair_mean: FloatArray,
    step: float,
) -> None:
    """Fold the statistics into their exponentially weighted mean and variance, and each pair into its own mean."""
    for k in range(3):
        change = values[k] - mean[k]
        mean[k] += step * change
        spread[k] = (1.0 - step) * (spread[k] + step * change * change)
    n = len(covariance)
    for i in range(n):
        own = 0.5 * math.log(covariance[i, i])
        pair_mean[i, i] += step * (own - pair_mean[i, i])
        for j in range(i):
            rho = covariance[i, j] / math.sqrt(covariance[i, i] * covariance[j, j])
            pair_mean[i, j] += step * (rho - pair_mean[i, j])
