"""Why an order was sent or refused, and what became of it: the story of a run's orders as its journal tells it.

``load_order`` tells one order from the wish to its end, ``load_orders`` lists all that were sent, ``load_refused`` lists what risk
or the engine did not let through. Everything is folded from the records, as ``results`` does for figures; whether the journal is
what was written is a question for ``journal.verification``. Shown by ``grandmodel audit show``; the steps of an order's life
are in ``docs/concepts/life-of-an-order.md``.

Prices and distances are in price units of the instrument, money in millionths of the named currency, times int64 ns UTC.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import msgspec

from grandmodel.domain.decisions import (
    CancelIntent,
    CheckOutcome,
    Intent,
    PlaceOrder,
    RiskCheck,
    TargetPosition,
)
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Begin, DecidedIntent, Record
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.instruments import Instrument, currency_text
from grandmodel.domain.moments import expanded
from grandmodel.domain.orders import ExecutionReport, Fill
from grandmodel.domain.time import NEVER_NS, NS_PER_SECOND
from grandmodel.execution.order_life import OrderLife, OrderLives
from grandmodel.journal.format import JournalReader, decode_record
from grandmodel.risk.breakers import BreakerState
from grandmodel.risk.checks import CHECK_NAMES, checks_of, names_of
from grandmodel.risk.refusals import Refusal, RefusalCount
from grandmodel.runtime.settings import RunSettings

CHECK_UNITS = {
    "order_quantity": "lots",
    "order_notional": "money",
    "price_collar": "price",
    "order_rate": "orders",
    "message_rate": "messages",
    "repeated_orders": "repeats",
    "duplicate": "time",
    "self_match": "price",
    "position_long": "lots",
    "position_short": "lots",
    "position_overall": "lots",
    "gross_exposure": "money",
    "net_exposure": "money",
    "concentration": "money",
    "margin": "money",
    "var": "money",
    "stressed_var": "money",
    "drawdown": "fraction",
    "daily_loss": "fraction",
    "stale_data": "time",
    "breaker": "state",
}
"""What value and limit of each check count; a check that is not here only says yes or no. On the record money is in
millionths of the base currency, a price in ticks, a time in ns."""


class CheckLine(msgspec.Struct, frozen=True, kw_only=True):
    """One risk check of one order; ``value`` and ``limit`` as on the record, the texts with their unit for people."""

    name: str
    outcome: str
    value: float | int | None
    limit: float | int | None
    unit: str
    reason: str
    value_text: str
    limit_text: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One wish that touched an order, and what risk said of it."""

    record: int
    ts: int
    agent: str
    account: str
    """For which account, where several trade; empty: the run's own."""
    intent: int
    wish: str
    reasons: tuple[str, ...]
    verdict: str
    """``approved``, ``cut``, ``refused``, or ``no_order`` where the wish asked for none."""
    reason: str
    """Reason code of the first check that refused, else of the first that cut."""
    checks: tuple[CheckLine, ...]


class OrderEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to an order: a request of ours, or a report of the venue with its fill."""

    record: int
    ts_event: int
    ts_init: int
    what: str
    """``sent``, ``cancel_asked``, ``change_asked``, or the report's type: ``new``, ``trade``, ``canceled``, ..."""
    lots: int = 0
    price: Decimal | None = None
    stop_price: Decimal | None = None
    maker: bool = False
    fee_micros: int = 0
    currency: str = ""
    decision_price: Decimal | None = None
    """The mark when the order was decided."""
    slippage_reference: str = ""
    """What slippage is measured from: ``trigger``, ``limit``, ``quote`` or ``mark`` (at arrival); empty where it is not known."""
    slippage_from: Decimal | None = None
    """That price."""
    slippage_price: Decimal | None = None
    """Cost of one lot against it, in price units; positive is a cost."""
    slippage_micros: int | None = None
    """Cost of the whole fill."""
    delay_price: Decimal | None = None
    """What the way from ``decision_price`` to ``slippage_from`` cost one lot."""
    delay_micros: int | None = None
    filled: int = 0
    leaves: int = 0
    reason: str = ""
    asked_by: str = ""
    """Who asked for a cancel or a change, where only one acted on the instrument in that record."""


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    """One order that was sent, in a row: the terms that hold at the end, and what was filled."""

    order: OrderId
    record: int
    ts: int
    agent: str
    account: str
    """Whose it is, where several trade; empty: the run's own."""
    intent: int
    reasons: tuple[str, ...]
    instrument: InstrumentId
    side: str
    lots: int
    order_type: str
    price: Decimal | None
    stop_price: Decimal | None
    time_in_force: str
    tag: str
    parent: OrderId | None
    filled: int
    mean_price: Decimal | None
    """Exact where it is on the tick, else rounded to two digits more than the tick has."""
    fees_micros: int
    slippage_micros: int | None
    """Of all its fills, against the reference of its kind; None where it is not known for one, or nothing filled."""
    delay_micros: int | None
    currency: str
    status: str
    """FIX state at the end of the journal, in words."""
    status_reason: str
    ended: bool
    """False where the order was still open when the journal ends."""


class OrderStory(msgspec.Struct, frozen=True, kw_only=True):
    """One order from the wish to its end. ``order`` is None where it was refused and never sent."""

    run: str
    id: OrderId
    order: OrderLine | None
    decisions: tuple[Decision, ...]
    """The wish that led to it first, then those that asked for a change of it."""
    events: tuple[OrderEvent, ...]
    same_intent: tuple[OrderId, ...]
    """Other orders that the first wish asked for."""


class OrderList(msgspec.Struct, frozen=True, kw_only=True):
    """All orders of a run that were sent within a span."""

    run: str
    orders: tuple[OrderLine, ...]
    booked_fills: int
    """Fills within the span that no order led to: the engine's own, at contract rolls and before bad stretches."""


class RefusedLine(msgspec.Struct, frozen=True, kw_only=True):
    """An order, a change or a wish that was not let through; ``risk.refusals`` says what each is."""

    what: str
    """``order``, ``change`` or ``wish``."""
    record: int
    ts: int
    agent: str
    account: str
    """For which account, where several trade; empty: the run's own."""
    intent: int
    order: OrderId | None
    """The number of the refused order, or of the order that was not changed; None where it did not come to one."""
    instrument: InstrumentId
    wish: str
    reasons: tuple[str, ...]
    reason: str
    check: CheckLine | None
    """The first that refused; None where it was not risk that did."""


class RefusedList(msgspec.Struct, frozen=True, kw_only=True):
    """What was refused within a span."""

    run: str
    refused: tuple[RefusedLine, ...]


def load_order(folder: Path, order: int) -> OrderStory:
    """The story of order ``order`` of the run in ``folder``; raises ``UsageError`` where no such order was ever decided."""
    decisions: list[Decision] = []
    siblings: tuple[OrderId, ...] = ()
    with _opened(folder) as (run, records):
        trails = _Trails(run, watched=order)
        for record in records:
            trails.add(record)
            for intent in record.intents:
                checked = [checks for number, checks in checks_of(intent, run.names) if number == order]
                if checked and not decisions:
                    siblings = tuple(dict.fromkeys(one.order_id for one in intent.checks if one.order_id != order))
                decisions += [run.decision(record, intent, checks) for checks in checked]
                trails.highest = max(trails.highest, *(one.order_id for one in intent.checks), 0)
    if not decisions:
        raise UsageError(f"{folder}: found no order {order}, expected one of the {trails.highest} that were decided")
    trail = trails.known.get(OrderId(order))
    return OrderStory(
        run=run.name,
        id=OrderId(order),
        order=None if trail is None else run.line(trail),
        decisions=tuple(decisions),
        events=tuple(trails.events),
        same_intent=siblings,
    )


def load_orders(folder: Path, start_ns: int = -NEVER_NS, end_ns: int = NEVER_NS) -> OrderList:
    """Every order sent from ``start_ns`` until before ``end_ns``, with what became of it by the end of the journal."""
    booked = 0
    with _opened(folder) as (run, records):
        trails = _Trails(run)
        for record in records:
            trails.add(record)
            if start_ns <= record.ts < end_ns:
                booked += sum(fill.order_id not in trails.known for fill in record.fills)
        lines = [run.line(trail) for trail in trails.known.values() if start_ns <= trail.ts < end_ns]
    return OrderList(run=run.name, orders=tuple(lines), booked_fills=booked)


def decisions_of(begin: Begin, first: Record, record: Record) -> tuple[Decision, ...]:
    """What ``record`` wished for and what risk said of it: one for each order asked for, one for a wish that asked for none.

    ``begin`` and ``first`` are the first input and the first record of its run.
    The verdict of the latter is ``refused`` with the engine's reason, or ``no_order``: nothing was to be traded now.
    """
    run = _run_of(begin, names_of(first))
    found: list[Decision] = []
    for intent in record.intents:
        found += [run.decision(record, intent, checks) for _, checks in checks_of(intent, run.names)]
        if not intent.checks:
            verdict = "refused" if intent.refused else "no_order"
            found.append(
                msgspec.structs.replace(run.decision(record, intent, ()), verdict=verdict, reason=intent.refused)
            )
    return tuple(found)


def load_refused(folder: Path, start_ns: int = -NEVER_NS, end_ns: int = NEVER_NS) -> RefusedList:
    """What was refused from ``start_ns`` until before ``end_ns``.

    A line for each refused order or change, and for each wish that the engine refused before it came to one.
    """
    lines: list[RefusedLine] = []
    with _opened(folder) as (run, records):
        count = RefusalCount(run.names)
        for record in records:
            for intent in record.intents:
                refusals = count.add(intent)
                if start_ns <= record.ts < end_ns:
                    lines += run.refused(record, intent, refusals)
    return RefusedList(run=run.name, refused=tuple(lines))


@dataclass(slots=True)
class _Trail:
    """What is known of one sent order so far."""

    life: OrderLife
    record: int
    ts: int
    intent: DecidedIntent
    ticks_lots: int = 0
    fees_micros: int = 0
    slippage_micros: list[int | None] = field(default_factory=list)
    delay_micros: list[int | None] = field(default_factory=list)
    reason: str = ""


class _Trails:
    """Folds records into what became of each order; keeps the events of the ``watched`` one."""

    def __init__(self, run: _Run, watched: int | None = None) -> None:
        self.known: dict[OrderId, _Trail] = {}
        self.events: list[OrderEvent] = []
        self.highest = 0
        self._run = run
        self._watched = watched
        self._lives = OrderLives()

    def add(self, record: Record) -> None:
        fills = {fill.exec_id: fill for fill in record.fills}
        for report in record.reports:
            self._add_report(record, report, fills.get(report.exec_id))
        intents = {intent.number: intent for intent in record.intents}
        for order in record.orders:
            self._lives.add(order, None, record.number)
            life = self._lives.life(order.order_id)
            if life is not None:
                self.known[order.order_id] = _Trail(life, record.number, record.ts, intents[order.intent])
            self._note_request(record, "sent", order.order_id, order.quantity, order.price, order.stop_price, "")
        for change in record.replaces:
            self._lives.ask_replace(change)
            self._note_request(
                record, "change_asked", change.order_id, change.quantity, change.price, change.stop_price, ""
            )
        for cancel in record.cancels:
            self._lives.ask_cancel(cancel.order_id)
            self._note_request(record, "cancel_asked", cancel.order_id, 0, None, None, cancel.reason)

    def _add_report(self, record: Record, report: ExecutionReport, fill: Fill | None) -> None:
        trail = self.known.get(report.order_id)
        life = self._lives.apply(report)
        counted = life is not None
        if trail is None:
            return
        trail.life = life or trail.life
        instrument = None
        if counted:
            trail.reason = report.reason.value
            if fill is not None:
                instrument = self._run.instruments[fill.instrument]
                trail.ticks_lots += fill.price * fill.quantity
                trail.fees_micros += fill.fee_micros
                trail.slippage_micros.append(_micros(instrument, fill.slippage_ticks, fill.quantity))
                trail.delay_micros.append(_micros(instrument, fill.delay_ticks, fill.quantity))
        if report.order_id != self._watched:
            return
        event = OrderEvent(
            record=record.number,
            ts_event=report.ts_event,
            ts_init=report.ts_init,
            what=report.exec_type.name.lower() if counted else "repeated_report",
            filled=report.cumulative,
            leaves=report.leaves,
            reason=report.reason.value,
        )
        if fill is not None and instrument is not None:
            event = msgspec.structs.replace(
                event,
                lots=fill.quantity,
                price=instrument.price_from_ticks(fill.price),
                maker=fill.maker,
                fee_micros=fill.fee_micros,
                currency=instrument.currency,
                decision_price=_price(instrument, fill.reference_price),
                slippage_reference=fill.slippage_reference.value,
                slippage_from=_price(instrument, fill.slippage_from),
                slippage_price=_price(instrument, fill.slippage_ticks),
                slippage_micros=_micros(instrument, fill.slippage_ticks, fill.quantity),
                delay_price=_price(instrument, fill.delay_ticks),
                delay_micros=_micros(instrument, fill.delay_ticks, fill.quantity),
            )
        self.events.append(event)

    def _note_request(
        self, record: Record, what: str, number: OrderId, lots: int, price: int | None, stop: int | None, reason: str
    ) -> None:
        trail = self.known.get(number)
        if number != self._watched or trail is None:
            return
        trail.life = self._lives.life(number) or trail.life  # Others of its group, or its parent, may have filled.
        order = trail.life.order
        instrument = self._run.instruments[order.instrument]
        acted = {intent.agent for intent in record.intents if intent.intent.instrument == order.instrument}
        self.events.append(
            OrderEvent(
                record=record.number,
                ts_event=record.ts,
                ts_init=record.ts,
                what=what,
                lots=lots,
                price=None if price is None else instrument.price_from_ticks(price),
                stop_price=None if stop is None else instrument.price_from_ticks(stop),
                filled=trail.life.filled,
                leaves=trail.life.leaves,
                reason=reason,
                asked_by=acted.pop() if len(acted) == 1 else "",
            )
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """Names and units of a run, and the lines that they turn records into."""

    name: str
    base_currency: str
    instruments: dict[InstrumentId, Instrument] = field(default_factory=dict)
    names: tuple[str, ...] = CHECK_NAMES
    """Of the checks on its records."""

    def line(self, trail: _Trail) -> OrderLine:
        life, order = trail.life, trail.life.order
        instrument = self.instruments[order.instrument]
        return OrderLine(
            order=order.order_id,
            record=trail.record,
            ts=trail.ts,
            agent=trail.intent.agent,
            account=order.account,
            intent=trail.intent.number,
            reasons=trail.intent.intent.reasons,
            instrument=order.instrument,
            side=order.side.name.lower(),
            lots=life.quantity,
            order_type=order.order_type.name.lower(),
            price=None if order.price is None else instrument.price_from_ticks(order.price),
            stop_price=None if order.stop_price is None else instrument.price_from_ticks(order.stop_price),
            time_in_force=order.time_in_force.name.lower(),
            tag=order.tag,
            parent=order.parent,
            filled=life.filled,
            mean_price=_mean_price(instrument, trail.ticks_lots, life.filled),
            fees_micros=trail.fees_micros,
            slippage_micros=_sum(trail.slippage_micros),
            delay_micros=_sum(trail.delay_micros),
            currency=instrument.currency,
            status=life.status.name.lower(),
            status_reason=trail.reason if life.status.is_final else "",
            ended=life.status.is_final,
        )

    def decision(self, record: Record, intent: DecidedIntent, checks: tuple[RiskCheck, ...]) -> Decision:
        refusing = [check for check in checks if check.outcome is CheckOutcome.REFUSED]
        cutting = [check for check in checks if check.outcome is CheckOutcome.SHRUNK]
        return Decision(
            record=record.number,
            ts=record.ts,
            agent=intent.agent,
            account=intent.account,
            intent=intent.number,
            wish=self.wish(intent.intent),
            reasons=intent.intent.reasons,
            verdict="refused" if refusing else "cut" if cutting else "approved",
            reason=(refusing or cutting)[0].reason if refusing or cutting else "",
            checks=tuple(self.check(check, intent.intent.instrument) for check in checks),
        )

    def refused(self, record: Record, intent: DecidedIntent, refusals: Iterable[Refusal]) -> Iterator[RefusedLine]:
        for refusal in refusals:
            yield RefusedLine(
                what=refusal.what.value,
                record=record.number,
                ts=record.ts,
                agent=intent.agent,
                account=intent.account,
                intent=intent.number,
                order=refusal.order,
                instrument=intent.intent.instrument,
                wish=self.wish(intent.intent),
                reasons=intent.intent.reasons,
                reason=refusal.reason,
                check=None if refusal.check is None else self.check(refusal.check, intent.intent.instrument),
            )

    def check(self, check: RiskCheck, instrument: InstrumentId) -> CheckLine:
        unit = CHECK_UNITS.get(check.name.rpartition(": ")[2], "")
        unknown = "not known" if unit and check.outcome is CheckOutcome.REFUSED else ""
        return CheckLine(
            name=check.name,
            outcome=check.outcome.value,
            value=check.value,
            limit=check.limit,
            unit=unit,
            reason=check.reason,
            value_text=self._measure(check.value, unit, instrument) or unknown,
            limit_text=self._measure(check.limit, unit, instrument),
        )

    def _measure(self, value: float | None, unit: str, instrument: InstrumentId) -> str:
        if value is None:
            return ""
        if unit == "money":
            return currency_text(round(value), self.base_currency)
        if unit == "price":
            return str(self.instruments[instrument].price_from_ticks(int(value)))
        if unit == "time":
            return f"{value / NS_PER_SECOND:,.3f} s"
        if unit == "fraction":
            return f"{value:.4%}"
        if unit == "state":
            return BreakerState(int(value)).name.lower()
        return f"{value:,} {unit}".rstrip()

    def wish(self, intent: Intent) -> str:
        instrument = self.instruments[intent.instrument]
        price = instrument.price_from_ticks
        if isinstance(intent, TargetPosition):
            exits = [
                f"{name} {price(ticks)} away"
                for name, ticks in (("stop", intent.stop_ticks), ("target", intent.target_ticks))
                if ticks
            ]
            return ", ".join([f"hold {intent.lots:+d} {intent.instrument}, {intent.urgency.value}", *exits])
        if isinstance(intent, PlaceOrder):
            text = f"{intent.side.name.lower()} {intent.quantity} {intent.instrument} {_terms(instrument, intent)}"
            exits = [
                f"{name} at {price(level)}"
                for name, level in (("stop", intent.bracket_stop), ("target", intent.bracket_target))
                if level is not None
            ]
            return ", ".join([text, *exits])
        if isinstance(intent, CancelIntent):
            which = "all orders" if intent.order_id is None else f"order {intent.order_id}"
            return f"cancel {which} in {intent.instrument}"
        at = "".join(
            f", {name} {price(level)}"
            for name, level in (("limit", intent.price), ("stop", intent.stop_price))
            if level is not None
        )
        return f"change order {intent.order_id} in {intent.instrument} to {intent.quantity} lots in all{at}"


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[_Run, Iterator[Record]]]:
    with JournalReader.open(folder) as reader:
        first = next(reader.inputs(), None)
        if first is None or not isinstance(first[1], Begin):
            raise UsageError(f"{folder}: found a journal without a beginning, expected a run")
        begin, records = first[1], expanded(decode_record(row.body) for row in reader.record_rows())
        opening = next(records, None)
        if opening is None:
            yield _run_of(begin), records
        else:
            yield _run_of(begin, names_of(opening)), itertools.chain((opening,), records)


def _run_of(begin: Begin, names: tuple[str, ...] = CHECK_NAMES) -> _Run:
    settings = msgspec.json.decode(begin.settings, type=RunSettings)
    instruments = {instrument.id: instrument for instrument in begin.instruments}
    return _Run(str(begin.run), settings.account.base_currency, instruments, names)


def _terms(instrument: Instrument, intent: PlaceOrder) -> str:
    """``limit 19500.25, day``."""
    price, stop = intent.price, intent.stop_price
    text = intent.order_type.name.lower().replace("_", " ")
    if stop is not None:
        text += f" {instrument.price_from_ticks(stop)}"
    if price is not None:
        text += f" {'limit ' if stop is not None else ''}{instrument.price_from_ticks(price)}"
    if intent.trail_ticks:
        text += f" {instrument.price_from_ticks(intent.trail_ticks)} behind"
    if intent.display_quantity:
        text += f", {intent.display_quantity} shown"
    return f"{text}, {intent.time_in_force.name.lower()}"


def _price(instrument: Instrument, ticks: int | None) -> Decimal | None:
    return None if ticks is None else instrument.price_from_ticks(ticks)


def _micros(instrument: Instrument, ticks: int | None, lots: int) -> int | None:
    return None if ticks is None else instrument.value_micros(ticks, lots)


def _sum(parts: list[int | None]) -> int | None:
    """None where there is no part, or one is not known."""
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def _mean_price(instrument: Instrument, ticks_lots: int, lots: int) -> Decimal | None:
    """The mean of so many lots: exact where it is on the tick, else rounded to two digits more than the tick has."""
    if not lots:
        return None
    ticks, rest = divmod(ticks_lots, lots)
    if not rest:
        return instrument.price_from_ticks(ticks)
    digits = instrument.price_from_ticks(1).as_tuple().exponent
    return (instrument.price_from_ticks(ticks_lots) / lots).quantize(Decimal(1).scaleb(int(digits) - 2))
