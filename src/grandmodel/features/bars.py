"""From a frame of bars to the arrays that the matrices take, and the refusals on the way.

A frame has ``ts_event`` (int64 ns UTC, the close of the bar), ``open``, ``high``, ``low``, ``close`` and ``volume``. A null or NaN
price is a hole; a null or NaN volume is unknown. Neither is ever filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grandmodel.features.arrays import Floats, Integers
from grandmodel.features.errors import FeatureError

if TYPE_CHECKING:
    import polars as pl

PRICES = ("open", "high", "low", "close")
COLUMNS = ("ts_event", *PRICES, "volume")


@dataclass(frozen=True, slots=True)
class BarArrays:
    """The columns of a frame of bars, contiguous, shape (T,) each."""

    ts_event: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        """How many bars there are."""
        return len(self.ts_event)


def bar_arrays(bars: pl.DataFrame) -> BarArrays:
    """The arrays of a frame of bars.

    Raises ``FeatureError`` where a column is missing or of another kind, where ``ts_event`` is null or does not strictly
    rise, where a high is below its low or a volume below zero, and where a number is infinite.
    """
    import polars as pl  # noqa: PLC0415  (who brings a frame has it; a run has none)

    missing = [name for name in COLUMNS if name not in bars.columns]
    if missing:
        raise FeatureError(f"bars: found no column {', '.join(missing)}, expected {', '.join(COLUMNS)}")
    stamps = bars["ts_event"]
    if stamps.dtype != pl.Int64 or stamps.null_count():
        raise FeatureError(
            f"ts_event: found {stamps.dtype} with {stamps.null_count()} nulls, expected Int64 nanoseconds and no null"
        )
    ts_event = np.ascontiguousarray(stamps.to_numpy())
    backward = np.flatnonzero(ts_event[1:] <= ts_event[:-1])
    if len(backward):
        row = int(backward[0]) + 1
        raise FeatureError(
            f"ts_event: found {ts_event[row]} at row {row}, expected more than {ts_event[row - 1]}, the row before"
        )
    values = {name: _floats(bars[name], name) for name in (*PRICES, "volume")}
    _refuse(values["high"] < values["low"], "high", values["high"], "at least the low of the same row")
    _refuse(values["volume"] < 0, "volume", values["volume"], "zero or more")
    return BarArrays(ts_event=ts_event, **values)


def _floats(column: pl.Series, name: str) -> Floats:
    import polars as pl  # noqa: PLC0415  (who brings a frame has it; a run has none)

    if not (column.dtype.is_numeric() or column.dtype == pl.Null):
        raise FeatureError(f"{name}: found {column.dtype}, expected numbers")
    values: Floats = np.ascontiguousarray(column.cast(pl.Float64).fill_null(float("nan")).to_numpy())
    _refuse(np.isinf(values), name, values, "a finite number or null")
    return values


def _refuse(wrong: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], name: str, values: Floats, expected: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise FeatureError(
            f"{name}: found {values[rows[0]]} at row {rows[0]} ({len(rows)} such rows), expected {expected}"
        )
