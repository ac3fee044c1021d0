"""The two environments: what an agent sees, does and earns. ``docs/models/environments.md`` explains them with a picture.

Reading order: ``settings.py``, ``tables.py`` (what is fixed), ``episodes.py`` (one step, shared by all), ``strategic.py`` and ``tactical.py``
(what each layer sees and asks), ``rewards.py``, ``batch.py`` (compiled, N copies), ``parallel_form.py`` (PettingZoo, one copy),
``engine_form.py`` (the same over a whole engine). Use ``grandmodel.training.strategic_env`` and ``tactical_env``, or the two functions here for the batched form.
"""

from __future__ import annotations

from collections.abc import Sequence

from grandmodel.training.environments.batch import TradingBatch
from grandmodel.training.environments.settings import EnvSettings, RewardWeights
from grandmodel.training.environments.simulated import simulated_market
from grandmodel.training.environments.tables import Floats, Ground, build_ground
from grandmodel.training.market import Layer, Span, TrainingMarket

__all__ = [
    "EnvSettings",
    "Ground",
    "RewardWeights",
    "TradingBatch",
    "ground_of",
    "simulated_market",
    "strategic_batch",
    "tactical_batch",
]


def strategic_batch(
    markets: Sequence[TrainingMarket] | None = None,
    settings: EnvSettings | None = None,
    count: int = 64,
    span: Span | None = None,
) -> TradingBatch:
    """``count`` copies of the strategic environment, compiled. Without ``markets``: some weeks of simulated NQ."""
    return TradingBatch(ground_of("strategic", markets, settings, span), count)


def tactical_batch(
    markets: Sequence[TrainingMarket] | None = None,
    settings: EnvSettings | None = None,
    count: int = 64,
    span: Span | None = None,
    *,
    exposures: Sequence[Floats] | None = None,
) -> TradingBatch:
    """``count`` copies of the tactical environment, compiled, as ``strategic_batch``.

    ``exposures``: per market (T,) the strategic exposure at each of its bars, in [-1, 1]; None: drawn by seed.
    """
    return TradingBatch(ground_of("tactical", markets, settings, span, exposures), count)


def ground_of(
    layer: Layer,
    markets: Sequence[TrainingMarket] | None,
    settings: EnvSettings | None,
    span: Span | None,
    exposures: Sequence[Floats] | None = None,
) -> Ground:
    """The fixed part of an environment of ``layer``, with what stands for arguments that are None."""
    chosen = [simulated_market(layer)] if markets is None else markets
    return build_ground(layer, chosen, settings or EnvSettings(), span, exposures)
