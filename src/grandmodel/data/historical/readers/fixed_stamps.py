"""Stamps of one fixed form, straight from the bytes of a text column.

``wall_clock_ns`` takes a column only where every row has exactly the form; otherwise it answers ``None`` and the caller's general way
reads the column, or says which row is wrong.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from grandmodel.data.historical.readers.plain_rows import days_of
from grandmodel.kernels import kernel

_HOUR, _MINUTE, _SECOND, _DAY = 3_600_000_000_000, 60_000_000_000, 1_000_000_000, 86_400_000_000_000
_YEAR, _MONTH, _DAY_OF, _HOURS, _MINUTES, _SECONDS, _THOUSANDTHS, _REST = (ord(letter) for letter in "YMDhmsf*")
_DIGIT_0, _DIGIT_9, _POINT = ord("0"), ord("9"), ord(".")


def wall_clock_ns(texts: pl.Series, form: str) -> NDArray[np.int64] | None:
    """Nanoseconds (T,) since 1970 of ``texts`` (T,) as a wall clock, or ``None`` where a row has not the ``form``.

    In a form ``YYYY``, ``MM``, ``DD``, ``hh``, ``mm``, ``ss`` and ``fff`` are digits; ``*`` at its end is a point and one to nine digits, or
    nothing; anything else stands for itself. Years 1900 to 2200.
    """
    if texts.null_count() or not len(texts):
        return None
    column = texts.rechunk().to_arrow().cast(pa.large_string())
    chunk = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    _, offsets, content = chunk.buffers()
    if content is None:
        return None
    places = np.frombuffer(offsets, dtype=np.int64)[chunk.offset : chunk.offset + len(texts) + 1]
    stamps = np.empty(len(texts), dtype=np.int64)
    pattern = np.frombuffer(form.encode(), dtype=np.uint8)
    return stamps if _read_form(np.frombuffer(content, dtype=np.uint8), places, pattern, stamps) else None


@kernel
def _read_form(  # noqa: C901  one branch per letter of the form
    raw: NDArray[np.uint8], places: NDArray[np.int64], pattern: NDArray[np.uint8], stamps: NDArray[np.int64]
) -> bool:
    """Fill ``stamps`` (T,); false at the first row that has another form."""
    for row in range(len(stamps)):
        place, end = places[row], places[row + 1]
        year, month, day, hour, minute, second, thousandths, rest = 0, 0, 0, 0, 0, 0, 0, 0
        for letter in pattern:
            if letter == _REST:
                if place == end:
                    break
                count = end - place - 1
                if raw[place] != _POINT or count < 1 or count > 9:
                    return False
                for at in range(place + 1, end):
                    if not _DIGIT_0 <= raw[at] <= _DIGIT_9:
                        return False
                    rest = rest * 10 + raw[at] - _DIGIT_0
                for _ in range(9 - count):
                    rest *= 10
                place = end
                break
            if place == end:
                return False
            digit = raw[place] - _DIGIT_0
            is_digit = _DIGIT_0 <= raw[place] <= _DIGIT_9
            place += 1
            if letter == _YEAR:
                year = year * 10 + digit
            elif letter == _MONTH:
                month = month * 10 + digit
            elif letter == _DAY_OF:
                day = day * 10 + digit
            elif letter == _HOURS:
                hour = hour * 10 + digit
            elif letter == _MINUTES:
                minute = minute * 10 + digit
            elif letter == _SECONDS:
                second = second * 10 + digit
            elif letter == _THOUSANDTHS:
                thousandths = thousandths * 10 + digit
            elif raw[place - 1] == letter:
                is_digit = True
            else:
                return False
            if not is_digit:
                return False
        days = days_of(year, month, day)
        if place != end or days < -100_000 or hour > 23 or minute > 59 or second > 59:
            return False
        stamps[row] = days * _DAY + hour * _HOUR + minute * _MINUTE + second * _SECOND + thousandths * 1_000_000 + rest
    return True
