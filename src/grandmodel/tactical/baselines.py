"""Simple agents: what every learning agent is held against.

They return the same intents through the same protocol as the learning ones, pay the same costs and meet the same risk
gate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from grandmodel.domain.agents import Account, Agent, Wish
from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import TargetPosition
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.learnt import LearntFrom
from grandmodel.domain.time import THIRTY_MINUTES_NS


class _Rule(Agent):
    """A rule that was fitted on nothing."""

    def learnt_from(self) -> Sequence[LearntFrom]:
        """Nothing."""
        return ()


class MovingAverageCross(_Rule):
    """Long while the mean of the last ``fast`` closes is above that of the last ``slow``, short while below, as before on a tie.

    Decides at the close of each bar of ``width_ns``; means are compared as integers, so there is no rounding. Bars in a
    marked bad stretch are not used, and the averages start anew after one and after a contract roll.
    """

    name = "moving_average_cross"

    def __init__(
        self,
        instruments: Mapping[InstrumentId, Instrument],
        generator: np.random.Generator,
        *,
        fast: int = 10,
        slow: int = 40,
        lots: int = 1,
        width_ns: int = THIRTY_MINUTES_NS,
        long_only: bool = False,
    ) -> None:
        super().__init__(instruments, generator)
        if not 0 < fast < slow:
            raise UsageError(f"moving_average_cross: found fast={fast} slow={slow}, expected 0 < fast < slow")
        self._fast, self._slow, self._lots, self._width_ns = fast, slow, lots, width_ns
        self._short_lots = 0 if long_only else -lots
        self._closes: dict[InstrumentId, deque[int]] = {name: deque() for name in instruments}
        self._sums: dict[InstrumentId, list[int]] = {name: [0, 0] for name in instruments}
        self._targets: dict[InstrumentId, int] = dict.fromkeys(instruments, 0)

    def widths_needed(self) -> tuple[int, ...]:
        """The one that it decides on."""
        return (self._width_ns,)

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> Sequence[Wish]:
        """Update the averages and ask for the position that they point to, where it is not the one held."""
        wishes: list[Wish] = []
        for bar in bars:
            if bar.width_ns != self._width_ns:
                continue
            instrument = bar.instrument
            closes, sums = self._closes[instrument], self._sums[instrument]
            if bar.flags:
                closes.clear()
                sums[0] = sums[1] = 0
                if bar.flags & Flag.BAD_STRETCH:
                    continue
            fast, slow = self._fast, self._slow
            close = bar.close
            closes.append(close)
            sums[0] += close
            sums[1] += close
            if len(closes) > fast:
                sums[0] -= closes[-1 - fast]
            if len(closes) > slow:
                sums[1] -= closes.popleft()
            if len(closes) < slow:
                continue
            lead = sums[0] * slow - sums[1] * fast
            if lead > 0:
                self._targets[instrument] = self._lots
            elif lead < 0:
                self._targets[instrument] = self._short_lots
            target = self._targets[instrument]
            if target != account.lots(instrument):
                wishes.append(TargetPosition(instrument=instrument, lots=target, reasons=("ma_cross",)))
        return wishes

    def save(self) -> bytes:
        """The closes, sums and targets."""
        return msgspec.msgpack.encode([{k: list(v) for k, v in self._closes.items()}, self._sums, self._targets])

    def restore(self, data: bytes) -> None:
        """Put back the closes, sums and targets."""
        closes, sums, targets = msgspec.msgpack.decode(
            data, type=tuple[dict[InstrumentId, list[int]], dict[InstrumentId, list[int]], dict[InstrumentId, int]]
        )
        self._closes = {name: deque(values) for name, values in closes.items()}
        self._sums, self._targets = sums, targets


class RandomAgent(_Rule):
    """At the close of each bar of ``width_ns``, with ``probability``, asks for -lots, 0 or +lots by an even draw."""

    name = "random"

    def __init__(
        self,
        instruments: Mapping[InstrumentId, Instrument],
        generator: np.random.Generator,
        *,
        lots: int = 1,
        probability: float = 0.1,
        width_ns: int = THIRTY_MINUTES_NS,
    ) -> None:
        super().__init__(instruments, generator)
        self._lots, self._probability, self._width_ns = lots, probability, width_ns

    def widths_needed(self) -> tuple[int, ...]:
        """The one that it decides on."""
        return (self._width_ns,)

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> Sequence[Wish]:
        """Draw once a bar."""
        wishes: list[Wish] = []
        for bar in bars:
            if bar.width_ns != self._width_ns or self.generator.random() >= self._probability:
                continue
            target = int(self.generator.integers(-1, 2)) * self._lots
            if target != account.lots(bar.instrument) and not bar.flags & Flag.BAD_STRETCH:
                wishes.append(TargetPosition(instrument=bar.instrument, lots=target, reasons=("random",)))
        return wishes


class BuyAndHold(_Rule):
    """Holds ``lots`` of every instrument from its first bar of ``width_ns`` on."""

    name = "buy_and_hold"

    def __init__(
        self,
        instruments: Mapping[InstrumentId, Instrument],
        generator: np.random.Generator,
        *,
        lots: int = 1,
        width_ns: int = THIRTY_MINUTES_NS,
    ) -> None:
        super().__init__(instruments, generator)
        self._lots, self._width_ns = lots, width_ns

    def widths_needed(self) -> tuple[int, ...]:
        """The one that it decides on."""
        return (self._width_ns,)

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> Sequence[Wish]:
        """Ask for the position wherever it is not held."""
        return [
            TargetPosition(instrument=bar.instrument, lots=self._lots, reasons=("hold",))
            for bar in bars
            if bar.width_ns == self._width_ns and account.lots(bar.instrument) != self._lots
        ]
