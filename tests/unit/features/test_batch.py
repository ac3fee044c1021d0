"""Many instruments, many years: the same rows as one pass, a cache that follows the content, progress for each year."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grandmodel.features import FeatureError, strategic_rows, tactical_rows
from grandmodel.features.batch import RowsJob, RowsProgress, compute_rows

from .indicator_cases import random_bars


def history(seed: int, size: int = 400, hours: int = 60) -> pl.DataFrame:
    """A few years of sparse bars."""
    bars = random_bars(seed, size)
    begin = int(datetime(2020, 3, 1, tzinfo=UTC).timestamp()) * 10**9
    stamps = begin + np.arange(size, dtype=np.int64) * hours * 3600 * 10**9
    return pl.DataFrame(
        {"ts_event": stamps, **{name: bars[name] for name in ("open", "high", "low", "close", "volume")}}
    )


def test_years_end_to_end_are_the_rows_of_one_pass(tmp_path: Path) -> None:
    bars = history(61)
    jobs = [RowsJob("NQ", "strategic", bars), RowsJob("NQ", "tactical", bars), RowsJob("CL", "strategic", history(62))]
    for cache in (None, tmp_path, tmp_path):
        nq, nq_fast, cl = compute_rows(jobs, cache)
        np.testing.assert_array_equal(nq.rows, strategic_rows(bars))
        np.testing.assert_array_equal(nq_fast.rows, tactical_rows(bars))
        np.testing.assert_array_equal(cl.rows, strategic_rows(history(62)))
        assert nq.years == (2020, 2021, 2022)
        np.testing.assert_array_equal(nq.ts_event, bars["ts_event"].to_numpy())
    assert nq.cached_years == nq.years


def test_new_bars_cost_one_year_and_a_changed_bar_all_from_its_year_on(tmp_path: Path) -> None:
    bars = history(63)
    compute_rows([RowsJob("NQ", "strategic", bars[:390])], tmp_path)
    (longer,) = compute_rows([RowsJob("NQ", "strategic", bars)], tmp_path)
    assert longer.cached_years == (2020, 2021)
    np.testing.assert_array_equal(longer.rows, strategic_rows(bars))
    changed = bars.with_columns(
        close=pl.when(pl.int_range(pl.len()) == 200).then(pl.col("low")).otherwise(pl.col("close"))
    )
    (other,) = compute_rows([RowsJob("NQ", "strategic", changed)], tmp_path)
    assert other.cached_years == (2020,)
    np.testing.assert_array_equal(other.rows, strategic_rows(changed))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing", None])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    job = RowsJob("NQ", "tactical", history(64))
    compute_rows([job], tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    (result,) = compute_rows([job], tmp_path)
    assert result.cached_years == ()
    np.testing.assert_array_equal(result.rows, tactical_rows(job.bars))
    (again,) = compute_rows([job], tmp_path)
    assert again.cached_years == again.years
    assert not list(tmp_path.glob("*.part.npz"))


def test_progress_is_told_once_per_year_and_counts_up(tmp_path: Path) -> None:
    told: list[RowsProgress] = []
    jobs = [RowsJob(name, "tactical", history(seed)) for name, seed in (("NQ", 65), ("CL", 66))]
    compute_rows(jobs, tmp_path, told.append, workers=2)
    assert [progress.done for progress in told] == list(range(1, 7))
    assert {(p.instrument, p.year) for p in told} == {
        (name, year) for name in ("NQ", "CL") for year in (2020, 2021, 2022)
    }
    assert all(p.total == 6 and not p.was_cached for p in told)


def test_a_history_without_volume_says_so_in_its_schema() -> None:
    bars = history(67).with_columns(volume=pl.lit(None, dtype=pl.Float64))
    (result,) = compute_rows([RowsJob("NQ", "tactical", bars)])
    assert result.schema.volume == "unknown"


def test_no_bars_and_no_jobs_give_nothing() -> None:
    assert compute_rows([]) == []
    (result,) = compute_rows([RowsJob("NQ", "strategic", history(68)[:0])])
    assert result.rows.shape == (0, 13)


def test_no_workers_are_refused() -> None:
    with pytest.raises(FeatureError, match="workers"):
        compute_rows([RowsJob("NQ", "tactical", history(69))], workers=0)
