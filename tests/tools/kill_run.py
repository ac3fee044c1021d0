"""Kill a trading session with signal 9 again and again, and show that nothing is lost or doubled.

``python -m tests.tools.kill_run --kills 200 --seed 1`` from the root of the repository; ``--engine real`` for the product's
engine in place of the small one of the tests.

Each session trades against the loopback venue, a process of its own. It is first run once without a disturbance, against
a venue of its own; then the same session is run, killed, started again, killed again, until it reaches its end. Half of
the kills come at a random time, half exactly at one of ``POINTS``. The killed sessions' venue also drops lines, answers
twice and answers late. After every kill, and at the end:

- the journal verifies, and every request that the venue has is in a committed record (nothing left unrecorded);
- at the end the record chain, the requests at the venue in their order, and its reports are those of the undisturbed run
  (no order lost, none doubled, the same state), the journal verifies, and running it again gives the same records.

Exit code 0: all held; 1: something did not, and it is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
from tests.tools import small_engine

from grandmodel.domain.events import VenueReport
from grandmodel.domain.ids import RunId
from grandmodel.execution.brokers.requests import Request
from grandmodel.journal.errors import AuditUsageError, JournalEndedError
from grandmodel.journal.format import JOURNAL_NAME, JournalReader, decode_record
from grandmodel.journal.replay import replay
from grandmodel.journal.verification import verify_run
from grandmodel.journal.writer import Journal
from grandmodel.runtime.driver import Driver
from grandmodel.runtime.recovery import Outbox, recover

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import loopback_venue
from loopback_broker import LoopbackBroker
from loopback_venue import VenueBook

POINTS = (
    "start",
    "input_appended",
    "before_commit",
    "inside_commit",
    "committed",
    "before_send",
    "sent_unanswered",
    "acknowledged",
    "before_reports",
    "reports_collected",
    "before_checkpoint",
    "torn_checkpoint",
    "after_checkpoint",
    "before_seal",
)
ONCE = ("start", "before_seal")
REJECT_EVERY = 13
FAULTS = ("drop:17", "twice:11", "late:41")
CHECKPOINT_EVERY = 16


class Fuse:
    """Ends this process with signal 9 when ``point`` is reached for the ``count``-th time."""

    def __init__(self, point="", count=0):
        self.point = point
        self.left = count

    def reach(self, point):
        if self.burns(point):
            os.kill(os.getpid(), signal.SIGKILL)

    def burns(self, point):
        if point == self.point:
            self.left -= 1
        return point == self.point and self.left == 0


class FusedJournal(Journal):
    fuse = Fuse()

    def append_input(self, given):
        number = super().append_input(given)
        self.fuse.reach("input_appended")
        return number

    def commit(self):
        if not self.has_uncommitted:
            return
        self.fuse.reach("before_commit")
        self._connection.set_progress_handler(lambda: self.fuse.reach("inside_commit"), 40)
        super().commit()
        self._connection.set_progress_handler(None, 0)
        self.fuse.reach("committed")

    def seal(self):
        self.fuse.reach("before_seal")
        return super().seal()

    def watch_checkpoints(self):
        add = self._checkpoints.add

        def fused_add(checkpoint):
            self.fuse.reach("before_checkpoint")
            if self.fuse.burns("torn_checkpoint"):
                os.write(self._checkpoints._file, msgspec.json.encode(checkpoint)[:50])
                os.kill(os.getpid(), signal.SIGKILL)
            written = add(checkpoint)
            self.fuse.reach("after_checkpoint")
            return written

        self._checkpoints.add = fused_add


class FusedBroker(LoopbackBroker):
    fuse = Fuse()

    def send(self, request):
        self.fuse.reach("before_send")
        super().send(request)
        self.fuse.reach("acknowledged")

    def _write(self, line):
        super()._write(line)
        if b'"request":' in line:
            self.fuse.reach("sent_unanswered")

    def reports_since(self, exec_id):
        self.fuse.reach("before_reports")
        reports = super().reports_since(exec_id)
        if reports:
            self.fuse.reach("reports_collected")
        return reports


class Unrecorded(Outbox):
    """Sabotage: sends before the commit. The tool must find it."""

    def note_record(self, record):
        super().note_record(record)
        while self._waiting:
            self._broker.send(self._waiting.popleft())


def run_session(folder, run, port, blocks, fuse, sabotage="", model=small_engine):
    """One life of a session: begin or recover, go on to the end, seal."""
    fuse.reach("start")
    FusedJournal.fuse = FusedBroker.fuse = fuse
    is_new = not (folder / JOURNAL_NAME).exists()
    try:
        if is_new:
            journal = FusedJournal.create(folder, run=run, checkpoint_every=CHECKPOINT_EVERY)
        else:
            journal = FusedJournal.open(folder)
    except JournalEndedError:
        return  # The kill came after the seal: nothing is left to do.
    journal.watch_checkpoints()
    broker = FusedBroker(port, run, timeout_s=0.1, attempts=50)
    outbox = (Unrecorded if sabotage == "send_first" else Outbox)(run, broker)
    engine = model.build_engine()
    driver = Driver(journal, engine, outbox=outbox)

    def step(given):
        if sabotage != "send_first":
            return driver.take(given)
        number = journal.append_input(given)
        for record in engine.on_input(number, given):
            journal.append_record(msgspec.json.encode(record))
            outbox.note_record(record)
        if isinstance(given, VenueReport):
            outbox.note_report(given.report)
        return journal.commit()

    def settle():
        while reports := outbox.collect():
            for report in reports:
                step(VenueReport(report=report))

    at = recover(journal, engine, outbox)
    if sabotage == "skip_resend":
        outbox._waiting.clear()
    outbox.send(journal)
    if not at.begun:
        step(model.build_begin(run))
    if not at.ended:
        settle()
        for block in blocks[at.feed_inputs :]:
            step(block)
            settle()
        step(model.build_end(engine))
    journal.seal()
    broker.close()


class Venue:
    """The loopback venue in a process of its own."""

    def __init__(self, database, faults):
        self.database = database
        arguments = [argument for fault in faults for argument in ("--fault", fault)]
        self.process = subprocess.Popen(
            [sys.executable, loopback_venue.__file__, "--database", database, *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.process.stdout.readline())

    def requests(self, run):
        """(id, body) of every request of ``run``, in the order in which the venue took them."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        rows = connection.execute("SELECT id, body FROM requests WHERE run = ? ORDER BY number", (run,)).fetchall()
        connection.close()
        return rows

    def book(self, run):
        """The orders and reports that the requests make."""
        book = VenueBook(reject_every=REJECT_EVERY)
        for _, body in self.requests(run):
            book.apply(msgspec.json.decode(body, type=Request))
        return book

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=10)
        self.process.stdout.close()


def live_once(kill_after_s, folder, run, port, blocks, fuse, sabotage="", model=small_engine):
    """Run one life in a forked process; True where it came to its end, False where it was killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run_session(folder, run, port, blocks, fuse, sabotage, model)
            status = 0
        except BaseException as error:  # noqa: BLE001 (the process ends here, whatever it was)
            print(f"{run}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    if kill_after_s is not None:
        descriptor = os.pidfd_open(child)
        select.select([descriptor], [], [], kill_after_s)
        os.close(descriptor)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        raise SessionFailedError(f"{run}: the session ended with an error")
    return True


class SessionFailedError(Exception):
    """A session ended by itself with an error."""


def recorded_requests(folder, run):
    """The ids of all requests that committed records hold."""
    ids = set()
    outbox = Outbox(run, broker=None)
    with JournalReader.open(folder) as reader:
        for row in reader.record_rows():
            outbox.note_record(decode_record(row.body))
    ids.update(one.request_id for one in outbox._waiting)
    return ids


def check_after_kill(folder, run, venue):
    """What must hold at every moment."""
    problems = []
    if not (folder / JOURNAL_NAME).exists():
        return problems
    try:
        report = verify_run(folder)
    except AuditUsageError:  # Killed before anything was written: nothing may have been sent either.
        return [f"{run}: the venue has {name}, and no journal" for name, _ in venue.requests(run)]
    problems += [f"{run}: after a kill: {one.kind} {one.where} {one.number}: {one.text}" for one in report.findings]
    unrecorded = {name for name, _ in venue.requests(run)} - recorded_requests(folder, run)
    problems += [f"{run}: the venue has {name}, which no committed record holds" for name in sorted(unrecorded)]
    return problems


def check_end(folder, calm_folder, run, venue, calm_venue, model=small_engine):
    """What must hold when a session is over: everything is as in the undisturbed run."""
    problems = []
    report, calm = verify_run(folder), verify_run(calm_folder)
    problems += [f"{run}: at the end: {one.kind} {one.where} {one.number}: {one.text}" for one in report.findings]
    if not report.ended:
        problems.append(f"{run}: the journal is not sealed")
    for name in ("inputs", "records", "record_head", "root"):
        if getattr(report, name) != getattr(calm, name):
            problems.append(f"{run}: {name} is {getattr(report, name)}, undisturbed {getattr(calm, name)}")
    there, expected = venue.requests(run), calm_venue.requests(run)
    if there != expected:
        lost = {name for name, _ in expected} - {name for name, _ in there}
        more = {name for name, _ in there} - {name for name, _ in expected}
        problems.append(
            f"{run}: requests at the venue differ: lost {sorted(lost)}, more {sorted(more)}, or their order"
        )
    if venue.book(run).reports != calm_venue.book(run).reports:
        problems.append(f"{run}: the venue's reports differ")
    with JournalReader.open(folder) as reader:
        again = replay(reader, model.build_engine())
    if not again.equal:
        problems.append(f"{run}: replay differs: {again.difference}")
    return problems


def kill_sessions(base, kills, seed, blocks=40, sabotage="", only=(), model=small_engine):
    """Run killed sessions until ``kills`` kills were done, ``only`` at these points or else anywhere and at any time; the
    result is a summary with its problems.
    """
    generator = np.random.default_rng(seed)
    calm_venue = Venue(base / "calm.sqlite", [f"reject:{REJECT_EVERY}"])
    venue = Venue(base / "venue.sqlite", [f"reject:{REJECT_EVERY}", *FAULTS])
    points, problems = Counter(), []
    sessions = lives = requests = records = 0
    try:
        while sum(points.values()) < kills and not problems:
            run = RunId(f"run{sessions}")
            feed = model.build_blocks(seed * 1000 + sessions, blocks)
            started = time.monotonic()
            live_once(None, base / "calm" / run, run, calm_venue.port, feed, Fuse(), model=model)
            lasted_s = time.monotonic() - started
            folder = base / "killed" / run
            done = False
            while not done and not problems:
                kill_after_s, fuse = None, Fuse()
                if sum(points.values()) < kills:
                    if not only and generator.random() < 0.5:
                        kill_after_s = float(generator.uniform(0, lasted_s * 0.6))
                    else:
                        point = str(generator.choice(only or POINTS))
                        fuse = Fuse(point, 1 if point in ONCE else int(generator.integers(1, 12)))
                lives += 1
                done = live_once(kill_after_s, folder, run, venue.port, feed, fuse, sabotage, model)
                if not done:
                    points[fuse.point or "random_time"] += 1
                    problems += check_after_kill(folder, run, venue)
            if done:
                problems += check_end(folder, base / "calm" / run, run, venue, calm_venue, model)
            sessions += 1
            requests += len(venue.requests(run))
            records += verify_run(folder).records
    except SessionFailedError as failure:
        problems.append(str(failure))
    finally:
        venue.close()
        calm_venue.close()
    return {
        "kills": sum(points.values()),
        "sessions": sessions,
        "lives": lives,
        "records": records,
        "requests": requests,
        "kills_by_point": dict(sorted(points.items())),
        "problems": problems,
    }


def warm_up(model):
    """Compile what the engine compiles, once, before the processes that are killed are forked."""
    engine = model.build_engine()
    for number, given in enumerate([model.build_begin("warm"), *model.build_blocks(1, 20)]):
        list(engine.on_input(number, given))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=40, help="blocks in each session")
    parser.add_argument("--engine", choices=("small", "real"), default="small", help="the tests' own, or the product's")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder unless given")
    parser.add_argument("--sabotage", choices=("send_first", "skip_resend"), default="", help="break it on purpose")
    parser.add_argument("--only", choices=POINTS, nargs="+", default=(), help="kill at these points only")
    given = parser.parse_args()
    model = small_engine
    if given.engine == "real":
        from tests.tools import real_engine as model

        warm_up(model)
    base = given.folder or Path(tempfile.mkdtemp(prefix="kill_run"))
    base.mkdir(parents=True, exist_ok=True)
    try:
        summary = kill_sessions(base, given.kills, given.seed, given.blocks, given.sabotage, given.only, model)
    finally:
        if given.folder is None:
            shutil.rmtree(base)
    print(json.dumps(summary, indent=2))
    sys.exit(1 if summary["problems"] else 0)


if __name__ == "__main__":
    main()
