"""Compile what a default run needs before it is needed, in parts that separate processes can do beside each other.

Each part does a small piece of real work, through the same functions as a run, so there is no list of kernels to keep. What one
part has compiled is in the cache for the others, and for every later run. ``grandmodel compile`` is the command.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import MICROS_PER_UNIT
from grandmodel.domain.time import NS_PER_DAY, ns_from_text
from grandmodel.features import StrategicState, TacticalState
from grandmodel.risk.gate import RiskGate
from grandmodel.risk.settings import RiskSettings
from grandmodel.runtime.agents import build_agent
from grandmodel.runtime.feeds import SimulatedFeed, instruments_named
from grandmodel.runtime.model_loading import LEARNING_AGENT, find_model, load_model
from grandmodel.runtime.runs import run_feed
from grandmodel.runtime.settings import AccountSettings, AgentSettings, RunSettings

_BEGIN = "2024-07-07T22:00Z"
_SPAN_NS = 5 * NS_PER_DAY
"""A week of the simulated market, until the risk numbers are known and orders leave, with few rows."""
_ROW_SCALE = 0.01


def compile_part(name: str) -> None:
    """Do one of ``PARTS``; what it compiles is in the cache afterwards. Raises ``UsageError`` for another name."""
    if name not in PARTS:
        raise UsageError(f"part: found {name!r}, expected one of {', '.join(PARTS)}")
    PARTS[name]()


def _engine() -> None:
    """A short session of the random agent: the market, the venue, bars, risk, the journal, the report."""
    instruments = instruments_named(("NQ", "CL"))
    start_ns = ns_from_text(_BEGIN)
    settings = RunSettings(
        account=AccountSettings(capital_micros=10_000_000 * MICROS_PER_UNIT),
        agents=(AgentSettings(kind="random", parameters={"probability": 0.5}),),
    )
    with tempfile.TemporaryDirectory() as folder:
        feed = SimulatedFeed(instruments, start_ns, start_ns + _SPAN_NS, settings.seed, _ROW_SCALE)
        feed.keeps_rows = False  # Nobody reads them again, and packing them needs a library that a set-up brings later.
        run_feed(Path(folder) / "run", settings, feed, clock_ns=time.perf_counter_ns)
    known = {instrument.id: instrument for instrument in instruments}
    with suppress(UsageError):  # Without live models a run has none to compile either.
        build_agent(LEARNING_AGENT, {"strategic": "live", "tactical": "live"}, known, settings.seed)


def _risk() -> None:
    """The numbers of risk that an order is checked against, of an account that holds nothing."""
    gate = RiskGate(RiskSettings(), instruments_named(("NQ",)), MICROS_PER_UNIT)
    gate.running.fill(gate.account.rows.seen[0], gate.account.rows.moment)


def _features() -> None:
    """One bar into each matrix."""
    StrategicState().update(1.0, 1.0, 1.0, 1.0, 1.0, ns_from_text(_BEGIN))
    TacticalState().update(1.0, 1.0, 1.0, 1.0, 1.0)


def _models() -> None:
    """The live model of each layer, where there is one: loading it meets every function that it decides with.

    One after the other in one process: what both decide with is compiled once there, and for each in two.
    """
    for layer in ("strategic", "tactical"):
        with suppress(UsageError):
            load_model(layer, find_model(layer, "live"))


PARTS: dict[str, Callable[[], None]] = {
    "engine": _engine,
    "risk": _risk,
    "models": _models,
    "features": _features,
}
"""In the order in which they should begin: the engine is the longest, and finds the numbers of risk done when it comes to them."""
