"""The store: market data on disk as Parquet, by instrument, schema and trading day.

::

    ROOT/
      manifest.json                       what is in the store: every file with its rows, times and SHA-256
      instrument=ES/schema=trades/day=2024-06-28/3f1c....parquet
      instrument=NQ/schema=bars-30m/month=2024-06/90ab....parquet
      imports/4f21....json                what an import of one file with one set of settings came to (``known_imports.py``)
      .incoming/                          a write that is under way, or that a crash has left
      .lock

The files are plain Parquet with the columns of ``domain.blocks`` (times in nanoseconds UTC, prices in ticks, the tick size in
the file's metadata), so polars and duckdb read them without this program. Bars of different widths are different schemas here
(``bars-5m``, ``bars-30m``). A file holds the rows of one source over one period and is named after the source. Trades, quotes
and orders have a file per trading day; bars, of which a day has few, one per month (daily bars: per year) with the trading
day as a column: four years of half-hour bars took 7.2 s to write as 1,034 files and 0.1 s as 49.

How a write survives a crash: the new files are written and synced under ``.incoming``, then one rename puts the new
manifest in place. That rename is the commit. Afterwards the files move to where the manifest says they are. A crash before
the commit leaves the old manifest and litter in ``.incoming``; a crash after it leaves files still to be moved. Both are
put in order by the next opening: litter is deleted, moves are finished. Equal rows give equal bytes, so writing the same
source twice changes nothing.

Read next: ``importing.py`` (who writes here), ``docs/reference/data-import.md``.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from grandmodel.data.errors import StoreError
from grandmodel.data.historical.profile import text_from_width, width_from_text
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import Block, Schema, check_order, freeze, schema_of
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.paths import local_path
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, text_from_ns

DEFAULT_ROWS_PER_BLOCK = 262_144
_FORMAT = 1
_MANIFEST = "manifest.json"
_INCOMING = ".incoming"
_COMPRESSION = "zstd"
_ROWS_IN_CACHE = 8_192
_PLACED_BEFORE = 1
"""A bar that ends with its session belongs to it: bars are placed by the last nanosecond of their interval."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the store."""

    instrument: str
    schema: str
    """``trades``, ``quotes``, ``book``, or ``bars-`` and the width."""
    period: str
    """A trading day, a month or a year: ``2024-06-28``, ``2024-06``, ``2024``."""
    days: int
    """Trading days with rows."""
    source: str
    tick_size: str
    lot_size: str
    rows: int
    first_ns: int
    last_ns: int
    """``ts_init`` of the first and last row."""
    bytes: int
    sha256: str

    @property
    def path(self) -> str:
        """Where the file lies under the root."""
        name = hashlib.sha256(self.source.encode()).hexdigest()[:16]
        key = {10: "day", 7: "month", 4: "year"}.get(len(self.period), "period")
        return f"instrument={self.instrument}/schema={self.schema}/{key}={self.period}/{name}.parquet"


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the store, in the order of instrument, schema, period and source."""

    format: int = _FORMAT
    files: tuple[StoredFile, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """What the store has of one instrument in one schema."""

    instrument: str
    schema: str
    days: int
    rows: int
    first_ns: int
    last_ns: int
    sources: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Written:
    """What one write did."""

    rows_added: int
    rows_known: int
    """Rows that the store already had from this or another source."""
    files_changed: int


@dataclass(frozen=True, slots=True)
class BlockPieces:
    """Rows to store that are too many to hold, in order."""

    rows: int
    first_ns: int
    """``ts_init`` of the first row."""
    last_ns: int
    width_ns: int
    """Of bars: the commonest width; else 0."""
    pieces: Iterable[Block]


class Store:
    """The store at ``root``; the folder is made at the first write.

    Any number of processes may read; one writes at a time, and a second is refused with ``StoreError``.
    """

    def __init__(self, root: Path) -> None:
        self.root = local_path(root, "store")
        self._finish_interrupted_write()

    # Writing

    def write(self, instrument: Instrument, schema: Schema, rows: Block | BlockPieces, source: str) -> Written:
        """Add ``rows`` (T,), in order, that came from ``source`` (a name that identifies their origin).

        The same source writes over what it wrote before in the periods that the rows have. Bars that another source has
        already written are left out if equal. Rows in pieces are held a period at a time. Raises ``StoreError`` if they differ, if
        trades, quotes or orders of another source overlap in time, or if the disk fails; the store is then as it was. Raises
        ``UsageError`` for rows out of order or of another layout.
        """
        pieces = rows if isinstance(rows, BlockPieces) else _pieces_of(schema, rows)
        if not pieces.rows:
            return Written(0, 0, 0)
        name = _schema_name(schema, pieces.width_ns)
        with self._writing() as incoming:
            before = self._manifest()
            _check_units(before, instrument)
            known = {(file.period, file.source): file for file in before.files if _is(file, instrument.id, name)}
            unit = _period_unit(schema, name)
            added: dict[str, StoredFile] = {}
            rows_known = rows_added = 0
            for period, part, days in _periods(pieces, instrument, schema, unit):
                others = [file for (of_period, of), file in known.items() if of_period == period and of != source]
                is_new = self._unknown_rows(schema, part, others, instrument, name)
                fresh, fresh_days = (part, days) if is_new.all() else (part[is_new], days[is_new])
                rows_known += len(part) - len(fresh)
                if not len(fresh):
                    continue
                content = _parquet_bytes(fresh, fresh_days if unit != "D" else None, instrument, name, source)
                file = _described(fresh, fresh_days, instrument, name, period, source, content)
                mine = known.get((period, source))
                if mine == file:
                    rows_known += len(fresh)
                    continue
                rows_added += max(0, len(fresh) - (mine.rows if mine else 0))
                self._put(incoming, file, content)
                added[file.path] = file
            if added:
                kept = tuple(file for file in before.files if file.path not in added)
                self._commit(incoming, (*kept, *added.values()), list(added))
        return Written(rows_added, rows_known, len(added))

    def _put(self, incoming: Path, file: StoredFile, content: bytes) -> None:
        """Write a new file to where it waits for the commit."""
        target = incoming / file.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, content)
        except OSError as error:
            raise StoreError(_disk_message(self.root, error)) from error

    def _unknown_rows(
        self, schema: Schema, part: Block, others: list[StoredFile], instrument: Instrument, name: str
    ) -> NDArray[np.bool_]:
        """Which rows of ``part`` no other source has; refuses contradictions."""
        is_new = np.ones(len(part), dtype=np.bool_)
        for file in others:
            if schema is Schema.BARS:
                is_new &= ~_stored_bars(part, self._read(file), file, instrument, name)
            elif int(part["ts_init"][0]) <= file.last_ns and int(part["ts_init"][-1]) >= file.first_ns:
                raise StoreError(
                    f"{self.root}: {instrument.id} {name} of {file.period} overlaps what {file.source!r} has already "
                    "brought; two sources of one market at one time would count everything twice"
                )
        return is_new

    def _commit(self, incoming: Path, files: tuple[StoredFile, ...], added: list[str]) -> None:
        """Make ``files`` the content of the store; those whose paths are ``added`` lie under ``incoming``."""
        ordered = tuple(sorted(files, key=lambda file: (file.instrument, file.schema, file.period, file.source)))
        try:
            _sync_all(incoming)
            manifest = incoming / _MANIFEST
            _write(manifest, _manifest_bytes(Manifest(files=ordered)), sync=True)
            manifest.replace(self.root / _MANIFEST)  # the commit
            _sync_folder(self.root)
        except OSError as error:
            raise StoreError(_disk_message(self.root, error)) from error
        self._move_into_place(incoming, added)

    def _move_into_place(self, incoming: Path, relatives: list[str]) -> None:
        try:
            for relative in relatives:
                target = self.root / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                (incoming / relative).replace(target)
        except OSError as error:
            message = f"{self.root}: written, but not all files could be moved into place ({error.strerror})"
            raise StoreError(f"{message}; opening the store again finishes it") from error

    @contextmanager
    def _writing(self) -> Iterator[Path]:
        """Hold the store's lock and give a folder for new files; it is gone afterwards, whatever happened."""
        incoming = self.root / _INCOMING
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / ".lock").open("a")
        except OSError as error:
            raise StoreError(_disk_message(self.root, error)) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreError(
                    f"{self.root}: another process writes to the store; try again when it is done"
                ) from error
            try:
                self._roll_forward()
                incoming.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(_disk_message(self.root, error)) from error
            try:
                yield incoming
            finally:
                if not self._unmoved():
                    shutil.rmtree(incoming, ignore_errors=True)

    # Reading

    def files_of(self, instrument: Instrument, schema: Schema, first_ns: int, last_ns: int) -> tuple[StoredFile, ...]:
        """The files that hold rows of ``instrument`` in ``schema`` (bars of any width) between two times of ``ts_init``."""
        return tuple(
            file
            for file in self._manifest().files
            if file.instrument == instrument.id
            and file.schema.split("-", 1)[0] == schema
            and file.last_ns >= first_ns
            and file.first_ns <= last_ns
        )

    def has(self, files: Mapping[str, str]) -> bool:
        """Whether the store has every file of ``files``: its path under the root, and its SHA-256."""
        known = {file.path: file.sha256 for file in self._manifest().files}
        return all(known.get(path) == sha256 for path, sha256 in files.items())

    def catalogue(self) -> list[CatalogueEntry]:
        """What is in the store, by instrument and schema."""
        grouped: dict[tuple[str, str], list[StoredFile]] = {}
        for file in self._manifest().files:
            grouped.setdefault((file.instrument, file.schema), []).append(file)
        return [
            CatalogueEntry(
                instrument,
                schema,
                _distinct_days(files),
                sum(file.rows for file in files),
                min(file.first_ns for file in files),
                max(file.last_ns for file in files),
                tuple(sorted({file.source for file in files})),
                sum(file.bytes for file in files),
            )
            for (instrument, schema), files in grouped.items()
        ]

    def blocks(
        self,
        instruments: Sequence[Instrument],
        schema: Schema,
        start_ns: int,
        end_ns: int,
        rows_per_block: int = DEFAULT_ROWS_PER_BLOCK,
        bar_width: str = "",
    ) -> Iterator[Block]:
        """Frozen blocks of up to ``rows_per_block`` rows with ``start_ns`` <= ``ts_init`` < ``end_ns``.

        The rows of all ``instruments`` come in the order of (``ts_init``, ``sequence``), equal ones in the order of the
        instruments; the field ``instrument`` is the place in ``instruments``. ``bar_width`` (``30m``) chooses among bars
        of several widths. Holds about two periods of each instrument at a time (days of ticks, months of bars). Raises ``UsageError`` where the
        store has nothing of an instrument or where a width must be chosen, ``StoreError`` where a file is damaged.
        """
        if rows_per_block < 1:
            raise UsageError(f"found rows_per_block {rows_per_block}, expected at least 1")
        manifest = self._manifest()
        streams = [
            self._days(manifest, instrument, schema, start_ns, end_ns, bar_width, place)
            for place, instrument in enumerate(instruments)
        ]
        return _in_blocks(_merged(streams), rows_per_block)

    def _days(
        self,
        manifest: Manifest,
        instrument: Instrument,
        schema: Schema,
        start_ns: int,
        end_ns: int,
        bar_width: str,
        place: int,
    ) -> Iterator[Block]:
        """The rows of one instrument, a part at a time, each part wholly before the next."""
        name = self._chosen(manifest, instrument, schema, bar_width)
        _check_units(manifest, instrument)
        files = [file for file in manifest.files if _is(file, instrument.id, name)]
        by_period: dict[str, list[StoredFile]] = {}
        for file in files:
            if file.last_ns >= start_ns and file.first_ns < end_ns:
                by_period.setdefault(file.period, []).append(file)

        def parts() -> Iterator[Block]:
            for period in sorted(by_period):
                read = [self._read(file) for file in by_period[period]]
                part = read[0] if len(read) == 1 else _in_order(np.concatenate(read))
                part["instrument"] = place
                low, high = np.searchsorted(part["ts_init"], [start_ns, end_ns])
                if low < high:
                    yield part[low:high]

        return parts()

    def _chosen(self, manifest: Manifest, instrument: Instrument, schema: Schema, bar_width: str) -> str:
        """The stored schema that is meant; bars need a width if the store has several."""
        names = sorted({file.schema for file in manifest.files if file.instrument == instrument.id})
        fitting = [name for name in names if name == schema or name.startswith(f"{schema}-")]
        if bar_width:
            wanted = f"{Schema.BARS}-{text_from_width(width_from_text(bar_width))}"
            fitting = [name for name in fitting if name == wanted]
        if len(fitting) == 1:
            return fitting[0]
        what = f"{schema}{f' of {bar_width}' if bar_width else ''}"
        if fitting:
            raise UsageError(f"{self.root}: has {', '.join(fitting)} of {instrument.id}; say which with --bar-width")
        listed = f"it has {', '.join(names)}" if names else "it has nothing of this instrument"
        raise UsageError(
            f"{self.root}: found no {what} of {instrument.id} ({listed}); grandmodel data import brings it in"
        )

    def check(self) -> list[str]:
        """What is wrong with the store: files that are missing, changed, or not in the manifest; empty if nothing."""
        problems = []
        manifest = self._manifest()
        for file in manifest.files:
            try:
                self._read(file)
            except StoreError as error:
                problems.append(str(error))
        known = {file.path for file in manifest.files}
        problems.extend(
            f"{path}: not in the manifest; it is not part of the store"
            for path in sorted(self.root.glob("instrument=*/**/*.parquet"))
            if str(path.relative_to(self.root)) not in known
        )
        return problems

    def _read(self, file: StoredFile) -> Block:
        """The rows of one file, after checking its bytes against the manifest."""
        table = pq.read_table(pa.BufferReader(self._content(file)), use_threads=False, partitioning=None)
        schema = Schema(file.schema.split("-", 1)[0])
        columns = {field: table.column(field).to_numpy() for field in schema.dtype.names or () if field != "instrument"}
        block: Block = np.empty(table.num_rows, dtype=schema.dtype)
        block["instrument"] = 0
        # In pieces that stay in the processor's cache: rows are 48 to 72 bytes, and every column touches all of them.
        for start in range(0, table.num_rows, _ROWS_IN_CACHE):
            piece = block[start : start + _ROWS_IN_CACHE]
            for field, values in columns.items():
                piece[field] = values[start : start + _ROWS_IN_CACHE]
        return block

    def _content(self, file: StoredFile) -> bytes:
        """The bytes of a file; it may still lie where a write that is moving its files has put it."""
        found = False
        for path in (self.root / file.path, self.root / _INCOMING / file.path, self.root / file.path):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
            found = True
            if hashlib.sha256(content).hexdigest() == file.sha256:
                return content
        problem = "found other bytes than were written" if found else "found no such file, though the manifest has it"
        raise StoreError(f"{self.root / file.path}: {problem}; import it again")

    # The manifest, and what a crash has left

    def _manifest(self) -> Manifest:
        path = self.root / _MANIFEST
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            return Manifest()
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoreError(f"{path}: not a manifest of this store: {error}") from error
        if manifest.format != _FORMAT:
            raise StoreError(f"{path}: found format {manifest.format}, expected {_FORMAT}; it is of another version")
        return manifest

    def _unmoved(self) -> list[str]:
        incoming = self.root / _INCOMING
        if not incoming.is_dir():
            return []
        waiting = [str(path.relative_to(incoming)) for path in incoming.glob("instrument=*/**/*.parquet")]
        if not waiting:
            return []
        committed = {file.path: file for file in self._manifest().files}
        return [
            relative
            for relative in sorted(waiting)
            if relative in committed and _sha256(incoming / relative) == committed[relative].sha256
        ]

    def _roll_forward(self) -> None:
        """Finish the moves of a committed write and delete what never was committed; the lock is held."""
        incoming = self.root / _INCOMING
        if incoming.is_dir():
            self._move_into_place(incoming, self._unmoved())
            shutil.rmtree(incoming, ignore_errors=True)

    def _finish_interrupted_write(self) -> None:
        if not (self.root / _INCOMING).is_dir():
            return
        try:
            with (self.root / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._roll_forward()
        except OSError:
            return  # A writer is at work, or this process may only read; ``_content`` finds the files either way.


def _is(file: StoredFile, instrument: str, schema: str) -> bool:
    return file.instrument == instrument and file.schema == schema


def _pieces_of(schema: Schema, block: Block) -> BlockPieces:
    _check_layout(schema, block)
    if not len(block):
        return BlockPieces(0, 0, 0, 0, ())
    width_ns = 0
    if schema is Schema.BARS:
        widths, counts = np.unique(block["ts_event"] - block["ts_open"], return_counts=True)
        width_ns = int(widths[np.argmax(counts)])
    return BlockPieces(len(block), int(block["ts_init"][0]), int(block["ts_init"][-1]), width_ns, (block,))


def _check_layout(schema: Schema, block: Block) -> None:
    if block.dtype != schema.dtype:
        raise UsageError(f"found a block of {schema_of(block)}, expected {schema}")


def _schema_name(schema: Schema, width_ns: int) -> str:
    if schema is not Schema.BARS:
        return str(schema)
    if width_ns <= 0:
        raise UsageError(f"found bars of width {width_ns} ns, expected ts_open before ts_event")
    # Bars of a whole day span its session: 23 hours on most days, fewer on others.
    return f"{schema}-1d" if NS_PER_DAY // 6 < width_ns <= NS_PER_DAY else f"{schema}-{text_from_width(width_ns)}"


def _periods(
    rows: BlockPieces, instrument: Instrument, schema: Schema, unit: str
) -> Iterator[tuple[str, Block, NDArray[np.datetime64]]]:
    """The rows of each period, and the trading day of each row.

    Rows are in order of ``ts_init``; their trading days are too, so each period is one slice.
    """
    shift = _PLACED_BEFORE if schema is Schema.BARS else 0
    schedule = session_schedule(instrument, rows.first_ns - shift - NS_PER_DAY, rows.last_ns - shift + 7 * NS_PER_DAY)
    waiting: list[Block] = []
    waiting_days: list[NDArray[np.datetime64]] = []
    now = ""

    def complete() -> tuple[str, Block, NDArray[np.datetime64]]:
        part = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
        return now, part, np.concatenate(waiting_days)

    last: Block | None = None
    for piece in rows.pieces:
        _check_layout(schema, piece)
        if not len(piece):
            continue
        check_order(piece)
        if last is not None:
            check_order(np.concatenate((last, piece[:1])))
        last = piece[-1:].copy()
        days = _trading_days(schedule, schema, piece)
        periods = days.astype(f"datetime64[{unit}]")
        starts = np.flatnonzero(np.concatenate(([True], periods[1:] != periods[:-1])))
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(piece)], strict=True):
            period = str(periods[start])
            if waiting and period != now:
                yield complete()
                waiting.clear()
                waiting_days.clear()
            now = period
            waiting.append(piece[start:end])
            waiting_days.append(days[start:end])
    if waiting:
        yield complete()


def _check_units(manifest: Manifest, instrument: Instrument) -> None:
    """Refuse an instrument whose units are not those that its stored integers were counted in."""
    units = (str(instrument.tick_size), str(instrument.lot_size))
    for file in manifest.files:
        if file.instrument == instrument.id and (file.tick_size, file.lot_size) != units:
            raise StoreError(
                f"found instrument {instrument.id} with tick size {units[0]} and lot size {units[1]}, expected "
                f"{file.tick_size} and {file.lot_size}, in which the store counts; use the same definition or another store"
            )


def _trading_days(schedule: SessionSchedule, schema: Schema, block: Block) -> NDArray[np.datetime64]:
    """The trading day of each row (T,): of the session it lies in, or of the next one if it lies in none.

    Bars are placed by the end of their interval, everything else by ``ts_init``, so days never run backwards.
    """
    times = block["ts_init"] - (_PLACED_BEFORE if schema is Schema.BARS else 0)
    utc_days = times.astype("datetime64[ns]").astype("datetime64[D]")
    if not len(schedule):
        return utc_days
    place = np.searchsorted(schedule.close_ns, times, side="right")
    known = place < len(schedule)
    days = schedule.day_ns.astype("datetime64[ns]").astype("datetime64[D]")
    return np.where(known, days[np.minimum(place, len(schedule) - 1)], utc_days).astype("datetime64[D]")


def _stored_bars(part: Block, stored: Block, file: StoredFile, instrument: Instrument, name: str) -> NDArray[np.bool_]:
    """Which bars of ``part`` ``stored`` has too; refuses bars of one time that differ."""
    place = np.minimum(np.searchsorted(stored["ts_open"], part["ts_open"]), len(stored) - 1)
    is_known: NDArray[np.bool_] = stored["ts_open"][place] == part["ts_open"]
    for field in ("ts_event", "open", "high", "low", "close", "volume"):
        differs = is_known & (stored[field][place] != part[field])
        if differs.any():
            row = int(np.argmax(differs))
            raise StoreError(
                f"{instrument.id} {name} of {file.period}: the bar that opens at {text_from_ns(int(part['ts_open'][row]))} has "
                f"{field} {int(part[field][row])}, but {file.source!r} has already brought {int(stored[field][place[row]])} "
                f"({int(differs.sum())} such bars); which is right cannot be known: use another --store for one of them"
            )
    return is_known


def _period_unit(schema: Schema, name: str) -> str:
    """``D``, ``M`` or ``Y``: how much time one file covers."""
    if schema is not Schema.BARS:
        return "D"
    return "Y" if name.endswith("d") else "M"


def _distinct_days(files: list[StoredFile]) -> int:
    """Trading days with rows; where several sources share a period, at least so many."""
    most: dict[str, int] = {}
    for file in files:
        most[file.period] = max(most.get(file.period, 0), file.days)
    return sum(most.values())


def _parquet_bytes(
    block: Block, days: NDArray[np.datetime64] | None, instrument: Instrument, name: str, source: str
) -> bytes:
    """A Parquet file of the rows: the same bytes for the same rows."""
    fields = [field for field in block.dtype.names or () if field != "instrument"]
    metadata = {
        "grandmodel.instrument": str(instrument.id),
        "grandmodel.schema": name,
        "grandmodel.source": source,
        "grandmodel.tick_size": str(instrument.tick_size),
        "grandmodel.lot_size": str(instrument.lot_size),
    }
    columns = {field: pa.array(np.ascontiguousarray(block[field])) for field in fields}
    if days is not None:
        columns["day"] = pa.array(days)
    table = pa.table(columns)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression=_COMPRESSION, use_dictionary=False)
    return buffer.getvalue()


def _described(
    block: Block,
    days: NDArray[np.datetime64],
    instrument: Instrument,
    name: str,
    period: str,
    source: str,
    content: bytes,
) -> StoredFile:
    return StoredFile(
        instrument=str(instrument.id),
        schema=name,
        period=period,
        days=len(np.unique(days)),
        source=source,
        tick_size=str(instrument.tick_size),
        lot_size=str(instrument.lot_size),
        rows=len(block),
        first_ns=int(block["ts_init"][0]),
        last_ns=int(block["ts_init"][-1]),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _manifest_bytes(manifest: Manifest) -> bytes:
    return json.dumps(msgspec.to_builtins(manifest), sort_keys=True, indent=0).encode() + b"\n"


def _write(path: Path, content: bytes, *, sync: bool = False) -> None:
    with path.open("wb") as file:
        file.write(content)
        if sync:
            file.flush()
            os.fsync(file.fileno())


def _sync_all(folder: Path) -> None:
    """Force every file under ``folder`` to the disk, and the folders that name them."""
    for root, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(root) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _disk_message(root: Path, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{root}: the disk is full ({error.strerror}); the store is as it was before: make room and import again"
    return f"{root}: the store cannot be written ({error.strerror}); it is as it was before"


def _in_order(block: Block) -> Block:
    ordered: Block = block[np.lexsort((block["instrument"], block["sequence"], block["ts_init"]))]
    return ordered


def _merged(streams: list[Iterator[Block]]) -> Iterator[Block]:
    """The parts of several ordered streams, merged: rows are given on once no stream can still bring an earlier one.

    Two parts of one stream never share an instant, because ``ts_init`` alone decides the period of a row.
    """
    waiting = [(part, stream) for stream in streams if (part := next(stream, None)) is not None]
    while waiting:
        horizon = min(int(part["ts_init"][-1]) for part, _ in waiting)
        early, later = [], []
        for part, stream in waiting:
            cut = int(np.searchsorted(part["ts_init"], horizon, side="right"))
            if cut:
                early.append(part[:cut])
            following = part[cut:] if cut < len(part) else next(stream, None)
            if following is not None:
                later.append((following, stream))
        yield early[0] if len(early) == 1 else _in_order(np.concatenate(early))
        waiting = later


def _in_blocks(parts: Iterator[Block], rows_per_block: int) -> Iterator[Block]:
    """Cut a stream of parts into frozen blocks: long parts are cut without copying, short ones are joined."""
    waiting: list[Block] = []
    count = 0
    for part in parts:
        if waiting and count + len(part) > rows_per_block:
            yield freeze(waiting[0] if len(waiting) == 1 else np.concatenate(waiting))
            waiting, count = [], 0
        start = 0
        while len(part) - start >= rows_per_block:
            yield freeze(part[start : start + rows_per_block])
            start += rows_per_block
        if start < len(part):
            waiting.append(part[start:])
            count += len(part) - start
    if waiting:
        yield freeze(waiting[0] if len(waiting) == 1 else np.concatenate(waiting))
