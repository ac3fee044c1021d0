"""`features show` and `features check` as data and as pages."""

import numpy as np
import polars as pl
import pytest

from grandmodel.features import FeatureError, strategic_rows, tactical_rows
from grandmodel.features.batch import Matrix
from grandmodel.features.inspect import check_features, check_page, matrix_at, matrix_page

from .indicator_cases import random_bars

MINUTE = 60 * 10**9


def frame(seed: int, size: int, minutes: int) -> pl.DataFrame:
    bars = random_bars(seed, size)
    stamps = 1_640_995_200 * 10**9 + np.arange(1, size + 1, dtype=np.int64) * minutes * MINUTE
    return pl.DataFrame(
        {"ts_event": stamps, **{name: bars[name] for name in ("open", "high", "low", "close", "volume")}}
    )


def test_the_matrix_at_a_moment_holds_what_had_closed_by_then() -> None:
    bars = frame(71, 700, 30)
    at = int(bars["ts_event"][640]) + 29 * MINUTE
    view = matrix_at(bars, "strategic", at)
    np.testing.assert_array_equal(view.values, strategic_rows(bars)[593:641])
    assert view.ts_event[-1] == bars["ts_event"][640]
    assert view.is_whole
    early = matrix_at(bars, "strategic", int(bars["ts_event"][9]))
    assert early.values.shape == (10, 13)
    assert not early.is_whole
    with pytest.raises(FeatureError, match="no bar that had closed"):
        matrix_at(bars, "strategic", int(bars["ts_event"][0]) - 1)


@pytest.mark.parametrize("size", [3, 300])
def test_the_page_of_a_matrix_explains_every_column(size: int) -> None:
    bars = frame(72, size, 5).with_columns(volume=pl.lit(None, dtype=pl.Float64))
    view = matrix_at(bars, "tactical", int(bars["ts_event"][-1]))
    assert view.schema.volume == "unknown"
    page = matrix_page(view, "NQ <test>")
    for column in view.schema.columns:
        assert column.name in page
        assert column.meaning in page
    assert "NQ &lt;test&gt;" in page
    assert ("No decision would be taken" in page) is (size == 3)


def test_the_check_counts_what_is_missing_and_lists_where() -> None:
    bars = frame(73, 900, 5)
    values = bars["volume"].to_list()
    values[400:404] = [None] * 4
    check = check_features(bars.with_columns(volume=pl.Series(values)), "tactical")
    ratio = check.columns[6]
    # Four unknown volumes, then the average warms up for 19 more.
    assert ratio.missing == 23
    assert ratio.first_known == 19
    assert check.gaps == (("volume_ratio", bars["ts_event"][400], bars["ts_event"][422], 23),)
    assert [column.missing for column in check.columns[:6]] == [0] * 6
    page = check_page(check, "NQ")
    assert "volume_ratio" in page
    assert page.count("<svg") == 8  # the correlations and seven histograms


def test_the_statistics_are_those_of_the_rows() -> None:
    bars = frame(74, 900, 5)
    check, rows = check_features(bars, "tactical"), tactical_rows(bars)
    momentum = check.columns[5]
    known = rows[5:, 5]
    assert momentum.mean == pytest.approx(known.mean())
    assert momentum.deviation == pytest.approx(known.std())
    assert momentum.quantiles[2] == pytest.approx(np.median(known))
    varied = [i for i in range(7) if rows[21:, i].std() > 0]
    np.testing.assert_allclose(check.correlation[np.ix_(varied, varied)], np.corrcoef(rows[21:, varied].T), atol=1e-12)


def test_drift_is_seen_where_there_is_some() -> None:
    bars = frame(75, 1200, 5)
    doubled = bars.with_columns(
        volume=pl.when(pl.int_range(pl.len()) % 2 * (pl.int_range(pl.len()) > 600) == 1)
        .then(0.0)
        .otherwise(pl.col("volume"))
    )
    split = int(bars["ts_event"][600])
    steady = check_features(bars, "tactical", split).columns[6].drift
    changed = check_features(doubled, "tactical", split).columns[6].drift
    assert steady < 0.15
    assert changed > 0.3


def test_too_short_a_history_or_a_split_outside_it_is_refused() -> None:
    with pytest.raises(FeatureError, match="found 20, expected at least 23"):
        check_features(frame(76, 20, 5), "tactical")
    with pytest.raises(FeatureError, match="split"):
        check_features(frame(76, 100, 5), "tactical", split_ns=1)


def test_a_moment_long_after_the_last_bar_is_refused() -> None:
    bars = frame(74, 100, 30)
    last = int(bars["ts_event"][-1])
    assert matrix_at(bars, "strategic", last + 90 * MINUTE).cautions == ()
    with pytest.raises(FeatureError, match=r"60 days after the last bar"):
        matrix_at(bars, "strategic", last + 60 * 24 * 60 * MINUTE)


def test_an_old_newest_bar_inside_the_history_is_said() -> None:
    bars = frame(75, 200, 30)
    holed = pl.concat([bars[:100], bars[150:]])
    (caution,) = matrix_at(holed, "strategic", int(bars["ts_event"][148])).cautions
    assert "24.5 hours before" in caution
    assert caution in matrix_page(matrix_at(holed, "strategic", int(bars["ts_event"][148])), "NQ")


@pytest.mark.parametrize(
    ("minutes", "matrix", "is_right"),
    [(30, "strategic", True), (5, "tactical", True), (30, "tactical", False), (5, "strategic", False), (1, "tactical", False)],
)  # fmt: skip
def test_bars_of_another_width_are_refused(minutes: int, matrix: Matrix, is_right: bool) -> None:
    bars = frame(76, 700, minutes)
    bars = bars.with_columns(ts_open=pl.col("ts_event") - minutes * MINUTE)
    at = int(bars["ts_event"][-1])
    if is_right:
        assert matrix_at(bars, matrix, at).values.shape[0] > 0
        check_features(bars, matrix)
        return
    for look in (lambda: matrix_at(bars, matrix, at), lambda: check_features(bars, matrix)):
        with pytest.raises(FeatureError, match=f"found bars of {minutes} minutes, expected"):
            look()


def test_bars_of_bad_stretches_are_counted_in_the_window_and_said_on_the_pages() -> None:
    size = 700
    bars = frame(77, size, 30)
    bad = np.zeros(size, dtype=bool)
    bad[[100, 640, 641]] = True
    bars = bars.with_columns(bad_stretch=pl.Series(bad))
    view = matrix_at(bars, "strategic", int(bars["ts_event"][-1]))
    early = matrix_at(bars, "strategic", int(bars["ts_event"][660]))
    assert (view.bad_bars, early.bad_bars) == (0, 2)
    assert "2 of these 48 bars lie in a marked bad stretch" in matrix_page(early, "NQ")
    assert "bad stretch" not in matrix_page(view, "NQ")
    check = check_features(bars, "strategic")
    assert check.bad_bars == 3
    assert "3 of these 700 bars lie in a marked bad stretch" in check_page(check, "NQ")
