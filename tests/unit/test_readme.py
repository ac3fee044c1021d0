"""Every command and every example that README.md shows is run as it stands there, in a folder of its own.

Fences marked ``sh`` run everywhere; ``sh shared`` needs the shared market data beside the checkout; ``sh dev`` and ``make`` work
on the checkout itself (they install and test it), so for them the target must exist.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from shared_data import SHARED

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
_FENCE = re.compile(r"^```(?P<mark>[^\n]*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
_TARGET = re.compile(r"^([\w-]+):", re.MULTILINE)
LIMIT_S = 300


def fences(mark):
    """The bodies of the code fences marked ``mark``, in order."""
    text = README.read_text(encoding="utf-8")
    return [found["body"] for found in _FENCE.finditer(text) if found["mark"].strip() == mark]


def commands(mark):
    """The commands of those fences, one a line, continued lines joined, comments left out."""
    joined = "\n".join(fences(mark)).replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def run(command, folder):
    """Run one line in ``folder`` with this environment's ``grandmodel`` first on the path."""
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160"}
    return subprocess.run(  # noqa: S602  the line is the README's own, run as a reader would run it
        command,
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def run_all(lines, folder):
    for line in lines:
        if shlex.split(line)[0] == "make":
            continue
        done = run(line, folder)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2_000:]}\n{done.stderr[-2_000:]}"


def test_the_readme_shows_commands_and_no_fence_of_an_unknown_kind():
    text = README.read_text(encoding="utf-8")
    marks = {found["mark"].strip() for found in _FENCE.finditer(text)}
    assert marks <= {"", "sh", "sh shared", "sh dev", "python"}
    assert any(line.startswith("grandmodel ") for line in commands("sh"))
    assert "make run" in commands("sh")


def test_every_make_target_of_the_readme_exists():
    targets = set(_TARGET.findall((REPOSITORY / "Makefile").read_text(encoding="utf-8")))
    shown = [shlex.split(line)[1] for mark in ("sh", "sh dev") for line in commands(mark) if line.startswith("make ")]
    assert shown
    assert set(shown) <= targets


def test_every_file_that_the_readme_links_to_exists():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (REPOSITORY / link).exists()]
    assert missing == []


@pytest.mark.slow
def test_every_command_of_the_readme_runs(tmp_path):
    run_all(commands("sh"), tmp_path)


@pytest.mark.slow
@pytest.mark.shared
def test_every_command_on_shared_data_runs(tmp_path):
    if not SHARED.exists():
        pytest.skip("shared data is absent: ../shared")
    (tmp_path / "shared").symlink_to(SHARED)
    (tmp_path / "checkout").mkdir()
    run_all(commands("sh shared"), tmp_path / "checkout")


@pytest.mark.slow
def test_every_python_example_of_the_readme_runs(tmp_path):
    for number, body in enumerate(fences("python")):
        script = tmp_path / f"example_{number}.py"
        script.write_text(body, encoding="utf-8")
        done = run(f"{shlex.quote(sys.executable)} {script.name}", tmp_path)
        assert done.returncode == 0, f"{body}\n{done.stderr[-2_000:]}"
