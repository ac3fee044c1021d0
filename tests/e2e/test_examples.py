"""Each example runs as a user would run it, and trades."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_trades(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example), str(tmp_path / "run")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    fills = re.search(r"(\d+) fills", done.stdout)
    assert fills is not None, done.stdout
    assert int(fills.group(1)) > 0, done.stdout
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
