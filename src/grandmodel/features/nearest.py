"""Labelled points in the plane, and the mean label of those nearest to a place, at a price that hardly grows with their number.

A tree of boxes (a k-d tree, Bentley 1975): a leaf holds up to 32 points; a full one is halved across its longer side. Every node knows
the smallest box around its points, so that whole branches farther away than the nearest found so far are passed over. A question
looks at some dozens of leaves, whether there are a thousand points or a million. The answer is exact, equal distances included: of
those the older point counts as nearer.

Where the place moves little from one question to the next, as in a series of bars, the points that were nearest lie within the last
distance and the step together: no search goes beyond that circle. Mostly one hardly wider than the last will do, and is tried first.

The index is one flat array, like every state of this room, but nothing in it need be saved: it follows from the points in their order.

    header | candidates | nodes, 8 numbers each | leaves, 32 x, y, label and number each | nodes that wait
"""

from __future__ import annotations

import math

import numpy as np

from grandmodel.features.arrays import Floats
from grandmodel.features.order_statistics import select_smallest
from grandmodel.kernels import kernel

LEAF = 32
"""Points in a leaf, at most."""
CANDIDATES = 512
"""Points held while a search goes on; when they are that many, the nearest are kept."""
USUAL_GROWTH = 1.5
"""Of the area that holds the nearest, from one search to the next, in most cases: a wrong guess costs a second search."""

# The header: room for points, points, nodes and leaves in use, sum of the labels; of the last search: the place, the squared
# distance of its farthest point (-1: there was none), and how many points it asked for; then the newest point.
ROOM, POINTS, NODES, LEAVES, LABELS, LAST_X, LAST_Y, REACH, ASKED, NEWEST_X, NEWEST_Y = range(11)
HEADER = 16
# Distances, labels and numbers of the candidates, and distances to select from.
NEAR_AT = HEADER
NODES_AT = NEAR_AT + 4 * CANDIDATES
# A node: its box, the side it is cut across (0: x, 1: y, -1: it is a leaf), where; its first child, the second behind it, or the
# number of its leaf; how many points.
LOW_X, HIGH_X, LOW_Y, HIGH_Y, SIDE, CUT, FIRST, COUNT = range(8)
NODE = 8
LEAF_SLOTS = 4 * LEAF


def point_index(room: int) -> Floats:
    """An empty index with room for so many points."""
    index = np.zeros(_leaves_at(room) + _most_leaves(room) * LEAF_SLOTS + _most_nodes(room))
    index[ROOM] = room
    clear_points(index)
    return index


def point_index_with_room(index: Floats, room: int) -> Floats:
    """The same points with room for ``room``, no fewer than there are."""
    made = point_index(room)
    before, nodes, leaves = int(index[ROOM]), int(index[NODES]) * NODE, int(index[LEAVES]) * LEAF_SLOTS
    made[POINTS:HEADER] = index[POINTS:HEADER]
    made[NODES_AT : NODES_AT + nodes] = index[NODES_AT : NODES_AT + nodes]
    to, begin = _leaves_at(room), _leaves_at(before)
    made[to : to + leaves] = index[begin : begin + leaves]
    return made


@kernel
def _most_leaves(room: int) -> int:
    # A leaf that was halved leaves two of half its size, and points are never taken out.
    return room // (LEAF // 2) + 2


@kernel
def _most_nodes(room: int) -> int:
    return 2 * _most_leaves(room)


@kernel
def _leaves_at(room: int) -> int:
    return NODES_AT + _most_nodes(room) * NODE


@kernel
def clear_points(index: Floats) -> None:
    """Begin with one leaf, empty."""
    index[POINTS] = index[LABELS] = 0.0
    index[NODES] = index[LEAVES] = 1.0
    index[REACH] = -1.0
    _begin_leaf(index, NODES_AT, 0)


@kernel
def _begin_leaf(index: Floats, node: int, leaf: int) -> None:
    index[node + LOW_X] = index[node + LOW_Y] = math.inf
    index[node + HIGH_X] = index[node + HIGH_Y] = -math.inf
    index[node + SIDE] = -1.0
    index[node + FIRST] = leaf
    index[node + COUNT] = 0.0


@kernel
def _put(index: Floats, node: int, leaf: int, x: float, y: float, label: float, number: float) -> None:
    """One more point into the leaf that begins at ``leaf``, which ``node`` owns; the node's box grows."""
    place = leaf + int(index[node + COUNT])
    index[place] = x
    index[place + LEAF] = y
    index[place + 2 * LEAF] = label
    index[place + 3 * LEAF] = number
    _widen(index, node, x, y)


@kernel
def _widen(index: Floats, node: int, x: float, y: float) -> None:
    index[node + LOW_X] = min(index[node + LOW_X], x)
    index[node + HIGH_X] = max(index[node + HIGH_X], x)
    index[node + LOW_Y] = min(index[node + LOW_Y], y)
    index[node + HIGH_Y] = max(index[node + HIGH_Y], y)
    index[node + COUNT] += 1.0


@kernel
def add_point(index: Floats, x: float, y: float, label: float) -> None:
    """One more point, the newest; there must be room, and ``x`` and ``y`` must be numbers."""
    leaves = _leaves_at(int(index[ROOM]))
    node = NODES_AT
    while True:
        if index[node + SIDE] < 0.0:
            if index[node + COUNT] < LEAF:
                break
            _halve(index, node, leaves)
        _widen(index, node, x, y)
        first = NODES_AT + NODE * int(index[node + FIRST])
        value = x if index[node + SIDE] == 0.0 else y
        if value < index[node + CUT]:
            node = first
        elif value > index[node + CUT] or index[first + COUNT] > index[first + NODE + COUNT]:
            node = first + NODE
        else:
            node = first
    _put(index, node, leaves + LEAF_SLOTS * int(index[node + FIRST]), x, y, label, index[POINTS])
    index[POINTS] += 1.0
    index[LABELS] += label
    index[NEWEST_X], index[NEWEST_Y] = x, y


@kernel
def is_newest(index: Floats, x: float, y: float) -> bool:
    """Whether (x, y) is the point that was added last."""
    return bool(index[NEWEST_X] == x and index[NEWEST_Y] == y)


@kernel
def _halve(index: Floats, node: int, leaves: int) -> None:
    """Make a full leaf a node of two, cut across the longer side of its box: half of its points to each."""
    side = 0 if index[node + HIGH_X] - index[node + LOW_X] >= index[node + HIGH_Y] - index[node + LOW_Y] else 1
    leaf = leaves + LEAF_SLOTS * int(index[node + FIRST])
    # Sorted by insertion, into the room of the candidates.
    for j in range(LEAF):
        value = index[leaf + side * LEAF + j]
        place = j
        while place > 0 and index[NEAR_AT + side * LEAF + place - 1] > value:
            for column in range(0, LEAF_SLOTS, LEAF):
                index[NEAR_AT + column + place] = index[NEAR_AT + column + place - 1]
            place -= 1
        for column in range(0, LEAF_SLOTS, LEAF):
            index[NEAR_AT + column + place] = index[leaf + column + j]
    number, other = int(index[NODES]), int(index[LEAVES])
    index[NODES] += 2.0
    index[LEAVES] += 1.0
    first = NODES_AT + NODE * number
    _begin_leaf(index, first, int(index[node + FIRST]))
    _begin_leaf(index, first + NODE, other)
    index[node + SIDE] = side
    index[node + CUT] = index[NEAR_AT + side * LEAF + LEAF // 2]
    index[node + FIRST] = number
    for j in range(LEAF):
        child, to = (first, leaf) if j < LEAF // 2 else (first + NODE, leaves + LEAF_SLOTS * other)
        place = NEAR_AT + j
        _put(index, child, to, index[place], index[place + LEAF], index[place + 2 * LEAF], index[place + 3 * LEAF])


@kernel
def mean_label(index: Floats, x: float, y: float, neighbours: int) -> float:
    """Mean label of the ``neighbours`` points (at most 256) nearest to (x, y), the older of equals first; of all, while there are no more.

    NaN where there are none.
    """
    count = int(index[POINTS])
    if count == 0:
        return math.nan
    if count <= neighbours:
        return float(index[LABELS] / count)
    certain = _first_bound(index, x, y, neighbours)
    found = _search(
        index, x, y, neighbours, min(certain, USUAL_GROWTH * index[REACH]) if certain < math.inf else certain
    )
    if found < neighbours:
        found = _search(index, x, y, neighbours, certain)
    index[REACH] = keep_nearest(index, found, neighbours)
    index[LAST_X], index[LAST_Y], index[ASKED] = x, y, neighbours
    total = 0.0
    for j in range(neighbours):
        total += index[NEAR_AT + CANDIDATES + j]
    return total / neighbours


@kernel
def _search(index: Floats, x: float, y: float, neighbours: int, bound: float) -> int:
    """Make candidates of the points within the squared distance ``bound``, or of enough of them that the nearest are there; how many."""
    leaves = _leaves_at(int(index[ROOM]))
    waiting = leaves + LEAF_SLOTS * _most_leaves(int(index[ROOM]))
    index[waiting] = NODES_AT
    waits, found = 1, 0
    while waits > 0:
        waits -= 1
        node = int(index[waiting + waits])
        if _distance(index, node, x, y) > bound:
            continue
        if index[node + SIDE] < 0.0:
            if found > CANDIDATES - LEAF:
                bound = keep_nearest(index, found, neighbours)
                found = neighbours
            leaf = leaves + LEAF_SLOTS * int(index[node + FIRST])
            found = _gather(index, leaf, int(index[node + COUNT]), x, y, bound, found)
            continue
        first = NODES_AT + NODE * int(index[node + FIRST])
        second = first + NODE
        # The nearer child is looked at first: what it holds makes the circle smaller.
        if _distance(index, second, x, y) < _distance(index, first, x, y):
            first, second = second, first
        index[waiting + waits] = second
        index[waiting + waits + 1] = first
        waits += 2
    return found


@kernel
def _first_bound(index: Floats, x: float, y: float, neighbours: int) -> float:
    """A squared distance within which ``neighbours`` points lie for certain: the last search's, and the way from its place to here."""
    if index[REACH] < 0.0 or index[ASKED] != neighbours:
        return math.inf
    step_x, step_y = x - index[LAST_X], y - index[LAST_Y]
    radius = math.sqrt(index[REACH]) + math.sqrt(step_x * step_x + step_y * step_y)
    return radius * radius * (1.0 + 1e-9) + 1e-300


@kernel
def _distance(index: Floats, node: int, x: float, y: float) -> float:
    """Squared, to the node's box; never more, not by rounding either, than to a point in it."""
    off_x = max(index[node + LOW_X] - x, x - index[node + HIGH_X], 0.0)
    off_y = max(index[node + LOW_Y] - y, y - index[node + HIGH_Y], 0.0)
    return float(off_x * off_x + off_y * off_y)


@kernel
def _gather(index: Floats, leaf: int, count: int, x: float, y: float, bound: float, found: int) -> int:
    """Add the leaf's points within ``bound`` to the candidates; how many there are then."""
    for j in range(leaf, leaf + count):
        off_x, off_y = index[j] - x, index[j + LEAF] - y
        distance = off_x * off_x + off_y * off_y
        place = NEAR_AT + found
        index[place] = distance
        index[place + CANDIDATES] = index[j + 2 * LEAF]
        index[place + 2 * CANDIDATES] = index[j + 3 * LEAF]
        found += 1 if distance <= bound else 0
    return found


@kernel
def keep_nearest(index: Floats, found: int, neighbours: int) -> float:
    """Leave the ``neighbours`` nearest of the candidates, the older of equals; the squared distance of the farthest of them."""
    work = NEAR_AT + 3 * CANDIDATES
    for j in range(found):
        index[work + j] = index[NEAR_AT + j]
    farthest = select_smallest(index, work, found, neighbours - 1)
    nearer = equal = 0
    for j in range(found):
        nearer += 1 if index[NEAR_AT + j] < farthest else 0
        equal += 1 if index[NEAR_AT + j] == farthest else 0
    newest = math.inf
    if nearer + equal > neighbours:
        equal = 0
        for j in range(found):
            index[work + equal] = index[NEAR_AT + 2 * CANDIDATES + j]
            equal += 1 if index[NEAR_AT + j] == farthest else 0
        newest = select_smallest(index, work, equal, neighbours - nearer - 1)
    kept = 0
    for j in range(found):
        place, to = NEAR_AT + j, NEAR_AT + kept
        distance, number = index[place], index[place + 2 * CANDIDATES]
        index[to] = distance
        index[to + CANDIDATES] = index[place + CANDIDATES]
        index[to + 2 * CANDIDATES] = number
        kept += 1 if distance < farthest or (distance == farthest and number <= newest) else 0
    return farthest
