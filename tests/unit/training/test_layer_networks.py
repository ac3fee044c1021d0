"""A layer's networks: what the architecture says, who sees what, and there and back to plain arrays."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.models.architecture import strategic_architecture, tactical_architecture
from grandmodel.training.batched import BatchedEnv, EnvSpec, Outcome, Seen
from grandmodel.training.errors import TrainingDataError, TrainingSettingsError
from grandmodel.training.layer_networks import (
    build_actor,
    build_layer_networks,
    export_weights,
    layer_spec,
    load_weights,
)
from grandmodel.training.mappo import Settings, observe, prepare, start_run, train
from grandmodel.training.networks import POLICY_GAIN
from grandmodel.training.rollout import collect

LAYERS = {"strategic": strategic_architecture(), "tactical": tactical_architecture()}
both = pytest.mark.parametrize("layer", LAYERS)


@torch.no_grad()
def beliefs_under_masks(actor, seen, kept):
    """Each trunk agent's action probabilities (S, B, K) with only the ``kept`` features (S, B, agents with a trunk, 32).

    Kept features are divided by the share kept, so that their expectation stays.
    """
    share = 1.0 - actor.architecture.dropout
    found = []
    heads = [(a, head) for a, head in enumerate(actor.architecture.heads) if head.trunk]
    for place, ((a, head), features) in enumerate(zip(heads, actor.features(seen), strict=True)):
        thinned = features * kept[:, :, place].to(features.dtype) / share  # (S, B, 32)
        tail = actor.tail(head, seen[:, a])
        spread = None if tail is None else tail.expand(len(kept), *tail.shape)
        found.append(actor.agent_logits(head.agent, thinned, spread).softmax(-1))
    return found


def actor_of(layer, seed=0):
    return build_actor(LAYERS[layer], torch.Generator().manual_seed(seed))


def strong(actor, seed=3):
    """The same actor with logits of ordinary size, so that differences show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in actor.named_parameters():
            if ".logits." in name or name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return actor


def observations(layer, rows=5, seed=1):
    spec = layer_spec(LAYERS[layer])
    seen = np.random.default_rng(seed).normal(size=(rows, spec.agent_count, spec.observation_width)).astype(np.float32)
    for a, size in enumerate(spec.observation_sizes):
        seen[:, a, size:] = 0.0
    return torch.from_numpy(seen)


def plain_linear(weights, name, x):
    return weights[f"{name}.weight"].astype(np.float64) @ x + weights[f"{name}.bias"]


def plain_features(weights, trunk, window):
    """The docstring of ``architecture`` in loops: one window (rows, columns)."""
    p1, p2 = trunk.patches
    first = [
        np.maximum(plain_linear(weights, f"{trunk.name}.patch1", window[i : i + p1].ravel()), 0)
        for i in range(0, trunk.rows, p1)
    ]
    second = [
        np.maximum(plain_linear(weights, f"{trunk.name}.patch2", np.concatenate(first[i : i + p2])), 0)
        for i in range(0, len(first), p2)
    ]
    return np.maximum(plain_linear(weights, f"{trunk.name}.features", np.concatenate(second)), 0)


def plain_logits(architecture, weights, observation):
    """Logits by agent of one padded observation (A, F)."""
    found, beliefs = {}, []
    for head, seen in zip(architecture.heads, observation, strict=True):
        if head.trunk:
            trunk = architecture.trunk(head.trunk)
            window = seen[: trunk.inputs].reshape(trunk.rows, len(trunk.columns))
            x = np.concatenate([plain_features(weights, trunk, window), seen[trunk.inputs : trunk.inputs + head.tail]])
        else:
            x = np.concatenate([*beliefs, seen[: head.tail]])
        if head.hidden:
            x = np.maximum(plain_linear(weights, f"{head.agent}.hidden", x), 0)
        found[head.agent] = plain_linear(weights, f"{head.agent}.logits", x)
        shares = np.exp(found[head.agent] - found[head.agent].max())
        beliefs.append(shares / shares.sum())
    return found


@both
def test_tensors_are_named_and_shaped_as_the_architecture_says(layer):
    actor = actor_of(layer)
    assert {name: tuple(tensor.shape) for name, tensor in actor.state_dict().items()} == LAYERS[layer].shapes()
    assert len(list(actor.parameters())) == len(LAYERS[layer].shapes())


@both
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1_000))
def test_logits_are_those_of_the_formula_in_plain_loops(layer, seed):
    actor, seen = strong(actor_of(layer, seed), seed), observations(layer, 3, seed)
    logits, weights = actor(seen).detach().numpy(), export_weights(actor)
    for row in range(3):
        expected = plain_logits(LAYERS[layer], weights, seen[row].numpy().astype(np.float64))
        for a, head in enumerate(LAYERS[layer].heads):
            np.testing.assert_allclose(logits[row, a, : len(head.actions)], expected[head.agent], atol=2e-5)
            assert (logits[row, a, len(head.actions) :] == 0.0).all()


@both
def test_an_agent_sees_its_own_observation_and_no_other(layer):
    actor = strong(actor_of(layer))
    for a, head in enumerate(LAYERS[layer].heads):
        seen = observations(layer).requires_grad_()
        (gradient,) = torch.autograd.grad(actor(seen)[:, a].square().sum(), seen)
        assert gradient[:, a].abs().sum() > 0.0
        assert (gradient[:, [b for b in range(seen.shape[1]) if b != a]] == 0.0).all()
        size = layer_spec(LAYERS[layer]).observation_sizes[a]
        assert (gradient[:, a, size:] == 0.0).all()
        assert (gradient[:, a, :size].abs().sum(0) > 0.0).all(), head.agent


def test_the_coordinator_weighs_beliefs_and_gives_the_others_no_gradient():
    actor, seen = strong(actor_of("strategic")), observations("strategic")
    before = actor(seen).detach()
    moved = seen.clone()
    moved[:, 0] += 1.0  # The MLMI agent sees another window ...
    after = actor(moved).detach()
    assert not torch.equal(before[:, 3], after[:, 3])  # ... so the Coordinator hears another belief,
    assert torch.equal(before[:, 1:3], after[:, 1:3])  # and nobody else does.
    actor(seen)[:, 3].square().sum().backward()
    for name, parameter in actor.named_parameters():
        moved_by_it = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0.0)
        assert moved_by_it == name.startswith("coordinator."), name


@both
def test_weights_begin_orthogonal_and_the_policy_nearly_uniform(layer):
    actor = actor_of(layer)
    for name, tensor in actor.state_dict().items():
        if name.endswith(".bias"):
            assert (tensor == 0.0).all()
            continue
        gain = POLICY_GAIN if name.endswith("logits.weight") else np.sqrt(2.0)
        rows, columns = tensor.shape
        product = tensor @ tensor.T if rows <= columns else tensor.T @ tensor
        torch.testing.assert_close(product, torch.eye(len(product)) * gain**2, atol=1e-5, rtol=0)
    for a, head in enumerate(LAYERS[layer].heads):
        shares = actor(observations(layer))[:, a, : len(head.actions)].softmax(-1)
        assert (shares - 1 / len(head.actions)).abs().max() < 0.03


@both
def test_the_same_generator_gives_the_same_weights_and_torchs_own_is_left_alone(layer):
    state = torch.get_rng_state()
    one, two, other = actor_of(layer, 5), actor_of(layer, 5), actor_of(layer, 6)
    assert torch.equal(state, torch.get_rng_state())
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name])
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@both
def test_exported_weights_are_copies_and_load_to_the_same_logits(layer):
    actor, seen = strong(actor_of(layer)), observations(layer)
    weights, before = export_weights(actor), actor(seen).detach()
    assert list(weights) == list(LAYERS[layer].shapes())
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in weights.values())
    other = actor_of(layer, 9)
    load_weights(other, weights)
    assert torch.equal(other(seen), before)
    for array in weights.values():
        array[...] = 7.0
    assert torch.equal(actor(seen), before)
    assert torch.equal(other(seen), before)


def test_weights_that_do_not_fit_are_refused_by_name():
    actor = actor_of("strategic")
    weights = export_weights(actor)
    part = {name: array for name, array in weights.items() if not name.startswith("coordinator.")}
    with pytest.raises(TrainingDataError, match=r"missing \['coordinator.hidden.bias'"):
        load_weights(actor, part)
    load_weights(actor, part, partial=True)
    with pytest.raises(TrainingDataError, match=r"found unknown \['stranger'\]"):
        load_weights(actor, part | {"stranger": np.zeros(3, np.float32)}, partial=True)
    with pytest.raises(TrainingDataError, match=r"mlmi.logits.bias: found shape \(4,\), expected \(3,\)"):
        load_weights(actor, weights | {"mlmi.logits.bias": np.zeros(4, np.float32)})


# --- dropout ----------------------------------------------------------------------------------------------------------


@both
def test_beliefs_under_masks_are_the_formula_with_features_dropped(layer):
    architecture, actor, seen = LAYERS[layer], strong(actor_of(layer)), observations(layer, 4)
    agents = [(a, head) for a, head in enumerate(architecture.heads) if head.trunk]
    kept = torch.rand((6, 4, len(agents), 32), generator=torch.Generator().manual_seed(2)) >= 0.25
    found = beliefs_under_masks(actor, seen, kept)
    weights = export_weights(actor)
    for place, (a, head) in enumerate(agents):
        trunk = architecture.trunk(head.trunk)
        for row in range(4):
            observation = seen[row, a].numpy().astype(np.float64)
            features = plain_features(weights, trunk, observation[: trunk.inputs].reshape(trunk.rows, -1))
            for sample in range(6):
                thinned = features * kept[sample, row, place].numpy() / 0.75
                x = np.concatenate([thinned, observation[trunk.inputs : trunk.inputs + head.tail]])
                if head.hidden:
                    x = np.maximum(plain_linear(weights, f"{head.agent}.hidden", x), 0)
                shares = np.exp(plain_linear(weights, f"{head.agent}.logits", x))
                np.testing.assert_allclose(found[place][sample, row], shares / shares.sum(), atol=1e-5)


def sample_beliefs(actor, seen, samples, generator):
    agents = sum(1 for head in actor.architecture.heads if head.trunk)
    shape = (samples, len(seen), agents, actor.architecture.trunks[0].features)
    return beliefs_under_masks(actor, seen, torch.rand(shape, generator=generator) >= actor.architecture.dropout)


@both
def test_sampled_beliefs_follow_their_generator_and_differ_between_agents_samples_and_rows(layer):
    actor = strong(actor_of(layer))
    seen = observations(layer, 1).expand(2, -1, -1)
    draw = lambda seed: sample_beliefs(actor, seen, 400, torch.Generator().manual_seed(seed))  # noqa: E731
    first = draw(1)
    for one, same, other in zip(first, draw(1), draw(2), strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
        assert one.std(0).max() > 0.01
        assert not torch.equal(one[:, 0], one[:, 1])
        torch.testing.assert_close(one.sum(-1), torch.ones(400, 2))


def test_dropped_features_keep_their_expectation():
    actor, seen = strong(actor_of("strategic")), observations("strategic", 1)
    logits = [tensor.log() for tensor in sample_beliefs(actor, seen, 20_000, torch.Generator().manual_seed(0))]
    expected = actor(seen)[0].detach()
    for a, sampled in enumerate(logits):
        centred = (sampled - sampled.mean(-1, keepdim=True)).mean(0)[0]
        error = (sampled - sampled.mean(-1, keepdim=True)).std(0)[0] / np.sqrt(20_000)
        assert ((centred - (expected[a] - expected[a].mean())).abs() < 5 * error + 1e-4).all()


# --- in the trainer ---------------------------------------------------------------------------------------------------


class FixedWindows(BatchedEnv):
    """Three windows that repeat; everyone is paid for action 0. Its state is one large number and a small one."""

    def __init__(self, layer, count):
        self.count = count
        self.spec = layer_spec(LAYERS[layer], state_size=2)
        rows = observations(layer, 3 * count).numpy()
        self.shown = rows.reshape(3, count, *rows.shape[1:])
        self.clock = 0

    def look(self):
        state = np.stack([np.full(self.count, 1e4 + self.clock), np.linspace(0, 0.01, self.count)], axis=1)
        alive = np.ones((self.count, self.spec.agent_count), dtype=np.bool_)
        return Seen(self.shown[self.clock % 3], alive, None, state.astype(np.float32))

    def reset(self, seed):  # noqa: ARG002 - the contract's signature
        self.clock = 0
        return self.look()

    def step(self, actions):
        self.clock += 1
        never = np.zeros(actions.shape, dtype=np.bool_)
        seen = self.look()
        return Outcome((actions == 0).astype(np.float32), never, never, never[:, 0], seen, seen)

    def save(self):
        return {"clock": np.array([self.clock])}

    def restore(self, saved):
        self.clock = int(saved["clock"][0])
        return self.look()


def settings_for(**more):
    base = {
        "frames": 64 * 12,
        "envs": 8,
        "steps": 8,
        "critic_input": "state",
        "normalise_observations": False,
        "hidden": (16,),
        "entropy_start": 0.0,
    }
    return Settings(**(base | more))


@both
def test_the_trainer_trains_a_layer_and_every_agent_learns(layer):
    build = build_layer_networks(LAYERS[layer])
    result = train(lambda: FixedWindows(layer, 8), settings_for(learning_rate=3e-3), build_networks=build)
    assert result.history[-1].episode_return is None
    seen = torch.from_numpy(FixedWindows(layer, 8).shown[0])
    logits = result.policy.networks.actor(seen).detach()
    for a, head in enumerate(LAYERS[layer].heads):
        chance = logits[:, a, : len(head.actions)].softmax(-1)[:, 0].mean()
        assert chance > 1.5 / len(head.actions), head.agent


def test_the_first_minibatch_has_ratio_one_because_ppo_runs_without_dropout():
    updates = []
    train(
        lambda: FixedWindows("strategic", 8),
        settings_for(epochs=1, minibatches=1, frames=64),
        build_networks=build_layer_networks(LAYERS["strategic"]),
        on_update=[updates.append],
    )
    assert updates[0].kl == pytest.approx(0.0, abs=1e-6)
    assert updates[0].clip_share == 0.0


def test_windows_arrive_as_they_are_and_the_critics_state_is_standardised():
    env, options = FixedWindows("strategic", 8), settings_for()
    run = start_run(env, options, build_layer_networks(LAYERS["strategic"]))
    for expected_spread in (None, 1.0):
        noise = np.zeros((8, 8, 4, 3), np.float32)
        run.seen = collect(env, run.seen, run.learner.policy.choose, run.rollout, run.episodes, noise)
        batch, _ = prepare(run.learner, run.rollout)
        torch.testing.assert_close(batch.observations[:8], torch.from_numpy(run.rollout.observations[0]))
        if expected_spread:
            assert batch.joint.abs().max() <= 10.0
        observe(run.learner, run.rollout)
    raw = start_run(env, settings_for(normalise_state=False), build_layer_networks(LAYERS["strategic"]))
    raw.seen = collect(env, raw.seen, raw.learner.policy.choose, raw.rollout, raw.episodes, noise)
    observe(raw.learner, raw.rollout)
    batch, _ = prepare(raw.learner, raw.rollout)
    assert batch.joint.max() >= 1e4


def test_a_warm_start_replaces_what_it_names_and_nothing_else():
    architecture = LAYERS["strategic"]
    warm = {name: array for name, array in export_weights(strong(actor_of("strategic"))).items() if "coord" not in name}
    spec = layer_spec(architecture, 2)
    built = build_layer_networks(architecture, warm)(spec, settings_for(), torch.Generator().manual_seed(4))
    cold = build_layer_networks(architecture)(spec, settings_for(), torch.Generator().manual_seed(4))
    for name, array in export_weights(built.actor).items():
        source = warm.get(name, export_weights(cold.actor)[name])
        assert np.array_equal(array, source), name
    for one, two in zip(built.critic.parameters(), cold.critic.parameters(), strict=True):
        assert torch.equal(one, two)


def kl_of_beliefs(one, other, seen):
    left, right = (actor(seen)[:, :3].log_softmax(-1).detach() for actor in (one, other))
    return float((left.exp() * (left - right)).sum(-1).mean())


def test_an_anchor_holds_beliefs_near_the_warm_start_and_leaves_the_coordinator_free():
    architecture, warm = LAYERS["strategic"], strong(actor_of("strategic"))
    seen = torch.from_numpy(FixedWindows("strategic", 8).shown[0])
    moved, coordinators = {}, {}
    for weight in (0.0, 100.0):
        build = build_layer_networks(architecture, export_weights(warm), belief_anchor=weight)
        networks = train(
            lambda: FixedWindows("strategic", 8), settings_for(learning_rate=3e-3), build_networks=build
        ).policy.networks
        moved[weight] = kl_of_beliefs(warm, networks.actor, seen)
        coordinators[weight] = networks.actor(seen)[:, 3].softmax(-1)[:, 0].mean()
        if weight:
            assert kl_of_beliefs(warm, networks.anchor, seen) == 0.0
    assert moved[100.0] < 0.05 * moved[0.0]
    assert min(coordinators.values()) > 0.45


def test_the_anchors_loss_is_its_weight_times_the_mean_divergence_of_the_beliefs():
    architecture, warm = LAYERS["strategic"], strong(actor_of("strategic"))
    build = build_layer_networks(architecture, export_weights(warm), belief_anchor=0.5)
    networks = build(layer_spec(architecture, 2), settings_for(), torch.Generator().manual_seed(0))
    seen = observations("strategic")
    own = networks.actor(seen).log_softmax(-1).detach()
    assert float(networks.extra_loss(seen, own)) == pytest.approx(0.0, abs=1e-7)
    other = strong(actor_of("strategic", 5), 6)
    found = networks.extra_loss(seen, other(seen).log_softmax(-1).detach())
    assert float(found) == pytest.approx(0.5 * kl_of_beliefs(warm, other, seen), rel=1e-4)
    assert (
        build_layer_networks(architecture)(layer_spec(architecture, 2), settings_for(), torch.Generator()).anchor
        is None
    )


def test_an_environment_of_other_sizes_is_refused():
    spec = EnvSpec(agents=("mlmi",), observation_sizes=(288,), action_counts=(3,))
    with pytest.raises(TrainingSettingsError, match=r"found an environment of agents \('mlmi',\), expected"):
        build_layer_networks(LAYERS["strategic"])(spec, settings_for(), torch.Generator())
