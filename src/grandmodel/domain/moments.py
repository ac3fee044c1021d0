"""The moments of the audit trail: what every record says of one moment, and the many moments that quiet records hold.

A moment at which bars closed and nothing came of it has no record of its own in a backtest: such moments share one, of cause
``quiet`` (``docs/adr/0011-quiet-bars-share-a-record.md``). Whoever reads records reads them through here and sees every moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.events import Cause, ClosedBar, QuietMoments, Record
from grandmodel.kernels import kernel

MOMENT_WORDS = 4
"""int64 words of a moment before its bars: ts, position, equity, number of bars."""
BAR_WORDS = 10
"""int64 words of each bar: the fields of ``ClosedBar`` in their order, the instrument as a number."""
_LONGEST = 10
"""Bytes that one word can take."""


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
    words: list[int] = unpacked(quiet.rows).tolist()
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


def packed(words: NDArray[np.int64]) -> bytes:
    """Moments, each ``MOMENT_WORDS`` and its bars' words, as the bytes of ``QuietMoments.rows``.

    Each time within a bar is written less the moment's, then every word less the one in its place in the moment, or bar, before it; as
    zigzag varints (the sign in the lowest bit, seven bits a byte, the lowest first, a byte's top bit set where more follow).
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
    moment, bar = np.zeros(MOMENT_WORDS, np.int64), np.zeros(BAR_WORDS, np.int64)
    at = used = 0
    while at < len(words):
        ts, bars = words[at], words[at + MOMENT_WORDS - 1]
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
    return used


@kernel
def _unpack(data: NDArray[np.uint8], words: NDArray[np.int64]) -> int:
    """Read the words that ``data`` holds into ``words``; how many they are, -1 where they are not whole moments."""
    moment, bar = np.zeros(MOMENT_WORDS, np.int64), np.zeros(BAR_WORDS, np.int64)
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
        for _ in range(moment[MOMENT_WORDS - 1]):
            for k in range(BAR_WORDS):
                value, at = _get(data, at)
                if at < 0:
                    return -1
                bar[k] += value
                words[count] = bar[k] + moment[0] if k == _START or k == _END else bar[k]
                count += 1
    return count


_START, _END = 2, 3


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
