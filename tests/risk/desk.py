"""A small desk for tests of the risk gate: two futures and a spot, a view, orders, and a venue that fills at random."""

from __future__ import annotations

import numpy as np

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.orders import ExecType, ExecutionReport, Fill, Order, OrderType, Side
from grandmodel.risk.gate import RiskGate, RiskView, Verdict
from grandmodel.risk.rows import AccountRows
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


def fill(number: int, lots: int, price: int, side: Side = Side.BUY, name: str = "NQ", ts: int = START) -> Fill:
    return Fill(
        exec_id=ExecId(number),
        order_id=OrderId(number),
        instrument=InstrumentId(name),
        side=side,
        quantity=lots,
        price=price,
        fee_micros=0,
        ts_event=ts,
        ts_init=ts,
    )


def codes(verdict: Verdict) -> dict[str, str]:
    """The reason of every check that did not pass."""
    return {check.name: check.reason for check in verdict.checks if check.reason}


PER_ACCOUNT = tuple(name for name in AccountRows._fields if name not in ("limits", "portfolio"))
"""The rows of which each account has its own."""


def among_others(mine: AccountRows, n: int, m: int) -> AccountRows:
    """A copy of ``mine`` as account ``n`` of two with the limits ``m`` of two; the other account is empty, the other limits let nothing pass."""
    made = {}
    for name, one in mine._asdict().items():
        beside = np.zeros_like(one)
        place = m if name == "limits" else n
        made[name] = one if name == "portfolio" else np.concatenate([one, beside] if place == 0 else [beside, one])
    return AccountRows(**made)
