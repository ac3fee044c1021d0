"""The limits of the risk room, in one frozen tree with a default for everything.

Money limits are multiples of the run's capital (what was paid in: ``standing.moved_capital``), so that one tree serves accounts of any size; lots are lots.
Times are nanoseconds. Unknown keys are refused. ``gate.py`` reads the limits, ``breakers.py`` the ladder's thresholds,
``shocks.py`` and ``sizing.py`` their own parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from grandmodel.domain.time import NS_PER_DAY, NS_PER_MINUTE, NS_PER_SECOND, THIRTY_MINUTES_NS
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.shocks import ShockSettings


# Defaults are built while this module loads, so the two checks stand before the classes that they serve.
def _check_positive(name: str, value: float) -> None:
    if not 0.0 < value < 2.0**53:
        raise RiskInputError(f"found {name} = {value}, expected a positive finite number")


def _check_not_negative(name: str, value: float) -> None:
    if not 0 <= value < 2**53:
        raise RiskInputError(f"found {name} = {value}, expected 0 or more")


class InstrumentLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one instrument may do."""

    max_order_lots: int = 500
    """Fat finger: a larger order is refused, never shrunk. What closes a position on a breaker or on FLATTEN may be larger."""
    max_order_notional: float = 5.0
    """Fat finger, as a multiple of capital."""
    max_long_lots: int = 1_000
    """Of the position with every working buy filled."""
    max_short_lots: int = 1_000
    """Of the position with every working sell filled."""
    max_concentration: float = 10.0
    """The instrument's worst-case notional, as a multiple of capital."""
    collar_fraction: float = 0.03
    """How far beyond the mark an order may pay (buy above, sell below), as a fraction of the mark."""
    away_fraction: float = 0.5
    """How far on the passive side a limit, stop or target may lie."""
    collar_min_ticks: int = 20
    """The collar is never narrower; it is what protects an instrument whose price is near zero."""
    max_mark_age_ns: int = 35 * NS_PER_MINUTE
    """An older mark takes no new risk, whatever the feed. The default suits 30-minute bars."""
    max_mark_gaps: int = 100
    """On a feed of trades, quotes or orders a mark takes no new risk either once it is so many usual gaps between two rows old."""
    min_mark_age_ns: int = 10 * NS_PER_SECOND
    """A younger mark is never too old, however quick the feed."""

    def __post_init__(self) -> None:
        """Refuse limits that cannot be compared."""
        for name in ("max_order_notional", "max_concentration", "collar_fraction", "away_fraction"):
            _check_positive(name, getattr(self, name))
        for name in (
            "max_order_lots",
            "max_long_lots",
            "max_short_lots",
            "collar_min_ticks",
            "max_mark_age_ns",
            "max_mark_gaps",
            "min_mark_age_ns",
        ):
            _check_not_negative(name, getattr(self, name))


class PortfolioLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the whole account may do; worst case of every working order included."""

    max_overall_lots: int = 2_000
    """Sum of the worst-case positions of all instruments."""
    max_gross_exposure: float = 20.0
    """Sum of worst-case notionals, as a multiple of capital."""
    max_net_exposure: float = 20.0
    """Largest magnitude the signed sum of notionals can reach, as a multiple of capital."""
    max_margin_share: float = 0.8
    """Initial margin of the worst case over present equity."""
    max_var: float = 0.05
    """Value at risk after the trade, as a share of capital (level and horizon: ``VarSettings``)."""
    max_stressed_var: float = 0.25
    """The same under stressed volatility and with every correlation against us."""

    def __post_init__(self) -> None:
        """Refuse limits that cannot be compared."""
        for name in ("max_gross_exposure", "max_net_exposure", "max_margin_share", "max_var", "max_stressed_var"):
            _check_positive(name, getattr(self, name))
        _check_not_negative("max_overall_lots", self.max_overall_lots)


class FlowLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast orders may leave."""

    max_orders: int = 50
    """New orders within ``window_ns``; what reduces is not counted against it."""
    max_messages: int = 200
    """New orders, changes and cancels within ``window_ns``; cancels count but are never refused."""
    window_ns: int = NS_PER_SECOND
    """Length of the window that orders and messages are counted in."""
    duplicate_window_ns: int = NS_PER_SECOND // 2
    """An order equal in everything to one sent so recently is a duplicate."""
    max_repeats: int = 30
    """Executions of one instrument and side within ``repeat_window_ns`` before it is disabled until a person resets it."""
    repeat_window_ns: int = NS_PER_MINUTE
    """Length of the window that executions are counted in."""
    throttle_release_ns: int | None = None
    """How long a side stays disabled before it is enabled by itself; None: until a person resets it, as RTS 6 article 15(3) asks
    of an algorithm that trades. A backtest, where there is no person, may say a day."""

    def __post_init__(self) -> None:
        """Refuse negative limits and empty windows."""
        for name in ("max_orders", "max_messages", "max_repeats", "duplicate_window_ns"):
            _check_not_negative(name, getattr(self, name))
        for name in ("window_ns", "repeat_window_ns"):
            _check_positive(name, getattr(self, name))
        if self.throttle_release_ns is not None:
            _check_positive("throttle_release_ns", self.throttle_release_ns)


class VarSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the gate computes value at risk: parametric, on EWMA covariances of the money that one lot gains per bar."""

    level: float = 0.99
    """Confidence of value at risk."""
    degrees: float | None = 5.0
    """Degrees of freedom of Student's t for the quantile; None: normal. ``docs/risk/var-backtests.md`` says why 5."""
    horizon_days: float = 1.0
    """Trading days that value at risk looks ahead."""
    width_ns: int = THIRTY_MINUTES_NS
    """The bars whose closes make the returns; other widths are passed over."""
    session_hours: float = 23.0
    """Trading hours in a day: with ``width_ns`` it gives the bars per day that scale a bar's variance to the horizon."""
    decay_per_day: float = 0.94
    """Weight of the past after one trading day; the decay per bar is its root."""
    min_returns: int = 46
    """Returns of an instrument before its risk is known; orders in it are refused until then."""
    stress_multiple: float = 2.0
    """Stressed volatility is the largest seen so far in the run, or this multiple of the present one where that is more."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        for name in ("level", "decay_per_day"):
            value = getattr(self, name)
            if not 0.0 < value < 1.0:
                raise RiskInputError(f"found {name} = {value}, expected a number between 0 and 1, both excluded")
        if self.level < 0.5:
            raise RiskInputError(f"found level = {self.level}, expected at least 0.5 (0.99: the loss of the worst 1 %)")
        if self.degrees is not None and not self.degrees > 2.0:
            raise RiskInputError(f"found degrees = {self.degrees}, expected more than 2, or none for the normal")
        for name in ("horizon_days", "width_ns", "session_hours", "min_returns", "stress_multiple"):
            _check_positive(name, getattr(self, name))

    @property
    def bars_per_day(self) -> float:
        """Bars of ``width_ns`` in one trading day."""
        return self.session_hours * 3_600e9 / self.width_ns


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The values at which one trigger moves the ladder to each step; None: it never does. Each trigger has its own, in the table above:
    a step that a settings file or ``--set`` does not name keeps that; ``null`` switches a step off, in TOML a value out of reach does.
    """

    caution: float | None = None
    """From this value on: new positions at half size."""
    reduce: float | None = None
    """From this value on: only what reduces, and a share of the risk is closed."""
    halt: float | None = None
    """From this value on: cancel, flatten, no new risk."""

    def __post_init__(self) -> None:
        """Refuse a ladder whose steps are not in order."""
        given = [x for x in (self.caution, self.reduce, self.halt) if x is not None]
        if any(not x > 0.0 for x in given) or given != sorted(given):
            raise RiskInputError(f"found thresholds {given}, expected positive ones, rising from caution to halt")


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the ladder moves by itself, what it does then, and who may move it back."""

    daily_loss: Thresholds = Thresholds(caution=0.02, reduce=0.03, halt=0.05)
    """Loss since the start of the trading day, as a share of capital."""
    drawdown: Thresholds = Thresholds(caution=0.08, reduce=0.12, halt=0.20)
    """Fraction below the running peak."""
    var_breach: Thresholds = Thresholds(caution=1.0, reduce=1.5, halt=3.0)
    """Value at risk of the positions held over its limit."""
    correlation_shock: Thresholds = Thresholds(caution=3.5)
    """Standard deviations of a correlation or eigenvalue shock."""
    volatility: Thresholds = Thresholds(caution=2.5, reduce=5.0, halt=10.0)
    """Mean volatility over its own usual level."""
    loss_streak: Thresholds = Thresholds(caution=12.0, reduce=25.0, halt=40.0)
    """Round trips lost in a row. A sound rule that wins one time in three loses twelve in a row now and then."""
    data_quality: Thresholds = Thresholds(caution=5.0, halt=50.0)
    """Bars marked bad, or rows of one instrument that no market makes, within ``event_window_ns``."""
    order_rejects: Thresholds = Thresholds(caution=5.0, halt=20.0)
    """Venue rejects within ``event_window_ns``."""
    latency: Thresholds = Thresholds(caution=0.5, halt=5.0)
    """Seconds, as reported by the edge."""
    market_wide: Thresholds = Thresholds(caution=0.07, reduce=0.13, halt=0.20)
    """Fall of the market's index from its prior close: the exchanges' own three levels."""
    disconnect: Thresholds = Thresholds(halt=1.0)
    """1 while the link to the venue is lost."""
    event_window_ns: int = 10 * NS_PER_MINUTE
    """Length of the window that bad bars and rejects are counted in."""
    caution_scale: float = 0.5
    """Share of an asked position that caution leaves."""
    reduce_share: float = 0.5
    """Reduction goes on until value at risk is this share of what it was when the ladder moved."""
    slice_share: float = 0.25
    """Share of a position closed at a time (at least one lot)."""
    slice_interval_ns: int = NS_PER_SECOND
    """Least time between two slices, and before a refused close-out is asked for again."""
    flatten_wait_ns: int = 5 * NS_PER_SECOND
    """How long a close-out waits for the confirmation of cancels before it goes ahead."""
    calm_ns: int = NS_PER_DAY
    """How long every trigger must have been quiet before an automatic release."""
    automatic_release: Literal["never", "caution", "reduce", "halt"] = "caution"
    """The worst state that steps back to normal by itself after ``calm_ns``; anything worse needs a person. Long backtests,
    where there is none, may say ``halt``."""
    release_roles: tuple[str, ...] = ("risk_officer", "head_of_trading")
    """Who may release; a command names its author as ``name/role``."""

    def __post_init__(self) -> None:
        """Refuse shares outside (0, 1]."""
        for name in ("caution_scale", "reduce_share", "slice_share"):
            value = getattr(self, name)
            if not 0.0 < value <= 1.0:
                raise RiskInputError(f"found {name} = {value}, expected a share above 0 and at most 1")
        for name in ("event_window_ns", "slice_interval_ns", "flatten_wait_ns", "calm_ns"):
            _check_not_negative(name, getattr(self, name))


class RiskSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the risk gate is told."""

    limits: InstrumentLimits = InstrumentLimits()
    """For every instrument without an entry of its own in ``instruments``, and for what a settings file's entry there does not name."""
    instruments: dict[str, InstrumentLimits] = {}
    authorised: tuple[str, ...] = ()
    """Instruments that may be traded; empty: every instrument of the run."""
    restricted: tuple[str, ...] = ()
    """Instruments in which no new risk may be taken."""
    portfolio: PortfolioLimits = PortfolioLimits()
    flow: FlowLimits = FlowLimits()
    var: VarSettings = VarSettings()
    shocks: ShockSettings = ShockSettings()
    breakers: BreakerSettings = BreakerSettings()
    shrink: bool = True
    """True: an order beyond a size limit is cut to what fits. False: it is refused."""


class AccountLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account below another: whose part it is, its capital, and limits of its own. What it does not name is as in the run's settings.

    Limits that are multiples of capital are multiples of its own. Its ladder moves by its own drawdown, day's loss, losing streak and
    rejects; whatever moves the ladder of an account above binds it too.
    """

    parent: str = ""
    """Name of the account above it; empty: the run's own."""
    capital_micros: int = 0
    """Starting capital of an account that trades; 0 for one that stands above others: it has theirs."""
    limits: InstrumentLimits | None = None
    instruments: dict[str, InstrumentLimits] | None = None
    authorised: tuple[str, ...] | None = None
    """Instruments that may be traded; empty: all."""
    restricted: tuple[str, ...] | None = None
    """Instruments of which nothing new may be opened."""
    portfolio: PortfolioLimits | None = None
    flow: FlowLimits | None = None
    breakers: BreakerSettings | None = None
    shrink: bool | None = None
    """True: an order beyond a size limit is cut to what fits. False: it is refused."""

    def over(self, settings: RiskSettings) -> RiskSettings:
        """The limits of this account in a run with ``settings``."""
        named = {name: getattr(self, name) for name in _OF_AN_ACCOUNT}
        return msgspec.structs.replace(settings, **{name: found for name, found in named.items() if found is not None})


def traders_of(accounts: Mapping[str, AccountLimits]) -> tuple[str, ...]:
    """Names of the accounts that trade: those that no other one names as its parent."""
    above = {one.parent for one in accounts.values()}
    return tuple(name for name in accounts if name not in above)


_OF_AN_ACCOUNT = ("limits", "instruments", "authorised", "restricted", "portfolio", "flow", "breakers", "shrink")
