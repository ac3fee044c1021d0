"""Estimates the parameters of the simulated market from real 30-minute bars, and from 5-minute bars where there are some.

The steps, each a function below in the order in which they run: returns and gaps by session, with everything that the quality
checks marked left out; the volatility of each half-hour bucket; jumps by a robust threshold against the volatility around
them; regimes by expectation-maximisation of a hidden Markov chain with Student-t shocks, common to all instruments; what is
left of the volatility, and the volume, by moments. Deterministic: equal bars give equal numbers, rounded to six digits.

Read next: ``docs/concepts/simulated-market.md`` (why each step is so), ``simulated_resemblance.py`` (how well it did).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import UNKNOWN_VOLUME, Block, Flag
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_DAY, NS_PER_HOUR, THIRTY_MINUTES_NS, text_from_ns
from grandmodel.kernels import kernel
from grandmodel.simulation.market import stationary
from grandmodel.simulation.market_parameters import (
    SLOTS_PER_BUCKET,
    WEEKDAYS,
    FittedInput,
    Gap,
    InstrumentParameters,
    Microstructure,
    SimulatedParameters,
    Tail,
    VolumeParameters,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FIT_VERSIONS = ("1", "2")
"""1: the shipped market. 2 adds weekdays, a session's volume and correlation that moves. Another change that can move a number is another."""

MODEL = "simulated: regime-switching volatility with jumps, gaps and intraday seasonality; not market data"
REGIMES = ("calm", "normal", "stressed")

_LEAST_BARS = 5_000
_JUMP_SCALES = 6.0
_LEVEL_BARS = 23
_GAP_SCALES = 4.0
_LONG_GAP_NS = 4 * NS_PER_HOUR
_DEGREES = 5.0
"""Of the regimes' Student-t shocks: heavy tails inside a regime must not pass for a change of regime."""
_MOST_ROUNDS = 200
_TOLERANCE = 1e-7
_PRIOR_BARS = 150.0
"""Bars of average jump chance added to each bucket's count: a bucket has about a thousand."""
_BAR_LAGS = tuple(range(1, 13))
_SESSION_LAGS = tuple(range(1, 41))
_LEVEL_SESSIONS = 10
_FULL_SESSION = 0.75
"""A session with fewer of its bars says nothing of its level."""
_SCATTER_ROUNDS = 20
_GARROTE_ERRORS = 2.0
_LEAST_OF_WEEKDAY = 20
"""Bars of one weekday and bucket below which nothing is said of it."""
_NORMAL_MAD = 0.674_489_750_196_081_7
_NORMAL_MEAN_ABS = math.sqrt(2.0 / math.pi)
_LOG_RANGE_VARIANCE = 0.29**2
"""Variance of the log range of a Brownian path (Alizadeh, Brandt and Diebold, Journal of Finance 57, 2002, table 1)."""
_DIGITS = 6

ASSUMED: Mapping[str, Microstructure] = {
    "NQ": Microstructure(
        trades_per_session=40_000.0,
        quotes_per_session=120_000.0,
        least_mean_trade_lots=1.5,
        quote_elasticity=0.7,
        quote_size_lots=4.0,
        spread_per_volatility=0.3,
        noise_ticks=0.5,
        noise_persistence=0.9,
        sign_persistence=0.2,
    ),
    "CL": Microstructure(
        trades_per_session=30_000.0,
        quotes_per_session=90_000.0,
        least_mean_trade_lots=1.5,
        quote_elasticity=0.7,
        quote_size_lots=12.0,
        spread_per_volatility=0.3,
        noise_ticks=0.4,
        noise_persistence=0.9,
        sign_persistence=0.2,
    ),
}
"""Not fitted: there are no real NQ or CL trades or quotes here. Chosen to look plausible; any other instrument gets CL's."""


@dataclass(frozen=True, slots=True)
class BarSeries:
    """The real bars of one instrument: ``bars`` of 30 minutes and, where there are some, ``fine`` of 5 minutes.

    Blocks of layout ``BAR`` with the marks of the quality checks; each with the sessions that cover it. ``files`` names
    the files they came from with the SHA-256 of their bytes, for the record.
    """

    instrument: Instrument
    bars: Block
    schedule: SessionSchedule
    fine: Block | None = None
    fine_schedule: SessionSchedule | None = None
    files: Sequence[tuple[str, str]] = ()


def load_series(files: Sequence[tuple[Path, Instrument]]) -> list[BarSeries]:
    """Read and check the bars of ``files``, each with its instrument: 30-minute bars of each, 5-minute bars of some.

    In the order in which instruments first appear. Raises what ``read_file`` raises, and ``UsageError`` where an
    instrument has no file of 30-minute bars, several of a width, or a file of another width or of several series.
    """
    from grandmodel.data.historical.importing import read_file  # noqa: PLC0415  (slow to load; the simulation needs none of it)

    found: dict[str, dict[str, tuple[Block, str, str]]] = {}
    instruments: dict[str, Instrument] = {}
    for path, instrument in files:
        blocks, report = read_file(path, instrument)
        if len(blocks) != 1:
            raise UsageError(f"{path}: found {len(blocks)} series, expected one of bars")
        ((symbol, block),) = blocks.items()
        width = next(series.bar_width for series in report.series if series.symbol == symbol)
        if width not in {"30m", "5m"}:
            raise UsageError(f"{path}: found bars of {width or 'no width'}, expected 30m, or 5m for the finer shape")
        name = str(instrument.id)
        if width in found.setdefault(name, {}):
            raise UsageError(f"{path}: found a second file of {width} bars of {name}, expected one")
        instruments[name] = instrument
        found[name][width] = (block, path.name, report.sha256)
    made: list[BarSeries] = []
    for name, widths in found.items():
        if "30m" not in widths:
            raise UsageError(
                f"{name}: found no file of 30-minute bars, expected one; 5-minute bars alone are not enough"
            )
        instrument, bars, fine = instruments[name], widths["30m"][0], widths["5m"][0] if "5m" in widths else None
        made.append(
            BarSeries(
                instrument=instrument,
                bars=bars,
                schedule=_schedule_of(instrument, bars),
                fine=fine,
                fine_schedule=None if fine is None else _schedule_of(instrument, fine),
                files=[widths[width][1:] for width in ("30m", "5m") if width in widths],
            )
        )
    return made


def part_of(series: BarSeries, start_ns: int, end_ns: int) -> BarSeries:
    """The bars of ``series`` that lie whole in [``start_ns``, ``end_ns``); raises ``UsageError`` where no 30-minute bar does."""

    def cut(bars: Block) -> Block:
        return bars[(bars["ts_open"] >= start_ns) & (bars["ts_event"] <= end_ns)]

    bars = cut(series.bars)
    if not len(bars):
        raise UsageError(
            f"{series.instrument.id}: found no bars between {text_from_ns(start_ns)[:16]} and {text_from_ns(end_ns)[:16]}"
        )
    fine = None if series.fine is None else cut(series.fine)
    has_fine = fine is not None and len(fine) > 0
    return replace(
        series,
        bars=bars,
        schedule=_schedule_of(series.instrument, bars),
        fine=fine if has_fine else None,
        fine_schedule=series.fine_schedule if has_fine else None,
    )


def _schedule_of(instrument: Instrument, bars: Block) -> SessionSchedule:
    return session_schedule(instrument, int(bars["ts_open"][0]), int(bars["ts_event"][-1]))


def fit_market(series: Sequence[BarSeries], fit_version: str = "1") -> SimulatedParameters:
    """The parameters of a simulated market that resembles ``series``, in their order.

    Raises ``UsageError`` where a series has fewer than 5,000 usable bars, other bars than of 30 minutes, or no volume, and for an
    unknown ``fit_version``.
    """
    if fit_version not in FIT_VERSIONS:
        raise UsageError(f"fit version: found {fit_version!r}, expected one of {', '.join(FIT_VERSIONS)}")
    if not series:
        raise UsageError("found no series of bars, expected one or more")
    returns = [session_returns(one.bars, one.schedule, THIRTY_MINUTES_NS, str(one.instrument.id)) for one in series]
    works = [_FitWork(one, found) for one, found in zip(series, returns, strict=True)]
    for work in works:
        _first_seasonality(work)
        _mark_jumps(work)
        _find_session_levels(work)
    sessions = np.unique(np.concatenate([work.session_day for work in works]))
    chain = fit_regimes(_joint_levels(works, sessions), len(REGIMES))
    for i, work in enumerate(works):
        _apply_regimes(work, chain, sessions, i)
    order = _regime_order(works)
    is_second = fit_version == "2"
    moving: dict[str, float] = {}
    if is_second:
        law = _correlation_law(works)
        moving = {"correlation_sd": _digit(law[0]), "correlation_persistence": _digit(law[1])}
    return SimulatedParameters(
        model=MODEL,
        fit_version=fit_version,
        inputs={str(work.series.instrument.id): _inputs(work) for work in works},
        regimes=list(REGIMES),
        transition=_rounded_rows(chain.transition[np.ix_(order, order)]),
        correlation=[_shock_correlation(works, chain, sessions, state).round(_DIGITS).tolist() for state in order],
        gap_correlation=_gap_correlation(works).round(_DIGITS).tolist(),
        level_correlation=_level_correlation(works, sessions).round(_DIGITS).tolist(),
        instruments={work.series.instrument.id: _instrument_parameters(work, order, is_second) for work in works},
        **moving,
    )


@dataclass(frozen=True, slots=True)
class SessionReturns:
    """Bars by session. Shapes (T,) of the usable bars and (G,) of the usable gaps."""

    half_hour: Ints
    """Open time over the bar's width, counted from the epoch."""
    bucket: Ints
    """Bar widths since the session's open."""
    session: Ints
    log_return: Floats
    """Close on the close before; on the open where there is none directly before."""
    log_range: Floats
    volume: Floats
    gap_half_hour: Ints
    gap: Floats
    gap_is_long: Bools
    left_out: int
    gaps_left_out: int


def session_returns(bars: Block, schedule: SessionSchedule, width_ns: int, where: str) -> SessionReturns:
    """Returns inside sessions and gaps between them, without bad stretches, rolls and truncated or missing sessions.

    ``where`` names the series in messages. Raises ``UsageError`` where bars have another width or lie outside sessions.
    """
    is_cut = bars["ts_event"] - bars["ts_open"] > width_ns
    if is_cut.any() or (bars["ts_open"] % width_ns).any():
        raise UsageError(
            f"{where}: found bars that are not {width_ns // 60_000_000_000} minutes wide on the clock, expected such"
        )
    session = np.searchsorted(schedule.open_ns, bars["ts_open"], side="right") - 1
    if (session < 0).any() or (bars["ts_open"] >= schedule.close_ns[session]).any():
        raise UsageError(f"{where}: found bars outside the sessions given, expected none")
    price = {name: bars[name].astype(np.float64) for name in ("open", "high", "low", "close")}
    if min(float(price["low"].min()), float(price["open"].min())) <= 0:
        raise UsageError(
            f"{where}: found a price at or below zero; the model moves prices by fractions and cannot take it"
        )
    flags = bars["flags"].astype(np.int64)
    is_bad, is_roll = ((flags & int(flag)) != 0 for flag in (Flag.BAD_STRETCH, Flag.ROLL))
    follows = np.zeros(len(bars), dtype=np.bool_)
    follows[1:] = (bars["ts_open"][1:] == bars["ts_event"][:-1]) & (session[1:] == session[:-1]) & ~is_bad[:-1]
    follows &= ~is_roll  # the step between contracts inside a session is no return
    before = np.where(follows, np.roll(price["close"], 1), price["open"])
    opens = np.flatnonzero(np.diff(session, prepend=-1) != 0)[1:]
    usable = (
        ~is_bad[opens]
        & ~is_bad[opens - 1]
        & ~is_roll[opens]
        & ((flags[opens - 1] & int(Flag.TRUNCATED)) == 0)
        & (session[opens] == session[opens - 1] + 1)
    )
    kept = opens[usable]
    pause_ns = schedule.open_ns[session[kept]] - schedule.close_ns[session[kept] - 1]
    good = ~is_bad
    return SessionReturns(
        half_hour=bars["ts_open"][good] // width_ns,
        bucket=(bars["ts_open"] - schedule.open_ns[session])[good] // width_ns,
        session=session[good],
        log_return=np.log(price["close"] / before)[good],
        log_range=np.log(price["high"] / price["low"])[good],
        volume=bars["volume"][good].astype(np.float64),
        gap_half_hour=bars["ts_open"][kept] // width_ns,
        gap=np.log(price["open"][kept] / price["close"][kept - 1]),
        gap_is_long=pause_ns > _LONG_GAP_NS,
        left_out=int(is_bad.sum()),
        gaps_left_out=len(opens) - len(kept),
    )


@dataclass(slots=True)
class _FitWork:
    """One instrument while it is being fitted; arrays (T,) over its usable bars, (D,) over its sessions with bars.

    ``excess`` (T,) log range less the mean of its bucket, NaN where it says nothing; ``seasonal`` (B,) bucket volatility;
    ``session_of`` (T,) the place of a bar's session among the D; ``session_day`` (D,) their days; ``session_level`` (D,)
    mean excess of each, NaN for short sessions; ``session_rest`` (D,) what of it is not the regime's; ``level`` (T,) the
    volatility level of regime and session together; ``regime_volatility`` (K,).
    """

    series: BarSeries
    found: SessionReturns
    excess: Floats = field(default_factory=lambda: np.zeros(0))
    seasonal: Floats = field(default_factory=lambda: np.zeros(0))
    session_of: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    session_day: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    session_level: Floats = field(default_factory=lambda: np.zeros(0))
    session_rest: Floats = field(default_factory=lambda: np.zeros(0))
    level: Floats = field(default_factory=lambda: np.zeros(0))
    level_law: tuple[float, float] = (0.0, 0.0)
    """Standard deviation and persistence of the session level beside the regime."""
    regime_variance: float = 0.0
    regime_centre: float = 0.0
    """Long-run variance and mean of the regime's log volatility."""
    is_jump: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    regime_volatility: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        name = str(self.series.instrument.id)
        if len(self.found.log_return) < _LEAST_BARS:
            raise UsageError(
                f"{name}: found {len(self.found.log_return)} usable bars, expected {_LEAST_BARS} or more to fit regimes"
            )
        if (self.found.volume == UNKNOWN_VOLUME).any():
            raise UsageError(f"{name}: found bars without a known volume, expected one on every 30-minute bar")

    @property
    def buckets(self) -> int:
        return int(self.found.bucket.max()) + 1


def _by_bucket(work: _FitWork, values: Floats, kept: Bools) -> list[Floats]:
    return [values[kept & (work.found.bucket == bucket)] for bucket in range(work.buckets)]


def _first_seasonality(work: _FitWork) -> None:
    """Volatility of each bucket by the median absolute return, which jumps cannot move."""
    everything = np.ones(len(work.found.bucket), dtype=np.bool_)
    medians = [
        float(np.median(np.abs(part))) if part.size else np.nan
        for part in _by_bucket(work, work.found.log_return, everything)
    ]
    work.seasonal = _without_holes(np.array(medians)) / _NORMAL_MAD


def _without_holes(values: Floats) -> Floats:
    """A bucket without data, or where nothing moves, takes the median of the others."""
    is_good = np.isfinite(values) & (values > 0)
    return np.where(is_good, values, float(np.median(values[is_good])))


def _mark_jumps(work: _FitWork) -> None:
    """A jump is a return beyond six times bucket volatility times the level of the 46 bars around it."""
    scaled = np.abs(work.found.log_return) / work.seasonal[work.found.bucket]
    work.level = local_level(np.minimum(scaled, 4.0), _LEVEL_BARS) / _NORMAL_MEAN_ABS
    work.is_jump = scaled > _JUMP_SCALES * work.level


def _find_session_levels(work: _FitWork) -> None:
    """The mean excess of each session; a short one (a holiday's) says nothing of the level."""
    work.excess = _log_range_over_bucket(work)
    session, work.session_of = np.unique(work.found.session, return_inverse=True)
    work.session_day = work.series.schedule.day_ns[session]
    sums = np.bincount(work.session_of, weights=np.nan_to_num(work.excess))
    counts = np.bincount(work.session_of, weights=np.isfinite(work.excess))
    work.session_level = np.where(counts > _FULL_SESSION * work.buckets, sums / np.maximum(counts, 1), np.nan)


def _log_range_over_bucket(work: _FitWork) -> Floats:
    """(T,) log range less the mean of its bucket; NaN for jumps and bars whose high is their low."""
    excess = np.full(len(work.found.log_range), np.nan)
    is_good = (work.found.log_range > 0) & ~work.is_jump
    excess[is_good] = np.log(work.found.log_range[is_good])
    for bucket in range(work.buckets):
        here = work.found.bucket == bucket
        if np.isfinite(excess[here]).any():
            excess[here] -= float(np.nanmean(excess[here]))
    return excess


def local_level(values: Floats, reach: int) -> Floats:
    """The mean of the ``reach`` values on either side of each of ``values`` (T,), itself left out, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    mean: Floats = (sums[high] - sums[low] - values) / (high - low - 1)
    return mean


def _joint_levels(works: Sequence[_FitWork], sessions: Ints) -> Floats:
    """(D, I) levels of every trading day with any bar; NaN for absent and short sessions."""
    joint = np.full((len(sessions), len(works)), np.nan)
    for i, work in enumerate(works):
        joint[np.searchsorted(sessions, work.session_day), i] = work.session_level
    return joint


@dataclass(frozen=True, slots=True)
class Regimes:
    """A fitted chain: ``transition`` (K, K), ``mean`` (K, I), ``scatter`` (K, I, I), ``posterior`` (T, K)."""

    transition: Floats
    mean: Floats
    scatter: Floats
    posterior: Floats
    log_likelihood: float


def fit_regimes(observed: Floats, count: int) -> Regimes:
    """A hidden Markov chain of ``count`` states over ``observed`` (T, I), by expectation-maximisation.

    A state's observations are multivariate Student-t with five degrees of freedom and a mean and scatter of their own (EM
    with the usual gamma weights: Liu and Rubin, Statistica Sinica 5, 1995; Baum-Welch for the chain). NaN is missing.
    Starts from the quantiles of the local mean; stops when the log-likelihood per value gains less than 1e-7.
    """
    rows, width = observed.shape
    is_seen = np.isfinite(observed)
    filled = np.where(is_seen, observed, 0.0)
    average = filled.sum(axis=1) / np.maximum(is_seen.sum(axis=1), 1)
    level = local_level(average, _LEVEL_SESSIONS)
    edges = np.quantile(level, np.arange(1, count) / count)
    posterior = np.zeros((rows, count))
    posterior[np.arange(rows), np.searchsorted(edges, level)] = 1.0
    transition = np.full((count, count), 0.05 / max(1, count - 1))
    np.fill_diagonal(transition, 0.95 if count > 1 else 1.0)
    weight = np.ones((rows, count))
    patterns = [
        (pattern, np.flatnonzero((is_seen == pattern).all(axis=1)))
        for pattern in np.unique(is_seen, axis=0)
        if pattern.any()
    ]
    mean, scatter = _moments(filled, is_seen, posterior, weight)
    best = log_likelihood = -np.inf
    for _ in range(_MOST_ROUNDS):
        log_density = np.empty((rows, count))
        for k in range(count):
            log_density[:, k], weight[:, k] = _student_t(filled - mean[k], patterns, scatter[k])
        posterior, moves, log_likelihood = forward_backward(log_density, transition, stationary(transition))
        if log_likelihood - best < _TOLERANCE * rows * width:
            break
        best = log_likelihood
        transition = moves / moves.sum(axis=1, keepdims=True)
        mean, scatter = _moments(filled, is_seen, posterior, weight)
    return Regimes(transition, mean, scatter, posterior, log_likelihood)


def _student_t(centred: Floats, patterns: Sequence[tuple[Bools, Ints]], scatter: Floats) -> tuple[Floats, Floats]:
    """Log densities (T,) of the seen parts of the rows, and their EM weights (T,)."""
    density, weight = np.zeros(len(centred)), np.ones(len(centred))
    for pattern, rows in patterns:
        width = int(pattern.sum())
        part = centred[rows][:, pattern]
        matrix = scatter[np.ix_(pattern, pattern)]
        distance = np.einsum("ti,ij,tj->t", part, np.linalg.inv(matrix), part)
        norm = (
            math.lgamma((_DEGREES + width) / 2)
            - math.lgamma(_DEGREES / 2)
            - 0.5 * (width * math.log(_DEGREES * math.pi) + float(np.linalg.slogdet(matrix)[1]))
        )
        density[rows] = norm - 0.5 * (_DEGREES + width) * np.log1p(distance / _DEGREES)
        weight[rows] = (_DEGREES + width) / (_DEGREES + distance)
    return density, weight


def _moments(filled: Floats, is_seen: Bools, posterior: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weighted means (K, I) and scatters (K, I, I) of the seen values; the scatter's divisor is the plain chances' sum."""
    count, width = posterior.shape[1], filled.shape[1]
    seen = is_seen.astype(np.float64)
    mean, scatter = np.empty((count, width)), np.empty((count, width, width))
    for k in range(count):
        heavy = posterior[:, k] * weight[:, k]
        mean[k] = (heavy @ filled) / np.maximum(heavy @ seen, 1e-12)
        centred = np.where(is_seen, filled - mean[k], 0.0)
        mass = np.einsum("t,ti,tj->ij", posterior[:, k], seen, seen)
        scatter[k] = _positive_definite(np.einsum("t,ti,tj->ij", heavy, centred, centred) / np.maximum(mass, 1e-12))
    return mean, scatter


def _positive_definite(matrix: Floats) -> Floats:
    """``matrix`` drawn towards its diagonal where pairs seen at different times leave it indefinite."""
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-12))
    correlation: Floats = matrix / np.outer(scale, scale)
    lowest = float(np.linalg.eigvalsh(correlation)[0])
    if lowest < 1e-3:
        share = (1e-3 - lowest) / (1.0 - lowest)
        correlation = (1.0 - share) * correlation + share * np.eye(len(matrix))
    scatter: Floats = correlation * np.outer(scale, scale)
    return scatter


def forward_backward(log_density: Floats, transition: Floats, start: Floats) -> tuple[Floats, Floats, float]:
    """The smoothed chances (T, K), expected moves (K, K) and log-likelihood of a chain given ``log_density`` (T, K).

    Scaled recursions (Rabiner, Proceedings of the IEEE 77, 1989, section V.A); ``start`` (K,) is the first row's prior.
    """
    top = log_density.max(axis=1)
    density = np.exp(log_density - top[:, None])
    posterior, moves, log_scale = _forward_backward(density, transition, start)
    return posterior, moves, float(log_scale + top.sum())


@kernel
def _forward_backward(density: Floats, transition: Floats, start: Floats) -> tuple[Floats, Floats, float]:
    rows, count = density.shape
    forward = np.empty((rows, count))
    scale = np.empty(rows)
    for t in range(rows):
        total = 0.0
        for k in range(count):
            prior = start[k]
            if t > 0:
                prior = 0.0
                for j in range(count):
                    prior += forward[t - 1, j] * transition[j, k]
            forward[t, k] = prior * density[t, k]
            total += forward[t, k]
        scale[t] = total
        for k in range(count):
            forward[t, k] /= total
    posterior = np.empty((rows, count))
    moves = np.zeros((count, count))
    after = np.ones(count)
    now = np.ones(count)
    for k in range(count):
        posterior[rows - 1, k] = forward[rows - 1, k]
    for t in range(rows - 2, -1, -1):
        for j in range(count):
            total = 0.0
            for k in range(count):
                step = transition[j, k] * density[t + 1, k] * after[k] / scale[t + 1]
                total += step
                moves[j, k] += forward[t, j] * step
            now[j] = total
        for j in range(count):
            after[j] = now[j]
            posterior[t, j] = forward[t, j] * after[j]
    return posterior, moves, np.log(scale).sum()


def _apply_regimes(work: _FitWork, chain: Regimes, sessions: Ints, place: int) -> None:
    """Regime volatilities of the instrument at ``place``, the level of each bar, and bucket volatilities given the levels.

    A session's level is its regime's, plus as much of its own rest as its noise warrants. Regime volatilities are scaled
    so that their mean square over the chain's long run is one; bucket volatilities so that the mean square of the bars is
    the real one.
    """
    share = stationary(chain.transition)
    position = chain.mean[:, place] - float(share @ chain.mean[:, place])
    work.regime_variance = float(share @ position**2)
    volatility = np.exp(position)
    work.regime_volatility = volatility / math.sqrt(float(share @ volatility**2))
    work.regime_centre = float(share @ np.log(work.regime_volatility))
    regime = chain.posterior[np.searchsorted(sessions, work.session_day)] @ chain.mean[:, place]
    work.session_rest = work.session_level - regime
    work.level_law = _level_law(work, chain, position, share)
    warranted = min(1.0, work.level_law[0] ** 2 / float(np.nanvar(work.session_rest)))
    work.level = np.exp(regime + warranted * np.nan_to_num(work.session_rest))[work.session_of]
    kept = ~work.is_jump
    cleaned = (work.found.log_return / work.level) ** 2
    means = np.array([float(part.mean()) if part.size else np.nan for part in _by_bucket(work, cleaned, kept)])
    shape = np.sqrt(_without_holes(means))
    ratio = np.mean(work.found.log_return[kept] ** 2) / np.mean(shape[work.found.bucket[kept]] ** 2)
    work.seasonal = shape * math.sqrt(float(ratio))
    work.level = work.level / math.sqrt(float(ratio))


def _level_law(work: _FitWork, chain: Regimes, position: Floats, share: Floats) -> tuple[float, float]:
    """The AR(1) of the session level beside the regime: the sessions' autocovariance less what the chain implies."""
    covariance = _autocovariance(work.session_level, _SESSION_LAGS)
    after = np.eye(len(share))
    for place in range(len(_SESSION_LAGS)):
        after = after @ chain.transition
        covariance[place] -= float(share @ (position * (after @ position)))
    return _decay_law(covariance)


def _regime_order(works: Sequence[_FitWork]) -> list[int]:
    """States from the calmest to the most stressed, by the mean log volatility over the instruments."""
    level = np.mean([np.log(work.regime_volatility) for work in works], axis=0)
    return [int(state) for state in np.argsort(level, kind="stable")]


def _instrument_parameters(work: _FitWork, order: Sequence[int], is_second: bool) -> InstrumentParameters:
    found, instrument = work.found, work.series.instrument
    chance, jump = _jump_law(work)
    slow, noise, persistence = _volatility_law(work)
    level_sd, level_persistence = work.level_law
    return InstrumentParameters(
        start_price=float(instrument.price_from_ticks(int(work.series.bars["close"][-1]))),
        volatility_by_bucket=_digits(work.seasonal),
        regime_volatility=_digits(work.regime_volatility[list(order)]),
        level_persistence=_digit(level_persistence),
        level_sd=_digit(level_sd),
        volatility_persistence=_digit(persistence),
        volatility_slow_sd=_digit(slow),
        volatility_noise_sd=_digit(noise),
        slot_variance=[_digits(row) for row in _slot_variance(work)],
        jump_probability=_digits(chance),
        jump=jump,
        gap_short=_gap_law(work, ~found.gap_is_long),
        gap_long=_gap_law(work, found.gap_is_long),
        volume=_volume_law(work, is_second),
        assumed=ASSUMED.get(str(instrument.id), ASSUMED["CL"]),
        weekday_volatility=_weekday_volatility(work) if is_second else [],
        weekday_volume=_weekday_volume(work) if is_second else [],
    )


def _weekday_volatility(work: _FitWork) -> list[list[float]]:
    """(5, B) logs of volatility by weekday and bucket beside the session's level; the mean square over a bucket's bars is one."""
    logs = _by_weekday(work, work.excess - np.nan_to_num(work.session_level)[work.session_of])
    logs -= 0.5 * np.log(np.mean(np.exp(2.0 * logs), axis=0))
    return [_digits(row) for row in logs]


def _weekday_volume(work: _FitWork) -> list[list[float]]:
    """(5, B) logs of volume by weekday and bucket beside the session's mean."""
    surprise, _ = _volume_surprise(work)
    logs = _by_weekday(work, surprise - _session_means(work, surprise)[work.session_of])
    return [_digits(row) for row in logs]


def _by_weekday(work: _FitWork, values: Floats) -> Floats:
    """(5, B) means of ``values`` (T,), less their bucket's mean, with the noise of a mean taken off: the non-negative garrote.

    (Breiman, Technometrics 37, 1995.) A mean m of standard error e becomes m (1 - (2 e / m)^2), or 0 where it is within two e: few
    half hours have a weekday of their own, and those by much, so drawing all of them alike towards zero would lose them.
    """
    weekday = (work.series.schedule.day_ns[work.found.session] // NS_PER_DAY + 3) % 7
    means, noise = np.zeros((WEEKDAYS, work.buckets)), np.zeros((WEEKDAYS, work.buckets))
    for bucket in range(work.buckets):
        here = (work.found.bucket == bucket) & np.isfinite(values)
        for day in range(WEEKDAYS):
            cell = values[here & (weekday == day)]
            if len(cell) >= _LEAST_OF_WEEKDAY:
                means[day, bucket] = float(cell.mean()) - float(values[here].mean())
                noise[day, bucket] = float(cell.var()) / len(cell)
    kept = 1.0 - _GARROTE_ERRORS**2 * noise / np.maximum(means**2, 1e-12)
    return means * np.maximum(kept, 0.0)


def _session_means(work: _FitWork, values: Floats) -> Floats:
    """(D,) mean of ``values`` (T,) in each session; 0 where nothing is known."""
    counts = np.bincount(work.session_of, weights=np.isfinite(values))
    means: Floats = np.bincount(work.session_of, weights=np.nan_to_num(values)) / np.maximum(counts, 1)
    return means


def _correlation_law(works: Sequence[_FitWork]) -> tuple[float, float]:
    """Standard deviation and persistence, per trading day, of what is common to the pairs' correlations of a session.

    From the autocovariance of the inverse hyperbolic tangent of each pair's correlation over the bars of a session, the mean over
    the pairs; the noise of one session's correlation plays no part at a distance of one or more.
    """
    covariances: list[Floats] = []
    for i, one in enumerate(works):
        for other in works[:i]:
            _, here, there = np.intersect1d(one.found.half_hour, other.found.half_hour, return_indices=True)
            left, right = (
                np.clip(
                    work.found.log_return / (work.seasonal[work.found.bucket] * work.level), -_GAP_SCALES, _GAP_SCALES
                )[place]
                for work, place in ((one, here), (other, there))
            )
            day = one.session_of[here]
            sums = [
                np.bincount(day, weights=values, minlength=len(one.session_day))
                for values in (left * right, left**2, right**2)
            ]
            counts = np.bincount(day, minlength=len(one.session_day))
            is_whole = counts > _FULL_SESSION * one.buckets
            correlation = np.full(len(counts), np.nan)
            correlation[is_whole] = sums[0][is_whole] / np.sqrt(sums[1] * sums[2])[is_whole]
            covariances.append(_autocovariance(np.arctanh(np.clip(correlation, -0.99, 0.99)), _SESSION_LAGS))
    return _decay_law(np.mean(covariances, axis=0)) if covariances else (0.0, 0.0)


def _jump_law(work: _FitWork) -> tuple[Floats, Tail]:
    """Chance by bucket, drawn towards the average, and size in units of bucket volatility times regime level."""
    count = np.bincount(work.found.bucket, minlength=work.buckets).astype(np.float64)
    jumps = np.bincount(work.found.bucket[work.is_jump], minlength=work.buckets).astype(np.float64)
    mean = float(work.is_jump.mean())
    size = np.abs(work.found.log_return) / (work.seasonal[work.found.bucket] * work.level)
    sizes = size[work.is_jump]
    least = float(np.quantile(sizes, 0.05)) if sizes.size else _JUMP_SCALES
    excess = float(np.maximum(sizes - least, 0).mean()) if sizes.size else 0.0
    return (jumps + _PRIOR_BARS * mean) / (count + _PRIOR_BARS), Tail(
        threshold=_digit(least), mean_excess=_digit(excess)
    )


def _volatility_law(work: _FitWork) -> tuple[float, float, float]:
    """Standard deviations of the slow and the fresh part of the log volatility within a session, and the persistence.

    By autocovariances of the excess of bars of one session, less the variance that regime and session level give to all of
    them. The log range of a Brownian path has a known variance, which is taken off what is left at lag 0.
    """
    common = work.regime_variance + work.level_law[0] ** 2
    centred = work.excess - float(np.nanmean(work.excess))
    covariance = np.empty(len(_BAR_LAGS))
    for place, lag in enumerate(_BAR_LAGS):
        same = work.session_of[lag:] == work.session_of[:-lag]
        covariance[place] = float(np.nanmean((centred[lag:] * centred[:-lag])[same])) - common
    slow, persistence = _decay_law(covariance)
    fresh = float(np.nanvar(work.excess)) - _LOG_RANGE_VARIANCE - common - slow**2
    return slow, math.sqrt(max(fresh, 0.0)), persistence


def _autocovariance(values: Floats, lags: Sequence[int]) -> Floats:
    """Autocovariances of ``values`` (T,), NaN left out, at ``lags``."""
    centred = values - float(np.nanmean(values))
    return np.array([float(np.nanmean(centred[lag:] * centred[:-lag])) for lag in lags])


def _cross_covariance(values: Floats, others: Floats, lags: Sequence[int]) -> Floats:
    """Covariances of ``values`` with ``others`` (both (T,), centred) at ``lags``, the mean of both directions."""
    return np.array(
        [
            0.5 * float(np.nanmean(values[lag:] * others[:-lag]) + np.nanmean(others[lag:] * values[:-lag]))
            for lag in lags
        ]
    )


def _decay_law(covariance: Floats) -> tuple[float, float]:
    """Standard deviation s and persistence p whose s^2 p^lag is nearest to ``covariance`` at lags 1, 2, ... (L,).

    Least squares; p on a grid of hundredths, so that lag 0, where noise sits, plays no part.
    """
    lags = np.arange(1, len(covariance) + 1)
    best = (math.inf, 0.0, 0.0)
    for persistence in np.arange(1, 100) / 100:
        decay = persistence**lags
        variance = max(0.0, float(covariance @ decay) / float(decay @ decay))
        distance = float(((covariance - variance * decay) ** 2).sum())
        if distance < best[0]:
            best = (distance, math.sqrt(variance), float(persistence))
    return best[1], best[2]


def _volume_surprise(work: _FitWork) -> tuple[Floats, Floats]:
    """(T,) log volume over the median of its bucket, centred, NaN where nothing was traded; and the medians (B,)."""
    volume = np.where(work.found.volume > 0, work.found.volume, np.nan)
    medians = _without_holes(
        np.array(
            [
                float(np.nanmedian(part)) if np.isfinite(part).any() else np.nan
                for part in _by_bucket(work, volume, np.ones(len(volume), dtype=np.bool_))
            ]
        )
    )
    surprise = np.log(volume / medians[work.found.bucket])
    return surprise - float(np.nanmean(surprise)), medians


def _volume_law(work: _FitWork, is_second: bool) -> VolumeParameters:
    """Volume against the excess of the log range at some bars' distance; what is left is slow or fresh.

    Sessions apart it follows the level of volatility, bars apart the factor within the session too: two elasticities.
    """
    surprise, medians = _volume_surprise(work)
    driver = work.excess - float(np.nanmean(work.excess))
    # At a distance of one bar or more the noise of a bar's range and of its volume play no part.
    common = work.regime_variance + work.level_law[0] ** 2
    far = [work.buckets * sessions for sessions in range(1, 6)]
    own_far, cross_far = _autocovariance(driver, far), _cross_covariance(surprise, driver, far)
    to_level = float(cross_far @ own_far) / float(own_far @ own_far)
    own = _autocovariance(driver, _BAR_LAGS) - common
    cross = _cross_covariance(surprise, driver, _BAR_LAGS) - to_level * common
    to_factor = float(cross @ own) / float(own @ own)
    explained = to_level**2 * common + to_factor**2 * own
    session_sd = session_persistence = 0.0
    if is_second:
        rest = _session_means(work, surprise) - to_level * work.session_level
        session_sd, session_persistence = _decay_law(_autocovariance(rest, _SESSION_LAGS))
        session_sd = min(session_sd, math.sqrt(float(np.nanvar(rest))))
        explained = explained + session_sd**2
    slow, persistence = _decay_law(_autocovariance(surprise, _BAR_LAGS) - explained)
    factor_variance = max(0.0, float(np.nanvar(driver)) - _LOG_RANGE_VARIANCE - common)
    fresh = float(np.nanvar(surprise)) - to_level**2 * common - to_factor**2 * factor_variance - slow**2 - session_sd**2
    # The simulation's log volatility is not centred, because its mean square is one.
    usual = work.regime_centre - work.level_law[0] ** 2
    return VolumeParameters(
        by_bucket=_digits(medians * math.exp(-to_level * usual)),
        level_elasticity=_digit(to_level),
        factor_elasticity=_digit(to_factor),
        persistence=_digit(persistence),
        slow_sd=_digit(slow),
        noise_sd=_digit(math.sqrt(max(fresh, 0.0))),
        **({"session_persistence": _digit(session_persistence), "session_sd": _digit(session_sd)} if is_second else {}),
    )


def _gap_law(work: _FitWork, chosen: Bools) -> Gap:
    """Scale by the median absolute gap over the regime level, and the share and mean excess beyond four of it."""
    if chosen.sum() < 20:
        raise UsageError(f"{work.series.instrument.id}: found {int(chosen.sum())} usable gaps of a kind, expected 20")
    scaled = np.abs(_scaled_gaps(work)[chosen])
    scale = float(np.median(scaled)) / _NORMAL_MAD
    beyond = scaled[scaled > _GAP_SCALES * scale] / scale
    return Gap(
        scale=_digit(scale),
        tail_probability=_digit(len(beyond) / len(scaled)),
        tail=Tail(
            threshold=_GAP_SCALES, mean_excess=_digit(float((beyond - _GAP_SCALES).mean()) if beyond.size else 0.0)
        ),
    )


def _scaled_gaps(work: _FitWork) -> Floats:
    """(G,) gaps over the regime level of the bar that they open."""
    return work.found.gap / work.level[np.searchsorted(work.found.half_hour, work.found.gap_half_hour)]


def _gap_correlation(works: Sequence[_FitWork]) -> Floats:
    """(I, I) rank-free correlation of gaps on common opens, held to four scales."""
    matrix = np.eye(len(works))
    limited = []
    for work in works:
        gaps = _scaled_gaps(work)
        scale = np.where(work.found.gap_is_long, *(
            float(np.median(np.abs(gaps[kind]))) / _NORMAL_MAD for kind in (work.found.gap_is_long, ~work.found.gap_is_long)
        ))  # fmt: skip
        limited.append(np.clip(gaps / scale, -_GAP_SCALES, _GAP_SCALES))
    for i, one in enumerate(works):
        for j, other in enumerate(works[:i]):
            _, here, there = np.intersect1d(one.found.gap_half_hour, other.found.gap_half_hour, return_indices=True)
            matrix[i, j] = matrix[j, i] = float(np.corrcoef(limited[i][here], limited[j][there])[0, 1])
    return matrix


def _level_correlation(works: Sequence[_FitWork], sessions: Ints) -> Floats:
    """(I, I) correlation of the session levels beside the regime, noise included, on common days."""
    aligned = np.full((len(works), len(sessions)), np.nan)
    for row, work in zip(aligned, works, strict=True):
        row[np.searchsorted(sessions, work.session_day)] = work.session_rest
    common = aligned[:, np.isfinite(aligned).all(axis=0)]
    correlation: Floats = np.atleast_2d(np.corrcoef(common))
    return correlation


def _shock_correlation(works: Sequence[_FitWork], chain: Regimes, sessions: Ints, state: int) -> Floats:
    """(I, I) correlation of the returns of common bars in one regime, robust as the scatter of a Student-t."""
    half_hours = np.unique(np.concatenate([work.found.half_hour for work in works]))
    scaled = np.full((len(half_hours), len(works)), np.nan)
    chance = np.zeros(len(half_hours))
    for i, work in enumerate(works):
        place = np.searchsorted(half_hours, work.found.half_hour)
        value = work.found.log_return / (work.seasonal[work.found.bucket] * work.level)
        scaled[place, i] = np.where(work.is_jump, np.nan, value)
        chance[place] = chain.posterior[np.searchsorted(sessions, work.session_day), state][work.session_of]
    common = np.isfinite(scaled).all(axis=1)
    rows, chance = scaled[common], chance[common, None]
    patterns = [(np.ones(len(works), dtype=np.bool_), np.arange(len(rows)))]
    weight = np.ones((len(rows), 1))
    scatter = np.eye(len(works))
    for _ in range(_SCATTER_ROUNDS):
        heavy = chance * weight
        scatter = _positive_definite((heavy * rows).T @ rows / float(chance.sum()))
        weight = _student_t(rows, patterns, scatter)[1][:, None]
    return _correlation(scatter)


def _slot_variance(work: _FitWork) -> Floats:
    """(B, 6) share of each five-minute slot in its bucket's variance, by mean absolute returns; ones without 5-minute bars."""
    shape = np.ones((work.buckets, SLOTS_PER_BUCKET))
    series = work.series
    if series.fine is None or series.fine_schedule is None:
        return shape
    fine = session_returns(series.fine, series.fine_schedule, FIVE_MINUTES_NS, f"{series.instrument.id}, 5 minutes")
    for bucket in range(work.buckets):
        means = np.full(SLOTS_PER_BUCKET, np.nan)
        for slot in range(SLOTS_PER_BUCKET):
            here = fine.bucket == bucket * SLOTS_PER_BUCKET + slot
            if here.sum() >= 20:
                means[slot] = float(np.abs(fine.log_return[here]).mean()) ** 2
        if np.isfinite(means).any():
            means = np.where(np.isfinite(means), means, float(np.nanmean(means)))
            shape[bucket] = means / means.mean()
    return shape


def _correlation(scatter: Floats) -> Floats:
    scale = np.sqrt(np.diag(scatter))
    matrix: Floats = scatter / np.outer(scale, scale)
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _rounded_rows(transition: Floats) -> list[list[float]]:
    """Rows rounded so that each still sums to one."""
    rounded = transition.round(_DIGITS)
    rounded[np.diag_indices(len(rounded))] += 1.0 - rounded.sum(axis=1)
    return rounded.round(_DIGITS).tolist()  # type: ignore[no-any-return]  # numpy says Any


def _digit(value: float) -> float:
    """Six significant digits, so that the last bits of another processor do not show."""
    return float(f"{value:.{_DIGITS}g}")


def _digits(values: Floats) -> list[float]:
    return [_digit(float(value)) for value in values]


def _inputs(work: _FitWork) -> list[FittedInput]:
    files = list(work.series.files) or [("", hashlib.sha256(work.series.bars.tobytes()).hexdigest())]
    blocks = [work.series.bars, work.series.fine]
    described: list[FittedInput] = []
    for (name, digest), block in zip(files, blocks, strict=False):
        if block is None:
            continue
        is_main = block is work.series.bars
        described.append(
            FittedInput(
                file=name,
                sha256=digest,
                first_close=text_from_ns(int(block["ts_event"][0])),
                last_close=text_from_ns(int(block["ts_event"][-1])),
                bars=len(work.found.log_return) if is_main else len(block),
                bars_left_out=work.found.left_out if is_main else 0,
                gaps=len(work.found.gap) if is_main else 0,
                gaps_left_out=work.found.gaps_left_out if is_main else 0,
            )
        )
    return described
