"""What leaves a run, and how a run goes on after its process died.

``driver.Driver`` journals the inputs, runs the engine, commits, and only then lets the ``Outbox`` send what the records hold.
``recover`` rebuilds all of it after a crash: it runs the journalled inputs through a fresh engine,
holds each record against the journalled one, makes those again that the crash kept from being written, asks the broker
which requests it knows, and leaves the others waiting to be sent. Reports that were missed come with the next ``collect``.

Why nothing is lost or doubled: a request leaves only after the commit that holds it; a restarted run makes the same
request under the same id; a venue takes one id once; and a report counts once, by its number at the venue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from grandmodel.domain.events import Advance, Begin, End, MarketData, Record, VenueReport
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId, RunId, client_order_id
from grandmodel.domain.moments import moments_of
from grandmodel.domain.orders import CancelOrder, ExecutionReport, Order, ReplaceOrder
from grandmodel.execution.brokers.requests import Request, request_id
from grandmodel.journal.errors import ReplayError, UncommittedError
from grandmodel.journal.format import StoredRecord
from grandmodel.journal.replay import StateMachine, first_difference, run_again
from grandmodel.journal.writer import Journal


class Broker(Protocol):
    """The way to a venue. Every call raises ``BrokerUnavailableError`` where the venue cannot be reached."""

    def send(self, request: Request) -> None:
        """Hand over one request and wait until the venue says that it has it; sending the same id again is harmless."""

    def known_requests(self) -> AbstractSet[str]:
        """The ids of all requests of this run that the venue has taken."""

    def reports_since(self, exec_id: ExecId) -> Sequence[ExecutionReport]:
        """This run's reports with a number above ``exec_id`` that the venue has by now."""


class Outbox:
    """Requests on their way to a broker, in the order of the records, and reports on their way back."""

    def __init__(self, run: RunId, broker: Broker) -> None:
        self._run = run
        self._broker = broker
        self._waiting: deque[Request] = deque()
        self._counts: dict[OrderId, int] = {}
        self._marks: dict[InstrumentId, int] = {}
        self._instruments: dict[OrderId, InstrumentId] = {}
        self._last_exec_id = ExecId(0)

    @property
    def waiting(self) -> int:
        """Requests not yet sent."""
        return len(self._waiting)

    def note_record(self, record: Record) -> None:
        """Make requests of what ``record`` holds: cancels first, then changes, then new orders."""
        for moment in moments_of(record):
            for bar in moment.bars:
                self._marks[bar.instrument] = bar.close
        for cancel in record.cancels:
            self._waiting.append(self._request(cancel.order_id, cancel=cancel))
        for replace in record.replaces:
            self._waiting.append(self._request(replace.order_id, replace=replace))
        for order in record.orders:
            self._instruments[order.order_id] = order.instrument
            self._waiting.append(self._request(order.order_id, order=order))

    def note_report(self, report: ExecutionReport) -> None:
        """Remember that ``report`` is in the journal."""
        self._last_exec_id = max(self._last_exec_id, report.exec_id)

    def send(self, journal: Journal) -> int:
        """Send everything that waits; the result is how many. ``journal`` must hold all of it on disk already.

        Where the broker cannot be reached, what was not taken keeps waiting.
        """
        if journal.has_uncommitted:
            raise UncommittedError("found records that are not committed, expected none before a request leaves")
        sent = 0
        while self._waiting:
            self._broker.send(self._waiting[0])
            self._waiting.popleft()
            sent += 1
        return sent

    def forget_known(self) -> int:
        """Drop from what waits the requests that the broker has taken before; the result is how many are left."""
        known = self._broker.known_requests()
        self._waiting = deque(one for one in self._waiting if one.request_id not in known)
        return len(self._waiting)

    def collect(self) -> list[ExecutionReport]:
        """The broker's reports that are not in the journal yet, each once, in the venue's order."""
        new = {one.exec_id: one for one in self._broker.reports_since(self._last_exec_id)}
        return [new[exec_id] for exec_id in sorted(new) if exec_id > self._last_exec_id]

    def _request(
        self,
        order_id: OrderId,
        *,
        order: Order | None = None,
        cancel: CancelOrder | None = None,
        replace: ReplaceOrder | None = None,
    ) -> Request:
        count = self._counts.get(order_id, 0)
        self._counts[order_id] = count + 1
        instrument = self._instruments.get(order_id)
        return Request(
            request_id=request_id(self._run, order_id, count),
            client_order_id=client_order_id(self._run, order_id),
            order=order,
            cancel=cancel,
            replace=replace,
            mark=None if instrument is None else self._marks.get(instrument),
        )


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a run stands after ``recover``."""

    inputs: int
    records: int
    regenerated: int
    """Records that the crash had kept from being written."""
    feed_inputs: int
    """Inputs that came from the feed (blocks and passed time): it goes on after these."""
    last_ts: int
    """Time of the last record, or 0."""
    begun: bool
    ended: bool
    """True where the end is journalled: only the seal is missing."""
    waiting: int
    """Requests that the broker did not know."""


def recover(journal: Journal, engine: StateMachine, outbox: Outbox | None = None) -> Recovered:
    """Bring a fresh ``engine`` (and ``outbox``) to where ``journal`` stops.

    Nothing is sent: call ``outbox.send(journal)`` next, then ``collect``. Raises ``ReplayError`` where the engine makes
    another record than the journalled one: the code or the settings changed, or the journal did.
    """
    regenerated = feed_inputs = last_ts = 0
    begun = ended = False
    chains = {row.number: row.chain for row in journal.input_rows()}
    for made in run_again(journal.inputs(), journal.records(), engine):
        given = made.given
        if made.record is None:
            if made.kept is not None:
                raise ReplayError(f"record {made.kept.number} is in the journal, but its inputs do not make it again")
            begun = begun or isinstance(given, Begin)
            ended = isinstance(given, End)
            feed_inputs += isinstance(given, MarketData | Advance)
            if isinstance(given, VenueReport) and outbox is not None:
                outbox.note_report(given.report)
            continue
        if made.kept is None:
            journal.append_record_of(made.number, chains[made.number], made.body)
            regenerated += 1
        elif not made.is_equal:
            raise ReplayError(_difference(made.kept, made.number, made.body))
        if outbox is not None:
            outbox.note_record(made.record)
        last_ts = made.record.ts
    journal.commit()
    head = journal.head
    return Recovered(
        inputs=head.inputs,
        records=head.records,
        regenerated=regenerated,
        feed_inputs=feed_inputs,
        last_ts=last_ts,
        begun=begun,
        ended=ended,
        waiting=0 if outbox is None else outbox.forget_known(),
    )


def _difference(kept: StoredRecord, number: int, body: bytes) -> str:
    if kept.input != number:
        return f"record {kept.number} came from input {kept.input}, running again it came from input {number}"
    field = first_difference(kept.body, body)
    return (
        f"record {kept.number} is not the one that running again makes; first difference at {field}:"
        " go on with the code and settings that began this run (`grandmodel audit replay` shows both records)"
    )
