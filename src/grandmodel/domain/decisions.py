"""What agents decide, as values that every room understands: beliefs, the strategic decision, and intents.

An agent never makes an order. It returns intents; the engine turns an intent into orders, and only those that the risk
gate approves leave. The bounds stand in the types: a reader of records refuses what lies beyond them, and what an agent
returns is held against the same types before anything follows from it (``runtime.wishes``).
"""

from __future__ import annotations

import enum
from typing import Annotated, TypeAlias

import msgspec

from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.instruments import MAX_PRICE_TICKS, MAX_QUANTITY_LOTS
from grandmodel.domain.orders import OrderType, Side, TimeInForce

Time: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""int64 ns UTC."""

Lots: TypeAlias = Annotated[int, msgspec.Meta(ge=-MAX_QUANTITY_LOTS, le=MAX_QUANTITY_LOTS)]
"""A signed position."""

Quantity: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY_LOTS)]
"""Lots of one order."""

Price: TypeAlias = Annotated[int, msgspec.Meta(ge=-MAX_PRICE_TICKS, le=MAX_PRICE_TICKS)]
"""A price in ticks."""

Distance: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_PRICE_TICKS)]
"""A distance between two prices, in ticks."""

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""A number that counts something up from 1; 0 is none."""

OrderReference: TypeAlias = Annotated[OrderId, msgspec.Meta(ge=0, le=2**63 - 1)]
"""The number of an order, as an agent names it; one that does not exist is no error."""


class Belief(msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A distribution over the direction of the market; the three add up to 1."""

    bullish: float
    neutral: float
    bearish: float


class Urgency(enum.StrEnum):
    """How the execution agent wants to trade."""

    WAIT = "wait"
    PASSIVE = "passive"
    AGGRESSIVE = "aggressive"


class StrategicDecision(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="strategic"
):
    """The 30-minute decision: how much risk to hold in one instrument, which way, and how sure."""

    instrument: InstrumentId
    ts: Time
    belief: Belief
    """Collapsed and calibrated: what the other numbers are about."""
    beliefs: tuple[Belief, ...] = ()
    """Each agent's own, in the order of ``agents``, before calibration."""
    weights: tuple[float, ...]
    """The Coordinator's weight of each agent, in the order of ``agents``."""
    agents: tuple[str, ...]
    purity: float
    """Trace of rho squared: 1 where the agents agree entirely."""
    entropy: float
    """Von Neumann entropy of rho, nats."""
    expected_entropy: float
    """The market's noise: mean entropy of the sampled beliefs, nats."""
    mutual_information: float
    """The model's ignorance: predictive minus expected entropy, nats."""
    target_exposure: float
    """In [-1, 1], as a share of the instrument's risk limit."""
    novelty: float = 0.0
    """How unlike the training data the window is: 1 at the edge of what was seen, more beyond."""
    support: float = 1.0
    """How far held-back data support the model's directions, in [0, 1]; the size is multiplied by it."""
    expected_move: float = 0.0
    """Ticks over the horizon, from the calibrated belief."""
    interval: tuple[float, float] = (0.0, 0.0)
    """Conformal interval of the move over the horizon, ticks."""
    coverage: float = 0.0
    """What the interval is asked to cover, 0.9 for instance."""
    risk_lots: float = 0.0
    """Lots that an exposure of 1 stands for: the smaller of volatility target and VaR budget, not rounded."""
    reasons: tuple[str, ...] = ()
    model: str = ""
    """Id of the model that decided: stage name and content hash."""


class AgentChoice(msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True):
    """What one tactical agent would do: its distribution over its actions, and the one taken."""

    agent: str
    actions: tuple[str, ...]
    probabilities: tuple[float, ...]
    chosen: str


class TacticalDecision(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="tactical"
):
    """The 5-minute decision: when and how to trade towards the strategic one. What follows from it is an intent."""

    instrument: InstrumentId
    ts: Time
    choices: tuple[AgentChoice, ...]
    purity: float
    """Of the agents' joint state; 1 where they agree entirely."""
    entropy: float
    expected_entropy: float
    mutual_information: float
    exposure: float
    """The strategic target exposure that it works towards."""
    lots: Lots
    """The position asked for, signed."""
    stop_ticks: Distance = 0
    urgency: Urgency = Urgency.WAIT
    novelty: float = 0.0
    reasons: tuple[str, ...] = ()
    model: str = ""


class TargetPosition(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="target"
):
    """Hold ``lots`` (signed) of an instrument; the engine trades the difference."""

    instrument: InstrumentId
    lots: Lots
    urgency: Urgency = Urgency.AGGRESSIVE
    """AGGRESSIVE: a market order. PASSIVE: what opens is a limit at the best price of our side (the mark where only bars are
    known), what closes a market order. WAIT: nothing is done now."""
    stop_ticks: Distance = 0
    """Distance of a protective stop from the mark at the decision, in ticks; 0: none. With it the entry becomes a bracket."""
    target_ticks: Distance = 0
    """Distance of a take-profit from the mark at the decision, in ticks; 0: none."""
    reasons: tuple[str, ...] = ()


class PlaceOrder(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="place"
):
    """One order, spelled out; ``bracket_stop`` and ``bracket_target`` are prices in ticks and make it a bracket."""

    instrument: InstrumentId
    side: Side
    quantity: Quantity
    order_type: OrderType = OrderType.MARKET
    price: Price | None = None
    stop_price: Price | None = None
    time_in_force: TimeInForce = TimeInForce.DAY
    expire_ts: Time | None = None
    bracket_stop: Price | None = None
    bracket_target: Price | None = None
    oco_group: Number = 0
    """Orders of one agent, one instrument and one number above 0 (below 2^32) are a one-cancels-other group: what one fills is
    taken from what the others may still fill, from the moment on at which they are sent. 0: none."""
    reduce_only: bool = False
    """Only close: the order never takes the position through zero, and ends where there is nothing left to close."""
    reasons: tuple[str, ...] = ()


class CancelIntent(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="cancel"
):
    """Cancel one working order, or with ``order_id`` None all of the instrument's."""

    instrument: InstrumentId
    order_id: OrderReference | None = None
    reasons: tuple[str, ...] = ()


class ReplaceIntent(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="replace"
):
    """Change a working order's total quantity and prices."""

    instrument: InstrumentId
    order_id: OrderReference
    quantity: Quantity
    price: Price | None = None
    stop_price: Price | None = None
    reasons: tuple[str, ...] = ()


class NoDecision(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="none"
):
    """A layer's bar closed and it did not decide; the reasons say why. Nothing is wished for on what is not known."""

    instrument: InstrumentId
    ts: Time
    layer: str
    """``strategic`` or ``tactical``."""
    reasons: tuple[str, ...]
    model: str = ""


Decision: TypeAlias = StrategicDecision | TacticalDecision | NoDecision
"""What an agent may put on the record beside its intents."""

Intent: TypeAlias = TargetPosition | PlaceOrder | CancelIntent | ReplaceIntent
"""What an agent may wish for."""


class CheckOutcome(enum.StrEnum):
    """What one risk check said."""

    PASSED = "passed"
    SHRUNK = "shrunk"
    REFUSED = "refused"


class RiskCheck(msgspec.Struct, gc=False, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True):
    """One check of one order: its name, what was found, what is allowed. The whole list goes on the record."""

    name: str
    outcome: CheckOutcome
    value: float | int | None = None
    """What was found; None where it could not be computed (the order is then refused)."""
    limit: float | int | None = None
    reason: str = ""
    """Reason code of a refusal or a shrink."""


class CheckedOrder(
    msgspec.Struct, gc=False, frozen=True, forbid_unknown_fields=True, omit_defaults=True, array_like=True
):
    """All risk checks of one order, as the record holds them: by their place in the table ``risk.checks.CHECKS``.

    ``risk.checks.listed`` makes the list for people of it. The table's names stand on the first record of a run.
    """

    order_id: OrderId
    values: tuple[float | int | None, ...]
    """What each check found; None where it could not be computed, 0 where there was nothing to find."""
    limits: tuple[float | int | None, ...]
    """What is allowed."""
    shrunk: int = 0
    """One bit a check, the first check lowest: those that cut the order."""
    refused: int = 0
    """Those that refused it; all others passed."""
    reasons: tuple[str, ...] = ()
    """Reason code of each that cut or refused, in their order."""
