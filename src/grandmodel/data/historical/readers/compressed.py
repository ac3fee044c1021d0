"""The bytes of a file, whatever it is packed in: gzip, xz, zstd and zip are recognised by their first bytes, not by a name.

Nothing is unpacked without a bound (``limits.py``). A zip that holds one file is that file, however it is packed itself;
what operating systems add to a zip (``__MACOSX``, ``.DS_Store``, ``Thumbs.db``) is no part of it.
"""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Protocol

import pyarrow as pa

from grandmodel.data.errors import ReadError
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.limits import ReadLimits
from grandmodel.domain.errors import UsageError

GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\x00"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZIP_MAGIC = b"PK\x03\x04"
_ZIP_ENTRY = b"PK\x01\x02"

PACKING_FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)
_ZIP_FAULTS = (zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError, OSError, zlib.error, struct.error)
_XZ_MEMORY = 512 * 2**20
"""What the xz decoder may take for its own dictionary; ``xz -9`` needs 65 MiB."""
_PIECE = 4 * 2**20
_DEEPEST_PACKING = 3
_SYSTEM_NAMES = {".ds_store", "thumbs.db", "desktop.ini", "__macosx"}
_WORKBOOK = "xl/workbook.xml"


class Readable(Protocol):
    """Anything that gives bytes."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        ...


def load_bytes(path: Path, limits: ReadLimits | None = None) -> bytes:
    """The whole content of ``path``, unpacked.

    Raises ``CorruptFileError`` where the packing is damaged or cut off, ``ReadError`` where the content is beyond
    ``limits`` or the path is a zip of several files.
    """
    bounds = limits or ReadLimits()
    raw = raw_bytes(path, bounds)
    if raw.startswith(ZIP_MAGIC):
        members = zip_members(path, bounds)
        if len(members) != 1:
            raise ReadError(
                f"{path}: found a zip of {len(members)} files, expected one: unpack it and read the file meant"
            )
        return load_zip_member(path, members[0], bounds)
    return unpacked(raw, str(path), bounds)


def raw_bytes(path: Path, limits: ReadLimits) -> bytes:
    """The bytes of ``path`` as they lie on the disk, at most ``limits.bytes``."""
    try:
        size = path.stat().st_size
        if size > limits.bytes:
            raise limits.refusal("bytes", path, f"a file of {size:,} bytes", size)
        with path.open("rb") as file:
            content = _up_to(file, limits.bytes + 1)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: found no such file") from error
    except OSError as error:
        raise CorruptFileError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > limits.bytes:
        raise limits.refusal("bytes", path, f"more than {limits.bytes:,} bytes", 4 * limits.bytes)
    return content


def unpacked(content: bytes, where: str, limits: ReadLimits) -> bytes:
    """``content`` without its packing (and the packing in that); raises as ``load_bytes`` does."""
    for _ in range(_DEEPEST_PACKING):
        most = limits.unpacked(len(content))
        try:
            if content.startswith(GZIP_MAGIC):
                with gzip.open(io.BytesIO(content)) as file:
                    found = _up_to(file, most + 1)
            elif content.startswith(XZ_MAGIC):
                found = _xz(content, most)
            elif content.startswith(ZSTD_MAGIC):
                found = _zstd(content, most)
            else:
                return content
        except (*PACKING_FAULTS, pa.ArrowException) as error:
            raise CorruptFileError(f"{where}: the compressed content is damaged or cut off ({error})") from error
        if len(found) > most:
            raise limits.unpacked_refusal(where, len(content))
        content = found
    raise ReadError(
        f"{where}: found a file packed {_DEEPEST_PACKING} times or more over, expected it packed once: unpack it"
    )


def _xz(content: bytes, most: int) -> bytes:
    """At most ``most`` + 1 bytes out of one or more xz streams."""
    parts: list[bytes] = []
    size = 0
    rest = content
    while rest and size <= most:
        decoder = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
        data = decoder.decompress(rest, most + 1 - size)
        parts.append(data)
        size += len(data)
        while not decoder.eof and size <= most:
            if decoder.needs_input:
                raise EOFError("the xz stream ends early")
            data = decoder.decompress(b"", most + 1 - size)
            parts.append(data)
            size += len(data)
        rest = decoder.unused_data.lstrip(b"\x00")
    return b"".join(parts)


def _zstd(content: bytes, most: int) -> bytes:
    """At most about ``most`` + 1 bytes out of zstd frames."""
    return _up_to(pa.CompressedInputStream(pa.BufferReader(content), "zstd"), most + 1)


def _up_to(file: Readable, most: int) -> bytes:
    """At most ``most`` bytes, taken in pieces: one large ``read`` would ask for all the memory at once."""
    parts: list[bytes] = []
    left = most
    while left > 0:
        data = bytes(file.read(min(_PIECE, left)))
        if not data:
            break
        parts.append(data)
        left -= len(data)
    return b"".join(parts)


def load_head(path: Path, size: int = 65_536) -> bytes:
    """The first ``size`` bytes of the unpacked content; empty where the packing cannot be opened."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            if magic == ZIP_MAGIC:
                return _zip_head(path, size)
            file.seek(0)
            if magic.startswith(GZIP_MAGIC):
                with gzip.open(file) as content:
                    return content.read(size)
            if magic == XZ_MAGIC[:4]:
                with lzma.open(file) as content:
                    return content.read(size)
            if magic == ZSTD_MAGIC:
                return bytes(pa.CompressedInputStream(pa.PythonFile(file, "rb"), "zstd").read(size))
            return file.read(size)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: found no such file") from error
    except (*PACKING_FAULTS, pa.ArrowException):
        return b""


def _zip_head(path: Path, size: int) -> bytes:
    """The first bytes inside a zip of one file; empty where it is another or its own content is packed again."""
    try:
        members = zip_members(path)
        if len(members) != 1:
            return b""
        with _opened_zip(path, ReadLimits()) as archive, archive.open(members[0]) as file:
            head = file.read(size)
    except (ReadError, *_ZIP_FAULTS, KeyError, EOFError):
        return b""
    packed = head.startswith((GZIP_MAGIC, XZ_MAGIC, ZSTD_MAGIC, ZIP_MAGIC))
    return _packed_head(path, members[0], size) if packed else head


def _packed_head(path: Path, member: str, size: int) -> bytes:
    try:
        return load_zip_member(path, member)[:size]
    except ReadError:
        return b""


def is_zip(path: Path) -> bool:
    """Whether the file on the disk begins as a zip does."""
    try:
        with path.open("rb") as file:
            return file.read(4) == ZIP_MAGIC
    except OSError:
        return False


def zip_members(path: Path, limits: ReadLimits | None = None) -> list[str]:
    """The names of the files inside a zip, in its own order, without what operating systems add."""
    bounds = limits or ReadLimits()
    with _opened_zip(path, bounds) as archive:
        listed = archive.infolist()
    members = [member for member in listed if not member.filename.endswith("/") and not _is_of_system(member.filename)]
    if any(member.filename == _WORKBOOK for member in members):
        raise ReadError(f"{path}: found an Excel workbook, expected a table as text or Parquet: save the sheet as CSV")
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if total > bounds.unpacked(packed):
        raise bounds.unpacked_refusal(path, packed)
    return [member.filename for member in members]


def _is_of_system(name: str) -> bool:
    parts = [part.lower() for part in PurePosixPath(name.replace("\\", "/")).parts]
    return any(part in _SYSTEM_NAMES or part.startswith("._") for part in parts)


def load_zip_member(path: Path, member: str, limits: ReadLimits | None = None) -> bytes:
    """The content of one file of a zip, unpacked if it is itself packed."""
    bounds = limits or ReadLimits()
    where = f"{path}:{member}"
    try:
        with _opened_zip(path, bounds) as archive:
            info = archive.getinfo(member)
            most = bounds.unpacked(info.compress_size)
            if info.file_size > most:
                raise bounds.unpacked_refusal(where, info.compress_size)
            with archive.open(info) as file:
                content = _up_to(file, most + 1)
    except (*_ZIP_FAULTS, KeyError, EOFError) as error:
        raise CorruptFileError(f"{path}: the member {member} cannot be unpacked ({error})") from error
    if len(content) > most:
        raise bounds.unpacked_refusal(where, info.compress_size)
    if content.startswith(ZIP_MAGIC):
        raise ReadError(f"{where}: found a zip inside the zip, expected a file: unpack the outer one first")
    return unpacked(content, where, bounds)


def _opened_zip(path: Path, limits: ReadLimits) -> zipfile.ZipFile:
    raw = raw_bytes(path, limits)
    entries = raw.count(_ZIP_ENTRY)  # before zipfile makes an object of each
    if entries > limits.members:
        raise limits.refusal("members", path, f"a zip of {entries:,} files", entries)
    try:
        return zipfile.ZipFile(io.BytesIO(raw))
    except _ZIP_FAULTS as error:
        raise CorruptFileError(f"{path}: the zip file is damaged or cut off ({error})") from error
