"""The kernels behind one decision: a window through the trunks, the agents' heads under dropout, and their joint state.

One call from Python to a decision: a call costs a quarter of a microsecond for every array that it is given, as much as a small layer.
Vectors lie along a layer's outputs here, along windows in ``inference_batch.py``; both add input after input to the bias, each with one
``fma``, and so agree to the last bit. ``packed.py`` says how weights and plan are laid out; ``dropout.py`` draws the samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grandmodel.features.normaliser import LIMIT
from grandmodel.kernels import kernel
from grandmodel.models.dropout import (
    draw_hidden,
    draw_linear,
    exponential,
    fill_masks,
    mean_entropy,
    spread_out,
    to_probabilities,
)
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
    LOGITS,
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
from grandmodel.models.superposition import (
    OUTCOMES,
    density_matrix,
    entropy_of,
    purity,
    von_neumann_entropy,
    write_tactical_stances,
)
from grandmodel.vectors import (
    DOUBLES,
    LANES,
    add,
    filled,
    fma,
    held_within,
    load,
    multiply,
    positive,
    splat,
    store,
    store_narrow,
    subtract,
    sum_of_lanes,
    where,
)

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Masks = NDArray[np.uint32]

_ZERO = np.float32(0.0)
CENTRE, INVERSE, KNOWN = range(3)
"""Rows of the normaliser's numbers for every cell of a window: what is taken off, what it is then multiplied by, 1 or 0 for a
column that is not known."""


@kernel
def decide_strategic(
    window: Floats,
    tail: Singles,
    seed: np.uint64,
    dropout: float,
    spread: float,
    samples: int,
    units: Floats,
    weights: Singles,
    plan: Integers,
    places: Integers,
    room: Singles,
    masks: Masks,
    drawn: Singles,
    features: Singles,
    numbers: Floats,
) -> int:
    """The strategic agents' decision on one window (R, C), raw.

    Fills ``features`` (T, 32) and ``numbers``: beliefs (A, 3), point beliefs (A, 3), weights (A,), the collapsed belief (3,) and the
    five of ``write_uncertainty``. ``units`` (3, R C) normalises every cell; ``places`` are those of ``packed.Packed``, and a last row 0,
    1, 2 ... of as many as any layer has inputs; ``room`` (``numbers_of_room``,), ``masks`` (S,) and ``drawn`` (A + 1, 3, S) are scratch,
    S being ``samples`` filled up to a whole vector. -1, or the first place that is not finite: a cell, or, behind them, of the tail.
    """
    agents = plan[HEADS]
    bad = look(window, tail, units, weights, plan, places, room, features)
    if bad >= 0:
        return bad
    seen = room[whole_vectors(units.shape[1]) :]
    beliefs, points = numbers[: 3 * agents], numbers[3 * agents : 6 * agents]
    shares, rest = numbers[6 * agents : 7 * agents], numbers[7 * agents :]
    for agent in range(agents):
        point, belief = points[3 * agent : 3 * agent + 3], beliefs[3 * agent : 3 * agent + 3]
        write_seen(features[agent], tail[: plan[TAIL]], seen)
        run_head(
            weights, plan[HEAD_AT] + agent * plan[HEAD_SIZE], FEATURES + plan[TAIL], plan[HIDDEN], places, seen, point
        )
        sample_agent(agent, seed, dropout, spread, samples, weights, plan, seen, masks, drawn[agent], belief)
    for place in range(3 * agents):
        seen[place] = beliefs[place]
    seen[3 * agents : 3 * agents + len(tail)] = tail
    run_head(weights, plan[JOINT_AT], plan[JOINT_INPUTS], plan[JOINT_HIDDEN], places, seen, shares)
    join_beliefs(beliefs.reshape((agents, OUTCOMES)), shares, samples, drawn, rest[:OUTCOMES], rest[OUTCOMES:])
    return -1


@kernel
def decide_tactical(
    window: Floats,
    tail: Singles,
    seed: np.uint64,
    dropout: float,
    spread: float,
    samples: int,
    units: Floats,
    weights: Singles,
    plan: Integers,
    places: Integers,
    room: Singles,
    masks: Masks,
    drawn: Singles,
    features: Singles,
    numbers: Floats,
) -> int:
    """The tactical agents' decision on one window; arguments and answer as for ``decide_strategic``, ``drawn`` (1, 3, S).

    ``numbers``: the three agents' distributions, the Tactical agent's without dropout (3,), stances (3, 3), the collapsed stance
    (3,) and the five of ``write_uncertainty``, those of entropy the Tactical agent's own.
    """
    bad = look(window, tail, units, weights, plan, places, room, features)
    if bad >= 0:
        return bad
    seen = room[whole_vectors(units.shape[1]) :]
    write_seen(features[0], tail, seen)
    actions = plan[LOGITS]
    point = numbers[actions : actions + OUTCOMES]
    begin = 0
    for agent in range(plan[HEADS]):
        end = begin + plan[ACTIONS + agent]
        out = numbers[begin:end] if agent else point
        run_head(
            weights, plan[HEAD_AT] + agent * plan[HEAD_SIZE], FEATURES + plan[TAIL], plan[HIDDEN], places, seen, out
        )
        begin = end
    tactical, risk, execution = numbers[:3], numbers[3:9], numbers[9:13]
    sample_agent(0, seed, dropout, spread, samples, weights, plan, seen, masks, drawn[0], tactical)
    rest = numbers[actions + OUTCOMES :]
    stances, stance = rest[:9].reshape((OUTCOMES, OUTCOMES)), rest[9:12]
    write_tactical_stances(tactical, risk, execution, stances)
    rho = np.empty((OUTCOMES, OUTCOMES))
    density_matrix(stances, np.full(OUTCOMES, 1.0 / OUTCOMES), rho)
    for k in range(OUTCOMES):
        stance[k] = rho[k, k]
    write_uncertainty(rho, tactical, mean_entropy(drawn[0], samples), rest[12:])
    return -1


@kernel
def look(
    window: Floats,
    tail: Singles,
    units: Floats,
    weights: Singles,
    plan: Integers,
    places: Integers,
    room: Singles,
    features: Singles,
) -> int:
    """What every decision begins with: the window (R, C) normalised, and every trunk's features of it into ``features`` (T, 32).

    -1, or the first place that is not finite, and then nothing is looked at.
    """
    bad = normalise(window.reshape(-1), tail, units, room)
    if bad < 0:
        run_trunks(weights, plan, places, room, whole_vectors(units.shape[1]), features)
    return bad


@kernel
def normalise(window: Floats, tail: Singles, units: Floats, out: Singles) -> int:
    """``normalise_window`` of one window, and a look at its tail; -1 or the first place that is not finite."""
    cells = units.shape[1]
    if normalise_window(window, units, out) == 0.0:
        for place in range(len(tail)):
            if not np.isfinite(tail[place]):
                return int(cells + place)
        return -1
    for place in range(cells):
        if units[KNOWN, place] and not np.isfinite(window[place]):
            return place
    return -1


@kernel
def normalise_window(window: Floats, units: Floats, out: Singles) -> float:
    """``Normaliser.apply`` of one window (R C,) into ``out``, columns that are not known as 0; not 0 where a known cell is not finite.

    A number less itself is 0, unless it is not finite, and NaN then stays in the sum. The inverse of the scale stands for the division:
    in float32 the result is the same but for a rare last bit.
    """
    cells = units.shape[1]
    limit, unknown = filled(LIMIT), filled(0.0)
    whole = cells - cells % DOUBLES
    for cell in range(0, whole, DOUBLES):
        value, known = load(window, cell), load(units, KNOWN * cells + cell)
        moved = subtract(value, load(units, CENTRE * cells + cell))
        held = held_within(multiply(moved, load(units, INVERSE * cells + cell)), limit)
        unknown = add(unknown, where(known, subtract(value, value)))
        store_narrow(out, cell, where(known, held))
    total = sum_of_lanes(unknown)
    for cell in range(whole, cells):
        one, out[cell] = window[cell], _ZERO
        if units[KNOWN, cell] != 0.0:
            total += one - one
            out[cell] = min(max((one - units[CENTRE, cell]) * units[INVERSE, cell], -LIMIT), LIMIT)
    return float(total)


@kernel(inline=True)
def whole_vectors(count: int) -> int:
    """``count`` filled up to a whole number of vectors."""
    return int((count + LANES - 1) // LANES * LANES)


@kernel
def run_trunks(
    weights: Singles, plan: Integers, places: Integers, room: Singles, behind: int, features: Singles
) -> None:
    """The features (T, 32) of the normalised window with which ``room`` begins; from place ``behind`` on it is scratch."""
    in_order = places[len(places) - 1]
    patches1, inputs1, outputs1, step1 = plan[PATCHES1], plan[INPUTS1], plan[OUTPUTS1], plan[STEP1]
    patches2, inputs2, outputs2 = plan[PATCHES2], plan[INPUTS2], plan[OUTPUTS2]
    level1, level2 = behind, behind + patches1 * outputs1
    for trunk in range(plan[TRUNKS]):
        at = plan[TRUNK_AT] + trunk * plan[TRUNK_SIZE]
        layer(room, 0, step1, patches1, places[trunk], weights, at, inputs1, outputs1, room, level1, True)
        at += outputs1 * (1 + inputs1)
        layer(room, level1, inputs2, patches2, in_order, weights, at, inputs2, outputs2, room, level2, True)
        at += outputs2 * (1 + inputs2)
        layer(
            room, level2, 0, 1, in_order, weights, at, patches2 * outputs2, FEATURES, features, trunk * FEATURES, True
        )  # fmt: skip


@kernel
def layer(
    x: Singles,
    x_at: int,
    step: int,
    patches: int,
    places: Integers,
    weights: Singles,
    at: int,
    inputs: int,
    outputs: int,
    out: Singles,
    out_at: int,
    is_hidden: bool,
) -> None:
    """A layer of every patch: patch p sees the numbers ``x_at + p step + places`` of ``x`` and writes to ``out`` from ``out_at + p outputs``.

    ``at``: where bias and weights begin. ``is_hidden``: what is below 0 becomes 0. Four sums at a time, of four patches or of one.
    """
    for j in range(0, outputs, LANES):
        bias, first = load(weights, at + j), at + outputs + j
        patch = 0
        while patch + 4 <= patches:
            sum0, sum1, sum2, sum3 = bias, bias, bias, bias
            begin, row = x_at + patch * step, first
            for i in range(inputs):
                weight, place = load(weights, row), begin + places[i]
                sum0 = fma(splat(x, place), weight, sum0)
                sum1 = fma(splat(x, place + step), weight, sum1)
                sum2 = fma(splat(x, place + 2 * step), weight, sum2)
                sum3 = fma(splat(x, place + 3 * step), weight, sum3)
                row += outputs
            if is_hidden:
                sum0, sum1, sum2, sum3 = positive(sum0), positive(sum1), positive(sum2), positive(sum3)
            to = out_at + patch * outputs + j
            store(out, to, sum0)
            store(out, to + outputs, sum1)
            store(out, to + 2 * outputs, sum2)
            store(out, to + 3 * outputs, sum3)
            patch += 4
        while patch < patches:
            total, begin, row = bias, x_at + patch * step, first
            for i in range(inputs):
                total = fma(splat(x, begin + places[i]), load(weights, row), total)
                row += outputs
            store(out, out_at + patch * outputs + j, positive(total) if is_hidden else total)
            patch += 1


@kernel
def write_seen(first: Singles, second: Singles, out: Singles) -> None:
    """One behind the other."""
    out[: len(first)] = first
    out[len(first) : len(first) + len(second)] = second


@kernel
def run_head(weights: Singles, at: int, inputs: int, hidden: int, places: Integers, seen: Singles, out: Floats) -> None:
    """A head's distribution over its actions into ``out`` (K,), from the ``inputs`` numbers with which ``seen`` begins; the rest is scratch."""
    in_order, width, to = places[len(places) - 1], hidden or LANES, whole_vectors(inputs)
    layer(seen, 0, 0, 1, in_order, weights, at, inputs, width, seen, to, hidden > 0)
    if hidden:
        layer(seen, to, 0, 1, in_order, weights, at + hidden * (1 + inputs), hidden, LANES, seen, to + hidden, False)
        to += hidden
    write_softmax(seen, to, out)


@kernel
def write_softmax(logits: Singles, at: int, out: Floats) -> None:
    """The softmax of ``logits`` from ``at`` on into ``out`` (K,): the exponentials in float32, their shares in float64."""
    top = logits[at]
    for k in range(1, len(out)):
        top = max(top, logits[at + k])
    total = 0.0
    for k in range(len(out)):
        out[k] = exponential(logits[at + k] - top)
        total += out[k]
    for k in range(len(out)):
        out[k] = np.divide(out[k], total)


@kernel
def sample_agent(
    agent: int,
    seed: np.uint64,
    dropout: float,
    spread: float,
    samples: int,
    weights: Singles,
    plan: Integers,
    seen: Singles,
    masks: Masks,
    drawn: Singles,
    mean: Floats,
) -> None:
    """One agent's distribution under every mask into ``drawn`` (3, S), and its mean over the samples into ``mean`` (3,).

    ``seen`` begins with the agent's features and the tail; behind them it is scratch.
    """
    tail, hidden, at = plan[TAIL], plan[HIDDEN], plan[HEAD_AT] + agent * plan[HEAD_SIZE]
    width = hidden or LANES
    inputs = FEATURES + tail
    base = whole_vectors(inputs)
    fill_masks(seed, np.uint64(agent), dropout, masks)
    # What no mask changes: the bias and what the tail adds.
    first = at + width * (1 + FEATURES)
    for j in range(0, width, LANES):
        total = load(weights, at + j)
        for i in range(tail):
            total = fma(splat(seen, FEATURES + i), load(weights, first + i * width + j), total)
        store(seen, base + j, total)
    room = seen[base + width :]
    if hidden:
        last = at + width * (1 + inputs)
        draw_hidden(seen, base, weights, at + width, width, last, 1.0 - dropout, masks, room, drawn)
    else:
        draw_linear(seen, base, weights, at + width, 1.0 - dropout, masks, room, drawn)
    spread_out(drawn, samples, spread)
    to_probabilities(drawn, samples, mean)


@kernel
def join_beliefs(
    beliefs: Floats, weights: Floats, samples: int, drawn: Singles, belief: Floats, numbers: Floats
) -> None:
    """The strategic agents' joint state: the collapsed ``belief`` (3,) and the five ``numbers`` of ``write_uncertainty``.

    ``beliefs`` (A, 3) and ``weights`` (A,); ``drawn`` (A + 1, 3, S): the distributions of every sample, whose collapsed beliefs, all
    under the same weights, come into the last place.
    """
    agents = len(weights)
    for k in range(OUTCOMES):
        row = drawn[agents, k]
        for sample in range(samples):
            row[sample] = 0.0
        for agent in range(agents):
            weight, own = np.float32(weights[agent]), drawn[agent, k]
            for sample in range(samples):
                row[sample] += weight * own[sample]
    rho = np.empty((OUTCOMES, OUTCOMES))
    density_matrix(beliefs, weights, rho)
    for k in range(OUTCOMES):
        belief[k] = rho[k, k]
    write_uncertainty(rho, belief, mean_entropy(drawn[agents], samples), numbers)


@kernel
def write_uncertainty(rho: Floats, mean: Floats, expected_entropy: float, numbers: Floats) -> None:
    """Purity, von Neumann entropy, predictive and expected entropy and mutual information into ``numbers`` (5,)."""
    predictive = entropy_of(mean)
    numbers[0] = purity(rho)
    numbers[1] = von_neumann_entropy(rho)
    numbers[2] = predictive
    numbers[3] = expected_entropy
    numbers[4] = max(0.0, predictive - expected_entropy)
