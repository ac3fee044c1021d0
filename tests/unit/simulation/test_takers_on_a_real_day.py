"""Market orders and stops on a real day of ES, market by order, held against a plain book: none is better, and none worse, than walking it."""

from functools import cache

import msgspec
import numpy as np
import pytest

from grandmodel.domain.blocks import Action
from grandmodel.domain.orders import TimeInForce
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY
from grandmodel.runtime.market_step import MarketStep, Stop
from grandmodel.simulation.exchange import SimulatedExchange
from grandmodel.simulation.models import VenueSettings
from reference_exchange import reports_due
from strategies import NQ
from unit.simulation.test_depth import ASK, BID, PlainBook, real_day
from venue_scripts import BUY, MARKET, SELL, STOP, order

pytestmark = [pytest.mark.shared, pytest.mark.slow]
NAMES = ("action", "side", "order_id", "price", "size", "flags", "ts_init")


@cache
def day():
    """The rows, as a block and as tuples, and the rows that end an event with a book on both sides."""
    block = real_day()
    rows = list(zip(*(block[name].tolist() for name in NAMES), strict=True))
    return block, rows


def books_at(places):
    """(bids, asks), price to lots, after each of the rows ``places``."""
    book, found = PlainBook(), {}
    for place, (action, side, number, price, size, _, _) in enumerate(day()[1]):
        if action not in (Action.TRADE, Action.FILL, Action.NONE):
            book.apply(action, side, number, price, size)
        if place in places:
            found[place] = (book.levels(BID), book.levels(ASK))
    return found


def walked(book, side, lots, trigger=None):
    """Ticks that ``lots`` cost, level by level, each no better than ``trigger``; None where the book is too small."""
    levels = sorted(book[1].items()) if side is BUY else sorted(book[0].items(), reverse=True)
    cost = 0
    for price, size in levels:
        paid = price if trigger is None else max(price, trigger) if side is BUY else min(price, trigger)
        here = min(lots, size)
        cost, lots = cost + here * paid, lots - here
        if lots == 0:
            return cost
    return None


def filled(place, asked):
    """Ticks and lots of ``asked``, sent after row ``place`` to a venue of its own."""
    block, rows = day()
    ts, until = rows[place][6], rows[-1][6] + NS_PER_DAY
    sessions = [SessionSchedule(*(np.array([edge], np.int64) for edge in (rows[0][6], until, rows[0][6])))]
    market = MarketStep((NQ,), sessions, (300 * 10**9,), VenueSettings(), {})
    venue = SimulatedExchange(market, (NQ,), sessions, VenueSettings(), 1)
    fills = []

    def walk(part):
        schema = market.begin(part)
        while (stop := market.walk(part, schema)) is not Stop.END:
            if stop is Stop.REPORTS:
                fills.extend((one.last_quantity, one.last_price) for one in reports_due(market) if one.last_quantity)

    walk(block[: place + 1])
    venue.submit(msgspec.structs.replace(asked, ts=ts))
    start = place + 1
    while start < len(block) and sum(lots for lots, _ in fills) < asked.quantity:
        walk(block[start : start + 4_000])
        start += 4_000
    return sum(lots * price for lots, price in fills), sum(lots for lots, _ in fills)


def places():
    """Forty ends of events over the day at which both sides stand."""
    _, rows = day()
    ends = [place for place, row in enumerate(rows) if row[5] & 1]
    found = books_at(set(ends[3_000 :: len(ends) // 45]))
    return {place: book for place, book in found.items() if book[0] and book[1] and max(book[0]) < min(book[1])}


@pytest.mark.parametrize("times", [2, 5, 20])
def test_market_orders_larger_than_the_touch_pay_what_the_book_asks(times):
    count = 0
    for number, (place, book) in enumerate(places().items()):
        side = BUY if number % 2 else SELL
        touch = min(book[1]) if side is BUY else max(book[0])
        lots = times * (book[1] if side is BUY else book[0])[touch]
        cost = walked(book, side, lots)
        if cost is not None:
            gtc = {"time_in_force": TimeInForce.GTC}
            assert filled(place, order(1, side, lots, MARKET, **gtc)) == (cost, lots)
            count += 1
    assert count > 30


@pytest.mark.parametrize("lots", [1, 5, 20])
def test_stops_pay_what_the_book_asks_after_the_event_that_triggered_them(lots):
    _, rows = day()
    asked = {}
    for number, (place, book) in enumerate(places().items()):
        side = BUY if number % 2 else SELL
        trigger = min(book[1]) + 2 if side is BUY else max(book[0]) - 2
        later = range(place + 1, len(rows))
        hit = next((k for k in later if rows[k][0] == Action.TRADE and (rows[k][3] - trigger) * side >= 0), None)
        if hit is not None:
            asked[place] = side, trigger, next(k for k in range(hit, len(rows)) if rows[k][5] & 1)
    after = books_at({ended for _, _, ended in asked.values()})
    assert len(asked) > 25
    for place, (side, trigger, ended) in asked.items():
        cost = walked(after[ended], side, lots, trigger)
        stop = order(1, side, lots, STOP, stop=trigger, time_in_force=TimeInForce.GTC)
        assert filled(place, stop) == (cost, lots)
