"""A model's weights as one array, laid out for vectors, and the plan that says where each layer lies in it.

A layer is its bias (O) and then its weights (I, O), row by row: number j of the output is the bias plus, input by input in order, what
each adds, every step one ``fma``. ``inference_one.py`` and ``inference_batch.py`` both do that, so that they agree to the last bit.
O is filled up to a whole vector with zeros; what they give, the next layer meets with weights of 0.

    trunk:  patch1, patch2, features        one trunk behind the other, all of one form
    head:   [hidden,] logits                all of one form; weights for the features, then for the tail
    the Coordinator's head, of the agents' beliefs and the tail

A trunk that sees fewer columns than another has weights of 0 for what is missing. The plan is an array of integers, read by the
names below: a kernel takes one array where it would else take twenty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandmodel.models.architecture import Architecture, HeadSpec
from grandmodel.models.model_file import Tensors
from grandmodel.vectors import LANES, aligned

Singles = NDArray[np.float32]
Integers = NDArray[np.int64]

# Places of the plan. Trunks: how many, patches of the first layer, inputs and outputs of the first (outputs with what they are
# filled up by), cells between two patches, patches of the second, its inputs and outputs, where the first trunk begins, numbers of one.
TRUNKS, PATCHES1, INPUTS1, OUTPUTS1, STEP1, PATCHES2, INPUTS2, OUTPUTS2, TRUNK_AT, TRUNK_SIZE = range(10)
# Heads: how many, their hidden layer's width (0: none), numbers of the tail, where the first begins, numbers of one.
HEADS, HIDDEN, TAIL, HEAD_AT, HEAD_SIZE = range(10, 15)
# The Coordinator's: inputs (0: there is no Coordinator), the tail's among them, the hidden layer's width, where it begins.
JOINT_INPUTS, _, JOINT_HIDDEN, JOINT_AT = range(15, 19)
# All columns of the matrix; numbers of all agents' logits; then from here on the actions of each agent, the Coordinator last.
COLUMNS, LOGITS, ACTIONS = range(19, 22)
FEATURES = 32
"""Of one trunk."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Weights and plan of one model."""

    weights: Singles
    plan: Integers
    places: Integers
    """(T, I1): the cells, of all cells of a window, that patch 0 of each trunk takes in; patch p takes those ``p STEP1`` further on."""


def whole(count: int) -> int:
    """``count`` filled up to a whole number of vectors."""
    return -(-count // LANES) * LANES


def pack(architecture: Architecture, weights: Tensors, columns: int) -> Packed:
    """Lay out ``weights`` for windows of ``columns`` columns; ``architecture`` is of a form that ``inference.py`` has checked."""
    trunks = architecture.trunks
    own = [head for head in architecture.heads if head.trunk]
    joint = [head for head in architecture.heads if not head.trunk]
    (p1, p2), (w1, w2), width = trunks[0].patches, trunks[0].widths, max(len(trunk.columns) for trunk in trunks)
    patches1, patches2 = trunks[0].rows // p1, trunks[0].rows // (p1 * p2)
    hidden, tail = whole(max(head.hidden for head in own)), own[0].tail

    def tensor(name: str, part: str) -> Singles:
        return np.asarray(weights[f"{name}.{part}"], np.float32)

    parts: list[Singles] = []
    places = np.zeros((len(trunks), p1, width), np.int64)
    for place, trunk in enumerate(trunks):
        seen = len(trunk.columns)
        places[place, :, :seen] = columns * np.arange(p1)[:, None] + np.array(trunk.columns)
        first = np.zeros((p1, width, w1), np.float32)
        first[:, :seen] = tensor(trunk.name, "patch1.weight").T.reshape(p1, seen, w1)
        parts.append(_layer(first.reshape(p1 * width, w1), tensor(trunk.name, "patch1.bias")))
        for name, blocks, filled in (("patch2", p2, whole(w1)), ("features", patches2, whole(w2))):
            matrix = tensor(trunk.name, f"{name}.weight").T
            parts.append(_layer(_spread_rows(matrix, blocks, filled), tensor(trunk.name, f"{name}.bias")))
    trunk_size = sum(part.size for part in parts) // len(trunks)
    head_at = sum(part.size for part in parts)
    parts += [part for head in own for part in _head_layers(weights, head, hidden)]
    head_size = (sum(part.size for part in parts) - head_at) // len(own)
    joint_at = sum(part.size for part in parts)
    joint_hidden = whole(joint[0].hidden) if joint else 0
    parts += [part for head in joint for part in _head_layers(weights, head, joint_hidden)]
    plan = np.array(
        [
            *(len(trunks), patches1, p1 * width, whole(w1), p1 * columns),
            *(patches2, p2 * whole(w1), whole(w2), 0, trunk_size),
            *(len(own), hidden, tail, head_at, head_size),
            *(architecture.head_inputs(joint[0]) + joint[0].tail if joint else 0, joint[0].tail if joint else 0),
            *(joint_hidden, joint_at),
            *(columns, sum(len(head.actions) for head in architecture.heads)),
            *(len(head.actions) for head in (*own, *joint)),
        ],
        np.int64,
    )
    packed = aligned((sum(part.size for part in parts),), np.float32)
    packed[:] = np.concatenate([part.ravel() for part in parts])
    return Packed(packed, plan, places.reshape(len(trunks), -1))


def _layer(matrix: Singles, bias: Singles) -> Singles:
    """Bias and weights (1 + I, O), O filled up to a whole vector."""
    inputs, outputs = matrix.shape
    made = np.zeros((1 + inputs, whole(outputs)), np.float32)
    made[0, :outputs], made[1:, :outputs] = bias, matrix
    return made


def _spread_rows(matrix: Singles, blocks: int, filled: int) -> Singles:
    """``blocks`` times as many rows as a layer below gives, each block of them filled up to ``filled`` with zeros."""
    rows = len(matrix) // blocks
    made = np.zeros((blocks, filled, matrix.shape[1]), np.float32)
    made[:, :rows] = matrix.reshape(blocks, rows, -1)
    return made.reshape(blocks * filled, -1)


def _head_layers(weights: Tensors, head: HeadSpec, hidden: int) -> list[Singles]:
    first = "hidden" if head.hidden else "logits"
    layers = [_layer(weights[f"{head.agent}.{first}.weight"].T, weights[f"{head.agent}.{first}.bias"])]
    if head.hidden:
        matrix = _spread_rows(weights[f"{head.agent}.logits.weight"].T, 1, hidden)
        layers.append(_layer(matrix, weights[f"{head.agent}.logits.bias"]))
        made = np.zeros((len(layers[0]), hidden), np.float32)
        made[:, : layers[0].shape[1]] = layers[0]
        layers[0] = made
    return layers
