"""Simple agents: what every learning agent is held against.

They return the same intents through the same protocol as the learning ones, pay the same costs and meet the same risk
gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.agents import Account, Agent, WakeRule, Wish
from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import TargetPosition
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.learnt import LearntFrom
from grandmodel.domain.time import THIRTY_MINUTES_NS
from grandmodel.kernels import kernel

_BAD_STRETCH = int(Flag.BAD_STRETCH)


class _Rule(Agent):
    """A rule that was fitted on nothing."""

    def learnt_from(self) -> Sequence[LearntFrom]:
        """Nothing."""
        return ()


class MovingAverageCross(_Rule):
    """Long while the mean of the last ``fast`` closes is above that of the last ``slow``, short while below, as before on a tie.

    Decides at the close of each bar of ``width_ns``; means are compared as integers, so there is no rounding. Bars in a
    marked bad stretch are not used, and the averages start anew after one and after a contract roll.

    The averages are kept by its wake rule (``cross_wakes``), so that it is only asked where its position is not the one that they point to.
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
        self._width_ns = width_ns
        self._places = {name: _HEAD + place * (_CLOSES + slow) for place, name in enumerate(instruments)}
        memory = np.zeros(_HEAD + len(instruments) * (_CLOSES + slow), dtype=np.int64)
        memory[:_HEAD] = width_ns, fast, slow, lots, 0 if long_only else -lots
        self._memory = memory
        self.wake = WakeRule(cross_wakes, memory)

    def widths_needed(self) -> tuple[int, ...]:
        """The one that it decides on."""
        return (self._width_ns,)

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> Sequence[Wish]:
        """Ask for the position that the averages point to, where it is not the one held."""
        wishes: list[Wish] = []
        for bar in bars:
            if bar.width_ns != self._width_ns:
                continue
            place = self._places[bar.instrument]
            is_known = self._memory[place + _COUNT] >= self._memory[_SLOW]
            target = int(self._memory[place + _TARGET])
            if is_known and target != account.lots(bar.instrument):
                wishes.append(TargetPosition(instrument=bar.instrument, lots=target, reasons=("ma_cross",)))
        return wishes


_WIDTH, _FAST, _SLOW, _LONG, _SHORT = range(5)
_HEAD = 5
"""The memory of ``cross_wakes`` begins with the width, both lengths and both targets; then comes a part for each instrument."""
_COUNT, _NEXT, _FAST_SUM, _SLOW_SUM, _TARGET = range(5)
_CLOSES = 5
"""A part: closes so far, the place of the next, both sums, the target; then the last closes, in a ring as long as the slow average."""


@kernel
def cross_wakes(bars: NDArray[Any], count: int, lots: NDArray[np.int64], memory: NDArray[np.int64]) -> bool:
    """Bring the averages up to date; True where a position is not the one that they point to."""
    fast, slow = memory[_FAST], memory[_SLOW]
    wakes = False
    for k in range(count):
        bar = bars[k]
        if bar.width != memory[_WIDTH]:
            continue
        part = memory[_HEAD + bar.instrument * (_CLOSES + slow) :]
        if bar.flags != 0:
            part[_COUNT] = part[_NEXT] = part[_FAST_SUM] = part[_SLOW_SUM] = 0
            if bar.flags & _BAD_STRETCH:
                continue
        ring = part[_CLOSES:]
        place = part[_NEXT]
        if part[_COUNT] >= fast:
            part[_FAST_SUM] -= ring[(place - fast) % slow]
        if part[_COUNT] >= slow:
            part[_SLOW_SUM] -= ring[place]
        part[_FAST_SUM] += bar.close
        part[_SLOW_SUM] += bar.close
        ring[place] = bar.close
        part[_NEXT] = (place + 1) % slow
        part[_COUNT] = min(part[_COUNT] + 1, slow)
        if part[_COUNT] < slow:
            continue
        lead = part[_FAST_SUM] * slow - part[_SLOW_SUM] * fast
        if lead > 0:
            part[_TARGET] = memory[_LONG]
        elif lead < 0:
            part[_TARGET] = memory[_SHORT]
        wakes |= part[_TARGET] != lots[bar.instrument]
    return wakes


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
        self.wake = WakeRule(is_not_held, np.array([width_ns, lots], dtype=np.int64))

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


@kernel
def is_not_held(bars: NDArray[Any], count: int, lots: NDArray[np.int64], memory: NDArray[np.int64]) -> bool:
    """True where a bar of the width ``memory[0]`` closed of an instrument in which not ``memory[1]`` lots are held."""
    wakes = False
    for k in range(count):
        wakes |= bars[k].width == memory[0] and lots[bars[k].instrument] != memory[1]
    return wakes
