"""An agent of one's own: buy after three falling half hours, with a stop and a target, sell after three rising ones."""

import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from grandmodel.domain.agents import Account, Agent, Wish
from grandmodel.domain.decisions import TargetPosition
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.learnt import LearntFrom
from grandmodel.domain.time import THIRTY_MINUTES_NS, ns_from_text
from grandmodel.runtime.feeds import SimulatedFeed, instruments_named
from grandmodel.runtime.runs import run_feed
from grandmodel.runtime.settings import AgentSettings, RunSettings


class ThreeInARow(Agent):
    """Trades against three bars in one direction."""

    name = "three_in_a_row"

    def __init__(self, *given: Any) -> None:
        """Remember, per instrument, how many bars went one way."""
        super().__init__(*given)
        self.runs: defaultdict[str, int] = defaultdict(int)

    def learnt_from(self) -> tuple[LearntFrom, ...]:
        """From nothing: a rule that was fitted on no data. One that was fitted says on what, so that a run can tell what is in-sample."""
        return ()

    def on_bars(self, bars: tuple[ClosedBar, ...], account: Account) -> list[Wish]:
        """Count bars in a row; ask for the position against them."""
        wishes: list[Wish] = []
        for bar in bars:
            if bar.width_ns != THIRTY_MINUTES_NS:
                continue
            move = (bar.close > bar.open) - (bar.close < bar.open)
            run = self.runs[bar.instrument]
            self.runs[bar.instrument] = run + move if run * move > 0 else move
            if abs(self.runs[bar.instrument]) >= 3 and account.lots(bar.instrument) != -move:
                wishes.append(TargetPosition(instrument=bar.instrument, lots=-move, stop_ticks=60, target_ticks=90))
        return wishes


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-agent")
    start, end = ns_from_text("2024-07-03T22:00:00+00:00"), ns_from_text("2024-07-10T21:00:00+00:00")
    settings = RunSettings(agents=(AgentSettings(kind="own_agent:ThreeInARow"),))
    sys.path.insert(0, str(Path(__file__).parent))
    summary = run_feed(
        folder,
        settings,
        SimulatedFeed(instruments_named(["NQ", "CL"]), start, end, seed=7),
        clock_ns=time.perf_counter_ns,
    )
    print(
        f"{summary.orders} orders, {summary.fills} fills, {summary.profit_micros / 1e6:,.2f} on a simulated market; {folder}/report.html"
    )
