"""The slow plain form of ``grandmodel.account.planner``: orders of the domain, one question to the gate each. The oracle of its kernels.

It works on a gate of its own that was told the same as the one which the kernels work on, through what the gate offers anyone.
"""

from __future__ import annotations

from typing import Any

from grandmodel.account.planner import CANCEL, CHANGE, NEW, WHYS, Target
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import OrderId
from grandmodel.domain.orders import ORDER_TYPES, Order, OrderType, Side, TimeInForce
from grandmodel.domain.time import NEVER_NS
from grandmodel.risk.checks import REASONS
from grandmodel.risk.gate import RiskView
from grandmodel.risk.working import WorkingOrder
from risk.desk import DeskGate

PROTECTIVE = ("stop", "target")


class PlainPlanner:
    """Wishes for positions of one account; ``pursue`` gives the rows of what is asked, each as a dict of the fields that count."""

    def __init__(self, gate: DeskGate, view: RiskView) -> None:
        self.gate, self.view = gate, view
        self.rows: list[dict[str, Any]] = []
        self.last_order = 0

    def coming(self, i: int) -> int:
        """The position of instrument ``i`` once the market orders on their way have filled, one after the other."""
        position = self.view.positions[i]
        gone: dict[int, int] = {}
        for order in self.gate.working.each():
            if (
                order.instrument != i
                or order.order_type != OrderType.MARKET
                or order.cancel_asked
                or self.protects(order)
            ):
                continue
            lots = order.quantity - order.filled - order.reduced - gone.get(order.group, 0)
            if order.reduce_only:
                lots = min(lots, -position * order.side)
            if lots <= 0:
                continue
            if order.group:
                gone[order.group] = gone.get(order.group, 0) + lots
            position += lots * order.side
        return position

    def pursue(self, wish: Target, last_order: int) -> tuple[list[dict[str, Any]], int]:
        """(what is asked, the last number given)."""
        self.rows, self.last_order = [], last_order
        i = wish.instrument
        there = [order for order in self.gate.working.each() if order.instrument == i]
        for order in there:
            if not self.protects(order) and order.order_type != OrderType.MARKET:
                self.cancel(order, "retarget")
        coming = self.coming(i)
        change = wish.lots - coming
        closing = 0
        if coming > 0 > change:
            closing = max(change, -coming)
        elif coming < 0 < change:
            closing = min(change, -coming)
        is_protected = bool(wish.stop_ticks or wish.target_ticks)
        if closing:
            left = abs(coming + closing)
            for order in filter(self.protects, there):
                if left and not is_protected:
                    self.change(order, order.filled + order.reduced + left, wish.effective_ts)
                else:
                    self.cancel(order, "retarget")
            self.ask(wish, closing, tag="exit")
        if change != closing:
            self.open(wish, change - closing, is_protected)
        elif closing and wish.lots and is_protected:
            self.protect(wish, wish.lots, None)
        return self.rows, self.last_order

    def open(self, wish: Target, signed: int, is_protected: bool) -> None:
        """The entry, with a stop and a target where they are wished for; without them it does not stay."""
        price = None
        if wish.passive:
            quotes = self.view.best_bids if signed > 0 else self.view.best_asks
            price = next(
                (one for one in (quotes[wish.instrument], self.view.marks[wish.instrument]) if one != UNDEFINED_PRICE),
                None,
            )
            if price is None:
                self.rows.append(
                    self.said(NEW, "no_price", 0, wish.instrument) | {"side": sign(signed), "quantity": abs(signed)}
                )
                return
        kind = OrderType.LIMIT if wish.passive else OrderType.MARKET
        sent = self.ask(wish, signed, tag="entry", order_type=kind, price=price)
        entry = self.last_order
        if sent and is_protected and not self.protect(wish, sent * sign(signed), entry):
            self.cancel(self.gate.working.orders[entry], "unprotected")

    def protect(self, wish: Target, signed: int, parent: int | None) -> bool:
        """A stop behind and a target ahead of the mark, of one group; False where not all of that is there."""
        mark = self.view.marks[wish.instrument]
        if mark == UNDEFINED_PRICE:
            return False
        common = {
            "time_in_force": TimeInForce.GTC, "parent": parent and OrderId(parent), "oco_group": -(self.last_order + 1),
        }  # fmt: skip
        sent = []
        if wish.stop_ticks:
            level = mark - wish.stop_ticks * sign(signed)
            sent.append(self.ask(wish, -signed, tag="stop", order_type=OrderType.STOP, stop_price=level, **common))
        if wish.target_ticks:
            level = mark + wish.target_ticks * sign(signed)
            sent.append(self.ask(wish, -signed, tag="target", order_type=OrderType.LIMIT, price=level, **common))
        return all(sent)

    def ask(self, wish: Target, signed: int, **terms: Any) -> int:
        """A new order; the lots that left."""
        self.last_order += 1
        fields = {"order_type": OrderType.MARKET, "time_in_force": TimeInForce.DAY} | terms
        order = Order(
            order_id=OrderId(self.last_order),
            instrument=self.gate.instruments[wish.instrument].id,
            side=Side(sign(signed)),
            quantity=abs(signed),
            ts=self.view.ts,
            effective_ts=wish.effective_ts,
            expire_ts=NEVER_NS,
            **fields,
        )
        if wish.in_bad_stretch:
            self.rows.append(self.terms(order) | self.said(NEW, "bad_stretch", self.last_order, wish.instrument))
            return 0
        return self.judge(order, NEW)

    def change(self, known: WorkingOrder, quantity: int, effective_ts: int) -> None:
        """Another quantity for an order that protects."""
        if known.cancel_asked or known.changing:
            why = "too_late" if known.cancel_asked else "change_under_way"
            self.rows.append(self.said(CHANGE, why, known.order_id, known.instrument))
            return
        terms = ORDER_TYPES[OrderType(known.order_type)]
        self.judge(
            Order(
                order_id=OrderId(known.order_id),
                instrument=self.gate.instruments[known.instrument].id,
                side=Side(known.side),
                quantity=quantity,
                order_type=OrderType(known.order_type),
                time_in_force=TimeInForce(known.time_in_force),
                price=known.price if terms.has_limit else None,
                stop_price=None if known.stop_price == UNDEFINED_PRICE else known.stop_price,
                trail_ticks=known.trail_ticks,
                display_quantity=known.display_quantity,
                ts=self.view.ts,
                effective_ts=effective_ts,
                expire_ts=known.expire_ts,
                parent=OrderId(known.named_parent) if known.named_parent else None,
                oco_group=known.group,
                reduce_only=bool(known.reduce_only),
                tag=self.gate.working.tag_of(known.tag),
            ),
            CHANGE,
        )

    def judge(self, order: Order, kind: int) -> int:
        """Ask the gate, and send what it lets through; the lots that left."""
        verdict = self.gate.check(order, self.view)
        sent = verdict.order.quantity if verdict.order is not None else 0
        if verdict.order is not None:
            self.gate.on_order(verdict.order)
        i = self.gate.instruments.index(next(one for one in self.gate.instruments if one.id == order.instrument))
        row = self.terms(order) | self.said(kind, "", order.order_id, i)
        self.rows.append(row | {"approved": sent, "reason": REASONS.index(verdict.reason)})
        return sent

    def cancel(self, order: WorkingOrder, why: str) -> None:
        """The cancel of an order, once."""
        if self.gate.working.ask_cancel(order.order_id, self.view.ts):
            self.rows.append(self.said(CANCEL, why, order.order_id, order.instrument) | {"ts": self.view.ts})

    def protects(self, order: WorkingOrder) -> bool:
        """True for a stop or a target."""
        return self.gate.working.tag_of(order.tag) in PROTECTIVE

    def terms(self, order: Order) -> dict[str, Any]:
        """What an order is, as the rows say it."""
        return {
            "side": int(order.side),
            "quantity": order.quantity,
            "order_type": int(order.order_type),
            "time_in_force": int(order.time_in_force),
            "price": UNDEFINED_PRICE if order.price is None else order.price,
            "stop_price": UNDEFINED_PRICE if order.stop_price is None else order.stop_price,
            "trail_ticks": order.trail_ticks,
            "display_quantity": order.display_quantity,
            "ts": order.ts,
            "effective_ts": order.effective_ts,
            "expire_ts": order.expire_ts,
            "parent": order.parent or 0,
            "group": order.oco_group,
            "reduce_only": int(order.reduce_only),
            "tag": self.gate.working.tag_number(order.tag),
        }

    @staticmethod
    def said(kind: int, why: str, number: int, i: int) -> dict[str, Any]:
        """What stands on every row; nothing left yet."""
        return {
            "kind": kind, "why": WHYS.index(why), "order_id": number, "instrument": i, "approved": 0, "reason": 0,
        }  # fmt: skip


def sign(signed: int) -> int:
    """1 for lots to buy, else -1."""
    return 1 if signed > 0 else -1
