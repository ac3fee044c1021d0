"""BenchMARL's MAPPO on one of mpe2's tasks: train for so many frames, score greedily with this project's scorer.

Runs in BenchMARL's own environment (``run_mappo.py`` makes it), which has no package of ours: ``benchmarks/scoring.py`` and
what it imports need numpy alone and are read from the checkout. BenchMARL's task names point to ``pettingzoo.mpe``, which no longer exists, so the task
here hands mpe2's environment to the same torchrl wrapper; everything else is BenchMARL's.

``--like own``: its default settings. ``--like ours``: the defaults of this project's trainer, as far as BenchMARL has them.

    python peer_benchmarl.py spread --frames 100000 --seed 0 --like ours [--set lr=0.001]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch
from benchmarl.algorithms import MappoConfig
from benchmarl.environments.pettingzoo.common import PettingZooClass
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from mpe2 import simple_speaker_listener_v4, simple_spread_v3
from tensordict import TensorDict
from torchrl.envs import PettingZooWrapper
from torchrl.envs.utils import ExplorationType, set_exploration_type

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from scoring import score_episodes

CYCLES = 25
TASKS = {
    "spread": lambda: simple_spread_v3.parallel_env(N=3, max_cycles=CYCLES, local_ratio=0.5),
    "speaker_listener": lambda: simple_speaker_listener_v4.parallel_env(max_cycles=CYCLES),
}
NAMES = {"spread": "SIMPLE_SPREAD", "speaker_listener": "SIMPLE_SPEAKER_LISTENER"}
OURS = {
    "lr": 2e-3,
    "gamma": 0.95,
    "adam_eps": 1e-5,
    "clip_grad_val": 10.0,
    "share_policy_params": False,
    "on_policy_collected_frames_per_batch": 800,
    "on_policy_n_envs_per_worker": 16,
    "on_policy_n_minibatch_iters": 5,
    "on_policy_minibatch_size": 400,
}
"""Of BenchMARL's experiment: what the defaults of our trainer are called there."""
OURS_OF_ALGORITHM = {"lmbda": 0.95, "entropy_coef": 0.005, "share_param_critic": False}
"""Our entropy weight falls from 0.01 to 0; BenchMARL's stands still, at the mean of the two."""


class Mpe2(PettingZooClass):
    """One of mpe2's environments as a BenchMARL task."""

    def get_env_fun(self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any) -> Any:
        """One environment a call, as BenchMARL asks for it."""
        make = TASKS[self.config["task"]]
        return lambda: PettingZooWrapper(
            make(), categorical_actions=True, device=device, seed=seed, return_state=True, use_mask=False
        )


def train(task: str, frames: int, seed: int, like: str, changes: dict[str, Any]) -> tuple[Experiment, float]:
    """The finished experiment, and the CPU seconds of its training."""
    config, algorithm, model = ExperimentConfig.get_from_yaml(), MappoConfig.get_from_yaml(), MlpConfig.get_from_yaml()
    if like == "ours":
        changes = OURS | changes
        model.num_cells = [64, 64]
        for name, value in OURS_OF_ALGORITHM.items():
            setattr(algorithm, name, value)
    for name, value in changes.items():
        target = config if hasattr(config, name) else algorithm
        if not hasattr(target, name):
            raise SystemExit(f"found setting {name!r}, which BenchMARL does not have")
        setattr(target, name, value)
    config.prefer_continuous_actions = False
    config.max_n_frames, config.max_n_iters = frames, None
    config.evaluation = config.render = config.create_json = False
    config.loggers = []
    config.save_folder = tempfile.mkdtemp(prefix="benchmarl-")
    experiment = Experiment(
        task=Mpe2(name=NAMES[task], config={"task": task, "max_cycles": CYCLES}),
        algorithm_config=algorithm,
        model_config=model,
        critic_model_config=model,
        seed=seed,
        config=config,
    )
    start = time.process_time()
    experiment.run()
    return experiment, time.process_time() - start


def greedy(experiment: Experiment) -> Any:
    """The trained policy, its likeliest actions, as the scorer wants it."""
    groups = experiment.group_map

    @torch.no_grad()
    def act(observations: dict[str, Any]) -> dict[str, int]:
        seen = {
            group: TensorDict(
                {"observation": torch.stack([torch.as_tensor(observations[a]) for a in agents])}, [len(agents)]
            )
            for group, agents in groups.items()
        }
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            chosen = experiment.policy(TensorDict(seen, []))
        return {
            agent: int(chosen[group, "action"][place])
            for group, agents in groups.items()
            for place, agent in enumerate(agents)
        }

    return act


def main() -> None:
    """Train, score, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--like", choices=("own", "ours"), default="own")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON")
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--score-seed", type=int, default=1_000)
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    changes = {name: json.loads(value) for name, value in (item.split("=", 1) for item in chosen.set)}
    answers, sys.stdout = sys.stdout, sys.stderr
    experiment, seconds = train(chosen.task, chosen.frames, chosen.seed, chosen.like, changes)
    returns = score_episodes(TASKS[chosen.task], greedy(experiment), chosen.episodes, chosen.score_seed)
    row = {
        "frames": experiment.total_frames,
        "cpu_seconds": round(seconds, 1),
        "mean_return": round(float(returns.mean()), 2),
        "standard_error": round(float(returns.std(ddof=1)) / chosen.episodes**0.5, 2),
        "version": f"benchmarl {metadata.version('benchmarl')}, torchrl {metadata.version('torchrl')}",
    }
    print(json.dumps(row), file=answers, flush=True)


if __name__ == "__main__":
    main()
