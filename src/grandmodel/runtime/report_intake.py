"""What a step's reports do to orders, ledger, market step, risk and limits: compiled, report after report, in one fixed order.

``go_on`` takes the reports that stand in ``said`` through four stages: they are folded into our orders (``execution.order_life``), their
fills are booked (``account.booking``; the ledger is held against the market step before each), risk takes them (``risk.taking``), and the limits on
lots are reckoned again (``position_limits``). It comes back where Python has something to do, and goes on from there when it is called again.
The compiled loop over quiet moments (``quiet.py``) and ``Books.apply_reports`` both call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.account.booking import BOOKED, book, books_of, equity_of, marked_base
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.moments import put_report
from grandmodel.domain.orders import ExecType, ExecutionReport, Tag
from grandmodel.domain.report_rows import EXEC_CODES, HEARD, NOT_OPEN, REPORT, TAKEN, report_of, report_row
from grandmodel.execution.order_life import fold, lives_of
from grandmodel.kernels import kernel, table_of, table_reader
from grandmodel.risk.rows import AccountRows, rows_of
from grandmodel.risk.taking import has_room, results_of, take_report
from grandmodel.runtime.market_step import move_equity
from grandmodel.runtime.position_limits import look
from grandmodel.simulation.exchange import due_count, hand_out
from grandmodel.simulation.models import FEES, FeeModel, fee_of
from grandmodel.simulation.state import INSTRUMENT, STEP, holding_row

if TYPE_CHECKING:
    from grandmodel.execution.order_life import OrderLives
    from grandmodel.risk.gate import RiskGate
    from grandmodel.runtime.market_step import MarketStep
    from grandmodel.runtime.position_limits import PositionLimits
    from grandmodel.runtime.trading_account import TradingAccount

Rows = NDArray[Any]
"""Structured rows; numpy has no type for their fields."""

Row = Any
"""One row of a structured array inside compiled code."""

_I8 = "<i8"

STAGE = np.dtype(
    [
        ("stage", _I8),  # where ``go_on`` stands
        ("place", _I8),  # the report, or in the last stage the instrument, that comes next
        ("count", _I8),  # reports at hand
        ("fetched", _I8),  # 1 where compiled code had the venue hand them out and Python has not seen them
        ("limit", _I8),  # which limit is broken
        ("untold", _I8),  # why ``go_on`` came back to compiled code, for Python to deal with
    ]
)
"""One row."""

_FRESH, _FOLD, _BOOK, _RISK, _LIMITS, _TAKEN = range(6)

DONE, NO_ROOM, FALSE_REPORT, NOT_BOOKED, LATE, RISK_TELLS, LIMIT_BROKEN = range(7)
"""Why ``go_on`` came back: all is done; arrays must grow; a report cannot be true; a fill could not be booked, or the books did not agree
before it; a fill of an instrument that has ended was booked; risk has something to tell; a limit on lots is broken."""

OFF = -1
"""What came of a fill beside ``booking.BOOKED`` and its like: ledger and market step did not agree before it."""

_FILL = EXEC_CODES[ExecType.TRADE]
_NEEDS_PYTHON = np.zeros(128, np.int64)
for _kind in (ExecType.REPLACED, ExecType.CANCEL_REJECTED, ExecType.REJECTED):
    _NEEDS_PYTHON[EXEC_CODES[_kind]] = 1

_open = table_reader(
    "Intake",
    (
        ("at", STAGE, 1), ("said", REPORT, 1), ("heard", HEARD, 1), ("fees", FEES, 1), ("tops", np.int64, 3), ("ends", np.int64, 3),
        ("spans", np.int64, 2), ("step", STEP, 1), ("market", INSTRUMENT, 1), ("account", np.int64, 1), ("lives", np.int64, 1),
        ("ledgers", np.int64, 2), ("results", np.int64, 1),
    ),
)  # fmt: skip
"""In compiled code: what is behind ``ReportIntake.table``; the last four are handles themselves, ``ledgers`` one for each account that trades."""


@kernel
def tell_market(holdings: Rows, cash: Rows, market: Rows, account: int, i: int) -> None:
    """Tell the market step what ``account`` holds of instrument ``i``, and what it is worth."""
    held, own, marked = holdings[i], market[i], marked_base(holdings, cash, i)
    known = market[holding_row(account, holdings.shape[0], i)]
    own.mark = held.mark
    if account > 0:
        own.position += held.lots - known.position
        own.cost += held.cost - known.cost
        own.marked_base += marked - known.marked_base
    known.position, known.cost, known.marked_base = held.lots, held.cost, marked


@kernel
def book_one(
    holdings: Rows, cash: Rows, step: Rows, market: Rows, account: int, i: int, signed_lots: int, price: int, fee: int
) -> int:
    """Enter one fill of ``account``, and tell the market step; ``BOOKED``, or why it was not.

    Ledger and market step must agree before it: else ``OFF``.
    """
    for j in range(holdings.shape[0]):
        holdings[j].mark = market[j].mark
    if equity_of(holdings, cash) != step[account].equity:
        return OFF
    code = book(holdings, cash, i, signed_lots, price, fee)
    if code == BOOKED:
        tell_market(holdings, cash, market, account, i)
        move_equity(step, account, equity_of(holdings, cash) - step[account].equity)
    return code


@kernel
def _fold_all(state: Row, said: Rows, heard: Rows, lives: Rows, counts: Rows, beyond: NDArray[np.int64]) -> int:
    """Fold the reports into our orders."""
    while state.place < state.count:
        k = state.place
        heard[k].code = fold(lives, counts, beyond, said[k], heard[k])
        if heard[k].code > NOT_OPEN:
            return FALSE_REPORT
        state.place += 1
    return DONE


@kernel
def _book_all(
    state: Row, said: Rows, heard: Rows, ledgers: NDArray[np.int64], step: Rows, market: Rows, fees: Row
) -> int:
    """Book the fills among the reports."""
    while state.place < state.count:
        report, came = said[state.place], heard[state.place]
        if came.code != TAKEN or report.exec_type != _FILL:
            state.place += 1
            continue
        books = books_of(ledgers[max(0, came.account - 1)])
        holdings, cash = books.holdings, books.cash
        i, lots, price = came.instrument, report.last_quantity, report.last_price
        ppm = fees.maker_ppm if report.maker != 0 else fees.taker_ppm
        came.fee = fee_of(lots, abs(lots * price * holdings[i].tick_value), fees.per_lot, ppm)
        came.booked = book_one(holdings, cash, step, market, came.account, i, lots * came.side, price, came.fee)
        if came.booked != BOOKED:
            return NOT_BOOKED
        state.place += 1
        if holdings[i].settled != UNDEFINED_PRICE and holdings[i].lots != 0:
            return LATE
    return DONE


@kernel
def _take_all(
    state: Row, said: Rows, heard: Rows, rows: AccountRows, trades: Rows, totals: Rows, executions: Rows, times: NDArray[np.int64]
) -> int:  # fmt: skip
    """Let risk take the reports."""
    while state.place < state.count:
        k = state.place
        state.place += 1
        if heard[k].code != TAKEN:
            continue
        heard[k].risk = take_report(rows, heard[k].account, 0, said[k], heard[k], trades, totals, executions, times)
        if heard[k].risk != 0:
            return RISK_TELLS
    return DONE


@kernel
def _look_all(
    state: Row, heard: Rows, lives: Rows, counts: Rows, market: Rows, tops: NDArray[np.int64], ends: NDArray[np.int64],
    spans: NDArray[np.int64],
) -> int:  # fmt: skip
    """Reckon the limits of every instrument and account that the reports touched again; ``place`` counts the accounts of the first, then the next."""
    accounts, instruments = tops.shape[0], tops.shape[1] - 1
    while state.place < instruments * accounts:
        i, n = state.place // accounts, state.place % accounts
        first, last = spans[n, 0], spans[n, 1]
        state.place += 1
        for k in range(state.count):
            if heard[k].code == TAKEN and heard[k].instrument == i and first <= heard[k].account < last:
                position = 0
                for account in range(first, last):
                    position += market[holding_row(account, instruments, i)].position
                state.limit = look(lives, counts, tops[n], ends[n], i, position, first, last, False)
                if state.limit != 0:
                    return LIMIT_BROKEN
                break
    return DONE


@kernel(borrows=True)
def go_on(table: NDArray[np.int64]) -> int:
    """Take the reports at hand further; why it came back. ``table`` is that of ``ReportIntake``."""
    given, code = _open(table), DONE
    state, said, heard = given.at[0], given.said, given.heard
    orders, results = lives_of(given.lives), results_of(given.results)
    while code == DONE and state.stage != _TAKEN:
        if state.stage == _FRESH:
            fits = orders.counts[0].beyond + state.count <= orders.beyond.shape[0]
            if not fits or not has_room(results.executions, results.times, state.count):
                return NO_ROOM
        elif state.stage == _FOLD:
            code = _fold_all(state, said, heard, orders.lives, orders.counts, orders.beyond)
        elif state.stage == _BOOK:
            code = _book_all(state, said, heard, given.ledgers, given.step, given.market, given.fees[0])
        elif state.stage == _RISK:
            rows = rows_of(given.account)
            code = _take_all(
                state, said, heard, rows, results.trades, results.totals, results.executions, results.times
            )
        elif state.stage == _LIMITS:
            code = _look_all(
                state, heard, orders.lives, orders.counts, given.market, given.tops, given.ends, given.spans
            )
        if code == DONE:
            state.stage += 1
            state.place = 0
    return code


@kernel
def hear(table: NDArray[np.int64], step: Rows, reports: Rows) -> int:
    """Take the reports of the simulated venue that are due as far as no Python is needed: how many, all done; -1 where Python must go on.

    Where some of them need Python by their kind nothing has been done.
    """
    given = _open(table)
    state = given.at[0]
    state.fetched = 0
    count = due_count(step, reports)
    if count > given.said.shape[0]:
        return -1
    head = step[0].report_head
    for k in range(count):
        if _NEEDS_PYTHON[reports[head + k].exec_type] != 0:
            return -1
    hand_out(step, reports, given.said, count)
    state.stage, state.count, state.fetched = _FRESH, count, 1
    state.untold = go_on(table)
    return int(count) if state.untold == DONE else -1


@kernel
def at_hand(table: NDArray[np.int64]) -> int:
    """How many reports are at hand."""
    return int(_open(table).at[0].count)


@kernel
def put_reports(table: NDArray[np.int64], words: NDArray[np.int64], at: int) -> int:
    """Write the reports at hand and what came of them into ``words`` from ``at`` on (``domain.moments``); how many of them are fills."""
    given, fills = _open(table), 0
    said, heard = given.said, given.heard
    for k in range(given.at[0].count):
        at = put_report(words, at, said[k], heard[k])
        fills += heard[k].code == TAKEN and said[k].exec_type == _FILL
    return int(fills)


@kernel(borrows=True)
def _book_at(
    ledger: NDArray[np.int64], step: Rows, market: Rows, account: int, i: int, signed_lots: int, price: int, fee: int
) -> int:
    """``book_one`` behind the ledger's handle."""
    books = books_of(ledger)
    return book_one(books.holdings, books.cash, step, market, account, i, signed_lots, price, fee)


@kernel(borrows=True)
def _tell_all_at(ledger: NDArray[np.int64], step: Rows, market: Rows, account: int) -> None:
    """``tell_market`` of every instrument, and the equity that follows, behind the ledger's handle."""
    books = books_of(ledger)
    for i in range(books.holdings.shape[0]):
        tell_market(books.holdings, books.cash, market, account, i)
    move_equity(step, account, equity_of(books.holdings, books.cash) - step[account].equity)


class ReportIntake:
    """The reports at hand and what came of them, and the addresses of everything that they change."""

    def __init__(
        self,
        gate: RiskGate,
        lives: OrderLives,
        ledgers: NDArray[np.int64],
        limits: PositionLimits,
        market: MarketStep,
        fees: FeeModel,
    ) -> None:
        """``gate`` is the run's own; ``ledgers`` (A, words) holds the handle of the ledger of each account that trades."""
        self._gate, self._lives, self._ledgers, self._limits, self._market = gate, lives, ledgers, limits, market
        self._fees: Rows = np.array([fees.rates()], FEES)
        self._at: Rows = np.zeros(1, STAGE)
        self._said: Rows = np.zeros(64, REPORT)
        self._heard: Rows = np.zeros(64, HEARD)
        self.table = self._table()
        """For ``go_on`` and ``hear``."""

    def _table(self) -> NDArray[np.int64]:
        gate, limits, market = self._gate, self._limits, self._market
        return table_of(
            (
                self._at, self._said, self._heard, self._fees, limits.tops, limits.ends, limits.spans, market.step, market.instruments,
                gate.account.handle, self._lives.handle, self._ledgers, gate.results.handle,
            )
        )  # fmt: skip

    @property
    def tags(self) -> tuple[Tag, ...]:
        """Of the orders so far, by their numbers in the rows."""
        return tuple(self._lives.tags)

    @property
    def count(self) -> int:
        """Reports at hand."""
        return int(self._at[0]["count"])

    def fetch(self) -> tuple[ExecutionReport, ...]:
        """The reports of the simulated venue that have reached us by now, each handed out once, or those that compiled code has begun with."""
        state, market = self._at[0], self._market
        if not state["fetched"]:
            count = due_count(market.step, market.reports)
            self._make_room(count)
            hand_out(market.step, market.reports, self._said, count)
            state["stage"], state["count"] = _FRESH, count
        state["fetched"] = 0
        return tuple([report_of(values) for values in self._said[: self.count].tolist()])

    def put(self, report: ExecutionReport) -> None:
        """A report from outside is at hand."""
        self._said[0] = report_row(report)
        self._at[0]["stage"], self._at[0]["count"] = _FRESH, 1

    def go_on(self) -> int:
        """``go_on``, from where compiled code stopped; never ``NO_ROOM``."""
        code = int(self._at[0]["untold"]) or go_on(self.table)
        self._at[0]["untold"] = DONE
        while code == NO_ROOM:
            self._lives.make_room(self.count)
            self._gate.results.make_room(self.count)
            code = go_on(self.table)
        return code

    @property
    def place(self) -> int:
        """What comes next where ``go_on`` came back: a report, or where a limit is broken an instrument and account (``_look_all``)."""
        return int(self._at[0]["place"])

    @property
    def limit(self) -> int:
        """Which limit is broken, as ``position_limits`` numbers them."""
        return int(self._at[0]["limit"])

    def said(self, k: int) -> list[int]:
        """Report ``k`` as a row of ``REPORT``."""
        return list(self._said[k].tolist())

    def heard(self, first: int, last: int) -> list[tuple[int, ...]]:
        """What came of the reports from ``first`` until before ``last``, as rows of ``HEARD``."""
        values: list[tuple[int, ...]] = self._heard[first:last].tolist()
        return values

    def book(self, trader: TradingAccount, index: int, signed_lots: int, price: int, fee: int) -> int:
        """``book_one`` for a fill that no report told of."""
        step, instruments, ledger = self._market.step, self._market.instruments, trader.ledger.handle
        return int(_book_at(ledger, step, instruments, trader.n, index, signed_lots, price, fee))

    def tell_market(self, trader: TradingAccount) -> None:
        """Something was booked that is no fill: tell the market step what is held, what it is worth, and the equity that follows."""
        _tell_all_at(trader.ledger.handle, self._market.step, self._market.instruments, trader.n)

    def _make_room(self, count: int) -> None:
        if count > len(self._said):
            self._said, self._heard = np.zeros(2 * count, REPORT), np.zeros(2 * count, HEARD)
            self.table[:] = self._table()
