"""SQLite's log beside an open journal: what a missing, cut or changed one is called, and that a whole one is not."""

import os
import shutil
import struct

import pytest

from grandmodel.journal.errors import AuditUsageError, JournalDamagedError
from grandmodel.journal.format import JOURNAL_NAME, LOG_INDEX_NAME, LOG_NAME, JournalReader
from grandmodel.journal.verification import FindingKind, verify_run
from grandmodel.journal.write_ahead_log import log_damage
from grandmodel.journal.writer import Durability, Journal
from grandmodel.runtime.session import Session
from tools.small_engine import SmallEngine, build_begin, build_blocks, take

FRAME = 24 + 8_192


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run whose process died: everything that was written last lies in the log."""
    folder = tmp_path_factory.mktemp("log") / "run"
    child = os.fork()
    if child == 0:
        try:
            journal = Journal.create(folder, checkpoint_every=4, durability=Durability.OS)
            engine = SmallEngine()
            for given in (build_begin(), *build_blocks(1, 12)):
                take(journal, engine, [given])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert (folder / LOG_NAME).stat().st_size > 6 * FRAME
    return folder


@pytest.fixture
def died(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def change_log(folder, change):
    content = bytearray((folder / LOG_NAME).read_bytes())
    (folder / LOG_NAME).write_bytes(change(content) or content)


def test_the_log_of_a_run_that_died_is_whole_and_so_is_that_of_one_that_was_closed(died):
    assert log_damage(died / JOURNAL_NAME) == ""
    assert verify_run(died).intact
    with Journal.open(died, durability=Durability.OS):
        pass
    assert not (died / LOG_NAME).exists()
    assert log_damage(died / JOURNAL_NAME) == ""
    assert verify_run(died).intact


def test_the_log_of_a_run_that_is_being_written_is_whole(died):
    with Journal.open(died, durability=Durability.OS) as journal:
        journal._connection.execute("PRAGMA wal_autocheckpoint=20")  # So that SQLite begins the log anew on the way.
        for given in build_blocks(2, 30, rows=20):
            journal.append_input(given)
            journal.commit()
            assert log_damage(died / JOURNAL_NAME) == ""


def test_a_log_that_is_gone_is_named_and_its_run_is_not_gone_on_with(died):
    (died / LOG_NAME).unlink()
    with pytest.raises(JournalDamagedError, match=f"{LOG_NAME} is missing"):
        Journal.open(died, durability=Durability.OS)
    with pytest.raises(JournalDamagedError, match=f"{LOG_NAME} is missing"):
        Session.resume(died, clock_ns=int)
    report = verify_run(died)
    assert report.findings[0].kind is FindingKind.DAMAGED_LOG
    assert f"{LOG_NAME} is missing" in report.findings[0].text


def test_a_log_that_is_gone_with_its_index_is_found_by_the_checkpoints_and_noted(died):
    (died / LOG_NAME).unlink()
    (died / LOG_INDEX_NAME).unlink()
    report = verify_run(died)
    assert {one.kind for one in report.findings} == {FindingKind.CUT_TAIL}
    assert any("still provable: the first 0 records" in note for note in report.notes)
    assert any(
        f"{LOG_NAME}, in which SQLite keeps what was written last, is not there" in note for note in report.notes
    )


def flip(place):
    def change(content):
        content[place] ^= 0x10

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (flip(3), "its header is not that of a write-ahead log"),
        (flip(13), "its header does not fit its checksum"),
        (flip(32 + 2 * FRAME + 500), "pages in it can be read, the"),
        (flip(32 + 2 * FRAME + 9), "2 pages in it can be read, the"),
        (lambda content: content[:20], "it was cut short"),
        (lambda content: content[: 32 + 3 * FRAME], "2 pages in it can be read, the"),
        (lambda content: content[: len(content) - FRAME], "pages in it can be read, the"),
    ],
    ids=["magic", "header", "page", "salt", "no_header", "cut", "last_page"],
)
def test_a_damaged_log_is_named_with_what_is_left(died, change, said):
    change_log(died, change)
    assert said in log_damage(died / JOURNAL_NAME)
    report = verify_run(died)
    assert report.findings[0].kind is FindingKind.DAMAGED_LOG
    assert any("still provable" in note for note in report.notes)


def test_a_changed_log_is_named_where_its_index_is_gone_too(died):
    (died / LOG_INDEX_NAME).unlink()
    change_log(died, flip(32 + 2 * FRAME + 500))
    assert "2 pages in it can be read" in log_damage(died / JOURNAL_NAME)
    with pytest.raises(JournalDamagedError, match="put it back"):
        Journal.open(died, durability=Durability.OS)


def test_a_last_write_that_a_power_cut_broke_is_no_damage(died):
    """Without the index, as after a power cut: of the last transaction nothing was promised, and the run goes on."""
    (died / LOG_INDEX_NAME).unlink()
    content = (died / LOG_NAME).read_bytes()
    ends = [
        n
        for n in range((len(content) - 32) // FRAME)
        if struct.unpack(">I", content[36 + n * FRAME : 40 + n * FRAME])[0]
    ]
    change_log(died, flip(32 + (ends[-2] + 1) * FRAME + 700))
    assert log_damage(died / JOURNAL_NAME) == ""


def test_a_journal_that_is_gone_is_named_with_what_can_still_be_proven(died):
    whole = verify_run(died)
    (died / JOURNAL_NAME).unlink()
    with pytest.raises(AuditUsageError, match=f"{JOURNAL_NAME} is missing, though .*checkpoints.jsonl"):
        JournalReader.open(died)
    report = verify_run(died)
    assert [one.kind for one in report.findings] == [FindingKind.MISSING_JOURNAL]
    covered = whole.records // 4 * 4
    assert any(f"still provable: that {covered} records" in note for note in report.notes)


def test_an_open_journal_that_lost_all_says_that_the_log_may_be_why(tmp_path):
    Journal.create(tmp_path / "run", durability=Durability.OS).close()
    with pytest.raises(AuditUsageError, match=f"or {LOG_NAME}, .*, was taken away"):
        verify_run(tmp_path / "run")
