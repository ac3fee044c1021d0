"""The trading environments: steps a second, batched and in PettingZoo form, beside gym-anytrading and gym-trading-env.

A step is one bar of one copy: decision, orders, risk, fills, fees, reward, restarts, and what is seen next. Paths and what a
regression means:

- ``batched, with observations``: what the trainer calls; every training run gets slower with it. Aim: design, section 7.
- ``batched, accounts alone``: the same without the windows, to see where the time goes.
- ``PettingZoo form``: one copy, with its dictionaries and infos; what outside users step. Aim: 20,000.
- ``PettingZoo form over the engine``: the same with a whole engine for an account; what the other two are held to.
- peers: their own environment over the same bars, 48 rows in a window, random actions. They fill at the close at once, with one
  position and no orders; ours asks a risk gate and an exchange. Measured where ``.venv-peer-NAME`` is there; ``--peers`` makes them.

Before timing, a batch and the form over the engine are played side by side and must agree in every number. Times are CPU seconds of
one process on one thread, the median of some rounds in which all take turns; compilation is outside.

    python benchmarks/bench_environments.py [--json] [--quick] [--peers]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grandmodel.training import strategic_env, tactical_env
from grandmodel.training.environments import (
    EnvSettings,
    TradingBatch,
    simulated_market,
    strategic_batch,
    tactical_batch,
)
from grandmodel.training.environments.batch import step_copies
from grandmodel.training.environments.parallel_form import TradingParallel
from grandmodel.training.parallel import ParallelBatch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
PEERS = ("gym_anytrading", "gym_trading_env")
COPIES = 256
AIM = 1_000_000.0
SINGLE_AIM = 20_000.0
LAYERS: dict[str, tuple[Callable[..., TradingParallel], Callable[..., TradingBatch]]] = {
    "strategic": (strategic_env, strategic_batch),
    "tactical": (tactical_env, tactical_batch),
}


@dataclass(frozen=True)
class Figure:
    """One path."""

    path: str
    steps_per_second: float
    numbers: int
    """In one step's observations, all agents together."""
    aim: float | None = None


def check_forms(layer: str, steps: int) -> None:
    """The batch and the form over the engine must give the same rewards and observations."""
    make_env, make_batch = LAYERS[layer]
    settings = EnvSettings(episode_bars=50)
    env = ParallelBatch(lambda: make_env(settings=settings, over_engine=True), 2, with_state=True)
    batch = make_batch(settings=settings, count=2)
    rng = np.random.default_rng(0)
    left, right = env.reset(1), batch.reset(1)
    for _ in range(steps):
        if not (np.array_equal(left.observations, right.observations) and np.array_equal(left.state, right.state)):
            raise SystemExit(f"{layer}: the batched and the PettingZoo form see different things")
        actions = rng.integers(0, batch.spec.action_counts, (2, batch.spec.agent_count))
        one, other = env.step(actions), batch.step(actions)
        if not np.array_equal(one.rewards, other.rewards):
            raise SystemExit(f"{layer}: the batched and the PettingZoo form pay different rewards")
        left, right = one.seen, other.seen


class BlindBatch(TradingBatch):
    """A batch that plays and restarts, and writes no windows except an episode's first."""

    def step_blind(self, actions: Any) -> None:
        """One step of every copy."""
        step_copies(self._handle, actions, False)
        ended = np.flatnonzero(self.copies.ends)
        if len(ended):
            self._restart(ended)


class BatchedPath:
    """A batch with its actions drawn beforehand."""

    def __init__(self, layer: str, *, observes: bool) -> None:
        self.env = BlindBatch(LAYERS[layer][1](count=1).ground, COPIES)
        self.name = f"{layer}, batched ({COPIES} copies), " + ("with observations" if observes else "accounts alone")
        self.numbers = sum(self.env.spec.observation_sizes) if observes else 0
        rng = np.random.default_rng(0)
        self.actions = rng.integers(0, self.env.spec.action_counts, (64, COPIES, self.env.spec.agent_count))
        self.env.reset(1)
        self.play: Callable[[Any], Any] = self.env.step if observes else self.env.step_blind

    def seconds(self, steps: int) -> float:
        """CPU seconds of ``steps`` steps."""
        rounds = -(-steps // COPIES)
        start = time.process_time()
        for k in range(rounds):
            self.play(self.actions[k % 64])
        return (time.process_time() - start) * steps / (rounds * COPIES)


class SinglePath:
    """A PettingZoo form with random actions."""

    def __init__(self, layer: str, *, over_engine: bool) -> None:
        self.env = LAYERS[layer][0](over_engine=over_engine)
        self.name = f"{layer}, PettingZoo form" + (" over the engine" if over_engine else "")
        self.aim = None if over_engine else SINGLE_AIM
        self.numbers = sum(self.env.spec.observation_sizes)
        rng = np.random.default_rng(0)
        rows = rng.integers(0, self.env.spec.action_counts, (512, self.env.spec.agent_count)).tolist()
        self.actions = [dict(zip(self.env.possible_agents, row, strict=True)) for row in rows]
        self.env.reset(seed=1)
        self.seconds(50)

    def seconds(self, steps: int) -> float:
        """CPU seconds of ``steps`` steps, new episodes included."""
        start = time.process_time()
        for k in range(steps):
            if not self.env.agents:
                self.env.reset()
            self.env.step(self.actions[k % 512])
        return time.process_time() - start


def measure(*, quick: bool, makes_peers: bool) -> tuple[list[Figure], dict[str, str]]:
    """All paths in turns, and why a peer is absent."""
    for layer in LAYERS:
        check_forms(layer, 120)
    batched = [BatchedPath(layer, observes=observes) for layer in LAYERS for observes in (True, False)]
    single = [SinglePath(layer, over_engine=over_engine) for layer in LAYERS for over_engine in (False, True)]
    steps, few = (100_000, 300) if quick else (500_000, 1_500)
    rounds = 3 if quick else 5
    for path in batched:
        path.seconds(COPIES * 5)
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        peers, absent = start_peers(Path(folder), makes_peers=makes_peers)
        for _ in range(rounds):
            for path in batched:
                times.setdefault(path.name, []).append(steps / path.seconds(steps))
            for one in single:
                times.setdefault(one.name, []).append(few / one.seconds(few))
            for peer in peers:
                peer.do("steps", counts=True)
        figures = [
            Figure(path.name, statistics.median(times[path.name]), path.numbers, AIM if path.numbers else None)
            for path in batched
        ]
        figures += [Figure(one.name, statistics.median(times[one.name]), one.numbers, one.aim) for one in single]
        for peer in peers:
            answer = peer.last["steps"]
            figures.append(
                Figure(f"{peer.name} {peer.version}", answer["steps"] / peer.median("steps"), answer["numbers"])
            )
            assert peer.process.stdin is not None
            peer.process.stdin.close()
            peer.process.wait(timeout=60)
    return figures, absent


def start_peers(folder: Path, *, makes_peers: bool) -> tuple[list[Any], dict[str, str]]:
    """A process per peer whose environment is there, over the simulated half-hour bars that ours has."""
    from run_peers import ROOT, prepare, start

    market = simulated_market("strategic")
    columns = [market.instrument.prices_from_ticks(market.bars[name]) for name in ("open", "high", "low", "close")]
    np.save(folder / "env_bars.npy", np.stack([*columns, market.bars["volume"].astype(np.float64)], axis=1))
    absent: dict[str, str] = {}
    for name in PEERS:
        if makes_peers:
            absent[name] = prepare(name)
        elif not (ROOT / f".venv-peer-{name}" / "bin" / "python").exists():
            absent[name] = "its environment is not there; --peers makes it"
    absent = {name: why for name, why in absent.items() if why}
    return [start(name, folder) for name in PEERS if name not in absent], absent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--peers", action="store_true", help="make the peers' environments first")
    arguments = parser.parse_args()
    figures, absent = measure(quick=arguments.quick, makes_peers=arguments.peers)
    if arguments.json:
        print(json.dumps([asdict(one) for one in figures], indent=1))
        return
    best = figures[0].steps_per_second
    print(f"{'path':60}{'steps/CPU s':>14}{'numbers seen':>14}{'first over it':>15}{'aim':>12}")
    for one in figures:
        aim = f"{one.aim:12,.0f}" if one.aim is not None else ""
        print(f"{one.path:60}{one.steps_per_second:14,.0f}{one.numbers:14,}{best / one.steps_per_second:15,.2f}{aim}")
    for name, why in absent.items():
        print(f"{name}: not measured: {why}")


if __name__ == "__main__":
    main()
