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
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import Flag
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.instruments import Instrument
from grandmodel.kernels import kernel
from grandmodel.risk.correlation import FULL, EwmaCovariance, FloatArray, fill_full, fold_returns, variance_of
from grandmodel.risk.distributions import loss_quantile
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.settings import VarSettings

_BAD_STRETCH = int(Flag.BAD_STRETCH)
_NO_RETURN = int(Flag.ROLL | Flag.BAD_STRETCH)
_SMALL = 8

IntArray = NDArray[np.int64]

RETURNS, PEAKS = 0, 1
"""``RunningRisk.money``: the returns of the row being collected, NaN where missing; the highest variances so far."""
COUNTS, POSITIONS, RATES, OPEN, ROWS = range(5)
"""``RunningRisk.lots``: returns so far; what ``hold`` was given; 1 where in session; rows of a feed of ticks so far, -1 for another."""
CLOSE, IS_KNOWN, TICK_VALUE = range(3)
"""``RunningRisk.closes``: the last close in ticks; 1 where the next return starts there; what a tick is worth."""
ROW_TS, HAS_RETURNS = range(2)
"""``RunningRisk.row``: the close time of the row being collected, -1 for none; 1 where it holds a return."""


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
    """Covariance of ``instruments`` from their closed bars, and the parametric value at risk that follows from it.

    The state stands in arrays, ``money`` (2, n) of floats and ``lots`` (5, n), ``closes`` (3, n) and ``row`` (2,) of integers beside
    those of ``covariance``, so that a kernel can take a whole row in one call: ``take_row`` here, with the shocks in ``intake.py``.
    """

    __slots__ = (
        "_coefficients",
        "_index",
        "_known_updates",
        "_table",
        "_table_rates",
        "_table_updates",
        "_width",
        "closes",
        "covariance",
        "lots",
        "min_returns",
        "money",
        "n",
        "row",
        "settings",
        "unit",
    )

    def __init__(self, settings: VarSettings, instruments: Sequence[Instrument]) -> None:
        n = len(instruments)
        self.settings = settings
        self.n = n
        self.covariance = EwmaCovariance(n, settings.decay_per_day ** (1.0 / settings.bars_per_day))
        self._index = {instrument.id: k for k, instrument in enumerate(instruments)}
        self._width = settings.width_ns
        self.min_returns = settings.min_returns
        horizon = math.sqrt(settings.horizon_days * settings.bars_per_day)
        self.unit = loss_quantile(settings.level, settings.degrees) * horizon / 1_000_000
        """VaR over the deviation of one bar, for a rate of one millionth."""
        self.closes: IntArray = np.zeros((3, n), dtype=np.int64)
        self.closes[TICK_VALUE] = [instrument.tick_value_micros for instrument in instruments]
        self.row: IntArray = np.array([-1, 0], dtype=np.int64)
        self.money: FloatArray = np.zeros((2, n))
        self.money[RETURNS] = math.nan
        self.lots: IntArray = np.zeros((5, n), dtype=np.int64)
        self.lots[ROWS] = -1
        self._coefficients: Coefficients | None = None
        self._known_updates = -1
        self._table: FloatArray = np.empty((n + 2, n))
        self._table_rates: IntArray = np.zeros(n, dtype=np.int64)
        """The rates that ``_table`` was made for."""
        self._table_updates = -1

    @property
    def has_returns(self) -> bool:
        """True where the row being collected holds a return."""
        return bool(self.row[HAS_RETURNS])

    def on_bar(self, bar: ClosedBar) -> bool:
        """Take one closed bar; other widths are passed over. True where it finished the row of an earlier close time."""
        if self.collect(bar):
            return False
        self.take_row()
        self.collect(bar)
        return True

    def collect(self, bar: ClosedBar) -> bool:
        """Add one closed bar to the row; False, and nothing done, while the returns of an earlier close time wait in it.

        No return is made across a roll (the step is carry) or a bad stretch (the prices are another contract's).
        """
        if bar.width_ns != self._width:
            return True
        index = self._index.get(bar.instrument)
        if index is None:
            return True
        return collect_close(index, bar.ts_event, bar.close, bar.flags, self.closes, self.row, self.money)

    def split(self, index: int, into: int, of: int) -> None:
        """Instrument ``index`` has ``into`` lots for every ``of`` from here on: what one lot gained and varied by is told in new lots."""
        ratio = of / into
        if self.closes[IS_KNOWN, index]:
            self.closes[CLOSE, index] = round(Fraction(int(self.closes[CLOSE, index]) * of, into))
        self.money[RETURNS, index] *= ratio
        self.money[PEAKS, index] *= ratio * ratio
        self.covariance.rescale(index, ratio)
        self._known_updates = self._table_updates = -1

    def row_is_complete(self, in_session: Sequence[bool]) -> bool:
        """True where every instrument in session has delivered its bar of the present close time."""
        self.lots[OPEN] = in_session
        return is_complete(self.row, self.money, self.lots)

    def take_row(self) -> bool:
        """Fold the collected returns into the covariance; False where there were none. Raises ``RiskInputError`` on an infinite one."""
        had = self.has_returns
        self.row[:] = -1, 0
        if had:
            covariance = self.covariance
            if not fold_row(covariance.tables, covariance.clock, self.money, self.lots, self.min_returns):
                raise RiskInputError(INFINITE_TEXT)
        return had

    def hold(self, positions: Sequence[int], rates: Sequence[int]) -> None:
        """Put ``positions`` (lots) and ``rates`` (micros) into ``lots``, where ``held_variance`` reads them."""
        self.lots[POSITIONS] = positions
        self.lots[RATES] = rates

    def coefficients(self, positions: list[int], rates: list[int]) -> Coefficients | None:
        """Coefficients for ``positions`` (lots) and ``rates`` (micros), rebuilt only after a change; None: none known."""
        found = self._coefficients
        if self._known_updates != self.covariance.updates or (found is not None and found.rates != rates):
            found = self._rebuild(rates)
        if found is not None and found.positions != positions:
            self._hold(found, positions)
        return found

    @property
    def is_stale(self) -> bool:
        """True where ``fill`` has something new to tell whatever the positions."""
        return self._table_updates != self.covariance.updates

    def fill(self, seen: NDArray[Any], moment: NDArray[Any]) -> None:
        """Put the value at risk of one lot, and of the positions in ``seen`` (I,) of ``rows.SEEN``, into it and ``moment`` (1,)."""
        covariance = self.covariance
        renew_numbers(
            covariance.tables, covariance.clock, self.lots, self.unit, self.min_returns, self.money, self.settings.stress_multiple,
            self._table, self._table_rates, self.is_stale, seen, moment,
        )  # fmt: skip
        self._table_updates = covariance.updates

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
        self._known_updates = self.covariance.updates
        self._coefficients = None
        if self.lots[COUNTS].max() < self.min_returns:
            return None
        table = np.empty((self.n + 2, self.n))
        self.lots[RATES] = rates
        _fill_coefficients(
            self.covariance.covariance,
            self.lots,
            self.unit,
            self.min_returns,
            self.money,
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
        row = [None if math.isnan(x) else x for x in self.money[RETURNS].tolist()]
        counts, peaks = self.lots[COUNTS].tolist(), self.money[PEAKS].tolist()
        closes = [close if known else None for close, known in self.closes[: IS_KNOWN + 1].T.tolist()]
        state = (self.covariance.save(), closes, counts, row, int(self.row[ROW_TS]), peaks)
        return msgspec.msgpack.encode(state)

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save``."""
        covariance, closes, counts, row, row_ts, peaks = msgspec.msgpack.decode(
            data, type=tuple[bytes, list[int | None], list[int], list[float | None], int, list[float]]
        )
        self.covariance.restore(covariance)
        self.closes[CLOSE] = [close or 0 for close in closes]
        self.closes[IS_KNOWN] = [close is not None for close in closes]
        self.row[:] = row_ts, any(x is not None for x in row)
        self.money[RETURNS] = [math.nan if x is None else x for x in row]
        self.money[PEAKS] = peaks
        self.lots[COUNTS] = counts
        self._known_updates = self._table_updates = -1


INFINITE_TEXT = "found an infinite return, expected finite ones or NaN for a missing one"


@kernel
def collect_close(
    index: int, ts: int, close: int, flags: int, closes: IntArray, row: IntArray, money: FloatArray
) -> bool:
    """Add the close of instrument ``index`` to the row; False, and nothing done, while an earlier close time waits in it."""
    if ts != row[ROW_TS]:
        if row[HAS_RETURNS] != 0:
            return False
        row[ROW_TS] = ts
    if closes[IS_KNOWN, index] != 0 and flags & _NO_RETURN == 0:
        money[RETURNS, index] = float((close - closes[CLOSE, index]) * closes[TICK_VALUE, index])
        row[HAS_RETURNS] = 1
    closes[IS_KNOWN, index] = flags & _BAD_STRETCH == 0
    closes[CLOSE, index] = close
    return True


@kernel
def is_complete(row: IntArray, money: FloatArray, lots: IntArray) -> bool:
    """True where every instrument in session has a return in the row, and there is a row."""
    if row[ROW_TS] < 0:
        return False
    for k in range(lots.shape[1]):  # noqa: SIM110 (compiled)
        if lots[OPEN, k] != 0 and math.isnan(money[RETURNS, k]):
            return False
    return True


@kernel
def fold_row(tables: FloatArray, clock: FloatArray, money: FloatArray, lots: IntArray, min_returns: int) -> bool:
    """Fold the collected row into the covariance, the counts and the peaks, and clear it; False: an infinite return."""
    row, peaks, counts = money[RETURNS], money[PEAKS], lots[COUNTS]
    if not fold_returns(tables, clock, row):
        return False
    for k in range(len(row)):
        if not math.isnan(row[k]):
            counts[k] += 1
            row[k] = math.nan
        if counts[k] >= min_returns:
            variance = variance_of(tables, clock, k)
            if variance > peaks[k]:  # noqa: PLR1730 (max() of a NaN is not the same in every compiler)
                peaks[k] = variance
    return True


@kernel(inline=True)
def per_lot(covariance: float, first_rate: int, second_rate: int, unit: float) -> float:
    """The entry of ``Coefficients.matrix`` for one covariance of two instruments and their rates in micros."""
    return covariance * (first_rate * unit * (second_rate * unit))


@kernel
def held_variance(covariance: FloatArray, lots: IntArray, unit: float, min_returns: int) -> float:
    """VaR squared of the positions held, in micros squared; NaN while one of them, or a pair, is not known.

    The same terms in the same order as ``Coefficients.matrix`` and ``variance`` for few instruments, digit for digit.
    """
    counts, positions, rates = lots[COUNTS], lots[POSITIONS], lots[RATES]
    variance = 0.0
    for i in range(len(positions)):
        if positions[i] == 0:
            continue
        if counts[i] < min_returns or not covariance[i, i] >= 0.0:
            return math.nan
        slope = 0.0
        for j in range(len(positions)):
            if positions[j] != 0:
                slope += per_lot(covariance[i, j], rates[i], rates[j], unit) * positions[j]
        variance += slope * positions[i]
    return variance


@kernel
def _fill_coefficients(
    covariance: FloatArray,
    lots: IntArray,
    scale: float,
    min_returns: int,
    money: FloatArray,
    stress_multiple: float,
    table: FloatArray,
) -> None:
    """Fill ``table`` (n + 2, n): n rows of the matrix per lot, then VaR of one lot alone, then the same under stress."""
    counts, rates, peak_variance = lots[COUNTS], lots[RATES], money[PEAKS]
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
            table[i, j] = per_lot(covariance[i, j], rates[i], rates[j], scale)


@kernel
def renew_numbers(
    tables: FloatArray,
    clock: FloatArray,
    lots: IntArray,
    unit: float,
    min_returns: int,
    money: FloatArray,
    stress_multiple: float,
    table: FloatArray,
    rates: IntArray,
    stale: bool,
    seen: NDArray[Any],
    moment: NDArray[Any],
) -> None:
    """Make ``table`` anew where the covariance or a rate is another one than it was made for, and fill the rows of an account from it."""
    known = lots[COUNTS].max() >= min_returns
    for k in range(len(rates)):
        if rates[k] != seen[k].rate:
            rates[k] = seen[k].rate
            stale = True
    if known and stale:
        lots[RATES] = rates
        fill_full(tables, clock, tables[FULL])
        _fill_coefficients(tables[FULL], lots, unit, min_returns, money, stress_multiple, table)
    fill_numbers(table, known, seen, moment)


@kernel
def fill_numbers(table: FloatArray, known: bool, seen: NDArray[Any], moment: NDArray[Any]) -> None:
    """What one lot of each instrument adds to value at risk, beside the positions held, into the rows of an account."""
    n = len(seen)
    moment[0].risk_known = known
    variance = 0.0
    for i in range(n):
        one = seen[i]
        one.own = one.single = one.stressed = one.slope = math.nan
        if not known:
            continue
        one.own, one.single, one.stressed = table[i, i], table[n, i], table[n + 1, i]
        slope = 0.0
        for k in range(n):
            if seen[k].position != 0 and not math.isnan(table[n, k]):
                slope += table[i, k] * seen[k].position
        one.slope = slope
        if one.position != 0 and not math.isnan(one.single):
            variance += slope * one.position
    moment[0].variance = variance if known else math.nan


def root(variance: float) -> float:
    """Square root of a variance in micros squared; a tiny negative one is rounding, a large one is no variance: NaN."""
    if variance >= 0.0:
        return math.sqrt(variance)
    return 0.0 if variance > -1e-3 else math.nan
