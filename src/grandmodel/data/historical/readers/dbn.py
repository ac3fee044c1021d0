"""Databento's DBN files: market by order, best quotes, trades, bars and instrument definitions.

The metadata at the head of a file is decoded by Databento's own package; the records after it are of one fixed size, so
they are viewed as a numpy array without a loop. Prices are integers of 10^-9 and become ticks exactly. ``ts_event`` is
the venue's stamp, ``ts_init`` Databento's receive stamp. A bar in DBN is stamped at its **open**; here it becomes its
close. The MBO table that Databento users export as Parquet is read too. Definitions are no market data: they are read by
``read_definitions``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import databento_dbn
import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.readers.compressed import load_bytes
from grandmodel.data.historical.readers.decoding import decoded
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.local_time import check_stamps
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.parquet_files import read_parquet_columns
from grandmodel.data.historical.readers.units import UnitConversion
from grandmodel.data.historical.reading import Finding, Reading, Treatment
from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Block, Flag, Schema, empty_block
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import MICROS_PER_UNIT, Instrument
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND
from grandmodel.kernels import kernel

DBN_MAGIC = b"DBN"
PRICE_DECIMALS = 9
PARQUET_COLUMNS = ("ts_recv", "ts_event", "sequence", "order_id", "action", "side", "price", "size", "flags")
"""The columns by which an exported MBO table is told."""

_VERSIONS = (1, 2, 3)
_DAMAGED = "the DBN content does not decode"
_DEFINITION_BYTES = {1: 360, 2: 400, 3: 520}
_UNDEFINED_STAMP = 2**64 - 1
_MAX_SEQUENCE = 2**32 - 1
_ACTIONS = b"ACMRTFN"
_SIDES = b"ABN"
_F_LAST, _F_SNAPSHOT, _F_MAYBE_BAD_BOOK = 128, 32, 4

_HEADER = [("length", "u1"), ("rtype", "u1"), ("publisher_id", "<u2"), ("instrument_id", "<u4"), ("ts_event", "<u8")]
_MBO = np.dtype([
    *_HEADER, ("order_id", "<u8"), ("price", "<i8"), ("size", "<u4"), ("flags", "u1"), ("channel_id", "u1"),
    ("action", "u1"), ("side", "u1"), ("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4"),
])  # fmt: skip
_TRADE = np.dtype([
    *_HEADER, ("price", "<i8"), ("size", "<u4"), ("action", "u1"), ("side", "u1"), ("flags", "u1"), ("depth", "u1"),
    ("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4"),
])  # fmt: skip
_LEVEL = [("bid_price", "<i8"), ("ask_price", "<i8"), ("bid_size", "<u4"), ("ask_size", "<u4"), ("bid_count", "<u4"),
          ("ask_count", "<u4")]  # fmt: skip
_MBP_1 = np.dtype([*_TRADE.descr, *_LEVEL])
_MBP_10 = np.dtype([*_MBP_1.descr, ("deeper", "V288")])
_OHLCV = np.dtype([*_HEADER, ("open", "<i8"), ("high", "<i8"), ("low", "<i8"), ("close", "<i8"), ("volume", "<u8")])

_RTYPE_TRADE, _RTYPE_MBP_1, _RTYPE_MBP_10, _RTYPE_DEFINITION, _RTYPE_MBO = 0, 1, 10, 19, 160
_BAR_SPANS_NS = {32: NS_PER_SECOND, 33: NS_PER_MINUTE, 34: NS_PER_HOUR, 35: NS_PER_DAY}
_LAYOUTS = {
    _RTYPE_MBO: _MBO, _RTYPE_TRADE: _TRADE, _RTYPE_MBP_1: _MBP_1, _RTYPE_MBP_10: _MBP_10,
    **dict.fromkeys(_BAR_SPANS_NS, _OHLCV),
}  # fmt: skip
_SIDE_RECORDS = {18, 19, 20, 21, 22, 23, 24}
"""Records beside the market data: status, definition, imbalance, error, symbol mapping, system, statistics."""


@dataclass(frozen=True, slots=True)
class ContractDefinition:
    """One instrument definition of a DBN file."""

    instrument: Instrument
    """Named by the raw symbol (``ESU4``), with the tick size and tick value of the definition."""
    asset: str
    """The product: ``ES``."""
    multiplier: Decimal
    """Currency units per point of price and contract."""
    activation_ns: int
    expiration_ns: int
    ts_init: int
    """When this definition was received; a file may hold one contract's definition several times."""


def read_dbn(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The rows of a DBN file (mbo, mbp-1, tbbo, mbp-10, trades, ohlcv), one block per symbol, in file order.

    mbo gives ``book`` blocks, mbp and tbbo ``quotes`` blocks in which trades are interleaved, trades ``trades`` and
    ohlcv ``bars``. Raises ``CorruptFileError`` for a damaged file or an unknown version, ``UsageError`` for a schema
    that holds no such rows.
    """
    content = load_bytes(path, options.limits)
    metadata, start = _metadata(content, path)
    records, rtype, side_records = _records(content, start, path, ts_out=metadata.ts_out)
    findings: list[Finding] = []
    if side_records:
        findings.append(
            Finding("side_records", Treatment.NOTED, side_records, "records of the stream itself carry no market data")
        )
    if rtype is None:
        return Reading(_schema_of_empty(metadata), {}, findings, 0)
    schema = {_RTYPE_MBO: Schema.BOOK, _RTYPE_TRADE: Schema.TRADES}.get(rtype, Schema.QUOTES)
    if rtype in _BAR_SPANS_NS:
        schema = Schema.BARS
    reading = Reading(schema, {}, findings, len(records), names_symbols=True)
    by_symbol = dict(_by_symbol(records, metadata))
    reading.check_symbols(path, {symbol: len(rows) for symbol, rows in by_symbol.items()}, instrument, options)
    for symbol, rows in by_symbol.items():
        if options.symbols and symbol not in options.symbols:
            continue
        conversion = UnitConversion(path, instrument, options)
        try:
            if rtype == _RTYPE_MBO:
                block = _book_block(rows, conversion)
            elif rtype in _BAR_SPANS_NS:
                block = _bar_block(rows, conversion, _BAR_SPANS_NS[rtype])
            else:
                block = _tick_block(rows, conversion, schema)
        except ReadError as error:
            reading.refuse(symbol, error, len(by_symbol))
            continue
        reading.blocks[symbol] = block
        findings.extend(conversion.findings)
    return reading


def read_dbn_parquet(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The market-by-order rows of a Parquet table with DBN's field names and prices in points."""
    frame = read_parquet_columns(path, PARQUET_COLUMNS, options.limits)
    conversion = UnitConversion(path, instrument, options)
    if any(frame[name].null_count() for name in PARQUET_COLUMNS if name != "price"):
        raise CorruptFileError(f"{path}: found rows without a value, expected every field but the price on each")
    rows = np.zeros(len(frame), dtype=_MBO)
    for name in ("ts_recv", "ts_event", "sequence", "order_id", "size", "flags"):
        rows[name] = _whole_column(frame[name], rows.dtype[name], path)
    for name in ("action", "side"):
        letters = frame[name].cast(pl.String)
        if not (letters.str.len_bytes() == 1).all():
            raise CorruptFileError(f"{path}: found {name} values that are not one letter, expected DBN's letters")
        rows[name] = np.frombuffer("".join(letters.to_list()).encode("ascii", "replace"), dtype=np.uint8)
    prices = frame["price"].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    block = _book_block(rows, conversion, float_prices=prices)
    return Reading(Schema.BOOK, {options.symbol or str(instrument.id): block}, conversion.findings, len(frame))


def read_definitions(path: Path, calendar: str = "") -> list[ContractDefinition]:
    """The instrument definitions of a DBN definition file, in file order.

    The tick value is the smallest price step times the contract's unit; it is checked against the definition's own value of a
    step, and refused where the two disagree. ``calendar`` names a calendar of ``exchange_calendars`` for venues other
    than CME Group's, whose own is known.
    """
    content = load_bytes(path)
    metadata, start = _metadata(content, path)
    if metadata.schema is not None and str(metadata.schema) != "definition":
        raise UsageError(f"{path}: found a DBN file of {metadata.schema}, expected definitions")
    _check_definition_sizes(content, start, metadata, path)
    newest: Any = databento_dbn.VersionUpgradePolicy.UPGRADE_TO_V3
    decoder = databento_dbn.DBNDecoder(upgrade_policy=newest)
    decoder.write(content)
    records = decoded(decoder.decode, path, _DAMAGED)
    if decoder.buffer():
        raise CorruptFileError(f"{path}: found {len(decoder.buffer())} bytes after the last definition: it is cut off")
    listed = [record for record in records if isinstance(record, databento_dbn.InstrumentDefMsg)]
    return decoded(lambda: [_definition(record, path, calendar) for record in listed], path, _DAMAGED)


def _metadata(content: bytes, path: Path) -> tuple[databento_dbn.Metadata, int]:
    """The decoded metadata and where the records start."""
    if len(content) < 8 or not content.startswith(DBN_MAGIC):
        raise CorruptFileError(f"{path}: found no DBN header, expected a file that begins with 'DBN'")
    version = content[3]
    if version not in _VERSIONS:
        raise CorruptFileError(f"{path}: found DBN version {version}, expected one of {_VERSIONS}")
    start = 8 + int.from_bytes(content[4:8], "little")
    if start > len(content):
        raise CorruptFileError(
            f"{path}: the metadata says {start} bytes but the file has {len(content)}: it is cut off"
        )
    return decoded(lambda: databento_dbn.Metadata.decode(content[:start]), path, _DAMAGED), start


def _check_definition_sizes(content: bytes, start: int, metadata: databento_dbn.Metadata, path: Path) -> None:
    """Refuse definition records of another size than their version's before the decoder, which stops hard on them."""
    body = np.frombuffer(content, dtype=np.uint8, offset=start)
    count, stopped = _walk(body, np.empty(0, dtype=np.int64))
    offsets = np.empty(count, dtype=np.int64)
    _walk(body, offsets)
    expected = _DEFINITION_BYTES[content[3]] + (8 if metadata.ts_out else 0)
    lengths = body[offsets].astype(np.int64) * 4
    wrong = (body[offsets + 1] != _RTYPE_DEFINITION) | (lengths != expected)
    if stopped != len(body) or wrong.any():
        where = start + (int(offsets[int(np.argmax(wrong))]) if wrong.any() else stopped)
        raise CorruptFileError(
            f"{path}: found a record at byte {where} that is no instrument definition of {expected} bytes: the file is "
            "cut off or damaged"
        )


def _schema_of_empty(metadata: databento_dbn.Metadata) -> Schema:
    name = str(metadata.schema or "")
    if name.startswith("ohlcv"):
        return Schema.BARS
    return {"mbo": Schema.BOOK, "trades": Schema.TRADES}.get(name, Schema.QUOTES)


def _records(content: bytes, start: int, path: Path, *, ts_out: bool) -> tuple[NDArray[np.void], int | None, int]:
    """The market records as an array, their rtype (None where there are none), and how many others were passed over."""
    body = np.frombuffer(content, dtype=np.uint8, offset=start)
    count, stopped = _walk(body, np.empty(0, dtype=np.int64))
    if stopped != len(body):
        raise CorruptFileError(
            f"{path}: found a record at byte {start + stopped} that runs past the end of the file or has no length: the "
            "file is cut off or damaged"
        )
    if not count:
        return np.empty(0, dtype=_MBO), None, 0
    offsets = np.empty(count, dtype=np.int64)
    _walk(body, offsets)
    rtypes = body[offsets + 1]
    kinds = set(np.unique(rtypes).tolist()) - _SIDE_RECORDS
    if not kinds:
        if _RTYPE_DEFINITION in rtypes:
            raise UsageError(
                f"{path}: found instrument definitions, expected market data; grandmodel data instruments FILE shows them"
            )
        return np.empty(0, dtype=_MBO), None, count
    if len(kinds) > 1 or next(iter(kinds)) not in _LAYOUTS:
        raise UsageError(
            f"{path}: found DBN records of the types {sorted(kinds)}, expected one of mbo, mbp-1, mbp-10, tbbo, trades or ohlcv"
        )
    rtype = kinds.pop()
    layout = _LAYOUTS[rtype]
    chosen = offsets[rtypes == rtype]
    size = layout.itemsize + (8 if ts_out else 0)
    lengths = body[chosen].astype(np.int64) * 4
    if (lengths != size).any():
        row = int(np.argmax(lengths != size))
        raise CorruptFileError(
            f"{path}: record {row + 1}: found a length of {int(lengths[row])} bytes, expected {size} for DBN type {rtype}"
        )
    if len(chosen) == count:
        stored = np.dtype([*layout.descr, ("ts_out", "<u8")]) if ts_out else layout
        return np.frombuffer(content, dtype=stored, offset=start), rtype, 0
    gathered = body[chosen[:, None] + np.arange(layout.itemsize)]
    return gathered.reshape(-1).view(layout), rtype, count - len(chosen)


@kernel
def _walk(body: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[int, int]:
    """The number of whole records in ``body`` (B,) and the byte where the walk stopped; fills ``offsets`` if given."""
    at = 0
    count = 0
    while at < len(body):
        length = int(body[at]) * 4
        if length < 16 or at + length > len(body):
            break
        if count < len(offsets):
            offsets[count] = at
        count += 1
        at += length
    return count, at


def _by_symbol(records: NDArray[np.void], metadata: databento_dbn.Metadata) -> Iterable[tuple[str, NDArray[np.void]]]:
    """The records of each symbol, named as the request named it, or by its number where no name is given."""
    names = _symbol_spans(metadata)
    ids = records["instrument_id"]
    distinct = np.unique(ids).tolist()
    masks: dict[str, NDArray[np.bool_]] = {}
    for number in distinct:
        of_id = ids == number
        spans = names.get(int(number), [])
        if len({symbol for symbol, _, _ in spans}) == 1:
            masks[spans[0][0]] = masks.get(spans[0][0], False) | of_id
            continue
        rest = of_id
        stamps = records["ts_event" if "ts_recv" not in (records.dtype.names or ()) else "ts_recv"]
        for symbol, first, last in spans:
            inside = rest & (stamps >= first) & (stamps < last)
            masks[symbol] = masks.get(symbol, False) | inside
            rest = rest & ~inside
        if rest.any():
            name = _requested_name(metadata, len(distinct)) or str(number)
            masks[name] = masks.get(name, False) | rest
    for symbol, mask in masks.items():
        if mask.all():
            yield symbol, records
        elif mask.any():
            yield symbol, records[mask]


def _requested_name(metadata: databento_dbn.Metadata, instruments: int) -> str:
    """What the request called the one instrument of a file without mappings; empty where that cannot be told."""
    asked = [str(symbol) for symbol in metadata.symbols]
    is_one = instruments == 1 and len(asked) == 1 and str(metadata.stype_in) != "instrument_id"
    return asked[0] if is_one and asked[0] != "ALL_SYMBOLS" else ""


def _symbol_spans(metadata: databento_dbn.Metadata) -> dict[int, list[tuple[str, int, int]]]:
    """(symbol, first ns, last ns) for each instrument number in the metadata's symbol mappings."""
    spans: dict[int, list[tuple[str, int, int]]] = {}
    by_name = str(metadata.stype_out) != "instrument_id"
    for symbol, intervals in metadata.mappings.items():
        for interval in intervals:
            number, name = (symbol, interval["symbol"]) if by_name else (interval["symbol"], symbol)
            if str(number).isdigit() and int(number) < 2**32:
                first, last = (
                    int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * NS_PER_SECOND
                    for day in (interval["start_date"], interval["end_date"])
                )
                spans.setdefault(int(number), []).append((str(name), first, last))
    return spans


def _checked_stamps(rows: NDArray[np.void], name: str, conversion: UnitConversion) -> NDArray[np.int64]:
    stamps: NDArray[np.uint64] = rows[name]
    if (stamps == _UNDEFINED_STAMP).any():
        row = int(np.argmax(stamps == _UNDEFINED_STAMP))
        raise CorruptFileError(f"{conversion.path}: record {row + 1}: found no {name}, expected a time")
    signed = stamps.astype(np.int64)
    check_stamps(signed, conversion.path, 1)
    return signed


def _check_letters(rows: NDArray[np.void], conversion: UnitConversion) -> None:
    for name, letters in (("action", _ACTIONS), ("side", _SIDES)):
        known = np.isin(rows[name], np.frombuffer(letters, dtype=np.uint8))
        if not known.all():
            row = int(np.argmax(~known))
            raise CorruptFileError(
                f"{conversion.path}: record {row + 1}: found the {name} {bytes([int(rows[name][row])])!r}, expected one of "
                f"{letters.decode()}"
            )


def _flags(rows: NDArray[np.void], conversion: UnitConversion) -> NDArray[np.uint32]:
    """Our flags of DBN's; a book that the source doubts is a bad stretch."""
    theirs = rows["flags"].astype(np.uint32)
    doubtful = (theirs & _F_MAYBE_BAD_BOOK) != 0
    conversion.found(
        "doubtful_book",
        Treatment.MARKED,
        doubtful,
        "the source marks a gap that it could not recover from; these rows are flagged as a bad stretch",
    )
    conversion.found(
        "snapshot_rows",
        Treatment.NOTED,
        (theirs & _F_SNAPSHOT) != 0,
        "rows restate the resting orders at the start (a snapshot); they are flagged and no new events",
    )
    flags = np.where((theirs & _F_LAST) != 0, np.uint32(Flag.LAST), np.uint32(0))
    flags |= np.where((theirs & _F_SNAPSHOT) != 0, np.uint32(Flag.SNAPSHOT), np.uint32(0))
    flags |= np.where(doubtful, np.uint32(Flag.BAD_STRETCH), np.uint32(0))
    return flags.astype(np.uint32)


def _ordered_sequence(
    ts_init: NDArray[np.int64], sequence: NDArray[np.uint32], conversion: UnitConversion
) -> NDArray[np.int64]:
    """The venue's numbers where they never fall within one ``ts_init``; the place in the file where they do."""
    numbers = sequence.astype(np.int64)
    falls = (ts_init[1:] == ts_init[:-1]) & (numbers[1:] < numbers[:-1])
    if not falls.any():
        return numbers
    conversion.found(
        "sequence_restarts",
        Treatment.NOTED,
        np.concatenate(([False], falls)),
        "the venue's sequence falls within one receive stamp (a snapshot is listed by priority); rows keep their order "
        "in the file, and sequence is that order",
    )
    return np.arange(len(numbers), dtype=np.int64) % (_MAX_SEQUENCE + 1)


def _book_block(
    rows: NDArray[np.void], conversion: UnitConversion, float_prices: NDArray[np.float64] | None = None
) -> Block:
    _check_letters(rows, conversion)
    if float_prices is None:
        prices: NDArray[Any] = rows["price"]
        absent = prices == UNDEFINED_PRICE
    else:
        prices = float_prices
        absent = np.isnan(float_prices)
    ticks = conversion.prices({"price": prices}, decimals=PRICE_DECIMALS, missing={"price": absent})
    lots = conversion.lots({"size": rows["size"].astype(np.int64)})
    block = empty_block(Schema.BOOK, len(rows))
    block["ts_event"] = _checked_stamps(rows, "ts_event", conversion)
    block["ts_init"] = _checked_stamps(rows, "ts_recv", conversion)
    block["sequence"] = _ordered_sequence(block["ts_init"], rows["sequence"], conversion)
    block["order_id"] = rows["order_id"]
    block["price"] = ticks["price"]
    block["size"] = lots["size"]
    block["action"] = rows["action"]
    block["side"] = rows["side"]
    block["flags"] = _flags(rows, conversion)
    conversion.found(
        "sideless_rows",
        Treatment.NOTED,
        rows["side"] == ord("N"),
        "rows name no side (a clear, or a trade whose aggressor the venue does not say)",
    )
    return _finished(block, conversion)


def _tick_block(rows: NDArray[np.void], conversion: UnitConversion, schema: Schema) -> Block:
    _check_letters(rows, conversion)
    is_trade = rows["action"] == Action.TRADE
    columns = {"price": rows["price"]}
    sizes = {"size": rows["size"].astype(np.int64)}
    if schema is Schema.QUOTES:
        columns |= {name: rows[name] for name in ("bid_price", "ask_price")}
        sizes |= {name: rows[name].astype(np.int64) for name in ("bid_size", "ask_size")}
    missing = {name: values == UNDEFINED_PRICE for name, values in columns.items()}
    # A quote row's own price is that of the changed order, not a print.
    conversion.leave_out(
        "undefined_prices", missing["price"] & is_trade, "trades without a price (DBN's 2^63 - 1) are left out"
    )
    missing["price"] = missing["price"] | ~is_trade
    ticks = conversion.prices(columns, decimals=PRICE_DECIMALS, missing=missing)
    lots = conversion.lots(sizes)
    block = empty_block(schema, len(rows))
    block["ts_event"] = _checked_stamps(rows, "ts_event", conversion)
    block["ts_init"] = _checked_stamps(rows, "ts_recv", conversion)
    block["sequence"] = _ordered_sequence(block["ts_init"], rows["sequence"], conversion)
    for name, values in {**ticks, **lots}.items():
        block[name] = values
    block["size"][~is_trade] = 0
    block["side"] = np.where(is_trade, rows["side"], np.uint8(ord("N")))
    changes = np.isin(rows["action"], np.frombuffer(b"ACMFN", dtype=np.uint8))
    block["action"] = np.where(changes, np.uint8(Action.QUOTE), rows["action"])
    block["flags"] = _flags(rows, conversion)
    return _finished(block, conversion)


def _bar_block(rows: NDArray[np.void], conversion: UnitConversion, span_ns: int) -> Block:
    names = ("open", "high", "low", "close")
    undefined = np.zeros(len(rows), dtype=np.bool_)
    for name in names:
        undefined |= rows[name] == UNDEFINED_PRICE
    conversion.leave_out("undefined_prices", undefined, "bars without a price (DBN's 2^63 - 1) are left out")
    ticks = conversion.prices({name: rows[name] for name in names}, decimals=PRICE_DECIMALS)
    block = empty_block(Schema.BARS, len(rows))
    block["ts_open"] = _checked_stamps(rows, "ts_event", conversion)
    block["ts_event"] = block["ts_open"] + span_ns
    block["ts_init"] = block["ts_event"]
    block["sequence"] = np.arange(len(rows), dtype=np.int64) % (_MAX_SEQUENCE + 1)
    for name in names:
        block[name] = ticks[name]
    if (rows["volume"] > np.uint64(2**62)).any():
        row = int(np.argmax(rows["volume"] > np.uint64(2**62)))
        raise CorruptFileError(f"{conversion.path}: record {row + 1}: found a volume of {int(rows['volume'][row])}")
    lot = conversion.instrument.lot_size
    volume = rows["volume"].astype(np.int64)
    block["volume"] = volume if lot == 1 else np.floor(volume / float(lot)).astype(np.int64)
    conversion.found(
        "open_stamped_bars",
        Treatment.NOTED,
        np.ones(len(rows), dtype=np.bool_),
        "DBN stamps a bar at its open; ts_event is its close here",
    )
    return _finished(block, conversion)


def _finished(block: Block, conversion: UnitConversion) -> Block:
    if conversion.repaired is not None and conversion.repaired.any():
        block["flags"][conversion.repaired] |= block["flags"].dtype.type(Flag.REPAIRED)
    if conversion.impossible is not None and conversion.impossible.any():
        return block[~conversion.impossible]
    return block


def _whole_column(values: pl.Series, dtype: np.dtype[Any], path: Path) -> NDArray[Any]:
    """A Parquet column as the unsigned integers of its DBN field."""
    most = int(np.iinfo(dtype).max)
    if not values.dtype.is_integer() or (
        len(values) and not 0 <= int(str(values.min())) <= int(str(values.max())) <= most
    ):
        raise CorruptFileError(f"{path}: found {values.name} values outside 0 to {most}, expected DBN's whole numbers")
    return values.to_numpy().astype(dtype)


def _plain(number: Decimal) -> Decimal:
    """``number`` without trailing zeros and without an exponent: 50, not 5E+1."""
    return Decimal(format(number.normalize(), "f"))


_CME_VENUES = {"XCME", "XCBT", "XNYM", "XCEC"}


def _definition(record: databento_dbn.InstrumentDefMsg, path: Path, calendar: str) -> ContractDefinition:
    """One contract; facts that a definition does not hold (margins, session hours off CME) keep their defaults."""
    scale = Decimal(10) ** PRICE_DECIMALS
    symbol = record.raw_symbol
    if record.min_price_increment in {0, UNDEFINED_PRICE} or record.unit_of_measure_qty in {0, UNDEFINED_PRICE}:
        raise AmbiguousError(
            f"{path}: {symbol}: found no tick size or contract unit in the definition; say the instrument in --instruments FILE"
        )
    tick = Decimal(record.min_price_increment) / scale
    multiplier = Decimal(record.unit_of_measure_qty) / scale
    display = Decimal(record.display_factor) / scale
    stated = record.min_price_increment_amount
    if stated not in {0, UNDEFINED_PRICE} and display and Decimal(stated) / scale / display != tick * multiplier:
        raise AmbiguousError(
            f"{path}: {symbol}: found a tick value of {Decimal(stated) / scale / display} by the definition's own field and "
            f"{tick * multiplier} by tick times contract unit; say the instrument in --instruments FILE"
        )
    is_cme = record.exchange in _CME_VENUES
    if not is_cme and not calendar:
        raise AmbiguousError(
            f"{path}: {symbol}: found the venue {record.exchange!r}, whose trading calendar is not known; name one of exchange_calendars"
        )
    instrument = Instrument(
        id=InstrumentId(symbol),
        name=f"{record.asset} {record.maturity_year}-{record.maturity_month:02d}",
        tick_size=_plain(tick),
        tick_value_micros=int(tick * multiplier * MICROS_PER_UNIT),
        currency=record.currency,
        mic=record.exchange,
        calendar=calendar or "CMES",
        session_open="18:00" if is_cme else "",
        session_close="17:00" if is_cme else "",
        time_zone="America/New_York" if is_cme else "",
    )
    return ContractDefinition(
        instrument, record.asset, _plain(multiplier), record.activation, record.expiration, record.ts_recv
    )
