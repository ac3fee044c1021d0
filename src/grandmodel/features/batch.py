"""The matrices of many instruments over many years: in parallel, with progress, and cached by content.

A history is cut into calendar years (UTC). A year begins from the state in which the year before ended, so the rows are the
same, to the last bit, as from one pass. Each finished year is stored under a hash of everything that it depends on: the
schema, the sessions, and all bars up to its end. New bars at the end cost one year; a changed bar costs its year and those
behind it; nothing stale is ever read. Instruments run beside each other in threads (the kernels leave the interpreter free).
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np

from grandmodel.features.arrays import Floats, Integers
from grandmodel.features.bars import BarArrays, bar_arrays
from grandmodel.features.errors import FeatureError
from grandmodel.features.schema import STRATEGIC_SCHEMA, TACTICAL_SCHEMA, FeatureSchema
from grandmodel.features.sessions import TradingDays, cme_globex_sessions
from grandmodel.features.strategic import StrategicState
from grandmodel.features.tactical import TacticalState

if TYPE_CHECKING:
    import polars as pl

Matrix = Literal["strategic", "tactical"]


@dataclass(frozen=True, slots=True)
class RowsJob:
    """One matrix of one instrument: its name for messages, the matrix, all of its bars, and its sessions (None: CME Globex)."""

    instrument: str
    matrix: Matrix
    bars: pl.DataFrame
    sessions: TradingDays | None = None


@dataclass(frozen=True, slots=True)
class RowsResult:
    """The rows of one job: ``ts_event`` (T,), ``rows`` (T, C), and which years came from the cache."""

    instrument: str
    schema: FeatureSchema
    ts_event: Integers
    rows: Floats
    years: tuple[int, ...]
    cached_years: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowsProgress:
    """One year of one job is done: how many years of all jobs are, and how many there are."""

    instrument: str
    matrix: Matrix
    year: int
    was_cached: bool
    done: int
    total: int


def compute_rows(
    jobs: Sequence[RowsJob],
    cache: Path | None = None,
    on_progress: Callable[[RowsProgress], None] | None = None,
    workers: int | None = None,
) -> list[RowsResult]:
    """The rows of every job, in the order of the jobs.

    ``cache`` is a folder (made where it is missing), None to keep nothing. ``on_progress`` is called after each year, one call at a
    time. ``workers`` threads run at once, by default as many as there are processors. Raises ``FeatureError`` on unusable bars.
    """
    if workers is not None and workers < 1:
        raise FeatureError(f"workers: found {workers}, expected at least 1")
    prepared = [(job, bar_arrays(job.bars)) for job in jobs]
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    teller = _Teller(on_progress, sum(len(_years(bars)) for _, bars in prepared))
    with ThreadPoolExecutor(max_workers=workers or os.cpu_count() or 1) as pool:
        return list(pool.map(lambda pair: _run_job(pair[0], pair[1], cache, teller), prepared))


class _Teller:
    """Counts finished years over all threads and tells of each, one at a time."""

    def __init__(self, on_progress: Callable[[RowsProgress], None] | None, total: int) -> None:
        self._on_progress = on_progress
        self._total = total
        self._done = 0
        self._lock = Lock()

    def tell(self, job: RowsJob, year: int, was_cached: bool) -> None:
        with self._lock:
            self._done += 1
            if self._on_progress is not None:
                self._on_progress(RowsProgress(job.instrument, job.matrix, year, was_cached, self._done, self._total))


def _run_job(job: RowsJob, bars: BarArrays, cache: Path | None, teller: _Teller) -> RowsResult:
    schema = STRATEGIC_SCHEMA if job.matrix == "strategic" else TACTICAL_SCHEMA
    sessions = job.sessions or cme_globex_sessions()
    state = StrategicState(sessions) if job.matrix == "strategic" else TacticalState()
    saved: bytes | None = None  # the state to go on from, where the last year came from the cache
    parts, years, cached = [np.empty((0, len(schema.columns)))], [], []
    key = _first_key(schema, sessions)
    for year, begin, end in _years(bars):
        part = _cut(bars, begin, end)
        key = _next_key(key, part)
        path = None if cache is None else cache / f"{job.matrix}-{key}.npz"
        found = None if path is None else _load(path, len(part), len(schema.columns))
        if found is not None:
            rows, saved = found
            cached.append(year)
        else:
            if saved is not None:
                state.restore(saved)
                saved = None
            rows = state.update_block(part)
            if path is not None:
                _store(path, rows, state.save())
        parts.append(rows)
        years.append(year)
        teller.tell(job, year, found is not None)
    known = bool(np.isfinite(bars.volume).any())
    return RowsResult(
        job.instrument,
        schema if known else schema.without_volume(),
        bars.ts_event,
        np.concatenate(parts),
        tuple(years),
        tuple(cached),
    )


def _years(bars: BarArrays) -> list[tuple[int, int, int]]:
    """Year, first row and the row behind the last, for each calendar year with bars."""
    years = bars.ts_event.astype("datetime64[ns]").astype("datetime64[Y]").astype(np.int64) + 1970
    found, begins = np.unique(years, return_index=True)
    edges = [*begins, len(years)]
    return [(int(year), int(edges[k]), int(edges[k + 1])) for k, year in enumerate(found)]


def _cut(bars: BarArrays, begin: int, end: int) -> BarArrays:
    part = slice(begin, end)
    return BarArrays(
        bars.ts_event[part], bars.open[part], bars.high[part], bars.low[part], bars.close[part], bars.volume[part]
    )


def _first_key(schema: FeatureSchema, sessions: TradingDays) -> str:
    digest = hashlib.sha256(schema.hash.encode())
    for column in (sessions.opens_ns, sessions.closes_ns, sessions.weekdays):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def _next_key(key: str, bars: BarArrays) -> str:
    digest = hashlib.sha256(key.encode())
    for column in (bars.ts_event, bars.open, bars.high, bars.low, bars.close, bars.volume):
        digest.update(column.tobytes())
    return digest.hexdigest()


def _store(path: Path, rows: Floats, state: bytes) -> None:
    """Written beside its place and then moved there, so that a reader never sees half a file."""
    beside = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
    np.savez(beside, rows=rows, state=np.frombuffer(state, dtype=np.uint8))
    beside.replace(path)


def _load(path: Path, size: int, columns: int) -> tuple[Floats, bytes] | None:
    """Rows and end state of a stored year; None where there is none, or where the file is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            rows, state = stored["rows"], stored["state"].tobytes()
    except (FileNotFoundError, zipfile.BadZipFile, KeyError, ValueError, EOFError):
        return None
    return (rows, state) if rows.shape == (size, columns) else None
