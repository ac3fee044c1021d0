"""How far the simulated market resembles the real one: the same facts of both, side by side, over many seeds.

Bars of the simulated trades are measured by the same functions as the real bars. Of every fact the table gives the real value
and the least, median and greatest over the seeds. Were the real market one more seed, its value would be the least or the
greatest of 41 with a chance of one in twenty, so a fact outside the band is one that the model most likely lacks.

Read next: ``docs/concepts/simulated-market.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.errors import UsageError
from grandmodel.domain.time import NS_PER_DAY, THIRTY_MINUTES_NS
from grandmodel.simulation.market import SimulatedMarket
from grandmodel.simulation.market_fit import BarSeries, SessionReturns, session_returns
from grandmodel.simulation.market_parameters import SimulatedParameters

Floats = NDArray[np.float64]

_BP = 1e4
_ACF_LAGS = (1, 6, 46, 230, 920)
_SESSION_BARS = 46
_MONTH_BARS = 1_000
_LARGE = 0.05
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
    """One line of the table: a fact of the real bars, and the same over the seeds."""

    instrument: str
    statistic: str
    real: float
    low: float
    median: float
    high: float
    is_in_band: bool
    """Whether the real value lies between the least and the greatest; false where either is not known."""


Facts = dict[tuple[str, str], float]
"""Values by instrument (or pair) and statistic."""


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """The facts of one market, and the profiles (B,) by half hour of the session that are compared between markets."""

    values: Facts
    profiles: dict[tuple[str, str], Floats]


def simulated_series(market: SimulatedMarket, start_ns: int, end_ns: int) -> list[BarSeries]:
    """The 30-minute bars of ``market``'s trades over [``start_ns``, ``end_ns``), as series that can be measured."""
    bars = market.bars(start_ns, end_ns, THIRTY_MINUTES_NS)
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
    signed = found.log_return / volatility[found.bucket]
    statistics |= {
        "range over absolute move": float(found.log_range.mean() / np.abs(found.log_return).mean()),
        "return and absolute returns of the next 46 bars, correlation": _leverage(signed, np.minimum(scaled, 6.0)),
        "bars and gaps beyond 5 %, per 1,000 sessions": 1e3
        * float((np.abs(found.log_return) > _LARGE).sum() + (np.abs(found.gap) > _LARGE).sum())
        / len(daily),
    }
    statistics |= _event_statistics(series, found)
    return Measured(volatility * _BP, volume, statistics, scaled), found


def _leverage(signed: Floats, absolute: Floats) -> float:
    """Correlation of a return with the mean size of the returns of the session after it: below 0 where falls bring unrest."""
    sums = np.concatenate([[0.0], np.cumsum(absolute)])
    after = sums[_SESSION_BARS + 1 :] - sums[1:-_SESSION_BARS]
    return float(np.corrcoef(np.clip(signed[: len(after)], -6.0, 6.0), after)[0, 1])


def _event_statistics(series: BarSeries, found: SessionReturns) -> dict[str, float]:
    """What the half hours of scheduled figures are like, of instruments whose session opens at 18:00 New York."""
    if series.instrument.session_open != "18:00" or series.instrument.time_zone not in {"", "America/New_York"}:
        return {}
    weekday = (series.schedule.day_ns[found.session] // NS_PER_DAY + 3) % 7
    made: dict[str, float] = {}
    for label, bucket, day in (("Wednesday 10:30", 33, 2), ("Friday 08:30", 29, 4)):
        here = found.bucket == bucket
        for what, values in (("move", np.abs(found.log_return)), ("volume", found.volume)):
            ratio = values[here & (weekday == day)].mean() / values[here & (weekday != day)].mean()
            made[f"{label} New York, mean {what} over other days'"] = float(ratio)
    return made


def facts(series: Sequence[BarSeries]) -> MarketFacts:
    """Every statistic of every instrument, then of each pair of instruments."""
    values: Facts = {}
    profiles: dict[tuple[str, str], Floats] = {}
    found: list[SessionReturns] = []
    for one in series:
        measured, returns = measure(one)
        found.append(returns)
        name = str(one.instrument.id)
        values |= {(name, key): value for key, value in measured.statistics.items()}
        profiles[name, "volatility by bucket"] = measured.volatility_bp
        profiles[name, "median volume by bucket"] = measured.volume
    for i, one in enumerate(series):
        for j in range(i):
            name = f"{series[j].instrument.id} and {one.instrument.id}"
            values |= {(name, key): value for key, value in _pair_statistics(found[j], found[i]).items()}
    return MarketFacts(values, profiles)


def simulate_facts(
    parameters: SimulatedParameters,
    real: Sequence[BarSeries],
    seeds: Sequence[int],
    workers: int,
    on_seed: Callable[[], None] = lambda: None,
) -> list[MarketFacts]:
    """The facts of a simulated market over the sessions of ``real`` for each of ``seeds``, in ``workers`` threads.

    ``on_seed`` is called when a seed is done. A trading day of two instruments takes about 35 ms of one core.
    """

    def one(seed: int) -> MarketFacts:
        market = SimulatedMarket(parameters, [one.instrument for one in real], [one.schedule for one in real], seed)
        made = facts(simulated_series(market, *span_of(real)))
        on_seed()
        return made

    with ThreadPoolExecutor(max(1, workers), "seed") as pool:
        return list(pool.map(one, seeds))


def span_of(series: Sequence[BarSeries]) -> tuple[int, int]:
    """The first open and the last close of any of ``series``."""
    return min(int(one.bars["ts_open"][0]) for one in series), max(int(one.bars["ts_event"][-1]) for one in series)


def compare(real: MarketFacts, simulated: Sequence[MarketFacts]) -> list[Compared]:
    """The table: every fact of ``real`` with the band of ``simulated``, instruments first, then pairs.

    A profile by half hour becomes two facts: its median and its largest distance, in logs, from the median profile of the seeds.
    """
    distances: list[Facts] = [{} for _ in range(1 + len(simulated))]
    for (name, profile), truth in real.profiles.items():
        count = min(len(truth), *(len(one.profiles[name, profile]) for one in simulated))
        with np.errstate(divide="ignore"):
            logs = [np.log(one.profiles[name, profile][:count]) for one in (real, *simulated)]
        usual = np.median(logs[1:], axis=0)
        for values, log in zip(distances, logs, strict=True):
            values[name, f"{profile}, median distance from the usual"] = float(np.nanmedian(np.abs(log - usual)))
            values[name, f"{profile}, largest distance from the usual"] = float(np.nanmax(np.abs(log - usual)))
    truths = {**real.values, **distances[0]}
    others = [{**one.values, **more} for one, more in zip(simulated, distances[1:], strict=True)]
    names = list(dict.fromkeys(name for name, _ in truths))
    return [
        _compared(key, truths[key], [one[key] for one in others]) for name in names for key in truths if key[0] == name
    ]


def _compared(key: tuple[str, str], truth: float, values: Sequence[float]) -> Compared:
    low, median, high = (float(np.quantile(values, quantile)) for quantile in (0.0, 0.5, 1.0))
    return Compared(*key, truth, low, median, high, low <= truth <= high)


def _pair_statistics(one: SessionReturns, other: SessionReturns) -> dict[str, float]:
    _, here, there = np.intersect1d(one.half_hour, other.half_hour, return_indices=True)
    left, right = one.log_return[here], other.log_return[there]
    calm = np.median(np.abs(left)) * 6, np.median(np.abs(right)) * 6
    parts = [
        float(np.corrcoef(left[k : k + _MONTH_BARS], right[k : k + _MONTH_BARS])[0, 1])
        for k in range(0, len(left) - _MONTH_BARS + 1, _MONTH_BARS)
    ]
    return {
        "correlation of returns": float(np.corrcoef(left, right)[0, 1]),
        "correlation of returns, extremes held": float(
            np.corrcoef(np.clip(left, -calm[0], calm[0]), np.clip(right, -calm[1], calm[1]))[0, 1]
        ),
        "correlation of absolute returns": float(
            np.corrcoef(np.minimum(np.abs(left), calm[0]), np.minimum(np.abs(right), calm[1]))[0, 1]
        ),
        "correlation of returns over 1,000 bars, lowest": min(parts, default=np.nan),
        "correlation of returns over 1,000 bars, highest": max(parts, default=np.nan),
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
