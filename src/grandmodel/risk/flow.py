"""How fast orders leave and fill: rates, duplicates and the throttle on repeated executions."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from grandmodel.domain.orders import Fill, Order
from grandmodel.risk.settings import FlowLimits

_REMEMBERED = 4096


class OrderFlow:
    """Times of what was sent and filled, in windows that slide with the caller's time."""

    __slots__ = ("_executions", "_messages", "_orders", "_sent", "limits", "throttled")

    def __init__(self, limits: FlowLimits) -> None:
        self.limits = limits
        self.throttled: dict[tuple[int, int], int] = {}
        """(instrument index, side) stopped for repeated executions, and since when."""
        self._orders: deque[int] = deque()
        self._messages: deque[int] = deque()
        self._sent: dict[tuple[Any, ...], int] = {}
        self._executions: dict[tuple[int, int], deque[int]] = {}

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

    def on_opening_fill(self, index: int, fill: Fill) -> int:
        """An execution that opened or added; returns how many there were in the window where that just became too many."""
        key = (index, int(fill.side))
        times = self._executions.setdefault(key, deque())
        times.append(fill.ts_init)
        count = count_recent(times, fill.ts_init - self.limits.repeat_window_ns)
        if count <= self.limits.max_repeats or key in self.throttled:
            return 0
        self.throttled[key] = fill.ts_init
        return count

    def open_by_rule(self, ts: int) -> list[tuple[int, int]]:
        """Re-enable what has been stopped for ``throttle_release_ns``; (instrument index, side) of each. Never, where that is None."""
        wait = self.limits.throttle_release_ns
        if wait is None:
            return []
        opened = [key for key, since in self.throttled.items() if ts - since >= wait]
        for key in opened:
            del self.throttled[key]
            self._executions.pop(key, None)
        return opened

    def reset_throttle(self) -> None:
        """Forget the executions and re-enable what was stopped."""
        self.throttled.clear()
        self._executions.clear()

    def save(self) -> bytes:
        """The state as bytes."""
        return msgspec.msgpack.encode(
            (
                list(self._orders),
                list(self._messages),
                [(list(key), ts) for key, ts in self._sent.items()],
                [(key, list(times)) for key, times in self._executions.items()],
                sorted(self.throttled.items()),
            )
        )

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save``."""
        orders, messages, sent, executions, throttled = msgspec.msgpack.decode(
            data,
            type=tuple[
                list[int],
                list[int],
                list[tuple[list[Any], int]],
                list[tuple[tuple[int, int], list[int]]],
                list[tuple[tuple[int, int], int]],
            ],
        )
        self._orders, self._messages = deque(orders), deque(messages)
        self._sent = {tuple(key): ts for key, ts in sent}
        self._executions = {key: deque(times) for key, times in executions}
        self.throttled = dict(throttled)


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
        order.trail_ticks,
        order.display_quantity,
        order.parent,
        order.oco_group,
        order.reduce_only,
        order.tag,  # an exit and the entry behind it may look alike
    )
