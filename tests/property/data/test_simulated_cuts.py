"""However the simulated market is cut into blocks, and wherever it ends, its rows are the same."""

import functools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import TICK, Block, check_order
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, ns_from_text
from grandmodel.simulation.market import SimulatedMarket
from grandmodel.simulation.market_parameters import built_in_parameters

START = ns_from_text("2024-03-07") + 20 * NS_PER_HOUR
END = START + 6 * NS_PER_HOUR
PARAMETERS = built_in_parameters()


@functools.cache
def _market(seed: int) -> SimulatedMarket:
    instruments = [BUILT_IN[InstrumentId(name)] for name in ("NQ", "CL")]
    schedules = [session_schedule(one, START - NS_PER_DAY, END + NS_PER_DAY) for one in instruments]
    return SimulatedMarket(PARAMETERS, instruments, schedules, seed, row_scale=0.5)


@functools.cache
def _whole(seed: int) -> Block:
    return np.concatenate([np.zeros(0, TICK), *_market(seed).blocks(START, END, 10**6)])


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
