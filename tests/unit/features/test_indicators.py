"""The rules that every indicator keeps, whatever it computes: three forms that agree, causal, honest about holes."""

import numpy as np
import pytest

import feature_references
from grandmodel.features import averages, dispersion, errors, mmd, momentum, nwrqk, oscillators, ranges

from .indicator_cases import CASES, RETURN_FED, Case, cut, random_bars, scale

all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
STREAMED = pytest.mark.parametrize("case", [c for c in CASES if c.name not in RETURN_FED], ids=lambda case: case.name)
WITH_TALIB = pytest.mark.parametrize("case", [c for c in CASES if c.talib], ids=lambda case: case.name)


@STREAMED
def test_streaming_equals_batch_to_the_last_bit(case: Case) -> None:
    bars = random_bars(1, 700)
    np.testing.assert_array_equal(case.run_streaming(bars), case.run_batch(bars))


@all_cases
def test_batch_equals_the_slow_reference(case: Case) -> None:
    bars = random_bars(2, 700)
    np.testing.assert_allclose(case.run_batch(bars), case.run_reference(bars), rtol=1e-9, atol=1e-10)


@WITH_TALIB
def test_standard_indicators_equal_talib(case: Case) -> None:
    bars = random_bars(3, 3000)
    np.testing.assert_allclose(case.run_batch(bars), case.run_talib(bars), rtol=1e-9, atol=1e-9)


@all_cases
def test_cutting_the_future_changes_nothing(case: Case) -> None:
    bars = random_bars(4, 400)
    whole = case.run_batch(bars)
    for size in (0, 1, 2, 57, 399):
        np.testing.assert_array_equal(case.run_batch(cut(bars, size)), whole[:size])


@all_cases
def test_warm_up_is_nan_and_as_long_as_documented(case: Case) -> None:
    bars = random_bars(5, 400)
    known = ~np.isnan(case.run_batch(bars))
    assert not known[: case.warm_up].any()
    if case.name == "mlmi":
        assert known[case.warm_up + 60 :, 0].all()  # it also waits for two crosses
    elif case.name == "volume profile":
        assert known[case.warm_up :, 1:].all()  # a profile may have no node
    elif case.name == "fair value gaps":
        assert known[case.warm_up :, [0, 1, 4]].all()  # there may be no gap
    else:
        assert known[case.warm_up :].all()


@all_cases
def test_a_hole_is_nan_and_the_indicator_recovers(case: Case) -> None:
    bars = random_bars(6, 900)
    for name in case.inputs:
        if name != "session":
            bars[name] = bars[name].copy()
            bars[name][[150, 151, 330]] = np.nan
    got = case.run_batch(bars)
    first = 0 if case.name != "volume profile" else 1
    assert np.isnan(got[[150, 151, 330], first]).all()
    assert not np.isnan(got[700:, first]).all()
    if case.reference_takes_holes and case.name != "percent momentum":
        np.testing.assert_allclose(got, case.run_reference(bars), rtol=1e-9, atol=1e-10)
    if case.name not in RETURN_FED:
        np.testing.assert_array_equal(case.run_streaming(bars), got)


@all_cases
def test_a_constant_market_gives_no_garbage(case: Case) -> None:
    size = 300
    bars = {name: np.full(size, 1234.1) for name in ("open", "high", "low", "close")}
    bars |= {"volume": np.full(size, 10.0), "session": np.zeros(size), "change": np.zeros(size)}
    got = case.run_batch(bars)
    assert not np.isinf(got).any()
    flat = {
        "sma": 1234.1, "ema": 1234.1, "wma": 1234.1, "bollinger": 1234.1, "nwrqk": 1234.1, "vwap": 1234.1, "heikin-ashi": 1234.1,
        "standard deviation": 0.0, "true range": 0.0, "atr": 0.0, "rsi": 0.0, "macd": 0.0, "adx": 0.0, "stochastic": 0.0,
        "cci": 0.0, "volume ratio": 0.0, "log return": 0.0, "percent momentum": 0.0, "obv": 10.0,
    }  # fmt: skip
    if case.name in flat:
        np.testing.assert_allclose(got[case.warm_up :], flat[case.name], rtol=1e-14, atol=1e-14 * 1234.1)
    if case.name in ("relative volatility", "mmd", "mlmi"):
        assert np.isnan(got).all()  # nothing to measure against, nothing ever crossed


@pytest.mark.parametrize("factor", [2.0**-60, 2.0**60])
@all_cases
def test_huge_and_tiny_prices_only_scale_the_result(case: Case, factor: float) -> None:
    bars = random_bars(7, 400)
    plain, scaled = case.run_batch(bars), case.run_batch(scale(bars, factor))
    price_like = {"sma", "sma of 1", "ema", "wma", "standard deviation", "bollinger", "rolling median", "rolling median, odd",
                  "macd", "true range", "atr", "vwap", "heikin-ashi", "nwrqk"}  # fmt: skip
    if case.name in price_like:
        scaled = scaled / factor
    elif case.name in ("volume profile", "fair value gaps"):
        column = 0 if case.name == "volume profile" else 2
        scaled[:, column] /= factor
    np.testing.assert_allclose(scaled, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["sma", "wma", "standard deviation", "bollinger", "cci", "stochastic", "nwrqk"])
def test_an_absurd_price_leaves_no_trace_once_out_of_the_window(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    clean, spiked = random_bars(8, 600), random_bars(8, 600)
    for column in ("open", "high", "low", "close"):
        spiked[column][200] = 1e300 if column != "volume" else 0.0
    np.testing.assert_allclose(case.run_batch(spiked)[330:], case.run_batch(clean)[330:], rtol=1e-12)


@pytest.mark.parametrize("case", [c for c in CASES if "volume" in c.inputs], ids=lambda case: case.name)
def test_zero_volume_is_a_volume_and_unknown_volume_is_not(case: Case) -> None:
    bars = random_bars(9, 300)
    bars["volume"] = np.where(np.arange(300) % 3 == 0, 0.0, bars["volume"])
    np.testing.assert_allclose(case.run_batch(bars), case.run_reference(bars), rtol=1e-9, atol=1e-10)
    bars["volume"] = np.zeros(300)
    got = case.run_batch(bars)
    assert (got == 0).all() if case.name == "obv" else np.isnan(got).all()
    bars["volume"] = np.full(300, np.nan)
    assert np.isnan(case.run_batch(bars)).all()


def test_momentum_is_the_return_over_its_expected_size() -> None:
    close = random_bars(10, 300)["close"]
    for period in (20, 50):
        np.testing.assert_allclose(
            momentum.momentum(close, period),
            feature_references.momentum_reference(close, period),
            rtol=1e-9,
            atol=1e-12,
        )


def test_momentum_of_a_market_that_stands_still_is_unknown() -> None:
    assert np.isnan(momentum.momentum(np.full(100, 50.0), 20)).all()


def test_a_price_at_or_below_zero_has_no_log_return() -> None:
    got = momentum.log_returns([10.0, -37.0, 12.0, 13.0, 0.0, 13.0])
    np.testing.assert_allclose(got, [np.nan, np.nan, np.nan, np.log(13 / 12), np.nan, np.nan])


def test_rsi_by_hand() -> None:
    # Changes +1, -1, +2, with period 2: gains 0.5 then 1.25, losses 0.5 then 0.25.
    np.testing.assert_allclose(oscillators.rsi([10.0, 11.0, 10.0, 12.0], 2), [np.nan, np.nan, 50.0, 100 * 1.25 / 1.5])


def test_atr_by_hand() -> None:
    got = ranges.atr([2.0, 3.0, 9.0], [1.0, 2.0, 8.0], [1.5, 2.5, 8.5], 2)
    # True ranges 1.5 (3 - 1.5) and 6.5 (9 - 2.5).
    np.testing.assert_allclose(got, [np.nan, np.nan, 4.0])


def test_nwrqk_weights_are_cut_off_at_a_billionth() -> None:
    weights = nwrqk.nwrqk_weights(8.0, 8.0)
    assert len(weights) == 113
    assert weights[0] == 1.0
    assert weights[-1] >= 1e-9 > (1 + 113**2 / 1024) ** -8


@pytest.mark.parametrize("lumped", ["two values", "mostly zero", "ticks", "far out"])
def test_mmd_is_exact_on_awkward_windows(lumped: str) -> None:
    rng = np.random.default_rng(11)
    values = rng.normal(size=160)
    if lumped == "two values":
        values = np.sign(values)
    elif lumped == "mostly zero":
        values = np.where(rng.random(160) < 0.6, 0.0, values)
    elif lumped == "ticks":
        values = np.round(values * 2) / 2
    else:
        values[[20, 70, 90, 120]] = [1e3, -1e5, 1e7, 1e7 + 0.5]
    np.testing.assert_allclose(mmd.mmd(values, 12, 60), feature_references.mmd_reference(values, 12, 60), atol=2e-12)


def test_mmd_at_its_real_size_equals_the_formula() -> None:
    values = np.random.default_rng(12).standard_t(3, 534) * 1e-3
    np.testing.assert_allclose(mmd.mmd(values), feature_references.mmd_reference(values), atol=1e-13)


def test_mmd_rises_when_the_market_changes() -> None:
    rng = np.random.default_rng(13)
    calm = rng.normal(size=1200)
    calm[900:] *= 4
    score = mmd.mmd(calm)
    assert np.abs(score[600:900]).max() < 0.05
    assert score[948] > 0.1


@pytest.mark.parametrize("size", [2, 3, 4, 9, 150])
def test_the_median_distance_is_exact_from_any_guess(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(20):
        values = np.sort(np.round(rng.standard_t(2, size), int(rng.integers(0, 6))))
        distance = np.abs(values[:, None] - values[None, :])[np.triu_indices(size, 1)]
        padded = np.concatenate([values, np.full(mmd.LANES, np.inf)])
        for guess in (0.0, 1e-9, float(np.median(distance)), 1e9):
            assert mmd.median_distance(padded, 0, size, guess, mmd.mmd_work()) == np.median(distance)


@pytest.mark.parametrize("guess", [0.0, 0.5, 1.0, 1.999, 2.0, 5.0])
def test_a_median_distance_between_two_lumps_is_their_middle(guess: float) -> None:
    # 55 and 45 values: as many pairs within the lumps (distance 0) as across (distance 2).
    values = np.concatenate([np.zeros(55), np.full(45, 2.0), np.full(mmd.LANES, np.inf)])
    assert mmd.median_distance(values, 0, 100, guess, mmd.mmd_work()) == 1.0


@pytest.mark.parametrize("period", [0, -1, 2.5, True, 10**9])
def test_a_period_that_is_not_a_number_of_bars_is_refused(period: object) -> None:
    with pytest.raises(errors.FeatureError, match="period"):
        averages.sma(np.arange(5.0), period)  # type: ignore[arg-type]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(errors.FeatureError, match="lengths differ: high 3, low 2, close 3"):
        ranges.atr([1.0, 2.0, 3.0], [1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_table_is_not_a_series() -> None:
    with pytest.raises(errors.FeatureError, match="2 dimensions"):
        dispersion.standard_deviation(np.zeros((3, 3)), 2)


def test_a_fast_average_must_be_faster_than_the_slow_one() -> None:
    with pytest.raises(errors.FeatureError, match="less than slow"):
        oscillators.macd(np.arange(50.0), fast=26, slow=12)
