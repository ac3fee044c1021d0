"""Checks of a series of bars: what is dropped, repaired, marked, noted and refused."""

from pathlib import Path

import numpy as np
import pytest

from bar_files import CL, NQ, random_bars, rows_text, session_opens, write_csv
from grandmodel.data.errors import AmbiguousError, ReadError
from grandmodel.data.historical.importing import read_file
from grandmodel.data.historical.profile import Conflicts, ImportProfile, Label, OffTick
from grandmodel.data.historical.reading import Treatment
from grandmodel.data.historical.reports import SeriesReport
from grandmodel.domain.blocks import UNKNOWN_VOLUME, Block, Flag, check_order
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.domain.time import THIRTY_MINUTES_NS, ns_from_text


def _check(path: Path, lines: list[str], instrument: Instrument = NQ, **settings: object) -> tuple[Block, SeriesReport]:
    profile = ImportProfile(**({"time_zone": "UTC", "label": Label.OPEN, "bar_width": "30m"} | settings))
    blocks, report = read_file(write_csv(path / "bars.csv", lines), instrument, profile)
    ((_, block),) = blocks.items()
    return block, report.series[0]


def _found(series: SeriesReport) -> dict[str, int]:
    return {f.kind: f.count for f in series.findings if not f.kind.startswith("unchecked_")}


def _unchecked(series: SeriesReport) -> dict[str, int]:
    return {f.kind: f.count for f in series.findings if f.kind.startswith("unchecked_")}


@pytest.fixture
def week() -> list[str]:
    """Five whole sessions of clean bars, 8 to 12 January 2024."""
    opens = session_opens("2024-01-08", "2024-01-12")
    return rows_text(opens, random_bars(len(opens)))


def test_clean_bars_come_through_exactly(tmp_path: Path, week: list[str]) -> None:
    block, series = _check(tmp_path, week)
    opens = session_opens("2024-01-08", "2024-01-12")
    bars = random_bars(len(opens))
    assert block["ts_open"].tolist() == opens
    assert (block["ts_event"] == block["ts_open"] + THIRTY_MINUTES_NS).all()
    assert (block["ts_init"] == block["ts_event"]).all()
    for column, name in enumerate(("open", "high", "low", "close")):
        assert (block[name] == bars[:, column] * 4).all()
    assert (block["volume"] == bars[:, 4]).all()
    assert not block["flags"].any()
    assert not block.flags.writeable
    assert _found(series) == {}
    assert _unchecked(series) == {"unchecked_stretches": 5}  # five sessions do not show what is usual
    assert [(session.day, session.expected, session.present) for session in series.sessions] == [
        (f"2024-01-{day:02d}", 46, 46) for day in range(8, 13)
    ]


def test_close_labelled_bars_are_moved_to_their_open(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-08")
    closes = [ns + THIRTY_MINUTES_NS for ns in opens]
    block, _ = _check(tmp_path, rows_text(closes, random_bars(len(opens))), label=Label.CLOSE)
    assert block["ts_open"].tolist() == opens


def test_shuffled_rows_are_put_in_order_and_counted(tmp_path: Path, week: list[str]) -> None:
    shuffled = [week[k] for k in np.random.default_rng(3).permutation(len(week))]
    block, series = _check(tmp_path, shuffled)
    assert (block == _check(tmp_path, week)[0]).all()
    assert _found(series)["unsorted_rows"] > 50
    check_order(block)


def test_equal_rows_are_kept_once(tmp_path: Path, week: list[str]) -> None:
    block, series = _check(tmp_path, [*week[:10], week[9], *week[10:], week[3]])
    assert len(block) == len(week)
    assert _found(series) == {"duplicate_rows": 2, "unsorted_rows": 1}


def test_contradicting_rows_are_refused_with_their_lines_and_the_flag(tmp_path: Path, week: list[str]) -> None:
    other = week[5].rsplit(",", 1)[0] + ",1"
    with pytest.raises(AmbiguousError, match=r"first: lines 7, 8\).*1 of them only the volume.*--conflicts"):
        _check(tmp_path, [*week[:6], other, *week[6:]])


@pytest.mark.parametrize(
    ("policy", "rows", "volume"), [(Conflicts.FIRST, 0, None), (Conflicts.LAST, 0, 1), (Conflicts.DROP, -1, None)]
)
def test_contradicting_rows_follow_the_policy(
    tmp_path: Path, week: list[str], policy: Conflicts, rows: int, volume: int | None
) -> None:
    other = week[5].rsplit(",", 1)[0] + ",1"
    # The first version comes twice around the other: the last row of that time is then the first version's own.
    lines = [*week[:6], week[5], other, *week[6:]]
    block, series = _check(tmp_path, lines, conflicts=policy)
    assert len(block) == len(week) + rows
    assert _found(series)["conflicting_rows"] == 2
    if policy is not Conflicts.DROP:
        kept = int(block["volume"][5])
        assert kept == (int(week[5].rsplit(",", 1)[1]) if volume is None else volume)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (1, "nan", "non_finite_prices"),
        (1, "inf", "non_finite_prices"),
        (2, "", "non_finite_prices"),
        (2, "1e300", "prices_out_of_bounds"),
        (3, "-5", "non_positive_prices"),
        (3, "0", "non_positive_prices"),
        (2, "100", "ohlc_violations"),
        (0, "2024-01-99 10:00:00", "unreadable_stamps"),
        (0, "1923-01-08 10:00:00", "unreadable_stamps"),
    ],
)
def test_rows_that_cannot_be_market_data_are_left_out_and_named(
    tmp_path: Path, week: list[str], old: int, new: str, kind: str
) -> None:
    cells = week[7].split(",")
    cells[old] = new
    block, series = _check(tmp_path, [*week[:7], ",".join(cells), *week[8:]])
    assert len(block) == len(week) - 1
    (finding,) = [finding for finding in series.findings if finding.treatment is Treatment.DROPPED]
    assert (finding.kind, finding.count, finding.lines) == (kind, 1, (9,))


def test_too_many_bad_rows_refuse_the_file(tmp_path: Path, week: list[str]) -> None:
    bad = [",".join([line.split(",")[0], "nan", *line.split(",")[2:]]) for line in week[:20]]
    with pytest.raises(ReadError, match=r"20 of 230 rows.*non_finite_prices \(first: line 2\).*--max-dropped"):
        _check(tmp_path, bad + week[20:])
    assert len(_check(tmp_path, bad + week[20:], max_dropped=0.1)[0]) == len(week) - 20


def test_negative_prices_are_legal_where_the_instrument_says_so(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-12", CL)
    bars = random_bars(len(opens), tick=0.01, start=-20.0)
    bars[:, :4] = np.round(bars[:, :4] - bars[:, :4].max() - 1, 2)
    block, series = _check(tmp_path, rows_text(opens, bars), CL)
    assert (block["close"] < 0).all()
    assert _found(series)["non_positive_prices"] == len(opens)


def test_float_noise_is_put_onto_the_tick(tmp_path: Path, week: list[str]) -> None:
    cells = week[7].split(",")
    cells[2] = cells[2] + "000000001" if "." in cells[2] else cells[2]
    block, series = _check(tmp_path, [*week[:7], ",".join(cells), *week[8:]])
    assert (block["high"] == _check(tmp_path, week)[0]["high"]).all()
    assert _found(series) == {"float_noise": 1}
    assert not block["flags"].any()


def test_a_few_prices_between_ticks_are_rounded_and_flagged(tmp_path: Path, week: list[str]) -> None:
    cells = week[7].split(",")
    cells[2] = str(float(cells[2]) + 0.1)
    lines = [*week[:7], ",".join(cells), *week[8:]]
    block, series = _check(tmp_path, lines)
    assert _found(series) == {"off_tick_prices": 1}
    assert np.flatnonzero(block["flags"] & int(Flag.REPAIRED)).tolist() == [7]
    with pytest.raises(ReadError, match=r"line 9.*tick size 0.25 of NQ \(1 rows"):
        _check(tmp_path, lines, off_tick=OffTick.REFUSE)


def test_a_file_of_another_instrument_is_refused_by_its_ticks(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-12")
    bars = random_bars(len(opens), tick=0.01, start=75.0)
    bars[:, :4] += 30
    with pytest.raises(ReadError, match="--price-multiplier"):
        _check(tmp_path, rows_text(opens, np.round(bars, 2)))


def test_volumes_that_are_no_volumes_are_unknown_not_zero(tmp_path: Path, week: list[str]) -> None:
    lines = [
        line.rsplit(",", 1)[0] + f",{volume}"
        for line, volume in zip(week, ["", "nan", "-3", "1e300", "2.4"], strict=False)
    ]
    block, series = _check(tmp_path, lines + week[5:])
    assert block["volume"][:5].tolist() == [UNKNOWN_VOLUME] * 4 + [2]
    assert _found(series) == {"missing_volumes": 2, "impossible_volumes": 2, "fractional_volumes": 1}


def test_volume_that_is_zero_on_every_row_is_unknown(tmp_path: Path, week: list[str]) -> None:
    block, series = _check(tmp_path, [line.rsplit(",", 1)[0] + ",0" for line in week])
    assert (block["volume"] == UNKNOWN_VOLUME).all()
    assert _found(series) == {"volume_always_zero": len(week)}


def test_bars_in_the_maintenance_hour_are_noted(tmp_path: Path, week: list[str]) -> None:
    stray = week[0].replace("2024-01-07 23:00:00", "2024-01-08 22:30:00")
    _, series = _check(tmp_path, [*week[:46], stray, *week[46:]])
    assert _found(series) == {"bars_outside_sessions": 1}


def test_a_missing_session_a_truncated_one_and_single_bars_are_told_apart(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-19")
    lines = rows_text(opens, random_bars(len(opens)))
    # Sessions of 46 bars: the 3rd stops after 12, the 5th is missing, two bars miss in the 7th (15 January is a holiday).
    kept = lines[:104] + lines[138:184] + lines[230:240] + lines[242:]
    block, series = _check(tmp_path, kept)
    assert _found(series) == {"truncated_sessions": 1, "missing_sessions": 1, "missing_bars": 2}
    assert {session.day: session.mark for session in series.sessions if session.mark} == {
        "2024-01-10": "truncated",
        "2024-01-12": "missing",
    }
    assert np.flatnonzero(block["flags"] & int(Flag.TRUNCATED)).tolist() == [103]
    assert "2024-01-15: 2" in next(finding.text for finding in series.findings if finding.kind == "missing_bars")


def test_a_pause_that_every_session_has_is_not_counted_as_missing(tmp_path: Path) -> None:
    opens = session_opens("2024-01-16", "2024-02-16")
    lines = [line for k, line in enumerate(rows_text(opens, random_bars(len(opens)))) if k % 46 != 44]
    _, series = _check(tmp_path, lines)
    assert _found(series)["regular_pauses"] == 1
    assert "missing_bars" not in _found(series)
    assert {session.expected for session in series.sessions if session.day != "2024-01-16"} >= {45}


def test_a_stretch_on_a_dead_contract_is_marked_from_its_first_to_its_last_bar(tmp_path: Path) -> None:
    opens = session_opens("2023-01-03", "2023-06-30")
    bars = random_bars(len(opens))
    lines = rows_text(opens, bars)
    start, end = (
        next(k for k, ns in enumerate(opens) if ns >= ns_from_text(day))
        for day in ("2023-04-03T22:00:00+00:00", "2023-05-01T22:00:00+00:00")
    )
    rng = np.random.default_rng(5)
    dead = [line.rsplit(",", 1)[0] + f",{rng.integers(0, 9)}" for line in lines[start:end]]
    thinned = [line for k, line in enumerate(dead) if k % 3]
    block, series = _check(tmp_path, lines[:start] + thinned + lines[end:])
    assert _found(series)["bad_stretch"] == len(thinned)
    marked = np.flatnonzero(block["flags"] & int(Flag.BAD_STRETCH))
    assert (marked[0], marked[-1], len(marked)) == (start, start + len(thinned) - 1, len(thinned))


def _with_a_dead_stretch() -> tuple[list[str], int, int]:
    """Half a year of bars of which some weeks of 2023 are on a contract that hardly trades; rows ``start`` to ``end``."""
    opens = session_opens("2023-01-03", "2023-06-30")
    lines = rows_text(opens, random_bars(len(opens)))
    start, end = (
        next(k for k, ns in enumerate(opens) if ns >= ns_from_text(day))
        for day in ("2023-04-03T22:00:00+00:00", "2023-05-01T22:00:00+00:00")
    )
    thinned = [line.rsplit(",", 1)[0] + f",{k % 9}" for k, line in enumerate(lines[start:end]) if k % 3]
    return lines[:start] + thinned + lines[end:], start, start + len(thinned)


def _blank_volume(lines: list[str], rows: range | list[int]) -> list[str]:
    blank = set(rows)
    return [line.rsplit(",", 1)[0] + "," if row in blank else line for row, line in enumerate(lines)]


@pytest.mark.parametrize("where", ["one", "inside", "many", "sessions_inside"])
def test_unknown_volumes_do_not_switch_the_stretch_check_off(tmp_path: Path, where: str) -> None:
    lines, start, end = _with_a_dead_stretch()
    rng = np.random.default_rng(7)
    rows = {
        "one": [10],
        "inside": [start + 40],
        "many": sorted(rng.choice(len(lines), len(lines) // 3, replace=False).tolist()),
        "sessions_inside": list(range(start + 100, start + 160)),
    }[where]
    block, series = _check(tmp_path, _blank_volume(lines, rows))
    marked = np.flatnonzero(block["flags"] & int(Flag.BAD_STRETCH))
    assert (marked[0], marked[-1], len(marked)) == (start, end - 1, end - start)
    assert ("unchecked_stretches" in _unchecked(series)) == (where == "sessions_inside")


def test_sessions_of_unknown_volume_are_named_as_not_looked_at(tmp_path: Path) -> None:
    lines, start, end = _with_a_dead_stretch()
    block, series = _check(tmp_path, _blank_volume(lines, range(start, end)))
    assert not (block["flags"] & int(Flag.BAD_STRETCH)).any()
    assert _unchecked(series)["unchecked_stretches"] >= 18
    assert "2023-04-04" in next(f.text for f in series.findings if f.kind == "unchecked_stretches")


def test_a_file_without_volume_says_which_checks_did_not_run(tmp_path: Path) -> None:
    lines, _, _ = _with_a_dead_stretch()
    _, series = _check(tmp_path, _blank_volume(lines, range(len(lines))))
    texts = {finding.kind: finding.text for finding in series.findings}
    assert "the volume is unknown" in texts["unchecked_stretches"]
    assert "its volume is unknown" in texts["unproven_rolls"]


def test_a_price_at_zero_hides_no_jump_elsewhere(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-26", CL)
    bars = random_bars(len(opens), tick=0.01, start=7_000.0)
    bars[500:, :4] *= 1.3
    bars[:, :4] = np.rint(bars[:, :4] * 100) / 100
    bars[100, :4] = 0.0
    _, series = _check(tmp_path, rows_text(opens, bars), CL)
    assert _found(series)["extreme_jumps"] == 1
    assert _unchecked(series)["unchecked_jumps"] == 2  # the step to the price at zero and the one from it


def test_prices_that_never_move_show_no_jumps_and_the_report_says_so(tmp_path: Path, week: list[str]) -> None:
    flat = [line.split(",")[0] + ",100,100,100,100,5" for line in week]
    _, series = _check(tmp_path, flat)
    assert _unchecked(series)["unchecked_jumps"] == len(week)


def test_a_file_outside_every_session_says_what_was_not_looked_for(tmp_path: Path) -> None:
    lines = [f"2024-01-06 {hour:02d}:{minute}:00,100,101,99,100,5" for hour in range(10) for minute in ("00", "30")]
    _, series = _check(tmp_path, lines, force_clock=True)
    assert _unchecked(series)["unchecked_sessions"] == len(lines)


def test_a_future_without_a_rule_of_expiry_says_that_its_rolls_were_not_looked_for(tmp_path: Path) -> None:
    euro = BUILT_IN[InstrumentId("6E")]
    opens = session_opens("2024-01-08", "2024-01-09", euro)
    lines = [f"{text.split(',')[0]},1.1,1.1,1.1,1.1,5" for text in rows_text(opens, random_bars(len(opens)))]
    assert _unchecked(_check(tmp_path, lines, euro)[1])["unchecked_rolls"] == 1


def test_gaps_at_the_edges_of_the_file_are_named_as_not_looked_for(tmp_path: Path, week: list[str]) -> None:
    _, series = _check(tmp_path, week[3:-7])
    assert "missing_bars" not in _found(series)
    assert _unchecked(series)["unchecked_edges"] == 2
    assert "2024-01-08: 3, 2024-01-12: 7" in next(f.text for f in series.findings if f.kind == "unchecked_edges")


def test_regular_pauses_are_seen_in_bars_of_ten_seconds(tmp_path: Path) -> None:
    width_ns = 10_000_000_000
    opens = [ns for ns in session_opens("2024-01-16", "2024-02-14", NQ, width_ns) if ns // width_ns % 97 == 0]
    lines = rows_text(opens, random_bars(len(opens)))
    _, series = _check(tmp_path, lines, bar_width="10s")
    assert _found(series)["regular_pauses"] > 0


def test_low_volume_in_whole_sessions_is_a_quiet_market_not_a_dead_contract(tmp_path: Path) -> None:
    opens = session_opens("2023-01-03", "2023-06-30")
    lines = rows_text(opens, random_bars(len(opens)))
    quiet = [line.rsplit(",", 1)[0] + ",20" for line in lines[3000:3500]]
    block, series = _check(tmp_path, lines[:3000] + quiet + lines[3500:])
    assert "bad_stretch" not in _found(series)
    assert not (block["flags"] & int(Flag.BAD_STRETCH)).any()


def test_a_split_and_a_wild_jump_are_noted_and_nothing_is_changed(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-26")
    bars = random_bars(len(opens))
    bars[300:, :4] /= 4
    bars[:, :4] = np.rint(bars[:, :4] * 4) / 4
    bars[500:, :4] = np.rint(bars[500:, :4] * 1.3 * 4) / 4
    block, series = _check(tmp_path, rows_text(opens, bars))
    assert {kind: count for kind, count in _found(series).items() if "jump" in kind} == {
        "split_like_jumps": 1,
        "extreme_jumps": 1,
    }
    assert (block["close"] == bars[:, 3] * 4).all()


def test_a_width_that_the_stamps_do_not_prove_must_be_said(tmp_path: Path) -> None:
    stamps = [f"2024-01-08 {hour:02d}:{minute:02d}:00" for hour, minute in ((1, 0), (1, 7), (2, 0), (5, 30), (5, 31))]
    lines = [f"{stamp},100,101,99,100,5" for stamp in stamps]
    with pytest.raises(AmbiguousError, match="--bar-width"):
        _check(tmp_path, lines, bar_width="")
    assert len(_check(tmp_path, lines)[0]) == 5


def test_zone_and_label_that_nothing_proves_must_be_said(tmp_path: Path, week: list[str]) -> None:
    with pytest.raises(AmbiguousError, match="--time-zone ZONE and --label open or --label close"):
        _check(tmp_path, week, time_zone="", label=None)
    with pytest.raises(AmbiguousError, match="say --label open or --label close"):
        _check(tmp_path, week, label=None)


def test_times_that_the_clock_skips_are_left_out(tmp_path: Path) -> None:
    lines = [f"2024-03-10 {hour:02d}:{minute}:00,100,101,99,100,5" for hour in range(24) for minute in ("00", "30")]
    _, series = _check(tmp_path, lines, time_zone="America/New_York", force_clock=True)
    assert _found(series)["impossible_local_times"] == 2


def test_a_stated_clock_that_the_sessions_speak_against_is_refused_and_the_one_that_fits_is_named(
    tmp_path: Path,
) -> None:
    opens = session_opens("2022-01-03", "2022-03-30")
    lines = rows_text(opens, random_bars(len(opens)), "America/Los_Angeles")
    with pytest.raises(ReadError, match=r"bars.csv: found a clock .*UTC, label open: \d+ bars outside") as refused:
        _check(tmp_path, lines)
    assert "proves America/Los_Angeles" in str(refused.value)
    assert "label open: 0 bars outside" in str(refused.value)
    assert "--force-clock" in str(refused.value)
    _, forced = _check(tmp_path, lines, force_clock=True)
    found = _found(forced)
    assert found["forced_clock"] == found["another_clock_fits"] > 0.002 * len(lines)
    assert forced.time_zone == "UTC"
    _, fits = _check(tmp_path, lines, time_zone="America/Los_Angeles", force_clock=True)
    assert not {"forced_clock", "another_clock_fits"} & _found(fits).keys()  # nothing had to be forced


def test_where_no_clock_fits_better_more_is_borne(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-12")
    stray = [
        int(opens[45]) + THIRTY_MINUTES_NS,
        int(opens[91]) + THIRTY_MINUTES_NS,
        int(opens[137]) + THIRTY_MINUTES_NS,
    ]
    # In the maintenance hour of three days.
    lines = rows_text(sorted([*opens, *stray]), random_bars(len(opens) + 3))
    _, series = _check(tmp_path, lines)
    assert _found(series)["bars_outside_sessions"] == 3  # 1.3 %
    saturday = [ns_from_text("2024-01-13T10:00:00+00:00") + k * THIRTY_MINUTES_NS for k in range(10)]
    lines = rows_text(sorted([*opens, *stray, *saturday]), random_bars(len(opens) + 13))
    with pytest.raises(ReadError, match=r"no clock fits.*Expected at most 2\.0%"):
        _check(tmp_path, lines)


def test_a_wrong_label_side_is_refused_and_named(tmp_path: Path) -> None:
    opens = session_opens("2022-01-03", "2022-03-30")
    with pytest.raises(ReadError, match=r"proves UTC.*, label open: 0 bars outside"):
        _check(tmp_path, rows_text(opens, random_bars(len(opens))), label=Label.CLOSE)


def test_one_session_read_by_a_clock_of_another_market_is_refused_with_the_clocks_that_fit(tmp_path: Path) -> None:
    opens = session_opens("2024-01-08", "2024-01-09")
    lines = rows_text(opens, random_bars(len(opens)), "Asia/Tokyo")
    with pytest.raises(ReadError, match=r"of the clocks tried these fit: .*label open: 0 bars outside"):
        _check(tmp_path, lines, time_zone="America/New_York")


def test_a_zone_without_a_label_names_the_clock_that_fits(tmp_path: Path) -> None:
    opens = session_opens("2022-01-03", "2022-03-30")
    lines = rows_text(opens, random_bars(len(opens)), "America/Los_Angeles")
    with pytest.raises(AmbiguousError, match="without what is stated it proves America/Los_Angeles"):
        _check(tmp_path, lines, label=None)


def test_rows_of_the_future_and_rows_that_stand_alone_are_left_out_by_line(tmp_path: Path, week: list[str]) -> None:
    now = ns_from_text("2024-06-01")
    path = write_csv(tmp_path / "bars.csv", [*week, week[-1].replace("2024-01-12", "2024-06-03")])
    profile = ImportProfile(time_zone="UTC", label=Label.OPEN, bar_width="30m")
    _, report = read_file(path, NQ, profile, now_ns=now)
    (finding,) = (found for found in report.series[0].findings if not found.kind.startswith("unchecked_"))
    assert (finding.kind, finding.lines) == ("stamps_in_the_future", (232,))
    assert "2024-06-01T00:00" in finding.text
    for year in ("2099", "1999"):
        block, series = _check(tmp_path, [week[-1].replace("2024-01-12", f"{year}-01-12"), *week])
        (finding,) = (found for found in series.findings if not found.kind.startswith("unchecked_"))
        assert (finding.kind, finding.treatment, finding.lines) == ("isolated_stamps", Treatment.DROPPED, (2,))
        assert len(block) == 230


def test_a_file_of_the_future_alone_is_refused(tmp_path: Path, week: list[str]) -> None:
    path = write_csv(tmp_path / "bars.csv", week)
    profile = ImportProfile(time_zone="UTC", label=Label.OPEN, bar_width="30m")
    with pytest.raises(ReadError, match="only rows stamped in the future"):
        read_file(path, NQ, profile, now_ns=ns_from_text("2023-01-01"))


def test_two_stretches_years_apart_are_both_kept(tmp_path: Path, week: list[str]) -> None:
    earlier = [line.replace("2024-01-", "2018-01-") for line in week[:40]]
    block, series = _check(tmp_path, [*earlier, *week], force_clock=True)
    assert "isolated_stamps" not in _found(series)
    assert len(block) == 270


def test_stamps_with_and_without_their_distance_from_utc_do_not_mix(tmp_path: Path, week: list[str]) -> None:
    with pytest.raises(ReadError, match="split the file"):
        _check(tmp_path, [week[0].replace(",", "Z,", 1), *week[1:]])


def test_daily_bars_span_the_session_of_their_date(tmp_path: Path) -> None:
    lines = [f"2024-01-{day:02d},100,101,99,100,5" for day in range(8, 13)]
    block, series = _check(tmp_path, lines, time_zone="", label=None, bar_width="")
    opens = session_opens("2024-01-08", "2024-01-12")
    assert block["ts_open"][0] == opens[0]
    assert block["ts_event"][-1] == opens[-1] + THIRTY_MINUTES_NS
    assert series.bar_width == "1d"
    assert _found(series) == {}
    assert _unchecked(series) == {"unchecked_stretches": 1, "unchecked_jumps": 5}  # the prices never move
