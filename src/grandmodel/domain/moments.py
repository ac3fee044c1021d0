"""The moments of the audit trail: what every record says of one moment, and the many moments that quiet records hold.

A moment at which bars closed or the venue reported and nothing else came of it has no record of its own in a backtest: such moments share
one, of cause ``quiet`` (``docs/adr/0011-quiet-bars-share-a-record.md``). Whoever reads records reads them through here and sees every moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.events import Cause, ClosedBar, QuietMoments, Record
from grandmodel.domain.orders import ExecType, ExecutionReport, Fill
from grandmodel.domain.report_rows import EXEC_CODES, fill_of, report_of
from grandmodel.kernels import kernel

MOMENT_WORDS = 4
"""int64 words of a moment before its bars: ts, position, equity, and the number of bars with that of reports above it (``counted``)."""
BAR_WORDS = 10
"""int64 words of each bar: the fields of ``ClosedBar`` in their order, the instrument as a number."""
REPORT_WORDS = 21
"""int64 words of each report: the 14 fields of ``report_rows.REPORT``, the instrument as a number, -1 where the report was left; then of what came
of it (``report_rows.HEARD``) side, fee, reference, tag, slippage_from and slippage_kind, and 1 where it is a fill."""
_LONGEST = 10
"""Bytes that one word can take."""
_ABOVE = 2**20
"""What one report adds to the word that counts; there are fewer bars in a moment."""


class Moment(msgspec.Struct, gc=False, frozen=True):
    """One moment of a run: when it was, how far the run had come, what the account was worth, which bars closed and what the venue said."""

    ts: int
    position: int
    equity_micros: int
    bars: tuple[ClosedBar, ...] = ()
    reports: tuple[ExecutionReport, ...] = ()
    fills: tuple[Fill, ...] = ()


def moments_of(record: Record) -> Iterator[Moment]:
    """The moments of ``record``, oldest first: those that a quiet record holds, else its own.

    Raises ``ValueError`` where the bytes of a quiet record do not hold whole moments.
    """
    if record.quiet is None:
        yield Moment(record.ts, record.position, record.equity_micros, record.bars, record.reports, record.fills)
        return
    yield from _quiet_moments(record.quiet)


def expanded(records: Iterable[Record]) -> Iterator[Record]:
    """``records`` with one of cause ``bar`` or ``report`` for each moment of a quiet one, all of them under that record's number."""
    for record in records:
        if record.quiet is None:
            yield record
            continue
        for moment in _quiet_moments(record.quiet):
            yield Record(
                number=record.number,
                ts=moment.ts,
                cause=Cause.REPORT if moment.reports else Cause.BAR,
                position=moment.position,
                equity_micros=moment.equity_micros,
                bars=moment.bars,
                reports=moment.reports,
                fills=moment.fills,
            )


def _quiet_moments(quiet: QuietMoments) -> Iterator[Moment]:
    names = quiet.instruments
    words: list[int] = unpacked(quiet.rows).tolist()
    at = 0
    while at < len(words):
        first = at + MOMENT_WORDS
        reports, bars = divmod(words[first - 1], _ABOVE) if first <= len(words) else (-1, 0)
        said = first + BAR_WORDS * bars
        after = said + REPORT_WORDS * reports
        if reports < 0 or after > len(words):
            raise ValueError(f"quiet record: found {len(words)} words, expected whole moments: cut at word {at}")
        ts, position, equity = words[at : first - 1]
        closed = tuple(
            [ClosedBar(names[words[k]], *words[k + 1 : k + BAR_WORDS]) for k in range(first, said, BAR_WORDS)]
        )
        heard, fills = _reports_in(quiet, words, said, after) if reports else ((), ())
        yield Moment(ts, position, equity, closed, heard, fills)
        at = after


def _reports_in(
    quiet: QuietMoments, words: list[int], first: int, after: int
) -> tuple[tuple[ExecutionReport, ...], tuple[Fill, ...]]:
    """The reports that ``words`` hold from ``first`` until ``after``, and the fills among them."""
    reports, fills = [], []
    for at in range(first, after, REPORT_WORDS):
        report = report_of(words[at : at + _SAID])
        reports.append(report)
        side, fee, reference, tag, slippage_from, kind, is_fill = words[at + _SAID : at + REPORT_WORDS]
        if is_fill:
            instrument = quiet.instruments[words[at + _INSTRUMENT]]
            fills.append(fill_of(report, instrument, side, fee, reference, quiet.tags[tag], slippage_from, kind))
    return tuple(reports), tuple(fills)


@kernel
def counted(bars: int, reports: int) -> int:
    """The word that says how many bars and reports a moment has."""
    return bars + reports * _ABOVE


@kernel
def put_report(words: NDArray[np.int64], at: int, said: Any, heard: Any) -> int:
    """Write one report (rows of ``REPORT`` and of ``HEARD``) into ``words`` at ``at``; the place behind it."""
    is_taken = heard.code == 0
    words[at], words[at + 1], words[at + 2], words[at + 3] = said.due, said.ts_event, said.exec_id, said.order_id
    words[at + 4] = heard.instrument if is_taken else -1
    words[at + 5], words[at + 6], words[at + 7] = said.exec_type, said.last_quantity, said.last_price
    words[at + 8], words[at + 9], words[at + 10], words[at + 11] = said.leaves, said.cumulative, said.maker, said.reason
    words[at + 12], words[at + 13] = said.arrival_price, said.arrival_kind
    is_fill = is_taken and said.exec_type == _FILL
    words[at + 14] = heard.side if is_fill else 0
    words[at + 15] = heard.fee if is_fill else 0
    words[at + 16] = heard.reference if is_fill else 0
    words[at + 17] = heard.tag if is_fill else 0
    words[at + 18] = heard.slippage_from if is_fill else 0
    words[at + 19] = heard.slippage_kind if is_fill else 0
    words[at + 20] = is_fill
    return at + REPORT_WORDS


def packed(words: NDArray[np.int64]) -> bytes:
    """Moments, each ``MOMENT_WORDS`` and its bars' words, as the bytes of ``QuietMoments.rows``.

    Each time within a bar or a report is written less the moment's, then every word less the one in its place in the moment, bar or report
    before it; as zigzag varints (the sign in the lowest bit, seven bits a byte, the lowest first, a byte's top bit set where more follow).
    """
    room = np.empty(_LONGEST * len(words), dtype=np.uint8)
    return room[: _pack(words, room)].tobytes()


def unpacked(rows: bytes) -> NDArray[np.int64]:
    """The words that ``packed`` was given. Raises ``ValueError`` where ``rows`` are not whole words of whole moments."""
    data = np.frombuffer(rows, dtype=np.uint8)
    words = np.empty(len(data), dtype=np.int64)
    count = _unpack(data, words)
    if count < 0:
        raise ValueError(f"quiet record: found {len(data)} bytes that are not whole moments, expected them whole")
    return words[:count]


@kernel
def _pack(words: NDArray[np.int64], room: NDArray[np.uint8]) -> int:
    """Write ``words`` into ``room``; how many bytes it took."""
    moment, bar, report = (
        np.zeros(MOMENT_WORDS, np.int64),
        np.zeros(BAR_WORDS, np.int64),
        np.zeros(REPORT_WORDS, np.int64),
    )
    at = used = 0
    while at < len(words):
        ts, bars, reports = words[at], words[at + MOMENT_WORDS - 1] % _ABOVE, words[at + MOMENT_WORDS - 1] // _ABOVE
        for k in range(MOMENT_WORDS):
            used = _put(room, used, words[at + k] - moment[k])
            moment[k] = words[at + k]
        at += MOMENT_WORDS
        for _ in range(bars):
            for k in range(BAR_WORDS):
                word = words[at + k] - ts if k == _START or k == _END else words[at + k]
                used = _put(room, used, word - bar[k])
                bar[k] = word
            at += BAR_WORDS
        for _ in range(reports):
            for k in range(REPORT_WORDS):
                word = words[at + k] - ts if k <= 1 else words[at + k]
                used = _put(room, used, word - report[k])
                report[k] = word
            at += REPORT_WORDS
    return used


@kernel
def _unpack(data: NDArray[np.uint8], words: NDArray[np.int64]) -> int:
    """Read the words that ``data`` holds into ``words``; how many they are, -1 where they are not whole moments."""
    moment, bar, report = (
        np.zeros(MOMENT_WORDS, np.int64),
        np.zeros(BAR_WORDS, np.int64),
        np.zeros(REPORT_WORDS, np.int64),
    )
    at = count = 0
    while at < len(data):
        for k in range(MOMENT_WORDS):
            value, at = _get(data, at)
            if at < 0:
                return -1
            moment[k] += value
            words[count] = moment[k]
            count += 1
        if moment[MOMENT_WORDS - 1] < 0:
            return -1
        for _ in range(moment[MOMENT_WORDS - 1] % _ABOVE):
            for k in range(BAR_WORDS):
                value, at = _get(data, at)
                if at < 0:
                    return -1
                bar[k] += value
                words[count] = bar[k] + moment[0] if k == _START or k == _END else bar[k]
                count += 1
        for _ in range(moment[MOMENT_WORDS - 1] // _ABOVE):
            for k in range(REPORT_WORDS):
                value, at = _get(data, at)
                if at < 0:
                    return -1
                report[k] += value
                words[count] = report[k] + moment[0] if k <= 1 else report[k]
                count += 1
    return count


_START, _END = 2, 3
_SAID, _INSTRUMENT = 14, 4
"""Fields of a report that stand first, and the place of the instrument among them."""
_FILL = EXEC_CODES[ExecType.TRADE]


@kernel(inline=True)
def _put(room: NDArray[np.uint8], at: int, value: int) -> int:
    """Write one word at ``at``; the place behind it."""
    left = np.uint64((value << 1) ^ (value >> 63))
    while left >= np.uint64(128):
        room[at] = np.uint8((left & np.uint64(127)) | np.uint64(128))
        left >>= np.uint64(7)
        at += 1
    room[at] = np.uint8(left)
    return at + 1


@kernel(inline=True)
def _get(data: NDArray[np.uint8], at: int) -> Any:
    """The word at ``at`` and the place behind it, -1 where it is cut off or too long."""
    found, shift = np.uint64(0), np.uint64(0)
    while at < len(data) and shift < np.uint64(70):
        byte = np.uint64(data[at])
        found |= (byte & np.uint64(127)) << shift
        at += 1
        if byte < np.uint64(128):
            return np.int64(found >> np.uint64(1)) ^ -np.int64(found & np.uint64(1)), at
        shift += np.uint64(7)
    return np.int64(0), -1
