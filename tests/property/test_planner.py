"""The order planner's kernels beside its plain form, on accounts in every state: what is asked, in which order, and what is out then."""

import random
from functools import cache

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.account.planner import Target, position_coming, pursue_target_at
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import ExecType, Order, OrderType, Side, TimeInForce
from grandmodel.risk.rows import ASKED
from grandmodel.risk.settings import FlowLimits, InstrumentLimits, RiskSettings
from plain_planner import PlainPlanner
from risk import desk, fuzz_gate
from risk.desk import DeskGate

STEP_NS = 10**6
ENDS = (ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED)
TAGS = ("", "entry", "exit", "stop", "target", "of my own")


@cache
def warm() -> bytes:
    return desk.gate().running.save()


def limits(draw: random.Random) -> RiskSettings:
    """The usual limits, ones that let any order pass, or tight ones of every size."""
    kind = draw.randrange(4)
    if kind == 0:
        return RiskSettings()
    if kind == 1:
        return fuzz_gate.settings(np.random.default_rng(draw.getrandbits(32)))
    wide = InstrumentLimits(away_fraction=draw.choice((0.001, 0.9)))
    return RiskSettings(limits=wide, flow=FlowLimits(max_orders=10**6, max_messages=10**6, duplicate_window_ns=0))


class Twins:
    """Two gates that are told the same: the kernels plan on one, the plain form on the other."""

    def __init__(self, seed: int) -> None:
        self.draw = draw = random.Random(seed)
        chosen = limits(draw)
        self.gates = [DeskGate(chosen, desk.instruments(), desk.CAPITAL) for _ in range(2)]
        for gate in self.gates:
            gate.running.restore(warm())
        self.view = desk.view()
        self.last_order = 0
        self.look()

    @property
    def fast(self) -> DeskGate:
        return self.gates[0]

    def look(self) -> None:
        """Time goes on, and prices, quotes and positions are other ones."""
        draw, view = self.draw, self.view
        view.ts += draw.choice((0, STEP_NS, 10**9))
        for j, usual in enumerate(desk.MARKS):
            mark = usual + draw.randint(-20, 20)
            view.marks[j] = UNDEFINED_PRICE if draw.random() < 0.05 else mark
            view.best_bids[j] = mark - draw.randint(0, 3) if draw.random() < 0.7 else UNDEFINED_PRICE
            view.best_asks[j] = mark + draw.randint(0, 3) if draw.random() < 0.7 else UNDEFINED_PRICE
            view.positions[j] = draw.choice((0, 1, -1, draw.randint(-9, 9)))

    def send(self) -> None:
        """An order of somebody's own is sent, whatever it is: nothing of the plan rests on its having been let through."""
        draw, known = self.draw, list(self.fast.working.orders.values())
        self.last_order += 1
        order_type = draw.choice((OrderType.MARKET,) * 4 + tuple(OrderType))
        j = draw.choice((0, 0, 0, 1))
        parent = draw.choice(known).order_id if known and draw.random() < 0.2 else None
        level = desk.MARKS[j] + draw.randint(-50, 50)
        order = Order(
            order_id=OrderId(self.last_order),
            instrument=InstrumentId(desk.NAMES[j]),
            side=draw.choice(tuple(Side)),
            quantity=draw.randint(1, 6),
            order_type=order_type,
            time_in_force=draw.choice((TimeInForce.DAY, TimeInForce.GTC, TimeInForce.GTD)),
            ts=self.view.ts,
            expire_ts=self.view.ts + 10**12,
            price=level if order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED) else None,
            stop_price=level if order_type not in NO_TRIGGER else None,
            trail_ticks=7 if order_type is OrderType.TRAILING_STOP else 0,
            display_quantity=draw.choice((0, 0, 1)) if order_type is OrderType.LIMIT else 0,
            parent=OrderId(parent) if parent else None,
            oco_group=draw.choice((0, 0, 0, 5, 6)),
            reduce_only=draw.random() < 0.2,
            tag=draw.choice(TAGS),
        )
        for gate in self.gates:
            gate.on_order(order)

    def hear(self) -> None:
        """The venue says something of an open order."""
        draw, known = self.draw, list(self.fast.working.each())
        if not known:
            return
        order = draw.choice(known)
        left = max(order.quantity, order.pending) - order.filled - order.reduced
        kind = draw.choice((ExecType.TRADE,) * 4 + (ExecType.NEW, ExecType.REPLACED, ExecType.CANCEL_REJECTED, *ENDS))
        lots = draw.randint(1, max(1, left)) if kind is ExecType.TRADE else 0
        told = desk.report(
            order.order_id,
            kind,
            ts=self.view.ts,
            last_quantity=lots,
            last_price=desk.MARKS[0],
            leaves=max(0, left - lots),
        )
        for gate in self.gates:
            desk.hear(gate, told)

    def change(self) -> None:
        """A cancel, or a change of quantity, is asked for."""
        draw, known = self.draw, list(self.fast.working.each())
        if not known:
            return
        order = draw.choice(known)
        if draw.random() < 0.5:
            for gate in self.gates:
                gate.working.ask_cancel(order.order_id, self.view.ts)
            return
        changed = desk.order(
            order.order_id, side=Side(order.side), quantity=draw.randint(1, 6), instrument=InstrumentId(desk.NAMES[order.instrument]),
            ts=self.view.ts,
        )  # fmt: skip
        for gate in self.gates:
            gate.on_order(changed)

    def end_step(self) -> None:
        for gate in self.gates:
            gate.working.batch += 1

    def wish(self) -> list[dict]:
        """A wish goes to both; what was asked for it, once both have said the same."""
        draw, gate = self.draw, self.fast
        given = Target(
            instrument=draw.choice((0, 0, 0, 1)),
            lots=draw.choice((0, 1, -1, draw.randint(-8, 8))),
            passive=draw.random() < 0.4,
            stop_ticks=draw.choice((0, 0, 20, 100)),
            target_ticks=draw.choice((0, 0, 30, 120)),
            effective_ts=draw.choice((0, 0, self.view.ts + 10**12)),
            in_bad_stretch=draw.random() < 0.1,
        )
        plain = PlainPlanner(self.gates[1], self.view)
        gate.see(self.view)
        assert position_coming(gate.account.rows, 0, given.instrument) == plain.coming(given.instrument)
        gate.account.make_room(6)
        count, last = pursue_target_at(gate.account.handle, 0, *given, self.last_order)
        found = [dict(zip(ASKED.names or (), row, strict=True)) for row in gate.account.asked[0][:count].tolist()]
        expected, self.last_order = plain.pursue(given, self.last_order)
        assert [{name: row[name] for name in other} for row, other in zip(found, expected, strict=True)] == expected
        assert last == self.last_order
        return found

    def check_same(self) -> None:
        """Both gates have the same orders out, and have counted the same."""
        fast, plain = ([without_coming(one) for one in gate.working.each()] for gate in self.gates)
        assert fast == plain
        assert self.gates[0].flow.save() == self.gates[1].flow.save()
        for name in ("buys", "sells", "sequence", "batch"):
            assert getattr(self.gates[0].working, name) == getattr(self.gates[1].working, name)


NO_TRIGGER = (OrderType.MARKET, OrderType.LIMIT, OrderType.MARKET_TO_LIMIT, OrderType.TRAILING_STOP)


def without_coming(order: msgspec.Struct) -> msgspec.Struct:
    return msgspec.structs.replace(order, coming=0)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32 - 1))
def test_a_wish_is_planned_as_the_plain_form_plans_it(seed: int) -> None:
    twins = Twins(seed)
    steps = (twins.send, twins.send, twins.hear, twins.hear, twins.change, twins.end_step, twins.look)
    for _ in range(4):
        for _ in range(twins.draw.randint(0, 6)):
            twins.draw.choice(steps)()
        twins.wish()
        twins.check_same()
