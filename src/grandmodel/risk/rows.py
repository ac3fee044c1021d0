"""The memory of one account as risk sees it: structured rows that compiled code walks and Python fills.

One set of kernels (``checks.py``, ``working.py``) works on these rows, for the engine's single account and for the thousands of a
training batch: account ``n`` is row ``n`` everywhere. Prices are ticks, quantities lots, money micros, times int64 ns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.instruments import Instrument
from grandmodel.kernels import kernel, table_of, table_reader
from grandmodel.risk.breakers import BreakerLadder, Trigger
from grandmodel.risk.margins import check_margins
from grandmodel.risk.settings import RiskSettings
from grandmodel.risk.standing import STANDING

Rows = NDArray[Any]
"""Structured rows; numpy has no type for their fields."""

_I8, _F8 = "<i8", "<f8"

LIMITS = np.dtype(
    [
        ("tick_value", _I8),
        ("margin", _I8),  # initial margin of one lot; -1: the whole price is paid (spot)
        ("negative_prices", _I8),
        ("authorised", _I8),
        ("restricted", _I8),
        ("max_order_lots", _I8),
        ("order_notional", _I8),
        ("max_long_lots", _I8),
        ("max_short_lots", _I8),
        ("concentration", _I8),
        ("collar_min_ticks", _I8),
        ("collar_fraction", _F8),
        ("away_fraction", _F8),
    ]
)
"""One row an instrument: its units, and what its checks compare with."""

PORTFOLIO = np.dtype(
    [
        ("shrink", _I8),  # 1: an order beyond a size limit is cut to what fits; 0: it is refused
        ("overall_lots", _I8),
        ("gross", _I8),
        ("net", _I8),
        ("max_orders", _I8),
        ("max_messages", _I8),
        ("max_repeats", _I8),
        ("window_ns", _I8),
        ("duplicate_window_ns", _I8),
        ("margin_share", _F8),
        ("var", _F8),
        ("stressed_var", _F8),
        ("drawdown", _F8),  # from which the ladder halts
        ("daily_loss", _F8),
        ("caution_scale", _F8),
    ]
)
"""One row a kind of account: what an account as a whole may do."""

SEEN = np.dtype(
    [
        ("position", _I8),
        ("mark", _I8),  # UNDEFINED_PRICE where there is none
        ("mark_ts", _I8),  # when the last row of the instrument came
        ("bid", _I8),
        ("ask", _I8),
        ("halted", _I8),
        ("rate", _I8),  # micros of the account's currency per unit of the instrument's
        ("in_session", _I8),
        ("max_age", _I8),  # a mark older than this takes no new risk
        ("buys", _I8),  # lots that working orders can still buy
        ("sells", _I8),
        ("throttled_buys", _I8),  # 1 while stopped for repeated executions
        ("throttled_sells", _I8),
        ("own", _F8),  # VaR squared of one lot; NaN while unknown
        ("single", _F8),  # VaR of one lot alone
        ("stressed", _F8),  # the same under stress
        ("slope", _F8),  # the instrument's row of the VaR matrix times the positions
    ]
)
"""One row an instrument of an account: what the checks see of it at one moment."""

MOMENT = np.dtype(
    [
        ("ts", _I8),
        ("equity", _I8),
        ("risk_known", _I8),  # 0 where no instrument's VaR is known
        ("variance", _F8),  # VaR squared of the positions held; NaN where one of them is not known
    ]
)
"""One row an account: what its checks see of the whole."""

WORKING = np.dtype(
    [
        ("order_id", _I8),
        ("instrument", _I8),
        ("side", _I8),
        ("quantity", _I8),
        ("pending", _I8),  # quantity after a change under way; equal to ``quantity`` otherwise
        ("order_type", _I8),
        ("time_in_force", _I8),
        ("expire_ts", _I8),
        ("price", _I8),  # UNDEFINED_PRICE: none; as the venue has confirmed it, like the next
        ("stop_price", _I8),
        ("trail_ticks", _I8),
        ("display_quantity", _I8),
        ("new_price", _I8),  # of a change under way
        ("new_stop", _I8),
        ("named_parent", _I8),  # the parent that it was sent with, whatever had come of that; 0: none
        ("parent", _I8),  # of a bracket's child whose parent had filled nothing when it was sent; 0: none
        ("group", _I8),  # with ``instrument`` the one-cancels-other group; 0: none
        ("reduce_only", _I8),
        ("tag", _I8),
        ("sequence", _I8),
        ("ts", _I8),
        ("batch", _I8),  # the step in which it was sent
        ("filled", _I8),
        ("reduced", _I8),  # lots that the others of its group filled since it joined
        ("woken", _I8),  # of a child: lots that its parent filled
        ("cancel_asked", _I8),
        ("changing", _I8),
        ("coming", _I8),  # lots that it is reckoned to fill next, while a wish is planned
    ]
)
"""One row an open order, oldest first."""

OUT = np.dtype(
    [
        ("count", _I8),  # rows of WORKING in use
        ("sequence", _I8),  # orders and changes sent so far
        ("batch", _I8),  # orders sent from here on belong to this step
        ("heard", _I8),  # the newest batch of which the venue has said anything
        ("messages_head", _I8),  # [head, tail) of the message times within the window
        ("messages_tail", _I8),
        ("orders_head", _I8),  # [head, prints_tail) of the new orders within the window
        ("prints_head", _I8),  # [head, tail) of those that another order may be a duplicate of
        ("prints_tail", _I8),
    ]
)
"""One row an account: what is out, and how fast it went."""

PRINT = np.dtype(
    [
        ("ts", _I8),
        ("instrument", _I8),
        ("side", _I8),
        ("quantity", _I8),
        ("order_type", _I8),
        ("price", _I8),
        ("stop_price", _I8),
        ("trail_ticks", _I8),
        ("display_quantity", _I8),
        ("parent", _I8),
        ("group", _I8),
        ("reduce_only", _I8),
        ("tag", _I8),
        ("account", _I8),  # the row that sent it: accounts below one another share the times, not their orders
    ]
)
"""What makes two orders equal, and when one was sent. A price that an order does not have is ``UNDEFINED_PRICE``."""

ASKED = np.dtype(
    [
        ("kind", _I8),  # a new order, a cancel or a change (``account.planner``); 0 where one order is only asked about
        ("why", _I8),  # why it is cancelled, or was not put to the checks (``account.planner.WHYS``)
        ("order_id", _I8),
        ("instrument", _I8),
        ("side", _I8),
        ("quantity", _I8),
        ("order_type", _I8),
        ("time_in_force", _I8),
        ("price", _I8),  # UNDEFINED_PRICE: none
        ("stop_price", _I8),
        ("trail_ticks", _I8),
        ("display_quantity", _I8),
        ("ts", _I8),
        ("effective_ts", _I8),
        ("expire_ts", _I8),
        ("parent", _I8),  # 0: none
        ("group", _I8),
        ("reduce_only", _I8),
        ("tag", _I8),
        ("approved", _I8),  # lots that may go; 0: refused
        ("reason", _I8),  # of the first check that refused, else of the first that cut; place in ``checks.REASONS``
        ("noted", _I8),  # checks that refused or cut, or found no value where they usually do
    ]
)
"""One row an order that is asked about: what it is, and what the checks said.

Of an account above the one that asks four are filled: ``quantity``, what those below it let through, and what its own checks said.
"""


class AccountRows(NamedTuple):
    """The rows of N accounts over I instruments each; ``limits`` and ``portfolio`` are shared.

    An account may stand above others (``STANDING.above``): its rows then hold the sums of theirs. Those that trade, and only they, have
    open orders.
    """

    standing: Rows
    """(N,) of ``STANDING``"""
    moment: Rows
    """(N,) of ``MOMENT``"""
    seen: Rows
    """(N, I) of ``SEEN``"""
    out: Rows
    """(N,) of ``OUT``"""
    working: Rows
    """(N, S) of ``WORKING``"""
    message_ts: NDArray[np.int64]
    """(N, G) int64 ns: when orders, changes and cancels were sent"""
    prints: Rows
    """(N, F) of ``PRINT``: what new orders were like, and when they were sent"""
    asked: Rows
    """(N, K) of ``ASKED``"""
    limits: Rows
    """(M x P, I) of ``LIMITS``: an account with terms p has the row m x P + p, where the caller names m"""
    portfolio: Rows
    """(P,) of ``PORTFOLIO``: account n has the row that its ``STANDING.terms`` names"""
    found: NDArray[np.int64]
    """(N, K, 4, C) what each check of each order asked about found (``checks.judge``); (N, 1, 4, C) where nobody will read it"""
    found_real: NDArray[np.float64]
    """(N, K, 2, C) value and limit of the checks that find fractions"""


def _money(micros: float) -> int:
    """A limit on money; one beyond 2^62 is held just below it, where nothing that can be reckoned reaches."""
    return min(int(micros), 2**62 - 1)


def limit_rows(settings: RiskSettings, instruments: Sequence[Instrument], capital_micros: int) -> Rows:
    """``LIMITS`` of ``instruments``, shape (I,). Raises ``RiskInputError`` where the margin of a future is not known."""
    check_margins(settings, instruments)
    rows = np.zeros(len(instruments), LIMITS)
    for row, instrument in zip(rows, instruments, strict=True):
        limits = settings.instruments.get(instrument.id, settings.limits)
        row["tick_value"] = instrument.tick_value_micros
        row["margin"] = -1 if instrument.pays_whole_price else instrument.initial_margin_micros
        row["negative_prices"] = instrument.negative_prices
        row["authorised"] = not settings.authorised or instrument.id in settings.authorised
        row["restricted"] = instrument.id in settings.restricted
        row["max_order_lots"] = limits.max_order_lots
        row["order_notional"] = _money(limits.max_order_notional * capital_micros)
        row["max_long_lots"], row["max_short_lots"] = limits.max_long_lots, limits.max_short_lots
        row["concentration"] = _money(limits.max_concentration * capital_micros)
        row["collar_min_ticks"] = limits.collar_min_ticks
        row["collar_fraction"], row["away_fraction"] = limits.collar_fraction, limits.away_fraction
    return rows


def portfolio_row(settings: RiskSettings, capital_micros: int) -> Rows:
    """``PORTFOLIO`` of one kind of account, shape (1,)."""
    portfolio, flow, ladder = settings.portfolio, settings.flow, BreakerLadder(settings.breakers)
    row = np.zeros(1, PORTFOLIO)
    row["shrink"] = settings.shrink
    row["overall_lots"] = portfolio.max_overall_lots
    row["gross"] = _money(portfolio.max_gross_exposure * capital_micros)
    row["net"] = _money(portfolio.max_net_exposure * capital_micros)
    row["max_orders"], row["max_messages"] = flow.max_orders, flow.max_messages
    row["max_repeats"] = flow.max_repeats
    row["window_ns"], row["duplicate_window_ns"] = flow.window_ns, flow.duplicate_window_ns
    row["margin_share"] = portfolio.max_margin_share
    row["var"] = portfolio.max_var * capital_micros
    row["stressed_var"] = portfolio.max_stressed_var * capital_micros
    row["drawdown"] = ladder.limits(Trigger.DRAWDOWN)[2]
    row["daily_loss"] = ladder.limits(Trigger.DAILY_LOSS)[2]
    row["caution_scale"] = settings.breakers.caution_scale
    return row


def account_rows(
    limits: Rows,
    portfolio: Rows,
    checks: int,
    *,
    accounts: int = 1,
    orders: int = 64,
    asked: int = 16,
    explain: bool = True,
    shares: bool = False,
) -> AccountRows:
    """Fresh rows of ``accounts`` accounts with room for ``orders`` open orders each and ``asked`` orders at a time.

    ``limits`` (M x P, I); ``checks`` is how many there are; ``explain``: somebody will read what each check found. With
    ``shares`` all accounts share the rows of what is asked and found: who asks for one has done with them before it asks for the next.
    No account stands above another until ``tree.plant`` says so, and all have the first row of ``portfolio``.
    """
    instruments = limits.shape[1]
    seen = np.zeros((accounts, instruments), SEEN)
    for name in ("mark", "bid", "ask"):
        seen[name] = UNDEFINED_PRICE
    seen["rate"] = 1_000_000
    for name in ("own", "single", "stressed", "slope"):
        seen[name] = np.nan
    out = np.zeros(accounts, OUT)
    out["heard"] = -1
    standing = np.zeros(accounts, STANDING)
    standing["above"], standing["first"] = -1, np.arange(accounts)
    standing["last"] = standing["first"] + 1
    rows, kept = 1 if shares else accounts, asked if explain else 1
    return AccountRows(
        standing=standing,
        moment=np.zeros(accounts, MOMENT),
        seen=seen,
        out=out,
        working=np.zeros((accounts, orders), WORKING),
        message_ts=np.zeros((accounts, 4 * orders), np.int64),
        prints=np.zeros((accounts, 2 * orders), PRINT),
        asked=for_all(np.zeros((rows, asked), ASKED), accounts),
        limits=limits,
        portfolio=portfolio,
        found=for_all(np.zeros((rows, kept, 4, checks), np.int64), accounts),
        found_real=for_all(np.zeros((rows, kept, 2, checks)), accounts),
    )


def for_all(array: NDArray[Any], accounts: int) -> NDArray[Any]:
    """``array`` with a row for each account: its own, or its only one for all of them."""
    if len(array) == accounts:
        return array
    return as_strided(array, (accounts, *array.shape[1:]), (0, *array.strides[1:]))


_DTYPES = (
    STANDING, MOMENT, SEEN, OUT, WORKING, np.dtype(np.int64), PRINT, ASKED, LIMITS, PORTFOLIO,
    np.dtype(np.int64), np.dtype(np.float64),
)  # fmt: skip
"""Of the fields of ``AccountRows``, in their order."""
_NDIMS = (1, 1, 2, 1, 2, 2, 2, 2, 2, 1, 4, 4)
"""How many dimensions each has."""


def in_one_piece(rows: AccountRows) -> tuple[NDArray[np.int64], AccountRows]:
    """``rows`` laid end to end in one array, and the same rows as views into it.

    Whoever holds the one array then holds them all, and a handle of theirs is enough to find them.
    """
    own = [array[:1] if array.ndim > 1 and array.strides[0] == 0 else array for array in rows]
    ends = np.cumsum([0, *(array.nbytes // 8 for array in own)]).tolist()
    memory = np.zeros(ends[-1], np.int64)
    views = []
    for array, whole, dtype, first, last in zip(own, rows, _DTYPES, ends[:-1], ends[1:], strict=True):
        view = memory[first:last].view(dtype).reshape(array.shape)
        view[...] = array
        views.append(for_all(view, len(whole)))
    return memory, AccountRows._make(views)


def views_of(handle: NDArray[np.int64], memory: NDArray[np.int64]) -> AccountRows:
    """The rows whose ``table_of`` ``handle`` is, where ``memory`` (``in_one_piece``) holds all of them."""
    words = iter(handle.tolist())
    start = memory.ctypes.data
    views = []
    for dtype, ndim in zip(_DTYPES, _NDIMS, strict=True):
        first, step = (next(words) - start) // 8, next(words)
        accounts, *rest = (next(words) for _ in range(ndim))
        shape = (accounts if step else 1, *rest)
        count = math.prod(shape) * dtype.itemsize // 8
        views.append(for_all(memory[first : first + count].view(dtype).reshape(shape), accounts))
    return AccountRows._make(views)


rows_of = table_reader("AccountRows", zip(AccountRows._fields, _DTYPES, _NDIMS, strict=True))
"""In compiled code: the rows behind a handle, which is their ``table_of``. Whoever holds a handle must hold the rows too."""


@kernel(borrows=True)
def has_room_at(handle: NDArray[np.int64], asked: int) -> bool:
    """True where every account behind ``handle`` has room for ``asked`` more orders, and the messages and cancels that may go with them."""
    rows = rows_of(handle)
    most = messages = sent = 0
    for n in range(rows.out.shape[0]):
        out = rows.out[n]
        most = max(most, out.count)
        messages = max(messages, out.messages_tail - out.messages_head)
        sent = max(sent, out.prints_tail - min(out.orders_head, out.prints_head))
    longest = most + asked
    return bool(
        longest <= rows.working.shape[1]
        and messages + longest + asked <= rows.message_ts.shape[1]
        and sent + asked <= rows.prints.shape[1]
        and 2 * most + asked <= rows.asked.shape[1]
    )


class AccountState:
    """Owner of the rows of an account, or of several that stand below one another: ``rows``, and ``handle`` for kernels, are renewed where an array had to grow."""

    __slots__ = ("asked", "handle", "rows")

    def __init__(self, rows: AccountRows) -> None:
        self.handle = table_of(rows)
        self._take(rows)

    def _take(self, rows: AccountRows) -> None:
        self.rows = rows
        self.handle[:] = table_of(rows)  # In place: others know where it stands.
        self.asked: list[NDArray[np.int64]] = [one.view(np.int64).reshape(len(one), -1) for one in rows.asked]
        """By account, (K, fields) what it asks, as plain integers."""

    def make_room(self, asked: int) -> None:
        """Room for ``asked`` more orders of any account, and the messages and cancels that may go with them."""
        while not has_room_at(self.handle, asked):
            rows = self.rows
            plan = 2 * rows.asked.shape[1]
            self._take(
                rows._replace(
                    working=_longer(rows.working),
                    message_ts=_longer(rows.message_ts),
                    prints=_longer(rows.prints),
                    asked=_longer(rows.asked),
                    found=np.zeros((len(rows.found), plan, *rows.found.shape[2:]), np.int64),
                    found_real=np.zeros((len(rows.found), plan, *rows.found_real.shape[2:])),
                )
            )


def _longer(array: NDArray[Any]) -> NDArray[Any]:
    """``array`` (N, L) with twice the room."""
    longer = np.zeros((array.shape[0], 2 * array.shape[1]), array.dtype)
    longer[:, : array.shape[1]] = array
    return longer
