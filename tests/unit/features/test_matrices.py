"""The strategic and the tactical matrix: fixed columns, batch and streaming, save and restore, sessions, refusals."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

import feature_references
from grandmodel.features import (
    AGENT_COLUMNS,
    STRATEGIC_SCHEMA,
    TACTICAL_SCHEMA,
    TIME_COLUMNS,
    FeatureError,
    SchemaMismatch,
    StrategicState,
    TacticalState,
    TradingDays,
    cme_globex_sessions,
    exchange_sessions,
    mlmi,
    newest_known,
    rolling_windows,
    strategic_rows,
    tactical_rows,
    volume,
)
from grandmodel.features.bars import bar_arrays
from grandmodel.features.sessions import day_position
from grandmodel.features.windows import RollingWindow

from .indicator_cases import random_bars

HALF_HOUR = 30 * 60 * 10**9
NEW_YORK = ZoneInfo("America/New_York")


def frame(seed: int, size: int, minutes: int = 30) -> pl.DataFrame:
    bars = random_bars(seed, size)
    begin = int(datetime(2022, 1, 3, 12, tzinfo=NEW_YORK).timestamp()) * 10**9
    stamps = begin + np.arange(size, dtype=np.int64) * minutes * 60 * 10**9
    return pl.DataFrame(
        {"ts_event": stamps, **{name: bars[name] for name in ("open", "high", "low", "close", "volume")}}
    )


def stream(state: StrategicState | TacticalState, bars: pl.DataFrame) -> np.ndarray:
    volumes = bars["volume"].cast(pl.Float64).fill_null(float("nan"))
    rows = [
        state.update(o, h, low, c, v, ts).copy()
        for ts, o, h, low, c, v in zip(
            *(bars[n] for n in ("ts_event", "open", "high", "low", "close")), volumes, strict=True
        )
    ]
    return np.array(rows)


def test_the_columns_stand_in_their_fixed_order() -> None:
    assert STRATEGIC_SCHEMA.names == (
        "mlmi_value", "mlmi_signal", "nwrqk_value", "nwrqk_slope", "lvn_distance", "lvn_strength", "time_of_day",
        "day_of_week", "mmd_score", "momentum_20", "momentum_50", "volatility_30", "volume_profile_skew",
    )  # fmt: skip
    assert TACTICAL_SCHEMA.names == (
        "fvg_bullish_active", "fvg_bearish_active", "fvg_nearest_level", "fvg_age", "fvg_mitigation_signal",
        "price_momentum_5", "volume_ratio",
    )  # fmt: skip
    assert (STRATEGIC_SCHEMA.rows, TACTICAL_SCHEMA.rows) == (48, 60)
    seen = sorted(place for columns in AGENT_COLUMNS.values() for place in columns)
    assert sorted([*seen, *TIME_COLUMNS]) == list(range(13))


def test_each_strategic_column_is_its_definition() -> None:
    bars = frame(31, 700)
    o, h, low, c, v = (bars[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    reach = feature_references.atr_reference(h, low, c, 14)
    regression = feature_references.nwrqk_reference(c)
    profile = feature_references.volume_profile_reference(h, low, c, v)
    distance = np.where(np.isnan(profile[:, 0]) & (profile[:, 1] == 0), 0.0, (c - profile[:, 0]) / reach)
    expected = np.column_stack(
        [
            feature_references.mlmi_reference(o, h, low, c),
            (c - regression) / reach,
            np.diff(regression, prepend=np.nan) / reach,
            distance,
            profile[:, 1],
            feature_references.day_positions_reference(cme_globex_sessions(), bars["ts_event"].to_numpy()),
            feature_references.mmd_reference(feature_references.log_returns_reference(c)),
            feature_references.momentum_reference(c, 20),
            feature_references.momentum_reference(c, 50),
            feature_references.relative_volatility_reference(c),
            profile[:, 2],
        ]
    )
    np.testing.assert_allclose(strategic_rows(bars), expected, rtol=1e-9, atol=1e-9)


def test_each_tactical_column_is_its_definition() -> None:
    bars = frame(32, 900, minutes=5)
    o, h, low, c, v = (bars[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    gaps = feature_references.fair_value_gaps_reference(o, h, low, c)
    alive = gaps[:, 0] + gaps[:, 1] != 0
    expected = np.column_stack(
        [
            gaps[:, :2],
            np.where(alive, (c - gaps[:, 2]) / feature_references.atr_reference(h, low, c, 14), 0.0),
            np.where(alive, gaps[:, 3] / 50, 0.0),
            gaps[:, 4],
            np.tanh((c / np.concatenate([np.full(5, np.nan), c[:-5]]) - 1) * 100 / 5),
            np.tanh(np.log(v / feature_references.ema_reference(v, 20))),
        ]
    )
    np.testing.assert_allclose(tactical_rows(bars), expected, rtol=1e-9, atol=1e-12)
    assert volume.volume_ratio([1.0], 20).shape == (1,)


@pytest.mark.parametrize("matrix", ["strategic", "tactical"])
def test_streaming_equals_batch_and_the_window_is_the_newest_rows(matrix: str) -> None:
    bars = frame(33, 640)
    state, rows = (
        (StrategicState(), strategic_rows(bars)) if matrix == "strategic" else (TacticalState(), tactical_rows(bars))
    )
    np.testing.assert_array_equal(stream(state, bars), rows)
    np.testing.assert_array_equal(state.window, rows[-state.schema.rows :])
    assert state.window.flags.writeable is False


@pytest.mark.parametrize("kind", [StrategicState, TacticalState])
@pytest.mark.parametrize("cut_at", [0, 7, 590])
def test_a_restored_state_goes_on_exactly(kind: type, cut_at: int) -> None:
    bars = frame(34, 640)
    whole = kind()
    stream(whole, bars[:cut_at])
    restored = kind()
    stream(restored, bars[:3])  # whatever it held before is gone
    restored.restore(whole.save())
    assert restored.save() == whole.save()
    np.testing.assert_array_equal(restored.window, whole.window)
    np.testing.assert_array_equal(stream(restored, bars[cut_at:]), stream(whole, bars[cut_at:]))
    assert restored.save() == whole.save()


@pytest.mark.parametrize("kind", [StrategicState, TacticalState])
def test_blocks_of_any_length_give_the_same_state(kind: type) -> None:
    bars = frame(41, 640)
    one_by_one, in_blocks = kind(), kind()
    rows = stream(one_by_one, bars)
    got = [
        in_blocks.update_block(bar_arrays(bars[begin:end])) for begin, end in ((0, 10), (10, 10), (10, 600), (600, 640))
    ]
    np.testing.assert_array_equal(np.concatenate(got), rows)
    assert in_blocks.save() == one_by_one.save()


def test_points_that_outgrow_their_room_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = frame(35, 700)
    expected = strategic_rows(bars)
    monkeypatch.setattr(mlmi, "FIRST_ROOM", 4)
    state = StrategicState()
    state._make_room(4)
    np.testing.assert_array_equal(stream(state, bars), expected)
    again = StrategicState()
    again.restore(state.save())
    assert again.save() == state.save()


def test_a_saved_state_of_another_matrix_or_cut_off_is_refused() -> None:
    saved = TacticalState().save()
    with pytest.raises(SchemaMismatch, match="strategic"):
        StrategicState().restore(saved)
    with pytest.raises(FeatureError, match="cut off"):
        TacticalState().restore(saved[:-8])
    with pytest.raises(FeatureError, match="GMF1"):
        TacticalState().restore(b"")


def test_unknown_volume_leaves_its_columns_unknown_and_no_other() -> None:
    bars = frame(36, 700)
    blind = bars.with_columns(volume=pl.lit(None, dtype=pl.Float64))
    for rows, schema in ((strategic_rows, STRATEGIC_SCHEMA), (tactical_rows, TACTICAL_SCHEMA)):
        unknown = list(schema.without_volume().unknown_columns)
        known = list(schema.without_volume().known_columns)
        with_volume, without = rows(bars), rows(blind)
        assert np.isnan(without[:, unknown]).all()
        np.testing.assert_array_equal(without[:, known], with_volume[:, known])
        assert schema.unknown_columns == ()
    assert [STRATEGIC_SCHEMA.names[i] for i in STRATEGIC_SCHEMA.without_volume().unknown_columns] == [
        "lvn_distance", "lvn_strength", "volume_profile_skew",
    ]  # fmt: skip


def test_one_unknown_volume_is_unknown_for_as_long_as_it_counts() -> None:
    bars = frame(37, 700)
    values = bars["volume"].to_list()
    values[600] = None
    rows = strategic_rows(bars.with_columns(volume=pl.Series(values, dtype=pl.Float64)))
    lvn = np.isnan(rows[:, 5])
    assert lvn[600:648].all()
    assert not lvn[648:].any()


def test_no_low_volume_node_is_two_zeros_and_no_node_looks_like_that() -> None:
    strength = strategic_rows(frame(39, 900))[STRATEGIC_SCHEMA.warm_up_bars :, 4:6]
    is_none = strength[:, 1] == 0.0
    assert 0 < is_none.sum() < len(strength)
    assert (strength[is_none, 0] == 0.0).all()
    assert (strength[~is_none, 1] > 0.7).all()


def test_rows_are_whole_after_the_warm_up_of_the_schema() -> None:
    for rows, schema, minutes in ((strategic_rows, STRATEGIC_SCHEMA, 30), (tactical_rows, TACTICAL_SCHEMA, 5)):
        got = rows(frame(38, 700, minutes))
        assert not np.isnan(got[schema.warm_up_bars :]).any()
        for column, values in zip(schema.columns, got.T, strict=True):
            known = values[~np.isnan(values)]
            assert np.isnan(values[: column.warm_up_bars]).all()
            assert column.low is None or known.min() >= column.low
            assert column.high is None or known.max() <= column.high


@pytest.mark.parametrize("size", [0, 1, 2])
def test_hardly_any_bars_give_hardly_any_rows(size: int) -> None:
    assert strategic_rows(frame(39, size)).shape == (size, 13)
    assert tactical_rows(frame(39, size)).shape == (size, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("volume"), "no column volume"),
        (lambda f: f.with_columns(pl.col("ts_event").cast(pl.Float64)), "expected Int64"),
        (lambda f: f.with_columns(pl.col("ts_event").shift(1)), "1 nulls"),
        (lambda f: pl.concat([f, f[-1:]]), "at row 50"),
        (lambda f: f.reverse(), "at row 1"),
        (lambda f: f.with_columns(high=pl.col("low") - 1), "at least the low"),
        (lambda f: f.with_columns(volume=pl.lit(-1.0)), "zero or more"),
        (lambda f: f.with_columns(close=pl.lit(float("inf"))), "finite"),
        (lambda f: f.with_columns(close=pl.lit("5000")), "expected numbers"),
    ],
)
def test_bars_that_cannot_be_used_are_refused(change: object, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        strategic_rows(change(frame(40, 50)))  # type: ignore[operator]


def ns(*when: int) -> int:
    return int(datetime(*when, tzinfo=NEW_YORK).timestamp()) * 10**9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("when", "elapsed", "weekday"),
    [
        ((2024, 3, 10, 18, 30), 0.5 / 23, 0),  # Sunday evening is Monday's, on the day the clocks change
        ((2024, 3, 11, 17, 0), 1.0, 0),  # the close is the end of Monday
        ((2024, 3, 11, 18, 30), 0.5 / 23, 1),
        ((2024, 3, 15, 17, 0), 1.0, 4),
        ((2024, 7, 4, 12, 0), 18 / 23, 3),  # a holiday is a day like any other
        ((2024, 3, 11, 17, 30), 0.0, 1),  # in the daily break: the next day, of which nothing has passed
        ((2024, 3, 16, 12, 0), 0.0, 0),  # on a Saturday: Monday
    ],
)
def test_time_of_day_and_weekday_are_those_of_the_trading_day(
    when: tuple[int, ...], elapsed: float, weekday: int
) -> None:
    days = cme_globex_sessions()
    got = day_position(days.opens_ns, days.closes_ns, days.weekdays, ns(*when))
    np.testing.assert_allclose(got, (elapsed, weekday / 6), atol=1e-12)


def test_the_schedule_says_so_where_it_does_not_reach() -> None:
    days = cme_globex_sessions()
    for when in ((1980, 1, 2, 12), (2065, 1, 2, 12)):
        assert np.isnan(day_position(days.opens_ns, days.closes_ns, days.weekdays, ns(*when))).all()


def test_an_exchange_has_holidays_and_early_closes() -> None:
    days = exchange_sessions("XNYS", date(2023, 11, 20), date(2023, 11, 28))
    assert days.weekdays.tolist() == [0, 1, 2, 4, 0, 1]
    lengths = (days.closes_ns - days.opens_ns) / 3.6e12
    np.testing.assert_allclose(lengths, [6.5, 6.5, 6.5, 3.5, 6.5, 6.5])
    with pytest.raises(FeatureError, match="XNOWHERE"):
        exchange_sessions("XNOWHERE", date(2023, 1, 1), date(2023, 2, 1))


def test_sessions_that_overlap_are_refused() -> None:
    with pytest.raises(FeatureError, match="overlap"):
        TradingDays(np.array([0, 5]), np.array([6, 9]), np.array([0, 1]))
    with pytest.raises(FeatureError, match="at least one"):
        TradingDays(np.array([]), np.array([]), np.array([]))


def test_a_slow_row_never_meets_a_fast_bar_that_closed_before_it() -> None:
    slow = np.array([30, 60, 90])
    fast = np.array([5, 30, 35, 59, 60, 95])
    assert newest_known(slow, fast).tolist() == [-1, 0, 0, 0, 1, 2]


def test_windows_are_views() -> None:
    rows = np.arange(24.0).reshape(8, 3)
    windows = rolling_windows(rows, 5)
    assert windows.shape == (4, 5, 3)
    assert np.shares_memory(windows, rows)
    np.testing.assert_array_equal(windows[-1], rows[3:])
    with pytest.raises(FeatureError, match="at least 9 rows"):
        rolling_windows(rows, 9)


def test_a_rolling_window_is_always_one_stretch_oldest_first() -> None:
    window = RollingWindow(3, 2)
    for place in range(7):
        window.push(np.array([place, -place], dtype=np.float64))
        view = window.view
        assert view.base is not None
        assert view.flags.c_contiguous
        newest = [float(p) for p in range(max(0, place - 2), place + 1)]
        np.testing.assert_array_equal(view[3 - len(newest) :, 0], newest)
        assert np.isnan(view[: 3 - len(newest)]).all()
    with pytest.raises(FeatureError, match="shape"):
        window.restore(np.zeros((2, 2)))
