"""``grandmodel venue``: how far fills of the simulated venue are from what a recorded feed would have filled."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grandmodel.cli.options import grouped
from grandmodel.cli.output import JsonFlag, console, print_json, print_table, say, time_text, write_page
from grandmodel.cli.sources import (
    FileOptions,
    FromOption,
    InstrumentsFile,
    LabelOption,
    ProfileOption,
    SourceOptions,
    TimeZoneOption,
    ToOption,
    file_feed,
    store_feed,
)
from grandmodel.domain.errors import UsageError
from grandmodel.domain.files import path_text

if TYPE_CHECKING:
    from grandmodel.charts import Page
    from grandmodel.runtime.feeds import MarketFeed
    from grandmodel.runtime.venue_check import GroupResult, VenueCheckReport

app = typer.Typer(help="The simulated venue: measure its fills on a recorded feed.", no_args_is_help=True)


@dataclass(frozen=True, kw_only=True)
class FeedOptions:
    """How the feed is to be read."""

    time_zone: TimeZoneOption = None
    label: LabelOption = None
    profile: ProfileOption = None
    instruments: InstrumentsFile = None
    start: FromOption = None
    end: ToOption = None


@app.command("check")
@grouped
def check_command(
    feed: Annotated[
        Path,
        typer.Argument(
            help="A file of order-by-order events, or of best quotes with trades; or the folder of a store.",
            show_default=False,
        ),
    ],
    instrument: Annotated[str, typer.Option("--instrument", help="Whose feed it is, such as ES.")],
    reading: FeedOptions,
    rule: Annotated[
        list[str] | None, typer.Option("--rule", help="touch, through or queue (repeatable); default: all three.")
    ] = None,
    orders: Annotated[int, typer.Option("--orders", min=1, help="Moments at which orders are drawn.")] = 344,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the drawing.")] = 1,
    quotes: Annotated[
        bool,
        typer.Option(
            "--quotes", help="Also let the venue see no more than the best quotes and trades of an order-by-order feed."
        ),
    ] = False,
    page: Annotated[Path | None, typer.Option("--page", help="Draw the tables as a page into this file.")] = None,
    json: JsonFlag = False,
) -> None:
    """Draw orders, give each alone to the simulated venue on FEED, and compare its fills with what FEED's own messages would have filled."""
    import numpy as np
    from rich.progress import Progress

    from grandmodel.runtime.venue_check import check_venue
    from grandmodel.simulation.models import FillRuleName

    try:
        rules = [FillRuleName(name) for name in rule] if rule else list(FillRuleName)
    except ValueError as error:
        raise UsageError(f"--rule: found {', '.join(rule or [])}, expected {', '.join(FillRuleName)}") from error
    opened = _opened(feed, instrument, reading)
    block = np.concatenate(list(opened.blocks()))
    began = time.perf_counter()
    with Progress(console=console) as progress:
        task = progress.add_task("drawing orders", total=None)

        def on_order(what: str, done: int, total: int) -> None:
            progress.update(task, total=total, completed=done, description=what)

        report = check_venue(
            block, opened.instruments[0], opened.schedules[0], rules, source=path_text(feed.name), orders=orders, seed=seed,
            also_quotes=quotes, said=on_order,
        )  # fmt: skip
    if page is not None:
        write_page(page, _page(report).render())
    if json:
        print_json(report)
    else:
        _print(report)
    console.print(f"{time.perf_counter() - began:.1f} s" + (f"; page: {path_text(page)}" if page else ""))


def _opened(feed: Path, instrument: str, reading: FeedOptions) -> MarketFeed:
    """The rows of a file, or of a store: the order book where there is one, else quotes."""
    if feed.is_dir():
        from grandmodel.data.historical.store import Store

        kept = {entry.schema for entry in Store(feed).catalogue() if entry.instrument == instrument}
        schema = next((schema for schema in ("book", "quotes") if schema in kept), None)
        if schema is None:
            found = ", ".join(sorted(kept)) or "nothing"
            raise UsageError(
                f"{feed}: found {found} of {instrument}, expected its order book or quotes; grandmodel data import FILE "
                f"--instrument {instrument} --store {feed} brings them in"
            )
        source = SourceOptions(instruments=reading.instruments, start=reading.start, end=reading.end)
        return store_feed(source, feed, [instrument], schema)
    files = FileOptions(
        data=[f"{instrument}={feed}"], time_zone=reading.time_zone, label=reading.label, profile=reading.profile,
        instruments=reading.instruments,
    )  # fmt: skip
    return file_feed(files, reading.start, reading.end)


_HEADS = (
    "order", "orders", "filled", "possible", "false", "lots", "lots possible", "false lots", "missed lots", "early", "early s", "late",
    "late s", "too good", "ticks too good", "too bad", "most",
)  # fmt: skip


def _line(one: GroupResult, is_known: bool) -> list[str]:
    """A row of the table for people; without order ids what proves nothing is a dash."""

    def share(part: int, whole: int) -> str:
        return f"{part / whole:.1%}" if whole else "-"

    late = [
        f"{one.missed_lots:,}",
        share(one.late_lots, one.shared_lots),
        f"{one.late_s:.3f}",
        f"{one.too_bad_ticks:.3f}",
    ]
    missed, late_share, late_s, too_bad = late if is_known else ["-"] * 4
    return [
        one.group, f"{one.orders:,}", f"{one.filled_orders:,}", f"{one.oracle_orders:,}", share(one.false_orders, one.filled_orders),
        f"{one.lots:,}", f"{one.oracle_lots:,}", f"{one.false_lots:,}", missed, share(one.early_lots, one.shared_lots),
        f"{one.early_s:.3f}", late_share, late_s, share(one.too_good_lots, one.shared_lots),
        f"{one.too_good_ticks:.3f}", too_bad, f"{one.best_ticks}",
    ]  # fmt: skip


def _tables(report: VenueCheckReport) -> list[tuple[str, str, list[GroupResult]]]:
    """(feed, rule, its lines) in the order in which they were measured."""
    named = dict.fromkeys((one.feed, one.rule) for one in report.results)
    return [(*name, [one for one in report.results if (one.feed, one.rule) == name]) for name in named]


def _print(report: VenueCheckReport) -> None:
    say(
        f"{report.source}: {report.instrument}, {report.rows:,} rows, {report.events:,} exchange events, {time_text(report.first_ns)} to "
        f"{time_text(report.last_ns)}, seed {report.seed}"
    )
    for note in report.notes:
        say(note)
    for feed, rule, lines in _tables(report):
        rows = [_line(one, report.names_orders) for one in lines]
        print_table(f"{rule.upper()}, the venue sees {feed}", _HEADS, rows, set(_HEADS[1:]))
    say(_MEANING)
    for sentence in report.sentences:
        say(sentence)


_MEANING = (
    "false: orders of which the venue fills lots that would not have filled; early and late: lots filled before or after the exchange event that "
    "would have filled them, and the mean over all lots in seconds; too good: lots at a better price than possible, the mean over all lots in "
    "ticks, and the lot that is too good by most"
)


def _page(report: VenueCheckReport) -> Page:
    """The tables, and a picture of what is false, early and too good by kind of order."""
    from grandmodel.charts import BarChart, Bars, Page

    made = Page(
        "Fills of the simulated venue beside the recorded feed",
        f"{report.source}: {report.instrument}, {report.rows:,} rows, {time_text(report.first_ns)} to {time_text(report.last_ns)}, "
        f"seed {report.seed}",
    )
    for sentence in report.sentences:
        made.lead.add_text(sentence[0].upper() + sentence[1:] + ".")
    for note in report.notes:
        made.lead.add_note(note[0].upper() + note[1:] + ".", "caution")
    for feed in dict.fromkeys(one.feed for one in report.results):
        tables = [(rule, lines) for of, rule, lines in _tables(report) if of == feed]
        section = made.section(
            "The venue sees the order book" if feed == "book" else "The venue sees best quotes and trades"
        )
        labels = [one.group for one in tables[0][1]]
        for title, unit, values in (
            (
                "orders with a false fill, of those filled",
                "%",
                [[100 * one.false_share for one in lines] for _, lines in tables],
            ),
            ("seconds early, mean a lot", "s", [[one.early_s for one in lines] for _, lines in tables]),
            ("ticks too good, mean a lot", "ticks", [[one.too_good_ticks for one in lines] for _, lines in tables]),
        ):
            bars = [Bars(rule, row) for (rule, _), row in zip(tables, values, strict=True)]
            section.add_chart(BarChart(title=title, labels=labels, bars=bars, unit=unit, is_horizontal=True))
        for rule, lines in tables:
            section.add_table(_HEADS, [_line(one, report.names_orders) for one in lines], rule.upper())
    made.section("What the columns say").add_text(_MEANING[0].upper() + _MEANING[1:] + ".")
    return made
