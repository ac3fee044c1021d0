"""A small venue in a process of its own, on 127.0.0.1, to hold brokers and recovery against.

``python tests/loopback_venue.py --database FILE`` prints the port it listens on. The venue keeps
every request in an SQLite file and lives on when the trading process dies; started again on the same file it is in the
same state, because its state is those requests applied in order (``VenueBook``).

What it fills is decided by the requests alone, so two runs that send the same requests in the same order get the same
reports with the same numbers. Its rules are simple on purpose: a market order fills at the ``mark`` that came with it;
a limit at its limit once a mark reaches it; a stop at the mark that passes it; more than one lot fills in two parts; a
bracket's children wait for the parent; the first OCO order of an instrument and group to fill ends the others; an order that
only reduces stops at a position of zero and ends. It knows no queue, no other traders and no sessions.
It is a test counterparty, not a simulation of a market: that is ``simulation``.

Faults can be switched on, each for every k-th request: ``drop`` (take it, close the line without an answer), ``twice``
(answer twice), ``late`` (answer only when the next message comes), ``reject`` (refuse orders whose number divides by k).
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from grandmodel.domain.errors import FatalError
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.orders import (
    ORDER_TYPES,
    ExecType,
    ExecutionReport,
    Order,
    OrderType,
    Reason,
    Side,
    TimeInForce,
)
from grandmodel.execution.brokers.requests import Request

LATENCY_NS = 1_000_000
"""How long after its request the venue says that something happened."""


class BrokerProtocolError(FatalError):
    """Venue or client said something that the protocol does not know."""


class Ask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line from a client: exactly one of the last three is asked."""

    number: int
    """The client's number of this question; the answer carries it."""
    run: str
    request: Request | None = None
    known: bool = False
    since: int | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line to a client."""

    number: int
    repeated: bool = False
    """True where the venue had taken the request before."""
    known: tuple[str, ...] = ()
    reports: tuple[ExecutionReport, ...] = ()


@dataclass(slots=True)
class VenueOrder:
    """An order at the venue."""

    order: Order
    quantity: int
    price: int | None
    stop_price: int | None
    filled: int = 0
    is_held: bool = False
    """A bracket's child whose parent has not filled."""
    is_open: bool = True

    @property
    def leaves(self) -> int:
        """Lots still open."""
        return self.quantity - self.filled if self.is_open else 0


@dataclass(slots=True)
class VenueBook:
    """One run's orders at the venue; ``apply`` is a pure function of the requests so far."""

    reject_every: int = 0
    orders: dict[int, VenueOrder] = field(default_factory=dict)
    reports: list[ExecutionReport] = field(default_factory=list)
    positions: dict[InstrumentId, int] = field(default_factory=dict)
    _now: int = 0

    def apply(self, request: Request) -> None:
        """Take one request that was not taken before, and add what comes of it to ``reports``."""
        if request.order is not None:
            self._now = request.order.ts + LATENCY_NS
            self._place(request.order, request.mark)
        elif request.cancel is not None:
            self._now = request.cancel.ts + LATENCY_NS
            known = self.orders.get(request.cancel.order_id)
            if known is None or not known.is_open:
                self._refuse(request.cancel.order_id, known)
            else:
                self._end(known, Reason.ASKED)
        elif request.replace is not None:
            change = request.replace
            self._now = change.ts + LATENCY_NS
            known = self.orders.get(change.order_id)
            if known is None or not known.is_open or change.quantity <= known.filled:
                self._refuse(change.order_id, known)
            else:
                known.quantity, known.price, known.stop_price = change.quantity, change.price, change.stop_price
                self._report(known, ExecType.REPLACED)
                self._match(known, request.mark)
        if request.mark is not None:
            self._market_moved(request)

    def _place(self, order: Order, mark: int | None) -> None:
        placed = VenueOrder(order, order.quantity, order.price, order.stop_price)
        self.orders[order.order_id] = placed
        terms = ORDER_TYPES[order.order_type]
        needs_mark = terms.pays_market and not terms.waits and order.parent is None and mark is None
        is_unlucky = self.reject_every and order.order_id % self.reject_every == 0
        if (
            needs_mark or terms.has_trail or is_unlucky
        ):  # It sees marks only now and then: nothing that a trigger could follow.
            placed.is_open = False
            self._report(placed, ExecType.REJECTED, reason=Reason.INVALID)
            return
        parent = None if order.parent is None else self.orders.get(order.parent)
        if order.parent is not None and (parent is None or (parent.filled == 0 and not parent.is_open)):
            placed.is_open = False
            self._report(placed, ExecType.REJECTED, reason=Reason.PARENT)
            return
        self._report(placed, ExecType.NEW)
        if parent is not None:
            placed.is_held = parent.filled == 0
            placed.quantity = parent.filled or order.quantity
        self._match(placed, mark)
        if placed.is_open and order.time_in_force in {TimeInForce.IOC, TimeInForce.FOK}:
            self._end(placed, Reason.NOT_FILLABLE)

    def _market_moved(self, request: Request) -> None:
        """A mark that came with a request may reach other resting orders of its instrument."""
        about = self.orders.get(int(request.client_order_id.rpartition("-")[2]))
        if about is None:
            return
        for other in list(self.orders.values()):
            if other is not about and other.order.instrument == about.order.instrument:
                self._match(other, request.mark)

    def _match(self, one: VenueOrder, mark: int | None) -> None:
        if not one.is_open or one.is_held or mark is None:
            return
        price = _fill_price(one, mark)
        if price is None:
            return
        side, instrument = int(one.order.side), one.order.instrument
        most = one.leaves
        if one.order.reduce_only:
            most = min(most, max(0, -self.positions.get(instrument, 0) * side))
        for lots in (most // 2, most - most // 2):
            if lots:
                one.filled += lots
                self.positions[instrument] = self.positions.get(instrument, 0) + lots * side
                if one.filled == one.quantity:
                    one.is_open = False
                self._report(one, ExecType.TRADE, quantity=lots, price=price, leaves=one.quantity - one.filled)
        for other in list(self.orders.values()):
            if other.order.parent == one.order.order_id and other.is_held:
                other.is_held = False
                other.quantity = one.filled
                self._match(other, mark)
            elif one.filled and other is not one and _same_group(one.order, other.order):
                self._end(other, Reason.OCO)
        if one.order.reduce_only:
            self._end(one, Reason.REDUCE_ONLY)

    def _end(self, one: VenueOrder, reason: Reason) -> None:
        if not one.is_open:
            return
        one.is_open = False
        self._report(one, ExecType.CANCELED, reason=reason)
        if one.filled == 0:
            for child in list(self.orders.values()):
                if child.order.parent == one.order.order_id:
                    self._end(child, Reason.PARENT)

    def _refuse(self, order_id: OrderId, known: VenueOrder | None) -> None:
        reason = Reason.UNKNOWN_ORDER if known is None else Reason.TOO_LATE
        self.reports.append(
            ExecutionReport(
                exec_id=ExecId(len(self.reports) + 1),
                order_id=order_id,
                exec_type=ExecType.CANCEL_REJECTED,
                ts_event=self._now,
                ts_init=self._now + LATENCY_NS,
                leaves=known.leaves if known else 0,
                cumulative=known.filled if known else 0,
                reason=reason,
            )
        )

    def _report(
        self,
        one: VenueOrder,
        kind: ExecType,
        *,
        quantity: int = 0,
        price: int = 0,
        leaves: int | None = None,
        reason: Reason = Reason.NONE,
    ) -> None:
        self.reports.append(
            ExecutionReport(
                exec_id=ExecId(len(self.reports) + 1),
                order_id=one.order.order_id,
                exec_type=kind,
                ts_event=self._now,
                ts_init=self._now + LATENCY_NS,
                last_quantity=quantity,
                last_price=price,
                leaves=one.leaves if leaves is None else leaves,
                cumulative=one.filled,
                maker=one.order.order_type is OrderType.LIMIT and kind is ExecType.TRADE,
                reason=reason,
            )
        )


def _same_group(one: Order, other: Order) -> bool:
    return one.oco_group != 0 and (one.oco_group, one.instrument) == (other.oco_group, other.instrument)


def _fill_price(one: VenueOrder, mark: int) -> int | None:
    """The price at which the order fills against ``mark``, or None where it rests."""
    buys = one.order.side is Side.BUY
    if one.stop_price is not None:
        gone = (mark - one.stop_price) * int(one.order.side) * ORDER_TYPES[one.order.order_type].waits
        if gone < 0:
            return None
    if one.price is None:
        return mark
    is_reached = mark <= one.price if buys else mark >= one.price
    return one.price if is_reached else None


@dataclass(frozen=True, slots=True)
class Faults:
    """Every k-th request meets the fault; 0: never."""

    drop: int = 0
    twice: int = 0
    late: int = 0
    reject: int = 0

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Faults:
        """From ``drop:7`` and the like."""
        pairs = dict(text.split(":", 1) for text in texts)
        unknown = set(pairs) - {"drop", "twice", "late", "reject"}
        if unknown:
            raise ValueError(f"found faults {sorted(unknown)}, expected drop, twice, late or reject")
        return cls(**{name: int(every) for name, every in pairs.items()})


class LoopbackVenue:
    """The venue's requests on disk, its books in memory, and the answering of lines."""

    def __init__(self, database: Path, faults: Faults) -> None:
        self._faults = faults
        self._connection = sqlite3.connect(database, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS requests (number INTEGER PRIMARY KEY, run TEXT NOT NULL, id TEXT NOT NULL,"
            " body BLOB NOT NULL, UNIQUE (run, id)) STRICT"
        )
        self._books: dict[str, VenueBook] = {}
        self._known: dict[str, dict[str, None]] = {}
        self._taken = 0
        for run, body in self._connection.execute("SELECT run, body FROM requests ORDER BY number"):
            self._enter(run, msgspec.json.decode(body, type=Request))

    def answer(self, ask: Ask) -> tuple[Answer, str]:
        """The answer to one line, and the fault with which it goes out (empty: none)."""
        known = self._known.setdefault(ask.run, {})
        if ask.request is not None:
            if ask.request.request_id in known:
                return Answer(number=ask.number, repeated=True), ""
            body = msgspec.json.encode(ask.request)
            self._connection.execute(
                "INSERT INTO requests (run, id, body) VALUES (?, ?, ?)", (ask.run, ask.request.request_id, body)
            )
            self._enter(ask.run, ask.request)
            self._taken += 1
            for fault in ("drop", "twice", "late"):
                every = getattr(self._faults, fault)
                if every and self._taken % every == 0:
                    return Answer(number=ask.number), fault
            return Answer(number=ask.number), ""
        if ask.known:
            return Answer(number=ask.number, known=tuple(known)), ""
        if ask.since is not None:
            reports = self._book(ask.run).reports
            return Answer(number=ask.number, reports=tuple(reports[max(ask.since, 0) :])), ""
        raise BrokerProtocolError(f"found a question without content (number {ask.number})")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client's lines until it goes away."""
        held = b""
        try:
            while line := await reader.readline():
                answer, fault = self.answer(msgspec.json.decode(line, type=Ask))
                if fault == "drop":
                    break
                encoded = msgspec.json.encode(answer) + b"\n"
                if fault == "late":
                    held += encoded
                    continue
                writer.write(held + encoded * (2 if fault == "twice" else 1))
                held = b""
                await writer.drain()
        except ConnectionError:
            pass  # The client died; its next process connects anew.
        finally:
            writer.close()

    def _book(self, run: str) -> VenueBook:
        return self._books.setdefault(run, VenueBook(reject_every=self._faults.reject))

    def _enter(self, run: str, request: Request) -> None:
        self._known.setdefault(run, {})[request.request_id] = None
        self._book(run).apply(request)


async def _listen(venue: LoopbackVenue, port: int) -> None:
    server = await asyncio.start_server(venue.serve, "127.0.0.1", port, limit=1 << 24)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run the venue until it is told to stop by a signal."""
    parser = argparse.ArgumentParser(description="A small venue on 127.0.0.1 to test brokers against.")
    parser.add_argument("--database", type=Path, required=True, help="the venue's own SQLite file")
    parser.add_argument("--port", type=int, default=0, help="0: any free port; the port is printed")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND:EVERY", help="drop, twice, late or reject"
    )
    given = parser.parse_args()
    try:
        asyncio.run(_listen(LoopbackVenue(given.database, Faults.parse(given.fault)), given.port))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
