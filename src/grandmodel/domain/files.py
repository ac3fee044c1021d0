"""Small files that a person hands over (settings, instruments, profiles, keys, proofs): read within bounds, refused in words.

``load_document`` reads JSON or TOML. Whatever is wrong with a file (not there, too large, not UTF-8, nested without end, of
another shape) is a ``UsageError`` that names the file. ``path_text`` writes the name of a file whose bytes are no UTF-8.
Files of market data have bounds of their own (``data/historical/readers/limits.py``).
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from grandmodel.domain.errors import UsageError

MOST_DOCUMENT_BYTES = 16 * 2**20
"""A settings file of a few hundred lines has some kilobytes; 16 MiB is beyond any that a person writes."""

T = TypeVar("T")


class Closeable:
    """Something that is held open and that ``with`` closes at its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release what is open."""


def sync_folder(folder: Path) -> None:
    """Force the names in ``folder`` to the disk, so that a file made or renamed in it lasts."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def path_text(path: Path | str) -> str:
    r"""The name of a file as text for people, reports and stores: bytes that are no UTF-8 become ``\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_text(word: str) -> bool:
    """Whether a word of the command line is text: bytes of it that were no UTF-8 came in as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in word)


def read_document(path: Path, what: str, most_bytes: int = MOST_DOCUMENT_BYTES) -> bytes:
    """The bytes of ``path``, a ``what`` ("settings file"); raises ``UsageError`` where it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path_text(path)}: the {what} cannot be read ({reason})") from error
    if len(content) > most_bytes:
        raise UsageError(f"{path_text(path)}: found more than {most_bytes} bytes, expected at most so many in a {what}")
    return content


def document_text(path: Path, what: str, most_bytes: int = MOST_DOCUMENT_BYTES) -> str:
    """The text of ``path`` in UTF-8 (a byte order mark is passed over); raises ``UsageError`` where it is none."""
    content = read_document(path, what, most_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        looks = "UTF-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else f"the byte 0x{content[error.start]:02x}"
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{path_text(path)}: line {line}: found {looks}, expected UTF-8: save the {what} as UTF-8"
        ) from error


def load_document(path: Path, what: str, of: type[T], *, strict: bool = True) -> T:
    """The TOML (by its ending) or JSON file ``path``, a ``what``, as a value of the type ``of``.

    Raises ``UsageError`` naming the file and, where a value is wrong, its place. ``strict`` as in ``msgspec.convert``.
    """
    text = document_text(path, what)
    name = path_text(path)
    named = f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
    try:
        if path.suffix != ".toml":
            return msgspec.json.decode(text, type=of, strict=strict)
        raw: Any = tomllib.loads(text)
        return msgspec.convert(raw, of, strict=strict)
    except RecursionError as error:
        raise UsageError(f"{name}: not {named}: found values nested too deep, expected a few levels") from error
    except (ValueError, OverflowError) as error:  # tomllib, msgspec and numbers of thousands of digits
        raise UsageError(f"{name}: not {named}: {error}") from error
