"""From belief to exposure: bounded, of the right sign, never larger for more ignorance, and the Kelly of the risk room."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.domain.errors import UsageError
from grandmodel.domain.time import FIVE_MINUTES_NS, THIRTY_MINUTES_NS
from grandmodel.risk.sizing import (
    ExposureSettings,
    is_inside_dead_band,
    lots_that_breakers_leave,
    takes_new_risk,
    without_new_risk,
)
from grandmodel.strategic.decision import (
    LARGEST_MUTUAL_INFORMATION,
    Evidence,
    StrategicReason,
    StrategicSettings,
    kelly_lots,
    size_exposure,
    trust_in,
)

SETTINGS = StrategicSettings()
BELIEFS = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).map(
    lambda x: np.array(x) / sum(x) if sum(x) > 0 else np.full(3, 1 / 3)
)


def evidence(**changes):
    values = {
        "belief": np.array([0.5, 0.3, 0.2]),
        "expected_move": 0.4,
        "deviation": 100.0,
        "mutual_information": 0.02,
        "purity": 0.99,
        "novelty": 0.5,
        "support": 1.0,
        "interval": (-150.0, 151.0),
        "equity_micros": 1e12,
        "tick_value_micros": 5e6,
    }
    return Evidence(**(values | changes))


@given(
    BELIEFS,
    st.floats(-300.0, 300.0),
    st.floats(1.0, 500.0),
    st.floats(-0.001, 1.2),
    st.floats(0.0, 5.0),
    st.floats(0.01, 1e5),
)
def test_an_exposure_is_bounded_and_points_where_belief_and_move_agree(belief, move, deviation, mutual, novelty, full):
    given_ = evidence(
        belief=belief, expected_move=move, deviation=deviation, mutual_information=mutual, novelty=novelty
    )
    exposure, reasons = size_exposure(given_, full, SETTINGS)
    assert -1.0 <= exposure <= 1.0
    assert exposure * move >= 0.0
    if exposure:
        assert int(np.argmax(belief)) == (0 if exposure > 0 else 2)
        assert reasons[0] is (StrategicReason.LONG if exposure > 0 else StrategicReason.SHORT)
    assert len(set(reasons)) == len(reasons)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 3.0), st.floats(0.0, 3.0), st.floats(0.01, 50.0))
def test_more_ignorance_or_novelty_never_makes_a_position_larger(first, second, near, far, move):
    low, high = sorted((first, second))
    near, far = sorted((near, far))
    small, _ = size_exposure(evidence(mutual_information=high, novelty=far, expected_move=move), 3.0, SETTINGS)
    large, _ = size_exposure(evidence(mutual_information=low, novelty=near, expected_move=move), 3.0, SETTINGS)
    assert small <= large


def test_ignorance_cuts_a_position_that_risk_s_limits_had_cut_already():
    sure, _ = size_exposure(evidence(expected_move=50.0, mutual_information=0.0), 1.0, SETTINGS)
    unsure, reasons = size_exposure(evidence(expected_move=50.0, mutual_information=0.3), 1.0, SETTINGS)
    assert sure == 1.0
    assert unsure == pytest.approx(1.0 - 0.3 / math.log(3))
    assert StrategicReason.IGNORANT in reasons


def test_trust_ends_where_nothing_is_known():
    assert trust_in(LARGEST_MUTUAL_INFORMATION, 0.0)[0] == 0.0
    assert trust_in(0.0, 1.0) == (1.0, 1.0)
    assert trust_in(0.0, 2.0)[1] == 0.0


@given(st.floats(0.001, 5.0), st.floats(5.0, 400.0), st.floats(1e9, 1e13), st.floats(1e5, 1e8))
def test_the_kelly_share_is_expected_return_over_variance_of_the_notional(edge, deviation, equity, tick_value):
    """The same bet in annual returns of the notional comes to the same lots, whatever the notional and the year are."""
    notional, horizons = 400_000_000_000, 1_449.0
    expected_return_annual = edge * tick_value * horizons / notional
    volatility_annual = deviation * tick_value * math.sqrt(horizons) / notional
    lots = 0.25 * expected_return_annual / volatility_annual**2 * int(equity) / notional
    assert kelly_lots(edge, deviation, tick_value, int(equity), 0.25) == pytest.approx(lots, rel=1e-9)


@pytest.mark.parametrize(
    ("changes", "full", "code"),
    [
        ({"belief": np.array([0.2, 0.6, 0.2])}, 10.0, "neutral"),
        ({"expected_move": -1.0}, 10.0, "no_edge"),
        ({"expected_move": 50.0}, 1.0, "volatility_target"),
        ({"expected_move": 0.4}, 4.0, "kelly"),
        ({"expected_move": 0.4}, 1_000.0, "kelly_small"),
        ({"novelty": 1.5}, 10.0, "novel"),
        ({"purity": 0.7}, 10.0, "disagree"),
        ({"mutual_information": 0.3}, 10.0, "ignorant"),
        ({}, 10.0, "zero_in_interval"),
    ],
)
def test_each_code_is_given_where_its_meaning_holds(changes, full, code):
    _, reasons = size_exposure(evidence(**changes), full, SETTINGS)
    assert code in [reason.value for reason in reasons]


def test_a_tie_of_directions_is_no_reason_to_act():
    exposure, reasons = size_exposure(evidence(belief=np.array([0.4, 0.2, 0.4]), expected_move=5.0), 1.0, SETTINGS)
    assert exposure == 0.0
    assert reasons[0] is StrategicReason.NEUTRAL


def test_the_var_budget_binds_where_it_is_the_smaller():
    tight = StrategicSettings(full=ExposureSettings(var_budget=0.001))
    assert tight.full.binding == "var_budget"
    assert StrategicReason.VAR_BUDGET in size_exposure(evidence(expected_move=50.0), 0.1, tight)[1]
    rules = [StrategicSettings().full.rule(THIRTY_MINUTES_NS), tight.full.rule(THIRTY_MINUTES_NS)]
    assert rules[0].lots(30.0, 5e6, 1e12) > rules[1].lots(30.0, 5e6, 1e12) > 0.0


def test_a_full_exposure_is_the_volatility_target_whatever_the_bars():
    """A random walk's deviation grows with the root of time: five-minute bars must say the same lots as half hours."""
    full = ExposureSettings()
    half_hours = full.rule(THIRTY_MINUTES_NS).lots(30.0, 5e6, 1e12)
    fives = full.rule(FIVE_MINUTES_NS).lots(30.0 / math.sqrt(6.0), 5e6, 1e12)
    assert half_hours == pytest.approx(fives)
    assert half_hours * 30.0 * 5e6 * math.sqrt(46 * 252) == pytest.approx(0.10 * 1e12)


def test_settings_that_no_decision_can_be_made_with_are_refused():
    for changes in ({"kelly_fraction": 0.0}, {"kelly_fraction": 1.5}, {"dead_band": 1.0}):
        with pytest.raises(UsageError):
            StrategicSettings(**changes)


LOTS = st.integers(-50, 50)


@given(LOTS, LOTS)
def test_what_takes_no_new_risk_lies_between_the_position_and_nothing(held, wanted):
    left = without_new_risk(held, wanted)
    assert not takes_new_risk(held, left)
    assert min(0, held) <= left <= max(0, held)
    if not takes_new_risk(held, wanted):
        assert left == wanted


@given(LOTS, LOTS, st.floats(0.0, 20.0))
def test_the_dead_band_never_keeps_a_position_that_is_to_end_or_turn(held, wanted, band):
    inside = is_inside_dead_band(held, wanted, band)
    if wanted == 0 or wanted * held < 0 or wanted == held:
        assert not inside
    else:
        assert inside == (abs(wanted - held) < band)


@given(LOTS, LOTS, st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_what_breakers_leave_asked_for_again_is_left_alone(held, wanted, size_scale):
    """Else the position would creep, or the record fill with refusals."""
    left = lots_that_breakers_leave(held, wanted, size_scale)
    assert lots_that_breakers_leave(left, wanted, size_scale) == left
    assert abs(left) <= max(abs(held), abs(wanted))
    assert left * wanted >= 0 or left == wanted


@given(st.floats(0.0, 1.0))
def test_a_size_is_in_proportion_to_what_held_back_data_support(first):
    one, reasons = size_exposure(evidence(support=first), 1.0, SETTINGS)
    whole, _ = size_exposure(evidence(support=1.0), 1.0, SETTINGS)
    assert one == pytest.approx(whole * first, abs=1e-15)
    assert (StrategicReason.UNPROVEN in reasons) == (first < 0.5)
