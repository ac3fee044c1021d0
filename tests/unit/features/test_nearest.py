"""The nearest points of the index are those that sorting all of them gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.features import nearest


def brute(points: np.ndarray, x: float, y: float, neighbours: int) -> float:
    """Every distance, in the order of age: ``points`` (N, 3) of x, y and label."""
    if not len(points):
        return np.nan
    distance = (points[:, 0] - x) * (points[:, 0] - x) + (points[:, 1] - y) * (points[:, 1] - y)
    return float(points[np.argsort(distance, kind="stable")[:neighbours], 2].sum() / min(neighbours, len(points)))


def filled(points: np.ndarray, room: int | None = None) -> np.ndarray:
    index = nearest.point_index(len(points) if room is None else room)
    for point in points:
        nearest.add_point(index, *point)
    return index


@given(
    st.integers(0, 700),
    st.sampled_from([1, 7, 200, 256]),
    st.sampled_from([0.25, 5.0, 1e-9]),
    st.sampled_from(["cloud", "line", "heap", "turns"]),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_the_nearest_are_found_among_any_points(count: int, neighbours: int, grid: float, form: str, seed: int) -> None:
    """Coarse grids make equal distances and equal points; lines and heaps make trees that lean."""
    rng = np.random.default_rng(seed)
    places = {
        "cloud": rng.normal(50, 9, (count, 2)),
        "line": np.column_stack([np.linspace(0, 100, count), np.full(count, 50.0)]),
        "heap": np.full((count, 2), 50.0),
        "turns": np.tile(rng.normal(50, 9, (10, 2)), (count // 10 + 1, 1))[:count],
    }[form]
    points = np.column_stack([np.round(places / grid) * grid, rng.choice([-1.0, 1.0], count)])
    index, place = nearest.point_index(max(count, 1)), rng.normal(50, 9, 2)
    for number, point in enumerate(points):
        nearest.add_point(index, *point)
        if number % 40 == 0 or number == count - 1:
            # A walk with now and then a jump, as bars are.
            place = np.round(place + rng.normal(0, 30 if number % 200 == 0 else 1, 2), 1)
            assert nearest.mean_label(index, *place, neighbours) == brute(points[: number + 1], *place, neighbours)


def test_an_index_without_points_knows_nothing() -> None:
    assert np.isnan(nearest.mean_label(nearest.point_index(5), 1.0, 2.0, 200))


@pytest.mark.parametrize("more", [1_000, 4_000])
def test_another_room_keeps_every_point(more: int) -> None:
    rng = np.random.default_rng(1)
    points = np.column_stack([rng.normal(size=(1_000, 2)), rng.choice([-1.0, 1.0], 1_000)])
    index = nearest.point_index_with_room(filled(points, 2_000), more)
    assert len(index) == len(nearest.point_index(more))
    for place in rng.normal(size=(20, 2)):
        assert nearest.mean_label(index, *place, 200) == brute(points, *place, 200)
    if more > 1_000:
        added = np.array([[0.1, 0.1, 1.0]] * 500)
        for point in added:
            nearest.add_point(index, *point)
        assert nearest.mean_label(index, 0.0, 0.0, 200) == brute(np.concatenate([points, added]), 0.0, 0.0, 200)


def test_a_search_looks_at_few_of_many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leaves that a search gathers, counted in plain Python: no more among 64,000 points than among 4,000."""
    looked = [0]
    plain = nearest._gather.py_func

    def gather(*arguments: object) -> int:
        looked[0] += 1
        return plain(*arguments)

    rng = np.random.default_rng(2)
    found = []
    for count in (4_000, 64_000):
        points = np.column_stack([rng.normal(50, 9, (count, 2)), rng.choice([-1.0, 1.0], count)])
        index = filled(points)
        with monkeypatch.context() as patch:
            patch.setattr(nearest, "_gather", gather)
            patch.setattr(nearest, "_search", nearest._search.py_func)
            looked[0] = 0
            for place in rng.normal(50, 9, (20, 2)):
                index[nearest.REACH] = -1.0  # with nothing known of the last search
                assert nearest.mean_label.py_func(index, *place, 200) == brute(points, *place, 200)
            found.append(looked[0] / 20)
    assert max(found) < 60
    assert found[1] < 1.3 * found[0]
