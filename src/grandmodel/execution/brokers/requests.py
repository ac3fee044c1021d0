"""What is asked of a venue: a new order, a cancel or a change, each under an id that stays the same however often it is sent.

The id is made of the run, the order and the count of requests about that order, so a restarted run makes the same ids
again. A venue that sees an id twice has seen one request.
"""

from __future__ import annotations

import msgspec

from grandmodel.domain.ids import OrderId, RunId, client_order_id
from grandmodel.domain.orders import CancelOrder, Order, ReplaceOrder


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One request; exactly one of ``order``, ``cancel`` and ``replace`` is present."""

    request_id: str
    client_order_id: str
    """The order that it is about, as the venue knows it (FIX 11 of the order, FIX 41 of a cancel or change)."""
    order: Order | None = None
    cancel: CancelOrder | None = None
    replace: ReplaceOrder | None = None
    mark: int | None = None
    """The instrument's last price known to the engine when it decided, in ticks; for simulated venues."""


def request_id(run: RunId, order: OrderId, count: int) -> str:
    """The id of request ``count`` about ``order``: 0 is the order itself, and has the order's own id."""
    own = client_order_id(run, order)
    return own if count == 0 else f"{own}.{count}"
