"""An instrument of one's own: a micro gold future, traded on bars of one's own making."""

import sys
import time
from decimal import Decimal
from pathlib import Path

import numpy as np

from grandmodel.domain.blocks import BAR
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.time import THIRTY_MINUTES_NS, ns_from_text
from grandmodel.runtime.feeds import BlockFeed
from grandmodel.runtime.runs import run_feed
from grandmodel.runtime.settings import RunSettings

MICRO_GOLD = Instrument(
    id=InstrumentId("MGC"),
    name="Micro gold",
    tick_size=Decimal("0.1"),
    tick_value_micros=1_000_000,
    currency="USD",
    mic="XCEC",
    calendar="CMES",
    session_open="18:00",
    session_close="17:00",
    time_zone="America/New_York",
    initial_margin_micros=1_100_000_000,  # 1,100 dollars a lot: a future whose margin is not known is not traded
)


def bars(count: int) -> np.ndarray:
    """``count`` half-hour bars of a random walk around 2,300 dollars, round the clock."""
    generator = np.random.default_rng(3)
    made = np.zeros(count, BAR)
    made["ts_open"] = ns_from_text("2024-07-01") + THIRTY_MINUTES_NS * np.arange(count)
    made["ts_event"] = made["ts_init"] = made["ts_open"] + THIRTY_MINUTES_NS
    made["close"] = 23_000 + np.cumsum(generator.integers(-20, 21, count))
    made["open"] = np.roll(made["close"], 1)
    made["open"][0] = 23_000
    made["high"] = np.maximum(made["open"], made["close"]) + generator.integers(0, 10, count)
    made["low"] = np.minimum(made["open"], made["close"]) - generator.integers(0, 10, count)
    made["volume"] = generator.integers(100, 1000, count)
    return made


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-instrument")
    feed = BlockFeed([MICRO_GOLD], [bars(500)], "made up: a random walk")
    summary = run_feed(folder, RunSettings(widths_ns=(THIRTY_MINUTES_NS,)), feed, clock_ns=time.perf_counter_ns)
    print(
        f"{summary.orders} orders, {summary.fills} fills, {summary.profit_micros / 1e6:,.2f} on made-up bars; {folder}/report.html"
    )
