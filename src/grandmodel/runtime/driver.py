"""One way for every run: an input is journalled, the engine takes it, its records are journalled, committed, and only then sent.

Backtest, paper and live trading, recovery and the tests that kill processes go through ``Driver``; only its edges differ: how often it
commits, whether an outbox sends, who listens. Recovery and replay run journalled inputs again (``journal.replay.run_again``) through the
same ``on_input``, and training steps the same engine without a journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from grandmodel.domain.events import Input, MarketData, Record, VenueReport
from grandmodel.journal.format import encode_record
from grandmodel.journal.replay import StateMachine
from grandmodel.journal.writer import Journal
from grandmodel.runtime.recovery import Outbox

STEPS_A_COMMIT = 256
"""Records that a backtest writes at once."""


class Driver:
    """Drives one engine: ``machine`` takes the inputs, ``journal`` keeps them and the records.

    ``waits``: a record that holds an order, a cancel or a change is committed before anything else happens, and so is the end of every
    block; without it a commit comes every ``STEPS_A_COMMIT`` records and behind every input that is no block. With an ``outbox`` what the
    committed records ask for is sent. ``on_record`` sees every record once it is journalled.
    """

    def __init__(
        self,
        journal: Journal,
        machine: StateMachine,
        *,
        outbox: Outbox | None = None,
        waits: bool = True,
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        self.journal = journal
        self.on_record = on_record
        self.records: int = 0
        """Records kept, and the orders and fills in them."""
        self.orders: int = 0
        self.fills: int = 0
        self._machine = machine
        self._outbox = outbox
        self._waits = waits
        self._uncommitted = 0
        self._unsent: list[Record] = []

    def take(self, *inputs: Input) -> list[Record]:
        """Journal and run ``inputs``, commit them together, and send what their records hold; the records."""
        made: list[Record] = []
        for given in inputs:
            number = self.journal.append_input(given)
            if isinstance(given, VenueReport) and self._outbox is not None:
                self._outbox.note_report(given.report)
            for record in self._machine.on_input(number, given):
                self.keep(record)
                made.append(record)
        self.commit()
        return made

    def keep_input(self, given: Input, records: Iterable[Record]) -> None:
        """``take`` for an input whose ``records`` come from elsewhere: they are made while they are kept."""
        self.journal.append_input(given)
        for record in records:
            self.keep(record)
        self.commit()

    def walk(self, given: MarketData, records: Iterable[Record], check: Callable[[], None]) -> None:
        """``take`` for a block whose ``records`` are made while they are kept; ``check`` is called after each and may raise to stop."""
        self.journal.append_input(given)
        for record in records:
            self.keep(record)
            check()
        if self._waits:
            self.commit()

    def keep(self, record: Record) -> None:
        """Journal a record; where orders are about to leave, wait until it is written."""
        self.journal.append_record(encode_record(record))
        self.records += 1
        self.orders += len(record.orders)
        self.fills += len(record.fills) if record.quiet is None else record.quiet.fills
        self._uncommitted += 1
        if self._outbox is not None:
            self._unsent.append(record)
        elif self._uncommitted >= STEPS_A_COMMIT or (
            self._waits and (record.orders or record.cancels or record.replaces)
        ):
            self.commit()
        if self.on_record is not None:
            self.on_record(record)

    def commit(self) -> None:
        """Write what was appended; then send what it asks for."""
        self.journal.commit()
        self._uncommitted = 0
        if self._outbox is not None:
            for record in self._unsent:
                self._outbox.note_record(record)
            self._unsent.clear()
            self._outbox.send(self.journal)
