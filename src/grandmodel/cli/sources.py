"""Where a command's market data comes from: the options for files and stores, and the feeds that they describe."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from grandmodel.cli.output import console
from grandmodel.domain.errors import GrandModelError, UsageError
from grandmodel.domain.files import path_text
from grandmodel.domain.paths import local_path

if TYPE_CHECKING:
    from grandmodel.data.historical.profile import ImportProfile
    from grandmodel.runtime.feeds import MarketFeed

_OTHER_FLAG = re.compile(r"--(?!time-zone\b|label\b|profile\b)[a-z]")
"""A flag of ``grandmodel data import`` that a command which only runs does not have."""

DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data", help="A market data file, as INSTRUMENT=FILE (repeatable). Read through the importer and its checks."
    ),
]
TimeZoneOption = Annotated[str | None, typer.Option(help="Time zone of the files' stamps, such as America/New_York.")]
LabelOption = Annotated[str | None, typer.Option(help="open or close: which end of a bar its stamp names.")]
ProfileOption = Annotated[str | None, typer.Option(help="Import profile: a name, or a TOML or JSON file.")]
StoreOption = Annotated[Path | None, typer.Option(help="Take the data from this store (see: grandmodel data import).")]
InstrumentOption = Annotated[list[str] | None, typer.Option("--instrument", help="Instrument id (repeatable).")]
InstrumentsFile = Annotated[
    Path | None, typer.Option("--instruments", help="JSON or TOML file with instruments of your own.")
]
SchemaOption = Annotated[str, typer.Option(help="With --store: trades, quotes, book or bars.")]
WidthOption = Annotated[str, typer.Option(help="With --store and bars of several widths: which (30m).")]
FromOption = Annotated[str | None, typer.Option("--from", help="First day or time, UTC (2020-06-29).")]
ToOption = Annotated[str | None, typer.Option("--to", help="End day or time, UTC, not included.")]


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Market data in files, and how to read them."""

    data: DataOption = None
    time_zone: TimeZoneOption = None
    label: LabelOption = None
    profile: ProfileOption = None
    instruments: InstrumentsFile = None


@dataclass(frozen=True, kw_only=True)
class SourceOptions(FileOptions):
    """Market data in files or in a store, and which part of it."""

    store: StoreOption = None
    instrument: InstrumentOption = None
    bar_width: WidthOption = ""
    start: FromOption = None
    end: ToOption = None


def file_feed(source: FileOptions, start: str | None = None, end: str | None = None) -> MarketFeed:
    """The rows of the files of ``source`` between two times, read through the importer; what was found goes to stderr."""
    from grandmodel.data.historical.importing import read_file
    from grandmodel.domain.instruments import load_instruments
    from grandmodel.runtime.feeds import BlockFeed, instruments_named

    instruments, chosen = source.instruments, _profile_of(source)
    pairs = [text.partition("=") for text in source.data or []]
    if any(not separator for _, separator, _ in pairs):
        raise UsageError("--data: expected INSTRUMENT=FILE, such as --data NQ=bars.csv")
    for name, _, path in pairs:
        local_path(path, f"--data {name}")
    named = instruments_named([name for name, _, _ in pairs], load_instruments(instruments) if instruments else None)
    low = time_of("--from", start) if start else -(2**63)
    high = time_of("--to", end) if end else 2**63 - 1
    blocks = []
    for place, (instrument, (_, _, path)) in enumerate(zip(named, pairs, strict=True)):
        console.print(f"reading {path_text(path)} as {instrument.id}")
        try:
            found, report = read_file(Path(path), instrument, chosen, now_ns=time.time_ns())
        except GrandModelError as error:
            if _OTHER_FLAG.search(str(error)):
                console.print(
                    "note: other flags than --time-zone and --label are those of `grandmodel data import` (then --store), or lines of a "
                    "--profile FILE",
                    soft_wrap=True,
                )
            raise
        if len(found) != 1:
            raise UsageError(
                f"{path}: found the symbols {', '.join(found)}, expected one: import the file into a store and choose there"
            )
        for finding in (finding for series in report.series for finding in series.findings):
            console.print(f"  {finding.treatment.value}: {finding.count} {finding.kind.replace('_', ' ')}", style="dim")
        block = next(iter(found.values())).copy()
        block = block[(block["ts_init"] >= low) & (block["ts_init"] < high)]
        block["instrument"] = place
        blocks.append(block)
    return BlockFeed(
        named,
        blocks,
        "files: " + ", ".join(f"{i.id} {path_text(Path(p).name)}" for i, (_, _, p) in zip(named, pairs, strict=True)),
    )


def _profile_of(source: FileOptions) -> ImportProfile:
    """The profile named, with the zone and the label that were given over it."""
    from grandmodel.data.historical.profile import ImportProfile, Label, load_profile

    changes: dict[str, Any] = {}
    if source.time_zone:
        changes["time_zone"] = source.time_zone
    if source.label:
        changes["label"] = Label(source.label)
    return msgspec.structs.replace(load_profile(source.profile) if source.profile else ImportProfile(), **changes)


def store_feed(source: SourceOptions, store: Path, names: list[str], schema: str = "bars") -> MarketFeed:
    """The rows of instruments ``names`` in ``store`` between the two times of ``source``; all there are where none are given."""
    from grandmodel.data.historical.store import Store
    from grandmodel.domain.instruments import load_instruments
    from grandmodel.runtime.feeds import StoreFeed, StoreQuery, instruments_named

    file, start, end = source.instruments, source.start, source.end
    named = instruments_named(names, load_instruments(file) if file else None)
    if not store.is_dir():
        raise UsageError(f"{store}: found no such store; grandmodel data import FILE --store {store} makes one")
    entries = [
        entry for entry in Store(store).catalogue() if entry.instrument in names and entry.schema.startswith(schema)
    ]
    if not entries:
        raise UsageError(
            f"{store}: found no {schema} of {', '.join(names)}; `grandmodel data list --store {store}` shows what is there"
        )
    query = StoreQuery(
        store=str(store.resolve()),
        instruments=tuple(named),
        schema=schema,
        bar_width=source.bar_width,
        start_ns=time_of("--from", start) if start else min(entry.first_ns for entry in entries),
        end_ns=time_of("--to", end) if end else max(entry.last_ns for entry in entries) + 1,
    )
    return StoreFeed(query)


def time_of(option: str, text: str) -> int:
    """The day or time that ``text`` of ``option`` names, int64 ns UTC; raises ``UsageError`` where it names none."""
    from grandmodel.domain.time import ns_from_text

    try:
        return ns_from_text(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}; expected a date or a time with its zone") from error
