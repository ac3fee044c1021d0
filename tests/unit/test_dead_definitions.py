"""Every function, class, method and constant of the package is named somewhere else in it, or stands below with the reason why not.

A use by a test or a benchmark does not count: code that only tests run is code that nobody needs. Uses are counted by
name, outside the definition itself and outside imports; a name in a text counts where the text is that name and nothing else
(a table of names, ``getattr``). So a dead method hides behind a living one of the same name; all others are found. Fields of
records and members of enums are left out: data names them.
"""

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_imports import SOURCE, plant

sys.path.pop(0)

REPOSITORY = SOURCE.parent
PACKAGE = SOURCE / "grandmodel"
_DOTTED = re.compile(r"[A-Za-z_][\w.]*")


def names_in(tree):
    """(name, line) of every use of a name in ``tree``, imports left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, node.value.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            for part in node.value.split("."):
                yield part, node.lineno


def definitions_in(body, owner=""):
    """(name with its class, first line, last line) of the functions, classes, methods and constants of ``body``."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
            if not is_registered(node):
                yield owner + node.name, first, node.end_lineno
            if isinstance(node, ast.ClassDef):
                yield from definitions_in(node.body, f"{owner}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not owner:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in [one.id for one in ast.walk(target) if isinstance(one, ast.Name)]:
                    yield name, node.lineno, node.end_lineno
        elif isinstance(node, ast.If | ast.Try):
            yield from definitions_in([*node.body, *node.orelse], owner)


def is_registered(node):
    """Whether somebody else calls it by another way than its name: a command, or what Python calls by itself."""
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    by_mark = any(re.match(r"app\.(command|callback)\b|.*\.setter$", mark) for mark in marks)
    return by_mark or (node.name.startswith("__") and node.name.endswith("__"))


def used_by_scripts():
    """Names in the examples, the scripts of the docs and of the shipped models: what users run."""
    files = [file for folder in ("examples", "docs", "models") for file in (REPOSITORY / folder).rglob("*.py")]
    return {name for file in files for name, _ in names_in(ast.parse(file.read_text(encoding="utf-8")))}


def dead(package=PACKAGE, alive=frozenset()):
    """``module:Name`` of every definition of ``package`` that nothing in it names and that is not in ``alive``."""
    uses, defined = defaultdict(list), []
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, line in names_in(tree):
            uses[name].append((path, line))
        defined += [(path, *one) for one in definitions_in(tree.body)]
    found = []
    for path, name, first, last in defined:
        short = name.rpartition(".")[2]
        elsewhere = [1 for file, line in uses[short] if file != path or not first <= line <= last]
        if not elsewhere and short not in alive and not re.fullmatch(r"__\w+__|_", short):
            found.append(f"{path.relative_to(package).with_suffix('').as_posix().replace('/', '.')}:{name}")
    return sorted(found)


def indicators():
    """The indicators for agents of one's own, each in its batch and streaming form: what the page of features promises."""
    page = (REPOSITORY / "docs/concepts/features.md").read_text(encoding="utf-8")
    table = page.partition("## The indicators for agents of your own")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)\.py` \|", table, re.MULTILINE)
    assert len(rows) > 20
    return {f"features.{module}:{name}{form}" for name, module in rows for form in ("", "_state", "_update")}


FIXED = {
    "risk.var:filtered_historical": "design 5.6, one of the four kinds of value at risk",
    "risk.var:incremental": "design 5.6",
    "risk.var:monte_carlo": "design 5.6, one of the four kinds of value at risk",
    "models.superposition:superpose": "design 5.4",
    "models.superposition:collapse_by_draw": "design 5.4, the collapse of training",
    "models.superposition:tactical_stances": "design 5.4",
}
"""Relied on from outside: the names that the design fixes."""

CHOSEN = {
    "training.progress:ProgressLine": "whoever trains chooses it; docs/models/mappo.md",
    "training.progress:MlflowLog": "whoever trains chooses it; docs/models/mappo.md",
    "training.distributed:RayBatch": "whoever trains chooses it; docs/models/mappo.md",
    "models.inference:CompiledModel.point_batch": "whoever scores a history; docs/models/inference.md",
    "data.historical.rolls:roll_rows": "whoever reads adjusted prices; docs/reference/data-import.md",
    "data.historical.rolls:back_adjust": "whoever reads adjusted prices; docs/reference/data-import.md",
    "runtime.session:Session.refresh_model": "whoever runs a session from code; docs/concepts/decisions.md",
    "risk.ladder:revalue_on_ladder": "whoever holds options hands it to var.monte_carlo; bench risk measures it",
    "execution.brokers.errors:BrokerUnavailableError": "raised by brokers, which satisfy runtime.recovery.Broker",
    "risk.controls:CONTROLS": "the list of controls for people, held complete by a test",
    "risk.controls:TRIGGERS": "the list of controls for people, held complete by a test",
    "training.account_walk:walk_accounts": "whoever tries strategies below a desk; docs/models/environments.md",
    "runtime.market_step:MarketStep.closed_rows": "whoever walks the market step alone, as the benchmarks do",
    "kernels:_Cache.load_overload": "numba calls it",
    "kernels:_Callee.add_overload": "numba calls it",
    "kernels:_EntryLibrary._optimize_final_module": "numba calls it",
    "kernels:_Kernel.get_overload": "numba calls it",
    "kernels:_Kernel.is_compiling": "numba asks it",
    "kernels:_OwnCompiler._compile_core": "numba calls it",
    "kernels:_Stored.rebuild": "numba calls it",
    "kernels:_ArrayTableAttribute.generic_resolve": "numba calls it",
    "training.environments.batch:TradingBatch.reward_terms": "whoever trains reads them; docs/models/environments.md",
    "vectors:_VectorModel": "registered with numba",
}
"""Part of what the package offers, with who uses it."""

TO_GO = {
    "data.historical.readers.iex:iex_message_counts": "a test counts messages with it",
    "features.mlmi:mlmi_is_full": "tests ask it",
    "models.conformal:ConformalHistory.is_covered": "a test asks it",
    "risk.running:RunningRisk.row_is_complete": "tests ask it",
    "simulation.models:LatencyModel": "a shape that nothing is declared to have",
    "simulation.models:SlippageModel": "a shape that nothing is declared to have",
    "training.lanes:walk_targets": "a test walks with it",
}
"""Not needed: each goes with the next change of its module."""


def test_every_definition_is_named_somewhere_else_or_has_its_reason():
    assert sorted(set(dead(alive=used_by_scripts())) - set(FIXED) - set(CHOSEN) - set(TO_GO) - indicators()) == []


def test_no_reason_stands_for_what_is_used_or_gone():
    found = set(dead(alive=used_by_scripts()))
    assert sorted((set(FIXED) | set(CHOSEN) | set(TO_GO)) - found) == []


def test_planted_dead_definitions_are_found(tmp_path):
    plant(
        tmp_path,
        {
            "a.py": (
                "LIMIT = 3\nUSED = 4\n\ndef recurse(n):\n    return recurse(n - 1) + USED\n\n"
                "class Kept:\n    def unused(self):\n        pass\n\n    def __len__(self):\n        return 0\n\n"
                "@app.command('x')\ndef command():\n    pass\n\nNAMES = {'Kept'}\nprint(NAMES)\n"
            ),
            "b.py": "from grandmodel.a import LIMIT\n__all__ = ['LIMIT']\n",
        },
    )
    assert dead(tmp_path / "grandmodel") == ["a:Kept.unused", "a:recurse"]
