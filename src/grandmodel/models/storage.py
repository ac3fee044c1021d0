"""Where a registry's files lie: a folder of this machine, or an object store that fsspec can reach.

Both keep two promises that ``registry.py`` rests on. A file appears whole or not at all, whatever happens while it is written: a
kill, a full disk. And ``create`` never replaces: of several processes that create one name at once, one succeeds and the others
get ``FileExistsError``. On a disk a lock and a rename keep them; in an object store the store does, by a conditional write
(S3's ``If-None-Match: *`` and its kin).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from grandmodel.domain.files import sync_folder
from grandmodel.models.errors import RegistryError

LOCK_TRIES = 500
LOCK_PAUSE_SECONDS = 0.02
"""A writer holds the lock for some milliseconds; ten seconds of waiting mean that something is wrong with another one."""
_INCOMING = ".incoming-"


class Storage(Protocol):
    """Files by name, such as ``strategic/0f3a.safetensors``."""

    location: str
    """The folder or address, as people know it."""

    def read(self, name: str) -> bytes:
        """The file's content. Raises ``FileNotFoundError``."""

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """The contents of several files, in order."""

    def names(self, folder: str) -> list[str]:
        """Names (with ``folder``) of the files directly in ``folder``, sorted; none where there is no such folder."""

    def create(self, name: str, content: bytes) -> None:
        """Write a file that does not exist yet. Raises ``FileExistsError`` where it does."""

    def replace(self, name: str, content: bytes) -> None:
        """Write a file, whether or not it exists."""


def open_storage(location: str | Path) -> Storage:
    """The storage at a folder or an address (``s3://bucket/models``). Nothing is written; it need not exist yet."""
    text = str(location)
    protocol, sign, rest = text.partition("://")
    if not sign:
        return FolderStorage(Path(text))
    if protocol == "file":
        return FolderStorage(Path(rest))
    return ObjectStorage(text)


class FolderStorage:
    """Files in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)

    def read(self, name: str) -> bytes:
        """The file's content."""
        return (self.root / name).read_bytes()

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """The contents of several files, in order."""
        return [self.read(name) for name in names]

    def names(self, folder: str) -> list[str]:
        """Names of the files directly in ``folder``, sorted."""
        where = self.root / folder
        if not where.is_dir():
            return []
        return sorted(
            f"{folder}/{path.name}" for path in where.iterdir() if path.is_file() and not path.name.startswith(".")
        )

    def create(self, name: str, content: bytes) -> None:
        """Write a file that does not exist yet."""
        with self._writing():
            if (self.root / name).exists():
                raise FileExistsError(name)
            self._write(name, content)

    def replace(self, name: str, content: bytes) -> None:
        """Write a file, whether or not it exists."""
        with self._writing():
            self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        incoming = self.root / f"{_INCOMING}{os.getpid()}"
        try:
            with incoming.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            incoming.replace(target)
        except OSError:
            incoming.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the folder's lock, and first clear away what a killed writer left."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("a") as lock:
            wait_for_lock(lock.fileno(), self.root)
            for leftover in self.root.glob(f"{_INCOMING}*"):
                leftover.unlink()
            yield


class ObjectStorage:
    """Objects under an address, through fsspec."""

    def __init__(self, address: str) -> None:
        self.location = address
        # A folder needs none of it. It publishes no types.
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # noqa: PLC0415

        try:
            self._files, self._root = url_to_fs(address)
        except ImportError as error:
            protocol = address.partition("://")[0]
            raise RegistryError(
                f"{address}: found no support for {protocol}:// ({error}), expected an extra: pip install 'grandmodel[{protocol}]'"
            ) from error
        except ValueError as error:
            raise RegistryError(
                f"{address}: {error}; expected a folder or an address such as s3://bucket/models"
            ) from error

    def _path(self, name: str) -> str:
        return f"{str(self._root).rstrip('/')}/{name}"

    def read(self, name: str) -> bytes:
        """The object's content."""
        content: bytes = self._files.cat_file(self._path(name))
        return content

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """The contents of several objects, in order; asked for together."""
        if not names:
            return []
        found: dict[str, bytes] = self._files.cat([self._path(name) for name in names])
        if not isinstance(found, dict):  # one path is answered without a dictionary
            return [found]
        by_name = {path.rsplit("/", 1)[-1]: content for path, content in found.items()}
        return [by_name[name.rsplit("/", 1)[-1]] for name in names]

    def names(self, folder: str) -> list[str]:
        """Names of the objects directly in ``folder``, sorted."""
        where = self._path(folder)
        self._files.invalidate_cache(where)
        try:
            found: list[dict[str, Any]] = self._files.ls(where, detail=True)
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{one['name'].rsplit('/', 1)[-1]}" for one in found if one["type"] == "file")

    def create(self, name: str, content: bytes) -> None:
        """Write an object that does not exist yet."""
        self._files.pipe_file(self._path(name), content, mode="create")

    def replace(self, name: str, content: bytes) -> None:
        """Write an object, whether or not it exists."""
        self._files.pipe_file(self._path(name), content)


def wait_for_lock(descriptor: int, where: Path) -> None:
    """Take the lock of an open file; it is held until the file is closed, however that happens. ``where`` is for the message."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return
    raise RegistryError(
        f"{where}: another process has held its lock for {LOCK_TRIES * LOCK_PAUSE_SECONDS:.0f} s; "
        "try again when it is done, or end it"
    )
