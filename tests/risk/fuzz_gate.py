"""Random orders against the gate and a venue that fills, cancels and rejects at random, with a book-keeping of its own.

Plain orders, groups of three agents, brackets, reduce-only orders, changes; reports that are late. After every step the worst
case of everything that is out is worked out from the venue's side, by enumeration, and held against every limit, and each order is put to the
plain form of the checks as well. ``fuzz_pair.py`` holds both forms against each other in every state.

    python tests/risk/fuzz_gate.py 1000000      a million orders, half of them here, half in ``fuzz_pair``; the tests run some thousands
    python tests/risk/fuzz_gate.py 1000000 0 3  half of them here, at the accounts of random trees of 3 levels; half in ``fuzz_tree``
"""

from __future__ import annotations

import itertools
import math
import random
import sys
import time
from collections import Counter, deque
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import ORDER_TYPES, ExecType, ExecutionReport, Fill, Order, OrderType, Side
from grandmodel.risk.gate import build_gates
from grandmodel.risk.settings import (
    BreakerSettings,
    FlowLimits,
    InstrumentLimits,
    PortfolioLimits,
    RiskSettings,
    Thresholds,
)
from risk import desk, fuzz_pair, fuzz_tree
from risk.desk import DeskGate, Verdict
from risk.plain_accounts import PlainTree, assert_same_everywhere, declared, parents_of
from risk.plain_checks import PlainBook, assert_same

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


class Held:
    """One order as the venue has it."""

    def __init__(self, order: Order, parent: Held | None, account: str) -> None:
        self.order, self.parent, self.account = order, parent, account
        self.index, self.side = desk.NAMES.index(order.instrument), int(order.side)
        self.quantity = order.quantity
        self.filled = self.reduced = self.woken = 0
        self.arrived = self.alive = False
        self.asked: Order | None = None
        """A change that is on its way."""

    @property
    def leaves(self) -> int:
        most = self.quantity if self.parent is None else min(self.quantity, self.woken)
        return max(0, most - self.filled - self.reduced) if self.alive else 0

    @property
    def most(self) -> int:
        """Lots that can still fill if the change on its way is made."""
        if not self.alive:
            return 0
        most = self.quantity if self.asked is None else max(self.quantity, self.asked.quantity)
        most = most if self.parent is None else min(most, self.woken)
        return max(0, most - self.filled - self.reduced)

    @property
    def waits(self) -> bool:
        """A child with nothing open that grows again once its parent fills more."""
        return self.parent is not None and self.parent.alive and self.quantity > self.filled + self.reduced


class Desk:
    """The gate on one side, the venue on the other, and reports that take their time between them.

    Three agents share it: their group numbers are few and come again, alone, together, and in several instruments. With a ``depth`` there are
    accounts below the desk's own, in so many levels at most, and each order is one of theirs; an agent's groups are all of one account.
    """

    def __init__(self, rng: np.random.Generator, depth: int = 0) -> None:
        self.rng = rng
        self.settings = settings(rng)
        if depth:
            draw = random.Random(int(rng.integers(0, 2**32)))
            accounts = declared(draw, parents_of(draw, depth), desk.CAPITAL, lambda: settings(rng))
            self.gates = build_gates(self.settings, desk.instruments(), desk.CAPITAL, accounts, desk.DeskGate)
            desk.warm(self.gates[""])
            self.tree: PlainTree | None = PlainTree(self.gates, accounts)
            self.leaves = self.tree.leaves
        else:
            self.gates = {"": desk.gate(self.settings)}
            self.tree, self.leaves = None, [""]
        self.gate = self.gates[""]
        self.plain = PlainBook(self.gate)
        self.views = {
            leaf: desk.view(rates_micros=list(RATES), equity_micros=self.gates[leaf].capital_micros)
            for leaf in self.leaves
        }
        """What has been heard, by account."""
        self.view = self.views[self.leaves[0]]
        """One of them, for the time."""
        self.held: dict[int, Held] = {}
        """Orders that have not ended, by id."""
        self.accounts: dict[int, str] = {}
        """Account of every order that was sent, by id."""
        self.positions = {leaf: [0, 0, 0] for leaf in self.leaves}
        """As the venue has them, by account."""
        self.on_their_way: deque[tuple[ExecutionReport, Fill | None]] = deque()
        self.next_id = 1
        self.changing: set[int] = set()
        """Orders whose change has not been answered yet, as far as has been heard: one change at a time."""
        self.reports = 0
        self.outcomes: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        # Reference numbers, from the public covariance and not from the gate's coefficients.
        gate_var = self.settings.var
        from scipy import stats  # A second to import, for whoever only draws settings here.

        quantile = stats.t.ppf(gate_var.level, gate_var.degrees) * math.sqrt(1 - 2 / gate_var.degrees)
        scale = gate_var.horizon_days * gate_var.bars_per_day * quantile**2
        unit = np.array(RATES) / 1e6
        self.matrix = self.gate.running.covariance.covariance * np.outer(unit, unit) * scale
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

    def open_lots(self, accounts: list[str]) -> tuple[list[int], list[int]]:
        """Most lots that ``accounts`` can still buy and sell, by instrument, from what the venue holds."""
        buys, sells = [0] * 3, [0] * 3
        groups: dict[tuple[int, int, int], int] = {}
        for held in self.held.values():
            if held.account not in accounts:
                continue
            if held.order.oco_group:
                key = (held.order.oco_group, held.index, held.side)
                groups[key] = max(groups.get(key, 0), held.most)
            else:
                (buys if held.side > 0 else sells)[held.index] += held.most
        for (_, index, side), lots in groups.items():
            (buys if side > 0 else sells)[index] += lots
        return buys, sells

    def say(self, held: Held, kind: ExecType, lots: int = 0, leaves: int = 0) -> None:
        """Send a report on its way."""
        self.reports += 1
        order, fill = held.order, None
        changes = {"leaves": leaves, "cumulative": held.filled}
        if kind is ExecType.TRADE:
            changes |= {"last_quantity": lots, "last_price": desk.MARKS[held.index]}
            fill = desk.fill(order.order_id, lots, desk.MARKS[held.index], order.side, order.instrument, self.view.ts)
        report = desk.report(order.order_id, kind, self.reports, self.view.ts, **changes)
        self.on_their_way.append((report, fill))

    def hear(self, count: int) -> None:
        """The oldest ``count`` reports reach the gate."""
        for _ in range(min(count, len(self.on_their_way))):
            report, fill = self.on_their_way.popleft()
            account = self.accounts[report.order_id]
            if fill is not None:
                self.views[account].positions[desk.NAMES.index(fill.instrument)] += fill.signed_quantity
            if report.exec_type in (ExecType.REPLACED, ExecType.CANCEL_REJECTED):
                self.changing.discard(report.order_id)
            desk.tell(self.gates[account], report, fill)
            if self.tree is None:
                self.plain.on_report(report)
            else:
                self.tree.positions[account] = self.views[account].positions
                self.tree.on_report(account, report)

    def arrive(self) -> None:
        """Every order on its way is at the venue."""
        for held in self.held.values():
            if not held.arrived and held.parent is None:
                held.arrived = True
                self.say(held, ExecType.NEW, leaves=held.leaves)

    def fill(self) -> None:
        open_ones = [held for held in self.held.values() if held.arrived and held.leaves]
        if not open_ones:
            return
        held = open_ones[int(self.rng.integers(0, len(open_ones)))]
        most = held.leaves
        if held.order.reduce_only:
            most = min(most, max(0, -self.positions[held.account][held.index] * held.side))
            if not most:
                self.end(held, ExecType.CANCELED)
                return
        lots = most if self.rng.random() < 0.5 else int(self.rng.integers(1, most + 1))
        self.happened["filled"] += 1
        held.filled += lots
        self.positions[held.account][held.index] += held.side * lots
        self.say(held, ExecType.TRADE, lots, held.leaves)
        group = held.order.oco_group
        for other in list(self.held.values()):
            if group and other is not held and (other.order.oco_group, other.index) == (group, held.index):
                other.reduced += lots
                self.happened["shrunk by its group"] += 1
                if not other.leaves and not other.waits:
                    self.end(other, ExecType.CANCELED)
        for child in list(self.held.values()):
            if child.parent is held:
                child.woken += lots
                if not child.arrived:
                    child.arrived = True
                    self.say(child, ExecType.NEW, leaves=child.leaves)
        if not held.leaves and not held.waits:
            self.forget(held)

    def end(self, held: Held, kind: ExecType) -> None:
        self.forget(held)
        self.say(held, kind)
        for child in list(self.held.values()):
            if child.parent is held and not child.leaves:
                self.end(child, ExecType.CANCELED)

    def forget(self, held: Held) -> None:
        held.alive = False
        self.held.pop(held.order.order_id, None)

    def confirm(self) -> None:
        """The venue takes or refuses one waiting change."""
        waiting = [held for held in self.held.values() if held.asked is not None and held.arrived]
        if not waiting:
            return
        held = waiting[0]
        asked, held.asked = held.asked, None
        if self.rng.random() < 0.3:
            self.say(held, ExecType.CANCEL_REJECTED, leaves=held.leaves)
            return
        held.quantity = asked.quantity
        left = held.quantity - held.filled - held.reduced
        if left <= 0:
            self.end(held, ExecType.CANCELED)
        else:
            self.say(held, ExecType.REPLACED, leaves=left)
            self.happened["changed"] += 1

    # -- the desk -------------------------------------------------------------------------------------------------

    def random_order(self) -> Order:
        index, group = int(self.rng.integers(0, 3)), 0
        if self.rng.random() < 0.4:
            group = int(self.rng.integers(0, 3)) * 2**32 + int(self.rng.integers(1, 4))
            others = [held for held in self.held.values() if held.order.oco_group > 0]
            if others and self.rng.random() < 0.6:  # Join a group whose orders are out.
                other = others[int(self.rng.integers(0, len(others)))]
                index, group = other.index, other.order.oco_group
        side = Side.BUY if self.rng.random() < 0.5 else Side.SELL
        kind = OrderType(int(self.rng.choice([1, 1, 1, 2, 2, 3, 3, *OrderType])))
        terms = ORDER_TYPES[kind]
        mark = desk.MARKS[index]
        offset = int(self.rng.integers(0, 60))
        price = mark - int(side) * offset if terms.has_limit else None
        stop = mark + int(side) * offset * terms.waits if terms.has_trigger else None
        more = {"trail_ticks": offset + 1} if terms.has_trail else {}
        if terms.may_rest and self.rng.random() < 0.2:
            more["display_quantity"] = int(self.rng.integers(1, 40))
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
            ts=self.view.ts,
            oco_group=group,
            reduce_only=bool(self.rng.random() < 0.15),
            **more,
        )

    def ask(self, order: Order, account: str) -> Order | None:
        gate = self.gates[account]
        verdict = gate.check(order, self.views[account])
        self.outcomes[verdict.reason or "passed"] += 1
        self.check_both_ways(order, verdict, account)
        if verdict.reason and self.tree is not None:
            self.happened["stopped by itself" if verdict.account == account else "stopped above"] += 1
        if verdict.order is not None:
            assert 0 < verdict.order.quantity <= order.quantity
            self.accounts[order.order_id] = account
            gate.on_order(verdict.order)
            if self.tree is None:
                self.plain.on_order(verdict.order)
            else:
                self.tree.on_order(account, verdict.order)
        return verdict.order

    def check_both_ways(self, order: Order, verdict: Verdict, account: str) -> None:
        """The compiled checks say what the plain ones say."""
        if self.tree is None:
            assert_same(verdict, self.plain.check(order, self.view))
        else:
            assert_same_everywhere(verdict, self.tree.check(account, order, self.views[account]), order)

    def account_of(self, order: Order) -> str:
        """One that may send ``order``: a group belongs to one agent, and an agent to one account."""
        agent = order.oco_group >> 32 if order.oco_group else int(self.rng.integers(0, len(self.leaves)))
        return self.leaves[agent % len(self.leaves)]

    def place(self, order: Order, parent: Held | None = None) -> Held | None:
        """Ask for ``order``; where some of it may go, it is on its way."""
        account = self.account_of(order) if parent is None else parent.account
        sent = self.ask(order, account)
        if sent is None:
            return None
        held = Held(sent, parent, account)
        held.alive = True
        self.held[sent.order_id] = held
        return held

    def send(self) -> None:
        """One to three orders of one step, now and then with a bracket around one of them."""
        first = self.random_order()
        held = self.place(first)
        if held is not None and not first.reduce_only and self.rng.random() < 0.25:
            self.bracket(held)
        for _ in range(int(self.rng.choice(3, p=[0.6, 0.25, 0.15]))):
            other = self.random_order()
            if first.oco_group:  # Another of the same group, sent together with it.
                at_market = {"order_type": OrderType.MARKET, "price": None, "stop_price": None}
                same = {"instrument": first.instrument, "oco_group": first.oco_group} | at_market
                other = msgspec.structs.replace(other, **same)
            self.place(other)

    def bracket(self, parent: Held) -> None:
        """A stop and a target for ``parent``: one cancels the other, and both wait for it."""
        order = parent.order
        away = 100 * parent.side
        mark = desk.MARKS[parent.index]
        for kind, price, stop in ((OrderType.STOP, None, mark - away), (OrderType.LIMIT, mark + away, None)):
            child = desk.order(
                self.next_id,
                instrument=order.instrument,
                side=Side(-parent.side),
                quantity=order.quantity,
                order_type=kind,
                price=price,
                stop_price=stop,
                ts=self.view.ts,
                parent=OrderId(order.order_id),
                oco_group=-order.order_id,
            )
            self.next_id += 1
            self.place(child, parent)

    def change(self) -> None:
        """Ask for another quantity of a working order: plain ones, those of a group, children, those that only reduce."""
        known = {number: order for leaf in self.leaves for number, order in self.gates[leaf].working.orders.items()}
        able = [held for number, held in self.held.items() if number in known and number not in self.changing]
        if not able:
            return
        held = able[int(self.rng.integers(0, len(able)))]
        seen = known[held.order.order_id]
        quantity = seen.filled + seen.reduced + int(self.rng.integers(1, 40))
        sent = self.ask(msgspec.structs.replace(held.order, quantity=quantity, ts=self.view.ts), held.account)
        if sent is not None:
            held.asked = sent
            self.changing.add(sent.order_id)

    def cancel(self) -> None:
        arrived = [held for held in self.held.values() if held.arrived]
        if arrived:
            kind = ExecType.CANCELED if self.rng.random() < 0.8 else ExecType.EXPIRED
            self.end(arrived[int(self.rng.integers(0, len(arrived)))], kind)

    def step(self) -> None:
        """One random thing happens, and perhaps some reports arrive."""
        now = self.view.ts + 10**6
        for leaf, view in self.views.items():
            view.ts, view.mark_ts = now, [now] * 3
            self.gates[leaf].working.batch += 1
        draw = self.rng.random()
        if len(self.held) > 12 or draw < 0.10:
            self.cancel()
        elif draw < 0.35:
            self.fill()
        elif draw < 0.45:
            self.change()
        elif draw < 0.55:
            self.confirm()
        else:
            self.send()
        if self.rng.random() < 0.5:
            self.arrive()
        if self.rng.random() < 0.5:
            self.hear(len(self.on_their_way) if self.rng.random() < 0.3 else 1)

    def check_limits(self) -> None:
        """No combination of fills of what is out breaks a limit of any account, and the gates know of all of it."""
        for name, gate in self.gates.items():
            self.check_account(gate, self.leaves if self.tree is None else self.tree.below(name))
        if self.tree is not None:
            self.tree.check_sums(self.view.ts)

    def check_account(self, gate: DeskGate, leaves: list[str]) -> None:
        """Those of one account, over which those that trade are ``leaves``."""
        buys, sells = self.open_lots(leaves)
        known = gate.account.rows.seen[gate.n]
        position = np.sum([self.positions[leaf] for leaf in leaves], axis=0)
        seen = np.sum([self.views[leaf].positions for leaf in leaves], axis=0)
        high, low = position + np.array(buys), position - np.array(sells)
        seen_high, seen_low = seen + known["buys"], seen - known["sells"]
        assert (seen_high >= high).all(), (seen_high, high)
        assert (seen_low <= low).all(), (seen_low, low)
        if not self.on_their_way and all(held.arrived or held.parent for held in self.held.values()):
            assert (seen_high.tolist(), seen_low.tolist()) == (high.tolist(), low.tolist())
            open_here = {number for leaf in leaves for number in self.gates[leaf].working.orders}
            assert open_here == {number for number, held in self.held.items() if held.account in leaves}
        limits, portfolio = gate.settings.limits, gate.settings.portfolio
        worst = np.maximum(np.abs(high), np.abs(low))
        capital = gate.capital_micros
        assert high.max() <= max(limits.max_long_lots, 0)
        assert -low.min() <= limits.max_short_lots
        assert worst.sum() <= portfolio.max_overall_lots
        assert (worst * self.notional).max() <= limits.max_concentration * capital
        assert worst @ self.notional <= portfolio.max_gross_exposure * capital
        assert max(abs(high @ self.notional), abs(low @ self.notional)) <= portfolio.max_net_exposure * capital
        assert worst @ self.margin <= portfolio.max_margin_share * capital
        assert worst @ self.stressed <= portfolio.max_stressed_var * capital * (1 + 1e-12)
        ends = np.stack((high, low, position)).T.tolist()
        corners = np.array(list(itertools.product(*(set(lots) for lots in ends))))
        variance = np.einsum("ki,ij,kj->k", corners, self.matrix, corners).max()
        assert math.sqrt(max(variance, 0.0)) <= portfolio.max_var * capital * (1 + 1e-9)


def run(orders: int, seed: int, per_desk: int = 2_000, depth: int = 0) -> tuple[Counter[str], Counter[str]]:
    """Ask the gate about at least ``orders`` random orders, with new random limits every ``per_desk``, and accounts in ``depth`` levels.

    The result is how they ended, and what else happened.
    """
    rng = np.random.default_rng(seed)
    outcomes: Counter[str] = Counter()
    happened: Counter[str] = Counter()
    while outcomes.total() < orders:
        here = Desk(rng, depth)
        while here.outcomes.total() < min(per_desk, orders - outcomes.total()):
            here.step()
            here.check_limits()
        outcomes += here.outcomes
        happened += here.happened
    return outcomes, happened


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    start_seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    levels = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    start = time.monotonic()
    pairs = (
        (fuzz_tree.run(wanted - wanted // 2, start_seed)[0])
        if levels
        else fuzz_pair.run(wanted - wanted // 2, start_seed)
    )
    print(f"{pairs.verdicts.total():,} orders in every state, both forms the same, {time.monotonic() - start:.0f} s")
    for reason, count in pairs.verdicts.most_common():
        print(f"{count:>9,}  {reason}")
    print(f"{pairs.beyond:>9,}  beyond 64 bits", flush=True)
    start = time.monotonic()
    found, others = run(wanted // 2, start_seed, depth=levels)
    print(f"{found.total():,} orders, no limit exceeded, {time.monotonic() - start:.0f} s")
    for reason, count in (found + others).most_common():
        print(f"{count:>9,}  {reason}")
