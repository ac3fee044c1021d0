"""A model file made ready to decide: compiled networks, calibration and novelty beside what the file says of itself.

Made by whoever may read files (``runtime.model_loading``) and handed to the layers that decide. Nothing in it changes with use but
the compiled networks' scratch memory, so a model can be put in another's place between two decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.learnt import LearntFrom
from grandmodel.models.calibration import expected_move, scale_belief
from grandmodel.models.conformal import ConformalSettings
from grandmodel.models.errors import ModelFileError, ModelMismatchError
from grandmodel.models.inference import CompiledModel, StrategicOutput, TacticalOutput
from grandmodel.models.model_file import Model
from grandmodel.models.novelty import Novelty, spread_factor

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

_SHORT = 12
_WORD = (1 << 64) - 1


@dataclass(slots=True)
class Inputs:
    """What one decision was computed from: enough to compute it again, as ``explain`` does."""

    window: Floats
    """(48, 13) or (60, 7), raw; valid until the next bar."""
    tail: Singles
    """(9,); valid until the instrument's next decision."""
    seed: int
    spread: float


class LoadedModel:
    """One model, ready. ``path`` says where it was read from, ``name`` is what a decision carries as its model."""

    def __init__(self, model: Model, path: str) -> None:
        self.id = model.id
        self.path = path
        self.manifest = model.manifest
        self.schema = model.manifest.schema
        self.name = f"{model.manifest.layer}/{model.id[:_SHORT]}"
        self.compiled = CompiledModel(model)
        self.knows_all_columns = not self.schema.unknown_columns
        self.has_novelty = bool(model.manifest.novelty)
        self._novelty = Novelty.from_parts(model.manifest.novelty, model.novelty) if self.has_novelty else None
        self._known = list(self.schema.known_columns)
        outcomes = model.manifest.outcomes
        self._mean = np.array(outcomes.mean if outcomes else (), np.float64)
        self._mean_square = np.array(outcomes.mean_square if outcomes else (), np.float64)
        self._compile()
        self._conformal = _conformal_settings(model.manifest.conformal, path)

    def _compile(self) -> None:
        """Meet every compiled function once, so that none is compiled while the market waits."""
        window = np.zeros((self.schema.rows, len(self.schema.columns)))
        window.flags.writeable = False  # As the features room gives it: to the compiler that is a type of its own.
        tail = np.zeros(max(head.tail for head in self.manifest.architecture.heads), np.float32)
        if self.manifest.layer == "strategic":
            output, _, _ = self.strategic(window, tail, 0)
            self.expected_move(self.calibrate(output.belief))
        else:
            self.tactical(window, tail, 0)

    def is_whole(self, window: Floats) -> bool:
        """Whether every number of a raw window (R, C) that the model needs is known."""
        known = window if self.knows_all_columns else window[:, self._known]
        # A sum is NaN where a term is, and costs a tenth of asking each.
        return bool(np.isfinite(known.sum()))

    def strategic(self, window: Floats, tail: Singles, seed: int) -> tuple[StrategicOutput, float, float]:
        """The networks' answer to one window, its novelty, and the spread that the samples were given for it."""
        novelty, spread = self.novelty(window)
        return self.compiled.strategic(window, tail, seed, spread=spread), novelty, spread

    def tactical(self, window: Floats, tail: Singles, seed: int) -> tuple[TacticalOutput, float, float]:
        """The same of the tactical networks."""
        novelty, spread = self.novelty(window)
        return self.compiled.tactical(window, tail, seed, spread=spread), novelty, spread

    def novelty(self, window: Floats) -> tuple[float, float]:
        """How unlike the training data a raw window is, 1 at its edge, and how much wider samples must lie for it.

        (0, 1) for a model whose file has no novelty score: ``has_novelty`` says so.
        """
        if self._novelty is None:
            return 0.0, 1.0
        score = self._novelty.score(window)
        return score, float(spread_factor(score))

    def calibrate(self, belief: Floats) -> Floats:
        """``belief`` (3,) at the model's temperature."""
        out = np.empty(len(belief))
        scale_belief(belief, self.manifest.temperature, out)
        return out

    def expected_move(self, belief: Floats) -> tuple[float, float]:
        """Mean and variance of the move that a calibrated ``belief`` (3,) foretells, in units of scale times sqrt(horizon)."""
        mean, variance = expected_move(belief, self._mean, self._mean_square)
        return float(mean), float(variance)

    def knows(self, instrument: InstrumentId) -> bool:
        """Whether the file names ``instrument`` among those that it learnt from: the model decides on no other."""
        return instrument in self.manifest.data.instruments

    @property
    def instruments(self) -> str:
        """The instruments that the file names, for people."""
        return ", ".join(self.manifest.data.instruments)

    @property
    def learnt_from(self) -> LearntFrom:
        """The data that the model had seen before it decided anything."""
        data = self.manifest.data
        calibration = data.validation
        return LearntFrom(
            layer=self.manifest.layer,
            model=self.name,
            instruments=data.instruments,
            train_ns=(data.train.start_ns, data.train.end_ns),
            calibration_ns=None if calibration is None else (calibration.start_ns, calibration.end_ns),
        )

    def mean_scale(self, instrument: InstrumentId) -> float:
        """Mean scale of moves over the training data, ticks. Raises ``ModelMismatchError`` for an instrument that the file does not name."""
        if not self.knows(instrument):
            raise ModelMismatchError(
                f"{self.path}: found instrument {instrument}, expected one that the model learnt from: {self.instruments}; train one for it"
            )
        return self.manifest.mean_scale[instrument]

    def conformal(self, instrument: InstrumentId) -> ConformalSettings:
        """How the intervals of ``instrument`` begin; the plain start for one that the model never saw."""
        start = self._conformal.get(instrument) or self._conformal.get("")
        return start or ConformalSettings(horizon=self.manifest.horizon_bars)


def day_loss_of(day_start_micros: int, equity_micros: int) -> float:
    """Loss since the start of the trading day as a share of the equity then, as the training environments have it."""
    return (day_start_micros - equity_micros) / day_start_micros if day_start_micros > 0 else 0.0


def decision_seed(run_seed: int, number: int) -> int:
    """The seed of decision ``number`` of a layer: a splitmix64 step, so that decisions that follow each other share nothing."""
    z = (run_seed + (number + 1) * 0x9E3779B97F4A7C15) & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return z ^ (z >> 31)


def _conformal_settings(given: dict[str, Any], path: str) -> dict[str, ConformalSettings]:
    """By instrument; under the empty name where the file gives one set for all."""
    one_for_all = any(name in ConformalSettings.__struct_fields__ for name in given)
    try:
        return msgspec.convert({"": given} if one_for_all else given, dict[str, ConformalSettings])
    except msgspec.ValidationError as error:
        raise ModelFileError(
            f"{path}: its conformal settings cannot be read ({error}), expected ConformalSettings by instrument"
        ) from error
