"""No lot twice, and never better than walking what is shown: said of the compiled venue's fills and the rows alone, without a second venue."""

from collections import defaultdict

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, BookSide, Flag
from grandmodel.simulation.models import FillRuleName, VenueSettings
from reference_exchange import SHOWN_AS_NOTHING, drive_compiled
from strategies import ALL_DAY, NQ, books, scripts, ticks

SLOW = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
RULES = st.sampled_from(tuple(FillRuleName))


class Shown:
    """What each level showed since it last emptied: what stood there, and every lot by which it grew. Sides are 0 bid, 1 ask."""

    def __init__(self):
        self.sizes, self.budget, self.got = defaultdict(int), defaultdict(int), defaultdict(int)

    def level(self, which, price, size):
        key = which, price
        if size <= 0:
            self.sizes.pop(key, None)
            self.budget.pop(key, None)
            self.got.pop(key, None)
            return
        self.budget[key] += max(0, size - self.sizes[key])
        self.sizes[key] = size

    def levels(self, which):
        found = [(price, size) for (side, price), size in self.sizes.items() if side == which]
        return sorted(found, reverse=which == 0)

    def check(self, which, fills):
        """``fills`` of one order at one moment, (lots, price): each level has them, and together they are no better than a walk."""
        for lots, price in fills:
            self.got[which, price] += lots
            assert self.got[which, price] <= self.budget[which, price]
        sign = 1 if which == 1 else -1
        left, walk = sum(lots for lots, _ in fills), 0
        for price, size in self.levels(which):
            lots = min(left, size)
            walk += lots * price
            left -= lots
        assert left == 0
        assert sign * sum(lots * price for lots, price in fills) >= sign * walk


class ShownBook(Shown):
    def __init__(self):
        super().__init__()
        self.orders = {}

    def apply(self, row):
        number, action = int(row["order_id"]), row["action"]
        before = {(one[0], one[1]) for one in self.orders.values()}
        known = self.orders.get(number)
        if action == Action.CLEAR:
            self.orders = {}
        elif known is not None and action == Action.CANCEL:
            self.orders[number] = (*known[:2], known[2] - int(row["size"]))
        elif action in (Action.ADD, Action.MODIFY):
            side = known[0] if known else int(row["side"] == BookSide.ASK)
            self.orders[number] = (side, int(row["price"]), int(row["size"]))
        self.orders = {k: one for k, one in self.orders.items() if one[2] > 0}
        for which, price in before | {(one[0], one[1]) for one in self.orders.values()}:
            self.level(which, price, sum(one[2] for one in self.orders.values() if one[:2] == (which, price)))


class ShownQuote(Shown):
    """Of a quote: a level has emptied when the quote has moved away from it; a better one only covers it."""

    def apply(self, row):
        if row["flags"] & Flag.CROSSED or row["action"] in (Action.HALT, Action.RESUME):
            return
        if row["bid_price"] == UNDEFINED_PRICE and row["ask_price"] == UNDEFINED_PRICE:
            return
        for which, side, sign in ((0, "bid", 1), (1, "ask", -1)):
            price, size = int(row[f"{side}_price"]), int(row[f"{side}_size"]) or SHOWN_AS_NOTHING
            if price == UNDEFINED_PRICE:
                continue
            for at, _ in self.levels(which):
                if at * sign > price * sign:
                    self.level(which, at, 0)
            self.level(which, price, size)


def check(script, shown, rule):
    """Every row at a time of its own; orders arrive at once, so that what they met is what was shown after the rows up to then."""
    for place, (row, _) in enumerate(script):
        row["ts_init"] += 10 * place
        row["ts_event"] = row["ts_init"]
    orders = {one.order_id: one for _, asked in script for one in asked if hasattr(one, "order_type")}
    venue = VenueSettings(fill_rule=rule, far_prints_ppm=0)
    moments = defaultdict(list)
    for one in drive_compiled(script, venue, (ALL_DAY,), (NQ,)):
        if one.kind == "F" and not one.maker:
            moments[one.ts_event, one.order_id].append((one.lots, one.price))
    moments = sorted(moments.items())
    for place, (row, _) in enumerate(script):
        shown.apply(row)
        until = int(script[place + 1][0]["ts_init"]) if place + 1 < len(script) else 2**62
        while moments and moments[0][0][0] < until:
            (_, order_id), fills = moments.pop(0)
            order = orders[order_id]
            # A stop pays its trigger where the market is better: it met the best level.
            which = 1 if order.side > 0 else 0
            if order.stop_price is None and not order.trail_ticks:
                shown.check(which, fills)
    assert not moments


@SLOW
@given(scripts(books()), RULES)
def test_what_takers_get_of_a_book_was_there_and_is_there_once(script, rule):
    check(script, ShownBook(), rule)


@SLOW
@given(scripts(ticks(trades=False)), RULES)
def test_what_takers_get_of_quotes_was_there_and_is_there_once(script, rule):
    check(script, ShownQuote(), rule)


@SLOW
@given(scripts(ticks()), RULES)
def test_what_takers_get_of_quotes_beside_trades_was_there_and_is_there_once(script, rule):
    """Before the first quote nothing is asked: without quotes a print stands for both sides, and shows no size."""
    is_quoted = [
        not row["flags"] & Flag.CROSSED and min(row["bid_price"], row["ask_price"]) != UNDEFINED_PRICE
        for row, _ in script
    ]
    check(
        [(row, asked if any(is_quoted[: place + 1]) else []) for place, (row, asked) in enumerate(script)],
        ShownQuote(),
        rule,
    )
