"""What lies beside the journal: every file is sealed or named, and an edited one is found."""

import json
import os
import shutil

import msgspec
import pytest

from grandmodel.domain.events import Advance, End
from grandmodel.journal.checkpoints import CHECKPOINTS_NAME, Checkpoint, CheckpointFile
from grandmodel.journal.errors import AuditUsageError
from grandmodel.journal.keys import SigningKey
from grandmodel.journal.sealed_files import FILES_NAME, FilesSeal, check_measured, last_files_seal, seal_files
from grandmodel.journal.verification import UNSIGNED, Expected, FindingKind, Signature, verify_run
from grandmodel.journal.writer import Durability, Journal
from tools.small_engine import SmallEngine, build_begin, build_blocks, take

NAMES = ("latency.json", "report.html", "summary.json")


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return SigningKey.create(tmp_path_factory.mktemp("keys") / "audit.pem")


def make_run(folder, signer):
    with Journal.create(folder, checkpoint_every=4, signer=signer, durability=Durability.OS) as journal:
        engine = SmallEngine()
        take(journal, engine, [build_begin(), *build_blocks(1, 5), Advance(ts=5), End(ts=9)])
        journal.seal()
    for name in NAMES:
        (folder / name).write_text(f"{name} of this run")
    seal_files(folder, NAMES, signer=signer)
    return folder


@pytest.fixture(scope="module")
def originals(tmp_path_factory, key):
    base = tmp_path_factory.mktemp("runs")
    make_run(base / "signed" / "run", key)
    make_run(base / "unsigned" / "run", None)
    return base


@pytest.fixture
def run(originals, tmp_path):
    return shutil.copytree(originals / "signed" / "run", tmp_path / "run")


@pytest.fixture
def unsigned(originals, tmp_path):
    return shutil.copytree(originals / "unsigned" / "run", tmp_path / "unsigned")


@pytest.fixture
def known(key):
    return {key.key_id: key.public}


def found(report):
    return [(one.kind, one.where) for one in report.findings]


def test_a_run_signed_by_a_known_key_with_sealed_files_is_proven(run, key, known):
    report = verify_run(run, known=known)
    assert report.is_proven
    assert (report.signature, report.signed_by, report.doubts) == (Signature.TRUSTED, key.key_id, ())
    assert (report.sealed_files, report.unsealed_files) == (NAMES, ())


@pytest.mark.parametrize("name", NAMES)
def test_an_edited_file_is_found_and_a_missing_one_too(run, known, name):
    (run / name).write_text(f"{name} of that run")
    assert found(verify_run(run, known=known)) == [(FindingKind.CHANGED_FILE, name)]
    (run / name).unlink()
    assert found(verify_run(run, known=known)) == [(FindingKind.MISSING_FILE, name)]


def test_a_link_in_place_of_a_sealed_file_is_found(run, known, tmp_path):
    shutil.move(run / "summary.json", tmp_path / "elsewhere.json")
    (run / "summary.json").symlink_to(tmp_path / "elsewhere.json")
    assert found(verify_run(run, known=known)) == [(FindingKind.CHANGED_FILE, "summary.json")]


def test_what_else_lies_there_is_named(run, known):
    (run / "notes.txt").write_text("mine")
    (run / "more").mkdir()
    (run / "journal.lock").touch()
    report = verify_run(run, known=known)
    assert report.is_proven
    assert report.unsealed_files == ("journal.lock", "more/", "notes.txt")


def test_files_whose_seal_was_taken_away_are_a_doubt_that_names_them(run, known):
    (run / FILES_NAME).unlink()
    report = verify_run(run, known=known)
    assert (report.intact, report.is_proven) == (True, False)
    assert len(report.doubts) == 1
    assert "NOT SEALED: nothing shows whether latency.json, report.html, summary.json" in report.doubts[0]


def forge_files(folder, signer):
    """What a forger does who has the folder: another profit, and a new seal over it."""
    (folder / "summary.json").write_text("a better profit")
    (folder / FILES_NAME).unlink()
    seal_files(folder, NAMES, signer=signer)


def test_a_summary_that_was_edited_and_sealed_anew_without_the_key_is_not_proven(run, known, key, tmp_path):
    forge_files(run, None)
    report = verify_run(run, known=known)
    assert report.doubts == (f"{FILES_NAME} is {UNSIGNED}",)
    forger = SigningKey.create(tmp_path / "forger.pem")
    forge_files(run, forger)
    report = verify_run(run, known=known)
    assert report.doubts == (f"{FILES_NAME} is SIGNED BY AN UNKNOWN KEY: {forger.key_id}",)
    assert found(verify_run(run, public_key=key.public)) == [(FindingKind.BAD_SIGNATURE, FILES_NAME)]


def test_a_line_that_claims_a_known_key_without_its_signature_is_found(run, known, key):
    line = msgspec.json.decode((run / FILES_NAME).read_bytes(), type=FilesSeal)
    (run / "summary.json").write_text("a better profit")
    forge_files(run, SigningKey(key._key))  # The right key over the forged files ...
    forged = msgspec.json.decode((run / FILES_NAME).read_bytes(), type=FilesSeal)
    forged = msgspec.structs.replace(forged, signature=line.signature)  # ... but with the old signature.
    (run / FILES_NAME).write_bytes(msgspec.json.encode(forged) + b"\n")
    assert found(verify_run(run, known=known)) == [(FindingKind.BAD_SIGNATURE, FILES_NAME)]


def test_the_seal_of_another_run_does_not_fit(run, unsigned, known):
    shutil.copy(unsigned / FILES_NAME, run / FILES_NAME)
    assert (FindingKind.CHANGED_FILES_SEAL, FILES_NAME) in found(verify_run(run, known=known))


def test_any_changed_byte_of_the_seal_is_found(run, known):
    whole = (run / FILES_NAME).read_bytes()
    for place in {*range(0, len(whole), 41), len(whole) - 1}:
        content = bytearray(whole)
        content[place] ^= 1 << (place % 8)
        (run / FILES_NAME).write_bytes(content)
        assert not verify_run(run, known=known).is_proven, place


def test_an_unsigned_run_says_loudly_what_it_does_not_prove(unsigned, known):
    report = verify_run(unsigned, known=known)
    assert (report.intact, report.is_proven, report.signature) == (True, False, Signature.UNSIGNED)
    assert report.doubts[0].startswith("UNSIGNED: proves only accidental change")


def test_a_run_signed_by_nobody_we_know_names_the_key(run, key):
    report = verify_run(run)
    assert (report.intact, report.is_proven) == (True, False)
    assert (report.signature, report.unknown_keys) == (Signature.UNKNOWN_KEY, (key.key_id,))
    assert report.doubts[0].startswith(f"SIGNED BY AN UNKNOWN KEY: {key.key_id}")


def test_signatures_that_were_stripped_are_a_doubt(run, known):
    path = run / CHECKPOINTS_NAME
    old = [msgspec.json.decode(line, type=Checkpoint) for line in path.read_bytes().splitlines()]
    path.unlink()
    file = CheckpointFile(path)
    for one in old:
        file.add(msgspec.structs.replace(one, key="", signature=""))
    file.close()
    (run / FILES_NAME).unlink()
    seal_files(run, NAMES, signer=None)
    report = verify_run(run, known=known)
    assert (report.intact, report.is_proven) == (True, False)
    assert report.doubts[0].startswith("UNSIGNED")


def test_a_root_kept_elsewhere_proves_the_journal_of_an_unsigned_run(unsigned):
    report = verify_run(unsigned)
    again = verify_run(unsigned, expected=Expected(records=report.records, root=report.root))
    assert again.doubts == (f"{FILES_NAME} is {UNSIGNED}",)
    part = verify_run(unsigned, expected=Expected(records=0, root=verify_run(unsigned).root))
    assert not part.intact


def test_a_report_that_is_written_again_is_sealed_again_with_a_note(run, known, key):
    (run / "summary.json").write_text("the summary, by a later version")
    seal_files(run, NAMES, signer=key, note="written again")
    report = verify_run(run, known=known)
    assert report.is_proven
    assert report.notes == (f"{FILES_NAME} line 1: written again",)
    lines = (run / FILES_NAME).read_bytes().splitlines(keepends=True)
    (run / FILES_NAME).write_bytes(lines[1])  # Nobody takes the first line away unseen.
    assert (FindingKind.CHANGED_FILES_SEAL, FILES_NAME) in found(verify_run(run, known=known))


def test_a_line_that_a_kill_cut_short_is_taken_off(run, known, key):
    with (run / FILES_NAME).open("ab") as stream:
        stream.write(b'{"journal_seal":"00')
    report = verify_run(run, known=known)
    assert report.is_proven
    assert "cut short by a crash" in report.notes[0]
    seal_files(run, NAMES, signer=key)
    assert verify_run(run, known=known).notes == ()


def test_a_measurement_that_was_edited_is_not_sealed_again(run, key):
    check_measured(run, "latency.json")
    (run / "latency.json").write_text("faster")
    with pytest.raises(AuditUsageError, match="no journal gives it again"):
        check_measured(run, "latency.json")
    (run / "latency.json").unlink()
    check_measured(run, "latency.json")
    seal_files(run, ("summary.json", "report.html"), signer=key)
    assert {one.name for one in last_files_seal(run).files} == set(NAMES)  # It is still missed.
    assert found(verify_run(run, public_key=key.public)) == [(FindingKind.MISSING_FILE, "latency.json")]


def test_reports_written_at_once_each_add_a_whole_line(run, known, key):
    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                seal_files(run, NAMES, signer=key, note=f"report {number}")
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    report = verify_run(run, known=known)
    assert report.is_proven
    assert len(report.notes) == 8
    assert len(json.loads(msgspec.json.encode(report))["notes"]) == 8


@pytest.mark.parametrize("name", [CHECKPOINTS_NAME, FILES_NAME])
@pytest.mark.parametrize("make", [None, os.mkfifo, os.mkdir], ids=["nothing", "pipe", "folder"])
def test_what_stands_in_place_of_a_line_file_is_no_line_file(run, known, name, make):
    """A pipe would never end, and a missing file was an error where it should be a finding."""
    (run / name).unlink()
    if make is not None:
        make(run / name)
    report = verify_run(run, known=known)
    if name == CHECKPOINTS_NAME:
        assert {"missing_checkpoint", "changed_files_seal"} <= {one.kind.value for one in report.findings}
    else:
        assert report.intact
        assert any("NOT SEALED" in doubt for doubt in report.doubts)
