"""Training: environments in batched form, rollouts, MAPPO, checkpoints.

Read ``mappo.py`` first: it is the algorithm from top to bottom, over the pure functions of ``advantage``, ``losses`` and
``normalise``. ``strategic_env`` and ``tactical_env`` make the trading environments; ``environments/`` says what they are. Nothing
is imported until one of them is called, so that looking at this package loads neither torch nor PettingZoo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from grandmodel.training.environments.parallel_form import TradingParallel
    from grandmodel.training.environments.settings import EnvSettings
    from grandmodel.training.market import Span, TrainingMarket

__all__ = ["strategic_env", "tactical_env"]


def strategic_env(
    markets: Sequence[TrainingMarket] | None = None,
    settings: EnvSettings | None = None,
    *,
    span: Span | None = None,
    over_engine: bool = False,
) -> TradingParallel:
    """The strategic environment as a PettingZoo ``ParallelEnv``: one step is one 30-minute bar.

    Agents ``mlmi``, ``nwrqk`` and ``regime`` choose bullish, neutral or bearish, the ``coordinator`` whom to follow. ``markets``: 30-minute
    markets (``training.market.build_market``); None: some weeks of simulated NQ. ``span``: where episodes may run; None: everywhere.
    ``over_engine``: the account is that of a whole engine, which gives the same numbers and takes a hundred times as long.
    """
    from grandmodel.training.extras import require_extra  # noqa: PLC0415 - see the module

    require_extra("pettingzoo", "train")
    from grandmodel.training.environments import ground_of  # noqa: PLC0415

    return _form(over_engine=over_engine)(ground_of("strategic", markets, settings, span))


def tactical_env(
    markets: Sequence[TrainingMarket] | None = None,
    settings: EnvSettings | None = None,
    *,
    span: Span | None = None,
    exposures: Sequence[NDArray[np.float64]] | None = None,
    over_engine: bool = False,
) -> TradingParallel:
    """The tactical environment as a PettingZoo ``ParallelEnv``: one step is one 5-minute bar.

    Agents ``tactical`` (enter, hold, exit), ``risk`` (scale and stop) and ``execution`` (wait, passive, aggressive, slice) work towards
    a strategic exposure: ``exposures`` holds one per bar and market, in [-1, 1]; None: drawn by seed. The rest as for ``strategic_env``.
    """
    from grandmodel.training.extras import require_extra  # noqa: PLC0415

    require_extra("pettingzoo", "train")
    from grandmodel.training.environments import ground_of  # noqa: PLC0415

    return _form(over_engine=over_engine)(ground_of("tactical", markets, settings, span, exposures))


def _form(*, over_engine: bool) -> type[TradingParallel]:
    if over_engine:
        from grandmodel.training.environments.engine_form import EngineParallel  # noqa: PLC0415

        return EngineParallel
    from grandmodel.training.environments.parallel_form import TradingParallel  # noqa: PLC0415

    return TradingParallel
