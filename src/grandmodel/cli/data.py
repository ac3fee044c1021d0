"""``grandmodel data``: bring market data into the store, see what is wrong with a file, see what is there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from grandmodel.cli.options import grouped
from grandmodel.cli.output import JsonFlag, console, print_json, stdout, write_page
from grandmodel.domain.errors import UsageError
from grandmodel.domain.files import path_text

if TYPE_CHECKING:
    from grandmodel.data.historical.profile import ImportProfile
    from grandmodel.data.historical.readers.options import TickColumns, TickOptions
    from grandmodel.data.historical.reports import ImportReport
    from grandmodel.domain.instruments import Instrument

app = typer.Typer(help="Market data: import files, check them, list the store.", no_args_is_help=True)

DEFAULT_STORE = Path("data-store")

ANOTHER_CLOCK = "another_clock_fits"
"""The finding that the stated time zone or label side is wrong by the calendar."""

Files = Annotated[
    list[Path], typer.Argument(help="Files: CSV, TSV, zip, gz, xz, zst, Parquet, DBN, pcap.", show_default=False)
]
InstrumentName = Annotated[
    str, typer.Option("--instrument", help="Whose units and sessions the file is in: NQ, CL, ...")
]
Instruments = Annotated[
    Path | None, typer.Option("--instruments", help="JSON or TOML file with instruments beside the built-in ones.")
]
StoreRoot = Annotated[Path, typer.Option("--store", help="Folder of the store.")]
Profile = Annotated[str, typer.Option("--profile", help="Import profile: a name, or a .toml or .json file.")]
Columns = Annotated[
    str,
    typer.Option(
        "--columns",
        help="Bars: roles in file order, such as stamp,open,high,low,close,volume (also date, clock, ms; - leaves one out). "
        "Ticks of a table of one's own: ts_event=time,price=px,size=qty,...",
    ),
]
Header = Annotated[bool | None, typer.Option("--header/--no-header", help="Whether the first line is a heading.")]
Delimiter = Annotated[str, typer.Option("--delimiter", help="The character between fields.")]
DecimalComma = Annotated[
    bool | None, typer.Option("--decimal-comma/--decimal-point", help="Numbers are written 1.234,5 or 1,234.5.")
]
DateOrderName = Annotated[str, typer.Option("--date-order", help="ymd, dmy or mdy.")]
TimeZone = Annotated[str, typer.Option("--time-zone", help="IANA name of the zone of stamps that name none.")]
LabelName = Annotated[str, typer.Option("--label", help="Which end of a bar its stamp names: open or close.")]
ForceClock = Annotated[
    bool,
    typer.Option(
        "--force-clock",
        help="Use --time-zone and --label as stated although the instrument's sessions speak against them.",
    ),
]
BarWidth = Annotated[str, typer.Option("--bar-width", help="5m, 30m, 1h, 1d.")]
PriceMultiplier = Annotated[str, typer.Option("--price-multiplier", help="Prices of the file times this are prices.")]
VolumeMultiplier = Annotated[str, typer.Option("--volume-multiplier", help="Volumes of the file times this are units.")]
MembersName = Annotated[
    str, typer.Option("--members", help="Files in a zip: auto, one (series in pieces) or each (a series).")
]
ConflictsName = Annotated[
    str, typer.Option("--conflicts", help="Rows of one time that differ: refuse, first, last, drop.")
]
OffTickName = Annotated[str, typer.Option("--off-tick", help="Prices between two ticks: auto, round, refuse.")]
MaxDropped = Annotated[float | None, typer.Option("--max-dropped", help="Largest share of rows that may be left out.")]
Date = Annotated[str, typer.Option("--date", help="Ticks: the day of stamps that count from midnight (YYYY-MM-DD).")]
Symbols = Annotated[str, typer.Option("--symbols", help="Ticks: read only these symbols (A,B).")]
PriceDivisor = Annotated[int, typer.Option("--price-divisor", help="Ticks: divide integer prices by this.")]
SymbolName = Annotated[str, typer.Option("--symbol", help="Which series of a file that holds several.")]
Mapped = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="The file's symbol stands for this instrument though its name says another: SYMBOL=INSTRUMENT (repeatable).",
    ),
]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", help="Read a larger file than usual: bytes=8GiB, ratio=1000, columns=5000, members=50000."),
]
OffTickShare = Annotated[float, typer.Option("--off-tick-share", help="Ticks: largest share of prices off the tick.")]
OffLotShare = Annotated[float, typer.Option("--off-lot-share", help="Ticks: largest share of sizes off the lot.")]


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How a file is to be read where it does not prove it by itself."""

    symbol: SymbolName = ""
    mapped: Mapped = None
    limit: Limit = None
    profile: Profile = ""
    columns: Columns = ""
    header: Header = None
    delimiter: Delimiter = ""
    decimal_comma: DecimalComma = None
    date_order: DateOrderName = ""
    time_zone: TimeZone = ""
    label: LabelName = ""
    force_clock: ForceClock = False
    bar_width: BarWidth = ""
    price_multiplier: PriceMultiplier = ""
    volume_multiplier: VolumeMultiplier = ""
    members: MembersName = ""
    conflicts: ConflictsName = ""
    off_tick: OffTickName = ""
    max_dropped: MaxDropped = None
    date: Date = ""
    symbols: Symbols = ""
    price_divisor: PriceDivisor = 0
    off_tick_share: OffTickShare = 0.001
    off_lot_share: OffLotShare = 0.001


@app.command("import")
@grouped
def import_files(
    files: Files,
    instrument: InstrumentName,
    reading: ReadingOptions,
    instruments: Instruments = None,
    store: StoreRoot = DEFAULT_STORE,
    json: JsonFlag = False,
) -> None:
    """Read FILES, check them and put them into the store. What a file does not prove and no flag says is refused."""
    from grandmodel.data.historical.importing import import_file
    from grandmodel.data.historical.store import Store

    known = _instrument(instrument, instruments)
    bars = _bar_profile(reading)
    ticks = _tick_options(reading, reading.symbols)
    target = Store(store)
    reports = []
    for file in files:
        with console.status(Text(f"importing {path_text(file.name)}")):
            report = import_file(target, file, known, bars, ticks, reading.symbol, now_ns=time.time_ns())
        reports.append(report)
        _warn_of_another_clock(report, on_stderr=json)
        if not json:
            _print_report(report)
            if report.is_known:
                stdout.print(f"{report.file}: imported before with the same settings; not read again", soft_wrap=True)
            stdout.print(
                f"{report.rows_added} rows added to {store}, {report.rows_known} already there, "
                f"{report.files_changed} files changed\n",
            )
    if json:
        print_json(reports)


@app.command("check")
@grouped
def check_file(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, zip, gz, xz, zst, Parquet, DBN, pcap.", show_default=False)],
    instrument: InstrumentName,
    reading: ReadingOptions,
    instruments: Instruments = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Where the page goes; default: data-check-FILE.html here.")
    ] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Print only.")] = False,
    json: JsonFlag = False,
) -> None:
    """Say what is wrong with FILE without importing it, and draw it as a page."""
    from grandmodel.data.historical.importing import read_file

    known = _instrument(instrument, instruments)
    bars = _bar_profile(reading)
    ticks = _tick_options(reading, reading.symbols or reading.symbol)
    with console.status(Text(f"checking {path_text(file.name)}")):
        blocks, report = read_file(file, known, bars, ticks, now_ns=time.time_ns())
    _warn_of_another_clock(report, on_stderr=json)
    if json:
        print_json(report)
    else:
        _print_report(report)
    if no_page:
        return
    from grandmodel.data.historical.picture import draw_report

    target = page or Path(f"data-check-{path_text(file.name).split('.', 1)[0]}.html")
    write_page(target, draw_report(report, blocks, known))
    console.print(f"page: {path_text(target)}")


@app.command("instruments")
def show_instruments(
    file: Annotated[Path, typer.Argument(help="A DBN file of instrument definitions.", show_default=False)],
    calendar: Annotated[
        str, typer.Option("--calendar", help="Trading calendar of venues other than CME Group's.")
    ] = "",
    json: JsonFlag = True,
) -> None:
    """The contracts a definition file defines, as JSON (with --json or without) for --instruments; margins are not in it and stay 0."""
    del json  # taken so that a program may say --json to every command
    from grandmodel.data.historical.readers.dbn import read_definitions

    if file.is_dir():
        raise UsageError(f"{file}: found a folder, expected a DBN file")
    latest = {found.instrument.id: found.instrument for found in read_definitions(file, calendar)}
    print_json(list(latest.values()))


@app.command("list")
def list_store(
    store: StoreRoot = DEFAULT_STORE,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare it with its hash.")] = False,
    json: JsonFlag = False,
) -> None:
    """What is in the store, by instrument and schema."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from grandmodel.data.errors import StoreError
    from grandmodel.data.historical.store import Store
    from grandmodel.domain.time import text_from_ns

    if store.exists() and not store.is_dir():
        raise UsageError(f"{store}: found a file, expected the folder of a store")
    if not store.exists() and store != DEFAULT_STORE:
        raise UsageError(f"{store}: found no such store; grandmodel data import FILE --store {store} makes one")
    opened = Store(store)
    entries = opened.catalogue()
    if json:
        print_json(entries)
    elif not entries:
        stdout.print(
            f"{store}: nothing is in the store; grandmodel data import FILE --instrument ID brings something in",
        )
    else:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in ("instrument", "schema", "days", "rows", "first", "last", "sources"):
            table.add_column(name, justify="right" if name in {"days", "rows", "sources"} else "left", no_wrap=True)
        for entry in entries:
            first, last = text_from_ns(entry.first_ns)[:10], text_from_ns(entry.last_ns)[:10]
            sources = str(len(entry.sources))
            table.add_row(entry.instrument, entry.schema, f"{entry.days:,}", f"{entry.rows:,}", first, last, sources)
        stdout.print(table)
    if verify:
        problems = opened.check()
        if problems:
            raise StoreError("; ".join(problems[:10]))
        console.print("every file is as it was written")


def _instrument(name: str, file: Path | None) -> Instrument:
    from grandmodel.domain.instruments import BUILT_IN, instrument_named, load_instruments

    return instrument_named(name, {**BUILT_IN, **load_instruments(file)} if file else None)


def _bar_profile(reading: ReadingOptions) -> ImportProfile:
    """The profile named, with the flags that were given over it."""
    import msgspec

    from grandmodel.data.historical.profile import ImportProfile, load_profile

    base: dict[str, Any] = msgspec.to_builtins(load_profile(reading.profile)) if reading.profile else {}
    # What was not said (empty, or None where the flag has a "no" of its own) leaves the profile as it is.
    same = (
        "header", "decimal_comma", "date_order", "time_zone", "label", "bar_width", "price_multiplier", "volume_multiplier",
        "members", "conflicts", "off_tick", "max_dropped",
    )  # fmt: skip
    given: dict[str, Any] = {name: None if (value := getattr(reading, name)) == "" else value for name in same}
    given["columns"] = reading.columns.split(",") if reading.columns and "=" not in reading.columns else None
    given["delimiter"] = {"\\t": "\t", "tab": "\t"}.get(reading.delimiter, reading.delimiter) or None
    given["force_clock"] = reading.force_clock or None
    merged = base | {name: value for name, value in given.items() if value is not None}
    try:
        return msgspec.convert(merged, ImportProfile, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"the flags do not make an import profile: {error}") from error


def _tick_options(reading: ReadingOptions, symbols: str) -> TickOptions:
    from grandmodel.data.historical.readers.limits import limits_from_texts
    from grandmodel.data.historical.readers.options import TickOptions

    return TickOptions(
        time_zone=reading.time_zone,
        date=reading.date,
        symbol=reading.symbol,
        symbols=tuple(symbols.split(",")) if symbols else (),
        price_divisor=reading.price_divisor,
        off_tick_share=reading.off_tick_share,
        off_lot_share=reading.off_lot_share,
        columns=_tick_columns(reading.columns) if "=" in reading.columns else None,
        mapped=_mapped_symbols(reading.mapped or []),
        limits=limits_from_texts(reading.limit or []),
    )


def _mapped_symbols(texts: list[str]) -> dict[str, str]:
    pairs = [text.rpartition("=")[::2] for text in texts]  # a symbol may hold the sign: CL=F=CL
    if any(not symbol.strip() or not instrument.strip() for symbol, instrument in pairs):
        raise UsageError(f"--map: found {' '.join(texts)!r}, expected SYMBOL=INSTRUMENT: --map USATECHIDXUSD=NQ")
    return {symbol.strip(): instrument.strip() for symbol, instrument in pairs}


def _tick_columns(text: str) -> TickColumns:
    from grandmodel.data.historical.readers.options import TickColumns

    named = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    try:
        return TickColumns(**{name.strip(): column.strip() for name, column in named.items()})
    except TypeError as error:
        raise UsageError(
            f"--columns: found {text!r}, expected ts_event=NAME and price=NAME or bid_price, ask_price"
        ) from error


def _warn_of_another_clock(report: ImportReport, *, on_stderr: bool) -> None:
    """Say it before all else where the calendar proves another clock than the one stated: every time would be wrong."""
    for series in report.series:
        for finding in series.findings:
            if finding.kind == ANOTHER_CLOCK:
                warning = f"warning: {report.file}: {series.symbol}: the clock looks wrong: {finding.text}"
                (console if on_stderr else stdout).print(warning, style="bold yellow", soft_wrap=True)


def _print_report(report: ImportReport) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from grandmodel.domain.time import text_from_ns

    shown = report.series[:20]
    for series in shown:
        kept = f"{series.rows_kept:,} of {series.rows_read:,} rows kept as"
        if series.rows_kept > series.rows_read:  # a snapshot of an exchange gives a trade and a quote
            kept = f"{series.rows_read:,} rows of the file give {series.rows_kept:,} rows of"
        stdout.print(
            f"{report.file}: {series.symbol}: {kept} {f'{series.schema} {series.bar_width}'.strip()}, "
            f"{text_from_ns(series.first_ns)[:19]} to {text_from_ns(series.last_ns)[:19]} UTC",
            soft_wrap=True,
        )
        for sentence in series.evidence:
            stdout.print(f"  {sentence}", soft_wrap=True)
        if series.findings:
            table = Table(box=SIMPLE_HEAD, pad_edge=False)
            table.add_column("finding", no_wrap=True)
            table.add_column("treatment", no_wrap=True)
            table.add_column("count", justify="right", no_wrap=True)
            table.add_column("what")
            for finding in sorted(series.findings, key=lambda finding: finding.kind != ANOTHER_CLOCK):
                lines = f" (lines {', '.join(map(str, finding.lines))}{', ...' * (finding.count > len(finding.lines))})"
                what = finding.text + (lines if finding.lines else "")
                style = "bold yellow" if finding.kind == ANOTHER_CLOCK else None
                table.add_row(finding.kind, str(finding.treatment), f"{finding.count:,}", what, style=style)
            stdout.print(table)
    if len(report.series) > len(shown):
        stdout.print(f"... and {len(report.series) - len(shown)} more series (--json shows all)")
    for refused in report.refused[:20]:
        stdout.print(f"{report.file}: {refused.symbol}: left out: {refused.reason}", soft_wrap=True)
    if len(report.refused) > 20:
        stdout.print(f"... and {len(report.refused) - 20} more left out (--json shows all)")
