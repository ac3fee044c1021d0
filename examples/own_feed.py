"""A feed of one's own: trades from any Python source, in blocks, with sessions from the calendar."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from grandmodel.domain.blocks import Action, Block, Schema, empty_block, freeze
from grandmodel.domain.time import ns_from_text
from grandmodel.runtime.feeds import instruments_named, schedules_for
from grandmodel.runtime.runs import run_feed
from grandmodel.runtime.settings import AgentSettings, RunSettings


class WaveFeed:
    """NQ trades, one a second, on a sine wave: fills a block at a time, as a network reader would."""

    keeps_rows = True  # The journal keeps the rows: nobody else has them.
    description = where = "made up: a sine wave"

    def __init__(self) -> None:
        self.span = (ns_from_text("2024-07-08T22:00:00+00:00"), ns_from_text("2024-07-10T21:00:00+00:00"))
        self.instruments = tuple(instruments_named(["NQ"]))
        self.schedules = schedules_for(self.instruments, *self.span)

    def blocks(self) -> Iterator[Block]:
        """Ten minutes of trades a block."""
        for start in range(*self.span, 600_000_000_000):
            block = empty_block(Schema.TRADES, 600)
            block["ts_event"] = block["ts_init"] = start + 1_000_000_000 * np.arange(600)
            block["price"] = 80_000 + 400 * np.sin(block["ts_init"] / 7.2e12)
            block["size"] = 1
            block["action"] = Action.TRADE
            yield freeze(block)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-feed")
    settings = RunSettings(agents=(AgentSettings(parameters={"fast": 2, "slow": 6}),))
    summary = run_feed(folder, settings, WaveFeed(), clock_ns=time.perf_counter_ns)
    print(
        f"{summary.orders} orders, {summary.fills} fills, {summary.profit_micros / 1e6:,.2f} on a sine wave; {folder}/report.html"
    )
