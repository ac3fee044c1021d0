"""Worker processes that import nothing from the current folder, which may be a stranger's."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

_SAFE_PATH = "PYTHONSAFEPATH"


@contextmanager
def spawned_workers(
    workers: int, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of ``workers`` fresh processes; forked ones would inherit locks of torch's and numba's threads.

    A fresh Python looks for its first modules in the current folder, before it is told this process's import path. The variable that
    keeps it from that is set for them alone, as long as the pool is open.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer, initargs) as pool:
            yield pool
    finally:
        if before is None:
            os.environ.pop(_SAFE_PATH, None)
        else:
            os.environ[_SAFE_PATH] = before
