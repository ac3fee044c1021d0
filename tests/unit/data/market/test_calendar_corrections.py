"""The file of corrections: which line speaks of a day, and what is refused."""

import datetime as dt

import pytest

from grandmodel.data.errors import CalendarError
from grandmodel.data.market.calendar_corrections import (
    DayKind,
    ProductGroup,
    calendar_corrections,
    day_kind,
    parse_corrections,
)

INDEX, CURRENCY, METAL = ProductGroup


def test_a_single_day_goes_before_every_rule_and_needs_no_close() -> None:
    found = calendar_corrections()
    mourning = dt.date(2025, 1, 9)
    assert found.close_at(INDEX, DayKind.ORDINARY, mourning) == dt.time(9, 30)
    assert found.close_at(METAL, DayKind.HOLIDAY, mourning) is None
    assert all(found.trades_on(group, mourning) for group in ProductGroup)


def test_a_day_that_no_line_speaks_of_keeps_the_usual_hours() -> None:
    found = calendar_corrections()
    assert found.close_at(INDEX, DayKind.ORDINARY, dt.date(2024, 6, 12)) is None
    assert found.close_at(METAL, DayKind.JULY_3, dt.date(2024, 7, 3)) is None
    assert found.close_at(METAL, DayKind.JULY_3, dt.date(2014, 7, 3)) == dt.time(17, 15)  # as any day of that year
    assert not found.trades_on(INDEX, dt.date(2024, 3, 29))  # Good Friday, not the first Friday
    assert found.trades_on(INDEX, dt.date(2026, 4, 3))
    assert not found.trades_on(METAL, dt.date(2026, 4, 3))


def test_juneteenth_is_a_holiday_whether_the_library_knows_it_or_not() -> None:
    for is_early_close in (False, True):
        assert day_kind(dt.date(2027, 6, 18), is_early_close=is_early_close, is_closed=False) is DayKind.HOLIDAY
    assert day_kind(dt.date(2021, 6, 18), is_early_close=False, is_closed=False) is DayKind.ORDINARY


def test_the_file_covers_twelve_years_and_names_its_sources() -> None:
    found = calendar_corrections()
    assert (found.first_year, found.last_year) == (2015, 2026)
    used = {source for entry in (*found.day, *found.rule) for source in entry.sources}
    assert used == set(found.sources)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('sources = ["a"]', 'sources = ["b"]', "expected some of a"),
        ('sources = ["a"]', "sources = []", "expected some of a"),
        ('kind = "holiday"', 'kind = "carnival"', "carnival"),
        ('library = "13:00"', 'libary = "13:00"', "libary"),
        ("close = 13:15:00", 'close = "soon"', "close"),
        ("checked = 2026-11-28", "checked = ", "not a file of calendar corrections"),
    ],
)
def test_a_damaged_file_is_refused_by_field(old: str, new: str, message: str) -> None:
    text = """
checked = 2026-11-28
first_year = 2015
last_year = 2026
day = []
[sources]
a = "A notice."
[[rule]]
kind = "holiday"
groups = ["index"]
close = 13:15:00
library = "13:00"
reason = "noon"
sources = ["a"]
"""
    assert parse_corrections(text, "x.toml").rule[0].close == dt.time(13, 15)
    with pytest.raises(CalendarError, match=message):
        parse_corrections(text.replace(old, new), "x.toml")
