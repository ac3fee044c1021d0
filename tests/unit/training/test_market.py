"""Markets to learn from: nothing is decided, valued or learnt across a mark, and nothing looks ahead."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.profile import ImportProfile, Label
from grandmodel.domain.blocks import Flag
from grandmodel.domain.time import FIVE_MINUTES_NS
from grandmodel.runtime.feeds import instruments_named
from grandmodel.training.errors import TrainingDataError
from grandmodel.training.market import HORIZON_BARS, Span, build_market, build_markets, check_one_layer
from shared_data import shared
from training_markets import NQ, some_bars


def without_volume(bars):
    bars["volume"] = -1
    return bars


MARKS = st.lists(st.tuples(st.integers(600, 1_199), st.sampled_from([Flag.ROLL, Flag.BAD_STRETCH])), max_size=5)


@settings(max_examples=30, deadline=None)
@given(MARKS, st.integers(0, 5))
def test_no_decision_and_no_outcome_crosses_a_mark(marks, seed):
    market = build_market(some_bars(1_200, seed, marks), NQ, "strategic")
    broken = (market.bars["flags"] & int(Flag.ROLL | Flag.BAD_STRETCH)) != 0
    bad = (market.bars["flags"] & int(Flag.BAD_STRETCH)) != 0
    horizon = market.horizon
    for place in np.flatnonzero(market.usable):
        assert not broken[place + 1]
        assert not bad[place - market.schema.rows + 1 : place + 1].any()
        assert not np.isnan(market.rows[place - market.schema.rows + 1 : place + 1]).any()
    for place in np.flatnonzero(~np.isnan(market.outcome)):
        assert not broken[place + 1 : place + horizon + 1].any()
        assert not bad[place]
        move = market.bars["close"][place + horizon] - market.bars["close"][place]
        assert market.outcome[place] == pytest.approx(move / (market.scale[place] * np.sqrt(horizon)), rel=1e-12)
    assert (market.segment[bad] == -1).all()


def test_what_is_known_at_a_bar_does_not_change_when_more_bars_come():
    bars = some_bars(1_300, 1, [(900, Flag.ROLL)])
    whole, part = build_market(bars, NQ, "strategic"), build_market(bars[:1_000], NQ, "strategic")
    np.testing.assert_array_equal(whole.rows[:1_000], part.rows)
    np.testing.assert_array_equal(whole.scale[:1_000], part.scale)
    np.testing.assert_array_equal(whole.usable[:999], part.usable[:999])
    np.testing.assert_array_equal(whole.outcome[: 1_000 - whole.horizon], part.outcome[: -part.horizon])


def test_the_decisions_of_a_span_have_their_outcomes_inside_it():
    market = build_market(some_bars(1_300, 2), NQ, "strategic")
    span = Span(int(market.ts_event[700]), int(market.ts_event[1_100]))
    places = market.decisions(span, embargo_bars=5)
    assert places[0] == 700
    assert places[-1] + market.horizon + 5 == 1_099
    assert len(market.decisions(Span(int(market.ts_event[1_000]), 2**62))) == 300 - market.horizon


def test_a_market_without_volume_has_a_schema_of_its_own():
    known = build_market(some_bars(700, 3, width=FIVE_MINUTES_NS), NQ, "tactical")
    unknown = build_market(without_volume(some_bars(700, 3, width=FIVE_MINUTES_NS)), NQ, "tactical")
    assert unknown.schema.volume == "unknown"
    assert unknown.usable.any()
    with pytest.raises(Exception, match="found feature schema"):
        check_one_layer([known, unknown])


@pytest.mark.parametrize(
    ("bars", "layer", "found"),
    [
        (some_bars(900, 0, width=FIVE_MINUTES_NS), "strategic", "found bars of 5 minutes, expected 30"),
        (some_bars(300, 0), "strategic", "found 300 bars, expected at least"),
        (some_bars(0, 0), "strategic", "found bars of 0 minutes"),
        (np.zeros(5, [("price", "<i8")]), "strategic", "expected bars"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(bars, layer, found):
    with pytest.raises(TrainingDataError, match=found):
        build_market(bars, NQ, layer)


def test_a_span_without_length_is_refused():
    with pytest.raises(TrainingDataError, match="expected a start before its end"):
        Span(5, 5)


def test_one_market_of_unknown_volume_leaves_volume_out_for_all_and_short_bars_are_joined():
    known = some_bars(3_500, 4, width=60 * 10**9)
    unknown = without_volume(some_bars(700, 5, width=FIVE_MINUTES_NS))
    known["instrument"], unknown["instrument"] = 1, 0
    whole = np.concatenate([known, unknown])
    blocks = [whole[:1_000], whole[1_000:]]
    first, second = build_markets(blocks, instruments_named(["CL", "NQ"]), "tactical")
    assert (first.instrument.id, len(first.bars)) == ("CL", 700)
    assert (second.instrument.id, len(second.bars)) == ("NQ", 700)
    assert check_one_layer([first, second]).volume == "unknown"
    with pytest.raises(TrainingDataError, match="CL: found no bars"):
        build_markets([known], instruments_named(["CL", "NQ"]), "tactical")


@pytest.mark.shared
def test_the_bad_stretch_of_nq_is_never_learnt_from():
    path = shared("data/bars/futures_30m/NQ_30m_eth_20200629_20240628.csv.gz")
    found, _ = read_file(path, NQ, ImportProfile(time_zone="Asia/Jerusalem", label=Label.OPEN))
    market = build_market(next(iter(found.values())), NQ, "strategic")
    bad = (market.bars["flags"] & int(Flag.BAD_STRETCH)) != 0
    assert bad.sum() == 2_944
    assert not market.usable[bad].any()
    first = int(np.flatnonzero(bad)[0])
    assert not market.usable[first - 1 :].any()  # The little data behind it is within the warm-up.
    assert np.isnan(market.outcome[first - HORIZON_BARS["strategic"] : first]).all()
    assert market.usable.sum() > 40_000
