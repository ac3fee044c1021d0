"""Break the money path one small step at a time, and see whether its own tests notice.

    python tests/tools/mutate.py                               every module of ``MODULES``, 60 mutants each, an hour on one core
    python tests/tools/mutate.py --module ledger --seed 2
    python tests/tools/mutate.py --module ledger --only ledger-17

A mutant is the source with one small change: ``<`` for ``<=``, ``+`` for ``-``, a constant one off, a statement left out. It is written
into a copy of the package in a temporary folder, where kernels run as plain Python (``plain_kernels.py``), and the module's own tests run on
it, with few drawn examples and fixed seeds. Tests that fail kill it; so does the time limit. One that lives is shown with its line: either a
test is missing, or the code is not needed, or nothing can tell the two apart, which stands in ``EQUIVALENT`` with the reason.

The tests must pass on the unchanged copy first. Which mutants are drawn follows from the source, the seed and the count alone. The exit
code is 1 where fewer than 95 % were killed, 2 where nothing could be said. ``docs/contributing/mutation.md`` tells how to read a run.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import itertools
import os
import queue
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "grandmodel"
PLAIN_KERNELS = Path(__file__).with_name("plain_kernels.py")
LIMIT_S = 60.0
LEAST_KILLED = 0.95
MAX_EXAMPLES = 40
"""Drawn examples of one property; the tests themselves draw more."""
MEMORY_BYTES = 4 * 2**30
"""For a mutant that makes ever more."""


class Suite(NamedTuple):
    """A module of the money path: its sources (below ``src/grandmodel``) and its own tests (below the checkout), quick ones first."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]


MODULES = {
    "ledger": Suite(
        ("account/ledger.py", "account/booking.py"),
        (
            "tests/unit/account/test_ledger.py",
            "tests/property/test_ledger.py",
            "tests/property/test_account_events.py::test_the_ledger_is_that_of_exact_fractions",
            "tests/property/test_account_events.py::test_the_nearest_tick_is_that_of_round",
        ),
    ),
    "matching": Suite(
        ("simulation/matching.py", "simulation/exchange.py"),
        (
            "tests/unit/simulation/test_matching_bars.py",
            "tests/unit/simulation/test_matching_ticks.py",
            "tests/unit/simulation/test_exchange.py",
            "tests/unit/simulation/test_order_types.py",
            "tests/property/test_exchange.py",
        ),
    ),
    "checks": Suite(
        ("risk/checks.py",),
        (
            "tests/unit/risk/test_pretrade_reasons.py",
            "tests/unit/risk/test_checks.py",
            "tests/property/risk/test_checks.py",
        ),
    ),
    "planner": Suite(
        ("account/planner.py",),
        ("tests/unit/account/test_planner.py", "tests/property/test_planner.py"),
    ),
    "lives": Suite(
        ("execution/order_life.py",),
        ("tests/unit/execution/test_order_life.py", "tests/property/test_order_life.py"),
    ),
    "working": Suite(
        ("risk/working.py", "risk/flow.py"),
        (
            "tests/unit/risk/test_flow.py",
            "tests/unit/risk/test_working.py",
            "tests/property/risk/test_checks.py",
        ),
    ),
}


class Same(NamedTuple):
    """Mutants of one line that no test can tell from the source, and why."""

    function: str
    old: str
    """The line of the source, without the blanks around it."""
    new: tuple[str, ...]
    reason: str


_OF_NOTHING = "the side of 0 lots: whatever it is multiplied by is 0"
_IS_LEFT = "asked where it is not 0 only"
EQUIVALENT: dict[str, tuple[Same, ...]] = {
    "ledger": (
        Same(
            "Ledger.__init__",
            "if rates.get(instrument.currency, 0) <= 0:",
            ("if rates.get(instrument.currency, (0 - 1)) <= 0:",),
            "no rate and a rate of -1 are refused alike",
        ),
        Same(
            "Ledger.__init__",
            "self._values: NDArray[np.int64] = self._holdings.view(np.int64).reshape(len(instruments), -1)",
            ("self._values: NDArray[np.int64] = self._holdings.view(np.int64).reshape(len(instruments), -(1 + 1))",),
            "numpy takes any length below 0 for the one that follows from the others",
        ),
        Same(
            "book",
            "lots, cost, realised = book_fill(held.lots, held.cost, signed_lots, price, held.tick_value)",
            ("lots, cost, realised = book_fill(held.lots, held.cost, signed_lots, held.tick_value, price)",),
            "price and tick value come in their product only",
        ),
        Same(
            "Ledger.split",
            "size, side = abs(position.lots), 1 if position.lots > 0 else -1",
            (
                "size, side = abs(position.lots), 1 if position.lots >= 0 else -1",
                "size, side = abs(position.lots), 1 if position.lots > (0 - 1) else -1",
            ),
            _OF_NOTHING,
        ),
        Same(
            "book_fill",
            "if lots != 0 and (lots > 0) != (signed_lots > 0):",
            (
                "if lots != 0 and (lots >= 0) != (signed_lots > 0):",
                "if lots != 0 and (lots > (0 - 1)) != (signed_lots > 0):",
            ),
            _IS_LEFT,
        ),
        Same(
            "book_fill",
            "closed = min(abs(signed_lots), abs(lots)) * (1 if lots > 0 else -1)",
            (
                "closed = min(abs(signed_lots), abs(lots)) * (1 if lots >= 0 else -1)",
                "closed = min(abs(signed_lots), abs(lots)) * (1 if lots > (0 - 1) else -1)",
            ),
            _IS_LEFT,
        ),
    ),
    "checks": (
        Same(
            "_plus",
            "if b > 0:",
            ("if b > (0 + 1):",),
            "another sum only where ``a`` is held at 2^62 already: 1 more than what no limit reaches",
        ),
        Same(
            "_plus",
            "if b > 0:",
            ("if b >= 0:", "if b > (0 - 1):"),
            "0 more is ``a`` itself in both branches, which lies within the bounds",
        ),
        Same(
            "_root",
            "if variance >= 0.0:",
            ("if variance > 0.0:",),
            "the root of 0, and what stands for a tiny negative variance, are both 0",
        ),
        Same(
            "_judge_size",
            "_within(worst, bound - gross, unit) - end if unit > 0 else 0,",
            ("_within(worst, bound - gross, unit) - end if unit > 0 else (0 - 1),",),
            "no lots and less than none are refused alike",
        ),
        Same(
            "_judge_size",
            "found[_FITS, _CONCENTRATION] = max(worst, bound // unit) - end if unit > 0 else 0",
            ("found[_FITS, _CONCENTRATION] = max(worst, bound // unit) - end if unit >= 0 else 0",),
            "where a lot costs nothing its instrument costs nothing, and no limit is below 0: the line is not reached",
        ),
        Same(
            "_judge_size",
            "added = _times(max(lots, 0), unit)",
            ("added = _times(max(lots, (0 - 1)), unit)",),
            "fewer than no lots leave the larger of both sides what it is",
        ),
        Same(
            "_judge_var",
            "if moment.risk_known == 0 or math.isnan(own + loose + stressed + moment.variance + seen.slope):",
            (
                "if moment.risk_known == 0 or math.isnan(((own + loose + stressed) - moment.variance) + seen.slope):",
                "if moment.risk_known == 0 or math.isnan(((own + loose + stressed + moment.variance) - seen.slope)):",
            ),
            "a sum and a difference of numbers are none where one of them is none",
        ),
    ),
    "lives": (
        Same(
            "OrderLives.apply",
            "self.make_room(1)",
            ("self.make_room((1 + 1))",),
            "room for one more than is needed",
        ),
        Same(
            "OrderLives._make_room",
            "rows, beyond = np.zeros(2 * len(self._rows), LIFE), np.zeros(2 * len(self._beyond), np.int64)",
            ("rows, beyond = np.zeros((2 + 1) * len(self._rows), LIFE), np.zeros(2 * len(self._beyond), np.int64)",),
            "room for more than is needed",
        ),
    ),
    "matching": (
        Same(
            "SimulatedExchange.__init__",
            "self._days = [(0, 0)] * len(self._schedules)",
            (
                "self._days = [(0, (0 + 1))] * len(self._schedules)",
                "self._days = [((0 + 1), 0)] * len(self._schedules)",
            ),
            "a day of no time, or of the first nanosecond of 1970, in which nothing is sent",
        ),
    ),
    "planner": (
        Same(
            "pursue_target",
            "if expected != 0 and (expected > 0) != (change > 0):",
            (
                "if expected != 0 and (expected >= 0) != (change > 0):",
                "if expected != 0 and (expected > (0 - 1)) != (change > 0):",
            ),
            _IS_LEFT,
        ),
        Same(
            "_open",
            "sent = put_order(rows, n, m, k, wish, signed_lots, order_type, price, UNDEFINED_PRICE, _DAY, 0, 0, _ENTRY, entry)",
            (
                "sent = put_order(rows, n, m, k, wish, signed_lots, order_type, price, UNDEFINED_PRICE, 0, _DAY, 0, _ENTRY, entry)",
            ),
            "the number of a day order is 0",
        ),
    ),
}


# -- mutants -----------------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """Put ``text`` where ``node`` stands."""

    kind: str
    node: ast.AST
    text: str


@dataclass(frozen=True)
class Mutant:
    """One small change of one source."""

    name: str
    """``ledger-17``: its place among all changes of its module."""
    kind: str
    source: str
    function: str
    line: int
    old: str
    new: str
    """The line before and after, without the blanks around it."""
    parts: tuple[str, str, str] = field(repr=False)
    """The source before its place, what stands there now, the source after."""

    @property
    def text(self) -> str:
        """The whole changed source."""
        return "".join(self.parts)


COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Div: "*",
    ast.Mod: "//",
}
NEVER_ZERO = ("side", "direction", "signed_lots", "signed", "change", "_WAITS")
"""A side is 1 or -1, nobody trades 0 lots, and what waits does so for a rise or a fall: whether such a value is above 0 or not below it is
one question."""
UNITS = ("side", "direction")
"""1 or -1: to multiply by them and to divide by them is one thing."""
SIGNED = ("int", "float")
ORDERLESS = ("min", "max", "convert_micros", "_times", "_plus")
"""Functions whose arguments may change places."""


def mutants_of(module: str, suite: Suite, root: Path = SOURCE) -> list[Mutant]:
    """Every change of the sources of ``suite`` that there is, in the order of the text."""
    found: list[Mutant] = []
    for source in suite.sources:
        text = (root / source).read_bytes()
        starts = [0, *itertools.accumulate(len(line) for line in text.splitlines(keepends=True))]
        tree = ast.parse(text)
        takes = _parameters_of_functions(tree, root)
        for function, name in _functions(tree):
            for change in _changes(function, takes):
                found.append(_made(f"{module}-{len(found) + 1}", source, name, text, starts, change))
    return found


def _functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, str]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node, node.name
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield inner, f"{node.name}.{inner.name}"


def _parameters_of_functions(tree: ast.Module, root: Path) -> dict[str, list[tuple[str, str]]]:
    """(name, annotation) of what the functions that a source defines or imports from the package take, by the function's name."""
    trees = [tree]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("grandmodel."):
            file = (root / Path(*node.module.split(".")[1:])).with_suffix(".py")  # type: ignore[union-attr]
            if file.is_file():
                trees.append(ast.parse(file.read_text(encoding="utf-8")))
    return {
        one.name: [(given.arg, ast.unparse(given.annotation) if given.annotation else "") for given in one.args.args]
        for each in trees
        for one in each.body
        if isinstance(one, ast.FunctionDef)
    }


def _changes(function: ast.FunctionDef, takes: dict[str, list[tuple[str, str]]]) -> Iterator[Change]:
    returns = ast.unparse(function.returns) if function.returns else ""
    named = {one.arg for one in function.args.args}
    firsts = {id(one) for node in _walk(function.body) for one in _firsts(node, takes)}
    for node in _walk(function.body):
        if id(node) in firsts:
            yield Change("constant", node, "(0 + 1)")
            continue
        yield from _changes_of_statement(node, named, returns)
        yield from _changes_of_expression(node, takes)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            named.add(node.id)


def _walk(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """All nodes in the order of the text, without what is for readers: docstrings, annotations, messages of errors."""
    for node in body:
        if isinstance(node, ast.Compare) and _is_sign(node):
            yield node  # Neither side of it is a place for a change of its own.
            continue
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        yield node
        inner = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.AnnAssign):
            inner.remove(node.annotation)
        if isinstance(node, ast.Call):  # Two columns of one length: that ``zip`` sees to it is a check of its own.
            inner = [one for one in inner if not (isinstance(one, ast.keyword) and one.arg == "strict")]
        yield from _walk(inner)


def _changes_of_statement(node: ast.AST, named: set[str], returns: str) -> Iterator[Change]:
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not _is_turned_elsewhere(node.test):
        yield Change("negate", node.test, f"not ({ast.unparse(node.test)})")
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        if returns in SIGNED:
            yield Change("sign", node.value, f"-({ast.unparse(node.value)})")
        elif returns == "bool" and not _is_turned_elsewhere(node.value):
            yield Change("negate", node.value, f"not ({ast.unparse(node.value)})")
        elif isinstance(node.value, ast.Tuple) and returns.startswith("tuple[int"):
            first = node.value.elts[0]
            if not isinstance(first, ast.Constant):
                yield Change("sign", first, f"-({ast.unparse(first)})")
    if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        target, value = ast.unparse(node.target), ast.unparse(node.value)
        yield Change("arithmetic", node, f"{target} {ARITHMETIC[type(node.op)]}= {value}")
    if isinstance(node, ast.Continue):
        yield Change("drop", node, "pass")
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield Change("drop", node, "pass")
    if isinstance(node, ast.Assign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {one.id for target in targets for one in ast.walk(target) if _is_stored_name(one)}
        if names <= named:  # Without its first value a name cannot be read.
            yield Change("drop", node, "pass")


def _firsts(node: ast.AST, takes: dict[str, list[tuple[str, str]]]) -> Iterator[ast.AST]:
    """Zeros that name the first row or account: where there is one, the last is the first, so no change to -1 can be told."""
    found: list[ast.AST] = []
    if isinstance(node, ast.Subscript):
        found = [node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        taken = zip(node.args, takes.get(node.func.id, []), strict=False)
        found = [given for given, (name, _) in taken if name in ("n", "m")]
    yield from (one for one in found if isinstance(one, ast.Constant) and one.value == 0)


def _is_turned_elsewhere(node: ast.AST) -> bool:
    """True where turning a part of it is turning the whole."""
    return isinstance(node, ast.UnaryOp) or (isinstance(node, ast.Compare) and len(node.ops) == 1)


def _is_stored_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _changes_of_expression(node: ast.AST, takes: dict[str, list[tuple[str, str]]]) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS.get(type(operator), ()):
                if _is_sign(node) and _SIGNS[type(operator)] in (other + "=", other.removesuffix("=")):
                    continue
                parts = [_grouped(node.left)]
                for k, (one, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
                    parts += [other if k == place else _SIGNS[type(one)], _grouped(right)]
                yield Change("compare", node, " ".join(parts))
    elif isinstance(node, ast.BoolOp):
        other = " or " if isinstance(node.op, ast.And) else " and "
        yield Change("logic", node, f"({other.join(_grouped(one) for one in node.values)})")
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        left, right = _grouped(node.left), _grouped(node.right)
        other = "+" if isinstance(node.op, ast.Mult) and _is_unit(node.right) else ARITHMETIC[type(node.op)]
        yield Change("arithmetic", node, f"({left} {other} {right})")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield Change("negate", node, f"({ast.unparse(node.operand)})")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield Change("arithmetic", node, f"({ast.unparse(node.operand)})")
    elif isinstance(node, ast.Constant):
        yield from _changes_of_constant(node)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in ("min", "max"):
            yield Change("extreme", node.func, "max" if node.func.id == "min" else "min")
        if node.func.id not in ORDERLESS:
            yield from _swapped_arguments(node, takes.get(node.func.id, []))


def _is_sign(node: ast.Compare) -> bool:
    """True for the question whether a value that is never 0 is above 0."""
    return (
        _last_name(node.left) in NEVER_ZERO
        and len(node.ops) == 1
        and isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE)
        and isinstance(node.comparators[0], ast.Constant)
        and node.comparators[0].value == 0
    )


def _is_unit(node: ast.AST) -> bool:
    """True for what is 1 or -1."""
    if isinstance(node, ast.IfExp):
        return {ast.unparse(node.body), ast.unparse(node.orelse)} == {"1", "-1"}
    return _last_name(node) in UNITS


def _last_name(node: ast.AST) -> str:
    node = node.value if isinstance(node, ast.Subscript) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _changes_of_constant(node: ast.Constant) -> Iterator[Change]:
    if isinstance(node.value, bool):
        yield Change("constant", node, str(not node.value))
    elif isinstance(node.value, int | float):
        yield Change("constant", node, f"({node.value!r} + 1)")
        yield Change("constant", node, f"({node.value!r} - 1)")


def _swapped_arguments(call: ast.Call, takes: list[tuple[str, str]]) -> Iterator[Change]:
    """Neighbours of one kind change places."""
    for k in range(min(len(call.args), len(takes)) - 1):
        one, two = call.args[k : k + 2]
        if takes[k][1] == takes[k + 1][1] and ast.dump(one) != ast.dump(two):
            given = [ast.unparse(arg) for arg in call.args] + [ast.unparse(arg) for arg in call.keywords]
            given[k], given[k + 1] = given[k + 1], given[k]
            yield Change("swap", call, f"{ast.unparse(call.func)}({', '.join(given)})")


_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip


def _grouped(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if isinstance(node, ast.Name | ast.Constant | ast.Attribute | ast.Call | ast.Subscript) else f"({text})"


def _made(name: str, source: str, function: str, text: bytes, starts: list[int], change: Change) -> Mutant:
    node = change.node
    line, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]
    begin = starts[line - 1] + node.col_offset  # type: ignore[attr-defined]
    end = starts[last - 1] + node.end_col_offset  # type: ignore[attr-defined]
    before, after = text[:begin].decode(), text[end:].decode()
    first, rest = text[starts[line - 1] : begin].decode(), text[end : starts[last]].decode()
    old = " ".join(one.strip() for one in text[starts[line - 1] : starts[last]].decode().splitlines())
    kept = "\n" * (
        last - line
    )  # The lines below keep their numbers: the blank ones stand behind the line that changed.
    behind = after.index("\n") + 1
    parts = (before, change.text + after[:behind] + kept, after[behind:])
    return Mutant(name, change.kind, source, function, line, old, (first + change.text + rest).strip(), parts)


def drawn(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """``count`` of ``mutants``, spread over functions (each gets one, then by their size) and over kinds; in the order of the text."""
    draw = random.Random(seed)
    waiting: dict[tuple[str, str], list[Mutant]] = defaultdict(list)
    for one in mutants:
        waiting[one.source, one.function].append(one)
    sizes = {key: len(ones) for key, ones in waiting.items()}
    for ones in waiting.values():
        draw.shuffle(ones)
    order = sorted(waiting)
    draw.shuffle(order)
    kinds: Counter[str] = Counter()
    taken: Counter[tuple[str, str]] = Counter()
    chosen: list[Mutant] = []
    while len(chosen) < count and any(waiting.values()):
        key = max(
            (one for one in order if waiting[one]), key=lambda one: (not taken[one], sizes[one] / (taken[one] + 1))
        )
        best = min(waiting[key], key=lambda one: kinds[one.kind])
        waiting[key].remove(best)
        taken[key] += 1
        kinds[best.kind] += 1
        chosen.append(best)
    place = {one.name: k for k, one in enumerate(mutants)}
    return sorted(chosen, key=lambda one: place[one.name])


def reason_of(module: str, mutant: Mutant) -> str:
    """Why no test can tell the mutant from the source; empty where it should be told."""
    for same in EQUIVALENT.get(module, ()):
        if (same.function, same.old) == (mutant.function, mutant.old) and mutant.new in same.new:
            return same.reason
    return ""


class CannotJudgeError(Exception):
    """The tests do not pass on the source as it is."""


# -- runs --------------------------------------------------------------------------------------------------------------


@contextmanager
def copied_package() -> Iterator[Path]:
    """A copy of the package in a folder of its own, with kernels that are not compiled; the folder to look for it in."""
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copy = Path(folder, "grandmodel")
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(PLAIN_KERNELS, copy / "kernels.py")
        compileall.compile_dir(copy, quiet=2)
        yield Path(folder)


def run_tests(folder: Path, tests: Sequence[str], limit_s: float) -> tuple[str, str]:
    """``tests`` on the package in ``folder``: (passed, failed or timed out; what was said)."""
    command = [
        sys.executable, "-m", "pytest", "-q", "-x", "--tb=short", "--assert=plain", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"),
        "-p", "mutate", "-p", "no:cacheprovider", *(str(ROOT / test) for test in tests),
    ]  # fmt: skip
    paths = [folder, Path(__file__).parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
        "OMP_NUM_THREADS": "1",
    }
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "timed out", process.communicate()[0]
    return ("passed" if process.returncode == 0 else "failed"), said


@contextmanager
def written(folder: Path, mutant: Mutant) -> Iterator[None]:
    """The copy in ``folder`` with ``mutant`` in it."""
    file = folder / "grandmodel" / mutant.source
    before = file.read_bytes()
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()  # Python would take it for that of a changed source of the same size and second.
    file.write_text(mutant.text, encoding="utf-8")
    try:
        yield
    finally:
        file.write_bytes(before)


def outcomes(suite: Suite, mutants: Sequence[Mutant], *, jobs: int = 1) -> Iterator[tuple[Mutant, str, float]]:
    """(mutant, ``killed``, ``survived`` or ``timed out``, seconds) for each, in order; the tests must pass on the source as it is."""
    copies: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def one(mutant: Mutant) -> tuple[Mutant, str, float]:
        folder = copies.get()
        begun = time.monotonic()
        try:
            with written(folder, mutant):
                outcome, _ = run_tests(folder, suite.tests, LIMIT_S)
        finally:
            copies.put(folder)
        word = {"passed": "survived", "failed": "killed"}.get(outcome, outcome)
        return mutant, word, time.monotonic() - begun

    with ThreadPoolExecutor(jobs) as pool, _several(jobs) as folders:
        outcome, said = run_tests(folders[0], suite.tests, 5 * LIMIT_S)
        if outcome != "passed":
            raise CannotJudgeError(f"{said}\nthe tests {outcome} on the source as it is: no mutant can be judged")
        for folder in folders:
            copies.put(folder)
        yield from pool.map(one, mutants)


@contextmanager
def _several(count: int) -> Iterator[list[Path]]:
    with copied_package() as first:
        if count == 1:
            yield [first]
        else:
            with _several(count - 1) as others:
                yield [first, *others]


def pytest_collection_modifyitems(items: Iterable[object]) -> None:
    """As a pytest plugin: few examples, the same each time, and none made smaller."""
    from hypothesis import Phase, settings

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    for item in items:
        function = getattr(item, "obj", None)
        function = getattr(function, "__func__", function)
        own = getattr(function, "_hypothesis_internal_use_settings", None)
        if own is not None:
            few = min(own.max_examples, MAX_EXAMPLES)
            phases = (Phase.explicit, Phase.generate)
            function._hypothesis_internal_use_settings = settings(
                own, max_examples=few, derandomize=True, database=None, phases=phases
            )


# -- the command -------------------------------------------------------------------------------------------------------


def judge_module(module: str, mutants: Sequence[Mutant], jobs: int) -> Counter[str]:
    """Run ``mutants`` of ``module`` and say how it went; how many of each outcome."""
    known = {one.name: reason for one in mutants if (reason := reason_of(module, one))}
    found: Counter[str] = Counter(equivalent=len(known))
    lived, late = [], []
    asked = [one for one in mutants if one.name not in known]
    for number, (mutant, outcome, seconds) in enumerate(outcomes(MODULES[module], asked, jobs=jobs), 1):
        found[outcome] += 1
        print(f"{number:>4}/{len(asked)} {mutant.name:<14} {mutant.kind:<10} {outcome:<9} {seconds:5.1f} s", flush=True)
        if outcome != "killed":
            (lived if outcome == "survived" else late).append(mutant)
    for title, ones in (("survived", lived), ("timed out", late)):
        for one in ones:
            print(f"\n{title}: {one.name}  {one.source}:{one.line} in {one.function}\n  - {one.old}\n  + {one.new}")
    for one in mutants:
        if one.name in known:
            print(
                f"\nequivalent: {one.name}  {one.source}:{one.line}\n  - {one.old}\n  + {one.new}\n  {known[one.name]}"
            )
    return found


def share_killed(found: Counter[str]) -> float:
    """Killed and timed out, of those that can be told from the source."""
    judged = found["killed"] + found["timed out"] + found["survived"]
    return (judged - found["survived"]) / judged if judged else 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--module", action="append", choices=sorted(MODULES), help="all where not given")
    parser.add_argument("--count", type=int, default=60, help="mutants a module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this mutant, drawn or not")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--list", action="store_true", help="show the drawn mutants and run none")
    given = parser.parse_args(arguments)
    table = []
    for module in given.module or MODULES:
        every = mutants_of(module, MODULES[module])
        chosen = (
            [one for one in every if one.name in given.only] if given.only else drawn(every, given.count, given.seed)
        )
        if not chosen:
            continue
        print(f"== {module}: {len(chosen)} of {len(every)} mutants")
        if given.list:
            for one in chosen:
                print(
                    f"{one.name:<14} {one.kind:<10} {one.source}:{one.line} {one.function}\n  - {one.old}\n  + {one.new}"
                )
            continue
        try:
            table.append((module, judge_module(module, chosen, given.jobs)))
        except CannotJudgeError as error:
            print(error)
            return 2
    if given.list:
        return 0
    if not table:
        print(f"found no mutant {', '.join(given.only)}")
        return 2
    print(f"\n{'module':<10}{'mutants':>9}{'killed':>9}{'late':>7}{'lived':>7}{'same':>7}{'share':>9}")
    for module, found in table:
        print(
            f"{module:<10}{found.total():>9}{found['killed']:>9}{found['timed out']:>7}{found['survived']:>7}"
            f"{found['equivalent']:>7}{share_killed(found):>9.1%}"
        )
    return 0 if all(share_killed(found) >= LEAST_KILLED for _, found in table) else 1


if __name__ == "__main__":
    sys.exit(main())
