import numpy as np
import pytest

from grandmodel.charts import ChartError, HeatMap


def cells(picture):
    return [
        node
        for kind in ("cell-low", "cell-high", "cell-none")
        for node in picture.having("rect", kind)
        if "crisp" not in node.get("class")
    ]


def test_colour_grows_with_the_distance_from_the_centre(drawn):
    picture = drawn(
        HeatMap(title="t", values=[[-1.0, 0.0], [0.5, 1.0]], rows=["a", "b"], columns=["x", "y"], limit=1.0)
    )
    by_tip = {node[0].text: (node.get("class"), float(node.get("fill-opacity"))) for node in cells(picture)}
    assert by_tip == {
        "a, x: -1.00": ("cell-low", 1.0),
        "a, y: 0.00": ("cell-high", 0.04),
        "b, x: 0.50": ("cell-high", 0.52),
        "b, y: 1.00": ("cell-high", 1.0),
    }


def test_the_centre_may_be_any_value_and_without_one_there_is_one_hue(drawn):
    around_three = drawn(HeatMap(title="t", values=[[2.0, 3.0, 5.0]], rows=["a"], columns=list("xyz"), center=3.0))
    by_tip = {node[0].text: (node.get("class"), float(node.get("fill-opacity"))) for node in cells(around_three)}
    assert by_tip == {
        "a, x: 2.00": ("cell-low", 0.52),
        "a, y: 3.00": ("cell-high", 0.04),
        "a, z: 5.00": ("cell-high", 1.0),
    }
    upwards = drawn(HeatMap(title="t", values=[[2.0, 3.0, 4.0]], rows=["a"], columns=list("xyz"), center=None))
    assert [float(node.get("fill-opacity")) for node in cells(upwards)] == [0.04, 0.52, 1.0]
    assert not upwards.having("rect", "cell-low")


def test_the_colour_bar_is_labelled_over_its_range(drawn):
    picture = drawn(HeatMap(title="t", values=[[-0.5, 0.5]] * 6, rows=list("abcdef"), columns=["x", "y"], limit=1.0))
    assert {"-1", "0", "1"} <= set(picture.texts())


def test_cells_tile_the_plot(drawn):
    picture = drawn(HeatMap(title="t", values=np.arange(12.0).reshape(3, 4), rows=list("abc"), columns=list("wxyz")))
    xs = sorted({float(node.get("x")) for node in cells(picture)})
    ys = sorted({float(node.get("y")) for node in cells(picture)})
    assert len(xs) == 4
    assert len(ys) == 3
    assert np.allclose(np.diff(xs), xs[1] - xs[0], atol=0.02)
    assert np.allclose(np.diff(ys), ys[1] - ys[0], atol=0.02)


def test_a_cell_without_a_value_is_marked_and_counted(drawn):
    picture = drawn(HeatMap(title="t", values=[[np.nan, 1.0]], rows=["a"], columns=["x", "y"]))
    assert len(picture.having("rect", "cell-none")) == 1
    assert "1 cell without a value (grey, crossed)." in picture.texts()


def test_values_beyond_the_limit_are_counted(drawn):
    picture = drawn(HeatMap(title="t", values=[[5.0, 1.0]], rows=["a"], columns=["x", "y"], limit=1.0))
    assert "1 cell beyond the scale, drawn at full colour." in picture.texts()


@pytest.mark.parametrize(("values", "rows"), [([], []), ([[np.nan, np.inf]], ["a"])])
def test_an_empty_matrix(drawn, values, rows):
    picture = drawn(HeatMap(title="t", values=values, rows=rows, columns=["x", "y"]))
    assert any(words.startswith("no data: ") for words in picture.texts())


@pytest.mark.parametrize("center", [0.0, None, 3.0])
def test_a_constant_matrix_and_a_single_cell(drawn, center):
    assert (
        len(
            cells(
                drawn(
                    HeatMap(title="t", values=np.full((2, 2), 3.0), rows=["a", "b"], columns=["x", "y"], center=center)
                )
            )
        )
        == 4
    )
    assert len(cells(drawn(HeatMap(title="t", values=[[0.0]], rows=["a"], columns=["x"], center=center)))) == 1


def test_a_large_matrix_keeps_its_extremes_in_blocks(drawn):
    values = np.zeros((300, 250))
    values[199, 77] = -9.0
    picture = drawn(
        HeatMap(title="t", values=values, rows=[f"r{k}" for k in range(300)], columns=[f"c{k}" for k in range(250)])
    )
    assert len(cells(picture)) == 100 * 84
    assert [
        float(node.get("fill-opacity"))
        for node in picture.having("rect", "cell-low")
        if "crisp" not in node.get("class")
    ] == [1.0]
    assert "300 by 250 cells drawn in blocks; each shows its value farthest from the centre." in picture.texts()
    assert "Lowest -9.00 at r199, c77" in picture.description()


def test_labels_must_fit(drawn):
    with pytest.raises(ChartError, match="expected the same"):
        drawn(HeatMap(title="t", values=[[1.0]], rows=["a", "b"], columns=["x"]))


@pytest.mark.parametrize(
    "wrong", [{"limit": 0.0}, {"limit": float("nan")}, {"limit": float("inf")}, {"center": float("nan")}]
)
def test_a_scale_that_cannot_be_is_refused(drawn, wrong):
    with pytest.raises(ChartError, match="expected a finite number"):
        drawn(HeatMap(title="t", values=[[1.0]], rows=["a"], columns=["x"], **wrong))
