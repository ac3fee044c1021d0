"""EWMA and GARCH volatility against arch, and causality."""

import numpy as np
import pytest
from arch import arch_model

from grandmodel.risk import volatility as v
from grandmodel.risk.errors import RiskInputError


def _garch_returns(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    variance, out = 1.0, np.empty(count)
    for t in range(count):
        out[t] = np.sqrt(variance) * rng.standard_normal()
        variance = 0.05 + 0.08 * out[t] ** 2 + 0.87 * variance
    return out


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_garch_fit_reaches_the_likelihood_of_arch(seed: int) -> None:
    returns = _garch_returns(1200, seed)
    peer = arch_model(returns, mean="Zero", vol="GARCH", p=1, q=1, rescale=False).fit(disp="off")
    found = v.fit_garch(returns)
    assert found.log_likelihood >= peer.loglikelihood - 1e-3
    assert found.alpha == pytest.approx(peer.params["alpha[1]"], abs=2e-3)
    assert found.beta == pytest.approx(peer.params["beta[1]"], abs=5e-3)
    path = v.garch_volatility(returns, found)
    np.testing.assert_allclose(path[:-1], peer.conditional_volatility, rtol=5e-3)


def variance_path(returns: np.ndarray, omega: float, alpha: float, beta: float, start: float) -> np.ndarray:
    """The recursion in plain Python."""
    path = [start * (alpha + beta) + omega]
    for r in returns:
        path.append(omega + alpha * r * r + beta * path[-1])
    return np.array(path)


def test_ewma_volatility_equals_the_reference_and_the_kernel_the_plain_loop() -> None:
    returns = _garch_returns(300, 4)
    start = v.backcast(returns)
    expected = np.sqrt(variance_path(returns, 0.0, 0.06, 0.94, start))
    np.testing.assert_allclose(v.ewma_volatility(returns), expected, rtol=1e-13)


def test_forecasts_do_not_change_when_the_future_does() -> None:
    returns = _garch_returns(300, 5)
    model = v.fit_garch(returns)
    for path in (v.ewma_volatility, lambda r: v.garch_volatility(r, model)):
        np.testing.assert_array_equal(path(returns)[:201], path(returns[:200])[:201])


def test_garch_scales_with_its_returns() -> None:
    returns = _garch_returns(500, 6)
    one, big = v.fit_garch(returns), v.fit_garch(returns * 1e6)
    assert big.alpha == pytest.approx(one.alpha, abs=1e-6)
    assert big.omega == pytest.approx(one.omega * 1e12, rel=1e-4)


def test_series_without_movement_or_with_holes_are_refused() -> None:
    with pytest.raises(RiskInputError, match="movement"):
        v.fit_garch(np.zeros(200))
    with pytest.raises(RiskInputError, match="at least 100"):
        v.fit_garch(np.ones(50))
    with pytest.raises(RiskInputError, match="finite"):
        v.ewma_volatility(np.array([1.0, np.nan]))
    with pytest.raises(RiskInputError, match="decay"):
        v.ewma_volatility(np.ones(3), decay=1.0)
