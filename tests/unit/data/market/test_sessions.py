"""Session schedules against the exchange's known hours, and against the real bars."""

import datetime as dt
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from grandmodel.data.errors import CalendarError
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, ns_from_text

NQ, CL, GC, EURO = (BUILT_IN[InstrumentId(name)] for name in ("NQ", "CL", "GC", "6E"))


def _hours(instrument: Instrument, day: str) -> list[tuple[str, str]]:
    """Open and close (UTC, month-day hour:minute) of the sessions of one trading day."""
    day_ns = ns_from_text(day)
    schedule = session_schedule(instrument, day_ns - NS_PER_DAY, day_ns + 2 * NS_PER_DAY)
    return [
        (_text(int(opens)), _text(int(closes)))
        for opens, closes, of_day in zip(schedule.open_ns, schedule.close_ns, schedule.day_ns, strict=True)
        if of_day == day_ns
    ]


def _text(ts_ns: int) -> str:
    return dt.datetime.fromtimestamp(ts_ns / 1e9, tz=dt.UTC).strftime("%m-%d %H:%M")


def test_a_winter_and_a_summer_day_run_from_18_to_17_new_york() -> None:
    assert _hours(NQ, "2024-01-10") == [("01-09 23:00", "01-10 22:00")]
    assert _hours(NQ, "2024-06-12") == [("06-11 22:00", "06-12 21:00")]


def test_monday_opens_on_sunday_evening_and_the_week_of_the_clock_change_follows_new_york() -> None:
    assert _hours(CL, "2024-03-11") == [("03-10 22:00", "03-11 21:00")]  # the clocks changed on Sunday the 10th
    assert _hours(CL, "2024-03-08") == [("03-07 23:00", "03-08 22:00")]


@pytest.mark.parametrize(
    ("instrument", "day", "close"),
    [
        (NQ, "2023-11-23", "11-23 18:00"),  # Thanksgiving, 13:00
        (CL, "2023-11-23", "11-23 19:30"),  # 14:30 since 2022
        (CL, "2021-11-25", "11-25 18:00"),  # 13:00 before
        (EURO, "2023-11-23", "11-23 22:00"),
        (NQ, "2023-11-24", "11-24 18:15"),
        (CL, "2023-11-24", "11-24 18:45"),
        (CL, "2024-11-29", "11-29 19:45"),  # 14:45 since 2024
        (GC, "2026-11-27", "11-27 19:45"),
        (NQ, "2026-11-27", "11-27 18:15"),
        (NQ, "2025-01-09", "01-09 14:30"),  # day of mourning: the library has it closed
        (CL, "2025-01-09", "01-09 22:00"),
        (GC, "2018-12-05", "12-05 22:00"),
        (NQ, "2018-12-05", "12-05 14:30"),
        (EURO, "2025-12-24", "12-24 18:45"),
        (NQ, "2013-09-02", "09-02 15:30"),
        (NQ, "2020-12-24", "12-24 18:15"),
        (NQ, "2022-06-20", "06-20 17:00"),  # Juneteenth, observed
        (CL, "2024-06-19", "06-19 18:30"),
        (NQ, "2021-06-18", "06-18 21:00"),  # not yet a holiday
        (NQ, "2023-07-03", "07-03 17:15"),
        (CL, "2023-07-03", "07-03 21:00"),
        (NQ, "2021-04-02", "04-02 13:15"),  # Good Friday with a jobs report
        (EURO, "2021-04-02", "04-02 15:15"),
        (GC, "2013-10-08", "10-08 21:15"),  # the old close
    ],
)
def test_cme_holidays_and_short_days_close_when_the_exchange_did(instrument: Instrument, day: str, close: str) -> None:
    assert [closes for _, closes in _hours(instrument, day)] == [close]


@pytest.mark.parametrize(
    ("instrument", "day"),
    [
        (CL, "2021-04-02"),
        (NQ, "2022-04-15"),
        (NQ, "2024-03-29"),
        (NQ, "2021-12-24"),
        (NQ, "2024-01-01"),
        (NQ, "2024-06-15"),
    ],
)
def test_closed_days_have_no_session(instrument: Instrument, day: str) -> None:
    assert _hours(instrument, day) == []


def test_a_lunch_break_makes_two_sessions_of_one_day() -> None:
    index_future = BUILT_IN[InstrumentId("IF")]
    assert _hours(index_future, "2018-10-31") == [("10-31 01:30", "10-31 03:30"), ("10-31 05:00", "10-31 07:00")]
    assert _hours(index_future, "2018-10-01") == []  # Golden Week


def test_round_the_clock_calendars_have_sessions_that_touch() -> None:
    bitcoin = BUILT_IN[InstrumentId("BTCUSD")]
    schedule = session_schedule(bitcoin, ns_from_text("2024-06-14"), ns_from_text("2024-06-18"))
    assert len(schedule) == 4
    assert (schedule.open_ns[1:] == schedule.close_ns[:-1]).all()
    euro = BUILT_IN[InstrumentId("EURUSD")]
    weekdays = session_schedule(euro, ns_from_text("2024-06-14"), ns_from_text("2024-06-18"))
    assert [_text(int(ns))[:5] for ns in weekdays.day_ns] == [
        "06-14",
        "06-17",
        "06-18",
    ]  # 17:00 New York begins the next day


def test_only_sessions_that_overlap_the_span_are_given() -> None:
    close_ns = ns_from_text("2024-06-12T21:00:00+00:00")
    assert len(session_schedule(NQ, close_ns, close_ns + NS_PER_HOUR)) == 0  # the maintenance hour
    assert len(session_schedule(NQ, close_ns - 1, close_ns)) == 1
    assert len(session_schedule(NQ, close_ns, close_ns)) == 0
    schedule = session_schedule(NQ, close_ns - NS_PER_MINUTE, close_ns + 2 * NS_PER_HOUR)
    assert schedule.index_at(close_ns - 1) == 0
    assert schedule.index_at(close_ns) == -1
    assert schedule.index_at(close_ns + NS_PER_HOUR) == 1


def test_many_years_are_in_order_and_each_day_belongs_to_its_session() -> None:
    schedule = session_schedule(NQ, ns_from_text("2009-01-01"), ns_from_text("2024-12-31"))
    assert (np.diff(schedule.day_ns) > 0).all()
    inside = (schedule.day_ns > schedule.open_ns) & (schedule.day_ns < schedule.close_ns)
    assert inside.all()
    assert 15 * 255 < len(schedule) < 16 * 262


def test_unknown_calendars_zones_and_hours_are_refused_by_name() -> None:
    unknown = Instrument(
        id=InstrumentId("X"),
        name="x",
        tick_size=Decimal(1),
        tick_value_micros=1,
        currency="USD",
        mic="XXXX",
        calendar="NOPE",
    )
    with pytest.raises(CalendarError, match="NOPE"):
        session_schedule(unknown, 0, NS_PER_DAY)
    with pytest.raises(CalendarError, match="Mars/Olympus"):
        session_schedule(msgspec.structs.replace(NQ, time_zone="Mars/Olympus"), 0, NS_PER_DAY)
    with pytest.raises(CalendarError, match="25:00"):
        session_schedule(msgspec.structs.replace(NQ, session_open="25:00"), 0, NS_PER_DAY)
    with pytest.raises(CalendarError, match="XSHG does not reach"):
        session_schedule(BUILT_IN[InstrumentId("IF")], ns_from_text("2090-01-01"), ns_from_text("2090-02-01"))
