"""Quantiles and distributions against scipy, which the runtime does not have."""

import math

import numpy as np
import pytest
import QuantLib
from scipy import stats

from grandmodel.risk import distributions as d
from grandmodel.risk.errors import RiskInputError

PROBABILITIES = [1e-300, 1e-12, 1e-6, 0.001, 0.01, 0.025, 0.05, 0.3, 0.5, 0.6, 0.95, 0.975, 0.99, 0.999, 1 - 1e-9]


@pytest.mark.parametrize("p", PROBABILITIES)
def test_normal_quantile_equals_scipy_and_quantlib(p: float) -> None:
    found = d.normal_quantile(p)
    assert found == pytest.approx(stats.norm.ppf(p), rel=1e-13, abs=1e-15)
    if 1e-12 <= p <= 1 - 1e-9:
        assert found == pytest.approx(QuantLib.InverseCumulativeNormal()(p), rel=2e-8, abs=1e-9)


def test_normal_distribution_and_density_equal_scipy() -> None:
    for x in np.linspace(-12, 6, 37):
        assert d.normal_distribution(x) == pytest.approx(stats.norm.cdf(x), rel=1e-13)
        assert d.normal_density(x) == pytest.approx(stats.norm.pdf(x), rel=1e-14)


@pytest.mark.parametrize("degrees", [1.0, 2.1, 3.0, 4.5, 10.0, 100.0, 5000.0])
@pytest.mark.parametrize("p", [1e-9, 0.001, 0.01, 0.05, 0.4, 0.5, 0.7, 0.99, 0.9999])
def test_student_quantile_equals_scipy(p: float, degrees: float) -> None:
    # Thousands of degrees lose digits to the difference of two large log gammas.
    tolerance = 2e-12 if degrees <= 100 else 2e-11
    assert d.student_quantile(p, degrees) == pytest.approx(stats.t.ppf(p, degrees), rel=tolerance, abs=1e-14)


def test_student_density_equals_scipy() -> None:
    for degrees in (1.0, 3.0, 7.5, 60.0):
        for x in (-40.0, -3.0, -0.5, 0.0, 0.2, 2.0, 9.0):
            assert d.student_density(x, degrees) == pytest.approx(stats.t.pdf(x, degrees), rel=1e-12)


def test_incomplete_beta_at_its_ends() -> None:
    assert d.incomplete_beta(2.0, 3.0, 0.0) == 0.0
    assert d.incomplete_beta(2.0, 3.0, 1.0) == 1.0


@pytest.mark.parametrize("degrees", [1, 2])
def test_chi_square_survival_equals_scipy(degrees: int) -> None:
    for x in (0.0, 1e-8, 0.3, 3.841459, 25.0, 300.0):
        assert d.chi_square_survival(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.975, 0.99, 0.999])
def test_shortfall_factors_equal_the_integral_of_the_quantile(level: float) -> None:
    tail = stats.norm.expect(lambda x: x, lb=stats.norm.ppf(level)) / (1 - level)
    assert d.normal_shortfall_factor(level) == pytest.approx(tail, rel=1e-9)
    nu = 4.0
    scale = math.sqrt((nu - 2) / nu)
    tail = stats.t.expect(lambda x: x, args=(nu,), lb=stats.t.ppf(level, nu)) / (1 - level) * scale
    assert d.student_shortfall_factor(level, nu) == pytest.approx(tail, rel=1e-6)


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, math.nan])
def test_probabilities_outside_the_open_interval_are_refused(p: float) -> None:
    with pytest.raises(RiskInputError, match="expected a number between 0 and 1"):
        d.normal_quantile(p)
    with pytest.raises(RiskInputError):
        d.student_quantile(p, 5.0)


def test_impossible_degrees_and_statistics_are_refused() -> None:
    with pytest.raises(RiskInputError, match="degrees"):
        d.student_quantile(0.99, 0.0)
    with pytest.raises(RiskInputError, match="more than 2"):
        d.student_shortfall_factor(0.99, 2.0)
    with pytest.raises(RiskInputError, match="chi-square"):
        d.chi_square_survival(math.nan, 1)
    with pytest.raises(RiskInputError, match="1 or 2"):
        d.chi_square_survival(1.0, 3)
