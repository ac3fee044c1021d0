"""What a one-cancels-other group can still fill, plainly: the rule of ``domain/groups.py`` in Python."""

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
    """``filler`` filled ``lots`` at ``ts_event``: take them from each of ``partners`` that was certainly there by then."""
    for partner in partners:
        if partner.batch <= heard or filler.batch >= partner.batch or ts_event > partner.ts:
            partner.reduced += lots


def most_lots(members: Iterable[tuple[int, int]], heard: int) -> int:
    """The most lots that members of one group and one side can still fill together, each given as (batch, open lots)."""
    largest: dict[int, int] = {}
    for batch, lots in members:
        known = max(batch, heard)
        largest[known] = max(lots, largest.get(known, 0))
    return sum(largest.values())
