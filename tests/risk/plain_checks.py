"""The slow plain form of ``grandmodel.risk.checks``: a list, one check after the other, in Python's own numbers. The oracle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.decisions import CheckOutcome, RiskCheck
from grandmodel.domain.instruments import MAX_PRICE_TICKS, MAX_QUANTITY_LOTS, Instrument
from grandmodel.domain.orders import ORDER_TYPES, ExecutionReport, Order, OrderType, TimeInForce
from grandmodel.risk.breakers import BreakerLadder, BreakerState, Trigger
from grandmodel.risk.checks import CHECK_NAMES
from grandmodel.risk.gate import RiskGate
from grandmodel.risk.reasons import RiskReason
from grandmodel.risk.running import Coefficients, RunningRisk, root
from grandmodel.risk.settings import RiskSettings
from grandmodel.risk.standing import AccountStanding
from risk.desk import Verdict, View
from risk.plain_flow import OrderFlow
from risk.plain_working import WorkingOrders

_PASSED = CheckOutcome.PASSED
_SHRUNK = CheckOutcome.SHRUNK
_REFUSED = CheckOutcome.REFUSED
_MARKET, _LIMIT = OrderType.MARKET, OrderType.LIMIT
_GTD = TimeInForce.GTD
_NORMAL, _CAUTION, _REDUCE, _KILLED = (
    BreakerState.NORMAL,
    BreakerState.CAUTION,
    BreakerState.REDUCE,
    BreakerState.KILLED,
)
_MAX_RATE = 2**40
_NO_LOTS = -(2**62)


@dataclass(frozen=True)
class PlainVerdict:
    """What may go, and every check."""

    order: Order | None
    checks: tuple[RiskCheck, ...]
    reason: str


@dataclass(frozen=True)
class Case:
    """An order as the account that asks sees it, for its own checks and for those of the accounts above."""

    working: WorkingOrders
    asked: int
    counted: int
    child: bool
    end: int
    reducing: bool
    closing: bool
    """It reduces, and somewhere risk is being taken off."""
    is_below: bool
    """The checks are those of an account above the one that asks."""


class PlainChecks:
    """All checks of one account. It reads the working orders, the running risk, the flow and the ladder; it changes none."""

    def __init__(
        self,
        settings: RiskSettings,
        instruments: Sequence[Instrument],
        standing: AccountStanding,
        working: WorkingOrders,
        running: RunningRisk,
        flow: OrderFlow,
        ladder: BreakerLadder,
        throttled: dict[tuple[int, int], int],
    ) -> None:
        ids = [instrument.id for instrument in instruments]
        capital = standing.capital_micros
        portfolio = settings.portfolio
        self._standing, self._working, self._running = standing, working, running
        self._flow, self._ladder = flow, ladder
        self._throttled = throttled
        self._n = len(ids)
        self._index: dict[str, int] = {name: k for k, name in enumerate(ids)}
        self._limits = [settings.instruments.get(name, settings.limits) for name in ids]
        self.max_ages = [x.max_mark_age_ns for x in self._limits]
        self._tick_values = [instrument.tick_value_micros for instrument in instruments]
        # Margin per lot: a future's own; spot pays the whole price, marked here by -1.
        self._margins = [-1 if x.pays_whole_price else x.initial_margin_micros for x in instruments]
        self._negative = [instrument.negative_prices for instrument in instruments]
        self._authorised = [not settings.authorised or name in settings.authorised for name in ids]
        self._restricted = [name in settings.restricted for name in ids]
        self._order_notional = [int(x.max_order_notional * capital) for x in self._limits]
        self._concentration = [int(x.max_concentration * capital) for x in self._limits]
        self._overall = portfolio.max_overall_lots
        self._gross = int(portfolio.max_gross_exposure * capital)
        self._net = int(portfolio.max_net_exposure * capital)
        self._margin_share = portfolio.max_margin_share
        self._var = portfolio.max_var * capital
        self._stressed = portfolio.max_stressed_var * capital
        self._drawdown = ladder.limits(Trigger.DRAWDOWN)[2]
        self._daily_loss = ladder.limits(Trigger.DAILY_LOSS)[2]
        self._caution_scale = settings.breakers.caution_scale
        self._shrink = settings.shrink

    def check(self, order: Order, view: View) -> PlainVerdict:
        """Every check of ``order``, and what of it may go. Nothing is counted here."""
        i = self._index[order.instrument]
        return self.check_step_by_step(order, view, i)

    def case_of(self, order: Order, view: View, i: int) -> Case:
        """``order`` as this account sees it, where it is the one that asks."""
        asked, counted, child = self._working.side_lots_with(order, i)
        end, _ = self._ends(view, i, 1 if order.side > 0 else -1)
        reducing = child or end + asked <= 0
        return Case(
            self._working, asked, counted, child, end, reducing, reducing and self.takes_risk_off, is_below=False
        )

    def _ends(self, view: View, i: int, side: int) -> tuple[int, int]:
        position, buys, sells = view.positions[i], self._working.buys[i], self._working.sells[i]
        return (position + buys, sells - position) if side > 0 else (sells - position, position + buys)

    def check_step_by_step(self, order: Order, view: View, i: int, case: Case | None = None) -> PlainVerdict:
        """Every check of ``order`` in instrument ``i``, one after the other; ``view`` holds numbers only.

        ``case``: where another account asks, the order as that one sees it.
        """
        checks: list[RiskCheck] = []
        side = 1 if order.side > 0 else -1
        self._case = case = case or self.case_of(order, view, i)
        asked, counted, child, reducing = case.asked, case.counted, case.child, case.reducing
        end, other = self._ends(view, i, side)
        sound = self._order_checks(order, view, i, side, checks, closes=case.closing)
        if view.marks[i] == UNDEFINED_PRICE or not 0 < view.rates_micros[i] < _MAX_RATE:
            return _cut_short(checks, RiskReason.NO_PRICE)
        sound &= self._flow_checks(order, view, i, side, reducing, child, checks)
        room = self._size_checks(view, i, side, asked, end, other, child, reducing, checks)
        if room == _NO_LOTS:
            return _cut_short(checks, RiskReason.NO_PRICE)
        left = self._state_checks(order, view, i, asked, case.end, reducing, child, checks)
        room = min(room, left)
        if sound and room == asked and all(check.outcome is not _REFUSED for check in checks):
            return PlainVerdict(order, tuple(checks), "")
        return _verdict(order, checks, counted, room)

    # -- what the order is ----------------------------------------------------------------------------------------

    def _order_checks(
        self, order: Order, view: View, i: int, side: int, checks: list[RiskCheck], *, closes: bool
    ) -> bool:
        """authorised_instrument to price_collar.

        ``closes``: the order only reduces while the gate or a person takes risk off. It is then as large as the position, which is
        no slip of a finger, and a limit on the size of one order must not keep the position open.
        """
        limits = self._limits[i]
        quantity = order.quantity
        mark = view.marks[i]
        add = checks.append
        sound = True
        if self._authorised[i]:
            add(_AUTHORISED)
        else:
            add(_refused("authorised_instrument", None, None, RiskReason.NOT_AUTHORISED))
            sound = False
        is_open = view.in_session[i] or order.effective_ts > view.ts  # Or it will be, when the venue has the order.
        if is_open and not view.halted[i]:
            add(_SESSION)
        else:
            code = RiskReason.TRADING_HALTED if is_open else RiskReason.OUT_OF_SESSION
            add(_refused("session", None, None, code))
            sound = False
        is_below = self._case.is_below  # What makes an order one is asked once.
        broken = None if is_below else self._rule_broken(order, i, view.ts, side * view.positions[i])
        if broken is None:
            add(_RULES)
        else:
            add(_refused("order_rules", None, None, broken))
            sound = False
        if quantity <= limits.max_order_lots or closes:
            add(RiskCheck(name="order_quantity", outcome=_PASSED, value=quantity, limit=limits.max_order_lots))
        else:
            add(_refused("order_quantity", quantity, limits.max_order_lots, RiskReason.ORDER_QUANTITY))
            sound = False
        level = abs(mark)
        if mark == UNDEFINED_PRICE or level > MAX_PRICE_TICKS:
            add(_refused("order_notional", None, self._order_notional[i], RiskReason.NO_PRICE))
            add(_refused("price_collar", None, None, RiskReason.NO_PRICE))
            return False
        dearest = max(level + order.trail_ticks, 0 if order.price is None else abs(order.price))
        rate = max(0, view.rates_micros[i])  # Below 0, as a quantity below it, refuses elsewhere.
        notional = max(0, quantity) * dearest * self._tick_values[i]
        if rate != 1_000_000:
            notional = notional * rate // 1_000_000
        if notional <= self._order_notional[i] or closes:
            add(RiskCheck(name="order_notional", outcome=_PASSED, value=notional, limit=self._order_notional[i]))
        else:
            add(_refused("order_notional", notional, self._order_notional[i], RiskReason.ORDER_NOTIONAL))
            sound = False
        beyond, away = _collar_distances(order, view, i, mark, side)
        collar = int(limits.collar_fraction * level)
        collar = max(collar, limits.collar_min_ticks)
        far = int(limits.away_fraction * level)
        if beyond <= collar and (away <= far or away <= limits.collar_min_ticks):
            add(RiskCheck(name="price_collar", outcome=_PASSED, value=beyond, limit=collar))
        else:
            value, bound = (beyond, collar) if beyond > collar else (away, far)
            add(_refused("price_collar", value, bound, RiskReason.PRICE_COLLAR))
            sound = False
        return sound

    def _rule_broken(self, order: Order, i: int, ts: int, held: int) -> RiskReason | None:
        """``held``: the position, seen from the order's side."""
        if not 0 < order.quantity <= MAX_QUANTITY_LOTS:
            return RiskReason.INVALID_QUANTITY
        price, stop = order.price, order.stop_price
        terms = ORDER_TYPES[order.order_type]
        if (
            not terms.fits(price, stop, order.trail_ticks, order.display_quantity)
            or order.trail_ticks > MAX_PRICE_TICKS
        ):
            return RiskReason.INVALID_PRICE
        if price is not None and (abs(price) > MAX_PRICE_TICKS or (price <= 0 and not self._negative[i])):
            return RiskReason.INVALID_PRICE
        if stop is not None and (abs(stop) > MAX_PRICE_TICKS or (stop <= 0 and not self._negative[i])):
            return RiskReason.INVALID_PRICE
        if order.time_in_force is _GTD and order.expire_ts <= ts:
            return RiskReason.EXPIRED
        if order.reduce_only and held >= 0:
            return RiskReason.NOTHING_TO_REDUCE
        if order.parent is not None:
            parent = self._working.orders.get(order.parent)
            if parent is not None and (
                parent.side == order.side or parent.index != i or order.quantity > parent.quantity
            ):
                return RiskReason.CHILD_MISMATCH
        return None

    # -- how fast orders come -------------------------------------------------------------------------------------

    def _flow_checks(
        self, order: Order, view: View, i: int, side: int, reducing: bool, child: bool, checks: list[RiskCheck]
    ) -> bool:
        """order_rate to self_match. What reduces is free of the order rate and of the throttle.

        What closes at the next price while risk is taken off is free of the message rate too: messages of others must not keep it.
        """
        flow = self._flow
        limits = flow.limits
        ts = view.ts
        add = checks.append
        sound = True
        case = self._case
        is_new = order.order_id not in case.working.orders
        orders = flow.orders(ts) + is_new
        if orders <= limits.max_orders or reducing:
            add(RiskCheck(name="order_rate", outcome=_PASSED, value=orders, limit=limits.max_orders))
        else:
            add(_refused("order_rate", orders, limits.max_orders, RiskReason.ORDER_RATE))
            sound = False
        messages = flow.messages(ts) + 1
        closes_now = case.closing and not child and order.order_type is _MARKET
        if messages <= limits.max_messages or closes_now:
            add(RiskCheck(name="message_rate", outcome=_PASSED, value=messages, limit=limits.max_messages))
        else:
            add(_refused("message_rate", messages, limits.max_messages, RiskReason.MESSAGE_RATE))
            sound = False
        if not self._throttled or reducing or (i, side) not in self._throttled:
            add(_REPEATED)
        else:
            add(_refused("repeated_orders", None, limits.max_repeats, RiskReason.REPEATED_EXECUTIONS))
            sound = False
        since = flow.since_equal(order, ts) if is_new else None
        if since is None:
            add(_DUPLICATE)
        else:
            add(_refused("duplicate", since, limits.duplicate_window_ns, RiskReason.DUPLICATE))
            sound = False
        ours = None
        if self._working.by_index[i] and not child and not (case.closing and case.is_below):
            ours = self._working.best_opposite(i, side)
        if ours is None or not _would_match(order, side, ours, view, i):
            add(_SELF_MATCH)
        else:
            add(_refused("self_match", order.price, ours, RiskReason.SELF_MATCH))
            sound = False
        return sound

    # -- what it could lead to ------------------------------------------------------------------------------------

    def _size_checks(
        self,
        view: View,
        i: int,
        side: int,
        asked: int,
        end: int,
        other: int,
        child: bool,
        reducing: bool,
        checks: list[RiskCheck],
    ) -> int:
        """position_long to stressed_var; returns the lots that fit, or ``_NO_LOTS`` where a price is missing."""
        limits = self._limits[i]
        add = checks.append
        room = asked
        after = end + asked
        worst = max(other, end)
        grown = after - worst if after > worst else 0

        if side > 0:
            top, value = limits.max_long_lots, after
            opposite = RiskCheck(name="position_short", outcome=_PASSED, value=other, limit=limits.max_short_lots)
        else:
            top, value = limits.max_short_lots, after
            add(RiskCheck(name="position_long", outcome=_PASSED, value=other, limit=limits.max_long_lots))
        name = "position_long" if side > 0 else "position_short"
        if value <= top or asked <= 0 or value <= 0:
            add(RiskCheck(name=name, outcome=_PASSED, value=value, limit=top))
        else:
            fits = max(top, 0) - end
            add(self._cut(name, value, top, fits, RiskReason(name)))
            room = min(room, fits)
        if side > 0:
            add(opposite)

        # Sums over the account. Everything of one pass: lots, notional, net, margin, undiversified and stressed VaR.
        risk = self._running.coefficients(view.positions, view.rates_micros)
        marks, rates, positions = view.marks, view.rates_micros, view.positions
        buys, sells = self._working.buys, self._working.sells
        overall = gross = high = low = margin = unit = margin_unit = 0
        loose = stressed = 0.0
        for j, p in enumerate(positions):
            b = buys[j]
            s = sells[j]
            if not p and not b and not s and j != i:
                continue
            price = marks[j]
            if price == UNDEFINED_PRICE or rates[j] <= 0:
                return _NO_LOTS
            per_lot = abs(price) * self._tick_values[j] * rates[j] // 1_000_000
            per_margin = self._margins[j]
            per_margin = per_lot if per_margin < 0 else per_margin * rates[j] // 1_000_000
            up, down = p + b, s - p
            lots = max(down, up)
            overall += lots
            gross += lots * per_lot
            high += up * per_lot
            low += down * per_lot
            margin += lots * per_margin
            if j == i:
                unit, margin_unit = per_lot, per_margin
            elif risk is not None and (b or s):
                loose += (max(b, s)) * risk.single[j]
            if risk is not None and lots:
                stressed += lots * risk.stressed[j]

        value = overall + grown
        if value <= self._overall or not grown:
            add(RiskCheck(name="position_overall", outcome=_PASSED, value=value, limit=self._overall))
        else:
            fits = max(worst, worst + self._overall - overall) - end
            add(self._cut("position_overall", value, self._overall, fits, RiskReason.POSITION_OVERALL))
            room = min(room, fits)
        value = gross + grown * unit
        if value <= self._gross or not grown:
            add(RiskCheck(name="gross_exposure", outcome=_PASSED, value=value, limit=self._gross))
        else:
            fits = max(worst, worst + (self._gross - gross) // unit) - end if unit else 0
            add(self._cut("gross_exposure", value, self._gross, fits, RiskReason.GROSS_EXPOSURE))
            room = min(room, fits)
        near, far = (high, low) if side > 0 else (low, high)
        before = max(far, near)
        value = near + asked * unit
        value = max(value, before)
        if value <= self._net or value <= before or self._case.closing:
            add(RiskCheck(name="net_exposure", outcome=_PASSED, value=value, limit=self._net))
        else:
            fits = (max(self._net, before) - near) // unit if unit else 0
            add(self._cut("net_exposure", value, self._net, fits, RiskReason.NET_EXPOSURE))
            room = min(room, fits)
        value = (worst + grown) * unit
        top = self._concentration[i]
        if value <= top or not grown:
            add(RiskCheck(name="concentration", outcome=_PASSED, value=value, limit=top))
        else:
            fits = max(worst, top // unit) - end if unit else 0
            add(self._cut("concentration", value, top, fits, RiskReason.CONCENTRATION))
            room = min(room, fits)
        value = margin + grown * margin_unit
        top = int(self._margin_share * view.equity_micros)
        if value <= top or not grown:
            add(RiskCheck(name="margin", outcome=_PASSED, value=value, limit=top))
        else:
            fits = max(worst, worst + (top - margin) // margin_unit) - end if margin_unit else 0
            add(self._cut("margin", value, top, fits, RiskReason.MARGIN))
            room = min(room, fits)
        if child or self._case.closing:
            add(RiskCheck(name="var", outcome=_PASSED, limit=self._var))
            add(RiskCheck(name="stressed_var", outcome=_PASSED, limit=self._stressed))
            return room
        fits = self._var_checks(
            risk, i, side, asked, end, other, positions[i], grown, loose, stressed, reducing, checks
        )
        return min(fits, room)

    def _var_checks(
        self,
        risk: Coefficients | None,
        i: int,
        side: int,
        asked: int,
        end: int,
        other: int,
        position: int,
        grown: int,
        loose: float,
        stressed: float,
        reducing: bool,
        checks: list[RiskCheck],
    ) -> int:
        """Var and stressed_var; returns the lots that fit.

        ``loose`` is what other instruments' working orders add undiversified. VaR is convex in the lots of one
        instrument, so the worst over its working orders is at an end: nothing filled, or one side filled.
        """
        add = checks.append
        own = math.nan if risk is None else risk.matrix[i][i]
        if risk is None or math.isnan(own + loose + stressed + risk.variance + risk.slopes[i]):
            if reducing:  # a position whose risk is unknown may always be closed
                add(RiskCheck(name="var", outcome=_PASSED, limit=self._var))
                add(RiskCheck(name="stressed_var", outcome=_PASSED, limit=self._stressed))
                return asked
            fits = max(0, -self._case.end)
            add(self._cut("var", None, self._var, fits, RiskReason.VAR_UNKNOWN))
            add(self._cut("stressed_var", None, self._stressed, fits, RiskReason.VAR_UNKNOWN))
            return fits
        room = asked
        base = risk.variance
        slope = side * risk.slopes[i]
        ahead = end - side * position
        behind = other + side * position
        # `held`: the worst that can already be reached with the other instruments as they are. An order that leads to no
        # more than that adds nothing, even beyond the limit. Variances first, one root each.
        held = base
        if ahead or behind:
            held = max(base, base + ahead * (2.0 * slope + ahead * own), base + behind * (behind * own - 2.0 * slope))
        lots = ahead + asked
        value = base + lots * (2.0 * slope + lots * own)
        held = root(held)
        value = loose + root(value)
        if value <= self._var or value <= held:
            add(RiskCheck(name="var", outcome=_PASSED, value=value, limit=self._var))
        else:
            room = _lots_within(base, slope, own, max(self._var, held) - loose, lots) - ahead
            add(self._cut("var", value, self._var, room, RiskReason.VAR_LIMIT))
        value = stressed + grown * risk.stressed[i]
        if value <= self._stressed or not grown:
            add(RiskCheck(name="stressed_var", outcome=_PASSED, value=value, limit=self._stressed))
        else:
            spare = self._stressed - stressed
            fits = asked - grown + (int(spare / risk.stressed[i]) if spare > 0.0 else 0)
            add(self._cut("stressed_var", value, self._stressed, fits, RiskReason.STRESSED_VAR_LIMIT))
            room = min(room, fits)
        return room

    # -- whether new risk is welcome ------------------------------------------------------------------------------

    def _state_checks(
        self,
        order: Order,
        view: View,
        i: int,
        asked: int,
        end: int,
        reducing: bool,
        child: bool,
        checks: list[RiskCheck],
    ) -> int:
        """Drawdown to breaker; returns the lots that fit. What reduces may go on, except when killed."""
        standing = self._standing
        add = checks.append
        room = asked
        closable = -end if end < 0 else 0
        equity = view.equity_micros
        value = 1.0 - equity / standing.peak_micros
        if value < self._drawdown or reducing:
            add(RiskCheck(name="drawdown", outcome=_PASSED, value=value, limit=self._drawdown))
        else:
            add(self._cut("drawdown", value, self._drawdown, closable, RiskReason.DRAWDOWN))
            room = closable
        value = (standing.day_start_micros - equity) / standing.capital_micros
        if value < self._daily_loss or reducing:
            add(RiskCheck(name="daily_loss", outcome=_PASSED, value=value, limit=self._daily_loss))
        else:
            add(self._cut("daily_loss", value, self._daily_loss, closable, RiskReason.DAILY_LOSS))
            room = closable
        if not self._restricted[i] or reducing:
            add(_RESTRICTED)
        else:
            add(self._cut("restricted_list", None, None, closable, RiskReason.RESTRICTED))
            room = closable
        age, oldest = view.ts - view.mark_ts[i], self.max_ages[i]
        if age <= oldest or reducing:
            add(RiskCheck(name="stale_data", outcome=_PASSED, value=age, limit=oldest))
        else:
            add(self._cut("stale_data", age, oldest, closable, RiskReason.STALE_DATA))
            room = closable
        state = self._ladder.state
        if state is _NORMAL and not standing.paused:
            add(_BREAKER)
            return room
        code = self._never_now(order, state, child)
        if code is not None:
            checks.append(_refused("breaker", int(state), int(_NORMAL), code))
            return -1  # Below what an order asks that adds nothing to its side.
        return min(room, self._breaker_check(state, asked, end, closable, reducing, checks))

    def _never_now(self, order: Order, state: BreakerState, child: bool) -> RiskReason | None:
        """Why an order is refused in this state whatever its size; None where its size decides."""
        standing = self._standing
        if state is _KILLED:
            return RiskReason.KILLED
        # Where a parent can only close, its child would open what the parent has closed.
        opens_later = (
            child and order.order_id not in self._case.working.orders and (standing.paused or state >= _REDUCE)
        )
        # While everything is being closed an order that rests would only stand in the way of the one that closes.
        rests = order.order_type is not _MARKET and (standing.flattening or state is BreakerState.HALT)
        if not (opens_later or rests):
            return None
        if state < _REDUCE:
            return RiskReason.PAUSED
        return RiskReason.REDUCE_ONLY if state is _REDUCE else RiskReason.HALTED_BY_BREAKER

    def _breaker_check(
        self, state: BreakerState, asked: int, end: int, closable: int, reducing: bool, checks: list[RiskCheck]
    ) -> int:
        if reducing:
            checks.append(RiskCheck(name="breaker", outcome=_PASSED, value=int(state), limit=int(_NORMAL)))
            return asked
        if self._standing.paused:
            fits, code = closable, RiskReason.PAUSED
        elif state is _CAUTION:
            # Half of what the order would lead to: asking again does not creep towards the whole.
            fits = max(closable, int(self._caution_scale * max(end + asked, 0)) - end)
            code = RiskReason.CAUTION_HALF_SIZE
        else:
            fits = closable
            code = RiskReason.REDUCE_ONLY if state is _REDUCE else RiskReason.HALTED_BY_BREAKER
        checks.append(self._cut("breaker", int(state), int(_NORMAL), fits, code))
        return fits

    @property
    def takes_risk_off(self) -> bool:
        """True while the gate itself takes risk off; each leg of a hedge must then be free to go first."""
        return self._standing.flattening or self._ladder.state >= _REDUCE

    def _cut(self, name: str, value: float | None, limit: float | None, fits: int, code: RiskReason) -> RiskCheck:
        """A size check that the whole order does not pass: shrunk where some lots fit and shrinking is on."""
        cuts = self._shrink or (self._case.closing and self._case.is_below)
        outcome = _SHRUNK if fits > 0 and cuts else _REFUSED
        return RiskCheck(name=name, outcome=outcome, value=value, limit=limit, reason=code)


def _collar_distances(order: Order, view: View, i: int, mark: int, side: int) -> tuple[int, int]:
    """Ticks by which the order may pay beyond the mark, and by which it lies away from it on the passive side."""
    price, stop = order.price, order.stop_price
    terms = ORDER_TYPES[order.order_type]
    if terms.waits:
        away = order.trail_ticks if stop is None else abs(stop - mark)
        return (0 if price is None or stop is None else side * (price - stop)), away
    if terms.has_limit:
        gap = 0 if price is None else side * (price - mark)
        return (gap, 0) if gap > 0 else (0, -gap)
    touch = view.best_asks[i] if side > 0 else view.best_bids[i]
    return (0, 0) if touch == UNDEFINED_PRICE else (side * (touch - mark), 0)


def _would_match(order: Order, side: int, ours: int, view: View, i: int) -> bool:
    """Would ``order`` trade with our own resting limit at ``ours``? One that waits for a trigger does not rest; it is not asked."""
    if order.price is not None:
        return side * (order.price - ours) >= 0
    if ORDER_TYPES[order.order_type].waits:
        return False
    touch = view.best_asks[i] if side > 0 else view.best_bids[i]
    if touch == UNDEFINED_PRICE:
        touch = view.marks[i]
    return side * (touch - ours) >= 0


def _lots_within(base: float, slope: float, own: float, allowed: float, most: int) -> int:
    """The most lots on one side whose VaR stays within ``allowed``: the larger root of a quadratic, rounded down."""
    if not allowed >= 0.0 or not own > 0.0:
        return 0
    inside = slope * slope - own * (base - allowed * allowed)
    if not inside >= 0.0:
        return 0
    lots = min(most, int(max((math.sqrt(inside) - slope) / own, 0.0)))
    while lots > 0 and not root(base + lots * (2.0 * slope + lots * own)) <= allowed:
        lots -= 1  # at most a step or two: the root is exact up to rounding
    return lots


def _verdict(order: Order, checks: list[RiskCheck], counted: int, room: int) -> PlainVerdict:
    """The verdict of an order that did not pass whole."""
    listed = tuple(checks)
    cut = ""
    for check in listed:
        if check.outcome is _REFUSED:
            return PlainVerdict(None, listed, check.reason)
        if check.outcome is _SHRUNK and not cut:
            cut = check.reason
    if counted + room <= 0:
        return PlainVerdict(None, listed, cut)
    return PlainVerdict(msgspec.structs.replace(order, quantity=counted + room), listed, cut)


def _refused(name: str, value: float | None, limit: float | None, code: RiskReason) -> RiskCheck:
    return RiskCheck(name=name, outcome=_REFUSED, value=value, limit=limit, reason=code)


def _cut_short(checks: list[RiskCheck], reason: RiskReason) -> PlainVerdict:
    """Complete the list: what could not be computed is refused. The reason is the first refusal's."""
    missing = CHECK_NAMES[len(checks) :]
    listed = (*checks, *(_refused(name, None, None, RiskReason.NOT_COMPUTED) for name in missing))
    first = next((check.reason for check in checks if check.outcome is _REFUSED), reason.value)
    return PlainVerdict(None, listed, first)


_AUTHORISED = RiskCheck(name="authorised_instrument", outcome=_PASSED)
_SESSION = RiskCheck(name="session", outcome=_PASSED)
_RULES = RiskCheck(name="order_rules", outcome=_PASSED)
_REPEATED = RiskCheck(name="repeated_orders", outcome=_PASSED)
_DUPLICATE = RiskCheck(name="duplicate", outcome=_PASSED)
_SELF_MATCH = RiskCheck(name="self_match", outcome=_PASSED)
_RESTRICTED = RiskCheck(name="restricted_list", outcome=_PASSED)
_BREAKER = RiskCheck(name="breaker", outcome=_PASSED, value=0, limit=0)


class PlainBook:
    """The plain checks beside a gate: told of the same orders and reports, it keeps its own open orders and times."""

    def __init__(self, gate: RiskGate) -> None:
        self.gate = gate
        self.working = WorkingOrders(len(gate.instruments))
        self.flow = OrderFlow(gate.settings.flow)
        self.index = {instrument.id: k for k, instrument in enumerate(gate.instruments)}
        self._checks = PlainChecks(
            gate.settings,
            gate.instruments,
            gate._standing,
            self.working,
            gate.running,
            self.flow,
            gate.ladder,
            gate.flow.throttled,
        )

    def check(self, order: Order, view: View) -> PlainVerdict:
        self.working.batch = self.gate.working.batch
        self._checks.max_ages = self.gate.pace.max_ages.tolist()
        return self._checks.check(order, view)

    def on_order(self, order: Order) -> None:
        self.working.batch = self.gate.working.batch
        if order.order_id not in self.working.orders:
            self.flow.on_new_order(order)
        self.flow.on_message(order.ts)
        sent = msgspec.structs.replace(order, ts=order.effective_ts) if order.effective_ts else order
        self.working.send(sent, self.index[order.instrument])

    def on_report(self, report: ExecutionReport) -> None:
        self.working.report(report)


_BEYOND = 4.6e18
"""Products and sums from here on are held at 2^62 by the compiled checks."""
_HELD = frozenset(("price_collar", "order_notional", "gross_exposure", "net_exposure", "concentration", "margin"))
_STRICTER = (_PASSED, _SHRUNK, _REFUSED)


def assert_same(verdict: Verdict, plain: PlainVerdict, digits: int = 12) -> bool:
    """The compiled checks say what the plain ones say, number by number; fractions to so many ``digits``.

    Where the plain form, whose numbers have no end, finds money that 64 bits do not hold, the compiled one may only be
    stricter: no check may pass, and no lot may go, that the plain one stops. The result is whether that was so.
    """
    pairs = list(zip(verdict.checks, plain.checks, strict=True))
    is_beyond = any(_is_beyond(one, two) for one, two in pairs)
    if not is_beyond:
        assert (verdict.order, verdict.reason) == (plain.order, plain.reason), pairs
    elif verdict.order is not None:
        assert plain.order is not None, pairs
        assert verdict.order.quantity <= plain.order.quantity
    for one, two in pairs:
        assert one.name == two.name
        if is_beyond and (one.name == "net_exposure" or _is_beyond(one, two)):
            assert _STRICTER.index(one.outcome) >= _STRICTER.index(two.outcome), (one, two)
            continue
        assert (one.outcome, one.reason, one.limit) == (two.outcome, two.reason, two.limit), (one, two)
        same = one.value == two.value or math.isclose(one.value, two.value, rel_tol=10.0**-digits)
        assert same, (one, two)
    return is_beyond


def _is_beyond(one: RiskCheck, two: RiskCheck) -> bool:
    """Is this money, or a distance, that 64 bits do not hold, in value or limit?"""
    found = [number for number in (one.value, one.limit, two.value, two.limit) if number is not None]
    return one.name in _HELD and any(abs(number) >= _BEYOND for number in found)
