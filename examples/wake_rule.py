"""An agent that is only asked where its wake rule says so: it trades against bars that are much wider than usual."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grandmodel.domain.agents import Account, Agent, WakeRule, Wish
from grandmodel.domain.decisions import TargetPosition
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.learnt import LearntFrom
from grandmodel.domain.time import THIRTY_MINUTES_NS, ns_from_text
from grandmodel.kernels import kernel
from grandmodel.runtime.feeds import SimulatedFeed, instruments_named
from grandmodel.runtime.runs import run_feed
from grandmodel.runtime.settings import AgentSettings, RunSettings

WIDTH, USUAL, IS_WIDE = range(3)
"""The memory: the bars' width in ns, the usual range in ticks, 1.0 where the last bar was wide."""


@kernel
def is_wide(bars: Any, count: int, lots: Any, memory: Any) -> bool:  # noqa: ARG001 (every condition is given the positions)
    """True where a bar of the width closed that is wider than twice the usual."""
    memory[IS_WIDE] = 0.0
    for k in range(count):
        bar = bars[k]
        if bar.width == memory[WIDTH]:
            span = float(bar.high - bar.low)
            if memory[USUAL] > 0.0 and span > 2.0 * memory[USUAL]:
                memory[IS_WIDE] = 1.0
            memory[USUAL] += 0.05 * (span - memory[USUAL]) if memory[USUAL] > 0.0 else span
    return memory[IS_WIDE] == 1.0


class AgainstWideBars(Agent):
    """Against the direction of a wide bar, with a stop and a target."""

    name = "against_wide_bars"

    def __init__(self, *given: Any) -> None:
        """Give the rule its memory."""
        super().__init__(*given)
        self.wake = WakeRule(is_wide, np.array([float(THIRTY_MINUTES_NS), 0.0, 0.0]))

    def learnt_from(self) -> tuple[LearntFrom, ...]:
        """From nothing."""
        return ()

    def on_bars(self, bars: Sequence[ClosedBar], account: Account) -> list[Wish]:  # noqa: ARG002 (part of the protocol)
        """Ask for the position against the bar, where the rule's memory says that it was wide."""
        if self.wake is None or self.wake.memory[IS_WIDE] == 0.0:
            return []
        return [
            TargetPosition(
                instrument=bar.instrument, lots=1 if bar.close < bar.open else -1, stop_ticks=60, target_ticks=60
            )
            for bar in bars
            if bar.width_ns == THIRTY_MINUTES_NS
        ]


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/wake-rule")
    start, end = ns_from_text("2024-07-03T22:00:00+00:00"), ns_from_text("2024-07-10T21:00:00+00:00")
    sys.path.insert(0, str(Path(__file__).parent))
    summary = run_feed(
        folder,
        RunSettings(agents=(AgentSettings(kind="wake_rule:AgainstWideBars"),)),
        SimulatedFeed(instruments_named(["NQ"]), start, end, seed=7),
        clock_ns=time.perf_counter_ns,
    )
    print(
        f"{summary.orders} orders, {summary.fills} fills, {summary.profit_micros / 1e6:,.2f} on a simulated market; {folder}/report.html"
    )
