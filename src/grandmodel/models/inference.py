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
from grandmodel.models.architecture import COORDINATOR, TACTICAL_ACTIONS, Architecture, HeadSpec, TrunkSpec
from grandmodel.models.dropout import (
    BLOCK,
    BYTES,
    FEATURES,
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
from grandmodel.models.inference_batch import head_logits, layer_of_patches, normalise_block, turn_tails
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
"""Windows that a batch works on at a time, so that what lies between two layers stays in the cache."""
LANES = 16
"""Blocks are filled up to a multiple of this many windows: a whole vector."""
_NUMBERS = ("purity", "entropy", "predictive_entropy", "expected_entropy", "mutual_information")
_NO_TAIL = np.empty(0, np.float32)
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
    """(3,), (6,), (4,): each agent's over its actions; the Tactical agent's is its mean over the dropout samples, the other two,
    who choose how to trade and not whether, are taken without dropout."""
    point_stance: Floats
    """(3,) the Tactical agent's without dropout."""
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


class _Trunks(NamedTuple):
    """The weights of T trunks of one form, (inputs, outputs) each, and scratch memory for one of them.

    A trunk that sees fewer columns than another is filled up with weights of 0.
    """

    columns: Integers
    """(T, C)."""
    weight1: Singles
    """(T, p1 C, w1)."""
    bias1: Singles
    weight2: Singles
    """(T, p2 w1, w2)."""
    bias2: Singles
    weight3: Singles
    """(T, R / p1 / p2 w2, 32)."""
    bias3: Singles
    patches: Singles
    """(R / p1, p1 C) the window's."""
    level1: Singles
    """(R / p1 / p2, p2 w1)."""
    level2: Singles
    """(R / p1 / p2 w2,)."""
    features: Singles
    """(T, 32) what the trunks found."""


class _Head(NamedTuple):
    """A head's weights; without a hidden layer the first layer gives the logits and the second is empty."""

    weight1: Singles
    """(features or beliefs and then the tail, O)."""
    bias1: Singles
    weight2: Singles
    """(K, O), or (0, 0)."""
    bias2: Singles
    hidden: Singles
    """(O,) scratch."""


class _Samples(NamedTuple):
    """The weights of A heads of one form whose dropout is sampled, stacked, and the memory of their samples."""

    weight1: Singles
    """(A, I, O)."""
    bias1: Singles
    weight2: Singles
    """(A, K, O), or (A, 0, 0)."""
    bias2: Singles
    base: Singles
    """(O,) bias and the tail's part of the first layer."""
    tables: Singles
    """(4, 256, O)."""
    masks: Masks
    """(S,)."""
    block: Singles
    """(64, O)."""
    hidden: Singles
    """(O, S)."""
    scratch: Singles
    """(S,)."""
    probabilities: Singles
    """(A, K, S) of every sample."""


class _Block(NamedTuple):
    """The memory of a block of B windows on their way through the networks; see ``inference_batch.py``."""

    turned: Singles
    """(16, R C) a few, normalised."""
    cells: Singles
    """(R C, B)."""
    tails: Singles
    """(T, B)."""
    level1: Singles
    level2: Singles
    features: Singles
    """(trunks x 32, B)."""

    @classmethod
    def of(cls, trunks: _Trunks, shape: tuple[int, int], tail: int, count: int) -> _Block:
        """For blocks of up to ``count`` windows of ``shape``; lanes that no window fills hold zeros."""
        cells, lanes = shape[0] * shape[1], -(-max(count, 1) // LANES) * LANES

        def singles(rows: int) -> Singles:
            return np.zeros((rows, lanes), np.float32)

        return cls(
            np.empty((LANES, cells), np.float32),
            singles(cells),
            singles(tail),
            singles(trunks.level1.size),
            singles(trunks.level2.size),
            singles(trunks.features.size),
        )


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
        centre, scale, known = (np.tile(one, schema.rows) for one in (self._centre, self._scale, self._known))
        self._of_cells = centre, scale, known
        _check_compiled_form(self.architecture)
        self.agents = tuple(head.agent for head in self.architecture.heads if head.trunk)
        """Agents with a window, in order: those that beliefs, weights and stances are about."""
        self._tail = max(head.tail for head in self.architecture.heads)
        self._trunks = _pack_trunks(model.weights, self.architecture.trunks)
        self._heads = {head.agent: _pack_head(model.weights, head) for head in self.architecture.heads}
        # The Tactical agent stands for its layer: the other two choose how, not whether.
        sampled = self.agents if manifest.layer == "strategic" else self.agents[:1]
        self._samples = _stack_heads([self._heads[agent] for agent in sampled], samples)
        self._rows = np.empty(self._shape, np.float32)
        self._collapsed = np.empty((OUTCOMES, samples), np.float32)

    def strategic(self, window: Floats, tail: Singles, seed: int, *, spread: float = 1.0) -> StrategicOutput:
        """The strategic networks' answer to one window.

        ``window`` (48, 13) raw rows, oldest first; ``tail`` (9,) of ``tails.write_strategic_tail``; ``seed`` names the draw, all of
        its low 64 bits; ``spread`` (at least 1): how much wider the samples are to lie than dropout puts them.

        Raises ``ModelError`` where a number that the model needs is not finite, or a shape is wrong: no decision is taken on NaN.
        """
        self._check("strategic", window, tail, spread)
        agents, samples = len(self.agents), self._samples
        points, beliefs = np.empty((agents, OUTCOMES)), np.empty((agents, OUTCOMES))
        weights, belief, numbers = np.empty(agents), np.empty(OUTCOMES), np.empty(len(_NUMBERS))
        features = self._features_of(window, tail)
        sample_agents(samples, features, _NO_TAIL, _word(seed), self.architecture.dropout, spread, points, beliefs)
        run_head(self._heads[COORDINATOR], beliefs.astype(np.float32).ravel(), tail, weights)
        join_beliefs(beliefs, weights, samples.probabilities, self._collapsed, samples.scratch, belief, numbers)
        return StrategicOutput(
            beliefs=beliefs,
            point_beliefs=points,
            weights=weights,
            belief=belief,
            features=features.ravel().copy(),
            **_named(numbers),
        )

    def tactical(self, window: Floats, tail: Singles, seed: int, *, spread: float = 1.0) -> TacticalOutput:
        """The tactical networks' answer to one window (60, 7) with ``tail`` (9,); the rest as for ``strategic``."""
        self._check("tactical", window, tail, spread)
        samples = self._samples
        tactical, risk, execution = (np.empty(len(head.actions)) for head in self.architecture.heads)
        point, stance, numbers = np.empty(OUTCOMES), np.empty(OUTCOMES), np.empty(len(_NUMBERS))
        stances = np.empty((OUTCOMES, OUTCOMES))
        features = self._features_of(window, tail)
        sample_agents(
            samples, features, tail, _word(seed), self.architecture.dropout, spread, point[None], tactical[None]
        )
        run_head(self._heads["risk"], features[0], tail, risk)
        run_head(self._heads["execution"], features[0], tail, execution)
        join_stances(tactical, risk, execution, samples.probabilities[0], samples.scratch, stances, stance, numbers)
        return TacticalOutput(
            distributions=(tactical, risk, execution),
            point_stance=point,
            stances=stances,
            stance=stance,
            features=features.ravel().copy(),
            **_named(numbers),
        )

    def _features_of(self, window: Floats, tail: Singles) -> Singles:
        """(trunks, 32), in our scratch memory. Raises where a number of the window or the tail is not finite."""
        self._check_known(normalise(window, self._centre, self._scale, self._known, tail, self._rows))
        run_trunks(self._rows, self._trunks)
        return self._trunks.features

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
        if self.architecture.layer == "strategic":
            beliefs = np.stack([distributions[agent] for agent in self.agents], axis=1)
            weights = distributions[COORDINATOR]
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
        features = np.empty((count, self._trunks.features.size), np.float32)
        block = _Block.of(self._trunks, self._shape, self._tail, min(BATCH, count))
        for start in range(0, count, BATCH):
            part = slice(start, min(start + BATCH, count))
            self._fill_block(block, windows[part], tails[part], start)
            self._run_block(block, {agent: out[part] for agent, out in logits.items()})
            features[part] = block.features[:, : part.stop - start].T
        return logits, features

    def _fill_block(self, block: _Block, windows: Floats, tails: Singles, start: int) -> None:
        """Normalise and turn some windows; raise for the first number that is not finite."""
        centre, scale, known = self._of_cells
        flat = np.ascontiguousarray(windows.reshape(len(windows), -1), np.float64)
        bad = normalise_block(flat, centre, scale, known, block.turned, block.cells)
        if bad < 0:
            bad = turn_tails(tails, block.tails)
        if bad >= 0:
            window = np.ascontiguousarray(windows[bad])
            place = normalise(window, self._centre, self._scale, self._known, tails[bad], self._rows)
            self._check_known(place, f" {start + bad}")

    def _run_block(self, block: _Block, logits: dict[str, Singles]) -> None:
        """The networks on a block: its features, and every agent's logits (n, K) into ``logits``."""
        trunks, width = self._trunks, FEATURES
        (patches1, inputs1), (patches2, inputs2) = trunks.patches.shape, trunks.level1.shape
        per_patch, all_columns = inputs1 // trunks.columns.shape[1], self._shape[1]
        for place, columns in enumerate(trunks.columns):
            cells = (all_columns * np.arange(per_patch)[:, None] + columns).ravel()
            layer_of_patches(
                block.cells,
                per_patch * all_columns,
                cells,
                trunks.weight1[place],
                trunks.bias1[place],
                patches1,
                block.level1,
            )
            layer_of_patches(
                block.level1,
                inputs2,
                np.arange(inputs2),
                trunks.weight2[place],
                trunks.bias2[place],
                patches2,
                block.level2,
            )
            features = block.features[place * width : (place + 1) * width]
            every = np.arange(len(trunks.level2))
            layer_of_patches(block.level2, 0, every, trunks.weight3[place], trunks.bias3[place], 1, features)
        shared = len(trunks.columns) == 1
        for place, agent in enumerate(self.agents):
            first = 0 if shared else place * width
            self._run_head_on_block(agent, block.features[first : first + width], block, logits[agent])
        if COORDINATOR in logits:
            beliefs = np.concatenate([softmax(logits[agent]) for agent in self.agents], axis=1)
            seen = np.zeros((beliefs.shape[1], block.cells.shape[1]), np.float32)
            seen[:, : len(beliefs)] = beliefs.T
            self._run_head_on_block(COORDINATOR, seen, block, logits[COORDINATOR])

    def _run_head_on_block(self, agent: str, seen: Singles, block: _Block, logits: Singles) -> None:
        head = self._heads[agent]
        hidden = np.empty((len(head.bias1), seen.shape[1]), np.float32)
        head_logits(seen, len(seen), block.tails, head.weight1, head.bias1, head.weight2, head.bias2, hidden, logits)

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


def _named(values: Floats) -> dict[str, float]:
    """What ``write_uncertainty`` wrote, by name."""
    return dict(zip(_NUMBERS, values.tolist(), strict=True))


def _word(seed: int) -> np.uint64:
    return np.uint64(seed & _WORD)


def _check_compiled_form(architecture: Architecture) -> None:
    """The two forms that are compiled: a trunk for each agent and a Coordinator, or one trunk that all share."""
    heads, trunks = architecture.heads, architecture.trunks
    own = [head for head in heads if head.trunk]
    if architecture.layer == "strategic":
        fits = len(heads) == len(own) + 1 and [head.trunk for head in own] == [trunk.name for trunk in trunks]
        fits = fits and not any(head.tail for head in own) and all(len(head.actions) == OUTCOMES for head in own)
        fits = fits and heads[-1].agent == COORDINATOR and len(heads[-1].actions) == len(own)
        fits = fits and len({(head.hidden, head.tail) for head in own}) == 1
        fits = fits and len({(trunk.rows, trunk.patches, trunk.widths) for trunk in trunks}) == 1
    else:
        fits = len(trunks) == 1 and len(own) == len(heads) and [head.agent for head in heads] == list(TACTICAL_ACTIONS)
        fits = fits and [head.actions for head in heads] == list(TACTICAL_ACTIONS.values())
        fits = fits and len({head.tail for head in heads}) == 1
    if not fits or len(own) > MOST_AGENTS:
        raise ModelError(
            f"architecture: found {architecture.layer} agents {', '.join(head.agent for head in heads)} on trunks "
            f"{', '.join(trunk.name for trunk in trunks)}, expected the form of strategic_architecture() or tactical_architecture()"
        )


def _pack_trunks(weights: Tensors, trunks: tuple[TrunkSpec, ...]) -> _Trunks:
    one = trunks[0]
    (p1, p2), (w1, w2), width = one.patches, one.widths, max(len(trunk.columns) for trunk in trunks)
    patches1, patches2 = one.rows // p1, one.rows // (p1 * p2)
    columns = np.zeros((len(trunks), width), np.int64)
    weight1 = np.zeros((len(trunks), p1, width, w1), np.float32)
    for place, trunk in enumerate(trunks):
        seen = len(trunk.columns)
        columns[place, :seen] = trunk.columns
        weight1[place, :, :seen] = weights[f"{trunk.name}.patch1.weight"].T.reshape(p1, seen, w1)

    def stacked(layer: str) -> Singles:
        return np.stack([weights[f"{trunk.name}.{layer}"].T for trunk in trunks]).astype(np.float32, order="C")

    return _Trunks(
        columns=columns,
        weight1=weight1.reshape(len(trunks), p1 * width, w1),
        bias1=stacked("patch1.bias"),
        weight2=stacked("patch2.weight"),
        bias2=stacked("patch2.bias"),
        weight3=stacked("features.weight"),
        bias3=stacked("features.bias"),
        patches=np.empty((patches1, p1 * width), np.float32),
        level1=np.empty((patches2, p2 * w1), np.float32),
        level2=np.empty(patches2 * w2, np.float32),
        features=np.empty((len(trunks), one.features), np.float32),
    )


def _pack_head(weights: Tensors, head: HeadSpec) -> _Head:
    """Copies of our own, contiguous."""
    first = "hidden" if head.hidden else "logits"
    weight1 = np.array(weights[f"{head.agent}.{first}.weight"].T, np.float32, order="C")
    bias1 = np.array(weights[f"{head.agent}.{first}.bias"], np.float32)
    weight2, bias2 = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    if head.hidden:
        weight2 = np.array(weights[f"{head.agent}.logits.weight"], np.float32, order="C")
        bias2 = np.array(weights[f"{head.agent}.logits.bias"], np.float32)
    return _Head(weight1, bias1, weight2, bias2, np.empty(len(bias1), np.float32))


def _stack_heads(heads: list[_Head], samples: int) -> _Samples:
    width = len(heads[0].bias1)
    actions = len(heads[0].bias2) or width
    return _Samples(
        weight1=np.stack([head.weight1 for head in heads]),
        bias1=np.stack([head.bias1 for head in heads]),
        weight2=np.stack([head.weight2 for head in heads]),
        bias2=np.stack([head.bias2 for head in heads]),
        base=np.empty(width, np.float32),
        tables=np.empty((BYTES, ROWS, width), np.float32),
        masks=np.empty(samples, np.uint32),
        block=np.empty((BLOCK, width), np.float32),
        hidden=np.empty((width, samples), np.float32),
        scratch=np.empty(samples, np.float32),
        probabilities=np.empty((len(heads), actions, samples), np.float32),
    )


@kernel
def join_beliefs(
    beliefs: Floats,
    weights: Floats,
    probabilities: Singles,
    collapsed: Singles,
    scratch: Singles,
    belief: Floats,
    numbers: Floats,
) -> None:
    """The strategic agents' joint state: the collapsed ``belief`` (3,) and the five ``numbers`` of ``write_uncertainty``.

    ``beliefs`` (A, 3) and ``weights`` (A,); ``probabilities`` (A, 3, S) of every sample, whose collapsed beliefs come into
    ``collapsed`` (3, S), all under the same weights.
    """
    for k in range(OUTCOMES):
        row = collapsed[k]
        for sample in range(len(row)):
            row[sample] = 0.0
        for agent in range(len(weights)):
            weight, own = np.float32(weights[agent]), probabilities[agent, k]
            for sample in range(len(row)):
                row[sample] += weight * own[sample]
    rho = np.empty((OUTCOMES, OUTCOMES))
    density_matrix(beliefs, weights, rho)
    for k in range(OUTCOMES):
        belief[k] = rho[k, k]
    write_uncertainty(rho, belief, mean_entropy(collapsed, scratch), numbers)


@kernel
def join_stances(
    tactical: Floats,
    risk: Floats,
    execution: Floats,
    probabilities: Singles,
    scratch: Singles,
    stances: Floats,
    stance: Floats,
    numbers: Floats,
) -> None:
    """The tactical agents' joint state, with equal weights: ``stances`` (3, 3), the collapsed ``stance`` (3,), and five ``numbers``,
    the entropies among them of the Tactical agent's own distribution. ``probabilities`` (3, S): its samples.
    """
    write_tactical_stances(tactical, risk, execution, stances)
    rho = np.empty((OUTCOMES, OUTCOMES))
    density_matrix(stances, np.full(OUTCOMES, 1.0 / OUTCOMES), rho)
    for k in range(OUTCOMES):
        stance[k] = rho[k, k]
    write_uncertainty(rho, tactical, mean_entropy(probabilities, scratch), numbers)


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
def run_trunks(rows: Singles, trunks: _Trunks) -> None:
    """The features of a normalised window by every trunk, into ``trunks.features``: see ``architecture.py``."""
    patches, level1, level2 = trunks.patches, trunks.level1, trunks.level2
    flat, flat1, width = patches.reshape(-1), level1.reshape(-1), trunks.columns.shape[1]
    w1, w2 = trunks.bias1.shape[1], trunks.bias2.shape[1]
    for place in range(len(trunks.columns)):
        columns = trunks.columns[place]
        for row in range(len(rows)):
            for column in range(width):
                flat[row * width + column] = rows[row, columns[column]]
        for patch in range(len(patches)):
            linear_relu(
                patches[patch], trunks.weight1[place], trunks.bias1[place], flat1[patch * w1 : (patch + 1) * w1]
            )
        for patch in range(len(level1)):
            linear_relu(
                level1[patch], trunks.weight2[place], trunks.bias2[place], level2[patch * w2 : (patch + 1) * w2]
            )
        linear_relu(level2, trunks.weight3[place], trunks.bias3[place], trunks.features[place])


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
def sample_agents(
    samples: _Samples,
    features: Singles,
    tail: Singles,
    seed: np.uint64,
    dropout: float,
    spread: float,
    points: Floats,
    means: Floats,
) -> None:
    """The agents' distributions without dropout into ``points`` (A, K), of every sample into ``samples.probabilities``, and their
    means into ``means`` (A, K). ``features`` (A, 32), a row each; ``tail`` what they all see besides.
    """
    base, whole, inputs = samples.base, samples.block[0], features.shape[1]
    for agent in range(len(features)):
        weight1, weight2, bias2 = samples.weight1[agent], samples.weight2[agent], samples.bias2[agent]
        probabilities = samples.probabilities[agent]
        base[:] = samples.bias1[agent]
        add_product(tail, weight1[inputs:], base)
        whole[:] = base
        add_product(features[agent], weight1[:inputs], whole)
        finish_head(whole, weight2, bias2, points[agent])
        fill_masks(seed, np.uint64(agent), dropout, samples.masks)
        fill_tables(features[agent], weight1, 1.0 - dropout, samples.tables)
        if len(bias2):
            sample_hidden(
                samples.tables, base, weight2, bias2, samples.masks, samples.block, samples.hidden, probabilities
            )
        else:
            sample_linear(samples.tables, base, samples.masks, probabilities)
        spread_out(probabilities, spread)
        to_probabilities(probabilities, samples.scratch, means[agent])


@kernel
def run_head(head: _Head, inputs: Singles, tail: Singles, probabilities: Floats) -> None:
    """A head's distribution (K,) of its features or beliefs (I,) and the tail, without dropout."""
    head.hidden[:] = head.bias1
    add_product(inputs, head.weight1[: len(inputs)], head.hidden)
    add_product(tail, head.weight1[len(inputs) :], head.hidden)
    finish_head(head.hidden, head.weight2, head.bias2, probabilities)


@kernel
def finish_head(first: Singles, weight2: Singles, bias2: Singles, probabilities: Floats) -> None:
    """From what the first layer gave (O,), before its ReLU, to ``probabilities`` (K,)."""
    for k in range(len(probabilities)):
        probabilities[k] = first[k]
        if len(bias2):
            value = bias2[k]
            for j in range(len(first)):
                value += max(first[j], np.float32(0.0)) * weight2[k, j]
            probabilities[k] = value
    top = probabilities.max()
    total = 0.0
    for k in range(len(probabilities)):
        probabilities[k] = math.exp(probabilities[k] - top)
        total += probabilities[k]
    for k in range(len(probabilities)):
        probabilities[k] /= total
