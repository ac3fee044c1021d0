"""Temperature, measures of calibration, and what a belief says of the move, against closed forms, scipy and sklearn."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from grandmodel.models.calibration import (
    TEMPERATURES,
    brier_parts,
    brier_score,
    calibrated,
    calibration_error,
    classify_outcomes,
    classwise_calibration_error,
    direction_support,
    expected_move,
    expected_moves,
    fit_class_outcomes,
    fit_temperature,
    log_loss,
    reliability_bins,
    scale_belief,
)
from grandmodel.models.errors import ModelError


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def said_and_happened(temperature=1.0, count=4000, seed=0):
    """Beliefs, and labels drawn from those beliefs at ``temperature``: 1 is calibrated, above 1 the beliefs are too bold."""
    rng = np.random.default_rng(seed)
    beliefs = softmax(rng.normal(0.0, 1.5, (count, 3)))
    true = calibrated(beliefs, temperature)
    labels = (rng.random((count, 1)) > true.cumsum(axis=1)).sum(axis=1)
    return beliefs, np.minimum(labels, 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 5.0])
def test_the_fitted_temperature_is_scipys_and_the_one_the_labels_were_drawn_at(temperature):
    beliefs, labels = said_and_happened(temperature)
    found = fit_temperature(beliefs, labels)
    best = minimize_scalar(
        lambda b: log_loss(calibrated(beliefs, 1.0 / b), labels),
        bounds=(0.05, 20.0),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert found.value == pytest.approx(1.0 / best.x, rel=1e-5)
    assert found.loss_after <= best.fun + 1e-12
    assert found.value == pytest.approx(temperature, rel=0.15)
    assert found.loss_before == pytest.approx(log_loss(beliefs, labels))
    assert not found.is_bounded
    assert found == fit_temperature(beliefs, labels)


def test_temperature_mends_the_calibration_error_of_bold_beliefs():
    beliefs, labels = said_and_happened(3.0)
    mended = calibrated(beliefs, fit_temperature(beliefs, labels).value)
    assert calibration_error(beliefs, labels) > 0.15
    assert calibration_error(mended, labels) < 0.03
    assert classwise_calibration_error(mended, labels) < 0.03


def test_temperatures_without_an_end_stop_at_the_bound():
    beliefs, _ = said_and_happened()
    always_right = fit_temperature(beliefs, beliefs.argmax(axis=1))
    assert always_right.is_bounded
    assert always_right.value == pytest.approx(TEMPERATURES[0])
    always_wrong = fit_temperature(beliefs, beliefs.argmin(axis=1))
    assert always_wrong.is_bounded
    assert always_wrong.value == pytest.approx(TEMPERATURES[1])


beliefs_of_three = arrays(np.float64, (5, 3), elements=st.floats(-8, 8)).map(softmax)


@given(beliefs_of_three, st.floats(0.05, 20.0))
def test_temperature_keeps_distributions_and_the_order_of_their_classes(beliefs, temperature):
    scaled = calibrated(beliefs, temperature)
    assert scaled.sum(axis=1) == pytest.approx(np.ones(5))
    order = np.argsort(beliefs, axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(scaled, order, axis=1), axis=1) >= -1e-12).all()


@given(beliefs_of_three, st.floats(0.05, 20.0), st.floats(0.05, 20.0))
def test_one_temperature_after_another_is_their_product(beliefs, first, second):
    beliefs = np.maximum(beliefs, 1e-2)
    beliefs /= beliefs.sum(axis=1, keepdims=True)
    twice = calibrated(calibrated(beliefs, max(first, 1.0)), max(second, 1.0))
    assert twice == pytest.approx(calibrated(beliefs, max(first, 1.0) * max(second, 1.0)), abs=1e-9)


@given(beliefs_of_three, st.floats(0.05, 20.0))
@settings(deadline=None)
def test_the_compiled_form_equals_the_plain_one(beliefs, temperature):
    out = np.empty(3)
    for belief in beliefs:
        scale_belief(belief, temperature, out)
        assert out == pytest.approx(calibrated(belief, temperature), abs=1e-12)


def test_a_belief_of_certainty_stays_finite():
    assert calibrated(np.array([1.0, 0.0, 0.0]), 2.0) == pytest.approx([1.0, 1e-6, 1e-6], rel=1e-5)
    assert log_loss(np.array([[1.0, 0.0, 0.0]]), np.array([1])) == pytest.approx(-math.log(1e-12))


def test_scores_are_sklearns():
    beliefs, labels = said_and_happened(2.0)
    assert log_loss(beliefs, labels) == pytest.approx(sklearn_log_loss(labels, beliefs), rel=1e-10)
    # sklearn halves nothing for more than two classes: the sum over the classes.
    assert brier_score(beliefs, labels) == pytest.approx(
        brier_score_loss(labels, beliefs, scale_by_half=False), rel=1e-12
    )


def test_reliability_bins_are_sklearns():
    beliefs, labels = said_and_happened(2.0)
    happened, said = calibration_curve(labels == 0, beliefs[:, 0], n_bins=10)
    found = reliability_bins(beliefs[:, 0], labels == 0, 10)
    assert found.happened == pytest.approx(happened)
    assert found.said == pytest.approx(said)
    assert found.count.sum() == len(labels)


def test_calibration_error_by_hand():
    beliefs = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.35, 0.65]])
    labels = np.array([0, 1, 0, 1])
    # One bin of confidence 0.9 that was right half the time; one of 0.6 and one of 0.65 that were always right.
    assert calibration_error(beliefs, labels, 10) == pytest.approx((2 * 0.4 + 2 * 0.375) / 4)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
@settings(max_examples=30)
def test_the_parts_of_the_brier_score_add_up(seed, bins):
    beliefs, labels = said_and_happened(2.0, 300, seed)
    parts = brier_parts(beliefs, labels, bins)
    assert parts.score == pytest.approx(brier_score(beliefs, labels))
    assert parts.score == pytest.approx(parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins)
    frequency = np.bincount(labels, minlength=3) / len(labels)
    assert parts.uncertainty == pytest.approx(brier_score(np.tile(frequency, (len(labels), 1)), labels))
    assert parts.resolution >= 0.0
    assert parts.reliability >= 0.0


def test_forecasts_that_are_one_number_to_a_bin_leave_nothing_within():
    rng = np.random.default_rng(1)
    beliefs = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])[rng.integers(0, 3, 500)]
    parts = brier_parts(beliefs, rng.integers(0, 3, 500), 10)
    assert parts.within_bins == pytest.approx(0.0, abs=1e-12)


def test_class_frequencies_have_no_resolution_and_no_miscalibration():
    labels = np.random.default_rng(2).integers(0, 3, 999)
    frequency = np.bincount(labels, minlength=3) / 999
    parts = brier_parts(np.tile(frequency, (999, 1)), labels)
    assert parts.resolution == pytest.approx(0.0, abs=1e-12)
    assert parts.reliability == pytest.approx(0.0, abs=1e-12)


def test_classes_of_outcomes_are_terciles_with_their_moments():
    outcomes = np.random.default_rng(3).standard_t(4, 3000)
    classes = fit_class_outcomes(outcomes)
    labels = classify_outcomes(outcomes, classes.lower, classes.upper)
    assert np.bincount(labels).tolist() == pytest.approx([1000, 1000, 1000], abs=1)
    assert classes.mean[0] > classes.upper > classes.mean[1] > classes.lower > classes.mean[2]
    for k in range(3):
        assert classes.mean[k] == pytest.approx(outcomes[labels == k].mean())
        assert classes.mean_square[k] == pytest.approx((outcomes[labels == k] ** 2).mean())


def test_the_belief_of_class_frequencies_foretells_the_mean_and_the_variance_of_the_data():
    outcomes = np.random.default_rng(4).standard_t(4, 3000)
    classes = fit_class_outcomes(outcomes)
    labels = classify_outcomes(outcomes, classes.lower, classes.upper)
    frequency = np.bincount(labels) / len(labels)
    mean, variance = expected_move(frequency, np.array(classes.mean), np.array(classes.mean_square))
    assert mean == pytest.approx(outcomes.mean(), abs=1e-12)
    assert variance == pytest.approx(outcomes.var(), rel=1e-12)
    means, variances = expected_moves(np.tile(frequency, (2, 1)), classes)
    assert means == pytest.approx([mean, mean])
    assert variances == pytest.approx([variance, variance])


def test_what_cannot_be_measured_is_refused():
    beliefs, labels = said_and_happened(count=200)
    with pytest.raises(ModelError, match="found 50 samples, expected at least 100"):
        fit_temperature(beliefs[:50], labels[:50])
    with pytest.raises(ModelError, match="not distributions"):
        log_loss(beliefs * 1.01, labels)
    with pytest.raises(ModelError, match="not distributions"):
        log_loss(np.full((2, 3), np.nan), labels[:2])
    with pytest.raises(ModelError, match="expected whole numbers from 0 to 2"):
        log_loss(beliefs, labels + 1)
    with pytest.raises(ModelError, match="found shapes"):
        log_loss(beliefs, labels[:-1])
    with pytest.raises(ModelError, match="temperature: found 0"):
        calibrated(beliefs, 0.0)
    with pytest.raises(ModelError, match="1 of them not finite"):
        fit_class_outcomes(np.append(np.linspace(-1, 1, 200), np.nan))
    with pytest.raises(ModelError, match="do prices move"):
        fit_class_outcomes(np.zeros(200))
    with pytest.raises(ModelError, match="reliability: found"):
        reliability_bins(np.array([]), np.array([], bool))


@pytest.mark.parametrize(("slope", "seed"), [(1.0, 0), (0.0, 1), (-0.5, 2)])
def test_the_support_of_the_direction_rests_on_the_slope_that_statsmodels_finds(slope, seed):
    generator = np.random.default_rng(seed)
    expected = generator.normal(0, 0.1, 900)
    noise = np.convolve(generator.normal(0, 1, 907), np.ones(8), "valid") / np.sqrt(8)
    outcome = slope * expected + noise
    found = direction_support([(expected, outcome)], 8)
    peer = sm.OLS(outcome, expected).fit(cov_type="HAC", cov_kwds={"maxlags": 7, "use_correction": False})
    assert found.slope == pytest.approx(peer.params[0], rel=1e-9)
    assert found.deviation == pytest.approx(peer.bse[0], rel=1e-9)
    assert found.share == pytest.approx(max(2 * norm.cdf(peer.tvalues[0]) - 1, 0), abs=1e-12)


def test_support_is_nothing_where_nothing_is_foretold_or_the_opposite_came():
    ones, nothing = np.ones(50), np.zeros(50)
    assert direction_support([(nothing, ones)], 8).share == 0.0
    assert direction_support([(ones, -ones + np.tile([0.1, -0.1], 25))], 8).share == 0.0


def test_markets_are_held_apart_where_outcomes_overlap():
    generator = np.random.default_rng(5)
    parts = [(generator.normal(size=60), generator.normal(size=60)) for _ in range(2)]
    apart = direction_support(parts, 8)
    joined = direction_support([tuple(np.concatenate(column) for column in zip(*parts, strict=True))], 8)
    assert apart.slope == pytest.approx(joined.slope)
    assert apart.deviation != joined.deviation
