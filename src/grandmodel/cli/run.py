"""``grandmodel run`` and ``grandmodel backtest run``: one feed through the engine, with a progress line and a summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grandmodel.cli.options import grouped
from grandmodel.cli.output import JsonFlag, RunArgument, agents_folder, console, print_json, run_folder, stdout
from grandmodel.cli.signing import UnsignedOption, run_signer
from grandmodel.cli.sources import FileOptions, SchemaOption, SourceOptions, file_feed, store_feed
from grandmodel.cli.stopping import StopSignals, resume_command
from grandmodel.domain.errors import UsageError
from grandmodel.domain.files import is_text, path_text

if TYPE_CHECKING:
    from rich.table import Table

    from grandmodel.journal.keys import SigningKey
    from grandmodel.performance.ratios import AnnualRatios
    from grandmodel.runtime.agents import OwnAgents
    from grandmodel.runtime.commands import Told
    from grandmodel.runtime.feeds import MarketFeed
    from grandmodel.runtime.samples import Samples
    from grandmodel.runtime.session import Progress as RunProgress
    from grandmodel.runtime.settings import Mode, RunSettings
    from grandmodel.runtime.summary import Summary

app = typer.Typer(help="History through the engine.", no_args_is_help=True)

UNATTENDED = ("risk.breakers.automatic_release=halt", "risk.flow.throttle_release_ns=86400000000000")
"""What a backtest without a settings file sets first: breakers and the throttle come back by themselves, after a day."""

DEFAULT_DAY = "2024-07-10"
"""Trading day of the default simulated session; any day would do, since its prices are invented."""
WARM_UP_DAYS = 14
"""Trading days before it: a strategic window is whole after 576 half-hour bars."""
SESSION_CAPITAL = "account.capital_micros=10000000000000"
"""What the default session begins with, unless --set says otherwise: 10 million, so that a small exposure is still whole lots."""
SIMULATED = ("NQ", "CL")

SettingsOption = Annotated[Path | None, typer.Option("--settings", help="Settings file, TOML or JSON.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override one setting: account.capital_micros=5e11 (repeatable).")
]
AgentOption = Annotated[
    str | None,
    typer.Option(
        "--agent",
        help="grandmodel (the learning agents), moving_average_cross, random, buy_and_hold, or module:Class, whose code is then run.",
    ),
]
AgentSetOption = Annotated[
    list[str] | None, typer.Option("--agent-set", help="A parameter of --agent, such as fast=20 (repeatable).")
]
CommandsOption = Annotated[
    Path | None,
    typer.Option(
        "--commands",
        help="What people and measurements tell the run: JSON lines of ts, kind (pause, resume, flatten, kill, release, stop, "
        "reset_throttle), who and why; or of ts, trigger (latency, disconnect, market_wide, data_quality), value and source; or what the "
        "account books without an order: cash flows, exchange rates, settlements, splits (docs/concepts/ledger.md).",
    ),
]
OwnAgentsOption = Annotated[
    Path | None,
    typer.Option(
        "--agents-from",
        help="The folder where the module of an agent of one's own (module:Class) lies. Default: the current folder where --agent "
        "names one; an agent that only a settings file names needs this option.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="Where run folders are made.")]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the run folder; the next free number by default.")
]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is made: its settings, its agents, its folder."""

    settings: SettingsOption = None
    overrides: SetOption = None
    agent: AgentOption = None
    agent_set: AgentSetOption = None
    commands: CommandsOption = None
    agents_from: OwnAgentsOption = None
    out: OutOption = Path("runs")
    name: NameOption = None
    unsigned: UnsignedOption = False
    resume: Annotated[
        Path | None, typer.Option(help="Go on with a run folder whose process died; same options as it began with.")
    ] = None
    as_json: JsonFlag = False


@grouped
def run_command(
    source: FileOptions,
    day: Annotated[str, typer.Option(help="Trading day of the simulated session.")] = DEFAULT_DAY,
    seed: Annotated[int, typer.Option(help="Seed of the simulated market and of everything drawn in the run.")] = 7,
    row_scale: Annotated[float, typer.Option(help="Multiplies the number of simulated rows.")] = 1.0,
    *,
    how: RunOptions,
) -> None:
    """The main job: one paper session through the whole system, with a summary and a report page at the end.

    Without --data the market is simulated: NQ and CL quotes and trades from a model whose parameters were fitted to real
    bars. Fourteen days warm up the features and the risk numbers, then one trading day is traded. Without --agent and --settings
    the live models of the registry decide (`grandmodel model list`), with 10 million to begin with, on the instruments that their
    files name: the first lines say which model trades what.
    """
    from grandmodel.runtime.settings import Mode, changed

    chosen = settings_of(Mode.PAPER, how.settings, how.overrides, how.agent, how.agent_set)
    if source.data:
        feed = file_feed(source)
        chosen = _fit_to(chosen, feed, how.settings)
    else:
        feed, trade_from_ns = _simulated_feed(day, seed, row_scale)
        chosen = changed(chosen, {"seed": seed, "trade_from_ns": trade_from_ns})
    _run(chosen, feed, how)


@app.command("run")
@grouped
def backtest_command(source: SourceOptions, schema: SchemaOption = "bars", *, how: RunOptions) -> None:
    """Run history through the engine and write a run folder: journal, summary.json and report.html.

    Without a settings file the circuit breakers, and sides that too many executions shut, come back by themselves after a day,
    since no person is there to do it; --commands gives them one.
    Data comes from files (--data NQ=FILE) or from a store (--store DIR --instrument NQ --from 2020-06-29 --to 2024-06-29).
    """
    from grandmodel.runtime.settings import Mode

    chosen = settings_of(Mode.BACKTEST, how.settings, how.overrides, how.agent, how.agent_set)
    if source.data and not source.store:
        feed = file_feed(source, source.start, source.end)
    elif source.store and source.instrument:
        feed = store_feed(source, source.store, source.instrument, schema)
    else:
        raise UsageError(
            "found no data: give --data INSTRUMENT=FILE, or --store DIR with --instrument, --from and --to"
        )
    _run(_fit_to(chosen, feed, how.settings), feed, how)


@app.command("report")
def report_command(run: RunArgument, unsigned: UnsignedOption = False, as_json: JsonFlag = False) -> None:
    """Write summary.json and report.html of a run again, from its journal, and seal them with your key.

    A journal that was changed is not reported on: `audit verify` says what was found.
    """
    from grandmodel.journal.errors import JournalDamagedError
    from grandmodel.journal.verification import FindingKind, text_of_finding, verify_run
    from grandmodel.runtime.runs import write_reports

    folder = run_folder(run)
    with console.status("verifying the journal"):
        report = verify_run(folder)
    beside = {FindingKind.CHANGED_FILE, FindingKind.MISSING_FILE}  # What is written again, or refused when it is read.
    wrong = [one for one in report.findings if one.kind not in beside]
    if wrong:
        raise JournalDamagedError(
            f"{folder}: the run does not verify, so nothing is written from it: {text_of_finding(wrong[0])}; "
            f"`grandmodel audit verify {folder}` has the rest"
        )
    _, summary = write_reports(folder, signer=run_signer(unsigned=unsigned), note="written again by `backtest report`")
    _show(summary, folder, as_json=as_json)


def settings_of(
    mode: Mode,
    path: Path | None,
    overrides: list[str] | None = None,
    agent: str | None = None,
    agent_set: list[str] | None = None,
) -> RunSettings:
    """What ``run`` (mode paper) and ``backtest run`` use, before the data is looked at; ``settings show`` prints the same."""
    from grandmodel.runtime.settings import Mode

    if path is None and mode is Mode.BACKTEST:
        # Nobody sits beside a backtest: the breakers come back by themselves, unless the settings say otherwise.
        overrides = [*UNATTENDED, *(overrides or ())]
    elif path is None and agent is None:
        overrides = [SESSION_CAPITAL, *(overrides or ())]
        agent, agent_set = "grandmodel", ["strategic=live", "tactical=live", *(agent_set or ())]
    return _settings(path, overrides, agent, agent_set, mode)


def _settings(
    path: Path | None, overrides: list[str] | None, agent: str | None, given: list[str] | None, mode: Mode
) -> RunSettings:
    from grandmodel.runtime.settings import AgentSettings, Mode, changed, load_settings

    loaded = load_settings(path, overrides or ())
    if loaded.mode is Mode.LIVE:
        raise UsageError(
            "found mode live, expected backtest or paper: live trading needs a broker, and none is wired to this command yet"
        )
    chosen = changed(loaded, {"mode": mode})
    return changed(chosen, {"agents": (AgentSettings(kind=agent, parameters=_parameters(given)),)}) if agent else chosen


def _own_agents(settings: RunSettings, named: str | None, folder: Path | None) -> OwnAgents:
    """Which agents of one's own this command may import, and from where: those that the user names, no others."""
    from grandmodel.runtime.agents import BUILT_IN, OwnAgents

    own = {agent.kind for agent in settings.agents if agent.kind not in BUILT_IN and ":" in agent.kind}
    if folder is not None:
        return OwnAgents(kinds=own, folder=agents_folder(folder))
    if own and named is None:
        raise UsageError(
            f"the settings name the agent {', '.join(sorted(own))}, which is code: say where it lies with --agents-from FOLDER"
        )
    return OwnAgents(kinds=own, folder=agents_folder(None) if own else None)


def _parameters(given: list[str] | None) -> dict[str, Any]:
    """``name=value`` texts as keyword arguments; a value is JSON, or a word."""
    import msgspec

    parameters: dict[str, Any] = {}
    for text in given or ():
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"--agent-set {text}: expected name=value, such as --agent-set fast=20")
        if not is_text(text):
            raise UsageError(f"--agent-set {path_text(text)}: found bytes that are no text, expected name=value")
        try:
            parameters[name] = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            parameters[name] = value
    return parameters


def _fit_to(settings: RunSettings, feed: MarketFeed, path: Path | None) -> RunSettings:
    """Keep only bars that the data's bars can make, and let risk and the built-in agents work on what is kept; a settings file
    is never changed.
    """
    import msgspec

    from grandmodel.data.historical.profile import text_from_width
    from grandmodel.domain.blocks import Schema, schema_of
    from grandmodel.domain.time import NS_PER_HOUR
    from grandmodel.risk.settings import VarSettings
    from grandmodel.runtime.engine import bars_are_sessions
    from grandmodel.runtime.settings import changed
    from grandmodel.tactical.baselines import BuyAndHold, MovingAverageCross, RandomAgent

    first = next(iter(feed.blocks()), None)
    if first is None:
        raise UsageError(f"{feed.description}: found no rows, expected at least one: look at --from and --to")
    if path is not None or schema_of(first) is not Schema.BARS:
        return settings
    width = int((first["ts_event"] - first["ts_open"]).max())
    widths = tuple(kept for kept in settings.widths_ns if kept % width == 0) or (width,)
    var, usual = settings.risk.var, VarSettings()
    fitted = min((kept for kept in widths if kept >= var.width_ns), default=widths[-1])
    if var.width_ns == usual.width_ns and fitted != var.width_ns:
        var = msgspec.structs.replace(var, width_ns=fitted)
        if bars_are_sessions(fitted, feed.schedules) and var.session_hours == usual.session_hours:
            var = msgspec.structs.replace(var, session_hours=fitted / NS_PER_HOUR)  # One bar a day.
    simple = {agent.name for agent in (MovingAverageCross, RandomAgent, BuyAndHold)}
    agents = tuple(
        msgspec.structs.replace(agent, parameters={**agent.parameters, "width_ns": fitted})
        if agent.kind in simple and "width_ns" not in agent.parameters and fitted != usual.width_ns
        else agent
        for agent in settings.agents
    )
    if fitted != usual.width_ns:
        console.print(
            f"bars of {text_from_width(width)}: risk and the simple agents work on bars of {text_from_width(fitted)}"
        )
    risk = msgspec.structs.replace(settings.risk, var=var)
    return changed(settings, {"widths_ns": widths, "risk": risk, "agents": agents})


def _simulated_feed(day: str, seed: int, row_scale: float) -> tuple[MarketFeed, int]:
    """The feed over ``WARM_UP_DAYS`` trading days and ``day``, and the time from which intents are acted on."""
    import numpy as np

    from grandmodel.domain.time import NS_PER_DAY, ns_from_text
    from grandmodel.runtime.feeds import SimulatedFeed, instruments_named, schedules_for

    try:
        day_ns = ns_from_text(day)
    except ValueError as error:
        raise UsageError(f"--day {day}: expected a date such as {DEFAULT_DAY}") from error
    chosen = instruments_named(SIMULATED)
    schedule = schedules_for(chosen, day_ns - 3 * WARM_UP_DAYS * NS_PER_DAY, day_ns + NS_PER_DAY)[0]
    places = np.flatnonzero(schedule.day_ns == day_ns)
    if not len(places):
        raise UsageError(f"--day {day}: found no trading session of {chosen[0].id} on that day, expected a trading day")
    days = np.unique(schedule.day_ns[schedule.day_ns <= day_ns])
    first = int(np.searchsorted(schedule.day_ns, days[-1 - min(WARM_UP_DAYS, len(days) - 1)]))
    start_ns, end_ns = int(schedule.open_ns[first]), int(schedule.close_ns[places[-1]])
    return SimulatedFeed(chosen, start_ns, end_ns, seed, row_scale), int(schedule.open_ns[places[0]])


def _run(settings: RunSettings, feed: MarketFeed, how: RunOptions) -> None:
    from grandmodel.runtime.commands import read_commands
    from grandmodel.runtime.errors import RunStoppedError
    from grandmodel.runtime.runs import claim_run_folder

    agents = _own_agents(settings, how.agent, how.agents_from)
    out, name, resume = how.out, how.name or "", how.resume
    if name and Path(name).name != name:
        raise UsageError(f"--name {name}: expected a plain name; --out says where the folder is made")
    if not is_text(str(resume or out / name)):
        raise UsageError(
            f"{path_text(resume or out / name)}: found bytes that are no text, expected a plain name: a run keeps its own on the record"
        )
    told = read_commands(how.commands, feed.instruments) if how.commands else ()
    signer = run_signer(unsigned=how.unsigned)
    folder = resume or (out / name if name else claim_run_folder(out, settings.mode.value))
    console.print(f"{'going on with' if resume else 'run'} {folder}: {feed.description}", soft_wrap=True)
    with StopSignals() as signals:
        try:
            summary = _go(
                settings,
                feed,
                folder,
                told,
                is_new=resume is None,
                build_agent=agents,
                signer=signer,
                signals=signals,
            )
        except RunStoppedError as stopped:
            console.print(
                f"stopped by {signals.name}: {stopped}, committed. Go on with:\n{resume_command(folder)}",
                soft_wrap=True,
            )
            raise typer.Exit(signals.exit_code) from stopped
        finally:
            if not resume and not name:
                with suppress(OSError):
                    folder.rmdir()  # Where nothing could begin, the folder is as empty as it was made.
    _show(summary, folder, as_json=how.as_json)


def _go(
    settings: RunSettings,
    feed: MarketFeed,
    folder: Path,
    told: Sequence[Told],
    *,
    is_new: bool,
    build_agent: OwnAgents,
    signer: SigningKey | None,
    signals: StopSignals,
) -> Summary:
    """Run the feed, or go on with it, with a progress line."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from grandmodel.runtime.runs import resume_feed, run_feed

    start_ns, end_ns = feed.span
    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f}% {task.fields[when]} {task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=False, disable=not console.is_terminal) as progress:
        task = progress.add_task("run", total=max(1, end_ns - start_ns), when="compiling", state="")

        said, state = 0, ""

        def on_progress(now: RunProgress) -> None:
            nonlocal said, state
            state = _advance(progress, task, start_ns, now)
            tenth = 10 * (now.ts - start_ns) // max(1, end_ns - start_ns)
            if not console.is_terminal and tenth > said:
                said = tenth
                console.print(f"{10 * tenth} % {state}", soft_wrap=True)

        begin: Callable[..., Summary] = run_feed if is_new else resume_feed
        summary = begin(
            folder,
            feed=feed,
            clock_ns=time.perf_counter_ns,
            on_progress=on_progress,
            signer=signer,
            settings=settings,
            told=told,
            on_begin=lambda lines: console.print(*lines, sep="\n", soft_wrap=True) if lines else None,
            build_agent=build_agent,
            should_stop=signals.asked,
        )
        progress.update(task, completed=end_ns - start_ns)
        if not console.is_terminal and said < 10:
            console.print(f"100 % {state}", soft_wrap=True)
    return summary


def _advance(progress: Any, task: Any, start_ns: int, now: RunProgress) -> str:
    """Move the progress line; what it says."""
    from grandmodel.domain.instruments import currency_text
    from grandmodel.domain.time import text_from_ns

    state = f"{now.rows:,} rows, {now.orders} orders, {now.fills} fills, equity {currency_text(now.equity_micros)}"
    when = text_from_ns(now.ts)[:16].replace("T", " ")
    progress.update(task, completed=now.ts - start_ns, when=when, state=state)
    return f"{when} {state}"


def _show(summary: Summary, folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    from rich.table import Table

    table = Table(
        title=f"Run {summary.run}" + (" on a simulated market" if summary.simulated_market else ""), show_header=False
    )
    for name, value in _summary_rows(summary, folder):
        table.add_row(name, value)
    stdout.print(table)
    if summary.accounts:
        stdout.print(_accounts_table(summary))


def _accounts_table(summary: Summary) -> Table:
    """The accounts below the run's own, each below the one that it belongs to."""
    from rich.table import Table

    from grandmodel.domain.instruments import currency_text

    table = Table(title="Accounts")
    for name in ("account", "capital", "profit", "fees", "fills", "trips", "won", "ladder"):
        table.add_column(name, justify="left" if name in ("account", "ladder") else "right", no_wrap=True)
    waiting = [("", "")]
    while waiting:
        name, indent = waiting.pop()
        below = [one for one in summary.accounts if one.parent == name]
        waiting += [(one.account, f"{indent}  ") for one in reversed(below) if one.account]
        one = next((one for one in summary.accounts if one.account == name), None)
        if one is not None:
            profit = "not known" if one.profit_micros is None else currency_text(one.profit_micros)
            table.add_row(
                f"{indent[2:]}{one.account}", currency_text(one.capital_micros), profit, currency_text(one.fees_micros), str(one.fills),
                str(one.round_trips), str(one.winning_round_trips), one.ladder,
            )  # fmt: skip
    return table


def _summary_rows(summary: Summary, folder: Path) -> list[tuple[str, str]]:
    """What the table of a run says, line by line."""
    from grandmodel.domain.instruments import currency_text
    from grandmodel.domain.time import text_from_ns

    latency = summary.latency_us.get("decision", {})
    return [
        ("data", summary.data),
        *([] if summary.ended else [("not ended", "stopped or killed, or it still goes on: --resume goes on with it")]),
        *([("traded by", "\n".join(summary.traded_by))] if summary.traded_by else []),
        ("profit after fees", currency_text(summary.profit_micros)),
        ("return", f"{summary.return_fraction:+.4%}"),
        *([("brought and taken", f"{currency_text(summary.transfers_micros)}, no part of profit and return")] if summary.transfers_micros else []),
        *([("cash flows", ", ".join(f"{kind} {currency_text(moved)}" for kind, moved in summary.cash_flows_micros.items()))] if summary.cash_flows_micros else []),
        *([("growth known until", text_from_ns(summary.growth_ends_ns)[:16] + "Z: then money moved while equity was not above 0")] if summary.growth_ends_ns else []),
        ("fees", currency_text(summary.fees_micros)),
        ("costs assumed", summary.costs),
        ("seen before by a model", summary.samples.text),
        *(_rows_by_part(summary.samples) if summary.samples.is_mixed else _ratio_rows(summary, "")),
        ("largest drawdown", f"{summary.max_drawdown_fraction:.3%}"),
        ("turnover", "not known" if summary.turnover is None else f"{summary.turnover:.1f} times mean equity"),
        (
            "orders, fills, cancels",
            f"{summary.orders}, {summary.fills} ({summary.booked_fills} booked for rolls, settlements and bad data), {summary.cancels}",
        ),
        ("refused", summary.refusals.text()),
        ("refused by", _counts_text(summary.refusals.refused_by) or "nothing"),
        ("cut by", _counts_text(summary.refusals.cut_by) or "nothing"),
        ("round trips, hit rate", f"{summary.round_trips}, {_known(summary.hit_rate, '.1%')}"),
        ("slippage, ticks a lot", _slippage_text(summary) or "no fill of an order"),
        ("market rows, records", f"{summary.market_rows:,}, {summary.records:,}"),
        ("data quality", _quality_text(summary)),
        ("decision latency", f"p50 {latency['p50_us']:.0f} us, p99 {latency['p99_us']:.0f} us" if latency else "not measured"),
        ("alerts", _counts_text(summary.alerts) or "none"),
        *([("risk ladder", summary.ladder)] if summary.ladder else []),
        ("signature", summary.signature),
        ("journal", f"{folder} (chain {summary.record_head[:16]})"),
        ("report", str(folder / "report.html")),
    ]  # fmt: skip


def _known(value: float | None, form: str) -> str:
    return "not known" if value is None else format(value, form)


def _counts_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _slippage_text(summary: Summary) -> str:
    return "; ".join(
        f"{one.instrument} from the {cost.reference} {cost.slippage_ticks:.3f}, delay {_known(cost.delay_ticks, '.3f')}"
        for one in summary.instruments
        for cost in one.fill_costs
    )


def _quality_text(summary: Summary) -> str:
    found = {
        name: {kind.replace("_", " "): count for kind, count in counts.items() if count}
        for name, counts in summary.quality.items()
    }
    return "; ".join(f"{name}: {_counts_text(counts)}" for name, counts in found.items())


def _rows_by_part(samples: Samples) -> list[tuple[str, str]]:
    """What a run says of its parts where its models had seen some of them before."""
    rows = [
        (f"  {model.learnt_from.model if model.learnt_from else model.agent}", model.text) for model in samples.models
    ]
    for part in samples.parts:
        rows += [(f"profit ({part.part})", f"{part.profit:+,.2f}"), *_ratio_rows(part, f" ({part.part})")]
    return rows


def _ratio_rows(of: AnnualRatios, word: str) -> list[tuple[str, str]]:
    from grandmodel.runtime.report import ratio_text

    sharpe = ratio_text(of.sharpe_annual, of.sharpe_interval_annual, of.ratio_level, of.sharpe_absent)
    sortino = ratio_text(of.sortino_annual, of.sortino_interval_annual, of.ratio_level, of.sortino_absent)
    return [
        (f"Sharpe{word}, annual", sharpe),
        (f"Sortino{word}, annual", sortino),
        (f"ratios{word} made of", of.ratio_basis),
    ]
