"""Crypto trade and quote files: Tardis CSV and freqtrade JSON.

- Tardis CSV: header ``exchange,symbol,timestamp,local_timestamp,...`` in microseconds UTC; ``timestamp`` is the
  exchange's stamp (``ts_event``), ``local_timestamp`` the recorder's (``ts_init``). Trades name the aggressor's side.
- freqtrade JSON: a list of ``[ms, id, type, side, price, amount, cost]``, UTC.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.errors import ReadError
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.local_time import check_stamps
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.tables import aggressor_sides, read_table, require_values, tick_block
from grandmodel.data.historical.readers.text import load_text
from grandmodel.data.historical.readers.units import UnitConversion
from grandmodel.data.historical.reading import Reading
from grandmodel.domain.blocks import Schema
from grandmodel.domain.instruments import Instrument

_TARDIS_START = [b"exchange", b"symbol", b"timestamp", b"local_timestamp"]
_TARDIS_TRADES = {"symbol": pl.String, "timestamp": pl.Int64, "local_timestamp": pl.Int64, "side": pl.String,
                  "price": pl.Float64, "amount": pl.Float64}  # fmt: skip
_TARDIS_QUOTES = {"symbol": pl.String, "timestamp": pl.Int64, "local_timestamp": pl.Int64, "ask_amount": pl.Float64,
                  "ask_price": pl.Float64, "bid_price": pl.Float64, "bid_amount": pl.Float64}  # fmt: skip
_FreqtradeRow = tuple[int, str | int | None, str | None, str, float, float, float | None]
_NS_PER_MS = 1_000_000
_NS_PER_US = 1_000
_LAST_MS = 4_102_444_800_000


def is_tardis(first_line: bytes) -> bool:
    """Whether a file with this header is a Tardis CSV of trades or quotes."""
    names = first_line.strip().split(b",")
    return names[:4] == _TARDIS_START and (
        ({b"side", b"price", b"amount"} <= set(names) and b"is_snapshot" not in names)
        or {b"ask_price", b"bid_price", b"ask_amount", b"bid_amount"} <= set(names)
    )


def is_freqtrade(head: bytes) -> bool:
    """Whether a file that begins so is a freqtrade list of trades."""
    start = head.lstrip()[:40].replace(b" ", b"")
    return start.startswith(b"[[") and start[2:3].isdigit()


def read_tardis(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The trades or quotes of a Tardis CSV, one block per symbol."""
    content = load_text(path, options.limits)
    header = content.split(b"\n", 1)[0].decode("latin-1").strip().split(",")
    schema = Schema.TRADES if "side" in header else Schema.QUOTES
    types: dict[str, Any] = _TARDIS_TRADES if schema is Schema.TRADES else _TARDIS_QUOTES
    absent = [name for name in types if name not in header]
    if absent:
        raise CorruptFileError(f"{path}: found no column {absent}, expected those of a Tardis {schema} file")
    frame = read_table(content, path, types, has_header=True, wanted=list(types)).select(list(types))
    filled = [name for name in types if schema is Schema.TRADES or not name.startswith(("ask", "bid"))]
    require_values(frame, filled, path, 2)
    reading = Reading(schema, {}, [], len(frame), names_symbols=True)
    symbols = frame["symbol"]
    counts = {str(row["symbol"]): int(row["count"]) for row in symbols.value_counts().to_dicts()}
    reading.check_symbols(path, counts, instrument, options)
    for symbol in symbols.unique(maintain_order=True).to_list():
        if options.symbols and symbol not in options.symbols:
            continue
        rows = frame if len(counts) == 1 else frame.filter(pl.col("symbol") == symbol)
        conversion = UnitConversion(path, instrument, options, 2)
        try:
            reading.blocks[options.symbol or str(symbol)] = _tardis_block(schema, rows, conversion)
        except ReadError as error:
            reading.refuse(str(symbol), error, len(counts))
        reading.findings.extend(conversion.findings)
    return reading


def _tardis_block(schema: Schema, rows: pl.DataFrame, conversion: UnitConversion) -> NDArray[np.void]:
    stamps = {}
    for name in ("timestamp", "local_timestamp"):
        micros = rows[name].to_numpy()
        stamps[name] = np.where((micros < 0) | (micros > _LAST_MS * 1_000), -1, micros) * _NS_PER_US
        check_stamps(stamps[name], conversion.path, conversion.first_line)
    if schema is Schema.TRADES:
        columns: dict[str, NDArray[Any]] = {
            **conversion.prices({"price": rows["price"].to_numpy()}),
            **conversion.lots({"size": rows["amount"].to_numpy()}),
            "side": aggressor_sides(rows["side"]),
        }
    else:
        prices = {name: rows[name].fill_null(0.0).to_numpy() for name in ("bid_price", "ask_price")}
        sizes = {f"{side}_size": rows[f"{side}_amount"].fill_null(0.0).to_numpy() for side in ("bid", "ask")}
        missing = {name: values == 0 for name, values in prices.items()}
        columns = {**conversion.prices(prices, missing=missing), **conversion.lots(sizes)}
    return tick_block(schema, stamps["timestamp"], columns, ts_init=stamps["local_timestamp"], conversion=conversion)


def read_freqtrade(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The trades of a freqtrade JSON list; the venue's stamp is the only one, so ``ts_init`` equals ``ts_event``."""
    content = load_text(path, options.limits)
    try:
        listed = msgspec.json.decode(content, type=list[_FreqtradeRow])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptFileError(
            f"{path}: found no list of [ms, id, type, side, price, amount, cost] ({error}); is the file cut off?"
        ) from error
    ms = [row[0] for row in listed]
    beyond = [row for row, value in enumerate(ms) if not 0 <= value < _LAST_MS]
    if beyond:
        raise CorruptFileError(f"{path}: entry {beyond[0] + 1}: found {ms[beyond[0]]} ms, expected a time before 2100")
    ts_event = np.array(ms, dtype=np.int64) * _NS_PER_MS
    conversion = UnitConversion(path, instrument, options)
    columns: dict[str, NDArray[Any]] = {
        **conversion.prices({"price": np.array([row[4] for row in listed], dtype=np.float64)}),
        **conversion.lots({"size": np.array([row[5] for row in listed], dtype=np.float64)}),
        "side": aggressor_sides(pl.Series([row[3] for row in listed], dtype=pl.String)),
    }
    block = tick_block(Schema.TRADES, ts_event, columns, conversion=conversion)
    name = options.symbol or str(instrument.id)
    return Reading(Schema.TRADES, {name: block}, conversion.findings, len(listed))
