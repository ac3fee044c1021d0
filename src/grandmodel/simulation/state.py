"""The memory of the market step: plain structured arrays that compiled code walks and Python reads.

Everything the compiled step knows is in these arrays, so saving and restoring a run is copying them. Prices are ticks,
quantities lots, times int64 ns, money millionths. Read next: ``matching.py`` (what happens to an order), ``exchange.py``
(the Python side), ``runtime/market_step.py`` (the walk over a block).
"""

from __future__ import annotations

import enum

import numpy as np

from grandmodel.kernels import kernel

_I8 = "<i8"

STEP = np.dtype(
    [
        ("now", _I8),  # the time up to which the step has run
        ("next_due", _I8),  # nothing but market data happens before this time
        ("row", _I8),  # first row of the present block not yet walked
        ("equity", _I8),  # base currency, millionths; follows every mark
        ("equity_peak", _I8),  # highest since the last record
        ("equity_floor", _I8),  # stop at or below it
        ("above", _I8),  # row of the account above this one; -1: none
        ("traders", _I8),  # accounts below the run's own that trade: rows [1, traders]; 0: it trades itself
        ("slots", _I8),  # rows in use in the slot array
        ("report_head", _I8),  # reports [head, tail) wait for their time
        ("report_tail", _I8),
        ("last_report_due", _I8),  # a venue's reports arrive in the order it sent them
        ("exec_id", _I8),  # of the last report
        ("closed_bars", _I8),  # rows in use in the closed-bar array
        ("fill_rule", _I8),
        ("liquidity", _I8),
        ("participation_ppm", _I8),
        ("stops_at_marks", _I8),  # 1: stop before a roll or a bad stretch of an instrument that we are engaged in
        ("last_ts", _I8),  # ts_init of the last row, to catch disorder
        ("last_sequence", _I8),
        ("last_stamp", _I8),  # a row stamped later is none of this run's
        ("bad_window_ns", _I8),  # rows that no market makes are counted in windows of this length
        ("bad_instrument", _I8),  # whose row was refused last
        ("bad_fault", _I8),  # and why
        ("half_spread", _I8),  # ticks that a taker pays beyond the price known where no quote is known
        ("far_prints_ppm", _I8),  # share of the price that a print may lie beyond the quote; 0: as far as it likes
        ("last_arrival", _I8),  # when our newest message reaches the venue: no later one is there before it
    ]
)
"""One row an account. The first is the run's own and holds the state of the walk and the venue's settings as well; of the others, which are
there only where accounts stand below one another (``risk.tree``), what they are worth counts.
"""

VIEWED = ("position", "mark", "mark_ts", "bid", "ask", "halted", "rate", "session_open", "session_close")
"""The fields that risk reads at every step; they stand at the very front, so that one slice holds them."""

HIDDEN_LEVELS = 16
"""Levels behind the quote of which the lots that we took are remembered; of more the farthest is forgotten."""

INSTRUMENT = np.dtype(
    [
        ("position", _I8),
        ("mark", _I8),
        ("mark_ts", _I8),
        ("bid", _I8),
        ("ask", _I8),
        ("halted", _I8),
        ("rate", _I8),  # millionths of the base currency per unit
        ("session_open", _I8),
        ("session_close", _I8),
        ("active", _I8),  # orders that market data can fill or trigger
        ("lowest", _I8),  # the lowest price that the instrument can have
        ("begins", _I8),  # the roll mark of a refused row: the next row begins the new contract
        ("in_bad_stretch", _I8),  # 1 while the last row was marked so
        ("feed", _I8),
        ("rows", _I8),
        ("trades", _I8),
        ("volume", _I8),
        ("last", _I8),  # last trade
        ("last_ts", _I8),
        ("quotes", _I8),
        ("mark_on_quotes", _I8),  # 1: mark at the middle, rounded down; 0: at the last trade
        ("bid_size", _I8),  # as shown
        ("ask_size", _I8),
        ("bars", _I8),
        ("book_events", _I8),
        ("tick_value", _I8),  # millionths of the instrument's currency
        ("spot", _I8),  # 1: the position is worth its market value; 0: its gain over cost
        ("cost", _I8),  # of the open lots, millionths of the instrument's currency
        ("marked_base", _I8),  # what the position adds to equity now
        ("venue_position", _I8),  # our position as the venue has it: with the fills that we have not heard of yet
        ("roll_ts", _I8),  # of the last row before which a roll or a bad stretch was dealt with
        ("session", _I8),  # index into the schedule of the session that now is in, or the next one
        ("crossed", _I8),
        ("one_sided", _I8),
        ("outside_session", _I8),
        ("bad_stretch", _I8),
        ("rolls", _I8),
        ("bad_rows", _I8),  # rows refused at the door
        ("bad_until", _I8),  # when the present window of them ends
        ("bad_window", _I8),  # rows refused in it
        ("quoted", _I8),  # 1 once a quote has been seen
        ("quote_ts", _I8),  # when the last one was
        ("far_prints", _I8),  # prints too far from the quote to fill or start anything
        ("next_open", _I8),  # open of the session after that of ``session``
        ("in_event", _I8),  # 1 inside an event of several messages
        ("admits_at", _I8),  # what reaches the venue before this time waits until then: inside an event, beyond its end
        ("rejoins", _I8),  # 1: the book was cleared, and our places in its queues are to be reckoned anew
        ("bid_eaten", _I8),  # lots of the bid shown that prints have used up since
        ("ask_eaten", _I8),
        ("bid_gone", _I8),  # lots that left the bid, of which no print has told yet
        ("bid_gone_price", _I8),  # where
        ("bid_gone_ts", _I8),  # when the last of them did
        ("ask_gone", _I8),
        ("ask_gone_price", _I8),
        ("ask_gone_ts", _I8),
        (
            "takings",
            _I8,
        ),  # 1 while we took something of the quote, or of a level that it covers; of each side, bid and ask:
        ("touch", _I8, (2,)),  # the last price shown
        ("taken", _I8, (2,)),  # lots that we took there
        ("hidden", _I8, (2,)),  # levels that a better quote has covered, of which we took some
        ("hidden_price", _I8, (2, HIDDEN_LEVELS)),  # the nearest last
        ("hidden_taken", _I8, (2, HIDDEN_LEVELS)),
    ]
)
"""One row an instrument: what is known of its market, what we hold, and what was counted. What every row of data touches stands first.

Where accounts trade below the run's own, a row for each of them and instrument follows (``holding_row``), of which ``position``, ``cost``,
``marked_base`` and ``venue_position`` count; those of the instrument itself are then their sums.
"""

CHANGES_UNDER_WAY = 3
"""Changes of one order that may be on their way behind a first."""

SLOT = np.dtype(
    [
        ("order_id", _I8),
        ("instrument", _I8),
        ("side", _I8),  # +1 buy, -1 sell
        ("order_type", _I8),
        ("time_in_force", _I8),
        ("state", _I8),
        ("resting", _I8),  # 1 once it has been in the book: its fills provide liquidity
        ("price", _I8),
        ("quantity", _I8),
        ("leaves", _I8),
        ("filled", _I8),
        ("stop_price", _I8),  # the trigger; of a trailing stop, where it stands now
        ("ts_sent", _I8),  # when the engine decided; bars that opened before it cannot fill it
        ("ts_active", _I8),  # when it reaches the venue
        ("ts_expire", _I8),
        ("ts_cancel", _I8),  # when our cancel reaches the venue
        ("ts_replace", _I8),
        ("new_quantity", _I8),
        ("new_price", _I8),  # ``UNDEFINED_PRICE``: as it is
        ("new_stop", _I8),
        (
            "later",
            _I8,
            (CHANGES_UNDER_WAY, 4),
        ),  # changes behind that one: when, quantity, price, stop; ``NEVER_NS``: none
        ("parent", _I8),
        ("oco_group", _I8),
        ("queue_ahead", _I8),  # lots before us at our price
        ("rank", _I8),  # the book's event count when we joined the queue
        ("credit", _I8),  # lots before us that left the quote, of which no print has told yet
        ("credit_ts", _I8),  # when the last of them left
        ("vacant", _I8),  # quotes in a row that show nobody at our price
        ("report_latency", _I8),
        ("slippage", _I8),  # ticks against us on every fill that takes liquidity
        ("trail", _I8),  # ticks between the market and the trigger that follows it; 0: it stays
        ("display", _I8),  # lots that an iceberg shows at a time; 0: all
        ("shown", _I8),  # what is left of them
        ("fresh_ts", _I8),  # close of the bar within which a bracket's child came alive
        ("reduced", _I8),  # lots that one-cancels-other partners filled
        ("woken", _I8),  # a child: lots that its parent filled
        ("triggered", _I8),  # 1 once a stop has triggered; a stop-limit's until it has taken what it can
        ("reduce_only", _I8),  # 1: it takes the venue's position no further than to zero
        ("holding", _I8),  # row of INSTRUMENT whose ``venue_position`` it moves
        (
            "arrival_price",
            _I8,
        ),  # of a market order: what stood in the market on arrival; of a trailing stop: its trigger at last
        ("arrival_kind", _I8),  # what that is: a place in ``PriceReference``
    ]
)
"""One row an order the venue knows and that has not ended, in order of ``order_id``."""


@kernel
def holding_row(account: int, instruments: int, i: int) -> int:
    """The row of ``INSTRUMENT`` for what account ``account`` (0: the run's own) holds of instrument ``i`` of so many."""
    return account * instruments + i


class SlotState(enum.IntEnum):
    """Where an order is in its life at the venue."""

    ENDED = 0
    ANSWERING = 1
    """Ended, but a cancel or change of it is on its way, and will hear that it is too late."""
    PENDING = 2
    """On its way."""
    WORKING = 3
    """In the book, or still taking: a market order that waits for more size."""
    STOPPED = 4
    """Waiting for its trigger."""
    HELD = 5
    """A bracket's child whose parent has not filled."""


class Feed(enum.IntEnum):
    """What an instrument's data last was; decides how an arriving order is matched."""

    NONE = 0
    BARS = 1
    TICKS = 2
    BOOK = 3


class FillRule(enum.IntEnum):
    """When a resting limit order fills."""

    TOUCH = 0
    """As soon as the market trades or quotes at its price. Ignores everybody who was there before us: on trades, quotes and books a fifth of
    its fills would not have happened, and the run warns of it."""
    THROUGH = 1
    """Only when the market trades beyond its price, or the other side quotes at it. Misses fills at the back of a queue."""
    QUEUE = 2
    """When the lots that stood before us at the price have traded or left."""


class Liquidity(enum.IntEnum):
    """How much a taker gets."""

    DISPLAYED = 0
    """At most the size shown, level by level, and no lot twice; the rest waits until more is shown."""
    UNLIMITED = 1
    """Everything at the best price; right for sizes that are small beside the market's."""


UNKNOWN_QUEUE = 2**62
"""Lots ahead of an order at a price level whose size is not shown."""

UNSHOWN_SIZE = 2**31 - 1
"""What a price without a size is taken to offer: a feed that gives prices only (spot FX) shows 0, which is not "nothing"."""
