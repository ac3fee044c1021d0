"""Sessions in processes of their own, killed with signal 9, and a disk that fills up. The long forms are the tools."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


MEMORY = Path("/dev/shm")  # noqa: S108 (a folder of its own is made there)
"""A kill does not care whether the folder lies on a disk; in memory nothing waits for one."""


def run_tool(name, *arguments):
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        return run_tool_in(folder, name, *arguments)


def run_tool_in(folder, name, *arguments):
    arguments = [*arguments, "--folder", folder]
    done = subprocess.run(
        [sys.executable, "-m", f"tests.tools.{name}", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["small", "real"])
def test_killed_sessions_end_as_the_undisturbed_one(engine):
    status, summary, errors = run_tool("kill_run", "--kills", "12", "--seed", "4", "--blocks", "20", "--engine", engine)
    assert (status, summary["problems"]) == (0, []), errors
    assert summary["kills"] == 12
    assert summary["requests"] > 30
    assert len(summary["kills_by_point"]) >= 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sabotage", "points", "finding"),
    [
        pytest.param(
            "send_first", ["before_commit", "inside_commit"], "which no committed record holds", id="send_first"
        ),
        pytest.param(
            "skip_resend", ["committed", "before_send"], "requests at the venue differ: lost", id="skip_resend"
        ),
    ],
)
def test_the_tool_finds_a_session_that_is_broken_on_purpose(sabotage, points, finding):
    status, summary, errors = run_tool(
        "kill_run", "--kills", "30", "--seed", "4", "--blocks", "20", "--sabotage", sabotage, "--only", *points
    )
    assert status == 1, errors
    assert any(finding in problem for problem in summary["problems"])


@pytest.mark.slow
def test_a_full_disk_stops_the_session_and_freeing_it_lets_it_go_on():
    status, summary, errors = run_tool("full_disk", "--limits", "150000", "600000")
    assert (status, summary["problems"]) == (0, []), errors
    stopped_at, later, whole = summary["records"]
    assert 0 < stopped_at < later < whole
    assert errors.count("free space or mend the disk") == 2
