"""The stored trading days are the calendar library's, day by day, over all the years that the file covers."""

import datetime as dt

import msgspec
import pytest

from grandmodel.data.errors import CalendarError
from grandmodel.data.market import calendar_days as days_of
from grandmodel.data.market.calendar_days import FILE, KEPT, CalendarDays, library_days, stored
from grandmodel.domain.instruments import BUILT_IN


@pytest.fixture
def fresh():
    """Nothing remembered from another test."""
    days_of._stored_calendars.cache_clear()
    days_of.calendar_days.cache_clear()
    yield
    days_of._stored_calendars.cache_clear()
    days_of.calendar_days.cache_clear()


def test_the_file_has_the_calendars_of_the_built_in_instruments():
    assert {instrument.calendar for instrument in BUILT_IN.values()} <= set(KEPT) == set(days_of._stored_calendars())


@pytest.mark.parametrize("name", KEPT)
def test_every_stored_day_is_the_library_s(name):
    kept = days_of._stored_calendars()[name]
    assert kept.first_year <= 1991
    assert kept.last_year >= 2026
    expected = library_days(name, kept.first_year, kept.last_year)
    assert (kept.name, kept.zone) == (expected.name, expected.zone)
    assert tuple(kept.days(kept.first_year, kept.last_year)) == expected.days


def test_the_file_is_what_the_command_makes(tmp_path, monkeypatch):
    monkeypatch.setattr(
        days_of, "KEPT", ("CMES", "24/7")
    )  # The others take seconds, and are held to the library above.
    days_of.write_file(tmp_path / FILE)
    made = msgspec.json.decode((tmp_path / FILE).read_bytes(), type=days_of.StoredCalendars)
    known = days_of._stored_calendars()
    assert made.calendars == (known["CMES"], known["24/7"])


def test_the_library_answers_for_other_years_and_names_and_where_its_version_is_another(monkeypatch, fresh):
    asked = []
    monkeypatch.setattr(
        days_of, "library_days", lambda *given: asked.append(given) or CalendarDays(name="X", zone="UTC", days=())
    )
    assert days_of.calendar_days("CMES", 2024, 2024).days
    assert not asked
    days_of.calendar_days("CMES", 1989, 1990)
    days_of.calendar_days("CMES", 2035, 2036)
    days_of.calendar_days("XLON", 2024, 2024)
    monkeypatch.setattr(days_of.importlib.metadata, "version", lambda _: "0.0")
    days_of._stored_calendars.cache_clear()
    days_of.calendar_days("CMES", 2023, 2023)
    assert asked == [("CMES", 1989, 1990), ("CMES", 2035, 2036), ("XLON", 2024, 2024), ("CMES", 2023, 2023)]


def test_a_calendar_that_hours_and_exceptions_do_not_describe_is_refused():
    found = library_days("XNYS", 2024, 2024)
    changed = list(found.days)
    changed[7] = days_of.CalendarDay(
        changed[7].day, changed[7].open_ns + 1, changed[7].close_ns, changed[7].break_start_ns, changed[7].break_end_ns
    )
    with pytest.raises(CalendarError, match="which the file would have as"):
        stored(CalendarDays(name="XNYS", zone=found.zone, days=tuple(changed)), 2024, 2024)


def test_a_damaged_file_is_refused(monkeypatch, fresh, tmp_path):
    (tmp_path / FILE).write_text("{", encoding="utf-8")
    monkeypatch.setattr(days_of.resources, "files", lambda _: tmp_path)
    with pytest.raises(CalendarError, match="make calendars"):
        days_of.calendar_days("CMES", 2024, 2024)


def test_a_shortened_day_and_a_pause_come_out_of_the_file():
    friday = next(one for one in days_of.calendar_days("XNYS", 2024, 2024).days if one.day == dt.date(2024, 11, 29))
    assert friday.is_early_close
    assert friday.close_ns == 1732903200_000_000_000  # 13:00 New York
    shanghai = days_of.calendar_days("XSHG", 2024, 2024).days[0]
    assert (shanghai.break_end_ns - shanghai.break_start_ns) // 60_000_000_000 == 90
