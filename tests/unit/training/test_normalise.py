"""Values to standard units and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from grandmodel.training.normalise import (
    Moments,
    build_scale,
    rescale_output,
    restore,
    standardise,
    update_moments,
)

EVERYTHING = np.ones((1, 1), dtype=bool)


@given(st.integers(0, 2**32 - 1), st.floats(-1e4, 1e4), st.floats(0.1, 1e4))
def test_there_and_back_is_where_one_was(seed, centre, spread):
    rng = np.random.default_rng(seed)
    values = rng.normal(centre, spread, size=(50, 2))
    moments = update_moments(Moments.empty((2,)), values, EVERYTHING, 0.99)
    np.testing.assert_allclose(restore(standardise(values, moments), moments), values, rtol=1e-9, atol=1e-9)


def test_moments_without_forgetting_are_those_of_all_data():
    rng = np.random.default_rng(3)
    parts = [rng.normal(3.0, 2.0, size=(n, 3)) for n in (5, 50, 7)]
    moments = Moments.empty((3,))
    for part in parts:
        moments = update_moments(moments, part, EVERYTHING, 1.0)
    whole = np.concatenate(parts)
    np.testing.assert_allclose(moments.mean, whole.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.scale, whole.std(0), atol=1e-12)


def test_moments_forget_without_a_start_up_bias():
    constant = np.full((10, 1), 7.0)
    moments = update_moments(Moments.empty((1,)), constant, EVERYTHING, 0.9)
    assert moments.mean[0] == pytest.approx(7.0)
    for _ in range(200):
        moments = update_moments(moments, constant * 3.0, EVERYTHING, 0.9)
    assert moments.mean[0] == pytest.approx(21.0, rel=1e-6)


def test_only_counted_entries_move_the_moments():
    values = np.array([[1.0, np.nan], [3.0, 100.0]])
    counted = np.array([[True, False], [True, False]])
    moments = update_moments(Moments.empty((2,)), values, counted, 0.99)
    assert moments.mean.tolist() == [2.0, 0.0]
    assert moments.scale.tolist() == [1.0, 1.0]


def test_the_critic_says_the_same_before_and_after_a_change_of_scale():
    generator = torch.Generator().manual_seed(1)
    layer = nn.Linear(8, 3).double()
    inputs = torch.randn(20, 8, generator=generator, dtype=torch.float64)
    rng = np.random.default_rng(1)
    old = update_moments(Moments.empty((3,)), rng.normal(5.0, 3.0, (40, 3)), EVERYTHING, 0.9)
    new = update_moments(old, rng.normal([-50.0, 0.0, 9.0], [1.0, 30.0, 2.0], (40, 3)), EVERYTHING, 0.9)
    before = restore(layer(inputs).detach().numpy(), old)
    rescale_output(layer.weight, layer.bias, old, new)
    np.testing.assert_allclose(restore(layer(inputs).detach().numpy(), new), before, rtol=1e-10, atol=1e-10)


def test_network_inputs_are_held_and_padding_stays_zero():
    values = np.array([[0.0, 1.0], [0.0, 3.0]])
    scale = build_scale(update_moments(Moments.empty((2,)), values, EVERYTHING, 1.0))
    out = scale.apply(np.array([[0.0, 1e6]], dtype=np.float32))
    assert out.dtype == np.float32
    assert out.tolist() == [[0.0, 10.0]]
