"""The orders of ``venue_fills.py`` through hftbacktest: ``fills_hftbacktest.py FOLDER MODEL`` writes what filled as ``fills.npy``.

MODEL is ``l3``: its queue of named orders, which fills an order whole or not at all, or ``l2``: its most careful queue on price levels, with
partial fills. It knows no stops. Its orders do not meet each other, and take nothing from the book.
"""

import sys
from pathlib import Path

import numpy as np
from hftbacktest import (
    BUY_EVENT,
    DEPTH_EVENT,
    EXCH_EVENT,
    GTC,
    LIMIT,
    LOCAL_EVENT,
    MARKET,
    SELL_EVENT,
    TRADE_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
)
from hftbacktest.types import (
    ADD_ORDER_EVENT,
    CANCEL_ORDER_EVENT,
    DEPTH_CLEAR_EVENT,
    FILL_EVENT,
    MODIFY_ORDER_EVENT,
    event_dtype,
)
from numba import njit

FOLDER, MODEL = Path(sys.argv[1]), sys.argv[2]
TICK = 0.25
KINDS = {
    "A": ADD_ORDER_EVENT, "C": CANCEL_ORDER_EVENT, "M": MODIFY_ORDER_EVENT, "R": DEPTH_CLEAR_EVENT, "T": TRADE_EVENT, "F": FILL_EVENT,
}  # fmt: skip


def named_events():
    """The messages one for one."""
    rows = np.load(FOLDER / "messages.npy")
    events = np.zeros(len(rows), event_dtype)
    for letter, kind in KINDS.items():
        events["ev"][rows["action"] == ord(letter)] = int(kind)
    events["ev"] |= np.where(rows["side"] == ord("B"), int(BUY_EVENT), 0).astype(np.uint64)
    events["ev"] |= np.where(rows["side"] == ord("A"), int(SELL_EVENT), 0).astype(np.uint64)
    events["px"] = np.where(rows["price"] == 2**63 - 1, np.nan, rows["price"] * TICK)
    events["qty"], events["order_id"] = rows["size"], rows["order_id"]
    events["exch_ts"] = events["local_ts"] = rows["ts_init"]
    return events


def level_events():
    """Price levels as they change, and trades."""
    rows = np.load(FOLDER / "levels.npy")
    events = np.zeros(len(rows), event_dtype)
    kind = np.where(rows["is_trade"] == 1, int(TRADE_EVENT), int(DEPTH_EVENT))
    events["ev"] = kind | np.where(rows["side"] > 0, int(BUY_EVENT), int(SELL_EVENT))
    events["px"], events["qty"] = rows["price"] * TICK, rows["size"]
    events["exch_ts"] = events["local_ts"] = rows["ts"]
    return events


@njit
def play(backtest, times, what, number, sides, kinds, prices, lots, fills):
    """Send and cancel at ``times``; a row (order, ts, price in units, lots) of ``fills`` for every fill."""
    count = 0
    open_orders = np.zeros(len(sides), np.int64)
    left = lots.copy()
    waiting = 0
    place = 0
    backtest.elapse(1)  # Its clock stands nowhere before.
    while True:
        while place < len(times) and times[place] <= backtest.current_timestamp:
            k = number[place]
            if what[place] == 0:
                kind = LIMIT if kinds[k] == 0 else MARKET
                if sides[k] > 0:
                    backtest.submit_buy_order(0, k + 1, prices[k], lots[k], GTC, kind, False)
                else:
                    backtest.submit_sell_order(0, k + 1, prices[k], lots[k], GTC, kind, False)
                open_orders[waiting] = k
                waiting += 1
            else:
                found = backtest.orders(0).get(k + 1)
                if found is not None and found.cancellable:
                    backtest.cancel(0, k + 1, False)
            place += 1
        timeout = 10**12 if place == len(times) else times[place] - backtest.current_timestamp
        code = backtest.wait_next_feed(True, timeout)
        if code != 0 and code != 2 and code != 3:
            break
        if code != 3:
            continue
        kept = 0
        for j in range(waiting):
            k = open_orders[j]
            order = backtest.orders(0).get(k + 1)
            if order is None:
                continue
            if order.exec_qty > 0 and left[k] - order.leaves_qty > 0.5:
                fills[count] = (
                    k,
                    order.exch_timestamp,
                    round(order.exec_price / 0.25),
                    round(left[k] - order.leaves_qty),
                )
                count += 1
                left[k] = order.leaves_qty
            if order.status == 1 or order.status == 5 or order.status == 0:
                open_orders[kept] = k
                kept += 1
        waiting = kept
    return count


def main():
    """Play the orders that it knows."""
    orders = np.load(FOLDER / "orders.npy")
    data = level_events() if MODEL == "l2" else named_events()
    data["ev"] |= int(EXCH_EVENT) | int(LOCAL_EVENT)
    asset = BacktestAsset().data(data).linear_asset(50.0).constant_order_latency(0, 0)
    asset = asset.tick_size(TICK).lot_size(1.0).flat_per_trade_fee_model(0.0, 0.0)
    if MODEL == "l2":
        asset = asset.risk_adverse_queue_model().no_partial_fill_exchange()
    else:
        asset = asset.l3_fifo_queue_model().no_partial_fill_exchange()
    backtest = HashMapMarketDepthBacktest([asset])
    known = np.flatnonzero(orders["kind"] < 2)
    times = np.concatenate((orders["ts"][known], orders["expire"][known]))
    what = np.repeat((0, 1), len(known))
    order = np.lexsort((what, times))
    fills = np.zeros((10**6, 4), np.int64)
    price = np.where(orders["kind"] == 0, orders["price"], np.where(orders["side"] > 0, 10**5, 1)) * TICK
    count = play(
        backtest, times[order], what[order], np.concatenate((known, known))[order], orders["side"], orders["kind"], price,
        orders["lots"].astype(np.float64), fills,
    )  # fmt: skip
    np.save(FOLDER / "fills.npy", fills[:count])


main()
