"""Stamps of files: from a wall clock in a named zone to nanoseconds UTC, refusing what is not certain."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.readers.errors import CorruptFileError
from grandmodel.domain.errors import UsageError
from grandmodel.domain.time import NS_PER_DAY, NS_PER_MINUTE, NS_PER_SECOND

_FIXED_OFFSET = re.compile(r"^(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?$")
_QUARTER_NS = 15 * NS_PER_MINUTE
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - wall-clock arithmetic, the zone is applied below
_LAST_WALL_NS = 4_102_444_800 * NS_PER_SECOND
"""2100-01-01: a stamp outside 1970 to 2100 is not a market's."""


def check_stamps(stamps_ns: NDArray[np.int64], path: Path, first_line: int) -> None:
    """Raise ``CorruptFileError`` where a stamp (T,) lies outside the years 1970 to 2100."""
    impossible = (stamps_ns < 0) | (stamps_ns >= _LAST_WALL_NS)
    if impossible.any():
        row = int(np.argmax(impossible))
        raise CorruptFileError(
            f"{path}: line {row + first_line}: found the stamp {int(stamps_ns[row])} ns, expected a time between 1970 "
            "and 2100: the time unit or the column is another one, or the file is damaged"
        )


def day_start_ns(day: str, path: Path) -> int:
    """Midnight of ``YYYY-MM-DD`` or ``YYYYMMDD`` as nanoseconds, read as a wall clock without a zone."""
    try:
        return (date.fromisoformat(day) - _EPOCH.date()).days * NS_PER_DAY
    except ValueError as error:
        raise UsageError(f"{path}: found the date {day!r}, expected YYYY-MM-DD (--date)") from error


def utc_from_local(wall_ns: NDArray[np.int64], zone: str, path: Path, first_line: int = 1) -> NDArray[np.int64]:
    """Nanoseconds UTC of wall-clock nanoseconds ``wall_ns`` (T,) in ``zone``.

    ``zone`` is an IANA name, ``UTC`` or a fixed offset (``-05:00``, ``UTC-5``). A wall-clock time that the zone shows
    twice or never (the change to and from daylight saving) raises ``AmbiguousError``: which instant it was cannot
    be known from the stamp alone.
    """
    check_stamps(wall_ns, path, first_line)
    if not len(wall_ns):
        return wall_ns
    fixed = _fixed_offset_ns(zone)
    if fixed is not None:
        return wall_ns - fixed
    rules = _zone_named(zone, path)
    quarter = wall_ns // _QUARTER_NS
    starts = np.concatenate(([0], np.flatnonzero(np.diff(quarter)) + 1))
    known: dict[int, int] = {}
    offsets = np.empty(len(starts), dtype=np.int64)
    for index, row in enumerate(starts.tolist()):
        key = int(quarter[row])
        if key not in known:
            known[key] = _offset_ns(rules, key, zone, path, row + first_line)
        offsets[index] = known[key]
    lengths = np.diff(np.append(starts, len(wall_ns)))
    return wall_ns - np.repeat(offsets, lengths)


def _fixed_offset_ns(zone: str) -> int | None:
    if zone.upper() in {"UTC", "GMT", "Z"}:
        return 0
    match = _FIXED_OFFSET.match(zone.upper())
    if match is None:
        return None
    minutes = int(match.group(2)) * 60 + int(match.group(3) or 0)
    return (-minutes if match.group(1) == "-" else minutes) * NS_PER_MINUTE


def _zone_named(zone: str, path: Path) -> ZoneInfo:
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"{path}: found the time zone {zone!r}, expected an IANA name such as America/New_York, UTC, or a fixed "
            "offset such as -05:00 (--time-zone)"
        ) from error


def _offset_ns(rules: ZoneInfo, quarter: int, zone: str, path: Path, line: int) -> int:
    """The zone's offset during one quarter of an hour of its wall clock."""
    wall = _EPOCH + timedelta(minutes=15 * quarter)
    first = wall.replace(tzinfo=rules, fold=0).utcoffset()
    second = wall.replace(tzinfo=rules, fold=1).utcoffset()
    if first is None or first != second:
        raise AmbiguousError(
            f"{path}: line {line}: found the time {wall:%Y-%m-%d %H:%M}, which clocks in {zone} show twice or never; "
            "give the file in UTC or with offsets, or say a fixed offset (--time-zone -05:00)"
        )
    return first // timedelta(microseconds=1) * 1_000
