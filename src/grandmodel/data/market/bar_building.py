"""Bars from trades, quotes or shorter bars, compiled, one step at a time.

An instrument has one builder per width, shortest first; every width is a multiple of the shortest. Rows feed the shortest
builder that they fit into, and a closed bar feeds the longer ones, so a trade costs the same however many widths are
kept. Bars start at the session's open and end at its close. A bar without data is not made up. Used by
``runtime/market_step.py``; the plain reference is ``tests/unit/data/test_bar_building.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNKNOWN_VOLUME
from grandmodel.domain.time import NEVER_NS
from grandmodel.kernels import kernel

Rows = NDArray[np.void]

_I8 = "<i8"
_SIZELESS = UNKNOWN_VOLUME - 1
"""Volume of a bar in the making that holds a print of unknown size: later sizes do not make it known."""

BUILDER = np.dtype(
    [
        ("width", _I8),
        ("filled", _I8),  # 1 while the bar has data
        ("by_price", _I8),  # 1: made of single prices; 0: of shorter bars
        ("due", _I8),  # when the bar is complete to us
        ("start", _I8),
        ("end", _I8),
        ("open", _I8),
        ("high", _I8),
        ("low", _I8),
        ("close", _I8),
        ("volume", _I8),
        ("flags", _I8),
        ("instrument", _I8),
    ]
)
"""A bar in the making; as a row of the closed-bar array, a finished one."""


@kernel(inline=True)
def add_price(
    builders: Rows, i: int, ts: int, price: int, size: int, session_open: int, session_close: int, flags: int
) -> int:
    """Add one price to the shortest bar of instrument ``i``; the time at which that bar is due.

    ``size`` is ``UNKNOWN_VOLUME`` for a quote, and 0 for a print whose size the source did not say: no print has none, so the volume
    of its bar is unknown. The caller has closed every bar due at or before ``ts``.
    """
    bar = builders[i, 0]
    if bar.filled == 0:
        _open_bar(builders, i, 0, ts, price, session_open, session_close)
        bar.due = bar.end
        bar.by_price = 1
        bar.volume = size if size != 0 else _SIZELESS
        bar.flags = flags
        return int(bar.due)
    bar.high = max(bar.high, price)
    bar.low = min(bar.low, price)
    bar.close = price
    if size == 0:
        bar.volume = _SIZELESS
    elif size > 0 and bar.volume != _SIZELESS:
        bar.volume = size if bar.volume < 0 else bar.volume + size
    bar.flags |= flags
    return int(bar.due)


@kernel
def add_bar(
    builders: Rows,
    i: int,
    ts_open: int,
    ts_close: int,
    ts_init: int,
    open_: int,
    high: int,
    low: int,
    close: int,
    volume: int,
    flags: int,
    session_open: int,
    session_close: int,
) -> int:
    """Add one finished bar to every builder of instrument ``i`` that is at least as wide; the earliest time one is due."""
    due = NEVER_NS
    for w in range(builders.shape[1]):
        if builders[i, w].width >= ts_close - ts_open:
            merged = _merge(
                builders,
                i,
                w,
                ts_open,
                ts_close,
                ts_init,
                open_,
                high,
                low,
                close,
                volume,
                flags,
                session_open,
                session_close,
            )
            due = min(due, merged)
    return due


@kernel
def hasten_passed(builders: Rows, i: int, ts_open: int, due: int) -> bool:
    """Make every bar of instrument ``i`` that ended by ``ts_open`` due at ``due``; True where there was one.

    A feed that catches up after an outage delivers the first bar of the next bin before the last bin was due.
    """
    found = False
    for w in range(builders.shape[1]):
        bar = builders[i, w]
        if bar.filled and bar.end <= ts_open and bar.due > due:
            bar.due = due
            found = True
    return found


@kernel
def close_due(builders: Rows, closed: Rows, count: int, schedule: Rows, ts: int) -> int:
    """Move every bar due at or before ``ts`` to ``closed`` (from row ``count``), by instrument, then width; the new count.

    ``schedule``, shape (I,), has the fields ``session_open`` and ``session_close``: each instrument's present session.
    """
    for i in range(builders.shape[0]):
        for w in range(builders.shape[1]):
            bar = builders[i, w]
            if bar.filled == 0 or bar.due > ts:
                continue
            bar.filled = 0
            out = closed[count]
            count += 1
            out.width, out.start, out.end, out.due = bar.width, bar.start, bar.end, bar.due
            out.open, out.high, out.low, out.close = bar.open, bar.high, bar.low, bar.close
            out.volume, out.flags, out.instrument = max(bar.volume, UNKNOWN_VOLUME), bar.flags, i
            if w > 0 or bar.by_price == 0:
                continue  # Finished bars reach the longer builders directly, in ``add_bar``.
            for longer in range(1, builders.shape[1]):
                _merge(
                    builders, i, longer, bar.start, bar.end, bar.end, bar.open, bar.high, bar.low, bar.close,
                    bar.volume, bar.flags, schedule[i].session_open, schedule[i].session_close,
                )  # fmt: skip
    return count


@kernel
def earliest_due(builders: Rows) -> int:
    """The earliest time at which any bar is complete; 2^63 - 1 while none has data."""
    due = NEVER_NS
    for i in range(builders.shape[0]):
        for w in range(builders.shape[1]):
            if builders[i, w].filled:
                due = min(due, builders[i, w].due)
    return due


@kernel
def _merge(
    builders: Rows,
    i: int,
    w: int,
    ts_open: int,
    ts_close: int,
    ts_init: int,
    open_: int,
    high: int,
    low: int,
    close: int,
    volume: int,
    flags: int,
    session_open: int,
    session_close: int,
) -> int:
    """Add a finished bar to one builder; the time at which that builder is due.

    A feed that delivers bars late is late for the longer bar too, so the bar is due that much after its end.
    """
    bar = builders[i, w]
    if bar.filled == 0:
        _open_bar(builders, i, w, ts_open, open_, session_open, session_close)
        bar.end = max(bar.end, ts_close)
        bar.volume = volume
        bar.by_price = 0
        bar.flags = 0
    elif volume < 0 or bar.volume < 0:
        bar.volume = UNKNOWN_VOLUME
    else:
        bar.volume += volume
    bar.high = max(bar.high, high)
    bar.low = min(bar.low, low)
    bar.close = close
    bar.flags |= flags
    bar.due = bar.end + (ts_init - ts_close)
    return int(bar.due)


@kernel
def _open_bar(builders: Rows, i: int, w: int, ts: int, price: int, session_open: int, session_close: int) -> None:
    """Start the bar that contains ``ts``: bins count from the session's open; outside a session from the epoch."""
    bar = builders[i, w]
    if session_open <= ts < session_close:
        bar.start = session_open + (ts - session_open) // bar.width * bar.width
        bar.end = min(bar.start + bar.width, session_close)
    else:
        bar.start = ts // bar.width * bar.width
        bar.end = bar.start + bar.width
        if ts < session_open < bar.end:
            bar.end = session_open
    bar.filled = 1
    bar.open = price
    bar.high = price
    bar.low = price
    bar.close = price
