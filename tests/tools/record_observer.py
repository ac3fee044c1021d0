"""An outside observer of a run: it reads the records' bytes and nothing else, and keeps sums of its own.

It knows the words of the record (orders, reports, fills) and the rules that nobody may break, and asks no part of the engine,
the gate, the venue or the ledger for a number. What it holds against every record:

- the bytes can be read back, and written again they are the same bytes; numbers rise by one;
- an order that leaves was asked for by an intent, has an id of its own, and is no larger than what risk approved;
- reports fit the order: no more filled than ordered, ``cumulative`` adds up, nothing after the end, no id twice;
- a limit is never filled worse than its price, a stop never better than its trigger, ``reduce_only`` never opens;
- positions are within the limits, and so is the worst that all working orders together can still make of them. Where the
  venue's own state is not on the record (an order on its way, a group's fill on its way) the smaller number is taken: the
  observer never cries wolf, and a breach of the plain position needs no such care;
- the engine's own invariant on lots (alert ``limit_broken``) has nothing to say;
- money: cash from fills and fees alone; equity at the marks that the last record names, to the millionth.

``faults`` is the list of what was found, in words; empty means that nothing was.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from grandmodel.domain.events import Cause, Record
from grandmodel.domain.instruments import MICROS_PER_UNIT, Instrument
from grandmodel.domain.moments import expanded
from grandmodel.domain.orders import CancelOrder, ExecType, ExecutionReport, Fill, Order, OrderType, ReplaceOrder
from grandmodel.journal.format import decode_record, encode_record
from grandmodel.risk.settings import InstrumentLimits, RiskSettings

_ENDS = (ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED)
_OWN_TAGS = ("roll", "bad_stretch")
_MOST_OF_A_KIND = 3
"""Faults of one kind that are listed with their numbers; all are counted."""


@dataclass
class _Seen:
    """What the record has said of one order so far."""

    order: Order
    agent: str
    quantity: int
    price: int | None
    stop: int | None
    filled: int = 0
    reduced: int = 0
    """Lots that other members of its group filled since it was sent."""
    change: ReplaceOrder | None = None
    largest: int = 0
    triggered: bool = False

    def leaves(self, parent_filled: int | None) -> int:
        """The least that it can still fill."""
        most = self.quantity if parent_filled is None else min(self.quantity, parent_filled)
        return max(0, most - self.filled - self.reduced)


@dataclass
class Observer:
    """Sums over one run; ``take`` each record's bytes in order, then ``finish``."""

    instruments: tuple[Instrument, ...]
    risk: RiskSettings
    capital_micros: int
    checks_equity_at_bars: bool = False
    """True where the feed is bars, whose closes are on the record and are the marks."""
    must_be_flat: bool = False
    """True where the run ends with everything cancelled and closed: then nothing may be open or held at the end."""
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Start from an empty account."""
        self._by_id = {instrument.id: instrument for instrument in self.instruments}
        self.lots = dict.fromkeys(self._by_id, 0)
        self._paid = dict.fromkeys(self._by_id, 0)
        """Ticks times lots paid, by instrument."""
        self._fees = 0
        self._marks: dict[str, int] = {}
        self._open: dict[int, _Seen] = {}
        self._filled_by: dict[int, int] = {}
        """Lots that each order has filled, ended ones too: what a bracket's children wait for."""
        self._ended: set[int] = set()
        self._exec_ids: set[int] = set()
        self._number = 0
        self._last: Record | None = None

    def take(self, body: bytes) -> None:
        """Hold one record against everything."""
        try:
            record = decode_record(body)
        except msgspec.DecodeError as error:
            self._fault(f"record {self._number}: cannot be read: {error}")
            self._number += 1
            return
        if encode_record(record) != body:
            self._fault(f"record {self._number}: written again it is other bytes")
        if record.number != self._number:
            self._fault(f"found record {record.number}, expected {self._number}")
        self._number += 1
        self._last = record
        self.counts["records"] += 1
        for moment in expanded([record]):
            for bar in moment.bars:
                if not bar.flags & 8:  # A bad stretch makes no mark.
                    self._marks[bar.instrument] = bar.close
            for alert in moment.alerts:
                if alert.code == "limit_broken":  # The engine's own look found what the gate had let through.
                    self._fault(f"record {record.number}: the engine says that a limit is broken: {alert.text}")
            self._take_reports(moment)
            self._take_orders(moment)
            self._take_alerts(moment)
            self._check_limits(moment)
            if self.checks_equity_at_bars and moment.cause is Cause.BAR:
                self._check_equity(moment)

    def finish(self) -> None:
        """The last record says how things stand; it must be what the sums say."""
        last = self._last
        if last is None or last.cause is not Cause.END or last.note is msgspec.UNSET:
            self._fault("found no last record, expected one that says how things stand")
            return
        note = msgspec.json.decode(last.note)
        for name, said in note["positions"].items():
            if said["lots"] != self.lots[name]:
                self._fault(
                    f"{name}: found {said['lots']} lots on the last record, expected {self.lots[name]} from the fills"
                )
            if self.lots[name]:
                self._marks[name] = said["mark_ticks"]
        self._check_equity(last)
        said_open = set(note["open_orders"])
        if said_open != set(self._open):
            self._fault(
                f"found orders {sorted(said_open)[:5]} open on the last record, expected {sorted(self._open)[:5]} from the reports"
            )
        if self.must_be_flat and (self._open or any(self.lots.values())):
            orders = sorted(self._open)[:5]
            self._fault(f"found {self.lots} held and orders {orders} without an end, expected everything closed")

    # -- orders and reports ----------------------------------------------------------------------------------------

    def _take_alerts(self, record: Record) -> None:
        """Where the engine's own reckoning stops an order that the gate let through, the gate is at fault."""
        for alert in record.alerts:
            if alert.code == "limit_broken":
                self._fault(
                    f"record {record.number}: the engine found a limit broken ({alert.value:g} over {alert.limit:g})"
                )

    def _take_orders(self, record: Record) -> None:
        asked = {number: decided.agent for decided in record.intents for number in decided.orders}
        for order in record.orders:
            self.counts["orders"] += 1
            agent = asked.get(order.order_id)
            if agent is None:
                self._fault(
                    f"record {record.number}: order {order.order_id} left, no intent of the record asked for it"
                )
            if order.order_id in self._open or order.order_id in self._ended:
                self._fault(f"record {record.number}: order {order.order_id} left twice")
            # What a person or a breaker closes may be larger than one order: it is as large as the position.
            too_large = order.quantity > self._limits(order.instrument).max_order_lots
            if order.quantity <= 0 or (too_large and agent not in ("risk", "operator")):
                self._fault(f"record {record.number}: order {order.order_id} of {order.quantity} lots left")
            self._open[order.order_id] = _Seen(
                order, agent or "", order.quantity, order.price, order.stop_price, largest=order.quantity
            )
            self._filled_by[order.order_id] = 0
        for change in record.replaces:
            self.counts["changes"] += 1
            seen = self._open.get(change.order_id)
            if seen is None:
                self._fault(f"record {record.number}: a change of order {change.order_id} left, which is not open")
                continue
            seen.change = change
            seen.largest = max(seen.largest, change.quantity)
        self._take_cancels(record.number, record.cancels)

    def _take_cancels(self, number: int, cancels: tuple[CancelOrder, ...]) -> None:
        for cancel in cancels:
            self.counts["cancels"] += 1
            if cancel.order_id not in self._open:
                self._fault(f"record {number}: a cancel of order {cancel.order_id} left, which is not open")

    def _take_reports(self, record: Record) -> None:
        fills = {fill.exec_id: fill for fill in record.fills}
        if len(fills) != len(record.fills):
            self._fault(f"record {record.number}: one exec_id stands for two fills")
        for report in record.reports:
            if report.exec_id in self._exec_ids:
                continue  # Seen before; a repeated one must not be booked, and is not among the fills.
            self._exec_ids.add(report.exec_id)
            seen = self._open.get(report.order_id)
            if seen is None:
                if report.exec_type is not ExecType.CANCEL_REJECTED:
                    self._fault(f"record {record.number}: {report.exec_type.name} of order {report.order_id}, not open")
                continue
            if report.exec_type is ExecType.TRADE:
                fill = fills.get(report.exec_id)
                if fill is None or (fill.quantity, fill.price, fill.order_id, fill.side) != (
                    report.last_quantity, report.last_price, report.order_id, seen.order.side,
                ):  # fmt: skip
                    self._fault(f"record {record.number}: the fill of report {report.exec_id} is not the report's")
                self._filled(record.number, seen, report)
                if fill is not None:
                    self._book(record.number, fills.pop(report.exec_id))
            elif report.exec_type is ExecType.REPLACED and seen.change is not None:
                change, seen.change = seen.change, None
                seen.quantity = change.quantity
                seen.price = seen.price if change.price is None else change.price
                if change.stop_price is not None and not seen.triggered:
                    seen.stop = change.stop_price
            elif report.exec_type is ExecType.CANCEL_REJECTED:
                seen.change = None
            elif report.exec_type is ExecType.TRIGGERED:
                seen.triggered = True
            elif report.exec_type in _ENDS:
                self._end(report.order_id)
        for fill in fills.values():  # What no report brought: the two fills of a roll, the way out of a bad stretch.
            if fill.order_id != 0 or fill.tag not in _OWN_TAGS:
                self._fault(
                    f"record {record.number}: a fill of order {fill.order_id} without a report, tagged {fill.tag!r}"
                )
            self._book(record.number, fill)

    def _filled(self, number: int, seen: _Seen, report: ExecutionReport) -> None:
        order, lots, price = seen.order, report.last_quantity, report.last_price
        side = int(order.side)
        seen.filled += lots
        self._filled_by[order.order_id] += lots
        what = f"record {number}: order {order.order_id}"
        if lots <= 0 or seen.filled > max(seen.quantity, seen.largest if seen.change else 0):
            self._fault(f"{what} filled {lots}, {seen.filled} in all, of {seen.quantity}")
        if report.cumulative != seen.filled:
            self._fault(f"{what}: found cumulative {report.cumulative}, expected {seen.filled}")
        if order.order_type is OrderType.STOP and seen.stop is not None and side * (price - seen.stop) < 0:
            self._fault(f"{what}: a stop at {seen.stop} filled better, at {price}")
        limit = order.order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        if limit and seen.price is not None and side * (price - seen.price) > 0:
            self._fault(f"{what}: a limit at {seen.price} filled worse, at {price}")
        if getattr(order, "reduce_only", False):
            before = self.lots[order.instrument]
            if before * side >= 0 or abs(before) < lots:
                self._fault(f"{what}: reduce_only filled {lots} from a position of {before}")
        for other in self._open.values():
            mate = other.order
            if (
                mate.order_id != order.order_id
                and order.oco_group
                and mate.oco_group == order.oco_group
                and mate.instrument == order.instrument
                and report.ts_event >= mate.ts
            ):
                other.reduced += lots
        if report.leaves == 0 and not self._may_grow(seen):
            self._end(order.order_id)

    def _may_grow(self, seen: _Seen) -> bool:
        """A bracket's child that has filled all that its parent gave it waits for more of it."""
        parent = seen.order.parent
        return parent is not None and parent in self._open and seen.filled + seen.reduced < seen.quantity

    def _end(self, order_id: int) -> None:
        self.counts["ended"] += 1
        del self._open[order_id]
        self._ended.add(order_id)

    # -- limits and money ------------------------------------------------------------------------------------------

    def _limits(self, name: str) -> InstrumentLimits:
        return self.risk.instruments.get(name, self.risk.limits)

    def _check_limits(self, record: Record) -> None:
        overall = held = 0
        for name, lots in self.lots.items():
            limits = self._limits(name)
            up, down = self._worst(name)
            overall += max(up, -down, 0)
            held += abs(lots)
            if not -limits.max_short_lots <= lots <= limits.max_long_lots:
                self._fault(
                    f"record {record.number}: {name} holds {lots}, limits {-limits.max_short_lots} to {limits.max_long_lots}"
                )
            elif up > max(limits.max_long_lots, lots) or -down > max(limits.max_short_lots, -lots):
                self._fault(
                    f"record {record.number}: {name} holds {lots} and may come to hold {down} to {up}, limits "
                    f"{-limits.max_short_lots} to {limits.max_long_lots}"
                )
        most = self.risk.portfolio.max_overall_lots
        if held > most:
            self._fault(f"record {record.number}: {held} lots held in all, limit {most}")
        elif overall > max(most, held):
            self._fault(f"record {record.number}: {overall} lots in all at the worst, limit {most}")

    def _worst(self, name: str) -> tuple[int, int]:
        """The most and the least that the position can become when working orders fill."""
        plain = {1: 0, -1: 0}
        groups: dict[tuple[int, int], int] = {}
        for seen in self._open.values():
            order = seen.order
            if order.instrument != name or getattr(order, "reduce_only", False):
                continue
            lots = seen.leaves(None if order.parent is None else self._filled_by.get(order.parent, 0))
            side = int(order.side)
            if order.oco_group:
                key = (order.oco_group, side)
                groups[key] = max(groups.get(key, 0), lots)
            else:
                plain[side] += lots
        for (_, side), lots in groups.items():
            plain[side] += lots
        return self.lots[name] + plain[1], self.lots[name] - plain[-1]

    def _book(self, number: int, fill: Fill) -> None:
        self.counts["fills"] += 1
        name, signed = fill.instrument, fill.signed_quantity
        if name not in self._by_id or signed == 0:
            self._fault(f"record {number}: a fill of {signed} lots of {name}")
            return
        self.lots[name] += signed
        self._paid[name] += signed * fill.price
        self._fees += fill.fee_micros

    def _check_equity(self, record: Record) -> None:
        """Equity from capital, fills, fees and marks: futures in the base currency only."""
        value = self.capital_micros - self._fees
        for name, instrument in self._by_id.items():
            lots = self.lots[name]
            if lots and name not in self._marks:
                return
            held = lots * self._marks[name] if lots else 0
            value += (held - self._paid[name]) * instrument.tick_value_micros
        self.counts["equities"] += 1
        if value != record.equity_micros:
            found, expected = record.equity_micros / MICROS_PER_UNIT, value / MICROS_PER_UNIT
            self._fault(f"record {record.number}: found equity {found}, expected {expected} from fills, fees and marks")

    def _fault(self, text: str) -> None:
        kind = "fault: " + re.sub(r"-?\d+(\.\d+)?|'.*'|\b(NQ|CL|ES)\b", "#", text)
        self.counts[kind] += 1
        if self.counts[kind] <= _MOST_OF_A_KIND:
            self.faults.append(text)
