"""Ed25519 keys for signing checkpoints, in PEM files, and the keys of others that a user trusts.

The private key stays with the process that writes the journal; the public one goes to whoever checks it. A private key that
anyone but its owner can read is refused. One folder of the user (``KeyFolder``) holds the own key, which is made at first
use, and the public keys of others:

    signing-key.pem, signing-key.pem.pub    the own key (mode 0600) and its public half
    known/NAME.pub                          keys of others, put there by ``grandmodel audit trust``

A private key may be locked with a passphrase; who asks for it, and where from, is the caller's (``cli.signing``).
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from grandmodel.journal.errors import AuditUsageError

OWN_KEY_NAME = "signing-key.pem"
KNOWN_NAME = "known"
OWN = "your own key"
"""What the user's own key is called among the known ones."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OTHERS = 0o077
"""The mode bits of everyone but the owner."""

AskPassphrase = Callable[[], bytes | None]
"""Gives the passphrase of a locked key, or None where there is none to be had."""


class PublicKey:
    """Checks signatures; satisfies ``checkpoints.SignatureChecker``."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a PEM file with a public Ed25519 key."""
        try:
            key = load_pem_public_key(path.read_bytes())
        except (OSError, ValueError) as error:
            raise AuditUsageError(f"{path}: expected a PEM file with a public key ({error})") from error
        if not isinstance(key, Ed25519PublicKey):
            raise AuditUsageError(f"{path}: found a key of another kind, expected Ed25519")
        return cls(key)

    @property
    def key_id(self) -> str:
        """The first 16 hexadecimal digits of the sha256 of the raw public key."""
        return sha256(self._key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]

    def is_signed(self, message: bytes, signature: bytes) -> bool:
        """True where ``signature`` was made over ``message`` with the private half of this key."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def to_bytes(self) -> bytes:
        """The PEM text."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def save(self, path: Path) -> None:
        """Write the PEM file."""
        path.write_bytes(self.to_bytes())


class SigningKey:
    """Signs; satisfies ``checkpoints.Signer``."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())
        self.key_id = self.public.key_id

    @classmethod
    def create(cls, path: Path, passphrase: bytes | None = None) -> Self:
        """Make a key and write it to ``path`` (mode 0600), its public half beside it as ``<path>.pub``.

        ``passphrase`` locks the file. The file appears whole or not at all, and of several processes that make it at once one
        wins; the others get ``AuditUsageError``, as where there was a file before.
        """
        key = Ed25519PrivateKey.generate()
        lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
        descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(written)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(beside, path)  # Fails where the name is taken; a rename would overwrite.
        except FileExistsError as error:
            raise AuditUsageError(f"{path}: found a file, expected none: a key is never overwritten") from error
        finally:
            Path(beside).unlink()
        made = cls(key)
        made.public.save(path.with_name(path.name + ".pub"))
        return made

    @classmethod
    def load(cls, path: Path, ask_passphrase: AskPassphrase | None = None) -> Self:
        """Read a PEM file with a private Ed25519 key; ``ask_passphrase`` is called where it is locked.

        Raises ``AuditUsageError`` where it is none, is locked and stays so, or can be read by others than its owner.
        """
        try:
            with path.open("rb") as stream:
                content = stream.read()
                if b"PRIVATE KEY" in content.split(b"\n", 1)[0]:
                    _check_private(path, os.fstat(stream.fileno()))
            key = load_pem_private_key(content, password=_passphrase_for(path, content, ask_passphrase))
        except (OSError, ValueError, TypeError) as error:
            raise AuditUsageError(f"{path}: expected a PEM file with a private key ({error})") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise AuditUsageError(f"{path}: found a key of another kind, expected Ed25519")
        return cls(key)

    def sign(self, message: bytes) -> bytes:
        """The signature over ``message``, 64 bytes."""
        return self._key.sign(message)


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """The user's folder of keys. Nothing is written before ``make_own`` or ``trust``."""

    folder: Path

    @classmethod
    def of_user(cls, environment: Mapping[str, str]) -> KeyFolder:
        """``$XDG_CONFIG_HOME/grandmodel/keys``, or ``~/.config/grandmodel/keys``."""
        named = environment.get("XDG_CONFIG_HOME", "")
        try:
            base = Path(named) if named else Path.home() / ".config"
        except RuntimeError as error:
            raise AuditUsageError(f"found no home folder of the user to keep keys in ({error}): set HOME") from error
        return cls(base / "grandmodel" / "keys")

    @property
    def own_path(self) -> Path:
        """Where the own private key lies."""
        return self.folder / OWN_KEY_NAME

    def own(self, ask_passphrase: AskPassphrase | None = None) -> SigningKey | None:
        """The own key; None where there is none yet. Raises ``AuditUsageError`` where others can read it."""
        if not self.own_path.exists():
            return None
        self._check_folder()
        return SigningKey.load(self.own_path, ask_passphrase)

    def make_own(self, passphrase: bytes | None) -> None:
        """Make the own key; where another process was first, nothing is changed."""
        try:
            self._make_folder(self.folder)
            SigningKey.create(self.own_path, passphrase)
        except OSError as error:
            raise AuditUsageError(f"{self.folder}: no key can be kept there ({error.strerror})") from error
        except AuditUsageError:
            if not self.own_path.exists():
                raise

    def known(self) -> dict[str, tuple[str, PublicKey]]:
        """Every public key that the user trusts, by its id: the name it was given, and the key."""
        found: dict[str, tuple[str, PublicKey]] = {}
        for path in sorted((self.folder / KNOWN_NAME).glob("*.pub")):
            key = PublicKey.load(path)
            found[key.key_id] = (path.stem, key)
        own = self.own_path.with_name(f"{OWN_KEY_NAME}.pub")
        if own.exists():
            key = PublicKey.load(own)
            found[key.key_id] = (OWN, key)
        if found:
            self._check_folder()  # Whoever can write here decides what is trusted.
        return found

    def trust(self, name: str, key: PublicKey) -> Path:
        """Keep ``key`` among the known ones as ``name``; a name that stands for another key is refused."""
        if not _NAME.fullmatch(name):
            raise AuditUsageError(f"found the name {name!r}, expected letters, digits, dots, dashes: it names a file")
        path = self.folder / KNOWN_NAME / f"{name}.pub"
        try:
            self._make_folder(self.folder)
            self._make_folder(path.parent)
            self._check_folder()
            with suppress(FileExistsError), path.open("xb") as stream:
                stream.write(key.to_bytes())
        except OSError as error:
            raise AuditUsageError(f"{path}: the key cannot be kept ({error.strerror})") from error
        if PublicKey.load(path).key_id != key.key_id:
            raise AuditUsageError(
                f"{path}: found another key under this name, expected none: choose another name, or delete that file"
            )
        return path

    def _make_folder(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)

    def _check_folder(self) -> None:
        for folder in (self.folder, self.folder / KNOWN_NAME):
            with suppress(FileNotFoundError):
                _check_private(folder, folder.stat())


def _check_private(path: Path, found: os.stat_result) -> None:
    """Refuse what others can get at: a key that they can read is theirs too, a folder that they can write decides for us."""
    mode = found.st_mode & 0o7777
    if mode & _OTHERS:
        wanted = mode & ~_OTHERS
        raise AuditUsageError(
            f"{path}: found mode {mode:04o}, with which others can get at it, expected {wanted:04o}: chmod {wanted:o} {path}"
        )
    if found.st_uid not in {0, os.geteuid()}:
        raise AuditUsageError(
            f"{path}: found an owner who is neither you nor root (user {found.st_uid}), expected your own"
        )


def _passphrase_for(path: Path, content: bytes, ask: AskPassphrase | None) -> bytes | None:
    if b"ENCRYPTED" not in content.split(b"\n", 1)[0]:
        return None
    passphrase = ask() if ask is not None else None
    if not passphrase:
        raise AuditUsageError(f"{path}: found a key that is locked with a passphrase, expected the passphrase too")
    return passphrase
