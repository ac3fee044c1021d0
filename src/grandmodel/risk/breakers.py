"""The circuit breaker ladder: normal, caution, reduce, halt, killed.

The ladder moves towards killed by rule, at once, and back only as configured: caution (or what the settings name) may
release itself after a calm time, anything more takes a person with a named role and a reason, and killed takes two different people. Every move is
a ``Transition``; the gate puts each on the record as an alert. What the gate does in each state is in ``gate.py``.
"""

from __future__ import annotations

import enum

import msgspec

from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.settings import BreakerSettings, Thresholds


class BreakerState(enum.IntEnum):
    """How far trading is restricted."""

    NORMAL = 0
    CAUTION = 1
    """New positions at half size."""
    REDUCE = 2
    """Only what reduces; a share of the risk is closed automatically, in slices."""
    HALT = 3
    """Cancel, flatten, no new risk."""
    KILLED = 4
    """Nothing leaves; two people must release it."""


_NORMAL = BreakerState.NORMAL
_RELEASES = {
    "never": BreakerState.NORMAL,
    "caution": BreakerState.CAUTION,
    "reduce": BreakerState.REDUCE,
    "halt": BreakerState.HALT,
}


class Trigger(enum.StrEnum):
    """What can move the ladder."""

    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    VAR_BREACH = "var_breach"
    CORRELATION_SHOCK = "correlation_shock"
    VOLATILITY = "volatility"
    LOSS_STREAK = "loss_streak"
    DATA_QUALITY = "data_quality"
    ORDER_REJECTS = "order_rejects"
    LATENCY = "latency"
    MARKET_WIDE = "market_wide"
    DISCONNECT = "disconnect"
    PERSON = "person"


class Transition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One move of the ladder."""

    ts: int
    before: BreakerState
    after: BreakerState
    trigger: Trigger
    value: float = 0.0
    limit: float = 0.0
    who: str = ""
    reason: str = ""


class BreakerLadder:
    """The state, and the rules that move it. Times come from the caller; nothing here reads a clock."""

    __slots__ = ("_first_release", "_last_at", "_limits", "settings", "state", "transitions")

    def __init__(self, settings: BreakerSettings | None = None) -> None:
        self.settings = settings or BreakerSettings()
        self.state = BreakerState.NORMAL
        self.transitions: list[Transition] = []
        self._last_at = 0
        self._first_release: tuple[str, BreakerState] | None = None
        self._limits: dict[Trigger, tuple[float, float, float]] = {
            trigger: _limits_of(getattr(self.settings, trigger.value))
            for trigger in Trigger
            if trigger is not Trigger.PERSON
        }

    def limits(self, trigger: Trigger) -> tuple[float, float, float]:
        """The values at which ``trigger`` asks for caution, reduce and halt; infinity where it never does."""
        return self._limits[trigger]

    def observe(self, trigger: Trigger, value: float, ts: int, *, renews: bool = True) -> Transition | None:
        """Take the present ``value`` of a trigger; returns the move that it makes, if any. NaN asks for halt.

        A value that asks for the present state or worse starts the calm time again, unless ``renews`` is False.
        """
        caution, reduce, halt = self._limits[trigger]
        if value < caution:
            return None
        if value < reduce:
            asked, limit = BreakerState.CAUTION, caution
        elif value < halt:
            asked, limit = BreakerState.REDUCE, reduce
        else:
            asked, limit = BreakerState.HALT, halt
        if renews and asked >= self.state:
            self._last_at = ts
        if asked <= self.state:
            return None
        return self._move(asked, trigger, ts, value=value, limit=limit)

    def relax(self, ts: int) -> Transition | None:
        """Step back to normal where the settings allow it from this state and every trigger has been quiet long enough."""
        worst = _RELEASES[self.settings.automatic_release]
        if not _NORMAL < self.state <= worst or ts - self._last_at < self.settings.calm_ns:
            return None
        return self._move(BreakerState.NORMAL, Trigger.PERSON, ts, who="rule", reason="calm")

    def halt(self, who: str, reason: str, ts: int) -> Transition | None:
        """Go to halt at once; None where the ladder stands there already, or beyond."""
        if self.state >= BreakerState.HALT:
            return None
        return self._move(BreakerState.HALT, Trigger.PERSON, ts, who=who, reason=reason)

    def kill(self, who: str, reason: str, ts: int) -> Transition | None:
        """Go to killed at once; anybody may."""
        self._first_release = None
        if self.state is BreakerState.KILLED:
            return None
        return self._move(BreakerState.KILLED, Trigger.PERSON, ts, who=who, reason=reason)

    def release(self, to: BreakerState, who: str, reason: str, ts: int) -> Transition | None:
        """A person steps the ladder back to ``to``; ``who`` is ``name/role``.

        From killed the first call only notes the person and returns None; the same release by a second person moves it.
        Raises ``RiskInputError`` where the role may not release, the reason is empty, or ``to`` is not a step back.
        """
        name, _, role = who.partition("/")
        if role not in self.settings.release_roles or not name.strip():
            allowed = ", ".join(self.settings.release_roles)
            raise RiskInputError(f"found {who!r} asking for a release, expected name/role with a role of: {allowed}")
        if not reason.strip():
            raise RiskInputError("found a release without a reason, expected the cause and what was done about it")
        if to >= self.state:
            raise RiskInputError(f"found a release from {self.state.name} to {to.name}, expected a step back")
        if self.state is BreakerState.KILLED and (
            self._first_release is None or self._first_release[1] is not to or self._first_release[0] == name
        ):
            self._first_release = (name, to)
            return None
        if self.state is BreakerState.KILLED and self._first_release is not None:
            who = f"{self._first_release[0]} and {who}"
        self._first_release = None
        return self._move(to, Trigger.PERSON, ts, who=who, reason=reason)

    def _move(
        self,
        after: BreakerState,
        trigger: Trigger,
        ts: int,
        *,
        value: float = 0.0,
        limit: float = 0.0,
        who: str = "",
        reason: str = "",
    ) -> Transition:
        moved = Transition(
            ts=ts,
            before=self.state,
            after=after,
            trigger=trigger,
            value=value,
            limit=limit,
            who=who,
            reason=reason,
        )
        self.state = after
        self._last_at = ts
        self.transitions.append(moved)
        return moved

    def save(self) -> bytes:
        """The state as bytes."""
        return msgspec.msgpack.encode((self.state, self._last_at, self._first_release, self.transitions))

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save``."""
        self.state, self._last_at, self._first_release, self.transitions = msgspec.msgpack.decode(
            data, type=tuple[BreakerState, int, tuple[str, BreakerState] | None, list[Transition]]
        )


def _limits_of(thresholds: Thresholds) -> tuple[float, float, float]:
    """Caution, reduce and halt as numbers: a step that is never asked for takes the value of the next one up."""
    infinity = float("inf")
    halt = infinity if thresholds.halt is None else thresholds.halt
    reduce = halt if thresholds.reduce is None else thresholds.reduce
    caution = reduce if thresholds.caution is None else thresholds.caution
    return caution, reduce, halt
