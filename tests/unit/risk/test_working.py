"""Working orders: what counts, how groups, children and changes count, and what ends them."""

import msgspec
import pytest

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import OrderId
from grandmodel.domain.orders import ExecType, ExecutionReport, Order, OrderType, Side, TimeInForce
from grandmodel.risk.gate import RiskGate
from grandmodel.risk.settings import RiskSettings
from grandmodel.risk.working import WorkingOrder, best_opposite, send, side_lots_with
from risk import desk


class Book:
    """The rows of one account of three instruments, asked the way the checks and the gate ask them."""

    def __init__(self) -> None:
        self.gate = RiskGate(RiskSettings(), desk.instruments(), desk.CAPITAL)
        self.working = self.gate.working

    def side_lots_with(self, order: Order, index: int) -> tuple[int, int, bool]:
        """(lots that ``order`` adds to its side, lots counted before, is a child)."""
        assert self.gate.put(0, order, index)
        return side_lots_with(self.gate.account.rows, 0, 0)

    def send(self, order: Order, index: int) -> None:
        self.gate.account.make_room(1)
        assert self.gate.put(0, order, index)
        send(self.gate.account.rows, 0, 0, order.quantity)

    def report(self, report: ExecutionReport) -> bool | None:
        return desk.hear(self.gate, report)

    def best_opposite(self, index: int, side: int) -> int | None:
        best = best_opposite(self.gate.account.rows.working, 0, self.working.count, index, side)
        return None if best == UNDEFINED_PRICE else best

    @property
    def orders(self) -> dict[int, WorkingOrder]:
        return self.working.orders


def _sent(*orders: Order) -> Book:
    book = Book()
    for order in orders:
        book.send(order, 0)
    return book


def _lots(book: Book) -> tuple[int, int]:
    return book.working.buys[0], book.working.sells[0]


def _trade(number: int, lots: int, leaves: int) -> ExecutionReport:
    return desk.report(number, ExecType.TRADE, last_quantity=lots, leaves=leaves)


def test_an_order_counts_in_full_from_the_moment_it_is_sent_until_it_ends() -> None:
    book = _sent(desk.order(1, quantity=5), desk.order(2, side=Side.SELL, quantity=3))
    assert _lots(book) == (5, 3)
    book.report(desk.report(1, ExecType.NEW))
    book.report(_trade(1, 2, 3))
    assert _lots(book) == (3, 3)
    book.report(_trade(1, 3, 0))
    assert _lots(book) == (0, 3)
    book.report(desk.report(2, ExecType.CANCELED))
    assert _lots(book) == (0, 0)
    assert book.orders == {}


@pytest.mark.parametrize("kind", [ExecType.CANCELED, ExecType.REJECTED, ExecType.EXPIRED])
def test_what_ends_an_order_frees_what_was_left(kind: ExecType) -> None:
    book = _sent(desk.order(1, quantity=5))
    book.report(_trade(1, 1, 4))
    book.report(desk.report(1, kind))
    assert _lots(book) == (0, 0)


def test_a_report_on_an_unknown_order_changes_nothing() -> None:
    book = _sent(desk.order(1, quantity=5))
    assert book.report(_trade(9, 1, 0)) is None
    assert _lots(book) == (5, 0)


def test_a_change_counts_as_the_larger_until_confirmed() -> None:
    book = _sent(desk.order(1, quantity=5))
    assert book.side_lots_with(desk.order(1, quantity=9), 0) == (4, 5, False)
    book.send(desk.order(1, quantity=9), 0)
    assert _lots(book) == (9, 0)
    book.report(desk.report(1, ExecType.CANCEL_REJECTED))
    assert _lots(book) == (5, 0)
    book.send(desk.order(1, quantity=2), 0)
    assert _lots(book) == (5, 0)
    book.report(desk.report(1, ExecType.REPLACED, leaves=2))
    assert _lots(book) == (2, 0)


def test_a_group_counts_as_its_largest_and_fills_reduce_all_of_it() -> None:
    stop = desk.order(1, side=Side.SELL, quantity=4, order_type=OrderType.STOP, stop_price=1, oco_group=7)
    target = desk.order(2, side=Side.SELL, quantity=4, order_type=OrderType.LIMIT, price=9, oco_group=7)
    book = _sent(stop, target)
    assert _lots(book) == (0, 4)
    assert book.side_lots_with(desk.order(3, side=Side.SELL, quantity=6, oco_group=7), 0) == (2, 4, False)
    book.report(_trade(2, 3, 1))
    assert _lots(book) == (0, 1)
    book.report(_trade(2, 1, 0))
    assert _lots(book) == (0, 0)
    book.report(desk.report(1, ExecType.CANCELED))
    assert book.orders == {}


def test_a_group_on_both_sides_counts_on_both() -> None:
    book = _sent(desk.order(1, quantity=4, oco_group=7), desk.order(2, side=Side.SELL, quantity=3, oco_group=7))
    assert _lots(book) == (4, 3)
    book.report(_trade(1, 2, 2))
    assert _lots(book) == (2, 1)


def _joined(book: Book, *orders: Order) -> None:
    """``orders`` are sent in a step of their own."""
    book.working.batch += 1
    for order in orders:
        book.send(order, 0)


def test_what_a_group_filled_before_an_order_joined_is_not_the_order_s_room() -> None:
    stop = desk.order(2, side=Side.SELL, quantity=5, order_type=OrderType.STOP, stop_price=1, oco_group=7)
    book = _sent(desk.order(1, quantity=3, oco_group=7), stop)
    book.report(_trade(1, 3, 0))
    assert _lots(book) == (0, 2)
    sell = desk.order(3, side=Side.SELL, quantity=10, oco_group=7)
    book.working.batch += 1
    assert book.side_lots_with(sell, 0) == (10, 0, False)
    _joined(book, sell)
    assert _lots(book) == (0, 12)  # the stop may have filled before the other came
    book.report(desk.report(3, ExecType.NEW))
    assert _lots(book) == (0, 10)
    book.report(_trade(2, 2, 0))
    assert _lots(book) == (0, 8)
    book.report(_trade(3, 8, 0))
    assert book.orders == {}


def test_a_fill_from_before_an_order_joined_takes_nothing_from_it() -> None:
    book = _sent(desk.order(1, side=Side.SELL, quantity=4, oco_group=7))
    book.report(desk.report(1, ExecType.NEW))
    _joined(book, desk.order(2, side=Side.SELL, quantity=4, oco_group=7))
    book.report(_trade(1, 3, 1))  # on its way since before
    assert _lots(book) == (0, 1 + 4)
    book.report(desk.report(2, ExecType.NEW))
    assert _lots(book) == (0, 4)
    late = desk.report(1, ExecType.TRADE, ts=desk.START + 1, last_quantity=1, leaves=0)
    book.report(late)
    assert _lots(book) == (0, 3)


def test_orders_of_one_step_take_from_each_other_whatever_the_stamps() -> None:
    book = _sent(desk.order(1, quantity=1, oco_group=7), desk.order(2, quantity=3, oco_group=7))
    assert _lots(book) == (3, 0)
    book.report(_trade(1, 1, 0))
    assert _lots(book) == (2, 0)
    book.report(_trade(2, 2, 0))
    assert book.orders == {}


def test_one_number_in_two_instruments_is_two_groups() -> None:
    book = Book()
    for number, index in ((1, 0), (2, 1)):
        book.send(desk.order(number, quantity=4, oco_group=7), index)
    book.report(_trade(1, 4, 0))
    assert book.working.buys == [0, 4, 0]


def test_a_group_used_again_after_its_orders_ended_starts_anew() -> None:
    book = _sent(desk.order(1, quantity=4, oco_group=7))
    book.report(_trade(1, 4, 0))
    assert book.side_lots_with(desk.order(2, quantity=4, oco_group=7), 0) == (4, 0, False)
    _joined(book, desk.order(2, quantity=4, oco_group=7))
    assert _lots(book) == (4, 0)


def test_a_change_on_its_way_of_an_order_that_fills_whole_ends_with_it() -> None:
    book = _sent(desk.order(1, quantity=5))
    book.send(desk.order(1, quantity=9), 0)
    book.report(_trade(1, 5, 0))
    assert (_lots(book), book.orders) == ((0, 0), {})


def test_a_child_with_nothing_open_ends_once_its_parent_has() -> None:
    book = _sent(desk.order(1, quantity=4))
    book.send(desk.order(2, side=Side.SELL, quantity=4, parent=OrderId(1), oco_group=-1), 0)
    book.report(_trade(1, 1, 3))
    book.report(desk.report(1, ExecType.CANCELED))
    assert _lots(book) == (0, 1)
    book.report(_trade(2, 1, 0))
    assert book.orders == {}


def test_a_child_changed_to_more_than_it_had_asks_for_room() -> None:
    """Shrunk to 1 of the 5 that its parent bought, it may not grow again unasked: the position may be gone."""
    book = _sent(desk.order(1, quantity=5))
    child = {"side": Side.SELL, "parent": OrderId(1), "oco_group": -1}
    book.send(desk.order(2, quantity=5, **child), 0)
    book.report(_trade(1, 5, 0))
    book.send(desk.order(2, quantity=1, **child), 0)
    book.report(desk.report(2, ExecType.REPLACED, leaves=1))
    assert _lots(book) == (0, 1)
    assert book.side_lots_with(desk.order(2, quantity=5, **child), 0) == (4, 1, False)
    assert book.side_lots_with(desk.order(2, quantity=9, **child), 0) == (
        4,
        1,
        False,
    )  # never more than the parent bought


def test_a_child_counts_only_as_far_as_its_parent_has_filled() -> None:
    parent = desk.order(1, quantity=4)
    child = desk.order(2, side=Side.SELL, quantity=4, order_type=OrderType.STOP, stop_price=1, parent=OrderId(1))
    book = _sent(parent)
    assert book.side_lots_with(child, 0) == (0, 0, True)
    book.send(child, 0)
    assert _lots(book) == (4, 0)
    book.report(_trade(1, 3, 1))
    assert _lots(book) == (1, 3)
    book.report(_trade(2, 3, 0))
    assert _lots(book) == (1, 0)
    assert 2 in book.orders  # its parent may fill more, and then it grows
    book.report(_trade(1, 1, 0))
    assert _lots(book) == (0, 1)
    book.report(_trade(2, 1, 0))
    assert _lots(book) == (0, 0)
    assert book.orders == {}


def test_a_child_of_an_unknown_parent_counts_like_any_order() -> None:
    child = desk.order(2, side=Side.SELL, quantity=4, order_type=OrderType.STOP, stop_price=1, parent=OrderId(99))
    book = _sent(child)
    assert _lots(book) == (0, 4)


def test_our_own_best_price_against_a_side() -> None:
    book = _sent(
        desk.order(1, side=Side.SELL, order_type=OrderType.LIMIT, price=110),
        desk.order(2, side=Side.SELL, order_type=OrderType.LIMIT, price=105),
        desk.order(3, side=Side.BUY, order_type=OrderType.LIMIT, price=90),
        desk.order(4, side=Side.SELL, order_type=OrderType.STOP, stop_price=80),
    )
    assert book.best_opposite(0, 1) == 105
    assert book.best_opposite(0, -1) == 90
    assert book.best_opposite(1, 1) is None


def test_what_a_market_to_limit_order_leaves_stands_at_the_price_of_its_first_fill() -> None:
    sent = desk.order(1, side=Side.SELL, quantity=5, order_type=OrderType.MARKET_TO_LIMIT)
    book = _sent(sent)
    assert book.best_opposite(0, 1) is None
    for price in (101, 102):
        fill = msgspec.structs.replace(_trade(1, 2, 3), last_price=price)
        book.report(fill)
        assert book.best_opposite(0, 1) == 101
    book.send(msgspec.structs.replace(sent, quantity=7), 0)  # A change names no price: it has none of its own.
    assert book.best_opposite(0, 1) == 101


def test_saved_orders_continue() -> None:
    book = _sent(
        desk.order(1, quantity=4),
        desk.order(
            2, side=Side.SELL, quantity=4, order_type=OrderType.STOP, stop_price=1, parent=OrderId(1), oco_group=5
        ),
        desk.order(3, side=Side.SELL, quantity=4, order_type=OrderType.LIMIT, price=9, parent=OrderId(1), oco_group=5),
    )
    book.report(_trade(1, 3, 1))
    assert book.working.ask_cancel(2, desk.START)
    copy = Book()
    copy.working.restore(book.working.save())
    for each in (book, copy):
        each.report(_trade(3, 2, 1))
        assert _lots(each) == (1, 1)
        assert each.orders[2].cancel_asked
    assert copy.working.save() == book.working.save()


def test_a_change_on_its_way_may_stand_at_either_price() -> None:
    resting = desk.order(1, side=Side.SELL, order_type=OrderType.LIMIT, price=110)
    book = _sent(resting)
    book.send(desk.order(1, side=Side.SELL, order_type=OrderType.LIMIT, price=104), 0)
    assert book.best_opposite(0, 1) == 104
    book.report(desk.report(1, ExecType.CANCEL_REJECTED))
    assert book.best_opposite(0, 1) == 110
    book.send(desk.order(1, side=Side.SELL, order_type=OrderType.LIMIT, price=120), 0)
    assert book.best_opposite(0, 1) == 110
    book.report(desk.report(1, ExecType.REPLACED, leaves=2))
    assert book.best_opposite(0, 1) == 120


def test_what_did_not_leave_after_all_counts_no_more() -> None:
    book = _sent(
        desk.order(1, quantity=5), desk.order(2, quantity=3, oco_group=7), desk.order(3, quantity=4, oco_group=7)
    )
    book.working.take_back(3)
    assert (_lots(book), list(book.orders)) == ((8, 0), [1, 2])
    book.send(desk.order(1, quantity=9), 0)
    book.working.take_back_change(1)
    assert (_lots(book), book.orders[1].changing) == ((8, 0), 0)


def test_a_cancel_is_asked_for_once_until_the_venue_refuses_it() -> None:
    book = _sent(desk.order(1, quantity=5))
    assert book.working.ask_cancel(1, desk.START)
    assert not book.working.ask_cancel(1, desk.START)
    assert not book.working.ask_cancel(9, desk.START)
    book.working.take_back_cancel(1)
    assert book.working.ask_cancel(1, desk.START)
    book.report(desk.report(1, ExecType.CANCEL_REJECTED))
    assert _lots(book) == (5, 0)
    assert book.working.ask_cancel(1, desk.START)


def test_rows_grow_with_what_is_open_and_keep_their_order() -> None:
    book = Book()
    for number in range(1, 301):
        book.send(desk.order(number, quantity=1, oco_group=number % 2), 0)
    assert list(book.orders) == list(range(1, 301))
    assert _lots(book) == (150 + 1, 0)  # half of them are one group
    for number in range(2, 301, 3):
        book.report(desk.report(number, ExecType.CANCELED))
    assert list(book.orders) == [number for number in range(1, 301) if number % 3 != 2]
    assert _lots(book) == (100 + 1, 0)


def test_a_carried_order_is_as_young_as_its_arrival() -> None:
    later = desk.START + 10**9
    book = _sent(desk.order(1), desk.order(2, effective_ts=later))
    assert [order.ts for order in book.working.each()] == [desk.START, later]


def test_tags_keep_their_numbers() -> None:
    book = _sent(desk.order(1, tag="stop"), desk.order(2, tag="of my own"), desk.order(3, tag="of my own"))
    tags = [book.working.tag_of(order.tag) for order in book.working.each()]
    assert tags == ["stop", "of my own", "of my own"]
    copy = Book()
    copy.working.restore(book.working.save())
    assert copy.working.tag_number("of my own") == book.orders[2].tag


def test_a_report_tells_that_what_joined_groups_of_other_instruments_is_there_too() -> None:
    book = Book()
    for number, index, quantity, group in ((1, 1, 5, 7), (2, 2, 4, 7), (3, 2, 6, 0)):
        book.send(desk.order(number, quantity=quantity, oco_group=group), index)
    book.report(desk.report(1, ExecType.NEW))
    book.working.batch += 1
    for number, index, quantity, group in ((4, 1, 3, 7), (5, 2, 9, 7), (6, 0, 1, 0)):
        book.send(desk.order(number, quantity=quantity, oco_group=group), index)
    assert book.working.buys == [1, 5 + 3, 4 + 9 + 6]
    book.report(desk.report(6, ExecType.CANCEL_REJECTED))
    assert book.working.buys == [1, 5 + 3, 4 + 9 + 6]
    book.report(desk.report(6, ExecType.NEW))
    assert book.working.buys == [1, 5, 9 + 6]


def test_one_report_may_tell_of_several_steps_at_once() -> None:
    book = Book()
    for number, index, quantity, group in ((1, 1, 5, 7), (2, 1, 3, 7), (3, 0, 1, 0)):
        book.working.batch += 1
        book.send(desk.order(number, quantity=quantity, oco_group=group), index)
    assert book.working.buys == [1, 5 + 3, 0]
    book.report(desk.report(3, ExecType.NEW))
    assert book.working.buys == [1, 5, 0]


def test_orders_and_changes_are_numbered_and_known_while_they_are_open() -> None:
    book = Book()
    assert (book.working.count, book.working.sequence, book.working.batch) == (0, 0, 0)
    book.send(desk.order(4, quantity=5), 1)
    book.working.batch += 1
    book.send(desk.order(6, quantity=1), 2)
    book.send(desk.order(4, quantity=7), 1)
    assert (book.working.count, book.working.sequence, book.working.batch) == (2, 3, 1)
    first, second = book.working.each()
    assert (first.order_id, first.instrument, first.sequence, first.batch, first.pending) == (4, 1, 1, 0, 7)
    assert (second.order_id, second.instrument, second.sequence, second.batch, second.pending) == (6, 2, 2, 1, 1)
    assert [book.working.knows(number) for number in (3, 4, 5, 6, 7)] == [False, True, False, True, False]
    assert (book.working.buys, book.working.sells) == ([0, 7, 1], [0, 0, 0])
    assert book.report(desk.report(4, ExecType.CANCELED)) is True
    assert book.report(desk.report(6, ExecType.NEW)) is False
    assert [book.working.knows(number) for number in (4, 6)] == [False, True]
    assert (book.working.count, book.working.sequence) == (1, 3)


def test_an_order_lies_in_its_row_as_it_was_sent() -> None:
    book = _sent(desk.order(1, quantity=4))
    sent = desk.order(
        2, side=Side.SELL, quantity=3, order_type=OrderType.STOP_LIMIT, price=90, stop_price=95, display_quantity=2, parent=OrderId(1),
        oco_group=8, reduce_only=True, tag="stop", time_in_force=TimeInForce.GTD, expire_ts=desk.START + 5, ts=desk.START + 1,
    )  # fmt: skip
    book.send(sent, 2)
    row = book.orders[2]
    expected = {
        "order_id": 2, "instrument": 2, "side": -1, "quantity": 3, "pending": 3, "order_type": OrderType.STOP_LIMIT,
        "time_in_force": TimeInForce.GTD, "expire_ts": desk.START + 5, "price": 90, "stop_price": 95, "trail_ticks": 0,
        "display_quantity": 2, "new_price": 90, "new_stop": 95, "named_parent": 1, "parent": 1, "group": 8, "reduce_only": 1,
        "tag": book.working.tag_number("stop"), "sequence": 2, "ts": desk.START + 1, "batch": 0, "filled": 0, "reduced": 0, "woken": 0,
        "cancel_asked": 0, "changing": 0, "coming": 0,
    }  # fmt: skip
    assert {name: getattr(row, name) for name in row.__struct_fields__} == expected
    book.report(_trade(1, 1, 3))
    late = msgspec.structs.replace(sent, order_id=OrderId(3))
    book.send(late, 2)  # Its parent has begun to fill: it is no child of it any more.
    assert (book.orders[3].named_parent, book.orders[3].parent, book.orders[2].woken) == (1, 0, 1)


@pytest.mark.parametrize("answer", [ExecType.REPLACED, ExecType.CANCEL_REJECTED, None])
def test_a_change_takes_its_prices_when_the_venue_says_so(answer: ExecType | None) -> None:
    resting = desk.order(1, quantity=5, order_type=OrderType.STOP_LIMIT, price=100, stop_price=95)
    book = _sent(resting)
    book.send(msgspec.structs.replace(resting, quantity=3, price=101), 0)
    known = book.orders[1]
    assert (known.quantity, known.pending, known.changing) == (5, 3, 1)
    assert (known.price, known.new_price, known.stop_price, known.new_stop) == (100, 101, 95, 95)
    book.report(_trade(1, 1, 4))
    if answer is None:
        book.working.take_back_change(1)
    else:
        book.report(desk.report(1, answer, leaves=2))
    known = book.orders[1]
    taken = answer is ExecType.REPLACED
    assert (known.quantity, known.pending, known.changing, known.filled) == (3 if taken else 5, 3 if taken else 5, 0, 1)
    assert (known.price, known.new_price) == ((101, 101) if taken else (100, 100))
    assert (known.stop_price, known.new_stop) == (95, 95)
    assert _lots(book) == ((2 if taken else 4), 0)
    book.send(msgspec.structs.replace(resting, quantity=3, stop_price=97), 0)
    assert (book.orders[1].new_price, book.orders[1].stop_price, book.orders[1].new_stop) == (100, 95, 97)


def test_what_is_taken_back_is_recounted_in_its_own_instrument() -> None:
    book = Book()
    for number, index in ((1, 0), (2, 2), (3, 2), (4, 1)):
        book.send(desk.order(number, quantity=number), index)
    book.working.take_back(2)
    assert (book.working.buys, list(book.orders)) == ([1, 4, 3], [1, 3, 4])
    book.send(desk.order(3, quantity=9), 2)
    assert book.working.buys == [1, 4, 9]
    book.working.take_back_change(3)
    assert book.working.buys == [1, 4, 3]
    assert book.working.ask_cancel(4, desk.START)
    book.working.take_back_cancel(4)
    assert not book.orders[4].cancel_asked
    book.working.take_back_cancel(77)
    assert [order.cancel_asked for order in book.working.each()] == [0, 0, 0]
