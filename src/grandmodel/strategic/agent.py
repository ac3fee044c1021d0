"""The strategic layer as the engine runs it: one decision for each instrument at each 30-minute close.

    close -> outcomes that are now known go to the conformal state -> may a decision be taken? -> tail, novelty
          -> compiled inference (``models.inference``) -> calibration, interval -> exposure (``decision.py``)

Everything that it must remember is kept per instrument in a ``StrategicTrack`` and goes through ``save`` and ``restore`` exactly. It
draws no random number: the dropout seed of a decision is a hash of the run's seed and the decision's number. ``runtime.learning``
joins it to the tactical layer; ``docs/concepts/decisions.md`` follows one decision through both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.agents import Account, Standing
from grandmodel.domain.decisions import Belief, NoDecision, StrategicDecision
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.time import THIRTY_MINUTES_NS
from grandmodel.features.schema import TIME_COLUMNS
from grandmodel.models.architecture import STRATEGIC_TAIL
from grandmodel.models.conformal import ConformalState
from grandmodel.models.loaded import Inputs, LoadedModel, day_loss_of, decision_seed
from grandmodel.models.scale import MoveScale
from grandmodel.models.tails import write_strategic_tail
from grandmodel.models.track import SavedTrack, Track, Unready, is_break
from grandmodel.strategic.decision import Evidence, StrategicSettings, size_exposure

LAYER = "strategic"


@dataclass(frozen=True, slots=True)
class InForce:
    """The strategic decision that holds now."""

    exposure: float
    """In [-1, 1]."""
    full_lots: float
    """Lots that an exposure of 1 stands for."""
    ts: int
    """When it was decided; -1: no decision holds."""


NOTHING = InForce(0.0, 0.0, -1)
"""No decision holds: nothing is held on it."""


class _SavedStrategicTrack(SavedTrack, array_like=True):
    """One track as plain values."""

    exposure: float
    full_lots: float
    ts: int
    conformal: bytes


@dataclass(slots=True, kw_only=True)
class StrategicTrack(Track):
    """What is remembered of one instrument."""

    conformal: ConformalState
    in_force: InForce = NOTHING


class StrategicLayer:
    """The strategic agents over some instruments, which share the equity evenly."""

    def __init__(
        self, instruments: Iterable[InstrumentId], model: LoadedModel, settings: StrategicSettings, seed: int
    ) -> None:
        self.settings = settings
        self.decisions = 0
        """Taken so far; numbers the dropout seeds."""
        self._seed = seed
        self._full = settings.full.rule(THIRTY_MINUTES_NS)
        self.model = model
        self.take_model(model)
        self._tracks = {name: self._new_track(name) for name in instruments}
        self._compile()

    def check_model(self, model: LoadedModel) -> None:
        """Raise ``UsageError`` where ``model`` cannot decide, or foretells another horizon than the one before."""
        if model.manifest.outcomes is None:
            raise UsageError(f"{model.path}: found a model without class outcomes, expected those of a strategic one")
        horizons = {model.manifest.horizon_bars, model.conformal(InstrumentId("")).horizon}
        if horizons != {self.model.manifest.horizon_bars}:
            raise UsageError(
                f"{model.path}: found a horizon of {model.manifest.horizon_bars} bars, expected "
                f"{self.model.manifest.horizon_bars} as the model before: start a new run for it"
            )

    def take_model(self, model: LoadedModel) -> None:
        """Let ``model`` decide from now on; what is remembered stays. Raises as ``check_model`` does."""
        self.check_model(model)
        self.model = model
        self._root = math.sqrt(model.manifest.horizon_bars)
        self._clean_bars = model.schema.warm_up_bars + model.schema.rows

    def in_force(self, instrument: InstrumentId) -> InForce:
        """The decision that holds for ``instrument`` now."""
        return self._tracks[instrument].in_force

    def inputs(self, instrument: InstrumentId) -> Inputs | None:
        """What the last decision was computed from; None before the first."""
        return self._tracks[instrument].inputs

    def on_bar(self, bar: ClosedBar, account: Account, standing: Standing) -> StrategicDecision | NoDecision:
        """Decide at the close of a 30-minute bar; ``standing`` is the account's for its instrument."""
        track = self._tracks[bar.instrument]
        track.conformal.observe(bar.close, is_break=is_break(bar))
        scale = track.take_in(bar, account.lots(bar.instrument))
        window = account.strategic_window(bar.instrument)
        equity = account.equity_micros / len(self._tracks)
        full_lots = self._full.lots(scale, standing.tick_value_micros, equity)
        refusal = track.unready(bar, window, scale, self.model, self._clean_bars)
        if refusal is None and not full_lots > 0.0:
            refusal = Unready.NO_ROOM
        if refusal is not None:
            track.in_force = NOTHING
            return NoDecision(
                instrument=bar.instrument, ts=bar.ts_event, layer=LAYER, reasons=(refusal.value,), model=self.model.name
            )
        unit = scale * self._root
        self._write_tail(
            track, window, standing, scale, full_lots, account.equity_micros, self.model.mean_scale(bar.instrument)
        )
        seed = decision_seed(self._seed, self.decisions)
        self.decisions += 1
        output, novelty, spread = self.model.strategic(window, track.tail, seed)
        track.inputs = Inputs(window, track.tail, seed, spread)
        calibrated = self.model.calibrate(output.belief)
        mean, _ = self.model.expected_move(calibrated)
        move = mean * unit
        interval = track.conformal.predict(move, unit, float(window[-1, _TIME_OF_DAY]))
        evidence = Evidence(
            belief=calibrated,
            expected_move=move,
            deviation=unit,
            mutual_information=output.mutual_information,
            purity=output.purity,
            novelty=novelty,
            support=self.model.manifest.direction_support,
            interval=interval,
            equity_micros=equity,
            tick_value_micros=standing.tick_value_micros,
        )
        exposure, reasons = size_exposure(evidence, full_lots, self.settings)
        track.in_force = InForce(exposure, full_lots, bar.ts_event)
        return StrategicDecision(
            instrument=bar.instrument,
            ts=bar.ts_event,
            belief=_belief(calibrated.tolist()),
            beliefs=tuple([_belief(one) for one in output.beliefs.tolist()]),
            weights=tuple(output.weights.tolist()),
            agents=self.model.compiled.agents,
            purity=output.purity,
            entropy=output.entropy,
            expected_entropy=output.expected_entropy,
            mutual_information=output.mutual_information,
            target_exposure=exposure,
            novelty=novelty,
            support=self.model.manifest.direction_support,
            expected_move=move,
            interval=interval,
            coverage=track.conformal.settings.coverage,
            risk_lots=full_lots,
            reasons=tuple([reason.value for reason in reasons]),
            model=self.model.name,
        )

    def save(self) -> bytes:
        """Everything that the next decision depends on, the model aside."""
        tracks = {
            name: _SavedStrategicTrack(
                track.scale.save(), track.bars, track.since_bad, track.lots, track.bars_held, track.in_force.exposure,
                track.in_force.full_lots, track.in_force.ts, track.conformal.save()
            )
            for name, track in self._tracks.items()
        }  # fmt: skip
        return msgspec.msgpack.encode((self.decisions, tracks))

    def restore(self, data: bytes) -> None:
        """Go on from what ``save`` gave."""
        self.decisions, tracks = msgspec.msgpack.decode(data, type=tuple[int, dict[InstrumentId, _SavedStrategicTrack]])
        for name, saved in tracks.items():
            track = self._new_track(name)
            track.take_back(saved)
            track.conformal.restore(saved.conformal)
            track.in_force = InForce(saved.exposure, saved.full_lots, saved.ts)
            self._tracks[name] = track

    def _new_track(self, instrument: InstrumentId) -> StrategicTrack:
        return StrategicTrack(
            scale=MoveScale(self.model.manifest.scale_decay),
            conformal=ConformalState(self.model.conformal(instrument)),
            tail=np.zeros(len(STRATEGIC_TAIL), np.float32),
        )

    def _write_tail(
        self,
        track: StrategicTrack,
        window: NDArray[np.float64],
        standing: Standing,
        scale: float,
        full_lots: float,
        equity_micros: int,
        mean_scale: float,
    ) -> None:
        """What the Coordinator sees besides beliefs, into the track's tail."""
        before = track.in_force
        write_strategic_tail(
            track.tail,
            window[-1, _TIME_OF_DAY],
            window[-1, _DAY_OF_WEEK],
            track.lots,
            full_lots,
            standing.open_profit_micros,
            abs(track.lots) * scale * self._root * standing.tick_value_micros,
            standing.drawdown,
            standing.drawdown_limit,
            day_loss_of(standing.day_start_micros, equity_micros),
            standing.day_loss_limit,
            int(before.exposure * before.full_lots),
            track.bars_held,
            scale,
            mean_scale,
        )

    def _compile(self) -> None:
        """Meet every compiled function once, so that none is compiled while the market waits."""
        track = self._new_track(InstrumentId(""))
        track.conformal.observe(0, is_break=True)
        track.conformal.predict(0.0, 1.0, 0.0)
        self._write_tail(
            track, np.zeros((1, _DAY_OF_WEEK + 1)), _FLAT, track.scale.update(0, is_break=True), 0.0, 1, 0.0
        )
        self._full.lots(1.0, 1.0, 1.0)


_TIME_OF_DAY, _DAY_OF_WEEK = TIME_COLUMNS
_FLAT = Standing(
    open_profit_micros=0,
    tick_value_micros=1.0,
    drawdown=0.0,
    drawdown_limit=0.0,
    day_loss=0.0,
    day_loss_limit=0.0,
    size_scale=1.0,
)


def _belief(values: list[float]) -> Belief:
    return Belief(bullish=values[0], neutral=values[1], bearish=values[2])
