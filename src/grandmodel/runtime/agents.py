"""Building agents by name: the built-in kinds, or ``module:Class`` for one of one's own.

A kind ``module:Class`` is code, and a run's settings may come from a stranger. So it is imported only where whoever runs it says so:
``OwnAgents`` holds which kinds may be imported and from which folder, ``BUILT_IN_ONLY`` none, and ``build_agent`` every one, for
programs whose settings are their own. The current folder is on no import path unless it is named.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grandmodel.domain.agents import Agent
from grandmodel.domain.errors import GrandModelError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.runtime.errors import AgentChoiceError, UntrustedAgentError
from grandmodel.runtime.learning import LearningAgent
from grandmodel.tactical.baselines import BuyAndHold, MovingAverageCross, RandomAgent

BUILT_IN: dict[str, type[Agent]] = {
    agent.name: agent for agent in (MovingAverageCross, RandomAgent, BuyAndHold, LearningAgent)
}
"""Agents known by name."""


def build_agent(
    kind: str, parameters: Mapping[str, Any], instruments: Mapping[InstrumentId, Instrument], seed: int
) -> Agent:
    """The agent of ``kind`` over ``instruments`` with a generator of its own; a kind of one's own is imported as Python would.

    Raises ``AgentChoiceError`` where the kind is unknown, cannot be imported, is not an ``Agent``, or refuses its parameters.
    """
    agent_type = BUILT_IN.get(kind) or _import_agent(kind)
    generator = np.random.Generator(np.random.PCG64(seed))
    try:
        return agent_type(instruments, generator, **parameters)
    except TypeError as error:
        raise AgentChoiceError(f"agent {kind}: its parameters do not fit: {error}") from error
    except (GrandModelError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise AgentChoiceError(f"agent {kind}: it cannot be built: {error!r}") from error


@dataclass(frozen=True, slots=True)
class OwnAgents:
    """Builds agents; those of one's own only where they were asked for, and from one folder before all others."""

    kinds: Collection[str] | None = ()
    """Which ``module:Class`` may be imported; None: each that the settings name."""
    folder: Path | None = None
    """Where their modules are looked for first; None: only where Python looks anyway."""

    def __call__(
        self, kind: str, parameters: Mapping[str, Any], instruments: Mapping[InstrumentId, Instrument], seed: int
    ) -> Agent:
        """As ``build_agent``; raises ``UntrustedAgentError``, and imports nothing, where ``kind`` was not asked for."""
        if kind not in BUILT_IN and ":" in kind:
            if self.kinds is not None and kind not in self.kinds:
                raise UntrustedAgentError(
                    f"agent {kind}: found code that the settings name and nobody asked for, so it was not imported. Look at it, "
                    "then name it: --agents-from FOLDER for settings of your own, --trust-agents for a run that was made before"
                )
            if self.folder is not None:
                name = kind.partition(":")[0]
                if not _load_module(name, self.folder):
                    where = f"{self.folder.resolve()} (--agents-from names another folder) nor installed"
                    raise AgentChoiceError(f"agent {kind}: it cannot be imported: found no module {name!r} in {where}")
        return build_agent(kind, parameters, instruments, seed)


BUILT_IN_ONLY = OwnAgents()
"""Imports nothing."""


def _load_module(name: str, folder: Path) -> bool:
    """Take the module ``name`` from ``folder`` if it is there; modules that it imports are found there last of all.

    False where no such module is in the folder or installed.
    """
    where = str(folder.resolve())
    top = name.partition(".")[0]
    found = importlib.machinery.PathFinder.find_spec(top, [where])
    if where not in sys.path:
        sys.path.append(where)  # Behind everything that is installed: no file there stands in for a library's.
    if top in sys.modules:
        return True
    if found is None:
        return importlib.util.find_spec(top) is not None
    if found.loader is None:
        return True
    module = importlib.util.module_from_spec(found)
    sys.modules[top] = module
    try:
        found.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[top]
        if isinstance(error, Exception):
            raise AgentChoiceError(f"agent {name}: it cannot be imported: {error}") from error
        raise
    return True


def _import_agent(kind: str) -> type[Agent]:
    module, separator, name = kind.partition(":")
    if not separator:
        raise AgentChoiceError(
            f"found agent {kind!r}, expected one of {', '.join(BUILT_IN)}, or module:Class for one of your own"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise AgentChoiceError(f"agent {kind}: it cannot be imported: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise AgentChoiceError(f"agent {kind}: it cannot be imported: {error!r}") from error
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise AgentChoiceError(f"agent {kind}: found {found!r}, expected a subclass of grandmodel.domain.agents.Agent")
    return found
