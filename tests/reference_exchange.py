"""A slow, plain simulated venue: the oracle that the compiled one is held against.

Lists, dictionaries and loops, one order after the other, for bars, for trades and quotes, and for order books. It knows the rules from
``docs/reference/order-types.md`` and shares neither code nor the table of order types with the venue. ``drive`` feeds a script of rows and
requests to it, ``drive_compiled`` feeds the same script to the real one; both give the same list of reports.
"""

from dataclasses import dataclass, field

import msgspec
import numpy as np

from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, BookSide, Flag, schema_of
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

PRINT_DELAY = 10**9
"""How long after a quote a print may tell of what left it."""
EVENT_SPAN = 10**9
"""How long after its newest message an event ends that nobody ends."""
LEVELS = 128
"""Levels of a book that one order takes at once."""
FOREVER = 2**63 - 1


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
    state: str  # coming, live, armed (a stop that waits), asleep (a bracket's child), answering (gone, a message still comes), gone
    sent: int
    cancel_at: int = NEVER_NS
    changes: list = field(default_factory=list)
    """(when, request), at most four under way."""
    filled: int = 0
    reduced: int = 0
    woken: int = 0
    ahead: int = 0
    before: dict = field(default_factory=dict)
    """In a book: what is left of the orders that stood at its price when it joined."""
    credit: int = 0
    credit_ts: int = 0
    vacant: int = 0
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
    def is_over(self):
        return self.state in ("gone", "answering")

    @property
    def rests(self):
        return self.kind is OrderType.LIMIT and self.resting

    @property
    def change_at(self):
        return self.changes[0][0] if self.changes else NEVER_NS

    @property
    def immediate(self):
        return self.order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)

    @property
    def leaves(self):
        if self.shut:
            return 0
        most = self.quantity if self.order.parent is None else min(self.quantity, self.woken)
        return max(0, most - self.filled - self.reduced)


class Book:
    """The orders of a book by id, in order of arrival at their price."""

    def __init__(self):
        self.orders = {}
        self.is_known = False

    def at(self, which, price):
        return {number: one[2] for number, one in self.orders.items() if one[:2] == (which, price)}

    def levels(self, which):
        """(price, lots) of one side, best first."""
        sums = {}
        for side, price, size in self.orders.values():
            if side == which:
                sums[price] = sums.get(price, 0) + size
        return sorted(sums.items(), reverse=which == 0)

    def best(self, which):
        levels = self.levels(which)
        return levels[0] if levels else (NONE, 0)

    @property
    def is_crossed(self):
        (bid, _), (ask, _) = self.best(0), self.best(1)
        return bid is not NONE and ask is not NONE and bid >= ask


class Market:
    """What is known of one instrument. Sides are 0 for bids and 1 for asks."""

    def __init__(self, schedule):
        self.sessions = list(zip(schedule.open_ns.tolist(), schedule.close_ns.tolist(), strict=True))
        self.session = -1
        self.opens = self.closes = -(2**63)
        self.opens_next = 0
        self.best = [(NONE, 0), (NONE, 0)]
        self.taken = [{}, {}]
        """What we took of each level that is still there."""
        self.eaten = [0, 0]
        self.gone = [(NONE, 0, 0), (NONE, 0, 0)]
        self.quoted = False
        self.quote_ts = 0
        self.last = self.mark = NONE
        self.trades = self.far = 0
        self.feed = ""
        self.halted = False
        self.position = 0
        self.book = Book()
        self.in_event = self.rejoins = False
        self.admits_at = 0

    @property
    def bid(self):
        return self.best[0][0]

    @property
    def ask(self):
        return self.best[1][0]

    def price(self, which):
        return self.best[which][0]

    def pass_to(self, ts):
        """Find the session that ``ts`` lies in, or the next one."""
        found = max(self.session, 0)
        while found < len(self.sessions) and self.sessions[found][1] <= ts:
            found += 1
        if found == self.session:
            return
        self.session = found
        ended = self.closes
        self.opens, self.closes = self.sessions[found] if found < len(self.sessions) else (FOREVER, FOREVER)
        self.opens_next = self.sessions[found + 1][0] if found + 1 < len(self.sessions) else FOREVER
        if self.opens > ended:
            self.best = [(NONE, 0), (NONE, 0)]
            if self.feed != "book":
                self.taken = [{}, {}]
            self.eaten = [0, 0]
            self.gone = [(NONE, 0, 0), (NONE, 0, 0)]

    def is_closed(self, ts):
        return self.feed in ("ticks", "book") and (
            (self.closes > 0 and ts < self.opens) or 0 < self.closes <= ts < self.opens_next
        )

    def show(self, which, price, size, ts, *, is_told):
        """One side of a quote."""
        sign = 1 if which == 0 else -1
        old, old_size = self.best[which]
        left = 0
        if old is not NONE and price == old:
            left = old_size - self.eaten[which] - size
        elif old is not NONE and (price is NONE or price * sign < old * sign):
            left = old_size - self.eaten[which]
        if left > 0 and self.trades and not is_told:
            at, lots, when = self.gone[which]
            lots = lots if at == old and ts - when <= PRINT_DELAY else 0
            self.gone[which] = (old, lots + left, ts)
        if price is not NONE:
            kept = {at: lots for at, lots in self.taken[which].items() if at * sign <= price * sign}
            kept[price] = min(kept.get(price, 0), size)
            self.taken[which] = kept
        self.best[which] = (price, size)
        self.eaten[which] = 0

    def eat(self, price, size, aggressor, ts):
        """A print that no quote has followed yet."""
        for which in (0, 1):
            if aggressor == (BookSide.BID, BookSide.ASK)[which]:
                continue
            lots = size
            at, gone, when = self.gone[which]
            if at == price and ts - when <= PRINT_DELAY:
                told = min(lots, gone)
                self.gone[which] = (at, gone - told, when)
                lots -= told
            touch, shown = self.best[which]
            if not lots or touch is NONE:
                continue
            if price == touch:
                self.eaten[which] = min(shown, self.eaten[which] + lots)
            elif (price > touch) if which == 1 else (price < touch):
                self.eaten[which] = shown

    def is_far(self, price, ppm, ts):
        if NONE in (self.bid, self.ask) or ts - self.quote_ts > 60 * 10**9 or not ppm:
            return False
        beyond = max(self.bid - price, price - self.ask)
        return beyond > max(0, 10 * (self.ask - self.bid)) and beyond * 10**6 > ppm * abs(self.bid)

    def keep_taken(self):
        """In a book: of a level from which lots have left no more is ours than is there."""
        for which in (0, 1):
            sizes = dict(self.book.levels(which))
            self.taken[which] = {at: min(lots, sizes[at]) for at, lots in self.taken[which].items() if at in sizes}

    def offers(self, which):
        """(price, lots left for us) of one side, best first: all levels of a book, of a quote the one that it shows."""
        if self.feed == "book":
            if self.book.is_crossed:
                return []
            return [
                (price, size - self.taken[which].get(price, 0))
                for price, size in self.book.levels(which)
                if size > self.taken[which].get(price, 0)
            ]
        price, size = self.best[which]
        if price is NONE:
            return []
        return [(price, max(0, size - self.eaten[which] - self.taken[which].get(price, 0)))]

    def take(self, which, price, lots):
        self.taken[which][price] = self.taken[which].get(price, 0) + lots


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
    last_arrival: int = -(2**63)

    def __post_init__(self):
        self.markets = [Market(schedule) for schedule in self.schedules]
        self.generator = np.random.Generator(np.random.PCG64(self.seed))

    @property
    def shows_sizes(self):
        return self.settings.liquidity is LiquidityName.DISPLAYED

    # Requests.

    def submit(self, order):
        arrives = self.arrival(order.ts)
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
        arrives = self.arrival(request.ts)
        held = self.find(request.order_id)
        if held is None:
            self.refuse(request.order_id, arrives)
        else:
            held.cancel_at = min(held.cancel_at, arrives)

    def replace(self, request):
        arrives = self.arrival(request.ts)
        held = self.find(request.order_id)
        if held is None:
            self.refuse(request.order_id, arrives)
        elif len(held.changes) < 4:
            held.changes.append((arrives, request))
        else:
            self.refuse(request.order_id, arrives, "invalid")

    def arrival(self, ts):
        self.last_arrival = max(ts + self.settings.latency.order_ns(self.generator), self.last_arrival)
        return self.last_arrival

    def find(self, order_id):
        found = [held for held in self.orders if held.order.order_id == order_id and not held.is_over]
        return found[0] if found else None

    def refuse(self, order_id, ts, reason=""):
        due = max(ts + self.settings.latency.report_ns(self.generator), self.now, self.last_due)
        self.last_due = due
        reason = reason or ("too_late" if order_id <= self.last_id else "unknown_order")
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

    def admits_at(self, held):
        return self.markets[held.instrument].admits_at

    def due(self):
        times = [NEVER_NS]
        for held in self.orders:
            if held.state == "gone":
                continue
            if held.state == "coming":
                own = min(held.arrives, held.expires)
            elif held.state == "answering":
                own = min(held.cancel_at, held.change_at)
            else:
                own = min(held.expires, held.cancel_at, held.change_at)
            times.append(max(own, self.admits_at(held)))
        return min(times)

    def run_until(self, limit):
        while self.due() <= limit:
            ts = self.due()
            self.now = max(self.now, ts)
            let_in = [held for held in self.orders if self.admits_at(held) <= ts]
            for held in let_in:
                if not held.is_over and held.expires <= ts:
                    day = held.order.time_in_force is TimeInForce.DAY
                    self.end(held, "C", "session_close" if day else "good_till_date", ts)
            for held in let_in:
                if held.state == "answering" and held.cancel_at <= ts:
                    held.cancel_at = NEVER_NS
                    self.answer(held, ts)
                elif not held.is_over and held.state != "coming" and held.cancel_at <= ts:
                    held.cancel_at = NEVER_NS
                    self.end(held, "4", "asked", ts)
            for held in let_in:
                while held.change_at <= ts and held.state not in ("gone", "coming"):
                    if held.state == "answering":
                        held.changes.pop(0)
                        self.answer(held, ts)
                    else:
                        self.apply_change(held, ts)
            for held in let_in:
                if held.state == "coming" and held.arrives <= ts:
                    self.arrive(held, ts)

    def on_tick(self, row):
        ts = int(row["ts_init"])
        self.run_until(ts)
        self.now = ts
        market = self.markets[int(row["instrument"])]
        market.feed = "ticks"
        market.pass_to(ts)
        if row["action"] == Action.TRADE:
            market.trades += 1
            price, size, aggressor = int(row["price"]), int(row["size"]), int(row["side"])
            is_whole = min(row["bid_price"], row["ask_price"]) != UNDEFINED_PRICE
            market.mark = price
            if market.is_far(price, self.settings.far_prints_ppm, ts):
                market.far += 1
            else:
                market.last = price
                if not is_whole:
                    market.eat(price, size, aggressor, ts)
                if not market.halted and ts >= market.opens:
                    self.on_trade(int(row["instrument"]), price, size, aggressor, ts, is_whole=is_whole)
            if is_whole:
                self.on_quote(row, market, ts, is_told=True)
        elif row["action"] == Action.QUOTE:
            if not row["flags"] & Flag.CROSSED:
                self.on_quote(row, market, ts)
        elif row["action"] == Action.HALT:
            market.halted = True
        elif row["action"] == Action.RESUME:
            market.halted = False

    def on_quote(self, row, market, ts, *, is_told=False):
        for which, side in enumerate(("bid", "ask")):
            price, size = int(row[f"{side}_price"]), int(row[f"{side}_size"])
            market.show(
                which, NONE if price == UNDEFINED_PRICE else price, size or SHOWN_AS_NOTHING, ts, is_told=is_told
            )
        market.quoted, market.quote_ts = True, ts
        if not market.halted and ts >= market.opens:
            self.match_quote(int(row["instrument"]), ts)

    def on_event(self, row):
        """One message of an order book."""
        ts, instrument, action = int(row["ts_init"]), int(row["instrument"]), row["action"]
        self.run_until(ts)
        self.now = ts
        market = self.markets[instrument]
        market.feed = "book"
        market.pass_to(ts)
        if action == Action.TRADE:
            market.trades += 1
            market.last = market.mark = int(row["price"])
            if not market.halted and ts >= market.opens:
                self.on_trade(instrument, int(row["price"]), int(row["size"]), int(row["side"]), ts)
        elif action in (Action.HALT, Action.RESUME):
            market.halted = action == Action.HALT
        elif action not in (Action.FILL, Action.NONE):
            self.change_book(instrument, row)
            market.keep_taken()
            if not market.book.is_crossed:
                market.best = [market.book.best(0), market.book.best(1)]
        if not row["flags"] & Flag.LAST:
            market.in_event, market.admits_at = True, ts + EVENT_SPAN
            return
        if market.in_event:
            market.in_event, market.admits_at = False, ts
        if market.rejoins and not row["flags"] & Flag.SNAPSHOT and NONE not in (market.bid, market.ask):
            market.rejoins = False
            for held in self.mine(instrument):
                if held.state == "live" and held.rests:
                    shown = held.shown
                    self.join(held)
                    held.shown = shown
        if not market.halted and ts >= market.opens and not market.book.is_crossed:
            self.match_quote(instrument, ts)

    def change_book(self, instrument, row):
        market = self.markets[instrument]
        book, action, number = market.book, row["action"], int(row["order_id"])
        resting = [held for held in self.mine(instrument) if held.state == "live" and held.rests]
        if action == Action.CLEAR:
            market.book, market.rejoins = Book(), True
            for held in resting:
                held.before, held.ahead = {}, SOMEWHERE
            return
        book.is_known |= row["price"] != UNDEFINED_PRICE
        side, price, size = int(row["side"] == BookSide.ASK), int(row["price"]), int(row["size"])
        known = book.orders.get(number)
        if known is None:
            if action != Action.CANCEL and row["side"] in (BookSide.BID, BookSide.ASK):
                book.orders[number] = (side, price, size)
            return
        if action == Action.CANCEL:
            price, size = known[1], known[2] - size
        keeps_place = price == known[1] and size <= known[2]
        for held in resting:
            if number in held.before:
                if keeps_place:
                    held.before[number] = max(0, size)
                else:
                    del held.before[number]
        if not keeps_place or size <= 0:
            del book.orders[number]
        if size > 0:
            book.orders[number] = (known[0], price, size)

    def match_quote(self, instrument, ts):
        market = self.markets[instrument]
        for held in self.mine(instrument):
            which = 1 if held.side > 0 else 0
            other, own = market.price(which), market.price(1 - which)
            if held.state == "armed":
                if market.trades == 0 and other is not NONE and self.starts(held, other, ts):
                    self.take(held, ts)
            elif held.state == "live" and not held.rests:
                self.take(held, ts)
            elif held.state == "live":
                if other is not NONE and (held.price - other) * held.side >= 0:
                    most = self.seen(held) if other == held.price else SOMEWHERE
                    lots = min(most, self.closable(held, ts))
                    if self.shows_sizes:
                        got = 0
                        for price, left in market.offers(which):
                            if (held.price - price) * held.side >= 0 and got < lots:
                                here = min(left, lots - got)
                                market.take(which, price, here)
                                got += here
                        lots = got
                    if lots:
                        self.fill(held, lots, held.price, ts, maker=True)
                        self.show_anew(held, lots)
                elif self.settings.fill_rule is FillRuleName.QUEUE and market.feed == "ticks":
                    self.see_queue(held, own, market.best[1 - which][1], ts)

    @staticmethod
    def see_queue(held, own, size, ts):
        left = held.ahead
        is_there = own is not NONE and (held.price - own) * held.side <= 0
        held.vacant = 0 if is_there else held.vacant + 1
        if own == held.price:
            left = min(left, size)
        elif held.vacant >= 2:
            left = 0
        if left < held.ahead:
            if ts - held.credit_ts > PRINT_DELAY:
                held.credit = 0
            if held.ahead < SOMEWHERE:
                held.credit += held.ahead - left
                held.credit_ts = ts
            held.ahead = left

    def on_trade(self, instrument, price, size, aggressor, ts, *, is_whole=False):
        left = size
        rule = self.settings.fill_rule
        market = self.markets[instrument]
        for held in self.mine(instrument):
            if held.state == "armed":
                self.starts(held, price, ts)
            elif held.state == "live" and held.rests:
                beyond = (held.price - price) * held.side
                from_our_side = aggressor == (BookSide.BID if held.side > 0 else BookSide.ASK)
                available = 0
                if beyond > 0 or (beyond == 0 and rule is FillRuleName.TOUCH and not from_our_side):
                    available = left
                elif beyond == 0 and rule is FillRuleName.QUEUE and not from_our_side:
                    if market.feed == "book":
                        available = max(0, left - held.ahead - sum(held.before.values()))
                    else:
                        lots = left
                        if not is_whole and ts - held.credit_ts <= PRINT_DELAY:
                            told = min(lots, held.credit)
                            held.credit -= told
                            lots -= told
                        available = max(0, lots - held.ahead)
                        if held.ahead < SOMEWHERE:
                            held.ahead = max(0, held.ahead - lots)
                most = self.seen(held) if beyond == 0 else SOMEWHERE
                lots = self.gets(held, available, ts, most) if available > 0 else 0
                if lots:
                    if self.shows_sizes:
                        left -= lots
                    self.fill(held, lots, held.price, ts, maker=True)
                    self.show_anew(held, lots)
        if market.feed == "ticks" and not market.quoted:
            for held in self.mine(instrument):
                if held.state == "live" and not held.rests:
                    self.take(held, ts)

    def on_bar(self, bar):
        ts, opened = int(bar["ts_init"]), int(bar["ts_open"])
        self.run_until(ts - 1)
        self.now = ts
        instrument = int(bar["instrument"])
        market = self.markets[instrument]
        market.feed = "bars"
        market.pass_to(opened)
        market.mark = int(bar["close"])
        if bar["flags"] & Flag.HALTED or opened < market.opens:
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
                paid = self.not_better_than_trigger(held, price) + self.costs(held)
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
            self.fill_in_bar(held, price + self.costs(held), ts, ts, ts, maker=False)
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

    def costs(self, held):
        """Ticks, with a sign, that an order pays which takes where no quote is known."""
        return (held.slippage + self.settings.half_spread_ticks) * held.side

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

    def arrive(self, held, ts):
        market = self.markets[held.instrument]
        is_taker = held.kind in TAKERS
        if market.halted and (held.immediate or (is_taker and held.order.parent is None)):
            self.end(held, "8", "halted", ts)
            return
        if held.immediate and market.is_closed(ts):
            self.end(held, "8", "out_of_session", ts)
            return
        held.state = "armed" if held.waits else "live"
        if is_taker and not held.triggered:
            other = market.price(1 if held.side > 0 else 0)
            if market.feed != "bars" and other is not NONE and not market.is_closed(ts):
                held.arrival = ("quote", other)
            elif market.mark is not NONE:
                held.arrival = ("mark", market.mark)
        self.say(held, "0", ts)
        if held.changes:
            held.changes[0] = (max(held.change_at, ts), held.changes[0][1])
        if held.cancel_at <= ts:
            held.cancel_at = NEVER_NS
            self.end(held, "4", "asked", ts)
        else:
            self.meet(held, ts)

    def meet(self, held, ts):
        market = self.markets[held.instrument]
        if market.feed not in ("ticks", "book"):
            held.ahead = SOMEWHERE
            if market.mark is not NONE:
                held.follow(market.mark)
        elif 0 < market.closes <= ts or ts < market.opens:
            held.ahead = SOMEWHERE
        elif market.halted:
            if held.state == "live" and held.kind is OrderType.LIMIT:
                self.join(held)
        else:
            if held.state == "armed":
                seen = market.last if market.trades else market.price(1 if held.side > 0 else 0)
                if seen is not NONE:
                    self.starts(held, seen, ts)
            if held.state == "live":
                self.take(held, ts)

    def take(self, held, ts):
        """Take what the other side offers, level by level, within the limit; then rest, go on, or end."""
        market = self.markets[held.instrument]
        which = 1 if held.side > 0 else 0
        was_limit = held.kind is OrderType.LIMIT
        only_trades = market.feed == "ticks" and not market.quoted
        offers = market.offers(which)
        if only_trades:
            offers = [(market.last, SOMEWHERE)] if market.last is not NONE else []
        elif not self.shows_sizes:
            offers = [(price, SOMEWHERE) for price, _ in offers[:1]]

        def cost(price):
            paid = self.not_better_than_trigger(held, price)
            return paid + self.settings.half_spread_ticks * held.side if only_trades else paid

        def is_within(price):
            return not was_limit or (held.price - cost(price)) * held.side >= 0

        want = 0
        if offers and not market.halted and is_within(offers[0][0]):
            want = self.closable(held, ts)
            if held.order.time_in_force is TimeInForce.FOK:
                reach = 0
                for price, left in offers[:LEVELS]:
                    if not is_within(price):
                        break
                    reach += left
                if want < held.leaves or reach < want:
                    want = 0
        walked = 0
        for price, left in offers:
            lots = min(want, left)
            if lots <= 0 or held.state != "live" or walked == LEVELS or not is_within(price):
                break
            if was_limit is not (held.kind is OrderType.LIMIT):
                break
            paid = cost(price) + held.slippage * held.side
            if was_limit:
                paid = min(paid, held.price) if held.side > 0 else max(paid, held.price)
            if self.shows_sizes and not only_trades:
                market.take(which, price, lots)
            self.fill(held, lots, paid, ts, maker=False)
            self.leave_limit(held, paid)
            want -= lots
            walked += 1
        if held.state != "live":
            return
        if held.immediate:
            self.end(held, "4", "not_fillable", ts)
        elif held.kind is OrderType.LIMIT:
            goes_on = walked == LEVELS
            if was_limit and self.shows_sizes and market.feed == "ticks" and market.quoted and offers:
                goes_on = (held.price - self.not_better_than_trigger(held, offers[0][0])) * held.side > 0
            if not goes_on:
                self.join(held)

    def join(self, held):
        market = self.markets[held.instrument]
        side = 0 if held.side > 0 else 1
        own, size = market.best[side]
        other = market.price(1 - side)
        held.resting, held.triggered = True, False
        held.shown = held.order.display_quantity
        held.credit = held.vacant = 0
        held.before = {}
        if market.feed == "book":
            held.ahead = 0 if market.book.is_known else SOMEWHERE
            if market.book.is_known:
                held.before = market.book.at(side, held.price)
            return
        if own is NONE:
            held.ahead = SOMEWHERE if other is NONE else 0
        elif (held.price - own) * held.side > 0:
            held.ahead = 0
        else:
            held.ahead = size if own == held.price else SOMEWHERE
        at, lots, when = market.gone[side]
        if at == held.price:
            held.credit, held.credit_ts = lots, when

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
                if other is held or other.order.oco_group != held.order.oco_group or other.is_over:
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
            if child.order.parent != held.order.order_id or child.is_over:
                continue
            child.woken += lots
            if child.state == "asleep" and child.leaves > 0:
                child.follow(price)
                child.sent = ts if child_sent is None else child_sent
                child.born_in = ts if child_born is None else child_born
                child.ahead = SOMEWHERE
                if market.feed != "bars":
                    child.state, child.arrives, child.resting = "coming", ts, False
                    continue
                child.state = "armed" if child.waits else "live"
                child.resting = child.state == "live"
                self.say(child, "0", ts)
        if held.leaves == 0:
            if self.may_wake_again(held):
                held.state = "asleep"
            else:
                self.close(held)
        elif held.order.reduce_only and market.position * held.side >= 0:
            self.end(held, "4", "reduce_only", ts)

    def may_wake_again(self, held):
        if held.order.parent is None or held.quantity <= held.filled + held.reduced:
            return False
        parent = self.find(held.order.parent)
        return parent is not None and parent.leaves > 0

    def end(self, held, kind, reason, ts):
        self.close(held)
        self.say(held, kind, ts, reason=reason)
        for child in self.orders:
            if child.order.parent == held.order.order_id and child.state == "asleep":
                self.close(child)
                self.say(child, "4", ts, reason="parent")

    @staticmethod
    def close(held):
        """An order is over; a message on its way to it is still answered."""
        held.state, held.shut = ("gone" if held.cancel_at == held.change_at == NEVER_NS else "answering"), True

    def answer(self, held, ts):
        self.say(held, "9", ts, reason="too_late")
        self.close(held)

    def apply_change(self, held, ts):
        before, price_before = held.leaves, held.price
        _, change = held.changes.pop(0)
        held.quantity = change.quantity
        if change.price is not None:
            held.price = change.price
        stop = change.stop_price
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
        elif "order_id" in (row.dtype.names or ()):
            venue.on_event(row)
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
