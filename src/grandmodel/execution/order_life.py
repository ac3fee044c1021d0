"""The life of our own orders, folded from what the venue reports: FIX order states, fills and what is still open.

The open orders are rows that compiled code walks (``LIFE``); ``OrderLives`` owns them, keeps the orders themselves for people, and shows
a row as an ``OrderLife``. Nothing here is shared with the risk gate, whose own rows (``risk.working``) are the other keeper of what is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.errors import InvariantError
from grandmodel.domain.groups import was_there
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import ExecType, ExecutionReport, Order, OrdStatus, PriceReference, ReplaceOrder, Tag
from grandmodel.domain.report_rows import (
    EXEC_CODES,
    HEARD,
    NOT_OPEN,
    REPEATED,
    REPORT,
    TAKEN,
    TOO_MUCH,
    UNKNOWN,
    report_row,
)
from grandmodel.kernels import kernel, table_of, table_reader

Rows = NDArray[Any]
"""Structured rows; numpy has no type for their fields."""
Row = Any
"""One row of a structured array inside compiled code."""

_I8 = "<i8"

LIFE = np.dtype(
    [
        ("order_id", _I8),
        ("instrument", _I8),  # its number here (``OrderLives.number_of``)
        ("side", _I8),
        ("status", _I8),  # the ASCII code of the FIX value
        ("quantity", _I8),
        ("pending", _I8),  # the quantity of a change under way; equal to ``quantity`` otherwise
        ("filled", _I8),
        ("reduced", _I8),  # lots that the others of its one-cancels-other group filled since it joined
        ("woken", _I8),  # of a bracket's child: lots that its parent filled
        ("is_child", _I8),  # 1 where its parent was open, and had filled nothing, when it was sent
        ("parent", _I8),  # 0: none
        ("group", _I8),  # 0: none
        ("batch", _I8),  # the step in which it was sent
        ("ts", _I8),  # when that was
        ("reference", _I8),  # the mark when it was decided, in ticks; UNDEFINED_PRICE where there was none
        ("tag", _I8),  # its number among the tags (``OrderLives.tags``)
        ("price", _I8),  # as the venue has confirmed it, like the next; UNDEFINED_PRICE: none
        ("stop_price", _I8),
        ("new_price", _I8),  # of a change under way
        ("new_stop", _I8),
        ("cancel_asked", _I8),
        ("changing", _I8),
        ("withdrawn", _I8),  # 1 where the simulated venue has been told that nothing of it may fill any more
        ("account", _I8),  # row of the account whose it is; 0: the run's own
    ]
)
"""One row an open order, oldest first."""

COUNTS = np.dtype(
    [
        ("open", _I8),  # rows of LIFE in use
        ("ended", _I8),
        ("repeated", _I8),  # reports that came again
        ("last_order_id", _I8),
        ("heard", _I8),  # the newest batch of which the venue has said anything
        ("seen_until", _I8),  # every report up to this number has been seen
        ("beyond", _I8),  # and so many beyond it
    ]
)
"""One row."""

_CHANGED, _FILL, _REFUSED_CANCEL = (
    EXEC_CODES[kind] for kind in (ExecType.REPLACED, ExecType.TRADE, ExecType.CANCEL_REJECTED)
)
_NEXT_STATUS = np.zeros(128, np.int64)
"""The status that an execution type leads to, by its code; 0 where it leads to none by itself."""
for _kind, _status in (
    (ExecType.NEW, OrdStatus.NEW), (ExecType.CANCELED, OrdStatus.CANCELED), (ExecType.REJECTED, OrdStatus.REJECTED),
    (ExecType.EXPIRED, OrdStatus.EXPIRED),
):  # fmt: skip
    _NEXT_STATUS[EXEC_CODES[_kind]] = ord(_status.value)
_IS_FINAL = np.zeros(128, np.int64)
for _status in OrdStatus:
    _IS_FINAL[ord(_status.value)] = _status.is_final
_PENDING, _FILLED, _PARTLY = (
    ord(status.value) for status in (OrdStatus.PENDING_NEW, OrdStatus.FILLED, OrdStatus.PARTIALLY_FILLED)
)
_NONE, _TRIGGER, _LIMIT = (
    list(PriceReference).index(kind) for kind in (PriceReference.NONE, PriceReference.TRIGGER, PriceReference.LIMIT)
)
_STATUSES = {ord(status.value): status for status in OrdStatus}


@kernel(inline=True)
def _most(quantity: int, pending: int, is_child: int, woken: int, filled: int, reduced: int, withdrawn: int) -> int:
    """Lots that an order can fill now if a change under way is made: a child's no more than its parent filled."""
    most = max(quantity, pending)
    if is_child != 0:
        most = min(most, woken)
    return 0 if withdrawn != 0 else max(0, most - filled - reduced)


@kernel
def _place_of(lives: Rows, count: int, order_id: int) -> int:
    """The row of an open order; -1 where it is none."""
    for k in range(count - 1, -1, -1):
        if lives[k].order_id == order_id:
            return k
    return -1


@kernel
def add(
    lives: Rows, counts: Rows, order_id: int, instrument: int, side: int, quantity: int, parent: int, group: int, batch: int, ts: int,
    reference: int, tag: int, price: int, stop_price: int, account: int,
) -> None:  # fmt: skip
    """An order has been sent. There must be a free row."""
    count = counts[0]
    above = _place_of(lives, count.open, parent) if parent != 0 else -1
    row = lives[count.open]
    row.order_id, row.instrument, row.side, row.status = order_id, instrument, side, _PENDING
    row.quantity = row.pending = quantity
    row.filled = row.reduced = row.woken = row.cancel_asked = row.changing = row.withdrawn = 0
    row.is_child = 1 if above >= 0 and lives[above].filled == 0 else 0
    row.parent, row.group, row.batch, row.ts, row.reference, row.tag = parent, group, batch, ts, reference, tag
    row.price = row.new_price = price
    row.stop_price = row.new_stop = stop_price
    row.account = account
    count.open += 1
    count.last_order_id = max(count.last_order_id, order_id)


@kernel
def _drop(lives: Rows, counts: Rows, place: int) -> None:
    """Take out the order in row ``place``; the others keep their order."""
    counts[0].open -= 1
    for k in range(place, counts[0].open):
        lives[k] = lives[k + 1]


@kernel
def _is_repeated(counts: Rows, beyond: NDArray[np.int64], exec_id: int) -> bool:
    """Remember ``exec_id``; ids mostly rise by one, so the memory is one number and a few exceptions, which are sorted."""
    count = counts[0]
    place = np.searchsorted(beyond[: count.beyond], exec_id)
    if exec_id <= count.seen_until or (place < count.beyond and beyond[place] == exec_id):
        return True
    if exec_id != count.seen_until + 1:
        for k in range(count.beyond, place, -1):
            beyond[k] = beyond[k - 1]
        beyond[place] = exec_id
        count.beyond += 1
        return False
    count.seen_until = exec_id
    passed = 0
    while passed < count.beyond and beyond[passed] == count.seen_until + 1:
        count.seen_until += 1
        passed += 1
    for k in range(passed, count.beyond):
        beyond[k - passed] = beyond[k]
    count.beyond -= passed
    return False


@kernel
def _touch_others(lives: Rows, counts: Rows, place: int, lots: int, ts_event: int) -> None:
    """A fill takes its lots from the others of its group and gives them to its bracket's children."""
    filler = lives[place]
    for k in range(counts[0].open):
        other = lives[k]
        if k == place:
            continue
        is_partner = filler.group != 0 and other.group == filler.group and other.instrument == filler.instrument
        if is_partner and was_there(other.batch, other.ts, filler.batch, ts_event, counts[0].heard):
            other.reduced += lots
        if other.is_child != 0 and other.parent == filler.order_id:
            other.woken += lots


@kernel
def _note_slippage(row: Row, report: Row, heard: Row) -> None:
    """The price, in ticks, that a fill's slippage is measured from, and which it is: each kind of order promises another one.

    The terms are those that the order has now. None where a venue does not tell what a market order met.
    """
    if row.stop_price != UNDEFINED_PRICE:
        heard.slippage_from, heard.slippage_kind = row.stop_price, _TRIGGER
    elif row.price != UNDEFINED_PRICE:
        heard.slippage_from, heard.slippage_kind = row.price, _LIMIT
    elif report.arrival_kind != _NONE:
        heard.slippage_from, heard.slippage_kind = report.arrival_price, report.arrival_kind
    else:
        heard.slippage_from, heard.slippage_kind = UNDEFINED_PRICE, _NONE


@kernel
def fold(lives: Rows, counts: Rows, beyond: NDArray[np.int64], report: Row, heard: Row) -> int:
    """Fold one report in; what came of it."""
    count = counts[0]
    if _is_repeated(counts, beyond, report.exec_id):
        count.repeated += 1
        return REPEATED
    place = _place_of(lives, count.open, report.order_id)
    if place < 0:
        return NOT_OPEN if report.exec_type == _REFUSED_CANCEL else UNKNOWN
    row = lives[place]
    heard.instrument, heard.side, heard.reference, heard.tag = row.instrument, row.side, row.reference, row.tag
    heard.account = row.account
    if report.exec_type != _REFUSED_CANCEL:
        count.heard = max(count.heard, row.batch)
    if report.exec_type == _FILL:
        row.filled += report.last_quantity
        if row.filled > row.quantity or report.last_quantity <= 0:
            heard.filled = row.filled
            return TOO_MUCH
        _note_slippage(row, report, heard)
        _touch_others(lives, counts, place, report.last_quantity, report.ts_event)
        has_ended = row.filled == row.quantity
        if report.leaves == 0 and not has_ended:
            # A child with nothing open grows again once its parent fills more.
            waits = row.is_child != 0 and row.quantity > row.filled + row.reduced
            has_ended = not (waits and _place_of(lives, count.open, row.parent) >= 0)
        row.status = _FILLED if has_ended else _PARTLY
    elif report.exec_type == _CHANGED:
        row.quantity = row.pending = report.cumulative + row.reduced + report.leaves
        row.price, row.stop_price = row.new_price, row.new_stop
        row.changing = 0
    elif report.exec_type == _REFUSED_CANCEL:
        row.cancel_asked = row.changing = 0
        row.pending, row.new_price, row.new_stop = row.quantity, row.price, row.stop_price
    elif _NEXT_STATUS[report.exec_type] != 0:
        row.status = _NEXT_STATUS[report.exec_type]
    heard.filled, heard.status = row.filled, row.status
    if _IS_FINAL[row.status] != 0:
        _drop(lives, counts, place)
        count.ended += 1
    return TAKEN


@kernel
def most_open(lives: Rows, counts: Rows, instrument: int, first: int, last: int) -> tuple[int, int]:
    """The most lots that the open orders of one instrument can still buy, and sell: those of the accounts [first, last).

    Orders of one group count together (``domain/groups.py``), and a change under way counts as the larger quantity.
    """
    buys = sells = 0
    count, heard = counts[0].open, counts[0].heard
    for k in range(count):
        row = lives[k]
        if row.instrument != instrument or not first <= row.account < last:
            continue
        lots = _most(row.quantity, row.pending, row.is_child, row.woken, row.filled, row.reduced, row.withdrawn)
        if row.group != 0:
            known = max(row.batch, heard)
            for other in range(count):
                twin = lives[other]
                if (
                    other == k
                    or twin.group != row.group
                    or twin.instrument != instrument
                    or twin.side != row.side
                    or max(twin.batch, heard) != known
                ):
                    continue
                if other < k:  # Counted there.
                    lots = 0
                    break
                lots = max(
                    lots,
                    _most(twin.quantity, twin.pending, twin.is_child, twin.woken, twin.filled, twin.reduced, twin.withdrawn),
                )  # fmt: skip
        if row.side > 0:
            buys += lots
        else:
            sells += lots
    return buys, sells


lives_of = table_reader("Lives", (("lives", LIFE, 1), ("counts", COUNTS, 1), ("beyond", np.int64, 1)))
"""In compiled code: what is behind ``OrderLives.handle``."""
_open_report = table_reader("Report", (("said", REPORT, 1), ("heard", HEARD, 1)))


@kernel(borrows=True)
def _fold_at(handle: NDArray[np.int64], report: NDArray[np.int64]) -> None:
    """``fold`` of one report behind ``handle``; ``report`` is the table of a row of ``REPORT`` and of one of ``HEARD``."""
    found, given = lives_of(handle), _open_report(report)
    given.heard[0].code = fold(found.lives, found.counts, found.beyond, given.said[0], given.heard[0])


@kernel(borrows=True)
def _add_at(
    handle: NDArray[np.int64], order_id: int, instrument: int, side: int, quantity: int, parent: int, group: int, batch: int, ts: int,
    reference: int, tag: int, price: int, stop_price: int, account: int,
) -> None:  # fmt: skip
    """``add`` behind ``handle``."""
    found = lives_of(handle)
    add(
        found.lives, found.counts, order_id, instrument, side, quantity, parent, group, batch, ts, reference, tag, price, stop_price, account
    )  # fmt: skip


@kernel(borrows=True)
def _most_open_at(handle: NDArray[np.int64], instrument: int) -> tuple[int, int]:
    """``most_open`` behind ``handle``."""
    found = lives_of(handle)
    return most_open(found.lives, found.counts, instrument, 0, 2**62)


@kernel(borrows=True)
def _place_at(handle: NDArray[np.int64], order_id: int) -> int:
    """``_place_of`` behind ``handle``."""
    found = lives_of(handle)
    return _place_of(found.lives, found.counts[0].open, order_id)


@kernel(borrows=True)
def _drop_at(handle: NDArray[np.int64], order_id: int) -> None:
    """``_drop`` behind ``handle``, by the order's number."""
    found = lives_of(handle)
    _drop(found.lives, found.counts, _place_of(found.lives, found.counts[0].open, order_id))


@dataclass(frozen=True, slots=True)
class OrderLife:
    """One order and what has become of it so far, as it stood when it was asked for."""

    order: Order
    """With the terms that the venue has confirmed."""
    status: OrdStatus
    quantity: int
    filled: int
    reference_price: int | None
    """The mark when it was decided, in ticks."""
    cancel_asked: bool
    change: ReplaceOrder | None
    """The change that is under way."""
    leaves: int
    """Lots that may still fill; of a bracket's child, once its parent has."""
    most_lots: int
    """Lots that it can fill now if a change under way is made: a child's no more than its parent filled."""
    withdrawn: bool
    """True where the simulated venue has been told that nothing of it may fill any more."""


class OrderLives:
    """Every order of a run that has not ended, and a memory of which reports were seen.

    A report that comes twice (an ``exec_id`` seen before) is ignored and counted; one that cannot be true (more filled than
    ordered, an order never sent) raises ``InvariantError``. ``instruments`` fixes their numbers; without it they get one as they come.
    So it is with ``accounts``, the names of the run's own account and of those that trade below it.
    """

    def __init__(self, instruments: tuple[InstrumentId, ...] = (), accounts: Sequence[str] = ("",)) -> None:
        self._accounts = {name: n for n, name in enumerate(accounts)}
        self._numbers = {name: k for k, name in enumerate(instruments)}
        self._orders: dict[OrderId, Order] = {}
        self._changes: dict[OrderId, ReplaceOrder] = {}
        self._rows: Rows = np.zeros(64, LIFE)
        self._beyond = np.zeros(64, np.int64)
        self._counts: Rows = np.zeros(1, COUNTS)
        self._counts["heard"] = -1
        self._values = self._counts.view(np.int64)
        self._tags: dict[Tag, int] = {}
        self.tags: list[Tag] = []
        """Of the orders so far, by the number that rows know each by."""
        self.handle = table_of((self._rows, self._counts, self._beyond))
        """For kernels (``lives_of``)."""

    def _take(self) -> None:
        self.handle[:] = table_of((self._rows, self._counts, self._beyond))

    @property
    def ended(self) -> int:
        """Orders that have ended."""
        return int(self._values[_ENDED])

    @property
    def repeated_reports(self) -> int:
        """Reports that came again and were left."""
        return int(self._values[_REPEATED])

    @property
    def open(self) -> dict[OrderId, OrderLife]:
        """The open orders by id, oldest first."""
        return {OrderId(int(row["order_id"])): self._life_of(row) for row in self._rows[: self._values[_OPEN]]}

    def of(self, instrument: InstrumentId) -> Iterator[OrderLife]:
        """Open orders of one instrument, oldest first."""
        number = self._numbers.get(instrument, -1)
        return (self._life_of(row) for row in self._rows[: self._values[_OPEN]] if row["instrument"] == number)

    def orders_of(self, instrument: InstrumentId, account: str | None = None) -> list[Order]:
        """The orders themselves of one instrument that are open, oldest first: those of ``account``, or of all of them."""
        ids = self._rows["order_id"][: self._values[_OPEN]].tolist()
        orders = [order for order in (self._orders[number] for number in ids) if order.instrument == instrument]
        return orders if account is None else [order for order in orders if order.account == account]

    def order(self, order_id: OrderId) -> Order | None:
        """An open order with the terms that the venue has confirmed; None where it is not open."""
        return None if _place_at(self.handle, order_id) < 0 else self._orders[order_id]

    def life(self, order_id: OrderId) -> OrderLife | None:
        """An open order and what has become of it; None where it is not open."""
        row = self._row(order_id)
        return None if row is None else self._life_of(row)

    def number_of(self, instrument: InstrumentId) -> int:
        """The number under which rows know an instrument; one not seen before gets the next."""
        number = self._numbers.get(instrument)
        if number is None:
            number = self._numbers[instrument] = len(self._numbers)
        return number

    def add(self, order: Order, reference_price: int | None, batch: int) -> None:
        """An order has been sent; ``batch`` numbers the step and rises."""
        if self._values[_OPEN] == len(self._rows):
            self._make_room()
        named: Tag = (order.tag, order.account) if order.account else order.tag
        tag = self._tags.get(named)
        if tag is None:
            tag = self._tags[named] = len(self.tags)
            self.tags.append(named)
        price, stop_price = order.price, order.stop_price
        _add_at(
            self.handle, order.order_id, self.number_of(order.instrument), int(order.side), order.quantity, order.parent or 0,
            order.oco_group, batch, order.ts, UNDEFINED_PRICE if reference_price is None else reference_price, tag,
            UNDEFINED_PRICE if price is None else price, UNDEFINED_PRICE if stop_price is None else stop_price,
            self._row_of(order.account),
        )  # fmt: skip
        self._orders[order.order_id] = order
        if len(self._orders) > 2 * int(self._values[_OPEN]) + 64:
            self._forget_ended()

    def _row_of(self, account: str) -> int:
        """The number under which rows know an account."""
        return self._accounts.setdefault(account, len(self._accounts)) if account else 0

    def take_back(self, order_id: OrderId) -> None:
        """An order that was added did not leave after all."""
        _drop_at(self.handle, order_id)
        del self._orders[order_id]

    def ask_cancel(self, order_id: OrderId) -> bool:
        """Note that a cancel was sent; False where the order has ended or a cancel is already under way."""
        row = self._row(order_id)
        if row is None or row["cancel_asked"]:
            return False
        row["cancel_asked"] = 1
        return True

    def ask_replace(self, request: ReplaceOrder) -> bool:
        """Note that a change was sent; False where the order has ended, is being cancelled or is being changed already."""
        row = self._row(request.order_id)
        if row is None or row["cancel_asked"] or row["changing"]:
            return False
        row["changing"], row["pending"] = 1, request.quantity
        if request.price is not None:
            row["new_price"] = request.price
        if request.stop_price is not None:
            row["new_stop"] = request.stop_price
        self._changes[request.order_id] = request
        return True

    def take_back_change(self, order_id: OrderId) -> None:
        """A change that was noted did not leave after all."""
        row = self._row(order_id)
        if row is not None:
            row["changing"], row["pending"] = 0, row["quantity"]
            row["new_price"], row["new_stop"] = row["price"], row["stop_price"]
            del self._changes[order_id]

    def withdraw(self, order_id: OrderId) -> None:
        """The simulated venue has been told that nothing of the order may fill any more."""
        row = self._row(order_id)
        if row is not None:
            row["withdrawn"] = 1

    def make_room(self, reports: int) -> None:
        """Room for ``reports`` more reports."""
        while self._values[_BEYOND] + reports > len(self._beyond):
            self._make_room()

    def follow(self, order_id: OrderId, exec_type: ExecType, status: int) -> None:
        """A report was folded in that led to ``status``: an order that the venue changed has new terms, one that has ended is forgotten."""
        if exec_type is ExecType.REPLACED:
            self._confirm_change(self._orders[order_id])
        elif exec_type is ExecType.CANCEL_REJECTED:
            self._changes.pop(order_id, None)
        elif _IS_FINAL[status]:
            del self._orders[order_id]
            self._changes.pop(order_id, None)

    def refuse(self, report: Sequence[int], heard: Sequence[int]) -> None:
        """Raise ``InvariantError`` for a report (a row of ``REPORT``) that cannot be true; ``heard`` (a row of ``HEARD``) says why."""
        named = dict(zip(REPORT.names or (), report, strict=True))
        if heard[_CODE] == UNKNOWN:
            raise InvariantError(
                f"report {named['exec_id']}: found order {named['order_id']}, expected one that is open (last sent: "
                f"{int(self._counts[0]['last_order_id'])})"
            )
        quantity = int(self._row(OrderId(named["order_id"]))["quantity"])
        raise InvariantError(
            f"order {named['order_id']}: found {heard[_LOTS_FILLED]} lots filled of {quantity} (last fill {named['last_quantity']})"
        )

    def apply(self, report: ExecutionReport) -> OrderLife | None:
        """Fold one report in and return its order as it now is; None for a report seen before or of an ended order."""
        before, order = self._row(report.order_id), self._orders.get(report.order_id)
        row = None if before is None else before.copy()
        self.make_room(1)
        said: Rows = np.array([report_row(report)], REPORT)
        heard: Rows = np.zeros(1, HEARD)
        _fold_at(self.handle, table_of((said, heard)))
        came = list(heard[0].tolist())
        if came[_CODE] > NOT_OPEN:
            self.refuse(list(said[0].tolist()), came)
        if came[_CODE] != TAKEN or row is None:
            return None
        self.follow(report.order_id, report.exec_type, came[_STATUS])
        life = self.life(report.order_id)
        if life is not None:
            return life
        row["status"], row["filled"] = came[_STATUS], came[_LOTS_FILLED]
        return self._life_of(row, order)

    def most_open(self, instrument: InstrumentId) -> tuple[int, int]:
        """The most lots that the open orders of one instrument can still buy, and sell."""
        found: tuple[int, int] = _most_open_at(self.handle, self._numbers.get(instrument, -1))
        return found

    def save(self) -> tuple[bytes, bytes, bytes, list[Order], list[ReplaceOrder], list[Tag]]:
        """Everything that is remembered, for a snapshot."""
        self._forget_ended()
        rows, beyond = self._rows[: self._values[_OPEN]], self._beyond[: self._values[_BEYOND]]
        orders, changes = list(self._orders.values()), list(self._changes.values())
        return rows.tobytes(), self._counts.tobytes(), beyond.tobytes(), orders, changes, self.tags

    def restore(self, saved: tuple[bytes, bytes, bytes, list[Order], list[ReplaceOrder], list[Tag]]) -> None:
        """Put back what ``save`` of another with the same instruments gave."""
        rows, beyond = np.frombuffer(saved[0], LIFE), np.frombuffer(saved[2], np.int64)
        while len(rows) > len(self._rows) or len(beyond) > len(self._beyond):
            self._make_room()
        self._rows[: len(rows)], self._beyond[: len(beyond)] = rows, beyond
        self._counts[:] = np.frombuffer(saved[1], COUNTS)
        self._orders = {order.order_id: order for order in saved[3]}
        self._changes = {change.order_id: change for change in saved[4]}
        self.tags = saved[5]
        self._tags = {tag: k for k, tag in enumerate(self.tags)}

    def _row(self, order_id: OrderId) -> Any:
        """The row of an open order, None where it is none."""
        place = _place_at(self.handle, order_id)
        return None if place < 0 else self._rows[place]

    def _life_of(self, row: Any, order: Order | None = None) -> OrderLife:
        """The order in ``row``; ``order`` where it has ended."""
        values = dict(zip(LIFE.names or (), row.tolist(), strict=True))
        number, quantity, filled, reduced, reference = (
            values[name] for name in ("order_id", "quantity", "filled", "reduced", "reference")
        )
        has_ended = order is not None
        return OrderLife(
            order=order or self._orders[number],
            status=_STATUSES[values["status"]],
            quantity=quantity,
            filled=filled,
            reference_price=None if reference == UNDEFINED_PRICE else reference,
            cancel_asked=bool(values["cancel_asked"]),
            change=self._changes.get(number),
            leaves=0 if has_ended else max(0, quantity - filled - reduced),
            most_lots=0 if has_ended else _most(*(values[name] for name in _COUNTING)),
            withdrawn=bool(values["withdrawn"]),
        )

    def _confirm_change(self, order: Order) -> None:
        """Give an order the terms of the change that the venue has just made."""
        change = self._changes.pop(order.order_id, None)
        if change is not None:
            self._orders[order.order_id] = msgspec.structs.replace(
                order,
                quantity=change.quantity,
                price=order.price if change.price is None else change.price,
                stop_price=order.stop_price if change.stop_price is None else change.stop_price,
            )

    def _forget_ended(self) -> None:
        """Let go of the orders that have ended."""
        ids = self._rows["order_id"][: self._values[_OPEN]].tolist()
        self._orders = {number: self._orders[number] for number in ids}
        self._changes = {number: change for number, change in self._changes.items() if number in self._orders}

    def _make_room(self) -> None:
        """Double the room for everything."""
        rows, beyond = np.zeros(2 * len(self._rows), LIFE), np.zeros(2 * len(self._beyond), np.int64)
        rows[: len(self._rows)], beyond[: len(self._beyond)] = self._rows, self._beyond
        self._rows, self._beyond = rows, beyond
        self._take()


_OPEN, _ENDED, _REPEATED, _BEYOND = (
    (COUNTS.names or ()).index(name) for name in ("open", "ended", "repeated", "beyond")
)
_CODE, _STATUS, _LOTS_FILLED = ((HEARD.names or ()).index(name) for name in ("code", "status", "filled"))
_COUNTING = ("quantity", "pending", "is_child", "woken", "filled", "reduced", "withdrawn")
"""What ``_most`` is told of a row."""
