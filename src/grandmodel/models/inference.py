"""Decisions from a model file without torch: compiled, in float32, equal to torch's to 1e-5.

``CompiledModel`` packs a model's weights once. ``strategic`` and ``tactical`` take one window as the features room gives it, raw,
and return every number that a decision carries; ``point_batch`` and ``decide_batch`` take many windows, without dropout. What the
networks compute is in ``architecture.py``, the samples in ``dropout.py``, the joint state in ``superposition.py``.

Nothing here reads a clock or draws a number that is not named by the caller's seed. A model keeps its scratch memory, so one
``CompiledModel`` serves one thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grandmodel.features.normaliser import LIMIT
from grandmodel.kernels import kernel
from grandmodel.models.architecture import (
    EXECUTION_ACTIONS,
    RISK_ACTIONS,
    TACTICAL_STANCES,
    Architecture,
    HeadSpec,
    TrunkSpec,
)
from grandmodel.models.dropout import (
    BYTES,
    FEATURES,
    GROUP,
    MOST_AGENTS,
    ROWS,
    Masks,
    fill_masks,
    fill_tables,
    mean_entropy,
    sample_hidden,
    sample_linear,
    spread_out,
    to_probabilities,
)
from grandmodel.models.errors import ModelError
from grandmodel.models.model_file import Model, Tensors
from grandmodel.models.superposition import (
    OUTCOMES,
    density_matrix,
    entropy_of,
    purity,
    von_neumann_entropy,
    write_tactical_stances,
)

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

SAMPLES = 1_000
"""Draws of dropout behind a decision."""
BATCH = 256
"""Windows that a batch works on at a time."""
_NUMBERS = ("purity", "entropy", "predictive_entropy", "expected_entropy", "mutual_information")
_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class StrategicOutput:
    """What the strategic networks say of one window. Agents in the order of ``CompiledModel.agents``, entropies in nats."""

    beliefs: Floats
    """(A, 3) each agent's distribution over ``BELIEF``: its mean over the dropout samples."""
    point_beliefs: Floats
    """(A, 3) the same without dropout."""
    weights: Floats
    """(A,) the Coordinator's, from the mean beliefs and the tail."""
    belief: Floats
    """(3,) collapsed: the diagonal of rho. Not calibrated: the model's temperature is not applied here."""
    purity: float
    entropy: float
    """Von Neumann entropy of rho."""
    predictive_entropy: float
    """Of ``belief``."""
    expected_entropy: float
    """The market's noise: mean entropy of the collapsed belief of each sample, under the same weights."""
    mutual_information: float
    """The model's ignorance: predictive less expected entropy."""
    features: Singles
    """(A x 32,) the trunks' features, for the novelty score."""


@dataclass(frozen=True, slots=True)
class TacticalOutput:
    """What the tactical networks say of one window. Agents in the order of ``CompiledModel.agents``, entropies in nats."""

    distributions: tuple[Floats, ...]
    """(3,), (6,), (4,): each agent's over its actions, mean over the dropout samples."""
    point_distributions: tuple[Floats, ...]
    """The same without dropout."""
    stances: Floats
    """(3, 3) what each agent leans to, over ``TACTICAL_STANCES``: see ``superposition.tactical_stances``."""
    stance: Floats
    """(3,) the collapsed joint stance: the mean of the three."""
    purity: float
    entropy: float
    """Von Neumann entropy of the joint state."""
    predictive_entropy: float
    """Of the Tactical agent's own distribution, as the next two."""
    expected_entropy: float
    mutual_information: float
    features: Singles
    """(32,) the trunk's features, for the novelty score."""


@dataclass(frozen=True, slots=True)
class BatchDecisions:
    """The decisions of one layer for N windows, without dropout."""

    distributions: dict[str, Floats]
    """(N, K) of every agent, the Coordinator too."""
    beliefs: Floats
    """(N, A, 3) what is superposed: the agents' beliefs, or the tactical agents' stances."""
    weights: Floats
    """(N, A) the Coordinator's, or equal ones."""
    belief: Floats
    """(N, 3) collapsed."""
    purity: Floats
    """(N,)."""
    entropy: Floats
    """(N,) von Neumann, nats."""


class _Trunk(NamedTuple):
    """A trunk's weights, (inputs, outputs) each, and its scratch memory."""

    columns: Integers
    weight1: Singles
    bias1: Singles
    weight2: Singles
    bias2: Singles
    weight3: Singles
    bias3: Singles
    rows: Singles
    """(R / p1, p1 C) the window's patches."""
    level1: Singles
    """(R / p1 / p2, p2 w1)."""
    level2: Singles
    """(inputs of the last layer,)."""


class _Head(NamedTuple):
    """A head's weights and its scratch memory. Without a hidden layer the first layer gives the logits and ``weight2`` is (0, 0)."""

    weight1: Singles
    """(features or beliefs and then the tail, O)."""
    bias1: Singles
    weight2: Singles
    """(O, K padded to a multiple of four)."""
    bias2: Singles
    tables: Singles
    """(4, 256, O)."""
    base: Singles
    """(O,) bias and the tail's part of the first layer."""
    hidden: Singles
    """(O,)."""
    logits: Singles
    """(K, S) of the samples, then their probabilities."""
    point: Floats
    """(K,) probabilities without dropout."""
    mean: Floats
    """(K,) mean probabilities over the samples."""


class CompiledModel:
    """A model ready to decide."""

    def __init__(self, model: Model, *, samples: int = SAMPLES) -> None:
        """Pack ``model``; ``samples``: draws of dropout a decision, 1,000 by default.

        Raises ``ModelMismatchError`` where the model was made for other features than this code computes, ``ModelError`` where its
        networks are of a form that is not compiled here.
        """
        manifest = model.manifest
        self.id = model.id
        self.manifest = manifest
        self.architecture = manifest.architecture
        schema = manifest.schema
        self._shape = (schema.rows, len(schema.columns))
        self._centre, self._scale = np.array(manifest.normaliser.centre), np.array(manifest.normaliser.scale)
        self._known = np.ones(len(schema.columns), np.bool_)
        self._known[list(schema.unknown_columns)] = False
        _check_compiled_form(self.architecture)
        sampled = [head for head in self.architecture.heads if head.trunk]
        self.agents = tuple(head.agent for head in sampled)
        """Agents with a window, in order: those that beliefs, weights and stances are about."""
        self._tail = max(head.tail for head in self.architecture.heads)
        self._trunks = tuple(_pack_trunk(model.weights, trunk) for trunk in self.architecture.trunks)
        self._heads = tuple(_pack_head(model.weights, head, samples) for head in sampled)
        self._coordinators = tuple(
            _pack_head(model.weights, head, 0) for head in self.architecture.heads if not head.trunk
        )
        self._rows = np.empty(self._shape, np.float32)
        self._features = np.empty((len(self._trunks), FEATURES), np.float32)
        self._masks = np.empty(samples, np.uint32)
        self._collapsed = np.empty((OUTCOMES, samples), np.float32)

    def strategic(self, window: Floats, tail: Singles, seed: int, *, spread: float = 1.0) -> StrategicOutput:
        """The strategic networks' answer to one window.

        ``window`` (48, 13) raw rows, oldest first; ``tail`` (9,) of ``tails.write_strategic_tail``; ``seed`` names the draw, all of
        its low 64 bits; ``spread`` (at least 1): how much wider the samples are to lie than dropout puts them.

        Raises ``ModelError`` where a number that the model needs is not finite, or a shape is wrong: no decision is taken on NaN.
        """
        self._check("strategic", window, tail, spread)
        agents = len(self._heads)
        out = np.empty(7 * agents + OUTCOMES + 5)
        bad = decide_strategic(
            window,
            tail,
            np.uint64(seed & _WORD),
            spread,
            1.0 - self.architecture.dropout,
            self._centre,
            self._scale,
            self._known,
            self._rows,
            self._trunks,
            self._heads,
            self._coordinators[0],
            self._features,
            self._masks,
            self._collapsed,
            out,
        )
        self._check_known(bad)
        beliefs, points, rest = np.split(out, [3 * agents, 6 * agents])
        return StrategicOutput(
            beliefs=beliefs.reshape(agents, OUTCOMES),
            point_beliefs=points.reshape(agents, OUTCOMES),
            weights=rest[:agents],
            belief=rest[agents : agents + OUTCOMES],
            features=self._features.ravel().copy(),
            **_numbers(rest[agents + OUTCOMES :]),
        )

    def tactical(self, window: Floats, tail: Singles, seed: int, *, spread: float = 1.0) -> TacticalOutput:
        """The tactical networks' answer to one window (60, 7) with ``tail`` (9,); the rest as for ``strategic``."""
        self._check("tactical", window, tail, spread)
        stances, numbers = np.empty((len(self._heads), OUTCOMES)), np.empty(OUTCOMES + 5)
        bad = decide_tactical(
            window,
            tail,
            np.uint64(seed & _WORD),
            spread,
            1.0 - self.architecture.dropout,
            self._centre,
            self._scale,
            self._known,
            self._rows,
            self._trunks[0],
            self._heads[0],
            self._heads[1],
            self._heads[2],
            self._features,
            self._masks,
            stances,
            numbers,
        )
        self._check_known(bad)
        return TacticalOutput(
            distributions=tuple(head.mean.copy() for head in self._heads),
            point_distributions=tuple(head.point.copy() for head in self._heads),
            stances=stances,
            stance=numbers[:OUTCOMES],
            features=self._features.ravel().copy(),
            **_numbers(numbers[OUTCOMES:]),
        )

    def point_batch(self, windows: Floats, tails: Singles) -> dict[str, Singles]:
        """Every agent's logits for many windows, without dropout: {agent: (N, K)}, the Coordinator's from the others' beliefs.

        ``windows`` (N, R, C) float64, raw; a view of overlapping windows will do (``sliding_window_view``). ``tails`` (N, 9) float32.
        Raises ``ModelError`` as ``strategic`` does, naming the first window that cannot be used.
        """
        logits, _ = self._batch(windows, tails)
        return logits

    def features_batch(self, windows: Floats) -> Singles:
        """The trunks' features of many windows: (N, trunks x 32)."""
        _, features = self._batch(windows, np.zeros((len(windows), self._tail), np.float32))
        return features

    def decide_batch(self, windows: Floats, tails: Singles) -> BatchDecisions:
        """The layer's decisions for many windows, without dropout; arguments and errors as for ``point_batch``."""
        logits, _ = self._batch(windows, tails)
        distributions = {agent: softmax(values) for agent, values in logits.items()}
        count = len(windows)
        if self._coordinators:
            beliefs = np.stack([distributions[agent] for agent in self.agents], axis=1)
            weights = distributions[self.architecture.heads[-1].agent]
        else:
            beliefs = np.empty((count, len(self.agents), OUTCOMES))
            tactical, risk, execution = (distributions[agent] for agent in self.agents)
            stances_of_many(tactical, risk, execution, beliefs)
            weights = np.full((count, len(self.agents)), 1.0 / len(self.agents))
        belief, purities, entropies = np.empty((count, OUTCOMES)), np.empty(count), np.empty(count)
        superpose_many(beliefs, weights, belief, purities, entropies)
        return BatchDecisions(distributions, beliefs, weights, belief, purities, entropies)

    def _batch(self, windows: Floats, tails: Singles) -> tuple[dict[str, Singles], Singles]:
        """Logits by agent and features (N, trunks x 32), some windows at a time so that the steps between stay in the cache."""
        count = len(windows)
        if windows.shape != (count, *self._shape) or tails.shape != (count, self._tail):
            raise ModelError(
                f"batch: found windows {windows.shape} and tails {tails.shape}, expected (N, {self._shape[0]}, {self._shape[1]}) and "
                f"(N, {self._tail})"
            )
        tails = np.ascontiguousarray(tails, np.float32)
        logits = {head.agent: np.empty((count, len(head.actions)), np.float32) for head in self.architecture.heads}
        features = np.empty((count, len(self._trunks), FEATURES), np.float32)
        for start in range(0, count, BATCH):
            part = slice(start, min(start + BATCH, count))
            self._batch_part(
                start, windows[part], tails[part], {name: out[part] for name, out in logits.items()}, features[part]
            )
        return logits, features.reshape(count, -1)

    def _batch_part(
        self, start: int, windows: Floats, tails: Singles, logits: dict[str, Singles], features: Singles
    ) -> None:
        count, (_, columns) = len(windows), self._shape
        rows = np.empty((count, *self._shape), np.float32)
        bad = normalise_many(windows, self._centre, self._scale, self._known, tails, rows)
        if bad >= 0:
            number, place = divmod(bad, self._shape[0] * columns + self._tail)
            self._check_known(place, f" {start + number}")
        for place, trunk in enumerate(self._trunks):
            patches = rows[:, :, trunk.columns].reshape(-1, len(trunk.weight1))
            level1 = _relu(patches @ trunk.weight1 + trunk.bias1)
            level2 = _relu(level1.reshape(-1, len(trunk.weight2)) @ trunk.weight2 + trunk.bias2)
            features[:, place] = _relu(level2.reshape(count, -1) @ trunk.weight3 + trunk.bias3)
        single = len(self._trunks) == 1
        for place, (agent, head) in enumerate(zip(self.agents, self._heads, strict=True)):
            seen = features[:, 0 if single else place]
            logits[agent][:] = _head_logits(head, seen, tails[:, : len(head.weight1) - FEATURES])
        for head in self._coordinators:
            beliefs = np.concatenate([softmax(logits[agent]) for agent in self.agents], axis=1)
            logits[self.architecture.heads[-1].agent][:] = _head_logits(head, beliefs.astype(np.float32), tails)

    def _check(self, layer: str, window: Floats, tail: Singles, spread: float) -> None:
        if self.architecture.layer != layer:
            raise ModelError(f"model {self.id[:12]}: found a {self.architecture.layer} model, expected a {layer} one")
        if window.shape != self._shape or window.dtype != np.float64:
            raise ModelError(f"window: found {window.dtype} {window.shape}, expected float64 {self._shape}")
        if tail.shape != (self._tail,) or tail.dtype != np.float32:
            raise ModelError(f"tail: found {tail.dtype} {tail.shape}, expected float32 {(self._tail,)}")
        if not 1.0 <= spread < np.inf:
            raise ModelError(f"spread: found {spread}, expected a number of at least 1")

    def _check_known(self, bad: int, which: str = "") -> None:
        """Raise for the first place that is not finite: a cell of the window, or a number of the tail after them."""
        if bad < 0:
            return
        rows, columns = self._shape
        if bad >= rows * columns:
            raise ModelError(
                f"tail{which}: found a number at {bad - rows * columns} that is not finite, expected all known; take no decision"
            )
        name = self.manifest.schema.names[bad % columns]
        raise ModelError(
            f"window{which}: found {name} of row {bad // columns} not finite, expected it known; wait for the features' warm-up, or mend the data"
        )


def _numbers(values: Floats) -> dict[str, float]:
    """What ``write_uncertainty`` wrote, by name."""
    return dict(zip(_NUMBERS, values.tolist(), strict=True))


def _check_compiled_form(architecture: Architecture) -> None:
    """The two forms that are compiled: a trunk for each agent and a Coordinator, or one trunk that all share."""
    heads, trunks = architecture.heads, architecture.trunks
    own = [head for head in heads if head.trunk]
    if architecture.layer == "strategic":
        fits = len(heads) == len(own) + 1 and [head.trunk for head in own] == [trunk.name for trunk in trunks]
        fits = fits and not any(head.tail for head in own) and all(len(head.actions) == OUTCOMES for head in own)
        fits = fits and len(heads[-1].actions) == len(own) and heads[-1] not in own
    else:
        actions = [TACTICAL_STANCES, RISK_ACTIONS, EXECUTION_ACTIONS]
        fits = len(trunks) == 1 and len(own) == len(heads) and [head.actions for head in heads] == actions
        fits = fits and len({head.tail for head in heads}) == 1
    if not fits or len(own) > MOST_AGENTS:
        raise ModelError(
            f"architecture: found {architecture.layer} agents {', '.join(head.agent for head in heads)} on trunks "
            f"{', '.join(trunk.name for trunk in trunks)}, expected the form of strategic_architecture() or tactical_architecture()"
        )


def _transposed(weights: Tensors, layer: str) -> tuple[Singles, Singles]:
    """(inputs, outputs) weight and (outputs,) bias, contiguous and our own."""
    weight = np.array(weights[f"{layer}.weight"].T, np.float32, order="C")
    return weight, np.array(weights[f"{layer}.bias"], np.float32)


def _pack_trunk(weights: Tensors, trunk: TrunkSpec) -> _Trunk:
    p1, p2 = trunk.patches
    w1, w2 = trunk.widths
    patches1, patches2 = trunk.rows // p1, trunk.rows // (p1 * p2)
    return _Trunk(
        np.array(trunk.columns, np.int64),
        *_transposed(weights, f"{trunk.name}.patch1"),
        *_transposed(weights, f"{trunk.name}.patch2"),
        *_transposed(weights, f"{trunk.name}.features"),
        np.empty((patches1, p1 * len(trunk.columns)), np.float32),
        np.empty((patches2, p2 * w1), np.float32),
        np.empty(patches2 * w2, np.float32),
    )


def _pack_head(weights: Tensors, head: HeadSpec, samples: int) -> _Head:
    actions = len(head.actions)
    weight, bias = _transposed(weights, f"{head.agent}.logits")
    last_weight, last_bias = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    if head.hidden:
        padded = -(-actions // GROUP) * GROUP
        last_weight, last_bias = np.zeros((head.hidden, padded), np.float32), np.zeros(padded, np.float32)
        last_weight[:, :actions], last_bias[:actions] = weight, bias
        weight, bias = _transposed(weights, f"{head.agent}.hidden")
    width = len(bias)
    return _Head(
        weight,
        bias,
        last_weight,
        last_bias,
        np.empty((BYTES, ROWS, width), np.float32),
        np.empty(width, np.float32),
        np.empty(width, np.float32),
        np.empty((actions, samples), np.float32),
        np.empty(actions),
        np.empty(actions),
    )


def _head_logits(head: _Head, inputs: Singles, tails: Singles) -> Singles:
    """(N, K) logits of features or beliefs (N, I) and tails (N, T)."""
    width = inputs.shape[1]
    first: Singles = inputs @ head.weight1[:width] + (tails @ head.weight1[width:] + head.bias1)
    if not len(head.weight2):
        return first
    last: Singles = (_relu(first) @ head.weight2 + head.bias2)[:, : len(head.mean)]
    return last


def _relu(values: Singles) -> Singles:
    return np.maximum(values, 0.0, out=values)


@kernel
def decide_strategic(
    window: Floats,
    tail: Singles,
    seed: np.uint64,
    spread: float,
    keep: float,
    centre: Floats,
    scale: Floats,
    known: Bools,
    rows: Singles,
    trunks: tuple[_Trunk, ...],
    heads: tuple[_Head, ...],
    coordinator: _Head,
    features: Singles,
    masks: Masks,
    collapsed: Singles,
    out: Floats,
) -> int:
    """The whole strategic decision into ``out``: beliefs, point beliefs, weights, belief, and five numbers, in the order of
    ``StrategicOutput``. -1, or the place of the first number that is not finite, and ``out`` is then not filled.
    """
    bad = normalise(window, centre, scale, known, tail, rows)
    if bad >= 0:
        return bad
    agents = len(heads)
    beliefs = out[: 3 * agents].reshape(agents, OUTCOMES)
    points = out[3 * agents : 6 * agents].reshape(agents, OUTCOMES)
    weights, belief, numbers = out[6 * agents : 7 * agents], out[7 * agents : 7 * agents + 3], out[7 * agents + 3 :]
    for agent in range(agents):
        run_trunk(rows, trunks[agent], features[agent])
        sample_head(heads[agent], features[agent], tail[:0], seed, np.uint64(agent), keep, spread, masks)
        points[agent] = heads[agent].point
        beliefs[agent] = heads[agent].mean
    weigh(coordinator, beliefs, tail, weights)
    for k in range(OUTCOMES):
        row = collapsed[k]
        row[:] = 0.0
        for agent in range(agents):
            weight, probabilities = np.float32(weights[agent]), heads[agent].logits[k]
            for sample in range(len(row)):
                row[sample] += weight * probabilities[sample]
    rho = np.empty((OUTCOMES, OUTCOMES))
    density_matrix(beliefs, weights, rho)
    for k in range(OUTCOMES):
        belief[k] = rho[k, k]
    write_uncertainty(rho, belief, mean_entropy(collapsed), numbers)
    return -1


@kernel
def decide_tactical(
    window: Floats,
    tail: Singles,
    seed: np.uint64,
    spread: float,
    keep: float,
    centre: Floats,
    scale: Floats,
    known: Bools,
    rows: Singles,
    trunk: _Trunk,
    tactical: _Head,
    risk: _Head,
    execution: _Head,
    features: Singles,
    masks: Masks,
    stances: Floats,
    numbers: Floats,
) -> int:
    """The whole tactical decision into the heads' ``mean`` and ``point``, ``stances`` (3, 3) and ``numbers``: the joint stance and
    five numbers, in the order of ``TacticalOutput``. -1, or the place of the first number that is not finite.
    """
    bad = normalise(window, centre, scale, known, tail, rows)
    if bad >= 0:
        return bad
    shared = features[0]
    run_trunk(rows, trunk, shared)
    sample_head(tactical, shared, tail, seed, np.uint64(0), keep, spread, masks)
    sample_head(risk, shared, tail, seed, np.uint64(1), keep, spread, masks)
    sample_head(execution, shared, tail, seed, np.uint64(2), keep, spread, masks)
    write_tactical_stances(tactical.mean, risk.mean, execution.mean, stances)
    rho = np.empty((OUTCOMES, OUTCOMES))
    density_matrix(stances, np.full(OUTCOMES, 1.0 / OUTCOMES), rho)
    for k in range(OUTCOMES):
        numbers[k] = rho[k, k]
    write_uncertainty(rho, tactical.mean, mean_entropy(tactical.logits), numbers[OUTCOMES:])
    return -1


@kernel
def write_uncertainty(rho: Floats, mean: Floats, expected_entropy: float, numbers: Floats) -> None:
    """Purity, von Neumann entropy, predictive and expected entropy and mutual information into ``numbers`` (5,)."""
    predictive = entropy_of(mean)
    numbers[0] = purity(rho)
    numbers[1] = von_neumann_entropy(rho)
    numbers[2] = predictive
    numbers[3] = expected_entropy
    numbers[4] = max(0.0, predictive - expected_entropy)


@kernel
def normalise(window: Floats, centre: Floats, scale: Floats, known: Bools, tail: Singles, rows: Singles) -> int:
    """``Normaliser.apply`` of a window (R, C) into ``rows`` (R, C) as float32; columns that are not ``known`` become 0.

    -1, or the place of the first known cell that is not finite, counted along the rows; numbers of the tail follow the cells.
    """
    columns = len(centre)
    for row in range(len(window)):
        for column in range(columns):
            value = window[row, column]
            if not known[column]:
                rows[row, column] = 0.0
            elif np.isfinite(value):
                rows[row, column] = min(max((value - centre[column]) / scale[column], -LIMIT), LIMIT)
            else:
                return row * columns + column
    for place in range(len(tail)):
        if not np.isfinite(tail[place]):
            return len(window) * columns + place
    return -1


@kernel
def normalise_many(windows: Floats, centre: Floats, scale: Floats, known: Bools, tails: Singles, rows: Singles) -> int:
    """``normalise`` of (N, R, C) windows; -1, or the place of the first number that is not finite, windows and tails in turn."""
    for number in range(len(windows)):
        bad = normalise(windows[number], centre, scale, known, tails[number], rows[number])
        if bad >= 0:
            return int(number * (rows[number].size + len(tails[number])) + bad)
    return -1


@kernel
def stances_of_many(tactical: Floats, risk: Floats, execution: Floats, out: Floats) -> None:
    """``write_tactical_stances`` of (N, 3), (N, 6), (N, 4) into ``out`` (N, 3, 3)."""
    for number in range(len(out)):
        write_tactical_stances(tactical[number], risk[number], execution[number], out[number])


@kernel
def superpose_many(beliefs: Floats, weights: Floats, belief: Floats, purities: Floats, entropies: Floats) -> None:
    """The joint states of (N, A, 3) and (N, A): collapsed beliefs (N, 3), purities and von Neumann entropies (N,)."""
    rho = np.empty((OUTCOMES, OUTCOMES))
    for number in range(len(beliefs)):
        density_matrix(beliefs[number], weights[number], rho)
        for k in range(OUTCOMES):
            belief[number, k] = rho[k, k]
        purities[number] = purity(rho)
        entropies[number] = von_neumann_entropy(rho)


@kernel
def softmax(logits: Singles) -> Floats:
    """Of each row (N, K), in float64."""
    out = np.empty(logits.shape)
    for number in range(len(logits)):
        top = logits[number].max()
        total = 0.0
        for k in range(logits.shape[1]):
            out[number, k] = math.exp(logits[number, k] - top)
            total += out[number, k]
        for k in range(logits.shape[1]):
            out[number, k] /= total
    return out


@kernel
def run_trunk(rows: Singles, trunk: _Trunk, features: Singles) -> None:
    """The features of a normalised window into ``features`` (32,): see ``architecture.py``."""
    flat, width = trunk.rows.reshape(-1), len(trunk.columns)
    for row in range(len(rows)):
        for place in range(width):
            flat[row * width + place] = rows[row, trunk.columns[place]]
    level1, outputs = trunk.level1.reshape(-1), len(trunk.bias1)
    for patch in range(len(trunk.rows)):
        linear_relu(trunk.rows[patch], trunk.weight1, trunk.bias1, level1[patch * outputs : (patch + 1) * outputs])
    outputs = len(trunk.bias2)
    for patch in range(len(trunk.level1)):
        linear_relu(
            trunk.level1[patch], trunk.weight2, trunk.bias2, trunk.level2[patch * outputs : (patch + 1) * outputs]
        )
    linear_relu(trunk.level2, trunk.weight3, trunk.bias3, features)


@kernel
def add_product(x: Singles, weight: Singles, out: Singles) -> None:
    """Add x W to ``out`` (O,) for ``x`` (I,) and ``weight`` (I, O).

    Rows of W are added, four at a time, so that the inner loop vectorises without reordering a sum.
    """
    inputs, outputs = len(x), len(out)
    whole = inputs - inputs % 4
    for i in range(0, whole, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        row0, row1, row2, row3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        for j in range(outputs):
            out[j] += (x0 * row0[j] + x1 * row1[j]) + (x2 * row2[j] + x3 * row3[j])
    for i in range(whole, inputs):
        value, row = x[i], weight[i]
        for j in range(outputs):
            out[j] += value * row[j]


@kernel
def linear_relu(x: Singles, weight: Singles, bias: Singles, out: Singles) -> None:
    """max(0, x W + b) into ``out`` (O,)."""
    out[:] = bias
    add_product(x, weight, out)
    for j in range(len(out)):
        out[j] = max(out[j], np.float32(0.0))


@kernel
def sample_head(
    head: _Head,
    features: Singles,
    tail: Singles,
    seed: np.uint64,
    agent: np.uint64,
    keep: float,
    spread: float,
    masks: Masks,
) -> None:
    """An agent's distribution without dropout into ``head.point``, of every sample into ``head.logits``, their mean into ``head.mean``."""
    inputs = len(features)
    head.base[:] = head.bias1
    add_product(tail, head.weight1[inputs:], head.base)
    head.hidden[:] = head.base
    add_product(features, head.weight1[:inputs], head.hidden)
    finish_head(head, head.point)
    fill_masks(seed, agent, 1.0 - keep, masks)
    fill_tables(features, head.weight1, keep, head.tables)
    if len(head.weight2):
        sample_hidden(head.tables, head.base, head.weight2, head.bias2, masks, head.hidden, head.logits)
    else:
        sample_linear(head.tables, head.base, masks, head.logits)
    spread_out(head.logits, spread)
    to_probabilities(head.logits, head.mean)


@kernel
def weigh(head: _Head, beliefs: Floats, tail: Singles, weights: Floats) -> None:
    """The Coordinator's ``weights`` (A,) of the agents from their ``beliefs`` (A, 3) and the tail."""
    flat, inputs = beliefs.reshape(-1), beliefs.size
    head.hidden[:] = head.bias1
    for i in range(inputs):
        value, row = np.float32(flat[i]), head.weight1[i]
        for j in range(len(row)):
            head.hidden[j] += value * row[j]
    add_product(tail, head.weight1[inputs:], head.hidden)
    finish_head(head, weights)


@kernel
def finish_head(head: _Head, probabilities: Floats) -> None:
    """From what the first layer gave, in ``head.hidden``, to ``probabilities`` (K,)."""
    width = len(head.hidden)
    for k in range(len(probabilities)):
        if len(head.weight2):
            value = head.bias2[k]
            for j in range(width):
                value += max(head.hidden[j], np.float32(0.0)) * head.weight2[j, k]
            probabilities[k] = value
        else:
            probabilities[k] = head.hidden[k]
    top = probabilities.max()
    total = 0.0
    for k in range(len(probabilities)):
        probabilities[k] = math.exp(probabilities[k] - top)
        total += probabilities[k]
    for k in range(len(probabilities)):
        probabilities[k] /= total
