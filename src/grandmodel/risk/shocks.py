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
from grandmodel.risk.symmetric import symmetric_product

FloatArray = NDArray[np.float64]

_SEARCHING, _FOLLOWING, _SEARCHED = 100, 3, 20
"""Steps of power iteration: while the first eigenvector is searched for (the first updates), and while it is followed."""

KINDS = ("average_correlation", "first_eigenvalue_share", "volatility")


LAST, MEAN, SPREAD, MEAN_BEFORE, SPREAD_BEFORE, FLOOR, ARMED, LIMITS = range(8)
"""``ShockDetector.history`` by row: the last statistics; mean and variance of their history with them, and without them;
the least rise; 1.0 where a statistic can fire; and ``rearm``, ``threshold`` and the least weight of the newest value."""
_REARM, _THRESHOLD, _STEP = range(3)

LEVEL = 2
"""``ShockDetector.history`` by column: as ``KINDS``; this one is the mean log volatility."""
SEEN = 0
"""``ShockDetector.count``: covariances taken so far."""


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
    """Least rise of the mean correlation above its usual value."""
    min_share_rise: float = 0.15
    """Least rise of the first eigenvalue's share."""
    min_volatility_rise: float = 0.4
    """Least rise of mean log volatility: 0.4 is half as much again."""


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
    """Compares each new covariance of ``n`` series with the history of the ones before it.

    The state stands in arrays, ``history`` (8, 3), ``tables`` (2, n, n), ``eigenvector`` (n,) and ``count`` (1,), for ``watch``.
    """

    __slots__ = ("count", "eigenvector", "history", "n", "settings", "tables")

    def __init__(self, n: int, settings: ShockSettings | None = None) -> None:
        if n < 1:
            raise RiskInputError(f"found n = {n}, expected at least one series")
        self.n = n
        self.settings = settings or ShockSettings()
        self.count: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
        floors = self.settings.min_correlation_rise, self.settings.min_share_rise, self.settings.min_volatility_rise
        self.history: FloatArray = np.zeros((8, 3))
        self.history[LAST] = math.nan
        self.history[FLOOR] = floors
        self.history[ARMED] = 1.0
        self.history[LIMITS] = (
            self.settings.rearm,
            self.settings.threshold,
            1.0 - 0.5 ** (1.0 / self.settings.history_updates),
        )
        # The last correlation, and the mean of each (on the diagonal: of each log volatility).
        self.tables: FloatArray = np.zeros((2, n, n))
        self.eigenvector: FloatArray = np.full(n, 1.0 / math.sqrt(n))

    @property
    def seen(self) -> int:
        """Covariances taken so far."""
        return int(self.count[SEEN])

    @property
    def average_correlation(self) -> float:
        """Mean off-diagonal correlation of the last covariance; NaN for one series."""
        return float(self.history[LAST, 0])

    @property
    def first_eigenvalue_share(self) -> float:
        """The first eigenvalue of the last correlation matrix over n; NaN for one series."""
        return float(self.history[LAST, 1])

    def update(self, covariance: FloatArray) -> tuple[Shock, ...]:
        """Take one covariance (n, n); returns the shocks it brings. One with unknown entries is passed over."""
        found = watch(covariance, self.tables, self.eigenvector, self.history, self.seen, self.settings.min_history)
        self.count[SEEN] += found >= 0
        return self.described(found, covariance)

    def described(self, found: int, covariance: FloatArray) -> tuple[Shock, ...]:
        """The shocks that ``watch`` found in ``covariance``, the last one taken."""
        if found <= 0:
            return ()
        shocks: list[Shock] = []
        for k, kind in enumerate(KINDS):
            if not found >> k & 1:
                continue
            value, usual = float(self.history[LAST, k]), float(self.history[MEAN_BEFORE, k])
            rise, spread = value - usual, math.sqrt(self.history[SPREAD_BEFORE, k])
            shocks.append(
                Shock(
                    kind=kind,
                    value=value,
                    usual=usual,
                    deviations=rise / spread if spread > 0.0 else math.inf,
                    cause=_widest(covariance, self.tables[1], kind == "volatility"),
                )
            )
        return tuple(shocks)

    def split(self, k: int, ratio: float) -> None:
        """The returns of series ``k`` are ``ratio`` times what they were, told in another unit: no shock, so its history moves along."""
        moved = math.log(ratio)
        for row in (LAST, MEAN, MEAN_BEFORE):
            self.history[row, LEVEL] += moved / self.n
        self.tables[1, k, k] += moved

    def save(self) -> bytes:
        """The state as bytes."""
        armed = self.history[ARMED].tolist()
        head = np.array([self.n, self.seen, *armed], dtype=np.int64).tobytes()
        parts = (self.history[: SPREAD_BEFORE + 1], self.eigenvector, self.tables[1])
        return head + b"".join(part.tobytes() for part in parts)

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save`` of a detector of the same size."""
        n, seen, *armed = (int(x) for x in np.frombuffer(data, dtype=np.int64, count=5))
        if n != self.n or len(data) != 40 + 8 * (15 + n + n * n):
            raise RiskInputError(f"found a saved shock state of {n} series, expected {self.n}")
        rest = np.frombuffer(data, offset=40)
        self.count[SEEN] = seen
        self.history[: SPREAD_BEFORE + 1] = rest[:15].reshape(5, 3)
        self.history[ARMED] = armed
        self.eigenvector[:] = rest[15 : 15 + n]
        self.tables[1] = rest[15 + n :].reshape(n, n)


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
def watch(
    covariance: FloatArray,
    tables: FloatArray,
    eigenvector: FloatArray,
    history: FloatArray,
    seen: int,
    min_history: int,
) -> int:
    """Take one covariance (n, n) into a detector's state: bit k of the result is set where statistic k is a shock.

    -1, and nothing changed that counts, where an entry is unknown. ``seen``: covariances taken before.
    """
    step = max(history[LIMITS, _STEP], 1.0 / (seen + 1))
    steps = _FOLLOWING if seen > _SEARCHED else _SEARCHING
    if not _compute(covariance, eigenvector, steps, step, history, tables[0], tables[1]):
        return -1
    return _judge(history) if seen + 1 > min_history else 0


@kernel
def _judge(history: FloatArray) -> int:
    """Hold the last statistics against their history; a statistic fires once, until it has come back."""
    found = 0
    for k in range(3):
        rise = history[LAST, k] - history[MEAN_BEFORE, k]
        spread = math.sqrt(history[SPREAD_BEFORE, k])
        if not rise > history[LIMITS, _REARM] * spread:
            history[ARMED, k] = 1.0
        elif history[ARMED, k] != 0.0 and rise > history[LIMITS, _THRESHOLD] * spread and rise > history[FLOOR, k]:
            history[ARMED, k] = 0.0
            found |= 1 << k
    return found


@kernel
def _compute(
    covariance: FloatArray,
    eigenvector: FloatArray,
    steps: int,
    step: float,
    history: FloatArray,
    rho: FloatArray,
    pair_mean: FloatArray,
) -> bool:
    """Compute the statistics of ``covariance`` into ``history`` and learn them.

    False, and nothing changed that counts, where an entry is unknown or a variance is not positive.
    """
    n = len(covariance)
    inverse = np.empty(n)
    log_volatility = 0.0
    for i in range(n):
        if not covariance[i, i] > 0.0:
            return False
        inverse[i] = 1.0 / math.sqrt(covariance[i, i])
        log_volatility -= math.log(inverse[i])
    sums = np.zeros(n)
    for i in range(n):
        scale = inverse[i]
        for j in range(n):  # no sum over the inner index, so that it vectorises
            value = covariance[i, j] * scale * inverse[j]
            rho[i, j] = value
            sums[j] += value
        sums[i] -= rho[i, i]
        rho[i, i] = 1.0
    total = 0.0
    for j in range(n):
        total += 0.5 * sums[j]
    if math.isnan(total):
        return False
    history[LAST, LEVEL] = log_volatility / n
    if n == 1:
        history[LAST, 0] = math.nan
        history[LAST, 1] = math.nan
    else:
        history[LAST, 0] = total / (0.5 * n * (n - 1))
        history[LAST, 1] = _largest_eigenvalue(rho, eigenvector, steps) / n
    _learn(history, rho, pair_mean, inverse, step)
    return True


@kernel
def _largest_eigenvalue(rho: FloatArray, vector: FloatArray, steps: int) -> float:
    """The Rayleigh quotient after at most ``steps`` of power iteration; ``vector`` keeps the eigenvector for the next call.

    The quotient's error is the square of the vector's, and one update moves the matrix little, so that a few steps from
    the last vector follow it.
    """
    n = len(vector)
    product = np.empty(n)
    value = 0.0
    for _ in range(steps):
        before = value
        value = symmetric_product(rho, vector, product)
        norm = 0.0
        for i in range(n):
            norm += product[i] * product[i]
        norm = math.sqrt(norm)
        if norm < 1e-12 * n:
            # The start is orthogonal to everything: begin again from the first axis.
            for i in range(n):
                vector[i] = 0.0
            vector[0] = 1.0
            continue
        for i in range(n):
            vector[i] = product[i] / norm
        if abs(value - before) <= 1e-7 * value:
            break
    return value


@kernel
def _learn(history: FloatArray, rho: FloatArray, pair_mean: FloatArray, inverse: FloatArray, step: float) -> None:
    """Fold the statistics into their exponentially weighted mean and variance, and each pair into its own mean."""
    for k in range(3):
        history[MEAN_BEFORE, k] = history[MEAN, k]
        history[SPREAD_BEFORE, k] = history[SPREAD, k]
        change = history[LAST, k] - history[MEAN, k]
        history[MEAN, k] += step * change
        history[SPREAD, k] = (1.0 - step) * (history[SPREAD, k] + step * change * change)
    for i in range(len(rho)):
        for j in range(i):
            pair_mean[i, j] += step * (rho[i, j] - pair_mean[i, j])
        pair_mean[i, i] += step * (-math.log(inverse[i]) - pair_mean[i, i])
