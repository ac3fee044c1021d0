"""What the environments show, ask and pay, reckoned again with numpy from the market's own arrays and the engine's account."""

import math

import msgspec
import numpy as np
import pytest

from grandmodel.domain.blocks import Flag
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import FIVE_MINUTES_NS, THIRTY_MINUTES_NS
from grandmodel.features.schema import AGENT_COLUMNS, TIME_COLUMNS
from grandmodel.models.architecture import RISK_ACTIONS, STRATEGIC_TAIL, TACTICAL_TAIL
from grandmodel.risk.distributions import loss_quantile
from grandmodel.training import strategic_env, tactical_env
from grandmodel.training.environments import (
    EnvSettings,
    RewardWeights,
    simulated_market,
    strategic_batch,
    tactical_batch,
)
from grandmodel.training.environments.draws import draw_below, draw_unit
from grandmodel.training.errors import TrainingDataError, TrainingSettingsError
from grandmodel.training.market import Span, build_market
from training_markets import some_bars

NQ, CL = BUILT_IN["NQ"], BUILT_IN["CL"]
SHORT = EnvSettings(episode_bars=40)
LONG, FLAT, SELL = 0, 1, 2
FOLLOW_REGIME = 2
ENTER = {"tactical": 0, "risk": RISK_ACTIONS.index("scale 1 stop 16"), "execution": 2}


def place_of(env, infos):
    """The row of the present bar, by its stamp."""
    market = env.ground.markets[0]
    ts = int(next(iter(infos.values()))["ts_event"])
    return int(np.flatnonzero(market.ts_event == ts)[0])


def full_lots(env, row, equity):
    """Lots of a full exposure, from the formulas of ``risk/sizing.py`` written out."""
    market, lane = env.ground.markets[0], env.ground.settings.lane
    per_day = 46 if market.layer == "strategic" else 276
    deviation = market.scale[row] * market.instrument.tick_value_micros
    var = lane.risk.var
    by_volatility = lane.volatility_target * equity / (deviation * math.sqrt(per_day * 252))
    by_var = lane.var_budget * equity / (loss_quantile(var.level, var.degrees) * deviation * math.sqrt(per_day))
    return min(by_volatility, by_var)


def held_to(value, limit=3.0):
    return min(max(value, -limit), limit)


@pytest.mark.parametrize("make", [strategic_env, tactical_env])
def test_an_observation_is_the_newest_rows_normalised_oldest_first(make):
    env = make(settings=SHORT)
    rng = np.random.default_rng(0)
    _, infos = env.reset(seed=3)
    market, rows = env.ground.markets[0], env.ground.schema.rows
    for _ in range(10):
        actions = {agent: int(rng.integers(env.action_space(agent).n)) for agent in env.agents}
        seen, *_, infos = env.step(actions)
        row = place_of(env, infos)
        window = env.ground.normaliser.apply(market.rows[row - rows + 1 : row + 1]).astype(np.float32)
        if market.layer == "strategic":
            for agent, columns in AGENT_COLUMNS.items():
                np.testing.assert_array_equal(seen[agent], window[:, [*columns, *TIME_COLUMNS]].ravel())
            tail = seen["coordinator"]
        else:
            tail = seen["risk"][window.size :]
            for agent in env.possible_agents:
                np.testing.assert_array_equal(seen[agent], np.concatenate([window.ravel(), tail]))
        np.testing.assert_array_equal(env.state(), np.concatenate([window[-1], tail]))


def test_the_coordinators_tail_and_the_reward_are_what_their_formulas_say():
    env = strategic_env(settings=SHORT)
    market, weights = env.ground.markets[0], env.ground.settings.rewards
    rng = np.random.default_rng(1)
    _, infos = env.reset(seed=21)
    account = infos["mlmi"]
    capital = env.ground.settings.lane.capital_micros
    assert account["equity_micros"] == capital
    equity, peak, row = capital, capital, place_of(env, infos)
    for _ in range(39):
        lots_before = full_lots(env, row, equity)
        risk = lots_before * market.scale[row] * market.instrument.tick_value_micros
        directions = rng.integers(0, 3, 3)
        actions = dict(zip(env.possible_agents, [*directions.tolist(), FOLLOW_REGIME], strict=True))
        seen, rewards, _, _, infos = env.step(actions)
        account = infos["regime"]
        wanted = (1, 0, -1)[directions[FOLLOW_REGIME]] * math.floor(lots_before)
        assert account["target_lots"] == pytest.approx(wanted, abs=0.1 * lots_before + 1e-9)
        before, before_peak = equity, peak
        equity, row = account["equity_micros"], place_of(env, infos)
        peak = max(peak, equity)
        assert account["peak_micros"] >= peak
        fall = max((1 - equity / peak) - (1 - before / before_peak), 0.0)
        limit = env.ground.settings.lane.risk.breakers.drawdown.caution
        assert account["reward_profit"] == pytest.approx((equity - before) / risk, rel=1e-9, abs=1e-12)
        assert account["reward_drawdown"] == pytest.approx(-weights.drawdown * fall / limit, rel=1e-9, abs=1e-12)
        assert account["reward_implementation"] == account["reward_tracking"] == 0.0
        assert rewards["mlmi"] == account["reward_profit"] + account["reward_drawdown"]
        now = full_lots(env, row, equity)
        tail = dict(zip(STRATEGIC_TAIL, seen["coordinator"], strict=True))
        known = market.scale[market.scale > 0]
        expected = {
            "time_of_day": market.rows[row, 6],
            "day_of_week": market.rows[row, 7],
            "position": account["lots"] / now,
            "shortfall": (account["target_lots"] - account["lots"]) / now,
            "drawdown": (1 - equity / account["peak_micros"]) / limit,
            "relative_scale": market.scale[row] / known.mean(),
        }
        for name, value in expected.items():
            assert tail[name] == pytest.approx(held_to(value), rel=1e-5, abs=1e-6), name


def test_the_implementation_term_compares_with_the_exposure_held_without_cost():
    market = simulated_market("tactical")
    exposure = [np.full(len(market.bars), 0.8)]
    env = tactical_env(settings=msgspec.structs.replace(SHORT, dead_band=0.0), exposures=exposure)
    _, infos = env.reset(seed=2)
    row, equity = place_of(env, infos), infos["risk"]["equity_micros"]
    for _ in range(30):
        lots = full_lots(env, row, equity)
        value = market.instrument.tick_value_micros
        seen, _, _, _, infos = env.step(ENTER)
        there, account = place_of(env, infos), infos["risk"]
        ideal = 0.8 * lots * (market.bars["close"][there] - market.bars["close"][row]) * value
        profit = account["equity_micros"] - equity
        unit = lots * market.scale[row] * value
        assert account["reward_implementation"] == pytest.approx((profit - ideal) / unit, rel=1e-9, abs=1e-9)
        gap = 0.8 - account["lots"] / lots
        assert account["reward_tracking"] == pytest.approx(-0.2 * abs(gap), rel=1e-9, abs=1e-9)
        row, equity = there, account["equity_micros"]
        tail = dict(zip(TACTICAL_TAIL, seen["execution"][-len(TACTICAL_TAIL) :], strict=True))
        assert tail["exposure"] == np.float32(0.8)
        assert tail["position"] == pytest.approx(account["lots"] / full_lots(env, row, equity), rel=1e-5)
        assert tail["gap"] == pytest.approx(0.8 - tail["position"], abs=1e-6)
    assert account["lots"] > 0


def test_an_episode_ends_flat_and_pays_for_it():
    env = strategic_env(settings=SHORT)
    env.reset(seed=9)
    buys = dict.fromkeys(env.agents, LONG)
    for _ in range(39):
        *_, infos = env.step(buys)
    held, before = infos["mlmi"]["lots"], infos["mlmi"]
    assert held > 5
    seen, _, terminated, truncated, infos = env.step(buys)
    after = infos["mlmi"]
    assert truncated["mlmi"]
    assert not terminated["mlmi"]
    assert env.agents == []
    assert after["lots"] == 0.0
    assert after["fees_micros"] - before["fees_micros"] >= held * env.ground.settings.lane.fee_micros
    assert seen["coordinator"][STRATEGIC_TAIL.index("position")] == 0.0


def test_a_target_worked_in_slices_leaves_a_shortfall():
    env = strategic_env(settings=msgspec.structs.replace(SHORT, slices=3))
    env.reset(seed=9)
    seen, *_, infos = env.step(dict.fromkeys(env.agents, LONG))
    account = infos["mlmi"]
    assert account["lots"] == -(-account["target_lots"] // 3)
    assert seen["coordinator"][STRATEGIC_TAIL.index("shortfall")] > 0.5


def test_the_dead_band_leaves_a_position_that_is_nearly_right():
    still = strategic_env(settings=SHORT)
    busy = strategic_env(settings=msgspec.structs.replace(SHORT, dead_band=0.0))
    traded = []
    for env in (still, busy):
        env.reset(seed=4)
        while env.agents:
            *_, infos = env.step(dict.fromkeys(env.agents, LONG))
        traded.append(infos["mlmi"]["traded_lots"])
    assert traded[0] < traded[1]


MARKS = [(800, Flag.ROLL), (1_000, Flag.ROLL), (1_003, Flag.ROLL)]


@pytest.mark.parametrize("layer", ["strategic", "tactical"])
def test_episodes_stay_inside_their_segment_and_span(layer):
    width = THIRTY_MINUTES_NS if layer == "strategic" else FIVE_MINUTES_NS
    bars = some_bars(1_500, 3, MARKS, width=width)
    markets = [build_market(bars, NQ, layer), build_market(some_bars(1_400, 4, width=width), CL, layer)]
    span = Span(int(markets[0].ts_event[650]), int(markets[0].ts_event[1_300]))
    make = strategic_batch if layer == "strategic" else tactical_batch
    env = make(markets, EnvSettings(episode_bars=50, fewest_bars=20), 40, span)
    rng = np.random.default_rng(0)
    env.reset(0)
    segments = np.concatenate([market.segment + 1_000 * m for m, market in enumerate(markets)])
    stamps = np.concatenate([market.ts_event for market in markets])
    lengths, played, seen_markets = [], np.zeros(40, int), set()
    for _ in range(300):
        before = env.accounts["row"].copy()
        seen_markets |= set(env.accounts["market"].tolist())
        outcome = env.step(rng.integers(0, env.spec.action_counts, (40, env.spec.agent_count)))
        played += 1
        after = np.where(outcome.restarted, before + 1, env.accounts["row"])
        np.testing.assert_array_equal(after, before + 1)
        assert (segments[before] == segments[after]).all()
        assert span.holds(stamps[before]).all()
        assert span.holds(stamps[after]).all()
        lengths += played[outcome.restarted].tolist()
        played[outcome.restarted] = 0
    assert min(lengths) >= 20
    assert max(lengths) == 50
    assert len(set(lengths)) > 5  # Some were cut off by a mark or by the end of the span.
    assert seen_markets == {0, 1}


def test_drawn_exposures_are_held_until_a_half_hour_close():
    env = tactical_batch(count=50)
    env.reset(3)
    stamps = env.ground.markets[0].ts_event
    changes, flats, values = 0, 0, []
    idle = np.tile([1, 0, 0], (50, 1))
    for _ in range(200):
        before = env.episodes["exposure"].copy()
        outcome = env.step(idle)
        goes_on = ~outcome.restarted
        changed = (env.episodes["exposure"] != before) & goes_on
        assert (stamps[env.accounts["row"][changed]] % THIRTY_MINUTES_NS == 0).all()
        changes += int(changed.sum())
        values += env.episodes["exposure"][changed].tolist()
        flats += int((env.episodes["exposure"][changed] == 0.0).sum())
    assert changes > 200
    assert 0.1 < flats / changes < 0.4
    assert min(values) < -0.9
    assert max(values) > 0.9


def test_what_is_seen_does_not_change_when_more_bars_come():
    bars = some_bars(1_300, 5)
    whole = strategic_batch([build_market(bars, NQ, "strategic")], SHORT, 1)
    chosen = msgspec.structs.replace(
        SHORT, normaliser=whole.ground.normaliser.to_data(), mean_scale={"NQ": 60.0}, bars_per_day={"NQ": 46.0}
    )
    until = Span(0, int(bars["ts_event"][1_000]))
    long, short = (
        strategic_batch([build_market(bars[:count], NQ, "strategic")], chosen, 8, until) for count in (1_300, 1_000)
    )
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(long.reset(1).observations, short.reset(1).observations)
    for _ in range(100):
        actions = rng.integers(0, 3, (8, 4))
        left, right = long.step(actions), short.step(actions)
        np.testing.assert_array_equal(left.seen.observations, right.seen.observations)
        np.testing.assert_array_equal(left.rewards, right.rewards)


def test_draws_are_uniform_and_of_one_purpose_each():
    drawn = np.array([[draw_unit(seed, purpose, 3) for seed in range(2_000)] for purpose in (1, 2)])
    assert abs(drawn.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.06
    counts = np.bincount([draw_below(7, 1, k, 5) for k in range(5_000)], minlength=5)
    assert counts.min() > 850


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"episode_bars": 0}, "episode_bars is 0"),
        ({"slices": 0}, "slices is 0"),
        ({"dead_band": 1.0}, "dead_band is 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, found):
    with pytest.raises(TrainingSettingsError, match=found):
        EnvSettings(**changes)
    with pytest.raises(TrainingSettingsError, match="reward weight drawdown is -1"):
        RewardWeights(drawdown=-1.0)


def test_what_no_environment_can_run_on_is_refused():
    market = build_market(some_bars(900, 0), NQ, "strategic")
    whole = strategic_batch([market], count=1).ground.normaliser.to_data()
    with pytest.raises(TrainingDataError, match="found a strategic market, expected a tactical one"):
        tactical_batch([market], count=1)
    with pytest.raises(TrainingDataError, match="found no bar of NQ at which an episode"):
        strategic_batch([market], EnvSettings(normaliser=whole), 1, Span(0, int(market.ts_event[590])))
    with pytest.raises(TrainingDataError, match="mean_scale: found none for NQ"):
        strategic_batch([market], EnvSettings(mean_scale={"CL": 8.0}), 1)
    tactical = simulated_market("tactical")
    with pytest.raises(TrainingDataError, match="exposures: found lengths"):
        tactical_batch([tactical], count=1, exposures=[np.zeros(3)])
    with pytest.raises(TrainingDataError, match=r"found 1\.5, expected numbers in"):
        tactical_batch([tactical], count=1, exposures=[np.full(len(tactical.bars), 1.5)])
