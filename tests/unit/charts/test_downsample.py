import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from grandmodel.charts.downsample import reduce_to_columns, thin_to_pixels

COLUMNS = 7
SPAN = 1_000


@st.composite
def series(draw):
    count = draw(st.integers(1, 120))
    time_ns = np.sort(draw(arrays(np.int64, count, elements=st.integers(0, SPAN))))
    values = draw(
        arrays(np.float64, count, elements=st.one_of(st.floats(-1e6, 1e6), st.sampled_from([np.nan, np.inf, -np.inf])))
    )
    return time_ns, values


def column_of(time_ns):
    """The slow, obvious rule: pixel column k holds the times from k/COLUMNS to (k+1)/COLUMNS of the span, the end in the last."""
    return min(int(time_ns) * COLUMNS // SPAN, COLUMNS - 1)


@given(series())
@settings(deadline=None)
def test_every_column_keeps_its_first_last_lowest_and_highest_value(data):
    time_ns, values = data
    kept = reduce_to_columns(time_ns, values, 0, SPAN, COLUMNS)
    chosen = set(kept.indices.tolist())
    assert kept.indices.tolist() == sorted(chosen)
    for column in range(COLUMNS):
        members = [k for k in range(time_ns.size) if np.isfinite(values[k]) and column_of(time_ns[k]) == column]
        picked = [k for k in members if k in chosen]
        if not members:
            assert not picked
            continue
        assert {members[0], members[-1]} <= chosen
        assert min(values[members]) == min(values[picked])
        assert max(values[members]) == max(values[picked])
        assert kept.is_complete or len(picked) <= 4


@given(series())
@settings(deadline=None)
def test_a_line_breaks_between_columns_exactly_where_a_value_is_missing(data):
    time_ns, values = data
    kept = reduce_to_columns(time_ns, values, 0, SPAN, COLUMNS)
    for place in range(1, kept.indices.size):
        a, b = kept.indices[place - 1], kept.indices[place]
        has_gap = bool((~np.isfinite(values[a + 1 : b])).any())
        if kept.is_complete or column_of(time_ns[a]) != column_of(time_ns[b]):
            assert bool(kept.breaks[place]) == has_gap
        else:
            assert not kept.breaks[place]


def test_the_columns_of_a_long_series_by_hand():
    time_ns = np.arange(8, dtype=np.int64)
    values = np.array([1.0, 9.0, -3.0, 2.0, 5.0, 5.0, np.nan, 4.0])
    kept = reduce_to_columns(time_ns, values, 0, 8, 2)
    assert not kept.is_complete
    assert kept.indices.tolist() == [0, 1, 2, 3, 4, 7]
    assert kept.column_last.tolist() == [3, 7]
    assert kept.column_low.tolist() == [-3.0, 4.0]
    assert kept.column_high.tolist() == [9.0, 5.0]
    assert kept.column_count.tolist() == [4, 3]
    assert kept.breaks.tolist() == [True, False, False, False, False, False]


def test_a_spike_of_one_point_in_a_million_survives():
    values = np.zeros(1_000_000)
    values[123_456] = 77.0
    values[987_654] = -77.0
    kept = reduce_to_columns(np.arange(values.size, dtype=np.int64), values, 0, values.size - 1, 1_000)
    assert {123_456, 987_654} <= set(kept.indices.tolist())
    assert kept.indices.size <= 4_000


def test_points_further_apart_than_the_largest_gap_are_not_joined():
    time_ns = np.array([0, 1, 50, 51], np.int64)
    kept = reduce_to_columns(time_ns, np.ones(4), 0, 51, 100, max_gap_ns=10)
    assert kept.breaks.tolist() == [True, False, True, False]


def test_what_lies_outside_the_axis_is_left_out():
    kept = reduce_to_columns(np.arange(10, dtype=np.int64), np.ones(10), 3, 6, 100)
    assert kept.indices.tolist() == [3, 4, 5, 6]


def test_a_thinned_cloud_keeps_one_point_for_every_occupied_square():
    x = np.array([0.1, 0.9, 5.2, 0.2])
    y = np.array([0.1, 0.8, 0.3, 7.7])
    assert thin_to_pixels(x, y, 1.0).tolist() == [0, 2, 3]


def test_a_time_on_the_edge_of_a_column_that_is_no_whole_number_by_hand():
    # Three columns over ten: the second begins at 3 1/3, the third at 6 2/3.
    kept = reduce_to_columns(np.arange(11, dtype=np.int64), np.arange(11.0), 0, 10, 3)
    assert kept.column_count.tolist() == [4, 3, 4]
    assert kept.column_last.tolist() == [3, 6, 10]
