"""The settings of both environments, in one frozen tree."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.time import NS_PER_HOUR
from grandmodel.features.normaliser import NormaliserData
from grandmodel.training.errors import TrainingDataError, TrainingSettingsError
from grandmodel.training.lanes import LaneSettings
from grandmodel.training.market import Layer

EPISODE_BARS: dict[Layer, int] = {"strategic": 230, "tactical": 276}
"""A trading week of half hours, a trading day of five minutes."""


class RewardWeights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights of the reward's terms; ``rewards.py`` says what each is."""

    profit: float = 1.0
    drawdown: float = 10.0
    """What a fall from no drawdown to its limit costs, in deviations of one bar."""
    implementation: float = 1.0
    """Of the tactical layer alone."""
    tracking: float = 0.2
    """Of the tactical layer alone: what a bar at a gap of one full exposure costs, in deviations of a bar. To trade a whole
    exposure costs 0.07 to 0.25 of them (NQ, GC), and at a gap of one the noise of the implementation term is a whole one a bar: at
    0.05 MAPPO still learnt to stay flat within 250,000 frames, at 0.2 it follows the exposure."""

    def __post_init__(self) -> None:
        """Refuse what would turn a cost into a gain."""
        for name in ("profit", "drawdown", "implementation", "tracking"):
            value = getattr(self, name)
            if not 0.0 <= value < 1e6:
                raise TrainingSettingsError(f"reward weight {name} is {value}; expected 0 or more")


class EnvSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides an environment, apart from its markets, their span and the seed."""

    lane: LaneSettings = LaneSettings()
    """Capital, costs, the venue, risk limits and what a full exposure is."""
    rewards: RewardWeights = RewardWeights()
    episode_bars: int | None = None
    """Bars until an episode is cut off; None: ``EPISODE_BARS`` of the layer."""
    fewest_bars: int = 24
    """An episode begins only where so many bars lie ahead before a roll, a bad stretch or the end."""
    dead_band: float = 0.1
    """A position is left as it is while the lots asked for lie within this of it, as a share of full exposure."""
    slices: int = 1
    """Strategic layer: a target is worked in parts, at each bar one part in so many of what is left. 1: at once."""
    normaliser: NormaliserData | None = None
    """None: one is fitted on the bars of the span."""
    mean_scale: dict[str, float] | None = None
    """Mean scale of moves in ticks by instrument, as a model file carries it; None: measured on the bars of the span."""
    bars_per_day: dict[str, float] | None = None
    """Bars of an ordinary trading day by instrument; others have the ``session_hours`` of ``lane.risk.var``, as the gate counts."""

    def __post_init__(self) -> None:
        """Refuse counts below 1, and a dead band that holds everything."""
        if not 0.0 <= self.dead_band < 1.0:
            raise TrainingSettingsError(f"dead_band is {self.dead_band}; expected a share of full exposure in [0, 1)")
        for name in ("episode_bars", "fewest_bars", "slices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise TrainingSettingsError(f"{name} is {value}; expected 1 or more")

    def bars_of(self, layer: Layer) -> int:
        """Bars of an episode of ``layer``."""
        return EPISODE_BARS[layer] if self.episode_bars is None else self.episode_bars

    def mean_scale_of(self, instrument: str, scales: NDArray[np.float64]) -> float:
        """The mean scale of ``instrument``: the setting's, or that of ``scales`` (T,) where they are known."""
        if self.mean_scale is not None:
            if instrument not in self.mean_scale:
                raise TrainingDataError(
                    f"mean_scale: found none for {instrument}, expected one for every market; there are {sorted(self.mean_scale)}"
                )
            return self.mean_scale[instrument]
        known = scales[scales > 0.0]
        return float(known.mean()) if len(known) else float("nan")

    def bars_per_day_of(self, instrument: str, width_ns: int) -> float:
        """Bars of ``width_ns`` in an ordinary trading day of ``instrument``."""
        return (self.bars_per_day or {}).get(instrument, self.lane.risk.var.session_hours * NS_PER_HOUR / width_ns)
