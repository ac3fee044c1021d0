"""The slow plain form of the kernels of ``grandmodel.risk.flow``: the oracle of what was sent and when."""

from __future__ import annotations

from collections import deque
from typing import Any

from grandmodel.domain.orders import Order
from grandmodel.risk.settings import FlowLimits

_REMEMBERED = 4096


class OrderFlow:
    """Times of what was sent and filled, in windows that slide with the caller's time."""

    __slots__ = ("_messages", "_orders", "_sent", "limits")

    def __init__(self, limits: FlowLimits) -> None:
        self.limits = limits
        self._orders: deque[int] = deque()
        self._messages: deque[int] = deque()
        self._sent: dict[tuple[Any, ...], int] = {}

    def orders(self, ts: int) -> int:
        """New orders sent within the window that ends at ``ts``."""
        return count_recent(self._orders, ts - self.limits.window_ns) if self._orders else 0

    def messages(self, ts: int) -> int:
        """Messages of every kind sent within the window that ends at ``ts``."""
        return count_recent(self._messages, ts - self.limits.window_ns) if self._messages else 0

    def since_equal(self, order: Order, ts: int) -> int | None:
        """Nanoseconds since an equal order was sent, where that is within the duplicate window; else None."""
        if not self._sent:
            return None
        before = self._sent.get(_fingerprint(order))
        return None if before is None or ts - before >= self.limits.duplicate_window_ns else ts - before

    def on_message(self, ts: int) -> None:
        """A message was sent: an order, a change or a cancel."""
        self._messages.append(ts)

    def on_new_order(self, order: Order) -> None:
        """A new order was sent."""
        self._orders.append(order.ts)
        if len(self._sent) > _REMEMBERED:
            oldest = order.ts - self.limits.duplicate_window_ns
            self._sent = {key: ts for key, ts in self._sent.items() if ts > oldest}
        self._sent[_fingerprint(order)] = order.ts


def count_recent(times: deque[int], oldest: int) -> int:
    """Drop the times at or before ``oldest`` from the front of ``times``; how many are left."""
    while times and times[0] <= oldest:
        times.popleft()
    return len(times)


def _fingerprint(order: Order) -> tuple[Any, ...]:
    return (
        order.instrument,
        order.side,
        order.quantity,
        order.order_type,
        order.price,
        order.stop_price,
        order.parent,
        order.oco_group,
        order.reduce_only,
        order.tag,  # an exit and the entry behind it may look alike
    )
