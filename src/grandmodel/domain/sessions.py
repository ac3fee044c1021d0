"""Trading sessions as arrays, so that compiled code can walk them.

``data.market.sessions`` computes them from an exchange calendar; this room only says what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.errors import UsageError


@dataclass(frozen=True, slots=True)
class SessionSchedule:
    """The sessions of one instrument over a span, in order and without overlap.

    Shapes: all (S,), int64. A session is the half-open interval [``open_ns``, ``close_ns``). ``day_ns`` is midnight UTC of
    the trading day that the session belongs to (a Sunday evening open belongs to Monday). A pause inside a trading day
    (a lunch break) makes two sessions with the same ``day_ns``.
    """

    open_ns: NDArray[np.int64]
    close_ns: NDArray[np.int64]
    day_ns: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Refuse overlapping or unordered sessions."""
        if not len(self.open_ns) == len(self.close_ns) == len(self.day_ns):
            raise UsageError("sessions: found arrays of different lengths, expected one open, close and day each")
        if (self.close_ns <= self.open_ns).any() or (self.open_ns[1:] < self.close_ns[:-1]).any():
            raise UsageError("sessions: found overlapping or unordered sessions, expected disjoint ones in order")

    def __len__(self) -> int:
        return len(self.open_ns)

    def index_at(self, ts_ns: int) -> int:
        """The index of the session that contains ``ts_ns``, or -1."""
        index = int(np.searchsorted(self.open_ns, ts_ns, side="right")) - 1
        return index if index >= 0 and ts_ns < int(self.close_ns[index]) else -1
