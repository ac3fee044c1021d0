"""An interval of the move over the horizon that covers what it promises, in calm and in stressed markets alike.

The interval is ``expected +- radius x spread``: ``expected`` from the belief, ``spread`` the deviation of the horizon's move times a
factor of the time of day. The radius follows what happened, whatever the market does:

    radius = exp(level + slope x stress),   stress = log(scale) less its own slow mean
    each time an outcome becomes known:  level += step x g,  slope += slope_step x g x stress(then),  g = missed - (1 - coverage)

That is online gradient descent on the quantile loss: the quantile tracking of Angelopoulos, Candes and Tibshirani ("Conformal PID
control", 2023), whose ancestor is Gibbs and Candes' adaptive conformal inference (2021), on a logarithm, so that the radius stays
positive and a step means the same in every market, and with one regressor. Without slope the share missed over T outcomes differs
from what is asked by at most (range of level + what one delay can add) / (step x T), for any sequence at all; the slope does the
same for misses weighted by stress, because the scale alone overreacts: after a wild day moves are smaller than it says. The
comparison with other variants stands in ``docs/models/uncertainty.md``.

An outcome is known ``horizon`` bars later. Forecasts wait in a ring inside the state; those that a roll or a bad stretch would cut
are dropped and counted. Outcomes of neighbouring bars overlap, which the updates do not mind: they assume nothing about the series.

Order at each closed bar: ``observe`` first, then at most one ``predict``. The state is one array, saved and restored exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.models.errors import ModelError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HALF_HOURS = 48
"""Entries of a table of factors by time of day."""
FEWEST_SCORES = 100
LEVELS = (math.log(1e-3), math.log(1e3))
"""The level stays within these: a radius of a thousandth and of a thousand spreads."""
STEEPEST_SLOPE = 2.0
LARGEST_STRESS = 1.5
"""Stress is held to -1.5 ... 1.5: a fifth and 4.5 times the usual scale."""
_TABLE_PRIOR = 50.0

# Slots of the state; after them one row for each bar of the horizon.
_LEVEL, _SLOPE, _MEAN, _WEIGHT, _BARS, _MADE, _KNOWN, _COVERED, _DROPPED, _HEAD = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
# Fields of such a row: is it waiting, the close it was made at, expected move, spread, stress, radius.
_WAITS, _CLOSE, _EXPECTED, _SPREAD, _STRESS, _RADIUS, _FIELDS = 0, 1, 2, 3, 4, 5, 6
# Entries of the rules.
_COVERAGE, _STEP, _SLOPE_STEP, _DECAY, _RULES = 0, 1, 2, 3, 4


class ConformalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One instrument's intervals: the rules, and where they begin. ``fit_conformal`` makes them; a model file carries them."""

    coverage: float = 0.9
    """Share of outcomes that the interval is asked to hold."""
    horizon: int = 8
    """Bars from a forecast to its outcome."""
    step: float = 0.02
    """Of the level at each outcome. Larger follows a change sooner and is wider in quiet times."""
    slope_step: float = 0.02
    decay: float = 0.998
    """Weight of the past in the slow mean of log scale after one forecast: a half-life of 350 bars, a week and a half."""
    start_level: float = math.log(1.645)
    """Logarithm of the first radius; the default is right for normal moves."""
    start_slope: float = 0.0
    day_factors: tuple[float, ...] = (1.0,) * HALF_HOURS
    """How large a move over the horizon is beside the mean over the day, by the share of the trading day elapsed, in 48 parts."""

    def __post_init__(self) -> None:
        """Refuse what no interval can be made with."""
        positive = {"step": self.step, "horizon": self.horizon}
        for name, value in positive.items():
            if not (value > 0 and math.isfinite(value)):
                raise ModelError(f"conformal: found {name} {value}, expected above 0")
        for name, value in {"coverage": self.coverage, "decay": self.decay}.items():
            if not 0.0 < value < 1.0:
                raise ModelError(f"conformal: found {name} {value}, expected between 0 and 1")
        if not (self.slope_step >= 0.0 and LEVELS[0] <= self.start_level <= LEVELS[1]):
            raise ModelError(
                f"conformal: found slope_step {self.slope_step}, start_level {self.start_level}, "
                f"expected at least 0, and from {LEVELS[0]:.2f} to {LEVELS[1]:.2f}"
            )
        if not abs(self.start_slope) <= STEEPEST_SLOPE:
            raise ModelError(f"conformal: found start_slope {self.start_slope}, expected -2 to 2")
        if len(self.day_factors) != HALF_HOURS or not all(0.0 < f < math.inf for f in self.day_factors):
            raise ModelError(
                f"conformal: found {len(self.day_factors)} day_factors, expected {HALF_HOURS} finite numbers above 0"
            )

    def rules(self) -> Floats:
        """What the compiled steps need of it."""
        return np.array([self.coverage, self.step, self.slope_step, self.decay])


def conformal_state(settings: ConformalSettings) -> Floats:
    """The state before the first bar."""
    state = np.zeros(_HEAD + settings.horizon * _FIELDS)
    state[_LEVEL], state[_SLOPE] = settings.start_level, settings.start_slope
    return state


@kernel
def conformal_observe(state: Floats, rules: Floats, close: float, is_break: bool) -> None:
    """Take in a closed bar: the forecast made ``horizon`` bars ago, if there was one, meets its outcome.

    ``close`` in ticks. ``is_break``: the first bar of a new contract, or one inside a bad stretch; every forecast that waits is dropped.
    """
    rows = (len(state) - _HEAD) // _FIELDS
    if is_break:
        for i in range(rows):
            place = _HEAD + i * _FIELDS
            if state[place + _WAITS] == 1.0:
                state[_DROPPED] += 1.0
                state[place + _WAITS] = 0.0
    state[_BARS] += 1.0
    row = _HEAD + int(state[_BARS] % rows) * _FIELDS
    if state[row + _WAITS] == 0.0:
        return
    state[row + _WAITS] = 0.0
    state[_KNOWN] += 1.0
    missed = abs(close - state[row + _CLOSE] - state[row + _EXPECTED]) > state[row + _RADIUS] * state[row + _SPREAD]
    if not missed:
        state[_COVERED] += 1.0
    gradient = (1.0 if missed else 0.0) - (1.0 - rules[_COVERAGE])
    level = state[_LEVEL] + rules[_STEP] * gradient
    slope = state[_SLOPE] + rules[_SLOPE_STEP] * gradient * state[row + _STRESS]
    state[_LEVEL] = min(max(level, LEVELS[0]), LEVELS[1])
    state[_SLOPE] = min(max(slope, -STEEPEST_SLOPE), STEEPEST_SLOPE)


@kernel
def conformal_predict(
    state: Floats, rules: Floats, day_factors: Floats, close: float, expected: float, scale: float, time_of_day: float
) -> tuple[float, float]:
    """The interval of the move over the horizon from this bar's ``close``, in ticks; it waits in the state for its outcome.

    ``expected`` and ``scale``: mean and deviation of that move, ticks. ``time_of_day``: share of the trading day elapsed, [0, 1].
    (NaN, NaN), and nothing waits, where one of them is not known or the scale is not positive.
    """
    known = math.isfinite(close) and math.isfinite(expected) and math.isfinite(scale) and math.isfinite(time_of_day)
    if not (known and scale > 0.0):
        return math.nan, math.nan
    log_scale = math.log(scale)
    state[_MEAN] = rules[_DECAY] * state[_MEAN] + (1.0 - rules[_DECAY]) * log_scale
    state[_WEIGHT] = rules[_DECAY] * state[_WEIGHT] + (1.0 - rules[_DECAY])
    stress = log_scale - state[_MEAN] / state[_WEIGHT]
    stress = min(max(stress, -LARGEST_STRESS), LARGEST_STRESS)
    place = min(max(int(time_of_day * len(day_factors)), 0), len(day_factors) - 1)
    spread = scale * day_factors[place]
    radius = math.exp(state[_LEVEL] + state[_SLOPE] * stress)
    rows = (len(state) - _HEAD) // _FIELDS
    row = _HEAD + int(state[_BARS] % rows) * _FIELDS
    state[row + _WAITS] = 1.0
    state[row + _CLOSE] = close
    state[row + _EXPECTED] = expected
    state[row + _SPREAD] = spread
    state[row + _STRESS] = stress
    state[row + _RADIUS] = radius
    state[_MADE] += 1.0
    return expected - radius * spread, expected + radius * spread


class ConformalState:
    """The intervals of one instrument, bar by bar."""

    def __init__(self, settings: ConformalSettings) -> None:
        self.settings = settings
        self._rules = settings.rules()
        self._factors = np.array(settings.day_factors)
        self._state = conformal_state(settings)
        self._close = math.nan

    def observe(self, close_ticks: int, *, is_break: bool) -> None:
        """Take in a closed bar, before anything is foretold at it; see ``conformal_observe``."""
        self._close = float(close_ticks)
        conformal_observe(self._state, self._rules, self._close, is_break)

    def predict(self, expected: float, scale: float, time_of_day: float) -> tuple[float, float]:
        """The interval of the move from the last bar's close, ticks; once a bar at the most; see ``conformal_predict``."""
        return conformal_predict(self._state, self._rules, self._factors, self._close, expected, scale, time_of_day)

    @property
    def counts(self) -> ConformalCounts:
        """What became of the forecasts so far."""
        made, known, covered, dropped = (int(self._state[slot]) for slot in (_MADE, _KNOWN, _COVERED, _DROPPED))
        return ConformalCounts(made=made, known=known, covered=covered, dropped=dropped)

    def save(self) -> bytes:
        """Everything that the next call depends on."""
        return np.append(self._state, self._close).astype("<f8").tobytes()

    def restore(self, saved: bytes) -> None:
        """Go on from what ``save`` gave. Raises ``ModelError`` for the state of other settings, or of nothing at all."""
        if len(saved) != 8 * (len(self._state) + 1):
            raise ModelError(
                f"conformal: found a saved state of {len(saved)} bytes, expected {8 * (len(self._state) + 1)} "
                f"for a horizon of {self.settings.horizon} bars; it belongs to another model"
            )
        values = np.frombuffer(saved, "<f8").astype(np.float64)
        if not np.isfinite(values[:-1]).all() or not LEVELS[0] <= values[_LEVEL] <= LEVELS[1]:
            raise ModelError("conformal: found a saved state with numbers out of range, expected what save() gave")
        self._state[:] = values[:-1]
        self._close = float(values[-1])


class ConformalCounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Forecasts made; of them known, covered among the known, and dropped at a mark. The rest wait."""

    made: int
    known: int
    covered: int
    dropped: int


@dataclass(frozen=True, slots=True)
class ConformalHistory:
    """Intervals over a whole history. All arrays (T,); NaN where there was no forecast, or no outcome."""

    low: Floats
    high: Floats
    outcome: Floats
    """The move that came, ticks."""

    @property
    def is_known(self) -> Bools:
        """Where there are an interval and an outcome."""
        known: Bools = ~(np.isnan(self.low) | np.isnan(self.outcome))
        return known

    @property
    def is_covered(self) -> Bools:
        """Where the outcome lies in the interval; only meant where ``is_known``."""
        covered: Bools = (self.outcome >= self.low) & (self.outcome <= self.high)
        return covered


def conformal_history(
    close: Floats, breaks: Bools, expected: Floats, scale: Floats, time_of_day: Floats, settings: ConformalSettings
) -> ConformalHistory:
    """The same steps over a history of T bars; NaN in ``expected`` or ``scale`` where no forecast is wanted. All (T,), ticks."""
    low, high, outcome = _walk(
        np.asarray(close, np.float64),
        np.asarray(breaks, np.bool_),
        np.asarray(expected, np.float64),
        np.asarray(scale, np.float64),
        np.asarray(time_of_day, np.float64),
        settings.rules(),
        np.array(settings.day_factors),
        conformal_state(settings),
    )
    return ConformalHistory(low, high, outcome)


@kernel
def _walk(
    close: Floats,
    breaks: Bools,
    expected: Floats,
    scale: Floats,
    time_of_day: Floats,
    rules: Floats,
    day_factors: Floats,
    state: Floats,
) -> tuple[Floats, Floats, Floats]:
    horizon = (len(state) - _HEAD) // _FIELDS
    low, high, outcome = np.full(len(close), np.nan), np.full(len(close), np.nan), np.full(len(close), np.nan)
    since_break = 0
    for t in range(len(close)):
        conformal_observe(state, rules, close[t], breaks[t])
        since_break = 0 if breaks[t] else since_break + 1
        if since_break >= horizon and t >= horizon:
            outcome[t - horizon] = close[t] - close[t - horizon]
        low[t], high[t] = conformal_predict(state, rules, day_factors, close[t], expected[t], scale[t], time_of_day[t])
    return low, high, outcome


def fit_day_factors(scores: Floats, time_of_day: Floats) -> tuple[float, ...]:
    """Mean of ``scores`` (N,), |outcome - expected| / scale, in each 48th of the trading day over their mean over all.

    Parts with few scores lean towards 1: each counts as if it had 50 more that are average.
    """
    place = np.clip((time_of_day * HALF_HOURS).astype(np.int64), 0, HALF_HOURS - 1)
    count = np.bincount(place, minlength=HALF_HOURS)
    total = np.bincount(place, scores / scores.mean(), minlength=HALF_HOURS)
    return tuple(((total + _TABLE_PRIOR) / (count + _TABLE_PRIOR)).tolist())


def fit_conformal(
    outcome: Floats,
    expected: Floats,
    scale: Floats,
    time_of_day: Floats,
    *,
    coverage: float = 0.9,
    horizon: int = 8,
    step: float = 0.02,
    slope_step: float = 0.02,
) -> ConformalSettings:
    """Settings that begin calibrated, from forecasts (N,) in order of time, their outcomes known; moves and scales in ticks.

    The factors of the day and the first radius come from the scores of these forecasts, so they must be held back from what the
    belief was fitted on. Raises ``ModelError`` where there are fewer than 100, or one is not finite.
    """
    arrays = [np.asarray(values, np.float64) for values in (outcome, expected, scale, time_of_day)]
    if any(values.shape != arrays[0].shape for values in arrays) or arrays[0].size < FEWEST_SCORES:
        raise ModelError(
            f"conformal: found arrays of {[values.shape for values in arrays]}, expected four alike of at least {FEWEST_SCORES}"
        )
    if not all(np.isfinite(values).all() for values in arrays) or not (arrays[2] > 0.0).all():
        raise ModelError(
            "conformal: found values that are not finite, or a scale of 0, expected known forecasts and outcomes"
        )
    scores = np.abs(arrays[0] - arrays[1]) / arrays[2]
    factors = fit_day_factors(scores, arrays[3])
    place = np.clip((arrays[3] * HALF_HOURS).astype(np.int64), 0, HALF_HOURS - 1)
    radius = split_conformal_radius(scores / np.array(factors)[place], coverage)
    return ConformalSettings(
        coverage=coverage,
        horizon=horizon,
        step=step,
        slope_step=slope_step,
        start_level=min(max(math.log(radius), LEVELS[0]), LEVELS[1]),
        day_factors=factors,
    )


def split_conformal_radius(scores: Floats, coverage: float) -> float:
    """The quantile of held-back ``scores`` (N,) that covers a fresh, exchangeable one with ``coverage``: place ceil((N + 1) coverage)."""
    place = min(math.ceil((len(scores) + 1) * coverage), len(scores))
    return float(np.partition(scores, place - 1)[place - 1])
