"""The table of order types, and what the newer ones do: if-touched, market-to-limit, trailing, iceberg. One rule a test."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.domain.blocks import Action, BookSide
from grandmodel.domain.orders import ORDER_TYPES, OrderType, TimeInForce
from grandmodel.simulation.models import FixedSlippage
from strategies import bar_row, quote_row, tick_row, trade_row
from unit.simulation.test_depth import BID, BOOK_OF_FOUR, add, event, trade
from venue_scripts import (
    BUY,
    LIMIT,
    MARKET,
    QUEUE,
    SELL,
    STOP,
    TOUCH,
    UNLIMITED,
    change,
    ends,
    fills,
    order,
    said,
)

MIT, LIT = OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED
TO_LIMIT, TRAILING = OrderType.MARKET_TO_LIMIT, OrderType.TRAILING_STOP
PAGE = Path(__file__).parents[3] / "docs/reference/order-types.md"


def first(*asked):
    return (bar_row(0, 100, 100, 100, 100), *asked)


def second(open_, high, low, close, volume=1_000):
    return bar_row(5, open_, high, low, close, volume)


def third(open_, high, low, close, volume=1_000):
    return bar_row(10, open_, high, low, close, volume)


# The table.


def test_the_page_shows_every_type_as_the_table_has_it():
    shown = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0].startswith("`"):
            shown[cells[0].strip("`")] = cells[1:]
    expected = {}
    for kind, terms in ORDER_TYPES.items():
        has = {"limit": terms.has_limit, "trigger": terms.has_trigger, "trail": terms.has_trail}
        expected[kind.name] = [
            ", ".join(name for name, it_has in has.items() if it_has) or "none",
            {0: "at once", 1: "against its side", -1: "towards its side"}[terms.waits],
            terms.becomes.name.lower().replace("_", " "),
            "yes" if terms.may_rest else "no",
            terms.fix,
        ]
    assert set(ORDER_TYPES) == set(OrderType)
    assert shown == expected


@pytest.mark.parametrize("kind", OrderType)
def test_a_type_takes_just_the_prices_that_it_has(kind):
    terms = ORDER_TYPES[kind]
    own = (100 if terms.has_limit else None, 100 if terms.has_trigger else None, 3 if terms.has_trail else 0)
    assert terms.fits(*own, 0)
    assert terms.fits(*own, 2) is terms.may_rest
    assert not terms.fits(*own, -1)
    for place, other in ((0, None if terms.has_limit else 100), (1, None if terms.has_trigger else 100)):
        wrong = list(own)
        wrong[place] = other
        assert not terms.fits(*wrong, 0)
    assert not terms.fits(*own[:2], 0 if terms.has_trail else 3, 0)
    assert not terms.fits(*own[:2], -3, 0)


# If touched.


def test_an_if_touched_order_fills_at_its_trigger_inside_a_bar_with_slippage():
    script = [first(order(1, BUY, 1, MIT, stop=97), order(2, SELL, 1, MIT, stop=104)), second(100, 104, 97, 100)]
    assert fills(script) == [(1, 1, 97), (2, 1, 104)]
    assert fills(script, slippage=FixedSlippage(ticks=2)) == [(1, 1, 99), (2, 1, 102)]


def test_an_if_touched_order_that_the_open_has_passed_fills_at_the_open():
    assert fills([first(order(1, BUY, 1, MIT, stop=97)), second(93, 99, 92, 95)]) == [(1, 1, 93)]


def test_a_stop_comes_before_an_if_touched_target_in_one_bar():
    script = [
        first(order(1, BUY, 1)),
        second(100, 101, 99, 100),
        third(100, 110, 90, 100),
    ]
    script[1] = (
        script[1],
        order(2, SELL, 1, MIT, stop=105, oco_group=1),
        order(3, SELL, 1, STOP, stop=95, oco_group=1),
    )
    assert fills(script) == [(1, 1, 100), (3, 1, 95)]


def test_a_limit_if_touched_takes_at_its_trigger_or_rests_at_its_limit_in_the_same_bar():
    worse, better = order(1, BUY, 1, LIT, 98, 97), order(1, BUY, 1, LIT, 95, 97)
    assert fills([first(worse), second(100, 101, 96, 100)]) == [(1, 1, 97)]
    assert fills([first(better), second(100, 101, 96, 100)]) == []
    assert fills([first(better), second(100, 101, 94, 100)]) == [(1, 1, 95)]
    assert fills([first(better), second(100, 101, 96, 100), third(99, 99, 94, 99)]) == [(1, 1, 95)]
    assert ends([first(order(1, BUY, 1, LIT, 95, 97, time_in_force=TimeInForce.IOC)), second(100, 101, 94, 100)]) == [
        (1, "not_fillable")
    ]


def test_a_limit_if_touched_that_the_open_started_rests_within_that_bar():
    assert fills([first(order(1, BUY, 1, LIT, 95, 97)), second(96, 99, 94, 98)]) == [(1, 1, 95)]


def test_an_if_touched_order_waits_for_trades_and_pays_the_quote():
    script = [
        quote_row(0, 99, 101),
        (trade_row(1, 100), order(1, BUY, 2, MIT, stop=98)),
        quote_row(2, 95, 97),  # Trades are what starts it, where there are any.
        trade_row(3, 98),
        quote_row(4, 95, 97),
    ]
    assert fills(script[:4]) == []
    assert fills(script) == [(1, 2, 97)]  # No worse than the market: its trigger promises nothing.


def test_an_if_touched_order_of_quotes_alone_looks_at_the_other_side():
    script = [(quote_row(0, 99, 101), order(1, SELL, 2, MIT, stop=103)), quote_row(2, 102, 103), quote_row(3, 103, 104)]
    assert fills(script[:2]) == []
    assert fills(script) == [(1, 2, 103)]


# Market to limit.


def test_what_a_market_to_limit_order_leaves_rests_at_the_price_of_its_first_fill():
    script = [
        (quote_row(0, 99, 101, 10, 3), order(1, BUY, 5, TO_LIMIT)),
        quote_row(1, 99, 102),  # A market order would pay this.
        quote_row(2, 100, 101, 10, 1),
        trade_row(3, 100, 9),
    ]
    assert fills(script) == [(1, 3, 101), (1, 1, 101), (1, 1, 101)]
    assert [one.maker for one in said(script) if one.kind == "F"] == [False, True, True]


def test_a_market_to_limit_order_waits_where_there_is_nothing_to_take():
    script = [(quote_row(0, 99, None), order(1, BUY, 5, TO_LIMIT)), quote_row(1, 99, 102)]
    assert fills(script) == [(1, 5, 102)]


def test_a_market_to_limit_order_on_bars_rests_at_the_open_that_it_took():
    script = [first(order(1, BUY, 5, TO_LIMIT)), second(103, 104, 101, 102, 40), third(104, 105, 102, 104, 1_000)]
    assert fills(script, participation_ppm=100_000) == [(1, 4, 103), (1, 1, 103)]


def test_a_market_to_limit_order_is_refused_in_a_halt_like_a_market_order():
    script = [quote_row(0, 99, 101), (tick_row(1, Action.HALT), order(1, BUY, 1, TO_LIMIT)), quote_row(2, 99, 101)]
    assert ends(script) == [(1, "halted")]


def test_a_change_that_was_on_its_way_when_a_market_to_limit_order_filled_leaves_its_price_alone():
    script = [
        (quote_row(0, 99, 101, 10, 3), order(1, BUY, 5, TO_LIMIT), change(1, 6)),
        quote_row(1, 99, 102),
        trade_row(3, 100, 9),
    ]
    assert fills(script) == [(1, 3, 101), (1, 3, 101)]


# Trailing stops.


def trailing(number, side, ticks, lots=1, **more):
    return order(number, side, lots, TRAILING, trail_ticks=ticks, **more)


def test_a_trailing_stop_follows_trades_and_never_steps_back():
    script = [
        (trade_row(0, 100), trailing(1, SELL, 3)),
        *(trade_row(k + 1, price) for k, price in enumerate((101, 104, 102, 103))),
    ]
    assert fills(script) == []
    assert fills([*script, trade_row(9, 101)]) == [(1, 1, 101)]
    found = [one for one in said([*script, trade_row(9, 99)]) if one.kind == "F"]
    assert [(one.price, one.arrival) for one in found] == [
        (99, ("trigger", 101))
    ]  # What it cost beyond its trigger is told.


def test_a_trailing_stop_counts_from_the_last_trade_when_it_arrives():
    assert fills([(trade_row(0, 100), trailing(1, BUY, 3)), trade_row(1, 102)]) == []
    assert fills([(trade_row(0, 100), trailing(1, BUY, 3)), trade_row(1, 103)]) == [(1, 1, 103)]


def test_a_trailing_stop_of_quotes_alone_follows_the_side_that_it_would_take():
    script = [(quote_row(0, 99, 101), trailing(1, SELL, 3)), quote_row(1, 103, 105), quote_row(2, 101, 103)]
    assert fills(script) == []
    assert fills([*script, quote_row(3, 100, 102)]) == [(1, 1, 100)]


def test_a_trailing_stop_fills_no_better_than_its_trigger_beside_a_stale_quote():
    stale = quote_row(3, 104, 106)
    script = [quote_row(0, 104, 106), (trade_row(1, 105), trailing(1, SELL, 3)), trade_row(2, 101), stale]
    assert fills(script) == [(1, 1, 102)]


def test_on_bars_a_trailing_stop_moves_with_the_open_and_with_closed_bars():
    script = [first(trailing(1, SELL, 5)), second(102, 110, 98, 109), third(108, 109, 106, 108)]
    assert fills(script) == []  # At 97 after the open: the high of the same bar does not trigger it.
    assert fills([*script[:2], third(108, 109, 105, 108)]) == [(1, 1, 105)]
    assert fills([*script[:2], third(103, 109, 99, 108)]) == [(1, 1, 103)]


def test_a_trailing_stop_that_a_bar_must_have_passed_fills_at_its_worst():
    assert fills([first(trailing(1, SELL, 5)), second(100, 110, 97, 105)]) == [(1, 1, 97)]
    assert fills([first(trailing(1, BUY, 5)), second(100, 104, 90, 95)]) == [(1, 1, 104)]
    assert fills([first(trailing(1, SELL, 5)), second(100, 110, 97, 106)]) == []


def test_a_trailing_exit_of_a_bracket_counts_from_its_entry():
    child = {"parent": 1, "oco_group": 1, "time_in_force": TimeInForce.GTC}
    script = [
        (trade_row(0, 100), order(1, BUY, 1, LIMIT, 98), trailing(2, SELL, 3, **child)),
        trade_row(1, 97),
        trade_row(2, 96),
    ]
    assert fills(script) == [(1, 1, 98)]
    assert fills([*script, trade_row(3, 95)]) == [(1, 1, 98), (2, 1, 95)]


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from((BUY, SELL)),
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(-4, 4), st.lists(st.sampled_from((-1, 1)), max_size=14)), min_size=1, max_size=6),
)
def test_on_bars_a_trailing_stop_is_never_kinder_than_on_the_path_they_are_made_of(side, trail, walks):
    price, best, real, script = 100, 100, None, [first(trailing(1, side, trail))]
    for number, (gap, steps) in enumerate(walks, start=1):
        path = [price + gap]
        for step in steps:
            path.append(path[-1] + step)
        for price in path:
            level = best + trail * side
            if real is None and (price - level) * side >= 0:
                real = (number, price)
            best = min(best, price) if side > 0 else max(best, price)
        script.append(bar_row(5 * number, path[0], max(path), min(path), path[-1]))
    filled = [one for one in said(script) if one.kind == "F"]
    if filled:
        bar = [int(row["ts_init"]) for row in script[1:]].index(filled[0].ts_init) + 1
        assert real is not None
        assert real[0] <= bar
        if real[0] == bar:
            assert (filled[0].price - real[1]) * side >= 0


# Icebergs.


def test_an_iceberg_fills_what_it_shows_and_goes_to_the_back_of_the_queue():
    berg = order(1, BUY, 5, LIMIT, 99, display_quantity=2)
    later = 2 * 10**9  # A print so late tells of nothing that the quote has shown.
    script = [(quote_row(0, 99, 101, 4), berg), trade_row(1, 99, 10), quote_row(2, 99, 101, 3), trade_row(later, 99, 4)]
    assert fills(script, **QUEUE) == [(1, 2, 99), (1, 1, 99)]  # 4 ahead, 2 of ours; then 3 ahead, 1 of ours.
    assert fills([*script, trade_row(later + 1, 99, 1)], **QUEUE) == [(1, 2, 99), (1, 1, 99), (1, 1, 99)]
    whole = order(1, BUY, 5, LIMIT, 99)
    assert fills([(script[0][0], whole), *script[1:]], **QUEUE) == [(1, 5, 99)]


def test_a_trade_beyond_its_price_fills_an_iceberg_whole():
    berg = order(1, BUY, 5, LIMIT, 99, display_quantity=2)
    for rule in (TOUCH, QUEUE, {}):
        assert fills([(quote_row(0, 99, 101, 4), berg), trade_row(1, 98, 10)], **rule) == [(1, 5, 99)]


def test_one_event_at_its_price_fills_no_more_than_an_iceberg_shows():
    berg = order(1, BUY, 5, LIMIT, 99, display_quantity=2)
    at_its_price = [trade_row(1, 99, 10), trade_row(2, 99, 10), trade_row(3, 99, 10)]
    assert fills([(quote_row(0, 99, 101), berg), *at_its_price], **TOUCH) == [(1, 2, 99), (1, 2, 99), (1, 1, 99)]
    quoted = [(quote_row(0, 98, 101), berg), quote_row(1, 98, 99)]
    assert fills(quoted, **UNLIMITED) == [(1, 2, 99)]
    assert fills([quoted[0], quote_row(1, 97, 98)], **UNLIMITED) == [(1, 5, 99)]


def test_an_iceberg_takes_with_its_whole_size():
    berg = order(1, BUY, 5, LIMIT, 101, display_quantity=1)
    assert fills([(quote_row(0, 99, 101, 4, 9), berg)]) == [(1, 5, 101)]


def test_a_bar_that_touches_an_iceberg_fills_what_it_shows():
    berg = order(1, BUY, 5, LIMIT, 97, display_quantity=2)
    script = [first(berg), second(100, 101, 97, 100), third(100, 101, 96, 100)]
    assert fills(script, **TOUCH) == [(1, 2, 97), (1, 3, 97)]
    assert fills(script) == [(1, 5, 97)]


def test_in_an_order_book_an_iceberg_joins_again_behind_what_stands_there():
    berg = order(9, BUY, 3, LIMIT, 100, display_quantity=1)
    script = [
        *BOOK_OF_FOUR[:-1],
        (BOOK_OF_FOUR[-1], berg),
        add(10, BID, 5, 100, 2),
        trade(20, 100, 9),  # 8 ahead, one of ours.
        event(21, Action.CANCEL, BookSide.BID, 1, 100, 5),
        event(22, Action.CANCEL, BookSide.BID, 2, 100, 3),
        trade(30, 100, 2),  # The 2 that came later are ahead now.
        event(31, Action.CANCEL, BookSide.BID, 5, 100, 2),
        trade(40, 100, 1),
    ]
    assert fills(script[:-1], **QUEUE) == [(9, 1, 100)]
    assert fills(script, **QUEUE) == [(9, 1, 100), (9, 1, 100)]


def test_a_market_order_is_none_of_these():
    assert MARKET not in {kind for kind, terms in ORDER_TYPES.items() if terms.waits or terms.may_rest}
