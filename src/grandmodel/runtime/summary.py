"""The figures of a run: what it earned, what it cost, how it traded, and what was counted on the way.

Every ratio that cannot be known is None, never 0: too few periods for a Sharpe ratio, no round trip for a hit rate.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.compliance.verification import UNSIGNED
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import convert_micros
from grandmodel.domain.orders import Fill
from grandmodel.domain.time import NS_PER_DAY
from grandmodel.execution.simulated.models import (
    ConstantLatency,
    FixedSlippage,
    PerLotFee,
    RandomSlippage,
    VenueSettings,
)
from grandmodel.runtime.results import BOOKED_TAGS, RunResults

TRADING_DAYS_PER_YEAR = 252
MIN_PERIODS = 60
"""Fewer returns than this give no Sharpe or Sortino ratio."""


class InstrumentSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument's trading; money in micros of its own currency."""

    instrument: InstrumentId
    currency: str
    fills: int
    lots_traded: int
    round_trips: int
    winning_round_trips: int
    profit_micros: int
    """Realised and unrealised, after fees."""
    fees_micros: int
    position_lots: int
    slippage_arrival_ticks: float | None
    """Mean cost of a lot against the mark when the order was decided; positive is a cost."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in figures. Money in micros of the base currency unless said otherwise."""

    run: str
    mode: str
    data: str
    simulated_market: bool
    settings_hash: str
    code_version: str
    record_head: str
    signature: str
    """Which key signed the journal, or that none did; ``audit verify`` says whether it is one to trust."""
    start_ns: int
    end_ns: int
    ended: bool
    market_rows: int
    records: int
    capital_micros: int
    equity_micros: int
    profit_micros: int
    fees_micros: int
    return_fraction: float
    sharpe_annual: float | None
    sortino_annual: float | None
    ratio_basis: str
    """Which returns the two ratios are made of, and how many."""
    max_drawdown_fraction: float
    turnover: float
    """Traded notional over mean equity, for the whole run."""
    orders: int
    fills: int
    booked_fills: int
    """Of these, fills that no order asked for: contract rolls and exits before bad stretches, with their fees."""
    costs: str
    """The costs that were assumed: fees, slippage, latency, fill rule."""
    cancels: int
    refused_intents: int
    refused_by_reason: dict[str, int]
    risk_outcomes: dict[str, int]
    round_trips: int
    hit_rate: float | None
    slippage_arrival_micros: int
    """What all fills cost against the mark when their orders were decided; positive is a cost."""
    alerts: dict[str, int]
    quality: dict[str, dict[str, int]]
    latency_us: dict[str, dict[str, float]]
    instruments: tuple[InstrumentSummary, ...]


def summarise(results: RunResults) -> Summary:
    """The figures of ``results``."""
    times, equity = results.equity_curve()
    capital = results.settings.account.capital_micros
    last = results.equity[-1]
    ending = results.ending or {}
    per_instrument = tuple(_instrument_summary(results, name) for name in results.instruments)
    round_trips = sum(one.round_trips for one in per_instrument)
    rates = {results.settings.account.base_currency: 1_000_000, **results.settings.account.rates}
    sharpe, sortino, basis = _ratios(results, times, equity)
    notional = _notional_micros(results, rates)
    quality = {str(name): dict(counts) for name, counts in _table(ending.get("quality")).items()}
    return Summary(
        run=str(results.begin.run),
        mode=results.begin.mode,
        data=results.begin.data,
        simulated_market=results.begin.data.startswith("simulated"),
        settings_hash=results.settings_hash,
        code_version=results.begin.code_version,
        record_head=results.record_head,
        signature=f"signed by key {results.signed_by}" if results.signed_by else UNSIGNED,
        start_ns=int(times[0]) if len(times) else 0,
        end_ns=int(times[-1]) if len(times) else 0,
        ended=results.ending is not None,
        market_rows=sum(counts.get("rows", 0) for counts in quality.values()),
        records=results.records,
        capital_micros=capital,
        equity_micros=last,
        profit_micros=last - capital,
        fees_micros=sum(convert_micros(one.fees_micros, rates[one.currency]) for one in per_instrument),
        return_fraction=last / capital - 1.0,
        sharpe_annual=sharpe,
        sortino_annual=sortino,
        ratio_basis=basis,
        max_drawdown_fraction=max_drawdown(equity),
        turnover=notional / 1e6 / float(equity.mean()) if len(equity) and equity.mean() > 0 else 0.0,
        orders=results.orders,
        fills=len(results.fills),
        booked_fills=sum(fill.tag in BOOKED_TAGS for fill in results.fills),
        costs=describe_costs(results.settings.venue),
        cancels=results.cancels,
        refused_intents=sum(results.refused.values()),
        refused_by_reason=dict(results.refused.most_common()),
        risk_outcomes=dict(results.check_outcomes.most_common()),
        round_trips=round_trips,
        hit_rate=sum(one.winning_round_trips for one in per_instrument) / round_trips if round_trips else None,
        slippage_arrival_micros=_slippage_micros(results, rates),
        alerts=_count_alerts(results),
        quality=quality,
        latency_us=_latency(results.folder),
        instruments=per_instrument,
    )


def describe_costs(venue: VenueSettings) -> str:
    """The venue's assumptions in words, so that nobody has to look for them in the settings."""
    fees = venue.fees
    if isinstance(fees, PerLotFee):
        parts = [f"fee {fees.per_lot_micros / 1e6:.2f} a lot and side"]
    else:
        parts = [f"fee {fees.maker_ppm} / {fees.taker_ppm} millionths of the notional (maker / taker)"]
    slippage = venue.slippage
    if isinstance(slippage, FixedSlippage):
        parts.append(f"slippage {slippage.ticks} ticks on market and stop orders")
    elif isinstance(slippage, RandomSlippage):
        parts.append(f"slippage {slippage.mean_ticks:g} ticks on average on market and stop orders")
    else:
        parts.append("no slippage beyond the price shown")
    latency = venue.latency
    if isinstance(latency, ConstantLatency):
        parts.append(
            f"latency {latency.order / 1e6:g} ms out, {latency.report / 1e6:g} ms back"
            if latency.order or latency.report
            else "no latency"
        )
    else:
        parts.append(f"latency {(latency.floor + latency.median) / 1e6:g} ms at the median")
    parts.append(f"limits fill by {venue.fill_rule.value}, size {venue.liquidity.value}")
    return "; ".join(parts)


def max_drawdown(equity: NDArray[np.float64]) -> float:
    """The largest fraction below the running peak, 0 or more. ``equity`` (R,), positive."""
    if not len(equity):
        return 0.0
    peak = np.maximum.accumulate(equity)
    return float(np.max((peak - equity) / peak))


def sharpe_ratio(returns: NDArray[np.float64], periods_per_year: float) -> float | None:
    """Annualised mean over standard deviation (ddof 1) of simple ``returns`` (N,), no risk-free rate; None if undefined."""
    if len(returns) < MIN_PERIODS:
        return None
    deviation = float(returns.std(ddof=1))
    return None if deviation <= 0.0 else float(returns.mean()) / deviation * math.sqrt(periods_per_year)


def sortino_ratio(returns: NDArray[np.float64], periods_per_year: float) -> float | None:
    """As ``sharpe_ratio``, over the root mean square of the negative returns only (target 0)."""
    if len(returns) < MIN_PERIODS:
        return None
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    return None if downside <= 0.0 else float(returns.mean()) / downside * math.sqrt(periods_per_year)


def period_ends(results: RunResults, times: NDArray[np.int64]) -> tuple[NDArray[np.int64], float, str]:
    """Indices of the records that end a period, periods per year, and the period's name.

    Periods are the trading days of the first instrument where the run has at least ``MIN_PERIODS`` of them, else its
    longest bars.
    """
    first = results.begin.sessions[0] if results.begin.sessions else None
    if first is not None and len(times):
        closes = np.frombuffer(first.close_ns, "<i8")
        days = np.frombuffer(first.day_ns, "<i8")
        place = np.searchsorted(closes, times, side="left").clip(0, len(days) - 1)
        day = days[place]
        ends = np.flatnonzero(np.diff(day, append=-1) != 0)
        if len(ends) > MIN_PERIODS:
            return ends.astype(np.int64), float(TRADING_DAYS_PER_YEAR), "daily"
    width = max(results.settings.widths_ns)
    bins = (times - 1) // width  # What happens at a bar's close belongs to that bar.
    ends = np.flatnonzero(np.diff(bins, append=-1) != 0).astype(np.int64)
    hours = 23.0
    return ends, TRADING_DAYS_PER_YEAR * hours * NS_PER_DAY / 24.0 / width, f"{width // 60_000_000_000}-minute"


def _ratios(
    results: RunResults, times: NDArray[np.int64], equity: NDArray[np.float64]
) -> tuple[float | None, float | None, str]:
    ends, per_year, name = period_ends(results, times)
    sampled = equity[ends]
    if len(sampled) < 2 or (sampled <= 0).any():
        return None, None, f"{name} returns: too few or equity not positive"
    returns = np.diff(sampled) / sampled[:-1]
    basis = f"{len(returns)} {name} returns, {per_year:,.0f} a year"
    return sharpe_ratio(returns, per_year), sortino_ratio(returns, per_year), basis


def _instrument_summary(results: RunResults, name: InstrumentId) -> InstrumentSummary:
    instrument = results.instruments[name]
    fills = [fill for fill in results.fills if fill.instrument == name]
    trips = round_trip_results(fills, instrument.tick_value_micros)
    ticks = lots = 0
    for fill in fills:
        if fill.reference_price is not None and fill.tag not in BOOKED_TAGS:
            ticks += (fill.price - fill.reference_price) * fill.signed_quantity
            lots += fill.quantity
    position = sum(fill.signed_quantity for fill in fills)
    cash = -sum(fill.signed_quantity * fill.price for fill in fills) * instrument.tick_value_micros
    fees = sum(fill.fee_micros for fill in fills)
    mark = _table(_table(results.ending or {}).get("positions")).get(name, {}).get("mark_ticks", 0)
    history = results.history[name]
    if not results.ending and history.closes:
        mark = history.closes[-1]
    value = position * int(mark) * instrument.tick_value_micros if position else 0
    return InstrumentSummary(
        instrument=name,
        currency=instrument.currency,
        fills=len(fills),
        lots_traded=sum(fill.quantity for fill in fills),
        round_trips=len(trips),
        winning_round_trips=sum(trip > 0 for trip in trips),
        profit_micros=cash + value - fees,
        fees_micros=fees,
        position_lots=position,
        slippage_arrival_ticks=ticks / lots if lots else None,
    )


def round_trip_results(fills: list[Fill], tick_value_micros: int) -> list[int]:
    """Profit after fees, micros, of each stretch from flat to flat of one instrument; a turn ends one and begins the next."""
    trips: list[int] = []
    lots = cash = 0
    for fill in fills:
        signed = fill.signed_quantity
        closing = min(abs(signed), abs(lots)) if lots and (lots > 0) != (signed > 0) else 0
        side = 1 if signed > 0 else -1
        fee_closing = fill.fee_micros * closing // fill.quantity
        cash -= closing * side * fill.price * tick_value_micros + fee_closing
        lots += closing * side
        if closing and lots == 0:
            trips.append(cash)
            cash = 0
        opening = abs(signed) - closing
        if opening:
            lots += opening * side
            cash -= opening * side * fill.price * tick_value_micros + fill.fee_micros - fee_closing
    return trips


def _notional_micros(results: RunResults, rates: dict[str, int]) -> int:
    total = 0
    for fill in results.fills:
        instrument = results.instruments[fill.instrument]
        total += convert_micros(abs(instrument.value_micros(fill.price, fill.quantity)), rates[instrument.currency])
    return total


def _slippage_micros(results: RunResults, rates: dict[str, int]) -> int:
    total = 0
    for fill in results.fills:
        if fill.reference_price is not None:
            instrument = results.instruments[fill.instrument]
            cost = instrument.value_micros(fill.price - fill.reference_price, fill.signed_quantity)
            total += convert_micros(cost, rates[instrument.currency])
    return total


def _count_alerts(results: RunResults) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, alert in results.alerts:
        counts[alert.code] = counts.get(alert.code, 0) + 1
    return counts


def _latency(folder: Path) -> dict[str, dict[str, float]]:
    path = folder / "latency.json"
    if not path.is_file():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, float]])


def _table(value: object) -> dict[str, dict[str, int]]:
    return value if isinstance(value, dict) else {}
