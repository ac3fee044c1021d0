"""How unlike the training data a window is, and what follows from it for the model's ignorance.

Dropout on the last features varies the weights, not the data: far outside what it learnt from, a network can be as sure as ever.
So each window is measured by itself. Of each column: its mean, deviation, mean absolute step and last value over the window;
all of them together as a Mahalanobis distance, centred and scaled robustly, with a covariance shrunk towards its diagonal.

    novelty = distance / its 99th percentile over training windows that the fit had not seen (five folds of time)

so that 1 is the edge of what training saw and about one ordinary window in a hundred lies beyond. Rows in a wrong order show in
the steps, wrong units in the deviations, a broken clock in the time columns; a mirrored market hardly shows, because a fall looks
like a rise turned over. ``spread_factor`` says how much wider than itself the dropout samples must lie at that novelty.

``fit_novelty`` runs in training; its result is two tensors (``novelty.*`` of a model file) and plain parameters. ``docs/models/uncertainty.md``
has the rates. Read next: ``inference.py``, which takes the factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.models.errors import ModelError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

STATISTICS = 4
"""Of each column: mean, deviation, mean absolute step, last value."""
EDGE = 0.99
"""Share of unseen training windows that lie within a novelty of 1."""
FOLDS = 5
SHRINKAGE = 0.2
"""How far correlations are drawn towards 0: windows overlap, so 30,000 of them are some 600 independent ones."""
LARGEST_SPREAD = 16.0
_RIDGE = 1e-3
_LEAST_SHARE = 0.5
"""A statistic whose middle half is narrower than this share of its deviation, as of one number nearly always, is measured by that
(the deviation of its middle 98 %, so that a wild bar sets no unit)."""
_ROUNDING = 1e-9
_WILD = 5.0
_NORMAL_MIDDLE_HALF = 1.3489795003921634
_FEWEST_PER_STATISTIC = 4


class NoveltyParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a manifest says of the score; the numbers to compute it are the two tensors."""

    window_rows: int
    columns: tuple[int, ...]
    """Places of the matrix's columns that it looks at: the schema's ``known_columns``."""
    windows: int
    """Training windows that it was fitted on."""
    edge: float
    """Distance, per root of the number of statistics, that counts as 1."""
    share_beyond: float
    """Of the training windows, measured by folds that had not seen them."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """A fitted score."""

    parameters: NoveltyParameters
    columns: Integers
    """(C',) those of the parameters."""
    centre: Floats
    """(S,), S = 4 x looked-at columns: usual statistics of a window."""
    whitener: Floats
    """(S, S), lower triangular: novelty is the length of ``whitener @ (statistics - centre)``."""

    def score(self, window: Floats) -> float:
        """The novelty of one window (R, C) as the features room gives it, oldest row first; NaN where a column looked at is not known."""
        rows, columns = self.parameters.window_rows, self.columns
        if window.ndim != 2 or len(window) != rows or window.shape[1] <= columns[-1]:
            raise ModelError(f"novelty: found a window of {window.shape}, expected ({rows}, {columns[-1] + 1} or more)")
        return window_novelty(window, columns, self.centre, self.whitener, np.empty(len(self.centre)))

    def scores(self, statistics: Floats) -> Floats:
        """The novelty of many windows, from their ``window_statistics`` (N, S); (N,)."""
        lengths: Floats = np.linalg.norm((statistics - self.centre) @ self.whitener.T, axis=1)
        return lengths

    def tensors(self) -> dict[str, Floats]:
        """What goes under ``novelty.`` of a model file."""
        return {"centre": self.centre, "whitener": self.whitener}

    @classmethod
    def from_parts(cls, parameters: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Novelty:
        """From a manifest's ``novelty`` and a model's tensors of that name. Raises ``ModelError`` where they do not fit."""
        try:
            known = msgspec.convert(dict(parameters), NoveltyParameters)
            centre, whitener = (np.ascontiguousarray(tensors[name], np.float64) for name in ("centre", "whitener"))
        except (msgspec.ValidationError, KeyError) as error:
            raise ModelError(
                f"novelty: found parameters or tensors that are not whole ({error}), expected what fit_novelty gave"
            ) from error
        size = STATISTICS * len(known.columns)
        if not known.columns or list(known.columns) != sorted(set(known.columns)) or known.columns[0] < 0:
            raise ModelError(f"novelty: found columns {known.columns}, expected at least one column, in order")
        if centre.shape != (size,) or whitener.shape != (size, size):
            raise ModelError(
                f"novelty: found tensors of {centre.shape} and {whitener.shape}, expected ({size},) and ({size}, {size})"
            )
        return cls(known, np.array(known.columns, np.int64), centre, whitener)


@kernel
def write_statistics(window: Floats, columns: Integers, out: Floats) -> None:
    """Statistics of ``columns`` (C',) of ``window`` (R, C) into ``out`` (4 C',): means, deviations, mean absolute steps, last values."""
    rows, width = len(window), len(columns)
    for i in range(len(out)):
        out[i] = 0.0
    # Sums are of what lies above the first row: no digits are lost where a column lies far from 0.
    for r in range(1, rows):
        for c in range(width):
            value = window[r, columns[c]]
            off = value - window[0, columns[c]]
            out[c] += off
            out[width + c] += off * off
            out[2 * width + c] += abs(value - window[r - 1, columns[c]])
    for c in range(width):
        off = out[c] / rows
        out[c] = window[0, columns[c]] + off
        out[width + c] = math.sqrt(max(out[width + c] / rows - off * off, 0.0))
        out[2 * width + c] /= max(rows - 1, 1)
        out[3 * width + c] = window[rows - 1, columns[c]]


@kernel
def window_novelty(window: Floats, columns: Integers, centre: Floats, whitener: Floats, scratch: Floats) -> float:
    """The novelty of ``window`` (R, C); ``scratch`` (S,) is written over, so that nothing is allocated."""
    write_statistics(window, columns, scratch)
    for i in range(len(scratch)):
        scratch[i] -= centre[i]
    squares = 0.0
    for i in range(len(scratch)):
        part = 0.0
        for j in range(i + 1):
            part += whitener[i, j] * scratch[j]
        squares += part * part
    return math.sqrt(squares)


@kernel
def spread_factor(novelty: float) -> float:
    """How many times further from their mean the dropout samples' logits must lie: 1 up to the edge, novelty squared beyond, 16 at most.

    16, too, where the novelty is not a number: what cannot be measured is not known.
    """
    if math.isnan(novelty):
        return LARGEST_SPREAD
    bounded = min(max(novelty, 1.0), math.sqrt(LARGEST_SPREAD))
    return bounded * bounded


@kernel
def window_statistics(rows: Floats, places: Integers, window_rows: int, columns: Integers) -> Floats:
    """Statistics (N, 4 C') of the windows that end at ``places`` (N,) of ``rows`` (T, C), each of ``window_rows`` rows."""
    out = np.empty((len(places), STATISTICS * len(columns)))
    for n in range(len(places)):
        end = places[n] + 1
        write_statistics(rows[end - window_rows : end], columns, out[n])
    return out


def fit_novelty(statistics: Floats, ts_event: Integers, *, window_rows: int, columns: Sequence[int]) -> Novelty:
    """The score of training windows, from their ``window_statistics`` (N, S) over ``columns`` and the times of their newest rows (N,).

    Several instruments' windows are put one after the other. The folds that set the edge are stretches of time, the same for all
    instruments. Raises ``ModelError`` where there are fewer than four windows to a statistic and fold, or one is not finite.
    """
    count, size = statistics.shape
    if size != STATISTICS * len(columns) or list(columns) != sorted(set(columns)):
        raise ModelError(
            f"novelty: found {size} statistics of columns {tuple(columns)}, expected {STATISTICS} of each, in order"
        )
    if count < FOLDS * _FEWEST_PER_STATISTIC * size or len(ts_event) != count or not np.isfinite(statistics).all():
        raise ModelError(
            f"novelty: found {count} windows of {size} statistics and {len(ts_event)} times, "
            f"expected at least {FOLDS * _FEWEST_PER_STATISTIC * size} of both, all finite"
        )
    fold = np.empty(count, np.int64)
    fold[np.argsort(ts_event, kind="stable")] = np.arange(count) * FOLDS // count
    unseen = np.empty(count)
    for k in range(FOLDS):
        centre, whitener = _fit_distance(statistics[fold != k])
        unseen[fold == k] = np.linalg.norm((statistics[fold == k] - centre) @ whitener.T, axis=1)
    edge = float(np.quantile(unseen, EDGE))
    centre, whitener = _fit_distance(statistics)
    parameters = NoveltyParameters(
        window_rows=window_rows,
        columns=tuple(columns),
        windows=count,
        edge=edge / math.sqrt(size),
        share_beyond=float((unseen > edge).mean()),
    )
    return Novelty(parameters, np.array(columns, np.int64), centre, whitener / edge)


def _fit_distance(statistics: Floats) -> tuple[Floats, Floats]:
    """Centre (S,) and whitener (S, S): medians; spreads of the middle half; covariance of what they leave, held to 5 and shrunk."""
    lowest, lower, centre, upper, highest = np.quantile(statistics, [0.01, 0.25, 0.5, 0.75, 0.99], axis=0)
    deviation = np.clip(statistics, lowest, highest).std(axis=0)
    spread = (upper - lower) / _NORMAL_MIDDLE_HALF
    spread = np.where(spread > _LEAST_SHARE * deviation, spread, deviation)
    # What never varied but by rounding has no unit of its own.
    spread = np.where(deviation > _ROUNDING * np.maximum(np.abs(centre), 1.0), spread, 1.0)
    units = np.clip((statistics - centre) / spread, -_WILD, _WILD)
    covariance = units.T @ units / len(units)
    variances = np.diag(covariance)
    covariance = (1.0 - SHRINKAGE) * covariance + np.diag(SHRINKAGE * variances + _RIDGE * variances.mean())
    whitener: Floats = np.linalg.inv(np.linalg.cholesky(covariance)) / spread
    return centre, np.tril(whitener)
