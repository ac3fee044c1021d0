"""How large a position may be: four answers, of which the smallest wins and is named.

- **Kelly**: expected return over variance, times ``kelly_fraction``, times 1 - uncertainty. Full Kelly is right only for
  a known edge; a fraction and the discount are what is left of it when the edge is an estimate (MacLean et al., 2010).
- **Volatility target**: the lots whose annual volatility is ``volatility_target`` of equity.
- **VaR budget**: the lots whose value at risk is ``var_budget`` of equity.
- **Correlation**: the volatility target shared with the other strategies: k strategies of mean correlation c together
  have sqrt((1 + (k - 1) c) / k) times the volatility of one, so each may take what keeps the sum at the target.

A number that is missing or not finite gives no position: ``binding`` is then ``unknown``. Read next: ``gate.py``, which
checks what comes of it like any other order.
"""

from __future__ import annotations

import math
from functools import cache

import msgspec

from grandmodel.kernels import kernel
from grandmodel.risk.distributions import loss_quantile
from grandmodel.risk.errors import RiskInputError


class ExposureSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an exposure of 1 stands for, as shares of equity."""

    volatility_target: float = 0.10
    """Annual volatility of a full exposure over equity."""
    var_budget: float = 0.02
    """Value at risk of a full exposure over equity, one trading day ahead."""
    var_level: float = 0.99
    var_degrees: float | None = 5.0
    """Degrees of freedom of Student's t for the quantile; None: normal."""
    session_hours: float = 23.0
    """Trading hours in a day: they scale a bar's deviation to a day's."""
    trading_days: float = 252.0
    """Of a year."""

    def __post_init__(self) -> None:
        """Refuse what stands for no lots."""
        for name in ("volatility_target", "var_budget", "session_hours", "trading_days"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise RiskInputError(f"found {name} = {value}, expected a number above 0")

    @property
    def binding(self) -> str:
        """Which of the two rules is the smaller: ``volatility_target`` or ``var_budget``; it is the same for every instrument."""
        return _binding(self)

    def rule(self, width_ns: int) -> FullExposureRule:
        """The rule for scales that were measured on bars of ``width_ns``."""
        return FullExposureRule(self, self.session_hours * 3_600e9 / width_ns)


@cache
def _binding(settings: ExposureSettings) -> str:
    by_volatility = settings.volatility_target / math.sqrt(settings.trading_days)
    by_var = settings.var_budget / loss_quantile(settings.var_level, settings.var_degrees)
    return "volatility_target" if by_volatility <= by_var else "var_budget"


class FullExposureRule:
    """``lots_of_full_exposure`` under one set of settings; the quantile is computed once. Made by ``ExposureSettings.rule``."""

    def __init__(self, settings: ExposureSettings, bars_per_day: float) -> None:
        self._bars_per_day = bars_per_day
        self._bars_per_year = bars_per_day * settings.trading_days
        self._volatility_target, self._var_budget = settings.volatility_target, settings.var_budget
        self._quantile = loss_quantile(settings.var_level, settings.var_degrees)

    def lots(self, scale_ticks: float, tick_value_micros: float, equity_micros: float) -> float:
        """Lots of a full exposure, not rounded; 0 where the scale or the equity is not known or not positive."""
        return lots_of_full_exposure(
            scale_ticks,
            tick_value_micros,
            equity_micros,
            self._bars_per_year,
            self._bars_per_day,
            self._volatility_target,
            self._quantile,
            self._var_budget,
        )


@kernel
def lots_of_full_exposure(
    scale_ticks: float,
    tick_value_micros: float,
    equity_micros: float,
    bars_per_year: float,
    bars_per_day: float,
    volatility_target: float,
    var_quantile: float,
    var_budget: float,
) -> float:
    """Lots (not rounded) that an exposure of 1 stands for: the smaller of the volatility target and the VaR budget.

    ``scale_ticks`` is the standard deviation of one bar's move, ``var_quantile`` the VaR of one day's deviation of 1
    (``distributions.loss_quantile``). 0 where the scale or the equity is not known or not positive: then nothing is held.
    """
    if not (scale_ticks > 0.0 and equity_micros > 0.0 and tick_value_micros > 0.0):
        return 0.0
    deviation = scale_ticks * tick_value_micros
    by_volatility = volatility_target * equity_micros / (deviation * math.sqrt(bars_per_year))
    by_var = var_budget * equity_micros / (var_quantile * deviation * math.sqrt(bars_per_day))
    return min(by_volatility, by_var)


def takes_new_risk(held: int, wanted: int) -> bool:
    """Whether going from ``held`` to ``wanted`` lots enlarges the position or turns it."""
    return abs(wanted) > abs(held) or wanted * held < 0


def without_new_risk(held: int, wanted: int) -> int:
    """The part of the way from ``held`` to ``wanted`` that takes no new risk."""
    if wanted * held < 0:
        return 0
    return wanted if abs(wanted) <= abs(held) else held


def lots_that_breakers_leave(held: int, wanted: int, size_scale: float) -> int:
    """The position that the gate lets come of a wish for ``wanted`` lots: it cuts what opens to ``size_scale`` of the whole itself.

    ``size_scale`` is ``RiskGate.size_scale``. One asks for the whole and not for a share of it, which would be cut again.
    """
    if not takes_new_risk(held, wanted) or size_scale >= 1.0:
        return wanted
    if size_scale <= 0.0:
        return without_new_risk(held, wanted)
    kept = abs(held) if held * wanted > 0 else 0
    lots = max(kept, int(size_scale * abs(wanted)))
    return lots if wanted > 0 else -lots


def is_inside_dead_band(held: int, wanted: int, band_lots: float) -> bool:
    """Whether a change is too small to trade; one that ends or turns a position never is."""
    return wanted not in (held, 0) and wanted * held >= 0 and abs(wanted - held) < band_lots
