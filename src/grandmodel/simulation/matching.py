"""What happens to our orders at the simulated venue, compiled. One function per event, leaves below.

What an order type is stands in ``domain.orders.ORDER_TYPES``; what each fills at, and what that ignores, is written out in
``docs/reference/order-types.md``. In short:

- **Bars.** An order decided at or before a bar's open takes part in that bar. At the open: what takes, triggers that the
  open has passed, and limits that the open betters, all at the open. Then, in this order, stops inside the range at their
  trigger, and inside the range again limits at their limit (``TOUCH``: reached; else: passed) and if-touched orders at their
  trigger. So where a stop and a target lie in one bar the stop comes first. A bracket's stop can end a position in the bar of its
  entry; its target cannot, unless the entry was at the open. A trailing stop's trigger stands still inside a bar and follows when the
  bar has closed; where the close shows that it must have been passed on the way, it fills at the worst price of the bar.
  Ignored: latency below one bar, the path inside the bar, our own impact.
- **Quotes and trades.** A taker pays the best opposite price known when the order reaches the venue, up to the displayed
  size (``Liquidity``; where a feed gives no sizes, everything); the rest of a market order waits for the next quote, that of a market-to-limit
  order rests at the price of its first fill. A resting limit fills by ``FillRule``. Triggers look at trades, or at the opposite quote
  where the feed has no trades, and a trailing one follows the same. Ignored: hidden size, levels beyond the best, our own impact on
  what others do.
- **Order book.** As on quotes and trades; under ``QUEUE`` the lots ahead are those that stood at the price when we
  joined, less what left or traded since (``depth.py`` keeps the book). Ignored: implied orders, our own impact.

Everywhere:

- **One cancels other.** Orders of one instrument and one group reduce each other from the moment on at which they are sent: a lot that
  one fills is taken from every other one, and an order with nothing left ends. One that joins later starts whole.
- **A stop never fills better than its trigger**, whatever the quotes or the next open show. A stop-limit whose limit is better
  than its trigger rests at its limit once it has triggered.
- **A reduce-only order** fills no more than takes the position at the venue to zero. Where it meets the market and nothing, or
  nothing more, is left to close, it ends.
- **An iceberg** fills, where the market comes to its price and not beyond, no more than it shows; when that is gone it shows anew, at the
  back of the queue.

Latency: an order, cancel or change meets the market as it was known to us at decision + latency. A feed that arrives late
is itself late in that picture, so set the latency to the round trip: feed delay plus order entry.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.orders import ORDER_TYPES, ExecType, OrderType, PriceReference, Reason, TimeInForce
from grandmodel.domain.report_rows import EXEC_CODES
from grandmodel.domain.time import NEVER_NS
from grandmodel.kernels import kernel
from grandmodel.simulation.state import UNKNOWN_QUEUE, Feed, FillRule, Liquidity, SlotState

Rows = NDArray[np.void]

_ENDED, _PENDING, _WORKING, _STOPPED, _HELD = (int(state) for state in SlotState)
_MARKET, _LIMIT, _MARKET_TO_LIMIT = int(OrderType.MARKET), int(OrderType.LIMIT), int(OrderType.MARKET_TO_LIMIT)
_DAY, _IOC, _FOK = int(TimeInForce.DAY), int(TimeInForce.IOC), int(TimeInForce.FOK)
_TOUCH, _QUEUE = int(FillRule.TOUCH), int(FillRule.QUEUE)
_DISPLAYED = int(Liquidity.DISPLAYED)
_BARS, _BOOK = int(Feed.BARS), int(Feed.BOOK)

_NEW, _TRADE, _CANCELED, _REPLACED, _REJECTED, _EXPIRED, _TRIGGERED = (
    EXEC_CODES[kind]
    for kind in (
        ExecType.NEW, ExecType.TRADE, ExecType.CANCELED, ExecType.REPLACED, ExecType.REJECTED, ExecType.EXPIRED, ExecType.TRIGGERED,
    )
)  # fmt: skip

# Places in ``Reason`` and ``PriceReference``.
_NONE, _ASKED, _OCO, _PARENT, _SESSION_CLOSE, _GOOD_TILL_DATE, _NOT_FILLABLE, _HALTED, _TOO_LATE, _REDUCE_ONLY = (
    list(Reason).index(reason)
    for reason in (
        Reason.NONE, Reason.ASKED, Reason.OCO, Reason.PARENT, Reason.SESSION_CLOSE, Reason.GOOD_TILL_DATE, Reason.NOT_FILLABLE,
        Reason.HALTED, Reason.TOO_LATE, Reason.REDUCE_ONLY,
    )
)  # fmt: skip
_MARKED, _QUOTED, _TRIGGERED_AT = (
    list(PriceReference).index(kind) for kind in (PriceReference.MARK, PriceReference.QUOTE, PriceReference.TRIGGER)
)

_WAITS = np.array([ORDER_TYPES[OrderType(k)].waits if k in ORDER_TYPES else 0 for k in range(max(OrderType) + 1)])
"""``OrderTerms.waits`` by order type: 0 for one that meets the market at once."""
_BECOMES = np.array(
    [int(ORDER_TYPES[OrderType(k)].becomes) if k in ORDER_TYPES else 0 for k in range(max(OrderType) + 1)]
)
"""``OrderTerms.becomes`` by order type."""
_NO_TRIGGER = 2**62
"""Ticks from here to the trigger of a trailing stop that has seen no price yet."""


@kernel
def venue_due(step: Rows, slots: Rows, reports: Rows) -> int:
    """The next time at which the venue does something of its own accord, or a report of it reaches us."""
    due = NEVER_NS
    if step[0].report_head < step[0].report_tail:
        due = reports[step[0].report_head].due
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.state == _ENDED:
            continue
        if slot.state == _PENDING:  # A cancel or change that overtook its order waits for it.
            due = min(due, slot.ts_active, slot.ts_expire)
        else:
            due = min(due, slot.ts_expire, slot.ts_cancel, slot.ts_replace)
    return due


@kernel
def drop_ended(step: Rows, slots: Rows) -> int:
    """Close the gaps that ended orders left, keeping the rest in order of their ids; how many are left."""
    kept = 0
    for k in range(step[0].slots):
        if slots[k].state != _ENDED:
            if kept != k:
                slots[kept] = slots[k]
            kept += 1
    step[0].slots = kept
    return kept


@kernel
def place_order(
    step: Rows,
    slots: Rows,
    order_id: int,
    i: int,
    side: int,
    order_type: int,
    time_in_force: int,
    quantity: int,
    price: int,
    stop_price: int,
    ts: int,
    ts_active: int,
    ts_expire: int,
    report_latency: int,
    slippage: int,
    parent: int,
    oco_group: int,
    reduce_only: int,
    trail: int,
    display: int,
    holding: int,
) -> bool:
    """Put an order decided at ``ts`` into the next slot, where it waits to arrive at ``ts_active``; False where none is free.

    Order ids rise. Prices that the type lacks are 0, as ``parent`` and ``oco_group`` are where there is none; ``display`` is 0 where
    the order shows itself whole. ``holding`` is the row of ``INSTRUMENT`` whose position it moves.
    """
    k = drop_ended(step, slots)
    if k == len(slots):
        return False
    slot = slots[k]
    slot.order_id, slot.instrument = order_id, i
    slot.side, slot.order_type, slot.time_in_force = side, order_type, time_in_force
    slot.state = _HELD if parent != 0 else _PENDING
    slot.quantity, slot.leaves, slot.filled = quantity, 0 if parent != 0 else quantity, 0
    slot.price, slot.stop_price = price, stop_price if trail == 0 else side * _NO_TRIGGER
    slot.trail, slot.display, slot.shown = trail, display, display
    slot.ts_sent, slot.ts_active, slot.ts_expire = ts, ts_active, ts_expire
    slot.ts_cancel = slot.ts_replace = NEVER_NS
    slot.new_quantity = slot.new_price = slot.new_stop = 0
    slot.parent, slot.oco_group = parent, oco_group
    slot.report_latency, slot.slippage = report_latency, slippage
    slot.queue_ahead = slot.rank = slot.resting = slot.fresh_ts = slot.reduced = slot.woken = slot.triggered = 0
    slot.reduce_only, slot.holding = reduce_only, holding
    slot.arrival_price = slot.arrival_kind = 0
    step[0].slots = k + 1
    return True


@kernel
def run_venue(step: Rows, slots: Rows, reports: Rows, instruments: Rows, depth: Rows, ts: int) -> None:
    """Everything that reaches the venue at ``ts``: expiries, then cancels, then changes, then new orders."""
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.state != _ENDED and slot.ts_expire <= ts:
            reason = _SESSION_CLOSE if slot.time_in_force == _DAY else _GOOD_TILL_DATE
            _end(step, slots, k, reports, instruments, ts, _EXPIRED, reason)
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.state != _ENDED and slot.state != _PENDING and slot.ts_cancel <= ts:
            _end(step, slots, k, reports, instruments, ts, _CANCELED, _ASKED)
    for k in range(step[0].slots):
        if slots[k].state != _ENDED and slots[k].state != _PENDING and slots[k].ts_replace <= ts:
            _replace(step, slots, k, reports, instruments, depth, ts)
    for k in range(step[0].slots):
        if slots[k].state == _PENDING and slots[k].ts_active <= ts:
            _activate(step, slots, k, reports, instruments, depth, ts)


@kernel
def match_bar(
    step: Rows,
    slots: Rows,
    reports: Rows,
    instruments: Rows,
    i: int,
    ts_open: int,
    ts_close: int,
    open_: int,
    high: int,
    low: int,
    close: int,
    volume: int,
) -> None:
    """Match one bar of instrument ``i``; the rules are in the module's docstring."""
    budget = NEVER_NS
    if step[0].participation_ppm > 0 and volume >= 0:
        budget = volume * step[0].participation_ppm // 1_000_000

    for k in range(step[0].slots):
        if slots[k].instrument == i and slots[k].ts_sent <= ts_open:
            budget = _at_the_open(step, slots, k, reports, instruments, ts_open, ts_close, open_, budget)
    budget = _bar_stops(step, slots, reports, instruments, i, ts_open, ts_close, high, low, budget, False)
    for k in range(step[0].slots):
        if slots[k].instrument == i and slots[k].ts_sent <= ts_open:
            reached = low if slots[k].side > 0 else high
            budget = _touched_inside(step, slots, k, reports, instruments, ts_close, reached, budget)
            budget = _limit_inside(step, slots, k, reports, instruments, ts_close, reached, budget)
    # The protective stops of entries that have just filled: the low of a bar comes after a buy limit was reached.
    budget = _bar_stops(step, slots, reports, instruments, i, ts_open, ts_close, high, low, budget, True)
    for k in range(step[0].slots):
        if slots[k].instrument == i and slots[k].state == _STOPPED and slots[k].trail > 0:
            budget = _trail_bar(step, slots, k, reports, instruments, ts_open, ts_close, high, low, close, budget)
    for k in range(step[0].slots):
        if slots[k].instrument == i and slots[k].state == _WORKING and slots[k].order_type == _LIMIT:
            slots[k].resting = 1


@kernel
def match_quote(step: Rows, slots: Rows, reports: Rows, instruments: Rows, depth: Rows, i: int, ts: int) -> None:
    """Match the best bid and ask of instrument ``i``, just updated, against our orders."""
    market = instruments[i]
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.instrument != i:
            continue
        if slot.state == _STOPPED and market.trades == 0:
            opposite = market.ask if slot.side > 0 else market.bid
            if opposite != UNDEFINED_PRICE and _starts(step, slots, k, reports, opposite, ts):
                _take(step, slots, k, reports, instruments, depth, ts)
        elif slot.state == _WORKING:
            if slot.order_type != _LIMIT:
                _take(step, slots, k, reports, instruments, depth, ts)
                continue
            opposite = market.ask if slot.side > 0 else market.bid
            if opposite != UNDEFINED_PRICE and (slot.price - opposite) * slot.side >= 0:
                size = market.ask_size if slot.side > 0 else market.bid_size
                lots = _fillable(step, slots, k, reports, instruments, ts)
                if opposite == slot.price:
                    lots = _shown_of(slots, k, lots)
                if step[0].liquidity == _DISPLAYED:
                    lots = min(lots, size)
                if lots > 0:
                    _use_size(step, instruments, i, slot.side, lots)
                    _fill(step, slots, k, reports, instruments, lots, slot.price, ts, 1, ts, ts)
                    _show_anew(slots, k, lots, instruments, depth)
            elif market.feed != _BOOK and step[0].fill_rule == _QUEUE:
                own = market.bid if slot.side > 0 else market.ask
                own_size = market.bid_size if slot.side > 0 else market.ask_size
                if own == UNDEFINED_PRICE or (slot.price - own) * slot.side > 0:
                    slot.queue_ahead = 0  # Everybody at our price has left.
                elif own == slot.price:
                    slot.queue_ahead = min(slot.queue_ahead, own_size)


@kernel
def match_trade(
    step: Rows, slots: Rows, reports: Rows, instruments: Rows, depth: Rows, i: int, ts: int, price: int, size: int
) -> None:
    """Match one trade of ``size`` lots at ``price`` against our orders of instrument ``i``."""
    left = size
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.instrument != i:
            continue
        if slot.state == _STOPPED:
            if _starts(step, slots, k, reports, price, ts):
                _take(step, slots, k, reports, instruments, depth, ts)
        elif slot.state == _WORKING:
            if slot.order_type != _LIMIT:
                _take(step, slots, k, reports, instruments, depth, ts)
                continue
            beyond = (slot.price - price) * slot.side
            available = 0
            if beyond > 0 or (beyond == 0 and step[0].fill_rule == _TOUCH):
                available = left
            elif beyond == 0 and step[0].fill_rule == _QUEUE:
                available = max(0, left - slot.queue_ahead)
                if instruments[i].feed != _BOOK:
                    slot.queue_ahead = max(0, slot.queue_ahead - left)
            if available > 0:
                lots = _fillable(step, slots, k, reports, instruments, ts)
                if beyond == 0:
                    lots = _shown_of(slots, k, lots)
                if step[0].liquidity == _DISPLAYED:
                    lots = min(lots, available)
                    left -= lots
                if lots > 0:
                    _fill(step, slots, k, reports, instruments, lots, slot.price, ts, 1, ts, ts)
                    _show_anew(slots, k, lots, instruments, depth)


@kernel
def _activate(step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, depth: Rows, ts: int) -> None:
    """An order reaches the venue: it is acknowledged, or refused while trading is halted, and meets the market."""
    slot = slots[k]
    market = instruments[slot.instrument]
    immediate = slot.time_in_force == _IOC or slot.time_in_force == _FOK
    takes = _WAITS[slot.order_type] == 0 and slot.order_type != _LIMIT
    if market.halted and (takes or immediate):
        slot.state = _WORKING
        market.active += 1
        _end(step, slots, k, reports, instruments, ts, _REJECTED, _HALTED)
        return
    market.active += 1
    slot.state = _WORKING if _WAITS[slot.order_type] == 0 else _STOPPED
    if takes:
        _note_arrival(slots, k, instruments)
    _report(step, slots, k, reports, ts, _NEW, 0, 0, 0, _NONE)
    slot.ts_replace = max(slot.ts_replace, ts)
    if slot.ts_cancel <= ts:  # The cancel overtook the order.
        _end(step, slots, k, reports, instruments, ts, _CANCELED, _ASKED)
        return
    _meet_market(step, slots, k, reports, instruments, depth, ts)


@kernel
def _note_arrival(slots: Rows, k: int, instruments: Rows) -> None:
    """Keep what a market order finds on arrival: the other side's best price, or the mark where no quotes are known."""
    slot = slots[k]
    market = instruments[slot.instrument]
    opposite = market.ask if slot.side > 0 else market.bid
    if market.feed > _BARS and opposite != UNDEFINED_PRICE:
        slot.arrival_price, slot.arrival_kind = opposite, _QUOTED
    elif market.mark != UNDEFINED_PRICE:
        slot.arrival_price, slot.arrival_kind = market.mark, _MARKED


@kernel
def _meet_market(step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, depth: Rows, ts: int) -> None:
    """An order that has just become live is matched at once where quotes or trades are known; else it waits."""
    slot = slots[k]
    market = instruments[slot.instrument]
    if market.feed <= _BARS:
        slot.queue_ahead = UNKNOWN_QUEUE
        if market.mark != UNDEFINED_PRICE:
            _follow(slots, k, market.mark)
        return
    if 0 < market.session_close <= ts:  # What is known is of a session that has ended: the next row decides.
        slot.queue_ahead = UNKNOWN_QUEUE
        return
    if market.halted:  # Orders may be placed during a halt; a limit takes its place in the queue.
        if slot.state == _WORKING and slot.order_type == _LIMIT:
            _join_queue(slots, k, instruments, depth)
        return
    if slot.state == _STOPPED:
        reference = market.last if market.trades > 0 else (market.ask if slot.side > 0 else market.bid)
        if reference != UNDEFINED_PRICE:
            _starts(step, slots, k, reports, reference, ts)
    if slot.state == _WORKING:
        _take(step, slots, k, reports, instruments, depth, ts)


@kernel
def _take(step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, depth: Rows, ts: int) -> None:
    """Take what the opposite side shows, within the limit; then rest, wait, or end by the time in force."""
    slot = slots[k]
    market = instruments[slot.instrument]
    price = market.ask if slot.side > 0 else market.bid
    size = market.ask_size if slot.side > 0 else market.bid_size
    if price == UNDEFINED_PRICE and market.quotes + market.book_events == 0:
        price = market.last  # A feed of trades only: the last print stands for both sides.
        size = slot.leaves
    lots = 0
    if price != UNDEFINED_PRICE:
        price = _no_better_than_trigger(slots, k, price)
    if slot.order_type == _LIMIT:
        slot.triggered = 0  # From here on it is a limit like any other.
    within = slot.order_type != _LIMIT or (slot.price - price) * slot.side >= 0
    if price != UNDEFINED_PRICE and not market.halted and within:
        lots = _fillable(step, slots, k, reports, instruments, ts)
        if step[0].liquidity == _DISPLAYED:
            lots = min(lots, size)
    if slot.time_in_force == _FOK and lots < slot.leaves:
        lots = 0
    if lots > 0:
        paid = price + slot.slippage * slot.side
        if slot.order_type == _LIMIT and (paid - slot.price) * slot.side > 0:
            paid = slot.price
        _use_size(step, instruments, slot.instrument, slot.side, lots)
        _fill(step, slots, k, reports, instruments, lots, paid, ts, 0, ts, ts)
        _leave_limit(slots, k, paid)
    if slot.state != _WORKING:
        return
    if slot.time_in_force == _IOC or slot.time_in_force == _FOK:
        _end(step, slots, k, reports, instruments, ts, _CANCELED, _NOT_FILLABLE)
    elif slot.order_type == _LIMIT and not slot.resting:
        _join_queue(slots, k, instruments, depth)


@kernel
def _join_queue(slots: Rows, k: int, instruments: Rows, depth: Rows) -> None:
    """Put a limit order at the back of its price level."""
    slot = slots[k]
    market = instruments[slot.instrument]
    slot.resting = 1
    slot.shown = slot.display
    slot.rank = market.book_events
    own = market.bid if slot.side > 0 else market.ask
    opposite = market.ask if slot.side > 0 else market.bid
    if market.feed == _BOOK:
        levels = depth[slot.instrument]
        offset = slot.price - levels.base
        side = 0 if slot.side > 0 else 1
        if levels.ready and 0 <= offset < levels.size.shape[1]:
            slot.queue_ahead = levels.size[side, offset]
        else:
            slot.queue_ahead = UNKNOWN_QUEUE
    elif own == UNDEFINED_PRICE and opposite == UNDEFINED_PRICE:
        slot.queue_ahead = UNKNOWN_QUEUE  # A feed of trades only shows no sizes.
    elif own == UNDEFINED_PRICE or (slot.price - own) * slot.side > 0:
        slot.queue_ahead = 0
    elif own == slot.price:
        slot.queue_ahead = market.bid_size if slot.side > 0 else market.ask_size
    else:
        slot.queue_ahead = UNKNOWN_QUEUE


@kernel
def _bar_stops(
    step: Rows,
    slots: Rows,
    reports: Rows,
    instruments: Rows,
    i: int,
    ts_open: int,
    ts_close: int,
    high: int,
    low: int,
    budget: int,
    fresh: bool,
) -> int:
    """Trigger the stops inside a bar's range (``fresh``: only those that came alive after its open); the budget left."""
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.instrument != i or slot.state != _STOPPED or _WAITS[slot.order_type] < 0:
            continue
        born_inside = slot.fresh_ts == ts_close
        if (fresh and not born_inside) or (not born_inside and slot.ts_sent > ts_open):
            continue
        reached = high if slot.side > 0 else low
        if not _has_reached(slots, k, reached):
            continue
        _trigger(step, slots, k, reports, ts_close)
        if slot.order_type == _LIMIT and (slot.price - slot.stop_price) * slot.side < 0:
            slot.ts_sent = ts_close  # Beyond its limit: it rests, and this bar's path from there is unknown.
        budget = _fill_started(step, slots, k, reports, instruments, slot.stop_price, ts_close, budget)
    return budget


@kernel
def _at_the_open(
    step: Rows,
    slots: Rows,
    k: int,
    reports: Rows,
    instruments: Rows,
    ts_open: int,
    ts_close: int,
    open_: int,
    budget: int,
) -> int:
    """Trigger and fill an order at the open of a bar; the budget left."""
    slot = slots[k]
    if slot.state == _STOPPED:
        if _has_reached(slots, k, open_):
            is_stop = _WAITS[slot.order_type] > 0
            _trigger(step, slots, k, reports, ts_open)
            if is_stop and slot.order_type == _LIMIT and (slot.price - open_) * slot.side < 0:
                slot.ts_sent = ts_close  # Beyond its limit: it rests, and this bar's path from there is unknown.
        else:
            _follow(slots, k, open_)
    if slot.state != _WORKING:
        return budget
    is_limit = slot.order_type == _LIMIT
    if slot.ts_sent <= ts_open and (not is_limit or (slot.price - open_) * slot.side >= 0):
        lots = min(_fillable(step, slots, k, reports, instruments, ts_open), budget)
        if slot.time_in_force == _FOK and lots < slot.leaves:
            lots = 0
        if lots > 0:
            budget -= lots
            price = open_ if is_limit else _no_better_than_trigger(slots, k, open_) + slot.slippage * slot.side
            maker = slot.resting if is_limit else 0  # A stop that wakes again with its parent rests nowhere: it takes.
            _fill(step, slots, k, reports, instruments, lots, price, ts_open, maker, ts_open, ts_close)
            _leave_limit(slots, k, price)
    if slot.state == _WORKING and (slot.time_in_force == _IOC or slot.time_in_force == _FOK):
        _end(step, slots, k, reports, instruments, ts_open, _CANCELED, _NOT_FILLABLE)
    return budget


@kernel
def _limit_inside(
    step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, ts_close: int, reached: int, budget: int
) -> int:
    """Fill a resting limit order that a bar came to as far as ``reached``; the budget left."""
    slot = slots[k]
    if slot.state != _WORKING or slot.order_type != _LIMIT:
        return budget
    beyond = (slot.price - reached) * slot.side
    if beyond > 0 or (beyond == 0 and step[0].fill_rule == _TOUCH):
        lots = min(_fillable(step, slots, k, reports, instruments, ts_close), budget)
        if beyond == 0 and slot.display > 0:
            lots = min(lots, slot.display)
        if lots > 0:
            budget -= lots
            _fill(step, slots, k, reports, instruments, lots, slot.price, ts_close, 1, ts_close, ts_close)
    return budget


@kernel
def _touched_inside(
    step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, ts_close: int, reached: int, budget: int
) -> int:
    """Start an if-touched order that a bar came to as far as ``reached``; the budget left.

    One with a limit that is better than its trigger rests from there on, within this bar: the way to its limit leads past the trigger.
    """
    slot = slots[k]
    if slot.state != _STOPPED or _WAITS[slot.order_type] > 0 or not _has_reached(slots, k, reached):
        return budget
    _trigger(step, slots, k, reports, ts_close)
    return _fill_started(step, slots, k, reports, instruments, slot.stop_price, ts_close, budget)


@kernel
def _fill_started(
    step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, price: int, ts_close: int, budget: int
) -> int:
    """Fill an order that has just started inside a bar at ``price``, where its limit allows; the budget left."""
    slot = slots[k]
    lots = 0
    if slot.order_type != _LIMIT or (slot.price - price) * slot.side >= 0:
        lots = min(_fillable(step, slots, k, reports, instruments, ts_close), budget)
    if slot.time_in_force == _FOK and lots < slot.leaves:
        lots = 0
    if lots > 0:
        budget -= lots
        if slot.order_type != _LIMIT:
            price += slot.slippage * slot.side
        _fill(step, slots, k, reports, instruments, lots, price, ts_close, 0, ts_close, ts_close)
    if slot.state == _WORKING and (slot.time_in_force == _IOC or slot.time_in_force == _FOK):
        _end(step, slots, k, reports, instruments, ts_close, _CANCELED, _NOT_FILLABLE)
    return budget


@kernel
def _trail_bar(
    step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, ts_open: int, ts_close: int, high: int, low: int, close: int,
    budget: int,
) -> int:  # fmt: skip
    """Let a trailing stop follow a bar that has closed; the budget left.

    Where the close lies beyond the new trigger the market came back past it on its way to the close: it has triggered, at a price that
    the bar does not tell, so it fills at the worst. Of a bar that began before the order only the close is known to come after it.
    """
    slot = slots[k]
    if slot.ts_sent > ts_open:
        _follow(slots, k, close)
        return budget
    _follow(slots, k, low if slot.side > 0 else high)
    if not _has_reached(slots, k, close):
        return budget
    _trigger(step, slots, k, reports, ts_close)
    return _fill_started(step, slots, k, reports, instruments, high if slot.side > 0 else low, ts_close, budget)


@kernel
def _has_reached(slots: Rows, k: int, price: int) -> bool:
    """True where ``price`` is at the trigger of a waiting order or beyond it."""
    slot = slots[k]
    return bool((price - slot.stop_price) * slot.side * _WAITS[slot.order_type] >= 0)


@kernel
def _follow(slots: Rows, k: int, price: int) -> None:
    """Move the trigger of a trailing stop to its distance from ``price``, where that is nearer to the market than it stands."""
    slot = slots[k]
    if slot.trail > 0 and (slot.stop_price - price) * slot.side > slot.trail:
        slot.stop_price = price + slot.trail * slot.side


@kernel
def _starts(step: Rows, slots: Rows, k: int, reports: Rows, price: int, ts: int) -> bool:
    """Show ``price`` to a waiting order: True where it starts; a trailing stop that does not follows."""
    if _has_reached(slots, k, price):
        _trigger(step, slots, k, reports, ts)
        return True
    _follow(slots, k, price)
    return False


@kernel
def _trigger(step: Rows, slots: Rows, k: int, reports: Rows, ts: int) -> None:
    """A waiting order becomes what its type says: a market or a limit order."""
    slot = slots[k]
    slot.triggered = _WAITS[slot.order_type] > 0
    slot.order_type = _BECOMES[slot.order_type]
    slot.state = _WORKING
    if slot.trail > 0:
        slot.arrival_price, slot.arrival_kind = slot.stop_price, _TRIGGERED_AT
    _report(step, slots, k, reports, ts, _TRIGGERED, 0, 0, 0, _NONE)


@kernel
def _leave_limit(slots: Rows, k: int, price: int) -> None:
    """What the first fill of a market-to-limit order leaves open is a limit at its price."""
    slot = slots[k]
    if slot.order_type == _MARKET_TO_LIMIT:
        slot.order_type = _LIMIT
        slot.price = price


@kernel
def _shown_of(slots: Rows, k: int, lots: int) -> int:
    """What of ``lots`` an order shows."""
    slot = slots[k]
    return int(lots) if slot.display == 0 else int(min(lots, slot.shown))


@kernel
def _show_anew(slots: Rows, k: int, lots: int, instruments: Rows, depth: Rows) -> None:
    """A resting order has filled ``lots``: an iceberg of which nothing shown is left shows anew, at the back of its level."""
    slot = slots[k]
    if slot.display == 0 or slot.state != _WORKING:
        return
    slot.shown -= lots
    if slot.shown <= 0:
        _join_queue(slots, k, instruments, depth)


@kernel
def _no_better_than_trigger(slots: Rows, k: int, price: int) -> int:
    """``price``, or the trigger where the order is a stop that has triggered and ``price`` is better for it."""
    slot = slots[k]
    if slot.triggered and (slot.stop_price - price) * slot.side > 0:
        return int(slot.stop_price)
    return int(price)


@kernel
def _fillable(step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, ts: int) -> int:
    """The lots that an order which meets the market may fill: all that is open, unless it only reduces.

    A reduce-only order fills no more than takes the venue's position to zero; with nothing to close it ends here.
    """
    slot = slots[k]
    if not slot.reduce_only:
        return int(slot.leaves)
    closable = -instruments[slot.holding].venue_position * slot.side
    if closable <= 0:
        _end(step, slots, k, reports, instruments, ts, _CANCELED, _REDUCE_ONLY)
        return 0
    return int(min(slot.leaves, closable))


@kernel
def _use_size(step: Rows, instruments: Rows, i: int, side: int, lots: int) -> None:
    """Our fill leaves less of the displayed size until the next quote."""
    if step[0].liquidity == _DISPLAYED:
        if side > 0:
            instruments[i].ask_size = max(0, instruments[i].ask_size - lots)
        else:
            instruments[i].bid_size = max(0, instruments[i].bid_size - lots)


@kernel
def _fill(
    step: Rows,
    slots: Rows,
    k: int,
    reports: Rows,
    instruments: Rows,
    lots: int,
    price: int,
    ts_event: int,
    maker: int,
    child_sent: int,
    child_fresh: int,
) -> None:
    """Fill ``lots``: reduce one-cancels-other partners, wake a bracket's children, end the order when nothing is left."""
    slot = slots[k]
    slot.filled += lots
    slot.leaves = _open_lots(slots, k)
    instruments[slot.holding].venue_position += lots * slot.side
    _report(step, slots, k, reports, ts_event, _TRADE, lots, price, maker, _NONE)
    if slot.oco_group != 0:
        for other in range(step[0].slots):
            partner = slots[other]
            if other == k or partner.oco_group != slot.oco_group or partner.instrument != slot.instrument:
                continue
            if partner.state == _ENDED:
                continue
            partner.reduced += lots
            if partner.state == _HELD:
                continue
            partner.leaves = _open_lots(slots, other)
            if partner.leaves == 0:
                if _waits_for_parent(slots, step[0].slots, other):
                    _hold(slots, other, instruments)
                else:
                    _end(step, slots, other, reports, instruments, ts_event, _CANCELED, _OCO)
    for other in range(k + 1, step[0].slots):
        child = slots[other]
        if child.parent == slot.order_id and child.state != _ENDED:
            child.woken += lots
            child.leaves = _open_lots(slots, other)
            if child.state == _HELD and child.leaves > 0:
                child.state = _WORKING if _WAITS[child.order_type] == 0 else _STOPPED
                _follow(slots, other, price)
                child.ts_active = ts_event
                child.ts_sent = child_sent
                child.fresh_ts = child_fresh
                child.queue_ahead = UNKNOWN_QUEUE
                child.resting = 1 if child.state == _WORKING else 0
                instruments[child.instrument].active += 1
                _report(step, slots, other, reports, ts_event, _NEW, 0, 0, 0, _NONE)
    if slot.leaves == 0:
        if _waits_for_parent(slots, step[0].slots, k):
            _hold(slots, k, instruments)
        else:
            slot.state = _ENDED
            instruments[slot.instrument].active -= 1
    elif slot.reduce_only and instruments[slot.holding].venue_position * slot.side >= 0:
        _end(step, slots, k, reports, instruments, ts_event, _CANCELED, _REDUCE_ONLY)


@kernel
def _open_lots(slots: Rows, k: int) -> int:
    """What is left to fill: less what one-cancels-other partners filled, and for a child no more than its parent filled."""
    slot = slots[k]
    most = slot.quantity if slot.parent == 0 else min(slot.quantity, slot.woken)
    return int(max(most - slot.filled - slot.reduced, 0))


@kernel
def _waits_for_parent(slots: Rows, count: int, k: int) -> bool:
    """True where the parent of a child with nothing open can still fill, so that the child waits instead of ending."""
    slot = slots[k]
    if slot.parent == 0 or slot.quantity <= slot.filled + slot.reduced:
        return False
    for other in range(count):
        if slots[other].order_id == slot.parent:
            return bool(slots[other].state != _ENDED and slots[other].leaves > 0)
    return False


@kernel
def _hold(slots: Rows, k: int, instruments: Rows) -> None:
    """Put a bracket's child back to sleep until its parent fills again."""
    slots[k].state = _HELD
    instruments[slots[k].instrument].active -= 1


@kernel
def _end(
    step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, ts: int, exec_type: int, reason: int
) -> None:
    """End an order that did not fill whole; its children that wait for a fill of it end with it."""
    slot = slots[k]
    if slot.state == _WORKING or slot.state == _STOPPED:
        instruments[slot.instrument].active -= 1
    slot.state = _ENDED
    slot.leaves = 0
    _report(step, slots, k, reports, ts, exec_type, 0, 0, 0, reason)
    for other in range(k + 1, step[0].slots):
        child = slots[other]
        if child.parent == slot.order_id and child.state == _HELD:
            child.state = _ENDED
            child.leaves = 0
            _report(step, slots, other, reports, ts, _CANCELED, 0, 0, 0, _PARENT)


@kernel
def _replace(step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, depth: Rows, ts: int) -> None:
    """Apply a change: queue position is kept only where nothing but the size falls."""
    slot = slots[k]
    slot.ts_replace = NEVER_NS
    old_leaves, old_price = slot.leaves, slot.price
    if slot.new_price != UNDEFINED_PRICE:
        slot.price = slot.new_price
    if slot.new_stop != UNDEFINED_PRICE and (not slot.triggered or (slot.new_stop - slot.stop_price) * slot.side > 0):
        slot.stop_price = slot.new_stop  # Of a stop that has triggered the worse of both triggers bounds its fills.
    slot.quantity = slot.new_quantity
    most = slot.quantity - slot.filled - slot.reduced
    if most <= 0:
        _end(step, slots, k, reports, instruments, ts, _CANCELED, _ASKED)
        return
    slot.leaves = _open_lots(slots, k)
    _report(step, slots, k, reports, ts, _REPLACED, 0, 0, 0, _NONE)
    reports[step[0].report_tail - 1].leaves = most  # For a child: what it may fill once its parent has filled.
    if slot.state == _HELD:
        return
    if slot.state == _STOPPED or slot.price != old_price or slot.leaves > old_leaves:
        slot.resting = 0
        slot.ts_sent = ts
        _meet_market(step, slots, k, reports, instruments, depth, ts)


@kernel
def _report(
    step: Rows,
    slots: Rows,
    k: int,
    reports: Rows,
    ts_event: int,
    exec_type: int,
    lots: int,
    price: int,
    maker: int,
    reason: int,
) -> None:
    """Send one report; it reaches us after the order's report latency and never before an earlier one."""
    state = step[0]
    slot = slots[k]
    due = max(ts_event + slot.report_latency, state.now, state.last_report_due)
    state.last_report_due = due
    state.exec_id += 1
    row = reports[state.report_tail]
    state.report_tail += 1
    row.due = due
    row.ts_event = ts_event
    row.exec_id = state.exec_id
    row.order_id = slot.order_id
    row.instrument = slot.instrument
    row.exec_type = exec_type
    row.last_quantity = lots
    row.last_price = price
    row.leaves = slot.leaves
    row.cumulative = slot.filled
    row.maker = maker
    row.reason = reason
    row.arrival_price = slot.arrival_price
    row.arrival_kind = slot.arrival_kind
    state.next_due = min(state.next_due, due)
