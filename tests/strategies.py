"""Hypothesis strategies that several properties share: sessions, bars, trades and quotes, and what is asked of a venue.

Prices stay near 1,000 ticks and move by few ticks, so that orders placed around them meet the market often.
"""

from decimal import Decimal

import numpy as np
from hypothesis import strategies as st

from grandmodel.domain.blocks import BAR, BOOK, TICK, UNDEFINED_PRICE, Action, BookSide, Flag
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.instruments import BUILT_IN, Instrument, InstrumentKind
from grandmodel.domain.orders import ORDER_TYPES, CancelOrder, Order, OrderType, ReplaceOrder, Side, TimeInForce
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NS_PER_DAY, NS_PER_MINUTE

NQ, CL = BUILT_IN[InstrumentId("NQ")], BUILT_IN[InstrumentId("CL")]
SHARE = Instrument(
    id=InstrumentId("SHARE"),
    name="A share",
    kind=InstrumentKind.EQUITY,
    tick_size=Decimal("0.01"),
    tick_value_micros=10_000,
    currency="USD",
    mic="XNYS",
    calendar="XNYS",
)
START = 19_000 * NS_PER_DAY
MINUTE = NS_PER_MINUTE
MID = 1_000


def schedule_of(*sessions):
    """A schedule of (open minute, close minute, day) triples, counted from ``START``."""
    rows = np.array(sessions, dtype=np.int64).reshape(-1, 3)
    return SessionSchedule(
        open_ns=START + rows[:, 0] * MINUTE,
        close_ns=START + rows[:, 1] * MINUTE,
        day_ns=START + rows[:, 2] * NS_PER_DAY,
    )


ALL_DAY = schedule_of((0, 1_440, 0), (1_440, 2_880, 1), (2_880, 4_320, 2))
"""Three days without a pause."""


def bar_row(minute, open_, high, low, close, volume=1_000, *, width=5, instrument=0, flags=0, sequence=0, late_ns=0):
    """One bar that opens at ``minute``."""
    row = np.zeros(1, BAR)[0]
    row["ts_open"] = START + minute * MINUTE
    row["ts_event"] = row["ts_open"] + width * MINUTE
    row["ts_init"] = row["ts_event"] + late_ns
    row["open"], row["high"], row["low"], row["close"] = open_, high, low, close
    row["volume"], row["instrument"], row["flags"], row["sequence"] = volume, instrument, flags, sequence
    return row


def tick_row(
    ns, action, *, price=None, size=0, bid=None, ask=None, sizes=(0, 0), instrument=0, flags=0, sequence=0, side=0
):
    """One trade, quote, halt or resumption, ``ns`` after ``START``."""
    row = np.zeros(1, TICK)[0]
    row["ts_event"] = row["ts_init"] = START + ns
    for name, value in (("price", price), ("bid_price", bid), ("ask_price", ask)):
        row[name] = UNDEFINED_PRICE if value is None else value
    row["size"], row["bid_size"], row["ask_size"] = size, *sizes
    row["action"], row["instrument"], row["flags"], row["sequence"] = action, instrument, flags, sequence
    row["side"] = side
    return row


def event_row(ns, action, side=BookSide.NONE, number=0, price=UNDEFINED_PRICE, size=0, *, flags=int(Flag.LAST), **more):
    """One message of an order book, ``ns`` after ``START``; by default the last of its event."""
    row = np.zeros(1, BOOK)[0]
    row["ts_event"] = row["ts_init"] = START + ns
    row["action"], row["side"], row["order_id"] = action, side, number
    row["price"], row["size"], row["flags"] = price, size, flags
    for name, value in more.items():
        row[name] = value
    return row


def quote_row(ns, bid, ask, bid_size=10, ask_size=10, **more):
    """A best bid and ask."""
    return tick_row(ns, Action.QUOTE, bid=bid, ask=ask, sizes=(bid_size, ask_size), **more)


def trade_row(ns, price, size=1, **more):
    """A print."""
    return tick_row(ns, Action.TRADE, price=price, size=size, **more)


def _quiet_quote(ns, price, **more):
    return quote_row(ns, price - 1, price + 1, **more)


def stack(rows):
    """Rows of one layout as one block."""
    block = np.array(rows, dtype=rows[0].dtype)
    block.flags.writeable = False
    return block


@st.composite
def bars(draw, instruments=1, min_size=1, max_size=12):
    """A list of bars in order, with gaps, unknown volumes, halted bars and several instruments."""
    count = draw(st.integers(min_size, max_size))
    minute, last, rows = 0, [MID] * instruments, []
    for number in range(count):
        instrument = draw(st.integers(0, instruments - 1))
        minute += 5 * draw(st.sampled_from((1, 1, 1, 2, 30)))
        open_ = last[instrument] + draw(st.integers(-4, 4))
        close = open_ + draw(st.integers(-5, 5))
        high = max(open_, close) + draw(st.integers(0, 4))
        low = min(open_, close) - draw(st.integers(0, 4))
        volume = draw(st.sampled_from((-1, 0, 6, 10, 20, 1_000)))
        flags = draw(st.sampled_from((0, 0, 0, 0, int(Flag.HALTED))))
        rows.append(
            bar_row(minute, open_, high, low, close, volume, instrument=instrument, flags=flags, sequence=number)
        )
        last[instrument] = close
    return rows


@st.composite
def ticks(draw, instruments=1, min_size=1, max_size=40, *, trades=True, quotes=True, warm=0):
    """A list of trades and quotes in order: one-sided and crossed quotes, trades with quotes, halts, equal stamps.

    Some trades name their aggressor, and now and then one is far from everything. It begins with ``warm`` quiet rows, half a minute apart, so that what needs a few closed bars first knows them.
    """
    kinds = [kind for kind, wanted in (("trade", trades), ("both", trades and quotes), ("quote", quotes)) if wanted]
    kinds = kinds * 12 + ["halt", "resume", "resume"]
    quiet = trade_row if trades else _quiet_quote
    rows = [quiet(k * MINUTE // 2, MID + k % 3, instrument=k % instruments) for k in range(warm)]
    ns = warm * MINUTE // 2
    price = [MID] * instruments
    for number in range(draw(st.integers(min_size, max_size))):
        ns += draw(st.sampled_from((0, 1, 1_000, 500_000, 10**9, 90 * 10**9)))
        instrument = draw(st.integers(0, instruments - 1))
        kind = draw(st.sampled_from(kinds))
        common = {"instrument": instrument, "sequence": number}
        price[instrument] += draw(st.integers(-2, 2))
        middle = price[instrument]
        bid, ask = middle - draw(st.integers(0, 1)), middle + draw(st.integers(1, 2))
        sizes = (draw(st.integers(0, 5)), draw(st.integers(0, 5)))
        flags = draw(st.sampled_from((0, 0, 0, 0, int(Flag.CROSSED)))) if kind == "quote" else 0
        side = draw(st.sampled_from(("both", "both", "both", "both", "bid", "ask")))
        quote = {"bid": None if side == "ask" else bid, "ask": None if side == "bid" else ask, "sizes": sizes}
        printed = middle + draw(st.sampled_from((0,) * 30 + (-40, 40)))
        aggressor = draw(st.sampled_from((0, int(BookSide.NONE), int(BookSide.BID), int(BookSide.ASK))))
        if kind == "trade":
            rows.append(trade_row(ns, printed, draw(st.integers(1, 6)), side=aggressor, **common))
        elif kind == "both":
            rows.append(
                tick_row(
                    ns, Action.TRADE, price=printed, size=draw(st.integers(1, 6)), side=aggressor, **quote, **common
                )
            )
        elif kind == "quote":
            rows.append(tick_row(ns, Action.QUOTE, flags=flags, **quote, **common))
        else:
            rows.append(tick_row(ns, Action.HALT if kind == "halt" else Action.RESUME, **common))
    return rows


@st.composite
def books(draw, instruments=1, min_size=1, max_size=25):
    """Messages of order books in order: orders that come, shrink, grow, move and go, sweeps of several messages, clears and halts.

    Before a book is known there are a few orders on either side. Now and then an event crosses the book for a while, or never ends.
    """
    ns, number, rows = 0, 0, []
    standing = [{} for _ in range(instruments)]

    def say(instrument, action, *, is_last=True, flags=0, **fields):
        rows.append(
            event_row(ns, action, instrument=instrument, sequence=len(rows), flags=flags | int(is_last), **fields)
        )

    def add(instrument, side, price, size, **more):
        nonlocal number
        number += 1
        standing[instrument][number] = (side, price, size)
        say(instrument, Action.ADD, side=side, number=number, price=price, size=size, **more)

    def drop(instrument, which, lots, **more):
        side, price, size = standing[instrument][which]
        say(instrument, Action.CANCEL, side=side, number=which, price=price, size=lots, **more)
        if lots >= size:
            del standing[instrument][which]
        else:
            standing[instrument][which] = (side, price, size - lots)

    for instrument in range(instruments):
        for away in (1, 1, 2, 3):
            add(instrument, BookSide.BID, MID - away, 1 + away, is_last=False)
            add(instrument, BookSide.ASK, MID + away, 1 + away, is_last=away == 3)
    for _ in range(draw(st.integers(min_size, max_size))):
        ns += draw(st.sampled_from((0, 1, 1_000, 500_000, 10**9, 90 * 10**9)))
        instrument = draw(st.integers(0, instruments - 1))
        mine = standing[instrument]
        kind = draw(
            st.sampled_from(("add",) * 8 + ("drop", "change", "sweep", "sweep") * 3 + ("clear", "halt", "resume"))
        )
        ends = draw(st.sampled_from((True,) * 6 + (False,)))
        if kind in ("drop", "change", "sweep") and not mine:
            kind = "add"
        if kind == "add":
            side = draw(st.sampled_from((BookSide.BID, BookSide.ASK)))
            towards = draw(st.integers(-1, 4))
            price = MID - towards if side is BookSide.BID else MID + towards
            add(instrument, side, price, draw(st.integers(1, 6)), is_last=ends)
        elif kind == "drop":
            drop(instrument, draw(st.sampled_from(sorted(mine))), draw(st.integers(1, 6)), is_last=ends)
        elif kind == "change":
            which = draw(st.sampled_from(sorted(mine)))
            side, price, _ = mine[which]
            price, size = price + draw(st.sampled_from((0, 0, 0, -1, 1))), draw(st.integers(1, 8))
            mine[which] = (side, price, size)
            say(instrument, Action.MODIFY, side=side, number=which, price=price, size=size, is_last=ends)
        elif kind == "sweep":
            side = draw(st.sampled_from((BookSide.BID, BookSide.ASK)))
            sign = -1 if side is BookSide.BID else 1
            hit = sorted((one for one in mine if mine[one][0] is side), key=lambda one: (sign * mine[one][1], one))
            aggressor = BookSide.ASK if side is BookSide.BID else BookSide.BID
            hit = hit[: draw(st.integers(1, 4))]
            for one in hit:
                _, price, size = mine[one]
                named = draw(st.sampled_from((aggressor, aggressor, BookSide.NONE)))
                say(instrument, Action.TRADE, side=named, price=price, size=size, is_last=False)
                say(instrument, Action.FILL, side=side, number=one, price=price, size=size, is_last=False)
            ns += draw(st.sampled_from((0, 0, 500)))
            for one in hit:
                drop(instrument, one, mine[one][2], is_last=ends and one == hit[-1])
        elif kind == "clear":
            mine.clear()
            is_snapshot = draw(st.booleans())
            say(instrument, Action.CLEAR, is_last=not is_snapshot)
            for away in (1, 2):
                flags = int(Flag.SNAPSHOT) if is_snapshot else 0
                add(instrument, BookSide.BID, MID - away, 3, flags=flags, is_last=not is_snapshot)
                add(instrument, BookSide.ASK, MID + away, 3, flags=flags, is_last=away == 2)
        else:
            say(instrument, Action.HALT if kind == "halt" else Action.RESUME)
    return rows


_LIVES = tuple(TimeInForce)


@st.composite
def requests(draw, made, groups, instruments=1):
    """What is asked after one row: new orders of every kind, brackets, one-cancels-other pairs, cancels and changes.

    ``made`` holds every order asked for so far and is added to; ``groups`` counts one-cancels-other groups.
    """
    asked = []
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2)))):
        what = draw(st.sampled_from(("order", "order", "order", "bracket", "pair", "cancel", "replace")))
        if what in ("cancel", "replace") and made:
            target = draw(st.sampled_from(made))
            if what == "cancel":
                asked.append(CancelOrder(order_id=target.order_id, ts=0))
            else:
                asked.append(_change(draw, target))
            continue
        instrument = draw(st.integers(0, instruments - 1))
        if what == "pair":
            if not groups or draw(
                st.booleans()
            ):  # Else the numbers of old groups come again, also in another instrument.
                groups.append(len(groups) + 1)
            group = draw(st.sampled_from(groups))
            asked += [_order(draw, made, instrument, oco_group=group) for _ in range(draw(st.integers(1, 3)))]
            continue
        entry = _order(draw, made, instrument)
        asked.append(entry)
        if what == "bracket":
            groups.append(len(groups) + 1)
            away = draw(st.integers(1, 4))
            exits = {"side": Side(-entry.side), "quantity": entry.quantity, "parent": entry.order_id}
            exits |= {"oco_group": groups[-1], "time_in_force": TimeInForce.GTC}
            if draw(st.sampled_from((True, True, False))):
                level = {"order_type": OrderType.STOP, "stop_price": MID - away * entry.side}
            else:
                level = {"order_type": OrderType.TRAILING_STOP, "trail_ticks": away}
            asked.append(_make(made, instrument, **level, **exits))
            target = MID + draw(st.integers(0, 4)) * entry.side
            if draw(st.sampled_from((True, True, False))):
                level = {"order_type": OrderType.LIMIT, "price": target}
            else:
                level = {"order_type": OrderType.MARKET_IF_TOUCHED, "stop_price": target}
            asked.append(_make(made, instrument, **level, **exits))
    return asked


def _order(draw, made, instrument, **more):
    kind = draw(st.sampled_from(tuple(OrderType)))
    fields, terms = {}, ORDER_TYPES[kind]
    if terms.has_limit:
        fields["price"] = MID + draw(st.integers(-5, 5))
    if terms.has_trigger:
        fields["stop_price"] = MID + draw(st.integers(-5, 5))
    if terms.has_trail:
        fields["trail_ticks"] = draw(st.integers(1, 6))
    if terms.may_rest:
        fields["display_quantity"] = draw(st.sampled_from((0, 0, 1, 2, 5)))
    life = draw(st.sampled_from(_LIVES))
    if life is TimeInForce.GTD:
        fields["expire_ts"] = draw(st.sampled_from((1, 10**6, 10 * MINUTE, 200 * MINUTE)))
    side = draw(st.sampled_from(tuple(Side)))
    quantity = draw(st.integers(1, 8))
    more.setdefault("reduce_only", draw(st.sampled_from((False, False, True))))
    return _make(made, instrument, side=side, quantity=quantity, order_type=kind, time_in_force=life, **fields, **more)


def _make(made, instrument, **fields):
    name = (NQ.id, CL.id)[instrument]
    made.append(Order(order_id=OrderId(len(made) + 1), instrument=name, ts=0, **fields))
    return made[-1]


def _change(draw, target):
    prices = {}
    if target.price is not None and draw(st.booleans()):
        prices["price"] = MID + draw(st.integers(-5, 5))
    if target.stop_price is not None and draw(st.booleans()):
        prices["stop_price"] = MID + draw(st.integers(-5, 5))
    return ReplaceOrder(order_id=target.order_id, ts=0, quantity=draw(st.integers(1, 8)), **prices)


@st.composite
def scripts(draw, rows, instruments=1):
    """(row, requests made right after it) for a list of ``rows``."""
    made, groups = [], []
    return [(row, draw(requests(made, groups, instruments))) for row in draw(rows)]
