"""The assumptions of the simulated venue, one named and swappable model each.

Fill rule and liquidity are compiled (``state.FillRule``, ``state.Liquidity``); the docstring of ``matching.py`` says what
they do and ignore. Latency and slippage are small Python objects asked once per order, fees give three rates to compiled code, so a desk
adds its own as one more struct with a method or two, and its name to the union at the end. Every draw comes from the generator that is handed in.
"""

from __future__ import annotations

import enum
from typing import Protocol, TypeAlias

import msgspec
import numpy as np

from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.orders import ORDER_TYPES, Order
from grandmodel.kernels import kernel
from grandmodel.simulation.state import FillRule, Liquidity


def _check_not_negative(name: str, value: float) -> None:
    if not 0 <= value < 2**62:
        raise UsageError(f"{name}: found {value}, expected 0 or more")


class FillRuleName(enum.StrEnum):
    """Names of the fill rules as settings spell them."""

    TOUCH = "touch"
    THROUGH = "through"
    QUEUE = "queue"

    @property
    def code(self) -> int:
        """The number that compiled code uses."""
        return int(FillRule[self.name])


class LiquidityName(enum.StrEnum):
    """Names of the liquidity rules as settings spell them."""

    DISPLAYED = "displayed"
    UNLIMITED = "unlimited"

    @property
    def code(self) -> int:
        """The number that compiled code uses."""
        return int(Liquidity[self.name])


FEES = np.dtype([("per_lot", "<i8"), ("maker_ppm", "<i8"), ("taker_ppm", "<i8")])
"""What a fill costs, one row: so many micros a lot, and a share of the notional in millionths, for maker and taker apart."""


@kernel
def fee_of(lots: int, notional: int, per_lot: int, ppm: int) -> int:
    """The fee of ``lots`` worth ``notional`` micros, both positive; the share is rounded up to the next millionth, also for a rebate."""
    whole, rest = notional // 1_000_000, notional % 1_000_000
    return per_lot * lots + whole * ppm - (-rest * ppm) // 1_000_000


class FeeModel(Protocol):
    """What a fill costs."""

    def rates(self) -> tuple[int, int, int]:
        """A row of ``FEES``."""


def fee_micros(fees: FeeModel, instrument: Instrument, lots: int, price_ticks: int, *, maker: bool) -> int:
    """The fee of one fill in millionths of the instrument's currency; a rebate is negative."""
    per_lot, maker_ppm, taker_ppm = fees.rates()
    return fee_of(lots, abs(instrument.value_micros(price_ticks, lots)), per_lot, maker_ppm if maker else taker_ppm)


class LatencyModel(Protocol):
    """How long messages take."""

    def order_ns(self, generator: np.random.Generator) -> int:
        """From our decision to the venue, in ns."""

    def report_ns(self, generator: np.random.Generator) -> int:
        """From the venue back to us, in ns."""


class SlippageModel(Protocol):
    """What a taker pays beyond the price shown."""

    def slippage_ticks(self, order: Order, generator: np.random.Generator) -> int:
        """Ticks against us on every fill of ``order`` that takes liquidity; never beyond its limit."""


class PerLotFee(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="per_lot"):
    """A fixed fee per lot, maker and taker alike; what futures brokers charge. Ignores volume tiers.

    2.25 USD is the order of size of exchange, clearing and broker fees for one E-mini side at retail rates.
    """

    per_lot_micros: int = 2_250_000
    """Millionths of the instrument's currency per lot and side."""

    def __post_init__(self) -> None:
        """Refuse a fee that pays."""
        _check_not_negative("per_lot_micros", self.per_lot_micros)

    def rates(self) -> tuple[int, int, int]:
        """``per_lot_micros``, and no share."""
        return self.per_lot_micros, 0, 0


class ProportionalFee(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="proportional"):
    """A share of the notional in millionths, for maker and taker apart; what crypto and equity venues charge.

    Rounded up to the next millionth, also for a rebate. Ignores minimum fees and volume tiers.
    """

    maker_ppm: int = 200
    """Millionths of the notional for a fill that provided liquidity."""
    taker_ppm: int = 500
    """Millionths of the notional for a fill that took it."""

    def __post_init__(self) -> None:
        """Refuse a taker who is paid; a maker may be."""
        _check_not_negative("taker_ppm", self.taker_ppm)

    def rates(self) -> tuple[int, int, int]:
        """The maker's and the taker's share."""
        return 0, self.maker_ppm, self.taker_ppm


class ConstantLatency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="constant"):
    """The same delay for every message. Ignores bursts, when real delays grow together."""

    order: int = 0
    """ns"""
    report: int = 0
    """ns"""

    def __post_init__(self) -> None:
        """Refuse messages that arrive before they were sent."""
        _check_not_negative("order", self.order)
        _check_not_negative("report", self.report)

    def order_ns(self, generator: np.random.Generator) -> int:  # noqa: ARG002
        """``order``."""
        return self.order

    def report_ns(self, generator: np.random.Generator) -> int:  # noqa: ARG002
        """``report``."""
        return self.report


class LognormalLatency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="lognormal"):
    """A floor plus a lognormal part, drawn per message. Ignores that delays of neighbouring messages are alike."""

    floor: int = 200_000
    """ns that no message undercuts."""
    median: int = 800_000
    """ns of the random part's median."""
    sigma: float = 0.5
    """Standard deviation of the random part's logarithm."""

    def __post_init__(self) -> None:
        """Refuse messages that arrive before they were sent."""
        for name in ("floor", "median", "sigma"):
            _check_not_negative(name, getattr(self, name))

    def order_ns(self, generator: np.random.Generator) -> int:
        """One draw."""
        return self.floor + int(self.median * float(np.exp(self.sigma * generator.standard_normal())))

    def report_ns(self, generator: np.random.Generator) -> int:
        """One draw."""
        return self.order_ns(generator)


class NoSlippage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="none"):
    """Takers pay the price shown. Ignores that a price may be gone when the order arrives; latency covers part of it."""

    def slippage_ticks(self, order: Order, generator: np.random.Generator) -> int:  # noqa: ARG002
        """0."""
        return 0


class FixedSlippage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fixed"):
    """So many ticks against us on orders that pay what the market asks: market and stop orders and their kin. Ignores size and volatility."""

    ticks: int = 1
    """Ticks against us."""

    def __post_init__(self) -> None:
        """Refuse slippage in our favour."""
        _check_not_negative("ticks", self.ticks)

    def slippage_ticks(self, order: Order, generator: np.random.Generator) -> int:  # noqa: ARG002
        """``ticks`` for orders that pay what the market asks, else 0."""
        return self.ticks if ORDER_TYPES[order.order_type].pays_market else 0


class RandomSlippage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="random"):
    """A geometric number of ticks with mean ``mean_ticks`` on market and stop orders and their kin. Ignores size and volatility."""

    mean_ticks: float = 0.5
    """Mean of the draw."""

    def __post_init__(self) -> None:
        """Refuse slippage in our favour."""
        _check_not_negative("mean_ticks", self.mean_ticks)

    def slippage_ticks(self, order: Order, generator: np.random.Generator) -> int:
        """One draw for orders that pay what the market asks, else 0."""
        if not ORDER_TYPES[order.order_type].pays_market:
            return 0
        return int(generator.geometric(1.0 / (1.0 + self.mean_ticks))) - 1


Fees: TypeAlias = PerLotFee | ProportionalFee
Latencies: TypeAlias = ConstantLatency | LognormalLatency
Slippages: TypeAlias = NoSlippage | FixedSlippage | RandomSlippage


class VenueSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The simulated venue: one model each for fees, latency, slippage, fills and liquidity."""

    fees: Fees = PerLotFee()
    latency: Latencies = ConstantLatency()
    slippage: Slippages = NoSlippage()
    fill_rule: FillRuleName = FillRuleName.THROUGH
    liquidity: LiquidityName = LiquidityName.DISPLAYED
    half_spread_ticks: int = 1
    """Ticks that an order which takes pays beyond the price known, where no quote is known: on bars, and on feeds of trades alone."""
    far_prints_ppm: int = 10_000
    """A print that lies beyond the last quote by more than so many millionths of its price, and by more than ten of its spreads, fills
    nothing and starts nothing: a late or odd-lot print. It is counted. 0: every print counts as a trade."""
    participation_ppm: int = 0
    """Largest share of a bar's volume that our fills may be, in millionths; 0: no limit."""

    def __post_init__(self) -> None:
        """Refuse numbers below zero."""
        for name in ("half_spread_ticks", "far_prints_ppm", "participation_ppm"):
            _check_not_negative(name, getattr(self, name))
