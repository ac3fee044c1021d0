"""How long agents take, measured at the edge: the engine reads no clock, and a decision that comes too late is a risk.

A session in paper or live trading gives its engine an ``AgentTimer``. It times every question to every agent with the session's own clock;
an agent that misses its budget ``misses`` times in a row is told of once, and the session journals that as a ``Signal`` (latency, in seconds)
after the block that is being walked. From there on it is an input like any other: the ladder takes it, and a replay, which has no timer, does the same.
A question that never comes back cannot be ended from inside the process: a person interrupts the command.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from grandmodel.domain.errors import UsageError
from grandmodel.domain.time import NS_PER_SECOND


class AgentTimeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long an agent may take. Not looked at in a backtest, whose results must not depend on the machine's speed."""

    budget_ns: int = NS_PER_SECOND
    """For one question (bars that closed, or reports), ns; 0: agents are not timed."""
    misses: int = 3
    """Budgets missed in a row before the ladder hears of it."""

    def __post_init__(self) -> None:
        """Refuse what times nothing."""
        if self.budget_ns < 0 or self.misses < 1:
            raise UsageError(
                f"agent_time: found budget_ns {self.budget_ns} and misses {self.misses}, expected 0 or more, and 1 or more"
            )


def late_agent(name: str) -> str:
    """What a signal about the agent ``name`` gives as its source."""
    return f"agent {name}"


class AgentTimer:
    """Times questions by ``clock_ns``, a monotonic clock; agents are known by their place in the run's settings."""

    def __init__(self, clock_ns: Callable[[], int], settings: AgentTimeSettings) -> None:
        self._clock_ns = clock_ns
        self._settings = settings
        self._began = 0
        self._in_a_row: dict[int, int] = {}
        self._longest: dict[int, int] = {}
        self._late: dict[int, int] = {}

    def asked(self) -> None:
        """An agent is about to be asked."""
        self._began = self._clock_ns()

    def answered(self, agent: int) -> None:
        """It has answered."""
        took = self._clock_ns() - self._began
        if took <= self._settings.budget_ns:
            if agent in self._in_a_row:
                del self._in_a_row[agent], self._longest[agent]
            return
        count = self._in_a_row.get(agent, 0) + 1
        self._in_a_row[agent], self._longest[agent] = count, max(took, self._longest.get(agent, 0))
        if count >= self._settings.misses:
            self._late[agent] = max(self._late.get(agent, 0), self._longest[agent])
            del self._in_a_row[agent], self._longest[agent]

    def take_late(self) -> list[tuple[int, int]]:
        """(agent, longest time in ns) of every agent that missed its budget often enough since the last call."""
        late = sorted(self._late.items())
        self._late.clear()
        return late
