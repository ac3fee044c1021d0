"""Parquet tables: their column names, and columns as a frame, with clear errors for damaged files.

Read through pyarrow: on a damaged footer polars' own reader may ask for impossible memory and end the whole process.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow.parquet as pq

from grandmodel.data.historical.readers.decoding import decoded
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.domain.errors import UsageError

PARQUET_MAGIC = b"PAR1"


def parquet_types(path: Path) -> dict[str, pl.DataType]:
    """The columns of a Parquet file and their types, from its footer."""
    try:
        return dict(decoded(lambda: _schema(path), path, "found no sound Parquet footer; is the file cut off?"))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: found no such file") from error


def read_parquet_columns(path: Path, names: Iterable[str]) -> pl.DataFrame:
    """The columns ``names`` of a Parquet file; raises ``CorruptFileError`` where one is absent, null or damaged."""
    wanted = list(names)
    absent = [name for name in wanted if name not in parquet_types(path)]
    if absent:
        raise CorruptFileError(f"{path}: found no column {', '.join(absent)}, expected {', '.join(wanted)}")
    return decoded(lambda: _columns(path, wanted), path, "the Parquet content is damaged")


def _schema(path: Path) -> dict[str, pl.DataType]:
    with path.open("rb") as file:
        return dict(pl.DataFrame(pq.ParquetFile(file).schema_arrow.empty_table()).schema)


def parquet_frame(source: BinaryIO, columns: list[str] | None = None) -> pl.DataFrame:
    """A whole Parquet table, or some of its columns; raises what pyarrow raises.

    Arrow itself does not look whether text is text; polars takes that for granted and would end the process over it.
    """
    table = pq.ParquetFile(source).read(columns=columns, use_threads=False)
    table.validate(full=True)
    return pl.DataFrame(table)


def _columns(path: Path, wanted: list[str]) -> pl.DataFrame:
    with path.open("rb") as file:
        return parquet_frame(file, wanted).select(wanted)
