"""The moments of the audit trail: what every record says of one moment, and the many moments that quiet records hold.

A moment at which bars closed and nothing came of it has no record of its own in a backtest: such moments share one, of cause
``quiet`` (``docs/adr/0011-quiet-bars-share-a-record.md``). Whoever reads records reads them through here and sees every moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from grandmodel.domain.events import Cause, ClosedBar, QuietMoments, Record

MOMENT_WORDS = 4
"""int64 words in ``QuietMoments.rows`` before the bars of a moment: ts, position, equity, number of bars."""
BAR_WORDS = 10
"""int64 words of each bar."""


class Moment(msgspec.Struct, gc=False, frozen=True):
    """One moment of a run: when it was, how far the run had come, what the account was worth, which bars closed."""

    ts: int
    position: int
    equity_micros: int
    bars: tuple[ClosedBar, ...] = ()


def moments_of(record: Record) -> Iterator[Moment]:
    """The moments of ``record``, oldest first: those that a quiet record holds, else its own.

    Raises ``ValueError`` where the bytes of a quiet record do not hold whole moments.
    """
    if record.quiet is None:
        yield Moment(record.ts, record.position, record.equity_micros, record.bars)
        return
    yield from _quiet_moments(record.quiet)


def expanded(records: Iterable[Record]) -> Iterator[Record]:
    """``records`` with one of cause ``bar`` for each moment of a quiet one, all of them under that record's number."""
    for record in records:
        if record.quiet is None:
            yield record
            continue
        for moment in _quiet_moments(record.quiet):
            yield Record(
                number=record.number,
                ts=moment.ts,
                cause=Cause.BAR,
                position=moment.position,
                equity_micros=moment.equity_micros,
                bars=moment.bars,
            )


def _quiet_moments(quiet: QuietMoments) -> Iterator[Moment]:
    names = quiet.instruments
    words: list[int] = np.frombuffer(quiet.rows, dtype="<i8").tolist()
    at = 0
    while at < len(words):
        first = at + MOMENT_WORDS
        count = words[first - 1] if first <= len(words) else -1
        after = first + BAR_WORDS * count
        if count < 0 or after > len(words):
            raise ValueError(f"quiet record: found {len(words)} words, expected whole moments: cut at word {at}")
        ts, position, equity = words[at : first - 1]
        bars = tuple(
            [ClosedBar(names[words[k]], *words[k + 1 : k + BAR_WORDS]) for k in range(first, after, BAR_WORDS)]
        )
        yield Moment(ts, position, equity, bars)
        at = after
