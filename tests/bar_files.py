"""Small files of bars for the tests of the data room."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.domain.time import NS_PER_DAY, THIRTY_MINUTES_NS, ns_from_text

NQ = BUILT_IN[InstrumentId("NQ")]
CL = BUILT_IN[InstrumentId("CL")]


def session_opens(start: str, end: str, instrument: Instrument = NQ, width_ns: int = THIRTY_MINUTES_NS) -> list[int]:
    """The open of every bar of the sessions of two trading days and those between, ns UTC."""
    first, last = ns_from_text(start), ns_from_text(end)
    schedule = session_schedule(instrument, first - NS_PER_DAY, last + NS_PER_DAY)
    return [
        ns
        for opens, closes, day in zip(
            schedule.open_ns.tolist(), schedule.close_ns.tolist(), schedule.day_ns.tolist(), strict=True
        )
        if first <= day <= last
        for ns in range(opens, closes, width_ns)
    ]


def random_bars(count: int, seed: int = 1, tick: float = 0.25, start: float = 15_000.0) -> np.ndarray:
    """Open, high, low, close and volume (count, 5), on the tick, each open one tick or less from the close before."""
    rng = np.random.default_rng(seed)
    closes = np.rint((start + np.cumsum(rng.normal(0, 4, count))) / tick) * tick
    opens = np.concatenate(([closes[0]], closes[:-1] + tick * rng.integers(-1, 2, count - 1)))
    high = np.maximum(opens, closes) + tick * rng.integers(1, 20, count)
    low = np.minimum(opens, closes) - tick * rng.integers(1, 20, count)
    return np.column_stack([opens, high, low, closes, rng.integers(2_000, 6_000, count)])


def rows_text(
    opens_ns: list[int], bars: np.ndarray, zone: str = "UTC", pattern: str = "%Y-%m-%d %H:%M:%S"
) -> list[str]:
    """One CSV line per bar, stamped by its open on a clock in ``zone``."""
    lines = []
    for ns, (opens, high, low, close, volume) in zip(opens_ns, bars.tolist(), strict=True):
        local = dt.datetime.fromtimestamp(ns // 10**9, tz=ZoneInfo(zone))
        lines.append(f"{local.strftime(pattern)},{opens},{high},{low},{close},{int(volume)}")
    return lines


def write_csv(path: Path, lines: list[str], heading: str = "Timestamp,Open,High,Low,Close,Volume") -> Path:
    """A file of ``lines`` under ``heading``."""
    path.write_text("\n".join([heading, *lines] if heading else lines) + "\n", encoding="utf-8")
    return path
