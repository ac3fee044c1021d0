"""The moving-average cross in backtesting.py: a question as JSON on standard input, its trades as JSON on standard output.

Runs in that library's own environment and imports nothing of this project. ``tests/e2e/test_peer_backtesting.py`` asks.
"""

import json
import sys
import warnings

import pandas as pd
from backtesting import Backtest, Strategy

warnings.filterwarnings(
    "ignore"
)  # Its statistics' deprecations, and that a position stays open at the end, as ours does.


def main():
    """One run."""
    asked = json.load(sys.stdin)
    size, units, fast, slow = asked["tick_size"], asked["units"], asked["fast"], asked["slow"]
    opened, *prices = zip(*asked["bars"], strict=True)
    frame = pd.DataFrame(
        dict(zip(("Open", "High", "Low", "Close"), ([p * size for p in column] for column in prices), strict=True)),
        index=pd.to_datetime(list(opened), utc=True),
    )
    # Sums of whole ticks: the means of floating-point prices can tie or not tie by a rounding.
    closes = pd.Series(prices[3])
    lead = (closes.rolling(fast).sum() * slow - closes.rolling(slow).sum() * fast).to_numpy()

    class Cross(Strategy):
        """Long above, short below, as before on a tie."""

        def init(self):
            self.target = 0

        def next(self):
            now = lead[len(self.data) - 1]
            target = 1 if now > 0 else -1 if now < 0 else self.target  # Not known yet, or a tie: as before.
            if target != self.target:
                self.target = target
                self.position.close()
                (self.buy if target > 0 else self.sell)(size=units)

    def commission(lots, price):
        return abs(lots) / units * asked["fee"]

    stats = Backtest(frame, Cross, cash=1e9, commission=commission, finalize_trades=False).run()
    trades = [
        {
            "entry_bar": int(trade.EntryBar),
            "exit_bar": int(trade.ExitBar),
            "size": int(trade.Size),
            "entry_price": float(trade.EntryPrice),
            "exit_price": float(trade.ExitPrice),
            "pnl": float(trade.PnL),
        }
        for trade in stats["_trades"].itertuples()
    ]
    json.dump({"trades": trades, "equity": float(stats["Equity Final [$]"])}, sys.stdout)


main()
