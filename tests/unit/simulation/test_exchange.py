"""The Python side of the simulated venue: numbers, days, what it answers to requests it has no order for, and reports under way."""

import numpy as np
import pytest

from grandmodel.domain.ids import OrderId
from grandmodel.domain.orders import CancelOrder, ExecType, Order, OrderType, Reason, ReplaceOrder, Side, TimeInForce
from grandmodel.domain.time import NEVER_NS
from grandmodel.runtime.market_step import MarketStep, Stop
from grandmodel.simulation.exchange import SimulatedExchange, trading_day_around
from grandmodel.simulation.matching import drop_ended
from grandmodel.simulation.models import (
    ConstantLatency,
    LognormalLatency,
    RandomSlippage,
    VenueSettings,
)
from grandmodel.simulation.state import SlotState
from reference_exchange import reports_due
from strategies import ALL_DAY, CL, MINUTE, NQ, START, quote_row, schedule_of, trade_row

SECOND = 10**9


class Venue:
    """A venue alone with its arrays: time goes on by ``until``, which gives what was heard."""

    def __init__(self, *, order: int = 0, report: int = 0, seed: int = 5, schedules=(ALL_DAY, ALL_DAY), **settings):
        chosen = VenueSettings(**({"latency": ConstantLatency(order=order, report=report)} | settings))
        self.market = MarketStep((NQ, CL), schedules, (5 * MINUTE,), chosen, {})
        self.exchange = SimulatedExchange(self.market, (NQ, CL), schedules, chosen, seed)
        self.market.advance(START)

    def send(self, number, quantity=1, *, ts=START, side=Side.BUY, **more):
        terms = {"order_type": OrderType.LIMIT, "price": 90, "instrument": NQ.id} | more
        self.exchange.submit(Order(order_id=OrderId(number), side=side, quantity=quantity, ts=ts, **terms))

    def cancel(self, number, ts=START):
        self.exchange.cancel(CancelOrder(order_id=OrderId(number), ts=ts))

    def change(self, number, quantity, ts=START, **prices):
        self.exchange.replace(ReplaceOrder(order_id=OrderId(number), ts=ts, quantity=quantity, **prices))

    def until(self, ts):
        heard = []
        while (stop := self.market.advance(ts)) is not Stop.END:
            assert stop is Stop.REPORTS
            heard += reports_due(self.market)
        return heard


def told(reports):
    return [(one.order_id, one.exec_type, one.reason, one.ts_event - START, one.ts_init - START) for one in reports]


# -- days --------------------------------------------------------------------------------------------------------------


def test_a_trading_day_is_from_the_close_before_to_its_own_close() -> None:
    # Two sessions of one day with a pause, then one of the next, then the last; minutes.
    schedule = schedule_of((10, 20, 0), (30, 40, 0), (60, 70, 1), (90, 95, 2))
    found = [tuple((edge - START) // MINUTE for edge in trading_day_around(schedule, START + minute * MINUTE)) for minute in (
        40, 69, 70, 94,
    )]  # fmt: skip
    assert found == [(40, 70), (40, 70), (70, 95), (70, 95)]
    for minute in (0, 10, 19, 20, 25, 39):
        assert trading_day_around(schedule, START + minute * MINUTE) == (-NEVER_NS, START + 40 * MINUTE)
    for minute in (95, 1_000):
        assert trading_day_around(schedule, START + minute * MINUTE) == (START + 95 * MINUTE, NEVER_NS)
    assert trading_day_around(schedule_of(), START) == (-NEVER_NS, NEVER_NS)


def test_a_day_order_ends_at_the_close_of_its_trading_day_whatever_was_sent_before() -> None:
    schedule = schedule_of((0, 20, 0), (30, 40, 0), (60, 70, 1), (90, 100, 2))
    venue = Venue(schedules=(schedule, ALL_DAY))
    expected = {}
    for number, (minute, closes) in enumerate(((0, 40), (25, 40), (39, 40), (40, 70), (69, 70), (70, 100), (0, 40)), 1):
        venue.send(number, ts=START + minute * MINUTE, time_in_force=TimeInForce.DAY)
        expected[number] = START + closes * MINUTE
    for number, life, expires in (
        (8, TimeInForce.GTC, NEVER_NS),
        (9, TimeInForce.GTD, START + 7),
        (10, TimeInForce.IOC, NEVER_NS),
    ):
        venue.send(number, time_in_force=life, expire_ts=START + 7)
        expected[number] = expires
    slots = venue.market.slots[:10]
    assert dict(zip(slots["order_id"].tolist(), slots["ts_expire"].tolist(), strict=True)) == expected
    venue.send(11, time_in_force=TimeInForce.DAY, instrument=CL.id)
    assert venue.market.slots[10]["ts_expire"] == START + 1_440 * MINUTE


# -- orders ------------------------------------------------------------------------------------------------------------


def test_an_order_lies_in_its_slot_as_it_was_sent() -> None:
    venue = Venue(order=3 * SECOND, report=2 * SECOND)
    venue.send(
        7, 4, side=Side.SELL, order_type=OrderType.STOP_LIMIT, price=95, stop_price=97, oco_group=5, reduce_only=True, instrument=CL.id,
        time_in_force=TimeInForce.GTC,
    )  # fmt: skip
    venue.send(8, 6, parent=OrderId(7), display_quantity=2, effective_ts=START + 9 * SECOND)
    venue.send(9, 1, order_type=OrderType.TRAILING_STOP, price=None, trail_ticks=11)
    venue.send(10, 1, side=Side.SELL, order_type=OrderType.TRAILING_STOP, price=None, trail_ticks=11)
    names = (
        "order_id", "instrument", "side", "order_type", "time_in_force", "state", "quantity", "leaves", "price", "stop_price", "parent",
        "oco_group", "reduce_only", "trail", "display", "shown",
    )  # fmt: skip
    first, second, third, fourth = ([int(venue.market.slots[k][name]) for name in names] for k in range(4))
    assert first == [7, 1, -1, OrderType.STOP_LIMIT, TimeInForce.GTC, SlotState.PENDING, 4, 4, 95, 97, 0, 5, 1, 0, 0, 0]
    assert second == [8, 0, 1, OrderType.LIMIT, TimeInForce.DAY, SlotState.HELD, 6, 0, 90, 0, 7, 0, 0, 0, 2, 2]
    assert (third[3], third[13], third[9] > 2**60) == (OrderType.TRAILING_STOP, 11, True)
    assert fourth[9] == -third[9]
    assert (second[9], third[8]) == (0, 0)  # A price that the type lacks.
    for slot, arrives in zip(venue.market.slots[:4], (3, 9, 3, 3), strict=True):
        assert (slot["ts_sent"], slot["ts_active"] - START, slot["report_latency"]) == (
            START,
            arrives * SECOND,
            2 * SECOND,
        )
        assert (slot["ts_cancel"], slot["ts_replace"]) == (NEVER_NS, NEVER_NS)
        for name in ("filled", "new_quantity", "new_price", "new_stop", "queue_ahead", "rank", "resting", "fresh_ts", "reduced", "woken",
                     "triggered", "arrival_price", "arrival_kind", "slippage"):  # fmt: skip
            assert slot[name] == 0, name
    assert venue.exchange.last_order_id == 10


def test_more_orders_than_slots_are_all_taken_and_ended_ones_make_room() -> None:
    venue = Venue()
    for number in range(1, 101):
        venue.send(number)
    assert [one.order_id for one in venue.until(START + 1)] == list(range(1, 101))
    assert len(venue.market.slots) == 128
    for number in range(1, 101, 2):
        venue.cancel(number, START + 1)
    assert told(venue.until(START + 1)) == [
        (number, ExecType.CANCELED, Reason.ASKED, 1, 1) for number in range(1, 101, 2)
    ]
    for number in range(101, 171):
        venue.send(number, ts=START + 1)
    assert len(venue.market.slots) == 128
    left = [*range(2, 101, 2), *range(101, 171)]
    assert venue.market.slots["order_id"][: len(left)].tolist() == left
    assert venue.market.step[0]["slots"] == len(left)


def test_gaps_are_closed_and_the_rest_keep_their_order() -> None:
    venue = Venue()
    for number in range(1, 6):
        venue.send(number)
    slots = venue.market.slots
    slots["state"][[0, 2, 4]] = SlotState.ENDED
    assert drop_ended(venue.market.step, slots) == 2
    assert (venue.market.step[0]["slots"], slots["order_id"][:2].tolist()) == (2, [2, 4])
    assert drop_ended(venue.market.step, slots) == 2


def test_a_slot_is_used_again_without_a_trace_of_the_order_before() -> None:
    venue = Venue()
    venue.send(1, 2, oco_group=4, reduce_only=True, display_quantity=1)
    venue.change(1, 5, price=91)
    venue.until(START + 1)
    venue.cancel(1, START + 1)
    venue.until(START + 1)
    venue.send(2, 3, ts=START + 1)
    other = Venue()
    other.until(START + 1)
    other.send(2, 3, ts=START + 1)
    assert venue.market.slots[0].tobytes() == other.market.slots[0].tobytes()


# -- cancels and changes -----------------------------------------------------------------------------------------------


def test_requests_for_orders_that_are_not_there_are_refused_and_say_why() -> None:
    venue = Venue(order=3 * SECOND, report=2 * SECOND)
    venue.send(4)
    venue.cancel(4)
    venue.cancel(3)
    venue.change(5, 1)
    heard = venue.until(START + 10 * SECOND)
    venue.cancel(4, START + 10 * SECOND)
    venue.change(4, 2, START + 10 * SECOND)
    heard += venue.until(START + 20 * SECOND)
    assert told(heard) == [
        (3, ExecType.CANCEL_REJECTED, Reason.TOO_LATE, 3 * SECOND, 5 * SECOND),
        (5, ExecType.CANCEL_REJECTED, Reason.UNKNOWN_ORDER, 3 * SECOND, 5 * SECOND),
        (4, ExecType.NEW, Reason.NONE, 3 * SECOND, 5 * SECOND),
        (4, ExecType.CANCELED, Reason.ASKED, 3 * SECOND, 5 * SECOND),
        (4, ExecType.CANCEL_REJECTED, Reason.TOO_LATE, 13 * SECOND, 15 * SECOND),
        (4, ExecType.CANCEL_REJECTED, Reason.TOO_LATE, 13 * SECOND, 15 * SECOND),
    ]
    assert [one.exec_id for one in heard] == [1, 2, 3, 4, 5, 6]
    for one in heard:
        assert (one.last_quantity, one.last_price, one.cumulative, one.maker, one.arrival_price) == (
            0,
            0,
            0,
            False,
            None,
        )
        assert one.leaves == (1 if one.exec_type is ExecType.NEW else 0)


def test_a_refusal_never_overtakes_an_earlier_report_nor_comes_before_now() -> None:
    venue = Venue(report=5 * SECOND)
    venue.send(1)
    venue.until(START + SECOND)  # Its report is due at 5 s.
    venue.exchange._settings = VenueSettings(latency=ConstantLatency())
    venue.cancel(9, START)
    assert told(venue.until(START + 9 * SECOND)) == [
        (1, ExecType.NEW, Reason.NONE, 0, 5 * SECOND),
        (9, ExecType.CANCEL_REJECTED, Reason.UNKNOWN_ORDER, 0, 5 * SECOND),
    ]
    venue.cancel(9, START + SECOND)
    assert told(venue.until(START + 9 * SECOND)) == [
        (9, ExecType.CANCEL_REJECTED, Reason.UNKNOWN_ORDER, SECOND, 9 * SECOND)
    ]


def test_more_refusals_than_the_reports_have_room_for_are_all_told() -> None:
    venue = Venue()
    room = len(venue.market.reports)
    for number in range(1, 2 * room):
        venue.cancel(number)
    assert [one.order_id for one in venue.until(START + 1)] == list(range(1, 2 * room))


@pytest.mark.parametrize(("first", "second", "ended"), [(1, 4, 1), (4, 1, 4)])
def test_of_two_cancels_the_one_that_was_sent_first_ends_the_order(first: int, second: int, ended: int) -> None:
    venue = Venue()
    venue.send(1)
    venue.cancel(1, START + first * SECOND)
    venue.cancel(1, START + second * SECOND)
    assert told(venue.until(START + 9 * SECOND)) == [
        (1, ExecType.NEW, Reason.NONE, 0, 0),
        (1, ExecType.CANCELED, Reason.ASKED, ended * SECOND, ended * SECOND),
    ]


@pytest.mark.parametrize(("cancelled", "ended"), [(None, 2), (1, 1), (4, 2)])
def test_an_order_is_withdrawn_without_a_message(cancelled: int | None, ended: int) -> None:
    venue = Venue(order=SECOND)
    venue.send(1)
    venue.until(START + SECOND)
    if cancelled is not None:
        venue.cancel(1, START + (cancelled - 1) * SECOND)
    venue.exchange.withdraw(OrderId(1), START + 2 * SECOND)
    assert told(venue.until(START + 9 * SECOND)) == [
        (1, ExecType.CANCELED, Reason.ASKED, ended * SECOND, ended * SECOND)
    ]
    venue.exchange.withdraw(OrderId(1), START)
    venue.exchange.withdraw(OrderId(77), START)
    assert venue.until(START + 10 * SECOND) == []


def test_a_change_gives_what_it_names_and_leaves_the_rest() -> None:
    venue = Venue()
    venue.send(1, 5, order_type=OrderType.STOP_LIMIT, price=95, stop_price=97)
    venue.until(START)
    for asked, price, stop in (({}, 95, 97), ({"price": 96}, 96, 97), ({"stop_price": 98}, 96, 98)):
        venue.change(1, 5, **asked)
        (heard,) = venue.until(START + 1)
        assert (heard.exec_type, heard.leaves) == (ExecType.REPLACED, 5)
        assert (venue.market.slots[0]["price"], venue.market.slots[0]["stop_price"]) == (price, stop)
    venue.change(1, 3, START + SECOND)
    assert venue.market.slots[0]["quantity"] == 5
    (heard,) = venue.until(START + SECOND)
    assert (heard.leaves, venue.market.slots[0]["quantity"], heard.ts_event) == (3, 3, START + SECOND)


# -- reports -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [511, 512, 513, 600])
def test_reports_under_way_wait_their_time_however_many_were_handed_out(early: int) -> None:
    """Those still on their way move to the front of the array when it has been read far enough."""
    venue = Venue(report=2 * SECOND)
    for number in range(1, early + 1):
        venue.send(number)
    for number in range(early + 1, early + 41):
        venue.send(number, ts=START + SECOND)
    assert [one.order_id for one in venue.until(START + 2 * SECOND)] == list(range(1, early + 1))
    head, tail = (int(venue.market.step[0][name]) for name in ("report_head", "report_tail"))
    assert (head, tail) == ((0, 40) if early > 512 else (early, early + 40))
    assert reports_due(venue.market) == []
    later = venue.until(START + 3 * SECOND)
    assert [(one.order_id, one.ts_init) for one in later] == [
        (number, START + 3 * SECOND) for number in range(early + 1, early + 41)
    ]
    assert [int(venue.market.step[0][name]) for name in ("report_head", "report_tail")] == [0, 0]


def test_a_fill_tells_what_it_met_and_other_reports_do_not() -> None:
    venue = Venue()
    for row in (quote_row(0, 99, 101), trade_row(1, 100, 3)):
        block = np.array([row], dtype=row.dtype)
        schema = venue.market.begin(block)
        while venue.market.walk(block, schema) is not Stop.END:
            pass
    venue.send(1, 2, ts=START + SECOND, order_type=OrderType.MARKET, price=None)
    heard = venue.until(START + SECOND)
    assert [(one.exec_type, one.arrival_price, one.arrival_reference.value) for one in heard] == [
        (ExecType.NEW, None, ""),
        (ExecType.TRADE, 101, "quote"),
    ]
    assert (heard[1].last_quantity, heard[1].last_price, heard[1].cumulative, heard[1].leaves) == (2, 101, 2, 0)


def test_the_generator_goes_on_where_its_state_was_taken() -> None:
    def drawn(venue: Venue, numbers) -> list[tuple[int, int, int]]:
        for number in numbers:
            venue.send(number, order_type=OrderType.MARKET, price=None)
        slots = venue.market.slots[: int(venue.market.step[0]["slots"])]
        return list(
            zip(slots["ts_active"].tolist(), slots["report_latency"].tolist(), slots["slippage"].tolist(), strict=True)
        )

    settings = {"latency": LognormalLatency(floor=0, median=SECOND, sigma=1.0), "slippage": RandomSlippage()}
    one = Venue(seed=3, **settings)
    first = drawn(one, range(1, 20))
    assert drawn(Venue(seed=3, **settings), range(1, 20)) == first != drawn(Venue(seed=4, **settings), range(1, 20))
    state = one.exchange.generator_state()
    other = Venue(seed=99, **settings)
    other.exchange.restore_generator(state)
    other.market.step["last_arrival"] = one.market.step["last_arrival"]
    assert drawn(other, range(20, 40)) == drawn(one, range(20, 40))[19:]


def test_inside_a_block_a_fill_is_heard_before_the_rows_behind_its_time() -> None:
    venue = Venue(report=2 * SECOND)
    venue.send(1)
    venue.until(START + 3 * SECOND)
    rows = [trade_row(seconds * SECOND, 100 if seconds != 5 else 89, 3) for seconds in (4, 5, 6, 8, 9)]
    block = np.array(rows, dtype=rows[0].dtype)
    schema = venue.market.begin(block)
    assert venue.market.walk(block, schema) is Stop.REPORTS
    assert (venue.market.now, venue.market.position) == (START + 7 * SECOND, 3)
    (heard,) = reports_due(venue.market)
    assert (heard.exec_type, heard.last_price, heard.ts_event) == (ExecType.TRADE, 90, START + 5 * SECOND)
    assert venue.market.walk(block, schema) is Stop.END
    assert venue.market.now == START + 9 * SECOND
