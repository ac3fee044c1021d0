"""Monte Carlo dropout, many samples at the price of one pass: masks from a counter, and heads by table lookup.

A sample is a draw of which of the 32 features are kept; it changes a head's input, not the trunk, so that the trunk runs once.

**Masks** are bits. ``word(seed, sample, agent)`` is the splitmix64 generator (Steele, Lea and Flood, OOPSLA 2014) at a place of its
own: any mask can be made without those before it, and the same three numbers make the same mask on every machine. The two halves
of a word are independent 32-bit words: one of them keeps each feature with probability 1/2, the two or-ed with 3/4. These
are the two kept shares an architecture may ask for. The decision's seed goes through the same mixing first, so that seeds that
follow each other share no masks.

**Heads.** What 32 masked features add to a layer is the sum of four table rows, one for each byte of the mask: row m of table b
holds what the features of byte b add where the byte is m. Building the tables costs one vector addition a row, 1,024 of them; a
sample then costs four additions of rows instead of 32 masked ones. It is exact, up to the order of a float sum.

**Spread.** Dropout knows little of how far from its training data it is. ``spread`` (at least 1) multiplies how far each sample's
logits lie from their mean over the samples, so that an outer measure of novelty can raise the model's ignorance.

Kernels take arrays that the caller keeps, and allocate nothing. ``inference.py`` calls them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Masks = NDArray[np.uint32]

FEATURES = 32
"""Bits of a mask."""
BYTES = 4
ROWS = 256
MOST_AGENTS = 16
"""Of one layer: samples of an agent lie this far apart on the counter."""
BLOCK = 64
"""Samples whose hidden layer is made before it is turned."""

# splitmix64.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_AGENTS = np.uint64(MOST_AGENTS)


@kernel(inline=True)
def _mix(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@kernel
def word(seed: np.uint64, sample: np.uint64, agent: np.uint64) -> np.uint64:
    """64 random bits of one sample of one agent: all three are uint64, ``agent`` below 16."""
    return _mix(_mix(seed) + _GAMMA * (sample * _AGENTS + agent + np.uint64(1)))


@kernel
def fill_masks(seed: np.uint64, agent: np.uint64, dropout: float, masks: Masks) -> None:
    """The masks of all samples of one agent into ``masks`` (S,): a set bit keeps its feature.

    ``dropout`` is 0.25 or 0.5, as ``Architecture`` has checked.
    """
    is_half = dropout == 0.5
    for sample in range(len(masks)):
        bits = word(seed, np.uint64(sample), agent)
        half = bits & _LOW
        masks[sample] = half if is_half else half | (bits >> _S32)


@kernel
def fill_tables(features: Singles, weight: Singles, keep: float, tables: Singles) -> None:
    """What every byte of a mask adds to a layer: ``tables`` (4, 256, O) from ``features`` (32,) and ``weight`` (32 or more, O).

    Kept features are divided by the share ``keep``, so that the mean over the masks is what all of them add.
    """
    outputs = weight.shape[1]
    for byte in range(BYTES):
        table = tables[byte]
        for j in range(outputs):
            table[0, j] = 0.0
        for bit in range(8):
            place = 8 * byte + bit
            value = np.float32(features[place] / keep)
            top = 1 << bit
            row = weight[place]
            for m in range(top):
                without, added = table[m], table[top + m]
                for j in range(outputs):
                    added[j] = without[j] + value * row[j]


@kernel
def sample_linear(tables: Singles, base: Singles, masks: Masks, logits: Singles) -> None:
    """Logits of a head without hidden layer: ``logits`` (K, S) from tables (4, 256, K) and ``base`` (K,), its bias and tail's part."""
    first, second, third, fourth = tables[0], tables[1], tables[2], tables[3]
    for k in range(len(base)):
        row, start = logits[k], base[k]
        for sample in range(len(masks)):
            mask = masks[sample]
            row[sample] = start + (
                (first[mask & 255, k] + second[(mask >> 8) & 255, k])
                + (third[(mask >> 16) & 255, k] + fourth[mask >> 24, k])
            )


@kernel
def sample_hidden(
    tables: Singles,
    base: Singles,
    weight: Singles,
    bias: Singles,
    masks: Masks,
    block: Singles,
    hidden: Singles,
    logits: Singles,
) -> None:
    """Logits of a head with a hidden layer: masks, hidden layer, ReLU, logits; ``logits`` (K, S) is filled.

    ``tables`` (4, 256, H) and ``base`` (H,) are the hidden layer's, ``weight`` (K, H) and ``bias`` (K,) the last one's. Rows are
    added a sample at a time into ``block`` (any, H), and turned into ``hidden`` (H, S), where the last layer runs along the samples.
    """
    first, second, third, fourth = tables[0], tables[1], tables[2], tables[3]
    width, samples = len(base), len(masks)
    for start in range(0, samples, len(block)):
        count = min(len(block), samples - start)
        for place in range(count):
            mask, row = masks[start + place], block[place]
            row0, row1 = first[mask & 255], second[(mask >> 8) & 255]
            row2, row3 = third[(mask >> 16) & 255], fourth[mask >> 24]
            for j in range(width):
                value = base[j] + ((row0[j] + row1[j]) + (row2[j] + row3[j]))
                row[j] = max(value, _ZERO)
        for j in range(width):
            column = hidden[j]
            for place in range(count):
                column[start + place] = block[place, j]
    whole = width - width % 4
    for k in range(len(bias)):
        row = logits[k]
        row[:] = bias[k]
        for j in range(0, whole, 4):
            w0, w1, w2, w3 = weight[k, j], weight[k, j + 1], weight[k, j + 2], weight[k, j + 3]
            h0, h1, h2, h3 = hidden[j], hidden[j + 1], hidden[j + 2], hidden[j + 3]
            for sample in range(samples):
                row[sample] += (w0 * h0[sample] + w1 * h1[sample]) + (w2 * h2[sample] + w3 * h3[sample])
        for j in range(whole, width):
            value, column = weight[k, j], hidden[j]
            for sample in range(samples):
                row[sample] += value * column[sample]


@kernel
def spread_out(logits: Singles, spread: float) -> None:
    """Multiply how far each sample lies from the mean over the samples, in place; ``logits`` (K, S)."""
    if spread == 1.0:
        return
    samples = logits.shape[1]
    for k in range(logits.shape[0]):
        row = logits[k]
        total = 0.0
        for sample in range(samples):
            total += row[sample]
        mean, factor = np.float32(total / samples), np.float32(spread)
        for sample in range(samples):
            row[sample] = mean + factor * (row[sample] - mean)


@kernel
def to_probabilities(logits: Singles, scratch: Singles, mean: Floats) -> None:
    """The softmax of each sample, in place, and the mean over the samples into ``mean`` (K,); ``logits`` (K, S), ``scratch`` (S,)."""
    actions, samples = logits.shape
    scratch[:] = logits[0]
    for k in range(1, actions):
        row = logits[k]
        for sample in range(samples):
            scratch[sample] = max(scratch[sample], row[sample])
    for k in range(actions):
        row = logits[k]
        for sample in range(samples):
            row[sample] = exponential(row[sample] - scratch[sample])
    scratch[:] = logits[0]
    for k in range(1, actions):
        row = logits[k]
        for sample in range(samples):
            scratch[sample] += row[sample]
    for sample in range(samples):
        scratch[sample] = np.divide(_ONE, scratch[sample])
    whole = 0.0
    for k in range(actions):
        row = logits[k]
        for sample in range(samples):
            row[sample] *= scratch[sample]
        mean[k] = sum_of(row)
        whole += mean[k]
    for k in range(actions):
        mean[k] /= whole


@kernel
def mean_entropy(probabilities: Singles, scratch: Singles) -> float:
    """The mean over the samples of their entropy, nats; ``probabilities`` (K, S), ``scratch`` (S,)."""
    actions, samples = probabilities.shape
    scratch[:] = 0.0
    for k in range(actions):
        row = probabilities[k]
        for sample in range(samples):
            scratch[sample] -= row[sample] * logarithm(max(row[sample], _LEAST))
    return float(max(0.0, sum_of(scratch) / samples))


@kernel
def sum_of(row: Singles) -> float:
    """The sum of ``row`` (S,) in float64."""
    total = 0.0
    for value in row:
        total += value
    return float(total)


@kernel(inline=True)
def exponential(x: Any) -> Any:
    """E to the ``x``, for x from -87 to 0, within 1e-7 of itself.

    x = k log 2 + r with |r| at most half of log 2; the series of e^r to its seventh power, times 2^k put together from bits. The
    library's is as exact but a call each: here a loop over samples compiles to vector instructions, six times as fast.
    """
    value = max(x, _LEAST_EXPONENT)
    k = np.floor(value * _LOG2E + _HALF)
    r = value - k * _LN2_HIGH - k * _LN2_LOW
    series = _ONE + r * (_ONE + r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * _E7))))))
    return series * np.int32((np.int32(k) + _BIAS) << _MANTISSA).view(np.float32)


@kernel(inline=True)
def logarithm(x: Any) -> Any:
    """Log ``x`` for a normal x above 0, within 2e-7 of itself: x = 2^k m with m around 1, and the series of the inverse tanh.

    ``np.divide`` divides without the check for 0 that would keep the loop from vector instructions; m + 1 is never 0.
    """
    bits = np.float32(x).view(np.int32)
    k = np.int32(np.int32(bits - _ROOT_HALF) >> _MANTISSA)
    m = np.int32(bits - np.int32(k << _MANTISSA)).view(np.float32)
    t = np.divide(m - _ONE, m + _ONE)
    square = t * t
    return np.float32(k) * _LN2 + t * (_L1 + square * (_L3 + square * (_L5 + square * (_L7 + square * _L9))))


_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_LEAST = np.float32(1e-30)
"""A probability below this adds nothing to an entropy; above it float32 is normal."""
_LEAST_EXPONENT = np.float32(-87.0)
_LOG2E, _LN2 = np.float32(1.0 / math.log(2.0)), np.float32(math.log(2.0))
# log 2 in two parts: the first has few enough bits that a whole number times it is exact.
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2.0) - 0.693359375)
_E2, _E3, _E4, _E5, _E6, _E7 = [np.float32(1.0 / math.factorial(k)) for k in range(2, 8)]
_L1, _L3, _L5, _L7, _L9 = [np.float32(2.0 / k) for k in (1, 3, 5, 7, 9)]
# A float32 is a sign, 8 bits of exponent with this bias, and 23 of mantissa; the last number is sqrt(1/2) as bits.
_BIAS, _MANTISSA, _ROOT_HALF = np.int32(127), np.int32(23), np.int32(0x3F3504F3)
