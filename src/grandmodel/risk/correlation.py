"""EWMA covariance, updated one return at a time, on the lower triangle only.

``S <- decay * S + (1 - decay) * r r'`` and the weight that has gone into it, ``W <- decay * W + (1 - decay)``;
``covariance`` is ``S / W``. The mean is taken as zero (RiskMetrics, 1996). Dividing by ``W`` makes the weights of the
returns seen so far add up to 1, so the first estimate is already unbiased instead of shrunk towards zero; after 250
updates at 0.94 the division changes the seventh digit. Given an ``initial`` matrix, the plain recursion starts there.

**Missing returns.** A NaN is a return that did not happen: the instrument was closed, or its feed was. Every pair with
a missing member keeps its value and its weight, so each pair has its own clock and its covariance is that of the bars
in which both traded. What moved over the closure arrives with the next bar of that instrument if the caller computes
its return from the last close, as ``RiskGate`` does.

With unequal clocks the pairs need not fit together: a book can come out with a negative variance, which no VaR has, or
with one far too small. Then the eigenvalues of the correlations are clipped from below at 1 % of a series' own variance
(``nearest_psd``). Variances stay as they are, so the VaR of one instrument alone does not change; that of a hedge rises
from nothing or less to what the repaired correlations say. Without a missing return the matrix is positive semi-definite
by construction and nothing is looked at. Read next: ``shocks.py``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.risk.errors import RiskInputError

FloatArray = NDArray[np.float64]

_CLEAN, _MISSING, _INFINITE = 0, 1, 2

_ROUNDING = 1e-12
"""A correlation matrix whose smallest eigenvalue is above minus this is positive semi-definite up to rounding."""
_LEAST_EIGENVALUE = 0.01
_MOST_SWEEPS = 50

TRIANGLE, PAIR_WEIGHTS, FULL = 0, 1, 2
"""``EwmaCovariance.tables``: the weighted sums, the weight of each pair, and room for ``fill_full`` to write to."""
WEIGHT, UPDATES, PAIRED, DECAY = 0, 1, 2, 3
"""``EwmaCovariance.clock``: the weight of all pairs until the first missing return, updates so far, 1.0 from the first
missing return on (each pair has its own weight then), and the decay."""


class EwmaCovariance:
    """A running covariance of ``n`` return series; ``decay`` in (0, 1) is the weight of the past (0.94: RiskMetrics daily).

    ``initial`` (n, n) starts the recursion from a known matrix; without it there is no estimate until the first update.
    The state stands in two arrays, ``tables`` (3, n, n) and ``clock`` (4,), for kernels that do more in the same call.
    """

    __slots__ = ("_full", "_full_updates", "clock", "decay", "n", "tables")

    def __init__(self, n: int, decay: float = 0.94, initial: FloatArray | None = None) -> None:
        if n < 1:
            raise RiskInputError(f"found n = {n}, expected at least one series")
        if not 0.0 < decay < 1.0:
            raise RiskInputError(f"found decay {decay}, expected a number between 0 and 1, both excluded")
        self.n = n
        self.decay = decay
        self.tables: FloatArray = np.zeros((3, n, n))
        self.clock: FloatArray = np.array([0.0, 0.0, 0.0, decay])
        self._full: FloatArray | None = None
        self._full_updates = -1
        if initial is not None:
            start = np.asarray(initial, dtype=np.float64)
            if start.shape != (n, n) or not np.isfinite(start).all():
                raise RiskInputError(f"found an initial matrix of shape {start.shape}, expected finite ({n}, {n})")
            self.tables[TRIANGLE] = np.tril(start)
            self.clock[WEIGHT] = 1.0

    @property
    def updates(self) -> int:
        """Rows of returns taken so far."""
        return int(self.clock[UPDATES])

    def update(self, returns: FloatArray) -> None:
        """Take one row of returns, shape (n,), NaN where missing; raises ``RiskInputError`` on an infinite one."""
        if not fold_returns(self.tables, self.clock, returns):
            raise RiskInputError("found an infinite return, expected finite ones or NaN for a missing one")

    def rescale(self, k: int, ratio: float) -> None:
        """Tell the returns of series ``k`` in another unit: each is ``ratio`` times what it was."""
        triangle = self.tables[TRIANGLE]
        triangle[k, :] *= ratio
        triangle[:, k] *= ratio
        self._full = None

    @property
    def covariance(self) -> FloatArray:
        """The covariance (n, n), symmetric, read-only; NaN where a pair has not been seen together yet."""
        updates = self.updates
        if self._full is None or self._full_updates != updates:
            self._full = np.empty((self.n, self.n))
            fill_full(self.tables, self.clock, self._full)
            self._full.flags.writeable = False
            self._full_updates = updates
        return self._full

    @property
    def repair(self) -> float:
        """By how much a correlation of ``covariance`` was changed at most to make it positive definite; 0 where it was."""
        full = np.empty((self.n, self.n))
        return float(fill_full(self.tables, self.clock, full))

    def variance(self, k: int) -> float:
        """The variance of series ``k``; NaN where unknown."""
        return float(variance_of(self.tables, self.clock, k))

    @property
    def volatility(self) -> FloatArray:
        """The standard deviations (n,), per update period; NaN where unknown."""
        return np.sqrt(np.diagonal(self.covariance))

    @property
    def correlation(self) -> FloatArray:
        """The correlation (n, n); NaN where unknown or where a series has not moved."""
        return correlation_of(self.covariance)

    def save(self) -> bytes:
        """The state as bytes; ``restore`` on an object of the same size and decay continues exactly."""
        pairs = self.tables[PAIR_WEIGHTS].tobytes() if self.clock[PAIRED] else b""
        head = np.array([self.n, self.updates, len(pairs)], dtype=np.int64).tobytes()
        weights = np.array([self.decay, self.clock[WEIGHT]]).tobytes()
        return b"".join((head, weights, self.tables[TRIANGLE].tobytes(), pairs))

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save``; raises ``RiskInputError`` where it is another tracker's."""
        n, updates, pair_bytes = (int(x) for x in np.frombuffer(data, dtype=np.int64, count=3))
        decay, weight = (float(x) for x in np.frombuffer(data, dtype=np.float64, count=2, offset=24))
        size = self.n * self.n
        if n != self.n or decay != self.decay or len(data) != 40 + 8 * size + pair_bytes:
            raise RiskInputError(
                f"found a saved state of {n} series with decay {decay}, expected {self.n} with {self.decay}"
            )
        self.clock[:] = weight, updates, 1.0 if pair_bytes else 0.0, decay
        self._full = None
        self.tables[TRIANGLE] = np.frombuffer(data, count=size, offset=40).reshape(n, n)
        self.tables[PAIR_WEIGHTS] = 0.0
        if pair_bytes:
            self.tables[PAIR_WEIGHTS] = np.frombuffer(data, count=size, offset=40 + 8 * size).reshape(n, n)


def correlation_of(covariance: FloatArray) -> FloatArray:
    """The correlation matrix of ``covariance`` (n, n), clipped to [-1, 1]; NaN beside a zero or unknown variance."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(np.diagonal(covariance))
        found = covariance / np.outer(scale, scale)
    found = np.clip(found, -1.0, 1.0)
    known = np.isfinite(np.diagonal(found))
    found[known, known] = 1.0
    return np.asarray(found)


def shrink(covariance: FloatArray, intensity: float) -> FloatArray:
    """``covariance`` (n, n) pulled towards constant correlation: variances stay, every correlation moves to the mean one.

    ``intensity`` in [0, 1] is the share of the target (Ledoit and Wolf, 2004, with the intensity given, not estimated).
    For reports and scenario generation; the hot path uses the raw estimate.
    """
    if not 0.0 <= intensity <= 1.0:
        raise RiskInputError(f"found intensity {intensity}, expected a number in [0, 1]")
    n = len(covariance)
    if n < 2:
        return np.array(covariance)
    correlation = correlation_of(covariance)
    mean = float((correlation.sum() - n) / (n * (n - 1)))
    target = np.full((n, n), mean)
    np.fill_diagonal(target, 1.0)
    scale = np.sqrt(np.diagonal(covariance))
    return np.asarray(((1.0 - intensity) * correlation + intensity * target) * np.outer(scale, scale))


def nearest_psd(covariance: FloatArray, floor: float = 0.0) -> FloatArray:
    """A positive semi-definite matrix near ``covariance`` with the same variances (eigenvalue clipping on the correlation).

    ``floor`` is the smallest eigenvalue of the correlation kept, before rescaling its diagonal back to 1 (Rebonato and
    Jaeckel, 2000). A matrix that is already positive enough comes back unchanged. For reports, off the hot path.
    """
    if not np.isfinite(covariance).all():
        raise RiskInputError("found NaN or infinity in the covariance, expected finite numbers")
    scale = np.sqrt(np.diagonal(covariance))
    safe = np.where(scale > 0.0, scale, 1.0)
    correlation = covariance / np.outer(safe, safe)
    values, vectors = np.linalg.eigh(0.5 * (correlation + correlation.T))
    if values[0] >= floor:
        return np.array(covariance)
    rebuilt = (vectors * np.maximum(values, floor)) @ vectors.T
    diagonal = np.sqrt(np.diagonal(rebuilt))
    diagonal = np.where(diagonal > 0.0, diagonal, 1.0)
    rebuilt = rebuilt / np.outer(diagonal, diagonal) * np.outer(scale, scale)
    rebuilt = 0.5 * (rebuilt + rebuilt.T)
    np.fill_diagonal(rebuilt, np.diagonal(covariance))
    return np.asarray(rebuilt)


@kernel
def fold_returns(tables: FloatArray, clock: FloatArray, returns: FloatArray) -> bool:
    """Fold one row of returns (n,), NaN where missing, into the state; False, and nothing changed, on an infinite one."""
    decay = clock[DECAY]
    if clock[PAIRED] == 0.0:
        outcome = _update_triangle(tables[TRIANGLE], returns, decay)
        if outcome == _CLEAN:
            clock[WEIGHT] = decay * clock[WEIGHT] + (1.0 - decay)
            clock[UPDATES] += 1.0
            return True
        if outcome == _INFINITE:
            return False
        tables[PAIR_WEIGHTS] = clock[WEIGHT]
        clock[PAIRED] = 1.0
    if _update_pairs(tables[TRIANGLE], tables[PAIR_WEIGHTS], returns, decay) == _INFINITE:
        return False
    clock[UPDATES] += 1.0
    return True


@kernel
def fill_full(tables: FloatArray, clock: FloatArray, full: FloatArray) -> float:
    """Fill ``full`` (n, n) with the covariance; NaN where a pair has not been seen together yet.

    Returns by how much a correlation was changed at most to make it positive definite, 0 where none was.
    """
    if clock[PAIRED] == 0.0:
        _fill_full_matrix(tables[TRIANGLE], clock[WEIGHT], full)
        return 0.0
    _fill_full_matrix_of_pairs(tables[TRIANGLE], tables[PAIR_WEIGHTS], full)
    return _repair(full)


@kernel
def variance_of(tables: FloatArray, clock: FloatArray, k: int) -> float:
    """The variance of series ``k``; NaN where unknown."""
    weight = clock[WEIGHT] if clock[PAIRED] == 0.0 else tables[PAIR_WEIGHTS, k, k]
    return tables[TRIANGLE, k, k] / weight if weight > 0.0 else math.nan


@kernel
def _update_triangle(triangle: FloatArray, returns: FloatArray, decay: float) -> int:
    total = 0.0
    for i in range(len(returns)):
        total += returns[i] * 0.0
    if total != 0.0:  # NaN: at least one return is missing or infinite
        for i in range(len(returns)):
            if math.isinf(returns[i]):
                return _INFINITE
        return _MISSING
    for i in range(len(returns)):
        scaled = (1.0 - decay) * returns[i]
        for j in range(i + 1):
            triangle[i, j] = decay * triangle[i, j] + scaled * returns[j]
    return _CLEAN


@kernel
def _update_pairs(triangle: FloatArray, weights: FloatArray, returns: FloatArray, decay: float) -> int:
    for i in range(len(returns)):
        if math.isinf(returns[i]):
            return _INFINITE
    for i in range(len(returns)):
        if math.isnan(returns[i]):
            continue
        for j in range(i + 1):
            if not math.isnan(returns[j]):
                triangle[i, j] = decay * triangle[i, j] + (1.0 - decay) * returns[i] * returns[j]
                weights[i, j] = decay * weights[i, j] + (1.0 - decay)
    return _CLEAN


@kernel
def _fill_full_matrix(triangle: FloatArray, weight: float, full: FloatArray) -> None:
    n = len(triangle)
    scale = 1.0 / weight if weight > 0.0 else math.nan
    for i in range(n):
        for j in range(i + 1):
            value = triangle[i, j] * scale
            full[i, j] = value
            full[j, i] = value


@kernel
def _fill_full_matrix_of_pairs(triangle: FloatArray, weights: FloatArray, full: FloatArray) -> None:
    n = len(triangle)
    for i in range(n):
        for j in range(i + 1):
            value = triangle[i, j] / weights[i, j] if weights[i, j] > 0.0 else math.nan
            full[i, j] = value
            full[j, i] = value


@kernel
def _repair(full: FloatArray) -> float:
    """Clip the eigenvalues of the correlations in ``full`` where one is negative; returns the largest change of a correlation.

    What ``nearest_psd`` does with a floor, in compiled code: the variances stay. A pair that is not known counts as
    uncorrelated and stays unknown; a series that is not known, or has not moved, is left out.
    """
    known = np.flatnonzero(np.diag(full) > 0.0)
    n = len(known)
    matrix = np.empty((n, n))
    for a in range(n):
        for b in range(n):
            i, j = known[a], known[b]
            matrix[a, b] = full[i, j] / math.sqrt(full[i, i] * full[j, j]) if i != j else 1.0
            if math.isnan(matrix[a, b]):
                matrix[a, b] = 0.0
    if _is_positive(matrix):
        return 0.0
    before = matrix.copy()
    vectors = _eigenvectors(matrix)  # the diagonal of matrix now holds the eigenvalues
    clipped = np.zeros((n, n))
    for a in range(n):
        for b in range(a + 1):
            for k in range(n):
                clipped[a, b] += max(matrix[k, k], _LEAST_EIGENVALUE) * vectors[a, k] * vectors[b, k]
    largest = 0.0
    for a in range(n):
        for b in range(a):
            i, j = known[a], known[b]
            value = clipped[a, b] / math.sqrt(clipped[a, a] * clipped[b, b])
            largest = max(largest, abs(value - before[a, b]))
            if not math.isnan(full[i, j]):
                full[i, j] = value * math.sqrt(full[i, i] * full[j, j])
                full[j, i] = full[i, j]
    return largest


@kernel
def _is_positive(matrix: FloatArray) -> bool:
    """Whether a correlation ``matrix`` (n, n), its diagonal raised by rounding, has a Cholesky factor."""
    n = len(matrix)
    factor = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j] if i != j else 1.0 + _ROUNDING
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i != j:
                factor[i, j] = total / factor[j, j]
            elif total > 0.0:
                factor[i, i] = math.sqrt(total)
            else:
                return False
    return True


@kernel
def _eigenvectors(matrix: FloatArray) -> FloatArray:
    """Eigenvectors (columns) of a symmetric ``matrix`` (n, n), whose diagonal is left with the eigenvalues: Jacobi's rotations.

    Own code because a library's would not give the same bits on every machine. Rare, and not fast: n cubed, some ten times.
    """
    n = len(matrix)
    vectors = np.eye(n)
    for _ in range(_MOST_SWEEPS):
        off = 0.0
        for p in range(n):
            for q in range(p):
                off += matrix[p, q] * matrix[p, q]
        if off < _ROUNDING * _ROUNDING:
            break
        for p in range(n):
            for q in range(p):
                if matrix[p, q] == 0.0:
                    continue
                theta = (matrix[q, q] - matrix[p, p]) / (2.0 * matrix[p, q])
                tangent = math.copysign(1.0, theta) / (abs(theta) + math.sqrt(theta * theta + 1.0))
                cosine = 1.0 / math.sqrt(tangent * tangent + 1.0)
                sine = tangent * cosine
                for k in range(n):
                    one, other = matrix[k, p], matrix[k, q]
                    matrix[k, p], matrix[k, q] = cosine * one - sine * other, sine * one + cosine * other
                for k in range(n):
                    one, other = matrix[p, k], matrix[q, k]
                    matrix[p, k], matrix[q, k] = cosine * one - sine * other, sine * one + cosine * other
                    one, other = vectors[k, p], vectors[k, q]
                    vectors[k, p], vectors[k, q] = cosine * one - sine * other, sine * one + cosine * other
    return vectors
