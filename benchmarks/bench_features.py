"""Features: how long an indicator takes per value in batch and per streaming update, and a whole row of each matrix.

Paths and units: ``batch`` (ns a value, over 100,000 bars), ``streaming`` (ns an update, called in a loop of compiled code, as the engine
calls it), ``strategic row`` and ``tactical row`` (us a row of a live session, all columns). Input is a seeded random walk on a
tick grid; the strategic rows run over 20,000 bars, so MLMI has some 2,000 points to look among; its own row is timed among more. TA-Lib runs beside it in this
process; talipp, vectorbt and nautilus_trader in ``.venv-peer-NAME`` where such an environment exists. Every result is
checked against TA-Lib's before it is timed. Times are medians in CPU seconds of this process; compilation is outside.

A regression here slows every backtest and training run (batch), or every bar of a live session (streaming, rows).

    python benchmarks/bench_features.py [--json] [--quick]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
import talib

from grandmodel.features import (
    StrategicState,
    TacticalState,
    averages,
    dispersion,
    heikin_ashi,
    mlmi,
    oscillators,
    ranges,
    strategic_rows,
    tactical_rows,
    volume,
)
from grandmodel.features.bars import bar_arrays

ROOT = Path(__file__).resolve().parents[1]
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Measure:
    """One measured path: its median, the peer's on the same input (None: none was there), and what is aimed at."""

    path: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    aim: float | None = None


@dataclass(frozen=True)
class Indicator:
    """One standard indicator: inputs, batch, TA-Lib's batch, fresh state and compiled update."""

    name: str
    inputs: tuple[str, ...]
    batch: Callable[..., np.ndarray]
    talib: Callable[..., Any] | None
    state: Callable[[], np.ndarray]
    update: Callable[..., Any]


HLC = ("high", "low", "close")
INDICATORS = [
    Indicator("SMA 20", ("close",), lambda c: averages.sma(c, 20), lambda c: talib.SMA(c, 20), lambda: averages.sma_state(20), averages.sma_update),
    Indicator("EMA 20", ("close",), lambda c: averages.ema(c, 20), lambda c: talib.EMA(c, 20), lambda: averages.ema_state(20), averages.ema_update),
    Indicator("WMA 20", ("close",), lambda c: averages.wma(c, 20), lambda c: talib.WMA(c, 20), lambda: averages.wma_state(20), averages.wma_update),
    Indicator("RSI 14", ("close",), oscillators.rsi, lambda c: talib.RSI(c, 14), oscillators.rsi_state, oscillators.rsi_update),
    Indicator("true range", HLC, ranges.true_range, talib.TRANGE, ranges.true_range_state, ranges.true_range_update),
    Indicator("ATR 14", HLC, ranges.atr, lambda *x: talib.ATR(*x, 14), ranges.atr_state, ranges.atr_update),
    Indicator("ADX 14", HLC, ranges.adx, lambda *x: talib.ADX(*x, 14), ranges.adx_state, ranges.adx_update),
    Indicator("MACD", ("close",), oscillators.macd, talib.MACD, oscillators.macd_state, oscillators.macd_update),
    Indicator("Bollinger 20", ("close",), dispersion.bollinger, lambda c: talib.BBANDS(c, 20, 2, 2), dispersion.bollinger_state, dispersion.bollinger_update),
    Indicator("deviation 20", ("close",), lambda c: dispersion.standard_deviation(c, 20), lambda c: talib.STDDEV(c, 20),
              lambda: dispersion.standard_deviation_state(20), dispersion.standard_deviation_update),
    Indicator("stochastic", HLC, oscillators.stochastic, talib.STOCH, oscillators.stochastic_state, oscillators.stochastic_update),
    Indicator("CCI 14", HLC, oscillators.cci, lambda *x: talib.CCI(*x, 14), oscillators.cci_state, oscillators.cci_update),
    Indicator("OBV", ("close", "volume"), volume.obv, talib.OBV, volume.obv_state, volume.obv_update),
    Indicator("VWAP", (*HLC, "volume", "session"), volume.vwap, None, volume.vwap_state, volume.vwap_update),
    Indicator("Heikin-Ashi", ("open", *HLC), heikin_ashi.heikin_ashi, None, heikin_ashi.heikin_ashi_state, heikin_ashi.heikin_ashi_update),
]  # fmt: skip
BATCH_AIM = {"RSI 14", "ATR 14", "EMA 20"}
STREAMING_AIM_NS = 20.0
STRATEGIC_AIM_US = 30.0


def measure(values: int = 100_000, rows: int = 20_000, repeats: int = 11) -> list[Measure]:
    """Every path, measured."""
    bars = random_bars(values)
    found: list[Measure] = []
    for indicator in INDICATORS:
        found += _measure_indicator(indicator, bars, repeats)
    found += _measure_neighbours(repeats, 20_000 if repeats < 11 else 200_000)
    return found + _measure_rows(rows, min(repeats, 3)) + _measure_peers(bars)


def random_bars(size: int, seed: int = 5) -> Columns:
    """A seeded random walk on a quarter-point grid, with volume and sessions of 46 bars."""
    rng = np.random.default_rng(seed)
    close = 15_000 + np.cumsum(np.round(rng.standard_t(4, size) * 48) / 4)
    open_ = np.concatenate([[15_000.0], close[:-1]])
    reach = np.round(rng.exponential(32, (2, size))) / 4
    return {
        "open": open_,
        "high": np.maximum(open_, close) + reach[0],
        "low": np.minimum(open_, close) - reach[1],
        "close": close,
        "volume": np.round(rng.gamma(1.5, 2000, size)),
        "session": (np.arange(size) // 46).astype(np.float64),
    }


def _measure_indicator(indicator: Indicator, bars: Columns, repeats: int) -> list[Measure]:
    columns = tuple(bars[name] for name in indicator.inputs)
    size = len(columns[0])
    ours = indicator.batch(*columns)
    drive = _driver(indicator.update, len(columns))
    streamed = np.empty(size)
    drive(indicator.state(), *columns, streamed)
    first = ours if ours.ndim == 1 else np.ascontiguousarray(ours[:, 0])
    np.testing.assert_array_equal(streamed, first)
    if indicator.talib is None:
        (batch_ns,) = _medians(repeats, size, lambda: indicator.batch(*columns))
        theirs = None
    else:
        expected = np.array(indicator.talib(*columns)).T
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-7)
        batch_ns, theirs = _medians(repeats, size, lambda: indicator.batch(*columns), lambda: indicator.talib(*columns))
    (streaming_ns,) = _medians(repeats, size, lambda: drive(indicator.state(), *columns, streamed))
    aim = theirs if indicator.name in BATCH_AIM else None
    peer = "TA-Lib" if theirs is not None else ""
    return [
        Measure(f"{indicator.name}, batch", "ns/value", batch_ns, peer, theirs, aim),
        Measure(f"{indicator.name}, streaming", "ns/update", streaming_ns, aim=STREAMING_AIM_NS),
    ]


def _driver(update: Callable[..., Any], inputs: int) -> Callable[..., None]:
    """A compiled loop that calls the update for each bar and keeps the (first) result."""
    if inputs == 1:

        @numba.njit
        def drive(state, a, out):  # type: ignore[no-untyped-def]
            for t in range(len(a)):
                out[t] = _first(update(state, 0, a[t]))
    elif inputs == 2:

        @numba.njit
        def drive(state, a, b, out):  # type: ignore[no-untyped-def]
            for t in range(len(a)):
                out[t] = _first(update(state, 0, a[t], b[t]))
    elif inputs == 3:

        @numba.njit
        def drive(state, a, b, c, out):  # type: ignore[no-untyped-def]
            for t in range(len(a)):
                out[t] = _first(update(state, 0, a[t], b[t], c[t]))
    elif inputs == 4:

        @numba.njit
        def drive(state, a, b, c, d, out):  # type: ignore[no-untyped-def]
            for t in range(len(a)):
                out[t] = _first(update(state, 0, a[t], b[t], c[t], d[t]))
    else:

        @numba.njit
        def drive(state, a, b, c, d, e, out):  # type: ignore[no-untyped-def]
            for t in range(len(a)):
                out[t] = _first(update(state, 0, a[t], b[t], c[t], d[t], e[t]))

    return drive  # type: ignore[no-any-return]


@numba.extending.register_jitable
def _first(value):  # type: ignore[no-untyped-def]
    return _first_of(value)


def _first_of(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


@numba.extending.overload(_first_of)
def _first_of_overload(value):  # type: ignore[no-untyped-def]
    if isinstance(value, numba.types.BaseTuple):
        return lambda value: value[0]
    return lambda value: value


def _measure_neighbours(repeats: int, most: int) -> list[Measure]:
    """An MLMI row after so many bars: what it costs must hardly grow with the points that there are to look among."""
    bars = random_bars(most + 2_000)
    columns = tuple(bars[name] for name in ("open", *HLC))

    @numba.njit
    def drive(state, work, open_, high, low, close, out):  # type: ignore[no-untyped-def]
        for t in range(len(out)):
            out[t] = mlmi.mlmi_update(state, 0, work, open_[t], high[t], low[t], close[t])[0]

    expected, measured = mlmi.mlmi(*columns)[:, 0], []
    for begin in [count for count in (2_000, 20_000, 200_000) if count <= most]:
        state = mlmi.mlmi_state(most)
        work = mlmi.mlmi_work(state)
        drive(state, work, *(column[:begin] for column in columns), np.empty(begin))
        here, out = tuple(column[begin : begin + 2_000] for column in columns), np.empty(2_000)
        taken = []
        for _ in range(repeats):
            again, index = state.copy(), work.copy()
            start = time.process_time_ns()
            drive(again, index, *here, out)
            taken.append((time.process_time_ns() - start) / 2_000 / 1e3)
            np.testing.assert_array_equal(out, expected[begin : begin + 2_000])
        points = int(state[1])
        measured.append(Measure(f"MLMI row after {begin:,} bars, {points:,} points", "us/row", float(np.median(taken))))
    return measured


def _measure_rows(rows: int, repeats: int) -> list[Measure]:
    bars = random_bars(rows)
    stamps = 1_600_000_000 * 10**9 + np.arange(rows, dtype=np.int64) * 1_800_000_000_000
    frame = pl.DataFrame({"ts_event": stamps, **{name: bars[name] for name in ("open", *HLC, "volume")}})
    listed = list(frame.select("open", "high", "low", "close", "volume", "ts_event").rows())
    measured = []
    for name, kind, batch, aim in (
        ("strategic row", StrategicState, strategic_rows, STRATEGIC_AIM_US),
        ("tactical row", TacticalState, tactical_rows, None),
    ):
        expected = batch(frame)
        arrays = bar_arrays(frame)

        def stream(kind: Any = kind) -> np.ndarray:
            state = kind()
            for bar in listed:
                row = state.update(*bar)
            return row

        np.testing.assert_array_equal(stream(), expected[-1])
        block_ns, stream_ns = _medians(
            repeats, rows, lambda kind=kind, arrays=arrays: kind().update_block(arrays), stream
        )
        measured.append(Measure(f"{name}, in a block", "us/row", block_ns / 1e3, aim=aim))
        measured.append(Measure(f"{name}, bar by bar from Python", "us/row", stream_ns / 1e3, aim=aim))
        taken = np.empty(rows)
        state = kind()
        for t, bar in enumerate(listed):
            begin = time.perf_counter_ns()
            state.update(*bar)
            taken[t] = time.perf_counter_ns() - begin
        # The wall clock here: a late row is late, whoever had the processor.
        measured.append(Measure(f"{name}, 99th percentile", "us/row", float(np.quantile(taken, 0.99)) / 1e3))
        saved = state.save()
        save_ns, restore_ns = _medians(repeats, 1, state.save, lambda state=state, saved=saved: state.restore(saved))
        measured.append(Measure(f"{name}, save ({len(saved):,} bytes)", "us", save_ns / 1e3))
        measured.append(Measure(f"{name}, restore", "us", restore_ns / 1e3))
    return measured


def _medians(repeats: int, size: int, *actions: Callable[[], Any]) -> list[float]:
    """Median CPU nanoseconds per value of each action; the actions take turns, so that both meet the same machine."""
    for action in actions:
        action()
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(repeats):
        for place, action in enumerate(actions):
            begin = time.process_time_ns()
            action()
            taken[place].append((time.process_time_ns() - begin) / size)
    return [float(np.median(times)) for times in taken]


# Each peer reads close prices from standard input, prints {path: ns per value} and its last RSI, EMA and ATR for the check.
_PEER_HEAD = """
import json, sys, time
data = json.load(sys.stdin)
close, high, low = data["close"], data["high"], data["low"]
def clock(action, size):
    times = []
    for _ in range(5):
        begin = time.process_time_ns(); result = action(); times.append((time.process_time_ns() - begin) / size)
    return sorted(times)[2], result
found, last = {}, {}
"""
_PEERS = {
    "talipp": """
from talipp.indicators import EMA, RSI
for name, make in (("EMA 20", lambda: EMA(20)), ("RSI 14", lambda: RSI(14))):
    def run():
        indicator = make()
        for value in close: indicator.add(value)
        return indicator[-1]
    found[name + ", streaming"], last[name] = clock(run, len(close))
print(json.dumps([found, last]))
""",
    "nautilus_trader": """
from nautilus_trader.indicators import AverageTrueRange, ExponentialMovingAverage
ema = ExponentialMovingAverage(20)
def run():
    for value in close: ema.update_raw(value)
    return ema.value
found["EMA 20, streaming"], last["EMA 20"] = clock(run, len(close))
print(json.dumps([found, last]))
""",
    "vectorbt": """
import numpy as np, pandas as pd, vectorbt as vbt
series = pd.Series(close)
for name, make in (("RSI 14", lambda: vbt.RSI.run(series, 14, ewm=False).rsi), ("EMA 20", lambda: vbt.MA.run(series, 20, ewm=True).ma)):
    make()
    found[name + ", batch"], result = clock(make, len(close))
    last[name] = float(result.iloc[-1])
print(json.dumps([found, last]))
""",
}


def _measure_peers(bars: Columns) -> list[Measure]:
    measured = []
    data = json.dumps({name: bars[name][:20_000].tolist() for name in HLC})
    for peer, script in _PEERS.items():
        python = ROOT / f".venv-peer-{peer}" / "bin" / "python"
        if not python.exists():
            print(f"{peer}: absent (no {python.parent.parent.name}); not measured", file=sys.stderr)
            continue
        done = subprocess.run(  # a failure is reported below
            [python, "-c", _PEER_HEAD + script], input=data, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode != 0:
            print(f"{peer}: failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            continue
        found, last = json.loads(done.stdout.splitlines()[-1])
        close = bars["close"][:20_000]
        ours_last = {"EMA 20": averages.ema(close, 20)[-1], "RSI 14": oscillators.rsi(close, 14)[-1]}
        for path, theirs in found.items():
            name = path.rsplit(",", 1)[0]
            # vectorbt's RSI is Cutler's, another formula; the others must agree.
            if not (peer == "vectorbt" and name == "RSI 14"):
                np.testing.assert_allclose(last[name], ours_last[name], rtol=1e-6)
            indicator = next(i for i in INDICATORS if i.name == name)
            columns = tuple(bars[column][:20_000] for column in indicator.inputs)
            if path.endswith("batch"):
                (ours,) = _medians(11, 20_000, lambda i=indicator, c=columns: i.batch(*c))
            else:
                drive, out = _driver(indicator.update, len(columns)), np.empty(20_000)
                (ours,) = _medians(11, 20_000, lambda i=indicator, c=columns, d=drive, o=out: d(i.state(), *c, o))
            measured.append(Measure(path, "ns", ours, peer, theirs))
    return measured


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--json", action="store_true", help="print the measures as JSON")
    parser.add_argument("--quick", action="store_true", help="less input and fewer repeats")
    arguments = parser.parse_args()
    found = measure(20_000, 4_000, 5) if arguments.quick else measure()
    if arguments.json:
        print(json.dumps([asdict(one) for one in found], indent=1))
        return
    print(f"{'path':44}{'ours':>10} {'unit':10}{'peer':>16}{'theirs':>10}{'aim':>8}")
    for one in found:
        theirs = f"{one.theirs:10.2f}" if one.theirs is not None else f"{'':10}"
        aim = f"{one.aim:8.1f}" if one.aim is not None else ""
        print(f"{one.path:44}{one.ours:10.2f} {one.unit:10}{one.peer:>16}{theirs}{aim}")


if __name__ == "__main__":
    main()
