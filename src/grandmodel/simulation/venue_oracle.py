"""What would have filled: an order of ours put into the recorded messages of an order-by-order feed.

The oracle that the simulated venue is measured with. It knows nothing of the venue's code: it keeps a book of its own from
the messages, puts one order of ours into it and changes nothing but taking what that order takes.

- The messages of one exchange event (up to the row marked ``Flag.LAST``) happen at once. An order that arrives within an event
  meets the market after it; one that arrives with the stamp of an event's first row is there before it.
- **What takes** walks the resting book, level by level, within its limit.
- **What rests** stands at the end of its level. It is filled by every lot that filled an order behind it, at its price or
  deeper (the feed says which order filled), and by every lot newly offered at its price or through it, for that would have
  met our order. What our order took from an order is gone from it; only what is offered anew fills us again.
- **A stop** is triggered by a trade at its price or beyond, and walks the book as it stands after that event.
- An order that fills more than it showed, or is still there after all that it showed has filled, is an iceberg: what it shows next stands
  at the end of its level, so behind ours.
- An event that leaves the book crossed is one of an auction or a halt: nothing trades by being offered in it.
- Where a feed says that lots traded but not with which order, they go to the orders of that level in their order of time.

What it cannot know: hidden lots, what an immediate order that found us would have had left, how others would have answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Block, BookSide, Flag, Schema, empty_block, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.orders import Order, OrderType, Side
from grandmodel.kernels import kernel

Rows = NDArray[Any]
"""Structured rows."""
Row = Any
"""One structured row inside compiled code; numpy has no type for its fields."""
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]

_I8 = "<i8"
MESSAGE = np.dtype(
    [
        ("action", _I8),
        ("side", _I8),  # 0 bid, 1 ask, -1 not said; of a trade the aggressor's
        ("order", _I8),  # the order's place among those of the book
        ("level", _I8),  # place of the price in ``VenueOracle.prices``, -1 for none
        ("size", _I8),
    ]
)
"""One row a message."""

RESTING = np.dtype([("side", _I8), ("level", _I8), ("size", _I8), ("rank", _I8), ("filled", _I8), ("taken", _I8)])
"""One row an order of the feed: ``side`` -1 where it is not in the book, ``rank`` the message that gave it its place in time,
``filled`` the lots that fills have named since its last change, ``taken`` the lots that ours took of it."""

QUOTED = np.dtype(
    [("bid", _I8), ("ask", _I8), ("bid_size", _I8), ("ask_size", _I8), ("last", _I8), ("trades", _I8), ("fills", _I8)]
)
"""One row an event: best prices and sizes after it and the last trade so far (``UNDEFINED_PRICE`` for none), trades and fills in it."""

FILLED = np.dtype([("row", _I8), ("price", _I8), ("lots", _I8)])
"""One row a fill of ours: the message that proves it (-1: the book that the order found), its price in ticks, its lots."""

_ADD, _CANCEL, _MODIFY, _CLEAR = int(Action.ADD), int(Action.CANCEL), int(Action.MODIFY), int(Action.CLEAR)
_TRADE, _FILL = int(Action.TRADE), int(Action.FILL)
_ABSENT = -1
_KNOWN = (OrderType.LIMIT, OrderType.MARKET, OrderType.STOP)
NO_LIMIT = 2**61
"""Ticks beyond every price."""


@dataclass(frozen=True, slots=True)
class OracleFill:
    """Lots of an order that the messages say would have filled."""

    event: int
    """Number of the exchange event that filled them; -1 for the book that the order found."""
    earliest: int
    """ns; the first message of the event, or the order's arrival."""
    latest: int
    """ns; the last message of that event."""
    price: int
    """Ticks."""
    lots: int


@kernel
def _shift(levels: Counts, best: Counts, side: int, level: int, change: int) -> None:
    """Add ``change`` lots to a level and keep the best level of its side."""
    levels[side, level] += change
    toward = 1 if side == 0 else -1
    if levels[side, level] > 0:
        if best[side] < 0 or (level - best[side]) * toward > 0:
            best[side] = level
    elif level == best[side]:
        while 0 <= level < levels.shape[1] and levels[side, level] <= 0:
            level -= toward
        best[side] = level if 0 <= level < levels.shape[1] else -1


@kernel
def _remove(orders: Rows, levels: Counts, best: Counts, k: int, lots: int) -> None:
    """Take ``lots`` off an order of the book; of what we took of it no more is left than the rest."""
    lots = min(lots, orders[k].size)
    _shift(levels, best, orders[k].side, orders[k].level, -lots)
    orders[k].size -= lots
    orders[k].taken = min(orders[k].taken, orders[k].size)
    if orders[k].size <= 0:
        orders[k].side = _ABSENT


@kernel
def _apply(messages: Rows, row: int, orders: Rows, levels: Counts, best: Counts) -> None:
    """Let one message change the book. Trades and fills do not: the cancel or change that follows them does."""
    message = messages[row]
    action, k = message.action, message.order
    if action == _FILL:
        orders[k].filled += message.size
    elif action == _CLEAR:
        levels[:] = 0
        best[:] = -1
        for other in range(orders.shape[0]):
            orders[other].side = _ABSENT
    elif action == _CANCEL:
        orders[k].filled = 0
        if orders[k].side != _ABSENT:
            _remove(orders, levels, best, k, message.size)
    elif action == _ADD or action == _MODIFY:
        known = orders[k].side != _ABSENT
        is_shown_anew = orders[k].filled >= orders[k].size
        orders[k].filled = 0
        is_less = known and action == _MODIFY and orders[k].level == message.level and message.size <= orders[k].size
        if is_less and not is_shown_anew:
            _remove(orders, levels, best, k, orders[k].size - message.size)
            return
        side = orders[k].side if known and action == _MODIFY else message.side
        taken = orders[k].taken if known and action == _MODIFY else 0
        if known:
            _remove(orders, levels, best, k, orders[k].size)
        if side < 0 or message.level < 0 or message.size <= 0:
            return
        orders[k].side, orders[k].level, orders[k].size, orders[k].rank = side, message.level, message.size, row
        orders[k].taken = min(taken, message.size)
        _shift(levels, best, side, message.level, message.size)


@kernel
def _quote(
    messages: Rows,
    starts: Counts,
    prices: Counts,
    orders: Rows,
    levels: Counts,
    best: Counts,
    quoted: Rows,
    gone: Flags,
) -> None:
    """Walk all messages: what stands in the book after each event, and where the order that a message names is not in it any more."""
    last = UNDEFINED_PRICE
    for event in range(quoted.shape[0]):
        trades = fills = 0
        for row in range(starts[event], starts[event + 1]):
            if messages[row].action == _TRADE and messages[row].level >= 0:
                last = prices[messages[row].level]
                trades += 1
            fills += messages[row].action == _FILL
            _apply(messages, row, orders, levels, best)
            gone[row] = orders[messages[row].order].side == _ABSENT
        shown = quoted[event]
        shown.last, shown.trades, shown.fills = last, trades, fills
        shown.bid = prices[best[0]] if best[0] >= 0 else UNDEFINED_PRICE
        shown.ask = prices[best[1]] if best[1] >= 0 else UNDEFINED_PRICE
        shown.bid_size = levels[0, best[0]] if best[0] >= 0 else 0
        shown.ask_size = levels[1, best[1]] if best[1] >= 0 else 0


@kernel
def _share_places(messages: Rows, last: Counts, gone: Flags, place: Counts, free: Counts) -> int:
    """Give each order a place that it leaves, once gone, with the ``last`` message that names it; how many places that takes.

    ``place`` is -1 for every order, ``free`` has room for as many.
    """
    places = unused = 0
    for row in range(messages.shape[0]):
        k = messages[row].order
        if place[k] < 0:
            if unused > 0:
                unused -= 1
                place[k] = free[unused]
            else:
                place[k] = places
                places += 1
        messages[row].order = place[k]
        if last[k] == row and gone[row]:
            free[unused] = place[k]
            unused += 1
    return places


@kernel
def _advance(messages: Rows, first: int, end: int, orders: Rows, levels: Counts, best: Counts) -> None:
    """Let the messages [first, end) change the book."""
    for row in range(first, end):
        _apply(messages, row, orders, levels, best)


@kernel
def _walk(
    prices: Counts, orders: Rows, levels: Counts, best: Counts, side: int, limit: int, left: int, row: int, filled: Rows,
    count: int,
) -> tuple[int, int]:  # fmt: skip
    """Take up to ``left`` lots of the other side's book within ``limit``; the lots still left and the fills so far."""
    other, deeper = 1 - side, 1 if side == 0 else -1
    level = best[other]
    while left > 0 and 0 <= level < levels.shape[1] and (limit - prices[level]) * deeper >= 0:
        lots = min(left, levels[other, level])
        if lots > 0:
            filled[count].row, filled[count].price, filled[count].lots = row, prices[level], lots
            count += 1
            left -= lots
        level += deeper
    if left > 0:  # Whatever stood within our limit is ours.
        for k in range(orders.shape[0]):
            if orders[k].side == other and (limit - prices[orders[k].level]) * deeper >= 0:
                orders[k].taken = orders[k].size
    return left, count


@kernel
def _lots_ahead(prices: Counts, orders: Rows, side: int, price: int, rank: int) -> int:
    """Lots of the orders at one price that stood there before ``rank``."""
    lots = 0
    for k in range(orders.shape[0]):
        if orders[k].side == side and prices[orders[k].level] == price and orders[k].rank < rank:
            lots += orders[k].size
    return lots


@kernel(inline=True)
def _is_crossed(shown: Row) -> bool:
    """True for a row of ``QUOTED`` whose bid is at its ask or above."""
    return bool(shown.bid != UNDEFINED_PRICE and shown.ask != UNDEFINED_PRICE and shown.bid >= shown.ask)


@kernel
def _named_lots(
    prices: Counts, orders: Rows, message: Row, side: int, limit: int, deeper: int, rank: int
) -> tuple[int, int]:
    """What of a fill of another order would have been ours, and the price of that order."""
    resting = orders[message.order]
    is_known = resting.side != _ABSENT
    level = resting.level if is_known else message.level
    if level < 0 or (resting.side if is_known else message.side) != side:
        return 0, limit
    met = prices[level]
    if (limit - met) * deeper > 0:
        return message.size, met
    if limit != met or not is_known:
        return 0, met
    if resting.rank >= rank:
        return message.size, met
    # It stands before us with what it showed; beyond that it was behind.
    return min(message.size, max(0, resting.filled + message.size - resting.size)), met


@kernel
def _follow(
    messages: Rows, starts: Counts, prices: Counts, quoted: Rows, first: int, end: int, orders: Rows, levels: Counts,
    best: Counts, waits: bool, side: int, limit: int, trigger: int, quantity: int, filled: Rows,
) -> int:  # fmt: skip
    """Put one order in before event ``first`` and follow it until event ``end``; the number of fills written into ``filled``.

    ``orders``, ``levels`` and ``best`` are the book before ``first`` and are used up. ``limit`` is beyond all prices for an order that
    has none; ``waits`` says that it is a stop, and ``trigger`` where.
    """
    deeper = 1 if side == 0 else -1
    left, count, rank = quantity, 0, starts[first]
    if waits and first > 0 and quoted[first - 1].last != UNDEFINED_PRICE:
        waits = (quoted[first - 1].last - trigger) * deeper < 0
    if not waits and not (first > 0 and _is_crossed(quoted[first - 1])):
        left, count = _walk(prices, orders, levels, best, side, limit, left, -1, filled, count)
    for event in range(first, end):
        if left == 0:
            break
        if waits:
            triggered = False
            for row in range(starts[event], starts[event + 1]):
                if messages[row].action == _TRADE and messages[row].level >= 0:
                    triggered |= (prices[messages[row].level] - trigger) * deeper >= 0
                _apply(messages, row, orders, levels, best)
            if triggered:
                waits = False
                row = starts[event + 1] - 1
                left, count = _walk(prices, orders, levels, best, side, limit, left, row, filled, count)
        else:
            is_matched = not _is_crossed(quoted[event])
            left, count = _rest(
                messages, starts[event], starts[event + 1], prices, orders, levels, best, side, limit, rank, left, is_matched,
                quoted[event].fills > 0, quoted[event].trades > 0, filled, count,
            )  # fmt: skip
    return count


@kernel
def _rest(
    messages: Rows, first: int, end: int, prices: Counts, orders: Rows, levels: Counts, best: Counts, side: int,
    limit: int, rank: int, left: int, is_matched: bool, says_who: bool, has_trades: bool, filled: Rows, count: int,
) -> tuple[int, int]:  # fmt: skip
    """One event, the messages [first, end), while our order rests; the lots still left and the fills so far.

    ``is_matched`` is false for an event that leaves the book crossed, ``says_who`` true where fills name the orders that filled.
    """
    deeper = 1 if side == 0 else -1
    has_limit = -NO_LIMIT < limit < NO_LIMIT
    aggressor, through = -1, 0
    if has_trades and not says_who:
        for row in range(first, end):
            if messages[row].action == _TRADE and messages[row].level >= 0 and prices[messages[row].level] == limit:
                through = -_lots_ahead(prices, orders, side, limit, rank)
                break
    for row in range(first, end):
        message = messages[row]
        action, k, lots, met = message.action, message.order, 0, limit
        if action == _TRADE and message.level >= 0:
            aggressor, met = message.side, prices[message.level]
            if not says_who and aggressor == 1 - side:
                if (limit - met) * deeper > 0:
                    lots = message.size
                elif limit == met:
                    through += message.size
                    lots = min(left, max(0, through))
                    through -= lots
        elif action == _FILL and message.side != aggressor:
            lots, met = _named_lots(prices, orders, message, side, limit, deeper, rank)
        _apply(messages, row, orders, levels, best)
        if (action == _ADD or action == _MODIFY) and is_matched and orders[k].side == 1 - side:
            met = prices[orders[k].level]
            if (limit - met) * deeper >= 0:
                lots = min(left, orders[k].size - orders[k].taken)
                orders[k].taken += lots
        lots = min(left, lots)
        if lots > 0:  # A limit that rests is paid its own price, an order without one what it meets.
            filled[count].row, filled[count].price, filled[count].lots = row, limit if has_limit else met, lots
            count += 1
            left -= lots
    return left, count


class ExchangeEvents:
    """The rows of one instrument's feed by exchange event, and what was quoted after each.

    An event ends with a row marked ``Flag.LAST``; where no row is, rows of one ``ts_init`` are one event. The clock here is ``ts_init``, by
    which the rows are ordered.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self.ts: Counts = np.ascontiguousarray(block["ts_init"])
        ends = np.flatnonzero((block["flags"] & np.uint32(Flag.LAST)) != 0) + 1
        if not len(ends):
            ends = np.flatnonzero(self.ts[1:] != self.ts[:-1]) + 1
        if not len(ends) or ends[-1] != len(block):
            ends = np.append(ends, len(block))
        self.starts: Counts = np.concatenate(([0], ends)).astype(np.int64)
        """(E + 1,) the first row of each event, and the number of rows."""
        self.first_ts: Counts = self.ts[self.starts[:-1]]
        """(E,) ns of each event's first row."""
        self.last_ts: Counts = self.ts[self.starts[1:] - 1]
        """(E,) ns of each event's last row."""
        self.quoted = np.zeros(len(self.starts) - 1, QUOTED)
        """(E,) what stands in the market after each event."""

    def event_of_arrival(self, ts: int) -> int:
        """The first event that an order which arrives at ``ts`` (ns) is there for: none that has begun by then."""
        return int(np.searchsorted(self.first_ts, ts, side="left"))

    def is_open(self, event: int) -> bool:
        """True where both sides are quoted before ``event``, not crossed, and something has traded."""
        if not 0 < event <= len(self.quoted):
            return False
        bid, ask, last = (int(self.quoted[event - 1][name]) for name in ("bid", "ask", "last"))
        return bid < ask and UNDEFINED_PRICE not in (bid, ask, last)

    def told(self, order: Order, first: int, fill: tuple[int, int, int]) -> OracleFill:
        """A row of ``FILLED`` of an order that was there for event ``first``."""
        row, price, lots = fill
        if row >= 0:
            event = int(np.searchsorted(self.starts, row, side="right")) - 1
            return OracleFill(event, int(self.first_ts[event]), int(self.last_ts[event]), price, lots)
        # An event under way when the order arrived ends first.
        latest = max(order.ts, int(self.last_ts[first - 1])) if first > 0 else order.ts
        return OracleFill(-1, order.ts, latest, price, lots)


def check_types(orders: Sequence[Order]) -> None:
    """Raise ``UsageError`` where an order is no limit, market or stop order."""
    unknown = {order.order_type.name for order in orders if order.order_type not in _KNOWN}
    if unknown:
        raise UsageError(f"found orders of type {', '.join(sorted(unknown))}, expected limit, market or stop")


class VenueOracle(ExchangeEvents):
    """The messages of one instrument's order-by-order feed, ready to be asked what an order would have met.

    ``block`` is of layout ``BOOK``. Raises ``UsageError`` for another layout or no rows.
    """

    def __init__(self, block: Block) -> None:
        if block.dtype != Schema.BOOK.dtype:
            raise UsageError("found rows that are no order book, expected order-by-order events")
        if len(block) == 0:
            raise UsageError("found no rows, expected order-by-order events")
        super().__init__(block)
        priced = block["price"] != UNDEFINED_PRICE
        self._prices: Counts = np.unique(block["price"][priced])
        ids, numbers = np.unique(block["order_id"], return_inverse=True)
        self._order_count = len(ids)
        self._messages = np.zeros(len(block), MESSAGE)
        self._messages["action"] = block["action"]
        is_bid, is_ask = block["side"] == np.uint8(BookSide.BID), block["side"] == np.uint8(BookSide.ASK)
        self._messages["side"] = np.select([is_bid, is_ask], [0, 1], -1)
        self._messages["order"] = numbers
        self._messages["level"] = np.where(priced, np.searchsorted(self._prices, block["price"]), -1)
        self._messages["size"] = block["size"]
        gone = np.zeros(len(block), np.bool_)
        _quote(self._messages, self.starts, self._prices, *self._empty_book(), self.quoted, gone)
        # An order has a place in the book while it stands there: a day has far fewer at a time than in all.
        last = np.zeros(len(ids), np.int64)
        last[numbers] = np.arange(len(block))
        place, free = np.full(len(ids), -1), np.zeros(len(ids), np.int64)
        self._order_count = _share_places(self._messages, last, gone, place, free)

    def _empty_book(self) -> tuple[Rows, Counts, Counts]:
        orders = np.zeros(self._order_count, RESTING)
        orders["side"] = _ABSENT
        return orders, np.zeros((2, max(1, len(self._prices))), np.int64), np.full(2, -1, np.int64)

    def fills(self, orders: Sequence[Order]) -> list[list[OracleFill]]:
        """What each of ``orders`` would have filled, had it been the only one: by order, in order of time.

        An order arrives at its ``ts`` and is gone at its ``expire_ts``. Limits, market orders and stops are known; the rest of a market
        order or stop that found too little takes what is offered next. Raises ``UsageError`` for another type.
        """
        check_types(orders)
        found: list[list[OracleFill]] = [[] for _ in orders]
        orders_now, levels, best = self._empty_book()
        filled = np.zeros(len(self._messages) + 2 * len(self._prices) + 2, FILLED)
        reached = 0
        for place in sorted(range(len(orders)), key=lambda k: orders[k].ts):
            order = orders[place]
            first = self.event_of_arrival(order.ts)
            end = int(np.searchsorted(self.first_ts, order.expire_ts, side="left"))
            row = int(self.starts[first])
            _advance(self._messages, reached, row, orders_now, levels, best)
            reached = row
            sign = int(order.side)
            limit = sign * NO_LIMIT if order.price is None else order.price
            count = _follow(
                self._messages, self.starts, self._prices, self.quoted, first, end, orders_now.copy(), levels.copy(), best.copy(),
                order.order_type is OrderType.STOP, 0 if order.side is Side.BUY else 1, limit, order.stop_price or 0,
                order.quantity, filled,
            )  # fmt: skip
            found[place] = [self.told(order, first, one) for one in filled[:count].tolist()]
        return found

    def names_levels(self) -> bool:
        """True where every price level is one order, as in feeds of price levels: who stood before whom is then not known."""
        block = self.block
        rows = block[(block["action"] == np.uint8(_ADD)) | (block["action"] == np.uint8(_MODIFY))]
        names = len(np.unique(rows["order_id"]))
        if names > 2 * len(np.unique(rows["price"])):
            return False
        levels = len(np.unique(rows[["side", "price"]]))
        return names == levels == len(np.unique(rows[["order_id", "side", "price"]]))

    def best_quotes(self) -> Block:
        """The same day as a feed of best quotes and trades: each event gives its trades, then the quote where that changed."""
        quoted, rows = self.quoted, self._messages
        shown = np.stack([quoted[name] for name in ("bid", "ask", "bid_size", "ask_size")], axis=1)
        whole = (
            (quoted["bid"] < quoted["ask"]) | (quoted["bid"] == UNDEFINED_PRICE) | (quoted["ask"] == UNDEFINED_PRICE)
        )
        events = np.flatnonzero(whole)
        changed = np.ones(len(events), np.bool_)
        changed[1:] = (shown[events][1:] != shown[events][:-1]).any(axis=1)
        events = events[changed]
        trades = np.flatnonzero((rows["action"] == _TRADE) & (rows["level"] >= 0))
        source = np.concatenate((trades, self.starts[events + 1] - 1))
        is_quote = np.concatenate((np.zeros(len(trades), np.bool_), np.ones(len(events), np.bool_)))
        event = np.concatenate((np.searchsorted(self.starts, trades, side="right") - 1, events))
        order = np.lexsort((is_quote, source))
        # A trade that is its event's last row stands before that event's quote.
        source, is_quote, event = source[order], is_quote[order], event[order]
        block = empty_block(Schema.QUOTES, len(source))
        for name in ("ts_event", "ts_init", "instrument"):
            block[name] = self.block[name][source]
        block["sequence"] = np.arange(len(source))
        block["action"] = np.where(is_quote, np.uint8(Action.QUOTE), np.uint8(Action.TRADE))
        for name, from_name in (
            ("bid_price", "bid"),
            ("ask_price", "ask"),
            ("bid_size", "bid_size"),
            ("ask_size", "ask_size"),
        ):
            column = block[name]
            column[is_quote] = quoted[from_name][event[is_quote]]
        for name in ("price", "size", "side"):
            column = block[name]
            column[~is_quote] = self.block[name][source[~is_quote]]
        block["side"][is_quote] = np.uint8(BookSide.NONE)
        is_last = np.append(event[1:] != event[:-1], True)
        block["flags"] = np.where(is_last, np.uint32(Flag.LAST), np.uint32(0))
        return freeze(block)
