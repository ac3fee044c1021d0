"""Longer bars: the same as polars groups them, whole ones only, with every mark."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.data.historical.resampling import resample_bars
from grandmodel.domain.blocks import BAR, Flag
from grandmodel.domain.errors import UsageError

MINUTE = 60 * 10**9


def minute_bars(minutes, seed):
    generator = np.random.default_rng(seed)
    bars = np.zeros(len(minutes), BAR)
    bars["ts_open"] = np.array(minutes) * MINUTE
    bars["ts_event"] = bars["ts_init"] = bars["ts_open"] + MINUTE
    bars["open"], bars["close"] = generator.integers(100, 200, (2, len(minutes)))
    bars["high"] = np.maximum(bars["open"], bars["close"]) + 3
    bars["low"] = np.minimum(bars["open"], bars["close"]) - 2
    bars["volume"] = generator.integers(-1, 50, len(minutes))
    bars["flags"] = generator.choice([0, 0, 0, int(Flag.ROLL), int(Flag.BAD_STRETCH)], len(minutes))
    return bars


@given(st.sets(st.integers(0, 300), min_size=1), st.integers(0, 9))
def test_the_same_as_an_independent_grouping(minutes, seed):
    bars = minute_bars(sorted(minutes), seed)
    found = resample_bars(bars, 5 * MINUTE)
    frame = pl.DataFrame({name: bars[name].astype(np.int64) for name in BAR.names})
    expected = (
        frame.group_by(pl.col("ts_open") // (5 * MINUTE), maintain_order=True)
        .agg(
            pl.col("open").first().alias("o"),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.when((pl.col("volume") < 0).any()).then(-1).otherwise(pl.col("volume").sum()).alias("volume"),
            pl.col("flags").bitwise_or(),
            pl.col("ts_event").last().alias("last"),
        )
        .with_columns(end=(pl.col("ts_open") + 1) * 5 * MINUTE)
    )
    if expected["last"][-1] < expected["end"][-1]:
        expected = expected[:-1]
    columns = {"open": "o", "high": "high", "low": "low", "close": "close", "volume": "volume", "flags": "flags"}
    for name, other in columns.items():
        assert found[name].tolist() == expected[other].to_list()
    assert found["ts_event"].tolist() == expected["end"].to_list()


def test_a_bar_across_a_period_is_refused():
    bars = minute_bars([0, 1, 2], 0)
    bars["ts_event"][2] += 9 * MINUTE
    with pytest.raises(UsageError, match="found a bar of 10 minutes across a period of 5"):
        resample_bars(bars, 5 * MINUTE)
