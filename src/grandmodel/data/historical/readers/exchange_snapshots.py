"""Exchange snapshots: the twice-a-second state of a Chinese futures contract (CFFEX and kin), as Parquet.

A snapshot holds the last price, the cumulative volume and the best bid and ask. It becomes a trade of the volume since
the snapshot before, at the last price, and a quote right after it with the same stamp: what happened between two
snapshots is not known, so several trades show as one. ``action_time`` is an integer HHMMSSmmm on the exchange's clock.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.errors import ReadError
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.local_time import utc_from_local
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.parquet_files import read_parquet_columns
from grandmodel.data.historical.readers.units import UnitConversion
from grandmodel.data.historical.reading import Finding, Reading, Treatment
from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Block, BookSide, Flag, Schema, empty_block
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.time import NS_PER_DAY, NS_PER_SECOND

SNAPSHOT_COLUMNS = (
    "code", "trading_date", "action_date", "action_time", "price", "settle", "total_volume", "bid_px_1", "bid_qty_1", "ask_px_1", "ask_qty_1"
)  # fmt: skip
"""What tells such a table: the names of the columns read."""

SNAPSHOT_ZONE = "Asia/Shanghai"
"""The clock of the Chinese futures exchanges; it has had no daylight saving since 1991."""

_NS_PER_MS = 1_000_000


def read_exchange_snapshots(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """Trades and quotes, interleaved, of each contract in a Parquet table of exchange snapshots.

    The cumulative volume starts anew with each ``trading_date``. Raises ``CorruptFileError`` where it falls within one,
    or where a stamp is no HHMMSSmmm.
    """
    frame = read_parquet_columns(path, SNAPSHOT_COLUMNS, options.limits)
    codes = frame["code"]
    reading = Reading(Schema.QUOTES, {}, [], len(frame), names_symbols=True)
    counts = {str(row["code"]): int(row["count"]) for row in codes.value_counts().to_dicts()}
    reading.check_symbols(path, counts, instrument, options)
    for code in codes.unique(maintain_order=True).to_list():
        if options.symbols and code not in options.symbols:
            continue
        rows = frame if len(counts) == 1 else frame.filter(pl.col("code") == code)
        conversion = UnitConversion(path, instrument, options)
        try:
            reading.blocks[options.symbol or str(code)] = _contract_block(rows, conversion)
        except ReadError as error:
            reading.refuse(str(code), error, len(counts))
        reading.findings.extend(conversion.findings)
    return reading


def _contract_block(rows: pl.DataFrame, conversion: UnitConversion) -> Block:
    path = conversion.path
    ts_event = _stamps(rows, path, conversion.options)
    total = rows["total_volume"].cast(pl.Int64).to_numpy()
    traded = np.diff(total, prepend=0)
    days = rows["trading_date"].to_numpy()
    new_day = np.concatenate(([True], days[1:] != days[:-1]))[: len(rows)]
    traded[new_day] = total[new_day]
    if (traded < 0).any():
        row = int(np.argmax(traded < 0))
        raise CorruptFileError(
            f"{path}: row {row + 1}: found the day's volume falling from {int(total[row - 1])} to {int(total[row])}, "
            "expected a cumulative volume in the order of time"
        )
    floats = {
        "price": rows["price"].to_numpy(),
        "bid_price": rows["bid_px_1"].to_numpy(),
        "ask_price": rows["ask_px_1"].to_numpy(),
    }
    ticks = conversion.prices(floats, missing={name: values == 0 for name, values in floats.items()})
    sizes = {"bid_size": rows["bid_qty_1"].to_numpy(), "ask_size": rows["ask_qty_1"].to_numpy(), "size": traded}
    lots = conversion.lots({name: values.astype(np.int64) for name, values in sizes.items()})
    _note_facts(rows, traded, new_day, conversion)
    return _interleaved(ts_event, ticks, lots, conversion)


def _stamps(rows: pl.DataFrame, path: Path, options: TickOptions) -> NDArray[np.int64]:
    day_text = rows["action_date"].cast(pl.String)
    days = day_text.str.to_date("%Y%m%d", strict=False)
    clock = rows["action_time"].cast(pl.Int64).to_numpy()
    hours, minutes = clock // 10_000_000, clock // 100_000 % 100
    seconds, ms = clock // 1_000 % 100, clock % 1_000
    wrong = (clock < 0) | (hours > 23) | (minutes > 59) | (seconds > 59) | days.is_null().to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        raise CorruptFileError(
            f"{path}: row {row + 1}: found the date {day_text[row]} and time {int(clock[row])}, expected YYYYMMDD and HHMMSSmmm"
        )
    since_midnight = ((hours * 60 + minutes) * 60 + seconds) * NS_PER_SECOND + ms * _NS_PER_MS
    wall = days.cast(pl.Int64).to_numpy() * NS_PER_DAY + since_midnight
    return utc_from_local(wall, options.time_zone or SNAPSHOT_ZONE, path)


def _note_facts(
    rows: pl.DataFrame, traded: NDArray[np.int64], new_day: NDArray[np.bool_], conversion: UnitConversion
) -> None:
    conversion.found(
        "quote_only_snapshots",
        Treatment.NOTED,
        traded == 0,
        "nothing traded since the snapshot before; these give a quote and no trade",
    )
    conversion.found(
        "opening_auction_trades",
        Treatment.NOTED,
        new_day & (traded > 0),
        "the first snapshot of a day already has volume: the opening auction's, kept as one trade at its price",
    )
    settled = rows["settle"].fill_null(0.0).to_numpy() != 0
    conversion.found(
        "snapshots_after_settlement",
        Treatment.NOTED,
        settled,
        "snapshots that carry a settlement price are sent minutes after the close; they repeat the closing quote",
    )


def _interleaved(
    ts_event: NDArray[np.int64],
    ticks: dict[str, NDArray[np.int64]],
    lots: dict[str, NDArray[np.int32]],
    conversion: UnitConversion,
) -> Block:
    """A trade (where something traded) and a quote per snapshot, in the order of the snapshots."""
    usable = ~conversion.impossible if conversion.impossible is not None else np.ones(len(ts_event), dtype=np.bool_)
    has_trade = usable & (lots["size"] > 0) & (ticks["price"] != UNDEFINED_PRICE)
    unpriced = usable & (lots["size"] > 0) & ~has_trade
    if unpriced.any():
        conversion.findings.append(
            Finding(
                "volume_without_price",
                Treatment.DROPPED,
                int(unpriced.sum()),
                "the volume rose but the last price is 0; no trade can be made of it",
            )
        )
    source = np.concatenate((np.flatnonzero(has_trade), np.flatnonzero(usable)))
    is_quote = np.concatenate((np.zeros(int(has_trade.sum()), np.int8), np.ones(int(usable.sum()), np.int8)))
    order = np.lexsort((is_quote, source))
    source, quote = source[order], is_quote[order] == 1
    block = empty_block(Schema.QUOTES, len(source))
    block["ts_event"] = ts_event[source]
    block["ts_init"] = ts_event[source]
    block["sequence"] = np.arange(len(source))
    block["side"] = BookSide.NONE
    block["action"] = np.where(quote, np.uint8(Action.QUOTE), np.uint8(Action.TRADE))
    filled: dict[str, Any] = {**ticks, **lots}
    for name in ("bid_price", "ask_price", "bid_size", "ask_size", "price", "size"):
        column = block[name]
        rows = ~quote if name in {"price", "size"} else quote
        column[rows] = filled[name][source[rows]]
    if conversion.repaired is not None:
        block["flags"][conversion.repaired[source]] |= np.uint32(Flag.REPAIRED)
    return block
