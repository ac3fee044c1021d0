"""One test for every reason code, by name: what makes a check say no, and that the same order passes without it."""

from pathlib import Path

import pytest

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.decisions import CheckOutcome
from grandmodel.domain.events import Command, CommandKind
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import ExecType, OrderType, Side, TimeInForce
from grandmodel.risk.breakers import BreakerState, Trigger
from grandmodel.risk.checks import CHECK_NAMES
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.reasons import RiskReason
from grandmodel.risk.running import COUNTS
from grandmodel.risk.settings import FlowLimits, InstrumentLimits, PortfolioLimits, RiskSettings
from risk import desk
from risk.desk import DeskGate, Verdict, View

SECOND = 10**9


def _limits(**changes: object) -> RiskSettings:
    return RiskSettings(limits=InstrumentLimits(**changes))


def _portfolio(**changes: object) -> RiskSettings:
    return RiskSettings(portfolio=PortfolioLimits(**changes))


def _refused(verdict: Verdict, check: str, reason: RiskReason) -> None:
    assert [c.name for c in verdict.checks] == list(CHECK_NAMES)
    assert verdict.order is None
    found = next(c for c in verdict.checks if c.name == check)
    assert (found.outcome, found.reason) == (CheckOutcome.REFUSED, reason)


def _shrunk(verdict: Verdict, check: str, reason: RiskReason, quantity: int) -> None:
    found = next(c for c in verdict.checks if c.name == check)
    assert (found.outcome, found.reason) == (CheckOutcome.SHRUNK, reason)
    assert verdict.order is not None
    assert verdict.order.quantity == quantity


def test_an_ordinary_order_passes_every_check_in_the_fixed_order() -> None:
    verdict = desk.gate().check(desk.order(), desk.view())
    assert verdict.order == desk.order()
    assert verdict.reason == ""
    assert [c.name for c in verdict.checks] == list(CHECK_NAMES)
    assert {c.outcome for c in verdict.checks} == {CheckOutcome.PASSED}


def test_not_computed() -> None:
    unknown = desk.view(marks=[UNDEFINED_PRICE, 7_500, 110_000])
    verdict = desk.gate().check(desk.order(), unknown)
    first = CHECK_NAMES.index("order_rate")
    assert {c.reason for c in verdict.checks[first:]} == {RiskReason.NOT_COMPUTED}
    assert RiskReason.NOT_COMPUTED not in {c.reason for c in verdict.checks[:first]}
    assert verdict.order is None


def test_not_authorised() -> None:
    gate = desk.gate(RiskSettings(authorised=("CL",)))
    _refused(gate.check(desk.order(), desk.view()), "authorised_instrument", RiskReason.NOT_AUTHORISED)
    assert gate.check(desk.order(instrument=InstrumentId("CL")), desk.view()).order is not None


def test_out_of_session() -> None:
    verdict = desk.gate().check(desk.order(), desk.view(in_session=[False, True, True]))
    _refused(verdict, "session", RiskReason.OUT_OF_SESSION)


def test_trading_halted() -> None:
    verdict = desk.gate().check(desk.order(), desk.view(halted=[True, False, False]))
    _refused(verdict, "session", RiskReason.TRADING_HALTED)


@pytest.mark.parametrize("quantity", [0, -3, 2**31])
def test_invalid_quantity(quantity: int) -> None:
    gate = desk.gate(_limits(max_order_lots=2**40))
    _refused(gate.check(desk.order(quantity=quantity), desk.view()), "order_rules", RiskReason.INVALID_QUANTITY)


@pytest.mark.parametrize(
    "changes",
    [
        {"price": 80_000},
        {"order_type": OrderType.LIMIT},
        {"order_type": OrderType.STOP},
        {"order_type": OrderType.STOP_LIMIT, "stop_price": 80_100},
        {"order_type": OrderType.LIMIT, "price": 0},
        {"order_type": OrderType.STOP, "stop_price": -5},
        {"order_type": OrderType.LIMIT, "price": 2**41},
        {"order_type": OrderType.MARKET_IF_TOUCHED},
        {"order_type": OrderType.LIMIT_IF_TOUCHED, "price": 80_000},
        {"order_type": OrderType.MARKET_TO_LIMIT, "price": 80_000},
        {"order_type": OrderType.TRAILING_STOP},
        {"order_type": OrderType.TRAILING_STOP, "trail_ticks": -3},
        {"order_type": OrderType.TRAILING_STOP, "trail_ticks": 2**41},
        {"order_type": OrderType.MARKET, "trail_ticks": 3},
        {"display_quantity": 1},
        {"order_type": OrderType.LIMIT, "price": 80_000, "display_quantity": -1},
    ],
)
def test_invalid_price(changes: dict) -> None:
    _refused(desk.gate().check(desk.order(**changes), desk.view()), "order_rules", RiskReason.INVALID_PRICE)


def test_a_price_below_zero_is_legal_where_the_instrument_says_so() -> None:
    verdict = desk.gate().check(
        desk.order(instrument=InstrumentId("CL"), order_type=OrderType.LIMIT, price=-3_763),
        desk.view(marks=[80_000, -3_750, 110_000]),
    )
    assert verdict.order is not None


def test_expired() -> None:
    late = desk.order(order_type=OrderType.LIMIT, price=80_000, time_in_force=TimeInForce.GTD, expire_ts=desk.START)
    _refused(desk.gate().check(late, desk.view()), "order_rules", RiskReason.EXPIRED)


@pytest.mark.parametrize("changes", [{"side": Side.BUY}, {"quantity": 3}, {"instrument": InstrumentId("CL")}])
def test_child_mismatch(changes: dict) -> None:
    gate = desk.gate()
    gate.on_order(desk.order(1))
    good = {"side": Side.SELL, "order_type": OrderType.STOP, "stop_price": 79_000, "parent": OrderId(1)}
    assert gate.check(desk.order(2, **good), desk.view()).order is not None
    if "instrument" in changes:
        changes = {**changes, "stop_price": 7_300}
    verdict = gate.check(desk.order(2, **{**good, **changes}), desk.view())
    _refused(verdict, "order_rules", RiskReason.CHILD_MISMATCH)


def test_order_quantity() -> None:
    gate = desk.gate(_limits(max_order_lots=5))
    assert gate.check(desk.order(quantity=5), desk.view()).order is not None
    _refused(gate.check(desk.order(quantity=6), desk.view()), "order_quantity", RiskReason.ORDER_QUANTITY)


def test_order_notional() -> None:
    # One NQ at 80,000 ticks is 400,000 of 10,000,000: 0.04.
    gate = desk.gate(_limits(max_order_notional=0.08))
    assert gate.check(desk.order(quantity=2), desk.view()).order is not None
    _refused(gate.check(desk.order(quantity=3), desk.view()), "order_notional", RiskReason.ORDER_NOTIONAL)


def test_a_way_out_that_a_person_asked_for_is_no_fat_finger() -> None:
    """A position of seven under a limit of five an order: closing it is refused to an agent, and let through on FLATTEN."""
    gate = desk.gate(_limits(max_order_lots=5, max_order_notional=0.08))
    held = desk.view(positions=[7, 0, 0])
    close = desk.order(quantity=7, side=Side.SELL)
    assert desk.codes(gate.check(close, held)) == {
        "order_quantity": RiskReason.ORDER_QUANTITY,
        "order_notional": RiskReason.ORDER_NOTIONAL,
    }
    gate.on_command(Command(kind=CommandKind.FLATTEN, ts=held.ts, who="ann/risk_officer", why="news"), held)
    verdict = gate.check(close, held)
    assert verdict.order == close
    assert {check.name: check.value for check in verdict.checks}["order_quantity"] == 7
    assert gate.check(desk.order(quantity=8, side=Side.SELL), held).order is None
    assert gate.check(desk.order(quantity=7, side=Side.BUY), held).order is None


@pytest.mark.parametrize("changes", [{"marks": [UNDEFINED_PRICE, 7_500, 110_000]}, {"rates_micros": [0, 1, 1]}])
def test_no_price(changes: dict) -> None:
    verdict = desk.gate().check(desk.order(), desk.view(**changes))
    assert verdict.order is None
    assert verdict.reason == RiskReason.NO_PRICE


def test_no_price_of_another_position_refuses_too() -> None:
    there = desk.view(positions=[0, 3, 0], marks=[80_000, UNDEFINED_PRICE, 110_000])
    verdict = desk.gate().check(desk.order(), there)
    assert verdict.order is None
    assert verdict.reason == RiskReason.NO_PRICE


@pytest.mark.parametrize(
    "changes",
    [
        {"order_type": OrderType.LIMIT, "price": 80_000 + 2_401},
        {"order_type": OrderType.LIMIT, "price": 80_000 - 2_401, "side": Side.SELL},
        {"order_type": OrderType.LIMIT, "price": 30_000},
        {"order_type": OrderType.STOP, "stop_price": 130_000},
        {"order_type": OrderType.STOP_LIMIT, "stop_price": 80_500, "price": 83_000},
        {"order_type": OrderType.MARKET_IF_TOUCHED, "stop_price": 30_000},
        {"order_type": OrderType.LIMIT_IF_TOUCHED, "stop_price": 79_500, "price": 82_000},
        {"order_type": OrderType.TRAILING_STOP, "trail_ticks": 50_000},
    ],
)
def test_price_collar(changes: dict) -> None:
    _refused(desk.gate().check(desk.order(**changes), desk.view()), "price_collar", RiskReason.PRICE_COLLAR)


@pytest.mark.parametrize("kind", [OrderType.MARKET, OrderType.MARKET_TO_LIMIT])
def test_price_collar_of_what_takes_at_any_price_looks_at_the_touch(kind: OrderType) -> None:
    gate = desk.gate()
    wide = desk.view(best_asks=[83_000, UNDEFINED_PRICE, UNDEFINED_PRICE])
    _refused(gate.check(desk.order(order_type=kind), wide), "price_collar", RiskReason.PRICE_COLLAR)
    assert gate.check(desk.order(side=Side.SELL, order_type=kind), wide).order is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"order_type": OrderType.MARKET_IF_TOUCHED, "stop_price": 79_900},
        {"order_type": OrderType.LIMIT_IF_TOUCHED, "stop_price": 79_900, "price": 79_950},
        {"order_type": OrderType.MARKET_TO_LIMIT},
        {"order_type": OrderType.TRAILING_STOP, "trail_ticks": 100},
        {"order_type": OrderType.LIMIT, "price": 79_900, "display_quantity": 1},
    ],
)
def test_orders_of_the_newer_types_pass(changes: dict) -> None:
    verdict = desk.gate().check(desk.order(**changes), desk.view())
    assert verdict.order is not None, desk.codes(verdict)


def test_the_notional_of_a_trailing_stop_reaches_as_far_as_its_trail() -> None:
    def notional(**changes: object) -> float | int | None:
        checks = desk.gate().check(desk.order(**changes), desk.view()).checks
        return next(check.value for check in checks if check.name == "order_notional")

    market, trailing = notional(), notional(order_type=OrderType.TRAILING_STOP, trail_ticks=800)
    assert market is not None
    assert trailing == market * (desk.MARKS[0] + 800) // desk.MARKS[0]


def test_order_rate() -> None:
    gate = desk.gate(RiskSettings(flow=FlowLimits(max_orders=3)))
    for k in range(3):
        gate.on_order(desk.order(k + 1, quantity=k + 1))
    _refused(gate.check(desk.order(9, quantity=9), desk.view()), "order_rate", RiskReason.ORDER_RATE)
    later = desk.view(ts=desk.START + SECOND)
    assert "order_rate" not in desk.codes(gate.check(desk.order(9, quantity=9, ts=later.ts), later))


def test_message_rate_counts_cancels_and_refuses_even_what_reduces() -> None:
    gate = desk.gate(RiskSettings(flow=FlowLimits(max_messages=3)))
    gate.on_order(desk.order(7, quantity=5))
    assert gate.working.ask_cancel(7, desk.START)
    gate.on_order(desk.order(8, quantity=6))
    long = desk.view(positions=[5, 0, 0])
    _refused(gate.check(desk.order(side=Side.SELL), long), "message_rate", RiskReason.MESSAGE_RATE)


def _churn(gate: DeskGate, view: View, rounds: int) -> None:
    for k in range(rounds):
        sent = desk.order(100 + k)
        gate.on_order(sent)
        desk.tell(
            gate,
            desk.report(sent.order_id, ExecType.TRADE, k, last_quantity=2, last_price=80_000, cumulative=2),
            desk.fill(sent.order_id, 2, 80_000),
        )
        view.positions[0] += 2


def test_repeated_executions_until_a_person_resets_them() -> None:
    gate = desk.gate(RiskSettings(flow=FlowLimits(max_repeats=4)))
    view = desk.view()
    _churn(gate, view, 5)
    later = desk.view(ts=desk.START + 3600 * SECOND, mark_ts=[desk.START + 3600 * SECOND] * 3, positions=view.positions)
    again = desk.order(9, quantity=1, ts=later.ts)
    _refused(gate.check(again, later), "repeated_orders", RiskReason.REPEATED_EXECUTIONS)
    assert any(a.code == "repeated_executions" for a in gate.react(later)[1])
    assert gate.check(desk.order(9, quantity=1, side=Side.SELL, ts=later.ts), later).order is not None
    with pytest.raises(RiskInputError):
        gate.reset_throttle("ada/trader", "checked")
    gate.reset_throttle("ada/risk_officer", "checked: a genuine signal")
    assert gate.check(again, later).order is not None


def test_duplicate() -> None:
    gate = desk.gate()
    gate.on_order(desk.order(1))
    _refused(gate.check(desk.order(2), desk.view()), "duplicate", RiskReason.DUPLICATE)
    assert gate.check(desk.order(2, quantity=3), desk.view()).order is not None
    later = desk.view(ts=desk.START + SECOND)
    assert gate.check(desk.order(2, ts=later.ts), later).order is not None


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({"order_type": OrderType.LIMIT, "price": 80_010}, True),
        ({"order_type": OrderType.LIMIT, "price": 80_011}, True),
        ({"order_type": OrderType.LIMIT, "price": 80_009}, False),
        ({"order_type": OrderType.MARKET}, False),
        ({"order_type": OrderType.STOP, "stop_price": 80_020}, False),
    ],
)
def test_self_match(changes: dict, matches: bool) -> None:
    gate = desk.gate()
    gate.on_order(desk.order(1, side=Side.SELL, order_type=OrderType.LIMIT, price=80_010))
    verdict = gate.check(desk.order(2, **changes), desk.view())
    if matches:
        _refused(verdict, "self_match", RiskReason.SELF_MATCH)
    else:
        assert verdict.order is not None


def test_a_market_order_matches_our_own_order_at_the_touch() -> None:
    gate = desk.gate()
    gate.on_order(desk.order(1, side=Side.SELL, order_type=OrderType.LIMIT, price=80_010))
    touch = desk.view(best_asks=[80_010, UNDEFINED_PRICE, UNDEFINED_PRICE])
    _refused(gate.check(desk.order(2), touch), "self_match", RiskReason.SELF_MATCH)


@pytest.mark.parametrize("position", [0, 3])
def test_an_order_that_only_reduces_needs_something_to_reduce(position: int) -> None:
    view = desk.view(positions=[position, 0, 0])
    verdict = desk.gate().check(desk.order(reduce_only=True), view)
    _refused(verdict, "order_rules", RiskReason.NOTHING_TO_REDUCE)
    short = desk.view(positions=[-3, 0, 0])
    assert desk.gate().check(desk.order(quantity=3, reduce_only=True), short).reason == ""


def test_position_long_counts_orders_that_have_only_been_sent() -> None:
    gate = desk.gate(_limits(max_long_lots=10))
    gate.on_order(desk.order(1, quantity=4))
    view = desk.view(positions=[3, 0, 0])
    assert gate.check(desk.order(2, quantity=3), view).reason == ""
    _shrunk(gate.check(desk.order(2, quantity=5), view), "position_long", RiskReason.POSITION_LONG, 3)
    gate.on_order(desk.order(3, quantity=3))
    _refused(gate.check(desk.order(4, quantity=1), view), "position_long", RiskReason.POSITION_LONG)


def test_position_short() -> None:
    gate = desk.gate(_limits(max_short_lots=10))
    view = desk.view(positions=[-3, 0, 0])
    _shrunk(gate.check(desk.order(side=Side.SELL, quantity=9), view), "position_short", RiskReason.POSITION_SHORT, 7)
    # The flip from long to short is limited on its far side only.
    long = desk.view(positions=[8, 0, 0])
    assert gate.check(desk.order(side=Side.SELL, quantity=18), long).reason == ""
    _shrunk(gate.check(desk.order(side=Side.SELL, quantity=19), long), "position_short", RiskReason.POSITION_SHORT, 18)


def test_position_overall() -> None:
    gate = desk.gate(_portfolio(max_overall_lots=10))
    view = desk.view(positions=[2, -5, 0])
    _shrunk(gate.check(desk.order(quantity=4), view), "position_overall", RiskReason.POSITION_OVERALL, 3)


def test_gross_exposure() -> None:
    # NQ is 400,000 a lot and CL 75,000, of 10,000,000: 1.0 leaves room for 21 lots beside 16 of CL.
    gate = desk.gate(_portfolio(max_gross_exposure=1.0, max_var=9.0, max_stressed_var=99.0))
    view = desk.view(positions=[0, -16, 0])
    _shrunk(gate.check(desk.order(quantity=30), view), "gross_exposure", RiskReason.GROSS_EXPOSURE, 22)


def test_net_exposure() -> None:
    gate = desk.gate(_portfolio(max_net_exposure=1.0, max_var=9.0, max_stressed_var=99.0))
    view = desk.view(positions=[0, -16, 0])
    _shrunk(gate.check(desk.order(quantity=40), view), "net_exposure", RiskReason.NET_EXPOSURE, 28)
    # What brings the sum nearer to zero is free, even beyond the limit.
    over = desk.view(positions=[0, -400, 0])
    assert "net_exposure" not in desk.codes(gate.check(desk.order(quantity=2), over))


def test_concentration() -> None:
    gate = desk.gate(_limits(max_concentration=0.2))
    _shrunk(gate.check(desk.order(quantity=9), desk.view()), "concentration", RiskReason.CONCENTRATION, 5)


def test_margin_follows_equity() -> None:
    # 18,700 a lot; half of 100,000 holds two.
    gate = desk.gate(_portfolio(max_margin_share=0.5))
    poor = desk.view(equity_micros=100_000 * 1_000_000)
    verdict = gate.check(desk.order(quantity=9), poor)
    found = next(c for c in verdict.checks if c.name == "margin")
    assert found.outcome is CheckOutcome.SHRUNK
    assert (found.value, found.limit) == (9 * 18_700 * 1_000_000, 50_000 * 1_000_000)


def test_spot_pays_the_whole_price() -> None:
    gate = desk.gate(_portfolio(max_margin_share=0.01, max_var=9.0, max_stressed_var=99.0))
    verdict = gate.check(desk.order(instrument=InstrumentId("EURUSD"), quantity=200), desk.view())
    _shrunk(verdict, "margin", RiskReason.MARGIN, 90)  # 1,100 a lot of a thousand, 100,000 in all


def test_var_limit() -> None:
    gate = desk.gate()
    one = gate.running.value_at_risk([1, 0, 0], [1_000_000] * 3)
    fits = int(0.05 * desk.CAPITAL / one)
    verdict = gate.check(desk.order(quantity=fits + 3), desk.view())
    _shrunk(verdict, "var", RiskReason.VAR_LIMIT, fits)
    found = next(c for c in verdict.checks if c.name == "var")
    assert found.value == pytest.approx(one * (fits + 3), rel=1e-9)


def test_var_limit_lets_a_hedge_through() -> None:
    gate = desk.gate()
    heavy = desk.view(positions=[0, -900, 0])
    held = gate.running.value_at_risk(heavy.positions, heavy.rates_micros)
    assert held > 0.05 * desk.CAPITAL
    assert "var" not in desk.codes(gate.check(desk.order(quantity=1), heavy))
    worse = gate.check(desk.order(instrument=InstrumentId("CL"), side=Side.SELL, quantity=1), heavy)
    _refused(worse, "var", RiskReason.VAR_LIMIT)


def test_var_unknown_until_enough_returns() -> None:
    gate = desk.gate(warmed=False)
    _refused(gate.check(desk.order(), desk.view()), "var", RiskReason.VAR_UNKNOWN)
    _refused(gate.check(desk.order(), desk.view()), "stressed_var", RiskReason.VAR_UNKNOWN)
    long = desk.view(positions=[5, 0, 0])
    assert gate.check(desk.order(side=Side.SELL, quantity=5), long).reason == ""
    _shrunk(gate.check(desk.order(side=Side.SELL, quantity=7), long), "var", RiskReason.VAR_UNKNOWN, 5)


def test_var_of_one_unknown_position_makes_the_account_unknown() -> None:
    gate = desk.gate(warmed=False)
    desk.warm(gate, desk.NAMES)
    gate.running.lots[COUNTS, 1] = 0  # CL has not been seen often enough
    gate.running._known_updates = gate.running._table_updates = -1
    assert gate.check(desk.order(), desk.view()).order is not None
    _refused(gate.check(desk.order(), desk.view(positions=[0, 1, 0])), "var", RiskReason.VAR_UNKNOWN)


def test_stressed_var_limit() -> None:
    gate = desk.gate(_portfolio(max_stressed_var=0.02))
    extra = gate.running.coefficients([0] * 3, [1_000_000] * 3).stressed[0]
    fits = int(0.02 * desk.CAPITAL / extra)
    verdict = gate.check(desk.order(quantity=fits + 2), desk.view())
    _shrunk(verdict, "stressed_var", RiskReason.STRESSED_VAR_LIMIT, fits)


def test_stressed_var_gives_no_credit_for_a_hedge() -> None:
    gate = desk.gate(_portfolio(max_stressed_var=0.02, max_var=9.0))
    hedged = desk.view(positions=[0, -500, 0])
    _refused(gate.check(desk.order(quantity=1), hedged), "stressed_var", RiskReason.STRESSED_VAR_LIMIT)


@pytest.mark.parametrize(
    ("equity", "check", "reason"),
    [(0.79, "drawdown", RiskReason.DRAWDOWN), (0.949, "daily_loss", RiskReason.DAILY_LOSS)],
)
def test_drawdown_and_daily_loss(equity: float, check: str, reason: RiskReason) -> None:
    gate = desk.gate()
    lost = desk.view(equity_micros=int(equity * desk.CAPITAL))
    _refused(gate.check(desk.order(), lost), check, reason)
    lost.positions[0] = 5
    assert gate.check(desk.order(side=Side.SELL), lost).order is not None
    _shrunk(gate.check(desk.order(side=Side.SELL, quantity=8), lost), check, reason, 5)


def test_restricted() -> None:
    gate = desk.gate(RiskSettings(restricted=("NQ",)))
    _refused(gate.check(desk.order(), desk.view()), "restricted_list", RiskReason.RESTRICTED)
    long = desk.view(positions=[5, 0, 0])
    _shrunk(gate.check(desk.order(side=Side.SELL, quantity=6), long), "restricted_list", RiskReason.RESTRICTED, 5)


def test_stale_data_stops_new_risk_but_not_a_reduction() -> None:
    gate = desk.gate(_limits(max_mark_age_ns=5 * SECOND))
    old = desk.view(mark_ts=[desk.START - 6 * SECOND, desk.START, desk.START], positions=[5, 0, 0])
    _refused(gate.check(desk.order(), old), "stale_data", RiskReason.STALE_DATA)
    assert gate.check(desk.order(side=Side.SELL), old).order is not None
    assert gate.check(desk.order(instrument=InstrumentId("CL")), old).order is not None


def test_caution_half_size() -> None:
    gate = desk.gate()
    gate.on_signal(Trigger.LATENCY, 1.0, desk.START)
    assert gate.state is BreakerState.CAUTION
    verdict = gate.check(desk.order(quantity=4), desk.view())
    _shrunk(verdict, "breaker", RiskReason.CAUTION_HALF_SIZE, 2)
    # Asking again does not creep towards the whole: two of four are held, the other two stay away.
    held = desk.view(positions=[2, 0, 0])
    _refused(gate.check(desk.order(quantity=2), held), "breaker", RiskReason.CAUTION_HALF_SIZE)
    assert gate.check(desk.order(quantity=2, side=Side.SELL), held).reason == ""


def test_reduce_only() -> None:
    gate = desk.gate()
    gate.on_signal(Trigger.MARKET_WIDE, 0.14, desk.START)
    long = desk.view(positions=[5, 0, 0])
    _refused(gate.check(desk.order(), long), "breaker", RiskReason.REDUCE_ONLY)
    assert gate.check(desk.order(side=Side.SELL, quantity=5), long).reason == ""
    _shrunk(gate.check(desk.order(side=Side.SELL, quantity=6), long), "breaker", RiskReason.REDUCE_ONLY, 5)


def test_halted_by_breaker() -> None:
    gate = desk.gate()
    gate.on_signal(Trigger.DISCONNECT, 1.0, desk.START)
    _refused(gate.check(desk.order(), desk.view()), "breaker", RiskReason.HALTED_BY_BREAKER)
    assert gate.check(desk.order(side=Side.SELL), desk.view(positions=[2, 0, 0])).reason == ""


def _command(kind: CommandKind, who: str = "ada/risk_officer", why: str = "checked") -> Command:
    return Command(kind=kind, ts=desk.START, who=who, why=why)


def test_paused() -> None:
    gate = desk.gate()
    gate.on_command(_command(CommandKind.PAUSE), desk.view())
    _refused(gate.check(desk.order(), desk.view()), "breaker", RiskReason.PAUSED)
    assert gate.check(desk.order(side=Side.SELL), desk.view(positions=[2, 0, 0])).reason == ""
    gate.on_command(_command(CommandKind.RESUME), desk.view())
    assert gate.check(desk.order(), desk.view()).order is not None


def test_killed_refuses_even_what_reduces() -> None:
    gate = desk.gate()
    gate.kill("ada/trader", "test", desk.START)
    verdict = gate.check(desk.order(side=Side.SELL), desk.view(positions=[2, 0, 0]))
    _refused(verdict, "breaker", RiskReason.KILLED)


def test_nothing_is_shrunk_where_shrinking_is_off() -> None:
    gate = desk.gate(RiskSettings(limits=InstrumentLimits(max_long_lots=10), shrink=False))
    _refused(gate.check(desk.order(quantity=11), desk.view()), "position_long", RiskReason.POSITION_LONG)


def test_every_reason_code_has_its_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [code.name for code in RiskReason if f"RiskReason.{code.name}" not in text] == []
