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
GROUP = 4
"""Logits are summed four at a time; widths of logits are padded to whole groups."""

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
    tables: Singles, base: Singles, weight: Singles, bias: Singles, masks: Masks, hidden: Singles, logits: Singles
) -> None:
    """Logits of a head with a hidden layer: masks, hidden layer, ReLU, logits.

    ``tables`` (4, 256, H) and ``base`` (H,) are the hidden layer's, ``weight`` (H, K') and ``bias`` (K') the last one's, padded with
    zeros to a multiple of four. ``hidden`` (H,) is scratch, ``logits`` (K, S) is filled.
    """
    first, second, third, fourth = tables[0], tables[1], tables[2], tables[3]
    count, width = logits.shape[0], len(base)
    for sample in range(len(masks)):
        mask = masks[sample]
        row0, row1, row2, row3 = (
            first[mask & 255],
            second[(mask >> 8) & 255],
            third[(mask >> 16) & 255],
            fourth[mask >> 24],
        )
        for j in range(width):
            value = base[j] + ((row0[j] + row1[j]) + (row2[j] + row3[j]))
            hidden[j] = max(value, np.float32(0.0))
        for group in range(0, count, GROUP):
            a0, a1, a2, a3 = bias[group], bias[group + 1], bias[group + 2], bias[group + 3]
            for j in range(width):
                value = hidden[j]
                a0 += value * weight[j, group]
                a1 += value * weight[j, group + 1]
                a2 += value * weight[j, group + 2]
                a3 += value * weight[j, group + 3]
            logits[group, sample] = a0
            if group + 1 < count:
                logits[group + 1, sample] = a1
            if group + 2 < count:
                logits[group + 2, sample] = a2
            if group + 3 < count:
                logits[group + 3, sample] = a3


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
def to_probabilities(logits: Singles, mean: Floats) -> None:
    """The softmax of each sample, in place, and the mean over the samples into ``mean`` (K,); ``logits`` (K, S)."""
    actions, samples = logits.shape
    for sample in range(samples):
        top = logits[0, sample]
        for k in range(1, actions):
            top = max(top, logits[k, sample])
        total = np.float32(0.0)
        for k in range(actions):
            value = math.exp(logits[k, sample] - top)
            logits[k, sample] = value
            total += value
        share = np.float32(1.0) / total
        for k in range(actions):
            logits[k, sample] *= share
    whole = 0.0
    for k in range(actions):
        total64 = 0.0
        row = logits[k]
        for sample in range(samples):
            total64 += row[sample]
        mean[k] = total64
        whole += total64
    for k in range(actions):
        mean[k] /= whole


@kernel
def mean_entropy(probabilities: Singles) -> float:
    """The mean over the samples of their entropy, nats; ``probabilities`` (K, S)."""
    actions, samples = probabilities.shape
    total = 0.0
    for k in range(actions):
        row = probabilities[k]
        for sample in range(samples):
            value = row[sample]
            if value > 0.0:
                total -= value * math.log(value)
    return float(max(0.0, total / samples))
