"""A run that is told to stop, one that died between its seal and its summary, and eight that begin at once."""

import os
import select
import shlex
import signal
import subprocess
import sys

import pytest

from at_once import at_once
from grandmodel.cli import run as run_module
from grandmodel.cli.stopping import StopSignals, resume_command
from grandmodel.domain.time import ns_from_text
from grandmodel.journal.checkpoints import is_sealed
from grandmodel.journal.errors import JournalEndedError
from grandmodel.journal.format import JOURNAL_NAME, LOCK_NAME, JournalReader
from grandmodel.journal.keys import SigningKey
from grandmodel.journal.sealed_files import FILES_NAME
from grandmodel.journal.verification import verify_run
from grandmodel.risk.settings import RiskSettings, VarSettings
from grandmodel.runtime.errors import RunStoppedError
from grandmodel.runtime.feeds import SimulatedFeed, instruments_named
from grandmodel.runtime.runs import claim_run_folder, is_complete, resume_feed, run_feed, write_reports
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import RunSettings

SPAN = (ns_from_text("2024-07-08T22:00:00+00:00"), ns_from_text("2024-07-09T12:00:00+00:00"))
SETTINGS = RunSettings(risk=RiskSettings(var=VarSettings(min_returns=2)))
FEED = SimulatedFeed(instruments_named(["NQ"]), *SPAN, seed=3, row_scale=0.05)
PRODUCTS = ("latency.json", "summary.json", "report.html", FILES_NAME)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return SigningKey.create(tmp_path_factory.mktemp("key") / "k.pem")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, key):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_feed(folder, SETTINGS, FEED, clock_ns=int, signer=key)
    return folder


def is_proven(folder, key):
    return verify_run(folder, known={key.key_id: key.public}).is_proven


@pytest.mark.parametrize("steps", [0, 1, 20, 60])
def test_a_run_that_is_asked_to_stop_commits_and_goes_on_to_the_same_end(tmp_path, whole, key, steps):
    folder, asked = tmp_path / "run", iter(range(10**6))
    with pytest.raises(RunStoppedError, match="records are in its journal"):
        run_feed(folder, SETTINGS, FEED, clock_ns=int, signer=key, should_stop=lambda: next(asked) >= steps)
    report = verify_run(folder)
    assert (report.intact, report.ended) == (True, False)
    assert report.records >= max(0, steps - 1)
    resume_feed(folder, FEED, settings=SETTINGS, clock_ns=int, signer=key)
    assert verify_run(folder).root == verify_run(whole).root
    assert is_proven(folder, key)


@pytest.mark.parametrize("there", range(len(PRODUCTS)))
def test_a_run_that_died_between_its_seal_and_its_last_file_is_made_whole(tmp_path, key, there):
    folder = tmp_path / "run"
    with Session.start(
        folder, SETTINGS, FEED.instruments, FEED.schedules, data=FEED.description, clock_ns=int, signer=key
    ) as session:
        session.feed(FEED.blocks(), where=FEED.where)
        session.end()
    write_reports(folder, signer=key)
    for name in PRODUCTS[there:]:
        (folder / name).unlink()
    assert not is_complete(folder)
    before = is_proven(folder, key)
    assert before == (there == 0)  # What is there and not sealed is a doubt.
    summary = resume_feed(folder, FEED, settings=SETTINGS, clock_ns=int, signer=key)
    assert summary.ended
    assert is_complete(folder)
    assert is_proven(folder, key)
    assert not (folder / LOCK_NAME).exists()


def test_a_run_that_ended_names_the_report_and_gets_no_lock(whole):
    assert is_sealed(whole)
    for take_up in (lambda: resume_feed(whole, FEED, clock_ns=int), lambda: Session.resume(whole, clock_ns=int)):
        with pytest.raises(JournalEndedError, match=f"`grandmodel backtest report {whole}` writes"):
            take_up()
    assert not (whole / LOCK_NAME).exists()


def test_eight_runs_that_begin_at_once_get_a_number_each(tmp_path, whole):
    """Real processes, let go together, each with a whole run in the folder that it was given."""

    def run_one(number):
        folder = claim_run_folder(tmp_path / "runs", "paper")
        with Session.start(
            folder, SETTINGS, FEED.instruments, FEED.schedules, data=FEED.description, clock_ns=int
        ) as session:
            session.end()

    assert at_once(run_one) == [0] * 8
    folders = sorted((tmp_path / "runs").iterdir())
    assert [folder.name for folder in folders] == [f"paper-{number:04d}" for number in range(1, 9)]
    assert [verify_run(folder).run for folder in folders] == [folder.name for folder in folders]


def test_numbers_go_on_behind_the_highest(tmp_path):
    for name in ("paper-0007", "paper-0003", "paper-x", "backtest-0100"):
        (tmp_path / name).mkdir()
    (tmp_path / "paper-0008").write_text("a file takes a number too")
    assert claim_run_folder(tmp_path, "paper").name == "paper-0009"


def has_records(folder):
    if not (folder / JOURNAL_NAME).exists():
        return False
    with JournalReader.open(folder) as reader:
        return next(reader.record_rows(), None) is not None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_how_to_go_on_and_that_is_so(tmp_path, number):
    command = [sys.executable, "-m", "grandmodel.cli.main", "run", "--row-scale", "0.05"]
    folder = tmp_path / "runs" / "paper-0001"
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not has_records(folder):
            select.select([process.stderr], [], [], 0.01)
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(timeout=300) == 128 + number, said
    assert f"stopped by {number.name}" in said
    assert verify_run(folder).records >= 1
    line = said.strip().splitlines()[-1]
    assert line == "grandmodel run --row-scale 0.05 --resume runs/paper-0001"
    done = subprocess.run(
        [*command[:3], *shlex.split(line)[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert verify_run(folder).ended


def test_a_second_signal_ends_the_process_at_once():
    child = os.fork()
    if child == 0:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            if signals.asked() and signals.exit_code == 130:
                os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        assert not signals.asked()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("given", [["--resume", "old"], ["--resume=old"], []])
def test_the_command_to_go_on_with_names_the_run_once(monkeypatch, tmp_path, given):
    monkeypatch.setattr(sys, "argv", ["grandmodel", "run", *given, "--set", "a.b=c d"])
    assert resume_command(tmp_path) == f"grandmodel run --set 'a.b=c d' --resume {tmp_path}"


def test_what_cannot_begin_gives_its_number_back(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("cannot begin")

    monkeypatch.setattr(run_module, "_go", fail)
    with pytest.raises(ValueError, match="cannot begin"):
        run_module._run(SETTINGS, FEED, run_module.RunOptions(out=tmp_path / "runs", unsigned=True, as_json=True))
    assert list((tmp_path / "runs").iterdir()) == []
