"""The page of ``grandmodel data check``: what was found in a file, drawn.

Price with the marked stretches, volume by session, how full each session is, the largest jumps and the table of findings.
Read next: ``importing.py`` (the report that is drawn), ``charts/page.py`` (how pages are made).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grandmodel.charts import Column, Histogram, Level, LineChart, Markers, Page, Sample, Series, ShadedSpan, Tile
from grandmodel.charts.page import Section
from grandmodel.data.historical.reading import Treatment
from grandmodel.data.historical.reports import ImportReport, SeriesReport
from grandmodel.domain.blocks import BAR, TICK, UNKNOWN_VOLUME, Action, Block, Flag
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.time import NS_PER_DAY, text_from_ns

_MOST_SPANS = 60
_LARGEST_JUMPS = 20
_MOST_SERIES = 12
"""A capture of a whole exchange holds thousands of symbols; the page draws the longest ones and lists the rest."""


def draw_report(report: ImportReport, blocks: dict[str, Block], instrument: Instrument) -> str:
    """The page as HTML: one part per series of the file."""
    page = Page(f"Data check: {report.file.rsplit('/', 1)[-1]}", f"{report.instrument}, SHA-256 {report.sha256}")
    kept, read = sum(series.rows_kept for series in report.series), sum(series.rows_read for series in report.series)
    by_treatment = {
        treatment: sum(
            finding.count for series in report.series for finding in series.findings if finding.treatment is treatment
        )
        for treatment in (Treatment.REPAIRED, Treatment.MARKED, Treatment.DROPPED)
    }
    page.lead.add_tiles(
        [
            Tile("Rows read", read),
            # A snapshot of an exchange gives a trade and a quote: more rows than the file has.
            Tile(
                "Rows kept" if kept <= read else "Rows made of them", kept, tone="good" if kept >= read else "caution"
            ),
            *(Tile(str(name).capitalize(), count) for name, count in by_treatment.items()),
        ]
    )
    longest = sorted(report.series, key=lambda series: -series.rows_kept)
    for series in longest[:_MOST_SERIES]:
        section = page.section(series.symbol, f"{series.schema} {series.bar_width}".strip())
        _add_series(section, series, blocks[series.symbol], instrument)
    if len(longest) > _MOST_SERIES:
        rest = page.section("Other series")
        rest.add_table(
            ["symbol", Column("rows"), "findings"],
            [
                (series.symbol, series.rows_kept, ", ".join(f"{f.kind} {f.count}" for f in series.findings))
                for series in longest[_MOST_SERIES:]
            ],
        )
    return page.render()


def _add_series(section: Section, series: SeriesReport, block: Block, instrument: Instrument) -> None:
    for sentence in series.evidence:
        section.add_text(sentence[:1].upper() + sentence[1:] + ".")
    section.add_table(
        ["finding", "treatment", Column("count"), "what", "first lines"],
        [
            (finding.kind, str(finding.treatment), finding.count, finding.text, ", ".join(map(str, finding.lines)))
            for finding in series.findings
        ],
        "What was found" if series.findings else "Nothing was found",
    )
    if block.dtype == BAR:
        _add_bars(section, series, block, instrument)
    elif block.dtype == TICK:
        _add_ticks(section, block, instrument)


def _add_bars(section: Section, series: SeriesReport, block: Block, instrument: Instrument) -> None:
    prices = instrument.prices_from_ticks(block["close"])
    section.add_chart(
        LineChart(
            title="Close",
            series=[Series("close", block["ts_event"], prices, max_gap_ns=4 * NS_PER_DAY)],
            spans=_marked_spans(series, block),
            markers=_roll_marks(series, block, prices),
        )
    )
    times, totals, fill = _by_session(series, block)
    if totals is not None:
        section.add_chart(
            LineChart(title="Volume by session", series=[Series("lots", times, totals)], include_zero=True)
        )
    if len(fill):
        section.add_chart(
            LineChart(
                title="Bars present in each session",
                series=[Series("share of the bars expected", times, fill)],
                unit="%",
                include_zero=True,
                levels=[Level(1.0, "all")],
            )
        )
    _add_jumps(section, block["ts_open"], instrument.prices_from_ticks(block["open"]), prices)


def _marked_spans(series: SeriesReport, block: Block) -> list[ShadedSpan]:
    """Bad stretches, then missing and truncated sessions while there is room for them."""
    spans = []
    bad = (block["flags"] & int(Flag.BAD_STRETCH)) != 0
    edges = np.flatnonzero(np.diff(np.concatenate(([False], bad, [False])).astype(np.int8)))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        spans.append(ShadedSpan(int(block["ts_open"][start]), int(block["ts_event"][end - 1]), "bad stretch", "bad"))
    marked = [session for session in series.sessions if session.mark in {"missing", "truncated"}]
    spans.extend(ShadedSpan(s.open_ns, s.close_ns, f"{s.mark} session", "warn") for s in marked[:_MOST_SPANS])
    return spans


def _roll_marks(series: SeriesReport, block: Block, prices: NDArray[np.float64]) -> list[Markers]:
    rows = [roll.row for roll in series.rolls]
    return [Markers("roll", block["ts_event"][rows], prices[rows], "event")] if rows else []


def _by_session(
    series: SeriesReport, block: Block
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None, NDArray[np.float64]]:
    """Opens (S,), total volume (S,) or ``None`` where it is unknown, and the share of bars present (S,)."""
    opens = np.array([session.open_ns for session in series.sessions], dtype=np.int64)
    if not len(opens):
        return opens, None, np.zeros(0)
    fill = np.array([session.present / max(1, session.expected) for session in series.sessions])
    if (block["volume"] == UNKNOWN_VOLUME).all():
        return opens, None, fill
    place = np.searchsorted(opens, block["ts_open"], side="right") - 1
    inside = place >= 0
    volume = np.where(block["volume"] == UNKNOWN_VOLUME, 0, block["volume"]).astype(np.float64)
    totals = np.zeros(len(opens), dtype=np.float64)
    np.add.at(totals, place[inside], volume[inside])
    return opens, totals, fill


def _add_ticks(section: Section, block: Block, instrument: Instrument) -> None:
    is_trade = block["action"] == int(Action.TRADE)
    if is_trade.any():
        trades = block[is_trade]
        prices = instrument.prices_from_ticks(trades["price"])
        section.add_chart(LineChart(title="Trades", series=[Series("price", trades["ts_init"], prices)]))
        _add_jumps(section, trades["ts_init"], prices, prices)
    quotes = block[~is_trade]
    undefined = 2**63 - 1
    whole = quotes[(quotes["bid_price"] != undefined) & (quotes["ask_price"] != undefined)]
    if len(whole):
        spread = (whole["ask_price"] - whole["bid_price"]).astype(np.float64)
        section.add_chart(
            LineChart(
                title="Best bid and ask",
                series=[
                    Series("bid", whole["ts_init"], instrument.prices_from_ticks(whole["bid_price"]), step=True),
                    Series("ask", whole["ts_init"], instrument.prices_from_ticks(whole["ask_price"]), step=True),
                ],
            )
        )
        section.add_chart(Histogram(title="Spread", samples=[Sample("ticks", spread)], x_label="ticks"))


def _add_jumps(
    section: Section, times: NDArray[np.int64], opens: NDArray[np.float64], closes: NDArray[np.float64]
) -> None:
    """The largest steps from one price to the next, as a picture and a table."""
    if len(closes) < 3:
        return
    steps = opens[1:] - closes[:-1]
    largest = np.argsort(-np.abs(steps), kind="stable")[:_LARGEST_JUMPS]
    section.add_chart(LineChart(title="Step from the price before", series=[Series("step", times[1:], steps)]))
    section.add_table(
        ["time", Column("step", by_sign=True), Column("from"), Column("to")],
        [
            (text_from_ns(int(times[k + 1]))[:19], float(steps[k]), float(closes[k]), float(opens[k + 1]))
            for k in largest
        ],
        "The largest steps",
    )
