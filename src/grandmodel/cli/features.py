"""``grandmodel features``: the matrix that an agent would see at a moment, and a check of whole histories."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from grandmodel.cli.options import grouped
from grandmodel.cli.output import JsonFlag, console, print_json, stdout
from grandmodel.cli.sources import SourceOptions, file_feed, store_feed
from grandmodel.domain.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

app = typer.Typer(help="The two feature matrices: look at one, check a history.", no_args_is_help=True)

NEWEST_ROWS = 5
"""Rows shown in the terminal; the page has all."""

MatrixOption = Annotated[
    Literal["strategic", "tactical"], typer.Option(help="48 x 13 on 30-minute bars, or 60 x 7 on 5-minute bars.")
]
PageOption = Annotated[Path | None, typer.Option("--page", help="Write the page here.")]


@app.command("show")
@grouped
def show_command(
    at: Annotated[
        str, typer.Option(help="A time with its zone (2023-03-01T15:00:00+00:00), or a date: its midnight, UTC.")
    ],
    source: SourceOptions,
    matrix: MatrixOption = "strategic",
    page: PageOption = Path("features.html"),
    as_json: JsonFlag = False,
) -> None:
    """Show the matrix that an agent would have seen at a moment: a table, and a page with a heat map and each column explained."""
    from grandmodel.domain.time import ns_from_text, text_from_ns
    from grandmodel.features.inspect import matrix_at, matrix_page

    try:
        at_ns = ns_from_text(at)
    except ValueError as error:
        raise UsageError(f"--at {at}: {error}") from error
    name, bars = _bars(source)
    view = matrix_at(bars, matrix, at_ns)
    for caution in view.cautions:
        _say(caution)
    if page is not None:
        _write_page(page, matrix_page(view, name))
    if as_json:
        rows = [[None if math.isnan(value) else value for value in row] for row in view.values.tolist()]
        print_json(
            {
                "instrument": name,
                "columns": view.schema.names,
                "ts_event": view.ts_event.tolist(),
                "values": rows,
                "bad_stretch_bars": view.bad_bars,
            }
        )
        return
    from rich.table import Table

    newest = list(zip(view.ts_event.tolist(), view.values.tolist(), strict=True))[-NEWEST_ROWS:]
    heads = [text_from_ns(stamp)[5:16].replace("T", " ") for stamp, _ in newest]
    table = Table("column", *heads, title=f"{name}: {matrix} matrix, closes in UTC, newest last")
    for place, column in enumerate(view.schema.columns):
        shown = ("-" if math.isnan(values[place]) else f"{values[place]:.3f}" for _, values in newest)
        table.add_row(column.name, *shown)
    stdout.print(table)
    for column in view.schema.columns:
        stdout.print(f"  {column.name}: {column.meaning}", style="dim", soft_wrap=True)
    console.print(f"page: {page}", soft_wrap=True)


@app.command("check")
@grouped
def check_command(
    source: SourceOptions,
    matrix: MatrixOption = "strategic",
    page: PageOption = Path("features-check.html"),
    as_json: JsonFlag = False,
) -> None:
    """Check a history: distribution, missing values, drift between its two halves, and which columns move together."""
    from grandmodel.domain.time import text_from_ns
    from grandmodel.features.inspect import check_features, check_page

    name, bars = _bars(source)
    found = check_features(bars, matrix)
    for caution in found.cautions:
        _say(caution)
    if page is not None:
        _write_page(page, check_page(found, name))
    if as_json:
        print_json(
            {
                "instrument": name,
                "columns": found.columns,
                "gaps": found.gaps,
                "bars": len(bars),
                "bad_stretch_bars": found.bad_bars,
            }
        )
        return
    from rich.table import Table

    table = Table(
        "column", "missing", "mean", "deviation", "drift", title=f"{name}: {matrix} features over {len(bars):,} bars"
    )
    for column in found.columns:
        table.add_row(
            column.name,
            f"{column.missing_share:.2%}",
            f"{column.mean:.4f}",
            f"{column.deviation:.4f}",
            f"{column.drift:.3f}",
        )
    stdout.print(table)
    for gap_name, first, last, count in found.gaps:
        stdout.print(f"  {gap_name}: {count} values missing, {text_from_ns(first)[:16]} to {text_from_ns(last)[:16]}")
    console.print(f"page: {page}", soft_wrap=True)


@app.command("compute")
@grouped
def compute_command(
    out: Annotated[Path, typer.Argument(help="Folder for the rows: one Parquet file an instrument.")],
    source: SourceOptions,
    matrix: MatrixOption = "strategic",
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps years already computed, by content.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads; one per processor by default.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compute the rows of several instruments at once, year by year, with what is already known taken from a cache."""
    import polars as pl
    from rich.progress import Progress

    from grandmodel.features.batch import RowsJob, RowsProgress, compute_rows
    from grandmodel.features.inspect import check_width, count_bad_bars

    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: found a file, expected a folder for the rows (it is made where it is missing)")
    if source.data:
        parts = [replace(source, data=[one], instrument=None) for one in source.data]
    else:
        parts = [replace(source, instrument=[name]) for name in source.instrument or []] or [source]
    found = [_bars(part) for part in parts]
    for name, bars in found:
        check_width(bars, matrix)
        bad_bars = count_bad_bars(bars)
        if bad_bars:
            _say(f"{name}: {bad_bars:,} of {len(bars):,} bars lie in a marked bad stretch.")
    with Progress(console=console) as progress:
        task = progress.add_task("features")

        def on_progress(now: RowsProgress) -> None:
            what = f"{now.instrument} {now.year}{' (cached)' if now.was_cached else ''}"
            progress.update(task, total=now.total, completed=now.done, description=what)

        results = compute_rows([RowsJob(name, matrix, bars) for name, bars in found], cache, on_progress, workers)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{out}: the folder cannot be made ({error.strerror}), expected one that can") from error
    report = []
    for result in results:
        path = out / f"{result.instrument}-{result.schema.name}.parquet"
        columns = {name: result.rows[:, place] for place, name in enumerate(result.schema.names)}
        pl.DataFrame({"ts_event": result.ts_event, **columns}).write_parquet(path)
        report.append(
            {
                "instrument": result.instrument,
                "rows": len(result.rows),
                "years": result.years,
                "from_cache": result.cached_years,
                "schema": result.schema.hash,
                "file": str(path),
            }
        )
    if as_json:
        print_json(report)
        return
    for line in report:
        stdout.print(
            f"{line['instrument']}: {line['rows']:,} rows to {line['file']}, schema {str(line['schema'])[:16]}"
        )


def _bars(source: SourceOptions) -> tuple[str, pl.DataFrame]:
    """The bars of one instrument as the frame that the matrices take, prices in price units."""
    import numpy as np
    import polars as pl

    from grandmodel.domain.blocks import BAR, Flag

    _check_span(source.start, source.end)
    try:
        if source.data:
            feed = file_feed(source, source.start, source.end)
        elif source.store and source.instrument:
            feed = store_feed(source, source.store, source.instrument)
        else:
            raise UsageError("found no data: give --data INSTRUMENT=FILE, or --store DIR with --instrument")
        if len(feed.instruments) != 1:
            raise UsageError(f"found {len(feed.instruments)} instruments, expected one")
        blocks = [block for block in feed.blocks() if len(block)]
    except StopIteration:
        blocks = []
    except ValueError as error:
        raise UsageError(f"the data cannot be read as asked: {error}") from error
    if not blocks:
        raise UsageError("found no bars in the span asked for, expected at least one: choose another --from and --to")
    rows = np.concatenate(blocks)
    one = feed.instruments[0]
    if rows.dtype != BAR:
        raise UsageError(f"{one.id}: found trades, quotes or orders, expected bars")
    volume = rows["volume"].astype(np.float64)
    frame = pl.DataFrame(
        {
            "ts_open": rows["ts_open"],
            "ts_event": rows["ts_event"],
            **{name: one.prices_from_ticks(rows[name]) for name in ("open", "high", "low", "close")},
            "volume": pl.Series(volume).set(pl.Series(volume < 0), None),
            "bad_stretch": (rows["flags"] & int(Flag.BAD_STRETCH)) != 0,
        }
    )
    return str(one.id), frame


def _check_span(start: str | None, end: str | None) -> None:
    """Refuse a ``--from`` or ``--to`` that is no time, and a span without length."""
    from grandmodel.domain.time import ns_from_text

    limits = []
    for name, text in (("--from", start), ("--to", end)):
        try:
            limits.append(None if text is None else ns_from_text(text))
        except ValueError as error:
            raise UsageError(f"{name} {text}: {error}") from error
    low, high = limits
    if low is not None and high is not None and low >= high:
        raise UsageError(f"found --from {start} and --to {end}, expected --from before --to")


def _write_page(target: Path, html: str) -> None:
    try:
        target.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target}: the page cannot be written ({error.strerror}); choose another --page") from error


def _say(caution: str) -> None:
    """One line on stderr that must not be overlooked."""
    console.print(f"caution: {caution}", style="yellow", soft_wrap=True)
