"""Fewer points, the same picture: per pixel column the first, lowest, highest and last value.

A line drawn through these four passes through the same pixels as a line through all points, so ten million points cost a
few thousand and no extreme is lost. (The idea is known as M4 aggregation: Jugel et al., VLDB 2014.) Read ``frame.py`` next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grandmodel.charts.scales import Floats, Times, drawable

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """What is left of a series.

    ``indices`` (K,): the points to draw, in order. ``breaks`` (K,): True where the line must not be joined to the point
    before. ``column_last``, ``column_low``, ``column_high``, ``column_count``, ``column_breaks`` (C,): per column that
    holds a point its last index, lowest and highest value, number of points, and whether the line is lifted before it. ``is_complete``: every drawable point was kept.
    """

    indices: Indices
    breaks: npt.NDArray[np.bool_]
    column_last: Indices
    column_low: Floats
    column_high: Floats
    column_count: Indices
    column_breaks: npt.NDArray[np.bool_]
    is_complete: bool


def reduce_to_columns(
    time_ns: Times, values: Floats, start_ns: int, end_ns: int, columns: int, max_gap_ns: int | None = None
) -> Reduced:
    """Reduce a series to at most four points per pixel column.

    Parameters: ``time_ns`` (T,) in order, ``values`` (T,), the span of the axis, its width in pixel columns, and
    ``max_gap_ns``: points further apart than this are not joined. Values that cannot be drawn (NaN, infinite) are left
    out and break the line, unless line and gap fall into one pixel column. Up to two points per column all are kept.
    """
    first, last = np.searchsorted(time_ns, start_ns, "left"), np.searchsorted(time_ns, end_ns, "right")
    inside = values[first:last]
    kept: Indices = np.flatnonzero(drawable(inside)).astype(np.int64) + np.int64(first)
    if kept.size == 0:
        none = np.empty(0, np.int64)
        return Reduced(
            indices=none, breaks=np.empty(0, np.bool_), column_last=none, column_low=np.empty(0, np.float64),
            column_high=np.empty(0, np.float64), column_count=none, column_breaks=np.empty(0, np.bool_), is_complete=True,
        )  # fmt: skip
    is_joined = np.diff(kept) == 1
    if max_gap_ns is not None:
        is_joined &= np.diff(time_ns[kept]) <= max_gap_ns
    breaks = np.concatenate([[True], ~is_joined])
    v = values[kept]
    if kept.size <= 2 * columns:
        return Reduced(
            indices=kept, breaks=breaks, column_last=kept, column_low=v, column_high=v,
            column_count=np.ones(kept.size, np.int64), column_breaks=breaks, is_complete=True,
        )  # fmt: skip
    span = end_ns - start_ns
    edges = np.array([start_ns + -(-k * span // columns) for k in range(columns)], np.int64)
    starts = np.unique(np.searchsorted(time_ns[kept], edges, "left"))
    starts = starts[starts < kept.size]
    ends = np.append(starts[1:], kept.size)
    chosen: list[int] = []
    begins: list[bool] = []
    for a, b in zip(starts.tolist(), ends.tolist(), strict=True):
        picks = sorted({a, a + int(v[a:b].argmin()), a + int(v[a:b].argmax()), b - 1})
        chosen.extend(picks)
        begins.extend([bool(breaks[a]), *[False] * (len(picks) - 1)])
    return Reduced(
        indices=kept[chosen],
        breaks=np.array(begins, np.bool_),
        column_last=kept[ends - 1],
        column_low=np.minimum.reduceat(v, starts),
        column_high=np.maximum.reduceat(v, starts),
        column_count=(ends - starts).astype(np.int64),
        column_breaks=breaks[starts],
        is_complete=False,
    )


def thin_to_pixels(x: Floats, y: Floats, pixel: float) -> Indices:
    """One point for every square of ``pixel`` pixels that holds any, so a cloud keeps its outline: the first of each."""
    squares = np.stack([np.floor(x / pixel), np.floor(y / pixel)], axis=1)
    first = np.unique(squares, axis=0, return_index=True)[1]
    return np.sort(first).astype(np.int64)
