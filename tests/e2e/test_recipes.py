"""The recipes of docs/contributing, done: each is applied to a copy of the package, and what it adds works there.

A recipe is a file of edits, ``tests/recipes/NAME.toml``, and a program that shows the added thing at work, ``NAME.py``. Where an edit no longer
fits, the code has moved: mend the edit, and the recipe's words if they are wrong now.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = REPOSITORY / "tests/recipes"
TOUCHED = {"check": 2, "order_type": 4, "column": 3, "agent": 1, "venue": 1}
"""Files that each recipe changes or adds before it comes to tests of its own."""


def edited(text, edit):
    """``text`` with one edit: ``before``, ``behind`` or ``instead`` of what stands ``at`` once."""
    at = edit["at"]
    assert text.count(at) == 1, f"{edit['file']}: found {text.count(at)} times {at!r}, expected it once"
    put = edit.get("before", "") + (edit.get("instead", at)) + edit.get("behind", "")
    return text.replace(at, put)


def apply(recipe, copy):
    """Apply the edits of ``recipe`` below ``copy``; the files touched."""
    touched = set()
    for edit in tomllib.loads((RECIPES / f"{recipe}.toml").read_text(encoding="utf-8"))["edit"]:
        file = copy / edit["file"]
        if "text" in edit:
            assert not file.exists(), f"{edit['file']}: there is one already"
            file.write_text(edit["text"], encoding="utf-8")
        else:
            file.write_text(edited(file.read_text(encoding="utf-8"), edit), encoding="utf-8")
        touched.add(edit["file"])
    return touched


def copied(folder):
    """The package, its tests and its pages, to be changed."""
    for part in ("src", "tests", "docs"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    return folder


def proven(recipe, copy, touched):
    """The program of ``recipe``, run where it was applied."""
    env = os.environ | {"PYTHONPATH": f"{copy / 'src'}:{copy / 'tests'}", "XDG_CACHE_HOME": str(copy / "cache")}
    if not any(file.startswith("src/") for file in touched):  # The package itself, whose kernels are compiled already.
        env = os.environ | {"PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY / 'tests'}"}
    return subprocess.run(
        [sys.executable, RECIPES / f"{recipe}.py"], env=env, cwd=copy, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize("recipe", TOUCHED)
def test_a_recipe_is_done_in_as_few_files_as_it_says_and_what_it_adds_works(recipe, tmp_path):
    copy = copied(tmp_path)
    touched = apply(recipe, copy)
    assert len(touched) == TOUCHED[recipe]
    done = proven(recipe, copy, touched)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("recipe", "right", "wrong"),
    [
        ("venue", "if request.request_id in self.known_requests():", "if not request.request_id:"),
        ("venue", "if report.exec_id > exec_id", "if report.exec_id >= exec_id"),
        ("agent", "lots=1 if bar.close > bar.open else -1", "lots=1"),
    ],
)
def test_one_done_wrong_is_found(recipe, right, wrong, tmp_path):
    copy = copied(tmp_path)
    touched = apply(recipe, copy)
    (file,) = touched
    text = (copy / file).read_text(encoding="utf-8")
    assert text.count(right) == 1
    (copy / file).write_text(text.replace(right, wrong), encoding="utf-8")
    done = proven(recipe, copy, touched)
    assert "AssertionError" in done.stderr, done.stderr
