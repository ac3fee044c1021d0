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
class Tally:
    """How many rows of a file showed something, counted piece by piece, and the first few of their lines."""

    count: int = 0
    lines: tuple[int, ...] = ()

    def add(self, lines: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        """Count the rows set in ``mask`` (T,), which stand on ``lines`` (T,); pieces come in order."""
        count = int(np.count_nonzero(mask))
        if count:
            self.count += count
            if len(self.lines) < SHOWN_LINES:
                self.lines = (*self.lines, *first_lines(lines, mask))[:SHOWN_LINES]

    def add_anywhere(self, lines: NDArray[np.int64]) -> None:
        """Count rows on ``lines`` (K,), whatever their order: the smallest lines are kept."""
        self.count += len(lines)
        least = np.partition(lines, SHOWN_LINES)[:SHOWN_LINES] if len(lines) > SHOWN_LINES else lines
        self.lines = tuple(sorted((*self.lines, *least.tolist()))[:SHOWN_LINES])


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


@dataclass(slots=True)
class DatedRows:
    """Stamps whose order of day and month is not settled yet. Shapes (T,).

    ``day_first_ns`` and ``month_first_ns`` are the wall clock by either order (equal where the text leaves no choice), usable where
    ``day_first_ok`` and ``month_first_ok``. ``is_numeric`` marks dates such as 3/4/2020, whose ``first`` and ``second`` number is day or
    month.
    """

    day_first_ns: NDArray[np.int64]
    month_first_ns: NDArray[np.int64]
    day_first_ok: NDArray[np.bool_]
    month_first_ok: NDArray[np.bool_]
    is_numeric: NDArray[np.bool_]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    clock_ns: NDArray[np.int64]
    offset_ns: NDArray[np.int64]
    """What the text itself says to be ahead of UTC; already taken off."""
    utc_known: NDArray[np.bool_]
    has_clock: NDArray[np.bool_]

    def in_order(self, order: DateOrder) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The wall clock by ``order`` and which stamps are dates in it."""
        if order is DateOrder.DAY_FIRST:
            return self.day_first_ns, self.day_first_ok
        return self.month_first_ns, self.month_first_ok


def parse_stamps(text: pl.Series, lines: NDArray[np.int64], order: DateOrder | None, where: str) -> Stamps:
    """Read stamp ``text`` (T,), whose rows stand on ``lines`` (T,) of the file.

    ``order`` settles numeric dates such as 3/4/2020; without it the whole file must prove it. Raises ``AmbiguousError``
    where it does not, ``ReadError`` where the rows contradict each other or none is a stamp.
    """
    rows = dated_rows(text)
    proof = OrderProof()
    proof.add(rows, lines)
    found, evidence, findings = proof.settled(order, where)
    wall_ns, usable = rows.in_order(found)
    if not usable.any():
        raise no_stamp(where, text.head(3).to_list())
    return Stamps(wall_ns, usable, rows.utc_known, rows.has_clock, found, evidence, findings)


def no_stamp(where: str, first: list[str | None]) -> ReadError:
    """The error about a file of which no row has a stamp; ``first`` are the texts of its first rows."""
    shown = ", ".join(repr(value) for value in first)
    return ReadError(f"{where}: found no stamp that could be read ({shown}), expected dates such as 2024-06-28 13:30")


def dated_rows(text: pl.Series) -> DatedRows:
    """What each stamp of ``text`` (T,) says by itself."""
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
    is_dated = (year_first | year_last) & clock_ok
    is_numeric = is_dated & year_last
    epoch_ns, is_epoch, says_epoch = _epochs(text, is_dated)
    walls: list[NDArray[np.int64]] = []
    usables: list[NDArray[np.bool_]] = []
    for day, month in ((first, second), (second, first))[: 2 if is_numeric.any() else 1]:
        days = np.where(year_first, _days(first, second, third), _days(third, month, day))
        usable = is_dated & (days != _NO_DAY)
        walls.append(np.where(says_epoch, epoch_ns, np.where(usable, days, 0) * NS_PER_DAY + clock_ns - offset_ns))
        usables.append(usable | is_epoch)
    utc_known = utc_known | says_epoch
    return DatedRows(
        walls[0], walls[-1], usables[0], usables[-1], is_numeric, first, second, clock_ns, offset_ns, utc_known,
        has_clock | utc_known,
    )  # fmt: skip


class OrderProof:
    """What the rows of a file, piece by piece, prove about the order of day and month."""

    def __init__(self) -> None:
        self._numeric, self._day_first, self._month_first, self._open = Tally(), Tally(), Tally(), Tally()
        self._backward = {DateOrder.DAY_FIRST: 0, DateOrder.MONTH_FIRST: 0}
        self._last_ns: dict[DateOrder, int] = {}
        self._dates: set[int] = set()

    def add(self, rows: DatedRows, lines: NDArray[np.int64]) -> None:
        """Take in ``rows`` (T,), which stand on ``lines`` (T,)."""
        numeric = rows.is_numeric
        if not numeric.any():
            return
        self._numeric.add(lines, numeric)
        self._day_first.add(lines, numeric & (rows.first > 12) & rows.day_first_ok)
        self._month_first.add(lines, numeric & (rows.second > 12) & rows.month_first_ok)
        self._open.add(lines, numeric & (rows.first <= 12) & (rows.second <= 12))
        if self._day_first.count or self._month_first.count:
            return
        clock_ns = rows.clock_ns[numeric]
        for order in self._backward:
            wall_ns, usable = rows.in_order(order)
            days_ns = np.where(usable, wall_ns + rows.offset_ns - rows.clock_ns, 0)[numeric]
            times = days_ns + clock_ns
            if order in self._last_ns:
                times = np.concatenate(([self._last_ns[order]], times))
            self._backward[order] += int((np.diff(times) < 0).sum())
            self._last_ns[order] = int(times[-1])
            if order is DateOrder.DAY_FIRST and len(self._dates) < _LEAST_DATES:
                days_ns = np.where(usable[numeric], days_ns, _NO_DAY)
                self._dates.update(np.unique(days_ns)[:_LEAST_DATES].tolist())

    def settled(self, order: DateOrder | None, where: str) -> tuple[DateOrder, list[str], list[Finding]]:
        """The order of day and month, the sentence that proves it, and what was found on the way; raises as ``parse_stamps`` does."""
        if not self._numeric.count:
            return DateOrder.YEAR_FIRST, [], []
        finding = Finding(
            "ambiguous_dates",
            Treatment.NOTED,
            self._open.count,
            "rows whose day and month could be swapped; read in the order that settles the whole file",
            self._open.lines,
        )
        findings = [finding] if finding.count else []
        day_first, month_first = self._day_first, self._month_first
        if order in {DateOrder.DAY_FIRST, DateOrder.MONTH_FIRST}:
            against = month_first if order is DateOrder.DAY_FIRST else day_first
            if against.count:
                raise ReadError(
                    f"{where}: line {against.lines[0]}: found a date that cannot be {order}, which --date-order "
                    f"states ({against.count} such rows); use the other order or correct the rows"
                )
            return order, [f"date order {order}: stated"], findings
        if day_first.count and month_first.count:
            raise ReadError(
                f"{where}: found dates of both orders: day first on {day_first.count} rows (first: line "
                f"{day_first.lines[0]}), month first on {month_first.count} rows (first: line "
                f"{month_first.lines[0]}); split the file by its spelling"
            )
        for shown, found in ((day_first, DateOrder.DAY_FIRST), (month_first, DateOrder.MONTH_FIRST)):
            if shown.count:
                sentence = f"date order {found}: {shown.count} rows allow no other (first: line {shown.lines[0]})"
                return found, [sentence], findings
        return *self._by_time(where), findings

    def _by_time(self, where: str) -> tuple[DateOrder, list[str]]:
        """No number above 12 anywhere: one order may still be the only one that keeps the file in time."""
        in_time = [found for found, count in self._backward.items() if count == 0]
        if len(in_time) == 1 and len(self._dates) >= _LEAST_DATES:
            other = next(found for found in self._backward if found is not in_time[0])
            sentence = (
                f"date order {in_time[0]}: it keeps the file in time, {other} goes back {self._backward[other]} times"
            )
            return in_time[0], [sentence]
        raise AmbiguousError(
            f"{where}: all {self._numeric.count} dates (first: line {self._numeric.lines[0]}) can be read day first or "
            "month first and nothing in the file decides it; say --date-order dmy or --date-order mdy"
        )


_LEAST_DATES = 3
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
    digits = parted.struct[6].zip_with(pl.Series(~is_compact), compact.struct[6])
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
    zone = parted.struct[8].zip_with(pl.Series(~is_compact), compact.struct[8])
    known = zone.is_not_null().to_numpy()
    offset = np.zeros(len(zone), dtype=np.int64)
    if known.any():
        parts = zone.str.extract_groups(r"([+-])(\d{2}):?(\d{2})$")
        hours = parts.struct[1].cast(pl.Int64).fill_null(0).to_numpy()
        minutes = parts.struct[2].cast(pl.Int64).fill_null(0).to_numpy()
        sign = np.where(parts.struct[0].eq_missing("-").to_numpy(), -1, 1)
        offset = sign * (hours * NS_PER_HOUR + minutes * NS_PER_MINUTE)
    return offset, known


def _epochs(
    text: pl.Series, is_dated: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """What is no date as a count since 1970, which of the counts can be, and all that have the digits of one.

    10 digits are seconds, 13 milli-, 16 micro-, 19 nanoseconds.
    """
    epoch_ns = np.zeros(len(text), dtype=np.int64)
    is_epoch, has_digits = np.zeros(len(text), dtype=np.bool_), np.zeros(len(text), dtype=np.bool_)
    if is_dated.all():
        return epoch_ns, is_epoch, has_digits
    stripped = text.str.strip_chars()
    lengths = stripped.str.len_chars().fill_null(0).to_numpy()
    is_number = stripped.str.contains(r"^\d+$").fill_null(value=False).to_numpy() & ~is_dated
    for digits, unit_ns in _EPOCH_UNIT_NS.items():
        mask = is_number & (lengths == digits)
        if mask.any():
            numbers = stripped.filter(pl.Series(mask)).cast(pl.Int64, strict=False).fill_null(0).to_numpy()
            fits = (numbers > 0) & (numbers < 2**63 // unit_ns)
            epoch_ns[mask] = np.where(fits, numbers, 0) * unit_ns
            is_epoch[np.flatnonzero(mask)[fits]] = True
            has_digits |= mask
    return epoch_ns, is_epoch, has_digits


def implausible_stamps(
    ts_ns: NDArray[np.int64], width_ns: int = 0, now_ns: int | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of ``ts_ns`` (T,) lie beyond ``now_ns``, and which few stand alone before or after all others; two masks (T,).

    ``now_ns`` is the clock of whoever imports; without it nothing lies beyond. ``width_ns`` is the bars' width, 0 for ticks.
    """
    beyond = np.zeros(len(ts_ns), dtype=np.bool_) if now_ns is None else ts_ns > now_ns + LATEST_AHEAD_NS
    extremes = Extremes()
    extremes.add(ts_ns[~beyond] if beyond.any() else ts_ns)
    lowest, highest = extremes.isolated(width_ns)
    alone = np.zeros(len(ts_ns), dtype=np.bool_)
    if lowest is not None:
        alone |= ts_ns < lowest
    if highest is not None:
        alone |= (ts_ns >= highest) & ~beyond
    return beyond, alone


class Extremes:
    """The few earliest and latest stamps of a file that comes in pieces."""

    def __init__(self) -> None:
        self.rows = 0
        self._least: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._most: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def add(self, ts_ns: NDArray[np.int64]) -> None:
        """Take in stamps (T,)."""
        count = ISOLATED_ROWS + 1
        self.rows += len(ts_ns)
        ends = (ts_ns, ts_ns)
        if len(ts_ns) > 2 * count:
            parted = np.partition(ts_ns, (count, len(ts_ns) - count))
            ends = (parted[:count], parted[-count:])
        self._least = np.sort(np.concatenate((self._least, ends[0])))[:count]
        self._most = np.sort(np.concatenate((self._most, ends[1])))[-count:]

    def isolated(self, width_ns: int) -> tuple[int | None, int | None]:
        """The bounds between the few stamps that stand alone and all others: those below the first, those from the second on."""
        gap_ns = max(ISOLATING_GAP_NS, 1_000 * width_ns)
        if self.rows < 2 or int(self._most[-1]) - int(self._least[0]) <= gap_ns:
            return None, None
        few = min(ISOLATED_ROWS, int(ISOLATED_SHARE * self.rows))
        before = np.flatnonzero(np.diff(self._least) > gap_ns) + 1
        before = before[before <= few]
        after = np.flatnonzero(np.diff(self._most) > gap_ns) + 1
        after = after[after >= len(self._most) - few]
        return (
            int(self._least[before[-1]]) if len(before) else None,
            int(self._most[after[0]]) if len(after) else None,
        )


def first_lines(lines: NDArray[np.int64], mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """The first few of ``lines`` where ``mask`` holds."""
    return tuple(int(line) for line in lines[mask][:SHOWN_LINES])
