"""What risk takes from the venue's reports: what is still open, how often we fill, and how round trips end.

The reports of a step are taken one by one (``runtime.report_intake``), up to the first of which risk has something to tell (an order that it
does not know, too many executions on one side, a losing streak, a reject), so that what ``RiskGate`` does about it comes before the next.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.orders import ExecType
from grandmodel.domain.report_rows import EXEC_CODES
from grandmodel.kernels import kernel, table_of, table_reader
from grandmodel.risk.breakers import BreakerState
from grandmodel.risk.flow import forget_flow
from grandmodel.risk.rows import PRINT, AccountRows, AccountState
from grandmodel.risk.settings import FlowLimits
from grandmodel.risk.working import apply_report, place_of

Rows = NDArray[Any]
"""Structured rows; numpy has no type for their fields."""
Row = Any
"""One row of a structured array inside compiled code."""

_I8 = "<i8"

TRADE = np.dtype(
    [
        ("lots", _I8),
        ("cash_ticks", _I8),  # paid for the lots and got for them, in ticks
        ("fees", _I8),  # micros
    ]
)
"""One row an account and instrument: running result of its position since it was last flat."""

TRADES = np.dtype(
    [
        ("streak", _I8),  # losing round trips in a row
        ("repeat_window_ns", _I8),
        ("max_repeats", _I8),
        ("lost_at", "<f8"),  # the streak from which the ladder asks for something
        ("told", _I8),  # what there is to tell of the report that was taken last
    ]
)
"""One row an account: what is counted over all instruments, and what it is held against."""

EXECUTIONS = np.dtype([("head", _I8), ("tail", _I8), ("throttled", _I8)])
"""One row an account and side of an instrument (2 i buys, 2 i + 1 sells): [head, tail) of its times within the window; 1 while it is stopped."""

UNKNOWN_ORDER, FREED, OFTEN, LOST, REJECTED = 1, 2, 4, 8, 16
"""What risk has to tell of a report, added up."""

_FILL, _REJECT, _REFUSED_CANCEL = (
    EXEC_CODES[kind] for kind in (ExecType.TRADE, ExecType.REJECTED, ExecType.CANCEL_REJECTED)
)
_HALT = int(BreakerState.HALT)


@kernel
def count_execution(executions: Rows, times: NDArray[np.int64], side: int, ts: int, totals: Row) -> bool:
    """An execution of ``side`` that opened or added; True where that has just made too many. There must be room for its time."""
    row = executions[side]
    times[side, row.tail] = ts
    row.tail += 1
    while row.head < row.tail and times[side, row.head] <= ts - totals.repeat_window_ns:
        row.head += 1
    if row.tail - row.head <= totals.max_repeats or row.throttled != 0:
        return False
    row.throttled = 1
    return True


@kernel
def _count_trade(trade: Row, totals: Row, signed: int, price: int, fee: int, tick_value: int) -> bool:
    """The fill's part in its round trip; True where that ended in a loss."""
    before = trade.lots
    trade.lots += signed
    trade.cash_ticks -= signed * price
    trade.fees += fee
    if before == 0 or (trade.lots != 0 and (trade.lots > 0) == (before > 0)):
        return False
    # Flat, or through zero: what is left is marked at the fill and starts the next trade.
    result = (trade.cash_ticks + trade.lots * price) * tick_value - trade.fees
    trade.cash_ticks, trade.fees = -trade.lots * price, 0
    totals.streak = totals.streak + 1 if result < 0 else 0
    return bool(result < 0)


@kernel
def take_report(
    rows: AccountRows, n: int, m: int, report: Row, heard: Row, trades: Rows, totals: Rows, executions: Rows, times: NDArray[np.int64]
) -> int:  # fmt: skip
    """Take one report on an order of account ``n`` that was folded in; what there is to tell of it, of ``n`` and of all accounts above.

    What it makes of round trips, executions and rejects counts for every account above as well; ``totals.told`` is each one's own.
    """
    place = place_of(rows.working, n, rows.out[n].count, report.order_id)
    heard.sequence = -1 if place < 0 else rows.working[n, place].sequence
    _, has_ended = apply_report(
        rows,
        n,
        report.order_id,
        report.exec_type,
        report.last_quantity,
        report.last_price,
        report.leaves,
        report.ts_event,
    )
    own = all_told = 0
    if place < 0 and report.exec_type != _REFUSED_CANCEL:
        own |= UNKNOWN_ORDER
    tick_value = rows.limits[m * rows.portfolio.shape[0], heard.instrument].tick_value
    account = n
    while account >= 0:
        standing, told = rows.standing[account], 0
        if has_ended and (standing.state == _HALT or standing.flattening != 0):
            own |= FREED
        if report.exec_type == _FILL:
            told = _count_fill(
                trades[account], totals[account], executions[account], times[account], report, heard, tick_value
            )
        elif report.exec_type == _REJECT:
            told = REJECTED
        totals[account].told = told
        all_told |= told
        account = standing.above
    totals[n].told |= own
    return int(all_told | own)


@kernel
def _count_fill(
    trades: Rows, total: Row, executions: Rows, times: NDArray[np.int64], report: Row, heard: Row, tick_value: int
) -> int:
    """A fill among the executions and round trips of one account; what there is to tell."""
    i, signed, told = heard.instrument, report.last_quantity * heard.side, 0
    if trades[i].lots * signed >= 0 and count_execution(executions, times, 2 * i + (heard.side < 0), report.due, total):
        told |= OFTEN
    if _count_trade(trades[i], total, signed, report.last_price, heard.fee, tick_value):
        told |= LOST if total.streak >= total.lost_at else 0
    return told


results_of = table_reader(
    "Results", (("trades", TRADE, 2), ("totals", TRADES, 1), ("executions", EXECUTIONS, 2), ("times", np.int64, 3))
)
"""In compiled code: what is behind ``Results.handle``."""


@kernel
def has_room(executions: Rows, times: NDArray[np.int64], reports: int) -> bool:
    """True where every side of every account has room for ``reports`` more executions."""
    longest = 0
    for n in range(executions.shape[0]):
        for side in range(executions.shape[1]):
            longest = max(longest, executions[n, side].tail)
    return bool(longest + reports <= times.shape[2])


class Results:
    """Round trips and executions of ``accounts`` accounts over ``instruments`` instruments; see ``take_report``."""

    def __init__(self, accounts: int, instruments: int) -> None:
        self.trades: Rows = np.zeros((accounts, instruments), TRADE)
        self.totals: Rows = np.zeros(accounts, TRADES)
        self._executions: Rows = np.zeros((accounts, 2 * instruments), EXECUTIONS)
        self._times = np.zeros((accounts, 2 * instruments, 64), np.int64)
        self.handle = table_of((self.trades, self.totals, self._executions, self._times))
        """For kernels (``results_of``)."""

    def limit(self, n: int, repeat_window_ns: int, max_repeats: int, lost_at: float) -> None:
        """What the executions and the losing streak of account ``n`` are held against."""
        row = self.totals[n]
        row["repeat_window_ns"], row["max_repeats"], row["lost_at"] = repeat_window_ns, max_repeats, lost_at

    def make_room(self, reports: int) -> None:
        """Room for ``reports`` more executions on any side."""
        if int(self._executions["tail"].max()) + reports > self._times.shape[2]:
            for n in range(len(self.totals)):
                self._put(n, self.times(n), reports)

    def told(self, n: int) -> int:
        """What there is to tell of the report that was taken last, of account ``n``."""
        return int(self.totals[n]["told"])

    def streak(self, n: int) -> int:
        """Losing round trips of account ``n`` in a row."""
        return int(self.totals[n]["streak"])

    def forget_streak(self, n: int) -> None:
        """Count the losing round trips of account ``n`` anew."""
        self.totals[n]["streak"] = 0

    def split(self, n: int, index: int, lots: int, paid_ticks: int) -> None:
        """An instrument was split: account ``n`` holds ``lots`` now, and ``paid_ticks`` came for the part of a lot."""
        self.trades[n, index]["lots"] = lots
        self.trades[n, index]["cash_ticks"] += paid_ticks

    def times(self, n: int) -> list[list[int]]:
        """By side, when the executions of account ``n`` within the window were; int64 ns."""
        return [
            row[int(one["head"]) : int(one["tail"])].tolist()
            for row, one in zip(self._times[n], self._executions[n], strict=True)
        ]

    def _put(self, n: int, times: list[list[int]], reports: int) -> None:
        """Keep ``times`` for account ``n``, with room for ``reports`` more and as much again."""
        longest = max((len(one) for one in times), default=0)
        length = self._times.shape[2]
        while length < 2 * (longest + reports):
            length *= 2
        if length > self._times.shape[2]:
            longer = np.zeros((*self._times.shape[:2], length), np.int64)
            longer[..., : self._times.shape[2]] = self._times
            self._times = longer
            self.handle[:] = table_of((self.trades, self.totals, self._executions, self._times))
        for row, one, kept in zip(self._times[n], self._executions[n], times, strict=True):
            row[: len(kept)] = kept
            one["head"], one["tail"] = 0, len(kept)

    def executions(self, n: int, index: int, side: int) -> int:
        """How many one side of account ``n`` has had within the window."""
        row = self._executions[n, 2 * index + (side < 0)]
        return int(row["tail"] - row["head"])

    def stop(self, n: int, index: int, side: int) -> None:
        """One side is stopped for its executions."""
        self._executions[n, 2 * index + (side < 0)]["throttled"] = 1

    def open(self, n: int, index: int, side: int) -> None:
        """One side is open again, and its executions are forgotten."""
        row = self._executions[n, 2 * index + (side < 0)]
        row["throttled"], row["head"] = 0, row["tail"]

    def save(self, n: int) -> tuple[bytes, int, list[list[int]]]:
        """The state of account ``n``: trades, streak and times."""
        return self.trades[n].tobytes(), self.streak(n), self.times(n)

    def restore(self, n: int, saved: tuple[bytes, int, list[list[int]]]) -> None:
        """Continue from what ``save`` of another with as many instruments gave; which sides are stopped is for ``stop``."""
        trades, streak, times = saved
        self.trades[n] = np.frombuffer(trades, TRADE)
        self.totals[n]["streak"] = streak
        self._executions[n]["throttled"] = 0
        self._put(n, times, 0)


class OrderFlow:
    """What one account sent, for snapshots, and the sides that their executions stopped; ``results`` counts those."""

    __slots__ = ("_account", "_n", "_results", "limits", "throttled")

    def __init__(self, limits: FlowLimits, account: AccountState, results: Results, n: int) -> None:
        self.limits = limits
        self.throttled: dict[tuple[int, int], int] = {}
        """(instrument index, side) stopped for repeated executions, and since when."""
        self._account, self._results, self._n = account, results, n

    def throttle(self, index: int, side: int, ts: int) -> None:
        """Executions of one side have just become too many: it is stopped."""
        self.throttled[index, side] = ts
        self._mark_sides()

    def open_by_rule(self, ts: int) -> list[tuple[int, int]]:
        """Re-enable what has been stopped for ``throttle_release_ns``; (instrument index, side) of each. Never, where that is None."""
        wait = self.limits.throttle_release_ns
        if wait is None:
            return []
        opened = [key for key, since in self.throttled.items() if ts - since >= wait]
        for key in opened:
            del self.throttled[key]
            self._results.open(self._n, *key)
        if opened:
            self._mark_sides()
        return opened

    def reset_throttle(self) -> None:
        """Forget the executions and re-enable what was stopped."""
        self.throttled.clear()
        for index in range(self._account.rows.seen.shape[1]):
            for side in (1, -1):
                self._results.open(self._n, index, side)
        self._mark_sides()

    def _mark_sides(self) -> None:
        seen = self._account.rows.seen[self._n]
        seen["throttled_buys"] = seen["throttled_sells"] = 0
        for index, side in self.throttled:
            seen["throttled_buys" if side > 0 else "throttled_sells"][index] = 1

    def save(self) -> bytes:
        """The state as bytes."""
        rows, n = self._account.rows, self._n
        out = rows.out[n]
        first = min(out["orders_head"], out["prints_head"])
        return msgspec.msgpack.encode(
            (
                rows.message_ts[n, out["messages_head"] : out["messages_tail"]].tobytes(),
                rows.prints[n, first : out["prints_tail"]].tobytes(),
                sorted(self.throttled.items()),
            )
        )

    def restore(self, data: bytes) -> None:
        """Continue from ``data``, made by ``save``; what ``results`` remembers must have been put back."""
        messages, prints, throttled = msgspec.msgpack.decode(
            data, type=tuple[bytes, bytes, list[tuple[tuple[int, int], int]]]
        )
        times, sent = np.frombuffer(messages, np.int64), np.frombuffer(prints, PRINT)
        n = self._n
        forget_flow(self._account.rows.out[n : n + 1])
        self._account.make_room(max(len(times), len(sent)))
        rows = self._account.rows
        rows.message_ts[n, : len(times)], rows.prints[n, : len(sent)] = times, sent
        rows.out["messages_tail"][n], rows.out["prints_tail"][n] = len(times), len(sent)
        self.throttled = dict(throttled)
        for key in self.throttled:
            self._results.stop(self._n, *key)
        self._mark_sides()
