"""How many lots of one order the size checks leave, compiled, for an instrument that has its account to itself.

The training environments take millions of steps a second, so they cannot ask ``RiskGate.check``. This is the same
arithmetic, in the same order, for one instrument: order lots and notional, position limits, overall lots, gross and net
exposure, concentration, margin, VaR and stressed VaR, drawdown and daily loss. What is not about size (session, rules of
an order, rates, duplicates, our own opposite orders, the ladder) is the caller's part. A property test holds it against
the gate. Read ``pretrade.py`` beside it: the names are the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.instruments import Instrument, Settlement
from grandmodel.kernels import kernel
from grandmodel.risk.breakers import BreakerLadder, Trigger
from grandmodel.risk.margins import check_margins
from grandmodel.risk.settings import RiskSettings

Rows = NDArray[Any]

ROOM = np.dtype(
    [
        ("tick_value", "<i8"),
        ("rate", "<i8"),
        ("margin", "<i8"),  # initial margin of one lot; -1: the whole price is paid (spot)
        ("shrink", "<i8"),  # 1: an order beyond a limit is cut to what fits; 0: it is refused
        ("max_order_lots", "<i8"),
        ("order_notional", "<i8"),
        ("max_long_lots", "<i8"),
        ("max_short_lots", "<i8"),
        ("overall_lots", "<i8"),
        ("gross", "<i8"),
        ("net", "<i8"),
        ("concentration", "<i8"),
        ("capital", "<i8"),
        ("margin_share", "<f8"),
        ("var", "<f8"),
        ("stressed_var", "<f8"),
        ("drawdown", "<f8"),  # from which the ladder halts
        ("daily_loss", "<f8"),
    ]
)
"""One row an instrument: its units, and what the checks compare with; money in micros of the account's currency."""


def room_of(settings: RiskSettings, instrument: Instrument, capital_micros: int, rate_micros: int) -> Rows:
    """The limits of ``instrument`` under ``settings`` as one row of ``ROOM``, shape (1,). Raises as the gate does."""
    check_margins(settings, (instrument,))
    limits = settings.instruments.get(instrument.id, settings.limits)
    portfolio, ladder = settings.portfolio, BreakerLadder(settings.breakers)
    row = np.zeros(1, ROOM)
    row["tick_value"] = instrument.tick_value_micros
    row["rate"] = rate_micros
    row["margin"] = -1 if instrument.settlement is Settlement.SPOT else instrument.initial_margin_micros
    row["shrink"] = settings.shrink
    row["max_order_lots"] = limits.max_order_lots
    row["order_notional"] = int(limits.max_order_notional * capital_micros)
    row["max_long_lots"], row["max_short_lots"] = limits.max_long_lots, limits.max_short_lots
    row["overall_lots"] = portfolio.max_overall_lots
    row["gross"] = int(portfolio.max_gross_exposure * capital_micros)
    row["net"] = int(portfolio.max_net_exposure * capital_micros)
    row["concentration"] = int(limits.max_concentration * capital_micros)
    row["capital"] = capital_micros
    row["margin_share"] = portfolio.max_margin_share
    row["var"] = portfolio.max_var * capital_micros
    row["stressed_var"] = portfolio.max_stressed_var * capital_micros
    row["drawdown"] = ladder.limits(Trigger.DRAWDOWN)[2]
    row["daily_loss"] = ladder.limits(Trigger.DAILY_LOSS)[2]
    return row


@kernel
def lots_with_room(
    rooms: Rows,
    i: int,
    side: int,
    asked: int,
    counted: int,
    position: int,
    buys: int,
    sells: int,
    mark: int,
    dearest: int,
    variance: float,
    stressed: float,
    equity: int,
    peak: int,
    day_start: int,
) -> int:
    """The quantity at which an order may go: all of ``asked + counted``, less where a limit cuts it, 0 where it is refused.

    ``asked`` lots come on top of what is out on the order's ``side`` (+1 or -1) and ``counted`` are among it already (a
    change of a working order; 0 for a new one). ``buys`` and ``sells`` are the lots that working orders can still fill,
    ``mark`` and ``dearest`` ticks (the larger magnitude of mark and limit price), ``variance`` and ``stressed`` VaR
    squared and stressed VaR of one lot in micros, NaN while unknown; ``equity``, its ``peak`` and ``day_start`` micros.
    """
    room = rooms[i]
    quantity = asked + counted
    notional = _in_base(quantity * dearest * room.tick_value, room.rate)
    if quantity <= 0 or quantity > room.max_order_lots or notional > room.order_notional:
        return 0
    if side > 0:
        end, other, top = position + buys, sells - position, room.max_long_lots
    else:
        end, other, top = sells - position, position + buys, room.max_short_lots
    reducing = end + asked <= 0
    fits = asked
    after = end + asked
    worst = max(other, end)
    grown = max(after - worst, 0)
    unit = _in_base(abs(mark) * room.tick_value, room.rate)
    margin_unit = unit if room.margin < 0 else _in_base(room.margin, room.rate)

    if after > top and asked > 0 and after > 0:
        fits = min(fits, max(top, 0) - end)
    if grown > 0:
        if worst + grown > room.overall_lots:
            fits = min(fits, max(worst, room.overall_lots) - end)
        if (worst + grown) * unit > room.gross:
            fits = min(fits, max(worst, worst + (room.gross - worst * unit) // unit) - end if unit > 0 else 0)
        if (worst + grown) * unit > room.concentration:
            fits = min(fits, max(worst, room.concentration // unit) - end if unit > 0 else 0)
        most = int(room.margin_share * equity)
        if (worst + grown) * margin_unit > most:
            left = max(worst, worst + (most - worst * margin_unit) // margin_unit) - end if margin_unit > 0 else 0
            fits = min(fits, left)
    near, far = end * unit, other * unit
    before = max(far, near)
    net = max(near + asked * unit, before)
    if net > room.net and net > before:
        fits = min(fits, (max(room.net, before) - near) // unit if unit > 0 else 0)
    fits = min(fits, _var_room(room, side, asked, end, other, position, worst, grown, reducing, variance, stressed))
    if not reducing:
        lost = (day_start - equity) / room.capital
        if not (1.0 - equity / peak < room.drawdown and lost < room.daily_loss):
            fits = min(fits, max(-end, 0))
    if fits < asked and (fits <= 0 or room.shrink == 0):
        return 0
    return max(counted + fits, 0)


@kernel
def _var_room(
    room: Any,
    side: int,
    asked: int,
    end: int,
    other: int,
    position: int,
    worst: int,
    grown: int,
    reducing: bool,
    own: float,
    stressed: float,
) -> int:
    """The lots that VaR and stressed VaR leave; unknown risk may be closed and not opened."""
    if math.isnan(own + stressed):
        return asked if reducing else max(0, -end)
    fits = asked
    slopes = own * position
    base = slopes * position
    slope = side * slopes
    ahead = end - side * position
    behind = other + side * position
    # The worst that can be reached already: an order that leads to no more adds nothing, even beyond the limit.
    held = base
    if ahead != 0 or behind != 0:
        held = max(base, base + ahead * (2.0 * slope + ahead * own), base + behind * (behind * own - 2.0 * slope))
    lots = ahead + asked
    value = base + lots * (2.0 * slope + lots * own)
    held = _root(held)
    value = _root(value)
    if not (value <= room.var or value <= held):
        fits = min(fits, _lots_within(base, slope, own, max(room.var, held), lots) - ahead)
    at_worst = worst * stressed
    if grown > 0 and not at_worst + grown * stressed <= room.stressed_var:
        spare = room.stressed_var - at_worst
        fits = min(fits, asked - grown + (int(spare / stressed) if spare > 0.0 else 0))
    return fits


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
        lots -= 1
    return lots


@kernel
def _root(variance: float) -> float:
    """Square root of a variance in micros squared; a tiny negative one is rounding."""
    if variance >= 0.0:
        return math.sqrt(variance)
    return 0.0 if variance > -1e-3 else math.nan


@kernel
def _in_base(micros: int, rate: int) -> int:
    """``micros`` at ``rate``, rounded down, without leaving int64."""
    if rate == 1_000_000:
        return micros
    return micros // 1_000_000 * rate + (micros % 1_000_000) * rate // 1_000_000
