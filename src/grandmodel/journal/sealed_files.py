"""What lies beside a sealed journal, sealed too: summary, page and latencies, in ``files.jsonl``.

They are written after the journal's seal, because they tell of it. One line of ``files.jsonl`` holds the size and hash of each,
and the hash of the journal's seal, so that it fits no other run; it is signed as a checkpoint is, and written last. A kill before
that leaves files that nothing seals, which ``audit verify`` says; ``--resume`` or ``backtest report`` writes them again from the journal
and adds a line. Lines are only added, each with the hash of the line before it; the last one counts.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import msgspec

from grandmodel.journal.checkpoints import CHECKPOINTS_NAME, NO_PREVIOUS, Signer
from grandmodel.journal.errors import AuditUsageError, JournalDamagedError

FILES_NAME = "files.jsonl"


class SealedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a run folder."""

    name: str
    bytes: int
    sha256: str


class FilesSeal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of ``files.jsonl``; hashes in hexadecimal."""

    journal_seal: str
    """sha256 of the journal's seal: the last line of ``checkpoints.jsonl``, without its line end."""
    files: tuple[SealedFile, ...]
    note: str = ""
    """Why it was made, where it was not at the end of the run."""
    previous: str
    """sha256 of the line before, without its line end."""
    key: str = ""
    signature: str = ""


def files_message(seal: FilesSeal) -> bytes:
    """The bytes that a signature is made over: all of the line but the signature."""
    return b"grandmodel files 1\n" + msgspec.json.encode(msgspec.structs.replace(seal, signature=""))


def read_file(folder: Path, name: str) -> SealedFile | None:
    """``name`` in ``folder`` as it is now; None where it is no plain file (a link may point elsewhere tomorrow)."""
    path = folder / name
    if path.is_symlink() or not path.is_file():
        return None
    content = path.read_bytes()
    return SealedFile(name=name, bytes=len(content), sha256=sha256(content).hexdigest())


def journal_seal(folder: Path) -> str:
    """The hash that binds a line to the run: that of the last whole line of its checkpoints."""
    path = folder / CHECKPOINTS_NAME
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return sha256(lines[-1]).hexdigest() if lines else NO_PREVIOUS


def last_files_seal(folder: Path) -> FilesSeal | None:
    """The last whole line; None where there is none. Raises ``JournalDamagedError`` where it cannot be read."""
    path = folder / FILES_NAME
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    if not lines:
        return None
    try:
        return msgspec.json.decode(lines[-1], type=FilesSeal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JournalDamagedError(
            f"{path}: the last line cannot be read ({error}): `grandmodel audit verify {folder}` says what was changed"
        ) from error


def check_measured(folder: Path, name: str) -> None:
    """Refuse a sealed file that cannot be made again from the journal, where it is not the sealed one any more.

    A file that is gone is no lie: it stays among the sealed ones, and ``audit verify`` says that it is missing.
    """
    before = last_files_seal(folder)
    sealed = {one.name: one for one in before.files}.get(name) if before else None
    if sealed is not None and (folder / name).exists() and read_file(folder, name) != sealed:
        raise AuditUsageError(
            f"{folder / name}: found another content than was sealed, and no journal gives it again: put the sealed file back, "
            "or delete this one, and write the report again"
        )


def seal_files(folder: Path, names: Iterable[str], *, signer: Signer | None, note: str = "") -> FilesSeal:
    """Add a line that seals ``names``, those that are there; sealed files that are not among them stay as they were sealed."""
    descriptor = os.open(folder / FILES_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # Two reports at once add two lines, one after the other.
        before = last_files_seal(folder)
        kept = {one.name: one for one in before.files} if before else {}
        kept |= {one.name: one for one in (read_file(folder, name) for name in names) if one is not None}
        written = (folder / FILES_NAME).read_bytes()
        whole = written.rfind(b"\n") + 1
        os.ftruncate(descriptor, whole)  # A line that a crash cut short was never complete.
        lines = written[:whole].splitlines()
        made = FilesSeal(
            journal_seal=journal_seal(folder),
            files=tuple(kept[name] for name in sorted(kept)),
            note=note,
            previous=sha256(lines[-1]).hexdigest() if lines else NO_PREVIOUS,
            key=signer.key_id if signer else "",
        )
        if signer is not None:
            made = msgspec.structs.replace(made, signature=signer.sign(files_message(made)).hex())
        line = msgspec.json.encode(made) + b"\n"
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return made
