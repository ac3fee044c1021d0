"""The matrices on real NQ and CL bars: whole after the warm-up, no look-ahead, streaming as batch over whole files."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import talib

import feature_references
import market_files
from grandmodel.features import (
    STRATEGIC_SCHEMA,
    TACTICAL_SCHEMA,
    StrategicState,
    TacticalState,
    mlmi,
    mmd,
    momentum,
    newest_known,
    strategic_rows,
    tactical_rows,
)
from grandmodel.features.averages import ema
from grandmodel.features.oscillators import rsi
from grandmodel.features.ranges import atr

pytestmark = pytest.mark.shared

HALF_HOURS = pytest.mark.parametrize("load", [market_files.nq_30m, market_files.cl_30m], ids=["NQ", "CL"])
Load = Callable[[], pl.DataFrame]


@HALF_HOURS
def test_no_value_is_missing_after_the_warm_up(load: Load) -> None:
    rows = strategic_rows(load())
    for column, values in zip(STRATEGIC_SCHEMA.columns, rows.T, strict=True):
        # MLMI waits for its first two crosses, at bar 78 in NQ and 80 in CL.
        warm_up = column.warm_up_bars + (41 if column.name.startswith("mlmi") else 0)
        assert not np.isnan(values[warm_up:]).any(), column.name
        assert np.isnan(values[: column.warm_up_bars]).all(), column.name


def test_five_minute_bars_without_volume_miss_the_volume_ratio_alone() -> None:
    rows = tactical_rows(market_files.nq_5m())
    schema = TACTICAL_SCHEMA.without_volume()
    missing = np.isnan(rows[schema.warm_up_bars :])
    assert [schema.names[i] for i in schema.unknown_columns] == ["volume_ratio"]
    assert missing[:, list(schema.unknown_columns)].all()
    assert not missing[:, list(schema.known_columns)].any()


@HALF_HOURS
@pytest.mark.slow
def test_streaming_equals_batch_over_the_whole_file(load: Load) -> None:
    bars = load()
    state, rows = StrategicState(), strategic_rows(bars)
    for t, (ts_event, *values) in enumerate(bars.rows()):
        row = state.update(*values, ts_event)
        assert row.tobytes() == rows[t].tobytes() or np.array_equal(row, rows[t], equal_nan=True), t
    np.testing.assert_array_equal(state.window, rows[-48:])


def test_streaming_equals_batch_over_the_whole_five_minute_file() -> None:
    bars = market_files.nq_5m().with_columns(pl.col("volume").fill_null(float("nan")))
    state, rows = TacticalState(), tactical_rows(bars)
    got = np.array([state.update(*values, ts_event).copy() for ts_event, *values in bars.rows()])
    np.testing.assert_array_equal(got, rows)


@HALF_HOURS
def test_nothing_looks_ahead(load: Load) -> None:
    bars = load()[:6000]
    rows = strategic_rows(bars)
    rng = np.random.default_rng(51)
    for size in rng.integers(1, len(bars), 12):
        cut = bars[: int(size)]
        np.testing.assert_array_equal(strategic_rows(cut), rows[:size])
        # Another future: the rows before it must not notice.
        other = pl.concat([cut, bars[int(size) :].with_columns(pl.col("open", "high", "low", "close") * 3.0)])
        np.testing.assert_array_equal(strategic_rows(other)[:size], rows[:size])


def test_five_minute_rows_do_not_look_ahead() -> None:
    bars = market_files.nq_5m()[:20_000]
    rows = tactical_rows(bars)
    for size in np.random.default_rng(52).integers(1, len(bars), 20):
        np.testing.assert_array_equal(tactical_rows(bars[: int(size)]), rows[:size])


def test_a_half_hour_row_never_sees_a_five_minute_bar_that_closed_after_it() -> None:
    fast = market_files.nq_5m()[:30_000]

    def half_hours(bars: pl.DataFrame, now: int) -> pl.DataFrame:
        """The half-hour bars that have closed by now, from the five-minute bars alone."""
        step = 30 * market_files.MINUTE_NS
        close = (pl.col("ts_event") + step - 1) // step * step
        grouped = bars.group_by(close.alias("ts_event"), maintain_order=True).agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").first(),
        )
        return grouped.filter(pl.col("ts_event") <= now)

    end = int(fast["ts_event"][-1])
    slow = half_hours(fast, end)
    rows = strategic_rows(slow)
    place = newest_known(slow["ts_event"].to_numpy(), fast["ts_event"].to_numpy())
    for t in np.random.default_rng(53).integers(5_000, len(fast), 10):
        now = int(fast["ts_event"][int(t)])
        known = strategic_rows(half_hours(fast[: int(t) + 1], now))
        np.testing.assert_array_equal(known[-1], rows[place[t]])


def test_standard_indicators_equal_talib_on_real_bars() -> None:
    bars = market_files.nq_30m()
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    np.testing.assert_allclose(rsi(close, 14), talib.RSI(close, 14), atol=1e-9)
    np.testing.assert_allclose(ema(close, 20), talib.EMA(close, 20), rtol=1e-13)
    np.testing.assert_allclose(atr(high, low, close, 14), talib.ATR(high, low, close, 14), atol=1e-9)


@HALF_HOURS
def test_mlmi_and_mmd_equal_their_formulas_on_real_bars(load: Load) -> None:
    bars = load()[20_000:24_000]
    ohlc = [bars[name].to_numpy() for name in ("open", "high", "low", "close")]
    np.testing.assert_allclose(mlmi.mlmi(*ohlc), feature_references.mlmi_reference(*ohlc), atol=1e-12)
    returns = momentum.log_returns(ohlc[3])
    got = mmd.mmd(returns)
    for begin in (100, 1700, 3400):
        np.testing.assert_allclose(
            got[begin + 527 : begin + 532],
            feature_references.mmd_reference(returns[begin : begin + 532])[527:],
            atol=1e-12,
        )
