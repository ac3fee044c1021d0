"""Building agents by name: the built-in kinds, or ``module:Class`` for one of one's own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from grandmodel.domain.agents import Agent
from grandmodel.domain.errors import GrandModelError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.runtime.errors import AgentChoiceError
from grandmodel.runtime.learning import LearningAgent
from grandmodel.tactical.baselines import BuyAndHold, MovingAverageCross, RandomAgent

BUILT_IN: dict[str, type[Agent]] = {
    agent.name: agent for agent in (MovingAverageCross, RandomAgent, BuyAndHold, LearningAgent)
}
"""Agents known by name."""


def build_agent(
    kind: str, parameters: Mapping[str, Any], instruments: Mapping[InstrumentId, Instrument], seed: int
) -> Agent:
    """The agent of ``kind`` over ``instruments`` with a generator of its own.

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
