import numpy as np
import pytest

from grandmodel.charts import BarChart, Bars, ChartError


def test_upright_bars_start_at_zero_and_reach_their_value(drawn):
    picture = drawn(BarChart(title="t", labels=["a", "b"], bars=[Bars("x", [10.0, -5.0])], height=150))
    up, down = picture.having("rect", "block")
    # The axis runs from -5 to 10 over 150 pixels.
    assert (float(up.get("height")), float(down.get("height"))) == (100.0, 50.0)
    assert float(up.get("y")) + 100.0 == float(down.get("y"))


def test_lying_bars_start_at_zero_and_reach_their_value(drawn):
    picture = drawn(BarChart(title="t", labels=["stale feed", "limit"], bars=[Bars("x", [8, 2])], is_horizontal=True))
    long, short = picture.having("rect", "block")
    assert float(long.get("x")) == float(short.get("x"))
    assert float(long.get("width")) == pytest.approx(4 * float(short.get("width")), abs=0.05)
    assert {"stale feed", "limit", "8", "2"} <= set(picture.texts())


def test_profit_and_loss_are_told_apart_by_sign(drawn):
    picture = drawn(BarChart(title="t", labels=["a", "b"], bars=[Bars("x", [1.0, -1.0])], by_sign=True))
    assert [bar.get("class") for bar in picture.having("rect", "block")] == ["block s0", "block s1"]


def test_a_missing_bar_is_left_out_and_counted(drawn):
    picture = drawn(BarChart(title="t", labels=["a", "b", "c"], bars=[Bars("x", [1.0, np.nan, np.inf])]))
    assert len(picture.having("rect", "block")) == 1
    assert "2 missing or infinite values left out." in picture.texts()


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
@pytest.mark.parametrize("is_horizontal", [True, False])
def test_no_bars(drawn, values, is_horizontal):
    chart = BarChart(title="t", labels=["a", "b"][: len(values)], bars=[Bars("x", values)], is_horizontal=is_horizontal)
    assert any(words.startswith("no data: ") for words in drawn(chart).texts())


@pytest.mark.parametrize("is_horizontal", [True, False])
def test_bars_that_are_all_zero(drawn, is_horizontal):
    picture = drawn(BarChart(title="t", labels=["a", "b"], bars=[Bars("x", [0, 0])], is_horizontal=is_horizontal))
    assert len(picture.having("rect", "block")) == 2


def test_two_hundred_labels_are_thinned(drawn):
    picture = drawn(BarChart(title="t", labels=[f"day {k}" for k in range(200)], bars=[Bars("x", np.arange(200.0))]))
    assert 5 < sum(words.startswith("day") for words in picture.texts()) < 40


def test_one_value_per_label(drawn):
    with pytest.raises(ChartError, match="expected one per label"):
        drawn(BarChart(title="t", labels=["a"], bars=[Bars("x", [1.0, 2.0])]))
