"""What is wrong with a series of bars, and what is done about it: the same rules for every source.

``check_bars`` turns the raw rows of a file into a frozen block. In order: stamps become instants (zone and label side stated
or proven), rows that cannot be market data are dropped and counted, the rest is sorted, duplicates are removed, prices
become ticks. Then the series is held against the instrument's sessions: bars outside them, missing and truncated
sessions, missing bars, stretches on a far contract, rolls, jumps. Marks go onto the rows as ``Flag`` bits. What cannot be
proven is noted as a suspicion and changes nothing. A check that could not run, on the file or a part of it, is a finding
too (``unchecked_...``): silence means that it ran.

No step holds the file: each is a pass over pieces of it that keeps counts, what a session shows, and the few rows that stand out.
What lies between two passes is in spools (``spool.py``). Where a piece ends changes no result.

Read next: ``series.py`` (the passes over the ordered series), ``importing.py``; the thresholds are named constants.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.profile import (
    PRICE_ROLES,
    Conflicts,
    ImportProfile,
    Label,
    OffTick,
    Role,
    text_from_width,
    width_from_text,
)
from grandmodel.data.historical.readers.raw_bars import BarRows, RawBars
from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.data.historical.series import CheckedBars, check_series, series_spool
from grandmodel.data.historical.spool import PIECE_ROWS, Columns, Spool, in_order
from grandmodel.data.historical.stamps import LATEST_AHEAD_NS, Extremes, Tally
from grandmodel.data.historical.zones import (
    CLEAR_MARGIN,
    LARGEST_SHARE_OUTSIDE,
    LARGEST_SHARE_UNEXPLAINED,
    ClockMemory,
    Reading,
    WallTimes,
    possible_readings,
    proven_reading,
    utc_from_wall,
)
from grandmodel.data.market.sessions import session_schedule
from grandmodel.data.market.soundness import (
    FIRST_STAMP_NS,
    LARGEST_VOLUME,
    LAST_STAMP_NS,
    Fault,
    bar_price_faults,
    lowest_price,
)
from grandmodel.domain.blocks import UNKNOWN_VOLUME
from grandmodel.domain.instruments import MAX_PRICE_TICKS, Instrument
from grandmodel.domain.time import NS_PER_DAY, text_from_ns

_WIDTH_SHARE = 0.5
"""A bar width is proven where at least this share of the steps between stamps equals it and none is shorter."""
_SHOWN = 10


def check_bars(
    raw: BarRows,
    instrument: Instrument,
    profile: ImportProfile,
    where: str,
    *,
    now_ns: int | None = None,
    piece_rows: int = PIECE_ROWS,
) -> CheckedBars:
    """Every check of the module's list on the series ``raw``; ``where`` names the file in messages.

    ``now_ns`` is the clock of whoever imports: what is stamped later is no market data. ``piece_rows`` are held at a time. Raises
    ``AmbiguousError`` where zone, label side, width or conflicting rows are not settled, ``ReadError`` where more
    rows than ``profile.max_dropped`` cannot be market data or most prices are off the tick.
    """
    work = _Work(raw, instrument, profile, where, piece_rows, list(raw.findings), list(raw.evidence))
    survey = _first_survey(work)
    width_ns = _width(work, survey)
    survey = _without_implausible_stamps(work, survey, width_ns, now_ns)
    is_daily = width_ns % NS_PER_DAY == 0 and (not survey.any_clock or survey.all_midnight)
    clock: _Clock | _Days
    if is_daily:
        clock = _Days(work, survey, width_ns)
        zone, label = "", Label.OPEN
        work.evidence.append("daily bars: each spans the session of its date")
    else:
        chosen = _chosen_reading(work, survey, width_ns)
        zone, label = chosen.zones[0], chosen.label
        clock = _Clock(survey.walls, zone, width_ns, width_ns if label is Label.CLOSE else 0)
    kept = _KeptRows(work, survey.bounds, clock)
    ordered = kept.ordered()
    checked = CheckedBars(ordered, work.findings, work.evidence, zone, label, width_ns)
    check_series(checked, instrument, is_daily=is_daily, piece_rows=piece_rows)
    return checked


@dataclass(slots=True)
class _Work:
    """What the steps below share: the raw rows, and what was found."""

    raw: BarRows
    instrument: Instrument
    profile: ImportProfile
    where: str
    piece_rows: int
    findings: list[Finding]
    evidence: list[str]

    def note(self, kind: str, treatment: Treatment, tally: Tally, text: str) -> None:
        """Add a finding about the rows of ``tally``, if there are any."""
        if tally.count:
            self.findings.append(Finding(kind, treatment, tally.count, text, tally.lines))


@dataclass(frozen=True, slots=True)
class _StampBounds:
    """Which stamps are taken for market data."""

    latest_ns: int | None = None
    lowest_ns: int | None = None
    """Stamps below it stand alone."""
    highest_ns: int | None = None
    """Stamps from it on stand alone."""

    def readable(self, piece: RawBars) -> NDArray[np.bool_]:
        """Rows with a stamp in the years 1970 to 2100."""
        wall_ns = piece.stamps.wall_ns
        good: NDArray[np.bool_] = piece.stamps.usable & (wall_ns >= FIRST_STAMP_NS) & (wall_ns < LAST_STAMP_NS)
        return good

    def beyond(self, wall_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Stamps of the future."""
        if self.latest_ns is None:
            return np.zeros(len(wall_ns), dtype=np.bool_)
        return wall_ns > self.latest_ns

    def alone(self, wall_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Stamps years apart from all others."""
        found = np.zeros(len(wall_ns), dtype=np.bool_)
        if self.lowest_ns is not None:
            found |= wall_ns < self.lowest_ns
        if self.highest_ns is not None:
            found |= wall_ns >= self.highest_ns
        return found

    def good(self, piece: RawBars) -> NDArray[np.bool_]:
        """Rows (T,) whose stamp is none of these."""
        good = self.readable(piece)
        if self.latest_ns is not None:
            good &= ~self.beyond(piece.stamps.wall_ns)
        if self.lowest_ns is not None or self.highest_ns is not None:
            good &= ~self.alone(piece.stamps.wall_ns)
        return good


@dataclass(slots=True)
class _Survey:
    """What a pass over the stamps of the good rows shows."""

    bounds: _StampBounds
    walls: Spool = field(default_factory=lambda: Spool({"wall_ns": np.int64}))
    is_sorted: bool = True
    steps: dict[int, int] = field(default_factory=dict)
    """Steps between stamps above zero and how often, as long as the file is sorted."""
    lowest_ns: int = np.iinfo(np.int64).max
    highest_ns: int = np.iinfo(np.int64).min
    any_utc_known: bool = False
    all_utc_known: bool = True
    any_clock: bool = False
    all_midnight: bool = True
    first_line: int = 0
    _last_ns: int | None = None

    @property
    def rows(self) -> int:
        return self.walls.rows

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Stamps of the good rows ``start`` to ``stop`` (exclusive)."""
        return self.walls.read(start, stop)["wall_ns"]

    def add(self, piece: RawBars, good: NDArray[np.bool_]) -> None:
        everything = bool(good.all())
        wall_ns = piece.stamps.wall_ns if everything else piece.stamps.wall_ns[good]
        if not len(wall_ns):
            return
        if not self.rows:
            self.first_line = int(piece.lines[np.argmax(good)])
        self.walls.append({"wall_ns": wall_ns})
        self.lowest_ns = min(self.lowest_ns, int(wall_ns.min()))
        self.highest_ns = max(self.highest_ns, int(wall_ns.max()))
        known = piece.stamps.utc_known if everything else piece.stamps.utc_known[good]
        self.any_utc_known |= bool(known.any())
        self.all_utc_known &= bool(known.all())
        self.any_clock |= bool((piece.stamps.has_clock & good).any())
        self.all_midnight = self.all_midnight and bool((wall_ns % NS_PER_DAY == 0).all())
        if self.is_sorted:
            joined = wall_ns if self._last_ns is None else np.concatenate(([self._last_ns], wall_ns))
            steps = np.diff(joined)
            if (steps < 0).any():
                self.is_sorted = False
            else:
                _count(self.steps, steps[steps > 0])
            self._last_ns = int(wall_ns[-1])

    def times(self, piece_rows: int) -> WallTimes:
        pieces = (rows["wall_ns"] for _, rows in self.walls.pieces(rows_per_piece=piece_rows))
        return WallTimes.of_pieces(pieces, self.rows, self.read)


def _count(counts: dict[int, int], values: NDArray[np.int64]) -> None:
    for value, count in zip(*(found.tolist() for found in np.unique(values, return_counts=True)), strict=True):
        counts[value] = counts.get(value, 0) + count


def _first_survey(work: _Work) -> _Survey:
    """All rows whose stamp can be read; counts the others."""
    survey = _Survey(_StampBounds())
    unreadable = Tally()
    for piece in work.raw.pieces(work.piece_rows):
        good = survey.bounds.good(piece)
        unreadable.add(piece.lines, ~good)
        survey.add(piece, good)
    text = "rows without a stamp that can be read, or with one outside 1970 to 2100"
    work.note("unreadable_stamps", Treatment.DROPPED, unreadable, text)
    if not survey.rows:
        raise ReadError(f"{work.where}: found no row with a stamp that can be read")
    return survey


def _width(work: _Work, survey: _Survey) -> int:
    """The width of the bars, stated or proven by the steps between stamps."""
    if work.profile.bar_width:
        return width_from_text(work.profile.bar_width)
    found = survey.steps if survey.is_sorted else _steps_in_order(survey.walls, work.piece_rows)
    total = sum(found.values())
    if total:
        values, counts = (np.array(part, dtype=np.int64) for part in zip(*sorted(found.items()), strict=True))
        commonest = int(values[np.argmax(counts)])
        is_shortest = int(counts[values < commonest].sum()) <= total // 1000
        if counts.max() >= _WIDTH_SHARE * total and is_shortest and commonest >= 1_000_000_000:
            work.evidence.append(
                f"bar width {text_from_width(commonest)}: {int(counts.max())} of {total} steps, none shorter"
            )
            return commonest
    raise AmbiguousError(
        f"{work.where}: the {total} steps between stamps do not prove one bar width; say it with --bar-width, for "
        "example --bar-width 30m"
    )


def _steps_in_order(walls: Spool, piece_rows: int) -> dict[int, int]:
    """The steps above zero between the stamps once they are in order."""
    found: dict[int, int] = {}
    last = np.empty(0, dtype=np.int64)
    for rows in in_order(walls, "wall_ns", lambda part: np.argsort(part["wall_ns"], kind="stable"), piece_rows):
        joined = np.concatenate((last, rows["wall_ns"]))
        steps = np.diff(joined)
        _count(found, steps[steps > 0])
        last = joined[-1:]
    return found


def _without_implausible_stamps(work: _Work, survey: _Survey, width_ns: int, now_ns: int | None) -> _Survey:
    """Leave out rows of the future, and the few that stand years apart from all others."""
    latest_ns = None if now_ns is None else now_ns + LATEST_AHEAD_NS
    future = _StampBounds(latest_ns)
    extremes = Extremes()
    for _, rows in survey.walls.pieces(rows_per_piece=work.piece_rows):
        wall_ns = rows["wall_ns"]
        beyond = future.beyond(wall_ns)
        extremes.add(wall_ns[~beyond] if beyond.any() else wall_ns)
    bounds = _StampBounds(latest_ns, *extremes.isolated(width_ns))
    if extremes.rows == survey.rows and bounds.lowest_ns is None and bounds.highest_ns is None:
        survey.bounds = bounds
        return survey
    kept = _Survey(bounds)
    beyond_now, alone = Tally(), Tally()
    for piece in work.raw.pieces(work.piece_rows):
        readable, is_beyond = bounds.readable(piece), bounds.beyond(piece.stamps.wall_ns)
        beyond_now.add(piece.lines, readable & is_beyond)
        alone.add(piece.lines, readable & ~is_beyond & bounds.alone(piece.stamps.wall_ns))
        kept.add(piece, bounds.good(piece))
    if now_ns is not None:
        text = f"rows stamped after this import's own clock ({text_from_ns(now_ns)[:16]} UTC)"
        work.note("stamps_in_the_future", Treatment.DROPPED, beyond_now, text)
    text = "a few rows stamped more than a year before or after all others of the file: their stamps are wrong"
    work.note("isolated_stamps", Treatment.DROPPED, alone, text)
    if not kept.rows:
        raise ReadError(
            f"{work.where}: found only rows stamped in the future, expected a file of the past: see its clock"
        )
    return kept


class _Days:
    """Daily bars span the session of their date; a date without one spans the day in UTC and is noted."""

    def __init__(self, work: _Work, survey: _Survey, width_ns: int) -> None:
        first, last = survey.lowest_ns // NS_PER_DAY * NS_PER_DAY, survey.highest_ns // NS_PER_DAY * NS_PER_DAY
        schedule = session_schedule(work.instrument, first - NS_PER_DAY, last + 2 * NS_PER_DAY)
        self.width_ns = width_ns
        self.has_sessions = width_ns == NS_PER_DAY and len(schedule) > 0
        self.days, firsts = np.unique(schedule.day_ns, return_index=True)
        self.opens_ns = schedule.open_ns[firsts]
        self.closes_ns = schedule.close_ns[np.append(firsts[1:], len(schedule)) - 1] if len(schedule) else firsts
        self.without_session = Tally()

    def times(self, piece: RawBars, good: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Opens and closes of the rows (T,) of ``piece``."""
        dates_ns = np.where(good, piece.stamps.wall_ns // NS_PER_DAY * NS_PER_DAY, 0)
        opens_ns, closes_ns = dates_ns.copy(), dates_ns + self.width_ns
        found = np.zeros(len(dates_ns), dtype=np.bool_)
        if self.has_sessions:
            place = np.minimum(np.searchsorted(self.days, dates_ns), len(self.days) - 1)
            found = (self.days[place] == dates_ns) & good
            opens_ns = np.where(found, self.opens_ns[place], opens_ns)
            closes_ns = np.where(found, self.closes_ns[place], closes_ns)
        self.without_session.add(piece.lines, good & ~found)
        return opens_ns, closes_ns

    def report(self, work: _Work) -> None:
        """Add what was found on the way."""
        text = f"dates on which {work.instrument.calendar} has no session; they span midnight to midnight UTC"
        work.note("days_without_session", Treatment.NOTED, self.without_session, text)


class _Clock:
    """Stamps to opens and closes by the chosen zone and label side, piece by piece in file order."""

    def __init__(self, walls: Spool, zone: str, width_ns: int, shift_ns: int) -> None:
        self.walls, self.zone, self.width_ns, self.shift_ns = walls, zone, width_ns, shift_ns
        self.memory = ClockMemory()
        self.done = 0
        self.twice, self.undecided, self.impossible = Tally(), Tally(), Tally()

    def times(self, piece: RawBars, good: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Opens and closes of the rows (T,) of ``piece``; takes those out of ``good`` whose time never was."""
        count = int(np.count_nonzero(good))
        wall_ns = piece.stamps.wall_ns if count == len(good) else piece.stamps.wall_ns[good]
        self.done += count
        following = self.walls.read(self.done, self.done + 1)["wall_ns"].tolist()
        local = utc_from_wall(wall_ns, self.zone, self.memory, following[0] if following else None)
        if count == len(good):
            opens_ns = local.utc_ns - self.shift_ns
        else:
            opens_ns = np.zeros(len(good), dtype=np.int64)
            opens_ns[good] = local.utc_ns - self.shift_ns
        if local.twice.any() or not local.exists.all():
            self.twice.add(piece.lines[good], local.twice)
            self.undecided.add(piece.lines[good], local.undecided)
            self.impossible.add(piece.lines[good], ~local.exists)
            good[good] = local.exists
        return opens_ns, opens_ns + self.width_ns

    def report(self, work: _Work) -> None:
        """Add what was found on the way."""
        text = f"stamps in the hour that {self.zone} shows twice; told apart by their order"
        work.note("repeated_local_times", Treatment.NOTED, self.twice, text)
        text = f"stamps in the hour that {self.zone} shows twice, met once: the first is taken"
        work.note("undecided_local_times", Treatment.NOTED, self.undecided, text)
        text = f"stamps that a clock in {self.zone} never shows (it goes forward)"
        work.note("impossible_local_times", Treatment.DROPPED, self.impossible, text)


def _chosen_reading(work: _Work, survey: _Survey, width_ns: int) -> Reading:
    """Zone and label side; stated, or proven by the calendar, or refused."""
    profile = work.profile
    if survey.any_utc_known and not survey.all_utc_known:
        raise ReadError(f"{work.where}: some stamps name their distance from UTC and some do not; split the file")
    zone = profile.time_zone
    if survey.all_utc_known:
        if zone not in {"", "UTC"}:
            work.evidence.append(f"time zone {zone} is not used: the stamps name their distance from UTC themselves")
        zone = "UTC"
        work.evidence.append("time zone: the stamps name their distance from UTC")
    elif zone:
        work.evidence.append(f"time zone {zone}: stated")
    elif work.raw.is_utc_by_name:
        zone = "UTC"
        work.evidence.append("time zone UTC: the heading says so")
    label = profile.label
    walls = survey.times(work.piece_rows)
    readings = possible_readings(walls, width_ns, work.instrument, (zone,) if zone else (), (label,) if label else ())
    if zone and label is not None:
        chosen = readings[0]
        if chosen.outside and not survey.all_utc_known:
            _check_stated_clock(work, walls, width_ns, chosen)
    else:
        proven = proven_reading(readings)
        if proven is None:
            raise _unsettled(work, survey, walls, width_ns, zone, label, readings)
        chosen = proven
        rival = f"; next best {readings[1].text}" if len(readings) > 1 else ""
        work.evidence.append(
            f"the calendar of {work.instrument.id} proves {chosen.text} over {chosen.sessions} sessions{rival}"
        )
    if chosen.irregular:
        work.evidence.append(
            f"{chosen.irregular} bars lie where the calendar has {work.instrument.id} closed for a holiday or a shortened day "
            f"({', '.join(chosen.irregular_days[:_SHOWN])}); it may be wrong there, so they prove nothing"
        )
    return chosen


def _check_stated_clock(work: _Work, walls: WallTimes, width_ns: int, stated: Reading) -> None:
    """Refuse a stated clock that the sessions speak against, unless it is forced; say which clock fits."""
    rows = walls.rows
    found = possible_readings(walls, width_ns, work.instrument)
    proven = proven_reading(found)
    better = [reading for reading in found if reading.outside * 10 <= stated.outside]
    largest = LARGEST_SHARE_OUTSIDE if better else LARGEST_SHARE_UNEXPLAINED
    is_refused = stated.outside >= CLEAR_MARGIN and stated.outside > largest * rows
    if proven is None and not is_refused:
        return
    name = work.instrument.id
    if proven is not None:
        fits = f"the calendar of {name} proves {proven.text}"
    else:
        fits = f"of the clocks tried these fit: {'; '.join(reading.text for reading in better[:3])}"
        if not better:
            fits = (
                f"no clock fits: the file may be another instrument's than {name}, or {name} may need hours of its own"
            )
    stands = f"stated is {stated.text} of {rows} ({stated.outside / rows:.2%}); {fits}"
    if is_refused and not work.profile.force_clock:
        raise ReadError(
            f"{work.where}: found a clock that the sessions speak against: {stands}. Expected at most {largest:.1%} "
            "outside: state the clock that fits, or insist with --force-clock (force_clock = true in a profile)"
        )
    forced = "; forced" if is_refused else ""
    if proven is not None:
        work.findings.append(
            Finding("another_clock_fits", Treatment.NOTED, stated.outside, f"{stands}. Used as stated{forced}")
        )
    if is_refused:
        text = f"bars outside the sessions by the stated clock, which was forced: {stands}"
        work.findings.append(Finding("forced_clock", Treatment.NOTED, stated.outside, text))


def _unsettled(
    work: _Work,
    survey: _Survey,
    walls: WallTimes,
    width_ns: int,
    zone: str,
    label: Label | None,
    readings: list[Reading],
) -> AmbiguousError:
    flags = " and ".join(
        flag for flag, known in (("--time-zone ZONE", zone), ("--label open or --label close", label)) if not known
    )
    unknown = " and ".join(word for word, known in (("the time zone", zone), ("the label side", label)) if not known)
    unknown += " of the stamps " + ("are" if not zone and label is None else "is")
    listed = "; ".join(reading.text for reading in readings[:4]) or "none comes near"
    if (zone or label is not None) and not survey.all_utc_known:
        stated_apart = proven_reading(possible_readings(walls, width_ns, work.instrument))
        if stated_apart is not None:
            listed += f"; without what is stated it proves {stated_apart.text}"
    return AmbiguousError(
        f"{work.where}: {unknown} not in the file (first: line {survey.first_line}) and not proven by the sessions of "
        f"{work.instrument.id} ({listed}); say {flags}"
    )


class _KeptRows:
    """The rows that are market data, as ticks and lots in file order, and what was found about the others."""

    def __init__(self, work: _Work, bounds: _StampBounds, clock: _Clock | _Days) -> None:
        self.work = work
        self.rows = series_spool()
        self.good_rows = 0
        self.is_strictly_sorted = True
        self.unsorted = Tally()
        self._last_ns: int | None = None
        self._non_finite, self._too_large, self._off_tick, self._noisy = Tally(), Tally(), Tally(), Tally()
        self._rows_with_ticks = 0
        self._first_off_tick: tuple[int, str] | None = None
        self._all, self._missing, self._impossible, self._fractional = Tally(), Tally(), Tally(), Tally()
        self._has_known_volume = self._has_any_volume = False
        self._non_positive, self._violations = Tally(), Tally()
        for piece in work.raw.pieces(work.piece_rows):
            good = bounds.good(piece)
            opens_ns, closes_ns = clock.times(piece, good)
            ticks, rounded = self._ticks(piece, good)
            volume = self._volume(piece, good)
            self._drop_impossible(piece, good, ticks)
            self._keep(piece, good, opens_ns, closes_ns, ticks, rounded, volume)
        clock.report(work)
        self._report_ticks()
        self._report_volume()
        self._report_impossible()
        self._check_share_dropped()

    def _ticks(
        self, piece: RawBars, good: NDArray[np.bool_]
    ) -> tuple[dict[Role, NDArray[np.int64]], NDArray[np.bool_]]:
        """Prices in ticks, and the rows where a price lay between two ticks."""
        # As a quotient: x / 10000 is the float that the decimal text stands for, x * 0.0001 misses it now and then.
        numerator, denominator = self.work.profile.price_multiplier.as_integer_ratio()
        instrument = self.work.instrument
        columns = {id(piece.prices[role]): piece.prices[role] for role in PRICE_ROLES}
        finite = np.ones(piece.rows, dtype=np.bool_)
        for values in columns.values():
            finite &= np.isfinite(values)
        self._non_finite.add(piece.lines, good & ~finite)
        good &= finite
        off_tick = np.zeros(piece.rows, dtype=np.bool_)
        noisy, too_large = off_tick.copy(), off_tick.copy()
        limit = MAX_PRICE_TICKS * float(instrument.tick_size)
        is_good = bool(good.all())
        found: dict[int, NDArray[np.int64]] = {}
        for name, values in columns.items():
            prices = values if is_good else np.where(good, values, 0.0)
            if numerator != denominator:
                prices = prices * numerator / denominator
            too_large |= np.abs(prices) > limit
            found[name], on_tick = instrument.ticks_from_prices(prices)
            off_tick |= ~on_tick
            noisy |= on_tick & (instrument.prices_from_ticks(found[name]) != prices)
        self._too_large.add(piece.lines, good & too_large)
        good &= ~too_large
        off_tick &= good
        self._rows_with_ticks += int(np.count_nonzero(good))
        self._off_tick.add(piece.lines, off_tick)
        self._noisy.add(piece.lines, noisy & good)
        if self._first_off_tick is None and off_tick.any():
            row = int(np.argmax(off_tick))
            shown = ", ".join(f"{role} {float(piece.prices[role][row])!r}" for role in PRICE_ROLES)
            self._first_off_tick = (int(piece.lines[row]), shown)
        return {role: found[id(piece.prices[role])] for role in PRICE_ROLES}, off_tick

    def _report_ticks(self) -> None:
        work, instrument = self.work, self.work.instrument
        limit = MAX_PRICE_TICKS * float(instrument.tick_size)
        text = "rows with a price that is missing, NaN or infinite"
        work.note("non_finite_prices", Treatment.DROPPED, self._non_finite, text)
        work.note("prices_out_of_bounds", Treatment.DROPPED, self._too_large, f"rows with a price beyond {limit:g}")
        count, share = self._off_tick.count, self._off_tick.count / max(1, self._rows_with_ticks)
        policy = work.profile.off_tick
        is_refused = policy is OffTick.REFUSE or (policy is OffTick.AUTO and share > work.profile.max_dropped)
        if self._first_off_tick is not None and is_refused:
            line, shown = self._first_off_tick
            raise ReadError(
                f"{work.where}: line {line}: found {shown}, expected multiples of the tick size "
                f"{instrument.tick_size} of {instrument.id} ({count} rows, {share:.1%}); name the right --instrument or "
                "--price-multiplier, or say --off-tick round"
            )
        text = f"rows with a price between two ticks of {instrument.tick_size}, rounded to the nearest"
        work.note("off_tick_prices", Treatment.REPAIRED, self._off_tick, text)
        if work.profile.price_multiplier == 1:
            text = "rows with a price that misses its tick by float noise only, put onto it"
            work.note("float_noise", Treatment.REPAIRED, self._noisy, text)

    def _volume(self, piece: RawBars, good: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Volume in lots, ``UNKNOWN_VOLUME`` where there is none."""
        self._all.add(piece.lines, good)
        if piece.volume is None:
            return np.full(piece.rows, UNKNOWN_VOLUME, dtype=np.int64)
        lots = piece.volume * float(self.work.profile.volume_multiplier) / float(self.work.instrument.lot_size)
        finite = np.isfinite(lots)
        self._missing.add(piece.lines, good & ~finite)
        with np.errstate(invalid="ignore"):
            impossible = finite & ((lots < 0) | (lots > LARGEST_VOLUME))
        self._impossible.add(piece.lines, good & impossible)
        known = finite & ~impossible
        used = np.where(known, lots, 0.0)
        whole = np.rint(used)
        is_counted = good & known
        self._fractional.add(piece.lines, is_counted & (np.abs(whole - used) > 1e-6 * np.maximum(1.0, whole)))
        self._has_known_volume |= bool(is_counted.any())
        self._has_any_volume |= bool(whole[is_counted].any())
        return np.where(known, whole, UNKNOWN_VOLUME).astype(np.int64)

    @property
    def _is_always_zero(self) -> bool:
        return self._has_known_volume and not self._has_any_volume

    def _report_volume(self) -> None:
        work = self.work
        if not work.raw.has_volume:
            text = "the file has no volume; it is unknown, not zero"
            work.note("unknown_volume", Treatment.NOTED, self._all, text)
            return
        text = "rows whose volume is missing or not finite: unknown"
        work.note("missing_volumes", Treatment.REPAIRED, self._missing, text)
        text = "rows whose volume is negative or beyond 2^53: unknown"
        work.note("impossible_volumes", Treatment.REPAIRED, self._impossible, text)
        text = f"rows whose volume is no whole number of lots of {work.instrument.lot_size}, rounded"
        work.note("fractional_volumes", Treatment.REPAIRED, self._fractional, text)
        if self._is_always_zero:
            text = "no row has any volume though prices move: it is unknown, not zero"
            work.note("volume_always_zero", Treatment.REPAIRED, self._all, text)

    def _drop_impossible(self, piece: RawBars, good: NDArray[np.bool_], ticks: dict[Role, NDArray[np.int64]]) -> None:
        """Leave out rows that contradict themselves."""
        opens, high, low, close = (ticks[role] for role in PRICE_ROLES)
        faults = bar_price_faults(opens, high, low, close, lowest_price(self.work.instrument))
        if self.work.instrument.negative_prices:
            below_zero = np.minimum(np.minimum(opens, close), np.minimum(low, high)) <= 0
            self._non_positive.add(piece.lines, good & below_zero)
        else:
            is_low = good & (faults == Fault.PRICE)
            self._non_positive.add(piece.lines, is_low)
            good &= ~is_low
        is_bent = good & (faults == Fault.SHAPE)
        self._violations.add(piece.lines, is_bent)
        good &= ~is_bent

    def _report_impossible(self) -> None:
        work = self.work
        if work.instrument.negative_prices:
            text = "rows with a price at or below zero, legal for this instrument"
            work.note("non_positive_prices", Treatment.NOTED, self._non_positive, text)
        else:
            text = f"rows with a price at or below zero, which {work.instrument.id} cannot have"
            work.note("non_positive_prices", Treatment.DROPPED, self._non_positive, text)
        text = "rows whose high is not the highest or whose low is not the lowest price"
        work.note("ohlc_violations", Treatment.DROPPED, self._violations, text)

    def _keep(
        self,
        piece: RawBars,
        good: NDArray[np.bool_],
        opens_ns: NDArray[np.int64],
        closes_ns: NDArray[np.int64],
        ticks: dict[Role, NDArray[np.int64]],
        rounded: NDArray[np.bool_],
        volume: NDArray[np.int64],
    ) -> None:
        columns: Columns = {
            "ts_open": opens_ns, "ts_event": closes_ns, "volume": volume, "line": piece.lines, "rounded": rounded,
            **{str(role): ticks[role] for role in PRICE_ROLES},
        }  # fmt: skip
        if not good.all():
            columns = {name: values[good] for name, values in columns.items()}
        opens = columns["ts_open"]
        if not len(opens):
            return
        # The first row of all stands beside itself plus one, which is no step back.
        before = int(opens[0]) - 1 if self._last_ns is None else self._last_ns
        steps = np.diff(opens, prepend=before)
        self.unsorted.add(columns["line"], steps < 0)
        self.is_strictly_sorted = self.is_strictly_sorted and bool((steps > 0).all())
        self._last_ns = int(opens[-1])
        self.good_rows += len(opens)
        self.rows.append(columns)

    def _check_share_dropped(self) -> None:
        work = self.work
        dropped = [finding for finding in work.findings if finding.treatment is Treatment.DROPPED]
        broken = sum(finding.count for finding in dropped if finding.kind == "broken_rows")
        total = work.raw.rows + broken
        lost = total - self.good_rows
        if lost > work.profile.max_dropped * total or not self.good_rows:
            listed = ", ".join(
                f"{finding.count} {finding.kind} (first: line {finding.lines[0]})" for finding in dropped
            )
            raise ReadError(
                f"{work.where}: {lost} of {total} rows cannot be market data: {listed}; at most "
                f"{work.profile.max_dropped:.0%} are left out without asking: correct the file, or say --max-dropped"
            )

    def ordered(self) -> Spool:
        """The rows to keep, in time order: exact duplicates once, conflicting ones as the profile says."""
        text = "rows earlier than the row before them; the file is put in order"
        self.work.note("unsorted_rows", Treatment.REPAIRED, self.unsorted, text)
        if self.is_strictly_sorted and not self._is_always_zero:
            return self.rows
        source = self.rows
        if self._is_always_zero:
            source = series_spool()
            for _, rows in self.rows.pieces(rows_per_piece=self.work.piece_rows):
                source.append(rows | {"volume": np.full(len(rows["volume"]), UNKNOWN_VOLUME)})
            if self.is_strictly_sorted:
                return source
        return _Settled(self.work).of(source)


_VALUES = ("volume", *(str(role) for role in reversed(PRICE_ROLES)))


class _Settled:
    """Rows put in order, with those of one time settled."""

    def __init__(self, work: _Work) -> None:
        self.work = work
        self.is_last = work.profile.conflicts is Conflicts.LAST
        self.repeated, self.conflicting = Tally(), Tally()
        self.stamps = self.equal_prices = 0

    def _order(self, rows: Columns) -> NDArray[np.int64]:
        lines = -rows["line"] if self.is_last else rows["line"]
        return np.lexsort((lines, *(rows[name] for name in _VALUES), rows["ts_open"]))

    def of(self, source: Spool) -> Spool:
        work, settled = self.work, series_spool()
        for rows in in_order(source, "ts_open", self._order, work.piece_rows):
            settled.append(self._without_repeats(rows))
        text = "rows equal to another in stamp and values, kept once"
        work.note("duplicate_rows", Treatment.REPAIRED, self.repeated, text)
        if not self.conflicting.count:
            return settled
        policy = work.profile.conflicts
        if policy is Conflicts.REFUSE:
            lines = ", ".join(str(line) for line in self.conflicting.lines)
            raise AmbiguousError(
                f"{work.where}: {self.conflicting.count} rows contradict another row of the same time, at {self.stamps} times (first: "
                f"lines {lines}); at {self.equal_prices} of them only the volume differs. Which is right cannot be known: say "
                "--conflicts first, last or drop (for a zip of several series: --members each)"
            )
        text = f"rows that contradict another of the same time ({self.stamps} times)"
        if policy is Conflicts.DROP:
            work.note("conflicting_rows", Treatment.DROPPED, self.conflicting, f"{text}, all left out")
        else:
            text = f"{text}: {policy} kept as --conflicts says"
            work.note("conflicting_rows", Treatment.REPAIRED, self.conflicting, text)
        return settled

    def _without_repeats(self, rows: Columns) -> Columns:
        """Ordered rows that hold every row of their times, without repeats and conflicts."""
        opens = rows["ts_open"]
        same = opens[1:] == opens[:-1]
        if not same.any():
            return rows
        for name in _VALUES:
            same &= rows[name][1:] == rows[name][:-1]
        self.repeated.add_anywhere(rows["line"][1:][same])
        rows = _only(rows, np.concatenate(([True], ~same)))
        _, group, size = np.unique(rows["ts_open"], return_inverse=True, return_counts=True)
        in_conflict = size[group] > 1
        if not in_conflict.any():
            return rows
        self.conflicting.add_anywhere(rows["line"][in_conflict])
        self.stamps += int((size > 1).sum())
        self.equal_prices += _groups_with_equal_prices(rows, group, size)
        if self.work.profile.conflicts is Conflicts.DROP:
            return _only(rows, ~in_conflict)
        order = np.lexsort((-rows["line"] if self.is_last else rows["line"], group))
        keep = order[np.concatenate(([True], np.diff(group[order]) != 0))]
        return {name: values[keep] for name, values in rows.items()}


def _only(rows: Columns, mask: NDArray[np.bool_]) -> Columns:
    return {name: values[mask] for name, values in rows.items()}


def _groups_with_equal_prices(rows: Columns, group: NDArray[np.int64], size: NDArray[np.int64]) -> int:
    equal = size > 1
    for role in PRICE_ROLES:
        column = rows[str(role)]
        lowest, highest = np.full(len(size), np.iinfo(np.int64).max), np.full(len(size), np.iinfo(np.int64).min)
        np.minimum.at(lowest, group, column)
        np.maximum.at(highest, group, column)
        equal = equal & (lowest == highest)
    return int(equal.sum())
