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
from dataclasses import dataclass
from functools import cache

import msgspec

from grandmodel.kernels import kernel
from grandmodel.risk.distributions import loss_quantile
from grandmodel.risk.errors import RiskInputError

UNKNOWN = "unknown"


class SizingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of equity; see the module for what each does."""

    kelly_fraction: float = 0.25
    volatility_target: float = 0.10
    """Annual volatility of the whole position over equity."""
    var_budget: float = 0.02
    """Value at risk of the position over equity, at the level and horizon of the number handed in."""

    def __post_init__(self) -> None:
        """Refuse shares that are not positive."""
        for name in ("kelly_fraction", "volatility_target", "var_budget"):
            value = getattr(self, name)
            if not 0.0 < value <= 10.0:
                raise RiskInputError(f"found {name} = {value}, expected a share above 0 (0.1 is a tenth of equity)")


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


@dataclass(frozen=True, slots=True)
class SizingInput:
    """What a size follows from. Returns are fractions per year; money is in micros of the account's currency."""

    direction: float
    """In [-1, 1]: the side, and how much of the size is wanted."""
    expected_return_annual: float
    """Of the instrument in that direction, 0 or more where there is an edge."""
    volatility_annual: float
    uncertainty: float
    """In [0, 1]: the model's ignorance; 1 trades nothing."""
    equity_micros: int
    notional_micros: int
    """Of one lot."""
    var_micros: float
    """Value at risk of one lot."""
    strategies: int = 1
    """Strategies that share the account, this one included."""
    mean_correlation: float = 0.0
    """Mean correlation between them."""
    scale: float = 1.0
    """A share of the size besides: 1 for all of it. Not the breakers': the gate cuts what opens by itself."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """How many lots (signed), which rule bound, and what each rule allowed (lots, not rounded)."""

    lots: int
    binding: str
    allowed: dict[str, float]


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


def compute_size(wish: SizingInput, settings: SizingSettings | None = None) -> Sizing:
    """The signed lots for ``wish``, rounded towards zero; zero where anything needed is unknown or there is no edge."""
    rules = settings or SizingSettings()
    numbers = (
        wish.direction,
        wish.expected_return_annual,
        wish.volatility_annual,
        wish.uncertainty,
        wish.var_micros,
        wish.mean_correlation,
        wish.scale,
    )
    usable = (
        all(math.isfinite(x) for x in numbers)
        and wish.volatility_annual > 0.0
        and wish.var_micros > 0.0
        and wish.notional_micros > 0
        and wish.equity_micros > 0
        and wish.strategies >= 1
        and 0.0 <= wish.uncertainty <= 1.0
        and abs(wish.direction) <= 1.0
        and -1.0 <= wish.mean_correlation <= 1.0
    )
    if not usable:
        return Sizing(0, UNKNOWN, {})
    equity_lots = wish.equity_micros / wish.notional_micros
    edge = max(wish.expected_return_annual, 0.0)
    kelly = rules.kelly_fraction * edge / wish.volatility_annual**2 * (1.0 - wish.uncertainty) * equity_lots
    target = rules.volatility_target / wish.volatility_annual * equity_lots
    count = wish.strategies
    joint = max((1.0 + (count - 1) * wish.mean_correlation) / count, 1.0 / count**2)
    allowed = {
        "kelly": kelly,
        "volatility_target": target,
        "var_budget": rules.var_budget * wish.equity_micros / wish.var_micros,
        "correlation": target / (count * math.sqrt(joint)),
    }
    binding = min(allowed, key=allowed.__getitem__)
    share = abs(wish.direction) * min(max(wish.scale, 0.0), 1.0)
    lots = math.floor(min(allowed[binding] * share, 2.0**31 - 1) + 1e-9)
    return Sizing(lots if wish.direction > 0.0 else -lots, binding, allowed)
