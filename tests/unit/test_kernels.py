"""The cache key of compiled code covers every module that a kernel's module imports, however the import is written; and what is
compiled how often, what a second process loads, and what it must not load for it.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.errors import NumbaError

from grandmodel import kernels

PACKAGE = Path(kernels.__file__).parent


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of three modules; ``a`` imports in the way that a test writes."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.py").write_text("", encoding="utf-8")
    (tmp_path / "room").mkdir()
    for name in ("__init__", "d", "e"):
        (tmp_path / "room" / f"{name}.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(kernels, "_PACKAGE_ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from grandmodel.b import x\n", {"b"}),
        ("import grandmodel.b\n", {"b"}),
        ("from grandmodel.room.d import x\n", {"d"}),
        ("from grandmodel.room import d\n", {"d", "__init__"}),
        ("from grandmodel.room import d as other, e\n", {"d", "e", "__init__"}),
        ("from grandmodel.room import (\n    d,\n    e,\n)\n", {"d", "e", "__init__"}),
        ("from grandmodel.room import (  # why\n    d,  # the first\n    e as other,\n)\n", {"d", "e", "__init__"}),
        ("def f():\n    from grandmodel.b import x\n", {"b"}),
        ("import numpy\n", set()),
    ],
)
def test_every_way_to_import_is_seen(package, text, expected):
    (package / "a.py").write_text(text, encoding="utf-8")
    assert {path.stem for path in kernels._imported_sources(package / "a.py")} == {"a"} | expected


def test_imports_of_imports_are_seen_and_rings_end(package):
    (package / "a.py").write_text("from grandmodel.b import x\n", encoding="utf-8")
    (package / "b.py").write_text("from grandmodel.c import x\n", encoding="utf-8")
    (package / "c.py").write_text("from grandmodel.a import x\n", encoding="utf-8")
    assert {path.stem for path in kernels._imported_sources(package / "a.py")} == {"a", "b", "c"}


def test_a_change_in_a_module_that_is_imported_changes_the_key(package):
    (package / "a.py").write_text("from grandmodel.room import (\n    d,\n)\n", encoding="utf-8")
    keys = []
    for content in ("x = 1\n", "x = 2\n", "x = 1\n"):
        (package / "room" / "d.py").write_text(content, encoding="utf-8")
        kernels._read.cache_clear()
        keys.append(kernels._source_hash.__wrapped__(package / "a.py"))
    assert keys[0] == keys[2] != keys[1]


def test_the_market_step_s_key_covers_the_whole_venue():
    found = {
        path.relative_to(PACKAGE).as_posix() for path in kernels._imported_sources(PACKAGE / "runtime/market_step.py")
    }
    assert found >= {
        "simulation/matching.py",
        "simulation/depth.py",
        "simulation/state.py",
        "data/market/bar_building.py",
        "domain/blocks.py",
        "domain/orders.py",
        "domain/time.py",
        "kernels.py",
    }


def test_without_a_home_machine_code_lies_in_a_folder_that_nobody_else_can_write(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(kernels.tempfile, "tempdir", str(tmp_path))
    own = kernels._own_temporary_folder()
    assert own == kernels._own_temporary_folder()
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)  # As another user might have left it.
    other = kernels._own_temporary_folder()
    assert other != own
    assert other.stat().st_mode & 0o777 == 0o700


CHAIN = """
import json, sys
import numpy as np
from grandmodel.kernels import kernel
from numba.core import event

@kernel
def leaf(values, at, step):
    values[at] += step
    if values[at] < 0.0:
        raise ValueError("below zero")
    return values[at] * 2.0

@kernel(inline=True)
def pasted(value):
    return value + 1.0

@kernel
def middle(values, at):
    return pasted(leaf(values, at, 1.0)) + leaf(values, 0, 1.0) + leaf(values, 1, 2.0)

@kernel
def name_of(number):
    raise ValueError(f"found {number}")

@kernel
def sum_to(number):
    if number <= 0:
        return 0
    return number + sum_to(number - 1)

@kernel
def outer(values, wrong):
    if wrong:
        name_of(7)
    return sum_to(4) + middle(values, 2) + middle(values, np.int64(1))

if __name__ == "__main__":
    found = [outer(np.zeros(4), False)]
    for values, wrong in ((np.full(4, -9.0), False), (np.zeros(4), True)):
        try:
            outer(values, wrong)
        except ValueError as error:
            found.append(str(error))
    kernels = (leaf, middle, name_of, sum_to, outer)
    print(json.dumps({
        "found": found,
        "entries": [len(one.overloads) for one in kernels],
        "callees": [sum(len(form.overloads) for form in one._callees.values()) for one in kernels],
        "from_cache": outer._cache_hits.total(),
        "compiler_loaded": "numba.np.linalg" in sys.modules,
    }))
"""


def run_chain(folder, **more):
    (folder / "chain.py").write_text(CHAIN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(folder / "chain.py")], capture_output=True, text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(PACKAGE.parent), **more},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_kernel_on_the_way_is_compiled_once_and_a_second_process_loads_the_outermost_alone(tmp_path):
    first = run_chain(tmp_path)
    namespace = {}
    plain = CHAIN.replace("@kernel(inline=True)", "").replace("@kernel", "").split("if __name__")[0]
    exec(plain, namespace)  # noqa: S102  (the text above, without its decorators)
    assert first["found"] == [namespace["outer"]([0.0] * 4, False), "below zero", "found 7"]
    assert first["entries"] == [0, 0, 0, 0, 1]
    assert first["callees"] == [1, 1, 1, 1, 0]
    assert first["from_cache"] == 0
    kept = sorted(path.name.split("-")[0] for path in (tmp_path / "cache").rglob("*.nbc"))
    assert kept == ["chain.outer"]
    second = run_chain(tmp_path)
    assert second["found"] == first["found"]
    assert second["from_cache"] == 1
    assert second["callees"] == [0, 0, 0, 0, 0]
    assert not second["compiler_loaded"]


@pytest.mark.slow
def test_of_processes_that_want_one_kernel_at_once_one_compiles(tmp_path):
    (tmp_path / "chain.py").write_text(CHAIN, encoding="utf-8")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, str(tmp_path / "chain.py")]
    with contextlib.ExitStack() as stack:
        begun = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)) for _ in range(3)
        ]
        said = [json.loads(one.communicate()[0]) for one in begun]
    assert sorted(one["from_cache"] for one in said) == [0, 1, 1]
    assert said[0]["found"] == said[1]["found"] == said[2]["found"]


PLACE = np.dtype([("lots", "<i8"), ("price", "<f8")])
open_both = kernels.table_reader("both", (("counts", np.int64, 1), ("places", PLACE, 2), ("found", np.float64, 3)))


@kernels.kernel
def add_up(counts, places, found, n, k):
    places[n, k].lots += counts[n]
    found[n, k, 1] = places[n, k].price
    found[n, k][0] += 1.0
    return (
        len(counts) * 1_000_000 + places.shape[1] * 10_000 + found.shape[0] * 100 + found.shape[1] * 10 + found.shape[2]
    )


@kernels.kernel
def add_up_in(both, n, k):
    return add_up(both.counts, both.places, both.found, n, k)


@kernels.kernel(borrows=True)
def add_up_at(table, n, k):
    return add_up_in(open_both(table), n, k)


def test_a_table_is_the_arrays_behind_it_and_a_shared_row_is_everyones():
    rng = np.random.default_rng(0)
    counts, places, found = rng.integers(0, 9, 4), np.zeros((4, 3), PLACE), np.zeros((4, 3, 2))
    places["lots"], places["price"] = rng.integers(0, 9, (4, 3)), rng.random((4, 3))
    shared = np.lib.stride_tricks.as_strided(found[:1].copy(), found.shape, (0, *found.strides[1:]))
    table = kernels.table_of((counts, places, shared))
    plain = [counts.copy(), places.copy(), found]
    for n, k in ((0, 0), (3, 2), (2, 0), (-1, 1), (2, -1)):
        assert add_up_at(table, n, k) == add_up(*plain, n, k) == 4_030_432
    np.testing.assert_array_equal(places, plain[1])
    np.testing.assert_array_equal(shared[0][:, 0], found[:, :, 0].sum(axis=0))
    for k in range(3):
        assert set(shared[:, k, 1]) <= set(found[:, k, 1])


def test_a_table_takes_no_array_with_gaps():
    for array in (np.zeros(6)[::2], np.zeros((4, 4))[:, :2], np.zeros((4, 4)).T):
        with pytest.raises(ValueError, match="with gaps"):
            kernels.table_of((array,))


@kernels.kernel
def make_one(length):
    return np.zeros(length)


@kernels.kernel(borrows=True)
def borrow_and_make(values):
    return make_one(len(values))[0]


@kernels.kernel
def count_and_make(values):
    return make_one(len(values))[0]


def test_who_borrows_makes_no_array():
    with pytest.raises(NumbaError):
        borrow_and_make(np.zeros(3))
    assert count_and_make(np.zeros(3)) == 0.0


@kernels.kernel
def first_of(values, others, k):
    if k > 0:
        return first_of(others, values, k - 1)
    return values[0]


@kernels.kernel(borrows=True)
def borrowed_first(values, others, k):
    return first_of(values, others, k)


def test_below_a_kernel_that_borrows_no_references_are_counted_whoever_calls_first():
    values, others = np.ones(2), np.zeros(2)
    counted = kernels.kernel(lambda values, others: first_of(values, others, 3))
    assert counted(values, others) == 0.0
    before = sys.getrefcount(values)
    assert borrowed_first(values, others, 4) == 1.0
    assert sys.getrefcount(values) == before
    counted.recompile()  # What was read from the disk has no callees to look at.
    borrowed_first.recompile()
    for counts, form in first_of._callees.items():
        (made,) = form.overloads.values()
        assert ("call void @NRT_incref" in made.library.get_llvm_str()) == counts
    assert set(first_of._callees) == {False, True}
