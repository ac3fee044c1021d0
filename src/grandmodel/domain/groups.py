"""One-cancels-other groups, as far as they can be known from what the venue reports.

Orders of one instrument and one group number reduce each other: each lot that one of them fills takes a lot from what every other
one may still fill, on either side, and an order with nothing left ends. A venue knows the group from the moment at which
its orders are sent. An order that joins later starts whole: what the others filled before is not its own room.

Reports are on their way for a while. A fill that we hear of after an order was sent may have happened before, and then it
took nothing from that order. What decides is the order of things at the venue: ``batch`` numbers the steps in which orders
are sent (nothing happens at the venue within one), and ``heard`` is the newest batch of which the venue has said anything:
every later report tells of something that happened after that batch was there. Of orders that are known to be there together the
largest counts, because what one fills it takes from the others; an order sent later, of which the venue has said nothing yet, comes
on top. Both keepers of open orders rest on this: ``risk.working`` and ``execution.order_life``.
"""

from __future__ import annotations

from grandmodel.kernels import kernel


@kernel(inline=True)
def was_there(batch: int, ts: int, filler_batch: int, ts_event: int, heard: int) -> bool:
    """True where the order sent in ``batch`` at ``ts`` was certainly at the venue when one sent in ``filler_batch`` filled at ``ts_event``.

    Where that is not certain it keeps its lots: it then counts for more than it is, never for less.
    """
    return batch <= heard or filler_batch >= batch or ts_event > ts
