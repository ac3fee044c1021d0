"""The PettingZoo forms, over a lane and over the whole engine, and the compiled batch give the same trajectories for the same seed and actions."""

from functools import lru_cache

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.profile import ImportProfile, Label
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.risk.settings import InstrumentLimits, PortfolioLimits, Thresholds
from grandmodel.simulation.models import FixedSlippage, VenueSettings
from grandmodel.training import strategic_env, tactical_env
from grandmodel.training.environments import EnvSettings, RewardWeights, strategic_batch, tactical_batch
from grandmodel.training.environments.rewards import TERMS
from grandmodel.training.lanes import LaneSettings
from grandmodel.training.market import build_market
from grandmodel.training.seeds import episode_seed
from lane_markets import wild_bars
from shared_data import shared

FORMS = {"strategic": (strategic_env, strategic_batch), "tactical": (tactical_env, tactical_batch)}
MINUTES = {"strategic": 30, "tactical": 5}
ORDINARY = LaneSettings()
# Large positions, and limits that refuse and cut.
RECKLESS = LaneSettings(volatility_target=1.5, var_budget=0.5, venue=VenueSettings(slippage=FixedSlippage(ticks=3)))
# A ladder that leaves normal after small losses.
FRAGILE = msgspec.structs.replace(
    ORDINARY,
    risk=msgspec.structs.replace(
        ORDINARY.risk,
        breakers=msgspec.structs.replace(
            ORDINARY.risk.breakers,
            drawdown=Thresholds(caution=0.0008, reduce=0.03, halt=0.05),
            daily_loss=Thresholds(caution=0.0006, reduce=0.03, halt=0.05),
        ),
    ),
)
TIGHT = msgspec.structs.replace(
    RECKLESS,
    risk=msgspec.structs.replace(
        RECKLESS.risk,
        limits=InstrumentLimits(max_order_lots=60, max_long_lots=40, max_short_lots=25),
        portfolio=PortfolioLimits(max_var=0.02, max_stressed_var=0.1),
    ),
)


@lru_cache(maxsize=16)
def markets_of(layer, seed):
    """Two wild markets, long enough for windows between their marks."""
    generator = np.random.default_rng(seed)
    count, marks = (1_000, 0.001) if layer == "strategic" else (900, 0.003)
    made = []
    for name, start_price, move in (("NQ", 50_000, 40.0), ("CL", 7_000, 9.0)):
        bars = wild_bars(
            generator, BUILT_IN[name], MINUTES[layer], count, start_price=start_price, move=move, marks=marks
        )
        made.append(build_market(bars, BUILT_IN[name], layer))
    return tuple(made)


def sticky_actions(generator, counts, steps, copies, stay):
    """Random actions that often stay as they were: positions are then held, enlarged and turned."""
    actions = generator.integers(0, counts, (steps, copies, len(counts)))
    for t in range(1, steps):
        kept = generator.random(actions.shape[1:]) < stay
        actions[t][kept] = actions[t - 1][kept]
    return actions


def assert_same_trajectories(layer, markets, chosen, seed, steps, *, copies=2, stay=0.5, **given_exposures):
    """Play all forms side by side; what happened: ends by kind, and lots traded."""
    make_env, make_batch = FORMS[layer]
    batch = make_batch(markets, chosen, copies, **given_exposures)
    envs = [
        Pair(make_env(markets, chosen, over_engine=form, **given_exposures) for form in (False, True))
        for _ in range(copies)
    ]
    agents = batch.spec.agents
    episodes = [0] * copies
    seen = batch.reset(seed)
    for n, env in enumerate(envs):
        assert_sees(env, env.reset(seed=episode_seed(seed, n, 0))[0], seen, n)
    happened = {"terminated": 0, "truncated": 0, "traded": 0}
    actions = sticky_actions(np.random.default_rng(seed), batch.spec.action_counts, steps, copies, stay)
    for row in actions:
        outcome = batch.step(row)
        for n, env in enumerate(envs):
            found, rewards, terminated, truncated, infos = env.step(
                {agent: int(row[n, a]) for a, agent in enumerate(agents)}
            )
            assert_sees(env, found, outcome.final, n)
            for a, agent in enumerate(agents):
                assert np.float32(rewards[agent]) == outcome.rewards[n, a]
                assert terminated[agent] == outcome.terminated[n, a]
                assert truncated[agent] == outcome.truncated[n, a]
            info = infos[agents[0]]
            assert [info[f"reward_{name}"] for name in TERMS] == batch.reward_terms[n].tolist()
            assert outcome.restarted[n] == (not env.agents)
            if env.agents:
                account = batch.accounts[n]
                for name in ("equity_micros", "lots", "fees_micros", "traded_lots", "refused_lots"):
                    assert info[name] == account[name]
                continue
            happened["terminated"] += terminated[agents[0]]
            happened["truncated"] += truncated[agents[0]]
            happened["traded"] += int(info["traded_lots"])
            episodes[n] += 1
            first, _ = env.reset(seed=episode_seed(seed, n, episodes[n]))
            assert_sees(env, first, outcome.seen, n)
    return happened


class Pair:
    """The form over a lane and the one over the engine, of which all that comes back must be the same."""

    def __init__(self, forms):
        self.forms = tuple(forms)

    def __getattr__(self, name):
        return (
            self.same(getattr(form, name) for form in self.forms) if name == "agents" else getattr(self.forms[0], name)
        )

    def reset(self, *, seed):
        return self.same(form.reset(seed=seed) for form in self.forms)

    def step(self, actions):
        return self.same(form.step(actions) for form in self.forms)

    def state(self):
        return self.same(form.state() for form in self.forms)

    @staticmethod
    def same(found):
        lane, engine = found
        assert_same(lane, engine)
        return lane


def assert_same(lane, engine):
    if isinstance(lane, dict):
        assert lane.keys() == engine.keys()
        for name, value in lane.items():
            assert_same(value, engine[name])
    elif isinstance(lane, tuple | list):
        for one, other in zip(lane, engine, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(lane, engine)


def assert_sees(env, observations, seen, n):
    for a, agent in enumerate(env.possible_agents):
        observation = observations[agent]
        np.testing.assert_array_equal(observation, seen.observations[n, a, : len(observation)])
        assert env.observation_space(agent).contains(observation)
        assert not seen.observations[n, a, len(observation) :].any()
    np.testing.assert_array_equal(env.state(), seen.state[n])


@pytest.mark.parametrize("layer", FORMS)
@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    world=st.integers(0, 3),
    lane=st.sampled_from([ORDINARY, RECKLESS, FRAGILE, TIGHT]),
    bars=st.sampled_from([5, 24, 60]),
    slices=st.sampled_from([1, 3]),
    dead_band=st.sampled_from([0.0, 0.2]),
    stay=st.sampled_from([0.1, 0.9]),
)
def test_all_forms_give_the_same_trajectories(layer, seed, world, lane, bars, slices, dead_band, stay):
    chosen = EnvSettings(
        lane=lane,
        episode_bars=bars,
        fewest_bars=4,
        slices=slices,
        dead_band=dead_band,
        rewards=RewardWeights(profit=0.7, drawdown=3.0, implementation=0.4),
    )
    assert_same_trajectories(layer, markets_of(layer, world), chosen, seed, 60, copies=1, stay=stay)


@pytest.mark.parametrize("layer", FORMS)
def test_the_trajectories_above_meet_every_kind_of_end(layer):
    chosen = EnvSettings(lane=FRAGILE, episode_bars=60, fewest_bars=4)
    met = [assert_same_trajectories(layer, markets_of(layer, 0), chosen, seed, 80, stay=0.9) for seed in range(4)]
    for name in ("terminated", "truncated", "traded"):
        assert sum(happened[name] for happened in met) > 0, name


def test_given_exposures_are_followed_alike():
    markets = markets_of("tactical", 1)
    generator = np.random.default_rng(3)
    exposures = [generator.uniform(-1, 1, len(market.bars)) for market in markets]
    assert_same_trajectories("tactical", markets, EnvSettings(episode_bars=40), 5, 90, exposures=exposures)


REAL = {
    "NQ strategic": ("futures_30m/NQ_30m_eth_20200629_20240628.csv.gz", "NQ", "strategic", "Asia/Jerusalem"),
    "CL strategic": ("futures_30m/CL_30m_eth_20200629_20240628.csv.gz", "CL", "strategic", "Asia/Jerusalem"),
    "NQ tactical": ("futures_5m/NQ_5m_20190101_20191031.csv.gz", "NQ", "tactical", "America/Los_Angeles"),
}


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_all_forms_give_the_same_trajectories_on_real_bars(name):
    file, instrument, layer, zone = REAL[name]
    blocks, _ = read_file(
        shared(f"data/bars/{file}"), BUILT_IN[instrument], ImportProfile(time_zone=zone, label=Label.OPEN)
    )
    market = build_market(next(iter(blocks.values()))[:8_000], BUILT_IN[instrument], layer)
    met = assert_same_trajectories(layer, [market], EnvSettings(), 17, 600, stay=0.7)
    assert met["truncated"] >= 2
    assert met["traded"] > 20
