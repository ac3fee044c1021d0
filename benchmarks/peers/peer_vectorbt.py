"""The moving-average cross in vectorbt: whole columns at once, no event path.

It fills where it is told to: by default at the signal's own close. Here signals are moved on by one bar and filled at the open. A
turn is one order of two lots; its fee is a column, since a fixed fee is one per order.
"""

import numpy as np
import pandas as pd
import vectorbt as vbt
from protocol import CASH, FAST, FEE, MULTIPLIER, SLOW, TICK_SIZE, load, serve, timed

BARS = load("bars")
INDEX = pd.to_datetime(BARS[:, 0], utc=True)
OPEN = pd.Series(BARS[:, 1] * TICK_SIZE, index=INDEX)
CLOSE = pd.Series(BARS[:, 4] * TICK_SIZE, index=INDEX)


def cross():
    """Targets in lots, known at the close, filled one bar later at the open."""
    fast, slow = vbt.MA.run(CLOSE, FAST).ma, vbt.MA.run(CLOSE, SLOW).ma
    lead = (fast - slow).to_numpy()
    wanted = pd.Series(np.where(lead > 0, 1.0, np.where(lead < 0, -1.0, np.nan)), index=INDEX).ffill()
    held = wanted.shift(1)
    traded = held.fillna(0.0).diff().abs().fillna(0.0)
    size = held.where(traded > 0) * MULTIPLIER
    return vbt.Portfolio.from_orders(
        CLOSE, size, size_type="targetamount", price=OPEN, fixed_fees=traded * FEE, init_cash=CASH, freq="30min"
    )


def bars():
    """One run; the final value is part of the time, since it is computed when asked for."""
    seconds, (portfolio, value) = timed(lambda: ((made := cross()), float(made.value().iloc[-1])))
    records = portfolio.orders.records
    fills = [
        (int(BARS[row, 0]), round((size if side == 0 else -size) / MULTIPLIER), price / TICK_SIZE)
        for row, size, price, side in zip(
            records["idx"].tolist(),
            records["size"].tolist(),
            records["price"].tolist(),
            records["side"].tolist(),
            strict=True,
        )
    ]
    return {"seconds": seconds, "fills": fills, "pnl": value - CASH, "orders": len(fills)}


serve({"bars": bars}, vbt.__version__)
