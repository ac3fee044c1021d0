"""Risk: value at risk, the running covariance, shocks, Monte Carlo, and the pre-trade checks of one order.

Paths, units and what a regression means:

- ``VaR with components``: one parametric VaR with expected shortfall and Euler components, microseconds; what an after-trade or
  what-if number costs. Beside numpy's three lines, one thread, and skfolio's measures on the same matrix.
- ``EWMA update``: one row of returns into the running covariance; runs at every bar.
- ``update + shock + VaR + components``: all that a bar of 100 instruments costs risk before the gate's own Python.
- ``checks of one order``: every check; in every order's way. ``judge`` is the compiled checks on rows that are filled (the mean of a
  hundred calls from compiled code, as for a wish), ``as on the record`` makes the record's values of what they found, and ``put, asked, on
  the record`` is what the engine does for an order of its agent's own: into the rows, every check, counted, its values. It is taken back
  within the time, so that the next one meets the same account. And what a bar and an engine step cost the gate.
- ``Monte Carlo``: 10,000 scenarios of 500 instruments, linear and with full revaluation of 500 options.

Results are checked against numpy before they are timed. Times are medians of CPU seconds of this process (two shared
cores); compilation is outside. Targets: design, section 7.

    python benchmarks/bench_risk.py [--json] [--quick]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from statistics import NormalDist

# To numpy's favour: with more threads than free cores those of its BLAS wait for each other, for milliseconds.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import msgspec
import numpy as np

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.orders import Order, OrderType, Side
from grandmodel.kernels import kernel
from grandmodel.risk.checks import CHECK_NAMES, checked, judge
from grandmodel.risk.correlation import EwmaCovariance
from grandmodel.risk.flow import forget_flow
from grandmodel.risk.gate import RiskGate, RiskView
from grandmodel.risk.ladder import revalue_on_ladder
from grandmodel.risk.leaving import ask_at
from grandmodel.risk.rows import rows_of
from grandmodel.risk.settings import RiskSettings
from grandmodel.risk.shocks import ShockDetector
from grandmodel.risk.var import monte_carlo, parametric

CAPITAL = 10**13
SECOND = 10**9
WIDTH = 30 * 60 * SECOND
Z99 = 2.3263478740408408
_R2PI = 1.0 / math.sqrt(2.0 * math.pi)


@dataclass(frozen=True)
class Figure:
    """One measured number beside what is aimed for."""

    path: str
    median_us: float
    p99_us: float
    aim_us: float | None = None

    def line(self) -> str:
        """For people."""
        text = f"{self.path:62s} {self.median_us:12,.2f} us   p99 {self.p99_us:12,.2f} us"
        return text if self.aim_us is None else f"{text}   aim {self.aim_us:,.3g}"


def timed(path: str, call: Callable[[], object], seconds: float, aim_us: float | None = None) -> Figure:
    """Median and 99th percentile of ``call`` in CPU time; a batch of calls is one sample where a call is short."""
    call()
    start = time.process_time_ns()
    call()
    once = max(time.process_time_ns() - start, 500)
    batch = max(1, 20_000 // once)
    samples = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(samples) < 5:
        start = time.process_time_ns()
        for _ in range(batch):
            call()
        samples.append((time.process_time_ns() - start) / batch / 1e3)
    return Figure(path, float(np.median(samples)), float(np.quantile(samples, 0.99)), aim_us)


def book(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exposures, covariance and past returns of ``n`` instruments."""
    rng = np.random.default_rng(n)
    common = rng.standard_normal((3 * n + 60, 1))
    returns = 0.01 * (0.6 * common + 0.8 * rng.standard_normal((3 * n + 60, n)))
    return rng.normal(size=n) * 1e6, returns.T @ returns / len(returns), returns


def numpy_var(x: np.ndarray, covariance: np.ndarray) -> tuple[float, np.ndarray]:
    """What one writes by hand."""
    slopes = covariance @ x
    sigma = math.sqrt(x @ slopes)
    return Z99 * sigma, x * slopes * (Z99 / sigma)


def bench_var(seconds: float) -> list[Figure]:
    """VaR with components, beside numpy, which is to be beaten."""
    figures = []
    for n in (10, 100, 500, 1000):
        x, covariance, _ = book(n)
        value, components = numpy_var(x, covariance)
        found = parametric(x, covariance, 0.99)
        assert abs(found.value / value - 1) < 1e-12
        np.testing.assert_allclose(found.components, components, rtol=1e-9, atol=1e-6)
        plain = timed(f"  numpy, VaR and components only, {n}", lambda x=x, c=covariance: numpy_var(x, c), seconds)
        path, aim = f"VaR with components, {n}", plain.median_us
        figures += [timed(path, lambda x=x, c=covariance: parametric(x, c, 0.99), seconds, aim), plain]
    return figures


def bench_peers(seconds: float) -> list[Figure]:
    """Peers, skfolio, on 100 instruments: risk contributions to the standard deviation, and its EWMA covariance by the row."""
    from skfolio import RiskMeasure
    from skfolio.moments import EWCovariance
    from skfolio.portfolio import Portfolio

    x, _, returns = book(100)
    weights = np.abs(x) / np.abs(x).sum()
    portfolio = Portfolio(returns, weights)
    ours = parametric(weights, np.cov(returns, rowvar=False), 0.99)
    theirs = portfolio.contribution(measure=RiskMeasure.STANDARD_DEVIATION)
    np.testing.assert_allclose(ours.components / Z99, theirs, rtol=1e-3)
    half_life = math.log(0.5) / math.log(0.94)
    peer = EWCovariance(half_life=half_life, min_observations=1, nearest=False)
    peer.fit(returns)
    tracker = EwmaCovariance(100, 0.94)
    for row in returns:
        tracker.update(row)
    np.testing.assert_allclose(tracker.covariance, peer.covariance_, rtol=1e-9, atol=1e-15)
    row = returns[-1:]
    return [
        timed(
            "  skfolio Portfolio.contribution of the deviation, 100",
            lambda: portfolio.contribution(measure=RiskMeasure.STANDARD_DEVIATION),
            seconds,
        ),
        timed("  skfolio EWCovariance.partial_fit of one row, 100", lambda: peer.partial_fit(row), seconds),
    ]


def bench_covariance(seconds: float) -> list[Figure]:
    """EWMA update, and the whole chain of a bar."""
    figures = []
    for n, aim, chain_aim in ((10, None, None), (100, 4.0, 25.0), (500, None, None)):
        x, covariance, returns = book(n)
        tracker = EwmaCovariance(n, 0.94, covariance)
        detector = ShockDetector(n)
        expected = covariance
        for row in returns[:60]:
            tracker.update(row)
            expected = 0.94 * expected + 0.06 * np.outer(row, row)
        np.testing.assert_allclose(tracker.covariance, expected, rtol=1e-10)
        plain = covariance.copy()
        row = returns[0]

        def update_plain(plain: np.ndarray = plain, row: np.ndarray = row) -> None:
            plain *= 0.94
            plain += np.outer(row, 0.06 * row)

        count = [0]

        def chain(
            tracker: EwmaCovariance = tracker,
            detector: ShockDetector = detector,
            x: np.ndarray = x,
            returns: np.ndarray = returns,
            count: list[int] = count,
        ) -> None:
            count[0] = (count[0] + 1) % len(returns)
            tracker.update(returns[count[0]])
            now = tracker.covariance
            detector.update(now)
            parametric(x, now, 0.99)

        for _ in range(150):
            chain()
        largest = np.linalg.eigvalsh(tracker.correlation)[-1] / n
        assert abs(detector.first_eigenvalue_share / largest - 1) < 1e-2
        figures += [
            timed(f"EWMA update, {n}", lambda t=tracker, r=row: t.update(r), seconds, aim),
            timed(f"  numpy, in place, {n}", update_plain, seconds),
            timed(f"update + shock + VaR + components, {n}", chain, seconds, chain_aim),
        ]
    return figures


def make_gate(n: int) -> tuple[RiskGate, RiskView, list[str]]:
    """A warmed gate of ``n`` contracts with a position and a working order in every second one."""
    nq = BUILT_IN[InstrumentId("NQ")]
    names = [f"N{k}" for k in range(n)]
    instruments = [msgspec.structs.replace(nq, id=InstrumentId(x), tick_size=Decimal("0.25")) for x in names]
    gate = RiskGate(RiskSettings(), instruments, CAPITAL)
    view = RiskView(
        ts=0,
        equity_micros=CAPITAL,
        positions=[0] * n,
        marks=[80_000] * n,
        in_session=[True] * n,
        halted=[False] * n,
        rates_micros=[1_000_000] * n,
    )
    rng = np.random.default_rng(0)
    for k in range(1, 200):
        view.ts = k * WIDTH
        gate.on_bars(row_of_bars(names, view.ts, rng.integers(79_900, 80_100, n).tolist()), view)
    gate.account.make_room(n + 1)
    rows = gate.account.rows
    seen = rows.seen[0]
    seen["bid"] = seen["ask"] = UNDEFINED_PRICE
    seen["mark"], seen["rate"], seen["in_session"], seen["max_age"] = 80_000, 1_000_000, 1, gate.pace.max_ages
    rows.moment["equity"] = CAPITAL
    for k in range(0, n, 2):
        view.positions[k] = 1 if k % 4 else -1
        tell_time(gate, k * SECOND)
        order = limit_order(1000 + k, names[k], Side.SELL, 1, 80_200, k * SECOND)
        assert gate.put(0, order, k)
        assert ask_at(gate.account.handle, 0) == 1
    seen["position"] = view.positions
    tell_time(gate, view.ts)
    return gate, view, names


def tell_time(gate: RiskGate, ts: int) -> None:
    """It is ``ts``, and every mark is of now."""
    rows = gate.account.rows
    rows.moment["ts"] = rows.seen["mark_ts"] = ts
    gate.running.fill(rows.seen[0], rows.moment)


def limit_order(number: int, name: str, side: Side, quantity: int, price: int, ts: int) -> Order:
    """A limit order as an agent's wish makes it."""
    return Order(
        order_id=OrderId(number),
        instrument=InstrumentId(name),
        side=side,
        quantity=quantity,
        order_type=OrderType.LIMIT,
        price=price,
        ts=ts,
    )


@kernel
def judge_often(handle: np.ndarray, times: int) -> int:
    """Every check of the order in the first row, so many times; the lots that may go."""
    rows, quantity = rows_of(handle), 0
    for _ in range(times):
        quantity = judge(rows, 0, 0, 0)
    return quantity


def row_of_bars(names: list[str], ts: int, closes: list[int]) -> list[ClosedBar]:
    """One closed bar of each instrument."""
    return [
        ClosedBar(
            instrument=InstrumentId(name),
            width_ns=WIDTH,
            ts_open=ts - WIDTH,
            ts_event=ts,
            open=c,
            high=c,
            low=c,
            close=c,
            volume=1,
        )
        for name, c in zip(names, closes, strict=True)
    ]


def bench_gate(seconds: float) -> list[Figure]:
    """Checks of one order, a bar, a step."""
    figures = []
    for n, aim in ((2, 1.5), (10, None), (100, 3.0)):
        gate, view, names = make_gate(n)
        orders = [limit_order(1, names[0], Side.BUY, 2, 79_990, view.ts + k * SECOND) for k in range(1 << 15)]
        rng = np.random.default_rng(1)
        rows = [rng.integers(79_900, 80_100, n).tolist() for _ in range(64)]
        made = [row_of_bars(names, (1000 + k) * WIDTH, row) for k, row in enumerate(rows * (400 if n < 100 else 20))]
        count = [0]

        def one_row(
            gate: RiskGate = gate,
            view: RiskView = view,
            made: list[list[ClosedBar]] = made,
            count: list[int] = count,
        ) -> None:
            row = made[count[0] % len(made)]
            count[0] += 1
            gate.on_bars(row, view)

        assert gate.put(0, orders[0], 0)
        assert judge_often(gate.account.handle, 1) == 2
        judged = timed(
            f"checks of one order, {n} instruments: judge",
            lambda g=gate: judge_often(g.account.handle, 100),
            seconds,
        )
        judged = replace(judged, median_us=judged.median_us / 100, p99_us=judged.p99_us / 100, aim_us=aim)
        found = gate.account.rows
        assert len(checked(found, 0, 1, 0).values) == len(CHECK_NAMES)
        marked, clock, turn = found.seen["mark_ts"], found.moment["ts"], [0]

        def asked(
            gate: RiskGate = gate,
            orders: list[Order] = orders,
            marked: np.ndarray = marked,
            clock: np.ndarray = clock,
            turn: list[int] = turn,
        ) -> None:
            if turn[0] == len(orders):
                turn[0] = 0
                forget_flow(gate.account.rows)
            order = orders[turn[0]]
            turn[0] += 1
            clock[0] = marked[0, 0] = order.ts
            gate.put(0, order, 0)
            if ask_at(gate.account.handle, 0) != order.quantity:
                raise RuntimeError(
                    f"order at {order.ts}: found {checked(gate.account.rows, 0, 1, 1)}, expected it whole"
                )
            *_, noted = gate.account.asked[0].tolist()
            checked(gate.account.rows, 0, order.order_id, noted)
            gate.working.take_back(order.order_id)

        figures += [
            judged,
            timed("  as on the record", lambda r=found: checked(r, 0, 1, 0), seconds),
            timed("  put, asked, on the record", asked, seconds),
            timed(f"react, {n} instruments", lambda g=gate, v=view: g.react(v), seconds),
            timed(f"a row of closed bars, {n} instruments", one_row, min(seconds, 0.2)),
        ]
    return figures


@kernel(inline=True)
def _upper_tail(size: float) -> float:
    """Normal tail beyond ``size`` >= 0 over its density (Abramowitz and Stegun 26.2.17; 7.5e-8 in the probability)."""
    t = 1.0 / (1.0 + 0.2316419 * size)
    return t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))


@kernel
def revalue_calls(
    returns: np.ndarray, lots: np.ndarray, strike: np.ndarray, volatility: np.ndarray, years: float, before: float
) -> np.ndarray:
    """P&L of calls (Black 1976, no rates) on instruments at 1 after ``returns`` (scenarios, n).

    The density at d2 is that at d1 times spot over strike, so that one exponential serves both.
    """
    pnl = np.empty(len(returns))
    root_years = math.sqrt(years)
    for k in range(len(returns)):
        total = -before
        for i in range(len(lots)):
            spot = 1.0 + returns[k, i]
            deviation = volatility[i] * root_years
            d1 = math.log(spot / strike[i]) / deviation + 0.5 * deviation
            d2 = d1 - deviation
            density = math.exp(-0.5 * d1 * d1) * _R2PI
            tail1 = density * _upper_tail(abs(d1))
            tail2 = density * (spot / strike[i]) * _upper_tail(abs(d2))
            below1 = 1.0 - tail1 if d1 >= 0.0 else tail1
            below2 = 1.0 - tail2 if d2 >= 0.0 else tail2
            total += lots[i] * (spot * below1 - strike[i] * below2)
        pnl[k] = total
    return pnl


def _call(strike: float, volatility: float) -> float:
    """One call at 1 by the standard library's normal distribution."""
    deviation = volatility * math.sqrt(0.25)
    d1 = -math.log(strike) / deviation + 0.5 * deviation
    normal = NormalDist()
    return normal.cdf(d1) - strike * normal.cdf(d1 - deviation)


def bench_monte_carlo(seconds: float) -> list[Figure]:
    """10,000 scenarios of 500 instruments."""
    n, scenarios = 500, 10_000
    x, covariance, _ = book(n)
    rng = np.random.default_rng(0)
    exact = parametric(x, covariance, 0.99)
    linear = monte_carlo(x, covariance, 0.99, scenarios=scenarios, rng=rng)
    assert abs(linear.value / exact.value - 1) < 0.06
    full = monte_carlo(x, covariance, 0.99, scenarios=scenarios, rng=rng, revalue=lambda r: r @ x)
    assert abs(full.value / exact.value - 1) < 0.06
    strike, volatility = np.linspace(0.9, 1.1, n), np.linspace(0.15, 0.4, n)
    before = float(revalue_calls(np.zeros((1, n)), x, strike, volatility, 0.25, 0.0)[0])
    calls = [_call(k, v) for k, v in zip(strike, volatility, strict=True)]
    assert abs(before / float(np.dot(x, calls)) - 1) < 1e-5

    def revalue(returns: np.ndarray) -> np.ndarray:
        return revalue_calls(returns, x, strike, volatility, 0.25, before)

    moves = np.linspace(-0.5, 0.5, 801)
    ladder = np.empty((n, len(moves)))
    for k in range(n):
        one = slice(k, k + 1)
        start = float(revalue_calls(np.zeros((1, 1)), x[one], strike[one], volatility[one], 0.25, 0.0)[0])
        ladder[k] = revalue_calls(moves[:, None], x[one], strike[one], volatility[one], 0.25, start)
    on_ladder = revalue_on_ladder(moves, ladder)
    pair = [
        monte_carlo(x, covariance, 0.99, scenarios=2_000, rng=np.random.default_rng(1), revalue=f).value
        for f in (on_ladder, revalue)
    ]
    assert abs(pair[0] / pair[1] - 1) < 1e-4, pair

    return [
        timed(
            "Monte Carlo, 10,000 x 500, linear",
            lambda: monte_carlo(x, covariance, 0.99, scenarios=scenarios, rng=rng),
            seconds,
            10_000.0,
        ),
        timed(
            "Monte Carlo, 10,000 x 500, every scenario drawn, linear book",
            lambda: monte_carlo(x, covariance, 0.99, scenarios=scenarios, rng=rng, revalue=lambda r: r @ x),
            seconds,
        ),
        timed(
            "Monte Carlo, 10,000 x 500, full revaluation of 500 options on ladders",
            lambda: monte_carlo(x, covariance, 0.99, scenarios=scenarios, rng=rng, revalue=on_ladder),
            seconds,
            300_000.0,
        ),
        timed(
            "Monte Carlo, 10,000 x 500, 500 options priced in each",
            lambda: monte_carlo(x, covariance, 0.99, scenarios=scenarios, rng=rng, revalue=revalue),
            seconds,
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="A tenth of the time for each number.")
    options = parser.parse_args()
    seconds = 0.2 if options.quick else 2.0
    figures = [
        figure
        for part in (bench_var, bench_peers, bench_covariance, bench_gate, bench_monte_carlo)
        for figure in part(seconds)
    ]
    if options.json:
        document = {"machine": platform.processor() or platform.machine(), "figures": [asdict(f) for f in figures]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    for figure in figures:
        print(figure.line())


if __name__ == "__main__":
    main()
