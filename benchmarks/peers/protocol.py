"""How ``run_peers.py`` talks with one process per library: a line asks for a job, a line of JSON answers.

Runs in every library's own environment, so it imports the standard library and numpy alone. Data lies in a folder:

- ``bars.npy``: columns opened (ns UTC), open, high, low, close in ticks, volume; int64 (T, 6),
- ``rows.npy``: columns ts (ns UTC), is_trade, bid, ask (ticks), price (ticks, 0 on quotes), size, is_buy; int64 (N, 7).
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

TICK_SIZE = 0.25
MULTIPLIER = 20
FEE = 2.25
FAST, SLOW = 10, 40
CASH = 1_000_000_000
HALF_HOUR_NS = 1_800_000_000_000

Answer = dict[str, object]


def load(name: str) -> np.ndarray:
    """An array of the folder that the first argument names."""
    return np.load(Path(sys.argv[1]) / f"{name}.npy")


def timed(run: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds of this process, all its threads, in ``run``; and what it returned."""
    gc.collect()
    gc.disable()
    began = time.process_time()
    result = run()
    seconds = time.process_time() - began
    gc.enable()
    return seconds, result


def serve(jobs: Mapping[str, Callable[[], Answer]], version: str) -> None:
    """Say which jobs there are, then do one for every line that comes in."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # What a library prints is not an answer.
    print(json.dumps({"version": version, "jobs": list(jobs)}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(jobs[line.strip()]()), file=answers, flush=True)
