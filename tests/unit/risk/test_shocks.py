"""Shock detection: statistics against numpy, when it fires, what it names, and the replay of real markets."""

import gzip
import io

import numpy as np
import polars as pl
import pytest

from grandmodel.risk.correlation import EwmaCovariance
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.shocks import Shock, ShockDetector, ShockSettings
from shared_data import shared


def _returns(count: int, rho: float, scale: float, seed: int, n: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((count, 1))
    return scale * (np.sqrt(rho) * common + np.sqrt(1 - rho) * rng.standard_normal((count, n)))


def _watch(returns: np.ndarray, detector: ShockDetector) -> list[tuple[int, Shock]]:
    tracker = EwmaCovariance(returns.shape[1])
    found = []
    for t, row in enumerate(returns):
        tracker.update(row)
        if t >= 30:
            found += [(t, shock) for shock in detector.update(tracker.covariance)]
    return found


@pytest.mark.parametrize("n", [2, 3, 20])
def test_the_statistics_equal_numpy(n: int) -> None:
    returns = _returns(80, 0.4, 0.01, n, n)
    tracker, detector = EwmaCovariance(n), ShockDetector(n)
    for row in returns:
        tracker.update(row)
        detector.update(tracker.covariance)
    correlation = tracker.correlation
    off = correlation[np.triu_indices(n, 1)]
    assert detector.average_correlation == pytest.approx(off.mean(), rel=1e-12)
    largest = np.linalg.eigvalsh(correlation)[-1]
    assert detector.first_eigenvalue_share == pytest.approx(largest / n, rel=1e-4)


def test_a_steady_market_does_not_fire() -> None:
    assert _watch(_returns(3000, 0.3, 0.01, 1), ShockDetector(6)) == []


def test_a_jump_in_correlation_fires_within_days_and_once() -> None:
    returns = np.concatenate((_returns(800, 0.1, 0.01, 2), _returns(100, 0.95, 0.01, 3)))
    found = _watch(returns, ShockDetector(6))
    kinds = [shock.kind for _, shock in found]
    assert sorted(set(kinds)) == ["average_correlation", "first_eigenvalue_share"]
    assert len(kinds) == 2
    assert all(800 <= t < 850 for t, _ in found)
    assert all(len(shock.cause) == 2 for _, shock in found)


def test_a_jump_in_volatility_names_the_instrument() -> None:
    returns = np.concatenate((_returns(800, 0.1, 0.01, 4), _returns(60, 0.1, 0.02, 5)))
    returns[800:, 3] *= 4
    found = [(t, shock) for t, shock in _watch(returns, ShockDetector(6)) if shock.kind == "volatility"]
    assert len(found) == 1
    assert found[0][1].cause == (3,)
    assert found[0][1].deviations > 3.5


def test_it_fires_again_only_after_it_came_back() -> None:
    settings = ShockSettings(history_updates=2000)
    calm, wild = _returns(800, 0.1, 0.01, 6), _returns(60, 0.1, 0.05, 7)
    found = _watch(np.concatenate((calm, wild, _returns(400, 0.1, 0.01, 8), wild)), ShockDetector(6, settings))
    times = [t for t, shock in found if shock.kind == "volatility"]
    assert len(times) == 2
    assert 800 <= times[0] < 860
    assert times[1] >= 1260


def test_unknown_entries_are_passed_over() -> None:
    detector = ShockDetector(2)
    assert detector.update(np.array([[1.0, np.nan], [np.nan, 1.0]])) == ()
    assert detector.update(np.array([[0.0, 0.0], [0.0, 1.0]])) == ()
    assert detector.seen == 0


def test_one_series_has_a_volatility_only() -> None:
    returns = np.concatenate((_returns(500, 0.0, 0.01, 9, 1), _returns(40, 0.0, 0.06, 10, 1)))
    found = _watch(returns, ShockDetector(1))
    assert [shock.kind for _, shock in found] == ["volatility"]


def test_an_eigenvector_start_that_is_orthogonal_begins_again() -> None:
    detector = ShockDetector(2)
    detector.update(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    assert detector.first_eigenvalue_share == pytest.approx(1.0)


def test_saved_state_continues_exactly() -> None:
    returns = _returns(400, 0.3, 0.01, 11)
    tracker, detector, copy = EwmaCovariance(6), ShockDetector(6), ShockDetector(6)
    for row in returns[:200]:
        tracker.update(row)
        detector.update(tracker.covariance)
    copy.restore(detector.save())
    for row in returns[200:] * 6:
        tracker.update(row)
        assert copy.update(tracker.covariance) == detector.update(tracker.covariance)
    assert copy.save() == detector.save()
    with pytest.raises(RiskInputError):
        ShockDetector(5).restore(detector.save())


@pytest.mark.shared
def test_a_replay_of_2008_and_2020_fires_and_calm_years_do_not() -> None:
    path = shared("data/daily/sp500_20stocks_1990_2022.csv.gz")
    frame = pl.read_csv(io.BytesIO(gzip.decompress(path.read_bytes())))
    prices = frame.drop("Date").to_numpy()
    dates = frame["Date"].to_list()[1:]
    found = [(dates[t], shock.kind) for t, shock in _watch(prices[1:] / prices[:-1] - 1.0, ShockDetector(20))]
    months = {date[:7] for date, _ in found}
    assert any(m in months for m in ("2008-09", "2008-10"))
    assert any(m in months for m in ("2020-02", "2020-03"))
    calm = {"1993", "1994", "1995", "2004", "2005", "2006", "2013", "2014", "2017", "2019"}
    assert [date for date, _ in found if date[:4] in calm] == []
