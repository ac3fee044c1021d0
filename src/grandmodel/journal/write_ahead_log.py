"""Whether SQLite's write-ahead log beside an open journal is there and whole, looked at without SQLite.

While a run is open, what was written last lies in ``journal.sqlite-wal``. SQLite reads it up to the first frame that does not fit its
checksum and says nothing of what stands behind it, and nothing at all where the file is gone. So it is looked at here, by
the format that SQLite documents (https://www.sqlite.org/fileformat2.html, section 4): a header of 32 bytes, then frames of a
24-byte header and one page each, all chained by a running checksum. Frames with another salt than the header's are left from
before the log began anew, and mean nothing.
"""

from __future__ import annotations

import struct
from pathlib import Path

_HEADER = 32
_FRAME_HEADER = 24
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""The two magic numbers, and the order of bytes in which each takes the words of a checksum."""
_SMALLEST_PAGE, _LARGEST_PAGE = 512, 65_536
_INDEX_HEADER = 48
"""Bytes of the index in which it says of which log it is (its salts, at 32) and how many pages were committed (at 16)."""


def log_damage(journal: Path) -> str:
    """What is wrong with the log of the database ``journal``; empty where nothing is, or there is none and need not be one.

    A last transaction that a power cut left half written is none: nothing of it was promised.
    """
    log, index = (journal.with_name(f"{journal.name}{end}") for end in ("-wal", "-shm"))
    known = index.read_bytes()[:_INDEX_HEADER] if index.exists() else b""
    if not log.exists():
        if known:  # SQLite deletes both together, and makes the index only for a log.
            return f"{log.name} is missing, though its index {index.name} is there: what was written last was in it"
        return ""
    content = log.read_bytes()
    if not content:
        return ""
    if len(content) < _HEADER:
        return f"{log.name} has {len(content)} bytes, its header alone has {_HEADER}: it was cut short"
    magic, _, page, *_, one, two = struct.unpack(">8I", content[:_HEADER])
    order = _MAGIC.get(magic)
    if order is None or not _SMALLEST_PAGE <= page <= _LARGEST_PAGE:
        return f"{log.name}: its header is not that of a write-ahead log, so nothing in it can be read"
    if _checksum(order, content[: _HEADER - 8], 0, 0) != (one, two):
        return f"{log.name}: its header does not fit its checksum, so nothing in it can be read"
    readable, lost = _count_frames(content, page, order)
    if known[32:40] == content[16:24]:  # The index is of this log, and says how many pages were committed.
        lost = max(lost, struct.unpack("=I", known[16:20])[0] - readable)
    if lost > 0:
        return (
            f"{log.name} is damaged or cut short: {readable} pages in it can be read, the {lost} written last can not"
        )
    return ""


def _count_frames(content: bytes, page: int, order: str) -> tuple[int, int]:
    """Committed pages that can be read, and pages behind them that were committed and can not."""
    salts = content[16:24]
    running = struct.unpack(">2I", content[24:32])
    step = _FRAME_HEADER + page
    readable = 0
    unreadable_ends = []  # Where transactions end that cannot be read; one alone is a write that never came to its end.
    is_whole = True
    for number, place in enumerate(range(_HEADER, len(content) - step + 1, step), start=1):
        head = content[place : place + _FRAME_HEADER]
        if head[8:16] != salts:
            is_whole = False  # Left from before the log began anew; or, where pages of this log follow, changed.
            continue
        if is_whole:
            running = _checksum(order, head[:8], *running)
            running = _checksum(order, content[place + _FRAME_HEADER : place + step], *running)
            is_whole = running == struct.unpack(">2I", head[16:24])
        if head[4:8] != b"\0\0\0\0":
            if is_whole:
                readable = number
            else:
                unreadable_ends.append(number)
    return readable, unreadable_ends[-1] - readable if len(unreadable_ends) > 1 else 0


def _checksum(order: str, part: bytes, one: int, two: int) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(part) // 4}I", part)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
