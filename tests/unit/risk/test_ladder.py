"""Price ladders against numpy's interpolation, a linear book, and what lies outside."""

import numpy as np
import pytest

from grandmodel.risk import var
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.ladder import revalue_on_ladder

GRID = np.linspace(-0.5, 0.5, 101)


def test_it_is_numpys_interpolation_summed_over_positions() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(4, 101))
    returns = rng.uniform(-0.5, 0.5, (50, 4))
    returns[0] = -0.5
    returns[1] = 0.5
    expected = sum(np.interp(returns[:, i], GRID, table[i]) for i in range(4))
    np.testing.assert_allclose(revalue_on_ladder(GRID, table)(returns), expected, rtol=1e-12, atol=1e-12)


def test_a_linear_book_is_exact() -> None:
    x, covariance = np.array([1.0, -2.0]), np.diag([0.0004, 0.0001])
    found = [
        var.monte_carlo(x, covariance, 0.99, scenarios=2_000, rng=np.random.default_rng(1), revalue=revalue).value
        for revalue in (revalue_on_ladder(GRID, np.outer(x, GRID)), lambda returns: returns @ x)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-12)


@pytest.mark.parametrize("beyond", [-0.5001, 0.5001, np.nan])
def test_a_move_outside_the_ladder_is_refused(beyond: float) -> None:
    revalue = revalue_on_ladder(GRID, np.zeros((1, 101)))
    with pytest.raises(RiskInputError, match="ladder"):
        revalue(np.array([[0.0], [beyond]]))


@pytest.mark.parametrize(
    ("moves", "pnl"),
    [
        (GRID, np.zeros((1, 100))),
        (np.array([0.0]), np.zeros((1, 1))),
        (GRID[::-1], np.zeros((1, 101))),
        (GRID**3, np.zeros((1, 101))),
        (GRID, np.full((1, 101), np.nan)),
    ],
)
def test_uneven_or_empty_ladders_are_refused(moves: np.ndarray, pnl: np.ndarray) -> None:
    with pytest.raises(RiskInputError):
        revalue_on_ladder(moves, pnl)
