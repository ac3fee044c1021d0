"""Kill a process that imports into a store, at every file operation or at random instants, and look at what is left.

Run as a program: ``store_crash_tool.py FOLDER every`` (SIGKILL before the 1st, 2nd, 3rd ... file operation), ``random COUNT SEED``
(SIGKILL after a random time) or ``full`` (a limit on the size of files stands for a full disk). Each trial starts from a
store with one source in it and writes a second one that replaces nothing, changes one month and adds another. Prints how
many trials ended with the store as before and how many with the whole write done; anything else is an error.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from grandmodel.data.errors import StoreError
from grandmodel.data.historical.store import Store
from grandmodel.domain.blocks import Block, Schema, empty_block
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import THIRTY_MINUTES_NS, ns_from_text

NQ = BUILT_IN[InstrumentId("NQ")]
MOST_OPERATIONS = 400
UNEXPECTED, REFUSED = 70, 71


def _bars(start: str, count: int) -> Block:
    block = empty_block(Schema.BARS, count)
    block["ts_open"] = ns_from_text(start) + np.arange(count) * THIRTY_MINUTES_NS
    block["ts_event"] = block["ts_init"] = block["ts_open"] + THIRTY_MINUTES_NS
    for name in ("open", "high", "low", "close"):
        block[name] = 60_000 + np.arange(count)
    block["volume"] = 100
    return block


OLD = _bars("2024-01-02", 1_000)
NEW = _bars("2024-01-02", 2_500)


def _state(root: Path) -> str:
    """A hash of everything that the store holds, after it has put itself in order; leftovers count too."""
    store = Store(root)
    assert store.check() == []
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != ".lock":
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        code = 0
        try:
            work()
        except StoreError:
            code = REFUSED
        except BaseException:  # noqa: BLE001  (the child reports and ends, whatever it was)
            traceback.print_exc()
            code = UNEXPECTED
        os._exit(code)
    return child


def _wait(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _write(root: Path) -> None:
    # The same source wrote the first part: January is replaced, February is new, and so is the manifest.
    Store(root).write(NQ, Schema.BARS, NEW, "a.csv")


def _kill_at_operation(root: Path, number: int) -> None:
    seen = 0

    def count(event: str, _: tuple[object, ...]) -> None:
        nonlocal seen
        if event in {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.scandir"}:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    _write(root)


def main() -> None:
    """Run the trials that the arguments ask for."""
    folder, mode, *rest = sys.argv[1:]
    pa.set_cpu_count(1)
    root, template = Path(folder) / "store", Path(folder) / "template"
    Store(template).write(NQ, Schema.BARS, OLD, "a.csv")
    done = Path(folder) / "done"
    shutil.copytree(template, done)
    _write(done)
    before, after = _state(template), _state(done)
    assert before != after
    names = {before: "before", after: "after"}
    outcomes: Counter[str] = Counter()

    def trial(run: Callable[[], int]) -> int:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(template, root)
        code = run()
        assert code != UNEXPECTED, "the import failed in an unexpected way"
        outcomes[names[_state(root)]] += 1
        # Whatever happened, the import can be run again and ends where it should.
        _write(root)
        assert _state(root) == after
        return code

    if mode == "every":
        for number in range(1, MOST_OPERATIONS):
            if trial(lambda number=number: _wait(_in_child(lambda: _kill_at_operation(root, number)))) == 0:
                break
        else:
            raise AssertionError("the write never ended")
    elif mode == "random":
        dice = random.Random(int(rest[1]))
        for _ in range(int(rest[0])):

            def killed() -> int:
                child = _in_child(lambda: _write(root))
                time.sleep(dice.uniform(0.0, 0.04))
                os.kill(child, signal.SIGKILL)
                return _wait(child)

            trial(killed)
    else:
        for limit in (0, 1, 200, 5_000, 20_000, 40_000):

            def full(limit: int = limit) -> int:
                def work() -> None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                    _write(root)

                return _wait(_in_child(work))

            code = trial(full)
            outcomes["refused" if code == REFUSED else "written"] += 1
    print(" ".join(f"{name}={count}" for name, count in sorted(outcomes.items())))


if __name__ == "__main__":
    main()
