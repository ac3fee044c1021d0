"""``grandmodel explain``: why a run decided what it decided at one record, or why it decided nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grandmodel.cli.output import (
    AgentsFromOption,
    JsonFlag,
    RunArgument,
    TrustOption,
    console,
    print_json,
    print_table,
    run_folder,
    say,
    time_text,
    trusted_agents,
)

if TYPE_CHECKING:
    from grandmodel.runtime.explain import DecisionStory, Explanation

MOST_COLUMNS = 6
"""Columns that the terminal shows; ``--page`` and ``--json`` have all."""


def explain_command(
    run: RunArgument,
    decision: Annotated[
        str,
        typer.Argument(
            help="Number of a record, or a time (2024-07-10T14:00Z); default: the last decision, or the last wish where there is none."
        ),
    ] = "",
    page: Annotated[Path | None, typer.Option(help="Also write a page with charts to this file.")] = None,
    trust_agents: TrustOption = False,
    agents_from: AgentsFromOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Why a decision was taken: what came in, what each agent believed, which columns mattered, what risk did to it."""
    from grandmodel.runtime.explain import explain
    from grandmodel.runtime.explain_page import explain_page
    from grandmodel.runtime.feeds import StoreResolver

    agents = trusted_agents(trust=trust_agents, folder=agents_from)
    with console.status("running the journal again up to the record"):
        told = explain(run_folder(run), decision, resolver=StoreResolver(), build_agent=agents)
    if page is not None:
        page.write_text(explain_page(told), encoding="utf-8")
    if as_json:
        print_json(told)
        return
    _show(told)
    if page is not None:
        say(f"page: {page}")


def _show(told: Explanation) -> None:
    from grandmodel.domain.instruments import currency_text

    equity = currency_text(told.equity_micros, told.base_currency)
    say(f"record {told.record} of run {told.run} at {time_text(told.ts)}: cause {told.cause}, equity {equity}")
    for bar in told.bars:
        volume = "unknown" if bar.volume < 0 else f"{bar.volume:,}"
        marks = f", marked {', '.join(bar.marks)}" if bar.marks else ""
        say(
            f"  {bar.instrument} {bar.minutes:g}-minute bar: open {bar.open}, high {bar.high}, low {bar.low}, close {bar.close}, "
            f"volume {volume}{marks}"
        )
    if told.why_none:
        say(f"nothing was decided: {told.why_none}")
    for decision in told.decisions:
        if decision.decided:
            _show_decision(decision)
    _show_what_followed(told)
    nearest = [
        f"{name} decision: record {number}"
        for name, number in (("previous", told.previous_decision), ("next", told.next_decision))
        if number is not None
    ]
    if nearest:
        say("; ".join(nearest))


def _show_decision(decision: DecisionStory) -> None:
    say(f"{decision.instrument}, {decision.layer} layer, model {decision.model}: {decision.summary}")
    if decision.sample:
        say(f"  {decision.sample}")
    for reason in decision.reasons:
        say(f"  {reason.code}: {reason.meaning}")
    rows = [
        [
            one.agent,
            f"{one.weight:.3f}",
            ", ".join(f"{name} {share:.1%}" for name, share in zip(one.actions, one.probabilities, strict=True)),
            one.chosen,
        ]
        for one in decision.agents
    ]
    if decision.belief:
        joint = ", ".join(f"{name} {share:.1%}" for name, share in zip(decision.outcomes, decision.belief, strict=True))
        rows.append(["together", "1.000", joint, ""])
    print_table("", ["agent", "weight", "belief", "leans to"], rows, right={"weight"})
    for line in (*decision.uncertainty, *decision.sizing):
        say(f"  {line}")
    if decision.columns:
        what = " less ".join((decision.outcomes[0], decision.outcomes[-1]))
        print_table(
            f"  columns that mattered most to {what} ({MOST_COLUMNS} of {len(decision.columns)})",
            ["column", "newest", "training centre", "effect", "meaning"],
            [
                [one.column, f"{one.newest:.4f}", f"{one.centre:.4f}", f"{one.effect:+.4f}", one.meaning]
                for one in decision.columns[:MOST_COLUMNS]
            ],
            right={"newest", "training centre", "effect"},
        )
        if not decision.recomputed:
            say("  warning: the networks did not give the record's numbers again on this machine")


def _show_what_followed(told: Explanation) -> None:
    for wish in told.wishes:
        verdict = wish.verdict.replace("_", " ") + (f" ({wish.reason})" if wish.reason else "")
        say(f"{wish.agent} wished, intent {wish.intent}: {wish.wish}; {verdict}")
        if wish.checks:
            print_table(
                "",
                ["check", "outcome", "value", "limit", "reason"],
                [[one.name, one.outcome, one.value_text, one.limit_text, one.reason] for one in wish.checks],
                right={"value", "limit"},
            )
    for line in told.orders:
        mean = f" at a mean of {line.mean_price}" if line.filled else ""
        status = line.status.replace("_", " ") + ("" if line.ended else ", still open")
        say(
            f"order {line.order}: {line.side} {line.lots} {line.instrument} {line.order_type.replace('_', ' ')}, {line.tag}: "
            f"{line.filled} filled{mean}, {status}"
        )
    for alert in told.alerts:
        say(f"alert {alert.severity} {alert.code}: {alert.text}")
