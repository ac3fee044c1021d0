"""MLMI's neighbours against scikit-learn; fair value gaps and volume profiles by hand."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import feature_references
from grandmodel.features import fair_value_gaps, mlmi, volume_profile
from grandmodel.features.errors import FeatureError

from .indicator_cases import random_bars


def test_the_neighbours_are_scikit_learns() -> None:
    bars = random_bars(21, 8000)
    ohlc = [bars[name] for name in ("open", "high", "low", "close")]
    value = mlmi.mlmi(*ohlc)[:, 0]
    coordinates, points = feature_references.mlmi_points_reference(*ohlc)
    checked = 0
    for t in range(60, 8000, 61):
        known = [(begin, label) for begin, end, label in points if end <= t]
        if len(known) < 2:
            continue
        labels = np.array([label for _, label in known])
        model = NearestNeighbors(n_neighbors=min(200, len(known))).fit(coordinates[[begin for begin, _ in known]])
        nearest = model.kneighbors(coordinates[t : t + 1], return_distance=False)[0]
        assert value[t] == pytest.approx(labels[nearest].mean(), abs=1e-12)
        checked += len(known) > 200
    assert checked > 50


@pytest.mark.parametrize("count", [1, 199, 200, 201, 383, 384, 1000, 5000])
def test_the_nearest_are_found_whatever_the_number_of_points(count: int) -> None:
    rng = np.random.default_rng(count)
    state = mlmi.mlmi_state(count)
    x, y = np.round(rng.normal(50, 8, (2, count)), 1)  # coarse, so that many distances are equal
    labels = rng.choice([-1.0, 1.0], count)
    state[mlmi.POINTS_AT :] = np.concatenate([x, y, labels])
    for qx, qy in ((50.0, 50.0), (0.0, 100.0), (float(x[0]), float(y[0]))):
        got = mlmi.mean_label_of_nearest(state, mlmi.POINTS_AT, count, count, qx, qy, mlmi.mlmi_work(state))
        nearest = np.argsort((x - qx) ** 2 + (y - qy) ** 2, kind="stable")[:200]
        assert got == pytest.approx(labels[nearest].mean(), abs=1e-15)


def test_more_room_keeps_every_point() -> None:
    state = mlmi.mlmi_state(4)
    state[1] = 4
    state[mlmi.POINTS_AT :] = np.arange(12.0)
    assert mlmi.mlmi_is_full(state)
    grown = mlmi.mlmi_with_room(state, 8)
    assert grown[0] == 8
    assert not mlmi.mlmi_is_full(grown)
    np.testing.assert_array_equal(grown[mlmi.POINTS_AT :].reshape(3, 8)[:, :4], np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(mlmi.mlmi_with_room(grown, 4), state)
    with pytest.raises(FeatureError, match="expected"):
        mlmi.mlmi_with_room(state[:-1], 8)
    with pytest.raises(FeatureError, match="at least 4"):
        mlmi.mlmi_with_room(state, 3)
    assert [mlmi.mlmi_usual_room(count) for count in (0, 1023, 1024, 5000)] == [1024, 1024, 2048, 8192]


def test_a_label_is_used_from_the_next_cross_on_and_no_sooner() -> None:
    bars = random_bars(22, 1500)
    ohlc = [bars[name] for name in ("open", "high", "low", "close")]
    value = mlmi.mlmi(*ohlc)[:, 0]
    _, points = feature_references.mlmi_points_reference(*ohlc)
    first_label = points[0][1]
    assert np.isnan(value[:first_label]).all()
    assert value[first_label] == points[0][2]


def _gap_bars(middle_body: float, third_low: float) -> list[np.ndarray]:
    """25 quiet bars of body 1 and range 100 to 101, a strong bar, a bar above it."""
    size = 25
    open_ = np.full(size, 100.0)
    close = np.full(size, 101.0)
    close[21] = 100.0 + middle_body
    open_[22:] = close[22:] = 104.0
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    low[22:] = third_low
    return [open_, high, low, close]


def test_a_bullish_gap_by_hand() -> None:
    got = fair_value_gaps.fair_value_gaps(*_gap_bars(middle_body=3.0, third_low=103.0))
    # On bar 22 the gap lies from 101 (the high of bar 20) to 103 (the low of bar 22).
    np.testing.assert_array_equal(got[21], [0, 0, np.nan, np.nan, 0])
    np.testing.assert_array_equal(got[22], [1, 0, 103.0, 0, 0])
    np.testing.assert_array_equal(got[24], [1, 0, 103.0, 2, 0])


def test_a_weak_middle_bar_or_no_room_between_makes_no_gap() -> None:
    assert fair_value_gaps.fair_value_gaps(*_gap_bars(1.5, 103.0))[22, 0] == 0  # exactly 1.5 bodies do not exceed 1.5
    assert fair_value_gaps.fair_value_gaps(*_gap_bars(3.0, 101.0))[22, 0] == 0  # the low only touches the high


def test_a_gap_ends_when_price_trades_back_through_it() -> None:
    open_, high, low, close = _gap_bars(3.0, 103.0)
    low[23] = 101.5  # into the gap, not through it
    low[24] = 101.0  # through
    got = fair_value_gaps.fair_value_gaps(open_, high, low, close)
    np.testing.assert_array_equal(got[23], [1, 0, 103.0, 1, 0])
    np.testing.assert_array_equal(got[24], [0, 0, np.nan, np.nan, 1])


def test_a_gap_is_over_after_50_bars() -> None:
    columns = _gap_bars(3.0, 103.0)
    columns = [np.concatenate([column, np.full(60, column[-1])]) for column in columns]
    got = fair_value_gaps.fair_value_gaps(*columns)
    assert got[22 + 49, 0] == 1
    assert got[22 + 49, 3] == 49
    np.testing.assert_array_equal(got[22 + 50], [0, 0, np.nan, np.nan, 0])


def test_of_two_gaps_as_near_the_younger_counts() -> None:
    open_, high, low, close = (np.concatenate([column, np.full(3, column[-1])]) for column in _gap_bars(3.0, 103.0))
    # Price dips into the first gap, then leaves it in another strong bar, to the same low.
    open_[23:25] = close[23:25] = low[23:25] = 102.0
    high[23:25] = 102.5
    open_[25], low[25], close[25], high[25] = 102.0, 102.0, 105.0, 105.0
    got = fair_value_gaps.fair_value_gaps(open_, high, low, close)
    np.testing.assert_array_equal(got[25], [1, 0, 103.0, 3, 0])
    np.testing.assert_array_equal(got[26], [1, 0, 103.0, 0, 0])


def test_a_bearish_gap_mirrors_a_bullish_one() -> None:
    bars = random_bars(23, 3000, tick=0.25)
    up = fair_value_gaps.fair_value_gaps(*(bars[name] for name in ("open", "high", "low", "close")))
    down = fair_value_gaps.fair_value_gaps(*(-bars[name] for name in ("open", "low", "high", "close")))
    np.testing.assert_array_equal(down[:, [1, 0, 3, 4]], up[:, [0, 1, 3, 4]])
    np.testing.assert_array_equal(down[:, 2], -up[:, 2])
    assert up[21:, :2].mean() > 0.01


def test_a_node_between_two_heaps_of_volume() -> None:
    # 24 bars at 100 to 110, 23 at 120 to 130, one that crosses from one to the other.
    low = np.concatenate([np.full(24, 100.0), [100.0], np.full(23, 120.0)])
    high = np.concatenate([np.full(24, 110.0), [130.0], np.full(23, 130.0)])
    close = np.full(48, 121.0)
    node, strength, skewness = volume_profile.volume_profile(high, low, close, np.full(48, 100.0))[47]
    assert node == pytest.approx(115.2, abs=0.61)  # the middle of the empty stretch, to a bin of 0.6
    assert strength > 0.95
    assert skewness == pytest.approx(0.04, abs=0.05)


def test_a_profile_holds_all_of_the_volume() -> None:
    bars = random_bars(24, 48)
    edges, filled = feature_references.profile_reference(bars["high"], bars["low"], bars["volume"])
    assert filled.sum() == pytest.approx(bars["volume"].sum())
    state = np.concatenate([bars["high"], bars["low"], bars["volume"], np.zeros(50)])
    volume_profile.fill_profile(state, 0, 48, 96, 48, 144, 50, edges[0], edges[1] - edges[0])
    np.testing.assert_allclose(state[144:], filled, atol=1e-9 * filled.max())
