"""Running one feed from beginning to end, or going on with one that was cut off; used by the command and by examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from grandmodel.compliance.checkpoints import Signer
from grandmodel.domain.errors import UsageError
from grandmodel.runtime.commands import Part, Told, check_within, described, in_time_order
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
    told: Sequence[Told] = (),
    on_begin: Callable[[Sequence[str]], None] | None = None,
) -> Summary:
    """Run ``feed`` in a new run folder, told ``told`` (by time) on the way; write summary and report beside the journal.

    ``on_begin`` hears what the agents say that they trade, before the first block. Raises ``UsageError`` or ``OperatingError``,
    and leaves no folder, where it is certain that the run cannot trade.
    """
    check_within(told, feed.span)
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
    ) as session:
        if on_begin is not None:
            on_begin(session.traded_by)
        parts = in_time_order(feed.blocks(), told)
        session.feed_parts(parts, where=feed.where, keep_rows=feed.keeps_rows, on_progress=on_progress)
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
    told: Sequence[Told] = (),
    on_begin: Callable[[Sequence[str]], None] | None = None,
) -> Summary:
    """Go on with the run in ``folder`` from the block after the last one that its journal holds.

    Raises ``UsageError`` where ``feed`` does not give the blocks that the journal holds, or ``told`` or ``settings`` (if given)
    are not those that the run began with: one run never continues another.
    """
    with Session.resume(folder, clock_ns=clock_ns, resolver=StoreResolver(), signer=signer) as session:
        _check_same_run(session, feed, settings, told)
        if on_begin is not None:
            on_begin(session.traded_by)
        if not session.is_ended:
            session.feed_parts(
                _parts_after(session, feed, told),
                where=feed.where,
                keep_rows=feed.keeps_rows,
                on_progress=on_progress,
            )
        session.end()
    return write_reports(folder)[1]


def _check_same_run(session: Session, feed: Feed, settings: RunSettings | None, told: Sequence[Told]) -> None:
    begin, data = session.begin, described(feed.description, told)
    if begin.data != data:
        raise UsageError(
            f"{session.folder}: found a run on {begin.data!r}, expected the feed that it began with, not {data!r}"
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


def _parts_after(session: Session, feed: Feed, told: Sequence[Told]) -> Iterator[Part | Told]:
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
