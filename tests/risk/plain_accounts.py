"""The slow plain form of accounts below one another: every sum is made anew from the accounts that trade. The oracle of ``grandmodel.risk.tree``.

Parents are read from what was declared, never from the rows; an order is put to the plain checks of each account on its way up.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from grandmodel.domain.orders import ExecutionReport, Order
from grandmodel.risk.gate import RiskGate
from grandmodel.risk.settings import AccountLimits, RiskSettings
from risk.desk import Verdict, View
from risk.plain_checks import PlainChecks, PlainVerdict, assert_same
from risk.plain_flow import OrderFlow
from risk.plain_working import WorkingOrders


def parents_of(draw: random.Random, depth: int, most: int = 6) -> dict[str, str]:
    """A random tree of ``depth`` levels at most below the run's own account: the parent of each account, ``most`` accounts at most."""
    parents: dict[str, str] = {}
    level = [""]
    for below in range(depth):
        made = []
        for parent in level:
            for _ in range(draw.randint(1, 3) if below == 0 else draw.randint(0, 2)):
                if len(parents) < most:
                    name = f"a{len(parents)}"
                    parents[name] = parent
                    made.append(name)
        level = made
    return parents


def declared(draw: random.Random, parents: Mapping[str, str], capital: int, own: Any) -> dict[str, AccountLimits]:
    """Accounts with these ``parents``; ``own()`` draws settings, of which each names some. Those that trade share ``capital``."""
    above = set(parents.values())
    leaves = [name for name in parents if name not in above]
    shares = [capital // len(leaves)] * len(leaves)
    shares[0] += capital - sum(shares)
    accounts = {}
    for name, parent in parents.items():
        settings: RiskSettings = own()
        named = {
            field: getattr(settings, field)
            for field in (
                "limits",
                "instruments",
                "authorised",
                "restricted",
                "portfolio",
                "flow",
                "breakers",
                "shrink",
            )
            if draw.random() < 0.3
        }
        money = shares[leaves.index(name)] if name in leaves else 0
        accounts[name] = AccountLimits(parent=parent, capital_micros=money, **named)
    return accounts


class Sums:
    """What the accounts below have open, where ``PlainChecks`` looks for it; made anew at each question."""

    def __init__(self, below: list[WorkingOrders], n: int) -> None:
        self._below, self._n = below, n

    @property
    def buys(self) -> list[int]:
        return [sum(one.buys[i] for one in self._below) for i in range(self._n)]

    @property
    def sells(self) -> list[int]:
        return [sum(one.sells[i] for one in self._below) for i in range(self._n)]

    @property
    def by_index(self) -> list[list[int]]:
        return [[order for one in self._below for order in one.by_index[i]] for i in range(self._n)]

    def best_opposite(self, index: int, side: int) -> int | None:
        found = [one.best_opposite(index, side) for one in self._below]
        prices = [price for price in found if price is not None]
        return (min(prices) if side > 0 else max(prices)) if prices else None


class Flow(OrderFlow):
    """What several accounts sent: orders of two of them are never equal."""

    __slots__ = ("who",)

    def since_equal(self, order: Order, ts: int) -> int | None:
        return super().since_equal(self._of(order), ts)

    def on_new_order(self, order: Order) -> None:
        super().on_new_order(self._of(order))

    def _of(self, order: Order) -> Order:
        return msgspec.structs.replace(order, tag=f"{self.who}/{order.tag}")


@dataclass
class Combined:
    """What came of an order, and what each account on its way up said of it."""

    order: Order | None
    reason: str
    account: str
    said: list[tuple[str, PlainVerdict]]


class PlainTree:
    """The plain form beside the gates of a tree: told of the same orders, reports, positions and equities."""

    def __init__(self, gates: Mapping[str, RiskGate], accounts: Mapping[str, AccountLimits]) -> None:
        self.gates = gates
        self.parents = {name: account.parent for name, account in accounts.items()}
        above = set(self.parents.values())
        self.leaves = [name for name in self.parents if name not in above]
        top = gates[""]
        self.n = n = len(top.instruments)
        self.index = {one.id: i for i, one in enumerate(top.instruments)}
        self.positions = {name: [0] * n for name in self.leaves}
        self.equity = {name: accounts[name].capital_micros for name in self.leaves}
        self.working = {name: WorkingOrders(n) for name in self.leaves}
        self.flow = {name: Flow(gate.settings.flow) for name, gate in gates.items()}
        self.checks = {
            name: PlainChecks(
                gate.settings,
                gate.instruments,
                gate.standing,
                self.working[name]
                if name in self.working
                else Sums([self.working[one] for one in self.below(name)], n),
                gate.running,
                self.flow[name],
                gate.ladder,
                gate.flow.throttled,
            )
            for name, gate in gates.items()
        }

    def chain(self, name: str) -> list[str]:
        """``name`` and every account above it."""
        found = [name]
        while found[-1]:
            found.append(self.parents[found[-1]])
        return found

    def below(self, name: str) -> list[str]:
        """Those that trade, from ``name`` down."""
        return [leaf for leaf in self.leaves if name in self.chain(leaf)]

    def position(self, name: str) -> list[int]:
        return [sum(self.positions[leaf][i] for leaf in self.below(name)) for i in range(self.n)]

    def worth(self, name: str) -> int:
        return sum(self.equity[leaf] for leaf in self.below(name))

    def view(self, name: str, view: View) -> View:
        """What ``name`` sees."""
        return replace(view, positions=self.position(name), equity_micros=self.worth(name))

    def check(self, leaf: str, order: Order, view: View) -> Combined:
        """Every check of ``leaf`` and of every account above it."""
        working = self.working[leaf]
        working.batch = self.gates[leaf].working.batch
        i, chain = self.index[order.instrument], self.chain(leaf)
        own = self.checks[leaf].case_of(order, self.view(leaf, view), i)
        closing = own.reducing and any(self.checks[name].takes_risk_off for name in chain)
        said = []
        for name in chain:
            self.flow[name].who = leaf
            self.checks[name].max_ages = self.gates[name].pace.max_ages.tolist()
            case = replace(own, closing=closing, is_below=name != leaf)
            said.append((name, self.checks[name].check_step_by_step(order, self.view(name, view), i, case)))
        for name, one in said:
            if one.order is None:
                return Combined(None, one.reason, name, said)
        least = min((one.order for _, one in said), key=lambda left: left.quantity)
        cut = next(((name, one.reason) for name, one in said if one.reason), ("", ""))
        return Combined(least, cut[1], cut[0], said)

    def on_order(self, leaf: str, order: Order) -> None:
        working = self.working[leaf]
        working.batch = self.gates[leaf].working.batch
        for name in self.chain(leaf):
            self.flow[name].who = leaf
            if order.order_id not in working.orders:
                self.flow[name].on_new_order(order)
            self.flow[name].on_message(order.ts)
        sent = msgspec.structs.replace(order, ts=order.effective_ts) if order.effective_ts else order
        working.send(sent, self.index[order.instrument])

    def on_cancel(self, leaf: str, ts: int) -> None:
        for name in self.chain(leaf):
            self.flow[name].on_message(ts)

    def on_report(self, leaf: str, report: ExecutionReport) -> None:
        self.working[leaf].report(report)

    def check_sums(self, ts: int) -> None:
        """Every row holds what the accounts below it hold together."""
        rows = self.gates[""].account.rows
        for name, gate in self.gates.items():
            seen, below = rows.seen[gate.n], [self.working[leaf] for leaf in self.below(name)]
            assert seen["position"].tolist() == self.position(name), name
            for side in ("buys", "sells"):
                assert seen[side].tolist() == [sum(getattr(one, side)[i] for one in below) for i in range(self.n)], name
            assert int(rows.moment["equity"][gate.n]) == self.worth(name), name
            out, window = rows.out[gate.n], ts - gate.settings.flow.window_ns
            sent = rows.message_ts[gate.n, out["messages_head"] : out["messages_tail"]]
            assert (sent > window).sum() == self.flow[name].messages(ts), name
            orders = rows.prints[gate.n, out["orders_head"] : out["prints_tail"]]["ts"]
            assert (orders > window).sum() == self.flow[name].orders(ts), name


def assert_same_everywhere(verdict: Verdict, plain: Combined, asked: Order, digits: int = 12) -> bool:
    """The gate and the plain form say the same of an order, in all and at each account; True where some number left 64 bits."""
    levels = [(plain.said[0][0], verdict.checked), *verdict.above]
    assert [name for name, _ in levels] == [name for name, _ in plain.said]
    beyond = False
    for (_, checked), (_, one) in zip(levels, plain.said, strict=True):
        # Of an account above others no order comes back: its own is what its checks say.
        alone = Verdict(one.order, checked, one.reason)
        beyond |= assert_same(alone, one, digits)
    if not beyond:
        assert (verdict.order, verdict.reason) == (plain.order, plain.reason), plain
        assert verdict.account == plain.account, plain
    elif verdict.order is not None:
        assert plain.order is not None
        assert verdict.order.quantity <= plain.order.quantity <= asked.quantity
    return beyond
