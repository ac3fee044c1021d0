"""A slow, plain exchange by price and time that says what it does as an order-by-order feed does, and a plain form of the oracle.

``Exchange`` matches requests and writes messages. With ``ours`` it has one order more, from a given request on: what that order fills
there is the truth that ``simulation.venue_oracle`` must find in the messages of the exchange *without* it. ``plain_fills`` reads messages as
the oracle does, with one list per price level and no compiled code.
"""

from dataclasses import dataclass

import numpy as np

from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, BookSide, Flag, Schema, empty_block
from grandmodel.domain.orders import OrderType

ANY = 10**9
SIDES = {1: BookSide.BID, -1: BookSide.ASK}
START = 1_700_060_000 * 10**9
APART = 1_000_000
"""ns between two events; the rows of one event are 10 ns apart."""


@dataclass
class Standing:
    name: int
    side: int
    price: int
    shown: int
    hidden: int = 0
    display: int = 0


class Exchange:
    """Orders by side and price, first come first filled; ours has the name 0.

    ``fills`` are (event, price, lots) of ours. What a market order that found nothing rests at is no price: None.
    """

    def __init__(self):
        self.queues = {1: {}, -1: {}}
        self.rows = []
        self.events = 0
        self.fills = []
        self.last = None
        self.stop = None

    def apply(self, request):
        """One request and everything that follows from it; its messages are one event."""
        kind, *rest = request
        self._traded = []
        self._event_rows = []
        getattr(self, f"_{kind}")(*rest)
        for k, row in enumerate(self._event_rows):
            flag = Flag.LAST if k == len(self._event_rows) - 1 else 0
            self.rows.append((START + self.events * APART + 10 * k, *row, flag))
        self.events += 1
        if self.stop is not None:
            side, trigger, lots = self.stop
            if any((price - trigger) * side >= 0 for price in self._traded):
                self.stop = None
                self.events -= 1  # It fills within the event that triggered it.
                self._say_nothing(side, side * ANY, lots)
                self.events += 1

    def enter(self, side, order_type, price, lots, trigger=None):
        """Ours arrives; what it fills at once has the event -1."""
        if order_type is OrderType.STOP:
            if self.last is not None and (self.last - trigger) * side >= 0:
                order_type = OrderType.MARKET
            else:
                self.stop = (side, trigger, lots)
                return
        self._event_rows, self._traded = [], []
        number, self.events = self.events, -1
        self._say_nothing(side, side * ANY if order_type is OrderType.MARKET else price, lots)
        self.events = number

    def _say_nothing(self, side, price, lots):
        kept, self._event_rows = self._event_rows, []
        self._add(0, side, price, lots)
        self._event_rows = kept

    def best(self, side):
        prices = [price for price, queue in self.queues[side].items() if queue]
        return max(prices, key=lambda price: price * side) if prices else None

    def find(self, name):
        for queues in self.queues.values():
            for queue in queues.values():
                for one in queue:
                    if one.name == name:
                        return one, queue
        return None, None

    def _add(self, name, side, price, lots, display=0):
        left, touched = lots, {}
        while left and (at := self.best(-side)) is not None and (price - at) * side >= 0:
            queue, here, fills = self.queues[-side][at], 0, []
            met = price if abs(at) == ANY else at
            while left and queue:
                one = queue[0]
                took = min(left, one.shown)
                if one.name:
                    touched.setdefault(one.name, one.shown)
                    fills.append((Action.FILL, one.name, SIDES[-side], at, took))
                else:
                    self.fills.append((self.events, None if abs(at) == ANY else at, took))
                one.shown -= took
                left -= took
                here += took
                if not one.shown:
                    queue.pop(0)
                    one.shown = min(one.display, one.hidden)
                    one.hidden -= one.shown
                    if one.shown:
                        queue.append(one)
            if name == 0:
                self.fills.append((self.events, met, here))
            self._event_rows += [(Action.TRADE, name, SIDES[side], met, here), *fills]
            self._traded.append(met)
            self.last = met
        for other, shown in touched.items():
            one, _ = self.find(other)
            at = next(row[3] for row in self._event_rows if row[0] is Action.FILL and row[1] == other)
            if one is None:
                self._event_rows.append((Action.CANCEL, other, SIDES[-side], at, shown))
            else:
                self._event_rows.append((Action.MODIFY, other, SIDES[-side], at, one.shown))
        if left:
            shown = min(left, display) if display else left
            self.queues[side].setdefault(price, []).append(Standing(name, side, price, shown, left - shown, display))
            self._event_rows.append((Action.ADD, name, SIDES[side], price, shown))

    def _cancel(self, name):
        one, queue = self.find(name)
        if one is not None:
            queue.remove(one)
            self._event_rows.append((Action.CANCEL, name, SIDES[one.side], one.price, one.shown))

    def _reduce(self, name, lots):
        one, _ = self.find(name)
        if one is None or one.display or one.shown <= lots:
            self._cancel(name)
            return
        one.shown -= lots
        self._event_rows.append((Action.MODIFY, name, SIDES[one.side], one.price, one.shown))

    def _grow(self, name, lots):
        one, queue = self.find(name)
        if one is not None and not one.display:
            one.shown += lots
            queue.remove(one)
            queue.append(one)
            self._event_rows.append((Action.MODIFY, name, SIDES[one.side], one.price, one.shown))


def busy_feed(seed, requests=3_000, slower=500):
    """A block of random requests around 1,000 ticks, ``slower`` ms between two."""
    draw = np.random.Generator(np.random.PCG64(seed))
    exchange, names, middle = Exchange(), 0, 1_000.0
    for _ in range(requests):
        middle += draw.normal(0, 0.15)
        kind = draw.random()
        if kind < 0.65 or names < 20:
            names += 1
            side = 1 if draw.random() < 0.5 else -1
            price = round(middle - side * draw.exponential(3) + side * (draw.random() < 0.25) * 5)
            display = (2,) if draw.random() < 0.05 else ()
            exchange.apply(("add", names, side, price, int(draw.integers(1, 9)), *display))
        elif kind < 0.9:
            exchange.apply(("cancel", int(draw.integers(max(1, names - 60), names + 1))))
        else:
            exchange.apply(("reduce" if kind < 0.96 else "grow", int(draw.integers(max(1, names - 60), names + 1)), 1))
    block = block_of(exchange.rows)
    block["ts_init"] = block["ts_event"] = START + (block["ts_init"] - START) * slower
    return block


def block_of(rows):
    """Messages (ts, action, name, side, price, size, flags) as a block of the order book's layout."""
    block = empty_block(Schema.BOOK, len(rows))
    for k, (ts, action, name, side, price, size, flags) in enumerate(rows):
        row = block[k]
        row["ts_event"] = row["ts_init"] = ts
        row["action"], row["order_id"], row["side"], row["size"] = int(action), name, int(side), size
        row["price"] = UNDEFINED_PRICE if price is None else price
        row["flags"], row["sequence"] = int(flags), k
    return block


def events_of(block):
    """The rows of a block in lists, one an exchange event."""
    events, event = [], []
    for row in block.tolist():
        named = dict(zip(block.dtype.names, row, strict=True))
        event.append(named)
        if named["flags"] & Flag.LAST:
            events.append(event)
            event = []
    return [*events, event] if event else events


class PlainBook:
    """One list of [name, size, taken, filled] per side and price, in the order in which they fill."""

    def __init__(self):
        self.queues = {1: {}, -1: {}}
        self.ours = None

    def find(self, name):
        for side, queues in self.queues.items():
            for price, queue in queues.items():
                for one in queue:
                    if one[0] == name:
                        return side, price, queue, one
        return None, None, None, None

    def best(self, side):
        prices = [price for price, queue in self.queues[side].items() if any(one[0] is not OURS for one in queue)]
        return max(prices, key=lambda price: price * side) if prices else None

    def apply(self, row):
        action, name, size = row["action"], row["order_id"], row["size"]
        side, price, queue, one = self.find(name)
        if action == Action.CLEAR:
            self.queues = {1: {}, -1: {}}
        elif action == Action.FILL and one is not None:
            one[3] += size
        elif action == Action.CANCEL and one is not None:
            self._shrink(queue, one, one[1] - size)
        elif action in (Action.ADD, Action.MODIFY):
            taken = 0
            if one is not None:
                if action == Action.MODIFY and price == row["price"] and size <= one[1] and one[3] < one[1]:
                    self._shrink(queue, one, size)
                    return
                taken = one[2] if action == Action.MODIFY else 0
                queue.remove(one)
            if action == Action.ADD or side is None:
                side = {BookSide.BID: 1, BookSide.ASK: -1}.get(row["side"])
            if side is not None and size > 0:
                self.queues[side].setdefault(row["price"], []).append([name, size, min(taken, size), 0])

    def _shrink(self, queue, one, size):
        one[1], one[2], one[3] = size, min(one[2], size), 0
        if size <= 0:
            queue.remove(one)


OURS = object()


def plain_fills(block, order):
    """[(event, price, lots)] that the messages of ``block`` give ``order``; -1 for the event where it fills as it arrives.

    Ours stands in the list of its level itself; what filled that is not before it in the list is ours.
    """
    events, side = events_of(block), int(order.side)
    limit = order.price if order.price is not None else side * ANY
    book, told, left, last = PlainBook(), [], order.quantity, None
    first = sum(1 for event in events if event[0]["ts_init"] < order.ts)
    end = sum(1 for event in events if event[0]["ts_init"] < order.expire_ts)
    waits, resting = order.order_type is OrderType.STOP, False

    def take(number, price, lots):
        nonlocal left
        lots = min(left, lots)
        if lots > 0:
            told.append((number, price, lots))
            left -= lots
        return max(lots, 0)

    def walk(number):
        nonlocal resting
        for price in sorted(book.queues[-side], key=lambda price: price * side):
            if (limit - price) * side >= 0:
                take(number, price, sum(one[1] for one in book.queues[-side][price]))
                if left:
                    for one in book.queues[-side][price]:
                        one[2] = one[1]
        rest()

    def rest():
        nonlocal resting
        resting = True
        book.queues[side].setdefault(limit, []).append([OURS, 0, 0, 0])

    def crossed():
        bid, ask = book.best(1), book.best(-1)
        return bid is not None and ask is not None and bid >= ask

    def crossed_after(event):
        import copy

        other = copy.deepcopy(book, {id(OURS): OURS})
        for row in event:
            other.apply(row)
        bid, ask = other.best(1), other.best(-1)
        return bid is not None and ask is not None and bid >= ask

    def arrive():
        nonlocal waits
        if waits and last is not None and (last - order.stop_price) * side >= 0:
            waits = False
        if not waits:
            rest() if crossed() else walk(-1)

    for number, event in enumerate(events):
        if number == first:
            arrive()
        if number == end or not left:
            break
        matches = resting and not crossed_after(event)
        triggered, aggressor = False, None
        for row in event:
            lots, met = 0, limit
            if row["action"] == Action.TRADE:
                last, aggressor = row["price"], row["side"]
                triggered |= waits and number >= first and (last - order.stop_price) * side >= 0
            if row["action"] == Action.FILL and resting and row["side"] != aggressor:
                whose, price, queue, one = book.find(row["order_id"])
                if whose == side:
                    met = price
                    if (limit - price) * side > 0:
                        lots = row["size"]
                    elif price == limit:
                        names = [each[0] for each in queue]
                        is_behind = names.index(row["order_id"]) > names.index(OURS)
                        lots = row["size"] if is_behind else min(row["size"], max(0, one[3] + row["size"] - one[1]))
            book.apply(row)
            if row["action"] in (Action.ADD, Action.MODIFY) and matches:
                whose, price, queue, one = book.find(row["order_id"])
                if whose == -side and (limit - price) * side >= 0:
                    met = price
                    one[2] += take(number, limit if abs(limit) != ANY else met, one[1] - one[2])
            take(number, limit if abs(limit) != ANY else met, lots)
        if triggered:
            waits = False
            walk(number)
    if first == len(events):
        arrive()
    return told
