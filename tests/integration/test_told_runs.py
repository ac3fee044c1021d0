"""A run that people tell something on the way: by a file, on the record, replayed without it, and taken up again with it."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from bar_files import NQ, random_bars, session_opens
from engine_runs import open_risk
from grandmodel.cli.run import app
from grandmodel.data.historical.store import Store
from grandmodel.domain.blocks import Block, Schema, empty_block, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import (
    CashFlow,
    CashKind,
    Cause,
    Command,
    CommandKind,
    Record,
    Settlement,
    Signal,
    SignalTrigger,
    Split,
)
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import InstrumentKind
from grandmodel.domain.time import THIRTY_MINUTES_NS, text_from_ns
from grandmodel.journal.format import JournalReader, decode_record
from grandmodel.journal.replay import replay
from grandmodel.runtime.commands import Told, described, in_time_order, read_commands
from grandmodel.runtime.feeds import BlockFeed, MarketFeed, StoreFeed, StoreQuery, StoreResolver
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.results import load_results
from grandmodel.runtime.runs import resume_feed, run_feed
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AgentSettings, Mode, RunSettings
from grandmodel.runtime.summary import round_trip_results

SETTINGS = RunSettings(
    mode=Mode.BACKTEST,
    agents=(AgentSettings(kind="random", parameters={"probability": 0.7}),),
    widths_ns=(THIRTY_MINUTES_NS,),
    risk=open_risk(width_ns=THIRTY_MINUTES_NS),
)


def bars() -> Block:
    opens = session_opens("2024-07-08", "2024-07-10", NQ, THIRTY_MINUTES_NS)
    values = random_bars(len(opens), 3)
    block = empty_block(Schema.BARS, len(opens))
    block["ts_open"] = opens
    block["ts_event"] = block["ts_init"] = block["ts_open"] + THIRTY_MINUTES_NS
    for column, name in enumerate(("open", "high", "low", "close")):
        block[name] = values[:, column] * 4
    block["volume"] = values[:, 4]
    block["sequence"] = np.arange(len(opens))
    return freeze(block)


BARS = bars()
AT = [int(BARS["ts_init"][row]) for row in (30, 45, 60, 70)]
TOLD: tuple[Told, ...] = (
    Command(kind=CommandKind.FLATTEN, ts=AT[0], who="ann/trader", why="news"),
    Command(kind=CommandKind.RESUME, ts=AT[1] + 1, who="ann/trader", why="it is over"),
    Signal(ts=AT[2], trigger=SignalTrigger.LATENCY, value=0.7, source="drill"),
    Command(kind=CommandKind.STOP, ts=AT[3], who="ann/trader", why="enough"),
)


def feed() -> MarketFeed:
    return BlockFeed([NQ], [BARS], "made by a test")


def records(folder: Path) -> list[Record]:
    with JournalReader.open(folder) as reader:
        return [decode_record(row.body) for row in reader.record_rows()]


def test_what_a_run_is_told_stands_in_its_journal_and_a_replay_needs_no_file(tmp_path: Path) -> None:
    summary = run_feed(tmp_path / "run", SETTINGS, feed(), clock_ns=int, told=TOLD)
    made = records(tmp_path / "run")
    assert [(r.cause, r.ts) for r in made if r.cause in (Cause.COMMAND, Cause.SIGNAL)] == [
        (Cause.COMMAND, AT[0]),
        (Cause.COMMAND, AT[1] + 1),
        (Cause.SIGNAL, AT[2]),
        (Cause.COMMAND, AT[3]),
    ]
    quiet = [order for r in made if AT[0] < r.ts < AT[1] for order in r.orders]
    assert any(order for r in made if r.ts < AT[0] for order in r.orders)
    assert not any(order.tag == "entry" for order in quiet)
    assert any(order.tag == "entry" for r in made if AT[1] < r.ts < AT[2] for order in r.orders)
    assert not any(r.orders for r in made if r.ts > AT[3])
    assert summary.data.startswith("made by a test; told 4 times")
    with JournalReader.open(tmp_path / "run") as reader:
        assert replay(reader, InputEngine()).equal


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 8])
def test_a_told_run_that_died_goes_on_to_the_same_end(tmp_path: Path, parts: int) -> None:
    run_feed(tmp_path / "whole" / "run", SETTINGS, feed(), clock_ns=int, told=TOLD)
    cut_off(tmp_path / "cut" / "run", parts)
    resume_feed(tmp_path / "cut" / "run", feed(), settings=SETTINGS, clock_ns=int, told=TOLD)
    assert records(tmp_path / "cut" / "run") == records(tmp_path / "whole" / "run")


def cut_off(folder: Path, parts: int) -> None:
    """The run after so many parts of its feed, and one signal that no file told."""
    source = feed()
    data = run_description()
    with Session.start(folder, SETTINGS, source.instruments, source.schedules, data=data, clock_ns=int) as session:
        stream = in_time_order(source.blocks(), TOLD)
        session.feed_parts(part for _, part in zip(range(parts), stream, strict=False))
        session.journal.commit()


def run_description() -> str:
    return described("made by a test", TOLD)


def test_a_signal_from_elsewhere_is_kept_when_a_told_run_goes_on(tmp_path: Path) -> None:
    source = feed()
    with Session.start(
        tmp_path / "run", SETTINGS, source.instruments, source.schedules, data=run_description(), clock_ns=int
    ) as session:
        stream = in_time_order(source.blocks(), TOLD)
        session.feed_parts([next(stream), next(stream)])
        session.signal(Signal(ts=session.engine.now, trigger=SignalTrigger.LATENCY, value=0.1, source="edge"))
    resume_feed(tmp_path / "run", feed(), settings=SETTINGS, clock_ns=int, told=TOLD)
    made = records(tmp_path / "run")
    assert made[-1].position == len(BARS)
    causes = [record.cause for record in made]
    assert (causes.count(Cause.SIGNAL), causes.count(Cause.COMMAND)) == (2, 3)


@pytest.mark.parametrize("told", [(), TOLD[:3]])
def test_a_told_run_is_not_gone_on_with_when_told_something_else(tmp_path: Path, told: tuple[Told, ...]) -> None:
    cut_off(tmp_path / "run", 1)
    with pytest.raises(UsageError, match="expected the feed that it began with"):
        resume_feed(tmp_path / "run", feed(), settings=SETTINGS, clock_ns=int, told=told)


def test_what_lies_outside_the_data_leaves_no_folder(tmp_path: Path) -> None:
    late = (Command(kind=CommandKind.STOP, ts=2**61, who="a", why="b"),)
    with pytest.raises(UsageError, match="expected a time within the data"):
        run_feed(tmp_path / "run", SETTINGS, feed(), clock_ns=int, told=late)
    assert not (tmp_path / "run").exists()


def test_a_told_run_over_the_store_finds_its_cut_blocks_again(tmp_path: Path) -> None:
    Store(tmp_path / "store").write(NQ, Schema.BARS, BARS, "made")
    query = StoreQuery(
        store=str(tmp_path / "store"), instruments=(NQ,), schema="bars", start_ns=int(BARS["ts_init"][0]), end_ns=AT[3] + 1,
        bar_width="30m", rows_per_block=50,
    )  # fmt: skip
    run_feed(tmp_path / "run", SETTINGS, StoreFeed(query), clock_ns=int, told=TOLD)
    with JournalReader.open(tmp_path / "run", StoreResolver()) as reader:
        sources = [row.body.decode() for row in reader.input_rows() if b'"market"' in row.body]
        assert any("#0:46" in source for source in sources), sources
        report = replay(reader, InputEngine())
    assert report.equal
    assert report.records > 60


def test_the_command_reads_the_file_and_says_what_was_told(tmp_path: Path) -> None:
    files = {"NQ.csv": "ts,open,high,low,close,volume\n", "told.jsonl": ""}
    for row in BARS:
        prices = ",".join(str(row[name] / 4) for name in ("open", "high", "low", "close"))
        files["NQ.csv"] += f"{text_from_ns(int(row['ts_event']))[:19]}Z,{prices},{row['volume']}\n"
    files["told.jsonl"] = json.dumps(
        {"ts": text_from_ns(AT[3])[:19] + "Z", "kind": "kill", "who": "ann/trader", "why": "drill"}
    )
    deposit = {"ts": AT[0], "cash": "deposit", "id": "1", "amount": "2500.50", "currency": "USD"}
    files["told.jsonl"] += "\n" + json.dumps(deposit | {"source": "bank", "why": "more capital"})
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    done = CliRunner().invoke(
        app,
        [
            "run", "--data", f"NQ={tmp_path / 'NQ.csv'}", "--label", "close", "--time-zone", "UTC",
            "--agent", "random", "--commands", str(tmp_path / "told.jsonl"), "--out", str(tmp_path), "--name", "run",
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (told,) = [record for record in records(tmp_path / "run") if record.cause is Cause.COMMAND]
    assert next(alert.code for alert in told.alerts) == "breaker_killed"
    assert "2,500.50, no part of profit and return" in " ".join(done.output.split())
    assert "deposit 2,500.50" in done.output


SAID = {"source": "statement", "why": "told"}
BOOKED: tuple[Told, ...] = (
    CashFlow(ts=AT[0], id="1", kind=CashKind.DEPOSIT, amount_micros=500_000 * 10**6, currency="USD", **SAID),
    CashFlow(
        ts=AT[1], id="2", kind=CashKind.FUNDING, amount_micros=-70 * 10**6, currency="USD", instrument=NQ.id, **SAID
    ),
    CashFlow(
        ts=AT[1], id="2", kind=CashKind.FUNDING, amount_micros=-70 * 10**6, currency="USD", instrument=NQ.id, **SAID
    ),
    Settlement(ts=AT[2], instrument=NQ.id, price=int(BARS["close"][60]), final=False, **SAID),
    CashFlow(ts=AT[3], id="3", kind=CashKind.WITHDRAWAL, amount_micros=-1_200_000 * 10**6, currency="USD", **SAID),
)


def test_a_run_that_is_told_of_cash_replays_and_its_profit_is_that_of_a_run_without_transfers(tmp_path: Path) -> None:
    """What the owner brings and takes is no profit: the run earns what it earns without, less the funding, to the last millionth."""
    plain = run_feed(tmp_path / "plain", SETTINGS, feed(), clock_ns=int)
    summary = run_feed(tmp_path / "run", SETTINGS, feed(), clock_ns=int, told=BOOKED)
    with JournalReader.open(tmp_path / "run") as reader:
        assert replay(reader, InputEngine()).equal
    assert summary.fills == plain.fills
    assert summary.fills > 20
    assert summary.profit_micros == plain.profit_micros - 70 * 10**6
    assert summary.equity_micros == plain.equity_micros - 700_070 * 10**6
    assert summary.transfers_micros == -700_000 * 10**6
    assert summary.cash_flows_micros == {
        "deposit": 500_000 * 10**6,
        "funding": -70 * 10**6,
        "withdrawal": -1_200_000 * 10**6,
    }
    (one,), (before,) = summary.instruments, plain.instruments
    assert (one.cash_flows_micros, one.profit_micros) == (-70 * 10**6, before.profit_micros - 70 * 10**6)
    assert summary.alerts["repeated_cash_flow"] == 1
    made = records(tmp_path / "run")
    first, second = (
        record.equity_micros for record in made if record.cause is Cause.CASH and record.ts in (AT[0], AT[3])
    )
    capital, deposit, withdrawal = 1_000_000 * 10**6, 500_000 * 10**6, 1_200_000 * 10**6
    grown = (first - deposit) / capital * (second + withdrawal) / first * summary.equity_micros / second
    assert summary.return_fraction == pytest.approx(grown - 1.0, rel=1e-9)
    assert summary.growth_ends_ns is None
    assert summary.max_drawdown_fraction < 0.1


def test_growth_ends_where_money_moves_while_nothing_is_left(tmp_path: Path) -> None:
    """The owner takes more than there is: from there on a return is a fraction of nothing."""
    told = [
        CashFlow(ts=AT[0], id="1", kind=CashKind.WITHDRAWAL, amount_micros=-2_000_000 * 10**6, currency="USD", **SAID)
    ]
    summary = run_feed(tmp_path / "run", SETTINGS, feed(), clock_ns=int, told=told)
    assert summary.growth_ends_ns == AT[0]
    assert summary.max_drawdown_fraction < 0.1
    assert summary.profit_micros == summary.equity_micros + 1_000_000 * 10**6


def test_a_cash_flow_that_no_account_can_book_leaves_no_folder(tmp_path: Path) -> None:
    wrong = CashFlow(ts=AT[0], id="1", kind=CashKind.FEE, amount_micros=-5, currency="CHF", **SAID)
    with pytest.raises(UsageError, match="currency CHF"):
        run_feed(tmp_path / "run", SETTINGS, feed(), clock_ns=int, told=[wrong])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("parts", [2, 5, 8])
def test_a_run_told_of_cash_that_died_goes_on_to_the_same_end(tmp_path: Path, parts: int) -> None:
    run_feed(tmp_path / "whole" / "run", SETTINGS, feed(), clock_ns=int, told=BOOKED)
    source = feed()
    data = described("made by a test", BOOKED)
    folder = tmp_path / "cut" / "run"
    with Session.start(folder, SETTINGS, source.instruments, source.schedules, data=data, clock_ns=int) as session:
        stream = in_time_order(source.blocks(), BOOKED)
        session.feed_parts(part for _, part in zip(range(parts), stream, strict=False))
        session.journal.commit()
    resume_feed(folder, feed(), settings=SETTINGS, clock_ns=int, told=BOOKED)
    assert records(folder) == records(tmp_path / "whole" / "run")


def test_what_cannot_be_booked_is_not_journalled(tmp_path: Path) -> None:
    source = feed()
    with Session.start(
        tmp_path / "run", SETTINGS, source.instruments, source.schedules, data="made by a test", clock_ns=int
    ) as session:
        before = session.journalled_feed()
        wrong = CashFlow(ts=AT[0], id="1", kind=CashKind.FEE, amount_micros=-5, currency="CHF", **SAID)
        with pytest.raises(UsageError, match="currency CHF"):
            session.book(wrong)
        assert session.journalled_feed() == before
        session.feed(source.blocks())
        session.end()
    with JournalReader.open(tmp_path / "run") as reader:
        assert replay(reader, InputEngine()).equal


SHARE = msgspec.structs.replace(
    NQ, id=InstrumentId("SHARE"), kind=InstrumentKind.EQUITY, tick_value_micros=250_000, initial_margin_micros=0
)


def test_what_a_share_earned_adds_up_over_a_split_a_dividend_and_its_end(tmp_path: Path) -> None:
    """All that the account gained is what its one instrument gained, and its round trips hold all but the dividend."""
    block = np.array(BARS)
    later = block["ts_init"] > AT[1]
    for name in ("open", "high", "low", "close"):
        block[name] = np.where(later, np.round(block[name] * 2 / 3).astype(np.int64), block[name])
    close = int(BARS["close"][45])
    told: list[Told] = [
        CashFlow(
            ts=AT[0], id="1", kind=CashKind.DIVIDEND, amount_micros=333, currency="USD", instrument=SHARE.id, **SAID
        ),
        Split(ts=AT[1], id="2", instrument=SHARE.id, into=3, of=2, price=close * 2 // 3, **SAID),
        Settlement(ts=AT[3], instrument=SHARE.id, price=int(block["close"][70]), final=True, **SAID),
    ]
    source = BlockFeed([SHARE], [freeze(block)], "made by a test")
    settings = msgspec.structs.replace(SETTINGS, agents=(AgentSettings(kind="buy_and_hold", parameters={"lots": 5}),))
    summary = run_feed(tmp_path / "run", settings, source, clock_ns=int, told=told)
    (one,) = summary.instruments
    split = next(json.loads(bytes(r.note)) for r in records(tmp_path / "run") if r.cause is Cause.SPLIT)
    assert (split["lots_before"], split["lots"]) == (5, 7)
    assert split["paid_micros"] == 250_000 * (close * 2 // 3) // 2
    assert (one.position_lots, one.round_trips, summary.booked_fills) == (0, 1, 1)
    assert one.profit_micros == summary.profit_micros
    assert one.cash_flows_micros == 333
    with JournalReader.open(tmp_path / "run") as reader:
        assert replay(reader, InputEngine()).equal
    results = load_results(tmp_path / "run")
    assert results.history[SHARE.id].lots[-1] == 0
    assert set(results.history[SHARE.id].lots) == {0, 5, 7}
    trips = round_trip_results(results.fills, SHARE.tick_value_micros, results.splits[SHARE.id])
    assert sum(trips) == summary.profit_micros - 333


def test_a_file_of_bookings_reaches_a_backtest(tmp_path: Path) -> None:
    """Lines of a file are what the run books."""
    lines = (
        {"ts": AT[0], "cash": "deposit", "id": "1", "amount": "2500.50", "currency": "USD", **SAID},
        {
            "ts": AT[1],
            "settlement": "daily",
            "instrument": "NQ",
            "price": str(NQ.price_from_ticks(int(BARS["close"][45]))),
            **SAID,
        },
    )
    commands = tmp_path / "told.jsonl"
    commands.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    told = read_commands(commands, [NQ])
    assert [type(one).__name__ for one in told] == ["CashFlow", "Settlement"]
    summary = run_feed(tmp_path / "run", SETTINGS, feed(), clock_ns=int, told=told)
    assert summary.transfers_micros == 2_500_500_000
