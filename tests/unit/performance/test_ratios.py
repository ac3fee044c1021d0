"""Ratios against formulas written apart, their intervals against many drawn samples, and why one is absent."""

import math
import statistics

import numpy as np
import pytest

from grandmodel.domain.errors import UsageError
from grandmodel.performance.ratios import (
    annual_ratios,
    row_sharpe_ratios,
    sharpe_estimate,
    sharpe_ratio,
    sortino_estimate,
)


def returns(count=90, seed=2, mean=0.001):
    return np.random.default_rng(seed).normal(mean, 0.01, count)


def test_sharpe_is_the_textbook_s_over_the_population_s_deviation():
    found = returns()
    assert sharpe_ratio(found) == pytest.approx(statistics.fmean(found) / statistics.pstdev(found), rel=1e-12)


def test_the_ratios_of_many_rows_are_each_row_s_own():
    rows = np.vstack([returns(seed=seed) for seed in range(5)] + [np.full(90, 0.01), np.zeros(90)])
    assert row_sharpe_ratios(rows) == pytest.approx([sharpe_ratio(row) for row in rows], rel=1e-12)
    assert row_sharpe_ratios(rows)[-2:].tolist() == [0.0, 0.0]


def test_sortino_divides_by_the_root_mean_square_of_the_losses_over_all_periods():
    found = returns()
    losses = math.sqrt(sum(value * value for value in found if value < 0) / len(found))
    assert sortino_estimate(found).value == pytest.approx(statistics.fmean(found) / losses, rel=1e-12)


@pytest.mark.parametrize("estimate", [sharpe_estimate, sortino_estimate])
def test_the_error_is_that_of_many_samples(estimate):
    """4,000 samples of 250 returns: the mean stated error is the deviation of the ratio between them."""
    generator = np.random.default_rng(7)
    made = [estimate(generator.normal(0.05, 1.0, 250), lags=0) for _ in range(4_000)]
    seen = float(np.std([one.value for one in made]))
    assert np.mean([one.standard_error for one in made]) == pytest.approx(seen, rel=0.05)


def test_autocorrelation_widens_the_interval():
    generator = np.random.default_rng(3)
    shocks = generator.normal(0.0, 1.0, 2_000)
    slow = np.convolve(shocks, np.ones(5) / 5, mode="valid")
    assert sortino_estimate(slow).standard_error > 1.5 * sortino_estimate(slow, lags=0).standard_error


def test_a_year_scales_value_and_interval_by_its_root():
    found = annual_ratios(returns(), 258.0, "daily")
    one = sharpe_estimate(returns())
    assert found.sharpe_annual == pytest.approx(one.value * math.sqrt(258.0))
    assert found.sharpe_interval_annual == pytest.approx((one.low * math.sqrt(258.0), one.high * math.sqrt(258.0)))
    assert found.sortino_interval_annual[0] < found.sortino_annual < found.sortino_interval_annual[1]
    assert found.ratio_basis == "90 daily returns, 258.0 a year; 95% intervals after Lo (2002), 3 autocovariances"


@pytest.mark.parametrize(
    ("values", "per_year", "sharpe", "sortino"),
    [
        (returns(59), 252.0, "too few: 59 daily returns, expected at least 60", "too few: 59 daily returns, expected at least 60"),
        (np.zeros(90), 252.0, "no variance", "no variance"),
        (np.full(90, 0.01), 252.0, "no variance", "no variance"),
        (np.abs(returns()), 252.0, "", "no return is below 0"),
        (returns(), None, "not known how many daily returns make a year", "not known how many"),
    ],
)  # fmt: skip
def test_an_absent_ratio_says_why(values, per_year, sharpe, sortino):
    found = annual_ratios(values, per_year, "daily", fewest=60)
    assert found.sharpe_absent.startswith(sharpe)
    assert found.sortino_absent.startswith(sortino)
    assert (found.sharpe_annual is None) == (found.sharpe_interval_annual is None) == bool(sharpe)
    assert (found.sortino_annual is None) == (found.sortino_interval_annual is None) == bool(sortino)


def test_no_loss_has_no_sortino_and_bad_input_is_refused():
    assert sortino_estimate(np.full(20, 0.01)) is None
    with pytest.raises(UsageError, match="at least 8"):
        sortino_estimate(np.zeros(7))
    with pytest.raises(UsageError, match="expected 0 to 89"):
        sortino_estimate(returns(), lags=90)
