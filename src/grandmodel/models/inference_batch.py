"""The kernels behind many decisions at once: one vector lane for each window, so that every number is an array along windows.

A block of windows is normalised and turned, (windows, numbers) to (numbers, windows). From there on sixteen windows are a vector, and
go through each layer together: four vectors and four of the layer's outputs at a time, whose sums stay in registers. Each sum is the
bias and then input after input, one ``fma`` each: what ``inference_one.py`` computes of one window, to the last bit. There is no BLAS:
its threads wait for each other on a machine whose cores are shared, and its sums differ from one machine to the next.

The rows of a block, each of ``BLOCK`` windows: cells, level 1, level 2, features, tail, hidden layer, logits, beliefs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.models.dropout import exponential
from grandmodel.models.inference_one import normalise_window
from grandmodel.models.packed import (
    ACTIONS,
    FEATURES,
    HEAD_AT,
    HEAD_SIZE,
    HEADS,
    HIDDEN,
    INPUTS1,
    INPUTS2,
    JOINT_AT,
    JOINT_HIDDEN,
    JOINT_INPUTS,
    OUTPUTS1,
    OUTPUTS2,
    PATCHES1,
    PATCHES2,
    STEP1,
    TAIL,
    TRUNK_AT,
    TRUNK_SIZE,
    TRUNKS,
)
from grandmodel.models.superposition import OUTCOMES
from grandmodel.vectors import LANES, fma, load, positive, splat, store, turn_tile

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]

BLOCK = 64
"""Windows of a block, four vectors: few enough that what lies between two layers stays in the cache."""
TOGETHER = 4
"""Outputs of a layer at a time: four of four vectors are the sixteen sums that fit into registers beside what they are made from."""


@kernel
def run_windows(
    windows: Floats,
    tails: Singles,
    units: Floats,
    weights: Singles,
    plan: Integers,
    places: Integers,
    seen: Integers,
    turned: Singles,
    block: Singles,
    logits: Singles,
    features: Singles,
) -> int:
    """The networks on N windows, without dropout: ``logits`` (N, L) of all agents and ``features`` (N, T x 32), or (0, 0) for none.

    ``windows`` (N, R C) raw; ``tails`` (N, tail); ``units`` and ``places`` as for ``decide_strategic``. ``seen`` (heads, inputs): the rows of
    a block that each head takes in, counted from the first feature, the Coordinator's last. ``turned`` (16, R C filled up) and
    ``block`` (rows, ``BLOCK``) are scratch. -1, or the first window that has a number that is not finite.
    """
    for start in range(0, len(windows), BLOCK):
        end = min(start + BLOCK, len(windows))
        bad = fill_block(windows[start:end], tails[start:end], units, plan, turned, block)
        if bad >= 0:
            return start + bad
        run_block(weights, plan, places, seen, block, logits[start:end])
        first = first_feature(units.shape[1], plan)
        for place in range(features.shape[1]):
            row = block[first + place]
            for lane in range(end - start):
                features[start + lane, place] = row[lane]
    return -1


@kernel
def first_feature(cells: int, plan: Integers) -> int:
    """The row of a block in which the features begin."""
    return int(cells + plan[PATCHES1] * plan[OUTPUTS1] + plan[PATCHES2] * plan[OUTPUTS2])


@kernel
def fill_block(windows: Floats, tails: Singles, units: Floats, plan: Integers, turned: Singles, block: Singles) -> int:
    """Normalise up to ``BLOCK`` windows (n, R C) and turn them, tails too; -1 or the number of the first that is not finite.

    Sixteen windows are turned at a time, so that what is written lies together. Lanes that no window fills keep what they held.
    """
    cells = units.shape[1]
    width = turned.shape[1]
    for start in range(0, len(windows), LANES):
        count = min(LANES, len(windows) - start)
        for lane in range(count):
            if normalise_window(windows[start + lane], units, turned[lane]) != 0.0:
                return start + lane
        for cell in range(0, width, LANES):  # The last rows are level 1's, which is written later.
            turn_tile(turned, cell, width, block, cell * BLOCK + start, BLOCK)
    first = first_feature(cells, plan) + plan[TRUNKS] * FEATURES
    for number in range(len(tails)):
        for place in range(tails.shape[1]):
            if not np.isfinite(tails[number, place]):
                return number
            block[first + place, number] = tails[number, place]
    return -1


@kernel
def run_block(
    weights: Singles, plan: Integers, places: Integers, seen: Integers, block: Singles, logits: Singles
) -> None:
    """The networks on a block whose cells and tails are filled: its features, and the first n windows' ``logits`` (n, L)."""
    in_order = places[len(places) - 1]
    patches1, inputs1, outputs1, step1 = plan[PATCHES1], plan[INPUTS1], plan[OUTPUTS1], plan[STEP1]
    patches2, inputs2, outputs2 = plan[PATCHES2], plan[INPUTS2], plan[OUTPUTS2]
    level1 = step1 * patches1
    level2 = level1 + patches1 * outputs1
    features = level2 + patches2 * outputs2
    for trunk in range(plan[TRUNKS]):
        at = plan[TRUNK_AT] + trunk * plan[TRUNK_SIZE]
        for patch in range(patches1):
            begin, to = patch * step1, level1 + patch * outputs1
            block_layer(block, begin, places[trunk], weights, at, inputs1, outputs1, outputs1, to, True)
        at += outputs1 * (1 + inputs1)
        for patch in range(patches2):
            begin, to = level1 + patch * inputs2, level2 + patch * outputs2
            block_layer(block, begin, in_order, weights, at, inputs2, outputs2, outputs2, to, True)
        at += outputs2 * (1 + inputs2)
        to = features + trunk * FEATURES
        block_layer(block, level2, in_order, weights, at, patches2 * outputs2, FEATURES, FEATURES, to, True)
    heads, inputs, hidden, column = plan[HEADS], FEATURES + plan[TAIL], plan[HIDDEN], 0
    beliefs = len(block) - OUTCOMES * heads
    after = beliefs - LANES - max(hidden, plan[JOINT_HIDDEN])
    for head in range(heads):
        at, actions = plan[HEAD_AT] + head * plan[HEAD_SIZE], plan[ACTIONS + head]
        block_head(block, features, seen[head], in_order, weights, at, inputs, hidden, after, actions, logits, column)
        column += actions
        if plan[JOINT_INPUTS]:
            write_beliefs(block, after + hidden, beliefs + OUTCOMES * head)
    if plan[JOINT_INPUTS]:
        at, inputs, hidden, actions = plan[JOINT_AT], plan[JOINT_INPUTS], plan[JOINT_HIDDEN], plan[ACTIONS + heads]
        block_head(block, features, seen[heads], in_order, weights, at, inputs, hidden, after, actions, logits, column)


@kernel
def block_head(
    block: Singles,
    first: int,
    seen: Integers,
    in_order: Integers,
    weights: Singles,
    at: int,
    inputs: int,
    hidden: int,
    to: int,
    actions: int,
    logits: Singles,
    column: int,
) -> None:
    """A head of rows ``first + seen``: its hidden layer in the rows from ``to`` on, logits behind it and in ``logits`` from ``column`` on."""
    used = -(-actions // TOGETHER) * TOGETHER
    if hidden:
        block_layer(block, first, seen, weights, at, inputs, hidden, hidden, to, True)
        at += hidden * (1 + inputs)
        block_layer(block, to, in_order, weights, at, hidden, LANES, used, to + hidden, False)
    else:
        block_layer(block, first, seen, weights, at, inputs, LANES, used, to, False)
    for k in range(actions):
        row = block[to + hidden + k]
        for lane in range(len(logits)):
            logits[lane, column + k] = row[lane]


@kernel
def block_layer(
    block: Singles,
    first: int,
    places: Integers,
    weights: Singles,
    at: int,
    inputs: int,
    outputs: int,
    used: int,
    to: int,
    is_hidden: bool,
) -> None:
    """A layer of rows ``first + places`` of ``block`` into its rows from ``to`` on: the first ``used`` of ``outputs``, a multiple of 4.

    ``at``: where bias and weights begin. ``is_hidden``: what is below 0 becomes 0.
    """
    for j in range(0, used, TOGETHER):
        bias, row = at + j, at + outputs + j
        bias0 = splat(weights, bias + 0)
        bias1 = splat(weights, bias + 1)
        bias2 = splat(weights, bias + 2)
        bias3 = splat(weights, bias + 3)
        sum00, sum01, sum02, sum03 = bias0, bias0, bias0, bias0
        sum10, sum11, sum12, sum13 = bias1, bias1, bias1, bias1
        sum20, sum21, sum22, sum23 = bias2, bias2, bias2, bias2
        sum30, sum31, sum32, sum33 = bias3, bias3, bias3, bias3
        for i in range(inputs):
            place = (first + places[i]) * BLOCK
            x0 = load(block, place)
            x1 = load(block, place + 16)
            x2 = load(block, place + 32)
            x3 = load(block, place + 48)
            weight = splat(weights, row)
            sum00 = fma(x0, weight, sum00)
            sum01 = fma(x1, weight, sum01)
            sum02 = fma(x2, weight, sum02)
            sum03 = fma(x3, weight, sum03)
            weight = splat(weights, row + 1)
            sum10 = fma(x0, weight, sum10)
            sum11 = fma(x1, weight, sum11)
            sum12 = fma(x2, weight, sum12)
            sum13 = fma(x3, weight, sum13)
            weight = splat(weights, row + 2)
            sum20 = fma(x0, weight, sum20)
            sum21 = fma(x1, weight, sum21)
            sum22 = fma(x2, weight, sum22)
            sum23 = fma(x3, weight, sum23)
            weight = splat(weights, row + 3)
            sum30 = fma(x0, weight, sum30)
            sum31 = fma(x1, weight, sum31)
            sum32 = fma(x2, weight, sum32)
            sum33 = fma(x3, weight, sum33)
            row += outputs
        out = (to + j) * BLOCK
        write_row(block, out, sum00, sum01, sum02, sum03, is_hidden)
        write_row(block, out + 1 * BLOCK, sum10, sum11, sum12, sum13, is_hidden)
        write_row(block, out + 2 * BLOCK, sum20, sum21, sum22, sum23, is_hidden)
        write_row(block, out + 3 * BLOCK, sum30, sum31, sum32, sum33, is_hidden)


@kernel(inline=True)
def write_row(block: Singles, at: int, x0: Any, x1: Any, x2: Any, x3: Any, is_hidden: bool) -> None:
    """One row of a block, from ``at`` on: four vectors, what is below 0 as 0 where ``is_hidden``."""
    if is_hidden:
        x0, x1, x2, x3 = positive(x0), positive(x1), positive(x2), positive(x3)
    store(block, at, x0)
    store(block, at + LANES, x1)
    store(block, at + 2 * LANES, x2)
    store(block, at + 3 * LANES, x3)


@kernel
def write_beliefs(block: Singles, logits: int, to: int) -> None:
    """``inference_one.write_softmax`` of three rows of logits, into three rows from ``to`` on."""
    first, second, third = block[logits], block[logits + 1], block[logits + 2]
    out0, out1, out2 = block[to], block[to + 1], block[to + 2]
    for lane in range(BLOCK):
        a, b, c = first[lane], second[lane], third[lane]
        top = max(a, b, c)
        part0, part1, part2 = exponential(a - top), exponential(b - top), exponential(c - top)
        total = np.float64(part0) + np.float64(part1) + np.float64(part2)
        out0[lane] = np.divide(np.float64(part0), total)
        out1[lane] = np.divide(np.float64(part1), total)
        out2[lane] = np.divide(np.float64(part2), total)
