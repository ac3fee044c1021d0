"""Every command and every example that README.md shows is run as it stands there, in a folder of its own."""

import re
import shlex

import pytest

import fences
from shared_data import SHARED

README = fences.REPOSITORY / "README.md"
_TARGET = re.compile(r"^([\w-]+):", re.MULTILINE)


def commands(mark):
    """The commands of the README's fences of one mark."""
    return [line for kind, body in fences.fences(README) if kind == mark for line in fences.commands(body)]


def test_the_readme_shows_commands_and_no_fence_of_an_unknown_kind():
    assert {mark for mark, _ in fences.fences(README)} <= fences.MARKS
    assert any(line.startswith("grandmodel ") for line in commands("sh"))
    assert "make run" in commands("sh")


def test_every_make_target_of_the_readme_exists():
    targets = set(_TARGET.findall((fences.REPOSITORY / "Makefile").read_text(encoding="utf-8")))
    shown = [shlex.split(line)[1] for mark in ("sh", "sh dev") for line in commands(mark) if line.startswith("make ")]
    assert shown
    assert set(shown) <= targets


def test_every_file_that_the_readme_links_to_exists():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (fences.REPOSITORY / link).exists()]
    assert missing == []


@pytest.mark.slow
def test_every_command_of_the_readme_runs(tmp_path):
    fences.run_all(commands("sh"), tmp_path)


@pytest.mark.slow
@pytest.mark.shared
def test_every_command_on_shared_data_runs(tmp_path):
    if not SHARED.exists():
        pytest.skip("shared data is absent: ../shared")
    (tmp_path / "shared").symlink_to(SHARED)
    (tmp_path / "checkout").mkdir()
    fences.run_all(commands("sh shared"), tmp_path / "checkout")


@pytest.mark.slow
def test_every_python_example_of_the_readme_runs(tmp_path):
    for number, body in enumerate(body for mark, body in fences.fences(README) if mark == "python"):
        fences.run_python(body, tmp_path, number)
