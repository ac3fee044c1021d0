import itertools
import json

import numpy as np
import pytest

from grandmodel.charts import Band, ChartError, Level, LineChart, Markers, Series, ShadedSpan, StateChart
from grandmodel.charts.timechart import merged_intervals

S = 1_000_000_000
T0 = 1_583_764_200 * S  # 2020-03-09 14:30 UTC
TIMES = np.array([T0, T0 + 10 * S, T0 + 20 * S, T0 + 40 * S], np.int64)


def plot_edges(picture):
    """Left, right, top and bottom of the plot, read from its grid lines."""
    lines = [
        node
        for node in picture.having("line", "grid") + picture.having("line", "axis")
        if node.get("x1") != node.get("x2")
    ]
    rises = [node for node in picture.having("line", "grid") if node.get("x1") == node.get("x2")]
    heights = [float(node.get("y1")) for node in lines]
    return float(lines[0].get("x1")), float(lines[0].get("x2")), float(rises[0].get("y1")), max(heights)


def test_points_stand_where_a_hand_calculation_puts_them(drawn):
    picture = drawn(LineChart(title="t", series=[Series("a", TIMES, [0.0, 10.0, 5.0, 10.0])]))
    left, right, top, bottom = plot_edges(picture)
    assert (right, bottom - top) == (1080 - 18, 240)
    # The axis runs from 0 to 10, so the value 5 is half way up; time is a fortieth of the width per second.
    expected = [
        (left, bottom),
        (left + (right - left) / 4, top),
        (left + (right - left) / 2, (top + bottom) / 2),
        (right, top),
    ]
    assert np.allclose(picture.line_points("line", "s0"), expected, atol=0.006)


def test_a_missing_value_is_a_gap_and_is_counted(drawn):
    picture = drawn(LineChart(title="t", series=[Series("a", TIMES, [1.0, 2.0, np.nan, 3.0])]))
    path = picture.path("line", "s0")
    assert path.count("M") == 2
    assert path.count("L") == 1
    assert path.endswith("h0")
    assert len(picture.having("path", "lone", "s0")) == 1
    assert "a: 1 missing value left as gaps." in picture.texts()


def test_an_infinite_value_is_not_drawn_and_is_counted(drawn):
    picture = drawn(LineChart(title="t", series=[Series("a", TIMES, [1.0, np.inf, -np.inf, 3.0])]))
    assert "a: 2 infinite values not drawn." in picture.texts()
    assert "inf" not in picture.path("line", "s0")


def test_a_step_holds_its_value_until_the_next(drawn):
    picture = drawn(LineChart(title="t", series=[Series("a", TIMES, [0.0, 10.0, 10.0, 0.0], step=True)]))
    left, right, top, bottom = plot_edges(picture)
    quarter = left + (right - left) / 4
    assert picture.path("line", "s0").startswith(f"M{left:g} {bottom:g}H{quarter:g}V{top:g}H")


def test_an_area_is_filled_to_zero_and_zero_is_in_view(drawn):
    picture = drawn(LineChart(title="t", series=[Series("a", TIMES, [-4.0, -2.0, -8.0, -4.0], area=True)]))
    _, _, top, _ = plot_edges(picture)
    assert f"V{top:.2f}" in picture.path("area", "s0")


@pytest.mark.parametrize(
    "values",
    [[], [np.nan] * 4, [np.inf, -np.inf, np.nan, np.inf], [1e301, -1e308, np.nan, np.inf]],
    ids=["empty", "nan", "inf", "huge"],
)
def test_nothing_to_draw_gives_an_honest_picture(drawn, values):
    picture = drawn(LineChart(title="t", series=[Series("a", TIMES[: len(values)], values)]))
    assert any(words.startswith("no data: ") for words in picture.texts())
    assert not picture.having("path", "line")
    assert "no data" in picture.description()


@pytest.mark.parametrize(
    "values", [[7.0] * 4, [0.0] * 4, [-1e-320] * 4, [1e15, 1e15, 1e15 + 0.125, 1e15], [-9e299, 9e299, 0.0, 1.0]]
)
def test_constant_tiny_and_huge_series_stay_inside_the_plot(drawn, values):
    picture = drawn(LineChart(title="t", series=[Series("a", TIMES, values)]))
    left, right, top, bottom = plot_edges(picture)
    for x, y in picture.line_points("line", "s0"):
        assert left - 0.01 <= x <= right + 0.01
        assert top - 0.01 <= y <= bottom + 0.01


def test_a_single_point_is_a_dot_in_the_middle(drawn):
    picture = drawn(LineChart(title="t", series=[Series("a", [T0], [5.0])]))
    left, right, top, bottom = plot_edges(picture)
    assert picture.line_points("lone", "s0") == [pytest.approx(((left + right) / 2, (top + bottom) / 2), abs=0.01)]


def test_a_chart_of_no_series_has_no_data(drawn):
    assert any("no data" in words for words in drawn(LineChart(title="t", series=[])).texts())


def test_buy_and_sell_triangles_touch_their_price_from_below_and_above(drawn):
    chart = LineChart(
        title="t",
        series=[Series("price", TIMES, [0.0, 10.0, 5.0, 10.0])],
        markers=[Markers("bought", [T0 + 20 * S], [5.0], "buy"), Markers("sold", [T0 + 20 * S], [5.0], "sell")],
    )
    picture = drawn(chart)
    left, right, top, bottom = plot_edges(picture)
    tip = ((left + right) / 2, (top + bottom) / 2)
    for colour, below in (("s2", True), ("s1", False)):
        corners = picture.line_points("mark", colour)
        assert corners[0] == pytest.approx(tip, abs=0.006)
        assert all((y > tip[1]) is below for _, y in corners[1:])
    assert "bought, 2020-03-09 14:30:20, 5" in picture.source


def test_spans_and_levels_stand_at_their_time_and_value(drawn):
    chart = LineChart(
        title="t",
        series=[Series("a", TIMES, [0.0, 10.0, 5.0, 10.0])],
        spans=[
            ShadedSpan(T0 + 10 * S, T0 + 20 * S, "halt", "bad"),
            ShadedSpan(T0 - 99 * S, T0 - 50 * S, "before", "warn"),
        ],
        levels=[Level(5.0, "limit", "bad")],
    )
    picture = drawn(chart)
    left, right, top, bottom = plot_edges(picture)
    (shade,) = [node for node in picture.having("rect", "span", "bad") if float(node.get("height")) > 20]
    assert float(shade.get("x")) == pytest.approx(left + (right - left) / 4, abs=0.01)
    assert float(shade.get("width")) == pytest.approx((right - left) / 4, abs=0.01)
    assert not [node for node in picture.having("rect", "span", "warn") if float(node.get("height")) > 20]
    (level,) = picture.having("line", "level", "bad")
    assert float(level.get("y1")) == pytest.approx((top + bottom) / 2, abs=0.01)


def test_a_level_beyond_the_data_widens_the_axis(drawn):
    picture = drawn(
        LineChart(title="t", series=[Series("a", TIMES, [1.0, 2.0, 1.0, 2.0])], levels=[Level(10.0, "limit")])
    )
    assert "10" in picture.texts()


def test_a_band_encloses_its_edges_and_breaks_at_a_missing_value(drawn):
    band = Band("90 %", TIMES, [1.0, 2.0, np.nan, 1.0], [3.0, 4.0, 5.0, 3.0])
    picture = drawn(LineChart(title="t", series=[Series("a", TIMES, [2.0, 3.0, 3.0, 2.0])], bands=[band]))
    assert picture.path("band", "s0").count("Z") == 2


def test_a_long_series_is_reduced_and_says_so_and_keeps_its_extremes(drawn):
    count = 200_000
    values = np.random.default_rng(3).normal(size=count)
    values[77_777] = 50.0
    values[123_456] = -50.0
    times = T0 + np.arange(count, dtype=np.int64) * S
    picture = drawn(LineChart(title="t", series=[Series("a", times, values)], value_range=(-50.0, 50.0)))
    _, _, top, bottom = plot_edges(picture)
    heights = [y for _, y in picture.line_points("line", "s0")]
    assert (min(heights), max(heights)) == (top, bottom)
    assert len(heights) <= 4 * 1080
    assert "Drawn as first, lowest, highest and last of each pixel column: a (200,000 points)." in picture.texts()
    assert "lowest -50, highest 50" in picture.description()


def test_the_crosshair_reads_the_values_that_were_given(drawn):
    chart = LineChart(
        title="t", series=[Series("a", TIMES, [0.01, 0.02, np.nan, 0.04]), Series("b", TIMES, [1, 2, 3, 4])], unit="%"
    )
    picture = drawn(chart)
    hover = json.loads(picture.root.get("data-hover"))
    assert hover["span"] == f"{TIMES[0]}:{TIMES[-1]}"
    first, second = hover["series"]
    assert first["v"] == ["1%", "2%", "4%"]
    assert first["t"] == ["2020-03-09 14:30:00.000", "2020-03-09 14:30:10.000", "2020-03-09 14:30:40.000"]
    assert second["v"] == ["100%", "200%", "300%", "400%"]
    left, _, right, _ = hover["box"]
    assert first["x"] == pytest.approx([left, left + (right - left) / 4, right], abs=0.11)


def test_series_with_the_same_times_share_them_in_the_crosshair(drawn):
    picture = drawn(LineChart(title="t", series=[Series("a", TIMES, [1, 2, 3, 4]), Series("b", TIMES, [1, 2, 3, 4])]))
    assert json.loads(picture.root.get("data-hover"))["series"][1]["x"] == 0


def test_the_crosshair_of_a_reduced_series_tells_the_range_of_a_column(drawn):
    times = T0 + np.arange(10_000, dtype=np.int64)
    picture = drawn(LineChart(title="t", series=[Series("a", times, np.tile([1.0, 5.0], 5_000))]))
    assert json.loads(picture.root.get("data-hover"))["series"][0]["v"][3].endswith("(1 to 5)")


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (Series("a", TIMES, [1.0]), "expected the same"),
        (Series("a", TIMES[::-1], [1.0] * 4), "runs backwards at index 1"),
        (Series("a", TIMES.astype(float), [1.0] * 4), "expected int64 nanoseconds"),
        (Series("a", np.array([2**64 - 1], np.uint64), [1.0]), "expected UTC nanoseconds of the years"),
        (Series("a", [-(2**63)], [1.0]), "expected UTC nanoseconds of the years"),
        (Series("a", TIMES.reshape(2, 2), [[1.0] * 2] * 2), "shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(drawn, series, message):
    with pytest.raises(ChartError, match=message):
        drawn(LineChart(title="t", series=[series]))


@pytest.mark.parametrize("limits", [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_an_axis_that_cannot_be_is_refused(drawn, limits):
    with pytest.raises(ChartError, match="the smaller first"):
        drawn(LineChart(title="t", series=[Series("a", TIMES, [1, 2, 3, 4])], value_range=limits))
    with pytest.raises(ChartError, match="time_range_ns"):
        drawn(LineChart(title="t", series=[Series("a", TIMES, [1, 2, 3, 4])], time_range_ns=(T0, T0)))


def test_what_lies_outside_a_chosen_axis_is_cut_off_by_the_clip(drawn):
    picture = drawn(LineChart(title="t", series=[Series("a", TIMES, [0.0, 99.0, 0.0, 1.0])], value_range=(0.0, 1.0)))
    assert picture.root.find(".//*[@clip-path='url(#chart-1-plot)']") is not None
    assert json.loads(picture.root.get("data-hover"))["series"][0]["y"][1] is None


def ladder(**changes):
    given = {
        "title": "breaker", "time_ns": TIMES, "states": ["normal", "halt", "normal", "caution"], "ladder": ["normal", "caution", "halt"],
        "end_ns": T0 + 80 * S,
    }  # fmt: skip
    return StateChart(**{**given, **changes})


def test_states_are_blocks_on_their_row_of_the_ladder(drawn):
    picture = drawn(ladder())
    blocks = [
        (node.get("class").split()[-1], float(node.get("x")), float(node.get("width")), float(node.get("y")))
        for node in picture.having("rect", "block")
    ]
    left, width = blocks[0][1], 1062 - blocks[0][1]
    # 80 seconds: normal 0 to 10 and 20 to 40, caution 40 to 80, halt 10 to 20.
    assert [(tone, pytest.approx(x, abs=0.02), pytest.approx(w, abs=0.02)) for tone, x, w, _ in blocks] == [
        ("good", left, width / 8), ("good", left + width / 4, width / 4), ("caution", left + width / 2, width / 2), ("bad", left + width / 8, width / 8),
    ]  # fmt: skip
    assert blocks[0][3] > blocks[2][3] > blocks[3][3]
    assert "caution: 50.0% of the time, entered 1 time." in picture.description()


def test_a_state_of_a_nanosecond_is_still_a_pixel_wide(drawn):
    picture = drawn(ladder(time_ns=[T0, T0 + S, T0 + S + 1, T0 + 2 * S], end_ns=T0 + 10_000 * S))
    assert [float(node.get("width")) for node in picture.having("rect", "block", "bad")] == [1.0]


def test_many_changes_of_state_do_not_grow_the_picture_without_bound(drawn):
    count = 50_000
    picture = drawn(
        ladder(
            time_ns=T0 + np.arange(count, dtype=np.int64), states=["normal", "halt"] * (count // 2), end_ns=T0 + count
        )
    )
    assert len(picture.having("rect", "block")) < 3_000


def test_intervals_join_where_less_than_half_a_pixel_parts_them():
    starts, ends = np.array([0.0, 10.2, 30.0]), np.array([10.0, 20.0, 30.1])
    assert merged_intervals(starts, ends) == [(0.0, 20.0), (30.0, 31.0)]


def test_states_refuse_what_does_not_fit(drawn):
    with pytest.raises(ChartError, match=r"\['melted'\] are not on the ladder"):
        drawn(ladder(states=["normal", "melted", "normal", "halt"]))
    with pytest.raises(ChartError, match="expected one state per time"):
        drawn(ladder(states=["normal"]))
    with pytest.raises(ChartError, match="before the last change"):
        drawn(ladder(end_ns=T0))
    with pytest.raises(ChartError, match="expected one per state"):
        drawn(ladder(ladder_tones=["good"]))


def test_no_state_and_a_single_moment(drawn):
    assert any("no data" in words for words in drawn(ladder(time_ns=[], states=[])).texts())
    assert drawn(ladder(time_ns=[T0], states=["halt"], end_ns=None)).having("rect", "block", "bad")


@pytest.mark.parametrize("span_ns", [5, 300, 10**6, 7 * S, 3600 * S, 86_400 * S, 400 * 86_400 * S, 50_000 * 86_400 * S])
@pytest.mark.parametrize("width", [530, 1080])
def test_labels_of_time_neither_overlap_nor_leave_the_picture(drawn, span_ns, width):
    start = T0 if span_ns < 10**18 else 0
    picture = drawn(LineChart(title="t", series=[Series("a", [start, start + span_ns], [1.0, 2.0])]), width)
    low = max(float(node.get("y")) for node in picture.having("text", "tick"))
    placed = sorted(
        (float(node.get("x")), node.text) for node in picture.having("text", "tick") if float(node.get("y")) == low
    )
    assert placed
    # 7 pixels a character is what the widest digits of a 12-pixel face take.
    edges = [(x - 3.5 * len(words), x + 3.5 * len(words)) for x, words in placed]
    assert edges[0][0] >= 0
    assert edges[-1][1] <= width
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(edges))


def test_a_ninth_series_differs_from_the_first_by_its_dash(drawn):
    picture = drawn(LineChart(title="t", series=[Series(f"n{k}", TIMES, [1.0, 2.0, 3.0, 4.0]) for k in range(9)]))
    dashes = [node.get("stroke-dasharray") for node in picture.having("path", "line", "s0")]
    assert dashes == [None, "4 3", None, "2 3"]  # symbol and symbol in the legend, line and line
