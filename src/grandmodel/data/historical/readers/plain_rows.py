"""Rows of text without surprises, straight from the bytes: stamps, prices and volumes by one compiled pass.

``scan_rows`` reads what nearly every row of every file is: a numeric date with a clock, plain decimal numbers. It never decides what
anything else means: such a row is marked ``DIRTY`` and goes through the same readers as ever (``stamps.py``, ``numbers.py``). A number
is taken only where a division of two exact floats gives it (at most 2^53 as digits, at most 22 of them behind the point), so it is the float
that the text stands for. Read next: ``text_bars.py``, which calls it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel

PLAIN, DIRTY, RAGGED, BLANK = 0, 1, 2, 3
STAMP_FIELD, CLOCK_FIELD, NO_FIELD = -1, -2, -3

DAY_FIRST_OK, MONTH_FIRST_OK, UTC_KNOWN, HAS_CLOCK, NUMERIC = 1, 2, 4, 8, 16

_DAY, _HOUR, _MINUTE, _SECOND = 86_400_000_000_000, 3_600_000_000_000, 60_000_000_000, 1_000_000_000
_LARGEST_EXACT = 2**53
_UNDEFINED = 9_223_372_036.0
"""Databento's price that there is not (``numbers.py``)."""
_NONE = -(2**63)
_POWERS = 10.0 ** np.arange(23)


@kernel(inline=True)
def days_of(year: int, month: int, day: int) -> int:
    """Days since 1970, or ``_NONE`` where there is no such date between 1900 and 2200."""
    if year < 1900 or year > 2200 or month < 1 or month > 12 or day < 1 or day > 31:
        return _NONE
    if day > 28:
        longest = 31
        if month in (4, 6, 9, 11):
            longest = 30
        elif month == 2:
            longest = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
        if day > longest:
            return _NONE
    shifted = year - (1 if month <= 2 else 0)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@kernel
def _clock_at(raw: NDArray[np.uint8], start: int, end: int, needs_two: bool) -> tuple[int, int]:
    """Nanoseconds since midnight of the clock that begins at ``start``, and where it ends; (-1, start) where there is none."""
    place, hour = start, 0
    while place < end and 48 <= raw[place] <= 57 and place - start < 2:
        hour = hour * 10 + raw[place] - 48
        place += 1
    if place == start or (needs_two and place - start != 2) or place >= end or raw[place] != 58:
        return -1, start
    if place + 2 >= end or not 48 <= raw[place + 1] <= 57 or not 48 <= raw[place + 2] <= 57:
        return -1, start
    minute = (raw[place + 1] - 48) * 10 + raw[place + 2] - 48
    place += 3
    second, fraction = 0, 0
    if place < end and raw[place] == 58:
        if place + 2 >= end or not 48 <= raw[place + 1] <= 57 or not 48 <= raw[place + 2] <= 57:
            return -1, start
        second = (raw[place + 1] - 48) * 10 + raw[place + 2] - 48
        place += 3
        if place < end and raw[place] == 46:
            place += 1
            digits = 0
            while place < end and 48 <= raw[place] <= 57 and digits < 9:
                fraction = fraction * 10 + raw[place] - 48
                digits += 1
                place += 1
            if digits == 0:
                return -1, start
            for _ in range(9 - digits):
                fraction *= 10
    if hour > 23 or minute > 59 or second > 59:
        return -1, start
    return hour * _HOUR + minute * _MINUTE + second * _SECOND + fraction, place


@kernel
def _offset_at(raw: NDArray[np.uint8], place: int, end: int) -> int:
    """Nanoseconds of a clock's offset from UTC, +0530 or +05:30, from its sign to ``end``; ``_NONE`` where it is written otherwise."""
    hours = minutes = count = 0
    for at in range(place + 1, end):
        if raw[at] == 58 and count == 2:
            continue
        if not 48 <= raw[at] <= 57 or count == 4:
            return _NONE
        if count < 2:
            hours = hours * 10 + raw[at] - 48
        else:
            minutes = minutes * 10 + raw[at] - 48
        count += 1
    if count != 4 or raw[end - 1] == 58:
        return _NONE
    return (1 if raw[place] == 43 else -1) * (hours * _HOUR + minutes * _MINUTE)


@kernel
def _stamp_at(  # noqa: C901  one branch per way to write a stamp
    raw: NDArray[np.uint8], start: int, end: int, clock_start: int, clock_end: int, stamp: NDArray[np.int64]
) -> bool:
    """Read a stamp into ``stamp`` (7,): day first, month first, state, first, second, clock, offset; false where it is not plain."""
    place, number = start, 0
    while place < end and 48 <= raw[place] <= 57 and place - start < 19:
        number = number * 10 + raw[place] - 48
        place += 1
    digits = place - start
    has_own_clock = clock_start < 0
    clock_ns, offset_ns, state = 0, 0, 0
    first, second = 0, 0
    is_compact = False
    if digits in (1, 2, 4) and place < end and raw[place] in (45, 46, 47):
        first = number
        place += 1
        began = place
        while place < end and 48 <= raw[place] <= 57 and place - began < 2:
            second = second * 10 + raw[place] - 48
            place += 1
        if place == began or place >= end or raw[place] not in (45, 46, 47):
            return False
        place += 1
        began, third = place, 0
        while place < end and 48 <= raw[place] <= 57 and place - began < 4:
            third = third * 10 + raw[place] - 48
            place += 1
        tail = place - began
        if digits == 4 and 1 <= tail <= 2:
            day_first = month_first = days_of(first, second, third)
        elif digits <= 2 and tail == 4:
            state |= NUMERIC
            day_first, month_first = days_of(third, second, first), days_of(third, first, second)
        else:
            return False
    elif digits == 8:
        is_compact = True
        day_first = month_first = days_of(number // 10_000, number // 100 % 100, number % 100)
    elif has_own_clock and place == end and digits in (10, 13, 16, 19):
        unit = 1_000_000_000 if digits == 10 else 1_000_000 if digits == 13 else 1_000 if digits == 16 else 1
        if number <= 0 or number >= 2**62 // unit:
            return False
        stamp[0] = stamp[1] = number * unit
        stamp[2] = DAY_FIRST_OK | MONTH_FIRST_OK | UTC_KNOWN | HAS_CLOCK
        stamp[3] = stamp[4] = stamp[5] = stamp[6] = 0
        return True
    else:
        return False
    if day_first == _NONE and month_first == _NONE:
        return False
    if not has_own_clock:
        if place != end:
            return False
        clock_ns, place = _clock_at(raw, clock_start, clock_end, is_compact)
        if clock_ns < 0 or place != clock_end:
            return False
        state |= HAS_CLOCK
    elif place < end:
        if raw[place] != 32 and raw[place] != 84:
            return False
        clock_ns, place = _clock_at(raw, place + 1, end, is_compact)
        if clock_ns < 0:
            return False
        state |= HAS_CLOCK
        if place < end:
            if raw[place] == 90 and place + 1 == end:
                state |= UTC_KNOWN
            elif raw[place] in (43, 45):
                offset_ns = _offset_at(raw, place, end)
                if offset_ns == _NONE:
                    return False
                state |= UTC_KNOWN
            else:
                return False
    if day_first != _NONE:
        state |= DAY_FIRST_OK
    if month_first != _NONE:
        state |= MONTH_FIRST_OK
    stamp[0] = (day_first * _DAY if day_first != _NONE else 0) + clock_ns - offset_ns
    stamp[1] = (month_first * _DAY if month_first != _NONE else 0) + clock_ns - offset_ns
    stamp[2], stamp[3], stamp[4], stamp[5], stamp[6] = state, first, second, clock_ns, offset_ns
    return True


@kernel
def scan_rows(  # noqa: C901  one loop over the bytes
    raw: NDArray[np.uint8],
    delimiter: int,
    slots: NDArray[np.int64],
    status: NDArray[np.uint8],
    starts: NDArray[np.int64],
    stamps: NDArray[np.int64],
    numbers: NDArray[np.float64],
    fields: NDArray[np.int64],
) -> int:
    """Read the lines of ``raw`` (B,), which ends with a line end; returns how many there are (L).

    ``slots`` (W,) says what each field of a row is: a column of ``numbers`` (L, C), ``STAMP_FIELD``, ``CLOCK_FIELD`` or ``NO_FIELD``.
    Filled: ``status`` (L,), ``starts`` (L,) of the lines, ``stamps`` (L, 7) as ``_stamp_at`` has them, and ``fields`` (F,): how many lines
    that are not blank have so many fields, the last place for all with more.
    """
    width, most = len(slots), len(fields) - 1
    line, start, size = 0, 0, len(raw)
    while start < size:
        place, field, began = start, 0, start
        is_blank, is_plain = True, True
        stamp_start = stamp_end = clock_start = clock_end = -1
        mantissa, digits, behind, sign = 0, 0, -1, 1.0
        slot = slots[0]
        is_number = slot >= 0
        is_sound = True
        while True:
            c = raw[place]
            if c == delimiter or c == 10:
                if slot >= 0:
                    if place == began:
                        numbers[line, slot] = np.nan
                    elif is_sound and digits > 0 and behind != 0 and mantissa <= _LARGEST_EXACT:
                        value = sign * mantissa
                        if behind > 0:
                            value /= _POWERS[behind]
                        numbers[line, slot] = np.nan if np.floor(abs(value)) == _UNDEFINED else value
                    else:
                        is_plain = False
                elif slot == STAMP_FIELD:
                    stamp_start, stamp_end = began, place
                elif slot == CLOCK_FIELD:
                    clock_start, clock_end = began, place
                field += 1
                if c == 10:
                    break
                began = place + 1
                slot = slots[field] if field < width else NO_FIELD
                is_number = slot >= 0
                is_sound = True
                mantissa, digits, behind, sign = 0, 0, -1, 1.0
            else:
                if c != 32:
                    is_blank = False
                if is_number:
                    if 48 <= c <= 57:
                        if digits < 18:
                            mantissa = mantissa * 10 + c - 48
                        else:
                            is_sound = False
                        digits += 1
                        if behind >= 0:
                            behind += 1
                    elif c == 46 and behind < 0 and digits > 0:
                        behind = 0
                    elif c == 45 and place == began:
                        sign = -1.0
                    else:
                        is_sound = False
            place += 1
        starts[line] = start
        if is_blank:
            status[line] = BLANK
        else:
            fields[min(field, most)] += 1
            if field != width:
                status[line] = RAGGED
            elif is_plain and _stamp_at(raw, stamp_start, stamp_end, clock_start, clock_end, stamps[line]):
                status[line] = PLAIN
            else:
                status[line] = DIRTY
        line += 1
        start = place + 1
    return line
