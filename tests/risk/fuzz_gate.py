"""Random orders against the gate and a venue that fills, cancels and rejects at random, with a book-keeping of its own.

After every step the worst case of everything that is out is worked out from the venue's side, by enumeration, and held
against every limit. ``python tests/risk/fuzz_gate.py 1000000`` runs a million orders; the test runs some ten thousand.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import ExecType, Order, OrderType, Side
from grandmodel.risk.gate import Verdict
from grandmodel.risk.settings import (
    BreakerSettings,
    FlowLimits,
    InstrumentLimits,
    PortfolioLimits,
    RiskSettings,
    Thresholds,
)
from risk import desk

RATES = [1_000_000, 1_000_000, 1_100_000]
NEVER = Thresholds()


def settings(rng: np.random.Generator) -> RiskSettings:
    """Random limits of every size, tight enough that each of them is the binding one now and then."""

    def between(low: float, high: float) -> float:
        return float(math.exp(rng.uniform(math.log(low), math.log(high))))

    names = [x for x in BreakerSettings.__struct_fields__ if x in _TRIGGERS]
    return RiskSettings(
        limits=InstrumentLimits(
            max_order_lots=int(between(15, 80)),
            max_order_notional=between(0.1, 5.0),
            max_long_lots=int(between(3, 200)),
            max_short_lots=int(between(3, 200)),
            max_concentration=between(0.1, 5.0),
        ),
        portfolio=PortfolioLimits(
            max_overall_lots=int(between(5, 300)),
            max_gross_exposure=between(0.2, 8.0),
            max_net_exposure=between(0.1, 8.0),
            max_margin_share=between(0.01, 0.5),
            max_var=between(0.0005, 0.03),
            max_stressed_var=between(0.005, 2.0),
        ),
        flow=FlowLimits(max_orders=10**9, max_messages=10**9, max_repeats=10**9, duplicate_window_ns=0),
        breakers=BreakerSettings(**dict.fromkeys(names, NEVER)),
        shrink=bool(rng.random() < 0.8),
    )


_TRIGGERS = {
    "daily_loss",
    "drawdown",
    "var_breach",
    "correlation_shock",
    "volatility",
    "loss_streak",
    "data_quality",
    "order_rejects",
    "latency",
    "market_wide",
    "disconnect",
}


class Desk:
    """The gate on one side, the venue on the other."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.settings = settings(rng)
        self.gate = desk.gate(self.settings)
        self.view = desk.view(rates_micros=list(RATES))
        self.orders: dict[int, Order] = {}
        self.filled: dict[int, int] = {}
        self.group_filled: Counter[int] = Counter()
        self.pending: dict[int, Order] = {}
        self.next_id = 1
        self.reports = 0
        self.outcomes: Counter[str] = Counter()
        # Reference numbers, from the public covariance and not from the gate's coefficients.
        gate_var = self.settings.var
        quantile = stats.t.ppf(gate_var.level, gate_var.degrees) * math.sqrt(1 - 2 / gate_var.degrees)
        scale = gate_var.horizon_days * gate_var.bars_per_day * quantile**2
        unit = np.array(RATES) / 1e6
        self.matrix = self.gate.running.covariance.covariance * np.outer(unit, unit) * scale
        self.single = np.sqrt(np.diagonal(self.matrix))
        self.stressed = np.array(self.gate.running.coefficients([0, 0, 0], RATES).stressed)
        instruments = self.gate.instruments
        self.notional = np.array(
            [
                abs(m) * x.tick_value_micros * r // 1_000_000
                for m, x, r in zip(desk.MARKS, instruments, RATES, strict=True)
            ]
        )
        self.margin = np.array(
            [
                notional if x.initial_margin_micros == 0 else x.initial_margin_micros * r // 1_000_000
                for x, r, notional in zip(instruments, RATES, self.notional, strict=True)
            ]
        )

    # -- the venue ------------------------------------------------------------------------------------------------

    def active(self, order: Order, quantity: int | None = None) -> int:
        """Lots of ``order`` that can still fill at the venue."""
        ceiling = order.quantity if quantity is None else quantity
        if order.parent is not None:
            ceiling = min(ceiling, self.filled[order.parent])
        done = self.group_filled[order.oco_group] if order.oco_group else self.filled[order.order_id]
        return max(0, ceiling - done)

    def open_lots(self) -> tuple[list[int], list[int]]:
        """Most lots that can still be bought and sold, by instrument."""
        buys, sells = [0] * 3, [0] * 3
        groups: dict[tuple[int, int, int], int] = {}
        for number, order in self.orders.items():
            index, side = desk.NAMES.index(order.instrument), int(order.side)
            changed = self.pending.get(number)
            lots = self.active(order)
            if changed is not None:
                lots = max(lots, self.active(order, changed.quantity))
            if order.oco_group:
                key = (order.oco_group, index, side)
                groups[key] = max(groups.get(key, 0), lots)
            else:
                (buys if side > 0 else sells)[index] += lots
        for (_, index, side), lots in groups.items():
            (buys if side > 0 else sells)[index] += lots
        return buys, sells

    def report(self, number: int, kind: ExecType, **changes: int) -> None:
        self.reports += 1
        fill = None
        if kind is ExecType.TRADE:
            order = self.orders[number]
            index = desk.NAMES.index(order.instrument)
            lots = changes["last_quantity"]
            price = desk.MARKS[index]
            fill = desk.fill(number, lots, price, order.side, order.instrument, self.view.ts)
            self.view.positions[index] += int(order.side) * lots
        self.gate.on_report(desk.report(number, kind, self.reports, self.view.ts, **changes), fill)

    def fill(self) -> None:
        open_ones = [n for n, order in self.orders.items() if self.active(order)]
        if not open_ones:
            return
        number = int(self.rng.choice(open_ones))
        order = self.orders[number]
        most = self.active(order)
        lots = most if self.rng.random() < 0.5 else int(self.rng.integers(1, most + 1))
        self.filled[number] += lots
        if order.oco_group:
            self.group_filled[order.oco_group] += lots
        leaves = self.active(order)
        self.report(number, ExecType.TRADE, last_quantity=lots, leaves=leaves, cumulative=self.filled[number])
        parent_alive = order.parent is not None and order.parent in self.orders
        if not leaves and not parent_alive and number not in self.pending:
            self._forget(number)
            if order.oco_group:
                for other in [n for n, o in self.orders.items() if o.oco_group == order.oco_group]:
                    self.end(other, ExecType.CANCELED)

    def end(self, number: int, kind: ExecType) -> None:
        self.report(number, kind)
        self._forget(number)
        if not self.filled[number]:
            for child in [n for n, o in self.orders.items() if o.parent == number]:
                self.end(child, ExecType.CANCELED)

    def _forget(self, number: int) -> None:
        del self.orders[number]
        self.pending.pop(number, None)

    def confirm(self) -> None:
        """The venue takes or refuses one waiting change."""
        if not self.pending:
            return
        number = next(iter(self.pending))
        changed = self.pending.pop(number)
        order = self.orders[number]
        if self.rng.random() < 0.3 or changed.quantity <= self.filled[number]:
            self.report(number, ExecType.CANCEL_REJECTED)
        else:
            self.orders[number] = changed
            self.report(number, ExecType.REPLACED, leaves=self.active(changed), cumulative=self.filled[number])
            order = changed
        if not self.active(order):
            self.end(number, ExecType.CANCELED)

    # -- the desk -------------------------------------------------------------------------------------------------

    def random_order(self) -> Order:
        index = int(self.rng.integers(0, 3))
        side = Side.BUY if self.rng.random() < 0.5 else Side.SELL
        kind = OrderType(int(self.rng.choice([1, 1, 2, 3])))
        mark = desk.MARKS[index]
        offset = int(self.rng.integers(0, 60))
        price = mark - int(side) * offset if kind is OrderType.LIMIT else None
        stop = mark + int(side) * offset if kind is OrderType.STOP else None
        group = int(self.rng.integers(1, 40)) if self.rng.random() < 0.1 else 0
        number = self.next_id
        self.next_id += 1
        return desk.order(
            number,
            instrument=InstrumentId(desk.NAMES[index]),
            side=side,
            quantity=int(self.rng.integers(1, 40)),
            order_type=kind,
            price=price,
            stop_price=stop,
            oco_group=group and number * 100 + group if self.rng.random() < 0.5 else 0,
        )

    def ask(self, order: Order) -> Order | None:
        verdict = self.gate.check(order, self.view)
        self.outcomes[verdict.reason or "passed"] += 1
        self.check_both_ways(order, verdict)
        if verdict.order is not None:
            assert 0 < verdict.order.quantity <= order.quantity
            self.gate.on_order(verdict.order)
        return verdict.order

    def check_both_ways(self, order: Order, verdict: Verdict) -> None:
        """The short way through the checks says what the long way says."""
        index = desk.NAMES.index(order.instrument)
        other = self.gate._checks.check_step_by_step(order, self.view, index)
        assert (verdict.order, verdict.reason) == (other.order, other.reason)
        for one, two in zip(verdict.checks, other.checks, strict=True):
            assert (one.name, one.outcome, one.reason, one.limit) == (two.name, two.outcome, two.reason, two.limit)
            same = one.value == two.value or math.isclose(one.value, two.value, rel_tol=1e-12)
            assert same, (one, two)

    def send(self) -> None:
        order = self.random_order()
        sent = self.ask(order)
        if sent is None:
            return
        self.orders[sent.order_id] = sent
        self.filled[sent.order_id] = 0
        choice = self.rng.random()
        if choice < 0.2 and not sent.oco_group:
            self.bracket(sent)
        elif choice < 0.35:
            self.pair(sent)

    def bracket(self, parent: Order) -> None:
        """A stop and a target for ``parent``: one cancels the other, and both wait for it."""
        index = desk.NAMES.index(parent.instrument)
        away = 100 * int(parent.side)
        group = self.next_id * 100
        for kind, price, stop in (
            (OrderType.STOP, None, desk.MARKS[index] - away),
            (OrderType.LIMIT, desk.MARKS[index] + away, None),
        ):
            child = desk.order(
                self.next_id,
                instrument=parent.instrument,
                side=Side(-int(parent.side)),
                quantity=parent.quantity,
                order_type=kind,
                price=price,
                stop_price=stop,
                parent=OrderId(parent.order_id),
                oco_group=group,
            )
            self.next_id += 1
            sent = self.ask(child)
            if sent is not None:
                self.orders[sent.order_id] = sent
                self.filled[sent.order_id] = 0

    def pair(self, first: Order) -> None:
        """A second order in the first one's group, on either side."""
        if not first.oco_group:
            return
        other = self.random_order()
        sent = self.ask(
            msgspec.structs.replace(
                other,
                instrument=first.instrument,
                oco_group=first.oco_group,
                order_type=OrderType.MARKET,
                price=None,
                stop_price=None,
            )
        )
        if sent is not None:
            self.orders[sent.order_id] = sent
            self.filled[sent.order_id] = 0

    def change(self) -> None:
        """Ask for another quantity of a plain working order."""
        plain = [
            n
            for n, o in self.orders.items()
            if not o.oco_group
            and o.parent is None
            and n not in self.pending
            and not any(c.parent == n for c in self.orders.values())
        ]
        if not plain:
            return
        order = self.orders[int(self.rng.choice(plain))]
        wanted = msgspec.structs.replace(
            order, quantity=self.filled[order.order_id] + int(self.rng.integers(1, 40)), ts=self.view.ts
        )
        sent = self.ask(wanted)
        if sent is not None:
            self.pending[order.order_id] = sent

    def cancel(self) -> None:
        if self.orders:
            kind = ExecType.CANCELED if self.rng.random() < 0.8 else ExecType.EXPIRED
            self.end(int(self.rng.choice(list(self.orders))), kind)

    def step(self) -> None:
        """One random thing happens."""
        self.view.ts += 10**6
        self.view.mark_ts = [self.view.ts] * 3
        draw = self.rng.random()
        if len(self.orders) > 12 or draw < 0.10:
            self.cancel()
        elif draw < 0.35:
            self.fill()
        elif draw < 0.42:
            self.change()
        elif draw < 0.5:
            self.confirm()
        else:
            self.send()

    def check_limits(self) -> None:
        """No combination of fills of what is out breaks a limit."""
        buys, sells = self.open_lots()
        gate = self.gate
        assert gate.working.buys == buys, (gate.working.buys, buys)
        assert gate.working.sells == sells, (gate.working.sells, sells)
        limits, portfolio = self.settings.limits, self.settings.portfolio
        position = np.array(self.view.positions)
        high, low = position + np.array(buys), position - np.array(sells)
        worst = np.maximum(np.abs(high), np.abs(low))
        capital = desk.CAPITAL
        assert high.max() <= max(limits.max_long_lots, 0)
        assert -low.min() <= limits.max_short_lots
        assert worst.sum() <= portfolio.max_overall_lots
        assert (worst * self.notional).max() <= limits.max_concentration * capital
        assert worst @ self.notional <= portfolio.max_gross_exposure * capital
        assert max(abs(high @ self.notional), abs(low @ self.notional)) <= portfolio.max_net_exposure * capital
        assert worst @ self.margin <= portfolio.max_margin_share * self.view.equity_micros
        assert worst @ self.stressed <= portfolio.max_stressed_var * capital * (1 + 1e-12)
        ends = np.stack((high, low, position)).T.tolist()
        corners = np.array(list(itertools.product(*(set(lots) for lots in ends))))
        variance = np.einsum("ki,ij,kj->k", corners, self.matrix, corners).max()
        assert math.sqrt(max(variance, 0.0)) <= portfolio.max_var * capital * (1 + 1e-9)


def run(orders: int, seed: int, per_desk: int = 2_000) -> Counter[str]:
    """Ask the gate about at least ``orders`` random orders, with new random limits every ``per_desk``; how they ended."""
    rng = np.random.default_rng(seed)
    outcomes: Counter[str] = Counter()
    while outcomes.total() < orders:
        here = Desk(rng)
        while here.outcomes.total() < min(per_desk, orders - outcomes.total()):
            here.step()
            here.check_limits()
        outcomes += here.outcomes
    return outcomes


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    start = time.monotonic()
    found = run(wanted, seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"{found.total():,} orders, no limit exceeded, {time.monotonic() - start:.0f} s")
    for reason, count in found.most_common():
        print(f"{count:>9,}  {reason}")
