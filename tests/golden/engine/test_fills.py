"""A small fixed run fills as it always did; ``make_fills.py`` says how to remake the file and what that means."""

import runpy
from pathlib import Path


def test_the_fills_of_the_fixed_run_are_those_written_down():
    made = runpy.run_path(str(Path(__file__).with_name("make_fills.py")))
    expected = made["GOLDEN"].read_text(encoding="utf-8").splitlines()
    assert len(expected) > 40
    assert made["lines"]() == expected
