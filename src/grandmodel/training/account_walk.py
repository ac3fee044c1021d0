"""Several strategies below a desk, walked together through one market: each a lane with an account of its own, held to the limits above it too.

The accounts are declared as for risk (``risk.settings.AccountLimits``), those that trade are the lanes, and the sums above them are kept by
risk's own kernels (``risk.tree``) as the lanes fill, are marked and send. All come to the close of a bar before any of them decides; then
they ask in the order in which they are declared, and what one has sent counts at the desk before the next one asks.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.risk.breakers import BreakerLadder
from grandmodel.risk.intake import lines_of
from grandmodel.risk.rows import AccountRows, rows_of
from grandmodel.risk.settings import AccountLimits
from grandmodel.risk.tree import plant, seats_of, terms_of
from grandmodel.training.errors import TrainingDataError, TrainingSettingsError
from grandmodel.training.lanes import (
    AGGRESSIVE,
    Integers,
    LaneArrays,
    LaneSettings,
    MarketArrays,
    WalkResult,
    build_lanes,
    build_market_arrays,
    enter_lane,
    leaves_normal,
    pursue_target,
    rows_in,
    settle_lane,
    walk_bar,
)
from grandmodel.training.market import TrainingMarket


def walk_accounts(
    market: TrainingMarket,
    lots: Mapping[str, NDArray[np.integer]],
    settings: LaneSettings,
    accounts: Mapping[str, AccountLimits],
    *,
    first: int = 0,
) -> dict[str, WalkResult]:
    """Hold ``lots`` (K,) of each account that trades, as ``lanes.walk_targets`` does, below the accounts above it; what each came to, by name.

    The run's own account, above all others, has the empty name. ``settings.risk`` and ``settings.capital_micros`` are its limits and capital.
    Where the ladder of an account would leave normal, every account from there down is closed, and trades again on the next trading day with
    lines drawn anew. Fees, traded and refused lots of an account above others are the sums of theirs. Raises ``TrainingSettingsError``
    where ``lots`` are not those of the accounts that trade, ``RiskInputError`` as ``risk.tree.seats_of`` does, ``TrainingDataError`` where
    the bars do not reach.
    """
    seats = seats_of(accounts, settings.risk, settings.capital_micros)
    lanes_of = [n for n, seat in enumerate(seats) if seat.first == n]
    names = [seats[n].name for n in lanes_of]
    if not accounts or set(lots) != set(names):
        raise TrainingSettingsError(
            f"walk: found lots of {sorted(lots)}, expected those of the accounts that trade: {names}"
        )
    for seat in seats:
        msgspec.structs.replace(
            settings, risk=seat.settings, capital_micros=seat.capital_micros
        )  # Refused as any lane's.
    lengths = {len(found) for found in lots.values()}
    if len(lengths) != 1:
        raise TrainingDataError(f"walk: found {sorted(lengths)} lots, expected as many lots of each account")
    targets = np.stack([np.asarray(lots[name], np.int64) for name in names])
    if not 0 <= first < first + targets.shape[1] <= len(market.bars):
        raise TrainingDataError(
            f"walk: found {targets.shape[1]} targets from bar {first} on, expected some, within the {len(market.bars)} bars"
        )
    count, above = len(lanes_of), [n for n, seat in enumerate(seats) if seat.first != n]
    places = [lanes_of.index(n) if n in lanes_of else count + above.index(n) for n in range(len(seats))]
    limits, portfolio = terms_of(seats, (market.instrument,))
    lines = np.stack([lines_of(BreakerLadder(seat.settings.breakers)) for seat in seats])
    markets = build_market_arrays(market, settings)._replace(limits=limits, portfolio=portfolio, lines=lines)
    lanes = build_lanes(count, settings, above=len(above))
    rows = rows_in(lanes)
    plant(rows, seats, places)
    for seat, n in zip(seats, places, strict=True):
        standing = rows.standing[n]
        standing["capital"] = standing["peak"] = standing["day_start"] = seat.capital_micros
        standing["day"] = markets.bars[first]["day"]
        rows.moment["equity"][n] = seat.capital_micros
        if n < count:
            lanes.account["cash_micros"][n] = lanes.account["equity_micros"][n] = seat.capital_micros
    kept = np.zeros((len(seats), 5, targets.shape[1]), np.int64)
    _walk(lanes, markets, first, targets, np.zeros(count, np.int64), np.full(len(seats), -(2**63)), kept)
    refused = lanes.account["refused_lots"]
    found = {}
    for seat, n in zip(seats, places, strict=True):
        below = slice(places[seat.first], places[seat.last - 1] + 1)
        found[seat.name] = WalkResult(
            equity_micros=kept[n, 0],
            lots=kept[n, 1],
            fees_micros=kept[below, 2].sum(axis=0),
            traded_lots=kept[below, 3].sum(axis=0),
            refused_lots=int(refused[below].sum()),
            breaches=np.flatnonzero(kept[n, 4]).astype(np.int64),
        )
    return found


@kernel
def _walk(
    lanes: LaneArrays, markets: MarketArrays, first: int, targets: Integers, inside: Integers, waits: Integers, kept: Integers
) -> None:  # fmt: skip
    """Fill ``kept`` (N, 5, K): equity, lots, of lanes also fees and traded lots, and 1 where the ladder would have left normal.

    ``inside`` (L,): 1 while a lane trades; ``waits`` (N,): the trading day after which an account trades again.
    """
    rows = rows_of(lanes.handle)
    lanes_count, accounts, last = len(inside), len(waits), targets.shape[1] - 1
    for k in range(last + 1):
        row = first + k
        bar = markets.bars[row]
        ends = k == last or markets.bars[row + 1].segment != bar.segment
        for n in range(lanes_count):
            if inside[n] != 0:
                walk_bar(lanes, n, markets)
            elif bar.segment >= 0 and bar.day > _waits_until(rows, n, waits):
                enter_lane(lanes, n, markets, 0, row)
                inside[n] = 1
        for n in range(lanes_count, accounts):
            equity = rows.moment[n].equity
            left = leaves_normal(rows, n, markets.lines[rows.standing[n].terms], equity, equity, bar.day)
            kept[n, 4, k] = left or equity <= 0
        for n in range(lanes_count):
            if inside[n] != 0:
                kept[n, 4, k] = lanes.account[n].ended
                stops = _is_stopped(rows, n, kept[:, 4, k])
                if stops or ends:
                    settle_lane(lanes, n, markets)
                    inside[n] = 0
                else:
                    pursue_target(lanes, n, markets, targets[n, k], AGGRESSIVE, 0)
        for n in range(accounts):
            if kept[n, 4, k] != 0:
                standing = rows.standing[n]
                standing.peak = standing.day_start = rows.moment[n].equity
                waits[n] = bar.day
            kept[n, 0, k], kept[n, 1, k] = rows.moment[n].equity, rows.seen[n, 0].position
        for n in range(lanes_count):
            kept[n, 2, k], kept[n, 3, k] = lanes.account[n].fees_micros, lanes.account[n].traded_lots


@kernel
def _waits_until(rows: AccountRows, n: int, waits: Integers) -> int:
    """The latest trading day that account ``n``, or one above it, has to wait for the end of."""
    until = waits[n]
    while n >= 0:
        until = max(until, waits[n])
        n = rows.standing[n].above
    return int(until)


@kernel
def _is_stopped(rows: AccountRows, n: int, left: Integers) -> bool:
    """True where the ladder of account ``n``, or of one above it, has ``left`` normal."""
    while n >= 0:
        if left[n] != 0:
            return True
        n = rows.standing[n].above
    return False
