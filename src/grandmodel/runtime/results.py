"""What a run's journal says happened, as arrays: the ground for summary, report page and risk report.

Everything is read from the journal, so a run that crashed, was resumed or came from another machine reads the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Alert, Begin, CashFlow, Cause, ExchangeRate, Record, Split
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.learnt import AgentLearnt, LearntFrom
from grandmodel.domain.moments import moments_of
from grandmodel.domain.orders import Fill
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.journal.checkpoints import last_checkpoint
from grandmodel.journal.format import JournalReader, decode_record
from grandmodel.risk.checks import names_of
from grandmodel.risk.refusals import RefusalCount
from grandmodel.runtime.books import SETTLED
from grandmodel.runtime.settings import RunSettings, settings_hash

BOOKED_TAGS = frozenset({"roll", "bad_stretch", SETTLED})
"""Fills that no order asked for: they have no slippage and are not drawn among the trades."""


@dataclass(slots=True)
class InstrumentHistory:
    """One instrument through a run, at the closes of its longest bars."""

    times: list[int] = field(default_factory=list)
    """Bar closes, int64 ns."""
    closes: list[int] = field(default_factory=list)
    """Ticks."""
    lots: list[int] = field(default_factory=list)
    """Signed position after the step that closed the bar."""


class ModelInForce(msgspec.Struct, frozen=True, kw_only=True):
    """What decided for one agent from a moment on."""

    from_ns: int
    agent: str
    learnt_from: LearntFrom | None
    """None where the agent does not say."""


class BookedFlow(msgspec.Struct, frozen=True, kw_only=True):
    """A cash flow that the account booked."""

    flow: CashFlow
    moved_micros: int
    """What equity moved by, in micros of the base currency."""


class BookedSplit(msgspec.Struct, frozen=True, kw_only=True):
    """A split that the account booked."""

    account: str = ""
    """Whose lots were split, where several accounts trade."""
    fills_before: int
    """Fills of the instrument in that account that came before it."""
    lots: int
    """Held after it."""
    paid_micros: int
    """For the part of a lot that was left over, in the instrument's currency."""


class _AccountNote(msgspec.Struct, frozen=True):
    cash_flow: CashFlow | None = None
    rate: ExchangeRate | None = None
    split: Split | None = None
    repeated: bool = False
    moved_micros: int = 0
    lots: int = 0
    paid_micros: int = 0
    accounts: dict[str, tuple[int, int]] = {}
    """Of a split, by account where several trade: lots held after it, and what was paid."""


_ACCOUNT_CAUSES = frozenset({Cause.CASH, Cause.RATE, Cause.SPLIT})


class _BeginNote(msgspec.Struct, frozen=True):
    agents: tuple[AgentLearnt, ...] = ()
    traded_by: tuple[str, ...] = ()


class _RefreshNote(msgspec.Struct, frozen=True):
    takers: tuple[str, ...] = ()
    learnt_from: LearntFrom | None = None


@dataclass(slots=True)
class RunResults:
    """A run as its journal tells it."""

    folder: Path
    begin: Begin
    settings: RunSettings
    record_head: str
    """The last link of the record chain, hexadecimal: names the run's whole history."""
    signed_by: str = ""
    """Id of the key that signed the last checkpoint; empty where none did."""
    records: int = 0
    times: list[int] = field(default_factory=list)
    """Time of each moment, ns: of every record, and of every moment that a quiet one holds."""
    equity: list[int] = field(default_factory=list)
    """Millionths of the base currency after each moment."""
    fills: list[Fill] = field(default_factory=list)
    alerts: list[tuple[int, Alert]] = field(default_factory=list)
    orders: int = 0
    cancels: int = 0
    replaces: int = 0
    refusals: RefusalCount = field(default_factory=RefusalCount)
    """What was refused and cut."""
    causes: Counter[str] = field(default_factory=Counter)
    models: list[ModelInForce] = field(default_factory=list)
    """Every model that ever decided, in the order in which they took over, and every agent that does not say what it learnt from."""
    history: dict[InstrumentId, InstrumentHistory] = field(default_factory=dict)
    traded_by: tuple[str, ...] = ()
    """What the agents said, when the run began, that they trade and by what."""
    flows: list[BookedFlow] = field(default_factory=list)
    """Cash that moved without a trade, in order."""
    transfers: list[tuple[int, int]] = field(default_factory=list)
    """Of these what the owner brought or took: place of its moment, and what equity moved by, micros of the base currency."""
    told_rates: dict[str, int] = field(default_factory=dict)
    """The last exchange rate of each currency that the run was told on its way."""
    splits: dict[InstrumentId, list[BookedSplit]] = field(default_factory=dict)
    ending: dict[str, object] | None = None
    """What the last record says of positions, cash and data; None where the run did not end."""

    @property
    def instruments(self) -> dict[InstrumentId, Instrument]:
        """The run's instruments by id."""
        return {instrument.id: instrument for instrument in self.begin.instruments}

    @property
    def rates_micros(self) -> dict[str, int]:
        """The last exchange rate of each currency, millionths of the base currency per unit; the base currency is 1,000,000."""
        account = self.settings.account
        return {account.base_currency: 1_000_000, **account.rates, **self.told_rates}

    @property
    def schedules(self) -> tuple[SessionSchedule, ...]:
        """The sessions of each instrument, in the order of ``instruments``."""
        return tuple(
            SessionSchedule(*(np.frombuffer(column, "<i8") for column in (one.open_ns, one.close_ns, one.day_ns)))
            for one in self.begin.sessions
        )

    @property
    def settings_hash(self) -> str:
        """Hash of the resolved settings."""
        return settings_hash(self.settings)

    def equity_curve(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Times (M,) and equity (M,) in currency units of all moments, from the first at which trading was allowed."""
        times = np.asarray(self.times, dtype=np.int64)
        values = np.asarray(self.equity, dtype=np.float64) / 1e6
        known = times >= max(0, self.settings.trade_from_ns)
        return times[known], values[known]

    def growth_curve(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Record times (G,), what the starting capital became (G,) and what was earned (G,), in currency units: deposits and
        withdrawals taken out.

        Growth is time-weighted: at a transfer it goes on with the same value, and from there it moves by the same fractions as equity.
        Without a transfer it is equity. It ends (G <= R) before a transfer with equity not above 0 on both sides: there is no fraction.
        What was earned is equity less all that was brought until then.
        """
        times = np.asarray(self.times, dtype=np.int64)
        equity = np.asarray(self.equity, dtype=np.float64) / 1e6
        growth, earned, scale, brought, stop = equity.copy(), equity.copy(), 1.0, 0.0, len(times)
        for place, moved in self.transfers:
            after, before = self.equity[place], self.equity[place] - moved
            if after <= 0 or before <= 0:
                stop = place
                break
            scale *= before / after
            brought += moved / 1e6
            growth[place:] = equity[place:] * scale
            earned[place:] = equity[place:] - brought
        known = np.flatnonzero(times[:stop] >= max(0, self.settings.trade_from_ns))
        return times[known], growth[known], earned[known]

    @property
    def growth_ends_ns(self) -> int | None:
        """When ``growth_curve`` ends before the run does; None where it does not."""
        for place, moved in self.transfers:
            if self.equity[place] <= 0 or self.equity[place] - moved <= 0:
                return self.times[place]
        return None


def is_on_simulated_market(begin: Begin) -> bool:
    """Whether the prices of a run are invented."""
    return begin.data.startswith("simulated")


def load_results(folder: Path) -> RunResults:
    """Read the run in ``folder``; raises ``UsageError`` where there is none."""
    with JournalReader.open(folder) as reader:
        first = next(reader.inputs(), None)
        if first is None or not isinstance(first[1], Begin):
            raise UsageError(f"{folder}: found a journal without a beginning, expected a run")
        begin = first[1]
        results = RunResults(
            folder=folder, begin=begin, settings=msgspec.json.decode(begin.settings, type=RunSettings), record_head=""
        )
        last = last_checkpoint(folder)
        results.signed_by = last.key if last else ""
        lots = {instrument.id: 0 for instrument in begin.instruments}
        results.history = {name: InstrumentHistory() for name in lots}
        widest = max(results.settings.widths_ns)
        chain = b""
        for row in reader.record_rows():
            chain = row.chain
            _add(results, decode_record(row.body), lots, widest)
        results.record_head = chain.hex()
    return results


def _add(results: RunResults, record: Record, lots: dict[InstrumentId, int], widest: int) -> None:
    results.records += 1
    results.causes[record.cause.value] += 1
    for moment in moments_of(record):
        for fill in moment.fills:
            results.fills.append(fill)
            lots[fill.instrument] += fill.signed_quantity
        if record.cause in _ACCOUNT_CAUSES and isinstance(record.note, msgspec.Raw):
            _add_account_event(results, msgspec.json.decode(record.note, type=_AccountNote), lots)
        results.times.append(moment.ts)
        results.equity.append(moment.equity_micros)
        for bar in moment.bars:
            if bar.width_ns == widest:
                history = results.history[bar.instrument]
                history.times.append(bar.ts_event)
                history.closes.append(bar.close)
                history.lots.append(lots[bar.instrument])
    for alert in record.alerts:
        results.alerts.append((record.ts, alert))
    results.orders += len(record.orders)
    results.cancels += len(record.cancels)
    results.replaces += len(record.replaces)
    for intent in record.intents:
        results.refusals.add(intent)
    if isinstance(record.note, msgspec.Raw):
        _add_note(results, record, record.note)


def _add_account_event(results: RunResults, note: _AccountNote, lots: dict[InstrumentId, int]) -> None:
    if note.repeated:
        return
    if note.cash_flow is not None:
        results.flows.append(BookedFlow(flow=note.cash_flow, moved_micros=note.moved_micros))
        if note.cash_flow.is_transfer:
            results.transfers.append((len(results.times), note.moved_micros))
    if note.rate is not None:
        results.told_rates[note.rate.currency] = note.rate.rate_micros
    if note.split is not None:
        name = note.split.instrument
        lots[name] = note.lots
        for account, (held, paid) in (note.accounts or {"": (note.lots, note.paid_micros)}).items():
            before = sum(fill.instrument == name and fill.account == account for fill in results.fills)
            results.splits.setdefault(name, []).append(
                BookedSplit(account=account, fills_before=before, lots=held, paid_micros=paid)
            )


def _add_note(results: RunResults, record: Record, note: msgspec.Raw) -> None:
    if record.cause is Cause.END:
        results.ending = msgspec.json.decode(note)
    elif record.cause is Cause.BEGIN:
        begun = msgspec.json.decode(note, type=_BeginNote)
        results.refusals.names = names_of(record)
        results.traded_by = begun.traded_by
        for agent in begun.agents:
            for learnt in (None,) if agent.learnt_from is None else agent.learnt_from:
                results.models.append(ModelInForce(from_ns=record.ts, agent=agent.agent, learnt_from=learnt))
    elif record.cause is Cause.MODEL:
        taken = msgspec.json.decode(note, type=_RefreshNote)
        for name in taken.takers:
            results.models.append(ModelInForce(from_ns=record.ts, agent=name, learnt_from=taken.learnt_from))
