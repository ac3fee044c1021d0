"""The life of our own orders, folded from what the venue reports: FIX order states, fills and what is still open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from grandmodel.domain.errors import InvariantError
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.orders import ExecType, ExecutionReport, Order, OrdStatus, ReplaceOrder

_NEXT_STATUS = {
    ExecType.NEW: OrdStatus.NEW,
    ExecType.CANCELED: OrdStatus.CANCELED,
    ExecType.REJECTED: OrdStatus.REJECTED,
    ExecType.EXPIRED: OrdStatus.EXPIRED,
}


@dataclass(slots=True)
class OrderLife:
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

    @property
    def leaves(self) -> int:
        """Lots that may still fill."""
        return 0 if self.status.is_final else self.quantity - self.filled


class OrderLives:
    """Every order of a run that has not ended, and a memory of which reports were seen.

    A report that comes twice (an ``exec_id`` seen before) is ignored and counted; one that cannot be true (more filled than
    ordered, an order never sent) raises ``InvariantError``.
    """

    def __init__(self) -> None:
        self.open: dict[OrderId, OrderLife] = {}
        self.ended = 0
        self.repeated_reports = 0
        self._last_order_id = 0
        self._seen_until = 0
        self._seen_beyond: set[int] = set()

    def add(self, order: Order, reference_price: int | None) -> None:
        """An order has been sent."""
        self.open[order.order_id] = OrderLife(order, OrdStatus.PENDING_NEW, order.quantity, 0, reference_price)
        self._last_order_id = max(self._last_order_id, order.order_id)

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

    def apply(self, report: ExecutionReport) -> OrderLife | None:
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
        if report.exec_type is ExecType.TRADE:
            life.filled += report.last_quantity
            if life.filled > life.quantity or report.last_quantity <= 0:
                raise InvariantError(
                    f"order {report.order_id}: found {life.filled} lots filled of {life.quantity} (last fill {report.last_quantity})"
                )
            life.status = OrdStatus.FILLED if life.filled == life.quantity else OrdStatus.PARTIALLY_FILLED
        elif report.exec_type is ExecType.REPLACED:
            life.quantity = report.cumulative + report.leaves
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

    def of(self, instrument: InstrumentId) -> Iterator[OrderLife]:
        """Open orders of one instrument, oldest first."""
        return (life for life in self.open.values() if life.order.instrument == instrument)

    def counts(self) -> tuple[int, int, int, int, list[int]]:
        """What is remembered beside the open orders, for a snapshot."""
        return self.ended, self.repeated_reports, self._last_order_id, self._seen_until, sorted(self._seen_beyond)

    def restore_counts(self, counts: tuple[int, int, int, int, list[int]]) -> None:
        """Put back what ``counts`` gave."""
        self.ended, self.repeated_reports, self._last_order_id, self._seen_until, beyond = counts
        self._seen_beyond = set(beyond)

    def _is_repeated(self, exec_id: ExecId) -> bool:
        """Remember ``exec_id``; ids mostly rise by one, so the memory is one number and a few exceptions."""
        if exec_id <= self._seen_until or exec_id in self._seen_beyond:
            return True
        self._seen_beyond.add(exec_id)
        while self._seen_until + 1 in self._seen_beyond:
            self._seen_until += 1
            self._seen_beyond.remove(self._seen_until)
        return False


def _confirm_change(life: OrderLife) -> None:
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
