"""Examples to learn from: nothing from behind the training span, nothing in the wrong order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.domain.blocks import Flag
from grandmodel.features.normaliser import Normaliser
from grandmodel.models.architecture import strategic_architecture
from grandmodel.training.errors import TrainingDataError
from grandmodel.training.labels import (
    Windows,
    find_examples,
    hold_back,
    signs_of,
)
from grandmodel.training.market import Span, build_market
from training_markets import NQ, some_bars


def test_a_rise_is_the_first_sign_and_no_move_is_not_a_rise():
    assert signs_of(np.array([0.1, 0.0, -0.1])).tolist() == [0, 1, 1]


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def markets():
    return [build_market(some_bars(1_400, seed, [(1_000, Flag.ROLL)]), NQ, "strategic") for seed in (1, 2)]


def normaliser_of(markets):
    rows = np.concatenate([market.rows for market in markets])
    ts = np.concatenate([market.ts_event for market in markets])
    return Normaliser.fit(rows, ts, markets[0].schema, train_from_ns=0, train_to_ns=2**62)


def test_a_window_is_the_normalised_rows_up_to_its_bar_oldest_first(markets):
    normaliser = normaliser_of(markets)
    places = [np.flatnonzero(market.usable)[[0, 7, -1]] for market in markets]
    windows = Windows.of(markets, normaliser)
    for trunk in strategic_architecture().trunks:
        found = windows.gather(trunk, np.concatenate([windows.offsets[m] + own for m, own in enumerate(places)]))
        assert found.dtype == np.float32
        expected = [
            normaliser.apply(market.rows[place - 47 : place + 1])[:, list(trunk.columns)].ravel()
            for market, own in zip(markets, places, strict=True)
            for place in own
        ]
        np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))


def test_a_window_with_an_unknown_value_or_before_the_first_row_is_refused(markets):
    windows = Windows.of(markets, normaliser_of(markets))
    trunk = strategic_architecture().trunks[0]
    with pytest.raises(TrainingDataError, match="unknown values, expected none"):
        windows.gather(trunk, np.array([60]))
    with pytest.raises(TrainingDataError, match="found no 48 rows up to it"):
        windows.gather(trunk, np.array([46]))


def test_examples_are_the_decisions_of_every_market_with_their_outcomes(markets):
    windows = Windows.of(markets, normaliser_of(markets))
    span = Span(int(markets[0].ts_event[800]), int(markets[0].ts_event[1_300]))
    examples = find_examples(markets, windows, span, embargo_bars=20)
    assert set(examples.market) == {0, 1}
    for m, market in enumerate(markets):
        own = examples.places[examples.market == m] - windows.offsets[m]
        np.testing.assert_array_equal(own, market.decisions(span, embargo_bars=20))
        np.testing.assert_array_equal(examples.outcomes[examples.market == m], market.outcome[own])
        assert (market.ts_event[own + market.horizon + 20] < span.end_ns).all()
    assert len(examples) == len(examples.ts_event)


@given(st.integers(0, 10**18), st.integers(1_000, 10**17), st.floats(0.05, 0.9))
def test_what_is_held_back_is_the_end_of_the_span_and_both_parts_make_the_whole(start, length, share):
    span = Span(start, start + length)
    first, last = hold_back(span, share)
    assert (first.start_ns, last.end_ns) == (span.start_ns, span.end_ns)
    assert first.end_ns == last.start_ns
    assert last.end_ns - last.start_ns == pytest.approx(share * length, abs=1.0)


def test_the_outcomes_learnt_from_end_an_embargo_before_the_first_decision_held_back(markets):
    windows = Windows.of(markets, normaliser_of(markets))
    cut = int(markets[0].ts_event[1_200])
    fit, held = Span(0, cut), Span(cut, 2**62)
    before = find_examples(markets, windows, fit, embargo_bars=48)
    after = find_examples(markets, windows, held)
    bar = markets[0].width_ns
    assert before.ts_event.max() + (8 + 48) * bar < after.ts_event.min()
