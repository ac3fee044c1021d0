"""The registry survives SIGKILL at any line of the code that writes, a full disk, and several processes that change it at once."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).with_name("registry_crash_tool.py")


def run(folder: Path, *arguments: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, str(TOOL), str(folder), *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: int(count) for name, count in (part.split("=") for part in done.stdout.split())}


def test_a_kill_before_any_line_of_the_code_that_writes_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    outcomes = run(tmp_path, "every")
    assert outcomes["add_before"] >= 20
    assert outcomes["promote_before"] >= 10
    assert outcomes["promote_after"] >= 1


def test_a_full_disk_is_an_error_that_leaves_the_registry_as_it_was(tmp_path: Path) -> None:
    outcomes = run(tmp_path, "full")
    assert outcomes["add_refused"] == outcomes["add_before"] == 6
    assert outcomes["promote_refused"] == outcomes["promote_before"] >= 3


def test_of_changes_at_once_each_is_on_the_record_exactly_once(tmp_path: Path) -> None:
    outcomes = run(tmp_path, "race", "4")
    assert outcomes["changes"] >= 20
