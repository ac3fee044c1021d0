"""The definitions of the indicators, slow and plain: what the compiled forms of ``grandmodel.features`` are held against."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_columns, as_series, unknown
from grandmodel.features.fair_value_gaps import BODY_BARS, DRAW, GAP_BARS, STRONG_BODY
from grandmodel.features.mlmi import (
    COORDINATE_AVERAGE,
    EQUAL,
    FAST_CROSS,
    FAST_RSI,
    NEIGHBOURS,
    SIGNAL_AVERAGE,
    SLOW_CROSS,
    SLOW_RSI,
)
from grandmodel.features.mmd import MMD_EARLIER, MMD_RECENT
from grandmodel.features.momentum import PERCENT_SCALE
from grandmodel.features.nwrqk import nwrqk_weights
from grandmodel.features.oscillators import CCI_SCALE
from grandmodel.features.sessions import TradingDays
from grandmodel.features.volume_profile import EQUAL_SHARE, NODE_SHARE, PROFILE_BARS, PROFILE_BINS


def sma_reference(values: npt.ArrayLike, period: int) -> Floats:
    """The mean of each window, computed on its own."""
    series = as_series(values)
    out = unknown(len(series))
    for t in range(period - 1, len(series)):
        out[t] = np.mean(series[t - period + 1 : t + 1])
    return out


def ema_reference(values: npt.ArrayLike, period: int) -> Floats:
    """The recursion as it is written in books, hole by hole."""
    series = as_series(values)
    out = unknown(len(series))
    run: list[float] = []
    for t, value in enumerate(series):
        run = [] if np.isnan(value) else [*run, float(value)]
        if len(run) == period:
            out[t] = np.mean(run)
        elif len(run) > period:
            out[t] = out[t - 1] + 2.0 / (period + 1.0) * (value - out[t - 1])
    return out


def wma_reference(values: npt.ArrayLike, period: int) -> Floats:
    """The weighted mean of each window, computed on its own."""
    series = as_series(values)
    out = unknown(len(series))
    weights = np.arange(1, period + 1)
    for t in range(period - 1, len(series)):
        out[t] = np.sum(weights * series[t - period + 1 : t + 1]) / weights.sum()
    return out


def standard_deviation_reference(values: npt.ArrayLike, period: int) -> Floats:
    """The deviation of each window, computed on its own."""
    series = as_series(values)
    out = unknown(len(series))
    for t in range(period - 1, len(series)):
        out[t] = np.std(series[t - period + 1 : t + 1])
    return out


def bollinger_reference(values: npt.ArrayLike, period: int = 20, deviations: float = 2.0) -> Floats:
    """Mean and deviation of each window, computed on their own."""
    series = as_series(values)
    out = np.full((len(series), 3), np.nan)
    for t in range(period - 1, len(series)):
        window = series[t - period + 1 : t + 1]
        middle, width = np.mean(window), deviations * np.std(window)
        out[t] = middle + width, middle, middle - width
    return out


def rolling_median_reference(values: npt.ArrayLike, period: int) -> Floats:
    """The median of each window, computed on its own."""
    series = as_series(values)
    out = unknown(len(series))
    for t in range(period - 1, len(series)):
        out[t] = np.median(series[t - period + 1 : t + 1])
    return out


def rsi_reference(values: npt.ArrayLike, period: int = 14) -> Floats:
    """The recursion as it is written in books, hole by hole."""
    series = as_series(values)
    out = unknown(len(series))
    changes: list[float] = []
    gain = loss = 0.0
    for t in range(1, len(series)):
        change = series[t] - series[t - 1]
        if np.isnan(change):
            changes = []
            continue
        changes.append(change)
        if len(changes) < period:
            continue
        if len(changes) == period:
            gain = sum(c for c in changes if c > 0) / period
            loss = -sum(c for c in changes if c < 0) / period
        else:
            gain = (gain * (period - 1) + max(change, 0.0)) / period
            loss = (loss * (period - 1) + max(-change, 0.0)) / period
        out[t] = 100 * gain / (gain + loss) if gain + loss > 0 else 0.0
    return out


def macd_reference(values: npt.ArrayLike, fast: int = 12, slow: int = 26, signal: int = 9) -> Floats:
    """Three reference averages; the fast one begins late enough to give its first value with the slow one."""
    series = as_series(values)
    late = series.copy()
    run = 0
    for t, value in enumerate(series):
        run = 0 if np.isnan(value) else run + 1
        if run <= slow - fast:
            late[t] = np.nan
    difference = ema_reference(late, fast) - ema_reference(series, slow)
    average = ema_reference(difference, signal)
    difference[np.isnan(average)] = np.nan
    return np.column_stack([difference, average, difference - average])


def stochastic_reference(
    high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, period: int = 5, slowing: int = 3, smoothing: int = 3
) -> Floats:
    """The extremes of each window, computed on their own."""
    highs, lows, closes = as_columns(high=high, low=low, close=close)
    fast = unknown(len(closes))
    for t in range(period - 1, len(closes)):
        window = slice(t - period + 1, t + 1)
        top, bottom = np.max(highs[window]), np.min(lows[window])
        if not np.isnan(top + bottom + closes[window].sum()):
            fast[t] = 100 * (closes[t] - bottom) / (top - bottom) if top > bottom else 0.0
    slow = sma_reference(fast, slowing)
    smooth = sma_reference(slow, smoothing)
    slow[np.isnan(smooth)] = np.nan
    return np.column_stack([slow, smooth])


def cci_reference(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, period: int = 14) -> Floats:
    """Mean and mean deviation of each window, computed on their own."""
    highs, lows, closes = as_columns(high=high, low=low, close=close)
    typical = (highs + lows + closes) / 3
    out = unknown(len(closes))
    for t in range(period - 1, len(closes)):
        window = typical[t - period + 1 : t + 1]
        mean = np.mean(window)
        deviation = np.mean(np.abs(window - mean))
        out[t] = (typical[t] - mean) / (CCI_SCALE * deviation) if not deviation <= 1e-14 * abs(mean) else 0.0
    return out


def true_range_reference(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike) -> Floats:
    """The same in whole columns."""
    highs, lows, closes = as_columns(high=high, low=low, close=close)
    out = unknown(len(closes))
    out[1:] = np.maximum(highs[1:], closes[:-1]) - np.minimum(lows[1:], closes[:-1])
    out[np.isnan(closes)] = np.nan
    return out


def atr_reference(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, period: int = 14) -> Floats:
    """Wilder's recursion over the reference true range."""
    return wilder_reference(true_range_reference(high, low, close), period)


def wilder_reference(values: Floats, period: int) -> Floats:
    """Wilder's smoothing as written in books: the mean of the first ``period`` values, then (last * (n - 1) + value) / n."""
    out = unknown(len(values))
    run: list[float] = []
    for t, value in enumerate(values):
        run = [] if np.isnan(value) else [*run, float(value)]
        if len(run) == period:
            out[t] = np.mean(run)
        elif len(run) > period:
            out[t] = (out[t - 1] * (period - 1) + value) / period
    return out


def adx_reference(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, period: int = 14) -> Floats:
    """The definition in whole columns; for series without holes."""
    highs, lows, closes = as_columns(high=high, low=low, close=close)
    size = len(closes)
    out = unknown(size)
    if size < 2 * period:
        return out
    up, down = np.diff(highs), -np.diff(lows)
    rise = np.where((up > 0) & (up > down), up, 0.0)
    fall = np.where((down > 0) & (down > up), down, 0.0)
    reach = true_range_reference(highs, lows, closes)[1:]
    index = unknown(size - 1)
    smooth = [float(column[: period - 1].sum()) for column in (rise, fall, reach)]
    for t in range(period - 1, size - 1):
        smooth = [s - s / period + column[t] for s, column in zip(smooth, (rise, fall, reach), strict=True)]
        both = smooth[0] + smooth[1]
        index[t] = 100 * abs(smooth[1] - smooth[0]) / both if both > 0 and smooth[2] > 0 else np.nan
    average = np.nansum(index[period - 1 : 2 * period - 1]) / period
    out[2 * period - 1] = average
    for t in range(2 * period - 1, size - 1):
        if not np.isnan(index[t]):
            average = (average * (period - 1) + index[t]) / period
        out[t + 1] = average
    return out


def obv_reference(close: npt.ArrayLike, volume: npt.ArrayLike) -> Floats:
    """The definition, bar by bar."""
    closes, volumes = as_columns(close=close, volume=volume)
    out = unknown(len(closes))
    for t in range(len(closes)):
        if np.isnan(closes[t] + volumes[t]):
            continue
        fresh = t == 0 or np.isnan(out[t - 1])
        out[t] = volumes[t] if fresh else out[t - 1] + np.sign(closes[t] - closes[t - 1]) * volumes[t]
    return out


def vwap_reference(
    high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, volume: npt.ArrayLike, session: npt.ArrayLike
) -> Floats:
    """Each bar's average from its session's beginning, computed on its own."""
    highs, lows, closes, volumes, sessions = as_columns(high=high, low=low, close=close, volume=volume, session=session)
    out = unknown(len(closes))
    begin = 0
    for t in range(len(closes)):
        if sessions[t] != sessions[begin]:
            begin = t
        part = slice(begin, t + 1)
        lots = volumes[part].sum()
        typical = (highs[part] + lows[part] + closes[part]) / 3
        out[t] = (typical * volumes[part]).sum() / lots if lots != 0 else np.nan
    return out


def volume_ratio_reference(volume: npt.ArrayLike, period: int = 20) -> Floats:
    """The formula as it is written."""
    volumes = as_series(volume, "volume")
    usual = ema_reference(volumes, period)
    usual[usual == 0] = np.nan
    with np.errstate(divide="ignore"):
        return np.tanh(np.log(volumes / usual))


def heikin_ashi_reference(
    open_: npt.ArrayLike, high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike
) -> Floats:
    """The definition, bar by bar."""
    opens, highs, lows, closes = as_columns(open=open_, high=high, low=low, close=close)
    out = np.full((len(closes), 4), np.nan)
    for t in range(len(closes)):
        average = (opens[t] + highs[t] + lows[t] + closes[t]) / 4
        if np.isnan(average):
            continue
        fresh = t == 0 or np.isnan(out[t - 1, 0])
        begin = (opens[t] + closes[t]) / 2 if fresh else (out[t - 1, 0] + out[t - 1, 3]) / 2
        out[t] = begin, max(highs[t], begin, average), min(lows[t], begin, average), average
    return out


def log_returns_reference(close: npt.ArrayLike) -> Floats:
    """The definition in whole columns."""
    closes = as_series(close, "close").copy()
    closes[~(closes > 0)] = np.nan
    out = unknown(len(closes))
    out[1:] = np.log(closes[1:] / closes[:-1])
    return out


def momentum_reference(close: npt.ArrayLike, period: int) -> Floats:
    """The definition: the two ends of the window, and the deviation of the returns between."""
    closes = as_series(close, "close")
    returns = log_returns_reference(closes)
    deviation = standard_deviation_reference(returns, period)
    out = unknown(len(closes))
    with np.errstate(invalid="ignore", divide="ignore"):
        for t in range(period, len(closes)):
            if deviation[t] > 0:
                out[t] = np.log(closes[t] / closes[t - period]) / (deviation[t] * np.sqrt(period))
    return out


def relative_volatility_reference(close: npt.ArrayLike, period: int = 30, history: int = 480) -> Floats:
    """The definition from the two reference windows."""
    deviation = standard_deviation_reference(log_returns_reference(close), period)
    usual = rolling_median_reference(deviation, history)
    usual[usual == 0] = np.nan
    return deviation / usual


def percent_momentum_reference(close: npt.ArrayLike, period: int = 5) -> Floats:
    """The definition in whole columns; for series without holes."""
    closes = as_series(close, "close")
    out = unknown(len(closes))
    begin = np.where(closes > 0, closes, np.nan)[: max(len(closes) - period, 0)]
    out[period:] = np.tanh((closes[period:] / begin - 1) * 100 / PERCENT_SCALE)
    return out


def nwrqk_reference(values: npt.ArrayLike, bandwidth: float = 8.0, alpha: float = 8.0) -> Floats:
    """The weighted mean of each window, computed on its own."""
    series = as_series(values)
    out = unknown(len(series))
    weights = nwrqk_weights(bandwidth, alpha)
    for t in range(len(weights) - 1, len(series)):
        back = series[t - len(weights) + 1 : t + 1][::-1]
        out[t] = np.sum(weights * back) / np.sum(weights)
    return out


def profile_reference(high: Floats, low: Floats, volume: Floats, bins: int = PROFILE_BINS) -> tuple[Floats, Floats]:
    """Bin edges (bins + 1,) and the volume of each bin (bins,) of one window, by the overlap of each bar with each bin."""
    edges = np.linspace(low.min(), high.max(), bins + 1)
    filled = np.zeros(bins)
    for top, bottom, lots in zip(high, low, volume, strict=True):
        if top == bottom:
            filled[min(int((bottom - edges[0]) / (edges[1] - edges[0])), bins - 1)] += lots
        else:
            overlap = np.minimum(edges[1:], top) - np.maximum(edges[:-1], bottom)
            filled += lots * np.maximum(overlap, 0.0) / (top - bottom)
    return edges, filled


def volume_profile_reference(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    bars: int = PROFILE_BARS,
    bins: int = PROFILE_BINS,
) -> Floats:
    """Each window's profile, nodes and skewness, computed on their own."""
    highs, lows, closes, volumes = as_columns(high=high, low=low, close=close, volume=volume)
    out = np.full((len(closes), 3), np.nan)
    for t in range(bars - 1, len(closes)):
        part = slice(t - bars + 1, t + 1)
        top, bottom, v = highs[part], lows[part], volumes[part]
        if not v.sum() > 0 or np.isnan(top + bottom + closes[part]).any():
            continue
        middle, own = (top + bottom) / 2, (top - bottom) ** 2 / 12
        away = middle - np.average(middle, weights=v)
        second = np.average(away**2 + own, weights=v)
        third = np.average(away**3 + 3 * away * own, weights=v)
        out[t, 2] = third / second**1.5 if second > 0 else np.nan
        out[t, 1] = 0.0
        if not top.max() > bottom.min():
            continue
        edges, filled = profile_reference(top, bottom, v, bins)
        control = filled.max()
        for begin, end in _valleys_reference(filled, EQUAL_SHARE * control):
            price = (edges[begin] + edges[end]) / 2
            nearer = np.isnan(out[t, 0]) or abs(closes[t] - price) < abs(closes[t] - out[t, 0])
            if filled[begin] < NODE_SHARE * control and nearer:
                out[t, 0], out[t, 1] = price, 1 - filled[begin] / control
    return out


def _valleys_reference(filled: Floats, equal: float) -> list[tuple[int, int]]:
    """Runs of equal bins, as (first, behind the last), with a fuller bin on either side."""
    cuts = [0, *(j for j in range(1, len(filled)) if abs(filled[j] - filled[j - 1]) > equal), len(filled)]
    runs = list(pairwise(cuts))
    inner = [(a, b) for a, b in runs if a > 0 and b < len(filled)]
    return [(a, b) for a, b in inner if filled[a - 1] > filled[a] and filled[b] > filled[b - 1]]


def mmd_reference(values: npt.ArrayLike, recent: int = MMD_RECENT, earlier: int = MMD_EARLIER) -> Floats:
    """The formula at the head of this file, taken literally, values standardised."""
    series = as_series(values)
    out = unknown(len(series))
    size = recent + earlier
    for t in range(size - 1, len(series)):
        window = series[t - size + 1 : t + 1]
        if np.isnan(window).any() or window.std() == 0:
            continue
        window = (window - window.mean()) / window.std()
        distance = np.abs(window[:, None] - window[None, :])
        bandwidth = np.median(distance[np.triu_indices(size, 1)])
        if bandwidth == 0:
            continue
        similar = np.exp(-(distance**2) / (2 * bandwidth**2))
        np.fill_diagonal(similar, 0.0)
        y, x = slice(0, earlier), slice(earlier, size)
        out[t] = (
            similar[x, x].sum() / (recent * (recent - 1))
            + similar[y, y].sum() / (earlier * (earlier - 1))
            - 2 * similar[x, y].mean()
        )
    return out


def fair_value_gaps_reference(
    open_: npt.ArrayLike, high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike
) -> Floats:
    """Find every gap first, follow each to its end, then look from each bar; for series without holes."""
    opens, highs, lows, closes = as_columns(open=open_, high=high, low=low, close=close)
    size = len(closes)
    body = np.abs(closes - opens)
    out = np.full((size, 5), np.nan)
    out[BODY_BARS + 1 :, [0, 1, 4]] = 0.0
    gaps: list[tuple[int, int, bool, float]] = []  # first bar, bar behind the last, bullish, level
    for t in range(BODY_BARS + 1, size):
        mean = body[t - 1 - BODY_BARS : t - 1].mean()
        if not body[t - 1] > STRONG_BODY * mean + DRAW * mean:
            continue
        bullish, bearish = lows[t] > highs[t - 2], highs[t] < lows[t - 2]
        if not (bullish or bearish):
            continue
        end = min(t + GAP_BARS, size)
        for s in range(t + 1, end):
            if (lows[s] <= highs[t - 2]) if bullish else (highs[s] >= lows[t - 2]):
                out[s, 4] = 1.0
                end = s
                break
        gaps.append((t, end, bool(bullish), lows[t] if bullish else highs[t]))
    for begin, end, bullish, level in gaps:
        for t in range(begin, end):
            out[t, 0 if bullish else 1] = 1.0
            if np.isnan(out[t, 2]) or abs(closes[t] - level) <= abs(closes[t] - out[t, 2]):
                out[t, 2:4] = level, t - begin
    return out


def mlmi_points_reference(
    open_: npt.ArrayLike, high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike
) -> tuple[Floats, list[tuple[int, int, float]]]:
    """Coordinates of every bar (T, 2), and every stored point as (bar, bar of its label, label); for series without holes."""
    closes = heikin_ashi_reference(open_, high, low, close)[:, 3]
    coordinates = np.column_stack(
        [wma_reference(rsi_reference(closes, period), COORDINATE_AVERAGE) for period in (SLOW_RSI, FAST_RSI)]
    )
    sides = _sides_reference(wma_reference(closes, FAST_CROSS), wma_reference(closes, SLOW_CROSS))
    crosses = [t for t in range(1, len(closes)) if _cross_reference(sides[t - 1], sides[t])]
    points = [
        (begin, end, 1.0 if closes[end] > closes[begin] else -1.0)
        for begin, end in pairwise(crosses)
        if not np.isnan(coordinates[begin]).any()
    ]
    return coordinates, points


def mlmi_reference(open_: npt.ArrayLike, high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike) -> Floats:
    """For each bar, sort all points known by then by their distance; for series without holes."""
    coordinates, points = mlmi_points_reference(open_, high, low, close)
    value = np.full(len(coordinates), np.nan)
    for t in range(len(coordinates)):
        known = [(begin, label) for begin, end, label in points if end <= t]
        if not known or np.isnan(coordinates[t]).any():
            continue
        distance = ((coordinates[[begin for begin, _ in known]] - coordinates[t]) ** 2).sum(axis=1)
        nearest = np.argsort(distance, kind="stable")[:NEIGHBOURS]
        value[t] = np.mean([known[j][1] for j in nearest])
    sides = _sides_reference(value, wma_reference(value, SIGNAL_AVERAGE))
    signal = np.full(len(value), np.nan)
    for t in range(1, len(value)):
        if not np.isnan(sides[t - 1] + sides[t]):
            signal[t] = _cross_reference(sides[t - 1], sides[t])
    return np.column_stack([value, signal])


def _sides_reference(value: Floats, level: Floats) -> Floats:
    difference = value - level
    equal = np.abs(difference) <= EQUAL * np.maximum(np.abs(value), np.abs(level))
    return np.where(equal, 0.0, np.sign(difference))


def _cross_reference(before: float, now: float) -> float:
    return float(now) if not np.isnan(before + now) and now != 0 and now != before else 0.0


def day_positions_reference(sessions: TradingDays, ts_event: npt.ArrayLike) -> Floats:
    """The same for many bars, shape (T, 2), in whole columns."""
    stamps = np.asarray(ts_event, dtype=np.int64)
    place = sessions.positions(stamps)
    known = (place < len(sessions.closes_ns)) & (stamps > sessions.opens_ns[0])
    at = np.minimum(place, len(sessions.closes_ns) - 1)
    length = sessions.closes_ns[at] - sessions.opens_ns[at]
    out = np.column_stack([np.maximum((stamps - sessions.opens_ns[at]) / length, 0.0), sessions.weekdays[at] / 6])
    out[~known] = np.nan
    return out
