"""The irregular days of CME, NYMEX and COMEX from 2015 to 2026, and the command that writes them down again:

    PYTHONPATH=tests .venv/bin/python tests/golden/calendar/make_irregular_days.py

Every line was held against the sources that ``calendar_corrections.toml`` names. A changed line is a changed session, and so a
changed result for users: say in CHANGELOG.md why it changed, and in the corrections which source says so.
"""

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import NS_PER_DAY, ns_from_text

GOLDEN = Path(__file__).parent / "irregular_days.txt"
FIRST, LAST = dt.date(2015, 1, 1), dt.date(2026, 12, 31)
NAMES = ("NQ", "CL", "GC", "6E")
NEW_YORK = ZoneInfo("America/New_York")
CLOSE_1700_FROM = dt.date(2015, 9, 21)


def lines():
    """One line a weekday on which one of the contracts did not trade its usual hours: date, New York closes, the reason."""
    closes = {name: _closes(name) for name in NAMES}
    found = []
    for place in range((LAST - FIRST).days + 1):
        day = FIRST + dt.timedelta(days=place)
        usual = "17:00" if day >= CLOSE_1700_FROM else "17:15"
        shown = [closes[name].get(day, "closed") for name in NAMES]
        if day.weekday() < 5 and (set(shown) != {usual} or reason_of(day)):
            found.append(f"{day} {day:%a} " + " ".join(f"{close:<6}" for close in shown) + f" {reason_of(day)}")
    return found


def _closes(name):
    start, end = ns_from_text(str(FIRST)), ns_from_text(str(LAST)) + NS_PER_DAY
    schedule = session_schedule(BUILT_IN[InstrumentId(name)], start - 3 * NS_PER_DAY, end)
    rows = zip(schedule.open_ns.tolist(), schedule.close_ns.tolist(), schedule.day_ns.tolist(), strict=True)
    closes = {}
    for opens, close, day_ns in rows:
        assert _clock(opens) == "18:00"
        closes[dt.datetime.fromtimestamp(day_ns // 10**9, dt.UTC).date()] = _clock(close)
    return closes


def _clock(ns):
    return dt.datetime.fromtimestamp(ns // 10**9, NEW_YORK).strftime("%H:%M")


def reason_of(day):
    """The holiday that makes ``day`` irregular, worked out here without the calendar; empty where none does."""
    fixed = {
        "New Year": _observed(dt.date(day.year, 1, 1), moves_back=False),
        "Independence Day": _observed(dt.date(day.year, 7, 4)),
        "Christmas": _observed(dt.date(day.year, 12, 25)),
        "Martin Luther King Day": _nth(day.year, 1, 0, 3),
        "Presidents' Day": _nth(day.year, 2, 0, 3),
        "Memorial Day": _nth(day.year, 6, 0, 1) - dt.timedelta(days=7),
        "Labor Day": _nth(day.year, 9, 0, 1),
        "Thanksgiving": _nth(day.year, 11, 3, 4),
        "day after Thanksgiving": _nth(day.year, 11, 3, 4) + dt.timedelta(days=1),
        "Good Friday": _easter(day.year) - dt.timedelta(days=2),
    }
    if day.year >= 2022:
        fixed["Juneteenth"] = _observed(dt.date(day.year, 6, 19))
    named = next((name for name, date in fixed.items() if date == day), "")
    if named == "Good Friday" and day.day <= 7:
        return "Good Friday, jobs report"
    if named:
        return named
    if (day.month, day.day) == (12, 24):
        return "Christmas Eve"
    if (day.month, day.day) == (7, 3) and day.weekday() < 4:
        return "day before Independence Day"
    return {
        dt.date(2018, 12, 5): "day of mourning, President Bush",
        dt.date(2025, 1, 9): "day of mourning, President Carter",
    }.get(day, "")


def _observed(date, *, moves_back=True):
    """The weekday on which a holiday of that date is kept."""
    if date.weekday() == 5 and moves_back:
        return date - dt.timedelta(days=1)
    return date + dt.timedelta(days=1) if date.weekday() == 6 else date


def _nth(year, month, weekday, number):
    first = dt.date(year, month, 1)
    return first + dt.timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))


def _easter(year):
    """Easter Sunday of the Gregorian calendar (the anonymous algorithm)."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    k = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * k) // 451
    month, day = divmod(h + k - 7 * m + 114, 31)
    return dt.date(year, month, day + 1)


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(lines()) + "\n", encoding="utf-8")
