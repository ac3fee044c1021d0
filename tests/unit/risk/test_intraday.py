"""The shape of volatility within a day: what is learnt, when it may be used, and the VaR of one bar that follows."""

import math

import numpy as np
import pytest

from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR, THIRTY_MINUTES_NS
from grandmodel.risk.backtests import christoffersen
from grandmodel.risk.intraday import PRIOR_BARS, IntradayVolatility
from grandmodel.risk.running import RunningRisk
from grandmodel.risk.settings import VarSettings
from risk import desk

RATES = [1_000_000] * 3


def _schedule(days: int = 10) -> SessionSchedule:
    """Sessions of 23 hours on Monday to Friday, the first on day 4 of the epoch, a Monday."""
    day = np.array([4 + 7 * (k // 5) + k % 5 for k in range(days)], dtype=np.int64) * NS_PER_DAY
    return SessionSchedule(day, day + 23 * NS_PER_HOUR, day)


def test_a_place_is_counted_from_the_open_and_the_first_bar_after_a_weekend_is_its_own() -> None:
    shape = IntradayVolatility(1, THIRTY_MINUTES_NS, _schedule())
    monday, tuesday, next_monday = (k * NS_PER_DAY for k in (4, 5, 11))
    assert [shape.place_of(monday + k * THIRTY_MINUTES_NS) for k in (0, 1, 45)] == [0, 1, 45]
    assert shape.place_of(tuesday) == 0  # after one hour's pause
    assert shape.place_of(next_monday) == -1
    assert shape.place_of(next_monday + THIRTY_MINUTES_NS) == 1


def test_without_a_schedule_the_place_is_the_time_of_day() -> None:
    shape = IntradayVolatility(1, THIRTY_MINUTES_NS)
    assert shape.place_of(3 * NS_PER_DAY + 2 * THIRTY_MINUTES_NS) == 2


def test_a_multiple_is_the_mean_squared_return_of_its_place_times_the_pace() -> None:
    shape = IntradayVolatility(2, THIRTY_MINUTES_NS)
    assert shape.multiple(0, 7) == 1.0
    shape.take(0, 7, 4.0)
    pace = 0.15 + 0.15 * 4.0 + 0.7  # the bar was judged by the multiple before it, 1
    assert shape.multiple(0, 7) == pytest.approx((PRIOR_BARS + 4.0) / (PRIOR_BARS + 1.0) * pace)
    assert shape.multiple(0, 8) == pytest.approx(pace)
    assert shape.multiple(1, 7) == 1.0


def _day_shaped_returns(rng: np.random.Generator, days: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (T,) and returns (T,) of 46 bars a day, the tenth to twentieth four times as wide as the others."""
    place = np.tile(np.arange(46), days)
    return place, rng.standard_t(5, len(place)) * np.where((place >= 10) & (place < 20), 4.0, 1.0)


def test_exceptions_no_longer_gather_in_the_busy_hours() -> None:
    place, returns = _day_shaped_returns(np.random.default_rng(11), 400)
    shape = IntradayVolatility(1, THIRTY_MINUTES_NS)
    variance = float(np.mean(returns**2))
    unit = 2.606 * math.sqrt(variance)  # Student t(5) at 99 %, unit variance
    plain, shaped = np.zeros(len(returns), dtype=bool), np.zeros(len(returns), dtype=bool)
    for t, (at, r) in enumerate(zip(place.tolist(), returns.tolist(), strict=True)):
        plain[t] = r < -unit
        shaped[t] = r < -unit * math.sqrt(shape.multiple(0, at))
        shape.take(0, at, r * r / variance)
    busy = (place >= 10) & (place < 20)
    assert plain[busy].mean() > 0.03
    assert plain[~busy].mean() < 0.002
    # These returns do not cluster, so the pace only adds noise to them: somewhat over 1 %, in both alike.
    assert 0.005 < shaped[busy].mean() < 0.02
    assert 0.005 < shaped[~busy].mean() < 0.02
    assert christoffersen(plain, 0.99).independence.p_value < 1e-6
    assert christoffersen(shaped, 0.99).independence.p_value > 0.05


def test_the_var_of_a_bar_is_the_average_one_where_no_shape_is_known() -> None:
    running = desk.gate().running
    shape = IntradayVolatility(3, desk.WIDTH)
    positions = [3, -20, 50]
    average = running.value_at_risk(positions, RATES) / math.sqrt(running.settings.bars_per_day)
    assert shape.value_at_risk(running, positions, RATES, 0) == pytest.approx(average, rel=1e-12)
    assert shape.value_at_risk(running, [0, 0, 0], RATES, 0) == 0.0


def test_the_var_of_a_bar_takes_each_instruments_own_multiple() -> None:
    running = desk.gate().running
    shape = IntradayVolatility(3, desk.WIDTH)
    for _ in range(200):
        shape.take(0, 0, 9.0)
    alone = running.value_at_risk([1, 0, 0], RATES) / math.sqrt(running.settings.bars_per_day)
    expected = alone * math.sqrt(shape.multiple(0, 0))
    assert shape.value_at_risk(running, [1, 0, 0], RATES, 0) == pytest.approx(expected, rel=1e-12)
    other = running.value_at_risk([0, 1, 0], RATES) / math.sqrt(running.settings.bars_per_day)
    assert shape.value_at_risk(running, [0, 1, 0], RATES, 0) == pytest.approx(other, rel=1e-12)


def test_the_var_of_a_bar_is_unknown_where_the_gates_is() -> None:
    running = RunningRisk(VarSettings(), desk.instruments())
    shape = IntradayVolatility(3, desk.WIDTH)
    assert math.isnan(shape.value_at_risk(running, [1, 0, 0], RATES, 0))


def test_nothing_is_learnt_before_the_gate_knows_the_variance() -> None:
    running = RunningRisk(VarSettings(min_returns=2), desk.instruments())
    shape = IntradayVolatility(3, desk.WIDTH)
    row = np.array([1e7, math.nan, -2e7])
    shape.take_row(running, row, 0)
    assert shape.multiple(0, shape.place_of(0)) == 1.0
