"""Quotes of the free FX and CFD sources: HistData, TrueFX and Dukascopy text files.

- HistData: no header, ``YYYYMMDD HHMMSSmmm,bid,ask,volume``; the stamps are New York standard time all year (UTC-5, no
  daylight saving), as the vendor states; the volume is always 0 and carries nothing.
- TrueFX: ``EUR/USD,20130101 21:59:59.123,bid,ask`` without header (UTC, the vendor's own files), or with the header
  ``timestamp,bid,ask`` and ISO stamps that carry their offset.
- Dukascopy: header ``Local time,Ask,Bid,AskVolume,BidVolume`` (**ask before bid**) with stamps such as
  ``04.09.2023 01:00:05.962 GMT+0300``, or ``Gmt time`` without the suffix; prices carry float noise.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.fixed_stamps import wall_clock_ns
from grandmodel.data.historical.readers.local_time import check_stamps, utc_from_local
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.tables import (
    note_unknown_sizes,
    parsed_stamps,
    read_table,
    require_values,
    tick_block,
)
from grandmodel.data.historical.readers.text import load_text
from grandmodel.data.historical.readers.units import UnitConversion
from grandmodel.data.historical.reading import Reading
from grandmodel.domain.blocks import Schema
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.time import NS_PER_HOUR, NS_PER_MINUTE

HISTDATA_ZONE = "-05:00"
"""HistData states: Eastern standard time without adjustment for daylight saving."""

_HISTDATA_LINE = re.compile(rb"^\d{8} \d{9},[^,]+,[^,]+(,[^,]*)?\r?$")
_TRUEFX_LINE = re.compile(rb"^[A-Z]{3}/[A-Z]{3},\d{8} \d{2}:\d{2}:\d{2}\.\d{3},[^,]+,[^,]+\r?$")
_SIZES: tuple[str, ...] = ("bid_size", "ask_size")
_DUKASCOPY_HEADER = re.compile(rb"^(local time|gmt time),ask,bid,askvolume,bidvolume\r?$", re.IGNORECASE)
_TRUEFX_HEADER = re.compile(rb"^timestamp,bid,ask\r?$", re.IGNORECASE)


def is_histdata(first_line: bytes) -> bool:
    """Whether a file that begins so is a HistData tick file."""
    return _HISTDATA_LINE.match(first_line) is not None


def is_truefx(first_line: bytes) -> bool:
    """Whether a file that begins so is a TrueFX tick file."""
    return _TRUEFX_LINE.match(first_line) is not None or _TRUEFX_HEADER.match(first_line) is not None


def is_dukascopy(first_line: bytes) -> bool:
    """Whether a file that begins so is a Dukascopy tick file."""
    return _DUKASCOPY_HEADER.match(first_line) is not None


def read_histdata(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The quotes of a HistData tick file; its zone is known (UTC-5 all year), ``--time-zone`` overrules it."""
    content = load_text(path, options.limits)
    types: dict[str, Any] = {"time": pl.String, "bid_price": pl.Float64, "ask_price": pl.Float64, "volume": pl.Float64}
    first = content.split(b"\n", 1)[0]
    if not is_histdata(first):
        raise CorruptFileError(
            f"{path}: line 1: found {first[:60]!r}, expected HistData's YYYYMMDD HHMMSSmmm,bid,ask,volume"
        )
    width = first.count(b",") + 1
    frame = read_table(content, path, dict(list(types.items())[:width]))
    require_values(frame, ["time", "bid_price", "ask_price"], path, 1)
    wall = parsed_stamps(frame["time"], "%Y%m%d %H%M%S%3f", path, 1)
    ts_event = utc_from_local(wall, options.time_zone or HISTDATA_ZONE, path)
    return _quotes(path, instrument, options, frame, ts_event, first_line=1)


def read_truefx(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The quotes of a TrueFX tick file, in either of its two spellings."""
    content = load_text(path, options.limits)
    first = content.split(b"\n", 1)[0]
    if _TRUEFX_HEADER.match(first):
        named = {"timestamp": pl.String, "bid": pl.Float64, "ask": pl.Float64}
        frame = read_table(content, path, named, has_header=True).rename(
            {"timestamp": "time", "bid": "bid_price", "ask": "ask_price"}
        )
        require_values(frame, frame.columns, path, 2)
        ts_event = _iso_stamps(frame["time"], options, path)
        return _quotes(path, instrument, options, frame, ts_event, first_line=2)
    if not is_truefx(first):
        raise CorruptFileError(
            f"{path}: line 1: found {first[:60]!r}, expected TrueFX's EUR/USD,YYYYMMDD HH:MM:SS.mmm,bid,ask"
        )
    types = {"symbol": pl.String, "time": pl.String, "bid_price": pl.Float64, "ask_price": pl.Float64}
    frame = read_table(content, path, types)
    require_values(frame, frame.columns, path, 1)
    wall = parsed_stamps(frame["time"], "%Y%m%d %H:%M:%S%.3f", path, 1)
    ts_event = utc_from_local(wall, options.time_zone or "UTC", path)
    symbols = frame["symbol"].unique().to_list()
    if len(symbols) != 1:
        raise CorruptFileError(f"{path}: found the symbols {sorted(symbols)[:5]}, expected one in a TrueFX file")
    return _quotes(path, instrument, options, frame, ts_event, first_line=1, symbol=str(symbols[0]).replace("/", ""))


def read_dukascopy(path: Path, instrument: Instrument, options: TickOptions) -> Reading:
    """The quotes of a Dukascopy tick file; every stamp's own GMT offset is used."""
    content = load_text(path, options.limits)
    header, _, _ = content.partition(b"\n")
    names = ["time", "ask_price", "bid_price", "ask_size", "bid_size"]
    given = header.decode("latin-1").strip().split(",")
    if not is_dukascopy(header):
        raise CorruptFileError(f"{path}: found the header {given}, expected Dukascopy's five columns")
    types = {given[0]: pl.String, **dict.fromkeys(given[1:], pl.Float64)}
    frame = read_table(content, path, types, has_header=True)
    frame = frame.rename(dict(zip(given, names, strict=True)))
    require_values(frame, names, path, 2)
    ts_event = _dukascopy_stamps(frame["time"], options, path, is_gmt=given[0].lower().startswith("gmt"))
    return _quotes(path, instrument, options, frame, ts_event, first_line=2)


def _iso_stamps(texts: pl.Series, options: TickOptions, path: Path) -> NDArray[np.int64]:
    """Nanoseconds UTC of ISO stamps, all with an offset or all without (then ``--time-zone`` must say the zone)."""
    with_offset = texts.str.contains(r"(?:[+-]\d{2}:?\d{2}|Z)$")
    if with_offset.all():
        suffix = next((zero for zero in ("+00:00", "Z") if texts.str.ends_with(zero).all()), "")
        plain = wall_clock_ns(texts.str.head(-len(suffix)), "YYYY-MM-DD hh:mm:ss*") if suffix else None
        if plain is not None:
            check_stamps(plain, path, 2)
            return plain
        parsed = texts.str.replace("Z$", "+00:00").str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f%:z", time_unit="ns", time_zone="UTC", strict=False
        )
        if parsed.null_count():
            row = parsed.is_null().arg_max() or 0
            raise CorruptFileError(
                f"{path}: line {row + 2}: found the time {str(texts[row])[:60]!r}, expected an ISO stamp"
            )
        stamps: NDArray[np.int64] = parsed.cast(pl.Int64).to_numpy()
        check_stamps(stamps, path, 2)
        return stamps
    if with_offset.any():
        row = int((~with_offset).arg_max() or 0)
        raise CorruptFileError(f"{path}: line {row + 2}: found a time without an offset, expected one on every line")
    if not options.time_zone:
        raise AmbiguousError(f"{path}: found stamps without an offset; say their zone (--time-zone UTC)")
    return utc_from_local(parsed_stamps(texts, "%Y-%m-%d %H:%M:%S%.f", path, 2), options.time_zone, path, 2)


def _dukascopy_stamps(texts: pl.Series, options: TickOptions, path: Path, *, is_gmt: bool) -> NDArray[np.int64]:
    parts = texts.str.extract_groups(r"^(\d{2}\.\d{2}\.\d{4} \d{2}:\d{2}:\d{2}\.\d{1,6})(?: GMT([+-]\d{2})(\d{2}))?$")
    wall_text, hours, minutes = (parts.struct.field(str(index)) for index in (1, 2, 3))
    if wall_text.null_count():
        row = wall_text.is_null().arg_max() or 0
        raise CorruptFileError(
            f"{path}: line {row + 2}: found the time {str(texts[row])[:60]!r}, expected 04.09.2023 01:00:05.962 GMT+0300"
        )
    wall = parsed_stamps(wall_text, "%d.%m.%Y %H:%M:%S%.f", path, 2)
    if hours.null_count() == len(hours):
        zone = "UTC" if is_gmt else options.time_zone
        if not zone:
            raise AmbiguousError(f"{path}: found local stamps without GMT+hhmm; say their zone (--time-zone)")
        return utc_from_local(wall, zone, path, 2)
    if hours.null_count():
        row = hours.is_null().arg_max() or 0
        raise CorruptFileError(f"{path}: line {row + 2}: found a time without GMT+hhmm, expected one on every line")
    sign = np.where(hours.str.starts_with("-").to_numpy(), -1, 1)
    offset = hours.cast(pl.Int64).to_numpy() * NS_PER_HOUR + sign * minutes.cast(pl.Int64).to_numpy() * NS_PER_MINUTE
    stamps: NDArray[np.int64] = wall - offset
    check_stamps(stamps, path, 2)
    return stamps


def _quotes(
    path: Path,
    instrument: Instrument,
    options: TickOptions,
    frame: pl.DataFrame,
    ts_event: NDArray[np.int64],
    *,
    first_line: int,
    symbol: str = "",
) -> Reading:
    conversion = UnitConversion(path, instrument, options, first_line)
    names = ["bid_price", "ask_price"]
    prices = {name: frame[name].to_numpy() for name in names}
    missing = {name: values == 0 for name, values in prices.items()}
    columns: dict[str, NDArray[Any]] = {**conversion.prices(prices, missing=missing)}
    sizes = {name: frame[name].to_numpy() for name in _SIZES if name in frame.columns}
    if sizes:
        columns.update(conversion.lots(sizes))
    else:
        note_unknown_sizes(conversion, len(frame))
    block = tick_block(Schema.QUOTES, ts_event, columns, conversion=conversion)
    name = options.symbol or symbol or str(instrument.id)
    reading = Reading(Schema.QUOTES, {name: block}, conversion.findings, len(frame), names_symbols=bool(symbol))
    if symbol:
        reading.check_symbols(path, {symbol: len(frame)}, instrument, options)
    return reading
