"""The store survives SIGKILL at any file operation and a full disk: it is as before, or wholly written."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).with_name("store_crash_tool.py")


def _run(folder: Path, *arguments: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, str(TOOL), str(folder), *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: int(count) for name, count in (part.split("=") for part in done.stdout.split())}


@pytest.mark.slow
def test_a_kill_before_any_file_operation_leaves_the_old_store_or_the_new_one(tmp_path: Path) -> None:
    outcomes = _run(tmp_path, "every")
    assert set(outcomes) == {"before", "after"}
    assert outcomes["before"] >= 10
    assert outcomes["after"] >= 3  # kills after the commit: the next opening finishes the work


def test_a_full_disk_is_an_error_that_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    outcomes = _run(tmp_path, "full")
    assert outcomes["refused"] == outcomes["before"]
    assert outcomes["refused"] >= 4


@pytest.mark.slow
def test_kills_at_random_instants_leave_the_old_store_or_the_new_one(tmp_path: Path) -> None:
    outcomes = _run(tmp_path, "random", "30", "7")
    assert sum(outcomes.values()) == 30
    assert set(outcomes) <= {"before", "after"}
