"""What one step of the engine collects for its record."""

from __future__ import annotations

from grandmodel.domain.decisions import Decision
from grandmodel.domain.events import Alert, ClosedBar, DecidedIntent
from grandmodel.domain.orders import CancelOrder, ExecutionReport, Fill, Order, ReplaceOrder


class Step:
    """What one step collects for its record."""

    __slots__ = ("alerts", "bars", "cancels", "decisions", "fills", "intents", "orders", "replaces", "reports")

    def __init__(self) -> None:
        self.bars: tuple[ClosedBar, ...] = ()
        self.reports: tuple[ExecutionReport, ...] = ()
        self.fills: list[Fill] = []
        self.decisions: list[Decision] = []
        self.intents: list[DecidedIntent] = []
        self.orders: list[Order] = []
        self.cancels: list[CancelOrder] = []
        self.replaces: list[ReplaceOrder] = []
        self.alerts: list[Alert] = []

    @property
    def is_silent(self) -> bool:
        """True where nobody said anything: no decision, wish, order, change, cancel or alert, and no fill that no report tells of."""
        return not (
            self.decisions
            or self.intents
            or self.orders
            or self.cancels
            or self.replaces
            or self.alerts
            or any(not fill.order_id for fill in self.fills)
        )
