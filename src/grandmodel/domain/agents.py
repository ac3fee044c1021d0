"""What an agent is to the engine: it sees closed bars and fills, and answers with wishes.

The baselines, the learning agents and an agent of one's own all derive from ``Agent``. An agent reads no clock and draws
only from the generator that it is given; what it must remember goes through ``save`` and ``restore``, so that a run can
stop at any step and go on from there.

What an agent is handed is to be read: frozen values, tuples, arrays that are its own, an account without a way to change it.
What it returns is held against the types of ``domain.decisions``, exactly (a whole number may stand for a float): anything else, and
anything that it raises, ends the run with its name, file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class WakeRule:
    """When an agent wants to be asked about bars that closed: a compiled condition in place of a call of ``on_bars`` at every close.

    The engine calls ``condition(bars, count, lots, memory)`` at every moment at which bars close, once, before any agent is asked. Where
    it says False the agent is not asked. **It promises that ``on_bars`` would have returned nothing there**; nobody checks that, but a
    run with ``wake_rules`` off asks the agent all the same, and must give the same records.
    """

    condition: Callable[..., bool]
    """A kernel (``grandmodel.kernels.kernel``) of

    - ``bars``: an array whose first ``count`` rows are the bars that closed now, to be read only. Fields, int64: ``instrument`` (its place
      in the run), ``width``, ``start``, ``end`` (ns), ``open``, ``high``, ``low``, ``close`` (ticks), ``volume``, ``flags``;
    - ``lots``: int64 (I,), the signed position in each instrument, to be read only;
    - ``memory``: the array below, which it may change;

    that returns a bool. It reads no clock and draws no random number."""
    memory: NDArray[np.int64] | NDArray[np.float64]
    """What the condition keeps from call to call, (M,) with M >= 1: int64 or float64. The engine puts it into snapshots and back; the
    agent may read it in ``on_bars``, where the bars of the moment are in it already, and sets it only before the run begins."""


class Agent:
    """One decision maker. Override ``on_bars``, and the rest where needed."""

    name = "agent"
    needs_features = False
    """True: the engine keeps the two feature matrices up to date for every instrument."""
    carries_over = False
    """True: what it wishes while an instrument is closed (at a session's last close, above all) is checked at once and goes to
    the venue for the next session's open. False: it is refused as out of session. Where the shortest bars kept are whole
    sessions, such as daily bars, every wish is carried: there is no other time to wish."""
    wake: WakeRule | None = None
    """When it wants to be asked about bars; None: at every close. Looked at once, before the run begins."""

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
