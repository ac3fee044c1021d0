"""The risk gate: every order passes here, every engine step ends here.

Every order passes the pre-trade checks in one fixed order (``checks.CHECKS``), and each is on the record with what it
found and what is allowed. A size limit cuts an order to what fits; anything else that fails refuses it; what cannot be
computed refuses it too. An order that only reduces passes the checks that exist to stop new risk. ``react`` runs the
circuit breakers and returns what they do as intents, which come back through the checks like any other.

What the size checks promise, and a fuzz test holds: after approval no combination of fills of the orders that are out
takes a position, exposure, margin or value at risk beyond its limit at the marks of the moment. For value at risk the
order's own instrument is taken at its worst end, and every other instrument's working orders add their own volatility
undiversified, which bounds every combination from above.

Whoever has an order puts it into the rows of ``account`` (``put``), asks and lets leave in one call (``leaving.ask``), a bracket's
parent before its children. What the engine owes the gate besides: each report to ``taking.take_report`` in the step that also updates
``RiskView.positions``, ``on_bars`` and ``react`` at every step. Where accounts stand below one another (``tree.py``) each has a gate of its own
on its row (``build_gates``); what the market does is told to the first of them, and ``react`` is asked from the top down. Read next:
``checks.py``, ``working.py``, ``running.py``, ``breakers.py``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.decisions import CancelIntent, CheckedOrder, Intent, TargetPosition, Urgency
from grandmodel.domain.events import Alert, ClosedBar, Command, CommandKind
from grandmodel.domain.ids import OrderId
from grandmodel.domain.instruments import Instrument
from grandmodel.domain.orders import Order, OrderType
from grandmodel.domain.time import NS_PER_DAY
from grandmodel.performance.drawdown import drawdown_of
from grandmodel.risk.breakers import BreakerLadder, BreakerState, Transition, Trigger
from grandmodel.risk.checks import COUNT, checked
from grandmodel.risk.correlation import FloatArray
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.flow import count_recent
from grandmodel.risk.intake import BAD_BAR, BAR, INFINITE, INTAKE, TAKEN, floor_of, lines_of, renew_lines, take_bars
from grandmodel.risk.pace import FeedPace
from grandmodel.risk.rows import AccountState, Rows, account_rows, limit_rows, portfolio_row
from grandmodel.risk.running import INFINITE_TEXT, OPEN, POSITIONS, RATES, ROWS, RunningRisk, root
from grandmodel.risk.settings import AccountLimits, RiskSettings
from grandmodel.risk.shocks import ShockDetector
from grandmodel.risk.standing import AccountStanding, moved_capital, moved_peak
from grandmodel.risk.taking import FREED, LOST, OFTEN, REJECTED, UNKNOWN_ORDER, OrderFlow, Results
from grandmodel.risk.tree import Seat, plant, seats_of, terms_of
from grandmodel.risk.view import NO_FLOOR, RiskView
from grandmodel.risk.working import WorkingOrder, WorkingOrders

__all__ = ["NO_FLOOR", "RiskGate", "RiskView", "build_gates"]

_NORMAL, _CAUTION, _REDUCE, _HALT, _KILLED = BreakerState
_NOTHING: tuple[tuple[Intent, ...], tuple[Alert, ...]] = ((), ())


class RiskGate:
    """Pre-trade checks, working orders, circuit breakers and the running covariance of one account, and of those below it.

    ``instruments`` fixes the index of each instrument everywhere; ``capital_micros`` is the starting capital: money limits are
    multiples of it and of what the owner brings or takes later (``on_transfer``). Raises ``RiskInputError`` where the settings name an
    instrument that the run does not have, or where the margin of a future is not known. Accounts below one another are built by
    ``build_gates``: ``seats`` are theirs, ``n`` is this one's row, and ``above`` the gate of the account above; all share the rows, and what is
    known of the market, of the gate at the top.
    """

    def __init__(
        self,
        settings: RiskSettings,
        instruments: Sequence[Instrument],
        capital_micros: int,
        seats: Sequence[Seat] = (),
        n: int = 0,
        above: RiskGate | None = None,
    ) -> None:
        if capital_micros <= 0:
            raise RiskInputError(f"found capital {capital_micros} micros, expected a positive amount")
        ids = [instrument.id for instrument in instruments]
        for name in (*settings.instruments, *settings.authorised, *settings.restricted):
            if name not in ids:
                raise RiskInputError(f"risk settings name instrument {name!r}, expected one of this run's: {ids}")
        seats = seats or seats_of({}, settings, capital_micros)
        self.name = seats[n].name
        """Of the account; empty: the run's own."""
        self.n = n
        """Its row."""
        self.chain: tuple[RiskGate, ...] = (self, *(above.chain if above else ()))
        """The gate of the account and of each above it, from the nearest on; only this one where none stands above."""
        self.trades_itself = seats[n].first == n
        """False for an account that stands above others: they trade, it holds their sums."""
        self.reach = seats[n].first, seats[n].last
        """Rows [first, last): the accounts from here down that trade."""
        self.settings = settings
        self.instruments = tuple(instruments)
        self.ladder = BreakerLadder(settings.breakers)
        if above is None:
            self.account = AccountState(account_rows(*terms_of(seats, instruments), COUNT, accounts=len(seats)))
            plant(self.account.rows, seats, range(len(seats)))
            self.running = RunningRisk(settings.var, instruments)
            self.shocks = ShockDetector(len(ids), settings.shocks)
            self.results = Results(len(seats), len(ids))
        else:
            self.account, self.running, self.shocks = above.account, above.running, above.shocks
            self.results = above.results
        rows = self.account.rows
        self._standing = AccountStanding(rows.standing[n : n + 1], capital_micros, NO_FLOOR)
        rows.moment["equity"][n] = capital_micros
        self._bound = (_NORMAL, False)
        """What the accounts above bind this one to: a state of the ladder, and whether everything is being closed."""
        self.working = WorkingOrders(self.account, n)
        streak_line = self.ladder.limits(Trigger.LOSS_STREAK)[0]
        self.results.limit(n, settings.flow.repeat_window_ns, settings.flow.max_repeats, streak_line)
        self.flow = OrderFlow(settings.flow, self.account, self.results, n)
        self.pace = FeedPace([settings.instruments.get(name, settings.limits) for name in ids])
        self._n = len(ids)
        self._index: dict[str, int] = {name: k for k, name in enumerate(ids)}
        self.intake: Rows = np.zeros(1, INTAKE)
        """How far the bars of the present moment are taken in."""
        intake = self.intake[0]
        intake["width"], intake["unit"] = settings.var.width_ns, self.running.unit
        intake["min_returns"], intake["min_history"] = settings.var.min_returns, settings.shocks.min_history
        intake["volatility_line"] = self.ladder.limits(Trigger.VOLATILITY)[0]
        intake["var_line"] = self.ladder.limits(Trigger.VAR_BREACH)[0]
        intake["var_limit"] = settings.portfolio.max_var * capital_micros
        self.lines: FloatArray = lines_of(self.ladder)
        """The shares of equity that ask for caution, reduce and halt, for ``intake.renew_lines``."""
        self._lines_dirty = True
        self._reduce_target: float | None = None
        self._state_sequence = 0
        """Orders up to this one were sent before the ladder's last move (or the command to flatten)."""
        self._state_ts = 0
        self._next_action_ts = NO_FLOOR
        self._rejects: deque[int] = deque()
        self._bad_bars: deque[int] = deque()
        self._unknown_reports = 0
        self._alerts: list[Alert] = []

    @property
    def state(self) -> BreakerState:
        """Where the ladder stands."""
        return self.ladder.state

    @property
    def capital_micros(self) -> int:
        """What money limits are multiples of: the starting capital, and what the owner brought or took since."""
        return self._standing.capital_micros

    def _take_capital(self, capital_micros: int) -> None:
        """Money limits are multiples of ``capital_micros`` from now on."""
        rows, settings = self.account.rows, self.settings
        self._standing.capital_micros = capital_micros
        terms = int(rows.standing[self.n]["terms"])
        rows.limits[terms] = limit_rows(settings, self.instruments, capital_micros)
        rows.portfolio[terms] = portfolio_row(settings, capital_micros)[0]
        self.intake[0]["var_limit"] = settings.portfolio.max_var * capital_micros
        self._lines_dirty = True

    @property
    def size_scale(self) -> float:
        """The share of a position that agents may ask for: 1 normally, half in caution, 0 beyond or while paused."""
        state = max(gate.ladder.state for gate in self.chain)
        if state > _CAUTION or any(gate.standing.paused for gate in self.chain):
            return 0.0
        return self.settings.breakers.caution_scale if state is _CAUTION else 1.0

    def losses(self, equity_micros: int, peak_micros: int, day_start_micros: int) -> tuple[float, float]:
        """(fraction below the peak, loss of the trading day as a share of capital) of an equity below the two that ``references`` gives."""
        return drawdown_of(equity_micros, peak_micros), (day_start_micros - equity_micros) / self.capital_micros

    def references(self, view: RiskView) -> tuple[int, int]:
        """(running peak, equity at the start of the trading day) in micros, as ``react`` will have them at ``view``."""
        peak = max(self._standing.peak_micros, view.equity_micros, view.peak_equity_micros)
        day = view.day_ns if view.day_ns >= 0 else view.ts - view.ts % NS_PER_DAY
        return peak, self._standing.day_start_micros if day == self._standing.day else view.equity_micros

    # -- orders ---------------------------------------------------------------------------------------------------

    def put(self, k: int, order: Order, i: int) -> bool:
        """Put ``order`` of instrument ``i`` into row ``k`` of what is asked; False where one of its numbers is none."""
        price, stop = order.price, order.stop_price
        try:
            self.account.asked[self.n][k] = (
                0,
                0,
                order.order_id, i, 1 if order.side > 0 else -1, order.quantity, order.order_type, order.time_in_force,
                UNDEFINED_PRICE if price is None else price, UNDEFINED_PRICE if stop is None else stop, order.trail_ticks, order.display_quantity, order.ts,
                order.effective_ts, order.expire_ts, order.parent or 0, order.oco_group, order.reduce_only,
                self.working.tag_number(order.tag), 0, 0, 0,
            )  # fmt: skip
        except (TypeError, ValueError, OverflowError):
            return False
        return True

    def found(self, k: int, order_id: int) -> CheckedOrder:
        """What the checks of this account found of the order asked about in row ``k``, which may be that of an account below."""
        rows = self.account.rows
        return checked(rows, k, order_id, int(rows.asked[self.n, k]["noted"]), self.n)

    def on_report(self, ts: int, index: int, side: int, sequence: int) -> None:
        """A report known at ``ts``, on an order of ``side`` in instrument ``index``, was taken (``taking.take_report``).

        ``sequence`` is the order's among those that left.
        """
        told = self.results.told(self.n)
        if told & UNKNOWN_ORDER:
            self._unknown_reports += 1
        if told & FREED and sequence <= self._state_sequence:
            # The last that was open before a halt or FLATTEN has ended: its position need not wait for the next asking.
            self._next_action_ts = NO_FLOOR
        for gate in self.chain:
            gate._tell_counted(ts, index, side)  # noqa: SLF001  its own kind

    def _tell_counted(self, ts: int, index: int, side: int) -> None:
        """Do what the executions, round trips and rejects of this account ask for after a report."""
        told = self.results.told(self.n)
        if told & OFTEN:
            self.flow.throttle(index, side, ts)
            text = f"{self.instruments[index].id}: more executions than allowed on one side; opening orders stop until reset"
            count = self.results.executions(self.n, index, side)
            self._alert("high", "repeated_executions", text, count, self.settings.flow.max_repeats)
        if told & LOST:
            self._observe(Trigger.LOSS_STREAK, self.results.streak(self.n), ts)
        if told & REJECTED:
            self._rejects.append(ts)
            rejects = count_recent(self._rejects, ts - self.settings.breakers.event_window_ns)
            self._observe(Trigger.ORDER_REJECTS, rejects, ts)

    def on_transfer(self, before_micros: int, after_micros: int) -> None:
        """The owner brought or took money, which took the equity from ``before`` to ``after``: no loss and no gain.

        Capital and peak follow, so the limits fit the account that is left; the day's start moves so that the share lost today stays.
        Told to each account that it concerns, with its own equity.
        """
        standing = self._standing
        capital = standing.capital_micros
        moved = moved_capital(capital, before_micros, after_micros)
        standing.peak_micros = moved_peak(standing.peak_micros, before_micros, after_micros)
        standing.day_start_micros = after_micros - (before_micros - standing.day_start_micros) * moved // capital
        self._take_capital(moved)

    def on_split(self, index: int, into: int, of: int, lots: int, paid_micros: int) -> None:
        """Instrument ``index`` was split ``into`` for ``of``: ``lots`` are held now, and ``paid_micros`` came for the part of a lot.

        Each account is told its own; the one at the top has what is known of the market split with it.
        """
        if not self.chain[1:]:
            self.running.split(index, into, of)
            self.shocks.split(index, of / into)
        self.results.split(self.n, index, lots, paid_micros // self.instruments[index].tick_value_micros)

    def reset_throttle(self, who: str, reason: str) -> None:
        """A person re-enables what repeated executions stopped; ``who`` is ``name/role`` as for a release."""
        name, _, role = who.partition("/")
        if role not in self.settings.breakers.release_roles or not name or not reason.strip():
            raise RiskInputError(f"found {who!r} resetting the throttle, expected name/role that may release, and why")
        self.flow.reset_throttle()
        self._alert("medium", "throttle_reset", f"{who}: {reason}")

    # -- market ---------------------------------------------------------------------------------------------------

    def on_bars(self, bars: Sequence[ClosedBar], view: RiskView) -> tuple[Alert, ...]:
        """Take closed bars; those of the configured width make returns, covariances and shocks. Returns the alerts.

        Bars of one close time form one row of returns. The row is taken when every instrument in session has delivered,
        or when a later close time arrives; an instrument without a bar is missing in it, and its next return spans the
        gap. No return is made across a roll or a bad stretch.
        """
        closed = np.zeros(len(bars), BAR)
        for row, bar in zip(closed, bars, strict=True):
            row["width"], row["start"], row["end"], row["close"] = bar.width_ns, bar.ts_open, bar.ts_event, bar.close
            row["flags"], row["instrument"] = bar.flags, self._index[bar.instrument]
        return self.on_closed(closed, len(bars), view)

    def on_closed(self, closed: Rows, count: int, view: RiskView) -> tuple[Alert, ...]:
        """``on_bars`` for the first ``count`` rows of ``closed``, which has the fields of ``intake.BAR``, from where ``take_bars`` stopped."""
        lots = self.running.lots
        lots[POSITIONS], lots[RATES] = view.positions, view.rates_micros
        lots[OPEN] = view.in_session
        lots[ROWS] = view.rows or -1
        code, self.intake[0]["code"] = int(self.intake[0]["code"]), TAKEN
        if code == TAKEN:
            code = self._take_closed(closed, count)
        while code != TAKEN:
            self._tell(code, closed, view)
            code = self._take_closed(closed, count)
        return self._drain_alerts() if self._alerts else ()

    def _take_closed(self, closed: Rows, count: int) -> int:
        """``intake.take_bars`` over this gate's arrays."""
        running, shocks = self.running, self.shocks
        covariance = running.covariance
        code: int = take_bars(
            closed, count, self.intake, running.lots, running.closes, running.row, covariance.tables, covariance.clock,
            running.money, shocks.tables, shocks.eigenvector, shocks.history, shocks.count, self.pace.table,
        )  # fmt: skip
        return code

    def _tell(self, code: int, closed: Rows, view: RiskView) -> None:
        """Do what ``take_bars`` came back for: count a bad bar, or tell what a row of returns brought."""
        intake = self.intake[0]
        if code == INFINITE:
            raise RiskInputError(INFINITE_TEXT)
        if code == BAD_BAR:
            ts = int(closed[int(intake["cursor"])]["end"])
            self._bad_bars.append(ts)
            count = count_recent(self._bad_bars, ts - self.settings.breakers.event_window_ns)
            self._observe(Trigger.DATA_QUALITY, count, ts)
            return
        if intake["found"] > 0:
            self._tell_shocks(int(intake["found"]), view.ts)
        if self.shocks.seen > self.settings.shocks.min_history:
            ratio = math.exp(intake["rise"])
            if not ratio < intake["volatility_line"]:
                self._observe(Trigger.VOLATILITY, ratio, view.ts)
        variance = float(intake["variance"])
        if variance != 0.0 and any(view.positions):
            ratio = root(variance) / float(intake["var_limit"])
            if ratio >= intake["var_line"]:
                self._observe(Trigger.VAR_BREACH, ratio, view.ts)

    def _tell_shocks(self, found: int, ts: int) -> None:
        for shock in self.shocks.described(found, self.running.covariance.covariance):
            names = " and ".join(self.instruments[k].id for k in shock.cause)
            text = (
                f"{shock.kind} is {shock.deviations:.1f} standard deviations above its usual {shock.usual:.4g}; "
                f"furthest: {names}"
            )
            self._alert("high", f"shock_{shock.kind}", text, shock.value, shock.usual)
            if shock.kind != "volatility":
                self._observe(Trigger.CORRELATION_SHOCK, shock.deviations, ts)

    @property
    def is_usual(self) -> bool:
        """True where ``react`` has nothing to look at but the account's standing; compiled code may then do it."""
        if self._lines_dirty:
            self._draw_lines()
        return not (self._alerts or self._unknown_reports or self.flow.throttled)

    @property
    def standing(self) -> AccountStanding:
        """How the account stands against the lines."""
        return self._standing

    def value_at_risk(self, view: RiskView) -> float:
        """Parametric VaR of the positions held, in micros, at the configured level and horizon; NaN while unknown."""
        return self.running.value_at_risk(view.positions, view.rates_micros)

    def component_value_at_risk(self, view: RiskView) -> list[float]:
        """Each instrument's share of ``value_at_risk``, in micros; they add up to it. NaN while unknown."""
        return self.running.components(view.positions, view.rates_micros)

    # -- the ladder -----------------------------------------------------------------------------------------------

    def on_signal(self, trigger: Trigger, value: float, ts: int) -> None:
        """A trigger measured elsewhere: latency (seconds), market_wide (fall), disconnect (1), data_quality (count)."""
        self._observe(trigger, value, ts)

    def _observe(self, trigger: Trigger, value: float, ts: int, renews: bool = True) -> None:
        moved = self.ladder.observe(trigger, value, ts, renews=renews)
        if moved is not None:
            self._moved(moved)

    def _moved(self, moved: Transition) -> None:
        """Note a move of the ladder, for the record and for what ``react`` does about it."""
        severity = ("medium", "medium", "high", "critical", "critical")[moved.after]
        by = moved.who or moved.trigger.value
        text = f"{moved.before.name.lower()} to {moved.after.name.lower()} by {by}"
        if moved.reason:
            text = f"{text}: {moved.reason}"
        code = f"breaker_{moved.after.name.lower()}"
        self._alert(severity, code, text, moved.value, moved.limit)
        self._standing.state = moved.after
        self._lines_dirty = True
        self._begin_state(moved.ts)

    def _begin_state(self, ts: int) -> None:
        """From here on it is another state: what was sent before does not belong to it."""
        self._reduce_target = None
        self._state_sequence, self._state_ts = self.working.sequence, ts
        self._next_action_ts = NO_FLOOR

    def _alert(
        self, severity: str, code: str, text: str, value: float | None = None, limit: float | None = None
    ) -> None:
        self._alerts.append(Alert(severity=severity, code=code, text=self.told(text), value=value, limit=limit))

    def told(self, text: str) -> str:
        """``text`` of an alert that is about this account, with its name where it is not the run's own."""
        return f"{self.name}: {text}" if self.name else text

    def _drain_alerts(self) -> tuple[Alert, ...]:
        alerts = tuple(self._alerts)
        self._alerts.clear()
        return alerts

    def equity_floor_micros(self) -> int:
        """The equity at or below which the ladder moves next; the compiled market step stops there. None: -2**62."""
        if self._lines_dirty:
            self._draw_lines()
        return self._standing.floor_micros

    def _draw_lines(self) -> None:
        self._lines_dirty = False
        standing = self._standing
        standing.floor_micros = floor_of(
            self.lines, standing.state, standing.peak_micros, standing.day_start_micros, standing.capital_micros
        )

    def react(self, view: RiskView) -> tuple[tuple[Intent, ...], tuple[Alert, ...]]:
        """Run the breakers on the present state; called at every engine step. Returns what they do, and the alerts."""
        self.working.batch += 1
        if self.flow.throttled:
            for index, side in self.flow.open_by_rule(view.ts):
                text = f"{self.instruments[index].id}: {'buys' if side > 0 else 'sells'} open again by rule"
                self._alert("medium", "throttle_released", text)
        if self._lines_dirty:
            self._draw_lines()
        equity = view.equity_micros
        day = view.day_ns if view.day_ns >= 0 else view.ts - view.ts % NS_PER_DAY
        is_above = renew_lines(self._standing.row, self.lines, equity, max(equity, view.peak_equity_micros), day, False)
        state = self.ladder.state
        bound, flattens = self._bind(view.ts) if self.chain[1:] else (_NORMAL, False)
        flattens = flattens or self._standing.flattening
        if not is_above or state is not _NORMAL:
            renews = state < _REDUCE or any(view.positions)  # once flat, a loss stays as it is and says nothing new
            self._observe(Trigger.DRAWDOWN, drawdown_of(equity, self._standing.peak_micros), view.ts, renews)
            loss = (self._standing.day_start_micros - equity) / self.capital_micros
            self._observe(Trigger.DAILY_LOSS, loss, view.ts, renews)
            relaxed = self.ladder.relax(view.ts)
            if relaxed is not None:
                if relaxed.before > _CAUTION:
                    self._start_anew(equity)
                self._moved(relaxed)
            if self._lines_dirty:
                self._draw_lines()
            state = self.ladder.state
        elif not (self._alerts or flattens or self._unknown_reports or bound is not _NORMAL):
            return _NOTHING
        if self._unknown_reports:
            text = "the venue reported on an order that risk does not know"
            self._alert("critical", "unknown_report", text, self._unknown_reports)
            self._unknown_reports = 0
        intents: tuple[Intent, ...] = ()
        state = max(state, bound)
        if not self.trades_itself:
            self._end_flattening()
        elif view.ts >= self._next_action_ts:
            if state is _KILLED:
                intents = self._cancel_all()
            elif state is _HALT or flattens:
                intents = self._flatten(view)
            elif state is _REDUCE:
                intents = self._reduce(view)
            if intents:
                self._next_action_ts = view.ts + self.settings.breakers.slice_interval_ns
        return intents, self._drain_alerts()

    def _bind(self, ts: int) -> tuple[BreakerState, bool]:
        """What the accounts above bind this one to; where it is something else than before, what to do about it begins anew."""
        bound = self._bound_above()
        if bound != self._bound:
            self._bound = bound
            self._begin_state(ts)
        return bound

    def _bound_above(self) -> tuple[BreakerState, bool]:
        """The worst state of the accounts above, and whether one of them closes everything by a person's word."""
        above = self.chain[1:]
        return max((gate.ladder.state for gate in above), default=_NORMAL), any(
            gate.standing.flattening for gate in above
        )

    def _end_flattening(self) -> None:
        """What a person told an account that stands above others to close is closed once all below it are flat, with nothing open."""
        rows, (first, last) = self.account.rows, self.reach
        if self._standing.flattening and not (
            rows.seen[first:last]["position"].any() or rows.out[first:last]["count"].any()
        ):
            self._standing.flattening = False

    def _is_closing_now(self, order: WorkingOrder) -> bool:
        """True for a market order that left since the ladder moved: from then on only what closes may leave."""
        return order.sequence > self._state_sequence and order.order_type == OrderType.MARKET

    def _cancel_all(self) -> tuple[Intent, ...]:
        """Cancel whatever works, but for what was sent since the move to this state and closes at the next price.

        Such a market order is left alone however long it waits: another one in its place would wait no less.
        """
        return tuple(
            CancelIntent(
                instrument=self.instruments[order.instrument].id,
                order_id=OrderId(order.order_id),
                reasons=("breaker",),
            )
            for order in self.working.each()
            if not self._is_closing_now(order)
        )

    def _flatten(self, view: RiskView) -> tuple[Intent, ...]:
        """Cancel first; close a position once nothing of it works any more, or when the confirmation takes too long."""
        intents = list(self._cancel_all())
        waited = view.ts - self._state_ts > self.settings.breakers.flatten_wait_ns
        for index, lots in enumerate(view.positions):
            if not lots or not (view.in_session[index] or view.carried) or view.halted[index]:
                continue
            out = self.working.sells[index] if lots > 0 else self.working.buys[index]
            closes = any(order.instrument == index and self._is_closing_now(order) for order in self.working.each())
            if closes or (out and not waited):
                continue
            intents.append(_target(self.instruments[index], 0, "flatten"))
        if not intents and self._standing.flattening and not any(view.positions) and not self.working.count:
            self._standing.flattening = False
        return tuple(intents)

    def _reduce(self, view: RiskView) -> tuple[Intent, ...]:
        """Cancel what would add risk, then close one slice of the position with the largest component VaR."""
        settings = self.settings.breakers
        cancels: list[Intent] = [
            CancelIntent(
                instrument=self.instruments[o.instrument].id,
                order_id=OrderId(o.order_id),
                reasons=("breaker",),
            )
            for o in self.working.each()
            if o.sequence <= self._state_sequence and not o.parent and o.side * view.positions[o.instrument] >= 0
        ]
        components = self.component_value_at_risk(view)
        total = sum(components)
        if math.isnan(total):  # unknown: go by notional instead, which is known wherever a position is
            components = [
                float(abs(p) * abs(m) * x.tick_value_micros) if p and m != UNDEFINED_PRICE else 0.0
                for p, m, x in zip(view.positions, view.marks, self.instruments, strict=True)
            ]
            total = sum(components)
        if self._reduce_target is None:
            self._reduce_target = settings.reduce_share * total
        in_flight = any(self._is_closing_now(order) for order in self.working.each())
        if in_flight or total <= self._reduce_target * (1.0 + 1e-12):
            return tuple(cancels)
        ranked = sorted(range(self._n), key=components.__getitem__, reverse=True)
        for index in ranked:
            lots = view.positions[index]
            is_open = view.in_session[index] or view.carried
            tradable = is_open and not view.halted[index] and components[index] > 0.0
            if lots and tradable:
                cut = max(1, int(settings.slice_share * abs(lots)))
                left = lots - cut if lots > 0 else lots + cut
                cancels.append(_target(self.instruments[index], left, "reduce"))
                break
        return tuple(cancels)

    # -- people ---------------------------------------------------------------------------------------------------

    def on_command(self, command: Command, view: RiskView) -> tuple[tuple[Intent, ...], tuple[Alert, ...]]:
        """A person's command. ``who`` is ``name/role``; RESUME by a role that may release also steps the ladder back.

        From killed, RESUME or RELEASE is needed twice, from two people. What a role may not do is an alert and changes nothing.
        """
        kind = command.kind
        if kind is CommandKind.PAUSE:
            self._standing.paused = True
            self._alert("medium", "paused", f"{command.who}: {command.why}")
        elif kind is CommandKind.FLATTEN:
            self._standing.paused = self._standing.flattening = True
            self._state_sequence, self._state_ts = self.working.sequence, command.ts
            self._next_action_ts = NO_FLOOR
            self._alert("high", "flatten", f"{command.who}: {command.why}")
        elif kind is CommandKind.STOP or kind is CommandKind.KILL:
            self.kill(command.who, command.why or kind.value, command.ts)
            self._tell_what_stays(view)
        elif kind is CommandKind.RELEASE:
            self._release(command, view)
        elif kind is CommandKind.RESET_THROTTLE:
            try:
                self.reset_throttle(command.who, command.why)
            except RiskInputError as error:
                self._alert("medium", "throttle_reset_refused", str(error))
        elif self.ladder.state is _NORMAL or self._release(command, view):
            self._standing.paused = self._standing.flattening = False
            self._alert("medium", "resumed", f"{command.who}: {command.why}")
        return self.react(view)

    def _release(self, command: Command, view: RiskView) -> bool:
        """Step the ladder back to normal; False, with an alert that says why, where it stays."""
        try:
            moved = self.ladder.release(_NORMAL, command.who, command.why, command.ts)
        except RiskInputError as error:
            self._alert("medium", "release_refused", str(error))
            return False
        if moved is None:
            self._alert("high", "release_waits", f"{command.who}: a second person must confirm")
            return False
        self._start_anew(view.equity_micros)
        self._moved(moved)
        return True

    def _tell_what_stays(self, view: RiskView) -> None:
        """Killing closes nothing: say what is held from here on without a stop."""
        held = [f"{lots:+d} {x.id}" for lots, x in zip(view.positions, self.instruments, strict=True) if lots]
        if held:
            text = f"{', '.join(held)} stay as they are, without stops: killing cancels and closes nothing; FLATTEN first to be flat"
            self._alert("critical", "position_kept", text, len(held))

    def _start_anew(self, equity_micros: int) -> None:
        """After a release: losses up to here are known and accepted, the lines are drawn from the present equity."""
        self._standing.peak_micros = self._standing.day_start_micros = equity_micros
        self.results.forget_streak(self.n)

    def halt_on_broken_limit(self, text: str, value: int, limit: int, ts: int) -> tuple[Alert, ...]:
        """A limit is broken in spite of every check: what the checks rest on is not so. Cancel, flatten, no new risk."""
        self._alert("critical", "limit_broken", text, value, limit)
        moved = self.ladder.halt("engine", text, ts)
        if moved is not None:
            self._moved(moved)
        return self._drain_alerts()

    def kill(self, who: str, reason: str, ts: int) -> None:
        """Stop everything at once: whatever works is cancelled at the next step and nothing new leaves."""
        moved = self.ladder.kill(who, reason, ts)
        if moved is not None:
            self._moved(moved)

    # -- state ----------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        """The whole state as bytes; ``restore`` on a gate built alike continues exactly."""
        standing = self._standing
        return msgspec.msgpack.encode(
            _Saved(
                ladder=self.ladder.save(),
                working=self.working.save(),
                flow=self.flow.save(),
                running=b"" if self.chain[1:] else self.running.save(),
                shocks=b"" if self.chain[1:] else self.shocks.save(),
                capital_micros=standing.capital_micros,
                peak_micros=standing.peak_micros,
                day_start_micros=standing.day_start_micros,
                paused=standing.paused,
                flattening=standing.flattening,
                day=self._standing.day,
                reduce_target=self._reduce_target,
                state_sequence=self._state_sequence,
                state_ts=self._state_ts,
                next_action_ts=self._next_action_ts,
                results=self.results.save(self.n),
                rejects=list(self._rejects),
                bad_bars=list(self._bad_bars),
                unknown_reports=self._unknown_reports,
                alerts=self._alerts,
                pace=self.pace.save(),
            )
        )

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save`` of a gate with the same instruments and settings; those above first."""
        saved = msgspec.msgpack.decode(data, type=_Saved)
        sides = len(saved.results[2])
        if sides != 2 * self._n:
            raise RiskInputError(f"found saved risk state of {sides // 2} instruments, expected {self._n}")
        self.ladder.restore(saved.ladder)
        self._standing.state = self.ladder.state
        self.results.restore(self.n, saved.results)
        self.flow.restore(saved.flow)
        self.working.restore(saved.working)
        if not self.chain[1:]:  # Those of the market are kept by the gate at the top.
            self.running.restore(saved.running)
            self.shocks.restore(saved.shocks)
        standing = self._standing
        if saved.capital_micros != standing.capital_micros:
            self._take_capital(saved.capital_micros)
        standing.peak_micros, standing.day_start_micros = saved.peak_micros, saved.day_start_micros
        standing.paused, standing.flattening = saved.paused, saved.flattening
        self._standing.day = saved.day
        self._reduce_target = saved.reduce_target
        self._state_sequence, self._state_ts = saved.state_sequence, saved.state_ts
        self._next_action_ts = saved.next_action_ts
        self._rejects, self._bad_bars = deque(saved.rejects), deque(saved.bad_bars)
        self._unknown_reports = saved.unknown_reports
        self._bound = self._bound_above()
        self._alerts = saved.alerts
        self.pace.restore(saved.pace)
        self._lines_dirty = True


class _Saved(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What ``RiskGate.save`` writes."""

    ladder: bytes
    working: bytes
    flow: bytes
    running: bytes
    shocks: bytes
    capital_micros: int
    peak_micros: int
    day_start_micros: int
    paused: bool
    flattening: bool
    day: int
    reduce_target: float | None
    state_sequence: int
    state_ts: int
    next_action_ts: int
    results: tuple[bytes, int, list[list[int]]]
    rejects: list[int]
    bad_bars: list[int]
    unknown_reports: int
    alerts: list[Alert]
    pace: tuple[list[int], list[int], list[int]]


def _target(instrument: Instrument, lots: int, why: str) -> TargetPosition:
    return TargetPosition(instrument=instrument.id, lots=lots, urgency=Urgency.AGGRESSIVE, reasons=("breaker", why))


def build_gates(
    settings: RiskSettings,
    instruments: Sequence[Instrument],
    capital_micros: int,
    accounts: Mapping[str, AccountLimits],
    make: type[RiskGate] = RiskGate,
) -> dict[str, RiskGate]:
    """A gate for the run's own account, under the empty name, and for each of ``accounts``; each after the one above it.

    Raises ``RiskInputError`` as ``RiskGate`` and ``tree.seats_of`` do.
    """
    seats = seats_of(accounts, settings, capital_micros)
    gates = {"": make(settings, instruments, capital_micros, seats)}
    waiting = list(range(1, len(seats)))
    while waiting:
        n = waiting.pop(0)
        seat = seats[n]
        above = gates.get(seats[seat.above].name)
        if above is None:
            waiting.append(n)
        else:
            gates[seat.name] = make(seat.settings, instruments, seat.capital_micros, seats, n, above)
    return gates
