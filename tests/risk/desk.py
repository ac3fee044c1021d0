"""A small desk for tests of the risk gate: two futures and a spot, a view, orders, and a venue that fills at random."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.decisions import CheckedOrder, RiskCheck
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.orders import ExecType, ExecutionReport, Fill, Order, OrderType, Side
from grandmodel.domain.report_rows import EXEC_CODES, HEARD, REPORT, report_row
from grandmodel.kernels import kernel
from grandmodel.risk.checks import REASONS, judge, listed
from grandmodel.risk.gate import RiskGate, RiskView
from grandmodel.risk.leaving import leave
from grandmodel.risk.rows import AccountRows, rows_of
from grandmodel.risk.settings import RiskSettings
from grandmodel.risk.taking import results_of, take_report
from grandmodel.risk.tree import hold, value
from grandmodel.risk.working import apply_report

CAPITAL = 10_000_000 * 1_000_000
WIDTH = 30 * 60 * 10**9
NAMES = ("NQ", "CL", "EURUSD")
START = 1_700_000_000 * 10**9
MARKS = [80_000, 7_500, 110_000]


@dataclass(slots=True)
class View(RiskView):
    """What the gate is told, and what else stands in the rows that the checks read; ``DeskGate.see`` puts it there."""

    mark_ts: list[int] = field(default_factory=list)
    best_bids: list[int] = field(default_factory=list)
    best_asks: list[int] = field(default_factory=list)


class Verdict(msgspec.Struct, frozen=True):
    """What the gate says of one order: what may go (perhaps smaller), or None, and every check."""

    order: Order | None
    checked: CheckedOrder
    reason: str
    account: str = ""
    """Name of the account that refused it, else of the first that cut it, from the one that asked upwards."""
    above: tuple[tuple[str, CheckedOrder], ...] = ()
    """(name, what its checks found) of every account above the one that asked, from the nearest on."""

    @property
    def checks(self) -> tuple[RiskCheck, ...]:
        return listed(self.checked)


class DeskGate(RiskGate):
    """The gate for whoever has one order and a view at hand: the kernels of the engine, asked one after another."""

    def see(self, view: View) -> None:
        """Put ``view`` into the rows, as the engine does from its market step (``Books.look``)."""
        rows, n = self.account.rows, self.n
        seen = rows.seen[n]
        held, equity = seen["position"].copy(), int(rows.moment["equity"][n])
        for name, values in (
            ("position", view.positions), ("mark", view.marks), ("mark_ts", view.mark_ts), ("bid", view.best_bids),
            ("ask", view.best_asks), ("halted", view.halted), ("rate", view.rates_micros), ("in_session", view.in_session),
        ):  # fmt: skip
            seen[name] = values
        rows.moment[n]["ts"], rows.moment[n]["equity"] = view.ts, view.equity_micros
        for gate in self.chain:
            known, row = rows.seen[gate.n], rows.moment[gate.n : gate.n + 1]
            if gate is not self:
                known["position"] += seen["position"] - held
                row["equity"] += view.equity_micros - equity
                for name in ("mark", "mark_ts", "bid", "ask", "halted", "rate", "in_session"):
                    known[name] = seen[name]
                row["ts"] = view.ts
            if gate.chain[1:]:
                gate.pace.follow(self.chain[-1].pace)
            known["max_age"] = gate.pace.max_ages
            self.running.fill(known, row)

    def check(self, order: Order, view: View) -> Verdict:
        """Run every check on ``order``; one with the id of a working order is a change of it. Nothing is counted."""
        self.see(view)
        assert self.put(0, order, self._index[order.instrument])
        quantity = judge(self.account.rows, self.n, 0, 0)
        *_, reason, _ = self.account.asked[self.n][0].tolist()
        sent = msgspec.structs.replace(order, quantity=quantity) if quantity > 0 else None
        above = tuple((gate.name, gate.found(0, order.order_id)) for gate in self.chain[1:])
        stopped = self._stopped_by(order) if reason else ""
        return Verdict(sent, self.found(0, order.order_id), REASONS[reason], stopped, above)

    def _stopped_by(self, order: Order) -> str:
        """Name of the account that refused ``order``, else of the first that cut it."""
        rows, above = self.account.rows, self.chain[1:]
        if not above:
            return self.name
        said = [rows.asked[gate.n, 0] for gate in above]
        let = [int(said[0]["quantity"]), *(int(one["approved"]) for one in said)]
        by = next((n for n, lots in enumerate(let) if lots <= 0), -1)
        if by < 0:
            by = next((n for n, lots in enumerate(let) if lots < order.quantity), 0)
        return self.chain[by].name

    def on_order(self, order: Order) -> None:
        """``order`` leaves as it is: it counts at once, in full. One with a working order's id changes that one."""
        self.account.make_room(1)
        assert self.put(0, order, self._index[order.instrument])
        leave(self.account.rows, self.n, 0, order.quantity)

    def seen(self, view: View) -> View:
        """``view`` with the positions and the equity that the rows hold for this account: for one above others, the sums of theirs."""
        rows = self.account.rows
        return replace(
            view, positions=rows.seen[self.n]["position"].tolist(), equity_micros=int(rows.moment["equity"][self.n])
        )


def instruments(names: tuple[str, ...] = NAMES) -> list:
    return [BUILT_IN[InstrumentId(name)] for name in names]


def view(names: tuple[str, ...] = NAMES, **changes: object) -> View:
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
    return View(**{**fields, **changes})


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


def gate(settings: RiskSettings | None = None, names: tuple[str, ...] = NAMES, *, warmed: bool = True) -> DeskGate:
    made = DeskGate(settings or RiskSettings(), instruments(names), CAPITAL)
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


def hear(gate: RiskGate, report: ExecutionReport) -> bool | None:
    """Let the gate's open orders take one report; whether the order has ended, None where it is not known."""
    place, has_ended = apply_report(
        gate.account.rows, gate.n, report.order_id, EXEC_CODES[report.exec_type], report.last_quantity, report.last_price, report.leaves,
        report.ts_event,
    )  # fmt: skip
    return None if place < 0 else bool(has_ended)


def tell(gate: RiskGate, report: ExecutionReport, fill: Fill | None = None) -> None:
    """Let the gate take one report as the engine does; ``fill`` is what it filled."""
    said, heard = np.zeros(1, REPORT), np.zeros(1, HEARD)
    said[0] = report_row(report)
    if fill is not None:
        heard["instrument"] = [one.id for one in gate.instruments].index(fill.instrument)
        heard["side"], heard["fee"] = int(fill.side), fill.fee_micros
        said["last_price"], said["last_quantity"] = fill.price, fill.quantity
        if gate.chain[1:]:
            i = int(heard[0]["instrument"])
            held = int(gate.account.rows.seen[gate.n, i]["position"])
            hold(gate.account.rows, gate.n, i, held + fill.signed_quantity)
    gate.results.make_room(1)
    if _take(gate.account.handle, gate.n, gate.results.handle, said, heard):
        came = heard[0]
        gate.on_report(report.ts_init, int(came["instrument"]), int(came["side"]), int(came["sequence"]))


@kernel
def _take(account, n, results, said, heard):
    found = results_of(results)
    return take_report(
        rows_of(account), n, 0, said[0], heard[0], found.trades, found.totals, found.executions, found.times
    )


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


def worth(gate: RiskGate, equity_micros: int) -> None:
    """The account is worth ``equity_micros`` from here on, and the accounts above it move by as much."""
    value(gate.account.rows, gate.n, equity_micros)
