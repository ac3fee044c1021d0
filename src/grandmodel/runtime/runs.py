"""Running one feed from beginning to end, or going on with one that was cut off; used by the command and by examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from grandmodel.compliance.checkpoints import Signer
from grandmodel.domain.blocks import Block
from grandmodel.domain.errors import UsageError
from grandmodel.runtime.feeds import Feed, StoreResolver
from grandmodel.runtime.model_loading import without_sources
from grandmodel.runtime.report import report_page
from grandmodel.runtime.results import RunResults, load_results
from grandmodel.runtime.session import Progress, Session, rows_sha256
from grandmodel.runtime.settings import RunSettings
from grandmodel.runtime.start_checks import check_can_trade
from grandmodel.runtime.summary import Summary, summarise

SUMMARY_NAME = "summary.json"
REPORT_NAME = "report.html"


def run_feed(
    folder: Path,
    settings: RunSettings,
    feed: Feed,
    *,
    clock_ns: Callable[[], int],
    on_progress: Callable[[Progress], None] | None = None,
    signer: Signer | None = None,
) -> Summary:
    """Run ``feed`` in a new run folder and write summary and report beside the journal.

    Raises ``UsageError`` or ``OperatingError``, and leaves no folder, where it is certain that the run cannot trade.
    """
    with Session.start(
        folder,
        settings,
        feed.instruments,
        feed.schedules,
        data=feed.description,
        clock_ns=clock_ns,
        resolver=StoreResolver(),
        signer=signer,
        check=lambda engine: check_can_trade(engine, feed),
    ) as session:
        session.feed(feed.blocks(), where=feed.where, keep_rows=feed.keeps_rows, on_progress=on_progress)
        session.end()
    return write_reports(folder)[1]


def resume_feed(
    folder: Path,
    feed: Feed,
    *,
    clock_ns: Callable[[], int],
    settings: RunSettings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    signer: Signer | None = None,
) -> Summary:
    """Go on with the run in ``folder`` from the block after the last one that its journal holds.

    Raises ``UsageError`` where ``feed`` does not give the blocks that the journal holds, or ``settings`` (if given) are not
    those that the run began with: one run never continues another.
    """
    with Session.resume(folder, clock_ns=clock_ns, resolver=StoreResolver(), signer=signer) as session:
        _check_same_run(session, feed, settings)
        if not session.is_ended:
            known = session.journalled_blocks()
            session.feed(
                _blocks_after(session, feed, known),
                where=feed.where,
                keep_rows=feed.keeps_rows,
                on_progress=on_progress,
                first=len(known),
            )
        session.end()
    return write_reports(folder)[1]


def _check_same_run(session: Session, feed: Feed, settings: RunSettings | None) -> None:
    begin = session.begin
    if begin.data != feed.description:
        raise UsageError(
            f"{session.folder}: found a run on {begin.data!r}, expected the feed that it began with, not {feed.description!r}"
        )
    if settings is None:
        return
    began, given = (
        without_sources(msgspec.json.decode(raw)) for raw in (begin.settings, msgspec.json.encode(settings))
    )
    differing = sorted(name for name in {*began, *given} if began.get(name) != given.get(name))
    if differing:
        raise UsageError(
            f"{session.folder}: found other settings than the run began with ({', '.join(differing)}), expected the same: "
            "give the options that it was started with"
        )


def _blocks_after(session: Session, feed: Feed, known: Sequence[str]) -> Iterator[Block]:
    """The feed's blocks behind the ``known`` ones of the journal (sha256 each), which must be the same to the byte."""
    blocks = feed.blocks()
    for number, expected in enumerate(known):
        block = next(blocks, None)
        if block is None or rows_sha256(block) != expected:
            raise UsageError(
                f"{session.folder}: block {number} of {feed.description!r} is not the one in the journal, expected the same data: "
                "the files, the store or the options have changed since the run began"
            )
    return blocks


def write_reports(folder: Path) -> tuple[RunResults, Summary]:
    """Write ``summary.json`` and ``report.html`` from the journal."""
    results = load_results(folder)
    summary = summarise(results)
    (folder / SUMMARY_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    (folder / REPORT_NAME).write_text(report_page(results, summary), encoding="utf-8")
    return results, summary


def next_run_folder(root: Path, prefix: str) -> Path:
    """``root/prefix-0001``, or the first number that is free."""
    taken = [
        int(path.name.rpartition("-")[2])
        for path in root.glob(f"{prefix}-[0-9]*")
        if path.name.rpartition("-")[2].isdigit()
    ]
    return root / f"{prefix}-{max(taken, default=0) + 1:04d}"
