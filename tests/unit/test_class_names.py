"""One noun, one meaning: every class of the package has a name of its own, private and local ones included."""

import ast
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_imports import SOURCE, plant

sys.path.pop(0)

SHARED = {
    "Reading": "data.historical.reading has a file's rows, data.historical.zones one way to mean its times",
}
"""Names that two classes still have, with what each means; a line goes as soon as one is renamed."""


def classes(source=SOURCE):
    """Name to the modules that define a class so called."""
    found = defaultdict(list)
    for path in sorted((source / "grandmodel").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path.relative_to(source / "grandmodel").as_posix())
    return found


def test_every_class_has_a_name_of_its_own():
    assert {name: places for name, places in classes().items() if len(places) > 1 and name not in SHARED} == {}


def test_no_name_is_excused_that_one_class_has():
    found = classes()
    assert [name for name in SHARED if len(found[name]) < 2] == []


def test_a_planted_second_class_of_a_name_is_found(tmp_path):
    plant(tmp_path, {"risk/a.py": "class _Saved:\n    pass\n", "b.py": "def f():\n    class _Saved:\n        pass\n"})
    assert dict(classes(tmp_path)) == {"_Saved": ["b.py", "risk/a.py"]}
