"""The oracle on messages written by hand."""

import pytest

from grandmodel.domain.blocks import Action, BookSide, Flag, Schema, empty_block
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import Order, OrderType, Side, TimeInForce
from grandmodel.simulation.venue_oracle import OracleFill, VenueOracle
from plain_exchange import APART, START, block_of

B, A, N = BookSide.BID, BookSide.ASK, BookSide.NONE
ADD, CANCEL, MODIFY, TRADE, FILL = Action.ADD, Action.CANCEL, Action.MODIFY, Action.TRADE, Action.FILL


def feed(*events):
    """One list of (action, name, side, price, size) an event, 1 ms apart, the rows of an event 10 ns."""
    rows = []
    for number, event in enumerate(events):
        for k, row in enumerate(event):
            flag = Flag.LAST if k == len(event) - 1 else 0
            rows.append((START + number * APART + 10 * k, *row, flag))
    return block_of(rows)


def order(side, lots, *, price=None, stop=None, before, ts=None):
    kind = OrderType.STOP if stop is not None else OrderType.MARKET if price is None else OrderType.LIMIT
    return Order(
        order_id=OrderId(1), instrument=InstrumentId("ES"), side=side, quantity=lots, order_type=kind, price=price,
        stop_price=stop, ts=START + before * APART if ts is None else ts, time_in_force=TimeInForce.GTD,
        expire_ts=START + 10**15,
    )  # fmt: skip


def told(block, one):
    """(event, price, lots) of each fill; a fill on arrival has the event -1."""
    (fills,) = VenueOracle(block).fills([one])
    return [(fill.event, fill.price, fill.lots) for fill in fills]


BOOK = [
    [(ADD, 1, A, 100, 10)],
    [(ADD, 2, A, 101, 10)],
    [(ADD, 3, A, 102, 100)],
    [(ADD, 4, B, 99, 5)],
]


def test_a_market_order_walks_the_book():
    assert told(feed(*BOOK), order(Side.BUY, 50, before=4)) == [(-1, 100, 10), (-1, 101, 10), (-1, 102, 30)]


def test_a_stop_meets_the_book_that_its_trigger_left():
    block = feed(
        [(ADD, 1, B, 100, 5)], [(ADD, 2, B, 98, 9)], [(ADD, 3, A, 101, 9)],
        [(TRADE, 9, A, 100, 5), (FILL, 1, B, 100, 5), (CANCEL, 1, B, 100, 5)],
    )  # fmt: skip
    assert told(block, order(Side.SELL, 5, stop=100, before=3)) == [(3, 98, 5)]


def test_what_a_limit_took_is_not_there_again():
    quotes = [[(ADD, 10 + k, B, 98 - k, 5)] for k in range(3)]
    block = feed([(ADD, 1, A, 100, 5)], [(ADD, 2, B, 99, 5)], *quotes)
    assert told(block, order(Side.BUY, 15, price=100, before=2)) == [(-1, 100, 5)]


def test_a_level_that_grows_offers_what_is_more():
    block = feed(
        [(ADD, 1, A, 100, 5)], [(ADD, 2, B, 98, 5)], [(MODIFY, 1, A, 100, 8)], [(MODIFY, 1, A, 100, 4)],
        [(ADD, 3, A, 100, 2)], [(MODIFY, 1, A, 99, 4)], [(MODIFY, 1, A, 99, 5)],
    )  # fmt: skip
    assert told(block, order(Side.BUY, 15, price=100, before=2)) == [
        (-1, 100, 5),
        (2, 100, 3),
        (4, 100, 2),
        (6, 100, 1),
    ]


def test_what_was_newly_offered_is_taken_too():
    block = feed(
        [(ADD, 1, A, 102, 5), (ADD, 2, B, 98, 5)],
        [(ADD, 3, A, 100, 5)],
        [(MODIFY, 3, A, 100, 8)],
        [(MODIFY, 3, A, 99, 8)],
        [(CANCEL, 3, A, 99, 6)],
        [(MODIFY, 3, A, 99, 3)],
    )
    assert told(block, order(Side.BUY, 50, price=100, before=1)) == [(1, 100, 5), (2, 100, 3), (5, 100, 1)]


def test_a_limit_waits_for_those_before_it():
    block = feed(
        [(ADD, 1, B, 100, 5)], [(ADD, 2, B, 100, 3)], [(ADD, 3, A, 101, 9)],
        # ours comes here
        [(ADD, 4, B, 100, 7)],
        [(CANCEL, 2, B, 100, 1)],
        [(TRADE, 9, A, 100, 6), (FILL, 1, B, 100, 5), (FILL, 2, B, 100, 1), (CANCEL, 1, B, 100, 5), (MODIFY, 2, B, 100, 1)],
        [(MODIFY, 2, B, 100, 4)],  # it grows, and loses its place
        [(TRADE, 10, A, 100, 2), (FILL, 4, B, 100, 2), (MODIFY, 4, B, 100, 5)],
        [(TRADE, 11, A, 99, 4), (FILL, 8, B, 99, 4)],  # of an order that the feed never named before
    )  # fmt: skip
    assert told(block, order(Side.BUY, 9, price=100, before=3)) == [(7, 100, 2), (8, 100, 4)]
    assert told(block, order(Side.BUY, 9, price=100, before=6)) == [(8, 100, 4)]


def test_a_trade_that_goes_deeper_came_past_ours():
    block = feed(
        [(ADD, 1, B, 100, 5), (ADD, 2, B, 99, 5), (ADD, 3, A, 102, 5)],
        [(TRADE, 9, A, 100, 5), (FILL, 1, B, 100, 5), (TRADE, 9, A, 99, 2), (FILL, 2, B, 99, 2), (CANCEL, 1, B, 100, 5),
         (MODIFY, 2, B, 99, 3)],
    )  # fmt: skip
    assert told(block, order(Side.BUY, 3, price=100, before=1)) == [(1, 100, 2)]
    assert told(block, order(Side.BUY, 3, price=101, before=1)) == [(1, 101, 3)]


def test_the_aggressors_rest_would_have_met_ours():
    block = feed(
        [(ADD, 1, B, 100, 5), (ADD, 3, A, 102, 5)],
        [(TRADE, 9, A, 100, 5), (FILL, 1, B, 100, 5), (CANCEL, 1, B, 100, 5), (ADD, 9, A, 100, 4)],
    )  # fmt: skip
    assert told(block, order(Side.BUY, 3, price=100, before=1)) == [(1, 100, 3)]


def test_a_buyer_who_lifts_the_offer_fills_no_resting_buy():
    block = feed(
        [(ADD, 1, A, 100, 5), (ADD, 3, B, 98, 5)],
        [(TRADE, 9, B, 100, 5), (FILL, 1, A, 100, 5), (CANCEL, 1, A, 100, 5)],
    )
    assert told(block, order(Side.BUY, 3, price=99, before=1)) == []


def test_the_aggressors_own_fill_is_none_of_its_side():
    """An order that moves through the market is named by a fill of its own side."""
    block = feed(
        [(ADD, 2, B, 100, 1)], [(ADD, 1, A, 101, 1)],
        [(TRADE, 1, A, 100, 1), (FILL, 1, A, 100, 1), (FILL, 2, B, 100, 1), (CANCEL, 2, B, 100, 1), (CANCEL, 1, A, 101, 1)],
    )  # fmt: skip
    assert told(block, order(Side.SELL, 1, price=101, before=1)) == []
    assert told(block, order(Side.BUY, 1, price=100, before=2)) == []
    assert told(block, order(Side.BUY, 1, price=100, before=0)) == [(2, 100, 1)]


def test_an_iceberg_shows_its_next_lots_behind_ours():
    block = feed(
        [(ADD, 1, B, 100, 2), (ADD, 2, A, 102, 5)],
        [(TRADE, 8, A, 100, 2), (FILL, 1, B, 100, 2), (MODIFY, 1, B, 100, 2)],
        [(TRADE, 9, A, 100, 1), (FILL, 1, B, 100, 1), (MODIFY, 1, B, 100, 1)],
    )
    assert told(block, order(Side.BUY, 3, price=100, before=1)) == [(2, 100, 1)]
    at_once = feed(
        [(ADD, 1, B, 100, 2), (ADD, 2, A, 102, 5)],
        [(TRADE, 8, A, 100, 5), (FILL, 1, B, 100, 5), (MODIFY, 1, B, 100, 1)],
    )
    assert told(at_once, order(Side.BUY, 9, price=100, before=1)) == [(1, 100, 3)]
    in_two = feed(
        [(ADD, 1, B, 100, 2), (ADD, 2, A, 102, 5)],
        [(TRADE, 8, A, 100, 5), (FILL, 1, B, 100, 2), (FILL, 1, B, 100, 3), (MODIFY, 1, B, 100, 1)],
    )
    assert told(in_two, order(Side.BUY, 9, price=100, before=1)) == [(1, 100, 3)]


def test_an_order_within_an_event_comes_after_it():
    block = feed(
        [(ADD, 1, A, 100, 5), (ADD, 2, A, 101, 5), (ADD, 3, B, 99, 5)],
        [(TRADE, 9, B, 100, 5), (FILL, 1, A, 100, 5), (CANCEL, 1, A, 100, 5)],
    )
    inside = order(Side.BUY, 1, before=1, ts=START + APART + 15)
    (fills,) = VenueOracle(block).fills([inside])
    assert fills == [OracleFill(-1, inside.ts, START + APART + 20, 101, 1)]
    assert told(block, order(Side.BUY, 1, before=1)) == [(-1, 100, 1)]


def test_an_order_is_gone_at_its_expiry():
    block = feed([(ADD, 1, B, 100, 5), (ADD, 3, A, 102, 5)], [(ADD, 9, A, 101, 4)], [(ADD, 10, A, 101, 4)])
    one = order(Side.BUY, 9, price=101, before=1)
    late = Order(**{name: getattr(one, name) for name in one.__struct_fields__} | {"expire_ts": START + 2 * APART})
    assert told(block, late) == [(1, 101, 4)]


def test_nothing_trades_by_being_offered_in_an_auction():
    block = feed(
        [(ADD, 1, B, 100, 5), (ADD, 2, A, 99, 5)],
        [(ADD, 3, A, 98, 5)],
        [(TRADE, 0, N, 99, 5), (FILL, 1, B, 99, 5), (FILL, 2, A, 99, 5), (CANCEL, 1, B, 100, 5), (CANCEL, 2, A, 99, 5),
         (CANCEL, 3, A, 98, 5)],
    )  # fmt: skip
    assert told(block, order(Side.BUY, 2, price=99, before=1)) == []
    assert told(block, order(Side.BUY, 2, price=101, before=1)) == [(2, 101, 2)]


def test_without_names_lots_go_by_time():
    block = feed(
        [(ADD, 1, B, 100, 5), (ADD, 3, A, 102, 5)],
        [(TRADE, 9, A, 100, 3), (MODIFY, 1, B, 100, 2)],
        [(ADD, 4, B, 100, 9)],
        [(TRADE, 9, A, 100, 3), (TRADE, 9, A, 100, 1), (CANCEL, 1, B, 100, 2), (MODIFY, 4, B, 100, 7)],
        [(TRADE, 9, A, 99, 1)],
        [(TRADE, 9, B, 100, 9)],
    )
    assert told(block, order(Side.BUY, 9, price=100, before=1)) == [(3, 100, 1), (3, 100, 1), (4, 100, 1)]


def test_quotes_and_trades_of_the_same_feed():
    block = feed(
        [(ADD, 1, A, 100, 5)], [(ADD, 3, B, 98, 5)], [(ADD, 4, B, 97, 5)],
        [(TRADE, 9, B, 100, 5), (FILL, 1, A, 100, 5), (CANCEL, 1, A, 100, 5)],
    )  # fmt: skip
    quotes = VenueOracle(block).best_quotes()
    shown = [
        (chr(q["action"]), int(q["bid_price"]) % 2**62, int(q["ask_price"]) % 2**62, int(q["flags"])) for q in quotes
    ]
    none = (2**63 - 1) % 2**62
    assert shown == [("Q", none, 100, 1), ("Q", 98, 100, 1), ("T", none, none, 0), ("Q", 98, none, 1)]
    assert quotes["size"].tolist() == [0, 0, 5, 0]
    assert quotes["ts_init"].tolist() == [START, START + APART, START + 3 * APART, START + 3 * APART + 20]


def test_other_rows_are_refused():
    with pytest.raises(UsageError, match="expected order-by-order"):
        VenueOracle(empty_block(Schema.QUOTES, 1))
    with pytest.raises(UsageError, match="no rows"):
        VenueOracle(empty_block(Schema.BOOK, 0))
    one = order(Side.BUY, 1, before=0)
    fields = {name: getattr(one, name) for name in one.__struct_fields__}
    trailing = Order(**fields | {"order_type": OrderType.TRAILING_STOP})
    oracle = VenueOracle(feed(*BOOK))
    with pytest.raises(UsageError, match="TRAILING_STOP"):
        oracle.fills([trailing])
