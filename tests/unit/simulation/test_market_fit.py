"""The fit of the simulated market: each step against an oracle, and known parameters found again."""

import functools
import itertools
import math

import msgspec
import numpy as np
import pytest

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import UNKNOWN_VOLUME, Action, Block, Flag, Schema, empty_block
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, THIRTY_MINUTES_NS, ns_from_text
from grandmodel.simulation import market_fit, market_resemblance
from grandmodel.simulation.market import SimulatedMarket
from grandmodel.simulation.market_fit import (
    BarSeries,
    fit_market,
    fit_regimes,
    forward_backward,
    local_level,
    part_of,
    session_returns,
)
from grandmodel.simulation.market_parameters import built_in_parameters, encode_parameters
from grandmodel.simulation.market_resemblance import MarketFacts, compare, facts, measure, simulated_series

NQ, CL = (BUILT_IN[InstrumentId(name)] for name in ("NQ", "CL"))


def _bars(opens_ns: list[int], closes: list[int]) -> Block:
    """Bars of 30 minutes; each opens one tick below its close."""
    bars = empty_block(Schema.BARS, len(opens_ns))
    bars["ts_open"] = opens_ns
    bars["ts_event"] = bars["ts_init"] = bars["ts_open"] + THIRTY_MINUTES_NS
    bars["close"] = closes
    bars["open"] = bars["close"] - 1
    bars["high"] = bars["close"] + 2
    bars["low"] = bars["close"] - 3
    bars["volume"] = 10
    return bars


def _days(count: int) -> SessionSchedule:
    """Sessions of two hours, one a day."""
    opens = np.arange(count, dtype=np.int64) * NS_PER_DAY
    return SessionSchedule(open_ns=opens, close_ns=opens + 2 * NS_PER_HOUR, day_ns=opens)


def test_returns_are_close_on_close_inside_a_session_and_close_on_open_at_its_start() -> None:
    half = THIRTY_MINUTES_NS
    bars = _bars([0, half, 3 * half, NS_PER_DAY, NS_PER_DAY + half], [100, 110, 120, 130, 140])
    found = session_returns(bars, _days(2), THIRTY_MINUTES_NS, "NQ")
    # The third bar has a missing one before it, the fourth opens a session.
    expected = np.log([100 / 99, 110 / 100, 120 / 119, 130 / 129, 140 / 130])
    assert found.log_return == pytest.approx(expected, abs=1e-15)
    assert found.bucket.tolist() == [0, 1, 3, 0, 1]
    assert found.gap == pytest.approx([math.log(129 / 120)], abs=1e-15)
    assert found.gap_is_long.tolist() == [True]
    assert found.log_range == pytest.approx(np.log(bars["high"] / bars["low"]), abs=1e-15)


@pytest.mark.parametrize(
    ("row", "flag", "gaps", "left_out"),
    [(2, Flag.ROLL, 1, 0), (1, Flag.TRUNCATED, 1, 0), (2, Flag.BAD_STRETCH, 0, 1), (3, Flag.REPAIRED, 2, 0)],
)
def test_gaps_after_rolls_truncated_sessions_and_bad_stretches_are_left_out(
    row: int, flag: Flag, gaps: int, left_out: int
) -> None:
    half = THIRTY_MINUTES_NS
    bars = _bars([0, half, NS_PER_DAY, 2 * NS_PER_DAY], [100, 110, 120, 130])
    bars["flags"][row] = int(flag)
    found = session_returns(bars, _days(3), THIRTY_MINUTES_NS, "NQ")
    assert len(found.gap) == gaps
    assert found.gaps_left_out == 2 - gaps
    assert found.left_out == left_out
    assert len(found.log_return) == 4 - left_out


def test_the_gap_over_a_missing_session_is_left_out() -> None:
    bars = _bars([0, 2 * NS_PER_DAY], [100, 110])
    found = session_returns(bars, _days(3), THIRTY_MINUTES_NS, "NQ")
    assert len(found.gap) == 0
    assert found.gaps_left_out == 1


def test_bars_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(UsageError, match="outside the sessions"):
        session_returns(_bars([5 * NS_PER_HOUR], [100]), _days(1), THIRTY_MINUTES_NS, "NQ")
    with pytest.raises(UsageError, match="not 30 minutes wide"):
        session_returns(_bars([7 * NS_PER_MINUTE], [100]), _days(1), THIRTY_MINUTES_NS, "NQ")
    with pytest.raises(UsageError, match="at or below zero"):
        session_returns(_bars([0], [-40]), _days(1), THIRTY_MINUTES_NS, "CL")
    few = _bars([0, NS_PER_DAY], [100, 110])
    with pytest.raises(UsageError, match="2 usable bars"):
        fit_market([BarSeries(NQ, few, _days(2))])


def test_local_level_is_the_mean_of_the_neighbours_without_the_value_itself() -> None:
    values = np.random.default_rng(5).random(60)
    slow = [np.mean([values[j] for j in range(max(0, i - 7), min(60, i + 8)) if j != i]) for i in range(60)]
    assert local_level(values, 7) == pytest.approx(slow, abs=1e-12)


def test_forward_backward_agrees_with_every_path_counted() -> None:
    draws = np.random.default_rng(3)
    length, states = 6, 3
    transition = draws.dirichlet(np.ones(states), size=states)
    start = draws.dirichlet(np.ones(states))
    log_density = draws.normal(size=(length, states))
    total, posterior, moves = 0.0, np.zeros((length, states)), np.zeros((states, states))
    for path in itertools.product(range(states), repeat=length):
        chance = start[path[0]] * math.exp(sum(log_density[t, k] for t, k in enumerate(path)))
        for here, there in itertools.pairwise(path):
            chance *= transition[here, there]
        total += chance
        for t, k in enumerate(path):
            posterior[t, k] += chance
        for here, there in itertools.pairwise(path):
            moves[here, there] += chance
    found = forward_backward(log_density, transition, start)
    assert found[0] == pytest.approx(posterior / total, abs=1e-12)
    assert found[1] == pytest.approx(moves / total, abs=1e-12)
    assert found[2] == pytest.approx(math.log(total), abs=1e-12)


def test_regimes_of_a_known_chain_are_found_again_with_values_missing() -> None:
    draws = np.random.default_rng(11)
    transition = np.array([[0.97, 0.03, 0.0], [0.03, 0.94, 0.03], [0.0, 0.05, 0.95]])
    mean = np.array([[-0.5, -0.4], [0.0, 0.1], [0.6, 0.5]])
    state, states = 0, []
    for _ in range(4_000):
        state = int(draws.choice(3, p=transition[state]))
        states.append(state)
    observed = mean[states] + 0.2 * draws.standard_normal((4_000, 2))
    observed[::17, 1] = np.nan
    observed[::391] = np.nan
    found = fit_regimes(observed, 3)
    order = np.argsort(found.mean[:, 0])
    assert found.mean[order] == pytest.approx(mean, abs=0.05)
    assert found.transition[np.ix_(order, order)] == pytest.approx(transition, abs=0.02)
    guessed = np.argsort(order)[found.posterior.argmax(axis=1)]
    assert (guessed == states).mean() > 0.95
    assert found.posterior.sum(axis=1) == pytest.approx(1.0, abs=1e-9)


def test_the_student_t_density_and_weight_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    scatter = np.array([[1.5, 0.4], [0.4, 0.7]])
    points = np.random.default_rng(1).normal(size=(50, 2))
    patterns = [(np.ones(2, dtype=np.bool_), np.arange(50))]
    density, weight = market_fit._student_t(points, patterns, scatter)
    assert density == pytest.approx(stats.multivariate_t(shape=scatter, df=5).logpdf(points), abs=1e-10)
    distance = np.einsum("ti,ij,tj->t", points, np.linalg.inv(scatter), points)
    assert weight == pytest.approx((5 + 2) / (5 + distance))


@pytest.mark.parametrize(("sd", "persistence"), [(0.3, 0.91), (0.05, 0.5), (1.2, 0.99)])
def test_a_decay_is_read_off_its_covariances(sd: float, persistence: float) -> None:
    found = market_fit._decay_law(sd**2 * persistence ** np.arange(1, 13))
    assert found == pytest.approx((sd, persistence), rel=1e-9)


def test_no_decay_where_covariances_are_negative() -> None:
    assert market_fit._decay_law(np.full(12, -0.1))[0] == 0.0


def test_bars_agree_with_bars_counted_one_trade_at_a_time() -> None:
    start = ns_from_text("2024-03-04") + 20 * NS_PER_HOUR
    end = start + 6 * NS_PER_HOUR
    schedules = [session_schedule(one, start - NS_PER_DAY, end) for one in (NQ, CL)]
    market = SimulatedMarket(built_in_parameters(), [NQ, CL], schedules, 2)
    counted: dict[tuple[int, int], list[int]] = {}
    for block in market.blocks(start, end):
        for row in block[block["action"] == int(Action.TRADE)]:
            key = (int(row["instrument"]), int(row["ts_event"]) // THIRTY_MINUTES_NS)
            price, size = int(row["price"]), int(row["size"])
            bar = counted.setdefault(key, [price, price, price, price, 0])
            bar[1:] = [max(bar[1], price), min(bar[2], price), price, bar[4] + size]
    made = market.bars(start, end, THIRTY_MINUTES_NS)
    for i, bars in enumerate(made):
        listed = {
            (i, int(bar["ts_open"]) // THIRTY_MINUTES_NS): [
                int(bar[name]) for name in ("open", "high", "low", "close", "volume")
            ]
            for bar in bars
        }
        assert listed == {key: bar for key, bar in counted.items() if key[0] == i}


@functools.cache
def _simulated(seed: int, sessions: int) -> list[BarSeries]:
    start = ns_from_text("2021-01-04")
    end = start + sessions * 7 * NS_PER_DAY // 5
    schedules = [session_schedule(one, start, end) for one in (NQ, CL)]
    market = SimulatedMarket(built_in_parameters(), [NQ, CL], schedules, seed)
    return simulated_series(market, start, end)


@pytest.mark.slow
def test_a_fit_to_simulated_bars_finds_the_parameters_again() -> None:
    known = built_in_parameters()
    found = fit_market(_simulated(seed=4, sessions=400))
    for name, model in found.instruments.items():
        truth = known.instruments[name]
        ratio = np.array(model.volatility_by_bucket) / np.array(truth.volatility_by_bucket)
        assert 0.75 < np.median(ratio) < 1.3
        assert np.abs(np.log(ratio / np.median(ratio))).mean() < 0.1
        assert model.regime_volatility[0] < 0.9
        assert model.regime_volatility[2] > 1.1
        assert abs(model.volatility_slow_sd - truth.volatility_slow_sd) < 0.12
        assert abs(model.volume.factor_elasticity - truth.volume.factor_elasticity) < 0.5
        assert np.mean(model.jump_probability) < 0.01
        volume = np.array(model.volume.by_bucket) / np.array(truth.volume.by_bucket)
        assert 0.7 < np.median(volume) < 1.4
    assert np.diag(found.transition).min() > 0.75
    shocks = np.array(found.correlation)[:, 0, 1]
    assert np.abs(shocks - np.array(known.correlation)[:, 0, 1]).max() < 0.12


@pytest.mark.slow
def test_weekdays_a_sessions_volume_and_moving_correlation_are_found_again() -> None:
    known = built_in_parameters()
    volatility = np.zeros((5, 46))
    volatility[2, 33] = 0.7
    volatility[:, 33] -= 0.5 * math.log(np.mean(np.exp(2 * volatility[:, 33])))
    volume = np.zeros((5, 46))
    volume[4, 29] = 0.8
    instruments = {
        name: msgspec.structs.replace(
            one,
            weekday_volatility=volatility.tolist(),
            weekday_volume=volume.tolist(),
            volume=msgspec.structs.replace(one.volume, session_sd=0.4, session_persistence=0.7),
        )
        for name, one in known.instruments.items()
    }
    planted = msgspec.structs.replace(known, instruments=instruments, correlation_sd=0.35, correlation_persistence=0.9)
    start, end = ns_from_text("2021-01-04"), ns_from_text("2022-09-01")
    schedules = [session_schedule(one, start, end) for one in (NQ, CL)]
    series = simulated_series(SimulatedMarket(planted, [NQ, CL], schedules, 8), start, end)
    found, first = fit_market(series, "2"), fit_market(series)
    assert first.correlation_sd == 0
    assert b"weekday" not in encode_parameters(first)
    assert 0.2 < found.correlation_sd < 0.5
    assert 0.75 < found.correlation_persistence < 0.99
    for one in found.instruments.values():
        assert np.array(one.weekday_volatility)[2, 33] - np.array(one.weekday_volatility)[1, 33] == pytest.approx(
            0.7, abs=0.2
        )
        assert np.array(one.weekday_volume)[4, 29] - np.array(one.weekday_volume)[3, 29] == pytest.approx(0.8, abs=0.25)
        assert np.abs(np.delete(np.array(one.weekday_volatility), 33, axis=1)).max() < 0.3
        assert 0.25 < one.volume.session_sd < 0.55
        assert 0.45 < one.volume.session_persistence < 0.9


def test_an_unknown_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="fit version: found '3'"):
        fit_market([], "3")


@pytest.mark.slow
def test_simulated_bars_keep_the_statistics_that_the_model_states() -> None:
    series = _simulated(seed=1, sessions=500)
    for one, (low, high) in zip(series, ((14.0, 30.0), (25.0, 47.0)), strict=True):
        measured, found = measure(one)
        statistics = measured.statistics
        assert low < statistics["volatility of a bar, bp"] < high
        assert 5.0 < statistics["kurtosis over bucket volatility"] < 30.0
        assert abs(statistics["autocorrelation of returns, lag 1"]) < 0.05
        assert statistics["autocorrelation of absolute returns, lag 1"] > 0.1
        assert statistics["autocorrelation of absolute returns, lag 46"] > 0.03
        # 09:30 New York, bucket 31, against the middle of the night, bucket 11.
        assert measured.volatility_bp[31] > 2.0 * measured.volatility_bp[11]
        assert measured.volume[31] > 5.0 * measured.volume[11]
        model = built_in_parameters().instruments[one.instrument.id]
        ratio = measured.volatility_bp / (1e4 * np.array(model.volatility_by_bucket))
        assert np.abs(np.log(ratio / np.median(ratio))).mean() < 0.15
        assert len(found.gap) > 450
    pair = {statistic: value for (name, statistic), value in facts(series).values.items() if " and " in name}
    assert 0.1 < pair["correlation of returns, extremes held"] < 0.3


def test_equal_bars_give_equal_parameters_and_their_order_is_kept() -> None:
    series = _simulated(seed=6, sessions=150)
    first = fit_market(series)
    assert encode_parameters(fit_market(series)) == encode_parameters(first)
    assert [str(name) for name in first.instruments] == ["NQ", "CL"]
    assert first.inputs["NQ"][0].bars == len(series[0].bars)


def test_one_instrument_alone_can_be_fitted_and_simulated() -> None:
    series = _simulated(seed=6, sessions=150)[1:]
    alone = fit_market(series)
    market = SimulatedMarket(alone, [CL], [series[0].schedule], 1, row_scale=0.1)
    start = int(series[0].schedule.open_ns[3])
    rows = sum(len(block) for block in market.blocks(start, start + NS_PER_DAY))
    assert rows > 1_000


def test_bars_without_volume_are_refused() -> None:
    series = _simulated(seed=6, sessions=150)[1]
    bars = series.bars.copy()
    bars["volume"][7] = UNKNOWN_VOLUME
    with pytest.raises(UsageError, match="without a known volume"):
        fit_market([BarSeries(series.instrument, bars, series.schedule)])


def test_gaps_of_the_built_in_market_are_small_over_the_pause_and_larger_over_weekends() -> None:
    for model in built_in_parameters().instruments.values():
        assert msgspec.structs.asdict(model)["gap_short"].scale < model.gap_long.scale < 0.01


def test_the_table_gives_the_band_of_the_seeds_and_says_what_lies_outside() -> None:
    made = [
        MarketFacts({("NQ", "a"): float(k), ("CL", "a"): 1.0}, {("NQ", "shape"): np.exp(np.array([0.0, 1.0, k / 10]))})
        for k in range(5)
    ]
    real = MarketFacts({("NQ", "a"): 3.5, ("CL", "a"): 1.5}, {("NQ", "shape"): np.exp(np.array([0.5, 1.0, 1.2]))})
    table = {(row.instrument, row.statistic): row for row in compare(real, made)}
    assert [name for name, _ in table] == ["NQ", "NQ", "NQ", "CL"]
    one = table["NQ", "a"]
    assert (one.real, one.low, one.median, one.high, one.is_in_band) == (3.5, 0.0, 2.0, 4.0, True)
    assert not table["CL", "a"].is_in_band
    largest = table["NQ", "shape, largest distance from the usual"]
    assert largest.real == pytest.approx(1.0)
    assert (largest.low, largest.high, largest.is_in_band) == (0.0, pytest.approx(0.2), False)
    assert table["NQ", "shape, median distance from the usual"].real == pytest.approx(0.5)


def test_falls_that_bring_unrest_are_seen_as_such() -> None:
    draws = np.random.default_rng(2)
    shock, size, sizes, returns = draws.standard_normal(40_000), 0.0, [], []
    for value in shock:
        returns.append(math.exp(size) * value)
        sizes.append(size)
        size = 0.98 * size - 0.05 * value
    signed = np.array(returns)
    assert market_resemblance._leverage(signed, np.abs(signed)) < -0.1
    assert abs(market_resemblance._leverage(shock, np.abs(shock))) < 0.05


def test_a_part_of_a_series_holds_whole_bars_between_two_times() -> None:
    series = _simulated(seed=6, sessions=150)[0]
    start, end = (int(series.bars["ts_open"][k]) for k in (100, 900))
    part = part_of(series, start, end)
    assert part.bars.tobytes() == series.bars[100:900].tobytes()
    with pytest.raises(UsageError, match="no bars between"):
        part_of(series, end, end + 1)
