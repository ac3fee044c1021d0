"""Parquet tables: their column names, and columns as a frame, with clear errors for damaged files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.domain.errors import UsageError

PARQUET_MAGIC = b"PAR1"


def parquet_types(path: Path) -> dict[str, pl.DataType]:
    """The columns of a Parquet file and their types, from its footer."""
    try:
        return dict(pl.read_parquet_schema(path))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: found no such file") from error
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise CorruptFileError(
            f"{path}: found no sound Parquet footer ({_reason(error)}); is the file cut off?"
        ) from error


def read_parquet_columns(path: Path, names: Iterable[str]) -> pl.DataFrame:
    """The columns ``names`` of a Parquet file; raises ``CorruptFileError`` where one is absent, null or damaged."""
    wanted = list(names)
    absent = [name for name in wanted if name not in parquet_types(path)]
    if absent:
        raise CorruptFileError(f"{path}: found no column {', '.join(absent)}, expected {', '.join(wanted)}")
    try:
        return pl.read_parquet(path, columns=wanted).select(wanted)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise CorruptFileError(f"{path}: the Parquet content is damaged ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
