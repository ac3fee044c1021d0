"""What the agents' actions ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.models.architecture import BELIEF, EXECUTION_ACTIONS, RISK_ACTIONS, RISK_SCALES, TACTICAL_STANCES
from grandmodel.models.choices import (
    SLICES,
    URGENCIES,
    part_of_gap,
    strategic_target,
    tactical_stop,
    tactical_target,
    tactical_urgency,
)

ENTER, HOLD, EXIT = (TACTICAL_STANCES.index(name) for name in ("enter", "hold", "exit"))
AGGRESSIVE, SLICE = EXECUTION_ACTIONS.index("aggressive"), EXECUTION_ACTIONS.index("slice")
WHOLE, HALF, NONE = (RISK_ACTIONS.index(f"scale {scale} stop 8") for scale in ("1", "0.5", "0"))


def test_a_direction_is_whole_lots_of_a_full_exposure():
    targets = {name: strategic_target(k, 7.9) for k, name in enumerate(BELIEF)}
    assert targets == {"bullish": 7, "neutral": 0, "bearish": -7}


@pytest.mark.parametrize(
    ("stance", "risk", "execution", "exposure", "full", "held", "lots"),
    [
        (ENTER, WHOLE, AGGRESSIVE, 1.0, 10.0, 0, 10),
        (ENTER, WHOLE, AGGRESSIVE, -0.55, 10.0, 3, -5),
        (ENTER, HALF, AGGRESSIVE, 0.55, 10.0, 3, 2),
        (ENTER, NONE, AGGRESSIVE, 1.0, 10.0, 3, 0),
        (ENTER, WHOLE, AGGRESSIVE, 0.0, 10.0, 3, 0),
        (HOLD, WHOLE, AGGRESSIVE, -1.0, 10.0, 7, 7),
        (HOLD, HALF, AGGRESSIVE, -1.0, 10.0, 7, 5),
        (HOLD, HALF, AGGRESSIVE, -1.0, 10.0, -7, -5),
        (HOLD, NONE, AGGRESSIVE, 1.0, 10.0, 7, 0),
        (EXIT, WHOLE, AGGRESSIVE, 1.0, 10.0, 7, 0),
        (ENTER, WHOLE, SLICE, 1.0, 10.0, 0, 4),
        (ENTER, WHOLE, SLICE, 1.0, 10.0, 9, 10),
        (EXIT, WHOLE, SLICE, 1.0, 10.0, -7, -4),
    ],
)
def test_three_tactical_actions_become_lots(stance, risk, execution, exposure, full, held, lots):
    assert tactical_target(stance, risk, execution, exposure, full, held) == lots


@given(
    st.integers(0, 2), st.integers(0, 5), st.integers(0, 3), st.floats(-1, 1), st.floats(0, 1_000), st.integers(-900, 900)
)  # fmt: skip
def test_no_action_asks_for_more_than_its_scale_of_a_full_exposure(stance, risk, execution, exposure, full, held):
    lots = tactical_target(stance, risk, execution, exposure, full, held)
    allowed = RISK_SCALES[risk // 2] * full
    assert abs(lots) <= max(allowed, abs(held))
    if execution != SLICE:
        assert abs(lots) <= allowed
    if stance != ENTER:
        assert lots * held >= 0


@given(st.integers(-10_000, 10_000), st.integers(-10_000, 10_000), st.integers(1, 9))
def test_parts_reach_the_target_and_never_pass_it(held, target, parts):
    here = held
    for _ in range(200):
        there = part_of_gap(here, target, parts)
        assert min(here, target) <= there <= max(here, target)
        assert abs(there - here) * parts >= abs(target - here)
        here = there
    assert here == target


def test_the_stop_is_a_number_of_deviations_and_at_least_a_tick():
    assert tactical_stop(RISK_ACTIONS.index("scale 1 stop 8"), 2.3) == 18
    assert tactical_stop(RISK_ACTIONS.index("scale 0.5 stop 16"), 2.3) == 37
    assert tactical_stop(0, 0.01) == 1


def test_every_execution_action_has_its_urgency():
    named = {action: URGENCIES[tactical_urgency(k)].value for k, action in enumerate(EXECUTION_ACTIONS)}
    assert named == {"wait": "wait", "passive": "passive", "aggressive": "aggressive", "slice": "aggressive"}
    assert SLICES == 3
