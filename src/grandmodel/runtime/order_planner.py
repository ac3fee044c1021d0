"""From wishes to orders: what an intent asks for becomes orders, cancels and changes, as far as risk lets them leave.

Agents, the risk gate, an operator and a roll all wish here, and everything that leaves the engine leaves here. Read
``docs/concepts/life-of-an-order.md`` beside it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from grandmodel.domain.decisions import (
    CancelIntent,
    CheckedOrder,
    Intent,
    PlaceOrder,
    ReplaceIntent,
    TargetPosition,
    Urgency,
)
from grandmodel.domain.events import DecidedIntent
from grandmodel.domain.ids import OrderId
from grandmodel.domain.orders import CancelOrder, Order, OrderType, ReplaceOrder, Side, TimeInForce
from grandmodel.runtime.books import Books
from grandmodel.runtime.errors import AgentError
from grandmodel.runtime.settings import Mode, RollPolicy
from grandmodel.runtime.step import Step

_PROTECTIVE = frozenset(("stop", "target"))
_GROUPS_OF_AN_AGENT = 2**32
"""Group numbers that an agent has to itself: the group 7 of one is not the group 7 of another."""


class OrderPlanner:
    """Turns intents into what leaves, on the books of one account; numbers orders and intents."""

    def __init__(self, books: Books) -> None:
        self.orders = 0
        """Numbers given out so far, as the next two."""
        self.intents = 0
        self.batch = 0
        """Number of the step whose orders are being sent: nothing happens at a venue within one."""
        self._books = books
        self._settings = books.settings
        self._market, self._lives, self._gate, self._exchange = books.market, books.lives, books.gate, books.exchange

    def act(self, step: Step, who: str, intent: Intent, place: int = 0, *, carries: bool = False) -> None:
        """Turn one intent into orders, cancels and changes, as far as risk lets it; ``place`` is an agent's among the agents.

        ``carries``: orders decided while the instrument is closed go to the venue for the next open; risk checks them now.
        """
        self.intents += 1
        deed = Deed(self.intents, who, intent, place, carries=carries)
        if isinstance(intent, TargetPosition):
            self._pursue_target(step, deed, intent)
        elif isinstance(intent, PlaceOrder):
            self._place(step, deed, intent)
        elif isinstance(intent, CancelIntent):
            for life in list(self._lives.of(intent.instrument)):
                if intent.order_id is None or life.order.order_id == intent.order_id:
                    self._cancel(step, life.order.order_id, ",".join(intent.reasons))
        else:
            self._replace(step, deed, intent)
        step.intents.append(
            DecidedIntent(
                number=deed.number, agent=who, intent=intent, checks=tuple(deed.checks), orders=tuple(deed.orders), refused=deed.refused
            )
        )  # fmt: skip

    def _pursue_target(self, step: Step, deed: Deed, intent: TargetPosition) -> None:
        """Trade the difference between what is held or on its way and what is wanted.

        Resting entries of an earlier wish are cancelled first. What reduces the position is an order of its own, before
        what opens the other way, so that a limit on new risk never stops a way out. When the position shrinks, protective
        orders shrink with it, or are placed anew where the wish names new distances; when it ends or turns they are cancelled.
        """
        if intent.urgency is Urgency.WAIT:
            return
        instrument = intent.instrument
        for life in list(self._lives.of(instrument)):
            if life.order.tag not in _PROTECTIVE and life.order.order_type is not OrderType.MARKET:
                self._cancel(step, life.order.order_id, "retarget")
        expected = self._lives.position_coming(instrument, self._books.lots(instrument), _PROTECTIVE)
        change = intent.lots - expected
        if change == 0:
            return
        closing = 0
        if expected and (expected > 0) != (change > 0):
            closing = min(abs(change), abs(expected)) * (1 if change > 0 else -1)
        if closing:
            left = abs(expected + closing)
            places_anew = bool(intent.stop_ticks or intent.target_ticks)
            for life in list(self._lives.of(instrument)):
                if life.order.tag not in _PROTECTIVE:
                    continue
                if left and not places_anew:
                    quantity = life.filled + life.reduced + left
                    shrunk = ReplaceIntent(instrument=instrument, order_id=life.order.order_id, quantity=quantity)
                    self._replace(step, deed, shrunk)
                else:
                    self._cancel(step, life.order.order_id, "retarget")
            self._send_wished(step, deed, intent, closing, "exit", protect=False)
        opening = change - closing
        if opening:
            self._send_wished(step, deed, intent, opening, "entry", protect=True)
        elif intent.lots and (intent.stop_ticks or intent.target_ticks):
            self._protect(step, deed, intent, intent.lots, parent=None)

    def _send_wished(
        self, step: Step, deed: Deed, intent: TargetPosition, signed_lots: int, tag: str, *, protect: bool
    ) -> None:
        instrument = intent.instrument
        side = Side.BUY if signed_lots > 0 else Side.SELL
        price = None
        if intent.urgency is not Urgency.AGGRESSIVE and tag == "entry":
            price = self._books.own_best(instrument, side)
            if price is None:
                deed.refused = deed.refused or "no_price"
                return
        order = self._order(
            deed,
            instrument=instrument,
            side=side,
            quantity=abs(signed_lots),
            order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
            price=price,
            tag=tag,
        )
        sent = self._send(step, deed, order)
        if sent is None or not protect or not (intent.stop_ticks or intent.target_ticks):
            return
        if not self._protect(step, deed, intent, sent.quantity * int(side), parent=sent.order_id):
            # The cancel reaches the venue with the entry, before it can fill.
            self._cancel(step, sent.order_id, "unprotected")
            deed.refused = deed.refused or "unprotected"

    def _protect(
        self, step: Step, deed: Deed, intent: TargetPosition, signed_lots: int, parent: OrderId | None
    ) -> bool:
        """Stop and target around the mark for ``signed_lots``; the first to fill reduces and ends the other.

        False where the mark is not known or risk refused one of them.
        """
        mark = self._books.mark(intent.instrument)
        if mark is None:
            return False
        all_sent = True
        direction = 1 if signed_lots > 0 else -1
        group = -(self.orders + 1)  # Below 0: those above are the agents' own.
        for distance, order_type, tag in (
            (-intent.stop_ticks, OrderType.STOP, "stop"),
            (intent.target_ticks, OrderType.LIMIT, "target"),
        ):
            if distance == 0:
                continue
            level = mark + distance * direction
            order = self._order(
                deed,
                instrument=intent.instrument,
                side=Side.SELL if signed_lots > 0 else Side.BUY,
                quantity=abs(signed_lots),
                order_type=order_type,
                price=level if order_type is OrderType.LIMIT else None,
                stop_price=level if order_type is OrderType.STOP else None,
                time_in_force=TimeInForce.GTC,
                parent=parent,
                oco_group=group,
                tag=tag,
            )
            all_sent = self._send(step, deed, order) is not None and all_sent
        return all_sent

    def _place(self, step: Step, deed: Deed, intent: PlaceOrder) -> None:
        needs_price = intent.order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        needs_stop = intent.order_type in (OrderType.STOP, OrderType.STOP_LIMIT)
        if (
            (intent.price is not None) != needs_price
            or (intent.stop_price is not None) != needs_stop
            or (intent.expire_ts is not None) != (intent.time_in_force is TimeInForce.GTD)
            or intent.quantity <= 0
            or not 0 <= intent.oco_group < _GROUPS_OF_AN_AGENT
            or (intent.reduce_only and (intent.bracket_stop is not None or intent.bracket_target is not None))
        ):
            raise AgentError(
                f"agent {deed.who}: found {intent.order_type.name} {intent.time_in_force.name} of {intent.quantity} lots with "
                f"price {intent.price}, stop_price {intent.stop_price}, expire_ts {intent.expire_ts}, oco_group "
                f"{intent.oco_group}, reduce_only {intent.reduce_only}, bracket_stop {intent.bracket_stop} and bracket_target "
                f"{intent.bracket_target}, expected a positive quantity, just the prices that the type has, expire_ts for GTD "
                "only, a group of 0 to 2^32 - 1, and no bracket around an order that only closes"
            )
        extra = {} if intent.expire_ts is None else {"expire_ts": intent.expire_ts}
        order = self._order(
            deed,
            instrument=intent.instrument,
            side=intent.side,
            quantity=intent.quantity,
            order_type=intent.order_type,
            price=intent.price,
            stop_price=intent.stop_price,
            time_in_force=intent.time_in_force,
            oco_group=intent.oco_group and deed.place * _GROUPS_OF_AN_AGENT + intent.oco_group,
            reduce_only=intent.reduce_only,
            tag="entry",
            **extra,
        )
        sent = self._send(step, deed, order)
        if sent is None:
            return
        for level, order_type, tag in (
            (intent.bracket_stop, OrderType.STOP, "stop"),
            (intent.bracket_target, OrderType.LIMIT, "target"),
        ):
            if level is not None:
                child = self._order(
                    deed,
                    instrument=intent.instrument,
                    side=Side(-int(intent.side)),
                    quantity=sent.quantity,
                    order_type=order_type,
                    price=level if order_type is OrderType.LIMIT else None,
                    stop_price=level if order_type is OrderType.STOP else None,
                    time_in_force=TimeInForce.GTC,
                    parent=sent.order_id,
                    oco_group=-sent.order_id,
                    tag=tag,
                )
                self._send(step, deed, child)

    def _order(self, deed: Deed, **fields: Any) -> Order:
        self.orders += 1
        effective_ts = self._books.next_open(fields["instrument"]) if deed.carries else 0
        return Order(
            order_id=OrderId(self.orders), ts=self._market.now, effective_ts=effective_ts, intent=deed.number, **fields
        )

    def _send(self, step: Step, deed: Deed, order: Order) -> Order | None:
        """Ask risk, and send what it lets through; nothing is sent on prices that are marked bad."""
        if self._settings.rolls is not RollPolicy.IGNORE and self._books.is_in_bad_stretch(order.instrument):
            deed.refused = deed.refused or "bad_stretch"
            return None
        verdict = self._gate.check(order, self._books.risk_view())
        deed.checks.append(verdict.checked)
        if verdict.order is None:
            deed.refused = deed.refused or verdict.reason
            return None
        order = verdict.order
        self._lives.add(order, self._books.mark(order.instrument), self.batch)
        if self._books.halt_where_broken(step, self._books.index[order.instrument], leaving=True):
            self._lives.take_back(order.order_id)
            self._books.halt_where_broken(step, self._books.index[order.instrument])
            deed.refused = deed.refused or "limit_broken"
            return None
        self._gate.on_order(order)
        deed.orders.append(order.order_id)
        step.orders.append(order)
        if self._settings.mode is not Mode.LIVE:
            self._exchange.submit(order)
        return order

    def _cancel(self, step: Step, order_id: OrderId, reason: str) -> None:
        if self._lives.ask_cancel(order_id):
            request = CancelOrder(order_id=order_id, ts=self._market.now, reason=reason)
            step.cancels.append(request)
            self._gate.on_cancel(request.ts)
            if self._settings.mode is not Mode.LIVE:
                self._exchange.cancel(request)

    def _replace(self, step: Step, deed: Deed, intent: ReplaceIntent) -> None:
        """Risk knows a change by the id of an order that works already."""
        life = self._lives.open.get(intent.order_id)
        if life is None or life.cancel_asked or life.order.instrument != intent.instrument:
            deed.refused = "too_late" if life is None or life.cancel_asked else "unknown_order"
            return
        if life.change is not None:
            deed.refused = "change_under_way"
            return
        order = life.order
        wished = msgspec.structs.replace(
            order,
            quantity=intent.quantity,
            price=order.price if intent.price is None else intent.price,
            stop_price=order.stop_price if intent.stop_price is None else intent.stop_price,
            ts=self._market.now,
            effective_ts=self._books.next_open(order.instrument) if deed.carries else 0,
        )
        verdict = self._gate.check(wished, self._books.risk_view())
        deed.checks.append(verdict.checked)
        if verdict.order is None:
            deed.refused = verdict.reason
            return
        request = ReplaceOrder(
            order_id=order.order_id,
            ts=self._market.now,
            quantity=verdict.order.quantity,
            price=intent.price,
            stop_price=intent.stop_price,
        )
        self._lives.ask_replace(request)
        if self._books.halt_where_broken(step, self._books.index[order.instrument], leaving=True):
            life.change = None
            self._books.halt_where_broken(step, self._books.index[order.instrument])
            deed.refused = "limit_broken"
            return
        self._gate.on_order(verdict.order)
        step.replaces.append(request)
        if self._settings.mode is not Mode.LIVE:
            self._exchange.replace(request)


class Deed:
    """What becomes of one intent."""

    __slots__ = ("carries", "checks", "intent", "number", "orders", "place", "refused", "who")

    def __init__(self, number: int, who: str, intent: Intent, place: int, *, carries: bool) -> None:
        self.number, self.who, self.intent, self.carries = number, who, intent, carries
        self.place = place
        """The agent's place among the agents."""
        self.checks: list[CheckedOrder] = []
        self.orders: list[OrderId] = []
        self.refused = ""
