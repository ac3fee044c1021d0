"""The kindest fills that quotes and trades allow: by hand, and never less kind than the order book's truth."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandmodel.domain.blocks import Action, BookSide
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import Order, OrderType, Side, TimeInForce
from grandmodel.simulation.venue_bounds import KindestQuotes
from grandmodel.simulation.venue_oracle import VenueOracle
from plain_exchange import busy_feed
from strategies import START, quote_row, stack, trade_row


def order(side, lots, *, price=None, stop=None, ts):
    kind = OrderType.STOP if stop is not None else OrderType.MARKET if price is None else OrderType.LIMIT
    return Order(
        order_id=OrderId(1), instrument=InstrumentId("ES"), side=side, quantity=lots, order_type=kind, price=price,
        stop_price=stop, ts=ts, time_in_force=TimeInForce.GTD, expire_ts=2**62,
    )  # fmt: skip


def told(rows, one):
    (fills,) = KindestQuotes(stack(rows)).fills([one])
    return [(fill.event, fill.price, fill.lots) for fill in fills]


def sided(row, side):
    row["side"] = int(side)
    return row


QUOTES = [quote_row(0, 99, 100, 5, 5), quote_row(10, 99, 100, 6, 5)]


def test_what_takes_gets_what_is_shown_and_the_rest_a_tick_worse():
    assert told(QUOTES, order(Side.BUY, 12, ts=START + 10)) == [(-1, 100, 5), (-1, 101, 7)]
    assert told(QUOTES, order(Side.SELL, 6, ts=START + 10)) == [(-1, 99, 5), (-1, 98, 1)]
    assert told(QUOTES, order(Side.BUY, 12, price=100, ts=START + 10)) == [(-1, 100, 5)]


def test_what_rests_gets_what_trades_and_what_is_newly_shown():
    rows = [
        *QUOTES,
        sided(trade_row(20, 99, 2), BookSide.ASK),
        sided(trade_row(30, 99, 2), BookSide.BID),
        trade_row(40, 98, 1),
        quote_row(50, 98, 100, 5, 9),
        quote_row(60, 98, 99, 5, 3),
        quote_row(70, 98, 99, 5, 4),
    ]
    assert told(rows, order(Side.BUY, 50, price=99, ts=START + 10)) == [(2, 99, 2), (4, 99, 1), (6, 99, 3), (7, 99, 1)]


def test_a_stop_takes_what_its_event_left():
    rows = [trade_row(-10, 99, 1), *QUOTES, trade_row(20, 101, 2), quote_row(20, 100, 103, 5, 4)]
    assert told(rows, order(Side.BUY, 3, stop=101, ts=START + 10)) == [(3, 103, 3)]


def test_a_size_that_is_not_shown_is_any():
    rows = [quote_row(0, 99, 100, 0, 0), quote_row(10, 99, 100, 0, 0)]
    assert told(rows, order(Side.BUY, 10_000, ts=START + 10)) == [(-1, 100, 10_000)]


def hides(oracle, event, side):
    """True where an order of the other side is changed in an event."""
    rows = oracle.block[oracle.starts[event] : oracle.starts[event + 1]]
    other = int(BookSide.ASK if side is Side.BUY else BookSide.BID)
    return bool(((rows["action"] == int(Action.MODIFY)) & (rows["side"] == other)).any())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 5), st.integers(40, 380), st.sampled_from(tuple(Side)), st.integers(1, 30), st.integers(-3, 3),
    st.sampled_from((OrderType.LIMIT, OrderType.MARKET)),
)  # fmt: skip
def test_it_is_never_less_kind_than_the_truth(seed, event, side, lots, offset, kind):
    """On quotes made of an order book: as many lots by any time, for no more money, as far as the quotes show every change.

    An order of the other side that is changed is offered anew with all its lots, and the quote shows only by how much it grew.
    """
    oracle = VenueOracle(busy_feed(seed, 400))
    event = min(event, len(oracle.quoted) - 1)
    quoted = oracle.quoted[event - 1]
    if not oracle.is_open(event):
        return
    price = int(quoted["bid" if side is Side.BUY else "ask"]) + offset if kind is OrderType.LIMIT else None
    one = order(side, lots, price=price, ts=int(oracle.first_ts[event]))
    (truth,) = oracle.fills([one])
    (kind_fills,) = KindestQuotes(oracle.best_quotes()).fills([one])
    hidden = next((k for k in range(event, len(oracle.quoted)) if hides(oracle, k, side)), len(oracle.quoted))
    shown = [fill for fill in truth if fill.event < hidden]
    for fill in shown:
        by_then = sum(other.lots for other in truth if other.latest <= fill.latest)
        assert sum(other.lots for other in kind_fills if other.earliest <= fill.latest) >= by_then
    if sum(fill.lots for fill in shown) == lots == sum(fill.lots for fill in kind_fills):
        paid, kindest = (sum(fill.price * fill.lots for fill in fills) for fills in (truth, kind_fills))
        assert (paid - kindest) * int(side) >= 0
