"""The moving-average cross in backtesting.py: fills at the next bar's open; the time holds its statistics too."""

import warnings

import backtesting
import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy
from protocol import CASH, FAST, FEE, HALF_HOUR_NS, MULTIPLIER, SLOW, TICK_SIZE, load, serve, timed

warnings.filterwarnings("ignore")

BARS = load("bars")
PRICES = BARS[:, 1:5] * TICK_SIZE
FRAME = pd.DataFrame(PRICES, columns=["Open", "High", "Low", "Close"], index=pd.to_datetime(BARS[:, 0], utc=True))


def mean(values, count):
    """The library has no averages of its own; its examples use pandas."""
    return pd.Series(values).rolling(count).mean()


class Cross(Strategy):
    """Long above, short below, as before on a tie."""

    def init(self):
        """Both averages."""
        self.fast = self.I(mean, self.data.Close, FAST)
        self.slow = self.I(mean, self.data.Close, SLOW)
        self.target = 0

    def next(self):
        """Turn where the averages have."""
        lead = self.fast[-1] - self.slow[-1]
        target = 1 if lead > 0 else -1 if lead < 0 else self.target
        if target != self.target:
            self.target = target
            self.position.close()
            (self.buy if target > 0 else self.sell)(size=MULTIPLIER)


def bars():
    """One run; entries and exits of all trades, the open one included."""
    test = Backtest(
        FRAME, Cross, cash=CASH, commission=lambda size, _price: abs(size) / MULTIPLIER * FEE, finalize_trades=False
    )
    seconds, stats = timed(test.run)
    fills = []
    for trade in [*stats["_strategy"].closed_trades, *stats["_strategy"].trades]:
        lots = round(trade.size / MULTIPLIER)
        fills.append((int(BARS[trade.entry_bar, 0]), lots, trade.entry_price / TICK_SIZE))
        if trade.exit_bar is not None:
            fills.append((int(BARS[trade.exit_bar, 0]), -lots, trade.exit_price / TICK_SIZE))
    fills.sort(key=lambda fill: fill[0])
    return {"seconds": seconds, "fills": fills, "pnl": stats["Equity Final [$]"] - CASH, "orders": len(fills)}


assert np.all(np.diff(BARS[:, 0]) >= HALF_HOUR_NS)
serve({"bars": bars}, backtesting.__version__)
