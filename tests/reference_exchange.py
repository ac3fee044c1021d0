"""A slow, plain simulated venue: the oracle that the compiled one is held against.

Lists and loops, one order after the other, for bars and for trades and quotes (the order book has tests of its own). It knows the rules
from ``docs/reference/order-types.md`` and shares neither code nor the table of order types with the venue. ``drive`` feeds a script of rows and
requests to it, ``drive_compiled`` feeds the same script to the real one; both give the same list of reports.
"""

from dataclasses import dataclass, field

import msgspec
import numpy as np

from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Flag, schema_of
from grandmodel.domain.orders import CancelOrder, ExecType, OrderType, ReplaceOrder, TimeInForce
from grandmodel.domain.report_rows import REPORT, report_of
from grandmodel.domain.time import NEVER_NS
from grandmodel.runtime.market_step import MarketStep, Stop
from grandmodel.simulation.exchange import SimulatedExchange, due_count, hand_out
from grandmodel.simulation.models import FillRuleName, LiquidityName
from grandmodel.simulation.state import SlotState

NONE = None
SOMEWHERE = 10**15
"""Lots ahead of an order whose level shows no size."""

STOPS = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)
TOUCHED = (OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED)
BECOME_LIMITS = (OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED)
TAKERS = (OrderType.MARKET, OrderType.MARKET_TO_LIMIT)

SHOWN_AS_NOTHING = 2**31 - 1
"""Lots at a price whose feed gives no sizes."""


@dataclass(frozen=True)
class Said:
    """One report, with everything that a venue says."""

    number: int
    order_id: int
    kind: str
    ts_event: int
    ts_init: int
    lots: int = 0
    price: int = 0
    leaves: int = 0
    filled: int = 0
    maker: bool = False
    reason: str = ""
    arrival: object = NONE
    """Of a fill of a market order: what stood in the market when it arrived, and which price that is."""


@dataclass
class Held:
    """One order at the venue."""

    order: object
    instrument: int
    kind: OrderType
    quantity: int
    price: int
    stop: object
    """The trigger; None for a trailing stop that has seen no price yet."""
    arrives: int
    expires: int
    report_ns: int
    slippage: int
    state: str  # coming, live, armed (a stop that waits), asleep (a bracket's child), gone
    sent: int
    cancel_at: int = NEVER_NS
    change_at: int = NEVER_NS
    change: object = None
    filled: int = 0
    reduced: int = 0
    woken: int = 0
    ahead: int = 0
    resting: bool = False
    born_in: int = -1
    shut: bool = False
    triggered: bool = False
    arrival: object = NONE
    shown: int = 0

    @property
    def trail(self):
        return self.order.trail_ticks

    @property
    def waits(self):
        return self.kind in STOPS + TOUCHED

    def is_reached(self, price):
        """True where ``price`` starts the waiting order: a stop when it goes against its side, an if-touched order the other way."""
        if self.stop is None:
            return False
        buys_above = (self.side > 0) == (self.kind in STOPS)
        return price >= self.stop if buys_above else price <= self.stop

    def follow(self, price):
        """A trailing stop keeps its distance from the best price seen, and never steps back."""
        if self.kind is OrderType.TRAILING_STOP:
            wished = price + self.trail * self.side
            if self.stop is None:
                self.stop = wished
            else:
                self.stop = min(self.stop, wished) if self.side > 0 else max(self.stop, wished)

    @property
    def side(self):
        return int(self.order.side)

    @property
    def immediate(self):
        return self.order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)

    @property
    def leaves(self):
        if self.shut:
            return 0
        most = self.quantity if self.order.parent is None else min(self.quantity, self.woken)
        return max(0, most - self.filled - self.reduced)


@dataclass
class Market:
    bid: object = NONE
    ask: object = NONE
    bid_size: int = 0
    ask_size: int = 0
    last: object = NONE
    mark: object = NONE
    trades: int = 0
    quotes: int = 0
    feed: str = ""
    halted: bool = False
    position: int = 0


@dataclass
class ReferenceExchange:
    settings: object
    schedules: list
    names: list
    seed: int
    orders: list = field(default_factory=list)
    said: list = field(default_factory=list)
    now: int = -(2**63)
    last_due: int = 0
    last_id: int = 0

    def __post_init__(self):
        self.markets = [Market() for _ in self.names]
        self.generator = np.random.Generator(np.random.PCG64(self.seed))

    # Requests.

    def submit(self, order):
        arrives = order.ts + self.settings.latency.order_ns(self.generator)
        report_ns = self.settings.latency.report_ns(self.generator)
        slippage = self.settings.slippage.slippage_ticks(order, self.generator)
        instrument = self.names.index(order.instrument)
        self.orders.append(
            Held(
                order=order,
                instrument=instrument,
                kind=order.order_type,
                quantity=order.quantity,
                price=order.price or 0,
                stop=None if order.order_type is OrderType.TRAILING_STOP else order.stop_price or 0,
                arrives=arrives,
                expires=self.expiry(order, instrument),
                report_ns=report_ns,
                slippage=slippage,
                state="asleep" if order.parent else "coming",
                sent=order.ts,
                shown=order.display_quantity,
            )
        )
        self.last_id = order.order_id

    def cancel(self, request):
        arrives = request.ts + self.settings.latency.order_ns(self.generator)
        held = self.find(request.order_id)
        if held is None:
            self.refuse(request.order_id, arrives)
        else:
            held.cancel_at = min(held.cancel_at, arrives)

    def replace(self, request):
        arrives = request.ts + self.settings.latency.order_ns(self.generator)
        held = self.find(request.order_id)
        if held is None:
            self.refuse(request.order_id, arrives)
        else:
            held.change_at = arrives
            held.change = request

    def find(self, order_id):
        found = [held for held in self.orders if held.order.order_id == order_id and held.state != "gone"]
        return found[0] if found else None

    def refuse(self, order_id, ts):
        due = max(ts + self.settings.latency.report_ns(self.generator), self.now, self.last_due)
        self.last_due = due
        reason = "too_late" if order_id <= self.last_id else "unknown_order"
        self.said.append(Said(len(self.said) + 1, order_id, "9", ts, due, reason=reason))

    def expiry(self, order, instrument):
        if order.time_in_force is TimeInForce.GTD:
            return order.expire_ts
        if order.time_in_force is not TimeInForce.DAY:
            return NEVER_NS
        schedule = self.schedules[instrument]
        days = [int(day) for day, close in zip(schedule.day_ns, schedule.close_ns, strict=True) if close > order.ts]
        if not days:
            return NEVER_NS
        return max(int(c) for c, d in zip(schedule.close_ns, schedule.day_ns, strict=True) if d == days[0])

    # Time and market data.

    def due(self):
        times = [NEVER_NS]
        for held in self.orders:
            if held.state == "coming":
                times += [held.arrives, held.expires]
            elif held.state != "gone":
                times += [held.expires, held.cancel_at, held.change_at]
        return min(times)

    def run_until(self, limit):
        while self.due() <= limit:
            ts = self.due()
            self.now = max(self.now, ts)
            for held in self.orders:
                if held.state != "gone" and held.expires <= ts:
                    day = held.order.time_in_force is TimeInForce.DAY
                    self.end(held, "C", "session_close" if day else "good_till_date", ts)
            for held in self.orders:
                if held.state not in ("gone", "coming") and held.cancel_at <= ts:
                    self.end(held, "4", "asked", ts)
            for held in self.orders:
                if held.state not in ("gone", "coming") and held.change_at <= ts:
                    self.apply_change(held, ts)
            for held in self.orders:
                if held.state == "coming" and held.arrives <= ts:
                    self.arrive(held, ts)

    def on_tick(self, row):
        ts = int(row["ts_init"])
        self.run_until(ts)
        self.now = ts
        market = self.markets[int(row["instrument"])]
        market.feed = "ticks"
        if row["action"] == Action.TRADE:
            market.trades += 1
            market.last = market.mark = int(row["price"])
            if not market.halted:
                self.on_trade(int(row["instrument"]), int(row["price"]), int(row["size"]), ts)
            if row["bid_price"] != UNDEFINED_PRICE or row["ask_price"] != UNDEFINED_PRICE:
                self.on_quote(row, market, ts)
        elif row["action"] == Action.QUOTE:
            market.quotes += 1
            if not row["flags"] & Flag.CROSSED:
                self.on_quote(row, market, ts)
        elif row["action"] == Action.HALT:
            market.halted = True
        elif row["action"] == Action.RESUME:
            market.halted = False

    def on_quote(self, row, market, ts):
        market.bid = NONE if row["bid_price"] == UNDEFINED_PRICE else int(row["bid_price"])
        market.ask = NONE if row["ask_price"] == UNDEFINED_PRICE else int(row["ask_price"])
        market.bid_size, market.ask_size = (int(row[name]) or SHOWN_AS_NOTHING for name in ("bid_size", "ask_size"))
        if market.halted:
            return
        for held in self.mine(int(row["instrument"])):
            other, own = (market.ask, market.bid) if held.side > 0 else (market.bid, market.ask)
            if held.state == "armed":
                if market.trades == 0 and other is not NONE and self.starts(held, other, ts):
                    self.take(held, ts)
            elif held.state == "live" and held.kind in TAKERS:
                self.take(held, ts)
            elif held.state == "live":
                if other is not NONE and (held.price - other) * held.side >= 0:
                    most = self.seen(held) if other == held.price else SOMEWHERE
                    lots = self.gets(held, market.ask_size if held.side > 0 else market.bid_size, ts, most)
                    if lots:
                        self.use(market, held.side, lots)
                        self.fill(held, lots, held.price, ts, maker=True)
                        self.show_anew(held, lots)
                elif self.settings.fill_rule is FillRuleName.QUEUE:
                    if own is NONE or (held.price - own) * held.side > 0:
                        held.ahead = 0
                    elif own == held.price:
                        held.ahead = min(held.ahead, market.bid_size if held.side > 0 else market.ask_size)

    def on_trade(self, instrument, price, size, ts):
        left = size
        rule = self.settings.fill_rule
        for held in self.mine(instrument):
            if held.state == "armed":
                if self.starts(held, price, ts):
                    self.take(held, ts)
            elif held.state == "live" and held.kind in TAKERS:
                self.take(held, ts)
            elif held.state == "live":
                beyond = (held.price - price) * held.side
                available = 0
                if beyond > 0 or (beyond == 0 and rule is FillRuleName.TOUCH):
                    available = left
                elif beyond == 0 and rule is FillRuleName.QUEUE:
                    available = max(0, left - held.ahead)
                    held.ahead = max(0, held.ahead - left)
                most = self.seen(held) if beyond == 0 else SOMEWHERE
                lots = self.gets(held, available, ts, most) if available > 0 else 0
                if lots:
                    if self.settings.liquidity is LiquidityName.DISPLAYED:
                        left -= lots
                    self.fill(held, lots, held.price, ts, maker=True)
                    self.show_anew(held, lots)

    def on_bar(self, bar):
        ts, opened = int(bar["ts_init"]), int(bar["ts_open"])
        self.run_until(ts - 1)
        self.now = ts
        instrument = int(bar["instrument"])
        market = self.markets[instrument]
        market.feed = "bars"
        market.mark = int(bar["close"])
        if bar["flags"] & Flag.HALTED:
            return
        self.budget = 10**15
        if self.settings.participation_ppm > 0 and bar["volume"] >= 0:
            self.budget = int(bar["volume"]) * self.settings.participation_ppm // 1_000_000
        for held in self.mine(instrument):
            if held.sent <= opened:
                self.at_the_open(held, int(bar["open"]), opened, ts)
        self.stops_inside(instrument, bar, born_inside=False)
        for held in self.mine(instrument):
            if held.sent > opened:
                continue
            reached = int(bar["low"] if held.side > 0 else bar["high"])
            if held.state == "armed" and held.kind in TOUCHED and held.is_reached(reached):
                self.trigger(held, ts)
                self.fill_as_started(held, held.stop, ts)
            if held.state != "live" or held.kind is not OrderType.LIMIT:
                continue
            beyond = (held.price - reached) * held.side
            if beyond > 0:
                self.fill_in_bar(held, held.price, ts, ts, ts, maker=True)
            elif beyond == 0 and self.settings.fill_rule is FillRuleName.TOUCH:
                most = held.order.display_quantity or SOMEWHERE
                self.fill_in_bar(held, held.price, ts, ts, ts, maker=True, most=most)
        self.stops_inside(instrument, bar, born_inside=True)
        for held in self.mine(instrument):
            if held.state == "armed" and held.kind is OrderType.TRAILING_STOP:
                self.trail_over(held, bar)
        for held in self.mine(instrument):
            if held.state == "live" and held.kind is OrderType.LIMIT:
                held.resting = True

    def at_the_open(self, held, price, opened, closed):
        if held.state == "armed":
            if held.is_reached(price):
                was_stop = held.kind in STOPS
                self.trigger(held, opened)
                if was_stop and held.kind is OrderType.LIMIT and (held.price - price) * held.side < 0:
                    held.sent = closed
            else:
                held.follow(price)
        if held.state != "live":
            return
        if held.sent <= opened:
            if held.kind in TAKERS:
                paid = self.not_better_than_trigger(held, price) + held.slippage * held.side
                self.fill_in_bar(held, paid, opened, opened, closed, maker=False)
                self.leave_limit(held, paid)
            elif (held.price - price) * held.side >= 0:
                self.fill_in_bar(held, price, opened, opened, closed, maker=held.resting)
        if held.state == "live" and held.immediate:
            self.end(held, "4", "not_fillable", opened)

    def stops_inside(self, instrument, bar, *, born_inside):
        ts = int(bar["ts_init"])
        for held in self.mine(instrument):
            if held.state != "armed" or held.kind in TOUCHED:
                continue
            born = held.born_in == ts
            if (born_inside and not born) or (not born and held.sent > int(bar["ts_open"])):
                continue
            reached = int(bar["high"] if held.side > 0 else bar["low"])
            if not held.is_reached(reached):
                continue
            self.trigger(held, ts)
            if held.kind is OrderType.LIMIT and (held.price - held.stop) * held.side < 0:
                held.sent = ts
            self.fill_as_started(held, held.stop, ts)

    def fill_as_started(self, held, price, ts):
        """Fill an order that started inside a bar at ``price``, where its limit lets it."""
        if held.kind is OrderType.MARKET:
            self.fill_in_bar(held, price + held.slippage * held.side, ts, ts, ts, maker=False)
        elif (held.price - price) * held.side >= 0:
            self.fill_in_bar(held, price, ts, ts, ts, maker=False)
        if held.state == "live" and held.immediate:
            self.end(held, "4", "not_fillable", ts)

    def trail_over(self, held, bar):
        """A bar has closed: the trigger follows it, and has been passed where the close lies beyond it."""
        ts, close = int(bar["ts_init"]), int(bar["close"])
        if held.sent > int(bar["ts_open"]):
            held.follow(close)
            return
        best, worst = ("low", "high") if held.side > 0 else ("high", "low")
        held.follow(int(bar[best]))
        if held.is_reached(close):
            self.trigger(held, ts)
            self.fill_as_started(held, int(bar[worst]), ts)

    # What happens to one order.

    def mine(self, instrument):
        return [held for held in self.orders if held.instrument == instrument]

    def starts(self, held, price, ts):
        """True where ``price`` starts a waiting order; else a trailing one follows it."""
        if held.is_reached(price):
            self.trigger(held, ts)
            return True
        held.follow(price)
        return False

    @staticmethod
    def seen(held):
        """What the others see of an order."""
        return held.shown if held.order.display_quantity else SOMEWHERE

    def show_anew(self, held, lots):
        """An iceberg whose shown part is gone stands at the back of the queue with the next."""
        if held.order.display_quantity and held.state == "live":
            held.shown -= lots
            if held.shown <= 0:
                self.join(held)

    @staticmethod
    def leave_limit(held, price):
        if held.kind is OrderType.MARKET_TO_LIMIT and held.filled:
            held.kind = OrderType.LIMIT
            held.price = price

    def gets(self, held, available, ts, most=SOMEWHERE):
        lots = min(most, self.closable(held, ts))
        return lots if self.settings.liquidity is LiquidityName.UNLIMITED else min(lots, available)

    def closable(self, held, ts):
        """What is open, or for an order that only reduces what it can close; it ends where that is nothing."""
        if not held.order.reduce_only:
            return held.leaves
        position = self.markets[held.instrument].position
        against = max(0, -position) if held.side > 0 else max(0, position)
        if against == 0:
            self.end(held, "4", "reduce_only", ts)
        return min(held.leaves, against)

    @staticmethod
    def not_better_than_trigger(held, price):
        if not held.triggered:
            return price
        return max(price, held.stop) if held.side > 0 else min(price, held.stop)

    def use(self, market, side, lots):
        if self.settings.liquidity is LiquidityName.UNLIMITED:
            return
        if side > 0:
            market.ask_size = max(0, market.ask_size - lots)
        else:
            market.bid_size = max(0, market.bid_size - lots)

    def arrive(self, held, ts):
        market = self.markets[held.instrument]
        if market.halted and (held.kind in TAKERS or held.immediate):
            self.end(held, "8", "halted", ts)
            return
        held.state = "armed" if held.waits else "live"
        if held.kind in TAKERS:
            other = market.ask if held.side > 0 else market.bid
            if market.feed == "ticks" and other is not NONE:
                held.arrival = ("quote", other)
            elif market.mark is not NONE:
                held.arrival = ("mark", market.mark)
        self.say(held, "0", ts)
        held.change_at = max(held.change_at, ts)
        if held.cancel_at <= ts:
            self.end(held, "4", "asked", ts)
        else:
            self.meet(held, ts)

    def meet(self, held, ts):
        market = self.markets[held.instrument]
        if market.feed != "ticks":
            held.ahead = SOMEWHERE
            if market.mark is not NONE:
                held.follow(market.mark)
        elif market.halted:
            if held.state == "live" and held.kind is OrderType.LIMIT:
                self.join(held)
        else:
            if held.state == "armed":
                seen = market.last if market.trades else (market.ask if held.side > 0 else market.bid)
                if seen is not NONE:
                    self.starts(held, seen, ts)
            if held.state == "live":
                self.take(held, ts)

    def take(self, held, ts):
        market = self.markets[held.instrument]
        price, size = (market.ask, market.ask_size) if held.side > 0 else (market.bid, market.bid_size)
        if price is NONE and not market.quotes:
            price, size = market.last, held.leaves
        lots = 0
        if price is not NONE:
            price = self.not_better_than_trigger(held, price)
        if held.kind is OrderType.LIMIT:
            held.triggered = False
        shown = price is not NONE and not market.halted
        if shown and (held.kind in TAKERS or (held.price - price) * held.side >= 0):
            lots = self.gets(held, size, ts)
        if held.order.time_in_force is TimeInForce.FOK and lots < held.leaves:
            lots = 0
        if lots:
            paid = price + held.slippage * held.side
            if held.kind is OrderType.LIMIT:
                paid = min(paid, held.price) if held.side > 0 else max(paid, held.price)
            self.use(market, held.side, lots)
            self.fill(held, lots, paid, ts, maker=False)
            self.leave_limit(held, paid)
        if held.state == "live":
            if held.immediate:
                self.end(held, "4", "not_fillable", ts)
            elif held.kind is OrderType.LIMIT and not held.resting:
                self.join(held)

    def join(self, held):
        market = self.markets[held.instrument]
        own, size = (market.bid, market.bid_size) if held.side > 0 else (market.ask, market.ask_size)
        other = market.ask if held.side > 0 else market.bid
        held.resting = True
        held.shown = held.order.display_quantity
        if own is NONE:
            held.ahead = SOMEWHERE if other is NONE else 0
        elif (held.price - own) * held.side > 0:
            held.ahead = 0
        else:
            held.ahead = size if own == held.price else SOMEWHERE

    def trigger(self, held, ts):
        held.triggered = held.kind in STOPS
        if held.kind is OrderType.TRAILING_STOP:
            held.arrival = ("trigger", held.stop)
        held.kind = OrderType.LIMIT if held.kind in BECOME_LIMITS else OrderType.MARKET
        held.state = "live"
        self.say(held, "L", ts)

    def fill_in_bar(self, held, price, ts, child_sent, child_born, *, maker, most=SOMEWHERE):
        lots = min(self.closable(held, ts), self.budget, most)
        if held.order.time_in_force is TimeInForce.FOK and lots < held.leaves:
            return
        if lots > 0:
            self.budget -= lots
            self.fill(held, lots, price, ts, maker=maker, child_sent=child_sent, child_born=child_born)

    def fill(self, held, lots, price, ts, *, maker, child_sent=None, child_born=None):
        held.filled += lots
        market = self.markets[held.instrument]
        market.position += lots * held.side
        self.say(held, "F", ts, lots=lots, price=price, maker=maker)
        if held.order.oco_group:
            for other in self.orders:
                if other is held or other.order.oco_group != held.order.oco_group or other.state == "gone":
                    continue
                if other.instrument != held.instrument:
                    continue
                other.reduced += lots
                if other.state != "asleep" and other.leaves == 0:
                    if self.may_wake_again(other):
                        other.state = "asleep"
                    else:
                        self.end(other, "4", "oco", ts)
        for child in self.orders:
            if child.order.parent != held.order.order_id or child.state == "gone":
                continue
            child.woken += lots
            if child.state == "asleep" and child.leaves > 0:
                child.state = "armed" if child.waits else "live"
                child.follow(price)
                child.sent = ts if child_sent is None else child_sent
                child.born_in = ts if child_born is None else child_born
                child.ahead = SOMEWHERE
                child.resting = child.state == "live"
                self.say(child, "0", ts)
        if held.leaves == 0:
            held.state = "asleep" if self.may_wake_again(held) else "gone"
        elif held.order.reduce_only and market.position * held.side >= 0:
            self.end(held, "4", "reduce_only", ts)

    def may_wake_again(self, held):
        if held.order.parent is None or held.quantity <= held.filled + held.reduced:
            return False
        parent = self.find(held.order.parent)
        return parent is not None and parent.leaves > 0

    def end(self, held, kind, reason, ts):
        held.state, held.shut = "gone", True
        self.say(held, kind, ts, reason=reason)
        for child in self.orders:
            if child.order.parent == held.order.order_id and child.state == "asleep":
                child.state, child.shut = "gone", True
                self.say(child, "4", ts, reason="parent")

    def apply_change(self, held, ts):
        before, price_before = held.leaves, held.price
        held.change_at = NEVER_NS
        held.quantity = held.change.quantity
        if held.change.price is not None:
            held.price = held.change.price
        stop = held.change.stop_price
        if stop is not None:
            worse = max(stop, held.stop) if held.side > 0 else min(stop, held.stop)
            held.stop = worse if held.triggered else stop
        if held.quantity <= held.filled + held.reduced:
            self.end(held, "4", "asked", ts)
            return
        self.say(held, "5", ts, leaves=held.quantity - held.filled - held.reduced)
        if held.state != "asleep" and (held.state == "armed" or held.price != price_before or held.leaves > before):
            held.resting = False
            held.sent = ts
            self.meet(held, ts)

    def say(self, held, kind, ts, *, lots=0, price=0, maker=False, reason="", leaves=None):
        due = max(ts + held.report_ns, self.now, self.last_due)
        self.last_due = due
        left = held.leaves if leaves is None else leaves
        number = len(self.said) + 1
        self.said.append(
            Said(
                number,
                held.order.order_id,
                kind,
                ts,
                due,
                lots,
                price,
                left,
                held.filled,
                maker,
                reason,
                held.arrival if lots else NONE,
            )
        )


def drive(script, settings, schedules, instruments, seed=5):
    """Every report of the reference over ``script``: a list of (row, requests made right after it)."""
    venue = ReferenceExchange(settings, list(schedules), [one.id for one in instruments], seed)
    for row, requests in script:
        if "ts_open" in (row.dtype.names or ()):
            venue.on_bar(row)
        else:
            venue.on_tick(row)
        for request in requests:
            _send(venue, replace_ts(request, int(row["ts_init"])))
    venue.run_until(NEVER_NS - 1)
    return venue.said


def drive_compiled(script, settings, schedules, instruments, seed=5, positions=None):
    """The same of the compiled venue, its arrays checked at every stop; ``positions`` takes what it holds ours to be at the end."""
    market = MarketStep(instruments, schedules, (300 * 10**9,), settings, {})
    venue = SimulatedExchange(market, instruments, schedules, settings, seed)
    said = []
    for row, requests in script:
        block = np.array([row], dtype=row.dtype)
        schema = market.begin(block)
        while (stop := market.walk(block, schema_of(block))) is not Stop.END:
            _check_arrays(market)
            _listen(stop, market, said)
        _check_arrays(market)
        assert schema is schema_of(block)
        for request in requests:
            _send(venue, replace_ts(request, int(row["ts_init"])))
    while (stop := market.advance(NEVER_NS - 1)) is not Stop.END:
        _check_arrays(market)
        _listen(stop, market, said)
    _check_arrays(market)
    if positions is not None:
        positions += market.instruments["venue_position"].tolist()
    return said


def _check_arrays(market):
    """The orders that market data can fill are counted right, slots lie in order, and what is no fill tells of none."""
    state = market.step[0]
    slots = market.slots[: int(state["slots"])]
    live = slots[np.isin(slots["state"], (SlotState.WORKING, SlotState.STOPPED))]
    counted = np.bincount(live["instrument"], minlength=len(market.instruments))
    assert market.instruments["active"].tolist() == counted.tolist()
    assert (slots["order_id"][1:] > slots["order_id"][:-1]).all()
    assert (live["leaves"] > 0).all()
    reports = market.reports[int(state["report_head"]) : int(state["report_tail"])]
    is_fill = reports["exec_type"] == ord(ExecType.TRADE.value)
    assert (reports["last_quantity"][is_fill] > 0).all()
    assert np.isin(reports["maker"], (0, 1)).all()
    for name in ("last_quantity", "last_price", "maker"):
        assert not reports[name][~is_fill].any()


def replace_ts(request, ts):
    """The request as made at ``ts``; a GTD time is meant from there."""
    changes = {"ts": ts}
    if getattr(request, "time_in_force", None) is TimeInForce.GTD:
        changes["expire_ts"] = ts + request.expire_ts
    return msgspec.structs.replace(request, **changes)


def _send(venue, request):
    if isinstance(request, CancelOrder):
        venue.cancel(request)
    elif isinstance(request, ReplaceOrder):
        venue.replace(request)
    else:
        venue.submit(request)


def _listen(stop, market, said):
    """Take what is due; nothing is heard before its time or after it."""
    if stop is Stop.REPORTS:
        heard = reports_due(market)
        assert heard
        assert {one.ts_init for one in heard} == {market.now}
        said += [
            Said(
                one.exec_id,
                one.order_id,
                one.exec_type.value,
                one.ts_event,
                one.ts_init,
                one.last_quantity,
                one.last_price,
                one.leaves,
                one.cumulative,
                one.maker,
                one.reason.value,
                NONE if one.arrival_price is None else (one.arrival_reference.value, one.arrival_price),
            )
            for one in heard
        ]


def reports_due(market):
    """The reports of the compiled venue that are due, each handed out once."""
    said = np.zeros(due_count(market.step, market.reports), REPORT)
    hand_out(market.step, market.reports, said, len(said))
    return [report_of(row.tolist()) for row in said]


__all__ = ["Said", "drive", "drive_compiled", "reports_due"]
