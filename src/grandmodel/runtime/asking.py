"""Asking agents: every call of an agent's own code passes here, and what it raises or returns is held against the contract.

An agent is somebody else's code. What it returns is read back as the record will hold it before anything follows from it; what it
raises ends the run with its name, file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from grandmodel.domain.agents import Agent, WakeRule, Wish
from grandmodel.domain.errors import InvariantError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.learnt import AgentLearnt, LearntFrom
from grandmodel.domain.time import text_from_ns
from grandmodel.runtime.errors import AgentChoiceError, AgentError, WishError
from grandmodel.runtime.market_step import MarketStep
from grandmodel.runtime.wishes import MAX_WISHES, admitted, place_of, place_raised, shown

_LONGEST_NAME = 200


class AgentWatch(Protocol):
    """Told when an agent is asked and when it has answered; the edge times it so. What it does changes nothing in the engine."""

    def asked(self) -> None:
        """An agent is about to be asked."""

    def answered(self, agent: int) -> None:
        """The agent with this place in the settings has answered."""


class Agents:
    """The agents of one run, in the order of the settings.

    ``instruments`` are the names that a wish may hold; ``market`` tells the time, for messages.
    """

    def __init__(self, agents: Sequence[Agent], instruments: Sequence[InstrumentId], market: MarketStep) -> None:
        self.agents = tuple(agents)
        self.names = tuple(_checked_name(agent) for agent in self.agents)
        """As they stand on the record, whatever an agent does to its own name later."""
        self.carry = tuple(_said(agent, "carries_over") for agent in self.agents)
        """Whether each says that its wishes wait for the next open; looked at once, so that it cannot change in a run."""
        self.need_features = any(_said(agent, "needs_features") for agent in self.agents)
        self.wakes = tuple(_wake_rule(agent) for agent in self.agents)
        """The wake rule of each; None where it is asked at every close."""
        self.hear_reports = tuple(
            place for place, agent in enumerate(self.agents) if type(agent).on_reports is not Agent.on_reports
        )
        """The places of those that want to hear what the venue said: the others' answer is known."""
        self.watch: AgentWatch | None = None
        self._known = dict.fromkeys(instruments)
        self._market = market

    def call(self, place: int, question: str, *given: object) -> Any:
        """An agent's own answer to a method of ``Agent``; what goes wrong names the agent, the line and the time, and stops the run.

        Only a person's interruption passes as what it is, and what this program found wrong with itself.
        """
        watch = self.watch
        if watch is not None:
            watch.asked()
        try:
            return getattr(self.agents[place], question)(*given)
        except (KeyboardInterrupt, InvariantError):
            raise
        except BaseException as error:
            where = place_raised(error, self.written(place, question))
            raise AgentError(f"agent {self.names[place]} failed {self._moment()} ({where}): {shown(error)}") from error
        finally:
            if watch is not None:
                watch.answered(place)

    def written(self, place: int, question: str) -> Callable[..., object]:
        """The method as its class has it, for messages: the agent itself is not asked."""
        method: Callable[..., object] = getattr(type(self.agents[place]), question)
        return method

    def widths_needed(self) -> tuple[tuple[int, ...], ...]:
        """By agent the bar widths, ns, without which it never decides."""
        found = []
        for place in range(len(self.agents)):
            widths = self.call(place, "widths_needed")
            if type(widths) not in (tuple, list) or not all(type(width) is int for width in widths):
                fault = f"found {shown(widths)} returned, expected a tuple of whole numbers of ns"
                raise self._not_valid(place, "widths_needed", fault)
            found.append(tuple(widths))
        return tuple(found)

    def introductions(self) -> tuple[str, ...]:
        """What the agents say that they trade, and by what."""
        return tuple(line for place in range(len(self.agents)) for line in self.introduced(place))

    def learnt(self) -> tuple[AgentLearnt, ...]:
        """What each agent's models had seen before the run; None for one that does not say."""
        found = []
        for place, name in enumerate(self.names):
            learnt = self.call(place, "learnt_from")
            try:
                read = msgspec.json.decode(msgspec.json.encode(learnt), type=tuple[LearntFrom, ...] | None)
                is_said = learnt is None or all(type(one) is LearntFrom for one in learnt)
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001  what an agent returns may raise anything while it is written
                is_said = False
            if not is_said:
                fault = f"found {shown(learnt)} returned, expected a tuple of LearntFrom values, or None"
                raise self._not_valid(place, "learnt_from", fault)
            found.append(AgentLearnt(agent=name, learnt_from=read))
        return tuple(found)

    def introduced(self, place: int) -> tuple[str, ...]:
        """What an agent says of itself, for people; lines that are no text are as wrong as a wish that is none."""
        lines: tuple[str, ...] = self.call(place, "introduce")
        if type(lines) is not tuple or not all(type(line) is str and line.isprintable() for line in lines):
            raise self._not_valid(
                place, "introduce", f"found {shown(lines)} returned, expected a tuple of lines of text"
            )
        return lines

    def ask(self, place: int, question: str, *given: object) -> list[Wish]:
        """An agent's wishes, each as the record will hold it; one that is not valid stops the run before any is acted on."""
        wishes = self.call(place, question, *given)
        if type(wishes) is not tuple and type(wishes) is not list:
            raise self._not_valid(
                place, question, f"found {shown(wishes)} returned, expected a list or tuple of wishes"
            )
        if not wishes:
            return []
        if len(wishes) > MAX_WISHES:
            raise self._not_valid(
                place, question, f"found {len(wishes)} wishes, expected at most {MAX_WISHES} at a time"
            )
        try:
            found = [admitted(wish) for wish in wishes]
        except WishError as error:
            raise self._not_valid(place, question, str(error)) from None
        for wish in found:
            if wish.instrument not in self._known:
                fault = f"found instrument {shown(wish.instrument)}, expected one of {', '.join(self._known)}"
                raise self._not_valid(place, question, f"{type(wish).__name__}.instrument: {fault}")
        return found

    def _not_valid(self, place: int, question: str, fault: str) -> AgentError:
        where = f"{question}, {place_of(self.written(place, question))}"
        return AgentError(f"agent {self.names[place]} ({where}) {self._moment()}: {fault}")

    def _moment(self) -> str:
        """When something was found, for people."""
        now = self._market.now
        return "before the run began" if now == -(2**63) else f"at {text_from_ns(now)}"


def _wake_rule(agent: Agent) -> WakeRule | None:
    """The agent's wake rule, where compiled code can use it."""
    rule = _attribute(agent, "wake")
    if rule is None:
        return None
    if type(rule) is not WakeRule:
        raise AgentChoiceError(f"agent {type(agent).__name__}: found wake {shown(rule)}, expected a WakeRule or None")
    memory = rule.memory
    if (
        type(memory) is not np.ndarray
        or memory.dtype not in (np.dtype(np.int64), np.dtype(np.float64))
        or memory.ndim != 1
        or not len(memory)
        or not (memory.flags.c_contiguous and memory.flags.writeable)
    ):
        raise AgentChoiceError(
            f"agent {type(agent).__name__}: found a wake rule with memory {shown(memory)}, expected a writable array (M,) of int64 or float64, "
            "M >= 1"
        )
    return rule


def _said(agent: Agent, name: str) -> bool:
    said = _attribute(agent, name)
    if type(said) is bool:
        return said
    raise AgentChoiceError(f"agent {type(agent).__name__}: found {name} {shown(said)}, expected True or False")


def _attribute(agent: Agent, name: str) -> object:
    """What an agent says of itself; an agent may compute it, and whatever it raises names it."""
    try:
        return getattr(agent, name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise AgentChoiceError(f"agent {type(agent).__name__}: its {name} cannot be read: {shown(error)}") from error


def _checked_name(agent: Agent) -> str:
    """The agent's name, where it can stand on a record."""
    name = _attribute(agent, "name")
    if type(name) is str and name and len(name) <= _LONGEST_NAME and name.isprintable():
        return name
    raise AgentChoiceError(
        f"agent {type(agent).__name__}: found name {shown(name)}, expected a printable text of 1 to {_LONGEST_NAME} characters"
    )
