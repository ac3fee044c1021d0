"""CSV bytes to typed columns, and columns to a block of trades or quotes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.historical.readers.decoding import decoded
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.fixed_stamps import wall_clock_ns
from grandmodel.data.historical.readers.units import UnitConversion
from grandmodel.data.historical.reading import Treatment
from grandmodel.domain.blocks import Action, Block, BookSide, Flag, Schema, empty_block
from grandmodel.domain.errors import UsageError

_SEQUENCE_LIMIT = 2**32
_FORMS = {
    "%Y-%m-%dT%H:%M:%S%.f": "YYYY-MM-DDThh:mm:ss*",
    "%Y-%m-%d %H:%M:%S%.f": "YYYY-MM-DD hh:mm:ss*",
    "%Y%m%d %H%M%S%3f": "YYYYMMDD hhmmssfff",
    "%Y%m%d %H:%M:%S%.3f": "YYYYMMDD hh:mm:ss.fff",
    "%d.%m.%Y %H:%M:%S%.f": "DD.MM.YYYY hh:mm:ss*",
}
"""Patterns whose usual spelling is read without the general parser."""


def read_table(
    content: bytes,
    path: Path,
    types: dict[str, Any],
    *,
    has_header: bool = False,
    wanted: list[str] | None = None,
    separator: str = ",",
) -> pl.DataFrame:
    """The columns ``wanted`` of CSV ``content`` (all by default), of the types given by name.

    Without a header, ``types`` lists every column of the file in order. Raises ``CorruptFileError`` where a value does
    not parse or a row has too many columns; a missing value stays null for the caller to judge.
    """
    frame = decoded(
        lambda: pl.read_csv(
            io.BytesIO(content),
            has_header=has_header,
            separator=separator,
            columns=wanted if has_header else ([list(types).index(name) for name in wanted] if wanted else None),
            schema=None if has_header else types,
            schema_overrides=types if has_header else None,
            raise_if_empty=False,
        ),
        path,
        "the table does not parse",
    )
    absent = [name for name in wanted or types if name not in frame.columns]
    if absent:
        raise CorruptFileError(f"{path}: found no column {', '.join(absent)}, expected {', '.join(wanted or types)}")
    return frame


def require_values(frame: pl.DataFrame, names: list[str], path: Path, first_line: int) -> None:
    """Raise ``CorruptFileError`` naming the first line where a column of ``names`` has no value."""
    for name in names:
        nulls = frame[name].is_null()
        if nulls.any():
            row = nulls.arg_max()
            raise CorruptFileError(
                f"{path}: line {(row or 0) + first_line}: found no {name}, expected a value on every row; the line is "
                "cut off or the columns are others"
            )


def parsed_stamps(texts: pl.Series, pattern: str, path: Path, first_line: int) -> NDArray[np.int64]:
    """Wall-clock nanoseconds (T,) of date-time ``texts`` after a strptime ``pattern``."""
    form = _FORMS.get(pattern)
    stamps = wall_clock_ns(texts, form) if form else None
    if stamps is not None:
        return stamps
    try:
        parsed = texts.str.to_datetime(pattern, time_unit="ns", strict=False)
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"{path}: found the time form {pattern!r}, expected a strptime pattern ({error})") from error
    if parsed.null_count():
        row = parsed.is_null().arg_max() or 0
        raise CorruptFileError(
            f"{path}: line {row + first_line}: found the time {str(texts[row])[:60]!r}, expected the form {pattern}"
        )
    return parsed.dt.replace_time_zone(None).cast(pl.Int64).to_numpy()


def tick_block(
    schema: Schema,
    ts_event: NDArray[np.int64],
    columns: dict[str, NDArray[Any]],
    *,
    ts_init: NDArray[np.int64] | None = None,
    conversion: UnitConversion,
) -> Block:
    """A block of trades or quotes from columns (T,) of ticks and lots; leaves out the rows found impossible.

    ``action`` and ``side`` follow the schema unless ``columns`` holds them. ``sequence`` is the row's place in the file
    unless given: formats without a number of their own keep the order of their rows.
    """
    rows = len(ts_event)
    block = empty_block(schema, rows)
    block["ts_event"] = ts_event
    block["ts_init"] = ts_event if ts_init is None else ts_init
    block["action"] = Action.TRADE if schema is Schema.TRADES else Action.QUOTE
    block["side"] = BookSide.NONE
    block["sequence"] = np.arange(rows, dtype=np.int64) % _SEQUENCE_LIMIT
    for name, values in columns.items():
        block[name] = values
    if conversion.repaired is not None and conversion.repaired.any():
        block["flags"][conversion.repaired] |= np.uint32(Flag.REPAIRED)
    if conversion.impossible is not None and conversion.impossible.any():
        block = block[~conversion.impossible]
    return block


def aggressor_sides(texts: pl.Series) -> NDArray[np.uint8]:
    """``BookSide`` (T,) of words for the aggressor: buy, bid, b or sell, ask, s, a, in any case."""
    lower = texts.cast(pl.String).str.to_lowercase()
    sides = np.full(len(texts), BookSide.NONE, dtype=np.uint8)
    sides[lower.is_in(["b", "buy", "bid", "buyer"]).fill_null(value=False).to_numpy()] = BookSide.BID
    sides[lower.is_in(["a", "s", "sell", "ask", "seller"]).fill_null(value=False).to_numpy()] = BookSide.ASK
    return sides


def note_unknown_sizes(conversion: UnitConversion, rows: int) -> None:
    """Note that a source of quotes gives no sizes: they are 0 in the block, which means unknown there."""
    conversion.found(
        "sizes_unknown",
        Treatment.NOTED,
        np.ones(rows, dtype=np.bool_),
        "the source gives no size with its quotes; sizes are 0",
    )
