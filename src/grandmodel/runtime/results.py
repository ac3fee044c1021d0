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

from grandmodel.compliance.checkpoints import last_checkpoint
from grandmodel.compliance.journal_file import JournalReader, decode_record
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Alert, Begin, Record
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.orders import Fill
from grandmodel.runtime.settings import RunSettings, settings_hash

BOOKED_TAGS = frozenset({"roll", "bad_stretch"})
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
    """Time of each record, ns."""
    equity: list[int] = field(default_factory=list)
    """Millionths of the base currency after each record."""
    fills: list[Fill] = field(default_factory=list)
    alerts: list[tuple[int, Alert]] = field(default_factory=list)
    orders: int = 0
    cancels: int = 0
    replaces: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Intents that led to no order, by reason code."""
    check_outcomes: Counter[str] = field(default_factory=Counter)
    """Orders cut or refused, by the check that did it."""
    causes: Counter[str] = field(default_factory=Counter)
    history: dict[InstrumentId, InstrumentHistory] = field(default_factory=dict)
    ending: dict[str, object] | None = None
    """What the last record says of positions, cash and data; None where the run did not end."""

    @property
    def instruments(self) -> dict[InstrumentId, Instrument]:
        """The run's instruments by id."""
        return {instrument.id: instrument for instrument in self.begin.instruments}

    @property
    def settings_hash(self) -> str:
        """Hash of the resolved settings."""
        return settings_hash(self.settings)

    def equity_curve(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Record times (R,) and equity (R,) in currency units, from the first record at which trading was allowed."""
        times = np.asarray(self.times, dtype=np.int64)
        values = np.asarray(self.equity, dtype=np.float64) / 1e6
        known = times >= max(0, self.settings.trade_from_ns)
        return times[known], values[known]


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
    results.times.append(record.ts)
    results.equity.append(record.equity_micros)
    results.causes[record.cause.value] += 1
    for fill in record.fills:
        results.fills.append(fill)
        lots[fill.instrument] += fill.signed_quantity
    for alert in record.alerts:
        results.alerts.append((record.ts, alert))
    results.orders += len(record.orders)
    results.cancels += len(record.cancels)
    results.replaces += len(record.replaces)
    for intent in record.intents:
        if intent.refused:
            results.refused[intent.refused] += 1
        for _, checks in intent.checks:
            for check in checks:
                if check.outcome.value != "passed" and check.reason:
                    results.check_outcomes[f"{check.name}: {check.reason}"] += 1
    for bar in record.bars:
        if bar.width_ns == widest:
            history = results.history[bar.instrument]
            history.times.append(bar.ts_event)
            history.closes.append(bar.close)
            history.lots.append(lots[bar.instrument])
    if record.cause.value == "end" and isinstance(record.note, msgspec.Raw):
        results.ending = msgspec.json.decode(record.note)
