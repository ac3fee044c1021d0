"""The moving-average cross in raptorbt, as a Python strategy: fills at the next bar's open, a turn is an exit and an entry.

Its own sizes are shares of the cash, so fills are given as one lot each, and the profit is reckoned from their prices at one lot.
"""

from collections import deque

import raptorbt
from protocol import CASH, FAST, FEE, MULTIPLIER, SLOW, TICK_SIZE, load, serve, timed

BARS = load("bars")
OPEN, HIGH, LOW, CLOSE = (BARS[:, k] * TICK_SIZE for k in range(1, 5))
VOLUME = BARS[:, 5].astype(float)


class Cross(raptorbt.Strategy):
    """Long above, short below, as before on a tie."""

    def __init__(self):
        """Nothing seen yet."""
        super().__init__()
        self.closes, self.fast, self.slow, self.target = deque(), 0.0, 0.0, 0

    def on_bar(self, ctx):
        """Turn where the averages have."""
        close, closes = ctx.bar.close, self.closes
        closes.append(close)
        self.fast += close
        self.slow += close
        if len(closes) > FAST:
            self.fast -= closes[-1 - FAST]
        if len(closes) > SLOW:
            self.slow -= closes.popleft()
        if len(closes) < SLOW:
            return
        lead = self.fast * SLOW - self.slow * FAST
        target = 1 if lead > 0 else -1 if lead < 0 else self.target
        if target != self.target:
            if self.target:
                self.close_position()
            self.target = target
            (self.enter_long if target > 0 else self.enter_short)()


def bars():
    """One run; entries and exits of all trades."""
    settings = raptorbt.BacktestConfig(initial_capital=float(CASH), fees=0.0, fill_timing="next_bar_open")
    seconds, result = timed(
        lambda: raptorbt.run_strategy_backtest(Cross(), BARS[:, 0], OPEN, HIGH, LOW, CLOSE, VOLUME, config=settings)
    )
    fills, profit = [], 0.0
    for trade in result.trades():
        lots = 1 if trade.direction > 0 else -1
        fills.append((int(BARS[trade.entry_idx, 0]), lots, trade.entry_price / TICK_SIZE))
        fills.append((int(BARS[trade.exit_idx, 0]), -lots, trade.exit_price / TICK_SIZE))
        profit += lots * (trade.exit_price - trade.entry_price) * MULTIPLIER - 2 * FEE
    fills.sort(key=lambda fill: fill[0])
    return {"seconds": seconds, "fills": fills, "pnl": profit, "orders": len(fills)}


serve({"bars": bars}, raptorbt.__version__)
