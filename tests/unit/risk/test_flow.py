"""How fast orders leave and fill, kernel by kernel: windows, duplicates, room, and sides that are stopped and opened again."""

import random
from collections import deque

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grandmodel.domain.orders import Fill, OrderType, Side
from grandmodel.kernels import kernel
from grandmodel.risk.checks import COUNT
from grandmodel.risk.flow import (
    count_message,
    count_order,
    count_recent,
    forget_flow,
    messages_within,
    orders_within,
    since_equal,
)
from grandmodel.risk.rows import AccountRows, AccountState, account_rows, limit_rows, portfolio_row
from grandmodel.risk.settings import FlowLimits, RiskSettings
from grandmodel.risk.taking import OrderFlow, Results, count_execution, results_of
from risk import desk
from risk.plain_flow import OrderFlow as PlainFlow

WINDOW, DUPLICATE, HELD = 100, 30, 500
FIELDS = (
    "instrument", "side", "quantity", "order_type", "price", "stop_price", "trail_ticks", "display_quantity", "parent", "group",
    "reduce_only", "tag",
)  # fmt: skip


def limits(**changes: object) -> FlowLimits:
    fields = {"window_ns": WINDOW, "duplicate_window_ns": DUPLICATE, "repeat_window_ns": HELD, "max_repeats": 3}
    return FlowLimits(**(fields | changes))


def rows_of(flow: FlowLimits, *, orders: int = 8, accounts: int = 1) -> AccountRows:
    chosen = RiskSettings(flow=flow)
    return account_rows(
        limit_rows(chosen, desk.instruments(), desk.CAPITAL)[None],
        portfolio_row(chosen, desk.CAPITAL),
        COUNT,
        accounts=accounts,
        orders=orders,
    )


def put(rows: AccountRows, ts: int, n: int = 0, **terms: int) -> None:
    asked = rows.asked[n, 0]
    for name in FIELDS:
        asked[name] = terms.get(name, 0)
    asked["ts"] = ts


def test_what_was_sent_counts_until_the_window_has_passed_it() -> None:
    rows = rows_of(limits())
    for ts in (10, 10, 50):
        put(rows, ts, quantity=ts)
        count_order(rows, 0, 0, ts)
        count_message(rows, 0, ts)
    count_message(rows, 0, 60)
    for ts, orders, messages in (
        (60, 3, 4),
        (109, 3, 4),
        (110, 1, 2),
        (149, 1, 2),
        (150, 0, 1),
        (159, 0, 1),
        (160, 0, 0),
    ):
        assert (orders_within(rows, 0, ts), messages_within(rows, 0, ts)) == (orders, messages), ts
    forget_flow(rows.out)
    assert (orders_within(rows, 0, 0), messages_within(rows, 0, 0)) == (0, 0)


def test_forgetting_leaves_nothing_of_any_window() -> None:
    rows = rows_of(limits())
    put(rows, 5)
    count_order(rows, 0, 0, 0)
    count_message(rows, 0, 5)
    assert (since_equal(rows, 0, 0, 0, 6), orders_within(rows, 0, 200), messages_within(rows, 0, 200)) == (1, 0, 0)
    forget_flow(rows.out)
    assert since_equal(rows, 0, 0, 0, 6) == -1
    assert [
        int(rows.out[0][name])
        for name in ("messages_head", "messages_tail", "orders_head", "prints_head", "prints_tail")
    ] == [0] * 5


@pytest.mark.parametrize("name", FIELDS)
def test_one_difference_makes_another_order(name: str) -> None:
    rows = rows_of(limits())
    same = dict.fromkeys(FIELDS, 7)
    put(rows, 0, **same)
    count_order(rows, 0, 0, 7)
    put(rows, 12, **same)
    assert since_equal(rows, 0, 0, 0, 12) == 12
    put(rows, 12, **(same | {name: 8}))
    assert since_equal(rows, 0, 0, 0, 12) == -1


def test_a_duplicate_is_the_newest_equal_order_within_its_window_with_the_lots_that_were_sent() -> None:
    rows = rows_of(limits())
    for ts, lots in ((0, 5), (10, 5), (20, 4)):
        put(rows, ts, quantity=5)
        count_order(rows, 0, 0, lots)
    assert [since_equal(rows, 0, 0, 0, ts) for ts in (20, 39, 40)] == [10, 29, -1]
    put(rows, 30, quantity=4)
    assert [since_equal(rows, 0, 0, 0, ts) for ts in (20, 49, 50)] == [0, 29, -1]
    put(rows, 45, quantity=9)
    count_order(rows, 0, 0, 9)  # What is too old to be a duplicate is passed over from here on.
    assert (rows.out[0]["prints_head"], rows.out[0]["prints_tail"]) == (2, 4)
    no_window = rows_of(limits(duplicate_window_ns=0))
    put(no_window, 0)
    count_order(no_window, 0, 0, 0)
    assert since_equal(no_window, 0, 0, 0, 0) == -1


def test_rows_of_messages_are_used_again_and_too_many_in_a_window_are_refused() -> None:
    rows = rows_of(limits(), orders=2)  # room for 8 messages
    for ts in range(8):
        count_message(rows, 0, ts)
    with pytest.raises(RuntimeError, match="more messages in a window"):
        count_message(rows, 0, 8)
    count_message(rows, 0, WINDOW + 2)  # Times 0 to 2 have left the window.
    assert rows.message_ts[0, :6].tolist() == [3, 4, 5, 6, 7, WINDOW + 2]
    assert (rows.out[0]["messages_head"], rows.out[0]["messages_tail"]) == (0, 6)
    assert messages_within(rows, 0, WINDOW + 2) == 6
    assert messages_within(rows, 0, WINDOW + 5) == 3
    for ts in (WINDOW + 5, WINDOW + 5):
        count_message(rows, 0, ts)
    count_message(rows, 0, WINDOW + 6)
    assert messages_within(rows, 0, WINDOW + 6) == 5


@pytest.mark.parametrize(("duplicate", "kept"), [(30, 5), (WINDOW + 40, 7)])
def test_rows_of_orders_are_used_again_as_far_as_neither_window_needs_them(duplicate: int, kept: int) -> None:
    rows = rows_of(limits(duplicate_window_ns=duplicate), orders=4)  # room for 8 orders
    for ts in (0, 1, 2, 3, 40, 50, 60, 70):
        put(rows, ts, quantity=ts)
        count_order(rows, 0, 0, ts)
    put(rows, 71)
    with pytest.raises(RuntimeError, match="more orders in a window"):
        count_order(rows, 0, 0, 71)
    ts = WINDOW + 3 if kept == 5 else WINDOW + 41
    put(rows, ts, quantity=ts)
    count_order(rows, 0, 0, ts)
    sent = [40, 50, 60, 70, ts] if kept == 5 else [2, 3, 40, 50, 60, 70, ts]
    out = rows.out[0]
    assert rows.prints[0, : len(sent)]["ts"].tolist() == sent
    assert out["prints_tail"] == len(sent) == kept
    assert rows.prints[0, : len(sent)]["quantity"].tolist() == sent
    assert orders_within(rows, 0, ts) == sum(one > ts - WINDOW for one in sent)
    for quantity in sent:
        put(rows, ts, quantity=quantity)
        assert since_equal(rows, 0, 0, 0, ts) == (ts - quantity if ts - quantity < duplicate else -1)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32 - 1))
def test_windows_and_duplicates_are_those_of_the_plain_form(seed: int) -> None:
    """Orders of few sizes at times that stand still or go on, in rows with hardly more room than they need; the other account sleeps."""
    draw = random.Random(seed)
    chosen = limits(window_ns=draw.choice((20, 60)), duplicate_window_ns=draw.choice((0, 5, 20, 90)))
    rows, plain, ts, n = rows_of(chosen, orders=40, accounts=2), PlainFlow(chosen), 0, draw.randrange(2)
    for _ in range(draw.randint(1, 160)):
        ts += draw.choice((0, 0, 1, 2, 9, 30))
        lots, side, sent = draw.randint(1, 3), draw.choice((1, -1)), draw.randint(1, 3)
        order = desk.order(1, quantity=lots, side=Side(side), ts=ts)
        put(rows, ts, n, quantity=lots, side=side, order_type=int(OrderType.MARKET))
        since = plain.since_equal(order, ts)
        assert since_equal(rows, n, n, 0, ts) == (-1 if since is None else since)
        assert (orders_within(rows, n, ts), messages_within(rows, n, ts)) == (plain.orders(ts), plain.messages(ts))
        if draw.random() < 0.6:
            count_order(rows, n, 0, sent)
            plain.on_new_order(msgspec.structs.replace(order, quantity=sent))
        if draw.random() < 0.8:
            count_message(rows, n, ts)
            plain.on_message(ts)
    assert not any(int(rows.out[1 - n][name]) for name in ("messages_head", "messages_tail", "prints_tail"))


# -- executions --------------------------------------------------------------------------------------------------------


class Flow(OrderFlow):
    """The flow of an account whose executions are told one by one."""

    def __init__(self, chosen: FlowLimits, account: AccountState) -> None:
        self.results = Results(1, account.rows.seen.shape[1])
        self.results.limit(0, chosen.repeat_window_ns, chosen.max_repeats, 1.0)
        super().__init__(chosen, account, self.results, 0)

    def on_opening_fill(self, index: int, fill: Fill) -> int:
        """How many executions of its side there are in the window where that has just become too many; else 0."""
        self.results.make_room(1)
        if not _execute(self.results.handle, 2 * index + (fill.side < 0), fill.ts_init):
            return 0
        self.throttle(index, int(fill.side), fill.ts_init)
        return self.results.executions(0, index, int(fill.side))


@kernel
def _execute(handle: NDArray[np.int64], side: int, ts: int) -> bool:
    found = results_of(handle)
    return count_execution(found.executions[0], found.times[0], side, ts, found.totals[0])


def flow_of(**changes: object) -> tuple[Flow, AccountState]:
    chosen = limits(**changes)
    account = AccountState(rows_of(chosen))
    return Flow(chosen, account), account


def stopped(account: AccountState) -> list[tuple[int, int]]:
    seen = account.rows.seen[0]
    return list(zip(seen["throttled_buys"].tolist(), seen["throttled_sells"].tolist(), strict=True))


def test_times_at_or_before_the_oldest_are_dropped() -> None:
    times = deque([1, 2, 2, 5])
    assert (count_recent(times, 2), list(times)) == (1, [5])
    assert (count_recent(times, 5), list(times)) == (0, [])
    assert count_recent(times, 9) == 0


def test_one_execution_too_many_in_the_window_stops_its_side_until_it_is_reset() -> None:
    flow, account = flow_of()
    told = [flow.on_opening_fill(1, desk.fill(1, 1, 100, Side.SELL, ts=ts)) for ts in (0, 1, 2)]
    assert told == [0, 0, 0]
    assert flow.on_opening_fill(1, desk.fill(1, 1, 100, Side.BUY, ts=2)) == 0
    assert flow.on_opening_fill(0, desk.fill(1, 1, 100, Side.SELL, ts=2)) == 0
    assert stopped(account) == [(0, 0)] * 3
    assert flow.on_opening_fill(1, desk.fill(1, 1, 100, Side.SELL, ts=HELD - 1)) == 4
    assert (stopped(account), flow.throttled) == ([(0, 0), (0, 1), (0, 0)], {(1, -1): HELD - 1})
    assert flow.on_opening_fill(1, desk.fill(1, 1, 100, Side.SELL, ts=HELD - 1)) == 0  # It is stopped already.
    flow.reset_throttle()
    assert (stopped(account), flow.throttled) == ([(0, 0)] * 3, {})
    for ts in (HELD, HELD, HELD):
        assert flow.on_opening_fill(1, desk.fill(1, 1, 100, Side.SELL, ts=ts)) == 0


def test_executions_that_left_the_window_count_no_more() -> None:
    flow, account = flow_of()
    for ts in (0, 1, 2, HELD, HELD + 1):
        assert flow.on_opening_fill(2, desk.fill(1, 1, 100, Side.BUY, ts=ts)) == 0
    assert flow.on_opening_fill(2, desk.fill(1, 1, 100, Side.BUY, ts=HELD + 1)) == 4
    assert stopped(account) == [(0, 0), (0, 0), (1, 0)]


def test_a_side_opens_again_by_rule_after_its_time_or_never() -> None:
    for release in (None, 50):
        flow, account = flow_of(max_repeats=1, throttle_release_ns=release)
        for index, side, ts in ((0, Side.BUY, 0), (0, Side.BUY, 1), (2, Side.SELL, 10), (2, Side.SELL, 20)):
            flow.on_opening_fill(index, desk.fill(1, 1, 100, side, ts=ts))
        assert stopped(account) == [(1, 0), (0, 0), (0, 1)]
        assert flow.open_by_rule(50) == []
        assert flow.open_by_rule(51) == ([] if release is None else [(0, 1)])
        assert stopped(account) == [(int(release is None), 0), (0, 0), (0, 1)]
        assert flow.open_by_rule(1_000) == ([] if release is None else [(2, -1)])
        if release:
            assert flow.on_opening_fill(0, desk.fill(1, 1, 100, Side.BUY, ts=60)) == 0  # It begins anew.
            assert stopped(account) == [(0, 0)] * 3


def test_what_was_counted_goes_through_save() -> None:
    flow, account = flow_of(max_repeats=1, throttle_release_ns=50)
    for ts in (0, 150, 160):
        put(account.rows, ts, quantity=ts)
        count_order(account.rows, 0, 0, ts)
        count_message(account.rows, 0, ts)
    count_message(account.rows, 0, 170)
    assert (orders_within(account.rows, 0, 170), messages_within(account.rows, 0, 170)) == (2, 3)
    for ts in (160, 165):
        flow.on_opening_fill(1, desk.fill(1, 1, 100, Side.BUY, ts=ts))
    other, copy = flow_of(max_repeats=1, throttle_release_ns=50)
    other.on_opening_fill(0, desk.fill(1, 1, 100, Side.BUY, ts=160))
    for ts in (1, 2):
        count_message(copy.rows, 0, ts)
    other.results.restore(0, flow.results.save(0))
    other.restore(flow.save())
    assert (other.save(), other.results.save(0)) == (flow.save(), flow.results.save(0))
    assert stopped(copy) == [(0, 0), (1, 0), (0, 0)]
    put(copy.rows, 175, quantity=150)
    assert since_equal(copy.rows, 0, 0, 0, 175) == 25
    for rows in (account.rows, copy.rows):
        assert (orders_within(rows, 0, 170), messages_within(rows, 0, 170)) == (2, 3)
        assert (orders_within(rows, 0, 255), messages_within(rows, 0, 255)) == (1, 2)
    assert other.on_opening_fill(0, desk.fill(1, 1, 100, Side.BUY, ts=166)) == 0
    assert other.open_by_rule(215) == [(1, 1)]


@pytest.mark.parametrize(("orders", "messages"), [(300, 3), (3, 300)])
def test_more_than_the_rows_had_room_for_is_restored(orders: int, messages: int) -> None:
    flow, account = flow_of(window_ns=10**6)
    for ts in range(300):
        account.make_room(1)
        put(account.rows, ts, quantity=ts)
        if ts < orders:
            count_order(account.rows, 0, 0, ts)
        if ts < messages:
            count_message(account.rows, 0, ts)
    other, copy = flow_of(window_ns=10**6)
    other.restore(flow.save())
    assert (orders_within(copy.rows, 0, 300), messages_within(copy.rows, 0, 300)) == (orders, messages)
    assert other.save() == flow.save()
