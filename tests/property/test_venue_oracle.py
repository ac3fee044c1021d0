"""The oracle against the truth of a plain exchange that had our order, and against a plain form of itself."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import Order, OrderType, Side, TimeInForce
from grandmodel.simulation.venue_oracle import VenueOracle
from plain_exchange import APART, START, Exchange, block_of, plain_fills

SLOW = settings(
    deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
prices = st.integers(96, 104)
sizes = st.integers(1, 6)
sides = st.sampled_from((1, -1))


@st.composite
def flows(draw, most=30):
    """Requests of other people; the first ones make a book of both sides."""
    requests, name = [], 0
    for side in (1, -1, 1, -1):
        name += 1
        requests.append(("add", name, side, 100 - side * draw(st.integers(1, 3)), draw(sizes)))
    for _ in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(("add", "add", "add", "iceberg", "cancel", "reduce", "grow")))
        if kind in ("add", "iceberg"):
            name += 1
            display = (draw(st.integers(1, 3)),) if kind == "iceberg" else ()
            requests.append(("add", name, draw(sides), draw(prices), draw(sizes), *display))
        else:
            lots = () if kind == "cancel" else (draw(st.integers(1, 4)),)
            requests.append((kind, draw(st.integers(1, name)), *lots))
    return requests


@st.composite
def ours(draw):
    kind = draw(st.sampled_from((OrderType.LIMIT, OrderType.LIMIT, OrderType.MARKET, OrderType.STOP)))
    return kind, draw(sides), draw(prices), draw(prices), draw(st.sampled_from((1, 1, 2, 5, 12)))


def played(requests, place, one=None):
    """The exchange after ``requests``, with ours (where given) arriving before the request ``place``."""
    exchange = Exchange()
    for k, request in enumerate(requests):
        if k == place and one is not None:
            kind, side, price, trigger, lots = one
            exchange.enter(side, kind, price, lots, trigger)
        exchange.apply(request)
    return exchange


def order_of(one, ts):
    kind, side, price, trigger, lots = one
    return Order(
        order_id=OrderId(1), instrument=InstrumentId("ES"), side=Side(side), quantity=lots, order_type=kind,
        price=price if kind is OrderType.LIMIT else None, stop_price=trigger if kind is OrderType.STOP else None, ts=ts,
        time_in_force=TimeInForce.GTD, expire_ts=START + 10**15,
    )  # fmt: skip


def asked(block, order):
    """(event, price, lots) of each fill."""
    (fills,) = VenueOracle(block).fills([order])
    return [(one.event, one.price, one.lots) for one in fills]


def together(fills):
    """Fills of one event and price as one."""
    added = {}
    for event, price, lots in fills:
        added[event, price] = added.get((event, price), 0) + lots
    return added


@SLOW
@given(flows(), ours(), st.integers(4, 40))
def test_one_lot_fills_as_on_the_exchange_that_had_it(requests, one, place):
    """One lot changes nothing before it is filled, so the exchange that had it tells the truth."""
    one = (*one[:4], 1)
    place = min(place, len(requests) - 1)
    rows = played(requests, place).rows
    truth = played(requests, place, one).fills
    found = asked(block_of(rows), order_of(one, START + place * APART))
    assert [(request_of(rows, event), lots) for event, _, lots in found] == [(event, lots) for event, _, lots in truth]
    assert all(true is None or price == true for (_, price, _), (_, true, _) in zip(found, truth, strict=True))


def request_of(rows, event):
    """The number of the request that made the event: not every one makes a message."""
    stamps = sorted({(row[0] - START) // APART for row in rows})
    return -1 if event < 0 else stamps[event]


@SLOW
@given(flows(), ours(), st.integers(4, 40), st.integers(-5, 25))
def test_the_oracle_says_what_its_plain_form_says(requests, one, place, inside):
    """Any size, also from within an event: the rest of what takes, the rest of what rests."""
    block = block_of(played(requests, -1).rows)
    order = order_of(one, START + min(place, len(requests) - 1) * APART + inside)
    told = asked(block, order)
    assert together(told) == together(plain_fills(block, order))
    assert sum(lots for _, _, lots in told) <= order.quantity
