"""The newest rows of a matrix as one array, oldest first, without copying.

Each row is written twice, half a buffer apart, so that the newest ``rows`` rows always stand in one stretch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats
from grandmodel.features.errors import FeatureError


class RollingWindow:
    """The newest ``rows`` rows of ``columns`` values; NaN where fewer have come."""

    def __init__(self, rows: int, columns: int) -> None:
        self._rows = rows
        self._place = 0
        self._buffer: Floats = np.full((2 * rows, columns), np.nan)

    def push(self, row: npt.NDArray[np.float64]) -> None:
        """Add the newest row; the oldest falls out."""
        place = self._place
        self._buffer[place] = row
        self._buffer[place + self._rows] = row
        self._place = (place + 1) % self._rows

    @property
    def view(self) -> Floats:
        """Shape (rows, columns), oldest first: a read-only view, valid until the next ``push``."""
        view = self._buffer[self._place : self._place + self._rows]
        view.flags.writeable = False
        return view

    def save(self) -> Floats:
        """The rows, oldest first, as a copy."""
        return self.view.copy()

    def restore(self, rows: Floats) -> None:
        """Take the rows of ``save`` back."""
        if rows.shape != (self._rows, self._buffer.shape[1]):
            raise FeatureError(f"window: found shape {rows.shape}, expected {(self._rows, self._buffer.shape[1])}")
        self._place = 0
        self._buffer[: self._rows] = rows
        self._buffer[self._rows :] = rows


def rolling_windows(rows: Floats, length: int) -> Floats:
    """Every window of ``length`` rows, shape (T - length + 1, length, columns): a read-only view of ``rows``, not a copy.

    Window i ends with row i + length - 1. Raises ``FeatureError`` where there are fewer rows than ``length``.
    """
    if rows.ndim != 2 or len(rows) < length:
        raise FeatureError(f"rows: found shape {rows.shape}, expected at least {length} rows of one length")
    return np.lib.stride_tricks.sliding_window_view(rows, length, axis=0).transpose(0, 2, 1)


def newest_known(slow_ts: npt.ArrayLike, fast_ts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """For each fast bar, the place of the newest slow bar that had closed by its close, -1 where none had.

    This is the only join of half-hour and five-minute rows: a row never meets a bar that closed after it.
    """
    return (
        np.searchsorted(np.asarray(slow_ts, np.int64), np.asarray(fast_ts, np.int64), side="right").astype(np.int64) - 1
    )
