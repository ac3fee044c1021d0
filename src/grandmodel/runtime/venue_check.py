"""How far the simulated venue is from what really would have filled, on a feed that says who stood where.

``draw_trials`` draws orders by a seed, ``VenueTrials`` gives each of them, alone, to the market step and the simulated exchange
that runs use, ``VenueOracle`` says what the feed's own messages make of it, and ``compare`` sets both side by side, lot by lot.
Read next: ``simulation/venue_oracle.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from grandmodel.domain.blocks import Block, Schema, schema_of
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.orders import ExecType, Order, OrderType, Side, TimeInForce
from grandmodel.domain.report_rows import EXEC_CODES, REPORT
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, NS_PER_MINUTE, NS_PER_SECOND
from grandmodel.runtime.market_step import MarketStep, Stop
from grandmodel.simulation.exchange import SimulatedExchange, due_count, hand_out
from grandmodel.simulation.models import FillRuleName, VenueSettings
from grandmodel.simulation.state import UNSHOWN_SIZE, SlotState
from grandmodel.simulation.venue_bounds import KindestQuotes
from grandmodel.simulation.venue_oracle import ExchangeEvents, OracleFill, VenueOracle

DEFAULT_ORDERS = 344
"""Moments at which orders are drawn."""

SHORT_NS = 60 * NS_PER_SECOND
LONG_NS = 30 * NS_PER_MINUTE
_STOPS_OF = (167, 344)
"""Stops to limits."""
_MOST_BEHIND = 2
_FARTHEST_TRIGGER = 4
_CANDIDATES = 8
"""Moments looked at for one that is kept: the market may be closed, or one-sided."""

_TRADE = EXEC_CODES[ExecType.TRADE]


@dataclass(frozen=True, slots=True)
class TrialOrder:
    """One order of the plan."""

    group: str
    """What it stands under in the table."""
    order: Order


@dataclass(frozen=True, slots=True)
class VenueFill:
    """Lots that the simulated venue filled."""

    ts: int
    price: int
    lots: int


class GroupResult(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table: a kind and size of order under one rule. Lots are compared first with first."""

    feed: str
    """What the venue saw: ``book`` or ``quotes``."""
    rule: str
    group: str
    orders: int
    filled_orders: int
    """Orders of which the venue filled something."""
    oracle_orders: int
    """Orders of which the oracle filled something."""
    false_orders: int
    """Orders of which the venue filled lots that never would have filled."""
    lots: int
    oracle_lots: int
    false_lots: int
    missed_lots: int
    """Lots that would have filled and did not."""
    shared_lots: int
    """Lots that both filled."""
    early_lots: int
    early_s: float
    """Mean over all lots that both filled; a lot on time counts 0."""
    late_lots: int
    late_s: float
    too_good_lots: int
    """Lots that both filled and the venue at a better price than possible."""
    too_good_ticks: float
    """Mean over all lots that both filled, of what is better than possible; what is worse counts 0."""
    too_bad_ticks: float
    best_ticks: int
    """The lot that is better than possible by most."""

    @property
    def false_share(self) -> float:
        """Of the orders that the venue filled, in part or whole, those with a false lot; NaN where it filled none."""
        return self.false_orders / self.filled_orders if self.filled_orders else float("nan")


class VenueCheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole check."""

    instrument: str
    source: str
    seed: int
    rows: int
    events: int
    first_ns: int
    last_ns: int
    names_orders: bool
    """True where the feed names every order, so that the oracle knows; else only what quotes and trades prove is told."""
    notes: list[str]
    results: list[GroupResult]
    sentences: list[str]
    """What it comes to, one sentence for each feed and rule."""


def check_venue(
    block: Block,
    instrument: Instrument,
    schedule: SessionSchedule,
    rules: Sequence[FillRuleName],
    *,
    source: str = "",
    orders: int = DEFAULT_ORDERS,
    seed: int = 1,
    also_quotes: bool = False,
    said: Callable[[str, int, int], None] = lambda *_: None,
) -> VenueCheckReport:
    """Measure the venue on the rows of ``block``, of layout ``BOOK`` or ``TICK``, under each of ``rules``.

    ``also_quotes``: let the venue see the best quotes and trades of an order book too; the oracle sees the book. ``said`` hears what is being
    done, how many orders are done and of how many. Raises ``UsageError`` for bars, and where no market is open.
    """
    schema = schema_of(block)
    if schema is Schema.BARS:
        raise UsageError(
            f"{source}: found bars, expected order-by-order events (Databento mbo) or best quotes with trades: a bar does not say what "
            "stood in the market; import such a file, or name it here"
        )
    notes = []
    events: VenueOracle | KindestQuotes
    if schema is Schema.BOOK:
        events = book = VenueOracle(block)
        if book.names_levels():
            events = KindestQuotes(book.best_quotes())
            notes.append(_UNKNOWN.format(found="price levels"))
        elif not book.quoted["fills"].any():
            notes.append(
                "the feed does not say which order filled: lots that trade go to the orders of their level in their order of time"
            )
        feeds = {"book": block} | ({"quotes": book.best_quotes()} if also_quotes else {})
    else:
        events = KindestQuotes(block)
        notes.append(_UNKNOWN.format(found="quotes and trades"))
        feeds = {"quotes": block}
    trials = draw_trials(events, instrument.id, orders, seed)
    asked = [trial.order for trial in trials]
    right = events.fills(asked)
    results, sentences = [], []
    total, done = len(feeds) * len(rules) * len(asked), 0
    for feed, rows in feeds.items():
        for rule in rules:
            what, before = f"{rule} on {_FEEDS[feed]}", done

            def on_order(number: int, what: str = what, before: int = before) -> None:
                said(what, before + number, total)

            venue = VenueTrials(rows, instrument, schedule, VenueSettings(fill_rule=rule))
            lines = compare(trials, right, venue.fills(asked, on_order), feed, str(rule))
            done += len(asked)
            results += lines
            sentences.append(_sentence(lines, isinstance(events, VenueOracle)))
    return VenueCheckReport(
        instrument=str(instrument.id), source=source, seed=seed, rows=len(block), events=len(events.quoted),
        first_ns=int(events.first_ts[0]), last_ns=int(events.last_ts[-1]), names_orders=isinstance(events, VenueOracle), notes=notes,
        results=results, sentences=sentences,
    )  # fmt: skip


_UNKNOWN = (
    "found {found} without order ids, so queues cannot be known: each order is held against the kindest fill that they allow. What is false, "
    "early or too good here surely is; whether an order fills too late, too dear or not at all takes an order-by-order feed "
    "(Databento mbo)"
)
_FEEDS = {"book": "the order book", "quotes": "best quotes and trades"}


def _sentence(lines: Sequence[GroupResult], is_known: bool) -> str:
    """What the lines of one feed and rule come to."""
    limits = [one for one in lines if one.group.startswith("limit") and "takes" not in one.group]
    takers = [one for one in lines if one not in limits and one.shared_lots]
    filled = sum(one.filled_orders for one in limits)
    false = sum(one.false_orders for one in limits) / filled if filled else 0.0
    shared = max(1, sum(one.shared_lots for one in limits))
    early = sum(one.early_s * one.shared_lots for one in limits) / shared
    late = sum(one.late_s * one.shared_lots for one in limits) / shared
    missed = sum(one.missed_lots for one in limits) / max(1, sum(one.oracle_lots for one in limits))
    best = max(takers, key=lambda one: one.too_good_ticks, default=None)
    said = f"under {lines[0].rule.upper()} on {_FEEDS[lines[0].feed]} {false:.1%} of the limit orders filled are false, {early:.2f} s early"
    if is_known:
        said += f" and {late:.2f} s late a lot, {missed:.1%} of the lots are missed"
    if best is not None:
        said += f"; what takes is up to {best.too_good_ticks:.2f} ticks a lot too good ({best.group})"
    return said


def draw_trials(
    events: ExchangeEvents, instrument: InstrumentId, orders: int = DEFAULT_ORDERS, seed: int = 1
) -> list[TrialOrder]:
    """The plan: at ``orders`` moments limits, market orders and (at about half of them) stops, the same at every call with ``seed``.

    Half of the moments are uniform in time, half fall between two messages drawn evenly, so that some lie within an event. Limits stand
    at the best price of their side or one or two ticks behind, market orders are multiples of what the best price
    shows, stops are triggered one to four ticks beyond the other side; one lot each arrives between the rows of events that traded. Raises ``UsageError`` where the feed has no open market.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    moments = _moments(events, orders, generator)
    sides = [Side.BUY if buys else Side.SELL for buys in generator.random(len(moments)) < 0.5]
    behind = generator.choice(_MOST_BEHIND + 1, len(moments), p=(0.5, 0.25, 0.25))
    beyond = generator.integers(1, _FARTHEST_TRIGGER + 1, len(moments))
    stops = round(len(moments) * _STOPS_OF[0] / _STOPS_OF[1])
    has_stop = np.zeros(len(moments), np.bool_)
    has_stop[generator.permutation(len(moments))[:stops]] = True
    found: dict[str, list[Order]] = {}

    def add(group: str, order: Order) -> None:
        found.setdefault(group, []).append(order)

    for k, ts in enumerate(moments):
        side, sign = sides[k], int(sides[k])
        quoted = events.quoted[events.event_of_arrival(ts) - 1]
        own, other = ("bid", "ask") if side is Side.BUY else ("ask", "bid")
        price, opposite, shown = int(quoted[own]), int(quoted[other]), int(quoted[f"{other}_size"])
        shown = 1 if shown == UNSHOWN_SIZE else shown
        limit = Order(
            order_id=OrderId(0), instrument=instrument, side=side, quantity=1, order_type=OrderType.LIMIT, ts=ts,
            price=price - sign * int(behind[k]), time_in_force=TimeInForce.GTD, expire_ts=ts + LONG_NS,
        )  # fmt: skip
        add("limit 1, 60 s", msgspec.structs.replace(limit, expire_ts=ts + SHORT_NS))
        for lots in (1, 5, 20, 50):
            add(f"limit {lots}, 30 min", msgspec.structs.replace(limit, quantity=lots))
        taking = msgspec.structs.replace(limit, price=opposite, quantity=2 * shown)
        add("limit that takes, 2 x best", taking)
        for times in (2, 5, 20):
            market = msgspec.structs.replace(taking, order_type=OrderType.MARKET, price=None, quantity=times * shown)
            add(f"market, {times} x best", market)
        if has_stop[k]:
            trigger = opposite + sign * int(beyond[k])
            if (int(quoted["last"]) - trigger) * sign >= 0:
                trigger = int(quoted["last"]) + sign
            for lots in (1, 5, 20):
                stop = msgspec.structs.replace(
                    taking, order_type=OrderType.STOP, price=None, stop_price=trigger, quantity=lots
                )
                add(f"stop {lots}", stop)
    for ts, side in _within_events(events, moments[0], stops, generator):
        inside = Order(
            order_id=OrderId(0), instrument=instrument, side=side, quantity=1, order_type=OrderType.MARKET, ts=ts,
            time_in_force=TimeInForce.GTD, expire_ts=ts + LONG_NS,
        )  # fmt: skip
        add("market 1, within an event", inside)
    number = 0
    trials = []
    for group, members in found.items():
        for order in members:
            number += 1
            trials.append(TrialOrder(group, msgspec.structs.replace(order, order_id=OrderId(number))))
    return trials


def _moments(events: ExchangeEvents, count: int, generator: np.random.Generator) -> list[int]:
    """Stamps at which the market is open, in order of time."""
    open_events = np.flatnonzero([events.is_open(event) for event in range(len(events.quoted))])
    if count < 1 or not len(open_events):
        raise UsageError(
            f"found {len(open_events)} events at which both sides were quoted after a trade, and {count} orders to draw, expected one of each"
        )
    first, last = int(events.first_ts[open_events[0]]), int(events.last_ts[-1])
    rows = np.arange(int(events.starts[open_events[0]]), len(events.ts))
    by_time = generator.integers(first, last + 1, _CANDIDATES * count)
    by_row = events.ts[generator.choice(rows, _CANDIDATES * count)] + 1
    found: list[int] = []
    for place in range(_CANDIDATES * count):
        ts = int((by_time, by_row)[place % 2][place])
        if len(found) < count and ts <= last and events.is_open(events.event_of_arrival(ts)):
            found.append(ts)
    if not found:
        raise UsageError("found no moment at which both sides are quoted, expected an open market")
    return sorted(found)


def _within_events(
    events: ExchangeEvents, after: int, count: int, generator: np.random.Generator
) -> list[tuple[int, Side]]:
    """Up to ``count`` stamps later than ``after`` between the rows of one event with trades, and a side for each; in order of time."""
    event = np.searchsorted(events.starts, np.arange(len(events.ts)), side="right") - 1
    rows = np.flatnonzero(
        (events.ts > events.first_ts[event]) & (events.ts > after) & (events.quoted["trades"][event] > 0)
    )
    stamps = np.unique(events.ts[rows])
    chosen = np.sort(generator.choice(stamps, min(count, len(stamps)), replace=False)).tolist()
    sides = generator.random(len(chosen)) < 0.5
    return [
        (ts, Side.BUY if buys else Side.SELL)
        for ts, buys in zip(chosen, sides.tolist(), strict=True)
        if events.is_open(events.event_of_arrival(ts))
    ]


class VenueTrials:
    """Gives orders, one by one, to the venue that runs use, on the rows of ``block``.

    The market step walks the rows once; where an order is sent its memory is copied, and the copy goes on with that order alone. So the
    orders do not meet, and each sees the venue as a run would that sends nothing else.
    """

    def __init__(
        self, block: Block, instrument: Instrument, schedule: SessionSchedule, settings: VenueSettings
    ) -> None:
        self._block = block
        self._schema = schema_of(block)
        self._ts = np.ascontiguousarray(block["ts_init"])
        self._instrument, self._schedule, self._settings = instrument, schedule, settings

    def fills(self, orders: Sequence[Order], said: Callable[[int], None] = lambda _: None) -> list[list[VenueFill]]:
        """What the venue fills of each order up to its ``expire_ts``; ``said`` is called with the number of orders that are done."""
        found: list[list[VenueFill]] = [[] for _ in orders]
        base = self._fresh()
        reached, at, saved = 0, -1, {}
        for done, place in enumerate(sorted(range(len(orders)), key=lambda k: orders[k].ts), 1):
            order = orders[place]
            row = int(np.searchsorted(self._ts, order.ts, side="left"))
            if row > reached or at < 0:
                self._pass(base, self._block[reached:row])
                reached = row
            if order.ts != at:
                at = order.ts
                saved = base.saved()
            found[place] = self._alone(order, row, saved, base.rows_before)
            said(done)
        return found

    def _fresh(self) -> MarketStep:
        return MarketStep(
            (self._instrument,), (self._schedule,), (NS_PER_DAY,), self._settings, {}, stops_at_marks=False
        )

    def _pass(self, market: MarketStep, rows: Block) -> None:
        """Walk rows while nothing of ours is at the venue."""
        schema = market.begin(rows)
        while market.walk(rows, schema) is not Stop.END:
            pass

    def _alone(self, order: Order, row: int, saved: dict[str, tuple[int, bytes]], rows_before: int) -> list[VenueFill]:
        """One order from a copy of the market step onwards."""
        market = self._fresh()
        market.restore(saved, rows_before)
        market.begin(self._block[:0])
        venue = SimulatedExchange(market, (self._instrument,), (self._schedule,), self._settings, 1)
        venue.submit(order)
        end = int(np.searchsorted(self._ts, order.expire_ts, side="left"))
        rows, fills = self._block[row:end], []
        schema = market.begin(rows)
        while (stop := market.walk(rows, schema)) is not Stop.END:
            if stop is Stop.REPORTS:
                fills += _heard(market)
                if not market.instruments[0]["active"] and _has_ended(market):
                    return fills
        while market.advance(order.expire_ts) is not Stop.END:
            fills += _heard(market)
        return fills


def _heard(market: MarketStep) -> list[VenueFill]:
    """The fills among the reports that are due."""
    rows = np.zeros(due_count(market.step, market.reports), REPORT)
    hand_out(market.step, market.reports, rows, len(rows))
    return [
        VenueFill(int(row["ts_event"]), int(row["last_price"]), int(row["last_quantity"]))
        for row in rows[rows["exec_type"] == _TRADE]
    ]


def _has_ended(market: MarketStep) -> bool:
    return bool((market.slots["state"][: int(market.step[0]["slots"])] == int(SlotState.ENDED)).all())


def compare(
    trials: Sequence[TrialOrder],
    right: Sequence[Sequence[OracleFill]],
    found: Sequence[Sequence[VenueFill]],
    feed: str,
    rule: str,
) -> list[GroupResult]:
    """The table of one rule, a line a group, in the order of the plan."""
    groups: dict[str, list[int]] = {}
    for place, trial in enumerate(trials):
        groups.setdefault(trial.group, []).append(place)
    return [
        _compared([(trials[k].order, right[k], found[k]) for k in places], feed, rule, group)
        for group, places in groups.items()
    ]


def _compared(
    members: Iterable[tuple[Order, Sequence[OracleFill], Sequence[VenueFill]]], feed: str, rule: str, group: str
) -> GroupResult:
    count: Counter[str] = Counter()
    for order, right, found in members:
        lots, oracle_lots = sum(one.lots for one in found), sum(one.lots for one in right)
        count.update(
            orders=1, filled=lots > 0, oracle=oracle_lots > 0, false=lots > oracle_lots, lots=lots, oracle_lots=oracle_lots,
            false_lots=max(0, lots - oracle_lots), missed_lots=max(0, oracle_lots - lots),
        )  # fmt: skip
        for shared, is_so, is_right in paired_lots(found, right):
            early, late = max(0, is_right.earliest - is_so.ts), max(0, is_so.ts - is_right.latest)
            ticks = (is_right.price - is_so.price) * int(order.side)
            count.update(
                both=shared, early_lots=shared * (early > 0), late_lots=shared * (late > 0), early_ns=shared * early,
                late_ns=shared * late, good_lots=shared * (ticks > 0), good=shared * max(0, ticks), bad=shared * max(0, -ticks),
            )  # fmt: skip
            count["best"] = max(count["best"], ticks)
    per = max(count["both"], 1)
    return GroupResult(
        feed=feed, rule=rule, group=group, orders=count["orders"], filled_orders=count["filled"], oracle_orders=count["oracle"],
        false_orders=count["false"], lots=count["lots"], oracle_lots=count["oracle_lots"], false_lots=count["false_lots"],
        missed_lots=count["missed_lots"], shared_lots=count["both"], early_lots=count["early_lots"],
        early_s=count["early_ns"] / per / NS_PER_SECOND, late_lots=count["late_lots"],
        late_s=count["late_ns"] / per / NS_PER_SECOND, too_good_lots=count["good_lots"], too_good_ticks=count["good"] / per, too_bad_ticks=count["bad"] / per,
        best_ticks=count["best"],
    )  # fmt: skip


def paired_lots(found: Sequence[VenueFill], right: Sequence[OracleFill]) -> list[tuple[int, VenueFill, OracleFill]]:
    """The lots that both filled, first with first, as (lots, venue's fill, oracle's fill)."""
    pairs = []
    a = b = 0
    left_a, left_b = (found[0].lots if found else 0), (right[0].lots if right else 0)
    while a < len(found) and b < len(right):
        lots = min(left_a, left_b)
        pairs.append((lots, found[a], right[b]))
        left_a, left_b = left_a - lots, left_b - lots
        if left_a == 0:
            a += 1
            left_a = found[a].lots if a < len(found) else 0
        if left_b == 0:
            b += 1
            left_b = right[b].lots if b < len(right) else 0
    return pairs
