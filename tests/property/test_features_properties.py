"""Properties of the features on any bars: causal, streaming as batch, indifferent to units, within their bounds."""

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

import feature_references
from grandmodel.features import StrategicState, TacticalState, strategic_rows, tactical_rows
from grandmodel.features.averages import sma, wma
from grandmodel.features.dispersion import standard_deviation
from grandmodel.features.mmd import mmd
from grandmodel.features.order_statistics import rolling_median, select_smallest
from grandmodel.features.oscillators import rsi, stochastic

PRICE = st.floats(1e-3, 1e6) | st.just(float("nan")) | st.sampled_from([100.0, 100.25])


@st.composite
def bars(draw: st.DrawFn, most: int = 120) -> pl.DataFrame:
    """Bars of any shape: jumps, repeats, holes in the prices and in the volume."""
    size = draw(st.integers(0, most))
    seed = draw(st.integers(0, 2**32 - 1))
    tick = draw(st.sampled_from([0.25, 0.01, 1e-5]))
    quiet = draw(st.floats(0.0, 0.9))
    holes = draw(st.floats(0.0, 0.2))
    rng = np.random.default_rng(seed)
    moves = np.where(rng.random(size) < quiet, 0, rng.integers(-20, 21, size)) * tick
    close = 5000 * tick * 4 + np.cumsum(moves)
    open_ = close - moves * rng.integers(0, 2, size)
    reach = rng.integers(0, 8, (2, size)) * tick
    columns = {
        "open": open_,
        "high": np.maximum(open_, close) + reach[0],
        "low": np.minimum(open_, close) - reach[1],
        "close": close,
        "volume": np.floor(rng.exponential(50, size)),
    }
    hole = rng.random(size) < holes * 0.1
    columns = {name: np.where(hole, np.nan, values) for name, values in columns.items()}
    columns["volume"] = np.where(rng.random(size) < holes, np.nan, columns["volume"])
    stamps = 1_700_000_000_000_000_000 + np.cumsum(rng.integers(1, 4, size)) * 1_800_000_000_000
    return pl.DataFrame({"ts_event": stamps.astype(np.int64), **columns}, schema_overrides={"ts_event": pl.Int64})


@settings(deadline=None, max_examples=40)
@given(bars(), st.data())
def test_no_row_changes_when_the_future_is_cut_off(frame: pl.DataFrame, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(frame)))
    np.testing.assert_array_equal(strategic_rows(frame[:size]), strategic_rows(frame)[:size])
    np.testing.assert_array_equal(tactical_rows(frame[:size]), tactical_rows(frame)[:size])


@settings(deadline=None, max_examples=25)
@given(bars(), st.data())
def test_streaming_with_a_restart_anywhere_equals_batch(frame: pl.DataFrame, data: st.DataObject) -> None:
    restart = data.draw(st.integers(0, len(frame)))
    for kind, rows in ((StrategicState, strategic_rows), (TacticalState, tactical_rows)):
        state, expected = kind(), rows(frame)
        for t, (ts_event, *values) in enumerate(frame.rows()):
            if t == restart:
                saved, state = state.save(), kind()
                state.restore(saved)
            np.testing.assert_array_equal(state.update(*values, ts_event), expected[t])


@settings(deadline=None, max_examples=25)
@given(bars(), st.integers(-20, 20))
def test_the_unit_of_the_price_does_not_matter(frame: pl.DataFrame, exponent: int) -> None:
    scaled = frame.with_columns(pl.col("open", "high", "low", "close") * 2.0**exponent)
    np.testing.assert_allclose(strategic_rows(scaled), strategic_rows(frame), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(tactical_rows(scaled), tactical_rows(frame), rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=100)
@given(st.lists(PRICE, max_size=60), st.integers(1, 12))
def test_window_statistics_stay_within_their_window(values: list[float], period: int) -> None:
    series = np.array(values)
    lows, highs = np.full(len(series), np.nan), np.full(len(series), np.nan)
    for t in range(period - 1, len(series)):
        window = series[t - period + 1 : t + 1]
        lows[t], highs[t] = window.min(), window.max()  # NaN where the window holds a hole
    slack = 1e-12 * np.nan_to_num(highs)
    for got in (sma(series, period), wma(series, period), rolling_median(series, period)):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(lows))
        known = ~np.isnan(got)
        assert (got[known] >= (lows - slack)[known]).all()
        assert (got[known] <= (highs + slack)[known]).all()
    spread = standard_deviation(series, period)
    known = ~np.isnan(spread)
    assert (spread[known] >= 0).all()
    assert (spread[known] <= ((highs - lows) / 2 + slack)[known]).all()


@settings(deadline=None, max_examples=60)
@given(bars())
def test_bounded_indicators_stay_in_their_bounds(frame: pl.DataFrame) -> None:
    high, low, close = (frame[name].to_numpy() for name in ("high", "low", "close"))
    for got in (rsi(close, 5), stochastic(high, low, close)):
        known = got[~np.isnan(got)]
        assert (known >= -1e-9).all()
        assert (known <= 100 + 1e-9).all()


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from([0.0, 1.0]), min_size=1),
    st.data(),
)
def test_selection_is_the_sorted_rank(values: list[float], data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, len(values) - 1))
    room = np.array(values, dtype=np.float64)
    assert select_smallest(room, 0, len(values), rank) == sorted(values)[rank]
    assert sorted(room) == sorted(np.array(values, dtype=np.float64))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(1.5, 30), st.integers(0, 12), st.integers(2, 20), st.integers(2, 40))
def test_mmd_is_the_formula_for_any_tails_ties_and_sizes(
    seed: int, tail: float, digits: int, recent: int, earlier: int
) -> None:
    values = np.round(np.random.default_rng(seed).standard_t(tail, 90), digits)
    values *= 1e-3
    got, expected = mmd(values, recent, earlier), feature_references.mmd_reference(values, recent, earlier)
    np.testing.assert_allclose(got, expected, atol=5e-12)
