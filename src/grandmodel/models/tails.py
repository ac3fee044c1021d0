"""What agents see besides their window: the account and the strategic decision, as a few numbers of moderate size.

One function each for training and for trading, so that a network meets the same numbers in both. The order and the meaning of
each number are in ``architecture.STRATEGIC_TAIL`` and ``TACTICAL_TAIL``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel

Singles = NDArray[np.float32]

_LIMIT = 3.0


@kernel
def bounded(value: float) -> float:
    """``value`` within -3 and 3; 0 where it is not a number (nothing is held, or nothing is known)."""
    if math.isnan(value):
        return 0.0
    return min(max(value, -_LIMIT), _LIMIT)


@kernel
def share_of(part: float, whole: float) -> float:
    """``part`` over ``whole``, bounded; 0 where the whole is not positive."""
    return bounded(part / whole) if whole > 0.0 else 0.0


@kernel
def write_strategic_tail(
    out: Singles,
    time_of_day: float,
    day_of_week: float,
    lots: float,
    full_lots: float,
    open_profit: float,
    horizon_risk: float,
    drawdown: float,
    drawdown_limit: float,
    day_loss: float,
    day_loss_limit: float,
    asked_lots: float,
    bars_held: float,
    scale: float,
    mean_scale: float,
) -> None:
    """The nine numbers of ``STRATEGIC_TAIL`` into ``out`` (9,). Money in micros, shares of equity as fractions, scales in ticks.

    ``full_lots``: lots of an exposure of 1 (``risk.sizing.lots_of_full_exposure``). ``horizon_risk``: money of one deviation of the
    horizon's move of the lots held. ``mean_scale``: the scale's mean over the training data, which the model file carries.
    """
    out[0] = time_of_day
    out[1] = day_of_week
    out[2] = share_of(lots, full_lots)
    out[3] = share_of(open_profit, horizon_risk)
    out[4] = share_of(drawdown, drawdown_limit)
    out[5] = share_of(-day_loss, day_loss_limit)
    out[6] = share_of(asked_lots - lots, full_lots)
    out[7] = bounded(bars_held / 48.0)
    out[8] = share_of(scale, mean_scale)


@kernel
def write_tactical_tail(
    out: Singles,
    exposure: float,
    exposure_age: float,
    lots: float,
    full_lots: float,
    open_profit: float,
    horizon_risk: float,
    drawdown: float,
    drawdown_limit: float,
    day_loss: float,
    day_loss_limit: float,
    bars_held: float,
    is_working: bool,
) -> None:
    """The nine numbers of ``TACTICAL_TAIL`` into ``out`` (9,); ``exposure_age`` in 5-minute bars, the rest as for the strategic tail."""
    position = share_of(lots, full_lots)
    out[0] = exposure
    out[1] = bounded(exposure_age / 6.0)
    out[2] = position
    out[3] = bounded(exposure - position)
    out[4] = share_of(open_profit, horizon_risk)
    out[5] = share_of(drawdown, drawdown_limit)
    out[6] = share_of(-day_loss, day_loss_limit)
    out[7] = bounded(bars_held / 60.0)
    out[8] = 1.0 if is_working else 0.0
