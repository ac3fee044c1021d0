"""EWMA covariance against the plain recursion, arch and skfolio; missing returns; shrinkage and nearest PSD."""

import numpy as np
import pytest
from arch.univariate import EWMAVariance
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.moments import EWCovariance

from grandmodel.risk.correlation import (
    PAIR_WEIGHTS,
    TRIANGLE,
    EwmaCovariance,
    correlation_of,
    nearest_psd,
    shrink,
)
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.var import parametric

RNG = np.random.default_rng(7)


def _updated(returns: np.ndarray, decay: float = 0.94, initial: np.ndarray | None = None) -> EwmaCovariance:
    tracker = EwmaCovariance(returns.shape[1], decay, initial)
    for row in returns:
        tracker.update(row)
    return tracker


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 31])
def test_with_an_initial_matrix_it_is_the_plain_recursion(n: int) -> None:
    returns = RNG.normal(size=(60, n))
    start = np.cov(RNG.normal(size=(3 * n + 5, n)), rowvar=False).reshape(n, n)
    expected = start
    for row in returns:
        expected = 0.94 * expected + 0.06 * np.outer(row, row)
    np.testing.assert_allclose(_updated(returns, initial=start).covariance, expected, rtol=1e-13, atol=1e-15)


def test_without_one_the_weights_add_up_to_one() -> None:
    returns = RNG.normal(size=(50, 3))
    weights = 0.94 ** np.arange(49, -1, -1)
    expected = (returns * (weights / weights.sum())[:, None]).T @ returns
    np.testing.assert_allclose(_updated(returns).covariance, expected, rtol=1e-12)


def test_variance_equals_arch_to_1e_12() -> None:
    returns = RNG.normal(size=400)
    process = EWMAVariance(0.94)
    sigma2 = np.empty(400)
    backcast = process.backcast(returns)
    bounds = process.variance_bounds(returns)
    process.compute_variance(np.empty(0), returns, sigma2, backcast, bounds)
    tracker = EwmaCovariance(1, 0.94, np.array([[sigma2[0]]]))
    for t in range(399):
        tracker.update(returns[t : t + 1])
        assert tracker.covariance[0, 0] == pytest.approx(sigma2[t + 1], rel=1e-12)
        assert tracker.variance(0) == tracker.covariance[0, 0]


def test_covariance_equals_skfolio_to_1e_12() -> None:
    returns = RNG.normal(size=(300, 6)) * 0.01
    half_life = 11.0
    peer = EWCovariance(half_life=half_life, min_observations=1, nearest=False).fit(returns)
    found = _updated(returns, decay=2.0 ** (-1.0 / half_life)).covariance
    np.testing.assert_allclose(found, peer.covariance_, rtol=1e-12, atol=1e-18)


def test_pairs_with_a_missing_return_keep_their_value_and_weight() -> None:
    returns = RNG.normal(size=(40, 3))
    returns[10:20, 1] = np.nan
    tracker = _updated(returns)
    both = returns[~np.isnan(returns[:, 1])]
    np.testing.assert_allclose(tracker.covariance[1], _updated(both).covariance[1], rtol=1e-12)
    whole = _updated(returns[:, [0, 2]])
    np.testing.assert_allclose(tracker.covariance[np.ix_([0, 2], [0, 2])], whole.covariance, rtol=1e-12)


def test_a_pair_never_seen_together_is_unknown() -> None:
    tracker = EwmaCovariance(2)
    assert np.isnan(tracker.covariance).all()
    tracker.update(np.array([1.0, np.nan]))
    tracker.update(np.array([np.nan, 2.0]))
    assert np.isnan(tracker.covariance[0, 1])
    assert tracker.covariance[0, 0] == 1.0
    assert tracker.covariance[1, 1] == 4.0
    assert np.isnan(tracker.correlation[0, 1])


def test_the_same_numbers_however_missing_rows_are_interleaved() -> None:
    returns = RNG.normal(size=(20, 2))
    tracker = EwmaCovariance(2)
    for row in returns:
        tracker.update(row)
        tracker.update(np.array([np.nan, np.nan]))
    np.testing.assert_allclose(tracker.covariance, _updated(returns).covariance, rtol=1e-12)


def test_infinite_returns_are_refused_and_change_nothing() -> None:
    tracker = _updated(RNG.normal(size=(5, 2)))
    before = tracker.covariance
    with pytest.raises(RiskInputError, match="infinite"):
        tracker.update(np.array([np.inf, 1.0]))
    np.testing.assert_array_equal(tracker.covariance, before)
    tracker.update(np.array([np.nan, 1.0]))
    with pytest.raises(RiskInputError, match="infinite"):
        tracker.update(np.array([-np.inf, np.nan]))


@pytest.mark.parametrize(("n", "decay"), [(0, 0.94), (2, 0.0), (2, 1.0), (2, float("nan"))])
def test_impossible_settings_are_refused(n: int, decay: float) -> None:
    with pytest.raises(RiskInputError):
        EwmaCovariance(n, decay)


def test_a_wrong_initial_matrix_is_refused() -> None:
    with pytest.raises(RiskInputError, match="initial"):
        EwmaCovariance(2, 0.94, np.full((2, 2), np.nan))


@pytest.mark.parametrize("missing", [False, True])
def test_saved_state_continues_exactly(missing: bool) -> None:
    returns = RNG.normal(size=(30, 4))
    if missing:
        returns[3, 2] = np.nan
    tracker = _updated(returns[:15])
    copy = EwmaCovariance(4)
    copy.restore(tracker.save())
    for row in returns[15:]:
        tracker.update(row)
        copy.update(row)
    np.testing.assert_array_equal(copy.covariance, tracker.covariance)
    assert copy.save() == tracker.save()
    with pytest.raises(RiskInputError, match="saved state"):
        EwmaCovariance(5).restore(tracker.save())


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_without_missing_returns_it_is_positive_semi_definite(n: int, seed: int) -> None:
    covariance = _updated(np.random.default_rng(seed).standard_t(2, size=(25, n))).covariance
    assert np.linalg.eigvalsh(covariance)[0] >= -1e-12 * np.abs(covariance).max()
    np.testing.assert_array_equal(covariance, covariance.T)


def test_correlation_has_ones_and_stays_within_bounds() -> None:
    correlation = correlation_of(np.array([[4.0, 2.0], [2.0, 1.0]]))
    np.testing.assert_array_equal(correlation, np.ones((2, 2)))
    assert np.isnan(correlation_of(np.diag([1.0, 0.0]))[0, 1])


def test_shrinking_keeps_variances_and_moves_correlations_to_their_mean() -> None:
    covariance = _updated(RNG.normal(size=(30, 5))).covariance
    full = shrink(covariance, 1.0)
    np.testing.assert_allclose(np.diagonal(full), np.diagonal(covariance))
    off = correlation_of(full)[np.triu_indices(5, 1)]
    np.testing.assert_allclose(off, correlation_of(covariance)[np.triu_indices(5, 1)].mean())
    np.testing.assert_allclose(shrink(covariance, 0.0), covariance)
    with pytest.raises(RiskInputError):
        shrink(covariance, 1.5)


def test_nearest_psd_repairs_a_broken_matrix_and_leaves_a_good_one() -> None:
    broken = np.array([[1.0, 0.9, -0.9], [0.9, 4.0, 1.9], [-0.9, 1.9, 1.0]])
    assert np.linalg.eigvalsh(broken)[0] < 0
    repaired = nearest_psd(broken)
    assert np.linalg.eigvalsh(repaired)[0] > -1e-12
    np.testing.assert_allclose(np.diagonal(repaired), np.diagonal(broken))
    good = _updated(RNG.normal(size=(30, 3))).covariance
    np.testing.assert_array_equal(nearest_psd(good), good)
    with pytest.raises(RiskInputError, match="NaN"):
        nearest_psd(np.full((2, 2), np.nan))


def _pairs_that_do_not_fit() -> np.ndarray:
    """Returns of three series of which only two trade at a time: a rises with b, b with c, and a falls as c rises."""
    nan, rows = np.nan, []
    for move in np.random.default_rng(5).normal(size=40):
        rows += [[move, move, nan], [nan, move, move], [move, nan, -move]]
    return np.array(rows)


def test_pairs_that_do_not_fit_together_are_moved_until_every_book_has_a_variance() -> None:
    tracker = _updated(_pairs_that_do_not_fit())
    found = tracker.covariance
    assert 0.4 < tracker.repair < 0.6  # correlations of 1, 1 and -1 meet at a half each
    assert np.linalg.eigvalsh(correlation_of(found))[0] > 0.005
    book = np.array([1.0, -1.0, 1.0])
    assert parametric(book, found, 0.99).value > 0.0


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
def test_the_repair_is_the_clipping_of_eigenvalues(seed: int) -> None:
    rng = np.random.default_rng(seed)
    returns = rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6))
    returns[rng.random(returns.shape) < 0.6] = np.nan
    tracker = _updated(returns)
    raw = tracker.tables[TRIANGLE] / tracker.tables[PAIR_WEIGHTS].clip(1e-300)
    raw = np.tril(raw) + np.tril(raw, -1).T
    assert np.linalg.eigvalsh(correlation_of(raw))[0] < 0.0
    np.testing.assert_allclose(tracker.covariance, nearest_psd(raw, floor=0.01), rtol=1e-9, atol=1e-12)


def test_a_repair_leaves_the_variances_and_the_order_of_correlations() -> None:
    returns = _pairs_that_do_not_fit()
    tracker = _updated(returns)
    alone = [_updated(returns[:, [k]][~np.isnan(returns[:, k])]).variance(0) for k in range(3)]
    np.testing.assert_allclose(np.diagonal(tracker.covariance), alone, rtol=1e-12)
    np.testing.assert_allclose([tracker.variance(k) for k in range(3)], alone, rtol=1e-12)
    correlation = correlation_of(tracker.covariance)
    assert correlation[0, 2] < 0.0 < min(correlation[0, 1], correlation[1, 2])


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 8), st.integers(3, 60), st.floats(0.05, 0.7), st.integers(0, 2**32 - 1))
def test_with_missing_returns_what_is_known_is_positive_semi_definite(
    n: int, days: int, gone: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    returns = rng.normal(size=(days, n)) @ rng.normal(size=(n, n))
    returns[rng.random(returns.shape) < gone] = np.nan
    tracker = _updated(returns)
    found = tracker.covariance
    book: list[int] = []  # series of which every pair is known: the others have no VaR
    for k in range(n):
        if found[k, k] > 0.0 and np.isfinite(found[k, book]).all():
            book.append(k)
    if book:
        assert np.linalg.eigvalsh(correlation_of(found[np.ix_(book, book)]))[0] >= -1e-9


def test_missing_returns_whose_pairs_fit_are_not_touched() -> None:
    returns = np.random.default_rng(9).normal(size=(400, 3))
    returns[::50, 0] = np.nan
    assert _updated(returns).repair == 0.0
