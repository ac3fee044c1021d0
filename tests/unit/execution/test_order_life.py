"""Our own orders as folded from the venue's reports."""

import msgspec
import numpy as np
import pytest

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.errors import InvariantError
from grandmodel.domain.ids import ExecId, OrderId
from grandmodel.domain.orders import ExecType, ExecutionReport, OrderType, OrdStatus, PriceReference, ReplaceOrder, Side
from grandmodel.domain.report_rows import HEARD, REPORT, report_row
from grandmodel.execution.order_life import OrderLives, _fold_at
from grandmodel.kernels import table_of
from venue_scripts import order


def opened(*numbers, quantity=10):
    lives = OrderLives()
    for number in numbers:
        lives.add(order(number, Side.BUY, quantity, OrderType.LIMIT, 100, stop=None), 101, 0)
    return lives


def report(exec_id, number, kind, lots=0, leaves=1, cumulative=0, ts=0):
    return ExecutionReport(
        exec_id=ExecId(exec_id), order_id=OrderId(number), exec_type=kind, ts_event=ts, ts_init=ts, last_quantity=lots,
        leaves=leaves, cumulative=cumulative,
    )  # fmt: skip


def test_an_order_s_life_in_fix_states():
    lives = opened(1)
    life = lives.open[OrderId(1)]
    seen = [(life.status, life.leaves)]
    for kind, lots, leaves in (
        (ExecType.NEW, 0, 10), (ExecType.TRADE, 4, 6), (ExecType.TRIGGERED, 0, 6), (ExecType.TRADE, 6, 0),
    ):  # fmt: skip
        life = lives.apply(report(len(seen), 1, kind, lots, leaves))
        seen.append((life.status, life.leaves))
    assert seen == [
        (OrdStatus.PENDING_NEW, 10),
        (OrdStatus.NEW, 10),
        (OrdStatus.PARTIALLY_FILLED, 6),
        (OrdStatus.PARTIALLY_FILLED, 6),
        (OrdStatus.FILLED, 0),
    ]
    assert (list(lives.open), lives.ended) == ([], 1)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ExecType.CANCELED, OrdStatus.CANCELED),
        (ExecType.REJECTED, OrdStatus.REJECTED),
        (ExecType.EXPIRED, OrdStatus.EXPIRED),
    ],
)
def test_an_order_that_ends_is_no_longer_open(kind, status):
    lives = opened(1, 2)
    assert lives.apply(report(1, 1, kind)).status is status
    assert list(lives.open) == [2]


def test_a_report_that_comes_twice_counts_once():
    lives = opened(1)
    for exec_id in (3, 1, 3, 2, 1, 2, 3):
        lives.apply(report(exec_id, 1, ExecType.TRADE, 1))
    assert lives.open[OrderId(1)].filled == 3
    assert lives.repeated_reports == 4


@pytest.mark.parametrize(("lots", "message"), [(11, "11 lots filled of 10"), (0, "last fill 0"), (-1, "last fill -1")])
def test_a_fill_that_cannot_be_is_refused(lots, message):
    with pytest.raises(InvariantError, match=message):
        opened(1).apply(report(1, 1, ExecType.TRADE, lots))


def test_a_report_on_an_order_never_sent_is_refused_and_a_late_cancel_s_answer_is_not():
    with pytest.raises(InvariantError, match="order 5"):
        opened(1).apply(report(1, 5, ExecType.NEW))
    assert opened(1).apply(report(1, 5, ExecType.CANCEL_REJECTED)) is None


def test_a_cancel_is_asked_once_until_it_is_refused():
    lives = opened(1)
    assert [lives.ask_cancel(OrderId(1)), lives.ask_cancel(OrderId(1)), lives.ask_cancel(OrderId(2))] == [
        True,
        False,
        False,
    ]
    lives.apply(report(1, 1, ExecType.CANCEL_REJECTED))
    assert lives.ask_cancel(OrderId(1))


def test_a_confirmed_change_gives_the_order_its_new_terms():
    lives = opened(1)
    lives.apply(report(1, 1, ExecType.TRADE, 4))
    change = ReplaceOrder(order_id=OrderId(1), ts=0, quantity=6, price=99)
    assert lives.ask_replace(change)
    assert not lives.ask_replace(change)  # one at a time
    assert lives.open[OrderId(1)].order.price == 100
    life = lives.apply(report(2, 1, ExecType.REPLACED, leaves=2, cumulative=4))
    assert (life.order.price, life.order.quantity, life.quantity, life.leaves) == (99, 6, 6, 2)
    assert lives.ask_replace(change)


def test_an_order_that_is_being_cancelled_is_not_changed():
    lives = opened(1)
    lives.ask_cancel(OrderId(1))
    assert not lives.ask_replace(ReplaceOrder(order_id=OrderId(1), ts=0, quantity=6))
    assert not lives.ask_replace(ReplaceOrder(order_id=OrderId(9), ts=0, quantity=6))


def grouped(*orders, batch=0):
    """Orders (number, side, quantity) of one group, sent in one step."""
    lives = OrderLives()
    for number, side, quantity in orders:
        lives.add(order(number, side, quantity, OrderType.MARKET, None, stop=None, oco_group=7), 101, batch)
    return lives


def test_an_order_that_its_group_left_nothing_ends_with_its_last_fill():
    lives = grouped((1, Side.BUY, 1), (2, Side.BUY, 3))
    lives.apply(report(1, 1, ExecType.TRADE, 1, 0))
    assert [(life.order.order_id, life.leaves) for life in lives.open.values()] == [(2, 2)]
    life = lives.apply(report(2, 2, ExecType.TRADE, 2, 0))
    assert (life.status, life.filled, life.leaves) == (OrdStatus.FILLED, 2, 0)
    assert (list(lives.open), lives.ended) == ([], 2)


def test_a_member_that_joined_later_keeps_its_lots_for_fills_from_before_it_joined():
    lives = grouped((1, Side.BUY, 3))
    lives.apply(report(1, 1, ExecType.NEW))
    later = order(2, Side.BUY, 3, OrderType.MARKET, None, stop=None, oco_group=7)
    lives.add(later, 101, 1)
    assert lives.most_open(later.instrument) == (6, 0)  # the first may have filled before the second came
    lives.apply(report(2, 1, ExecType.TRADE, 1, 2))  # it had
    assert (lives.open[OrderId(2)].leaves, lives.most_open(later.instrument)) == (3, (5, 0))
    lives.apply(report(3, 2, ExecType.NEW))
    assert lives.most_open(later.instrument) == (3, 0)
    lives.apply(report(4, 1, ExecType.TRADE, 1, 1))
    assert (lives.open[OrderId(2)].leaves, lives.most_open(later.instrument)) == (2, (2, 0))


def bracketed(*levels):
    """A buy of 3 and a sell for each of ``levels`` that waits for it."""
    lives = OrderLives()
    lives.add(order(1, Side.BUY, 3, OrderType.MARKET, None, stop=None), 101, 0)
    for number, level in enumerate(levels, start=2):
        exits = {"parent": OrderId(1), "oco_group": -1}
        lives.add(order(number, Side.SELL, 3, OrderType.LIMIT, level, stop=None, **exits), 101, 0)
    return lives


def test_a_child_with_nothing_open_waits_for_its_parent_and_ends_with_it():
    lives = bracketed(105)
    lives.apply(report(1, 1, ExecType.TRADE, 1, 2))
    assert lives.life(OrderId(2)).most_lots == 1
    child = lives.apply(report(2, 2, ExecType.TRADE, 1, 0))
    assert (child.status, child.most_lots) == (OrdStatus.PARTIALLY_FILLED, 0)
    lives.apply(report(3, 1, ExecType.TRADE, 1, 1))
    assert lives.life(OrderId(2)).most_lots == 1
    lives.apply(report(4, 1, ExecType.CANCELED))
    assert lives.apply(report(5, 2, ExecType.TRADE, 1, 0)).status is OrdStatus.FILLED
    assert not lives.open


def test_open_orders_are_listed_oldest_first():
    lives = opened(1, 2, 3)
    lives.apply(report(1, 2, ExecType.CANCELED))
    assert [life.order.order_id for life in lives.of(lives.open[OrderId(1)].order.instrument)] == [1, 3]
    assert list(lives.of("CL")) == []


def heard_of(lives, said):
    """What compiled code notes of one report, by name."""
    reports, heard = np.array([report_row(said)], REPORT), np.zeros(1, HEARD)
    _fold_at(lives.handle, table_of((reports, heard)))
    return dict(zip(HEARD.names, heard[0].tolist(), strict=True))


def test_what_a_fill_s_slippage_is_measured_from_and_its_order_s_tag():
    lives = OrderLives()
    met = {"arrival_price": 103, "arrival_reference": PriceReference.QUOTE}
    kinds = (
        (OrderType.MARKET, None, None, "entry", (103, "quote")),
        (OrderType.LIMIT, 100, None, "target", (100, "limit")),
        (OrderType.STOP, None, 95, "stop", (95, "trigger")),
        (OrderType.STOP_LIMIT, 94, 95, "stop", (95, "trigger")),
    )
    for number, (kind, price, stop, tag, _) in enumerate(kinds, start=1):
        lives.add(order(number, Side.BUY, 3, kind, price, stop=stop, tag=tag), 101 if number > 1 else None, 0)
    for number, (*_, tag, (price, reference)) in enumerate(kinds, start=1):
        heard = heard_of(lives, msgspec.structs.replace(report(number, number, ExecType.TRADE, 1, 2), **met))
        assert (heard["slippage_from"], list(PriceReference)[heard["slippage_kind"]]) == (price, reference)
        assert lives.tags[heard["tag"]] == tag
        assert (heard["reference"], heard["side"], heard["filled"]) == (101 if number > 1 else UNDEFINED_PRICE, 1, 1)
    heard = heard_of(lives, report(9, 1, ExecType.TRADE, 1, 1))
    assert (heard["slippage_from"], heard["slippage_kind"]) == (UNDEFINED_PRICE, 0)
    assert lives.tags == ["entry", "target", "stop"]


def test_there_is_room_for_however_many_orders_and_reports_out_of_turn():
    lives = opened(*range(1, 201))
    for exec_id in range(400, 2, -2):
        lives.apply(report(exec_id, 7, ExecType.NEW))
    assert lives.apply(report(300, 7, ExecType.NEW)) is None
    other = OrderLives()
    other.restore(lives.save())
    for one in (lives, other):
        assert [life.order.order_id for life in one.open.values()] == list(range(1, 201))
        assert one.apply(report(298, 7, ExecType.NEW)) is None
        assert one.apply(report(299, 7, ExecType.CANCELED)).status is OrdStatus.CANCELED
        assert len(one.open) == 199


def test_reports_beyond_the_next_are_known_one_by_one():
    lives = opened(1)
    for exec_id in (5, 1, 5, 2, 5, 4, 3, 4, 6):
        lives.apply(report(exec_id, 1, ExecType.TRADE, 1))
    assert (lives.open[OrderId(1)].filled, lives.repeated_reports) == (6, 3)


def test_there_is_room_for_many_reports_out_of_turn_of_one_order():
    lives = opened(1)
    for exec_id in range(402, 2, -2):
        lives.apply(report(exec_id, 1, ExecType.NEW))
    other = OrderLives()
    other.restore(lives.save())
    for one in (lives, other):
        assert one.apply(report(202, 1, ExecType.NEW)) is None
        assert one.repeated_reports == 1


def test_what_compiled_code_ended_is_let_go():
    lives = OrderLives()
    for number in range(1, 301):
        lives.add(order(number, Side.BUY, 1, OrderType.LIMIT, 100, stop=None), None, 0)
        lives.ask_replace(ReplaceOrder(order_id=OrderId(number), ts=0, quantity=2))
        heard_of(lives, report(number, number, ExecType.CANCELED))
        assert lives.orders_of(order(1, Side.BUY, 1).instrument) == []
        assert max(len(lives._orders), len(lives._changes)) <= 66
    rows, _, _, orders, changes, _ = lives.save()
    assert (rows, orders, changes) == (b"", [], [])
