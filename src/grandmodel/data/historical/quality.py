"""What is wrong with a series of bars, and what is done about it: the same rules for every source.

``check_bars`` turns the raw rows of a file into a frozen block. In order: stamps become instants (zone and label side stated
or proven), rows that cannot be market data are dropped and counted, the rest is sorted, duplicates are removed, prices
become ticks. Then the series is held against the instrument's sessions: bars outside them, missing and truncated
sessions, missing bars, stretches on a far contract, rolls, jumps. Marks go onto the rows as ``Flag`` bits. What cannot be
proven is noted as a suspicion and changes nothing. A check that could not run, on the file or a part of it, is a finding
too (``unchecked_...``): silence means that it ran.

Read next: ``importing.py``; the thresholds are the named constants below.
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
from grandmodel.data.historical.readers.bars import RawBars
from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.data.historical.rolls import Roll, SessionBars, UnprovenRoll, find_rolls, has_expiry_rule
from grandmodel.data.historical.stamps import first_lines, implausible_stamps
from grandmodel.data.historical.zones import (
    CLEAR_MARGIN,
    LARGEST_SHARE_OUTSIDE,
    LARGEST_SHARE_UNEXPLAINED,
    Reading,
    outside_sessions,
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
from grandmodel.domain.blocks import UNKNOWN_VOLUME, Block, Flag, Schema, empty_block, freeze
from grandmodel.domain.instruments import MAX_PRICE_TICKS, Instrument, InstrumentKind
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, text_from_ns

_WIDTH_SHARE = 0.5
"""A bar width is proven where at least this share of the steps between stamps equals it and none is shorter."""
_PAUSE_SHARE = 0.05
_LEAST_SESSIONS_FOR_PAUSES = 20
_TRUNCATED_SHARE = 0.25
"""A session is truncated where at least this share of its bars is missing at its end."""
_KNOWN_SHARE = 0.25
"""The volume of a session is judged where it is known for at least this share of its bars."""
_WHOLE_FILL = 0.9
"""A session is whole where at least this share of its bars is there."""
_THIN_SHARE = 0.05
_THIN_EDGE_SHARE = 0.25
_THIN_SESSIONS = 5
_THIN_FILL = 0.8
"""A far-contract stretch: five sessions or more in a row whose median bar volume is below 5 % of the file's, some of them
with less than 80 % of their bars; it reaches on while the median stays below 25 %."""
_LEAST_SESSIONS_FOR_STRETCHES = 60
_LEAST_BARS_FOR_JUMPS = 3
_JUMP_SCALES = 25.0
_JUMP_LEAST = 0.05
"""An extreme jump: a return of at least 5 % and of 25 robust standard deviations."""
_SPIKE_NEIGHBOURS = 5
_SPIKE_RANGES = 10.0
_SPIKE_LEAST = 0.05
_SPIKE_IMPOSSIBLE = 0.5
"""A spike: a high (or low) beyond the bar's own open and close and every price of the five bars on either side, by ten times
their largest range and by 5 % of the price. A real crash carries the close with it and widens the bars around it; from 50 % on
a spike is marked."""
_SPLIT_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0)
_SPLIT_TOLERANCE = 0.04
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SessionCount:
    """One session of the instrument and how many of its bars the file has."""

    day: str
    open_ns: int
    close_ns: int
    expected: int
    present: int
    mark: str = ""
    """``missing``, ``truncated``, ``bad_stretch`` or nothing."""


@dataclass(slots=True)
class CheckedBars:
    """A series after all checks."""

    block: Block
    """Frozen, in order, with ``Flag`` marks."""
    lines: NDArray[np.int64]
    """The line of the file that each row came from, (T,)."""
    findings: list[Finding]
    evidence: list[str]
    time_zone: str
    label: Label
    width_ns: int
    sessions: list[SessionCount] = field(default_factory=list)
    rolls: list[Roll] = field(default_factory=list)


def check_bars(
    raw: RawBars, instrument: Instrument, profile: ImportProfile, where: str, *, now_ns: int | None = None
) -> CheckedBars:
    """Every check of the module's list on the series ``raw``; ``where`` names the file in messages.

    ``now_ns`` is the clock of whoever imports: what is stamped later is no market data. Raises ``AmbiguousError`` where zone, label side, width or conflicting rows are not settled, ``ReadError`` where more
    rows than ``profile.max_dropped`` cannot be market data or most prices are off the tick.
    """
    work = _Work(raw, instrument, profile, where, list(raw.findings), list(raw.evidence))
    width_ns = _width(work)
    _drop_implausible_stamps(work, width_ns, now_ns)
    is_daily = width_ns % NS_PER_DAY == 0 and _has_no_clock(work)
    if is_daily:
        zone, label, opens_ns, closes_ns = _daily_times(work, width_ns)
    else:
        zone, label, opens_ns = _times(work, width_ns)
        closes_ns = opens_ns + width_ns
    ticks, rounded = _ticks(work)
    volume = _volume(work)
    _drop_impossible(work, ticks)
    _check_share_dropped(work)
    rows = _ordered_rows(work, opens_ns, ticks, volume)

    block = empty_block(Schema.BARS, len(rows))
    block["ts_open"], block["ts_event"], block["ts_init"] = opens_ns[rows], closes_ns[rows], closes_ns[rows]
    for role in PRICE_ROLES:
        block[str(role)] = ticks[role][rows]
    block["volume"] = volume[rows]
    block["flags"] |= np.where(rounded[rows], int(Flag.REPAIRED), 0).astype(np.uint16)
    checked = CheckedBars(block, raw.lines[rows], work.findings, work.evidence, zone, label, width_ns)
    _count_plain_oddities(checked, instrument)
    _check_sessions(checked, instrument, is_daily=is_daily)
    _check_jumps(checked)
    _check_spikes(checked)
    freeze(block)
    return checked


@dataclass(slots=True)
class _Work:
    """What the steps below share: the raw rows, which of them are still good, and what was found."""

    raw: RawBars
    instrument: Instrument
    profile: ImportProfile
    where: str
    findings: list[Finding]
    evidence: list[str]
    good: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        wall_ns = self.raw.stamps.wall_ns
        self.good = self.raw.stamps.usable & (wall_ns >= FIRST_STAMP_NS) & (wall_ns < LAST_STAMP_NS)
        self.note(
            "unreadable_stamps",
            Treatment.DROPPED,
            ~self.good,
            "rows without a stamp that can be read, or with one outside 1970 to 2100",
        )
        if not self.good.any():
            raise ReadError(f"{self.where}: found no row with a stamp that can be read")

    def note(self, kind: str, treatment: Treatment, mask: NDArray[np.bool_], text: str) -> None:
        """Add a finding about the rows of ``mask``, if there are any."""
        count = int(mask.sum())
        if count:
            self.findings.append(Finding(kind, treatment, count, text, first_lines(self.raw.lines, mask)))

    def drop(self, kind: str, mask: NDArray[np.bool_], text: str) -> None:
        """Leave out the rows of ``mask`` that are still good."""
        bad = mask & self.good
        self.note(kind, Treatment.DROPPED, bad, text)
        self.good &= ~bad


def _width(work: _Work) -> int:
    """The width of the bars, stated or proven by the steps between stamps."""
    if work.profile.bar_width:
        return width_from_text(work.profile.bar_width)
    steps = np.diff(np.unique(work.raw.stamps.wall_ns[work.good]))
    if len(steps):
        values, counts = np.unique(steps, return_counts=True)
        commonest = int(values[np.argmax(counts)])
        is_shortest = int(counts[values < commonest].sum()) <= len(steps) // 1000
        if counts.max() >= _WIDTH_SHARE * len(steps) and is_shortest and commonest >= 1_000_000_000:
            work.evidence.append(
                f"bar width {text_from_width(commonest)}: {int(counts.max())} of {len(steps)} steps, none shorter"
            )
            return commonest
    raise AmbiguousError(
        f"{work.where}: the {len(steps)} steps between stamps do not prove one bar width; say it with --bar-width, for "
        "example --bar-width 30m"
    )


def _drop_implausible_stamps(work: _Work, width_ns: int, now_ns: int | None) -> None:
    """Leave out rows of the future, and the few that stand years apart from all others."""
    stamps = work.raw.stamps
    rows = np.flatnonzero(work.good)
    beyond, alone = implausible_stamps(stamps.wall_ns[rows], width_ns, now_ns)
    if now_ns is not None:
        text = f"rows stamped after this import's own clock ({text_from_ns(now_ns)[:16]} UTC)"
        work.drop("stamps_in_the_future", _spread(work.good, beyond), text)
    whole = np.zeros(len(work.good), dtype=np.bool_)
    whole[rows] = alone
    text = "a few rows stamped more than a year before or after all others of the file: their stamps are wrong"
    work.drop("isolated_stamps", whole, text)
    if not work.good.any():
        raise ReadError(
            f"{work.where}: found only rows stamped in the future, expected a file of the past: see its clock"
        )


def _has_no_clock(work: _Work) -> bool:
    wall_ns = work.raw.stamps.wall_ns[work.good]
    return not work.raw.stamps.has_clock[work.good].any() or bool((wall_ns % NS_PER_DAY == 0).all())


def _daily_times(work: _Work, width_ns: int) -> tuple[str, Label, NDArray[np.int64], NDArray[np.int64]]:
    """Daily bars span the session of their date; a date without one spans the day in UTC and is noted."""
    dates_ns = np.where(work.good, work.raw.stamps.wall_ns // NS_PER_DAY * NS_PER_DAY, 0)
    good = dates_ns[work.good]
    schedule = session_schedule(work.instrument, int(good.min()) - NS_PER_DAY, int(good.max()) + 2 * NS_PER_DAY)
    opens_ns, closes_ns = dates_ns.copy(), dates_ns + width_ns
    found = np.zeros(len(dates_ns), dtype=np.bool_)
    if width_ns == NS_PER_DAY and len(schedule):
        days, firsts = np.unique(schedule.day_ns, return_index=True)
        lasts = np.append(firsts[1:], len(schedule)) - 1
        place = np.minimum(np.searchsorted(days, dates_ns), len(days) - 1)
        found = (days[place] == dates_ns) & work.good
        opens_ns = np.where(found, schedule.open_ns[firsts[place]], opens_ns)
        closes_ns = np.where(found, schedule.close_ns[lasts[place]], closes_ns)
    work.note(
        "days_without_session",
        Treatment.NOTED,
        work.good & ~found,
        f"dates on which {work.instrument.calendar} has no session; they span midnight to midnight UTC",
    )
    work.evidence.append("daily bars: each spans the session of its date")
    return "", Label.OPEN, opens_ns, closes_ns


def _times(work: _Work, width_ns: int) -> tuple[str, Label, NDArray[np.int64]]:
    """Zone, label side and the opens of the bars; stated, or proven by the calendar, or refused."""
    stamps, profile = work.raw.stamps, work.profile
    known = stamps.utc_known[work.good]
    if known.any() and not known.all():
        raise ReadError(f"{work.where}: some stamps name their distance from UTC and some do not; split the file")
    zone = profile.time_zone
    if known.all():
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
    readings = possible_readings(
        stamps.wall_ns[work.good], width_ns, work.instrument, (zone,) if zone else (), (label,) if label else ()
    )
    if zone and label is not None:
        chosen = readings[0]
        if chosen.outside and not known.all():
            _check_stated_clock(work, width_ns, chosen)
    else:
        proven = proven_reading(readings)
        if proven is None:
            raise _unsettled(work, width_ns, zone, label, readings)
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
    zone, label = chosen.zones[0], chosen.label
    local = utc_from_wall(stamps.wall_ns[work.good], zone)
    opens_ns = np.zeros(len(work.good), dtype=np.int64)
    opens_ns[work.good] = local.utc_ns - (width_ns if label is Label.CLOSE else 0)
    exists, twice, undecided = (_spread(work.good, part) for part in (local.exists, local.twice, local.undecided))
    work.note(
        "repeated_local_times",
        Treatment.NOTED,
        twice,
        f"stamps in the hour that {zone} shows twice; told apart by their order",
    )
    work.note(
        "undecided_local_times",
        Treatment.NOTED,
        undecided,
        f"stamps in the hour that {zone} shows twice, met once: the first is taken",
    )
    work.drop(
        "impossible_local_times", work.good & ~exists, f"stamps that a clock in {zone} never shows (it goes forward)"
    )
    return zone, label, opens_ns


def _check_stated_clock(work: _Work, width_ns: int, stated: Reading) -> None:
    """Refuse a stated clock that the sessions speak against, unless it is forced; say which clock fits."""
    rows = int(work.good.sum())
    found = possible_readings(work.raw.stamps.wall_ns[work.good], width_ns, work.instrument)
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


def _spread(good: NDArray[np.bool_], part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    whole = np.zeros(len(good), dtype=np.bool_)
    whole[good] = part
    return whole


def _unsettled(work: _Work, width_ns: int, zone: str, label: Label | None, readings: list[Reading]) -> AmbiguousError:
    flags = " and ".join(
        flag for flag, known in (("--time-zone ZONE", zone), ("--label open or --label close", label)) if not known
    )
    unknown = " and ".join(word for word, known in (("the time zone", zone), ("the label side", label)) if not known)
    unknown += " of the stamps " + ("are" if not zone and label is None else "is")
    listed = "; ".join(reading.text for reading in readings[:4]) or "none comes near"
    if (zone or label is not None) and not work.raw.stamps.utc_known[work.good].all():
        stated_apart = proven_reading(possible_readings(work.raw.stamps.wall_ns[work.good], width_ns, work.instrument))
        if stated_apart is not None:
            listed += f"; without what is stated it proves {stated_apart.text}"
    line = first_lines(work.raw.lines, work.good)[0]
    return AmbiguousError(
        f"{work.where}: {unknown} not in the file (first: line {line}) and not proven by the sessions of "
        f"{work.instrument.id} ({listed}); say {flags}"
    )


def _ticks(work: _Work) -> tuple[dict[Role, NDArray[np.int64]], NDArray[np.bool_]]:
    """Prices in ticks, and the rows where a price lay between two ticks."""
    # As a quotient: x / 10000 is the float that the decimal text stands for, x * 0.0001 misses it now and then.
    numerator, denominator = work.profile.price_multiplier.as_integer_ratio()
    instrument = work.instrument
    usable = work.good.copy()
    for role in PRICE_ROLES:
        usable &= np.isfinite(work.raw.prices[role])
    work.drop("non_finite_prices", ~usable, "rows with a price that is missing, NaN or infinite")
    ticks: dict[Role, NDArray[np.int64]] = {}
    off_tick = np.zeros(work.raw.rows, dtype=np.bool_)
    noisy, too_large = off_tick.copy(), off_tick.copy()
    limit = MAX_PRICE_TICKS * float(instrument.tick_size)
    for role in PRICE_ROLES:
        prices = np.where(usable, work.raw.prices[role], 0.0) * numerator / denominator
        too_large |= np.abs(prices) > limit
        ticks[role], on_tick = instrument.ticks_from_prices(prices)
        off_tick |= ~on_tick
        noisy |= on_tick & (instrument.prices_from_ticks(ticks[role]) != prices)
    work.drop("prices_out_of_bounds", too_large, f"rows with a price beyond {limit:g}")
    off_tick &= work.good
    count, share = int(off_tick.sum()), float(off_tick.sum() / max(1, work.good.sum()))
    policy = work.profile.off_tick
    if count and (policy is OffTick.REFUSE or (policy is OffTick.AUTO and share > work.profile.max_dropped)):
        row = int(np.argmax(off_tick))
        shown = ", ".join(f"{role} {float(work.raw.prices[role][row])!r}" for role in PRICE_ROLES)
        raise ReadError(
            f"{work.where}: line {int(work.raw.lines[row])}: found {shown}, expected multiples of the tick size "
            f"{instrument.tick_size} of {instrument.id} ({count} rows, {share:.1%}); name the right --instrument or "
            "--price-multiplier, or say --off-tick round"
        )
    work.note(
        "off_tick_prices",
        Treatment.REPAIRED,
        off_tick,
        f"rows with a price between two ticks of {instrument.tick_size}, rounded to the nearest",
    )
    if numerator == denominator:
        work.note(
            "float_noise",
            Treatment.REPAIRED,
            noisy & work.good,
            "rows with a price that misses its tick by float noise only, put onto it",
        )
    return ticks, off_tick


def _volume(work: _Work) -> NDArray[np.int64]:
    """Volume in lots, ``UNKNOWN_VOLUME`` where there is none."""
    unknown = np.full(work.raw.rows, UNKNOWN_VOLUME, dtype=np.int64)
    if work.raw.volume is None:
        work.note("unknown_volume", Treatment.NOTED, work.good, "the file has no volume; it is unknown, not zero")
        return unknown
    lots = work.raw.volume * float(work.profile.volume_multiplier) / float(work.instrument.lot_size)
    finite = np.isfinite(lots)
    work.note(
        "missing_volumes",
        Treatment.REPAIRED,
        work.good & ~finite,
        "rows whose volume is missing or not finite: unknown",
    )
    impossible = finite & ((lots < 0) | (lots > LARGEST_VOLUME))
    work.note(
        "impossible_volumes",
        Treatment.REPAIRED,
        work.good & impossible,
        "rows whose volume is negative or beyond 2^53: unknown",
    )
    known = finite & ~impossible
    whole = np.rint(np.where(known, lots, 0.0))
    work.note(
        "fractional_volumes",
        Treatment.REPAIRED,
        work.good & known & (np.abs(whole - np.where(known, lots, 0.0)) > 1e-6 * np.maximum(1.0, whole)),
        f"rows whose volume is no whole number of lots of {work.instrument.lot_size}, rounded",
    )
    if (work.good & known).any() and not whole[work.good & known].any():
        work.note(
            "volume_always_zero",
            Treatment.REPAIRED,
            work.good,
            "no row has any volume though prices move: it is unknown, not zero",
        )
        return unknown
    return np.where(known, whole, UNKNOWN_VOLUME).astype(np.int64)


def _drop_impossible(work: _Work, ticks: dict[Role, NDArray[np.int64]]) -> None:
    """Leave out rows that contradict themselves."""
    opens, high, low, close = (ticks[role] for role in PRICE_ROLES)
    faults = bar_price_faults(opens, high, low, close, lowest_price(work.instrument))
    if work.instrument.negative_prices:
        below_zero = np.minimum(np.minimum(opens, close), np.minimum(low, high)) <= 0
        work.note(
            "non_positive_prices",
            Treatment.NOTED,
            work.good & below_zero,
            "rows with a price at or below zero, legal for this instrument",
        )
    else:
        work.drop(
            "non_positive_prices",
            faults == Fault.PRICE,
            f"rows with a price at or below zero, which {work.instrument.id} cannot have",
        )
    work.drop(
        "ohlc_violations",
        faults == Fault.SHAPE,
        "rows whose high is not the highest or whose low is not the lowest price",
    )


def _check_share_dropped(work: _Work) -> None:
    dropped = [finding for finding in work.findings if finding.treatment is Treatment.DROPPED]
    broken = sum(finding.count for finding in dropped if finding.kind == "broken_rows")
    total = work.raw.rows + broken
    lost = total - int(work.good.sum())
    if lost > work.profile.max_dropped * total or not work.good.any():
        listed = ", ".join(f"{finding.count} {finding.kind} (first: line {finding.lines[0]})" for finding in dropped)
        raise ReadError(
            f"{work.where}: {lost} of {total} rows cannot be market data: {listed}; at most "
            f"{work.profile.max_dropped:.0%} are left out without asking: correct the file, or say --max-dropped"
        )


def _ordered_rows(
    work: _Work, opens_ns: NDArray[np.int64], ticks: dict[Role, NDArray[np.int64]], volume: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The rows to keep, in time order: exact duplicates once, conflicting ones as the profile says."""
    rows = np.flatnonzero(work.good)
    backward = np.zeros(work.raw.rows, dtype=np.bool_)
    backward[rows[1:]] = np.diff(opens_ns[rows]) < 0
    work.note(
        "unsorted_rows", Treatment.REPAIRED, backward, "rows earlier than the row before them; the file is put in order"
    )
    values = [volume, *(ticks[role] for role in reversed(PRICE_ROLES))]
    is_last = work.profile.conflicts is Conflicts.LAST
    rows = rows[np.lexsort((-rows if is_last else rows, *(column[rows] for column in values), opens_ns[rows]))]
    same_time = opens_ns[rows][1:] == opens_ns[rows][:-1]
    if not same_time.any():
        return rows
    same = same_time.copy()
    for column in values:
        same &= column[rows][1:] == column[rows][:-1]
    repeated = np.zeros(work.raw.rows, dtype=np.bool_)
    repeated[rows[1:][same]] = True
    work.note("duplicate_rows", Treatment.REPAIRED, repeated, "rows equal to another in stamp and values, kept once")
    rows = rows[np.concatenate(([True], ~same))]
    _, group, size = np.unique(opens_ns[rows], return_inverse=True, return_counts=True)
    in_conflict = size[group] > 1
    if not in_conflict.any():
        return rows
    conflicting = np.zeros(work.raw.rows, dtype=np.bool_)
    conflicting[rows[in_conflict]] = True
    stamps = int((size > 1).sum())
    policy = work.profile.conflicts
    if policy is Conflicts.REFUSE:
        prices_equal = _groups_with_equal_prices(rows, group, size, ticks)
        lines = ", ".join(str(line) for line in first_lines(work.raw.lines, conflicting))
        raise AmbiguousError(
            f"{work.where}: {int(in_conflict.sum())} rows contradict another row of the same time, at {stamps} times (first: "
            f"lines {lines}); at {prices_equal} of them only the volume differs. Which is right cannot be known: say "
            "--conflicts first, last or drop (for a zip of several series: --members each)"
        )
    text = f"rows that contradict another of the same time ({stamps} times): {policy} kept as --conflicts says"
    if policy is Conflicts.DROP:
        work.note(
            "conflicting_rows",
            Treatment.DROPPED,
            conflicting,
            f"rows that contradict another of the same time ({stamps} times), all left out",
        )
        return rows[~in_conflict]
    work.note("conflicting_rows", Treatment.REPAIRED, conflicting, text)
    order = np.lexsort((-rows if is_last else rows, group))
    keep = np.concatenate(([True], np.diff(group[order]) != 0))
    return rows[order][keep]


def _groups_with_equal_prices(
    rows: NDArray[np.int64], group: NDArray[np.int64], size: NDArray[np.int64], ticks: dict[Role, NDArray[np.int64]]
) -> int:
    equal = size > 1
    for role in PRICE_ROLES:
        column = ticks[role][rows]
        lowest, highest = np.full(len(size), np.iinfo(np.int64).max), np.full(len(size), np.iinfo(np.int64).min)
        np.minimum.at(lowest, group, column)
        np.maximum.at(highest, group, column)
        equal = equal & (lowest == highest)
    return int(equal.sum())


def _count_plain_oddities(checked: CheckedBars, instrument: Instrument) -> None:
    block = checked.block
    flat = block["high"] == block["low"]
    _note(checked, "flat_bars", flat, "bars whose high is their low")
    if (block["volume"] != UNKNOWN_VOLUME).any():
        _note(checked, "zero_volume_bars", block["volume"] == 0, f"bars of {instrument.id} without any volume")


def _note(
    checked: CheckedBars, kind: str, mask: NDArray[np.bool_], text: str, treatment: Treatment = Treatment.NOTED
) -> None:
    count = int(mask.sum())
    if count:
        checked.findings.append(Finding(kind, treatment, count, text, first_lines(checked.lines, mask)))


def _unchecked(checked: CheckedBars, what: str, count: int, text: str) -> None:
    """A check that could not run, on ``count`` sessions, bars or expiries: said like anything else that is found."""
    checked.findings.append(Finding(f"unchecked_{what}", Treatment.NOTED, count, f"{text} are not looked for"))


def _check_sessions(checked: CheckedBars, instrument: Instrument, *, is_daily: bool) -> None:
    """Hold the series against the instrument's sessions, and mark what does not fit."""
    block = checked.block
    opens_ns = block["ts_open"]
    schedule = session_schedule(instrument, int(opens_ns[0]), int(opens_ns[-1]) + 1)
    outside, index = outside_sessions(opens_ns, schedule)
    if not is_daily:
        share = float(outside.mean())
        text = f"bars that open outside every session of {instrument.id} ({instrument.calendar})"
        if share > 0.01:
            text += "; so many of them speak for another time zone, label side or instrument"
        _note(checked, "bars_outside_sessions", outside, text)
    if not len(schedule) or outside.all():
        _unchecked(
            checked, "sessions", len(block), f"no bar lies in a session of {instrument.id}: gaps, stretches and rolls"
        )
        return
    counts = _Counts.of(schedule, index[~outside], opens_ns[~outside], checked.width_ns, is_daily=is_daily)
    inside_rows = np.flatnonzero(~outside)
    if not is_daily:
        off_grid = np.zeros(len(block), dtype=np.bool_)
        off_grid[inside_rows] = (opens_ns[inside_rows] - schedule.open_ns[index[inside_rows]]) % checked.width_ns != 0
        _note(
            checked,
            "bars_off_the_grid",
            off_grid,
            "bars that do not start a whole number of bar widths after their session's open",
        )
    _note_pauses(checked, counts)
    marks = np.array([""] * len(schedule), dtype=object)
    if is_daily:
        _unchecked(
            checked, "stretches", 1, "daily bars do not show bars missing in a session: stretches on a far contract"
        )
    else:
        _mark_stretches(checked, instrument, schedule, counts, index, outside, marks)
    _mark_gaps(checked, schedule, counts, index, outside, marks)
    _mark_rolls(checked, instrument, schedule, counts, index, outside, marks)
    checked.sessions = [
        SessionCount(_day_text(schedule, place), int(schedule.open_ns[place]), int(schedule.close_ns[place]),
                     int(counts.expected[place]), int(counts.present[place]), str(marks[place]))
        for place in range(len(schedule))
    ]  # fmt: skip


@dataclass(slots=True)
class _Counts:
    """Bars by session; shapes (S,), and (S, K) for the slots of a session."""

    expected: NDArray[np.int64]
    present: NDArray[np.int64]
    filled: NDArray[np.int64]
    """Bars of any slot, pauses too."""
    tail: NDArray[np.int64]
    """Bars missing after the last one."""
    pause_slots: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        schedule: SessionSchedule,
        index: NDArray[np.int64],
        opens_ns: NDArray[np.int64],
        width_ns: int,
        *,
        is_daily: bool,
    ) -> _Counts:
        """Count bars against the slots of each session, leaving out slots in which the source never has a bar."""
        sessions = len(schedule)
        lengths = (
            np.ones(sessions, dtype=np.int64) if is_daily else -(-(schedule.close_ns - schedule.open_ns) // width_ns)
        )
        slots = np.zeros(len(index), dtype=np.int64) if is_daily else (opens_ns - schedule.open_ns[index]) // width_ns
        most = int(lengths.max())
        usual = np.bincount(slots, minlength=most)[:most]
        filled = np.bincount(index, minlength=sessions)
        traded = np.flatnonzero(filled > 0)
        possible = len(traded) - np.searchsorted(np.sort(lengths[traded]), np.arange(most), side="right")
        pauses = np.flatnonzero((usual < _PAUSE_SHARE * possible) & (possible >= _LEAST_SESSIONS_FOR_PAUSES))
        is_pause = np.zeros(most + 1, dtype=np.bool_)
        is_pause[pauses] = True
        open_before = np.concatenate(([0], np.cumsum(~is_pause[:most])))
        expected = open_before[lengths]
        last = np.full(sessions, -1, dtype=np.int64)
        np.maximum.at(last, index, slots)
        present = np.bincount(index, weights=~is_pause[slots], minlength=sessions).astype(np.int64)
        return cls(expected, present, filled, expected - open_before[last + 1], pauses)


def _note_pauses(checked: CheckedBars, counts: _Counts) -> None:
    if len(counts.pause_slots):
        minutes = [int(slot) * checked.width_ns // 60_000_000_000 for slot in counts.pause_slots[:3]]
        listed = ", ".join(f"{minute // 60}:{minute % 60:02d}" for minute in minutes)
        text = f"places in the session (hours after its open: {listed}{', ...' if len(counts.pause_slots) > 3 else ''}) where the source never has a bar"
        checked.findings.append(Finding("regular_pauses", Treatment.NOTED, len(counts.pause_slots), text))


def _day_text(schedule: SessionSchedule, place: int) -> str:
    return str(np.datetime64(int(schedule.day_ns[place]), "ns").astype("datetime64[D]"))


def _listed(schedule: SessionSchedule, places: NDArray[np.int64], amounts: NDArray[np.int64] | None = None) -> str:
    shown = [
        _day_text(schedule, int(place)) + (f": {int(amounts[place])}" if amounts is not None else "")
        for place in places[:_SHOWN]
    ]
    return ", ".join(shown) + (", ..." if len(places) > _SHOWN else "")


def _mark_stretches(
    checked: CheckedBars,
    instrument: Instrument,
    schedule: SessionSchedule,
    counts: _Counts,
    index: NDArray[np.int64],
    outside: NDArray[np.bool_],
    marks: NDArray[np.object_],
) -> None:
    """Mark runs of sessions in which the series sits in a contract that hardly trades; what cannot be judged is said."""
    block = checked.block
    what = "stretches on a far contract"
    if len(schedule) < _LEAST_SESSIONS_FOR_STRETCHES:
        text = f"the file spans {len(schedule)} sessions, {_LEAST_SESSIONS_FOR_STRETCHES} show what is usual: {what}"
        _unchecked(checked, "stretches", len(schedule), text)
        return
    median = _median_by_session(block["volume"], index, outside, len(schedule))
    fill = counts.present / np.maximum(1, counts.expected)
    idle = counts.filled == 0
    unknown = ~idle & ~np.isfinite(median)
    whole = (fill > _WHOLE_FILL) & np.isfinite(median)
    if not whole.any():
        reason = "the volume is unknown" if unknown.any() else "no session is whole"
        _unchecked(checked, "stretches", len(schedule), f"{reason}: {what}")
        return
    if unknown.any():
        listed = _listed(schedule, np.flatnonzero(unknown))
        text = f"the volume of most bars is unknown in {int(unknown.sum())} sessions ({listed}): {what} there"
        _unchecked(checked, "stretches", int(unknown.sum()), text)
    normal = float(np.median(median[whole]))
    thin = idle | (median < _THIN_SHARE * normal)
    for start, end in _runs(unknown):  # a few unknown sessions inside a stretch do not cut it
        if end - start < _THIN_SESSIONS and thin[start - 1 : start].all() and thin[end : end + 1].all():
            thin[start:end] = True
    edge = idle | (median < _THIN_EDGE_SHARE * normal)
    vague = idle | unknown
    for start, end in _runs(thin):
        is_dead = vague[start:end].all()
        if end - start < _THIN_SESSIONS or fill[start:end].min() >= _THIN_FILL or is_dead:
            continue
        while end < len(schedule) and edge[end] and not idle[end]:
            end += 1
        while start > 0 and edge[start - 1] and not idle[start - 1]:
            start -= 1
        while vague[start]:
            start += 1
        while vague[end - 1]:
            end -= 1
        rows = ~outside & (index >= start) & (index < end)
        if (block["flags"][rows] & int(Flag.BAD_STRETCH)).any():
            continue
        first = int(np.argmax(rows))
        step = int(block["open"][first] - block["close"][first - 1]) if first else 0
        block["flags"][rows] |= int(Flag.BAD_STRETCH)
        marks[start:end] = "bad_stretch"
        lines = checked.lines[rows]
        known = block["volume"][rows][block["volume"][rows] != UNKNOWN_VOLUME]
        text = (
            f"{_day_text(schedule, start)} to {_day_text(schedule, end - 1)}: {end - start} sessions{_without_bars(idle[start:end])} on a contract that hardly "
            f"trades (median volume {np.median(known):.0f} a bar against {normal:.0f}; "
            f"{int(counts.present[start:end].sum())} of {int(counts.expected[start:end].sum())} bars; lines {int(lines.min())} to "
            f"{int(lines.max())}); the series steps by {instrument.price_from_ticks(step)} where it begins. No returns across it"
        )
        checked.findings.append(
            Finding("bad_stretch", Treatment.MARKED, int(rows.sum()), text, first_lines(checked.lines, rows))
        )


def _without_bars(idle: NDArray[np.bool_]) -> str:
    return f" ({int(idle.sum())} of them without a bar)" if idle.any() else ""


def _median_by_session(
    volume: NDArray[np.int64], index: NDArray[np.int64], outside: NDArray[np.bool_], sessions: int
) -> NDArray[np.float64]:
    """The median of the known volumes of each session; NaN where there is no bar or too few are known. Rows are in order."""
    median = np.full(sessions, np.nan)
    inside, values = index[~outside], volume[~outside]
    places, starts = np.unique(inside, return_index=True)
    for place, part in zip(places.tolist(), np.split(values, starts[1:]), strict=True):
        known = part[part != UNKNOWN_VOLUME]
        if len(known) >= _KNOWN_SHARE * len(part):
            median[place] = np.median(known)
    return median


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _mark_gaps(
    checked: CheckedBars,
    schedule: SessionSchedule,
    counts: _Counts,
    index: NDArray[np.int64],
    outside: NDArray[np.bool_],
    marks: NDArray[np.object_],
) -> None:
    """Missing sessions, truncated sessions and bars missing inside the others."""
    block = checked.block
    is_plain = marks == ""
    missing = is_plain & (counts.present == 0) & (counts.expected > 0)
    if missing.any():
        places = np.flatnonzero(missing)
        marks[missing] = "missing"
        text = f"sessions without any bar: {_listed(schedule, places)}"
        checked.findings.append(Finding("missing_sessions", Treatment.NOTED, len(places), text))
    truncated = is_plain & ~missing & (counts.tail >= 2) & (counts.tail >= _TRUNCATED_SHARE * counts.expected)
    truncated[0] = truncated[-1] = False  # the file may begin or end inside them
    lacking = counts.expected - counts.present
    edges = np.unique([0, len(schedule) - 1])
    edges = edges[is_plain[edges] & (lacking[edges] > 0) & (counts.expected[edges] > 0)]
    if len(edges):
        text = f"the file may begin or end inside its first or last session (bars lacking: {_listed(schedule, edges, lacking)}): gaps there"
        _unchecked(checked, "edges", len(edges), text)
    if truncated.any():
        places = np.flatnonzero(truncated)
        marks[truncated] = "truncated"
        last_rows = np.searchsorted(index[~outside], places, side="right") - 1
        rows = np.flatnonzero(~outside)[last_rows]
        block["flags"][rows] |= int(Flag.TRUNCATED)
        text = f"sessions that stop early (bars there are: {_listed(schedule, places, counts.present)}); the next open is no true gap"
        lines = tuple(int(line) for line in checked.lines[rows][:5])
        checked.findings.append(Finding("truncated_sessions", Treatment.MARKED, len(places), text, lines))
    gaps = is_plain & ~missing & ~truncated & (lacking > 0)
    gaps[0] = gaps[-1] = False
    if gaps.any():
        places = np.flatnonzero(gaps)
        text = f"bars missing inside {len(places)} sessions ({_listed(schedule, places, lacking)})"
        checked.findings.append(Finding("missing_bars", Treatment.NOTED, int(lacking[gaps].sum()), text))


def _mark_rolls(
    checked: CheckedBars,
    instrument: Instrument,
    schedule: SessionSchedule,
    counts: _Counts,
    index: NDArray[np.int64],
    outside: NDArray[np.bool_],
    marks: NDArray[np.object_],
) -> None:
    """Find rolls in the sessions with bars; those in a bad stretch, truncated or with gaps say nothing about volume."""
    block = checked.block
    if not has_expiry_rule(instrument):
        if instrument.kind is InstrumentKind.FUTURE:
            _unchecked(checked, "rolls", 1, f"no rule of expiry is known for {instrument.id}: contract rolls")
        return
    rows = np.flatnonzero(~outside)
    places, starts = np.unique(index[rows], return_index=True)
    is_whole = (counts.present[places] >= _WHOLE_FILL * counts.expected[places]) & (marks[places] == "")
    width_ns = np.int64(checked.width_ns)
    part = block[rows]
    rolls, unproven = find_rolls(
        instrument,
        SessionBars(
            day_ns=schedule.day_ns[places],
            first=starts,
            lengths=counts.expected[places],
            is_whole=is_whole,
            rows=rows,
            slot=(part["ts_open"] - schedule.open_ns[index[rows]]) // width_ns,
            volume=np.where(part["volume"] == UNKNOWN_VOLUME, np.nan, part["volume"].astype(np.float64)),
            opens_ns=part["ts_open"],
            closes_ns=part["ts_event"],
            open_ticks=part["open"],
            close_ticks=part["close"],
        ),
    )
    checked.rolls = rolls
    if rolls:
        block["flags"][[roll.row for roll in rolls]] |= int(Flag.ROLL)
        days = ", ".join(roll.day for roll in rolls[:_SHOWN])
        more = ", ..." if len(rolls) > _SHOWN else ""
        text = f"rolls shown around an expiry, first rows marked (sessions {days}{more}); the step there is carry, not a move"
        lines = tuple(int(checked.lines[roll.row]) for roll in rolls[:5])
        checked.findings.append(Finding("roll_jumps", Treatment.MARKED, len(rolls), text, lines))
    _note_unproven(checked, unproven)


def _note_unproven(checked: CheckedBars, unproven: list[UnprovenRoll]) -> None:
    if unproven:
        listed = "; ".join(f"{expiry.window_end}: {expiry.reason}" for expiry in unproven[:_SHOWN])
        more = "; ..." if len(unproven) > _SHOWN else ""
        text = f"expiries around which no roll is proven, by the last day of their windows ({listed}{more}); nothing is marked there"
        checked.findings.append(Finding("unproven_rolls", Treatment.NOTED, len(unproven), text))


def _check_jumps(checked: CheckedBars) -> None:
    """Note returns far out of line, and those that look like a split; steps from or to a price at or below zero have none."""
    block = checked.block
    before, after, later = block["close"][:-1], block["open"][1:], block["close"][1:]
    usable = (before > 0) & (after > 0) & (later > 0)
    if not usable.all():
        text = "a price at or below zero has no return: jumps from or to it"
        _unchecked(checked, "jumps", int((~usable).sum()), text)
    gap, moves = np.zeros(len(usable)), np.zeros(len(usable))
    gap[usable] = np.log(after[usable] / before[usable])
    moves[usable] = np.log(later[usable] / before[usable])
    moving = moves[moves != 0]
    if len(block) < _LEAST_BARS_FOR_JUMPS or not len(moving):
        _unchecked(
            checked, "jumps", len(block), f"{len(block)} bars of which {len(moving)} move show no usual size: jumps"
        )
        return
    scale = 1.4826 * float(np.median(np.abs(moving)))
    size = np.maximum(np.abs(gap), np.abs(moves))
    is_split = np.zeros(len(gap), dtype=np.bool_)
    for ratio in _SPLIT_RATIOS:
        is_split |= np.abs(np.abs(gap) - np.log(ratio)) < _SPLIT_TOLERANCE
    is_extreme = (size >= _JUMP_LEAST) & (size >= _JUMP_SCALES * scale)
    is_split &= is_extreme
    for kind, mask, text in (
        ("split_like_jumps", is_split, "opens at a simple fraction or multiple of the close before, as after a split"),
        ("extreme_jumps", is_extreme & ~is_split, "moves from one bar to the next far beyond the series' own scale"),
    ):
        places = np.flatnonzero(mask) + 1
        if len(places):
            shown = ", ".join(
                f"{text_from_ns(int(block['ts_open'][place]))[:10]} {np.expm1(_larger(gap, moves, place - 1)):+.1%}"
                for place in places[:_SHOWN]
            )
            whole = np.concatenate(([False], mask))
            _note(checked, kind, whole, f"{text}: {shown}{', ...' if len(places) > _SHOWN else ''}")


def _check_spikes(checked: CheckedBars) -> None:
    """Find single bars whose high or low no bar around them comes near: a slipped decimal, a wrong print.

    Compared in ticks, so that prices at or below zero (crude oil, April 2020) need no case of their own.
    """
    block = checked.block
    count, reach = len(block), _SPIKE_NEIGHBOURS
    if count < 2 * reach + 1:
        return
    high, low = block["high"].astype(np.float64), block["low"].astype(np.float64)
    # At the ends of a file the bars there are on the other side have to do.
    opens, close = block["open"].astype(np.float64), block["close"].astype(np.float64)
    highest = np.fmax(_of_neighbours(high, reach, np.fmax), np.maximum(opens, close))
    lowest = np.fmin(-_of_neighbours(-low, reach, np.fmax), np.minimum(opens, close))
    widest = np.fmax(_of_neighbours(high - low, reach, np.fmax), np.abs(close - opens))
    level = np.maximum(np.abs(highest), np.abs(lowest))
    above, below = high - highest, lowest - low
    beyond = np.maximum(above, below)
    is_spike = (beyond > _SPIKE_RANGES * widest) & (beyond > _SPIKE_LEAST * level)
    is_impossible = is_spike & (beyond > _SPIKE_IMPOSSIBLE * level)
    block["flags"][is_impossible] |= int(Flag.BAD_STRETCH)
    for treatment, mask, advice in (
        (Treatment.MARKED, is_impossible, "marked as a bad stretch: nothing is traded on them"),
        (Treatment.NOTED, is_spike & ~is_impossible, "kept as they are"),
    ):
        places = np.flatnonzero(mask)
        if len(places):
            shown = ", ".join(
                f"{text_from_ns(int(block['ts_open'][place]))[:16]} "
                f"{'high' if above[place] >= below[place] else 'low'} {beyond[place] / level[place]:.1%} beyond"
                for place in places[:_SHOWN]
            )
            text = (
                f"bars whose high or low is far beyond their open and close and every price of the {reach} bars on either side ({shown}"
                f"{', ...' if len(places) > _SHOWN else ''}); {advice}"
            )
            _note(checked, "price_spikes", mask, text, treatment)


def _of_neighbours(values: NDArray[np.float64], reach: int, largest: np.ufunc) -> NDArray[np.float64]:
    """For each value (T,) the largest of the ``reach`` before and after it, itself left out."""
    padded = np.concatenate((np.full(reach, np.nan), values, np.full(reach, np.nan)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    found = windows[:, 0].copy()
    for place in range(1, 2 * reach + 1):
        if place != reach:
            largest(found, windows[:, place], out=found)
    return found


def _larger(gap: NDArray[np.float64], moves: NDArray[np.float64], place: int) -> float:
    return float(gap[place] if abs(gap[place]) >= abs(moves[place]) else moves[place])
