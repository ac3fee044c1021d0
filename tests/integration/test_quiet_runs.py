"""A backtest whose quiet bars share records: summary, risk report, explain and recovery see every bar all the same."""

import msgspec
import pytest

from engine_runs import open_risk
from grandmodel.domain.moments import expanded
from grandmodel.domain.time import text_from_ns
from grandmodel.journal.format import JournalReader, decode_record
from grandmodel.journal.replay import replay
from grandmodel.risk.report import build_risk_report
from grandmodel.runtime.errors import RunStoppedError
from grandmodel.runtime.explain import explain
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.results import load_results
from grandmodel.runtime.runs import write_reports
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AgentSettings, Mode, RunSettings
from strategies import ALL_DAY, MINUTE, NQ, bar_row, stack

AGENT = AgentSettings(kind="moving_average_cross", parameters={"fast": 3, "slow": 11, "width_ns": 5 * MINUTE})


def blocks():
    rows = [
        bar_row(5 * k, 1_000 + k % 9, 1_020 + k % 9, 990, 1_000 + (k * k // 7) % 13, sequence=k) for k in range(400)
    ]
    return [stack(rows[start : start + 37]) for start in range(0, len(rows), 37)]


def settings(most):
    return RunSettings(
        mode=Mode.BACKTEST, agents=(AGENT,), risk=open_risk(), widths_ns=(5 * MINUTE, 30 * MINUTE), quiet_moments=most
    )


def made(folder, most):
    with Session.start(folder, settings(most), [NQ], [ALL_DAY], data="test", clock_ns=lambda: 0) as session:
        session.feed(blocks())
        session.end()
    return folder


def records_of(folder):
    with JournalReader.open(folder) as reader:
        return [decode_record(row.body) for row in reader.record_rows()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("quiet")
    return {most: made(root / f"run-{most}" / "run", most) for most in (1, 1024)}


def alike(records):
    return [msgspec.structs.replace(record, number=0, note=msgspec.UNSET) for record in expanded(records)]


def test_the_journal_holds_every_moment_in_fewer_records(runs):
    single, shared = records_of(runs[1]), records_of(runs[1024])
    assert alike(shared) == alike(single)
    assert sum(record.quiet is not None for record in shared) > 10
    assert len(shared) < len(single) - 150
    assert sum(record.quiet.fills for record in shared if record.quiet is not None) > 10


def test_results_summary_and_risk_report_are_those_of_single_records(runs):
    one, other = (load_results(runs[most]) for most in (1, 1024))
    for name in ("times", "equity", "fills", "history", "orders", "ending", "alerts"):
        assert getattr(one, name) == getattr(other, name)
    reports = [
        build_risk_report("run", records_of(runs[most]), [NQ], settings(1).risk, "USD", schedule=ALL_DAY)
        for most in (1, 1024)
    ]
    assert reports[0] == reports[1]
    summaries = [msgspec.to_builtins(write_reports(runs[most])[1]) for most in (1, 1024)]
    differing = {name for name in summaries[0] if summaries[0][name] != summaries[1][name]}
    assert differing <= {"records", "settings_hash", "record_head", "latency_us"}


def test_a_moment_within_a_quiet_record_is_explained_by_its_time(runs):
    records = records_of(runs[1024])
    quiet = next(record for record in records if record.quiet is not None and len(list(expanded([record]))) > 3)
    moment = list(expanded([quiet]))[1]
    told = explain(runs[1024], text_from_ns(moment.ts))
    assert (told.record, told.ts, told.equity_micros) == (quiet.number, moment.ts, moment.equity_micros)
    assert [bar.ts_event for bar in told.bars] == [bar.ts_event for bar in moment.bars]


def test_a_quiet_run_replays_and_goes_on_where_it_was_stopped(runs, tmp_path):
    with JournalReader.open(runs[1024]) as reader:
        assert replay(reader, InputEngine()).equal
    whole = records_of(runs[1024])
    for kept in (1, 4, 7):
        folder = tmp_path / f"kept-{kept}" / "run"
        calls = iter(range(10**6))
        with Session.start(
            folder, settings(1024), [NQ], [ALL_DAY], data="test", clock_ns=lambda: 0
        ) as session, pytest.raises(RunStoppedError):  # fmt: skip
            session.feed(blocks(), should_stop=lambda calls=calls, kept=kept: next(calls) > 6 * kept)
        with Session.resume(folder, clock_ns=lambda: 0) as session:
            at = session.recovered.feed_inputs
            session.feed(blocks()[at:], first=at)
            session.end()
        assert records_of(folder) == whole
