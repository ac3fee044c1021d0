"""The running risk: which bars make returns, unequal hours, rolls, exchange rates, and the VaR that follows."""

import math

import msgspec
import numpy as np
import pytest

from grandmodel.domain.blocks import Flag
from grandmodel.domain.events import ClosedBar
from grandmodel.risk import var
from grandmodel.risk.distributions import loss_quantile
from grandmodel.risk.running import COUNTS, RunningRisk
from grandmodel.risk.settings import VarSettings
from risk import desk

SETTINGS = VarSettings(min_returns=1)
RATES = [1_000_000] * 3
STEP = desk.WIDTH


def _feed(running: RunningRisk, *rows: tuple[int, list[int | None]], flags: int = 0) -> None:
    for k, closes in rows:
        for bar, close in zip(desk.bars(k * STEP, [c or 0 for c in closes], flags=flags), closes, strict=True):
            if close is not None:
                running.on_bar(bar)
    running.take_row()


def _fresh() -> RunningRisk:
    return RunningRisk(SETTINGS, desk.instruments())


def test_value_at_risk_is_the_parametric_one_of_the_covariance() -> None:
    running = desk.gate().running
    positions = [3, -20, 50]
    settings = running.settings
    exact = var.parametric(
        np.array(positions, dtype=float),
        running.covariance.covariance,
        settings.level,
        horizon=settings.horizon_days * settings.bars_per_day,
        degrees=settings.degrees,
    )
    assert running.value_at_risk(positions, RATES) == pytest.approx(exact.value, rel=1e-12)
    np.testing.assert_allclose(running.components(positions, RATES), exact.components, rtol=1e-10)
    assert math.fsum(running.components(positions, RATES)) == pytest.approx(exact.value, rel=1e-12)


def test_returns_are_money_per_lot() -> None:
    running = _fresh()
    _feed(running, (1, [80_000, 7_500, 110_000]), (2, [80_004, 7_490, 110_010]))
    # 4 ticks of 5, 10 of 10, 10 of 0.01: in micros.
    np.testing.assert_allclose(np.sqrt(np.diagonal(running.covariance.covariance)), [2e7, 1e8, 1e5])
    scale = loss_quantile(0.99, 5.0) * math.sqrt(46.0)
    assert running.value_at_risk([1, 0, 0], RATES) == pytest.approx(scale * 2e7, rel=1e-12)


def test_bars_of_another_width_or_instrument_are_passed_over() -> None:
    running = _fresh()
    (bar,) = desk.bars(STEP, [80_000], ("NQ",))
    assert not running.on_bar(msgspec.structs.replace(bar, width_ns=STEP // 6))
    assert not running.on_bar(msgspec.structs.replace(bar, instrument="ZZ"))
    assert not running.row_is_complete([True] * 3)


def test_a_bar_of_a_later_close_finishes_the_row_before_it() -> None:
    running = _fresh()
    _feed(running, (1, [80_000, 7_500, 110_000]))
    first, second, third = desk.bars(2 * STEP, [80_010, 7_501, 110_001])
    assert not running.on_bar(first)
    assert not running.row_is_complete([True, True, True])
    assert running.row_is_complete([True, False, False])
    running.on_bar(second)
    running.on_bar(third)
    assert running.row_is_complete([True, True, True])
    late: ClosedBar = desk.bars(3 * STEP, [80_020], ("NQ",))[0]
    assert running.on_bar(late)
    assert running.covariance.updates == 1


def test_an_instrument_that_was_closed_carries_its_move_into_its_next_bar() -> None:
    running = _fresh()
    _feed(running, (1, [80_000, 7_500, 110_000]), (2, [80_010, None, 110_000]), (3, [80_020, 7_520, 110_000]))
    covariance = running.covariance
    assert covariance.variance(1) == pytest.approx((20 * 1e7) ** 2)
    assert running.lots[COUNTS].tolist() == [2, 1, 2]


@pytest.mark.parametrize(("flag", "moved"), [(Flag.ROLL, 1), (Flag.BAD_STRETCH, 0)])
def test_no_return_across_a_roll_or_a_bad_stretch(flag: Flag, moved: int) -> None:
    running = _fresh()
    _feed(running, (1, [80_000, 7_500, 110_000]))
    _feed(running, (2, [81_000, 7_900, 111_000]), flags=int(flag))
    assert running.covariance.updates == 0
    # After a roll the new contract's close is the base; after a bad stretch the next bar only sets one.
    _feed(running, (3, [81_010, 7_901, 111_001]))
    assert running.covariance.updates == moved
    if moved:
        assert running.covariance.variance(0) == pytest.approx((10 * 5e6) ** 2)


def test_prices_below_zero_need_no_special_case() -> None:
    running = _fresh()
    _feed(running, (1, [80_000, 1_831, 110_000]), (2, [80_000, -3_698, 110_000]))
    assert running.covariance.variance(1) == pytest.approx((5_529 * 1e7) ** 2)


def test_an_exchange_rate_scales_the_risk_and_a_new_one_is_seen() -> None:
    running = desk.gate().running
    one = running.value_at_risk([0, 0, 100], RATES)
    assert running.value_at_risk([0, 0, 100], [1_000_000, 1_000_000, 1_250_000]) == pytest.approx(1.25 * one)
    assert running.value_at_risk([0, 0, 100], RATES) == one


def test_unknown_risk_is_not_zero_risk() -> None:
    running = RunningRisk(VarSettings(), desk.instruments())
    assert running.value_at_risk([0, 0, 0], RATES) == 0.0
    assert math.isnan(running.value_at_risk([1, 0, 0], RATES))
    assert running.coefficients([1, 0, 0], RATES) is None


def test_a_pair_that_never_traded_together_is_unknown_as_a_pair() -> None:
    running = _fresh()
    _feed(
        running,
        (1, [80_000, None, None]),
        (2, [80_100, None, None]),
        (3, [None, 7_500, None]),
        (4, [None, 7_510, None]),
    )
    assert running.value_at_risk([1, 0, 0], RATES) > 0.0
    assert running.value_at_risk([0, -5, 0], RATES) > 0.0
    assert math.isnan(running.value_at_risk([1, -5, 0], RATES))
    gate = desk.DeskGate(desk.RiskSettings(var=SETTINGS), desk.instruments(), desk.CAPITAL)
    gate.running = running
    assert gate.check(desk.order(), desk.view()).order is not None
    assert gate.check(desk.order(), desk.view(positions=[0, -5, 0])).reason == "var_unknown"


def test_stressed_volatility_remembers_the_worst_so_far() -> None:
    running = _fresh()
    _feed(running, (1, [80_000, 7_500, 110_000]), (2, [81_000, 7_500, 110_000]))
    peak = running.coefficients([0] * 3, RATES).stressed[0]
    for k in range(3, 3000):
        _feed(running, (k, [81_000, 7_500, 110_000]))
    now = running.coefficients([0] * 3, RATES)
    assert now.single[0] < 0.2 * peak
    assert now.stressed[0] == pytest.approx(peak / 2.0)  # the peak itself, no longer twice the present


def test_many_instruments_take_the_same_path() -> None:
    names = ("NQ", "MNQ", "ES", "MES", "CL", "MCL", "GC", "6E", "IF", "EURUSD")
    running = RunningRisk(SETTINGS, desk.instruments(names))
    rng = np.random.default_rng(0)
    closes = np.full(10, 10_000)
    for k in range(1, 30):
        closes = closes + rng.integers(-50, 50, 10)
        for bar in desk.bars(k * STEP, closes.tolist(), names):
            running.on_bar(bar)
        running.take_row()
    positions, rates = [1, -2, 3, 0, 0, 5, -1, 2, 0, 7], [1_000_000] * 8 + [140_000, 1_000_000]
    x = np.array(positions, dtype=float) * np.array(rates) / 1e6
    exact = var.parametric(x, running.covariance.covariance, 0.99, horizon=46.0, degrees=5.0)
    assert running.value_at_risk(positions, rates) == pytest.approx(exact.value, rel=1e-12)
    np.testing.assert_allclose(running.components(positions, rates), exact.components, rtol=1e-9, atol=1e-6)
