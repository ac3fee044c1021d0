"""What best quotes and trades alone prove of an order of ours: the kindest that could have been.

Without order ids nobody can say who stood before us, or what stood behind the best price. What remains certain: no order fills more or sooner
than if nobody had been before it. So whatever a simulated venue fills beyond this is false, and whatever it pays
less than this is too good; where it is later or dearer nothing is proven. Read ``venue_oracle.py`` first.

- **What takes** gets the size shown at the best opposite price, and the rest one tick worse, within its limit.
- **What rests** gets every lot that traded at its price or through it, unless the other side is said to have been the aggressor, and every lot
  newly shown at its price or through it by the other side. It is the only one at its price. Where the other side is quoted through it, all that
  is left: what is offered behind the best price is not shown.
- **A stop** is triggered by a trade at its price or beyond, and takes what is quoted after that event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Block, BookSide, Flag, Schema
from grandmodel.domain.errors import UsageError
from grandmodel.domain.orders import Order, OrderType, Side
from grandmodel.kernels import kernel
from grandmodel.simulation.state import UNSHOWN_SIZE
from grandmodel.simulation.venue_oracle import (
    FILLED,
    NO_LIMIT,
    Counts,
    ExchangeEvents,
    OracleFill,
    Row,
    Rows,
    check_types,
)

_TRADE, _QUOTE = int(Action.TRADE), int(Action.QUOTE)
_CROSSED = int(Flag.CROSSED)
_SIDES = np.array([int(BookSide.BID), int(BookSide.ASK)])


@kernel
def _quote(block: Rows, starts: Counts, quoted: Rows) -> None:
    """Walk all rows; what is quoted after each event. A size that is not shown is taken for any."""
    bid = ask = last = UNDEFINED_PRICE
    bid_size = ask_size = 0
    for event in range(quoted.shape[0]):
        trades = 0
        for row in range(starts[event], starts[event + 1]):
            tick = block[row]
            if tick.action == _TRADE:
                last = tick.price
                trades += 1
                if tick.bid_price == UNDEFINED_PRICE and tick.ask_price == UNDEFINED_PRICE:
                    continue
            elif tick.action != _QUOTE:
                continue
            if tick.flags & _CROSSED or (tick.bid_price > tick.ask_price and tick.bid_price != UNDEFINED_PRICE):
                continue
            bid, ask = tick.bid_price, tick.ask_price
            bid_size = tick.bid_size if tick.bid_size > 0 else UNSHOWN_SIZE
            ask_size = tick.ask_size if tick.ask_size > 0 else UNSHOWN_SIZE
        shown = quoted[event]
        shown.bid, shown.ask, shown.bid_size, shown.ask_size = bid, ask, bid_size, ask_size
        shown.last, shown.trades, shown.fills = last, trades, 0


@kernel
def _take(shown: Row, side: int, limit: int, left: int, row: int, filled: Rows, count: int) -> tuple[int, int]:
    """Take what is shown, and what is left one tick worse, within the limit; the lots still left and the fills so far."""
    deeper = 1 if side == 0 else -1
    price = shown.ask if side == 0 else shown.bid
    size = shown.ask_size if side == 0 else shown.bid_size
    if price == UNDEFINED_PRICE:
        return left, count
    for tick in range(2):
        at = price + tick * deeper
        lots = min(left, size) if tick == 0 else left
        if lots > 0 and (limit - at) * deeper >= 0:
            filled[count].row, filled[count].price, filled[count].lots = row, at, lots
            count += 1
            left -= lots
    return left, count


@kernel
def _follow(
    block: Rows, starts: Counts, quoted: Rows, first: int, end: int, waits: bool, side: int, limit: int, trigger: int,
    left: int, filled: Rows,
) -> int:  # fmt: skip
    """Follow one order from before event ``first`` until event ``end``; the number of fills written into ``filled``."""
    deeper = 1 if side == 0 else -1
    count = 0
    has_limit = -NO_LIMIT < limit < NO_LIMIT
    if waits and first > 0 and quoted[first - 1].last != UNDEFINED_PRICE:
        waits = (quoted[first - 1].last - trigger) * deeper < 0
    if not waits and first > 0:
        left, count = _take(quoted[first - 1], side, limit, left, -1, filled, count)
    for event in range(first, end):
        if left == 0:
            break
        triggered = False
        for row in range(starts[event], starts[event + 1]):
            tick = block[row]
            if tick.action != _TRADE:
                continue
            if waits:
                triggered |= (tick.price - trigger) * deeper >= 0
            elif (limit - tick.price) * deeper >= 0 and tick.side != _SIDES[side]:
                lots = min(left, tick.size) if tick.size > 0 else left
                if lots > 0:
                    filled[count].row, filled[count].lots = row, lots
                    filled[count].price = limit if has_limit else tick.price
                    count += 1
                    left -= lots
        last = starts[event + 1] - 1
        if triggered:
            waits = False
            left, count = _take(quoted[event], side, limit, left, last, filled, count)
        elif not waits and event > 0:
            price = quoted[event].ask if side == 0 else quoted[event].bid
            size = quoted[event].ask_size if side == 0 else quoted[event].bid_size
            before = quoted[event - 1].ask if side == 0 else quoted[event - 1].bid
            if price == before:
                size -= quoted[event - 1].ask_size if side == 0 else quoted[event - 1].bid_size
            if price != UNDEFINED_PRICE and (limit - price) * deeper > 0:
                size = left  # What is offered behind the best price is not shown.
            if price != UNDEFINED_PRICE and (limit - price) * deeper >= 0 and min(left, size) > 0:
                filled[count].row, filled[count].lots = last, min(left, size)
                filled[count].price = limit if has_limit else price
                left -= filled[count].lots
                count += 1
    return count


class KindestQuotes(ExchangeEvents):
    """A feed of best quotes and trades of one instrument, ready to be asked for the kindest fills that it allows.

    ``block`` is of layout ``TICK``. Raises ``UsageError`` for another layout, for no rows, and for trades without any quote.
    """

    def __init__(self, block: Block) -> None:
        if block.dtype != Schema.QUOTES.dtype or len(block) == 0:
            raise UsageError("found no quotes and trades, expected rows of best quotes with trades among them")
        super().__init__(block)
        _quote(block, self.starts, self.quoted)
        if (self.quoted["bid"] == UNDEFINED_PRICE).all() or (self.quoted["ask"] == UNDEFINED_PRICE).all():
            raise UsageError("found trades without quotes, expected best quotes of both sides beside them")

    def fills(self, orders: Sequence[Order]) -> list[list[OracleFill]]:
        """The kindest that each of ``orders`` could have filled, by order; arrival, expiry, types and errors as for ``VenueOracle``."""
        check_types(orders)
        filled: NDArray[Any] = np.zeros(2 * len(self.block) + 4, FILLED)
        found = []
        for order in orders:
            first = self.event_of_arrival(order.ts)
            end = int(np.searchsorted(self.first_ts, order.expire_ts, side="left"))
            limit = int(order.side) * NO_LIMIT if order.price is None else order.price
            count = _follow(
                self.block, self.starts, self.quoted, first, end, order.order_type is OrderType.STOP,
                0 if order.side is Side.BUY else 1, limit, order.stop_price or 0, order.quantity, filled,
            )  # fmt: skip
            found.append([self.told(order, first, one) for one in filled[:count].tolist()])
        return found
