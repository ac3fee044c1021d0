"""The bytes of a file, whatever it is packed in: gzip, xz and zstd are recognised by their first bytes, not by a name."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa

from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.domain.errors import UsageError

GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\x00"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZIP_MAGIC = b"PK\x03\x04"

_PACKING_FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)
_ZIP_FAULTS = (zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError, OSError, zlib.error, struct.error)


def load_bytes(path: Path) -> bytes:
    """The whole content of ``path``, unpacked; raises ``CorruptFileError`` where the packing is damaged or cut off."""
    raw = _raw_bytes(path)
    try:
        if raw.startswith(GZIP_MAGIC):
            return gzip.decompress(raw)
        if raw.startswith(XZ_MAGIC):
            return lzma.decompress(raw)
        if raw.startswith(ZSTD_MAGIC):
            return bytes(pa.CompressedInputStream(pa.BufferReader(raw), "zstd").read())
    except (*_PACKING_FAULTS, pa.ArrowException) as error:
        raise CorruptFileError(f"{path}: the compressed content is damaged or cut off ({error})") from error
    return raw


def load_head(path: Path, size: int = 65_536) -> bytes:
    """The first ``size`` bytes of the unpacked content; empty where the packing cannot be opened."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic.startswith(GZIP_MAGIC):
                with gzip.open(file) as unpacked:
                    return unpacked.read(size)
            if magic == XZ_MAGIC[:4]:
                with lzma.open(file) as unpacked:
                    return unpacked.read(size)
            if magic == ZSTD_MAGIC:
                return bytes(pa.CompressedInputStream(pa.PythonFile(file, "rb"), "zstd").read(size))
            return file.read(size)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: found no such file") from error
    except (*_PACKING_FAULTS, pa.ArrowException):
        return b""


def zip_members(path: Path) -> list[str]:
    """The names inside a zip file, in its own order."""
    with _opened_zip(path) as archive:
        return [member.filename for member in archive.infolist() if not member.filename.endswith("/")]


def load_zip_member(path: Path, member: str) -> bytes:
    """The unpacked content of one member of a zip file."""
    try:
        with _opened_zip(path) as archive:
            return archive.read(member)
    except (*_ZIP_FAULTS, KeyError, EOFError) as error:
        raise CorruptFileError(f"{path}: the member {member} cannot be unpacked ({error})") from error


def _raw_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"{path}: found no such file") from error
    except OSError as error:
        raise CorruptFileError(f"{path}: cannot be read ({error.strerror})") from error


def _opened_zip(path: Path) -> zipfile.ZipFile:
    raw = _raw_bytes(path)
    try:
        return zipfile.ZipFile(io.BytesIO(raw))
    except _ZIP_FAULTS as error:
        raise CorruptFileError(f"{path}: the zip file is damaged or cut off ({error})") from error
