"""Blocks: the structured arrays in which market data crosses the program.

A block is a read-only numpy structured array, ordered by (``ts_init``, ``sequence``), of one schema. Layouts follow
Databento's DBN records, with prices in ticks of the instrument and the ``instrument`` field an index into the run's
universe:

- ``trades`` and ``quotes`` share one layout, after DBN ``mbp-1``: a trade carries its print, a quote the best bid and
  ask after it, and a feed that sends both interleaves them in one block.
- ``book`` follows DBN ``mbo``: one event of one resting order.
- ``bars`` follows DBN ``ohlcv``, stamped at the close, with the open time beside it.
"""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.errors import UsageError

UNDEFINED_PRICE = 2**63 - 1
"""No price (as in DBN): a one-sided quote, a quote row's print."""

UNKNOWN_VOLUME = -1
"""The source did not say; never the same as zero."""

TICK = np.dtype(
    [
        ("ts_event", "<i8"),
        ("ts_init", "<i8"),
        ("price", "<i8"),
        ("bid_price", "<i8"),
        ("ask_price", "<i8"),
        ("size", "<i4"),
        ("bid_size", "<i4"),
        ("ask_size", "<i4"),
        ("sequence", "<u4"),
        ("instrument", "<u2"),
        ("action", "u1"),
        ("side", "u1"),
        ("flags", "<u4"),
    ]
)
"""Trades and quotes, 64 bytes a row."""

BOOK = np.dtype(
    [
        ("ts_event", "<i8"),
        ("ts_init", "<i8"),
        ("order_id", "<u8"),
        ("price", "<i8"),
        ("size", "<i4"),
        ("sequence", "<u4"),
        ("instrument", "<u2"),
        ("action", "u1"),
        ("side", "u1"),
        ("flags", "<u4"),
    ]
)
"""Market by order, 48 bytes a row."""

BAR = np.dtype(
    [
        ("ts_event", "<i8"),
        ("ts_init", "<i8"),
        ("ts_open", "<i8"),
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume", "<i8"),
        ("sequence", "<u4"),
        ("instrument", "<u2"),
        ("flags", "<u2"),
    ]
)
"""Bars, 72 bytes a row; ``ts_event`` is the close, ``volume`` is ``UNKNOWN_VOLUME`` where the source has none."""

Block = NDArray[np.void]
"""A structured array of one of the layouts above."""


class Schema(enum.StrEnum):
    """What a block's rows are."""

    TRADES = "trades"
    QUOTES = "quotes"
    BOOK = "book"
    BARS = "bars"

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The row layout of this schema."""
        return {"trades": TICK, "quotes": TICK, "book": BOOK, "bars": BAR}[self.value]


class Action(enum.IntEnum):
    """What a row does; DBN's letters, and two of our own for trading halts."""

    TRADE = ord("T")
    QUOTE = ord("Q")
    """Best bid and ask after any change (DBN sends A, C, M; only the result matters at one level)."""
    ADD = ord("A")
    CANCEL = ord("C")
    MODIFY = ord("M")
    CLEAR = ord("R")
    FILL = ord("F")
    NONE = ord("N")
    HALT = ord("H")
    RESUME = ord("U")


class BookSide(enum.IntEnum):
    """The side of a resting order, or the aggressor of a trade; DBN's letters."""

    ASK = ord("A")
    BID = ord("B")
    NONE = ord("N")


class Flag(enum.IntFlag):
    """Marks that the quality checks of the data room leave on a row."""

    LAST = 1
    """Last record of its venue message (DBN F_LAST)."""
    SNAPSHOT = 2
    ROLL = 4
    """First row after a contract roll: the step from the row before is carry, not a market move."""
    BAD_STRETCH = 8
    """Inside a marked bad stretch (a wrong contract, a broken feed): no decision, no training, no returns across it."""
    REPAIRED = 16
    """The quality checks changed this row; the import report counts it."""
    TRUNCATED = 32
    """Last row of a session that ended early without reason."""
    HALTED = 64
    CROSSED = 128
    """The quote was crossed at its source: it does not move the book, nothing fills on it."""


def empty_block(schema: Schema, rows: int) -> Block:
    """A writable array of ``rows`` rows with undefined prices; the caller fills it and calls ``freeze``."""
    block = np.zeros(rows, dtype=schema.dtype)
    for name in ("price", "bid_price", "ask_price"):
        if name in (schema.dtype.names or ()):
            block[name] = UNDEFINED_PRICE
    return block


def freeze(block: Block) -> Block:
    """Mark ``block`` read-only and hand it back."""
    block.flags.writeable = False
    return block


def check_order(block: Block) -> None:
    """Raise ``UsageError`` where ``block`` is not ordered by (``ts_init``, ``sequence``)."""
    ts = block["ts_init"]
    sequence = block["sequence"].astype(np.int64)
    backwards = (ts[1:] < ts[:-1]) | ((ts[1:] == ts[:-1]) & (sequence[1:] < sequence[:-1]))
    if backwards.any():
        row = int(np.argmax(backwards)) + 1
        raise UsageError(
            f"block row {row}: found ts_init {int(ts[row])} after {int(ts[row - 1])}, expected rows in order"
        )


def schema_of(block: Block) -> Schema:
    """The schema whose layout ``block`` has (``quotes`` for the layout that trades and quotes share)."""
    for schema in (Schema.BARS, Schema.QUOTES, Schema.BOOK):
        if block.dtype == schema.dtype:
            return schema
    raise UsageError(f"found a block of layout {block.dtype}, expected trades, quotes, book or bars")
