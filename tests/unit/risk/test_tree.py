"""Accounts below one another: how they are declared, who stops what, and how the ladder of one above binds those below."""

import msgspec
import pytest

from grandmodel.domain.decisions import CancelIntent, Intent, TargetPosition
from grandmodel.domain.events import Command, CommandKind
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.orders import ExecType, OrderType, Side
from grandmodel.risk.breakers import BreakerState, Trigger
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.gate import build_gates
from grandmodel.risk.settings import (
    AccountLimits,
    BreakerSettings,
    FlowLimits,
    InstrumentLimits,
    PortfolioLimits,
    RiskSettings,
)
from grandmodel.risk.tree import seats_of
from risk import desk

HALF = desk.CAPITAL // 2
SECOND = 10**9


def two(**of_the_desk: object) -> dict[str, AccountLimits]:
    """A desk with two strategies of half the capital each."""
    return {
        "desk": AccountLimits(**of_the_desk),
        "trend": AccountLimits(parent="desk", capital_micros=HALF),
        "carry": AccountLimits(parent="desk", capital_micros=HALF),
    }


def gates_of(accounts: dict[str, AccountLimits], settings: RiskSettings | None = None) -> dict[str, desk.DeskGate]:
    made = build_gates(settings or RiskSettings(), desk.instruments(), desk.CAPITAL, accounts, desk.DeskGate)
    desk.warm(made[""])
    return made


def sees(gate: desk.DeskGate, **changes: object) -> desk.View:
    return desk.view(**{"equity_micros": gate.capital_micros, **changes})


def send(gate: desk.DeskGate, number: int, lots: int, name: str = "NQ") -> None:
    side = Side.BUY if lots > 0 else Side.SELL
    gate.on_order(desk.order(number, instrument=InstrumentId(name), side=side, quantity=abs(lots)))


def fill(gate: desk.DeskGate, number: int, lots: int, name: str = "NQ") -> None:
    side, price = (Side.BUY if lots > 0 else Side.SELL), desk.MARKS[desk.NAMES.index(name)]
    desk.tell(
        gate,
        desk.report(number, ExecType.TRADE, last_quantity=abs(lots), last_price=price),
        desk.fill(number, abs(lots), price, side, name),
    )


def buys(gate: desk.DeskGate, lots: int, number: int = 90, **changes: object) -> tuple[int, str, str]:
    """What comes of an order to buy ``lots`` NQ: the lots that may go, the reason, and the account that it is of."""
    verdict = gate.check(desk.order(number, quantity=lots), sees(gate, **changes))
    return verdict.order.quantity if verdict.order else 0, verdict.reason, verdict.account


# -- as declared ---------------------------------------------------------------------------------------------------


def test_rows_are_the_runs_own_those_that_trade_side_by_side_and_those_between() -> None:
    accounts = {
        "a": AccountLimits(capital_micros=1),
        "firm": AccountLimits(),
        "b": AccountLimits(parent="desk", capital_micros=2),
        "desk": AccountLimits(parent="firm"),
        "c": AccountLimits(parent="firm", capital_micros=3),
        "d": AccountLimits(parent="desk", capital_micros=4),
    }
    seats = seats_of(accounts, RiskSettings(), 10)
    assert [(seat.name, seat.above, seat.first, seat.last, seat.capital_micros) for seat in seats] == [
        ("", -1, 1, 5, 10),
        ("a", 0, 1, 2, 1),
        ("b", 6, 2, 3, 2),
        ("d", 6, 3, 4, 4),
        ("c", 5, 4, 5, 3),
        ("firm", 0, 2, 5, 9),
        ("desk", 5, 2, 4, 6),
    ]
    assert [seat[:5] for seat in seats_of({}, RiskSettings(), 10)] == [("", -1, 0, 1, 10)]


def test_what_an_account_does_not_name_is_as_in_the_run() -> None:
    run = RiskSettings(restricted=("CL",), flow=FlowLimits(max_orders=7), shrink=False)
    own = AccountLimits(portfolio=PortfolioLimits(max_var=0.01), restricted=()).over(run)
    assert own == msgspec.structs.replace(run, portfolio=PortfolioLimits(max_var=0.01), restricted=())


@pytest.mark.parametrize(
    ("accounts", "said"),
    [
        ({"a": AccountLimits(parent="b", capital_micros=10)}, "parent: found 'b'"),
        ({"a": AccountLimits(parent="b"), "b": AccountLimits(parent="a")}, "found a, b below themselves"),
        ({"a": AccountLimits(parent="a", capital_micros=10)}, "found a below themselves"),
        ({"a": AccountLimits()}, "found 0, expected a positive amount: it trades"),
        ({"a": AccountLimits(capital_micros=9)}, "found 9 micros of capital in those that trade .a., expected the 10"),
        (
            {"a": AccountLimits(capital_micros=10), "b": AccountLimits(parent="a", capital_micros=10)},
            "accounts.a.capital_micros: found 10, expected none",
        ),
        ({" ": AccountLimits(capital_micros=10)}, "found the name ' '"),
    ],
)
def test_a_tree_that_is_none_is_refused(accounts: dict[str, AccountLimits], said: str) -> None:
    with pytest.raises(RiskInputError, match=said):
        seats_of(accounts, RiskSettings(), 10)


def test_an_account_that_names_an_instrument_which_the_run_does_not_have_is_refused() -> None:
    with pytest.raises(RiskInputError, match="ZZ"):
        gates_of(two(restricted=("ZZ",)))


# -- who stops what ------------------------------------------------------------------------------------------------


def test_an_order_stops_at_the_first_account_that_refuses_and_all_of_them_are_on_record() -> None:
    gates = gates_of(two(limits=InstrumentLimits(max_order_lots=5)))
    assert buys(gates["trend"], 4) == (4, "", "")
    assert buys(gates["trend"], 6) == (0, "order_quantity", "desk")
    assert buys(gates["trend"], 501) == (0, "order_quantity", "trend")
    verdict = gates["trend"].check(desk.order(quantity=6), sees(gates["trend"]))
    assert [name for name, _ in verdict.above] == ["desk", ""]
    assert [one.reasons for _, one in verdict.above] == [("order_quantity",), ()]
    assert verdict.checked.reasons == ()


def test_the_least_room_on_the_way_up_is_what_is_left() -> None:
    gates = gates_of(two(limits=InstrumentLimits(max_long_lots=10)))
    send(gates["carry"], 1, 7)
    assert buys(gates["trend"], 8) == (3, "position_long", "desk")
    fill(gates["carry"], 1, 7)
    assert buys(gates["trend"], 8) == (3, "position_long", "desk")
    send(gates["carry"], 2, -4)
    assert buys(gates["trend"], 8)[0] == 3  # It may not fill.
    fill(gates["carry"], 2, -4)
    assert buys(gates["trend"], 8)[0] == 7
    assert gates["desk"].seen(desk.view()).positions == [3, 0, 0]


def test_orders_of_two_accounts_are_counted_together_and_are_no_duplicates() -> None:
    gates = gates_of(two(flow=FlowLimits(max_orders=2)))
    assert buys(gates["trend"], 1) == (1, "", "")
    send(gates["trend"], 1, 1)
    assert buys(gates["trend"], 1) == (0, "duplicate", "trend")
    assert buys(gates["carry"], 1) == (1, "", "")
    send(gates["carry"], 2, 1)
    assert buys(gates["trend"], 2) == (0, "order_rate", "desk")
    assert buys(gates["carry"], 2) == (0, "order_rate", "desk")


def test_an_account_does_not_meet_the_resting_order_of_another() -> None:
    gates = gates_of(two())
    rests = desk.order(1, side=Side.SELL, order_type=OrderType.LIMIT, price=80_000)
    gates["carry"].on_order(rests)
    assert buys(gates["trend"], 1) == (0, "self_match", "desk")
    assert buys(gates["carry"], 1) == (0, "self_match", "carry")


def test_executions_of_all_accounts_below_stop_a_side_of_the_desk() -> None:
    gates = gates_of(two(flow=FlowLimits(max_repeats=3)))
    for number in range(4):
        gate = gates["trend" if number % 2 else "carry"]
        send(gate, number + 1, 1)
        fill(gate, number + 1, 1)
    assert buys(gates["trend"], 2, positions=[2, 0, 0]) == (0, "repeated_executions", "desk")
    assert gates["desk"].flow.throttled
    assert not gates["trend"].flow.throttled


# -- the ladder ----------------------------------------------------------------------------------------------------


def kinds(intents: tuple[Intent, ...]) -> list[object]:
    return [
        ("cancel", one.order_id) if isinstance(one, CancelIntent) else ("target", one.instrument, one.lots)
        for one in intents
        if isinstance(one, CancelIntent | TargetPosition)
    ]


def held(gates: dict[str, desk.DeskGate], name: str, number: int, lots: int) -> desk.View:
    """``name`` holds ``lots`` NQ and has an order out that would close one; what it sees."""
    send(gates[name], number, lots)
    fill(gates[name], number, lots)
    send(gates[name], number + 1, -1 if lots > 0 else 1)
    return sees(gates[name], positions=[lots, 0, 0])


def test_the_losses_of_all_below_move_the_ladder_of_the_desk() -> None:
    gates = gates_of(two())
    for gate in gates.values():
        gate.react(sees(gate))
    for name in ("trend", "carry"):
        desk.worth(gates[name], HALF - HALF // 50)  # 2 % of each: caution for a day's loss
    alerts = gates["desk"].react(gates["desk"].seen(desk.view()))[1]
    assert [alert.code for alert in alerts] == ["breaker_caution"]
    # What would be four lots is two, once, though the account is in caution itself.
    view = sees(gates["trend"], equity_micros=HALF - HALF // 50)
    gates["trend"].react(view)
    assert gates["trend"].state is gates["desk"].state is BreakerState.CAUTION
    assert gates["trend"].size_scale == gates["carry"].size_scale == 0.5
    assert gates["trend"].check(desk.order(quantity=4), view).order.quantity == 2


def test_a_halt_of_the_desk_closes_what_each_account_holds_also_where_they_cancel_out() -> None:
    gates = gates_of(two(limits=InstrumentLimits(max_short_lots=3), shrink=False))
    views = {"trend": held(gates, "trend", 1, 5), "carry": held(gates, "carry", 3, -4)}
    gates["desk"].on_signal(Trigger.DISCONNECT, 1.0, desk.START)
    assert gates["desk"].react(gates["desk"].seen(desk.view()))[0] == ()  # It holds nothing of its own.
    assert kinds(gates["trend"].react(views["trend"])[0]) == [("cancel", 2)]
    assert kinds(gates["carry"].react(views["carry"])[0]) == [("cancel", 4)]
    for name, number in (("trend", 2), ("carry", 4)):
        desk.tell(gates[name], desk.report(number, ExecType.CANCELED))
        views[name].ts += SECOND
        views[name].mark_ts = [views[name].ts] * 3
        assert kinds(gates[name].react(views[name])[0]) == [("target", "NQ", 0)]
    assert buys(gates["carry"], 2, positions=[-4, 0, 0])[0] == 2
    assert buys(gates["trend"], 2, positions=[5, 0, 0])[1:] == ("halted_by_breaker", "desk")
    # One lot long in all, three short allowed: of five lots four may be sold at once, though the desk cuts nothing else.
    way_out = desk.order(9, side=Side.SELL, quantity=5, ts=views["trend"].ts)
    verdict = gates["trend"].check(way_out, views["trend"])
    assert (verdict.order.quantity, verdict.reason, verdict.account) == (4, "position_short", "desk")
    assert gates["trend"].size_scale == 0.0
    assert gates["trend"].state is BreakerState.NORMAL


def test_a_resting_order_of_another_account_does_not_keep_a_way_out_shut() -> None:
    gates = gates_of(two())
    view = held(gates, "trend", 1, 5)
    gates["carry"].on_order(desk.order(8, order_type=OrderType.LIMIT, price=80_000))
    way_out = desk.order(9, side=Side.SELL, quantity=4)
    assert gates["trend"].check(way_out, view).reason == "self_match"
    gates["trend"].on_signal(Trigger.DISCONNECT, 1.0, desk.START)
    assert gates["trend"].check(way_out, view).order is not None


def test_a_killed_desk_lets_nothing_leave_below_it_and_leaves_other_desks_alone() -> None:
    accounts = two() | {"alone": AccountLimits(capital_micros=HALF)}
    accounts["carry"] = AccountLimits(parent="desk", capital_micros=HALF - 1)
    accounts["small"] = AccountLimits(parent="desk", capital_micros=1)
    accounts["trend"] = AccountLimits(parent="desk", capital_micros=HALF)
    gates = build_gates(RiskSettings(), desk.instruments(), 3 * HALF, accounts, desk.DeskGate)
    desk.warm(gates[""])
    view = held(gates, "trend", 1, 5)
    gates["desk"].kill("anyone", "a test", desk.START)
    assert gates["trend"].check(desk.order(9, side=Side.SELL, quantity=5), view).reason == "killed"
    assert kinds(gates["trend"].react(view)[0]) == [("cancel", 2)]
    assert buys(gates["alone"], 1) == (1, "", "")


def test_a_pause_and_a_flatten_of_the_desk_bind_those_below_until_all_is_closed() -> None:
    gates = gates_of(two())
    view = held(gates, "trend", 1, 5)
    say = {"who": "ada/risk_officer", "ts": desk.START, "why": "a test"}
    gates["desk"].on_command(Command(kind=CommandKind.PAUSE, **say), gates["desk"].seen(desk.view()))
    assert buys(gates["carry"], 1) == (0, "paused", "desk")
    assert gates["carry"].size_scale == 0.0
    assert gates["trend"].react(view)[0] == ()
    gates["desk"].on_command(Command(kind=CommandKind.FLATTEN, **say), gates["desk"].seen(desk.view()))
    assert kinds(gates["trend"].react(view)[0]) == [("cancel", 2)]
    desk.tell(gates["trend"], desk.report(2, ExecType.CANCELED))
    send(gates["trend"], 3, -5)
    gates["desk"].react(gates["desk"].seen(desk.view()))
    assert gates["desk"].standing.flattening
    fill(gates["trend"], 3, -5)
    gates["desk"].react(gates["desk"].seen(desk.view()))
    assert not gates["desk"].standing.flattening


def test_rejects_below_count_at_the_desk() -> None:
    gates = gates_of(
        two(
            breakers=BreakerSettings(
                order_rejects=msgspec.structs.replace(BreakerSettings().order_rejects, caution=2.0)
            )
        )
    )
    for number, name in ((1, "trend"), (2, "carry")):
        send(gates[name], number, 1)
        desk.tell(gates[name], desk.report(number, ExecType.REJECTED))
    assert gates["desk"].state is BreakerState.CAUTION
    assert gates["trend"].state is BreakerState.NORMAL


def test_gates_are_saved_and_restored_from_the_top_down() -> None:
    accounts = two(limits=InstrumentLimits(max_long_lots=10))
    gates = gates_of(accounts)
    view = held(gates, "trend", 1, 5)
    gates["desk"].on_signal(Trigger.DISCONNECT, 1.0, desk.START)
    gates["trend"].react(view)
    again = build_gates(RiskSettings(), desk.instruments(), desk.CAPITAL, accounts, desk.DeskGate)
    for name, gate in gates.items():
        again[name].restore(gate.save())
    rows, known = again[""].account.rows, gates[""].account.rows
    for side in ("buys", "sells"):
        assert rows.seen[side].tolist() == known.seen[side].tolist()
    later = desk.view(positions=[5, 0, 0], ts=desk.START + SECOND // 2, equity_micros=HALF)
    assert again["trend"].react(later) == gates["trend"].react(later) == ((), ())
    order = desk.order(9, side=Side.SELL, quantity=2)
    assert again["trend"].check(order, view) == gates["trend"].check(order, view)
