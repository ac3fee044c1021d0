"""LEAN tick files: a zip of CSV without header, one member per contract and day.

Columns by kind (times are milliseconds since midnight of the date in the name):

- equity quotes: ms, bid, bid size, ask, ask size, exchange, condition, suspicious; a price of 0 means "no change on this
  side", so the other side is carried from the row before;
- equity and futures trades: ms, price, size, exchange, condition, suspicious;
- FX quotes: ms, bid, ask; crypto quotes: ms, bid, bid size, ask, ask size; crypto trades: ms, price, size.

Equity prices are stored times 10,000; every other price is plain. LEAN names equity members ``DATE_SYMBOL_Quote_Tick``
and all others ``DATE_symbol_tick_quote``, which tells the two apart. **The zone of "midnight" is not in the file**: it is
New York for US equities, UTC for futures and Oanda, a fixed UTC-5 for FXCM. So ``--time-zone`` must say it; only for
an equity whose instrument names its zone is that zone used (LEAN stamps equities in their exchange's zone).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.readers.compressed import load_zip_member, zip_members
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.local_time import day_start_ns, utc_from_local
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.tables import note_unknown_sizes, read_table, require_values, tick_block
from grandmodel.data.historical.readers.units import UnitConversion
from grandmodel.data.historical.reading import Finding, Reading, Treatment
from grandmodel.domain.blocks import UNDEFINED_PRICE, Block, Flag, Schema
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.time import NS_PER_DAY
from grandmodel.kernels import kernel

_EQUITY_NAME = re.compile(r"^(?:(\d{8})_)?(.+)_(trade|quote)_tick\.csv$", re.IGNORECASE)
_OTHER_NAME = re.compile(r"^(?:(\d{8})_)?(.+?)_tick_(trade|quote)(?:_(\w+))?\.csv$", re.IGNORECASE)
_FILE_DATE = re.compile(r"(?<!\d)(\d{8})(?!\d)")
_EQUITY_DECIMALS = 4
_NS_PER_MS = 1_000_000
_DAY_MS = NS_PER_DAY // _NS_PER_MS

_TRADE = {
    "ms": pl.Int64,
    "price": pl.Float64,
    "size": pl.Float64,
    "exchange": pl.String,
    "condition": pl.String,
    "suspicious": pl.Int64,
}
_QUOTE = {
    "ms": pl.Int64,
    "bid_price": pl.Float64,
    "bid_size": pl.Float64,
    "ask_price": pl.Float64,
    "ask_size": pl.Float64,
    "exchange": pl.String,
    "condition": pl.String,
    "suspicious": pl.Int64,
}
_LAYOUTS: dict[tuple[str, int], list[str]] = {
    ("trade", 6): list(_TRADE),
    ("trade", 3): ["ms", "price", "size"],
    ("quote", 8): list(_QUOTE),
    ("quote", 5): ["ms", "bid_price", "bid_size", "ask_price", "ask_size"],
    ("quote", 3): ["ms", "bid_price", "ask_price"],
}
_SIDES = ("bid", "ask")
_QUOTE_SIZES: tuple[str, ...] = ("bid_size", "ask_size")


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    day: str
    symbol: str
    kind: str
    equity: bool


def is_lean_tick_member(name: str) -> bool:
    """Whether a zip member's name is one that LEAN gives to a file of ticks."""
    return _EQUITY_NAME.match(name) is not None or _OTHER_NAME.match(name) is not None


def read_lean_ticks(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The trades or quotes of a LEAN tick zip, one block per member (``IBM``, ``EURUSD``, ``GC201312``).

    Raises ``AmbiguousError`` where the zone or the date is not known, ``CorruptFileError`` where a line does not
    parse. Identical trades are kept: several in one millisecond are separate trades.
    """
    members = [
        _member_named(name, path, options) for name in zip_members(path, options.limits) if is_lean_tick_member(name)
    ]
    if not members:
        raise CorruptFileError(
            f"{path}: found no LEAN tick file in the zip, expected names as 20131007_ibm_Trade_Tick.csv"
        )
    kinds = {member.kind for member in members}
    if len(kinds) != 1:
        raise UsageError(f"{path}: found members of trades and of quotes ({sorted(kinds)}), expected one kind a zip")
    reading = Reading(schema=Schema.TRADES if kinds == {"trade"} else Schema.QUOTES, blocks={}, names_symbols=True)
    lines = {member.symbol: load_zip_member(path, member.name, options.limits).count(b"\n") for member in members}
    reading.check_symbols(path, lines, instrument, options)
    for member in members:
        if options.symbols and member.symbol not in options.symbols:
            continue
        try:
            block, rows, findings = _read_member(path, member, instrument, options)
        except ReadError as error:
            reading.refuse(member.symbol, error, len(members))
            continue
        if member.symbol in reading.blocks:
            raise CorruptFileError(f"{path}: found two members for {member.symbol}, expected one each")
        reading.blocks[member.symbol] = block
        reading.rows_read += rows
        reading.findings.extend(findings)
    return reading


def _member_named(name: str, path: Path, options: TickOptions) -> _Member:
    equity = _EQUITY_NAME.match(name)
    match = equity or _OTHER_NAME.match(name)
    if match is None:
        raise CorruptFileError(f"{path}: {name} is no LEAN tick file")
    in_path = _FILE_DATE.search(path.name)
    day = options.date or match.group(1) or (in_path.group(1) if in_path else "")
    if not day:
        raise AmbiguousError(
            f"{path}: {name}: found no date in the name, expected one such as 20131007_quote.zip: LEAN's stamps count "
            "from midnight of a day that only the name says (--date 2013-10-07)"
        )
    expiry = (match.group(4) or "") if equity is None else ""
    return _Member(name, day, (match.group(2) + expiry).upper(), match.group(3).lower(), equity is not None)


def _zone_of(member: _Member, path: Path, instrument: Instrument, options: TickOptions) -> str:
    if options.time_zone:
        return options.time_zone
    if member.equity and instrument.time_zone:
        return instrument.time_zone
    raise AmbiguousError(
        f"{path}: {member.name}: LEAN counts milliseconds from a midnight whose zone the file does not say; give "
        "--time-zone: America/New_York for US equities, UTC for futures, crypto and Oanda, -05:00 for FXCM"
    )


def _read_member(
    path: Path, member: _Member, instrument: Instrument, options: TickOptions
) -> tuple[Block, int, list[Finding]]:
    content = load_zip_member(path, member.name, options.limits)
    where = path / member.name
    zone = _zone_of(member, path, instrument, options)
    frame = _columns_of(content, where, member.kind)
    ms = frame["ms"].to_numpy()
    if len(ms) and (int(ms.min()) < 0 or int(ms.max()) >= _DAY_MS):
        row = int(np.argmax((ms < 0) | (ms >= _DAY_MS)))
        raise CorruptFileError(f"{where}: line {row + 1}: found {int(ms[row])} ms, expected 0 to {_DAY_MS - 1}")
    ts_event = utc_from_local(day_start_ns(member.day, path) + ms * _NS_PER_MS, zone, where)
    conversion = UnitConversion(where, instrument, options)
    if member.kind == "trade":
        block = _trades(frame, ts_event, conversion, member)
    else:
        block = _quotes(frame, ts_event, conversion, member)
    return block, len(frame), conversion.findings


def _columns_of(content: bytes, where: Path, kind: str) -> pl.DataFrame:
    width = content.split(b"\n", 1)[0].count(b",") + 1
    names = _LAYOUTS.get((kind, width))
    if content and names is None:
        widths = sorted(columns for of_kind, columns in _LAYOUTS if of_kind == kind)
        raise CorruptFileError(f"{where}: line 1: found {width} columns, expected one of {widths} for LEAN {kind}s")
    names = names or _LAYOUTS[kind, 3]
    wanted = [name for name in names if name not in {"exchange", "condition"}]
    if kind == "trade":
        wanted = names
    types = _TRADE if kind == "trade" else _QUOTE
    frame = read_table(content, where, {name: types[name] for name in names}, wanted=wanted)
    require_values(frame, [name for name in wanted if name not in {"exchange", "condition"}], where, 1)
    return frame


def _prices(
    frame: pl.DataFrame, names: list[str], conversion: UnitConversion, member: _Member
) -> dict[str, NDArray[np.int64]]:
    """Ticks of the price columns; equity prices are whole ten-thousandths, converted without a float."""
    floats = {name: frame[name].to_numpy() for name in names}
    missing = {name: values == 0 for name, values in floats.items() if name != "price"}
    divisor = conversion.options.price_divisor or (10**_EQUITY_DECIMALS if member.equity else 1)
    if divisor == 1:
        return conversion.prices(floats, missing=missing)
    for name, values in floats.items():
        if not (values == np.rint(values)).all() or (len(values) and float(np.abs(values).max()) >= 2.0**53):
            raise CorruptFileError(
                f"{conversion.path}: found {name} values that are no whole numbers, expected prices times {divisor} "
                "as LEAN stores equities (--price-divisor 1 if these are plain)"
            )
    decimals = len(str(divisor)) - 1
    if divisor != 10**decimals:
        raise UsageError(f"found the price divisor {divisor}, expected a power of ten (--price-divisor)")
    return conversion.prices(
        {name: values.astype(np.int64) for name, values in floats.items()}, decimals=decimals, missing=missing
    )


def _trades(frame: pl.DataFrame, ts_event: NDArray[np.int64], conversion: UnitConversion, member: _Member) -> Block:
    columns: dict[str, NDArray[np.int64] | NDArray[np.int32]] = {**_prices(frame, ["price"], conversion, member)}
    columns.update(conversion.lots({"size": frame["size"].to_numpy()}))
    repeats = ~frame.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    conversion.found(
        "identical_trades",
        Treatment.NOTED,
        repeats,
        f"rows of {member.symbol} equal an earlier row in every column; they are separate trades and stay",
    )
    block = tick_block(Schema.TRADES, ts_event, columns, conversion=conversion)
    return _marked_suspicious(block, frame, conversion)


def _quotes(frame: pl.DataFrame, ts_event: NDArray[np.int64], conversion: UnitConversion, member: _Member) -> Block:
    ticks = _prices(frame, ["bid_price", "ask_price"], conversion, member)
    columns: dict[str, NDArray[np.int64] | NDArray[np.int32]] = {**ticks}
    sizes = {name: frame[name].to_numpy() for name in _QUOTE_SIZES if name in frame.columns}
    if sizes:
        columns.update(conversion.lots(sizes))
    else:
        note_unknown_sizes(conversion, len(frame))
    block = tick_block(Schema.QUOTES, ts_event, columns, conversion=conversion)
    if not member.equity:
        return _marked_suspicious(block, frame, conversion)
    block = _marked_suspicious(block, frame, conversion)
    for side in _SIDES:
        conversion.found(
            f"{side}_unchanged_quotes",
            Treatment.NOTED,
            block[f"{side}_price"] == UNDEFINED_PRICE,
            f"{side} price 0 means no change on this side; the {side} of the row before is carried",
        )
    _carry_sides(block, int(Flag.BAD_STRETCH))
    return block


def _marked_suspicious(block: Block, frame: pl.DataFrame, conversion: UnitConversion) -> Block:
    if "suspicious" not in frame.columns:
        return block
    suspicious = frame["suspicious"].to_numpy() != 0
    if conversion.impossible is not None and conversion.impossible.any():
        suspicious = suspicious[~conversion.impossible]
    conversion.found(
        "suspicious_rows",
        Treatment.MARKED,
        suspicious,
        "the source marks these rows as suspicious (far from the rows around); kept, and flagged as a bad stretch",
    )
    block["flags"][suspicious] |= np.uint32(Flag.BAD_STRETCH)
    return block


@kernel
def _carry_sides(block: Block, suspicious: int) -> None:
    """Fill each undefined side with the last side seen before it; a suspicious row changes only itself."""
    undefined = 2**63 - 1
    bid, ask = undefined, undefined
    bid_size, ask_size = np.int32(0), np.int32(0)
    for i in range(len(block)):
        row = block[i]
        own_bid, own_ask = row["bid_price"], row["ask_price"]
        if own_bid == undefined:
            row["bid_price"] = bid
            row["bid_size"] = bid_size
        if own_ask == undefined:
            row["ask_price"] = ask
            row["ask_size"] = ask_size
        if row["flags"] & suspicious:
            continue
        if own_bid != undefined:
            bid, bid_size = own_bid, row["bid_size"]
        if own_ask != undefined:
            ask, ask_size = own_ask, row["ask_size"]
