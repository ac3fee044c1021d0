"""``grandmodel compile``: machine code for this processor, before the first run needs it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer

from grandmodel.cli.output import JsonFlag, console, print_json
from grandmodel.domain.errors import OperatingError


def compile_command(
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="How many compile at once; default: one per processor.")
    ] = None,
    part: Annotated[str | None, typer.Option("--part", help="Only this part, in this process.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compile what `grandmodel run` needs, in several processes; what is compiled already is only read.

    The machine code lies in the cache folder (XDG_CACHE_HOME, else ~/.cache, below grandmodel/kernels), for this version of the
    source, of numba and for this processor. `grandmodel run` alone would compile the same, one after the other.
    """
    began = time.perf_counter()
    if part is not None:
        from grandmodel.runtime.compiling import compile_part

        compile_part(part)
        done = {part: time.perf_counter() - began}
    else:
        from grandmodel.runtime.compiling import PARTS

        with ThreadPoolExecutor(processes or os.cpu_count() or 1) as pool:
            done = dict(zip(PARTS, pool.map(_apart, PARTS), strict=True))
    took = time.perf_counter() - began
    if as_json:
        print_json({"seconds": took, "parts": done})
    else:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in done.items())
        console.print(f"compiled in {took:.1f} s ({parts})", soft_wrap=True)


def _apart(part: str) -> float:
    """Compile one part in a process of its own; how long it took."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "grandmodel", "compile", "--part", part]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  this program
    if done.returncode:
        raise OperatingError(f"compile: part {part} failed: {done.stderr.strip()}")
    return time.perf_counter() - began
