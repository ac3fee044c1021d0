"""Vectors do to every lane what numpy does to every number, and round as they say."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.kernels import kernel
from grandmodel.vectors import (
    DOUBLES,
    LANES,
    add,
    add_where,
    aligned,
    filled,
    fma,
    held_within,
    load,
    load_wide,
    multiply,
    positive,
    splat,
    store,
    store_narrow,
    subtract,
    sum_of_lanes,
    turn_tile,
    where,
)

NUMBER = st.floats(-1e6, 1e6, width=32)
SIXTEEN = st.lists(NUMBER, min_size=LANES, max_size=LANES).map(lambda x: np.array(x, np.float32))


@kernel
def _lanes(x, y, z, out):
    a, b, c = load(x, 0), load(y, 0), load(z, 0)
    store(out[0], 0, add(a, b))
    store(out[1], 0, subtract(a, b))
    store(out[2], 0, multiply(a, b))
    store(out[3], 0, fma(a, b, c))
    store(out[4], 0, positive(a))
    store(out[5], 0, where(b, a))
    store(out[6], 0, splat(x, 3))
    store(out[7], 0, held_within(a, filled(np.float32(10.0))))


@given(SIXTEEN, SIXTEEN, SIXTEEN)
@settings(deadline=None)
def test_every_lane_is_numpys(x, y, z):
    out = np.full((8, LANES), np.nan, np.float32)
    _lanes(x, y, z, out)
    expected = [
        x + y,
        x - y,
        x * y,
        None,
        np.maximum(x, 0),
        np.where(y != 0, x, 0),
        np.full(LANES, x[3]),
        x.clip(-10, 10),
    ]
    for found, wanted in zip(out, expected, strict=True):
        if wanted is not None:
            np.testing.assert_array_equal(found, wanted)
    # Rounded once: the float32 nearest to the exact number.
    for lane in range(LANES):
        exact = Fraction(float(x[lane])) * Fraction(float(y[lane])) + Fraction(float(z[lane]))
        found = out[3, lane]
        error = abs(Fraction(float(found)) - exact)
        for beside in (np.nextafter(found, np.float32(-np.inf)), np.nextafter(found, np.float32(np.inf))):
            assert error <= abs(Fraction(float(beside)) - exact)


def test_what_is_not_a_number_stays():
    x = np.full(LANES, np.nan, np.float32)
    out = np.zeros((8, LANES), np.float32)
    _lanes(x, np.ones(LANES, np.float32), x, out)
    assert np.isnan(out).all()
    _lanes(x, np.zeros(LANES, np.float32), x, out)
    assert (out[5] == 0.0).all()


@kernel
def _added_where(x, words, bits, y, out):
    store(out, 0, add_where(load(x, 0), load(words, 0), splat(bits, 0), load(y, 0)))


@given(SIXTEEN, SIXTEEN, st.lists(st.integers(0, 2**32 - 1), min_size=LANES, max_size=LANES), st.integers(0, 31))
@settings(deadline=None)
def test_what_is_added_where_a_bit_is_set(x, y, words, bit):
    out, words = np.empty(LANES, np.float32), np.array(words, np.uint32)
    _added_where(x, words, np.array([1 << bit], np.uint32), y, out)
    np.testing.assert_array_equal(out, np.where(words >> np.uint32(bit) & 1, x + y, x))


@kernel
def _wide(x, out, narrow):
    eight = load_wide(x, 1)
    store(out, 0, eight)
    store_narrow(narrow, 2, load(out, 0))
    return sum_of_lanes(eight)


def test_wide_and_narrow():
    x = np.arange(1, 12, dtype=np.float32) / 3
    out, narrow = np.zeros(DOUBLES), np.zeros(12, np.float32)
    total = _wide(x, out, narrow)
    np.testing.assert_array_equal(out, x[1:9].astype(np.float64))
    np.testing.assert_array_equal(narrow, [0, 0, *x[1:9], 0, 0])
    halves = out[:4] + out[4:]
    assert total == (halves[0] + halves[2]) + (halves[1] + halves[3])


@kernel
def _turned(source, at, step, out, out_at, out_step):
    turn_tile(source, at, step, out, out_at, out_step)


def test_a_tile_is_turned_and_nothing_else_is_touched():
    source, out = np.random.default_rng(0).normal(size=(20, 25)).astype(np.float32), np.zeros((18, 40), np.float32)
    _turned(source, 2 * 25 + 3, 25, out, 40 + 7, 40)
    expected = np.zeros_like(out)
    expected[1:17, 7:23] = source[2:18, 3:19].T
    np.testing.assert_array_equal(out, expected)


def test_an_aligned_array_begins_at_a_cache_line():
    for shape in ((1,), (7, 3), (33,)):
        made = aligned(shape, np.float32)
        assert (made.shape, made.dtype, made.ctypes.data % 64) == (shape, np.float32, 0)
        assert not made.any()
        assert made.flags.c_contiguous
