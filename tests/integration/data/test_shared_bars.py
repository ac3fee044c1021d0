"""The project's real bars: each file imports, with the counts of dirt that its data sheet lists."""

import datetime as dt
import functools
import gzip
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bar_files import CL, NQ
from grandmodel.data.errors import AmbiguousError
from grandmodel.data.historical.importing import import_file, read_file
from grandmodel.data.historical.profile import Conflicts, ImportProfile, Label
from grandmodel.data.historical.reports import SeriesReport
from grandmodel.data.historical.rolls import back_adjust, roll_rows
from grandmodel.data.historical.store import Store
from grandmodel.domain.blocks import UNKNOWN_VOLUME, Block, Flag, Schema, check_order
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from shared_data import shared
from tools.roll_oracle import verdicts

pytestmark = pytest.mark.shared

NQ_30M = "data/bars/futures_30m/NQ_30m_eth_20200629_20240628.csv.gz"
CL_30M = "data/bars/futures_30m/CL_30m_eth_20200629_20240628.csv.gz"


@functools.cache
def _read(relative: str, instrument: str, **settings: object) -> tuple[Block, SeriesReport]:
    profile = ImportProfile(**settings) if settings else None
    blocks, report = read_file(shared(relative), BUILT_IN[InstrumentId(instrument)], profile)
    ((_, block),) = blocks.items()
    check_order(block)
    return block, report.series[0]


def _marked(series: SeriesReport, mark: str) -> dict[str, int]:
    return {session.day: session.present for session in series.sessions if session.mark == mark}


def _lacking(series: SeriesReport) -> dict[str, int]:
    return {
        session.day: session.expected - session.present
        for session in series.sessions
        if not session.mark and session.present < session.expected
    }


def test_nasdaq_30_minutes() -> None:
    block, series = _read(NQ_30M, "NQ")
    assert (series.rows_read, series.rows_kept, len(block)) == (44_242, 44_242, 44_242)
    assert (series.time_zone, series.label, series.bar_width) == ("Asia/Jerusalem", "open", "30m")
    assert {finding.kind: finding.count for finding in series.findings} == {
        "ambiguous_dates": 17_423,
        "flat_bars": 639,
        "zero_volume_bars": 51,
        "bad_stretch": 2_944,
        "missing_sessions": 1,
        "truncated_sessions": 2,
        "roll_jumps": 13,
        "unproven_rolls": 3,
    }
    bad = np.flatnonzero(block["flags"] & int(Flag.BAD_STRETCH))
    assert (bad[0] + 2, bad[-1] + 2, len(bad)) == (40_802, 43_745, 2_944)  # line 1 is the heading
    assert block["open"][bad[0]] - block["close"][bad[0] - 1] == 2_931  # 732.75 points
    assert "732.75" in next(finding.text for finding in series.findings if finding.kind == "bad_stretch")
    assert (block["volume"][bad] == 0).sum() == 51
    assert (block["high"][bad] == block["low"][bad]).sum() == 639
    assert _marked(series, "truncated") == {"2020-07-10": 12, "2022-04-28": 12}
    assert _marked(series, "missing") == {"2022-04-29": 0}
    assert len(_marked(series, "bad_stretch")) == 130
    assert _lacking(series) == {}
    # The first bar: 29/06/2020 01:00 in Jerusalem is Sunday 18:00 in New York.
    assert np.datetime64(int(block["ts_open"][0]), "ns") == np.datetime64("2020-06-28T22:00")
    assert block[["open", "high", "low", "close", "volume"]][0].tolist() == (39_142, 39_320, 39_121, 39_290, 5_122)


def test_a_stated_clock_is_used_and_the_better_one_named() -> None:
    _, series = _read(NQ_30M, "NQ", time_zone="Europe/Athens", label=Label.OPEN)
    assert series.time_zone == "Europe/Athens"
    assert series.count("bars_outside_sessions") == 6
    (text,) = [finding.text for finding in series.findings if finding.kind == "another_clock_fits"]
    assert "proves Asia/Jerusalem" in text


def test_nasdaq_rolls_lie_at_the_opens_that_the_carry_shows() -> None:
    block, series = _read(NQ_30M, "NQ")
    steps = {roll.day: roll.step_ticks / 4 for roll in series.rolls}
    assert {day: steps[day] for day in ("2022-06-14", "2022-12-13", "2023-03-13", "2023-06-13", "2023-09-12")} == {
        "2022-06-14": 36.5,
        "2022-12-13": 119.0,
        "2023-03-13": 128.25,  # inside the session, at midnight in New York
        "2023-06-13": 180.5,
        "2023-09-12": 191.0,
    }
    adjusted = back_adjust(block, roll_rows(block))
    rows = roll_rows(block)
    assert (adjusted["open"][rows] == adjusted["close"][rows - 1]).all()
    assert (adjusted[rows[-1] :] == block[rows[-1] :]).all()


def test_crude_30_minutes() -> None:
    block, series = _read(CL_30M, "CL")
    assert len(block) == 47_331
    assert (series.time_zone, series.label) == ("Asia/Jerusalem", "open")
    assert {finding.kind: finding.count for finding in series.findings} == {
        "misspelt_column": 1,
        "ambiguous_dates": 18_544,
        "flat_bars": 7,
        "truncated_sessions": 1,
        "missing_bars": 7,
        "roll_jumps": 46,
        "unproven_rolls": 2,
        "extreme_jumps": 3,
    }
    assert (block["volume"] > 0).all()
    assert _marked(series, "truncated") == {"2022-10-07": 12}
    assert _lacking(series) == {"2023-06-19": 2, "2023-10-19": 1, "2024-02-19": 3, "2024-06-19": 1}
    steps = {roll.day: roll.step_ticks for roll in series.rolls}
    assert {day: steps[day] for day in ("2022-03-21", "2022-06-20", "2024-04-22")} == {
        "2022-03-21": -148,
        "2022-06-20": -173,
        "2024-04-22": -140,
    }


@pytest.mark.parametrize(
    ("file", "instrument", "marked", "listed"),
    [
        (NQ_30M, "NQ", 13, {"2023-12-15", "2024-03-15", "2024-06-21"}),  # these lie in the wrong contract or begin it
        (CL_30M, "CL", 46, {"2021-05-20", "2024-01-22"}),  # no step; changed two weeks early, where volume falls
        ("data/bars/futures_5m/GC_5m_20190101_20191031.csv.gz", "GC", 4, set()),
        ("data/bars/futures_5m/NQ_5m_20190101_20191031.csv.gz", "NQ", 0, {"2019-03-15", "2019-06-21", "2019-09-20"}),
    ],
)
def test_every_roll_lies_shortly_before_its_expiry_and_every_other_expiry_is_listed(
    file: str, instrument: str, marked: int, listed: set[str]
) -> None:
    block, series = _read(file, instrument)
    found = verdicts(series, instrument)
    with_roll = [verdict for verdict in found if verdict.roll_day is not None]
    assert all(verdict.last_day != dt.date.min for verdict in found), "a roll belongs to no expiry"
    assert len({verdict.last_day for verdict in with_roll}) == len(with_roll) == marked
    nearest, farthest = {"NQ": (3, 4), "CL": (0, 2), "GC": (2, 3)}[instrument]
    assert all(nearest <= verdict.business_days_before <= farthest for verdict in with_roll)
    without = {verdict.last_day.isoformat(): verdict.says for verdict in found if verdict.roll_day is None}
    assert set(without) == listed
    assert all(without.values()), "an expiry without a roll has no reason"
    rows = roll_rows(block)
    assert (block["open"][rows] - block["close"][rows - 1] != 0).all()


def test_the_calendar_spread_of_crude_oil_is_taken_out_where_it_stands_not_at_the_open_before() -> None:
    block, series = _read(CL_30M, "CL")
    steps = {roll.day: (str(np.datetime64(roll.ts_ns, "ns"))[11:16], roll.step_ticks) for roll in series.rolls}
    # Midnight in New York, six hours into the session; the open of that session steps by -9 ticks.
    assert steps["2022-07-19"] == ("04:00", -332)
    assert steps["2022-05-19"] == ("04:00", -244)
    # Days after a thin holiday are no rolls: the contract changed on the holiday itself, or not at all.
    assert {"2023-02-21", "2023-06-20", "2024-02-20", "2024-01-16"}.isdisjoint(steps)
    assert {"2023-02-20", "2023-06-19", "2024-02-19"} <= set(steps)
    # No step inside a session that is left is more than a few dozen ticks.
    inside = (block["ts_open"][1:] == block["ts_event"][:-1]) & ((block["flags"][1:] & int(Flag.ROLL)) == 0)
    assert np.abs((block["open"][1:] - block["close"][:-1])[inside]).max() == 34


def test_one_unknown_volume_changes_no_mark_of_the_nasdaq_file(tmp_path: Path) -> None:
    whole, _ = _read(NQ_30M, "NQ")
    lines = gzip.decompress(shared(NQ_30M).read_bytes()).decode().splitlines()
    lines[100] = lines[100].rsplit(",", 1)[0] + ","
    path = tmp_path / "NQ.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    blocks, report = read_file(path, BUILT_IN[InstrumentId("NQ")])
    (block,) = blocks.values()
    assert (block["flags"] == whole["flags"]).all()
    assert (report.count("bad_stretch"), report.count("missing_volumes")) == (2_944, 1)
    assert not any(finding.kind.startswith("unchecked_") for finding in report.series[0].findings)


def test_nasdaq_5_minutes_have_no_volume_a_daily_pause_and_one_outage() -> None:
    block, series = _read("data/bars/futures_5m/NQ_5m_20190101_20191031.csv.gz", "NQ")
    assert (len(block), series.time_zone, series.label) == (58_665, "America/Los_Angeles", "open")
    assert (block["volume"] == UNKNOWN_VOLUME).all()
    assert series.count("regular_pauses") == 3  # 16:15 to 16:30
    assert _lacking(series) == {"2019-02-27": 36}
    full = [session.present for session in series.sessions if session.expected == 273]
    assert full.count(273) == len(full) - 1
    assert series.count("flat_bars") == 0
    assert "unknown" in next(finding.text for finding in series.findings if finding.kind == "unchecked_stretches")


def test_gold_5_minutes() -> None:
    block, series = _read("data/bars/futures_5m/GC_5m_20190101_20191031.csv.gz", "GC")
    assert (len(block), series.time_zone, series.label) == (59_340, "America/Los_Angeles", "open")
    assert series.count("flat_bars") == 9
    assert _lacking(series) == {"2019-02-27": 36}


def test_chinese_index_futures_are_close_labelled_and_the_circuit_breaker_days_show() -> None:
    block, series = _read("data/bars/futures_5m/CFFEX_IF_5m_20140102_20181031.csv.gz", "IF")
    assert (len(block), series.time_zone, series.label) == (56_481, "Asia/Shanghai", "close")
    assert np.datetime64(int(block["ts_event"][0]), "ns") == np.datetime64("2014-01-02T01:35")
    assert series.count("bad_stretch") == 0  # volume fell a hundredfold in September 2015, and the market was whole
    short = {session.day for session in series.sessions if session.present < session.expected}
    assert short == {"2016-01-04", "2016-01-07"}
    assert sum(session.present for session in series.sessions if session.day == "2016-01-04") == 29
    assert sum(session.present for session in series.sessions if session.day == "2016-01-07") == 4


def test_euro_1_minute_names_utc_in_its_heading_and_the_sessions_prove_the_close() -> None:
    block, series = _read("data/bars/futures_1m/6EH4_1m_202401.csv.gz", "6E")
    assert (len(block), series.time_zone, series.label) == (29_996, "UTC", "close")


def _daily(**changes: object) -> Instrument:
    """An instrument that trades the sessions of the New York Stock Exchange."""
    return msgspec.structs.replace(CL, calendar="XNYS", session_open="", session_close="", time_zone="", **changes)


def test_vix_has_its_violations_and_its_flat_days() -> None:
    instrument = _daily(tick_size=Decimal("0.000001"), negative_prices=False)
    blocks, report = read_file(shared("data/daily/vix_daily_to_20240630.csv"), instrument)
    assert report.count("ohlc_violations") == 47
    assert report.count("flat_bars") == 506
    assert sum(map(len, blocks.values())) == 8_702 - 47


def test_crude_spot_keeps_its_negative_day() -> None:
    blocks, report = read_file(shared("data/daily/wti_spot_daily_to_20240630.csv"), _daily())
    ((_, block),) = blocks.items()
    assert report.count("non_positive_prices") == 1
    assert report.count("price_spikes") == 0  # 20 April 2020 was real
    assert block["close"].min() == -3_698


def test_pieces_that_overlap_are_joined_and_their_contradictions_wait_for_a_decision() -> None:
    instrument = _daily(tick_size=Decimal("0.0001"), negative_prices=False)
    path = shared("data/bars/etf_1m/QQQ_1m_2014_2015.zip")
    stated = ImportProfile(time_zone="America/Chicago", label=Label.OPEN)
    with pytest.raises(AmbiguousError, match="14 rows contradict another row of the same time, at 7 times"):
        read_file(path, instrument, stated)
    blocks, report = read_file(path, instrument, msgspec.structs.replace(stated, conflicts=Conflicts.LAST))
    ((_, block),) = blocks.items()
    assert (report.series[0].rows_read, len(block)) == (79_805, 56_802 - 7)
    assert report.count("conflicting_rows") == 14


def test_a_day_session_market_without_clear_evidence_is_refused_until_settled() -> None:
    with pytest.raises(AmbiguousError, match="--time-zone ZONE and --label"):
        _read("data/bars/crypto_30m/BTCUSD_30m_2017_2023.tsv.gz", "BTCUSD")
    block, series = _read(
        "data/bars/crypto_30m/BTCUSD_30m_2017_2023.tsv.gz", "BTCUSD", time_zone="UTC", label=Label.OPEN
    )
    assert len(block) == 78_408
    assert series.count("missing_sessions") > 300  # Saturdays


def test_both_futures_go_through_the_store_unchanged(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    whole = {}
    for relative, instrument in ((NQ_30M, NQ), (CL_30M, CL)):
        whole[instrument.id], _ = _read(relative, instrument.id)
        assert import_file(store, shared(relative), instrument).rows_added == len(whole[instrument.id])
    assert import_file(store, shared(NQ_30M), NQ).files_changed == 0
    merged = np.concatenate(list(store.blocks([NQ, CL], Schema.BARS, 0, 2**62)))
    check_order(merged)
    for place, instrument in enumerate((NQ, CL)):
        mine = merged[merged["instrument"] == place].copy()
        mine["instrument"] = 0
        assert (mine == whole[instrument.id]).all()
