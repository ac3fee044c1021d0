"""Statistics of luck: published numbers, other libraries, plain re-computations, and what noise and a planted edge must give."""

import itertools
import math

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.sandwich_covariance import S_hac_simple

from grandmodel.domain.errors import UsageError
from grandmodel.performance.ratios import ReturnMoments, long_run_variance, moments, sharpe_estimate, sharpe_ratio
from grandmodel.research.statistics import (
    bootstrap_places,
    bootstrap_sharpe,
    deflated_sharpe,
    expected_maximum_sharpe,
    mean_block_length,
    minimum_track_record,
    overfitting_probability,
    paired_difference,
    probabilistic_sharpe,
    row_means,
    trial_variance_of,
)


def autoregressive(generator, n, share, mean=0.0):
    noise = generator.standard_normal(n + 100)
    out = np.zeros(n + 100)
    for t in range(1, n + 100):
        out[t] = share * out[t - 1] + noise[t]
    return out[100:] + mean


# -------------------------------------------------------------------------------------------------- published numbers


@pytest.mark.parametrize(
    ("trials", "skew", "kurtosis", "expected"),
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_deflated_sharpe_of_the_example_in_its_paper(trials, skew, kurtosis, expected):
    # Bailey and Lopez de Prado (2014): five years of days, annual ratio 2.5, annual variance between trials 1/2.
    found = ReturnMoments(periods=1250, sharpe=2.5 / math.sqrt(250), skew=skew, kurtosis=kurtosis)
    assert round(deflated_sharpe(found, trials, 0.5 / 250).probability, 4) == expected


def test_threshold_of_the_example_in_its_paper():
    assert round(expected_maximum_sharpe(100, 0.5 / 250), 4) == 0.1132


@pytest.mark.parametrize(("skew", "kurtosis", "expected"), [(-2.448, 10.164, 0.913), (0.0, 3.0, 0.982)])
def test_probabilistic_sharpe_of_the_example_in_its_paper(skew, kurtosis, expected):
    # Bailey and Lopez de Prado (2012): 24 months, monthly ratio 0.458.
    found = ReturnMoments(periods=24, sharpe=0.458, skew=skew, kurtosis=kurtosis)
    assert round(probabilistic_sharpe(found), 3) == expected


@pytest.mark.parametrize(("periods", "years"), [(250, 2.73), (52, 2.83), (12, 3.24)])
def test_track_record_of_the_example_in_its_paper(periods, years):
    # An annual ratio of 2 is above 1 with 95 % after so many years of normal days, weeks, months.
    found = ReturnMoments(periods=100, sharpe=2.0 / math.sqrt(periods), skew=0.0, kurtosis=3.0)
    assert round(minimum_track_record(found, 1.0 / math.sqrt(periods)) / periods, 2) == years


# ------------------------------------------------------------------------------------------------------------ oracles


def test_moments_are_those_of_scipy():
    values = np.random.default_rng(1).gamma(2.0, size=300)
    found = moments(values)
    assert found.sharpe == pytest.approx(values.mean() / values.std(), rel=1e-12)
    assert found.skew == pytest.approx(stats.skew(values), rel=1e-12)
    assert found.kurtosis == pytest.approx(stats.kurtosis(values, fisher=False), rel=1e-12)


@pytest.mark.parametrize("lags", [0, 1, 5, 20])
def test_long_run_variance_is_that_of_statsmodels(lags):
    values = autoregressive(np.random.default_rng(2), 400, 0.6)
    values -= values.mean()
    assert long_run_variance(values, lags) == pytest.approx(float(S_hac_simple(values, lags)[0, 0]) / 400, rel=1e-10)


def test_without_lags_the_error_is_the_formula_of_mertens():
    values = np.random.default_rng(3).standard_t(6, size=500) + 0.2
    found = moments(values)
    inside = 1 - found.skew * found.sharpe + (found.kurtosis - 1) / 4 * found.sharpe**2
    assert sharpe_estimate(values, lags=0).standard_error == pytest.approx(math.sqrt(inside / 500), rel=1e-10)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_block_length_is_the_closed_form_of_an_autoregression(share):
    # (2 G^2 / D)^(1/3) n^(1/3) with G / g(0) = 2 share / (1 - share^2).
    n = 20_000
    found = [mean_block_length(autoregressive(np.random.default_rng(seed), n, share)) for seed in range(10)]
    assert np.mean(found) == pytest.approx((n * (2 * share / (1 - share**2)) ** 2) ** (1 / 3), rel=0.1)


def test_block_length_is_about_that_of_arch():
    # arch takes one lag more before it calls autocorrelations small than the paper does, so the two differ series by series.
    ratios = []
    for seed in range(40):
        values = autoregressive(np.random.default_rng(seed), 800, 0.5)
        ratios.append(mean_block_length(values) / optimal_block_length(values)["stationary"].iloc[0])
    assert np.median(ratios) == pytest.approx(1.0, abs=0.2)


def test_expected_maximum_is_that_of_simulated_normals():
    best = np.random.default_rng(4).standard_normal((20_000, 50)).max(axis=1).mean()
    assert expected_maximum_sharpe(50, 1.0) == pytest.approx(
        best, abs=0.04
    )  # an approximation: 1.3 % above the exact mean
    assert expected_maximum_sharpe(1, 1.0) == 0.0


def test_overfitting_is_that_of_a_plain_loop():
    returns = np.random.default_rng(5).standard_normal((53, 7))
    parts = np.array_split(np.arange(53), 6)
    logits, losses = [], []
    for chosen in itertools.combinations(range(6), 3):
        inside = np.concatenate([parts[k] for k in chosen])
        outside = np.setdiff1d(np.arange(53), inside)
        best = int(np.argmax([sharpe_ratio(column) for column in returns[inside].T]))
        ratios = np.array([sharpe_ratio(column) for column in returns[outside].T])
        rank = stats.rankdata(ratios)[best] / 8
        logits.append(math.log(rank / (1 - rank)))
        losses.append(ratios[best] < 0)
    found = overfitting_probability(returns, blocks=6)
    assert found.logits == pytest.approx(logits, abs=1e-12)
    assert found.probability == np.mean(np.array(logits) <= 0)
    assert found.loss_probability == np.mean(losses)


# ------------------------------------------------------------------------------------------- noise, and a planted edge


def best_of_noise(generator, strategies=50, days=500, edge=0.0):
    """Daily returns (days, strategies) of noise with fat tails; the first one has ``edge``, an annual ratio."""
    returns = generator.standard_t(5, size=(days, strategies)) * 0.01
    returns[:, 0] += edge / math.sqrt(252) * returns[:, 0].std()
    return returns


def deflated_best(returns):
    ratios = np.array([sharpe_ratio(column) for column in returns.T])
    best = moments(returns[:, ratios.argmax()])
    return deflated_sharpe(best, returns.shape[1], trial_variance_of(ratios, len(returns))).probability


def test_the_best_of_50_noise_strategies_does_not_pass():
    generator = np.random.default_rng(6)
    passed = [deflated_best(best_of_noise(generator)) > 0.95 for _ in range(300)]
    assert np.mean(passed) <= 0.05  # without deflation nearly all would: see the next test


def test_without_deflation_the_best_of_50_would_pass():
    generator = np.random.default_rng(6)
    passed = []
    for _ in range(50):
        returns = best_of_noise(generator)
        best = returns[:, np.argmax([sharpe_ratio(column) for column in returns.T])]
        passed.append(probabilistic_sharpe(moments(best)) > 0.95)
    assert np.mean(passed) > 0.8


def test_a_planted_edge_passes():
    generator = np.random.default_rng(7)
    passed = [deflated_best(best_of_noise(generator, days=750, edge=4.0)) > 0.95 for _ in range(60)]
    assert np.mean(passed) > 0.9


def test_picking_the_best_of_noise_overfits_half_the_time():
    generator = np.random.default_rng(8)
    found = [overfitting_probability(best_of_noise(generator, strategies=20), blocks=10).probability for _ in range(60)]
    assert 0.4 < np.mean(found) < 0.6


def test_picking_a_planted_edge_does_not_overfit():
    generator = np.random.default_rng(9)
    found = [
        overfitting_probability(best_of_noise(generator, strategies=20, edge=5.0), blocks=10).probability
        for _ in range(20)
    ]
    assert np.mean(found) < 0.05


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_intervals_hold_the_true_ratio_as_often_as_they_say(share):
    generator = np.random.default_rng(10)
    true = 0.1
    deviation = 1.0 / math.sqrt(1.0 - share**2)
    held = {"robust": 0, "bootstrap": 0, "naive": 0}
    for _ in range(200):
        values = autoregressive(generator, 600, share, mean=true * deviation)
        robust, naive = sharpe_estimate(values, lags=12), sharpe_estimate(values, lags=0)
        low, high = bootstrap_sharpe(values, generator, repeats=300)
        held["robust"] += robust.low <= true <= robust.high
        held["naive"] += naive.low <= true <= naive.high
        held["bootstrap"] += low <= true <= high
    assert held["robust"] / 200 > 0.90
    assert held["bootstrap"] / 200 > 0.88
    if share:
        assert held["naive"] / 200 < 0.86  # why the lags are there


# --------------------------------------------------------------------------------------------------------- properties


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-6, 1e6))
def test_the_ratio_does_not_depend_on_the_unit(seed, scale):
    values = np.random.default_rng(seed).standard_normal(40) + 0.3
    a, b = sharpe_estimate(values), sharpe_estimate(values * scale)
    assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), rel=1e-9)
    annual = a.annual(256.0)
    assert (annual.value, annual.low) == pytest.approx((16 * a.value, 16 * a.low))


@given(trials=st.integers(1, 10_000), more=st.integers(0, 1_000))
def test_more_trials_never_raise_the_probability(trials, more):
    found = ReturnMoments(periods=500, sharpe=0.1, skew=-0.5, kurtosis=6.0)
    assert deflated_sharpe(found, trials + more, 0.002).probability <= deflated_sharpe(found, trials, 0.002).probability


@given(seed=st.integers(0, 2**32 - 1), periods=st.integers(8, 60), block=st.floats(1.0, 20.0))
def test_bootstrap_places_are_blocks_that_wrap(seed, periods, block):
    places = bootstrap_places(periods, 50, block, np.random.default_rng(seed))
    assert places.shape == (50, periods)
    assert ((places >= 0) & (places < periods)).all()
    again = bootstrap_places(periods, 50, block, np.random.default_rng(seed))
    assert (places == again).all()


def test_blocks_have_the_mean_length_asked_for():
    places = bootstrap_places(1_000, 400, 8.0, np.random.default_rng(11))
    joined = (places[:, 1:] == (places[:, :-1] + 1) % 1_000).mean()
    assert joined == pytest.approx(1 - 1 / 8, abs=0.003)


def test_a_paired_difference_sees_what_two_intervals_cannot():
    generator = np.random.default_rng(12)
    common = generator.standard_normal(600)
    first, second = common + 0.05 + 0.1 * generator.standard_normal(600), common + 0.1 * generator.standard_normal(600)
    found = paired_difference(first, second, np.random.default_rng(13))
    assert found.low > 0.0
    assert found.probability_above > 0.99
    assert sharpe_estimate(first).low < sharpe_estimate(second).high
    means = paired_difference(first, second, np.random.default_rng(13), statistic=row_means)
    assert means.value == pytest.approx(first.mean() - second.mean())
    same = paired_difference(first, first, np.random.default_rng(13))
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


# --------------------------------------------------------------------------------------------------------- edge cases


def test_what_never_moves_has_ratio_0():
    still = np.zeros(30)
    assert sharpe_ratio(still) == 0.0
    assert sharpe_ratio(np.full(30, 1e-3)) == 0.0
    assert sharpe_estimate(still).high == 0.0
    assert bootstrap_sharpe(still, np.random.default_rng(1), repeats=20) == (0.0, 0.0)
    assert mean_block_length(still) == 1.0
    assert probabilistic_sharpe(moments(still)) == 0.5
    assert minimum_track_record(moments(still)) == math.inf


def test_few_known_trials_do_not_lower_the_bar():
    assert trial_variance_of([], 501) == 1 / 500
    assert trial_variance_of([0.1, 0.1, math.nan], 501) == 1 / 500
    assert trial_variance_of([0.0, 1.0], 501) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sharpe_ratio(np.zeros(3)), "at least 8"),
        (lambda: sharpe_ratio(np.array([0.0] * 9 + [math.nan])), "1 that are not finite"),
        (lambda: sharpe_estimate(np.zeros(10), lags=10), "expected 0 to 9"),
        (lambda: expected_maximum_sharpe(0, 1.0), "found 0"),
        (lambda: overfitting_probability(np.zeros((40, 1))), "at least 2 strategies"),
        (lambda: overfitting_probability(np.zeros((40, 3)), blocks=5), "even number"),
        (lambda: overfitting_probability(np.zeros((20, 3)), blocks=16), "2 periods a block"),
        (lambda: paired_difference(np.zeros(10), np.zeros(11), np.random.default_rng(1)), "the same periods"),
        (lambda: bootstrap_places(10, 0, 1.0, np.random.default_rng(1)), "1 or more"),
        (lambda: probabilistic_sharpe(ReturnMoments(periods=9, sharpe=1.0, skew=9.0, kurtosis=3.0)), "no returns"),
    ],
)
def test_what_cannot_be_computed_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
