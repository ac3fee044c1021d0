"""Ed25519 keys for signing checkpoints, in PEM files.

The private key stays with the process that writes the journal (mode 0600); the public one goes to whoever checks it.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from grandmodel.compliance.errors import AuditUsageError


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

    def save(self, path: Path) -> None:
        """Write the PEM file."""
        path.write_bytes(self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


class SigningKey:
    """Signs; satisfies ``checkpoints.Signer``."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())
        self.key_id = self.public.key_id

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a key and write it to ``path`` (mode 0600), its public half beside it as ``<path>.pub``."""
        key = Ed25519PrivateKey.generate()
        written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise AuditUsageError(f"{path}: found a file, expected none: a key is never overwritten") from error
        with os.fdopen(file, "wb") as stream:
            stream.write(written)
        made = cls(key)
        made.public.save(path.with_name(path.name + ".pub"))
        return made

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a PEM file with a private Ed25519 key."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise AuditUsageError(f"{path}: expected a PEM file with a private key ({error})") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise AuditUsageError(f"{path}: found a key of another kind, expected Ed25519")
        return cls(key)

    def sign(self, message: bytes) -> bytes:
        """The signature over ``message``, 64 bytes."""
        return self._key.sign(message)
