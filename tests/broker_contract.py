"""What every way to a venue must keep to (``runtime.recovery.Broker``); each broker's own tests call it.

``connect(run)`` gives a broker of that run, every time to the same venue, which has heard of none of the runs used here. The venue fills a
market order of one lot at the mark that came with it, in one report or in several.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from grandmodel.domain.ids import ExecId, InstrumentId, OrderId, RunId
from grandmodel.domain.orders import CancelOrder, ExecType, Order, OrderType, Reason, Side
from grandmodel.execution.brokers.errors import BrokerUnavailableError
from grandmodel.execution.brokers.requests import Request, request_id
from grandmodel.runtime.recovery import Broker

RUN, OTHER = RunId("contract"), RunId("another")


def market_order(number: int, run: RunId = RUN) -> Request:
    """Order ``number``, one lot at the market."""
    made = Order(
        order_id=OrderId(number), instrument=InstrumentId("NQ"), side=Side.BUY, quantity=1, order_type=OrderType.MARKET, ts=number
    )  # fmt: skip
    name = request_id(run, made.order_id, 0)
    return Request(request_id=name, client_order_id=name, order=made, mark=100)


def cancel(number: int) -> Request:
    """A cancel of order ``number``."""
    return Request(
        request_id=request_id(RUN, OrderId(number), 1), client_order_id=request_id(RUN, OrderId(number), 0), mark=100,
        cancel=CancelOrder(order_id=OrderId(number), ts=50),
    )  # fmt: skip


def check_broker(connect: Callable[[RunId], Broker]) -> None:
    """Ids are taken once, reports come once and in order, and a line that is made anew or is another run's changes nothing of it."""
    broker = connect(RUN)
    assert broker.known_requests() == frozenset()
    assert list(broker.reports_since(ExecId(0))) == []
    for number in (1, 2, 3):
        broker.send(market_order(number))
    reports = list(broker.reports_since(ExecId(0)))
    ids = {request_id(RUN, OrderId(number), 0) for number in (1, 2, 3)}
    assert broker.known_requests() == ids

    broker.send(market_order(2))
    broker.send(market_order(1))
    assert broker.known_requests() == ids
    assert list(broker.reports_since(ExecId(0))) == reports

    numbers = [report.exec_id for report in reports]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 0
    for number in numbers:
        assert [one.exec_id for one in broker.reports_since(ExecId(number))] == [n for n in numbers if n > number]
    for number in (1, 2, 3):
        mine = [report for report in reports if report.order_id == number]
        assert [one.exec_type for one in mine if one.exec_type is not ExecType.NEW] == [ExecType.TRADE]
        assert (mine[-1].last_quantity, mine[-1].last_price, mine[-1].leaves, mine[-1].cumulative) == (1, 100, 0, 1)
        assert all(0 < one.ts_event <= one.ts_init for one in mine)

    broker.send(cancel(1))
    broker.send(cancel(9))
    late, unknown = broker.reports_since(ExecId(numbers[-1]))
    assert (late.exec_type, late.reason, late.order_id) == (ExecType.CANCEL_REJECTED, Reason.TOO_LATE, 1)
    assert (unknown.exec_type, unknown.reason, unknown.order_id) == (ExecType.CANCEL_REJECTED, Reason.UNKNOWN_ORDER, 9)

    again = connect(RUN)
    assert again.known_requests() == broker.known_requests()
    assert list(again.reports_since(ExecId(0))) == [*reports, late, unknown]
    other = connect(OTHER)
    assert other.known_requests() == frozenset()
    assert list(other.reports_since(ExecId(0))) == []
    other.send(market_order(1, OTHER))
    assert list(broker.reports_since(ExecId(0))) == [*reports, late, unknown]


def check_out_of_reach(broker: Broker) -> None:
    """``broker``'s venue cannot be reached: every call says so, by an error that lets one ask again."""
    for call in (broker.known_requests, lambda: broker.reports_since(ExecId(0)), lambda: broker.send(market_order(1))):
        with pytest.raises(BrokerUnavailableError):
            call()
