"""Decisions from a model file without torch: compiled, in float32, equal to torch's to 1e-5.

``CompiledModel`` packs a model's weights once. ``strategic`` and ``tactical`` take one window as the features room gives it, raw,
and return every number that a decision carries; ``point_batch`` and ``decide_batch`` take many windows, without dropout. What the
networks compute is in ``architecture.py``, the samples in ``dropout.py``, the joint state in ``superposition.py``.

Nothing here reads a clock or draws a number that is not named by the caller's seed. A model keeps its scratch memory, so one
``CompiledModel`` serves one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.models.architecture import COORDINATOR, TACTICAL_ACTIONS, Architecture
from grandmodel.models.dropout import CLASSES, FEATURES, MOST_AGENTS, exponential, hidden_room
from grandmodel.models.errors import ModelError
from grandmodel.models.inference_batch import BLOCK, run_windows
from grandmodel.models.inference_one import CENTRE, INVERSE, KNOWN, decide_strategic, decide_tactical
from grandmodel.models.model_file import Model
from grandmodel.models.packed import (
    HEADS,
    HIDDEN,
    JOINT_HIDDEN,
    JOINT_INPUTS,
    LOGITS,
    OUTPUTS1,
    OUTPUTS2,
    PATCHES1,
    PATCHES2,
    TRUNKS,
    pack,
    whole,
)
from grandmodel.models.superposition import OUTCOMES, superpose_many, write_tactical_stances
from grandmodel.vectors import LANES, aligned

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]

SAMPLES = 1_000
"""Draws of dropout behind a decision."""
BATCH = 1_024
"""Windows that a call of the kernels is given at a time, so that a view of windows is copied in parts."""
_NO_FEATURES = np.empty((0, 0), np.float32)
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
        _check_compiled_form(self.architecture)
        self.agents = tuple(head.agent for head in self.architecture.heads if head.trunk)
        """Agents with a window, in order: those that beliefs, weights and stances are about."""
        self._tail = max(head.tail for head in self.architecture.heads)
        self._cells = self._shape[0] * self._shape[1]
        self._units = aligned((3, self._cells), np.float64)
        self._units[KNOWN] = 1.0
        self._units[CENTRE] = np.tile(np.array(manifest.normaliser.centre), schema.rows)
        self._units[INVERSE] = np.tile(1.0 / np.array(manifest.normaliser.scale), schema.rows)
        self._units[KNOWN].reshape(self._shape)[:, list(schema.unknown_columns)] = 0.0
        packed = pack(self.architecture, model.weights, len(schema.columns))
        self._weights, self._plan = packed.weights, packed.plan
        plan = packed.plan.tolist()
        self._trunks, self._logits = plan[TRUNKS], plan[LOGITS]
        levels = plan[PATCHES1] * plan[OUTPUTS1], plan[PATCHES2] * plan[OUTPUTS2]
        # Nothing is checked in the kernels: what follows is as long as the longest layer needs.
        hidden = max(plan[HIDDEN], plan[JOINT_HIDDEN], LANES)
        inputs = max(packed.places.shape[1], *levels, FEATURES + self._tail, plan[JOINT_INPUTS], hidden)
        self._places = np.zeros((self._trunks + 1, inputs), np.int64)
        self._places[:-1, : packed.places.shape[1]] = packed.places
        self._places[-1] = np.arange(inputs)
        behind = whole(max(FEATURES, OUTCOMES * MOST_AGENTS) + self._tail) + hidden + LANES + hidden_room(hidden)
        self._room = aligned((whole(self._cells) + max(sum(levels), behind),), np.float32)
        # The Tactical agent stands for its layer: the other two choose how, not whether.
        self._samples, sampled = samples, len(self.agents) + 1 if manifest.layer == "strategic" else 1
        self._masks = aligned((whole(samples),), np.uint32)
        self._drawn = aligned((sampled, CLASSES, whole(samples)), np.float32)
        rows = self._cells + sum(levels) + FEATURES * self._trunks + self._tail
        rows += max(plan[HIDDEN], plan[JOINT_HIDDEN]) + LANES + OUTCOMES * plan[HEADS]
        self._turned = aligned((LANES, whole(self._cells)), np.float32)
        self._block = aligned((rows, BLOCK), np.float32)
        self._seen = self._rows_seen(rows - self._cells - sum(levels))

    def _rows_seen(self, rows: int) -> Integers:
        """The rows of a block that every head takes in, counted from the first feature, behind which there are ``rows``."""
        agents, tail = len(self.agents), FEATURES * self._trunks + np.arange(self._tail)
        seen = np.zeros((agents + 1, max(FEATURES, OUTCOMES * agents) + self._tail), np.int64)
        for agent in range(agents):
            trunk = agent if self._trunks > 1 else 0
            seen[agent, :FEATURES] = trunk * FEATURES + np.arange(FEATURES)
            seen[agent, FEATURES : FEATURES + self._tail] = tail
        beliefs = OUTCOMES * agents
        seen[agents, :beliefs] = rows - beliefs + np.arange(beliefs)
        seen[agents, beliefs : beliefs + self._tail] = tail
        return seen

    def strategic(self, window: Floats, tail: Singles, seed: int, *, spread: float = 1.0) -> StrategicOutput:
        """The strategic networks' answer to one window.

        ``window`` (48, 13) raw rows, oldest first; ``tail`` (9,) of ``tails.write_strategic_tail``; ``seed`` names the draw, all of
        its low 64 bits; ``spread`` (at least 1): how much wider the samples are to lie than dropout puts them.

        Raises ``ModelError`` where a number that the model needs is not finite, or a shape is wrong: no decision is taken on NaN.
        """
        self._check("strategic", window, tail, spread)
        agents = len(self.agents)
        numbers, features = self._decide(decide_strategic, window, tail, seed, spread, 7 * agents + OUTCOMES)
        beliefs, points, rest = numbers[: 3 * agents], numbers[3 * agents : 6 * agents], numbers[6 * agents :]
        purity, entropy, predictive, expected, mutual = numbers[-5:].tolist()
        return StrategicOutput(
            beliefs=beliefs.reshape(agents, OUTCOMES),
            point_beliefs=points.reshape(agents, OUTCOMES),
            weights=rest[:agents],
            belief=rest[agents : agents + OUTCOMES],
            purity=purity,
            entropy=entropy,
            predictive_entropy=predictive,
            expected_entropy=expected,
            mutual_information=mutual,
            features=features,
        )

    def tactical(self, window: Floats, tail: Singles, seed: int, *, spread: float = 1.0) -> TacticalOutput:
        """The tactical networks' answer to one window (60, 7) with ``tail`` (9,); the rest as for ``strategic``."""
        self._check("tactical", window, tail, spread)
        numbers, features = self._decide(decide_tactical, window, tail, seed, spread, self._logits + 15)
        purity, entropy, predictive, expected, mutual = numbers[-5:].tolist()
        return TacticalOutput(
            distributions=(numbers[:3], numbers[3:9], numbers[9:13]),
            point_stance=numbers[13:16],
            stances=numbers[16:25].reshape(OUTCOMES, OUTCOMES),
            stance=numbers[25:28],
            purity=purity,
            entropy=entropy,
            predictive_entropy=predictive,
            expected_entropy=expected,
            mutual_information=mutual,
            features=features,
        )

    def _decide(
        self, kernel: Callable[..., int], window: Floats, tail: Singles, seed: int, spread: float, count: int
    ) -> tuple[Floats, Singles]:
        """The numbers of a decision, ``count`` and the five of its uncertainty, and the features."""
        numbers, features = np.empty(count + 5), np.empty((self._trunks, FEATURES), np.float32)
        bad = kernel(
            np.ascontiguousarray(window),
            tail,
            np.uint64(seed & _WORD),
            self.architecture.dropout,
            spread,
            self._samples,
            self._units,
            self._weights,
            self._plan,
            self._places,
            self._room,
            self._masks,
            self._drawn,
            features,
            numbers,
        )
        if bad >= 0:
            self._refuse(bad)
        return numbers, features.ravel()

    def point_batch(self, windows: Floats, tails: Singles) -> dict[str, Singles]:
        """Every agent's logits for many windows, without dropout: {agent: (N, K)}, the Coordinator's from the others' beliefs.

        ``windows`` (N, R, C) float64, raw; a view of overlapping windows will do (``sliding_window_view``). ``tails`` (N, 9) float32.
        Raises ``ModelError`` as ``strategic`` does, naming the first window that cannot be used.
        """
        logits, _ = self._batch(windows, tails, with_features=False)
        found, begin = {}, 0
        for head in self.architecture.heads:
            end = begin + len(head.actions)
            found[head.agent] = np.ascontiguousarray(logits[:, begin:end])
            begin = end
        return found

    def features_batch(self, windows: Floats) -> Singles:
        """The trunks' features of many windows: (N, trunks x 32)."""
        return self._batch(windows, np.zeros((len(windows), self._tail), np.float32), with_features=True)[1]

    def decide_batch(self, windows: Floats, tails: Singles) -> BatchDecisions:
        """The layer's decisions for many windows, without dropout; arguments and errors as for ``point_batch``."""
        logits, _ = self._batch(windows, tails, with_features=False)
        count, agents = len(windows), len(self.agents)
        distributions, begin = {}, 0
        for head in self.architecture.heads:
            distributions[head.agent] = np.empty((count, len(head.actions)))
            write_softmaxes(logits, begin, distributions[head.agent])
            begin += len(head.actions)
        beliefs = np.empty((count, agents, OUTCOMES))
        if self.architecture.layer == "strategic":
            for place, agent in enumerate(self.agents):
                beliefs[:, place] = distributions[agent]
            weights = distributions[COORDINATOR]
        else:
            tactical, risk, execution = (distributions[agent] for agent in self.agents)
            stances_of_many(tactical, risk, execution, beliefs)
            weights = np.full((count, agents), 1.0 / agents)
        belief, purities, entropies = np.empty((count, OUTCOMES)), np.empty(count), np.empty(count)
        superpose_many(beliefs, weights, belief, purities, entropies)
        return BatchDecisions(distributions, beliefs, weights, belief, purities, entropies)

    def _batch(self, windows: Floats, tails: Singles, *, with_features: bool) -> tuple[Singles, Singles]:
        """All agents' logits (N, L) and the features (N, trunks x 32), or none."""
        count = len(windows)
        if windows.shape != (count, *self._shape) or tails.shape != (count, self._tail):
            raise ModelError(
                f"batch: found windows {windows.shape} and tails {tails.shape}, expected (N, {self._shape[0]}, {self._shape[1]}) and "
                f"(N, {self._tail})"
            )
        tails = np.ascontiguousarray(tails, np.float32)
        logits = np.empty((count, self._logits), np.float32)
        features = np.empty((count, self._trunks * FEATURES), np.float32) if with_features else _NO_FEATURES
        for start in range(0, count, BATCH):
            part = slice(start, min(start + BATCH, count))
            flat = np.ascontiguousarray(windows[part], np.float64).reshape(-1, self._cells)
            bad = run_windows(
                flat,
                tails[part],
                self._units,
                self._weights,
                self._plan,
                self._places,
                self._seen,
                self._turned,
                self._block,
                logits[part],
                features[part],
            )
            if bad >= 0:
                self._refuse_of_batch(flat[bad], tails[start + bad], start + bad)
        return logits, features

    def _check(self, layer: str, window: Floats, tail: Singles, spread: float) -> None:
        if self.architecture.layer != layer:
            raise ModelError(f"model {self.id[:12]}: found a {self.architecture.layer} model, expected a {layer} one")
        if window.shape != self._shape or window.dtype != np.float64:
            raise ModelError(f"window: found {window.dtype} {window.shape}, expected float64 {self._shape}")
        if tail.shape != (self._tail,) or tail.dtype != np.float32:
            raise ModelError(f"tail: found {tail.dtype} {tail.shape}, expected float32 {(self._tail,)}")
        if not 1.0 <= spread < np.inf:
            raise ModelError(f"spread: found {spread}, expected a number of at least 1")

    def _refuse(self, bad: int, which: str = "") -> None:
        """Raise for the first place that is not finite: a cell of the window, or a number of the tail after them."""
        columns = self._shape[1]
        if bad >= self._cells:
            raise ModelError(
                f"tail{which}: found a number at {bad - self._cells} that is not finite, expected all known; take no decision"
            )
        name = self.manifest.schema.names[bad % columns]
        raise ModelError(
            f"window{which}: found {name} of row {bad // columns} not finite, expected it known; wait for the features' warm-up, or mend the data"
        )

    def _refuse_of_batch(self, window: Floats, tail: Singles, number: int) -> None:
        """The same for window ``number`` of a batch."""
        numbers = np.concatenate([np.where(self._units[KNOWN] != 0.0, window, 0.0), tail])
        self._refuse(int(np.argmin(np.isfinite(numbers))), f" {number}")


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
        fits = fits and len({(head.hidden > 0, head.tail) for head in heads}) == 1
    if not fits or len(own) > MOST_AGENTS:
        raise ModelError(
            f"architecture: found {architecture.layer} agents {', '.join(head.agent for head in heads)} on trunks "
            f"{', '.join(trunk.name for trunk in trunks)}, expected the form of strategic_architecture() or tactical_architecture()"
        )


@kernel
def stances_of_many(tactical: Floats, risk: Floats, execution: Floats, out: Floats) -> None:
    """``write_tactical_stances`` of (N, 3), (N, 6), (N, 4) into ``out`` (N, 3, 3)."""
    for number in range(len(out)):
        write_tactical_stances(tactical[number], risk[number], execution[number], out[number])


@kernel
def write_softmaxes(logits: Singles, begin: int, out: Floats) -> None:
    """``write_softmax`` of columns ``begin`` and on of each row of ``logits`` (N, L) into ``out`` (N, K), some rows side by side."""
    actions = out.shape[1]
    parts, top, total = np.zeros((actions, BLOCK), np.float32), np.zeros(BLOCK, np.float32), np.zeros(BLOCK)
    for start in range(0, len(out), BLOCK):
        count = min(BLOCK, len(out) - start)
        for lane in range(count):
            for k in range(actions):
                parts[k, lane] = logits[start + lane, begin + k]
        for lane in range(BLOCK):
            top[lane], total[lane] = parts[0, lane], 0.0
        for k in range(1, actions):
            own = parts[k]
            for lane in range(BLOCK):
                top[lane] = max(top[lane], own[lane])
        for k in range(actions):
            own = parts[k]
            for lane in range(BLOCK):
                own[lane] = exponential(own[lane] - top[lane])
            for lane in range(BLOCK):
                total[lane] += own[lane]
        for lane in range(count):
            for k in range(actions):
                out[start + lane, k] = np.divide(np.float64(parts[k, lane]), total[lane])
