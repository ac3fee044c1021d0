"""Parquet tables: their column names, and columns as a frame, with clear errors for damaged files.

Read through pyarrow: on a damaged footer polars' own reader may ask for impossible memory and end the whole process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from grandmodel.data.historical.readers.decoding import decoded
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.limits import ReadLimits
from grandmodel.domain.errors import UsageError

PARQUET_MAGIC = b"PAR1"


def parquet_types(path: Path) -> dict[str, pl.DataType]:
    """The columns of a Parquet file and their types, from its footer."""
    try:
        return dict(decoded(lambda: _schema(path), path, "found no sound Parquet footer; is the file cut off?"))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: found no such file") from error


def parquet_metadata(path: Path) -> dict[str, str]:
    """What the footer says about the whole table, by name."""

    def read() -> dict[str, str]:
        with path.open("rb") as file:
            stored = pq.ParquetFile(file).schema_arrow.metadata or {}
        return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in stored.items()}

    return decoded(read, path, "the Parquet footer is damaged")


def read_parquet_columns(path: Path, names: Iterable[str], limits: ReadLimits | None = None) -> pl.DataFrame:
    """The columns ``names`` of a Parquet file; raises ``CorruptFileError`` where one is absent, null or damaged."""
    wanted = list(names)
    absent = [name for name in wanted if name not in parquet_types(path)]
    if absent:
        raise CorruptFileError(f"{path}: found no column {', '.join(absent)}, expected {', '.join(wanted)}")
    return decoded(lambda: _columns(path, wanted, limits), path, "the Parquet content is damaged")


def _schema(path: Path) -> dict[str, pl.DataType]:
    with path.open("rb") as file:
        return dict(pl.DataFrame(pq.ParquetFile(file).schema_arrow.empty_table()).schema)


def parquet_frame(
    source: BinaryIO, columns: list[str] | None = None, limits: ReadLimits | None = None, where: Path | str = "Parquet"
) -> pl.DataFrame:
    """A whole Parquet table, or some of its columns; raises what pyarrow raises, and ``ReadError`` beyond ``limits``.

    Arrow itself does not look whether text is text; polars takes that for granted and would end the process over it.
    """
    file = pq.ParquetFile(source)
    _check_size(file, columns, limits or ReadLimits(), where)
    table = file.read(columns=columns, use_threads=False)
    table.validate(full=True)
    return pl.DataFrame(table)


def parquet_pieces(
    source: BinaryIO, rows_per_piece: int, limits: ReadLimits, where: Path | str
) -> Iterator[pl.DataFrame]:
    """A Parquet table some rows at a time; raises as ``parquet_frame`` does."""
    file = pq.ParquetFile(source, pre_buffer=False)
    _check_size(file, None, limits, where)
    for batch in file.iter_batches(rows_per_piece, use_threads=False):
        batch.validate(full=True)
        yield pl.DataFrame(pa.table(batch))


def _check_size(file: pq.ParquetFile, columns: list[str] | None, bounds: ReadLimits, where: Path | str) -> None:
    if file.metadata.num_columns > bounds.columns:
        raise bounds.refusal("columns", where, f"{file.metadata.num_columns:,} columns", file.metadata.num_columns)
    # A run of one value takes a few bytes however long it is: eight bytes a value is what the table takes here.
    size = file.metadata.num_rows * 8 * (len(columns) if columns is not None else file.metadata.num_columns)
    size = max(
        size, sum(file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups))
    )
    if size > bounds.bytes:
        raise bounds.refusal("bytes", where, f"a table of {file.metadata.num_rows:,} rows and {size:,} bytes", size)


def _columns(path: Path, wanted: list[str], limits: ReadLimits | None) -> pl.DataFrame:
    with path.open("rb") as file:
        return parquet_frame(file, wanted, limits, path).select(wanted)
