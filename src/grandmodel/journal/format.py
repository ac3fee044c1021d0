"""What a run's journal holds on disk, and how it is read without changing it.

A run folder has two files. ``journal.sqlite`` is an ordinary SQLite database, so that any tool can read it:

========== ============================================== =========================================================
table      columns                                        holds
========== ============================================== =========================================================
about      name, value                                    format, run, checkpoint_every
inputs     number, chain, body                            every input as JSON, in order; ``chain`` is its link
records    number, input, chain, body                     every record as JSON; ``input`` is the one it came from
contents   number, sha256, size, encoding, bytes          the rows of market data blocks, each content once
========== ============================================== =========================================================

``checkpoints.jsonl`` holds the Merkle checkpoints (``checkpoints``); ``journal.lock`` is there until the run is sealed, and as long
SQLite keeps what was written last in ``journal.sqlite-wal`` (``write_ahead_log``). The journal is written by ``journal.writer`` and
checked by ``verification``; both use the words and the decoding of this module.

A block's rows are taken out of its input before it is written: the body keeps ``source``, which is the sha256 of the
rows in hexadecimal, and the rows go to ``contents``. A source that the journal does not hold names content that lies
elsewhere (a backtest over the store); ``<sha256> <where>`` tells the resolver where.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import quote

import msgspec

from grandmodel.domain.events import Input, MarketData, Record
from grandmodel.domain.files import Closeable
from grandmodel.journal.checkpoints import CHECKPOINTS_NAME, is_sealed
from grandmodel.journal.errors import AuditUsageError

FORMAT = 1
JOURNAL_NAME = "journal.sqlite"
LOCK_NAME = "journal.lock"
LOG_NAME = f"{JOURNAL_NAME}-wal"
LOG_INDEX_NAME = f"{JOURNAL_NAME}-shm"
"""What SQLite keeps beside an open journal: its write-ahead log, and an index to it."""

TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE inputs (number INTEGER PRIMARY KEY, chain BLOB NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE records (number INTEGER PRIMARY KEY, input INTEGER NOT NULL, chain BLOB NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE contents (number INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
                       encoding TEXT NOT NULL, bytes BLOB NOT NULL) STRICT;
"""

ContentResolver = Callable[[MarketData], bytes]
"""Finds the rows of a block that the journal names but does not hold; raises ``LookupError`` where they are gone."""

_ENCODER = msgspec.json.Encoder()
_INPUT_DECODER = msgspec.json.Decoder(Input)
_RECORD_DECODER = msgspec.json.Decoder(Record)
_SMALL_BYTES = 256


class StoredInput(NamedTuple):
    """One row of ``inputs``."""

    number: int
    chain: bytes
    body: bytes


class StoredRecord(NamedTuple):
    """One row of ``records``."""

    number: int
    input: int
    chain: bytes
    body: bytes


class StoredContent(NamedTuple):
    """One row of ``contents``; ``encoding`` is ``zstd``, or empty for plain bytes of length ``size``."""

    number: int
    sha256: bytes
    size: int
    encoding: str
    bytes: bytes


def remains(folder: Path) -> list[str]:
    """What of a run's journal there is in ``folder`` besides the journal itself."""
    names = (CHECKPOINTS_NAME, LOCK_NAME, LOG_NAME, LOG_INDEX_NAME)
    return [name for name in names if (folder / name).exists()]


def _missing_text(folder: Path) -> str:
    left = remains(folder)
    if not left:
        return f"found no {JOURNAL_NAME} in {folder}, expected the folder of a run: check the path"
    return (
        f"{folder}: {JOURNAL_NAME} is missing, though {' and '.join(left)} of its run are there: put the journal back; "
        f"`grandmodel audit verify {folder}` says what can still be proven"
    )


def encode_record(record: Record) -> bytes:
    """The bytes of ``record`` that are chained and stored: JSON, fields in their declared order, defaults left out."""
    return _ENCODER.encode(record)


def decode_record(body: bytes) -> Record:
    """The record whose bytes ``body`` are; raises ``msgspec.DecodeError`` where they are none."""
    return _RECORD_DECODER.decode(body)


def encode_input(given: Input) -> bytes:
    """The bytes of an input that are chained and stored; a block's rows must have been taken out."""
    return _ENCODER.encode(given)


def decode_input(body: bytes) -> Input:
    """The input whose bytes ``body`` are, a block without its rows; raises ``msgspec.DecodeError`` where they are none."""
    given: Input = _INPUT_DECODER.decode(body)
    return given


def source_sha256(source: str) -> bytes | None:
    """The 32 bytes that a block's ``source`` begins with, or None where it does not begin with a sha256."""
    try:
        digest = bytes.fromhex(source.partition(" ")[0])
    except ValueError:
        return None
    return digest if len(digest) == 32 else None


def file_sha256(path: Path) -> str:
    """The sha256 of a whole file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def pack(rows: bytes) -> tuple[str, bytes]:
    """Encoding and bytes under which ``rows`` are stored: zstd level 1 where that is smaller, else plain."""
    if len(rows) >= _SMALL_BYTES:
        import pyarrow as pa  # noqa: PLC0415  (only for rows worth compressing)

        packed: bytes = pa.Codec("zstd", compression_level=1).compress(rows, asbytes=True)
        if len(packed) < len(rows):
            return "zstd", packed
    return "", rows


def unpack(content: StoredContent) -> bytes:
    """The rows of a stored content; raises ``ValueError`` where they cannot be decompressed."""
    if content.encoding == "":
        return content.bytes
    if content.encoding != "zstd" or content.size < 0:
        raise ValueError(f"content {content.number}: found encoding {content.encoding!r} and size {content.size}")
    import pyarrow as pa  # noqa: PLC0415  (only for rows that are compressed)

    try:
        rows: bytes = pa.Codec("zstd").decompress(content.bytes, decompressed_size=content.size, asbytes=True)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"content {content.number}: cannot be decompressed ({error})") from error
    return rows


class JournalReader(Closeable):
    """Reads a journal in order; several may read while one process writes. Use as a context manager."""

    def __init__(self, connection: sqlite3.Connection, resolver: ContentResolver | None = None) -> None:
        self._connection = connection
        self._resolver = resolver

    @classmethod
    def open(cls, folder: Path, resolver: ContentResolver | None = None) -> Self:
        """Open the journal of the run in ``folder`` for reading only; nothing in it can be changed through this."""
        path = folder / JOURNAL_NAME
        if not path.is_file():
            raise AuditUsageError(_missing_text(folder))
        # A sealed file never changes again, so SQLite may read it without locks, from read-only media too.
        how = "immutable=1" if is_sealed(folder) else "mode=ro"
        connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?{how}", uri=True, isolation_level=None)
        return cls(connection, resolver)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def about(self) -> dict[str, str]:
        """Format, run and checkpoint spacing, as written at creation."""
        return dict(self._connection.execute("SELECT name, value FROM about"))

    def damage(self) -> list[str]:
        """What SQLite itself finds wrong with the file's structure; empty where nothing is."""
        found = [str(row[0]) for row in self._connection.execute("PRAGMA integrity_check(10)")]
        return [] if found == ["ok"] else found

    def input_rows(self, start: int = 0) -> Iterator[StoredInput]:
        """The rows of ``inputs`` from number ``start`` on."""
        rows = self._connection.execute(
            "SELECT number, chain, body FROM inputs WHERE number >= ? ORDER BY number", (start,)
        )
        return map(StoredInput._make, rows)

    def record_rows(self, start: int = 0) -> Iterator[StoredRecord]:
        """The rows of ``records`` from number ``start`` on."""
        rows = self._connection.execute(
            "SELECT number, input, chain, body FROM records WHERE number >= ? ORDER BY number", (start,)
        )
        return map(StoredRecord._make, rows)

    def content_rows(self) -> Iterator[StoredContent]:
        """The rows of ``contents``."""
        rows = self._connection.execute("SELECT number, sha256, size, encoding, bytes FROM contents ORDER BY number")
        return map(StoredContent._make, rows)

    def inputs(self, start: int = 0) -> Iterator[tuple[int, Input]]:
        """Number and input from ``start`` on, blocks with their rows put back."""
        for row in self.input_rows(start):
            given = decode_input(row.body)
            if isinstance(given, MarketData) and not given.rows and given.source:
                given = msgspec.structs.replace(given, rows=self.rows_of(given))
            yield row.number, given

    def rows_of(self, block: MarketData) -> bytes:
        """The rows that ``block.source`` names, from the journal or else from the resolver; ``LookupError`` if gone."""
        row = self._connection.execute(
            "SELECT number, sha256, size, encoding, bytes FROM contents WHERE sha256 = ?",
            (source_sha256(block.source) or b"",),
        ).fetchone()
        if row is not None:
            return unpack(StoredContent._make(row))
        if self._resolver is None:
            raise LookupError(
                f"the journal names the content {block.source!r} but does not hold it: give a resolver that finds it"
            )
        return self._resolver(block)
