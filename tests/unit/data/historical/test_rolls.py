"""Rolls and back-adjustment, on series made by hand."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from bar_files import CL, NQ
from grandmodel.data.historical.rolls import Adjustment, SessionBars, back_adjust, expiries, find_rolls, roll_rows
from grandmodel.domain.blocks import Flag, Schema, empty_block, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.domain.time import NS_PER_HOUR, ns_from_text

GC = BUILT_IN[InstrumentId("GC")]


def _block(closes: list[int], opens: list[int] | None = None) -> np.ndarray:
    block = empty_block(Schema.BARS, len(closes))
    block["close"] = closes
    block["open"] = closes if opens is None else opens
    block["high"] = np.maximum(block["open"], block["close"]) + 2
    block["low"] = np.minimum(block["open"], block["close"]) - 2
    return freeze(block)


def test_windows_end_on_the_third_friday_and_on_crude_oils_last_trading_day() -> None:
    assert expiries(NQ, dt.date(2023, 3, 1), dt.date(2023, 5, 30)) == [(dt.date(2023, 3, 6), dt.date(2023, 3, 17))]
    ((start, end),) = expiries(CL, dt.date(2024, 4, 1), dt.date(2024, 4, 30))
    assert start <= dt.date(2024, 4, 22) <= end  # the last trading day of May 2024 crude oil
    assert [end for _, end in expiries(GC, dt.date(2019, 1, 1), dt.date(2019, 10, 31))] == [
        dt.date(2019, 1, 31), dt.date(2019, 3, 29), dt.date(2019, 5, 31), dt.date(2019, 7, 31),
    ]  # fmt: skip


_BARS = 16
"""Bars of a whole session in the series below."""


def _series(
    volumes: dict[str, float],
    steps: dict[str, int],
    short: tuple[str, ...] = (),
    inside: dict[str, int] | None = None,
    first: str = "2023-05-01",
    last: str = "2023-06-30",
) -> SessionBars:
    """Weekday sessions of 100 lots a bar and steps of 1 tick at the open, but for the days named.

    ``steps`` are at the open of a day, ``inside`` at its eighth bar; from there on the day has usual volume, before it
    that of the day before.
    """
    days = [day.item() for day in np.arange(first, last, dtype="datetime64[D]") if day.item().weekday() < 5]
    parts: dict[str, list[float]] = {name: [] for name in ("volume", "slot", "opens_ns", "jump", "first", "length")}
    for day in days:
        name = day.isoformat()
        bars = 6 if name in short else _BARS
        parts["first"].append(len(parts["volume"]))
        parts["length"].append(bars)
        before = volumes.get((day - dt.timedelta(days=1)).isoformat(), 100.0)
        for slot in range(bars):
            early = inside is not None and name in inside and slot < 7
            parts["volume"].append(before if early else volumes.get(name, 100.0))
            parts["slot"].append(slot)
            parts["opens_ns"].append(ns_from_text(name) + slot * NS_PER_HOUR)
            at_seven = (inside or {}).get(name, 0) if slot == 7 else 0
            parts["jump"].append(steps.get(name, 1) if slot == 0 else at_seven)
    opens_ns = np.array(parts["opens_ns"], dtype=np.int64)
    ticks = 60_000 + np.cumsum(np.array(parts["jump"], dtype=np.int64))
    return SessionBars(
        day_ns=np.array([ns_from_text(day.isoformat()) for day in days]),
        first=np.array(parts["first"], dtype=np.int64),
        lengths=np.array(parts["length"], dtype=np.int64),
        is_whole=np.ones(len(days), dtype=np.bool_),
        rows=np.arange(len(ticks)),
        slot=np.array(parts["slot"], dtype=np.int64),
        volume=np.array(parts["volume"]),
        opens_ns=opens_ns,
        closes_ns=opens_ns + NS_PER_HOUR,
        open_ticks=ticks,
        close_ticks=ticks,
    )


def _rolls(bars: SessionBars, instrument: Instrument = NQ) -> list[tuple[str, int, int]]:
    """Day, place in the session and step of each roll found in the window of June 2023."""
    rolls, unproven = find_rolls(instrument, bars)
    assert len(rolls) + len(unproven) == 1
    return [(roll.day, int(bars.slot[roll.row]), roll.step_ticks) for roll in rolls]


def _reason(bars: SessionBars, instrument: Instrument = NQ) -> str:
    rolls, (expiry,) = find_rolls(instrument, bars)
    assert rolls == []
    assert expiry.window_end == dt.date(2023, 6, 16)
    return expiry.reason


def test_the_session_after_the_old_contract_ran_dry_is_the_roll() -> None:
    bars = _series({"2023-06-12": 40.0}, {"2023-06-13": 80})
    assert _rolls(bars) == [("2023-06-13", 0, 80)]
    assert "40%" in find_rolls(NQ, bars)[0][0].evidence


def test_a_shortened_session_is_not_dry_and_the_real_roll_before_it_is_found() -> None:
    # A holiday on Thursday the 15th trades a tenth; the contract ran dry on Monday and rolled on Tuesday.
    bars = _series({"2023-06-12": 40.0, "2023-06-15": 10.0}, {"2023-06-13": 80, "2023-06-16": 5}, short=("2023-06-15",))
    assert _rolls(bars) == [("2023-06-13", 0, 80)]


def test_a_shortened_session_alone_makes_no_roll() -> None:
    bars = _series({"2023-06-15": 10.0}, {"2023-06-16": 80}, short=("2023-06-15",))
    assert "no session's volume" in _reason(bars)


def test_a_roll_at_the_open_of_a_holiday_is_marked_there_and_not_on_the_day_after() -> None:
    # Thin on the holiday, yet four times the dry day before it: the next contract is already there.
    bars = _series({"2023-06-13": 10.0, "2023-06-14": 40.0}, {"2023-06-14": 60, "2023-06-15": 2}, short=("2023-06-14",))
    assert _rolls(bars) == [("2023-06-14", 0, 60)]


def test_a_roll_after_a_holiday_that_was_still_dry_is_marked_on_the_day_after() -> None:
    bars = _series({"2023-06-13": 30.0, "2023-06-14": 10.0}, {"2023-06-14": 4, "2023-06-15": 60}, short=("2023-06-14",))
    assert _rolls(bars) == [("2023-06-15", 0, 60)]


def test_a_change_of_contract_inside_a_session_is_marked_at_its_bar() -> None:
    bars = _series({"2023-06-12": 20.0}, {"2023-06-13": 3}, inside={"2023-06-13": -40})
    assert _rolls(bars) == [("2023-06-13", 7, -40)]


def test_a_roll_needs_its_step() -> None:
    bars = _series({"2023-06-12": 40.0}, {"2023-06-13": 0})
    assert _reason(bars) == "the volume comes back on 2023-06-13, but the price does not step there"


def test_two_days_that_compete_are_both_named_and_neither_is_marked() -> None:
    bars = _series({"2023-06-08": 40.0, "2023-06-13": 40.0}, {"2023-06-09": 80, "2023-06-14": -70})
    assert _reason(bars) == "2023-06-09 and 2023-06-14 compete"


def test_of_two_dry_days_the_one_with_the_step_is_the_roll() -> None:
    bars = _series({"2023-06-08": 40.0, "2023-06-13": 40.0}, {"2023-06-14": -70})
    assert _rolls(bars) == [("2023-06-14", 0, -70)]


def test_where_no_step_stands_out_the_volume_must_tell_clearly() -> None:
    assert _rolls(_series({"2023-06-12": 40.0}, {"2023-06-13": 2})) == [("2023-06-13", 0, 2)]
    assert "not clearly" in _reason(_series({"2023-06-12": 70.0}, {"2023-06-13": 2}))


def test_without_a_dry_session_nothing_is_marked_and_the_expiry_is_named() -> None:
    assert _reason(_series({}, {"2023-06-13": 80})) == "no session's volume shows it"


def test_a_busy_session_after_an_ordinary_one_is_no_roll() -> None:
    assert "no session's volume" in _reason(_series({"2023-06-12": 80.0, "2023-06-13": 140.0}, {"2023-06-13": 80}))


def test_unknown_volume_proves_no_roll_and_the_reason_says_so() -> None:
    bars = _series({"2023-06-12": 40.0}, {"2023-06-13": 80})
    unknown = replace(bars, volume=np.full(len(bars.volume), np.nan))
    assert "fewer than 8" in _reason(unknown) or "unknown" in _reason(unknown)


def test_a_third_of_the_volumes_unknown_changes_no_roll() -> None:
    bars = _series({"2023-06-12": 40.0}, {"2023-06-13": 80})
    volume = bars.volume.copy()
    volume[np.random.default_rng(3).random(len(volume)) < 1 / 3] = np.nan
    assert _rolls(replace(bars, volume=volume)) == [("2023-06-13", 0, 80)]


def test_a_step_beyond_anything_inside_a_session_proves_a_roll_without_volume() -> None:
    bars = _series({}, {}, inside={"2023-06-12": 500})
    assert _rolls(replace(bars, volume=np.full(len(bars.volume), np.nan))) == [("2023-06-12", 7, 500)]


def test_a_file_that_ends_inside_the_window_or_begins_just_before_it_is_named_so() -> None:
    assert (
        _reason(_series({"2023-06-12": 40.0}, {"2023-06-13": 80}, last="2023-06-15"))
        == "the file ends inside its window"
    )
    assert "fewer than 8 whole sessions" in _reason(
        _series({"2023-06-12": 40.0}, {"2023-06-13": 80}, first="2023-05-29")
    )


def test_difference_adjustment_takes_every_step_out_and_leaves_the_last_contract() -> None:
    block = _block([100, 110, 150, 160, 130, 140], [100, 100, 150, 150, 130, 130])
    adjusted = back_adjust(block, [2, 4])
    # Steps: 150 - 110 = 40 at row 2, 130 - 160 = -30 at row 4; earlier rows move by their sum.
    assert adjusted["close"].tolist() == [110, 120, 120, 130, 130, 140]
    assert (adjusted["open"][[2, 4]] == adjusted["close"][[1, 3]]).all()
    assert ((adjusted["high"] - adjusted["low"]) == (block["high"] - block["low"])).all()
    assert block["close"].tolist() == [100, 110, 150, 160, 130, 140]
    assert not adjusted.flags.writeable


def test_ratio_adjustment_keeps_returns_within_a_contract() -> None:
    block = _block([100_000, 110_000, 220_000, 231_000], [100_000, 100_000, 220_000, 220_000])
    adjusted = back_adjust(block, [2], Adjustment.RATIO)
    assert adjusted["close"].tolist() == [200_000, 220_000, 220_000, 231_000]


def test_no_roll_changes_nothing() -> None:
    block = _block([1, 2, 3])
    assert (back_adjust(block, []) == block).all()


def test_flags_say_where_the_rolls_are() -> None:
    block = _block([1, 2, 3]).copy()
    block["flags"][1] |= int(Flag.ROLL) | int(Flag.REPAIRED)
    block["flags"][2] |= int(Flag.BAD_STRETCH)
    assert roll_rows(block).tolist() == [1]


@pytest.mark.parametrize("row", [0, 3, -1])
def test_rows_that_can_be_no_roll_are_refused(row: int) -> None:
    with pytest.raises(UsageError, match="roll rows"):
        back_adjust(_block([1, 2, 3]), [row])


def test_ratios_of_negative_prices_are_refused() -> None:
    with pytest.raises(UsageError, match="use difference"):
        back_adjust(_block([5, -3, 4]), [1], Adjustment.RATIO)
