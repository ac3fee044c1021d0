"""Prices and sizes of a file to whole ticks and lots, with a count of every row that did not fit.

Every tick reader converts through ``UnitConversion``, so one rule holds for all formats: float noise is rounded and
counted, a price off the tick is refused when it is common and rounded when it is rare, and an impossible price drops its
row. Read next: ``domain.instruments`` (the arithmetic).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.instruments import MAX_PRICE_TICKS, MAX_QUANTITY_LOTS, Instrument

_SHOWN_LINES = 5


def first_lines(mask: NDArray[np.bool_], first_line: int) -> tuple[int, ...]:
    """The lines of the first few rows set in ``mask`` (T,), the first row being line ``first_line``."""
    return tuple(int(row) + first_line for row in np.flatnonzero(mask)[:_SHOWN_LINES])


@dataclass(slots=True)
class UnitConversion:
    """One file's (or one member's) columns on their way to ticks and lots; collects the findings."""

    path: Path
    instrument: Instrument
    options: TickOptions
    first_line: int = 1
    """The line number of row 0."""
    findings: list[Finding] = field(default_factory=list)
    repaired: NDArray[np.bool_] | None = None
    """(T,): rows where a price was rounded to the tick."""
    impossible: NDArray[np.bool_] | None = None
    """(T,): rows that cannot be market data; the reader leaves them out."""

    def found(self, kind: str, treatment: Treatment, mask: NDArray[np.bool_], text: str) -> None:
        """Add a finding about the rows set in ``mask`` (T,), if there are any."""
        count = int(np.count_nonzero(mask))
        if count:
            self.findings.append(Finding(kind, treatment, count, text, first_lines(mask, self.first_line)))

    def leave_out(self, kind: str, mask: NDArray[np.bool_], text: str) -> None:
        """Count the rows of ``mask`` (T,) as a finding and leave them out of the block."""
        self.found(kind, Treatment.DROPPED, mask, text)
        self.impossible = mask.copy() if self.impossible is None else self.impossible | mask

    def prices(
        self,
        columns: Mapping[str, NDArray[Any]],
        *,
        decimals: int = 0,
        missing: Mapping[str, NDArray[np.bool_]] | None = None,
    ) -> dict[str, NDArray[np.int64]]:
        """Ticks of each column (T,) of ``columns``: ``price``, ``bid_price``, ``ask_price``, ``open`` and so on.

        Integer columns are in units of 10^-``decimals`` and converted exactly; float columns are prices. Rows set in
        ``missing[name]`` hold no price and give ``UNDEFINED_PRICE``. A bid off the tick goes down and an ask up (the
        spread never shrinks), anything else goes to the nearest tick. Raises ``AmbiguousError`` where more than
        ``options.off_tick_share`` of the rows are off the tick.
        """
        ticks: dict[str, NDArray[np.int64]] = {}
        rows = len(next(iter(columns.values())))
        off_tick = np.zeros(rows, dtype=np.bool_)
        noisy = np.zeros(rows, dtype=np.bool_)
        impossible = np.zeros(rows, dtype=np.bool_)
        for name, values in columns.items():
            absent = (missing or {}).get(name)
            if values.dtype.kind == "f":
                whole, on_tick, noise, bad = _float_ticks(self.instrument, values, name)
                noisy |= noise if absent is None else noise & ~absent
            else:
                whole, on_tick, bad = _integer_ticks(self.instrument, values, decimals, name)
            if absent is not None:
                on_tick |= absent
                bad &= ~absent
                whole = np.where(absent, UNDEFINED_PRICE, whole)
            off_tick |= ~on_tick & ~bad
            impossible |= bad
            ticks[name] = whole
        if self.impossible is not None:  # rows that are left out already say nothing about the others
            off_tick &= ~self.impossible
            noisy &= ~self.impossible
            impossible &= ~self.impossible
        self._settle_off_tick(off_tick & ~impossible)
        self.found(
            "float_noise_prices",
            Treatment.REPAIRED,
            noisy & ~off_tick & ~impossible,
            "prices carry float noise (such as 4515.664000000001); each is rounded to the tick it stands for",
        )
        self.found(
            "impossible_prices",
            Treatment.DROPPED,
            impossible,
            "prices are not finite or beyond any market; these rows are left out",
        )
        self.repaired = off_tick if self.repaired is None else self.repaired | off_tick
        self.impossible = impossible if self.impossible is None else self.impossible | impossible
        return ticks

    def lots(self, columns: Mapping[str, NDArray[Any]], *, decimals: int = 0) -> dict[str, NDArray[np.int32]]:
        """Lots of each column (T,) of ``columns``: ``size``, ``bid_size``, ``ask_size``.

        Integer columns are in units of 10^-``decimals``. A size that is no whole number of lots is rounded down and
        counted, and refused over ``options.off_lot_share`` of the rows. A size beyond int32 lots, negative or not a
        number makes its row impossible.
        """
        lots: dict[str, NDArray[np.int32]] = {}
        rows = len(next(iter(columns.values())))
        off_lot = np.zeros(rows, dtype=np.bool_)
        impossible = np.zeros(rows, dtype=np.bool_)
        lot = float(self.instrument.lot_size)
        for name, values in columns.items():
            if values.dtype.kind == "f":
                with np.errstate(invalid="ignore", over="ignore"):
                    bad = ~np.isfinite(values) | (values < 0) | (values / lot > MAX_QUANTITY_LOTS)
                whole, on_lot = self.instrument.lots_from_quantities(np.where(bad, 0.0, values))
            else:
                scaled = np.asarray(values, dtype=np.int64)
                with np.errstate(over="ignore"):
                    bad = (scaled < 0) | (scaled.astype(np.float64) / 10**decimals / lot > MAX_QUANTITY_LOTS)
                whole, on_lot = self.instrument.lots_from_scaled(np.where(bad, 0, scaled), decimals)
            off_lot |= ~on_lot & ~bad
            impossible |= bad
            lots[name] = whole.astype(np.int32)
        off_lot &= ~impossible
        share = np.count_nonzero(off_lot) / max(1, rows)
        if share > self.options.off_lot_share:
            raise AmbiguousError(
                f"{self.path}: found {np.count_nonzero(off_lot)} of {rows} rows whose size is no multiple of the lot "
                f"{self.instrument.lot_size} of {self.instrument.id} (lines {_listed(off_lot, self.first_line)}); use "
                "an instrument with a smaller lot, or allow rounding down (--off-lot-share)"
            )
        self.found("off_lot_sizes", Treatment.REPAIRED, off_lot, "sizes are rounded down to whole lots")
        self.found(
            "impossible_sizes",
            Treatment.DROPPED,
            impossible,
            "sizes are negative, not a number or beyond 2^31 lots; these rows are left out",
        )
        self.impossible = impossible if self.impossible is None else self.impossible | impossible
        return lots

    def _settle_off_tick(self, off_tick: NDArray[np.bool_]) -> None:
        count = int(np.count_nonzero(off_tick))
        if count > self.options.off_tick_share * len(off_tick):
            raise AmbiguousError(
                f"{self.path}: found {count} of {len(off_tick)} rows with a price off the tick size "
                f"{self.instrument.tick_size} of {self.instrument.id} (lines {_listed(off_tick, self.first_line)}); "
                "use an instrument with that tick size, or allow rounding (--off-tick-share)"
            )
        self.found("off_tick_prices", Treatment.REPAIRED, off_tick, "prices off the tick are rounded and flagged")


def _listed(mask: NDArray[np.bool_], first_line: int) -> str:
    return ", ".join(str(line) for line in first_lines(mask, first_line))


def _float_ticks(
    instrument: Instrument, prices: NDArray[np.float64], name: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Ticks, on the tick, float noise, impossible: each (T,)."""
    ticks, on_tick = instrument.ticks_from_prices(prices)
    with np.errstate(invalid="ignore", over="ignore"):
        exact = prices / float(instrument.tick_size)
        bad = ~(np.abs(exact) <= MAX_PRICE_TICKS)
    # The division in prices_from_ticks is correctly rounded, so it gives the float that the price's text stands for.
    noise = on_tick & (prices != instrument.prices_from_ticks(ticks))
    if name in {"bid_price", "ask_price"} and not on_tick.all():
        away = np.floor(exact) if name == "bid_price" else np.ceil(exact)
        ticks = np.where(on_tick | bad, ticks, np.where(bad, 0.0, away).astype(np.int64))
    return ticks, on_tick, noise, bad


def _integer_ticks(
    instrument: Instrument, scaled: NDArray[np.int64], decimals: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Ticks, on the tick, impossible: each (T,)."""
    ticks, on_tick = instrument.ticks_from_scaled(scaled, decimals)
    tick_scaled = float(instrument.tick_size) * 10.0**decimals
    bad = np.abs(scaled.astype(np.float64)) / tick_scaled > MAX_PRICE_TICKS
    bad |= ~on_tick & (ticks == 0) & (np.abs(scaled.astype(np.float64)) >= tick_scaled)
    off = ~on_tick & ~bad
    if off.any() and name != "bid_price":
        # ``ticks`` is the tick below: up for an ask, to the nearest for a price, ties to even, in whole numbers.
        numerator, denominator = (instrument.tick_size * 10**decimals).as_integer_ratio()
        rest = scaled[off].astype(np.int64) * denominator - ticks[off] * numerator
        up = (2 * rest > numerator) | ((2 * rest == numerator) & (ticks[off] % 2 == 1))
        ticks[off] += 1 if name == "ask_price" else up.astype(np.int64)
    return ticks, on_tick, bad
