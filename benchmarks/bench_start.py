"""Start: how long the main job takes on a machine that has never run it, and on one that has.

Paths: ``help`` (``grandmodel --help``); ``compile`` (``grandmodel compile`` into an empty cache, all processes together); ``first
run`` (the default session behind it); ``warm run`` (the default session, everything compiled), with its parts: ``imports``,
``kernels`` (loading machine code), ``feed and engine`` (the session itself), ``summary and page``. ``set-up`` (with ``--setup``):
``make setup`` in a fresh copy of the checkout's last commit, packages and compiling together, then ``make run`` twice. Each is a
process of its own; wall seconds, and CPU seconds of the process and its children, for a machine that has other work.

``--against DIR`` measures another checkout in the same run, turn and turn about: there, an empty cache is filled by the first run.
The result is checked first: the session must have its rows, and both checkouts must end with the same profit.

    python benchmarks/bench_start.py [--json] [--quick] [--setup] [--against DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROWS = 3_496_933
"""Of the default session."""

PARTS = """
import sys, time
began = time.perf_counter()
spent = {"kernels": 0.0, "summary and page": 0.0, "session": 0.0}
loading = 0
def timed(part, function):
    def call(*given, **named):
        start = time.perf_counter()
        try:
            return function(*given, **named)
        finally:
            spent[part] += time.perf_counter() - start
    return call
from grandmodel.cli.main import main
import grandmodel.runtime.agents, grandmodel.runtime.runs as runs
from numba.core.dispatcher import Dispatcher
imports = time.perf_counter() - began
Dispatcher.compile = timed("kernels", Dispatcher.compile)
runs.Session.feed_parts = timed("session", runs.Session.feed_parts)
runs.write_reports = timed("summary and page", runs.write_reports)
def tell():
    import json
    spent["imports"] = imports
    print("PARTS", json.dumps(spent), file=sys.stderr)
import atexit; atexit.register(tell)
sys.argv[0] = "grandmodel"
main()
"""


@dataclass(frozen=True)
class Measure:
    """One measured path; ``other_*`` is the other checkout's, None where there is none."""

    path: str
    wall_s: float
    cpu_s: float
    other_wall_s: float | None = None
    other_cpu_s: float | None = None


def run(checkout: Path, cache: Path, *arguments: str, code: str = "") -> tuple[float, float, str, str]:
    """Wall and CPU seconds, stdout and stderr of one command of a checkout."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(checkout / "src")}
    command = [sys.executable, *(["-c", code] if code else ["-m", "grandmodel"]), *arguments]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, cwd=cache)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout, done.stderr


def session(checkout: Path, cache: Path, scale: str, code: str = "") -> tuple[float, float, dict, str]:
    """The default session, unsigned, into a folder of its own: seconds, summary, stderr."""
    with tempfile.TemporaryDirectory() as out:
        wall, cpu, said, told = run(
            checkout, cache, "run", "--row-scale", scale, "--unsigned", "--json", "--out", out, code=code
        )
    return wall, cpu, json.loads(said), told


def measure(checkouts: list[Path], quick: bool) -> tuple[list[Measure], dict[str, float]]:
    """Every path of each checkout, turn and turn about, and the parts of a warm run of the first."""
    scale, repeats = ("0.02", 1) if quick else ("1", 3)
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        caches = [Path(temporary) / str(number) for number in range(len(checkouts))]
        profits = []
        for checkout, cache in zip(checkouts, caches, strict=True):
            cache.mkdir()
            found.setdefault("help", []).append(run(checkout, cache, "--help")[:2])
            if (checkout / "src/grandmodel/cli/compiling.py").exists():
                found.setdefault("compile", []).append(run(checkout, cache, "compile")[:2])
            else:
                found.setdefault("compile", []).append((0.0, 0.0))
            wall, cpu, summary, _ = session(checkout, cache, scale)
            found.setdefault("first run", []).append((wall, cpu))
            profits.append(summary["profit_micros"])
            assert quick or summary["market_rows"] == ROWS, summary["market_rows"]
        assert len(set(profits)) == 1, f"the checkouts end with profits of {profits}"
        warm = [[session(c, k, scale)[:2] for c, k in zip(checkouts, caches, strict=True)] for _ in range(repeats)]
        found["warm run"] = [
            (statistics.median(t[n][0] for t in warm), statistics.median(t[n][1] for t in warm))
            for n in range(len(checkouts))
        ]
        wall, _, _, told = session(checkouts[0], caches[0], scale, PARTS)
        parts = json.loads(told.rpartition("PARTS")[2])
    parts["feed and engine"] = parts.pop("session")
    parts["everything else"] = wall - sum(parts.values())
    return [Measure(path, *pairs[0], *(pairs[1] if len(pairs) > 1 else ())) for path, pairs in found.items()], parts


def set_up() -> list[Measure]:
    """``make setup`` and ``make run`` in a fresh copy of the last commit, with an empty cache."""
    measures = []
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "copy"
        copy.mkdir()
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x"], cwd=copy, input=archive, check=True)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        for path, target in (("set-up", ["setup"]), ("make run, first", ["run"]), ("make run, warm", ["run"])):
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            done = subprocess.run(
                ["make", *target, "ARGS=--unsigned"],
                check=False,
                cwd=copy,
                env=environment,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                sys.exit(f"make {target}: {done.stdout}{done.stderr}")
            wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            measures.append(Measure(path, wall, cpu))
    return measures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="few rows, one repeat")
    parser.add_argument("--setup", action="store_true", help="also make setup and make run in a fresh copy")
    parser.add_argument("--against", type=Path, help="another checkout, measured in the same run")
    given = parser.parse_args()
    checkouts = [ROOT, *([given.against.resolve()] if given.against else [])]
    measures, parts = measure(checkouts, given.quick)
    if given.setup:
        measures += set_up()
    if given.json:
        print(json.dumps({"measures": [asdict(one) for one in measures], "parts_of_a_warm_run_s": parts}))
        return
    print(f"{'path':<18}{'wall s':>9}{'CPU s':>9}{'other wall':>12}{'other CPU':>11}")
    for one in measures:
        other = f"{one.other_wall_s:>12.2f}{one.other_cpu_s:>11.2f}" if one.other_wall_s and one.other_cpu_s else ""
        print(f"{one.path:<18}{one.wall_s:>9.2f}{one.cpu_s:>9.2f}{other}")
    print("a warm run, wall s: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items()))


if __name__ == "__main__":
    main()
