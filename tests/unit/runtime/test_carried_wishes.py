# ruff: noqa: ARG005  a script is given the number of the call, the bars and the account, and mostly needs one of them
"""Wishes made while the market is closed: refused, or carried to the next session's open where the agent or the bars say so."""

import msgspec
import pytest

from engine_runs import Restless, Scripted, build_engine, encoded, fills_of, open_risk, records_of, run
from grandmodel.domain.decisions import CancelIntent, PlaceOrder, TargetPosition
from grandmodel.domain.events import Command, CommandKind
from grandmodel.domain.orders import ExecType, OrderType, Side, TimeInForce
from grandmodel.risk.settings import Thresholds
from grandmodel.runtime.engine import bars_are_sessions
from grandmodel.runtime.settings import Mode
from strategies import CL, MINUTE, NQ, START, bar_row, quote_row, schedule_of, stack, trade_row

DAYS = schedule_of((0, 60, 0), (1_440, 1_500, 1), (2_880, 2_940, 2), (4_320, 4_380, 3))
"""Four sessions of an hour, a day apart."""
HOUR = 60 * MINUTE


class Carrying(Scripted):
    """A scripted agent that says that its wishes carry over."""

    carries_over = True


def carrying(script):
    """``script`` as a class, for ``build_engine``."""
    return type(
        "Made", (Carrying,), {"__init__": lambda self, known, draw: Carrying.__init__(self, known, draw, script)}
    )


def target(lots, **more):
    return TargetPosition(instrument=NQ.id, lots=lots, **more)


def at_call(wishes):
    return lambda number, bars, account: wishes.get(number, ())


def daily(*opens_and_closes):
    """One bar a session: its open and its close; the range holds both."""
    return [
        bar_row(1_440 * k, open_, max(open_, close) + 1, min(open_, close) - 1, close, width=60, sequence=k)
        for k, (open_, close) in enumerate(opens_and_closes)
    ]


def half_hours(*prices):
    """Two flat bars a session."""
    return [
        bar_row(1_440 * (k // 2) + 30 * (k % 2), price, price, price, price, width=30, sequence=k)
        for k, price in enumerate(prices)
    ]


DAILY = {"schedules": [DAYS], "widths_ns": (HOUR,), "risk": open_risk(HOUR)}
HALVES = {"schedules": [DAYS], "widths_ns": (30 * MINUTE,), "risk": open_risk(30 * MINUTE)}


def orders_of(records):
    return [order for record in records for order in record.orders]


def refusals(records):
    return [intent.refused for record in records for intent in record.intents if intent.refused]


def test_a_daily_wish_fills_at_the_open_of_the_next_session():
    rows = daily((1_000, 1_001), (1_002, 1_003), (1_010, 1_020), (1_030, 1_040))
    records, _ = run(rows, at_call({2: [target(2)], 3: [target(-1)]}), **DAILY)
    (first, *rest) = orders_of(records)
    assert first.ts == START + 1_500 * MINUTE  # The close of the second session, where it was checked.
    assert first.effective_ts == START + 2_880 * MINUTE
    assert [order.effective_ts for order in rest] == [START + 4_320 * MINUTE] * 2
    assert fills_of(records) == [(1, 2, 1_010, "entry"), (-1, 2, 1_030, "exit"), (-1, 1, 1_030, "entry")]
    assert refusals(records) == []


def test_a_wish_at_the_last_close_of_a_session_of_shorter_bars_is_out_of_session():
    records, _ = run(half_hours(*[1_000] * 8), at_call({4: [target(1)]}), **HALVES)
    assert refusals(records) == ["out_of_session"]
    assert orders_of(records) == []


def test_an_agent_that_says_so_carries_its_wish_over_the_night():
    prices = [1_000, 1_000, 1_000, 1_000, 1_007, 1_008, 1_009, 1_009]
    records, _ = run(half_hours(*prices), carrying(at_call({4: [target(1)]})), **HALVES)
    assert fills_of(records) == [(1, 1, 1_007, "entry")]
    (order,) = orders_of(records)
    assert (order.ts, order.effective_ts) == (START + 1_500 * MINUTE, START + 2_880 * MINUTE)


def test_within_a_session_nothing_is_held_back():
    records, _ = run(half_hours(*[1_000] * 8), carrying(at_call({3: [target(1)]})), **HALVES)
    (order,) = orders_of(records)
    assert order.effective_ts == 0
    assert fills_of(records) == [(1, 1, 1_000, "entry")]


def test_a_carried_entry_takes_its_stop_and_target_along():
    rows = daily((1_000, 1_000), (1_000, 1_000), (1_000, 990), (980, 980))
    records, _ = run(rows, at_call({2: [target(1, stop_ticks=5, target_ticks=50)]}), **DAILY)
    assert fills_of(records) == [(1, 1, 1_000, "entry"), (-1, 1, 995, "stop")]
    assert refusals(records) == []


def test_a_carried_day_order_lasts_for_the_session_it_was_carried_to():
    wish = PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=1, order_type=OrderType.LIMIT, price=900)
    rows = daily((1_000, 1_000), (1_000, 1_000), (1_000, 1_000), (800, 800))
    records, _ = run(rows, at_call({2: [wish]}), **DAILY)
    ends = [(r.ts_event, r.exec_type) for record in records for r in record.reports if r.exec_type is ExecType.EXPIRED]
    assert ends == [(START + 2_940 * MINUTE, ExecType.EXPIRED)]
    kept = msgspec.structs.replace(wish, time_in_force=TimeInForce.GTC)
    records, _ = run(rows, at_call({2: [kept]}), **DAILY)
    assert fills_of(records) == [(1, 1, 800, "entry")]


def test_a_wish_can_be_taken_back_before_the_open():
    rows = half_hours(*[1_000] * 8)
    wishes = {2: [target(1), CancelIntent(instrument=NQ.id)]}
    records, engine = run(rows, carrying(at_call(wishes)), **HALVES)
    assert fills_of(records) == []
    assert not engine.lives.open


def test_risk_checks_a_carried_wish_when_it_is_made_and_counts_it_as_working():
    limits = msgspec.structs.replace(open_risk(HOUR).limits, max_long_lots=3)
    risk = msgspec.structs.replace(open_risk(HOUR), limits=limits)
    buy = PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=2)
    rows = daily(*[(1_000, 1_000)] * 4)
    records, _ = run(rows, at_call({2: [buy, buy]}), **(DAILY | {"risk": risk}))
    assert [order.quantity for order in orders_of(records)] == [2, 1]
    assert fills_of(records)[-1][1] == 1


def test_without_a_known_next_session_a_daily_wish_is_refused():
    records, _ = run(daily(*[(1_000, 1_000)] * 4), at_call({4: [target(1)]}), **DAILY)
    assert refusals(records) == ["out_of_session"]


def test_a_halted_market_and_a_live_account_carry_nothing():
    engine = build_engine([at_call({2: [target(1)]})], **(DAILY | {"mode": Mode.LIVE}))
    assert refusals(records_of(engine, daily(*[(1_000, 1_000)] * 4))) == ["out_of_session"]
    engine = build_engine([at_call({2: [target(1)]})], **DAILY)
    rows = daily(*[(1_000, 1_000)] * 4)
    first = records_of(engine, rows[:1])
    engine.market.instruments[0]["halted"] = 1
    assert first
    assert refusals(records_of(engine, rows[1:2])) == ["trading_halted"]


def flatten_after(rows, agent, settings):
    """What a person's command to flatten led to, after ``rows``, and the records of all."""
    engine = build_engine([agent], **settings)
    records = [record for row in rows for record in engine.on_block(stack([row]))]
    command = Command(ts=engine.now, kind=CommandKind.FLATTEN, who="ann/risk_officer", why="test")
    return engine, records, list(engine.on_command(command))


def test_on_daily_bars_a_person_s_command_to_flatten_goes_to_the_next_open():
    rows = daily((1_000, 1_000), (1_000, 1_000), (1_000, 1_000), (990, 991))
    engine, records, told = flatten_after(rows[:3], at_call({2: [target(1)]}), DAILY)
    assert fills_of(records + told) == [(1, 1, 1_000, "entry")]
    assert [order.effective_ts for record in told for order in record.orders] == [START + 4_320 * MINUTE]
    after = records_of(engine, rows[3:])
    assert fills_of(after) == [(-1, 1, 990, "exit")]


def test_a_halt_on_daily_bars_flattens_at_the_next_open_and_not_later():
    """The ladder acts at closes only, when the market is shut; what it sends must not be taken back for its age."""
    risk = open_risk(HOUR, drawdown=Thresholds(caution=0.001, reduce=0.002, halt=0.003))
    rows = daily((1_000, 1_000), (1_000, 1_000), (1_000, 300), (290, 295))
    records, engine = run(rows, at_call({2: [target(2)]}), **(DAILY | {"risk": risk}))
    assert fills_of(records) == [(1, 2, 1_000, "entry"), (-1, 2, 290, "exit")]
    assert engine.books.lots(NQ.id) == 0


def test_a_person_s_command_on_shorter_bars_is_not_carried():
    rows = half_hours(*[1_000] * 8)
    _, records, told = flatten_after(rows[:4], carrying(at_call({2: [target(1)]})), HALVES)
    assert fills_of(records) == [(1, 1, 1_000, "entry")]
    refused = [
        intent.refused for record in told for intent in record.intents if isinstance(intent.intent, TargetPosition)
    ]
    assert refused == ["out_of_session"]


def test_a_carried_order_meets_the_first_price_of_the_session_and_not_the_last_of_the_one_before():
    """On quotes and trades: what was shown at the close is nobody's at the open."""
    second = 10**9
    day = 1_440 * MINUTE
    rows = [quote_row(k * second, 1_000, 1_001, sequence=k) for k in range(3)]
    rows += [trade_row(30 * MINUTE + k * second, 1_000, sequence=10 + k) for k in range(3)]
    rows += [quote_row(59 * MINUTE, 1_000, 1_001, sequence=20)]
    rows += [trade_row(day + second, 1_050, sequence=30), quote_row(day + 2 * second, 1_060, 1_061, sequence=31)]
    rows += [quote_row(day + 40 * MINUTE, 1_060, 1_061, sequence=32)]
    settings = {"schedules": [DAYS], "widths_ns": (30 * MINUTE,), "risk": open_risk(30 * MINUTE)}
    records, _ = run(rows, carrying(at_call({2: [target(1)]})), mark_on_quotes=True, **settings)
    assert fills_of(records) == [(1, 1, 1_061, "entry")]


@pytest.mark.parametrize("cuts", [(1,), (3, 4), (2, 5, 6)])
def test_carried_wishes_are_the_same_however_the_stream_is_cut(cuts):
    rows = [
        bar_row(1_440 * d + 5 * k, 1_000 + 3 * d - k % 3, 1_010, 990, 1_000 + k % 5, sequence=20 * d + k)
        for d in range(4)
        for k in range(12)
    ]
    wild = type("Wild", (Restless,), {"carries_over": True})
    settings = {"schedules": [DAYS], "seed": 5}
    whole, _ = run(rows, wild, **settings)
    cut, _ = run(rows, wild, cuts=[12 * place // 2 for place in cuts], **settings)
    assert encoded(whole) == encoded(cut)
    assert any(order.effective_ts for record in whole for order in record.orders)


def test_bars_as_long_as_the_usual_session_are_sessions():
    short = schedule_of((0, 60, 0), (1_440, 1_500, 1), (2_880, 2_910, 2))
    assert bars_are_sessions(HOUR, [short])
    assert not bars_are_sessions(30 * MINUTE, [short])
    assert not bars_are_sessions(HOUR, [short, schedule_of((0, 240, 0))])
    assert not bars_are_sessions(HOUR, [schedule_of()])


def test_two_instruments_are_carried_each_to_its_own_open():
    later = schedule_of((0, 60, 0), (1_440, 1_500, 1), (2_900, 2_960, 2))
    rows = sorted(
        [
            *daily(*[(1_000, 1_000)] * 3),
            *[bar_row(1_440 * k, 50, 50, 50, 50, width=60, instrument=1, sequence=10 + k) for k in range(2)],
        ],
        key=lambda row: int(row["ts_init"]),
    )
    wishes = {2: [target(1), TargetPosition(instrument=CL.id, lots=1)]}
    settings = {"instruments": (NQ, CL), "schedules": [DAYS, later], "widths_ns": (HOUR,), "risk": open_risk(HOUR)}
    records, _ = run(rows, at_call(wishes), **settings)
    assert [order.effective_ts - START for order in orders_of(records)] == [2_880 * MINUTE, 2_900 * MINUTE]
