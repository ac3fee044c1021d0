"""MAPPO: decentralised actors, one centralised critic, clipped updates. The whole algorithm, in reading order.

``Settings``, then ``train``, then one function per stage of an update: ``collect`` (in ``rollout.py``), ``prepare``,
``improve``. The maths is in ``advantage``, ``losses`` and ``normalise``; the networks in ``networks``; environments reach
the trainer as ``batched.BatchedEnv``. Results beside other trainers: ``docs/models/mappo.md``.

Source: Yu et al. 2022, "The surprising effectiveness of PPO in cooperative multi-agent games".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grandmodel import __version__
from grandmodel.training.advantage import explained_variance, generalised_advantages, standardise_advantages
from grandmodel.training.batched import BatchedEnv, EnvSpec, IntArray, Seen
from grandmodel.training.checkpoint import Arrays, checkpoint_name, read_checkpoint, write_checkpoint
from grandmodel.training.errors import CheckpointError, DivergenceError, TrainingSettingsError
from grandmodel.training.losses import (
    action_log_probability,
    approximate_kl,
    clip_share,
    clipped_policy_loss,
    clipped_value_loss,
    legal_logits,
    policy_entropy,
)
from grandmodel.training.networks import ActorCritic, build_perceptrons
from grandmodel.training.normalise import (
    Moments,
    Scale,
    build_scale,
    rescale_output,
    restore,
    standardise,
    update_moments,
)
from grandmodel.training.parallel import ParallelBatch
from grandmodel.training.rollout import EpisodeCounter, Rollout, collect, joint_state
from grandmodel.training.seeds import build_generators, draw_seed, restore_generators, save_generators
from grandmodel.training.spaces import BoolArray, FloatArray, encode_observation, split_mask

# --- settings ---------------------------------------------------------------------------------------------------------


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a training run, apart from the environment. Two runs with equal settings are equal."""

    frames: int
    """Environment steps to train on, counted over all copies; one frame is one step of all agents. Rounded up to whole
    rollouts of ``envs * steps`` frames."""
    seed: int = 0
    envs: int = 16
    """Copies of the environment that are stepped together. A batched environment must bring this many."""
    steps: int = 50
    """Steps of each copy between two updates."""
    epochs: int = 5
    """Passes over a rollout in one update."""
    minibatches: int = 2
    """Parts that a pass is cut into. 1 uses the rollout whole and draws no permutation."""
    learning_rate: float = 2e-3
    learning_rate_end: float = 0.1
    """Share of the learning rate that is left at the last update; linear in frames."""
    adam_epsilon: float = 1e-5
    discount: float = 0.95
    trace_decay: float = 0.95
    clip: float = 0.2
    """How far, relatively, a probability may move before its gradient stops."""
    value_clip: float | None = 0.2
    """The same for values, in standardised units; None lets them move freely."""
    kl_limit: float | None = None
    """Ends an update early once an epoch's mean KL passes this; None never does."""
    entropy_start: float = 0.01
    entropy_end: float = 0.0
    """Weight of the entropy bonus at the first and at the last update; linear in frames."""
    max_gradient_norm: float = 10.0
    """Applied to the actor and to the critic each by itself."""
    hidden: tuple[int, ...] = (64, 64)
    activation: Literal["tanh", "relu"] = "tanh"
    share_actor: bool = False
    """One actor for all agents, or one each."""
    agent_id: bool = True
    """Tell a shared actor which agent it is."""
    critic_input: Literal["observations", "state"] = "observations"
    """What the critic sees: all observations side by side, or the environment's ``state()``."""
    team_reward: bool = False
    """Give every living agent the mean reward of the living agents, instead of its own."""
    normalise_values: bool = True
    value_decay: float = 0.99
    """How much of the older returns' weight is left after an update."""
    normalise_observations: bool = True
    """Standardise observations by their running moments; off where they arrive normalised."""
    normalise_state: bool = True
    """The same for the environment's own state, where the critic sees that."""
    device: str = "cpu"
    threads: int = 1
    """Threads of torch while training; its earlier number is put back afterwards."""

    def __post_init__(self) -> None:
        at_least = {
            "frames": 1, "seed": 0, "envs": 1, "steps": 1, "epochs": 1, "minibatches": 1, "threads": 1,
            "learning_rate_end": 0.0, "entropy_start": 0.0, "entropy_end": 0.0,
        }  # fmt: skip
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise TrainingSettingsError(f"{name} is {getattr(self, name)}; expected {least} or more")
        for name in ("learning_rate", "adam_epsilon", "clip", "value_clip", "kl_limit", "max_gradient_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise TrainingSettingsError(f"{name} is {value}; expected more than 0")
        for name in ("discount", "trace_decay", "value_decay"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise TrainingSettingsError(f"{name} is {getattr(self, name)}; expected a number in [0, 1]")
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingSettingsError(f"hidden is {self.hidden}; expected at least one layer, each of 1 or more")
        if self.minibatches > self.frames_per_update:
            raise TrainingSettingsError(
                f"minibatches is {self.minibatches}, more than the {self.frames_per_update} frames of a rollout"
            )

    @property
    def frames_per_update(self) -> int:
        """Frames in one rollout."""
        return self.envs * self.steps

    @property
    def updates(self) -> int:
        """Rollouts, and updates, in the run."""
        return math.ceil(self.frames / self.frames_per_update)


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """What one update did; every loss and share is the mean over its minibatches. None means: not known."""

    update: int
    frames: int
    episodes: int
    """Episodes that ended during the rollout."""
    episode_return: float | None
    """Their mean return: per agent, the undiscounted sum of rewards, averaged over agents."""
    entropy: float
    kl: float
    clip_share: float
    explained_variance: float | None
    """Of the values that the critic gave before the update, against the targets."""
    policy_loss: float
    value_loss: float
    actor_gradient_norm: float
    critic_gradient_norm: float
    entropy_weight: float
    learning_rate: float
    epochs: int
    """Passes made; fewer than the setting where ``kl_limit`` ended them."""


MakeEnv: TypeAlias = Callable[[], Any]
BuildNetworks: TypeAlias = Callable[[EnvSpec, Settings, torch.Generator], ActorCritic]
OnUpdate: TypeAlias = Callable[[Update], None]


# --- the run ----------------------------------------------------------------------------------------------------------


def train(
    make_env: MakeEnv,
    settings: Settings,
    *,
    build_networks: BuildNetworks | None = None,
    on_update: Sequence[OnUpdate] = (),
    checkpoint_folder: Path | None = None,
    checkpoint_every: int = 10,
    resume_from: Path | None = None,
) -> TrainResult:
    """Train actors and a critic with MAPPO.

    ``make_env()`` returns a PettingZoo parallel environment with discrete actions, of which ``settings.envs`` copies are
    made, or a ``BatchedEnv`` of that many copies. ``build_networks`` replaces the default perceptrons. Each of
    ``on_update`` is called after every update. With ``checkpoint_folder`` the whole state of the run is written there
    after every ``checkpoint_every`` updates and at the end; ``resume_from`` names one such checkpoint, from which the run
    goes on as if it had never stopped.

    Raises ``TrainingSettingsError``, ``EnvironmentContractError``, ``CheckpointError`` or ``DivergenceError``.
    """
    with torch_threads(settings.threads), closing(build_batch(make_env, settings)) as env:
        run = start_run(env, settings, build_networks)
        if resume_from is not None:
            resume_run(run, resume_from)
        choose = run.learner.policy.choose
        while run.done < settings.updates:
            noise = draw_noise(run.generators["exploration"], run.rollout.legal[1:].shape)
            run.seen = collect(env, run.seen, choose, run.rollout, run.episodes, noise)
            run.history.append(update_learner(run))
            run.done += 1
            for listener in on_update:
                listener(run.history[-1])
            if checkpoint_folder and (run.done % checkpoint_every == 0 or run.done == settings.updates):
                save_run(run, checkpoint_folder / checkpoint_name(run.done))
        return TrainResult(run.learner.policy, tuple(run.history), run.generators["evaluation"])


@dataclass(slots=True)
class Policy:
    """The actors with what they need to read an observation: the part of a run that outlives it."""

    spec: EnvSpec
    settings: Settings
    networks: ActorCritic
    observation_moments: Moments
    """(A, F): what observations are standardised with."""
    _scale: Scale | None = None
    """The same, ready for use; made anew when the moments change."""

    def rescale(self, moments: Moments) -> None:
        """Standardise with ``moments`` from now on."""
        self.observation_moments = moments
        self._scale = None

    def read(self, observations: FloatArray) -> Tensor:
        """Observations (..., A, F) as the networks expect them: standardised, on their device."""
        if self.settings.normalise_observations:
            if self._scale is None:
                self._scale = build_scale(self.observation_moments)
            observations = self._scale.apply(observations)
        return torch.from_numpy(observations).to(self.settings.device)

    @torch.no_grad()
    def log_probabilities(self, observations: FloatArray, legal: BoolArray | None) -> Tensor:
        """(B, A, K) log probabilities of the actions."""
        mask = None if legal is None else torch.from_numpy(legal).to(self.settings.device)
        return legal_logits(self.networks.actor(self.read(observations)), mask).log_softmax(-1)

    def choose(
        self, observations: FloatArray, legal: BoolArray | None, noise: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        """Draw an action per agent with Gumbel ``noise`` (B, A, K); return the actions and their log probabilities."""
        log_probabilities = self.log_probabilities(observations, legal)
        actions = (log_probabilities + torch.from_numpy(noise).to(self.settings.device)).argmax(-1)
        return actions.cpu().numpy(), action_log_probability(log_probabilities, actions).cpu().numpy()


@dataclass(slots=True)
class Learner:
    """A policy with what is needed to improve it."""

    policy: Policy
    optimiser: torch.optim.Adam
    value_moments: Moments
    """(A,): the scale of the returns."""
    state_moments: Moments
    """(S,): the scale of the environment's own state; unused where the critic joins the observations."""


@dataclass(slots=True)
class Run:
    """Everything that changes while training; a checkpoint holds all of it."""

    env: BatchedEnv
    learner: Learner
    generators: dict[str, np.random.Generator]
    rollout: Rollout
    seen: Seen
    episodes: EpisodeCounter
    history: list[Update] = field(default_factory=list)
    done: int = 0
    """Updates made."""


def build_batch(make_env: MakeEnv, settings: Settings) -> BatchedEnv:
    """The environment copies of a run, whatever kind ``make_env`` makes."""
    env = make_env()
    with_state = settings.critic_input == "state"
    if not isinstance(env, BatchedEnv):
        return ParallelBatch(make_env, settings.envs, with_state=with_state, first=env)
    if env.count != settings.envs:
        raise TrainingSettingsError(f"envs is {settings.envs}, but the batched environment has {env.count} copies")
    if bool(env.spec.state_size) != with_state:
        raise TrainingSettingsError(
            f"critic_input is {settings.critic_input!r}, but the batched environment's state_size is {env.spec.state_size}"
        )
    return env


def start_run(env: BatchedEnv, settings: Settings, build_networks: BuildNetworks | None) -> Run:
    """A run before its first step."""
    spec, generators = env.spec, build_generators(settings.seed)
    policy = build_policy(spec, settings, build_networks, draw_seed(generators["initialisation"]))
    learner = Learner(
        policy,
        _build_optimiser(policy.networks, settings),
        Moments.empty((spec.agent_count,)),
        Moments.empty((spec.state_size,)),
    )
    counts = (settings.envs, spec.agent_count)
    return Run(
        env=env,
        learner=learner,
        generators=generators,
        rollout=Rollout.empty(spec, settings.steps, settings.envs),
        seen=env.reset(draw_seed(generators["environments"])),
        episodes=EpisodeCounter(np.zeros(counts), np.zeros(counts, dtype=np.bool_)),
    )


def build_policy(spec: EnvSpec, settings: Settings, build_networks: BuildNetworks | None, seed: int) -> Policy:
    """Freshly initialised networks on their device. Initialisation is done on the CPU: every device starts alike."""
    generator = torch.Generator().manual_seed(seed)
    build = build_networks or build_default_networks
    networks = build(spec, settings, generator).to(settings.device)
    return Policy(spec, settings, networks, Moments.empty((spec.agent_count, spec.observation_width)))


def build_default_networks(spec: EnvSpec, settings: Settings, generator: torch.Generator) -> ActorCritic:
    """The perceptrons that the settings describe."""
    return build_perceptrons(
        spec,
        settings.hidden,
        settings.activation,
        shared=settings.share_actor,
        agent_id=settings.agent_id,
        generator=generator,
    )


def draw_noise(generator: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Gumbel noise: the argmax of log p + noise is a draw from p. Bounded, so that no illegal action can ever win."""
    waiting_times = generator.standard_exponential(shape, dtype=np.float32)
    return -np.log(np.maximum(waiting_times, np.float32(1e-30)))


# --- one update -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Batch:
    """One rollout, made ready for the losses: B = T * N frames."""

    observations: Tensor
    """(B, A, F), standardised"""
    joint: Tensor
    """(B, S), standardised"""
    legal: Tensor | None
    """(B, A, K)"""
    alive: Tensor | None
    """(B, A); None where every agent always is"""
    actions: Tensor
    old_log_probabilities: Tensor
    advantages: Tensor
    old_values: Tensor
    """standardised"""
    targets: Tensor
    """standardised; (B, A) like the four above"""

    def rows(self, index: Tensor) -> Batch:
        """Some of the frames."""
        return Batch(
            self.observations[index],
            self.joint[index],
            None if self.legal is None else self.legal[index],
            None if self.alive is None else self.alive[index],
            self.actions[index],
            self.old_log_probabilities[index],
            self.advantages[index],
            self.old_values[index],
            self.targets[index],
        )


def update_learner(run: Run) -> Update:
    """Turn one rollout into one improvement of actors and critic, then into the next scale of observations."""
    settings, learner = run.learner.policy.settings, run.learner
    progress = run.done / max(settings.updates - 1, 1)
    learning_rate = settings.learning_rate * (1.0 + progress * (settings.learning_rate_end - 1.0))
    entropy_weight = settings.entropy_start + progress * (settings.entropy_end - settings.entropy_start)
    for group in learner.optimiser.param_groups:
        group["lr"] = learning_rate
    batch, explained = prepare(learner, run.rollout)
    means, epochs = improve(learner, batch, entropy_weight, run.generators["minibatches"])
    observe(learner, run.rollout)
    ended = run.episodes.take()
    return Update(
        update=run.done + 1,
        frames=(run.done + 1) * settings.frames_per_update,
        episodes=len(ended),
        episode_return=float(np.mean(ended)) if ended else None,
        explained_variance=None if math.isnan(explained) else explained,
        entropy_weight=entropy_weight,
        learning_rate=learning_rate,
        epochs=epochs,
        **means,
    )


def prepare(learner: Learner, rollout: Rollout) -> tuple[Batch, float]:
    """Values, advantages and targets of a rollout; also the explained variance of the values.

    The scale of values is updated here, before the targets are expressed in it, and the critic's last layer with it, so
    that the values themselves stay what they were.
    """
    policy = learner.policy
    settings, spec, device = policy.settings, policy.spec, policy.settings.device
    alive = rollout.alive[:-1]
    observations = policy.read(rollout.observations)  # (T + 1, N, A, F)
    joint = _read_joint(learner, observations, rollout.alive, rollout.state)  # (T + 1, N, S)
    values = _values(learner, joint)
    values_tp1 = values[1:].copy()
    if rollout.cut_at:
        t, n = (np.concatenate(parts) for parts in zip(*rollout.cut_at, strict=True))
        final, final_alive, final_state = (np.concatenate(parts) for parts in zip(*rollout.cut_seen, strict=True))
        final_values = _values(learner, _read_joint(learner, policy.read(final), final_alive, final_state))
        values_tp1[t, n] = np.where(rollout.truncated[t, n], final_values, values_tp1[t, n])
    advantages = generalised_advantages(
        _rewards(rollout, team=settings.team_reward),
        values[:-1],
        values_tp1,
        rollout.terminated,
        rollout.truncated,
        alive,
        settings.discount,
        settings.trace_decay,
    )
    targets = advantages + values[:-1]
    if settings.normalise_values:
        rows, counted = targets.reshape(-1, spec.agent_count), alive.reshape(-1, spec.agent_count)
        moments = update_moments(learner.value_moments, rows, counted, settings.value_decay)
        weight, bias = policy.networks.critic.output_layer()
        rescale_output(weight, bias, learner.value_moments, moments)
        learner.value_moments = moments

    def flat(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array.reshape(-1, *array.shape[2:])).to(device)

    def flat_values(array: NDArray[np.float64]) -> Tensor:
        return flat(standardise(array, learner.value_moments).astype(np.float32))

    batch = Batch(
        observations=observations[:-1].flatten(0, 1),
        joint=joint[:-1].flatten(0, 1),
        legal=flat(rollout.legal[:-1]) if rollout.masked else None,
        alive=None if alive.all() else flat(alive),
        actions=flat(rollout.actions),
        old_log_probabilities=flat(rollout.log_probabilities),
        advantages=flat(standardise_advantages(advantages, alive).astype(np.float32)),
        old_values=flat_values(values[:-1]),
        targets=flat_values(targets),
    )
    return batch, explained_variance(values[:-1], targets, alive)


def improve(
    learner: Learner, batch: Batch, entropy_weight: float, generator: np.random.Generator
) -> tuple[dict[str, float], int]:
    """Epochs of minibatch steps on one batch; the means of what they measured, and the number of epochs made.

    Raises ``DivergenceError`` where a loss or a gradient is not finite.
    """
    settings = learner.policy.settings
    measured: list[Tensor] = []
    epoch = 0
    while epoch < settings.epochs:
        first = len(measured)
        parts = _minibatches(batch, settings.minibatches, generator)
        measured.extend(step_losses(learner, rows, entropy_weight) for rows in parts)
        epoch += 1
        if (
            settings.kl_limit is not None
            and torch.stack(measured[first:]).mean(0)[MEASURED.index("kl")] > settings.kl_limit
        ):
            break
    means = dict(zip(MEASURED, torch.stack(measured).mean(0).tolist(), strict=True))
    if not all(math.isfinite(value) for value in means.values()):
        raise DivergenceError(
            f"a loss or gradient is not finite: {means}; lower the learning rate or check the rewards"
        )
    return means, epoch


MEASURED = (
    "policy_loss", "value_loss", "entropy", "kl", "clip_share", "actor_gradient_norm", "critic_gradient_norm",
)  # fmt: skip


def step_losses(learner: Learner, batch: Batch, entropy_weight: float) -> Tensor:
    """One gradient step of actor and critic on one minibatch; what was measured, in the order of ``MEASURED``."""
    settings, networks = learner.policy.settings, learner.policy.networks
    all_log_probabilities = legal_logits(networks.actor(batch.observations), batch.legal).log_softmax(-1)
    log_probability = action_log_probability(all_log_probabilities, batch.actions)
    old = batch.old_log_probabilities
    policy_loss = clipped_policy_loss(log_probability, old, batch.advantages, batch.alive, settings.clip)
    entropy = policy_entropy(all_log_probabilities, batch.alive)
    values = networks.critic(batch.joint)
    value_loss = clipped_value_loss(values, batch.old_values, batch.targets, batch.alive, settings.value_clip)

    extra = networks.extra_loss(batch.observations, all_log_probabilities)
    if extra is not None:
        policy_loss = policy_loss + extra

    learner.optimiser.zero_grad(set_to_none=True)
    # The two losses share no weight, so adding them asks no weight between them.
    (policy_loss - entropy_weight * entropy + value_loss).backward()  # type: ignore[no-untyped-call]
    actor_norm = nn.utils.clip_grad_norm_(networks.actor.parameters(), settings.max_gradient_norm)
    critic_norm = nn.utils.clip_grad_norm_(networks.critic.parameters(), settings.max_gradient_norm)
    learner.optimiser.step()
    return torch.stack(
        (
            policy_loss.detach(),
            value_loss.detach(),
            entropy.detach(),
            approximate_kl(log_probability, old, batch.alive),
            clip_share(log_probability, old, batch.alive, settings.clip),
            actor_norm,
            critic_norm,
        )
    )


def observe(learner: Learner, rollout: Rollout) -> None:
    """Add a rollout to the running scale of observations and state; it is used from the next rollout on, never within one."""
    policy, alive = learner.policy, rollout.alive[:-1]
    if policy.settings.normalise_observations:
        rows = rollout.observations[:-1].reshape(-1, *rollout.observations.shape[2:]).astype(np.float64)
        counted = alive.reshape(-1, alive.shape[-1], 1)
        policy.rescale(update_moments(policy.observation_moments, rows, counted, 1.0))
    if policy.spec.state_size and policy.settings.normalise_state:
        state = rollout.state[:-1].reshape(-1, policy.spec.state_size).astype(np.float64)
        learner.state_moments = update_moments(learner.state_moments, state, np.ones((1, 1), dtype=np.bool_), 1.0)


def _minibatches(batch: Batch, parts: int, generator: np.random.Generator) -> Iterator[Batch]:
    if parts == 1:
        yield batch
        return
    order = torch.from_numpy(generator.permutation(len(batch.actions))).to(batch.actions.device)
    for index in order.chunk(parts):
        yield batch.rows(index)


def _values(learner: Learner, joint: Tensor) -> NDArray[np.float64]:
    """Values (..., A) in the unit of the rewards."""
    shape = joint.shape[:-1]
    with torch.no_grad():
        standardised = learner.policy.networks.critic(joint.reshape(-1, joint.shape[-1]))
    return restore(standardised.cpu().numpy().astype(np.float64).reshape(*shape, -1), learner.value_moments)


def _read_joint(learner: Learner, observations: Tensor, alive: BoolArray, state: FloatArray) -> Tensor:
    """What the critic sees, (..., S), standardised."""
    settings, spec = learner.policy.settings, learner.policy.spec
    if spec.state_size and settings.normalise_state:
        state = build_scale(learner.state_moments).apply(state)
    if not alive.all():
        observations = observations * torch.from_numpy(alive).to(observations.device).unsqueeze(-1)
    return torch.from_numpy(joint_state(spec, observations.cpu().numpy(), alive, state)).to(settings.device)


def _rewards(rollout: Rollout, *, team: bool) -> NDArray[np.float64]:
    rewards = rollout.rewards.astype(np.float64)
    if not team:
        return rewards
    alive = rollout.alive[:-1]
    shared = np.where(alive, rewards, 0.0).sum(-1, keepdims=True) / np.maximum(alive.sum(-1, keepdims=True), 1)
    return np.broadcast_to(shared, rewards.shape)


def _build_optimiser(networks: ActorCritic, settings: Settings) -> torch.optim.Adam:
    groups = [{"params": list(networks.actor.parameters())}, {"params": list(networks.critic.parameters())}]
    return torch.optim.Adam(groups, lr=settings.learning_rate, eps=settings.adam_epsilon, fused=True)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads inside; its earlier number is put back. Small networks are slower on two than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- the result -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A trained policy, and how its training went."""

    policy: Policy
    history: tuple[Update, ...]
    generator: np.random.Generator
    """Draws the actions of ``act`` where they are not deterministic."""

    @property
    def spec(self) -> EnvSpec:
        """The environment that the policy was trained for."""
        return self.policy.spec

    @property
    def settings(self) -> Settings:
        """What it was trained with."""
        return self.policy.settings

    def act(
        self, observations: Mapping[Any, Any], deterministic: bool = True, *, masks: Mapping[Any, Any] | None = None
    ) -> dict[Any, int]:
        """One action for every agent in ``observations``, each from its own observation alone.

        Deterministic takes the most probable action, otherwise one is drawn. Action masks are read from observations of
        the form ``{"observation", "action_mask"}``, or from ``masks`` by agent. Raises ``EnvironmentContractError`` for an
        agent it was not trained for.
        """
        spec = self.spec
        names = [self._number(agent) for agent in observations]
        rows = np.zeros((1, spec.agent_count, spec.observation_width), dtype=np.float32)
        legal = spec.existing_actions()[None].copy()
        coders = spec.agent_coders()
        for a, (agent, raw) in zip(names, observations.items(), strict=True):
            observation, mask = split_mask(raw)
            mask = (masks or {}).get(agent) if mask is None else mask
            rows[0, a, : spec.observation_sizes[a]] = encode_observation(coders[a], observation)
            if mask is not None:
                legal[0, a, : spec.action_counts[a]] &= np.asarray(mask).astype(np.bool_)
        # A second thread would cost these few rows far more in waiting than it saves.
        with torch_threads(self.settings.threads):
            log_probabilities = self.policy.log_probabilities(rows, legal)[0].cpu().numpy()  # (A, K)
        if not deterministic:
            log_probabilities = log_probabilities + draw_noise(self.generator, log_probabilities.shape)
        best = log_probabilities.argmax(-1)
        starts = spec.agent_starts()
        return {agent: int(best[a]) + starts[a] for a, agent in zip(names, observations, strict=True)}

    def save(self, folder: Path) -> None:
        """Write the policy: weights, scale of observations, settings, environment sizes and the history."""
        write_checkpoint(folder, _policy_arrays(self.policy), _policy_document(self.policy, self.history))

    @staticmethod
    def load(folder: Path, build_networks: BuildNetworks | None = None, *, device: str | None = None) -> TrainResult:
        """Read what ``save`` or a checkpoint wrote. Raises ``CheckpointError`` where it does not fit together."""
        arrays, document = read_checkpoint(folder)
        settings, spec, history = _read_document(document)
        if device is not None:
            settings = msgspec.structs.replace(settings, device=device)
        policy = build_policy(spec, settings, build_networks, 0)
        _restore_policy(policy, arrays)
        return TrainResult(policy, tuple(history), build_generators(settings.seed)["evaluation"])

    def _number(self, agent: Any) -> int:
        try:
            return self.spec.agents.index(str(agent))
        except ValueError as error:
            raise TrainingSettingsError(f"no agent {agent!r} was trained; there are {self.spec.agents}") from error


# --- checkpoints ------------------------------------------------------------------------------------------------------


def save_run(run: Run, folder: Path) -> None:
    """Write the whole state of a run."""
    arrays = _policy_arrays(run.learner.policy)
    for name, moments in (("value", run.learner.value_moments), ("state", run.learner.state_moments)):
        arrays |= _moment_arrays(name, moments)
    for number, state in run.learner.optimiser.state_dict()["state"].items():
        arrays |= {f"optimiser.{number}.{key}": value.cpu().numpy() for key, value in state.items()}
    arrays |= {f"env.{key}": array for key, array in run.env.save().items()}
    arrays |= {"episodes.returns": run.episodes.returns, "episodes.acted": run.episodes.acted}
    document = _policy_document(run.learner.policy, run.history)
    document |= {"done": run.done, "generators": save_generators(run.generators)}
    write_checkpoint(folder, arrays, document)


def resume_run(run: Run, folder: Path) -> None:
    """Put a freshly started run where the checkpoint left it.

    Raises ``CheckpointError`` where the checkpoint is of other settings or another environment, or holds a policy only.
    """
    arrays, document = read_checkpoint(folder)
    settings, spec, history = _read_document(document)
    _check_same("environment", spec, run.env.spec, ())
    _check_same("settings", settings, run.learner.policy.settings, ("device", "threads"))
    if "done" not in document:
        raise CheckpointError(f"{folder} holds a trained policy, not a run; it can be loaded but not resumed")
    learner = run.learner
    _restore_policy(learner.policy, arrays)
    learner.value_moments = _restore_moments("value", arrays)
    learner.state_moments = _restore_moments("state", arrays)
    _restore_optimiser(learner.optimiser, arrays)
    run.seen = run.env.restore(_under("env", arrays))
    run.episodes.returns[...] = arrays["episodes.returns"]
    run.episodes.acted[...] = arrays["episodes.acted"]
    restore_generators(run.generators, document["generators"])
    run.history.extend(history)
    run.done = int(document["done"])


def _policy_arrays(policy: Policy) -> Arrays:
    weights = {f"networks.{name}": tensor.cpu().numpy() for name, tensor in policy.networks.state_dict().items()}
    return weights | _moment_arrays("observation", policy.observation_moments)


def _policy_document(policy: Policy, history: Sequence[Update]) -> dict[str, Any]:
    return {
        "code_version": __version__,
        "settings": msgspec.to_builtins(policy.settings),
        "spec": msgspec.to_builtins(policy.spec),
        "history": msgspec.to_builtins(list(history)),
    }


def _read_document(document: dict[str, Any]) -> tuple[Settings, EnvSpec, list[Update]]:
    try:
        return (
            msgspec.convert(document["settings"], Settings),
            msgspec.convert(document["spec"], EnvSpec),
            msgspec.convert(document["history"], list[Update]),
        )
    except (KeyError, msgspec.ValidationError) as error:
        raise CheckpointError(f"the checkpoint's document does not fit this version: {error}") from error


def _restore_policy(policy: Policy, arrays: Arrays) -> None:
    weights = {name: torch.from_numpy(array) for name, array in _under("networks", arrays).items()}
    try:
        policy.networks.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the weights do not fit the networks: {error}") from error
    policy.rescale(_restore_moments("observation", arrays))


def _restore_optimiser(optimiser: torch.optim.Adam, arrays: Arrays) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, array in _under("optimiser", arrays).items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = torch.from_numpy(array)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _moment_arrays(name: str, moments: Moments) -> Arrays:
    parts = {"weight": moments.weight, "total": moments.total, "squares": moments.squares}
    return {f"moments.{name}.{key}": array for key, array in parts.items()}


def _restore_moments(name: str, arrays: Arrays) -> Moments:
    try:
        return Moments(**_under(f"moments.{name}", arrays))
    except TypeError as error:
        raise CheckpointError(f"the checkpoint lacks the {name} moments: {error}") from error


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {name[len(prefix) + 1 :]: array for name, array in arrays.items() if name.startswith(f"{prefix}.")}


def _check_same(what: str, saved: msgspec.Struct, wanted: msgspec.Struct, free: tuple[str, ...]) -> None:
    left, right = msgspec.structs.asdict(saved), msgspec.structs.asdict(wanted)
    differing = [f"{name}: {left[name]!r} saved, {right[name]!r} asked" for name in left if left[name] != right[name]]
    differing = [line for line in differing if line.split(":", 1)[0] not in free]
    if differing:
        raise CheckpointError(f"the checkpoint belongs to another run; its {what} differ in {'; '.join(differing)}")


__all__ = ["Policy", "Settings", "TrainResult", "Update", "build_default_networks", "train"]
