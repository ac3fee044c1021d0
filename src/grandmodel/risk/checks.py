"""The pre-trade checks: one table, one kernel.

``CHECKS`` names each check, in the order in which it stands on every record; its place there is its place in the rows that
``judge`` fills. ``judge`` runs all of them on one order and says how many lots may go. The engine, the training environments and the
explanation for people all get their answer from it: there is no second form.

The checks come in four groups: what the order is (``_judge_order``), how fast orders come (``_judge_flow``), what the order could lead to
(``_judge_size``) and whether new risk is welcome (``_judge_state``). A size check that the whole order does not pass says how many lots
fit, and the order is cut to the smallest such number. Everything else refuses. To add one: an entry in ``CHECKS``, its lines in the
kernel of its group, and its test (``docs/contributing/add-a-risk-check.md``).

Where accounts stand above one another (``tree.py``) each order is put to the checks of the account that asks and of every account above
it, each with its own limits, and what may go is the least. What an order could lead to is reckoned from each account's own sums. Whether it
reduces, and what of it may close, is a matter of the account that asks: so the ladder of an account above binds it like its own.

``end`` is the position seen from the order's side with everything open on that side filled, ``other`` the opposite
extreme: for a buy ``position + open buys`` and ``open sells - position``. The worst case is the larger of the two, and an
order of ``asked`` lots makes it ``max(end + asked, other)``. Where that does not grow, the order adds no risk in its own
instrument and passes the sums over the account even beyond their limits.

Whole numbers are int64 here. A product or sum that would leave it is held at 2^62, which no limit reaches, so what is too large to
reckon is refused.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.decisions import CheckedOrder, CheckOutcome, RiskCheck
from grandmodel.domain.events import DecidedIntent, Record
from grandmodel.domain.ids import OrderId
from grandmodel.domain.instruments import MAX_PRICE_TICKS, MAX_QUANTITY_LOTS
from grandmodel.domain.money import converted
from grandmodel.domain.orders import OrderType, TimeInForce
from grandmodel.kernels import kernel
from grandmodel.performance.drawdown import compiled_drawdown_of
from grandmodel.risk.breakers import BreakerState
from grandmodel.risk.flow import messages_within, orders_within, since_equal
from grandmodel.risk.order_terms import HAS_LIMIT, HAS_TRAIL, HAS_TRIGGER, MAY_REST, WAITS
from grandmodel.risk.reasons import RiskReason
from grandmodel.risk.rows import AccountRows
from grandmodel.risk.working import best_opposite, place_of, side_lots_with

Whole = NDArray[np.int64]
"""(4, C): what each check found in whole numbers, by plane and by the check's place in ``CHECKS``."""
Real = NDArray[np.float64]
"""(2, C): value and bound of the checks that find fractions."""


class Kind(enum.StrEnum):
    """What a check finds."""

    WORD = "word"
    """Nothing but yes or no."""
    WHOLE = "whole"
    """A whole number: lots, micros, ticks, nanoseconds, a count, a state of the ladder."""
    REAL = "real"
    """A fraction, or money that is estimated."""


class CheckEntry(NamedTuple):
    """One entry of the table."""

    name: str
    kind: Kind
    reasons: tuple[RiskReason, ...]
    """The codes under which it refuses or cuts."""
    text: str
    """What is compared with what, for people."""


_R = RiskReason
CHECKS = (
    CheckEntry("authorised_instrument", Kind.WORD, (_R.NOT_AUTHORISED,), "the instrument may be traded"),
    CheckEntry("session", Kind.WORD, (_R.OUT_OF_SESSION, _R.TRADING_HALTED), "its market is open and not halted"),
    CheckEntry(
        "order_rules",
        Kind.WORD,
        (_R.INVALID_QUANTITY, _R.INVALID_PRICE, _R.EXPIRED, _R.CHILD_MISMATCH, _R.NOTHING_TO_REDUCE),
        "prices, quantity and time in force are those of its type",
    ),
    CheckEntry("order_quantity", Kind.WHOLE, (_R.ORDER_QUANTITY,), "lots of one order"),
    CheckEntry("order_notional", Kind.WHOLE, (_R.ORDER_NOTIONAL, _R.NO_PRICE), "money of one order"),
    CheckEntry("price_collar", Kind.WHOLE, (_R.PRICE_COLLAR, _R.NO_PRICE), "ticks beyond, or away from, the mark"),
    CheckEntry("order_rate", Kind.WHOLE, (_R.ORDER_RATE,), "new orders in the window"),
    CheckEntry("message_rate", Kind.WHOLE, (_R.MESSAGE_RATE,), "orders, changes and cancels in the window"),
    CheckEntry(
        "repeated_orders", Kind.WORD, (_R.REPEATED_EXECUTIONS,), "the side is not stopped for repeated executions"
    ),
    CheckEntry("duplicate", Kind.WORD, (_R.DUPLICATE,), "no equal order was sent a moment ago"),
    CheckEntry("self_match", Kind.WORD, (_R.SELF_MATCH,), "none of our own resting orders would be met"),
    CheckEntry("position_long", Kind.WHOLE, (_R.POSITION_LONG,), "lots long with every buy filled"),
    CheckEntry("position_short", Kind.WHOLE, (_R.POSITION_SHORT,), "lots short with every sell filled"),
    CheckEntry("position_overall", Kind.WHOLE, (_R.POSITION_OVERALL,), "lots of all instruments at their worst"),
    CheckEntry("gross_exposure", Kind.WHOLE, (_R.GROSS_EXPOSURE,), "money of all instruments at their worst"),
    CheckEntry("net_exposure", Kind.WHOLE, (_R.NET_EXPOSURE,), "the same, signed"),
    CheckEntry("concentration", Kind.WHOLE, (_R.CONCENTRATION,), "money of this instrument at its worst"),
    CheckEntry("margin", Kind.WHOLE, (_R.MARGIN,), "initial margin at the worst, of present equity"),
    CheckEntry("var", Kind.REAL, (_R.VAR_LIMIT, _R.VAR_UNKNOWN), "value at risk after the trade"),
    CheckEntry("stressed_var", Kind.REAL, (_R.STRESSED_VAR_LIMIT, _R.VAR_UNKNOWN), "the same under stress"),
    CheckEntry("drawdown", Kind.REAL, (_R.DRAWDOWN,), "fraction below the running peak"),
    CheckEntry("daily_loss", Kind.REAL, (_R.DAILY_LOSS,), "loss of the trading day, of capital"),
    CheckEntry("restricted_list", Kind.WORD, (_R.RESTRICTED,), "new risk may be taken in it"),
    CheckEntry("stale_data", Kind.WHOLE, (_R.STALE_DATA,), "age of the mark"),
    CheckEntry(
        "breaker",
        Kind.WHOLE,
        (_R.CAUTION_HALF_SIZE, _R.REDUCE_ONLY, _R.HALTED_BY_BREAKER, _R.PAUSED, _R.KILLED),
        "state of the ladder",
    ),
)
"""Every check, in the order in which it stands on every record."""

CHECK_NAMES = tuple(check.name for check in CHECKS)
COUNT = len(CHECKS)

REASONS = ("", *(reason.value for reason in RiskReason))
"""The codes by their number in the rows."""

(
    _AUTHORISED, _SESSION, _RULES, _QUANTITY, _NOTIONAL, _COLLAR, _ORDER_RATE, _MESSAGE_RATE, _REPEATED, _DUPLICATE,
    _SELF_MATCH, _LONG, _SHORT, _OVERALL, _GROSS, _NET, _CONCENTRATION, _MARGIN, _VAR, _STRESSED, _DRAWDOWN, _DAILY_LOSS,
    _RESTRICTED, _STALE, _BREAKER,
) = range(COUNT)  # fmt: skip


def _code(reason: RiskReason) -> int:
    return REASONS.index(reason.value)


_NOT_COMPUTED, _NO_PRICE = _code(_R.NOT_COMPUTED), _code(_R.NO_PRICE)
_NOT_AUTHORISED, _OUT_OF_SESSION, _HALTED = _code(_R.NOT_AUTHORISED), _code(_R.OUT_OF_SESSION), _code(_R.TRADING_HALTED)
_BAD_QUANTITY, _BAD_PRICE, _EXPIRED = _code(_R.INVALID_QUANTITY), _code(_R.INVALID_PRICE), _code(_R.EXPIRED)
_MISMATCH, _NOTHING = _code(_R.CHILD_MISMATCH), _code(_R.NOTHING_TO_REDUCE)
_TOO_MANY_LOTS, _TOO_MUCH_MONEY, _TOO_FAR = _code(_R.ORDER_QUANTITY), _code(_R.ORDER_NOTIONAL), _code(_R.PRICE_COLLAR)
_TOO_MANY, _TOO_CHATTY, _STOPPED = _code(_R.ORDER_RATE), _code(_R.MESSAGE_RATE), _code(_R.REPEATED_EXECUTIONS)
_TWICE, _MEETS_OWN = _code(_R.DUPLICATE), _code(_R.SELF_MATCH)
_TOO_LONG, _TOO_SHORT, _TOO_MANY_OVERALL = _code(_R.POSITION_LONG), _code(_R.POSITION_SHORT), _code(_R.POSITION_OVERALL)
_TOO_GROSS, _TOO_NET, _TOO_DENSE, _TOO_MARGINED = (
    _code(reason) for reason in (_R.GROSS_EXPOSURE, _R.NET_EXPOSURE, _R.CONCENTRATION, _R.MARGIN)
)
_TOO_RISKY, _RISK_UNKNOWN, _TOO_STRESSED = _code(_R.VAR_LIMIT), _code(_R.VAR_UNKNOWN), _code(_R.STRESSED_VAR_LIMIT)
_LOST, _LOST_TODAY, _ON_THE_LIST, _TOO_OLD = (
    _code(reason) for reason in (_R.DRAWDOWN, _R.DAILY_LOSS, _R.RESTRICTED, _R.STALE_DATA)
)
_HALF, _ONLY_REDUCE, _HALTED_BY_BREAKER, _IS_PAUSED, _IS_KILLED = (
    _code(reason) for reason in (_R.CAUTION_HALF_SIZE, _R.REDUCE_ONLY, _R.HALTED_BY_BREAKER, _R.PAUSED, _R.KILLED)
)

_FITS, _CODE, _VALUE, _BOUND = 0, 1, 2, 3
"""Planes of ``AccountRows.found``: the lots that a check lets through, why not all, what it found, what is allowed."""
_ALL, _NEVER = 2**62, -(2**62)
"""Lots that fit where a check passes the whole order, and where it refuses it whatever its size."""
_NOTHING_FOUND = -(2**63)
"""A value or bound that could not be found; of a check that finds fractions that is NaN."""

_MARKET_ORDER = int(OrderType.MARKET)
_GTD = int(TimeInForce.GTD)
_NORMAL, _CAUTION, _REDUCE, _HALT, _KILLED = (int(state) for state in BreakerState)
_MAX_RATE = 2**40
_MOST = 2**62


# -- arithmetic that stays in 64 bits ----------------------------------------------------------------------------------


@kernel(inline=True)
def _times(a: int, b: int) -> int:
    """``a`` times ``b`` for numbers of 0 and more, held at 2^62."""
    return _MOST if float(a) * float(b) >= 4.6e18 else a * b


@kernel(inline=True)
def _plus(a: int, b: int) -> int:
    """``a`` plus ``b``, each between -2^62 and 2^62, held there."""
    if b > 0:
        return _MOST if a >= _MOST - b else a + b
    return -_MOST if a <= -_MOST - b else a + b


@kernel(inline=True)
def _in_base(micros: int, rate: int) -> int:
    """``micros`` of 0 and more at ``rate``, rounded down, held at 2^62; what was held before stays there."""
    if rate == 1_000_000:
        return micros
    if micros >= _MOST or float(micros) * float(rate) >= 4.6e24:
        return _MOST
    return converted(micros, rate)


@kernel(inline=True)
def _held_price(price: int) -> int:
    """A price that sums can be made of: held at 2^62 either way, far beyond any that a venue takes; none stays none."""
    return price if price == UNDEFINED_PRICE else max(-_MOST, min(_MOST, price))


@kernel
def _whole(x: float) -> int:
    """``x`` without its fraction, held just below 2^62."""
    return _MOST - 1 if x >= 4.6e18 else max(-_MOST, int(max(x, -4.6e18)))


@kernel
def _root(variance: float) -> float:
    """Square root of a variance in micros squared; a tiny negative one is rounding, a large one is no variance: NaN."""
    if variance >= 0.0:
        return math.sqrt(variance)
    return 0.0 if variance > -1e-3 else math.nan


# -- the checks --------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """An order that is asked about, as the account that asks sees it."""

    leaf: int
    """The account that asks; its checks and those of every account above are run."""
    k: int
    """Its row of what is asked."""
    lots: int
    """What it adds to its side."""
    counted: int
    """Lots of it already filled or counted before."""
    end: int
    """The position seen from its side, with everything open on that side filled."""
    child: bool
    """Whether it is a bracket's child whose parent has filled nothing."""
    reducing: bool
    closing: bool
    """It reduces, and risk is being taken off in the account or above it."""
    is_new: bool


@kernel
def judge(rows: AccountRows, n: int, m: int, k: int) -> int:
    """Run every check of account ``n``, and of each above it, on the order asked about in its row ``k``; the lots that may go.

    ``m`` names the limits (``AccountRows.limits``). The order's ``approved`` is the least of what the accounts let through, its
    ``reason`` that of the first account, from ``n`` upwards, that refused, else of the first that cut; ``noted`` is ``n``'s own. What
    each account's checks found is in its own ``found``, and what they came to, for those above, in its own row ``k`` (``quantity``: what those below let through). Nothing is counted here.
    """
    asked = rows.asked[n, k]
    seen = rows.seen[n, asked.instrument]
    lots, counted, child = side_lots_with(rows, n, k)
    end = (seen.position + seen.buys) if asked.side > 0 else (seen.sells - seen.position)
    reducing = child or end + lots <= 0
    # True while the gate itself takes risk off; each leg of a hedge must then be free to go first.
    closing = False
    if reducing:
        above = n
        while above >= 0:
            standing = rows.standing[above]
            closing = closing or standing.flattening != 0 or standing.state >= _REDUCE
            above = standing.above
    is_new = place_of(rows.working, n, rows.out[n].count, asked.order_id) < 0
    case = Case(n, k, lots, counted, end, child, reducing, closing, is_new)
    place = k if k < rows.found.shape[1] else 0
    above = n
    while above >= 0:
        market, terms = rows.seen[above, asked.instrument], m * len(rows.portfolio) + rows.standing[above].terms
        found, real = rows.found[above, place], rows.found_real[above, place]
        found[_FITS] = _ALL
        found[_CODE] = 0
        found[_VALUE:] = 0
        real[:] = math.nan
        known = COUNT
        _judge_order(rows, above, terms, case, found)
        if market.mark == UNDEFINED_PRICE or not 0 < market.rate < _MAX_RATE:
            known = _ORDER_RATE
        else:
            _judge_flow(rows, above, case, found)
            if _judge_size(rows, above, terms, case, found, real):
                _judge_state(rows, above, terms, case, found, real)
            else:
                known = _OVERALL
        _conclude(rows, above, case, known, found)
        above = rows.standing[above].above
    return int(asked.approved)


@kernel
def _conclude(rows: AccountRows, n: int, case: Case, known: int, found: Whole) -> None:
    """What all checks of account ``n`` come to, on the order's row, and for an account above on its own; what may go is the least so far.

    The checks from ``known`` on could not be computed and refuse. The reason is that of the first check that refused, else of the first
    that cut. What closes while risk is taken off is cut above the account that asks, and never refused for its size: one leg can always go.
    """
    asked = rows.asked[case.leaf, case.k]
    approved, reason, noted = _sum_up(rows, n, case, known, found)
    if n == case.leaf:  # Nobody has said anything of it yet.
        asked.approved, asked.reason, asked.noted = approved, reason, noted
        return
    said = rows.asked[n, case.k]
    said.quantity, said.approved, said.reason, said.noted = asked.approved, approved, reason, noted
    if asked.reason == 0 or (approved == 0 and asked.approved > 0):
        asked.reason = reason
    asked.approved = max(0, min(asked.approved, approved))


@kernel
def _sum_up(rows: AccountRows, n: int, case: Case, known: int, found: Whole) -> tuple[int, int, int]:
    """(lots that may go, why not all, checks that refused or cut) by the checks of account ``n`` alone."""
    quantity = rows.asked[case.leaf, case.k].quantity
    unlike = 0
    for check in range(COUNT):
        unlike |= found[_FITS, check] ^ _ALL
    if unlike == 0 and known == COUNT:  # As nearly always: every check lets the whole order through.
        return quantity, 0, 0
    cuts = rows.portfolio[rows.standing[n].terms].shrink != 0 or (case.closing and n != case.leaf)
    room, cut, refused, noted = case.lots, 0, 0, 0
    for check in range(COUNT):
        if check >= known:
            found[_FITS, check], found[_CODE, check] = _NEVER, _NOT_COMPUTED
            found[_VALUE, check] = found[_BOUND, check] = _NOTHING_FOUND
        fits = found[_FITS, check]
        if fits == _ALL:
            continue
        noted += 1
        if fits > 0 and cuts:
            cut = cut or found[_CODE, check]
            room = min(room, fits)
        else:
            found[_FITS, check] = _NEVER
            refused = refused or found[_CODE, check]
    if refused != 0:
        return 0, _NO_PRICE if known < COUNT and refused == _NOT_COMPUTED else refused, noted
    if room == case.lots:
        return quantity, 0, noted
    return max(0, case.counted + room), cut, noted


@kernel
def _judge_order(rows: AccountRows, n: int, m: int, case: Case, found: Whole) -> None:
    """authorised_instrument to price_collar.

    ``case.closing``: the order only reduces while the gate or a person takes risk off. It is then as large as the position, which is
    no slip of a finger, and a limit on the size of one order must not keep the position open.
    """
    asked, closing = rows.asked[case.leaf, case.k], case.closing
    i, side, quantity = asked.instrument, asked.side, asked.quantity
    seen, limits = rows.seen[n, i], rows.limits[m, i]
    if limits.authorised == 0:
        found[_FITS, _AUTHORISED], found[_CODE, _AUTHORISED] = _NEVER, _NOT_AUTHORISED
    is_open = (
        seen.in_session != 0 or asked.effective_ts > rows.moment[n].ts
    )  # Or it will be, when the venue has the order.
    if not is_open or seen.halted != 0:
        found[_FITS, _SESSION], found[_CODE, _SESSION] = _NEVER, _HALTED if is_open else _OUT_OF_SESSION
    if n == case.leaf:  # What makes an order one is the same for all accounts, and stands once.
        broken = _rule_broken(rows, n, m, case.k)
        if broken != 0:
            found[_FITS, _RULES], found[_CODE, _RULES] = _NEVER, broken
    found[_VALUE, _QUANTITY], found[_BOUND, _QUANTITY] = quantity, limits.max_order_lots
    if not (quantity <= limits.max_order_lots or closing):
        found[_FITS, _QUANTITY], found[_CODE, _QUANTITY] = _NEVER, _TOO_MANY_LOTS
    found[_BOUND, _NOTIONAL] = limits.order_notional
    mark, price, stop = seen.mark, _held_price(asked.price), _held_price(asked.stop_price)
    level = abs(mark)
    if mark == UNDEFINED_PRICE or level > MAX_PRICE_TICKS:
        found[_FITS, _NOTIONAL] = found[_FITS, _COLLAR] = _NEVER
        found[_CODE, _NOTIONAL] = found[_CODE, _COLLAR] = _NO_PRICE
        found[_VALUE, _NOTIONAL] = found[_VALUE, _COLLAR] = found[_BOUND, _COLLAR] = _NOTHING_FOUND
        return
    dearest = max(level + min(asked.trail_ticks, MAX_PRICE_TICKS), 0 if price == UNDEFINED_PRICE else abs(price))
    notional = _in_base(_times(_times(max(0, quantity), dearest), limits.tick_value), max(0, seen.rate))
    found[_VALUE, _NOTIONAL] = notional
    if not (notional <= limits.order_notional or closing):
        found[_FITS, _NOTIONAL], found[_CODE, _NOTIONAL] = _NEVER, _TOO_MUCH_MONEY
    beyond, away = _collar_distances(asked.order_type, price, stop, asked.trail_ticks, side, mark, seen.bid, seen.ask)
    collar = max(_whole(limits.collar_fraction * level), limits.collar_min_ticks)
    far = _whole(limits.away_fraction * level)
    found[_VALUE, _COLLAR], found[_BOUND, _COLLAR] = beyond, collar
    if beyond > collar or not (away <= far or away <= limits.collar_min_ticks):
        found[_FITS, _COLLAR], found[_CODE, _COLLAR] = _NEVER, _TOO_FAR
        if beyond <= collar:
            found[_VALUE, _COLLAR], found[_BOUND, _COLLAR] = away, far


@kernel
def _rule_broken(rows: AccountRows, n: int, m: int, k: int) -> int:
    """The reason why the order is none that a venue takes; 0 where it is one."""
    asked = rows.asked[n, k]
    i, side, kind, price, stop = asked.instrument, asked.side, asked.order_type, asked.price, asked.stop_price
    negative = rows.limits[m, i].negative_prices != 0
    if not 0 < asked.quantity <= MAX_QUANTITY_LOTS:
        return _BAD_QUANTITY
    if (price != UNDEFINED_PRICE) != (HAS_LIMIT[kind] != 0) or (stop != UNDEFINED_PRICE) != (HAS_TRIGGER[kind] != 0):
        return _BAD_PRICE
    trail, display = asked.trail_ticks, asked.display_quantity
    if (trail <= 0 if HAS_TRAIL[kind] else trail != 0) or trail > MAX_PRICE_TICKS:
        return _BAD_PRICE
    if display != 0 and (display < 0 or MAY_REST[kind] == 0):
        return _BAD_PRICE
    lowest = -MAX_PRICE_TICKS if negative else 1
    if price != UNDEFINED_PRICE and not lowest <= price <= MAX_PRICE_TICKS:
        return _BAD_PRICE
    if stop != UNDEFINED_PRICE and not lowest <= stop <= MAX_PRICE_TICKS:
        return _BAD_PRICE
    if asked.time_in_force == _GTD and asked.expire_ts <= rows.moment[n].ts:
        return _EXPIRED
    if asked.reduce_only and side * rows.seen[n, i].position >= 0:
        return _NOTHING
    if asked.parent != 0:
        place = place_of(rows.working, n, rows.out[n].count, asked.parent)
        if place >= 0:
            parent = rows.working[n, place]
            if parent.side == side or parent.instrument != i or asked.quantity > parent.quantity:
                return _MISMATCH
    return 0


@kernel
def _collar_distances(
    kind: int, price: int, stop: int, trail: int, side: int, mark: int, bid: int, ask: int
) -> tuple[int, int]:
    """Ticks by which the order may pay beyond the mark, and by which it lies away from it on the passive side."""
    if WAITS[kind]:
        away = trail if stop == UNDEFINED_PRICE else abs(stop - mark)
        return (0 if price == UNDEFINED_PRICE or stop == UNDEFINED_PRICE else side * (price - stop)), away
    if HAS_LIMIT[kind]:
        gap = 0 if price == UNDEFINED_PRICE else side * (price - mark)
        return (gap, 0) if gap > 0 else (0, -gap)
    touch = ask if side > 0 else bid
    return (0 if touch == UNDEFINED_PRICE else side * (touch - mark)), 0


@kernel
def _judge_flow(rows: AccountRows, n: int, case: Case, found: Whole) -> None:
    """order_rate to self_match. What reduces is free of the order rate and of the throttle.

    What closes at the next price while risk is taken off is free of the message rate too: messages of others must not keep it. Nor must
    what another account has resting.
    """
    leaf, k, child, reducing, closing, is_new = (
        case.leaf, case.k, case.child, case.reducing, case.closing, case.is_new,
    )  # fmt: skip
    asked, portfolio = rows.asked[leaf, k], rows.portfolio[rows.standing[n].terms]
    i, side, kind, ts = asked.instrument, asked.side, asked.order_type, rows.moment[n].ts
    seen = rows.seen[n, i]
    orders = orders_within(rows, n, ts) + (1 if is_new else 0)
    found[_VALUE, _ORDER_RATE], found[_BOUND, _ORDER_RATE] = orders, portfolio.max_orders
    if not (orders <= portfolio.max_orders or reducing):
        found[_FITS, _ORDER_RATE], found[_CODE, _ORDER_RATE] = _NEVER, _TOO_MANY
    messages = messages_within(rows, n, ts) + 1
    closes_now = closing and not child and kind == _MARKET_ORDER
    found[_VALUE, _MESSAGE_RATE], found[_BOUND, _MESSAGE_RATE] = messages, portfolio.max_messages
    if not (messages <= portfolio.max_messages or closes_now):
        found[_FITS, _MESSAGE_RATE], found[_CODE, _MESSAGE_RATE] = _NEVER, _TOO_CHATTY
    stopped = seen.throttled_buys if side > 0 else seen.throttled_sells
    if stopped != 0 and not reducing:
        found[_FITS, _REPEATED], found[_CODE, _REPEATED] = _NEVER, _STOPPED
        found[_VALUE, _REPEATED] = _NOTHING_FOUND
        found[_BOUND, _REPEATED] = portfolio.max_repeats
    since = since_equal(rows, n, leaf, k, ts) if is_new else -1
    if since >= 0:
        found[_FITS, _DUPLICATE], found[_CODE, _DUPLICATE] = _NEVER, _TWICE
        found[_VALUE, _DUPLICATE], found[_BOUND, _DUPLICATE] = since, portfolio.duplicate_window_ns
    if child or (closing and n != leaf):
        return
    ours = _best_below(rows, n, i, side)
    if ours != UNDEFINED_PRICE and _would_match(
        _held_price(asked.price), kind, side, ours, seen.mark, seen.bid, seen.ask
    ):
        found[_FITS, _SELF_MATCH], found[_CODE, _SELF_MATCH] = _NEVER, _MEETS_OWN
        found[_BOUND, _SELF_MATCH] = ours
        found[_VALUE, _SELF_MATCH] = _NOTHING_FOUND if asked.price == UNDEFINED_PRICE else asked.price


@kernel
def _best_below(rows: AccountRows, n: int, i: int, side: int) -> int:
    """``best_opposite`` of all accounts that trade below ``n``."""
    ours = UNDEFINED_PRICE
    for account in range(rows.standing[n].first, rows.standing[n].last):
        best = best_opposite(rows.working, account, rows.out[account].count, i, side)
        if best != UNDEFINED_PRICE and (ours == UNDEFINED_PRICE or side * (best - ours) < 0):
            ours = best
    return ours


@kernel
def _would_match(price: int, kind: int, side: int, ours: int, mark: int, bid: int, ask: int) -> bool:
    """Would the order trade with our own resting limit at ``ours``? One that waits for a trigger does not rest; it is not asked."""
    if price != UNDEFINED_PRICE:
        return bool(side * (price - ours) >= 0)
    if WAITS[kind]:
        return False
    touch = ask if side > 0 else bid
    if touch == UNDEFINED_PRICE:
        touch = mark
    return bool(side * (touch - ours) >= 0)


@kernel
def _judge_size(rows: AccountRows, n: int, m: int, case: Case, found: Whole, real: Real) -> bool:
    """position_long to stressed_var; False where a price is missing, so that no sum over the account is known."""
    lots, child, closing = case.lots, case.child, case.closing
    asked, portfolio = rows.asked[case.leaf, case.k], rows.portfolio[rows.standing[n].terms]
    i, side = asked.instrument, asked.side
    limits, moment, held = rows.limits[m, i], rows.moment[n], rows.seen[n, i]
    if side > 0:
        end, other = held.position + held.buys, held.sells - held.position
    else:
        end, other = held.sells - held.position, held.position + held.buys
    after = end + lots
    worst = max(other, end)
    grown = max(after - worst, 0)
    long_end, short_end = (after, other) if side > 0 else (other, after)
    found[_VALUE, _LONG], found[_BOUND, _LONG] = long_end, limits.max_long_lots
    found[_VALUE, _SHORT], found[_BOUND, _SHORT] = short_end, limits.max_short_lots
    mine = _LONG if side > 0 else _SHORT
    top = found[_BOUND, mine]
    if after > top and lots > 0 and after > 0:
        found[_FITS, mine], found[_CODE, mine] = max(top, 0) - end, _TOO_LONG if side > 0 else _TOO_SHORT

    # Sums over the account. Everything of one pass: lots, notional, net, margin, undiversified and stressed VaR.
    overall = gross = high = low = margin = unit = margin_unit = 0
    loose = stressed = 0.0
    for j in range(rows.seen.shape[1]):
        one = rows.seen[n, j]
        if one.position == 0 and one.buys == 0 and one.sells == 0 and j != i:
            continue
        if one.mark == UNDEFINED_PRICE or one.rate <= 0:
            return False
        per_lot = _in_base(_times(abs(one.mark), rows.limits[m, j].tick_value), one.rate)
        per_margin = rows.limits[m, j].margin
        per_margin = per_lot if per_margin < 0 else _in_base(per_margin, one.rate)
        up, down = one.position + one.buys, one.sells - one.position
        far = max(down, up)
        overall += far
        gross = _plus(gross, _times(far, per_lot))
        high = _plus(high, _times(up, per_lot) if up >= 0 else -_times(-up, per_lot))
        low = _plus(low, _times(down, per_lot) if down >= 0 else -_times(-down, per_lot))
        margin = _plus(margin, _times(far, per_margin))
        if j == i:
            unit, margin_unit = per_lot, per_margin
        elif one.buys != 0 or one.sells != 0:
            loose += max(one.buys, one.sells) * one.single
        if far != 0:
            stressed += far * one.stressed

    value, bound = overall + grown, portfolio.overall_lots
    found[_VALUE, _OVERALL], found[_BOUND, _OVERALL] = value, bound
    if value > bound and grown > 0:
        found[_FITS, _OVERALL], found[_CODE, _OVERALL] = max(worst, worst + bound - overall) - end, _TOO_MANY_OVERALL
    value, bound = _plus(gross, _times(grown, unit)), portfolio.gross
    found[_VALUE, _GROSS], found[_BOUND, _GROSS] = value, bound
    if value > bound and grown > 0:
        found[_FITS, _GROSS], found[_CODE, _GROSS] = (
            _within(worst, bound - gross, unit) - end if unit > 0 else 0,
            _TOO_GROSS,
        )
    near, far = (high, low) if side > 0 else (low, high)
    before = max(far, near)
    added = _times(max(lots, 0), unit)
    value, bound = max(_plus(near, added), before), portfolio.net
    found[_VALUE, _NET], found[_BOUND, _NET] = value, bound
    if max(gross, added) >= _MOST and lots > 0 and not closing:  # Signed sums of what was held at 2^62 say nothing.
        found[_FITS, _NET], found[_CODE, _NET] = _NEVER, _TOO_NET
    elif value > bound and value > before and not closing:
        found[_FITS, _NET], found[_CODE, _NET] = (max(bound, before) - near) // unit if unit > 0 else 0, _TOO_NET
    value, bound = _times(worst + grown, unit), limits.concentration
    found[_VALUE, _CONCENTRATION], found[_BOUND, _CONCENTRATION] = value, bound
    if value > bound and grown > 0:
        found[_FITS, _CONCENTRATION] = max(worst, bound // unit) - end if unit > 0 else 0
        found[_CODE, _CONCENTRATION] = _TOO_DENSE
    value, bound = _plus(margin, _times(grown, margin_unit)), _whole(portfolio.margin_share * moment.equity)
    found[_VALUE, _MARGIN], found[_BOUND, _MARGIN] = value, bound
    if value > bound and grown > 0:
        found[_FITS, _MARGIN] = _within(worst, bound - margin, margin_unit) - end if margin_unit > 0 else 0
        found[_CODE, _MARGIN] = _TOO_MARGINED
    real[1, _VAR], real[1, _STRESSED] = portfolio.var, portfolio.stressed_var
    if not (child or closing):
        _judge_var(rows, n, case, end, other, grown, loose, stressed, found, real)
    return True


@kernel
def _within(worst: int, spare: int, unit: int) -> int:
    """The worst case that ``spare`` money allows, in lots of ``unit`` each: never less than the present one."""
    return max(worst, worst + spare // unit)


@kernel
def _judge_var(
    rows: AccountRows, n: int, case: Case, end: int, other: int, grown: int, loose: float, stressed: float, found: Whole, real: Real
) -> None:  # fmt: skip
    """Var and stressed_var.

    ``loose`` is what other instruments' working orders add undiversified. VaR is convex in the lots of one
    instrument, so the worst over its working orders is at an end: nothing filled, or one side filled.
    """
    asked, portfolio, moment = rows.asked[case.leaf, case.k], rows.portfolio[rows.standing[n].terms], rows.moment[n]
    side, lots = asked.side, case.lots
    seen = rows.seen[n, asked.instrument]
    own, most = seen.own, portfolio.var
    if moment.risk_known == 0 or math.isnan(own + loose + stressed + moment.variance + seen.slope):
        if not case.reducing:  # A position whose risk is unknown may always be closed.
            found[_FITS, _VAR] = found[_FITS, _STRESSED] = max(0, -case.end)
            found[_CODE, _VAR] = found[_CODE, _STRESSED] = _RISK_UNKNOWN
        return
    base = moment.variance
    slope = side * seen.slope
    ahead = end - side * seen.position
    behind = other + side * seen.position
    # `held`: the worst that can already be reached with the other instruments as they are. An order that leads to no
    # more than that adds nothing, even beyond the limit. Variances first, one root each.
    held = base
    if ahead != 0 or behind != 0:
        held = max(base, base + ahead * (2.0 * slope + ahead * own), base + behind * (behind * own - 2.0 * slope))
    wanted = ahead + lots
    held = _root(held)
    value = loose + _root(base + wanted * (2.0 * slope + wanted * own))
    real[0, _VAR] = value
    if not (value <= most or value <= held):
        found[_FITS, _VAR] = _lots_within(base, slope, own, max(most, held) - loose, wanted) - ahead
        found[_CODE, _VAR] = _TOO_RISKY
    most = portfolio.stressed_var
    value = stressed + grown * seen.stressed
    real[0, _STRESSED] = value
    if not (value <= most or grown == 0):
        spare = most - stressed
        found[_FITS, _STRESSED] = lots - grown + (_whole(spare / seen.stressed) if spare > 0.0 else 0)
        found[_CODE, _STRESSED] = _TOO_STRESSED


@kernel
def _lots_within(base: float, slope: float, own: float, allowed: float, most: int) -> int:
    """The most lots on one side whose VaR stays within ``allowed``: the larger root of a quadratic, rounded down."""
    if not allowed >= 0.0 or not own > 0.0:
        return 0
    inside = slope * slope - own * (base - allowed * allowed)
    if not inside >= 0.0:
        return 0
    exact = max((math.sqrt(inside) - slope) / own, 0.0)
    lots = most if exact >= most else int(exact)
    while lots > 0 and not _root(base + lots * (2.0 * slope + lots * own)) <= allowed:
        lots -= 1  # at most a step or two: the root is exact up to rounding
    return lots


@kernel
def _judge_state(rows: AccountRows, n: int, m: int, case: Case, found: Whole, real: Real) -> None:
    """Drawdown to breaker. What reduces may go on, except when killed."""
    lots, end, reducing = case.lots, case.end, case.reducing
    asked, standing, moment = rows.asked[case.leaf, case.k], rows.standing[n], rows.moment[n]
    portfolio, i = rows.portfolio[standing.terms], asked.instrument
    seen = rows.seen[n, i]
    closable = -end if end < 0 else 0
    real[0, _DRAWDOWN], real[1, _DRAWDOWN] = (
        compiled_drawdown_of(moment.equity, standing.peak),
        portfolio.drawdown,
    )
    if not (real[0, _DRAWDOWN] < portfolio.drawdown or reducing):
        found[_FITS, _DRAWDOWN], found[_CODE, _DRAWDOWN] = closable, _LOST
    real[0, _DAILY_LOSS] = (standing.day_start - moment.equity) / standing.capital
    real[1, _DAILY_LOSS] = portfolio.daily_loss
    if not (real[0, _DAILY_LOSS] < portfolio.daily_loss or reducing):
        found[_FITS, _DAILY_LOSS], found[_CODE, _DAILY_LOSS] = closable, _LOST_TODAY
    if rows.limits[m, i].restricted != 0 and not reducing:
        found[_FITS, _RESTRICTED], found[_CODE, _RESTRICTED] = closable, _ON_THE_LIST
    found[_VALUE, _STALE], found[_BOUND, _STALE] = moment.ts - seen.mark_ts, seen.max_age
    if found[_VALUE, _STALE] > seen.max_age and not reducing:
        found[_FITS, _STALE], found[_CODE, _STALE] = closable, _TOO_OLD
    state, paused = standing.state, standing.paused != 0
    found[_VALUE, _BREAKER], found[_BOUND, _BREAKER] = state, _NORMAL
    never = _never_now(asked.order_type, state, paused, standing.flattening != 0, case.child and case.is_new)
    if never != 0:
        found[_FITS, _BREAKER], found[_CODE, _BREAKER] = _NEVER, never
    elif paused and not reducing:
        found[_FITS, _BREAKER], found[_CODE, _BREAKER] = closable, _IS_PAUSED
    elif state == _CAUTION and not reducing:
        # Half of what the order would lead to: asking again does not creep towards the whole.
        half = int(portfolio.caution_scale * max(end + lots, 0)) - end
        found[_FITS, _BREAKER], found[_CODE, _BREAKER] = max(closable, half), _HALF
    elif state != _NORMAL and not reducing:
        found[_FITS, _BREAKER] = closable
        found[_CODE, _BREAKER] = _ONLY_REDUCE if state == _REDUCE else _HALTED_BY_BREAKER


@kernel
def _never_now(kind: int, state: int, paused: bool, flattening: bool, new_child: bool) -> int:
    """Why an order is refused in this state whatever its size; 0 where its size decides."""
    if state == _KILLED:
        return _IS_KILLED
    # Where a parent can only close, its child would open what the parent has closed.
    opens_later = new_child and (paused or state >= _REDUCE)
    # While everything is being closed an order that rests would only stand in the way of the one that closes.
    rests = kind != _MARKET_ORDER and (flattening or state == _HALT)
    if not (opens_later or rests):
        return 0
    if state < _REDUCE:
        return _IS_PAUSED
    return _ONLY_REDUCE if state == _REDUCE else _HALTED_BY_BREAKER


# -- for people --------------------------------------------------------------------------------------------------------

_REALS = tuple(k for k, check in enumerate(CHECKS) if check.kind is Kind.REAL)
_OUTCOMES = (CheckOutcome.PASSED, CheckOutcome.SHRUNK, CheckOutcome.REFUSED)
_BARE = (_AUTHORISED, _SESSION, _RULES, _RESTRICTED)
"""Checks that have nothing to show where they refuse; those that pass with a word only hold 0 on the record."""


def checked(rows: AccountRows, k: int, order_id: int, noted: int, n: int = 0) -> CheckedOrder:
    """What the checks of account ``n`` found of the order asked about in row ``k``, as it stands on the record; ``noted`` is the row's own.

    The order may be that of an account below.
    """
    found = rows.found[n, k]
    values, bounds = found[_VALUE : _BOUND + 1].tolist()
    reals, real_bounds = rows.found_real[n, k].tolist()
    for check in _REALS:
        values[check], bounds[check] = reals[check], real_bounds[check]
    if not noted and reals[_VAR] == reals[_VAR]:
        return CheckedOrder(OrderId(order_id), tuple(values), tuple(bounds))
    fits, codes = found[_FITS].tolist(), found[_CODE].tolist()
    for check in _BARE:
        if codes[check]:
            values[check] = bounds[check] = _NOTHING_FOUND
    for one in (values, bounds):
        for check, value in enumerate(one):
            if value == _NOTHING_FOUND or value != value:  # noqa: PLR0124  NaN: not found
                one[check] = None
    shrunk = refused = 0
    for check, code in enumerate(codes):
        if code and fits[check] == _NEVER:
            refused |= 1 << check
        elif code:
            shrunk |= 1 << check
    reasons = tuple(REASONS[code] for code in codes if code)
    return CheckedOrder(OrderId(order_id), tuple(values), tuple(bounds), shrunk, refused, reasons)


_WORDS = frozenset(check.name for check in CHECKS if check.kind is Kind.WORD)


class _FirstNote(msgspec.Struct):
    """What the first record of a run says of the checks, among other things."""

    checks: tuple[str, ...] = CHECK_NAMES


def names_of(first: Record) -> tuple[str, ...]:
    """The names of the checks on a run's records, in their order, as its ``first`` record has them."""
    return (
        msgspec.json.decode(first.note, type=_FirstNote).checks if isinstance(first.note, msgspec.Raw) else CHECK_NAMES
    )


def listed(order: CheckedOrder, names: Sequence[str] = CHECK_NAMES) -> tuple[RiskCheck, ...]:
    """Every check of one order, in order, for people; ``names`` are those of its run (``names_of``)."""
    reasons = iter(order.reasons)
    found = []
    for place, name in enumerate(names):
        outcome = _OUTCOMES[2 if order.refused >> place & 1 else order.shrunk >> place & 1]
        reason = "" if outcome is CheckOutcome.PASSED else next(reasons)
        value, limit = order.values[place], order.limits[place]
        if name in _WORDS and outcome is CheckOutcome.PASSED:
            value = limit = None
        found.append(RiskCheck(name=name, outcome=outcome, value=value, limit=limit, reason=reason))
    return tuple(found)


def checks_of(intent: DecidedIntent, names: Sequence[str] = CHECK_NAMES) -> list[tuple[OrderId, tuple[RiskCheck, ...]]]:
    """For each order that an intent asked for: its id, and every check; ``names`` are those of its run (``names_of``).

    Behind those of the account that asked come those of every account above it, under ``account: name``; the run's own is ``run``.
    """
    found = []
    for k, order in enumerate(intent.checks):
        checks = listed(order, names)
        for account, above in intent.above:
            checks += tuple(
                msgspec.structs.replace(check, name=f"{account or 'run'}: {check.name}")
                for check in listed(above[k], names)
            )
        found.append((order.order_id, checks))
    return found
