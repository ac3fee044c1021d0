"""The compiled venue against the slow plain one, on scripts of random rows and requests."""

from collections import defaultdict

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandmodel.simulation.models import (
    ConstantLatency,
    FillRuleName,
    FixedSlippage,
    LiquidityName,
    LognormalLatency,
    NoSlippage,
    RandomSlippage,
    VenueSettings,
)
from reference_exchange import drive, drive_compiled
from strategies import ALL_DAY, CL, NQ, bars, books, schedule_of, scripts, ticks

SLOW = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
SHORT_DAYS = schedule_of((0, 40, 0), (45, 90, 0), (100, 200, 1))
TIGHT_DAYS = schedule_of((0, 2, 0), (3, 5, 0), (6, 9, 0), (12, 30, 1), (31, 1_000, 1))
"""Sessions that trades, quotes and books run through often."""
INSTRUMENTS = (NQ, CL)
SCHEDULES = (ALL_DAY, SHORT_DAYS)

venues = st.builds(
    VenueSettings,
    latency=st.sampled_from(
        (
            ConstantLatency(),
            ConstantLatency(order=700_000, report=300_000),
            LognormalLatency(floor=1_000, median=400_000, sigma=1.5),
            LognormalLatency(floor=0, median=60_000_000_000, sigma=1.0),
        )
    ),
    slippage=st.sampled_from((NoSlippage(), FixedSlippage(ticks=2), RandomSlippage())),
    fill_rule=st.sampled_from(tuple(FillRuleName)),
    liquidity=st.sampled_from(tuple(LiquidityName)),
    participation_ppm=st.sampled_from((0, 0, 300_000)),
    half_spread_ticks=st.sampled_from((0, 1, 2)),
    far_prints_ppm=st.sampled_from((0, 10_000)),
)


@SLOW
@given(scripts(bars(instruments=2), instruments=2), venues)
def test_on_bars_the_compiled_venue_says_what_the_plain_one_says(script, venue):
    positions = []
    said = drive_compiled(script, venue, SCHEDULES, INSTRUMENTS, positions=positions)
    assert said == drive(script, venue, SCHEDULES, INSTRUMENTS)
    check_what_always_holds(script, said)
    check_positions(script, said, positions)


@SLOW
@given(scripts(ticks(instruments=2), instruments=2), venues)
def test_on_trades_and_quotes_the_compiled_venue_says_what_the_plain_one_says(script, venue):
    positions = []
    said = drive_compiled(script, venue, (ALL_DAY, TIGHT_DAYS), INSTRUMENTS, positions=positions)
    assert said == drive(script, venue, (ALL_DAY, TIGHT_DAYS), INSTRUMENTS)
    check_what_always_holds(script, said)
    check_positions(script, said, positions)


@settings(SLOW, max_examples=120)
@given(scripts(ticks(trades=False)), venues)
def test_on_quotes_alone_the_compiled_venue_says_what_the_plain_one_says(script, venue):
    assert drive_compiled(script, venue, SCHEDULES[:1], INSTRUMENTS[:1]) == drive(
        script, venue, SCHEDULES[:1], INSTRUMENTS[:1]
    )


@settings(SLOW, max_examples=120)
@given(scripts(ticks(quotes=False)), venues)
def test_on_trades_alone_the_compiled_venue_says_what_the_plain_one_says(script, venue):
    assert drive_compiled(script, venue, SCHEDULES[:1], INSTRUMENTS[:1]) == drive(
        script, venue, SCHEDULES[:1], INSTRUMENTS[:1]
    )


@SLOW
@given(scripts(books(instruments=2), instruments=2), venues)
def test_on_books_the_compiled_venue_says_what_the_plain_one_says(script, venue):
    positions = []
    said = drive_compiled(script, venue, (ALL_DAY, TIGHT_DAYS), INSTRUMENTS, positions=positions)
    assert said == drive(script, venue, (ALL_DAY, TIGHT_DAYS), INSTRUMENTS)
    check_what_always_holds(script, said)
    check_positions(script, said, positions)


def check_what_always_holds(script, said):
    """Conservation: numbers rise by one, nothing fills beyond its quantity, an ended order says nothing more."""
    orders = {one.order_id: one for _, asked in script for one in asked if hasattr(one, "order_type")}
    largest = {number: one.quantity for number, one in orders.items()}
    for _, asked in script:
        for one in asked:
            if not hasattr(one, "order_type") and hasattr(one, "quantity"):
                largest[one.order_id] = max(largest[one.order_id], one.quantity)
    filled, ended = defaultdict(int), set()
    assert [one.number for one in said] == list(range(1, len(said) + 1))
    assert [one.ts_init for one in said] == sorted(one.ts_init for one in said)
    for one in said:
        assert one.ts_init >= one.ts_event
        if one.kind == "9":
            continue
        assert one.order_id not in ended
        filled[one.order_id] += one.lots
        assert one.filled == filled[one.order_id]
        assert one.filled + one.leaves <= largest[one.order_id]
        if one.kind in "48C" or (one.kind == "F" and one.filled == largest[one.order_id]):
            ended.add(one.order_id)
        if one.kind == "F":
            check_price(orders[one.order_id], one, script)
    for number, order in orders.items():
        if order.parent is not None:
            assert filled[number] <= filled[order.parent]
    groups = defaultdict(list)
    for number, order in orders.items():
        if order.oco_group and order.parent is not None:
            groups[order.parent].append(filled[number])
    for parent, exits in groups.items():
        assert sum(exits) <= filled[parent]


def check_positions(script, said, positions):
    """What the venue takes our positions to be is the sum of what it filled."""
    orders = {one.order_id: one for _, asked in script for one in asked if hasattr(one, "order_type")}
    expected = [0] * len(positions)
    for one in said:
        order = orders.get(one.order_id)
        if order is not None:
            expected[[instrument.id for instrument in INSTRUMENTS].index(order.instrument)] += one.lots * int(
                order.side
            )
    assert positions == expected


def check_price(order, fill, script):
    """No limit order pays more than its limit, or than any limit that it was ever changed to."""
    if order.price is None:
        return
    limits = [order.price]
    for _, asked in script:
        limits += [
            one.price
            for one in asked
            if one.order_id == order.order_id and not hasattr(one, "order_type") and getattr(one, "price", None)
        ]
    if order.side > 0:
        assert fill.price <= max(limits)
    else:
        assert fill.price >= min(limits)
