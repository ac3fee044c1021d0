"""Columns too long to hold: appended and read back in pieces, in memory while they are few, in temporary files beyond.

``Spool`` keeps the rows of one import between its passes; ``in_order`` sorts one on the disk. Nothing here knows what the
rows are. Read next: ``quality.py``, which makes the passes.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.errors import OperatingError

PIECE_ROWS = 131_072
"""Rows that a pass holds at a time: with all their columns and the arrays that come of them some 50 MB."""

BYTES_IN_MEMORY = 48 * 2**20
"""A spool larger than this lies in temporary files."""

_SAMPLE_EVERY = 256

Columns = dict[str, NDArray[Any]]


class Spool:
    """Rows of named columns. Every column has a file of its own, so a pass reads only what it needs."""

    def __init__(self, dtypes: Mapping[str, Any], bytes_in_memory: int = BYTES_IN_MEMORY) -> None:
        self.dtypes = {name: np.dtype(dtype) for name, dtype in dtypes.items()}
        self.rows = 0
        self._row_bytes = sum(dtype.itemsize for dtype in self.dtypes.values())
        self._bytes_in_memory = bytes_in_memory
        self._held: dict[str, list[NDArray[Any]]] = {name: [] for name in self.dtypes}
        self._files: dict[str, IO[bytes]] = {}

    def append(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows: each column an array (K,); raises ``OperatingError`` where the temporary folder is full."""
        count = len(next(iter(columns.values())))
        if not count:
            return
        if not self._files and (self.rows + count) * self._row_bytes > self._bytes_in_memory:
            self._move_to_files()
        for name, dtype in self.dtypes.items():
            values = np.array(columns[name], dtype=dtype)  # a copy: callers use their arrays again
            if self._files:
                self._write(name, values)
            else:
                self._held[name].append(values)
        self.rows += count

    def read(self, start: int, stop: int, names: Sequence[str] = ()) -> Columns:
        """The rows ``start`` to ``stop`` (exclusive) of the columns ``names`` (default: all), writable copies."""
        stop = min(stop, self.rows)
        return {name: self._column(name, start, max(start, stop)) for name in names or self.dtypes}

    def pieces(
        self, names: Sequence[str] = (), rows_per_piece: int = PIECE_ROWS, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, Columns]]:
        """The place of its first row, and each piece in turn."""
        end = self.rows if stop is None else min(stop, self.rows)
        for place in range(start, end, rows_per_piece):
            yield place, self.read(place, min(place + rows_per_piece, end), names)

    def _column(self, name: str, start: int, stop: int) -> NDArray[Any]:
        if not self._files:
            held = self._held[name]
            if len(held) > 1:
                held[:] = [np.concatenate(held)]
            return held[0][start:stop].copy() if held else np.empty(0, dtype=self.dtypes[name])
        values = np.empty(stop - start, dtype=self.dtypes[name])
        if not len(values):
            return values
        view = values.data.cast("B")
        offset, done = start * values.itemsize, 0
        while done < len(view):
            got = os.preadv(self._files[name].fileno(), [view[done:]], offset + done)
            if got <= 0:
                raise OperatingError(f"{tempfile.gettempdir()}: a temporary file of the import ends early")
            done += got
        return values

    def _move_to_files(self) -> None:
        try:
            self._files = {
                name: tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (lives as long as the spool)
                for name in self.dtypes
            }
        except OSError as error:
            raise _no_room(error) from error
        weakref.finalize(self, _close, list(self._files.values()))  # and with that they are gone
        for name, held in self._held.items():
            for values in held:
                self._write(name, values)
            held.clear()

    def _write(self, name: str, values: NDArray[Any]) -> None:
        view = values.data.cast("B")
        try:
            while len(view):
                view = view[self._files[name].write(view) :]
        except OSError as error:
            raise _no_room(error) from error


def _close(files: list[IO[bytes]]) -> None:
    for file in files:
        file.close()


def _no_room(error: OSError) -> OperatingError:
    folder = tempfile.gettempdir()
    return OperatingError(
        f"{folder}: the import's temporary files cannot be written ({error.strerror}); make room, or set TMPDIR to a folder that has it"
    )


def in_order(
    spool: Spool, key: str, order: Callable[[Columns], NDArray[np.int64]], rows_per_piece: int = PIECE_ROWS
) -> Iterator[Columns]:
    """The rows of ``spool`` sorted, in pieces that never part rows of one ``key``.

    ``order`` gives the sorting places of some rows; ``key`` is the column that it sorts by first. Pieces have about
    ``rows_per_piece`` rows, more where so many rows share one key. Sorted runs go to a second spool; then the same range
    of keys is taken out of every run.
    """
    if spool.rows <= rows_per_piece:
        rows = spool.read(0, spool.rows)
        yield _taken(rows, order(rows))
        return
    runs = Spool(spool.dtypes)
    samples: list[NDArray[Any]] = []
    for _, rows in spool.pieces(rows_per_piece=rows_per_piece):
        ordered = _taken(rows, order(rows))
        samples.append(ordered[key][:: max(1, min(_SAMPLE_EVERY, rows_per_piece // 4))])
        runs.append(ordered)
    starts = list(range(0, spool.rows, rows_per_piece))
    seen = np.sort(np.concatenate(samples))
    ranges = -(-spool.rows // rows_per_piece)
    limits = np.unique(seen[np.linspace(0, len(seen), ranges, endpoint=False).astype(np.int64)[1:]])
    cuts = np.empty((len(starts), len(limits) + 2), dtype=np.int64)
    for line, start in enumerate(starts):
        stop = min(start + rows_per_piece, spool.rows)
        keys = runs.read(start, stop, (key,))[key]
        cuts[line] = start + np.concatenate(([0], np.searchsorted(keys, limits), [stop - start]))
    for place in range(len(limits) + 1):
        parts = [runs.read(int(cut[place]), int(cut[place + 1])) for cut in cuts if cut[place] < cut[place + 1]]
        if parts:
            rows = {name: np.concatenate([part[name] for part in parts]) for name in spool.dtypes}
            yield _taken(rows, order(rows))


def _taken(rows: Columns, places: NDArray[np.int64]) -> Columns:
    return {name: values[places] for name, values in rows.items()}


def median_of(spool: Spool, name: str) -> float:
    """The median of a column of floats at or above zero, to the last bit what ``numpy.median`` gives; NaN without rows."""
    if not spool.rows:
        return float("nan")
    if spool.rows <= PIECE_ROWS:
        return float(np.median(spool.read(0, spool.rows)[name]))
    low, high = _ranked(spool, name, (spool.rows - 1) // 2), _ranked(spool, name, spool.rows // 2)
    return float(np.mean(np.array([low, high])))


def _ranked(spool: Spool, name: str, rank: int) -> float:
    """The value of ``rank`` (from 0): the bits of floats at or above zero sort as the numbers do, so 16 are settled a pass."""
    prefix, shift = 0, 48
    while shift >= 0:
        counts = np.zeros(65_536, dtype=np.int64)
        for _, rows in spool.pieces((name,)):
            bits = rows[name].view(np.int64)
            fitting = bits if shift == 48 else bits[bits >> (shift + 16) == prefix]
            counts += np.bincount((fitting >> shift) & 65_535, minlength=65_536)
        totals = np.cumsum(counts)
        digit = int(np.searchsorted(totals, rank, side="right"))
        rank -= int(totals[digit - 1]) if digit else 0
        prefix = (prefix << 16) | digit
        shift -= 16
    return float(np.array([prefix], dtype=np.int64).view(np.float64)[0])
