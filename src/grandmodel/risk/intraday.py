"""The shape of volatility within a day: what the value at risk over the next bar knows beside the value at risk over a day.

The running covariance averages over the hours of a day, which is right for a horizon of days and wrong for one bar: the open
of the cash market moves several times as much as the night. ``IntradayVolatility`` holds, for each instrument, the mean
squared return at each place of the session in units of the average bar's variance, and the pace of the last bars: volatility
within a day clusters far faster than the day's own estimate moves. Both are causal: the multiple of a bar is known at the
close before it, but for the place of the bar, which the clock tells.

    variance of the next bar = average bar's variance x multiple of its place x pace
    pace <- (1 - a - b) + a x (squared return / average variance / multiple) + b x pace

``docs/risk/var-backtests.md`` shows what it changes. Read next: ``running.py`` (the estimate), ``report.py`` (the backtest).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR
from grandmodel.risk.correlation import FloatArray
from grandmodel.risk.running import RunningRisk, root

PRIOR_BARS = 20.0
"""A place begins with the weight of so many average bars."""
PACE_NEWS, PACE_MEMORY = 0.15, 0.7
"""``a`` and ``b`` above. Round numbers, chosen on the half-hour bars of NQ and CL of 2020 to 2024; not fitted to any one run."""
_LONG_PAUSE_NS = 6 * NS_PER_HOUR
_AFTER_LONG_PAUSE = -1
"""The place of the first bar after a weekend or a holiday, whose return holds more than a night's."""


class IntradayVolatility:
    """Multiples of the average bar's variance for ``instruments`` series of bars of ``width_ns``.

    With a ``schedule`` the place of a bar is counted from its session's open, and the first bar after a weekend or a
    holiday is a place of its own; without one it is the time of day, UTC.
    """

    def __init__(self, instruments: int, width_ns: int, schedule: SessionSchedule | None = None) -> None:
        self._width_ns = width_ns
        self._schedule = schedule if schedule is not None and len(schedule) else None
        self._sums: list[dict[int, float]] = [{} for _ in range(instruments)]
        self._weights: list[dict[int, float]] = [{} for _ in range(instruments)]
        self._pace = [1.0] * instruments

    def place_of(self, open_ns: int) -> int:
        """The place in its session of a bar that opens at ``open_ns``."""
        schedule = self._schedule
        if schedule is None:
            return open_ns % NS_PER_DAY // self._width_ns
        at = max(0, int(np.searchsorted(schedule.open_ns, open_ns, side="right")) - 1)
        place = (open_ns - int(schedule.open_ns[at])) // self._width_ns
        if place == 0 and at > 0 and schedule.open_ns[at] - schedule.close_ns[at - 1] > _LONG_PAUSE_NS:
            return _AFTER_LONG_PAUSE
        return int(place)

    def multiple(self, instrument: int, place: int) -> float:
        """The variance of the next bar at ``place``, in variances of the average bar."""
        return self._of_place(instrument, place) * self._pace[instrument]

    def take(self, instrument: int, place: int, squared: float) -> None:
        """Take a bar's squared return over the variance of the average bar, as that was estimated before it."""
        relative = squared / self._of_place(instrument, place)
        sums, weights = self._sums[instrument], self._weights[instrument]
        sums[place] = sums.get(place, PRIOR_BARS) + squared
        weights[place] = weights.get(place, PRIOR_BARS) + 1.0
        self._pace[instrument] = (
            1.0 - PACE_NEWS - PACE_MEMORY + PACE_NEWS * relative + PACE_MEMORY * self._pace[instrument]
        )

    def take_row(self, running: RunningRisk, returns: FloatArray, open_ns: int) -> None:
        """Take a row of ``returns`` (n,), NaN where missing, before ``running`` folds it into its covariance."""
        place = self.place_of(open_ns)
        for k in np.flatnonzero(np.isfinite(returns)).tolist():
            variance = running.covariance.variance(k)
            if running.lots[0, k] >= running.min_returns and variance > 0.0:
                self.take(k, place, float(returns[k] * returns[k] / variance))

    def value_at_risk(
        self, running: RunningRisk, positions: Sequence[int], rates: Sequence[int], open_ns: int
    ) -> float:
        """VaR, in micros, of ``positions`` over the one bar that opens at ``open_ns``; NaN where ``running`` does not know it."""
        found = running.coefficients(list(positions), list(rates))
        if found is None:
            return math.nan if any(positions) else 0.0
        place = self.place_of(open_ns)
        held = [k for k, lots in enumerate(positions) if lots]
        scaled = np.array([positions[k] * math.sqrt(self.multiple(k, place)) for k in held])
        matrix: NDArray[np.float64] = found.table[np.ix_(held, held)]
        var = running.settings
        return root(float(scaled @ matrix @ scaled) / (var.horizon_days * var.bars_per_day))

    def _of_place(self, instrument: int, place: int) -> float:
        weight = self._weights[instrument].get(place, PRIOR_BARS)
        return self._sums[instrument].get(place, PRIOR_BARS) / weight
