"""The cache key of compiled code: it covers every module that a kernel's module imports, however the import is written."""

from pathlib import Path

import pytest

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
