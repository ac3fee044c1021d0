"""Import profiles: what a person knows about a file of bars that the file does not say itself.

A profile is a small TOML or JSON file, or flags of ``grandmodel data import``; flags win over the file. Every field left out
is inferred where the whole file proves it, and refused where it does not. ``NAMED`` holds the layouts of some well-known
vendors; a named profile states only what the vendor fixes for everyone (LEAN's column order, HistData's clock), never what
differs by market. Read next: ``readers/bars.py``, ``docs/reference/data-import.md``.
"""

from __future__ import annotations

import enum
import re
from decimal import Decimal

import msgspec

from grandmodel.domain.errors import UsageError
from grandmodel.domain.files import load_document
from grandmodel.domain.paths import local_path
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND


class DateOrder(enum.StrEnum):
    """The order of day, month and year in numeric dates."""

    YEAR_FIRST = "ymd"
    DAY_FIRST = "dmy"
    MONTH_FIRST = "mdy"


class Label(enum.StrEnum):
    """Which end of its interval a bar's stamp names."""

    OPEN = "open"
    CLOSE = "close"


class Conflicts(enum.StrEnum):
    """What becomes of rows with one stamp and different values."""

    REFUSE = "refuse"
    FIRST = "first"
    LAST = "last"
    DROP = "drop"


class OffTick(enum.StrEnum):
    """What becomes of prices between two ticks."""

    AUTO = "auto"
    """Round them where they are at most ``max_dropped`` of the rows, refuse the file where they are more."""
    ROUND = "round"
    REFUSE = "refuse"


class Members(enum.StrEnum):
    """What the files inside a zip are."""

    AUTO = "auto"
    """``one`` where their names differ by dates and numbers of pieces only; refused where they name different things."""
    ONE = "one"
    """Pieces of one series, possibly overlapping."""
    EACH = "each"
    """Each a series of its own, named after its file."""


class Role(enum.StrEnum):
    """What a column holds."""

    STAMP = "stamp"
    """Date and time together."""
    DATE = "date"
    CLOCK = "clock"
    """Time of day, beside a date column."""
    MILLISECONDS = "ms"
    """Milliseconds since midnight of the date in the file's name."""
    OPEN = "open"
    HIGH = "high"
    LOW = "low"
    CLOSE = "close"
    VOLUME = "volume"
    SYMBOL = "symbol"
    """The name of the instrument or contract, on every row."""
    IGNORE = "-"


_LEAST_MULTIPLIER = Decimal("1e-12")
PRICE_ROLES = (Role.OPEN, Role.HIGH, Role.LOW, Role.CLOSE)


class ImportProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known about a file of bars; empty means: infer it, or refuse."""

    columns: tuple[Role, ...] = ()
    """The role of each column in file order; required where the file has no header line."""
    header: bool | None = None
    delimiter: str = ""
    decimal_comma: bool | None = None
    """Whether numbers are written 1.234,5; left out, the numbers of the file must prove it."""
    date_order: DateOrder | None = None
    time_zone: str = ""
    """IANA name of the zone of stamps that name none."""
    label: Label | None = None
    bar_width: str = ""
    """``5m``, ``30m``, ``1h``, ``1d``."""
    price_multiplier: Decimal = Decimal(1)
    """Prices of the file times this are prices of the instrument (0.0001 where the file holds ten-thousandths)."""
    volume_multiplier: Decimal = Decimal(1)
    """Volumes of the file times this are units of the instrument's quantity (before division by its lot size)."""
    members: Members = Members.AUTO
    conflicts: Conflicts = Conflicts.REFUSE
    off_tick: OffTick = OffTick.AUTO
    max_dropped: float = 0.05
    """The largest share of rows that may be dropped as no market data; a file with more is refused."""
    force_clock: bool = False
    """True: zone and label side are used as stated, also where the instrument's sessions speak against them."""
    symbols: dict[str, str] = {}
    """Symbol of the file to the id of the instrument that it stands for, where its own name does not say so (``symbols.py``)."""

    def __post_init__(self) -> None:
        """Refuse what could not be used later."""
        if len(self.delimiter) > 1:
            raise UsageError(f"import profile: found delimiter {self.delimiter!r}, expected one character")
        if not 0.0 <= self.max_dropped <= 1.0:
            raise UsageError(f"import profile: found max_dropped {self.max_dropped}, expected a share from 0 to 1")
        for name in ("price_multiplier", "volume_multiplier"):
            value = getattr(self, name)
            if not (value.is_finite() and _LEAST_MULTIPLIER <= value <= 1 / _LEAST_MULTIPLIER):
                raise UsageError(f"import profile: found {name} {value}, expected a positive number (1e-12 to 1e12)")
        if self.bar_width:
            width_from_text(self.bar_width)
        doubled = {role for role in self.columns if role is not Role.IGNORE and self.columns.count(role) > 1}
        if doubled:
            raise UsageError(f"import profile: found the columns {sorted(doubled)} twice, expected each role once")


_WIDTH = re.compile(r"^(\d{1,4})(s|m|h|d)$")
_UNIT_NS = {"s": NS_PER_SECOND, "m": NS_PER_MINUTE, "h": NS_PER_HOUR, "d": NS_PER_DAY}


def width_from_text(text: str) -> int:
    """The nanoseconds of a bar width such as ``30m``; raises ``UsageError`` on anything else."""
    match = _WIDTH.match(text)
    if match is None or int(match.group(1)) == 0:
        raise UsageError(f"found bar width {text!r}, expected a number and s, m, h or d: 5m, 30m, 1h, 1d")
    return int(match.group(1)) * _UNIT_NS[match.group(2)]


def text_from_width(width_ns: int) -> str:
    """``30m`` for half an hour: the largest unit that divides ``width_ns``."""
    for unit in ("d", "h", "m", "s"):
        if width_ns % _UNIT_NS[unit] == 0:
            return f"{width_ns // _UNIT_NS[unit]}{unit}"
    return f"{width_ns}ns"


_OHLCV = (Role.OPEN, Role.HIGH, Role.LOW, Role.CLOSE, Role.VOLUME)
_SIX_IGNORED = (Role.IGNORE,) * 6
_BID_SIDE = (*PRICE_ROLES, *_SIX_IGNORED)

NAMED: dict[str, ImportProfile] = {
    "lean-minute": ImportProfile(
        columns=(Role.MILLISECONDS, *_OHLCV), header=False, label=Label.OPEN, bar_width="1m", members=Members.EACH
    ),
    "lean-minute-bid": ImportProfile(
        columns=(Role.MILLISECONDS, *_BID_SIDE), header=False, label=Label.OPEN, bar_width="1m", members=Members.EACH
    ),
    "lean-hour-bid": ImportProfile(
        columns=(Role.STAMP, *_BID_SIDE),
        header=False,
        label=Label.OPEN,
        bar_width="1h",
        date_order=DateOrder.YEAR_FIRST,
    ),
    "lean-daily": ImportProfile(columns=(Role.STAMP, *_OHLCV), header=False, label=Label.OPEN, bar_width="1d"),
    "lean-daily-bid": ImportProfile(columns=(Role.STAMP, *_BID_SIDE), header=False, label=Label.OPEN, bar_width="1d"),
    "lean-daily-equity": ImportProfile(
        columns=(Role.STAMP, *_OHLCV),
        header=False,
        label=Label.OPEN,
        bar_width="1d",
        price_multiplier=Decimal("0.0001"),
    ),
    "dukascopy": ImportProfile(time_zone="UTC", label=Label.OPEN),
    "histdata": ImportProfile(
        columns=(Role.STAMP, *_OHLCV),
        header=False,
        delimiter=";",
        time_zone="Etc/GMT+5",
        label=Label.OPEN,
        bar_width="1m",
    ),
    "thinkorswim": ImportProfile(date_order=DateOrder.MONTH_FIRST, label=Label.OPEN),
}
"""Vendors' layouts by name. ``lean-...-bid`` reads the bid side of a quote file."""


def load_profile(source: str) -> ImportProfile:
    """The profile called ``source``: a name in ``NAMED`` or the path of a ``.toml`` or ``.json`` file.

    Raises ``UsageError`` naming the file and the field where something is missing, unknown or impossible.
    """
    if source in NAMED:
        return NAMED[source]
    path = local_path(source, "profile")
    if not path.is_file():
        raise UsageError(f"found import profile {source!r}, expected a file or one of: {', '.join(NAMED)}")
    return load_document(path, "import profile", ImportProfile, strict=False)
