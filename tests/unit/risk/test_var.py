"""Value at risk against closed forms, scipy, QuantLib and hand-worked examples."""

import math

import numpy as np
import pytest
import QuantLib
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from grandmodel.risk import var
from grandmodel.risk.errors import RiskInputError

RNG = np.random.default_rng(11)


def _book(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(n, n + 2)) * 0.01
    return rng.normal(size=n) * 1e6, loadings @ loadings.T


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 16, 17, 65, 300])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_parametric_equals_the_closed_form(n: int, level: float) -> None:
    x, covariance = _book(n)
    sigma = math.sqrt(x @ covariance @ x)
    found = var.parametric(x, covariance, level)
    assert found.value == pytest.approx(stats.norm.ppf(level) * sigma, rel=1e-12)
    expected = sigma * stats.norm.pdf(stats.norm.ppf(level)) / (1 - level)
    assert found.expected_shortfall == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(found.marginal, stats.norm.ppf(level) * (covariance @ x) / sigma, rtol=1e-10)


def test_a_covariance_that_lies_in_pieces_is_the_same() -> None:
    x, covariance = _book(19)
    whole = var.parametric(x, covariance, 0.99)
    wide = np.zeros((38, 57))
    wide[::2, ::3] = covariance
    for matrix in (wide[::2, ::3], np.asfortranarray(covariance)):
        np.testing.assert_allclose(var.parametric(x, matrix, 0.99).components, whole.components, rtol=1e-9)


@pytest.mark.parametrize("place", [(0, 0), (3, 11), (17, 18), (18, 18)])
def test_one_unknown_covariance_is_refused_wherever_it_stands(place: tuple[int, int]) -> None:
    x, covariance = _book(19)
    covariance[place] = covariance[place[::-1]] = np.nan
    with pytest.raises(RiskInputError, match="variance"):
        var.parametric(x, covariance, 0.99)


def test_parametric_student_equals_scipy() -> None:
    x, covariance = _book(5)
    sigma = math.sqrt(x @ covariance @ x)
    found = var.parametric(x, covariance, 0.99, degrees=5.0)
    assert found.value == pytest.approx(stats.t.ppf(0.99, 5) * math.sqrt(3 / 5) * sigma, rel=1e-12)


def test_parametric_equals_quantlib() -> None:
    # One position of volatility 2 %: both numbers from QuantLib's own normal.
    found = var.parametric(np.array([1e6]), np.array([[0.0004]]), 0.99)
    z = QuantLib.MoroInverseCumulativeNormal()(0.99)
    assert found.value == pytest.approx(1e6 * 0.02 * z, rel=1e-8)
    tail = QuantLib.NormalDistribution()(QuantLib.InverseCumulativeNormal()(0.99)) / 0.01
    assert found.expected_shortfall == pytest.approx(1e6 * 0.02 * tail, rel=1e-8)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.9, 0.975, 0.99]))
@settings(deadline=None, max_examples=60)
def test_components_add_up_to_the_total_to_1e_12(n: int, seed: int, level: float) -> None:
    x, covariance = _book(n, seed)
    found = var.parametric(x, covariance, level)
    scale = np.abs(found.components).sum()
    assert math.fsum(found.components) == pytest.approx(found.value, abs=1e-12 * scale)


def test_var_is_homogeneous_and_scales_with_the_root_of_the_horizon() -> None:
    x, covariance = _book(6)
    one = var.parametric(x, covariance, 0.99)
    assert var.parametric(3 * x, covariance, 0.99).value == pytest.approx(3 * one.value, rel=1e-12)
    ten = var.parametric(x, covariance, 0.99, horizon=10.0)
    assert ten.value == pytest.approx(math.sqrt(10) * one.value, rel=1e-12)
    assert ten.components.sum() == pytest.approx(ten.value, rel=1e-12)


def test_marginal_is_the_derivative_and_incremental_the_difference() -> None:
    x, covariance = _book(4)
    found = var.parametric(x, covariance, 0.99)
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1.0
        slope = var.incremental(x, covariance, step, 0.99)
        assert slope == pytest.approx(found.marginal[k], rel=1e-4)
    assert var.incremental(x, covariance, -x, 0.99) == pytest.approx(-found.value)


def test_an_empty_book_has_no_risk() -> None:
    found = var.parametric(np.zeros(3), np.eye(3), 0.99)
    assert found.value == 0.0
    assert (found.components == 0.0).all()


@pytest.mark.parametrize(
    ("x", "covariance"),
    [
        (np.array([math.nan, 1.0]), np.eye(2)),
        (np.ones(2), np.array([[1.0, 0.0], [math.nan, 1.0]])),
        (np.ones(2), np.full((2, 2), math.inf)),
        (np.array([1.0, -1.0]), np.array([[1.0, 2.0], [2.0, 1.0]])),
        (np.ones(3), np.eye(2)),
    ],
)
def test_what_cannot_be_computed_is_refused(x: np.ndarray, covariance: np.ndarray) -> None:
    with pytest.raises(RiskInputError):
        var.parametric(x, covariance, 0.99)


@pytest.mark.parametrize("level", [0.0, 1.0, 99.0, math.nan])
def test_levels_that_are_not_probabilities_are_refused(level: float) -> None:
    with pytest.raises(RiskInputError):
        var.parametric(np.ones(1), np.eye(1), level)
    with pytest.raises(RiskInputError):
        var.historical(np.ones(10), level)


# The ceil(T x alpha)-th worst: 1 of 100 at 99 %, although 100 * (1 - 0.99) is above 1 in floats; 2 of 101.
@pytest.mark.parametrize(
    ("count", "level", "rank"),
    [
        (100, 0.99, 1),
        (101, 0.99, 2),
        (250, 0.99, 3),
        (500, 0.99, 5),
        (1000, 0.975, 25),
        (10, 0.95, 1),
        (1000, 0.999, 1),
    ],
)
def test_historical_takes_the_exact_rank(count: int, level: float, rank: int) -> None:
    pnl = np.random.default_rng(count).permutation(np.arange(1.0, count + 1.0))
    found = var.historical(pnl, level)
    assert -found.value == float(rank)
    assert -found.expected_shortfall == pytest.approx(np.arange(1.0, rank + 1.0).mean())


def test_historical_components_are_the_columns_of_one_scenario() -> None:
    pnl = RNG.normal(size=(300, 4))
    found = var.historical(pnl, 0.99)
    assert found.components.sum() == pytest.approx(found.value, rel=1e-12)
    assert np.sort(pnl.sum(axis=1))[2] == pytest.approx(-found.value)
    assert found.expected_shortfall >= found.value


def test_historical_counts_ties_at_the_quantile_into_the_shortfall() -> None:
    found = var.historical(np.array([-5.0, -1.0, -1.0, -1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), 0.8)
    assert found.value == 1.0
    assert found.expected_shortfall == pytest.approx(2.0)


@pytest.mark.parametrize("pnl", [np.array([]), np.array([1.0, math.nan]), np.zeros((2, 2, 2))])
def test_historical_refuses_holes(pnl: np.ndarray) -> None:
    with pytest.raises(RiskInputError):
        var.historical(pnl, 0.99)


def test_filtered_historical_rises_with_present_volatility() -> None:
    calm, wild = RNG.normal(size=(400, 2)) * 0.01, RNG.normal(size=(60, 2)) * 0.04
    x = np.array([1.0, 1.0])
    rising = np.concatenate((calm, wild))
    plain = var.historical(rising * x, 0.95).value
    for kind in ("ewma", "garch"):
        found = var.filtered_historical(rising, x, 0.95, volatility=kind)
        assert found.value > 1.5 * plain
        assert found.components.sum() == pytest.approx(found.value, rel=1e-12)
        assert found.method == f"filtered_historical_{kind}"


def test_filtered_historical_of_constant_volatility_is_nearly_historical() -> None:
    returns = np.tile(np.array([0.01, -0.01]), 200)[:, None] * np.ones((1, 1))
    found = var.filtered_historical(returns, np.ones(1), 0.99)
    assert found.value == pytest.approx(0.01, rel=1e-9)


def test_filtered_historical_refuses_bad_input() -> None:
    with pytest.raises(RiskInputError, match="volatility"):
        var.filtered_historical(np.ones((5, 1)), np.ones(1), 0.99, volatility="stochastic")
    with pytest.raises(RiskInputError):
        var.filtered_historical(np.full((5, 1), math.nan), np.ones(1), 0.99)
    with pytest.raises(RiskInputError):
        var.filtered_historical(np.ones((5, 2)), np.ones(1), 0.99)


@pytest.mark.parametrize("degrees", [None, 5.0])
def test_monte_carlo_converges_to_parametric(degrees: float | None) -> None:
    x, covariance = _book(20)
    exact = var.parametric(x, covariance, 0.99, degrees=degrees)
    found = var.monte_carlo(x, covariance, 0.99, scenarios=200_000, rng=np.random.default_rng(1), degrees=degrees)
    assert found.value == pytest.approx(exact.value, rel=0.015)
    assert found.expected_shortfall == pytest.approx(exact.expected_shortfall, rel=0.03)
    assert found.components.sum() == pytest.approx(found.value, rel=1e-12)


def test_monte_carlo_full_revaluation_of_a_linear_book_agrees() -> None:
    x, covariance = _book(5)
    full = var.monte_carlo(
        x, covariance, 0.99, scenarios=100_000, rng=np.random.default_rng(2), revalue=lambda returns: returns @ x
    )
    assert full.value == pytest.approx(var.parametric(x, covariance, 0.99).value, rel=0.02)


def test_monte_carlo_full_revaluation_sees_what_is_not_linear() -> None:
    # A short straddle on one asset, gamma only: P&L = -g r^2 / 2 has the quantile of a chi-square.
    covariance = np.array([[0.0004]])
    gamma = 1e6
    found = var.monte_carlo(
        np.zeros(1),
        covariance,
        0.99,
        scenarios=200_000,
        rng=np.random.default_rng(3),
        revalue=lambda returns: -0.5 * gamma * returns[:, 0] ** 2,
    )
    assert found.value == pytest.approx(0.5 * gamma * 0.0004 * stats.chi2.ppf(0.99, 1), rel=0.03)


def test_monte_carlo_is_its_seed() -> None:
    x, covariance = _book(3)
    runs = [
        var.monte_carlo(x, covariance, 0.99, scenarios=999, rng=np.random.default_rng(4), degrees=4.0).value
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_monte_carlo_refuses_a_revaluation_with_holes() -> None:
    x, covariance = _book(2)
    with pytest.raises(RiskInputError, match="revaluation"):
        var.monte_carlo(
            x,
            covariance,
            0.99,
            scenarios=10,
            rng=np.random.default_rng(0),
            revalue=lambda returns: np.full(len(returns), math.nan),
        )
    with pytest.raises(RiskInputError, match="scenarios"):
        var.monte_carlo(x, covariance, 0.99, scenarios=1, rng=np.random.default_rng(0))


def test_monte_carlo_repairs_a_singular_matrix() -> None:
    covariance = np.full((2, 2), 0.0001)
    found = var.monte_carlo(
        np.ones(2),
        covariance,
        0.99,
        scenarios=50_000,
        rng=np.random.default_rng(5),
        revalue=lambda returns: returns.sum(axis=1),
    )
    assert found.value == pytest.approx(stats.norm.ppf(0.99) * 0.02, rel=0.03)
