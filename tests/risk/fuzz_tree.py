"""Accounts below one another, in every state: the gates of a random tree beside the plain form, which makes every sum anew.

    python tests/risk/fuzz_tree.py 100000      so many orders

``fuzz_gate.py`` with a tree asks what the orders could lead to at a venue.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from grandmodel.domain.orders import Order
from grandmodel.risk.checks import CHECK_NAMES
from grandmodel.risk.gate import build_gates
from risk import desk
from risk.fuzz_pair import _EXACT, Pair, Seen, instruments_of, running_of
from risk.plain_accounts import PlainTree, assert_same_everywhere, declared, parents_of

_RULES = CHECK_NAMES.index("order_rules")


class TreePair(Pair):
    """The gates of a tree, and the plain form beside them; ``Pair`` draws what happens, at one account after the other."""

    def __init__(self, draw: random.Random, seen: Seen) -> None:
        self.draw, self.seen = draw, seen
        self.stopped: Counter[str] = Counter()
        """By where in the tree an order was stopped: its own account, one above, the run's own."""
        self.wild = draw.choice((0.0, 0.03, 0.3))
        self.n = n = draw.choice((1, 2, 3, 3, 9))
        self.instruments = instruments_of(n)
        self.ids = [one.id for one in self.instruments]
        self.capital = draw.choice((desk.CAPITAL, desk.CAPITAL // 20))
        parents = parents_of(draw, draw.randint(1, 4))
        accounts = declared(draw, parents, self.capital, self.settings)
        self.gates = build_gates(self.settings(), self.instruments, self.capital, accounts, desk.DeskGate)
        if (known_from := draw.choice((0, 0, 0, 0, 1, n))) < n:
            self.gates[""].running.restore(running_of(n, known_from))
        self.gates[""].results.totals["max_repeats"] = 2**62  # The plain gates count no executions.
        self.tree = PlainTree(self.gates, accounts)
        self.next_id = 1
        self.market = desk.View(
            ts=desk.START, equity_micros=0, positions=[0] * n, marks=[0] * n, mark_ts=[0] * n, best_bids=[0] * n,
            best_asks=[0] * n, in_session=[True] * n, halted=[False] * n, rates_micros=[1_000_000] * n,
        )  # fmt: skip
        self._sent: dict[str, dict[int, Order]] = {leaf: {} for leaf in self.tree.leaves}
        self._last: dict[str, Order | None] = dict.fromkeys(self.tree.leaves)
        self.view = self.market
        for leaf in self.tree.leaves:
            self.turn_to(leaf)
            for j in range(n):
                self.look_again(j, calm=True)
            self.turn_from()

    def turn_to(self, leaf: str) -> None:
        """From here on ``leaf`` acts."""
        self.leaf, self.gate = leaf, self.gates[leaf]
        self.sent, self.last = self._sent[leaf], self._last[leaf]
        self.view.positions, self.view.equity_micros = self.tree.positions[leaf], self.tree.equity[leaf]
        self.plain = SimpleNamespace(
            working=self.tree.working[leaf],
            flow=SimpleNamespace(on_message=lambda ts: self.tree.on_cancel(leaf, ts)),
            on_order=lambda order: self.tree.on_order(leaf, order),
            on_report=lambda report: self.tree.on_report(leaf, report),
        )

    def turn_from(self) -> None:
        """What ``leaf`` holds and is worth is in the rows, and every sum is right."""
        self.tree.equity[self.leaf] = self.view.equity_micros
        self._last[self.leaf] = self.last
        self.gate.see(self.view)
        self.tree.check_sums(self.view.ts)

    def change_state(self) -> None:
        """Of any account, most of all those from the one that acts upwards."""
        acts = self.gate
        self.gate = self.draw.choice((*acts.chain, *self.gates.values()))
        super().change_state()
        self.gate = acts
        if abs(self.view.equity_micros) > 2**58:
            self.view.equity_micros = self.draw.choice((-1, 1)) * 2**58  # Their sum stays in 64 bits.

    def order(self) -> Order:
        order = super().order()
        return order if order.instrument in self.ids else self.order()

    def ask(self, order: Order) -> None:
        self.tree.equity[self.leaf] = self.view.equity_micros
        verdict, plain = self.gate.check(order, self.view), self.tree.check(self.leaf, order, self.view)
        self.seen.beyond += assert_same_everywhere(verdict, plain, order, digits=12 if self.n <= _EXACT else 9)
        self.seen.verdicts[verdict.reason or "passed"] += 1
        if verdict.reason:
            where = "its own" if plain.account == self.leaf else "between" if plain.account else "the run's own"
            self.stopped[where] += 1
        leaves = verdict.order
        if leaves is None and self.draw.random() < 0.3 and not verdict.checked.refused >> _RULES & 1:
            leaves = order
        if leaves is not None and len(self.plain.working.orders) < 15:
            self.last = self.sent[order.order_id] = leaves
            self.gate.on_order(leaves)
            self.plain.on_order(leaves)

    def step(self) -> None:
        self.turn_to(self.draw.choice(self.tree.leaves))
        super().step()
        self.turn_from()


def run(orders: int, seed: int, per_tree: int = 300) -> tuple[Seen, Counter[str]]:
    """Ask both forms about at least ``orders`` random orders, with a new tree every ``per_tree``; how they ended, and where."""
    draw = random.Random(seed)
    seen, stopped = Seen(Counter(), Counter()), Counter[str]()
    while seen.verdicts.total() < orders:
        until = min(seen.verdicts.total() + per_tree, orders)
        pair = TreePair(draw, seen)
        while seen.verdicts.total() < until:
            pair.step()
        stopped += pair.stopped
    return seen, stopped


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    found, places = run(wanted, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for reason, count in (found.verdicts + places).most_common():
        print(f"{count:>9,}  {reason}")
    print(f"{found.beyond:>9,}  beyond 64 bits")
