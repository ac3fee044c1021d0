"""Every row of ``risk.controls``, taken to a record of a run that shows it; a new row without such a way does not pass."""

from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import pytest

from engine_runs import build_engine, note_of, open_risk, run
from grandmodel.domain.blocks import Action, Flag
from grandmodel.domain.decisions import CheckOutcome, PlaceOrder, ReplaceIntent, TargetPosition
from grandmodel.domain.errors import InvariantError
from grandmodel.domain.events import Command, CommandKind, Record, Signal, SignalTrigger, VenueReport
from grandmodel.domain.ids import ExecId, OrderId
from grandmodel.domain.orders import ExecType, ExecutionReport, OrderType, Side, TimeInForce
from grandmodel.risk.breakers import Trigger
from grandmodel.risk.checks import CHECK_NAMES, checks_of
from grandmodel.risk.controls import CONTROLS, TRIGGERS
from grandmodel.risk.settings import RiskSettings, Thresholds
from grandmodel.risk.shocks import ShockSettings
from grandmodel.simulation.models import ConstantLatency, PerLotFee, VenueSettings
from strategies import CL, MINUTE, NQ, START, bar_row, quote_row, stack, tick_row, trade_row

TINY = 1e-6
OFFICER, HEAD = "ann/risk_officer", "bob/head_of_trading"


def risk(**changes) -> RiskSettings:
    """Open settings with some limits changed: ``limits``, ``portfolio``, ``flow`` as fields, ``breakers`` as triggers."""
    made = open_risk(**changes.pop("breakers", {}))
    for part in ("limits", "portfolio", "flow"):
        if part in changes:
            changes[part] = msgspec.structs.replace(getattr(made, part), **changes[part])
    return msgspec.structs.replace(made, **changes)


def bars(*closes, first=0, **more):
    return [bar_row(5 * k, c, c, c, c, sequence=k, **more) for k, c in enumerate(closes, start=first)]


def flat(count, **more):
    return bars(*[1_000] * count, **more)


def both(count):
    """Bars of NQ and CL that close together."""
    return [row for k in range(count) for i in (0, 1) for row in bars(1_000, first=k, instrument=i)]


def script(**wishes):
    """``script(_3=[...])``: wishes at the third call."""
    return lambda number, bars, account: wishes.get(f"_{number}", ())  # noqa: ARG005


def always_buys(number, bars, account):
    return [buy()]


def buy(quantity=1, side=Side.BUY, **more):
    return PlaceOrder(instrument=more.pop("instrument", NQ.id), side=side, quantity=quantity, **more)


def limit(price, quantity=1, side=Side.BUY, **more):
    return buy(quantity, side, order_type=OrderType.LIMIT, price=price, **more)


def hold(lots, instrument=NQ):
    return TargetPosition(instrument=instrument.id, lots=lots)


def said(records: Iterable[Record]) -> list[tuple[str, str]]:
    """(check, reason) of every check on the record that did not pass."""
    return [
        (check.name, check.reason)
        for record in records
        for intent in record.intents
        for _, checks in checks_of(intent)
        for check in checks
        if check.outcome is not CheckOutcome.PASSED
    ]


def alerts(records: Iterable[Record]) -> list[str]:
    return [alert.code for record in records for alert in record.alerts]


def refused(name: str, reason: str, *agents, settings=None, rows=None, **more) -> list[Record]:
    """A run whose record shows that check ``name`` cut or refused an order for ``reason``."""
    records, _ = run(rows or flat(8), *agents, risk=settings or risk(), **more)
    assert (name, reason) in said(records)
    return records


def told(engine, kind, minute=40, who=OFFICER) -> list[Record]:
    return list(engine.on_command(Command(kind=kind, ts=START + minute * MINUTE, who=who, why="test")))


def signalled(engine, trigger, value, minute=40) -> list[Record]:
    return list(engine.on_signal(Signal(ts=START + minute * MINUTE, trigger=trigger, value=value, source="test")))


def started(*agents, rows=None, **more):
    engine = build_engine(agents or (script(_3=[hold(2)]),), **more)
    records = list(engine.on_block(stack(rows or flat(8))))
    return engine, records


# One way for each row.


def price_collar():
    refused("price_collar", "price_collar", script(_3=[limit(1_100)]), settings=risk(limits={"collar_fraction": 0.03}))


def max_order_value():
    refused("order_notional", "order_notional", script(_3=[buy()]), settings=risk(limits={"max_order_notional": TINY}))


def max_order_volume():
    refused("order_quantity", "order_quantity", script(_3=[buy(2)]), settings=risk(limits={"max_order_lots": 1}))


def max_messages():
    refused("message_rate", "message_rate", script(_3=[buy(), buy(2)]), settings=risk(flow={"max_messages": 1}))


def include_all_sent_orders():
    records = refused(
        "position_long",
        "position_long",
        script(_3=[limit(900, 2), limit(901, 2)]),
        settings=risk(limits={"max_long_lots": 3}),
    )
    assert [order.quantity for record in records for order in record.orders] == [2, 1]


def repeated_execution_throttle():
    settings = risk(flow={"max_repeats": 2, "repeat_window_ns": 10**15})
    engine, records = started(always_buys, risk=settings)
    assert "repeated_executions" in alerts(records)
    assert ("repeated_orders", "repeated_executions") in said(records)
    shut = engine.books.lots(NQ.id)
    assert "throttle_reset_refused" in alerts(told(engine, CommandKind.RESET_THROTTLE, who="eve/trader"))
    assert "throttle_reset" in alerts(told(engine, CommandKind.RESET_THROTTLE))
    list(engine.on_block(stack(flat(3, first=8))))
    assert engine.books.lots(NQ.id) > shut


def market_credit_limits():
    refused("concentration", "concentration", script(_3=[buy()]), settings=risk(limits={"max_concentration": TINY}))


def credit_capital_threshold_aggregate():
    one = 1_000 * NQ.tick_value_micros / 1e12
    records = refused(
        "gross_exposure", "gross_exposure", script(_3=[hold(1)], _7=[hold(1, CL)]), rows=both(8), instruments=(NQ, CL),
        settings=risk(portfolio={"max_gross_exposure": 1.5 * one}),
    )  # fmt: skip
    assert {fill.instrument for record in records for fill in record.fills} == {NQ.id}


def duplicate_order():
    refused("duplicate", "duplicate", script(_3=[buy(), buy()]), settings=risk(flow={"duplicate_window_ns": 10**9}))


def permission_to_trade():
    refused(
        "authorised_instrument", "not_authorised", script(_3=[buy()]), rows=both(8), instruments=(NQ, CL),
        settings=risk(authorised=("CL",)),
    )  # fmt: skip


def restricted_list():
    refused("restricted_list", "restricted", script(_3=[buy()]), settings=risk(restricted=("NQ",)))


def authorised_access():
    """Not there: a stranger's word is taken, as whoever they say they are."""
    engine, _ = started()
    assert "breaker_killed" in alerts(told(engine, CommandKind.KILL, who="a stranger"))
    told(engine, CommandKind.RELEASE, who="a stranger/risk_officer")
    assert "breaker_normal" in alerts(told(engine, CommandKind.RELEASE, who="another/risk_officer"))


def pre_entry_regulatory():
    """Not there: what is sold short was asked nothing beyond the checks."""
    records, _ = run(flat(8), script(_3=[buy(side=Side.SELL)]), risk=risk())
    (checks,) = [checks for record in records for intent in record.intents for _, checks in checks_of(intent)]
    assert tuple(check.name for check in checks) == CHECK_NAMES


def override():
    """Not there: no command sends what was refused."""
    engine, records = started(script(_3=[buy(9)]), risk=risk(limits={"max_order_lots": 1}))
    assert said(records) == [("order_quantity", "order_quantity")]
    assert not any(record.orders for kind in CommandKind for record in told(engine, kind))


def kill():
    engine, records = started(script(_3=[limit(900), hold(2)], _4=[limit(901)]))
    working = {order.order_id for order in engine.books.working(NQ.id)}
    killed = told(engine, CommandKind.KILL)
    assert {cancel.order_id for record in killed for cancel in record.cancels} == working
    owners = {order: intent.agent for record in records for intent in record.intents for order in intent.orders}
    assert {owners[order] for order in working} == {"scripted"}
    assert "position_kept" in alerts(killed)


def kill_reset():
    engine, _ = started()
    assert "breaker_halt" in alerts(signalled(engine, SignalTrigger.DISCONNECT, 1.0))
    assert "release_refused" in alerts(told(engine, CommandKind.RELEASE, who="eve/trader"))
    *_, released = told(engine, CommandKind.RELEASE)
    assert "breaker_normal" in alerts([released])
    assert (note_of(released)["command"]["who"], note_of(released)["command"]["why"]) == (OFFICER, "test")
    told(engine, CommandKind.KILL)
    assert alerts(told(engine, CommandKind.RELEASE)) == ["release_waits"]
    assert alerts(told(engine, CommandKind.RELEASE)) == ["release_waits"]
    assert alerts(told(engine, CommandKind.RELEASE, who=HEAD)) == ["breaker_normal"]


def cancel_on_disconnect():
    engine, _ = started(script(_3=[hold(2)], _4=[limit(900)]))
    *_, record = signalled(engine, SignalTrigger.DISCONNECT, 1.0)
    assert alerts([record]) == ["breaker_halt"]
    assert len(record.cancels) == 1
    later = list(engine.on_block(stack(flat(3, first=8))))
    assert [fill.tag for record in later for fill in record.fills] == ["exit"]


def volatility_pause():
    calm = [1_000 + k % 2 for k in range(60)]
    wild = [1_000 + 200 * (k % 2) for k in range(8)]
    records, _ = run(bars(*calm, *wild), script(_70=[buy(4)]), risk=risk(
        shocks=ShockSettings(min_history=20), breakers={"volatility": Thresholds(caution=2.5, halt=10.0)}
    ))  # fmt: skip
    moved = [alert for record in records for alert in record.alerts if alert.code.startswith("breaker_")]
    assert "by volatility" in moved[0].text


def daily_loss():
    records, engine = run(bars(*[1_000] * 5, *[700] * 8), script(_3=[hold(40)]), risk=risk(
        breakers={"daily_loss": Thresholds(halt=0.05)}
    ))  # fmt: skip
    assert "by daily_loss" in next(a.text for r in records for a in r.alerts if a.code == "breaker_halt")
    assert engine.books.lots(NQ.id) == 0


def drawdown():
    records, engine = run(bars(*[1_000] * 5, *[700] * 8), script(_3=[hold(40)]), risk=risk(
        breakers={"drawdown": Thresholds(halt=0.05)}
    ))  # fmt: skip
    assert "by drawdown" in next(a.text for r in records for a in r.alerts if a.code == "breaker_halt")
    assert engine.books.lots(NQ.id) == 0


def position_limit_derivatives():
    limits = risk(limits={"max_long_lots": 1, "max_short_lots": 1})
    refused("position_long", "position_long", script(_3=[hold(2)]), settings=limits)
    refused("position_short", "position_short", script(_3=[hold(-2)]), settings=limits)
    refused(
        "position_overall", "position_overall", script(_3=[hold(2)]), settings=risk(portfolio={"max_overall_lots": 1})
    )


def self_match_prevention():
    refused("self_match", "self_match", script(_3=[limit(1_001, side=Side.SELL)], _4=[limit(1_001)]))


def parent_child_fanout():
    bracket = limit(900, 2, bracket_stop=850)
    grown = ReplaceIntent(instrument=NQ.id, order_id=OrderId(2), quantity=5)
    refused("order_rules", "child_mismatch", script(_3=[bracket], _5=[grown]))


def basket_notional():
    one = 1_000 * NQ.tick_value_micros / 1e12
    records = refused(
        "gross_exposure", "gross_exposure", script(_3=[limit(900), limit(901), limit(902)]),
        settings=risk(portfolio={"max_gross_exposure": 2.5 * one}),
    )  # fmt: skip
    assert sum(len(record.orders) for record in records) == 2


def reduce_only():
    engine, _ = started(script(_3=[hold(4)], _9=[hold(6)], _10=[hold(1)]))
    told(engine, CommandKind.PAUSE)
    later = list(engine.on_block(stack(flat(5, first=8))))
    assert said(later) == [("breaker", "paused")]
    assert engine.books.lots(NQ.id) == 1


def free_balance_margin():
    refused("margin", "margin", script(_3=[buy()]), settings=risk(portfolio={"max_margin_share": TINY}))


def instrument_rules():
    refused("order_rules", "invalid_price", script(_3=[limit(0)]))
    late = buy(time_in_force=TimeInForce.GTD, expire_ts=START)
    refused("order_rules", "expired", script(_3=[late]))


def real_time_alert():
    engine, _ = started()
    *_, record = signalled(engine, SignalTrigger.LATENCY, 0.6)
    assert alerts([record]) == ["breaker_caution"]
    assert record.ts == START + 40 * MINUTE


def drop_copy_reconcile():
    """Not there: what the venue says of an order that we do not know stops the run; it is reconciled with nothing."""
    engine, _ = started()
    unknown = ExecutionReport(
        exec_id=ExecId(99), order_id=OrderId(77), exec_type=ExecType.NEW, ts_event=START + 41 * MINUTE,
        ts_init=START + 41 * MINUTE, leaves=1,
    )  # fmt: skip
    with pytest.raises(InvariantError):
        list(engine.on_report(VenueReport(report=unknown)))


WAYS: dict[str, Callable[[], None]] = {
    way.__name__: way
    for way in (
        price_collar, max_order_value, max_order_volume, max_messages, include_all_sent_orders, repeated_execution_throttle,
        market_credit_limits, credit_capital_threshold_aggregate, duplicate_order, permission_to_trade, restricted_list,
        authorised_access, pre_entry_regulatory, override, kill, kill_reset, cancel_on_disconnect, volatility_pause,
        daily_loss, drawdown, position_limit_derivatives, self_match_prevention, parent_child_fanout, basket_notional,
        reduce_only, free_balance_margin, instrument_rules, real_time_alert, drop_copy_reconcile,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_is_what_its_row_says(name: str) -> None:
    way = WAYS.get(name)
    assert way is not None, f"controls row {name}: no way to a record that shows it"
    is_missing = "Not there" in (way.__doc__ or "")
    assert is_missing is not CONTROLS[name].covered
    way()


# And for each trigger of the ladder.


def moved_by(trigger: Trigger, records: Iterable[Record]) -> None:
    texts = [a.text for r in records for a in r.alerts if a.code.startswith("breaker_")]
    assert any(f"by {trigger.value}" in text for text in texts), texts


def var_breach():
    prices = [1_000 + 20 * (k % 2) for k in range(20)]
    settings = risk(portfolio={"max_var": 1e-3}, breakers={"var_breach": Thresholds(caution=1.0)})
    # Bought while nothing had moved, held when it does.
    records, _ = run(bars(*[1_000] * 6, *prices), script(_4=[hold(1)]), risk=settings)
    moved_by(Trigger.VAR_BREACH, records)


def correlation_shock():
    draw = np.random.default_rng(1)
    apart = draw.integers(-3, 4, (200, 2))
    together = np.repeat(draw.integers(-3, 4, (80, 1)), 2, axis=1)
    prices = 1_000 + np.cumsum(np.concatenate((apart, together)), axis=0)
    rows = [row for k in range(len(prices)) for i in (0, 1) for row in bars(int(prices[k, i]), first=k, instrument=i)]
    settings = risk(breakers={"correlation_shock": Thresholds(caution=0.1)})
    settings = msgspec.structs.replace(
        settings,
        shocks=ShockSettings(min_history=50, threshold=2.0),
        var=msgspec.structs.replace(settings.var, decay_per_day=1e-4),
    )
    records, _ = run(rows, risk=settings, instruments=(NQ, CL))
    moved_by(Trigger.CORRELATION_SHOCK, records)


def loss_streak():
    venue = VenueSettings(fees=PerLotFee(per_lot_micros=1_000_000))
    settings = risk(breakers={"loss_streak": Thresholds(caution=1.0)})
    records, _ = run(flat(9), script(_3=[hold(1)], _5=[hold(0)]), risk=settings, venue=venue)
    moved_by(Trigger.LOSS_STREAK, records)


def data_quality():
    settings = risk(breakers={"data_quality": Thresholds(caution=1.0)})
    records, _ = run([*flat(5), *flat(3, first=5, flags=Flag.BAD_STRETCH)], risk=settings)
    moved_by(Trigger.DATA_QUALITY, records)
    engine, _ = started()
    assert engine.gate.state == 0


def order_rejects():
    """A market order that was on its way when trading halted."""
    settings = risk(breakers={"order_rejects": Thresholds(caution=1.0)})
    venue = VenueSettings(fees=PerLotFee(per_lot_micros=0), latency=ConstantLatency(order=2 * MINUTE, report=0))
    ticks = [trade_row(k * MINUTE, 1_000, sequence=k) for k in range(16)]
    halt = tick_row(15 * MINUTE + 30 * 10**9, Action.HALT, sequence=16)
    later = [quote_row(k * MINUTE, 999, 1_001, sequence=k + 1) for k in range(16, 22)]
    records, _ = run([*ticks, halt, *later], script(_3=[hold(1)]), risk=settings, venue=venue)
    moved_by(Trigger.ORDER_REJECTS, records)


def latency():
    moved_by(Trigger.LATENCY, signalled(started(risk=RiskSettings())[0], SignalTrigger.LATENCY, 0.5))


def market_wide():
    moved_by(Trigger.MARKET_WIDE, signalled(started(risk=RiskSettings())[0], SignalTrigger.MARKET_WIDE, 0.07))


def disconnect():
    moved_by(Trigger.DISCONNECT, signalled(started(risk=RiskSettings())[0], SignalTrigger.DISCONNECT, 1.0))


def person():
    assert "breaker_killed" in alerts(told(started()[0], CommandKind.KILL))


TRIGGER_WAYS: dict[Trigger, Callable[[], None]] = {
    Trigger(way.__name__): way
    for way in (
        daily_loss, drawdown, var_breach, correlation_shock, volatility_pause, loss_streak, data_quality, order_rejects, latency,
        market_wide, disconnect, person,
    )
    if way is not volatility_pause
} | {Trigger.VOLATILITY: volatility_pause}  # fmt: skip


@pytest.mark.parametrize("trigger", Trigger)
def test_every_trigger_of_the_ladder_is_reached_by_what_the_table_says(trigger: Trigger) -> None:
    assert TRIGGERS[trigger].reached_by, trigger
    assert (TRIGGERS[trigger].reached_by == "signal") == (trigger.value in {"latency", "market_wide", "disconnect"})
    TRIGGER_WAYS[trigger]()


def test_a_throttle_opens_by_itself_only_where_the_settings_say_so() -> None:
    for wait, opened in ((None, False), (20 * MINUTE, True)):
        settings = risk(flow={"max_repeats": 2, "repeat_window_ns": 10**15, "throttle_release_ns": wait})
        records, _ = run(flat(14), always_buys, risk=settings)
        assert ("throttle_released" in alerts(records)) is opened
        shut = next(r.ts for r in records if "repeated_executions" in alerts([r]))
        again = [r.ts for r in records if r.fills and r.ts > shut]
        assert bool(again) is opened
        assert not again or min(again) >= shut + 20 * MINUTE
