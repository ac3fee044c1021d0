"""Both jobs in this project: the whole path with risk, audit and journal, and the market step alone.

Bars fill at the next bar's open. Risk limits are so wide that the rule is not stopped; every check still runs, and value at risk is
known after one return instead of 46. ``rows`` names the rows in the journal by their sha256, as a run on the store does;
``rows_kept`` writes them into it, as a run on files does.
"""

import shutil
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import msgspec
import numpy as np
from protocol import CASH, FAST, HALF_HOUR_NS, SLOW, load, serve, timed

from grandmodel import __version__
from grandmodel.domain.agents import Agent
from grandmodel.domain.blocks import BAR, TICK, UNDEFINED_PRICE, Action, BookSide, freeze
from grandmodel.domain.decisions import TargetPosition
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_DAY, THIRTY_MINUTES_NS
from grandmodel.risk.settings import RiskSettings
from grandmodel.runtime.market_step import MarketStep, Stop
from grandmodel.runtime.session import Session
from grandmodel.runtime.settings import AccountSettings, AgentSettings, Mode, RollPolicy, RunSettings
from grandmodel.simulation.models import VenueSettings

NQ = BUILT_IN[InstrumentId("NQ")]
NEVER = {"caution": 1e9}
RISK = msgspec.convert(
    {
        "breakers": {"loss_streak": NEVER, "volatility": NEVER, "correlation_shock": NEVER},
        "flow": {"max_repeats": 10**6},
        "var": {"min_returns": 1},
    },
    RiskSettings,
)


class PlainCross(Agent):
    """The moving-average rule as one writes it in Python: asked at every bar, it keeps its averages itself."""

    name = "plain_cross"

    def __init__(self, *given):
        """Nothing seen yet."""
        super().__init__(*given)
        self.closes, self.fast, self.slow, self.target = deque(), 0, 0, 0

    def on_bars(self, bars, account):
        """Turn where the averages have."""
        close, closes = bars[0].close, self.closes
        closes.append(close)
        self.fast += close
        self.slow += close
        if len(closes) > FAST:
            self.fast -= closes[-1 - FAST]
        if len(closes) > SLOW:
            self.slow -= closes.popleft()
        if len(closes) < SLOW:
            return ()
        lead = self.fast * SLOW - self.slow * FAST
        if lead:
            self.target = 1 if lead > 0 else -1
        if self.target == account.lots(bars[0].instrument):
            return ()
        return (TargetPosition(instrument=bars[0].instrument, lots=self.target),)


class Silent(Agent):
    """Never trades."""

    name = "silent"

    def on_bars(self, bars, account):
        """Nothing."""
        return ()


def schedule(block, opened):
    """One session around the rows."""
    first, last = int(block[opened][0]) - NS_PER_DAY, int(block["ts_init"][-1]) + NS_PER_DAY
    return SessionSchedule(np.array([first]), np.array([last]), np.array([first]))


def bar_block():
    """The bars as a block."""
    bars = load("bars")
    block = np.zeros(len(bars), BAR)
    block["ts_open"] = bars[:, 0]
    block["ts_event"] = block["ts_init"] = bars[:, 0] + HALF_HOUR_NS
    for column, name in enumerate(("open", "high", "low", "close", "volume"), start=1):
        block[name] = bars[:, column]
    return freeze(block)


def row_block():
    """Quotes and trades as a block."""
    rows = load("rows")
    is_trade = rows[:, 1] == 1
    block = np.zeros(len(rows), TICK)
    block["ts_event"] = block["ts_init"] = rows[:, 0]
    block["price"] = np.where(is_trade, rows[:, 4], UNDEFINED_PRICE)
    block["bid_price"], block["ask_price"] = rows[:, 2], rows[:, 3]
    block["bid_size"] = block["ask_size"] = 20
    block["size"] = rows[:, 5]
    block["action"] = np.where(is_trade, int(Action.TRADE), int(Action.QUOTE))
    block["side"] = np.where(
        is_trade, np.where(rows[:, 6] == 1, int(BookSide.BID), int(BookSide.ASK)), int(BookSide.NONE)
    )
    block["sequence"] = np.arange(len(rows))
    return freeze(block)


BARS, ROWS = bar_block(), row_block()


def session_run(block, agent, widths, opened, *, keep_rows, on_record=None):
    """CPU seconds of a session from start to sealed journal; and the session."""
    settings = RunSettings(
        mode=Mode.BACKTEST,
        account=AccountSettings(capital_micros=CASH * 1_000_000),
        widths_ns=widths,
        agents=(AgentSettings(kind=agent),),
        risk=RISK,
        rolls=RollPolicy.IGNORE,
        venue=VenueSettings(half_spread_ticks=0),
    )
    blocks = [block[start : start + 65_536] for start in range(0, len(block), 65_536)]
    root = Path(tempfile.mkdtemp(prefix="peers-"))

    def run():
        with Session.start(
            root / "run",
            settings,
            [NQ],
            [schedule(block, opened)],
            data="peers",
            clock_ns=time.perf_counter_ns,
            on_record=on_record,
        ) as session:
            session.feed(blocks, where="peers", keep_rows=keep_rows)
            session.end()
            return session

    try:
        return timed(run)
    finally:
        shutil.rmtree(root)


def bars(kind=f"{__name__}:PlainCross"):
    """The rule over the bars, asked at each of them."""
    fills = []
    seconds, session = session_run(
        BARS,
        kind,
        (THIRTY_MINUTES_NS,),
        "ts_open",
        keep_rows=True,
        on_record=lambda record: fills.extend(record.fills),
    )
    return {
        "seconds": seconds,
        "fills": [(fill.ts_event, fill.signed_quantity, fill.price) for fill in fills],
        "pnl": session.engine.ledger.equity_micros() / 1e6 - CASH,
        "orders": session.orders,
    }


def rows(*, keep_rows=False):
    """The whole path over quotes and trades while nothing is decided."""
    seconds, session = session_run(
        ROWS, f"{__name__}:Silent", (FIVE_MINUTES_NS, THIRTY_MINUTES_NS), "ts_init", keep_rows=keep_rows
    )
    return {"seconds": seconds, "rows": len(ROWS), "events": len(ROWS), "seen": session.progress().rows}


def rows_market_step():
    """The compiled step alone."""
    market = MarketStep([NQ], [schedule(ROWS, "ts_init")], [FIVE_MINUTES_NS, THIRTY_MINUTES_NS], VenueSettings(), {})

    def run():
        schema = market.begin(ROWS)
        while (stop := market.walk(ROWS, schema)) is not Stop.END:
            if stop is Stop.BARS:
                market.closed_rows()

    seconds, _ = timed(run)
    return {"seconds": seconds, "rows": len(ROWS), "events": len(ROWS), "seen": market.position}


sys.modules.setdefault("peer_grandmodel", sys.modules[__name__])
serve(
    {
        "bars": bars,
        "bars_woken": lambda: bars("moving_average_cross"),
        "rows": rows,
        "rows_kept": lambda: rows(keep_rows=True),
        "rows_market_step": rows_market_step,
    },
    __version__,
)
