"""The Python side of the simulated exchange: orders go into the compiled arrays, reports come out as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.orders import CancelOrder, ExecType, Order, Reason, ReplaceOrder, TimeInForce
from grandmodel.domain.report_rows import EXEC_CODES
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NEVER_NS
from grandmodel.kernels import kernel, table_of, table_reader
from grandmodel.simulation.matching import place_order
from grandmodel.simulation.models import VenueSettings
from grandmodel.simulation.state import SLOT, STEP, SlotState, holding_row


def trading_day_around(schedule: SessionSchedule, ts: int) -> tuple[int, int]:
    """The span [close of the trading day before, close of this one) that contains ``ts``, int64 ns."""
    first = int(np.searchsorted(schedule.close_ns, ts, side="right"))
    if first >= len(schedule):
        return (int(schedule.close_ns[-1]) if len(schedule) else -NEVER_NS, NEVER_NS)
    day = schedule.day_ns[first]
    before = int(np.searchsorted(schedule.day_ns, day, side="left")) - 1
    last = int(np.searchsorted(schedule.day_ns, day, side="right")) - 1
    return (int(schedule.close_ns[before]) if before >= 0 else -NEVER_NS, int(schedule.close_ns[last]))


_open = table_reader("Venue", (("step", STEP, 1), ("slots", SLOT, 1)))


@kernel(borrows=True)
def _place_at(
    handle: NDArray[np.int64], order_id: int, i: int, side: int, order_type: int, time_in_force: int, quantity: int, price: int,
    stop_price: int, ts: int, ts_active: int, ts_expire: int, report_latency: int, slippage: int, parent: int, oco_group: int,
    reduce_only: int, trail: int, display: int, account: int, instruments: int,
) -> bool:  # fmt: skip
    """``place_order`` behind the table of step and slots."""
    arrays = _open(handle)
    return place_order(
        arrays.step, arrays.slots, order_id, i, side, order_type, time_in_force, quantity, price, stop_price, ts, ts_active, ts_expire,
        report_latency, slippage, parent, oco_group, reduce_only, trail, display, holding_row(account, instruments, i),
    )  # fmt: skip


_TOO_LATE, _UNKNOWN_ORDER, _INVALID = (
    list(Reason).index(reason) for reason in (Reason.TOO_LATE, Reason.UNKNOWN_ORDER, Reason.INVALID)
)
_LAST_ARRIVAL = (STEP.names or ()).index("last_arrival")
_COMPACT_AT = 512
"""Reports handed out before those still on their way move to the front of the array."""


@kernel(borrows=True)
def due_count(step: NDArray[np.void], reports: NDArray[np.void]) -> int:
    """How many reports have reached us by now and were not handed out yet."""
    state = step[0]
    end = state.report_head
    while end < state.report_tail and reports[end].due <= state.now:
        end += 1
    return int(end - state.report_head)


@kernel(borrows=True)
def hand_out(step: NDArray[np.void], reports: NDArray[np.void], said: NDArray[np.void], count: int) -> None:
    """Hand the next ``count`` reports over into ``said``, in the order in which the venue sent them; each is handed out once."""
    state = step[0]
    head, tail = state.report_head, state.report_tail
    for k in range(count):
        said[k] = reports[head + k]
    end = head + count
    if end == tail:
        state.report_head = state.report_tail = 0
    elif end > _COMPACT_AT:
        for k in range(tail - end):
            reports[k] = reports[end + k]
        state.report_head, state.report_tail = 0, tail - end
    else:
        state.report_head = end


class VenueArrays(Protocol):
    """The arrays of the market step that the venue works on."""

    step: NDArray[np.void]
    values: NDArray[np.int64]
    """``step`` as plain integers."""
    slots: NDArray[np.void]
    reports: NDArray[np.void]

    def make_room(self, rows: int) -> None:
        """Enlarge the report array."""


class SimulatedExchange:
    """Takes orders, cancels and changes.

    ``accounts`` are the names of the run's own account and of those that trade below it. ``seed`` feeds the one generator from which latency and slippage are drawn, in the order in which orders are sent.
    """

    def __init__(
        self,
        arrays: VenueArrays,
        instruments: Sequence[Instrument],
        schedules: Sequence[SessionSchedule],
        settings: VenueSettings,
        seed: int,
        accounts: Sequence[str] = ("",),
    ) -> None:
        self._arrays = arrays
        self._index: Mapping[InstrumentId, int] = {instrument.id: i for i, instrument in enumerate(instruments)}
        self._accounts = {name: n for n, name in enumerate(accounts)}
        self._count = len(instruments)
        self._schedules = tuple(schedules)
        self._settings = settings
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self.last_order_id = 0
        self._days = [(0, 0)] * len(self._schedules)
        """For each instrument the trading day that its last day order was sent in or before."""
        self._known_slots: NDArray[np.void] | None = None
        self._handle = np.zeros(0, np.int64)

    def submit(self, order: Order) -> None:
        """Send ``order``; order ids must rise. Its reports are handed out when their time has come (``hand_out``)."""
        latency, slippage, generator = self._settings.latency, self._settings.slippage, self._generator
        index = self._index[order.instrument]
        arrives = max(self._arrival(order.ts), order.effective_ts)
        expires = self._expiry(order, index)
        report_latency = latency.report_ns(generator)
        slips = slippage.slippage_ticks(order, generator)
        while not _place_at(
            self._ready_handle(), order.order_id, index, int(order.side), int(order.order_type), int(order.time_in_force),
            order.quantity, order.price or 0, order.stop_price or 0, order.ts, arrives, expires, report_latency, slips,
            order.parent or 0, order.oco_group, int(order.reduce_only), order.trail_ticks, order.display_quantity,
            self._accounts[order.account], self._count,
        ):  # fmt: skip
            arrays = self._arrays
            larger = np.zeros(2 * len(arrays.slots), SLOT)
            larger[: len(arrays.slots)] = arrays.slots
            arrays.slots = larger
        self.last_order_id = order.order_id

    def _ready_handle(self) -> NDArray[np.int64]:
        """The table of the arrays that ``_place_at`` works on."""
        slots = self._arrays.slots
        if slots is not self._known_slots:
            self._known_slots = slots
            self._handle = table_of((self._arrays.step, slots))
        return self._handle

    def cancel(self, request: CancelOrder) -> None:
        """Send a cancel; where the order has already ended the venue answers that it is too late."""
        slot = self._slot_of(request.order_id)
        arrives = self._arrival(request.ts)
        if slot is None:
            self._refuse(request.order_id, arrives)
        else:
            slot["ts_cancel"] = min(int(slot["ts_cancel"]), arrives)

    def withdraw(self, order_id: OrderId, ts: int) -> None:
        """End an order at ``ts`` without a message: the series has left its contract, so nothing of it may fill any more."""
        slot = self._slot_of(order_id)
        if slot is not None:
            slot["ts_cancel"] = min(int(slot["ts_cancel"]), ts)

    def replace(self, request: ReplaceOrder) -> None:
        """Send a change of quantity and prices; a price that is None stays as it is.

        Changes of one order that are on their way together are made one after the other; more than four are refused.
        """
        slot = self._slot_of(request.order_id)
        arrives = self._arrival(request.ts)
        if slot is None:
            self._refuse(request.order_id, arrives)
            return
        price = UNDEFINED_PRICE if request.price is None else request.price
        stop = UNDEFINED_PRICE if request.stop_price is None else request.stop_price
        if slot["ts_replace"] == NEVER_NS:
            slot["ts_replace"], slot["new_quantity"] = arrives, request.quantity
            slot["new_price"], slot["new_stop"] = price, stop
            return
        free = np.flatnonzero(slot["later"][:, 0] == NEVER_NS)
        if len(free):
            slot["later"][free[0]] = (arrives, request.quantity, price, stop)
        else:
            self._refuse(request.order_id, arrives, _INVALID)

    def _arrival(self, ts: int) -> int:
        """When a message sent at ``ts`` reaches the venue: messages of one session do not overtake each other."""
        values = self._arrays.values[0]
        arrives = max(ts + self._settings.latency.order_ns(self._generator), int(values[_LAST_ARRIVAL]))
        values[_LAST_ARRIVAL] = arrives
        return arrives

    def generator_state(self) -> dict[str, object]:
        """The generator's state, for a snapshot."""
        return dict(self._generator.bit_generator.state)

    def restore_generator(self, state: dict[str, object]) -> None:
        """Put back what ``generator_state`` gave."""
        self._generator.bit_generator.state = state

    def _expiry(self, order: Order, index: int) -> int:
        """When the venue ends the order by itself: a day order at the close of the trading day it was sent in or before."""
        if order.time_in_force is TimeInForce.GTD:
            return order.expire_ts
        if order.time_in_force is not TimeInForce.DAY:
            return NEVER_NS
        begins, ends = self._days[index]
        if not begins <= order.ts < ends:
            begins, ends = self._days[index] = trading_day_around(self._schedules[index], order.ts)
        return ends

    def _slot_of(self, order_id: OrderId) -> np.void | None:
        count = int(self._arrays.step[0]["slots"])
        ids = self._arrays.slots["order_id"][:count]
        place = int(np.searchsorted(ids, order_id))
        if place < count and ids[place] == order_id and self._arrays.slots[place]["state"] > SlotState.ANSWERING:
            slot: np.void = self._arrays.slots[place]
            return slot
        return None

    def _refuse(self, order_id: OrderId, ts: int, reason: int = -1) -> None:
        """Answer a cancel or change of an order that is not there, or one that is refused for another ``reason``."""
        arrays = self._arrays
        state = arrays.step[0]
        tail = int(state["report_tail"])
        if tail + 1 >= len(arrays.reports):
            arrays.make_room(2 * len(arrays.reports))
        due = max(
            ts + self._settings.latency.report_ns(self._generator), int(state["now"]), int(state["last_report_due"])
        )
        state["exec_id"] += 1
        if reason < 0:
            reason = _TOO_LATE if order_id <= self.last_order_id else _UNKNOWN_ORDER
        arrays.reports[tail] = (
            due, ts, int(state["exec_id"]), order_id, -1, EXEC_CODES[ExecType.CANCEL_REJECTED], 0, 0, 0, 0, 0, reason, 0, 0,
        )  # fmt: skip
        state["last_report_due"] = due
        state["report_tail"] = tail + 1
