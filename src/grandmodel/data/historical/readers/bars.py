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
import lzma
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.profile import PRICE_ROLES, DateOrder, ImportProfile, Members, Role
from grandmodel.data.historical.readers.compressed import ZIP_MAGIC, load_bytes, load_zip_member, zip_members
from grandmodel.data.historical.readers.parquet_files import parquet_frame
from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.data.historical.stamps import Stamps, first_lines, parse_stamps
from grandmodel.domain.time import NS_PER_DAY

XZ_MAGIC = b"\xfd7zXZ\x00"
PARQUET_MAGIC = b"PAR1"

_LARGEST_FILE = 8 * 2**30
_FARTHEST_MICROS = 2**53
"""255 years from 1970 on either side: within what nanoseconds in 64 bits can hold."""
_DELIMITERS = ("\t", ";", ",", "|")
_NAMES: dict[Role, tuple[str, ...]] = {
    Role.STAMP: (
        "timestamp", "datetime", "dt", "ts", "time stamp", "date time", "timestamp utc", "datetime utc", "utc", "gmt time",
        "local time", "date utc", "time utc",
    ),
    Role.DATE: ("date", "day", "trade date", "data"),
    Role.CLOCK: ("time", "clock", "hour"),
    Role.OPEN: ("open", "o", "open price"),
    Role.HIGH: ("high", "h", "high price", "max"),
    Role.LOW: ("low", "l", "low price", "min"),
    Role.CLOSE: ("close", "c", "last", "close price", "settle", "price"),
    Role.VOLUME: ("volume", "vol", "v", "volumes", "tickvol"),
}  # fmt: skip
_UTC_NAMES = re.compile(r"\b(utc|gmt)\b")
_CLOCK_TEXT = r"^\s*\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*([AaPp][Mm])?\s*$"
_DATE_TEXT = r"^\s*\d{1,4}[-/.]?\d{1,2}[-/.]?\d{1,4}\s*$"
_NUMBER_TEXT = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_ENDINGS = re.compile(r"(\.(csv|tsv|txt|parquet|gz|xz|zst|zip))+$", re.IGNORECASE)
_FILE_DATE = re.compile(r"(?<!\d)((?:19|20)\d{2})-?(\d{2})-?(\d{2})(?!\d)")


@dataclass(slots=True)
class RawBars:
    """The rows of one series as its file has them. Shapes (T,); prices and volume are NaN where there is no number."""

    stamps: Stamps
    prices: dict[Role, NDArray[np.float64]]
    volume: NDArray[np.float64] | None
    lines: NDArray[np.int64]
    """Line of the file, from 1; in a Parquet file the row, from 1; over several members they go on counting."""
    findings: list[Finding] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    is_utc_by_name: bool = False
    """The stamp column's own name says UTC."""

    @property
    def rows(self) -> int:
        """T."""
        return len(self.lines)


def read_bars(path: Path, profile: ImportProfile) -> dict[str, RawBars]:
    """The series of bars in the file ``path``, by name (the file's own, or each member's of a zip of several series).

    Raises ``ReadError`` where the content is no table of bars, and ``AmbiguousError`` where it is one that can be read in
    more than one way; both name the file, the line and the flag that helps.
    """
    if path.is_file() and path.stat().st_size > _LARGEST_FILE:
        raise ReadError(
            f"{path}: found a file of {path.stat().st_size} bytes, expected at most {_LARGEST_FILE}; split it"
        )
    tables = _tables(path, profile)
    if profile.members is Members.EACH:
        return {name: _joined([_raw_bars(table, profile)]) for name, table in tables.items()}
    return {_stem(path.name): _joined(_pieces(list(tables.values()), profile))}


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


def _tables(path: Path, profile: ImportProfile) -> dict[str, _Table]:
    content = load_bytes(path)
    if content.startswith(ZIP_MAGIC):
        members = sorted(zip_members(path))
        if not members:
            raise ReadError(f"{path}: found an empty zip file, expected a table of bars in it")
        return {_stem(member): _table(load_zip_member(path, member), f"{path}:{member}", profile) for member in members}
    if content.startswith(XZ_MAGIC):
        try:
            content = lzma.decompress(content)
        except lzma.LZMAError as error:
            raise ReadError(f"{path}: the compressed content is damaged or cut off ({error})") from error
    return {_stem(path.name): _table(content, str(path), profile)}


def _stem(name: str) -> str:
    """The name of a file without folders and the endings of its format and packing."""
    return _ENDINGS.sub("", Path(name).name) or "bars"


def _table(content: bytes, where: str, profile: ImportProfile) -> _Table:
    if content[:4] == PARQUET_MAGIC:
        try:
            frame = parquet_frame(io.BytesIO(content))
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            raise ReadError(f"{where}: not a Parquet file that can be read ({str(error).splitlines()[0]})") from error
        if frame.height == 0:
            raise ReadError(f"{where}: found no row, expected a table of bars")
        return _Table(where, frame, list(frame.columns), np.arange(1, frame.height + 1, dtype=np.int64))
    return _text_table(content, where, profile)


def _text_table(content: bytes, where: str, profile: ImportProfile) -> _Table:
    """Split text into columns; rows with another number of fields than the others are left out and counted."""
    if content.startswith(b"\xef\xbb\xbf"):
        content = content[3:]
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
    counts = np.add.reduceat((raw == ord(delimiter)).astype(np.int64), starts)
    filled = ends > starts
    first = int(np.argmax(filled))
    header = raw[starts[first] : ends[first]].tobytes().decode("utf-8", "replace").split(delimiter)
    has_header = profile.header if profile.header is not None else not _looks_like_data(header)
    data = filled.copy()
    data[: first + int(has_header)] = False
    if not data.any():
        raise ReadError(f"{where}: found a heading and no row, expected a table of bars")
    width = int(Counter(counts[data].tolist()).most_common(1)[0][0]) + 1
    ragged = data & (counts != width - 1)
    lines = np.arange(1, len(ends) + 1, dtype=np.int64)
    findings = []
    if ragged.any():
        text = f"rows without {width} fields as the others have are left out"
        findings.append(Finding("broken_rows", Treatment.DROPPED, int(ragged.sum()), text, first_lines(lines, ragged)))
    keep = data & ~ragged
    if keep[first + int(has_header) :].all():
        body = raw[starts[first + int(has_header)] :].tobytes()
    else:
        sizes = ends - starts + 1
        body = raw[np.repeat(keep, sizes)].tobytes()
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
    if frame.height != int(keep.sum()) or frame.width != width:
        raise ReadError(
            f"{where}: found {frame.height} rows of {frame.width} fields, expected {int(keep.sum())} of {width}; the "
            "file has line ends or control characters inside its fields"
        )
    return _Table(where, frame, [name.strip() for name in header] if has_header else None, lines[keep], findings)


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
    text = content.decode("utf-8", "replace")
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise ReadError(f"{where}: the quoted fields do not parse ({error})") from error
    cleaned = "\n".join(separator.join(re.sub(r"[\n\x1f]", " ", cell) for cell in row) for row in rows)
    return cleaned.encode(), separator


def _looks_like_data(cells: list[str]) -> bool:
    numbers = sum(re.match(_NUMBER_TEXT, cell) is not None for cell in cells)
    return numbers * 2 >= len(cells) or (numbers >= 3 and re.match(r"^\s*\d", cells[0]) is not None)


def _raw_bars(table: _Table, profile: ImportProfile) -> RawBars:
    findings = list(table.findings)
    columns = _columns(table, profile, findings)
    prices = {role: _numbers(columns[role], profile) for role in PRICE_ROLES if role in columns}
    if set(prices) == {Role.CLOSE}:
        text = "the file has one price per row; open, high and low are set to it"
        findings.append(Finding("one_price_only", Treatment.NOTED, len(table.lines), text))
        prices = dict.fromkeys(PRICE_ROLES, prices[Role.CLOSE])
    missing = [role for role in PRICE_ROLES if role not in prices]
    if missing:
        raise _unknown_columns(table, f"no {', '.join(missing)}")
    volume = _numbers(columns[Role.VOLUME], profile) if Role.VOLUME in columns else None
    stamps = _stamps(columns, table, profile)
    evidence = list(stamps.evidence)
    by_name = False
    for role in (Role.STAMP, Role.DATE, Role.CLOCK):
        if role in columns and table.names is not None and columns[role].name.isdigit():
            by_name |= _UTC_NAMES.search(_plain(table.names[int(columns[role].name)])) is not None
    return RawBars(stamps, prices, volume, table.lines, findings + stamps.findings, evidence, by_name)


def _plain(name: str) -> str:
    """A heading in lower case, without brackets, quotes and underscores."""
    return " ".join(re.sub(r"[<>\"'\[\]()_]", " ", name).lower().split())


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
    found = _named(names, table, placed)
    _add_misspelt(found, names, placed, profile, findings)
    return {role: placed[place] for role, place in found.items()}


def _repaired_heading(table: _Table, names: list[str], placed: list[pl.Series], findings: list[Finding]) -> list[str]:
    """Names for data that has one column more than its heading: a date and a clock under one name."""
    dates = [place for place, name in enumerate(names) if _plain(name) in (*_NAMES[Role.DATE], *_NAMES[Role.STAMP])]
    if len(placed) == len(names) + 1 and len(dates) == 1:
        place = dates[0]
        date, clock = placed[place], placed[place + 1]
        if _all_match(date, _DATE_TEXT) and _all_match(clock, _CLOCK_TEXT):
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
    others = {other: _numbers(placed[found[other]], profile) for other in PRICE_ROLES if other in found}
    rest = np.stack(list(others.values()))
    for place in free:
        if not difflib.get_close_matches(_plain(names[place]), [str(role)], cutoff=0.7):
            continue
        values = _numbers(placed[place], profile)
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


def _numbers(column: pl.Series, profile: ImportProfile) -> NDArray[np.float64]:
    """A column as float64, NaN where there is no number."""
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        if profile.decimal_comma:
            text = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
        numbers = text.cast(pl.Float64, strict=False)
        if numbers.null_count() > text.null_count():
            # A thousands separator, as spreadsheets export it (only inside quotes, or the fields would have split).
            grouped = text.str.contains(r"^[-+]?\d{1,3}(,\d{3})+(\.\d*)?$").fill_null(value=False)
            numbers = text.zip_with(~grouped, text.str.replace_all(",", "", literal=True)).cast(
                pl.Float64, strict=False
            )
    elif column.dtype.is_numeric():
        numbers = column.cast(pl.Float64, strict=False)
    else:
        return np.full(len(column), np.nan)
    return numbers.fill_null(np.nan).to_numpy().astype(np.float64, copy=True)


def _stamps(columns: Mapping[Role, pl.Series], table: _Table, profile: ImportProfile) -> Stamps:
    order = profile.date_order
    if Role.MILLISECONDS in columns:
        return _stamps_from_midnight(columns[Role.MILLISECONDS], table)
    if Role.STAMP in columns:
        column = columns[Role.STAMP]
        if _is_typed(column):
            return _typed_stamps(column)
        return parse_stamps(_as_text(column), table.lines, order, table.where)
    date = columns.get(Role.DATE)
    if date is None:
        raise _unknown_columns(table, "no date or time stamp")
    text = _as_text(date).str.strip_chars()
    if Role.CLOCK in columns:
        text = text + " " + _as_text(columns[Role.CLOCK]).str.strip_chars()
    return parse_stamps(text, table.lines, order, table.where)


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
    counts = _numbers(column, ImportProfile())
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
    )
