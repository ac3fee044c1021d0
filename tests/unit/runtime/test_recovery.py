"""Recovery, replay and the outbox, in one process, with a venue in memory."""

import pytest

from grandmodel.domain.events import Advance, Command, CommandKind, End, VenueReport
from grandmodel.domain.ids import RunId
from grandmodel.execution.brokers.errors import BrokerUnavailableError
from grandmodel.journal.errors import ReplayError, UncommittedError
from grandmodel.journal.format import JournalReader, encode_record
from grandmodel.journal.replay import first_difference, replay
from grandmodel.journal.writer import Durability, Journal
from grandmodel.runtime.recovery import Outbox, recover
from loopback_venue import VenueBook
from tools.small_engine import SmallEngine, build_begin, build_blocks, take

RUN = RunId("run")
BLOCKS = build_blocks(2, 12)


class MemoryBroker:
    """A venue in memory; ``fails_at`` sends fail after (or before) the venue took the request."""

    def __init__(self, fails_at=(), *, takes_before_failing=False):
        self.book = VenueBook()
        self.taken = []
        self.sends = 0
        self.fails_at = set(fails_at)
        self.takes_before_failing = takes_before_failing
        self.doubles_reports = False

    def send(self, request):
        self.sends += 1
        fails = self.sends in self.fails_at
        if (not fails or self.takes_before_failing) and request.request_id not in self.taken:
            self.taken.append(request.request_id)
            self.book.apply(request)
        if fails:
            raise BrokerUnavailableError("the line broke")

    def known_requests(self):
        return set(self.taken)

    def reports_since(self, exec_id):
        reports = self.book.reports[exec_id:]
        return [*reversed(reports), *reports] if self.doubles_reports else reports


def settle(journal, engine, outbox):
    while reports := outbox.collect():
        for report in reports:
            take(journal, engine, [VenueReport(report=report)], outbox)


def run_whole(folder, broker):
    journal = Journal.create(folder, run=RUN, durability=Durability.OS)
    engine, outbox = SmallEngine(), Outbox(RUN, broker)
    try:
        for given in [build_begin(), *BLOCKS]:
            take(journal, engine, [given], outbox)
            settle(journal, engine, outbox)
        take(journal, engine, [End(ts=99)], outbox)
    except BrokerUnavailableError:
        journal.close()
        raise
    return journal, engine


def bodies(journal):
    return [row.body for row in journal.records()]


def test_recovery_brings_a_fresh_engine_to_the_same_state(tmp_path):
    journal, engine = run_whole(tmp_path / "run", MemoryBroker())
    head = journal.head
    fresh = SmallEngine()
    at = recover(journal, fresh, Outbox(RUN, MemoryBroker()))
    assert vars(fresh) == vars(engine)
    assert (at.inputs, at.records, at.regenerated) == (head.inputs, head.records, 0)
    assert (at.feed_inputs, at.begun, at.ended) == (len(BLOCKS), True, True)
    assert journal.head == head
    assert at.waiting > 20  # This broker has none of them.
    journal.close()


@pytest.mark.parametrize("fails_at", [1, 2, 9, 17])
@pytest.mark.parametrize("taken", [False, True])
def test_a_broken_line_loses_and_doubles_nothing(tmp_path, fails_at, taken):
    calm_broker = MemoryBroker()
    calm, _ = run_whole(tmp_path / "calm", calm_broker)
    broker = MemoryBroker([fails_at], takes_before_failing=taken)
    with pytest.raises(BrokerUnavailableError):
        run_whole(tmp_path / "run", broker)
    # The process is gone with its memory; the journal and the venue are left.
    journal, engine, outbox = (
        Journal.open(tmp_path / "run", durability=Durability.OS),
        SmallEngine(),
        Outbox(RUN, broker),
    )
    at = recover(journal, engine, outbox)
    assert at.waiting > 0 or taken
    outbox.send(journal)
    settle(journal, engine, outbox)
    for block in BLOCKS[at.feed_inputs :]:
        take(journal, engine, [block], outbox)
        settle(journal, engine, outbox)
    take(journal, engine, [End(ts=99)], outbox)
    assert broker.taken == calm_broker.taken
    assert len(set(broker.taken)) == len(broker.taken)
    assert broker.sends == len(broker.taken) + (not taken)  # What the venue knew was not sent again.
    assert bodies(journal) == bodies(calm)
    assert journal.head == calm.head
    journal.close()
    calm.close()


def test_records_that_were_not_written_are_made_again(tmp_path):
    journal, _ = run_whole(tmp_path / "a", MemoryBroker())
    whole = bodies(journal)
    inputs = list(journal.inputs())
    with Journal.create(tmp_path / "run", run=RUN, durability=Durability.OS) as cut:
        for _, given in inputs:
            cut.append_input(given)
        for row in list(journal.records())[:20]:
            rows = list(journal.input_rows())
            cut.append_record_of(row.input, rows[row.input].chain, row.body)
        cut.commit()
        at = recover(cut, SmallEngine())
        assert (at.regenerated, at.records) == (len(whole) - 20, len(whole))
        assert bodies(cut) == whole
        assert cut.head == journal.head
    journal.close()


def test_a_record_that_comes_out_otherwise_stops_recovery(tmp_path):
    journal, _ = run_whole(tmp_path / "run", MemoryBroker())

    class OtherEngine(SmallEngine):
        def record(self, cause, ts, **more):
            made = super().record(cause, ts, **more)
            return made if made.number != 9 else type(made)(**{**fields(made), "ts": made.ts + 1})

    with pytest.raises(ReplayError, match=r"record 9 is not the one.*first difference at ts"):
        recover(journal, OtherEngine())
    journal.close()


def fields(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def test_records_without_inputs_stop_recovery(tmp_path):
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        take(journal, SmallEngine(), [build_begin()])
        journal.append_record(encode_record(SmallEngine().record("end", 1)))
        journal.commit()
        with pytest.raises(ReplayError, match="record 1 is in the journal, but its inputs do not make it"):
            recover(journal, SmallEngine())


def test_nothing_leaves_before_it_is_committed(tmp_path):
    broker = MemoryBroker()
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        engine, outbox = SmallEngine(), Outbox(RUN, broker)
        number = journal.append_input(BLOCKS[0])
        for record in engine.on_input(number, BLOCKS[0]):
            journal.append_record(encode_record(record))
            outbox.note_record(record)
        with pytest.raises(UncommittedError):
            outbox.send(journal)
        assert broker.taken == []
        journal.commit()
        assert outbox.send(journal) == len(broker.taken) > 0
        assert outbox.waiting == 0


def test_reports_that_come_twice_or_out_of_order_count_once_in_order(tmp_path):
    broker, calm_broker = MemoryBroker(), MemoryBroker()
    broker.doubles_reports = True
    journal, engine = run_whole(tmp_path / "run", broker)
    calm, calm_engine = run_whole(tmp_path / "calm", calm_broker)
    assert bodies(journal) == bodies(calm)
    assert engine.position == calm_engine.position
    journal.close()
    calm.close()


def test_requests_about_one_order_have_ids_of_their_own(tmp_path):
    broker = MemoryBroker()
    journal, _ = run_whole(tmp_path / "run", broker)
    assert "run-1" in broker.taken
    assert any(name.endswith(".1") for name in broker.taken)
    journal.close()


def test_inputs_of_one_step_share_one_commit(tmp_path):
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        statements = []
        journal._connection.set_trace_callback(statements.append)
        take(journal, SmallEngine(), [build_begin(), *BLOCKS[:3]])
        assert statements.count("COMMIT") == 1


def test_replay_is_equal_and_names_the_first_difference(tmp_path):
    journal, _ = run_whole(tmp_path / "run", MemoryBroker())
    records = journal.head.records
    journal.close()
    with JournalReader.open(tmp_path / "run") as reader:
        seen = []
        report = replay(reader, SmallEngine(), seen.append)
        assert (report.equal, report.records, report.difference) == (True, records, None)
        assert len(seen) == records
        other = SmallEngine()
        other.next_order = 2
        report = replay(reader, other)
    assert not report.equal
    assert report.difference.field.startswith("orders[0].")
    assert bytes(report.difference.journalled) != bytes(report.difference.replayed)


def test_replay_of_a_run_that_was_stopped_compares_what_is_there(tmp_path):
    with Journal.create(tmp_path / "stopped", durability=Durability.OS) as journal:
        journal.append_input(build_begin())
        journal.commit()
    with JournalReader.open(tmp_path / "stopped") as reader:
        report = replay(reader, SmallEngine())
    assert (report.equal, report.unfinished, report.difference, report.records) == (True, True, None, 0)


def test_replay_of_a_journal_that_lacks_records_or_has_too_many_differs(tmp_path):
    with Journal.create(tmp_path / "inside", durability=Durability.OS) as journal:
        journal.append_input(build_begin())
        journal.append_input(build_begin())
        journal.commit()
    with JournalReader.open(tmp_path / "inside") as reader:
        report = replay(reader, SmallEngine())
    assert (report.equal, report.difference.journalled, report.records) == (False, None, 0)
    with Journal.create(tmp_path / "ended", durability=Durability.OS) as journal:
        take(journal, SmallEngine(), [build_begin()])
        journal.append_input(End(ts=99))
        journal.commit()
    with JournalReader.open(tmp_path / "ended") as reader:
        report = replay(reader, SmallEngine())
    assert (report.equal, report.unfinished, report.difference.journalled) == (False, False, None)
    with Journal.create(tmp_path / "late", durability=Durability.OS) as journal:
        take(journal, SmallEngine(), [build_begin()])
        journal.append_record(b"{}")
        journal.commit()
    with JournalReader.open(tmp_path / "late") as reader:
        report = replay(reader, SmallEngine())
    assert (report.equal, report.difference.replayed, report.records) == (False, None, 1)


@pytest.mark.parametrize(
    ("left", "right", "field"),
    [
        (b'{"a":1}', b'{"a":1}', ""),
        (b'{"a":1}', b'{"a":2}', "a"),
        (b'{"a":1}', b'{"a":1.0}', "a"),
        (b'{"a":[1,{"b":2}]}', b'{"a":[1,{"b":3}]}', "a[1].b"),
        (b'{"a":[1]}', b'{"a":[1,2]}', "a[1]"),
        (b'{"a":1}', b'{"a":1,"b":2}', "b"),
        (b"[1]", b"{}", "the whole record"),
    ],
)
def test_first_difference_names_the_field(left, right, field):
    assert first_difference(left, right) == field


def test_feed_inputs_leave_out_what_people_and_venues_said(tmp_path):
    with Journal.create(tmp_path / "run", durability=Durability.OS) as journal:
        command = Command(kind=CommandKind.PAUSE, ts=6, who="a", why="b")
        take(journal, SmallEngine(), [build_begin(), BLOCKS[0], command, Advance(ts=9)])
    with Journal.open(tmp_path / "run", durability=Durability.OS) as journal:
        at = recover(journal, SmallEngine())
    assert (at.feed_inputs, at.begun, at.ended) == (2, True, False)
