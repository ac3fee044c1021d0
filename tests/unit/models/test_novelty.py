"""Novelty: statistics and distance against plain numpy, the edge, what is beyond it, its file form, and real windows."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import mahalanobis

from grandmodel.data.historical.importing import read_file
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import ns_from_text
from grandmodel.models.errors import ModelError
from grandmodel.models.novelty import (
    Novelty,
    fit_novelty,
    spread_factor,
    window_statistics,
    write_statistics,
)
from grandmodel.training.market import build_market
from shared_data import shared

ROWS, COLUMNS = 24, np.array([0, 1, 3])


def history(seed, length=6000):
    """Four columns: smooth, rough and related to it, not known (NaN), and a skewed positive one."""
    rng = np.random.default_rng(seed)
    smooth = np.convolve(rng.normal(size=length + 9), np.ones(10) / 3.0, "valid")
    rough = 0.8 * smooth + rng.normal(size=length)
    skewed = np.exp(0.5 * np.convolve(rng.normal(size=length + 9), np.ones(10) / 3.0, "valid"))
    return np.column_stack([smooth, rough, np.full(length, np.nan), 7.0 + skewed])


def fitted(seed=0):
    rows = history(seed)
    places = np.arange(ROWS - 1, len(rows))
    return fit_novelty(window_statistics(rows, places, ROWS, COLUMNS), places, window_rows=ROWS, columns=(0, 1, 3))


def scores(novelty, rows, change=lambda window: window):
    places = range(ROWS - 1, len(rows), 5)
    return np.array([novelty.score(np.ascontiguousarray(change(rows[t - ROWS + 1 : t + 1]))) for t in places])


@given(arrays(np.float64, (7, 3), elements=st.floats(-1e3, 1e3)))
@settings(deadline=None)
def test_statistics_are_numpys(window):
    out = np.empty(12)
    write_statistics(window, np.arange(3), out)
    steps = np.abs(np.diff(window, axis=0)).mean(axis=0)
    assert out == pytest.approx(np.r_[window.mean(axis=0), window.std(axis=0), steps, window[-1]], abs=1e-4, rel=1e-9)


def test_a_window_of_one_row_has_no_deviation_and_no_step():
    out = np.full(8, np.nan)
    write_statistics(np.array([[3.0, 4.0]]), np.arange(2), out)
    assert out.tolist() == [3, 4, 0, 0, 0, 0, 3, 4]


def test_the_score_is_a_mahalanobis_distance():
    novelty, rows = fitted(), history(1, 100)
    statistics = window_statistics(rows, np.array([60]), ROWS, COLUMNS)[0]
    inverse = novelty.whitener.T @ novelty.whitener
    expected = mahalanobis(statistics, novelty.centre, inverse)
    assert novelty.score(rows[60 - ROWS + 1 : 61]) == pytest.approx(expected)
    assert novelty.scores(statistics[None])[0] == pytest.approx(expected)
    assert np.linalg.eigvalsh(inverse).min() > 0.0


def test_about_one_fresh_ordinary_window_in_a_hundred_lies_beyond_the_edge():
    novelty = fitted()
    assert novelty.parameters.share_beyond == pytest.approx(0.01, abs=0.001)
    beyond = np.mean([(scores(novelty, history(seed)) > 1.0).mean() for seed in range(1, 6)])
    assert 0.002 < beyond < 0.03


@pytest.mark.parametrize(
    "change",
    [
        lambda window: 2.0 * window,
        lambda window: 4.0 * window,
        lambda window: -window,
        lambda window: np.tile(window[-1], (ROWS, 1)),
        lambda window: window[:, [3, 1, 2, 0]],
    ],
    ids=["doubled", "fourfold", "sign flipped", "stale", "columns exchanged"],
)
def test_what_training_never_saw_is_beyond_the_edge(change):
    assert (scores(fitted(), history(1), change) > 1.0).mean() > 0.95


def test_rows_in_a_wrong_order_are_noticed_though_every_value_is_ordinary():
    shuffled = scores(fitted(), history(1), np.random.default_rng(9).permutation)
    assert (shuffled > 1.0).mean() > 0.8
    assert np.median(shuffled) > 1.4


def test_novelty_grows_with_the_distance_from_the_training_data():
    novelty, window = fitted(), history(1, 200)[100 : 100 + ROWS]
    away = [novelty.score(window + shift) for shift in (0.0, 5.0, 10.0, 20.0, 40.0)]
    assert np.all(np.diff(away) > 0.0)


def test_a_column_that_is_looked_at_but_not_known_gives_no_score():
    novelty, window = fitted(), history(1, 200)[100 : 100 + ROWS].copy()
    assert math.isfinite(novelty.score(window))
    window[5, 1] = np.nan
    assert math.isnan(novelty.score(window))
    assert spread_factor(novelty.score(window)) == 16.0


@given(st.floats(0, 1e6), st.floats(0, 1e6))
@settings(deadline=None)
def test_the_spread_is_one_up_to_the_edge_and_never_falls(first, second):
    low, high = sorted((first, second))
    assert 1.0 <= spread_factor(low) <= spread_factor(high) <= 16.0
    assert spread_factor(min(low, 1.0)) == 1.0


def test_the_spread_beyond_the_edge_is_the_square():
    assert spread_factor(2.0) == pytest.approx(4.0)
    assert spread_factor(3.0) == pytest.approx(9.0)
    assert spread_factor(math.inf) == 16.0


def test_statistics_that_hardly_ever_vary_do_not_set_the_edge():
    rows = history(0)
    # A flag that is 0 but for a few bars, as on holidays: its middle half has no width at all.
    rows[1000:1003, 1] = 1.0
    rows[:1000, 1] = rows[1003:, 1] = 0.0
    places = np.arange(ROWS - 1, len(rows))
    novelty = fit_novelty(window_statistics(rows, places, ROWS, COLUMNS), places, window_rows=ROWS, columns=(0, 1, 3))
    ordinary = history(3)
    ordinary[:, 1] = 0.0
    assert np.median(scores(novelty, ordinary)) > 0.2
    assert (scores(novelty, ordinary, lambda window: 4.0 * window) > 1.0).mean() > 0.9


def test_a_wild_training_window_hardly_moves_the_fit():
    rows = history(0)
    rows[3000] = [1e4, -1e4, np.nan, 1e4]
    places = np.arange(ROWS - 1, len(rows))
    marred = fit_novelty(window_statistics(rows, places, ROWS, COLUMNS), places, window_rows=ROWS, columns=(0, 1, 3))
    fresh = history(1)
    assert np.median(scores(marred, fresh)) == pytest.approx(np.median(scores(fitted(), fresh)), rel=0.15)


def test_it_comes_back_from_a_manifest_and_tensors_as_it_was():
    novelty = fitted()
    parameters = msgspec.json.decode(msgspec.json.encode(novelty.parameters))
    back = Novelty.from_parts(parameters, novelty.tensors())
    window = history(1, 200)[100 : 100 + ROWS]
    assert back.score(window) == novelty.score(window)
    assert back.parameters == novelty.parameters


def test_what_does_not_fit_is_refused():
    novelty = fitted()
    parameters = msgspec.to_builtins(novelty.parameters)
    with pytest.raises(ModelError, match="not whole"):
        Novelty.from_parts({}, novelty.tensors())
    with pytest.raises(ModelError, match="not whole"):
        Novelty.from_parts(parameters, {"centre": novelty.centre})
    with pytest.raises(ModelError, match=r"expected \(8,\) and \(8, 8\)"):
        Novelty.from_parts({**parameters, "columns": [0, 1]}, novelty.tensors())
    with pytest.raises(ModelError, match="at least one column, in order"):
        Novelty.from_parts({**parameters, "columns": []}, novelty.tensors())
    with pytest.raises(ModelError, match=r"found a window of \(5, 4\)"):
        novelty.score(np.zeros((5, 4)))
    with pytest.raises(ModelError, match=r"found a window of \(24, 3\)"):
        novelty.score(np.zeros((24, 3)))
    statistics = np.ones((500, 8))
    with pytest.raises(ModelError, match="all finite"):
        fit_novelty(np.full((500, 8), np.nan), np.arange(500), window_rows=24, columns=(0, 1))
    with pytest.raises(ModelError, match="found 100 windows"):
        fit_novelty(statistics[:100], np.arange(100), window_rows=24, columns=(0, 1))
    with pytest.raises(ModelError, match="in order"):
        fit_novelty(statistics, np.arange(500), window_rows=24, columns=(1, 0))


@pytest.mark.shared
def test_on_real_windows_ordinary_ones_pass_and_spoilt_ones_do_not():
    path = shared("data/bars/futures_30m/CL_30m_eth_20200629_20240628.csv.gz")
    instrument = BUILT_IN[InstrumentId("CL")]
    (block,) = read_file(path, instrument)[0].values()
    market = build_market(block[block["ts_event"] < ns_from_text("2023-07-01T00:00:00Z")], instrument, "strategic")
    rows, size = market.schema.rows, np.array(market.schema.known_columns)
    split = ns_from_text("2022-07-01T00:00:00Z")
    early = np.flatnonzero(market.usable & (market.ts_event < split))
    late = np.flatnonzero(market.usable & (market.ts_event >= split))
    novelty = fit_novelty(
        window_statistics(market.rows, early, rows, size),
        market.ts_event[early],
        window_rows=rows,
        columns=market.schema.known_columns,
    )
    ordinary = novelty.scores(window_statistics(market.rows, late, rows, size))
    assert (ordinary > 1.0).mean() < 0.03
    rng = np.random.default_rng(0)
    clock = market.rows[:, 6:8]
    for change in (rng.permutation, lambda w: 2.0 * w, lambda w: 4.0 * w):
        spoilt = []
        for t in late[::40]:
            window = change(market.rows[t - rows + 1 : t + 1])
            # The clock runs on as ever, so that it is the market's own columns that are noticed.
            window[:, 6:8] = clock[t - rows + 1 : t + 1]
            spoilt.append(novelty.score(window))
        assert (np.array(spoilt) > 1.0).mean() > 0.95
