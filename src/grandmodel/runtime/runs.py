"""Running one feed from beginning to end, or going on with one that was cut off; used by the command and by examples.

A run folder is whole when its journal is sealed and ``files.jsonl`` seals what was written from it. Whatever was cut off before that is
made up for by ``resume_feed``, or by ``write_reports`` where only the reports are missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Begin
from grandmodel.journal.checkpoints import Signer, is_sealed
from grandmodel.journal.errors import JournalEndedError
from grandmodel.journal.format import JournalReader
from grandmodel.journal.sealed_files import check_measured, last_files_seal, seal_files
from grandmodel.journal.writer import refuse_damaged_log
from grandmodel.runtime.account_events import AccountEvent, check_account_events
from grandmodel.runtime.agents import BUILT_IN_ONLY, build_agent
from grandmodel.runtime.commands import Part, Told, check_accounts_named, check_within, described, in_time_order
from grandmodel.runtime.engine import AgentFactory
from grandmodel.runtime.feeds import MarketFeed, StoreResolver
from grandmodel.runtime.model_loading import without_sources
from grandmodel.runtime.report import report_page
from grandmodel.runtime.results import RunResults, load_results
from grandmodel.runtime.session import LATENCY_NAME, Progress, Session, rows_sha256
from grandmodel.runtime.settings import RunSettings
from grandmodel.runtime.start_checks import check_can_trade
from grandmodel.runtime.summary import Summary, summarise

SUMMARY_NAME = "summary.json"
REPORT_NAME = "report.html"


def run_feed(
    folder: Path,
    settings: RunSettings,
    feed: MarketFeed,
    *,
    clock_ns: Callable[[], int],
    on_progress: Callable[[Progress], None] | None = None,
    signer: Signer | None = None,
    build_agent: AgentFactory = build_agent,
    should_stop: Callable[[], bool] | None = None,
    told: Sequence[Told] = (),
    on_begin: Callable[[Sequence[str]], None] | None = None,
) -> Summary:
    """Run ``feed`` in a new run folder, told ``told`` (by time) on the way; write summary and report beside the journal.

    ``signer`` signs both; without one the run is unsigned. Where ``should_stop`` says so the run is committed and left with
    ``RunStoppedError``; ``resume_feed`` goes on with it. ``on_begin`` hears what the agents say that they trade, before the first
    block. Raises ``UsageError`` or ``OperatingError``, and leaves no folder, where it is certain that the run cannot trade.
    """
    check_within(told, feed.span)
    check_account_events(
        [one for one in told if isinstance(one, AccountEvent)],
        feed.instruments,
        settings.account.base_currency,
        settings.account.rates,
    )
    check_accounts_named(told, settings)
    with Session.start(
        folder,
        settings,
        feed.instruments,
        feed.schedules,
        data=described(feed.description, told),
        clock_ns=clock_ns,
        resolver=StoreResolver(),
        signer=signer,
        check=lambda engine: check_can_trade(engine, feed),
        build_agent=build_agent,
    ) as session:
        if on_begin is not None:
            on_begin(session.traded_by)
        session.feed_parts(
            in_time_order(feed.blocks(), told),
            where=feed.where,
            keep_rows=feed.keeps_rows,
            on_progress=on_progress,
            should_stop=should_stop,
        )
        session.end()
    return write_reports(folder, signer=signer)[1]


def resume_feed(
    folder: Path,
    feed: MarketFeed,
    *,
    clock_ns: Callable[[], int],
    settings: RunSettings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    signer: Signer | None = None,
    build_agent: AgentFactory = BUILT_IN_ONLY,
    should_stop: Callable[[], bool] | None = None,
    told: Sequence[Told] = (),
    on_begin: Callable[[Sequence[str]], None] | None = None,
) -> Summary:
    """Go on with the run in ``folder`` from the block after the last one that its journal holds.

    Where only the summary and the page are missing, they are written. Raises ``JournalEndedError`` where nothing is missing, and
    ``UsageError`` where ``feed`` does not give the blocks that the journal holds, or ``told`` or ``settings`` (if given) are not
    those that the run began with: one run never continues another. That is looked at before any agent is built.
    """
    refuse_damaged_log(folder)
    with JournalReader.open(folder) as reader:
        first = next(reader.inputs(), None)
    if first is not None and isinstance(first[1], Begin):
        _check_same_run(folder, first[1], feed, settings, told)
    if is_sealed(folder):
        if is_complete(folder):
            raise JournalEndedError(
                f"{folder}: this run has ended and its summary is written, there is nothing to go on with: "
                f"`grandmodel backtest report {folder}` writes the summary and the page again"
            )
        return write_reports(folder, signer=signer, note="written when the run was taken up after its seal")[1]
    with Session.resume(
        folder, clock_ns=clock_ns, resolver=StoreResolver(), signer=signer, build_agent=build_agent
    ) as session:
        if on_begin is not None:
            on_begin(session.traded_by)
        if not session.is_ended:
            session.feed_parts(
                _parts_after(session, feed, told),
                where=feed.where,
                keep_rows=feed.keeps_rows,
                on_progress=on_progress,
                should_stop=should_stop,
            )
        session.end()
    return write_reports(folder, signer=signer)[1]


def _check_same_run(
    folder: Path, begin: Begin, feed: MarketFeed, settings: RunSettings | None, told: Sequence[Told]
) -> None:
    data = described(feed.description, told)
    if begin.data != data:
        raise UsageError(f"{folder}: found a run on {begin.data!r}, expected the feed that it began with, not {data!r}")
    if settings is None:
        return
    began, given = (
        without_sources(msgspec.json.decode(raw)) for raw in (begin.settings, msgspec.json.encode(settings))
    )
    differing = sorted(name for name in {*began, *given} if began.get(name) != given.get(name))
    if differing:
        raise UsageError(
            f"{folder}: found other settings than the run began with ({', '.join(differing)}), expected the same: "
            "give the options that it was started with"
        )


def _parts_after(session: Session, feed: MarketFeed, told: Sequence[Told]) -> Iterator[Part | Told]:
    """The feed, and what the run is told, behind what the journal holds of both, which must be the same to the byte.

    What the journal was told and the file does not tell came from elsewhere, and is there already.
    """
    parts = in_time_order(feed.blocks(), told)
    known = session.journalled_feed()
    number = 0
    part = next(parts, None)
    for held in known:
        if isinstance(held, str):
            if not isinstance(part, Part) or rows_sha256(part.rows) != held:
                raise UsageError(
                    f"{session.folder}: block {number} of {feed.description!r} is not the one in the journal, expected the same data: "
                    "the files, the store or the options have changed since the run began"
                )
            number += 1
        elif part != held:
            continue
        part = next(parts, None)
    return iter(()) if part is None else chain((part,), parts)


def write_reports(folder: Path, *, signer: Signer | None = None, note: str = "") -> tuple[RunResults, Summary]:
    """Write ``summary.json`` and ``report.html`` from the journal; where it is sealed, seal them too, signed by ``signer``.

    ``note`` says on their seal why they were written, where it was not at the end of the run. Raises ``AuditUsageError`` where the
    latencies, which no journal gives again, are not those that were sealed.
    """
    check_measured(folder, LATENCY_NAME)
    results = load_results(folder)
    summary = summarise(results)
    _write(folder / SUMMARY_NAME, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    _write(folder / REPORT_NAME, report_page(results, summary).encode("utf-8"))
    if is_sealed(folder):
        seal_files(folder, (SUMMARY_NAME, REPORT_NAME, LATENCY_NAME), signer=signer, note=note)
    return results, summary


def is_complete(folder: Path) -> bool:
    """True where a sealed run's summary and page are written and sealed."""
    seal = last_files_seal(folder)
    sealed = {one.name for one in seal.files if (folder / one.name).exists()} if seal else set()
    return {SUMMARY_NAME, REPORT_NAME} <= sealed


def claim_run_folder(root: Path, prefix: str) -> Path:
    """Make ``root/prefix-0001``, or the folder of the first number behind all that there are, for the caller alone.

    Of processes that do so at once each gets a number of its own: a folder is made, never found.
    """
    root.mkdir(parents=True, exist_ok=True)
    number = max(
        (
            int(path.name.rpartition("-")[2])
            for path in root.glob(f"{prefix}-[0-9]*")
            if path.name.rpartition("-")[2].isdecimal()
        ),
        default=0,
    )
    while True:
        number += 1
        folder = root / f"{prefix}-{number:04d}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder


def _write(path: Path, content: bytes) -> None:
    """The whole file or the one before: never half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
