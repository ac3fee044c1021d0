"""The tactical layer as the engine runs it: one decision for each instrument at each 5-minute close.

    close -> may a decision be taken? -> tail with the strategic exposure in force, novelty -> compiled inference
          -> each agent's choice by its mode, the joint stance -> lots, urgency, stop (``decision.py``)

What must be remembered is kept per instrument in a ``Track`` and goes through ``save`` and ``restore`` exactly. It draws no random
number: the dropout seed of a decision is a hash of the run's seed and the decision's number. ``runtime.learning`` joins it to the
strategic layer; ``docs/concepts/decisions.md`` follows one decision through both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import numpy as np

from grandmodel.domain.agents import Account, Standing
from grandmodel.domain.decisions import AgentChoice, NoDecision, TacticalDecision, TargetPosition, Urgency
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.time import FIVE_MINUTES_NS
from grandmodel.models.architecture import TACTICAL_TAIL
from grandmodel.models.loaded import Inputs, LoadedModel, day_loss_of, decision_seed
from grandmodel.models.scale import MoveScale
from grandmodel.models.tails import write_tactical_tail
from grandmodel.models.track import SavedTrack, Track, Unready
from grandmodel.tactical.decision import TacticalReason, TacticalSettings, collapse, plan_trade

LAYER = "tactical"
_PROTECTIVE = ("stop", "target")


class TacticalLayer:
    """The tactical agents over some instruments, which share the equity evenly."""

    def __init__(
        self, instruments: Iterable[InstrumentId], model: LoadedModel, settings: TacticalSettings, seed: int
    ) -> None:
        self.settings = settings
        self.decisions = 0
        """Taken so far; numbers the dropout seeds."""
        self._seed = seed
        self._full = settings.full.rule(FIVE_MINUTES_NS)
        self.take_model(model)
        self._tracks = {name: self._new_track() for name in instruments}
        self._compile()

    def take_model(self, model: LoadedModel) -> None:
        """Let ``model`` decide from now on; what is remembered stays."""
        self.model = model
        self._root = math.sqrt(model.manifest.horizon_bars)
        self._clean_bars = model.schema.warm_up_bars + model.schema.rows

    def inputs(self, instrument: InstrumentId) -> Inputs | None:
        """What the last decision was computed from; None before the first."""
        return self._tracks[instrument].inputs

    def has_bars(self, instrument: InstrumentId) -> bool:
        """Whether 5-minute bars of ``instrument`` come at all."""
        return self._tracks[instrument].bars > 0

    def on_bar(
        self, bar: ClosedBar, account: Account, standing: Standing, exposure: float, decided_ts: int
    ) -> tuple[TacticalDecision | NoDecision, TargetPosition | None]:
        """Decide at the close of a 5-minute bar, and what follows.

        ``standing`` is the account's for the bar's instrument; ``exposure`` is the strategic one in force, decided at ``decided_ts`` (-1: never yet).
        """
        name = bar.instrument
        track = self._tracks[name]
        scale = track.take_in(bar, account.lots(name))
        window = account.tactical_window(name)
        full_lots = self._full.lots(scale, standing.tick_value_micros, account.equity_micros / len(self._tracks))
        refusal: Unready | TacticalReason | None = track.unready(bar, window, scale, self.model, self._clean_bars)
        if refusal is None and decided_ts < 0:
            refusal = TacticalReason.NO_STRATEGY
        elif refusal is None and not full_lots > 0.0:
            refusal = Unready.NO_ROOM
        if refusal is not None:
            none = NoDecision(
                instrument=name, ts=bar.ts_event, layer=LAYER, reasons=(refusal.value,), model=self.model.name
            )
            if refusal is Unready.INSTRUMENT_NOT_IN_MODEL:  # Whoever asks trades it without this layer.
                return none, None
            return none, self._way_out(name, track, decided_ts, exposure)
        working = any(order.tag not in _PROTECTIVE for order in account.working(name))
        age = (bar.ts_event - decided_ts) / FIVE_MINUTES_NS
        self._write_tail(track, standing, scale, full_lots, account.equity_micros, exposure, age, working)
        seed = decision_seed(self._seed, self.decisions)
        self.decisions += 1
        output, novelty, spread = self.model.tactical(window, track.tail, seed)
        track.inputs = Inputs(window, track.tail, seed, spread)
        choices = collapse(output.distributions)
        plan = plan_trade(
            choices,
            exposure=exposure,
            full_lots=full_lots,
            held=track.lots,
            scale_ticks=scale,
            size_scale=standing.size_scale,
            is_novel=novelty > self.settings.most_novelty,
            settings=self.settings,
        )
        reasons = tuple([reason.value for reason in plan.reasons])
        decision = TacticalDecision(
            instrument=name,
            ts=bar.ts_event,
            choices=tuple(
                [
                    AgentChoice(
                        agent=head.agent,
                        actions=head.actions,
                        probabilities=tuple(distribution.tolist()),
                        chosen=head.actions[choice],
                    )
                    for head, distribution, choice in zip(
                        self.model.manifest.architecture.heads, output.distributions, choices, strict=True
                    )
                ]
            ),
            purity=output.purity,
            entropy=output.entropy,
            expected_entropy=output.expected_entropy,
            mutual_information=output.mutual_information,
            exposure=exposure,
            lots=plan.lots,
            stop_ticks=plan.stop_ticks,
            urgency=plan.urgency,
            novelty=novelty,
            reasons=reasons,
            model=self.model.name,
        )
        if plan.urgency is Urgency.WAIT or plan.lots == track.lots:
            return decision, None
        wish = TargetPosition(
            instrument=name, lots=plan.lots, urgency=plan.urgency, stop_ticks=plan.stop_ticks, reasons=reasons
        )
        return decision, wish

    def save(self) -> bytes:
        """Everything that the next decision depends on, the model aside."""
        tracks = {
            name: SavedTrack(track.scale.save(), track.bars, track.since_bad, track.lots, track.bars_held)
            for name, track in self._tracks.items()
        }
        return msgspec.msgpack.encode((self.decisions, tracks))

    def restore(self, data: bytes) -> None:
        """Go on from what ``save`` gave."""
        self.decisions, tracks = msgspec.msgpack.decode(data, type=tuple[int, dict[InstrumentId, SavedTrack]])
        for name, saved in tracks.items():
            track = self._new_track()
            track.take_back(saved)
            self._tracks[name] = track

    def _new_track(self) -> Track:
        return Track(scale=MoveScale(self.model.manifest.scale_decay), tail=np.zeros(len(TACTICAL_TAIL), np.float32))

    def _write_tail(
        self,
        track: Track,
        standing: Standing,
        scale: float,
        full_lots: float,
        equity_micros: int,
        exposure: float,
        age: float,
        working: bool,
    ) -> None:
        """What the agents see besides the window, into the track's tail."""
        write_tactical_tail(
            track.tail,
            exposure,
            age,
            track.lots,
            full_lots,
            standing.open_profit_micros,
            abs(track.lots) * scale * self._root * standing.tick_value_micros,
            standing.drawdown,
            standing.drawdown_limit,
            day_loss_of(standing.day_start_micros, equity_micros),
            standing.day_loss_limit,
            track.bars_held,
            working,
        )

    def _compile(self) -> None:
        """Meet every compiled function once, so that none is compiled while the market waits."""
        track = self._new_track()
        self._write_tail(track, _FLAT, track.scale.update(0, is_break=True), 0.0, 1, 0.0, 0.0, False)
        self._full.lots(1.0, 1.0, 1.0)
        plan_trade(
            (0, 0, 0),
            exposure=0.0,
            full_lots=1.0,
            held=0,
            scale_ticks=1.0,
            size_scale=1.0,
            is_novel=False,
            settings=self.settings,
        )

    def _way_out(self, name: InstrumentId, track: Track, decided_ts: int, exposure: float) -> TargetPosition | None:
        """Where neither layer can say anything, nothing is held."""
        if track.lots == 0 or (decided_ts >= 0 and exposure != 0.0):
            return None
        return TargetPosition(instrument=name, lots=0, reasons=("no_decision",))


_FLAT = Standing(
    open_profit_micros=0,
    tick_value_micros=1.0,
    drawdown=0.0,
    drawdown_limit=0.0,
    day_loss=0.0,
    day_loss_limit=0.0,
    size_scale=1.0,
)
