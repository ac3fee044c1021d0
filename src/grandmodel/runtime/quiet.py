"""The compiled loop over quiet moments: bars close, orders fill, nobody says anything, and the walk goes on without Python.

One call walks the market step to its next stop. Where bars closed there it takes them into risk and asks the agents' wake rules; where the
venue's reports came it takes them (``report_intake.py``). Where no agent is to be asked and risk has nothing to tell, it appends the moment to
the open stretch and walks on. It comes back for everything
else, and before it has changed anything that Python then does: ``Engine.on_stop`` goes on with the same kernels from there. Whether a
moment is quiet is a matter of what came of it, never of who found that out, so that a wake rule changes no record.

Read next: ``market_step.py`` (the walk), ``risk/intake.py`` (what risk does with bars), ``domain/moments.py`` (reading a stretch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grandmodel.data.market.bar_building import BUILDER
from grandmodel.domain.agents import WakeRule
from grandmodel.domain.blocks import BAR, BOOK, TICK, Block, Schema
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import ClosedBar, QuietMoments
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.moments import BAR_WORDS, MOMENT_WORDS, REPORT_WORDS, counted, packed
from grandmodel.domain.report_rows import REPORT
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NEVER_NS, NS_PER_DAY
from grandmodel.kernels import kernel, table_of, table_reader
from grandmodel.risk.gate import RiskGate
from grandmodel.risk.intake import INTAKE, TAKEN, renew_lines, take_bars
from grandmodel.risk.running import OPEN, POSITIONS, RATES, ROWS
from grandmodel.risk.standing import STANDING
from grandmodel.runtime.addresses import call_condition, condition_address
from grandmodel.runtime.market_step import MarketStep, Stop, advance_to, walk_bars, walk_book, walk_ticks
from grandmodel.runtime.report_intake import ReportIntake, at_hand, hear, put_reports
from grandmodel.simulation.depth import DEPTH
from grandmodel.simulation.state import INSTRUMENT, SLOT, STEP, Feed

Rows = Any
"""A structured array, or a plain one, inside compiled code."""

_I8 = "<i8"

STRETCH = np.dtype(
    [
        ("usual", _I8),  # 1: risk has nothing to look at but the account's standing
        ("pending", _I8),  # 1: nobody had anything to say of the moment at hand; risk has not reacted to it yet
        ("hears", _I8),  # 1: Python is asked of every report of the venue
        ("reports", _I8),  # at hand; 0 at a moment of bars
        ("fills", _I8),  # in the open stretch
        ("asks", _I8),  # 1: Python is asked at every moment
        ("heeds", _I8),  # 1: wake rules are asked
        ("most", _I8),  # moments that share a record
        ("moments", _I8),  # in the open stretch
        ("words", _I8),  # of it in use
        ("ts", _I8),  # of the last moment in it
        ("position", _I8),
        ("equity", _I8),
        ("rows_before", _I8),  # market rows of the blocks that are done
        ("widths", _I8),
        ("day", _I8),  # the trading day, and from when until when it is that
        ("day_from", _I8),
        ("day_until", _I8),
        ("rule", _I8),  # the wake rule that was asked last
    ]
)
"""One row: the open stretch, and what the loop must know besides the market step and risk."""

_SAVED = ("moments", "words", "ts", "position", "equity", "fills")
_NAMES = STRETCH.names or ()
_MOMENTS, _WORDS = (_NAMES.index(name) for name in ("moments", "words"))

_BARS, _REPORTS, _ASK, _RISK, _FULL, _REACT, _ROOM = (
    int(stop) for stop in (Stop.BARS, Stop.REPORTS, Stop.ASK, Stop.RISK, Stop.FULL, Stop.REACT, Stop.ROOM)
)
_END, _GROW = int(Stop.END), int(Stop.GROW)
_FEED_BARS = int(Feed.BARS)
_ADDRESS, _IS_REAL, _TRADER = range(3)
"""A row of the rules: where the condition is, 1 where its memory is of floats, the row of the account that its agent trades for."""


class QuietWalk:
    """The walk of one engine, and its open stretch.

    ``gates`` are those of the run's accounts, by row; ``rules`` the wake rules of the agents that have one, in their order, ``traders`` the rows of
    the accounts that those trade for; ``asks``: Python is to come in at every closed bar whatever
    they say, ``hears``: at every report of the venue; ``most`` moments share a record.
    """

    def __init__(
        self,
        market: MarketStep,
        gates: Sequence[RiskGate],
        intake: ReportIntake,
        instruments: Sequence[InstrumentId],
        schedules: Sequence[SessionSchedule],
        rules: Sequence[WakeRule],
        traders: Sequence[int],
        *,
        asks: bool,
        hears: bool,
        most: int,
    ) -> None:
        self._market, self._gates, self._intake = market, tuple(gates), intake
        self._gate = gates[0]
        self._lines = np.stack([gate.lines for gate in gates])
        self._instruments = tuple(instruments)
        self._memories = [rule.memory for rule in rules]
        self._rules = np.array(
            [
                (condition_address(rule.condition, rule.memory), rule.memory.dtype.kind == "f", n)
                for rule, n in zip(rules, traders, strict=True)
            ],
            dtype=np.int64,
        ).reshape(len(rules), 3)
        self._held = np.zeros((len(gates), len(instruments)), dtype=np.int64)
        self._memories_at = np.array([table_of((rule.memory,)) for rule in rules], dtype=np.int64).reshape(
            len(rules), 3
        )
        self._asked = np.zeros(len(rules), dtype=np.int64)
        self._days = schedules[0].day_ns.astype(np.int64)
        self._stretch = np.zeros(1, STRETCH)
        self._values = self._stretch.view(np.int64)
        self._words = np.zeros(1024, dtype=np.int64)
        row = self._stretch[0]
        row["asks"], row["heeds"], row["most"], row["widths"] = asks, True, most, market.builders.shape[1]
        row["hears"] = hears
        row["day_until"] = -(2**63)
        self._table: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._arrays: StepArrays | None = None
        self._shown = np.zeros(1 + BAR_WORDS * len(market.closed), dtype=np.int64)
        self._is_pending = False
        self._block: Block = np.zeros(0, BAR)
        self._block_table = table_of((self._block,))
        self._walk = _WALKS[Schema.BARS]

    def begin(self, block: Block) -> Schema:
        """Make ``block`` the one to walk, as ``MarketStep.begin`` does."""
        schema = self._market.begin(block)
        self._block = np.ascontiguousarray(block)
        self._block_table = table_of((self._block,))
        self._walk = _WALKS[schema]
        self._stretch[0]["rows_before"] = self._market.rows_before
        return schema

    def walk(self) -> int:
        """Go on with the block; a ``Stop`` as a number."""
        while True:
            code: int = self._walk(self._ready_table(), self._block_table, self._is_pending, self._is_usual())
            if code >= _ASK:
                self._is_pending = code == _ROOM
                if code != _ROOM:
                    return code
                self._make_room()
                continue
            self._is_pending = False
            if self._market.is_stop(code, self._block):
                if code == _END:
                    self._stretch[0]["rows_before"] = self._market.rows_before
                return code

    def advance(self, ts: int) -> int:
        """Let time pass to ``ts`` without data; a ``Stop`` as a number, END where nothing more is due by then."""
        self._stretch[0]["rows_before"] = self._market.rows_before
        while True:
            code: int = _go_on_in_time(self._ready_table(), self._is_pending, self._is_usual(), ts)
            self._is_pending = code == _ROOM
            if code == _GROW:
                self._market.make_room(2 * len(self._market.reports))
            elif code == _ROOM:
                self._make_room()
            else:
                return code

    def _is_usual(self) -> bool:
        """True where no gate has more to look at than how its account stands."""
        usual = True
        for gate in self._gates:
            usual = gate.is_usual and usual  # Each draws its lines where they have moved.
        return usual

    def closed_bars(self) -> tuple[ClosedBar, ...]:
        """The bars of the moment at hand."""
        names, shown = self._instruments, self._shown
        count = shown.item(0)
        words = shown[1 : 1 + BAR_WORDS * count].tolist()
        if count == 1:
            return (ClosedBar(names[words[0]], *words[1:]),)
        return tuple(
            [ClosedBar(names[words[k]], *words[k + 1 : k + BAR_WORDS]) for k in range(0, BAR_WORDS * count, BAR_WORDS)]
        )

    @property
    def is_open(self) -> bool:
        """True while a stretch holds moments."""
        return bool(self._values[_MOMENTS])

    def asked(self) -> list[int]:
        """By wake rule, 1 where it wants its agent asked at the moment at hand."""
        flags: list[int] = self._asked.tolist()
        return flags

    def show_bars(self) -> None:
        """Bars closed and compiled code has done nothing about it yet: keep them for ``closed_bars`` and ``append``."""
        self._stretch[0]["reports"] = 0
        _show(self._market.step, self._market.closed, self._shown)

    def show_reports(self) -> None:
        """The moment at hand is that of the reports that the intake holds."""
        self._stretch[0]["reports"], self._shown[0] = self._intake.count, 0

    @property
    def is_of_reports(self) -> bool:
        """True where the moment at hand is one of reports."""
        return bool(self._stretch[0]["reports"])

    def ask_rules(self) -> None:
        """Ask every wake rule of the moment at hand, whose bars risk has taken."""
        market = self._market
        _hold_rows(market.instruments, self._held)
        _ask_rules(
            self._stretch,
            self._rules,
            self._memories_at,
            self._asked,
            market.closed,
            int(market.step[0]["closed_bars"]),
            self._held,
        )

    def leave(self) -> None:
        """The agents had nothing to say of the moment at hand: the next call of ``walk`` or ``advance`` deals with it."""
        self._is_pending = True

    def append(self) -> bool:
        """Append the moment at hand to the stretch; True where that is full now."""
        while not _append(self._stretch, self._market.step, self._shown, self._words, self._intake.table):
            self._make_room()
        return bool(self._values[_MOMENTS] >= self._stretch[0]["most"])

    def take_stretch(self) -> tuple[int, int, int, QuietMoments]:
        """Close the open stretch: (ts, position, equity) of its last moment, and all of them."""
        row = self._stretch[0]
        rows, fills = packed(self._words[: int(row["words"])]), int(row["fills"])
        row["moments"] = row["words"] = row["fills"] = 0
        moments = QuietMoments(
            instruments=self._instruments, rows=rows, tags=self._intake.tags if fills else (), fills=fills
        )
        return int(row["ts"]), int(row["position"]), int(row["equity"]), moments

    def stop_asking(self, *, asks: bool) -> None:
        """No agent is asked any more; ``asks`` as before."""
        self._stretch[0]["heeds"], self._stretch[0]["asks"], self._stretch[0]["hears"] = False, asks, False

    def failed_rule(self) -> int:
        """The place of the wake rule that was asked last."""
        return int(self._stretch[0]["rule"])

    def save(self) -> tuple[list[int], bytes, list[bytes]]:
        """The open stretch and the memories of the rules."""
        row = self._stretch[0]
        words = self._words[: int(row["words"])].tobytes()
        return [int(row[name]) for name in _SAVED], words, [memory.tobytes() for memory in self._memories]

    def restore(self, saved: tuple[list[int], bytes, list[bytes]]) -> None:
        """Put back what ``save`` gave; raises ``UsageError`` where the memories are not those of these rules."""
        values, words, memories = saved
        if [len(one) for one in memories] != [memory.nbytes for memory in self._memories]:
            raise UsageError("snapshot: found other wake rules than this run's agents have, expected the same agents")
        found = np.frombuffer(words, dtype=np.int64)
        while len(found) > len(self._words):
            self._make_room()
        self._words[: len(found)] = found
        for name, value in zip(_SAVED, values, strict=True):
            self._stretch[0][name] = value
        for memory, data in zip(self._memories, memories, strict=True):
            memory[:] = np.frombuffer(data, dtype=memory.dtype)
        self._is_pending = False
        self._arrays = None

    def _make_room(self) -> None:
        """Double the room for the stretch."""
        larger = np.zeros(2 * len(self._words), dtype=np.int64)
        larger[: int(self._values[_WORDS])] = self._words[: int(self._values[_WORDS])]
        self._words = larger
        self._arrays = None

    def _ready_table(self) -> NDArray[np.int64]:
        """The table of ``StepArrays``, brought up to date."""
        market = self._market
        if (
            self._arrays is not None
            and self._arrays.slots is market.slots
            and self._arrays.reports is market.reports
            and self._arrays.depth is market.depth
        ):
            return self._table
        gate = self._gate
        running, shocks = gate.running, gate.shocks
        self._arrays = StepArrays(
            market.step, market.instruments, market.builders, market.slots, market.reports, market.closed, market.depth,
            market.sessions, market.session_ranges, running.lots, running.closes, running.row, running.covariance.tables,
            running.covariance.clock, running.money, shocks.tables, shocks.eigenvector, shocks.history, shocks.count, gate.pace.table,
            gate.intake, gate.account.rows.standing, self._lines, self._stretch, self._words, self._days, self._rules, self._memories_at,
            self._asked, self._shown, self._intake.table, self._held,
        )  # fmt: skip
        self._table = table_of(self._arrays)
        return self._table


class StepArrays(NamedTuple):
    """What the compiled loop works on: the arrays of ``MarketStep``, of ``RunningRisk`` and its neighbours, and of ``QuietWalk``."""

    step: Rows
    instruments: Rows
    builders: Rows
    slots: Rows
    reports: Rows
    closed: Rows
    depth: Rows
    sessions: Rows
    ranges: Rows
    lots: Rows
    closes: Rows
    row: Rows
    tables: Rows
    clock: Rows
    money: Rows
    shock_tables: Rows
    eigenvector: Rows
    history: Rows
    shock_count: Rows
    pace: Rows
    intake: Rows
    standing: Rows
    lines: Rows
    stretch: Rows
    words: Rows
    days: Rows
    rules: Rows
    memories: Rows
    """(R, 3) the table of each rule's memory"""
    asked: Rows
    shown: Rows
    said: Rows
    """``ReportIntake.table``"""
    held: Rows
    """(N, I) lots of each account that trades, for the wake rules"""


_unpacked = table_reader(
    "StepArrays",
    zip(
        StepArrays._fields,
        (
            STEP, INSTRUMENT, BUILDER, SLOT, REPORT, BUILDER, DEPTH, np.int64, np.int64, np.int64, np.int64, np.int64, np.float64,
            np.float64, np.float64, np.float64, np.float64, np.float64, np.int64, np.int64, INTAKE, STANDING, np.float64, STRETCH,
            np.int64, np.int64, np.int64, np.int64, np.int64, np.int64, np.int64, np.int64,
        ),
        (1, 1, 2, 1, 1, 1, 1, 2, 2, 2, 2, 1, 3, 1, 2, 3, 1, 2, 1, 2, 1, 1, 3, 1, 1, 1, 2, 2, 1, 1, 1, 2),
        strict=True,
    ),
)  # fmt: skip
"""In compiled code: the ``StepArrays`` of which one has the ``table_of``."""
_whole_of = table_reader("WholeMemory", (("words", np.int64, 1),))
_real_of = table_reader("RealMemory", (("words", np.float64, 1),))
_bars_of = table_reader("Bars", (("rows", BAR, 1),))
_ticks_of = table_reader("Ticks", (("rows", TICK, 1),))
_events_of = table_reader("Events", (("rows", BOOK, 1),))


@kernel
def _go_on_in_bars(table: Rows, block: Rows, is_pending: bool, is_usual: bool) -> int:
    """Walk a block of bars to the next moment that Python must see; a stop code."""
    arrays = _unpacked(table)
    rows = _bars_of(block).rows
    code = _settle_pending(arrays, is_pending, is_usual)
    while code == 0:
        code = walk_bars(
            rows, arrays.step, arrays.instruments, arrays.builders, arrays.slots, arrays.reports, arrays.closed, arrays.depth,
            arrays.sessions, arrays.ranges,
        )  # fmt: skip
        if code != _BARS and code != _REPORTS:
            return code
        code = _take_moment(arrays, code)
    return code


@kernel
def _go_on_in_ticks(table: Rows, block: Rows, is_pending: bool, is_usual: bool) -> int:
    """Walk a block of trades and quotes to the next moment that Python must see; a stop code."""
    arrays = _unpacked(table)
    rows = _ticks_of(block).rows
    code = _settle_pending(arrays, is_pending, is_usual)
    while code == 0:
        code = walk_ticks(
            rows, arrays.step, arrays.instruments, arrays.builders, arrays.slots, arrays.reports, arrays.closed, arrays.depth,
            arrays.sessions, arrays.ranges,
        )  # fmt: skip
        if code != _BARS and code != _REPORTS:
            return code
        code = _take_moment(arrays, code)
    return code


@kernel
def _go_on_in_book(table: Rows, block: Rows, is_pending: bool, is_usual: bool) -> int:
    """Walk a block of order book events to the next moment that Python must see; a stop code."""
    arrays = _unpacked(table)
    rows = _events_of(block).rows
    code = _settle_pending(arrays, is_pending, is_usual)
    while code == 0:
        code = walk_book(
            rows, arrays.step, arrays.instruments, arrays.builders, arrays.slots, arrays.reports, arrays.closed, arrays.depth,
            arrays.sessions, arrays.ranges,
        )  # fmt: skip
        if code != _BARS and code != _REPORTS:
            return code
        code = _take_moment(arrays, code)
    return code


@kernel
def _go_on_in_time(table: Rows, is_pending: bool, is_usual: bool, ts: int) -> int:
    """Let time pass to ``ts``, or to the next moment before it that Python must see; a stop code."""
    arrays = _unpacked(table)
    code = _settle_pending(arrays, is_pending, is_usual)
    while code == 0:
        code = advance_to(
            arrays.step, arrays.instruments, arrays.builders, arrays.slots, arrays.reports, arrays.closed, arrays.depth, ts
        )  # fmt: skip
        if code != _BARS and code != _REPORTS:
            return code
        code = _take_moment(arrays, code)
    return code


_WALKS = {
    Schema.TRADES: _go_on_in_ticks,
    Schema.QUOTES: _go_on_in_ticks,
    Schema.BOOK: _go_on_in_book,
    Schema.BARS: _go_on_in_bars,
}


@kernel
def _take_moment(arrays: StepArrays, stop: int) -> int:
    """Go on from a stop for closed bars or for reports, as far as no Python is needed; a stop code or 0."""
    return _close(arrays) if stop == _BARS else _hear(arrays)


@kernel
def _close(arrays: StepArrays) -> int:
    """Bars closed: take them into risk, ask the wake rules, and settle the moment where nobody wants to be asked; a stop code or 0."""
    step, closed, lots, stretch = arrays.step, arrays.closed, arrays.lots, arrays.stretch
    now, count = step[0].now, step[0].closed_bars
    for k in range(arrays.builders.shape[0]):
        market = arrays.instruments[k]
        is_open = market.session_open <= now < market.session_close
        lots[POSITIONS, k], lots[RATES, k] = market.position, market.rate
        lots[OPEN, k] = is_open or _is_open(arrays.sessions, arrays.ranges, k, now)
        lots[ROWS, k] = market.rows if market.feed > _FEED_BARS else -1
    code = take_bars(
        closed, count, arrays.intake, lots, arrays.closes, arrays.row, arrays.tables, arrays.clock, arrays.money,
        arrays.shock_tables, arrays.eigenvector, arrays.history, arrays.shock_count, arrays.pace,
    )  # fmt: skip
    if code != TAKEN:
        arrays.intake[0].code = code
        return _RISK
    # The record's bars are kept before anybody's rule sees the rows.
    stretch[0].reports = 0
    _show(step, closed, arrays.shown)
    _hold_rows(arrays.instruments, arrays.held)
    is_asked = _ask_rules(stretch, arrays.rules, arrays.memories, arrays.asked, closed, count, arrays.held)
    if is_asked or stretch[0].asks or stretch[0].most == 1:
        return _ASK
    stretch[0].pending = 1
    return _settle(arrays)


@kernel
def _hear(arrays: StepArrays) -> int:
    """Reports reached us: take them, and settle the moment where nobody wants to hear of it; a stop code or 0."""
    state = arrays.stretch[0]
    if state.hears or state.most == 1 or hear(arrays.said, arrays.step, arrays.reports) < 0:
        return _REPORTS
    arrays.shown[0], state.reports, state.pending = 0, at_hand(arrays.said), 1
    return _settle(arrays)


@kernel
def _settle_pending(arrays: StepArrays, is_pending: bool, is_usual: bool) -> int:
    """Settle the moment at hand of which Python had nothing to say, if ``is_pending``; ``is_usual`` as ``RiskGate`` has it."""
    state = arrays.stretch[0]
    state.pending, state.usual = is_pending, is_usual
    return _settle(arrays) if is_pending else 0


@kernel(borrows=True)
def _hold_rows(instruments: Rows, held: Rows) -> None:
    """What the run and every account that trades below it hold, by account and instrument."""
    count = held.shape[1]
    for row in range(instruments.shape[0]):
        held[row // count, row % count] = instruments[row].position


@kernel
def _ask_rules(stretch: Rows, rules: Rows, memories: Rows, asked: Rows, closed: Rows, count: int, held: Rows) -> bool:
    """Ask every wake rule of the bars that closed; True where one wants its agent asked."""
    found = False
    if stretch[0].heeds:
        for k in range(rules.shape[0]):
            stretch[0].rule = k
            if rules[k, _IS_REAL]:
                real = _real_of(memories[k]).words
                wants = call_condition(rules[k, _ADDRESS], closed, count, held[rules[k, _TRADER]], real)
            else:
                whole = _whole_of(memories[k]).words
                wants = call_condition(rules[k, _ADDRESS], closed, count, held[rules[k, _TRADER]], whole)
            asked[k] = wants
            found |= wants
    return found


@kernel
def _settle(arrays: StepArrays) -> int:
    """Let risk react to a moment of which nobody had anything to say, and append it to the stretch; a stop code, or 0.

    Where risk has more to do than to renew its lines, or there is no room, nothing is changed.
    """
    state, market = arrays.stretch[0], arrays.step[0]
    if state.usual == 0:
        return _REACT
    for n in range(arrays.step.shape[0]):
        if arrays.standing[n].state != 0 or arrays.standing[n].flattening != 0:
            return _REACT
    if _words_after(arrays.stretch, arrays.shown) > arrays.words.shape[0]:
        return _ROOM
    day = _trading_day(arrays.stretch, arrays.sessions, arrays.ranges, arrays.days, market.now)
    if day < 0:
        day = market.now - market.now % NS_PER_DAY
    for n in range(arrays.step.shape[0]):
        # Where an account that comes later is one to react to, the lines of this one are drawn again, to the same place.
        account = arrays.step[n]
        top = max(account.equity, account.equity_peak)
        if not renew_lines(arrays.standing[n : n + 1], arrays.lines[n], account.equity, top, day, True):
            return _REACT
    for n in range(arrays.step.shape[0]):
        arrays.step[n].equity_floor = arrays.standing[n].floor
        arrays.step[n].equity_peak = arrays.step[n].equity
    state.pending = 0
    _append(arrays.stretch, arrays.step, arrays.shown, arrays.words, arrays.said)
    return _FULL if state.moments >= state.most else 0


@kernel
def _words_after(stretch: Rows, shown: Rows) -> int:
    """Words of the stretch once the moment at hand is appended."""
    state = stretch[0]
    return int(state.words + MOMENT_WORDS + BAR_WORDS * shown[0] + REPORT_WORDS * state.reports)


@kernel(borrows=True)
def _append(stretch: Rows, step: Rows, shown: Rows, words: Rows, said: Rows) -> bool:
    """Append the moment at hand to the stretch, its bars from ``shown``, its reports from the intake; False, and nothing done, without room."""
    state, market = stretch[0], step[0]
    after = _words_after(stretch, shown)
    if after > words.shape[0]:
        return False
    at, bars = state.words, BAR_WORDS * shown[0]
    state.ts, state.position, state.equity = market.now, state.rows_before + market.row, market.equity
    words[at], words[at + 1], words[at + 2] = state.ts, state.position, state.equity
    words[at + 3] = counted(shown[0], state.reports)
    at += MOMENT_WORDS
    for k in range(bars):
        words[at + k] = shown[1 + k]
    if state.reports > 0:
        state.fills += put_reports(said, words, at + bars)
    state.words = after
    state.moments += 1
    return True


@kernel(borrows=True)
def _show(step: Rows, closed: Rows, shown: Rows) -> None:
    """Keep the bars that closed: how many, then field by field as ``ClosedBar`` has them."""
    shown[0] = step[0].closed_bars
    at = 1
    for k in range(shown[0]):
        bar = closed[k]
        shown[at], shown[at + 1], shown[at + 2], shown[at + 3] = bar.instrument, bar.width, bar.start, bar.end
        shown[at + 4], shown[at + 5], shown[at + 6], shown[at + 7] = bar.open, bar.high, bar.low, bar.close
        shown[at + 8], shown[at + 9] = bar.volume, bar.flags
        at += BAR_WORDS


@kernel
def _count_until(sessions: Rows, column: int, first: int, last: int, ts: int) -> int:
    """How many of the rows [first, last) of ``sessions`` have a time at or before ``ts`` in ``column``; the times rise."""
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if sessions[middle, column] <= ts:
            low = middle + 1
        else:
            high = middle
    return low - first


@kernel
def _is_open(sessions: Rows, ranges: Rows, k: int, ts: int) -> bool:
    """True where ``ts`` lies in a session of instrument ``k``."""
    place = ranges[k, 0] + _count_until(sessions, 0, ranges[k, 0], ranges[k, 1], ts) - 1
    return bool(place >= ranges[k, 0] and ts < sessions[place, 1])


@kernel
def _trading_day(stretch: Rows, sessions: Rows, ranges: Rows, days: Rows, now: int) -> int:
    """Midnight UTC of the trading day of the first instrument's sessions, -1 behind the last; as ``Books`` has it."""
    state = stretch[0]
    if not state.day_from <= now < state.day_until:
        first = ranges[0, 0]
        place = _count_until(sessions, 1, first, ranges[0, 1], now)
        state.day_from = sessions[first + place - 1, 1] if place > 0 else -(2**63)
        state.day, state.day_until = -1, NEVER_NS
        if place < days.shape[0]:
            state.day, state.day_until = days[place], sessions[first + place, 1]
    return int(state.day)
