"""A run whose accounts stand below one another, from its settings file to its report: told, replayed, taken up again and looked at."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from engine_runs import open_risk
from grandmodel.cli.audit import app as audit
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import CashFlow, CashKind, Command, CommandKind
from grandmodel.domain.time import THIRTY_MINUTES_NS
from grandmodel.journal.format import JournalReader
from grandmodel.journal.replay import replay
from grandmodel.risk.settings import AccountLimits
from grandmodel.runtime.commands import Told, described, in_time_order, read_commands
from grandmodel.runtime.feeds import BlockFeed
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.results import load_results
from grandmodel.runtime.runs import resume_feed, run_feed
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AccountSettings, AgentSettings, Mode, RunSettings, load_settings, settings_hash
from grandmodel.runtime.story import load_order, load_orders, load_refused
from integration.test_told_runs import AT, BARS, NQ, feed, records

NARROW = msgspec.structs.replace(open_risk().limits, max_long_lots=3, max_short_lots=3)
SETTINGS = RunSettings(
    mode=Mode.BACKTEST,
    account=AccountSettings(capital_micros=10**12),
    agents=tuple(
        AgentSettings(kind="random", parameters={"probability": 0.7, "lots": 2}, account=name)
        for name in ("trend", "carry", "alone")
    ),
    accounts={
        "desk": AccountLimits(limits=NARROW),
        "trend": AccountLimits(parent="desk", capital_micros=4 * 10**11),
        "carry": AccountLimits(parent="desk", capital_micros=4 * 10**11),
        "alone": AccountLimits(capital_micros=2 * 10**11),
    },
    widths_ns=(THIRTY_MINUTES_NS,),
    risk=open_risk(width_ns=THIRTY_MINUTES_NS),
)
DEPOSIT = CashFlow(
    ts=AT[1], id="1", kind=CashKind.DEPOSIT, amount_micros=10**11, currency="USD", source="bank", why="more", account="carry"
)  # fmt: skip
TOLD: tuple[Told, ...] = (
    Command(kind=CommandKind.FLATTEN, ts=AT[0], who="ann/trader", why="news", account="desk"),
    DEPOSIT,
    Command(kind=CommandKind.RESUME, ts=AT[2], who="ann/trader", why="it is over", account="desk"),
)


def test_a_run_of_several_accounts_says_of_each_what_it_did(tmp_path: Path) -> None:
    summary = run_feed(tmp_path / "run", SETTINGS, feed(), clock_ns=int, told=TOLD)
    made = records(tmp_path / "run")
    with JournalReader.open(tmp_path / "run") as reader:
        assert replay(reader, InputEngine()).equal
    accounts = {one.account: one for one in summary.accounts}
    desk, trend, carry, alone = (accounts[name] for name in ("desk", "trend", "carry", "alone"))
    assert not desk.trades
    for name in ("fills", "fees_micros", "equity_micros", "profit_micros", "round_trips", "capital_micros"):
        assert getattr(desk, name) == getattr(trend, name) + getattr(carry, name)
    assert summary.equity_micros == desk.equity_micros + alone.equity_micros
    assert summary.profit_micros == desk.profit_micros + alone.profit_micros
    assert summary.transfers_micros == 10**11
    assert summary.fees_micros == desk.fees_micros + alone.fees_micros
    assert min(trend.fills, carry.fills, alone.fills) > 5
    between = [order for r in made if AT[0] < r.ts < AT[2] for order in r.orders]
    assert {order.account for order in between if order.tag == "entry"} == {"alone"}
    assert any(name.startswith("desk: position_") for name in summary.refusals.cut_by)
    assert sum(one.position_lots for one in summary.instruments) == sum(
        fill.signed_quantity for r in made for fill in r.fills
    )


@pytest.mark.parametrize("parts", [2, 5])
def test_a_run_of_several_accounts_that_died_goes_on_to_the_same_end(tmp_path: Path, parts: int) -> None:
    run_feed(tmp_path / "whole" / "run", SETTINGS, feed(), clock_ns=int, told=TOLD)
    with Session.start(
        tmp_path / "cut" / "run",
        SETTINGS,
        [NQ],
        feed().schedules,
        data=described(feed().description, TOLD),
        clock_ns=int,
    ) as session:
        session.feed_parts(list(in_time_order([BARS], TOLD))[:parts])
        session.journal.commit()
    resume_feed(tmp_path / "cut" / "run", feed(), settings=SETTINGS, clock_ns=int, told=TOLD)
    assert records(tmp_path / "cut" / "run") == records(tmp_path / "whole" / "run")


def test_who_stopped_an_order_is_told_in_words(tmp_path: Path) -> None:
    refusing = msgspec.structs.replace(
        SETTINGS, accounts={**SETTINGS.accounts, "desk": AccountLimits(limits=NARROW, shrink=False)}
    )
    run_feed(tmp_path / "run", refusing, feed(), clock_ns=int)
    results = load_results(tmp_path / "run")
    assert any(name.startswith("desk: position_") for name in results.refusals.counts().refused_by)
    lines = load_refused(tmp_path / "run").refused
    line = next(one for one in lines if one.check is not None and one.check.name.startswith("desk: "))
    assert line.account in ("trend", "carry")
    assert line.check.unit == "lots"
    story = load_order(tmp_path / "run", line.order)
    assert story.decisions[0].verdict == "refused"
    names = [check.name for check in story.decisions[0].checks]
    assert {name.partition(": ")[0] for name in names if ": " in name} == {"desk", "run"}
    assert {one.account for one in load_orders(tmp_path / "run").orders} == {"trend", "carry", "alone"}
    said = CliRunner().invoke(audit, ["show", str(tmp_path / "run")], env={"COLUMNS": "200"})
    assert "random for carry" in said.output
    said = CliRunner().invoke(
        audit, ["show", str(tmp_path / "run"), "--order", str(line.order)], env={"COLUMNS": "200"}
    )
    assert f"agent random for {line.account}" in said.output


def test_a_settings_file_names_accounts_and_a_run_without_them_says_nothing_of_any(tmp_path: Path) -> None:
    path = tmp_path / "desk.toml"
    path.write_text(
        'agents = [{kind = "random", account = "a"}]\n[accounts.desk.limits]\nmax_long_lots = 3\n'
        '[accounts.a]\nparent = "desk"\ncapital_micros = 1000000000000\n'
    )
    settings = load_settings(path)
    assert settings.traders == ("a",)
    partly = load_settings(
        path,
        [
            "risk.limits.max_order_lots=7",
            "accounts.desk.breakers.drawdown.caution=0.01",
            "risk.breakers.daily_loss.caution=0.02",
        ],
    ).accounts["desk"]
    assert (partly.limits.max_long_lots, partly.limits.max_order_lots) == (3, 7)
    usual = RunSettings().risk.breakers
    assert partly.breakers.drawdown == msgspec.structs.replace(usual.drawdown, caution=0.01)
    assert partly.breakers.daily_loss == msgspec.structs.replace(usual.daily_loss, caution=0.02)
    assert partly.portfolio is None
    assert settings.accounts["desk"].limits.max_long_lots == 3
    plain = msgspec.json.encode(RunSettings())
    assert b"accounts" not in plain
    assert msgspec.json.decode(plain, type=RunSettings) == RunSettings()
    assert settings_hash(RunSettings()) == settings_hash(msgspec.json.decode(plain, type=RunSettings))
    with pytest.raises(UsageError, match=r"agents\.0\.account: found b, expected one of a"):
        load_settings(path, ['agents=[{"kind": "random", "account": "b"}]'])


def test_told_accounts_that_are_none_are_refused_before_the_run(tmp_path: Path) -> None:
    path = tmp_path / "told.jsonl"
    ts = AT[0]
    for line, why in (
        (
            f'{{"ts": {ts}, "kind": "pause", "who": "a/trader", "why": "w", "account": "x"}}',
            "found account x of pause, expected one of desk, trend, carry, alone, or none for all",
        ),
        (
            f'{{"ts": {ts}, "cash": "deposit", "id": "1", "amount": "1.00", "currency": "USD", "source": "s", "why": "w"}}',
            "found account none of .*expected one of trend, carry, alone",
        ),
        (
            f'{{"ts": {ts}, "kind": "stop", "who": "a/trader", "why": "w", "account": "desk"}}',
            "found account desk of stop, expected none: the agents stop all at once",
        ),
    ):
        path.write_text(line)
        with pytest.raises(UsageError, match=why):
            run_feed(tmp_path / "run", SETTINGS, feed(), clock_ns=int, told=read_commands(path, [NQ]))
    assert not (tmp_path / "run").exists()
    path.write_text(f'{{"ts": {ts}, "kind": "pause", "who": "a/trader", "why": "w", "account": "x"}}')
    plain = msgspec.structs.replace(SETTINGS, agents=(AgentSettings(),), accounts=msgspec.UNSET)
    with pytest.raises(UsageError, match="expected none: the run names no accounts"):
        run_feed(
            tmp_path / "run",
            plain,
            BlockFeed([NQ], [BARS], "made by a test"),
            clock_ns=int,
            told=read_commands(path, [NQ]),
        )
