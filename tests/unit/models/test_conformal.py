"""Conformal intervals: hand-worked steps, delay, marks, exact continuation, the promise itself, and coverage on real data."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.historical.importing import read_file
from grandmodel.domain.blocks import Flag
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import ns_from_text
from grandmodel.models.conformal import (
    ConformalSettings,
    ConformalState,
    conformal_history,
    fit_conformal,
    fit_day_factors,
    split_conformal_radius,
)
from grandmodel.models.errors import ModelError
from grandmodel.training.market import build_market
from shared_data import shared

FLAT = ConformalSettings(horizon=2, step=0.1, slope_step=0.1, decay=0.5, start_level=0.0)


def test_an_interval_lies_about_the_expected_move_as_wide_as_scale_and_time_of_day_say():
    factors = [1.0] * 48
    factors[24] = 2.0
    state = ConformalState(msgspec.structs.replace(FLAT, day_factors=tuple(factors)))
    state.observe(1000, is_break=False)
    assert state.predict(3.0, 10.0, 0.0) == pytest.approx((-7.0, 13.0))
    state.observe(1000, is_break=False)
    assert state.predict(3.0, 10.0, 0.5) == pytest.approx((-17.0, 23.0))


def test_the_radius_moves_when_the_outcome_is_known_and_not_before():
    state = ConformalState(FLAT)
    widths = []
    for close in (1000, 1000, 1050, 1050, 1051, 1051):
        state.observe(close, is_break=False)
        low, high = state.predict(0.0, 10.0, 0.0)
        widths.append(0.5 * (high - low) / 10.0)
    # Made at bars 0 and 1: missed by 50 ticks. Made at bars 2 and 3: a move of 1, covered.
    levels = [0.0, 0.0, 0.09, 0.18, 0.17, 0.16]
    assert widths == pytest.approx(np.exp(levels))
    assert state.counts.made == 6
    assert state.counts.known == 4
    assert state.counts.covered == 2
    assert state.counts.dropped == 0


def test_the_slope_learns_from_misses_under_stress():
    state = ConformalState(FLAT)
    state.observe(0, is_break=False)
    state.predict(0.0, 10.0, 0.0)
    state.observe(0, is_break=False)
    low, high = state.predict(0.0, 40.0, 0.0)
    # The slow mean after the second: (0.25 log 10 + 0.5 log 40) / 0.75.
    stress = math.log(40.0) - (0.25 * math.log(10.0) + 0.5 * math.log(40.0)) / 0.75
    assert (low, high) == pytest.approx((-40.0, 40.0))
    state.observe(0, is_break=False)
    state.observe(1000, is_break=False)
    before = math.log(40.0) - (0.125 * math.log(10.0) + 0.25 * math.log(40.0) + 0.5 * math.log(40.0)) / 0.875
    level, slope = -0.01 + 0.09, 0.1 * 0.9 * stress
    assert state.predict(0.0, 40.0, 0.0)[1] == pytest.approx(40.0 * math.exp(level + slope * before))


def test_forecasts_that_a_mark_cuts_are_dropped_and_counted():
    state = ConformalState(FLAT)
    for close in (1000, 1001):
        state.observe(close, is_break=False)
        state.predict(0.0, 10.0, 0.0)
    state.observe(5000, is_break=True)
    low, high = state.predict(0.0, 10.0, 0.0)
    assert high - low == pytest.approx(20.0)
    assert state.counts.dropped == 2
    assert state.counts.known == 0
    state.observe(5001, is_break=False)
    state.observe(5002, is_break=False)
    assert state.counts.known == 1
    assert state.counts.covered == 1


def test_bars_without_a_forecast_teach_nothing():
    state = ConformalState(FLAT)
    state.observe(1000, is_break=False)
    state.predict(0.0, 10.0, 0.0)
    for close in (1000, 1000, 9000, 9000):
        state.observe(close, is_break=False)
    assert state.counts.made == 1
    assert state.counts.known == 1
    assert state.counts.covered == 1


@pytest.mark.parametrize("unknown", [(math.nan, 1.0, 0.5), (0.0, math.nan, 0.5), (0.0, 0.0, 0.5), (0.0, 1.0, math.nan)])
def test_where_something_is_unknown_there_is_no_interval_and_nothing_waits(unknown):
    state = ConformalState(FLAT)
    state.observe(1000, is_break=False)
    before = state.save()
    assert np.isnan(state.predict(*unknown)).all()
    assert state.save() == before


def test_before_the_first_bar_there_is_no_interval():
    assert np.isnan(ConformalState(FLAT).predict(0.0, 1.0, 0.0)).all()


bars = st.lists(
    st.tuples(
        st.integers(-300, 300),
        st.sampled_from([False] * 19 + [True]),
        st.floats(-5, 5),
        st.floats(0.5, 200),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=60,
)


def walk(state, steps):
    found = []
    for close, is_break, expected, scale, time_of_day in steps:
        state.observe(close, is_break=is_break)
        found.append(state.predict(expected, scale, time_of_day))
    return found


@given(bars, st.integers(0, 60), st.integers(1, 9))
@settings(deadline=None)
def test_a_restored_state_goes_on_exactly(steps, cut, horizon):
    settings_ = msgspec.structs.replace(FLAT, horizon=horizon)
    whole = ConformalState(settings_)
    expected = walk(whole, steps)
    first, second = ConformalState(settings_), ConformalState(settings_)
    walk(first, steps[:cut])
    walk(second, steps)
    second.restore(first.save())
    assert walk(second, steps[cut:]) == expected[cut:]
    assert second.save() == whole.save()
    assert second.counts == whole.counts


def test_a_state_restored_between_a_bar_and_its_forecast_knows_the_close():
    first, second = ConformalState(FLAT), ConformalState(FLAT)
    first.observe(1000, is_break=False)
    second.restore(first.save())
    for state in (first, second):
        state.predict(0.0, 10.0, 0.0)
        for close in (1000, 1000):
            state.observe(close, is_break=False)
        assert state.counts.covered == 1


@given(bars, st.integers(1, 9))
@settings(deadline=None)
def test_a_history_is_the_steps_one_by_one(steps, horizon):
    settings_ = msgspec.structs.replace(FLAT, horizon=horizon)
    columns = [np.array(column) for column in zip(*steps, strict=True)]
    history = conformal_history(columns[0], columns[1], columns[2], columns[3], columns[4], settings_)
    state = ConformalState(settings_)
    found = np.array(walk(state, steps))
    assert (found == np.column_stack([history.low, history.high])).all()
    assert state.counts.known == history.is_known.sum()
    # Where the outcome lies within a rounding of the bound the two may differ; the count of the history is of closed intervals.
    assert abs(state.counts.covered - history.is_covered[history.is_known].sum()) <= 1
    assert state.counts.made == state.counts.known + state.counts.dropped + waiting(steps, horizon)


def waiting(steps, horizon):
    last_break = max((t for t, step in enumerate(steps) if step[1]), default=-1)
    return len(steps) - max(last_break, len(steps) - horizon, 0)


@given(
    st.lists(st.floats(0.05, 20.0), min_size=1, max_size=12),
    st.integers(1, 8),
    st.sampled_from([0.8, 0.9]),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_the_share_missed_is_what_was_asked_whatever_happens(sizes, horizon, coverage, seed):
    """The bound of quantile tracking with delay: the level cannot leave the range of log scores by more than the delay adds."""
    step, length = 0.05, 4000
    rng = np.random.default_rng(seed)
    # An adversary: stretches of any length at any size, in either direction.
    size = np.repeat(rng.choice(sizes, 200), rng.integers(1, 60, 200))[:length]
    size = np.pad(size, (0, length - len(size)), mode="edge")
    settings_ = ConformalSettings(coverage=coverage, horizon=horizon, step=step, slope_step=0.0, start_level=0.0)
    state = ConformalState(settings_)
    # Outcomes are handed in through the expected move: the price stands still, and the forecast is off by ``size`` scales.
    for off in size:
        state.observe(0, is_break=False)
        state.predict(off * 100.0, 100.0, 0.0)
    missed = 1.0 - state.counts.covered / state.counts.known
    reach = math.log(20.0 / 0.05) + 2.0 * step * (horizon + 1)
    assert abs(missed - (1.0 - coverage)) <= reach / (step * state.counts.known) + 1e-9


def doubling(seed, length=8000):
    """A series whose volatility doubles half way; the forecaster knows nothing of it."""
    rng = np.random.default_rng(seed)
    deviation = np.where(np.arange(length) < length // 2, 10.0, 20.0)
    return np.cumsum(rng.normal(0.0, deviation)).round()


@pytest.mark.parametrize("seed", range(3))
def test_coverage_survives_a_doubling_of_volatility_where_a_fixed_radius_fails(seed):
    close = doubling(seed)
    T, scale = len(close), np.full(len(close), 10.0 * math.sqrt(8))
    nothing, half = np.zeros(len(close)), len(close) // 2
    adaptive = conformal_history(close, nothing > 0, nothing, scale, nothing, ConformalSettings())
    fixed = conformal_history(
        close, nothing > 0, nothing, scale, nothing, ConformalSettings(step=1e-12, slope_step=0.0)
    )
    for part in (slice(0, half - 8), slice(half, T - 8)):
        assert adaptive.is_covered[part].mean() == pytest.approx(0.9, abs=0.02)
    assert fixed.is_covered[half : T - 8].mean() < 0.65


def test_a_sharp_change_is_followed_within_a_few_hundred_outcomes():
    close = doubling(0)
    zeros = np.zeros(len(close))
    history = conformal_history(
        close, zeros > 0, zeros, np.full(len(close), 10.0 * math.sqrt(8)), zeros, ConformalSettings()
    )
    half = len(close) // 2
    assert history.is_covered[half + 400 : half + 1200].mean() > 0.85


def test_fitted_settings_begin_calibrated_and_know_the_time_of_day():
    rng = np.random.default_rng(5)
    time_of_day = np.tile(np.arange(1, 47) / 46, 200)
    usual = np.where(time_of_day > 0.6, 2.0, 0.5)
    scale = rng.uniform(5, 50, len(usual))
    outcome = rng.normal(0.0, usual * scale)
    fitted = fit_conformal(outcome, np.zeros(len(usual)), scale, time_of_day, horizon=4)
    factors = np.array(fitted.day_factors)
    assert factors[40] / factors[10] == pytest.approx(4.0, rel=0.35)
    unit = scale * factors[(time_of_day * 48).astype(int).clip(0, 47)]
    assert (np.abs(outcome) <= math.exp(fitted.start_level) * unit).mean() == pytest.approx(0.9, abs=0.005)
    assert fitted.horizon == 4
    assert msgspec.convert(msgspec.to_builtins(fitted), ConformalSettings) == fitted


def test_parts_of_the_day_with_few_scores_lean_towards_the_mean():
    scores = np.r_[np.full(1000, 1.0), 9.0]
    factors = fit_day_factors(scores, np.r_[np.zeros(1000), 0.99])
    assert factors[0] == pytest.approx(1.0, abs=0.01)
    assert 1.0 < factors[47] < 1.25
    assert factors[20] == 1.0


def test_the_split_radius_is_the_order_statistic_that_covers_a_fresh_score():
    assert split_conformal_radius(np.arange(1.0, 100.0), 0.9) == 90.0
    assert split_conformal_radius(np.arange(1.0, 6.0), 0.9) == 5.0


def test_what_cannot_be_used_is_refused():
    with pytest.raises(ModelError, match=r"found coverage 1\.5"):
        ConformalSettings(coverage=1.5)
    with pytest.raises(ModelError, match="found 3 day_factors, expected 48"):
        ConformalSettings(day_factors=(1.0, 1.0, 1.0))
    with pytest.raises(ModelError, match="found step 0"):
        ConformalSettings(step=0.0)
    with pytest.raises(ModelError, match="start_slope 3"):
        ConformalSettings(start_slope=3.0)
    with pytest.raises(ModelError, match="start_level -20"):
        ConformalSettings(start_level=-20.0)
    state = ConformalState(FLAT)
    with pytest.raises(ModelError, match="belongs to another model"):
        state.restore(ConformalState(ConformalSettings()).save())
    with pytest.raises(ModelError, match="out of range"):
        state.restore(np.full(len(state.save()) // 8, np.nan).tobytes())
    with pytest.raises(ModelError, match="expected four alike of at least 100"):
        fit_conformal(*np.ones((4, 50)))
    with pytest.raises(ModelError, match="scale of 0"):
        fit_conformal(*np.ones((2, 200)), np.zeros(200), np.ones(200))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["NQ", "CL"])
def test_intervals_of_real_moves_cover_ninety_in_a_hundred_in_calm_and_in_stress(name):
    path = shared(f"data/bars/futures_30m/{name}_30m_eth_20200629_20240628.csv.gz")
    instrument = BUILT_IN[InstrumentId(name)]
    (block,) = read_file(path, instrument)[0].values()
    market = build_market(block[block["ts_event"] < ns_from_text("2023-07-01T00:00:00Z")], instrument, "strategic")
    unit, time_of_day = market.scale * math.sqrt(market.horizon), market.rows[:, 6]
    known = market.usable & ~np.isnan(market.outcome)
    early = known & (market.ts_event < ns_from_text("2021-07-01T00:00:00Z"))
    fitted = fit_conformal((market.outcome * unit)[early], np.zeros(early.sum()), unit[early], time_of_day[early])
    breaks = (market.bars["flags"] & int(Flag.ROLL | Flag.BAD_STRETCH)) != 0
    later = market.usable & (market.ts_event >= ns_from_text("2021-07-01T00:00:00Z"))
    history = conformal_history(market.bars["close"], breaks, np.where(later, 0.0, np.nan), unit, time_of_day, fitted)
    # The outcomes that the state meets are exactly the market's: none crosses a roll or a bad stretch.
    assert (history.is_known == (later & ~np.isnan(market.outcome))).all()
    assert history.outcome[history.is_known] == pytest.approx((market.outcome * unit)[history.is_known], abs=1e-6)
    covered, at = history.is_covered, history.is_known
    stressed = unit > np.median(unit[at])
    second_year = market.ts_event >= ns_from_text("2022-07-01T00:00:00Z")
    for half in (stressed, ~stressed, second_year, ~second_year):
        assert covered[at & half].mean() == pytest.approx(0.9, abs=0.02)
