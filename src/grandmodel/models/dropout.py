"""Monte Carlo dropout, many samples at the price of one pass: masks from a counter, and heads by table lookup.

A sample is a draw of which of the 32 features are kept; it changes a head's input, not the trunk, so that the trunk runs once.

**Masks** are bits. ``word(seed, sample, agent)`` is the splitmix64 generator (Steele, Lea and Flood, OOPSLA 2014) at a place of its
own: any mask can be made without those before it, and the same three numbers make the same mask on every machine. The two halves
of a word are independent 32-bit words: one of them keeps each feature with probability 1/2, the two or-ed with 3/4. These
are the two kept shares an architecture may ask for. The decision's seed goes through the same mixing first, so that seeds that
follow each other share no masks.

**Heads.** Samples stand beside each other in a vector, sixteen at a time. A head without hidden layer adds a feature's part in the
lanes whose masks have its bit. With a hidden layer, what 32 masked features add is the sum of eight table rows, one for every four
bits of the mask: row m of table b holds what the features of part b add where its bits are m. The tables fit into the cache nearest
to the processor, as tables of whole bytes would not. Both are exact, up to the order of a float sum.

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
from grandmodel.vectors import (
    DOUBLES,
    LANES,
    add,
    add_where,
    filled,
    fma,
    load,
    load_wide,
    positive,
    splat,
    store,
    sum_of_lanes,
    turn_tile,
)

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Masks = NDArray[np.uint32]

FEATURES = 32
"""Bits of a mask."""
PARTS, ROWS = 8, 16
"""Tables of four bits each, and their rows."""
CLASSES = 3
"""Outcomes of a head that is sampled."""
MOST_AGENTS = 16
"""Of one layer: samples of an agent lie this far apart on the counter."""
_BITS = np.array([1 << bit for bit in range(32)], np.uint32)

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
def draw_linear(
    seen: Singles, base: int, weights: Singles, at: int, keep: float, masks: Masks, room: Singles, logits: Singles
) -> None:
    """Logits of a head without hidden layer under every mask: ``logits`` (3, S), S as many as ``masks``, a whole number of vectors.

    ``seen`` begins with the 32 features, and holds from ``base`` on the bias and what the tail adds. The weights (32, 16) begin at ``at``
    of ``weights``. ``room`` (96 or more) is scratch. Sixteen samples at a time, each feature is added where its bit is set.
    """
    for feature in range(FEATURES):
        value = np.float32(seen[feature] / keep)
        for k in range(CLASSES):
            room[CLASSES * feature + k] = value * weights[at + LANES * feature + k]
    for start in range(0, len(masks), LANES):
        words = load(masks, start)
        sum0, sum1, sum2 = splat(seen, base), splat(seen, base + 1), splat(seen, base + 2)
        for feature in range(FEATURES):
            bit, place = splat(_BITS, feature), CLASSES * feature
            sum0 = add_where(sum0, words, bit, splat(room, place))
            sum1 = add_where(sum1, words, bit, splat(room, place + 1))
            sum2 = add_where(sum2, words, bit, splat(room, place + 2))
        store(logits[0], start, sum0)
        store(logits[1], start, sum1)
        store(logits[2], start, sum2)


@kernel
def draw_hidden(
    seen: Singles,
    base: int,
    weights: Singles,
    at: int,
    width: int,
    last: int,
    keep: float,
    masks: Masks,
    room: Singles,
    logits: Singles,
) -> None:
    """Logits of a head with a hidden layer of ``width``, a whole number of vectors, under every mask; the rest as for ``draw_linear``.

    The hidden layer's weights (32, width) begin at ``at``, bias and weights of the last layer (1 + width, 16) at ``last``. ``room``
    (``hidden_room(width)`` or more) holds the tables, then sixteen samples' hidden layers, then these turned, so that the last layer
    runs along the samples.
    """
    fill_tables(seen, weights, at, width, keep, room)
    block = PARTS * ROWS * width
    turned = block + LANES * width
    for start in range(0, len(masks), LANES):
        for sample in range(LANES):
            mask, row = np.int64(masks[start + sample]), block + sample * width
            row0, row1 = (mask & 15) * width, (ROWS + (mask >> 4 & 15)) * width
            row2, row3 = (2 * ROWS + (mask >> 8 & 15)) * width, (3 * ROWS + (mask >> 12 & 15)) * width
            row4, row5 = (4 * ROWS + (mask >> 16 & 15)) * width, (5 * ROWS + (mask >> 20 & 15)) * width
            row6, row7 = (6 * ROWS + (mask >> 24 & 15)) * width, (7 * ROWS + (mask >> 28 & 15)) * width
            for j in range(0, width, LANES):
                low = add(
                    add(load(room, row0 + j), load(room, row1 + j)), add(load(room, row2 + j), load(room, row3 + j))
                )
                high = add(
                    add(load(room, row4 + j), load(room, row5 + j)), add(load(room, row6 + j), load(room, row7 + j))
                )
                store(room, row + j, positive(add(load(seen, base + j), add(low, high))))
        for j in range(0, width, LANES):
            turn_tile(room, block + j, width, room, turned + j * LANES, LANES)
        sum0, sum1, sum2 = splat(weights, last), splat(weights, last + 1), splat(weights, last + 2)
        for j in range(width):
            column, row = load(room, turned + j * LANES), last + LANES * (1 + j)
            sum0 = fma(column, splat(weights, row), sum0)
            sum1 = fma(column, splat(weights, row + 1), sum1)
            sum2 = fma(column, splat(weights, row + 2), sum2)
        store(logits[0], start, sum0)
        store(logits[1], start, sum1)
        store(logits[2], start, sum2)


@kernel
def fill_tables(seen: Singles, weights: Singles, at: int, width: int, keep: float, tables: Singles) -> None:
    """What every four bits of a mask add to a layer: ``tables`` (8, 16, width) from the 32 features with which ``seen`` begins.

    Kept features are divided by the share ``keep``, so that the mean over the masks is what all of them add.
    """
    for part in range(PARTS):
        table = part * ROWS * width
        for j in range(0, width, LANES):
            store(tables, table + j, filled(_ZERO))
        for bit in range(4):
            place = 4 * part + bit
            value = filled(np.float32(seen[place] / keep))
            top = 1 << bit
            for row in range(top):
                for j in range(0, width, LANES):
                    without = load(tables, table + row * width + j)
                    added = fma(value, load(weights, at + place * width + j), without)
                    store(tables, table + (top + row) * width + j, added)


def hidden_room(width: int) -> int:
    """Scratch numbers that ``draw_hidden`` needs for a hidden layer of ``width``."""
    return PARTS * ROWS * width + 2 * LANES * width


@kernel
def spread_out(logits: Singles, samples: int, spread: float) -> None:
    """Multiply how far each of the first ``samples`` lies from their mean, in place; ``logits`` (3, S)."""
    if spread == 1.0:
        return
    for k in range(len(logits)):
        row = logits[k]
        mean, factor = np.float32(sum_of(row, samples) / samples), np.float32(spread)
        for sample in range(samples):
            row[sample] = mean + factor * (row[sample] - mean)


@kernel
def to_probabilities(logits: Singles, samples: int, mean: Floats) -> None:
    """The softmax of each of the first ``samples``, in place, and their mean into ``mean`` (3,); ``logits`` (3, S)."""
    first, second, third = logits[0], logits[1], logits[2]
    for sample in range(samples):
        a, b, c = first[sample], second[sample], third[sample]
        top = max(a, b, c)
        first[sample] = exponential(a - top)
        second[sample] = exponential(b - top)
        third[sample] = exponential(c - top)
    for sample in range(samples):
        a, b, c = first[sample], second[sample], third[sample]
        share = np.divide(_ONE, a + b + c)
        first[sample] = a * share
        second[sample] = b * share
        third[sample] = c * share
    total = 0.0
    for k in range(CLASSES):
        mean[k] = sum_of(logits[k], samples)
        total += mean[k]
    for k in range(CLASSES):
        mean[k] /= total


@kernel
def mean_entropy(probabilities: Singles, samples: int) -> float:
    """The mean over the first ``samples`` of their entropy, nats; ``probabilities`` (3, S), which are lost."""
    first, second, third = probabilities[0], probabilities[1], probabilities[2]
    for sample in range(samples):
        a, b, c = first[sample], second[sample], third[sample]
        part = a * logarithm(max(a, _LEAST)) + b * logarithm(max(b, _LEAST))
        first[sample] = part + c * logarithm(max(c, _LEAST))
    return max(0.0, -sum_of(first, samples) / samples)


@kernel
def sum_of(row: Singles, count: int) -> float:
    """The sum of the first ``count`` numbers of ``row``, in float64: every eighth by itself, then these together."""
    whole = count - count % DOUBLES
    sums = filled(0.0)
    for place in range(0, whole, DOUBLES):
        sums = add(sums, load_wide(row, place))
    total = sum_of_lanes(sums)
    for place in range(whole, count):
        total += row[place]
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
