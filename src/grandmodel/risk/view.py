"""What the engine tells the risk gate at one step, and what the gate says of one order."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from grandmodel.domain.decisions import CheckedOrder, RiskCheck
from grandmodel.domain.orders import Order
from grandmodel.risk.checks import listed

NO_FLOOR = -(2**62)
"""An equity that nothing reaches."""


@dataclass(slots=True)
class RiskView:
    """What the engine knows at one step, by instrument index where it is a list. Plain ints: the gate reads it per order."""

    ts: int
    equity_micros: int
    positions: list[int]
    """Signed lots."""
    marks: list[int]
    """Ticks; ``UNDEFINED_PRICE`` where there is none."""
    mark_ts: list[int]
    """When the last row of each instrument came: its mark is the price that held then."""
    best_bids: list[int]
    best_asks: list[int]
    """Ticks; ``UNDEFINED_PRICE`` where only bars are known."""
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


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the gate says of one order: what may go (perhaps smaller), or None, and every check."""

    order: Order | None
    checked: CheckedOrder
    reason: str
    """Code of the first check that refused, else of the first that cut, else empty."""

    @property
    def checks(self) -> tuple[RiskCheck, ...]:
        """Every check, for people."""
        return listed(self.checked)
