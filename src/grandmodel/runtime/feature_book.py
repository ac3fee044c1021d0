"""The feature matrices of a run, kept up bar by bar: one compiled update per closed bar.

Made only where an agent asks for it (``Agent.needs_features``). A 30-minute bar goes into the strategic matrix of its
instrument, a 5-minute bar into the tactical one; other widths are passed over. Bars that close at one moment arrive shortest
first, so a strategic row never sees a 5-minute bar that closed after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.time import FIVE_MINUTES_NS, THIRTY_MINUTES_NS
from grandmodel.features import StrategicState, TacticalState


class FeatureBook:
    """Both matrices of every instrument."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self._strategic = {instrument.id: StrategicState() for instrument in instruments}
        self._tactical = {instrument.id: TacticalState() for instrument in instruments}
        self._tick = {instrument.id: instrument.tick_size.as_integer_ratio() for instrument in instruments}

    def on_bars(self, bars: Sequence[ClosedBar]) -> None:
        """Take in the bars that have just closed."""
        for bar in bars:
            if bar.width_ns == THIRTY_MINUTES_NS:
                state: StrategicState | TacticalState = self._strategic[bar.instrument]
            elif bar.width_ns == FIVE_MINUTES_NS:
                state = self._tactical[bar.instrument]
            else:
                continue
            numerator, denominator = self._tick[bar.instrument]
            state.update(
                bar.open * numerator / denominator,
                bar.high * numerator / denominator,
                bar.low * numerator / denominator,
                bar.close * numerator / denominator,
                float(bar.volume) if bar.volume >= 0 else np.nan,
                bar.ts_event,
            )

    def strategic(self, instrument: InstrumentId) -> NDArray[np.float64]:
        """The 48 newest strategic rows, (48, 13), oldest first; NaN where not known yet. Valid until the next bar."""
        return self._strategic[instrument].window

    def tactical(self, instrument: InstrumentId) -> NDArray[np.float64]:
        """The 60 newest tactical rows, (60, 7), oldest first; NaN where not known yet. Valid until the next bar."""
        return self._tactical[instrument].window

    def save(self) -> bytes:
        """The state of every matrix, exactly."""
        return msgspec.msgpack.encode(
            [
                {name: state.save() for name, state in self._strategic.items()},
                {name: state.save() for name, state in self._tactical.items()},
            ]
        )

    def restore(self, data: bytes) -> None:
        """Go on from what ``save`` gave."""
        strategic, tactical = msgspec.msgpack.decode(
            data, type=tuple[dict[InstrumentId, bytes], dict[InstrumentId, bytes]]
        )
        for name, saved in strategic.items():
            self._strategic[name].restore(saved)
        for name, saved in tactical.items():
            self._tactical[name].restore(saved)
