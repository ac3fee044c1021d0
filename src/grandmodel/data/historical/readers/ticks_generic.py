"""Trades and quotes in a table of one's own (CSV or Parquet), and the Parquet files of nautilus_trader.

A table of one's own is read by an explicit mapping: ``TickOptions.columns`` says which column means what and how time is
written. Nothing about the columns is guessed. nautilus_trader's tables name themselves: prices and sizes are
int64 times 10^9, stamps nanoseconds UTC.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.readers.compressed import load_head
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.fixed_stamps import wall_clock_ns
from grandmodel.data.historical.readers.limits import ReadLimits
from grandmodel.data.historical.readers.local_time import check_stamps, utc_from_local
from grandmodel.data.historical.readers.options import TickColumns, TickOptions
from grandmodel.data.historical.readers.parquet_files import (
    PARQUET_MAGIC,
    parquet_metadata,
    parquet_types,
    read_parquet_columns,
)
from grandmodel.data.historical.readers.tables import (
    aggressor_sides,
    parsed_stamps,
    read_table,
    require_values,
    tick_block,
)
from grandmodel.data.historical.readers.text import load_text
from grandmodel.data.historical.readers.units import UnitConversion
from grandmodel.data.historical.reading import Reading
from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Block, Schema
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument

NAUTILUS_QUOTES = ("bid_price", "ask_price", "bid_size", "ask_size", "ts_event", "ts_init")
NAUTILUS_TRADES = ("price", "size", "aggressor_side", "ts_event", "ts_init")
NAUTILUS_DECIMALS = 9

_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_LARGEST_STAMP_NS = 2**62
_PRICES: tuple[str, ...] = ("price", "bid_price", "ask_price")
_SIZES: tuple[str, ...] = ("size", "bid_size", "ask_size")


def is_nautilus(types: dict[str, pl.DataType]) -> bool:
    """Whether a Parquet file with these columns is a table of nautilus_trader's quotes or trades, in integers."""
    for names in (NAUTILUS_QUOTES, NAUTILUS_TRADES):
        if set(names) <= set(types):
            prices = [types[name] for name in names if name.endswith(("price", "size"))]
            return all(kind.is_integer() for kind in prices)
    return False


def read_nautilus_parquet(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The quotes or trades of a nautilus_trader Parquet file with 64-bit fixed-point prices."""
    types = parquet_types(path)
    is_quotes = set(NAUTILUS_QUOTES) <= set(types)
    names = NAUTILUS_QUOTES if is_quotes else NAUTILUS_TRADES
    frame = read_parquet_columns(path, names, options.limits)
    require_values(frame, list(names), path, 1)
    conversion = UnitConversion(path, instrument, options)
    prices = {name: _signed(frame[name], path) for name in _PRICES if name in names}
    sizes = {name: _signed(frame[name], path) for name in _SIZES if name in names}
    missing = {name: values == 0 for name, values in prices.items() if name != "price"}
    columns: dict[str, NDArray[Any]] = {
        **conversion.prices(prices, decimals=NAUTILUS_DECIMALS, missing=missing),
        **conversion.lots(sizes, decimals=NAUTILUS_DECIMALS),
    }
    if not is_quotes:
        # nautilus_trader's AggressorSide: 0 none, 1 buyer, 2 seller.
        codes = frame["aggressor_side"].cast(pl.String)
        columns["side"] = aggressor_sides(codes.replace({"1": "buy", "2": "sell"}))
    stamps = {name: _signed(frame[name], path) for name in ("ts_event", "ts_init")}
    for values in stamps.values():
        check_stamps(values, path, 1)
    schema = Schema.QUOTES if is_quotes else Schema.TRADES
    block = tick_block(schema, stamps["ts_event"], columns, ts_init=stamps["ts_init"], conversion=conversion)
    reading = Reading(schema, {options.symbol or str(instrument.id): block}, conversion.findings, len(frame))
    named = parquet_metadata(path).get("instrument_id", "")  # such as AUD/USD.SIM
    if named:
        reading.check_symbols(path, {named: len(frame)}, instrument, options)
    return reading


def read_mapped_ticks(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The trades or quotes of a CSV (with a header) or Parquet table, by ``options.columns``.

    Stamps without a zone need ``options.time_zone``; whole numbers need a ``time_unit``. A table with a trade price and
    both quote prices gives rows of trades that carry the quote.
    """
    columns = options.columns
    if columns is None:
        raise AmbiguousError(f"{path}: found a table of unknown columns; say which column means what (--columns)")
    wanted = _wanted(columns, path)
    frame, first_line = _table(path, wanted, columns, options.limits)
    require_values(frame, [columns.ts_event], path, first_line)
    has_trade, has_quote = bool(columns.price), bool(columns.bid_price)
    schema = Schema.QUOTES if has_quote else Schema.TRADES
    reading = Reading(schema, {}, [], len(frame))
    groups: list[tuple[str, pl.DataFrame]] = [(options.symbol or str(instrument.id), frame)]
    if columns.symbol:
        require_values(frame, [columns.symbol], path, first_line)
        groups = [
            (str(name), frame.filter(pl.col(columns.symbol) == name))
            for name in frame[columns.symbol].unique(maintain_order=True).to_list()
        ]
        reading.names_symbols = True
        reading.check_symbols(path, {name: len(rows) for name, rows in groups}, instrument, options)
    for symbol, rows in groups:
        if options.symbols and symbol not in options.symbols:
            continue
        conversion = UnitConversion(path, instrument, options, first_line)
        try:
            reading.blocks[symbol] = _mapped_block(rows, columns, conversion, schema, has_trade=has_trade)
        except ReadError as error:
            reading.refuse(symbol, error, len(groups))
        reading.findings.extend(conversion.findings)
    return reading


def _wanted(columns: TickColumns, path: Path) -> dict[str, str]:
    """Column name by field, for the fields that the mapping names."""
    if bool(columns.bid_price) != bool(columns.ask_price) or not (columns.price or columns.bid_price):
        raise UsageError(
            f"{path}: found a mapping of price {columns.price!r}, bid_price {columns.bid_price!r}, ask_price "
            f"{columns.ask_price!r}; expected a trade price, or a bid and an ask price, or all three"
        )
    fields = ("ts_event", "ts_init", "symbol", "sequence", "side", *_PRICES, *_SIZES)
    named = {name: str(getattr(columns, name)) for name in fields if getattr(columns, name)}
    if len(set(named.values())) != len(named):
        raise UsageError(f"{path}: found one column mapped twice ({named}), expected each once")
    return named


def _table(path: Path, wanted: dict[str, str], columns: TickColumns, limits: ReadLimits) -> tuple[pl.DataFrame, int]:
    """The columns wanted, and the line of the first row."""
    names = list(wanted.values())
    if load_head(path, 4) == PARQUET_MAGIC:
        return read_parquet_columns(path, names, limits), 1
    types: dict[str, Any] = {}
    for name, column in wanted.items():
        whole_time = name in {"ts_event", "ts_init"} and columns.time_unit in _UNITS_NS
        if name in {"ts_event", "ts_init", "symbol", "side"}:
            types[column] = pl.Int64 if whole_time else pl.String
        else:
            types[column] = pl.Int64 if name == "sequence" else pl.Float64
    content = load_text(path, limits).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    header = content.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    if max(map(header.count, ",;\t|")) >= limits.columns:
        raise limits.refusal("columns", path, "more columns than that in line 1", max(map(header.count, ",;\t|")) + 1)
    separator = max(",;\t|", key=header.count)
    absent = [name for name in names if name not in header.split(separator)]
    if absent:
        raise UsageError(f"{path}: found no column {', '.join(absent)} in the header {header[:200]!r} (--columns)")
    return read_table(content, path, types, has_header=True, wanted=names, separator=separator), 2


def _mapped_block(
    rows: pl.DataFrame, columns: TickColumns, conversion: UnitConversion, schema: Schema, *, has_trade: bool
) -> Block:
    floats = {
        name: _float_column(rows[str(getattr(columns, name))], conversion)
        for name in (*_PRICES, *_SIZES)
        if getattr(columns, name)
    }
    prices = {name: values for name, values in floats.items() if name in _PRICES}
    missing = {name: np.isnan(values) for name, values in prices.items()}
    for name in ("bid_price", "ask_price"):
        if name in missing:
            missing[name] |= prices[name] == 0
    if schema is Schema.TRADES:
        missing = {}
    filled: dict[str, NDArray[Any]] = {**conversion.prices(prices, missing=missing)}
    sizes = {name: np.nan_to_num(values, nan=0.0) for name, values in floats.items() if name in _SIZES}
    if sizes:
        filled.update(conversion.lots(sizes))
    if columns.side:
        filled["side"] = aggressor_sides(rows[columns.side])
    if columns.sequence:
        numbers = rows[columns.sequence].cast(pl.Int64, strict=False)
        if numbers.null_count() or (len(numbers) and not ((numbers >= 0) & (numbers < 2**32)).all()):
            raise CorruptFileError(f"{conversion.path}: found {columns.sequence} values outside 0 to 2^32 - 1")
        filled["sequence"] = numbers.to_numpy()
    if has_trade and schema is Schema.QUOTES:
        has_print = filled["price"] != UNDEFINED_PRICE
        filled["action"] = np.where(has_print, np.uint8(Action.TRADE), np.uint8(Action.QUOTE))
    ts_event = _stamps(rows[columns.ts_event], columns, conversion)
    ts_init = _stamps(rows[columns.ts_init], columns, conversion) if columns.ts_init else None
    return tick_block(schema, ts_event, filled, ts_init=ts_init, conversion=conversion)


def _float_column(values: pl.Series, conversion: UnitConversion) -> NDArray[np.float64]:
    """Numbers of a column; null is NaN, text that is no number is refused."""
    if values.dtype == pl.Float64:
        return values.fill_null(np.nan).to_numpy()
    numbers = values.cast(pl.Float64, strict=False)
    if numbers.null_count() > values.null_count():
        row = int((numbers.is_null() & values.is_not_null()).arg_max() or 0)
        raise CorruptFileError(
            f"{conversion.path}: line {row + conversion.first_line}: found {values.name} {str(values[row])[:40]!r}, expected a number"
        )
    return numbers.fill_null(np.nan).to_numpy()


def _stamps(values: pl.Series, columns: TickColumns, conversion: UnitConversion) -> NDArray[np.int64]:
    """Nanoseconds UTC of one time column."""
    path, line, zone = conversion.path, conversion.first_line, conversion.options.time_zone
    kind = values.dtype
    if isinstance(kind, pl.Datetime):
        if values.null_count():
            raise CorruptFileError(f"{path}: found rows without a time in {values.name}")
        nanos = values.dt.cast_time_unit("ns").dt.replace_time_zone(None) if kind.time_zone is None else values
        stamps = nanos.dt.timestamp("ns").to_numpy()
        if kind.time_zone is None:
            return utc_from_local(stamps, _needed(zone, values.name, path), path, line)
        check_stamps(stamps, path, line)
        return np.asarray(stamps, dtype=np.int64)
    if kind.is_integer():
        if columns.time_unit not in _UNITS_NS:
            raise AmbiguousError(
                f"{path}: {values.name} holds whole numbers; say their unit (time_unit ns, us, ms or s)"
            )
        unit = _UNITS_NS[columns.time_unit]
        whole = _signed(values, path)
        inside = np.abs(whole) <= _LARGEST_STAMP_NS // unit
        stamps = np.where(inside, whole, -1) * unit
        check_stamps(stamps, path, line)
        return stamps
    texts = values.cast(pl.String)
    if not columns.time_unit or columns.time_unit in _UNITS_NS:
        raise AmbiguousError(f"{path}: {values.name} holds text; say its form (time_unit 'iso' or a strptime pattern)")
    if columns.time_unit != "iso":
        if "%z" in columns.time_unit:
            return _offset_stamps(texts, columns.time_unit, path, line)
        return utc_from_local(
            parsed_stamps(texts, columns.time_unit, path, line), _needed(zone, values.name, path), path, line
        )
    texts = texts.str.replace(" ", "T").str.replace("Z$", "+00:00")
    if texts.str.ends_with("+00:00").all():
        plain = wall_clock_ns(texts.str.head(-6), "YYYY-MM-DDThh:mm:ss*")
        if plain is not None:
            check_stamps(plain, path, line)
            return plain
    if texts.str.contains(r"[+-]\d{2}:?\d{2}$").all():
        return _offset_stamps(texts, "%Y-%m-%dT%H:%M:%S%.f%:z", path, line)
    return utc_from_local(
        parsed_stamps(texts, "%Y-%m-%dT%H:%M:%S%.f", path, line), _needed(zone, values.name, path), path, line
    )


def _offset_stamps(texts: pl.Series, pattern: str, path: Path, first_line: int) -> NDArray[np.int64]:
    try:
        parsed = texts.str.to_datetime(pattern, time_unit="ns", time_zone="UTC", strict=False)
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"{path}: found the time form {pattern!r}, expected a strptime pattern ({error})") from error
    if parsed.null_count():
        row = int(parsed.is_null().arg_max() or 0)
        raise CorruptFileError(
            f"{path}: line {row + first_line}: found the time {str(texts[row])[:60]!r}, expected the form {pattern}"
        )
    stamps = parsed.dt.timestamp("ns").to_numpy()
    check_stamps(stamps, path, first_line)
    return np.asarray(stamps, dtype=np.int64)


def _needed(zone: str, column: str, path: Path) -> str:
    if not zone:
        raise AmbiguousError(f"{path}: {column} names no zone; say it (--time-zone America/New_York, UTC, -05:00)")
    return zone


def _signed(values: pl.Series, path: Path) -> NDArray[np.int64]:
    """A whole-number column as int64; a value beyond it is refused."""
    signed = values.cast(pl.Int64, strict=False)
    if signed.null_count():
        row = int(signed.is_null().arg_max() or 0)
        raise CorruptFileError(
            f"{path}: row {row + 1}: found {values.name} {values[row]}, expected a number below 2^63"
        )
    return signed.to_numpy()
