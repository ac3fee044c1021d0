"""Orders, what may be asked of a venue, and what it answers. The words are those of FIX.

An ``Order`` is what risk let through; it never changes. Its life is a sequence of ``ExecutionReport`` from the venue,
and its present state is folded from them in ``execution.order_life``. Values of this room hold no references back, so they are kept
out of the garbage collector's rounds (``gc=False``): a run makes millions of them. Prices are ticks, quantities lots and always
positive, times int64 ns UTC.
"""

from __future__ import annotations

import enum

import msgspec

from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.time import NEVER_NS


class Side(enum.IntEnum):
    """FIX 54, with a sign to multiply by."""

    BUY = 1
    SELL = -1


class OrderType(enum.IntEnum):
    """FIX 40."""

    MARKET = 1
    LIMIT = 2
    STOP = 3
    STOP_LIMIT = 4


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
    """Of a stop or stop-limit order: how far beyond its trigger it filled."""
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
    """Limit, in ticks; present for LIMIT and STOP_LIMIT only."""
    stop_price: int | None = None
    """Trigger, in ticks; present for STOP and STOP_LIMIT only."""
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
