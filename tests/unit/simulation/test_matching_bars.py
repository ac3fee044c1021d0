"""The simulated venue on bars, one rule a test. An order is asked for after the first bar, so the second is its first chance.

Bars here are written open, high, low, close around 100 ticks.
"""

from grandmodel.domain.blocks import Flag
from grandmodel.domain.orders import TimeInForce
from grandmodel.simulation.models import ConstantLatency, FixedSlippage
from strategies import MINUTE, START, bar_row, quote_row, schedule_of
from venue_scripts import (
    BUY,
    LIMIT,
    SELL,
    STOP,
    STOP_LIMIT,
    TOUCH,
    bracket,
    cancel,
    change,
    ends,
    fills,
    order,
    said,
)


def first(*asked, **more):
    return (bar_row(0, 100, 100, 100, 100, **more), *asked)


def second(open_, high, low, close, volume=1_000, **more):
    return bar_row(5, open_, high, low, close, volume, **more)


def third(open_, high, low, close, volume=1_000, **more):
    return bar_row(10, open_, high, low, close, volume, **more)


def test_a_market_order_fills_at_the_next_open():
    reports = said([first(order(1, BUY, 3)), second(104, 110, 90, 95)])
    assert [(one.kind, one.lots, one.price, one.leaves) for one in reports] == [("0", 0, 0, 3), ("F", 3, 104, 0)]
    assert reports[1].ts_event == START + 5 * MINUTE  # it happened at the open
    assert reports[1].ts_init == START + 10 * MINUTE  # we know it when the bar is there


def test_an_order_decided_inside_a_bar_waits_for_the_next_one():
    # CL's bar ends three minutes after NQ's bar began: an order decided then was not there at NQ's open.
    early = bar_row(0, 50, 50, 50, 50, width=8, instrument=1)
    script = [
        bar_row(0, 100, 100, 100, 100),
        (early, order(1, BUY, 1)),
        second(104, 110, 90, 95),
        third(99, 99, 99, 99),
    ]
    assert fills(script) == [(1, 1, 99)]


def test_what_takes_pays_half_a_spread_and_what_rests_does_not():
    asked = [
        order(1, BUY, 1),
        order(2, SELL, 1, STOP, stop=97),
        order(3, BUY, 1, LIMIT, 98),
        order(4, SELL, 1, STOP_LIMIT, 95, 97),
    ]
    script = [first(*asked), second(100, 101, 96, 100)]
    assert fills(script) == [(1, 1, 100), (2, 1, 97), (4, 1, 97), (3, 1, 98)]
    assert fills(script, half_spread_ticks=2) == [(1, 1, 102), (2, 1, 95), (4, 1, 97), (3, 1, 98)]


def test_a_bar_outside_every_session_fills_nothing():
    day = schedule_of((0, 5, 0), (10, 60, 1))
    script = [first(order(1, BUY, 1)), second(100, 101, 99, 100), third(103, 104, 102, 103)]
    assert fills(script, schedules=(day, day)) == [(1, 1, 103)]


def test_slippage_is_paid_on_market_and_stop_orders_and_never_beyond_a_limit():
    script = [
        first(
            order(1, BUY, 1), order(2, SELL, 1), order(3, BUY, 1, LIMIT, 101), order(4, SELL, 1, STOP, stop=98),
            order(5, BUY, 1, STOP_LIMIT, 106, 105),
        ),
        second(100, 107, 97, 100),
    ]  # fmt: skip
    assert fills(script, slippage=FixedSlippage(ticks=2)) == [
        (1, 1, 102),
        (2, 1, 98),
        (3, 1, 100),
        (4, 1, 96),
        (5, 1, 105),
    ]


def test_a_limit_that_the_open_betters_fills_at_the_open():
    assert fills([first(order(1, BUY, 1, LIMIT, 98)), second(95, 99, 94, 96)]) == [(1, 1, 95)]
    assert fills([first(order(1, SELL, 1, LIMIT, 102)), second(105, 106, 99, 101)]) == [(1, 1, 105)]


def test_a_limit_inside_the_range_fills_at_its_price_when_passed():
    assert fills([first(order(1, BUY, 1, LIMIT, 98)), second(100, 101, 97, 99)]) == [(1, 1, 98)]
    assert fills([first(order(1, SELL, 1, LIMIT, 102)), second(100, 103, 97, 99)]) == [(1, 1, 102)]


def test_a_limit_that_is_only_touched_fills_under_touch_alone():
    script = [first(order(1, BUY, 1, LIMIT, 97)), second(100, 101, 97, 99)]
    assert fills(script) == []
    assert fills(script, **TOUCH) == [(1, 1, 97)]


def test_a_resting_limit_is_a_maker_and_one_that_meets_the_open_at_once_a_taker():
    script = [first(order(1, BUY, 1, LIMIT, 98), order(2, BUY, 1, LIMIT, 101)), second(100, 101, 97, 99)]
    assert {one.order_id: one.maker for one in said(script) if one.kind == "F"} == {1: True, 2: False}


def test_a_stop_inside_the_range_fills_at_its_trigger_and_one_that_the_open_passed_at_the_open():
    assert fills([first(order(1, BUY, 1, STOP, stop=103)), second(100, 104, 99, 100)]) == [(1, 1, 103)]
    assert fills([first(order(1, BUY, 1, STOP, stop=103)), second(106, 108, 105, 107)]) == [(1, 1, 106)]
    assert fills([first(order(1, SELL, 1, STOP, stop=97)), second(100, 104, 97, 100)]) == [(1, 1, 97)]


def test_a_stop_limit_beyond_its_limit_rests_until_the_next_bar():
    script = [first(order(1, BUY, 1, STOP_LIMIT, 104, 103)), second(106, 108, 100, 107), third(107, 108, 103, 105)]
    reports = said(script)
    assert [one.kind for one in reports] == ["0", "L", "F"]
    assert (reports[2].price, reports[2].ts_event) == (104, START + 15 * MINUTE)
    below = [first(order(1, BUY, 1, STOP_LIMIT, 102, 103)), second(100, 108, 100, 107), third(107, 108, 101, 105)]
    assert fills(below) == [(1, 1, 102)]


def test_a_stop_limit_that_the_open_passes_by_a_tick_rests_on_either_side():
    bought = [first(order(1, BUY, 1, STOP_LIMIT, 105, 103)), second(106, 108, 100, 107), third(107, 108, 103, 105)]
    sold = [first(order(1, SELL, 1, STOP_LIMIT, 95, 97)), second(94, 99, 92, 93), third(93, 97, 92, 95)]
    for script, price in ((bought, 105), (sold, 95)):
        reports = said(script)
        assert [(one.kind, one.ts_event - START) for one in reports[1:]] == [("L", 5 * MINUTE), ("F", 15 * MINUTE)]
        assert reports[2].price == price


def test_a_stop_limit_inside_the_range_fills_at_its_trigger():
    assert fills([first(order(1, BUY, 1, STOP_LIMIT, 104, 103)), second(100, 108, 100, 107)]) == [(1, 1, 103)]


def test_where_a_stop_and_a_target_lie_in_one_bar_the_stop_comes_first():
    entry = order(1, BUY, 2)
    script = [
        first(entry, *bracket(entry, 2, stop=95, target=105)),
        second(100, 100, 100, 100),
        third(100, 106, 94, 101),
    ]
    assert fills(script) == [(1, 2, 100), (2, 2, 95)]
    assert ends(script) == [(3, "oco")]


def test_a_bracket_s_exits_wake_when_the_entry_fills_and_not_before():
    entry = order(1, BUY, 2, LIMIT, 90)
    script = [first(entry, *bracket(entry, 2, stop=85, target=95)), second(100, 120, 91, 100), third(100, 100, 88, 93)]
    assert fills(script) == [(1, 2, 90)]
    kinds = [(one.order_id, one.kind) for one in said(script)]
    assert kinds == [(1, "0"), (1, "F"), (2, "0"), (3, "0")]


def test_an_entry_at_the_open_can_meet_its_target_in_the_same_bar():
    entry = order(1, BUY, 1)
    script = [first(entry, *bracket(entry, 2, stop=90, target=105)), second(100, 106, 95, 101)]
    assert fills(script) == [(1, 1, 100), (3, 1, 105)]


def test_an_entry_inside_the_bar_cannot_meet_its_target_there_but_can_be_stopped_out():
    entry = order(1, BUY, 1, LIMIT, 97)
    script = [first(entry, *bracket(entry, 2, stop=90, target=99)), second(100, 106, 95, 101), third(98, 98, 98, 98)]
    assert fills(script) == [(1, 1, 97)]
    script = [first(entry, *bracket(entry, 2, stop=95, target=99)), second(100, 106, 94, 101)]
    assert fills(script) == [(1, 1, 97), (2, 1, 95)]


def test_a_stop_entry_can_be_stopped_out_in_its_own_bar():
    entry = order(1, BUY, 1, STOP, stop=103)
    script = [first(entry, *bracket(entry, 2, stop=99, target=120)), second(100, 104, 98, 101)]
    assert fills(script) == [(1, 1, 103), (2, 1, 99)]


def test_the_exits_of_an_entry_that_never_filled_end_with_it():
    entry = order(1, BUY, 2, LIMIT, 90)
    script = [
        first(entry, *bracket(entry, 2, stop=85, target=95)),
        (second(100, 100, 100, 100), cancel(1)),
        third(1, 1, 1, 1),
    ]
    assert ends(script) == [(1, "asked"), (2, "parent"), (3, "parent")]


def test_one_cancels_other_reduces_by_what_filled_and_then_cancels():
    pair = {"oco_group": 7}
    script = [
        first(order(1, SELL, 10, LIMIT, 105, **pair), order(2, SELL, 10, STOP, stop=95, **pair)),
        second(100, 106, 99, 100, 40),  # a tenth of 40 lots: 4 fill
        third(100, 100, 94, 95, 1_000),
    ]
    assert fills(script, participation_ppm=100_000) == [(1, 4, 105), (2, 6, 95)]
    assert ends(script, participation_ppm=100_000) == [(1, "oco")]


def test_participation_caps_all_our_fills_of_a_bar_together():
    script = [
        first(order(1, BUY, 6), order(2, BUY, 6)),
        second(100, 100, 100, 100, 40),
        third(101, 101, 101, 101, 1_000),
    ]
    assert fills(script, participation_ppm=200_000) == [(1, 6, 100), (2, 2, 100), (2, 4, 101)]


def test_an_unknown_volume_caps_nothing_and_a_volume_of_zero_everything():
    assert fills([first(order(1, BUY, 6)), second(100, 100, 100, 100, -1)], participation_ppm=1) == [(1, 6, 100)]
    assert fills([first(order(1, BUY, 6)), second(100, 100, 100, 100, 0)], participation_ppm=10**6) == []


def test_a_market_order_that_fills_in_parts_stays_a_taker():
    script = [first(order(1, BUY, 6)), second(100, 100, 100, 100, 4), third(101, 101, 101, 101)]
    parts = [one for one in said(script, participation_ppm=10**6) if one.kind == "F"]
    assert [(one.lots, one.leaves, one.filled, one.maker) for one in parts] == [(4, 2, 4, False), (2, 0, 6, False)]


def test_ioc_takes_what_it_gets_at_the_open_and_ends():
    ioc = {"time_in_force": TimeInForce.IOC}
    script = [first(order(1, BUY, 6, **ioc), order(2, BUY, 6, LIMIT, 98, **ioc)), second(100, 100, 90, 95, 4)]
    assert fills(script, participation_ppm=10**6) == [(1, 4, 100)]
    assert ends(script, participation_ppm=10**6) == [(1, "not_fillable"), (2, "not_fillable")]


def test_fok_fills_whole_or_not_at_all():
    fok = {"time_in_force": TimeInForce.FOK}
    script = [first(order(1, BUY, 6, **fok), order(2, BUY, 3, **fok)), second(100, 100, 100, 100, 4)]
    assert fills(script, participation_ppm=10**6) == [(2, 3, 100)]
    assert ends(script, participation_ppm=10**6) == [(1, "not_fillable")]


def test_ioc_and_fok_stops_inside_a_bar_end_there():
    script = [
        first(
            order(1, BUY, 6, STOP, stop=103, time_in_force=TimeInForce.FOK),
            order(2, BUY, 6, STOP, stop=103, time_in_force=TimeInForce.IOC),
        ),
        second(100, 104, 99, 100, 4),
        third(100, 104, 99, 100),
    ]
    assert fills(script, participation_ppm=10**6) == [(2, 4, 103)]
    assert ends(script, participation_ppm=10**6) == [(1, "not_fillable"), (2, "not_fillable")]


def test_a_day_order_ends_at_the_close_of_its_trading_day_over_a_break():
    day = schedule_of((0, 30, 0), (40, 60, 0), (100, 160, 1))
    rows = [bar_row(45, 100, 100, 100, 100), bar_row(100, 100, 100, 80, 100)]
    script = [first(order(1, BUY, 1, LIMIT, 90)), *rows]
    reports = said(script, schedules=(day, day))
    assert [(one.kind, one.reason) for one in reports] == [("0", ""), ("C", "session_close")]
    assert reports[1].ts_event == START + 60 * MINUTE


def test_a_day_order_takes_part_in_the_bar_that_ends_with_the_session():
    day = schedule_of((0, 10, 0), (100, 160, 1))
    assert fills([first(order(1, BUY, 1, LIMIT, 98)), second(100, 100, 97, 99)], schedules=(day, day)) == [(1, 1, 98)]


def test_a_day_order_sent_at_the_close_belongs_to_the_next_day():
    day = schedule_of((0, 5, 0), (100, 160, 1), (200, 260, 2))
    script = [first(order(1, BUY, 1, LIMIT, 90)), bar_row(200, 100, 100, 80, 100)]
    assert [(one.kind, one.ts_event) for one in said(script, schedules=(day, day))][1] == ("C", START + 160 * MINUTE)


def test_gtc_outlives_the_day_and_gtd_ends_at_its_time():
    day = schedule_of((0, 30, 0), (100, 160, 1))
    script = [
        first(
            order(1, BUY, 1, LIMIT, 90, time_in_force=TimeInForce.GTC),
            order(2, BUY, 1, LIMIT, 90, time_in_force=TimeInForce.GTD, expire_ts=20 * MINUTE),
        ),
        bar_row(100, 100, 100, 80, 100),
    ]
    assert fills(script, schedules=(day, day)) == [(1, 1, 90)]
    reports = said(script, schedules=(day, day))
    assert [(one.order_id, one.reason, one.ts_event) for one in reports if one.kind == "C"] == [
        (2, "good_till_date", START + 25 * MINUTE)
    ]


def test_a_halted_bar_fills_nothing():
    script = [first(order(1, BUY, 1)), second(100, 100, 100, 100, flags=Flag.HALTED), third(107, 107, 107, 107)]
    assert fills(script) == [(1, 1, 107)]


def test_a_cancel_is_answered_and_a_late_one_refused():
    script = [
        first(order(1, BUY, 1), order(2, BUY, 1, LIMIT, 50)),
        (second(100, 100, 99, 100), cancel(1), cancel(2), cancel(9)),
        third(1, 1, 1, 1),
    ]
    answers = [(one.order_id, one.kind, one.reason) for one in said(script) if one.kind in "49"]
    assert sorted(answers) == [(1, "9", "too_late"), (2, "4", "asked"), (9, "9", "unknown_order")]


def test_a_change_moves_price_and_quantity_and_one_below_the_filled_lots_cancels():
    script = [
        first(order(1, BUY, 6, LIMIT, 90), order(2, BUY, 6)),
        (second(100, 100, 100, 100, 4), change(1, 3, price=101), change(2, 4)),
        third(100, 100, 100, 100),
    ]
    reports = said(script, participation_ppm=10**6)
    assert [(one.order_id, one.lots, one.price) for one in reports if one.kind == "F"] == [(2, 4, 100), (1, 3, 100)]
    assert [(one.order_id, one.kind, one.leaves) for one in reports if one.kind in "45"] == [(1, "5", 3), (2, "4", 0)]


def test_a_change_of_a_bracket_s_exit_does_not_let_it_sell_more_than_was_bought():
    entry = order(1, BUY, 6)
    script = [
        first(entry, *bracket(entry, 2, stop=90, target=120)),
        (second(100, 100, 100, 100, 4), change(2, 6, stop_price=95)),  # 4 of 6 are held
        bar_row(10, 96, 96, 94, 95, 0),
        bar_row(15, 95, 95, 95, 95, 1_000),
    ]
    assert fills(script[:2], participation_ppm=10**6) == [(1, 4, 100)]
    assert fills(script, participation_ppm=10**6) == [(1, 4, 100), (1, 2, 95), (2, 6, 95)]


def test_a_change_of_a_waiting_exit_keeps_it_as_large_as_the_entry():
    entry = order(1, BUY, 5, LIMIT, 95)
    script = [
        first(entry, *bracket(entry, 2, stop=90, target=120)),
        (second(100, 100, 100, 100), change(2, 5, stop_price=92)),
        third(100, 100, 94, 96),
        bar_row(15, 96, 96, 91, 92),
    ]
    reports = said(script)
    assert [(one.kind, one.leaves, one.filled) for one in reports if one.kind == "5"] == [("5", 5, 0)]
    assert [(one.order_id, one.lots, one.price) for one in reports if one.kind == "F"] == [(1, 5, 95), (2, 5, 92)]


def test_a_change_after_a_partner_filled_keeps_the_reduction():
    pair = {"oco_group": 7}
    script = [
        first(order(1, SELL, 10, LIMIT, 105, **pair), order(2, SELL, 10, STOP, stop=95, **pair)),
        (second(100, 106, 99, 100, 4), change(2, 10, stop_price=96)),
        third(100, 100, 94, 95, 1_000),
    ]
    assert fills(script, participation_ppm=10**6) == [(1, 4, 105), (2, 6, 96)]


def test_a_partner_still_on_its_way_is_reduced_too():
    """Both reach the venue at one moment; the first is marketable there and fills before the second has arrived."""
    pair = {"oco_group": 7}
    script = [
        (quote_row(0, 99, 100), order(1, BUY, 2, LIMIT, 100, **pair), order(2, BUY, 2, LIMIT, 99, **pair)),
        quote_row(1_000, 97, 98),
    ]
    assert fills(script) == [(1, 2, 100)]
    assert ends(script) == [(2, "oco")]


def test_latency_above_a_bar_s_open_misses_that_bar_only_where_it_is_longer_than_the_bar():
    script = [first(order(1, BUY, 1)), second(104, 110, 90, 95), third(99, 99, 99, 99)]
    assert fills(script, latency=ConstantLatency(order=4 * MINUTE)) == [(1, 1, 104)]
    assert fills(script, latency=ConstantLatency(order=6 * MINUTE)) == [(1, 1, 99)]


def test_what_is_left_of_a_stop_fills_no_better_than_its_trigger_at_the_next_open():
    script = [first(order(1, SELL, 6, STOP, stop=95)), second(100, 100, 94, 99, 4), third(99, 99, 99, 99, 100)]
    assert fills(script, participation_ppm=10**6) == [(1, 4, 95), (1, 2, 95)]


def test_an_order_that_only_reduces_stops_at_zero_in_a_bar():
    closing = {"reduce_only": True}
    script = [
        first(order(1, BUY, 2)),
        (second(100, 100, 100, 100), order(2, SELL, 2, LIMIT, 105, **closing), order(3, SELL, 1)),
        third(100, 106, 100, 100),
    ]
    assert fills(script) == [(1, 2, 100), (3, 1, 100), (2, 1, 105)]
    assert ends(script) == [(2, "reduce_only")]
    nothing = [first(order(1, SELL, 2, STOP, stop=95, **closing)), second(100, 100, 94, 96)]
    assert (fills(nothing), ends(nothing)) == ([], [(1, "reduce_only")])
