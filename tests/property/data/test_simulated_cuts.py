"""However the simulated market is cut into blocks, and wherever it ends, its rows are the same; whatever their number, its bars."""

import functools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import TICK, Action, Block, BookSide, Flag, check_order
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import (
    FIVE_MINUTES_NS,
    NS_PER_DAY,
    NS_PER_HOUR,
    NS_PER_MINUTE,
    THIRTY_MINUTES_NS,
    ns_from_text,
)
from grandmodel.simulation.market import SimulatedMarket
from grandmodel.simulation.market_parameters import built_in_parameters
from trade_bars import trade_bars

START = ns_from_text("2024-03-07") + 20 * NS_PER_HOUR
END = START + 6 * NS_PER_HOUR
PARAMETERS = built_in_parameters()


@functools.cache
def _market(seed: int, row_scale: float = 0.5) -> SimulatedMarket:
    instruments = [BUILT_IN[InstrumentId(name)] for name in ("NQ", "CL")]
    schedules = [session_schedule(one, START - NS_PER_DAY, END + NS_PER_DAY) for one in instruments]
    return SimulatedMarket(PARAMETERS, instruments, schedules, seed, row_scale=row_scale)


@functools.cache
def _whole(seed: int, row_scale: float = 0.5) -> Block:
    return np.concatenate([np.zeros(0, TICK), *_market(seed, row_scale).blocks(START, END, 10**6)])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 5),
    rows_per_block=st.one_of(st.integers(1, 50), st.integers(51, 20_000)),
    minutes=st.integers(0, 360),
)
def test_blocks_of_any_size_up_to_any_end_hold_the_same_rows(seed: int, rows_per_block: int, minutes: int) -> None:
    end_ns = START + minutes * NS_PER_MINUTE
    blocks = list(_market(seed).blocks(START, end_ns, rows_per_block))
    rows = np.concatenate([np.zeros(0, TICK), *blocks])
    whole = _whole(seed)
    expected = whole[whole["ts_event"] < end_ns]
    assert rows.tobytes() == expected.tobytes()
    assert all(len(block) == rows_per_block for block in blocks[:-1])
    check_order(rows)
    assert (rows["bid_price"] < rows["ask_price"]).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 5),
    row_scale=st.one_of(st.floats(0.0005, 0.999), st.sampled_from([0.05, 0.2]), st.floats(1.001, 12.0)),
    width_ns=st.sampled_from([FIVE_MINUTES_NS, THIRTY_MINUTES_NS, NS_PER_HOUR]),
)
def test_bars_are_the_same_at_every_row_scale(seed: int, row_scale: float, width_ns: int) -> None:
    bars = _market(seed, row_scale).bars(START, END, width_ns)
    made = zip(
        bars,
        trade_bars([_whole(seed, 1.0)], 2, width_ns),
        trade_bars([_rows(seed, row_scale)], 2, width_ns),
        strict=True,
    )
    for one, tape, scaled in made:
        assert one.tobytes() == tape.tobytes() == scaled.tobytes()
        assert len(one) > 3


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 5), minutes=st.integers(0, 360), width_ns=st.integers(NS_PER_MINUTE, 9 * NS_PER_HOUR))
def test_bars_of_any_width_up_to_any_end_are_those_of_the_tape(seed: int, minutes: int, width_ns: int) -> None:
    end_ns = START + minutes * NS_PER_MINUTE
    tape = _whole(seed, 1.0)
    expected = trade_bars([tape[tape["ts_event"] < end_ns]], 2, width_ns)
    made = _market(seed, 1.0).bars(START, end_ns, width_ns)
    assert [one.tobytes() for one in made] == [one.tobytes() for one in expected]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 5), row_scale=st.one_of(st.floats(0.0005, 0.999), st.floats(1.001, 12.0)))
def test_rows_of_every_scale_are_a_market_of_their_own(seed: int, row_scale: float) -> None:
    rows = _rows(seed, row_scale)
    check_order(rows)
    assert (rows["sequence"] == np.arange(1, len(rows) + 1)).all()
    for i in range(2):
        own = rows[rows["instrument"] == i]
        is_trade = own["action"] == int(Action.TRADE)
        before, trades = own[:-1][is_trade[1:]], own[1:][is_trade[1:]]
        buys = trades["side"] == int(BookSide.BID)
        assert not is_trade[0]
        assert (trades["price"] == np.where(buys, before["ask_price"], before["bid_price"])).all()
        for name in ("bid_price", "ask_price", "bid_size", "ask_size"):
            assert (trades[name] == before[name]).all()
        # An event that does not end with a row goes on with a trade at the same time.
        goes_on = own["flags"] != int(Flag.LAST)
        assert not goes_on[-1]
        after = own[1:][goes_on[:-1]]
        assert (after["action"] == int(Action.TRADE)).all()
        assert (after["ts_event"] == own["ts_event"][goes_on]).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 5), row_scale=st.floats(0.0005, 0.999))
def test_a_smaller_scale_leaves_rows_of_the_tape(seed: int, row_scale: float) -> None:
    names = ["ts_event", "instrument", "action", "side", "price", "bid_price", "ask_price", "bid_size", "ask_size"]
    tape, rows = _whole(seed, 1.0), _rows(seed, row_scale)
    assert set(rows[names].tolist()) <= set(tape[names].tolist())
    # Of each slot and instrument four trades, their quotes and the last quote stay at least.
    slots = 2 * (END - START) // FIVE_MINUTES_NS
    assert abs(len(rows) - row_scale * len(tape)) < 9 * slots


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 5), row_scale=st.floats(1.5, 12.0))
def test_a_larger_scale_moves_no_price_between_the_rows_of_the_tape(seed: int, row_scale: float) -> None:
    names = ["bid_price", "ask_price"]
    tape, rows = _whole(seed, 1.0), _rows(seed, row_scale)
    assert 0.8 * row_scale < len(rows) / len(tape) < 1.25 * row_scale
    for i in range(2):
        prices = [block[names][block["instrument"] == i] for block in (tape, rows)]
        paths = [part[np.append(True, part[1:] != part[:-1])] for part in prices]
        assert paths[0].tolist() == paths[1].tolist()


def _rows(seed: int, row_scale: float) -> Block:
    return np.concatenate([np.zeros(0, TICK), *_market(seed, row_scale).blocks(START, END, 30_000)])
