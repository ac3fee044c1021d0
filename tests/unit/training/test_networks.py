"""Who sees what: an actor its own observation, the critic all of them."""

import numpy as np
import pytest
import torch

from grandmodel.training.batched import EnvSpec
from grandmodel.training.networks import POLICY_GAIN, StackedMlp, build_perceptrons, joint_width
from grandmodel.training.rollout import joint_state

SPEC = EnvSpec(agents=("a", "b", "c"), observation_sizes=(4, 6, 5), action_counts=(3, 2, 4))


def networks(*, shared, agent_id=True, spec=SPEC, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return build_perceptrons(spec, (16, 16), "tanh", shared=shared, agent_id=agent_id, generator=generator)


def observations(spec=SPEC, rows=7, seed=1):
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(rows, spec.agent_count, spec.observation_width)).astype(np.float32)
    for a, size in enumerate(spec.observation_sizes):
        seen[:, a, size:] = 0.0
    return torch.from_numpy(seen)


@pytest.mark.parametrize("shared", [True, False])
def test_an_actor_sees_its_own_observation_and_no_other(shared):
    actor = networks(shared=shared).actor
    seen = observations().requires_grad_()
    for a in range(3):
        (gradient,) = torch.autograd.grad(actor(seen)[:, a].square().sum(), seen)
        assert gradient[:, a].abs().sum() > 0.0
        others = [b for b in range(3) if b != a]
        assert (gradient[:, others] == 0.0).all()
    moved = seen.detach().clone()
    moved[:, 1] += 1.0
    before, after = actor(seen.detach()), actor(moved)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.equal(before[:, 1], after[:, 1])


def test_the_critic_sees_every_column_of_every_agent_and_who_is_alive():
    critic = networks(shared=True).critic
    seen = observations()
    joint = torch.from_numpy(
        joint_state(SPEC, seen.numpy(), np.ones((7, 3), dtype=bool), np.zeros((7, 0)))
    ).requires_grad_()
    assert joint.shape == (7, joint_width(SPEC)) == (7, 4 + 6 + 5 + 3)
    values = critic(joint)
    assert values.shape == (7, 3)
    for a in range(3):
        (gradient,) = torch.autograd.grad(values[:, a].sum(), joint, retain_graph=True)
        assert (gradient.abs().sum(0) > 0.0).all()


def test_the_joint_state_is_all_real_columns_side_by_side_then_the_living():
    seen = np.arange(18, dtype=np.float32).reshape(1, 3, 6)
    alive = np.array([[True, False, True]])
    expected = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1, 0, 1]
    assert joint_state(SPEC, seen, alive, np.zeros((1, 0), dtype=np.float32))[0].tolist() == expected


def test_where_the_environment_has_a_state_the_critic_sees_that():
    spec = EnvSpec(agents=("a",), observation_sizes=(2,), action_counts=(2,), state_size=3)
    state = np.arange(3, dtype=np.float32)[None]
    assert joint_state(spec, np.ones((1, 1, 2), dtype=np.float32), np.ones((1, 1), dtype=bool), state) is state
    assert joint_width(spec) == 3


ALIKE = EnvSpec(agents=("a", "b", "c"), observation_sizes=(5, 5, 5), action_counts=(4, 4, 4))


def test_a_shared_actor_without_identity_treats_agents_alike():
    actor, seen, order = networks(shared=True, agent_id=False, spec=ALIKE).actor, observations(ALIKE), [2, 0, 1]
    torch.testing.assert_close(actor(seen[:, order]), actor(seen)[:, order])


@pytest.mark.parametrize(("shared", "agent_id"), [(True, True), (False, True)])
def test_identity_or_own_weights_let_agents_act_differently_on_the_same_observation(shared, agent_id):
    actor = networks(shared=shared, agent_id=agent_id, spec=ALIKE).actor
    same = observations(ALIKE)[:, :1].expand(-1, 3, -1)
    logits = actor(same)
    assert not torch.equal(logits[:, 0], logits[:, 1])


def test_separate_actors_share_no_weight():
    actor = networks(shared=False).actor
    actor(observations())[:, 1].square().sum().backward()
    for parameter in actor.parameters():
        assert (parameter.grad[[0, 2]] == 0.0).all()
        assert parameter.grad[1].abs().sum() > 0.0


def test_weights_begin_orthogonal_biases_zero_padding_zero_and_the_policy_nearly_uniform():
    actor = networks(shared=False).actor
    first, _, last = actor.net.weights
    for a, size in enumerate(SPEC.observation_sizes):
        rows = first[a, :size].detach()
        torch.testing.assert_close(rows @ rows.T, torch.eye(size) * (5 / 3) ** 2, atol=1e-5, rtol=0)
        assert (first[a, size:] == 0.0).all()
        columns = last[a].detach()
        torch.testing.assert_close(columns.T @ columns, torch.eye(4) * POLICY_GAIN**2, atol=1e-7, rtol=0)
    assert all((bias == 0.0).all() for bias in actor.net.biases)


def test_one_group_and_many_compute_the_same():
    generator = torch.Generator().manual_seed(5)
    many = StackedMlp(3, (4, 8, 2), "relu")
    many.initialise([torch.arange(4)] * 3, 1.0, generator)
    inputs = torch.randn(3, 6, 4, generator=generator)
    for g in range(3):
        one = StackedMlp(1, (4, 8, 2), "relu")
        for mine, theirs in zip(one.parameters(), many.parameters(), strict=True):
            mine.data = theirs.data[g : g + 1]
        torch.testing.assert_close(one(inputs[g : g + 1]), many(inputs)[g : g + 1])


def test_the_critics_output_layer_is_a_view_of_its_weights():
    critic = networks(shared=True).critic
    joint = torch.ones(1, joint_width(SPEC))
    before = critic(joint)
    weight, bias = critic.output_layer()
    with torch.no_grad():
        weight.mul_(2.0)
        bias.add_(1.0)
    torch.testing.assert_close(critic(joint), 2.0 * before + 1.0)
