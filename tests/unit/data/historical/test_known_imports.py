"""A file that was imported before with the same settings is hashed and not read again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bar_files import NQ, random_bars, rows_text, session_opens, write_csv
from grandmodel.data.historical import importing
from grandmodel.data.historical.importing import import_file
from grandmodel.data.historical.profile import ImportProfile, Label
from grandmodel.data.historical.store import Store
from grandmodel.domain.time import NS_PER_DAY

PROFILE = ImportProfile(time_zone="UTC", label=Label.OPEN)
OPENS = session_opens("2024-01-08", "2024-02-09")
LINES = rows_text(OPENS, random_bars(len(OPENS)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "nq.csv", LINES)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_the_same_import_again_reads_nothing_and_says_so(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = import_file(store, path, NQ, PROFILE)
    assert (first.is_known, first.rows_added, first.files_changed) == (False, len(LINES), 2)
    monkeypatch.setattr(importing, "_found_in", lambda *_: pytest.fail("the file was read again"))
    again = import_file(store, path, NQ, PROFILE)
    assert (again.is_known, again.rows_added, again.rows_known, again.files_changed) == (True, 0, len(LINES), 0)
    assert (again.series, again.sha256, again.imported) == (first.series, first.sha256, first.imported)


def test_a_file_that_was_moved_is_known_where_it_lies_now(store: Store, path: Path) -> None:
    import_file(store, path, NQ, PROFILE)
    (path.parent / "other").mkdir()
    moved = Path(shutil.move(path, path.parent / "other"))
    again = import_file(store, moved, NQ, PROFILE)
    assert again.is_known
    assert again.file == str(moved)


@pytest.mark.parametrize("what", ["content", "settings", "name"])
def test_anything_else_than_the_same_is_read(store: Store, path: Path, what: str) -> None:
    import_file(store, path, NQ, PROFILE)
    profile = PROFILE
    if what == "content":
        write_csv(path, [*LINES[:-1], LINES[-1] + " "])
    elif what == "settings":
        profile = ImportProfile(time_zone="UTC", label=Label.OPEN, max_dropped=0.01)
    else:
        path = path.rename(path.with_name("nq2.csv"))
    assert not import_file(store, path, NQ, profile).is_known


def test_a_store_without_the_rows_gets_them_again(store: Store, path: Path) -> None:
    import_file(store, path, NQ, PROFILE)
    (store.root / "manifest.json").unlink()
    again = import_file(store, path, NQ, PROFILE)
    assert (again.is_known, again.rows_added) == (False, len(LINES))


def test_rows_of_the_future_are_looked_at_again_when_they_are_past(store: Store, path: Path) -> None:
    middle = OPENS[len(OPENS) // 2]
    profile = ImportProfile(time_zone="UTC", label=Label.OPEN, max_dropped=0.9)
    first = import_file(store, path, NQ, profile, now_ns=middle)
    assert first.count("stamps_in_the_future")
    again = import_file(store, path, NQ, profile, now_ns=OPENS[-1] + NS_PER_DAY)
    assert not again.is_known
    assert first.rows_added + again.rows_added == len(LINES)


def test_a_damaged_record_of_an_import_is_no_harm(store: Store, path: Path) -> None:
    import_file(store, path, NQ, PROFILE)
    (record,) = (store.root / "imports").iterdir()
    record.write_bytes(b"{")
    again = import_file(store, path, NQ, PROFILE)
    assert (again.is_known, again.rows_added, again.rows_known) == (False, 0, len(LINES))
    assert store.check() == []
