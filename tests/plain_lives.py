"""The life of our own orders in plain Python, one object an order: what ``execution.order_life`` is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from grandmodel.domain.errors import InvariantError
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.orders import ExecType, ExecutionReport, Order, OrdStatus, ReplaceOrder
from risk.plain_groups import most_lots, shrink_partners

_NEXT_STATUS = {
    ExecType.NEW: OrdStatus.NEW,
    ExecType.CANCELED: OrdStatus.CANCELED,
    ExecType.REJECTED: OrdStatus.REJECTED,
    ExecType.EXPIRED: OrdStatus.EXPIRED,
}


@dataclass(slots=True)
class PlainLife:
    """One order and what became of it so far."""

    order: Order
    status: OrdStatus
    quantity: int
    filled: int = 0
    reference_price: int | None = None
    """The mark when it was decided, in ticks."""
    cancel_asked: bool = False
    change: ReplaceOrder | None = None
    """The change that is under way; ``order`` has the new terms once the venue has confirmed them."""
    batch: int = 0
    """The step in which it was sent."""
    reduced: int = 0
    """Lots that the others of its one-cancels-other group filled since it joined."""
    woken: int = 0
    """Of a bracket's child: lots that its parent filled."""
    is_child: bool = False
    """True where its parent was open, and had filled nothing, when it was sent."""
    withdrawn: bool = False
    """True where the simulated venue has been told that nothing of it may fill any more."""

    @property
    def ts(self) -> int:
        """When it was sent, int64 ns."""
        return self.order.ts

    @property
    def leaves(self) -> int:
        """Lots that may still fill; of a bracket's child, once its parent has."""
        return 0 if self.status.is_final else max(0, self.quantity - self.filled - self.reduced)

    @property
    def most_lots(self) -> int:
        """Lots that it can fill now if a change under way is made: a child's no more than its parent filled."""
        if self.withdrawn or self.status.is_final:
            return 0
        most = self.quantity if self.change is None else max(self.quantity, self.change.quantity)
        if self.is_child:
            most = min(most, self.woken)
        return max(0, most - self.filled - self.reduced)


class PlainLives:
    """Every order of a run that has not ended, and a memory of which reports were seen.

    A report that comes twice (an ``exec_id`` seen before) is ignored and counted; one that cannot be true (more filled than
    ordered, an order never sent) raises ``InvariantError``.
    """

    def __init__(self) -> None:
        self.open: dict[OrderId, PlainLife] = {}
        self.ended = 0
        self.repeated_reports = 0
        self._last_order_id = 0
        self._seen_until = 0
        self._seen_beyond: set[int] = set()
        self._heard = -1

    def add(self, order: Order, reference_price: int | None, batch: int) -> None:
        """An order has been sent; ``batch`` numbers the step and rises."""
        life = PlainLife(order, OrdStatus.PENDING_NEW, order.quantity, 0, reference_price, batch=batch)
        parent = None if order.parent is None else self.open.get(order.parent)
        life.is_child = parent is not None and parent.filled == 0
        self.open[order.order_id] = life
        self._last_order_id = max(self._last_order_id, order.order_id)

    def take_back(self, order_id: OrderId) -> None:
        """An order that was added did not leave after all."""
        del self.open[order_id]

    def ask_cancel(self, order_id: OrderId) -> bool:
        """Note that a cancel was sent; False where the order has ended or a cancel is already under way."""
        life = self.open.get(order_id)
        if life is None or life.cancel_asked:
            return False
        life.cancel_asked = True
        return True

    def ask_replace(self, request: ReplaceOrder) -> bool:
        """Note that a change was sent; False where the order has ended, is being cancelled or is being changed already."""
        life = self.open.get(request.order_id)
        if life is None or life.cancel_asked or life.change is not None:
            return False
        life.change = request
        return True

    def apply(self, report: ExecutionReport) -> PlainLife | None:
        """Fold one report in and return its order as it now is; None for a report seen before or of an ended order."""
        if self._is_repeated(report.exec_id):
            self.repeated_reports += 1
            return None
        life = self.open.get(report.order_id)
        if life is None:
            if report.exec_type is ExecType.CANCEL_REJECTED:
                return None
            raise InvariantError(
                f"report {report.exec_id}: found order {report.order_id}, expected one that is open (last sent: {self._last_order_id})"
            )
        if report.exec_type is not ExecType.CANCEL_REJECTED:
            self._heard = max(self._heard, life.batch)
        if report.exec_type is ExecType.TRADE:
            life.filled += report.last_quantity
            if life.filled > life.quantity or report.last_quantity <= 0:
                raise InvariantError(
                    f"order {report.order_id}: found {life.filled} lots filled of {life.quantity} (last fill {report.last_quantity})"
                )
            self._touch_others(life, report)
            has_ended = life.filled == life.quantity or (report.leaves == 0 and not self._waits_for_parent(life))
            life.status = OrdStatus.FILLED if has_ended else OrdStatus.PARTIALLY_FILLED
        elif report.exec_type is ExecType.REPLACED:
            life.quantity = report.cumulative + life.reduced + report.leaves
            _confirm_change(life)
        elif report.exec_type is ExecType.CANCEL_REJECTED:
            life.cancel_asked = False
            life.change = None
        else:
            life.status = _NEXT_STATUS.get(report.exec_type, life.status)
        if life.status.is_final:
            del self.open[report.order_id]
            self.ended += 1
        return life

    def of(self, instrument: InstrumentId) -> Iterator[PlainLife]:
        """Open orders of one instrument, oldest first."""
        return (life for life in self.open.values() if life.order.instrument == instrument)

    def most_open(self, instrument: InstrumentId) -> tuple[int, int]:
        """The most lots that the open orders of one instrument can still buy, and sell.

        Orders of one group count together (``domain/groups.py``), and a change under way counts as the larger quantity.
        """
        buys = sells = 0
        groups: dict[tuple[int, bool], list[tuple[int, int]]] = {}
        for life in self.of(instrument):
            is_buy, lots = life.order.side > 0, life.most_lots
            if life.order.oco_group:
                groups.setdefault((life.order.oco_group, is_buy), []).append((life.batch, lots))
            elif is_buy:
                buys += lots
            else:
                sells += lots
        for (_, is_buy), members in groups.items():
            lots = most_lots(members, self._heard)
            buys, sells = (buys + lots, sells) if is_buy else (buys, sells + lots)
        return buys, sells

    def _touch_others(self, life, report: ExecutionReport) -> None:
        """A fill takes its lots from the others of its group and gives them to its bracket's children."""
        order = life.order
        if order.oco_group:
            partners = [
                one for one in self.of(order.instrument) if one is not life and one.order.oco_group == order.oco_group
            ]
            shrink_partners(partners, life, report.last_quantity, report.ts_event, self._heard)
        for child in self.open.values():
            if child.is_child and child.order.parent == order.order_id:
                child.woken += report.last_quantity

    def _waits_for_parent(self, life) -> bool:
        """True where a child with nothing open grows again once its parent fills more."""
        return life.is_child and life.order.parent in self.open and life.quantity > life.filled + life.reduced

    def _is_repeated(self, exec_id: ExecId) -> bool:
        """Remember ``exec_id``; ids mostly rise by one, so the memory is one number and a few exceptions."""
        if exec_id <= self._seen_until or exec_id in self._seen_beyond:
            return True
        self._seen_beyond.add(exec_id)
        while self._seen_until + 1 in self._seen_beyond:
            self._seen_until += 1
            self._seen_beyond.remove(self._seen_until)
        return False


def _confirm_change(life) -> None:
    """Give the order the terms of the change that the venue has just made."""
    change, life.change = life.change, None
    if change is None:
        return
    order = life.order
    life.order = msgspec.structs.replace(
        order,
        quantity=change.quantity,
        price=order.price if change.price is None else change.price,
        stop_price=order.stop_price if change.stop_price is None else change.stop_price,
    )
