"""The single agent and the one network: the same data, size and trainer as the layer they are held against."""

import math

import msgspec
import numpy as np
import pytest
import torch

from grandmodel.domain.blocks import Flag
from grandmodel.models.architecture import RISK_ACTIONS, strategic_architecture, tactical_architecture
from grandmodel.research.comparisons import (
    SingleAgentBatch,
    joint_actions,
    one_network_architecture,
    single_architecture,
    train_one_network,
    train_single_agent,
)
from grandmodel.training.environments import EnvSettings, simulated_market, strategic_batch, tactical_batch
from grandmodel.training.errors import TrainingDataError
from grandmodel.training.market import Span, build_market
from grandmodel.training.pipeline import default_settings, prepare
from grandmodel.training.warm_start import WarmStartSettings
from training_markets import CL, NQ, some_bars


@pytest.fixture(scope="module")
def markets():
    return [
        build_market(some_bars(2_400, 1, [(1_400, Flag.ROLL)]), NQ, "strategic"),
        build_market(some_bars(2_400, 2), CL, "strategic"),
    ]


def train_span(markets):
    return Span(int(markets[0].ts_event[600]), int(markets[0].ts_event[1_900]))


def quick(layer="strategic"):
    settings = default_settings(layer)
    small = msgspec.structs.replace(settings.mappo, frames=512, envs=16, steps=16, epochs=2, minibatches=2)
    return msgspec.structs.replace(settings, mappo=small, warm_start=WarmStartSettings(epochs=2, batch=256))


def weights_of(architecture):
    return sum(math.prod(shape) for shape in architecture.shapes().values())


def test_they_have_the_size_of_the_layer_within_a_twentieth():
    for layer, own in (("strategic", strategic_architecture()), ("tactical", tactical_architecture())):
        assert weights_of(single_architecture(layer)) == pytest.approx(weights_of(own), rel=0.05)
    assert weights_of(one_network_architecture()) == pytest.approx(weights_of(strategic_architecture()), rel=0.05)


def test_the_single_agent_sees_whole_windows_of_all_columns_and_the_tail(markets):
    span = train_span(markets)
    prepared = prepare("strategic", markets, span, EnvSettings())
    inner = strategic_batch(markets, prepared.env, 8, span)
    env = SingleAgentBatch(strategic_batch(markets, prepared.env, 8, span), "strategic")
    seen, theirs = env.reset(5), inner.reset(5)
    assert seen.observations.shape == (8, 1, 48 * 13 + 9)
    for n in range(8):
        market, row = int(inner.accounts[n]["market"]), int(inner.accounts[n]["row"])
        place = row - 2_400 * market  # Rows count over all markets.
        rows = prepared.normaliser.apply(markets[market].rows[place - 47 : place + 1])
        np.testing.assert_allclose(seen.observations[n, 0, : 48 * 13].reshape(48, 13), rows, atol=1e-6)
        np.testing.assert_array_equal(seen.observations[n, 0, 48 * 13 :], theirs.observations[n, 3, :9])


@pytest.mark.parametrize("layer", ["strategic", "tactical"])
def test_its_steps_are_those_of_the_environment_under_the_joint_actions(layer, markets):
    if layer == "strategic":
        build = lambda: strategic_batch(markets, EnvSettings(episode_bars=30), 6, train_span(markets))  # noqa: E731
    else:
        build = lambda: tactical_batch([simulated_market("tactical")], EnvSettings(episode_bars=30), 6)  # noqa: E731
    inner, env = build(), SingleAgentBatch(build(), layer)
    inner.reset(1), env.reset(1)
    choices = joint_actions(layer)
    assert choices.shape == (env.spec.action_counts[0], inner.spec.agent_count)
    assert (choices < np.array(inner.spec.action_counts)).all()
    generator, restarts = np.random.default_rng(0), 0
    for _ in range(70):
        actions = generator.integers(0, len(choices), (6, 1))
        theirs, ours = inner.step(choices[actions[:, 0]]), env.step(actions)
        for name in ("rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(ours, name)[:, 0], getattr(theirs, name)[:, 0])
            assert (getattr(theirs, name) == getattr(theirs, name)[:, :1]).all()  # Agents earn and end together.
        np.testing.assert_array_equal(ours.restarted, theirs.restarted)
        np.testing.assert_array_equal(ours.seen.state, theirs.seen.state)
        restarts += int(ours.restarted.sum())
        for one, other in ((ours.seen, theirs.seen), (ours.final, theirs.final)):
            last = one.observations[:, 0, -9:]
            a = inner.spec.agent_count - 1
            size = inner.spec.observation_sizes[a]
            np.testing.assert_array_equal(last, other.observations[:, a, size - 9 : size])
    assert restarts > 6
    saved, after = env.save(), env.step(np.zeros((6, 1), np.int64)).seen.observations.copy()
    env.restore(saved)
    np.testing.assert_array_equal(env.step(np.zeros((6, 1), np.int64)).seen.observations, after)


def test_every_combination_of_tactical_actions_is_one_action_of_its_own():
    choices, (head,) = joint_actions("tactical"), single_architecture("tactical").heads
    assert len({tuple(row) for row in choices.tolist()}) == len(choices) == 3 * len(RISK_ACTIONS) * 4
    assert head.actions[0] == "enter | scale 0 stop 8 | wait"
    assert len(set(head.actions)) == len(choices)


def test_both_train_by_seed_and_foretell_distributions(markets):
    places = np.flatnonzero(markets[1].usable & (np.arange(2_400) > 1_950))[:60]
    span = train_span(markets)
    for train in (lambda seed: train_one_network(markets, span, quick(), seed),
                  lambda seed: train_single_agent("strategic", markets, span, quick(), seed)):  # fmt: skip
        one, two, other = train(1), train(1), train(2)
        for name, array in one.weights.items():
            assert np.array_equal(array, two.weights[name])
        assert any(not np.array_equal(array, other.weights[name]) for name, array in one.weights.items())
        beliefs = one.beliefs(markets[1], places)
        np.testing.assert_allclose(beliefs.sum(axis=1), 1.0, atol=1e-12)
        np.testing.assert_array_equal(beliefs, two.beliefs(markets[1], places))


def test_the_one_networks_beliefs_are_its_softmax_of_the_normalised_window(markets):
    found = train_one_network(markets, train_span(markets), quick(), 0)
    place = 2_000
    actor = found.actor()
    window = found.prepared.normaliser.apply(markets[0].rows[place - 47 : place + 1]).astype(np.float32)
    with torch.no_grad():
        features = actor.get_submodule("single_trunk")(torch.from_numpy(window.reshape(1, -1)))
        expected = actor.agent_logits("single", features).softmax(-1).numpy()[0]
    np.testing.assert_allclose(found.beliefs(markets[0], np.array([place]))[0], expected, atol=1e-6)


def test_the_tactical_single_agent_trains_and_has_no_beliefs():
    market = simulated_market("tactical")
    span = Span(int(market.ts_event[700]), int(market.ts_event[3_500]))
    found = train_single_agent("tactical", [market], span, quick("tactical"), 0)
    assert found.history[-1].frames == 512
    with pytest.raises(TrainingDataError, match="found a tactical agent, expected a strategic one"):
        found.beliefs(market, np.array([4_000]))
