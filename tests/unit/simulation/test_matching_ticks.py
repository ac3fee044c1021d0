"""The simulated venue on trades and quotes, one rule a test. Quotes are written bid, ask, bid size, ask size."""

import pytest

from grandmodel.domain.blocks import Action, BookSide, Flag
from grandmodel.domain.orders import TimeInForce
from grandmodel.simulation.models import ConstantLatency, FixedSlippage, LognormalLatency
from strategies import CL, START, quote_row, schedule_of, tick_row, trade_row
from venue_scripts import (
    BUY,
    LIMIT,
    QUEUE,
    SELL,
    STOP,
    STOP_LIMIT,
    THROUGH,
    TOUCH,
    UNLIMITED,
    bracket,
    cancel,
    change,
    ends,
    fills,
    order,
    said,
)

IOC, FOK = {"time_in_force": TimeInForce.IOC}, {"time_in_force": TimeInForce.FOK}


def quote(*asked, bid=100, ask=101, sizes=(10, 10), ns=0):
    return (quote_row(ns, bid, ask, *sizes), *asked)


LATER = quote_row(5, 100, 101)


def test_a_taker_pays_the_opposite_price():
    assert fills([quote(order(1, BUY, 3), order(2, SELL, 3)), LATER]) == [(1, 3, 101), (2, 3, 100)]


def test_a_taker_gets_the_size_shown_and_the_rest_waits_for_the_next_quote():
    script = [quote(order(1, BUY, 15)), quote_row(5, 100, 103, 10, 4), quote_row(6, 100, 104, 10, 50)]
    assert fills(script) == [(1, 10, 101), (1, 4, 103), (1, 1, 104)]


def test_unlimited_liquidity_fills_everything_at_the_price_shown():
    assert fills([quote(order(1, BUY, 15)), LATER], **UNLIMITED) == [(1, 15, 101)]


def test_a_price_without_a_size_offers_everything():
    assert fills([quote(order(1, BUY, 500), sizes=(0, 0)), LATER]) == [(1, 500, 101)]


def test_two_takers_share_one_displayed_size():
    script = [quote(order(1, BUY, 7), order(2, BUY, 7)), quote_row(5, 100, 102)]
    assert fills(script) == [(1, 7, 101), (2, 3, 101), (2, 4, 102)]


def test_slippage_moves_a_taker_s_price_against_it():
    script = [quote(order(1, BUY, 1), order(2, SELL, 1), order(3, BUY, 1, LIMIT, 101)), LATER]
    assert fills(script, slippage=FixedSlippage(ticks=3)) == [(1, 1, 104), (2, 1, 97), (3, 1, 101)]


def test_a_marketable_limit_takes_and_rests_with_what_is_left():
    script = [quote(order(1, BUY, 12, LIMIT, 101)), quote_row(5, 101, 102), trade_row(6, 100, 1)]
    reports = [one for one in said(script) if one.kind == "F"]
    assert [(one.lots, one.price, one.maker) for one in reports] == [(10, 101, False), (1, 101, True)]


def test_a_taker_on_one_side_of_an_empty_book_waits():
    one_sided = quote_row(0, 100, None, 10, 0)
    assert fills([(one_sided, order(1, BUY, 1)), quote_row(5, 100, 102)]) == [(1, 1, 102)]


def test_a_crossed_quote_moves_nothing_and_fills_nothing():
    script = [quote(order(1, BUY, 1, LIMIT, 99)), quote_row(5, 90, 80, flags=Flag.CROSSED), (LATER, order(2, BUY, 1))]
    assert fills([*script, quote_row(9, 100, 101)]) == [(2, 1, 101)]


def test_a_resting_limit_fills_when_the_other_side_quotes_at_its_price():
    script = [quote(order(1, BUY, 4, LIMIT, 99)), quote_row(5, 98, 99, 10, 3), quote_row(6, 97, 98, 10, 10)]
    assert fills(script) == [(1, 3, 99), (1, 1, 99)]


@pytest.mark.parametrize(("rule", "filled"), [(TOUCH, [(1, 4, 99)]), (THROUGH, []), (QUEUE, [])])
def test_a_trade_at_the_price_fills_by_the_rule(rule, filled):
    script = [quote(order(1, BUY, 4, LIMIT, 99), bid=99, sizes=(10, 10)), trade_row(5, 99, 10)]
    assert fills(script, **rule) == filled


@pytest.mark.parametrize("rule", [TOUCH, THROUGH, QUEUE])
def test_a_trade_beyond_the_price_fills_under_every_rule(rule):
    assert fills([quote(order(1, BUY, 4, LIMIT, 99), bid=99), trade_row(5, 98, 3)], **rule) == [(1, 3, 99)]


def test_a_queue_is_what_stood_there_and_shrinks_by_trades():
    script = [quote(order(1, BUY, 4, LIMIT, 100)), trade_row(5, 100, 7), trade_row(6, 100, 5), trade_row(7, 100, 9)]
    assert fills(script, **QUEUE) == [(1, 2, 100), (1, 2, 100)]  # 10 ahead: 7 leave 3, 5 leave 2 for us


def test_a_queue_shrinks_when_the_level_shows_less_and_never_grows():
    script = [
        quote(order(1, BUY, 4, LIMIT, 100)),
        quote_row(5, 100, 101, 2, 10),
        quote_row(6, 100, 101, 50, 10),
        trade_row(6 + 2 * 10**9, 100, 3),  # Too late to tell of the lots that left.
    ]
    assert fills(script, **QUEUE) == [(1, 1, 100)]


def test_a_better_price_than_the_best_has_no_queue():
    assert fills([quote(order(1, BUY, 4, LIMIT, 100), bid=99), trade_row(5, 100, 3)], **QUEUE) == [(1, 3, 100)]


def test_a_queue_below_the_best_is_known_once_it_is_the_best():
    script = [quote(order(1, BUY, 4, LIMIT, 98)), trade_row(5, 98, 90), quote_row(6, 98, 99, 5, 5), trade_row(7, 98, 6)]
    assert fills(script[:2], **QUEUE) == []
    assert fills(script, **QUEUE) == [(1, 1, 98)]


def test_a_queue_that_no_feed_shows_is_never_assumed_empty():
    script = [(trade_row(0, 100), order(1, BUY, 4, LIMIT, 99)), trade_row(5, 99, 50), trade_row(6, 98, 1)]
    assert fills(script, **QUEUE) == [(1, 1, 99)]


def test_a_change_of_price_loses_the_queue_and_a_smaller_quantity_keeps_it():
    at_once = [quote(order(1, BUY, 4, LIMIT, 100)), trade_row(5, 100, 10)]
    smaller = [*at_once[:1], (trade_row(5, 100, 10), change(1, 2)), trade_row(7, 100, 1)]
    assert fills(smaller, **QUEUE) == [(1, 1, 100)]
    larger = [*at_once[:1], (trade_row(5, 100, 10), change(1, 6)), trade_row(7, 100, 1)]
    assert fills(larger, **QUEUE) == []
    moved = [
        quote(order(1, BUY, 4, LIMIT, 99)),
        (LATER, change(1, 4, price=100)),
        trade_row(7, 100, 10),
        trade_row(8, 100, 1),
    ]
    assert fills(moved, **QUEUE) == [(1, 1, 100)]


def test_trades_share_their_size_among_our_orders():
    script = [quote(order(1, BUY, 4, LIMIT, 99), order(2, BUY, 4, LIMIT, 99)), trade_row(5, 98, 6)]
    assert fills(script) == [(1, 4, 99), (2, 2, 99)]
    assert fills(script, **UNLIMITED) == [(1, 4, 99), (2, 4, 99)]


def test_a_stop_triggers_on_trades_where_there_are_trades():
    script = [
        trade_row(0, 100),
        quote(order(1, BUY, 1, STOP, stop=105), ns=1),
        quote_row(5, 106, 107),
        trade_row(6, 105),
        quote_row(8, 104, 108),
    ]
    reports = said(script)
    assert [(one.kind, one.ts_event - START) for one in reports] == [("0", 1), ("L", 6), ("F", 8)]
    assert reports[2].price == 108  # The market after its trade.
    with_its_quote = [*script[:3], trade_row(6, 105, bid=104, ask=108, sizes=(5, 5))]
    assert [(one.kind, one.ts_event - START) for one in said(with_its_quote)] == [("0", 1), ("L", 6), ("F", 6)]


def test_a_stop_triggers_on_the_opposite_quote_where_there_are_no_trades():
    assert fills([quote(order(1, BUY, 1, STOP, stop=105)), quote_row(5, 104, 105)]) == [(1, 1, 105)]
    assert fills([quote(order(1, SELL, 1, STOP, stop=95)), quote_row(5, 95, 105)]) == [(1, 1, 95)]


def test_a_stop_that_is_passed_when_it_arrives_triggers_at_once():
    script = [trade_row(0, 110), quote(order(1, BUY, 1, STOP, stop=105), ns=1), quote_row(5, 99, 101)]
    assert [one.ts_event - START for one in said(script)] == [1, 1, 1]


def test_a_stop_limit_rests_at_its_limit():
    script = [
        trade_row(0, 100),
        quote(order(1, BUY, 1, STOP_LIMIT, 104, 105), ns=1),
        (trade_row(5, 105)),
        quote_row(6, 105, 106),
        quote_row(7, 103, 104),
    ]
    script[2:2] = [quote_row(4, 104, 106)]
    assert fills(script) == [(1, 1, 104)]


def test_ioc_and_fok():
    script = [quote(order(1, BUY, 12, **IOC), order(2, BUY, 3, LIMIT, 99, **IOC)), LATER]
    assert fills(script) == [(1, 10, 101)]
    assert ends(script) == [(1, "not_fillable"), (2, "not_fillable")]
    script = [quote(order(1, BUY, 12, **FOK), order(2, BUY, 10, **FOK)), LATER]
    assert fills(script) == [(2, 10, 101)]
    assert ends(script) == [(1, "not_fillable")]


def test_a_bracket_over_partial_fills_of_its_entry():
    """The exits hold what the entry bought so far; between them they sell it once; more bought wakes them again."""
    entry = order(1, BUY, 6)
    script = [
        quote(entry, *bracket(entry, 2, stop=95, target=105), sizes=(10, 4)),  # buys 4
        quote_row(5, 105, None, 1, 0),  # the target sells 1
        trade_row(6, 95, 1),  # the stop triggers; nobody bids
        quote_row(7, 94, None, 50, 0),  # it sells the other 3
        quote_row(
            8, 96, 97, 50, 2
        ),  # the entry buys its last 2, and the triggered stop sells them, no better than its trigger
    ]
    assert fills(script) == [(1, 4, 101), (3, 1, 105), (2, 3, 94), (1, 2, 97), (2, 2, 95)]
    assert ends(script) == [(3, "oco")]


def test_exits_that_have_sold_all_they_were_sent_for_end_though_their_entry_may_buy_more():
    entry = order(1, BUY, 6)
    script = [
        quote(
            entry,
            order(2, SELL, 2, STOP, stop=95, parent=1, oco_group=1, time_in_force=TimeInForce.GTC),
            order(3, SELL, 2, LIMIT, 105, parent=1, oco_group=1, time_in_force=TimeInForce.GTC),
            sizes=(10, 4),
        ),  # buys 4
        quote_row(5, 105, None, 1, 0),  # the target sells 1
        trade_row(6, 95, 1),
        quote_row(7, 94, None, 50, 0),  # the stop sells the other one
        quote_row(8, 106, 107, 50, 2),  # the entry buys its last 2
    ]
    assert fills(script) == [(1, 4, 101), (3, 1, 105), (2, 1, 94), (1, 2, 107)]
    assert ends(script) == [(3, "oco")]


def test_a_cancel_that_overtakes_its_order_waits_for_it():
    """Random latency: some cancels arrive before their orders. Every order is acknowledged, then cancelled or filled."""
    latency = LognormalLatency(floor=0, median=1_000, sigma=2.0)
    script = [quote(*(order(k, BUY, 1, LIMIT, 90) for k in range(1, 41)))]
    script.append((quote_row(1, 100, 101), *(cancel(k) for k in range(1, 41))))
    reports = said([*script, quote_row(10**9, 100, 101)], latency=latency)
    for number in range(1, 41):
        assert [one.kind for one in reports if one.order_id == number] == ["0", "4"]


def test_a_change_that_overtakes_its_order_waits_for_it():
    latency = LognormalLatency(floor=0, median=1_000, sigma=2.0)
    script = [quote(*(order(k, BUY, 1, LIMIT, 90) for k in range(1, 41)))]
    script.append((quote_row(1, 100, 101), *(change(k, 2) for k in range(1, 41))))
    reports = said([*script, quote_row(10**9, 100, 101)], latency=latency)
    for number in range(1, 41):
        mine = [one for one in reports if one.order_id == number]
        assert [one.kind for one in mine] == ["0", "5", "C"]
        assert mine[0].ts_event <= mine[1].ts_event


def test_an_order_meets_the_market_at_decision_plus_latency_to_the_nanosecond():
    script = [quote(order(1, BUY, 1)), quote_row(999, 100, 102), quote_row(1_000, 100, 103)]
    for latency, price in ((998, 101), (999, 101), (1_000, 102), (1_001, 103)):
        reports = said(script, latency=ConstantLatency(order=latency, report=7))
        assert [(one.kind, one.price) for one in reports] == [("0", 0), ("F", price)]
        assert [(one.ts_event - START, one.ts_init - START) for one in reports] == [(latency, latency + 7)] * 2


def test_a_halt_refuses_what_wants_to_trade_now_and_holds_the_rest():
    halt, resume = tick_row(1, Action.HALT), tick_row(3, Action.RESUME)
    script = [
        quote(),
        (halt, order(1, BUY, 1), order(2, BUY, 1, LIMIT, 101, **IOC), order(3, BUY, 1, LIMIT, 101)),
        trade_row(2, 90, 5),
        resume,
        quote_row(4, 100, 101),
    ]
    assert ends(script) == [(1, "halted"), (2, "halted")]
    assert fills(script) == [(3, 1, 101)]


def test_a_limit_placed_during_a_halt_takes_its_place_in_the_queue():
    halt, resume = tick_row(1, Action.HALT), tick_row(3, Action.RESUME)
    script = [quote(), (halt, order(1, BUY, 4, LIMIT, 100)), resume, trade_row(5, 100, 10), trade_row(6, 100, 1)]
    assert fills(script, **QUEUE) == [(1, 1, 100)]


def test_a_day_order_ends_before_a_trade_at_the_close():
    day = schedule_of((0, 1, 0), (10, 20, 1))
    closing = 60 * 10**9
    script = [quote(order(1, BUY, 1, LIMIT, 99)), trade_row(closing - 1, 99, 1), trade_row(closing, 98, 5)]
    assert [(one.kind, one.ts_event - START) for one in said(script, schedules=(day, day))] == [
        ("0", 0),
        ("C", closing),
    ]


def test_a_gtd_time_in_the_past_ends_the_order_before_it_trades():
    gone = {"time_in_force": TimeInForce.GTD, "expire_ts": -5}
    script = [quote(order(1, BUY, 1, **gone)), LATER]
    reports = said(script)
    assert [(one.kind, one.reason) for one in reports] == [("C", "good_till_date")]


def test_a_feed_of_trades_alone_stands_for_both_sides():
    script = [(trade_row(0, 100), order(1, BUY, 2), order(2, SELL, 3)), trade_row(5, 101)]
    assert fills(script) == [(1, 2, 100), (2, 3, 100)]


def test_reports_come_in_the_venue_s_order_however_long_each_takes():
    latency = LognormalLatency(floor=0, median=5_000, sigma=2.0)
    script = [quote(*(order(k, BUY, 1) for k in range(1, 30)), sizes=(50, 50)), quote_row(10**9, 1, 2)]
    reports = said(script, latency=latency)
    assert [one.ts_init for one in reports] == sorted(one.ts_init for one in reports)
    assert [one.number for one in reports] == list(range(1, 59))


# A stop and its trigger.


@pytest.mark.parametrize(
    ("side", "level", "bid", "ask", "printed"),
    [(SELL, 79_965, 79_999, 80_000, 79_960), (BUY, 80_035, 80_000, 80_001, 80_040)],
)
def test_a_stop_that_a_print_triggers_beside_a_stale_quote_fills_no_better_than_its_trigger(
    side, level, bid, ask, printed
):
    script = [
        (quote_row(0, bid, ask), order(1, side, 2, STOP, stop=level)),
        trade_row(5, printed),
        quote_row(6, bid, ask),
    ]
    assert fills(script) == [(1, 2, level)]
    assert fills(script, slippage=FixedSlippage(ticks=3)) == [(1, 2, level - 3 if side is SELL else level + 3)]


def test_a_stop_beyond_its_trigger_fills_at_the_quote():
    script = [quote(order(1, SELL, 2, STOP, stop=95)), quote_row(3, 90, 91), trade_row(5, 91), quote_row(6, 90, 91)]
    assert fills(script) == [(1, 2, 90)]


def test_the_rest_of_a_stop_fills_no_better_than_its_trigger_either():
    script = [
        quote(order(1, SELL, 12, STOP, stop=95)),
        trade_row(5, 95),
        quote_row(6, 100, 101),
        quote_row(7, 100, 101, 14),
    ]
    assert fills(script) == [(1, 10, 95), (1, 2, 95)]


def test_a_stop_limit_whose_limit_is_better_than_its_trigger_does_not_take_a_stale_quote():
    """It rests at its limit, and fills there once the market comes back: a limit order pays its limit."""
    stale = quote_row(6, 100, 101)
    script = [quote(order(1, SELL, 2, STOP_LIMIT, 97, stop=95)), trade_row(5, 94), stale, trade_row(7, 98, 5)]
    assert fills(script) == [(1, 2, 97)]
    within = [quote(order(1, SELL, 2, STOP_LIMIT, 93, stop=95)), trade_row(5, 94), stale]
    assert fills(within) == [(1, 2, 95)]


@pytest.mark.parametrize(("new", "paid"), [(97, 95), (90, 90)])
def test_a_change_of_the_trigger_that_arrives_after_it_was_reached_never_makes_a_fill_better(new, paid):
    script = [
        quote(order(1, SELL, 12, STOP, stop=95)),
        trade_row(5, 95),
        (quote_row(6, 100, 101), change(1, 12, stop_price=new)),
        quote_row(7, 100, 101, 14),
    ]
    assert fills(script) == [(1, 10, 95), (1, 2, paid)]


# Reduce-only orders.

CLOSING = {"reduce_only": True}


def test_an_order_that_only_reduces_stops_at_zero_and_ends():
    held = quote(order(1, BUY, 2), order(2, SELL, 2, LIMIT, 105, **CLOSING))
    script = [held, (quote_row(1, 100, 101), order(3, SELL, 1)), trade_row(5, 106, 9), LATER]
    assert fills(script) == [(1, 2, 101), (3, 1, 100), (2, 1, 105)]
    assert ends(script) == [(2, "reduce_only")]


def test_an_order_that_only_reduces_ends_where_it_meets_the_market_with_nothing_to_close():
    assert ends([quote(order(1, SELL, 2, **CLOSING)), LATER]) == [(1, "reduce_only")]
    on_its_side = [quote(order(1, BUY, 2), order(2, BUY, 1, LIMIT, 95, **CLOSING)), trade_row(5, 94, 9)]
    assert (fills(on_its_side), ends(on_its_side)) == ([(1, 2, 101)], [(2, "reduce_only")])
    stop = [quote(order(1, SELL, 2, STOP, stop=95, **CLOSING)), quote_row(3, 94, 95), LATER]
    assert ends(stop) == [(1, "reduce_only")]


def test_the_venue_knows_the_position_before_we_hear_of_it():
    held = quote(order(1, BUY, 2), order(2, SELL, 5, **CLOSING))
    assert fills([held, LATER], latency=ConstantLatency(report=10**12)) == [(1, 2, 101), (2, 2, 100)]


def test_all_or_nothing_that_only_reduces_is_all_of_the_order():
    held = quote(order(1, BUY, 2), order(2, SELL, 3, **CLOSING, **FOK), order(3, SELL, 2, **CLOSING, **FOK))
    assert fills([held, LATER]) == [(1, 2, 101), (3, 2, 100)]


def test_one_group_number_in_two_instruments_is_two_groups():
    pair = [order(1, BUY, 2, oco_group=7), order(2, BUY, 2, oco_group=7, instrument=CL.id)]
    script = [quote(*pair), quote_row(5, 100, 101), quote_row(6, 50, 51, instrument=1)]
    assert fills(script) == [(1, 2, 101), (2, 2, 51)]


def test_an_order_that_joins_a_group_is_whole_whatever_the_others_filled_before():
    first = quote(order(1, BUY, 3, oco_group=7), order(2, SELL, 5, STOP, stop=50, oco_group=7))
    script = [first, (quote_row(5, 100, 101), order(3, SELL, 4, oco_group=7)), quote_row(6, 100, 101)]
    assert fills(script) == [(1, 3, 101), (3, 4, 100)]
    assert ends(script) == [(2, "oco")]


# What a quote offers is there once.


def test_what_we_took_of_a_quote_stays_taken_until_it_grows_or_empties():
    same = [quote_row(k, 100 - k % 2, 101, 10, 5) for k in range(2, 6)]
    script = [quote(order(1, BUY, 9), sizes=(10, 5)), *same]
    assert fills(script) == [(1, 5, 101)]  # A change of the other side is none of this one.
    assert fills([*script, quote_row(7, 100, 101, 10, 7)]) == [(1, 5, 101), (1, 2, 101)]
    shrunk = [*script, quote_row(7, 100, 101, 10, 2), quote_row(8, 100, 101, 10, 5)]
    assert fills(shrunk) == [(1, 5, 101), (1, 3, 101)]
    emptied = [*script, quote_row(7, 100, 102, 10, 1), quote_row(8, 100, 101, 10, 5)]
    assert fills(emptied) == [(1, 5, 101), (1, 1, 102), (1, 3, 101)]


def test_a_level_that_a_better_quote_covers_is_still_there():
    script = [quote(order(1, BUY, 9), sizes=(10, 5)), quote_row(2, 99, 100, 10, 1), quote_row(3, 99, 101, 10, 5)]
    assert fills(script) == [(1, 5, 101), (1, 1, 100)]


def test_a_side_that_one_quote_does_not_show_gives_nothing_back():
    script = [quote(order(1, BUY, 9), sizes=(10, 5)), quote_row(2, 99, None, 10, 0), quote_row(3, 99, 101, 10, 5)]
    assert fills(script) == [(1, 5, 101)]


def test_resting_orders_do_not_drink_the_same_lots_again():
    quotes = [quote_row(k, 99 - k % 2, 100, 5, 5) for k in range(1, 4)]
    script = [(quote_row(0, 98, 102), order(1, BUY, 15, LIMIT, 100)), *quotes]
    assert fills(script) == [(1, 5, 100)]


def test_a_print_uses_up_the_quote_until_the_next_one():
    script = [quote(sizes=(5, 5)), (trade_row(1, 100, 3), order(1, SELL, 9)), quote_row(2, 99, 101, 8, 8)]
    assert fills(script) == [(1, 2, 100), (1, 7, 99)]
    through = [quote(sizes=(5, 5)), (trade_row(1, 99, 1), order(1, SELL, 9)), quote_row(2, 98, 101, 8, 8)]
    assert fills(through) == [(1, 8, 98)]
    other_side = [quote(sizes=(5, 5)), (trade_row(1, 100, 3, side=BookSide.BID), order(1, SELL, 9))]
    assert fills(other_side) == [(1, 5, 100)]


def test_a_print_that_tells_of_what_a_quote_has_shown_uses_up_nothing():
    first = [trade_row(0, 101), quote(sizes=(5, 5))]
    script = [*first, quote_row(1, 100, 101, 2, 5), (trade_row(2, 100, 3), order(1, SELL, 9))]
    assert fills(script) == [(1, 2, 100)]


def test_the_rest_of_a_limit_beyond_the_quote_goes_on_taking():
    script = [quote(order(1, BUY, 9, LIMIT, 103), sizes=(9, 5)), quote_row(2, 100, 102, 9, 3), quote_row(3, 100, 105)]
    reports = [one for one in said([*script, trade_row(4, 103, 1), trade_row(5, 102, 1)]) if one.kind == "F"]
    assert [(one.lots, one.price, one.maker) for one in reports] == [(5, 101, False), (3, 102, False), (1, 103, True)]


# A trade only triggers.


def test_a_stop_meets_the_market_after_the_trade_that_triggered_it():
    first = [trade_row(0, 101), quote(order(1, SELL, 5, STOP, stop=100), sizes=(5, 5))]
    assert fills([*first, trade_row(5, 100, 5), quote_row(6, 98, 101, 9, 5)]) == [(1, 5, 98)]
    one_event = [*first, trade_row(5, 100, 5, bid=98, ask=101, sizes=(9, 5))]
    assert fills(one_event) == [(1, 5, 98)]


def test_on_trades_alone_a_taker_pays_the_print_or_its_trigger_and_half_a_spread():
    script = [
        (trade_row(0, 100), order(1, BUY, 2), order(2, SELL, 3), order(3, SELL, 1, STOP, stop=98), order(4, BUY, 1, LIMIT, 100)),
        trade_row(5, 97),
    ]  # fmt: skip
    assert fills(script, half_spread_ticks=2) == [(1, 2, 102), (2, 3, 98), (4, 1, 100), (3, 1, 95)]
    above = [(trade_row(0, 100), order(3, BUY, 1, STOP, stop=102)), trade_row(5, 102)]
    assert fills(above, half_spread_ticks=1) == [(3, 1, 103)]


# Queues.


def test_a_print_that_a_quote_has_told_of_moves_a_queue_once():
    script = [
        trade_row(0, 101),
        quote(order(1, BUY, 4, LIMIT, 100)),
        quote_row(5, 100, 101, 4, 10),
        trade_row(6, 100, 6),
    ]
    assert fills(script, **QUEUE) == []
    assert fills([*script, trade_row(7, 100, 5)], **QUEUE) == [(1, 1, 100)]
    late = [
        trade_row(0, 101),
        quote(),
        (quote_row(5, 100, 101, 4, 10), order(1, BUY, 4, LIMIT, 100)),
        trade_row(6, 100, 6),
    ]
    assert fills(late, **QUEUE) == []  # The lots left before we came.


def test_one_odd_quote_does_not_erase_a_queue_and_two_in_a_row_do():
    odd = [quote(order(1, BUY, 4, LIMIT, 100)), quote_row(5, 99, 101)]
    back = [*odd, quote_row(6, 100, 101), trade_row(7 + 2 * 10**9, 100, 9)]
    assert fills(back, **QUEUE) == []
    gone = [*odd, quote_row(6, 99, 102), trade_row(6 + 2 * 10**9, 100, 3)]
    assert fills(gone, **QUEUE) == [(1, 3, 100)]


@pytest.mark.parametrize("rule", [TOUCH, QUEUE])
def test_who_lifts_the_offer_fills_no_bid(rule):
    script = [quote(order(1, BUY, 4, LIMIT, 100), bid=99), trade_row(5, 100, 3, side=BookSide.BID)]
    assert fills(script, **rule) == []
    assert fills([*script, trade_row(6, 100, 3, side=BookSide.ASK)], **rule) == [(1, 3, 100)]
    assert fills([*script, trade_row(6, 99, 3, side=BookSide.BID)], **rule) == [(1, 3, 100)]


# Closed markets and far prints.


def test_a_market_order_that_comes_after_the_close_waits_for_the_opening():
    day = schedule_of((0, 1, 0), (10, 20, 1))
    second = 10**9
    patient = {"time_in_force": TimeInForce.GTC}
    script = [
        quote(),
        (trade_row(50 * second, 100, 1), order(1, BUY, 1, effective_ts=START + 70 * second, **patient)),
        quote_row(500 * second, 90, 91),  # Before the opening.
        quote_row(600 * second, 104, 105),
    ]
    reports = said(script, schedules=(day, day))
    assert [(one.kind, one.ts_event - START, one.price) for one in reports] == [
        ("0", 70 * second, 0),
        ("F", 600 * second, 105),
    ]
    hurried = [*script[:1], (script[1][0], order(1, BUY, 1, effective_ts=START + 70 * second, **IOC)), *script[2:]]
    assert ends(hurried, schedules=(day, day)) == [(1, "out_of_session")]


def test_a_print_before_the_opening_fills_nothing_and_starts_nothing():
    day = schedule_of((0, 1, 0), (10, 20, 1))
    second, patient = 10**9, {"time_in_force": TimeInForce.GTC}
    script = [
        (quote_row(0, 100, 101), order(1, BUY, 1, LIMIT, 95, **patient), order(2, SELL, 1, STOP, stop=93, **patient)),
        trade_row(500 * second, 90, 5),
        trade_row(600 * second, 94, 5),
    ]
    reports = said(script, schedules=(day, day))
    assert [(one.order_id, one.ts_event - START) for one in reports if one.kind in "FL"] == [(1, 600 * second)]


def test_a_print_far_from_the_quote_fills_nothing_starts_nothing_and_is_counted():
    wide = {"bid": 9_999, "ask": 10_001}
    script = [
        trade_row(0, 10_000),
        quote(order(1, BUY, 1, LIMIT, 9_990), order(2, SELL, 1, STOP, stop=9_995), ns=1, **wide),
        trade_row(2, 9_800),
        (trade_row(3, 10_000), order(3, SELL, 1, STOP, stop=9_990)),
        quote_row(4, 9_999, 10_001),
    ]
    assert fills(script, far_prints_ppm=10_000) == []
    assert fills(script, far_prints_ppm=20_000) == [(1, 1, 9_990), (2, 1, 9_995)]
    assert fills(script) == [(1, 1, 9_990), (2, 1, 9_995)]
    stale = [*script[:2], trade_row(61 * 10**9, 9_800), quote_row(62 * 10**9, 9_799, 9_801)]
    assert fills(stale, far_prints_ppm=10_000) == [(1, 1, 9_990), (2, 1, 9_799)]


# Messages under way.


def test_a_cancel_that_comes_after_the_fill_is_answered():
    script = [(quote_row(0, 98, 102), order(1, BUY, 1, LIMIT, 99)), (quote_row(900, 97, 98), cancel(1)), LATER]
    script[1] = (quote_row(100, 98, 102), cancel(1))
    script[2:] = [quote_row(900, 97, 98), quote_row(5_000, 97, 98)]
    reports = said(script, latency=ConstantLatency(order=850))
    assert [(one.kind, one.ts_event - START, one.reason) for one in reports] == [
        ("0", 850, ""),
        ("F", 900, ""),
        ("9", 950, "too_late"),
    ]


def test_changes_under_way_are_made_one_after_the_other_and_a_fifth_is_refused():
    asked = [change(1, lots) for lots in (2, 3, 4, 5, 6)]
    script = [(quote_row(0, 98, 102), order(1, BUY, 1, LIMIT, 99)), (quote_row(1_000, 98, 102), *asked), LATER]
    script[2] = quote_row(9_000, 98, 102)
    reports = said(script, latency=ConstantLatency(order=500))
    assert [(one.kind, one.leaves, one.reason) for one in reports][:6] == [
        ("0", 1, ""),
        ("9", 0, "invalid"),
        ("5", 2, ""),
        ("5", 3, ""),
        ("5", 4, ""),
        ("5", 5, ""),
    ]


def test_messages_of_one_session_do_not_overtake_each_other():
    latency = LognormalLatency(floor=0, median=1_000, sigma=2.0)
    script = [quote(*(order(k, BUY, 1, LIMIT, 90) for k in range(1, 41))), quote_row(10**9, 100, 101)]
    news = [one for one in said(script, latency=latency) if one.kind == "0"]
    assert [one.order_id for one in news] == list(range(1, 41))
