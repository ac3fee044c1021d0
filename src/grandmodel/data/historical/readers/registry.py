"""Which reader takes a file of trades, quotes or orders: decided by its content, not by its name.

``reader_for`` looks at the first bytes (unpacked): DBN, pcap and Parquet begin with marks of their own, a LEAN zip is told
by the names of its members, text formats by their first line. A file of bars is none of these and gives ``None``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from grandmodel.data.historical.readers import crypto, dbn, exchange_snapshots, fx_ticks, iex, lean, ticks_generic
from grandmodel.data.historical.readers.compressed import is_zip, load_head, zip_members
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.readers.parquet_files import PARQUET_MAGIC, parquet_types
from grandmodel.data.historical.readers.text import utf8_head
from grandmodel.data.historical.reading import Reading
from grandmodel.domain.instruments import Instrument

TickReader = Callable[[Path, Instrument, TickOptions], Reading]
"""A reader takes a path, the instrument whose units to use and the options, and returns a ``Reading``."""


def reader_for(path: Path, options: TickOptions | None = None) -> TickReader | None:
    """The reader of the file at ``path``, or ``None`` where it is no tick format that is known.

    A column mapping in ``options`` chooses the reader of tables of one's own for every CSV or Parquet file.
    """
    if is_zip(path):
        members = zip_members(path, options.limits if options is not None else None)
        if any(lean.is_lean_tick_member(name) for name in members):
            return lean.read_lean_ticks
    head = load_head(path)
    if head.startswith(dbn.DBN_MAGIC):
        return dbn.read_dbn
    if head.startswith((*iex.PCAP_MAGICS, iex.PCAPNG_MAGIC)):
        return iex.read_iex_pcap
    if options is not None and options.columns is not None:
        return ticks_generic.read_mapped_ticks
    if head.startswith(PARQUET_MAGIC):
        return None if is_zip(path) else _parquet_reader(path)
    return _text_reader(utf8_head(head))


def _parquet_reader(path: Path) -> TickReader | None:
    try:
        types = parquet_types(path)
    except CorruptFileError:
        return None
    if set(dbn.PARQUET_COLUMNS) <= set(types):
        return dbn.read_dbn_parquet
    if set(exchange_snapshots.SNAPSHOT_COLUMNS) <= set(types):
        return exchange_snapshots.read_exchange_snapshots
    return ticks_generic.read_nautilus_parquet if ticks_generic.is_nautilus(types) else None


def _text_reader(head: bytes) -> TickReader | None:
    first_line = head.split(b"\n", 1)[0]
    told: tuple[tuple[Callable[[bytes], bool], TickReader], ...] = (
        (fx_ticks.is_histdata, fx_ticks.read_histdata),
        (fx_ticks.is_truefx, fx_ticks.read_truefx),
        (fx_ticks.is_dukascopy, fx_ticks.read_dukascopy),
        (crypto.is_tardis, crypto.read_tardis),
        (crypto.is_freqtrade, crypto.read_freqtrade),
    )
    for is_format, reader in told:
        if is_format(first_line):
            return reader
    return None
