"""The engine as journals, replay and recovery see it: one call per journalled input.

The first input, ``Begin``, holds everything that the engine is built from, so a journal alone is enough to run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from grandmodel import __version__
from grandmodel.domain.blocks import Block, Schema
from grandmodel.domain.errors import InvariantError
from grandmodel.domain.events import (
    Advance,
    Begin,
    Command,
    End,
    Input,
    MarketData,
    ModelRefresh,
    Record,
    SessionTimes,
    Signal,
    VenueReport,
)
from grandmodel.domain.ids import RunId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.risk.checks import CHECK_NAMES
from grandmodel.runtime.account_events import AccountEvent
from grandmodel.runtime.agents import BUILT_IN_ONLY
from grandmodel.runtime.engine import AgentFactory, Engine
from grandmodel.runtime.model_loading import model_of
from grandmodel.runtime.settings import RunSettings, settings_hash


def begin_run(
    run: RunId,
    settings: RunSettings,
    instruments: Sequence[Instrument],
    schedules: Sequence[SessionSchedule],
    data: str,
) -> Begin:
    """The first input of a run."""
    return Begin(
        run=run,
        settings=msgspec.Raw(msgspec.json.encode(settings, order="deterministic")),
        code_version=__version__,
        mode=settings.mode.value,
        instruments=tuple(instruments),
        sessions=tuple(
            SessionTimes(
                open_ns=schedule.open_ns.astype("<i8").tobytes(),
                close_ns=schedule.close_ns.astype("<i8").tobytes(),
                day_ns=schedule.day_ns.astype("<i8").tobytes(),
            )
            for schedule in schedules
        ),
        data=data,
    )


def block_of(given: MarketData) -> Block:
    """The rows of a journalled block, without copying them."""
    return np.frombuffer(given.rows, dtype=Schema(given.schema).dtype)


class InputEngine:
    """Builds the engine from ``Begin`` and hands it every later input.

    ``engine`` is None before the first input. The settings come from whoever made the journal, so agents of one's own are only
    imported where ``build_agent`` does that (``runtime.agents``).
    """

    def __init__(self, build_agent: AgentFactory = BUILT_IN_ONLY) -> None:
        self._build_agent = build_agent
        self.engine: Engine | None = None
        self.begin: Begin | None = None

    def on_input(self, number: int, given: Input) -> Iterable[Record]:
        """The records that input ``number`` causes, in order."""
        if isinstance(given, Begin):
            return self._begin(number, given)
        engine = self.engine
        if engine is None:
            raise InvariantError(f"input {number}: found {type(given).__name__} before Begin")
        if isinstance(given, MarketData):
            return engine.on_block(block_of(given))
        if isinstance(given, Advance):
            return engine.on_advance(given)
        if isinstance(given, VenueReport):
            return engine.on_report(given)
        if isinstance(given, Command):
            return engine.on_command(given)
        if isinstance(given, Signal):
            return engine.on_signal(given)
        if isinstance(given, ModelRefresh):
            return engine.on_refresh(given, model_of(given))
        if isinstance(given, AccountEvent):
            return engine.book(given)
        if isinstance(given, End):
            return engine.on_end(given)
        raise InvariantError(f"input {number}: found {type(given).__name__}, expected an input that the engine knows")

    def on_rows(self, block: Block) -> Iterable[Record]:
        """``on_input`` for a block whose rows are at hand."""
        if self.engine is None:
            raise InvariantError("found a block before Begin")
        return self.engine.on_block(block)

    def _begin(self, number: int, given: Begin) -> Iterable[Record]:
        if self.engine is not None:
            raise InvariantError(f"input {number}: found Begin a second time")
        settings = msgspec.json.decode(given.settings, type=RunSettings)
        schedules = [
            SessionSchedule(
                *(np.frombuffer(times, dtype="<i8").astype(np.int64) for times in (s.open_ns, s.close_ns, s.day_ns))
            )
            for s in given.sessions
        ]
        self.begin = given
        self.engine = Engine(settings, given.instruments, schedules, self._build_agent)
        note = {
            "settings_hash": settings_hash(settings),
            "mode": settings.mode,
            "code": given.code_version,
            "agents": self.engine.asking.learnt(),
            "checks": CHECK_NAMES,
        }
        return [self.engine.begin(note)]
