"""Wall clock to UTC, and what the calendar proves."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from bar_files import CL, NQ, session_opens
from grandmodel.data.errors import CalendarError
from grandmodel.data.historical.profile import Label
from grandmodel.data.historical.zones import (
    ClockMemory,
    WallTimes,
    irregular_gaps,
    outside_sessions,
    possible_readings,
    proven_reading,
    utc_from_wall,
)
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import NS_PER_HOUR, NS_PER_MINUTE, THIRTY_MINUTES_NS, ns_from_text


def _wall(opens_ns: list[int], zone: str, shift_ns: int = 0) -> np.ndarray:
    """What a clock in ``zone`` shows at each instant, as nanoseconds."""
    walls = []
    for ns in opens_ns:
        moment = dt.datetime.fromtimestamp((ns + shift_ns) // 10**9, tz=ZoneInfo(zone))
        walls.append(ns + shift_ns + int(moment.utcoffset().total_seconds()) * 10**9)
    return np.array(walls, dtype=np.int64)


def test_every_hour_of_a_year_comes_back_from_a_clock_with_daylight_saving() -> None:
    hours = list(range(ns_from_text("2023-01-01"), ns_from_text("2024-01-01"), NS_PER_HOUR))
    local = utc_from_wall(_wall(hours, "Asia/Jerusalem"), "Asia/Jerusalem")
    assert local.exists.all()
    assert (local.utc_ns == np.array(hours)).all()  # the repeated hour is told apart by the order of the rows
    assert int(local.twice.sum()) == 2
    assert not local.undecided.any()


def test_half_hours_of_the_repeated_hour_keep_their_order() -> None:
    start = ns_from_text("2023-11-05T04:00:00+00:00")
    moments = [start + k * 30 * NS_PER_MINUTE for k in range(10)]
    local = utc_from_wall(_wall(moments, "America/New_York"), "America/New_York")
    assert local.utc_ns.tolist() == moments
    assert int(local.twice.sum()) == 4


def test_a_repeated_hour_met_once_is_called_undecided() -> None:
    local = utc_from_wall(np.array([ns_from_text("2023-11-05T01:30:00+00:00")]), "America/New_York")
    assert local.undecided.tolist() == [True]
    assert local.utc_ns.tolist() == [ns_from_text("2023-11-05T05:30:00+00:00")]


def test_a_time_that_the_clock_skips_does_not_exist() -> None:
    local = utc_from_wall(np.array([ns_from_text("2023-03-12T02:30:00+00:00")]), "America/New_York")
    assert local.exists.tolist() == [False]


def test_an_unknown_zone_is_refused_by_name() -> None:
    with pytest.raises(CalendarError, match="Mars/Olympus"):
        utc_from_wall(np.array([0]), "Mars/Olympus")


@pytest.mark.parametrize(
    ("zone", "label", "shift_ns"),
    [
        ("America/Los_Angeles", Label.OPEN, 0),
        ("America/New_York", Label.CLOSE, THIRTY_MINUTES_NS),
        ("Europe/London", Label.OPEN, 0),
    ],
)
def test_a_year_of_sessions_proves_zone_and_label_side(zone: str, label: Label, shift_ns: int) -> None:
    opens = session_opens("2022-01-03", "2022-12-30")
    proven = proven_reading(possible_readings(_wall(opens, zone, shift_ns), THIRTY_MINUTES_NS, NQ))
    assert proven is not None
    assert proven.zones[0] == zone
    assert proven.label is label


def test_zones_that_part_for_two_bars_a_year_are_not_told_apart_by_one_year() -> None:
    walls = _wall(session_opens("2022-01-03", "2022-12-30"), "Asia/Jerusalem")
    readings = possible_readings(walls, THIRTY_MINUTES_NS, NQ)
    assert readings[0].zones[0] == "Asia/Jerusalem"
    assert readings[1].zones[0] == "Europe/Athens"
    assert 0 < readings[1].outside < 3
    assert proven_reading(readings) is None


def test_bars_on_a_day_that_the_calendar_has_wrong_do_not_spoil_the_proof() -> None:
    """Good Friday is closed for CL, and the day after Thanksgiving ends at 13:45: what if the exchange had traded longer?"""
    opens = session_opens("2022-01-03", "2022-12-30", CL)
    good_friday = [ns_from_text("2022-04-14T22:00:00+00:00") + k * THIRTY_MINUTES_NS for k in range(30)]
    friday_afternoon = [ns_from_text("2022-11-25T19:00:00+00:00") + k * THIRTY_MINUTES_NS for k in range(4)]
    walls = _wall(sorted([*opens, *good_friday, *friday_afternoon]), "America/Los_Angeles")
    proven = proven_reading(possible_readings(walls, THIRTY_MINUTES_NS, CL))
    assert proven is not None
    assert proven.zones[0] == "America/Los_Angeles"
    assert (proven.outside, proven.irregular) == (0, 34)
    assert proven.irregular_days == ("2022-04-14", "2022-04-15", "2022-11-25")


def test_bars_in_ordinary_closed_hours_spoil_the_proof() -> None:
    opens = session_opens("2022-01-03", "2022-12-30", CL)
    saturday = [ns_from_text("2022-05-07T15:00:00+00:00")]
    readings = possible_readings(_wall(sorted([*opens, *saturday]), "America/Los_Angeles"), THIRTY_MINUTES_NS, CL)
    assert readings[0].outside == 1
    assert proven_reading(readings) is None


@pytest.mark.parametrize(
    ("name", "start", "end", "gaps"),
    [
        ("NQ", "2022-11-14", "2022-12-02", ["2022-11-25", "2022-11-28"]),  # after Thursday's and Friday's early closes
        ("NQ", "2022-04-04", "2022-04-22", ["2022-04-18"]),  # Good Friday
        ("NQ", "2022-05-09", "2022-05-20", []),
        ("IF", "2018-09-10", "2018-10-19", ["2018-09-25", "2018-10-08"]),  # mid-autumn, Golden Week; no lunch break
        ("BTCUSD", "2022-11-14", "2022-12-02", []),
        ("EURUSD", "2022-11-14", "2022-12-02", []),
    ],
)
def test_the_closed_hours_around_holidays_and_short_days_are_irregular(
    name: str, start: str, end: str, gaps: list[str]
) -> None:
    schedule = session_schedule(BUILT_IN[InstrumentId(name)], ns_from_text(start), ns_from_text(end))
    irregular = irregular_gaps(schedule)
    assert len(irregular) == len(schedule) + 1
    days = [str(np.datetime64(int(schedule.day_ns[place]), "ns"))[:10] for place in np.flatnonzero(irregular[:-1])]
    assert days == gaps


def test_a_few_sessions_prove_nothing() -> None:
    opens = session_opens("2022-01-03", "2022-01-14")
    readings = possible_readings(_wall(opens, "America/New_York"), THIRTY_MINUTES_NS, NQ)
    assert readings[0].outside == 0
    assert proven_reading(readings) is None


def test_a_market_without_closing_hours_proves_nothing() -> None:
    start = ns_from_text("2022-01-01")
    walls = np.arange(start, start + 200 * 24 * NS_PER_HOUR, NS_PER_HOUR)
    readings = possible_readings(walls, NS_PER_HOUR, BUILT_IN[InstrumentId("BTCUSD")])
    assert len(readings) > 10
    assert proven_reading(readings) is None


def test_a_stated_reading_is_tried_even_if_it_does_not_fit() -> None:
    opens = session_opens("2022-01-03", "2022-03-30")
    walls = _wall(opens, "America/New_York")
    (reading,) = possible_readings(walls, THIRTY_MINUTES_NS, NQ, ("Asia/Tokyo",), (Label.OPEN,))
    assert reading.outside > 100


def _counted_row_by_row(wall: np.ndarray, zone: str, shift_ns: int) -> tuple[int, int, int]:
    """Bars outside, bars in irregular closed hours and sessions with bars, looking at every bar."""
    local = utc_from_wall(wall, zone)
    schedule = session_schedule(NQ, int(wall.min()) - 3 * 24 * NS_PER_HOUR, int(wall.max()) + 3 * 24 * NS_PER_HOUR)
    opens = (local.utc_ns - shift_ns)[local.exists]
    outside, index = outside_sessions(opens, schedule)
    irregular = outside & irregular_gaps(schedule)[index + 1]
    plain = outside & ~irregular
    return int(plain.sum() + (~local.exists).sum()), int(irregular.sum()), len(np.unique(index[~outside]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dirt", ["clean", "holes", "swapped", "strangers"])
def test_the_ends_of_stretches_count_what_every_bar_counts(seed: int, dirt: str) -> None:
    rng = np.random.default_rng(seed)
    own = ("America/New_York", "Asia/Jerusalem", "Australia/Sydney", "UTC")[seed]
    width = (5, 30, 1, 15)[seed] * NS_PER_MINUTE
    wall = _wall(session_opens("2023-10-02", "2023-11-30", width_ns=width), own)
    if dirt == "holes":
        wall = wall[rng.random(len(wall)) < 0.6]
    elif dirt == "swapped":
        places = rng.integers(0, len(wall) - 1, 40)
        wall[places], wall[places + 1] = wall[places + 1].copy(), wall[places].copy()
    elif dirt == "strangers":
        wall = np.sort(np.concatenate((wall, wall[::97] + rng.integers(0, 60, len(wall[::97])) * NS_PER_HOUR)))
    for zone in ("UTC", "America/New_York", "Europe/London", "Asia/Jerusalem", "Australia/Lord_Howe", "Asia/Kolkata"):
        for label in Label:
            shift_ns = width if label is Label.CLOSE else 0
            (reading,) = possible_readings(wall, width, NQ, (zone,), (label,))
            found = (reading.outside, reading.irregular, reading.sessions)
            assert found == _counted_row_by_row(wall, zone, shift_ns), (zone, label)


def test_stamps_in_pieces_are_the_stamps_at_once() -> None:
    wall = _wall(session_opens("2023-10-02", "2023-11-30"), "America/New_York")
    whole = WallTimes.of(wall)
    for rows in (1, 7, 1_000):
        pieces = [wall[start : start + rows] for start in range(0, len(wall), rows)]
        parts = WallTimes.of_pieces(pieces, len(wall), lambda start, stop: wall[start:stop])
        for name in ("sample", "first", "last", "start", "stop"):
            assert getattr(parts, name).tolist() == getattr(whole, name).tolist(), name


@pytest.mark.parametrize("seed", range(6))
def test_wherever_a_file_is_cut_its_hours_are_told_apart_as_at_once(seed: int) -> None:
    start = ns_from_text("2023-11-05T03:00:00+00:00")
    moments = [start + k * 10 * NS_PER_MINUTE for k in range(36)]
    wall = _wall(moments, "America/New_York")
    wall = wall[np.random.default_rng(seed).random(len(wall)) < 0.5]
    whole = utc_from_wall(wall, "America/New_York")
    for cut in range(1, len(wall)):
        memory = ClockMemory()
        first = utc_from_wall(wall[:cut], "America/New_York", memory, int(wall[cut]))
        second = utc_from_wall(wall[cut:], "America/New_York", memory)
        for name in ("utc_ns", "exists", "twice", "undecided"):
            joined = np.concatenate((getattr(first, name), getattr(second, name)))
            assert joined.tolist() == getattr(whole, name).tolist(), (name, cut)
