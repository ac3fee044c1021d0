"""Every way to tamper with a journal is found, named and placed; an untouched one passes."""

import shutil
import sqlite3
from hashlib import sha256

import msgspec
import pytest

from grandmodel.domain.events import Advance, End, MarketData
from grandmodel.journal.chain import RECORDS_START, link_record
from grandmodel.journal.checkpoints import CHECKPOINTS_NAME, Checkpoint, CheckpointFile
from grandmodel.journal.errors import AuditUsageError
from grandmodel.journal.format import JOURNAL_NAME, LOCK_NAME, file_sha256
from grandmodel.journal.keys import PublicKey, SigningKey
from grandmodel.journal.merkle import MerkleTree
from grandmodel.journal.verification import Expected, FindingKind, verify_run
from grandmodel.journal.writer import Durability, Journal
from tools.small_engine import SmallEngine, build_begin, build_blocks, take

EVERY = 4


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return SigningKey.create(tmp_path_factory.mktemp("keys") / "audit.pem")


@pytest.fixture(scope="module")
def originals(tmp_path_factory, key):
    """One sealed, signed run and one that stopped before its end."""
    base = tmp_path_factory.mktemp("runs")
    for name in ("sealed", "open"):
        with Journal.create(
            base / name / "run", checkpoint_every=EVERY, signer=key, durability=Durability.OS
        ) as journal:
            engine = SmallEngine()
            take(journal, engine, [build_begin(), *build_blocks(1, 5), Advance(ts=5)])
            if name == "sealed":
                take(journal, engine, [End(ts=9)])
                journal.seal()
    return base


@pytest.fixture
def sealed(originals, tmp_path):
    return shutil.copytree(originals / "sealed" / "run", tmp_path / "sealed" / "run")


@pytest.fixture
def unsealed(originals, tmp_path):
    return shutil.copytree(originals / "open" / "run", tmp_path / "open" / "run")


def change(folder, *statements):
    database = sqlite3.connect(folder / JOURNAL_NAME)
    for statement in statements:
        database.execute(*statement) if isinstance(statement, tuple) else database.execute(statement)
    database.commit()
    database.close()


def kinds(report):
    return [(one.kind, one.where, one.number) for one in report.findings]


def first(report):
    assert not report.intact
    return kinds(report)[0]


def test_an_untouched_run_is_intact(sealed, key):
    report = verify_run(sealed, public_key=key.public)
    assert report.intact
    assert report.ended
    assert (report.inputs, report.records, report.contents, report.checkpoints) == (8, 17, 5, 5)
    assert report.signed_by == key.key_id
    assert report.notes == ()


def test_a_run_that_did_not_end_is_intact_and_says_so(unsealed):
    report = verify_run(unsealed)
    assert report.intact
    assert not report.ended
    assert any("has not ended" in note for note in report.notes)


def test_verifying_changes_nothing(sealed):
    before = {path.name: path.read_bytes() for path in sealed.iterdir()}
    verify_run(sealed)
    assert {path.name: path.read_bytes() for path in sealed.iterdir()} == before


def test_a_changed_record_is_named(sealed):
    change(sealed, "UPDATE records SET body = CAST(replace(body, 'NQ', 'CL') AS BLOB) WHERE number = 7")
    report = verify_run(sealed)
    assert kinds(report) == [(FindingKind.CHANGED_RECORD, "record", 7)]


def test_a_changed_link_is_named(sealed):
    change(sealed, "UPDATE records SET chain = zeroblob(32) WHERE number = 7")
    assert first(verify_run(sealed)) == (FindingKind.CHANGED_RECORD, "record", 7)


def test_a_record_given_to_another_input_is_named(sealed):
    change(sealed, "UPDATE records SET input = 4 WHERE number = 7")
    assert first(verify_run(sealed)) == (FindingKind.CHANGED_RECORD, "record", 7)
    change(sealed, "UPDATE records SET input = 2 WHERE number = 7", "UPDATE records SET input = 99 WHERE number = 16")
    assert (FindingKind.CHANGED_RECORD, "record", 16) in kinds(verify_run(sealed))


def test_a_changed_input_is_named(sealed):
    change(sealed, "UPDATE inputs SET body = CAST(replace(body, 'bars', 'bArs') AS BLOB) WHERE number = 3")
    assert kinds(verify_run(sealed)) == [(FindingKind.CHANGED_INPUT, "input", 3)]


def test_an_input_changed_with_its_whole_chain_is_caught_by_the_records(sealed):
    database = sqlite3.connect(sealed / JOURNAL_NAME)
    rows = database.execute("SELECT number, chain, body FROM inputs ORDER BY number").fetchall()
    head = rows[5][1]
    for number, _, body in rows[6:]:
        changed = body.replace(b'"ts":5', b'"ts":6')
        head = sha256(head + changed).digest()
        database.execute("UPDATE inputs SET chain = ?, body = ? WHERE number = ?", (head, changed, number))
    database.commit()
    database.close()
    assert first(verify_run(sealed)) == (FindingKind.CHANGED_RECORD, "record", 16)


@pytest.mark.parametrize(("table", "where"), [("records", "record"), ("inputs", "input")])
def test_a_gap_is_named(sealed, table, where):
    change(sealed, f"DELETE FROM {table} WHERE number BETWEEN 5 AND 6")  # noqa: S608 (a fixed table)
    assert first(verify_run(sealed)) == (FindingKind.GAP, where, 5)


def test_swapped_records_are_named(sealed):
    change(
        sealed,
        "CREATE TEMP TABLE kept AS SELECT * FROM records WHERE number IN (5, 9)",
        "UPDATE records SET body = (SELECT body FROM kept WHERE number = 9) WHERE number = 5",
        "UPDATE records SET body = (SELECT body FROM kept WHERE number = 5) WHERE number = 9",
    )
    report = verify_run(sealed)
    assert kinds(report) == [(FindingKind.MOVED_RECORD, "record", 5), (FindingKind.MOVED_RECORD, "record", 9)]
    assert "record 9 stands in its place" in report.findings[0].text


def test_a_repeated_record_is_named(sealed):
    change(
        sealed,
        "UPDATE records SET number = number + 1000 WHERE number > 6",
        "INSERT INTO records SELECT 7, input, chain, body FROM records WHERE number = 6",
        "UPDATE records SET number = number - 999 WHERE number > 1000",
    )
    report = verify_run(sealed)
    assert first(report) == (FindingKind.MOVED_RECORD, "record", 7)
    assert "record 6 stands in its place" in report.findings[0].text


@pytest.mark.parametrize("name", ["sealed", "unsealed"])
def test_a_cut_tail_is_found(name, request):
    folder = request.getfixturevalue(name)
    change(folder, "DELETE FROM records WHERE number >= 10")
    report = verify_run(folder)
    assert (FindingKind.CUT_TAIL, "record", 10) in kinds(report)


def test_a_tail_cut_after_the_last_checkpoint_is_found_by_the_seal(sealed):
    lines = (sealed / CHECKPOINTS_NAME).read_bytes().splitlines(keepends=True)
    change(sealed, "DELETE FROM records WHERE number >= 16", "DELETE FROM inputs WHERE number >= 7")
    assert (FindingKind.CUT_TAIL, "record", 16) in kinds(verify_run(sealed))
    (sealed / CHECKPOINTS_NAME).write_bytes(b"".join(lines[:-1]))
    assert verify_run(sealed).ended is False


def test_a_history_cut_as_a_whole_is_found_with_a_root_kept_elsewhere(sealed):
    whole = verify_run(sealed)
    lines = (sealed / CHECKPOINTS_NAME).read_bytes().splitlines(keepends=True)
    (sealed / CHECKPOINTS_NAME).write_bytes(b"".join(lines[:3]))
    change(sealed, "DELETE FROM records WHERE number >= 12", "DELETE FROM inputs WHERE number >= 5")
    assert verify_run(sealed).intact  # What nothing inside the two files can show; the report says it did not end.
    kept = Expected.parse(f"{whole.records}:{whole.root}")
    assert first(verify_run(sealed, expected=kept)) == (FindingKind.CUT_TAIL, "record", 12)


def test_a_root_kept_elsewhere_is_held_against_the_beginning(sealed):
    checkpoint = msgspec.json.decode((sealed / CHECKPOINTS_NAME).read_bytes().splitlines()[1], type=Checkpoint)
    good = Expected(records=checkpoint.records, root=checkpoint.root)
    assert verify_run(sealed, expected=good).intact
    other = Expected(records=checkpoint.records - 1, root=checkpoint.root)
    assert first(verify_run(sealed, expected=other))[0] is FindingKind.UNEXPECTED
    with pytest.raises(AuditUsageError, match="expected RECORDS:ROOT"):
        Expected.parse("12:abc")


@pytest.mark.parametrize("line", [0, 1, 3])
def test_a_missing_checkpoint_is_found(sealed, line):
    lines = (sealed / CHECKPOINTS_NAME).read_bytes().splitlines(keepends=True)
    (sealed / CHECKPOINTS_NAME).write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    report = verify_run(sealed)
    assert FindingKind.MISSING_CHECKPOINT in [one.kind for one in report.findings]
    assert f"the first {(line + 1) * EVERY} records" in "".join(one.text for one in report.findings)


def test_missing_checkpoints_altogether_are_found(sealed, unsealed):
    for folder in (sealed, unsealed):
        (folder / CHECKPOINTS_NAME).unlink()
        assert first(verify_run(folder))[0] is FindingKind.MISSING_CHECKPOINT


def test_a_missing_seal_is_found(sealed):
    lines = (sealed / CHECKPOINTS_NAME).read_bytes().splitlines(keepends=True)
    (sealed / CHECKPOINTS_NAME).write_bytes(b"".join(lines[:-1]))
    assert kinds(verify_run(sealed)) == [(FindingKind.MISSING_CHECKPOINT, "checkpoint", None)]
    (sealed / LOCK_NAME).touch()  # As after a kill between the end record and the seal.
    report = verify_run(sealed)
    assert (report.intact, report.ended) == (True, False)
    assert any("died before its journal was sealed" in note for note in report.notes)


def rewrite(folder, signer=None):
    """What a forger does who knows the format: change one record, then make links, checkpoints and seal anew."""
    database = sqlite3.connect(folder / JOURNAL_NAME)
    heads = [row[0] for row in database.execute("SELECT chain FROM inputs ORDER BY number")]
    link, tree, at = RECORDS_START, MerkleTree(), {}
    for number, given, body in database.execute("SELECT number, input, body FROM records ORDER BY number").fetchall():
        body = body.replace(b"NQ", b"CL") if number == 7 else body
        link = link_record(link, heads[given], body)
        tree.append(link)
        at[number + 1] = (link.hex(), tree.root().hex())
        database.execute("UPDATE records SET body = ?, chain = ? WHERE number = ?", (body, link, number))
    database.commit()
    database.close()
    if signer is None:
        return
    path = folder / CHECKPOINTS_NAME
    old = [msgspec.json.decode(line, type=Checkpoint) for line in path.read_bytes().splitlines()]
    path.unlink()
    file = CheckpointFile(path, signer=signer)
    for one in old:
        head, root = at[one.records]
        sealed = {"file_sha256": file_sha256(folder / JOURNAL_NAME)} if one.final else {}
        file.add(msgspec.structs.replace(one, record_head=head, root=root, **sealed))
    file.close()


def test_a_rewritten_chain_does_not_fit_the_checkpoints(sealed, unsealed):
    for folder in (sealed, unsealed):
        rewrite(folder)
        assert first(verify_run(folder)) == (FindingKind.REWRITTEN, "checkpoint", 1)


def test_a_history_rewritten_with_another_key_is_found_by_the_public_key(sealed, key, tmp_path):
    forger = SigningKey.create(tmp_path / "forger.pem")
    rewrite(sealed, forger)
    assert verify_run(sealed).intact  # Without the key that should have signed, it is a history like any other.
    report = verify_run(sealed, public_key=key.public)
    assert [kind for kind, _, _ in kinds(report)] == [FindingKind.BAD_SIGNATURE] * 5
    assert report.signed_by == ""


def test_a_changed_checkpoint_is_found(sealed, key):
    path = sealed / CHECKPOINTS_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"records":12', b'"records":13')
    path.write_bytes(b"".join(lines))
    report = verify_run(sealed, public_key=key.public)
    assert (FindingKind.BAD_SIGNATURE, "checkpoint", 2) in kinds(report)
    assert (FindingKind.CHANGED_CHECKPOINT, "checkpoint", 3) in kinds(report)
    path.write_bytes(b"".join([*lines[:2], b"{}\n", *lines[3:]]))
    assert first(verify_run(sealed)) == (FindingKind.CHANGED_CHECKPOINT, "checkpoint", 2)


def test_changed_and_missing_content_is_named(sealed):
    change(sealed, "UPDATE contents SET bytes = zeroblob(length(bytes)) WHERE number = 1")
    assert first(verify_run(sealed)) == (FindingKind.CHANGED_CONTENT, "content", 1)
    change(sealed, "DELETE FROM contents WHERE number = 1")
    assert first(verify_run(sealed)) == (FindingKind.MISSING_CONTENT, "input", 2)


def test_content_that_lies_outside_is_checked_where_it_can_be_found(tmp_path):
    rows = build_blocks(1, 1)[0].rows
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        journal.append_input(MarketData(schema="bars", count=3, source=f"{sha256(rows).hexdigest()} store"))
        journal.seal()

    def gone(block):
        raise LookupError("the store has no such file")

    report = verify_run(tmp_path / "run")
    assert report.intact
    assert "1 blocks lie outside the journal and were not checked" in report.notes
    assert verify_run(tmp_path / "run", resolver=lambda _: rows).notes == ()
    assert first(verify_run(tmp_path / "run", resolver=lambda _: rows[:-1] + b"x")) == (
        FindingKind.CHANGED_CONTENT, "input", 0,
    )  # fmt: skip
    assert first(verify_run(tmp_path / "run", resolver=gone)) == (FindingKind.MISSING_CONTENT, "input", 0)


@pytest.mark.parametrize("kept", [0, 100, 16_384, 40_000, -1])
def test_a_truncated_database_is_found(sealed, kept):
    path = sealed / JOURNAL_NAME
    path.write_bytes(path.read_bytes()[:kept])
    report = verify_run(sealed)
    assert not report.intact
    assert {one.kind for one in report.findings} & {FindingKind.DAMAGED_DATABASE, FindingKind.CUT_TAIL}


def test_bytes_added_behind_the_database_are_found(sealed):
    path = sealed / JOURNAL_NAME
    path.write_bytes(path.read_bytes() + b"\0")
    assert not verify_run(sealed).intact


def test_any_single_changed_byte_is_found(sealed, key):
    """One bit at a time, at places spread over both files and in the database's header."""
    for name, step in ((JOURNAL_NAME, 1_499), (CHECKPOINTS_NAME, 61)):
        path = sealed / name
        whole = path.read_bytes()
        places = {*range(0, len(whole), step), *range(0, 100, 7), len(whole) - 1}
        for place in sorted(places):
            changed = bytearray(whole)
            changed[place] ^= 1 << (place % 8)
            path.write_bytes(changed)
            assert not verify_run(sealed, public_key=key.public).intact, (name, place)
        path.write_bytes(whole)
    assert verify_run(sealed, public_key=key.public).intact


def test_a_folder_without_a_journal_is_refused(tmp_path):
    with pytest.raises(AuditUsageError, match="expected the folder of a run"):
        verify_run(tmp_path)


def test_keys_are_kept_private_and_never_overwritten(tmp_path):
    key = SigningKey.create(tmp_path / "k.pem")
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(tmp_path / "k.pem").key_id == PublicKey.load(tmp_path / "k.pem.pub").key_id == key.key_id
    assert key.public.is_signed(b"m", key.sign(b"m"))
    assert not key.public.is_signed(b"n", key.sign(b"m"))
    with pytest.raises(AuditUsageError, match="never overwritten"):
        SigningKey.create(tmp_path / "k.pem")
    with pytest.raises(AuditUsageError, match="expected a PEM file with a private key"):
        SigningKey.load(tmp_path / "k.pem.pub")
    with pytest.raises(AuditUsageError, match="expected a PEM file with a public key"):
        PublicKey.load(tmp_path / "absent")
