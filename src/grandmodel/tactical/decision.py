"""What the tactical agents' choices come to: lots, urgency, stop, and the codes that say why.

Each agent's distribution collapses to its mode. ``models.choices`` maps the three actions to lots, urgency and stop, the same
functions that the training environments call. Read next: ``agent.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.decisions import ReasonCode, Urgency
from grandmodel.domain.errors import UsageError
from grandmodel.models.architecture import EXECUTION_ACTIONS, RISK_SCALES, STOP_SCALES, TACTICAL_STANCES
from grandmodel.models.choices import URGENCIES, tactical_stop, tactical_target, tactical_urgency
from grandmodel.risk.sizing import (
    ExposureSettings,
    is_inside_dead_band,
    lots_that_breakers_leave,
    takes_new_risk,
    without_new_risk,
)

Floats = NDArray[np.float64]

_ENTER = TACTICAL_STANCES.index("enter")
_AGGRESSIVE = EXECUTION_ACTIONS.index("aggressive")


class TacticalReason(ReasonCode):
    """Why a tactical decision is what it is, or why there was none. ``meaning`` says it in a sentence."""

    NO_STRATEGY = "no_strategy", "no decision: the strategic layer has not decided yet"
    ENTER = "enter", "the tactical agent works towards the strategic exposure"
    HOLD = "hold", "the tactical agent keeps the position"
    EXIT = "exit", "the tactical agent wants nothing held"
    WAITS = "wait", "the execution agent trades nothing at this close"
    SLICED = "slice", "a third of what is left is asked for"
    SCALED = "scaled", "the risk agent allows less than the strategic exposure"
    DEAD_BAND = "dead_band", "the lots asked for lie too near those held: nothing is traded"
    NO_NEW_RISK = "no_new_risk", "risk leaves no more than what is held: nothing is opened"
    NOVEL = "novel", "the window lies outside what training saw: nothing new is opened"


class TacticalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How choices become lots."""

    full: ExposureSettings = ExposureSettings()
    """What an exposure of 1 stands for; the same as the strategic layer's."""
    dead_band: float = 0.1
    """A position is left as it is while the lots asked for lie within this of it, as a share of full exposure."""
    most_novelty: float = 2.0
    """Beyond this novelty no position is opened or enlarged; 1 is the edge of what training saw."""

    def __post_init__(self) -> None:
        """Refuse what no decision can be made with."""
        if not 0.0 <= self.dead_band < 1.0:
            raise UsageError(f"dead_band: found {self.dead_band}, expected a share of full exposure from 0 to below 1")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for."""

    lots: int
    urgency: Urgency
    stop_ticks: int
    reasons: tuple[TacticalReason, ...]


def collapse(distributions: Sequence[Floats]) -> tuple[int, ...]:
    """Each agent's likeliest action; the first of those that are equally likely."""
    return tuple([int(distribution.argmax()) for distribution in distributions])


def plan_trade(
    choices: tuple[int, ...],
    *,
    exposure: float,
    full_lots: float,
    held: int,
    scale_ticks: float,
    size_scale: float,
    is_novel: bool,
    settings: TacticalSettings,
) -> Plan:
    """The position that the three chosen actions ask for, within what risk allows.

    ``size_scale``: share of what opens that risk will leave of it; it cuts by itself, so the whole is asked for. The position is left as it is inside the dead band, unless it is
    to end or to turn.
    """
    stance, risk, execution = choices
    reasons = [(TacticalReason.ENTER, TacticalReason.HOLD, TacticalReason.EXIT)[stance]]
    whole = int(tactical_target(stance, risk, _AGGRESSIVE, exposure, full_lots, held))
    lots = int(tactical_target(stance, risk, execution, exposure, full_lots, held))
    if stance == _ENTER and exposure != 0.0 and RISK_SCALES[risk // len(STOP_SCALES)] < 1.0:
        reasons.append(TacticalReason.SCALED)
    left = lots_that_breakers_leave(held, lots, size_scale)
    if left != lots and (size_scale <= 0.0 or left == held):
        reasons.append(TacticalReason.NO_NEW_RISK)
        lots = left
    elif is_novel and takes_new_risk(held, lots):
        reasons.append(TacticalReason.NOVEL)
        lots = without_new_risk(held, lots)
    elif is_inside_dead_band(held, whole, settings.dead_band * full_lots):
        reasons.append(TacticalReason.DEAD_BAND)
        lots = held
    elif lots != whole:
        reasons.append(TacticalReason.SLICED)
    urgency = URGENCIES[int(tactical_urgency(execution))]
    if urgency is Urgency.WAIT:
        reasons.append(TacticalReason.WAITS)
    return Plan(lots, urgency, int(tactical_stop(risk, scale_ticks)), tuple(reasons))
