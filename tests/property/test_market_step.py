"""However the stream is cut into blocks, the same records come out, to the byte."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_runs import Restless, RestlessOfEveryType, encoded, open_risk, run
from grandmodel.domain.blocks import BOOK, Action, BookSide, Flag
from grandmodel.domain.orders import OrderType
from grandmodel.simulation.models import (
    ConstantLatency,
    FillRuleName,
    LiquidityName,
    LognormalLatency,
    RandomSlippage,
    VenueSettings,
)
from strategies import ALL_DAY, CL, MID, MINUTE, NQ, START, bar_row, bars, schedule_of, ticks

SLOW = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
PAUSED = schedule_of((0, 33, 0), (40, 90, 0), (100, 2_000, 1))
INSTRUMENTS, SCHEDULES = (NQ, CL), [ALL_DAY, PAUSED]
MINUTES = {"widths_ns": (MINUTE, 5 * MINUTE), "risk": open_risk(MINUTE)}

venues = st.builds(
    VenueSettings,
    latency=st.sampled_from(
        (
            ConstantLatency(),
            ConstantLatency(order=1, report=500_000),
            LognormalLatency(floor=1_000, median=30_000_000_000, sigma=2.0),
        )
    ),
    slippage=st.sampled_from((RandomSlippage(),)),
    fill_rule=st.sampled_from(tuple(FillRuleName)),
    liquidity=st.sampled_from(tuple(LiquidityName)),
    participation_ppm=st.sampled_from((0, 300_000)),
)


@st.composite
def cut_streams(draw, rows):
    found = draw(rows)
    for row in found[5:]:
        if draw(st.integers(0, 12)) == 0:
            row["flags"] |= Flag.ROLL
    return found, draw(st.lists(st.integers(0, len(found)), max_size=8))


def check_cuts(stream, venue, seed, **changes):
    rows, cuts = stream
    common = {"instruments": INSTRUMENTS, "schedules": SCHEDULES, "venue": venue, "seed": seed} | changes
    whole, engine = run(rows, RestlessOfEveryType, **common)
    pieces, other = run(rows, RestlessOfEveryType, cuts=cuts, **common)
    single, _ = run(rows, RestlessOfEveryType, cuts=range(1, len(rows)), **common)
    assert encoded(pieces) == encoded(whole)
    assert encoded(single) == encoded(whole)
    assert other.market.rows_before == engine.market.rows_before == len(rows)
    return whole


@SLOW
@given(cut_streams(bars(instruments=2, min_size=8, max_size=30)), venues, st.integers(0, 2**20))
def test_bars_give_the_same_records_however_they_are_cut(stream, venue, seed):
    check_cuts(stream, venue, seed)


@SLOW
@given(
    cut_streams(ticks(instruments=2, min_size=20, max_size=60, warm=16)), venues, st.integers(0, 2**20), st.booleans()
)
def test_trades_and_quotes_give_the_same_records_however_they_are_cut(stream, venue, seed, mark_on_quotes):
    check_cuts(stream, venue, seed, **MINUTES, mark_on_quotes=mark_on_quotes)


@settings(SLOW, max_examples=25)
@given(
    cut_streams(ticks(instruments=2, min_size=20, max_size=50, quotes=False, warm=16)), venues, st.integers(0, 2**20)
)
def test_trades_alone_give_the_same_records_however_they_are_cut(stream, venue, seed):
    check_cuts(stream, venue, seed, **MINUTES)


@settings(SLOW, max_examples=25)
@given(
    cut_streams(ticks(instruments=2, min_size=20, max_size=50, trades=False, warm=16)), venues, st.integers(0, 2**20)
)
def test_quotes_alone_give_the_same_records_however_they_are_cut(stream, venue, seed):
    check_cuts(stream, venue, seed, **MINUTES, mark_on_quotes=True)


def book_rows(seed, count):
    """A seeded stream of order-book events: adds, cancels, changes and prints around ``MID``."""
    generator = np.random.default_rng(seed)
    rows, resting, ns = [], {}, 0
    for number in range(1, count + 1):
        ns += int(generator.choice([0, 1_000, 10**9, 100 * 10**9]))
        row = np.zeros(1, BOOK)[0]
        row["ts_event"] = row["ts_init"] = START + ns
        row["sequence"], row["flags"] = number, int(generator.random() < 0.8)
        kind = generator.choice(["add", "add", "add", "cancel", "modify", "trade", "fill"])
        if kind in ("cancel", "modify") and resting:
            order = int(generator.choice(list(resting)))
            side, price, size = resting[order]
            row["order_id"], row["side"], row["price"] = order, side, price
            if kind == "cancel":
                row["action"], row["size"] = Action.CANCEL, size
                del resting[order]
            else:
                row["action"], row["size"] = Action.MODIFY, int(generator.integers(1, 9))
                resting[order] = (side, price, int(row["size"]))
        elif kind in ("trade", "fill"):
            row["action"] = Action.TRADE if kind == "trade" else Action.FILL
            row["side"], row["price"] = BookSide.ASK, MID + int(generator.integers(-2, 3))
            row["size"] = int(generator.integers(1, 6))
        else:
            buy = generator.random() < 0.5
            row["action"], row["side"] = Action.ADD, BookSide.BID if buy else BookSide.ASK
            row["price"] = MID + (-1 if buy else 1) * int(generator.integers(0 if number > 30 else 1, 4))
            row["order_id"], row["size"] = number, int(generator.integers(1, 9))
            resting[number] = (int(row["side"]), int(row["price"]), int(row["size"]))
        rows.append(row)
    return rows


@settings(SLOW, max_examples=8)
@given(
    st.integers(0, 2**20),
    venues,
    st.lists(st.integers(0, 60), max_size=6),
    st.lists(st.tuples(st.integers(20, 59), st.sampled_from((Flag.ROLL, Flag.BAD_STRETCH))), max_size=3),
)
def test_order_book_events_give_the_same_records_however_they_are_cut(seed, venue, cuts, marks):
    rows = book_rows(seed, 60)
    for place, flag in marks:
        rows[place]["flags"] |= int(flag)
    check_cuts((rows, cuts), venue, seed, **MINUTES)


@pytest.mark.parametrize("agent", [Restless, RestlessOfEveryType])
def test_the_restless_agent_really_trades_by_every_order_type(agent):
    """The properties above would hold of an agent that does nothing."""
    tags, kinds, lives, cancels, replaces = set(), set(), set(), 0, 0
    generator = np.random.default_rng(3)
    for seed in range(12):
        rows = []
        price = MID
        for number in range(40):
            close = price + int(generator.integers(-5, 6))
            high, low = max(price, close) + 2, min(price, close) - 2
            rows.append(bar_row(5 * number, price, high, low, close, 100, sequence=number))
            price = close
        records, _ = run(rows, agent, seed=seed)
        for record in records:
            tags |= {fill.tag for fill in record.fills}
            kinds |= {order.order_type for order in record.orders}
            lives |= {order.time_in_force for order in record.orders}
            cancels += len(record.cancels)
            replaces += len(record.replaces)
    assert tags == {"entry", "exit", "stop", "target"}
    assert len(kinds) == (4 if agent is Restless else len(OrderType))
    assert len(lives) == 5
    assert cancels > 20
    assert replaces > 20
