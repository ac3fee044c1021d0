"""How fast orders leave and fill: rates, duplicates and the throttle on repeated executions.

What is sent is counted by kernels, in the rows of the account and of every account above it (``rows.py``, ``tree.py``): times in windows
that slide with the caller's time, each as long as the account's own limits say. Executions are counted where fills are taken
(``taking.py``); the rows hold which sides they stopped.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.risk.rows import AccountRows


@kernel
def orders_within(rows: AccountRows, n: int, ts: int) -> int:
    """New orders sent within the window that ends at ``ts``."""
    out, oldest = rows.out[n], ts - rows.portfolio[rows.standing[n].terms].window_ns
    while out.orders_head < out.prints_tail and rows.prints[n, out.orders_head].ts <= oldest:
        out.orders_head += 1
    return int(out.prints_tail - out.orders_head)


@kernel
def messages_within(rows: AccountRows, n: int, ts: int) -> int:
    """Messages of every kind sent within the window that ends at ``ts``."""
    out, oldest = rows.out[n], ts - rows.portfolio[rows.standing[n].terms].window_ns
    while out.messages_head < out.messages_tail and rows.message_ts[n, out.messages_head] <= oldest:
        out.messages_head += 1
    return int(out.messages_tail - out.messages_head)


@kernel
def since_equal(rows: AccountRows, n: int, leaf: int, k: int, ts: int) -> int:
    """Nanoseconds since an order equal to the one that ``leaf`` asks about in row ``k`` was sent, within account ``n``'s window; else -1.

    Orders of two accounts are never equal.
    """
    out, asked = rows.out[n], rows.asked[leaf, k]
    window = rows.portfolio[rows.standing[n].terms].duplicate_window_ns
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
            and sent.account == leaf
        ):
            return int(ts - sent.ts)
    return -1


@kernel
def count_message(rows: AccountRows, n: int, ts: int) -> None:
    """Account ``n`` sent a message: an order, a change or a cancel. It counts for every account above as well."""
    while n >= 0:
        _keep_message(rows, n, ts)
        n = rows.standing[n].above


@kernel
def _keep_message(rows: AccountRows, n: int, ts: int) -> None:
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
    """Account ``n`` sent the new order of row ``k`` with ``quantity`` lots. It counts for every account above as well."""
    above = n
    while above >= 0:
        _keep_order(rows, above, n, k, quantity)
        above = rows.standing[above].above


@kernel
def _keep_order(rows: AccountRows, n: int, leaf: int, k: int, quantity: int) -> None:
    """Among the prints of account ``n``."""
    out, asked = rows.out[n], rows.asked[leaf, k]
    window = rows.portfolio[rows.standing[n].terms].duplicate_window_ns
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
    sent.account = leaf


def forget_flow(out: NDArray[np.void]) -> None:
    """Begin to count anew what the accounts whose rows of ``OUT`` these are sent."""
    for name in ("messages_head", "messages_tail", "orders_head", "prints_head", "prints_tail"):
        out[name] = 0


def count_recent(times: deque[int], oldest: int) -> int:
    """Drop the times at or before ``oldest`` from the front of ``times``; how many are left."""
    while times and times[0] <= oldest:
        times.popleft()
    return len(times)
