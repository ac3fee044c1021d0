"""The Python side of the simulated exchange: orders go into the compiled arrays, reports come out as domain events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numba import carray
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.orders import (
    CancelOrder,
    ExecType,
    ExecutionReport,
    Order,
    PriceReference,
    Reason,
    ReplaceOrder,
    TimeInForce,
)
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NEVER_NS
from grandmodel.kernels import kernel, pointer_to
from grandmodel.simulation.matching import place_order
from grandmodel.simulation.models import VenueSettings
from grandmodel.simulation.state import REASON_CODES, REFERENCE_CODES, SLOT, STEP, SlotState


def trading_day_around(schedule: SessionSchedule, ts: int) -> tuple[int, int]:
    """The span [close of the trading day before, close of this one) that contains ``ts``, int64 ns."""
    first = int(np.searchsorted(schedule.close_ns, ts, side="right"))
    if first >= len(schedule):
        return (int(schedule.close_ns[-1]) if len(schedule) else -NEVER_NS, NEVER_NS)
    day = schedule.day_ns[first]
    before = int(np.searchsorted(schedule.day_ns, day, side="left")) - 1
    last = int(np.searchsorted(schedule.day_ns, day, side="right")) - 1
    return (int(schedule.close_ns[before]) if before >= 0 else -NEVER_NS, int(schedule.close_ns[last]))


@kernel
def _place_at(
    handle: NDArray[np.int64], order_id: int, i: int, side: int, order_type: int, time_in_force: int, quantity: int, price: int,
    stop_price: int, ts: int, ts_active: int, ts_expire: int, report_latency: int, slippage: int, parent: int, oco_group: int,
    reduce_only: int, trail: int, display: int,
) -> bool:  # fmt: skip
    """``place_order`` behind the addresses of step and slots."""
    return place_order(
        carray(pointer_to(handle[0]), (1,), STEP), carray(pointer_to(handle[1]), (handle[2],), SLOT), order_id, i, side, order_type,
        time_in_force, quantity, price, stop_price, ts, ts_active, ts_expire, report_latency, slippage, parent, oco_group, reduce_only,
        trail, display,
    )  # fmt: skip


_EXEC_TYPES = {ord(exec_type.value): exec_type for exec_type in ExecType}
_REASONS = [Reason(code) for code in REASON_CODES]
_REFERENCES = [PriceReference(code) for code in REFERENCE_CODES]
_TOO_LATE = REASON_CODES.index(Reason.TOO_LATE)
_NOW, _HEAD, _TAIL = ((STEP.names or ()).index(name) for name in ("now", "report_head", "report_tail"))
_COMPACT_AT = 512
"""Reports handed out before those still on their way move to the front of the array."""
_UNKNOWN_ORDER = REASON_CODES.index(Reason.UNKNOWN_ORDER)


class VenueArrays(Protocol):
    """The arrays of the market step that the venue works on."""

    step: NDArray[np.void]
    values: NDArray[np.int64]
    """``step`` as plain integers."""
    slots: NDArray[np.void]
    reports: NDArray[np.void]
    report_values: NDArray[np.int64]
    """``reports`` as plain integers, (R, fields)."""

    def make_room(self, rows: int) -> None:
        """Enlarge the report array."""


class SimulatedExchange:
    """Takes orders, cancels and changes; hands out the reports that are due.

    ``seed`` feeds the one generator from which latency and slippage are drawn, in the order in which orders are sent.
    """

    def __init__(
        self,
        arrays: VenueArrays,
        instruments: Sequence[Instrument],
        schedules: Sequence[SessionSchedule],
        settings: VenueSettings,
        seed: int,
    ) -> None:
        self._arrays = arrays
        self._index: Mapping[InstrumentId, int] = {instrument.id: i for i, instrument in enumerate(instruments)}
        self._schedules = tuple(schedules)
        self._settings = settings
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self.last_order_id = 0
        self._days = [(0, 0)] * len(self._schedules)
        """For each instrument the trading day that its last day order was sent in or before."""
        self._known_slots: NDArray[np.void] | None = None
        self._handle = np.zeros(3, np.int64)

    def submit(self, order: Order) -> None:
        """Send ``order``; order ids must rise. Its reports come out of ``due_reports`` when their time has come."""
        latency, slippage, generator = self._settings.latency, self._settings.slippage, self._generator
        index = self._index[order.instrument]
        arrives = max(order.ts + latency.order_ns(generator), order.effective_ts)
        expires = self._expiry(order, index)
        report_latency = latency.report_ns(generator)
        slips = slippage.slippage_ticks(order, generator)
        while not _place_at(
            self._ready_handle(), order.order_id, index, int(order.side), int(order.order_type), int(order.time_in_force),
            order.quantity, order.price or 0, order.stop_price or 0, order.ts, arrives, expires, report_latency, slips,
            order.parent or 0, order.oco_group, int(order.reduce_only), order.trail_ticks, order.display_quantity,
        ):  # fmt: skip
            arrays = self._arrays
            larger = np.zeros(2 * len(arrays.slots), SLOT)
            larger[: len(arrays.slots)] = arrays.slots
            arrays.slots = larger
        self.last_order_id = order.order_id

    def _ready_handle(self) -> NDArray[np.int64]:
        """Addresses of the arrays that ``_place_at`` works on."""
        slots = self._arrays.slots
        if slots is not self._known_slots:
            self._known_slots = slots
            self._handle = np.array([self._arrays.step.ctypes.data, slots.ctypes.data, len(slots)], np.int64)
        return self._handle

    def cancel(self, request: CancelOrder) -> None:
        """Send a cancel; where the order has already ended the venue answers that it is too late."""
        slot = self._slot_of(request.order_id)
        arrives = request.ts + self._settings.latency.order_ns(self._generator)
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
        """Send a change of quantity and prices; a price that is None stays as it is."""
        slot = self._slot_of(request.order_id)
        arrives = request.ts + self._settings.latency.order_ns(self._generator)
        if slot is None:
            self._refuse(request.order_id, arrives)
            return
        slot["ts_replace"] = arrives
        slot["new_quantity"] = request.quantity
        slot["new_price"] = UNDEFINED_PRICE if request.price is None else request.price
        slot["new_stop"] = UNDEFINED_PRICE if request.stop_price is None else request.stop_price

    def due_reports(self) -> tuple[tuple[ExecutionReport, ...], NDArray[np.int64]]:
        """The reports that have reached us by now, in the order in which the venue sent them, and the same as rows (K, fields of ``REPORT``).

        Each is handed out once.
        """
        arrays = self._arrays
        values = arrays.values
        head, tail, now = int(values[_HEAD]), int(values[_TAIL]), int(values[_NOW])
        rows = arrays.report_values
        due = rows[head:tail].copy()
        found = []
        for (
            ts_init, ts_event, exec_id, order_id, _, exec_type, lots, price, leaves, cumulative, maker, reason, arrival, kind,
        ) in due.tolist():  # fmt: skip
            if ts_init > now:
                break
            is_priced = lots > 0 and kind > 0
            found.append(
                ExecutionReport(
                    exec_id=exec_id,
                    order_id=order_id,
                    exec_type=_EXEC_TYPES[exec_type],
                    ts_event=ts_event,
                    ts_init=ts_init,
                    last_quantity=lots,
                    last_price=price,
                    leaves=leaves,
                    cumulative=cumulative,
                    maker=maker == 1,
                    reason=_REASONS[reason],
                    arrival_price=arrival if is_priced else None,
                    arrival_reference=_REFERENCES[kind] if is_priced else PriceReference.NONE,
                )
            )
        end = head + len(found)
        if end == tail:
            values[_HEAD] = values[_TAIL] = 0
        elif end > _COMPACT_AT:
            rows[: tail - end] = rows[end:tail].copy()
            values[_HEAD], values[_TAIL] = 0, tail - end
        else:
            values[_HEAD] = end
        return tuple(found), due[: len(found)]

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
        if place < count and ids[place] == order_id and self._arrays.slots[place]["state"] != SlotState.ENDED:
            slot: np.void = self._arrays.slots[place]
            return slot
        return None

    def _refuse(self, order_id: OrderId, ts: int) -> None:
        """Answer a cancel or change of an order that is not there."""
        arrays = self._arrays
        state = arrays.step[0]
        tail = int(state["report_tail"])
        if tail + 1 >= len(arrays.reports):
            arrays.make_room(2 * len(arrays.reports))
        due = max(
            ts + self._settings.latency.report_ns(self._generator), int(state["now"]), int(state["last_report_due"])
        )
        state["exec_id"] += 1
        reason = _TOO_LATE if order_id <= self.last_order_id else _UNKNOWN_ORDER
        arrays.reports[tail] = (
            due, ts, int(state["exec_id"]), order_id, -1, ord(ExecType.CANCEL_REJECTED.value), 0, 0, 0, 0, 0, reason, 0, 0,
        )  # fmt: skip
        state["last_report_due"] = due
        state["report_tail"] = tail + 1
