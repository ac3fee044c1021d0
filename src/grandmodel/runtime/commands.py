"""What people and measurements tell a run from outside: read from a file, and put between the blocks of its feed.

A run without a control socket takes its commands from a file, one JSON object a line, which ``--commands`` names:

    {"ts": "2024-07-10T15:00:00Z", "kind": "flatten", "who": "ann/risk_officer", "why": "news"}
    {"ts": 1720625400000000000, "trigger": "disconnect", "value": 1, "source": "drill"}
    {"ts": "2024-07-10T20:00:00Z", "cash": "dividend", "id": "d1", "amount": "240.00", "currency": "USD", "instrument": "AAPL",
     "source": "statement", "why": "0.24 a share on 1,000"}
    {"ts": "2024-07-10T20:00:00Z", "currency": "CNY", "rate": "0.137893", "source": "central bank", "why": "daily fixing"}
    {"ts": "2024-07-10T20:00:00Z", "settlement": "daily", "instrument": "NQ", "price": "20530.25", "source": "CME", "why": "daily"}
    {"ts": "2024-07-10T22:00:00Z", "split": [4, 1], "id": "s1", "instrument": "AAPL", "price": "120.00", "source": "issuer", "why": "4 for 1"}

The first is a ``Command``, the second a ``Signal``, the others what the account books without an order: a ``CashFlow``, an
``ExchangeRate``, a ``Settlement`` (``daily`` or ``final``), a ``Split`` (each stands on one line in the file). Amounts, rates and prices are
decimal text; money goes to the millionth. All are read before the engine is built, go into it in time order with the
data, and stand in the journal like any input: a replay needs no file. Nothing here proves who wrote a line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from grandmodel.domain.blocks import Block
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import (
    CashFlow,
    CashKind,
    Command,
    CommandKind,
    ExchangeRate,
    Settlement,
    Signal,
    SignalTrigger,
    Split,
)
from grandmodel.domain.files import read_document
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import MICROS_PER_UNIT, Instrument
from grandmodel.domain.time import ns_from_text, text_from_ns
from grandmodel.runtime.settings import RunSettings, expected_account

Told: TypeAlias = Command | Signal | CashFlow | ExchangeRate | Settlement | Split
"""One thing that a run is told from outside."""

MOST_BYTES = 16 << 20
"""A larger file is no list of commands; it is refused before it is read."""


class _CommandLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ts: int | str
    kind: CommandKind
    who: str
    why: str
    account: str = ""


class _SignalLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ts: int | str
    trigger: SignalTrigger
    value: float
    source: str


class _CashLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ts: int | str
    cash: CashKind
    id: str
    amount: str
    currency: str
    source: str
    why: str
    instrument: InstrumentId | None = None
    account: str = ""


class _RateLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ts: int | str
    currency: str
    rate: str
    source: str
    why: str


class _SettlementLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ts: int | str
    settlement: Literal["daily", "final"]
    instrument: InstrumentId
    price: str
    source: str
    why: str


class _SplitLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ts: int | str
    split: tuple[int, int]
    id: str
    instrument: InstrumentId
    price: str
    source: str
    why: str


@dataclass(frozen=True, slots=True)
class Part:
    """A block of a feed, or as much of it as comes before something that a run is told."""

    rows: Block
    number: int
    """Of the block in its feed."""
    start: int = 0
    """Row of the block with which this part begins."""
    whole: bool = True

    @property
    def place(self) -> str:
        """Where in the feed: the block's number, and the first row where it is not the whole block."""
        return str(self.number) if self.whole else f"{self.number}:{self.start}"


def read_commands(path: Path, instruments: Sequence[Instrument] = ()) -> tuple[Told, ...]:
    """What a file of JSON lines tells a run of ``instruments``, by time; those of one time as they stand in the file.

    Raises ``UsageError`` with file and line where one cannot be meant: an unknown field, word or instrument, no zone in the time, nobody
    named, a price off the tick, an amount finer than a millionth.
    """
    by_id = {instrument.id: instrument for instrument in instruments}
    lines = read_document(path, "commands file", MOST_BYTES).splitlines()
    told = [_one(line, f"{path}, line {number}", by_id) for number, line in enumerate(lines, start=1) if line.strip()]
    return tuple(sorted(told, key=lambda one: one.ts))


def described(description: str, told: Sequence[Told]) -> str:
    """A feed's description with what the run is told beside it: a run that goes on must be told the same."""
    if not told:
        return description
    digest = hashlib.sha256(msgspec.json.encode(told)).hexdigest()
    return f"{description}; told {len(told)} times from a file ({digest[:16]})"


def check_within(told: Sequence[Told], span: tuple[int, int]) -> None:
    """Raise ``UsageError`` for anything outside the data's first and last time: it would never come, or let time run on."""
    for one in told:
        if not span[0] <= one.ts <= span[1]:
            first, last = (text_from_ns(ts)[:19] + "Z" for ts in span)
            raise UsageError(
                f"commands: found {_name(one)} at {text_from_ns(one.ts)[:19]}Z, expected a time within the data: {first} to {last}"
            )


def check_accounts_named(told: Sequence[Told], settings: RunSettings) -> None:
    """Raise ``UsageError`` for the first of ``told`` that is about an account which it cannot be about (``expected_account``)."""
    for one in told:
        if isinstance(one, Command | CashFlow) and (expected := expected_account(one, settings)):
            raise UsageError(f"commands: found account {one.account or 'none'} of {_name(one)}, expected {expected}")


def in_time_order(blocks: Iterable[Block], told: Sequence[Told] = (), first: int = 0) -> Iterator[Part | Told]:
    """``blocks``, numbered from ``first``, cut where something of ``told`` (by time) comes, with it in between.

    It comes after every row that was known at its time, and before the next; the cut changes nothing else, because results do
    not depend on how a stream is cut into blocks.
    """
    waiting = list(reversed(told))
    for number, block in enumerate(blocks, start=first):
        start = 0
        while start < len(block) and waiting:
            if waiting[-1].ts < block["ts_init"][start]:
                yield waiting.pop()
                continue
            stop = int(np.searchsorted(block["ts_init"], waiting[-1].ts, side="right"))
            if stop == len(block):  # The next block may begin at the same time.
                break
            yield Part(block[start:stop], number, start, whole=False)
            start = stop
        yield Part(block[start:], number, start, whole=not start)
    yield from reversed(waiting)


def _one(line: bytes, where: str, by_id: Mapping[InstrumentId, Instrument]) -> Told:
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
        for name, read in _READERS.items():
            if name in fields:
                return read(fields, by_id)
        command = msgspec.convert(fields, _CommandLine)
        if not command.who.strip() or not command.why.strip():
            raise ValueError("found nobody or no reason, expected who (name/role) and why")
        return Command(kind=command.kind, ts=_ts(command.ts), who=command.who, why=command.why, account=command.account)
    except (ValueError, RecursionError, UsageError) as error:
        raise UsageError(
            f'{where}: {error}; expected {{"ts", "kind", "who", "why"}} for a command, '
            '{"ts", "trigger", "value", "source"} for a signal, or "cash", "rate", "settlement" or "split" for what an account books '
            "(docs/concepts/ledger.md)"
        ) from error


def _signal(fields: dict[str, Any], by_id: Mapping[InstrumentId, Instrument]) -> Told:  # noqa: ARG001 (as the others)
    signal = msgspec.convert(fields, _SignalLine)
    return Signal(ts=_ts(signal.ts), trigger=signal.trigger, value=signal.value, source=signal.source)


def _cash_flow(fields: dict[str, Any], by_id: Mapping[InstrumentId, Instrument]) -> Told:
    line = msgspec.convert(fields, _CashLine)
    if line.instrument is not None:
        _known(line.instrument, by_id)
    return CashFlow(
        ts=_ts(line.ts),
        id=line.id,
        kind=line.cash,
        amount_micros=_micros(line.amount),
        currency=line.currency,
        source=line.source,
        why=line.why,
        instrument=line.instrument,
        account=line.account,
    )


def _rate(fields: dict[str, Any], by_id: Mapping[InstrumentId, Instrument]) -> Told:  # noqa: ARG001 (as the others)
    line = msgspec.convert(fields, _RateLine)
    return ExchangeRate(
        ts=_ts(line.ts), currency=line.currency, rate_micros=_micros(line.rate), source=line.source, why=line.why
    )


def _settlement(fields: dict[str, Any], by_id: Mapping[InstrumentId, Instrument]) -> Told:
    line = msgspec.convert(fields, _SettlementLine)
    return Settlement(
        ts=_ts(line.ts),
        instrument=line.instrument,
        price=_known(line.instrument, by_id).ticks_from_price(line.price),
        final=line.settlement == "final",
        source=line.source,
        why=line.why,
    )


def _split(fields: dict[str, Any], by_id: Mapping[InstrumentId, Instrument]) -> Told:
    line = msgspec.convert(fields, _SplitLine)
    into, of = line.split
    return Split(
        ts=_ts(line.ts),
        id=line.id,
        instrument=line.instrument,
        into=into,
        of=of,
        price=_known(line.instrument, by_id).ticks_from_price(line.price),
        source=line.source,
        why=line.why,
    )


_READERS = {"trigger": _signal, "cash": _cash_flow, "rate": _rate, "settlement": _settlement, "split": _split}
"""By the field that only a line of that kind has."""


def _known(name: InstrumentId, by_id: Mapping[InstrumentId, Instrument]) -> Instrument:
    if name not in by_id:
        raise UsageError(f"found instrument {name!r}, expected one of this run's: {', '.join(by_id)}")
    return by_id[name]


def _micros(text: str) -> int:
    """Decimal text as millionths, exactly."""
    try:
        micros = Decimal(text) * MICROS_PER_UNIT
    except InvalidOperation as error:
        raise ValueError(f"found {text!r}, expected a decimal number as text") from error
    if not micros.is_finite() or micros != micros.to_integral_value() or abs(micros) >= 2**62:
        raise ValueError(f"found {text!r}, expected a decimal number with at most six places")
    return int(micros)


def _ts(given: int | str) -> int:
    ts = ns_from_text(given) if isinstance(given, str) else given
    if not 0 <= ts < 2**62:
        raise ValueError(f"found ts {ts}, expected int64 nanoseconds UTC, or a time with its zone")
    return ts


def _name(one: Told) -> str:
    if isinstance(one, Signal):
        return one.trigger.value
    if isinstance(one, ExchangeRate):
        return f"the rate of {one.currency}"
    if isinstance(one, Settlement | Split):
        return f"the {type(one).__name__.lower()} of {one.instrument}"
    return one.kind.value
