"""How the account stands against the lines of risk, as one row that compiled code and Python both read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_I8 = "<i8"

STANDING = np.dtype(
    [
        ("capital", _I8),  # micros, as every amount here
        ("peak", _I8),  # running peak of equity, since the start or the last release
        ("day_start", _I8),  # equity at the start of the trading day
        ("day", _I8),  # midnight UTC of that day; -1 before the first
        ("floor", _I8),  # equity at or below which the ladder moves next
        ("state", _I8),  # BreakerState
        ("paused", _I8),
        ("flattening", _I8),
        ("above", _I8),  # row of the account above it (``tree.py``); -1: none
        ("terms", _I8),  # its row of the limits on the whole (``rows.PORTFOLIO``)
        ("first", _I8),  # rows [first, last): the accounts from here down that trade; itself where it trades
        ("last", _I8),
    ]
)
"""One row an account."""

_CAPITAL, _PEAK, _DAY_START, _DAY, _FLOOR, _STATE, _PAUSED, _FLATTENING = range(8)


class AccountStanding:
    """One row of ``STANDING`` with names; ``row`` (1,) is what kernels take."""

    __slots__ = ("_values", "row")

    def __init__(self, row: NDArray[Any], capital_micros: int, floor_micros: int) -> None:
        self.row = row
        self._values = self.row.view(np.int64)
        self._values[_CAPITAL] = self._values[_PEAK] = self._values[_DAY_START] = capital_micros
        self._values[_DAY] = -1
        self._values[_FLOOR] = floor_micros

    @property
    def capital_micros(self) -> int:
        """What money limits are multiples of: the starting capital, and what the owner brought or took since."""
        return int(self._values[_CAPITAL])

    @capital_micros.setter
    def capital_micros(self, value: int) -> None:
        self._values[_CAPITAL] = value

    @property
    def peak_micros(self) -> int:
        """Running peak of equity, since the start or the last release."""
        return int(self._values[_PEAK])

    @peak_micros.setter
    def peak_micros(self, value: int) -> None:
        self._values[_PEAK] = value

    @property
    def day_start_micros(self) -> int:
        """Equity at the start of the trading day, or at the last release within it."""
        return int(self._values[_DAY_START])

    @day_start_micros.setter
    def day_start_micros(self, value: int) -> None:
        self._values[_DAY_START] = value

    @property
    def day(self) -> int:
        """Midnight UTC of the trading day; -1 before the first."""
        return int(self._values[_DAY])

    @day.setter
    def day(self, value: int) -> None:
        self._values[_DAY] = value

    @property
    def floor_micros(self) -> int:
        """Equity at or below which the ladder moves next."""
        return int(self._values[_FLOOR])

    @floor_micros.setter
    def floor_micros(self, value: int) -> None:
        self._values[_FLOOR] = value

    @property
    def state(self) -> int:
        """The ladder's ``BreakerState``, as a number."""
        return int(self._values[_STATE])

    @state.setter
    def state(self, value: int) -> None:
        self._values[_STATE] = value

    @property
    def paused(self) -> bool:
        """True while a person allows no new risk."""
        return bool(self._values[_PAUSED])

    @paused.setter
    def paused(self, value: bool) -> None:
        self._values[_PAUSED] = value

    @property
    def flattening(self) -> bool:
        """True from a person's FLATTEN until everything is closed."""
        return bool(self._values[_FLATTENING])

    @flattening.setter
    def flattening(self, value: bool) -> None:
        self._values[_FLATTENING] = value


def moved_capital(capital_micros: int, before_micros: int, after_micros: int) -> int:
    """The capital that limits are multiples of, after the owner brought or took money, with the equity ``before`` and ``after``.

    A deposit adds to it. A withdrawal takes the share of it that it takes of the equity, rounded down, so that what was earned can be
    taken out without the limits of a loser. In micros, above 0; where equity is not above 0 on both sides, it moves by the amount.
    """
    if after_micros < before_micros and after_micros > 0:
        return max(capital_micros * after_micros // before_micros, 1)
    return max(capital_micros + after_micros - before_micros, 1)


def moved_peak(peak_micros: int, before_micros: int, after_micros: int) -> int:
    """The running peak after the owner brought or took money, with the equity ``before`` and ``after``; micros, above 0.

    The fraction lost since the peak stays what it was: the peak grows or shrinks as equity does, rounded up. Where equity is not above
    0 on both sides there is no such fraction: the peak moves by the amount, and is never below equity or one millionth.
    """
    if before_micros > 0 and after_micros > 0:
        return -(-peak_micros * after_micros // before_micros)
    return max(peak_micros + after_micros - before_micros, after_micros, 1)
