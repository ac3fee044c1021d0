"""The risk report of a run: value at risk through time and its backtest, components, correlations, breakers, refusals.

Everything is worked out again from the run's records: closed bars give the same running covariance that the gate had,
fills the positions, alerts the moves of the ladder. The backtest is per bar: the VaR stated at a bar's close for the
next bar, against what the account made in it before fees. It needs no trading days and gives many observations. The gate's
estimate is one for all hours of a day; the VaR of a bar takes it times the shape of the day (``intraday.py``). Only the traffic
light counts trading days: what the bars of a day made together, against the day's VaR stated at its first bar.

What a bar made is the change of the account's own equity from close to close, its fees added back. So the bars add up to the run's
profit before fees, to the last millionth, and neither the step between two contracts of a roll nor the prices of a bad stretch, which the
account never earned, can count as a result. Trades inside the bar count, as they do for the account, though the VaR stated before could
not know them: a stop inside the bar makes losses smaller than the VaR says, a position opened in it makes them larger. So a second
test asks the estimate alone, as supervisors do: what the positions held at the close would have made had nobody traded.

``build_risk_report`` computes, ``risk_page`` draws; ``grandmodel risk report RUN`` does both.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.charts import (
    BarChart,
    Bars,
    HeatMap,
    Level,
    LineChart,
    Markers,
    Page,
    Section,
    Series,
    StateChart,
    Tile,
    Tone,
    format_time,
)
from grandmodel.domain.blocks import Flag
from grandmodel.domain.events import Cause, ClosedBar, Record
from grandmodel.domain.instruments import Instrument, convert_micros
from grandmodel.domain.moments import expanded
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY
from grandmodel.performance.periods import trading_ns_of_days
from grandmodel.risk.backtests import GREEN, christoffersen, kupiec, traffic_light
from grandmodel.risk.checks import names_of
from grandmodel.risk.correlation import correlation_of
from grandmodel.risk.intraday import IntradayVolatility
from grandmodel.risk.refusals import RefusalCount, RefusalCounts
from grandmodel.risk.running import RETURNS, RunningRisk
from grandmodel.risk.settings import RiskSettings

STATES = ("normal", "caution", "reduce", "halt", "killed")
_LIGHT_DAYS = 250
_NO_GREEN_BELOW_P = 0.01
_MIN_OBSERVATIONS = 20
_TONES: dict[str, Tone] = {"green": "good", "yellow": "caution", "red": "bad"}


class BreakerMove(msgspec.Struct, frozen=True, kw_only=True):
    """One move of the ladder, as its alert tells it."""

    ts: int
    state: str
    text: str


class RiskReport(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of the report. Money in units of the account's currency, losses positive."""

    run: str
    currency: str
    instruments: tuple[str, ...]
    level: float
    horizon_days: float
    times: list[int]
    """Close of each bar row at which positions were held and their risk was known, ns: (B,)."""
    var_horizon: list[float]
    """VaR at the settings' horizon (B,)."""
    var_bar: list[float]
    """VaR for the next bar (B,), by its place in the session and the pace of the last bars (``intraday.py``)."""
    var_average: list[float]
    """VaR for the average bar of a day (B,): the one at the settings' horizon, spread evenly."""
    pnl_bar: list[float]
    """What the account made in the next bar, before fees (B,)."""
    profit_before_fees: float
    """Of the whole run, as the account has it."""
    profit_untested: float
    """What of it was made while no VaR had been stated: flat at the close before, or risk not known. ``pnl_bar`` adds up to the rest."""
    pnl_held: list[float]
    """What the positions held at the close would have made in it (B,): no trade, no step between contracts, nothing in a bad stretch."""
    hits: list[bool]
    """Where ``pnl_bar`` is below minus ``var_bar`` (B,)."""
    observations: int
    exceptions: int
    expected: float
    kupiec_p: float | None
    """None below 20 observations."""
    independence_p: float | None
    conditional_p: float | None
    average_exceptions: int
    """Where ``pnl_held`` is below minus ``var_average``: the estimate without the shape of the day."""
    average_kupiec_p: float | None
    held_exceptions: int
    """Where ``pnl_held`` is below minus ``var_bar``: the estimate alone, without what the account traded in the bar."""
    held_kupiec_p: float | None
    days: int
    """Trading days with at least one such row."""
    day_exceptions: int
    """Days whose bars together lost more than the VaR over one day, stated at the day's first row."""
    zone: str
    """Traffic light of the last 250 trading days; empty where ``zone_absent`` says why there is none."""
    zone_absent: str
    """Too few days, or green while Kupiec's p is below 0.01; empty where there is a zone."""
    mean_components: dict[str, float]
    """Share of VaR by instrument, mean over the rows: they add up to the mean VaR."""
    correlation: list[list[float | None]]
    """Of the last covariance; None where it is not known."""
    breaker: list[BreakerMove]
    refusals: RefusalCounts
    alerts: dict[str, int]


def build_risk_report(
    run: str,
    records: Iterable[Record],
    instruments: Sequence[Instrument],
    settings: RiskSettings,
    currency: str,
    rates_micros: Sequence[int] | None = None,
    schedule: SessionSchedule | None = None,
) -> RiskReport:
    """Work the report out from ``records`` in order.

    ``schedule`` tells trading days apart (a time between two sessions belongs to the day to come); days of UTC without it.
    ``rates_micros`` are the account's exchange rates by instrument (one for all where not given); they are taken as
    constant over the run.
    """
    walk = _Walk(instruments, settings, list(rates_micros or [1_000_000] * len(instruments)), schedule)
    for record in expanded(records):
        walk.take(record)
    return walk.report(run, currency)


class _Walk:
    """What is carried from record to record."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        settings: RiskSettings,
        rates: list[int],
        schedule: SessionSchedule | None,
    ) -> None:
        self.schedule = schedule
        self.instruments, self.settings, self.rates = instruments, settings, rates
        self.running = RunningRisk(settings.var, instruments)
        self.index = {instrument.id: k for k, instrument in enumerate(instruments)}
        n = len(instruments)
        self.positions = [0] * n
        self.at_close = [0] * n
        self.fees = [0] * n
        self.fees_base = 0
        self.first: int | None = None
        self.last = self.at_row = self.before_row = 0
        """Equity before fees: at the beginning, now, at the close of the present row, of the one before."""
        self.row_ts = -1
        self.is_stated = False
        self.stated = (math.nan, math.nan, 0)
        self.component_sums = np.zeros(n)
        self.components = np.zeros(n)
        self.times: list[int] = []
        self.var_horizon: list[float] = []
        self.var_bar: list[float] = []
        self.var_average: list[float] = []
        self.shape = IntradayVolatility(n, settings.var.width_ns, schedule)
        self.row_open = 0
        self.pnl_micros: list[int] = []
        self.pnl_held: list[float] = []
        self.closes: list[int | None] = [None] * n
        self.held = [0] * n
        self.held_micros = 0
        """What ``held``, the positions at the close before, have made in the present row so far."""
        self.untested_micros = 0
        self.breaker: list[BreakerMove] = []
        self.refusals = RefusalCount()
        self.alerts: Counter[str] = Counter()

    def take(self, record: Record) -> None:
        """Bars first (they closed before the step decided), then what the step filled."""
        for bar in record.bars:
            if bar.width_ns != self.settings.var.width_ns or bar.instrument not in self.index:
                continue
            if bar.ts_event != self.row_ts and self.row_ts >= 0:
                self._finish_row()
            self.row_ts, self.row_open = bar.ts_event, bar.ts_open
            self.running.on_bar(bar)
            self._move(self.index[bar.instrument], bar)
        closed = self.row_ts >= 0 and any(bar.ts_event == self.row_ts for bar in record.bars)
        for fill in record.fills:
            k = self.index[fill.instrument]
            self.positions[k] += fill.signed_quantity
            self.fees[k] += fill.fee_micros
        if record.fills:
            self.fees_base = sum(convert_micros(fee, rate) for fee, rate in zip(self.fees, self.rates, strict=True))
        self.last = record.equity_micros + self.fees_base
        if self.first is None:
            self.first = self.before_row = self.last
        if closed:
            self.at_close, self.at_row = list(self.positions), self.last
        for alert in record.alerts:
            self.alerts[alert.code] += 1
            if alert.code.startswith("breaker_"):
                self.breaker.append(BreakerMove(ts=record.ts, state=alert.code[8:], text=alert.text))
        if record.cause is Cause.BEGIN:
            self.refusals.names = names_of(record)
        for intent in record.intents:
            self.refusals.add(intent)

    def _move(self, k: int, bar: ClosedBar) -> None:
        """Add what the held lots of instrument ``k`` made in ``bar``; a roll trades at its open, a bad stretch is left at the last close."""
        last = bar.open if bar.flags & Flag.ROLL else self.closes[k]
        if bar.flags & Flag.BAD_STRETCH:
            return
        if last is not None:
            made = self.instruments[k].value_micros(bar.close - last, self.held[k])
            self.held_micros += convert_micros(made, self.rates[k])
        self.closes[k] = bar.close

    def _finish_row(self) -> None:
        """All bars of one close time are in: settle the VaR stated before, state the next one."""
        made = self.at_row - self.before_row
        self.before_row = self.at_row
        if self.is_stated:
            self.times.append(self.stated[2])
            self.var_horizon.append(self.stated[0])
            self.var_average.append(self.stated[1])
            self.var_bar.append(self._var_of_row())
            self.pnl_micros.append(made)
            self.pnl_held.append(self.held_micros / 1e6)
            self.component_sums += self.components
        else:
            self.untested_micros += made
        self.shape.take_row(self.running, self.running.money[RETURNS], self.row_open)
        self.running.take_row()
        self.is_stated = False
        self.held, self.held_micros = list(self.at_close), 0
        if not any(self.at_close):
            return
        value = self.running.value_at_risk(self.at_close, self.rates) / 1e6
        if math.isnan(value) or value <= 0.0:
            return
        var = self.settings.var
        self.stated = (value, value / math.sqrt(var.horizon_days * var.bars_per_day), self.row_ts)
        self.is_stated = True
        self.components = np.array(self.running.components(self.at_close, self.rates)) / 1e6

    def _var_of_row(self) -> float:
        """The VaR that was stated at the close before for the bar of the present row.

        Nothing of the row has entered the estimate or the shape yet; its place in the session the clock told before.
        """
        return self.shape.value_at_risk(self.running, self.held, self.rates, self.row_open) / 1e6

    def report(self, run: str, currency: str) -> RiskReport:
        """The report of what was taken so far."""
        if self.row_ts >= 0:
            self._finish_row()
            self.row_ts = -1
        level = self.settings.var.level
        pnl = [made / 1e6 for made in self.pnl_micros]
        hits = np.array(pnl) < -np.array(self.var_bar)
        held = int((np.array(self.pnl_held) < -np.array(self.var_bar)).sum())
        average = int((np.array(self.pnl_held) < -np.array(self.var_average)).sum())
        count, exceptions = len(hits), int(hits.sum())
        enough = count >= _MIN_OBSERVATIONS
        coverage = kupiec(exceptions, count, level) if enough else None
        chain = christoffersen(hits, level) if enough else None
        day_hits = self._day_hits()
        zone, zone_absent = _zone(day_hits, level, None if coverage is None else coverage.p_value)
        correlation = correlation_of(self.running.covariance.covariance)
        names = tuple(str(instrument.id) for instrument in self.instruments)
        mean = self.component_sums / max(count, 1)
        return RiskReport(
            run=run,
            currency=currency,
            instruments=names,
            level=level,
            horizon_days=self.settings.var.horizon_days,
            times=self.times,
            var_horizon=self.var_horizon,
            var_bar=self.var_bar,
            var_average=self.var_average,
            pnl_bar=pnl,
            pnl_held=self.pnl_held,
            profit_before_fees=(self.last - (self.first or 0)) / 1e6,
            profit_untested=(self.untested_micros + self.last - self.before_row) / 1e6,
            hits=[bool(h) for h in hits],
            observations=count,
            exceptions=exceptions,
            expected=round(count * (1.0 - level), 6),
            kupiec_p=None if coverage is None else coverage.p_value,
            independence_p=None if chain is None else chain.independence.p_value,
            conditional_p=None if chain is None else chain.conditional.p_value,
            average_exceptions=average,
            average_kupiec_p=kupiec(average, count, level).p_value if enough else None,
            held_exceptions=held,
            held_kupiec_p=kupiec(held, count, level).p_value if enough else None,
            days=len(day_hits),
            day_exceptions=int(day_hits.sum()),
            zone=zone,
            zone_absent=zone_absent,
            mean_components=dict(zip(names, mean.tolist(), strict=True)),
            correlation=[[float(x) if math.isfinite(x) else None for x in row] for row in correlation],
            breaker=self.breaker,
            refusals=self.refusals.counts(),
            alerts=dict(self.alerts.most_common()),
        )

    def _day_hits(self) -> NDArray[np.bool_]:
        """By trading day (D,): did its bars together lose more than the VaR over one day, as it stood at the first of them?"""
        times = np.array(self.times, dtype=np.int64)
        if not len(times):
            return np.zeros(0, dtype=np.bool_)
        # A row's result is that of the bar after its close, so a close at the end of a session belongs to the day to come.
        days = times // NS_PER_DAY * NS_PER_DAY
        if self.schedule is not None and len(self.schedule):
            at = np.searchsorted(self.schedule.close_ns, times, side="right")
            days = self.schedule.day_ns[np.minimum(at, len(self.schedule) - 1)]
        firsts = np.flatnonzero(np.concatenate([[True], days[1:] != days[:-1]]))
        made = np.add.reduceat(np.array(self.pnl_micros) / 1e6, firsts)
        stated = np.array(self.var_average)[firsts] * np.sqrt(self._bars_of(days[firsts]))
        return np.asarray(made < -stated)

    def _bars_of(self, days: NDArray[np.int64]) -> NDArray[np.float64]:
        """(D,) bars of the VaR's width in each of ``days``, by the sessions; the settings' number where there are none."""
        var = self.settings.var
        if self.schedule is None or not len(self.schedule):
            return np.full(len(days), var.bars_per_day)
        known, open_ns = trading_ns_of_days(self.schedule)
        return np.maximum(open_ns[np.searchsorted(known, days)] / var.width_ns, 1.0)


def _zone(day_hits: NDArray[np.bool_], level: float, kupiec_p: float | None) -> tuple[str, str]:
    """The traffic light of the last 250 days, or why there is none."""
    if len(day_hits) < _LIGHT_DAYS:
        return "", f"not enough days, {len(day_hits)} of {_LIGHT_DAYS}"
    zone = traffic_light(int(day_hits[-_LIGHT_DAYS:].sum()), _LIGHT_DAYS, level).zone
    if zone == GREEN and kupiec_p is not None and kupiec_p < _NO_GREEN_BELOW_P:
        return "", f"green by days, but Kupiec's test of the bars rejects the VaR (p {p_text(kupiec_p)})"
    return zone, ""


def _tile_p(value: float | None) -> str | None:
    return None if value is None else p_text(value)


def risk_page(report: RiskReport) -> str:
    """The report as one self-contained page."""
    page = Page(f"Risk of run {report.run}", f"Value at risk at {report.level:.1%}, worked out from the run's records")
    page.lead.add_tiles(
        [
            Tile("Bars with positions", report.observations),
            Tile("Exceptions", report.exceptions, more=f"{report.expected:.1f} expected"),
            Tile("Kupiec p", _tile_p(report.kupiec_p), more="too many or too few"),
            Tile(
                "Exceptions of the positions held",
                report.held_exceptions,
                more=f"had nobody traded in the bar; Kupiec p {'' if report.held_kupiec_p is None else p_text(report.held_kupiec_p)}",
            ),
            Tile("Independence p", _tile_p(report.independence_p), more="in clusters"),
            Tile(
                "Traffic light",
                report.zone or "none",
                tone=_TONES.get(report.zone),
                more=report.zone_absent or f"last {_LIGHT_DAYS} trading days",
            ),
            Tile("Moves of the ladder", len(report.breaker)),
        ]
    )
    if report.kupiec_p is not None and report.kupiec_p < _NO_GREEN_BELOW_P:
        page.lead.add_note(
            f"Kupiec's test rejects the VaR: exceptions are far {'more' if report.exceptions > report.expected else 'fewer'} than it says.",
            "caution",
        )
        if report.held_kupiec_p is not None and report.held_kupiec_p >= _NO_GREEN_BELOW_P:
            page.lead.add_note(
                "Of the positions held at each close it does not: what differs is the trading inside the bars, not the estimate."
            )
    _draw_var(page, report)
    _draw_components(page, report)
    _draw_breaker(page, report)
    add_refusals(page.section("Refused and cut", REFUSALS_NOTE), report.refusals)
    return page.render()


REFUSALS_NOTE = (
    "Each order, change and wish once, by the first check that refused or cut it. A wish that came to no order was refused before "
    "risk was asked; an order that was cut was sent, smaller."
)


def add_refusals(section: Section, counts: RefusalCounts) -> None:
    """Draw what was refused and what was cut, with the totals that every report of the run names."""
    section.add_text(f"Refused: {counts.text()}.")
    for title, name, by in (("Refused", "refused", counts.refused_by), ("Cut", "cut", counts.cut_by)):
        if by:
            bars = Bars(name, list(by.values()))
            section.add_chart(BarChart(title=title, labels=list(by), bars=[bars], is_horizontal=True))


def _draw_var(page: Page, report: RiskReport) -> None:
    section = page.section(
        "Value at risk through time",
        "Stated at each close for the next bar, against what the account made in it before fees, trades in it included: the bars add up "
        "to the run's profit before fees. The VaR of a bar is the gate's, which averages over the hours of the day, times what the bar's place "
        "in the session and the pace of the last bars say; nothing of the bar itself is in it. The traffic light takes the day's VaR and "
        "the positions of a day's first bar for the whole day; where they change within it, it is rough.",
    )
    if not report.observations:
        section.add_text("No bar closed with a position whose risk was known.")
        return
    section.add_text(
        f"Profit before fees: {report.profit_before_fees:,.2f} {report.currency}, of which {report.profit_untested:,.2f} in bars before "
        "which no VaR was stated (flat at the close, or risk not known)."
    )
    p_value = "" if report.average_kupiec_p is None else f" (Kupiec p {p_text(report.average_kupiec_p)})"
    section.add_text(
        f"With the VaR spread evenly over the bars of a day, the positions held would show {report.average_exceptions} exceptions{p_value} "
        f"instead of {report.held_exceptions}."
    )
    times = np.array(report.times)
    pnl = np.array(report.pnl_bar)
    hits = np.array(report.hits, dtype=bool)
    section.add_chart(
        LineChart(
            title="P&L of the next bar, and minus the VaR stated for it",
            series=[
                Series("P&L of the next bar", times, pnl),
                Series("minus VaR", times, -np.array(report.var_bar), colour="bad", step=True),
            ],
            markers=[Markers("exceptions", times[hits], pnl[hits], "cross")],
            unit=report.currency,
            include_zero=True,
        )
    )
    section.add_chart(
        LineChart(
            title=f"VaR over {report.horizon_days:g} day",
            series=[Series("VaR", times, np.array(report.var_horizon), area=True, step=True)],
            levels=[Level(float(np.mean(report.var_horizon)), "mean")],
            unit=report.currency,
            include_zero=True,
        )
    )


def _draw_components(page: Page, report: RiskReport) -> None:
    section = page.section("Where the risk is")
    names = list(report.instruments)
    shares = Bars("mean component VaR", [report.mean_components[name] for name in names])
    section.add_chart(
        BarChart(title="Mean component VaR", labels=names, bars=[shares], unit=report.currency, by_sign=True),
        is_half=True,
    )
    values = [[math.nan if x is None else x for x in row] for row in report.correlation]
    section.add_chart(
        HeatMap(title="Correlation at the end", values=np.array(values), rows=names, columns=names, limit=1.0),
        is_half=True,
    )


def _draw_breaker(page: Page, report: RiskReport) -> None:
    section = page.section("Circuit breakers")
    if not report.breaker:
        section.add_text("The ladder never moved.")
        return
    start = min(report.times[0], report.breaker[0].ts) if report.times else report.breaker[0].ts
    end = max(report.times[-1], report.breaker[-1].ts) if report.times else report.breaker[-1].ts
    section.add_chart(
        StateChart(
            title="State of the ladder",
            time_ns=np.array([start, *(move.ts for move in report.breaker)]),
            states=["normal", *(move.state for move in report.breaker)],
            ladder=STATES,
            end_ns=end + 1,
        )
    )
    section.add_table(["time", "move"], [[time_text(move.ts), move.text] for move in report.breaker], "Every move")


def p_text(p_value: float) -> str:
    """A p-value with four digits; below them it says so, since none is 0."""
    return f"{p_value:.4f}" if p_value >= 0.0001 else "below 0.0001"


def time_text(ts: int) -> str:
    """A time of the report's tables, to the second, with its zone."""
    return f"{format_time(ts)} UTC"
