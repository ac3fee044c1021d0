"""Accounts below one another: sums, checks at every level, and that a chain of one is one account."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.risk import gate as gate_module
from grandmodel.risk.gate import build_gates
from grandmodel.risk.settings import AccountLimits, RiskSettings
from grandmodel.risk.standing import moved_capital, moved_peak
from risk import desk, fuzz_gate, fuzz_tree
from risk.fuzz_pair import Pair, Seen, running_of
from risk.plain_accounts import PlainTree, declared, parents_of
from risk.plain_checks import PlainBook


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_in_every_state_each_account_says_what_the_plain_form_says_and_holds_the_sums(seed: int) -> None:
    fuzz_tree.run(60, seed, per_tree=60)


def test_the_trees_above_stop_orders_at_every_level() -> None:
    seen, stopped = fuzz_tree.run(1_500, seed=3)  # A sample; ``tests/risk/fuzz_tree.py`` is the long run.
    assert min(stopped["its own"], stopped["between"], stopped["the run's own"]) > 30
    assert seen.verdicts["passed"] > 40


class Chain(Pair):
    """One account at the end of a chain of accounts with its limits, beside the plain form of one account alone."""

    def __init__(self, draw: random.Random, seen: Seen) -> None:
        super().__init__(draw, seen)
        depth = draw.randint(1, 4)
        accounts = {
            f"a{k}": AccountLimits(
                parent=f"a{k - 1}" if k else "", capital_micros=self.capital if k == depth - 1 else 0
            )
            for k in range(depth)
        }
        self.gates = build_gates(self.gate.settings, self.instruments, self.capital, accounts, desk.DeskGate)
        self.gate.running.restore(running_of(self.n, 0))
        self.gates[""].running.restore(running_of(self.n, 0))
        self.gate = self.gates[f"a{depth - 1}"]
        self.plain = PlainBook(self.gate)

    def change_state(self) -> None:
        super().change_state()
        self.view.equity_micros = max(-(2**60), min(2**60, self.view.equity_micros))
        standing = self.gate.standing
        for above in self.gate.chain[1:]:
            above.ladder.state = self.gate.ladder.state
            for name in ("state", "flattening", "paused", "peak_micros", "day_start_micros"):
                setattr(above.standing, name, getattr(standing, name))
            above.flow.throttled = dict(self.gate.flow.throttled)
            above.flow._mark_sides()


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_the_only_account_below_others_with_its_limits_is_one_account(seed: int) -> None:
    chain = Chain(random.Random(seed), Seen(Counter(), Counter()))
    for _ in range(50):
        chain.step()


@given(st.integers(0, 2**32 - 1), st.lists(st.tuples(st.integers(0, 9), st.integers(-(10**12), 10**12)), max_size=30))
@settings(deadline=None, max_examples=60)
def test_what_an_account_is_worth_and_what_is_brought_to_it_moves_those_above(
    seed: int, moves: list[tuple[int, int]]
) -> None:
    draw = random.Random(seed)
    made = declared(draw, parents_of(draw, draw.randint(1, 4)), desk.CAPITAL, RiskSettings)
    gates = build_gates(RiskSettings(), desk.instruments(), desk.CAPITAL, made, desk.DeskGate)
    tree = PlainTree(gates, made)
    peaks = {name: gate.capital_micros for name, gate in gates.items()}
    starts = dict(peaks)
    for k, (which, amount) in enumerate(moves):
        leaf = tree.leaves[which % len(tree.leaves)]
        before = {name: tree.worth(name) for name in gates}
        if k % 2:
            for name in tree.chain(leaf):
                gate, was = gates[name], before[name]
                capital = gate.capital_micros
                gate.on_transfer(was, was + amount)
                peaks[name] = moved_peak(peaks[name], was, was + amount)
                moved = moved_capital(capital, was, was + amount)
                starts[name] = was + amount - (was - starts[name]) * moved // capital
                assert gate.capital_micros == moved
        tree.equity[leaf] += amount
        desk.worth(gates[leaf], tree.equity[leaf])
        tree.check_sums(desk.START)
        for name, gate in gates.items():
            assert (gate.standing.peak_micros, gate.standing.day_start_micros) == (peaks[name], starts[name])
            assert gate.seen(desk.view()).equity_micros == tree.worth(name)


def _keeps_to_itself(gate: desk.DeskGate, *given: object) -> None:
    """``desk.tell``: what was reported of an order does not reach the accounts above."""
    rows = gate.account.rows
    before = rows.seen.copy()
    _TELL(gate, *given)
    others = [n for n in range(len(rows.seen)) if n != gate.n]
    for side in ("buys", "sells"):
        rows.seen[side][others] = before[side][others]


def _with_the_limits_of_the_first(seats: object, instruments: object) -> object:
    """``tree.terms_of``: every account has the limits of the run's own."""
    limits, portfolio = _TERMS(seats, instruments)
    limits[:], portfolio[:] = limits[0], portfolio[0]
    return limits, portfolio


_TELL, _TERMS = desk.tell, gate_module.terms_of


@pytest.mark.parametrize(
    ("where", "name", "fault"),
    [
        (desk, "tell", _keeps_to_itself),
        (gate_module, "terms_of", _with_the_limits_of_the_first),
        (desk, "hold", lambda *_: None),
    ],
)
def test_both_fuzzes_find_a_planted_fault(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, fault: Callable[..., object]
) -> None:
    monkeypatch.setattr(where, name, fault)
    monkeypatch.setattr(fuzz_gate.Desk, "check_both_ways", lambda *_: None)
    with pytest.raises(AssertionError):
        fuzz_gate.run(2_000, seed=3, per_desk=500, depth=3)
    if name == "hold":  # There what is held is looked at anew before every order.
        return
    with pytest.raises(AssertionError):
        fuzz_tree.run(2_000, seed=1)
