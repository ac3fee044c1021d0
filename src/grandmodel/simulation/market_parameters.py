"""The parameters of the simulated market: what the fit writes, what the simulation reads, as one JSON file.

``simulated_fit.py`` estimates the fitted part from real bars; ``Microstructure`` is assumed, because there are no real NQ or
CL ticks to fit it to, and says so in its name in the file (``assumed``). The model is explained in
``docs/concepts/simulated-market.md``. Read next: ``simulated.py`` (the generator).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.errors import UsageError
from grandmodel.domain.files import load_document
from grandmodel.domain.ids import InstrumentId

SLOTS_PER_BUCKET = 6
"""Five-minute slots in a half-hour bucket."""

WEEKDAYS = 5

_BUILT_IN = "market_parameters.json"


class Tail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size of a rare move, in units of the usual one: ``threshold`` plus an exponential excess of mean ``mean_excess``."""

    threshold: float
    mean_excess: float


class Gap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The step from one session's last price to the next session's first, before the regime's multiple.

    ``scale`` is the standard deviation of the log return of an ordinary gap; with ``tail_probability`` the gap is a
    ``Tail`` of that scale instead.
    """

    scale: float
    tail_probability: float
    tail: Tail


class VolumeParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Lots traded in a bar: ``by_bucket`` (B,) times exp(volatility's part + slow + noise).

    Volatility's part is ``level_elasticity`` x log of regime and session level, plus ``factor_elasticity`` x the log
    volatility factor within the session. ``slow`` is an AR(1) in bars with ``persistence`` and standard deviation ``slow_sd``; ``noise_sd`` is drawn afresh per bar.
    """

    by_bucket: list[float]
    level_elasticity: float
    factor_elasticity: float
    persistence: float
    slow_sd: float
    noise_sd: float
    session_persistence: float = 0.0
    session_sd: float = 0.0
    """Fit version 2: an AR(1) per session of the log volume beside the level of volatility."""


class Microstructure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Assumed, not fitted: how quotes and trades surround the price. Counts are per average session at row scale 1."""

    trades_per_session: float
    quotes_per_session: float
    least_mean_trade_lots: float
    """More rows than volume allows become quotes: the mean trade never falls below this."""
    quote_elasticity: float
    """Quote rate grows as volume to this power."""
    quote_size_lots: float
    """Mean displayed size at the best price."""
    spread_per_volatility: float
    """Ticks of spread beyond one, per tick of one-second volatility."""
    noise_ticks: float
    """Standard deviation of the mean-reverting deviation of quotes from the latent price."""
    noise_persistence: float
    """Share of that deviation left at the next row."""
    sign_persistence: float
    """How far a trade's side follows the trade before it, 0 to below 0.5."""


class InstrumentParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One instrument; shapes: B half-hour buckets of the session, K regimes."""

    start_price: float
    """Price units; the last close of the fitted bars."""
    volatility_by_bucket: list[float]
    """(B,) standard deviation of the 30-minute log return at regime volatility 1, jumps aside."""
    regime_volatility: list[float]
    """(K,) multiples."""
    level_persistence: float
    level_sd: float
    """AR(1) per session of the log volatility beside the regime: its coefficient and standard deviation."""
    volatility_persistence: float
    """AR(1) coefficient, per bar, of the log volatility within a session."""
    volatility_slow_sd: float
    volatility_noise_sd: float
    """Standard deviations of the persistent and of the fresh part of the log volatility."""
    slot_variance: list[list[float]]
    """(B, 6) share of a bucket's variance in each of its five-minute slots, mean 1."""
    jump_probability: list[float]
    """(B,) chance of a jump in a bar."""
    jump: Tail
    gap_short: Gap
    """Over the daily pause."""
    gap_long: Gap
    """Over a weekend or holiday."""
    volume: VolumeParameters
    assumed: Microstructure
    weekday_volatility: list[list[float]] = []
    weekday_volume: list[list[float]] = []
    """Fit version 2: (5, B) logs of what a trading day from Monday to Friday multiplies a bucket's volatility and volume by."""


class FittedInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one instrument's numbers were estimated from."""

    file: str
    sha256: str
    first_close: str
    last_close: str
    bars: int
    bars_left_out: int
    """Bars inside marked bad stretches."""
    gaps: int
    gaps_left_out: int
    """Session opens after a roll, a truncated or missing session, or a bad stretch."""


class SimulatedParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole simulated market. ``correlation`` is (K, I, I), the others (I, I), in the order of ``instruments``."""

    model: str
    fit_version: str
    inputs: dict[str, list[FittedInput]]
    regimes: list[str]
    transition: list[list[float]]
    """(K, K) per trading day; row: from, column: to."""
    correlation: list[list[list[float]]]
    gap_correlation: list[list[float]]
    level_correlation: list[list[float]]
    instruments: dict[InstrumentId, InstrumentParameters]
    correlation_persistence: float = 0.0
    correlation_sd: float = 0.0
    """Fit version 2: an AR(1) per trading day that is added to the inverse hyperbolic tangent of every shock correlation."""

    def __post_init__(self) -> None:
        """Refuse what the generator could not simulate."""
        check_parameters(self)


def check_parameters(parameters: SimulatedParameters) -> None:
    """Raise ``UsageError`` naming the first value that cannot be."""
    regimes, instruments = len(parameters.regimes), len(parameters.instruments)
    transition = np.asarray(parameters.transition, dtype=np.float64)
    _check_shape("transition", transition, (regimes, regimes))
    if (transition < 0).any() or np.abs(transition.sum(axis=1) - 1).max() > 1e-4:
        raise UsageError(
            f"transition: found rows that sum to {transition.sum(axis=1).tolist()}, expected probabilities"
        )
    correlation = np.asarray(parameters.correlation, dtype=np.float64)
    _check_shape("correlation", correlation, (regimes, instruments, instruments))
    named = {"gaps": parameters.gap_correlation, "levels": parameters.level_correlation}
    for name, matrix in (*zip(parameters.regimes, correlation, strict=True), *named.items()):
        array = np.asarray(matrix, dtype=np.float64)
        _check_shape(f"correlation of {name}", array, (instruments, instruments))
        if not np.allclose(array, array.T) or not np.allclose(np.diag(array), 1) or np.linalg.eigvalsh(array)[0] <= 0:
            raise UsageError(f"correlation of {name}: found {array.tolist()}, expected a positive definite correlation")
    for name, one in parameters.instruments.items():
        _check_instrument(name, one, regimes)
    if not 0 <= parameters.correlation_persistence < 1:
        raise UsageError(f"correlation_persistence: found {parameters.correlation_persistence}, expected 0 to below 1")
    if not (np.isfinite(parameters.correlation_sd) and parameters.correlation_sd >= 0):
        raise UsageError(f"correlation_sd: found {parameters.correlation_sd}, expected zero or more")


def _check_instrument(name: str, one: InstrumentParameters, regimes: int) -> None:
    buckets = len(one.volatility_by_bucket)
    _check_shape(f"{name}.regime_volatility", np.asarray(one.regime_volatility), (regimes,))
    _check_shape(f"{name}.slot_variance", np.asarray(one.slot_variance), (buckets, SLOTS_PER_BUCKET))
    _check_shape(f"{name}.jump_probability", np.asarray(one.jump_probability), (buckets,))
    _check_shape(f"{name}.volume.by_bucket", np.asarray(one.volume.by_bucket), (buckets,))
    for field, rows in (("weekday_volatility", one.weekday_volatility), ("weekday_volume", one.weekday_volume)):
        if rows:
            table = np.asarray(rows, dtype=np.float64)
            _check_shape(f"{name}.{field}", table, (WEEKDAYS, buckets))
            if not np.isfinite(table).all():
                raise UsageError(f"{name}.{field}: found a value that is no number, expected logs of multiples")
    assumed = one.assumed
    positive = {
        "start_price": one.start_price,
        "volatility_by_bucket": min(one.volatility_by_bucket),
        "regime_volatility": min(one.regime_volatility),
        "volume.by_bucket": min(one.volume.by_bucket),
        "gap_short.scale": one.gap_short.scale,
        "gap_long.scale": one.gap_long.scale,
        "assumed.trades_per_session": assumed.trades_per_session,
        "assumed.quotes_per_session": assumed.quotes_per_session,
        "assumed.quote_size_lots": assumed.quote_size_lots,
        "assumed.least_mean_trade_lots": assumed.least_mean_trade_lots - 0.999_999,
    }
    for field, value in positive.items():
        if not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name}.{field}: found {value}, expected a number above zero")
    at_least_zero = {
        "level_sd": one.level_sd,
        "volatility_slow_sd": one.volatility_slow_sd,
        "volatility_noise_sd": one.volatility_noise_sd,
        "volume.slow_sd": one.volume.slow_sd,
        "volume.noise_sd": one.volume.noise_sd,
        "volume.session_sd": one.volume.session_sd,
        "slot_variance": float(np.min(one.slot_variance)),
        "jump.threshold": one.jump.threshold,
        "jump.mean_excess": one.jump.mean_excess,
        "assumed.spread_per_volatility": assumed.spread_per_volatility,
        "assumed.noise_ticks": assumed.noise_ticks,
    }
    for field, value in at_least_zero.items():
        if not (np.isfinite(value) and value >= 0):
            raise UsageError(f"{name}.{field}: found {value}, expected zero or more")
    shares = {
        "level_persistence": one.level_persistence,
        "volatility_persistence": one.volatility_persistence,
        "volume.persistence": one.volume.persistence,
        "volume.session_persistence": one.volume.session_persistence,
        "jump_probability": max(one.jump_probability),
        "assumed.noise_persistence": assumed.noise_persistence,
        "assumed.sign_persistence": 2 * assumed.sign_persistence,
    }
    for field, value in shares.items():
        if not 0 <= value < 1:
            raise UsageError(f"{name}.{field}: found {value}, expected a number from 0 to below 1")


def _check_shape(name: str, array: NDArray[np.float64], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise UsageError(f"{name}: found shape {array.shape}, expected {shape}")


def built_in_parameters() -> SimulatedParameters:
    """The parameters that come with the package: NQ and CL, fitted to real 30-minute bars."""
    data = resources.files(__package__).joinpath(_BUILT_IN).read_bytes()
    return msgspec.json.decode(data, type=SimulatedParameters)


def load_parameters(path: Path) -> SimulatedParameters:
    """Parameters written by ``grandmodel market fit``; raises ``UsageError`` naming the file and the field at fault."""
    return load_document(path, "parameters file of the simulated market", SimulatedParameters)


def encode_parameters(parameters: SimulatedParameters) -> bytes:
    """The JSON file of ``parameters``; equal parameters give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(parameters), indent=1) + b"\n"
