"""The numbers that agents see besides their window: named, bounded, zero where nothing is known."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.models.architecture import STRATEGIC_TAIL, TACTICAL_TAIL
from grandmodel.models.tails import write_strategic_tail, write_tactical_tail

ANY = st.floats(allow_nan=True, allow_infinity=True, width=64)
SHARE = st.floats(0.0, 1.0)


def strategic(**changes):
    values = {
        "time_of_day": 0.25, "day_of_week": 0.5, "lots": 6.0, "full_lots": 12.0, "open_profit": -5.0, "horizon_risk": 10.0,
        "drawdown": 0.02, "drawdown_limit": 0.08, "day_loss": 0.005, "day_loss_limit": 0.02, "asked_lots": 9.0, "bars_held": 24.0,
        "scale": 30.0, "mean_scale": 20.0,
    }  # fmt: skip
    out = np.full(len(STRATEGIC_TAIL), np.nan, np.float32)
    write_strategic_tail(out, *(values | changes).values())
    return dict(zip(STRATEGIC_TAIL, out.tolist(), strict=True))


def test_every_strategic_number_means_what_its_name_says():
    assert strategic() == {
        "time_of_day": 0.25, "day_of_week": 0.5, "position": 0.5, "unrealised": -0.5, "drawdown": 0.25, "day_result": -0.25,
        "shortfall": 0.25, "bars_held": 0.5, "relative_scale": 1.5,
    }  # fmt: skip


@given(ANY, ANY, ANY, ANY, ANY, ANY)
def test_no_account_makes_a_number_that_is_not_one(lots, full_lots, profit, risk, drawdown, scale):
    seen = strategic(
        lots=lots, full_lots=full_lots, open_profit=profit, horizon_risk=risk, drawdown=drawdown, scale=scale
    )
    assert all(math.isfinite(value) and -3.0 <= value <= 3.0 for value in seen.values())


@given(SHARE, st.floats(-50, 50), st.floats(0.1, 50), st.booleans())
def test_tactical_gap_is_exposure_less_position(exposure, lots, full_lots, is_working):
    out = np.full(len(TACTICAL_TAIL), np.nan, np.float32)
    write_tactical_tail(out, exposure, 3.0, lots, full_lots, 1.0, 2.0, 0.01, 0.08, 0.01, 0.02, 30.0, is_working)
    seen = dict(zip(TACTICAL_TAIL, out.tolist(), strict=True))
    position = min(max(lots / full_lots, -3.0), 3.0)
    assert math.isclose(seen["gap"], min(max(exposure - position, -3.0), 3.0), abs_tol=1e-6)
    assert (seen["exposure_age"], seen["bars_held"], seen["working"]) == (0.5, 0.5, float(is_working))
