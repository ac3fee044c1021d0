"""Numbers as people read them: thousands, units, percent, times and durations. For display only, never for storage.

One convention of units runs through the package. ``unit`` is a short text, and four of them are more than a suffix:

- ``"%"``: the value is a fraction, shown times one hundred (0.0123 is shown as 1.23 %);
- ``"$"``: written before the number, after its sign (``"EUR"`` and other codes are plain suffixes);
- ``"ns"``: a duration in nanoseconds, shown in the unit that suits its size;
- ``"time"``: int64 nanoseconds since the epoch, shown as a UTC time.

Anything else is written after the number (``"bps"``, ``"lots"``). Read ``scales.py`` next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

MISSING = "–"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_S = 1_000_000_000
_DURATIONS = (
    (86_400 * _NS_PER_S, "d"),
    (3_600 * _NS_PER_S, "h"),
    (60 * _NS_PER_S, "min"),
    (_NS_PER_S, "s"),
    (1_000_000, "ms"),
    (1_000, "µs"),
    (1, "ns"),
)
_COMPACT = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def format_value(value: float | int | None, unit: str = "", decimals: int | None = None, *, sign: bool = False) -> str:
    """A value with its unit.

    Parameters: ``value`` in the unit as the module docstring says (None and NaN are shown as a dash), ``decimals`` after
    the point (by size where None; integers have none), ``sign`` to write ``+`` before what is above zero.
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "-inf" if value < 0 else "+inf"
    if unit == "time":
        return format_time(int(value))
    if unit == "ns":
        return format_duration(value)
    shown = value * 100.0 if unit == "%" else value
    plus = "+" if sign and value > 0 else ""
    if decimals is None and unit in {"%", "$"} and abs(shown) >= 0.1 and not float(shown).is_integer():
        decimals = 2
    return _with_unit(plus + _format_plain(shown, decimals), unit)


def axis_labels(ticks: Sequence[float], step: float, unit: str = "") -> list[str]:
    """The labels of an axis: as many decimals as ``step`` needs, and k, M, B, T on all of them where that saves digits."""
    if unit == "ns":
        return [format_duration(tick) for tick in ticks]
    scale = 100.0 if unit == "%" else 1.0
    shown, shown_step = [tick * scale for tick in ticks], abs(step) * scale
    largest = max((abs(tick) for tick in shown), default=0.0)
    if largest >= 1e15 or 0 < largest < 1e-6:
        return [_with_unit(_exponent(tick) if tick else "0", unit) for tick in shown]
    for size, letter in _COMPACT:
        if largest >= max(size, 1e4) and shown_step >= size / 100:
            decimals = _step_decimals(shown_step / size)
            return [_with_unit(_fixed(tick / size, decimals) + (letter if tick else ""), unit) for tick in shown]
    return [_with_unit(_fixed(tick, _step_decimals(shown_step)), unit) for tick in shown]


def format_duration(duration_ns: float) -> str:
    """A duration in nanoseconds to three significant digits, in the largest unit that leaves at least one."""
    if not math.isfinite(duration_ns):
        return MISSING if math.isnan(duration_ns) else ("-inf" if duration_ns < 0 else "+inf")
    for size, unit in _DURATIONS:
        if abs(duration_ns) >= size:
            return f"{_significant(duration_ns / size, 3)} {unit}"
    return f"{_significant(duration_ns, 3)} ns"


def format_time(time_ns: int, resolution_ns: int = _NS_PER_S) -> str:
    """A UTC time, ``2020-03-09 14:30:00``; ``resolution_ns`` says how much of it matters.

    A day or more gives the date alone, a minute or more leaves the seconds out, less than a second adds a fraction.
    """
    moment, fraction_ns = split_time(time_ns)
    date = f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}"
    if resolution_ns >= 86_400 * _NS_PER_S:
        return date
    clock = f"{moment.hour:02d}:{moment.minute:02d}"
    if resolution_ns >= 60 * _NS_PER_S:
        return f"{date} {clock}"
    return f"{date} {clock}:{moment.second:02d}{format_fraction(fraction_ns, resolution_ns)}"


def format_fraction(fraction_ns: int, resolution_ns: int) -> str:
    """The digits after the seconds that ``resolution_ns`` asks for: none, 3, 6 or 9."""
    if resolution_ns >= _NS_PER_S:
        return ""
    digits = 3 if resolution_ns >= 1_000_000 else 6 if resolution_ns >= 1_000 else 9
    return "." + f"{fraction_ns:09d}"[:digits]


def split_time(time_ns: int) -> tuple[datetime, int]:
    """A UTC time as whole seconds (an aware datetime) and the nanoseconds after them."""
    seconds, fraction_ns = divmod(int(time_ns), _NS_PER_S)
    return _EPOCH + timedelta(seconds=seconds), fraction_ns


def _with_unit(number: str, unit: str) -> str:
    if unit in {"", "time"}:
        return number
    if unit == "$":
        return f"{number[0]}${number[1:]}" if number[:1] in {"-", "+"} else f"${number}"
    return f"{number}%" if unit == "%" else f"{number} {unit}"


def _format_plain(value: float | int, decimals: int | None) -> str:
    if decimals is None and (isinstance(value, int) or (value.is_integer() and abs(value) < 1e15)):
        return f"{int(value):,}"
    if decimals is not None and abs(value) < 1e18:
        return _fixed(float(value), decimals)
    size = abs(value)
    if size >= 1e15 or (size < 1e-4 and size > 0):
        return _exponent(float(value))
    return _fixed(float(value), 2 if size >= 100 else 3 if size >= 1 else 4)


def _fixed(value: float, decimals: int) -> str:
    written = f"{value:,.{decimals}f}"
    # A value that rounds to nothing is nothing: "-0.00" would claim a loss.
    return written[1:] if written.startswith("-") and not any(digit in written for digit in "123456789") else written


def _exponent(value: float) -> str:
    mantissa, exponent = f"{value:.3g}".split("e") if "e" in f"{value:.3g}" else f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    written = f"{value:,.{max(digits - 1 - size, 0)}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def _step_decimals(step: float) -> int:
    """The fewest decimals that write ``step`` without loss, at most 10."""
    if step <= 0:
        return 0
    for decimals in range(10):
        if abs(step * 10**decimals - round(step * 10**decimals)) < 1e-6 * step * 10**decimals:
            return decimals
    return 10
