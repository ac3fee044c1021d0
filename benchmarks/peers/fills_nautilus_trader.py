"""The orders of ``venue_fills.py`` through nautilus_trader: ``fills_nautilus_trader.py FOLDER MODEL`` writes what filled as ``fills.npy``.

MODEL is ``l3``: every message as a change of its order-by-order book, with the trades, or ``l1``: best quotes and trades. Trades fill (``trade_execution``), the fill
model is its own default, and stops look at trades, as ours do. Its orders take nothing from the book, so they do not meet.
"""

import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import BookOrder, OrderBookDelta, QuoteTick, TradeTick
from nautilus_trader.model.enums import (
    AccountType,
    AggressorSide,
    AssetClass,
    BookAction,
    BookType,
    OmsType,
    OrderSide,
    RecordFlag,
    TriggerType,
)
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import FuturesContract
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

FOLDER, MODEL = Path(sys.argv[1]), sys.argv[2]
VENUE = Venue("XCME")
NONE = 2**63 - 1
ES = FuturesContract(
    instrument_id=InstrumentId(Symbol("ES"), VENUE), raw_symbol=Symbol("ES"), asset_class=AssetClass.INDEX, currency=USD, price_precision=2,
    price_increment=Price.from_str("0.25"), multiplier=Quantity.from_int(50), lot_size=Quantity.from_int(1), underlying="ES",
    activation_ns=0, expiration_ns=4_000_000_000_000_000_000, ts_event=0, ts_init=0, margin_init=Decimal(0), margin_maint=Decimal(0),
)  # fmt: skip


def price_of(ticks):
    """A price of so many ticks."""
    return Price(int(ticks) * 0.25, 2)


def trade_of(row, number):
    """A trade, or nothing where no aggressor is named."""
    side = {ord("B"): AggressorSide.BUYER, ord("A"): AggressorSide.SELLER}.get(
        int(row["side"]), AggressorSide.NO_AGGRESSOR
    )
    ts = int(row["ts_init"])
    return TradeTick(
        ES.id, price_of(row["price"]), Quantity.from_int(int(row["size"])), side, TradeId(str(number)), ts, ts
    )


def book_objects():
    """Every message that changes the book, and every trade."""
    known, made = {}, []
    for number, row in enumerate(np.load(FOLDER / "messages.npy")):
        action, name, ts = chr(row["action"]), int(row["order_id"]), int(row["ts_init"])
        flags = RecordFlag.F_LAST if row["flags"] & 1 else 0
        if action == "T":
            made.append(trade_of(row, number))
        elif action == "R":
            known.clear()
            made.append(OrderBookDelta.clear(ES.id, number, ts, ts))
        elif action in "ACM":
            side, size = known.get(name, (OrderSide.BUY if chr(row["side"]) == "B" else OrderSide.SELL, 0))
            size = size - int(row["size"]) if action == "C" else int(row["size"])
            kind = BookAction.DELETE if size <= 0 else BookAction.ADD if name not in known else BookAction.UPDATE
            if kind == BookAction.DELETE and known.pop(name, None) is None:
                continue
            if size > 0:
                known[name] = (side, size)
            order = BookOrder(side, price_of(row["price"]), Quantity.from_int(max(size, 0)), name)
            made.append(OrderBookDelta(ES.id, kind, order, flags, number, ts, ts))
    return made


def quote_objects():
    """Best quotes of both sides, and every trade."""
    made = []
    for number, row in enumerate(np.load(FOLDER / "quotes.npy")):
        ts = int(row["ts_init"])
        if chr(row["action"]) == "T":
            made.append(trade_of(row, number))
        elif row["bid_price"] != NONE and row["ask_price"] != NONE:
            sizes = (Quantity.from_int(int(row[name])) for name in ("bid_size", "ask_size"))
            made.append(QuoteTick(ES.id, price_of(row["bid_price"]), price_of(row["ask_price"]), *sizes, ts, ts))
    return made


class Sender(Strategy):
    """Sends each order at its time, and cancels what is open at its expiry."""

    def __init__(self, orders):
        super().__init__(StrategyConfig())
        self.orders = orders
        self.made, self.places, self.fills = {}, {}, []

    def on_start(self):
        """One alarm an order and moment."""
        for k, order in enumerate(self.orders):
            self.clock.set_time_alert_ns(f"send-{k}", int(order["ts"]), lambda _, k=k: self.send(k))
            self.clock.set_time_alert_ns(f"end-{k}", int(order["expire"]), lambda _, k=k: self.end(k))

    def send(self, k):
        """Order ``k`` goes out."""
        order = self.orders[k]
        side = OrderSide.BUY if order["side"] > 0 else OrderSide.SELL
        lots = Quantity.from_int(int(order["lots"]))
        if order["kind"] == 0:
            made = self.order_factory.limit(ES.id, side, lots, price_of(order["price"]))
        elif order["kind"] == 1:
            made = self.order_factory.market(ES.id, side, lots)
        else:
            made = self.order_factory.stop_market(
                ES.id, side, lots, price_of(order["trigger"]), trigger_type=TriggerType.LAST_PRICE
            )
        self.made[k], self.places[made.client_order_id] = made, k
        self.submit_order(made)

    def end(self, k):
        """Order ``k`` is taken back where it is open."""
        if self.made[k].is_open:
            self.cancel_order(self.made[k])

    def on_order_filled(self, event):
        """Keep what was done."""
        place = self.places[event.client_order_id]
        self.fills.append((place, event.ts_event, round(float(event.last_px) / 0.25), int(event.last_qty)))


def main():
    """One backtest of all orders."""
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    engine.add_venue(
        VENUE, OmsType.NETTING, AccountType.MARGIN, [Money(10**12, USD)], base_currency=USD,
        book_type=BookType.L3_MBO if MODEL == "l3" else BookType.L1_MBP, trade_execution=True, frozen_account=True,
    )  # fmt: skip
    engine.add_instrument(ES)
    engine.add_data(book_objects() if MODEL == "l3" else quote_objects(), sort=False)
    sender = Sender(np.load(FOLDER / "orders.npy"))
    engine.add_strategy(sender)
    engine.run()
    np.save(FOLDER / "fills.npy", np.array(sender.fills, np.int64).reshape(-1, 4))


main()
