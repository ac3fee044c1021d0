"""The rows of one series of bars as its file has them: held in memory, or in a spool where they are many.

Both give the same pieces; ``quality.py`` reads nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.historical.profile import PRICE_ROLES, DateOrder, Role
from grandmodel.data.historical.reading import Finding
from grandmodel.data.historical.spool import PIECE_ROWS, Columns, Spool
from grandmodel.data.historical.stamps import DatedRows, Stamps


@dataclass(slots=True)
class RawBars:
    """The rows of one series as its file has them. Shapes (T,); prices and volume are NaN where there is no number."""

    stamps: Stamps
    prices: dict[Role, NDArray[np.float64]]
    volume: NDArray[np.float64] | None
    lines: NDArray[np.int64]
    """Line of the file, from 1; in a Parquet file the row, from 1; over several members they go on counting."""
    findings: list[Finding] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    is_utc_by_name: bool = False
    """The stamp column's own name says UTC."""
    symbol: str = ""
    """What the file itself calls the instrument; empty where it does not say."""

    @property
    def rows(self) -> int:
        """T."""
        return len(self.lines)

    @property
    def has_volume(self) -> bool:
        """Whether the file has a volume at all."""
        return self.volume is not None

    def pieces(self, rows_per_piece: int = PIECE_ROWS) -> Iterator[RawBars]:
        """The rows in order, some at a time."""
        if self.rows <= rows_per_piece:
            yield self
            return
        for start in range(0, self.rows, rows_per_piece):
            part = slice(start, start + rows_per_piece)
            stamps = replace(
                self.stamps,
                wall_ns=self.stamps.wall_ns[part],
                usable=self.stamps.usable[part],
                utc_known=self.stamps.utc_known[part],
                has_clock=self.stamps.has_clock[part],
            )
            prices = {role: values[part] for role, values in self.prices.items()}
            yield RawBars(stamps, prices, self.volume[part] if self.volume is not None else None, self.lines[part])


_DAY_FIRST_OK, _MONTH_FIRST_OK, _UTC_KNOWN, _HAS_CLOCK = 1, 2, 4, 8


@dataclass(slots=True)
class SpooledBars:
    """``RawBars`` that are too many to hold."""

    spool: Spool
    order: DateOrder
    has_volume: bool
    findings: list[Finding] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    is_utc_by_name: bool = False
    symbol: str = ""

    @property
    def rows(self) -> int:
        """T."""
        return self.spool.rows

    def pieces(self, rows_per_piece: int = PIECE_ROWS) -> Iterator[RawBars]:
        """The rows in order, some at a time."""
        stamp = _stamp_column(self.order, self.spool)
        ok = _DAY_FIRST_OK if self.order is DateOrder.DAY_FIRST else _MONTH_FIRST_OK
        alone = Role.OPEN not in self.spool.dtypes
        names = [name for name in self.spool.dtypes if name not in {"day_first_ns", "month_first_ns"}]
        for _, rows in self.spool.pieces((stamp, *names), rows_per_piece):
            state = rows["state"]
            stamps = Stamps(rows[stamp], state & ok != 0, state & _UTC_KNOWN != 0, state & _HAS_CLOCK != 0, self.order)
            prices = {role: rows[Role.CLOSE if alone else role] for role in PRICE_ROLES}
            yield RawBars(stamps, prices, rows[Role.VOLUME] if self.has_volume else None, rows["line"])

    def held(self) -> RawBars:
        """The same in memory."""
        (raw,) = self.pieces(max(1, self.rows))
        return replace(
            raw, findings=self.findings, evidence=self.evidence, is_utc_by_name=self.is_utc_by_name, symbol=self.symbol
        )


def _stamp_column(order: DateOrder, spool: Spool) -> str:
    return "month_first_ns" if order is DateOrder.MONTH_FIRST and "month_first_ns" in spool.dtypes else "day_first_ns"


BarRows = RawBars | SpooledBars


def spool_of_bars(*, has_volume: bool, has_one_price: bool, has_two_orders: bool = True) -> Spool:
    """An empty spool for the rows of a series; ``has_two_orders``: day and month of its dates may change places."""
    prices = [Role.CLOSE] if has_one_price else list(PRICE_ROLES)
    columns = [*prices, *([Role.VOLUME] if has_volume else [])]
    return Spool(
        {"day_first_ns": np.int64, "state": np.uint8, "line": np.int64}
        | ({"month_first_ns": np.int64} if has_two_orders else {})
        | {str(role): np.float64 for role in columns}
    )


def spooled_rows(dated: DatedRows, lines: NDArray[np.int64], numbers: dict[Role, NDArray[np.float64]]) -> Columns:
    """The columns of ``spool_of_bars`` for rows (T,)."""
    state = (
        np.where(dated.day_first_ok, _DAY_FIRST_OK, 0)
        | np.where(dated.month_first_ok, _MONTH_FIRST_OK, 0)
        | np.where(dated.utc_known, _UTC_KNOWN, 0)
        | np.where(dated.has_clock, _HAS_CLOCK, 0)
    ).astype(np.uint8)
    return {
        "day_first_ns": dated.day_first_ns,
        "month_first_ns": dated.month_first_ns,  # taken where the spool has it
        "state": state,
        "line": lines,
        **{str(role): values for role, values in numbers.items()},
    }


def spooled(raw: RawBars, pieces: Iterator[RawBars]) -> SpooledBars:
    """``raw`` and the ``pieces`` that follow it as one series; their stamps leave no choice of order."""
    spool = spool_of_bars(has_volume=raw.has_volume, has_one_price=False, has_two_orders=False)
    for piece in chain((raw,), pieces):
        stamps = piece.stamps
        state = np.where(stamps.usable, _DAY_FIRST_OK | _MONTH_FIRST_OK, 0)
        state |= np.where(stamps.utc_known, _UTC_KNOWN, 0) | np.where(stamps.has_clock, _HAS_CLOCK, 0)
        columns: Columns = {"day_first_ns": stamps.wall_ns, "state": state.astype(np.uint8), "line": piece.lines}
        if piece.volume is not None:
            columns[Role.VOLUME] = piece.volume
        spool.append(columns | {str(role): values for role, values in piece.prices.items()})
    return SpooledBars(
        spool, DateOrder.YEAR_FIRST, raw.has_volume, raw.findings, raw.evidence, raw.is_utc_by_name, raw.symbol
    )
