"""What a person can say about a file of trades or quotes, where the file itself does not.

``TickOptions`` goes to every tick reader; each uses the part that concerns its format and refuses to guess the rest.
Read next: ``registry.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from grandmodel.data.historical.readers.limits import ReadLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class TickColumns:
    """Which column of a table means what; an empty name says that the table has none.

    A trade needs ``price`` (and ``size`` where known); a quote needs ``bid_price`` and ``ask_price``. A table that has
    all three gives one row of both kinds per line.
    """

    ts_event: str
    ts_init: str = ""
    """When the recorder saw it; absent: the same as ``ts_event``."""
    time_unit: str = ""
    """``ns``, ``us``, ``ms`` or ``s`` since the epoch, ``iso`` for ISO 8601 text, or a strptime format."""
    symbol: str = ""
    sequence: str = ""
    price: str = ""
    size: str = ""
    side: str = ""
    """The aggressor: B, buy, bid or A, S, sell, ask, in any case; anything else counts as unknown."""
    bid_price: str = ""
    ask_price: str = ""
    bid_size: str = ""
    ask_size: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickOptions:
    """What the readers of trades and quotes need to be told.

    Every option has a flag of the same name on ``grandmodel data import`` (``time_zone`` is ``--time-zone``).
    """

    time_zone: str = ""
    """The zone of stamps that name none: an IANA name, ``UTC``, or a fixed offset such as ``-05:00``."""
    date: str = ""
    """``YYYY-MM-DD`` for files whose stamps count from midnight and whose name does not carry the date."""
    symbol: str = ""
    """What to call the rows of a file that names no symbol; default: the instrument's id."""
    symbols: tuple[str, ...] = ()
    """Read only these symbols of a file that holds several; empty: all."""
    price_divisor: int = 0
    """LEAN only: the power of ten by which stored prices are multiplied; 0: 10,000 for equities, 1 for others."""
    off_tick_share: float = 0.001
    """The share of rows whose price may lie off the tick before the file is refused; fewer are rounded and counted."""
    off_lot_share: float = 0.001
    """The share of rows whose size may be no whole number of lots before the file is refused."""
    columns: TickColumns | None = None
    """The column mapping of a CSV or Parquet table of one's own."""
    mapped: Mapping[str, str] = field(default_factory=dict)
    """Which instrument a symbol of the file stands for, where its own name does not say so (``symbols.py``)."""
    checks_symbols: bool = False
    """Refuse rows of other instruments than the one asked for; ``read_file`` always does."""
    limits: ReadLimits = field(default_factory=ReadLimits)
    """How large a file may be."""
