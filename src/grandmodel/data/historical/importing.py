"""From a file to checked blocks, and from there into the store.

``read_file`` is the whole way of one file: its format is told by its content, bars go through ``readers/bars.py`` and
``quality.py``, trades, quotes and orders through the readers of ``readers/registry.py`` and ``tick_quality.py``. What was
found, repaired, marked and left out is the ``ImportReport``. ``import_file`` puts the blocks into a ``Store``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.known_imports import import_key, keep_import, known_import
from grandmodel.data.historical.profile import PRICE_ROLES, DateOrder, ImportProfile, Label, text_from_width
from grandmodel.data.historical.quality import check_bars
from grandmodel.data.historical.readers.bars import read_bars, with_known_layout
from grandmodel.data.historical.readers.dbn_bars import raw_bars_of
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.raw_bars import BarRows, RawBars
from grandmodel.data.historical.readers.registry import TickReader, reader_for
from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.data.historical.reports import ImportReport, RefusedSeries, SeriesReport
from grandmodel.data.historical.series import CheckedBars
from grandmodel.data.historical.stamps import Stamps, first_lines, implausible_stamps
from grandmodel.data.historical.store import BlockPieces, Store
from grandmodel.data.historical.symbols import check_symbols, counted
from grandmodel.data.historical.tick_quality import check_book, check_ticks
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import BAR, BOOK, UNKNOWN_VOLUME, Block, Schema, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.files import path_text
from grandmodel.domain.instruments import Instrument


def read_file(
    path: Path,
    instrument: Instrument,
    profile: ImportProfile | None = None,
    options: TickOptions | None = None,
    *,
    now_ns: int | None = None,
) -> tuple[dict[str, Block], ImportReport]:
    """The series in the file ``path`` as frozen blocks in the units of ``instrument``, by symbol, and the report.

    ``now_ns`` is the caller's clock: rows stamped later are left out as no market data.

    A ``profile`` (even an empty one with columns) is about bars; ``options`` about trades, quotes and orders. What the file
    itself does not prove and neither states is refused: ``AmbiguousError`` and ``ReadError`` name the line and the flag that
    settles it. A path that is no file is a ``UsageError``. The blocks hold every row in memory; ``import_file`` does not.
    """
    _check_path(path)
    found, report = _found_in(path, instrument, profile, _known_options(profile, options), now_ns, "")
    blocks = {name: rows.block if isinstance(rows, CheckedBars) else rows for name, rows in found.series.items()}
    return blocks, report


def import_file(
    store: Store,
    path: Path,
    instrument: Instrument,
    profile: ImportProfile | None = None,
    options: TickOptions | None = None,
    symbol: str = "",
    *,
    now_ns: int | None = None,
) -> ImportReport:
    """Read ``path`` and write its series ``symbol`` (needed where it has several) into ``store``; ``now_ns`` as in ``read_file``.

    Bars are read, checked and written piece by piece: a file may be much larger than the memory. A file whose content was imported
    before with the same settings is only hashed (``ImportReport.is_known``). Raises what ``read_file`` and ``Store.write`` raise; the
    store is then as it was.
    """
    _check_path(path)
    known = _known_options(profile, options)
    known = replace(known, symbols=(symbol,)) if symbol else known
    sha256 = _sha256(path)
    key = import_key(path, sha256, instrument, profile, known, symbol)
    before = known_import(store, key, path)
    if before is not None:
        return before
    found, report = _found_in(path, instrument, profile, known, now_ns, sha256)
    series = found.series
    if symbol:
        if symbol not in series:
            raise UsageError(f"{path}: found no symbol {symbol!r}, expected one of: {_listed(series)}")
        series = {symbol: series[symbol]}
    if len(series) + len(report.refused) != 1:
        rows = {each.symbol: each.rows_read for each in report.series}
        refused = f"; {len(report.refused)} more cannot be read" if report.refused else ""
        raise AmbiguousError(
            f"{path}: found {len(series)} series ({counted(rows)}{refused}), expected one for instrument {instrument.id}; say "
            "which with --symbol"
        )
    ((name, content),) = series.items()
    schema = Schema(next(each.schema for each in report.series if each.symbol == name))
    source = report.source if not symbol else f"{report.source}:{symbol}"
    written = store.write(instrument, schema, _to_store(content), source)
    report = replace(
        report,
        rows_added=written.rows_added,
        rows_known=written.rows_known,
        files_changed=written.files_changed,
        imported=(name,),
    )
    keep_import(store, key, report, instrument, schema)
    return report


def _to_store(content: CheckedBars | Block) -> Block | BlockPieces:
    if not isinstance(content, CheckedBars):
        return content
    return BlockPieces(content.rows, content.first_ns, content.last_ns, content.commonest_width_ns, content.pieces())


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path}: found a folder, expected a file: give the files in it one by one")
    if not path.is_file():
        raise UsageError(f"{path}: found no such file, expected one that can be read")


def _known_options(profile: ImportProfile | None, options: TickOptions | None) -> TickOptions:
    return options or TickOptions(time_zone=profile.time_zone if profile is not None else "")


def _found_in(
    path: Path,
    instrument: Instrument,
    profile: ImportProfile | None,
    options: TickOptions,
    now_ns: int | None,
    sha256: str,
) -> tuple[_Found, ImportReport]:
    """What is in the file, and the report; ``sha256`` is its hash where it is known already."""
    mapped = dict(profile.symbols if profile is not None else {}) | dict(options.mapped)
    known = replace(options, mapped=mapped, checks_symbols=True)
    try:
        reader = None if profile is not None and profile.columns else reader_for(path, known)
        if reader is not None:
            found = _ticks_of(path, instrument, reader, known, now_ns)
        else:
            found = _bars_of(path, instrument, profile or ImportProfile(), known, now_ns)
    except MemoryError as error:
        raise ReadError(
            f"{path}: reading it takes more memory than there is; split the file and import the parts"
        ) from error
    report = ImportReport(
        path_text(path),
        sha256 or _sha256(path),
        path.stat().st_size,
        str(instrument.id),
        tuple(found.reports),
        refused=tuple(RefusedSeries(symbol, str(error)) for symbol, error in found.refused.items()),
        mapped={symbol: mapped[symbol] for symbol in found.symbols if symbol in mapped},
    )
    return found, report


def _listed(series: Iterable[str]) -> str:
    names = list(series)
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(slots=True)
class _Found:
    """What came out of one file."""

    series: dict[str, CheckedBars | Block] = field(default_factory=dict)
    reports: list[SeriesReport] = field(default_factory=list)
    refused: dict[str, ReadError] = field(default_factory=dict)
    symbols: list[str] = field(default_factory=list)
    """What the file itself calls the series that were read."""

    def check(self, path: Path) -> None:
        """Raise the reason where nothing could be read."""
        if self.series:
            return
        if len(self.refused) == 1:
            raise next(iter(self.refused.values()))
        if self.refused:
            first = next(iter(self.refused.values()))
            raise type(first)(f"{path}: none of its {len(self.refused)} series can be read; the first: {first}")
        raise ReadError(f"{path}: found no row that could be kept")


def _bars_of(
    path: Path, instrument: Instrument, profile: ImportProfile, options: TickOptions, now_ns: int | None
) -> _Found:
    found = _Found()
    unreadable: dict[str, ReadError] = {}
    profile, layout = with_known_layout(path, profile, options.limits)
    series = read_bars(path, profile, options.limits, unreadable)
    chosen = options.symbols

    def is_meant(name: str, raw: BarRows | None) -> bool:
        return not chosen or name in chosen or (raw is not None and raw.symbol in chosen)

    found.refused = {name: error for name, error in unreadable.items() if is_meant(name, None)}
    if not any(is_meant(name, raw) for name, raw in series.items()) and not found.refused:
        known = {raw.symbol or name: raw.rows for name, raw in series.items()}
        raise UsageError(f"{path}: found none of the symbols {', '.join(chosen)}, expected one of: {counted(known)}")
    named = {raw.symbol: raw.rows for raw in series.values() if raw.symbol}
    stated = check_symbols(path, named, instrument, options.mapped, chosen) if named else []
    for name, raw in series.items():
        if not is_meant(name, raw):
            continue
        symbol = raw.symbol if raw.symbol in chosen else name
        where = str(path) if name in path.name else f"{path}:{name}"
        broken = sum(finding.count for finding in raw.findings if finding.kind == "broken_rows")
        try:
            checked = check_bars(raw, instrument, profile, where, now_ns=now_ns)
        except ReadError as error:
            found.refused[symbol] = error
            continue
        checked.evidence[:0] = layout
        checked.evidence.extend(sentence for sentence in stated if raw.symbol and f" {raw.symbol} " in sentence)
        found.series[symbol] = checked
        found.reports.append(_bar_report(symbol, checked, raw.rows + broken))
        found.symbols.append(raw.symbol)
    found.check(path)
    return found


def _as_raw(block: Block, instrument: Instrument) -> RawBars:
    """Bars that a reader has already put into ticks, as rows to check like those of any other file."""
    rows = len(block)
    known = np.ones(rows, dtype=np.bool_)
    volume = np.where(block["volume"] == UNKNOWN_VOLUME, np.nan, block["volume"]) * float(instrument.lot_size)
    return RawBars(
        Stamps(block["ts_open"].copy(), known, known.copy(), known.copy(), DateOrder.YEAR_FIRST),
        {role: instrument.prices_from_ticks(block[str(role)]) for role in PRICE_ROLES},
        volume if np.isfinite(volume).any() else None,
        np.arange(1, rows + 1, dtype=np.int64),
    )


def _profile_of(block: Block) -> ImportProfile:
    widths, counts = np.unique(block["ts_event"] - block["ts_open"], return_counts=True)
    return ImportProfile(label=Label.OPEN, bar_width=text_from_width(int(widths[np.argmax(counts)])))


def _bar_report(symbol: str, checked: CheckedBars, rows_read: int, own: Sequence[Finding] = ()) -> SeriesReport:
    return SeriesReport(
        symbol=symbol,
        schema=str(Schema.BARS),
        rows_read=rows_read,
        rows_kept=checked.rows,
        first_ns=checked.first_ns,
        last_ns=checked.last_ns,
        bar_width=text_from_width(checked.width_ns),
        time_zone=checked.time_zone,
        label=str(checked.label),
        evidence=tuple(checked.evidence),
        findings=(*own, *checked.findings),
        sessions=tuple(checked.sessions),
        rolls=tuple(checked.rolls),
    )


def _ticks_of(
    path: Path, instrument: Instrument, reader: TickReader, options: TickOptions, now_ns: int | None
) -> _Found:
    reading = reader(path, instrument, options)
    found = _Found(refused=reading.refused, symbols=list(reading.blocks) if reading.names_symbols else [])
    series = {symbol: rows for symbol, rows in reading.blocks.items() if len(rows)}
    is_alone = len(reading.blocks) + len(reading.refused) == 1
    for symbol, rows in series.items():
        where = f"{path}:{symbol}"
        own = reading.findings if not found.reports else []
        rows_read = reading.rows_read if is_alone else len(rows)
        try:
            if rows.dtype == BAR:
                is_dbn = reading.schema is Schema.BARS
                raw, profile = (
                    raw_bars_of(rows, instrument, path) if is_dbn else (_as_raw(rows, instrument), _profile_of(rows))
                )
                checked = check_bars(raw, instrument, profile, where, now_ns=now_ns)
                report = _bar_report(symbol, checked, rows_read, own)
                found.series[symbol] = checked
            else:
                block, findings = _checked_ticks(rows, instrument, where, now_ns)
                evidence = f"read as {reading.schema} by {reader.__name__}"
                report = _tick_report(symbol, reading.schema, block, rows_read, evidence, (*own, *findings))
                found.series[symbol] = block
        except ReadError as error:
            if is_alone:
                raise
            found.refused[symbol] = error
            continue
        found.reports.append(report)
    if not found.series and options.symbols and not found.refused:
        raise UsageError(f"{path}: found none of the symbols {', '.join(options.symbols)}")
    found.check(path)
    return found


def _checked_ticks(rows: Block, instrument: Instrument, where: str, now_ns: int | None) -> tuple[Block, list[Finding]]:
    """Trades, quotes or orders after their checks, frozen and in order, and what was found."""
    kept, wrong_stamps = _without_implausible(rows, now_ns)
    if not len(kept):
        raise ReadError(f"{where}: found only rows stamped in the future, expected a file of the past")
    if kept.dtype == BOOK:
        block, findings = check_book(kept)
    else:
        first, last = int(kept["ts_event"].min()), int(kept["ts_event"].max())
        block, findings = check_ticks(kept, instrument, session_schedule(instrument, first, last + 1))
    findings[:0] = wrong_stamps
    return freeze(_in_sequence(block, findings)), findings


def _tick_report(
    symbol: str, schema: Schema, block: Block, rows_read: int, evidence: str, findings: tuple[Finding, ...]
) -> SeriesReport:
    return SeriesReport(
        symbol=symbol,
        schema=str(schema),
        rows_read=rows_read,
        rows_kept=len(block),
        first_ns=int(block["ts_event"][0]),
        last_ns=int(block["ts_event"][-1]),
        bar_width="",
        time_zone="",
        label="",
        evidence=(evidence,),
        findings=findings,
        sessions=(),
        rolls=(),
    )


def _without_implausible(rows: Block, now_ns: int | None) -> tuple[Block, list[Finding]]:
    """``rows`` without those of the future and the few that stand years apart from all others, and what was left out."""
    beyond, alone = implausible_stamps(rows["ts_event"], now_ns=now_ns)
    if not beyond.any() and not alone.any():
        return rows, []
    numbers = np.arange(1, len(rows) + 1, dtype=np.int64)
    findings = [
        Finding(kind, Treatment.DROPPED, int(mask.sum()), text, first_lines(numbers, mask))
        for kind, mask, text in (
            ("stamps_in_the_future", beyond, "rows (by number) stamped after this import's own clock"),
            ("isolated_stamps", alone, "a few rows (by number) stamped more than a year apart from all others"),
        )
        if mask.any()
    ]
    kept: Block = rows[~(beyond | alone)]
    return kept, findings


def _in_sequence(block: Block, findings: list[Finding]) -> Block:
    """``block`` in the order of (``ts_init``, ``sequence``), as every block of the engine is."""
    ts, sequence = block["ts_init"], block["sequence"].astype(np.int64)
    backward = (ts[1:] == ts[:-1]) & (sequence[1:] < sequence[:-1])
    if not backward.any():
        return block
    text = "rows of one instant whose sequence numbers run backwards; put in the order of the numbers"
    findings.append(Finding("unsorted_sequence", Treatment.REPAIRED, int(backward.sum()), text))
    ordered: Block = block[np.lexsort((sequence, ts))]
    return ordered
