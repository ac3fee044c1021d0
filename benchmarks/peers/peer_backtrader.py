"""The moving-average cross in backtrader: market orders fill at the next bar's open."""

import datetime as dt

import backtrader as bt
import pandas as pd
from protocol import CASH, FAST, FEE, MULTIPLIER, SLOW, TICK_SIZE, load, serve, timed

BARS = load("bars")
FRAME = pd.DataFrame(
    BARS[:, 1:5] * TICK_SIZE,
    columns=["open", "high", "low", "close"],
    index=pd.to_datetime(BARS[:, 0], utc=True).tz_localize(None),
)
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  # backtrader's times know no zone; these are UTC.


class Cross(bt.Strategy):
    """Long above, short below, as before on a tie."""

    def __init__(self):
        self.fast = bt.ind.SMA(self.data.close, period=FAST)
        self.slow = bt.ind.SMA(self.data.close, period=SLOW)
        self.target = 0
        self.fills = []

    def next(self):
        """Turn where the averages have."""
        lead = self.fast[0] - self.slow[0]
        target = 1 if lead > 0 else -1 if lead < 0 else self.target
        if target != self.target:
            self.target = target
            if self.position.size:
                self.close()
            (self.buy if target > 0 else self.sell)(size=1)

    def notify_order(self, order):
        """Keep what was done."""
        if order.status == order.Completed:
            at = bt.num2date(order.executed.dt)
            self.fills.append((at, int(order.executed.size), order.executed.price))


def bars():
    """One run."""
    brain = bt.Cerebro(stdstats=False)
    brain.adddata(bt.feeds.PandasData(dataname=FRAME))
    brain.addstrategy(Cross)
    brain.broker.setcash(CASH)
    brain.broker.setcommission(commission=FEE, margin=1_000.0, mult=MULTIPLIER)
    seconds, strategies = timed(brain.run)
    fills = [
        (round((at - EPOCH) / dt.timedelta(minutes=1)) * 60_000_000_000, lots, price / TICK_SIZE)
        for at, lots, price in strategies[0].fills
    ]
    return {"seconds": seconds, "fills": fills, "pnl": brain.broker.getvalue() - CASH, "orders": len(fills)}


serve({"bars": bars}, bt.__version__)
