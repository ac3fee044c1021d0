"""What one competitor made: return, ratios, drawdown, turnover, hit rates, costs, and how much money the idea can carry.

Everything follows from ``EquityPath``: the account after each bar, in integer micros, and what was held and traded.
Returns are profits over the capital at the beginning, a trading day each, so that days, folds and markets add up. Days on
which nothing could be decided and nothing was earned are not counted; days without a position are, as 0.

Capacity: a larger account trades more lots of the same idea and pays for it. An order of Q lots moves the price by
Y x (deviation of one bar's move) x sqrt(Q / volume of the bar) on average, the square-root law with Y about 1 (Toth et al.,
2011; Almgren et al., 2005, found the exponent 0.6). Spread and fees are in the path already and grow with the lots alone.
Read ``statistics.py`` for what the ratios are worth, ``walk_forward.py`` next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.instruments import MICROS_PER_UNIT
from grandmodel.performance.drawdown import deepest_drawdown
from grandmodel.performance.ratios import RatioEstimate, moments, sharpe_estimate, sharpe_ratio, sortino_estimate
from grandmodel.research.errors import EvaluationError
from grandmodel.research.statistics import bootstrap_sharpe, minimum_track_record, probabilistic_sharpe

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

IMPACT_COEFFICIENT = 1.0
"""Y of the square-root law."""
CAPITALS_USD = (1e6, 1e7, 1e8)
_YEAR_NS = 365.25 * 86_400e9
_LONGEST_PAUSE_NS = 10 * 86_400 * 10**9
_LARGEST_GROWTH = 1e6


@dataclass(frozen=True, slots=True)
class EquityPath:
    """One competitor's walk through one market. Arrays have one entry per bar, (T,), in order of time."""

    market: str
    ts_event: Integers
    """Closes, int64 ns UTC."""
    day: Integers
    """Trading day of each bar; see ``TrainingMarket.day``."""
    is_open: Bools
    """Whether a decision could be taken at the bar."""
    capital_micros: int
    """The account before the first bar."""
    equity_micros: Integers
    """The account after each bar."""
    lots: Integers
    """Held after each bar, signed."""
    traded_lots: Integers
    """Lots bought and sold in each bar, 0 or more."""
    cost_micros: Integers
    """Fees, spread and slippage of those, positive."""
    full_lots: Floats
    """Lots that an exposure of 1 stands for, not rounded."""
    lot_notional_micros: Floats
    """Value of one lot."""
    impact_micros: Floats
    """What one lot costs in impact if as much is traded as the bar's whole volume: deviation of a move, in money; NaN: unknown."""
    volume: Floats
    """Lots that the market traded in the bar; NaN where not known."""
    refused_lots: int = 0
    """Lots wished for that the gate did not let through."""
    breaches: int = 0
    """Times that a drawdown or a day's loss closed the position until the next day."""

    def __post_init__(self) -> None:
        """Refuse what would be measured wrongly: other lengths, time running backwards, no capital."""
        n = len(self.ts_event)
        for name in (
            "day",
            "is_open",
            "equity_micros",
            "lots",
            "traded_lots",
            "cost_micros",
            "full_lots",
            "lot_notional_micros",
            "impact_micros",
            "volume",
        ):
            if len(getattr(self, name)) != n:
                raise EvaluationError(
                    f"path of {self.market}: found {len(getattr(self, name))} entries of {name} for {n} bars"
                )
        if n == 0 or (np.diff(self.ts_event) <= 0).any() or self.capital_micros <= 0:
            raise EvaluationError(
                f"path of {self.market}: found {n} bars and a capital of {self.capital_micros} micros, "
                "expected bars in order of time and a capital above 0"
            )

    @property
    def pnl_micros(self) -> Integers:
        """(T,) what each bar made, after costs."""
        return np.diff(self.equity_micros, prepend=self.capital_micros)


class Capacity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a Sharpe ratio falls with the capital behind it."""

    capitals_usd: list[float]
    sharpes: list[float | None]
    """Annual, by capital; None where the volume is not known, so that nothing can be said."""
    halves_at_usd: float | None
    """Capital at which it is half of that without impact; None where there is no edge, or nothing can be said."""


class Measures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One competitor over one stretch of time. Shares are fractions; money is in the account's currency."""

    days: int
    periods_per_year: float
    net_return: float
    """Profit after costs over the capital."""
    annual_return: float
    annual_volatility: float
    sharpe: RatioEstimate
    """Annual, with the normal interval that allows for autocorrelation."""
    bootstrap_low: float
    bootstrap_high: float
    """Of the annual Sharpe ratio, stationary bootstrap."""
    probability_above_zero: float
    """Probabilistic Sharpe ratio against 0."""
    track_record_years: float | None
    """Minimum track record for 95 %; None where the ratio is not above 0."""
    sortino: float | None
    """Annual; None where no day lost."""
    max_drawdown: float
    """Of the running peak, bar by bar."""
    drawdown_days: int
    """Trading days from the deepest drawdown's peak to its recovery, or to the end."""
    lots_per_day: float
    notional_per_day: float
    trades: int
    trade_hit_rate: float | None
    """Share of round trips that made money; None without any."""
    day_hit_rate: float | None
    """Share of days that made money among those that made or lost any."""
    costs: float
    cost_share: float | None
    """Costs over the profit before costs; None where there was none."""
    refused_lots: int
    """Lots wished for that the risk gate did not let through."""
    breaches: int
    """Times that a drawdown or a day's loss closed everything until the next day."""
    mean_exposure: float
    """Mean of the lots held over those of full exposure, without sign, where a decision could be taken."""
    capacity: Capacity


def daily_returns(paths: Sequence[EquityPath]) -> tuple[Integers, Floats]:
    """(days (D,), returns (D,)): what all ``paths`` made on a trading day over the sum of their capitals.

    A day counts where one of them could decide, traded, or made or lost anything.
    """
    parts_day, parts_pnl, parts_seen = [], [], []
    for path in paths:
        parts_day.append(path.day)
        parts_pnl.append(path.pnl_micros)
        parts_seen.append(path.is_open | (path.pnl_micros != 0) | (path.traded_lots > 0))
    day, pnl, seen = np.concatenate(parts_day), np.concatenate(parts_pnl), np.concatenate(parts_seen)
    days, place = np.unique(day, return_inverse=True)
    total = np.zeros(len(days), np.int64)
    np.add.at(total, place, pnl)
    counted = np.zeros(len(days), np.bool_)
    counted[place[seen]] = True
    return days[counted].astype(np.int64), total[counted] / float(_capital(paths))


def periods_per_year(paths: Sequence[EquityPath]) -> float:
    """Trading days of a year as these markets met them: days over the time between them; pauses above ten days are left out."""
    ends: dict[int, int] = {}
    for path in paths:
        last = np.flatnonzero(np.diff(path.day, append=path.day[-1] + 1))
        for day, ts in zip(path.day[last].tolist(), path.ts_event[last].tolist(), strict=True):
            ends[day] = max(ends.get(day, ts), ts)
    between = np.diff(sorted(ends.values()))
    between = between[between <= _LONGEST_PAUSE_NS]
    if not len(between):
        raise EvaluationError(f"path: found {len(ends)} trading day(s), expected at least 2 that follow each other")
    return len(between) * _YEAR_NS / float(between.sum())


def joint_equity(paths: Sequence[EquityPath]) -> tuple[Integers, Integers]:
    """(ts (U,), equity_micros (U,)) of all ``paths`` as one account, at every close of any."""
    times = np.unique(np.concatenate([path.ts_event for path in paths]))
    total = np.zeros(len(times), np.int64)
    for path in paths:
        known = np.concatenate([[path.capital_micros], path.equity_micros])
        total += known[np.searchsorted(path.ts_event, times, side="right")]
    return times, total


def joined_in_time(paths: Sequence[EquityPath]) -> EquityPath:
    """Walks of one market over spans that follow each other, as one walk: profits add up on the first one's capital.

    Raises ``EvaluationError`` where markets or capitals differ, or spans overlap.
    """
    first = paths[0]
    if any(path.market != first.market or path.capital_micros != first.capital_micros for path in paths):
        raise EvaluationError("paths to join: found several markets or capitals, expected one")
    equity = first.capital_micros + np.cumsum(np.concatenate([path.pnl_micros for path in paths]))

    def whole(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(path, name) for path in paths])

    return EquityPath(
        market=first.market,
        ts_event=whole("ts_event"),
        day=whole("day"),
        is_open=whole("is_open"),
        capital_micros=first.capital_micros,
        equity_micros=equity.astype(np.int64),
        lots=whole("lots"),
        traded_lots=whole("traded_lots"),
        cost_micros=whole("cost_micros"),
        full_lots=whole("full_lots"),
        lot_notional_micros=whole("lot_notional_micros"),
        impact_micros=whole("impact_micros"),
        volume=whole("volume"),
        refused_lots=sum(path.refused_lots for path in paths),
        breaches=sum(path.breaches for path in paths),
    )


def trade_profits(path: EquityPath) -> Integers:
    """(K,) micros that each round trip made: from a flat or opposite position to the next flat or opposite one.

    The bar in which a position is closed belongs to it; the bar in which it is turned belongs to the new one.
    """
    side = np.sign(path.lots)
    before = np.concatenate([[0], side[:-1]])
    owner_side = np.where(side != 0, side, before)
    begins = (side != 0) & (side != before)
    number = np.cumsum(begins)
    held = owner_side != 0
    profits = np.zeros(int(number[-1]) if len(number) else 0, np.int64)
    np.add.at(profits, number[held] - 1, path.pnl_micros[held])
    return profits


def impact_costs(path: EquityPath, growth: float = 1.0) -> Floats:
    """(T,) micros that the square-root law asks for if ``growth`` times the lots are traded, in money of that larger account.

    Where a bar's volume or deviation is not known, the path's median of what is known stands in; all NaN where none is.
    """
    volume = _filled(np.where(path.volume > 0.0, path.volume, np.nan))
    impact = _filled(path.impact_micros)
    lots = growth * path.traded_lots
    costs: Floats = IMPACT_COEFFICIENT * lots * impact * np.sqrt(lots / volume)
    return costs


def capacity(paths: Sequence[EquityPath], per_year: float, currency_micros: int = MICROS_PER_UNIT) -> Capacity:
    """The annual Sharpe ratio with 1, 10 and 100 million behind the same idea, and where it halves; see the module."""
    capital = _capital(paths) / currency_micros
    _, base = daily_returns(paths)
    own = _daily_impact(paths)

    def annual(growth: float) -> float:
        # Impact of g times the lots is g^1.5 times the money, on g times the capital.
        return sharpe_ratio(base - math.sqrt(growth) * own) * math.sqrt(per_year)

    capitals = list(CAPITALS_USD)
    if not np.isfinite(own).all():
        return Capacity(capitals_usd=capitals, sharpes=[None] * len(capitals), halves_at_usd=None)
    sharpes: list[float | None] = [annual(size / capital) for size in capitals]
    return Capacity(capitals_usd=capitals, sharpes=sharpes, halves_at_usd=_halving(annual, capital))


def measure(paths: Sequence[EquityPath], generator: np.random.Generator, level: float = 0.95) -> Measures:
    """Everything about one competitor: ``paths`` are its walks of one stretch of time, one per market.

    ``generator`` draws the bootstrap. Raises ``UsageError`` for fewer than 8 trading days.
    """
    per_year = periods_per_year(paths)
    days, returns = daily_returns(paths)
    found = moments(returns)
    root = math.sqrt(per_year)
    low, high = bootstrap_sharpe(returns, generator, level)
    sortino = sortino_estimate(returns, level)
    times, equity = joint_equity(paths)
    depth, top, end = deepest_drawdown(np.concatenate([[_capital(paths)], equity]))
    profits = np.concatenate([trade_profits(path) for path in paths])
    lots = sum(int(path.traded_lots.sum()) for path in paths)
    notional = sum(float((path.traded_lots * path.lot_notional_micros).sum()) for path in paths)
    costs = sum(int(path.cost_micros.sum()) for path in paths)
    net = int(equity[-1]) - _capital(paths)
    moving = returns[returns != 0.0]
    years = minimum_track_record(found) / per_year
    return Measures(
        days=len(days),
        periods_per_year=per_year,
        net_return=net / _capital(paths),
        annual_return=float(returns.mean()) * per_year,
        annual_volatility=float(returns.std()) * root,
        sharpe=sharpe_estimate(returns, level).annual(per_year),
        bootstrap_low=low * root,
        bootstrap_high=high * root,
        probability_above_zero=probabilistic_sharpe(found),
        track_record_years=years if math.isfinite(years) else None,
        sortino=None if sortino is None else sortino.annual(per_year).value,
        max_drawdown=depth,
        drawdown_days=_days_between(paths, times, top, end),
        lots_per_day=lots / len(days),
        notional_per_day=notional / MICROS_PER_UNIT / len(days),
        trades=len(profits),
        trade_hit_rate=float((profits > 0).mean()) if len(profits) else None,
        day_hit_rate=float((moving > 0.0).mean()) if len(moving) else None,
        costs=costs / MICROS_PER_UNIT,
        cost_share=costs / (net + costs) if net + costs > 0 else None,
        refused_lots=sum(path.refused_lots for path in paths),
        breaches=sum(path.breaches for path in paths),
        mean_exposure=_mean_exposure(paths),
        capacity=capacity(paths, per_year),
    )


def _capital(paths: Sequence[EquityPath]) -> int:
    return sum(path.capital_micros for path in paths)


def _filled(values: Floats) -> Floats:
    known = values[np.isfinite(values)]
    if not len(known):
        return np.full(len(values), np.nan)
    return np.where(np.isfinite(values), values, np.median(known))


def _daily_impact(paths: Sequence[EquityPath]) -> Floats:
    """(D,) impact at the paths' own size over their capital, on the days of ``daily_returns``."""
    days, _ = daily_returns(paths)
    total = np.zeros(len(days))
    for path in paths:
        costs = impact_costs(path)
        traded = path.traded_lots > 0
        np.add.at(total, np.searchsorted(days, path.day[traded]), costs[traded])
    return total / float(_capital(paths))


def _halving(annual: Callable[[float], float], capital: float) -> float | None:
    """Capital at which the ratio is half of that without impact, by bisection on the growth."""
    target = 0.5 * annual(0.0)
    if target <= 0.0 or annual(_LARGEST_GROWTH) > target:
        return None
    low, high = 0.0, _LARGEST_GROWTH
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if annual(middle) > target else (low, middle)
    return 0.5 * (low + high) * capital


def _days_between(paths: Sequence[EquityPath], times: Integers, top: int, end: int) -> int:
    """Trading days from place ``top`` to place ``end`` of the joint equity, whose place 0 is the capital before the first bar."""
    if end == 0:
        return 0
    start_ns, end_ns = int(times[max(top - 1, 0)]), int(times[end - 1])
    days, _ = daily_returns(paths)
    inside = [path.day[(path.ts_event >= start_ns) & (path.ts_event <= end_ns)] for path in paths]
    return int(np.isin(days, np.concatenate(inside)).sum())


def _mean_exposure(paths: Sequence[EquityPath]) -> float:
    shares = []
    for path in paths:
        known = path.is_open & (path.full_lots > 0.0)
        shares.append(np.abs(path.lots[known]) / path.full_lots[known])
    together = np.concatenate(shares)
    return float(together.mean()) if len(together) else 0.0
