"""A stream of quotes and trades through hftbacktest: a compiled loop that takes every row, and one that does nothing.

A quote becomes two to four events of its layout (levels of a book), so its own count of events is higher than ours.
"""

import hftbacktest
import numpy as np
from hftbacktest import (
    BUY_EVENT,
    DEPTH_EVENT,
    EXCH_EVENT,
    LOCAL_EVENT,
    SELL_EVENT,
    TRADE_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
)
from hftbacktest.types import event_dtype
from numba import njit
from protocol import TICK_SIZE, load, serve, timed

ROWS = load("rows")


def events():
    """The rows in its layout: a price level that the best bid or ask leaves is set to nothing, the new one to its size."""
    is_trade = ROWS[:, 1] == 1
    both = int(EXCH_EVENT) | int(LOCAL_EVENT)
    woven = np.zeros((len(ROWS), 4), event_dtype)  # Old bid, old ask, new bid (or the trade), new ask.
    woven["exch_ts"] = woven["local_ts"] = ROWS[:, :1]
    keep = np.zeros(woven.shape, bool)
    quotes = np.flatnonzero(~is_trade)
    for side, flag in ((0, int(BUY_EVENT)), (1, int(SELL_EVENT))):
        prices = ROWS[quotes, 2 + side]
        before = np.concatenate((prices[:1], prices[:-1]))
        for place, level, size in ((side, before, 0.0), (2 + side, prices, 20.0)):
            woven["ev"][quotes, place] = both | int(DEPTH_EVENT) | flag
            woven["px"][quotes, place] = level * TICK_SIZE
            woven["qty"][quotes, place] = size
            keep[quotes, place] = True
        keep[quotes, side] = prices != before
    trades = np.flatnonzero(is_trade)
    aggressor = np.where(ROWS[trades, 6] == 1, int(BUY_EVENT), int(SELL_EVENT))
    woven["ev"][trades, 2] = both | int(TRADE_EVENT) | aggressor
    woven["px"][trades, 2] = ROWS[trades, 4] * TICK_SIZE
    woven["qty"][trades, 2] = ROWS[trades, 5]
    keep[trades, 2] = True
    return woven[keep]


EVENTS = events()


@njit
def every_row(backtest):
    """Wake at every row of the feed, as a strategy on ticks would."""
    count = 0
    total = 0.0
    while True:
        code = backtest.wait_next_feed(True, 1_000_000_000_000_000)
        if code != 2 and code != 3:  # Neither data nor an order's answer: the stream is over.
            break
        count += 1
        total += backtest.depth(0).best_bid
    return (-1 if total == 0.0 else count), backtest.depth(0).best_bid


@njit
def five_minutes(backtest):
    """Wake every five minutes and look at the book."""
    count = 0
    total = 0.0
    while backtest.elapse(300_000_000_000) == 0:
        count += 1
        total += backtest.depth(0).best_bid
    return (count if total > 0.0 else -1), backtest.depth(0).best_bid


def job(loop):
    """One run of ``loop``."""

    def run():
        asset = (
            BacktestAsset()
            .data(EVENTS)
            .linear_asset(20.0)
            .constant_order_latency(0, 0)
            .risk_adverse_queue_model()
            .no_partial_fill_exchange()
            .trading_qty_fee_model(2.25, 2.25)
            .tick_size(TICK_SIZE)
            .lot_size(1.0)
        )
        backtest = HashMapMarketDepthBacktest([asset])
        seconds, (count, bid) = timed(lambda: loop(backtest))
        backtest.close()
        expected = ROWS[ROWS[:, 1] == 0][-1, 2] * TICK_SIZE
        if bid != expected:
            raise SystemExit(f"found best bid {bid} at the end, expected {expected}")
        return {"seconds": seconds, "rows": len(ROWS), "events": len(EVENTS), "seen": count}

    return run


serve({"rows": job(every_row), "rows_five_minutes": job(five_minutes)}, hftbacktest.__version__)
