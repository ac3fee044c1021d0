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

import msgspec

from grandmodel.domain.ids import InstrumentId
from grandmodel.execution.order_life import OrderLives
from grandmodel.risk.settings import RiskSettings


class BrokenLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit on lots that what is held and open now goes beyond."""

    text: str
    value: int
    limit: int


class PositionLimits:
    """What positions can become, by instrument, as it stood at the last look; see the module's text."""

    def __init__(self, settings: RiskSettings, ids: Sequence[InstrumentId], lives: OrderLives) -> None:
        self._ids = tuple(ids)
        self._lives = lives
        limits = [settings.instruments.get(name, settings.limits) for name in ids]
        self._tops = [(one.max_long_lots, one.max_short_lots) for one in limits]
        self._overall = settings.portfolio.max_overall_lots
        self._ends = [(0, 0)] * len(self._ids)
        """Per instrument the lots that it can be long, and short, with everything of that side filled."""
        self._sum = 0

    def look(self, index: int, position: int, *, closes_only: bool = False) -> BrokenLimit | None:
        """Reckon instrument ``index`` anew at ``position`` (signed lots); the first limit that it has grown beyond, if any.

        With ``closes_only`` the limits of the instrument are 0.
        """
        name = self._ids[index]
        buys, sells = self._lives.most_open(name)
        ends, before = (position + buys, sells - position), self._ends[index]
        total = self._sum + max(*ends, 0) - max(*before, 0)
        sum_before, self._sum, self._ends[index] = self._sum, total, ends
        tops = (0, 0) if closes_only else self._tops[index]
        for end, was, top, way in zip(ends, before, tops, ("long", "short"), strict=True):
            if end > top and end > was:
                why = "trading is halted and nothing may open" if closes_only else f"the limit is {top}"
                text = f"{name}: {position} lots held and what is open can become {end} lots {way}; {why}"
                return BrokenLimit(text=text, value=end, limit=top)
        if total > self._overall and total > sum_before:
            text = (
                f"{name} and the others: what is held and open can become {total} lots over all instruments; the limit is "
                f"{self._overall}"
            )
            return BrokenLimit(text=text, value=total, limit=self._overall)
        return None

    def restore(self, positions: Sequence[int]) -> None:
        """Begin from ``positions`` and the open orders as they stand."""
        for index, position in enumerate(positions):
            self.look(index, position)
