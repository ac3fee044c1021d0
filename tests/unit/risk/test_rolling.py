"""Rolling VaR: causal, equal to the method itself on one day, and right where the returns are."""

import numpy as np
import pytest

from grandmodel.risk import rolling, var
from grandmodel.risk.errors import RiskInputError

RNG = np.random.default_rng(3)
PNL = RNG.standard_t(5, 420) * 0.01
FAST = [name for name in rolling.METHODS if "garch" not in name]


@pytest.mark.parametrize("method", list(rolling.METHODS))
def test_nothing_at_t_sees_t_or_later(method: str) -> None:
    whole = rolling.rolling_var(PNL, method, 0.99)
    changed = PNL.copy()
    changed[330:] = -0.5
    other = rolling.rolling_var(changed, method, 0.99)
    np.testing.assert_array_equal(whole.value[:331], other.value[:331])
    assert whole.value[331] != other.value[331]
    assert np.isnan(whole.value[:250]).all()
    assert (whole.value[250:] > 0).all()
    assert (whole.expected_shortfall[250:] >= whole.value[250:]).all()


def test_historical_is_historical_of_the_window() -> None:
    found = rolling.rolling_var(PNL, "historical", 0.99)
    for t in (250, 300, 419):
        assert found.value[t] == var.historical(PNL[t - 250 : t], 0.99).value


def test_filtered_is_the_filtered_method_up_to_its_start() -> None:
    found = rolling.rolling_var(PNL, "filtered_historical_ewma", 0.99)
    whole = var.filtered_historical(PNL[170:420, None], np.ones(1), 0.99)
    again = rolling.rolling_var(np.append(PNL, 0.0), "filtered_historical_ewma", 0.99)
    assert again.value[420] == pytest.approx(whole.value, rel=0.05)
    np.testing.assert_array_equal(again.value[:420], found.value)


@pytest.mark.parametrize("method", FAST)
def test_normal_or_heavy_tails_are_covered_about_as_stated(method: str) -> None:
    pnl = np.random.default_rng(8).standard_t(5, 2_250)
    found = rolling.backtest_rolling(pnl, rolling.rolling_var(pnl, method, 0.95), 250)
    assert found.days == 2_000
    assert found.coverage.p_value > 0.01
    assert found.green_days + found.yellow_days + found.red_days == 1_751


def test_the_default_is_one_of_the_methods() -> None:
    assert rolling.DEFAULT_METHOD in rolling.METHODS


def test_traffic_light_days_count_each_window() -> None:
    hits = np.zeros(260, dtype=bool)
    hits[:10] = True
    zones = rolling.traffic_light_days(hits, 0.99)
    # 10 exceptions, then one leaves the window a day: red, yellow from 9 to 5, green from 4.
    assert zones.tolist() == [2] + [1] * 5 + [0] * 5
    assert len(rolling.traffic_light_days(hits[:100], 0.99)) == 0


def test_bad_series_and_methods_are_refused() -> None:
    for call in (
        lambda: rolling.rolling_var(PNL[:250], "historical", 0.99),
        lambda: rolling.rolling_var(np.full(300, np.nan), "historical", 0.99),
        lambda: rolling.rolling_var(PNL, "guess", 0.99),
    ):
        with pytest.raises(RiskInputError):
            call()
