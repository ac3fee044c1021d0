"""What an agent earns in one bar, term by term. All money is in micros; every term has the size of about one deviation or less.

Profit is the change of equity, costs and slippage included, over what one deviation of the bar's move is worth at full exposure:
the same number for a small account as for a large one, in a calm market as in a wild one. The drawdown term takes away where the
fall from the peak deepens; it gives nothing back when the fall is made good, because profit has paid for that already. The
implementation term (tactical layer) compares with the strategic exposure held without cost or delay, so that it is earned by
trading well and not by the strategic layer's being right. On average it only punishes trading, since an exposure without an edge
earns nothing: the tracking term (tactical layer) is what a bar costs that is spent away from the exposure asked for, so that
not to trade at all is no way out.
"""

from __future__ import annotations

from typing import Any

from grandmodel.kernels import kernel

TERMS = ("profit", "drawdown", "implementation", "tracking")
"""The order of the terms; the reward is their sum."""


@kernel
def write_reward_terms(
    out: Any,
    profit: float,
    ideal_profit: float,
    bar_risk: float,
    drawdown_before: float,
    drawdown: float,
    drawdown_limit: float,
    gap: float,
    profit_weight: float,
    drawdown_weight: float,
    implementation_weight: float,
    tracking_weight: float,
) -> None:
    """The weighted ``TERMS`` into ``out`` (4,).

    ``bar_risk``: money of one deviation of a bar's move at full exposure; where it is not positive (nothing can be held) profit
    counts for nothing. Drawdowns are fractions of the peak, ``gap`` the exposure asked for less the one held over the bar.
    """
    unit = 1.0 / bar_risk if bar_risk > 0.0 else 0.0
    deeper = max(drawdown - drawdown_before, 0.0)
    out[0] = profit_weight * profit * unit
    out[1] = -drawdown_weight * deeper / drawdown_limit
    out[2] = implementation_weight * (profit - ideal_profit) * unit
    out[3] = -tracking_weight * abs(gap)
