"""Large tables of bars as plain text, read chunk by chunk.

A file is read this way where its head shows a table of one series and nothing later contradicts the head: no quotes, no comma inside a
price, no other text than UTF-8, the number of fields that most rows have. Rows that are not plain go through the readers of single
values like those of any file, with the same counts and lines in the report. Where something is met that only the whole file could
settle, the answer is ``None`` and ``bars.py`` reads the file as a whole.
"""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from grandmodel.data.historical.profile import PRICE_ROLES, ImportProfile, Role
from grandmodel.data.historical.readers.compressed import (
    GZIP_MAGIC,
    PACKING_FAULTS,
    XZ_MAGIC,
    ZIP_MAGIC,
    ZSTD_MAGIC,
    Readable,
)
from grandmodel.data.historical.readers.limits import ReadLimits
from grandmodel.data.historical.readers.numbers import NumberStyle, numbers_of, volumes_of
from grandmodel.data.historical.readers.plain_rows import (
    CLOCK_FIELD,
    DAY_FIRST_OK,
    DIRTY,
    HAS_CLOCK,
    MONTH_FIRST_OK,
    NO_FIELD,
    NUMERIC,
    RAGGED,
    STAMP_FIELD,
    UTC_KNOWN,
    scan_rows,
)
from grandmodel.data.historical.readers.raw_bars import SpooledBars, spool_of_bars, spooled_rows
from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.data.historical.spool import Spool
from grandmodel.data.historical.stamps import DatedRows, OrderProof, Tally, dated_rows

CHUNK_BYTES = 4 * 2**20
HEAD_BYTES = 256 * 2**10
"""A file of no more than this is read as a whole."""
_LONGEST_LINE = 16 * 2**20


class NotPlainError(Exception):
    """Something that only the whole file can settle; never leaves the readers."""


@dataclass(slots=True)
class Layout:
    """What the head of a file shows about its table."""

    delimiter: str
    width: int
    """Fields of a row."""
    first_line: int
    """Line of the first row, from 1."""
    lines_above: tuple[int, ...]
    """Fields of each line above the rows that is not blank."""
    places: dict[Role, int]
    """The field of each role, from 0."""
    last_is_empty: bool = False
    """Every row ends with a delimiter."""
    bounded: Role | None = None
    """A price column told by lying above or below all others."""
    has_split_date: bool = False
    """Date and clock stand under one heading."""
    findings: list[Finding] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    is_utc_by_name: bool = False
    symbol: str = ""


StampText = Callable[[Mapping[Role, pl.Series]], pl.Series]
"""The stamps of rows as one text each, from the columns of their roles."""


def text_bars(
    path: Path,
    profile: ImportProfile,
    limits: ReadLimits,
    layout_of: Callable[[bytes], Layout],
    stamp_text: StampText,
    chunk_bytes: int = CHUNK_BYTES,
    head_bytes: int = HEAD_BYTES,
) -> SpooledBars | None:
    """The bars of the text file ``path``, plain or packed, or ``None`` where it must be read as a whole.

    ``layout_of`` reads the head. Raises ``ReadError`` and ``AmbiguousError`` as ``read_bars`` does.
    """
    try:
        chunks = _lines_of(path, limits, max(chunk_bytes, 1), head_bytes)
        head = next(chunks, b"")
        if len(head) < head_bytes:
            return None
        reader = _TextBars(str(path), profile, limits, layout_of(head), stamp_text)
        reader.skip_above(head)
        for chunk in chunks:
            reader.add(chunk)
        return reader.finished()
    except NotPlainError:
        return None


def _lines_of(path: Path, limits: ReadLimits, chunk_bytes: int, head_bytes: int) -> Iterator[bytes]:
    """The head, and then everything from the start in chunks of whole lines that end with a line feed."""
    size = path.stat().st_size
    if size > limits.bytes:
        raise NotPlainError
    try:
        with path.open("rb") as file, _opened(file) as content:
            most = limits.bytes if content is file else limits.unpacked(size)
            done = 0
            rest = _read(content, head_bytes)
            if rest.startswith(codecs.BOM_UTF8):
                rest = rest[len(codecs.BOM_UTF8) :]
            elif b"\x00" in rest or rest.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, GZIP_MAGIC, ZIP_MAGIC)):
                raise NotPlainError
            yield rest
            at_end = False
            while rest or not at_end:
                data = content.read(chunk_bytes) if not at_end else b""
                at_end = not data
                rest += data
                done += len(data)
                if done > most:
                    raise limits.unpacked_refusal(path, size)
                # A carriage return at the very end may be half a line end.
                cut = len(rest) if at_end else rest.rfind(b"\n") + 1
                chunk, rest = rest[:cut], rest[cut:]
                if len(rest) > _LONGEST_LINE:
                    raise NotPlainError
                if chunk:
                    yield _checked(chunk)
    except (*PACKING_FAULTS, pa.ArrowException) as error:
        raise NotPlainError from error


def _checked(chunk: bytes) -> bytes:
    if b'"' in chunk or b"\x00" in chunk:
        raise NotPlainError
    if not chunk.isascii():
        try:
            chunk.decode("utf-8")
        except UnicodeDecodeError as error:
            raise NotPlainError from error
    if b"\r" in chunk:
        chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return chunk if chunk.endswith(b"\n") else chunk + b"\n"


def _opened(file: io.BufferedReader) -> io.BufferedReader | gzip.GzipFile | lzma.LZMAFile | pa.CompressedInputStream:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(ZIP_MAGIC):
        raise NotPlainError
    if magic.startswith(GZIP_MAGIC):
        return gzip.GzipFile(fileobj=file)
    if magic.startswith(XZ_MAGIC):
        return lzma.LZMAFile(file)
    if magic.startswith(ZSTD_MAGIC):
        return pa.CompressedInputStream(pa.PythonFile(file, "rb"), "zstd")
    return file


def _read(content: Readable, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0:
        data = bytes(content.read(min(size, CHUNK_BYTES)))
        if not data:
            break
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


class _TextBars:
    """The rows of one file as they come."""

    def __init__(
        self, where: str, profile: ImportProfile, limits: ReadLimits, layout: Layout, stamp_text: StampText
    ) -> None:
        self.where, self.profile, self.layout, self.stamp_text = where, profile, layout, stamp_text
        self.prices = [role for role in PRICE_ROLES if role in layout.places]
        self.numbers = [*self.prices, *([Role.VOLUME] if Role.VOLUME in layout.places else [])]
        self.slots = np.full(layout.width, NO_FIELD, dtype=np.int64)
        for slot, role in enumerate(self.numbers):
            self.slots[layout.places[role]] = slot
        if Role.STAMP in layout.places:
            self.slots[layout.places[Role.STAMP]] = STAMP_FIELD
        else:
            self.slots[layout.places[Role.DATE]] = STAMP_FIELD
            if Role.CLOCK in layout.places:
                self.slots[layout.places[Role.CLOCK]] = CLOCK_FIELD
        self.fields = np.zeros(limits.columns + 2, dtype=np.int64)
        self.above = layout.first_line - 1
        """Lines still to be passed over."""
        self.lines = 0
        self.proof = OrderProof()
        self.ragged, self.shortened = Tally(), Tally()
        self.bounded_rows = 0
        self.has_stamp = self.has_two_orders = False
        self.spool: Spool | None = None

    def skip_above(self, head: bytes) -> None:
        """Refuse a head whose heading is not within it."""
        if self.above > head.count(b"\n") + head.count(b"\r"):
            raise NotPlainError

    def add(self, chunk: bytes) -> None:
        """Take in whole lines."""
        start = 0
        while self.above and start < len(chunk):
            start = chunk.index(b"\n", start) + 1
            self.above -= 1
            self.lines += 1
        raw = np.frombuffer(chunk, dtype=np.uint8)[start:]
        if not len(raw):
            return
        count = chunk.count(b"\n", start)
        status = np.empty(count, dtype=np.uint8)
        starts = np.empty(count + 1, dtype=np.int64)
        stamps = np.zeros((count, 7), dtype=np.int64)
        numbers = np.empty((count, max(1, len(self.numbers))), dtype=np.float64)
        scan_rows(raw, ord(self.layout.delimiter), self.slots, status, starts, stamps, numbers, self.fields)
        starts[count] = len(raw)
        lines = self.lines + 1 + np.arange(count, dtype=np.int64)
        self.lines += count
        self.ragged.add(lines, status == RAGGED)
        kept = status <= DIRTY
        if not kept.all():
            stamps, numbers, lines = stamps[kept], numbers[kept], lines[kept]
        if not len(lines):
            return
        dirty = np.flatnonzero(status[kept] == DIRTY)
        dated = _dated_rows(stamps)
        values = {role: np.ascontiguousarray(numbers[:, slot]) for slot, role in enumerate(self.numbers)}
        if self.layout.last_is_empty:
            self._check_last_empty(raw, starts[1:][kept])
        if len(dirty):
            rows = np.flatnonzero(kept)[dirty]
            content = b"".join(
                raw[begin:end].tobytes()
                for begin, end in zip(starts[rows].tolist(), starts[rows + 1].tolist(), strict=True)
            )
            self._read_dirty(content, dirty, lines, dated, values)
        self.has_stamp |= bool((dated.day_first_ok | dated.month_first_ok).any())
        self._check_bounded(values)
        self.proof.add(dated, lines)
        if self.spool is None:
            self.has_two_orders = bool(dated.is_numeric.any())
            self.spool = spool_of_bars(
                has_volume=Role.VOLUME in self.numbers,
                has_one_price=self.prices == [Role.CLOSE],
                has_two_orders=self.has_two_orders,
            )
        elif not self.has_two_orders and dated.is_numeric.any():
            raise NotPlainError
        self.spool.append(spooled_rows(dated, lines, values))

    def _check_last_empty(self, raw: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        if (raw[ends - 2] != ord(self.layout.delimiter)).any():
            raise NotPlainError

    def _read_dirty(
        self,
        content: bytes,
        rows: NDArray[np.int64],
        lines: NDArray[np.int64],
        dated: DatedRows,
        values: dict[Role, NDArray[np.float64]],
    ) -> None:
        """Read the rows ``rows`` (K,), whose text is ``content``, as those of any file are read."""
        try:
            frame = pl.read_csv(
                io.BytesIO(content),
                has_header=False,
                separator=self.layout.delimiter,
                quote_char=None,
                infer_schema=False,
                encoding="utf8-lossy",
                raise_if_empty=False,
            )
        except (pl.exceptions.PolarsError, ValueError) as error:
            raise NotPlainError from error
        if frame.height != len(rows) or frame.width != self.layout.width:
            raise NotPlainError
        columns = {role: frame.to_series(place) for role, place in self.layout.places.items()}
        is_open = self.profile.decimal_comma is None
        if is_open and any(columns[role].str.contains(",", literal=True).any() for role in self.prices):
            raise NotPlainError
        if self.layout.has_split_date and not _is_split_date(columns):
            raise NotPlainError
        style = NumberStyle()
        for role in self.numbers:
            if role is Role.VOLUME:
                values[role][rows], shortened = volumes_of(columns[role], style)
                self.shortened.add(lines[rows], shortened)
            else:
                values[role][rows] = numbers_of(columns[role], style)
        read = dated_rows(self.stamp_text(columns))
        for name in DatedRows.__slots__:
            getattr(dated, name)[rows] = getattr(read, name)

    def _check_bounded(self, values: Mapping[Role, NDArray[np.float64]]) -> None:
        role = self.layout.bounded
        if role is None:
            return
        rest = np.stack([values[other] for other in self.prices if other is not role])
        known = np.isfinite(values[role]) & np.isfinite(rest).all(axis=0)
        with np.errstate(invalid="ignore"):
            fits = values[role] <= rest.min(axis=0) if role is Role.LOW else values[role] >= rest.max(axis=0)
        if not fits[known].all():
            raise NotPlainError
        self.bounded_rows += int(known.sum())

    def finished(self) -> SpooledBars:
        """All rows, once the last is taken in."""
        layout = self.layout
        if self.spool is None or not self.has_stamp or self.fields[-1]:
            raise NotPlainError
        everywhere = self.fields.copy()
        for count in layout.lines_above[1:]:
            everywhere[count] += 1
        if not layout.lines_above:
            everywhere[layout.width] -= 1  # the first line of all has no say in what is common
        if _commonest(everywhere) != layout.width or _commonest(self.fields) != layout.width:
            raise NotPlainError
        findings = [finding for finding in layout.findings if finding.kind == "lines_above_the_table"]
        if self.ragged.count:
            text = f"rows without {layout.width} fields as the others have are left out"
            findings.append(Finding("broken_rows", Treatment.DROPPED, self.ragged.count, text, self.ragged.lines))
        for finding in layout.findings:
            if finding.kind == "misspelt_column":
                text = finding.text.rsplit(" all ", 1)[0] + f" all {self.bounded_rows} rows"
                findings.append(Finding(finding.kind, finding.treatment, 1, text, finding.lines))
            elif finding.kind not in {"lines_above_the_table", "broken_rows"}:
                findings.append(finding)
        if self.prices == [Role.CLOSE]:
            text = "the file has one price per row; open, high and low are set to it"
            findings.append(Finding("one_price_only", Treatment.NOTED, self.spool.rows, text))
        if self.shortened.count:
            text = "volumes are shortened (559.63K): exact to the digits shown, and multiplied out"
            findings.append(
                Finding("shortened_volumes", Treatment.NOTED, self.shortened.count, text, self.shortened.lines)
            )
        order, evidence, found = self.proof.settled(self.profile.date_order, self.where)
        return SpooledBars(
            self.spool,
            order,
            Role.VOLUME in self.numbers,
            [*findings, *found],
            [*layout.evidence, *evidence],
            layout.is_utc_by_name,
            layout.symbol,
        )


def _commonest(fields: NDArray[np.int64]) -> int:
    """The number of fields met most often, the larger of two that are met equally often."""
    return int(len(fields) - 1 - np.argmax(fields[::-1]))


def _is_split_date(columns: Mapping[Role, pl.Series]) -> bool:
    return all(
        bool(columns[role].str.contains(pattern).fill_null(value=False).all())
        for role, pattern in ((Role.DATE, DATE_TEXT), (Role.CLOCK, CLOCK_TEXT))
    )


CLOCK_TEXT = r"^\s*\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*([AaPp][Mm])?\s*$"
DATE_TEXT = r"^\s*\d{1,4}[-/.]?\d{1,2}[-/.]?\d{1,4}\s*$"


def _dated_rows(stamps: NDArray[np.int64]) -> DatedRows:
    """Rows (T, 7) of ``scan_rows``; those that are not plain hold anything."""
    columns = [np.ascontiguousarray(stamps[:, place]) for place in range(7)]
    state = columns[2]
    return DatedRows(
        columns[0], columns[1], state & DAY_FIRST_OK != 0, state & MONTH_FIRST_OK != 0, state & NUMERIC != 0,
        columns[3], columns[4], columns[5], columns[6], state & UTC_KNOWN != 0, state & (HAS_CLOCK | UTC_KNOWN) != 0,
    )  # fmt: skip
