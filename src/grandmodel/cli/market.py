"""``grandmodel market``: fit the simulated market to real bars, see how far it resembles them, draw real sessions again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grandmodel.cli.options import grouped
from grandmodel.cli.output import JsonFlag, console, print_json, stdout
from grandmodel.cli.sources import FromOption, SourceOptions, ToOption, time_of

if TYPE_CHECKING:
    from grandmodel.charts import Page, Section
    from grandmodel.domain.blocks import Block
    from grandmodel.domain.instruments import Instrument
    from grandmodel.simulation.market import SimulatedMarket
    from grandmodel.simulation.market_bootstrap import BarSource, Bootstrap
    from grandmodel.simulation.market_fit import BarSeries
    from grandmodel.simulation.market_parameters import SimulatedParameters
    from grandmodel.simulation.market_resemblance import Compared, Measured

app = typer.Typer(
    help="Markets that are made: fit the simulated one to real bars, show it beside them, draw sessions of your own again.",
    no_args_is_help=True,
)

Files = Annotated[
    list[Path],
    typer.Argument(help="Real bars: one 30-minute file per instrument, 5-minute files beside.", show_default=False),
]
InstrumentNames = Annotated[
    list[str], typer.Option("--instrument", help="Whose bars a file holds; once per FILE, in their order.")
]
Instruments = Annotated[
    Path | None, typer.Option("--instruments", help="JSON file with instruments beside the built-in ones.")
]


@app.command("fit")
def fit(
    files: Files,
    instrument: InstrumentNames,
    instruments: Instruments = None,
    start: FromOption = None,
    end: ToOption = None,
    fit_version: Annotated[
        str,
        typer.Option(
            "--fit-version",
            help="1: the shipped market's. 2 adds weekdays, a session's volume, correlation that moves.",
        ),
    ] = "1",
    out: Annotated[Path, typer.Option("--out", help="Where the parameters go.")] = Path("market_parameters.json"),
    json: JsonFlag = False,
) -> None:
    """Estimate the simulated market from the bars of FILES and write its parameters."""
    from grandmodel.simulation.market_fit import fit_market, load_series
    from grandmodel.simulation.market_parameters import encode_parameters

    with console.status("reading bars"):
        series = _between(load_series(_paired(files, instrument, instruments)), start, end)
    with console.status("fitting"):
        parameters = fit_market(series, fit_version)
    out.write_bytes(encode_parameters(parameters))
    if json:
        print_json(parameters)
        return
    for name, inputs in parameters.inputs.items():
        for one in inputs:
            stdout.print(
                f"{name}: {one.bars} bars of {one.file}, {one.first_close[:10]} to {one.last_close[:10]}; "
                f"{one.bars_left_out} bars and {one.gaps_left_out} gaps left out"
            )
    for place, regime in enumerate(parameters.regimes):
        multiples = ", ".join(
            f"{name} {one.regime_volatility[place]:.2f}" for name, one in parameters.instruments.items()
        )
        days = 1.0 / max(1e-9, 1.0 - parameters.transition[place][place])
        stdout.print(f"regime {regime}: volatility x {multiples}; lasts {days:.0f} trading days on average")
    stdout.print(f"written to {out}")


@app.command("show")
def show(
    files: Files,
    instrument: InstrumentNames,
    instruments: Instruments = None,
    parameters: Annotated[
        Path | None, typer.Option("--parameters", help="Parameters file; default: the built-in one.")
    ] = None,
    start: FromOption = None,
    end: ToOption = None,
    seed: Annotated[int, typer.Option("--seed", help="First seed; the page draws its path.", min=0)] = 1,
    seeds: Annotated[int, typer.Option("--seeds", help="Seeds that make the bands.", min=1)] = 40,
    workers: Annotated[int | None, typer.Option(help="Threads; one per processor by default.", min=1)] = None,
    page: Annotated[Path, typer.Option("--page", help="Where the page goes.")] = Path("simulated-market.html"),
    no_page: Annotated[bool, typer.Option("--no-page", help="Print only.")] = False,
    json: JsonFlag = False,
) -> None:
    """Simulate the sessions of the real bars in FILES with many seeds and set both side by side, as a table and a page.

    A trading day of two instruments takes about 35 ms of one core: four years with 40 seeds half an hour of one core.
    """
    from rich.progress import Progress

    from grandmodel.simulation.market import SimulatedMarket
    from grandmodel.simulation.market_fit import load_series
    from grandmodel.simulation.market_parameters import built_in_parameters, load_parameters
    from grandmodel.simulation.market_resemblance import compare, facts, simulate_facts, simulated_series, span_of

    known = built_in_parameters() if parameters is None else load_parameters(parameters)
    with console.status("reading bars"):
        real = _between(load_series(_paired(files, instrument, instruments)), start, end)
    market = SimulatedMarket(known, [one.instrument for one in real], [one.schedule for one in real], seed)
    truth = facts(real)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("seeds", total=seeds)
        made = simulate_facts(
            known,
            real,
            range(seed, seed + seeds),
            workers or os.cpu_count() or 1,
            lambda: progress.advance(task),
        )
    table = compare(truth, made)
    if not no_page:
        drawn = simulated_series(market, *span_of(real))
        page.write_text(_page(known, market, real, drawn, table, seeds).render(), encoding="utf-8")
    if json:
        print_json(table)
        return
    _print_table(table)
    outside = sum(not row.is_in_band for row in table)
    stdout.print(f"{outside} of {len(table)} real values lie outside the band of {seeds} seeds", soft_wrap=True)
    if not no_page:
        stdout.print(f"page: {page}")


@app.command("bootstrap")
@grouped
def bootstrap(
    source: SourceOptions,
    out: Annotated[Path, typer.Option("--out", help="Store that the bars go into.")],
    sessions: Annotated[
        int | None, typer.Option("--sessions", help="Sessions to draw; default: as many as there are.", min=1)
    ] = None,
    mean_block: Annotated[
        float, typer.Option("--mean-block", help="Mean number of consecutive sessions drawn together.", min=1.0)
    ] = 10.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draw.", min=0)] = 1,
    first_day: Annotated[
        str | None,
        typer.Option("--first-day", help="Day that the drawn sessions begin on; default: the source's first."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Draw whole sessions of bars of your own store or files again, the same days for all instruments.

    The bars go into the store --out, which every command reads with --store. They are your prices in another order, chained by
    returns. They are not market data.
    """
    import numpy as np
    from rich.progress import Progress

    from grandmodel.data.historical.store import BlockPieces, Store
    from grandmodel.domain.blocks import Schema
    from grandmodel.domain.errors import UsageError
    from grandmodel.domain.time import ns_from_text, text_from_ns
    from grandmodel.simulation.market_bootstrap import Bootstrap, find_sessions

    if source.store is not None and out.resolve() == source.store.resolve():
        raise UsageError(f"--out {out}: found the store that the sessions come from, expected another")
    bars = _bar_source(source)
    with console.status("looking through the sessions"):
        pool = find_sessions(bars)
    try:
        start_ns = int(pool.day_ns[0]) if first_day is None else ns_from_text(first_day)
    except ValueError as error:
        raise UsageError(f"--first-day {first_day}: {error}; expected a day such as 2024-07-01") from error
    drawn = Bootstrap(pool, sessions or len(pool.day_ns), mean_block, seed, start_ns)
    store = Store(out)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("sessions", total=len(drawn.drawn) * len(bars.instruments))
        for place, instrument in enumerate(bars.instruments):
            opens = drawn.open_ns[place]
            pieces = BlockPieces(
                drawn.rows(place), int(opens[0]), int(opens[-1]) + pool.length_ns[place], pool.width_ns[place],
                drawn.bars(place, lambda: progress.advance(task)),
            )  # fmt: skip
            store.write(instrument, Schema.BARS, pieces, drawn.description)
    report = _bootstrap_report(
        drawn, out, text_from_ns(int(drawn.day_ns[0]))[:10], text_from_ns(int(drawn.day_ns[-1]))[:10]
    )
    if json:
        print_json(report)
        return
    for instrument, left_out in zip(bars.instruments, pool.left_out, strict=True):
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none"
        stdout.print(f"{instrument.id}: sessions left out: {reasons}", soft_wrap=True)
    stdout.print(
        f"{len(drawn.drawn)} sessions of {len(np.unique(drawn.drawn))} different days in {drawn.blocks} blocks, laid on {report['first_day']} "
        f"to {report['last_day']}; {drawn.steps_not_known} open at the close before, their own step not being known",
        soft_wrap=True,
    )
    stdout.print(f"written to {out}: not market data", soft_wrap=True)


def _bootstrap_report(drawn: Bootstrap, out: Path, first_day: str, last_day: str) -> dict[str, Any]:
    pool = drawn.pool
    return {
        "source": drawn.description,
        "store": str(out),
        "instruments": [str(one.id) for one in pool.source.instruments],
        "sessions_to_draw_from": len(pool.day_ns),
        "sessions_left_out": dict(zip([str(one.id) for one in pool.source.instruments], pool.left_out, strict=True)),
        "sessions": len(drawn.drawn),
        "blocks": drawn.blocks,
        "steps_not_known": drawn.steps_not_known,
        "first_day": first_day,
        "last_day": last_day,
        "bars": [drawn.rows(place) for place in range(len(pool.source.instruments))],
    }


def _bar_source(source: SourceOptions) -> BarSource:
    """The bars of files or of a store, as the bootstrap reads them."""
    from grandmodel.cli.sources import file_feed, store_feed
    from grandmodel.data.historical.store import Store
    from grandmodel.domain.blocks import BAR, Schema
    from grandmodel.domain.errors import UsageError
    from grandmodel.simulation.market_bootstrap import BarSource, source_of_blocks

    folder = source.store
    if (source.data is None) == (folder is None):
        raise UsageError("found neither or both of --data and --store, expected one of them")
    if folder is None:
        feed = file_feed(source, source.start, source.end)
        blocks = list(feed.blocks())
        if any(block.dtype != BAR for block in blocks):
            raise UsageError(f"{feed.description}: found trades, quotes or orders, expected bars")
        return source_of_blocks(feed.instruments, blocks, feed.description)
    feed = store_feed(source, folder, source.instrument or [])
    store = Store(folder)

    def read(place: int, start_ns: int, end_ns: int) -> Iterator[Block]:
        return store.blocks([feed.instruments[place]], Schema.BARS, start_ns, end_ns, bar_width=source.bar_width)

    return BarSource(feed.instruments, *feed.span, read, feed.description)


def _between(series: list[BarSeries], start: str | None, end: str | None) -> list[BarSeries]:
    from grandmodel.simulation.market_fit import part_of

    if start is None and end is None:
        return series
    start_ns = time_of("--from", start) if start is not None else -(2**62)
    end_ns = time_of("--to", end) if end is not None else 2**62
    return [part_of(one, start_ns, end_ns) for one in series]


def _paired(files: Sequence[Path], names: Sequence[str], instruments: Path | None) -> list[tuple[Path, Instrument]]:
    from grandmodel.domain.errors import UsageError
    from grandmodel.domain.instruments import BUILT_IN, instrument_named, load_instruments

    if len(files) != len(names):
        raise UsageError(
            f"found {len(files)} files and {len(names)} --instrument, expected one per file, in their order"
        )
    universe = BUILT_IN if instruments is None else BUILT_IN | load_instruments(instruments)
    return [(file, instrument_named(name, universe)) for file, name in zip(files, names, strict=True)]


def _print_table(table: Sequence[Compared]) -> None:
    from rich.table import Table

    shown = Table("instrument", "statistic", "real", "least", "median", "greatest", "")
    for row in table:
        numbers = [f"{value:.4g}" for value in (row.real, row.low, row.median, row.high)]
        shown.add_row(row.instrument, row.statistic, *numbers, "" if row.is_in_band else "outside")
    stdout.print(shown)


def _page(
    parameters: SimulatedParameters,
    market: SimulatedMarket,
    real: Sequence[BarSeries],
    simulated: Sequence[BarSeries],
    table: Sequence[Compared],
    seeds: int,
) -> Page:
    """The same pictures of real and simulated bars, one over the other."""
    from grandmodel.charts import Column, Page

    made = Page(
        "Simulated market beside the real one",
        f"Seed {market.seed}, fit version {parameters.fit_version}; the simulated side is not market data",
    )
    made.lead.add_text(
        "The simulated market draws the sessions of the real bars again, from the fitted parameters. It is another path: prices "
        "need not agree, their behaviour should. The pictures show one seed; the numbers the least, median and greatest value of "
        f"{seeds} seeds. The real market's value would be the least or the greatest by chance with one in {(seeds + 1) / 2:g}."
    )
    for one, other in zip(real, simulated, strict=True):
        _add_pictures(made.section(str(one.instrument.id)), one, other)
    numbers = made.section("Numbers")
    numbers.add_table(
        [
            "instrument",
            "statistic",
            *(Column(name, decimals=4) for name in ("real", "least", "median", "greatest")),
            "band",
        ],
        [
            [
                row.instrument,
                row.statistic,
                row.real,
                row.low,
                row.median,
                row.high,
                "" if row.is_in_band else "outside",
            ]
            for row in table
        ],
    )
    return made


def _add_pictures(section: Section, one: BarSeries, other: BarSeries) -> None:
    """Closes of the real bars ``one`` and the simulated ``other``, their session, and how far their returns are alike."""
    from grandmodel.charts import BarChart, Bars, LineChart, Series
    from grandmodel.simulation.market_resemblance import measure

    name = str(one.instrument.id)
    truth, drawn = measure(one)[0], measure(other)[0]
    section.add_chart(
        LineChart(
            title=f"{name}: closes of 30-minute bars",
            series=[
                Series(label, bars["ts_event"], one.instrument.prices_from_ticks(bars["close"]))
                for label, bars in (("real", one.bars), ("simulated", other.bars))
            ],
        )
    )
    count = min(len(truth.volatility_bp), len(drawn.volatility_bp))
    hours = [f"{(18 * 60 + 30 * k) // 60 % 24:02d}:{30 * (k % 2):02d}" for k in range(count)]
    if one.instrument.session_open != "18:00":
        hours = [f"+{30 * k} min" for k in range(count)]
    for title, left, right, unit in (
        ("volatility by half hour of the session", truth.volatility_bp, drawn.volatility_bp, "bps"),
        ("median volume by half hour of the session", truth.volume, drawn.volume, "lots"),
    ):
        section.add_chart(
            BarChart(
                title=f"{name}: {title}",
                labels=hours,
                bars=[Bars("real", left[:count]), Bars("simulated", right[:count])],
                unit=unit,
            )
        )
    _add_returns(section, name, truth, drawn)


def _add_returns(section: Section, name: str, truth: Measured, drawn: Measured) -> None:
    """Absolute returns over the volatility of their half hour: quantiles, memory, distribution."""
    import numpy as np

    from grandmodel.charts import Histogram, Points, Sample, XYChart
    from grandmodel.simulation.market_resemblance import absolute_autocorrelation

    probabilities = np.concatenate([np.linspace(0.02, 0.98, 49), [0.99, 0.995, 0.999, 0.9995]])
    section.add_chart(
        XYChart(
            title=f"{name}: quantiles of absolute returns over bucket volatility",
            points=[
                Points(
                    "quantiles",
                    np.quantile(truth.absolute_scaled, probabilities),
                    np.quantile(drawn.absolute_scaled, probabilities),
                )
            ],
            x_label="real",
            y_label="simulated",
            diagonal="equal",
        ),
        is_half=True,
    )
    lags = np.unique(np.round(np.geomspace(1, 920, 40)).astype(int))
    section.add_chart(
        XYChart(
            title=f"{name}: autocorrelation of absolute returns",
            points=[
                Points(label, lags, absolute_autocorrelation(measured, lags), line=True)
                for label, measured in (("real", truth), ("simulated", drawn))
            ],
            x_label="lag, bars",
        ),
        is_half=True,
    )
    section.add_chart(
        Histogram(
            title=f"{name}: absolute returns over bucket volatility",
            samples=[Sample("real", truth.absolute_scaled), Sample("simulated", drawn.absolute_scaled)],
            value_range=(0.0, 5.0),
        )
    )
