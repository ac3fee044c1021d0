"""Orders, what may be asked of a venue, and what it answers. The words are those of FIX.

An ``Order`` is what risk let through; it never changes. Its life is a sequence of ``ExecutionReport`` from the venue,
and its present state is folded from them in ``execution.order_life``. What sets one order type apart from another stands in one
table, ``ORDER_TYPES``: the venue, the rule check and the docs read it there. Values of this room hold no references back, so they are kept
out of the garbage collector's rounds (``gc=False``): a run makes millions of them. Prices are ticks, quantities lots and always
positive, times int64 ns UTC.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.time import NEVER_NS


class Side(enum.IntEnum):
    """FIX 54, with a sign to multiply by."""

    BUY = 1
    SELL = -1


class OrderType(enum.IntEnum):
    """The first four as FIX 40 numbers them. FIX has letters or several fields for the others (``ORDER_TYPES``); their numbers are ours."""

    MARKET = 1
    LIMIT = 2
    STOP = 3
    STOP_LIMIT = 4
    MARKET_IF_TOUCHED = 11
    LIMIT_IF_TOUCHED = 12
    MARKET_TO_LIMIT = 13
    TRAILING_STOP = 14


class OrderTerms(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """What an order type is: the prices it has, what it waits for, and what it is once it waits no longer."""

    fix: str
    """How FIX says it: field and value."""
    has_limit: bool = False
    """It has a ``price``, and never pays more."""
    has_trigger: bool = False
    """It has a ``stop_price``, at which it starts."""
    has_trail: bool = False
    """It has ``trail_ticks``: its trigger follows the market at that distance and never steps back."""
    waits: int = 0
    """1: it starts when the market has gone against its side as far as the trigger (a buy: up); -1: when the market has come towards its
    side (a buy: down); 0: it meets the market at once."""
    becomes: OrderType
    """What it is once it has started: MARKET or LIMIT. A MARKET_TO_LIMIT is itself until its first fill."""
    leaves_limit: bool = False
    """What its first fill leaves open is a limit at the price of that fill."""

    @property
    def may_rest(self) -> bool:
        """True where it may stand in the book, so that it may show only a part of itself."""
        return self.becomes is OrderType.LIMIT or self.leaves_limit

    @property
    def pays_market(self) -> bool:
        """True where its first fill is at whatever price the market has; slippage is its own to pay."""
        return self.becomes is not OrderType.LIMIT

    def fits(self, price: int | None, stop_price: int | None, trail_ticks: int, display_quantity: int) -> bool:
        """True where just the prices that the type has are there, and only what may rest shows less than its whole self."""
        return (
            (price is not None) is self.has_limit
            and (stop_price is not None) is self.has_trigger
            and (trail_ticks > 0 if self.has_trail else trail_ticks == 0)
            and (display_quantity == 0 or (self.may_rest and display_quantity > 0))
        )


ORDER_TYPES: dict[OrderType, OrderTerms] = {
    OrderType.MARKET: OrderTerms(fix="40=1", becomes=OrderType.MARKET),
    OrderType.LIMIT: OrderTerms(fix="40=2", has_limit=True, becomes=OrderType.LIMIT),
    OrderType.STOP: OrderTerms(fix="40=3", has_trigger=True, waits=1, becomes=OrderType.MARKET),
    OrderType.STOP_LIMIT: OrderTerms(fix="40=4", has_limit=True, has_trigger=True, waits=1, becomes=OrderType.LIMIT),
    OrderType.MARKET_IF_TOUCHED: OrderTerms(fix="40=J", has_trigger=True, waits=-1, becomes=OrderType.MARKET),
    OrderType.LIMIT_IF_TOUCHED: OrderTerms(
        fix="40=2, 1101=1, 1102", has_limit=True, has_trigger=True, waits=-1, becomes=OrderType.LIMIT
    ),
    OrderType.MARKET_TO_LIMIT: OrderTerms(fix="40=K", becomes=OrderType.MARKET_TO_LIMIT, leaves_limit=True),
    OrderType.TRAILING_STOP: OrderTerms(
        fix="40=P, 18=a, 836=2, 211", has_trail=True, waits=1, becomes=OrderType.MARKET
    ),
}
"""Every order type and its terms. A new type is a member above and a row here; its rules of filling are in
``simulation/matching.py`` and ``docs/reference/order-types.md``."""


class TimeInForce(enum.IntEnum):
    """FIX 59."""

    DAY = 0
    GTC = 1
    IOC = 3
    FOK = 4
    GTD = 6


class OrdStatus(enum.StrEnum):
    """FIX 39: the states an order passes through."""

    PENDING_NEW = "A"
    NEW = "0"
    PARTIALLY_FILLED = "1"
    FILLED = "2"
    CANCELED = "4"
    PENDING_CANCEL = "6"
    REJECTED = "8"
    EXPIRED = "C"
    PENDING_REPLACE = "E"

    @property
    def is_final(self) -> bool:
        """True where nothing more can happen to the order."""
        return self in _FINAL


_FINAL = frozenset({OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.REJECTED, OrdStatus.EXPIRED})


class PriceReference(enum.StrEnum):
    """The price that a fill's slippage is measured from; each kind of order has its own."""

    NONE = ""
    """None: no order asked for the fill, or the price is not known."""
    TRIGGER = "trigger"
    """Of an order that waits for its trigger: how far beyond it filled. Of a trailing stop, where the trigger stood at last."""
    LIMIT = "limit"
    """Of a limit order: its own price, so that slippage is never above 0."""
    QUOTE = "quote"
    """Of a market order: the best price of the other side when it reached the venue."""
    MARK = "mark"
    """Of a market order where no quotes are known: the mark when it reached the venue."""


class ExecType(enum.StrEnum):
    """FIX 150: why a report was sent."""

    NEW = "0"
    CANCELED = "4"
    REPLACED = "5"
    REJECTED = "8"
    EXPIRED = "C"
    TRADE = "F"
    TRIGGERED = "L"
    CANCEL_REJECTED = "9"


class Reason(enum.StrEnum):
    """Why a venue or the engine ended or refused an order."""

    NONE = ""
    ASKED = "asked"
    """The engine asked for the cancel."""
    OCO = "oco"
    """The other orders of a one-cancels-other group filled as much; one that ends without a fill leaves the others."""
    PARENT = "parent"
    """The parent of a bracket ended without a fill."""
    SESSION_CLOSE = "session_close"
    GOOD_TILL_DATE = "good_till_date"
    NOT_FILLABLE = "not_fillable"
    """IOC remainder, or FOK that the market could not fill whole."""
    HALTED = "halted"
    OUT_OF_SESSION = "out_of_session"
    UNKNOWN_ORDER = "unknown_order"
    TOO_LATE = "too_late"
    """A cancel or change of an order that had already ended."""
    INVALID = "invalid"
    REDUCE_ONLY = "reduce_only"
    """A reduce-only order met the market and the position that it could close was gone."""


Tag: TypeAlias = str | tuple[str, str]
"""The tag of an order, with its account where that is not the run's own."""


class Order(msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One order as risk approved it."""

    order_id: OrderId
    instrument: InstrumentId
    side: Side
    quantity: int
    order_type: OrderType
    ts: int
    """When the engine decided it."""
    effective_ts: int = 0
    """FIX 168: the venue has it no sooner; the open of the next session for an order decided while the market is closed. 0: at once."""
    price: int | None = None
    """Limit, in ticks; present where the type ``has_limit`` (``ORDER_TYPES``), and only there."""
    stop_price: int | None = None
    """Trigger, in ticks; present where the type ``has_trigger``, and only there."""
    trail_ticks: int = 0
    """How far the trigger follows behind the market, in ticks; above 0 where the type ``has_trail``, and only there."""
    display_quantity: int = 0
    """FIX 1138 (before 5.0: 111, MaxFloor): an iceberg shows so many lots at a time. 0: it shows itself whole."""
    time_in_force: TimeInForce = TimeInForce.DAY
    expire_ts: int = NEVER_NS
    """For GTD."""
    parent: OrderId | None = None
    """A bracket's child: it starts when the parent fills, with as many lots as the parent filled."""
    oco_group: int = 0
    """Orders of one instrument and one group other than 0 reduce each other (``domain/groups.py``). Below 0: a bracket's own."""
    reduce_only: bool = False
    """It closes and never opens: the venue fills no more than takes the position to zero, and ends the rest."""
    intent: int = 0
    """Number of the intent it comes from."""
    tag: str = ""
    """``entry``, ``stop``, ``target``, ``flatten``: for people."""
    account: str = ""
    """FIX 1: whose order it is, where accounts trade below the run's own; empty: that one's."""


class CancelOrder(msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cancel"):
    """Ask the venue to cancel what is left of an order."""

    order_id: OrderId
    ts: int
    reason: str = ""


class ReplaceOrder(msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="replace"):
    """Ask the venue to change an order's total quantity and prices; queue position is lost unless only the size falls."""

    order_id: OrderId
    ts: int
    quantity: int
    price: int | None = None
    stop_price: int | None = None


class ExecutionReport(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What a venue says of one order, once."""

    exec_id: ExecId
    order_id: OrderId
    exec_type: ExecType
    ts_event: int
    """When it happened at the venue."""
    ts_init: int
    """When we could first know it."""
    last_quantity: int = 0
    last_price: int = 0
    """Lots and ticks of this fill; 0 unless ``exec_type`` is TRADE."""
    leaves: int = 0
    """Lots still open after this report."""
    cumulative: int = 0
    """Lots filled in all."""
    maker: bool = False
    """True where the fill provided liquidity."""
    reason: Reason = Reason.NONE
    arrival_price: int | None = None
    """What stood in the market when a market order reached the venue, in ticks; on its TRADE reports, where the venue tells."""
    arrival_reference: PriceReference = PriceReference.NONE
    """``QUOTE`` or ``MARK``: which price that is."""


class Fill(msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fill as it enters the ledger: quantity positive with a side, price in ticks, fee in micros (a rebate below 0)."""

    exec_id: ExecId
    order_id: OrderId
    instrument: InstrumentId
    side: Side
    quantity: int
    price: int
    fee_micros: int
    ts_event: int
    ts_init: int
    maker: bool = False
    reference_price: int | None = None
    """The mark when the order was decided, in ticks; delay is measured from it."""
    tag: str = ""
    slippage_from: int | None = None
    """The price that slippage is measured from, in ticks: trigger, limit, or the market at arrival; None where there is none."""
    slippage_reference: PriceReference = PriceReference.NONE
    """Which of them it is."""
    account: str = ""
    """Whose fill it is, as of an ``Order``."""

    @property
    def signed_quantity(self) -> int:
        """Lots, positive for a buy."""
        return self.quantity * int(self.side)

    @property
    def slippage_ticks(self) -> int | None:
        """What one lot cost against ``slippage_from``, positive is a cost; None where that is not known."""
        if self.slippage_from is None:
            return None
        return (self.price - self.slippage_from) * int(self.side)

    @property
    def delay_ticks(self) -> int | None:
        """What the way from the mark at the decision to ``slippage_from`` cost one lot: waiting for a trigger, a limit or the venue.

        Delay and slippage add up to the whole way from the decision to the fill. Against a quote it holds the part of the spread
        between the mark and the side that a taker pays.
        """
        if self.slippage_from is None or self.reference_price is None:
            return None
        return (self.slippage_from - self.reference_price) * int(self.side)
