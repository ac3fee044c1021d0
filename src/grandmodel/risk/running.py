"""The running risk of the account: bars become returns, returns a covariance, the covariance value at risk.

Returns are changes of the money that one lot is worth (price change in ticks times tick value), in millionths of the
instrument's currency. So exposures are simply lots, and a price near or below zero needs no special case. A bar's
variance is scaled to the horizon by the number of bars in a trading day: overnight and daytime bars weigh alike in the
estimate because its memory is counted in days, not bars. Read next: ``gate.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import Flag
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.instruments import Instrument
from grandmodel.kernels import kernel
from grandmodel.risk.correlation import EwmaCovariance, FloatArray
from grandmodel.risk.distributions import loss_quantile
from grandmodel.risk.settings import VarSettings

_BAD_STRETCH = int(Flag.BAD_STRETCH)
_NO_RETURN = int(Flag.ROLL | Flag.BAD_STRETCH)
_SMALL = 8

IntArray = NDArray[np.int64]


@dataclass(slots=True)
class Coefficients:
    """Value at risk as numbers per lot, for one covariance and one set of exchange rates; NaN where not known yet."""

    matrix: list[list[float]]
    """(n, n): VaR squared of lots x is x' matrix x, in micros of the account's currency squared.

    NaN for a pair that never traded in the same bar: whether one hedges the other is then not known.
    """
    table: FloatArray
    """The same as an array."""
    single: list[float]
    """VaR of one lot alone."""
    stressed: list[float]
    """The same under stress."""
    rates: list[int]
    positions: list[int]
    """What ``slopes`` and ``variance`` were computed for."""
    slopes: list[float]
    """matrix times positions."""
    variance: float
    """positions' matrix positions."""


class RunningRisk:
    """Covariance of ``instruments`` from their closed bars, and the parametric value at risk that follows from it."""

    __slots__ = (
        "_coefficients",
        "_counts",
        "_dirty",
        "_index",
        "_last_close",
        "_peak_variance",
        "_row",
        "_row_ts",
        "_scale",
        "_tick_values",
        "_width",
        "covariance",
        "n",
        "settings",
    )

    def __init__(self, settings: VarSettings, instruments: Sequence[Instrument]) -> None:
        n = len(instruments)
        self.settings = settings
        self.n = n
        self.covariance = EwmaCovariance(n, settings.decay_per_day ** (1.0 / settings.bars_per_day))
        self._index = {instrument.id: k for k, instrument in enumerate(instruments)}
        self._tick_values = [instrument.tick_value_micros for instrument in instruments]
        self._width = settings.width_ns
        self._scale = loss_quantile(settings.level, settings.degrees) * math.sqrt(
            settings.horizon_days * settings.bars_per_day
        )
        self._last_close: list[int | None] = [None] * n
        self._counts = [0] * n
        self._row = [math.nan] * n
        self._row_ts = -1
        self._peak_variance = [0.0] * n
        self._coefficients: Coefficients | None = None
        self._dirty = True

    def on_bar(self, bar: ClosedBar) -> bool:
        """Take one closed bar; other widths are passed over. True where it finished the row of an earlier close time.

        No return is made across a roll (the step is carry) or a bad stretch (the prices are another contract's).
        """
        if bar.width_ns != self._width:
            return False
        index = self._index.get(bar.instrument)
        if index is None:
            return False
        finished = self._row_ts not in (-1, bar.ts_event) and self.take_row()
        self._row_ts = bar.ts_event
        last = self._last_close[index]
        flags = bar.flags
        if last is not None and not flags & _NO_RETURN:
            self._row[index] = float((bar.close - last) * self._tick_values[index])
        self._last_close[index] = None if flags & _BAD_STRETCH else bar.close
        return finished

    def row_is_complete(self, in_session: list[bool]) -> bool:
        """True where every instrument in session has delivered its bar of the present close time."""
        if self._row_ts < 0:
            return False
        row = self._row
        for k, wanted in enumerate(in_session):  # noqa: SIM110 (a generator costs as much as the rest of this)
            if wanted and row[k] != row[k]:
                return False
        return True

    def take_row(self) -> bool:
        """Fold the collected returns into the covariance; False where there were none."""
        self._row_ts = -1
        seen = False
        for k, value in enumerate(self._row):
            if not math.isnan(value):
                self._counts[k] += 1
                seen = True
        if not seen:
            return False
        self.covariance.update(np.array(self._row))
        self._row = [math.nan] * self.n
        self._dirty = True
        for k, count in enumerate(self._counts):
            if count >= self.settings.min_returns:
                variance = self.covariance.variance(k)
                self._peak_variance[k] = max(self._peak_variance[k], variance)
        return True

    def coefficients(self, positions: list[int], rates: list[int]) -> Coefficients | None:
        """Coefficients for ``positions`` (lots) and ``rates`` (micros), rebuilt only after a change; None: none known."""
        found = self._coefficients
        if self._dirty or (found is not None and found.rates != rates):
            found = self._rebuild(rates)
        if found is not None and found.positions != positions:
            self._hold(found, positions)
        return found

    def value_at_risk(self, positions: list[int], rates: list[int]) -> float:
        """VaR of ``positions`` in micros of the account's currency; NaN while one of them, or a pair, is not known."""
        found = self.coefficients(positions, rates)
        if found is None:
            return math.nan if any(positions) else 0.0
        for k, p in enumerate(positions):
            if p and math.isnan(found.single[k]):
                return math.nan
        return root(found.variance)

    def components(self, positions: list[int], rates: list[int]) -> list[float]:
        """Each instrument's share of the VaR, in micros (Euler): lots times marginal VaR. They add up to it."""
        total = self.value_at_risk(positions, rates)
        found = self._coefficients
        if found is None or not total > 0.0:
            return [total if p else 0.0 for p in positions]  # 0 or NaN
        return [p * slope / total if p else 0.0 for p, slope in zip(positions, found.slopes, strict=True)]

    def _rebuild(self, rates: list[int]) -> Coefficients | None:
        self._dirty = False
        self._coefficients = None
        if max(self._counts) < self.settings.min_returns:
            return None
        table = np.empty((self.n + 2, self.n))
        _fill_coefficients(
            self.covariance.covariance,
            np.array(rates, dtype=np.int64),
            self._scale / 1_000_000,
            np.array(self._counts, dtype=np.int64),
            self.settings.min_returns,
            np.array(self._peak_variance),
            self.settings.stress_multiple,
            table,
        )
        *matrix, single, stressed = table.tolist()
        self._coefficients = Coefficients(
            matrix=matrix,
            table=table[: self.n],
            single=single,
            stressed=stressed,
            rates=list(rates),
            positions=[],
            slopes=[],
            variance=0.0,
        )
        return self._coefficients

    def _hold(self, found: Coefficients, positions: list[int]) -> None:
        held = [(k, p) for k, p in enumerate(positions) if p and not math.isnan(found.single[k])]
        if self.n <= _SMALL:
            found.slopes = [sum([row[k] * p for k, p in held]) for row in found.matrix]
        else:
            columns = found.table[:, [k for k, _ in held]]
            found.slopes = (columns @ np.array([float(p) for _, p in held])).tolist()
        found.variance = sum([found.slopes[k] * p for k, p in held])
        found.positions = list(positions)

    def save(self) -> bytes:
        """The state as bytes."""
        row = [None if math.isnan(x) else x for x in self._row]
        state = (self.covariance.save(), self._last_close, self._counts, row, self._row_ts, self._peak_variance)
        return msgspec.msgpack.encode(state)

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save``."""
        covariance, self._last_close, self._counts, row, self._row_ts, self._peak_variance = msgspec.msgpack.decode(
            data, type=tuple[bytes, list[int | None], list[int], list[float | None], int, list[float]]
        )
        self.covariance.restore(covariance)
        self._row = [math.nan if x is None else x for x in row]
        self._dirty = True


@kernel
def _fill_coefficients(
    covariance: FloatArray,
    rates: IntArray,
    scale: float,
    counts: IntArray,
    min_returns: int,
    peak_variance: FloatArray,
    stress_multiple: float,
    table: FloatArray,
) -> None:
    """Fill ``table`` (n + 2, n): n rows of the matrix per lot, then VaR of one lot alone, then the same under stress."""
    n = len(counts)
    for i in range(n):
        unit = rates[i] * scale
        alone = math.sqrt(covariance[i, i] * (unit * unit)) if counts[i] >= min_returns else math.nan
        table[n, i] = alone
        table[n + 1, i] = max(stress_multiple * alone, math.sqrt(peak_variance[i]) * unit)
        if math.isnan(alone):
            table[n + 1, i] = math.nan
    for i in range(n):
        for j in range(n):
            if counts[i] < min_returns or counts[j] < min_returns:
                table[i, j] = math.nan
                continue
            # NaN for a pair that never traded in the same bar.
            table[i, j] = covariance[i, j] * (rates[i] * scale * (rates[j] * scale))


def root(variance: float) -> float:
    """Square root of a variance in micros squared; a tiny negative one is rounding, a large one is no variance: NaN."""
    if variance >= 0.0:
        return math.sqrt(variance)
    return 0.0 if variance > -1e-3 else math.nan
