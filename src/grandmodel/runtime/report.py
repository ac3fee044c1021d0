"""The page of a run: equity, drawdown, exposure, trades on price, costs, refusals, data quality; one HTML file."""

from __future__ import annotations

import numpy as np

from grandmodel.charts import (
    BarChart,
    Bars,
    Column,
    LineChart,
    Markers,
    Page,
    Section,
    Series,
    Tile,
    format_time,
)
from grandmodel.compliance.verification import UNSIGNED
from grandmodel.domain.ids import InstrumentId
from grandmodel.runtime.results import BOOKED_TAGS, RunResults
from grandmodel.runtime.summary import Summary


def report_page(results: RunResults, summary: Summary) -> str:
    """The page as one self-contained document."""
    currency = results.settings.account.base_currency
    title = f"Run {summary.run}"
    what = "simulated market" if summary.simulated_market else summary.data
    page = Page(
        title,
        f"{summary.mode} on {what}; {format_time(summary.start_ns)} to {format_time(summary.end_ns)} UTC",
        footer=f"settings {summary.settings_hash}, code {summary.code_version}, record chain {summary.record_head[:16]}, {summary.signature}",
    )
    _lead(page.lead, summary, currency)
    times, equity = results.equity_curve()
    span = (int(times[0]), int(times[-1])) if len(times) > 1 else None
    section = page.section("Equity", "After every step of the engine, positions at their marks, after fees.")
    section.add_chart(
        LineChart(title="Equity", series=[Series("equity", times, equity)], unit=currency, time_range_ns=span)
    )
    if len(equity):
        peak = np.maximum.accumulate(equity)
        below = Series("drawdown", times, -(peak - equity) / peak, area=True, colour="bad")
        section.add_chart(LineChart(title="Drawdown", series=[below], unit="%", time_range_ns=span, include_zero=True))
    _exposure(page.section("Exposure", "Notional of each position at bar closes."), results, span, currency)
    for name in results.instruments:
        _prices(page.section(f"{name}: trades on price"), results, name, span)
    _trading(page.section("Trading and costs"), summary, currency)
    _risk(page.section("Risk"), results, summary)
    _data(page.section("Data and speed"), summary)
    page.section("Settings").add_code(_settings_text(results))
    return page.render()


def _lead(lead: Section, summary: Summary, currency: str) -> None:
    if summary.simulated_market:
        lead.add_note(
            "The prices of this run are simulated; its profit or loss says nothing about a real market.", "caution"
        )
    if summary.signature == UNSIGNED:
        lead.add_note(f"{UNSIGNED}. One who can write this folder can make the whole run anew.", "caution")
    if not summary.ended:
        lead.add_note("This run did not end: its journal stops before the last record.", "bad")
    bad = {name: counts["bad_stretch"] for name, counts in summary.quality.items() if counts.get("bad_stretch")}
    if bad:
        named = ", ".join(f"{name} {rows:,} rows" for name, rows in bad.items())
        lead.add_note(
            f"The data holds stretches marked bad ({named}); nothing was traded there unless the settings ignore marks.",
            "caution",
        )
    lead.add_note(f"Costs assumed: {summary.costs}.")
    profit = summary.profit_micros / 1e6
    lead.add_tiles([
        Tile("Profit after fees", profit, currency, tone="good" if profit > 0 else "bad" if profit < 0 else None, sign=True, decimals=2),
        Tile("Return", summary.return_fraction, "%", decimals=3, sign=True),
        Tile("Sharpe", summary.sharpe_annual, more=summary.ratio_basis, decimals=2),
        Tile("Sortino", summary.sortino_annual, decimals=2),
        Tile("Largest drawdown", summary.max_drawdown_fraction, "%", decimals=2),
        Tile("Fees", summary.fees_micros / 1e6, currency, decimals=2),
        Tile("Round trips", summary.round_trips, more="flat to flat"),
        Tile("Hit rate", summary.hit_rate, "%", decimals=1),
        Tile("Turnover", summary.turnover, "x", more="traded notional over mean equity", decimals=1),
    ])  # fmt: skip


def _exposure(section: Section, results: RunResults, span: tuple[int, int] | None, currency: str) -> None:
    lines = []
    for name, history in results.history.items():
        instrument = results.instruments[name]
        closes, lots = np.asarray(history.closes, dtype=np.float64), np.asarray(history.lots, dtype=np.float64)
        notional = closes * lots * instrument.tick_value_micros / 1e6
        lines.append(Series(str(name), np.asarray(history.times, dtype=np.int64), notional, step=True))
    section.add_chart(
        LineChart(title="Net exposure", series=lines, unit=currency, time_range_ns=span, include_zero=True)
    )


def _prices(section: Section, results: RunResults, name: InstrumentId, span: tuple[int, int] | None) -> None:
    instrument, history = results.instruments[name], results.history[name]
    times = np.asarray(history.times, dtype=np.int64)
    prices = instrument.prices_from_ticks(np.asarray(history.closes, dtype=np.int64))
    marks = []
    for kind, side in (("buy", 1), ("sell", -1)):
        fills = [f for f in results.fills if f.instrument == name and int(f.side) == side and f.tag not in BOOKED_TAGS]
        marks.append(
            Markers(
                f"{kind}s",
                np.asarray([f.ts_event for f in fills], dtype=np.int64),
                instrument.prices_from_ticks(np.asarray([f.price for f in fills], dtype=np.int64)),
                "buy" if kind == "buy" else "sell",
            )
        )
    section.add_chart(
        LineChart(title=instrument.name, series=[Series("close", times, prices)], markers=marks, time_range_ns=span)
    )


def _trading(section: Section, summary: Summary, currency: str) -> None:
    section.add_table(
        ["instrument", "fills", "lots", "round trips", "won", Column("profit", by_sign=True, decimals=2), Column("fees", decimals=2),
         "position", Column("slippage, ticks a lot", decimals=3)],
        [
            [str(one.instrument), one.fills, one.lots_traded, one.round_trips, one.winning_round_trips, one.profit_micros / 1e6,
             one.fees_micros / 1e6, one.position_lots, one.slippage_arrival_ticks]
            for one in summary.instruments
        ],
        "Profit and fees in each instrument's currency; slippage against the mark when the order was decided.",
    )  # fmt: skip
    if summary.booked_fills:
        section.add_text(
            f"{summary.booked_fills} of the fills were booked without an order: contract rolls (two each, with their fees) and exits "
            "before bad stretches."
        )
    section.add_text(
        f"All fills together cost {summary.slippage_arrival_micros / 1e6:,.2f} {currency} against those marks "
        f"and {summary.fees_micros / 1e6:,.2f} {currency} in fees."
    )


def _risk(section: Section, results: RunResults, summary: Summary) -> None:
    if summary.risk_outcomes:
        names = list(summary.risk_outcomes)
        section.add_chart(
            BarChart(
                title="Orders cut or refused, by check and reason",
                labels=names,
                bars=[Bars("orders", [summary.risk_outcomes[name] for name in names])],
                is_horizontal=True,
            )
        )
    else:
        section.add_text("Risk let every order through.")
    if results.alerts:
        section.add_table(
            ["time", "severity", "code", "what"],
            [[format_time(ts), alert.severity, alert.code, alert.text] for ts, alert in results.alerts],
            "Alerts",
        )


def _data(section: Section, summary: Summary) -> None:
    if summary.quality:
        columns = list(next(iter(summary.quality.values())))
        section.add_table(
            ["instrument", *[name.replace("_", " ") for name in columns]],
            [[name, *counts.values()] for name, counts in summary.quality.items()],
            "What was counted in the market data",
        )
    if any(summary.latency_us.values()):
        section.add_table(
            ["step", "count", "p50, us", "p90, us", "p99, us", "most, us"],
            [
                [name, int(p["count"]), p["p50_us"], p["p90_us"], p["p99_us"], p["max_us"]]
                for name, p in summary.latency_us.items()
                if p
            ],
            "From the stop of the market step to the written record, on this machine",
        )


def _settings_text(results: RunResults) -> str:
    import msgspec  # noqa: PLC0415  only for the pretty form

    return msgspec.json.format(msgspec.json.encode(results.settings), indent=2).decode()
