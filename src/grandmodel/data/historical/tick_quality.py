"""What is wrong with a block of trades and quotes: one compiled pass that counts, and sets flags on rows.

Readers hand over rows as the file has them; this pass is the same for every source. Nothing is dropped: several equal
trades in one instant are separate trades. Rows out of order are sorted by (``ts_init``, ``sequence``).

=====================  =========  ==================================================================================
finding                treatment  meaning
=====================  =========  ==================================================================================
unsorted_rows          repaired   (``ts_init``, ``sequence``) falls against the row before; the block is sorted
early_knowledge        noted      ``ts_init`` is before ``ts_event``: the two clocks disagree
crossed_quotes         marked     bid above ask (``Flag.CROSSED``): the quote moves nothing, nothing fills on it
locked_quotes          noted      bid equals ask
one_sided_quotes       noted      one side of the quote is empty
empty_quotes           noted      both sides are empty
sizeless_trades        noted      a trade of size 0: a price without volume
negative_sizes         marked     a size below 0 (``Flag.BAD_STRETCH``)
impossible_prices      marked     a price at or below 0 of an instrument that has none such, or a huge one (``Flag.BAD_STRETCH``)
repeated_stamps        noted      ``ts_init`` equals the row before
repeated_trades        noted      a trade equals the row before in stamp, price, size and side; kept
price_jumps            noted      a step between trades (or mid quotes) beyond the band, see ``QualityLimits``
out_of_session_rows    noted      a row outside every session of the schedule
unchecked_sessions     noted      there is no schedule, so that no row is held against sessions
=====================  =========  ==================================================================================

Read next: ``reading.py`` (findings), ``domain.blocks`` (flags).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.data.market.soundness import is_impossible, lowest_price
from grandmodel.domain.blocks import BOOK, TICK, UNDEFINED_PRICE, Action, Block, Flag
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.kernels import kernel

_SHOWN = 5
# Plain integers, which compiled code takes as constants.
_UNDEFINED = int(UNDEFINED_PRICE)
_ACTION_TRADE, _ACTION_QUOTE = int(Action.TRADE), int(Action.QUOTE)
_FLAG_CROSSED, _FLAG_BAD = np.uint32(Flag.CROSSED), np.uint32(Flag.BAD_STRETCH)
(
    _UNSORTED, _EARLY, _CROSSED, _LOCKED, _ONE_SIDED, _EMPTY, _SIZELESS, _NEGATIVE, _IMPOSSIBLE, _STAMPS, _TRADES, _JUMPS,
    _OUTSIDE,
) = range(13)  # fmt: skip
_KINDS = (
    ("unsorted_rows", Treatment.REPAIRED, "rows came after later ones; the block is sorted by ts_init, then sequence"),
    ("early_knowledge", Treatment.NOTED, "ts_init is before ts_event: the source's clock runs ahead of the recorder's"),
    ("crossed_quotes", Treatment.MARKED, "bid above ask; kept and flagged, these quotes move nothing and fill nothing"),
    ("locked_quotes", Treatment.NOTED, "bid equals ask"),
    ("one_sided_quotes", Treatment.NOTED, "quotes have one side only"),
    ("empty_quotes", Treatment.NOTED, "quotes have neither side"),
    ("sizeless_trades", Treatment.NOTED, "trades of size 0 give a price and no volume"),
    ("negative_sizes", Treatment.MARKED, "sizes below 0; flagged as a bad stretch"),
    ("impossible_prices", Treatment.MARKED, "prices at or below 0 of an instrument without such; flagged as a bad stretch"),
    ("repeated_stamps", Treatment.NOTED, "rows share the stamp of the row before; their order is the file's"),
    ("repeated_trades", Treatment.NOTED, "trades equal the one before; they are separate trades and stay"),
    ("price_jumps", Treatment.NOTED, "steps far beyond the usual ones of this block"),
    ("out_of_session_rows", Treatment.NOTED, "rows lie outside the trading sessions of the calendar"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """How far a step between two prices may go before it is noted.

    A step is a jump where it exceeds both ``jump_multiple`` times the block's median step (of those that moved) and
    ``jump_ticks``. The median is not moved by the outliers that it is to find.
    """

    jump_multiple: float = 50.0
    jump_ticks: int = 20


def check_ticks(
    block: Block,
    instrument: Instrument,
    schedule: SessionSchedule | None = None,
    limits: QualityLimits | None = None,
) -> tuple[Block, list[Finding]]:
    """Check a block of trades and quotes of one instrument; set its flags.

    ``block`` (T,) of layout ``TICK`` is changed in place (flags only); where its rows were out of order a sorted copy
    is returned instead, and the rows in findings (all but ``unsorted_rows``) are those of the copy. Without a
    ``schedule`` sessions are not looked at, which is a finding. Raises ``UsageError`` for another layout.
    """
    if block.dtype != TICK:
        raise UsageError(f"found a block of layout {block.dtype}, expected trades or quotes")
    bounds = limits or QualityLimits()
    counts = np.zeros(len(_KINDS), dtype=np.int64)
    first_rows = np.zeros((len(_KINDS), _SHOWN), dtype=np.int64)
    block = _sorted(block, counts, first_rows)
    opens = schedule.open_ns if schedule is not None else np.zeros(0, dtype=np.int64)
    closes = schedule.close_ns if schedule is not None else np.zeros(0, dtype=np.int64)
    _scan(
        block, opens, closes, schedule is not None, lowest_price(instrument), _jump_band(block, bounds), counts, first_rows
    )  # fmt: skip
    found = _findings(counts, first_rows)
    if schedule is None and len(block):
        found.append(
            Finding(
                "unchecked_sessions",
                Treatment.NOTED,
                len(block),
                "no schedule: rows outside sessions are not looked for",
            )
        )
    return block, found


def check_book(block: Block) -> tuple[Block, list[Finding]]:
    """Check a block of order book events (layout ``BOOK``): the order of its rows and the two clocks.

    Whether the events make a sound book is the book's own check, not this one's. Returns the block, sorted in a copy
    where its rows were out of order.
    """
    if block.dtype != BOOK:
        raise UsageError(f"found a block of layout {block.dtype}, expected order book events")
    counts = np.zeros(len(_KINDS), dtype=np.int64)
    first_rows = np.zeros((len(_KINDS), _SHOWN), dtype=np.int64)
    block = _sorted(block, counts, first_rows)
    early = np.flatnonzero(block["ts_init"] < block["ts_event"])
    counts[_EARLY] = len(early)
    first_rows[_EARLY, : min(len(early), _SHOWN)] = early[:_SHOWN]
    return block, _findings(counts, first_rows)


def _sorted(block: Block, counts: NDArray[np.int64], first_rows: NDArray[np.int64]) -> Block:
    """``block``, or a copy in the order of (``ts_init``, ``sequence``); rows that were out of order are counted."""
    ts, sequence = block["ts_init"], block["sequence"]
    unsorted = (ts[1:] < ts[:-1]) | ((ts[1:] == ts[:-1]) & (sequence[1:] < sequence[:-1]))
    if not unsorted.any():
        return block
    counts[_UNSORTED] = np.count_nonzero(unsorted)
    shown = np.flatnonzero(unsorted)[:_SHOWN] + 1
    first_rows[_UNSORTED, : len(shown)] = shown
    return block[np.lexsort((sequence, ts))]


def _findings(counts: NDArray[np.int64], first_rows: NDArray[np.int64]) -> list[Finding]:
    found = []
    for slot, (kind, treatment, text) in enumerate(_KINDS):
        count = int(counts[slot])
        if count:
            rows = tuple(int(row) + 1 for row in first_rows[slot, : min(count, _SHOWN)])
            found.append(Finding(kind, treatment, count, text, rows))
    return found


def _jump_band(block: Block, limits: QualityLimits) -> tuple[int, int]:
    """The largest usual step of trades in ticks, and of mid quotes in half ticks."""
    is_trade = (block["action"] == Action.TRADE) & (block["price"] != UNDEFINED_PRICE)
    two_sided = (block["action"] == Action.QUOTE) & (block["bid_price"] != UNDEFINED_PRICE)
    two_sided &= (block["ask_price"] != UNDEFINED_PRICE) & (block["bid_price"] <= block["ask_price"])
    trades = block["price"][is_trade]
    mids = block["bid_price"][two_sided] + block["ask_price"][two_sided]
    return (
        max(int(limits.jump_multiple * _median_step(trades)), limits.jump_ticks),
        max(int(limits.jump_multiple * _median_step(mids)), 2 * limits.jump_ticks),
    )


def _median_step(levels: NDArray[np.int64]) -> float:
    steps = np.abs(np.diff(levels))
    moved = steps[steps != 0]
    return float(np.median(moved)) if len(moved) else 0.0


@kernel(inline=True)
def _note(counts: NDArray[np.int64], first_rows: NDArray[np.int64], slot: int, row: int) -> None:
    if counts[slot] < first_rows.shape[1]:
        first_rows[slot, counts[slot]] = row
    counts[slot] += 1


@kernel
def _session_after(closes: NDArray[np.int64], session: int, moment: int) -> int:
    """The first session that closes after ``moment``, searched from the one before; S where there is none."""
    while session < len(closes) and closes[session] <= moment:
        session += 1
    # Event times may step back a little against ts_init; walk back over the sessions passed too early.
    while session > 0 and closes[session - 1] > moment:
        session -= 1
    return session


@kernel
def _mark_impossible(row: Any, i: int, lowest: int, counts: NDArray[np.int64], first_rows: NDArray[np.int64]) -> None:
    if row["size"] < 0 or row["bid_size"] < 0 or row["ask_size"] < 0:
        _note(counts, first_rows, _NEGATIVE, i)
        row["flags"] |= _FLAG_BAD
    if (
        is_impossible(row["price"], lowest)
        or is_impossible(row["bid_price"], lowest)
        or is_impossible(row["ask_price"], lowest)
    ):
        _note(counts, first_rows, _IMPOSSIBLE, i)
        row["flags"] |= _FLAG_BAD


@kernel
def _is_same_trade(one: Any, other: Any) -> bool:
    same: bool = (
        one["action"] == other["action"]
        and one["ts_event"] == other["ts_event"]
        and one["ts_init"] == other["ts_init"]
        and one["price"] == other["price"]
        and one["size"] == other["size"]
        and one["side"] == other["side"]
    )
    return same


@kernel
def _scan(
    block: Block,
    opens: NDArray[np.int64],
    closes: NDArray[np.int64],
    has_schedule: bool,
    lowest: int,
    band: tuple[int, int],
    counts: NDArray[np.int64],
    first_rows: NDArray[np.int64],
) -> None:
    """Count every kind into ``counts`` (K,), keep its first rows in ``first_rows`` (K, 5), set flags on rows."""
    session = 0
    last_trade = _UNDEFINED
    last_mid = _UNDEFINED
    for i in range(len(block)):
        row = block[i]
        ts = row["ts_init"]
        if ts < row["ts_event"]:
            _note(counts, first_rows, _EARLY, i)
        if i > 0 and ts == block[i - 1]["ts_init"]:
            _note(counts, first_rows, _STAMPS, i)
        if has_schedule:
            moment = row["ts_event"]
            session = _session_after(closes, session, moment)
            if session >= len(opens) or moment < opens[session]:
                _note(counts, first_rows, _OUTSIDE, i)
        price, bid, ask = row["price"], row["bid_price"], row["ask_price"]
        _mark_impossible(row, i, lowest, counts, first_rows)
        if bid != _UNDEFINED and ask != _UNDEFINED and bid > ask:
            _note(counts, first_rows, _CROSSED, i)
            row["flags"] |= _FLAG_CROSSED
        if row["action"] == _ACTION_QUOTE:
            if bid == _UNDEFINED and ask == _UNDEFINED:
                _note(counts, first_rows, _EMPTY, i)
            elif bid == _UNDEFINED or ask == _UNDEFINED:
                _note(counts, first_rows, _ONE_SIDED, i)
            elif bid == ask:
                _note(counts, first_rows, _LOCKED, i)
            if bid != _UNDEFINED and ask != _UNDEFINED and bid <= ask:
                mid = bid + ask
                if last_mid != _UNDEFINED and abs(mid - last_mid) > band[1]:
                    _note(counts, first_rows, _JUMPS, i)
                last_mid = mid
        elif row["action"] == _ACTION_TRADE and price != _UNDEFINED:
            if row["size"] == 0:
                _note(counts, first_rows, _SIZELESS, i)
            if last_trade != _UNDEFINED and abs(price - last_trade) > band[0]:
                _note(counts, first_rows, _JUMPS, i)
            last_trade = price
            if i > 0 and _is_same_trade(block[i - 1], row):
                _note(counts, first_rows, _TRADES, i)
