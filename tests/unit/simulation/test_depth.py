"""The order book kept from market-by-order events, and our place in its queue: by hand, against a plain book, on a real day."""

from collections import defaultdict

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.historical.readers.dbn import read_dbn
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.domain.blocks import BOOK, UNDEFINED_PRICE, Action, BookSide, Flag
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.orders import TimeInForce
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY
from grandmodel.runtime.market_step import MarketStep, Stop
from grandmodel.simulation.depth import DEPTH, DEPTH_ORDERS, apply_book_event, best_level
from grandmodel.simulation.exchange import SimulatedExchange
from grandmodel.simulation.models import FillRuleName, LiquidityName, VenueSettings
from grandmodel.simulation.state import SLOT
from reference_exchange import reports_due
from shared_data import shared
from strategies import MID, NQ, START
from venue_scripts import BUY, LIMIT, QUEUE, SELL, THROUGH, bracket, change, fills, order, said

ASK, BID = BookSide.ASK, BookSide.BID


def event(ns, action, side=BookSide.NONE, number=0, price=UNDEFINED_PRICE, size=0, *, last=True):
    row = np.zeros(1, BOOK)[0]
    row["ts_event"] = row["ts_init"] = START + ns
    row["action"], row["side"], row["order_id"] = action, side, number
    row["price"], row["size"], row["flags"] = price, size, int(last)
    return row


def add(ns, side, number, price, size):
    return event(ns, Action.ADD, side, number, price, size)


def drop(ns, side, number, price, size):
    return event(ns, Action.CANCEL, side, number, price, size)


def resize(ns, side, number, price, size):
    return event(ns, Action.MODIFY, side, number, price, size)


def trade(ns, price, size):
    return event(ns, Action.TRADE, BookSide.NONE, 0, price, size)


BOOK_OF_FOUR = [add(0, BID, 1, 100, 5), add(0, BID, 2, 100, 3), add(0, ASK, 3, 102, 4), add(0, ASK, 4, 103, 9)]


def joined(*later, number=9, side=BUY, lots=2, price=100, rule=QUEUE):
    """Fills of one limit order that joins after ``BOOK_OF_FOUR``."""
    script = [*BOOK_OF_FOUR[:-1], (BOOK_OF_FOUR[-1], order(number, side, lots, LIMIT, price)), *later]
    return fills(script, **rule)


def test_a_taker_takes_the_best_level_of_the_book():
    script = [*BOOK_OF_FOUR[:-1], (BOOK_OF_FOUR[-1], order(1, BUY, 3), order(2, SELL, 9)), add(5, BID, 7, 99, 1)]
    assert fills(script) == [
        (1, 3, 102),
        (2, 8, 100),
        (2, 1, 99),  # the level is still shown, but we took it: our own trades are not taken out of the book
    ]


def test_eight_lots_stood_before_us_and_must_trade_first():
    # DBN: a trade does not change the book, the cancels after it do; the lots that traded leave by them.
    assert joined(trade(1, 100, 8)) == []
    traded = [trade(1, 100, 8), drop(2, BID, 1, 100, 5), drop(3, BID, 2, 100, 3)]
    assert joined(*traded) == []
    assert joined(*traded, trade(4, 100, 1)) == [(9, 1, 100)]


def test_a_trade_larger_than_the_queue_reaches_us():
    assert joined(trade(1, 100, 9)) == [(9, 1, 100)]


def test_a_cancel_before_us_moves_us_up_and_one_behind_us_does_not():
    assert joined(drop(1, BID, 1, 100, 5), trade(2, 100, 4)) == [(9, 1, 100)]
    behind = [add(1, BID, 5, 100, 7), drop(2, BID, 5, 100, 7)]
    assert joined(*behind, trade(3, 100, 8)) == []


def test_a_smaller_order_keeps_its_place_and_a_larger_one_goes_behind_us():
    assert joined(resize(1, BID, 1, 100, 2), trade(2, 100, 6)) == [(9, 1, 100)]  # 2 + 3 ahead
    assert joined(resize(1, BID, 1, 100, 6), trade(2, 100, 4)) == [(9, 1, 100)]  # 3 ahead
    assert joined(resize(1, BID, 2, 99, 3), trade(2, 100, 6)) == [(9, 1, 100)]  # 5 ahead


def test_a_level_inside_the_spread_has_no_queue():
    assert joined(trade(1, 101, 1), price=101) == [(9, 1, 101)]


def test_our_size_does_not_count_in_the_queue_after_a_smaller_change():
    script = [
        *BOOK_OF_FOUR[:-1],
        (BOOK_OF_FOUR[-1], order(9, BUY, 4, LIMIT, 100)),
        (drop(1, BID, 1, 100, 5), change(9, 2)),
    ]
    assert fills([*script, trade(2, 100, 4)], **QUEUE) == [(9, 1, 100)]


def test_a_book_that_crosses_our_limit_fills_it_at_the_end_of_the_message():
    half = event(2, Action.ADD, ASK, 8, 100, 3, last=False)
    script = [*BOOK_OF_FOUR[:-1], (drop(1, BID, 1, 100, 5), order(9, BUY, 2, LIMIT, 101)), drop(2, BID, 2, 100, 3)]
    assert fills([*script, half], **THROUGH) == []
    assert fills([*script, half, add(3, ASK, 10, 104, 1)], **THROUGH) == [(9, 2, 101)]


def test_a_clear_empties_the_book_and_takers_wait():
    script = [*BOOK_OF_FOUR, (event(1, Action.CLEAR), order(9, BUY, 2)), add(2, ASK, 11, 105, 5)]
    assert fills(script) == [(9, 2, 105)]


def test_a_halt_rejects_a_market_order():
    script = [*BOOK_OF_FOUR, (event(1, Action.HALT), order(9, BUY, 2)), add(2, ASK, 11, 105, 5)]
    assert [one.reason for one in said(script)][-1] == "halted"


class PlainBook:
    """A dictionary of orders, and the size at each price as a dictionary a side."""

    def __init__(self):
        self.orders, self.sizes = {}, {BID: defaultdict(int), ASK: defaultdict(int)}

    def apply(self, action, side, number, price, size):
        known = self.orders.get(number)
        if action == Action.CLEAR:
            self.orders, self.sizes = {}, {BID: defaultdict(int), ASK: defaultdict(int)}
        elif action == Action.ADD or (action == Action.MODIFY and known is None):
            if side in (ASK, BID):
                self.put(number, side, price, size)
        elif known is not None and action == Action.CANCEL:
            self.put(number, known[0], known[1], known[2] - size)
        elif known is not None and action == Action.MODIFY:
            self.put(number, known[0], price, size)

    def put(self, number, side, price, size):
        known = self.orders.pop(number, None)
        if known is not None:
            self.sizes[known[0]][known[1]] -= known[2]
            if not self.sizes[known[0]][known[1]]:
                del self.sizes[known[0]][known[1]]
        if size > 0:
            self.orders[number] = (side, price, size)
            self.sizes[side][price] += size

    def levels(self, side):
        return dict(self.sizes[BookSide(side)])

    def best(self, side):
        levels = self.sizes[side]
        if not levels:
            return UNDEFINED_PRICE
        return max(levels) if side == BID else min(levels)


def new_book():
    return np.zeros(1, DEPTH), np.zeros(1, SLOT)


changes = st.lists(
    st.tuples(
        st.sampled_from((Action.ADD, Action.ADD, Action.CANCEL, Action.MODIFY, Action.FILL, Action.CLEAR)),
        st.sampled_from((ASK, BID)),
        st.integers(0, 10**6),
        st.integers(-6, 6),
        st.integers(1, 9),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=80)
@given(changes)
def test_the_compiled_book_is_the_plain_one(events):
    depth, slots = new_book()
    plain, next_id = PlainBook(), 1
    for rank, (action, side, pick, offset, size) in enumerate(events, 1):
        price = MID + offset
        number = next_id
        if action == Action.ADD or not plain.orders:
            next_id += 1
        else:
            number = list(plain.orders)[pick % len(plain.orders)]
            side = plain.orders[number][0]
        apply_book_event(depth, 0, int(action), int(side), number, price, size, rank, slots, 0)
        plain.apply(action, side, number, price, size)
        assert best_level(depth, 0, 0) == plain.best(BID)
        assert best_level(depth, 0, 1) == plain.best(ASK)
        assert depth[0]["orders"] == len(plain.orders)
    for which, side in ((0, BID), (1, ASK)):
        shown = {
            int(depth[0]["base"]) + int(k): int(depth[0]["size"][which, k])
            for k in np.flatnonzero(depth[0]["size"][which])
        }
        assert shown == plain.levels(side)


def test_a_full_table_counts_what_it_cannot_take():
    depth, slots = new_book()
    for number in range(1, DEPTH_ORDERS // 2 + 3):
        apply_book_event(depth, 0, int(Action.ADD), int(BID), number, MID, 1, number, slots, 0)
    assert (int(depth[0]["full"]), int(depth[0]["orders"])) == (2, DEPTH_ORDERS // 2)


def test_an_event_beyond_the_window_is_counted():
    depth, slots = new_book()
    apply_book_event(depth, 0, int(Action.ADD), int(BID), 1, MID, 1, 1, slots, 0)
    apply_book_event(depth, 0, int(Action.ADD), int(BID), 2, MID + 10**6, 1, 2, slots, 0)
    assert int(depth[0]["outside"]) == 1
    assert best_level(depth, 0, 0) == MID


def real_day():
    """ES, 25 December 2023, market by order: 68,792 events that begin with a snapshot."""
    path = shared("data/orderbook/databento_es/ESH4_mbo_20231225.dbn.zst")
    (block,) = read_dbn(path, BUILT_IN[InstrumentId("ES")], TickOptions()).blocks.values()
    return block


@pytest.mark.shared
def test_the_real_day_s_book_is_the_plain_one():
    """Bests and levels compared at every thousandth event and at the end."""
    depth, slots = new_book()
    plain = PlainBook()
    rows = real_day()
    names = ("action", "side", "order_id", "price", "size")
    for rank, row in enumerate(zip(*(rows[name].tolist() for name in names), strict=True), 1):
        action, side, number, price, size = row
        if action in (Action.TRADE, Action.FILL, Action.NONE):
            continue
        apply_book_event(depth, 0, action, side, number, price, size, rank, slots, 0)
        plain.apply(action, side, number, price, size)
        if rank % 1_000 == 0 or rank == len(rows):
            for which, kind in ((0, BID), (1, ASK)):
                levels, base = plain.levels(kind), int(depth[0]["base"])
                assert best_level(depth, 0, which) == plain.best(kind)
                shown = depth[0]["size"][which]
                inside = {price: size for price, size in levels.items() if 0 <= price - base < len(shown)}
                assert inside == {base + int(k): int(shown[k]) for k in np.flatnonzero(shown)}
    assert int(depth[0]["full"]) == 0
    assert int(depth[0]["orders"]) == len(plain.orders)


class PlainQueue:
    """One lot of ours behind the orders that stood at its price when it came, followed one by one."""

    def __init__(self, book, side, price):
        self.side, self.price = side, price
        self.before = {k: size for k, (kind, at, size) in book.orders.items() if kind == side and at == price}
        self.filled_at = None

    def on_book(self, action, number, price, size):
        if action == Action.CLEAR:
            return  # as in the venue: nobody told us that those before us left
        if number in self.before:
            if action == Action.CANCEL:
                self.before[number] -= size
            elif price != self.price or size > self.before[number]:
                self.before[number] = 0
            else:
                self.before[number] = size

    def on_trade(self, price, size, rank):
        sign = 1 if self.side == BID else -1
        beyond = (self.price - price) * sign
        if beyond > 0 or (beyond == 0 and size > sum(max(0, left) for left in self.before.values())):
            self.filled_at = rank


@pytest.mark.shared
@pytest.mark.slow
def test_the_queue_on_the_real_day_moves_as_a_plain_one():
    """An order of one lot joins the best bid and the best ask at every 1,500th event; each fills at the event that it should."""
    rows = real_day()
    book, queues, script = PlainBook(), {}, []
    names = ("action", "side", "order_id", "price", "size", "flags")
    for rank, row in enumerate(zip(*(rows[name].tolist() for name in names), strict=True)):
        action, side, number, price, size, flags = row
        open_queues = [queue for queue in queues.values() if queue.filled_at is None]
        if action == Action.TRADE:
            for queue in open_queues:
                queue.on_trade(price, size, rank)
        elif action not in (Action.FILL, Action.NONE):
            book.apply(action, side, number, price, size)
            for queue in open_queues:
                queue.on_book(action, number, price, size)
            if flags & 1 and open_queues:
                bid, ask = book.best(BID), book.best(ASK)
                for queue in open_queues:
                    met = ask <= queue.price if queue.side == BID else bid != UNDEFINED_PRICE and bid >= queue.price
                    if met and bid < ask:
                        queue.filled_at = rank
        asked = []
        if rank % 1_500 == 1_499 and len(rows) - rank > 3_000:
            bid, ask = book.best(BID), book.best(ASK)
            if bid < ask and UNDEFINED_PRICE not in (bid, ask):
                for side_of_ours, kind, at in ((BUY, BID, bid), (SELL, ASK, ask)):
                    new = len(queues) + 1
                    queues[new] = PlainQueue(book, kind, at)
                    asked.append(order(new, side_of_ours, 1, LIMIT, at, time_in_force=TimeInForce.GTC))
        script.append((rows[rank], asked))
    reports = filled_rows(script)
    assert len(queues) > 60
    assert sum(queue.filled_at is not None for queue in queues.values()) > 20
    expected = {k: int(rows["ts_init"][queue.filled_at]) for k, queue in queues.items() if queue.filled_at is not None}
    assert reports == expected


def filled_rows(script):
    """When each order filled, from the compiled venue; blocks are cut where something is asked."""
    settings_ = VenueSettings(fill_rule=FillRuleName.QUEUE, liquidity=LiquidityName.UNLIMITED)
    first, last = int(script[0][0]["ts_init"]), int(script[-1][0]["ts_init"])
    sessions = [SessionSchedule(*(np.array([ts], np.int64) for ts in (first, last + NS_PER_DAY, first)))]
    market = MarketStep((NQ,), sessions, (300 * 10**9,), settings_, {})
    venue = SimulatedExchange(market, (NQ,), sessions, settings_, 1)
    found, start = {}, 0
    for at, (_, asked) in enumerate(script):
        if not asked and at + 1 < len(script):
            continue
        block = np.array([row for row, _ in script[start : at + 1]], dtype=BOOK)
        schema = market.begin(block)
        while (stop := market.walk(block, schema)) is not Stop.END:
            if stop is Stop.REPORTS:
                found |= {one.order_id: one.ts_event for one in reports_due(market) if one.last_quantity}
        for one in asked:
            venue.submit(msgspec.structs.replace(one, ts=int(script[at][0]["ts_init"])))
        start = at + 1
    found |= {one.order_id: one.ts_event for one in reports_due(market) if one.last_quantity}
    return found


# Takers in a book.

LADDER = [add(0, ASK, 1, 100, 10), add(0, ASK, 2, 101, 10), add(0, ASK, 3, 102, 100), add(0, BID, 4, 98, 10)]


def taken(*asked, later=(), **venue):
    return fills([*LADDER[:-1], (LADDER[-1], *asked), *later], **venue)


def test_a_market_order_walks_the_book():
    assert taken(order(9, BUY, 50)) == [(9, 10, 100), (9, 10, 101), (9, 30, 102)]
    assert taken(order(9, BUY, 50, LIMIT, 101)) == [(9, 10, 100), (9, 10, 101)]
    again = [add(k, BID, 10 + k, 97, 1) for k in range(1, 5)]
    assert taken(order(8, BUY, 15), order(9, BUY, 15), later=again) == [
        (8, 10, 100),
        (8, 5, 101),
        (9, 5, 101),
        (9, 10, 102),
    ]


def test_all_or_nothing_looks_at_the_whole_book():
    fok = {"time_in_force": TimeInForce.FOK}
    assert taken(order(9, BUY, 25, **fok)) == [(9, 10, 100), (9, 10, 101), (9, 5, 102)]
    assert taken(order(9, BUY, 20, LIMIT, 101, **fok)) == [(9, 10, 100), (9, 10, 101)]
    assert taken(order(9, BUY, 21, LIMIT, 101, **fok)) == []
    ioc = {"time_in_force": TimeInForce.IOC}
    assert taken(order(9, BUY, 500, **ioc)) == [(9, 10, 100), (9, 10, 101), (9, 100, 102)]


def test_a_level_of_a_book_gives_back_what_comes_anew():
    grown = resize(5, ASK, 1, 100, 13)
    assert taken(order(9, BUY, 10), order(10, BUY, 4, LIMIT, 100), later=[grown]) == [(9, 10, 100), (10, 3, 100)]
    left = [drop(5, ASK, 1, 100, 4), add(6, ASK, 11, 100, 2)]
    assert taken(order(9, BUY, 10), order(10, BUY, 4, LIMIT, 100), later=left) == [(9, 10, 100), (10, 2, 100)]


def test_a_resting_order_that_the_book_crosses_drinks_each_lot_once():
    crossing = add(5, ASK, 11, 99, 3)
    script = [*LADDER[:-1], (LADDER[-1], order(9, BUY, 8, LIMIT, 99)), crossing]
    more = [add(k, BID, 20 + k, 97, 1) for k in range(6, 9)]
    assert fills([*script, *more], **QUEUE) == [(9, 3, 99)]


def test_an_order_that_comes_inside_an_event_meets_the_book_after_it():
    sweep = [
        event(100, Action.TRADE, BID, 0, 100, 10, last=False),
        event(150, Action.CANCEL, ASK, 1, 100, 10, last=False),
        event(200, Action.CANCEL, ASK, 2, 101, 10),
    ]
    late = (sweep[0], order(9, BUY, 1))
    reports = said([*LADDER, late, *sweep[1:], add(900, BID, 12, 97, 1)])
    assert [(one.kind, one.ts_event - START, one.price) for one in reports] == [("0", 200, 0), ("F", 200, 102)]
    never_ends = said([*LADDER, late, event(2 * 10**9, Action.NONE)])
    assert [(one.kind, one.ts_event - START) for one in never_ends] == [("0", 100 + 10**9), ("F", 100 + 10**9)]


def test_a_target_of_a_bracket_joins_the_queue():
    entry = order(5, BUY, 2)
    bid_up = [add(5, ASK, 11, 103, 4)]
    script = [*LADDER, bid_up[0], (add(6, BID, 12, 97, 1), entry, *bracket(entry, 6, stop=90, target=103))]
    assert fills([*script, trade(9, 103, 4)], **QUEUE) == [(5, 2, 100)]
    assert fills([*script, trade(9, 103, 5)], **QUEUE) == [(5, 2, 100), (7, 1, 103)]


def test_after_a_clear_we_stand_behind_all_that_is_there_then():
    script = [*LADDER, (add(5, BID, 12, 97, 1), order(9, BUY, 2, LIMIT, 98))]
    flags = int(Flag.SNAPSHOT)
    clear = [
        event(10, Action.CLEAR, last=False),
        add(10, BID, 21, 98, 3),
        add(10, ASK, 22, 100, 1),
        add(11, ASK, 23, 101, 1),
    ]
    for row in clear[1:3]:
        row["flags"] = flags
    assert fills([*script, *clear, trade(12, 98, 3)], **QUEUE) == []
    assert fills([*script, *clear, trade(12, 98, 4)], **QUEUE) == [(9, 1, 98)]
    assert fills([*script, *clear, drop(12, BID, 21, 98, 3), trade(13, 98, 1)], **QUEUE) == [(9, 1, 98)]
