"""What goes into the engine and what comes out: inputs, and the numbered records of the audit trail.

The journal holds every input in order and every record. Feeding the inputs again gives the records again, byte for
byte; that is why records hold integers wherever money or time is meant, and floats only where an agent computed one.
"""

from __future__ import annotations

import enum
import math
from typing import TypeAlias

import msgspec

from grandmodel.domain.decisions import CheckedOrder, Decision, Intent
from grandmodel.domain.ids import InstrumentId, OrderId, RunId
from grandmodel.domain.instruments import MAX_PRICE_TICKS, Instrument
from grandmodel.domain.orders import CancelOrder, ExecutionReport, Fill, Order, ReplaceOrder, Tag


class SessionTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True):
    """A ``SessionSchedule`` as bytes: little-endian int64 ns."""

    open_ns: bytes
    close_ns: bytes
    day_ns: bytes


class Begin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="begin"):
    """The first input of every run: everything that the engine is built from."""

    run: RunId
    settings: msgspec.Raw
    """The resolved settings tree as JSON; its hash is on every report."""
    code_version: str
    mode: str
    """``backtest``, ``paper`` or ``live``."""
    instruments: tuple[Instrument, ...] = ()
    """In the order of the numbers that blocks use."""
    sessions: tuple[SessionTimes, ...] = ()
    """The sessions of each instrument, so that a replay does not depend on the calendar library of its day."""
    data: str = ""
    """Where the market data comes from, for people."""


class MarketData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="market"):
    """One block. ``rows`` holds its bytes, or is empty where ``source`` names content that the store keeps unchanged."""

    schema: str
    count: int
    rows: bytes = b""
    source: str = ""
    """``<sha256 of the rows>``: the journal holds the content once under this name."""


class Advance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="advance"):
    """Time passed without data: bars close, orders expire."""

    ts: int


class VenueReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="report"):
    """An outside broker's answer; in backtest and paper the simulated exchange inside the engine answers instead."""

    report: ExecutionReport


class CommandKind(enum.StrEnum):
    """What a person may tell a running engine."""

    PAUSE = "pause"
    """No new risk; what reduces stays allowed."""
    RESUME = "resume"
    """End a pause; from a role that may release, step the ladder back as well."""
    FLATTEN = "flatten"
    """Cancel everything, close every position, then as PAUSE."""
    KILL = "kill"
    """Cancel everything, protective stops too, and let nothing leave until two people RELEASE. Positions stay, unprotected."""
    RELEASE = "release"
    """Step the ladder back to normal: one named role with a reason, two different people from killed. A pause stays."""
    STOP = "stop"
    """KILL, and ask no agent again in this run, not after a release either. It closes nothing: FLATTEN and wait until flat
    before it, to be flat. The run goes on to value what is held until its data ends."""
    RESET_THROTTLE = "reset_throttle"
    """Open again the sides that too many executions shut: a named role, with a reason."""


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="command"):
    """A person's order to the engine itself."""

    kind: CommandKind
    ts: int
    who: str
    """``name/role``, as given: nothing here proves who it was."""
    why: str
    account: str = ""
    """The account that it is about, with all below it; empty: the run's own, and so all of them."""


class SignalTrigger(enum.StrEnum):
    """What is measured outside the engine and moves the circuit breakers; ``Signal.value`` says how much, in the unit here."""

    LATENCY = "latency"
    """Seconds that something took that should have taken less."""
    DISCONNECT = "disconnect"
    """1: the link to the venue is lost; 0: it is back, which by itself releases nothing."""
    MARKET_WIDE = "market_wide"
    """Fall of the market's index below its prior close, as a fraction: 0.07."""
    DATA_QUALITY = "data_quality"
    """Bad rows or bars within the window that whoever counts them names in ``source``."""


class Signal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="signal"):
    """A measurement from outside the engine: the ladder takes it at ``ts``, and risk reacts in the same step."""

    ts: int
    trigger: SignalTrigger
    value: float
    source: str
    """What measured it."""

    def __post_init__(self) -> None:
        """Refuse a value that the record could not hold."""
        if not math.isfinite(self.value):
            raise ValueError(f"signal {self.trigger.value}: found value {self.value}, expected a finite number")


class ModelRefresh(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="model"
):
    """Another model takes over between two events, or was refused and the one before goes on deciding.

    Whoever feeds the engine has loaded and checked the file before this input is made; the engine loads nothing itself.
    """

    ts: int
    layer: str
    """``strategic`` or ``tactical``."""
    model: str
    """Id of the model: what a decision carries as its ``model``; empty where the file was refused unread."""
    sha256: str
    """Of the model file, hexadecimal: a replay refuses another one; empty where there was no file to read."""
    path: str
    who: str
    why: str
    refused: str = ""
    """Why the file was not taken; empty where it was."""


MOST_FLOW_MICROS = 10**17
"""The largest cash flow, and the most cash of one currency that flows may lead to, in micros; the same as the largest capital."""
MOST_RATE_MICROS = 10**12
"""The largest exchange rate: a million units of the base currency."""


class CashKind(enum.StrEnum):
    """What a movement of cash is. Deposits and withdrawals are the owner's; all others are gains and losses of the account."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    FUNDING = "funding"
    """Paid or received for holding a perpetual."""
    DIVIDEND = "dividend"
    INTEREST = "interest"
    BORROW = "borrow"
    """What borrowed shares or coins cost."""
    FEE = "fee"
    TAX = "tax"
    ADJUSTMENT = "adjustment"
    """A correction by whoever keeps the account: it counts as a gain or a loss."""


class CashFlow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="cash"):
    """Cash that moves without a trade. The same ``id`` a second time is counted and changes nothing."""

    ts: int
    id: str
    """As its source numbers it; unique within a run."""
    kind: CashKind
    amount_micros: int
    """Positive into the account; deposits are positive, withdrawals negative, all others either."""
    currency: str
    source: str
    """Who says so: a broker's statement, a file, a rule."""
    why: str
    instrument: InstrumentId | None = None
    """What it was paid for, where it was one."""
    account: str = ""
    """The account that it is booked in, where accounts trade below the run's own; empty: that one."""

    def __post_init__(self) -> None:
        """Refuse what no account can book."""
        _check_named(self, "id", "currency", "source", "why")
        if not 0 < abs(self.amount_micros) <= MOST_FLOW_MICROS:
            raise ValueError(
                f"found amount_micros {self.amount_micros}, expected 1 to {MOST_FLOW_MICROS}, in or out (-)"
            )
        if self.kind is CashKind.DEPOSIT and self.amount_micros < 0:
            raise ValueError(f"found a deposit of {self.amount_micros} micros, expected a positive amount")
        if self.kind is CashKind.WITHDRAWAL and self.amount_micros > 0:
            raise ValueError(
                f"found a withdrawal of {self.amount_micros} micros, expected a negative amount: it leaves"
            )

    @property
    def is_transfer(self) -> bool:
        """True for money that the owner brings or takes: no gain and no loss."""
        return self.kind in (CashKind.DEPOSIT, CashKind.WITHDRAWAL)


class ExchangeRate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="rate"):
    """What a unit of ``currency`` is worth from ``ts`` on; the account is valued anew at once."""

    ts: int
    currency: str
    rate_micros: int
    """Millionths of the base currency per unit."""
    source: str
    why: str

    def __post_init__(self) -> None:
        """Refuse a rate that no currency has."""
        _check_named(self, "currency", "source", "why")
        if not 0 < self.rate_micros <= MOST_RATE_MICROS:
            raise ValueError(
                f"found rate_micros {self.rate_micros} of {self.currency}, expected 1 to {MOST_RATE_MICROS}"
            )


class Settlement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="settlement"):
    """An instrument's settlement price: of a day, which pays out its gain, or the last, which ends the position."""

    ts: int
    instrument: InstrumentId
    price: int
    """Ticks."""
    final: bool
    """True: the position is closed at ``price``, what works is cancelled, and nothing is sent in the instrument any more."""
    source: str
    why: str

    def __post_init__(self) -> None:
        """Refuse a price out of bounds."""
        _check_named(self, "source", "why")
        if abs(self.price) > MAX_PRICE_TICKS:
            raise ValueError(f"found a settlement price of {self.price} ticks, expected at most {MAX_PRICE_TICKS}")


class Split(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="split"):
    """``into`` shares for every ``of``: 4 for 1, or 1 for 10. The same ``id`` a second time is counted and changes nothing."""

    ts: int
    id: str
    instrument: InstrumentId
    into: int
    of: int
    price: int
    """Ticks of the new share: what a part of one is paid out at."""
    source: str
    why: str

    def __post_init__(self) -> None:
        """Refuse a ratio or a price that cannot be."""
        _check_named(self, "id", "source", "why")
        if not (0 < self.into <= MOST_SPLIT and 0 < self.of <= MOST_SPLIT) or self.into == self.of:
            raise ValueError(
                f"found a split of {self.into} for {self.of}, expected two different numbers of 1 to {MOST_SPLIT}"
            )
        if not 0 < self.price <= MAX_PRICE_TICKS:
            raise ValueError(f"found a price of {self.price} ticks, expected 1 to {MAX_PRICE_TICKS}")


MOST_SPLIT = 10_000
"""Beyond it a ratio is a slip of the pen."""


def _check_named(given: msgspec.Struct, *names: str) -> None:
    for name in names:
        if not getattr(given, name).strip():
            raise ValueError(f"found no {name}, expected one: what an account books says where it comes from and why")


class End(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="end"):
    """The last input: the stream is over, what is open is recorded as open."""

    ts: int


Input: TypeAlias = (
    Begin
    | MarketData
    | Advance
    | VenueReport
    | Command
    | Signal
    | ModelRefresh
    | CashFlow
    | ExchangeRate
    | Settlement
    | Split
    | End
)
"""Everything that can go into the engine."""


class Cause(enum.StrEnum):
    """What made the engine take a step."""

    BEGIN = "begin"
    BAR = "bar"
    QUIET = "quiet"
    """Bars closed and orders filled, again and again, and nobody said anything: ``Record.quiet`` holds those moments (``domain/moments.py``)."""
    REPORT = "report"
    ROLL = "roll"
    """An instrument's data changed contract: the position is rolled, its working orders are cancelled."""
    QUALITY = "quality"
    """Rows came that no market makes: they were counted and left out."""
    RISK_LINE = "risk_line"
    """Equity crossed a line that the risk gate had set."""
    SESSION = "session"
    COMMAND = "command"
    SIGNAL = "signal"
    """Something was measured outside: latency, a lost link, the market's fall, bad data."""
    MODEL = "model"
    """Another model took over, or was refused."""
    CASH = "cash"
    """Cash moved without a trade."""
    RATE = "rate"
    """A currency is worth something else."""
    SETTLEMENT = "settlement"
    """A settlement price came: gains were paid out, or a position ended."""
    SPLIT = "split"
    """Shares were split or put together."""
    END = "end"


class ClosedBar(msgspec.Struct, gc=False, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One finished bar, prices in ticks; ``volume`` is -1 where unknown."""

    instrument: InstrumentId
    width_ns: int
    ts_open: int
    ts_event: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    flags: int = 0


class DecidedIntent(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """An agent's wish and what became of it."""

    number: int
    agent: str
    intent: Intent
    checks: tuple[CheckedOrder, ...] = ()
    """For each order that the intent asked for: every check, in order (``risk.checks.checks_of`` lists them for people)."""
    orders: tuple[OrderId, ...] = ()
    """Those that were approved."""
    refused: str = ""
    """Reason code where nothing was approved."""
    account: str = ""
    """For which account it was wished, where accounts trade below the run's own; empty: for that one. ``checks`` are its own."""
    above: tuple[tuple[str, tuple[CheckedOrder, ...]], ...] = ()
    """Of every account above it, from the nearest on, its name and its checks of the same orders."""


class Alert(msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something a person should know now."""

    severity: str
    """``critical``, ``high``, ``medium`` or ``low``."""
    code: str
    text: str
    value: float | int | None = None
    limit: float | int | None = None


class QuietMoments(msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True):
    """Moments at which bars closed or the venue reported and nothing else came of it, oldest first; ``domain.moments.moments_of`` reads them."""

    instruments: tuple[InstrumentId, ...]
    """The run's, in the order of the numbers in ``rows``."""
    rows: bytes
    """By moment: its ts, position, equity in micros, and how many bars and reports; then by bar the fields of ``ClosedBar`` in their order, the
    instrument as a place in ``instruments``; then by report what ``domain.moments.REPORT_WORDS`` says. How they become bytes:
    ``domain.moments.packed``."""
    tags: tuple[Tag, ...] = ()
    """Of the orders that filled, by the numbers in ``rows``."""
    fills: int = 0
    """How many there are in ``rows``."""


class Record(msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of the engine: what came in, what was decided and why, what goes out. Numbered from 0, hash-chained.

    A record with ``quiet`` stands for many steps: its ``ts``, ``position`` and ``equity_micros`` are those of the last.
    """

    number: int
    ts: int
    cause: Cause
    position: int
    """Market rows walked before this step, since the run began. With the journal's inputs it names the block and the row;
    as a total it does not depend on how the stream was cut into blocks."""
    equity_micros: int
    bars: tuple[ClosedBar, ...] = ()
    reports: tuple[ExecutionReport, ...] = ()
    fills: tuple[Fill, ...] = ()
    decisions: tuple[Decision, ...] = ()
    intents: tuple[DecidedIntent, ...] = ()
    orders: tuple[Order, ...] = ()
    cancels: tuple[CancelOrder, ...] = ()
    replaces: tuple[ReplaceOrder, ...] = ()
    alerts: tuple[Alert, ...] = ()
    note: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Anything more a cause carries (begin: settings hash; end: quality counts), as JSON."""
    quiet: QuietMoments | None = None
    """With cause ``quiet``, and only then: the moments that share this record."""
