"""Hold the rolls that an import marks against the exchange's own expiries.

``python tests/tools/roll_oracle.py FILE INSTRUMENT`` prints one line per expiry: its last trading day (or first notice day)
by the exchange's rule, the roll that was marked for it, how many business days before it lies, its step, and what is
listed instead where nothing is marked. Business days are those of the New York stock exchange. The rules are written here
a second time, from the contract specifications, and share nothing with ``rolls.py``.

NQ and kin: the third Friday of March, June, September and December (the day before where that is a holiday). CL: three
business days before the 25th of the month before delivery, or before the last business day ahead of it. GC: first notice
day, the last business day of the month before the delivery months February, April, June, August and December.
"""

from __future__ import annotations

import datetime as dt
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import exchange_calendars
import pandas as pd

from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.reports import SeriesReport
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN

MOST_BUSINESS_DAYS = {"NQ": 9, "ES": 9, "CL": 6, "GC": 5}
"""How long before its last trading day a continuous series leaves a contract: no vendor's rule is earlier."""


@dataclass(frozen=True)
class Verdict:
    """One expiry and what the import made of it."""

    last_day: dt.date
    roll_day: dt.date | None
    ts_ns: int
    step_ticks: int
    business_days_before: int
    """Negative where the roll lies after the last trading day."""
    says: str


@cache
def _business_days() -> list[dt.date]:
    with warnings.catch_warnings():
        # exchange_calendars uses what this pandas deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = exchange_calendars.get_calendar("XNYS", start="2012-01-03", end="2026-01-30")
    return [pd.Timestamp(day).date() for day in calendar.sessions]


def last_days(instrument: str, first: dt.date, last: dt.date) -> list[dt.date]:
    """The last trading day (GC: first notice day) of each contract between two dates."""
    days = _business_days()
    months = sorted({(day.year, day.month) for day in days})
    found = []
    for year, month in months:
        here = [day for day in days if (day.year, day.month) == (year, month)]
        if instrument in {"NQ", "ES"} and month % 3 == 0:
            third_friday = [
                dt.date(year, month, day) for day in range(15, 22) if dt.date(year, month, day).weekday() == 4
            ]
            found.append(max(day for day in here if day <= third_friday[0]))
        elif instrument == "CL":
            before = [day for day in days if day <= dt.date(year, month, 25)]
            found.append(before[-4])
        elif instrument == "GC" and month in {1, 3, 5, 7, 11}:
            found.append(here[-1])
    return [day for day in found if first <= day <= last]


def verdicts(series: SeriesReport, instrument: str) -> list[Verdict]:
    """One verdict per expiry inside the file's span; rolls that belong to no expiry come last, with day 0001-01-01."""
    days = _business_days()
    span = [dt.date.fromisoformat(series.sessions[end].day) for end in (0, -1)]
    listed = next((finding.text for finding in series.findings if finding.kind == "unproven_rolls"), "")
    left = {dt.date.fromisoformat(roll.day): roll for roll in series.rolls}
    found = []
    for last_day in last_days(instrument, *span):
        earliest = days[days.index(last_day) - MOST_BUSINESS_DAYS[instrument]]
        mine = [day for day in left if earliest <= day <= last_day]
        for day in mine:
            roll = left.pop(day)
            before = sum(day < other <= last_day for other in days)
            found.append(Verdict(last_day, day, roll.ts_ns, roll.step_ticks, before, roll.evidence))
        if not mine:
            reason = next((part for part in listed.split("; ") if _is_near(part, last_day)), "")
            found.append(Verdict(last_day, None, 0, 0, 0, reason))
    found += [
        Verdict(dt.date.min, day, roll.ts_ns, roll.step_ticks, 0, "belongs to no expiry") for day, roll in left.items()
    ]
    return found


def _is_near(part: str, last_day: dt.date) -> bool:
    """Whether one entry of the finding speaks of the window that ends within six days of ``last_day``."""
    for word in part.replace("(", " ").replace(":", " ").split():
        try:
            return abs((dt.date.fromisoformat(word) - last_day).days) <= 6
        except ValueError:
            continue
    return False


def main(path: str, instrument: str) -> None:
    """Print the table."""
    _, report = read_file(Path(path), BUILT_IN[InstrumentId(instrument)])
    print("| last day | roll | bar, UTC | business days before | step, ticks | |")
    print("|---|---|---|---|---|---|")
    for verdict in verdicts(report.series[0], instrument):
        bar = str(pd.Timestamp(verdict.ts_ns))[5:16] if verdict.ts_ns else ""
        print(
            f"| {verdict.last_day} | {verdict.roll_day or 'none'} | {bar} | {verdict.business_days_before} | {verdict.step_ticks} | {verdict.says} |"
        )


if __name__ == "__main__":
    main(*sys.argv[1:3])
