"""Bars from CSV, TSV, zip, gzip, xz, zstd and Parquet: columns found and typed, nothing repaired yet.

The result is a ``RawBars``: stamps as the file's clock shows them and prices as the file's numbers. Which instant a stamp
is, and what is wrong with the rows, is decided later (``zones.py``, ``quality.py``) by rules that are the same for every
file. What this module settles by itself it proves on the whole file: the delimiter, the header line, a date split over two
columns under one heading, a misspelt price column.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.profile import NAMED, PRICE_ROLES, DateOrder, ImportProfile, Members, Role
from grandmodel.data.historical.readers.compressed import is_zip, load_bytes, load_zip_member, zip_members
from grandmodel.data.historical.readers.limits import ReadLimits
from grandmodel.data.historical.readers.numbers import NumberStyle, number_style, numbers_of, volumes_of
from grandmodel.data.historical.readers.parquet_files import parquet_frame, parquet_pieces
from grandmodel.data.historical.readers.raw_bars import BarRows, RawBars, SpooledBars, spooled
from grandmodel.data.historical.readers.text import refuse_other_formats, utf8_text
from grandmodel.data.historical.readers.text_bars import (
    CHUNK_BYTES,
    CLOCK_TEXT,
    DATE_TEXT,
    HEAD_BYTES,
    Layout,
    NotPlainError,
    text_bars,
)
from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.data.historical.spool import PIECE_ROWS
from grandmodel.data.historical.stamps import Stamps, first_lines, parse_stamps
from grandmodel.domain.files import path_text
from grandmodel.domain.time import NS_PER_DAY

PARQUET_MAGIC = b"PAR1"

_FARTHEST_MICROS = 2**53
"""255 years from 1970 on either side: within what nanoseconds in 64 bits can hold."""
_DELIMITERS = ("\t", ";", ",", "|")
_NAMES: dict[Role, tuple[str, ...]] = {
    Role.STAMP: (
        "timestamp", "datetime", "dt", "ts", "time stamp", "date time", "date-time", "timestamp utc", "datetime utc", "utc",
        "gmt time", "local time", "date utc", "time utc", "ts event", "date gmt", "time gmt", "open time",
    ),
    Role.DATE: ("date", "day", "trade date", "data", "datum", "fecha"),
    Role.CLOCK: ("time", "clock", "hour", "uhrzeit", "zeit", "heure", "hora", "ora"),
    Role.OPEN: ("open", "o", "open price", "eröffnung", "eröffn", "ouverture", "ouv", "apertura"),
    Role.HIGH: ("high", "h", "high price", "max", "hoch", "plus haut", "haut", "máximo", "massimo"),
    Role.LOW: ("low", "l", "low price", "min", "tief", "plus bas", "bas", "mínimo", "minimo"),
    Role.CLOSE: (
        "close", "c", "last", "close price", "settle", "price", "schluss", "schlusskurs", "zuletzt", "clôture", "dernier",
        "cierre", "último", "chiusura", "ultimo",
    ),
    Role.VOLUME: ("volume", "vol", "v", "volumes", "tickvol", "volumen", "total volume", "tick volume"),
    Role.SYMBOL: ("symbol", "ticker", "sym", "contract", "instrument", "raw symbol", "ric"),
}  # fmt: skip
_TICK_COUNTS = {"tickvol", "tick volume"}
"""A count of price changes, as MetaTrader has it; the volume itself is taken where the file has both."""
_UTC_NAMES = re.compile(r"\b(utc|gmt)\b")
_NUMBER_TEXT = r"^\s*[-+]?([\d.,'\u00a0\u202f ]*\d[.,]?)([eE][-+]?\d+)?\s*[KMB%]?\s*$"
"""A number in any country's writing."""
_DATE_START = r"^\s*(\d{1,4}[-/. ]\d{1,2}|\d{8})"
_LEAN_MEMBER = re.compile(
    r"^(\d{8})_(.+?)_(second|minute)_(trade|quote|openinterest)(?:_(\d{6}\d*))?\.csv$", re.IGNORECASE
)
_LEAN_WIDTHS = {"second": "1s", "minute": "1m"}
_SYMBOL_LINE = re.compile(
    r"^\W*(?:symbol|ticker|instrument|contract)s?\W*[:=;,\t]\W*([A-Za-z0-9@/#^.:=!_-]{1,24})\W*$", re.IGNORECASE
)
_PIECE_WORDS = re.compile(
    r"\d+|part|piece|of|jan\w*|feb\w*|mar(ch)?(?![a-z])|apr\w*|may(?![a-z])|june?(?![a-z])|july?(?![a-z])|aug\w*|sep\w*|oct\w*|nov\w*|dec\w*"
)
_MOST_HEADING_LINES = 50
_MOST_STAMP_TEXT = 64
_MONTH_DATE = r"^(?:[A-Za-z]{3,9},? )?([A-Za-z]{3})[a-z]*\.? (\d{1,2}),? (\d{4})(?:,?[ T](.*))?$"
_DAY_MONTH_DATE = r"^(?:[A-Za-z]{3,9},? )?(\d{1,2})[ -]([A-Za-z]{3})[a-z]*\.?[ -](\d{4})(?:,?[ T](.*))?$"
_MONTHS = {name: f"{place:02d}" for place, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1)}  # fmt: skip
_ENDINGS = re.compile(r"(\.(csv|tsv|txt|parquet|gz|xz|zst|zip))+$", re.IGNORECASE)
_FILE_DATE = re.compile(r"(?<!\d)((?:19|20)\d{2})-?(\d{2})-?(\d{2})(?!\d)")


def read_bars(
    path: Path,
    profile: ImportProfile,
    limits: ReadLimits | None = None,
    refused: dict[str, ReadError] | None = None,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    head_bytes: int = HEAD_BYTES,
) -> dict[str, BarRows]:
    """The series of bars in the file ``path``, by name.

    A series is named by the symbol that its rows carry, else after its file or its member of a zip. Where ``refused`` is
    given, a series that cannot be read is put there with its reason and the others are returned. Raises ``ReadError``
    where the content is no table of bars, and ``AmbiguousError`` where it is one that can be read in more than one way; both
    name the file, the line and the flag that helps.

    A plain table of text larger than ``head_bytes`` is read ``chunk_bytes`` at a time (``text_bars.py``).
    """
    bounds = limits or ReadLimits()
    if not is_zip(path):
        streamed = _in_chunks(path, profile, bounds, chunk_bytes, head_bytes)
        if streamed is not None:
            return {streamed.symbol or _stem(path.name): streamed}
        table = _table(load_bytes(path, bounds), str(path), profile, bounds)
        return _series(_stem(path.name), [table], profile)
    members = sorted(zip_members(path, bounds))
    if not members:
        raise ReadError(f"{path}: found an empty zip file, expected a table of bars in it")
    if not _is_series_each(path, members, profile):
        tables = [_table(load_zip_member(path, name, bounds), f"{path}:{name}", profile, bounds) for name in members]
        return _series(_stem(path.name), tables, profile)
    found: dict[str, BarRows] = {}
    for name in members:
        try:
            table = _table(load_zip_member(path, name, bounds), f"{path}:{name}", profile, bounds)
            table.symbol = table.symbol or _lean_symbol(name)
            found.update(_series(_stem(name), [table], profile))
        except ReadError as error:
            if refused is None or len(members) == 1:
                raise
            refused[_stem(name)] = error
    return found


def _series(name: str, tables: list[_Table], profile: ImportProfile) -> dict[str, BarRows]:
    """The series of one file, or of the pieces of one: one, or one for each symbol of a symbol column."""
    by_symbol: dict[str, list[_Table]] = {}
    for table in tables:
        for symbol, part in _parts_by_symbol(table, profile).items():
            by_symbol.setdefault(symbol, []).append(part)
    found: dict[str, BarRows] = {}
    for symbol, parts in by_symbol.items():
        raw = _joined(_pieces(parts, profile))
        raw.symbol = raw.symbol or symbol
        found[symbol or name] = raw
    return found


def _in_chunks(
    path: Path, profile: ImportProfile, limits: ReadLimits, chunk_bytes: int, head_bytes: int
) -> SpooledBars | None:
    """The bars of a plain text file, or ``None`` where it must be read as a whole."""

    def layout_of(head: bytes) -> Layout:
        return _layout(head[: head.rfind(b"\n") + 1], str(path), profile, limits)

    def stamp_text(columns: Mapping[Role, pl.Series]) -> pl.Series:
        if Role.STAMP in columns:
            return _dated(_as_text(columns[Role.STAMP]))
        text = _dated(_as_text(columns[Role.DATE]).str.strip_chars())
        if Role.CLOCK in columns:
            text = text + " " + _as_text(columns[Role.CLOCK]).str.strip_chars()
        return text

    with path.open("rb") as file:
        if file.read(4) == PARQUET_MAGIC:
            return _parquet_in_chunks(path, profile, limits, head_bytes)
    return text_bars(path, profile, limits, layout_of, stamp_text, chunk_bytes, head_bytes)


def _parquet_in_chunks(
    path: Path, profile: ImportProfile, limits: ReadLimits, head_bytes: int, rows_per_piece: int = PIECE_ROWS
) -> SpooledBars | None:
    """The bars of a Parquet file with typed stamps and prices, or ``None`` where it must be read as a whole."""
    if path.stat().st_size <= head_bytes:
        return None

    def pieces(file: BinaryIO) -> Iterator[RawBars]:
        done = 0
        for frame in parquet_pieces(file, rows_per_piece, limits, path):
            table = _Table(str(path), frame, list(frame.columns), done + np.arange(1, frame.height + 1, dtype=np.int64))
            done += frame.height
            if _symbol_place(table, profile) is not None:
                raise NotPlainError
            columns = _columns(table, profile, [])
            stamp = columns.get(Role.STAMP)
            is_text = any(column.dtype == pl.String for column in columns.values())
            if stamp is None or not _is_typed(stamp) or is_text or not set(PRICE_ROLES) <= set(columns):
                raise NotPlainError
            raw = _raw_bars(table, profile)
            if raw.findings:
                raise NotPlainError
            yield raw

    try:
        with path.open("rb") as file:
            found = pieces(file)
            first = next(found, None)
            return spooled(first, found) if first is not None else None
    except (NotPlainError, ReadError, pl.exceptions.PolarsError, pa.ArrowException, OSError, ValueError):
        return None  # the whole file is read, and refused where it must be


def _layout(head: bytes, where: str, profile: ImportProfile, limits: ReadLimits) -> Layout:
    """What the first lines of a file show; raises ``NotPlainError`` where they leave something to the rest of it."""
    if b'"' in head or head[:4] == PARQUET_MAGIC or profile.decimal_comma:
        raise NotPlainError
    try:
        table = _text_table(head, where, profile, limits)
        findings = list(table.findings)
        columns = _columns(table, profile, findings)
    except ReadError as error:
        raise NotPlainError from error
    names = [] if table.names is None or profile.columns else [_plain(name) for name in table.names]
    volumes = [name for name in names if name in _NAMES[Role.VOLUME]]
    chosen = names[int(columns[Role.VOLUME].name)] if names and Role.VOLUME in columns else ""
    is_open = len(volumes) > 1 and chosen in _TICK_COUNTS  # a later row may have a volume
    prices = {role for role in PRICE_ROLES if role in columns}
    is_complete = prices in ({Role.CLOSE}, set(PRICE_ROLES)) and (Role.STAMP in columns or Role.DATE in columns)
    told = {finding.kind for finding in findings}
    if is_open or not is_complete or Role.MILLISECONDS in columns or _symbol_place(table, profile) is not None:
        raise NotPlainError
    by_name = any(
        _UTC_NAMES.search(names[int(columns[role].name)]) is not None
        for role in (Role.STAMP, Role.DATE, Role.CLOCK)
        if names and role in columns
    )
    bounded = next(
        (
            role
            for role in (Role.LOW, Role.HIGH)
            if "misspelt_column" in told and names[int(columns[role].name)] not in _NAMES[role]
        ),
        None,
    )
    return Layout(
        table.delimiter,
        table.width,
        table.first_line,
        table.lines_above,
        {role: int(column.name) for role, column in columns.items()},
        last_is_empty=table.frame.width < table.width,
        bounded=bounded,
        has_split_date="heading_without_time" in told,
        findings=findings,
        evidence=list(table.evidence),
        is_utc_by_name=by_name,
        symbol=table.symbol,
    )


def with_known_layout(path: Path, profile: ImportProfile, limits: ReadLimits) -> tuple[ImportProfile, list[str]]:
    """``profile`` with what is known of a zip whose names are LEAN's, and the sentence that says so.

    LEAN's names state the kind and the width of the bars, and each file is a contract of its own. Raises
    ``AmbiguousError`` for its quotes, whose side must be chosen, and for open interest, which is no market data.
    """
    if profile.columns or not is_zip(path):
        return profile, []
    members = zip_members(path, limits)
    told = [match for match in (_LEAN_MEMBER.match(Path(name).name) for name in members) if match]
    if not told or len(told) != len(members):
        return profile, []
    kinds = {match.group(4).lower() for match in told}
    if kinds != {"trade"}:
        quotes = "expected to be told the side: --profile lean-minute-bid reads the bid side of minute quotes"
        advice = quotes if kinds == {"quote"} else "expected trades or quotes alone; open interest is not imported"
        raise AmbiguousError(f"{path}: found LEAN files of {', '.join(sorted(kinds))} ({members[0]}, ...), {advice}")
    layout = NAMED["lean-minute"]
    width = profile.bar_width or _LEAN_WIDTHS[told[0].group(3).lower()]
    known = msgspec.structs.replace(
        profile, columns=layout.columns, header=False, label=layout.label, bar_width=width, members=layout.members
    )
    return known, [f"LEAN's {told[0].group(3).lower()} trades, told by the names in the zip (profile lean-minute)"]


def _is_series_each(path: Path, members: list[str], profile: ImportProfile) -> bool:
    """Whether each file of a zip is a series of its own; refused where their names do not tell and nothing states it."""
    if profile.members is not Members.AUTO:
        return profile.members is Members.EACH
    if len({_words_of_name(name) for name in members}) > 1:
        shown = ", ".join(_stem(name) for name in members[:10]) + (", ..." if len(members) > 10 else "")
        raise AmbiguousError(
            f"{path}: found {len(members)} files of different names ({shown}), expected the pieces of one series: say "
            "--members each (a series per file; --symbol NAME takes one) or --members one (pieces of one series)"
        )
    return False


def _words_of_name(member: str) -> str:
    """What a member is about: its name without dates, numbers and words for pieces; single letters are pieces too."""
    words = re.split(r"[^a-z0-9]+", _stem(member).lower())
    # The letter and year of a contract (NQH4) stay: another contract is another series.
    rest = [word if _CONTRACT_WORD.match(word) else _PIECE_WORDS.sub("", word) for word in words]
    return " ".join(word for word in rest if len(word) > 1)


_CONTRACT_WORD = re.compile(r"^[a-z0-9]{1,3}[fghjkmnquvxz]\d{1,2}$")


def _lean_symbol(member: str) -> str:
    """``ES201312`` of ``20131007_es_minute_trade_201312.csv``; empty for a name that is not LEAN's."""
    match = _LEAN_MEMBER.match(Path(member).name)
    return (match.group(2) + (match.group(5) or "")).upper() if match else ""


def _parts_by_symbol(table: _Table, profile: ImportProfile) -> dict[str, _Table]:
    """The rows of each symbol of a table; all rows under its own name where it has no symbol column."""
    place = _symbol_place(table, profile)
    if place is None:
        return {table.symbol: table}
    texts = table.frame.to_series(place).cast(pl.String, strict=False).str.strip_chars()
    is_empty = (texts.is_null() | (texts == "")).to_numpy()
    names = texts.filter(pl.Series(~is_empty)).unique(maintain_order=True).to_list()
    if not names:
        return {table.symbol: table}
    findings = list(table.findings)
    if is_empty.any():
        text = "rows without a symbol, which the others have, are left out"
        findings.append(
            Finding("broken_rows", Treatment.DROPPED, int(is_empty.sum()), text, first_lines(table.lines, is_empty))
        )
    parts: dict[str, _Table] = {}
    for name in names:
        mine = (texts == name).fill_null(value=False)
        part = _Table(table.where, table.frame.filter(mine), table.names, table.lines[mine.to_numpy()], [])
        part.other_headings, part.evidence, part.symbol = table.other_headings, table.evidence, str(name)
        parts[str(name)] = part
    next(iter(parts.values())).findings = findings
    return parts


def _symbol_place(table: _Table, profile: ImportProfile) -> int | None:
    if profile.columns:
        return (
            profile.columns.index(Role.SYMBOL)
            if Role.SYMBOL in profile.columns and table.frame.width == len(profile.columns)
            else None
        )
    if table.names is None or len(table.names) != table.frame.width:
        return None
    places = [place for place, name in enumerate(table.names) if _plain(name) in _NAMES[Role.SYMBOL]]
    if len(places) > 1:
        exact = [place for place in places if _plain(table.names[place]) == "symbol"]
        places = exact or places
    return places[0] if places else None


def _pieces(tables: list[_Table], profile: ImportProfile) -> list[RawBars]:
    """Each table read; one whose own dates decide nothing is read in the one order that the others prove."""
    read: dict[int, RawBars] = {}
    unsettled: dict[int, AmbiguousError] = {}
    for place, table in enumerate(tables):
        try:
            read[place] = _raw_bars(table, profile)
        except AmbiguousError as error:
            unsettled[place] = error
    orders = {part.stamps.date_order for part in read.values()} - {DateOrder.YEAR_FIRST}
    for place, reason in unsettled.items():
        if len(orders) != 1 or profile.date_order is not None:
            raise reason
        read[place] = _raw_bars(tables[place], msgspec.structs.replace(profile, date_order=next(iter(orders))))
    return [read[place] for place in range(len(tables))]


@dataclass(slots=True)
class _Table:
    """Columns of one file as text (or typed, from Parquet), with their names and the line of each row."""

    where: str
    frame: pl.DataFrame
    names: list[str] | None
    lines: NDArray[np.int64]
    findings: list[Finding] = field(default_factory=list)
    other_headings: list[list[str]] = field(default_factory=list)
    """Lines above the rows, as wide as they are, beside the one taken for the heading."""
    evidence: list[str] = field(default_factory=list)
    symbol: str = ""
    """What the lines above the table, or the member's name, call the instrument."""
    delimiter: str = ""
    width: int = 0
    """Fields of a row of text, one that is empty on every row included."""
    first_line: int = 1
    """Line of the first row, from 1."""
    lines_above: tuple[int, ...] = ()
    """Fields of each line above the rows that is not blank."""


def _stem(name: str) -> str:
    """The name of a file without folders and the endings of its format and packing."""
    return _ENDINGS.sub("", Path(path_text(name)).name) or "bars"


def _table(content: bytes, where: str, profile: ImportProfile, limits: ReadLimits) -> _Table:
    if content[:4] == PARQUET_MAGIC:
        try:
            frame = parquet_frame(io.BytesIO(content), limits=limits, where=where)
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            raise ReadError(f"{where}: not a Parquet file that can be read ({str(error).splitlines()[0]})") from error
        if frame.height == 0:
            raise ReadError(f"{where}: found no row, expected a table of bars")
        return _Table(where, frame, list(frame.columns), np.arange(1, frame.height + 1, dtype=np.int64))
    return _text_table(content, where, profile, limits)


def _text_table(content: bytes, where: str, profile: ImportProfile, limits: ReadLimits) -> _Table:
    """Split text into columns; rows with another number of fields than the others are left out and counted."""
    refuse_other_formats(content, where)
    content, written = utf8_text(content, where)
    refuse_other_formats(content, where)
    if b"\x00" in content[:4096]:
        raise ReadError(f"{where}: found binary content, expected a table of bars as text or Parquet")
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not content.strip():
        raise ReadError(f"{where}: found an empty file, expected a table of bars")
    head = content[:65_536].decode("utf-8", "replace").split("\n")
    delimiter = profile.delimiter or _delimiter([line for line in head[:50] if line.strip()])
    if b'"' in content:
        content, delimiter = _unquoted(content, delimiter, where)
    raw = np.frombuffer(content if content.endswith(b"\n") else content + b"\n", dtype=np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1))
    is_delimiter = raw == ord(delimiter)
    counts = np.add.reduceat(is_delimiter, starts, dtype=np.int64)
    # A line of delimiters alone is a blank row of a spreadsheet.
    blanks = is_delimiter | (raw == ord(" ")) | (raw == ord("\n"))
    filled = ~np.logical_and.reduceat(blanks, starts)

    def cells(line: int) -> list[str]:
        return raw[starts[line] : ends[line]].tobytes().decode("utf-8", "replace").split(delimiter)

    places = np.flatnonzero(filled)
    if not len(places):
        raise ReadError(f"{where}: found lines of {delimiter!r} and nothing between them, expected a table of bars")
    if int(counts[places].max()) >= limits.columns:
        most = int(counts[places].max()) + 1
        line = int(places[np.argmax(counts[places])]) + 1
        raise limits.refusal("columns", f"{where}: line {line}", f"{most:,} columns", most)
    width = _commonest(counts[places[1:]] if len(places) > 1 else counts[places]) + 1
    heading, others, first_row = _heading(places.tolist(), counts, cells, width, profile)
    data = filled.copy()
    data[:first_row] = False
    if not data.any():
        raise ReadError(f"{where}: found a heading and no row, expected a table of bars")
    width = _commonest(counts[data]) + 1
    ragged = data & (counts != width - 1)
    lines = np.arange(1, len(ends) + 1, dtype=np.int64)
    above = [cells(line) for line in others]
    keep = data & ~ragged
    if keep[first_row:].all():
        body = raw[starts[first_row] :].tobytes()
    else:
        sizes = ends - starts + 1
        body = raw[np.repeat(keep, sizes)].tobytes()
    frame = _split(body, delimiter, int(keep.sum()), width, where)
    names = [name.strip() for name in cells(heading)] if heading is not None else None
    table = _Table(where, frame, names, lines[keep])
    if others:
        shown = "; ".join(" ".join(" ".join(line).split())[:60] for line in above[:3])
        text = f"lines above the rows beside the heading (line {(heading or 0) + 1}) are passed over: {shown}"
        places_above = tuple(line + 1 for line in others[:5])
        table.findings.append(Finding("lines_above_the_table", Treatment.NOTED, len(others), text, places_above))
    if ragged.any():
        text = f"rows without {width} fields as the others have are left out"
        count = int(ragged.sum())
        table.findings.append(Finding("broken_rows", Treatment.DROPPED, count, text, first_lines(lines, ragged)))
    table.evidence = [written] if written else []
    table.other_headings = [[name.strip() for name in line] for line in above]
    table.symbol = _symbol_above(table.other_headings, where)
    table.delimiter, table.width, table.first_line = delimiter, width, first_row + 1
    table.lines_above = tuple((counts[places[places < first_row]] + 1).tolist())
    if names is not None and len(names) == frame.width - 1 and frame.to_series(frame.width - 1).is_null().all():
        table.frame = frame.drop(frame.columns[-1])  # every row ends with a delimiter, the heading does not
    return table


def _split(body: bytes, delimiter: str, rows: int, width: int, where: str) -> pl.DataFrame:
    """The fields of ``body`` as text: ``rows`` lines of ``width`` fields each, or a ``ReadError``."""
    try:
        frame = pl.read_csv(
            io.BytesIO(body),
            has_header=False,
            separator=delimiter,
            quote_char=None,
            infer_schema=False,
            encoding="utf8-lossy",
            raise_if_empty=False,
        )
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise ReadError(f"{where}: the table does not parse ({str(error).splitlines()[0]})") from error
    if frame.height != rows or frame.width != width:
        raise ReadError(
            f"{where}: found {frame.height} rows of {frame.width} fields, expected {rows} of {width}; the "
            "file has line ends or control characters inside its fields"
        )
    return frame


def _commonest(counts: NDArray[np.int64]) -> int:
    """The value met most often, the larger of two that are met equally often."""
    values, times = np.unique(counts, return_counts=True)
    return int(values[len(times) - 1 - np.argmax(times[::-1])])


def _heading(
    places: list[int],
    counts: NDArray[np.int64],
    cells: Callable[[int], list[str]],
    width: int,
    profile: ImportProfile,
) -> tuple[int | None, list[int], int]:
    """The heading's line, the other lines above the rows, and the line of the first row (all from 0).

    ``places`` are the lines that are not blank. The heading is the line above the first row of numbers that names most
    of the columns of bars; without such a line the file has none.
    """
    first = places[0]
    if profile.header is False:
        return None, [], first
    above: list[int] = []
    scores: list[tuple[int, bool, int]] = []
    known = {name for names in _NAMES.values() for name in names}
    for line in places[:_MOST_HEADING_LINES]:
        row = cells(line)
        is_row = counts[line] == width - 1 and _looks_like_data(row)
        if is_row or (scores and max(scores)[0] >= 2 and re.match(_DATE_START, row[0])):
            break
        above.append(line)
        scores.append((sum(_plain(cell) in known for cell in row), bool(counts[line] == width - 1), -line))
    else:
        above, scores = (
            [first],
            scores[:1],
        )  # nothing looks like a row of numbers: the first line is the heading, as in any table
    if not above:
        return (first, [], first + 1) if profile.header else (None, [], first)
    heading = above[scores.index(max(scores))]
    if len(above) > 1 and max(scores)[0] < 2 and profile.header is not True:
        wide = [line for line in above if counts[line] in {width - 1, width - 2}]
        heading = wide[-1] if wide else above[-1]
    return heading, [line for line in above if line != heading], above[-1] + 1


def _symbol_above(lines: list[list[str]], where: str) -> str:
    """The symbol that lines above the rows state: ``Symbol: NQ``, or yfinance's line of tickers; empty where none does."""
    found: set[str] = set()
    for cells in lines:
        if _plain(cells[0]) in _NAMES[Role.SYMBOL] and len(cells) > 2:
            found |= {cell for cell in cells[1:] if cell}
        else:
            match = _SYMBOL_LINE.match(",".join(cells).strip(","))
            if match:
                found.add(match.group(1))
    if len(found) > 1:
        raise AmbiguousError(
            f"{where}: found columns of several symbols side by side ({', '.join(sorted(found)[:8])}), expected one table per "
            "symbol: write a file for each"
        )
    return found.pop() if found else ""


def _delimiter(lines: list[str]) -> str:
    """The delimiter that splits most of the first lines into one same number of fields, at least two."""

    def agreement(delimiter: str) -> tuple[int, int]:
        counts = Counter(line.count(delimiter) for line in lines[1:] or lines or [""])
        fields, rows = counts.most_common(1)[0]
        return (rows if fields else 0, fields)

    return max(_DELIMITERS, key=agreement)


def _unquoted(content: bytes, delimiter: str, where: str) -> tuple[bytes, str]:
    """The same table without quotes, and the unit separator between its fields."""
    separator = "\x1f"
    cleaned = io.StringIO()
    try:
        for row in csv.reader(io.StringIO(content.decode("utf-8", "replace")), delimiter=delimiter):
            cleaned.write(separator.join(re.sub(r"[\n\x1f]", " ", cell) for cell in row))
            cleaned.write("\n")
    except csv.Error as error:
        raise ReadError(f"{where}: the quoted fields do not parse ({error})") from error
    return cleaned.getvalue().encode(), separator


def _looks_like_data(cells: list[str]) -> bool:
    numbers = sum(re.match(_NUMBER_TEXT, cell[:64], re.IGNORECASE) is not None for cell in cells)
    return numbers * 2 >= len(cells) or (numbers >= 3 and re.match(r"^\s*\d", cells[0]) is not None)


def _raw_bars(table: _Table, profile: ImportProfile) -> RawBars:
    findings = list(table.findings)
    columns = _columns(table, profile, findings)
    evidence = list(table.evidence)
    style = number_style(
        {str(role): columns[role] for role in PRICE_ROLES if role in columns},
        table.lines,
        profile.decimal_comma,
        table.where,
    )
    evidence.extend(style.evidence)
    prices = {role: numbers_of(columns[role], style) for role in PRICE_ROLES if role in columns}
    if set(prices) == {Role.CLOSE}:
        text = "the file has one price per row; open, high and low are set to it"
        findings.append(Finding("one_price_only", Treatment.NOTED, len(table.lines), text))
        prices = dict.fromkeys(PRICE_ROLES, prices[Role.CLOSE])
    missing = [role for role in PRICE_ROLES if role not in prices]
    if missing:
        raise _unknown_columns(table, f"no {', '.join(missing)}")
    volume = None
    if Role.VOLUME in columns:
        volume, shortened = volumes_of(columns[Role.VOLUME], style)
        if shortened.any():
            text = "volumes are shortened (559.63K): exact to the digits shown, and multiplied out"
            findings.append(
                Finding(
                    "shortened_volumes",
                    Treatment.NOTED,
                    int(shortened.sum()),
                    text,
                    first_lines(table.lines, shortened),
                )
            )
    stamps = _stamps(columns, table, profile)
    evidence.extend(stamps.evidence)
    by_name = False
    for role in (Role.STAMP, Role.DATE, Role.CLOCK):
        if role in columns and table.names is not None and columns[role].name.isdigit():
            by_name |= _UTC_NAMES.search(_plain(table.names[int(columns[role].name)])) is not None
    return RawBars(stamps, prices, volume, table.lines, findings + stamps.findings, evidence, by_name, table.symbol)


def _plain(name: str) -> str:
    """A heading in lower case, without brackets, quotes, underscores, stars and points (``Vol.``, ``Close*``)."""
    return " ".join(re.sub(r"[<>\"'\[\]()_*.#:]", " ", name).lower().split())


def _columns(table: _Table, profile: ImportProfile, findings: list[Finding]) -> dict[Role, pl.Series]:
    """The column of each role; each series is named by its place in the file."""
    frame = table.frame
    placed = [frame.to_series(place).alias(str(place)) for place in range(frame.width)]
    if profile.columns:
        if len(profile.columns) != frame.width:
            raise ReadError(
                f"{table.where}: found {frame.width} columns, expected {len(profile.columns)} as --columns states "
                f"({','.join(profile.columns)})"
            )
        return {role: placed[place] for place, role in enumerate(profile.columns) if role is not Role.IGNORE}
    if table.names is None:
        raise AmbiguousError(
            f"{table.where}: found no heading line, expected one: which of the {frame.width} columns is which cannot be "
            "proven; say it with --columns, for example --columns stamp,open,high,low,close,volume"
        )
    names = list(table.names)
    if len(names) != frame.width:
        names = _repaired_heading(table, names, placed, findings)
        table.names = names
    names = _completed(names, table)
    found = _named(names, table, placed)
    _add_misspelt(found, names, placed, profile, findings)
    return {role: placed[place] for role, place in found.items()}


def _repaired_heading(table: _Table, names: list[str], placed: list[pl.Series], findings: list[Finding]) -> list[str]:
    """Names for data that has one column more than its heading: a date and a clock under one name."""
    dates = [place for place, name in enumerate(names) if _plain(name) in (*_NAMES[Role.DATE], *_NAMES[Role.STAMP])]
    if len(placed) == len(names) + 1 and len(dates) == 1:
        place = dates[0]
        date, clock = placed[place], placed[place + 1]
        if _all_match(date, DATE_TEXT) and _all_match(clock, CLOCK_TEXT):
            findings.append(
                Finding(
                    "heading_without_time",
                    Treatment.REPAIRED,
                    1,
                    f"the heading names {len(names)} columns, the rows have {len(placed)}: every row has a date and a time "
                    f"of day where the heading has {names[place]!r} only, so the names after it move one column on",
                    (1,),
                )
            )
            return [*names[:place], "Date", "Time", *names[place + 1 :]]
    raise AmbiguousError(
        f"{table.where}: line 1: the heading names {len(names)} columns, the rows have {len(placed)}, and which one has no "
        "name cannot be proven; say it with --columns, for example --columns date,clock,open,high,low,close,volume"
    )


def _completed(names: list[str], table: _Table) -> list[str]:
    """``names``, with the name of the stamp column taken from another line above the rows where the heading has none.

    yfinance writes ``Price,Close,High,...`` and two lines below it ``Date,,,...``: the first column is the date's.
    """
    dates = (*_NAMES[Role.STAMP], *_NAMES[Role.DATE], *_NAMES[Role.CLOCK])
    if any(_plain(name) in dates for name in names):
        return names
    for other in table.other_headings:
        places = [place for place, name in enumerate(other) if _plain(name) in dates]
        if len(other) == len(names) and len(places) == 1:
            return [*names[: places[0]], other[places[0]], *names[places[0] + 1 :]]
    return names


def _all_match(column: pl.Series, pattern: str) -> bool:
    return column.dtype == pl.String and bool(column.str.contains(pattern).fill_null(value=False).all())


def _named(names: list[str], table: _Table, placed: list[pl.Series]) -> dict[Role, int]:
    """Roles of the columns whose heading says what they are; a heading met twice is refused."""
    plain = [_plain(name) for name in names]
    found: dict[Role, int] = {}
    for role, known in _NAMES.items():
        places = [place for place, name in enumerate(plain) if name in known]
        if role is Role.CLOSE and len(places) > 1:
            places = [place for place in places if plain[place] == "close"] or places
        if role is Role.VOLUME and len(places) > 1:
            places = _own_volume(places, plain, placed) or places
        if role is Role.SYMBOL:
            continue  # the rows were parted by it before
        if len(places) > 1:
            listed = ", ".join(repr(names[place]) for place in places)
            raise AmbiguousError(f"{table.where}: found {listed}, expected one {role} column; say which with --columns")
        if places:
            found[role] = places[0]
    if Role.STAMP not in found:
        only = found.get(Role.DATE, found.get(Role.CLOCK))
        if only is not None and not (Role.DATE in found and Role.CLOCK in found):
            found = {role: place for role, place in found.items() if role not in {Role.DATE, Role.CLOCK}}
            found[Role.STAMP] = only
    else:
        found = {role: place for role, place in found.items() if role not in {Role.DATE, Role.CLOCK}}
    if Role.STAMP not in found and Role.DATE not in found:
        typed = [place for place, column in enumerate(placed) if _is_typed(column)]
        if len(typed) != 1:
            raise _unknown_columns(table, "no date or time stamp")
        found[Role.STAMP] = typed[0]
    return found


def _own_volume(places: list[int], plain: list[str], placed: list[pl.Series]) -> list[int]:
    """Of a volume and a count of price changes the volume, unless it is zero on every row."""
    counts = [place for place in places if plain[place] in _TICK_COUNTS]
    volumes = [place for place in places if place not in counts]
    if len(counts) != 1 or len(volumes) != 1:
        return []
    values, _ = volumes_of(placed[volumes[0]], NumberStyle())
    return volumes if bool((values > 0).any()) else counts


def _add_misspelt(
    found: dict[Role, int],
    names: list[str],
    placed: list[pl.Series],
    profile: ImportProfile,
    findings: list[Finding],
) -> None:
    """Find the one price column whose heading is misspelt, if the numbers prove which it is."""
    missing = [role for role in PRICE_ROLES if role not in found]
    free = [place for place in range(len(placed)) if place not in found.values()]
    if len(missing) != 1 or missing[0] not in {Role.LOW, Role.HIGH}:
        return
    role = missing[0]
    style = number_style(
        {str(other): placed[found[other]] for other in PRICE_ROLES if other in found}, None, profile.decimal_comma, ""
    )
    others = {other: numbers_of(placed[found[other]], style) for other in PRICE_ROLES if other in found}
    rest = np.stack(list(others.values()))
    for place in free:
        if not difflib.get_close_matches(_plain(names[place]), [str(role)], cutoff=0.7):
            continue
        values = numbers_of(placed[place], style)
        known = np.isfinite(values) & np.isfinite(rest).all(axis=0)
        with np.errstate(invalid="ignore"):
            fits = values <= rest.min(axis=0) if role is Role.LOW else values >= rest.max(axis=0)
        if known.any() and bool(fits[known].all()):
            bound = "at or below" if role is Role.LOW else "at or above"
            text = (
                f"the column {names[place]!r} is read as {role}: it lies {bound} the other prices on all "
                f"{int(known.sum())} rows"
            )
            findings.append(Finding("misspelt_column", Treatment.REPAIRED, 1, text, (1,)))
            found[role] = place
            return


def _unknown_columns(table: _Table, problem: str) -> ReadError:
    listed = ", ".join(table.names or [f"column {place + 1}" for place in range(table.frame.width)])
    return ReadError(
        f"{table.where}: found {problem} among the columns ({listed[:200]}); say what they are with --columns, for example "
        "--columns stamp,open,high,low,close,volume with - for a column to leave out"
    )


def _stamps(columns: Mapping[Role, pl.Series], table: _Table, profile: ImportProfile) -> Stamps:
    order = profile.date_order
    if Role.MILLISECONDS in columns:
        return _stamps_from_midnight(columns[Role.MILLISECONDS], table)
    if Role.STAMP in columns:
        column = columns[Role.STAMP]
        if _is_typed(column):
            return _typed_stamps(column)
        return parse_stamps(_dated(_as_text(column)), table.lines, order, table.where)
    date = columns.get(Role.DATE)
    if date is None:
        raise _unknown_columns(table, "no date or time stamp")
    text = _dated(_as_text(date).str.strip_chars())
    if Role.CLOCK in columns:
        text = text + " " + _as_text(columns[Role.CLOCK]).str.strip_chars()
    return parse_stamps(text, table.lines, order, table.where)


def _dated(text: pl.Series) -> pl.Series:
    """Stamps with the month as an English word (``Jan 02, 2024``, ``2-Jan-2024 18:00``) as ``2024-01-02 18:00``."""
    text = text.str.slice(0, _MOST_STAMP_TEXT)
    if not text.str.contains(r"[A-Za-z]{3}").any():
        return text
    stripped = text.str.strip_chars()
    for pattern, (month, day) in ((_MONTH_DATE, ("1", "2")), (_DAY_MONTH_DATE, ("2", "1"))):
        parts = stripped.str.extract_groups(pattern)
        months = (
            parts.struct.field(month).str.to_lowercase().replace_strict(_MONTHS, default=None, return_dtype=pl.String)
        )
        days, years, clocks = (parts.struct.field(name) for name in (day, "3", "4"))
        written = years + "-" + months + "-" + days.str.zfill(2) + (" " + clocks.fill_null("")).str.strip_chars_end()
        text = text.zip_with(~months.is_not_null(), written)
    return text


def _as_text(column: pl.Series) -> pl.Series:
    """A column of stamps as text; one of a type that can hold no stamp (lists, bytes, spans of time) has none."""
    if column.dtype.is_float():
        column = column.cast(pl.Int64, strict=False)
    if column.dtype in {pl.String, pl.Categorical, pl.Enum} or column.dtype.is_integer():
        return column.cast(pl.String)
    return pl.Series(column.name, [None] * len(column), dtype=pl.String)


def _is_typed(column: pl.Series) -> bool:
    return isinstance(column.dtype, pl.Datetime | pl.Date)


def _typed_stamps(column: pl.Series) -> Stamps:
    """Stamps that the file itself has as dates or times; microseconds are enough to see which fit into nanoseconds."""
    dtype = column.dtype
    is_zoned = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    column = column if isinstance(dtype, pl.Datetime) else column.cast(pl.Datetime("us"))
    micros = column.dt.timestamp("us")
    usable = (micros.is_not_null() & (micros.abs() < _FARTHEST_MICROS)).fill_null(value=False).to_numpy()
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
        wall_ns = column.dt.timestamp("ns").fill_null(0).to_numpy().copy()
    else:
        wall_ns = np.where(usable, micros.fill_null(0).to_numpy(), 0) * 1_000
    return Stamps(
        wall_ns,
        usable,
        np.full(len(column), is_zoned),
        np.full(len(column), dtype != pl.Date),
        DateOrder.YEAR_FIRST,
        ["time zone: the stamps are typed and carry one"] if is_zoned else [],
    )


def _stamps_from_midnight(column: pl.Series, table: _Table) -> Stamps:
    dates = _FILE_DATE.findall(Path(table.where.rsplit(":", 1)[-1]).name) or _FILE_DATE.findall(Path(table.where).name)
    days = set(dates)
    if len(days) != 1:
        raise ReadError(
            f"{table.where}: the stamps count milliseconds since midnight, but the file's name does not hold one date; "
            "expected a name such as 20131007_es_minute_trade.csv"
        )
    day_ns = int(np.datetime64("-".join(days.pop()), "ns").astype(np.int64))
    counts = numbers_of(column, NumberStyle())
    with np.errstate(invalid="ignore"):
        usable = (counts >= 0) & (counts <= NS_PER_DAY / 1e6) & (counts == np.rint(counts))
    wall_ns = day_ns + np.where(usable, counts, 0).astype(np.int64) * 1_000_000
    known = np.zeros(len(counts), dtype=np.bool_)
    return Stamps(wall_ns, usable, known, np.ones(len(counts), dtype=np.bool_), DateOrder.YEAR_FIRST)


def _joined(parts: list[RawBars]) -> RawBars:
    """Several files of one series as one, in the order given; equal findings are added up."""
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0, *(int(part.lines[-1]) if part.rows else 0 for part in parts[:-1])])
    merged: dict[tuple[str, Treatment, str], Finding] = {}
    for part, offset in zip(parts, offsets.tolist(), strict=True):
        for finding in part.findings:
            key = (finding.kind, finding.treatment, finding.text)
            known = merged.get(key)
            count = finding.count + (known.count if known else 0)
            lines = known.lines if known else tuple(line + offset for line in finding.lines)
            merged[key] = Finding(finding.kind, finding.treatment, count, finding.text, lines)
    orders = {part.stamps.date_order for part in parts}
    if len(orders) > 1:
        raise ReadError(f"found dates of different orders among the files of one archive ({', '.join(sorted(orders))})")
    has_volume = all(part.volume is not None for part in parts)
    stamps = Stamps(
        np.concatenate([part.stamps.wall_ns for part in parts]),
        np.concatenate([part.stamps.usable for part in parts]),
        np.concatenate([part.stamps.utc_known for part in parts]),
        np.concatenate([part.stamps.has_clock for part in parts]),
        parts[0].stamps.date_order,
    )
    return RawBars(
        stamps,
        {role: np.concatenate([part.prices[role] for part in parts]) for role in PRICE_ROLES},
        np.concatenate([part.volume for part in parts if part.volume is not None]) if has_volume else None,
        np.concatenate([part.lines + offset for part, offset in zip(parts, offsets.tolist(), strict=True)]),
        list(merged.values()),
        [f"{len(parts)} files of one series joined", *dict.fromkeys(line for part in parts for line in part.evidence)][
            :8
        ],
        all(part.is_utc_by_name for part in parts),
        next((part.symbol for part in parts if part.symbol), ""),
    )
