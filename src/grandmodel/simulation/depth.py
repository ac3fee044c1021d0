"""The order book kept from market-by-order data (DBN ``mbo``), compiled.

Each instrument has a window of ``DEPTH_TICKS`` price levels per side, centred on the first price seen, with the lots
standing at each level, and an open-addressing hash table of the orders. Orders outside the window are known to the
table but show no level; they are counted. Read with ``matching.py``: this is where a queue position comes from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, BookSide
from grandmodel.kernels import kernel
from grandmodel.simulation.state import UNKNOWN_QUEUE, SlotState

Rows = NDArray[np.void]

DEPTH_TICKS = 32_768
"""Price levels kept per side."""

DEPTH_ORDERS = 65_536
"""Places in the hash table of resting orders; a power of two. The table is full at half of it."""

DEPTH = np.dtype(
    [
        ("ready", "<i8"),
        ("base", "<i8"),  # the price of level 0, in ticks
        ("best", "<i8", (2,)),  # level of the best bid and ask, -1 where that side is empty
        ("orders", "<i8"),
        ("levels_taken", "<i8"),  # levels of which we took something
        ("outside", "<i8"),  # events beyond the window
        ("unknown", "<i8"),  # cancels and changes of orders never seen
        ("full", "<i8"),  # adds refused because the table was full
        ("size", "<i8", (2, DEPTH_TICKS)),
        ("taken", "<i8", (2, DEPTH_TICKS)),  # what we took of it
        ("order_id", "<u8", (DEPTH_ORDERS,)),
        ("order_level", "<i4", (DEPTH_ORDERS,)),
        ("order_size", "<i4", (DEPTH_ORDERS,)),
        ("order_side", "<i1", (DEPTH_ORDERS,)),  # 0 empty, 1 bid, 2 ask, -1 deleted
        ("order_rank", "<i8", (DEPTH_ORDERS,)),
    ]
)
"""One row an instrument with order-book data."""

_ADD, _CANCEL, _MODIFY, _CLEAR = int(Action.ADD), int(Action.CANCEL), int(Action.MODIFY), int(Action.CLEAR)
_BID = int(BookSide.BID)
_ASK = int(BookSide.ASK)
_WORKING = int(SlotState.WORKING)
_MASK = DEPTH_ORDERS - 1
_FARTHEST = 2**30


@kernel
def apply_book_event(
    book: Rows,
    i: int,
    action: int,
    side: int,
    order_id: int,
    price: int,
    size: int,
    rank: int,
    slots: Rows,
    slot_count: int,
) -> None:
    """Apply one event to the book of instrument ``i``, and move our own orders of that level up their queue.

    ``rank`` is the number of this event: an order's place in time. Fills and trades do not change the book themselves;
    the cancel or modify that follows them does (DBN's rule).
    """
    depth = book[i]
    if action == _CLEAR:
        clear_book(book, i)
        return
    if not depth.ready and price != UNDEFINED_PRICE:
        depth.base = price - DEPTH_TICKS // 2
        depth.ready = 1
        depth.best[0] = -1
        depth.best[1] = -1
    if action == _ADD:
        if side == _BID or side == _ASK:
            _insert(book, i, order_id, 0 if side == _BID else 1, price - depth.base, size, rank)
        return
    if action != _CANCEL and action != _MODIFY:
        return
    place = _find(book, i, order_id)
    if place < 0:
        depth.unknown += 1
        if action == _MODIFY and (side == _BID or side == _ASK):
            _insert(book, i, order_id, 0 if side == _BID else 1, price - depth.base, size, rank)
        return
    which = depth.order_side[place] - 1
    level = depth.order_level[place]
    if action == _CANCEL:
        gone = min(size, depth.order_size[place])
        _advance_queue(slots, slot_count, i, which, depth.base + level, depth.order_rank[place], gone)
        _change_level(book, i, which, level, -gone)
        depth.order_size[place] -= gone
        if depth.order_size[place] <= 0:
            depth.order_side[place] = -1
            depth.orders -= 1
        return
    new_level = _within_reach(price - depth.base)
    if new_level == level and size <= depth.order_size[place]:
        gone = depth.order_size[place] - size
        _advance_queue(slots, slot_count, i, which, depth.base + level, depth.order_rank[place], gone)
        _change_level(book, i, which, level, -gone)
        depth.order_size[place] = size
        return
    # A new price or a larger size goes to the back of the queue.
    gone = depth.order_size[place]
    _advance_queue(slots, slot_count, i, which, depth.base + level, depth.order_rank[place], gone)
    if new_level == level:  # At once, since lots that come and go in one message are no lots that came anew.
        _change_level(book, i, which, level, size - gone)
    else:
        _change_level(book, i, which, level, -gone)
        _change_level(book, i, which, new_level, size)
    depth.order_level[place] = new_level
    depth.order_size[place] = size
    depth.order_rank[place] = rank


@kernel
def clear_book(book: Rows, i: int) -> None:
    """Forget every order of instrument ``i``; the window of levels is centred anew on the next price."""
    depth = book[i]
    for level in range(DEPTH_TICKS):
        depth.size[0, level] = 0
        depth.size[1, level] = 0
        depth.taken[0, level] = 0
        depth.taken[1, level] = 0
    depth.levels_taken = 0
    for place in range(DEPTH_ORDERS):
        depth.order_side[place] = 0
    depth.best[0] = -1
    depth.best[1] = -1
    depth.orders = 0
    depth.ready = 0


@kernel
def best_level(book: Rows, i: int, which: int) -> int:
    """The price in ticks of the best bid (``which`` 0) or ask (1); ``UNDEFINED_PRICE`` where that side is empty."""
    level = book[i].best[which]
    return UNDEFINED_PRICE if level < 0 else book[i].base + level


@kernel
def is_crossed(book: Rows, i: int) -> bool:
    """True where the best bid is no lower than the best ask: an event that is not complete, or an auction."""
    bid, ask = book[i].best[0], book[i].best[1]
    return bool(bid >= 0 and ask >= 0 and bid >= ask)


@kernel
def next_offer(book: Rows, i: int, which: int, level: int) -> int:
    """The first level from ``level`` on, away from the market, at which more stands than we took; -1 where there is none.

    ``which`` is the side that offers: 0 bids, 1 asks.
    """
    depth = book[i]
    direction = -1 if which == 0 else 1
    while 0 <= level < DEPTH_TICKS:
        if depth.size[which, level] > depth.taken[which, level]:
            return level
        level += direction
    return -1


@kernel
def take_offer(book: Rows, i: int, which: int, level: int, lots: int) -> None:
    """Remember that we took ``lots`` of a level: the feed shows them still, but they are not there twice."""
    depth = book[i]
    if depth.taken[which, level] == 0:
        depth.levels_taken += 1
    depth.taken[which, level] += lots


@kernel
def _give_back(book: Rows, i: int, which: int, level: int) -> None:
    """Lots have left a level: those that we took are counted among them as far as the rest does not cover them."""
    depth = book[i]
    kept = max(0, min(depth.taken[which, level], depth.size[which, level]))
    if depth.taken[which, level] > 0 and kept == 0:
        depth.levels_taken -= 1
    depth.taken[which, level] = kept


@kernel
def _hash(order_id: int) -> int:
    mixed = np.uint64(order_id) * np.uint64(0x9E3779B97F4A7C15)
    return int(mixed >> np.uint64(40)) & _MASK


@kernel
def _find(book: Rows, i: int, order_id: int) -> int:
    depth = book[i]
    place = _hash(order_id)
    for _ in range(DEPTH_ORDERS):
        side = depth.order_side[place]
        if side == 0:
            return -1
        if side > 0 and depth.order_id[place] == np.uint64(order_id):
            return place
        place = (place + 1) & _MASK
    return -1


@kernel
def _insert(book: Rows, i: int, order_id: int, which: int, level: int, size: int, rank: int) -> None:
    depth = book[i]
    if depth.orders >= DEPTH_ORDERS // 2:
        depth.full += 1
        return
    level = _within_reach(level)
    place = _hash(order_id)
    while depth.order_side[place] > 0:
        place = (place + 1) & _MASK
    depth.order_id[place] = np.uint64(order_id)
    depth.order_level[place] = level
    depth.order_size[place] = size
    depth.order_side[place] = which + 1
    depth.order_rank[place] = rank
    depth.orders += 1
    _change_level(book, i, which, level, size)


@kernel(inline=True)
def _within_reach(level: int) -> int:
    """``level``, kept within what the table can hold; beyond the window all levels are alike."""
    return max(-_FARTHEST, min(level, _FARTHEST))


@kernel
def _change_level(book: Rows, i: int, which: int, level: int, change: int) -> None:
    """Add ``change`` lots to a level and keep the best level of its side."""
    depth = book[i]
    if level < 0 or level >= DEPTH_TICKS:
        depth.outside += 1
        return
    depth.size[which, level] += change
    if change < 0 and depth.levels_taken > 0:
        _give_back(book, i, which, level)
    best = depth.best[which]
    if change > 0:
        if best < 0 or (which == 0 and level > best) or (which == 1 and level < best):
            depth.best[which] = level
    elif level == best and depth.size[which, level] <= 0:
        direction = -1 if which == 0 else 1
        level += direction
        while 0 <= level < DEPTH_TICKS and depth.size[which, level] <= 0:
            level += direction
        depth.best[which] = level if 0 <= level < DEPTH_TICKS else -1


@kernel
def _advance_queue(slots: Rows, count: int, i: int, which: int, price: int, rank: int, gone: int) -> None:
    """Lots that stood before ours at this price have gone: we move up."""
    for k in range(count):
        slot = slots[k]
        same_side = (slot.side > 0) == (which == 0)
        is_known = slot.state == _WORKING and slot.queue_ahead < UNKNOWN_QUEUE
        if is_known and same_side and slot.instrument == i and slot.price == price and rank <= slot.rank:
            slot.queue_ahead = max(0, slot.queue_ahead - gone)
