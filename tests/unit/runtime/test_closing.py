# ruff: noqa: ARG005  a script is given the number of the call, the bars and the account, and mostly needs one of them
"""Where everything is being closed it ends flat, whatever agents send meanwhile and however slow the venue answers."""

import msgspec
import pytest

from engine_runs import FREE, build_engine, fills_of, open_risk
from grandmodel.domain.decisions import CancelIntent, PlaceOrder, TargetPosition
from grandmodel.domain.events import Cause, Command, CommandKind, Signal, SignalTrigger
from grandmodel.domain.orders import OrderType, Side, TimeInForce
from grandmodel.risk.checks import checks_of
from grandmodel.simulation.models import ConstantLatency
from strategies import MINUTE, NQ, START, bar_row, stack

SECOND = 1_000_000_000
WHEN = 8
"""Bars before the account is told to close."""


def bars(first, count, step=0):
    """Bars whose price rises by ``step`` ticks each, or moves to and fro a little."""
    rows = []
    for k in range(first, first + count):
        price = 1_000 + (step * k if step else k % 2)
        rows.append(bar_row(5 * k, price, price + 1, price - 1, price, sequence=k))
    return stack(rows)


def flatten():
    return Command(kind=CommandKind.FLATTEN, ts=START + 5 * WHEN * MINUTE, who="ann/risk_officer", why="test")


def pause():
    return Command(kind=CommandKind.PAUSE, ts=START + 5 * WHEN * MINUTE, who="ann/risk_officer", why="test")


def halt():
    return Signal(ts=START + 5 * WHEN * MINUTE, trigger=SignalTrigger.DISCONNECT, value=1.0, source="test")


def reduce():
    return Signal(ts=START + 5 * WHEN * MINUTE, trigger=SignalTrigger.MARKET_WIDE, value=0.14, source="test")


def told(given, script, *, lots=4, after=12, step=0, **more):
    """The engine, holding ``lots`` after three bars, told ``given`` after ``WHEN`` of them; ``script`` wishes from then on."""

    def wishes(number, bars, account):
        if number == 3:
            return [TargetPosition(instrument=NQ.id, lots=lots)]
        return script(number, account) if number >= WHEN else ()

    engine = build_engine((wishes,), **more)
    records = list(engine.on_block(bars(0, WHEN, step)))
    assert engine.books.lots(NQ.id) == lots
    records += list(engine.on_command(given) if isinstance(given, Command) else engine.on_signal(given))
    records += list(engine.on_block(bars(WHEN, after, step)))
    return engine, records


def resting(price, quantity=4):
    return PlaceOrder(
        instrument=NQ.id, side=Side.SELL, quantity=quantity, order_type=OrderType.STOP, stop_price=price,
        time_in_force=TimeInForce.GTC,
    )  # fmt: skip


@pytest.mark.parametrize("given", [flatten(), halt()])
@pytest.mark.parametrize(("order", "report"), [(1, 60), (60, 0), (0, 600), (0.001, 0.001)])
def test_a_venue_that_answers_slowly_is_not_asked_again_and_again(given, order, report):
    latency = ConstantLatency(order=int(order * SECOND), report=int(report * SECOND))
    engine, records = told(
        given, lambda number, account: (), venue=msgspec.structs.replace(FREE, latency=latency), after=24
    )
    assert engine.books.lots(NQ.id) == 0
    assert [fill[:2] for fill in fills_of(records)] == [(1, 4), (-1, 4)]
    assert len([order for record in records for order in record.orders]) == 2


@pytest.mark.parametrize("given", [flatten(), halt()])
@pytest.mark.parametrize(
    "wishes",
    [
        lambda number, account: [resting(500 + number)],
        lambda number, account: [CancelIntent(instrument=NQ.id), resting(500 + number)],
        lambda number, account: [resting(500 + number, 1), resting(400 + number, 1)],
    ],
)
def test_an_agent_that_puts_a_resting_order_every_bar_does_not_keep_the_position_open(given, wishes):
    engine, records = told(given, wishes)
    assert engine.books.lots(NQ.id) == 0
    assert not engine.books.working(NQ.id)
    while_closing = [
        intent.refused
        for record in records
        for intent in record.intents
        if record.ts == START + 5 * (WHEN + 1) * MINUTE and isinstance(intent.intent, PlaceOrder)
    ]
    assert set(while_closing) <= {"halted_by_breaker", "paused"}


def test_an_agent_s_messages_do_not_use_up_those_of_the_order_that_closes():
    risk = open_risk()
    risk = msgspec.structs.replace(risk, flow=msgspec.structs.replace(risk.flow, max_messages=20))
    engine, records = told(halt(), lambda number, account: [resting(100 + k, 1) for k in range(30)], risk=risk)
    assert "message_rate" in {intent.refused for record in records for intent in record.intents}
    assert engine.books.lots(NQ.id) == 0


def test_an_order_that_rests_does_not_end_a_reduction():
    _, plain = told(reduce(), lambda number, account: (), lots=16)
    engine, _ = told(reduce(), lambda number, account: [resting(100, 1)] if number == WHEN + 1 else (), lots=16)
    left = 16 - sum(quantity for side, quantity, *_ in fills_of(plain) if side < 0)
    assert 0 < left < 9
    assert engine.books.lots(NQ.id) == left


@pytest.mark.parametrize(("given", "reason"), [(pause(), "paused"), (reduce(), "reduce_only")])
def test_what_closes_brings_no_bracket_that_would_open_again(given, reason):
    """A child starts with what its parent fills; of a parent that closes, that would be a new position."""
    closing = PlaceOrder(
        instrument=NQ.id, side=Side.SELL, quantity=1, order_type=OrderType.MARKET, bracket_stop=1_000 + 3 * (WHEN + 2)
    )
    engine, records = told(given, lambda number, account: [closing] if number == WHEN + 1 else (), lots=1, step=3)
    assert engine.books.lots(NQ.id) == 0
    (child,) = [
        checks
        for record in records
        for intent in record.intents
        if intent.agent == "scripted" and intent.intent == closing
        for number, checks in checks_of(intent)
        if number not in intent.orders
    ]
    assert {check.reason for check in child if check.outcome == "refused"} == {reason}


def test_more_reports_at_once_than_there_is_room_for_are_heard_whoever_lets_time_pass():
    """They come due between two blocks: at a command, a signal or the end."""
    many = [resting(100 + k, 1) for k in range(250)]
    engine, records = told(halt(), lambda number, account: many if number == WHEN else ())
    assert [record.cause for record in records if len(record.reports) > 200]
    assert records[-1].cause is Cause.BAR
    assert engine.books.lots(NQ.id) == 0
