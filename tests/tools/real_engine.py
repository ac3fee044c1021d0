"""The real engine for the kill tool: mode live, one instrument, an agent that trades often with brackets and limits."""

from __future__ import annotations

import numpy as np

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.agents import Agent
from grandmodel.domain.blocks import BAR
from grandmodel.domain.decisions import TargetPosition, Urgency
from grandmodel.domain.events import End, MarketData
from grandmodel.domain.ids import RunId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_DAY, ns_from_text
from grandmodel.risk.settings import BreakerSettings, RiskSettings, Thresholds, VarSettings
from grandmodel.runtime.agents import build_agent
from grandmodel.runtime.inputs import InputEngine, begin_run
from grandmodel.runtime.settings import AgentSettings, Mode, RunSettings

NQ = BUILT_IN["NQ"]
START_NS = ns_from_text("2024-07-08T13:30:00Z")
SCHEDULE = session_schedule(NQ, START_NS - 5 * NS_PER_DAY, START_NS + 30 * NS_PER_DAY)


class BusyAgent(Agent):
    """At the close of most five-minute bars wants another position, half of the time by a limit, often with exits."""

    name = "busy"

    def on_bars(self, bars, account):  # noqa: ARG002 (part of the protocol)
        wishes = []
        for bar in bars:
            if bar.width_ns == FIVE_MINUTES_NS and self.generator.random() < 0.7:
                exits = {} if self.generator.random() < 0.3 else {"stop_ticks": 25, "target_ticks": 20}
                urgency = Urgency.PASSIVE if self.generator.random() < 0.5 else Urgency.AGGRESSIVE
                lots = int(self.generator.integers(-2, 3))
                wishes.append(TargetPosition(instrument=bar.instrument, lots=lots, urgency=urgency, **exits))
        return wishes


def build_engine():
    return InputEngine(build_agent)


def build_end(engine):
    return End(ts=engine.engine.now)


def build_begin(run):
    agent = AgentSettings(kind=f"{__name__}:BusyAgent")
    # Risk is known after eight bars, and a streak of losing or rejected trades does not end the session: the orders are
    # what is tested here, not the limits.
    breakers = BreakerSettings(loss_streak=Thresholds(), order_rejects=Thresholds())
    risk = RiskSettings(var=VarSettings(width_ns=FIVE_MINUTES_NS, min_returns=8), breakers=breakers)
    settings = RunSettings(mode=Mode.LIVE, agents=(agent,), risk=risk)
    return begin_run(RunId(run), settings, [NQ], [SCHEDULE], "random bars")


def build_blocks(seed, blocks):
    """``blocks`` inputs of one five-minute bar each, inside the sessions: a seeded random walk in ticks."""
    generator = np.random.default_rng(seed)
    inside = []
    ts = START_NS
    while len(inside) < blocks:
        ts += FIVE_MINUTES_NS
        if np.any((SCHEDULE.open_ns < ts) & (ts <= SCHEDULE.close_ns)):
            inside.append(ts)
    bars = np.zeros(blocks, dtype=BAR)
    bars["ts_event"] = bars["ts_init"] = inside
    bars["ts_open"] = bars["ts_event"] - FIVE_MINUTES_NS
    bars["close"] = 80_000 + np.cumsum(generator.integers(-30, 31, blocks))
    bars["open"] = bars["close"] + generator.integers(-9, 10, blocks)
    bars["high"] = np.maximum(bars["open"], bars["close"]) + generator.integers(0, 9, blocks)
    bars["low"] = np.minimum(bars["open"], bars["close"]) - generator.integers(0, 9, blocks)
    bars["volume"] = generator.integers(1, 500, blocks)
    bars["sequence"] = np.arange(blocks)
    return [MarketData(schema="bars", count=1, rows=bars[at : at + 1].tobytes()) for at in range(blocks)]
