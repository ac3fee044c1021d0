"""From what age on a mark is too old to take new risk on: by the settings, and on a feed of ticks by the feed's own pace.

A mark of 30 minutes ago is the newest there is on 30-minute bars, and a dead feed on quotes. So every closed bar of a feed of
trades, quotes or orders says how far apart its rows lay, a slow mean of that is the feed's usual gap, and a mark that is
``max_mark_gaps`` of them old is stale. All in integers, from what is on the record: a replay draws the same line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.events import ClosedBar
from grandmodel.kernels import kernel
from grandmodel.risk.settings import InstrumentLimits

_MEMORY_BARS = 8
_MAX_AGE, _GAP, _ROWS, _LONGEST, _SHORTEST, _GAPS = range(6)


class FeedPace:
    """The usual gap between two rows of each instrument, and the largest age of its mark that follows.

    ``table`` (6, n) of int64 is the state, for ``follow_pace``.
    """

    __slots__ = ("max_ages", "table")

    def __init__(self, limits: Sequence[InstrumentLimits]) -> None:
        self.table: NDArray[np.int64] = np.zeros((6, len(limits)), dtype=np.int64)
        self.table[_MAX_AGE] = self.table[_LONGEST] = [one.max_mark_age_ns for one in limits]
        self.table[_SHORTEST] = [one.min_mark_age_ns for one in limits]
        self.table[_GAPS] = [one.max_mark_gaps for one in limits]
        self.max_ages: NDArray[np.int64] = self.table[_MAX_AGE]
        """By instrument index, ns; read by the check ``stale_data``."""

    def on_bar(self, index: int, bar: ClosedBar, rows: int) -> None:
        """A bar of instrument ``index`` closed; ``rows`` trades, quotes or orders came so far, 0 for a feed of bars."""
        follow_pace(self.table, index, bar.ts_event - bar.ts_open, rows)

    def follow(self, market: FeedPace) -> None:
        """Take the usual gaps that ``market`` has found; the ages follow from them and from this one's own limits."""
        draw_ages(self.table, market.table)

    def save(self) -> tuple[list[int], list[int], list[int]]:
        """The state as plain values."""
        max_ages, gaps, rows = self.table[: _ROWS + 1].tolist()
        return max_ages, gaps, rows

    def restore(self, saved: tuple[list[int], list[int], list[int]]) -> None:
        """Continue from what ``save`` gave."""
        self.table[: _ROWS + 1] = saved


@kernel
def follow_pace(table: NDArray[np.int64], index: int, lasted: int, rows: int) -> None:
    """A bar that lasted ``lasted`` ns closed, ``rows`` rows of its feed have come so far (0: a feed of bars)."""
    longest = table[_LONGEST, index]
    if rows <= 0:
        table[_GAP, index] = 0
        table[_MAX_AGE, index] = longest
        return
    came = rows - table[_ROWS, index]
    table[_ROWS, index] = rows
    if came <= 0:
        return
    gap, usual = lasted // came, table[_GAP, index]
    if usual != 0:
        usual += (gap - usual) // _MEMORY_BARS
    else:
        usual = gap
    table[_GAP, index] = usual
    table[_MAX_AGE, index] = _age_of(table, index)


@kernel
def _age_of(table: NDArray[np.int64], index: int) -> int:
    """The largest age of a mark that follows from the usual gap and the limits."""
    usual, longest = table[_GAP, index], table[_LONGEST, index]
    wanted = longest
    if max(usual, 1) <= longest // max(
        table[_GAPS, index], 1
    ):  # else the product is the longer one, and may leave 64 bits
        wanted = max(table[_SHORTEST, index], table[_GAPS, index] * max(usual, 1))
    return int(min(longest, wanted))


@kernel
def draw_ages(table: NDArray[np.int64], market: NDArray[np.int64]) -> None:
    """Largest ages by the limits of ``table`` and the usual gaps of ``market``; where no gap is known the longest."""
    for index in range(table.shape[1]):
        table[_GAP, index] = market[_GAP, index]
        table[_MAX_AGE, index] = _age_of(table, index) if market[_GAP, index] != 0 else table[_LONGEST, index]
