"""The loopback venue and its broker: ids taken once, faults, a venue that starts again, and its rules for filling."""

import socket
import subprocess
import sys

import pytest

import broker_contract
import loopback_venue
from grandmodel.domain.ids import InstrumentId, OrderId, RunId
from grandmodel.domain.orders import (
    CancelOrder,
    ExecType,
    Order,
    OrderType,
    Reason,
    ReplaceOrder,
    Side,
    TimeInForce,
)
from grandmodel.execution.brokers.errors import BrokerUnavailableError
from grandmodel.execution.brokers.requests import Request, request_id
from loopback_broker import LoopbackBroker
from loopback_venue import Ask, BrokerProtocolError, Faults, LoopbackVenue, VenueBook

RUN = RunId("run")


def order(number, side=Side.BUY, quantity=1, kind=OrderType.MARKET, mark=100, **more):
    made = Order(
        order_id=OrderId(number), instrument=InstrumentId(more.pop("instrument", "NQ")), side=side, quantity=quantity,
        order_type=kind, ts=number, **more,
    )  # fmt: skip
    name = request_id(RUN, made.order_id, 0)
    return Request(request_id=name, client_order_id=name, order=made, mark=mark)


def about(number, count, **message):
    return Request(
        request_id=request_id(RUN, OrderId(number), count), client_order_id=f"run-{number}", mark=100, **message
    )


def cancel(number, count=1):
    return about(number, count, cancel=CancelOrder(order_id=OrderId(number), ts=50))


def outcome(*requests, reject_every=0):
    """(order, type, lots, price, leaves) of each report."""
    book = VenueBook(reject_every=reject_every)
    for request in requests:
        book.apply(request)
    assert [one.exec_id for one in book.reports] == list(range(1, len(book.reports) + 1))
    return [(r.order_id, r.exec_type, r.last_quantity, r.last_price, r.leaves) for r in book.reports]


NEW, TRADE, ENDED, NO = ExecType.NEW, ExecType.TRADE, ExecType.CANCELED, ExecType.CANCEL_REJECTED


def test_a_market_order_fills_at_the_mark_in_two_parts():
    assert outcome(order(1, quantity=3)) == [(1, NEW, 0, 0, 3), (1, TRADE, 1, 100, 2), (1, TRADE, 2, 100, 0)]


def test_a_market_order_without_a_mark_is_rejected():
    assert outcome(order(1, mark=None)) == [(1, ExecType.REJECTED, 0, 0, 0)]


def test_a_limit_rests_until_a_mark_reaches_it():
    resting = order(1, kind=OrderType.LIMIT, price=95)
    assert outcome(resting, order(2, mark=96))[0:2] == [(1, NEW, 0, 0, 1), (2, NEW, 0, 0, 1)]
    assert (1, TRADE, 1, 95, 0) in outcome(resting, order(2, mark=94))
    assert (1, TRADE, 1, 95, 0) not in outcome(resting, order(2, mark=96))


def test_a_stop_fills_when_a_mark_passes_it():
    stop = order(1, Side.SELL, kind=OrderType.STOP, stop_price=90)
    assert (1, TRADE, 1, 89, 0) in outcome(stop, order(2, mark=89))
    assert (1, TRADE, 1, 91, 0) not in outcome(stop, order(2, mark=91))


def test_an_immediate_order_that_cannot_fill_ends():
    ioc = order(1, kind=OrderType.LIMIT, price=95, time_in_force=TimeInForce.IOC)
    assert outcome(ioc) == [(1, NEW, 0, 0, 1), (1, ENDED, 0, 0, 0)]


def test_a_bracket_starts_with_its_parent_and_one_exit_ends_the_other():
    parent = order(1, quantity=2)
    exits = {"parent": OrderId(1), "oco_group": 1}
    stop = order(2, Side.SELL, 2, OrderType.STOP, stop_price=90, **exits)
    target = order(3, Side.SELL, 2, OrderType.LIMIT, price=110, **exits)
    made = outcome(parent, stop, target, order(4, mark=111))
    assert [row for row in made if row[0] in {2, 3}] == [
        (2, NEW, 0, 0, 2), (3, NEW, 0, 0, 2), (3, TRADE, 1, 110, 1), (3, TRADE, 1, 110, 0), (2, ENDED, 0, 0, 0),
    ]  # fmt: skip


def test_one_group_number_in_two_instruments_is_two_groups_here_too():
    limits = [
        order(n, kind=OrderType.LIMIT, price=90, oco_group=7, instrument=name) for n, name in ((1, "NQ"), (2, "CL"))
    ]
    made = outcome(*limits, order(3, mark=89, instrument="NQ"))
    assert [row for row in made if row[0] in {1, 2}] == [(1, NEW, 0, 0, 1), (2, NEW, 0, 0, 1), (1, TRADE, 1, 90, 0)]


def test_an_order_that_only_reduces_stops_at_zero_and_ends_here_too():
    made = outcome(order(1, quantity=2), order(2, Side.SELL, 5, reduce_only=True))
    assert [row[:3] for row in made if row[0] == 2] == [(2, NEW, 0), (2, TRADE, 1), (2, TRADE, 1), (2, ENDED, 0)]
    assert outcome(order(1, Side.SELL, reduce_only=True)) == [(1, NEW, 0, 0, 1), (1, ENDED, 0, 0, 0)]


def test_the_children_of_a_parent_that_ends_without_a_fill_end_too():
    parent = order(1, kind=OrderType.LIMIT, price=90)
    child = order(2, Side.SELL, kind=OrderType.STOP, stop_price=80, parent=OrderId(1))
    assert outcome(parent, child, cancel(1)) == [
        (1, NEW, 0, 0, 1), (2, NEW, 0, 0, 1), (1, ENDED, 0, 0, 0), (2, ENDED, 0, 0, 0),
    ]  # fmt: skip
    assert outcome(parent, cancel(1), child)[-1] == (2, ExecType.REJECTED, 0, 0, 0)


def test_a_change_can_make_an_order_fill_and_too_late_is_said():
    resting = order(1, quantity=1, kind=OrderType.LIMIT, price=90)
    change = about(1, 1, replace=ReplaceOrder(order_id=OrderId(1), ts=9, quantity=2, price=101))
    assert outcome(resting, change)[1:] == [
        (1, ExecType.REPLACED, 0, 0, 2), (1, TRADE, 1, 101, 1), (1, TRADE, 1, 101, 0),
    ]  # fmt: skip
    book = VenueBook()
    for request in (resting, change, cancel(1, 2), cancel(7)):
        book.apply(request)
    assert [(one.exec_type, one.reason) for one in book.reports[-2:]] == [
        (NO, Reason.TOO_LATE), (NO, Reason.UNKNOWN_ORDER),
    ]  # fmt: skip


def test_rejecting_is_decided_by_the_order_alone():
    assert outcome(order(3), order(4), reject_every=3)[0] == (3, ExecType.REJECTED, 0, 0, 0)


def test_unknown_faults_and_empty_questions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected drop, twice, late or reject"):
        Faults.parse(["flood:2"])
    with pytest.raises(BrokerProtocolError, match="without content"):
        LoopbackVenue(tmp_path / "v.sqlite", Faults()).answer(Ask(number=1, run="run"))


@pytest.fixture
def start_venue(tmp_path):
    running = []

    def start(*faults):
        arguments = [argument for fault in faults for argument in ("--fault", fault)]
        process = subprocess.Popen(
            [sys.executable, loopback_venue.__file__, "--database", str(tmp_path / "venue.sqlite"), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("fault", ["drop:1", "drop:2", "twice:1", "late:2"])
def test_under_every_fault_each_request_is_taken_once(start_venue, fault):
    _, port = start_venue(fault)
    broker = LoopbackBroker(port, RUN, timeout_s=0.2)
    for number in (1, 2, 3):
        broker.send(order(number))
    broker.send(order(2))
    assert broker.known_requests() == {"run-1", "run-2", "run-3"}
    reports = broker.reports_since(0)
    assert [(one.exec_id, one.order_id, one.exec_type) for one in reports] == [
        (1, 1, NEW), (2, 1, TRADE), (3, 2, NEW), (4, 2, TRADE), (5, 3, NEW), (6, 3, TRADE),
    ]  # fmt: skip
    assert [one.exec_id for one in broker.reports_since(4)] == [5, 6]
    assert broker.passed_over == {"drop:1": 0, "drop:2": 0, "twice:1": 3, "late:2": 1}[fault]
    broker.close()


def test_the_loopback_broker_keeps_to_what_every_broker_must(start_venue):
    process, port = start_venue()
    brokers = []

    def connect(run):
        brokers.append(LoopbackBroker(port, run))
        return brokers[-1]

    broker_contract.check_broker(connect)
    process.kill()
    process.wait()
    broker_contract.check_out_of_reach(connect(RUN))
    for broker in brokers:
        broker.close()


def test_a_venue_started_again_is_in_the_same_state(start_venue):
    first, port = start_venue()
    broker = LoopbackBroker(port, RUN)
    broker.send(order(1, quantity=2))
    before = broker.reports_since(0)
    first.kill()
    first.wait()
    broker.close()
    _, port = start_venue()
    again = LoopbackBroker(port, RUN)
    assert again.reports_since(0) == before
    assert again.known_requests() == {"run-1"}
    again.close()


def test_a_venue_that_is_not_there_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(BrokerUnavailableError, match=f"port {port} did not answer 2 times.*is it running"):
        LoopbackBroker(port, RUN, attempts=2).known_requests()
