"""The compiled checks beside their plain form, in every state that an account can be in: both must say the same of every order.

Nothing of a venue's sense is asked here: prices, positions, reports and the ladder are drawn at random, odd ones and huge ones among them,
for accounts of 1 to 100 instruments. What an order could lead to at a venue is the business of ``fuzz_gate.py``.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import cache

import msgspec

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.decisions import CheckOutcome
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.domain.orders import ExecType, Order, OrderType, Side, TimeInForce
from grandmodel.risk.breakers import BreakerState
from grandmodel.risk.checks import CHECK_NAMES
from grandmodel.risk.settings import (
    BreakerSettings,
    FlowLimits,
    InstrumentLimits,
    PortfolioLimits,
    RiskSettings,
    Thresholds,
)
from grandmodel.risk.working import best_opposite
from risk import desk
from risk.desk import DeskGate, View
from risk.plain_checks import PlainBook, assert_same

_EXACT = 8
"""Instruments up to which both forms add up value at risk in one order."""
_RULES = CHECK_NAMES.index("order_rules")
STEP_NS = 10**6
SIZES = (1, 1, 2, 3, 3, 3, 9, 100)
"""Instruments of an account, drawn from."""
ENDS = (ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED)
KINDS = (ExecType.NEW, ExecType.TRADE, ExecType.TRADE, ExecType.REPLACED, ExecType.CANCEL_REJECTED, *ENDS)
FAR = (0, 1, -1, 2**40, 2**40 + 1, -(2**40), 1 - 2**63, 2**62)
NEVER = dict.fromkeys(
    (name for name in BreakerSettings.__struct_fields__ if isinstance(getattr(BreakerSettings(), name), Thresholds)), Thresholds()
)  # fmt: skip


@cache
def instruments_of(n: int) -> tuple[Instrument, ...]:
    """``n`` instruments with the units of the desk's three, in turn."""
    known = [BUILT_IN[InstrumentId(name)] for name in desk.NAMES]
    return tuple(msgspec.structs.replace(known[k % 3], id=InstrumentId(f"{known[k % 3].id}{k}")) for k in range(n))


@cache
def running_of(n: int, known_from: int) -> bytes:
    """The state of a running risk that has seen bars of the instruments from number ``known_from`` on."""
    made = instruments_of(n)
    gate = DeskGate(RiskSettings(), made, desk.CAPITAL)
    draw, seen = random.Random(n), desk.view(tuple(one.id for one in made), marks=[1] * n)
    closes = [desk.MARKS[k % 3] for k in range(n)]
    for row in range(60):
        seen.ts = desk.START - (60 - row) * desk.WIDTH
        common = draw.gauss(0.0, 0.002)
        closes = [int(close * (1.0 + common + draw.gauss(0.0, 0.003))) for close in closes]
        bars = [
            ClosedBar(
                instrument=one.id, width_ns=desk.WIDTH, ts_open=seen.ts - desk.WIDTH, ts_event=seen.ts, open=close, high=close, low=close,
                close=close, volume=1,
            )
            for one, close in zip(made[known_from:], closes[known_from:], strict=True)
        ]  # fmt: skip
        gate.on_bars(bars, seen)
    return gate.running.save()


@dataclass
class Seen:
    """How often something happened."""

    verdicts: Counter[str]
    checks: Counter[tuple[str, str]]
    """By (check, outcome)."""
    beyond: int = 0
    """Orders of which some number could not be reckoned in 64 bits."""


class Pair:
    """One account of the gate, and the plain form beside it, told of the same."""

    def __init__(self, draw: random.Random, seen: Seen) -> None:
        self.draw, self.seen = draw, seen
        self.wild = draw.choice((0.0, 0.03, 0.3))
        """How often something is odd."""
        self.n = n = draw.choice(SIZES)
        self.instruments = instruments_of(n)
        self.ids = [one.id for one in self.instruments]
        self.capital = draw.choice((*(desk.CAPITAL,) * 8, desk.CAPITAL // 20, 2**60))
        self.gate = DeskGate(self.settings(), self.instruments, self.capital)
        self.gate.results.totals["max_repeats"] = 2**62  # The plain gate counts no executions.
        if (known_from := draw.choice((0, 0, 0, 0, 1, n))) < n:
            self.gate.running.restore(running_of(n, known_from))
        self.plain = PlainBook(self.gate)
        self.view = View(
            ts=desk.START, equity_micros=self.capital, positions=[0] * n, marks=[0] * n, mark_ts=[0] * n, best_bids=[0] * n,
            best_asks=[0] * n, in_session=[True] * n, halted=[False] * n, rates_micros=[1_000_000] * n,
        )  # fmt: skip
        for j in range(n):
            self.look_again(j, calm=True)
        self.next_id = 1
        self.last: Order | None = None
        self.sent: dict[int, Order] = {}

    def settings(self) -> RiskSettings:
        """Limits of every size, from tight to none, for the account and for one instrument of its own."""
        draw = self.draw

        def between(low: float, high: float) -> float:
            return low * (high / low) ** draw.random()

        def limits() -> InstrumentLimits:
            return InstrumentLimits(
                max_order_lots=int(between(15, 2e9)),
                max_order_notional=between(0.5, 1e6),
                max_long_lots=int(between(3, 2e9)) * draw.choice((0, 1, 1, 1)),
                max_short_lots=int(between(3, 2e9)),
                max_concentration=between(0.1, 1e6),
                collar_fraction=between(0.002, 0.1),
                away_fraction=between(0.005, 0.9),
                collar_min_ticks=draw.choice((0, 1, 20)),
                max_mark_age_ns=draw.choice((5 * STEP_NS, 10**12)),
            )

        chosen = [one for one in self.ids if draw.random() < 0.9] if draw.random() < 0.4 else []
        quick = draw.random() < 0.5
        losses = draw.choice(({}, {name: getattr(BreakerSettings(), name) for name in ("drawdown", "daily_loss")}))
        return RiskSettings(
            limits=limits(),
            instruments={self.ids[0]: limits()} if draw.random() < 0.5 else {},
            authorised=tuple(chosen),
            restricted=tuple(one for one in self.ids if draw.random() < 0.15),
            portfolio=PortfolioLimits(
                max_overall_lots=int(between(5, 1e10)),
                max_gross_exposure=between(0.2, 1e7),
                max_net_exposure=between(0.1, 1e7),
                max_margin_share=between(0.01, 1.0),
                max_var=between(0.0005, 1e4),
                max_stressed_var=between(0.005, 1e4),
            ),
            flow=FlowLimits(
                max_orders=int(between(2, 20)) if quick else 10**9,
                max_messages=int(between(4, 40)) if quick else 10**9,
                window_ns=10 * STEP_NS,
                duplicate_window_ns=draw.choice((0, 4 * STEP_NS)),
            ),
            breakers=BreakerSettings(caution_scale=draw.choice((0.5, 0.3, 1.0)), **(NEVER | losses)),
            shrink=draw.random() < 0.8,
        )

    # -- what is seen ---------------------------------------------------------------------------------------------

    def look_again(self, j: int, *, calm: bool) -> None:
        """Draw what is seen of instrument ``j``: as a rule a price near the usual one, else one oddity."""
        draw, view = self.draw, self.view
        usual = desk.MARKS[j % 3]
        mark = usual + draw.randint(-usual // 50, usual // 50)
        view.marks[j], view.mark_ts[j] = mark, view.ts
        quoted = draw.random() < 0.5
        view.best_bids[j] = mark - draw.randint(0, 5) if quoted else UNDEFINED_PRICE
        view.best_asks[j] = mark + draw.randint(0, 5) if quoted else UNDEFINED_PRICE
        view.in_session[j], view.halted[j] = True, False
        view.rates_micros[j] = draw.choice((1_000_000, 1_000_000, 1_100_000, 6_700))
        view.positions[j] = draw.choice((0, draw.randint(-60, 60)))
        if calm:
            return
        oddity = draw.randrange(8)
        if oddity == 0:
            view.marks[j] = draw.choice((UNDEFINED_PRICE, 0, -usual, 2**40, 2**40, 2**40 + 1))
        elif oddity == 1:
            view.halted[j] = True
        elif oddity == 2:
            view.in_session[j] = False
        elif oddity == 3:
            view.rates_micros[j] = draw.choice((0, -1, 1, 2**20, 2**39, 2**40 - 1, 2**40, 2**41))
        elif oddity == 4:
            view.mark_ts[j] = view.ts - draw.choice((STEP_NS, 6 * STEP_NS, 10**13))
        elif oddity == 5:
            huge = (
                (10**4, 10**6, 2**31 - 1, 2**31) if self.n <= _EXACT else (10**4,)
            )  # Nothing is left of digits that cancel.
            view.positions[j] = draw.choice((-1, 1)) * draw.choice(huge)
        elif oddity == 6:
            view.best_asks[j] = mark + draw.choice((-3_000, 3_000, 10**6))
        else:
            view.best_bids[j] = mark + draw.choice((-3_000, 3_000, -(10**6)))

    def change_state(self) -> None:
        """Another state of the ladder, another standing, another side that is stopped."""
        draw, gate = self.draw, self.gate
        state = draw.choice((BreakerState.NORMAL,) * 6 + tuple(BreakerState))
        standing = gate._standing
        gate.ladder.state, standing.state = state, state
        standing.flattening = draw.random() < 0.1
        standing.paused = standing.flattening or draw.random() < 0.1  # FLATTEN pauses too
        odd = (0, -self.capital, 2**61) if draw.random() < self.wild else ()
        self.view.equity_micros = draw.choice((self.capital, int(self.capital * draw.uniform(0.6, 1.1)), *odd))
        standing.peak_micros = max(self.capital, int(self.capital * draw.uniform(0.9, 1.2)))
        standing.day_start_micros = int(self.capital * draw.uniform(0.5, 1.2))
        key = (draw.randrange(self.n), draw.choice((-1, 1)))
        if gate.flow.throttled.pop(key, None) is None and draw.random() < 0.2:
            gate.flow.throttled[key] = self.view.ts
        gate.flow._mark_sides()

    # -- what is asked --------------------------------------------------------------------------------------------

    def order(self) -> Order:
        """A new order, a change of an open one, or the last one again, at times but for one thing."""
        draw = self.draw
        kind = draw.random()
        open_ones = [self.sent[number] for number in self.plain.working.orders]
        if kind < 0.2 and open_ones:
            known = draw.choice(open_ones)
            price = (
                known.price
                if known.price is None or draw.random() < 0.5
                else max(min(FAR), known.price + draw.randint(-40, 40))
            )
            return msgspec.structs.replace(known, quantity=self.quantity(), price=price, ts=self.view.ts)
        number = OrderId(self.next_id)
        self.next_id += 1
        if kind < 0.3 and self.last is not None:
            other = draw.choice(({}, {"reduce_only": not self.last.reduce_only}, {"tag": "one more"}, {"oco_group": 3}))
            return msgspec.structs.replace(self.last, order_id=number, ts=self.view.ts, **other)
        j = draw.randrange(self.n)
        order_type = draw.choice(tuple(OrderType))
        has_price = order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        has_stop = order_type in (OrderType.STOP, OrderType.STOP_LIMIT)
        group = draw.choice((0, 0, 0, 1, 2))
        parent = None
        if open_ones and draw.random() < 0.15:
            above = draw.choice(open_ones)
            parent, j = above.order_id, self.ids.index(above.instrument)
            group = draw.choice((0, -above.order_id))
        return Order(
            order_id=number,
            instrument=self.ids[j],
            side=draw.choice((Side.BUY, Side.SELL)),
            quantity=self.quantity(),
            order_type=order_type,
            ts=self.view.ts,
            effective_ts=draw.choice((0, 0, 0, self.view.ts + 10**12)),
            price=self.price(j) if has_price is (draw.random() >= self.wild / 10) else None,
            stop_price=self.price(j) if has_stop is (draw.random() >= self.wild / 10) else None,
            time_in_force=draw.choice(tuple(TimeInForce)),
            expire_ts=self.view.ts + draw.choice((-1, 0, 1) if draw.random() < 0.1 else (1, 10**12)),
            parent=parent if draw.random() < 0.95 else OrderId(draw.randrange(1, number + 1)),
            oco_group=group,
            reduce_only=draw.random() < 0.08,
            tag=draw.choice(("", "stop", "of my own")),
        )

    def quantity(self) -> int:
        odd = (0, 600, 10**6, 2**31 - 1, 2**31)
        return self.draw.choice(odd) if self.draw.random() < self.wild / 4 else self.draw.randint(1, 50)

    def price(self, j: int) -> int:
        near = desk.MARKS[j % 3] + self.draw.randint(-300, 300) * desk.MARKS[j % 3] // 20_000
        return self.draw.choice(FAR) if self.draw.random() < self.wild / 10 else near

    def ask(self, order: Order) -> None:
        """Both judge ``order``; where it may go it leaves, and now and then where it may not."""
        verdict, plain = self.gate.check(order, self.view), self.plain.check(order, self.view)
        self.seen.beyond += assert_same(verdict, plain, digits=12 if self.n <= _EXACT else 9)
        self.seen.verdicts[verdict.reason or "passed"] += 1
        self.seen.checks.update((check.name, check.outcome.value) for check in verdict.checks)
        leaves = verdict.order
        if leaves is None and self.draw.random() < 0.3 and verdict.checks[_RULES].outcome is CheckOutcome.PASSED:
            leaves = order  # Nothing of how orders are kept rests on their having been let through.
        if leaves is not None and len(self.plain.working.orders) < 15:
            self.last = self.sent[order.order_id] = leaves
            self.gate.on_order(leaves)
            self.plain.on_order(leaves)

    # -- what is heard --------------------------------------------------------------------------------------------

    def report(self) -> None:
        """The venue says something of an open order, or of one that is none."""
        draw = self.draw
        known = self.plain.working.orders
        number = draw.choice(list(known)) if known and draw.random() < 0.97 else self.next_id + 5
        kind, lots, leaves = draw.choice(KINDS), 0, 0
        if number in known:
            row = known[number]
            left = max(row.quantity, row.pending) - row.filled - row.reduced
            if kind is ExecType.TRADE:
                lots = draw.randint(1, max(1, min(left, 30)))
                self.view.positions[row.index] += row.side * lots
            leaves = draw.choice((max(0, left - lots), max(0, left - lots), 0, draw.randint(0, 40)))
        ts = self.view.ts - draw.randrange(4) * STEP_NS
        report = desk.report(number, kind, ts=ts, last_quantity=lots, leaves=leaves)
        desk.tell(self.gate, report)
        self.plain.on_report(report)

    def cancel(self) -> None:
        number = self.draw.choice([*self.plain.working.orders, self.next_id])
        if self.gate.working.ask_cancel(number, self.view.ts):
            self.plain.flow.on_message(self.view.ts)

    def check_book(self) -> None:
        """Both have the same orders open, in the same state, and the same sums of them."""
        plain, gate = self.plain.working, self.gate.working
        assert (gate.buys, gate.sells) == (plain.buys, plain.sells)
        assert list(gate.orders) == list(plain.orders)
        for mine, theirs in zip(gate.each(), plain.orders.values(), strict=True):
            assert mine.instrument == theirs.index
            for name in (
                "side",
                "quantity",
                "pending",
                "parent",
                "group",
                "sequence",
                "ts",
                "batch",
                "filled",
                "reduced",
                "woken",
            ):
                assert getattr(mine, name) == getattr(theirs, name), name
        rows, j = self.gate.account.rows, self.draw.randrange(self.n)
        for side in (1, -1):
            best = best_opposite(rows.working, self.gate.n, gate.count, j, side)
            assert (None if best == UNDEFINED_PRICE else best) == plain.best_opposite(j, side)

    def step(self) -> None:
        """Something is seen, asked and heard."""
        draw = self.draw
        self.view.ts += STEP_NS
        self.gate.working.batch += draw.randrange(2)
        if draw.random() < 0.15:
            self.change_state()
        for _ in range(draw.randrange(3)):
            self.look_again(draw.randrange(self.n), calm=draw.random() >= self.wild)
        for _ in range(draw.choice((1, 1, 2))):
            self.ask(self.order())
        if draw.random() < 0.7:
            self.report()
        if draw.random() < 0.1:
            self.cancel()
        self.check_book()


def run(orders: int, seed: int, per_pair: int = 400) -> Seen:
    """Ask both forms about at least ``orders`` random orders, with a new account every ``per_pair``; how they ended."""
    draw = random.Random(seed)
    seen = Seen(Counter(), Counter())
    while seen.verdicts.total() < orders:
        until = min(seen.verdicts.total() + per_pair, orders)
        pair = Pair(draw, seen)
        while seen.verdicts.total() < until:
            pair.step()
    return seen
