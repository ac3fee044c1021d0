"""The page of a run: equity, drawdown, exposure, trades on price, costs, refusals, data quality; one HTML file."""

from __future__ import annotations

import numpy as np

from grandmodel.charts import (
    Column,
    LineChart,
    Markers,
    Page,
    Section,
    Series,
    ShadedSpan,
    Tile,
    format_time,
)
from grandmodel.domain.ids import InstrumentId
from grandmodel.journal.verification import UNSIGNED
from grandmodel.performance.drawdown import drawdown_curve
from grandmodel.performance.ratios import AnnualRatios
from grandmodel.risk.report import REFUSALS_NOTE, add_refusals
from grandmodel.runtime.results import BOOKED_TAGS, RunResults
from grandmodel.runtime.samples import IN_SAMPLE, OUT_OF_SAMPLE, Samples, day_text
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
        LineChart(
            title="Equity",
            series=[Series("equity", times, equity)],
            unit=currency,
            time_range_ns=span,
            spans=_seen_spans(summary.samples),
        )
    )
    if len(equity):
        grown_at, growth, _ = results.growth_curve()
        below = Series("drawdown", grown_at, -drawdown_curve(growth), area=True, colour="bad")
        section.add_chart(LineChart(title="Drawdown", series=[below], unit="%", time_range_ns=span, include_zero=True))
    _samples(page.section("What the models had seen before"), summary, currency)
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
    if summary.samples.is_mixed:
        lead.add_note(
            f"{summary.samples.text}. What a model earns on data that it had seen before says nothing about what it will earn; ratios "
            "are given for each part by itself.",
            "bad",
            "In-sample" if any(part.part == IN_SAMPLE for part in summary.samples.parts) else "Not out-of-sample",
        )
    if summary.signature == UNSIGNED:
        lead.add_note(f"{UNSIGNED}. One who can write this folder can make the whole run anew.", "caution")
    if not summary.ended:
        lead.add_note(
            "This run did not end: it was stopped or killed, or still goes on. --resume goes on with it.", "bad"
        )
    if summary.ladder:
        lead.add_note(f"The risk ladder stood at {summary.ladder}.", "caution")
    bad = {name: counts["bad_stretch"] for name, counts in summary.quality.items() if counts.get("bad_stretch")}
    if bad:
        named = ", ".join(f"{name} {rows:,} rows" for name, rows in bad.items())
        lead.add_note(
            f"The data holds stretches marked bad ({named}); nothing was traded there unless the settings ignore marks.",
            "caution",
        )
    for line in summary.traded_by:
        lead.add_note(f"{line}.")
    lead.add_note(f"Costs assumed: {summary.costs}.")
    profit = summary.profit_micros / 1e6
    lead.add_tiles([
        Tile("Profit after fees", profit, currency, tone="good" if profit > 0 else "bad" if profit < 0 else None, sign=True, decimals=2),
        Tile("Return", summary.return_fraction, "%", decimals=3, sign=True),
        *_ratio_tiles(summary),
        Tile("Largest drawdown", summary.max_drawdown_fraction, "%", decimals=2),
        Tile("Fees", summary.fees_micros / 1e6, currency, decimals=2),
        Tile("Round trips", summary.round_trips, more="flat to flat; a roll ends one"),
        Tile("Hit rate", summary.hit_rate, "%", decimals=1),
        Tile("Turnover", summary.turnover, "x", more="traded notional over mean equity", decimals=1),
    ])  # fmt: skip


def _ratio_tiles(summary: Summary) -> list[Tile]:
    """Both ratios, of the whole run where they may stand alone, else of each part under its name."""
    if not summary.samples.is_mixed:
        return [*_tiles_of(summary, "")]
    return [tile for part in summary.samples.parts for tile in _tiles_of(part, f" ({part.part})")]


def _tiles_of(ratios: AnnualRatios, word: str) -> list[Tile]:
    return [
        Tile(f"{name}{word}", value, more=interval_text(interval, ratios.ratio_level) or absent, decimals=2)
        for name, value, interval, absent in (
            ("Sharpe", ratios.sharpe_annual, ratios.sharpe_interval_annual, ratios.sharpe_absent),
            ("Sortino", ratios.sortino_annual, ratios.sortino_interval_annual, ratios.sortino_absent),
        )
    ]


def interval_text(interval: tuple[float, float] | None, level: float) -> str:
    """``95 %: -1.20 to 0.34``; empty where there is none."""
    return "" if interval is None else f"{100 * level:g} %: {interval[0]:.2f} to {interval[1]:.2f}"


def ratio_text(value: float | None, interval: tuple[float, float] | None, level: float, absent: str) -> str:
    """``0.21 (95 %: -1.84 to 2.25)``, or why there is none."""
    return absent if value is None else f"{value:.2f} ({interval_text(interval, level)})"


def _seen_spans(samples: Samples) -> list[ShadedSpan]:
    """The stretches of the run that a model had seen, for shading."""
    return [
        ShadedSpan(*overlap, f"{what} {'on these instruments' if model.seen else 'on other instruments'}", "caution")
        for model in samples.models
        for overlap, what in ((model.train_overlap_ns, "learnt from"), (model.calibration_overlap_ns, "calibrated"))
        if overlap is not None
    ]


def _samples(section: Section, summary: Summary, currency: str) -> None:
    section.add_text(f"{summary.samples.text[0].upper()}{summary.samples.text[1:]}.")
    for model in summary.samples.models:
        section.add_text(model.text)
    if summary.samples.parts:
        section.add_table(
            ["part", "days", "periods", Column("share", unit="%", decimals=0), Column(f"profit, {currency}", by_sign=True, decimals=2),
             "Sharpe of the part", "Sortino of the part"],
            [
                [part.part, day_text((part.from_ns, part.to_ns)), part.periods, part.share, part.profit,
                 ratio_text(part.sharpe_annual, part.sharpe_interval_annual, part.ratio_level, part.sharpe_absent),
                 ratio_text(part.sortino_annual, part.sortino_interval_annual, part.ratio_level, part.sortino_absent)]
                for part in summary.samples.parts
            ],
            "Each part by itself; a period that lies only partly in what a model had seen counts as seen",
        )  # fmt: skip
    basis = next(
        (part.ratio_basis for part in summary.samples.parts if part.part == OUT_OF_SAMPLE), summary.ratio_basis
    )
    section.add_text(f"Ratios: {basis}.")


REFERENCE_TEXTS = {
    "trigger": "the trigger of a stop",
    "limit": "the limit",
    "quote": "the other side's quote at arrival (market orders)",
    "mark": "the mark at arrival (market orders, no quotes)",
}


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
         "position"],
        [
            [str(one.instrument), one.fills, one.lots_traded, one.round_trips, one.winning_round_trips, one.profit_micros / 1e6,
             one.fees_micros / 1e6, one.position_lots]
            for one in summary.instruments
        ],
        "Profit and fees in each instrument's currency",
    )  # fmt: skip
    if summary.accounts:
        section.add_table(
            ["account", "below", Column("capital", decimals=2), Column("profit", by_sign=True, decimals=2), Column("fees", decimals=2), "fills", "lots",
             "round trips", "won", "ladder at the end"],
            [
                [one.account, one.parent or "the run", one.capital_micros / 1e6, None if one.profit_micros is None else one.profit_micros / 1e6,
                 one.fees_micros / 1e6, one.fills, one.lots_traded, one.round_trips, one.winning_round_trips, one.ladder]
                for one in summary.accounts
            ],
            f"Accounts, in {currency}; one above others has their sums",
        )  # fmt: skip
    section.add_table(
        ["instrument", "slippage measured from", "lots", Column("slippage, ticks a lot", decimals=3), Column("slippage", decimals=2),
         Column("delay, ticks a lot", decimals=3), Column("delay", decimals=2)],
        [
            [str(one.instrument), REFERENCE_TEXTS[cost.reference], cost.lots, cost.slippage_ticks, cost.slippage_micros / 1e6,
             cost.delay_ticks, None if cost.delay_micros is None else cost.delay_micros / 1e6]
            for one in summary.instruments for cost in one.fill_costs
        ],
        "What fills cost beside fees, by kind of order; positive is a cost",
    )  # fmt: skip
    section.add_text(
        "Slippage is the way from that price to the fill. Delay is the way from the mark at the decision to that price. Of a market order it "
        "is what the market moved until the order arrived (against a quote with part of the spread); of a stop or a limit it is how far "
        "away the order was placed, which costs nothing by itself."
    )
    if summary.booked_fills:
        section.add_text(
            f"{summary.booked_fills} of the fills were booked without an order: contract rolls (two each, with their fees), final settlements and exits "
            "before bad stretches."
        )
    section.add_text(
        f"All fills of orders together: slippage {summary.slippage_micros / 1e6:,.2f} {currency}; delay of market orders "
        f"{summary.delay_micros / 1e6:,.2f} {currency}; fees {summary.fees_micros / 1e6:,.2f} {currency}."
    )


def _risk(section: Section, results: RunResults, summary: Summary) -> None:
    section.add_text(REFUSALS_NOTE)
    add_refusals(section, summary.refusals)
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
