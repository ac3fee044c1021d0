"""What the accounts of a run hold and what of it is out: ledgers, open orders, risk and the market step, held together.

Every change of a position passes here: a venue's report, a roll, the way out of a bad stretch. The ledger is held against the
market step at each, to the last millionth. Most runs have one account, which trades; where there are several below one another (``risk.tree``)
those that trade are ``accounts``, and what stands above them has its sums. Read next: ``order_planner.py`` (how a wish becomes orders), ``rolls.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grandmodel.account.ledger import Ledger
from grandmodel.domain.agents import Standing
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.errors import InvariantError
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId
from grandmodel.domain.instruments import MICROS_PER_UNIT, Instrument, convert_micros
from grandmodel.domain.orders import ExecType, ExecutionReport, Fill, Order, Side
from grandmodel.domain.report_rows import HEARD, TAKEN, fill_of
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NEVER_NS
from grandmodel.execution.order_life import OrderLives
from grandmodel.kernels import kernel
from grandmodel.risk.breakers import BreakerState
from grandmodel.risk.gate import RiskGate, RiskView, build_gates
from grandmodel.risk.rows import AccountState, rows_of
from grandmodel.risk.tree import hold
from grandmodel.runtime.market_step import MarketStep
from grandmodel.runtime.position_limits import BrokenLimit, PositionLimits
from grandmodel.runtime.report_intake import DONE, FALSE_REPORT, LATE, NOT_BOOKED, OFF, RISK_TELLS, ReportIntake
from grandmodel.runtime.settings import RollPolicy, RunSettings
from grandmodel.runtime.step import Step
from grandmodel.runtime.trading_account import TradingAccount
from grandmodel.simulation.exchange import SimulatedExchange
from grandmodel.simulation.models import fee_micros
from grandmodel.simulation.state import INSTRUMENT, STEP, VIEWED, holding_row

SETTLED = "settlement"
"""The tag of a fill that no order asked for: a final settlement closed the position."""


class Books:
    """The books of a run over its instruments; the engine, the order planner and the rolls work on them."""

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
        self.gates = build_gates(settings.risk, instruments, account.capital_micros, settings.accounts or {})
        """By name, each after the one above it; the first is the run's own, and in most runs the only one."""
        self.by_row = tuple(sorted(self.gates.values(), key=lambda gate: gate.n))
        self.gate = self.by_row[0]
        self.account = self.gate.account
        traders = [gate for gate in self.by_row if gate.trades_itself]
        names = [gate.name for gate in traders] if len(self.by_row) > 1 else []
        self.lives = OrderLives(self.ids, ("", *names))
        self.market = MarketStep(
            instruments,
            schedules,
            settings.widths_ns,
            settings.venue,
            account.rates,
            mark_on_quotes=settings.mark_on_quotes,
            stops_at_marks=settings.rolls is not RollPolicy.IGNORE,
            bad_window_ns=settings.risk.breakers.event_window_ns,
            above=[int(row) for row in self.account.rows.standing["above"]],
            traders=len(names),
        )
        ledgers = [Ledger(instruments, gate.capital_micros, account.base_currency, account.rates) for gate in traders]
        handles = np.stack([ledger.handle for ledger in ledgers])
        for ledger, handle in zip(ledgers, handles, strict=True):
            ledger.handle = handle  # Behind one another: compiled code finds each by its account.
        self.accounts = tuple(
            TradingAccount(gate, ledger, self.index, self.lives, self.market)
            for gate, ledger in zip(traders, ledgers, strict=True)
        )
        """Those that trade, by row."""
        self.exchange = SimulatedExchange(self.market, instruments, schedules, settings.venue, seed, ("", *names))
        self.limits = PositionLimits(
            [gate.settings for gate in self.by_row], [gate.reach for gate in self.by_row], self.ids, self.lives
        )
        self.intake = ReportIntake(self.gate, self.lives, handles, self.limits, self.market, settings.venue.fees)
        for gate in self.by_row:
            row = self.market.step[gate.n]
            row["equity"] = row["equity_peak"] = gate.capital_micros
            row["equity_floor"] = gate.equity_floor_micros()
        self.own_reports = 0
        self._schedules = tuple(schedules)
        self._views: dict[int, RiskView] = {}
        self._is_seen = False
        self._day = -1
        self._day_from = self._day_until = 0

    def forget_view(self) -> None:
        """A step begins: what risk saw at the one before is of no use."""
        self._views.clear()
        self._is_seen = False

    @property
    def ledger(self) -> Ledger:
        """That of the only account that trades. Raises ``InvariantError`` where several do: each has its own."""
        (one, *others) = self.accounts
        if others:
            raise InvariantError("found several accounts that trade, expected one where the run's ledger is asked for")
        return one.ledger

    def look(self, most: int) -> AccountState:
        """The accounts with what risk sees now in their rows, and room for ``most`` more orders and what one wish does with those open."""
        account, market = self.account, self.market
        account.make_room(most)
        if not self._is_seen:
            self._is_seen = True
            changed = look_at(
                account.handle, market.values, market.rows, market.sessions, market.session_ranges, self.gate.pace.max_ages
            )  # fmt: skip
            rows, running = account.rows, self.gate.running
            if changed or running.is_stale:
                for n in range(len(self.by_row)):
                    running.fill(rows.seen[n], rows.moment[n : n + 1])
            for gate in self.by_row[1:]:
                gate.pace.follow(self.gate.pace)
                rows.seen[gate.n]["max_age"] = gate.pace.max_ages
        return account

    def lots(self, instrument: InstrumentId) -> int:
        """Signed position of the run: of all accounts together."""
        return int(self.market.instrument_values[self.index[instrument], _POSITION])

    def mark(self, instrument: InstrumentId) -> int | None:
        """The price at which the instrument is valued now, in ticks; None before the first."""
        mark = int(self.market.instrument_values[self.index[instrument], _MARK])
        return None if mark == UNDEFINED_PRICE else mark

    def working(self, instrument: InstrumentId) -> Sequence[Order]:
        """Orders of all accounts, sent and not ended, oldest first."""
        return self.lives.orders_of(instrument)

    def standing(self, trader: TradingAccount, instrument: InstrumentId) -> Standing:
        """How an account and its position in an instrument stand against the lines of risk."""
        self.forget_view()  # Between two steps the one at hand is that of the step before.
        index, ledger, gate = self.index[instrument], trader.ledger, trader.gate
        unrealised, tick_value = 0, self.instruments[index].tick_value_micros
        if ledger.positions[index].lots:
            self.mark_ledger(trader)
            unrealised = ledger.unrealised_micros(index)
        rate = ledger.rate_micros(index)
        view = self.risk_view(trader.n)
        peak, day_start = gate.references(view)
        drawdown, day_loss = gate.losses(view.equity_micros, peak, day_start)
        breakers = gate.settings.breakers
        return Standing(
            open_profit_micros=convert_micros(unrealised, rate),
            tick_value_micros=tick_value * rate / MICROS_PER_UNIT,
            drawdown=drawdown,
            drawdown_limit=breakers.drawdown.caution or 0.0,
            day_loss=day_loss,
            day_loss_limit=breakers.daily_loss.caution or 0.0,
            size_scale=gate.size_scale,
            peak_micros=peak,
            day_start_micros=day_start,
        )

    def trader(self, n: int) -> TradingAccount:
        """The account that trades in row ``n``."""
        return self.accounts[max(0, n - 1)]

    def below(self, gate: RiskGate) -> tuple[TradingAccount, ...]:
        """The accounts that trade from ``gate``'s down."""
        first, last = gate.reach
        return tuple(one for one in self.accounts if first <= one.n < last)

    def apply_reports(self, step: Step, reports: tuple[ExecutionReport, ...]) -> list[Fill]:
        """Fold the reports at hand (``ReportIntake``) into orders, ledger, market step, risk and limits; ``reports`` are the same for people.

        Raises ``InvariantError`` for one that cannot be true, and where ledger and market step do not agree.
        """
        step.reports = reports
        intake, told = self.intake, 0
        self.forget_view()
        while (code := intake.go_on()) != DONE:
            place = intake.place
            if code == FALSE_REPORT:
                self.lives.refuse(intake.said(place), intake.heard(place, place + 1)[0])
            elif code == NOT_BOOKED:
                came = intake.heard(place, place + 1)[0]
                trader = self.trader(came[_ACCOUNT])
                self._check_booked(came[_BOOKED], trader, came[_INSTRUMENT], reports[place].last_price)
            elif code == LATE:
                self._tell_fills(step, reports, told, place)
                told = place
                came = intake.heard(place - 1, place)[0]
                trader = self.trader(came[_ACCOUNT])
                self._close_ended(step, trader, came[_INSTRUMENT], reports[place - 1].ts_event)
            elif code == RISK_TELLS:
                came = intake.heard(place - 1, place)[0]
                ts = reports[place - 1].ts_init
                self.by_row[came[_ACCOUNT]].on_report(ts, came[_INSTRUMENT], came[_SIDE], came[_SEQUENCE])
            else:
                index, n = divmod(place - 1, len(self.by_row))
                gate = self.by_row[n]
                position = self.market.lots(*gate.reach)[index]
                self._halt(step, gate, self.limits.broken(intake.limit, n, index, position))
        self._tell_fills(step, reports, told, len(reports))
        return step.fills

    def _tell_fills(self, step: Step, reports: tuple[ExecutionReport, ...], first: int, last: int) -> None:
        """Put the fills among ``reports`` from ``first`` until before ``last`` down, and let the open orders follow what was said."""
        for report, came in zip(reports[first:last], self.intake.heard(first, last), strict=True):
            code, index, side, status, _, reference, tag, slippage_from, kind, fee, *_ = came
            if code != TAKEN:
                continue
            self.lives.follow(report.order_id, report.exec_type, status)
            if report.exec_type is ExecType.TRADE:
                name = self.lives.tags[tag]
                step.fills.append(fill_of(report, self.ids[index], side, fee, reference, name, slippage_from, kind))

    def _close_ended(self, step: Step, trader: TradingAccount, index: int, ts_event: int) -> None:
        """A fill from before the final settlement was heard of only now: what it opened ended at the settlement price."""
        position = trader.ledger.positions[index]
        trade = (-position.lots, position.settled_ticks)
        self.book_mark(step, trader, index, SETTLED, [trade], ts_event, is_free=True)

    def _check_booked(self, code: int, trader: TradingAccount, index: int, price: int) -> None:
        """Raise ``InvariantError`` where a fill could not be booked, or the books did not agree before it."""
        if code == OFF:
            self._check_equity_of(trader)
        trader.ledger.check_booked(code, index, price)

    def halt_where_broken(self, step: Step, trader: TradingAccount, index: int, *, leaving: bool = False) -> bool:
        """Look at what an instrument's position can become, in an account and those above it; True, and trading halts, where a limit on lots is broken.

        ``leaving``: an order or a change that is about to leave has just been added. What the gate does about a broken limit (cancel,
        flatten) comes at the end of this step or of the next.
        """
        for gate in trader.gate.chain:
            if gate is trader.gate:
                # Of offsetting positions one leg may always go: only what the account itself holds may not grow.
                is_halted = leaving and any(one.state >= BreakerState.HALT for one in gate.chain)
                position = trader.ledger.positions[index].lots
            else:
                is_halted, position = False, self.market.lots(*gate.reach)[index]
            broken = self.limits.look(gate.n, index, position, closes_only=is_halted)
            if broken is not None:
                self._halt(step, gate, broken)
                return True
        return False

    def begin_limits(self) -> None:
        """Begin the limits on lots from the positions and the open orders as they stand."""
        for gate in self.by_row:
            for index, position in enumerate(self.market.lots(*gate.reach)):
                self.limits.look(gate.n, index, position)

    def _halt(self, step: Step, gate: RiskGate, broken: BrokenLimit) -> None:
        step.alerts.extend(gate.halt_on_broken_limit(broken.text, broken.value, broken.limit, self.market.now))

    def book(self, trader: TradingAccount, fill: Fill) -> None:
        """Enter a fill that no report told of into the ledger, and tell the market step what we now hold."""
        index = self.index[fill.instrument]
        code = self.intake.book(trader, index, fill.signed_quantity, fill.price, fill.fee_micros)
        self._check_booked(code, trader, index, fill.price)
        self.forget_view()

    def follow_ledger(self, trader: TradingAccount) -> None:
        """Something was booked that is no fill: tell the market step what we hold, what it is worth, and the equity that follows."""
        self.intake.tell_market(trader)
        self.forget_view()

    def check_equity(self) -> None:
        """Mark the ledgers as the market step does; both must then hold the same equity, to the last millionth."""
        for trader in self.accounts:
            self._check_equity_of(trader)

    def _check_equity_of(self, trader: TradingAccount) -> None:
        self.mark_ledger(trader)
        found, expected = trader.equity_micros, trader.ledger.equity_micros()
        if expected != found:
            raise InvariantError(f"found equity {found} in the market step, expected {expected} from the ledger")

    def mark_ledger(self, trader: TradingAccount) -> None:
        """Give an account's ledger the marks of the market step."""
        trader.ledger.mark_all(self.market.instrument_values[:, _MARK])

    def book_mark(
        self, step: Step, trader: TradingAccount, index: int, why: str, trades: list[tuple[int, int]], ts_event: int,
        *, is_free: bool = False,
    ) -> None:  # fmt: skip
        """Book (signed lots, price) that no order asked for, with their fees: a roll, the way out of a bad stretch, a final settlement (free)."""
        for signed, price in trades:
            self.own_reports -= 1
            fees, instrument = self.settings.venue.fees, self.instruments[index]
            fee = 0 if is_free else fee_micros(fees, instrument, abs(signed), price, maker=False)
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
                account=trader.name,
            )
            step.fills.append(fill)
            self.book(trader, fill)
            self.market.instruments[holding_row(trader.n, self.market.count, index)]["venue_position"] += signed
        self.halt_where_broken(step, trader, index)

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

    def risk_view(self, n: int = 0) -> RiskView:
        """What the gate of the account in row ``n`` sees; built once a step and again after each fill."""
        view = self._views.get(n)
        if view is None:
            day = self._trading_day(self.market.now)
            view = MarketView(self.market, self._schedules, day, n, self.by_row[n].reach, carried=self.carries)
            self._views[n] = view
        return view

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
        self, market: MarketStep, schedules: Sequence[SessionSchedule], day_ns: int, n: int, reach: tuple[int, int], *, carried: bool
    ) -> None:  # fmt: skip
        self._market, self._schedules, self._reach = market, schedules, reach
        self.ts = market.now
        self.equity_micros = market.equity_of(n)
        self.day_ns = day_ns
        self.carried = carried
        self.peak_equity_micros = int(market.values[n, _EQUITY_PEAK])
        self.rows = []

    def __getattr__(self, name: str) -> list[int]:
        if name not in _LISTS:
            raise AttributeError(f"a view has no {name}")
        now = self.ts
        positions, self.marks, _, _, _, halted, self.rates_micros, opens, closes = self._market.viewed()
        first, last = self._reach
        self.positions = positions if first == 0 else self._market.lots(first, last)
        self.halted = [flag != 0 for flag in halted]
        self.in_session = [
            opens[i] <= now < closes[i] or self._schedules[i].index_at(now) >= 0 for i in range(len(opens))
        ]
        found: list[int] = getattr(self, name)
        return found


_LISTS = frozenset(("positions", "marks", "halted", "rates_micros", "in_session"))


_INSTRUMENT, _SIDE, _BOOKED, _SEQUENCE, _ACCOUNT = (
    (HEARD.names or ()).index(name) for name in ("instrument", "side", "booked", "sequence", "account")
)
_COLUMNS = {name: k for k, name in enumerate(INSTRUMENT.names or ())}
_POSITION, _MARK, _MARK_TS, _BID, _ASK, _HALTED, _RATE, _OPEN, _CLOSE = (_COLUMNS[name] for name in VIEWED)
_IN_BAD_STRETCH = _COLUMNS["in_bad_stretch"]
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

    ``step`` (N, fields) and ``market`` (R, fields) are ``STEP`` and ``INSTRUMENT`` as plain integers, ``sessions`` and ``ranges`` those of
    ``MarketStep``, ``max_ages`` (I,) that of ``FeedPace``.
    """
    rows = rows_of(handle)
    now, instruments, accounts = step[0, _NOW], rows.seen.shape[1], rows.seen.shape[0]
    first, last = rows.standing[0].first, rows.standing[0].last
    for n in range(accounts):
        rows.moment[n].ts, rows.moment[n].equity = now, step[n, _EQUITY]
    changed = False
    for i in range(instruments):
        for n in range(first, last):
            position = market[holding_row(n, instruments, i), _POSITION]
            if rows.seen[n, i].position != position:
                hold(rows, n, i, position)
                changed = True
        is_open = market[i, _OPEN] <= now < market[i, _CLOSE]
        if not is_open:
            begin, end = ranges[i, 0], ranges[i, 1]
            place = begin + np.searchsorted(sessions[begin:end, 0], now, side="right") - 1
            is_open = place >= begin and now < sessions[place, 1]
        for n in range(accounts):
            seen = rows.seen[n, i]
            changed = changed or seen.rate != market[i, _RATE]
            seen.mark, seen.mark_ts, seen.bid, seen.ask = (
                market[i, _MARK],
                market[i, _MARK_TS],
                market[i, _BID],
                market[i, _ASK],
            )
            seen.halted, seen.rate, seen.in_session = market[i, _HALTED], market[i, _RATE], is_open
            seen.max_age = max_ages[i]
    return changed
