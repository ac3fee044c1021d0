"""What the loopback venue makes of each order type, against the marks that it is told."""

from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import Order, OrderType, Side
from grandmodel.execution.brokers.requests import Request
from loopback_venue import VenueBook


def told(mark_before, mark_after, **terms):
    """(kind, price) of every report on one order: asked for at one mark, shown another by the next order."""
    book = VenueBook()
    for number, mark in ((1, mark_before), (2, mark_after)):
        asked = {"order_type": OrderType.LIMIT, "price": 1} | (terms if number == 1 else {})
        order = Order(
            order_id=OrderId(number), instrument=InstrumentId("NQ"), side=Side.BUY, quantity=2, ts=number,
            **{name: value for name, value in asked.items() if value is not None},
        )  # fmt: skip
        book.apply(Request(request_id=f"run-{number}", client_order_id=f"run-{number}", order=order, mark=mark))
    return [(one.exec_type.value, one.last_price) for one in book.reports if one.order_id == 1]


def test_an_if_touched_order_waits_for_the_mark_to_come_down_and_a_stop_for_it_to_rise():
    touched = {"order_type": OrderType.MARKET_IF_TOUCHED, "stop_price": 95, "price": None}
    assert told(100, 96, **touched) == [("0", 0)]
    assert told(100, 94, **touched) == [("0", 0), ("F", 94), ("F", 94)]
    stop = {"order_type": OrderType.STOP, "stop_price": 105, "price": None}
    assert told(100, 104, **stop) == [("0", 0)]
    assert told(100, 106, **stop) == [("0", 0), ("F", 106), ("F", 106)]


def test_a_market_to_limit_order_takes_the_mark_and_is_refused_without_one():
    to_limit = {"order_type": OrderType.MARKET_TO_LIMIT, "price": None}
    assert told(100, 101, **to_limit) == [("0", 0), ("F", 100), ("F", 100)]
    assert told(None, 101, **to_limit) == [("8", 0)]


def test_a_trailing_stop_is_refused():
    assert told(100, 94, order_type=OrderType.TRAILING_STOP, trail_ticks=3, price=None) == [("8", 0)]
