"""Our own orders as rows beside the plain form: the same lives after every message, in whatever order reports come and come again."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.domain.errors import InvariantError
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.orders import ExecType, ExecutionReport, Order, OrderType, PriceReference, ReplaceOrder, Side
from grandmodel.execution.order_life import OrderLives
from plain_lives import PlainLives

NAMES = (InstrumentId("NQ"), InstrumentId("CL"), InstrumentId("ES"))
ENDS = (ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED)
OTHERS = (ExecType.NEW, ExecType.TRIGGERED, ExecType.REPLACED, ExecType.CANCEL_REJECTED, *ENDS)


class Both:
    """A venue that says anything of any order, to the rows and to the plain form alike."""

    def __init__(self, seed: int, names: tuple[InstrumentId, ...]) -> None:
        self.draw = random.Random(seed)
        self.lives, self.plain = OrderLives(names), PlainLives()
        self.names, self.orders, self.said = names, 0, []
        self.next_exec, self.batch, self.ts = 1, 0, 0

    def send(self) -> None:
        draw = self.draw
        self.orders += 1
        known = list(self.plain.open)
        kind = draw.choice((OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT))
        order = Order(
            order_id=OrderId(self.orders), instrument=draw.choice(NAMES), side=draw.choice(tuple(Side)), quantity=draw.randint(1, 9),
            order_type=kind, ts=self.ts, price=draw.randint(90, 110) if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
            stop_price=draw.randint(90, 110) if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
            parent=draw.choice(known) if known and draw.random() < 0.4 else None, oco_group=draw.choice((0, 0, 1, 2)),
            tag=draw.choice(("entry", "stop", "target", "own")),
        )  # fmt: skip
        reference = draw.choice((None, 100))
        for one in (self.lives, self.plain):
            one.add(order, reference, self.batch)
        if draw.random() < 0.05:
            for one in (self.lives, self.plain):
                one.take_back(order.order_id)

    def ask(self) -> None:
        """A cancel, a change, or one of them taken back."""
        draw = self.draw
        number = OrderId(draw.randint(1, self.orders + 1)) if self.orders else OrderId(1)
        kind = draw.random()
        if kind < 0.3:
            assert self.lives.ask_cancel(number) == self.plain.ask_cancel(number)
        elif kind < 0.8:
            price = draw.choice((None, draw.randint(90, 110)))
            change = ReplaceOrder(
                order_id=number, ts=self.ts, quantity=draw.randint(1, 9), price=price, stop_price=price
            )
            took = self.lives.ask_replace(change)
            assert took == self.plain.ask_replace(change)
            if took and draw.random() < 0.2:
                self.lives.take_back_change(number)
                self.plain.open[number].change = None
        elif number in self.plain.open:
            self.lives.withdraw(number)
            self.plain.open[number].withdrawn = True

    def report(self) -> None:
        """Something of an order, sometimes again, sometimes ahead of its turn."""
        draw = self.draw
        if self.said and draw.random() < 0.15:
            report = draw.choice(self.said)
        else:
            known = list(self.plain.open)
            if not known:
                return
            life = self.plain.open[draw.choice(known)]
            left = life.quantity - life.filled
            number = OrderId(draw.randint(1, self.orders + 1)) if draw.random() < 0.05 else life.order.order_id
            kind = ExecType.TRADE if draw.random() < 0.6 and left > 0 else draw.choice(OTHERS)
            lots = draw.randint(1, left) if kind is ExecType.TRADE else 0
            self.next_exec += draw.choice((0, 0, 0, 1, 3))
            exec_id, self.next_exec = self.next_exec, self.next_exec + 1
            if draw.random() < 0.2:
                exec_id = draw.randint(1, self.next_exec)
            arrives = draw.choice((PriceReference.NONE, PriceReference.QUOTE, PriceReference.MARK))
            report = ExecutionReport(
                exec_id=ExecId(exec_id), order_id=number, exec_type=kind, ts_event=self.ts - draw.randint(0, 3),
                ts_init=self.ts, last_quantity=lots, last_price=100, leaves=draw.choice((0, max(0, left - lots), left)),
                cumulative=life.filled + lots, arrival_reference=arrives,
                arrival_price=None if arrives is PriceReference.NONE else 99,
            )  # fmt: skip
            self.said.append(report)
        found, told = (answer(one, report) for one in (self.lives, self.plain))
        assert found == told

    def check(self) -> None:
        lives, plain = self.lives, self.plain
        assert {number: shown(one) for number, one in lives.open.items()} == {
            number: shown(one) for number, one in plain.open.items()
        }
        assert list(lives.open) == list(plain.open)
        assert (lives.ended, lives.repeated_reports) == (plain.ended, plain.repeated_reports)
        for name in NAMES:
            assert lives.most_open(name) == plain.most_open(name)
            expected = [life.order for life in plain.of(name)]
            assert lives.orders_of(name) == [one.order for one in lives.of(name)] == expected
        for number in (1, self.orders, self.orders + 1):
            known = plain.open.get(OrderId(number))
            assert lives.order(OrderId(number)) == (None if known is None else known.order)
            assert shown(lives.life(OrderId(number))) == shown(known)

    def save(self) -> None:
        """The rows go on in another that knew something else."""
        other = OrderLives(self.names)
        for number in range(self.draw.randint(0, 3)):
            other.add(
                Order(order_id=OrderId(900 + number), instrument=NAMES[0], side=Side.BUY, quantity=1, order_type=OrderType.MARKET, ts=0),
                None,
                0,
            )  # fmt: skip
        other.restore(self.lives.save())
        self.lives = other


def answer(lives: OrderLives | PlainLives, report: ExecutionReport) -> object:
    """What an order is after ``report``, or why that cannot be."""
    try:
        return shown(lives.apply(report))
    except InvariantError as error:
        return str(error)


def shown(life: object) -> object:
    """What can be seen of a life."""
    if life is None:
        return None
    names = (
        "order", "status", "quantity", "filled", "reference_price", "cancel_asked", "change", "leaves", "most_lots", "withdrawn",
    )  # fmt: skip
    seen = {name: getattr(life, name) for name in names}
    if seen["status"].is_final:
        seen["change"] = None  # Nothing is under way any more.
    return seen


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_lives_in_rows_are_those_in_objects(seed: int, are_named: bool) -> None:
    both = Both(seed, NAMES if are_named else ())
    for _ in range(90):
        both.ts += both.draw.randint(0, 2)
        both.batch += both.draw.random() < 0.5
        kind = both.draw.random()
        if kind < 0.35:
            both.send()
        elif kind < 0.5:
            both.ask()
        elif kind < 0.97:
            both.report()
        elif are_named:
            both.save()
        both.check()
