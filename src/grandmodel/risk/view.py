"""What the engine tells the risk gate at one step."""

from __future__ import annotations

from dataclasses import dataclass, field

NO_FLOOR = -(2**62)
"""An equity that nothing reaches."""


@dataclass(slots=True)
class RiskView:
    """What the engine knows at one step, by instrument index where it is a list. Plain ints."""

    ts: int
    equity_micros: int
    positions: list[int]
    """Signed lots."""
    marks: list[int]
    """Ticks; ``UNDEFINED_PRICE`` where there is none."""
    in_session: list[bool]
    halted: list[bool]
    """True in a venue halt, a volatility pause or a limit-up/limit-down state."""
    rates_micros: list[int]
    """Millionths of the account's currency per unit of the instrument's."""
    day_ns: int = -1
    """Midnight UTC of the trading day; -1: the UTC day of ``ts``."""
    peak_equity_micros: int = NO_FLOOR
    """Highest marked equity since the step before, where the market step knows it."""
    carried: bool = False
    """True where an order decided while its instrument is closed goes to the venue for the next open (bars of whole sessions)."""
    rows: list[int] = field(default_factory=list)
    """When bars closed: trades, quotes or orders that each instrument's feed has given so far; empty for a feed of bars."""
