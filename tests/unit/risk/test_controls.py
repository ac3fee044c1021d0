"""The public lists of controls and market-wide levels against what is built."""

import json

import pytest

from grandmodel.risk.breakers import BreakerLadder, BreakerState, Trigger
from grandmodel.risk.checks import CHECK_NAMES
from grandmodel.risk.controls import CONTROLS, TRIGGERS
from shared_data import shared


@pytest.mark.shared
def test_every_public_control_is_covered_or_listed_with_a_reason() -> None:
    listed = json.loads(shared("reference/regulatory/pretrade_controls.json").read_text())
    assert {row["id"] for row in listed} == set(CONTROLS)


def test_a_control_names_real_checks_or_a_mechanism_and_one_that_nothing_reaches_gives_its_reason() -> None:
    for name, control in {**CONTROLS, **TRIGGERS}.items():
        assert set(control.checks) <= set(CHECK_NAMES), name
        assert control.covered == bool(control.checks or control.elsewhere), name
        assert control.covered or control.lacking, name


@pytest.mark.shared
def test_the_market_wide_levels_are_the_exchanges() -> None:
    published = json.loads(shared("reference/regulatory/market_circuit_breakers.json").read_text())
    levels = [row["drop_pct"] / 100 for row in published["MWCB"]["levels"]]
    ladder = BreakerLadder()
    assert list(ladder.limits(Trigger.MARKET_WIDE)) == levels
    assert [level / 100 for level in published["CME_equity_index"]["rth_pct"]] == levels
    for level, state in zip(levels, (BreakerState.CAUTION, BreakerState.REDUCE, BreakerState.HALT), strict=True):
        ladder.observe(Trigger.MARKET_WIDE, level, 1)
        assert ladder.state is state
