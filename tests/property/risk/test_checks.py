"""The checks, and what is kept of open orders, beside their plain forms, on accounts of few instruments: quick, and in every state."""

import pytest

from grandmodel.risk.checks import CHECK_NAMES
from risk import fuzz_gate, fuzz_pair


def test_on_accounts_of_few_instruments_the_compiled_checks_say_what_the_plain_ones_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fuzz_pair, "SIZES", (1, 2, 2, 3))
    seen = fuzz_pair.run(2_400, seed=2, per_pair=120)
    assert {name for name, outcome in seen.checks if outcome == "refused"} == {*CHECK_NAMES} - {"inputs"}


def test_no_limit_is_exceeded_by_what_the_venue_may_do() -> None:
    outcomes, happened = fuzz_gate.run(600, seed=6, per_desk=100)
    assert outcomes["passed"] > 40
    assert happened["filled"] > 10
