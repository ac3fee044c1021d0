"""What a fill does to a position and to cash: the one rule of the ledger, of the engine's market step and of training.

The ledger's rows are ``HOLDING``, one an instrument, and ``CASH``, one a currency; ``account.ledger`` owns them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.money import converted
from grandmodel.kernels import kernel, table_reader

Rows = NDArray[Any]
"""Structured rows; numpy has no type for their fields."""

_I8 = "<i8"

HOLDING = np.dtype(
    [
        ("lots", _I8),  # signed, long positive
        ("cost", _I8),  # of the open lots: lots x entry price x tick value, signed like the lots
        ("mark", _I8),  # ticks; UNDEFINED_PRICE before the first
        ("realised", _I8),  # profit of closed lots, before fees
        ("fees", _I8),  # paid, positive
        ("traded", _I8),  # lots bought and sold, both counted positive
        ("settled", _I8),  # the final settlement price, in ticks; UNDEFINED_PRICE while the instrument lives
        ("tick_value", _I8),
        ("spot", _I8),  # 1: the whole price is paid
        ("currency", _I8),  # row of CASH
    ]
)
"""One row an instrument: what is held of it; money in millionths of its currency."""

CASH = np.dtype([("amount", _I8), ("rate", _I8)])
"""One row a currency: millionths of it, and millionths of the base currency that one unit is worth."""

MAX_VALUE_MICROS = 2**60
"""The largest position value in millionths: a million million currency units. Above it the compiled step could wrap."""

BOOKED, NO_LOTS, TOO_LARGE, TOO_MUCH_CASH = range(4)
"""What came of a fill that was to be booked."""


@kernel
def book_fill(lots: int, cost: int, signed_lots: int, price: int, tick_value: int) -> tuple[int, int, int]:
    """(lots, cost, realised profit) of a position of ``lots`` that cost ``cost`` after ``signed_lots`` filled at ``price`` ticks.

    Cost is the average cost, in micros, signed like the lots: what cannot be divided exactly stays with the lots that remain open, so
    nothing is lost. Profit is before fees. The caller sees to it that no product leaves 64 bits.
    """
    opening, realised = signed_lots, 0
    if lots != 0 and (lots > 0) != (signed_lots > 0):
        closed = min(abs(signed_lots), abs(lots)) * (1 if lots > 0 else -1)
        share, size = abs(closed), abs(lots)
        cost_closed = cost // size * share + cost % size * share // size
        realised = price * closed * tick_value - cost_closed
        cost -= cost_closed
        opening = signed_lots + closed
    return lots + signed_lots, cost + price * opening * tick_value, realised


@kernel
def marked_value(lots: int, cost: int, mark: int, tick_value: int, spot: int) -> int:
    """What a position adds to equity, micros: its market value where the whole price is paid, else its gain over cost."""
    if lots == 0:
        return 0
    value = lots * mark * tick_value
    return value if spot else value - cost


@kernel
def book(holdings: Rows, cash: Rows, i: int, signed_lots: int, price: int, fee: int) -> int:
    """Enter one fill of instrument ``i``: ``BOOKED``, or why it was not, with nothing changed.

    The position is marked at the fill price where it had no mark yet.
    """
    held = holdings[i]
    if signed_lots == 0:
        return NO_LOTS
    widest = max(abs(held.lots), abs(signed_lots), abs(held.lots + signed_lots))
    near = float(widest) * abs(float(price)) * held.tick_value
    if near > 2.0 * MAX_VALUE_MICROS or widest * abs(price) * held.tick_value > MAX_VALUE_MICROS:
        return TOO_LARGE
    lots, cost, realised = book_fill(held.lots, held.cost, signed_lots, price, held.tick_value)
    change = realised if held.spot == 0 else -signed_lots * price * held.tick_value
    amount = cash[held.currency].amount + change - fee
    if abs(amount) > 2 * MAX_VALUE_MICROS or abs(held.realised + realised) > 4 * MAX_VALUE_MICROS:
        return TOO_MUCH_CASH
    cash[held.currency].amount = amount
    held.lots, held.cost = lots, cost
    held.realised += realised
    held.fees += fee
    held.traded += abs(signed_lots)
    if held.mark == UNDEFINED_PRICE:
        held.mark = price
    return BOOKED


@kernel
def marked_base(holdings: Rows, cash: Rows, i: int) -> int:
    """What the position of instrument ``i`` adds to equity, in millionths of the base currency."""
    held = holdings[i]
    value = marked_value(held.lots, held.cost, held.mark, held.tick_value, held.spot)
    return converted(value, cash[held.currency].rate)


@kernel
def equity_of(holdings: Rows, cash: Rows) -> int:
    """Cash plus marked positions, in millionths of the base currency, each amount rounded down."""
    total = 0
    for row in range(cash.shape[0]):
        total += converted(cash[row].amount, cash[row].rate)
    for i in range(holdings.shape[0]):
        total += marked_base(holdings, cash, i)
    return total


books_of = table_reader("Holdings", (("holdings", HOLDING, 1), ("cash", CASH, 1)))
"""In compiled code: what is behind ``Ledger.handle``."""


@kernel(borrows=True)
def book_at(handle: NDArray[np.int64], i: int, signed_lots: int, price: int, fee: int) -> int:
    """``book`` behind ``handle``."""
    books = books_of(handle)
    return book(books.holdings, books.cash, i, signed_lots, price, fee)


@kernel(borrows=True)
def equity_at(handle: NDArray[np.int64]) -> int:
    """``equity_of`` behind ``handle``."""
    books = books_of(handle)
    return equity_of(books.holdings, books.cash)
