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
  size (``Liquidity``; where a feed gives no sizes, everything) less what we took there before; the rest waits for a quote that shows more, that of a
  market-to-limit order rests at the price of its first fill. A resting limit fills by ``FillRule``. Triggers look at trades, or at the
  opposite quote where the feed has no trades, and a trailing one follows the same; what starts meets the market after the event. Feeds of trades alone:
  the last print and half a spread. Ignored: hidden size, levels beyond the best, our own impact on what others do.
- **Order book.** As on quotes and trades, but takers walk its levels; under ``QUEUE`` the lots ahead are those that stood at the price when we
  joined, less what left or traded since (``depth.py`` keeps the book). Inside an event of several messages nothing is let in. Ignored:
  implied orders, our own impact.

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

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE, BookSide
from grandmodel.domain.orders import ORDER_TYPES, ExecType, OrderType, PriceReference, Reason, TimeInForce
from grandmodel.domain.report_rows import EXEC_CODES
from grandmodel.domain.time import NEVER_NS
from grandmodel.kernels import kernel
from grandmodel.simulation.depth import is_crossed, next_offer, take_offer
from grandmodel.simulation.state import (
    CHANGES_UNDER_WAY,
    HIDDEN_LEVELS,
    UNKNOWN_QUEUE,
    Feed,
    FillRule,
    Liquidity,
    SlotState,
)

Rows = NDArray[np.void]
Row = Any
"""One row of a structured array inside compiled code; numpy has no type for its fields."""

_ENDED, _ANSWERING, _PENDING, _WORKING, _STOPPED, _HELD = (int(state) for state in SlotState)
_MARKET, _LIMIT, _MARKET_TO_LIMIT = int(OrderType.MARKET), int(OrderType.LIMIT), int(OrderType.MARKET_TO_LIMIT)
_DAY, _IOC, _FOK = int(TimeInForce.DAY), int(TimeInForce.IOC), int(TimeInForce.FOK)
_TOUCH, _THROUGH, _QUEUE = (int(rule) for rule in FillRule)
_DISPLAYED = int(Liquidity.DISPLAYED)
_BARS, _BOOK = int(Feed.BARS), int(Feed.BOOK)
_BUYER, _SELLER = int(BookSide.BID), int(BookSide.ASK)

_NEW, _TRADE, _CANCELED, _REPLACED, _REJECTED, _EXPIRED, _TRIGGERED, _CANCEL_REJECTED = (
    EXEC_CODES[kind]
    for kind in (
        ExecType.NEW, ExecType.TRADE, ExecType.CANCELED, ExecType.REPLACED, ExecType.REJECTED, ExecType.EXPIRED, ExecType.TRIGGERED,
        ExecType.CANCEL_REJECTED,
    )
)  # fmt: skip

# Places in ``Reason`` and ``PriceReference``.
(
    _NONE, _ASKED, _OCO, _PARENT, _SESSION_CLOSE, _GOOD_TILL_DATE, _NOT_FILLABLE, _HALTED, _OUT_OF_SESSION, _TOO_LATE, _REDUCE_ONLY,
) = (
    list(Reason).index(reason)
    for reason in (
        Reason.NONE, Reason.ASKED, Reason.OCO, Reason.PARENT, Reason.SESSION_CLOSE, Reason.GOOD_TILL_DATE, Reason.NOT_FILLABLE,
        Reason.HALTED, Reason.OUT_OF_SESSION, Reason.TOO_LATE, Reason.REDUCE_ONLY,
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
LEVELS_WALKED = 128
"""Levels of a book that one order takes in one event; it goes on with the next."""
PRINT_DELAY_NS = 1_000_000_000
"""A print tells of lots that left the quote up to so long before it."""
_QUOTE_AGE_NS = 60_000_000_000
"""Against an older quote no print is far."""
_FAR_SPREADS = 10
"""A print nearer to the quote than so many spreads is not far from it."""


@kernel(inline=True)
def report_room(slot_count: int) -> int:
    """The reports that one event can make at most."""
    return (LEVELS_WALKED + 8) * slot_count + 16


@kernel
def venue_due(step: Rows, slots: Rows, reports: Rows, instruments: Rows) -> int:
    """The next time at which the venue does something of its own accord, or a report of it reaches us."""
    due = NEVER_NS
    if step[0].report_head < step[0].report_tail:
        due = reports[step[0].report_head].due
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.state == _ENDED:
            continue
        if slot.state == _PENDING:  # A cancel or change of an order that is held for a session waits for it.
            next_of_it = min(slot.ts_active, slot.ts_expire)
        elif slot.state == _ANSWERING:
            next_of_it = min(slot.ts_cancel, slot.ts_replace)
        else:
            next_of_it = min(slot.ts_expire, slot.ts_cancel, slot.ts_replace)
        due = min(due, max(next_of_it, instruments[slot.instrument].admits_at))
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
    for place in range(CHANGES_UNDER_WAY):
        slot.later[place, 0] = NEVER_NS
        slot.later[place, 1] = slot.later[place, 2] = slot.later[place, 3] = 0
    slot.parent, slot.oco_group = parent, oco_group
    slot.report_latency, slot.slippage = report_latency, slippage
    slot.queue_ahead = slot.rank = slot.credit = slot.credit_ts = slot.vacant = 0
    slot.resting = slot.fresh_ts = slot.reduced = slot.woken = slot.triggered = 0
    slot.reduce_only, slot.holding = reduce_only, holding
    slot.arrival_price = slot.arrival_kind = 0
    step[0].slots = k + 1
    return True


@kernel
def run_venue(step: Rows, slots: Rows, reports: Rows, instruments: Rows, depth: Rows, ts: int) -> None:
    """Everything that reaches the venue at ``ts``: expiries, then cancels, then changes, then new orders.

    Inside an event of several messages nothing of its instrument is let in.
    """
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.state > _ANSWERING and slot.ts_expire <= ts and instruments[slot.instrument].admits_at <= ts:
            reason = _SESSION_CLOSE if slot.time_in_force == _DAY else _GOOD_TILL_DATE
            _end(step, slots, k, reports, instruments, ts, _EXPIRED, reason)
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.ts_cancel <= ts and instruments[slot.instrument].admits_at <= ts:
            if slot.state == _ANSWERING:
                slot.ts_cancel = NEVER_NS
                _answer(step, slots, k, reports, ts)
            elif slot.state > _PENDING:
                slot.ts_cancel = NEVER_NS
                _end(step, slots, k, reports, instruments, ts, _CANCELED, _ASKED)
    for k in range(step[0].slots):
        slot = slots[k]
        if instruments[slot.instrument].admits_at > ts:
            continue
        while slot.ts_replace <= ts and (slot.state == _ANSWERING or slot.state > _PENDING):
            if slot.state == _ANSWERING:
                _next_change(slots, k)
                _answer(step, slots, k, reports, ts)
            else:
                _replace(step, slots, k, reports, instruments, depth, ts)
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.state == _PENDING and slot.ts_active <= ts and instruments[slot.instrument].admits_at <= ts:
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
    """Match the quote or the book of instrument ``i``, just updated, against our orders."""
    market = instruments[i]
    sees_queues = market.feed != _BOOK and step[0].fill_rule == _QUEUE
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.instrument != i:
            continue
        if slot.state == _WORKING and slot.order_type == _LIMIT and slot.resting:
            opposite = market.ask if slot.side > 0 else market.bid
            if opposite != UNDEFINED_PRICE and (slot.price - opposite) * slot.side >= 0:
                _meet_other_side(step, slots, k, reports, instruments, depth, opposite == slot.price, ts)
            elif sees_queues:
                _see_queue(slot, market, ts)
        elif slot.state == _WORKING:
            _take(step, slots, k, reports, instruments, depth, ts)
        elif slot.state == _STOPPED and market.trades == 0:
            opposite = market.ask if slot.side > 0 else market.bid
            if opposite != UNDEFINED_PRICE and _starts(step, slots, k, reports, opposite, ts):
                _take(step, slots, k, reports, instruments, depth, ts)


@kernel
def _meet_other_side(
    step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, depth: Rows, is_at: bool, ts: int
) -> None:
    """The other side has come to a resting order's price (``is_at``) or beyond it: it fills at its own."""
    slot = slots[k]
    lots = _fillable(step, slots, k, reports, instruments, ts)
    if is_at:
        lots = _shown_of(slots, k, lots)
    lots = _sweep(step, instruments, depth, slot.instrument, slot.side, slot.price, lots)
    if lots > 0:
        _fill(step, slots, k, reports, instruments, lots, slot.price, ts, 1, ts, ts)
        _show_anew(slots, k, lots, instruments, depth)


@kernel
def _see_queue(slot: Row, market: Row, ts: int) -> None:
    """Move a resting order up by what the quote shows at its price: no more stand before it than are there.

    What left may have traded: a print that tells of it later is not counted again. A level that one quote does not show
    has emptied only when the next does not show it either.
    """
    own = market.bid if slot.side > 0 else market.ask
    left = slot.queue_ahead
    if own == slot.price:
        slot.vacant = 0
        left = min(left, market.bid_size if slot.side > 0 else market.ask_size)
    elif own == UNDEFINED_PRICE or (slot.price - own) * slot.side > 0:
        slot.vacant += 1
        if slot.vacant > 1:
            left = 0
    else:
        slot.vacant = 0
    if left < slot.queue_ahead:
        if ts - slot.credit_ts > PRINT_DELAY_NS:
            slot.credit = 0
        if slot.queue_ahead < UNKNOWN_QUEUE:
            slot.credit += slot.queue_ahead - left
            slot.credit_ts = ts
        slot.queue_ahead = left


@kernel
def match_trade(
    step: Rows, slots: Rows, reports: Rows, instruments: Rows, depth: Rows, i: int, ts: int, price: int, size: int, aggressor: int,
    is_whole: bool,
) -> None:  # fmt: skip
    """Match one trade of ``size`` lots at ``price`` against our orders of instrument ``i``; ``aggressor`` is a ``BookSide``.

    ``is_whole``: the quote after it comes with it, so that no quote before has told of it.

    It fills what rests and starts what waits. What starts or takes meets the market after the event, in ``match_quote``; here only where a
    feed shows nothing but trades.
    """
    market = instruments[i]
    left, fill_rule = size, step[0].fill_rule
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.instrument != i:
            continue
        if slot.state == _WORKING and slot.order_type == _LIMIT and slot.resting:
            beyond = (slot.price - price) * slot.side
            if beyond > 0:
                left -= _fill_by_trade(step, slots, k, reports, instruments, depth, left, False, ts)
            elif beyond == 0 and fill_rule != _THROUGH and aggressor != (_BUYER if slot.side > 0 else _SELLER):
                # Who comes from our own side trades with the other one.
                available = left if fill_rule == _TOUCH else _pass_queue(slot, left, ts, market.feed == _BOOK, is_whole)
                left -= _fill_by_trade(step, slots, k, reports, instruments, depth, available, True, ts)
        elif slot.state == _STOPPED:
            _starts(step, slots, k, reports, price, ts)
    if _is_alone(market):
        for k in range(step[0].slots):
            slot = slots[k]
            if slot.instrument == i and slot.state == _WORKING and not (slot.order_type == _LIMIT and slot.resting):
                _take(step, slots, k, reports, instruments, depth, ts)


@kernel
def _fill_by_trade(
    step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, depth: Rows, available: int, is_at: bool, ts: int
) -> int:  # fmt: skip
    """Fill a resting order from a trade of which ``available`` lots reach it, at its price (``is_at``) or beyond; lots used up of the trade."""
    if available <= 0:
        return 0
    slot = slots[k]
    lots = _fillable(step, slots, k, reports, instruments, ts)
    if is_at:
        lots = _shown_of(slots, k, lots)
    used = 0
    if step[0].liquidity == _DISPLAYED:
        lots = used = min(lots, available)
    if lots > 0:
        _fill(step, slots, k, reports, instruments, lots, slot.price, ts, 1, ts, ts)
        _show_anew(slots, k, lots, instruments, depth)
    return int(used)


@kernel
def _pass_queue(slot: Row, lots: int, ts: int, is_book: bool, is_whole: bool) -> int:
    """Let a print of ``lots`` at a resting order's price go through its queue; how many reach the order.

    In a book the queue moves with the messages that follow the print; on quotes with the print, less what a quote has told of before.
    """
    if is_book:
        return int(max(0, lots - slot.queue_ahead))
    if not is_whole and slot.credit > 0 and ts - slot.credit_ts <= PRINT_DELAY_NS:
        told = min(lots, slot.credit)
        slot.credit -= told
        lots -= told
    reach = max(0, lots - slot.queue_ahead)
    if slot.queue_ahead < UNKNOWN_QUEUE:
        slot.queue_ahead = max(0, slot.queue_ahead - lots)
    return int(reach)


@kernel
def rejoin_queues(step: Rows, slots: Rows, instruments: Rows, depth: Rows, i: int, is_known: bool) -> None:
    """After a book was cleared: our places in its queues are unknown, and, once the book ``is_known`` again, behind all that stands there."""
    for k in range(step[0].slots):
        slot = slots[k]
        if slot.instrument == i and slot.state == _WORKING and slot.order_type == _LIMIT and slot.resting:
            if is_known:
                shown = slot.shown
                _join_queue(slots, k, instruments, depth)
                slot.shown = shown
            else:
                slot.queue_ahead = UNKNOWN_QUEUE
    instruments[i].rejoins = 0 if is_known else 1


# What the two sides of a quote show, in rows of ``INSTRUMENT``.


@kernel(inline=True)
def note_gone(market: Row, bid: int, bid_size: int, ask: int, ask_size: int, ts: int) -> None:
    """A new quote: keep how many lots left the present one of which no print has told."""
    # Without branches: which way a quote goes cannot be foretold.
    old, gone = market.bid, market.bid_gone
    left = market.bid_size - market.bid_eaten - (bid_size if bid == old else 0)
    is_less = (left > 0) & (old != UNDEFINED_PRICE) & ((bid <= old) | (bid == UNDEFINED_PRICE))
    is_on = (market.bid_gone_price == old) & (ts - market.bid_gone_ts <= PRINT_DELAY_NS)
    left += gone if is_on else 0
    market.bid_gone = left if is_less else gone
    market.bid_gone_price = old if is_less else market.bid_gone_price
    market.bid_gone_ts = ts if is_less else market.bid_gone_ts
    old, gone = market.ask, market.ask_gone
    left = market.ask_size - market.ask_eaten - (ask_size if ask == old else 0)
    is_less = (left > 0) & (old != UNDEFINED_PRICE) & (ask >= old)  # Undefined is the highest of all.
    is_on = (market.ask_gone_price == old) & (ts - market.ask_gone_ts <= PRINT_DELAY_NS)
    left += gone if is_on else 0
    market.ask_gone = left if is_less else gone
    market.ask_gone_price = old if is_less else market.ask_gone_price
    market.ask_gone_ts = ts if is_less else market.ask_gone_ts


@kernel
def keep_takings(market: Row, bid: int, bid_size: int, ask: int, ask_size: int) -> None:
    """A new quote, while we have taken something of earlier ones: what of it is still there."""
    market.takings = 0
    for which in range(2):
        price, size = (bid, bid_size) if which == 0 else (ask, ask_size)
        if price != UNDEFINED_PRICE:
            _keep_side(market, which, price, size)
        if market.taken[which] > 0 or market.hidden[which] > 0:
            market.takings = 1


@kernel
def _keep_side(market: Row, which: int, price: int, size: int) -> None:
    """One side shows ``size`` lots at ``price``: better levels are empty, worse ones may be covered, and no more is ours than is there."""
    sign = 1 if which == 0 else -1
    touch, count = market.touch[which], market.hidden[which]
    if touch != price:
        if touch != UNDEFINED_PRICE and (price - touch) * sign > 0:
            if market.taken[which] > 0:  # The level is covered, and still there.
                if count == HIDDEN_LEVELS:
                    count -= 1
                    for place in range(count):
                        market.hidden_price[which, place] = market.hidden_price[which, place + 1]
                        market.hidden_taken[which, place] = market.hidden_taken[which, place + 1]
                market.hidden_price[which, count] = touch
                market.hidden_taken[which, count] = market.taken[which]
                count += 1
            market.taken[which] = 0
        else:
            while count > 0 and (market.hidden_price[which, count - 1] - price) * sign > 0:
                count -= 1
            market.taken[which] = 0
            if count > 0 and market.hidden_price[which, count - 1] == price:
                count -= 1
                market.taken[which] = market.hidden_taken[which, count]
        market.hidden[which] = count
        market.touch[which] = price
    market.taken[which] = min(market.taken[which], size)


@kernel(inline=True)
def eat_touch(market: Row, price: int, size: int, aggressor: int, ts: int) -> None:
    """A print uses up what the quote shows, until the next quote: orders that come between the two do not get it."""
    hits = aggressor != _BUYER
    is_told = hits & (market.bid_gone_price == price) & (ts - market.bid_gone_ts <= PRINT_DELAY_NS)
    told = min(size, market.bid_gone) if is_told else 0
    market.bid_gone -= told
    lots = market.bid_eaten + size - told if price == market.bid else market.bid_size
    is_eaten = hits & (told < size) & (price <= market.bid) & (market.bid != UNDEFINED_PRICE)
    market.bid_eaten = min(market.bid_size, lots) if is_eaten else market.bid_eaten
    hits = aggressor != _SELLER
    is_told = hits & (market.ask_gone_price == price) & (ts - market.ask_gone_ts <= PRINT_DELAY_NS)
    told = min(size, market.ask_gone) if is_told else 0
    market.ask_gone -= told
    lots = market.ask_eaten + size - told if price == market.ask else market.ask_size
    is_eaten = hits & (told < size) & (price >= market.ask)  # Undefined is beyond every price.
    market.ask_eaten = min(market.ask_size, lots) if is_eaten else market.ask_eaten


@kernel
def forget_quotes(market: Row) -> None:
    """The quotes of a session that has ended are nobody's any more."""
    market.bid = market.ask = UNDEFINED_PRICE
    market.bid_eaten = market.ask_eaten = market.bid_gone = market.ask_gone = market.takings = 0
    for which in range(2):
        market.taken[which] = market.hidden[which] = 0


@kernel
def is_far(market: Row, price: int, ppm: int, ts: int) -> bool:
    """True for a print that lies beyond the last quote by more than ``ppm`` millionths of its price and more than ten of its spreads."""
    bid, ask = market.bid, market.ask
    if ppm == 0 or bid == UNDEFINED_PRICE or ask == UNDEFINED_PRICE or ts - market.quote_ts > _QUOTE_AGE_NS:
        return False
    beyond = max(bid - price, price - ask)
    if beyond <= _FAR_SPREADS * (ask - bid):
        return False
    return bool(beyond > 0 and float(beyond) * 1e6 > float(ppm) * float(abs(bid)))


@kernel
def _left_at_touch(market: Row, which: int) -> int:
    """What one side of the quote offers us: what it shows, less what prints have used up since and what we took before."""
    taken = market.taken[which] if market.takings else 0
    if which == 0:
        return int(max(0, market.bid_size - market.bid_eaten - taken))
    return int(max(0, market.ask_size - market.ask_eaten - taken))


@kernel
def _is_closed(market: Row, ts: int) -> bool:
    """True where trades or quotes are known and no session is on."""
    ended = market.session_close
    return bool(market.feed > _BARS and ended > 0 and (ts < market.session_open or ended <= ts < market.next_open))


@kernel
def _activate(step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, depth: Rows, ts: int) -> None:
    """An order reaches the venue: it is acknowledged, or refused while trading is halted, and meets the market."""
    slot = slots[k]
    market = instruments[slot.instrument]
    immediate = slot.time_in_force == _IOC or slot.time_in_force == _FOK
    takes = _WAITS[slot.order_type] == 0 and slot.order_type != _LIMIT
    refused = _NONE
    if market.halted and (immediate or (takes and slot.parent == 0)):
        refused = _HALTED
    elif immediate and _is_closed(market, ts):
        refused = _OUT_OF_SESSION
    market.active += 1
    if refused != _NONE:
        slot.state = _WORKING
        _end(step, slots, k, reports, instruments, ts, _REJECTED, refused)
        return
    slot.state = _WORKING if _WAITS[slot.order_type] == 0 else _STOPPED
    if takes and not slot.triggered:
        _note_arrival(slots, k, instruments, ts)
    _report(step, slots, k, reports, ts, _NEW, 0, 0, 0, _NONE)
    slot.ts_replace = max(slot.ts_replace, ts)
    if slot.ts_cancel <= ts:  # The cancel was there before the order began.
        slot.ts_cancel = NEVER_NS
        _end(step, slots, k, reports, instruments, ts, _CANCELED, _ASKED)
        return
    _meet_market(step, slots, k, reports, instruments, depth, ts)


@kernel
def _note_arrival(slots: Rows, k: int, instruments: Rows, ts: int) -> None:
    """Keep what a market order finds on arrival: the other side's best price, or the mark where no quotes are known."""
    slot = slots[k]
    market = instruments[slot.instrument]
    opposite = market.ask if slot.side > 0 else market.bid
    if market.feed > _BARS and opposite != UNDEFINED_PRICE and not _is_closed(market, ts):
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
    if (0 < market.session_close <= ts) or ts < market.session_open:
        # What is known is of a session that has ended: the first row of the next one decides.
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
    """Take what the opposite side shows, level by level, within the limit; then rest, wait, or end by the time in force."""
    slot = slots[k]
    i, side = slot.instrument, slot.side
    which = 1 if side > 0 else 0
    is_limit = slot.order_type == _LIMIT
    price, left, level, spread = _first_offer(step, slots, k, instruments, depth)
    want, walked = 0, 0
    paid = price
    if price != UNDEFINED_PRICE:
        paid = _no_better_than_trigger(slots, k, price) + spread * side
        if not instruments[i].halted and (not is_limit or (slot.price - paid) * side >= 0):
            want = _fillable(step, slots, k, reports, instruments, ts)
            if slot.time_in_force == _FOK and not _fits_whole(step, slots, k, depth, level, left, want):
                want = 0
    while want > 0 and left > 0:
        lots = min(want, left)
        if step[0].liquidity == _DISPLAYED and not _is_alone(instruments[i]):
            _use_size(instruments, depth, i, which, level, lots)
        paid += slot.slippage * side
        if is_limit and (paid - slot.price) * side > 0:
            paid = slot.price
        _fill(step, slots, k, reports, instruments, lots, paid, ts, 0, ts, ts)
        want -= lots
        walked += 1
        if slot.order_type == _MARKET_TO_LIMIT:
            _leave_limit(slots, k, paid)
            break
        if level < 0 or step[0].liquidity != _DISPLAYED or slot.state != _WORKING or walked == LEVELS_WALKED:
            break
        level = next_offer(depth, i, which, level)
        if level < 0:
            break
        paid = _no_better_than_trigger(slots, k, depth[i].base + level)
        if is_limit and (slot.price - paid) * side < 0:
            break
        left = depth[i].size[which, level] - depth[i].taken[which, level]
    if slot.state != _WORKING:
        return
    if slot.time_in_force == _IOC or slot.time_in_force == _FOK:
        _end(step, slots, k, reports, instruments, ts, _CANCELED, _NOT_FILLABLE)
    elif slot.order_type == _LIMIT and not (is_limit and _goes_on(step, slots, k, instruments, price, walked)):
        _join_queue(slots, k, instruments, depth)


@kernel
def _is_alone(market: Row) -> bool:
    """True for a feed of trades only: the last print stands for both sides, half a spread away."""
    return bool(market.quoted == 0 and market.feed != _BOOK)


@kernel
def _first_offer(step: Rows, slots: Rows, k: int, instruments: Rows, depth: Rows) -> tuple[int, int, int, int]:
    """The nearest price at which an order can take: price, lots there, level of the book (-1: no book), ticks of spread to pay beyond it.

    ``UNDEFINED_PRICE`` where there is none, or where a book is crossed.
    """
    slot = slots[k]
    i, which = slot.instrument, 1 if slot.side > 0 else 0
    market = instruments[i]
    is_shown = step[0].liquidity == _DISPLAYED
    if market.feed == _BOOK:
        level = -1 if is_crossed(depth, i) else next_offer(depth, i, which, depth[i].best[which])
        if level < 0:
            return UNDEFINED_PRICE, 0, -1, 0
        left = depth[i].size[which, level] - depth[i].taken[which, level]
        return depth[i].base + level, left if is_shown else slot.leaves, level, 0
    if _is_alone(market):
        return market.last, slot.leaves, -1, step[0].half_spread
    left = _left_at_touch(market, which) if is_shown else slot.leaves
    return market.ask if which == 1 else market.bid, left, -1, 0


@kernel
def _goes_on(step: Rows, slots: Rows, k: int, instruments: Rows, price: int, walked: int) -> bool:
    """True where a limit order that has taken what ``price`` offered is not at its end: more may stand behind, within its limit.

    Of a quote only the best level is shown, so the next quote tells; of a book only so many levels are walked at once.
    """
    slot = slots[k]
    market = instruments[slot.instrument]
    if market.feed == _BOOK:
        return bool(walked == LEVELS_WALKED)
    if step[0].liquidity != _DISPLAYED or price == UNDEFINED_PRICE or _is_alone(market):
        return False
    return bool((slot.price - _no_better_than_trigger(slots, k, price)) * slot.side > 0)


@kernel
def _fits_whole(step: Rows, slots: Rows, k: int, depth: Rows, level: int, left: int, want: int) -> bool:
    """True where an order of which ``want`` lots may fill can be filled whole at once: ``left`` at the first level, and what is behind it."""
    slot = slots[k]
    if want < slot.leaves:
        return False
    which = 1 if slot.side > 0 else 0
    walked = 1
    while left < want and level >= 0 and step[0].liquidity == _DISPLAYED and walked < LEVELS_WALKED:
        book = depth[slot.instrument]
        level = next_offer(depth, slot.instrument, which, level + (1 if which == 1 else -1))
        if level < 0:
            return False
        paid = _no_better_than_trigger(slots, k, book.base + level)
        if slot.order_type == _LIMIT and (slot.price - paid) * slot.side < 0:
            return False
        left += book.size[which, level] - book.taken[which, level]
        walked += 1
    return bool(left >= want)


@kernel
def _sweep(step: Rows, instruments: Rows, depth: Rows, i: int, side: int, limit: int, lots: int) -> int:
    """Take up to ``lots`` of what the other side offers within ``limit``; how many were there."""
    if step[0].liquidity != _DISPLAYED:
        return int(lots)
    market = instruments[i]
    which = 1 if side > 0 else 0
    if market.feed != _BOOK:
        lots = min(lots, _left_at_touch(market, which))
        if lots > 0:
            _use_size(instruments, depth, i, which, -1, lots)
        return int(lots)
    got = 0
    level = next_offer(depth, i, which, depth[i].best[which])
    while got < lots and level >= 0 and (limit - depth[i].base - level) * side >= 0:
        here = min(lots - got, depth[i].size[which, level] - depth[i].taken[which, level])
        _use_size(instruments, depth, i, which, level, here)
        got += here
        level = next_offer(depth, i, which, level)
    return int(got)


@kernel
def _join_queue(slots: Rows, k: int, instruments: Rows, depth: Rows) -> None:
    """Put a limit order at the back of its price level."""
    slot = slots[k]
    market = instruments[slot.instrument]
    slot.resting = 1
    slot.triggered = 0  # From here on it is a limit like any other.
    slot.shown = slot.display
    slot.rank = market.book_events
    slot.credit = slot.vacant = 0
    own = market.bid if slot.side > 0 else market.ask
    opposite = market.ask if slot.side > 0 else market.bid
    side = 0 if slot.side > 0 else 1
    if market.feed == _BOOK:
        levels = depth[slot.instrument]
        offset = slot.price - levels.base
        if levels.ready and 0 <= offset < levels.size.shape[1]:
            slot.queue_ahead = levels.size[side, offset]
        else:
            slot.queue_ahead = UNKNOWN_QUEUE
        return
    if own == UNDEFINED_PRICE and opposite == UNDEFINED_PRICE:
        slot.queue_ahead = UNKNOWN_QUEUE  # A feed of trades only shows no sizes.
    elif own == UNDEFINED_PRICE or (slot.price - own) * slot.side > 0:
        slot.queue_ahead = 0
    elif own == slot.price:
        slot.queue_ahead = market.bid_size if slot.side > 0 else market.ask_size
    else:
        slot.queue_ahead = UNKNOWN_QUEUE
    # Prints may still come that tell of lots which were never before us.
    if side == 0 and market.bid_gone_price == slot.price:
        slot.credit, slot.credit_ts = market.bid_gone, market.bid_gone_ts
    elif side == 1 and market.ask_gone_price == slot.price:
        slot.credit, slot.credit_ts = market.ask_gone, market.ask_gone_ts


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
            price = open_
            if not is_limit:
                price = _no_better_than_trigger(slots, k, open_) + (step[0].half_spread + slot.slippage) * slot.side
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
            price += (step[0].half_spread + slot.slippage) * slot.side
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
def _use_size(instruments: Rows, depth: Rows, i: int, which: int, level: int, lots: int) -> None:
    """What we take of a level is not there a second time; ``level`` -1 is the quote's."""
    if level >= 0:
        take_offer(depth, i, which, level, lots)
        return
    market = instruments[i]
    if market.takings == 0:
        market.takings = 1
        market.touch[0], market.touch[1] = market.bid, market.ask
    market.taken[which] += lots


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
            if partner.state <= _ANSWERING:
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
        if child.parent == slot.order_id and child.state > _ANSWERING:
            child.woken += lots
            child.leaves = _open_lots(slots, other)
            if child.state == _HELD and child.leaves > 0:
                _follow(slots, other, price)
                child.ts_active = ts_event
                child.ts_sent = child_sent
                child.fresh_ts = child_fresh
                child.queue_ahead = UNKNOWN_QUEUE
                child.resting = 0
                if (
                    instruments[child.instrument].feed > _BARS
                ):  # It reaches the market after this event, as every order does.
                    child.state = _PENDING
                    step[0].next_due = min(step[0].next_due, ts_event)
                    continue
                child.state = _WORKING if _WAITS[child.order_type] == 0 else _STOPPED
                child.resting = 1 if child.state == _WORKING else 0
                instruments[child.instrument].active += 1
                _report(step, slots, other, reports, ts_event, _NEW, 0, 0, 0, _NONE)
    if slot.leaves == 0:
        if _waits_for_parent(slots, step[0].slots, k):
            _hold(slots, k, instruments)
        else:
            instruments[slot.instrument].active -= 1
            _close(slots, k)
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
            return bool(slots[other].state > _ANSWERING and slots[other].leaves > 0)
    return False


@kernel
def _hold(slots: Rows, k: int, instruments: Rows) -> None:
    """Put a bracket's child back to sleep until its parent fills again."""
    if slots[k].state != _PENDING:
        instruments[slots[k].instrument].active -= 1
    slots[k].state = _HELD


@kernel
def _end(
    step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, ts: int, exec_type: int, reason: int
) -> None:
    """End an order that did not fill whole; its children that wait for a fill of it end with it."""
    slot = slots[k]
    if slot.state == _WORKING or slot.state == _STOPPED:
        instruments[slot.instrument].active -= 1
    _close(slots, k)
    slot.leaves = 0
    _report(step, slots, k, reports, ts, exec_type, 0, 0, 0, reason)
    for other in range(k + 1, step[0].slots):
        child = slots[other]
        if child.parent == slot.order_id and child.state == _HELD:
            _close(slots, other)
            child.leaves = 0
            _report(step, slots, other, reports, ts, _CANCELED, 0, 0, 0, _PARENT)


@kernel
def _close(slots: Rows, k: int) -> None:
    """An order is over; where a cancel or change of it is on its way, that still gets its answer."""
    slot = slots[k]
    slot.state = _ENDED if slot.ts_cancel == NEVER_NS and slot.ts_replace == NEVER_NS else _ANSWERING


@kernel
def _answer(step: Rows, slots: Rows, k: int, reports: Rows, ts: int) -> None:
    """A cancel or change reaches an order that is over: it is too late."""
    _report(step, slots, k, reports, ts, _CANCEL_REJECTED, 0, 0, 0, _TOO_LATE)
    _close(slots, k)


@kernel
def _next_change(slots: Rows, k: int) -> None:
    """The change behind the present one moves up."""
    slot = slots[k]
    slot.ts_replace, slot.new_quantity = slot.later[0, 0], slot.later[0, 1]
    slot.new_price, slot.new_stop = slot.later[0, 2], slot.later[0, 3]
    for place in range(CHANGES_UNDER_WAY - 1):
        for field in range(4):
            slot.later[place, field] = slot.later[place + 1, field]
    slot.later[CHANGES_UNDER_WAY - 1, 0] = NEVER_NS


@kernel
def _replace(step: Rows, slots: Rows, k: int, reports: Rows, instruments: Rows, depth: Rows, ts: int) -> None:
    """Apply a change: queue position is kept only where nothing but the size falls."""
    slot = slots[k]
    old_leaves, old_price = slot.leaves, slot.price
    if slot.new_price != UNDEFINED_PRICE:
        slot.price = slot.new_price
    if slot.new_stop != UNDEFINED_PRICE and (not slot.triggered or (slot.new_stop - slot.stop_price) * slot.side > 0):
        slot.stop_price = slot.new_stop  # Of a stop that has triggered the worse of both triggers bounds its fills.
    slot.quantity = slot.new_quantity
    _next_change(slots, k)
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
