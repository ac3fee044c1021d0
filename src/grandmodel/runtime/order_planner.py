"""From wishes to orders: what an intent asks for becomes orders, cancels and changes, as far as risk lets them leave.

Agents, the risk gate, an operator and a roll all wish here, and everything that leaves the engine leaves here. Read
``docs/concepts/life-of-an-order.md`` beside it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from grandmodel.account.planner import CANCEL, CHANGE, NEW, WHYS, pursue_target_at
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.decisions import (
    CancelIntent,
    CheckedOrder,
    Intent,
    PlaceOrder,
    ReplaceIntent,
    TargetPosition,
    Urgency,
)
from grandmodel.domain.errors import InvariantError
from grandmodel.domain.events import DecidedIntent
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import ORDER_TYPES, CancelOrder, Order, OrderType, ReplaceOrder, Side, TimeInForce
from grandmodel.domain.time import NEVER_NS
from grandmodel.risk.checks import REASONS, checked
from grandmodel.risk.leaving import ask_at
from grandmodel.risk.rows import ASKED
from grandmodel.risk.working import WorkingOrders
from grandmodel.runtime.books import Books
from grandmodel.runtime.errors import AgentError
from grandmodel.runtime.settings import Mode
from grandmodel.runtime.step import Step
from grandmodel.runtime.trading_account import TradingAccount

_MOST_NEW = 6
"""Rows that one wish for a position may put down beside two an open order."""
_SIDES = {int(side): side for side in Side}
_ORDER_TYPES = {int(kind): kind for kind in OrderType}
_TIMES_IN_FORCE = {int(time): time for time in TimeInForce}
_APPROVED = (ASKED.names or ()).index("approved")
_GROUPS_OF_AN_AGENT = 2**32
"""Group numbers that an agent has to itself: the group 7 of one is not the group 7 of another."""


class OrderPlanner:
    """Turns intents into what leaves, on the books of a run; numbers orders and intents."""

    def __init__(self, books: Books) -> None:
        self.orders = 0
        """Numbers given out so far, as the next two."""
        self.intents = 0
        self.batch = 0
        """Number of the step whose orders are being sent: nothing happens at a venue within one."""
        self._books = books
        self._settings = books.settings
        self._market, self._lives, self._exchange = books.market, books.lives, books.exchange

    def act(
        self, step: Step, trader: TradingAccount, who: str, intent: Intent, place: int = 0, *, carries: bool = False
    ) -> None:
        """Turn one intent for ``trader`` into orders, cancels and changes, as far as risk lets it; ``place`` is an agent's among the agents.

        ``carries``: orders decided while the instrument is closed go to the venue for the next open; risk checks them now.
        """
        self.intents += 1
        deed = Deed(self.intents, trader, who, intent, place, carries=carries)
        if trader.has_ended(intent.instrument) and not isinstance(intent, CancelIntent):
            deed.refused = "instrument_ended"
        elif isinstance(intent, TargetPosition):
            self._pursue_target(step, deed, intent)
        elif isinstance(intent, PlaceOrder):
            self._place(step, deed, intent)
        elif isinstance(intent, CancelIntent):
            for order in trader.working(intent.instrument):
                if intent.order_id is None or order.order_id == intent.order_id:
                    self._cancel(step, trader, order.order_id, ",".join(intent.reasons))
        else:
            self._replace(step, deed, intent)
        step.intents.append(
            DecidedIntent(
                number=deed.number, agent=who, intent=intent, checks=tuple(deed.checks), orders=tuple(deed.orders), refused=deed.refused,
                account=trader.name, above=tuple((name, tuple(found)) for name, found in deed.above.items()),
            )
        )  # fmt: skip

    def _pursue_target(self, step: Step, deed: Deed, intent: TargetPosition) -> None:
        """Let ``account.planner.pursue_target`` plan and send, and make domain values of each row that it put down."""
        if intent.urgency is Urgency.WAIT:
            return
        instrument, books = intent.instrument, self._books
        account = books.look(most=_MOST_NEW)
        rows, self.orders = pursue_target_at(
            account.handle,
            deed.trader.n,
            books.index[instrument],
            intent.lots,
            intent.urgency is not Urgency.AGGRESSIVE,
            intent.stop_ticks,
            intent.target_ticks,
            self._effective_ts(deed, instrument),
            books.is_in_bad_stretch(instrument),
            self.orders,
        )
        wanted = account.asked[deed.trader.n]
        for k, asked in enumerate(wanted[:rows].tolist()):
            if not self._take_row(step, deed, k, instrument, asked):
                # What risk rests on is not so: nothing of the rest leaves either.
                for later in wanted[k:rows].tolist():
                    self._take_back(deed.trader.gate.working, later)
                return

    def _take_row(self, step: Step, deed: Deed, k: int, instrument: InstrumentId, asked: list[int]) -> bool:
        """Make a domain value of row ``k`` of what was asked and hand it on; False where a limit on lots is broken."""
        (
            kind, why, order_id, _, side, _, order_type, time_in_force, price, stop_price, _, _, ts, effective_ts, expire_ts, parent,
            group, reduce_only, tag, approved, reason, noted,
        ) = asked  # fmt: skip
        if kind == CANCEL:
            self._hand_on_cancel(step, OrderId(order_id), WHYS[why])
            if WHYS[why] == "unprotected":
                deed.refused = deed.refused or "unprotected"
            return True
        if why:
            deed.refused = WHYS[why] if kind == CHANGE else deed.refused or WHYS[why]
            return True
        deed.note_checks(k, order_id, noted)
        if not approved:
            deed.refused = REASONS[reason] if kind == CHANGE else deed.refused or REASONS[reason]
            return True
        if kind == CHANGE:
            return self._hand_on_change(
                step, deed, ReplaceOrder(order_id=OrderId(order_id), ts=ts, quantity=approved), instrument
            )
        order = Order(
            order_id=OrderId(order_id),
            instrument=instrument,
            side=_SIDES[side],
            quantity=approved,
            order_type=_ORDER_TYPES[order_type],
            ts=ts,
            effective_ts=effective_ts,
            price=None if price == UNDEFINED_PRICE else price,
            stop_price=None if stop_price == UNDEFINED_PRICE else stop_price,
            time_in_force=_TIMES_IN_FORCE[time_in_force],
            expire_ts=NEVER_NS if expire_ts == NEVER_NS else expire_ts,  # The default itself is not written down.
            parent=OrderId(parent) if parent else None,
            oco_group=group,
            reduce_only=bool(reduce_only),
            intent=deed.number,
            tag=deed.trader.gate.working.tag_of(tag),
            account=deed.trader.name,
        )
        return self._hand_on(step, deed, order)

    def _take_back(self, working: WorkingOrders, asked: list[int]) -> None:
        """Row ``asked`` does not leave after all: it counts no more."""
        if asked[0] == NEW and asked[_APPROVED]:
            working.take_back(asked[2])
        elif asked[0] == CHANGE and asked[_APPROVED]:
            working.take_back_change(asked[2])
        elif asked[0] == CANCEL:
            working.take_back_cancel(asked[2])

    def _place(self, step: Step, deed: Deed, intent: PlaceOrder) -> None:
        terms = ORDER_TYPES[intent.order_type]
        if (
            not terms.fits(intent.price, intent.stop_price, intent.trail_ticks, intent.display_quantity)
            or (intent.expire_ts is not None) != (intent.time_in_force is TimeInForce.GTD)
            or intent.quantity <= 0
            or not 0 <= intent.oco_group < _GROUPS_OF_AN_AGENT
            or (intent.reduce_only and (intent.bracket_stop is not None or intent.bracket_target is not None))
        ):
            raise AgentError(
                f"agent {deed.who}: found {intent.order_type.name} {intent.time_in_force.name} of {intent.quantity} lots with "
                f"price {intent.price}, stop_price {intent.stop_price}, trail_ticks {intent.trail_ticks}, display_quantity "
                f"{intent.display_quantity}, expire_ts {intent.expire_ts}, oco_group "
                f"{intent.oco_group}, reduce_only {intent.reduce_only}, bracket_stop {intent.bracket_stop} and bracket_target "
                f"{intent.bracket_target}, expected a positive quantity, just the prices that the type has, a display_quantity "
                "only where the order may rest, expire_ts for GTD only, a group of 0 to 2^32 - 1, and no bracket around an order that only closes"
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
            trail_ticks=intent.trail_ticks,
            display_quantity=intent.display_quantity,
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
        effective_ts = self._effective_ts(deed, fields["instrument"])
        return Order(
            order_id=OrderId(self.orders), ts=self._market.now, effective_ts=effective_ts, intent=deed.number,
            account=deed.trader.name, **fields
        )  # fmt: skip

    def _effective_ts(self, deed: Deed, instrument: InstrumentId) -> int:
        """When the venue is to have what is decided now; 0: at once."""
        return self._books.next_open(instrument) if deed.carries else 0

    def _send(self, step: Step, deed: Deed, order: Order) -> Order | None:
        """Ask risk, and send what it lets through; nothing is sent on prices that are marked bad."""
        if self._books.is_in_bad_stretch(order.instrument):
            deed.refused = deed.refused or "bad_stretch"
            return None
        quantity = self._ask(deed, order)
        if not quantity:
            return None
        if quantity != order.quantity:
            order = msgspec.structs.replace(order, quantity=quantity)
        if not self._hand_on(step, deed, order):
            deed.trader.gate.working.take_back(order.order_id)
            return None
        return order

    def _ask(self, deed: Deed, order: Order, *, changes: bool = False) -> int:
        """Put ``order`` to every check; the lots that may go, which count from here on. 0, with the reason, where it is refused."""
        account, trader = self._books.look(most=1), deed.trader
        if not trader.gate.put(0, order, self._books.index[order.instrument]):
            raise InvariantError(f"order {order.order_id}: found a number that is none, after its wish was read")
        quantity = ask_at(account.handle, trader.n, 0)
        *_, reason, noted = account.asked[trader.n][0].tolist()
        deed.note_checks(0, order.order_id, noted)
        if not quantity:
            deed.refused = REASONS[reason] if changes else deed.refused or REASONS[reason]
        return quantity

    def _hand_on(self, step: Step, deed: Deed, order: Order) -> bool:
        """An approved order leaves; False, and it does not, where a limit on lots would be broken in spite of every check."""
        books, instrument = self._books, order.instrument
        self._lives.add(order, books.mark(instrument), self.batch)
        if books.halt_where_broken(step, deed.trader, books.index[instrument], leaving=True):
            self._lives.take_back(order.order_id)
            books.halt_where_broken(step, deed.trader, books.index[instrument])
            deed.refused = deed.refused or "limit_broken"
            return False
        deed.orders.append(order.order_id)
        step.orders.append(order)
        if self._settings.mode is not Mode.LIVE:
            self._exchange.submit(order)
        return True

    def _cancel(self, step: Step, trader: TradingAccount, order_id: OrderId, reason: str) -> None:
        if trader.gate.working.ask_cancel(order_id, self._market.now):
            self._hand_on_cancel(step, order_id, reason)

    def _hand_on_cancel(self, step: Step, order_id: OrderId, reason: str) -> None:
        self._lives.ask_cancel(order_id)
        request = CancelOrder(order_id=order_id, ts=self._market.now, reason=reason)
        step.cancels.append(request)
        if self._settings.mode is not Mode.LIVE:
            self._exchange.cancel(request)

    def _replace(self, step: Step, deed: Deed, intent: ReplaceIntent) -> None:
        """Risk knows a change by the id of an order that works already."""
        life = self._lives.life(intent.order_id)
        is_other = life is not None and (
            life.order.instrument != intent.instrument or life.order.account != deed.trader.name
        )
        if life is None or life.cancel_asked or is_other:
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
            effective_ts=self._effective_ts(deed, order.instrument),
        )
        quantity = self._ask(deed, wished, changes=True)
        if quantity:
            request = ReplaceOrder(
                order_id=order.order_id,
                ts=self._market.now,
                quantity=quantity,
                price=intent.price,
                stop_price=intent.stop_price,
            )
            if not self._hand_on_change(step, deed, request, order.instrument):
                deed.trader.gate.working.take_back_change(order.order_id)

    def _hand_on_change(self, step: Step, deed: Deed, request: ReplaceOrder, instrument: InstrumentId) -> bool:
        """An approved change leaves; False, and it does not, where a limit on lots would be broken in spite of every check."""
        books = self._books
        self._lives.ask_replace(request)
        if books.halt_where_broken(step, deed.trader, books.index[instrument], leaving=True):
            self._lives.take_back_change(request.order_id)
            books.halt_where_broken(step, deed.trader, books.index[instrument])
            deed.refused = "limit_broken"
            return False
        step.replaces.append(request)
        if self._settings.mode is not Mode.LIVE:
            self._exchange.replace(request)
        return True


class Deed:
    """What becomes of one intent."""

    __slots__ = ("above", "carries", "checks", "intent", "number", "orders", "place", "refused", "trader", "who")

    def __init__(
        self, number: int, trader: TradingAccount, who: str, intent: Intent, place: int, *, carries: bool
    ) -> None:
        self.number, self.trader, self.who, self.intent, self.carries = number, trader, who, intent, carries
        self.place = place
        """The agent's place among the agents."""
        self.checks: list[CheckedOrder] = []
        self.above: dict[str, list[CheckedOrder]] = {}
        """Those of every account above, from the nearest on."""
        self.orders: list[OrderId] = []
        self.refused = ""

    def note_checks(self, k: int, order_id: int, noted: int) -> None:
        """Keep what the checks found of the order asked about in row ``k``; ``noted`` is the row's own."""
        gate = self.trader.gate
        self.checks.append(checked(gate.account.rows, k, order_id, noted, gate.n))
        for one in gate.chain[1:]:
            self.above.setdefault(one.name, []).append(one.found(k, order_id))
