"""Signed Merkle checkpoints: what a journal held at a moment, in a file of their own that only grows.

Every ``every`` records, and once more when the run ends, one line is added to ``checkpoints.jsonl``: how many records and
inputs there were, both chain heads and the Merkle root. Each line holds the hash of the line before it and, where there is
a key, an Ed25519 signature. So a tail that was cut off the journal is missed here, and a journal that was
rewritten with a fresh chain does not fit the roots.

The last line of a run that ended is its seal: it also holds the size and hash of the whole ``journal.sqlite``.

What this cannot do: where there is no signature, one who can write both files can make both anew, so that an unsigned run
proves only that nothing was changed by accident; and whoever cuts both files back to the same earlier checkpoint leaves a
shorter history that is whole in itself. Keep the last root elsewhere and give it to ``grandmodel audit verify --expect`` to
catch that. What lies beside the journal is sealed by ``sealed_files``.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import msgspec

from grandmodel.journal.errors import CheckpointDamagedError

CHECKPOINTS_NAME = "checkpoints.jsonl"

CHECKPOINT_EVERY = 1024
"""Records between two checkpoints unless a run's settings say otherwise; a power of two."""

NO_PREVIOUS = "0" * 64
"""What the first line has for the hash of the line before it."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of ``checkpoints.jsonl``; hashes in hexadecimal."""

    run: str
    every: int
    records: int
    """How many records it covers: numbers 0 to ``records - 1``."""
    record_head: str
    root: str
    """Merkle root over the links of those records (``chain``)."""
    inputs: int
    """How many inputs those records came from (at the end: all inputs)."""
    input_head: str
    previous: str
    """sha256 of the line before, without its line end."""
    final: bool = False
    file_bytes: int = 0
    """Size of ``journal.sqlite``; 0 unless ``final``."""
    file_sha256: str = ""
    key: str = ""
    """Id of the signing key; empty where it is not signed."""
    signature: str = ""


class Signer(Protocol):
    """Signs with a private key."""

    @property
    def key_id(self) -> str:
        """A short name of the key that anyone can compute from its public half."""

    def sign(self, message: bytes) -> bytes:
        """The signature over ``message``."""


class SignatureChecker(Protocol):
    """Checks with a public key."""

    @property
    def key_id(self) -> str:
        """The same short name."""

    def is_signed(self, message: bytes, signature: bytes) -> bool:
        """True where ``signature`` was made over ``message`` with the private half of this key."""


def signed_message(checkpoint: Checkpoint) -> bytes:
    """The bytes that a checkpoint's signature is made over: all of it but the signature."""
    return b"grandmodel checkpoint 1\n" + msgspec.json.encode(msgspec.structs.replace(checkpoint, signature=""))


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The last whole line of the folder's checkpoints; None where there is none, or it cannot be read."""
    path = folder / CHECKPOINTS_NAME
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    try:
        return msgspec.json.decode(lines[-1], type=Checkpoint) if lines else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_sealed(folder: Path) -> bool:
    """True where the last whole line of the folder's checkpoints is a seal; an unreadable line is none."""
    last = last_checkpoint(folder)
    return last is not None and last.final


class CheckpointFile:
    """The append side of ``checkpoints.jsonl``."""

    def __init__(self, path: Path, *, signer: Signer | None = None, wait_for_disk: bool = True) -> None:
        """Open ``path`` to add lines; a last line that a crash cut short is taken off (it was never complete)."""
        self._signer = signer
        self._wait_for_disk = wait_for_disk
        self.last: Checkpoint | None = None
        self._previous = NO_PREVIOUS
        complete = 0
        if path.exists():
            written = path.read_bytes()
            complete = written.rfind(b"\n") + 1
            lines = written[:complete].splitlines()
            if lines:
                try:
                    self.last = msgspec.json.decode(lines[-1], type=Checkpoint)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise CheckpointDamagedError(
                        f"{path}: the last line cannot be read ({error}): `grandmodel audit verify` says what was changed"
                    ) from error
                self._previous = sha256(lines[-1]).hexdigest()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, complete)

    def add(self, checkpoint: Checkpoint) -> Checkpoint:
        """Write one line: ``checkpoint`` with the hash of the line before it, and signed where there is a key.

        The result is the checkpoint as it was written.
        """
        checkpoint = msgspec.structs.replace(checkpoint, previous=self._previous)
        if self._signer is not None:
            checkpoint = msgspec.structs.replace(checkpoint, key=self._signer.key_id)
            signature = self._signer.sign(signed_message(checkpoint)).hex()
            checkpoint = msgspec.structs.replace(checkpoint, signature=signature)
        line = msgspec.json.encode(checkpoint)
        written = 0
        while written <= len(line):
            written += os.write(self._file, (line + b"\n")[written:])
        if self._wait_for_disk:
            os.fsync(self._file)
        self._previous = sha256(line).hexdigest()
        self.last = checkpoint
        return checkpoint

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
