"""How fast orders leave and fill: rates, duplicates and the throttle on repeated executions.

What is sent is counted by kernels, in the rows of the account (``rows.py``): times in windows that slide with the caller's time.
Executions are counted here in Python, once a fill; the rows hold which sides are stopped.
"""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np

from grandmodel.domain.orders import Fill
from grandmodel.kernels import kernel
from grandmodel.risk.rows import PRINT, AccountRows, AccountState
from grandmodel.risk.settings import FlowLimits


@kernel
def orders_within(rows: AccountRows, n: int, ts: int) -> int:
    """New orders sent within the window that ends at ``ts``."""
    out, oldest = rows.out[n], ts - rows.portfolio[0].window_ns
    while out.orders_head < out.prints_tail and rows.prints[n, out.orders_head].ts <= oldest:
        out.orders_head += 1
    return int(out.prints_tail - out.orders_head)


@kernel
def messages_within(rows: AccountRows, n: int, ts: int) -> int:
    """Messages of every kind sent within the window that ends at ``ts``."""
    out, oldest = rows.out[n], ts - rows.portfolio[0].window_ns
    while out.messages_head < out.messages_tail and rows.message_ts[n, out.messages_head] <= oldest:
        out.messages_head += 1
    return int(out.messages_tail - out.messages_head)


@kernel
def since_equal(rows: AccountRows, n: int, k: int, ts: int) -> int:
    """Nanoseconds since an order equal to the one asked about in row ``k`` was sent, within the duplicate window; else -1."""
    out, asked = rows.out[n], rows.asked[n, k]
    window = rows.portfolio[0].duplicate_window_ns
    for place in range(out.prints_tail - 1, out.prints_head - 1, -1):
        sent = rows.prints[n, place]
        if ts - sent.ts >= window:
            break
        if (
            sent.instrument == asked.instrument
            and sent.side == asked.side
            and sent.quantity == asked.quantity
            and sent.order_type == asked.order_type
            and sent.price == asked.price
            and sent.stop_price == asked.stop_price
            and sent.trail_ticks == asked.trail_ticks
            and sent.display_quantity == asked.display_quantity
            and sent.parent == asked.parent
            and sent.group == asked.group
            and sent.reduce_only == asked.reduce_only
            and sent.tag == asked.tag  # an exit and the entry behind it may look alike
        ):
            return int(ts - sent.ts)
    return -1


@kernel
def count_message(rows: AccountRows, n: int, ts: int) -> None:
    """A message was sent: an order, a change or a cancel."""
    out = rows.out[n]
    if out.messages_head == out.messages_tail:
        out.messages_head = out.messages_tail = 0
    if out.messages_tail == rows.message_ts.shape[1]:
        if out.messages_head == 0:
            messages_within(rows, n, ts)
        if out.messages_head == 0:
            raise RuntimeError("order flow: found more messages in a window than there is room for")
        for place in range(out.messages_head, out.messages_tail):
            rows.message_ts[n, place - out.messages_head] = rows.message_ts[n, place]
        out.messages_tail -= out.messages_head
        out.messages_head = 0
    rows.message_ts[n, out.messages_tail] = ts
    out.messages_tail += 1


@kernel
def count_order(rows: AccountRows, n: int, k: int, quantity: int) -> None:
    """The new order of row ``k`` was sent with ``quantity`` lots."""
    out, asked = rows.out[n], rows.asked[n, k]
    window = rows.portfolio[0].duplicate_window_ns
    while out.prints_head < out.prints_tail and asked.ts - rows.prints[n, out.prints_head].ts >= window:
        out.prints_head += 1
    if (
        out.orders_head == out.prints_tail == out.prints_head
    ):  # Nothing is left: begin at the front, where memory is warm.
        out.orders_head = out.prints_head = out.prints_tail = 0
    if out.prints_tail == rows.prints.shape[1]:
        orders_within(rows, n, asked.ts)
        first = min(out.orders_head, out.prints_head)
        if first == 0:
            raise RuntimeError("order flow: found more orders in a window than there is room for")
        for place in range(first, out.prints_tail):
            rows.prints[n, place - first] = rows.prints[n, place]
        out.prints_tail -= first
        out.orders_head -= first
        out.prints_head -= first
    sent = rows.prints[n, out.prints_tail]
    out.prints_tail += 1
    sent.ts, sent.instrument, sent.side, sent.quantity = asked.ts, asked.instrument, asked.side, quantity
    sent.order_type, sent.price, sent.stop_price = asked.order_type, asked.price, asked.stop_price
    sent.trail_ticks, sent.display_quantity = asked.trail_ticks, asked.display_quantity
    sent.parent, sent.group, sent.reduce_only, sent.tag = asked.parent, asked.group, asked.reduce_only, asked.tag


def forget_flow(rows: AccountRows) -> None:
    """Begin to count anew what every account of ``rows`` sent."""
    for name in ("messages_head", "messages_tail", "orders_head", "prints_head", "prints_tail"):
        rows.out[name] = 0


class OrderFlow:
    """Executions of one account in windows that slide with the caller's time, and the sides that they stopped."""

    __slots__ = ("_account", "_executions", "limits", "throttled")

    def __init__(self, limits: FlowLimits, account: AccountState) -> None:
        self.limits = limits
        self.throttled: dict[tuple[int, int], int] = {}
        """(instrument index, side) stopped for repeated executions, and since when."""
        self._account = account
        self._executions: dict[tuple[int, int], deque[int]] = {}

    def on_opening_fill(self, index: int, fill: Fill) -> int:
        """An execution that opened or added; returns how many there were in the window where that just became too many."""
        key = (index, int(fill.side))
        times = self._executions.setdefault(key, deque())
        times.append(fill.ts_init)
        count = count_recent(times, fill.ts_init - self.limits.repeat_window_ns)
        if count <= self.limits.max_repeats or key in self.throttled:
            return 0
        self.throttled[key] = fill.ts_init
        self._mark_sides()
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
        if opened:
            self._mark_sides()
        return opened

    def reset_throttle(self) -> None:
        """Forget the executions and re-enable what was stopped."""
        self.throttled.clear()
        self._executions.clear()
        self._mark_sides()

    def _mark_sides(self) -> None:
        seen = self._account.rows.seen[0]
        seen["throttled_buys"] = seen["throttled_sells"] = 0
        for index, side in self.throttled:
            seen["throttled_buys" if side > 0 else "throttled_sells"][index] = 1

    def save(self) -> bytes:
        """The state as bytes."""
        rows = self._account.rows
        out = rows.out[0]
        first = min(out["orders_head"], out["prints_head"])
        return msgspec.msgpack.encode(
            (
                rows.message_ts[0, out["messages_head"] : out["messages_tail"]].tobytes(),
                rows.prints[0, first : out["prints_tail"]].tobytes(),
                [(key, list(times)) for key, times in self._executions.items()],
                sorted(self.throttled.items()),
            )
        )

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save``."""
        messages, prints, executions, throttled = msgspec.msgpack.decode(
            data,
            type=tuple[bytes, bytes, list[tuple[tuple[int, int], list[int]]], list[tuple[tuple[int, int], int]]],
        )
        times, sent = np.frombuffer(messages, np.int64), np.frombuffer(prints, PRINT)
        forget_flow(self._account.rows)
        self._account.make_room(max(len(times), len(sent)))
        rows = self._account.rows
        rows.message_ts[0, : len(times)], rows.prints[0, : len(sent)] = times, sent
        rows.out["messages_tail"], rows.out["prints_tail"] = len(times), len(sent)
        self._executions = {key: deque(found) for key, found in executions}
        self.throttled = dict(throttled)
        self._mark_sides()


def count_recent(times: deque[int], oldest: int) -> int:
    """Drop the times at or before ``oldest`` from the front of ``times``; how many are left."""
    while times and times[0] <= oldest:
        times.popleft()
    return len(times)
