"""How much of a file is read at most: bounds against files that would take all memory or hours, and the way to raise them.

Every reader takes ``ReadLimits``; ``--limit NAME=VALUE`` of ``grandmodel data check`` and ``import`` changes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from grandmodel.data.errors import ReadError
from grandmodel.domain.errors import UsageError
from grandmodel.domain.files import path_text

_RATIO_FROM = 64 * 2**20
_SIZE = re.compile(r"^(\d{1,18})\s*(|[KMGT]i?B?|B)$", re.IGNORECASE)
_LARGEST = 2**50
_FACTORS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """The largest file that is read."""

    bytes: int = 2 * 2**30
    """Of a file, and of what comes out of its packing. Reading takes several times as much memory."""
    ratio: int = 250
    """How many times larger than the packed file its content may be (from 64 MiB on). Market data packs 3 to 30-fold."""
    columns: int = 2_000
    members: int = 10_000
    """Files in a zip."""

    def unpacked(self, packed: int) -> int:
        """The most bytes that a packed content of ``packed`` bytes may give."""
        return min(self.bytes, max(_RATIO_FROM, self.ratio * packed))

    def refusal(self, name: str, where: Path | str, found: str, raised: int) -> ReadError:
        """The error about the limit ``name``; ``raised`` is a value that would let the file through."""
        return ReadError(
            f"{path_text(where)}: found {found}, expected at most {getattr(self, name):,} ({name}); if the file is sound, "
            f"--limit {name}={raised} reads it"
        )

    def unpacked_refusal(self, where: Path | str, packed: int) -> ReadError:
        """The error about a content that is larger than ``unpacked`` allows."""
        most = self.unpacked(packed)
        if most >= self.bytes:
            return self.refusal("bytes", where, f"more than {most:,} bytes once unpacked", 4 * self.bytes)
        return self.refusal("ratio", where, f"{packed:,} packed bytes that unpack to more than {most:,}", 1_100)


def limits_from_texts(texts: Iterable[str]) -> ReadLimits:
    """The limits with each ``NAME=VALUE`` of ``texts`` applied (``bytes=8GiB``); raises ``UsageError`` on anything else."""
    names = [field.name for field in fields(ReadLimits)]
    limits = ReadLimits()
    for text in texts:
        name, _, value = text.partition("=")
        match = _SIZE.match(value.strip())
        number = int(match.group(1)) * _FACTORS[match.group(2)[:1].upper()] if match is not None else 0
        if name not in names or not 0 < number <= _LARGEST:
            raise UsageError(f"--limit: found {text!r}, expected one of {', '.join(names)} and a number: bytes=8GiB")
        limits = replace(limits, **{name: number})
    return limits
