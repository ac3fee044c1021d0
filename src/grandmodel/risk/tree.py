"""Accounts below one another: a strategy below a desk, a desk below the firm.

Accounts that no other one names as its parent trade; those above them hold their sums: lots and open orders by instrument, equity, messages and
orders sent. There is one rule for a sum: whatever changes a number of an account adds the same change to every account above, in the same call
(``hold`` and ``value`` here, ``working.recount``, ``flow.count_message`` and ``count_order``). Nothing is ever added up a second time.

The tree is links between rows (``STANDING.above``, ``first``, ``last``). The account of a run is row 0 and stands above all others; the ones that
trade come next, those below one account side by side; then the ones between. A run with one account has one row, which trades.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from grandmodel.domain.instruments import Instrument
from grandmodel.kernels import kernel
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.rows import AccountRows, Rows, limit_rows, portfolio_row
from grandmodel.risk.settings import AccountLimits, RiskSettings, traders_of


class Seat(NamedTuple):
    """Where one account stands among its tree's rows, and with which limits."""

    name: str
    """Empty: the account of the run itself."""
    above: int
    """Row of the account above; -1: none."""
    first: int
    last: int
    """Rows [first, last): the accounts from here down that trade."""
    capital_micros: int
    settings: RiskSettings


def seats_of(accounts: Mapping[str, AccountLimits], settings: RiskSettings, capital_micros: int) -> tuple[Seat, ...]:
    """The seats of a tree, by row: the run's own account with ``settings`` and ``capital_micros``, then ``accounts``.

    Raises ``RiskInputError`` where an account is below one that is not there, or below itself; where one that trades has no capital, or one that
    stands above others has some of its own; and where the capital of those that trade is not that of the run.
    """
    below: dict[str, list[str]] = {name: [] for name in ("", *accounts)}
    for name, account in accounts.items():
        if not name.strip() or not name.isprintable():
            raise RiskInputError(f"accounts: found the name {name!r}, expected a printable text")
        if account.parent not in below:
            known = ", ".join(sorted(accounts))
            raise RiskInputError(f"accounts.{name}.parent: found {account.parent!r}, expected one of {known}, or none")
        below[account.parent].append(name)
    order = _from_the_top(below)
    if len(order) != len(below):
        lost = ", ".join(sorted(set(below) - set(order)))
        raise RiskInputError(f"accounts: found {lost} below themselves, expected every account below the run's own")
    trading = traders_of(accounts) or ("",)
    traded = [name for name in order if name in trading]
    names = list(dict.fromkeys(("", *traded, *order)))
    row = {name: n for n, name in enumerate(names)}
    seats = []
    for name in names:
        reached = [one for one in traded if is_below(one, name, accounts)]
        if not name:
            total, own = capital_micros, settings
        else:
            total, own = _capital_of(name, accounts, reached), accounts[name].over(settings)
        first = row[reached[0]]
        above = row[accounts[name].parent] if name else -1
        seats.append(Seat(name, above, first, first + len(reached), total, own))
    if accounts and (found := sum(accounts[name].capital_micros for name in traded)) != capital_micros:
        raise RiskInputError(
            f"accounts: found {found} micros of capital in those that trade ({', '.join(traded)}), expected the {capital_micros} of the run"
        )
    return tuple(seats)


def _from_the_top(below: Mapping[str, Sequence[str]]) -> list[str]:
    """Every account that can be reached from the run's own, each followed by those below it."""
    found, waiting = [], [""]
    while waiting:
        name = waiting.pop()
        found.append(name)
        waiting.extend(reversed(below[name]))
    return found


def is_below(name: str, above: str, accounts: Mapping[str, AccountLimits]) -> bool:
    """True where ``name`` is ``above``, or stands below it."""
    while name and name != above:
        name = accounts[name].parent
    return name == above


def _capital_of(name: str, accounts: Mapping[str, AccountLimits], reached: Sequence[str]) -> int:
    """The capital of an account: its own where it trades, else that of those below."""
    own = accounts[name].capital_micros
    trades = reached == [name]
    if trades and own <= 0:
        raise RiskInputError(f"accounts.{name}.capital_micros: found {own}, expected a positive amount: it trades")
    if not trades and own != 0:
        raise RiskInputError(
            f"accounts.{name}.capital_micros: found {own}, expected none: it has the capital of the accounts below it"
        )
    return own if trades else sum(accounts[one].capital_micros for one in reached)


def terms_of(seats: Sequence[Seat], instruments: Sequence[Instrument]) -> tuple[Rows, Rows]:
    """``LIMITS`` (N, I) and ``PORTFOLIO`` (N,) of the accounts of a tree, each over its own capital."""
    limits = [limit_rows(seat.settings, instruments, seat.capital_micros) for seat in seats]
    portfolio = [portfolio_row(seat.settings, seat.capital_micros) for seat in seats]
    return np.stack(limits), np.concatenate(portfolio)


def plant(rows: AccountRows, seats: Sequence[Seat], places: Sequence[int]) -> None:
    """Link the rows at ``places`` as ``seats`` stand, each with the terms of its place among them; all must be flat, with nothing open.

    The places of those that trade must be side by side, in their order.
    """
    for terms, (seat, n) in enumerate(zip(seats, places, strict=True)):
        standing = rows.standing[n]
        standing["above"], standing["terms"] = -1 if seat.above < 0 else places[seat.above], terms
        standing["first"], standing["last"] = places[seat.first], places[seat.last - 1] + 1


@kernel
def hold(rows: AccountRows, n: int, i: int, position: int) -> None:
    """Account ``n`` holds ``position`` lots of instrument ``i`` from here on; every account above moves by as much."""
    more = position - rows.seen[n, i].position
    while n >= 0:
        rows.seen[n, i].position += more
        n = rows.standing[n].above


@kernel
def value(rows: AccountRows, n: int, equity: int) -> None:
    """Account ``n`` is worth ``equity`` micros from here on; every account above moves by as much."""
    more = equity - rows.moment[n].equity
    while n >= 0:
        rows.moment[n].equity += more
        n = rows.standing[n].above


@kernel
def show(rows: AccountRows, n: int, i: int) -> None:
    """Every account above ``n`` sees of the market of instrument ``i``, and of the time, what ``n`` sees."""
    seen, ts = rows.seen[n, i], rows.moment[n].ts
    above = rows.standing[n].above
    while above >= 0:
        one = rows.seen[above, i]
        one.mark, one.mark_ts, one.bid, one.ask = seen.mark, seen.mark_ts, seen.bid, seen.ask
        one.halted, one.rate, one.in_session = seen.halted, seen.rate, seen.in_session
        rows.moment[above].ts = ts
        above = rows.standing[above].above
