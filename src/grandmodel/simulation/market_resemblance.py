"""How far the simulated market resembles the real one: the same statistics of both, side by side.

Bars are built from the simulated trades and measured by the same function as the real bars. Nothing here says "good
enough": the table shows both numbers and the reader judges. Read next: ``docs/concepts/simulated-market.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import Action, Block, Schema, empty_block, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.time import THIRTY_MINUTES_NS
from grandmodel.kernels import kernel
from grandmodel.simulation.market import SimulatedMarket
from grandmodel.simulation.market_fit import BarSeries, SessionReturns, session_returns

Floats = NDArray[np.float64]

_BP = 1e4
_ACF_LAGS = (1, 6, 46, 230, 920)
_TRADE = int(Action.TRADE)
_QUANTILES = (0.5, 0.95, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the bars of one instrument look like; arrays by bucket (B,)."""

    volatility_bp: Floats
    """Standard deviation of the log return by bucket."""
    volume: Floats
    """Median lots by bucket."""
    statistics: dict[str, float]
    absolute_scaled: Floats
    """(T,) absolute returns over bucket volatility, for pictures."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One line of the table."""

    instrument: str
    statistic: str
    real: float
    simulated: float


def trade_bars(blocks: Iterable[Block], instruments: int, width_ns: int) -> list[Block]:
    """Bars of ``width_ns``, on the clock, from the trades of ``blocks``; one frozen block per instrument index."""
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(instruments)]
    for block in blocks:
        if not len(block):
            continue
        spans = (int(block["ts_event"][-1]) - int(block["ts_event"][0])) // width_ns + 2
        table = np.empty((instruments, min(len(block), spans), 6), dtype=np.int64)
        counts = np.zeros(instruments, dtype=np.int64)
        _add_trades(block, width_ns, table, counts)
        for part, found, count in zip(parts, table, counts, strict=True):
            part.append(found[:count].T.copy())
    made: list[Block] = []
    for i in range(instruments):
        found = np.concatenate([np.zeros((6, 0), dtype=np.int64), *parts[i]], axis=1)
        merged = _grouped(*found) if found.shape[1] else found
        bars = empty_block(Schema.BARS, merged.shape[1])
        bars["ts_open"] = merged[0] * width_ns
        bars["ts_event"] = bars["ts_init"] = bars["ts_open"] + width_ns
        for column, name in enumerate(("open", "high", "low", "close", "volume"), start=1):
            bars[name] = merged[column]
        bars["instrument"] = i
        made.append(freeze(bars))
    return made


@kernel
def _add_trades(block: Block, width_ns: int, table: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Gather the trades of ``block`` in ``table`` (I, B, 6): key, open, high, low, close and volume; ``counts`` (I,) bars."""
    for k in range(block.shape[0]):
        row = block[k]
        if row.action != _TRADE:
            continue
        key = row.ts_event // width_ns
        bars = table[row.instrument]
        place = counts[row.instrument] - 1
        if place < 0 or bars[place, 0] != key:
            place += 1
            counts[row.instrument] = place + 1
            bars[place, 0] = key
            for column in range(1, 5):
                bars[place, column] = row.price
            bars[place, 5] = 0
        bars[place, 2] = max(bars[place, 2], row.price)
        bars[place, 3] = min(bars[place, 3], row.price)
        bars[place, 4] = row.price
        bars[place, 5] += row.size


def _grouped(
    key: NDArray[np.int64],
    opens: NDArray[np.int64],
    high: NDArray[np.int64],
    low: NDArray[np.int64],
    close: NDArray[np.int64],
    volume: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(6, G): key, open, high, low, close and volume of each run of equal keys (all (T,), keys in order)."""
    starts = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
    ends = np.append(starts[1:], len(key)) - 1
    return np.stack(
        [
            key[starts],
            opens[starts],
            np.maximum.reduceat(high, starts),
            np.minimum.reduceat(low, starts),
            close[ends],
            np.add.reduceat(volume, starts),
        ]
    )


def simulated_series(market: SimulatedMarket, start_ns: int, end_ns: int) -> list[BarSeries]:
    """The 30-minute bars of ``market``'s trades over [``start_ns``, ``end_ns``), as series that can be measured."""
    bars = trade_bars(market.blocks(start_ns, end_ns), len(market.instruments), THIRTY_MINUTES_NS)
    return [
        BarSeries(instrument, block, schedule)
        for instrument, block, schedule in zip(market.instruments, bars, market.schedules, strict=True)
    ]


def measure(series: BarSeries) -> tuple[Measured, SessionReturns]:
    """The statistics of one instrument's 30-minute bars."""
    found = session_returns(series.bars, series.schedule, THIRTY_MINUTES_NS, str(series.instrument.id))
    if len(found.log_return) < 1_000:
        raise UsageError(
            f"{series.instrument.id}: found {len(found.log_return)} bars, expected 1,000 or more to measure"
        )
    buckets = int(found.bucket.max()) + 1
    groups = [found.bucket == bucket for bucket in range(buckets)]
    volatility = np.array([found.log_return[group].std() if group.any() else np.nan for group in groups])
    volume = np.array([np.median(found.volume[group]) if group.any() else np.nan for group in groups])
    scaled = np.abs(found.log_return) / volatility[found.bucket]
    surprise = np.log(np.maximum(found.volume, 1.0) / np.maximum(volume, 1.0)[found.bucket])
    statistics = {
        "volatility of a bar, bp": float(found.log_return.std() * _BP),
        "kurtosis": _kurtosis(found.log_return),
        "kurtosis over bucket volatility": _kurtosis(found.log_return / volatility[found.bucket]),
        "skewness": float(np.mean((found.log_return / found.log_return.std()) ** 3)),
        "autocorrelation of returns, lag 1": _autocorrelation(found.log_return / volatility[found.bucket], 1),
    }
    for quantile in _QUANTILES:
        statistics[f"absolute return, {100 * quantile:g} % quantile, bp"] = float(
            np.quantile(np.abs(found.log_return), quantile) * _BP
        )
    for lag in _ACF_LAGS:
        statistics[f"autocorrelation of absolute returns, lag {lag}"] = _autocorrelation(np.minimum(scaled, 6.0), lag)
    day = np.unique(found.session, return_inverse=True)[1]
    daily = np.bincount(day, weights=found.log_return)
    statistics["volatility of a session, bp"] = float(daily.std() * _BP)
    statistics["kurtosis of a session"] = _kurtosis(daily)
    for name, kind in (("daily pause", ~found.gap_is_long), ("weekend or holiday", found.gap_is_long)):
        gaps = np.abs(found.gap[kind]) * _BP
        statistics[f"gap over {name}, median, bp"] = float(np.median(gaps)) if gaps.size else np.nan
        statistics[f"gap over {name}, 99 % quantile, bp"] = float(np.quantile(gaps, 0.99)) if gaps.size else np.nan
    statistics["log range, mean"] = float(np.mean(np.log(np.maximum(found.log_range, 1e-6))))
    statistics["log volume over bucket, standard deviation"] = float(surprise.std())
    statistics["log volume over bucket, autocorrelation, lag 1"] = _autocorrelation(surprise, 1)
    statistics["log volume over bucket, autocorrelation, lag 46"] = _autocorrelation(surprise, 46)
    statistics["log volume and absolute return, correlation"] = float(
        np.corrcoef(surprise, np.minimum(scaled, 6.0))[0, 1]
    )
    return Measured(volatility * _BP, volume, statistics, scaled), found


def compare(real: Sequence[BarSeries], simulated: Sequence[BarSeries]) -> list[Compared]:
    """The table: every statistic of every instrument, then of each pair of instruments."""
    table: list[Compared] = []
    pairs: list[list[SessionReturns]] = [[], []]
    for one, other in zip(real, simulated, strict=True):
        (truth, truth_found), (made, made_found) = measure(one), measure(other)
        pairs[0].append(truth_found)
        pairs[1].append(made_found)
        name = str(one.instrument.id)
        table += [Compared(name, key, value, made.statistics[key]) for key, value in truth.statistics.items()]
        both = min(len(truth.volatility_bp), len(made.volatility_bp))
        for label, left, right in (
            ("volatility by bucket", truth.volatility_bp, made.volatility_bp),
            ("median volume by bucket", truth.volume, made.volume),
        ):
            ratio = np.abs(np.log(right[:both] / left[:both]))
            table.append(Compared(name, f"{label}, median distance (0: equal)", 0.0, float(np.nanmedian(ratio))))
            table.append(Compared(name, f"{label}, largest distance (0: equal)", 0.0, float(np.nanmax(ratio))))
    for i in range(len(real)):
        for j in range(i):
            name = f"{real[j].instrument.id} and {real[i].instrument.id}"
            values = [_pair_statistics(found[j], found[i]) for found in pairs]
            table += [Compared(name, key, values[0][key], values[1][key]) for key in values[0]]
    return table


def _pair_statistics(one: SessionReturns, other: SessionReturns) -> dict[str, float]:
    _, here, there = np.intersect1d(one.half_hour, other.half_hour, return_indices=True)
    left, right = one.log_return[here], other.log_return[there]
    calm = np.median(np.abs(left)) * 6, np.median(np.abs(right)) * 6
    return {
        "correlation of returns": float(np.corrcoef(left, right)[0, 1]),
        "correlation of returns, extremes held": float(
            np.corrcoef(np.clip(left, -calm[0], calm[0]), np.clip(right, -calm[1], calm[1]))[0, 1]
        ),
        "correlation of absolute returns": float(
            np.corrcoef(np.minimum(np.abs(left), calm[0]), np.minimum(np.abs(right), calm[1]))[0, 1]
        ),
    }


def _kurtosis(values: NDArray[Any]) -> float:
    centred = values - values.mean()
    return float(np.mean(centred**4) / np.mean(centred**2) ** 2)


def _autocorrelation(values: Floats, lag: int) -> float:
    centred = values - values.mean()
    return float(np.mean(centred[lag:] * centred[:-lag]) / np.mean(centred**2))


def absolute_autocorrelation(measured: Measured, lags: NDArray[np.int64]) -> Floats:
    """Autocorrelations, at ``lags``, of the absolute returns over bucket volatility, held to six."""
    return np.array([_autocorrelation(np.minimum(measured.absolute_scaled, 6.0), int(lag)) for lag in lags])
