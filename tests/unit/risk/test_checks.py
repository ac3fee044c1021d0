"""The checks' kernel on one account of several, and its findings in the forms that people read."""

import math

import msgspec
import pytest

from grandmodel.domain.decisions import CheckedOrder, CheckOutcome, PlaceOrder
from grandmodel.domain.events import Cause, DecidedIntent, Record
from grandmodel.domain.ids import InstrumentId, OrderId
from grandmodel.domain.orders import Order, OrderType, Side
from grandmodel.risk.checks import (
    CHECK_NAMES,
    CHECKS,
    COUNT,
    REASONS,
    Kind,
    checked,
    checks_of,
    judge,
    names_of,
)
from grandmodel.risk.reasons import RiskReason
from grandmodel.risk.settings import InstrumentLimits, PortfolioLimits, RiskSettings
from risk import desk
from risk.desk import DeskGate

TIGHT = RiskSettings(limits=InstrumentLimits(max_long_lots=6, max_short_lots=6))
TIGHTER = msgspec.structs.replace(TIGHT, portfolio=PortfolioLimits(max_gross_exposure=0.2))
ORDERS = (
    desk.order(1, quantity=3),
    desk.order(2, quantity=9),
    desk.order(3, side=Side.SELL, quantity=4, order_type=OrderType.LIMIT, price=desk.MARKS[0] + 4),
    desk.order(4, quantity=2, order_type=OrderType.STOP, stop_price=desk.MARKS[0] + 40, parent=OrderId(9)),
    desk.order(5, quantity=1, instrument=InstrumentId("CL"), oco_group=3),
    desk.order(6, quantity=0),
    desk.order(10, side=Side.SELL, quantity=5, reduce_only=True),
    desk.order(9, quantity=6),
)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_each_order_of_an_account_among_others_is_judged_by_its_own_rows(n: int, m: int) -> None:
    gate = desk.gate(TIGHT)
    for sent in (
        desk.order(9, quantity=2, oco_group=5),
        desk.order(8, side=Side.SELL, quantity=2, instrument=InstrumentId("EURUSD")),
    ):
        gate.on_order(sent)
    gate.account.make_room(len(ORDERS))
    gate.see(desk.view(positions=[2, -1, 0], best_bids=[79_999, 7_499, 109_999], best_asks=[80_001, 7_501, 110_001]))
    for k, order in enumerate(ORDERS):
        assert gate.put(k, order, desk.NAMES.index(order.instrument))
    mine = gate.account.rows
    both = desk.among_others(mine, n, m)
    approved = [judge(gate.account.rows, 0, 0, k) for k in range(len(ORDERS))]
    assert [judge(both, n, m, k) for k in range(len(ORDERS))] == approved
    assert approved == [2, 2, 4, 0, 1, 0, 5, 4]
    for name in desk.PER_ACCOUNT:
        assert getattr(both, name)[n].tobytes() == getattr(mine, name)[0].tobytes(), name
        assert not any(getattr(both, name)[1 - n].tobytes()), name


def test_where_nobody_reads_what_was_found_there_is_one_place_for_it() -> None:
    gate = desk.gate(TIGHT)
    gate.account.make_room(len(ORDERS))
    gate.see(desk.view())
    for k, order in enumerate(ORDERS[:3]):
        assert gate.put(k, order, 0)
    rows = gate.account.rows
    alone = rows._replace(found=rows.found[:, :1].copy(), found_real=rows.found_real[:, :1].copy())
    for k in range(3):
        assert judge(alone, 0, 0, k) == judge(gate.account.rows, 0, 0, k)
        assert alone.found[0, 0].tolist() == rows.found[0, k].tolist()


# -- for people --------------------------------------------------------------------------------------------------------


def test_the_names_and_codes_stand_in_their_order() -> None:
    assert tuple(check.name for check in CHECKS) == CHECK_NAMES
    assert len(set(CHECK_NAMES)) == COUNT == 25
    assert REASONS[0] == ""
    assert {code for check in CHECKS for code in check.reasons} < set(RiskReason)


def test_what_passed_shows_values_and_words_show_none() -> None:
    gate = desk.gate()
    verdict = gate.check(desk.order(1, quantity=3), desk.view(positions=[2, 0, 0]))
    told = {one.name: one for one in verdict.checks}
    assert {one.outcome for one in told.values()} == {CheckOutcome.PASSED}
    for check in CHECKS:
        one = told[check.name]
        assert ((one.value is None) and (one.limit is None)) == (check.kind is Kind.WORD), check.name
    assert (told["order_quantity"].value, told["position_long"].value, told["position_overall"].value) == (3, 5, 5)
    assert told["position_short"].value == -2
    assert told["stale_data"].value == 0
    assert told["drawdown"].value == 0.0


def found_of(gate_settings: RiskSettings, order: Order, **seen: object) -> CheckedOrder:
    gate = desk.gate(gate_settings)
    gate.see(desk.view(**seen))
    assert gate.put(0, order, 0)
    judge(gate.account.rows, 0, 0, 0)
    return checked(gate.account.rows, 0, order.order_id, int(gate.account.asked[0][0][-1]))


def test_what_was_cut_and_what_refused_are_told_apart_and_in_order() -> None:
    found = found_of(TIGHTER, desk.order(5, quantity=9), positions=[2, 0, 0])
    cut = [name for place, name in enumerate(CHECK_NAMES) if found.shrunk >> place & 1]
    assert cut == ["position_long", "gross_exposure"]
    assert (found.order_id, found.refused, found.reasons) == (5, 0, ("position_long", "gross_exposure"))
    halted = found_of(TIGHTER, desk.order(5, quantity=9), positions=[2, 0, 0], halted=[True, False, False])
    assert halted.shrunk == found.shrunk
    assert halted.refused == 1 << CHECK_NAMES.index("session")
    assert halted.reasons == ("trading_halted", "position_long", "gross_exposure")
    place = CHECK_NAMES.index("session")
    assert (halted.values[place], halted.limits[place]) == (None, None)


def test_what_could_not_be_found_shows_nothing() -> None:
    unknown = desk.gate(warmed=False)
    verdict = unknown.check(desk.order(1), desk.view())
    told = {one.name: one for one in verdict.checks}
    assert (told["var"].outcome, told["var"].value, told["var"].reason) == (CheckOutcome.REFUSED, None, "var_unknown")
    assert told["var"].limit == RiskSettings().portfolio.max_var * desk.CAPITAL
    closing = unknown.check(desk.order(2, side=Side.SELL), desk.view(positions=[2, 0, 0]))
    told = {one.name: one for one in closing.checks}
    assert (told["var"].outcome, told["var"].value, told["var"].reason) == (CheckOutcome.PASSED, None, "")
    assert closing.reason == ""


def test_the_checks_of_an_intent_are_those_of_its_orders_by_the_names_of_its_run() -> None:
    names = ("one", "two")
    order = CheckedOrder(OrderId(3), (1, 5), (2, 4), 0b00, 0b10, ("too_much",))
    intent = DecidedIntent(
        number=1, agent="a", intent=PlaceOrder(instrument=InstrumentId("NQ"), side=Side.BUY, quantity=1), checks=(order,),
        orders=(), refused="too_much",
    )  # fmt: skip
    ((number, told),) = checks_of(intent, names)
    assert number == 3
    assert [(one.name, one.outcome, one.value, one.limit, one.reason) for one in told] == [
        ("one", CheckOutcome.PASSED, 1, 2, ""),
        ("two", CheckOutcome.REFUSED, 5, 4, "too_much"),
    ]


def test_a_future_that_is_only_watched_and_has_no_margin_binds_none() -> None:
    nq, cl, eurusd = desk.instruments()
    watched = msgspec.structs.replace(nq, initial_margin_micros=0)
    gate = DeskGate(RiskSettings(authorised=(cl.id,)), (watched, cl, eurusd), desk.CAPITAL)
    told = {one.name: one for one in gate.check(desk.order(1, instrument=cl.id), desk.view(positions=[3, 1, 0])).checks}
    assert told["margin"].value == (1 + 2) * cl.initial_margin_micros
    assert told["position_overall"].value == 3 + 1 + 2


def test_a_run_names_its_checks_on_its_first_record() -> None:
    first = Record(number=0, ts=0, cause=Cause.BEGIN, position=0, equity_micros=0)
    assert names_of(first) == CHECK_NAMES
    assert names_of(msgspec.structs.replace(first, note=msgspec.Raw(b'{"seed":1}'))) == CHECK_NAMES
    assert names_of(msgspec.structs.replace(first, note=msgspec.Raw(b'{"checks":["one","two"]}'))) == ("one", "two")


@pytest.mark.parametrize("name", ["CL", "EURUSD"])
def test_at_a_price_of_nothing_no_lots_fit_where_the_sums_are_passed_already(name: str) -> None:
    """What adds no money adds lots all the same: beyond a limit no number of them is a way back to it."""
    tight = PortfolioLimits(max_gross_exposure=0.2, max_margin_share=0.001)
    gate = desk.gate(RiskSettings(portfolio=tight))
    marks = [mark if other == "NQ" else 0 for other, mark in zip(desk.NAMES, desk.MARKS, strict=True)]
    verdict = gate.check(desk.order(1, instrument=InstrumentId(name)), desk.view(positions=[10, 0, 0], marks=marks))
    told = {one.name: one for one in verdict.checks}
    for check in ("gross_exposure", "margin"):
        assert (told[check].outcome, told[check].reason) == (CheckOutcome.REFUSED, check)
    value = 10 * desk.MARKS[0] * desk.instruments()[0].tick_value_micros
    assert (told["gross_exposure"].value, told["concentration"].value) == (value, 0)
    assert told["concentration"].outcome is CheckOutcome.PASSED


def test_the_row_counts_the_checks_that_cut_or_refused() -> None:
    gate = desk.gate(TIGHTER)
    for seen, noted in (
        ({}, 0),
        ({"positions": [2, 0, 0]}, 2),
        ({"positions": [2, 0, 0], "halted": [True, False, False]}, 3),
    ):
        gate.see(desk.view(**seen))
        assert gate.put(0, desk.order(5, quantity=9 if seen else 1), 0)
        judge(gate.account.rows, 0, 0, 0)
        assert gate.account.rows.asked[0, 0]["noted"] == noted


@pytest.mark.parametrize("held", [0, 3])
def test_lots_without_risk_of_their_own_are_refused_while_others_pass_the_limit(held: int) -> None:
    """Beside what is held, or nothing, an open order takes the account half its own risk beyond the limit."""
    limit = 1.0
    for _ in range(2):
        gate = desk.gate(RiskSettings(portfolio=PortfolioLimits(max_var=limit)))
        gate.on_order(desk.order(1, quantity=1, instrument=InstrumentId("CL")))
        gate.see(desk.view(positions=[held, 0, 0]))
        seen = gate.account.rows.seen[0]
        for name in ("own", "single", "slope"):
            seen[name][2] = 0.0
        risk, loose = math.sqrt(gate.account.rows.moment[0]["variance"]), seen["single"][1]
        limit = (risk + 0.5 * loose) / desk.CAPITAL
    assert gate.put(0, desk.order(2, instrument=InstrumentId("EURUSD")), 2)
    assert judge(gate.account.rows, 0, 0, 0) == 0
    place = CHECK_NAMES.index("var")
    found = checked(gate.account.rows, 0, OrderId(2), int(gate.account.asked[0][0][-1]))
    assert found.values[place] == pytest.approx(risk + loose)
    assert (found.refused >> place & 1, found.reasons) == (1, ("var_limit",))
