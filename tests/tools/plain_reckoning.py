"""A moving-average cross reckoned a second time, in plain Python: nothing here imports the product.

The file is read line by line, its dates taken apart by hand, its prices turned into whole ticks by ``Decimal``; averages are
sums over lists; money is whole cents. It is slow and short on purpose. ``test_reckoning.py`` holds the engine against
it, ``test_peer_backtesting.py`` and ``benchmarks/peers`` read the bars with it.

Rules: decide at a bar's close; whatever is decided fills at the next bar's open; one lot; a turn is two fills; a fixed fee
per lot.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

HALF_HOUR_NS = 1_800_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class PlainBar:
    """One line of the file: when it opened (ns UTC), its prices in ticks, its session's day."""

    opened: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    session: str


@dataclass(frozen=True)
class PlainFill:
    """One fill: the opening time of the bar it belongs to, lots with a sign, the price in ticks, and whether a roll made it."""

    at: int
    lots: int
    price: int
    is_roll: bool = False


@dataclass
class PlainResult:
    """Fills in order, the equity change in cents after each bar, and the gain in cents of each position that was closed."""

    fills: list[PlainFill] = field(default_factory=list)
    equity_cents: list[int] = field(default_factory=list)
    trade_cents: list[int] = field(default_factory=list)
    """Fees of both sides taken off."""


def read_plain_bars(path: Path, tick: str, zone: str = "Asia/Jerusalem") -> list[PlainBar]:
    """The file's bars; day first, labelled by their opening, in local time of ``zone``."""
    local, exchange, size = ZoneInfo(zone), ZoneInfo("America/New_York"), Decimal(tick)
    bars = []
    with gzip.open(path, "rt", newline="") as lines:
        rows = csv.reader(lines)
        next(rows)
        for stamp, *prices, volume in rows:
            date, clock = stamp.split(" ")
            day, month, year = (int(part) for part in date.split("/"))
            hour, minute = (int(part) for part in clock.split(":")[:2])
            opened = datetime(year, month, day, hour, minute, tzinfo=local)
            since = opened.astimezone(UTC) - _EPOCH
            ticks = [Decimal(price) / size for price in prices]
            if any(value != int(value) for value in ticks):
                raise ValueError(f"{stamp}: a price is not on the tick")
            # The exchange's day begins at 18:00 in New York, six hours before the calendar's.
            session = (opened.astimezone(exchange).replace(tzinfo=None) + timedelta(hours=6)).date().isoformat()
            bars.append(
                PlainBar(
                    (since.days * 86_400 + since.seconds) * 1_000_000_000,
                    *(int(v) for v in ticks),
                    int(volume),
                    session,
                )
            )
    return bars


def plain_cross(
    bars: list[PlainBar],
    *,
    tick_cents: int,
    fee_cents: int,
    fast: int = 10,
    slow: int = 40,
    rolls: AbstractSet[int] = frozenset(),
    bad: AbstractSet[int] = frozenset(),
    keeps_sessions: bool = False,
) -> PlainResult:
    """Trade the cross over ``bars``.

    ``rolls`` are places at which a new contract begins: what is asked for is dropped, the position is sold at the last close and
    bought back at the open, the averages start anew. ``bad`` are places that the rule does not look at: what is held is sold at the last
    good close. With ``keeps_sessions``
    nothing can be asked for at the close of a session's last bar; the rule asks again one bar later.
    """
    result = PlainResult()
    cash = held = target = wanted = entry = 0
    closes: list[int] = []

    def trade(at: int, lots: int, price: int, *, is_roll: bool = False) -> None:
        nonlocal cash, held, entry
        if held == 0:
            entry = price
        else:
            result.trade_cents.append((price - entry) * held * tick_cents - 2 * abs(lots) * fee_cents)
        result.fills.append(PlainFill(at, lots, price, is_roll))
        cash -= lots * price * tick_cents + abs(lots) * fee_cents
        held += lots

    for place, bar in enumerate(bars):
        if place in rolls:
            wanted = held
            closes.clear()
            if held:
                lots = held
                trade(bar.opened, -lots, bars[place - 1].close, is_roll=True)
                trade(bar.opened, lots, bar.open, is_roll=True)
        if place in bad:
            wanted = 0
            if held:
                trade(bar.opened, -held, bars[place - 1].close, is_roll=True)
        if wanted != held:
            if held:
                trade(bar.opened, -held, bar.open)
            if wanted:
                trade(bar.opened, wanted, bar.open)
        result.equity_cents.append(cash + held * bar.close * tick_cents)
        if place in bad:
            closes.clear()
            continue
        closes.append(bar.close)
        if len(closes) < slow:
            continue
        lead = sum(closes[-fast:]) * slow - sum(closes[-slow:]) * fast
        if lead:
            target = 1 if lead > 0 else -1
        is_last_of_session = place + 1 < len(bars) and bars[place + 1].session != bar.session
        wanted = held if keeps_sessions and is_last_of_session else target
    return result
