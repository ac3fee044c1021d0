"""Sizes and stress, worked by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.risk import stress
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.sizing import UNKNOWN, SizingInput, SizingSettings, compute_size
from risk import desk

WISH = SizingInput(
    direction=1.0,
    expected_return_annual=0.08,
    volatility_annual=0.20,
    uncertainty=0.0,
    equity_micros=10_000_000 * 1_000_000,
    notional_micros=100_000 * 1_000_000,
    var_micros=3_000 * 1e6,
)


def test_the_four_answers_by_hand() -> None:
    # 100 lots of notional in equity. Kelly 0.25 * 0.08 / 0.04 = 0.5; volatility 0.1 / 0.2 = 0.5; VaR 200,000 / 3,000.
    found = compute_size(WISH)
    assert found.allowed == pytest.approx(
        {"kelly": 50.0, "volatility_target": 50.0, "var_budget": 200 / 3, "correlation": 50.0}
    )
    assert found.lots == 50


@pytest.mark.parametrize(
    ("changes", "binding", "lots"),
    [
        ({"expected_return_annual": 0.04}, "kelly", 25),
        ({"uncertainty": 0.5}, "kelly", 25),
        ({"volatility_annual": 0.25, "expected_return_annual": 9.0}, "volatility_target", 40),
        ({"var_micros": 10_000 * 1e6}, "var_budget", 20),
        ({"strategies": 4, "mean_correlation": 0.0, "expected_return_annual": 9.0}, "correlation", 25),
        ({"strategies": 4, "mean_correlation": 1.0, "expected_return_annual": 9.0}, "correlation", 12),
        ({"expected_return_annual": -0.01}, "kelly", 0),
    ],
)
def test_the_smallest_wins_and_is_named(changes: dict, binding: str, lots: int) -> None:
    found = compute_size(replace(WISH, **changes))
    assert (found.binding, found.lots) == (binding, lots)


def test_direction_and_scale_take_their_share_and_round_towards_zero() -> None:
    assert compute_size(replace(WISH, direction=-0.5)).lots == -25
    assert compute_size(replace(WISH, direction=0.33)).lots == 16
    assert compute_size(replace(WISH, scale=0.5)).lots == 25
    assert compute_size(replace(WISH, scale=0.0)).lots == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"direction": math.nan},
        {"expected_return_annual": math.inf},
        {"volatility_annual": 0.0},
        {"volatility_annual": math.nan},
        {"uncertainty": 1.1},
        {"var_micros": 0.0},
        {"equity_micros": 0},
        {"notional_micros": 0},
        {"mean_correlation": math.nan},
        {"strategies": 0},
        {"direction": 1.5},
    ],
)
def test_what_is_unknown_gives_no_position(changes: dict) -> None:
    found = compute_size(replace(WISH, **changes))
    assert (found.lots, found.binding) == (0, UNKNOWN)


def test_more_uncertainty_never_gives_more() -> None:
    lots = [compute_size(replace(WISH, uncertainty=u)).lots for u in np.linspace(0, 1, 11)]
    assert lots == sorted(lots, reverse=True)
    assert lots[-1] == 0


def test_sizing_settings_are_shares() -> None:
    with pytest.raises(RiskInputError):
        SizingSettings(kelly_fraction=0.0)


# -- stress --------------------------------------------------------------------------------------------------------


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
        lambda: stress.reverse_stress(np.ones(2), np.zeros((2, 2)), 1.0),
        lambda: stress.reverse_stress(np.ones(2), np.eye(2), math.nan),
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


def test_reverse_stress_loses_exactly_that_and_nothing_nearer_does() -> None:
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(4, 6))
    covariance, x = loadings @ loadings.T, rng.normal(size=4)
    found = stress.reverse_stress(x, covariance, 5.0)
    assert x @ found.moves == pytest.approx(-5.0)
    inverse = np.linalg.inv(covariance)
    assert math.sqrt(found.moves @ inverse @ found.moves) == pytest.approx(found.deviations)
    for _ in range(200):
        other = rng.normal(size=4)
        other *= -5.0 / (x @ other)
        assert math.sqrt(other @ inverse @ other) >= found.deviations - 1e-9


def test_how_many_times_a_scenario_loses_a_sum() -> None:
    result = stress.StressResult("x", -200, {}, ())
    assert stress.scale_to_loss(result, 500) == 2.5
    assert stress.scale_to_loss(stress.StressResult("x", 7, {}, ()), 500) == math.inf
