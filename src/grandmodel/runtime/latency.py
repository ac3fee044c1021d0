"""How long steps take, kept in a bounded room: a histogram whose buckets are as wide as the times are long."""

from __future__ import annotations

from collections.abc import Callable

from grandmodel.runtime.market_step import Stop

_BITS = 6
_FINE = 2 << _BITS
"""Times below this have a bucket each; from there on every doubling has half as many."""
_BUCKETS = _FINE + (63 - _BITS) * (_FINE // 2)

_ANSWERED = frozenset(int(stop) for stop in (Stop.ASK, Stop.BARS, Stop.RISK))
_REPORTS = int(Stop.REPORTS)


class TimeHistogram:
    """Counts of times in ns; percentiles come out within 0.8 % of the time that they name, the largest exactly."""

    __slots__ = ("_counts", "count", "longest")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.longest = 0

    def add(self, took_ns: int) -> None:
        """Count one time; a clock that went back counts as 0."""
        if took_ns < _FINE:
            self._counts[max(took_ns, 0)] += 1
        else:
            shift = took_ns.bit_length() - _BITS - 1
            self._counts[(shift << _BITS) + (took_ns >> shift)] += 1
        self.count += 1
        self.longest = max(self.longest, took_ns)

    def percentile(self, share: float) -> float:
        """The least time, ns, that at least ``share`` of all times do not exceed; 0 where there are none."""
        wanted, found = share * self.count, 0
        for place, count in enumerate(self._counts):
            found += count
            if count and found >= wanted:
                return min(_middle(place), float(self.longest))
        return 0.0

    def figures(self) -> dict[str, float]:
        """Count, median, 90th and 99th percentile and maximum in microseconds; empty where nothing was timed."""
        if not self.count:
            return {}
        shares = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99}
        return {
            "count": float(self.count),
            **{name: self.percentile(share) / 1_000.0 for name, share in shares.items()},
            "max_us": self.longest / 1_000.0,
        }


def _middle(place: int) -> float:
    """The middle of the times that bucket ``place`` counts."""
    if place < _FINE:
        return float(place)
    shift = (place >> _BITS) - 1
    return ((place - (shift << _BITS)) + 0.5) * (1 << shift) - 0.5


class Latency:
    """How long steps took by a monotonic clock at the edge: from the stop of the walk until the records of the step are kept."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self.decisions = TimeHistogram()
        """Steps on closed bars for which agents or risk were asked outside the compiled loop."""
        self.reports = TimeHistogram()
        """Steps on venue reports."""
        self._clock_ns = clock_ns
        self._began = 0

    def stopped(self) -> None:
        """The walk has stopped."""
        self._began = self._clock_ns()

    def settled(self, stop: int) -> None:
        """What followed from the ``Stop`` is kept."""
        if stop in _ANSWERED:
            self.decisions.add(self._clock_ns() - self._began)
        elif stop == _REPORTS:
            self.reports.add(self._clock_ns() - self._began)

    def percentiles(self) -> dict[str, dict[str, float]]:
        """Median, 90th, 99th percentile and maximum in microseconds."""
        return {"decision": self.decisions.figures(), "report": self.reports.figures()}
