"""Sessions in processes of their own, killed with signal 9, and a disk that fills up. The long forms are the tools."""

import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from grandmodel.journal.format import JOURNAL_NAME, JournalReader
from grandmodel.journal.verification import verify_run

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


@pytest.mark.slow
def test_the_command_killed_three_times_and_resumed_ends_as_the_undisturbed_one():
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as base:
        calm, killed = Path(base) / "calm" / "r", Path(base) / "killed" / "r"
        status, expected = end_of(start_command("--out", calm.parent, "--name", "r"))
        assert status == 0
        kills = 0
        for records in (1, 40, 200, 1_000_000):
            begun = count_records(killed) > 0
            process = start_command(*(["--resume", killed] if begun else ["--out", killed.parent, "--name", "r"]))
            kills += kill_at(process, killed, records)
        status, summary = end_of(process)
        assert (status, kills) == (0, 3)
        assert verify_run(killed).intact
        assert verify_run(killed).root == verify_run(calm).root
        assert without_latency(summary) == without_latency(expected)


def start_command(*arguments):
    """``grandmodel run`` on a thin simulated market, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "grandmodel.cli.main",
        "run",
        "--row-scale",
        "0.05",
        "--json",
        *map(str, arguments),
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def end_of(process):
    out, _ = process.communicate(timeout=300)
    return process.returncode, json.loads(out)


def kill_at(process, folder, records):
    """Kill the process once its journal holds so many records; True where it was killed, False where it ended first."""
    descriptor = os.pidfd_open(process.pid)
    try:
        while not select.select([descriptor], [], [], 0.005)[0]:
            if count_records(folder) >= records:
                process.kill()
                process.communicate()
                return True
        return False
    finally:
        os.close(descriptor)


def count_records(folder):
    if not (folder / JOURNAL_NAME).exists():
        return 0
    with JournalReader.open(folder) as reader:
        return sum(1 for _ in reader.record_rows())


def without_latency(summary):
    return {name: value for name, value in summary.items() if "latency" not in name}
