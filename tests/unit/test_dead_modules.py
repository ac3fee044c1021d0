"""Every module is imported by another one, or stands in the list below with the reason why it need not be.

An import by a test does not count: code that only tests use is code that nobody runs.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_imports import SOURCE, graph, modules, plant

sys.path.pop(0)

REPOSITORY = SOURCE.parent
ENTRY_POINTS = {
    "grandmodel.__main__": "python -m grandmodel",
    "grandmodel.cli.main": "the command itself: [project.scripts] of pyproject.toml",
}
_NOUN = re.compile(r'"[\w-]+":\s*"(grandmodel\.cli\.[\w.]+)"')
_NAMED = re.compile(r"grandmodel(?:\.\w+)+")


def imported_by_others(arrows):
    """Every module that another one imports; a package's ``__init__`` re-exporting its own module does not count alone."""
    found = set()
    for name, imported in arrows.items():
        for other in imported:
            if not other.startswith(f"{name}.") or name.count(".") == 0:
                found.add(other)
    exported = {other for name, imported in arrows.items() for other in imported if other.startswith(f"{name}.")}
    for package in [one for one in found if one in arrows]:
        found |= {other for other in exported if other.startswith(f"{package}.") and other in arrows[package]}
    return found


def dead(source=SOURCE, entry_points=ENTRY_POINTS, alive=()):
    arrows = graph(source)
    packages = {name for name, path in modules(source).items() if path.name == "__init__.py"}
    return sorted(set(arrows) - imported_by_others(arrows) - packages - set(entry_points) - set(alive))


def nouns():
    """The modules that the command loads by name."""
    return set(_NOUN.findall((SOURCE / "grandmodel/cli/main.py").read_text(encoding="utf-8")))


def run_by_the_repository():
    """Modules that an example, a benchmark, a script of the docs or the Makefile uses: what users do."""
    files = [REPOSITORY / "Makefile"]
    for folder in ("examples", "benchmarks", "docs"):
        files += (REPOSITORY / folder).rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.is_file())
    return {name for name in _NAMED.findall(text) if name in modules()}


PUBLIC = {
    # Contracts that are relied on from outside (the design's [fixed] names).
    "grandmodel.risk.var": "design 5.6: relied on from outside",
    "grandmodel.risk.backtests": "design 5.6: relied on from outside",
    "grandmodel.training.mappo": "design 5.5: relied on from outside",
    # Chosen by a word to a function that is relied on from outside.
    "grandmodel.training.environments.engine_form": "over_engine=True of training.strategic_env and tactical_env",
}


WAITING = {
    "grandmodel.execution.brokers.errors": "raised by brokers, which satisfy runtime.recovery.Broker; no command runs one yet",
    "grandmodel.risk.controls": "a list for people, held complete by a test; no report prints it yet",
    "grandmodel.training.account_walk": "strategies below a desk, for whoever tries them; no command offers it yet",
    "grandmodel.training.distributed": "rollouts on Ray, chosen by whoever trains; no command offers it yet",
}
"""Modules that nothing uses yet, each with what it waits for. A line goes as soon as its module is used."""


def unused():
    return dead(alive=nouns() | run_by_the_repository() | set(PUBLIC))


def test_every_module_is_used_or_waits_for_a_named_user():
    assert sorted(set(unused()) - set(WAITING)) == []


def test_no_module_waits_that_is_used():
    assert sorted(set(WAITING) - set(unused())) == []


def test_the_list_of_entry_points_holds_only_modules_that_exist():
    assert set(ENTRY_POINTS) <= set(modules())


def test_every_noun_of_the_command_exists():
    assert nouns()
    assert nouns() <= set(modules())


def test_a_planted_dead_module_is_found(tmp_path):
    plant(
        tmp_path,
        {
            "__init__.py": "",
            "cli/main.py": "import grandmodel.risk.used\n",
            "risk/__init__.py": "",
            "risk/used.py": "",
            "risk/unused.py": "import grandmodel.risk.used\n",
        },
    )
    assert dead(tmp_path) == ["grandmodel.risk.unused"]
