"""The page of one explained record: beliefs, columns that mattered, the window, risk's checks and what followed."""

from __future__ import annotations

import numpy as np

from grandmodel.charts import BarChart, Bars, Cell, Column, HeatMap, Page, Section, Tile, Tone, format_time
from grandmodel.domain.instruments import currency_text
from grandmodel.runtime.explain import DecisionStory, Explanation
from grandmodel.runtime.samples import OUT_OF_SAMPLE

_TONES: dict[str, Tone] = {"passed": "good", "shrunk": "caution", "refused": "bad"}


def explain_page(told: Explanation) -> str:
    """The page as one self-contained document."""
    page = Page(
        f"Run {told.run}, record {told.record}",
        f"{format_time(told.ts)} UTC, cause: {told.cause}",
        footer="made by grandmodel explain from the run's journal, run again up to this record",
    )
    page.lead.add_tiles(
        [
            Tile("Equity", currency_text(told.equity_micros, told.base_currency)),
            Tile("Decisions", sum(one.decided for one in told.decisions)),
            Tile("Wishes", len({one.intent for one in told.wishes})),
            Tile("Orders sent", len(told.orders)),
        ]
    )
    if told.why_none:
        page.lead.add_note(f"Nothing was decided: {told.why_none}.", "neutral")
    for alert in told.alerts:
        page.lead.add_note(f"{alert.code}: {alert.text}", "caution")
    _add_bars(page.section("What came in"), told)
    for decision in told.decisions:
        _add_decision(page.section(f"{decision.instrument}: the {decision.layer} layer", decision.summary), decision)
    if told.wishes:
        _add_wishes(page.section("What was wished for, and what risk said"), told)
    if told.orders:
        _add_orders(page.section("Orders that left, and what became of them"), told)
    return page.render()


def _add_bars(section: Section, told: Explanation) -> None:
    if not told.bars:
        section.add_text("No bar closed at this record.")
        return
    section.add_table(
        ["instrument", "minutes", "close at", "open", "high", "low", "close", "volume", "marks"],
        [
            [
                bar.instrument, bar.minutes, format_time(bar.ts_event), bar.open, bar.high, bar.low, bar.close,
                "unknown" if bar.volume < 0 else bar.volume, ", ".join(bar.marks),
            ]
            for bar in told.bars
        ],
    )  # fmt: skip


def _add_decision(section: Section, decision: DecisionStory) -> None:
    if decision.sample:
        is_unseen = decision.sample.startswith(OUT_OF_SAMPLE)
        section.add_note(decision.sample, "neutral" if is_unseen else "caution", "What the model had seen")
    section.add_table(["reason", "meaning"], [[line.code, line.meaning] for line in decision.reasons])
    for line in (*decision.uncertainty, *decision.sizing):
        section.add_text(line)
    if decision.layer == "strategic" and decision.agents:
        names = [*(f"{one.agent} (weight {one.weight:.2f})" for one in decision.agents), "collapsed, calibrated"]
        rows = [one.probabilities for one in decision.agents] + [decision.belief]
        section.add_chart(
            BarChart(
                title="Beliefs",
                labels=names,
                bars=[Bars(name, [row[k] for row in rows]) for k, name in enumerate(decision.outcomes)],
                unit="%",
            )
        )
    elif decision.agents:
        for one in decision.agents:
            section.add_chart(
                BarChart(
                    title=f"{one.agent}: {one.chosen}",
                    labels=one.actions,
                    bars=[Bars("probability", one.probabilities)],
                    unit="%",
                ),
                is_half=True,
            )
    if decision.columns:
        _add_columns(section, decision)


def _add_columns(section: Section, decision: DecisionStory) -> None:
    what = " less ".join((decision.outcomes[0], decision.outcomes[-1]))
    section.add_chart(
        BarChart(
            title=f"What each column added to {what}",
            labels=[one.column for one in decision.columns],
            bars=[Bars("effect", [one.effect for one in decision.columns])],
            is_horizontal=True,
            by_sign=True,
            note="Each column of the window in turn replaced by its centre over the training data.",
        )
    )
    scaled = (np.array(decision.window, np.float64) - np.array(decision.centres)) / np.array(decision.scales)
    section.add_chart(
        HeatMap(
            title="The window, in units of the training data",
            values=scaled.T,
            rows=decision.column_names,
            columns=[str(k - len(scaled) + 1) for k in range(len(scaled))],
            limit=3.0,
            show_values=False,
            note="Newest row on the right; a colour is full from three deviations on.",
        )
    )
    section.add_table(
        ["column", Column("newest", decimals=4), Column("training centre", decimals=4), Column("effect", decimals=4, by_sign=True), "meaning"],
        [[one.column, one.newest, one.centre, one.effect, one.meaning] for one in decision.columns],
    )  # fmt: skip
    section.add_table(
        ["besides the window", Column("value", decimals=4)], [[one.name, one.value] for one in decision.tail]
    )
    if not decision.recomputed:
        section.add_note("The networks did not give the record's numbers again on this machine.", "warn")


def _add_wishes(section: Section, told: Explanation) -> None:
    for wish in told.wishes:
        verdict = wish.verdict + (f" ({wish.reason})" if wish.reason else "")
        section.add_text(f"{wish.agent}, intent {wish.intent}: {wish.wish}: {verdict}.")
        if wish.checks:
            section.add_table(
                ["check", "outcome", "value", "limit", "reason"],
                [
                    [one.name, Cell(one.outcome, _TONES[one.outcome]), one.value_text, one.limit_text, one.reason]
                    for one in wish.checks
                ],
            )


def _add_orders(section: Section, told: Explanation) -> None:
    section.add_table(
        ["order", "side", "lots", "type", "tag", "filled", "mean price", "status"],
        [
            [
                line.order, line.side, line.lots, line.order_type.replace("_", " "), line.tag, line.filled,
                "" if line.mean_price is None else float(line.mean_price), line.status.replace("_", " "),
            ]
            for line in told.orders
        ],
    )  # fmt: skip
