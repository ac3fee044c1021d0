"""A run from its first input to its last record: feed, engine, journal, and what is written beside them.

``Session.start`` makes a run folder, ``Session.resume`` takes one up after a crash, ``feed`` walks blocks, ``finish``
seals the journal and writes the summary and the report page. A run folder holds

- ``journal.sqlite`` and ``checkpoints.jsonl``: every input and record (``journal.writer``),
- ``summary.json``: the figures (``runtime.summary``),
- ``report.html``: the page (``runtime.report``),
- ``latency.json``: how long the decisions took on this machine; measured, so not part of what a replay compares,
- ``files.jsonl``: the hashes of these three, signed (``journal.sealed_files``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from grandmodel.domain.blocks import Block
from grandmodel.domain.errors import InvariantError, UsageError
from grandmodel.domain.events import (
    Begin,
    Command,
    End,
    MarketData,
    ModelRefresh,
    Record,
    Signal,
    SignalTrigger,
)
from grandmodel.domain.files import Closeable
from grandmodel.domain.ids import RunId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_SECOND
from grandmodel.journal.checkpoints import Signer
from grandmodel.journal.format import LOG_NAME, ContentResolver, JournalReader, decode_input
from grandmodel.journal.writer import Durability, Journal, refuse_damaged_log
from grandmodel.runtime.account_events import AccountEvent, check_account_event
from grandmodel.runtime.agent_time import AgentTimer, late_agent
from grandmodel.runtime.agents import BUILT_IN_ONLY, build_agent
from grandmodel.runtime.commands import Part, Told, in_time_order
from grandmodel.runtime.driver import Driver
from grandmodel.runtime.engine import AgentFactory, Engine
from grandmodel.runtime.errors import RunStoppedError
from grandmodel.runtime.inputs import InputEngine, begin_run
from grandmodel.runtime.latency import Latency
from grandmodel.runtime.model_loading import check_layer, find_models, refresh_of
from grandmodel.runtime.recovery import Recovered, recover
from grandmodel.runtime.settings import Mode, RunSettings

LATENCY_NAME = "latency.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, for the progress line."""

    ts: int
    rows: int
    records: int
    orders: int
    fills: int
    equity_micros: int


class Session(Closeable):
    """One run that is open for feeding. Use as a context manager: leaving it closes the journal.

    ``clock_ns`` is a monotonic clock for latencies; ``on_record`` sees every record as it is made.
    """

    def __init__(self, folder: Path, journal: Journal, inputs: InputEngine, clock_ns: Callable[[], int]) -> None:
        """Use ``start`` or ``resume``."""
        self.folder = folder
        self.journal = journal
        self.latency = Latency(clock_ns)
        self.recovered: Recovered | None = None
        self._inputs = inputs
        self._is_backtest = self.engine.settings.mode is Mode.BACKTEST
        self._driver = Driver(journal, inputs, waits=not self._is_backtest, on_record=self._take_record)
        self._listener: Callable[[Record], None] | None = None
        self._timer: AgentTimer | None = None
        self.engine.watch = self.latency
        if not self._is_backtest:
            timing = self.engine.settings.agent_time
            if timing.budget_ns:
                self.engine.asking.watch = self._timer = AgentTimer(clock_ns, timing)
        self._should_stop: Callable[[], bool] = _never

    @classmethod
    def start(
        cls,
        folder: Path,
        settings: RunSettings,
        instruments: Sequence[Instrument],
        schedules: Sequence[SessionSchedule],
        *,
        data: str,
        clock_ns: Callable[[], int],
        resolver: ContentResolver | None = None,
        on_record: Callable[[Record], None] | None = None,
        signer: Signer | None = None,
        check: Callable[[Engine], None] | None = None,
        build_agent: AgentFactory = build_agent,
    ) -> Self:
        """Begin a run in ``folder``, whose name is the run's; what ``check`` raises about its engine leaves no folder behind.

        The settings are the caller's own, and so is the code that they name.
        """
        if settings.mode is Mode.LIVE:
            raise UsageError("live trading needs a broker: found mode live, expected backtest or paper here")
        settings = find_models(settings)
        begin = begin_run(RunId(folder.name), settings, instruments, schedules, data)
        inputs = InputEngine(build_agent)
        first = list(inputs.on_input(0, begin))  # What cannot be built leaves no folder behind.
        if check is not None and inputs.engine is not None:
            check(inputs.engine)
        journal = Journal.create(folder, durability=_durability(settings.mode), resolver=resolver, signer=signer)
        session = cls(folder, journal, inputs, clock_ns)
        session.on_record = on_record
        session._driver.keep_input(begin, first)
        return session

    @classmethod
    def resume(
        cls,
        folder: Path,
        *,
        clock_ns: Callable[[], int],
        resolver: ContentResolver | None = None,
        signer: Signer | None = None,
        build_agent: AgentFactory = BUILT_IN_ONLY,
    ) -> Self:
        """Take up a run that was cut off: its inputs run again, and the feed goes on after ``recovered.feed_inputs``.

        The settings are those of the folder, perhaps a stranger's: code that they name is imported only where ``build_agent`` does so.
        """
        refuse_damaged_log(folder)
        with JournalReader.open(folder, resolver) as reader:
            first = next(reader.inputs(), None)
        if first is None or not isinstance(first[1], Begin):
            raise UsageError(
                f"{folder}: found a journal without a beginning, expected a run to go on with: start a new one. Nothing was ever "
                f"committed, or {LOG_NAME}, in which SQLite keeps what was written last, was taken away"
            )
        journal = Journal.open(folder, durability=_durability(Mode(first[1].mode)), resolver=resolver, signer=signer)
        inputs = InputEngine(build_agent)
        try:
            recovered = recover(journal, inputs)
        except BaseException:
            journal.close()
            raise
        session = cls(folder, journal, inputs, clock_ns)
        session.recovered = recovered
        session._driver.records = recovered.records
        return session

    @property
    def records(self) -> int:
        """Records in the journal."""
        return self._driver.records

    @property
    def orders(self) -> int:
        """Orders that have left in this process."""
        return self._driver.orders

    @property
    def fills(self) -> int:
        """Fills in this process."""
        return self._driver.fills

    @property
    def on_record(self) -> Callable[[Record], None] | None:
        """Sees every record once it is journalled."""
        return self._listener

    @on_record.setter
    def on_record(self, listener: Callable[[Record], None] | None) -> None:
        self._listener = listener

    @property
    def engine(self) -> Engine:
        """The engine of this run."""
        if self._inputs.engine is None:
            raise InvariantError("the session has no engine: its journal holds no beginning")
        return self._inputs.engine

    @property
    def begin(self) -> Begin:
        """The run's first input."""
        if self._inputs.begin is None:
            raise InvariantError("the session's journal holds no beginning")
        return self._inputs.begin

    @property
    def traded_by(self) -> tuple[str, ...]:
        """What the agents say that they trade, and by what."""
        return self.engine.asking.introductions()

    @property
    def is_ended(self) -> bool:
        """True where the journal holds the end of the run already."""
        return self.recovered is not None and self.recovered.ended

    def feed(
        self,
        blocks: Iterable[Block],
        *,
        where: str = "",
        on_progress: Callable[[Progress], None] | None = None,
        keep_rows: bool = True,
        first: int = 0,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        """Walk ``blocks`` in order; ``first`` is the number that the first of them has in its feed.

        ``keep_rows`` writes the rows into the journal; otherwise it holds their sha256 and ``where#number``, and whoever
        replays must find them there again. ``should_stop`` is asked after every step: where it says so, what was done is committed
        and ``RunStoppedError`` raised; a block that was begun is gone on with where it was left.
        """
        self.feed_parts(
            in_time_order(blocks, first=first),
            where=where,
            on_progress=on_progress,
            keep_rows=keep_rows,
            should_stop=should_stop,
        )

    def feed_parts(
        self,
        parts: Iterable[Part | Told],
        *,
        where: str = "",
        on_progress: Callable[[Progress], None] | None = None,
        keep_rows: bool = True,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        """``feed`` with what the run is told in between, as ``commands.in_time_order`` puts it."""
        if should_stop is not None:
            self._should_stop = should_stop
        for part in parts:
            self._stop_if_asked()
            if not isinstance(part, Part):
                self._take(part)
                continue
            block = part.rows
            schema = self.engine.market.check(block)  # What cannot be walked is not journalled either.
            if keep_rows:
                given = MarketData(schema=schema.value, count=len(block), rows=block.tobytes())
            else:
                source = f"{rows_sha256(block)} {where}#{part.place}"
                given = MarketData(schema=schema.value, count=len(block), source=source)
            self._driver.walk(given, self._inputs.on_rows(block), self._stop_if_asked)
            if self._timer is not None:
                self._tell_of_late_agents(self._timer)
            if on_progress is not None:
                on_progress(self.progress())

    def journalled_feed(self) -> list[str | Told]:
        """What the journal held of the feed when it was opened, in order: each block's sha256, and what the run was told."""
        found = (decode_input(row.body) for row in self.journal.input_rows())
        return [
            given.source.partition(" ")[0] if isinstance(given, MarketData) else given
            for given in found
            if isinstance(given, MarketData | Told)
        ]

    def command(self, command: Command) -> None:
        """A person told the engine something: it is journalled and acted on at once."""
        self._take(command)

    def signal(self, signal: Signal) -> None:
        """Something was measured outside the engine: it is journalled, and the ladder takes it at once."""
        self._take(signal)

    def book(self, given: AccountEvent) -> None:
        """The account's keeper says something: cash moved, a rate, a settlement, a split; it is journalled and booked at once.

        Raises ``UsageError``, with nothing journalled, where the account cannot book it.
        """
        self._take(given)

    def _take(self, given: Told) -> None:
        if isinstance(given, AccountEvent):
            check_account_event(self.engine.books, given)
        elif isinstance(given, Command):
            self.engine.gate_of(given)
        self._driver.take(given)

    def refresh_model(self, layer: str, reference: str, *, who: str, why: str) -> ModelRefresh:
        """Let another model decide from now on: it is loaded and checked first, and takes over between two events.

        ``reference`` is a path, a stage or an id of the registry. What is journalled comes back; where the file is refused, its
        ``refused`` says why, and the model before goes on deciding.
        """
        refresh, model = refresh_of(
            check_layer(layer), reference, ts=self.engine.now, who=who, why=why, agents=self.engine.asking.agents
        )
        self._driver.keep_input(refresh, self.engine.on_refresh(refresh, model))
        return refresh

    def end(self) -> None:
        """The stream is over: what was due happens, the last record is written and the journal is sealed."""
        if not self.is_ended:
            self._stop_if_asked()
            self._driver.take(End(ts=self.engine.now))
        self._driver.commit()
        self.journal.seal()
        (self.folder / LATENCY_NAME).write_bytes(msgspec.json.encode(self.latency.percentiles()))

    def progress(self) -> Progress:
        """Where the run is now."""
        engine = self.engine
        return Progress(
            ts=engine.now,
            rows=engine.market.position,
            records=self.records,
            orders=self.orders,
            fills=self.fills,
            equity_micros=engine.equity_micros,
        )

    def close(self) -> None:
        """Let go of the journal; what was appended and not committed is gone, as after a crash."""
        self.journal.close()

    def _tell_of_late_agents(self, timer: AgentTimer) -> None:
        """Journal what the timer found while the block was walked; nobody minds how long the agents took to warm up."""
        engine = self.engine
        for place, took_ns in timer.take_late():
            if engine.now >= engine.settings.trade_from_ns:
                source = late_agent(engine.asking.names[place])
                self.signal(
                    Signal(ts=engine.now, trigger=SignalTrigger.LATENCY, value=took_ns / NS_PER_SECOND, source=source)
                )

    def _stop_if_asked(self) -> None:
        if self._should_stop():
            self._driver.commit()
            raise RunStoppedError(f"{self.folder}: the run was stopped, {self.records} records are in its journal")

    def _take_record(self, record: Record) -> None:
        if self._listener is not None:
            self._listener(record)


def rows_sha256(block: Block) -> str:
    """The sha256 of a block's rows, as the journal names them."""
    return hashlib.sha256(np.ascontiguousarray(block).data).hexdigest()


def _durability(mode: Mode) -> Durability:
    """Paper and live trading wait for the disk; a backtest can be run again."""
    return Durability.OS if mode is Mode.BACKTEST else Durability.DISK


def _never() -> bool:
    """Nobody stops the run."""
    return False
