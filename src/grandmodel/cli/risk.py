"""``grandmodel risk``: the report of a run's value at risk, breakers and refusals; stress of a book; one VaR from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grandmodel.cli.output import JsonFlag, console, print_json, stdout
from grandmodel.domain.errors import UsageError
from grandmodel.domain.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grandmodel.domain.events import Record
    from grandmodel.risk.report import RiskReport
    from grandmodel.risk.stress import StressResult

app = typer.Typer(help="Value at risk, its backtests, breakers and stress.", no_args_is_help=True)

SHOWN_MOVES = 10
"""Moves of the ladder in the terminal, the newest; the page and ``--json`` have all."""

LARGEST_LOSS = 1e15
"""Sums above it do not fit into whole micros."""


@app.command("report")
def report_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or its name under runs/.")],
    page: Annotated[
        Path | None, typer.Option(help="Where to write the page; default: risk.html in the run folder.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Value at risk through a run and its backtest, components, correlations, breaker moves and refused orders."""
    from grandmodel.domain.instruments import MICROS_PER_UNIT
    from grandmodel.performance.periods import busiest_schedule
    from grandmodel.risk.report import build_risk_report, risk_page
    from grandmodel.runtime.results import load_results

    folder = _folder(run)
    with console.status("reading the journal"):
        results = load_results(folder)
        settings = results.settings
        instruments = list(results.instruments.values())
        rates = {settings.account.base_currency: MICROS_PER_UNIT, **settings.account.rates}
        report = build_risk_report(
            str(results.begin.run),
            _records(folder),
            instruments,
            settings.risk,
            settings.account.base_currency,
            [rates[instrument.currency] for instrument in instruments],
            busiest_schedule(results.schedules),
        )
    target = page or folder / "risk.html"
    try:
        target.write_text(risk_page(report), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target}: the page cannot be written ({error.strerror}); choose another --page") from error
    if as_json:
        print_json(report)
    else:
        _show_report(report, target)


@app.command("stress")
def stress_command(
    positions: Annotated[str, typer.Option(help="The book: INSTRUMENT=LOTS, comma between, such as NQ=3,CL=-2.")],
    prices: Annotated[str, typer.Option(help="Prices: INSTRUMENT=PRICE, comma between, such as NQ=20000,CL=78.5.")],
    scenario: Annotated[list[str] | None, typer.Option(help="Only this scenario; may be given again.")] = None,
    loss: Annotated[float | None, typer.Option(help="Also: how many times each scenario loses this sum.")] = None,
    instruments_file: Annotated[
        Path | None, typer.Option("--instruments", help="More instruments, from a JSON file.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """What the book loses under named days of the past and imagined ones."""
    from grandmodel.domain.instruments import BUILT_IN, load_instruments
    from grandmodel.risk.stress import SCENARIOS, positions_from_text, run_stress, scenario_named

    if loss is not None and not 0.0 < loss < LARGEST_LOSS:
        raise UsageError(f"--loss: found {loss}, expected a sum above 0, such as 100000")
    known = {**BUILT_IN, **(load_instruments(instruments_file) if instruments_file else {})}
    instruments, lots = positions_from_text(positions, known)
    quoted = dict(_price_part(part) for part in prices.split(","))
    missing = [x.id for x in instruments if x.id not in quoted]
    if missing:
        raise UsageError(f"found no price for {', '.join(missing)}, expected one in --prices for each position")
    currencies = {x.currency for x in instruments}
    if len(currencies) != 1:
        raise UsageError(f"found positions in {sorted(currencies)}, expected one currency: stress them one by one")
    marks = [x.ticks_from_price(quoted[x.id]) for x in instruments]
    chosen = [scenario_named(name) for name in scenario] if scenario else list(SCENARIOS)
    results = run_stress(chosen, instruments, lots, marks, [1_000_000] * len(lots))
    if as_json:
        print_json(results)
    else:
        _show_stress(results, loss, currencies.pop())


def _price_part(part: str) -> tuple[str, str]:
    name, sign, price = part.strip().partition("=")
    if not sign:
        raise UsageError(f"found {part.strip()!r} in --prices, expected INSTRUMENT=PRICE, such as NQ=20000")
    return name, price


def _folder(run: str) -> Path:
    for candidate in (local_path(run, "RUN"), Path("runs") / run):
        if candidate.is_dir():
            return candidate
    raise UsageError(f"found no run {run!r}, expected a run folder or the name of one under runs/")


def _records(folder: Path) -> Iterator[Record]:
    """Every record of the run in ``folder``, in order."""
    from grandmodel.journal.format import JournalReader, decode_record

    with JournalReader.open(folder) as reader:
        for row in reader.record_rows():
            yield decode_record(row.body)


def _show_report(report: RiskReport, target: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from grandmodel.risk.report import time_text

    moves = report.breaker[-SHOWN_MOVES:]
    table = Table(title=f"Risk of run {report.run}", show_header=False)
    for name, value in (
        ("bars with positions", f"{report.observations:,}"),
        ("exceptions", f"{report.exceptions} ({report.expected:.1f} expected at {report.level:.1%})"),
        ("Kupiec p", _p_text(report.kupiec_p)),
        ("exceptions of the positions held", f"{report.held_exceptions}, had nobody traded in the bar"),
        ("Kupiec p of these", _p_text(report.held_kupiec_p)),
        ("independence p", _p_text(report.independence_p)),
        ("conditional p", _p_text(report.conditional_p)),
        ("trading days with positions", f"{report.days:,}, {report.day_exceptions} of them exceptions"),
        ("traffic light", report.zone or f"none: {report.zone_absent}"),
        *((f"mean component VaR {k}", f"{v:,.0f} {report.currency}") for k, v in report.mean_components.items()),
        ("moves of the ladder", _moves_text(len(report.breaker), len(moves))),
        *((f"breaker {move.state}, {time_text(move.ts)}", move.text) for move in moves),
        ("profit before fees", f"{report.profit_before_fees:,.2f} {report.currency}"),
        ("of it without a stated VaR", f"{report.profit_untested:,.2f} {report.currency}"),
        ("refused", report.refusals.text()),
        *((f"refused by {k}", f"{v:,}") for k, v in report.refusals.refused_by.items()),
        *((f"cut by {k}", f"{v:,}") for k, v in report.refusals.cut_by.items()),
    ):
        table.add_row(Text(name), Text(value))
    stdout.print(table)
    console.print(f"page: {target}", soft_wrap=True)


def _moves_text(count: int, shown: int) -> str:
    return f"{count:,}" if shown == count else f"{count:,}; the last {shown} follow, the page has all"


def _p_text(value: float | None) -> str:
    from grandmodel.risk.report import p_text

    return "too few bars" if value is None else p_text(value)


def _show_stress(results: tuple[StressResult, ...], loss: float | None, currency: str) -> None:
    from rich.table import Table

    from grandmodel.domain.instruments import currency_text
    from grandmodel.risk.stress import scale_to_loss

    table = Table(title=f"Stress, {currency}")
    table.add_column("scenario")
    table.add_column("P&L", justify="right")
    table.add_column("by instrument")
    table.add_column("not moved")
    if loss is not None:
        table.add_column(f"times to lose {loss:,.0f}", justify="right")
    for result in results:
        parts = ", ".join(f"{name} {currency_text(micros)}" for name, micros in result.by_instrument.items())
        row = [result.scenario, currency_text(result.pnl_micros), parts, ", ".join(result.not_moved)]
        if loss is not None:
            times = scale_to_loss(result, round(loss * 1_000_000))
            row.append(f"{times:.2f}" if times != float("inf") else "never")
        table.add_row(*row)
    stdout.print(table)
