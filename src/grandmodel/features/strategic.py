"""The strategic matrix: 13 columns per half-hour bar, of which an agent sees the newest 48 rows.

``strategic_rows`` computes a whole history, ``StrategicState`` one bar at a time; both call the same compiled update, so
they agree to the last bit. ``schema.STRATEGIC_SCHEMA`` describes the columns, ``docs/concepts/features.md`` shows them.

Where ATR(14) is 0 (fourteen bars without any move since the beginning) there is nothing to measure in, and the four
columns in units of it are NaN.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from grandmodel.features.arrays import Floats, Integers
from grandmodel.features.bars import BarArrays, bar_arrays
from grandmodel.features.dispersion import deviation_slots, standard_deviation_state
from grandmodel.features.matrix_state import pack_state, unpack_state
from grandmodel.features.mlmi import (
    mlmi_state,
    mlmi_update,
    mlmi_usual_room,
    mlmi_with_room,
    mlmi_work,
    mlmi_work_with_room,
)
from grandmodel.features.mmd import mmd_state, mmd_update, mmd_work
from grandmodel.features.momentum import (
    LOG_RETURN_SLOTS,
    log_return_state,
    log_return_update,
    momentum_update,
    relative_volatility_state,
    relative_volatility_update,
)
from grandmodel.features.nwrqk import nwrqk_state, nwrqk_update
from grandmodel.features.ranges import ATR_SLOTS, atr_state, atr_update
from grandmodel.features.schema import STRATEGIC_SCHEMA
from grandmodel.features.sessions import TradingDays, cme_globex_sessions, day_position
from grandmodel.features.volume_profile import volume_profile_state, volume_profile_update
from grandmodel.features.windows import RollingWindow
from grandmodel.kernels import kernel

if TYPE_CHECKING:
    import polars as pl

ATR_PERIOD = 14
SHORT_MOMENTUM, LONG_MOMENTUM = 20, 50

# One flat array holds the state of every indicator, one behind the other. MLMI, whose points grow, is the last.
ATR_AT = 0
RETURN_AT = ATR_AT + ATR_SLOTS
SHORT_MOMENTUM_AT = RETURN_AT + LOG_RETURN_SLOTS
LONG_MOMENTUM_AT = SHORT_MOMENTUM_AT + deviation_slots(SHORT_MOMENTUM)
VOLATILITY_AT = LONG_MOMENTUM_AT + deviation_slots(LONG_MOMENTUM)
NWRQK_AT = VOLATILITY_AT + len(relative_volatility_state())
PROFILE_AT = NWRQK_AT + len(nwrqk_state())
MMD_AT = PROFILE_AT + len(volume_profile_state())
MLMI_AT = MMD_AT + len(mmd_state())


def strategic_rows(bars: pl.DataFrame, sessions: TradingDays | None = None) -> Floats:
    """The 13 columns of the strategic matrix for every bar, shape (T, 13), in the order of ``STRATEGIC_SCHEMA``.

    ``bars`` is a frame as described in ``bars.py``, of half-hour bars; ``sessions`` gives the trading days for the columns
    of time, CME Globex (18:00 to 17:00 New York) where it is left out. Row t depends on bars up to t only. Raises
    ``FeatureError`` on bars that cannot be used, see ``bars.bar_arrays``.
    """
    return StrategicState(sessions).update_block(bar_arrays(bars))


def strategic_state() -> Floats:
    """The flat state before the first bar."""
    return np.concatenate(
        [
            atr_state(ATR_PERIOD),
            log_return_state(),
            standard_deviation_state(SHORT_MOMENTUM),
            standard_deviation_state(LONG_MOMENTUM),
            relative_volatility_state(),
            nwrqk_state(),
            volume_profile_state(),
            mmd_state(),
            mlmi_state(),
        ]
    )


class StrategicState:
    """The strategic matrix, one bar at a time: one compiled update per closed bar, and a state that can be saved.

    ``sessions`` as in ``strategic_rows``. It is a setting, not state: give the same after a restore.
    """

    schema = STRATEGIC_SCHEMA

    def __init__(self, sessions: TradingDays | None = None) -> None:
        self._days = sessions or cme_globex_sessions()
        self._state = strategic_state()
        self._mlmi_work = mlmi_work(self._state, MLMI_AT)
        self._mmd_work = mmd_work()
        self._row: Floats = np.full(len(STRATEGIC_SCHEMA.columns), np.nan)
        self._window = RollingWindow(STRATEGIC_SCHEMA.rows, len(STRATEGIC_SCHEMA.columns))

    def update(self, open_: float, high: float, low: float, close: float, volume: float, ts_event: int) -> Floats:
        """Take in the bar that has just closed; its row, shape (13,), valid until the next update.

        Prices in price units; an unknown ``volume`` is NaN; ``ts_event`` in nanoseconds UTC, the close of the bar.
        """
        days = self._days
        full = strategic_update(
            self._state,
            self._mlmi_work,
            self._mmd_work,
            days.opens_ns,
            days.closes_ns,
            days.weekdays,
            open_,
            high,
            low,
            close,
            volume,
            ts_event,
            self._row,
        )
        if full:
            self._make_room(mlmi_usual_room(int(self._state[MLMI_AT + 1])))
        self._window.push(self._row)
        return self._row

    def update_block(self, bars: BarArrays) -> Floats:
        """Take in many bars at once; their rows, shape (T, 13). The same as one after the other, but quicker."""
        out = np.full((len(bars), len(STRATEGIC_SCHEMA.columns)), np.nan)
        days = self._days
        # No more points than bars can come.
        self._make_room(int(self._state[MLMI_AT + 1]) + len(bars) + 1)
        _strategic_batch(
            self._state,
            self._mlmi_work,
            self._mmd_work,
            days.opens_ns,
            days.closes_ns,
            days.weekdays,
            bars.open,
            bars.high,
            bars.low,
            bars.close,
            bars.volume,
            bars.ts_event,
            out,
        )
        self._make_room(mlmi_usual_room(int(self._state[MLMI_AT + 1])))
        for row in out[-STRATEGIC_SCHEMA.rows :]:
            self._window.push(row)
        return out

    @property
    def window(self) -> Floats:
        """The newest 48 rows, shape (48, 13), oldest first: a read-only view, valid until the next update."""
        return self._window.view

    def save(self) -> bytes:
        """Everything that the next update depends on, exactly."""
        # The points that are there, without the room for more.
        kept = mlmi_with_room(self._state, int(self._state[MLMI_AT + 1]), MLMI_AT)
        return pack_state(STRATEGIC_SCHEMA, kept, self._window.save())

    def restore(self, saved: bytes) -> None:
        """Go on from what ``save`` gave. Raises ``SchemaMismatch`` where other definitions saved it."""
        self._state, window = unpack_state(STRATEGIC_SCHEMA, saved)
        self._window.restore(window)
        self._mlmi_work = mlmi_work(self._state, MLMI_AT)
        self._make_room(mlmi_usual_room(int(self._state[MLMI_AT + 1])))

    def _make_room(self, room: int) -> None:
        if room != int(self._state[MLMI_AT]):
            self._state = mlmi_with_room(self._state, room, MLMI_AT)
            self._mlmi_work = mlmi_work_with_room(self._mlmi_work, room)


@kernel
def strategic_update(
    state: Floats,
    mlmi_room: Floats,
    mmd_room: Floats,
    opens_ns: Integers,
    closes_ns: Integers,
    weekdays: Integers,
    open_: float,
    high: float,
    low: float,
    close: float,
    volume: float,
    ts_event: int,
    row: Floats,
) -> bool:
    """Take in the next bar and write its 13 values to ``row``; whether MLMI's points must be given more room before the next."""
    reach = atr_update(state, ATR_AT, high, low, close)
    if not reach > 0.0:
        reach = math.nan
    log_return = log_return_update(state, RETURN_AT, close)
    row[0], row[1] = mlmi_update(state, MLMI_AT, mlmi_room, open_, high, low, close)
    regression, rise = nwrqk_update(state, NWRQK_AT, close)
    row[2] = (close - regression) / reach
    row[3] = rise / reach
    node, strength, skewness = volume_profile_update(state, PROFILE_AT, high, low, close, volume)
    distance = (close - node) / reach
    if math.isnan(node) and strength == 0.0:
        # The profile is known and has no node. The strength says so; the distance cannot.
        distance = 0.0
    row[4] = distance
    row[5] = strength
    row[6], row[7] = day_position(opens_ns, closes_ns, weekdays, ts_event)
    row[8] = mmd_update(state, MMD_AT, mmd_room, log_return)
    row[9] = momentum_update(state, SHORT_MOMENTUM_AT, log_return)
    row[10] = momentum_update(state, LONG_MOMENTUM_AT, log_return)
    row[11] = relative_volatility_update(state, VOLATILITY_AT, log_return)
    row[12] = skewness
    full: bool = state[MLMI_AT + 1] >= state[MLMI_AT]
    return full


@kernel
def _strategic_batch(
    state: Floats,
    mlmi_room: Floats,
    mmd_room: Floats,
    opens_ns: Integers,
    closes_ns: Integers,
    weekdays: Integers,
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    ts_event: Integers,
    out: Floats,
) -> None:
    for t in range(len(close)):
        strategic_update(
            state,
            mlmi_room,
            mmd_room,
            opens_ns,
            closes_ns,
            weekdays,
            open_[t],
            high[t],
            low[t],
            close[t],
            volume[t],
            ts_event[t],
            out[t],
        )
