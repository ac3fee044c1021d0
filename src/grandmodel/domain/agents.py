"""What an agent is to the engine: it sees closed bars and fills, and answers with wishes.

The baselines, the learning agents and an agent of one's own all derive from ``Agent``. An agent reads no clock and draws
only from the generator that it is given; what it must remember goes through ``save`` and ``restore``, so that a run can
stop at any step and go on from there.

What an agent is handed is to be read: frozen values, tuples, arrays that are its own, an account without a way to change it.
What it returns is held against the types of ``domain.decisions``, exactly (a whole number may stand for a float): anything else, and
anything that it raises, ends the run with its name, file and line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.decisions import Decision, Intent
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.learnt import LearntFrom
from grandmodel.domain.orders import ExecutionReport, Fill, Order

Wish: TypeAlias = Intent | Decision
"""What an agent may return: an intent to trade, or a decision that only goes on the record."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the account and one position stand against the lines that risk has drawn."""

    open_profit_micros: int
    """Of the instrument's position, millionths of the base currency."""
    tick_value_micros: float
    """What one lot gains when the price rises one tick, millionths of the base currency."""
    drawdown: float
    """Fraction below the running peak."""
    drawdown_limit: float
    """Where risk begins to act on it; 0 where it never does."""
    day_loss: float
    """Loss since the start of the trading day as a share of capital; negative is a gain."""
    day_loss_limit: float
    """Where risk begins to act on it; 0 where it never does."""
    size_scale: float
    """Share of a position that risk lets one ask for: 1 normally, 0 while no new risk is allowed."""
    peak_micros: int = 0
    """The running peak that ``drawdown`` is measured from."""
    day_start_micros: int = 0
    """The equity that ``day_loss`` is measured from."""


class Account(Protocol):
    """What an agent may know of the account; read-only, and true at the moment of the call."""

    @property
    def now(self) -> int:
        """int64 ns UTC."""

    @property
    def equity_micros(self) -> int:
        """Cash plus marked positions, millionths of the base currency."""

    def lots(self, instrument: InstrumentId) -> int:
        """Signed position."""

    def mark(self, instrument: InstrumentId) -> int | None:
        """The price at which the instrument is valued now, in ticks; None before the first."""

    def working(self, instrument: InstrumentId) -> Sequence[Order]:
        """Orders sent and not ended, oldest first."""

    def standing(self, instrument: InstrumentId) -> Standing:
        """How the account and the instrument's position stand against the lines of risk."""

    def strategic_window(self, instrument: InstrumentId) -> NDArray[np.float64]:
        """The 48 newest rows of the strategic matrix, (48, 13); NaN where not known yet. For agents that need features."""

    def tactical_window(self, instrument: InstrumentId) -> NDArray[np.float64]:
        """The 60 newest rows of the tactical matrix, (60, 7); NaN where not known yet. For agents that need features."""


class Agent:
    """One decision maker. Override ``on_bars``, and the rest where needed."""

    name = "agent"
    needs_features = False
    """True: the engine keeps the two feature matrices up to date for every instrument."""
    carries_over = False
    """True: what it wishes while an instrument is closed (at a session's last close, above all) is checked at once and goes to
    the venue for the next session's open. False: it is refused as out of session. Where the shortest bars kept are whole
    sessions, such as daily bars, every wish is carried: there is no other time to wish."""

    def __init__(self, instruments: Mapping[InstrumentId, Instrument], generator: np.random.Generator) -> None:
        self.instruments = instruments
        self.generator = generator

    def introduce(self) -> tuple[str, ...]:
        """What this agent trades, by what, and what it does not and why: lines for people, on the first record; none by default."""
        return ()

    def widths_needed(self) -> tuple[int, ...]:
        """The bar widths, ns, without which it never decides; a run that keeps none of one of them does not begin."""
        return ()

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> Sequence[Wish]:
        """Every bar that closed at this moment, of every width kept, shortest first within an instrument.

        Returns a list or tuple of wishes, empty where there are none.
        """
        raise NotImplementedError

    def on_reports(
        self,
        reports: Sequence[ExecutionReport],  # noqa: ARG002
        fills: Sequence[Fill],  # noqa: ARG002
        account: Account,  # noqa: ARG002
    ) -> Sequence[Wish]:
        """The venue answered; by default nothing follows from it."""
        return ()

    def check_model(self, layer: str, model: object) -> None:
        """Raise ``UsageError`` where ``model`` cannot decide for ``layer`` after the one before; asked before it takes over."""

    def take_model(self, layer: str, model: object) -> bool:  # noqa: ARG002
        """Let ``model`` decide for ``layer`` from now on; False where this agent has no use for it."""
        return False

    def learnt_from(self) -> Sequence[LearntFrom] | None:
        """What the agent's trained models learnt from, so that a run can say which part of it they had seen before.

        Empty for a rule that was fitted on nothing; None, as here, where the agent does not say.
        """
        return None

    def save(self) -> bytes:
        """What must be remembered between calls, as bytes."""
        return b""

    def restore(self, data: bytes) -> None:
        """Put back what ``save`` gave."""
        if data:
            raise NotImplementedError(
                f"{type(self).__name__} was saved with a state, but does not say how to restore it"
            )
