"""Lanes: many accounts trading one instrument each through compiled code, as the engine would, to the micro of equity.

The batched environments step thousands of accounts a second millions of times, which a Python engine cannot. A lane is
the engine's own memory of one account: the market step's and the venue's rows (``STEP``, ``INSTRUMENT``, ``SLOT``, ``REPORT``), the
account's (``risk.rows``), and one row of ``ACCOUNT`` for whoever learns. What happens to them is the engine's own code: a wish becomes
orders in ``account.planner``, every order passes ``risk.checks.judge``, the venue is ``simulation.matching``, a report and a fill are
``risk.working.apply_report`` and ``account.booking``. Here stand only the order of things within a bar and the end of an episode. A
property test drives this and ``EngineEpisode`` with the same wishes and holds lots, equity, fees and the rest equal after every bar.

How to use it::

    markets = build_market_arrays((market, ...), settings)   # once: bars end to end, risk numbers of one lot
    lanes = build_lanes(count, settings)
    start_lane(lanes, n, markets, m, row)                    # in a kernel or from Python; row counts over all markets
    pursue_target(lanes, n, markets, lots, urgency, stop)    # the wish at the close of the present bar, at most one a bar
    walk_bar(lanes, n, markets)                              # the next bar; False where the segment or the episode has ended
    settle_lane(lanes, n, markets)                           # at the end of a segment: out at the last mark

The order of things within a bar is the engine's: orders reach the venue at the close at which they were decided, are matched
with the next bar, and their fills are booked at its close, after the position held before has been marked there.

What a lane leaves out, and refuses: latency, random slippage, partial fills, other triggers than drawdown and daily loss, and
what the ladder does once it has left normal; the episode is then over. Lanes share nothing, unless their accounts stand below a common one
(``account_walk.py``). Read next: ``engine_episode.py``, ``account/planner.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.account.booking import book_fill, marked_value
from grandmodel.account.planner import CANCEL, NEW, UNPROTECTED, Target
from grandmodel.account.planner import pursue_target as plan_target
from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import UNDEFINED_PRICE, Flag
from grandmodel.domain.events import Advance, Cause
from grandmodel.domain.instruments import MICROS_PER_UNIT
from grandmodel.domain.orders import ExecType, OrderType, TimeInForce
from grandmodel.domain.report_rows import EXEC_CODES, REPORT
from grandmodel.domain.sessions import SessionSchedule
from grandmodel.domain.time import NEVER_NS, NS_PER_DAY, text_from_ns
from grandmodel.kernels import kernel, table_of, table_reader
from grandmodel.performance.drawdown import compiled_drawdown_of
from grandmodel.risk.breakers import BreakerLadder, BreakerState, Trigger
from grandmodel.risk.checks import COUNT
from grandmodel.risk.intake import floor_of, lines_of, renew_lines
from grandmodel.risk.rows import (
    LIMITS,
    PORTFOLIO,
    AccountRows,
    account_rows,
    for_all,
    in_one_piece,
    limit_rows,
    portfolio_row,
    rows_of,
    views_of,
)
from grandmodel.risk.settings import BreakerSettings, RiskSettings, Thresholds
from grandmodel.risk.tree import hold, show, value
from grandmodel.risk.working import apply_report, place_of, recount
from grandmodel.runtime.agents import build_agent
from grandmodel.runtime.engine import Engine
from grandmodel.runtime.market_step import mark_instrument
from grandmodel.runtime.settings import AccountSettings, Mode, RollPolicy, RunSettings
from grandmodel.simulation.depth import DEPTH
from grandmodel.simulation.matching import drop_ended, match_bar, place_order, run_venue, venue_due
from grandmodel.simulation.models import ConstantLatency, FixedSlippage, NoSlippage, PerLotFee, VenueSettings
from grandmodel.simulation.state import INSTRUMENT, SLOT, STEP, Feed, SlotState
from grandmodel.training.errors import TrainingDataError, TrainingSettingsError
from grandmodel.training.market import TrainingMarket

Rows = NDArray[Any]
Record = Any
"""One row of a structured array inside compiled code; numpy has no type for its fields."""
Integers = NDArray[np.int64]

WAIT, PASSIVE, AGGRESSIVE = 0, 1, 2
"""``Urgency`` as compiled code counts it."""

_LADDER_TRIGGERS = (Trigger.DRAWDOWN, Trigger.DAILY_LOSS)
_OTHER_TRIGGERS = tuple(t for t in Trigger if t is not Trigger.PERSON and t not in _LADDER_TRIGGERS)
_TWO_TRIGGERS = msgspec.structs.replace(
    BreakerSettings(), **{trigger.value: Thresholds() for trigger in _OTHER_TRIGGERS}
)


class LaneSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The account that learns: its capital, its venue, its limits, and how large a full exposure is.

    Raises ``TrainingSettingsError`` for what the compiled form cannot follow.
    """

    capital_micros: int = 10_000_000 * MICROS_PER_UNIT
    """Starting cash, millionths of the instrument's own currency. Large enough that whole lots are fine steps."""
    venue: VenueSettings = VenueSettings()
    """Bars, no latency, a fee per lot, and the tick that market and stop orders pay where no quote is known."""
    risk: RiskSettings = RiskSettings(breakers=_TWO_TRIGGERS)
    """The limits of a run, with a ladder that only drawdown and daily loss move."""
    volatility_target: float = 0.10
    """Annual volatility over equity that an exposure of 1 stands for (``risk.sizing.lots_of_full_exposure``)."""
    var_budget: float = 0.02
    """Value at risk over equity that it stays within."""

    def __post_init__(self) -> None:
        """Refuse what lanes do not model."""
        venue, risk = self.venue, self.risk
        _expect(0 < self.capital_micros < 2**50, "capital_micros", self.capital_micros, "1 to 2^50 - 1")
        _expect(venue.latency == ConstantLatency(), "venue.latency", venue.latency, "a constant latency of 0")
        _expect(isinstance(venue.fees, PerLotFee), "venue.fees", venue.fees, "a fee per lot")
        slippage = isinstance(venue.slippage, FixedSlippage | NoSlippage)
        _expect(slippage, "venue.slippage", venue.slippage, "fixed slippage or none")
        _expect(venue.participation_ppm == 0, "venue.participation_ppm", venue.participation_ppm, "0: whole fills")
        for trigger in _OTHER_TRIGGERS:
            found = getattr(risk.breakers, trigger.value)
            _expect(found == Thresholds(), f"risk.breakers.{trigger.value}", found, "no thresholds: it is not modelled")
        named = (*risk.instruments, *risk.authorised, *risk.restricted)
        _expect(not named, "risk.instruments, authorised, restricted", named, "none: one set of limits for any market")
        flow = risk.flow
        roomy = flow.max_orders >= 8 and flow.max_messages >= 200 and flow.max_repeats >= 8
        brief = max(flow.window_ns, flow.duplicate_window_ns, flow.repeat_window_ns) < 5 * 60 * 10**9
        _expect(roomy and brief, "risk.flow", flow, "limits that one decision a bar never meets")
        lots = max(risk.limits.max_order_lots, risk.limits.max_long_lots, risk.limits.max_short_lots)
        _expect(lots <= 100_000, "risk.limits (lots)", lots, "at most 100,000, so that money stays in 64 bits")
        for name in ("volatility_target", "var_budget"):
            value = getattr(self, name)
            _expect(0.0 < value <= 10.0, name, value, "a share of equity above 0 (0.1 is a tenth)")

    @property
    def slippage_ticks(self) -> int:
        """Ticks against us on market and stop orders: half a spread, and the venue's slippage."""
        slippage = self.venue.slippage.ticks if isinstance(self.venue.slippage, FixedSlippage) else 0
        return self.venue.half_spread_ticks + slippage

    @property
    def fee_micros(self) -> int:
        """Fee of one lot and side."""
        return self.venue.fees.per_lot_micros if isinstance(self.venue.fees, PerLotFee) else 0


def _expect(is_right: bool, name: str, found: object, expected: str) -> None:
    if not is_right:
        raise TrainingSettingsError(f"lanes, {name}: found {found}, expected {expected}")


def run_settings(settings: LaneSettings, width_ns: int, currency: str = "USD") -> RunSettings:
    """The engine's settings for an episode on bars of ``width_ns``; the account is in ``currency``, the instrument's own."""
    var = msgspec.structs.replace(settings.risk.var, width_ns=width_ns)
    return RunSettings(
        mode=Mode.BACKTEST,
        account=AccountSettings(capital_micros=settings.capital_micros, base_currency=currency),
        agents=(),
        venue=settings.venue,
        risk=msgspec.structs.replace(settings.risk, var=var),
        widths_ns=(width_ns,),
        rolls=RollPolicy.ROLL,
        quiet_moments=1,  # Whoever trains or holds a lane against the engine looks at it after every bar.
    )


def market_schedule(market: TrainingMarket) -> SessionSchedule:
    """The sessions around a market's bars, for the engine and for what the gate and the venue need of them."""
    week = 7 * NS_PER_DAY
    bars = market.bars
    return session_schedule(market.instrument, int(bars["ts_open"][0]) - week, int(bars["ts_event"][-1]) + week)


# -- the arrays --------------------------------------------------------------------------------------------------------

LANE_BAR = np.dtype(
    [
        ("ts_open", "<i8"),
        ("ts_close", "<i8"),
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume", "<i8"),
        ("halted", "<i8"),
        ("segment", "<i8"),  # of the market; -1 in a bad stretch
        ("in_session", "<i8"),  # 1 where orders may be sent at the close
        ("day", "<i8"),  # trading day of the close, midnight UTC; at a session's end it is the next one's
        ("expires", "<i8"),  # when a day order sent at the close ends
        ("day_after", "<i8"),  # trading day of that moment
        ("scale", "<f8"),  # deviation of one bar's move, ticks (TrainingMarket.scale)
        ("variance", "<f8"),  # VaR squared of one lot, micros; NaN while unknown
        ("stressed", "<f8"),  # stressed VaR of one lot, micros
    ]
)
"""One row a bar: what a step reads stands in two cache lines."""

LANE_MARKET = np.dtype(
    [
        ("first", "<i8"),  # rows [first, last) of the bars
        ("last", "<i8"),
        ("tick_value", "<i8"),
        ("spot", "<i8"),
        ("fee", "<i8"),  # micros per lot and side
        ("slippage", "<i8"),  # ticks
        ("capital", "<i8"),
    ]
)
"""One row a market."""

ACCOUNT = np.dtype(
    [
        ("market", "<i8"),
        ("row", "<i8"),  # the present bar, counted over all markets
        ("lots", "<i8"),
        ("asked_lots", "<i8"),
        ("cash_micros", "<i8"),
        ("equity_micros", "<i8"),
        ("peak_micros", "<i8"),  # as ``STANDING`` has them, like the next
        ("day_start_micros", "<i8"),
        ("open_profit_micros", "<i8"),
        ("fees_micros", "<i8"),
        ("traded_lots", "<i8"),
        ("bars_held", "<i8"),
        ("working", "<i8"),
        ("ended", "<i8"),
        ("refused_lots", "<i8"),
        ("orders", "<i8"),  # id of the last order
    ]
)
"""One row a lane; ``AccountView`` says what the fields mean."""


@dataclass(frozen=True, slots=True)
class AccountView:
    """How one account stands after a bar. Money in micros of the instrument's currency, lots signed."""

    row: int
    """The present bar."""
    lots: int
    asked_lots: int
    """The position last asked for, whether or not it was then traded towards."""
    cash_micros: int
    equity_micros: int
    peak_micros: int
    """Highest equity seen, as the gate has it."""
    day_start_micros: int
    """Equity at the start of the trading day."""
    open_profit_micros: int
    fees_micros: int
    """Since the start, as the next two."""
    traded_lots: int
    refused_lots: int
    """Lots of entries and exits that risk did not let through, or whose stop it refused."""
    bars_held: int
    """Bars since the position last changed."""
    working: bool
    """True while an entry or exit order rests, which only a passive one does, or any while trading is halted."""
    ended: bool
    """True once the ladder would have left normal, or equity is gone."""


class LaneArrays(NamedTuple):
    """The memory of N lanes. A lane's rows are one account. What is asked, found and reported within a bar stands in rows that all lanes
    share: one thread steps them.
    """

    step: Rows
    """(N,) of ``STEP``"""
    instruments: Rows
    """(N,) of ``INSTRUMENT``"""
    slots: Rows
    """(N, S) of ``SLOT``"""
    reports: Rows
    """(N, R) of ``REPORT``; they are taken and forgotten within a bar, so all lanes share the same rows"""
    account: Rows
    """(N,) of ``ACCOUNT``"""
    depth: Rows
    """(0,) of ``DEPTH``: bars have no book"""
    memory: Integers
    """What risk knows of the N accounts, in one piece (``risk.rows.in_one_piece``)"""
    handle: Integers
    """Where in it: compiled code reads the rows through this (``risk.rows.rows_of``); ``rows_in`` is the same for Python"""


open_lanes = table_reader(
    "LaneArrays",
    zip(
        LaneArrays._fields,
        (STEP, INSTRUMENT, SLOT, REPORT, ACCOUNT, DEPTH, np.dtype(np.int64), np.dtype(np.int64)),
        (1, 1, 2, 2, 1, 1, 1, 1),
        strict=True,
    ),
)
"""In compiled code: the ``LaneArrays`` of which one has the ``table_of``. Every kernel here takes either."""


class MarketArrays(NamedTuple):
    """The bars of M markets end to end, and what the gate and the venue need to know of them."""

    bars: Rows
    """(T,) of ``LANE_BAR``; market m has the rows ``markets[m].first`` to ``markets[m].last`` - 1"""
    markets: Rows
    """(M,) of ``LANE_MARKET``"""
    lines: NDArray[np.float64]
    """(P, 2, 3): the shares of drawdown and daily loss at which the ladder moves, as ``RiskGate.lines`` has them, by the terms of an account"""
    limits: Rows
    """(M x P, 1) of ``risk.rows.LIMITS``"""
    portfolio: Rows
    """(P,) of ``risk.rows.PORTFOLIO``; all lanes have the first, unless they stand below a common account"""


open_markets = table_reader(
    "MarketArrays",
    zip(MarketArrays._fields, (LANE_BAR, LANE_MARKET, np.dtype(np.float64), LIMITS, PORTFOLIO), (1, 1, 3, 2, 1), strict=True),
)  # fmt: skip
"""In compiled code: the ``MarketArrays`` of which one has the ``table_of``."""


def build_lanes(count: int, settings: LaneSettings, *, orders: int = 32, above: int = 0) -> LaneArrays:
    """Memory for ``count`` lanes of at most ``orders`` working orders each; 8 are plenty where nothing but market orders is sent.

    ``above``: accounts that stand above all or some of them (``risk.tree``), each with terms of its own; their rows come after those of the lanes.
    A lane that needs more raises ``RuntimeError``: every addition with a stop of its own keeps one more order working.
    """
    if count < 1 or orders < 4:
        raise TrainingSettingsError(f"lanes: found {count} of {orders} orders, expected at least 1 of at least 4")
    step = np.zeros(count, STEP)
    step["fill_rule"], step["liquidity"] = settings.venue.fill_rule.code, settings.venue.liquidity.code
    terms = count + above if above else 1
    memory, rows = in_one_piece(
        account_rows(
            np.zeros((count * terms, 1), LIMITS), np.zeros(terms, PORTFOLIO), COUNT, accounts=count + above,
            orders=orders * (count if above else 1), asked=2 * orders + 6, explain=False, shares=not above,
        )
    )  # fmt: skip
    return LaneArrays(
        step=step,
        instruments=np.zeros(count, INSTRUMENT),
        slots=np.zeros((count, orders), SLOT),
        reports=for_all(np.zeros((1, 8 * orders + 16), REPORT), count),
        account=np.zeros(count, ACCOUNT),
        depth=np.zeros(0, DEPTH),
        memory=memory,
        handle=table_of(rows),
    )


def rows_in(lanes: LaneArrays) -> AccountRows:
    """The accounts' rows of ``lanes``, as views into their memory."""
    return views_of(lanes.handle, lanes.memory)


def build_market_arrays(markets: TrainingMarket | Sequence[TrainingMarket], settings: LaneSettings) -> MarketArrays:
    """The arrays of one market or several; each is walked once by a real engine that trades nothing, for its risk numbers.

    Raises ``TrainingDataError`` for bars that do not close one by one at their own stamps.
    """
    listed = [markets] if isinstance(markets, TrainingMarket) else list(markets)
    if not listed:
        raise TrainingDataError("lanes: found no market, expected at least one")
    rows = np.zeros(len(listed), LANE_MARKET)
    rows["last"] = np.cumsum([len(market.bars) for market in listed])
    rows["first"][1:] = rows["last"][:-1]
    for row, market in zip(rows, listed, strict=True):
        instrument = market.instrument
        row["tick_value"] = instrument.tick_value_micros
        row["spot"] = instrument.pays_whole_price
    rows["fee"], rows["slippage"], rows["capital"] = (
        settings.fee_micros,
        settings.slippage_ticks,
        settings.capital_micros,
    )
    limits = [limit_rows(settings.risk, (market.instrument,), settings.capital_micros) for market in listed]
    return MarketArrays(
        bars=np.concatenate([_lane_bars(market, settings) for market in listed]),
        markets=rows,
        lines=lines_of(BreakerLadder(settings.risk.breakers))[None, :, :],
        limits=np.stack(limits),
        portfolio=portfolio_row(settings.risk, settings.capital_micros),
    )


def _lane_bars(market: TrainingMarket, settings: LaneSettings) -> Rows:
    bars, schedule = market.bars, market_schedule(market)
    rows = np.zeros(len(bars), LANE_BAR)
    rows["ts_close"] = bars["ts_event"]
    for name in ("ts_open", "open", "high", "low", "close", "volume"):
        rows[name] = bars[name]
    rows["halted"] = (bars["flags"] & int(Flag.HALTED)) != 0
    rows["segment"], rows["scale"] = market.segment, market.scale
    stamps = rows["ts_close"]
    place = np.searchsorted(schedule.open_ns, stamps, side="right") - 1
    rows["in_session"] = (place >= 0) & (stamps < schedule.close_ns[np.maximum(place, 0)])
    rows["day"] = _trading_days(schedule, stamps)
    rows["expires"] = _day_ends(schedule, stamps)
    rows["day_after"] = _trading_days(schedule, rows["expires"])
    rows["variance"], rows["stressed"] = _risk_of_one_lot(market, schedule, settings)
    return rows


def _trading_days(schedule: SessionSchedule, stamps: Integers) -> Integers:
    """The trading day that the gate counts ``stamps`` to: between two sessions the one to come."""
    place = np.searchsorted(schedule.close_ns, stamps, side="right")
    known = schedule.day_ns[np.minimum(place, len(schedule) - 1)]
    return np.where(place < len(schedule), known, stamps - stamps % NS_PER_DAY)


def _day_ends(schedule: SessionSchedule, stamps: Integers) -> Integers:
    """When the trading day around each stamp ends, as ``simulation.exchange.trading_day_around`` has it."""
    place = np.searchsorted(schedule.close_ns, stamps, side="right")
    days = schedule.day_ns[np.minimum(place, len(schedule) - 1)]
    last = np.searchsorted(schedule.day_ns, days, side="right") - 1
    return np.where(place < len(schedule), schedule.close_ns[last], NEVER_NS)


def _risk_of_one_lot(
    market: TrainingMarket, schedule: SessionSchedule, settings: LaneSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """VaR squared and stressed VaR of one lot at each close, micros: what the gate of an engine that only watches knows."""
    instrument, stamps = market.instrument, market.ts_event
    engine = Engine(
        run_settings(settings, market.width_ns, instrument.currency), (instrument,), (schedule,), build_agent
    )
    variance, stressed = np.full(len(stamps), np.nan), np.full(len(stamps), np.nan)
    row = 0
    last = Advance(ts=int(stamps[-1]))
    for record in chain(engine.on_block(market.bars), engine.on_advance(last)):
        if record.cause is not Cause.BAR:
            continue
        if record.ts != stamps[row] or len(record.bars) != 1 or record.bars[0].close != market.bars["close"][row]:
            raise TrainingDataError(
                f"{instrument.id}: found the bar of {text_from_ns(int(stamps[row]))} closing at {text_from_ns(record.ts)}, "
                "expected every bar to close alone at its own stamp: bars of one width, on time, within their sessions' grid"
            )
        known = engine.gate.running.coefficients([0], [MICROS_PER_UNIT])
        if known is not None:
            variance[row], stressed[row] = known.matrix[0][0], known.stressed[0]
        row += 1
    if row != len(stamps) or engine.gate.state is not BreakerState.NORMAL:
        raise TrainingDataError(
            f"{instrument.id}: found {row} of {len(stamps)} bars closed and the ladder at {engine.gate.state.name}, "
            "expected all, and normal while nothing is held"
        )
    return variance, stressed


def view_lane(lanes: LaneArrays, n: int) -> AccountView:
    """Lane ``n`` as plain values, for tests and pictures."""
    row = lanes.account[n]
    return AccountView(
        row=int(row["row"]),
        lots=int(row["lots"]),
        asked_lots=int(row["asked_lots"]),
        cash_micros=int(row["cash_micros"]),
        equity_micros=int(row["equity_micros"]),
        peak_micros=int(row["peak_micros"]),
        day_start_micros=int(row["day_start_micros"]),
        open_profit_micros=int(row["open_profit_micros"]),
        fees_micros=int(row["fees_micros"]),
        traded_lots=int(row["traded_lots"]),
        refused_lots=int(row["refused_lots"]),
        bars_held=int(row["bars_held"]),
        working=bool(row["working"]),
        ended=bool(row["ended"]),
    )


# -- the life of a lane ------------------------------------------------------------------------------------------------

_ENDED, _WORKING = int(SlotState.ENDED), int(SlotState.WORKING)
_MARKET, _STOP = int(OrderType.MARKET), int(OrderType.STOP)
_DAY = int(TimeInForce.DAY)
_FEED_BARS = int(Feed.BARS)
_TRADE = EXEC_CODES[ExecType.TRADE]
_FOREVER = 2**62


@kernel(borrows=True)
def start_lane(lanes: LaneArrays, n: int, markets: MarketArrays, m: int, row: int) -> None:
    """Begin an episode of lane ``n`` at the close of bar ``row`` of market ``m``: flat, full capital, nothing working.

    ``row`` counts over all markets (``markets.markets[m].first`` is the market's first). Raises ``ValueError`` for a row of
    another market or of a bad stretch.
    """
    market = markets.markets[m]
    if not market.first <= row < market.last or markets.bars[row].segment < 0:
        raise ValueError("lanes: found a row outside of the market or in a bad stretch, expected one to start from")
    account = lanes.account[n]
    account.fees_micros = account.traded_lots = account.refused_lots = account.asked_lots = account.orders = 0
    account.cash_micros = market.capital
    standing = rows_of(lanes.handle).standing[n]
    standing.capital = standing.peak = standing.day_start = market.capital
    standing.day = markets.bars[row].day
    enter_lane(lanes, n, markets, m, row)


@kernel
def enter_lane(lanes: LaneArrays, n: int, markets: MarketArrays, m: int, row: int) -> None:
    """Put lane ``n``, all in cash, at the close of bar ``row``; its standing is as it was."""
    bar, market = markets.bars[row], markets.markets[m]
    account, state, known = lanes.account[n], lanes.step[n], lanes.instruments[n]
    state.now = bar.ts_close
    state.equity = state.equity_peak = account.cash_micros
    state.slots = state.report_head = state.report_tail = state.last_report_due = 0
    known.position = known.venue_position = known.cost = known.marked_base = known.active = known.halted = 0
    known.mark, known.mark_ts = bar.close, bar.ts_close
    known.bid = known.ask = UNDEFINED_PRICE
    known.rate, known.tick_value, known.spot, known.feed = 1_000_000, market.tick_value, market.spot, _FEED_BARS
    rows = rows_of(lanes.handle)
    out = rows.out[n]
    out.count = out.messages_head = out.messages_tail = 0
    out.orders_head = out.prints_head = out.prints_tail = 0
    recount(rows, n, 0)
    hold(rows, n, 0, 0)
    value(rows, n, account.cash_micros)
    rows.seen[n, 0].max_age = _FOREVER
    terms = rows.portfolio.shape[0]
    for p in range(terms):
        rows.limits[n * terms + p, 0], rows.portfolio[p] = markets.limits[m * terms + p, 0], markets.portfolio[p]
    account.market, account.row = m, row
    account.lots = account.open_profit_micros = account.bars_held = account.working = account.ended = 0
    account.equity_micros = account.cash_micros
    standing = rows.standing[n]
    standing.floor = floor_of(markets.lines[standing.terms], 0, standing.peak, standing.day_start, standing.capital)
    _react(lanes, n, markets, bar.day)


@kernel(borrows=True)
def walk_bar(lanes: LaneArrays, n: int, markets: MarketArrays) -> bool:
    """Go on to the close of the next bar; False, and nothing done, where the episode or the segment has ended."""
    account = lanes.account[n]
    row = account.row + 1
    market = markets.markets[account.market]
    if account.ended or row >= market.last or markets.bars[row].segment != markets.bars[row - 1].segment:
        return False
    bar = markets.bars[row]
    step, instruments = lanes.step[n : n + 1], lanes.instruments[n : n + 1]
    state, known = step[0], instruments[0]
    if state.slots > 0:
        _run_venue_until(lanes, n, markets, bar.ts_close - 1)
    state.now = bar.ts_close
    if known.active > 0 and not bar.halted:
        match_bar(
            step, lanes.slots[n], lanes.reports[n], instruments, 0, bar.ts_open, bar.ts_close, bar.open, bar.high, bar.low,
            bar.close, bar.volume,
        )  # fmt: skip
    account.row = row
    if mark_instrument(step, instruments, 0, bar.close, bar.ts_close):
        _react(lanes, n, markets, bar.day)
    if state.slots > 0:
        if venue_due(step, lanes.slots[n], lanes.reports[n], instruments) <= bar.ts_close:
            run_venue(step, lanes.slots[n], lanes.reports[n], instruments, lanes.depth, bar.ts_close)
        _take_reports(lanes, n, market)
        drop_ended(step, lanes.slots[n])
    _react(lanes, n, markets, bar.day)
    account.bars_held = account.bars_held + 1 if known.position == account.lots else 0
    account.working = not account.ended and _rests(lanes, n)
    _show(lanes, n)
    return True


@kernel(borrows=True)
def settle_lane(lanes: LaneArrays, n: int, markets: MarketArrays) -> None:
    """Close lane ``n`` at the mark, with slippage and fee, and drop its orders: what an environment does at a segment's end.

    The engine's own roll pays no slippage and buys the new contract back; an episode ends here, and pays as an order would.
    """
    account, known = lanes.account[n], lanes.instruments[n]
    market = markets.markets[account.market]
    lots = known.position
    if lots != 0:
        side = 1 if lots > 0 else -1
        _book(lanes, n, market, -lots, known.mark - side * market.slippage)
        known.venue_position = 0
        account.bars_held = 0
    lanes.step[n].slots = 0
    known.active = 0
    account.working = 0
    rows = rows_of(lanes.handle)
    rows.out[n].count = 0
    recount(rows, n, 0)
    _show(lanes, n)


@kernel(inline=True)
def _show(lanes: LaneArrays, n: int) -> None:
    """Bring the fields of ``ACCOUNT`` that others hold up to date."""
    account, known = lanes.account[n], lanes.instruments[n]
    account.lots = known.position
    account.equity_micros = lanes.step[n].equity
    value(rows_of(lanes.handle), n, account.equity_micros)
    account.open_profit_micros = known.position * known.mark * known.tick_value - known.cost


@kernel(inline=True)
def _rests(lanes: LaneArrays, n: int) -> bool:
    """True where an order that is not a protective stop is working."""
    for k in range(lanes.step[n].slots):
        slot = lanes.slots[n, k]
        if slot.state != _ENDED and slot.time_in_force == _DAY:
            return True
    return False


@kernel
def _run_venue_until(lanes: LaneArrays, n: int, markets: MarketArrays, limit: int) -> None:
    """What reaches the venue up to ``limit``: the orders of the last decision, and expiries between two bars."""
    account = lanes.account[n]
    step, instruments = lanes.step[n : n + 1], lanes.instruments[n : n + 1]
    slots, reports, state = lanes.slots[n], lanes.reports[n], lanes.step[n]
    while True:
        due = venue_due(step, slots, reports, instruments)
        if due > limit:
            return
        state.now = max(state.now, due)
        run_venue(step, slots, reports, instruments, lanes.depth, due)
        _take_reports(lanes, n, markets.markets[account.market])  # None of them is a fill: those come from bars only.
        bar = markets.bars[account.row]
        if due > bar.ts_close:
            _react(lanes, n, markets, bar.day_after)


@kernel
def _take_reports(lanes: LaneArrays, n: int, market: Record) -> None:
    """Fold the reports into what is out, book the fills among them, in their order, and forget the reports."""
    state, rows = lanes.step[n], rows_of(lanes.handle)
    for r in range(state.report_head, state.report_tail):
        report = lanes.reports[n, r]
        if report.exec_type == _TRADE:
            side = rows.working[n, place_of(rows.working, n, rows.out[n].count, report.order_id)].side
            _book(lanes, n, market, report.last_quantity * side, report.last_price)
        apply_report(
            rows, n, report.order_id, report.exec_type, report.last_quantity, report.last_price, report.leaves, report.ts_event,
        )  # fmt: skip
    state.report_head = state.report_tail = 0


@kernel
def _book(lanes: LaneArrays, n: int, market: Record, signed_lots: int, price: int) -> None:
    """Enter one fill, with its fee."""
    account, known = lanes.account[n], lanes.instruments[n]
    known.position, known.cost, realised = book_fill(known.position, known.cost, signed_lots, price, market.tick_value)
    fee = market.fee * abs(signed_lots)
    account.fees_micros += fee
    account.traded_lots += abs(signed_lots)
    account.cash_micros += (-price * signed_lots * market.tick_value if market.spot else realised) - fee
    hold(rows_of(lanes.handle), n, 0, known.position)
    known.marked_base = marked_value(known.position, known.cost, known.mark, market.tick_value, market.spot)
    lanes.step[n].equity = account.cash_micros + known.marked_base


@kernel
def _react(lanes: LaneArrays, n: int, markets: MarketArrays, day: int) -> None:
    """The ladder at the end of an engine step: day, peak, and whether a line has been crossed; then the line for the next."""
    rows = rows_of(lanes.handle)
    account, state, standing = lanes.account[n], lanes.step[n], rows.standing[n]
    equity = state.equity
    rows.out[n].batch += 1
    if leaves_normal(rows, n, markets.lines[standing.terms], equity, max(equity, state.equity_peak), day):
        account.ended = 1
    if equity <= 0:
        account.ended = 1
    state.equity_floor = standing.floor
    state.equity_peak = equity
    account.peak_micros, account.day_start_micros = standing.peak, standing.day_start


@kernel
def leaves_normal(rows: AccountRows, n: int, lines: NDArray[np.float64], equity: int, top: int, day: int) -> bool:
    """Bring day, peak and line of account ``n`` up to date, as ``risk.intake.renew_lines`` does; True where the ladder would leave normal."""
    if renew_lines(rows.standing[n : n + 1], lines, equity, top, day, False):
        return False
    standing = rows.standing[n]
    lost = (standing.day_start - equity) / standing.capital
    return not (compiled_drawdown_of(equity, standing.peak) < lines[0, 0] and lost < lines[1, 0])


# -- from a wish to orders ---------------------------------------------------------------------------------------------


@kernel(borrows=True)
def pursue_target(lanes: LaneArrays, n: int, markets: MarketArrays, lots: int, urgency: int, stop_ticks: int) -> None:
    """Trade towards ``lots`` (signed) as the engine does for a ``TargetPosition``; nothing where the episode has ended.

    ``urgency``: ``WAIT``, ``PASSIVE`` or ``AGGRESSIVE``; ``stop_ticks``: distance of a protective stop from the mark, 0 for none. At
    most one wish a bar.
    """
    account, state = lanes.account[n], lanes.step[n]
    if account.ended:
        return
    account.asked_lots = lots
    if urgency == WAIT:
        return
    if state.slots == 0 and lots == lanes.instruments[n].position:
        return
    if state.slots + 2 + (stop_ticks != 0) > lanes.slots.shape[1]:
        raise RuntimeError(
            "lanes: found every order slot of a lane in use, expected some free: build_lanes(orders=...)"
        )
    _look(lanes, n, markets)
    rows = rows_of(lanes.handle)
    wish = Target(0, lots, urgency == PASSIVE, stop_ticks, 0, 0, False)
    asked, account.orders = plan_target(rows, n, n, wish, account.orders)
    for k in range(asked):
        _hand_on(lanes, n, markets, k)


@kernel
def _look(lanes: LaneArrays, n: int, markets: MarketArrays) -> None:
    """Put what the lane knows into the rows that the checks read, as ``Books.look`` does."""
    account, known, state = lanes.account[n], lanes.instruments[n], lanes.step[n]
    bar = markets.bars[account.row]
    rows = rows_of(lanes.handle)
    seen, moment = rows.seen[n, 0], rows.moment[n]
    moment.ts, moment.equity = state.now, state.equity
    seen.position, seen.mark, seen.mark_ts, seen.halted = known.position, known.mark, known.mark_ts, known.halted
    seen.in_session = bar.in_session
    moment.risk_known = not math.isnan(bar.variance)
    seen.own, seen.single, seen.stressed = bar.variance, math.sqrt(bar.variance), bar.stressed
    seen.slope = bar.variance * known.position
    moment.variance = seen.slope * known.position
    if rows.standing[n].above >= 0:
        _look_above(rows, n)


@kernel
def _look_above(rows: AccountRows, n: int) -> None:
    """What lane ``n`` sees of the market, and the risk of one lot, into the rows of the accounts above it."""
    show(rows, n, 0)
    seen, above = rows.seen[n, 0], rows.standing[n].above
    while above >= 0:
        one, moment = rows.seen[above, 0], rows.moment[above]
        one.own, one.single, one.stressed, one.max_age = seen.own, seen.single, seen.stressed, seen.max_age
        one.slope = seen.own * one.position
        moment.risk_known, moment.variance = rows.moment[n].risk_known, one.slope * one.position
        above = rows.standing[above].above


@kernel
def _hand_on(lanes: LaneArrays, n: int, markets: MarketArrays, k: int) -> None:
    """What was asked in row ``k`` reaches the venue, as ``OrderPlanner`` hands it on."""
    account, asked, state = lanes.account[n], rows_of(lanes.handle).asked[n, k], lanes.step[n]
    bar, market = markets.bars[account.row], markets.markets[account.market]
    if asked.kind != NEW:
        for place in range(state.slots):
            slot = lanes.slots[n, place]
            if slot.order_id != asked.order_id:
                continue
            if asked.kind == CANCEL:
                slot.ts_cancel = min(slot.ts_cancel, state.now)
                if asked.why == UNPROTECTED:
                    account.refused_lots += slot.quantity
            elif asked.approved > 0:
                slot.ts_replace = state.now
                slot.new_quantity, slot.new_price, slot.new_stop = asked.approved, slot.price, slot.stop_price
        return
    is_stop = asked.order_type == _STOP
    if not is_stop:
        account.refused_lots += asked.quantity - asked.approved
    if asked.approved == 0:
        return
    at_market = asked.order_type == _MARKET
    place_order(
        lanes.step[n : n + 1], lanes.slots[n], asked.order_id, 0, asked.side, asked.order_type, asked.time_in_force, asked.approved,
        0 if asked.price == UNDEFINED_PRICE else asked.price, 0 if asked.stop_price == UNDEFINED_PRICE else asked.stop_price,
        state.now, state.now, bar.expires if asked.time_in_force == _DAY else NEVER_NS, 0, market.slippage if at_market or is_stop else 0,
        asked.parent, asked.group, 0, 0, 0, 0,
    )  # fmt: skip
    if at_market:
        # Nothing comes between a decision and its arrival: a market order waits for the next bar at once.
        lanes.slots[n, state.slots - 1].state = _WORKING
        lanes.instruments[n].active += 1


# -- one pass of given positions ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WalkResult:
    """What holding given positions came to, one entry a bar, K in all; money in micros of the instrument's currency."""

    equity_micros: Integers
    """After the bar."""
    lots: Integers
    """Held after the bar."""
    fees_micros: Integers
    """Paid until then."""
    traded_lots: Integers
    """Bought and sold until then."""
    refused_lots: int
    """Lots that risk did not let through, in all."""
    breaches: Integers
    """Bars, counted from the first of the walk, at which the ladder would have left normal."""


def walk_targets(
    market: TrainingMarket, lots: NDArray[np.integer[Any]], settings: LaneSettings, *, first: int = 0
) -> WalkResult:
    """Hold ``lots`` (K,), the position wished for at the close of each bar from ``first`` on, with market orders.

    Between two segments, in a bad stretch and after the last bar nothing is held: the position is closed at the last mark before
    them with slippage and fee (``settle_lane``), and taken up again by an order at the first close behind them. Where the ladder
    would leave normal the position is closed likewise and the lines are drawn anew from there on the next trading day, as
    after a person's release. Raises ``TrainingDataError`` where the bars do not reach.
    """
    return walk_market(build_market_arrays(market, settings), 0, lots, settings, first=first)


def walk_market(
    markets: MarketArrays, m: int, lots: NDArray[np.integer[Any]], settings: LaneSettings, *, first: int = 0
) -> WalkResult:
    """``walk_targets`` on arrays that are built already: market ``m`` of them, ``first`` counted from its own first bar."""
    targets = np.ascontiguousarray(lots, dtype=np.int64)
    rows = markets.markets[m]
    if not 0 <= first < first + len(targets) <= int(rows["last"] - rows["first"]):
        raise TrainingDataError(
            f"walk: found {len(targets)} targets from bar {first} on, expected some, within the {rows['last'] - rows['first']} bars"
        )
    kept = np.zeros((5, len(targets)), np.int64)
    lanes = build_lanes(1, settings)
    _walk(table_of(lanes), table_of(markets), m, int(rows["first"]) + first, targets, kept)
    return WalkResult(
        equity_micros=kept[0],
        lots=kept[1],
        fees_micros=kept[2],
        traded_lots=kept[3],
        refused_lots=int(lanes.account[0]["refused_lots"]),
        breaches=np.flatnonzero(kept[4]).astype(np.int64),
    )


@kernel(borrows=True)
def _walk(lanes_at: Integers, markets_at: Integers, m: int, first: int, targets: Integers, kept: Integers) -> None:
    """Fill ``kept`` (5, K): equity, lots, fees, traded lots, and 1 where the ladder would have left normal."""
    lanes, markets = open_lanes(lanes_at), open_markets(markets_at)
    account, capital = lanes.account[0], markets.markets[m].capital
    account.cash_micros = account.equity_micros = capital
    standing = rows_of(lanes.handle).standing[0]
    standing.capital = standing.peak = standing.day_start = capital
    standing.day = markets.bars[first].day
    inside, waits_until_after = False, -(2**63)
    for k in range(len(targets)):
        row = first + k
        bar = markets.bars[row]
        if inside:
            walk_bar(lanes, 0, markets)
        elif bar.segment >= 0 and bar.day > waits_until_after:
            enter_lane(lanes, 0, markets, m, row)
            inside = True
        if inside:
            if account.ended:
                settle_lane(lanes, 0, markets)
                standing.peak = standing.day_start = account.cash_micros
                inside, waits_until_after, kept[4, k] = False, bar.day, 1
            elif k + 1 == len(targets) or markets.bars[row + 1].segment != bar.segment:
                settle_lane(lanes, 0, markets)
                inside = False
            else:
                pursue_target(lanes, 0, markets, targets[k], AGGRESSIVE, 0)
        kept[0, k], kept[1, k] = account.equity_micros, account.lots
        kept[2, k], kept[3, k] = account.fees_micros, account.traded_lots
