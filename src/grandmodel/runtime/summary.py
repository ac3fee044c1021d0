"""The figures of a run: what it earned, what it cost, how it traded, and what was counted on the way.

Every ratio that cannot be known is None, never 0, and says why: too few periods, returns that do not vary, an account below 0. One that can
be known carries its interval. Where a model had seen part of the run before, there is none over the whole of it: each part has its
own, under its name (``samples.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument, convert_micros
from grandmodel.domain.orders import Fill, PriceReference
from grandmodel.domain.time import text_from_ns
from grandmodel.journal.verification import UNSIGNED
from grandmodel.performance.drawdown import deepest_drawdown
from grandmodel.performance.periods import bars_per_year, busiest_schedule, trading_days_per_year
from grandmodel.performance.ratios import AnnualRatios
from grandmodel.risk.refusals import RefusalCounts
from grandmodel.risk.tree import is_below
from grandmodel.runtime.results import BOOKED_TAGS, BookedSplit, RunResults, is_on_simulated_market
from grandmodel.runtime.samples import Samples, ratios_of, split_run
from grandmodel.simulation.models import (
    ConstantLatency,
    FixedSlippage,
    PerLotFee,
    RandomSlippage,
    VenueSettings,
)

MIN_PERIODS = 60
"""Fewer returns than this give no Sharpe or Sortino ratio."""

_LADDER_MEANT = {
    "caution": "what an order would lead to was halved, one lot to none",
    "reduce": "no new risk was taken",
    "halt": "no new risk was taken",
    "killed": "nothing left for the venue",
}


class FillCost(msgspec.Struct, frozen=True, kw_only=True):
    """What the fills of one kind of order cost beside their fees; positive is a cost.

    Slippage is measured from ``reference``, delay from the mark at the decision to it: both together are the whole way from the decision
    to the fill.
    """

    reference: str
    """``trigger`` (stops), ``limit`` (limits), ``quote`` or ``mark`` at arrival (market orders); ``domain.orders.PriceReference``."""
    lots: int
    slippage_ticks: float
    """Mean of a lot."""
    slippage_micros: int
    """In the instrument's currency."""
    delay_ticks: float | None
    """Mean of a lot; None where the mark at the decision is not known for one of the fills."""
    delay_micros: int | None


class InstrumentSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument's trading; money in micros of its own currency."""

    instrument: InstrumentId
    currency: str
    fills: int
    lots_traded: int
    round_trips: int
    winning_round_trips: int
    profit_micros: int
    """Realised and unrealised, after fees, with the cash flows of the instrument."""
    cash_flows_micros: int
    """Dividends, funding and whatever else was paid for it, at the last rates."""
    fees_micros: int
    position_lots: int
    fill_costs: tuple[FillCost, ...]
    """By kind of order. Contract rolls and exits before bad stretches have none."""
    unmeasured_lots: int
    """Lots of orders whose reference is not known: a venue that does not tell, a journal of an older version."""


class AccountSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One account below the run's own: what it earned, and how it traded. Money in micros of the base currency; one above others has the sums."""

    account: str
    parent: str
    """Empty: the run's own."""
    trades: bool
    """False for an account that stands above others."""
    capital_micros: int
    """At the start."""
    equity_micros: int | None
    """At the end; None where the run did not come to one."""
    profit_micros: int | None
    """After fees, without what the owner brought or took."""
    fees_micros: int
    fills: int
    lots_traded: int
    round_trips: int
    winning_round_trips: int
    ladder: str
    """Where its own ladder stood at the end; an account above may have bound it further."""


class Summary(AnnualRatios, frozen=True, kw_only=True):
    """A run in figures. Money in micros of the base currency unless said otherwise.

    The ratios stand here only where all of the run is out-of-sample, or no trained model decided; else in the parts of ``samples``.
    """

    run: str
    mode: str
    data: str
    simulated_market: bool
    traded_by: tuple[str, ...]
    """Which model trades which instrument, and why one does not; empty where the agents are rules."""
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
    """Of the starting capital; time-weighted, so that deposits and withdrawals are neither gain nor loss."""
    transfers_micros: int
    """What the owner brought, less what was taken: no profit."""
    cash_flows_micros: dict[str, int]
    """What cash moved without a trade, by kind (``dividend``, ``funding``, ...), at the rates of its time."""
    growth_ends_ns: int | None
    """From here on return, drawdown and ratios are not known: money was brought or taken while equity was not above 0. None: known."""
    samples: Samples
    """What the run's models had seen of it before."""
    max_drawdown_fraction: float
    """Of the running peak; above 1 where the account fell below 0."""
    turnover: float | None
    """Traded notional over mean equity, for the whole run; None where mean equity is not above 0."""
    orders: int
    fills: int
    booked_fills: int
    """Of these, fills that no order asked for: contract rolls and exits before bad stretches, with their fees."""
    costs: str
    """The costs that were assumed: fees, slippage, latency, fill rule."""
    cancels: int
    refusals: RefusalCounts
    """What was refused and cut: the same numbers in the risk report and in ``audit show --refused``."""
    round_trips: int
    """From flat to flat; a contract roll ends one and begins the next."""
    hit_rate: float | None
    slippage_micros: int
    """What all fills of orders cost against the reference of their kind; positive is a cost."""
    delay_micros: int
    """What the market moved from the decision of market orders to their arrival; of stops and limits see ``fill_costs``."""
    alerts: dict[str, int]
    ladder: str
    """Where the risk ladder stood at the end, since when and by what; empty where it stood at normal."""
    quality: dict[str, dict[str, int]]
    latency_us: dict[str, dict[str, float]]
    instruments: tuple[InstrumentSummary, ...]
    accounts: tuple[AccountSummary, ...]
    """Those below the run's own, in the order of the settings; none where that one trades itself."""


def summarise(results: RunResults) -> Summary:
    """The figures of ``results``."""
    times, equity = results.equity_curve()
    _, growth, _ = results.growth_curve()
    transfers = sum(moved for _, moved in results.transfers)
    capital = results.settings.account.capital_micros
    last = results.equity[-1]
    ending = results.ending or {}
    per_instrument = tuple(_instrument_summary(results, name) for name in results.instruments)
    round_trips = sum(one.round_trips for one in per_instrument)
    rates = results.rates_micros
    ratios, samples = _ratios(results)
    notional = _notional_micros(results, rates)
    quality = {str(name): dict(counts) for name, counts in _table(ending.get("quality")).items()}
    return Summary(
        run=str(results.begin.run),
        mode=results.begin.mode,
        data=results.begin.data,
        simulated_market=is_on_simulated_market(results.begin),
        traded_by=results.traded_by,
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
        profit_micros=last - capital - transfers,
        fees_micros=sum(convert_micros(one.fees_micros, rates[one.currency]) for one in per_instrument),
        return_fraction=float(growth[-1]) * 1e6 / capital - 1.0
        if results.transfers and len(growth)
        else last / capital - 1.0,
        transfers_micros=transfers,
        cash_flows_micros=_by_kind(results),
        growth_ends_ns=results.growth_ends_ns,
        **msgspec.structs.asdict(ratios),
        samples=samples,
        max_drawdown_fraction=deepest_drawdown(growth)[0],
        turnover=notional / 1e6 / float(equity.mean()) if len(equity) and equity.mean() > 0 else None,
        orders=results.orders,
        fills=len(results.fills),
        booked_fills=sum(fill.tag in BOOKED_TAGS for fill in results.fills),
        costs=describe_costs(results.settings.venue),
        cancels=results.cancels,
        refusals=results.refusals.counts(),
        round_trips=round_trips,
        hit_rate=sum(one.winning_round_trips for one in per_instrument) / round_trips if round_trips else None,
        slippage_micros=_cost_micros(per_instrument, rates, "slippage_micros"),
        delay_micros=_cost_micros(per_instrument, rates, "delay_micros", (PriceReference.QUOTE, PriceReference.MARK)),
        alerts=_count_alerts(results),
        ladder=_ladder_at_end(results),
        quality=quality,
        latency_us=_latency(results.folder),
        instruments=per_instrument,
        accounts=tuple(_account_summary(results, name) for name in results.settings.accounts or {}),
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
    if venue.half_spread_ticks:
        parts.append(f"where no quote is known (bars, trades alone) {venue.half_spread_ticks} tick(s) for what takes")
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


def period_ends(results: RunResults, times: NDArray[np.int64]) -> tuple[NDArray[np.int64], float | None, str]:
    """Indices of the records that end a period, periods per year (None: not known), and the period's name.

    Periods are trading days where the run has at least ``MIN_PERIODS`` of them, else its longest bars. Days, and how many periods make a
    year, come from the sessions of the run's own instruments: of several the one with the most trading days.
    """
    schedule = busiest_schedule(results.schedules)
    if schedule is not None and len(times):
        place = np.searchsorted(schedule.close_ns, times, side="left").clip(0, len(schedule) - 1)
        day = schedule.day_ns[place]
        ends = np.flatnonzero(np.diff(day, append=-1) != 0)
        if len(ends) > MIN_PERIODS:
            return ends.astype(np.int64), trading_days_per_year(schedule), "daily"
    width = max(results.settings.widths_ns)
    bins = (times - 1) // width  # What happens at a bar's close belongs to that bar.
    ends = np.flatnonzero(np.diff(bins, append=-1) != 0).astype(np.int64)
    per_year = None if schedule is None else bars_per_year(schedule, width)
    return ends, per_year, f"{width / 60_000_000_000:g}-minute"


def _ratios(results: RunResults) -> tuple[AnnualRatios, Samples]:
    """The ratios of the whole run where they may stand alone, and its parts; of its growth, without what the owner brought or took."""
    times, growth, earned = results.growth_curve()
    ends, per_year, name = period_ends(results, times)
    if len(ends) and ends[0] > 0:
        ends = np.concatenate([[0], ends])  # The first period begins with the first record.
    samples = split_run(results, times[ends], growth[ends], per_year, name, MIN_PERIODS, earned[ends])
    if samples.is_mixed:
        absent = "see the parts: a model had seen some of this run before, or what it had seen is not known"
        return AnnualRatios(sharpe_absent=absent, sortino_absent=absent, ratio_basis=samples.text), samples
    return ratios_of(growth[ends], per_year, name, MIN_PERIODS), samples


def _instrument_summary(results: RunResults, name: InstrumentId) -> InstrumentSummary:
    instrument = results.instruments[name]
    fills = [fill for fill in results.fills if fill.instrument == name]
    splits = results.splits.get(name, [])
    trips = _trips_of(instrument, fills, splits)
    costs = fill_costs(fills, instrument.tick_value_micros)
    asked = sum(fill.quantity for fill in fills if fill.tag not in BOOKED_TAGS)
    position = sum(_position_of(own, parts) for own, parts in _by_account(fills, splits))
    flows = _flows_of(results, instrument)
    cash = (
        flows
        + sum(one.paid_micros for one in splits)
        - sum(fill.signed_quantity * fill.price for fill in fills) * instrument.tick_value_micros
    )
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
        cash_flows_micros=flows,
        fees_micros=fees,
        position_lots=position,
        fill_costs=costs,
        unmeasured_lots=asked - sum(cost.lots for cost in costs),
    )


def _by_account(fills: Sequence[Fill], splits: Sequence[BookedSplit]) -> Iterator[tuple[list[Fill], list[BookedSplit]]]:
    """The fills and splits of one instrument, account by account."""
    for name in dict.fromkeys((*(fill.account for fill in fills), *(one.account for one in splits))):
        yield [fill for fill in fills if fill.account == name], [one for one in splits if one.account == name]


def _position_of(fills: Sequence[Fill], splits: Sequence[BookedSplit]) -> int:
    """Lots held at the end, of one account."""
    began, held = (splits[-1].fills_before, splits[-1].lots) if splits else (0, 0)
    return held + sum(fill.signed_quantity for fill in fills[began:])


def _trips_of(instrument: Instrument, fills: Sequence[Fill], splits: Sequence[BookedSplit]) -> list[int]:
    """The round trips of one instrument: each account has its own."""
    return [
        trip
        for own, parts in _by_account(fills, splits)
        for trip in round_trip_results(own, instrument.tick_value_micros, parts)
    ]


def _account_summary(results: RunResults, name: str) -> AccountSummary:
    accounts = results.settings.accounts or {}
    below = [trader for trader in results.settings.traders if is_below(trader, name, accounts)]
    fills = [fill for fill in results.fills if fill.account in below]
    trips: list[int] = []
    fees = 0
    for instrument in results.instruments.values():
        own = [fill for fill in fills if fill.instrument == instrument.id]
        trips += _trips_of(
            instrument, own, [one for one in results.splits.get(instrument.id, []) if one.account in below]
        )
        fees += convert_micros(sum(fill.fee_micros for fill in own), results.rates_micros[instrument.currency])
    capital = sum(accounts[trader].capital_micros for trader in below)
    brought = sum(one.moved_micros for one in results.flows if one.flow.is_transfer and one.flow.account in below)
    ending: dict[str, Any] = _table((results.ending or {}).get("accounts")).get(name, {})
    equity = ending.get("equity_micros")
    return AccountSummary(
        account=name,
        parent=accounts[name].parent,
        trades=name in below,
        capital_micros=capital,
        equity_micros=equity,
        profit_micros=None if equity is None else equity - capital - brought,
        fees_micros=fees,
        fills=len(fills),
        lots_traded=sum(fill.quantity for fill in fills),
        round_trips=len(trips),
        winning_round_trips=sum(trip > 0 for trip in trips),
        ladder=str(ending.get("state", "")),
    )


def _flows_of(results: RunResults, instrument: Instrument) -> int:
    """Cash that moved for ``instrument``, in micros of its currency at the last rates."""
    rates = results.rates_micros
    total = 0
    for one in results.flows:
        flow = one.flow
        if flow.instrument == instrument.id:
            amount = flow.amount_micros
            if flow.currency != instrument.currency:
                amount = amount * rates[flow.currency] // rates[instrument.currency]
            total += amount
    return total


def _by_kind(results: RunResults) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in results.flows:
        kind = one.flow.kind.value
        found[kind] = found.get(kind, 0) + one.moved_micros
    return found


def fill_costs(fills: Sequence[Fill], tick_value_micros: int) -> tuple[FillCost, ...]:
    """What ``fills`` of one instrument cost, by the reference that their slippage is measured from."""
    found = []
    for reference in PriceReference:
        own = [fill for fill in fills if fill.slippage_reference is reference and fill.slippage_ticks is not None]
        lots = sum(fill.quantity for fill in own)
        if not lots:
            continue
        slippage = sum((fill.slippage_ticks or 0) * fill.quantity for fill in own)
        delays = [None if fill.delay_ticks is None else fill.delay_ticks * fill.quantity for fill in own]
        known = [delay for delay in delays if delay is not None]
        delay = sum(known) if len(known) == len(delays) else None
        found.append(
            FillCost(
                reference=reference.value,
                lots=lots,
                slippage_ticks=slippage / lots,
                slippage_micros=slippage * tick_value_micros,
                delay_ticks=None if delay is None else delay / lots,
                delay_micros=None if delay is None else delay * tick_value_micros,
            )
        )
    return tuple(found)


def round_trip_results(fills: list[Fill], tick_value_micros: int, splits: Sequence[BookedSplit] = ()) -> list[int]:
    """Profit after fees, micros, of each stretch from flat to flat of one instrument; a turn ends one and begins the next.

    A split changes the lots within a stretch; what was paid for a part of a lot belongs to it, cash flows do not.
    """
    trips: list[int] = []
    lots = cash = 0
    waiting = list(reversed(splits))
    for place in range(len(fills) + 1):
        while waiting and waiting[-1].fills_before == place:
            one = waiting.pop()
            cash += one.paid_micros
            if lots and not one.lots:
                trips.append(cash)
                cash = 0
            lots = one.lots
        if place == len(fills):
            break
        fill = fills[place]
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


def _cost_micros(
    instruments: Sequence[InstrumentSummary],
    rates: dict[str, int],
    field: str,
    references: Collection[str] = tuple(PriceReference),
) -> int:
    """The sum of one field of every ``FillCost`` against one of ``references``, in the base currency."""
    return sum(
        convert_micros(
            sum(getattr(cost, field) or 0 for cost in one.fill_costs if cost.reference in references),
            rates[one.currency],
        )
        for one in instruments
    )


def _count_alerts(results: RunResults) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, alert in results.alerts:
        counts[alert.code] = counts.get(alert.code, 0) + 1
    return counts


def _ladder_at_end(results: RunResults) -> str:
    others = tuple(f"{name}: " for name in results.settings.accounts or {})
    moves = [
        (ts, alert)
        for ts, alert in results.alerts
        if alert.code.startswith("breaker_") and not alert.text.startswith(others)
    ]
    if not moves or moves[-1][1].code == "breaker_normal":
        return ""
    ts, last = moves[-1]
    state = last.code.removeprefix("breaker_")
    return f"{state} from {text_from_ns(ts)[:16]}Z to the end ({last.text}): {_LADDER_MEANT[state]}"


def _latency(folder: Path) -> dict[str, dict[str, float]]:
    path = folder / "latency.json"
    if not path.is_file():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, float]])


def _table(value: object) -> dict[str, dict[str, int]]:
    return value if isinstance(value, dict) else {}
