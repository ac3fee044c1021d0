"""A small desk for tests of the risk gate: two futures and a spot, a view, orders, and a venue that fills at random."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.orders import ExecType, ExecutionReport, Fill, Order, OrderType, Reason, Side
from grandmodel.risk.gate import RiskGate, RiskView, Verdict
from grandmodel.risk.settings import RiskSettings

CAPITAL = 10_000_000 * 1_000_000
WIDTH = 30 * 60 * 10**9
NAMES = ("NQ", "CL", "EURUSD")
START = 1_700_000_000 * 10**9
MARKS = [80_000, 7_500, 110_000]


def instruments(names: tuple[str, ...] = NAMES) -> list:
    return [BUILT_IN[InstrumentId(name)] for name in names]


def view(names: tuple[str, ...] = NAMES, **changes: object) -> RiskView:
    n = len(names)
    fields: dict = {
        "ts": START,
        "equity_micros": CAPITAL,
        "positions": [0] * n,
        "marks": MARKS[:n],
        "mark_ts": [START] * n,
        "best_bids": [UNDEFINED_PRICE] * n,
        "best_asks": [UNDEFINED_PRICE] * n,
        "in_session": [True] * n,
        "halted": [False] * n,
        "rates_micros": [1_000_000] * n,
    }
    return RiskView(**{**fields, **changes})


def order(number: int = 1, **changes: object) -> Order:
    fields: dict = {
        "order_id": OrderId(number),
        "instrument": InstrumentId("NQ"),
        "side": Side.BUY,
        "quantity": 2,
        "order_type": OrderType.MARKET,
        "ts": START,
    }
    return Order(**{**fields, **changes})


def bars(ts: int, closes: list[int], names: tuple[str, ...] = NAMES, flags: int = 0) -> list[ClosedBar]:
    return [
        ClosedBar(
            instrument=InstrumentId(name),
            width_ns=WIDTH,
            ts_open=ts - WIDTH,
            ts_event=ts,
            open=close,
            high=close,
            low=close,
            close=close,
            volume=1,
            flags=flags,
        )
        for name, close in zip(names, closes, strict=True)
    ]


def warm(gate: RiskGate, names: tuple[str, ...] = NAMES, count: int = 60, seed: int = 0) -> None:
    """Feed enough bars that value at risk is known; they end before ``START``."""
    rng = np.random.default_rng(seed)
    closes = np.array(MARKS[: len(names)], dtype=np.float64)
    steps = np.array([120.0, 20.0, 80.0])[: len(names)]
    quiet = view(names)
    for k in range(count):
        ts = START - (count - k) * WIDTH
        common = rng.standard_normal()
        moves = (0.5 * common + 0.8 * rng.standard_normal(len(names))) * steps
        closes = closes + moves
        quiet.ts = ts
        gate.on_bars(bars(ts, [int(c) for c in closes], names), quiet)


def gate(settings: RiskSettings | None = None, names: tuple[str, ...] = NAMES, *, warmed: bool = True) -> RiskGate:
    made = RiskGate(settings or RiskSettings(), instruments(names), CAPITAL)
    if warmed:
        warm(made, names)
    return made


def report(number: int, kind: ExecType, exec_id: int = 1, ts: int = START, **changes: object) -> ExecutionReport:
    fields: dict = {
        "exec_id": ExecId(exec_id),
        "order_id": OrderId(number),
        "exec_type": kind,
        "ts_event": ts,
        "ts_init": ts,
    }
    return ExecutionReport(**{**fields, **changes})


def codes(verdict: Verdict) -> dict[str, str]:
    """The reason of every check that did not pass."""
    return {check.name: check.reason for check in verdict.checks if check.reason}


@dataclass
class Venue:
    """Working orders at an exchange that fills, cancels and rejects at random; it keeps the positions."""

    gate: RiskGate
    view: RiskView
    rng: np.random.Generator
    names: tuple[str, ...] = NAMES
    working: dict[int, Order] = field(default_factory=dict)
    filled: dict[int, int] = field(default_factory=dict)
    reports: int = 0

    def send(self, sent: Order) -> None:
        self.gate.on_order(sent)
        self.working[sent.order_id] = sent
        self.filled.setdefault(sent.order_id, 0)

    def active_lots(self, working: Order) -> int:
        """What may still fill: a child no more than its parent, a group no more than its largest."""
        ceiling = working.quantity
        if working.parent is not None:
            ceiling = min(ceiling, self.filled.get(working.parent, 0))
        if working.oco_group:
            done = sum(
                lots
                for number, lots in self.filled.items()
                if number in self.groups.get(working.oco_group, ())
            )
        else:
            done = self.filled[working.order_id]
        return max(0, ceiling - done)

    @property
    def groups(self) -> dict[int, set[int]]:
        return self._groups

    _groups: dict[int, set[int]] = field(default_factory=dict)

    def fill(self, number: int, lots: int) -> None:
        working = self.working[number]
        index = self.names.index(working.instrument)
        price = self.view.marks[index]
        self.filled[number] += lots
        self.reports += 1
        self.view.positions[index] += int(working.side) * lots
        done = self.filled[number] >= working.quantity
        leaves = 0 if done else working.quantity - self.filled[number]
        self.gate.on_report(
            report(
                number,
                ExecType.TRADE,
                self.reports,
                self.view.ts,
                last_quantity=lots,
                last_price=price,
                leaves=leaves,
                cumulative=self.filled[number],
            ),
            Fill(
                exec_id=ExecId(self.reports),
                order_id=OrderId(number),
                instrument=working.instrument,
                side=working.side,
                quantity=lots,
                price=price,
                fee_micros=1_000_000,
                ts_event=self.view.ts,
                ts_init=self.view.ts,
            ),
        )
        if done:
            self._end(number)

    def end(self, number: int, kind: ExecType = ExecType.CANCELED) -> None:
        self.reports += 1
        self.gate.on_report(report(number, kind, self.reports, self.view.ts, reason=Reason.ASKED), None)
        self._end(number)

    def _end(self, number: int) -> None:
        del self.working[number]


def with_settings(settings: RiskSettings, **changes: object) -> RiskSettings:
    return msgspec.structs.replace(settings, **changes)
