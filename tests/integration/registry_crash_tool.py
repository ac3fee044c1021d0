"""Kill a process that changes a registry, fill its disk, or let several change it at once, and look at what is left.

Run as a program: ``registry_crash_tool.py FOLDER every`` (SIGKILL before the 1st, 2nd, 3rd ... file operation of an ``add`` and
of a ``promote``), ``full`` (a limit on the size of files stands for a full disk) or ``race PROCESSES`` (so many promote at once).
Each trial starts from a registry with two models, one of them live. Prints what came out; anything unexpected is an error.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np

from grandmodel.features.normaliser import NormaliserData
from grandmodel.features.schema import STRATEGIC_SCHEMA
from grandmodel.models import storage
from grandmodel.models.architecture import strategic_architecture
from grandmodel.models.errors import RegistryError
from grandmodel.models.model_file import DataSpan, DataSpans, ModelManifest, model_bytes
from grandmodel.models.registry import Registry, Stage

MOST_LINES = 300
WRITING = {"create", "replace", "_writing", "_write", "_sync_folder"}
UNEXPECTED, REFUSED = 70, 71
BY = {"who": "tool", "why": "trial"}


def model(seed: int) -> bytes:
    """A small strategic model."""
    architecture, columns = strategic_architecture(), len(STRATEGIC_SCHEMA.columns)
    generator = np.random.default_rng(seed)
    manifest = ModelManifest(
        layer="strategic",
        architecture=architecture,
        schema_hash=STRATEGIC_SCHEMA.hash,
        volume="known",
        normaliser=NormaliserData(
            schema_hash=STRATEGIC_SCHEMA.hash,
            centre=(0.0,) * columns,
            scale=(1.0,) * columns,
            train_from_ns=0,
            train_to_ns=1,
            rows=100,
        ),
        horizon_bars=8,
        scale_decay=0.985,
        mean_scale={"NQ": 31.5},
        data=DataSpans(instruments=("NQ",), train=DataSpan(start_ns=0, end_ns=1)),
        seeds=(seed,),
        settings={},
        code_version="0.1.0",
        metrics={"brier": 0.66},
    )
    shapes = architecture.shapes()
    return model_bytes(manifest, {name: generator.normal(size=shapes[name]).astype(np.float32) for name in shapes})


MODELS = [model(seed) for seed in range(3)]


def build(root: Path) -> list[str]:
    """A registry with a live model and a shadow one; their ids."""
    registry = Registry(root)
    live, shadow = (registry.add(content, at_ns=1, **BY) for content in MODELS[:2])
    registry.promote(live, "shadow", at_ns=2, **BY)
    registry.promote(live, "live", at_ns=3, **BY)
    registry.promote(shadow, "shadow", at_ns=4, **BY)
    return [live, shadow]


def state(root: Path) -> bytes:
    """Stages and history as a reader finds them; every model that is listed must be whole."""
    registry = Registry(root)
    assert not [entry.problem for entry in registry.entries() if entry.problem]
    found = registry.state("strategic")
    return msgspec.json.encode([found.stages, found.history])


def fork(work: Callable[[], object]) -> int:
    """Run ``work`` in a child; its process number."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            work()
        except (RegistryError, OSError):
            code = REFUSED
        except BaseException:  # noqa: BLE001  (the child reports and ends, whatever it was)
            traceback.print_exc()
            code = UNEXPECTED
        os._exit(code)
    return child


def wait(child: int) -> int:
    """The exit code of ``child``; negative where a signal ended it."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def kill_at(number: int, work: Callable[[], object]) -> None:
    """SIGKILL before the ``number``-th line of code that ``work`` runs while it writes."""
    seen = 0

    def count(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != storage.__file__ or frame.f_code.co_name not in WRITING:
            return None
        if event == "line":
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return count

    sys.settrace(count)
    work()


def main() -> None:
    """Run the trials that the arguments ask for."""
    folder, mode, *rest = sys.argv[1:]
    root, template = Path(folder) / "models", Path(folder) / "template"
    _, shadow = build(template)
    changes = {
        "add": lambda: Registry(root).add(MODELS[2], at_ns=5, card="# Card", **BY),
        "promote": lambda: Registry(root).promote(shadow, "live", at_ns=5, **BY),
    }
    outcomes: Counter[str] = Counter()

    def trial(name: str, run: Callable[[], int]) -> int:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(template, root)
        before = state(root)
        code = run()
        assert code != UNEXPECTED, "the change failed in an unexpected way"
        outcomes[f"{name}_{'before' if state(root) == before else 'after'}"] += 1
        changes[name]()  # whatever happened, it can be asked for again and then holds
        assert state(root) != before
        return code

    if mode == "every":
        for name, change in changes.items():
            for number in range(1, MOST_LINES):
                if trial(name, lambda n=number, c=change: wait(fork(lambda: kill_at(n, c)))) == 0:
                    break
            else:
                raise AssertionError(f"{name} never ended")
    elif mode == "full":
        for name, change in changes.items():
            for limit in (0, 1, 100, 300, 1_000, 20_000):

                def full(limit: int = limit, change: Callable[[], object] = change) -> int:
                    def work() -> None:
                        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                        change()

                    return wait(fork(work))

                outcomes[f"{name}_{'refused' if trial(name, full) == REFUSED else 'done'}"] += 1
    else:
        race(template, int(rest[0]), outcomes)
    print(" ".join(f"{name}={count}" for name, count in sorted(outcomes.items())))


def race(root: Path, processes: int, outcomes: Counter[str]) -> None:
    """All processes move the same two models up and down at once; every change must be on the record exactly once."""
    ready, go = os.pipe()
    counts: list[tuple[int, int]] = []

    def work(number: int, report: int) -> None:
        os.close(go)
        os.read(ready, 1)  # all wait for one start
        registry, generator, done = Registry(root), np.random.default_rng(number), 0
        ids = list(registry.state("strategic").stages)
        for step in range(20):
            try:
                stage = list(Stage)[int(generator.integers(3))]
                changed = registry.promote(
                    ids[int(generator.integers(2))], stage, at_ns=step, who=str(number), why="race"
                )
                done += changed is not None
            except RegistryError as error:
                if "one stage at a time" not in str(error):
                    raise
        os.write(report, done.to_bytes(4, "little"))

    children = []
    for number in range(processes):
        reader, writer = os.pipe()
        children.append((number, reader, fork(lambda n=number, w=writer: work(n, w))))
        os.close(writer)
    os.close(ready)
    os.close(go)
    for number, reader, child in children:
        assert wait(child) == 0
        counts.append((number, int.from_bytes(os.read(reader, 4), "little")))
    history = Registry(root).state("strategic").history
    recorded = Counter(change.who for change in history)
    for number, done in counts:
        assert recorded[str(number)] == done, (number, recorded, done)
    outcomes["changes"] = sum(done for _, done in counts)
    outcomes["processes"] = processes


if __name__ == "__main__":
    main()
