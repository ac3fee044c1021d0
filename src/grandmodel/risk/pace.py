"""From what age on a mark is too old to take new risk on: by the settings, and on a feed of ticks by the feed's own pace.

A mark of 30 minutes ago is the newest there is on 30-minute bars, and a dead feed on quotes. So every closed bar of a feed of
trades, quotes or orders says how far apart its rows lay, a slow mean of that is the feed's usual gap, and a mark that is
``max_mark_gaps`` of them old is stale. All in integers, from what is on the record: a replay draws the same line.
"""

from __future__ import annotations

from collections.abc import Sequence

from grandmodel.domain.events import ClosedBar
from grandmodel.risk.settings import InstrumentLimits

_MEMORY_BARS = 8


class FeedPace:
    """The usual gap between two rows of each instrument, and the largest age of its mark that follows."""

    __slots__ = ("_gaps", "_limits", "_rows", "max_ages")

    def __init__(self, limits: Sequence[InstrumentLimits]) -> None:
        self._limits = tuple(limits)
        self.max_ages = [one.max_mark_age_ns for one in limits]
        """By instrument index, ns; read by the check ``stale_data``."""
        self._gaps = [0] * len(self.max_ages)
        self._rows = [0] * len(self.max_ages)

    def on_bar(self, index: int, bar: ClosedBar, rows: int) -> None:
        """A bar of instrument ``index`` closed; ``rows`` trades, quotes or orders came so far, 0 for a feed of bars."""
        limits = self._limits[index]
        if rows <= 0:
            self._gaps[index], self.max_ages[index] = 0, limits.max_mark_age_ns
            return
        came, self._rows[index] = rows - self._rows[index], rows
        if came <= 0:
            return
        gap, usual = (bar.ts_event - bar.ts_open) // came, self._gaps[index]
        self._gaps[index] = usual = usual + (gap - usual) // _MEMORY_BARS if usual else gap
        self.max_ages[index] = min(
            limits.max_mark_age_ns, max(limits.min_mark_age_ns, limits.max_mark_gaps * max(usual, 1))
        )

    def save(self) -> tuple[list[int], list[int], list[int]]:
        """The state as plain values."""
        return list(self.max_ages), list(self._gaps), list(self._rows)

    def restore(self, saved: tuple[list[int], list[int], list[int]]) -> None:
        """Continue from what ``save`` gave."""
        self.max_ages[:], self._gaps[:], self._rows[:] = saved
