"""Orders that have been sent and may still fill, and the most that they can do to each position.

An approved order counts at once, in full, until the venue says that it ended. Per instrument the sums of open buys and
open sells give both ends of what the position can become: ``position + buys`` and ``position - sells``.

- Orders of one one-cancels-other group count as the largest of them per side, less what any of them filled.
- A bracket's child counts only as far as its parent has filled, because it starts with as many lots as that.
- A change counts as the larger of the old and the new quantity until the venue confirms it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from grandmodel.domain.orders import ExecType, ExecutionReport, Order, OrderType


class WorkingOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One order as sent, and what has come of it."""

    order_id: int
    index: int
    side: int
    quantity: int
    pending: int
    """Quantity after an unconfirmed change; equal to ``quantity`` otherwise."""
    price: int | None
    order_type: int
    parent: int
    """0: none known."""
    group: int
    sequence: int
    ts: int
    filled: int = 0


class WorkingOrders:
    """The open orders of ``n`` instruments, with running totals per instrument and side."""

    __slots__ = ("_children", "_filled_of", "_groups", "_limits", "buys", "by_index", "orders", "sells", "sequence")

    def __init__(self, n: int) -> None:
        self.orders: dict[int, WorkingOrder] = {}
        self.by_index: list[dict[int, WorkingOrder]] = [{} for _ in range(n)]
        self.buys = [0] * n
        """Lots that can still be bought, by instrument."""
        self.sells = [0] * n
        self.sequence = 0
        self._groups: dict[int, list[int]] = {}
        self._children: dict[int, list[int]] = {}
        self._filled_of: dict[int, int] = {}
        """Lots filled by each parent that has children, kept while any child is open."""

    def open_lots(self, order: WorkingOrder) -> int:
        """Lots that ``order`` alone can still fill."""
        ceiling = max(order.quantity, order.pending)
        if order.parent:
            ceiling = min(ceiling, self._filled_of.get(order.parent, 0))
        done = order.filled
        if order.group:
            done = sum(member.filled for member in self._members(order.group))
        return max(0, ceiling - done)

    def side_lots_with(self, order: Order, index: int) -> tuple[int, int, bool]:
        """How many lots more ``order`` adds to its side, what it may count for in all, and whether it is a child.

        Returns (added lots, lots already filled or counted before, is a bracket child). For a new plain order that is
        (quantity, 0, False).
        """
        known = self.orders.get(order.order_id)
        if known is None and not order.oco_group and order.parent is None:
            return order.quantity, 0, False
        if order.parent is not None and (order.parent in self.orders or order.parent in self._filled_of):
            return 0, 0, True
        side = int(order.side)
        if order.oco_group:
            before = self._group_lots(order.oco_group, index, side)
            done = sum(m.filled for m in self._members(order.oco_group))
        elif known is not None:
            before = self.open_lots(known)
            done = known.filled
        else:
            before = done = 0
        added = max(0, order.quantity - done - before)
        return added, order.quantity - added, False

    def send(self, order: Order, index: int) -> None:
        """Count ``order`` from now on; one with a known id is a change of it."""
        self.sequence += 1
        known = self.orders.get(order.order_id)
        if known is not None:
            self._recount(known, -1)
            known.pending = order.quantity
            known.price = order.price
            self._recount(known, 1)
            return
        parent = 0
        if order.parent is not None and (order.parent in self.orders or order.parent in self._filled_of):
            parent = int(order.parent)
            self._children.setdefault(parent, []).append(order.order_id)
            if parent in self.orders:
                self._filled_of.setdefault(parent, self.orders[parent].filled)
        entry = WorkingOrder(
            order_id=order.order_id,
            index=index,
            side=int(order.side),
            quantity=order.quantity,
            pending=order.quantity,
            price=order.price if order.order_type is OrderType.LIMIT else None,
            order_type=int(order.order_type),
            parent=parent,
            group=order.oco_group,
            sequence=self.sequence,
            ts=order.ts,
        )
        if entry.group:
            self._recount(entry, -1)
            self._groups.setdefault(entry.group, []).append(entry.order_id)
        self.orders[entry.order_id] = entry
        self.by_index[index][entry.order_id] = entry
        self._recount(entry, 1)

    def report(self, report: ExecutionReport) -> WorkingOrder | None:
        """Take the venue's word; returns the order, or None where it is not known here."""
        order = self.orders.get(report.order_id)
        if order is None:
            return None
        kind = report.exec_type
        self._recount(order, -1)
        if kind is ExecType.TRADE:
            order.filled += report.last_quantity
            if order.order_id in self._filled_of:
                self._recount_children(order.order_id, -1)
                self._filled_of[order.order_id] += report.last_quantity
                self._recount_children(order.order_id, 1)
            ended = order.filled >= max(order.quantity, order.pending) or (
                report.leaves == 0 and not order.parent and order.pending == order.quantity
            )
        elif kind is ExecType.REPLACED:
            done = sum(m.filled for m in self._members(order.group)) if order.group else order.filled
            order.quantity = order.pending = done + report.leaves
            ended = False
        elif kind is ExecType.CANCEL_REJECTED:
            order.pending = order.quantity
            ended = False
        else:
            ended = kind in _ENDED
        if ended:
            self._forget(order)
            if order.group:
                self._recount(order, 1)
        else:
            self._recount(order, 1)
        return order

    def best_opposite(self, index: int, side: int) -> int | None:
        """Our own best resting limit price against an order of ``side``; None where nothing of ours rests there."""
        best: int | None = None
        for order in self.by_index[index].values():
            price = order.price
            if (
                price is not None
                and order.side == -side
                and not order.parent
                and (best is None or side * (price - best) < 0)
            ):
                best = price
        return best

    def each(self) -> Iterator[WorkingOrder]:
        """The open orders, in the order in which they were sent."""
        yield from self.orders.values()

    def save(self) -> bytes:
        """The state as bytes."""
        return msgspec.msgpack.encode(
            (self.sequence, list(self.orders.values()), self._groups, self._children, self._filled_of)
        )

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save``."""
        sequence, orders, groups, children, filled_of = msgspec.msgpack.decode(
            data,
            type=tuple[int, list[WorkingOrder], dict[int, list[int]], dict[int, list[int]], dict[int, int]],
        )
        n = len(self.buys)
        self.sequence = sequence
        self._groups, self._children, self._filled_of = groups, children, filled_of
        self.orders = {order.order_id: order for order in orders}
        self.by_index = [{} for _ in range(n)]
        self.buys, self.sells = [0] * n, [0] * n
        counted: set[int] = set()
        for order in orders:
            self.by_index[order.index][order.order_id] = order
            if not order.group or order.group not in counted:
                self._recount(order, 1)
                counted.add(order.group)

    def _members(self, group: int) -> list[WorkingOrder]:
        return [self.orders[i] for i in self._groups.get(group, ()) if i in self.orders]

    def _group_lots(self, group: int, index: int, side: int) -> int:
        lots = [self.open_lots(m) for m in self._members(group) if m.index == index and m.side == side]
        return max(lots, default=0)

    def _recount(self, order: WorkingOrder, sign: int) -> None:
        """Add (or with -1 take away) what ``order``, or its whole group, counts for."""
        if not order.group:
            lots = sign * self.open_lots(order)
            if order.side > 0:
                self.buys[order.index] += lots
            else:
                self.sells[order.index] += lots
            return
        for index in sorted({m.index for m in self._members(order.group)}):
            self.buys[index] += sign * self._group_lots(order.group, index, 1)
            self.sells[index] += sign * self._group_lots(order.group, index, -1)

    def _recount_children(self, parent: int, sign: int) -> None:
        groups: set[int] = set()
        for child_id in self._children.get(parent, ()):
            child = self.orders.get(child_id)
            if child is None or child.group in groups:
                continue
            if child.group:
                groups.add(child.group)
            self._recount(child, sign)

    def _forget(self, order: WorkingOrder) -> None:
        """Drop an ended order, and what was kept for it alone."""
        del self.orders[order.order_id]
        del self.by_index[order.index][order.order_id]
        if order.group:
            self._keep_group_fills(order)
        if order.parent:
            siblings = self._children[order.parent]
            siblings.remove(order.order_id)
            if not siblings:
                del self._children[order.parent]
                if order.parent not in self.orders:
                    self._filled_of.pop(order.parent, None)
        if order.order_id in self._filled_of and order.order_id not in self._children:
            del self._filled_of[order.order_id]

    def _keep_group_fills(self, order: WorkingOrder) -> None:
        """What an ended member filled still reduces the others: hand it to one that is left."""
        ids = self._groups[order.group]
        ids.remove(order.order_id)
        if not ids:
            del self._groups[order.group]
        elif order.filled and ids[0] in self.orders:
            self.orders[ids[0]].filled += order.filled


_ENDED = frozenset({ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED})
