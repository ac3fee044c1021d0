"""Several streams as one, in the only order that the engine knows, and the engine takes what comes out."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_runs import build_engine
from grandmodel.domain.blocks import Schema, check_order, schema_of
from grandmodel.runtime.sequencer import merge_blocks, sequence
from strategies import CL, MINUTE, NQ, bar_row, stack, trade_row


@st.composite
def streams(draw):
    """Bars and trades of two instruments; each stream in order with its own numbers, stamps often equal."""
    blocks = []
    for instrument in (0, 1):
        minutes = sorted(draw(st.lists(st.integers(0, 12), max_size=8)))
        if minutes:
            blocks.append(
                stack([bar_row(5 * m, 9, 9, 9, 9, instrument=instrument, sequence=k) for k, m in enumerate(minutes)])
            )
        times = sorted(draw(st.lists(st.integers(0, 70), max_size=12)))
        if times:
            start = draw(st.integers(0, 50))
            blocks.append(
                stack(
                    [trade_row(t * MINUTE, 9, instrument=instrument, sequence=start + k) for k, t in enumerate(times)]
                )
            )
    return blocks


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(streams(), st.integers(1, 9))
def test_every_row_comes_once_in_order_and_the_engine_takes_them(blocks, most):
    found = list(sequence(blocks, most))
    assert sum(len(block) for block in found) == sum(len(block) for block in blocks)
    assert all(0 < len(block) <= most for block in found)
    for schema in (Schema.BARS, Schema.QUOTES):
        given_rows = [block for block in blocks if schema_of(block) is schema]
        came = [block for block in found if schema_of(block) is schema]
        if given_rows:
            assert np.concatenate(came).tobytes() == merge_blocks(given_rows).tobytes()
    times = [int(ts) for block in found for ts in block["ts_init"]]
    assert times == sorted(times)
    order = [(int(ts), schema_of(block) is not Schema.BARS) for block in found for ts in block["ts_init"]]
    assert order == sorted(order)  # a finished bar before what happens next
    engine = build_engine(instruments=(NQ, CL))
    for block in found:
        check_order(block)
        list(engine.on_block(block))
    assert engine.market.position == len(times)


@settings(deadline=None, max_examples=60)
@given(streams(), st.integers(1, 9))
def test_the_size_of_a_block_does_not_change_the_order(blocks, most):
    def rows(size):
        return [row.tobytes() for block in sequence(blocks, size) for row in block]

    assert rows(most) == rows(10_000)
