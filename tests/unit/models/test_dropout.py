"""Masks are fair coins, each its own, the same everywhere; samples by table lookup are what a masked network gives."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from grandmodel.models.dropout import (
    draw_hidden,
    draw_linear,
    exponential,
    fill_masks,
    fill_tables,
    hidden_room,
    logarithm,
    mean_entropy,
    spread_out,
    to_probabilities,
    word,
)

SAMPLES = 1_000
RARE = 1e-4
"""A test of chance fails where it is rarer than this; seeds are fixed, so that a passing test passes always."""


def masks_of(seed, agent=0, dropout=0.25, samples=SAMPLES):
    masks = np.empty(samples, np.uint32)
    fill_masks(np.uint64(seed), np.uint64(agent), dropout, masks)
    return masks


def bits_of(masks):
    return ((masks[:, None] >> np.arange(32, dtype=np.uint32)) & 1).astype(np.float64)


def mixed(z):
    """splitmix64's output function in plain integers, beside the kernel."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**6), st.integers(0, 15))
@settings(deadline=None)
def test_a_word_is_splitmix64_at_its_place(seed, sample, agent):
    expected = mixed((mixed(seed) + (sample * 16 + agent + 1) * 0x9E3779B97F4A7C15) % 2**64)
    assert int(word(np.uint64(seed), np.uint64(sample), np.uint64(agent))) == expected


def test_words_are_the_published_generators():
    """The first outputs of splitmix64 from the state 1234567, as published with it."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    state = 1234567
    assert [mixed((state + k * 0x9E3779B97F4A7C15) % 2**64) for k in range(1, 5)] == published


@pytest.mark.parametrize("dropout", [0.25, 0.5])
def test_every_feature_is_kept_as_often_as_asked(dropout):
    kept = np.sum([bits_of(masks_of(seed, dropout=dropout)).sum(axis=0) for seed in range(50)], axis=0)  # (32,)
    trials, keep = 50 * SAMPLES, 1.0 - dropout
    score = ((kept - trials * keep) ** 2 / (trials * keep * dropout)).sum()
    assert stats.chi2.sf(score, 32) > RARE
    assert stats.chi2.cdf(score, 32) > RARE  # nor are they suspiciously even


@pytest.mark.parametrize("dropout", [0.25, 0.5])
def test_the_number_kept_is_binomial(dropout):
    """Were the bits of a mask tied to each other, their number would spread more, or less, than that."""
    counts = np.concatenate([bits_of(masks_of(seed, dropout=dropout)).sum(axis=1) for seed in range(50)])
    low, high = (9, 23) if dropout == 0.5 else (17, 30)
    seen = np.array(
        [(counts <= low).sum(), *((counts == k).sum() for k in range(low + 1, high)), (counts >= high).sum()]
    )
    chances = stats.binom.pmf(np.arange(low + 1, high), 32, 1.0 - dropout)
    ends = stats.binom.cdf(low, 32, 1.0 - dropout), stats.binom.sf(high - 1, 32, 1.0 - dropout)
    assert stats.chisquare(seen, len(counts) * np.array([ends[0], *chances, ends[1]])).pvalue > RARE


def dependence(first, second, keep):
    """Chi-square of the 32 x 32 correlations of two sets of bits (N, 32): about 1,024 where they are independent."""
    scaled = (first - keep).T @ (second - keep) / (keep * (1.0 - keep)) / math.sqrt(len(first))
    return float((scaled**2).sum())


@pytest.mark.parametrize("dropout", [0.25, 0.5])
@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("agents", lambda m: (m(1, 0), m(1, 1))),
        ("seeds that follow each other", lambda m: (m(7, 0), m(8, 0))),
        ("seeds one step of the counter apart", lambda m: (m(7, 0), m((7 + 0x9E3779B97F4A7C15) % 2**64, 0))),
        ("samples that follow each other", lambda m: (m(3, 2)[:-1], m(3, 2)[1:])),
    ],
)
def test_masks_are_independent(name, pair, dropout):
    def many(seed, agent):
        return bits_of(masks_of(seed, agent, dropout, 20_000))

    score = dependence(*pair(many), 1.0 - dropout)
    assert RARE < stats.chi2.sf(score, 1_024) < 1.0 - RARE, name


def test_no_two_samples_of_a_decision_share_a_word():
    words = [int(word(np.uint64(5), np.uint64(s), np.uint64(a))) for s in range(SAMPLES) for a in range(3)]
    assert len(set(words)) == len(words)


def test_masks_are_the_same_every_time_and_do_not_depend_on_how_many_are_asked_for():
    np.testing.assert_array_equal(masks_of(42), masks_of(42))
    np.testing.assert_array_equal(masks_of(42, samples=10), masks_of(42)[:10])
    assert masks_of(42)[:4].tolist() == GOLDEN
    assert (masks_of(42) != masks_of(43)).mean() > 0.99


GOLDEN = [2594127739, 2078059475, 1065331839, 4260740845]
"""Worked out in plain integers: another machine, another release of numba must give the same bits."""


def head_of(hidden, seed=0):
    """Features (32,), weights of the first layer (32, 16 or hidden), what no mask changes, and the last layer (1 + hidden, 16)."""
    generator = np.random.default_rng(seed)

    def normal(*shape):
        return generator.normal(size=shape).astype(np.float32)

    return np.maximum(normal(32), 0), normal(32, hidden or 16), normal(hidden or 16), normal(1 + hidden, 16)


def by_numpy(features, weight, base, masks, keep):
    return base + (features * bits_of(masks) / keep) @ weight.astype(np.float64)


@pytest.mark.parametrize("dropout", [0.25, 0.5])
@pytest.mark.parametrize("samples", [16, 1_008])
def test_a_linear_head_is_the_masked_head(samples, dropout):
    features, weight, base, _ = head_of(0)
    masks = masks_of(3, dropout=dropout, samples=samples)
    logits, room = np.full((3, samples), np.nan, np.float32), np.full(96, np.nan, np.float32)
    weights = np.concatenate([np.full(5, np.nan, np.float32), weight.ravel()])
    draw_linear(np.concatenate([features, base]), 32, weights, 5, 1.0 - dropout, masks, room, logits)
    expected = by_numpy(features, weight, base, masks, 1.0 - dropout)[:, :3]
    np.testing.assert_allclose(logits.T, expected, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize(("hidden", "samples"), [(32, 1_008), (16, 16), (48, 64)])
def test_a_hidden_head_by_tables_is_the_masked_head(hidden, samples):
    features, weight, base, last = head_of(hidden)
    masks = masks_of(4, samples=samples)
    logits, room = np.full((3, samples), np.nan, np.float32), np.full(hidden_room(hidden), np.nan, np.float32)
    weights = np.concatenate([np.full(7, np.nan, np.float32), weight.ravel(), last.ravel()])
    seen = np.concatenate([features, base])
    draw_hidden(seen, 32, weights, 7, hidden, 7 + weight.size, 0.75, masks, room, logits)
    expected = np.maximum(by_numpy(features, weight, base, masks, 0.75), 0) @ last[1:].astype(np.float64) + last[0]
    np.testing.assert_allclose(logits.T, expected[:, :3], rtol=2e-6, atol=3e-5)


def tables_of(features, weight, keep):
    tables = np.full((8, 16, weight.shape[1]), np.nan, np.float32)
    fill_tables(features, weight.ravel(), 0, weight.shape[1], keep, tables.reshape(-1))
    return tables


def test_the_mean_over_all_masks_is_what_all_features_add():
    """Exactly, over every mask of four bits with its chance: dropout does not shift a head."""
    features, weight, _, _ = head_of(0)
    for keep in (0.5, 0.75):
        ones = np.array([m.bit_count() for m in range(16)])
        chances = keep**ones * (1 - keep) ** (4 - ones)
        mean = np.einsum("m,bmk->k", chances, tables_of(features, weight, keep).astype(np.float64))
        np.testing.assert_allclose(mean, features @ weight, rtol=1e-5, atol=1e-5)


@given(st.integers(1, 70), st.floats(0.0, 40.0), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_probabilities_are_the_softmax_and_their_entropy_shannons(samples, size, seed):
    given_logits = (size * np.random.default_rng(seed).normal(size=(3, samples + 5))).astype(np.float32)
    logits = given_logits.copy()
    expected = np.exp(logits[:, :samples].astype(np.float64) - logits[:, :samples].max(axis=0))
    expected /= expected.sum(axis=0)
    mean = np.empty(3)
    to_probabilities(logits, samples, mean)
    np.testing.assert_array_equal(logits[:, samples:], given_logits[:, samples:])  # what fills a vector up is nobody's
    np.testing.assert_allclose(logits[:, :samples], expected, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(mean, expected.mean(axis=1), atol=1e-6)
    assert mean.sum() == pytest.approx(1.0, abs=1e-14)
    entropy = -(expected * np.log(np.maximum(expected, 1e-300))).sum(axis=0).mean()
    assert mean_entropy(logits, samples) == pytest.approx(entropy, abs=1e-6)


@pytest.mark.parametrize("spread", [1.0, 1.5, 4.0])
def test_spread_keeps_the_mean_of_the_logits_and_widens_them(spread):
    logits = np.random.default_rng(0).normal(size=(3, SAMPLES)).astype(np.float32)
    wide = logits.copy()
    spread_out(wide, SAMPLES, spread)
    np.testing.assert_allclose(wide.mean(axis=1), logits.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(wide.std(axis=1), spread * logits.std(axis=1), rtol=1e-5)
    if spread == 1.0:
        np.testing.assert_array_equal(wide, logits)


def test_the_exponential_and_the_logarithm_are_as_exact_as_they_say():
    x = np.concatenate([-np.geomspace(1e-8, 87.0, 20_000), [0.0]]).astype(np.float32)
    found = np.array([exponential(value) for value in x], np.float64)
    assert np.abs(found / np.exp(x.astype(np.float64)) - 1.0).max() < 1e-7 * 1.2
    p = np.geomspace(1e-30, 1.0, 20_000).astype(np.float32)
    found = np.array([logarithm(value) for value in p], np.float64)
    exact = np.log(p.astype(np.float64))
    assert np.abs(found - exact).max() < 2e-7 * 70
    assert (np.abs(found - exact) <= 2e-7 * np.abs(exact) + 1e-8).all()
    assert exponential(np.float32(-1e9)) < 1e-37
    assert exponential(np.float32(0.0)) == 1.0
    assert logarithm(np.float32(1.0)) == 0.0


def test_every_table_is_the_sum_of_its_bits():
    features, weight = np.arange(1, 33, dtype=np.float32), np.ones((32, 16), np.float32)
    tables = tables_of(features, weight, 0.5)
    for part, m in itertools.product(range(8), range(16)):
        kept = [2.0 * features[4 * part + bit] for bit in range(4) if m >> bit & 1]
        assert tables[part, m].tolist() == [sum(kept)] * 16
