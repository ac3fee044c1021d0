"""The journal: every input in order and every record that came out, in one SQLite file, written before anything leaves.

``append_input`` and ``append_record`` only collect; ``commit`` writes all that was collected in one transaction. Whoever
sends orders sends them after the ``commit`` that holds their record. With ``Durability.DISK`` a commit returns when the
bytes are on the disk; with ``Durability.OS`` it does not wait, so a killed process loses nothing, and a power cut may take the newest
commits; what is left is whole (SQLite's ``synchronous=NORMAL`` in WAL mode syncs before it moves pages into the file).

What the file holds is described in ``journal.format``; how a run goes on after a crash is in ``recovery``; how it
is run again and compared is in ``replay``.
"""

from __future__ import annotations

import enum
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from grandmodel.domain.events import Input, MarketData
from grandmodel.domain.files import Closeable, sync_folder
from grandmodel.domain.ids import RunId
from grandmodel.domain.paths import local_path
from grandmodel.journal.chain import INPUTS_START, RECORDS_START, link_input, link_record
from grandmodel.journal.checkpoints import (
    CHECKPOINT_EVERY,
    CHECKPOINTS_NAME,
    Checkpoint,
    CheckpointFile,
    Signer,
    is_sealed,
)
from grandmodel.journal.errors import (
    JournalClosedError,
    JournalDamagedError,
    JournalEndedError,
    JournalExistsError,
    JournalInUseError,
    JournalWriteError,
)
from grandmodel.journal.format import (
    FORMAT,
    JOURNAL_NAME,
    LOCK_NAME,
    TABLES,
    ContentResolver,
    JournalReader,
    StoredInput,
    StoredRecord,
    encode_input,
    file_sha256,
    pack,
    source_sha256,
)
from grandmodel.journal.merkle import MerkleTree
from grandmodel.journal.write_ahead_log import log_damage


class Durability(enum.StrEnum):
    """What a commit waits for."""

    DISK = "disk"
    """The disk has the bytes: they survive a power cut. For paper and live trading."""
    OS = "os"
    """The operating system has the bytes: they survive the end of the process. For backtests."""


_Packed = Future[tuple[str, bytes]]


class Head(NamedTuple):
    """How much a journal holds, collected or written, and the two chain heads."""

    inputs: int
    input_head: bytes
    records: int
    record_head: bytes


class Journal(Closeable):
    """The journal of one run, open for appending; one process at a time. Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        connection: sqlite3.Connection,
        lock: int,
        *,
        durability: Durability,
        signer: Signer | None,
        resolver: ContentResolver | None,
    ) -> None:
        """Use ``create`` or ``open``."""
        self.folder = folder
        self._connection = connection
        self._lock = lock
        self._reader = JournalReader(connection, resolver)
        about = self._reader.about()
        self.run = RunId(about["run"])
        self._every = int(about["checkpoint_every"])
        self._checkpoints = CheckpointFile(
            folder / CHECKPOINTS_NAME, signer=signer, wait_for_disk=durability is Durability.DISK
        )
        self._inputs: list[StoredInput] = []
        self._records: list[tuple[int, int, bytes, bytes]] = []  # plain rows of StoredRecord: half the cost to make
        self._hashed = 0  # how many of them are in the tree
        self._contents: list[
            tuple[int, bytes, int, _Packed]
        ] = []  # the beginning of a StoredContent, the rest on its way
        self._packer = ThreadPoolExecutor(1, "journal")
        self._waiting_bytes = 0
        self._known_contents: set[bytes] = set()
        self._content_count = 0
        self._input_count = 0
        self._input_head = INPUTS_START
        self._record_count = 0
        self._record_head = RECORDS_START
        self._tree = MerkleTree()
        self._due: list[Checkpoint] = []
        self._failure: str = ""

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        run: RunId | None = None,
        durability: Durability = Durability.DISK,
        checkpoint_every: int = CHECKPOINT_EVERY,
        signer: Signer | None = None,
        resolver: ContentResolver | None = None,
    ) -> Self:
        """Make the journal of a new run in ``folder`` (made if absent; its name is the run's unless ``run`` is given).

        ``checkpoint_every`` is a power of two. Raises ``JournalExistsError`` where the folder holds a journal already; one to
        which nothing was ever committed, because its process died at once, counts as none.
        """
        if checkpoint_every < 1 or checkpoint_every & (checkpoint_every - 1):
            raise ValueError(f"checkpoint_every: found {checkpoint_every}, expected a power of two")
        local_path(folder, "run folder").mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
        path = folder / JOURNAL_NAME
        if path.exists() and not _is_blank(folder):
            os.close(lock)
            raise JournalExistsError(
                f"{path}: found a journal, expected none: open it to go on, or name another run folder"
            )
        # The tables are made under another name, so that a journal is there whole or not at all.
        unfinished = folder / f"{JOURNAL_NAME}.new"
        for leftover in (JOURNAL_NAME, unfinished.name):
            for part in ("", "-wal", "-shm"):
                (folder / f"{leftover}{part}").unlink(missing_ok=True)
        about = {"format": FORMAT, "run": run or folder.name, "checkpoint_every": checkpoint_every}
        try:
            connection = sqlite3.connect(unfinished, isolation_level=None)
            connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_SYNCHRONOUS[durability])
            connection.executescript(TABLES)
            connection.executemany("INSERT INTO about VALUES (?, ?)", [(k, str(v)) for k, v in about.items()])
            connection.close()
            (folder / CHECKPOINTS_NAME).touch()
            unfinished.rename(path)
            if durability is Durability.DISK:
                sync_folder(folder)
        except (sqlite3.Error, OSError) as error:
            os.close(lock)
            raise JournalWriteError(
                f"{path}: cannot make the journal ({error}): free space or mend the disk"
            ) from error
        return cls(folder, _connect(path, durability), lock, durability=durability, signer=signer, resolver=resolver)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        durability: Durability = Durability.DISK,
        signer: Signer | None = None,
        resolver: ContentResolver | None = None,
    ) -> Self:
        """Open the journal in ``folder`` to go on after its last committed row; checkpoints that a crash kept from being
        written are written now.

        Raises ``JournalEndedError`` where the run has ended, ``JournalInUseError`` where a process has it open,
        ``JournalDamagedError`` where what is written does not fit the chain.
        """
        refuse_damaged_log(folder)
        JournalReader.open(folder).close()
        if is_sealed(folder):  # A sealed folder gets no lock.
            raise _ended(folder)
        lock = _lock(folder)
        if is_sealed(folder):  # Before SQLite opens the file for writing: a sealed file is never touched.
            (folder / LOCK_NAME).unlink(missing_ok=True)
            os.close(lock)
            raise _ended(folder)
        connection = _connect(folder / JOURNAL_NAME, durability)
        try:
            journal = cls(folder, connection, lock, durability=durability, signer=signer, resolver=resolver)
        except BaseException:
            connection.close()
            os.close(lock)
            raise
        try:
            journal._take_up()
        except BaseException:
            journal.close()
            raise
        return journal

    @property
    def head(self) -> Head:
        """Counts and chain heads, with what is collected and not yet committed."""
        return Head(self._input_count, self._input_head, self._record_count, self._record_head)

    @property
    def has_uncommitted(self) -> bool:
        """True where something was appended after the last commit."""
        return bool(self._inputs or self._records or self._contents)

    def append_input(self, given: Input) -> int:
        """Take one input; the result is its number, from 0.

        A block's rows are stored once under their sha256, and the input keeps that as its ``source``. Where ``source`` says
        ``<sha256> <where>``, the rows lie elsewhere and only this reference is stored, with or without rows in the call;
        ``audit verify`` checks with a resolver that they still have that hash.
        """
        self._check_usable()
        if isinstance(given, MarketData):
            given = self._without_rows(given)
        body = encode_input(given)
        number = self._input_count
        self._input_head = link_input(self._input_head, body)
        self._input_count = number + 1
        self._inputs.append(StoredInput(number, self._input_head, body))
        self._waiting_bytes += len(body)
        if self._waiting_bytes > _COMMIT_AT_BYTES:
            self.commit()
        return number

    def append_record(self, body: bytes) -> bytes:
        """Take one record's bytes (``format.encode_record``), which came from the input appended last;
        the result is the record chain's new head.
        """
        return self.append_record_of(self._input_count - 1, self._input_head, body)

    def append_record_of(self, number: int, input_head: bytes, body: bytes) -> bytes:
        """Take one record's bytes which came from input ``number`` with chain head ``input_head``, not the last one:
        recovery makes records again that a crash kept from being written.
        """
        if self._failure:
            self._check_usable()
        count = self._record_count
        self._record_head = head = link_record(self._record_head, input_head, body)
        self._records.append((count, number, head, body))
        self._record_count = count = count + 1
        self._waiting_bytes += len(body)
        if not count & (self._every - 1):
            self._due.append(self._checkpoint(number + 1, input_head))
        if self._waiting_bytes > _COMMIT_AT_BYTES:
            self.commit()
        return head

    def commit(self) -> None:
        """Write everything appended since the last commit in one transaction, then the checkpoints that are due.

        Raises ``JournalWriteError`` (a full disk, a failing one); nothing of the transaction is then in the file, nothing
        that it held may be sent, and this journal takes no more: free the space, start again, and recovery goes on.
        """
        self._check_usable()
        if not self.has_uncommitted:
            return
        contents = [(number, digest, size, *packed.result()) for number, digest, size, packed in self._contents]
        execute, many = self._connection.execute, self._connection.executemany
        try:
            execute("BEGIN IMMEDIATE")
            if contents:
                many("INSERT INTO contents VALUES (?, ?, ?, ?, ?)", contents)
            if self._inputs:
                many("INSERT INTO inputs VALUES (?, ?, ?)", self._inputs)
            if self._records:
                whole = len(self._records) // _ROWS_AT_ONCE * _ROWS_AT_ONCE
                groups = zip(*[iter(self._records)] * _ROWS_AT_ONCE, strict=False)
                many(_INSERT_RECORDS, (tuple(chain.from_iterable(group)) for group in groups))
                many(_INSERT_RECORD, self._records[whole:])
            execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._grow_tree()
        self._hashed = 0
        self._inputs.clear()
        self._records.clear()
        self._contents.clear()
        self._waiting_bytes = 0
        self._write_due()

    def inputs(self, start: int = 0) -> Iterator[tuple[int, Input]]:
        """Number and input of what is committed, from ``start`` on; blocks come with their rows."""
        return self._reader.inputs(start)

    def input_rows(self, start: int = 0) -> Iterator[StoredInput]:
        """The committed inputs as they are stored."""
        return self._reader.input_rows(start)

    def records(self, start: int = 0) -> Iterator[StoredRecord]:
        """The committed records as they are stored, from ``start`` on."""
        return self._reader.record_rows(start)

    def seal(self) -> Checkpoint:
        """End the run: commit, write the last checkpoint with the hash of the whole file, and close.

        The result is that checkpoint; its ``records`` and ``root`` are what to keep elsewhere.
        """
        self.commit()
        try:
            is_busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_busy:
                raise sqlite3.OperationalError("another program has been reading it all the while")
            self._connection.close()
            path = self.folder / JOURNAL_NAME
            sealed = self._checkpoints.add(
                msgspec.structs.replace(
                    self._checkpoint(self._input_count, self._input_head),
                    final=True,
                    file_bytes=path.stat().st_size,
                    file_sha256=file_sha256(path),
                )
            )
            (self.folder / LOCK_NAME).unlink()
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error
        finally:
            self.close()
        return sealed

    def close(self) -> None:
        """Let go of the files without ending the run; what was not committed is dropped. May be called twice."""
        if self._lock < 0:
            return
        self._failure = self._failure or "it was closed"
        self._packer.shutdown(cancel_futures=True)
        self._connection.close()
        self._checkpoints.close()
        os.close(self._lock)
        self._lock = -1

    def _take_up(self) -> None:
        """Walk what is committed to find the heads, the tree and the checkpoints that are missing."""
        written = self._checkpoints.last.records if self._checkpoints.last else 0
        heads: list[bytes] = []
        for row in self._reader.input_rows():
            self._input_head = link_input(self._input_head, row.body)
            self._check_link(row.number == len(heads) and row.chain == self._input_head, f"input {len(heads)}")
            heads.append(self._input_head)
        self._input_count = len(heads)
        for stored in self._reader.record_rows():
            named = f"record {self._record_count}"
            self._check_link(stored.number == self._record_count and 0 <= stored.input < len(heads), named)
            self._record_head = link_record(self._record_head, heads[stored.input], stored.body)
            self._check_link(stored.chain == self._record_head, named)
            self._tree.append(self._record_head)
            self._record_count += 1
            if not self._record_count & (self._every - 1):
                due = self._checkpoint(stored.input + 1, heads[stored.input])
                if self._record_count > written:
                    self._due.append(due)
        self._check_link(
            self._record_count >= written, f"record {self._record_count}, that the last checkpoint covers,"
        )
        for (digest,) in self._connection.execute("SELECT sha256 FROM contents"):
            self._known_contents.add(digest)
        self._content_count = len(self._known_contents)
        self._write_due()

    def _check_link(self, holds: bool, named: str) -> None:
        if not holds:
            raise JournalDamagedError(
                f"{self.folder}: {named} is missing or does not fit the chain: do not go on with this journal;"
                " `grandmodel audit verify` says what was changed"
            )

    def _checkpoint(self, inputs: int, input_head: bytes) -> Checkpoint:
        self._grow_tree()
        return Checkpoint(
            run=self.run,
            every=self._every,
            records=self._record_count,
            record_head=self._record_head.hex(),
            root=self._tree.root().hex(),
            inputs=inputs,
            input_head=input_head.hex(),
            previous="",
        )

    def _grow_tree(self) -> None:
        """Put the collected records into the Merkle tree; many at once cost less than one by one."""
        self._tree.extend([row[2] for row in self._records[self._hashed :]])
        self._hashed = len(self._records)

    def _write_due(self) -> None:
        try:
            for checkpoint in self._due:
                self._checkpoints.add(checkpoint)
        except OSError as error:
            raise self._failed(error) from error
        self._due.clear()

    def _without_rows(self, block: MarketData) -> MarketData:
        if " " in block.source:
            return msgspec.structs.replace(block, rows=b"") if block.rows else block
        if block.rows or not block.source:
            return msgspec.structs.replace(block, rows=b"", source=self._store_content(block.rows))
        if source_sha256(block.source) not in self._known_contents:
            raise ValueError(
                f"a block without rows names {block.source!r}, which this journal does not hold: expected its rows, or a"
                " source '<sha256> <where>' that says where they lie"
            )
        return block

    def _store_content(self, rows: bytes) -> str:
        digest = sha256(rows)
        if digest.digest() not in self._known_contents:
            self._known_contents.add(digest.digest())
            # Packed beside the engine, which goes on with the block; the commit waits for it.
            packed = self._packer.submit(pack, rows)
            self._contents.append((self._content_count, digest.digest(), len(rows), packed))
            self._content_count += 1
            self._waiting_bytes += len(rows)
        return digest.hexdigest()

    def _check_usable(self) -> None:
        if self._failure:
            raise JournalClosedError(f"{self.folder}: this journal takes no more ({self._failure}): open it again")

    def _failed(self, error: Exception) -> JournalWriteError:
        self._failure = f"a write failed: {error}"
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        return JournalWriteError(
            f"{self.folder / JOURNAL_NAME}: cannot write ({error}); nothing that was not committed may leave: free space or"
            " mend the disk, then start the run again and it goes on where it stopped"
        )


_SYNCHRONOUS = {Durability.DISK: "PRAGMA synchronous=FULL", Durability.OS: "PRAGMA synchronous=NORMAL"}
_ROWS_AT_ONCE = 64
_INSERT_RECORD = "INSERT INTO records VALUES (?, ?, ?, ?)"
_INSERT_RECORDS = _INSERT_RECORD + ", (?, ?, ?, ?)" * (_ROWS_AT_ONCE - 1)
"""Many rows by one statement cost about a fifth less than one by one."""
_PAGE_BYTES = 8_192
_COMMIT_AT_BYTES = 16 << 20
"""Collected bytes at which an append commits by itself, to bound memory. Writing early is always allowed."""


def refuse_damaged_log(folder: Path) -> None:
    """Raise ``JournalDamagedError`` where SQLite's log in ``folder`` is missing or damaged.

    SQLite would say nothing, and whoever opens the journal for writing would throw away what stands behind the damage. To be called
    before anything opens the journal: a reader renews the index that tells of it.
    """
    path = folder / JOURNAL_NAME
    damage = log_damage(path) if path.exists() else ""
    if damage:
        raise JournalDamagedError(
            f"{folder}: {damage}: put it back from a copy if there is one; `grandmodel audit verify {folder}` says what can still be "
            "proven. Nothing is gone on with until then"
        )


def _ended(folder: Path) -> JournalEndedError:
    return JournalEndedError(
        f"{folder}: this run has ended and its journal is sealed, there is nothing to go on with: "
        f"`grandmodel backtest report {folder}` writes its summary and page again"
    )


def _connect(path: Path, durability: Durability) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(_SYNCHRONOUS[durability])
    return connection


def _lock(folder: Path) -> int:
    """Hold the folder's lock until the process ends, however it ends."""
    lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise JournalInUseError(f"{folder}: another process is writing this journal: end it first") from error
    return lock


def _is_blank(folder: Path) -> bool:
    """True where the folder's journal holds nothing at all."""
    checkpoints = folder / CHECKPOINTS_NAME
    if checkpoints.exists() and checkpoints.stat().st_size:
        return False
    try:
        with JournalReader.open(folder) as reader:
            return next(reader.input_rows(), None) is None and next(reader.content_rows(), None) is None
    except sqlite3.Error:
        return False
