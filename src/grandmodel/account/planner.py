"""From a wish for a position to orders, cancels and changes, as far as risk lets them leave.

``pursue_target`` trades the difference between what is wanted and what is held or on its way, and puts down each thing that it does as a
row of what was asked (``risk.rows.ASKED``), in the order in which they leave. The engine makes domain values of the rows, for the record and
for a venue; a training environment puts them into its slots. What leaves counts at once (``risk.leaving``).

- Resting entries of an earlier wish are cancelled first.
- What reduces the position is an order of its own, before what opens the other way, so that a limit on new risk never stops a way
  out.
- When the position shrinks, protective orders shrink with it, or are placed anew where the wish names new distances; when it ends or
  turns they are cancelled.
- With a stop or target distance the entry becomes a bracket: its children start when it fills, and each reduces the other. An entry
  whose children risk does not let through is cancelled before it can fill.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.orders import OrderType, TimeInForce
from grandmodel.domain.time import NEVER_NS
from grandmodel.kernels import kernel
from grandmodel.risk.flow import count_message
from grandmodel.risk.leaving import ask
from grandmodel.risk.order_terms import HAS_LIMIT
from grandmodel.risk.rows import AccountRows, rows_of
from grandmodel.risk.working import TAGS, place_of

NEW, CANCEL, CHANGE = 1, 2, 3
"""What a row is: a new order, a cancel, a change of quantity."""

WHYS = ("", "retarget", "unprotected", "no_price", "bad_stretch", "too_late", "change_under_way")
"""Why an order is cancelled, or was never put to the checks, by the number in the row."""

_RETARGET, UNPROTECTED, _NO_PRICE, _BAD_STRETCH, _TOO_LATE, _UNDER_WAY = range(1, len(WHYS))
_ENTRY, _EXIT, _STOP_TAG, _TARGET_TAG = (TAGS.index(tag) for tag in ("entry", "exit", "stop", "target"))
_MARKET, _LIMIT, _STOP = int(OrderType.MARKET), int(OrderType.LIMIT), int(OrderType.STOP)
_DAY, _GTC = int(TimeInForce.DAY), int(TimeInForce.GTC)


class Target(NamedTuple):
    """A wish for a position, and what its orders must know beside the account."""

    instrument: int
    lots: int
    """Signed."""
    passive: bool
    """True: what opens rests at the best price of our own side, or the mark where no quotes are known; False: it goes at the market."""
    stop_ticks: int
    """Distance of a protective stop from the mark; 0: none."""
    target_ticks: int
    """Distance of a take-profit; 0: none."""
    effective_ts: int
    """When the venue is to have the orders; 0: at once."""
    in_bad_stretch: bool
    """True while prices are marked bad: nothing new is sent."""


@kernel
def position_coming(rows: AccountRows, n: int, i: int) -> int:
    """What the position becomes once the market orders on their way have filled, in the order in which they were sent.

    Orders that are being cancelled, and protective ones, are taken not to fill. What one order of a group fills is no longer there for the
    others, and a reduce-only order closes at most what is there.
    """
    count = rows.out[n].count
    position = rows.seen[n, i].position
    for k in range(count):
        row = rows.working[n, k]
        row.coming = 0
        is_protective = row.tag == _STOP_TAG or row.tag == _TARGET_TAG
        if row.instrument != i or row.order_type != _MARKET or row.cancel_asked or is_protective:
            continue
        lots = row.quantity - row.filled - row.reduced
        if row.group != 0:
            for other in range(k):
                if rows.working[n, other].group == row.group:
                    lots -= rows.working[n, other].coming
        lots = max(0, lots)
        if row.reduce_only:
            lots = min(lots, max(0, -position * row.side))
        row.coming = lots
        position += lots * row.side
    return int(position)


@kernel
def put_cancel(rows: AccountRows, n: int, k: int, place: int, why: int) -> int:
    """Ask for the cancel of the open order in row ``place``; the next free row of what is asked. Once is enough."""
    row = rows.working[n, place]
    if row.cancel_asked:
        return k
    row.cancel_asked = 1
    ts = rows.moment[n].ts
    count_message(rows, n, ts)
    asked = rows.asked[n, k]
    asked.kind, asked.why, asked.order_id, asked.instrument, asked.ts = CANCEL, why, row.order_id, row.instrument, ts
    asked.approved = asked.reason = asked.noted = 0
    return k + 1


@kernel
def put_change(rows: AccountRows, n: int, m: int, k: int, place: int, quantity: int, effective_ts: int) -> int:
    """Ask for another quantity of the open order in row ``place``; the next free row of what is asked."""
    row, asked = rows.working[n, place], rows.asked[n, k]
    asked.kind, asked.order_id, asked.instrument = CHANGE, row.order_id, row.instrument
    asked.approved = asked.reason = asked.noted = 0
    if row.cancel_asked or row.changing:
        asked.why = _TOO_LATE if row.cancel_asked else _UNDER_WAY
        return k + 1
    asked.why = 0
    asked.side, asked.quantity, asked.order_type, asked.time_in_force = (
        row.side,
        quantity,
        row.order_type,
        row.time_in_force,
    )
    asked.price, asked.stop_price, asked.ts = row.price, row.stop_price, rows.moment[n].ts
    if not HAS_LIMIT[row.order_type]:
        asked.price = UNDEFINED_PRICE  # What is left of a market-to-limit order rests at a price that it never named.
    asked.trail_ticks, asked.display_quantity = row.trail_ticks, row.display_quantity
    asked.effective_ts, asked.expire_ts, asked.parent, asked.group = (
        effective_ts,
        row.expire_ts,
        row.named_parent,
        row.group,
    )
    asked.reduce_only, asked.tag = row.reduce_only, row.tag
    ask(rows, n, m, k)
    return k + 1


@kernel
def put_order(
    rows: AccountRows, n: int, m: int, k: int, wish: Target, signed_lots: int, order_type: int, price: int, stop_price: int,
    time_in_force: int, parent: int, group: int, tag: int, order_id: int,
) -> int:  # fmt: skip
    """Ask for a new order of a wish; the lots that left, 0 where none did."""
    asked = rows.asked[n, k]
    asked.kind, asked.why, asked.order_id, asked.instrument = NEW, 0, order_id, wish.instrument
    asked.side, asked.quantity = 1 if signed_lots > 0 else -1, abs(signed_lots)
    asked.order_type, asked.time_in_force, asked.price, asked.stop_price = order_type, time_in_force, price, stop_price
    asked.ts, asked.effective_ts, asked.expire_ts = rows.moment[n].ts, wish.effective_ts, NEVER_NS
    asked.trail_ticks = asked.display_quantity = 0
    asked.parent, asked.group, asked.reduce_only, asked.tag = parent, group, 0, tag
    asked.approved = asked.reason = asked.noted = 0
    if wish.in_bad_stretch:
        asked.why = _BAD_STRETCH
        return 0
    return ask(rows, n, m, k)


@kernel
def pursue_target(rows: AccountRows, n: int, m: int, wish: Target, last_order: int) -> tuple[int, int]:
    """Trade towards ``wish`` on account ``n`` with the limits of row ``m``; (rows of what was asked, the last order number given).

    ``last_order`` is the highest order number so far. There must be room for two rows an open order and six more, and for as many
    orders.
    """
    i, k = wish.instrument, 0
    count = rows.out[n].count
    for place in range(count):
        row = rows.working[n, place]
        is_protective = row.tag == _STOP_TAG or row.tag == _TARGET_TAG
        if row.instrument == i and not is_protective and row.order_type != _MARKET:
            k = put_cancel(rows, n, k, place, _RETARGET)
    expected = position_coming(rows, n, i)
    change = wish.lots - expected
    if change == 0:
        return k, last_order
    is_protected = wish.stop_ticks != 0 or wish.target_ticks != 0
    closing = 0
    if expected != 0 and (expected > 0) != (change > 0):
        closing = min(abs(change), abs(expected)) * (1 if change > 0 else -1)
    if closing != 0:
        k = _adapt_protection(rows, n, m, k, i, count, abs(expected + closing), is_protected, wish.effective_ts)
        last_order += 1
        put_order(
            rows, n, m, k, wish, closing, _MARKET, UNDEFINED_PRICE, UNDEFINED_PRICE, _DAY, 0, 0, _EXIT, last_order
        )
        k += 1
    opening = change - closing
    if opening != 0:
        return _open(rows, n, m, k, wish, opening, is_protected, last_order)
    if wish.lots != 0 and is_protected:
        k, last_order, _ = _protect(rows, n, m, k, wish, wish.lots, 0, last_order)
    return k, last_order


@kernel
def _adapt_protection(
    rows: AccountRows, n: int, m: int, k: int, i: int, count: int, left: int, places_anew: bool, effective_ts: int
) -> int:
    """Before a way out: shrink the protective orders to the ``left`` lots, or cancel them."""
    for place in range(count):
        row = rows.working[n, place]
        if row.instrument != i or (row.tag != _STOP_TAG and row.tag != _TARGET_TAG):
            continue
        if left != 0 and not places_anew:
            k = put_change(rows, n, m, k, place, row.filled + row.reduced + left, effective_ts)
        else:
            k = put_cancel(rows, n, k, place, _RETARGET)
    return k


@kernel
def _open(
    rows: AccountRows, n: int, m: int, k: int, wish: Target, signed_lots: int, is_protected: bool, last_order: int
) -> tuple[int, int]:
    """The entry, and its children where it is to be protected."""
    price = UNDEFINED_PRICE
    if wish.passive:
        seen = rows.seen[n, wish.instrument]
        price = seen.bid if signed_lots > 0 else seen.ask
        if price == UNDEFINED_PRICE:
            price = seen.mark
    if wish.passive and price == UNDEFINED_PRICE:
        asked = rows.asked[n, k]
        asked.kind, asked.why, asked.order_id, asked.instrument = NEW, _NO_PRICE, 0, wish.instrument
        asked.side, asked.quantity = 1 if signed_lots > 0 else -1, abs(signed_lots)
        asked.approved = asked.reason = asked.noted = 0
        return k + 1, last_order
    last_order += 1
    entry = last_order
    order_type = _LIMIT if wish.passive else _MARKET
    sent = put_order(rows, n, m, k, wish, signed_lots, order_type, price, UNDEFINED_PRICE, _DAY, 0, 0, _ENTRY, entry)
    k += 1
    if sent == 0 or not is_protected:
        return k, last_order
    signed = sent if signed_lots > 0 else -sent
    k, last_order, all_sent = _protect(rows, n, m, k, wish, signed, entry, last_order)
    if not all_sent:
        # The cancel reaches the venue with the entry, before it can fill.
        k = put_cancel(rows, n, k, place_of(rows.working, n, rows.out[n].count, entry), UNPROTECTED)
    return k, last_order


@kernel
def _protect(
    rows: AccountRows, n: int, m: int, k: int, wish: Target, signed_lots: int, parent: int, last_order: int
) -> tuple[int, int, bool]:
    """Stop and target around the mark for ``signed_lots``; the first to fill reduces and ends the other.

    False where the mark is not known or risk refused one of them.
    """
    mark = rows.seen[n, wish.instrument].mark
    if mark == UNDEFINED_PRICE:
        return k, last_order, False
    direction = 1 if signed_lots > 0 else -1
    group = -(last_order + 1)  # Below 0: those above are the agents' own.
    all_sent = True
    if wish.stop_ticks != 0:
        last_order += 1
        level = mark - wish.stop_ticks * direction
        sent = put_order(
            rows, n, m, k, wish, -signed_lots, _STOP, UNDEFINED_PRICE, level, _GTC, parent, group, _STOP_TAG, last_order
        )
        all_sent = all_sent and sent != 0
        k += 1
    if wish.target_ticks != 0:
        last_order += 1
        level = mark + wish.target_ticks * direction
        sent = put_order(
            rows,
            n,
            m,
            k,
            wish,
            -signed_lots,
            _LIMIT,
            level,
            UNDEFINED_PRICE,
            _GTC,
            parent,
            group,
            _TARGET_TAG,
            last_order,
        )
        all_sent = all_sent and sent != 0
        k += 1
    return k, last_order, all_sent


@kernel(borrows=True)
def pursue_target_at(
    handle: NDArray[np.int64], n: int, instrument: int, lots: int, passive: bool, stop_ticks: int, target_ticks: int,
    effective_ts: int, in_bad_stretch: bool, last_order: int,
) -> tuple[int, int]:  # fmt: skip
    """``pursue_target`` for account ``n`` behind ``handle``."""
    wish = Target(instrument, lots, passive, stop_ticks, target_ticks, effective_ts, in_bad_stretch)
    return pursue_target(rows_of(handle), n, 0, wish, last_order)
