"""The slow plain form of ``grandmodel.risk.working``: one object an order, sums kept up to date. The oracle of the kernels.

An approved order counts at once, in full, until the venue says that it ended. Per instrument the sums of open buys and
open sells give both ends of what the position can become: ``position + buys`` and ``position - sells``.

- Orders of one one-cancels-other group count as the largest of them per side (``domain/groups.py``): each counts whole, less what
  the others filled since it joined. One that has just joined comes on top until the venue has said that it is there.
- A bracket's child counts only as far as its parent has filled, because it starts with as many lots as that.
- A change counts as the larger of the old and the new quantity until the venue confirms it.
- A reduce-only order counts like any other: that the venue lets it close only is not relied on.
"""

from __future__ import annotations

import msgspec

from grandmodel.domain.orders import ORDER_TYPES, ExecType, ExecutionReport, Order, OrderType
from risk.plain_groups import most_lots, shrink_partners


class WorkingOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One order as sent, and what has come of it."""

    order_id: int
    index: int
    side: int
    quantity: int
    pending: int
    """Quantity after an unconfirmed change; equal to ``quantity`` otherwise."""
    price: int | None
    """Of a limit order, as the venue has confirmed it."""
    new_price: int | None
    """Of a change under way; equal to ``price`` otherwise."""
    order_type: int
    parent: int
    """0: none known."""
    group: int
    """With ``index`` the one-cancels-other group; 0: none."""
    sequence: int
    ts: int
    batch: int
    """The step in which it was sent."""
    filled: int = 0
    reduced: int = 0
    """Lots that the others of its group filled since it joined."""
    woken: int = 0
    """Of a child: lots that its parent filled."""

    @property
    def open_lots(self) -> int:
        """Lots that this order alone can still fill."""
        most = max(self.quantity, self.pending)
        if self.parent:
            most = min(most, self.woken)
        return max(0, most - self.filled - self.reduced)


class WorkingOrders:
    """The open orders of ``n`` instruments, with running totals per instrument and side."""

    __slots__ = ("_children", "_groups", "_heard", "batch", "buys", "by_index", "orders", "sells", "sequence")

    def __init__(self, n: int) -> None:
        self.orders: dict[int, WorkingOrder] = {}
        self.by_index: list[dict[int, WorkingOrder]] = [{} for _ in range(n)]
        self.buys = [0] * n
        """Lots that can still be bought, by instrument."""
        self.sells = [0] * n
        self.sequence = 0
        self.batch = 0
        """Orders sent from here on belong to this step; whoever ends a step raises it (``RiskGate.react``)."""
        self._heard = -1
        self._groups: dict[tuple[int, int], list[int]] = {}
        self._children: dict[int, list[int]] = {}

    def side_lots_with(self, order: Order, index: int) -> tuple[int, int, bool]:
        """How many lots more ``order`` adds to its side, what it may count for in all, and whether it is a child.

        Returns (added lots, lots already filled or counted before, is a bracket child). For a new plain order that is
        (quantity, 0, False).
        """
        known = self.orders.get(order.order_id)
        if known is None and not order.oco_group and order.parent is None:
            return order.quantity, 0, False
        if known is None and self._is_child(order):
            return 0, 0, True
        wanted = self._entry(order, index) if known is None else msgspec.structs.replace(known, pending=order.quantity)
        if wanted.group:
            before = self._group_lots(index, wanted.group, wanted.side)
            after = self._group_lots(index, wanted.group, wanted.side, wanted)
        else:
            before, after = known.open_lots if known is not None else 0, wanted.open_lots
        added = max(0, after - before)
        if known is not None and known.parent:
            return added, min(order.quantity, known.woken) - added, added == 0
        return added, order.quantity - added, False

    def send(self, order: Order, index: int) -> None:
        """Count ``order`` from now on; one with a known id is a change of it."""
        self.sequence += 1
        known = self.orders.get(order.order_id)
        if known is not None:
            self._recount(known, -1)
            known.pending = order.quantity
            if known.order_type == OrderType.LIMIT:
                known.new_price = order.price
            self._recount(known, 1)
            return
        entry = self._entry(order, index)
        if self._is_child(order):
            entry.parent = int(order.parent or 0)
            self._children.setdefault(entry.parent, []).append(entry.order_id)
        if entry.group:
            self._recount(entry, -1)
            self._groups.setdefault((index, entry.group), []).append(entry.order_id)
        self.orders[entry.order_id] = entry
        self.by_index[index][entry.order_id] = entry
        self._recount(entry, 1)

    def report(self, report: ExecutionReport) -> WorkingOrder | None:
        """Take the venue's word; returns the order, or None where it is not known here."""
        order = self.orders.get(report.order_id)
        if order is None:
            return None
        kind = report.exec_type
        ended = kind in _ENDED
        if kind is not ExecType.CANCEL_REJECTED and order.batch > self._heard:
            self._hear(order.batch)
        self._recount(order, -1)
        if kind is ExecType.TRADE:
            order.filled += report.last_quantity
            if order.price is None and ORDER_TYPES[OrderType(order.order_type)].leaves_limit:
                order.price = order.new_price = report.last_price  # What is left of it rests there.
            if order.group:
                partners = [m for m in self._members(order.index, order.group) if m is not order]
                shrink_partners(partners, order, report.last_quantity, report.ts_event, self._heard)
            if order.order_id in self._children:
                self._wake_children(order.order_id, report.last_quantity)
            ended = order.filled >= max(order.quantity, order.pending) or (
                report.leaves == 0 and not self._waits_for_parent(order)
            )
        elif kind is ExecType.REPLACED:
            order.quantity = order.pending = order.filled + order.reduced + report.leaves
            order.price = order.new_price
        elif kind is ExecType.CANCEL_REJECTED:
            order.pending = order.quantity
            order.new_price = order.price
        if ended:
            self._forget(order)
            if order.group:
                self._recount(order, 1)
        else:
            self._recount(order, 1)
        return order

    def best_opposite(self, index: int, side: int) -> int | None:
        """Our own best resting limit price against an order of ``side``; None where nothing of ours rests there.

        One that is being changed may stand at its old price or at the new one.
        """
        prices = [
            price
            for order in self.by_index[index].values()
            if order.side == -side and not order.parent
            for price in (order.price, order.new_price)
            if price is not None
        ]
        return (min(prices) if side > 0 else max(prices)) if prices else None

    def _entry(self, order: Order, index: int) -> WorkingOrder:
        return WorkingOrder(
            order_id=order.order_id,
            index=index,
            side=int(order.side),
            quantity=order.quantity,
            pending=order.quantity,
            price=order.price if order.order_type is OrderType.LIMIT else None,
            new_price=order.price if order.order_type is OrderType.LIMIT else None,
            order_type=int(order.order_type),
            parent=0,
            group=order.oco_group,
            sequence=self.sequence,
            ts=order.ts,
            batch=self.batch,
        )

    def _is_child(self, order: Order) -> bool:
        """True where it starts with what its parent fills from here on; any other counts like an order without a parent."""
        parent = None if order.parent is None else self.orders.get(order.parent)
        return parent is not None and parent.filled == 0

    def _waits_for_parent(self, order: WorkingOrder) -> bool:
        """True where a child with nothing open grows again once its parent fills more."""
        return order.parent in self.orders and order.quantity > order.filled + order.reduced

    def _members(self, index: int, group: int) -> list[WorkingOrder]:
        return [self.orders[i] for i in self._groups.get((index, group), ())]

    def _group_lots(self, index: int, group: int, side: int, instead: WorkingOrder | None = None) -> int:
        """The most that one side of a group can still fill, with ``instead`` in the place of the order of its id."""
        members = self._members(index, group)
        if instead is not None:
            members = [m for m in members if m.order_id != instead.order_id]
            members.append(instead)
        return most_lots([(m.batch, m.open_lots) for m in members if m.side == side], self._heard)

    def _recount(self, order: WorkingOrder, sign: int) -> None:
        """Add (or with -1 take away) what ``order``, or its whole group, counts for."""
        index = order.index
        if not order.group:
            totals = self.buys if order.side > 0 else self.sells
            totals[index] += sign * order.open_lots
            return
        self.buys[index] += sign * self._group_lots(index, order.group, 1)
        self.sells[index] += sign * self._group_lots(index, order.group, -1)

    def _hear(self, batch: int) -> None:
        """The venue has ``batch``: orders that joined a group with it no longer come on top of the others."""
        waiting = {(o.index, o.group): o for o in self.orders.values() if o.group and self._heard < o.batch <= batch}
        for order in waiting.values():
            self._recount(order, -1)
        self._heard = batch
        for order in waiting.values():
            self._recount(order, 1)

    def _wake_children(self, parent: int, lots: int) -> None:
        children = [self.orders[i] for i in self._children[parent]]
        groups = {child.group: child for child in children if child.group}
        alone = [child for child in children if not child.group]
        for child in (*alone, *groups.values()):
            self._recount(child, -1)
        for child in children:
            child.woken += lots
        for child in (*alone, *groups.values()):
            self._recount(child, 1)

    def _forget(self, order: WorkingOrder) -> None:
        """Drop an ended order, and what was kept for it alone."""
        del self.orders[order.order_id]
        del self.by_index[order.index][order.order_id]
        if order.group:
            ids = self._groups[order.index, order.group]
            ids.remove(order.order_id)
            if not ids:
                del self._groups[order.index, order.group]
        if order.parent in self._children:
            siblings = self._children[order.parent]
            siblings.remove(order.order_id)
            if not siblings:
                del self._children[order.parent]


_ENDED = frozenset({ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED})
