"""Which rows no market makes: one rule for files and for the engine's door.

The importer leaves such rows out of a file, the market step leaves them out of a stream: a file has a report that says so, a stream has
counters, an alert and the ladder's ``data_quality`` trigger. A row is refused for

- its stamps: outside 1970 to 2100 or far beyond the sessions that the run knows; a bar that ends before it opens, or is known before it ends;
- its prices: none where there must be one, beyond ``MAX_PRICE_TICKS``, or at or below zero of an instrument that has none such;
- its shape: a bar whose high is not its highest or whose low is not its lowest price;
- its sizes: below zero, or a volume beyond ``LARGEST_VOLUME``;
- a jump: a price of ``JUMP`` times the mark or more, or of a ``JUMP``th or less, unless the row begins a new contract. Where prices may be zero
  or below, a distance of ``JUMP`` times the mark. The importer only notes jumps, since it sees what came after them.

Read next: ``runtime/market_step.py`` (the door), ``data/historical/quality.py`` and ``tick_quality.py`` (files).
"""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE, UNKNOWN_VOLUME
from grandmodel.domain.instruments import MAX_PRICE_TICKS, Instrument
from grandmodel.kernels import kernel

FIRST_STAMP_NS = 0
LAST_STAMP_NS = 4_102_444_800 * 1_000_000_000
"""2100: a stamp outside 1970 to 2100 is no market's."""

LARGEST_VOLUME = 2**53
"""Lots of one bar."""

JUMP = 100
LEAST_PRICE_TICKS = 10
"""Below this a price counts as this: among the first few ticks a multiple says nothing."""
LEAST_REFERENCE_TICKS = 100
"""The same for a mark that may be zero or below."""

_UNDEFINED, _UNKNOWN, _MAX = int(UNDEFINED_PRICE), int(UNKNOWN_VOLUME), int(MAX_PRICE_TICKS)


class Fault(enum.IntEnum):
    """Why a row is refused."""

    NONE = 0
    STAMP = 1
    PRICE = 2
    SHAPE = 3
    SIZE = 4
    JUMP = 5

    @property
    def text(self) -> str:
        """For people."""
        return _TEXTS[self]


_TEXTS = (
    "nothing",
    "a stamp that cannot be",
    "a price that the instrument cannot have",
    "a high or low inside its own bar",
    "a negative or huge size",
    f"a price {JUMP} times away from the last",
)
_NONE, _STAMP, _PRICE, _SHAPE, _SIZE, _JUMPED = (int(fault) for fault in Fault)


def lowest_price(instrument: Instrument) -> int:
    """The lowest price in ticks that ``instrument`` can have."""
    return -MAX_PRICE_TICKS if instrument.negative_prices else 1


@kernel(inline=True)
def is_impossible(price: int, lowest: int) -> bool:
    """True for a price that the instrument cannot have; an undefined one is none at all."""
    return price != _UNDEFINED and (price < lowest or price > _MAX)


@kernel(inline=True)
def is_jump(price: int, mark: int, lowest: int) -> bool:
    """True where ``price`` is too far from ``mark`` to be the same market; both are possible prices."""
    if lowest > 0:
        return max(price, mark) >= JUMP * max(min(price, mark), LEAST_PRICE_TICKS)
    return abs(price - mark) >= JUMP * max(abs(mark), LEAST_REFERENCE_TICKS)


@kernel(inline=True)
def trade_fault(price: int, size: int, mark: int, lowest: int) -> int:
    """The ``Fault`` of a print; ``mark`` is ``UNDEFINED_PRICE`` where a jump cannot or need not be told."""
    if price < lowest or price > _MAX:
        return _PRICE
    if size < 0:
        return _SIZE
    if mark != _UNDEFINED and is_jump(price, mark, lowest):
        return _JUMPED
    return _NONE


@kernel(inline=True)
def quote_fault(bid: int, ask: int, bid_size: int, ask_size: int, mark: int, lowest: int) -> int:
    """The ``Fault`` of a best bid and ask, of which either may be undefined; the middle is what may not jump."""
    if is_impossible(bid, lowest) or is_impossible(ask, lowest):
        return _PRICE
    if bid_size < 0 or ask_size < 0:
        return _SIZE
    if mark == _UNDEFINED:
        return _NONE
    if bid == _UNDEFINED:
        if ask == _UNDEFINED:
            return _NONE
        middle = ask
    elif ask == _UNDEFINED:
        middle = bid
    else:
        middle = (bid + ask) >> 1
    return _JUMPED if is_jump(middle, mark, lowest) else _NONE


@kernel(inline=True)
def bar_price_fault(open_: int, high: int, low: int, close: int, lowest: int) -> int:
    """The ``Fault`` of a bar's four prices, seen by themselves."""
    if min(open_, high, low, close) < lowest or max(open_, high, low, close) > _MAX:
        return _PRICE
    if high < max(open_, close) or low > min(open_, close):
        return _SHAPE
    return _NONE


@kernel
def bar_fault(open_: int, high: int, low: int, close: int, volume: int, mark: int, lowest: int) -> int:
    """The ``Fault`` of a bar's prices and volume; ``mark`` as for ``trade_fault``."""
    fault = bar_price_fault(open_, high, low, close, lowest)
    if fault != _NONE:
        return fault
    if (volume < 0 and volume != _UNKNOWN) or volume > LARGEST_VOLUME:
        return _SIZE
    if mark != _UNDEFINED and (is_jump(high, mark, lowest) or is_jump(low, mark, lowest)):
        return _JUMPED
    return _NONE


@kernel
def bar_price_faults(
    opens: NDArray[np.int64], highs: NDArray[np.int64], lows: NDArray[np.int64], closes: NDArray[np.int64], lowest: int
) -> NDArray[np.int8]:
    """``bar_price_fault`` of every row, (T,)."""
    faults = np.zeros(len(opens), np.int8)
    for k in range(len(opens)):
        faults[k] = bar_price_fault(opens[k], highs[k], lows[k], closes[k], lowest)
    return faults


@kernel(inline=True)
def bar_stamps_are_sound(ts_open: int, ts_event: int, ts_init: int, last: int) -> bool:
    """True where a bar opens, ends and is known in this order, all of it between 1970 and ``last``."""
    return FIRST_STAMP_NS <= ts_open < ts_event <= ts_init <= last
