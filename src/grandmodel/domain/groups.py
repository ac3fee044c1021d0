"""One-cancels-other groups, as far as they can be known from what the venue reports.

Orders of one instrument and one group number reduce each other: each lot that one of them fills takes a lot from what every other
one may still fill, on either side, and an order with nothing left ends. A venue knows the group from the moment at which
its orders are sent. An order that joins later starts whole: what the others filled before is not its own room.

Reports are on their way for a while. A fill that we hear of after an order was sent may have happened before, and then it
took nothing from that order. What decides is the order of things at the venue: ``batch`` numbers the steps in which orders
are sent (nothing happens at the venue within one), and ``heard`` is the newest batch of which the venue has said anything:
every later report tells of something that happened after that batch was there. Both keepers of open orders rest on these two
functions: ``risk.working`` and ``execution.order_life``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class GroupMember(Protocol):
    """An open order of a group, as its keeper knows it."""

    batch: int
    """The step in which it was sent; rises."""
    reduced: int
    """Lots that the others filled since it is in the group."""

    @property
    def ts(self) -> int:
        """When it was sent, int64 ns."""


def shrink_partners(partners: Iterable[GroupMember], filler: GroupMember, lots: int, ts_event: int, heard: int) -> None:
    """``filler`` filled ``lots`` at ``ts_event``: take them from each of ``partners`` that was certainly there by then.

    Where that is not certain the partner keeps its lots: it then counts for more than it is, never for less.
    """
    for partner in partners:
        if partner.batch <= heard or filler.batch >= partner.batch or ts_event > partner.ts:
            partner.reduced += lots


def most_lots(members: Iterable[tuple[int, int]], heard: int) -> int:
    """The most lots that members of one group and one side can still fill together, each given as (batch, open lots).

    Of orders that are known to be there together that is the largest, because what one fills it takes from the others. An
    order sent later, of which the venue has said nothing yet, comes on top: the others may have filled before it joined.
    """
    largest: dict[int, int] = {}
    for batch, lots in members:
        known = max(batch, heard)
        largest[known] = max(lots, largest.get(known, 0))
    return sum(largest.values())
