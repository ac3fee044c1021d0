# ruff: noqa: ARG005  a script is given the number of the call, the bars and the account, and mostly needs one of them
"""The engine, case by case: what an agent sees, what becomes of its wishes, rolls, commands, lines and refusals."""

import msgspec
import numpy as np
import pytest

from engine_runs import FREE, Restless, build_engine, encoded, fills_of, note_of, open_risk, records_of, run
from grandmodel.domain.blocks import UNDEFINED_PRICE, BookSide, Flag
from grandmodel.domain.decisions import (
    Belief,
    CancelIntent,
    PlaceOrder,
    ReplaceIntent,
    StrategicDecision,
    TargetPosition,
    Urgency,
)
from grandmodel.domain.errors import InvariantError, UsageError
from grandmodel.domain.events import Advance, Cause, Command, CommandKind, Signal, SignalTrigger, VenueReport
from grandmodel.domain.ids import ExecId, InstrumentId, OrderId, RunId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.orders import ExecType, ExecutionReport, OrderType, PriceReference, Reason, Side, TimeInForce
from grandmodel.journal.format import decode_record, encode_record
from grandmodel.risk.checks import CHECK_NAMES, checks_of, names_of
from grandmodel.risk.settings import RiskSettings, Thresholds
from grandmodel.runtime.errors import AgentError, DisorderError
from grandmodel.runtime.inputs import InputEngine, begin_run
from grandmodel.runtime.settings import AccountSettings, Mode, RollPolicy, RunSettings
from grandmodel.simulation.models import ConstantLatency, FillRuleName, FixedSlippage, PerLotFee
from grandmodel.tactical.baselines import BuyAndHold, RandomAgent
from strategies import ALL_DAY, CL, MINUTE, NQ, START, bar_row, quote_row, stack, tick_row, trade_row
from unit.simulation.test_depth import add, trade

TICK_VALUE = NQ.tick_value_micros
CAPITAL = 1_000_000_000_000


def flat_bars(count, price=1_000, **more):
    """Bars that do not move; the first few let risk know the instrument."""
    return [bar_row(5 * k, price, price, price, price, sequence=k, **more) for k in range(count)]


def bars_at(*prices, **more):
    return [bar_row(5 * k, price, price, price, price, sequence=k, **more) for k, price in enumerate(prices)]


def at(call, *wishes):
    """A script that wishes once, at the given call of ``on_bars``."""
    return lambda number, bars, account: wishes if number == call else ()


def steps(**by_call):
    """A script by call number: ``steps(_3=[...])``."""
    return lambda number, bars, account: by_call.get(f"_{number}", ())


def target(lots, **more):
    return TargetPosition(instrument=NQ.id, lots=lots, **more)


def agent_of(engine):
    return engine.asking.agents[0]


# The contract of an agent.


def test_an_agent_sees_every_bar_shortest_first_with_the_account_of_that_moment():
    _, engine = run(flat_bars(13), at(3, target(2)))
    seen = agent_of(engine)
    widths = [[bar.width_ns // MINUTE for bar in bars] for bars in seen.bars]
    assert widths == [[5]] * 5 + [[5, 30]] + [[5]] * 5 + [[5, 30]] + [[5]]
    assert [now for now, _, _ in seen.seen] == [START + 5 * k * MINUTE for k in range(1, 14)]
    assert [lots for _, _, lots in seen.seen] == [[0]] * 3 + [[2]] * 10


def test_an_agent_hears_of_its_reports_and_fills_once_each():
    _, engine = run(flat_bars(6), at(3, target(2)))
    assert [report.exec_type for report in agent_of(engine).reports] == [ExecType.NEW, ExecType.TRADE]
    assert [(fill.quantity, fill.price, fill.tag) for fill in agent_of(engine).fills] == [(2, 1_000, "entry")]


def test_a_decision_goes_on_the_record_and_makes_no_order():
    decision = StrategicDecision(
        instrument=NQ.id, ts=0, belief=Belief(bullish=0.2, neutral=0.3, bearish=0.5), weights=(1.0,), agents=("one",),
        purity=1.0, entropy=0.0, expected_entropy=0.1, mutual_information=0.0, target_exposure=0.5,
    )  # fmt: skip
    records, _ = run(flat_bars(6), at(3, decision))
    assert [record.decisions for record in records if record.decisions] == [(decision,)]
    assert not any(record.orders for record in records)


@pytest.mark.parametrize("wish", ["buy", target(1).lots, None])
def test_something_that_is_no_intent_stops_the_run(wish):
    with pytest.raises(AgentError, match=r"expected (one of TargetPosition|a list or tuple)"):
        run(flat_bars(6), at(3, wish))


def test_an_unknown_instrument_stops_the_run():
    with pytest.raises(AgentError, match="'ZZ'"):
        run(flat_bars(6), at(3, TargetPosition(instrument=InstrumentId("ZZ"), lots=1)))


@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": 0},
        {"quantity": 1, "order_type": OrderType.LIMIT},
        {"quantity": 1, "price": 5},
        {"quantity": 1, "order_type": OrderType.STOP, "price": 5},
        {"quantity": 1, "time_in_force": TimeInForce.GTD},
        {"quantity": 1, "expire_ts": START},
        {"quantity": 1, "oco_group": -1},
        {"quantity": 1, "oco_group": 2**32},
        {"quantity": 1, "reduce_only": True, "bracket_stop": 900},
        {"quantity": 1, "reduce_only": True, "bracket_target": 1_100},
    ],
)
def test_an_order_that_cannot_be_meant_stops_the_run(fields):
    with pytest.raises(AgentError, match=r"expected (a positive quantity.*engine_runs.py:\d+|int >= )"):
        run(flat_bars(6), at(3, PlaceOrder(instrument=NQ.id, side=Side.BUY, **fields)))


def test_before_trading_begins_wishes_are_not_acted_on():
    start = START + 25 * MINUTE
    records, engine = run(flat_bars(9), lambda number, bars, account: [target(1)], trade_from_ns=start)
    first = next(record for record in records if record.intents)
    assert first.ts == start
    assert agent_of(engine).calls == 9


# Targets.


def test_a_target_trades_the_difference_and_counts_what_is_on_its_way():
    script = steps(_3=[target(2), target(3)], _6=[target(3)], _7=[target(1)])
    records, engine = run(flat_bars(10), script)
    assert fills_of(records) == [(1, 2, 1_000, "entry"), (1, 1, 1_000, "entry"), (-1, 2, 1_000, "exit")]
    assert engine.books.lots(NQ.id) == 1


def test_a_turn_is_an_exit_and_then_an_entry():
    records, _ = run(flat_bars(10), steps(_3=[target(2)], _6=[target(-3)]))
    assert fills_of(records) == [(1, 2, 1_000, "entry"), (-1, 2, 1_000, "exit"), (-1, 3, 1_000, "entry")]
    (deed,) = [record.intents[0] for record in records if record.intents][1:]
    assert len(deed.orders) == len(deed.checks) == 2


def test_a_passive_entry_rests_at_our_best_and_an_exit_does_not_wait():
    rows = [*flat_bars(6), bar_row(30, 1_000, 1_001, 999, 1_000, sequence=6), *bars_at(*[1_000] * 12)[7:]]
    records, _ = run(rows, steps(_3=[target(2, urgency=Urgency.PASSIVE)], _8=[target(0, urgency=Urgency.PASSIVE)]))
    orders = [order for record in records for order in record.orders]
    assert [(order.order_type, order.price, order.tag) for order in orders] == [
        (OrderType.LIMIT, 1_000, "entry"),
        (OrderType.MARKET, None, "exit"),
    ]


def test_a_new_target_cancels_the_resting_entry_of_the_one_before():
    script = steps(_3=[target(2, urgency=Urgency.PASSIVE)], _4=[target(1)])
    wait = PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=2, order_type=OrderType.LIMIT, price=900)
    records, engine = run(flat_bars(8), lambda n, bars, account: [wait] if n == 3 else script(n, bars, account))
    cancels = [cancel.order_id for record in records for cancel in record.cancels]
    assert cancels == [1]
    assert engine.books.lots(NQ.id) == 1
    assert not engine.books.working(NQ.id)


def test_a_target_with_stop_and_target_is_a_bracket_around_the_mark():
    rows = bars_at(1_000, 1_000, 1_000, 1_000, 1_000, 990, 990)
    records, engine = run(rows, at(3, target(2, stop_ticks=8, target_ticks=12)))
    orders = {order.tag: order for record in records for order in record.orders}
    assert (orders["stop"].stop_price, orders["target"].price) == (992, 1_012)
    assert orders["stop"].parent == orders["target"].parent == orders["entry"].order_id
    assert orders["stop"].oco_group == orders["target"].oco_group != 0
    assert fills_of(records) == [(1, 2, 1_000, "entry"), (-1, 2, 990, "stop")]
    assert not engine.books.working(NQ.id)


def test_a_turn_replaces_the_protective_orders():
    script = steps(_3=[target(2, stop_ticks=50, target_ticks=50)], _6=[target(-1, stop_ticks=50, target_ticks=50)])
    _, engine = run(flat_bars(10), script)
    assert engine.books.lots(NQ.id) == -1
    assert sorted((order.tag, order.side, order.quantity) for order in engine.books.working(NQ.id)) == [
        ("stop", Side.BUY, 1),
        ("target", Side.BUY, 1),
    ]


def test_a_smaller_target_places_protective_orders_for_what_remains():
    script = steps(_3=[target(3, stop_ticks=50, target_ticks=50)], _6=[target(1, stop_ticks=40, target_ticks=40)])
    _, engine = run(flat_bars(10), script)
    assert sorted((order.tag, order.quantity) for order in engine.books.working(NQ.id)) == [("stop", 1), ("target", 1)]
    rows = [*flat_bars(10), bar_row(50, 1_000, 1_001, 900, 950, sequence=10), *bars_at(*[950] * 14)[11:]]
    records, engine = run(rows, script)
    assert fills_of(records)[-1] == (-1, 1, 960, "stop")
    assert engine.books.lots(NQ.id) == 0
    assert not engine.books.working(NQ.id)


def test_an_agent_s_own_group_does_not_meet_a_bracket_s():
    """The bracket is order 1 to 3; a group of one's own called 1 is another group."""
    mine = PlaceOrder(
        instrument=NQ.id, side=Side.BUY, quantity=2, order_type=OrderType.LIMIT, price=900, oco_group=1,
        time_in_force=TimeInForce.GTC,
    )  # fmt: skip
    rows = bars_at(1_000, 1_000, 1_000, 1_000, 1_000, 990, 990)
    _, engine = run(rows, at(3, target(2, stop_ticks=8, target_ticks=12), mine))
    assert [order.price for order in engine.books.working(NQ.id)] == [900]


# Groups, orders that only reduce, and the limits on lots.


def placed(side, quantity, *, group=0, stop=None, price=None, name=NQ.id, **more):
    """A market order, a stop or a limit that works until it is cancelled."""
    kind = OrderType.MARKET if stop is price is None else OrderType.STOP if price is None else OrderType.LIMIT
    life = TimeInForce.DAY if kind is OrderType.MARKET else TimeInForce.GTC
    return PlaceOrder(
        instrument=name, side=side, quantity=quantity, order_type=kind, price=price, stop_price=stop, time_in_force=life,
        oco_group=group, **more,
    )  # fmt: skip


def lots_risk(most, overall=2_000, short=None):
    risk = open_risk()
    limits = msgspec.structs.replace(risk.limits, max_long_lots=most, max_short_lots=most if short is None else short)
    portfolio = msgspec.structs.replace(risk.portfolio, max_overall_lots=overall)
    return msgspec.structs.replace(risk, limits=limits, portfolio=portfolio)


def broken(records):
    return [alert for record in records for alert in record.alerts if alert.code == "limit_broken"]


@pytest.mark.parametrize("limits", [lots_risk(5), lots_risk(100, overall=5)])
def test_what_a_group_filled_before_is_no_room_for_an_order_that_joins_it(limits):
    script = steps(
        _3=[placed(Side.BUY, 3, group=7), placed(Side.SELL, 5, group=7, stop=500)],
        _6=[placed(Side.SELL, 10, group=7)],
    )
    records, engine = run(flat_bars(9), script, risk=limits)
    sold = [order.quantity for record in records for order in record.orders][-1]
    assert sold == 6  # 3 to close and 5 short, less the 2 that the stop may sell before the other is there
    assert engine.books.lots(NQ.id) == -3
    assert not engine.books.working(NQ.id)  # what it sold was taken from the stop
    assert not broken(records)


def test_one_number_used_by_two_agents_and_in_two_instruments_is_a_group_each():
    rows = [bar_row(5 * (k // 2), 1_000, 1_000, 1_000, 1_000, instrument=k % 2, sequence=k) for k in range(20)]
    mine = at(3, *(placed(Side.BUY, 1, group=7, name=name) for name in (NQ.id, CL.id)))
    other = at(3, *(placed(Side.BUY, 2, group=7, name=name) for name in (NQ.id, CL.id)))
    records, engine = run(rows, mine, other, instruments=(NQ, CL))
    assert [engine.books.lots(name) for name in (NQ.id, CL.id)] == [3, 3]
    groups = [order.oco_group for record in records for order in record.orders]
    assert groups == [7, 7, 2**32 + 7, 2**32 + 7]


@pytest.mark.parametrize(("wanted", "call"), [(0, 3), (0, 6), (2, 3), (2, 6), (-1, 3), (5, 6)])
def test_a_target_counts_what_a_group_makes_of_its_orders(wanted, call):
    """1 and 3 lots of one group buy 3, whether they are on their way or filled; none of them stays open for ever."""
    wishes = {"_3": [placed(Side.BUY, 1, group=7), placed(Side.BUY, 3, group=7)]}
    wishes[f"_{call}"] = [*wishes.get(f"_{call}", ()), target(wanted)]
    records, engine = run(flat_bars(10), steps(**wishes))
    assert engine.books.lots(NQ.id) == wanted
    assert not engine.lives.open
    assert not engine.gate.working.orders
    assert sum(f.quantity for record in records for f in record.fills) == 3 + abs(wanted - 3)


def test_a_stop_that_its_target_has_shrunk_still_covers_what_a_smaller_target_leaves():
    rows = flat_bars(5)
    rows.append(bar_row(25, 1_000, 1_011, 1_000, 1_000, 2, sequence=5))  # the target sells 2 of 5
    rows += [bar_row(25 + 5 * k, 1_000, 1_000, 1_000, 1_000, sequence=5 + k) for k in range(1, 5)]
    venue = msgspec.structs.replace(FREE, participation_ppm=10**6)
    _, engine = run(rows, steps(_3=[target(5, stop_ticks=50, target_ticks=10)], _7=[target(1)]), venue=venue)
    assert engine.books.lots(NQ.id) == 1
    assert [(life.order.tag, life.leaves) for life in engine.lives.of(NQ.id)] == [("stop", 1), ("target", 1)]


def test_an_order_that_only_reduces_never_turns_the_position():
    rest = placed(Side.SELL, 2, price=1_010, reduce_only=True)
    script = steps(_3=[placed(Side.BUY, 2)], _5=[rest], _6=[placed(Side.SELL, 1)])
    rows = [
        *flat_bars(8),
        bar_row(40, 1_000, 1_020, 1_000, 1_000, sequence=8),
        bar_row(45, 1_000, 1_000, 1_000, 1_000, sequence=9),
    ]
    records, engine = run(rows, script)
    assert [(side, lots) for side, lots, _, _ in fills_of(records)] == [(1, 2), (-1, 1), (-1, 1)]
    assert engine.books.lots(NQ.id) == 0
    assert [(r.order_id, r.reason) for record in records for r in record.reports if r.reason] == [
        (2, Reason.REDUCE_ONLY)
    ]
    alone, _ = run(flat_bars(6), at(3, placed(Side.SELL, 1, reduce_only=True)))
    assert [deed.refused for record in alone for deed in record.intents] == ["nothing_to_reduce"]


def test_a_limit_that_an_outside_venue_breaks_halts_with_a_critical_alert():
    """Both orders of a group fill over a slow link: nobody can take that back, but everything stops and the way out is open."""
    pair = at(3, placed(Side.BUY, 6, group=1, price=990), placed(Side.BUY, 6, group=1, price=980))
    engine = build_engine((pair,), mode=Mode.LIVE, risk=lots_risk(6))
    list(engine.on_block(stack(flat_bars(5))))
    records = []
    for number in (1, 2):
        report = ExecutionReport(
            exec_id=ExecId(number), order_id=OrderId(number), exec_type=ExecType.TRADE, ts_event=START + 26 * MINUTE,
            ts_init=START + 26 * MINUTE, last_quantity=6, last_price=980, leaves=0, cumulative=6,
        )  # fmt: skip
        records += engine.on_report(VenueReport(report=report))
        assert len(broken(records)) == number - 1
    (alert,) = broken(records)
    assert (alert.severity, alert.value, alert.limit) == ("critical", 12, 6)
    assert [alert.code for alert in records[-1].alerts] == ["limit_broken", "breaker_halt"]
    assert [(order.side, order.quantity) for order in records[-1].orders] == [(Side.SELL, 12)]


def test_what_is_held_beyond_a_lowered_limit_may_shrink_and_alarms_nobody():
    engine = build_engine((steps(_3=[target(5)], _6=[target(3)], _8=[target(4)]),), risk=lots_risk(5))
    records = list(engine.on_block(stack(flat_bars(10)[:5])))
    engine.books.limits.tops[0] = 2
    records += list(engine.on_block(stack(flat_bars(10)[5:8])))
    assert engine.books.lots(NQ.id) == 3
    assert not broken(records)
    # More than is held is more again: the gate, which was not told of the new limit, lets it through, and the engine does not.
    records = records_of(engine, flat_bars(10)[8:])
    assert [deed.refused for record in records for deed in record.intents if deed.agent == "scripted"] == [
        "limit_broken"
    ]
    assert len(broken(records)) == 1


def test_the_way_out_of_a_bad_stretch_breaks_no_limit_though_its_stop_is_still_open():
    rows = rolled(Flag.BAD_STRETCH)
    records, engine = run(rows, at(3, target(5, stop_ticks=50)), risk=lots_risk(5, short=0))
    assert any(fill.tag == "bad_stretch" for record in records for fill in record.fills)
    assert not broken(records)
    assert not engine.lives.open


# Cancels and changes.


def limit(price, quantity=2):
    return PlaceOrder(
        instrument=NQ.id, side=Side.BUY, quantity=quantity, order_type=OrderType.LIMIT, price=price,
        time_in_force=TimeInForce.GTC,
    )  # fmt: skip


def test_a_cancel_of_one_and_of_all():
    script = steps(
        _3=[limit(900), limit(901), limit(902)],
        _5=[CancelIntent(instrument=NQ.id, order_id=OrderId(2))],
        _7=[CancelIntent(instrument=NQ.id), CancelIntent(instrument=NQ.id)],
    )
    records, engine = run(flat_bars(10), script)
    assert [cancel.order_id for record in records for cancel in record.cancels] == [2, 1, 3]
    assert not engine.books.working(NQ.id)


def test_a_changed_order_is_known_by_its_new_terms():
    seen = []

    def script(number, bars, account):
        seen.append([(order.price, order.quantity) for order in account.working(NQ.id)])
        if number == 3:
            return [limit(900)]
        if number == 5:
            return [ReplaceIntent(instrument=NQ.id, order_id=OrderId(1), quantity=5, price=950)]
        return [ReplaceIntent(instrument=NQ.id, order_id=OrderId(1), quantity=4)] if number == 7 else ()

    run(flat_bars(10), script)
    assert seen[4:9] == [[(900, 2)], [(950, 5)], [(950, 5)], [(950, 4)], [(950, 4)]]


def test_a_change_of_an_order_that_ended_or_is_being_changed_is_refused_on_the_record():
    change = ReplaceIntent(instrument=NQ.id, order_id=OrderId(1), quantity=3)
    script = steps(_3=[limit(900)], _5=[change, change], _6=[CancelIntent(instrument=NQ.id), change])
    records, _ = run(flat_bars(9), script)
    refused = [deed.refused for record in records for deed in record.intents if isinstance(deed.intent, ReplaceIntent)]
    assert refused == ["", "change_under_way", "too_late"]


# Risk on the record.


def test_a_refusal_is_on_the_record_with_every_check():
    risk = msgspec.structs.replace(open_risk(), restricted=(NQ.id,))
    records, _ = run(flat_bars(6), at(4, target(1)), risk=risk)
    (deed,) = [deed for record in records for deed in record.intents]
    assert deed.refused
    assert deed.orders == ()
    ((order_id, checks),) = checks_of(deed)
    assert order_id == 1
    assert [check.name for check in checks] == list(CHECK_NAMES)
    assert [check.reason for check in checks if check.outcome == "refused"] == [deed.refused]


def test_a_record_read_and_written_again_is_the_same_bytes():
    """What a row of the planner says by default is not written down, as in an order that was spelled out."""
    for record in run(flat_bars(60), Restless)[0]:
        assert encode_record(decode_record(encode_record(record))) == encode_record(record)


def test_the_first_record_names_the_checks_in_their_order():
    inputs = InputEngine()
    (first,) = inputs.on_input(0, begin_run(RunId("named"), RunSettings(), [NQ], [ALL_DAY], "none"))
    assert names_of(first) == CHECK_NAMES
    assert note_of(first)["checks"] == list(CHECK_NAMES)


def test_the_default_limits_refuse_while_risk_is_unknown():
    records, _ = run(flat_bars(6), at(4, target(1)), risk=RiskSettings())
    assert [deed.refused for record in records for deed in record.intents] == ["var_unknown"]
    assert not any(record.orders for record in records)


def test_equity_at_the_line_stops_within_the_same_tick_and_risk_acts():
    rows = [trade_row(k * 30 * 10**9, 10_000 + k % 2, sequence=k) for k in range(60)]
    fall = 60 * 30 * 10**9
    rows += [trade_row(fall + k, 10_000 - 500 * k, sequence=k) for k in range(1, 20)]
    risk = open_risk(drawdown=Thresholds(halt=0.05))
    records, engine = run(rows, at(3, target(10)), risk=risk)
    line = next(record for record in records if record.cause is Cause.RISK_LINE)
    # 10 lots of 5 USD a tick, bought at 10,001: more than 50,000 USD are lost at the second step of the fall.
    assert line.ts == START + fall + 2
    assert line.position == 62
    assert line.equity_micros <= CAPITAL * 95 // 100
    assert line.alerts
    assert any(deed.agent == "risk" for record in records for deed in record.intents)
    assert engine.books.lots(NQ.id) == 0


def test_marks_move_equity_without_a_record():
    records, engine = run(bars_at(1_000, 1_000, 1_000, 1_000, 1_010, 1_020), at(3, target(2)))
    assert engine.equity_micros == CAPITAL + 2 * 20 * TICK_VALUE
    assert records[-1].equity_micros == engine.equity_micros


# Rolls.


def rolled(flag=Flag.ROLL):
    """The old contract at 1,000, the new one opens at 1,100 and gains ten ticks."""
    rows = flat_bars(6)
    rows.append(bar_row(30, 1_100, 1_110, 1_100, 1_110, flags=flag, sequence=6))
    rows += [bar_row(30 + 5 * k, 1_110, 1_110, 1_110, 1_110, sequence=6 + k) for k in (1, 2)]
    return rows


def test_a_roll_moves_the_position_without_a_jump_and_pays_both_fees():
    venue = msgspec.structs.replace(FREE, fees=PerLotFee(per_lot_micros=1_000_000))
    records, engine = run(rolled(), at(3, target(2)), venue=venue)
    roll = next(record for record in records if record.cause is Cause.ROLL)
    assert [(f.side, f.quantity, f.price, f.tag) for f in roll.fills] == [
        (Side.SELL, 2, 1_000, "roll"),
        (Side.BUY, 2, 1_100, "roll"),
    ]
    assert [f.exec_id for f in roll.fills] == [-1, -2]
    assert roll.equity_micros == CAPITAL - 3 * 2_000_000
    assert engine.equity_micros == CAPITAL - 3 * 2_000_000 + 2 * 10 * TICK_VALUE
    assert engine.books.lots(NQ.id) == 2


def costs_of(records):
    """(reference, what slippage is measured from, slippage, delay) of every fill."""
    return [
        (fill.slippage_reference, fill.slippage_from, fill.slippage_ticks, fill.delay_ticks)
        for record in records
        for fill in record.fills
    ]


def test_a_stop_s_slippage_begins_at_its_trigger_and_the_way_there_is_delay():
    """Long at 1,000 with a stop 50 below; the market opens 7 beyond it. Slippage 7 and not 57."""
    rows = bars_at(*[1_000] * 6, 990, 943, 943)
    records, _ = run(rows, at(3, target(2, stop_ticks=50, target_ticks=500)))
    assert fills_of(records) == [(1, 2, 1_000, "entry"), (-1, 2, 943, "stop")]
    assert costs_of(records) == [(PriceReference.MARK, 1_000, 0, 0), (PriceReference.TRIGGER, 950, 7, 50)]


def test_a_limit_s_slippage_begins_at_its_own_price_as_it_was_last_changed():
    rows = bars_at(*[1_000] * 8, 940, 940)
    place = PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=1, order_type=OrderType.LIMIT, price=900)
    change = ReplaceIntent(instrument=NQ.id, order_id=OrderId(1), quantity=1, price=950)
    records, _ = run(rows, steps(_3=[place], _5=[change]))
    assert costs_of(records) == [(PriceReference.LIMIT, 950, -10, -50)]


def test_a_market_order_s_slippage_begins_at_the_quote_that_it_met_on_arrival():
    """Decided at a mark of 1,000, it arrives two minutes later, when 1,010 is asked: 10 ticks of delay, and 3 of slippage."""
    venue = msgspec.structs.replace(FREE, latency=ConstantLatency(order=2 * MINUTE), slippage=FixedSlippage(ticks=3))
    rows = [trade_row(k * MINUTE, 1_000) for k in range(31)]
    rows += [quote_row(31 * MINUTE, 1_008, 1_010), trade_row(40 * MINUTE, 1_009), trade_row(45 * MINUTE, 1_009)]
    records, _ = run(rows, at(6, target(1)), venue=venue)
    assert fills_of(records) == [(1, 1, 1_013, "entry")]
    assert costs_of(records) == [(PriceReference.QUOTE, 1_010, 3, 10)]
    # On bars nothing is quoted: the mark at arrival, two bars after the decision.
    venue = msgspec.structs.replace(venue, latency=ConstantLatency(order=6 * MINUTE))
    records, _ = run(bars_at(*[1_000] * 4, 1_004, 1_020, 1_020, 1_020), at(4, target(1)), venue=venue)
    assert fills_of(records) == [(1, 1, 1_023, "entry")]
    assert costs_of(records) == [(PriceReference.MARK, 1_004, 19, 4)]


@pytest.mark.parametrize("flag", [Flag.ROLL, Flag.BAD_STRETCH])
def test_what_no_order_asked_for_has_no_slippage(flag):
    records, _ = run(rolled(flag), at(3, target(2)))
    booked = [cost for cost in costs_of(records) if cost[0] is not PriceReference.MARK]
    assert booked == [(PriceReference.NONE, None, None, None)] * (2 if flag is Flag.ROLL else 1)


def test_a_venue_that_does_not_tell_what_a_market_order_met_leaves_its_slippage_unknown():
    engine = build_engine((at(3, target(2)),), mode=Mode.LIVE)
    list(engine.on_block(stack(flat_bars(5))))
    report = ExecutionReport(
        exec_id=ExecId(1), order_id=OrderId(1), exec_type=ExecType.TRADE, ts_event=START + 26 * MINUTE,
        ts_init=START + 26 * MINUTE, last_quantity=2, last_price=1_003, leaves=0, cumulative=2,
    )  # fmt: skip
    *_, record = engine.on_report(VenueReport(report=report))
    assert costs_of([record]) == [(PriceReference.NONE, None, None, None)]


def test_an_ignored_roll_counts_the_step_as_profit():
    records, engine = run(rolled(), at(3, target(2)), rolls=RollPolicy.IGNORE)
    assert engine.equity_micros == CAPITAL + 2 * 110 * TICK_VALUE
    assert not any(fill.tag == "roll" for record in records for fill in record.fills)


def test_a_roll_without_a_position_or_an_order_is_not_stopped_for():
    records, _ = run(rolled())
    assert not any(record.cause is Cause.ROLL for record in records)


@pytest.mark.parametrize("latency", [0, 1_000, 3 * MINUTE])
def test_an_order_in_the_old_contract_never_fills_in_the_new_one(latency):
    venue = msgspec.structs.replace(FREE, latency=ConstantLatency(order=latency))
    sell = PlaceOrder(
        instrument=NQ.id, side=Side.SELL, quantity=1, order_type=OrderType.LIMIT, price=1_050,
        time_in_force=TimeInForce.GTC,
    )  # fmt: skip
    records, engine = run(rolled(), at(3, sell), venue=venue)
    assert fills_of(records) == []
    assert not engine.books.working(NQ.id)
    other = bar_row(30, 500, 500, 500, 500, instrument=1, sequence=0)  # its stamp is that of the rolling bar
    rows = rolled()
    rows.insert(6, other)
    records, engine = run(rows, at(3, sell), venue=venue, instruments=(NQ, CL))
    assert fills_of(records) == []


@pytest.mark.parametrize("latency", [0, 1_000, 10 * MINUTE])
def test_an_order_on_its_way_over_a_roll_of_ticks_never_fills(latency):
    venue = msgspec.structs.replace(FREE, latency=ConstantLatency(order=latency))
    rows = [trade_row(k * MINUTE, 1_000 + k % 2) for k in range(31)]
    rows.append(trade_row(30 * MINUTE + 5, 1_100, flags=Flag.ROLL))
    rows += [trade_row(30 * MINUTE + 6 + k, 1_100) for k in range(3)] + [trade_row(45 * MINUTE, 1_100)]
    sell = PlaceOrder(instrument=NQ.id, side=Side.SELL, quantity=1, order_type=OrderType.LIMIT, price=1_050)
    records, engine = run(rows, at(6, sell), venue=venue)
    assert fills_of(records) == []
    assert not engine.books.working(NQ.id)


@pytest.mark.parametrize("report", [0, 1_000, 10 * MINUTE])
def test_a_fill_whose_report_is_on_its_way_over_a_roll_is_rolled_too(report):
    venue = msgspec.structs.replace(FREE, latency=ConstantLatency(order=0, report=report))
    rows = [trade_row(k * MINUTE, 1_000) for k in range(31)]
    rows.append(trade_row(30 * MINUTE + 5, 1_100, flags=Flag.ROLL))
    rows += [trade_row(30 * MINUTE + 6 + k, 1_100) for k in range(3)] + [trade_row(45 * MINUTE, 1_100)]
    records, engine = run(rows, at(6, target(1)), venue=venue)
    assert fills_of(records) == [(1, 1, 1_000, "entry"), (-1, 1, 1_000, "roll"), (1, 1, 1_100, "roll")]
    assert engine.equity_micros == CAPITAL
    # On bars: bought at the last bar of the old contract, told of it after the new one's first.
    records, engine = run(rolled(), at(5, target(1)), venue=venue)
    assert fills_of(records) == [(1, 1, 1_000, "entry"), (-1, 1, 1_000, "roll"), (1, 1, 1_100, "roll")]
    assert engine.equity_micros == CAPITAL + 10 * TICK_VALUE


def test_a_roll_that_begins_without_a_print_uses_the_quote_and_without_any_price_says_so():
    quiet = [trade_row(k * MINUTE, 1_000) for k in range(31)]
    asked_only = tick_row(31 * MINUTE, ord("Q"), ask=1_100, sizes=(0, 5), flags=Flag.ROLL)
    records, engine = run([*quiet, asked_only, trade_row(32 * MINUTE, 1_105)], at(3, target(1)))
    assert fills_of(records)[1:] == [(-1, 1, 1_000, "roll"), (1, 1, 1_100, "roll")]
    assert engine.equity_micros == CAPITAL + 5 * TICK_VALUE
    halt = tick_row(31 * MINUTE, ord("H"), flags=Flag.ROLL)
    records, _ = run([*quiet, halt], at(3, target(1)))
    assert [alert.code for record in records for alert in record.alerts] == ["roll_without_price"]


def book_of(*later):
    """An order-book feed: a bid at 999, an offer at 1,000, a print at 1,000 every minute of half an hour, and what comes later."""
    rows = [add(0, BookSide.BID, 1, 999, 5), add(0, BookSide.ASK, 2, 1_000, 5)]
    return [*rows, *(trade(k * MINUTE, 1_000, 1) for k in range(31)), *later]


def flagged(row, flag):
    row["flags"] |= int(flag)
    return row


def test_a_roll_of_an_order_book_moves_the_position_and_empties_the_book():
    later = [flagged(trade(31 * MINUTE, 1_100, 1), Flag.ROLL), trade(32 * MINUTE, 1_105, 1)]
    records, engine = run(book_of(*later), at(3, target(1)))
    assert fills_of(records) == [(1, 1, 1_000, "entry"), (-1, 1, 1_000, "roll"), (1, 1, 1_100, "roll")]
    assert engine.equity_micros == CAPITAL + 5 * TICK_VALUE
    market = engine.market.instruments[0]
    assert (market["rolls"], market["bid"], market["ask"]) == (1, UNDEFINED_PRICE, UNDEFINED_PRICE)
    assert engine.market.depth[0]["orders"] == 0


def test_a_roll_of_an_order_book_that_begins_with_a_resting_order_has_no_price():
    records, _ = run(book_of(flagged(add(31 * MINUTE, BookSide.BID, 7, 1_090, 1), Flag.ROLL)), at(3, target(1)))
    assert [alert.code for record in records for alert in record.alerts] == ["roll_without_price"]


def test_a_resting_order_over_a_roll_of_an_order_book_never_fills():
    sell = PlaceOrder(instrument=NQ.id, side=Side.SELL, quantity=1, order_type=OrderType.LIMIT, price=1_050)
    later = [flagged(trade(31 * MINUTE, 1_100, 9), Flag.ROLL), *(trade((32 + k) * MINUTE, 1_100, 9) for k in range(3))]
    records, engine = run(book_of(*later), at(3, sell))
    assert fills_of(records) == []
    assert not engine.books.working(NQ.id)


def test_a_bad_stretch_of_an_order_book_closes_the_position_at_the_last_good_price():
    later = [flagged(trade((31 + k) * MINUTE, 1_050, 1), Flag.BAD_STRETCH) for k in range(3)]
    records, engine = run(book_of(*later), at(3, target(1)))
    assert fills_of(records) == [(1, 1, 1_000, "entry"), (-1, 1, 1_000, "bad_stretch")]
    assert engine.equity_micros == CAPITAL
    assert engine.market.instruments[0]["bad_stretch"] == 3


def test_a_roll_mark_on_a_refused_event_of_an_order_book_holds_for_the_next():
    broken = flagged(trade(31 * MINUTE, -5, 1), Flag.ROLL)
    records, engine = run(book_of(broken, trade(32 * MINUTE, 1_100, 1)))
    assert [record.cause for record in records if record.cause is Cause.QUALITY]
    assert engine.market.instruments[0]["rolls"] == 1
    assert engine.market.depth[0]["orders"] == 0


# Orders of the newer types.


@pytest.mark.parametrize(
    ("terms", "fields"),
    [
        ({"order_type": OrderType.MARKET_IF_TOUCHED, "stop_price": 990}, {"stop_price": 990}),
        ({"order_type": OrderType.LIMIT_IF_TOUCHED, "stop_price": 990, "price": 989}, {"price": 989}),
        ({"order_type": OrderType.TRAILING_STOP, "trail_ticks": 7}, {"trail_ticks": 7}),
        ({"order_type": OrderType.MARKET_TO_LIMIT}, {}),
        ({"order_type": OrderType.LIMIT, "price": 990, "display_quantity": 2}, {"display_quantity": 2}),
    ],
)
def test_a_wish_of_a_newer_type_becomes_that_order(terms, fields):
    wish = PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=3, **terms)
    records, _ = run(flat_bars(6), at(3, wish))
    (order,) = [order for record in records for order in record.orders]
    assert order.order_type is terms["order_type"]
    assert {name: getattr(order, name) for name in fields} == fields


@pytest.mark.parametrize(
    "terms",
    [
        {"order_type": OrderType.TRAILING_STOP},
        {"order_type": OrderType.TRAILING_STOP, "trail_ticks": 5, "stop_price": 990},
        {"order_type": OrderType.MARKET, "trail_ticks": 5},
        {"order_type": OrderType.MARKET_TO_LIMIT, "price": 990},
        {"order_type": OrderType.LIMIT_IF_TOUCHED, "price": 990},
        {"order_type": OrderType.MARKET, "display_quantity": 1},
        {"order_type": OrderType.STOP, "stop_price": 990, "display_quantity": 1},
    ],
)
def test_a_wish_with_a_price_that_its_type_lacks_stops_the_run(terms):
    with pytest.raises(AgentError, match="just the prices that the type has"):
        run(flat_bars(6), at(3, PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=3, **terms)))


# Commands, time and the end.


def command(kind, minute=40, who="ann/risk_officer"):
    return Command(kind=kind, ts=START + minute * MINUTE, who=who, why="test")


def commanded(kind, *scripts, after=6):
    engine = build_engine(scripts or (at(3, target(2)),))
    records = list(engine.on_block(stack(flat_bars(8))))
    records += list(engine.on_command(command(kind)))
    later = [bar_row(5 * k, 1_000, 1_000, 1_000, 1_000, sequence=k) for k in range(8, 8 + after)]
    return records, records_of(engine, later), engine


def test_flatten_cancels_everything_and_closes_every_position_once():
    before, after, engine = commanded(CommandKind.FLATTEN, steps(_3=[target(2), limit(900)]))
    assert before[-1].cause is Cause.COMMAND
    assert note_of(before[-1])["command"]["who"] == "ann/risk_officer"
    assert fills_of(after) == [(-1, 2, 1_000, "exit")]
    assert engine.books.lots(NQ.id) == 0
    assert not engine.books.working(NQ.id)


def test_a_flatten_closes_behind_a_stop_at_the_next_price_and_has_nothing_refused():
    before, after, engine = commanded(CommandKind.FLATTEN, at(3, target(2, stop_ticks=50)), after=1)
    assert [order.tag for record in before for order in record.orders][:2] == ["entry", "stop"]
    assert not [intent for record in [*before, *after] for intent in record.intents if intent.refused]
    assert engine.books.lots(NQ.id) == 0
    assert not engine.books.working(NQ.id)


def test_a_pause_stops_new_risk_and_a_resumption_allows_it_again():
    engine = build_engine((lambda number, bars, account: [target(number)],))
    list(engine.on_block(stack(flat_bars(6))))
    list(engine.on_command(command(CommandKind.PAUSE, 30)))
    later = [bar_row(5 * k, 1_000, 1_000, 1_000, 1_000, sequence=k) for k in range(6, 14)]
    list(engine.on_block(stack(later[:4])))
    paused = engine.books.lots(NQ.id)
    list(engine.on_command(command(CommandKind.RESUME, 50)))
    list(engine.on_block(stack(later[4:])))
    assert paused == 6  # the bar at the pause's own moment came before it; what it sent still fills
    assert engine.books.lots(NQ.id) > 10


def test_after_a_stop_no_agent_is_asked_again():
    before, after, engine = commanded(CommandKind.STOP, lambda number, bars, account: [limit(900)])
    calls = agent_of(engine).calls
    assert len(before[-1].cancels) > 0
    assert not any(record.orders for record in after)
    assert calls == 8
    assert not engine.books.working(NQ.id)


def test_stop_and_kill_close_nothing_and_say_what_is_held_without_a_stop():
    for kind in (CommandKind.STOP, CommandKind.KILL):
        before, after, engine = commanded(kind, steps(_3=[target(2, stop_ticks=50)]))
        (said,) = [alert for alert in before[-1].alerts if alert.code == "position_kept"]
        assert said.severity == "critical"
        assert "+2 NQ" in said.text
        assert [order.tag for record in before for order in record.orders] == ["entry", "stop"]
        assert len(before[-1].cancels) == 1
        assert not fills_of(after)
        assert engine.books.lots(NQ.id) == 2
        assert not engine.books.working(NQ.id)


@pytest.mark.parametrize(("minutes", "left"), [(0, 2), (10, 0)])
def test_a_flatten_needs_time_before_a_stop(minutes, left):
    """Killed in the same breath, the closing order is cancelled with the rest; a bar later it has filled."""
    engine = build_engine((at(3, target(2)),))
    list(engine.on_block(stack(flat_bars(8))))
    list(engine.on_command(command(CommandKind.FLATTEN, 40)))
    later = [bar_row(5 * k, 1_000, 1_000, 1_000, 1_000, sequence=k) for k in range(8, 14)]
    if minutes:
        list(engine.on_block(stack(later[: minutes // 5])))
    list(engine.on_command(command(CommandKind.STOP, 40 + minutes)))
    records_of(engine, later[minutes // 5 :])
    assert engine.books.lots(NQ.id) == left


def test_after_a_kill_agents_go_on_wishing_and_two_releases_let_them_trade():
    engine = build_engine((lambda number, bars, account: [target(number)],))
    list(engine.on_block(stack(flat_bars(6))))
    list(engine.on_command(command(CommandKind.KILL, 30, who="anybody")))
    later = [bar_row(5 * k, 1_000, 1_000, 1_000, 1_000, sequence=k) for k in range(6, 14)]
    killed = list(engine.on_block(stack(later[:4])))
    assert {intent.refused for record in killed for intent in record.intents if intent.agent == "scripted"} == {
        "killed"
    }
    *_, waits = engine.on_command(command(CommandKind.RELEASE, 50))
    assert [alert.code for alert in waits.alerts] == ["release_waits"]
    *_, released = engine.on_command(command(CommandKind.RELEASE, 50, who="bob/head_of_trading"))
    assert [alert.code for alert in released.alerts] == ["breaker_normal"]
    held = engine.books.lots(NQ.id)
    list(engine.on_block(stack(later[4:])))
    assert engine.books.lots(NQ.id) > held


def test_a_release_leaves_a_pause():
    engine = build_engine((lambda number, bars, account: [target(number)],))
    list(engine.on_block(stack(flat_bars(6))))
    list(engine.on_command(command(CommandKind.PAUSE, 30)))
    list(engine.on_signal(signal(SignalTrigger.LATENCY, 0.5, 30)))
    (record,) = engine.on_command(command(CommandKind.RELEASE, 30))
    assert [alert.code for alert in record.alerts] == ["breaker_normal"]
    assert engine.gate.size_scale == 0.0


@pytest.mark.parametrize("kind", [CommandKind.RELEASE, CommandKind.RESET_THROTTLE])
def test_what_a_role_may_not_do_is_an_alert_and_changes_nothing(kind):
    engine = build_engine((at(3, target(2)),))
    list(engine.on_block(stack(flat_bars(6))))
    list(engine.on_signal(signal(SignalTrigger.LATENCY, 0.5, 30)))
    (record,) = engine.on_command(command(kind, 31, who="ann/trader"))
    assert next(alert.code for alert in record.alerts).endswith("_refused")
    assert engine.gate.size_scale == 0.5


# Signals.


def signal(trigger, value, minute=40):
    return Signal(ts=START + minute * MINUTE, trigger=trigger, value=value, source="test")


def test_a_lost_link_halts_cancels_and_closes_in_the_same_step():
    engine = build_engine((steps(_3=[target(2), limit(900)]),))
    list(engine.on_block(stack(flat_bars(8))))
    records = list(engine.on_signal(signal(SignalTrigger.DISCONNECT, 1.0)))
    record = records[-1]
    assert record.cause is Cause.SIGNAL
    assert note_of(record)["signal"]["trigger"] == "disconnect"
    assert [alert.code for alert in record.alerts] == ["breaker_halt"]
    assert len(record.cancels) == 1
    later = [bar_row(5 * k, 1_000, 1_000, 1_000, 1_000, sequence=k) for k in range(8, 14)]
    assert fills_of(records_of(engine, later)) == [(-1, 2, 1_000, "exit")]


@pytest.mark.parametrize(
    ("trigger", "values"),
    [
        (SignalTrigger.LATENCY, {0.4: None, 0.5: "breaker_caution", 5.0: "breaker_halt"}),
        (SignalTrigger.MARKET_WIDE, {-0.5: None, 0.07: "breaker_caution", 0.13: "breaker_reduce", 0.2: "breaker_halt"}),
        (SignalTrigger.DISCONNECT, {0.0: None, 1.0: "breaker_halt"}),
        (SignalTrigger.DATA_QUALITY, {4.0: None, 5.0: "breaker_caution", 50.0: "breaker_halt"}),
    ],
)
def test_a_signal_moves_the_ladder_as_its_thresholds_say(trigger, values):
    for value, code in values.items():
        engine = build_engine((at(3, target(2)),), risk=RiskSettings())
        (record,) = engine.on_signal(signal(trigger, value))
        assert [alert.code for alert in record.alerts] == ([code] if code else [])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_signal_that_no_record_could_hold_is_refused(value):
    with pytest.raises(ValueError, match="expected a finite number"):
        signal(SignalTrigger.LATENCY, value)


def test_a_command_is_judged_on_the_market_of_its_own_moment():
    """A loss since the last record, within a bar, is seen by the command that follows it."""
    risk = open_risk(drawdown=Thresholds(caution=0.001))
    engine = build_engine((at(3, target(2)),), risk=risk)
    rows = [trade_row(k * MINUTE, 1_000 + k % 2, sequence=k) for k in range(22)]
    list(engine.on_block(stack(rows)))
    engine.market.step[0]["equity_floor"] = -(2**62)  # the line would have stopped the step at the fall itself
    list(engine.on_block(stack([trade_row(22 * MINUTE, 500)])))
    (record,) = engine.on_command(command(CommandKind.PAUSE, 23))
    assert "breaker_caution" in [alert.code for alert in record.alerts]


def test_time_alone_closes_bars_and_ends_day_orders():
    engine = build_engine(
        (steps(_3=[PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=1, order_type=OrderType.LIMIT, price=9)]),)
    )
    list(engine.on_block(stack(flat_bars(5))))
    records = list(engine.on_advance(Advance(ts=START + 1_440 * MINUTE)))
    assert [record.cause for record in records] == [Cause.BAR, Cause.BAR, Cause.REPORT]
    assert records[-1].reports[0].exec_type is ExecType.EXPIRED
    assert engine.now == START + 1_440 * MINUTE


def test_the_last_record_says_how_things_stand():
    records, _ = run(flat_bars(8), at(3, target(2)))
    note = note_of(records[-1])
    assert records[-1].cause is Cause.END
    assert note["positions"]["NQ"]["lots"] == 2
    assert note["quality"]["NQ"]["bars"] == 8
    assert note["ended_orders"] == 1
    assert note["open_orders"] == []


def test_numbers_count_from_zero_without_a_gap():
    engine = build_engine((at(3, target(2)),))
    records = [engine.begin({"a": 1}), *records_of(engine, flat_bars(8))]
    assert [record.number for record in records] == list(range(len(records)))
    assert note_of(records[0]) == {"a": 1}


def test_rows_out_of_order_stop_the_run():
    rows = flat_bars(4)
    with pytest.raises(DisorderError, match="market row 3"):
        run([rows[0], rows[1], rows[2], rows[1]])
    with pytest.raises(DisorderError, match="sequence 1 after"):
        run([trade_row(5, 1, sequence=2), trade_row(5, 1, sequence=1)])
    engine = build_engine()
    list(engine.on_block(stack(rows[:3])))
    with pytest.raises(DisorderError, match="market row 3"):
        list(engine.on_block(stack(rows[1:2])))


def test_bars_and_trades_of_one_moment_may_number_themselves_apart():
    engine = build_engine()
    list(engine.on_block(stack([bar_row(0, 1, 1, 1, 1, sequence=900)])))
    list(engine.on_block(stack([trade_row(5 * MINUTE, 1, sequence=3)])))
    assert engine.market.position == 2


def test_a_block_with_an_unknown_instrument_is_refused():
    with pytest.raises(UsageError, match="instrument number 1"):
        run(flat_bars(2, instrument=1))


@pytest.mark.parametrize("instruments", [(), (NQ, NQ)])
def test_an_engine_without_instruments_or_with_one_twice_is_refused(instruments):
    with pytest.raises(UsageError, match="at least one, each once"):
        build_engine(instruments=instruments)


def test_the_same_seed_gives_the_same_records_and_another_seed_others():
    rows = bars_at(*(1_000 + (7 * k * k) % 11 for k in range(60)))

    def records(seed, agent):
        class Built(agent):
            def __init__(self, known, generator):
                super().__init__(
                    known, generator, **({} if agent is Restless else {"probability": 0.6, "width_ns": 5 * MINUTE})
                )

        return encoded(run(rows, Built, seed=seed)[0])

    for agent in (RandomAgent, Restless):
        assert records(1, agent) == records(1, agent)
        assert records(1, agent) != records(2, agent)


def test_two_agents_draw_from_generators_of_their_own():
    first, second = build_engine((Restless, Restless)).asking.agents
    assert first.generator.random() != second.generator.random()


def test_an_outside_report_is_applied_once_and_an_impossible_one_refused():
    engine = build_engine((at(3, target(2)),), mode=Mode.LIVE)
    list(engine.on_block(stack(flat_bars(5))))
    report = ExecutionReport(
        exec_id=ExecId(1), order_id=OrderId(1), exec_type=ExecType.TRADE, ts_event=START + 26 * MINUTE,
        ts_init=START + 26 * MINUTE, last_quantity=2, last_price=1_003, leaves=0, cumulative=2,
    )  # fmt: skip
    *_, record = engine.on_report(VenueReport(report=report))
    assert fills_of([record]) == [(1, 2, 1_003, "entry")]
    *_, again = engine.on_report(VenueReport(report=report))
    assert fills_of([again]) == []
    assert engine.books.lots(NQ.id) == 2
    assert agent_of(engine).reports == [report]  # told once, as by the venue inside the engine
    assert [fill.price for fill in agent_of(engine).fills] == [1_003]
    unknown = msgspec.structs.replace(report, exec_id=ExecId(2), order_id=OrderId(77))
    with pytest.raises(InvariantError, match="order 77"):
        list(engine.on_report(VenueReport(report=unknown)))


def test_several_currencies_keep_equity_to_the_millionth():
    """The check against the ledger inside the engine raises where the compiled step and Python differ."""
    china, euro = BUILT_IN[InstrumentId("IF")], BUILT_IN[InstrumentId("EURUSD")]
    generator = np.random.default_rng(4)
    rows, price = [], [1_000, 1_000]
    for k in range(120):
        i = k % 2
        price[i] += int(generator.integers(-30, 31))
        row = bar_row(5 * (k // 2), price[i], price[i], price[i], price[i], instrument=i, sequence=k)
        rows.append(row)
    account = AccountSettings(rates={"CNY": 137_893})
    records, engine = run(rows, Restless, instruments=(china, euro), account=account, seed=3)
    assert sum(len(record.fills) for record in records) > 20
    for index in (0, 1):
        engine.ledger.mark(index, int(engine.market.instruments[index]["mark"]))
    assert engine.ledger.equity_micros() == engine.equity_micros


def test_quotes_alone_can_value_a_position():
    rows = [quote_row(k * MINUTE, 1_000, 1_003) for k in range(20)] + [quote_row(21 * MINUTE, 1_010, 1_013)]
    _, engine = run(rows, at(2, target(1)), mark_on_quotes=True)
    assert engine.books.mark(NQ.id) == 1_011
    assert engine.equity_micros == CAPITAL + 8 * TICK_VALUE  # bought at 1,003, worth 1,011


def test_buy_and_hold_and_halts_leave_no_order_behind():
    rows = [trade_row(k * MINUTE, 1_000) for k in range(60)] + [tick_row(61 * MINUTE, ord("H"))]
    _, engine = run(rows, BuyAndHold)
    assert engine.books.lots(NQ.id) == 1
    assert not engine.books.working(NQ.id)


def test_an_entry_whose_stop_risk_refuses_does_not_trade() -> None:
    # The stop would lie below zero, where NQ cannot trade.
    records, _ = run(flat_bars(12), at(6, target(1, stop_ticks=1_500)))
    assert fills_of(records) == []
    wished = next(intent for record in records for intent in record.intents)
    assert wished.refused
    assert [cancel.reason for record in records for cancel in record.cancels] == ["unprotected"]


def test_a_wish_to_wait_does_nothing() -> None:
    records, _ = run(flat_bars(12), at(6, target(1, urgency=Urgency.WAIT)))
    assert [intent.orders for record in records for intent in record.intents] == [()]
    assert fills_of(records) == []


def test_protective_orders_shrink_with_the_position() -> None:
    script = steps(_6=[target(3, stop_ticks=100, target_ticks=100)], _9=[target(1)])
    records, _ = run(flat_bars(14), script)
    assert [(side, lots) for side, lots, *_ in fills_of(records)] == [(1, 3), (-1, 2)]
    changes = [change for record in records for change in record.replaces]
    assert [change.quantity for change in changes] == [1, 1]
    assert note_of(records[-1])["positions"][NQ.id]["lots"] == 1


def test_a_bad_stretch_is_left_at_the_last_good_price_and_not_traded() -> None:
    rows = [bar_row(5 * k, price, price, price, price, sequence=k) for k, price in enumerate([1_000] * 10)]
    bad = Flag.BAD_STRETCH
    rows += [
        bar_row(5 * k, price, price, price, price, sequence=k, flags=bad) for k, price in enumerate([1_500] * 4, 10)
    ]
    rows += [bar_row(5 * k, price, price, price, price, sequence=k) for k, price in enumerate([1_500] * 6, 14)]
    script = steps(_6=[target(2)], _11=[target(1)], _16=[target(1)])
    records, engine = run(rows, script)
    assert [(lots, price, tag) for _, lots, price, tag in fills_of(records)] == [
        (2, 1_000, "entry"),
        (2, 1_000, "bad_stretch"),
        (1, 1_500, "entry"),
    ]
    assert engine.equity_micros == CAPITAL
    assert [intent.refused for record in records for intent in record.intents if intent.refused] == ["bad_stretch"]
    assert [alert.code for record in records for alert in record.alerts if alert.code == "bad_stretch"] == [
        "bad_stretch"
    ]


# What a run says of its fill rule.


@pytest.mark.parametrize(("rule", "rows", "warned"), [
    (FillRuleName.TOUCH, [trade_row(0, 1_000), trade_row(1, 1_001)], 1),
    (FillRuleName.TOUCH, [bar_row(0, 100, 101, 99, 100)], 0),
    (FillRuleName.QUEUE, [trade_row(0, 1_000), trade_row(1, 1_001)], 0),
])  # fmt: skip
def test_a_run_on_fine_data_warns_once_of_fills_by_touch(rule, rows, warned):
    records, _ = run(rows, venue=msgspec.structs.replace(FREE, fill_rule=rule), cuts=(1,) if len(rows) > 1 else ())
    codes = [alert.code for record in records for alert in record.alerts]
    assert codes.count("touch_fills") == warned


def test_far_prints_are_counted_at_the_end():
    rows = [quote_row(0, 9_999, 10_001), trade_row(1, 10_000), trade_row(2, 9_000)]
    records, _ = run(rows)
    assert note_of(records[-1])["quality"]["NQ"]["far_prints"] == 1
    assert "far_prints" not in note_of(run(rows[:2])[0][-1])["quality"]["NQ"]
