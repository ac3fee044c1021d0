"""The kernels behind many decisions at once: one vector lane for each window, so that every number is an array along windows.

A block of windows is normalised and turned, (windows, numbers) to (numbers, windows). From there on each layer adds whole arrays, four
inputs at a time, with one weight each, which compiles to vector instructions whatever the layer's width. There is no BLAS: its
threads wait for each other on a machine whose cores are shared, and its sums differ from one machine to the next.

Layouts: X (numbers, B) with B windows; weights (inputs, outputs) as ``inference.py`` packs them, which calls these.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grandmodel.features.normaliser import LIMIT
from grandmodel.kernels import kernel

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ZERO = np.float32(0.0)


@kernel
def normalise_block(windows: Floats, centre: Floats, scale: Floats, known: Bools, turned: Singles, out: Singles) -> int:
    """``Normaliser.apply`` of up to B windows (n, R C) into ``out`` (R C, B), columns from 0.

    ``centre``, ``scale``, ``known``: for every cell of a window (R C,). ``turned`` (few, R C) is scratch: a few windows are turned at a
    time, so that what is written lies together. -1, or the number of the first window with a known cell that is not finite.
    """
    cells, few = len(centre), len(turned)
    for start in range(0, len(windows), few):
        count = min(few, len(windows) - start)
        for lane in range(count):
            if normalise_window(windows[start + lane], centre, scale, known, turned[lane]):
                return start + lane
        for cell in range(cells):
            run = out[cell, start : start + count]
            for lane in range(count):
                run[lane] = turned[lane, cell]
    return -1


@kernel
def normalise_window(window: Floats, centre: Floats, scale: Floats, known: Bools, out: Singles) -> int:
    """One window (R C,) into ``out`` (R C,); how many known cells are not finite."""
    unknown = 0
    for cell in range(len(centre)):
        value = window[cell]
        held = min(max(np.divide(value - centre[cell], scale[cell]), -LIMIT), LIMIT)
        out[cell] = held if known[cell] else 0.0
    for cell in range(len(centre)):
        # A number less itself is 0, unless it is not finite.
        unknown += 1 if known[cell] and window[cell] - window[cell] != 0.0 else 0
    return unknown


@kernel
def turn_tails(tails: Singles, out: Singles) -> int:
    """(n, T) tails into ``out`` (T, B); -1, or the number of the first that is not finite."""
    for number in range(len(tails)):
        for place in range(tails.shape[1]):
            value = tails[number, place]
            if not np.isfinite(value):
                return number
            out[place, number] = value
    return -1


@kernel
def add_layer(x: Singles, first: int, places: Integers, weight: Singles, out: Singles) -> None:
    """Add to ``out`` (O, B) the product of rows ``first + places`` of ``x`` with ``weight`` (len(places), O)."""
    inputs, outputs, count = len(places), len(out), out.shape[1]
    whole = inputs - inputs % 4
    for j in range(outputs):
        row = out[j]
        for i in range(0, whole, 4):
            w0, w1, w2, w3 = weight[i, j], weight[i + 1, j], weight[i + 2, j], weight[i + 3, j]
            x0, x1 = x[first + places[i]], x[first + places[i + 1]]
            x2, x3 = x[first + places[i + 2]], x[first + places[i + 3]]
            for lane in range(count):
                row[lane] += (w0 * x0[lane] + w1 * x1[lane]) + (w2 * x2[lane] + w3 * x3[lane])
        for i in range(whole, inputs):
            value, one = weight[i, j], x[first + places[i]]
            for lane in range(count):
                row[lane] += value * one[lane]


@kernel
def fill_bias(bias: Singles, out: Singles) -> None:
    """``bias`` (O,) into every column of ``out`` (O, B)."""
    for j in range(len(out)):
        row, value = out[j], bias[j]
        for lane in range(len(row)):
            row[lane] = value


@kernel
def keep_positive(x: Singles) -> None:
    """ReLU, in place."""
    for j in range(len(x)):
        row = x[j]
        for lane in range(len(row)):
            row[lane] = max(row[lane], _ZERO)


@kernel
def layer_of_patches(
    x: Singles, step: int, places: Integers, weight: Singles, bias: Singles, patches: int, out: Singles
) -> None:
    """max(0, W x + b) of every patch: patch p is rows ``p * step + places`` of ``x``, its answers rows p O ... of ``out``."""
    outputs = len(bias)
    for patch in range(patches):
        answers = out[patch * outputs : (patch + 1) * outputs]
        fill_bias(bias, answers)
        add_layer(x, patch * step, places, weight, answers)
        keep_positive(answers)


@kernel
def head_logits(
    x: Singles,
    inputs: int,
    tails: Singles,
    weight1: Singles,
    bias1: Singles,
    weight2: Singles,
    bias2: Singles,
    hidden: Singles,
    logits: Singles,
) -> None:
    """A head's logits of ``inputs`` rows of ``x`` and of the tails (T, B): ``logits`` (n, K), the first n windows.

    ``weight2`` (K, O) or (0, 0) as ``inference._Head`` has it; ``hidden`` (O, B) is scratch.
    """
    fill_bias(bias1, hidden)
    add_layer(x, 0, np.arange(inputs), weight1[:inputs], hidden)
    add_layer(tails, 0, np.arange(len(weight1) - inputs), weight1[inputs:], hidden)
    last = hidden
    if len(bias2):
        keep_positive(hidden)
        last = np.empty((len(bias2), hidden.shape[1]), np.float32)
        fill_bias(bias2, last)
        add_layer(hidden, 0, np.arange(len(bias1)), np.ascontiguousarray(weight2.T), last)
    for number in range(len(logits)):
        for k in range(logits.shape[1]):
            logits[number, k] = last[k, number]
