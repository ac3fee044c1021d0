"""The market step: compiled code that walks a block until Python must decide something.

One walk marks positions, matches orders at the simulated venue, builds bars and counts what it sees. It stops

- when reports of the venue reach us,
- when bars are complete,
- when marked equity has fallen to the line that risk set,
- before the first row after a contract roll, or of a bad stretch, of an instrument that we hold or have orders in,
- after a row that no market makes (``data/market/soundness.py``): the first, second, fourth, eighth ... of its window of time,
- at the end of the block.

What is due at a time t happens before the first trade or quote with ``ts_init`` >= t, in the order: venue, reports,
bars. A finished bar carries data up to its own stamp, so what is due exactly then happens after all bars of that stamp.
None of this depends on where one block ends and the next begins.

A row that no market makes is counted and otherwise passed over: it makes no mark, no bar and no fill, and where its own
stamp is what cannot be, no time passes either.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.market.bar_building import BUILDER, add_bar, add_price, close_due, earliest_due, hasten_passed
from grandmodel.data.market.soundness import (
    FIRST_STAMP_NS,
    LAST_STAMP_NS,
    Fault,
    bar_fault,
    bar_stamps_are_sound,
    is_jump,
    lowest_price,
    quote_fault,
    trade_fault,
)
from grandmodel.domain.blocks import UNDEFINED_PRICE, UNKNOWN_VOLUME, Action, Block, Flag, Schema, schema_of
from grandmodel.domain.errors import UsageError
from grandmodel.domain.instruments import MAX_PRICE_TICKS, MICROS_PER_UNIT, Instrument
from grandmodel.domain.money import converted
from grandmodel.domain.report_rows import REPORT
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NEVER_NS, NS_PER_DAY, NS_PER_MINUTE, NS_PER_SECOND
from grandmodel.kernels import kernel
from grandmodel.runtime.errors import DisorderError
from grandmodel.simulation.depth import DEPTH, apply_book_event, best_level, clear_book, is_crossed
from grandmodel.simulation.matching import (
    eat_touch,
    forget_quotes,
    is_far,
    keep_takings,
    match_bar,
    match_quote,
    match_trade,
    note_gone,
    rejoin_queues,
    report_room,
    run_venue,
    venue_due,
)
from grandmodel.simulation.state import INSTRUMENT, SLOT, STEP, UNSHOWN_SIZE, VIEWED, Feed, SlotState, holding_row

if TYPE_CHECKING:
    from grandmodel.simulation.models import VenueSettings

Rows = NDArray[Any]
"""Structured rows, or plain int64 ones for sessions."""
Row = Any
"""One row of a structured array inside compiled code; numpy has no type for its fields."""


_NOW, _ROW, _EQUITY, _EQUITY_PEAK, _EQUITY_FLOOR, _CLOSED_BARS = (
    (STEP.names or ()).index(name) for name in ("now", "row", "equity", "equity_peak", "equity_floor", "closed_bars")
)


_ARRAY_TYPES = {
    "step": STEP,
    "instruments": INSTRUMENT,
    "builders": BUILDER,
    "closed": BUILDER,
    "slots": SLOT,
    "reports": REPORT,
    "depth": DEPTH,
}


class Stop(enum.IntEnum):
    """Why the walk came back to Python."""

    END = 0
    REPORTS = 1
    BARS = 2
    EQUITY_LINE = 3
    ROLL = 4
    GROW = 5
    """The report array is nearly full; it is enlarged and the walk goes on. Nobody outside sees it."""
    DISORDER = 6
    BAD_ROW = 7
    """A row was refused: the first of its window, the second, the fourth and so on, so that a flood makes few stops."""
    ASK = 8
    """Bars closed and risk has taken them: agents are to be asked. This and what follows comes from ``quiet.QuietWalk``."""
    RISK = 9
    """Bars closed and risk has something to tell of them; it has not taken them all."""
    FULL = 10
    """As many quiet moments as share a record have been appended."""
    REACT = 11
    """Nobody had anything to say of the bars that closed, but risk has more to do than to renew its lines."""
    ROOM = 12
    """The room for quiet moments is enlarged and the walk goes on. Nobody outside sees it."""


_END, _REPORTS, _BARS, _EQUITY_LINE = int(Stop.END), int(Stop.REPORTS), int(Stop.BARS), int(Stop.EQUITY_LINE)
_ROLL_AHEAD, _GROW, _DISORDER, _BAD_ROW = int(Stop.ROLL), int(Stop.GROW), int(Stop.DISORDER), int(Stop.BAD_ROW)
_READ = -1
"""Nothing stands before a row any more: the walk goes on with it. No ``Stop``."""

_TRADE, _QUOTE, _HALT, _RESUME = int(Action.TRADE), int(Action.QUOTE), int(Action.HALT), int(Action.RESUME)
_FILL, _NONE = int(Action.FILL), int(Action.NONE)
_ADD, _CANCEL, _MODIFY, _CLEAR = int(Action.ADD), int(Action.CANCEL), int(Action.MODIFY), int(Action.CLEAR)
_STAMP, _SIZE, _JUMPED = int(Fault.STAMP), int(Fault.SIZE), int(Fault.JUMP)
_LAST, _CROSSED, _HALTED, _SNAPSHOT = int(Flag.LAST), int(Flag.CROSSED), int(Flag.HALTED), int(Flag.SNAPSHOT)
_ROLL, _BAD = int(Flag.ROLL), int(Flag.BAD_STRETCH)
_BREAK = _ROLL | _BAD
_ANSWERING = int(SlotState.ANSWERING)
_FEED_BARS, _FEED_TICKS, _FEED_BOOK = int(Feed.BARS), int(Feed.TICKS), int(Feed.BOOK)

_EVENT_SPAN_NS = NS_PER_SECOND
"""An event whose last message does not come ends so long after the newest."""

SCHEDULE_GRACE_NS = 31 * NS_PER_DAY
"""A row so long after the last session that the run knows is none of this run's."""


class MarketStep:
    """The arrays of the market step and the calls that move it forward.

    ``widths_ns`` are the bar widths that are kept, shortest first, each a multiple of the shortest. ``above`` are the accounts of the run, by row,
    each with the row of the one above it; the first ``traders`` below the run's own trade, or none where that one trades itself.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        schedules: Sequence[SessionSchedule],
        widths_ns: Sequence[int],
        venue: VenueSettings,
        rates_micros: Mapping[str, int],
        *,
        mark_on_quotes: bool = False,
        stops_at_marks: bool = True,
        bad_window_ns: int = 10 * NS_PER_MINUTE,
        above: Sequence[int] = (-1,),
        traders: int = 0,
    ) -> None:
        if not widths_ns or sorted(widths_ns) != list(widths_ns) or any(width % widths_ns[0] for width in widths_ns):
            raise UsageError(f"found bar widths {list(widths_ns)}, expected rising multiples of the shortest, in ns")
        self.count = count = len(instruments)
        """Instruments."""
        self.step = np.zeros(len(above), STEP)
        self.step["above"], self.step[0]["traders"] = above, traders
        self.step["next_due"] = NEVER_NS
        self.step["equity_floor"] = -(2**62)
        self.step["now"] = -(2**63)
        self.step["last_ts"] = FIRST_STAMP_NS - 1
        self.step["fill_rule"] = venue.fill_rule.code
        self.step["liquidity"] = venue.liquidity.code
        self.step["participation_ppm"] = venue.participation_ppm
        self.step["half_spread"] = venue.half_spread_ticks
        self.step["far_prints_ppm"] = venue.far_prints_ppm
        self.step["last_arrival"] = -(2**63)
        self.step["stops_at_marks"] = stops_at_marks
        self.step["bad_window_ns"] = bad_window_ns
        known = [int(schedule.close_ns[-1]) + SCHEDULE_GRACE_NS for schedule in schedules if len(schedule)]
        self.step["last_stamp"] = min(max(known, default=LAST_STAMP_NS), LAST_STAMP_NS)
        self.instruments = np.zeros((1 + traders) * count, INSTRUMENT)
        for name in ("bid", "ask", "mark", "last"):
            self.instruments[name] = UNDEFINED_PRICE
        for row, instrument in zip(self.instruments[:count], instruments, strict=True):
            row["tick_value"] = instrument.tick_value_micros
            row["rate"] = rates_micros.get(instrument.currency, MICROS_PER_UNIT)
            row["spot"] = instrument.pays_whole_price
            row["mark_on_quotes"] = mark_on_quotes
            row["lowest"] = lowest_price(instrument)
            row["bad_until"] = -(2**63)
        self.builders = np.zeros((count, len(widths_ns)), BUILDER)
        self.builders["width"] = np.asarray(widths_ns, np.int64)[None, :]
        self.closed = np.zeros(count * len(widths_ns), BUILDER)
        self.slots = np.zeros(64, SLOT)
        self.reports = np.zeros(1024, REPORT)
        self.depth = np.zeros(0, DEPTH)
        self._values = self.step[:1].view(np.int64)
        self.values = self.step.view(np.int64).reshape(len(above), -1)
        """``step`` as plain integers, (N, fields)."""
        self.rows = self.instruments.view(np.int64).reshape(len(self.instruments), -1)
        """``instruments`` as plain integers, (R, fields)."""
        self.instrument_values = self.rows[:count]
        """(I, fields) those of the instruments themselves."""
        self._closed_values = self.closed.view(np.int64).reshape(len(self.closed), -1)
        self._viewed = self.instrument_values[:, : len(VIEWED)].T
        self._session_rows(schedules)
        self.rows_before = 0
        """Market rows of the blocks that are done."""
        self._schema: Schema | None = None

    def _session_rows(self, schedules: Sequence[SessionSchedule]) -> None:
        """Lay all schedules end to end; ``session_ranges`` (I, 2) says whose is where."""
        lengths = [len(schedule) for schedule in schedules]
        ends = np.cumsum([0, *lengths])
        self.session_ranges = np.stack([ends[:-1], ends[1:]], axis=1).astype(np.int64)
        opens = [schedule.open_ns for schedule in schedules]
        closes = [schedule.close_ns for schedule in schedules]
        self.sessions = np.stack([np.concatenate([*opens, []]), np.concatenate([*closes, []])], axis=1).astype(np.int64)
        for i in range(len(schedules)):
            self.instruments[i]["session"] = self.session_ranges[i, 0] - 1
            self.instruments[i]["session_open"] = self.instruments[i]["session_close"] = -(2**63)

    @property
    def now(self) -> int:
        """The time up to which everything has happened, int64 ns."""
        return int(self._values[_NOW])

    @property
    def equity(self) -> int:
        """Marked equity, millionths of the base currency."""
        return int(self._values[_EQUITY])

    def equity_of(self, account: int) -> int:
        """That of one account, by its row."""
        return int(self.values[account, _EQUITY])

    @property
    def position(self) -> int:
        """Market rows walked since the run began."""
        return self.rows_before + int(self._values[_ROW])

    def viewed(self) -> list[list[int]]:
        """The fields ``VIEWED`` of every instrument: one list a field, one value an instrument."""
        columns: list[list[int]] = self._viewed.tolist()
        return columns

    def tick_rows(self) -> list[int]:
        """Trades, quotes or orders of each instrument so far, 0 where its feed is one of bars; empty where every feed is."""
        feeds = self.instruments["feed"][: self.count]
        is_fine = feeds > _FEED_BARS
        if not is_fine.any():
            return []
        rows: list[int] = np.where(is_fine, self.instruments["rows"][: self.count], 0).tolist()
        return rows

    def closed_rows(self) -> list[tuple[int, ...]]:
        """The bars that closed at this stop, as rows of ``BUILDER``."""
        return list(map(tuple, self._closed_values[: int(self._values[_CLOSED_BARS])].tolist()))

    def set_lines(self, floor: int, account: int = 0) -> int:
        """Stop when the equity of ``account`` falls to ``floor``; its highest since the last call, which starts anew here."""
        values = self.values[account]
        peak = int(values[_EQUITY_PEAK])
        values[_EQUITY_FLOOR] = floor
        values[_EQUITY_PEAK] = values[_EQUITY]
        return peak

    def lots(self, first: int, last: int) -> list[int]:
        """What the accounts [``first``, ``last``) hold together, by instrument; 0 and 1 stand for the run's own."""
        if first == 0:
            own: list[int] = self.instrument_values[:, 0].tolist()
            return own
        held = self.rows[first * self.count : last * self.count, 0].reshape(last - first, self.count)
        found: list[int] = held.sum(axis=0).tolist()
        return found

    def _counts_bad_row(self, block: Block) -> bool:
        """Count the row that the walk has just passed over; True where somebody is to hear of it."""
        state = self.step[0]
        market, row, fault = (
            self.instruments[int(state["bad_instrument"])],
            block[int(state["row"]) - 1],
            int(state["bad_fault"]),
        )
        ts = int(state["now"])
        market["rows"] += fault == Fault.STAMP  # Of the others this row has been counted, and its time has come.
        market["bad_rows"] += 1
        market["begins"] |= int(row["flags"]) & _ROLL
        if ts >= market["bad_until"]:
            market["bad_until"], market["bad_window"] = ts + int(state["bad_window_ns"]), 0
        count = int(market["bad_window"]) + 1
        market["bad_window"] = count
        return ts >= FIRST_STAMP_NS and count & (count - 1) == 0

    def bad_rows(self) -> tuple[int, int, Fault]:
        """After ``Stop.BAD_ROW``: the instrument, how many of its rows were refused in this window, and why the newest was."""
        index = int(self.step[0]["bad_instrument"])
        market = self.instruments[index]
        return index, int(market["bad_window"]), Fault(int(self.step[0]["bad_fault"]))

    def fault_of(self, row: Any) -> Fault:
        """What is wrong with the prices and sizes of ``row`` by itself."""
        lowest = int(self.instruments[int(row["instrument"])]["lowest"])
        names = row.dtype.names or ()
        if "open" in names:
            prices = int(row["open"]), int(row["high"]), int(row["low"]), int(row["close"])
            return Fault(bar_fault(*prices, int(row["volume"]), UNDEFINED_PRICE, lowest))
        if "order_id" in names:
            return Fault(_event_fault(row, UNDEFINED_PRICE, lowest))
        fault = 0
        if int(row["action"]) == _TRADE:
            fault = trade_fault(int(row["price"]), int(row["size"]), UNDEFINED_PRICE, lowest)
        quote = int(row["bid_price"]), int(row["ask_price"]), int(row["bid_size"]), int(row["ask_size"])
        return Fault(fault or quote_fault(*quote, UNDEFINED_PRICE, lowest))

    def check(self, block: Block) -> Schema:
        """The schema of ``block``; raises ``UsageError`` where its instruments or layout are not those of this run."""
        schema = schema_of(block)
        highest = int(block["instrument"].max()) if len(block) else -1
        if highest >= self.count:
            raise UsageError(f"found instrument number {highest} in a block, expected below {self.count}")
        return schema

    def begin(self, block: Block) -> Schema:
        """Make ``block`` the one to walk; raises ``UsageError`` where its instruments or layout do not fit."""
        schema = self.check(block)
        if schema is Schema.BOOK and not len(self.depth):
            self.depth = np.zeros(self.count, DEPTH)
        self.step[0]["row"] = 0
        if schema is not self._schema:  # Sequence numbers of different layouts have nothing to do with each other.
            self._schema = schema
            self.step[0]["last_sequence"] = 0
        return schema

    def walk(self, block: Block, schema: Schema) -> Stop:
        """Go on walking ``block`` from where the last call stopped. Raises ``DisorderError`` on rows out of order."""
        walk_rows = _WALKS[schema]
        while True:
            code = walk_rows(
                block, self.step, self.instruments, self.builders, self.slots, self.reports, self.closed, self.depth,
                self.sessions, self.session_ranges,
            )  # fmt: skip
            if self.is_stop(code, block):
                return Stop(code)

    def is_stop(self, code: int, block: Block) -> bool:
        """Deal with what a walk over ``block`` came back with; False where it only has to go on.

        Raises ``DisorderError`` on rows out of order.
        """
        if code == Stop.GROW:
            self.make_room(2 * len(self.reports))
            return False
        if code == Stop.BAD_ROW:
            return self._counts_bad_row(block)
        if code == Stop.DISORDER:
            row, state = block[int(self.step[0]["row"])], self.step[0]
            raise DisorderError(
                f"market row {self.position}: found ts_init {int(row['ts_init'])} sequence {int(row['sequence'])} after "
                f"{int(state['last_ts'])} sequence {int(state['last_sequence'])}, expected rows in order: sort the feed"
            )
        if code == Stop.END:
            self.rows_before += len(block)
            self.step[0]["row"] = 0
        return True

    def advance(self, ts: int) -> Stop:
        """Let time pass to ``ts`` without data; stops like ``walk`` (END: nothing more is due by then)."""
        while True:
            code = advance_to(
                self.step, self.instruments, self.builders, self.slots, self.reports, self.closed, self.depth, ts
            )
            if code != Stop.GROW:
                return Stop(code)
            self.make_room(2 * len(self.reports))

    def saved(self) -> dict[str, tuple[int, bytes]]:
        """The arrays as ``restore`` takes them: rows and bytes by name."""
        return {name: (len(array := getattr(self, name)), array.tobytes()) for name in _ARRAY_TYPES}

    def restore(self, saved: Mapping[str, tuple[int, bytes]], rows_before: int) -> None:
        """Put back the arrays that a snapshot holds: rows and bytes by name."""
        for name, dtype in _ARRAY_TYPES.items():
            rows, data = saved[name]
            array = getattr(self, name)
            found = np.frombuffer(data, dtype=dtype)
            if name in ("slots", "reports", "depth"):
                setattr(self, name, found.copy())
            elif rows != len(array) or found.size != array.size:
                raise UsageError(f"snapshot: found {rows} rows of {name}, expected {len(array)}")
            else:
                array[...] = found.reshape(array.shape)  # In place: the views look into these.
        self.rows_before = rows_before

    def make_room(self, rows: int) -> None:
        """Enlarge the report array to ``rows``."""
        larger = np.zeros(rows, REPORT)
        larger[: len(self.reports)] = self.reports
        self.reports = larger


@kernel
def run_due(
    step: Rows, instruments: Rows, builders: Rows, slots: Rows, reports: Rows, closed: Rows, depth: Rows, limit: int
) -> int:
    """Everything due at or before ``limit``, in order of time; a ``Stop``, END when nothing is left."""
    state = step[0]
    while True:
        state.next_due = min(venue_due(step, slots, reports, instruments), earliest_due(builders))
        ts = state.next_due
        if ts > limit or ts == NEVER_NS:
            return _END
        state.now = max(state.now, ts)
        if reports.shape[0] - state.report_tail < report_room(state.slots):
            return _GROW
        run_venue(step, slots, reports, instruments, depth, ts)
        if state.report_head < state.report_tail and reports[state.report_head].due <= ts:
            return _REPORTS
        state.closed_bars = close_due(builders, closed, 0, instruments, ts)
        if state.closed_bars > 0:
            return _BARS


@kernel(borrows=True)
def advance_to(
    step: Rows, instruments: Rows, builders: Rows, slots: Rows, reports: Rows, closed: Rows, depth: Rows, ts: int
) -> int:
    """Let time pass to ``ts``."""
    code = run_due(step, instruments, builders, slots, reports, closed, depth, ts)
    if code == _END:
        step[0].now = max(step[0].now, ts)
    return code


@kernel
def _find_session(instruments: Rows, i: int, sessions: Rows, ranges: Rows, ts: int) -> None:
    """Move to the session that contains ``ts``, or the next one; beyond the last, one that nothing reaches."""
    market = instruments[i]
    ended = market.session_close
    while ts >= market.session_close:
        market.session += 1
        if market.session >= ranges[i, 1]:
            market.session_open = 2**63 - 1
            market.session_close = 2**63 - 1
            break
        market.session_open = sessions[market.session, 0]
        market.session_close = sessions[market.session, 1]
    market.next_open = 2**63 - 1
    if market.session + 1 < ranges[i, 1]:
        market.next_open = sessions[market.session + 1, 0]
    if market.session_open > ended:
        forget_quotes(market)


@kernel
def _hasten_reports(step: Rows, reports: Rows, i: int, due: int) -> bool:
    """Make the reports on instrument ``i`` that are on their way, and those before them, due by ``due``; True if there were any.

    A fill in the old contract must be booked before the roll: booked after it, it would be valued at the new one's price.
    """
    last = -1
    for k in range(step[0].report_head, step[0].report_tail):
        if reports[k].instrument == i:
            last = k
    for k in range(step[0].report_head, last + 1):
        reports[k].due = min(reports[k].due, due)
    return last >= 0


@kernel
def _is_engaged(step: Rows, instruments: Rows, slots: Rows, i: int) -> bool:
    """True where we hold instrument ``i`` or have an order in it, be it on its way."""
    traders = step[0].traders
    engaged, count = instruments[i].position != 0, instruments.shape[0] // (traders + 1)
    for account in range(1, traders + 1):
        engaged |= instruments[holding_row(account, count, i)].position != 0
    for k in range(step[0].slots):
        engaged |= slots[k].instrument == i and slots[k].state > _ANSWERING
    return bool(engaged)


@kernel(inline=True)
def _refuse(step: Rows, row: int, i: int, fault: int) -> int:
    """Pass over ``row`` of instrument ``i``, which no market makes; ``MarketStep`` counts it."""
    step[0].row = row + 1
    step[0].bad_instrument = i
    step[0].bad_fault = fault
    return _BAD_ROW


@kernel(inline=True)
def mark_instrument(step: Rows, instruments: Rows, i: int, price: int, ts: int) -> bool:
    """Mark instrument ``i``; True where equity has fallen to the line that risk set."""
    market = instruments[i]
    market.mark_ts = ts
    if step[0].traders > 0:
        return _mark_accounts(step, instruments, i, price)
    if market.position == 0:
        market.mark = price
        return False
    if price == market.mark:
        return False
    market.mark = price
    value = _marked(market, market)
    step[0].equity += value - market.marked_base
    market.marked_base = value
    step[0].equity_peak = max(step[0].equity_peak, step[0].equity)
    return bool(step[0].equity <= step[0].equity_floor)


@kernel(inline=True)
def _marked(market: Row, held: Row) -> int:
    """What ``held`` of an instrument adds to equity at its mark, in millionths of the base currency."""
    value = held.position * market.mark * market.tick_value
    if not market.spot:
        value -= held.cost
    return converted(value, market.rate)


@kernel
def _mark_accounts(step: Rows, instruments: Rows, i: int, price: int) -> bool:
    """Mark what every account holds of instrument ``i``; True where the equity of one has fallen to its line."""
    market, traders = instruments[i], step[0].traders
    if price == market.mark:
        return False
    market.mark = price
    count, moved = instruments.shape[0] // (traders + 1), False
    for account in range(1, traders + 1):
        held = instruments[holding_row(account, count, i)]
        if held.position == 0:
            continue
        more = _marked(market, held) - held.marked_base
        held.marked_base += more
        market.marked_base += more
        move_equity(step, account, more)
        moved = True
    below = False
    if moved:
        for n in range(step.shape[0]):
            account = step[n]
            account.equity_peak = max(account.equity_peak, account.equity)
            below |= account.equity <= account.equity_floor
    return bool(below)


@kernel
def move_equity(step: Rows, n: int, more: int) -> None:
    """Account ``n`` is worth ``more`` than before, and so is every account above it."""
    while n >= 0:
        step[n].equity += more
        n = step[n].above


@kernel(inline=True)
def _tick_fault(
    action: int, price: int, size: int, bid: int, ask: int, bid_size: int, ask_size: int, mark: int, lowest: int
) -> int:
    """The ``Fault`` of a trade, of a quote, or of a trade with the quote after it."""
    if action == _QUOTE:
        if lowest <= bid <= ask <= MAX_PRICE_TICKS and (bid_size | ask_size) >= 0:  # Nearly all of them.
            return _JUMPED if mark != UNDEFINED_PRICE and is_jump((bid + ask) >> 1, mark, lowest) else 0
        return quote_fault(bid, ask, bid_size, ask_size, mark, lowest)
    if action != _TRADE:
        return 0
    fault = trade_fault(price, size, mark, lowest)
    if fault == 0 and (bid != UNDEFINED_PRICE or ask != UNDEFINED_PRICE or (bid_size | ask_size) < 0):
        fault = quote_fault(bid, ask, bid_size, ask_size, mark, lowest)
    return fault


@kernel(inline=True)
def _event_fault(event: Row, mark: int, lowest: int) -> int:
    """The ``Fault`` of an order book event. A resting order may stand anywhere that a price can be."""
    if event.action == _TRADE:
        return trade_fault(event.price, event.size, mark, lowest)
    if event.action == _ADD or event.action == _MODIFY:
        return trade_fault(event.price, event.size, UNDEFINED_PRICE, lowest)
    return _SIZE if event.action == _CANCEL and event.size < 0 else 0


@kernel(inline=True)
def _is_next(state: Row, market: Row, room: int, ts: int, until: int, sequence: int, breaks: int) -> bool:
    """True where nothing stands before a row: nearly always. ``room`` is the length of the report array; else as in ``make_way``."""
    return bool(
        (ts > state.last_ts or (ts == state.last_ts and sequence >= state.last_sequence))
        and ts <= state.last_stamp
        and until < state.next_due
        and breaks == 0
        and (market.active == 0 or room - state.report_tail >= report_room(state.slots))
    )


@kernel
def make_way(
    step: Rows, instruments: Rows, builders: Rows, slots: Rows, reports: Rows, closed: Rows, depth: Rows,
    row: int, i: int, ts: int, began: int, until: int, sequence: int, breaks: int,
) -> int:  # fmt: skip
    """What comes before ``row``, a row of instrument ``i`` known at ``ts``: a ``Stop``, or ``_READ`` when it is its turn.

    ``began`` is when what the row tells of began, ``until`` the last time whose events come before it, ``breaks`` its ``_BREAK`` flags.
    """
    state, market = step[0], instruments[i]
    if ts < FIRST_STAMP_NS or ts > state.last_stamp:
        return _refuse(step, row, i, _STAMP)
    state.row = row
    if ts < state.last_ts or (ts == state.last_ts and sequence < state.last_sequence):
        return _DISORDER
    if until >= state.next_due:
        code = run_due(step, instruments, builders, slots, reports, closed, depth, until)
        if code != _END:
            return code
    if breaks and state.stops_at_marks and market.roll_ts != ts:
        if _hasten_reports(step, reports, i, until):
            return run_due(step, instruments, builders, slots, reports, closed, depth, until)
        if _is_engaged(step, instruments, slots, i):
            state.now = max(state.now, began)
            return _ROLL_AHEAD
    if market.active > 0 and reports.shape[0] - state.report_tail < report_room(state.slots):
        return _GROW
    return _READ


# The inlined leaves below are given rows, not arrays: numba counts the references of an array at every use.


@kernel(inline=True)
def _begin_row(state: Row, market: Row, ts: int, began: int, sequence: int, feed: int) -> bool:
    """Time passes to a row, and it is counted; True where its session must be found."""
    state.now = ts
    state.last_ts = ts
    state.last_sequence = sequence
    market.rows += 1
    market.feed = feed
    return bool(began >= market.session_close)


@kernel(inline=True)
def _note_breaks(market: Row, breaks: int) -> None:
    """Count the ``_BREAK`` flags of a row that is sound."""
    market.in_bad_stretch = breaks & _BAD
    if breaks:
        market.begins = 0
        market.bad_stretch += (breaks & _BAD) != 0
        market.rolls += (breaks & _ROLL) != 0


@kernel(inline=True)
def _count_trade(market: Row, ts: int, size: int) -> None:
    market.trades += 1
    market.volume += size
    market.last_ts = ts


@kernel(inline=True)
def _keep_quote(market: Row, ts: int, bid: int, ask: int, bid_size: int, ask_size: int, is_told: bool) -> None:
    """Keep a quote; ``is_told``: it stands beside the trade that changed it."""
    bid_size = bid_size if bid_size > 0 else UNSHOWN_SIZE
    ask_size = ask_size if ask_size > 0 else UNSHOWN_SIZE
    if not is_told and market.trades > 0:
        note_gone(market, bid, bid_size, ask, ask_size, ts)
    if market.takings:
        keep_takings(market, bid, bid_size, ask, ask_size)
    market.quoted = 1
    market.quote_ts = ts
    market.bid_eaten = market.ask_eaten = 0
    market.bid = bid
    market.ask = ask
    market.bid_size = bid_size
    market.ask_size = ask_size


@kernel(inline=True)
def _keep_print(state: Row, market: Row, ts: int, price: int, size: int, aggressor: int, is_whole: bool) -> bool:
    """Keep a trade and what it used up of the quote; True where our orders are to be matched with it. A far print is only counted.

    ``is_whole``: its row holds the quote after it, which shows by itself what is left.
    """
    if market.quoted:
        if (price > market.ask or price < market.bid) and is_far(market, price, state.far_prints_ppm, ts):
            market.far_prints += 1
            return False
        if not is_whole:
            eat_touch(market, price, size, aggressor, ts)
    market.last = price
    return bool(market.active > 0 and not market.halted and ts >= market.session_open)


@kernel(inline=True)
def _is_crossed(bid: int, ask: int, flags: int) -> bool:
    """True for a quote that moves no book: marked so, or with a bid above its ask."""
    return (flags & _CROSSED) != 0 or (bid > ask and bid != UNDEFINED_PRICE)


@kernel(borrows=True)
def walk_ticks(
    block: Rows, step: Rows, instruments: Rows, builders: Rows, slots: Rows, reports: Rows, closed: Rows, depth: Rows,
    sessions: Rows, ranges: Rows,
) -> int:  # fmt: skip
    """Walk trades and quotes from ``step.row``; a ``Stop``. The row that it stopped before is in ``step.row``."""
    state = step[0]
    state.next_due = min(venue_due(step, slots, reports, instruments), earliest_due(builders))
    for row in range(state.row, block.shape[0]):
        tick = block[row]
        ts, i, flags = tick.ts_init, tick.instrument, tick.flags
        market = instruments[i]
        if not _is_next(state, market, reports.shape[0], ts, ts, tick.sequence, flags & _BREAK):
            code = make_way(
                step, instruments, builders, slots, reports, closed, depth, row, i, ts, ts, ts, tick.sequence,
                flags & _BREAK,
            )  # fmt: skip
            if code != _READ:
                return code
        if _begin_row(state, market, ts, ts, tick.sequence, _FEED_TICKS):
            _find_session(instruments, i, sessions, ranges, ts)
        market.outside_session += ts < market.session_open
        breaks = (flags & _BREAK) | market.begins
        action, mark = tick.action, market.mark
        bid, ask, bid_size, ask_size = tick.bid_price, tick.ask_price, tick.bid_size, tick.ask_size
        reference = UNDEFINED_PRICE if breaks & _ROLL else mark
        fault = _tick_fault(action, tick.price, tick.size, bid, ask, bid_size, ask_size, reference, market.lowest)
        if fault != 0:
            return _refuse(step, row, i, fault)
        _note_breaks(market, breaks)
        if action == _TRADE:
            mark = tick.price
            _count_trade(market, ts, tick.size)
            due = add_price(builders, i, ts, mark, tick.size, market.session_open, market.session_close, breaks)
            state.next_due = min(state.next_due, due)
            is_whole = (bid != UNDEFINED_PRICE or ask != UNDEFINED_PRICE) and not _is_crossed(bid, ask, flags)
            if _keep_print(state, market, ts, mark, tick.size, tick.side, is_whole):
                match_trade(step, slots, reports, instruments, depth, i, ts, mark, tick.size, tick.side, is_whole)
            if is_whole:
                _keep_quote(market, ts, bid, ask, bid_size, ask_size, True)
                if market.active > 0 and not market.halted and ts >= market.session_open:
                    match_quote(step, slots, reports, instruments, depth, i, ts)
        elif action == _QUOTE:
            market.quotes += 1
            if _is_crossed(bid, ask, flags):
                market.crossed += 1
            else:
                _keep_quote(market, ts, bid, ask, bid_size, ask_size, False)
                if market.active > 0 and not market.halted and ts >= market.session_open:
                    match_quote(step, slots, reports, instruments, depth, i, ts)
                if bid == UNDEFINED_PRICE or ask == UNDEFINED_PRICE:
                    market.one_sided += 1
                elif market.mark_on_quotes:
                    mark = (bid + ask) >> 1
                    opens, closes = market.session_open, market.session_close
                    due = add_price(builders, i, ts, mark, UNKNOWN_VOLUME, opens, closes, breaks)
                    state.next_due = min(state.next_due, due)
        elif action == _HALT or action == _RESUME:
            market.halted = action == _HALT
        if mark_instrument(step, instruments, i, mark, ts):
            state.row = row + 1
            return _EQUITY_LINE
    state.row = block.shape[0]
    return _END


@kernel(borrows=True)
def walk_bars(
    block: Rows, step: Rows, instruments: Rows, builders: Rows, slots: Rows, reports: Rows, closed: Rows, depth: Rows,
    sessions: Rows, ranges: Rows,
) -> int:  # fmt: skip
    """Walk finished bars from ``step.row``; a ``Stop``."""
    state = step[0]
    state.next_due = min(venue_due(step, slots, reports, instruments), earliest_due(builders))
    for row in range(state.row, block.shape[0]):
        bar = block[row]
        ts, opened, i, flags = bar.ts_init, bar.ts_open, bar.instrument, bar.flags
        if not bar_stamps_are_sound(opened, bar.ts_event, ts, state.last_stamp):
            return _refuse(step, row, i, _STAMP)
        if ts >= state.last_ts and hasten_passed(builders, i, opened, ts - 1):
            state.next_due = min(state.next_due, ts - 1)
        market = instruments[i]
        if not _is_next(state, market, reports.shape[0], ts, ts - 1, bar.sequence, flags & _BREAK):
            code = make_way(
                step, instruments, builders, slots, reports, closed, depth, row, i, ts, opened, ts - 1, bar.sequence,
                flags & _BREAK,
            )  # fmt: skip
            if code != _READ:
                return code
        if _begin_row(state, market, ts, opened, bar.sequence, _FEED_BARS):
            _find_session(instruments, i, sessions, ranges, opened)
        market.outside_session += opened < market.session_open
        breaks = (flags & _BREAK) | market.begins
        reference = UNDEFINED_PRICE if breaks & _ROLL else market.mark
        fault = bar_fault(bar.open, bar.high, bar.low, bar.close, bar.volume, reference, market.lowest)
        if fault != 0:
            return _refuse(step, row, i, fault)
        _note_breaks(market, breaks)
        market.bars += 1
        market.volume += max(bar.volume, 0)
        if market.active > 0 and not flags & _HALTED and opened >= market.session_open:
            match_bar(
                step, slots, reports, instruments, i, opened, ts, bar.open, bar.high, bar.low, bar.close, bar.volume
            )
        market.last = bar.close
        market.last_ts = ts
        due = add_bar(
            builders, i, opened, bar.ts_event, ts, bar.open, bar.high, bar.low, bar.close, bar.volume, breaks,
            market.session_open, market.session_close,
        )  # fmt: skip
        state.next_due = min(state.next_due, due)
        if mark_instrument(step, instruments, i, bar.close, ts):
            state.row = row + 1
            return _EQUITY_LINE
    state.row = block.shape[0]
    return _END


@kernel(borrows=True)
def walk_book(
    block: Rows, step: Rows, instruments: Rows, builders: Rows, slots: Rows, reports: Rows, closed: Rows, depth: Rows,
    sessions: Rows, ranges: Rows,
) -> int:  # fmt: skip
    """Walk order-book events from ``step.row``; a ``Stop``. A new contract begins with an empty book."""
    state = step[0]
    state.next_due = min(venue_due(step, slots, reports, instruments), earliest_due(builders))
    for row in range(state.row, block.shape[0]):
        event = block[row]
        ts, i, flags, action = event.ts_init, event.instrument, event.flags, event.action
        market = instruments[i]
        if not _is_next(state, market, reports.shape[0], ts, ts, event.sequence, flags & _BREAK):
            code = make_way(
                step, instruments, builders, slots, reports, closed, depth, row, i, ts, ts, ts, event.sequence,
                flags & _BREAK,
            )  # fmt: skip
            if code != _READ:
                return code
        if _begin_row(state, market, ts, ts, event.sequence, _FEED_BOOK):
            _find_session(instruments, i, sessions, ranges, ts)
        market.outside_session += ts < market.session_open
        breaks = (flags & _BREAK) | market.begins
        mark = market.mark
        fault = _event_fault(event, UNDEFINED_PRICE if breaks & _ROLL else mark, market.lowest)
        if fault != 0:
            return _refuse(step, row, i, fault)
        _note_breaks(market, breaks)
        market.book_events += 1
        if breaks & _ROLL:
            clear_book(depth, i)
            market.bid = market.ask = UNDEFINED_PRICE
        if action == _TRADE:
            mark = event.price
            market.last = mark
            _count_trade(market, ts, event.size)
            due = add_price(builders, i, ts, mark, event.size, market.session_open, market.session_close, breaks)
            state.next_due = min(state.next_due, due)
            if market.active > 0 and not market.halted and ts >= market.session_open:
                match_trade(step, slots, reports, instruments, depth, i, ts, mark, event.size, event.side, False)
        elif action == _HALT or action == _RESUME:
            market.halted = action == _HALT
        elif action != _FILL and action != _NONE:
            apply_book_event(
                depth,
                i,
                action,
                event.side,
                event.order_id,
                event.price,
                event.size,
                market.book_events,
                slots,
                state.slots,
            )
            if action == _CLEAR:
                rejoin_queues(step, slots, instruments, depth, i, False)
            _show_book(instruments, depth, i)
        if not flags & _LAST:
            market.in_event = 1
            market.admits_at = ts + _EVENT_SPAN_NS
        elif market.active > 0 or market.in_event or market.rejoins:
            _end_event(step, instruments, slots, reports, builders, depth, i, ts, flags)
        if mark_instrument(step, instruments, i, mark, ts):
            state.row = row + 1
            return _EQUITY_LINE
    state.row = block.shape[0]
    return _END


@kernel
def _show_book(instruments: Rows, depth: Rows, i: int) -> None:
    """Keep the best bid and ask of an order book."""
    market = instruments[i]
    bid, ask = best_level(depth, i, 0), best_level(depth, i, 1)
    if bid < ask or bid == UNDEFINED_PRICE or ask == UNDEFINED_PRICE:
        market.bid, market.ask = bid, ask
        market.bid_size = 0 if bid == UNDEFINED_PRICE else depth[i].size[0, bid - depth[i].base]
        market.ask_size = 0 if ask == UNDEFINED_PRICE else depth[i].size[1, ask - depth[i].base]
    else:
        market.crossed += 1


@kernel
def _end_event(
    step: Rows, instruments: Rows, slots: Rows, reports: Rows, builders: Rows, depth: Rows, i: int, ts: int, flags: int
) -> None:
    """The last message of an event of the order book: our orders meet the book as it is now, and what waited for that is let in."""
    state, market = step[0], instruments[i]
    if market.in_event:
        market.in_event = 0
        market.admits_at = ts
        if state.slots > 0:
            state.next_due = min(venue_due(step, slots, reports, instruments), earliest_due(builders))
    if market.rejoins and not flags & _SNAPSHOT and market.bid != UNDEFINED_PRICE and market.ask != UNDEFINED_PRICE:
        rejoin_queues(step, slots, instruments, depth, i, True)
    if market.active > 0 and not market.halted and ts >= market.session_open and not is_crossed(depth, i):
        match_quote(step, slots, reports, instruments, depth, i, ts)


_WALKS = {Schema.TRADES: walk_ticks, Schema.QUOTES: walk_ticks, Schema.BOOK: walk_book, Schema.BARS: walk_bars}
