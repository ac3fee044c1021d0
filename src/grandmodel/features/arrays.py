"""Checks at the door of every batch function: one-dimensional float64 arrays, equal lengths, sensible periods.

The kernels behind the door check nothing. Read ``averages.py`` next: it shows the two forms that every indicator has.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from grandmodel.features.errors import FeatureError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MAX_PERIOD = 1_000_000


def as_series(values: npt.ArrayLike, name: str = "values") -> Floats:
    """``values`` as a contiguous one-dimensional float64 array (no copy where it already is one).

    Raises ``FeatureError`` where it has another number of dimensions.
    """
    series = np.ascontiguousarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise FeatureError(f"{name}: found {series.ndim} dimensions, expected one value per bar")
    return series


def as_columns(**columns: npt.ArrayLike) -> tuple[Floats, ...]:
    """Several series of one length, in the order given; ``FeatureError`` where the lengths differ."""
    series = tuple(as_series(values, name) for name, values in columns.items())
    if len({len(values) for values in series}) > 1:
        found = ", ".join(f"{name} {len(values)}" for name, values in zip(columns, series, strict=True))
        raise FeatureError(f"lengths differ: {found}; expected one value per bar in each")
    return series


def check_period(period: int, name: str = "period", least: int = 1) -> int:
    """``period`` when it is an integer from ``least`` to a million; ``FeatureError`` otherwise."""
    if isinstance(period, bool) or not isinstance(period, int | np.integer) or not least <= period <= MAX_PERIOD:
        raise FeatureError(f"{name}: found {period!r}, expected a whole number of bars from {least} to {MAX_PERIOD}")
    return int(period)


def unknown(size: int) -> Floats:
    """``size`` values that are not known yet."""
    return np.full(size, np.nan)
