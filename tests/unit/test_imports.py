"""Imports go one way: every module's imports, type-only and function-local ones included, follow the rooms of the design."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
PACKAGE = "grandmodel"

BELOW = {
    # Under every room (docs/adr/0002-charts-below-the-rooms.md).
    "domain": {"kernels"},
    "kernels": set(),
    "charts": set(),
}
BELOW["data"] = {"domain", "kernels", "charts"}
BELOW["features"] = {"domain", "kernels", "charts"}
BELOW["models"] = BELOW["features"] | {"data", "features"}
# Ratios, drawdown and the periods of a year: whoever shows a result asks this room.
BELOW["performance"] = {"domain", "kernels"}
BELOW["risk"] = {"domain", "features", "kernels", "charts", "performance"}
# The agents size with risk's own functions (docs/adr/0006-training-rests-on-the-engine.md).
BELOW["strategic"] = BELOW["tactical"] = BELOW["models"] | {"models", "risk"}
BELOW["execution"] = BELOW["journal"] = BELOW["monitoring"] = BELOW["security"] = {"domain", "kernels", "charts"}
# The account is one for the engine and for training: wishes to orders, fills to books.
BELOW["account"] = {"domain", "kernels", "risk"}
# The venue takes the orders of execution; the market that it trades is drawn from the sessions of data.
BELOW["simulation"] = {"domain", "kernels", "charts", "data", "execution"}
_ROOMS = set(BELOW)
BELOW["runtime"] = set(_ROOMS)
# The environments run the engine itself (docs/adr/0006-training-rests-on-the-engine.md).
BELOW["training"] = _ROOMS | {"runtime"}
BELOW["research"] = BELOW["training"] | {"training"}
BELOW["api"] = _ROOMS | {"runtime"}
BELOW["cli"] = BELOW["research"] | {"research", "api"}
BELOW["__main__"] = BELOW["cli"] | {"cli"}
"""Room to the rooms that it may import, itself aside: the arrows of the design's section 4, spelled out.

``domain <- data, features``: both rest on domain, neither on the other. Risk and execution never import an agent (strategic,
tactical), nor each other.
"""


def module_name(path, source=SOURCE):
    parts = list(path.relative_to(source).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(source=SOURCE):
    return {module_name(path, source): path for path in sorted((source / PACKAGE).rglob("*.py"))}


def imports_of(path, known, name):
    """The package's modules that ``path`` imports, at any depth of the file, whatever guards them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*own[: len(own) - node.level + 1], *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        else:
            continue
        found |= {one for one in names if one == PACKAGE or one.startswith(f"{PACKAGE}.")}
    return found - {name}


def graph(source=SOURCE):
    known = modules(source)
    return {name: imports_of(path, known, name) for name, path in known.items()}


def room_of(name):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def wrong_arrows(arrows):
    """(module, imported) for every import that points the wrong way."""
    wrong = []
    for name, imported in arrows.items():
        room = room_of(name)
        for other in imported:
            target = room_of(other)
            if target in ("", room):
                continue  # the package itself holds its version and nothing else
            if room == "" or target not in BELOW.get(room, set()):
                wrong.append((name, other))
    return sorted(wrong)


def cycles(arrows):
    """One path for every cycle of modules that a walk in depth meets."""
    found, done, path = [], set(), []

    def visit(name):
        if name in path:
            found.append([*path[path.index(name) :], name])
            return
        if name in done or name not in arrows:
            return
        path.append(name)
        for other in sorted(arrows[name]):
            visit(other)
        path.pop()
        done.add(name)

    for name in sorted(arrows):
        visit(name)
    return found


def test_every_import_goes_the_way_of_the_design():
    assert wrong_arrows(graph()) == []


def test_no_modules_import_each_other_in_a_ring():
    assert cycles(graph()) == []


def test_every_room_on_disk_is_a_room_of_the_design():
    on_disk = {room_of(name) for name in modules()} - {""}
    assert on_disk <= set(BELOW) | {"__main__"}


def test_the_graph_sees_the_imports_it_should():
    """A check of the check: known arrows of several kinds are in the graph."""
    arrows = graph()
    assert "grandmodel.domain.ledger" in arrows["grandmodel.runtime.books"]
    assert "grandmodel.simulation.models" in arrows["grandmodel.runtime.market_step"]  # only for types
    assert any(room_of(other) == "runtime" for other in arrows["grandmodel.cli.run"])  # inside a function
    assert len(arrows) > 100


@pytest.mark.parametrize(
    ("path", "text", "wrong"),
    [
        ("risk/a.py", "from grandmodel.tactical import baselines\n", "grandmodel.tactical"),
        ("execution/a.py", "def f():\n    from grandmodel.strategic import b\n    return b\n", "grandmodel.strategic"),
        (
            "domain/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import grandmodel.data.b\n",
            "grandmodel.data.b",
        ),
        ("charts/a.py", "from grandmodel.domain.ids import RunId\n", "grandmodel.domain.ids"),
        ("kernels.py", "import grandmodel.domain\n", "grandmodel.domain"),
        ("models/a.py", "from ..runtime import engine\n", "grandmodel.runtime"),
        ("runtime/a.py", "import importlib\nimportlib.import_module('grandmodel.cli.main')\n", "grandmodel.cli.main"),
    ],
)
def test_a_planted_wrong_arrow_is_found(tmp_path, path, text, wrong):
    plant(tmp_path, {path: text})
    assert [other for _, other in wrong_arrows(graph(tmp_path))] == [wrong]


def test_a_planted_ring_is_found(tmp_path):
    plant(
        tmp_path,
        {
            "risk/a.py": "from grandmodel.risk import b\n",
            "risk/b.py": "import grandmodel.risk.c\n",
            "risk/c.py": "from .a import x\n",
        },
    )
    assert cycles(graph(tmp_path)) == [
        ["grandmodel.risk.a", "grandmodel.risk.b", "grandmodel.risk.c", "grandmodel.risk.a"]
    ]


def plant(folder, files):
    contents = defaultdict(str, files)
    for name in files:
        target = folder / PACKAGE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(contents[name], encoding="utf-8")
