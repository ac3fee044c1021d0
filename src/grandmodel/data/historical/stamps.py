"""Stamps of files: text to wall-clock nanoseconds, with the order of day and month proven from the whole file.

Nothing here guesses row by row. A numeric date whose day and month could be swapped is read in the order that the rest
of the file proves: by a number above 12, or by the fact that only one order keeps the file in time. Where neither does,
the file is refused. Read next: ``zones.py`` (wall clock to UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.profile import DateOrder
from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND

SHOWN_LINES = 5
"""How many line numbers a finding carries."""

LATEST_AHEAD_NS = NS_PER_DAY
"""A stamp may run ahead of the clock of the import by this much: a clock in another zone, a bar stamped by its close."""
ISOLATING_GAP_NS = 366 * NS_PER_DAY
"""Rows apart from the rest of their file by more than this (and by more than 1,000 bars of the file) stand alone."""
ISOLATED_ROWS = 10
ISOLATED_SHARE = 0.05
"""At most so many rows, and at most this share of the file, are taken for wrong stamps where they stand alone."""

_CLOCK = r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?"
_ZONE = r"(Z|UTC|GMT|(?:UTC|GMT)?[+-]\d{2}:?\d{2})?"
_PARTED = rf"^\s*(\d{{1,4}})[-/.](\d{{1,2}})[-/.](\d{{1,4}})(?:[T ,]+{_CLOCK})?\s*([AaPp][Mm])?\s*{_ZONE}\s*$"
_COMPACT = (
    rf"^\s*(\d{{4}})(\d{{2}})(\d{{2}})(?:[T ]?(\d{{2}}):?(\d{{2}})(?::?(\d{{2}})(?:\.(\d{{1,9}}))?)?)?()\s*{_ZONE}\s*$"
)
_EPOCH_UNIT_NS = {10: 1_000_000_000, 13: 1_000_000, 16: 1_000, 19: 1}
_FIRST_YEAR, _LAST_YEAR = 1900, 2200


@dataclass(slots=True)
class Stamps:
    """The stamps of a file. Shapes (T,).

    ``wall_ns`` is nanoseconds since 1970 as the stamp's own clock shows them; ``utc_known`` says where the text names its
    distance from UTC, which is then already taken off. ``usable`` is false where no stamp could be read.
    """

    wall_ns: NDArray[np.int64]
    usable: NDArray[np.bool_]
    utc_known: NDArray[np.bool_]
    has_clock: NDArray[np.bool_]
    date_order: DateOrder
    evidence: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def parse_stamps(text: pl.Series, lines: NDArray[np.int64], order: DateOrder | None, where: str) -> Stamps:
    """Read stamp ``text`` (T,), whose rows stand on ``lines`` (T,) of the file.

    ``order`` settles numeric dates such as 3/4/2020; without it the whole file must prove it. Raises ``AmbiguousError``
    where it does not, ``ReadError`` where the rows contradict each other or none is a stamp.
    """
    parted = text.str.extract_groups(_PARTED)
    compact = text.str.extract_groups(_COMPACT)
    is_parted = parted.struct[0].is_not_null().to_numpy()
    is_compact = compact.struct[0].is_not_null().to_numpy() & ~is_parted
    first, second, third = (_integers(parted.struct[i], compact.struct[i], is_compact) for i in range(3))
    lengths = parted.struct[0].str.len_chars().fill_null(0).to_numpy()
    tails = parted.struct[2].str.len_chars().fill_null(0).to_numpy()
    year_first = is_compact | (is_parted & (lengths == 4) & (tails <= 2))
    year_last = is_parted & (lengths <= 2) & (tails == 4)

    clock_ns, has_clock, clock_ok = _clock(parted, compact, is_compact)
    offset_ns, utc_known = _offset(parted, compact, is_compact)
    usable = (year_first | year_last) & clock_ok

    day_first = _days(third, second, first)
    month_first = _days(third, first, second)
    found, evidence, findings = _proven_order(
        usable & year_last, first, second, day_first, month_first, clock_ns, lines, order, where
    )
    days = np.where(year_first, _days(first, second, third), day_first if found is DateOrder.DAY_FIRST else month_first)
    usable &= days != _NO_DAY
    wall_ns = np.where(usable, days, 0) * NS_PER_DAY + clock_ns - offset_ns

    wall_ns, usable, utc_known = _with_epochs(text, wall_ns, usable, utc_known)
    has_clock |= utc_known
    if not usable.any():
        shown = ", ".join(repr(value) for value in text.head(3).to_list())
        raise ReadError(
            f"{where}: found no stamp that could be read ({shown}), expected dates such as 2024-06-28 13:30"
        )
    return Stamps(wall_ns, usable, utc_known, has_clock, found, evidence, findings)


_NO_DAY = np.iinfo(np.int64).min


def _integers(parted: pl.Series, compact: pl.Series, is_compact: NDArray[np.bool_]) -> NDArray[np.int64]:
    left = parted.cast(pl.Int64).fill_null(0).to_numpy()
    right = compact.cast(pl.Int64).fill_null(0).to_numpy() if is_compact.any() else left
    return np.where(is_compact, right, left)


def _days(year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]) -> NDArray[np.int64]:
    """Days since 1970 of a Gregorian date, or ``_NO_DAY`` where there is no such date."""
    possible = (year >= _FIRST_YEAR) & (year <= _LAST_YEAR) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    months = np.where(possible, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    starts = months.astype("datetime64[D]").astype(np.int64)
    ends = (months + np.timedelta64(1, "M")).astype("datetime64[D]").astype(np.int64)
    found = starts + day - 1
    return np.where(possible & (found < ends), found, _NO_DAY)


def _clock(
    parted: pl.Series, compact: pl.Series, is_compact: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Nanoseconds since midnight, whether the stamp has a clock at all, and whether it is a possible one."""
    hour, minute, second = (_integers(parted.struct[i], compact.struct[i], is_compact) for i in (3, 4, 5))
    has_clock = np.where(
        is_compact, compact.struct[3].is_not_null().to_numpy(), parted.struct[3].is_not_null().to_numpy()
    )
    digits = pl.Series(np.where(is_compact, compact.struct[6].to_numpy(), parted.struct[6].to_numpy()), dtype=pl.String)
    if digits.null_count() < len(digits):
        fraction = digits.fill_null("0").str.pad_end(9, "0").cast(pl.Int64).to_numpy()
    else:
        fraction = np.zeros(len(digits), dtype=np.int64)
    ok = (hour < 24) & (minute < 60) & (second < 60)
    half = parted.struct[7].str.to_lowercase()
    if half.null_count() < len(half):
        is_am, is_pm = half.eq_missing("am").to_numpy(), half.eq_missing("pm").to_numpy()
        ok &= ~(is_am | is_pm) | ((hour >= 1) & (hour <= 12))
        hour = np.where(is_am & (hour == 12), 0, np.where(is_pm & (hour < 12), hour + 12, hour))
    clock_ns = hour * NS_PER_HOUR + minute * NS_PER_MINUTE + second * NS_PER_SECOND + fraction
    return np.where(ok, clock_ns, 0), has_clock, ok


def _offset(
    parted: pl.Series, compact: pl.Series, is_compact: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Nanoseconds ahead of UTC that the text states, and where it states any."""
    zone = pl.Series(np.where(is_compact, compact.struct[8].to_numpy(), parted.struct[8].to_numpy()), dtype=pl.String)
    known = zone.is_not_null().to_numpy()
    offset = np.zeros(len(zone), dtype=np.int64)
    if known.any():
        parts = zone.str.extract_groups(r"([+-])(\d{2}):?(\d{2})$")
        hours = parts.struct[1].cast(pl.Int64).fill_null(0).to_numpy()
        minutes = parts.struct[2].cast(pl.Int64).fill_null(0).to_numpy()
        sign = np.where(parts.struct[0].eq_missing("-").to_numpy(), -1, 1)
        offset = sign * (hours * NS_PER_HOUR + minutes * NS_PER_MINUTE)
    return offset, known


def _with_epochs(
    text: pl.Series, wall_ns: NDArray[np.int64], usable: NDArray[np.bool_], utc_known: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Read what is left as counts since 1970: 10 digits are seconds, 13 milli-, 16 micro-, 19 nanoseconds."""
    if usable.all():
        return wall_ns, usable, utc_known
    stripped = text.str.strip_chars()
    lengths = stripped.str.len_chars().fill_null(0).to_numpy()
    is_number = stripped.str.contains(r"^\d+$").fill_null(value=False).to_numpy() & ~usable
    for digits, unit_ns in _EPOCH_UNIT_NS.items():
        mask = is_number & (lengths == digits)
        if mask.any():
            numbers = stripped.filter(pl.Series(mask)).cast(pl.Int64, strict=False).fill_null(0).to_numpy()
            fits = (numbers > 0) & (numbers < 2**63 // unit_ns)
            wall_ns[mask] = np.where(fits, numbers, 0) * unit_ns
            usable[np.flatnonzero(mask)[fits]] = True
            utc_known = utc_known | mask
    return wall_ns, usable, utc_known


def _proven_order(
    numeric: NDArray[np.bool_],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    day_first: NDArray[np.int64],
    month_first: NDArray[np.int64],
    clock_ns: NDArray[np.int64],
    lines: NDArray[np.int64],
    order: DateOrder | None,
    where: str,
) -> tuple[DateOrder, list[str], list[Finding]]:
    """The order of day and month, the sentence that proves it, and what was found on the way."""
    if not numeric.any():
        return DateOrder.YEAR_FIRST, [], []
    shows_day_first = numeric & (first > 12) & (day_first != _NO_DAY)
    shows_month_first = numeric & (second > 12) & (month_first != _NO_DAY)
    open_rows = numeric & (first <= 12) & (second <= 12)
    finding = Finding(
        "ambiguous_dates",
        Treatment.NOTED,
        int(open_rows.sum()),
        "rows whose day and month could be swapped; read in the order that settles the whole file",
        first_lines(lines, open_rows),
    )
    findings = [finding] if finding.count else []
    if order in {DateOrder.DAY_FIRST, DateOrder.MONTH_FIRST}:
        against = shows_month_first if order is DateOrder.DAY_FIRST else shows_day_first
        if against.any():
            raise ReadError(
                f"{where}: line {first_lines(lines, against)[0]}: found a date that cannot be {order}, which --date-order "
                f"states ({int(against.sum())} such rows); use the other order or correct the rows"
            )
        return order, [f"date order {order}: stated"], findings
    if shows_day_first.any() and shows_month_first.any():
        raise ReadError(
            f"{where}: found dates of both orders: day first on {int(shows_day_first.sum())} rows (first: line "
            f"{first_lines(lines, shows_day_first)[0]}), month first on {int(shows_month_first.sum())} rows (first: line "
            f"{first_lines(lines, shows_month_first)[0]}); split the file by its spelling"
        )
    for shown, found in ((shows_day_first, DateOrder.DAY_FIRST), (shows_month_first, DateOrder.MONTH_FIRST)):
        if shown.any():
            sentence = f"date order {found}: {int(shown.sum())} rows allow no other (first: line {first_lines(lines, shown)[0]})"
            return found, [sentence], findings
    return *_order_by_time(numeric, day_first, month_first, clock_ns, lines, where), findings


def _order_by_time(
    numeric: NDArray[np.bool_],
    day_first: NDArray[np.int64],
    month_first: NDArray[np.int64],
    clock_ns: NDArray[np.int64],
    lines: NDArray[np.int64],
    where: str,
) -> tuple[DateOrder, list[str]]:
    """No number above 12 anywhere: one order may still be the only one that keeps the file in time."""
    backward = {}
    for found, days in ((DateOrder.DAY_FIRST, day_first), (DateOrder.MONTH_FIRST, month_first)):
        steps = np.diff(days[numeric] * NS_PER_DAY + clock_ns[numeric])
        backward[found] = int((steps < 0).sum())
    in_time = [found for found, count in backward.items() if count == 0]
    distinct = len(np.unique(day_first[numeric]))
    if len(in_time) == 1 and distinct >= 3:
        other = next(found for found in backward if found is not in_time[0])
        sentence = f"date order {in_time[0]}: it keeps the file in time, {other} goes back {backward[other]} times"
        return in_time[0], [sentence]
    raise AmbiguousError(
        f"{where}: all {int(numeric.sum())} dates (first: line {first_lines(lines, numeric)[0]}) can be read day first or "
        "month first and nothing in the file decides it; say --date-order dmy or --date-order mdy"
    )


def implausible_stamps(
    ts_ns: NDArray[np.int64], width_ns: int = 0, now_ns: int | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of ``ts_ns`` (T,) lie beyond ``now_ns``, and which few stand alone before or after all others; two masks (T,).

    ``now_ns`` is the clock of whoever imports; without it nothing lies beyond. ``width_ns`` is the bars' width, 0 for ticks.
    """
    beyond = np.zeros(len(ts_ns), dtype=np.bool_) if now_ns is None else ts_ns > now_ns + LATEST_AHEAD_NS
    alone = np.zeros(len(ts_ns), dtype=np.bool_)
    rest = np.flatnonzero(~beyond)
    gap_ns = max(ISOLATING_GAP_NS, 1_000 * width_ns)
    if len(rest) < 2 or int(ts_ns[rest].max()) - int(ts_ns[rest].min()) <= gap_ns:
        return beyond, alone
    order = rest[np.argsort(ts_ns[rest], kind="stable")]
    most = min(ISOLATED_ROWS, int(ISOLATED_SHARE * len(order)))
    breaks = np.flatnonzero(np.diff(ts_ns[order]) > gap_ns) + 1
    before, after = breaks[breaks <= most], breaks[breaks >= len(order) - most]
    if len(before):
        alone[order[: before[-1]]] = True
    if len(after):
        alone[order[after[0] :]] = True
    return beyond, alone


def first_lines(lines: NDArray[np.int64], mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """The first few of ``lines`` where ``mask`` holds."""
    return tuple(int(line) for line in lines[mask][:SHOWN_LINES])
