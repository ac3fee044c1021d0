"""Faults of risk, planted on purpose around the kernels: tests and fuzzes must find each of them.

Each works on the rows that the kernels read, or on what they answer, so nothing is compiled anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from grandmodel.domain.orders import ExecutionReport, Fill, Order
from grandmodel.risk.gate import RiskGate
from grandmodel.risk.leaving import leave
from grandmodel.risk.working import recount
from grandmodel.runtime.order_planner import OrderPlanner
from risk import desk
from risk.desk import DeskGate, Verdict, View

_ask, _check, _tell, _see = OrderPlanner._ask, DeskGate.check, desk.tell, DeskGate.see


def _filled_before(gate: RiskGate, order: Order) -> int:
    """Lots that the others of a new order's group have filled since they joined, but for one of its own; 0 for any other order."""
    i = gate._index.get(order.instrument, -1)
    others = [one for one in gate.working.each() if one.group == order.oco_group and one.instrument == i]
    if not order.oco_group or gate.working.knows(order.order_id) or not others:
        return 0
    return max(0, min(max(one.filled + one.reduced for one in others), order.quantity - 1))


def check_fills_of_a_group_as_room(gate: DeskGate, order: Order, view: View) -> Verdict:
    """``DeskGate.check``: what the others of a group filled before is room for a new one."""
    filled = _filled_before(gate, order)
    verdict = _check(gate, msgspec.structs.replace(order, quantity=order.quantity - filled), view)
    if verdict.order is None:
        return verdict
    return Verdict(msgspec.structs.replace(order, quantity=verdict.order.quantity + filled), verdict.checked, "")


def ask_fills_of_a_group_as_room(planner: OrderPlanner, deed: Any, order: Order, *, changes: bool = False) -> int:
    """``OrderPlanner._ask``: the same."""
    gate = deed.trader.gate
    filled = _filled_before(gate, order)
    smaller = msgspec.structs.replace(order, quantity=order.quantity - filled)
    quantity: int = _ask(planner, deed, smaller, changes=changes)
    if not quantity or not filled:
        return quantity
    rows = gate.account.rows
    rows.working[0, gate.working.count - 1]["quantity"] = rows.working[0, gate.working.count - 1]["pending"] = (
        quantity + filled
    )
    recount(rows, 0, gate._index[order.instrument])
    return quantity + filled


def asks_whole(concerns: Callable[[Order], bool]) -> Callable[..., int]:
    """``OrderPlanner._ask``: an order that ``concerns`` names goes whole, whatever the size checks said."""

    def ask(planner: OrderPlanner, deed: Any, order: Order, *, changes: bool = False) -> int:
        refused = deed.refused
        quantity: int = _ask(planner, deed, order, changes=changes)
        said = deed.checks[-1]
        if quantity == order.quantity or not concerns(order) or not set(said.reasons) <= _SIZES:
            return quantity
        gate, account = deed.trader.gate, deed.trader.gate.account
        if quantity and not changes:
            gate.working.take_back(order.order_id)
        gate.put(0, order, gate._index[order.instrument])
        leave(account.rows, 0, 0, order.quantity)
        deed.refused = refused
        deed.checks[-1] = msgspec.structs.replace(said, shrunk=0, refused=0, reasons=())
        return order.quantity

    return ask


_SIZES = frozenset(
    ("position_long", "position_short", "position_overall", "gross_exposure", "net_exposure", "concentration", "margin")
)


def tell_always_takes(gate: RiskGate, report: ExecutionReport, fill: Fill | None = None) -> None:
    """``desk.tell``: a fill is taken from every other of the group, also from one that joined after it."""
    before, rows = gate.working.orders, gate.account.rows
    _tell(gate, report, fill)
    order = before.get(report.order_id)
    if order is not None and order.group and report.last_quantity:
        for row in rows.working[0, : gate.working.count]:
            others = row["group"] == order.group and row["instrument"] == order.instrument
            if others and row["order_id"] != order.order_id:
                row["reduced"] = before[int(row["order_id"])].reduced + report.last_quantity
        recount(rows, 0, order.instrument)


def tell_leaves_asleep(gate: RiskGate, report: ExecutionReport, fill: Fill | None = None) -> None:
    """``desk.tell``: a bracket's children do not count, though their parent has filled."""
    _tell(gate, report, fill)
    rows = gate.account.rows
    for row in rows.working[0, : gate.working.count]:
        if row["parent"] == report.order_id:
            row["woken"] = 0
            recount(rows, 0, int(row["instrument"]))


def in_one_batch(method: Callable[..., Any]) -> Callable[..., Any]:
    """``DeskGate.check`` and ``on_order``: one that has just joined a group counts with the others, though they may fill before."""

    def call(gate: DeskGate, *given: Any) -> Any:
        batch, gate.working.batch = gate.working.batch, 0
        found = method(gate, *given)
        gate.working.batch = batch
        return found

    return call


def see_half(gate: DeskGate, view: View) -> None:
    """``DeskGate.see``: what is out counts half."""
    seen = gate.account.rows.seen[0]
    for i in range(len(seen)):
        recount(gate.account.rows, 0, i)
    seen["buys"] //= 2
    seen["sells"] //= 2
    _see(gate, view)
