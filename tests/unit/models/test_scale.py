"""The scale of moves: bar by bar as in one pass, against a plain formula, and never across a mark."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.models.scale import STRATEGIC_DECAY, WARM_UP_MOVES, MoveScale, move_scales

BARS = st.lists(st.tuples(st.integers(-5_000, 5_000), st.booleans()), min_size=60, max_size=200)


def plain_scale(closes, breaks, decay):
    """The last value, by weights written out."""
    moves = [b - a for a, b, is_break in zip(closes, closes[1:], breaks[1:], strict=False) if not is_break]
    if len(moves) < WARM_UP_MOVES:
        return math.nan
    weights = decay ** np.arange(len(moves))[::-1]
    return math.sqrt(np.average(np.square(moves), weights=weights))


@given(BARS)
def test_one_bar_at_a_time_equals_one_pass(bars):
    closes, breaks = [close for close, _ in bars], [is_break for _, is_break in bars]
    scale = MoveScale(STRATEGIC_DECAY)
    stepwise = [scale.update(close, is_break=is_break) for close, is_break in bars]
    batch = move_scales(np.array(closes, float), np.array(breaks), STRATEGIC_DECAY)
    np.testing.assert_array_equal(stepwise, batch)
    assert batch[-1] == pytest.approx(plain_scale(closes, breaks, STRATEGIC_DECAY), rel=1e-9, nan_ok=True)


def test_a_saved_scale_goes_on_exactly():
    closes = np.random.default_rng(3).normal(0, 10, 120).cumsum().round().astype(int)
    whole, first = MoveScale(0.9), MoveScale(0.9)
    for close in closes[:70]:
        whole.update(int(close), is_break=False)
        first.update(int(close), is_break=False)
    second = MoveScale(0.9)
    second.restore(first.save())
    for close in closes[70:]:
        assert whole.update(int(close), is_break=False) == second.update(int(close), is_break=False)


def test_the_step_into_a_new_contract_is_no_move():
    closes = np.concatenate([np.tile([100.0, 101.0], 50), np.tile([900.0, 901.0], 50)])
    breaks = np.zeros(200, np.bool_)
    breaks[100] = True
    assert move_scales(closes, breaks, 0.9)[-1] == pytest.approx(1.0)
    assert move_scales(closes, np.zeros(200, np.bool_), 0.99)[101] > 50.0
