"""What a choice of the agents asks for: lots, urgency and the distance of the stop. One mapping for training and for trading.

The environments call these functions for every step of every copy, the decision engines for every close, so that an action
means the same lots in both. Actions are numbered as in ``architecture.py``. Lots are rounded towards nothing held: risk is
never rounded up.
"""

from __future__ import annotations

import math

from grandmodel.domain.decisions import Urgency
from grandmodel.kernels import kernel
from grandmodel.models.architecture import DIRECTIONS, EXECUTION_ACTIONS, RISK_SCALES, STOP_SCALES, TACTICAL_STANCES

URGENCIES = (Urgency.WAIT, Urgency.PASSIVE, Urgency.AGGRESSIVE)
"""What the urgency's number means."""
WAIT, PASSIVE, AGGRESSIVE = 0, 1, 2
SLICES = 3
"""The execution agent's ``slice`` trades one part in so many of what is left."""

_ENTER, _HOLD = TACTICAL_STANCES.index("enter"), TACTICAL_STANCES.index("hold")
_STOPS = len(STOP_SCALES)
_SLICE = EXECUTION_ACTIONS.index("slice")
_URGENCY = tuple({"wait": WAIT, "passive": PASSIVE}.get(action, AGGRESSIVE) for action in EXECUTION_ACTIONS)


@kernel
def strategic_target(entry: int, full_lots: float) -> int:
    """Lots for entry ``entry`` of a belief, where an exposure of 1 stands for ``full_lots``."""
    return int(DIRECTIONS[entry]) * math.floor(full_lots)


@kernel
def part_of_gap(held: int, target: int, parts: int) -> int:
    """The lots to ask for where one part in ``parts`` of the way from ``held`` to ``target`` is traded, rounded up."""
    gap = target - held
    part = -(-abs(gap) // parts)
    return held + part if gap > 0 else held - part


@kernel
def tactical_target(stance: int, risk: int, execution: int, exposure: float, full_lots: float, held: int) -> int:
    """Lots that the three tactical actions ask for.

    ``enter`` works towards the strategic ``exposure`` (in [-1, 1]) as far as the Risk agent's scale allows; ``hold`` keeps the
    lots ``held``, cut to that scale of a full exposure; ``exit`` holds nothing. ``slice`` then goes a third of the way.
    """
    scale = RISK_SCALES[risk // _STOPS]
    target = 0
    if stance == _ENTER:
        lots = math.floor(abs(exposure) * scale * full_lots)
        target = lots if exposure > 0.0 else -lots
    elif stance == _HOLD:
        lots = min(abs(held), math.floor(scale * full_lots))
        target = lots if held > 0 else -lots
    return part_of_gap(held, target, SLICES) if execution == _SLICE else target


@kernel
def tactical_urgency(execution: int) -> int:
    """The number of the urgency in ``URGENCIES``; with ``WAIT`` nothing is asked for at this close."""
    return int(_URGENCY[execution])


@kernel
def tactical_stop(risk: int, scale_ticks: float) -> int:
    """Distance of the protective stop in ticks, at least 1: the chosen number of deviations of one bar's move."""
    return max(1, round(STOP_SCALES[risk % _STOPS] * scale_ticks))
