"""The limits on lots, held by the engine itself: an invariant, not a check that an order may fail.

The risk gate counts what each order could lead to before it leaves. Here the same is reckoned again from the other side,
from what is held and from the open orders as the venue's reports left them, and with none of the gate's own sums: the position with
every open buy filled, with every open sell filled, and the larger of the two over all instruments. None of them may grow beyond its
limit. The gate keeps this true; where it is not true something that the gate rests on is wrong, and trading stops.

While trading is halted every limit is 0 for an order that is about to leave: it may close and never open.

It is growth that breaks a limit. What was beyond one already (a position from before a limit was lowered, a fill that a venue
was not asked for, once it has been told) may shrink and may stay, so that the way out is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.ids import InstrumentId
from grandmodel.execution.order_life import OrderLives, lives_of, most_open
from grandmodel.kernels import kernel
from grandmodel.risk.settings import RiskSettings

Rows = NDArray[Any]
"""Structured rows; numpy has no type for their fields."""


class BrokenLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit on lots that what is held and open now goes beyond."""

    text: str
    value: int
    limit: int


_LONG, _SHORT, _OVERALL = 1, 2, 3
"""Which limit is broken; 0: none."""


@kernel
def look(
    lives: Rows, counts: Rows, tops: NDArray[np.int64], ends: NDArray[np.int64], i: int, position: int, first: int, last: int,
    closes_only: bool,
) -> int:  # fmt: skip
    """Reckon instrument ``i`` anew at ``position``, with the open orders of the accounts [first, last): which limit it has grown beyond, if any.

    ``tops`` (I + 1, 2) are the limits, long and short, the last row the one over all. ``ends`` (I + 1, 2) are the lots that each can be
    long and short with everything of that side filled, and in the last row their sum; they are brought up to date.
    """
    buys, sells = most_open(lives, counts, i, first, last)
    overall = tops.shape[0] - 1
    long, short, was_long, was_short = position + buys, sells - position, ends[i, 0], ends[i, 1]
    before = ends[overall, 0]
    total = before + max(long, short, 0) - max(was_long, was_short, 0)
    ends[overall, 0], ends[i, 0], ends[i, 1] = total, long, short
    if long > (0 if closes_only else tops[i, 0]) and long > was_long:
        return _LONG
    if short > (0 if closes_only else tops[i, 1]) and short > was_short:
        return _SHORT
    if total > tops[overall, 0] and total > before:
        return _OVERALL
    return 0


@kernel(borrows=True)
def _look_at(
    lives: NDArray[np.int64], tops: NDArray[np.int64], ends: NDArray[np.int64], i: int, position: int, first: int, last: int,
    closes_only: bool,
) -> int:  # fmt: skip
    """``look`` behind ``OrderLives.handle``."""
    found = lives_of(lives)
    return look(found.lives, found.counts, tops, ends, i, position, first, last, closes_only)


class PositionLimits:
    """What positions can become, by account and instrument, as it stood at the last look; see the module's text."""

    def __init__(
        self,
        settings: Sequence[RiskSettings],
        spans: Sequence[tuple[int, int]],
        ids: Sequence[InstrumentId],
        lives: OrderLives,
    ) -> None:
        self._ids = tuple(ids)
        self._lives = lives
        tops = []
        for one in settings:
            limits = [one.instruments.get(name, one.limits) for name in ids]
            lots = [(limit.max_long_lots, limit.max_short_lots) for limit in limits]
            tops.append([*lots, (one.portfolio.max_overall_lots, 0)])
        self.tops = np.array(tops, np.int64)
        """(N, I + 1, 2) the limits of each account, as ``look`` has them."""
        self.ends = np.zeros_like(self.tops)
        self.spans = np.array(spans, np.int64)
        """(N, 2): the rows of the accounts that trade from each account down, [first, last)."""

    def look(self, account: int, index: int, position: int, *, closes_only: bool = False) -> BrokenLimit | None:
        """Reckon instrument ``index`` of ``account`` anew at ``position`` (signed lots); the first limit that it has grown beyond, if any.

        With ``closes_only`` the limits of the instrument are 0.
        """
        first, last = self.spans[account].tolist()
        code = _look_at(
            self._lives.handle, self.tops[account], self.ends[account], index, position, first, last, closes_only
        )
        return self.broken(code, account, index, position, closes_only=closes_only) if code else None

    def broken(self, code: int, account: int, index: int, position: int, *, closes_only: bool = False) -> BrokenLimit:
        """What to say of the limit that ``look`` found broken."""
        name, tops, ends = self._ids[index], self.tops[account], self.ends[account]
        if code == _OVERALL:
            total, limit = int(ends[-1, 0]), int(tops[-1, 0])
            text = f"{name} and the others: what is held and open can become {total} lots over all instruments; the limit is {limit}"
            return BrokenLimit(text=text, value=total, limit=limit)
        end = int(ends[index, code - 1])
        limit = 0 if closes_only else int(tops[index, code - 1])
        why = "trading is halted and nothing may open" if closes_only else f"the limit is {limit}"
        way = "long" if code == _LONG else "short"
        text = f"{name}: {position} lots held and what is open can become {end} lots {way}; {why}"
        return BrokenLimit(text=text, value=end, limit=limit)
