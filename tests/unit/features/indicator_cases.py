"""Every indicator of the room in its forms, so that one set of tests can hold them all to the same rules."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import talib

import feature_references
from grandmodel.features import (
    averages,
    dispersion,
    fair_value_gaps,
    heikin_ashi,
    mlmi,
    mmd,
    momentum,
    nwrqk,
    order_statistics,
    oscillators,
    ranges,
    volume,
    volume_profile,
)

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One indicator: which columns it takes, its forms, its warm-up in bars, and TA-Lib's version where there is one."""

    name: str
    inputs: tuple[str, ...]
    batch: Callable[..., np.ndarray]
    reference: Callable[..., np.ndarray]
    state: Callable[[], np.ndarray]
    update: Callable[..., float | tuple[float, ...]]
    warm_up: int
    talib: Callable[..., object] | None = None
    work: Callable[[], np.ndarray] | None = None
    reference_takes_holes: bool = True

    def run_batch(self, bars: Columns) -> np.ndarray:
        return as_table(self.batch(*(bars[name] for name in self.inputs)))

    def run_reference(self, bars: Columns) -> np.ndarray:
        return as_table(self.reference(*(bars[name] for name in self.inputs)))

    def run_streaming(self, bars: Columns) -> np.ndarray:
        # A few slots before and behind: an update must stay within its own.
        own = self.state()
        state = np.concatenate([[7.25, 7.25], own, [7.25, 7.25]])
        scratch = () if self.work is None else (self.work(),)
        rows = [
            self.update(state, 2, *scratch, *values)
            for values in zip(*(bars[name] for name in self.inputs), strict=True)
        ]
        assert (state[[0, 1, -2, -1]] == 7.25).all()
        table = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
        return table if rows else table.reshape(0, self.run_batch(bars).shape[1])

    def run_talib(self, bars: Columns) -> np.ndarray:
        assert self.talib is not None
        return as_table(np.array(self.talib(*(bars[name] for name in self.inputs))).T)


def as_table(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 2 else values[:, None]


def _mlmi_update(state: np.ndarray, at: int, work: np.ndarray, *values: float) -> tuple[float, float]:
    # MLMI's points must be the last in the array; the two slots behind are within its room for points here.
    return mlmi.mlmi_update(state, at, work, *values)


_OHLC = ("open", "high", "low", "close")
_HLC = ("high", "low", "close")

CASES = [
    Case("sma", ("close",), lambda c: averages.sma(c, 20), lambda c: feature_references.sma_reference(c, 20),
         lambda: averages.sma_state(20), averages.sma_update, 19, lambda c: talib.SMA(c, 20)),
    Case("sma of 1", ("close",), lambda c: averages.sma(c, 1), lambda c: feature_references.sma_reference(c, 1),
         lambda: averages.sma_state(1), averages.sma_update, 0),
    Case("ema", ("close",), lambda c: averages.ema(c, 20), lambda c: feature_references.ema_reference(c, 20),
         lambda: averages.ema_state(20), averages.ema_update, 19, lambda c: talib.EMA(c, 20)),
    Case("wma", ("close",), lambda c: averages.wma(c, 20), lambda c: feature_references.wma_reference(c, 20),
         lambda: averages.wma_state(20), averages.wma_update, 19, lambda c: talib.WMA(c, 20)),
    Case("standard deviation", ("close",), lambda c: dispersion.standard_deviation(c, 20),
         lambda c: feature_references.standard_deviation_reference(c, 20), lambda: dispersion.standard_deviation_state(20),
         dispersion.standard_deviation_update, 19, lambda c: talib.STDDEV(c, 20)),
    Case("bollinger", ("close",), dispersion.bollinger, feature_references.bollinger_reference, dispersion.bollinger_state,
         dispersion.bollinger_update, 19, lambda c: talib.BBANDS(c, 20, 2, 2)),
    Case("rolling median", ("close",), lambda c: order_statistics.rolling_median(c, 12),
         lambda c: feature_references.rolling_median_reference(c, 12), lambda: order_statistics.rolling_median_state(12),
         order_statistics.rolling_median_update, 11),
    Case("rolling median, odd", ("close",), lambda c: order_statistics.rolling_median(c, 7),
         lambda c: feature_references.rolling_median_reference(c, 7), lambda: order_statistics.rolling_median_state(7),
         order_statistics.rolling_median_update, 6),
    Case("rsi", ("close",), oscillators.rsi, feature_references.rsi_reference, oscillators.rsi_state, oscillators.rsi_update, 14,
         lambda c: talib.RSI(c, 14)),
    Case("macd", ("close",), oscillators.macd, feature_references.macd_reference, oscillators.macd_state,
         oscillators.macd_update, 33, talib.MACD),
    Case("true range", _HLC, ranges.true_range, feature_references.true_range_reference, ranges.true_range_state,
         ranges.true_range_update, 1, talib.TRANGE),
    Case("atr", _HLC, ranges.atr, feature_references.atr_reference, ranges.atr_state, ranges.atr_update, 14,
         lambda h, low, c: talib.ATR(h, low, c, 14)),
    Case("adx", _HLC, ranges.adx, feature_references.adx_reference, ranges.adx_state, ranges.adx_update, 27,
         lambda h, low, c: talib.ADX(h, low, c, 14), reference_takes_holes=False),
    Case("stochastic", _HLC, oscillators.stochastic, feature_references.stochastic_reference, oscillators.stochastic_state,
         oscillators.stochastic_update, 8, talib.STOCH),
    Case("cci", _HLC, oscillators.cci, feature_references.cci_reference, oscillators.cci_state, oscillators.cci_update, 13,
         lambda h, low, c: talib.CCI(h, low, c, 14)),
    Case("obv", ("close", "volume"), volume.obv, feature_references.obv_reference, volume.obv_state, volume.obv_update, 0, talib.OBV),
    Case("vwap", (*_HLC, "volume", "session"), volume.vwap, feature_references.vwap_reference, volume.vwap_state, volume.vwap_update, 0),
    Case("volume ratio", ("volume",), volume.volume_ratio, feature_references.volume_ratio_reference,
         lambda: averages.ema_state(20), volume.volume_ratio_update, 19),
    Case("heikin-ashi", _OHLC, heikin_ashi.heikin_ashi, feature_references.heikin_ashi_reference, heikin_ashi.heikin_ashi_state,
         heikin_ashi.heikin_ashi_update, 0),
    Case("log return", ("close",), momentum.log_returns, feature_references.log_returns_reference, momentum.log_return_state,
         momentum.log_return_update, 1),
    Case("relative volatility", ("close",), lambda c: momentum.relative_volatility(c, 10, 30),
         lambda c: feature_references.relative_volatility_reference(c, 10, 30), lambda: momentum.relative_volatility_state(10, 30),
         momentum.relative_volatility_update, 39),
    Case("percent momentum", ("close",), momentum.percent_momentum, feature_references.percent_momentum_reference,
         momentum.percent_momentum_state, momentum.percent_momentum_update, 5),
    Case("nwrqk", ("close",), nwrqk.nwrqk, feature_references.nwrqk_reference, nwrqk.nwrqk_state,
         lambda state, at, value: nwrqk.nwrqk_update(state, at, value)[0], 112),
    Case("volume profile", (*_HLC, "volume"), volume_profile.volume_profile, feature_references.volume_profile_reference,
         volume_profile.volume_profile_state, volume_profile.volume_profile_update, 47),
    Case("mmd", ("change",), lambda x: mmd.mmd(x, 12, 60), lambda x: feature_references.mmd_reference(x, 12, 60),
         lambda: mmd.mmd_state(12, 60), mmd.mmd_update, 71, work=lambda: mmd.mmd_work(12, 60)),
    Case("fair value gaps", _OHLC, fair_value_gaps.fair_value_gaps, feature_references.fair_value_gaps_reference,
         fair_value_gaps.fair_value_gaps_state, fair_value_gaps.fair_value_gaps_update, 21, reference_takes_holes=False),
    Case("mlmi", _OHLC, mlmi.mlmi, feature_references.mlmi_reference, mlmi.mlmi_state, _mlmi_update, 40,
         work=lambda: mlmi.mlmi_work(mlmi.mlmi_state()), reference_takes_holes=False),
]  # fmt: skip

# The log return and the relative volatility are fed returns where they stream; their inputs differ from batch to update.
RETURN_FED = {"relative volatility"}


def random_bars(seed: int, size: int, tick: float = 0.25, level: float = 5000.0, step: float = 8.0) -> Columns:
    """A random walk on a tick grid: like market bars in shape, with known arithmetic."""
    rng = np.random.default_rng(seed)
    close = level + np.cumsum(np.round(rng.standard_t(4, size) * step / tick) * tick)
    open_ = np.concatenate([[level], close[:-1]])[:size] + np.round(rng.normal(size=size) / tick) * tick
    high = np.maximum(open_, close) + np.round(np.abs(rng.normal(size=size)) * step / tick) * tick
    low = np.minimum(open_, close) - np.round(np.abs(rng.normal(size=size)) * step / tick) * tick
    return {
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": np.round(rng.gamma(1.5, 800, size)),
        "session": (np.arange(size) // 46).astype(np.float64),
        "change": rng.standard_t(3, size) * 1e-3,
    }


def cut(bars: Columns, size: int) -> Columns:
    return {name: values[:size] for name, values in bars.items()}


def scale(bars: Columns, factor: float) -> Columns:
    scaled = {name: values * factor for name, values in bars.items() if name in (*_OHLC, "change")}
    return {**bars, **scaled}
