"""Orders that have been sent and may still fill, and the most that they can do to each position.

An approved order counts at once, in full, until the venue says that it ended. Per instrument the sums of open buys and
open sells give both ends of what the position can become: ``position + buys`` and ``position - sells``.

- Orders of one one-cancels-other group count as the largest of them per side (``domain/groups.py``): each counts whole, less what
  the others filled since it joined. One that has just joined comes on top until the venue has said that it is there.
- A bracket's child counts only as far as its parent has filled, because it starts with as many lots as that.
- A change counts as the larger of the old and the new quantity until the venue confirms it.
- A reduce-only order counts like any other: that the venue lets it close only is not relied on.

The kernels work on ``AccountRows`` (``rows.py``); ``WorkingOrders`` is the same for Python, over the rows of one account. Sums are
reckoned anew from the open orders of the instrument at each change: there are few of them, and nothing can drift. What they changed by is
added to every account above, in the same call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.groups import was_there
from grandmodel.domain.orders import ExecType, OrderType
from grandmodel.domain.report_rows import EXEC_CODES
from grandmodel.kernels import kernel
from grandmodel.risk.flow import count_message
from grandmodel.risk.order_terms import LEAVES_LIMIT
from grandmodel.risk.rows import OUT, WORKING, AccountRows, AccountState, Rows, rows_of

Row = Any
"""One row of a structured array inside compiled code."""

_LIMIT = int(OrderType.LIMIT)
_TRADE, _REPLACED, _CANCEL_REJECTED = (
    EXEC_CODES[kind] for kind in (ExecType.TRADE, ExecType.REPLACED, ExecType.CANCEL_REJECTED)
)
_CANCELED, _REJECTED, _EXPIRED = (EXEC_CODES[kind] for kind in (ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED))


@kernel
def place_of(working: Rows, n: int, count: int, order_id: int) -> int:
    """The row of an open order of account ``n``; -1 where it is none."""
    for k in range(count - 1, -1, -1):
        if working[n, k].order_id == order_id:
            return k
    return -1


@kernel(inline=True)
def _open_lots(quantity: int, pending: int, parent: int, filled: int, reduced: int, woken: int) -> int:
    """Lots that one order alone can still fill."""
    most = max(quantity, pending)
    if parent != 0:
        most = min(most, woken)
    return max(0, most - filled - reduced)


@kernel
def open_lots_of(working: Rows, n: int, k: int) -> int:
    """Lots that the order in row ``k`` alone can still fill."""
    row = working[n, k]
    return _open_lots(row.quantity, row.pending, row.parent, row.filled, row.reduced, row.woken)


@kernel
def _group_lots(
    working: Rows,
    n: int,
    count: int,
    heard: int,
    instrument: int,
    group: int,
    side: int,
    instead: int,
    batch: int,
    lots: int,
) -> int:
    """The most that one side of a group can still fill (``domain/groups.py``).

    The order ``instead`` (0: none) counts as sent in ``batch`` with ``lots`` open, whether it is among the rows or not.
    """
    total = 0
    mine = max(batch, heard)
    largest = lots if instead != 0 else 0
    for k in range(count):
        row = working[n, k]
        if row.group != group or row.instrument != instrument or row.side != side or row.order_id == instead:
            continue
        known = max(row.batch, heard)
        if instead != 0 and known == mine:
            largest = max(largest, open_lots_of(working, n, k))
            continue
        best, is_first = 0, True
        for other in range(count):
            twin = working[n, other]
            if twin.group != group or twin.instrument != instrument or twin.side != side or twin.order_id == instead:
                continue
            if max(twin.batch, heard) == known:
                if other < k:
                    is_first = False
                    break
                best = max(best, open_lots_of(working, n, other))
        if is_first:
            total += best
    return total + largest


@kernel
def recount(rows: AccountRows, n: int, i: int) -> None:
    """Reckon what account ``n`` can still buy and sell of instrument ``i``; every account above it moves by as much."""
    out = rows.out[n]
    count, heard = out.count, out.heard
    buys = sells = 0
    for k in range(count):
        row = rows.working[n, k]
        if row.instrument != i:
            continue
        lots = 0
        if row.group == 0:
            lots = open_lots_of(rows.working, n, k)
        else:
            is_first = True
            for other in range(k):
                twin = rows.working[n, other]
                if twin.group == row.group and twin.instrument == i and twin.side == row.side:
                    is_first = False
                    break
            if is_first:
                lots = _group_lots(rows.working, n, count, heard, i, row.group, row.side, 0, 0, 0)
        if row.side > 0:
            buys += lots
        else:
            sells += lots
    seen = rows.seen[n, i]
    more_buys, more_sells = buys - seen.buys, sells - seen.sells
    while n >= 0:
        one = rows.seen[n, i]
        one.buys += more_buys
        one.sells += more_sells
        n = rows.standing[n].above


@kernel(inline=True)
def _is_child(rows: AccountRows, n: int, parent: int) -> bool:
    """True where an order with this parent starts with what the parent fills from here on."""
    if parent == 0:
        return False
    place = place_of(rows.working, n, rows.out[n].count, parent)
    return place >= 0 and rows.working[n, place].filled == 0


@kernel
def side_lots_with(rows: AccountRows, n: int, k: int) -> tuple[int, int, bool]:
    """What the order asked about in row ``k`` adds to its side.

    Returns (added lots, lots already filled or counted before, is a bracket child). For a new plain order that is
    (quantity, 0, False).
    """
    asked, out = rows.asked[n, k], rows.out[n]
    count = out.count
    place = place_of(rows.working, n, count, asked.order_id)
    if place < 0:
        if _is_child(rows, n, asked.parent):
            return 0, 0, True
        if asked.group == 0:
            return asked.quantity, 0, False
        i, group, side = asked.instrument, asked.group, asked.side
        before = _group_lots(rows.working, n, count, out.heard, i, group, side, 0, 0, 0)
        after = _group_lots(
            rows.working, n, count, out.heard, i, group, side, asked.order_id, out.batch, max(0, asked.quantity)
        )
        added = max(0, after - before)
        return added, asked.quantity - added, False
    known = rows.working[n, place]
    lots = _open_lots(known.quantity, asked.quantity, known.parent, known.filled, known.reduced, known.woken)
    if known.group != 0:
        i, group, side = known.instrument, known.group, known.side
        before = _group_lots(rows.working, n, count, out.heard, i, group, side, 0, 0, 0)
        after = _group_lots(rows.working, n, count, out.heard, i, group, side, known.order_id, known.batch, lots)
    else:
        before, after = open_lots_of(rows.working, n, place), lots
    added = max(0, after - before)
    if known.parent != 0:
        return added, min(asked.quantity, known.woken) - added, added == 0
    return added, asked.quantity - added, False


@kernel
def send(rows: AccountRows, n: int, k: int, quantity: int) -> None:
    """Count the order asked about in row ``k`` with ``quantity`` lots from now on; one with a known id is a change of it.

    There must be a free row.
    """
    asked, out = rows.asked[n, k], rows.out[n]
    out.sequence += 1
    place = place_of(rows.working, n, out.count, asked.order_id)
    if place >= 0:
        known = rows.working[n, place]
        known.pending = quantity
        known.changing = 1
        known.new_price = known.price if asked.price == UNDEFINED_PRICE else asked.price
        known.new_stop = known.stop_price if asked.stop_price == UNDEFINED_PRICE else asked.stop_price
        recount(rows, n, known.instrument)
        return
    is_child = _is_child(rows, n, asked.parent)
    row = rows.working[n, out.count]
    out.count += 1
    row.order_id, row.instrument, row.side = asked.order_id, asked.instrument, asked.side
    row.quantity = row.pending = quantity
    row.order_type = asked.order_type
    row.time_in_force, row.expire_ts = asked.time_in_force, asked.expire_ts
    row.price = row.new_price = asked.price
    row.stop_price = row.new_stop = asked.stop_price
    row.trail_ticks, row.display_quantity = asked.trail_ticks, asked.display_quantity
    row.named_parent = asked.parent
    row.parent = asked.parent if is_child else 0
    row.group, row.reduce_only, row.tag = asked.group, asked.reduce_only, asked.tag
    row.sequence, row.batch = out.sequence, out.batch
    # A carried order is as young as its arrival: a close-out must not be taken for one that got no answer overnight.
    row.ts = asked.effective_ts or asked.ts
    row.filled = row.reduced = row.woken = row.cancel_asked = row.changing = 0
    recount(rows, n, asked.instrument)


@kernel
def forget(rows: AccountRows, n: int, place: int) -> None:
    """Drop the order in row ``place``; the others keep their order."""
    count = rows.out[n].count
    for k in range(place, count - 1):
        rows.working[n, k] = rows.working[n, k + 1]
    rows.out[n].count = count - 1


@kernel
def apply_report(
    rows: AccountRows, n: int, order_id: int, exec_type: int, lots: int, price: int, leaves: int, ts_event: int
) -> tuple[int, bool]:
    """Take the venue's word on one order: (its row before anything was dropped, whether it has ended); row -1 where it is not known."""
    out = rows.out[n]
    place = place_of(rows.working, n, out.count, order_id)
    if place < 0:
        return -1, False
    row = rows.working[n, place]
    i = row.instrument
    has_ended = exec_type == _CANCELED or exec_type == _REJECTED or exec_type == _EXPIRED
    if exec_type != _CANCEL_REJECTED and row.batch > out.heard:
        before = out.heard
        out.heard = row.batch
        for k in range(out.count):  # Orders that joined a group with this batch no longer come on top of the others.
            other = rows.working[n, k]
            if other.group != 0 and before < other.batch <= out.heard and other.instrument != i:
                recount(rows, n, other.instrument)
    if exec_type == _TRADE:
        row.filled += lots
        if row.price == UNDEFINED_PRICE and LEAVES_LIMIT[row.order_type]:
            row.price = row.new_price = price  # What is left of it rests there.
        is_parent = False
        for k in range(out.count):
            other = rows.working[n, k]
            if k == place:
                continue
            is_partner = row.group != 0 and other.group == row.group and other.instrument == i
            if is_partner and was_there(other.batch, other.ts, row.batch, ts_event, out.heard):
                other.reduced += lots
            if other.parent == order_id:
                is_parent = True
                other.woken += lots
        has_ended = row.filled >= max(row.quantity, row.pending)
        if leaves == 0 and not has_ended:
            waits = row.parent != 0 and row.quantity > row.filled + row.reduced
            has_ended = not (waits and place_of(rows.working, n, out.count, row.parent) >= 0)
        if is_parent:  # A child may be of another instrument only where the parent was refused; recount what it is of.
            for k in range(out.count):
                child = rows.working[n, k]
                if child.parent == order_id and child.instrument != i:
                    recount(rows, n, child.instrument)
    elif exec_type == _REPLACED:
        row.quantity = row.pending = row.filled + row.reduced + leaves
        row.changing = 0
        row.price, row.stop_price = row.new_price, row.new_stop
    elif exec_type == _CANCEL_REJECTED:
        row.pending = row.quantity
        row.changing = row.cancel_asked = 0
        row.new_price, row.new_stop = row.price, row.stop_price
    if has_ended:
        forget(rows, n, place)
    recount(rows, n, i)
    return place, has_ended


@kernel
def best_opposite(working: Rows, n: int, count: int, i: int, side: int) -> int:
    """Our own best resting limit price against an order of ``side``; ``UNDEFINED_PRICE`` where nothing of ours rests there."""
    best = UNDEFINED_PRICE
    for k in range(count):
        row = working[n, k]
        rests = row.order_type == _LIMIT or (LEAVES_LIMIT[row.order_type] and row.price != UNDEFINED_PRICE)
        if row.instrument != i or not rests or row.side != -side or row.parent != 0:
            continue
        for price in (row.price, row.new_price):  # Until the venue has answered it may stand at either.
            if best == UNDEFINED_PRICE or side * (price - best) < 0:
                best = price
    return best


@kernel(borrows=True)
def ask_cancel_at(handle: NDArray[np.int64], n: int, order_id: int, ts: int) -> bool:
    """Note that the cancel of an order of account ``n`` is asked for; False where it has ended or one is under way."""
    rows = rows_of(handle)
    place = place_of(rows.working, n, rows.out[n].count, order_id)
    if place < 0 or rows.working[n, place].cancel_asked:
        return False
    rows.working[n, place].cancel_asked = 1
    count_message(rows, n, ts)
    return True


class WorkingOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One open order as its row has it."""

    order_id: int
    instrument: int
    side: int
    quantity: int
    pending: int
    order_type: int
    time_in_force: int
    expire_ts: int
    price: int
    stop_price: int
    trail_ticks: int
    display_quantity: int
    new_price: int
    new_stop: int
    named_parent: int
    parent: int
    group: int
    reduce_only: int
    tag: int
    sequence: int
    ts: int
    batch: int
    filled: int
    reduced: int
    woken: int
    cancel_asked: int
    changing: int
    coming: int


class WorkingOrders:
    """The open orders of one account, for Python: what is out, and what was sent and heard."""

    __slots__ = ("_account", "_known_tags", "_n", "_out", "_tags")

    def __init__(self, account: AccountState, n: int = 0) -> None:
        self._account, self._n = account, n
        self._out = account.rows.out[n : n + 1].view(np.int64)
        self._known_tags = list(TAGS)
        self._tags: dict[str, int] = {tag: k for k, tag in enumerate(TAGS)}

    @property
    def count(self) -> int:
        """Open orders."""
        return int(self._out[_COUNT])

    @property
    def sequence(self) -> int:
        """Orders and changes sent so far."""
        return int(self._out[_SEQUENCE])

    @property
    def batch(self) -> int:
        """Orders sent from here on belong to this step; whoever ends a step raises it (``RiskGate.react``)."""
        return int(self._out[_BATCH])

    @batch.setter
    def batch(self, value: int) -> None:
        self._out[_BATCH] = value

    @property
    def buys(self) -> list[int]:
        """Lots that can still be bought, by instrument."""
        found: list[int] = self._account.rows.seen[self._n]["buys"].tolist()
        return found

    @property
    def sells(self) -> list[int]:
        """Lots that can still be sold, by instrument."""
        found: list[int] = self._account.rows.seen[self._n]["sells"].tolist()
        return found

    def tag_number(self, tag: str) -> int:
        """The number under which rows know an order's tag; a tag not seen before gets the next one."""
        number = self._tags.get(tag)
        if number is None:
            number = self._tags[tag] = len(self._tags)
            self._known_tags.append(tag)
        return number

    def tag_of(self, number: int) -> str:
        """The tag that rows know by ``number``."""
        return self._known_tags[number]

    def ask_cancel(self, order_id: int, ts: int) -> bool:
        """A cancel is asked for, and counts as a message; False where the order has ended or one is under way already."""
        self._account.make_room(1)
        return bool(ask_cancel_at(self._account.handle, self._n, order_id, ts))

    def take_back(self, order_id: int) -> None:
        """An order that was sent did not leave after all."""
        rows = self._account.rows
        place = place_of(rows.working, self._n, self.count, order_id)
        i = int(rows.working[self._n, place]["instrument"])
        forget(rows, self._n, place)
        recount(rows, self._n, i)

    def take_back_change(self, order_id: int) -> None:
        """A change that was sent did not leave after all."""
        row = self._account.rows.working[self._n, place_of(self._account.rows.working, self._n, self.count, order_id)]
        row["pending"], row["changing"] = row["quantity"], 0
        row["new_price"], row["new_stop"] = row["price"], row["stop_price"]
        recount(self._account.rows, self._n, int(row["instrument"]))

    def take_back_cancel(self, order_id: int) -> None:
        """A cancel that was asked for did not leave after all."""
        place = place_of(self._account.rows.working, self._n, self.count, order_id)
        if place >= 0:
            self._account.rows.working[self._n, place]["cancel_asked"] = 0

    def knows(self, order_id: int) -> bool:
        """True where the order is open."""
        ids = self._account.rows.working[self._n, : self.count]["order_id"]
        return bool((ids == order_id).any())

    def each(self) -> Iterator[WorkingOrder]:
        """The open orders, in the order in which they were sent."""
        for values in self._account.rows.working[self._n, : self.count].tolist():
            yield WorkingOrder(**dict(zip(_NAMES, values, strict=True)))

    @property
    def orders(self) -> dict[int, WorkingOrder]:
        """The open orders by id."""
        return {order.order_id: order for order in self.each()}

    def save(self) -> bytes:
        """The state as bytes."""
        working = self._account.rows.working[self._n, : self.count].tobytes()
        return msgspec.msgpack.encode((self._out[: _HEARD + 1].tolist(), working, self._known_tags))

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save``; the rows must have room for what it holds."""
        counts, working, tags = msgspec.msgpack.decode(data, type=tuple[list[int], bytes, list[str]])
        found = np.frombuffer(working, dtype=WORKING)
        self._account.make_room(len(found))
        rows = self._account.rows
        self._out[: _HEARD + 1] = counts
        rows.working[self._n, : len(found)] = found
        self._known_tags = tags
        self._tags = {tag: k for k, tag in enumerate(tags)}
        if rows.standing[self._n]["first"] == self._n:  # Else its sums are those of the accounts below.
            for i in range(rows.seen.shape[1]):
                recount(rows, self._n, i)


TAGS = ("", "entry", "exit", "stop", "target")
"""The tags that the order planner gives, by their number in a row; others are numbered as they come."""

_NAMES = WORKING.names or ()
_COUNT, _SEQUENCE, _BATCH, _HEARD = ((OUT.names or ()).index(name) for name in ("count", "sequence", "batch", "heard"))
"""They stand first in ``OUT``."""
