"""The learning agent, kind ``grandmodel``: the strategic layer every 30 minutes, the tactical layer every 5, joined.

At one close the strategic layer speaks first, so that the tactical one works towards the newest exposure, as it did in training.
Where there is no tactical model, or no 5-minute bar to decide on (a backtest on 30-minute data), the strategic exposure is traded
directly with market orders; so is that of an instrument which the tactical model's file does not name. What the strategic model's file
does not name is not traded. Models are named by the agent's parameters and can be changed between two events (``take_model``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from grandmodel.domain.agents import Account, Agent, Standing, Wish
from grandmodel.domain.decisions import NoDecision, StrategicDecision, TargetPosition
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.learnt import LearntFrom
from grandmodel.domain.time import FIVE_MINUTES_NS, THIRTY_MINUTES_NS
from grandmodel.models.loaded import LoadedModel
from grandmodel.risk.sizing import ExposureSettings, is_inside_dead_band, lots_that_breakers_leave
from grandmodel.runtime.model_loading import LEARNING_AGENT, Layer, ModelSource, find_model, load_model
from grandmodel.strategic.agent import StrategicLayer
from grandmodel.strategic.decision import StrategicSettings
from grandmodel.tactical.agent import TacticalLayer
from grandmodel.tactical.decision import TacticalSettings


class _SavedLayers(msgspec.Struct, array_like=True):
    strategic: ModelSource
    strategic_state: bytes
    tactical: ModelSource | None
    tactical_state: bytes


class LearningAgent(Agent):
    """Both layers. ``strategic`` and ``tactical`` name models (a path, a stage or an id of the registry; empty: no such layer).

    ``found`` is what those names stood for when the run began; people do not give it. The shares of equity and the Kelly share
    are explained in ``risk.sizing`` and ``strategic.decision``.
    """

    name = LEARNING_AGENT
    needs_features = True

    def __init__(
        self,
        instruments: Mapping[InstrumentId, Instrument],
        generator: np.random.Generator,
        *,
        strategic: str = "live",
        tactical: str = "",
        found: Mapping[str, Any] | None = None,
        kelly_fraction: float = 0.25,
        dead_band: float = 0.1,
        volatility_target: float = 0.10,
        var_budget: float = 0.02,
    ) -> None:
        super().__init__(instruments, generator)
        seeds = generator.integers(2**63, size=2).tolist()
        full = ExposureSettings(volatility_target=volatility_target, var_budget=var_budget)
        settings = StrategicSettings(full=full, kelly_fraction=kelly_fraction, dead_band=dead_band)
        model = _model("strategic", strategic, found)
        self.strategic = StrategicLayer(instruments, model, settings, seeds[0])
        self.tactical: TacticalLayer | None = None
        if tactical:
            self.tactical = TacticalLayer(
                instruments,
                _model("tactical", tactical, found),
                TacticalSettings(full=full, dead_band=dead_band),
                seeds[1],
            )
        self._dead_band = dead_band
        self.check_model("strategic", self.strategic.model)
        if self.tactical is not None:
            self.check_model("tactical", self.tactical.model)

    def introduce(self) -> tuple[str, ...]:
        """Which model trades which instrument, and why one does not."""
        return tuple(self._introduce(name) for name in self.instruments)

    def _introduce(self, name: InstrumentId) -> str:
        strategic, tactical = self.strategic.model, None if self.tactical is None else self.tactical.model
        if not strategic.knows(name):
            return f"{name}: not traded; {strategic.name} names {strategic.instruments} only"
        if tactical is None:
            return f"{name}: {strategic.name} decides, market orders at its closes"
        if not tactical.knows(name):
            return f"{name}: {strategic.name} decides, market orders at its closes; {tactical.name} names {tactical.instruments} only"
        return f"{name}: {strategic.name} decides, {tactical.name} trades"

    def widths_needed(self) -> tuple[int, ...]:
        """Half hours; without five minutes the strategic layer decides alone."""
        return (THIRTY_MINUTES_NS,)

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> Sequence[Wish]:
        """Decide for every instrument whose 30- or 5-minute bar closed."""
        wishes: list[Wish] = []
        standings: dict[InstrumentId, Standing] = {}
        for bar in bars:
            if bar.instrument not in standings:
                standings[bar.instrument] = account.standing(bar.instrument)
            if bar.width_ns == THIRTY_MINUTES_NS:
                standing = standings[bar.instrument]
                decision = self.strategic.on_bar(bar, account, standing)
                wishes.append(decision)
                if not self._is_tactical(bar, bars):
                    wish = self._direct(decision, account.lots(bar.instrument), standing.size_scale)
                    if wish is not None:
                        wishes.append(wish)
        if self.tactical is not None:
            for bar in bars:
                if bar.width_ns == FIVE_MINUTES_NS:
                    force, standing = self.strategic.in_force(bar.instrument), standings[bar.instrument]
                    decided, wish = self.tactical.on_bar(bar, account, standing, force.exposure, force.ts)
                    wishes.append(decided)
                    if wish is not None:
                        wishes.append(wish)
        return wishes

    def check_model(self, layer: str, model: object) -> None:
        """Raise ``UsageError`` where ``model`` foretells something else than the one before, or names none of the instruments."""
        if not isinstance(model, LoadedModel):
            return
        if layer == "strategic":
            self.strategic.check_model(model)
        if not any(model.knows(name) for name in self.instruments):
            instead = f"train one for them, or leave {layer} out to trade by market orders"
            raise UsageError(
                f"{layer} model {model.path}: found instruments {model.instruments}, expected one of this run's, "
                f"{', '.join(self.instruments)}: {instead if layer == 'tactical' else 'train one for them'}"
            )

    def take_model(self, layer: str, model: object) -> bool:
        """Let ``model`` decide for its layer from now on; False where this agent has no such layer."""
        if not isinstance(model, LoadedModel) or model.manifest.layer != layer:
            return False
        if layer == "strategic":
            self.strategic.take_model(model)
            return True
        if self.tactical is None:
            return False
        self.tactical.take_model(model)
        return True

    def learnt_from(self) -> Sequence[LearntFrom]:
        """What the models that decide now learnt from."""
        models = [self.strategic.model, *([] if self.tactical is None else [self.tactical.model])]
        return [model.learnt_from for model in models]

    def save(self) -> bytes:
        """Both layers' states, and which models decide."""
        tactical = self.tactical
        return msgspec.msgpack.encode(
            _SavedLayers(
                _source(self.strategic.model),
                self.strategic.save(),
                None if tactical is None else _source(tactical.model),
                b"" if tactical is None else tactical.save(),
            )
        )

    def restore(self, data: bytes) -> None:
        """Go on from what ``save`` gave, with the models that decided then."""
        saved = msgspec.msgpack.decode(data, type=_SavedLayers)
        if (saved.tactical is None) != (self.tactical is None):
            raise UsageError("snapshot: found an agent with other layers, expected the run that it was taken from")
        if saved.strategic.sha256 != self.strategic.model.id:
            self.strategic.take_model(load_model("strategic", saved.strategic))
        self.strategic.restore(saved.strategic_state)
        if self.tactical is not None and saved.tactical is not None:
            if saved.tactical.sha256 != self.tactical.model.id:
                self.tactical.take_model(load_model("tactical", saved.tactical))
            self.tactical.restore(saved.tactical_state)

    def _is_tactical(self, bar: ClosedBar, bars: Sequence[ClosedBar]) -> bool:
        """Whether the tactical layer works the exposure of this instrument: its model names it, and it has bars to decide on."""
        if self.tactical is None or not self.tactical.model.knows(bar.instrument):
            return False
        if self.tactical.has_bars(bar.instrument):
            return True
        return any(one.width_ns == FIVE_MINUTES_NS and one.instrument == bar.instrument for one in bars)

    def _direct(self, decision: StrategicDecision | NoDecision, held: int, size_scale: float) -> TargetPosition | None:
        """The exposure as a market order, where it differs enough from what is held; without a decision nothing is held."""
        name = decision.instrument
        if isinstance(decision, NoDecision):
            return TargetPosition(instrument=name, lots=0, reasons=decision.reasons) if held else None
        lots = int(decision.target_exposure * decision.risk_lots)
        left = lots_that_breakers_leave(held, lots, size_scale)
        if left == held or is_inside_dead_band(held, left, self._dead_band * decision.risk_lots):
            return None
        return TargetPosition(instrument=name, lots=lots if size_scale > 0.0 else left, reasons=decision.reasons)


def _model(layer: Layer, reference: str, found: Mapping[str, Any] | None) -> LoadedModel:
    """The model that ``reference`` names: as it was found when the run began, else as it is found now."""
    known = (found or {}).get(layer)
    source = find_model(layer, reference) if known is None else msgspec.convert(known, ModelSource)
    return load_model(layer, source)


def _source(model: LoadedModel) -> ModelSource:
    return ModelSource(path=model.path, sha256=model.id)
