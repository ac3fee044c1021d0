"""The journal: what goes in comes out, the chain, durability, refusals, a full disk."""

import sqlite3
from hashlib import sha256

import msgspec
import pytest

from grandmodel.domain.events import Advance, Command, CommandKind, End, MarketData, Signal, SignalTrigger
from grandmodel.journal.chain import INPUTS_START, RECORDS_START
from grandmodel.journal.checkpoints import CHECKPOINTS_NAME, Checkpoint
from grandmodel.journal.errors import (
    JournalClosedError,
    JournalDamagedError,
    JournalEndedError,
    JournalExistsError,
    JournalInUseError,
    JournalWriteError,
)
from grandmodel.journal.format import (
    JOURNAL_NAME,
    JournalReader,
    decode_record,
    encode_record,
)
from grandmodel.journal.merkle import merkle_root
from grandmodel.journal.verification import verify_run
from grandmodel.journal.writer import Durability, Journal
from merkle_leaves import leaf_hash
from tools.small_engine import SmallEngine, build_begin, build_blocks, take

INPUTS = [
    build_begin(),
    *build_blocks(1, 4),
    Advance(ts=5),
    Command(kind=CommandKind.PAUSE, ts=6, who="a", why="b"),
    Signal(ts=6, trigger=SignalTrigger.LATENCY, value=0.75, source="edge"),
    End(ts=7),
]


def write(folder, inputs=INPUTS, **settings):
    with Journal.create(folder, durability=Durability.OS, **settings) as journal:
        records = take(journal, SmallEngine(), inputs)
        head = journal.head
    return records, head


def test_inputs_and_records_come_back_as_they_went_in(tmp_path):
    records, _ = write(tmp_path / "run")
    with JournalReader.open(tmp_path / "run") as reader:
        back = list(reader.inputs())
        assert [decode_record(row.body) for row in reader.record_rows()] == records
    assert [number for number, _ in back] == list(range(len(INPUTS)))
    for (_, got), given in zip(back, INPUTS, strict=True):
        if isinstance(given, MarketData):
            assert (got.rows, got.schema, got.count) == (given.rows, given.schema, given.count)
            assert got.source == sha256(given.rows).hexdigest()
        else:
            assert got == given


def test_chain_is_what_its_definition_says(tmp_path):
    _, head = write(tmp_path / "run")
    database = sqlite3.connect(tmp_path / "run" / JOURNAL_NAME)
    at, heads = INPUTS_START, []
    for (body,) in database.execute("SELECT body FROM inputs ORDER BY number"):
        at = sha256(at + body).digest()
        heads.append(at)
    link = RECORDS_START
    for given, chain, body in database.execute("SELECT input, chain, body FROM records ORDER BY number"):
        link = sha256(b"\0" + link + heads[given] + body).digest()
        assert link == chain
    database.close()
    assert (head.input_head, head.record_head) == (at, link)


def test_how_records_are_grouped_into_commits_changes_nothing(tmp_path):
    _, at_once = write(tmp_path / "a")
    with Journal.create(tmp_path / "b", durability=Durability.OS) as journal:
        engine = SmallEngine()
        for given in INPUTS:
            take(journal, engine, [given])
        assert journal.head == at_once


def test_equal_blocks_are_stored_once(tmp_path):
    block = build_blocks(1, 1)[0]
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        for _ in range(3):
            journal.append_input(block)
            journal.commit()
        journal.append_input(block)
        journal.commit()
        assert [given.rows for _, given in journal.inputs()] == [block.rows] * 4
    with JournalReader.open(tmp_path / "run") as reader:
        assert len(list(reader.content_rows())) == 1


def test_a_block_with_a_source_is_stored_as_a_reference(tmp_path):
    rows = build_blocks(1, 1)[0].rows
    source = f"{sha256(rows).hexdigest()} store:NQ"
    with Journal.create(tmp_path / "run", resolver=lambda block: rows if block.source == source else b"") as journal:
        journal.append_input(MarketData(schema="bars", count=3, rows=rows, source=source))
        journal.append_input(MarketData(schema="bars", count=3, source=source))
        journal.commit()
        assert [given.rows for _, given in journal.inputs()] == [rows, rows]
    with JournalReader.open(tmp_path / "run") as reader:
        assert list(reader.content_rows()) == []
        with pytest.raises(LookupError, match="give a resolver"):
            list(reader.inputs())


def test_a_reference_to_rows_that_are_nowhere_is_refused(tmp_path):
    rows = build_blocks(1, 1)[0].rows
    bare = sha256(rows).hexdigest()
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        with pytest.raises(ValueError, match="which this journal does not hold"):
            journal.append_input(MarketData(schema="bars", count=3, source=bare))
        journal.append_input(MarketData(schema="bars", count=3, rows=rows, source=bare))
        journal.append_input(MarketData(schema="bars", count=3, source=bare))
        journal.commit()
        assert [given.rows for _, given in journal.inputs()] == [rows, rows]


def test_what_was_not_committed_is_not_there(tmp_path):
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        journal.append_input(Advance(ts=1))
        journal.commit()
        journal.append_input(Advance(ts=2))
        journal.append_record(b"{}")
        assert journal.has_uncommitted
        assert journal.head.inputs == 2
    with Journal.open(tmp_path / "run", durability=Durability.OS) as journal:
        assert (journal.head.inputs, journal.head.records) == (1, 0)


def test_an_opened_journal_goes_on_as_if_it_had_never_been_closed(tmp_path):
    records, whole = write(tmp_path / "a", checkpoint_every=4)
    engine = SmallEngine()
    for start in range(len(INPUTS)):
        make = Journal.create if start == 0 else Journal.open
        more = {"checkpoint_every": 4} if start == 0 else {}
        with make(tmp_path / "b" / "a", durability=Durability.OS, **more) as journal:
            take(journal, engine, INPUTS[start : start + 1])
            assert journal.head.inputs == start + 1
    with Journal.open(tmp_path / "b" / "a") as journal:
        assert journal.head == whole
    assert len(records) > 12
    assert (tmp_path / "a" / CHECKPOINTS_NAME).read_bytes() == (tmp_path / "b" / "a" / CHECKPOINTS_NAME).read_bytes()


def test_checkpoints_hold_the_merkle_roots_of_the_links(tmp_path):
    write(tmp_path / "run", checkpoint_every=4)
    with Journal.open(tmp_path / "run", durability=Durability.OS) as journal:
        sealed = journal.seal()
    lines = (tmp_path / "run" / CHECKPOINTS_NAME).read_bytes().splitlines()
    checkpoints = [msgspec.json.decode(line, type=Checkpoint) for line in lines]
    with JournalReader.open(tmp_path / "run") as reader:
        rows = list(reader.record_rows())
        heads = [row.chain for row in reader.input_rows()]
    leaves, link = [], RECORDS_START
    for row in rows:
        leaves.append(leaf_hash(link + heads[row.input] + row.body))
        link = row.chain
    assert [one.records for one in checkpoints] == [*range(4, len(rows) + 1, 4), len(rows)]
    for one in checkpoints:
        assert one.root == merkle_root(leaves[: one.records]).hex()
        assert one.record_head == rows[one.records - 1].chain.hex()
    assert checkpoints[-1] == sealed
    assert sealed.file_sha256 == sha256((tmp_path / "run" / JOURNAL_NAME).read_bytes()).hexdigest()


def test_checkpoints_that_a_crash_prevented_are_written_on_opening(tmp_path):
    write(tmp_path / "run", checkpoint_every=4)
    path = tmp_path / "run" / CHECKPOINTS_NAME
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for written in (b"", lines[0], lines[0] + lines[1][:40]):
        path.write_bytes(written)
        Journal.open(tmp_path / "run", durability=Durability.OS).close()
        assert path.read_bytes() == whole


@pytest.mark.parametrize(("durability", "level"), [(Durability.DISK, 2), (Durability.OS, 1)])
def test_durability_sets_what_sqlite_waits_for(tmp_path, durability, level):
    with Journal.create(tmp_path / "run", durability=durability) as journal:
        assert journal._connection.execute("PRAGMA synchronous").fetchone() == (level,)
        assert journal._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_appending_much_commits_by_itself(tmp_path):
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        journal.append_input(Advance(ts=1))
        for _ in range(20):
            journal.append_record(bytes(1 << 20))
        assert len(list(journal.records())) >= 16


def test_a_second_journal_in_the_same_folder_is_refused(tmp_path):
    write(tmp_path / "run")
    with pytest.raises(JournalExistsError, match="expected none"):
        Journal.create(tmp_path / "run", durability=Durability.OS)
    assert verify_run(tmp_path / "run").records > 0


def test_a_journal_to_which_nothing_was_committed_counts_as_none(tmp_path):
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        journal.append_input(Advance(ts=1))  # The process dies here.
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        journal.append_input(Advance(ts=2))
        journal.commit()
    with pytest.raises(JournalExistsError):
        Journal.create(tmp_path / "run", durability=Durability.OS)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / JOURNAL_NAME).write_bytes(b"no database at all")
    with pytest.raises(JournalExistsError):
        Journal.create(tmp_path / "other", durability=Durability.OS)


def test_a_second_writer_is_refused(tmp_path):
    with (
        Journal.create(tmp_path / "run", durability=Durability.OS),
        pytest.raises(JournalInUseError, match="another process"),
    ):
        Journal.open(tmp_path / "run", durability=Durability.OS)


def test_a_sealed_journal_takes_no_more(tmp_path):
    write(tmp_path / "run")
    with Journal.open(tmp_path / "run", durability=Durability.OS) as journal:
        journal.seal()
        with pytest.raises(JournalClosedError, match="closed"):
            journal.append_input(Advance(ts=1))
    with pytest.raises(JournalEndedError, match="backtest report"):
        Journal.open(tmp_path / "run", durability=Durability.OS)
    report = verify_run(tmp_path / "run")
    assert (report.intact, report.ended) == (True, True)


def test_reading_a_sealed_journal_with_other_tools_does_not_break_the_seal(tmp_path):
    write(tmp_path / "run")
    with Journal.open(tmp_path / "run", durability=Durability.OS) as journal:
        journal.seal()
    database = sqlite3.connect(tmp_path / "run" / JOURNAL_NAME)
    assert database.execute("SELECT count(*) FROM records").fetchone()[0] > 0
    assert verify_run(tmp_path / "run").intact  # While the other tool has it open,
    database.close()
    assert verify_run(tmp_path / "run").intact  # and afterwards.


def test_a_reader_that_is_in_the_way_of_the_seal_is_named_and_nothing_is_lost(tmp_path):
    _, head = write(tmp_path / "run")
    with (
        Journal.open(tmp_path / "run", durability=Durability.OS) as journal,
        JournalReader.open(tmp_path / "run") as reader,
    ):
        reader._connection.execute("BEGIN")
        next(reader.record_rows())
        journal.append_input(Advance(ts=9))
        journal.commit()
        journal._connection.execute("PRAGMA busy_timeout=1")
        with pytest.raises(JournalWriteError, match="another program has been reading"):
            journal.seal()
    with Journal.open(tmp_path / "run", durability=Durability.OS) as journal:
        assert journal.head.inputs == head.inputs + 1
        journal.seal()
    assert verify_run(tmp_path / "run").intact


def test_a_sealed_journal_is_readable_where_nothing_can_be_written(tmp_path):
    write(tmp_path / "run")
    with Journal.open(tmp_path / "run", durability=Durability.OS) as journal:
        journal.seal()
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert verify_run(tmp_path / "run").intact
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


def test_a_journal_that_does_not_fit_its_chain_is_not_gone_on_with(tmp_path):
    write(tmp_path / "run")
    database = sqlite3.connect(tmp_path / "run" / JOURNAL_NAME)
    database.execute("UPDATE records SET body = CAST(replace(body, 'bar', 'bAr') AS BLOB) WHERE number = 3")
    database.commit()
    database.close()
    with pytest.raises(JournalDamagedError, match="record 3 is missing or does not fit"):
        Journal.open(tmp_path / "run", durability=Durability.OS)


def test_checkpoint_spacing_must_be_a_power_of_two(tmp_path):
    with pytest.raises(ValueError, match="found 1000, expected a power of two"):
        Journal.create(tmp_path / "run", checkpoint_every=1000)


def test_a_full_disk_fails_the_commit_and_writes_nothing_of_it(tmp_path):
    engine = SmallEngine()
    blocks = build_blocks(3, 400, rows=20)
    written = 0
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        # Stands for a full disk: SQLite refuses to grow the file, with the same error.
        journal._connection.execute("PRAGMA max_page_count=20")
        take(journal, engine, [build_begin()])
        with pytest.raises(JournalWriteError, match="disk is full") as caught:  # noqa: PT012 (one of the steps fails)
            for block in blocks:
                take(journal, engine, [block])
                written += 1
        assert "free space" in str(caught.value)
        assert written > 3
        with pytest.raises(JournalClosedError, match="a write failed"):
            journal.append_input(Advance(ts=1))
        with pytest.raises(JournalClosedError):
            journal.append_record(b"{}")
        with pytest.raises(JournalClosedError):
            journal.commit()
    with Journal.open(tmp_path / "run", durability=Durability.OS) as journal:
        assert journal.head.inputs == written + 1
        journal.append_input(blocks[written])
        journal.commit()
    assert verify_run(tmp_path / "run").intact


def test_records_are_encoded_without_defaults_and_in_order():
    record = next(SmallEngine().on_input(0, build_begin()))
    assert encode_record(record) == (b'{"number":0,"ts":0,"cause":"begin","position":0,"equity_micros":0}')
