"""One compiled call per row of returns against the plain way: risk, shock detector and value at risk one after another."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.domain.blocks import Flag
from grandmodel.domain.events import Alert, ClosedBar
from grandmodel.risk.breakers import Trigger
from grandmodel.risk.gate import RiskGate, RiskView
from grandmodel.risk.running import RunningRisk, held_variance, root
from grandmodel.risk.settings import BreakerSettings, RiskSettings, Thresholds, VarSettings
from grandmodel.risk.shocks import LAST, LEVEL, MEAN, ShockDetector, ShockSettings
from risk import desk

NAMES = ("NQ", "CL", "EURUSD", "MNQ", "ES", "MES", "MCL", "GC", "6E", "IF")
JUMPY = RiskSettings(
    var=VarSettings(min_returns=3),
    shocks=ShockSettings(
        history_updates=20,
        min_history=10,
        threshold=1.5,
        rearm=0.5,
        min_correlation_rise=0.01,
        min_share_rise=0.01,
        min_volatility_rise=0.01,
    ),
    breakers=BreakerSettings(
        var_breach=Thresholds(caution=1e-6, reduce=2e-2, halt=4e-2),
        volatility=Thresholds(caution=1.1, reduce=1.6, halt=3.0),
    ),
)


class PlainGate(RiskGate):
    """The gate with each part asked on its own, through what it offers anyone."""

    def on_bars(self, bars: list[ClosedBar], view: RiskView) -> tuple[Alert, ...]:
        for bar in bars:
            if self.running.on_bar(bar):
                self._plain_row(view)
        if self.running.row_is_complete(view.in_session) and self.running.take_row():
            self._plain_row(view)
        return self._drain_alerts()

    def _plain_row(self, view: RiskView) -> None:
        for shock in self.shocks.update(self.running.covariance.covariance):
            names = " and ".join(self.instruments[k].id for k in shock.cause)
            text = (
                f"{shock.kind} is {shock.deviations:.1f} standard deviations above its usual {shock.usual:.4g}; "
                f"furthest: {names}"
            )
            self._alert("high", f"shock_{shock.kind}", text, shock.value, shock.usual)
            if shock.kind != "volatility":
                self._observe(Trigger.CORRELATION_SHOCK, shock.deviations, view.ts)
        if self.shocks.seen > self.settings.shocks.min_history:
            self._observe(
                Trigger.VOLATILITY,
                math.exp(self.shocks.history[LAST, LEVEL] - self.shocks.history[MEAN, LEVEL]),
                view.ts,
            )
        if any(view.positions):
            ratio = self.value_at_risk(view) / (self.settings.portfolio.max_var * self.capital_micros)
            if not math.isnan(ratio):
                self._observe(Trigger.VAR_BREACH, ratio, view.ts)


def _steps(rng: np.random.Generator, n: int, count: int, absent: float) -> list[tuple[list[ClosedBar], RiskView]]:
    """Bars with calm and wild hours, rolls, bad stretches and instruments that stay away, and what is held meanwhile."""
    names = NAMES[:n]
    closes = np.array([80_000, 7_500, 110_000, 80_000, 20_000, 20_000, 7_500, 20_000, 20_000, 20_000], float)[:n]
    positions, rates = [0] * n, [1_000_000] * n
    found = []
    for k in range(1, count):
        ts = desk.START + k * desk.WIDTH
        common, wild = rng.standard_normal(), 8.0 if rng.random() < 0.06 else 1.0
        closes = closes + wild * (common + 0.5 * rng.standard_normal(n)) * closes * 1e-3
        bars = desk.bars(ts, [int(c) for c in closes], names)
        flags = rng.choice([0, int(Flag.ROLL), int(Flag.BAD_STRETCH)], n, p=[0.98, 0.01, 0.01])
        here = rng.random(n) >= absent
        row = [
            msgspec.structs.replace(bar, flags=int(flag))
            for bar, flag, there in zip(bars, flags, here, strict=True)
            if there and not flag & int(Flag.BAD_STRETCH)
        ]
        if rng.random() < 0.2:
            positions = rng.integers(-5, 6, n).tolist()
        if rng.random() < 0.05:
            rates = rng.integers(500_000, 1_500_000, n).tolist()
        in_session = (rng.random(n) >= 0.1).tolist()
        view = desk.view(
            names, ts=ts, marks=[0] * n, positions=list(positions), rates_micros=list(rates), in_session=in_session
        )
        found.append((row, view))
    return found


@given(st.integers(1, 10), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 0.5]))
@settings(deadline=None, max_examples=40)
def test_one_call_a_row_leaves_the_state_and_the_alerts_of_the_plain_way(n: int, seed: int, absent: float) -> None:
    instruments = desk.instruments(NAMES[:n])
    fast, plain = (made(JUMPY, instruments, desk.CAPITAL) for made in (RiskGate, PlainGate))
    for k, (row, view) in enumerate(_steps(np.random.default_rng(seed), n, 120, absent)):
        told = fast.on_bars(row, view)
        expected = plain.on_bars(row, view)
        if n <= 8:
            assert told == expected
            assert fast.ladder.save() == plain.ladder.save()
        else:  # the plain value at risk of many instruments is summed by BLAS, in an order of its own
            assert [(a.code, a.text) for a in told] == [(a.code, a.text) for a in expected]
            np.testing.assert_allclose(
                np.array([a.value for a in told], float), np.array([a.value for a in expected], float), rtol=1e-12
            )
        assert fast.running.save() == plain.running.save()
        assert fast.shocks.save() == plain.shocks.save()
        if k % 40 == 20:
            again = RiskGate(JUMPY, instruments, desk.CAPITAL)
            again.restore(fast.save())
            fast = again


def test_the_steps_above_bring_shocks_and_breaches() -> None:
    gate = RiskGate(JUMPY, desk.instruments(NAMES[:3]), desk.CAPITAL)
    codes = set()
    for row, view in _steps(np.random.default_rng(1), 3, 400, 0.05):
        codes.update(alert.code for alert in gate.on_bars(row, view))
    assert {"shock_volatility", "shock_average_correlation", "breaker_caution", "breaker_halt"} <= codes


@given(st.integers(1, 8), st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None, max_examples=60)
def test_the_variance_of_the_row_is_that_of_the_coefficients_to_the_last_digit(n: int, seed: int, sparse: bool) -> None:
    rng = np.random.default_rng(seed)
    running = RunningRisk(VarSettings(min_returns=2), desk.instruments(NAMES[:n]))
    for row, view in _steps(rng, n, 12, 0.7 if sparse else 0.1):
        for bar in row:
            running.on_bar(bar)
        running.take_row()
        positions, rates = view.positions, view.rates_micros
        expected = running.value_at_risk(positions, rates)
        running.hold(positions, rates)
        covariance = running.covariance.covariance
        found = root(held_variance(covariance, running.lots, running.unit, running.min_returns))
        assert found == expected or (math.isnan(found) and math.isnan(expected))


def _shocks_reference(detector: ShockDetector, armed: list[bool], seen: int) -> list[str]:
    """What fires on the detector's present statistics, as the module's text says it; ``armed`` is brought up to date."""
    limits = detector.settings
    floors = (limits.min_correlation_rise, limits.min_share_rise, limits.min_volatility_rise)
    last, _, _, mean, spread = detector.history[:5].tolist()
    fired = []
    for k, kind in enumerate(("average_correlation", "first_eigenvalue_share", "volatility")):
        rise, deviation = last[k] - mean[k], math.sqrt(spread[k])
        if not rise > limits.rearm * deviation:
            armed[k] = True
        elif armed[k] and rise > limits.threshold * deviation and rise > floors[k]:
            armed[k] = False
            fired.append(kind)
    return fired if seen > limits.min_history else []


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_statistic_fires_once_until_it_has_come_back(n: int) -> None:
    rng = np.random.default_rng(n)
    # From the first update on, so that the reference need not know when its memory begins.
    limits = msgspec.structs.replace(JUMPY.shocks, min_history=0)
    detector, armed, fired = ShockDetector(n, limits), [True] * 3, 0
    for _ in range(600):
        factor = rng.standard_normal((n, 2 * n + 3)) + rng.standard_normal() * rng.standard_normal(2 * n + 3)
        found = [shock.kind for shock in detector.update(factor @ factor.T * math.exp(rng.standard_normal()))]
        assert found == _shocks_reference(detector, armed, detector.seen)
        fired += len(found)
    assert fired > 20
