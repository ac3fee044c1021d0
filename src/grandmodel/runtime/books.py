"""What an account holds and what of it is out: ledger, open orders, risk and the market step, held together.

Every change of a position passes here: a venue's report, a roll, the way out of a bad stretch. The ledger is held against the
market step at each, to the last millionth. Read next: ``order_planner.py`` (how a wish becomes orders), ``rolls.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import carray
from numpy.typing import NDArray

from grandmodel.account.booking import BOOKED, book, books_of, equity_of, marked_base
from grandmodel.account.ledger import Ledger
from grandmodel.domain.agents import Standing
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.errors import InvariantError
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.instruments import MICROS_PER_UNIT, Instrument, convert_micros
from grandmodel.domain.orders import ExecType, ExecutionReport, Fill, Order, PriceReference, Side
from grandmodel.domain.report_rows import EXEC_CODES, HEARD, REPORT, TAKEN
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NEVER_NS
from grandmodel.execution.order_life import OrderLives
from grandmodel.kernels import kernel, pointer_to
from grandmodel.risk.breakers import BreakerState
from grandmodel.risk.gate import RiskGate, RiskView
from grandmodel.risk.rows import AccountState, rows_of
from grandmodel.runtime.market_step import MarketStep
from grandmodel.runtime.position_limits import PositionLimits
from grandmodel.runtime.settings import RollPolicy, RunSettings
from grandmodel.runtime.step import Step
from grandmodel.simulation.exchange import SimulatedExchange
from grandmodel.simulation.state import INSTRUMENT, STEP, VIEWED

SETTLED = "settlement"
"""The tag of a fill that no order asked for: a final settlement closed the position."""


class Books:
    """One account's books over the engine's instruments; the engine, the order planner and the rolls work on them."""

    def __init__(
        self,
        settings: RunSettings,
        instruments: Sequence[Instrument],
        schedules: Sequence[SessionSchedule],
        seed: int,
        *,
        carries: bool,
    ) -> None:
        account = settings.account
        self.settings = settings
        self.instruments = tuple(instruments)
        self.ids = tuple(instrument.id for instrument in instruments)
        self.index = {name: i for i, name in enumerate(self.ids)}
        self.carries = carries
        """True where every wish waits for the next open: the bars are whole sessions."""
        self.ledger = Ledger(instruments, account.capital_micros, account.base_currency, account.rates)
        self.lives = OrderLives(self.ids)
        self.market = MarketStep(
            instruments,
            schedules,
            settings.widths_ns,
            settings.venue,
            account.rates,
            mark_on_quotes=settings.mark_on_quotes,
            stops_at_marks=settings.rolls is not RollPolicy.IGNORE,
            bad_window_ns=settings.risk.breakers.event_window_ns,
        )
        self.market.step[0]["equity"] = self.market.step[0]["equity_peak"] = account.capital_micros
        self.exchange = SimulatedExchange(self.market, instruments, schedules, settings.venue, seed)
        self.gate = RiskGate(settings.risk, instruments, account.capital_micros)
        self.account = self.gate.account
        self.limits = PositionLimits(settings.risk, self.ids, self.lives)
        self.market.step[0]["equity_floor"] = self.gate.equity_floor_micros()
        self.own_reports = 0
        self._schedules = tuple(schedules)
        self._view: RiskView | None = None
        self._is_seen = False
        self._to_book: NDArray[np.int64] = np.zeros((1, len(REPORT.names or ())), np.int64)
        self._to_book[0, _EXEC_TYPE] = EXEC_CODES[ExecType.TRADE]
        self._booked: NDArray[np.int64] = np.zeros((1, len(HEARD.names or ())), np.int64)
        self._day = -1
        self._day_from = self._day_until = 0

    def forget_view(self) -> None:
        """A step begins: what risk saw at the one before is of no use."""
        self._view = None
        self._is_seen = False

    def look(self, most: int) -> AccountState:
        """The account with what risk sees now in its rows, and room for ``most`` more orders and what one wish does with those open."""
        account, market = self.account, self.market
        account.make_room(most)
        if not self._is_seen:
            self._is_seen = True
            changed = look_at(
                account.handle, market.values, market.instrument_values, market.sessions, market.session_ranges,
                self.gate.pace.max_ages,
            )  # fmt: skip
            if changed or self.gate.running.is_stale:
                self.gate.running.fill(account.rows.seen[0], account.rows.moment)
        return account

    def lots(self, instrument: InstrumentId) -> int:
        """Signed position."""
        return self.ledger.positions[self.index[instrument]].lots

    def has_ended(self, instrument: InstrumentId) -> bool:
        """True from the instrument's final settlement on."""
        return self.ledger.positions[self.index[instrument]].has_ended

    def mark(self, instrument: InstrumentId) -> int | None:
        """The price at which the instrument is valued now, in ticks; None before the first."""
        mark = int(self.market.instrument_values[self.index[instrument], _MARK])
        return None if mark == UNDEFINED_PRICE else mark

    def working(self, instrument: InstrumentId) -> Sequence[Order]:
        """Orders sent and not ended, oldest first."""
        return self.lives.orders_of(instrument)

    def standing(self, instrument: InstrumentId) -> Standing:
        """How the account and the instrument's position stand against the lines of risk."""
        self.forget_view()  # Between two steps the one at hand is that of the step before.
        index = self.index[instrument]
        unrealised, tick_value = 0, self.instruments[index].tick_value_micros
        if self.ledger.positions[index].lots:
            self.mark_ledger()
            unrealised = self.ledger.unrealised_micros(index)
        rate = self.ledger.rate_micros(index)
        view = self.risk_view()
        peak, day_start = self.gate.references(view)
        drawdown, day_loss = self.gate.losses_from(view.equity_micros, peak, day_start)
        breakers = self.gate.settings.breakers
        return Standing(
            open_profit_micros=convert_micros(unrealised, rate),
            tick_value_micros=tick_value * rate / MICROS_PER_UNIT,
            drawdown=drawdown,
            drawdown_limit=breakers.drawdown.caution or 0.0,
            day_loss=day_loss,
            day_loss_limit=breakers.daily_loss.caution or 0.0,
            size_scale=self.gate.size_scale,
            peak_micros=peak,
            day_start_micros=day_start,
        )

    def apply_reports(self, step: Step, reports: tuple[ExecutionReport, ...], rows: NDArray[np.int64]) -> list[Fill]:
        """Fold reports into orders, ledger, market step and risk; ``rows`` (K, fields of ``REPORT``) are the same reports.

        Raises ``InvariantError`` for one that cannot be true, and where ledger and market step do not agree.
        """
        step.reports = reports
        heard = self.lives.fold(rows)
        touched, fills = set(), []
        for k, came in enumerate(heard.tolist()):
            report = reports[k]
            order = self.lives.follow(report.order_id, came, report.exec_type)
            if order is None:
                continue
            index = came[_INSTRUMENT]
            touched.add(index)
            if report.exec_type is ExecType.TRADE:
                fill = self._fill(order, report, index, came[_REFERENCE])
                heard[k, _FEE] = fill.fee_micros
                fills.append((k, fill))
        if fills:
            self._book_all(step, rows, heard, fills)
        self.gate.on_reports(rows, heard)
        for index in sorted(touched):
            self.halt_where_broken(step, index)
        return step.fills

    def _book_all(
        self, step: Step, rows: NDArray[np.int64], heard: NDArray[np.int64], fills: list[tuple[int, Fill]]
    ) -> None:
        """Enter ``fills``, each with its number among ``rows``, into the ledger, and tell the market step what we now hold."""
        self.forget_view()
        done, count, market = 0, len(rows), self.market
        while (
            done := book_fills(self.ledger.handle, market.values, market.instrument_values, rows, heard, done)
        ) < count:
            self._check_booked(rows[done].tolist(), heard[done].tolist())
            while fills and fills[0][0] <= done:
                step.fills.append(fills.pop(0)[1])
            # A fill from before the final settlement was heard of only now: what it opened ended at the settlement price.
            index, ts_event = int(heard[done, _INSTRUMENT]), int(rows[done, _TS_EVENT])
            position = self.ledger.positions[index]
            trade = (-position.lots, position.settled_ticks)
            self.book_mark(step, index, SETTLED, [trade], ts_event, is_free=True)
            done += 1
        step.fills.extend([fill for _, fill in fills])

    def _check_booked(self, report: list[int], heard: list[int]) -> None:
        """Raise ``InvariantError`` where a fill could not be booked, or the books did not agree before it."""
        if heard[_BOOKED] == OFF:
            self.check_equity()
        elif heard[_BOOKED] != LATE:
            self.ledger.check_booked(heard[_BOOKED], heard[_INSTRUMENT], report[_LAST_PRICE])

    def halt_where_broken(self, step: Step, index: int, *, leaving: bool = False) -> bool:
        """Look at what an instrument's position can become; True, and trading halts, where a limit on lots is broken.

        ``leaving``: an order or a change that is about to leave has just been added. What the gate does about a broken limit (cancel,
        flatten) comes at the end of this step or of the next.
        """
        is_halted = leaving and self.gate.state >= BreakerState.HALT
        broken = self.limits.look(index, self.ledger.positions[index].lots, closes_only=is_halted)
        if broken is None:
            return False
        step.alerts.extend(self.gate.halt_on_broken_limit(broken.text, broken.value, broken.limit, self.market.now))
        return True

    def _fill(self, order: Order, report: ExecutionReport, index: int, reference: int) -> Fill:
        fee = self.settings.venue.fees.fee_micros(
            self.instruments[index], report.last_quantity, report.last_price, maker=report.maker
        )
        slippage_from, slippage_reference = _slippage_from(order, report)
        return Fill(
            exec_id=report.exec_id,
            order_id=order.order_id,
            instrument=order.instrument,
            side=order.side,
            quantity=report.last_quantity,
            price=report.last_price,
            fee_micros=fee,
            ts_event=report.ts_event,
            ts_init=report.ts_init,
            maker=report.maker,
            reference_price=None if reference == UNDEFINED_PRICE else reference,
            tag=order.tag,
            slippage_from=slippage_from,
            slippage_reference=slippage_reference,
        )

    def book(self, fill: Fill) -> None:
        """Enter a fill that no report told of into the ledger, and tell the market step what we now hold."""
        row, came = self._to_book, self._booked
        row[0, _LAST_QUANTITY], row[0, _LAST_PRICE] = fill.quantity, fill.price
        came[0, _INSTRUMENT], came[0, _SIDE], came[0, _FEE] = self.index[fill.instrument], fill.side, fill.fee_micros
        book_fills(self.ledger.handle, self.market.values, self.market.instrument_values, row, came, 0)
        self._check_booked(row[0].tolist(), came[0].tolist())
        self.forget_view()

    def follow_ledger(self) -> None:
        """Something was booked that is no fill: tell the market step what we hold, what it is worth, and the equity that follows."""
        for index in range(len(self.instruments)):
            follow(self.ledger.handle, self.market.values, self.market.instrument_values, index)
        self.forget_view()

    def check_equity(self) -> None:
        """Mark the ledger as the market step does; both must then hold the same equity, to the last millionth."""
        self.mark_ledger()
        expected = self.ledger.equity_micros()
        if expected != self.market.equity:
            raise InvariantError(
                f"found equity {self.market.equity} in the market step, expected {expected} from the ledger"
            )

    def mark_ledger(self) -> None:
        """Give the ledger the marks of the market step."""
        self.ledger.mark_all(self.market.instrument_values[:, _MARK])

    def book_mark(
        self, step: Step, index: int, why: str, trades: list[tuple[int, int]], ts_event: int, *, is_free: bool = False
    ) -> None:
        """Book (signed lots, price) that no order asked for, with their fees: a roll, the way out of a bad stretch, a final settlement (free)."""
        for signed, price in trades:
            self.own_reports -= 1
            fees = self.settings.venue.fees
            fee = 0 if is_free else fees.fee_micros(self.instruments[index], abs(signed), price, maker=False)
            fill = Fill(
                exec_id=ExecId(self.own_reports),
                order_id=OrderId(0),
                instrument=self.ids[index],
                side=Side.BUY if signed > 0 else Side.SELL,
                quantity=abs(signed),
                price=price,
                fee_micros=fee,
                ts_event=ts_event,
                ts_init=self.market.now,
                tag=why,
            )
            step.fills.append(fill)
            self.book(fill)
            self.market.instruments[index]["venue_position"] += signed
        self.halt_where_broken(step, index)

    def is_in_bad_stretch(self, instrument: InstrumentId) -> bool:
        """True while the instrument's newest row is marked so; never in a run that does not heed such marks."""
        heeds = self.settings.rolls is not RollPolicy.IGNORE
        return heeds and bool(self.market.instrument_values[self.index[instrument], _IN_BAD_STRETCH])

    def next_open(self, instrument: InstrumentId) -> int:
        """When the next session of an instrument that is closed opens; 0 while it is open, or where no session is known."""
        index = self.index[instrument]
        if self.risk_view().in_session[index]:
            return 0
        opens = self._schedules[index].open_ns
        place = int(np.searchsorted(opens, self.market.now, side="right"))
        return int(opens[place]) if place < len(opens) else 0

    def risk_view(self) -> RiskView:
        """What the risk gate sees; built once a step and again after each fill."""
        if self._view is None:
            now = self.market.now
            self._view = MarketView(self.market, self._schedules, self._trading_day(now), carried=self.carries)
        return self._view

    def _trading_day(self, now: int) -> int:
        """Midnight UTC of the trading day of the first instrument's sessions; between two sessions the one to come."""
        if not self._day_from <= now < self._day_until:
            schedule = self._schedules[0]
            index = int(np.searchsorted(schedule.close_ns, now, side="right"))
            self._day_from = int(schedule.close_ns[index - 1]) if index else -(2**63)
            if index < len(schedule):
                self._day, self._day_until = int(schedule.day_ns[index]), int(schedule.close_ns[index])
            else:
                self._day, self._day_until = -1, NEVER_NS
        return self._day


class MarketView(RiskView):
    """What the risk gate sees, read from the market step when somebody looks: most steps need no more than the account as a whole."""

    def __init__(  # The lists come with ``__getattr__``.
        self, market: MarketStep, schedules: Sequence[SessionSchedule], day_ns: int, *, carried: bool
    ) -> None:
        self._market, self._schedules = market, schedules
        self.ts = market.now
        self.equity_micros = market.equity
        self.day_ns = day_ns
        self.carried = carried
        self.peak_equity_micros = int(market.values[_EQUITY_PEAK])
        self.rows = []

    def __getattr__(self, name: str) -> list[int]:
        if name not in _LISTS:
            raise AttributeError(f"a view has no {name}")
        now = self.ts
        (
            self.positions, self.marks, self.mark_ts, self.best_bids, self.best_asks, halted, self.rates_micros, opens, closes,
        ) = self._market.viewed()  # fmt: skip
        self.halted = [flag != 0 for flag in halted]
        self.in_session = [
            opens[i] <= now < closes[i] or self._schedules[i].index_at(now) >= 0 for i in range(len(opens))
        ]
        found: list[int] = getattr(self, name)
        return found


_LISTS = frozenset(("positions", "marks", "mark_ts", "best_bids", "best_asks", "halted", "rates_micros", "in_session"))


def _slippage_from(order: Order, report: ExecutionReport) -> tuple[int | None, PriceReference]:
    """The price, in ticks, that a fill's slippage is measured from, and which it is: each kind of order promises another one.

    The terms are those that the order has now. None where a venue does not tell what a market order met.
    """
    if order.stop_price is not None:
        return order.stop_price, PriceReference.TRIGGER
    if order.price is not None:
        return order.price, PriceReference.LIMIT
    return report.arrival_price, report.arrival_reference


OFF, LATE = -1, -2
"""What came of a fill beside ``booking.BOOKED`` and its like: ledger and market step did not agree; the instrument has ended."""


@kernel
def _follow(holdings: Any, cash: Any, step: NDArray[np.int64], market: NDArray[np.int64], i: int) -> None:
    """Tell the market step what is held of instrument ``i``, what it is worth, and the equity that follows."""
    held = holdings[i]
    market[i, _POSITION], market[i, _COST], market[i, _MARK] = held.lots, held.cost, held.mark
    market[i, _MARKED_BASE] = marked_base(holdings, cash, i)
    step[_EQUITY] = equity_of(holdings, cash)


@kernel
def follow(ledger: NDArray[np.int64], step: NDArray[np.int64], market: NDArray[np.int64], i: int) -> None:
    """``_follow`` behind the ledger's handle; ``step`` and ``market`` (I, fields) are ``STEP`` and ``INSTRUMENT`` as plain integers."""
    holdings, cash = books_of(ledger)
    _follow(holdings, cash, step, market, i)


@kernel
def book_fills(
    ledger: NDArray[np.int64], step: NDArray[np.int64], market: NDArray[np.int64], reports: NDArray[np.int64], heard: NDArray[np.int64],
    first: int,
) -> int:  # fmt: skip
    """Book the fills among ``reports`` (K, fields of ``REPORT``) from number ``first`` on; K, or the first with something to tell.

    The ledger is held against the market step before each, to the last millionth. ``heard`` (K, fields of ``HEARD``) has what came of the
    reports, and their fees; what came of the fills is put down there. ``step`` and ``market`` are as for ``follow``.
    """
    holdings, cash = books_of(ledger)
    count = reports.shape[0]
    said = carray(pointer_to(reports.ctypes.data), (count,), REPORT)
    came = carray(pointer_to(heard.ctypes.data), (count,), HEARD)
    for k in range(first, count):
        if came[k].code != TAKEN or said[k].exec_type != _FILL:
            continue
        for j in range(holdings.shape[0]):
            holdings[j].mark = market[j, _MARK]
        i = came[k].instrument
        came[k].booked = OFF
        if equity_of(holdings, cash) != step[_EQUITY]:
            return k
        came[k].booked = book(holdings, cash, i, said[k].last_quantity * came[k].side, said[k].last_price, came[k].fee)
        if came[k].booked != BOOKED:
            return k
        _follow(holdings, cash, step, market, i)
        if holdings[i].settled != UNDEFINED_PRICE and holdings[i].lots != 0:
            came[k].booked = LATE
            return k
    return int(count)


_FILL = EXEC_CODES[ExecType.TRADE]
_EXEC_TYPE, _TS_EVENT, _LAST_QUANTITY, _LAST_PRICE = (
    (REPORT.names or ()).index(name) for name in ("exec_type", "ts_event", "last_quantity", "last_price")
)
_INSTRUMENT, _SIDE, _REFERENCE, _FEE, _BOOKED = (
    (HEARD.names or ()).index(name) for name in ("instrument", "side", "reference", "fee", "booked")
)
_COLUMNS = {name: k for k, name in enumerate(INSTRUMENT.names or ())}
_POSITION, _MARK, _MARK_TS, _BID, _ASK, _HALTED, _RATE, _OPEN, _CLOSE = (_COLUMNS[name] for name in VIEWED)
_COST, _MARKED_BASE, _IN_BAD_STRETCH = (_COLUMNS[name] for name in ("cost", "marked_base", "in_bad_stretch"))
_NOW, _EQUITY, _EQUITY_PEAK = ((STEP.names or ()).index(name) for name in ("now", "equity", "equity_peak"))


@kernel
def look_at(
    handle: NDArray[np.int64],
    step: NDArray[np.int64],
    market: NDArray[np.int64],
    sessions: NDArray[np.int64],
    ranges: NDArray[np.int64],
    max_ages: NDArray[np.int64],
) -> bool:
    """Put what the market step knows into the rows that the checks read; True where a position or a rate is another one than before.

    ``step`` and ``market`` (I, fields) are ``STEP`` and ``INSTRUMENT`` as plain integers, ``sessions`` and ``ranges`` those of ``MarketStep``,
    ``max_ages`` (I,) that of ``FeedPace``.
    """
    rows = rows_of(handle)
    now = step[_NOW]
    rows.moment[0].ts, rows.moment[0].equity = now, step[_EQUITY]
    changed = False
    for i in range(market.shape[0]):
        seen = rows.seen[0, i]
        changed = changed or seen.position != market[i, _POSITION] or seen.rate != market[i, _RATE]
        seen.position, seen.mark, seen.mark_ts = market[i, _POSITION], market[i, _MARK], market[i, _MARK_TS]
        seen.bid, seen.ask, seen.halted, seen.rate = (
            market[i, _BID],
            market[i, _ASK],
            market[i, _HALTED],
            market[i, _RATE],
        )
        seen.max_age = max_ages[i]
        seen.in_session = market[i, _OPEN] <= now < market[i, _CLOSE]
        if not seen.in_session:
            first, last = ranges[i, 0], ranges[i, 1]
            place = first + np.searchsorted(sessions[first:last, 0], now, side="right") - 1
            seen.in_session = place >= first and now < sessions[place, 1]
    return changed
