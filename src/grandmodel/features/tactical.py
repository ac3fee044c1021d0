"""The tactical matrix: 7 columns per five-minute bar, of which an agent sees the newest 60 rows.

``tactical_rows`` computes a whole history, ``TacticalState`` one bar at a time; both call the same compiled update, so
they agree to the last bit. ``schema.TACTICAL_SCHEMA`` describes the columns, ``docs/concepts/features.md`` shows them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from grandmodel.features.arrays import Floats
from grandmodel.features.averages import EMA_SLOTS, ema_state
from grandmodel.features.bars import BarArrays, bar_arrays
from grandmodel.features.fair_value_gaps import GAP_BARS, fair_value_gaps_state, fair_value_gaps_update
from grandmodel.features.matrix_state import pack_state, unpack_state
from grandmodel.features.momentum import PERCENT_HEADER, percent_momentum_state, percent_momentum_update
from grandmodel.features.ranges import ATR_SLOTS, atr_state, atr_update
from grandmodel.features.schema import TACTICAL_SCHEMA
from grandmodel.features.volume import volume_ratio_update
from grandmodel.features.windows import RollingWindow
from grandmodel.kernels import kernel

if TYPE_CHECKING:
    import polars as pl

ATR_PERIOD = 14
MOMENTUM_BARS = 5
VOLUME_BARS = 20

# One flat array holds the state of every indicator, one behind the other.
ATR_AT = 0
MOMENTUM_AT = ATR_AT + ATR_SLOTS
VOLUME_AT = MOMENTUM_AT + PERCENT_HEADER + MOMENTUM_BARS
GAPS_AT = VOLUME_AT + EMA_SLOTS


def tactical_rows(bars: pl.DataFrame) -> Floats:
    """The 7 columns of the tactical matrix for every bar, shape (T, 7), in the order of ``TACTICAL_SCHEMA``.

    ``bars`` is a frame as described in ``bars.py``, of five-minute bars. Row t depends on bars up to t only. Raises
    ``FeatureError`` on bars that cannot be used, see ``bars.bar_arrays``.
    """
    return TacticalState().update_block(bar_arrays(bars))


def tactical_state() -> Floats:
    """The flat state before the first bar."""
    return np.concatenate(
        [atr_state(ATR_PERIOD), percent_momentum_state(MOMENTUM_BARS), ema_state(VOLUME_BARS), fair_value_gaps_state()]
    )


class TacticalState:
    """The tactical matrix, one bar at a time: one compiled update per closed bar, and a state that can be saved."""

    schema = TACTICAL_SCHEMA

    def __init__(self) -> None:
        self._state = tactical_state()
        self._row: Floats = np.full(len(TACTICAL_SCHEMA.columns), np.nan)
        self._window = RollingWindow(TACTICAL_SCHEMA.rows, len(TACTICAL_SCHEMA.columns))

    def update(self, open_: float, high: float, low: float, close: float, volume: float, ts_event: int = 0) -> Floats:  # noqa: ARG002
        """Take in the bar that has just closed; its row, shape (7,), valid until the next update.

        Prices in price units; an unknown ``volume`` is NaN. ``ts_event`` is taken as ``StrategicState`` takes it; no
        tactical column depends on the time.
        """
        tactical_update(self._state, open_, high, low, close, volume, self._row)
        self._window.push(self._row)
        return self._row

    def update_block(self, bars: BarArrays) -> Floats:
        """Take in many bars at once; their rows, shape (T, 7). The same as one after the other, but quicker."""
        out = np.full((len(bars), len(TACTICAL_SCHEMA.columns)), np.nan)
        _tactical_batch(self._state, bars.open, bars.high, bars.low, bars.close, bars.volume, out)
        for row in out[-TACTICAL_SCHEMA.rows :]:
            self._window.push(row)
        return out

    @property
    def window(self) -> Floats:
        """The newest 60 rows, shape (60, 7), oldest first: a read-only view, valid until the next update."""
        return self._window.view

    def save(self) -> bytes:
        """Everything that the next update depends on, exactly."""
        return pack_state(TACTICAL_SCHEMA, self._state, self._window.save())

    def restore(self, saved: bytes) -> None:
        """Go on from what ``save`` gave. Raises ``SchemaMismatch`` where other definitions saved it."""
        self._state, window = unpack_state(TACTICAL_SCHEMA, saved)
        self._window.restore(window)


@kernel
def tactical_update(
    state: Floats, open_: float, high: float, low: float, close: float, volume: float, row: Floats
) -> None:
    """Take in the next bar and write its 7 values to ``row``."""
    reach = atr_update(state, ATR_AT, high, low, close)
    if not reach > 0.0:
        reach = math.nan
    bullish, bearish, level, age, ended = fair_value_gaps_update(state, GAPS_AT, open_, high, low, close)
    row[0] = bullish
    row[1] = bearish
    if bullish == 0.0 and bearish == 0.0:
        # The gaps are known and none is alive. The two flags say so; distance and age cannot.
        row[2] = 0.0
        row[3] = 0.0
    else:
        row[2] = (close - level) / reach
        row[3] = age / GAP_BARS
    row[4] = ended
    row[5] = percent_momentum_update(state, MOMENTUM_AT, close)
    row[6] = volume_ratio_update(state, VOLUME_AT, volume)


@kernel
def _tactical_batch(
    state: Floats, open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats, out: Floats
) -> None:
    for t in range(len(close)):
        tactical_update(state, open_[t], high[t], low[t], close[t], volume[t], out[t])
