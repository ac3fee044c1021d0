"""The risk gate: every order passes here, every engine step ends here.

``check`` runs the pre-trade checks in one fixed order (``reasons.CHECK_NAMES``) and puts each on the record with what it
found and what is allowed. A size limit cuts an order to what fits; anything else that fails refuses it; what cannot be
computed refuses it too. An order that only reduces passes the checks that exist to stop new risk. ``react`` runs the
circuit breakers and returns what they do as intents, which come back through ``check`` like any other.

What the size checks promise, and a fuzz test holds: after approval no combination of fills of the orders that are out
takes a position, exposure, margin or value at risk beyond its limit at the marks of the moment. For value at risk the
order's own instrument is taken at its worst end, and every other instrument's working orders add their own volatility
undiversified, which bounds every combination from above.

Everything on this path is plain Python integers and lists. Covariances are of the money that one lot gains per bar, so
prices near or below zero need no special case. Read next: ``working.py``, ``breakers.py``, ``correlation.py``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from grandmodel.domain.blocks import UNDEFINED_PRICE, Flag
from grandmodel.domain.decisions import CancelIntent, CheckOutcome, Intent, RiskCheck, TargetPosition, Urgency
from grandmodel.domain.events import Alert, ClosedBar, Command, CommandKind
from grandmodel.domain.ids import OrderId
from grandmodel.domain.instruments import MAX_PRICE_TICKS, MAX_QUANTITY_LOTS, Instrument, Settlement
from grandmodel.domain.orders import ExecType, ExecutionReport, Fill, Order, OrderType, TimeInForce
from grandmodel.domain.time import NS_PER_DAY
from grandmodel.risk.breakers import BreakerLadder, BreakerState, Transition, Trigger
from grandmodel.risk.correlation import EwmaCovariance
from grandmodel.risk.distributions import normal_quantile
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.reasons import CHECK_NAMES, RiskReason
from grandmodel.risk.settings import InstrumentLimits, RiskSettings
from grandmodel.risk.shocks import ShockDetector
from grandmodel.risk.working import WorkingOrders

NO_FLOOR = -(2**62)
"""An equity floor that nothing reaches."""

_MONEY_BOUND = 2.0**61
_PASSED = CheckOutcome.PASSED
_SHRUNK = CheckOutcome.SHRUNK
_REFUSED = CheckOutcome.REFUSED
_UNUSABLE_BAR = int(Flag.ROLL | Flag.BAD_STRETCH)
_EASE_NS = NS_PER_DAY


@dataclass(slots=True)
class RiskView:
    """What the engine knows at one step, by instrument index where it is a list. Plain ints: the gate reads it per order."""

    ts: int
    equity_micros: int
    positions: list[int]
    """Signed lots."""
    marks: list[int]
    """Ticks; ``UNDEFINED_PRICE`` where there is none."""
    mark_ts: list[int]
    """When each mark was made."""
    best_bids: list[int]
    best_asks: list[int]
    """Ticks; ``UNDEFINED_PRICE`` where only bars are known."""
    in_session: list[bool]
    halted: list[bool]
    """True in a venue halt, a volatility pause or a limit-up/limit-down state."""
    rates_micros: list[int]
    """Millionths of the account's currency per unit of the instrument's."""
    day_ns: int = -1
    """Midnight UTC of the trading day; -1: the UTC day of ``ts``."""
    peak_equity_micros: int = NO_FLOOR
    """Highest marked equity since the step before, where the market step knows it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of one order: what may go (perhaps smaller), or None, and every check."""

    order: Order | None
    checks: tuple[RiskCheck, ...]
    reason: str
    """Code of the first check that refused, else of the first that cut, else empty."""


@dataclass(slots=True)
class _OpenTrade:
    """Running result of one instrument's position since it was last flat, for the loss streak."""

    lots: int = 0
    cash_ticks: int = 0
    fees_micros: int = 0


@dataclass(slots=True)
class _Risk:
    """Value-at-risk coefficients for present covariances and rates: variance and stressed volatility per lot."""

    matrix: list[list[float]]
    """(n, n) covariance of money per lot, times the quantile squared and the horizon."""
    single: list[float]
    """Value at risk of one lot alone."""
    stressed: list[float]
    """The same under stress."""
    rates: list[int] = field(default_factory=list)


class RiskGate:
    """Pre-trade checks, working orders, circuit breakers and the running covariance of one account.

    ``instruments`` fixes the index of each instrument everywhere; ``capital_micros`` is the starting capital that money
    limits are multiples of.
    """

    def __init__(self, settings: RiskSettings, instruments: Sequence[Instrument], capital_micros: int) -> None:
        if capital_micros <= 0:
            raise RiskInputError(f"found capital {capital_micros} micros, expected a positive amount")
        ids = [instrument.id for instrument in instruments]
        for name in (*settings.instruments, *settings.authorised, *settings.restricted):
            if name not in ids:
                raise RiskInputError(f"risk settings name instrument {name!r}, expected one of this run's: {ids}")
        n = len(instruments)
        self.settings = settings
        self.instruments = tuple(instruments)
        self.capital_micros = capital_micros
        self.ladder = BreakerLadder(settings.breakers)
        self.working = WorkingOrders(n)
        self.covariance = EwmaCovariance(n, settings.var.decay_per_day ** (1.0 / settings.var.bars_per_day))
        self.shocks = ShockDetector(n, settings.shocks)
        self._n = n
        self._index: dict[str, int] = {name: k for k, name in enumerate(ids)}
        self._limits: list[InstrumentLimits] = [settings.instruments.get(name, settings.limits) for name in ids]
        self._tick_values = [instrument.tick_value_micros for instrument in instruments]
        self._spot = [instrument.settlement is Settlement.SPOT for instrument in instruments]
        self._margins = [instrument.initial_margin_micros for instrument in instruments]
        self._negative = [instrument.negative_prices for instrument in instruments]
        self._authorised = [not settings.authorised or name in settings.authorised for name in ids]
        self._restricted = [name in settings.restricted for name in ids]
        self._order_notional = [int(x.max_order_notional * capital_micros) for x in self._limits]
        self._concentration = [int(x.max_concentration * capital_micros) for x in self._limits]
        portfolio = settings.portfolio
        self._gross = int(portfolio.max_gross_exposure * capital_micros)
        self._net = int(portfolio.max_net_exposure * capital_micros)
        self._var_limit = portfolio.max_var * capital_micros
        self._stressed_limit = portfolio.max_stressed_var * capital_micros
        self._quantile = normal_quantile(settings.var.level)
        self._scale = self._quantile * math.sqrt(settings.var.horizon_days * settings.var.bars_per_day)
        # Flow.
        self._order_times: deque[int] = deque()
        self._message_times: deque[int] = deque()
        self._sent: dict[tuple[Any, ...], int] = {}
        self._executions: dict[tuple[int, int], deque[int]] = {}
        self._throttled: set[tuple[int, int]] = set()
        # Returns.
        self._last_close: list[int | None] = [None] * n
        self._return_count = [0] * n
        self._row = [math.nan] * n
        self._row_ts = -1
        self._peak_variance = [0.0] * n
        self._risk: _Risk | None = None
        self._risk_dirty = True
        self._cached_positions: list[int] = []
        self._exposed: list[float] = []
        self._variance = 0.0
        # Equity and ladder.
        self._peak = capital_micros
        self._day = -1
        self._day_start = capital_micros
        self._floor = NO_FLOOR
        self._floor_state = -1
        self._lines_dirty = True
        self._paused = False
        self._flattening = False
        self._reduce_target: float | None = None
        self._state_sequence = 0
        self._state_ts = 0
        self._next_action_ts = NO_FLOOR
        self._trades = [_OpenTrade() for _ in range(n)]
        self._streak = 0
        self._rejects: deque[int] = deque()
        self._bad_bars: deque[int] = deque()
        self._unknown_reports = 0
        self._pending_alerts: list[Alert] = []

    # -- orders ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> BreakerState:
        """Where the ladder stands."""
        return self.ladder.state

    @property
    def size_scale(self) -> float:
        """The share of a position that agents may ask for: 1 normally, half in caution, 0 beyond."""
        if self._paused or self.ladder.state > BreakerState.CAUTION:
            return 0.0
        return self.settings.breakers.caution_scale if self.ladder.state is BreakerState.CAUTION else 1.0

    def check(self, order: Order, view: RiskView) -> Verdict:
        """Run every check on ``order``; an order with the id of a working one is a change of it.

        Nothing is counted here: the engine calls ``on_order`` with what it sends.
        """
        try:
            total = (
                view.equity_micros
                + sum(view.marks)
                + sum(view.positions)
                + sum(view.rates_micros)
                + sum(view.mark_ts)
                + sum(view.best_bids)
                + sum(view.best_asks)
                + order.quantity
                + (order.price or 0)
                + (order.stop_price or 0)
                + view.ts
            )
            usable = total - total == 0 and len(view.marks) == self._n == len(view.positions)
        except (TypeError, OverflowError):
            usable = False
        if not usable:
            return _hopeless("inputs", None, RiskReason.INVALID_INPUT)
        index = self._index.get(order.instrument, -1)
        if index < 0:
            return _hopeless("authorised_instrument", None, RiskReason.UNKNOWN_INSTRUMENT)
        return self._check_known(order, view, index)

    def _check_known(self, order: Order, view: RiskView, i: int) -> Verdict:
        checks: list[RiskCheck] = [_INPUTS_PASSED]
        add = checks.append
        reason = ""
        limits = self._limits[i]
        side = int(order.side)
        quantity = order.quantity
        position = view.positions[i]
        ts = view.ts
        mark = view.marks[i]
        rate = view.rates_micros[i]
        buys, sells = self.working.buys, self.working.sells
        asked, counted, child = self.working.side_lots_with(order, i)
        # Ends of the position, seen from the order's side: `end` moves with it, `other` is the opposite worst case.
        if side > 0:
            end, other = position + buys[i], sells[i] - position
        else:
            end, other = sells[i] - position, position + buys[i]
        room = asked  # lots that every size check allows
        reducing = child or end + asked <= 0
        closable = max(0, -end)
        unknown_order = order.order_id not in self.working.orders

        # authorised_instrument
        if self._authorised[i]:
            add(_AUTHORISED_PASSED)
        else:
            add(_refused("authorised_instrument", None, None, RiskReason.NOT_AUTHORISED))
            reason = reason or RiskReason.NOT_AUTHORISED

        # session
        if view.in_session[i] and not view.halted[i]:
            add(_SESSION_PASSED)
        else:
            code = RiskReason.TRADING_HALTED if view.in_session[i] else RiskReason.OUT_OF_SESSION
            add(_refused("session", None, None, code))
            reason = reason or code

        # order_rules
        broken = self._rule_broken(order, i, ts, child)
        if broken is not None:
            add(_refused("order_rules", None, None, broken))
            reason = reason or broken
        else:
            add(_RULES_PASSED)

        # order_quantity, order_notional, price_collar
        if quantity <= limits.max_order_lots:
            add(RiskCheck(name="order_quantity", outcome=_PASSED, value=quantity, limit=limits.max_order_lots))
        else:
            add(_refused("order_quantity", quantity, limits.max_order_lots, RiskReason.ORDER_QUANTITY))
            reason = reason or RiskReason.ORDER_QUANTITY
        if mark == UNDEFINED_PRICE or not 0 < rate < 2**40 or abs(mark) > MAX_PRICE_TICKS:
            add(_refused("order_notional", None, self._order_notional[i], RiskReason.NO_PRICE))
            add(_refused("price_collar", None, None, RiskReason.NO_PRICE))
            return _cut_short(checks, reason or RiskReason.NO_PRICE)
        limit_price = order.price
        dearest = abs(mark) if limit_price is None else max(abs(mark), abs(limit_price))
        notional = quantity * dearest * self._tick_values[i] * rate // 1_000_000
        if notional <= self._order_notional[i]:
            add(RiskCheck(name="order_notional", outcome=_PASSED, value=notional, limit=self._order_notional[i]))
        else:
            add(_refused("order_notional", notional, self._order_notional[i], RiskReason.ORDER_NOTIONAL))
            reason = reason or RiskReason.ORDER_NOTIONAL
        beyond, away = self._collar_distances(order, view, i, mark, side)
        collar = max(limits.collar_min_ticks, int(limits.collar_fraction * abs(mark)))
        far = max(limits.collar_min_ticks, int(limits.away_fraction * abs(mark)))
        if beyond <= collar and away <= far:
            add(RiskCheck(name="price_collar", outcome=_PASSED, value=beyond, limit=collar))
        else:
            value, bound = (beyond, collar) if beyond > collar else (away, far)
            add(_refused("price_collar", value, bound, RiskReason.PRICE_COLLAR))
            reason = reason or RiskReason.PRICE_COLLAR

        # order_rate, message_rate, repeated_orders, duplicate, self_match
        flow = self.settings.flow
        orders = _recent(self._order_times, ts - flow.window_ns) + (1 if unknown_order else 0)
        if orders <= flow.max_orders or reducing:
            add(RiskCheck(name="order_rate", outcome=_PASSED, value=orders, limit=flow.max_orders))
        else:
            add(_refused("order_rate", orders, flow.max_orders, RiskReason.ORDER_RATE))
            reason = reason or RiskReason.ORDER_RATE
        messages = _recent(self._message_times, ts - flow.window_ns) + 1
        if messages <= flow.max_messages:
            add(RiskCheck(name="message_rate", outcome=_PASSED, value=messages, limit=flow.max_messages))
        else:
            add(_refused("message_rate", messages, flow.max_messages, RiskReason.MESSAGE_RATE))
            reason = reason or RiskReason.MESSAGE_RATE
        if not self._throttled or (i, side) not in self._throttled or reducing:
            add(_REPEATED_PASSED)
        else:
            add(_refused("repeated_orders", flow.max_repeats + 1, flow.max_repeats, RiskReason.REPEATED_EXECUTIONS))
            reason = reason or RiskReason.REPEATED_EXECUTIONS
        before = self._sent.get(_fingerprint(order)) if unknown_order else None
        if before is None or ts - before >= flow.duplicate_window_ns:
            add(_DUPLICATE_PASSED)
        else:
            add(_refused("duplicate", ts - before, flow.duplicate_window_ns, RiskReason.DUPLICATE))
            reason = reason or RiskReason.DUPLICATE
        ours = self.working.best_opposite(i, side) if self.working.by_index[i] and not child else None
        if ours is None or not _would_match(order, side, ours, view, i, mark):
            add(_SELF_MATCH_PASSED)
        else:
            add(_refused("self_match", limit_price, ours, RiskReason.SELF_MATCH))
            reason = reason or RiskReason.SELF_MATCH

        # position_long, position_short
        long_end, short_end = (end, other) if side > 0 else (other, end)
        for name, is_side, top, worst, code in (
            ("position_long", side > 0, limits.max_long_lots, long_end, RiskReason.POSITION_LONG),
            ("position_short", side < 0, limits.max_short_lots, short_end, RiskReason.POSITION_SHORT),
        ):
            after = worst + asked if is_side else worst
            if after <= top or not is_side or asked <= 0:
                add(RiskCheck(name=name, outcome=_PASSED, value=max(after, 0), limit=top))
            else:
                fits = max(top - end, closable)
                room = min(room, fits)
                add(self._cut(name, after, top, fits, code))
                reason = reason or code

        # Sums over the account: lots, notional, margin, undiversified volatility of working orders, stressed volatility.
        risk = self._coefficients(view)
        overall = gross = low = high = margin = 0
        loose = stressed = 0.0
        known = risk is not None
        unit = margin_unit = 0
        for j, (p, b, s) in enumerate(zip(view.positions, buys, sells, strict=True)):
            if not p and not b and not s and j != i:
                continue
            price, rate = view.marks[j], view.rates_micros[j]
            if price == UNDEFINED_PRICE or rate <= 0:
                return _cut_short(checks, reason or RiskReason.NO_PRICE)
            lots = max(p + b, s - p)
            per_lot = abs(price) * self._tick_values[j] * rate // 1_000_000
            per_margin = per_lot if self._spot[j] else self._margins[j] * rate // 1_000_000
            overall += lots
            gross += lots * per_lot
            high += (p + b) * per_lot
            low += (p - s) * per_lot
            margin += lots * per_margin
            if j == i:
                unit, margin_unit = per_lot, per_margin
            if risk is not None:
                alone = risk.single[j]
                if math.isnan(alone):
                    known = False
                stressed += lots * risk.stressed[j]
                if j != i and (b or s):
                    loose += max(b, s) * alone
        worst = max(end, other)
        grown = max(end + asked, other) - worst  # lots that the worst case grows by
        portfolio = self.settings.portfolio

        # position_overall
        top = portfolio.max_overall_lots
        if overall + grown <= top or not grown:
            add(RiskCheck(name="position_overall", outcome=_PASSED, value=overall + grown, limit=top))
        else:
            fits = max(worst, worst + top - overall) - end
            room = min(room, fits)
            add(self._cut("position_overall", overall + grown, top, fits, RiskReason.POSITION_OVERALL))
            reason = reason or RiskReason.POSITION_OVERALL
        # gross_exposure
        after = gross + grown * unit
        if after <= self._gross or not grown:
            add(RiskCheck(name="gross_exposure", outcome=_PASSED, value=after, limit=self._gross))
        else:
            fits = max(worst, worst + (self._gross - gross) // unit) - end
            room = min(room, fits)
            add(self._cut("gross_exposure", after, self._gross, fits, RiskReason.GROSS_EXPOSURE))
            reason = reason or RiskReason.GROSS_EXPOSURE
        # net_exposure
        near, opposite = (high, -low) if side > 0 else (-low, high)
        after = max(near + asked * unit, opposite)
        before_net = max(near, opposite)
        if after <= self._net or after <= before_net or (reducing and self._closing):
            add(RiskCheck(name="net_exposure", outcome=_PASSED, value=after, limit=self._net))
        else:
            fits = (max(self._net, before_net) - near) // unit
            room = min(room, fits)
            add(self._cut("net_exposure", after, self._net, fits, RiskReason.NET_EXPOSURE))
            reason = reason or RiskReason.NET_EXPOSURE
        # concentration
        after = (worst + grown) * unit
        if after <= self._concentration[i] or not grown:
            add(RiskCheck(name="concentration", outcome=_PASSED, value=after, limit=self._concentration[i]))
        else:
            fits = max(worst, self._concentration[i] // unit) - end
            room = min(room, fits)
            add(self._cut("concentration", after, self._concentration[i], fits, RiskReason.CONCENTRATION))
            reason = reason or RiskReason.CONCENTRATION
        # margin
        after = margin + grown * margin_unit
        top = int(portfolio.max_margin_share * view.equity_micros) if abs(view.equity_micros) < _MONEY_BOUND else 0
        if after <= top or not grown:
            add(RiskCheck(name="margin", outcome=_PASSED, value=after, limit=top))
        else:
            fits = (max(worst, worst + (top - margin) // margin_unit) - end) if margin_unit else 0
            room = min(room, fits)
            add(self._cut("margin", after, top, fits, RiskReason.MARGIN))
            reason = reason or RiskReason.MARGIN

        # var, stressed_var
        if child or (reducing and (self._closing or risk is None or not known)):
            add(RiskCheck(name="var", outcome=_PASSED, limit=self._var_limit))
            add(RiskCheck(name="stressed_var", outcome=_PASSED, limit=self._stressed_limit))
        elif risk is None or not known:
            add(_refused("var", None, self._var_limit, RiskReason.VAR_UNKNOWN))
            add(_refused("stressed_var", None, self._stressed_limit, RiskReason.VAR_UNKNOWN))
            reason = reason or RiskReason.VAR_UNKNOWN
        else:
            own = risk.matrix[i][i]
            slope = side * self._exposed[i]
            base = self._variance
            from_here = end - side * position  # lots open on the order's side already
            behind = other + side * position
            held = _worst_var(base, slope, own, from_here, behind) + loose
            with_order = from_here + asked
            after_var = max(held, loose + _root(base + with_order * (2.0 * slope + with_order * own)))
            if after_var <= self._var_limit or after_var <= held:
                add(RiskCheck(name="var", outcome=_PASSED, value=after_var, limit=self._var_limit))
            else:
                allowed = max(self._var_limit, held) - loose
                fits = _lots_within(base, slope, own, allowed, asked + from_here) - from_here
                room = min(room, fits)
                add(self._cut("var", after_var, self._var_limit, fits, RiskReason.VAR_LIMIT))
                reason = reason or RiskReason.VAR_LIMIT
            extra = risk.stressed[i]
            after_stressed = stressed + grown * extra
            if after_stressed <= self._stressed_limit or not grown:
                add(RiskCheck(name="stressed_var", outcome=_PASSED, value=after_stressed, limit=self._stressed_limit))
            elif after_stressed > self._stressed_limit:
                left = max(self._stressed_limit - stressed, 0.0)
                fits = worst + _floor(left / extra) - end
                room = min(room, fits)
                code = RiskReason.STRESSED_VAR_LIMIT
                add(self._cut("stressed_var", after_stressed, self._stressed_limit, fits, code))
                reason = reason or code
            else:
                add(_refused("stressed_var", None, self._stressed_limit, RiskReason.VAR_UNKNOWN))
                reason = reason or RiskReason.VAR_UNKNOWN

        # drawdown, daily_loss, restricted_list, stale_data: what reduces may go on
        state = self.ladder.state
        equity = view.equity_micros
        drawdown = 1.0 - equity / self._peak
        top_line = self.ladder.limits(Trigger.DRAWDOWN)[2]
        if drawdown < top_line or reducing:
            add(RiskCheck(name="drawdown", outcome=_PASSED, value=drawdown, limit=top_line))
        else:
            room = min(room, closable)
            add(self._cut("drawdown", drawdown, top_line, closable, RiskReason.DRAWDOWN))
            reason = reason or RiskReason.DRAWDOWN
        loss = (self._day_start - equity) / self.capital_micros
        top_line = self.ladder.limits(Trigger.DAILY_LOSS)[2]
        if loss < top_line or reducing:
            add(RiskCheck(name="daily_loss", outcome=_PASSED, value=loss, limit=top_line))
        else:
            room = min(room, closable)
            add(self._cut("daily_loss", loss, top_line, closable, RiskReason.DAILY_LOSS))
            reason = reason or RiskReason.DAILY_LOSS
        if not self._restricted[i] or reducing:
            add(_RESTRICTED_PASSED)
        else:
            room = min(room, closable)
            add(self._cut("restricted_list", None, None, closable, RiskReason.RESTRICTED))
            reason = reason or RiskReason.RESTRICTED
        age = ts - view.mark_ts[i]
        if age <= limits.max_mark_age_ns or reducing:
            add(RiskCheck(name="stale_data", outcome=_PASSED, value=age, limit=limits.max_mark_age_ns))
        else:
            room = min(room, closable)
            add(self._cut("stale_data", age, limits.max_mark_age_ns, closable, RiskReason.STALE_DATA))
            reason = reason or RiskReason.STALE_DATA

        # Last, the breaker itself.
        if state is BreakerState.KILLED:
            add(_refused("breaker", int(state), int(BreakerState.HALT), RiskReason.KILLED))
            reason = reason or RiskReason.KILLED
        elif reducing or (state is BreakerState.NORMAL and not self._paused):
            add(_BREAKER_PASSED[state])
        elif state is BreakerState.CAUTION and not self._paused:
            # Half of what the order would lead to, so that asking again does not creep towards the whole.
            fits = max(closable, int(self.settings.breakers.caution_scale * max(end + asked, 0)) - end)
            if fits >= asked:
                add(_BREAKER_PASSED[state])
            else:
                room = min(room, fits)
                add(self._cut("breaker", int(state), int(BreakerState.NORMAL), fits, RiskReason.CAUTION_HALF_SIZE))
                reason = reason or RiskReason.CAUTION_HALF_SIZE
        else:
            code = _STATE_REASON.get(state, RiskReason.PAUSED)
            room = min(room, closable)
            add(self._cut("breaker", int(state), int(BreakerState.CAUTION), closable, code))
            reason = reason or code

        return self._verdict(order, checks, reason, asked, counted, room)

    def _verdict(
        self, order: Order, checks: list[RiskCheck], reason: str, asked: int, counted: int, room: int
    ) -> Verdict:
        listed = tuple(checks)
        if not reason:
            return Verdict(order, listed, "")
        for check in listed:
            if check.outcome is _REFUSED:
                return Verdict(None, listed, check.reason)
        if room <= 0 < asked:
            return Verdict(None, listed, reason)
        return Verdict(msgspec.structs.replace(order, quantity=counted + room), listed, reason)

    def _cut(self, name: str, value: float | None, limit: float | None, fits: int, code: RiskReason) -> RiskCheck:
        """A size check that the whole order does not pass: shrunk where some lots fit and shrinking is on."""
        outcome = _SHRUNK if fits > 0 and self.settings.shrink else _REFUSED
        return RiskCheck(name=name, outcome=outcome, value=value, limit=limit, reason=code)

    @property
    def _closing(self) -> bool:
        """True while the gate itself is taking risk off; each leg of a hedge must then be free to go first."""
        return self._flattening or self.ladder.state >= BreakerState.REDUCE

    def _rule_broken(self, order: Order, i: int, ts: int, child: bool) -> RiskReason | None:
        if not 0 < order.quantity <= MAX_QUANTITY_LOTS:
            return RiskReason.INVALID_QUANTITY
        kind = order.order_type
        has_limit = kind is OrderType.LIMIT or kind is OrderType.STOP_LIMIT
        has_stop = kind is OrderType.STOP or kind is OrderType.STOP_LIMIT
        if (order.price is not None) != has_limit or (order.stop_price is not None) != has_stop:
            return RiskReason.INVALID_PRICE
        for price in (order.price, order.stop_price):
            if price is not None and (abs(price) > MAX_PRICE_TICKS or (price <= 0 and not self._negative[i])):
                return RiskReason.INVALID_PRICE
        if order.time_in_force is TimeInForce.GTD and order.expire_ts <= ts:
            return RiskReason.EXPIRED
        if child and order.parent is not None:
            parent = self.working.orders.get(order.parent)
            if parent is not None and (
                parent.side == int(order.side) or parent.index != i or order.quantity > parent.quantity
            ):
                return RiskReason.CHILD_MISMATCH
        return None

    def _collar_distances(self, order: Order, view: RiskView, i: int, mark: int, side: int) -> tuple[int, int]:
        """Ticks by which the order may pay beyond the mark, and by which it lies away from it on the passive side."""
        kind = order.order_type
        if kind is OrderType.MARKET:
            touch = view.best_asks[i] if side > 0 else view.best_bids[i]
            return (0, 0) if touch == UNDEFINED_PRICE else (side * (touch - mark), 0)
        if kind is OrderType.LIMIT:
            gap = side * ((order.price or 0) - mark)
            return (gap, 0) if gap > 0 else (0, -gap)
        away = abs((order.stop_price or 0) - mark)
        if kind is OrderType.STOP_LIMIT:
            return side * ((order.price or 0) - (order.stop_price or 0)), away
        return 0, away

    def on_order(self, order: Order) -> None:
        """An approved order was sent: it counts at once, in full. One with a working order's id changes that one."""
        index = self._index[order.instrument]
        if order.order_id not in self.working.orders:
            self._order_times.append(order.ts)
            if len(self._sent) > 4096:
                oldest = order.ts - self.settings.flow.duplicate_window_ns
                self._sent = {key: ts for key, ts in self._sent.items() if ts > oldest}
            self._sent[_fingerprint(order)] = order.ts
        self._message_times.append(order.ts)
        self.working.send(order, index)

    def on_cancel(self, ts: int) -> None:
        """A cancel was sent: it counts as a message. Cancels are never refused."""
        self._message_times.append(ts)

    def on_report(self, report: ExecutionReport, fill: Fill | None) -> None:
        """The venue answered; ``fill`` is the ledger's view of a TRADE. The engine updates its positions in the same step."""
        order = self.working.report(report)
        if order is None and report.exec_type is not ExecType.CANCEL_REJECTED:
            self._unknown_reports += 1
        if fill is not None:
            self._count_fill(fill)
        elif report.exec_type is ExecType.REJECTED:
            self._rejects.append(report.ts_init)
            rejects = _recent(self._rejects, report.ts_init - self.settings.breakers.event_window_ns)
            self._observe(Trigger.ORDER_REJECTS, rejects, report.ts_init)

    def _count_fill(self, fill: Fill) -> None:
        """Repeated executions, and the result of a round trip for the loss streak."""
        index = self._index[fill.instrument]
        side = int(fill.side)
        trade = self._trades[index]
        opened = trade.lots * side >= 0
        if opened:
            key = (index, side)
            times = self._executions.setdefault(key, deque())
            times.append(fill.ts_init)
            flow = self.settings.flow
            if _recent(times, fill.ts_init - flow.repeat_window_ns) > flow.max_repeats and key not in self._throttled:
                self._throttled.add(key)
                text = f"{fill.instrument}: more executions than allowed on one side; opening orders stop until reset"
                self._alert("high", "repeated_executions", text, len(times), flow.max_repeats)
        before = trade.lots
        trade.lots += fill.signed_quantity
        trade.cash_ticks -= fill.signed_quantity * fill.price
        trade.fees_micros += fill.fee_micros
        if before and (trade.lots == 0 or (trade.lots > 0) != (before > 0)):
            # Flat, or through zero: what is left is marked at the fill and starts the next trade.
            ticks = trade.cash_ticks + trade.lots * fill.price
            result = ticks * self._tick_values[index] - trade.fees_micros
            trade.cash_ticks, trade.fees_micros = -trade.lots * fill.price, 0
            self._streak = self._streak + 1 if result < 0 else 0
            if result < 0:
                self._observe(Trigger.LOSS_STREAK, self._streak, fill.ts_init)

    def reset_throttle(self, who: str, reason: str) -> None:
        """A person re-enables instruments stopped for repeated executions; ``who`` is ``name/role`` as for a release."""
        _, _, role = who.partition("/")
        if role not in self.settings.breakers.release_roles or not reason.strip():
            raise RiskInputError(
                f"found {who!r} resetting the throttle, expected name/role with a role that may release"
            )
        self._throttled.clear()
        self._executions.clear()
        self._alert("medium", "throttle_reset", f"{who}: {reason}")

    # -- market ---------------------------------------------------------------------------------------------------

    def on_bars(self, bars: Sequence[ClosedBar], view: RiskView) -> tuple[Alert, ...]:
        """Take closed bars; those of the configured width make returns, covariances and shocks. Returns the alerts.

        Bars of one close time form one row of returns. The row is taken when every instrument in session has delivered,
        or when a later close time arrives; an instrument without a bar is missing in it, and its next return spans the
        gap. No return is made across a roll or a bad stretch.
        """
        width = self.settings.var.width_ns
        for bar in bars:
            if bar.flags & Flag.BAD_STRETCH:
                self._bad_bars.append(bar.ts_event)
                count = _recent(self._bad_bars, bar.ts_event - self.settings.breakers.event_window_ns)
                self._observe(Trigger.DATA_QUALITY, count, bar.ts_event)
            if bar.width_ns != width:
                continue
            index = self._index.get(bar.instrument, -1)
            if index < 0:
                continue
            if bar.ts_event != self._row_ts:
                if self._row_ts >= 0:
                    self._take_row(view)
                self._row_ts = bar.ts_event
            last = self._last_close[index]
            if last is not None and not bar.flags & _UNUSABLE_BAR:
                self._row[index] = float((bar.close - last) * self._tick_values[index])
            self._last_close[index] = None if bar.flags & Flag.BAD_STRETCH else bar.close
        if self._row_ts >= 0 and self._row_complete(view):
            self._take_row(view)
        if not self._pending_alerts:
            return ()
        return self._drain_alerts()

    def _row_complete(self, view: RiskView) -> bool:
        for value, open_now in zip(self._row, view.in_session, strict=True):
            if open_now and math.isnan(value):
                return False
        return True

    def _take_row(self, view: RiskView) -> None:
        """Fold the collected row into the covariance, look for shocks, and compare the positions held with the VaR limit."""
        row = self._row
        ts = self._row_ts
        self._row_ts = -1
        seen = False
        for k, value in enumerate(row):
            if not math.isnan(value):
                self._return_count[k] += 1
                seen = True
        if not seen:
            return
        self.covariance.update(np.array(row))
        self._row = [math.nan] * self._n
        self._risk_dirty = True
        covariance = self.covariance.covariance
        for shock in self.shocks.update(covariance):
            names = " and ".join(self.instruments[k].id for k in shock.cause)
            text = (
                f"{shock.kind} is {shock.deviations:.1f} standard deviations above its usual {shock.usual:.4g}: {names}"
            )
            self._alert("high", f"shock_{shock.kind}", text, shock.value, shock.usual)
            if shock.kind != "volatility":
                self._observe(Trigger.CORRELATION_SHOCK, shock.deviations, ts)
        if self.shocks.seen > self.settings.shocks.min_history:
            self._observe(Trigger.VOLATILITY, self.shocks.volatility_ratio, ts)
        for k in range(self._n):
            variance = float(covariance[k, k])
            if self._return_count[k] >= self.settings.var.min_returns and variance > self._peak_variance[k]:
                self._peak_variance[k] = variance
        if any(view.positions):
            ratio = self.value_at_risk(view) / self._var_limit
            if not math.isnan(ratio):
                self._observe(Trigger.VAR_BREACH, ratio, ts)

    def value_at_risk(self, view: RiskView) -> float:
        """Parametric VaR of the positions held, in micros, at the configured level and horizon; NaN while unknown."""
        risk = self._coefficients(view)
        if risk is None:
            return math.nan
        if any(p and math.isnan(risk.single[j]) for j, p in enumerate(view.positions)):
            return math.nan
        return _root(self._variance)

    def component_value_at_risk(self, view: RiskView) -> list[float]:
        """Each instrument's share of ``value_at_risk``, in micros; they add up to it. NaN while unknown."""
        total = self.value_at_risk(view)
        if not total > 0.0:
            return [total] * self._n
        return [p * g / total for p, g in zip(view.positions, self._exposed, strict=True)]

    def _coefficients(self, view: RiskView) -> _Risk | None:
        """VaR coefficients, rebuilt after a change of covariance or rates; variance after a change of positions."""
        if self._risk_dirty or (self._risk is not None and self._risk.rates != view.rates_micros):
            self._rebuild_coefficients(view.rates_micros)
        risk = self._risk
        if risk is None:
            return None
        positions = view.positions
        if self._cached_positions != positions:
            self._cached_positions = list(positions)
            held = [(k, p) for k, p in enumerate(positions) if p and not math.isnan(risk.single[k])]
            if self._n <= 8:
                self._exposed = [sum([row[k] * p for k, p in held]) for row in risk.matrix]
            else:
                lots = np.zeros(self._n)
                for k, p in held:
                    lots[k] = p
                self._exposed = (np.nan_to_num(np.asarray(risk.matrix)) @ lots).tolist()
            self._variance = sum([self._exposed[k] * p for k, p in held])
        return risk

    def _rebuild_coefficients(self, rates: list[int]) -> None:
        self._risk_dirty = False
        self._cached_positions = []
        if max(self._return_count) < self.settings.var.min_returns:
            self._risk = None
            return
        unit = np.array(rates) * (self._scale / 1_000_000)
        matrix = self.covariance.covariance * np.outer(unit, unit)
        unknown = np.array(self._return_count) < self.settings.var.min_returns
        matrix[unknown, :] = math.nan
        matrix[:, unknown] = math.nan
        single = np.sqrt(np.diagonal(matrix))
        stressed = np.maximum(self.settings.var.stress_multiple * single, unit * np.sqrt(self._peak_variance))
        # A pair that never traded together: no diversification is assumed.
        pairs = np.isnan(matrix) & ~unknown[:, None] & ~unknown[None, :]
        if pairs.any():
            matrix = np.where(pairs, np.outer(single, single), matrix)
        self._risk = _Risk(matrix.tolist(), single.tolist(), stressed.tolist(), list(rates))

    # -- the ladder -----------------------------------------------------------------------------------------------

    def on_signal(self, trigger: Trigger, value: float, ts: int) -> None:
        """A trigger that is measured elsewhere: latency (seconds), market_wide (fall), disconnect (1), data_quality."""
        self._observe(trigger, value, ts)

    def _observe(self, trigger: Trigger, value: float, ts: int) -> None:
        moved = self.ladder.observe(trigger, value, ts)
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
        self._lines_dirty = True
        self._reduce_target = None
        self._state_sequence = self.working.sequence
        self._state_ts = moved.ts
        self._next_action_ts = NO_FLOOR

    def _alert(
        self, severity: str, code: str, text: str, value: float | None = None, limit: float | None = None
    ) -> None:
        self._pending_alerts.append(Alert(severity=severity, code=code, text=text, value=value, limit=limit))

    def _drain_alerts(self) -> tuple[Alert, ...]:
        alerts = tuple(self._pending_alerts)
        self._pending_alerts.clear()
        return alerts

    def equity_floor_micros(self) -> int:
        """The equity at or below which the ladder moves next; the compiled market step stops there. None: -2**62."""
        if self._lines_dirty:
            self._draw_lines()
        return self._floor

    def _draw_lines(self) -> None:
        self._lines_dirty = False
        floor = NO_FLOOR
        state = int(self.ladder.state)
        if state < BreakerState.HALT:
            for share in self.ladder.limits(Trigger.DRAWDOWN)[state:]:
                if share < 1e6:
                    floor = max(floor, _line(self._peak - share * self._peak))
            for share in self.ladder.limits(Trigger.DAILY_LOSS)[state:]:
                if share < 1e6:
                    floor = max(floor, _line(self._day_start - share * self.capital_micros))
        self._floor = floor

    def react(self, view: RiskView) -> tuple[tuple[Intent, ...], tuple[Alert, ...]]:
        """Run the breakers on the present state; called at every engine step. Returns what they do, and the alerts."""
        equity = view.equity_micros
        day = view.day_ns if view.day_ns >= 0 else view.ts - view.ts % NS_PER_DAY
        if day != self._day:
            self._day = day
            self._day_start = equity
            self._lines_dirty = True
        top = max(equity, view.peak_equity_micros)
        if top > self._peak:
            self._peak = top
            self._lines_dirty = True
        if self._lines_dirty:
            self._draw_lines()
        state = self.ladder.state
        if equity <= self._floor or state is not BreakerState.NORMAL:
            self._observe(Trigger.DRAWDOWN, 1.0 - equity / self._peak, view.ts)
            self._observe(Trigger.DAILY_LOSS, (self._day_start - equity) / self.capital_micros, view.ts)
            relaxed = self.ladder.relax(view.ts)
            if relaxed is not None:
                self._moved(relaxed)
            if self._lines_dirty:
                self._draw_lines()
            state = self.ladder.state
        elif not self._pending_alerts and not self._flattening and not self._unknown_reports:
            return _NOTHING
        if self._unknown_reports:
            text = "the venue reported on an order that risk does not know"
            self._alert("critical", "unknown_report", text, self._unknown_reports)
            self._unknown_reports = 0
        intents: tuple[Intent, ...] = ()
        if view.ts >= self._next_action_ts:
            if state is BreakerState.KILLED:
                intents = self._cancel_all(view)
            elif state is BreakerState.HALT or self._flattening:
                intents = self._flatten(view)
            elif state is BreakerState.REDUCE:
                intents = self._reduce(view)
            if intents:
                self._next_action_ts = view.ts + self.settings.breakers.slice_interval_ns
        return intents, self._drain_alerts()

    def _cancel_all(self, view: RiskView) -> tuple[Intent, ...]:
        """Cancel whatever works that is older than the move to this state (what closes positions is younger)."""
        return tuple(
            CancelIntent(
                instrument=self.instruments[order.index].id,
                order_id=OrderId(order.order_id),
                reasons=("breaker",),
            )
            for order in self.working.each()
            if order.sequence <= self._state_sequence or view.ts - order.ts > 2 * self.settings.breakers.flatten_wait_ns
        )

    def _flatten(self, view: RiskView) -> tuple[Intent, ...]:
        """Cancel first; close a position once nothing of it works any more, or when the confirmation takes too long."""
        intents = list(self._cancel_all(view))
        waited = view.ts - self._state_ts > self.settings.breakers.flatten_wait_ns
        for index, lots in enumerate(view.positions):
            if not lots or not view.in_session[index] or view.halted[index]:
                continue
            out = self.working.sells[index] if lots > 0 else self.working.buys[index]
            own = [o for o in self.working.by_index[index].values() if o.sequence > self._state_sequence]
            if own or (out and not waited):
                continue
            intents.append(_target(self.instruments[index], 0, "flatten"))
        if not intents and self._flattening and not any(view.positions) and not self.working.orders:
            self._flattening = False
        return tuple(intents)

    def _reduce(self, view: RiskView) -> tuple[Intent, ...]:
        """Cancel what would add risk, then close one slice of the position with the largest component VaR."""
        settings = self.settings.breakers
        cancels: list[Intent] = [
            CancelIntent(
                instrument=self.instruments[o.index].id,
                order_id=OrderId(o.order_id),
                reasons=("breaker",),
            )
            for o in self.working.each()
            if o.sequence <= self._state_sequence and not o.parent and o.side * view.positions[o.index] >= 0
        ]
        components = self.component_value_at_risk(view)
        total = sum(components)
        if math.isnan(total):  # unknown: go by notional instead, which is known wherever a position is
            components = [
                float(abs(p) * abs(m) * v) if p and m != UNDEFINED_PRICE else 0.0
                for p, m, v in zip(view.positions, view.marks, self._tick_values, strict=True)
            ]
            total = sum(components)
        if self._reduce_target is None:
            self._reduce_target = settings.reduce_share * total
        if total <= self._reduce_target * (1.0 + 1e-12):
            return tuple(cancels)
        ranked = sorted(range(self._n), key=components.__getitem__, reverse=True)
        for index in ranked:
            lots = view.positions[index]
            tradable = view.in_session[index] and not view.halted[index] and components[index] > 0.0
            busy = any(o.sequence > self._state_sequence for o in self.working.by_index[index].values())
            if lots and tradable and not busy:
                cut = max(1, int(settings.slice_share * abs(lots)))
                left = lots - cut if lots > 0 else lots + cut
                cancels.append(_target(self.instruments[index], left, "reduce"))
                break
        return tuple(cancels)

    # -- people ---------------------------------------------------------------------------------------------------

    def on_command(self, command: Command, view: RiskView) -> tuple[tuple[Intent, ...], tuple[Alert, ...]]:
        """A person's command. ``who`` is ``name/role``; RESUME by a role that may release also steps the ladder back.

        From killed, RESUME is needed twice, from two people. Without such a role RESUME ends a pause and nothing more.
        """
        kind = command.kind
        if kind is CommandKind.PAUSE:
            self._paused = True
            self._alert("medium", "paused", f"{command.who}: {command.why}")
        elif kind is CommandKind.FLATTEN:
            self._paused = self._flattening = True
            self._state_sequence, self._state_ts = self.working.sequence, command.ts
            self._next_action_ts = NO_FLOOR
            self._alert("high", "flatten", f"{command.who}: {command.why}")
        elif kind is CommandKind.STOP:
            self.kill(command.who, command.why or "stop", command.ts)
        else:
            self._resume(command, view)
        return self.react(view)

    def _resume(self, command: Command, view: RiskView) -> None:
        if self.ladder.state is not BreakerState.NORMAL:
            try:
                moved = self.ladder.release(BreakerState.NORMAL, command.who, command.why, command.ts)
            except RiskInputError as error:
                self._alert("medium", "release_refused", str(error))
                return
            if moved is None:
                self._alert("high", "release_waits", f"{command.who}: a second person must confirm")
                return
            # Losses up to here are known and accepted: the lines start anew from the present equity.
            self._peak = self._day_start = view.equity_micros
            self._streak = 0
            self._moved(moved)
        self._paused = self._flattening = False
        self._alert("medium", "resumed", f"{command.who}: {command.why}")

    def kill(self, who: str, reason: str, ts: int) -> None:
        """Stop everything at once: whatever works is cancelled at the next step and nothing new leaves."""
        moved = self.ladder.kill(who, reason, ts)
        if moved is not None:
            self._moved(moved)

    # -- state ----------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        """The whole state as bytes; ``restore`` on a gate built alike continues exactly."""
        return msgspec.msgpack.encode(
            _Saved(
                ladder=self.ladder.save(),
                working=self.working.save(),
                covariance=self.covariance.save(),
                shocks=self.shocks.save(),
                order_times=list(self._order_times),
                message_times=list(self._message_times),
                sent=[(list(key), ts) for key, ts in self._sent.items()],
                executions=[(key, list(times)) for key, times in self._executions.items()],
                throttled=sorted(self._throttled),
                last_close=self._last_close,
                return_count=self._return_count,
                row=[None if math.isnan(x) else x for x in self._row],
                row_ts=self._row_ts,
                peak_variance=self._peak_variance,
                peak=self._peak,
                day=self._day,
                day_start=self._day_start,
                paused=self._paused,
                flattening=self._flattening,
                reduce_target=self._reduce_target,
                state_sequence=self._state_sequence,
                state_ts=self._state_ts,
                next_action_ts=self._next_action_ts,
                trades=[(t.lots, t.cash_ticks, t.fees_micros) for t in self._trades],
                streak=self._streak,
                rejects=list(self._rejects),
                bad_bars=list(self._bad_bars),
                unknown_reports=self._unknown_reports,
                alerts=self._pending_alerts,
            )
        )

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save`` of a gate with the same instruments and settings."""
        saved = msgspec.msgpack.decode(data, type=_Saved)
        if len(saved.trades) != self._n:
            raise RiskInputError(f"found saved risk state of {len(saved.trades)} instruments, expected {self._n}")
        self.ladder.restore(saved.ladder)
        self.working.restore(saved.working)
        self.covariance.restore(saved.covariance)
        self.shocks.restore(saved.shocks)
        self._order_times = deque(saved.order_times)
        self._message_times = deque(saved.message_times)
        self._sent = {tuple(key): ts for key, ts in saved.sent}
        self._executions = {key: deque(times) for key, times in saved.executions}
        self._throttled = set(saved.throttled)
        self._last_close, self._return_count = saved.last_close, saved.return_count
        self._row = [math.nan if x is None else x for x in saved.row]
        self._row_ts = saved.row_ts
        self._peak_variance = saved.peak_variance
        self._peak, self._day, self._day_start = saved.peak, saved.day, saved.day_start
        self._paused, self._flattening = saved.paused, saved.flattening
        self._reduce_target = saved.reduce_target
        self._state_sequence, self._state_ts = saved.state_sequence, saved.state_ts
        self._next_action_ts = saved.next_action_ts
        self._trades = [_OpenTrade(*values) for values in saved.trades]
        self._streak = saved.streak
        self._rejects, self._bad_bars = deque(saved.rejects), deque(saved.bad_bars)
        self._unknown_reports = saved.unknown_reports
        self._pending_alerts = saved.alerts
        self._risk_dirty = self._lines_dirty = True
        self._risk = None


class _Saved(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What ``RiskGate.save`` writes."""

    ladder: bytes
    working: bytes
    covariance: bytes
    shocks: bytes
    order_times: list[int]
    message_times: list[int]
    sent: list[tuple[list[Any], int]]
    executions: list[tuple[tuple[int, int], list[int]]]
    throttled: list[tuple[int, int]]
    last_close: list[int | None]
    return_count: list[int]
    row: list[float | None]
    row_ts: int
    peak_variance: list[float]
    peak: int
    day: int
    day_start: int
    paused: bool
    flattening: bool
    reduce_target: float | None
    state_sequence: int
    state_ts: int
    next_action_ts: int
    trades: list[tuple[int, int, int]]
    streak: int
    rejects: list[int]
    bad_bars: list[int]
    unknown_reports: int
    alerts: list[Alert]


def _target(instrument: Instrument, lots: int, why: str) -> TargetPosition:
    return TargetPosition(instrument=instrument.id, lots=lots, urgency=Urgency.AGGRESSIVE, reasons=("breaker", why))


def _refused(name: str, value: float | None, limit: float | None, code: RiskReason) -> RiskCheck:
    return RiskCheck(name=name, outcome=_REFUSED, value=value, limit=limit, reason=code)


def _hopeless(name: str, value: float | None, code: RiskReason) -> Verdict:
    """A verdict where the check ``name`` made every later one impossible; those before it passed."""
    at = CHECK_NAMES.index(name)
    passed = [RiskCheck(name=before, outcome=_PASSED) for before in CHECK_NAMES[:at]]
    return _cut_short([*passed, _refused(name, value, None, code)], code)


def _cut_short(checks: list[RiskCheck], reason: str) -> Verdict:
    """Complete the list: what could not be computed is refused."""
    for name in CHECK_NAMES[len(checks) :]:
        checks.append(_refused(name, None, None, RiskReason.NOT_COMPUTED))  # noqa: PERF401 (the list is the caller's)
    return Verdict(None, tuple(checks), reason)


def _recent(times: deque[int], oldest: int) -> int:
    """Drop the times at or before ``oldest``; how many are left."""
    while times and times[0] <= oldest:
        times.popleft()
    return len(times)


def _fingerprint(order: Order) -> tuple[Any, ...]:
    return (
        order.instrument,
        int(order.side),
        order.quantity,
        int(order.order_type),
        order.price,
        order.stop_price,
        order.parent,
        order.oco_group,
    )


def _would_match(order: Order, side: int, ours: int, view: RiskView, i: int, mark: int) -> bool:
    """Would ``order`` trade with our own resting limit at ``ours``? Stops are asked again when they trigger, by the venue."""
    kind = order.order_type
    if kind is OrderType.LIMIT or kind is OrderType.STOP_LIMIT:
        return order.price is not None and side * (order.price - ours) >= 0
    if kind is OrderType.STOP:
        return False
    touch = view.best_asks[i] if side > 0 else view.best_bids[i]
    reference = mark if touch == UNDEFINED_PRICE else touch
    return side * (reference - ours) >= 0


def _root(variance: float) -> float:
    """Square root of a variance; a tiny negative one is rounding, a large one is not a variance: NaN."""
    if variance >= 0.0:
        return math.sqrt(variance)
    return 0.0 if variance > -1e-3 else math.nan


def _worst_var(base: float, slope: float, own: float, forward: int, behind: int) -> float:
    """The largest VaR over the ends of one instrument's working orders (convex in the lots, so an end is the worst)."""
    here = _root(base)
    if forward:
        here = max(here, _root(base + forward * (2.0 * slope + forward * own)))
    if behind:
        here = max(here, _root(base + behind * (-2.0 * slope + behind * own)))
    return here


def _lots_within(base: float, slope: float, own: float, allowed: float, most: int) -> int:
    """The most lots on one side whose VaR stays within ``allowed``: the larger root of a quadratic, rounded down."""
    if not allowed >= 0.0 or not own > 0.0:
        return 0
    inside = slope * slope - own * (base - allowed * allowed)
    if not inside >= 0.0:
        return 0
    lots = min(most, _floor((math.sqrt(inside) - slope) / own))
    for _ in range(2):
        if lots > 0 and not _root(base + lots * (2.0 * slope + lots * own)) <= allowed:
            lots -= 1
    return lots


def _floor(value: float) -> int:
    return int(min(value, 2.0**40)) if value >= 0.0 else 0


def _line(value: float) -> int:
    return math.floor(value)


_INPUTS_PASSED = RiskCheck(name="inputs", outcome=_PASSED)
_AUTHORISED_PASSED = RiskCheck(name="authorised_instrument", outcome=_PASSED)
_SESSION_PASSED = RiskCheck(name="session", outcome=_PASSED)
_RULES_PASSED = RiskCheck(name="order_rules", outcome=_PASSED)
_REPEATED_PASSED = RiskCheck(name="repeated_orders", outcome=_PASSED)
_DUPLICATE_PASSED = RiskCheck(name="duplicate", outcome=_PASSED)
_SELF_MATCH_PASSED = RiskCheck(name="self_match", outcome=_PASSED)
_RESTRICTED_PASSED = RiskCheck(name="restricted_list", outcome=_PASSED)
_BREAKER_PASSED = {
    state: RiskCheck(name="breaker", outcome=_PASSED, value=int(state), limit=int(BreakerState.KILLED))
    for state in BreakerState
}
_STATE_REASON = {
    BreakerState.REDUCE: RiskReason.REDUCE_ONLY,
    BreakerState.HALT: RiskReason.HALTED_BY_BREAKER,
}
_NOTHING: tuple[tuple[Intent, ...], tuple[Alert, ...]] = ((), ())
