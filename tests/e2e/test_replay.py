"""A whole run: started, fed, ended, verified, replayed to the byte; and cut off anywhere, taken up again, with the same end."""

import hashlib
import itertools
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine_runs import open_risk
from grandmodel.domain.errors import GrandModelError, UsageError
from grandmodel.domain.events import Command, CommandKind, Signal, SignalTrigger
from grandmodel.journal.format import JournalReader
from grandmodel.journal.replay import replay
from grandmodel.runtime.agents import build_agent
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.results import load_results
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AgentSettings, Mode, RunSettings
from grandmodel.runtime.summary import summarise
from grandmodel.simulation.models import LognormalLatency, RandomSlippage, VenueSettings
from strategies import ALL_DAY, CL, MINUTE, NQ, bar_row, quote_row, stack, trade_row

SETTINGS = RunSettings(
    mode=Mode.PAPER,
    agents=(
        AgentSettings(kind="engine_runs:Restless"),
        AgentSettings(kind="moving_average_cross", parameters={"fast": 2, "slow": 4, "width_ns": 5 * MINUTE}),
    ),
    venue=VenueSettings(latency=LognormalLatency(median=10**9, sigma=1.5), slippage=RandomSlippage()),
    risk=open_risk(),
    widths_ns=(5 * MINUTE, 30 * MINUTE),
)


def blocks(seed=1, rows=1_200, cut=100):
    """Trades and quotes of two instruments, ten seconds apart, in blocks of ``cut`` rows; then a few bars."""
    generator = np.random.default_rng(seed)
    made, price = [], [1_000, 2_000]
    for k in range(rows):
        i = k % 2
        price[i] += int(generator.integers(-2, 3))
        ns = k * 10 * 10**9
        if generator.random() < 0.5:
            made.append(trade_row(ns, price[i], int(generator.integers(1, 9)), instrument=i, sequence=k))
        else:
            made.append(quote_row(ns, price[i] - 1, price[i] + 1, 5, 5, instrument=i, sequence=k))
    found = [stack(made[start : start + cut]) for start in range(0, rows, cut)]
    first = rows * 10 // 60 + 5
    bars = [bar_row(first + 5 * k, 1_000, 1_004, 996, 1_000 + k % 3, sequence=k) for k in range(20)]
    return [*found, stack(bars)]


def clock():
    return itertools.count(0, 1_000).__next__


def start(folder, settings=SETTINGS):
    return Session.start(folder, settings, (NQ, CL), (ALL_DAY, ALL_DAY), data="made by a test", clock_ns=clock())


def finish(folder, settings=SETTINGS, **more):
    """A whole run, with two commands and a signal on the way."""
    with start(folder, settings) as session:
        session.feed(blocks()[:6], **more)
        session.command(Command(kind=CommandKind.PAUSE, ts=session.engine.now, who="ann/risk_officer", why="test"))
        session.feed(blocks()[6:8], **more)
        session.command(Command(kind=CommandKind.RESUME, ts=session.engine.now, who="ann/risk_officer", why="test"))
        session.feed(blocks()[8:9], **more)
        session.signal(Signal(ts=session.engine.now, trigger=SignalTrigger.LATENCY, value=0.6, source="test"))
        session.feed(blocks()[9:], **more)
        session.end()
    return folder


def records(folder):
    with JournalReader.open(folder) as reader:
        return [row.body for row in reader.record_rows()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("replay") / "run")


def test_a_run_trades_and_its_replay_is_equal(whole):
    results = load_results(whole)
    assert len(results.fills) > 50
    assert {fill.instrument for fill in results.fills} == {"NQ", "CL"}
    with JournalReader.open(whole) as reader:
        report = replay(reader, InputEngine(build_agent))
    assert report.equal
    assert report.difference is None
    assert report.records == results.records > 100


def test_the_same_run_again_has_the_same_records(whole, tmp_path):
    assert records(finish(tmp_path / "run")) == records(whole)


def test_another_seed_has_others(whole, tmp_path):
    other = finish(tmp_path / "run", msgspec.structs.replace(SETTINGS, seed=8))
    assert records(other)[1:] != records(whole)[1:]


def test_a_changed_record_is_a_difference_that_names_its_field(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection, connection:
        query = "SELECT number, body FROM records WHERE CAST(body AS TEXT) LIKE '%fills%' LIMIT 1"
        number, body = connection.execute(query).fetchone()
        changed = body.replace(b'"equity_micros":', b'"equity_micros":1')
        connection.execute("UPDATE records SET body = ? WHERE number = ?", (changed, number))
    with JournalReader.open(folder) as reader:
        report = replay(reader, InputEngine(build_agent))
    assert not report.equal
    assert (report.difference.record, report.difference.field) == (number, "equity_micros")


def test_rows_of_one_block_or_of_many_make_the_same_records(tmp_path):
    """Fed in pieces of 100 rows and of 7: only the journal's inputs differ, no record does."""
    bodies = []
    for cut in (100, 7):
        folder = tmp_path / str(cut) / "run"
        with start(folder) as session:
            session.feed(blocks(cut=cut))
            session.end()
        bodies.append(records(folder))
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("kept", [1, 3, 7, 12])
def test_a_run_cut_off_between_blocks_goes_on_to_the_same_end(tmp_path, kept):
    straight = tmp_path / "a" / "run"
    with start(straight) as session:
        session.feed(blocks())
        session.end()
    broken = tmp_path / "b" / "run"
    with start(broken) as session:
        session.feed(blocks()[:kept])
    with Session.resume(broken, clock_ns=clock(), build_agent=build_agent) as session:
        assert session.recovered.feed_inputs == kept
        session.feed(blocks()[kept:], first=kept)
        session.end()
    assert records(broken) == records(straight)


def test_a_run_killed_inside_a_block_goes_on_to_the_same_end(tmp_path):
    """The process dies at a record in the middle of a block: what was not committed is gone, and comes again."""
    straight = tmp_path / "a" / "run"
    with start(straight) as session:
        session.feed(blocks())
        session.end()
    broken = tmp_path / "b" / "run"
    session = start(broken)
    seen = itertools.count()

    def die(record):
        if next(seen) == 60:
            raise KeyboardInterrupt

    session.on_record = die
    with pytest.raises(KeyboardInterrupt), session:
        session.feed(blocks())
    with Session.resume(broken, clock_ns=clock(), build_agent=build_agent) as session:
        session.feed(blocks()[session.recovered.feed_inputs :], first=session.recovered.feed_inputs)
        session.end()
    assert records(broken) == records(straight)


def test_a_sealed_run_is_not_gone_on_with(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    with pytest.raises(GrandModelError), Session.resume(folder, clock_ns=clock(), build_agent=build_agent) as session:
        session.feed(blocks()[:1])
    assert records(folder) == records(whole)


def test_a_folder_that_holds_a_run_is_not_begun_anew(whole):
    with pytest.raises(UsageError):
        start(Path(whole))


def test_live_is_refused_without_a_broker(tmp_path):
    with pytest.raises(UsageError, match="broker"):
        start(tmp_path / "run", msgspec.structs.replace(SETTINGS, mode=Mode.LIVE))


def test_the_summary_s_profit_is_that_of_its_instruments_and_of_the_last_record(whole):
    results = load_results(whole)
    summary = summarise(results)
    assert summary.ended
    assert summary.profit_micros == results.equity[-1] - SETTINGS.account.capital_micros
    assert summary.profit_micros == sum(one.profit_micros for one in summary.instruments)
    assert summary.fees_micros == sum(one.fees_micros for one in summary.instruments) > 0
    assert summary.fills == sum(one.fills for one in summary.instruments) == len(results.fills)
    assert summary.market_rows == 1_220
    positions = dict.fromkeys(("NQ", "CL"), 0)
    for fill in results.fills:
        positions[fill.instrument] += fill.signed_quantity
    assert {one.instrument: one.position_lots for one in summary.instruments} == positions


def test_a_backtest_that_keeps_no_rows_replays_with_a_resolver(tmp_path):
    folder = finish(
        tmp_path / "run", msgspec.structs.replace(SETTINGS, mode=Mode.BACKTEST), keep_rows=False, where="made"
    )
    known = {}
    for block in blocks():
        known[hashlib.sha256(block.tobytes()).hexdigest()] = block.tobytes()
    asked = []

    def resolver(given):
        asked.append(given.source)
        return known[given.source.split(" ")[0]]

    with JournalReader.open(folder, resolver=resolver) as reader:
        report = replay(reader, InputEngine(build_agent))
    assert report.equal
    assert asked
    assert asked[0].endswith(" made#0")
