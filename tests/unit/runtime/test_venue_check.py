"""The check of the venue: its plan, its comparison, and that it runs the venue that runs use."""

import msgspec
import numpy as np
import pytest

from engine_runs import FREE, Scripted, build_engine
from grandmodel.domain.blocks import Action, BookSide, Flag, Schema, empty_block
from grandmodel.domain.decisions import PlaceOrder
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import End
from grandmodel.domain.ids import OrderId
from grandmodel.domain.orders import Order, OrderType, Side, TimeInForce
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, NS_PER_MINUTE
from grandmodel.runtime.venue_check import (
    LONG_NS,
    TrialOrder,
    VenueFill,
    VenueTrials,
    check_venue,
    compare,
    draw_trials,
    paired_lots,
)
from grandmodel.simulation.models import FillRuleName, VenueSettings
from grandmodel.simulation.venue_oracle import OracleFill, VenueOracle
from plain_exchange import START, PlainBook, block_of, busy_feed, events_of
from strategies import NQ

DAY = SessionSchedule(
    open_ns=np.array([START - NS_PER_DAY]), close_ns=np.array([START + NS_PER_DAY]), day_ns=np.array([START])
)
FEED = busy_feed(3)


def settings(rule):
    return msgspec.structs.replace(FREE, fill_rule=rule)


def test_the_plan_is_one_for_one_seed():
    oracle = VenueOracle(FEED)
    trials = draw_trials(oracle, NQ.id, 30, 5)
    assert trials == draw_trials(oracle, NQ.id, 30, 5)
    assert trials != draw_trials(oracle, NQ.id, 30, 6)
    groups = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial.order)
    assert {name: len(orders) for name, orders in groups.items()} == {
        "limit 1, 60 s": 30, "limit 1, 30 min": 30, "limit 5, 30 min": 30, "limit 20, 30 min": 30, "limit 50, 30 min": 30,
        "limit that takes, 2 x best": 30, "market, 2 x best": 30, "market, 5 x best": 30, "market, 20 x best": 30, "stop 1": 15,
        "stop 5": 15, "stop 20": 15, "market 1, within an event": 15,
    }  # fmt: skip
    assert [trial.order.order_id for trial in trials] == list(range(1, len(trials) + 1))
    for name, orders in groups.items():
        for order in orders:
            quoted = oracle.quoted[oracle.event_of_arrival(order.ts) - 1]
            own, other = (quoted["bid"], quoted["ask"]) if order.side is Side.BUY else (quoted["ask"], quoted["bid"])
            if name.startswith("limit") and "takes" not in name:
                assert 0 <= (own - order.price) * order.side <= 2
            if name.startswith("stop"):
                assert (
                    order.stop_price - max(other * order.side, quoted["last"] * order.side) * order.side
                ) * order.side > 0
            if "within" in name:
                event = oracle.event_of_arrival(order.ts) - 1
                assert oracle.first_ts[event] < order.ts <= oracle.last_ts[event]
    assert {order.side for order in groups["market, 2 x best"]} == {Side.BUY, Side.SELL}


@pytest.mark.parametrize("rule", FillRuleName)
def test_each_order_is_alone(rule):
    orders = [trial.order for trial in draw_trials(VenueOracle(FEED), NQ.id, 6, 2)]
    venue = VenueTrials(FEED, NQ, DAY, settings(rule))
    together = venue.fills(orders)
    assert [venue.fills([order])[0] for order in orders] == together
    assert venue.fills(orders[::-1]) == together[::-1]
    assert any(together)


@pytest.mark.parametrize("rule", FillRuleName)
def test_it_is_the_venue_of_a_run(rule):
    """An agent that sends one order at the close of a bar is filled like the same order of the check."""
    filled = 0
    for k in range(12):
        side = Side.BUY if k % 2 else Side.SELL
        kind = (OrderType.LIMIT, OrderType.MARKET, OrderType.STOP)[k % 3]
        sent = []

        def script(call, bars, account, k=k, side=side, kind=kind, sent=sent):
            if call != 2 + k // 4:
                return ()
            close = bars[0].close
            sent.append((account.now, close))
            return (
                PlaceOrder(
                    instrument=NQ.id, side=side, quantity=1 + 3 * k, order_type=kind,
                    price=close - int(side) if kind is OrderType.LIMIT else None,
                    stop_price=close + 2 * int(side) if kind is OrderType.STOP else None, time_in_force=TimeInForce.GTC,
                ),
            )  # fmt: skip

        engine = build_engine((script,), schedules=[DAY], venue=settings(rule))
        list(engine.on_block(FEED))
        list(engine.on_end(End(ts=engine.now)))
        (agent,) = engine.asking.agents
        assert isinstance(agent, Scripted)
        ((now, close),) = sent
        order = Order(
            order_id=OrderId(1), instrument=NQ.id, side=side, quantity=1 + 3 * k, order_type=kind, ts=now,
            price=close - int(side) if kind is OrderType.LIMIT else None,
            stop_price=close + 2 * int(side) if kind is OrderType.STOP else None, time_in_force=TimeInForce.GTC,
        )  # fmt: skip
        (found,) = VenueTrials(FEED, NQ, DAY, settings(rule)).fills([order])
        assert [(fill.ts_event, fill.price, fill.quantity) for fill in agent.fills] == [
            (fill.ts, fill.price, fill.lots) for fill in found
        ]
        filled += len(found)
    assert filled > 12


def trial(group="limit", side=Side.BUY, lots=4):
    return TrialOrder(
        group,
        Order(
            order_id=OrderId(1), instrument=NQ.id, side=side, quantity=lots, order_type=OrderType.LIMIT, price=100, ts=0,
            time_in_force=TimeInForce.GTD, expire_ts=LONG_NS,
        ),
    )  # fmt: skip


SECOND = 10**9


def test_lots_are_compared_first_with_first():
    found = [VenueFill(1 * SECOND, 100, 3), VenueFill(9 * SECOND, 99, 3)]
    right = [OracleFill(0, 2 * SECOND, 3 * SECOND, 101, 2), OracleFill(1, 8 * SECOND, 8 * SECOND, 98, 2)]
    assert [lots for lots, _, _ in paired_lots(found, right)] == [2, 1, 1]
    (line,) = compare([trial()], [right], [found], "book", "queue")
    assert (line.lots, line.oracle_lots, line.false_lots, line.missed_lots, line.shared_lots) == (6, 4, 2, 0, 4)
    assert (line.orders, line.filled_orders, line.oracle_orders, line.false_orders) == (1, 1, 1, 1)
    # Lots 1 and 2 are 1 s early and 1 tick too good, lot 3 is 7 s early and 2 ticks too bad, lot 4 is 1 s late and 1 tick too bad.
    assert (line.early_lots, line.early_s, line.late_lots, line.late_s) == (3, 9 / 4, 1, 1 / 4)
    assert (line.too_good_lots, line.too_good_ticks, line.too_bad_ticks, line.best_ticks) == (2, 2 / 4, 3 / 4, 1)
    assert line.false_share == 1.0


def test_a_sale_is_too_good_above():
    right = [OracleFill(0, 0, SECOND, 100, 1)]
    (line,) = compare([trial(side=Side.SELL)], [right], [[VenueFill(SECOND, 102, 1)]], "book", "queue")
    assert (line.too_good_ticks, line.too_bad_ticks, line.early_s, line.late_s) == (2.0, 0.0, 0.0, 0.0)


def test_what_was_not_filled_is_missed():
    right = [OracleFill(0, 0, 0, 100, 4)]
    groups = compare(
        [trial("a"), trial("b"), trial("a")], [right, [], right], [[], [], right_as_found(right)], "book", "touch"
    )
    assert [(one.group, one.orders, one.missed_lots, one.filled_orders) for one in groups] == [
        ("a", 2, 4, 1),
        ("b", 1, 0, 0),
    ]
    assert np.isnan(groups[1].false_share)


def right_as_found(right):
    return [VenueFill(one.earliest, one.price, one.lots) for one in right]


def test_a_venue_that_is_right_is_told_right():
    """The oracle's own fills, given as the venue's, come out without a fault."""
    oracle = VenueOracle(FEED)
    trials = draw_trials(oracle, NQ.id, 20, 1)
    right = oracle.fills([one.order for one in trials])
    for line in compare(trials, right, [right_as_found(one) for one in right], "book", "queue"):
        assert line.false_lots == line.missed_lots == line.early_lots == line.late_lots == line.too_good_lots == 0
        assert line.lots == line.oracle_lots


def test_the_whole_check():
    heard = []
    report = check_venue(
        FEED,
        NQ,
        DAY,
        [FillRuleName.TOUCH, FillRuleName.QUEUE],
        orders=8,
        also_quotes=True,
        said=lambda *one: heard.append(one),
    )
    assert [(one.feed, one.rule) for one in report.results[::13]] == [
        ("book", "touch"), ("book", "queue"), ("quotes", "touch"), ("quotes", "queue"),
    ]  # fmt: skip
    assert len(report.sentences) == 4
    assert report.sentences[1].startswith("under QUEUE on the order book ")
    assert [done for _, done, _ in heard] == list(range(1, heard[-1][2] + 1))
    assert report.names_orders
    assert report.notes == []
    touch, queue = report.results[0], report.results[13]
    assert touch.filled_orders >= queue.filled_orders
    assert queue.false_orders == queue.early_lots == 0


def test_without_names_of_filled_orders_a_note_says_so():
    block = FEED[FEED["action"] != int(Action.FILL)]
    report = check_venue(block, NQ, DAY, [FillRuleName.QUEUE], orders=4)
    assert "does not say which order filled" in report.notes[0]


def levels_of(block):
    """The same feed with one order a price level, named by it, and trades."""
    book, rows, shown = PlainBook(), [], {}
    for event in events_of(block):
        ts = event[-1]["ts_init"]
        rows += [
            (ts, Action.TRADE, 0, one["side"], one["price"], one["size"], 0)
            for one in event
            if one["action"] == Action.TRADE
        ]
        for row in event:
            book.apply(row)
        now = {(s, p): sum(one[1] for one in q) for s, levels in book.queues.items() for p, q in levels.items() if q}
        for side, price in sorted(shown.keys() | now.keys()):
            before, after = shown.get((side, price), 0), now.get((side, price), 0)
            if before != after:
                kind = Action.CANCEL if not after else Action.MODIFY if before else Action.ADD
                letter = BookSide.BID if side > 0 else BookSide.ASK
                rows.append((ts, kind, 2 * price + (side < 0), letter, price, after or before, 0))
        if rows:
            rows[-1] = (*rows[-1][:6], int(Flag.LAST))
        shown = now
    return block_of(rows)


def test_a_book_of_levels_proves_no_more_than_its_quotes():
    levels = levels_of(busy_feed(3, 1_500))
    assert VenueOracle(levels).names_levels()
    assert not VenueOracle(FEED).names_levels()
    report = check_venue(levels, NQ, DAY, [FillRuleName.QUEUE], orders=6)
    assert not report.names_orders
    assert "found price levels without order ids" in report.notes[0]
    assert {one.feed for one in report.results} == {"book"}
    small = report.results[0]
    assert small.lots <= small.oracle_lots
    assert small.early_lots == 0


def test_quotes_and_trades_prove_less():
    quotes = VenueOracle(FEED).best_quotes()
    report = check_venue(quotes, NQ, DAY, [FillRuleName.QUEUE], orders=8)
    assert not report.names_orders
    assert "without order ids" in report.notes[0]
    assert "late" not in report.sentences[0]
    truth = check_venue(FEED, NQ, DAY, [FillRuleName.QUEUE], orders=8, also_quotes=True)
    assert {one.feed for one in report.results} == {"quotes"}
    assert sum(one.orders for one in report.results) <= sum(one.orders for one in truth.results) // 2


def test_other_feeds_are_refused():
    with pytest.raises(UsageError, match="found bars, expected order-by-order events"):
        check_venue(empty_block(Schema.BARS, 1), NQ, DAY, [FillRuleName.QUEUE])
    trades = FEED[FEED["action"] == int(Action.ADD)][:5]
    with pytest.raises(UsageError, match="found 0 events at which both sides were quoted"):
        check_venue(trades, NQ, DAY, [FillRuleName.QUEUE])
    alone = VenueOracle(FEED).best_quotes()
    with pytest.raises(UsageError, match="trades without quotes"):
        check_venue(alone[alone["action"] == int(Action.TRADE)], NQ, DAY, [FillRuleName.QUEUE])
    assert NS_PER_MINUTE  # the width of the engine's bars is a multiple of it
    assert VenueSettings().fill_rule is FillRuleName.THROUGH
