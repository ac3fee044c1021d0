"""Both jobs in nautilus_trader.

Bars: a market order given at a bar's close fills at once, at that close: with bars alone its book is made from the bar that
has just ended. So its fills lie one bar before ours.
"""

from decimal import Decimal

import nautilus_trader
import numpy as np
import pandas as pd
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import PerContractFeeModel
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, AssetClass, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import FuturesContract
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler, QuoteTickDataWrangler, TradeTickDataWrangler
from nautilus_trader.trading.strategy import Strategy
from protocol import CASH, FAST, FEE, HALF_HOUR_NS, MULTIPLIER, SLOW, TICK_SIZE, load, serve, timed

VENUE = Venue("XCME")
NQ = FuturesContract(
    instrument_id=InstrumentId(Symbol("NQ"), VENUE),
    raw_symbol=Symbol("NQ"),
    asset_class=AssetClass.INDEX,
    currency=USD,
    price_precision=2,
    price_increment=Price.from_str("0.25"),
    multiplier=Quantity.from_int(MULTIPLIER),
    lot_size=Quantity.from_int(1),
    underlying="NQ",
    activation_ns=0,
    expiration_ns=4_000_000_000_000_000_000,
    ts_event=0,
    ts_init=0,
    margin_init=Decimal(0),
    margin_maint=Decimal(0),
)
BAR_TYPE = BarType.from_str("NQ.XCME-30-MINUTE-LAST-EXTERNAL")


class Cross(Strategy):
    """Long above, short below, as before on a tie."""

    def __init__(self):
        super().__init__(StrategyConfig())
        self.fast, self.slow = SimpleMovingAverage(FAST), SimpleMovingAverage(SLOW)
        self.target = 0
        self.fills = []

    def on_start(self):
        """Bars and both averages."""
        self.register_indicator_for_bars(BAR_TYPE, self.fast)
        self.register_indicator_for_bars(BAR_TYPE, self.slow)
        self.subscribe_bars(BAR_TYPE)

    def on_bar(self, bar):
        """Turn where the averages have: an exit and an entry."""
        if not self.slow.initialized:
            return
        lead = self.fast.value - self.slow.value
        target = 1 if lead > 0 else -1 if lead < 0 else self.target
        if target == self.target:
            return
        side = OrderSide.BUY if target > 0 else OrderSide.SELL
        for _ in range(2 if self.target else 1):
            self.submit_order(self.order_factory.market(NQ.id, side, Quantity.from_int(1)))
        self.target = target

    def on_order_filled(self, event):
        """Keep what was done."""
        lots = int(event.last_qty) * (1 if event.order_side == OrderSide.BUY else -1)
        self.fills.append((event.ts_event, lots, float(event.last_px)))


class Reader(Strategy):
    """Takes every quote and trade, and does nothing with them."""

    def __init__(self):
        super().__init__(StrategyConfig())
        self.seen = 0

    def on_start(self):
        """Both streams."""
        self.subscribe_quote_ticks(NQ.id)
        self.subscribe_trade_ticks(NQ.id)

    def on_quote_tick(self, tick):
        """Count."""
        self.seen += 1

    def on_trade_tick(self, tick):
        """Count."""
        self.seen += 1


def bar_objects():
    """The bars as its own objects, stamped at their close."""
    bars = load("bars")
    frame = pd.DataFrame(
        bars[:, 1:5] * TICK_SIZE,
        columns=["open", "high", "low", "close"],
        index=pd.to_datetime(bars[:, 0] + HALF_HOUR_NS, utc=True),
    )
    frame["volume"] = np.maximum(bars[:, 5], 1).astype(float) + 10.0
    return BarDataWrangler(BAR_TYPE, NQ).process(frame)


def tick_objects():
    """Quotes and trades as its own objects, in order of time."""
    rows = load("rows")
    is_trade = rows[:, 1] == 1
    quotes, trades = rows[~is_trade], rows[is_trade]
    frame = pd.DataFrame(
        {
            "bid_price": quotes[:, 2] * TICK_SIZE,
            "ask_price": quotes[:, 3] * TICK_SIZE,
            "bid_size": 20.0,
            "ask_size": 20.0,
        },
        index=pd.to_datetime(quotes[:, 0], utc=True),
    )
    made = QuoteTickDataWrangler(NQ).process(frame)
    frame = pd.DataFrame(
        {
            "price": trades[:, 4] * TICK_SIZE,
            "quantity": trades[:, 5].astype(float),
            "buyer_maker": trades[:, 6] == 0,
            "trade_id": np.arange(len(trades)).astype(str),
        },
        index=pd.to_datetime(trades[:, 0], utc=True),
    )
    made += TradeTickDataWrangler(NQ).process(frame)
    return sorted(made, key=lambda tick: tick.ts_init)


OBJECTS = {}


def engine_run(make, data):
    """CPU seconds of the run alone, the strategy and the money at its end."""
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    engine.add_venue(
        VENUE,
        OmsType.NETTING,
        AccountType.MARGIN,
        [Money(CASH, USD)],
        base_currency=USD,
        fee_model=PerContractFeeModel(Money(FEE, USD)),
    )
    engine.add_instrument(NQ)
    engine.add_data(data)
    strategy = make()
    engine.add_strategy(strategy)
    seconds, _ = timed(engine.run)
    cash = engine.portfolio.account(VENUE).balance_total(USD).as_double()
    open_money = engine.portfolio.unrealized_pnls(VENUE).get(USD)
    fills = getattr(strategy, "fills", None)
    seen = getattr(strategy, "seen", 0)
    engine.dispose()
    return seconds, fills, cash - CASH, 0.0 if open_money is None else open_money.as_double(), seen


def bars():
    """One run of the cross."""
    data = OBJECTS.setdefault("bars", None) or bar_objects()
    OBJECTS["bars"] = data
    seconds, fills, gain, open_money, _ = engine_run(Cross, data)
    filled = [(at - HALF_HOUR_NS, lots, price / TICK_SIZE) for at, lots, price in fills]
    return {"seconds": seconds, "fills": filled, "pnl": gain + open_money, "orders": len(filled)}


def rows():
    """One run over quotes and trades."""
    data = OBJECTS.setdefault("rows", None) or tick_objects()
    OBJECTS["rows"] = data
    seconds, _, _, _, seen = engine_run(Reader, data)
    return {"seconds": seconds, "rows": len(data), "events": len(data), "seen": seen}


serve({"bars": bars, "rows": rows}, nautilus_trader.__version__)
