"""From values to pixels, and where the ticks of an axis go: linear numbers and UTC time. Read ``downsample.py`` next."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from grandmodel.charts.errors import ChartError
from grandmodel.charts.numbers import format_fraction, split_time

# Beyond this size the difference of two numbers may overflow, and no chart can show it; treated like infinity.
DRAWABLE_LIMIT = 1e300

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

_S = 1_000_000_000
_MIN, _HOUR, _DAY = 60 * _S, 3_600 * _S, 86_400 * _S
_STEPS_NS = (
    *(m * 10**e for e in range(9) for m in (1, 2, 5)),
    *(n * _S for n in (1, 2, 5, 10, 15, 30)),
    *(n * _MIN for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 14)),
)  # fmt: skip
_STEPS_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600)
_MONTH_NS = 2_629_746 * _S
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class LinearScale:
    """A straight line from the values ``low .. high`` to the pixels ``start .. end``; ``end`` may be the smaller."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of one value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def pixels(self, values: Floats) -> Floats:
        """The pixels of many values, shape kept."""
        return self.start + (values - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class TimeScale:
    """A straight line from ``start_ns .. end_ns`` to pixels. The difference is taken in integers, so no ns is lost."""

    start_ns: int
    end_ns: int
    start: float
    end: float

    def at(self, time_ns: int) -> float:
        """The pixel of one time."""
        return self.start + (int(time_ns) - self.start_ns) / (self.end_ns - self.start_ns) * (self.end - self.start)

    def pixels(self, time_ns: Times) -> Floats:
        """The pixels of many times, shape kept."""
        elapsed = (time_ns - np.int64(self.start_ns)).astype(np.float64)
        return np.asarray(self.start + elapsed / (self.end_ns - self.start_ns) * (self.end - self.start), np.float64)


@dataclass(frozen=True, slots=True)
class TimeTick:
    """One tick of a time axis: where, what to write under it, and the larger unit where it begins (else empty)."""

    time_ns: int
    label: str
    context: str


def drawable(values: Floats) -> npt.NDArray[np.bool_]:
    """Which values have a place on an axis: finite, and not so large that their difference overflows."""
    return np.asarray(np.abs(values) <= DRAWABLE_LIMIT, np.bool_)


def check_range(limits: tuple[float, float] | None, name: str, title: str) -> None:
    """Raise ``ChartError`` unless the limits that a caller chose for an axis can be one (None: nothing was chosen)."""
    if limits is None:
        return
    low, high = limits
    if not (abs(low) <= DRAWABLE_LIMIT and abs(high) <= DRAWABLE_LIMIT and low < high):
        raise ChartError(f"chart {title!r}: {name} is ({low}, {high}); expected two finite numbers, the smaller first")


def value_range(parts: Iterable[Floats], *, include_zero: bool = False) -> tuple[float, float] | None:
    """The smallest and largest drawable value of several arrays; None where there is none."""
    lows, highs = [], []
    for part in parts:
        kept = part[drawable(part)]
        if kept.size:
            lows.append(float(kept.min()))
            highs.append(float(kept.max()))
    if not lows:
        return None
    if include_zero:
        lows.append(0.0)
        highs.append(0.0)
    return min(lows), max(highs)


def nice_axis(low: float, high: float, count: int = 5) -> tuple[float, float, list[float], float]:
    """A round axis that holds ``low .. high``.

    Result: the axis' own low and high, its ticks (about ``count``, multiples of 1, 2 or 5 times a power of ten) and their
    step. A range that floating point cannot resolve (a constant series) is widened around its value.
    """
    middle = low + (high - low) / 2
    if high - low <= max(abs(middle) * 1e-11, 1e-290):
        margin = abs(middle) * 0.05 if abs(middle) > 1e-280 else 1.0
        low, high = middle - margin, middle + margin
    step = _nice_step((high - low) / max(count, 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if last <= first:
        last = first + 1
    ticks = [_multiple(k, step) for k in range(first, last + 1)]
    return min(ticks[0], low), max(ticks[-1], high), ticks, step


def axis_within(
    limits: tuple[float, float], fixed: tuple[float, float] | None, count: int = 5
) -> tuple[float, float, list[float], float]:
    """As ``nice_axis`` of ``limits``; with a ``fixed`` range the axis is that range, and its ticks are those inside."""
    low, high, ticks, step = nice_axis(*limits, count)
    if fixed is None:
        return low, high, ticks, step
    return *fixed, [tick for tick in ticks if fixed[0] <= tick <= fixed[1]], step


def time_ticks(start_ns: int, end_ns: int, count: int) -> list[TimeTick]:
    """About ``count`` ticks at round UTC times inside ``start_ns .. end_ns`` (both included)."""
    if end_ns <= start_ns:
        return [_label_tick(start_ns, _S if start_ns % _S == 0 else 1, None)]
    wanted = (end_ns - start_ns) / max(count, 1)
    step_ns = next((step for step in _STEPS_NS if step >= wanted), None)
    if step_ns is not None:
        # Weeks start on a Monday; the epoch was a Thursday.
        offset = 4 * _DAY if step_ns % (7 * _DAY) == 0 else 0
        first = -((offset - start_ns) // step_ns) * step_ns + offset
        times = list(range(first, end_ns + 1, step_ns))
    else:
        months = next((step for step in _STEPS_MONTHS if step * _MONTH_NS >= wanted), _STEPS_MONTHS[-1])
        times = [time for time in _month_starts(start_ns, end_ns, months) if start_ns <= time <= end_ns]
        step_ns = months * _MONTH_NS
    ticks: list[TimeTick] = []
    for time in times:
        ticks.append(_label_tick(time, step_ns, ticks[-1].time_ns if ticks else None))
    return ticks


def _nice_step(raw: float) -> float:
    exponent = math.floor(math.log10(raw))
    for factor in (1.0, 2.0, 5.0):
        if factor * 10.0**exponent >= raw * (1 - 1e-9):
            return factor * 10.0**exponent
    return 10.0 ** (exponent + 1)


def _multiple(k: int, step: float) -> float:
    """``k * step`` without the noise of binary fractions: 3 * 0.1 is 0.3."""
    return float(f"{k * step:.12g}")


def _month_starts(start_ns: int, end_ns: int, months: int) -> Iterable[int]:
    first = split_time(start_ns)[0]
    number = (first.year * 12 + first.month - 1) // months * months
    while True:
        year, month = divmod(number, 12)
        if year >= 1:
            time_ns = int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp()) * _S
            if time_ns > end_ns:
                return
            yield time_ns
        number += months


def _label_tick(time_ns: int, step_ns: int, previous_ns: int | None) -> TimeTick:
    moment, fraction_ns = split_time(time_ns)
    previous = split_time(previous_ns)[0] if previous_ns is not None else None
    year = str(moment.year)
    if step_ns >= 12 * _MONTH_NS:
        return TimeTick(time_ns, year, "")
    if step_ns >= _MONTH_NS:
        return TimeTick(
            time_ns, _MONTHS[moment.month - 1], year if previous is None or previous.year != moment.year else ""
        )
    day = f"{moment.day} {_MONTHS[moment.month - 1]}"
    if step_ns >= _DAY:
        return TimeTick(time_ns, day, year if previous is None or previous.year != moment.year else "")
    clock = f"{moment.hour:02d}:{moment.minute:02d}"
    if step_ns < _MIN:
        clock += f":{moment.second:02d}{format_fraction(fraction_ns, step_ns)}"
    context = f"{day} {year}" if previous is None or previous.date() != moment.date() else ""
    return TimeTick(time_ns, clock, context)
