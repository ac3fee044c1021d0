"""The fenced code of a Markdown page, and how each kind of fence is run, as a reader would run it.

Fences marked ``sh`` run everywhere; ``sh shared`` needs the shared market data beside the checkout; ``sh dev`` works on the
checkout itself (it installs, tests or takes long), so for it the target or the file must exist. ``python``, ``sql`` (DuckDB) and
``toml`` (an import profile) are run and read too. Output, trees and formulas stand in fences without a mark.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
MARKS = {"", "sh", "sh shared", "sh dev", "python", "sql", "toml"}
LIMIT_S = 300
_FENCE = re.compile(r"^```(?P<mark>[^\n]*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)


def fences(page: Path) -> list[tuple[str, str]]:
    """(mark, body) of each fence of ``page``, in order."""
    text = page.read_text(encoding="utf-8")
    return [(found["mark"].strip(), found["body"]) for found in _FENCE.finditer(text)]


def commands(body: str) -> list[str]:
    """The commands of one fence, one a line, continued lines joined, comments left out."""
    lines = [line.strip().removeprefix("$ ") for line in body.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one line in ``folder`` with this environment's ``grandmodel`` first on the path."""
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160"}
    return subprocess.run(  # noqa: S602  the line is the page's own, run as a reader would run it
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def run_all(lines: list[str], folder: Path) -> None:
    """Run each line, ``make`` apart; fails with the end of what it said."""
    for line in lines:
        if shlex.split(line)[0] == "make":
            continue
        done = run(line, folder)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2_000:]}\n{done.stderr[-2_000:]}"


def run_python(body: str, folder: Path, number: int) -> None:
    """Run one Python fence as a script of its own in ``folder``."""
    script = folder / f"example_{number}.py"
    script.write_text(body, encoding="utf-8")
    done = run(f"{shlex.quote(sys.executable)} {script.name}", folder)
    assert done.returncode == 0, f"{body}\n{done.stderr[-2_000:]}"
