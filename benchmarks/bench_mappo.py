"""The MAPPO trainer: frames per CPU second, and what it learns.

A frame is one step of all agents. Paths and what a regression means:

- ``trainer on the compiled simple_spread``: rollouts, advantages and updates with an environment that costs almost
  nothing, at the default settings and with more copies. Every training run gets slower with it.
- ``on mpe2's own simple_spread``: the same through the PettingZoo adapter; most of it is mpe2's Python step, which is
  timed apart, so that the trainer's own share shows.

Each run is made twice and must give the same weights; the return must have risen. Times are CPU seconds of this process on
one thread; compilation is outside. Aim: design, section 7.

``--learn`` trains and scores instead: greedy returns on mpe2's own environment beside random actions and a rule, several
seeds. These are the figures of ``docs/models/mappo.md``.

    python benchmarks/bench_mappo.py [--json] [--quick] [--device cuda]
    python benchmarks/bench_mappo.py --learn spread --frames 1000000 --seeds 0 1 2
    python benchmarks/bench_mappo.py --learn speaker_listener --frames 300000 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
import torch

from grandmodel.training.batched import BatchedEnv, IntArray, Outcome, Seen
from grandmodel.training.mappo import Settings, TrainResult, train
from grandmodel.training.parallel import ParallelBatch
from scoring import random_act, score_episodes, speaker_listener_rule, spread_rule
from simple_spread import SpreadBatch


@dataclass(frozen=True)
class Measure:
    """One measured path."""

    path: str
    frames: int
    frames_per_cpu_second: float
    environment_share: float
    """Part of the CPU time that passed inside the environment's step."""
    trainer_frames_per_cpu_second: float
    """The same without that part."""
    aim: float | None = None


class Timed(BatchedEnv):
    """A batched environment that counts the CPU seconds of its steps."""

    def __init__(self, env: BatchedEnv) -> None:
        self.env, self.spec, self.count, self.seconds = env, env.spec, env.count, 0.0

    def reset(self, seed: int) -> Seen:
        """Start anew."""
        return self.env.reset(seed)

    def step(self, actions: IntArray) -> Outcome:
        """Step, timed."""
        start = time.process_time()
        outcome = self.env.step(actions)
        self.seconds += time.process_time() - start
        return outcome

    def save(self) -> dict[str, Any]:
        """Pass on."""
        return self.env.save()

    def restore(self, saved: dict[str, Any]) -> Seen:
        """Pass on."""
        return self.env.restore(saved)


def parallel_spread() -> Any:
    """mpe2's own simple_spread with its published settings."""
    from mpe2 import simple_spread_v3

    return simple_spread_v3.parallel_env(N=3, max_cycles=25, local_ratio=0.5)


def parallel_speaker_listener() -> Any:
    """mpe2's own simple_speaker_listener with its published settings."""
    from mpe2 import simple_speaker_listener_v4

    return simple_speaker_listener_v4.parallel_env(max_cycles=25)


def measure_path(path: str, make: Callable[[int], BatchedEnv], settings: Settings, aim: float | None) -> Measure:
    """Train twice on ``make(envs)`` and time the second run."""
    first = train(lambda: make(settings.envs), settings)
    timed: list[Timed] = []

    def make_timed() -> Timed:
        timed.append(Timed(make(settings.envs)))
        return timed[-1]

    start = time.process_time()
    second = train(make_timed, settings)
    seconds = time.process_time() - start
    check_same(first, second)
    returns = [row.episode_return for row in second.history if row.episode_return is not None]
    part = max(len(returns) // 5, 1)
    if not np.mean(returns[-part:]) > np.mean(returns[:part]):
        raise SystemExit(f"{path}: the return did not rise, from {returns[:part]} to {returns[-part:]}")
    frames = second.history[-1].frames
    inside = timed[0].seconds
    return Measure(path, frames, frames / seconds, inside / seconds, frames / (seconds - inside), aim)


def check_same(first: TrainResult, second: TrainResult) -> None:
    """Two runs of one seed must end at the same weights."""
    pairs = zip(first.policy.networks.parameters(), second.policy.networks.parameters(), strict=True)
    if not all(torch.equal(a, b) for a, b in pairs):
        raise SystemExit("the same seed gave different weights")


def measure(*, quick: bool, device: str) -> list[Measure]:
    """All paths."""
    frames = 40_000 if quick else 200_000
    default = Settings(frames=frames, device=device)
    wide = msgspec.structs.replace(default, envs=64)
    mpe2 = msgspec.structs.replace(default, frames=frames // 4)
    return [
        measure_path("compiled simple_spread, 16 copies (default)", SpreadBatch, default, 10_000.0),
        measure_path("compiled simple_spread, 64 copies", SpreadBatch, wide, 10_000.0),
        measure_path(
            "mpe2's simple_spread, 16 copies", lambda n: ParallelBatch(parallel_spread, n, with_state=False), mpe2, None
        ),
    ]


TASKS: dict[str, tuple[Callable[[], Any], Callable[[Any], dict[Any, int]]]] = {
    "spread": (parallel_spread, spread_rule),
    "speaker_listener": (parallel_speaker_listener, speaker_listener_rule),
}
EPISODES = 500
SCORE_SEED = 1_000


def learn(task: str, settings: Settings, seeds: list[int], *, compiled: bool) -> list[dict[str, Any]]:
    """Random, the rule, then a trained policy per seed: mean return and its standard error over the same episodes."""
    make_env, rule = TASKS[task]
    env = make_env()
    spaces = {agent: env.action_space(agent) for agent in env.possible_agents}
    rows = [
        scored("random", make_env, random_act(spaces, np.random.default_rng(0))),
        scored("rule", make_env, rule),
    ]
    for row in rows:
        print(json.dumps(row), flush=True)

    def compiled_spread() -> SpreadBatch:
        return SpreadBatch(settings.envs)

    for seed in seeds:
        chosen = msgspec.structs.replace(settings, seed=seed)
        start = time.process_time()
        result = train(compiled_spread if compiled else make_env, chosen)
        seconds = time.process_time() - start
        row = scored(f"ours, seed {seed}", make_env, lambda seen, r=result: r.act(seen, deterministic=True))
        rows.append(row | {"frames": result.history[-1].frames, "cpu_seconds": round(seconds, 1)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def scored(name: str, make_env: Callable[[], Any], act: Callable[[Any], Any]) -> dict[str, Any]:
    """One line of the table."""
    returns = score_episodes(make_env, act, EPISODES, SCORE_SEED)
    return {
        "policy": name,
        "mean_return": round(float(returns.mean()), 2),
        "standard_error": round(float(returns.std(ddof=1)) / EPISODES**0.5, 2),
    }


def main() -> None:
    """Measure, or learn, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the measures as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer frames")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--learn", choices=TASKS, help="train on this task and score, instead of timing")
    parser.add_argument("--frames", type=int, default=300_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--compiled", action="store_true", help="train on the compiled copy of simple_spread")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=JSON", help="other settings, such as share_actor=true"
    )
    arguments = parser.parse_args()
    if arguments.learn:
        if arguments.compiled and arguments.learn != "spread":
            parser.error("only spread has a compiled copy")
        changes = {name: json.loads(value) for name, value in (item.split("=", 1) for item in arguments.set)}
        settings = Settings(frames=arguments.frames, device=arguments.device, **changes)
        learn(arguments.learn, settings, arguments.seeds, compiled=arguments.compiled)
        return
    found = measure(quick=arguments.quick, device=arguments.device)
    if arguments.json:
        print(json.dumps([asdict(one) for one in found], indent=1))
        return
    print(f"{'path':46}{'frames/CPU s':>14}{'env share':>11}{'trainer alone':>15}{'aim':>9}")
    for one in found:
        aim = f"{one.aim:9,.0f}" if one.aim is not None else ""
        print(
            f"{one.path:46}{one.frames_per_cpu_second:14,.0f}{one.environment_share:11.0%}"
            f"{one.trainer_frames_per_cpu_second:15,.0f}{aim}"
        )


if __name__ == "__main__":
    main()
