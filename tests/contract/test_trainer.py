"""What the trainer promises whatever it trains on: the parts of an update, repeatability, resuming, the result."""

import dataclasses
import math
from typing import ClassVar

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from grandmodel.training import mappo
from grandmodel.training.batched import Outcome
from grandmodel.training.errors import (
    CheckpointError,
    DivergenceError,
    EnvironmentContractError,
    TrainingSettingsError,
)
from grandmodel.training.mappo import Settings, TrainResult, train
from grandmodel.training.networks import ActorCritic, Critic, joint_width
from grandmodel.training.rollout import collect, joint_state
from simple_spread import SpreadBatch
from training_games import DelayedTeamGame, MaskedGame, MatrixGame, MortalGame

SMALL = Settings(frames=200, envs=4, steps=10, epochs=2, minibatches=2, hidden=(16,))
GAMES = {
    "matrix": MatrixGame,
    "delayed": DelayedTeamGame,
    "masked": MaskedGame,
    "mortal": MortalGame,
    "compiled spread": lambda: SpreadBatch(4, max_cycles=7),
}


@pytest.fixture(params=GAMES, ids=lambda name: name.replace(" ", "-"))
def make_env(request):
    return GAMES[request.param]


@pytest.fixture(autouse=True)
def _one_thread():
    """As ``train`` does: with rows this small, more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def with_(settings=SMALL, **changes):
    return msgspec.structs.replace(settings, **changes)


def started(make_env, settings, updates=0):
    """A run after some updates, with the next rollout collected but not yet learnt from."""
    run = mappo.start_run(mappo.build_batch(make_env, settings), settings, None)
    for _ in range(updates):
        play(run)
        mappo.update_learner(run)
        run.done += 1
    play(run)
    return run


def play(run):
    noise = mappo.draw_noise(run.generators["exploration"], run.rollout.legal[1:].shape)
    run.seen = collect(run.env, run.seen, run.learner.policy.choose, run.rollout, run.episodes, noise)


def weights(result_or_run):
    policy = result_or_run.policy if isinstance(result_or_run, TrainResult) else result_or_run.learner.policy
    return {name: tensor.clone() for name, tensor in policy.networks.state_dict().items()}


def assert_same_weights(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


# --- the parts of an update -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share_actor", [True, False])
@pytest.mark.parametrize("updates", [0, 3])
def test_in_the_first_minibatch_the_new_policy_is_the_old_one(make_env, share_actor, updates):
    run = started(make_env, with_(share_actor=share_actor), updates)
    batch, _ = mappo.prepare(run.learner, run.rollout)
    policy = run.learner.policy
    logits = mappo.legal_logits(policy.networks.actor(batch.observations), batch.legal)
    new = mappo.action_log_probability(logits.log_softmax(-1), batch.actions)
    ratio = (new - batch.old_log_probabilities).exp()
    living = torch.ones_like(ratio, dtype=torch.bool) if batch.alive is None else batch.alive
    torch.testing.assert_close(ratio[living], torch.ones_like(ratio[living]), atol=1e-5, rtol=0)
    measured = dict(zip(mappo.MEASURED, mappo.step_losses(run.learner, batch, 0.0).tolist(), strict=True))
    assert abs(measured["kl"]) < 1e-6
    assert measured["clip_share"] == 0.0


def test_nothing_that_the_ratio_rests_on_changes_between_playing_and_learning(make_env):
    # With one pass over the whole rollout every ratio that is measured is that of an unchanged policy.
    for row in train(make_env, with_(epochs=1, minibatches=1)).history:
        assert abs(row.kl) < 1e-6
        assert row.clip_share == 0.0


class Recording:
    """A batched environment that keeps a copy of every outcome."""

    def __init__(self, env):
        self.env, self.outcomes = env, []

    def step(self, actions):
        outcome = self.env.step(actions)
        copies = {
            name: dataclasses.replace(seen, observations=seen.observations.copy(), alive=seen.alive.copy())
            for name, seen in (("final", outcome.final), ("seen", outcome.seen))
        }
        arrays = [outcome.rewards, outcome.terminated, outcome.truncated, outcome.restarted]
        self.outcomes.append(Outcome(*(array.copy() for array in arrays), **copies))
        return outcome


def test_targets_bootstrap_from_the_last_observation_of_a_cut_off_agent_and_never_from_a_restart(make_env):
    settings = with_(steps=30, discount=0.9, trace_decay=0.8)
    run = mappo.start_run(mappo.build_batch(make_env, settings), settings, None)
    play(run)
    mappo.update_learner(run)  # so that values are not near zero, and scales not one
    recorder = Recording(run.env)
    noise = mappo.draw_noise(run.generators["exploration"], run.rollout.legal[1:].shape)
    collect(recorder, run.seen, run.learner.policy.choose, run.rollout, run.episodes, noise)
    rollout, spec, policy = run.rollout, run.learner.policy.spec, run.learner.policy
    value_moments = run.learner.value_moments

    def value(observations, alive):
        seen = policy.read(observations).numpy() * alive[..., None]
        joint = torch.from_numpy(joint_state(spec, seen, alive, np.zeros(0)))
        with torch.no_grad():
            standardised = policy.networks.critic(joint).numpy().astype(np.float64)
        return standardised * value_moments.scale + value_moments.mean

    value_t = np.stack([value(rollout.observations[t], rollout.alive[t]) for t in range(31)])
    expected = np.zeros((30, 4, spec.agent_count))
    cut = 0
    for n in range(4):
        for a in range(spec.agent_count):
            advantage = 0.0
            for t in reversed(range(30)):
                outcome = recorder.outcomes[t]
                if not rollout.alive[t, n, a]:
                    advantage = 0.0
                    continue
                if outcome.terminated[n, a]:
                    following, trace = 0.0, 0.0
                elif outcome.truncated[n, a]:
                    cut += 1
                    alive = outcome.final.alive[n] | outcome.truncated[n]
                    following, trace = value(outcome.final.observations[n][None], alive[None])[0, a], 0.0
                else:
                    following, trace = value_t[t + 1, n, a], 0.9 * 0.8
                delta = outcome.rewards[n, a] + 0.9 * following - value_t[t, n, a]
                advantage = delta + trace * advantage
                expected[t, n, a] = advantage + value_t[t, n, a]
    batch, _ = mappo.prepare(run.learner, rollout)
    found = mappo.restore(batch.targets.numpy().astype(np.float64).reshape(expected.shape), run.learner.value_moments)
    alive = rollout.alive[:-1]
    np.testing.assert_allclose(found[alive], expected[alive], atol=2e-4)
    assert cut > 0 or make_env in (MatrixGame, DelayedTeamGame)


def test_values_stay_what_they_were_when_their_scale_moves():
    run = started(DelayedTeamGame, SMALL, 1)
    seen = run.learner.policy.read(run.rollout.observations)
    joint = mappo._read_joint(run.learner, seen, run.rollout.alive, run.rollout.state)
    before, scale = mappo._values(run.learner, joint), run.learner.value_moments.scale
    mappo.prepare(run.learner, run.rollout)
    assert not np.array_equal(run.learner.value_moments.scale, scale)
    np.testing.assert_allclose(mappo._values(run.learner, joint), before, atol=1e-6)


def test_the_scale_of_values_counts_the_living_only():
    run = started(MortalGame, SMALL)
    mappo.prepare(run.learner, run.rollout)
    np.testing.assert_array_equal(run.learner.value_moments.weight, run.rollout.alive[:-1].sum((0, 1)))


def test_whatever_stands_where_a_dead_agent_would_be_changes_no_weight():
    left, right = (started(MortalGame, SMALL, 1) for _ in range(2))
    garbage = np.random.default_rng(0)
    dead = ~right.rollout.alive[:-1]
    assert 0.1 < dead.mean() < 0.9
    rollout = right.rollout
    rollout.observations[:-1][dead] = garbage.normal(size=(dead.sum(), 4)) * 100
    rollout.rewards[dead] = 1e3
    rollout.log_probabilities[dead] = -50.0
    rollout.actions[dead] = 1
    for run in (left, right):
        mappo.update_learner(run)
    assert_same_weights(weights(left), weights(right))
    np.testing.assert_array_equal(
        left.learner.policy.observation_moments.total, right.learner.policy.observation_moments.total
    )


def test_the_entropy_bonus_makes_a_policy_more_random_and_a_negative_one_less():
    changes = {}
    for weight in (0.5, -0.5):
        run = started(DelayedTeamGame, with_(learning_rate=0.01))
        with torch.no_grad():
            run.learner.policy.networks.actor.net.biases[-1][..., 0] += 1.0
        batch, _ = mappo.prepare(run.learner, run.rollout)
        batch = dataclasses.replace(batch, advantages=torch.zeros_like(batch.advantages))
        entropies = [
            float(mappo.step_losses(run.learner, batch, weight)[mappo.MEASURED.index("entropy")]) for _ in range(20)
        ]
        changes[weight] = entropies[-1] - entropies[0]
    assert changes[0.5] > 0.01
    assert changes[-0.5] < -0.01


def test_a_positive_advantage_makes_its_action_more_probable():
    run = started(DelayedTeamGame, SMALL)
    batch, _ = mappo.prepare(run.learner, run.rollout)
    batch = dataclasses.replace(batch, advantages=torch.where(batch.actions == 0, 1.0, -1.0))
    probability = run.learner.policy.networks.actor(batch.observations).softmax(-1)[..., 0].mean().item()
    for _ in range(5):
        mappo.step_losses(run.learner, batch, 0.0)
    assert run.learner.policy.networks.actor(batch.observations).softmax(-1)[..., 0].mean().item() > probability


def test_an_actors_gradient_comes_from_its_own_observations_only():
    run = started(DelayedTeamGame, SMALL)
    batch, _ = mappo.prepare(run.learner, run.rollout)
    seen = batch.observations.clone().requires_grad_()
    log_probabilities = run.learner.policy.networks.actor(seen).log_softmax(-1)
    (gradient,) = torch.autograd.grad(log_probabilities[:, 0].square().sum(), seen)
    assert gradient[:, 0].abs().sum() > 0.0
    assert (gradient[:, 1] == 0.0).all()


def test_a_team_reward_is_the_mean_of_the_living():
    run = started(MortalGame, SMALL)
    rewards = mappo._rewards(run.rollout, team=True)
    alive = run.rollout.alive[:-1]
    for t, n in np.ndindex(alive.shape[:2]):
        if alive[t, n].any():
            assert rewards[t, n, 0] == pytest.approx(run.rollout.rewards[t, n][alive[t, n]].mean())


def test_schedules_run_from_their_start_to_their_end():
    settings = with_(entropy_start=0.4, entropy_end=0.1, learning_rate=1e-3, learning_rate_end=0.5)
    history = train(DelayedTeamGame, settings).history
    assert [row.entropy_weight for row in history] == pytest.approx([0.4, 0.325, 0.25, 0.175, 0.1])
    assert [row.learning_rate for row in history] == pytest.approx([1e-3, 0.875e-3, 0.75e-3, 0.625e-3, 0.5e-3])


def test_a_kl_limit_ends_an_update_early():
    assert train(DelayedTeamGame, with_(epochs=8, kl_limit=1e-9)).history[-1].epochs < 8
    assert train(DelayedTeamGame, with_(epochs=8, kl_limit=1e9)).history[-1].epochs == 8


# --- repeatability ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_twice_and_another_seed_others(make_env):
    first, second, other = (train(make_env, with_(seed=seed)) for seed in (3, 3, 4))
    assert_same_weights(weights(first), weights(second))
    assert first.history == second.history
    assert any(not torch.equal(weights(first)[name], weights(other)[name]) for name in weights(first))


def test_training_touches_no_global_generator_and_puts_the_threads_back():
    torch.set_num_threads(2)
    torch_state, numpy_state, threads = torch.get_rng_state(), np.random.get_state(), torch.get_num_threads()  # noqa: NPY002
    train(DelayedTeamGame, SMALL)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("settings", [SMALL, with_(share_actor=True, minibatches=1, normalise_observations=False)])
def test_resuming_equals_never_having_stopped(make_env, settings, tmp_path):
    whole = train(make_env, settings, checkpoint_folder=tmp_path, checkpoint_every=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["update_0000002", "update_0000004", "update_0000005"]
    heard = []
    resumed = train(make_env, settings, resume_from=tmp_path / "update_0000002", on_update=[heard.append])
    assert [row.update for row in heard] == [3, 4, 5]
    assert_same_weights(weights(whole), weights(resumed))
    assert resumed.history == whole.history
    np.testing.assert_array_equal(whole.policy.observation_moments.squares, resumed.policy.observation_moments.squares)


def test_resuming_with_a_global_state_restores_its_scale(tmp_path):
    settings = with_(critic_input="state")
    whole = train(MortalGame, settings, checkpoint_folder=tmp_path, checkpoint_every=3)
    resumed = train(MortalGame, settings, resume_from=tmp_path / "update_0000003")
    assert_same_weights(weights(whole), weights(resumed))


def test_a_checkpoint_of_other_settings_or_another_environment_is_refused(tmp_path):
    train(DelayedTeamGame, SMALL, checkpoint_folder=tmp_path)
    last = tmp_path / "update_0000005"
    with pytest.raises(CheckpointError, match=r"settings differ in clip: 0.2 saved, 0.3 asked"):
        train(DelayedTeamGame, with_(clip=0.3), resume_from=last)
    with pytest.raises(CheckpointError, match="environment differ in agents"):
        train(MortalGame, SMALL, resume_from=last)


def test_a_saved_policy_can_be_loaded_but_not_resumed(tmp_path):
    train(DelayedTeamGame, SMALL).save(tmp_path / "policy")
    with pytest.raises(CheckpointError, match="not a run"):
        train(DelayedTeamGame, SMALL, resume_from=tmp_path / "policy")


# --- the result -------------------------------------------------------------------------------------------------------


def test_a_saved_policy_acts_as_before(tmp_path):
    result = train(MaskedGame, SMALL, checkpoint_folder=tmp_path)
    result.save(tmp_path / "policy")
    observations, _ = MaskedGame().reset(seed=5)
    for folder in (tmp_path / "policy", tmp_path / "update_0000005"):
        loaded = TrainResult.load(folder)
        assert loaded.act(observations, deterministic=True) == result.act(observations, deterministic=True)
        assert_same_weights(weights(loaded), weights(result))
        assert loaded.history == result.history
        assert (loaded.settings, loaded.spec) == (result.settings, result.spec)


def test_acting_follows_the_masks_the_action_numbers_and_the_agents_that_are_there():
    masked = train(MaskedGame, SMALL)
    by_info = train(lambda: MaskedGame("info"), SMALL)
    env = MaskedGame("info")
    for seed in range(20):
        observations, infos = env.reset(seed=seed)
        for deterministic in (True, False):
            masks = {agent: info["action_mask"] for agent, info in infos.items()}
            actions = by_info.act(observations, deterministic, masks=masks)
            assert all(masks[agent][action] for agent, action in actions.items())
            both = {a: {"observation": observations[a], "action_mask": masks[a]} for a in observations}
            assert all(masks[agent][action] for agent, action in masked.act(both, deterministic).items())
    assert masked.act({"b": both["b"]}, True).keys() == {"b"}
    assert train(MatrixGame, SMALL).act({"column": np.ones(2)}, True)["column"] in (7, 8)


def test_an_action_depends_on_no_other_agents_observation():
    result = train(DelayedTeamGame, SMALL)
    rng = np.random.default_rng(0)
    for _ in range(20):
        left = rng.normal(size=2)
        alone = result.act({"left": left}, True)["left"]
        assert result.act({"left": left, "right": rng.normal(size=3)}, True)["left"] == alone


def test_drawn_actions_have_the_policys_frequencies():
    result = train(MatrixGame, with_(frames=40))
    rows = np.zeros((1, 2, 2), dtype=np.float32)
    rows[0, 0, 0] = 1.0
    legal = result.spec.existing_actions()[None]
    probabilities = result.policy.log_probabilities(rows, legal)[0, 0].exp().numpy()
    drawn = np.bincount([result.act({"row": [1.0]}, False)["row"] for _ in range(2000)], minlength=3) / 2000
    np.testing.assert_allclose(drawn, probabilities, atol=4 * math.sqrt(0.25 / 2000))


def test_an_unknown_agent_is_refused():
    with pytest.raises(TrainingSettingsError, match="no agent 'nobody'"):
        train(MatrixGame, SMALL).act({"nobody": [1.0]}, True)


def test_an_update_reports_what_it_did():
    history = train(DelayedTeamGame, SMALL).history
    assert [row.frames for row in history] == [40, 80, 120, 160, 200]
    assert all(row.episodes == 8 or row.episodes == 12 for row in history)
    assert all(0.0 <= row.episode_return <= 1.0 for row in history)
    assert history[0].entropy == pytest.approx(math.log(2), abs=1e-3)


# --- other ways in, and refusals --------------------------------------------------------------------------------------


class OwnActor(nn.Module):
    """A table of logits that looks at nothing."""

    def __init__(self, spec):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(spec.agent_count, spec.action_width))

    def forward(self, observations):
        return self.logits.expand(len(observations), -1, -1)


def build_own(spec, settings, generator):
    critic = Critic(joint_width(spec), spec.agent_count, settings.hidden, settings.activation)
    critic.initialise(generator)
    return ActorCritic(OwnActor(spec), critic)


def test_networks_of_ones_own_are_trained_saved_and_loaded(tmp_path):
    result = train(MatrixGame, SMALL, build_networks=build_own, checkpoint_folder=tmp_path)
    assert weights(result)["actor.logits"].abs().sum() > 0.0
    loaded = TrainResult.load(tmp_path / "update_0000005", build_own)
    assert_same_weights(weights(loaded), weights(result))
    with pytest.raises(CheckpointError, match="do not fit the networks"):
        TrainResult.load(tmp_path / "update_0000005")


def test_frames_are_rounded_up_to_whole_rollouts():
    assert with_(frames=41).updates == 2
    assert train(MatrixGame, with_(frames=41)).history[-1].frames == 80


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 0}, {"seed": -1}, {"envs": 0}, {"epochs": 0}, {"clip": 0.0}, {"value_clip": -1.0}, {"discount": 1.1},
        {"learning_rate": float("nan")}, {"hidden": ()}, {"hidden": (0,)}, {"minibatches": 41}, {"entropy_end": -0.1},
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(TrainingSettingsError, match=next(iter(wrong))):
        Settings(**{**msgspec.structs.asdict(SMALL), **wrong})


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError):
        Settings(frames=1, learning_rat=1e-3)


def test_a_batch_of_another_size_is_refused():
    with pytest.raises(TrainingSettingsError, match="envs is 4, but the batched environment has 5"):
        train(lambda: SpreadBatch(5), SMALL)


def test_a_state_that_a_batched_environment_does_not_have_is_refused():
    with pytest.raises(TrainingSettingsError, match="state_size is 0"):
        train(lambda: SpreadBatch(4), with_(critic_input="state"))


def test_a_reward_that_is_not_finite_stops_training():
    class Broken(MatrixGame):
        payoff = np.full((3, 2), np.nan)

    with pytest.raises(DivergenceError, match="rewards that are not finite"):
        train(Broken, SMALL)


def test_an_environment_without_agents_is_refused():
    class Empty(MatrixGame):
        sizes: ClassVar[dict[str, int]] = {}

    with pytest.raises(EnvironmentContractError, match="at least one"):
        train(Empty, SMALL)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_a_cuda_device(tmp_path):
    settings = with_(device="cuda")
    whole = train(MortalGame, settings, checkpoint_folder=tmp_path, checkpoint_every=2)
    resumed = train(MortalGame, settings, resume_from=tmp_path / "update_0000002")
    assert_same_weights(weights(whole), weights(resumed))
    assert next(whole.policy.networks.parameters()).is_cuda
    on_cpu = TrainResult.load(tmp_path / "update_0000005", device="cpu")
    observations, _ = MortalGame().reset(seed=1)
    assert on_cpu.act(observations, True) == whole.act(observations, True)
