"""The superposition layer: several agents' distributions as one state, and how far they agree.

An agent's distribution p over three outcomes is the unit vector psi = sqrt(p). Agents with weights w make the density matrix

    rho = sum of w_i psi_i psi_i'        (3, 3), symmetric, positive, of trace 1.

Its diagonal is the collapsed belief. That is exactly the weighted mean of the agents' distributions: as a forecast, rho says
nothing that plain averaging does not. What it adds is the disagreement, apart from how unsure each agent is: the purity tr(rho^2)
is 1 and the von Neumann entropy 0 where all agents that carry weight hold the same belief, however flat that belief is; the purity
falls to no less than 1/3 as their beliefs point to different outcomes. (The name is the customer's; nothing here is quantum.)

The strategic layer superposes beliefs over (bullish, neutral, bearish) with the Coordinator's weights, the tactical one its three
agents' stances over (enter, hold, exit) with equal weights: ``tactical_stances``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.models.architecture import EXECUTION_ACTIONS, RISK_ACTIONS, RISK_SCALES
from grandmodel.models.errors import ModelError

Floats = NDArray[np.float64]

OUTCOMES = 3
MIDDLE = 1
"""Place of the outcome that commits to nothing: neutral, hold."""
TOLERANCE = 1e-6
"""How far a distribution may add up to other than 1: float32 networks made it."""
_SWEEPS = 6
_LANES = 64
"""Joint states whose eigenvalues are turned out side by side."""
_TINY = 1e-150


@dataclass(frozen=True, slots=True)
class Superposition:
    """The joint state of some agents."""

    rho: Floats
    """(3, 3)."""
    belief: Floats
    """(3,) its diagonal."""
    purity: float
    """tr(rho^2), in [1/3, 1]."""
    entropy: float
    """Von Neumann, nats, in [0, log 3]."""


def superpose(beliefs: Floats, weights: Floats) -> Superposition:
    """The joint state of agents with ``beliefs`` (N, 3) and ``weights`` (N,).

    Each belief and the weights must be at least 0 and add up to 1 within 1e-6 (what is left is divided out). Raises ``ModelError``
    where they are not; NaN never passes.
    """
    beliefs = np.ascontiguousarray(beliefs, dtype=np.float64)
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    if beliefs.ndim != 2 or beliefs.shape[1] != OUTCOMES or weights.shape != beliefs.shape[:1] or not len(weights):
        raise ModelError(
            f"superposition: found beliefs {beliefs.shape} and weights {weights.shape}, expected (N, 3) and (N,)"
        )
    for row in (*beliefs, weights):
        if not (row.min() >= 0.0 and abs(row.sum() - 1.0) <= TOLERANCE):
            raise ModelError(f"superposition: found {row.tolist()}, expected numbers of at least 0 that add up to 1")
    rho = np.empty((OUTCOMES, OUTCOMES))
    density_matrix(beliefs, weights, rho)
    return Superposition(rho, rho.diagonal().copy(), purity(rho), von_neumann_entropy(rho))


@kernel
def density_matrix(beliefs: Floats, weights: Floats, rho: Floats) -> None:
    """Fill ``rho`` (3, 3) from ``beliefs`` (N, 3) and ``weights`` (N,), scaled to trace 1."""
    rho[:] = 0.0
    for agent in range(len(weights)):
        weight, first, middle, last = weights[agent], beliefs[agent, 0], beliefs[agent, 1], beliefs[agent, 2]
        psi0, psi1, psi2 = math.sqrt(first), math.sqrt(middle), math.sqrt(last)
        rho[0, 0] += weight * first
        rho[1, 1] += weight * middle
        rho[2, 2] += weight * last
        rho[0, 1] += weight * psi0 * psi1
        rho[0, 2] += weight * psi0 * psi2
        rho[1, 2] += weight * psi1 * psi2
    trace = rho[0, 0] + rho[1, 1] + rho[2, 2]
    for j in range(OUTCOMES):
        for k in range(j, OUTCOMES):
            rho[j, k] /= trace
            rho[k, j] = rho[j, k]


@kernel
def purity(rho: Floats) -> float:
    """tr(rho^2): the sum of the squares of a symmetric matrix; rounding may not carry it out of [1/3, 1]."""
    total = 0.0
    for j in range(OUTCOMES):
        for k in range(OUTCOMES):
            total += rho[j, k] * rho[j, k]
    return min(max(total, 1.0 / OUTCOMES), 1.0)


@kernel
def von_neumann_entropy(rho: Floats) -> float:
    """-sum of lambda log lambda over the eigenvalues, nats."""
    l0, l1, l2 = eigenvalues(rho)
    return _entropy(l0, l1, l2)


@kernel
def superpose_many(beliefs: Floats, weights: Floats, belief: Floats, purities: Floats, entropies: Floats) -> None:
    """The joint states of (N, A, 3) and (N, A): collapsed beliefs (N, 3), purities and von Neumann entropies (N,).

    What ``density_matrix``, ``purity`` and ``von_neumann_entropy`` give of one, digit for digit; the rotations of some states run side by side.
    """
    rho, entries = np.empty((OUTCOMES, OUTCOMES)), np.zeros((6, _LANES))
    for start in range(0, len(beliefs), _LANES):
        count = min(_LANES, len(beliefs) - start)
        for lane in range(count):
            number = start + lane
            density_matrix(beliefs[number], weights[number], rho)
            for k in range(OUTCOMES):
                belief[number, k] = entries[k, lane] = rho[k, k]
            entries[3, lane], entries[4, lane], entries[5, lane] = rho[0, 1], rho[1, 2], rho[0, 2]
            purities[number] = purity(rho)
        for _ in range(_SWEEPS):
            _rotate_rows(entries[0], entries[1], entries[3], entries[5], entries[4])
            _rotate_rows(entries[1], entries[2], entries[4], entries[3], entries[5])
            _rotate_rows(entries[0], entries[2], entries[5], entries[3], entries[4])
        for lane in range(count):
            entropies[start + lane] = _entropy(entries[0, lane], entries[1, lane], entries[2, lane])


@kernel
def eigenvalues(matrix: Floats) -> tuple[float, float, float]:
    """The eigenvalues of a symmetric (3, 3) matrix, in no order, by Jacobi's rotations.

    Rotations and not the closed form: that one loses half the digits where two eigenvalues are near each other or one is near 0,
    which is where agents agree. Each sweep squares what is off the diagonal; six are more than any matrix needs, and always taken,
    so that many matrices can be turned side by side. What is off the diagonal and smaller than 1e-150 counts as 0: its square is no number
    that a float can hold.
    """
    a, b, c = matrix[0, 0], matrix[1, 1], matrix[2, 2]
    d, e, f = matrix[0, 1], matrix[1, 2], matrix[0, 2]
    for _ in range(_SWEEPS):
        a, b, d, f, e = _rotate(a, b, d, f, e)  # rows 0 and 1; what they share with row 2 turns with them
        b, c, e, d, f = _rotate(b, c, e, d, f)
        a, c, f, d, e = _rotate(a, c, f, d, e)
    return a, b, c


@kernel
def _rotate_rows(p: Floats, q: Floats, off: Floats, left: Floats, right: Floats) -> None:
    """``_rotate`` of every lane."""
    for lane in range(_LANES):
        p[lane], q[lane], off[lane], left[lane], right[lane] = _rotate(
            p[lane], q[lane], off[lane], left[lane], right[lane]
        )


@kernel(inline=True)
def _rotate(p: float, q: float, off: float, left: float, right: float) -> tuple[float, float, float, float, float]:
    """Turn rows p and q so that ``off`` between them becomes 0; ``left`` and ``right``: their entries in the third column.

    The tangent of the angle is off / (half of q - p, away from 0 by the root of both their squares); where both are 0 it is 0, and
    no branch is needed.
    """
    half = 0.5 * (q - p)
    size = abs(half) + math.sqrt(half * half + off * off) + _TINY
    t = np.divide(off, math.copysign(size, half))
    cosine = np.divide(1.0, math.sqrt(t * t + 1.0))
    sine = t * cosine
    return p - t * off, q + t * off, 0.0, cosine * left - sine * right, sine * left + cosine * right


@kernel
def _entropy(l0: float, l1: float, l2: float) -> float:
    return max(0.0, -(_x_log_x(l0) + _x_log_x(l1) + _x_log_x(l2)))


@kernel(inline=True)
def _x_log_x(x: float) -> float:
    return x * math.log(x) if x > 0.0 else 0.0


@kernel
def entropy_of(belief: Floats) -> float:
    """Shannon's, of a distribution (K,), nats."""
    total = 0.0
    for value in belief:
        total -= _x_log_x(value)
    return max(0.0, total)


def collapse_to_mode(belief: Floats) -> int:
    """The place of the largest of ``belief`` (3,); where several are largest, the middle one: a tie is no reason to act."""
    top = float(np.max(belief))
    places = np.flatnonzero(belief == top)
    return int(places[0]) if len(places) == 1 else MIDDLE


def collapse_by_draw(belief: Floats, generator: np.random.Generator) -> int:
    """A place drawn with the probabilities of ``belief`` (3,); one uniform number is taken from ``generator``."""
    levels = np.cumsum(belief)
    return int(min(np.searchsorted(levels, generator.random() * levels[-1], side="right"), len(belief) - 1))


def tactical_stances(tactical: Floats, risk: Floats, execution: Floats) -> Floats:
    """What the three tactical agents lean to, over (enter, hold, exit); (3, 3), a row each.

    ``tactical`` (3,): its own distribution. ``risk`` (6,): full size counts as enter, half as hold, none as exit, whatever the stop.
    ``execution`` (4,): any way to trade counts as enter, waiting as hold; it never leans to exit.
    """
    stances = np.empty((3, OUTCOMES))
    write_tactical_stances(tactical, risk, execution, stances)
    return stances


@kernel
def write_tactical_stances(tactical: Floats, risk: Floats, execution: Floats, out: Floats) -> None:
    """The same into ``out`` (3, 3)."""
    for k in range(OUTCOMES):
        out[0, k] = tactical[k]
        out[1, k] = out[2, k] = 0.0
    stops = _RISK_STOPS
    for action in range(_RISK_COUNT):
        # Scales go up 0, 1/2, 1: exit, hold, enter.
        out[1, OUTCOMES - 1 - action // stops] += risk[action]
    for action in range(_EXECUTION_COUNT):
        out[2, MIDDLE if action == _WAIT else 0] += execution[action]


_RISK_COUNT, _EXECUTION_COUNT = len(RISK_ACTIONS), len(EXECUTION_ACTIONS)
_RISK_STOPS = _RISK_COUNT // len(RISK_SCALES)
_WAIT = EXECUTION_ACTIONS.index("wait")
