"""Stress, worked by hand."""

import math

import pytest

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.risk import stress
from grandmodel.risk.errors import RiskInputError
from risk import desk


def test_negative_oil_by_hand() -> None:
    (found,) = stress.run_stress(
        [stress.scenario_named("2020-04-20")], desk.instruments(), [1, 2, 0], [80_000, 1_831, 1], [1_000_000] * 3
    )
    # CL: -55.29 dollars of 1,000 barrels, two lots. NQ: -1.18 % of 80,000 ticks of 5.
    assert found.by_instrument == {"CL": -110_580 * 1_000_000, "NQ": -944 * 5 * 1_000_000}
    assert found.pnl_micros == sum(found.by_instrument.values())
    assert found.not_moved == ()


def test_a_factor_that_a_scenario_does_not_name_is_listed_not_counted_as_safe() -> None:
    (found,) = stress.run_stress(
        [stress.scenario_named("2020-03-16")], desk.instruments(), [0, 0, 100], desk.MARKS, [1_000_000] * 3
    )
    assert found.not_moved == ("EURUSD",)
    assert found.by_instrument == {}


def test_a_short_book_mirrors_a_long_one() -> None:
    for lots in ([3, 7, 11],):
        pair = [
            stress.run_stress(stress.SCENARIOS, desk.instruments(), x, desk.MARKS, [1_000_000] * 3)
            for x in (lots, [-k for k in lots])
        ]
        for one, other in zip(*pair, strict=True):
            assert one.pnl_micros == -other.pnl_micros


def test_every_scenario_names_known_factors_and_history_is_there() -> None:
    factors = set(stress.FACTOR_OF.values())
    for scenario in stress.SCENARIOS:
        assert {*scenario.relative, *scenario.absolute} <= factors
        assert scenario.relative or scenario.absolute
    names = " ".join(s.name for s in stress.SCENARIOS if s.historical)
    for wanted in ("2008-09", "2020-03", "2020-04-20", "2018-02", "2022"):
        assert wanted in names
    assert any(not s.historical for s in stress.SCENARIOS)


def test_stress_refuses_what_it_cannot_price() -> None:
    for call in (
        lambda: stress.run_stress(stress.SCENARIOS, desk.instruments(), [1, 0, 0], [UNDEFINED_PRICE, 1, 1], [1] * 3),
        lambda: stress.run_stress(stress.SCENARIOS, desk.instruments(), [1, 0, 0], desk.MARKS, [0, 1, 1]),
        lambda: stress.run_stress(stress.SCENARIOS, desk.instruments(), [1, 0, 0], desk.MARKS, [1] * 3, {}),
        lambda: stress.run_stress(stress.SCENARIOS, desk.instruments(), [1, 0, 0], [0, 1, 1], [1] * 3),
        lambda: stress.run_stress(stress.SCENARIOS, desk.instruments(), [1, 0, 0], [-5, 1, 1], [1] * 3),
        lambda: stress.scale_to_loss(stress.StressResult("x", -200, {}, ()), 0),
        lambda: stress.positions_from_text("NQ=+-3", BUILT_IN),
        lambda: stress.positions_from_text("NQ=3,NQ=1", BUILT_IN),
        lambda: stress.scenario_named("1929"),
        lambda: stress.positions_from_text("NQ=x", BUILT_IN),
        lambda: stress.positions_from_text("ZZ=1", BUILT_IN),
    ):
        with pytest.raises(RiskInputError):
            call()


def test_oil_may_stand_at_or_below_zero() -> None:
    (found,) = stress.run_stress(
        [stress.scenario_named("2020-04-20")], desk.instruments(("CL",)), [1], [-100], [1_000_000]
    )
    assert found.pnl_micros == -55_290 * 1_000_000


def test_positions_as_text() -> None:
    instruments, lots = stress.positions_from_text("NQ=3, CL=-2", BUILT_IN)
    assert [x.id for x in instruments] == ["NQ", "CL"]
    assert lots == [3, -2]


def test_how_many_times_a_scenario_loses_a_sum() -> None:
    result = stress.StressResult("x", -200, {}, ())
    assert stress.scale_to_loss(result, 500) == 2.5
    assert stress.scale_to_loss(stress.StressResult("x", 7, {}, ()), 500) == math.inf
