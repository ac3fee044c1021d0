"""Rolls and back-adjustment, on series made by hand."""

import datetime as dt

import numpy as np
import pytest

from bar_files import CL, NQ
from grandmodel.data.historical.rolls import Adjustment, back_adjust, expiries, find_rolls, roll_rows
from grandmodel.domain.blocks import Flag, Schema, empty_block, freeze
from grandmodel.domain.errors import UsageError
from grandmodel.domain.time import ns_from_text


def _block(closes: list[int], opens: list[int] | None = None) -> np.ndarray:
    block = empty_block(Schema.BARS, len(closes))
    block["close"] = closes
    block["open"] = closes if opens is None else opens
    block["high"] = np.maximum(block["open"], block["close"]) + 2
    block["low"] = np.minimum(block["open"], block["close"]) - 2
    return freeze(block)


def test_windows_end_on_the_third_friday_and_on_crude_oils_last_trading_day() -> None:
    assert expiries(NQ, dt.date(2023, 3, 1), dt.date(2023, 6, 30)) == [
        (dt.date(2023, 3, 13), dt.date(2023, 3, 17)),
        (dt.date(2023, 6, 12), dt.date(2023, 6, 16)),
    ]
    ((start, end),) = expiries(CL, dt.date(2024, 4, 1), dt.date(2024, 4, 30))
    assert start <= dt.date(2024, 4, 22) <= end  # the last trading day of May 2024 crude oil


def _sessions(volumes: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    days = [dt.date(2023, 5, 15) + dt.timedelta(days=k) for k in range(40)]
    days = [day for day in days if day.weekday() < 5]
    ns = np.array([ns_from_text(day.isoformat()) for day in days])
    return ns, np.array([volumes.get(day.isoformat(), 500.0) for day in days])


def test_the_session_after_the_old_contract_ran_dry_is_the_roll() -> None:
    day_ns, volume = _sessions({"2023-06-12": 200.0})
    rows = np.arange(len(day_ns))
    ticks = np.full(len(day_ns), 100)
    ticks[day_ns >= ns_from_text("2023-06-13")] = 180
    rolls, unproven = find_rolls(NQ, day_ns, volume, rows, day_ns, ticks, ticks)
    assert [(roll.day, roll.step_ticks) for roll in rolls] == [("2023-06-13", 80)]
    assert unproven == []
    assert "40%" in rolls[0].evidence


def test_without_a_dry_session_nothing_is_marked_and_the_expiry_is_named() -> None:
    day_ns, volume = _sessions({})
    rows = np.arange(len(day_ns))
    rolls, unproven = find_rolls(NQ, day_ns, volume, rows, day_ns, rows, rows)
    assert rolls == []
    assert unproven == [dt.date(2023, 6, 16)]


def test_a_busy_session_after_an_ordinary_one_is_no_roll() -> None:
    day_ns, volume = _sessions({"2023-06-12": 400.0, "2023-06-13": 700.0})
    rows = np.arange(len(day_ns))
    assert find_rolls(NQ, day_ns, volume, rows, day_ns, rows, rows)[0] == []


def test_unknown_volume_proves_no_roll() -> None:
    day_ns, volume = _sessions({"2023-06-12": 200.0})
    rows = np.arange(len(day_ns))
    assert find_rolls(NQ, day_ns, np.full(len(volume), np.nan), rows, day_ns, rows, rows)[0] == []


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
