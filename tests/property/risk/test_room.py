"""The compiled size checks give the quantity that ``RiskGate.check`` gives, for an instrument alone in its account."""

import math
from collections import Counter

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.domain.orders import OrderType, Side
from grandmodel.risk.gate import RiskGate
from grandmodel.risk.room import lots_with_room, room_of
from grandmodel.risk.settings import BreakerSettings, Thresholds
from risk import desk, fuzz_gate

WARM = {name: desk.gate(names=(name,)).running.save() for name in desk.NAMES}


def case_of(seed):
    """A gate with random limits, positions and working orders, the view of it, and an order."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(desk.NAMES))
    drawdown, daily_loss = (Thresholds(halt=float(rng.uniform(0.02, 0.3))) for _ in range(2))
    ladder = BreakerSettings(drawdown=drawdown, daily_loss=daily_loss)
    limits = msgspec.structs.replace(fuzz_gate.settings(rng), breakers=ladder)
    gate = RiskGate(limits, desk.instruments((name,)), desk.CAPITAL)
    if rng.random() < 0.9:
        gate.running.restore(WARM[name])
    equity = int(desk.CAPITAL * rng.uniform(0.75, 1.2)) if rng.random() < 0.5 else desk.CAPITAL
    rate = int(rng.choice([1_000_000, 1_100_000, 137_251]))
    mark = desk.MARKS[desk.NAMES.index(name)] + int(rng.integers(-500, 500))
    reach = int(rng.choice([3, 30, 300]))
    position = int(rng.integers(-reach, reach + 1))
    view = desk.view((name,), equity_micros=desk.CAPITAL, positions=[0], marks=[mark], rates_micros=[rate], day_ns=1)
    gate.react(view)
    view.equity_micros, view.positions = equity, [position]
    for number in range(int(rng.integers(0, 4))):
        working = desk.order(
            100 + number,
            instrument=name,
            side=Side.BUY if rng.random() < 0.5 else Side.SELL,
            quantity=int(rng.integers(1, reach + 1)),
            order_type=OrderType.STOP,
            stop_price=mark,
        )
        gate.on_order(working)
    side = Side.BUY if rng.random() < 0.5 else Side.SELL
    quantity = int(rng.integers(1, reach + 5))
    changed = [o for o in gate.working.each() if o.side == side]
    if changed and rng.random() < 0.3:
        order = desk.order(
            changed[0].order_id,
            instrument=name,
            side=side,
            quantity=quantity,
            order_type=OrderType.STOP,
            stop_price=mark,
        )
    elif rng.random() < 0.3:
        price = mark + int(rng.integers(-180, 180))
        order = desk.order(1, instrument=name, side=side, quantity=quantity, order_type=OrderType.LIMIT, price=price)
    else:
        order = desk.order(1, instrument=name, side=side, quantity=quantity)
    return gate, view, order


def compiled(gate, view, order):
    """``lots_with_room`` on the same account."""
    asked, counted, _ = gate.working.side_lots_with(order, 0)
    known = gate.running.coefficients([0], view.rates_micros)
    mark = view.marks[0]
    peak, day_start = gate._standing.peak_micros, gate._standing.day_start_micros
    return lots_with_room(
        room_of(gate.settings, gate.instruments[0], desk.CAPITAL, view.rates_micros[0]),
        0,
        int(order.side),
        asked,
        counted,
        view.positions[0],
        gate.working.buys[0],
        gate.working.sells[0],
        mark,
        max(abs(mark), abs(order.price or 0)),
        math.nan if known is None else known.matrix[0][0],
        math.nan if known is None else known.stressed[0],
        view.equity_micros,
        peak,
        day_start,
    )


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_compiled_checks_let_through_what_the_gate_does(seed):
    gate, view, order = case_of(seed)
    approved = gate.check(order, view).order
    assert compiled(gate, view, order) == (0 if approved is None else approved.quantity)


def test_every_size_limit_binds_somewhere_among_the_cases():
    """The property above would say nothing of a limit that no case meets."""
    reasons = Counter()
    for seed in range(6_000):
        gate, view, order = case_of(seed)
        verdict = gate.check(order, view)
        approved = 0 if verdict.order is None else verdict.order.quantity
        assert compiled(gate, view, order) == approved, seed
        reasons[verdict.reason or "passed"] += 1
        reasons["cut"] += 0 < approved < order.quantity
    wanted = (
        "passed cut order_quantity order_notional position_long position_short position_overall gross_exposure net_exposure "
        "concentration margin var_limit stressed_var_limit var_unknown drawdown daily_loss"
    )
    assert {name for name in wanted.split() if reasons[name] < 3} == set(), reasons
