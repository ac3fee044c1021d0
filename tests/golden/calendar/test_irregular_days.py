"""The irregular days of CME, NYMEX and COMEX are those written down, and agree with the market data that knows them."""

import datetime as dt
import gzip
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.profile import ImportProfile, Label
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import NS_PER_DAY, NS_PER_MINUTE
from shared_data import shared

MADE = runpy.run_path(str(Path(__file__).with_name("make_irregular_days.py")))


def test_the_irregular_days_of_twelve_years_are_those_written_down():
    expected = MADE["GOLDEN"].read_text(encoding="utf-8").splitlines()
    assert len(expected) > 130
    assert MADE["lines"]() == expected


def test_every_irregular_day_has_a_reason_that_the_year_gives():
    for line in MADE["GOLDEN"].read_text(encoding="utf-8").splitlines():
        day, reason = dt.date.fromisoformat(line[:10]), line[43:].strip()
        assert reason
        assert reason == MADE["reason_of"](day)


LEFT_TO_THE_LIBRARY = {("6E", "2015-01-16"), ("6E", "2015-02-13"), ("6E", "2015-05-22")}
CHRISTMAS_AS_AN_EARLY_CLOSE = "2025-12-25"


@pytest.mark.parametrize(
    ("name", "key", "hours_behind"),
    [("NQ", "Future-cme-NQ", 0), ("CL", "Future-nymex-CL", 0), ("6E", "Future-cme-6E", 1)],
)
def test_the_early_closes_that_lean_knows_are_ours(name, key, hours_behind):
    path = shared("data/reference/market-hours-database.json.gz")
    known = json.loads(gzip.decompress(path.read_bytes()))["entries"][key]["earlyCloses"]
    closes = {line[:10]: line[15:42].split() for line in MADE["GOLDEN"].read_text(encoding="utf-8").splitlines()}
    place = ("NQ", "CL", "GC", "6E").index(name)
    compared = 0
    for date, clock in known.items():
        month, day, year = (int(part) for part in date.split("/"))
        text = f"{year:04}-{month:02}-{day:02}"
        if not 2015 <= year <= 2026 or text == CHRISTMAS_AS_AN_EARLY_CLOSE or (name, text) in LEFT_TO_THE_LIBRARY:
            continue
        close = f"{int(clock[:2]) + hours_behind:02}:{clock[3:5]}"
        ours = closes.get(text, ["17:00"] * 4)[place]
        assert ours == close, f"{text}: found {ours}, expected {close}"
        compared += 1
    assert compared > 80


@pytest.mark.parametrize(
    ("name", "file", "zone", "width"),
    [
        ("NQ", "futures_30m/NQ_30m_eth_20200629_20240628.csv.gz", "Asia/Jerusalem", 30),
        ("CL", "futures_30m/CL_30m_eth_20200629_20240628.csv.gz", "Asia/Jerusalem", 30),
        ("GC", "futures_5m/GC_5m_20190101_20191031.csv.gz", "America/Los_Angeles", 5),
        ("NQ", "futures_5m/NQ_5m_20190101_20191031.csv.gz", "America/Los_Angeles", 5),
    ],
)
def test_the_last_bar_of_each_short_day_reaches_the_close(name, file, zone, width):
    profile = ImportProfile(time_zone=zone, label=Label.OPEN, bar_width=f"{width}m")
    instrument = BUILT_IN[InstrumentId(name)]
    blocks, report = read_file(shared(f"data/bars/{file}"), instrument, profile)
    (block,) = blocks.values()
    assert report.count("bars_outside_sessions") == 0
    opens = block["ts_open"]
    schedule = session_schedule(instrument, int(opens[0]), int(opens[-1]) + 1)
    lengths = schedule.close_ns - schedule.open_ns
    thin = name == "NQ" and width == 30  # 2023-12-12 to 2024-06-13 is a contract that hardly trades.
    seen = 0
    for place in np.flatnonzero(lengths < np.median(lengths)):
        day = dt.datetime.fromtimestamp(int(schedule.day_ns[place]) // 10**9, dt.UTC).date()
        if thin and dt.date(2023, 12, 12) <= day <= dt.date(2024, 6, 13):
            continue
        last = opens[np.searchsorted(opens, schedule.close_ns[place]) - 1]
        assert 0 < int(schedule.close_ns[place] - last) <= width * NS_PER_MINUTE, day
        seen += 1
    assert seen >= (30 if width == 30 else 5)


def test_the_days_of_the_chinese_index_future_are_those_of_its_bars():
    instrument = BUILT_IN[InstrumentId("IF")]
    profile = ImportProfile(time_zone="Asia/Shanghai", label=Label.CLOSE, bar_width="5m")
    blocks, _ = read_file(shared("data/bars/futures_5m/CFFEX_IF_5m_20140102_20181031.csv.gz"), instrument, profile)
    (block,) = blocks.values()
    schedule = session_schedule(instrument, int(block["ts_open"][0]), int(block["ts_event"][-1]))
    days = np.unique((block["ts_open"] + 8 * 60 * NS_PER_MINUTE) // NS_PER_DAY * NS_PER_DAY)
    assert days.tolist() == np.unique(schedule.day_ns).tolist()
