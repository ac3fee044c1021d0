import numpy as np
import pytest

from grandmodel.charts import ChartError, Histogram, Points, Sample, XYChart


def test_points_stand_where_a_hand_calculation_puts_them(drawn):
    chart = XYChart(
        title="t", points=[Points("a", [0.0, 0.5, 1.0], [0.0, 0.25, 1.0])], x_range=(0, 1), y_range=(0, 1), height=200
    )
    picture = drawn(chart, 530)
    circles = [(float(node.get("cx")), float(node.get("cy"))) for node in picture.having("circle", "point")]
    (left, bottom), (right, top) = circles[0], circles[2]
    assert (right, bottom - top) == (530 - 18, 200)
    assert circles[1] == pytest.approx(((left + right) / 2, bottom - 50), abs=0.006)


def test_the_diagonal_runs_from_corner_to_corner_of_equal_axes(drawn):
    chart = XYChart(
        title="t",
        points=[Points("a", [0.2, 0.8], [0.3, 0.7], line=True)],
        diagonal="calibrated",
        x_range=(0, 1),
        y_range=(0, 1),
    )
    picture = drawn(chart)
    (left, bottom), (right, top) = picture.line_points("level")
    assert (right, bottom - top) == (1062, 280)
    assert left < right
    assert "calibrated" in picture.texts()


def test_pairs_with_a_missing_value_are_left_out_and_names_stay_with_their_points(drawn):
    points = Points("a", [1.0, np.nan, 3.0, 4.0], [1.0, 2.0, 3.0, np.inf], names=["one", "two", "three", "four"])
    picture = drawn(XYChart(title="t", points=[points]))
    tips = [node[0].text for node in picture.having("circle", "point")]
    assert tips == ["one: 1, 1", "three: 3, 3"]
    assert "2 pairs with a missing or infinite value left out." in picture.texts()


@pytest.mark.parametrize("x", [[], [np.nan], [np.inf, 1.0]])
def test_no_points_give_an_honest_picture(drawn, x):
    picture = drawn(XYChart(title="t", points=[Points("a", x, [np.nan] * len(x))]))
    assert any(words.startswith("no data: ") for words in picture.texts())


def test_one_point_and_a_cloud_of_equal_points_are_drawn(drawn):
    assert len(drawn(XYChart(title="t", points=[Points("a", [2.0], [3.0])])).having("circle", "point")) == 1
    many = drawn(XYChart(title="t", points=[Points("a", np.full(10_000, 2.0), np.full(10_000, 3.0))]))
    assert many.path("cloud", "s0").count("M") == 1


def test_a_large_cloud_keeps_its_outliers(drawn):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=100_000), rng.normal(size=100_000)
    x[500], y[500] = 40.0, 40.0
    picture = drawn(XYChart(title="t", points=[Points("a", x, y)], x_range=(-40, 40), y_range=(-40, 40)))
    places = [tuple(map(float, part.removesuffix("h0").split())) for part in picture.path("cloud", "s0").split("M")[1:]]
    assert max(x for x, _ in places) == pytest.approx(1062, abs=0.1)
    assert len(places) < 20_000


def test_x_and_y_must_be_of_one_length(drawn):
    with pytest.raises(ChartError, match="expected the same"):
        drawn(XYChart(title="t", points=[Points("a", [1.0, 2.0], [1.0])]))
    with pytest.raises(ChartError, match="expected one per point"):
        drawn(XYChart(title="t", points=[Points("a", [1.0], [1.0], names=["x", "y"])]))


def test_a_histogram_by_hand(drawn):
    chart = Histogram(title="t", samples=[Sample("a", [0.0, 0.5, 1.5, 2.5, 3.5, 4.0])], bins=4, height=100)
    picture = drawn(chart)
    bars = picture.having("rect", "bin")
    # Counts 2, 1, 1, 2 on an axis from 0 to 2: full height and half height.
    assert [float(bar.get("height")) for bar in bars] == [100.0, 50.0, 50.0, 100.0]
    assert [bar[0].text for bar in bars] == ["0 to 1: 2", "1 to 2: 1", "2 to 3: 1", "3 to 4: 2"]
    widths = {round(float(bar.get("width")), 1) for bar in bars}
    assert len(widths) == 1


def test_a_histogram_counts_what_it_leaves_out(drawn):
    chart = Histogram(title="t", samples=[Sample("a", [0.0, 1.0, 9.0, np.nan, np.inf])], value_range=(0.0, 2.0))
    texts = drawn(chart).texts()
    assert "a: 2 missing or infinite values left out." in texts
    assert "a: 1 value of 3 outside the axis." in texts


def test_several_samples_are_compared_by_share(drawn):
    samples = [Sample("few", [0.1, 0.1, 0.9]), Sample("many", [0.1] * 200 + [0.9] * 100)]
    picture = drawn(Histogram(title="t", samples=samples, bins=2, value_range=(0.0, 1.0)))
    assert picture.path("bin", "over", "s0") == picture.path("bin", "over", "s1")
    assert {"few", "many", "share of the sample in a bin"} <= set(picture.texts())


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_a_histogram_of_nothing(drawn, values):
    assert any(
        words.startswith("no data: ") for words in drawn(Histogram(title="t", samples=[Sample("a", values)])).texts()
    )


@pytest.mark.parametrize("values", [[3.0], [0.0] * 50, [-7.0] * 3, [1e-310, 0.0], [-9e299, 9e299]])
def test_a_histogram_of_a_constant_or_extreme_sample(drawn, values):
    assert drawn(Histogram(title="t", samples=[Sample("a", values)])).having("rect", "bin")


def test_references_inside_the_axis_are_drawn_and_named(drawn):
    chart = Histogram(title="t", samples=[Sample("a", [0.0, 1.0, 2.0])], references=[(1.0, "mean"), (99.0, "far")])
    picture = drawn(chart)
    assert len(picture.having("line", "level")) == 1
    assert "mean 1" in picture.texts()


def test_a_histogram_refuses_no_bins(drawn):
    with pytest.raises(ChartError, match="expected 1 or more"):
        drawn(Histogram(title="t", samples=[Sample("a", [1.0, 2.0])], bins=0))


def test_axes_that_cannot_be_are_refused(drawn):
    for ranges in ({"x_range": (1.0, 0.0)}, {"y_range": (0.0, float("inf"))}):
        with pytest.raises(ChartError, match="the smaller first"):
            drawn(XYChart(title="t", points=[Points("a", [1.0], [1.0])], **ranges))
    with pytest.raises(ChartError, match="the smaller first"):
        drawn(Histogram(title="t", samples=[Sample("a", [1.0])], value_range=(2.0, 2.0)))
