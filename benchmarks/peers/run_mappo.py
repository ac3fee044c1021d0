"""This project's MAPPO beside BenchMARL's on mpe2's tasks: the same frames, the same scorer, scores and frames per CPU second.

For each task: random actions and the rule of ``benchmarks/scoring.py``, then this trainer with its defaults, BenchMARL with our settings
(as far as it has them) and BenchMARL with its own. Everybody is scored greedily on the same episodes of mpe2's own environment, in its
own unit. CPU seconds are those of training alone, one thread, one process after the other. The figures are those of
``docs/models/mappo.md``; what a regression means: a lower score than BenchMARL's, or fewer frames per CPU second.

    python benchmarks/peers/run_mappo.py --frames 100000 --seeds 0 1 2     hours on a busy machine
    python benchmarks/peers/run_mappo.py --tasks spread --peers ours        some minutes
    python benchmarks/peers/run_mappo.py --quick                            a check that it runs

BenchMARL lives in ``.venv-peer-benchmarl``, made by the first call: torch 2.13.0 first, then the pins of ``benchmarl.txt``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEER = ROOT / ".venv-peer-benchmarl"
PINS = HERE / "benchmarl.txt"
TORCH = "torch==2.13.0"


def prepare() -> Path:
    """BenchMARL's environment, made where it is not there; its Python."""
    python = PEER / "bin" / "python"
    marker = PEER / ".pins"
    wanted = PINS.read_text(encoding="utf-8")
    if not (marker.exists() and marker.read_text(encoding="utf-8") == wanted):
        print(f"benchmarl: installing into {PEER.name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        for what in ([TORCH], ["--requirement", str(PINS)]):
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *what], check=True)
        marker.write_text(wanted, encoding="utf-8")
    return python


def ours(task: str, frames: int, seeds: list[int], *, compiled: bool) -> list[dict[str, Any]]:
    """Random, the rule and this trainer, from ``bench_mappo.py``."""
    command = [sys.executable, str(HERE.parent / "bench_mappo.py"), "--learn", task, "--frames", str(frames)]
    command += ["--compiled"] if compiled else []
    return _lines([*command, "--seeds", *map(str, seeds)])


def benchmarl(python: Path, task: str, frames: int, seed: int, like: str) -> dict[str, Any]:
    """One training of BenchMARL."""
    command = [str(python), "-W", "ignore", str(HERE / "peer_benchmarl.py"), task]
    (row,) = _lines([*command, "--frames", str(frames), "--seed", str(seed), "--like", like])
    settings = "our settings" if like == "ours" else "its own settings"
    return {"policy": f"BenchMARL, {settings}, seed {seed}"} | row


def _lines(command: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {done.returncode}\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def show(row: dict[str, Any]) -> None:
    """One line of the table, as soon as it is known."""
    seconds, frames = row.get("cpu_seconds"), row.get("frames")
    speed = f"{frames / seconds:,.0f}" if seconds else ""
    told = f"{frames:,}" if frames else ""
    print(
        f"| {row['policy']} | {row['mean_return']:.2f} | {row['standard_error']:.2f} | {told} | {seconds or ''} | {speed} |",
        flush=True,
    )


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tasks", nargs="+", choices=("spread", "speaker_listener"), default=["spread", "speaker_listener"]
    )
    parser.add_argument(
        "--peers", nargs="*", choices=("ours", "own"), default=["ours", "own"], help="settings of BenchMARL"
    )
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--compiled", action="store_true", help="train ours on the compiled copy of simple_spread")
    parser.add_argument("--quick", action="store_true", help="a few thousand frames, one seed")
    chosen = parser.parse_args()
    frames, seeds = (2_400, [0]) if chosen.quick else (chosen.frames, chosen.seeds)
    python = prepare() if chosen.peers else Path()
    for task in chosen.tasks:
        print(
            f"\n{task}\n\n| policy | mean return | standard error | frames | CPU s | frames per CPU s |\n|---|---|---|---|---|---|"
        )
        for row in ours(task, frames, seeds, compiled=chosen.compiled and task == "spread"):
            show(row)
        for like in chosen.peers:
            for seed in seeds:
                show(benchmarl(python, task, frames, seed, like))


if __name__ == "__main__":
    main()
