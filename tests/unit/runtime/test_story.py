"""The story of a run's orders: a hand-made journal told line by line, and real runs held against their own records."""

from collections import Counter
from decimal import Decimal

import msgspec
import pytest

from engine_runs import Restless, open_risk, run
from grandmodel.domain.decisions import (
    CancelIntent,
    CheckOutcome,
    PlaceOrder,
    ReplaceIntent,
    RiskCheck,
    TargetPosition,
)
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Cause, DecidedIntent, End, Record
from grandmodel.domain.ids import ExecId, OrderId, RunId
from grandmodel.domain.orders import (
    CancelOrder,
    ExecType,
    ExecutionReport,
    Fill,
    Order,
    OrderType,
    PriceReference,
    Reason,
    ReplaceOrder,
    Side,
    TimeInForce,
)
from grandmodel.journal.format import encode_record
from grandmodel.journal.writer import Durability, Journal
from grandmodel.risk.checks import CHECK_NAMES, checks_of
from grandmodel.risk.settings import InstrumentLimits
from grandmodel.runtime.inputs import begin_run
from grandmodel.runtime.settings import RunSettings
from grandmodel.runtime.story import CHECK_UNITS, load_order, load_orders, load_refused
from risk.made_checks import checked_order
from strategies import ALL_DAY, CL, START, bar_row

SECOND = 10**9


def write(folder, records):
    with Journal.create(folder, run="told", durability=Durability.OS, checkpoint_every=8) as journal:
        journal.append_input(begin_run(RunId("told"), RunSettings(), [CL], [ALL_DAY], "hand-made"))
        for record in records:
            journal.append_record(encode_record(record))
        journal.append_input(End(ts=START))
        journal.commit()
    return folder


def step(number, **more):
    cause = Cause.REPORT if "reports" in more else Cause.BAR
    return Record(number=number, ts=START + number * SECOND, cause=cause, position=number, equity_micros=0, **more)


def report(exec_id, order, exec_type, **more):
    ts = START + 10 * exec_id
    return ExecutionReport(
        exec_id=ExecId(exec_id), order_id=OrderId(order), exec_type=exec_type, ts_event=ts, ts_init=ts + 1, **more
    )


def fill(exec_id, order, side, lots, price, reference=None, **more):
    return Fill(
        exec_id=ExecId(exec_id), order_id=OrderId(order), instrument=CL.id, side=side, quantity=lots, price=price,
        fee_micros=2_250_000 * lots, ts_event=START, ts_init=START, reference_price=reference, **more,
    )  # fmt: skip


def check(name, outcome=CheckOutcome.PASSED, value=None, limit=None, reason=""):
    return RiskCheck(name=name, outcome=outcome, value=value, limit=limit, reason=reason)


TABLE = (
    "session",
    "order_quantity",
    "order_notional",
    "price_collar",
    "moon",
    "var",
    "drawdown",
    "stale_data",
    "breaker",
)
"""The checks of the hand-made run, as its first record names them: fewer than today's, in places of their own, and one that is gone."""


def checks(number, *said):
    return checked_order(number, *said, names=TABLE)


CUT = (
    check("session"),
    check("order_quantity", CheckOutcome.SHRUNK, 5, 3, "order_quantity"),
    check("order_notional", value=210_150_000_000, limit=5_000_000_000_000),
    check("price_collar", value=-3, limit=231),
    check("drawdown", value=0.0125, limit=0.2),
    check("stale_data", value=1_500_000_000, limit=2_100_000_000_000),
    check("breaker", value=1, limit=0),
)
REFUSED = (
    check("session"),
    check("moon", CheckOutcome.REFUSED, 3, 2, "waning"),
    check("var", CheckOutcome.REFUSED, None, 50_000_000_000.0, "var_unknown"),
    check("stale_data", CheckOutcome.REFUSED, 9 * SECOND, 5 * SECOND, "stale_data"),
)
GOOD = (check("session"),)
QUOTED = {"slippage_from": 7_001, "slippage_reference": PriceReference.QUOTE}
WISH = TargetPosition(instrument=CL.id, lots=5, stop_ticks=25, reasons=("trend", "carry"))
LIMIT = PlaceOrder(
    instrument=CL.id, side=Side.SELL, quantity=2, order_type=OrderType.STOP_LIMIT, price=6_990, stop_price=6_995,
    time_in_force=TimeInForce.GTC, bracket_stop=7_010,
)  # fmt: skip


@pytest.fixture
def told(tmp_path):
    """Order 1 cut and filled in two, order 2 refused beside it, order 3 changed and cancelled, a late change, a roll."""
    return write(
        tmp_path / "told",
        [
            msgspec.structs.replace(step(0), cause=Cause.BEGIN, note=msgspec.Raw(msgspec.json.encode({"checks": TABLE}))),
            step(
                1,
                intents=(
                    DecidedIntent(
                        number=1, agent="alpha", intent=WISH, checks=(checks(1, *CUT), checks(2, *REFUSED)),
                        orders=(OrderId(1),), refused="waning",
                    ),
                ),
                orders=(
                    Order(order_id=OrderId(1), instrument=CL.id, side=Side.BUY, quantity=3, order_type=OrderType.MARKET,
                          ts=START, intent=1, tag="entry"),
                ),
            ),
            step(2, reports=(report(1, 1, ExecType.NEW, leaves=3),)),
            step(
                3,
                reports=(
                    report(2, 1, ExecType.TRADE, last_quantity=1, last_price=7_002, leaves=2, cumulative=1),
                    report(3, 1, ExecType.TRADE, last_quantity=2, last_price=7_003, cumulative=3),
                    report(3, 1, ExecType.TRADE, last_quantity=2, last_price=7_003, cumulative=3),
                ),
                fills=(fill(2, 1, Side.BUY, 1, 7_002, 7_000, **QUOTED), fill(3, 1, Side.BUY, 2, 7_003, 7_000, maker=True, **QUOTED)),
            ),
            step(
                4,
                intents=(
                    DecidedIntent(number=2, agent="beta", intent=LIMIT, checks=(checks(3, *GOOD),), orders=(OrderId(3),)),
                    DecidedIntent(
                        number=3, agent="beta", refused="too_late",
                        intent=ReplaceIntent(instrument=CL.id, order_id=OrderId(1), quantity=9, price=7_100),
                    ),
                ),
                orders=(
                    Order(order_id=OrderId(3), instrument=CL.id, side=Side.SELL, quantity=2, order_type=OrderType.STOP_LIMIT,
                          ts=START, price=6_990, stop_price=6_995, time_in_force=TimeInForce.GTC, intent=2, tag="stop"),
                ),
            ),
            step(5, reports=(report(4, 3, ExecType.NEW, leaves=2),)),
            step(
                6,
                intents=(
                    DecidedIntent(
                        number=4, agent="beta", checks=(checks(3, *GOOD),),
                        intent=ReplaceIntent(instrument=CL.id, order_id=OrderId(3), quantity=1, price=6_980),
                    ),
                ),
                replaces=(ReplaceOrder(order_id=OrderId(3), ts=START, quantity=1, price=6_980),),
            ),
            step(7, reports=(report(5, 3, ExecType.REPLACED, leaves=1),)),
            step(
                8,
                intents=(DecidedIntent(number=5, agent="risk", intent=CancelIntent(instrument=CL.id, order_id=OrderId(3))),),
                cancels=(CancelOrder(order_id=OrderId(3), ts=START, reason="flatten"),),
            ),
            step(9, reports=(report(6, 3, ExecType.CANCELED, reason=Reason.ASKED),)),
            step(10, fills=(fill(-1, 0, Side.SELL, 3, 7_000, tag="roll"), fill(-2, 0, Side.BUY, 3, 7_050, tag="roll"))),
        ],
    )  # fmt: skip


def test_a_filled_order_is_told_from_the_wish_to_its_end(told):
    story = load_order(told, 1)
    (decision,) = story.decisions
    assert (decision.record, decision.ts, decision.agent, decision.intent) == (1, START + SECOND, "alpha", 1)
    assert decision.wish == "hold +5 CL, aggressive, stop 0.25 away"
    assert decision.reasons == ("trend", "carry")
    assert (decision.verdict, decision.reason) == ("cut", "order_quantity")
    assert [(one.name, one.outcome, one.value_text, one.limit_text) for one in decision.checks] == [
        ("session", "passed", "", ""),
        ("order_quantity", "shrunk", "5 lots", "3 lots"),
        ("order_notional", "passed", "210,150.00 USD", "5,000,000.00 USD"),
        ("price_collar", "passed", "-0.03", "2.31"),
        ("moon", "passed", "", ""),
        ("var", "passed", "", ""),
        ("drawdown", "passed", "1.2500%", "20.0000%"),
        ("stale_data", "passed", "1.500 s", "2,100.000 s"),
        ("breaker", "passed", "caution", "normal"),
    ]
    assert story.same_intent == (2,)
    assert [(one.record, one.what, one.lots, one.filled, one.leaves) for one in story.events] == [
        (1, "sent", 3, 0, 3),
        (2, "new", 0, 0, 3),
        (3, "trade", 1, 1, 2),
        (3, "trade", 2, 3, 0),
        (3, "repeated_report", 0, 3, 0),
    ]
    first, second = story.events[2:4]
    assert (first.price, first.decision_price, first.slippage_from, first.slippage_reference) == (
        Decimal("70.02"), Decimal("70.00"), Decimal("70.01"), "quote",
    )  # fmt: skip
    assert (first.slippage_price, first.delay_price) == (Decimal("0.01"), Decimal("0.01"))
    assert (first.slippage_micros, second.slippage_micros) == (10_000_000, 40_000_000)
    assert (first.delay_micros, second.delay_micros) == (10_000_000, 20_000_000)
    assert (first.fee_micros, first.currency, first.maker, second.maker) == (2_250_000, "USD", False, True)
    assert (first.ts_event, first.ts_init) == (START + 20, START + 21)
    line = story.order
    assert (line.side, line.lots, line.filled, line.mean_price) == ("buy", 3, 3, Decimal("70.0267"))
    assert (line.fees_micros, line.slippage_micros, line.delay_micros) == (6_750_000, 50_000_000, 30_000_000)
    assert (line.status, line.ended) == ("filled", True)


def test_a_refused_order_is_told_though_it_was_never_sent(told):
    story = load_order(told, 2)
    assert (story.order, story.events, story.same_intent) == (None, (), (1,))
    (decision,) = story.decisions
    assert (decision.verdict, decision.reason) == ("refused", "waning")
    refusing = [(one.name, one.value_text) for one in decision.checks if one.outcome == "refused"]
    assert refusing == [("moon", "3"), ("var", "not known"), ("stale_data", "9.000 s")]


def test_a_changed_and_cancelled_order_says_who_asked_and_ends_with_its_new_terms(told):
    story = load_order(told, 3)
    assert [(one.intent, one.agent, one.verdict) for one in story.decisions] == [
        (2, "beta", "approved"),
        (4, "beta", "approved"),
    ]
    assert story.decisions[0].wish == "sell 2 CL stop limit 69.95 limit 69.90, gtc, stop at 70.10"
    assert story.decisions[1].wish == "change order 3 in CL to 1 lots in all, limit 69.80"
    assert [(one.what, one.lots, one.price, one.asked_by, one.reason) for one in story.events] == [
        ("sent", 2, Decimal("69.90"), "beta", ""),
        ("new", 0, None, "", ""),
        ("change_asked", 1, Decimal("69.80"), "beta", ""),
        ("replaced", 0, None, "", ""),
        ("cancel_asked", 0, None, "risk", "flatten"),
        ("canceled", 0, None, "", "asked"),
    ]
    line = story.order
    assert (line.lots, line.price, line.stop_price) == (1, Decimal("69.80"), Decimal("69.95"))
    assert (line.status, line.status_reason, line.mean_price) == ("canceled", "asked", None)
    assert (line.slippage_micros, line.delay_micros) == (None, None)


@pytest.mark.parametrize("number", [0, 4, -1])
def test_an_order_that_was_never_decided_is_refused_with_how_many_there_are(told, number):
    with pytest.raises(UsageError, match=f"found no order {number}, expected one of the 3"):
        load_order(told, number)


def test_the_list_has_what_was_sent_and_the_span_begins_with_its_first_moment(told):
    whole = load_orders(told)
    assert [(one.order, one.record, one.tag, one.status) for one in whole.orders] == [
        (1, 1, "entry", "filled"),
        (3, 4, "stop", "canceled"),
    ]
    assert whole.booked_fills == 2
    early = load_orders(told, START + SECOND, START + 4 * SECOND)
    assert [one.order for one in early.orders] == [1]
    assert early.orders[0] == whole.orders[0]
    assert early.booked_fills == 0
    assert load_orders(told, START + SECOND + 1).orders == whole.orders[1:]


def test_refusals_name_the_first_failing_check_or_the_engine_s_reason(told):
    first, second = load_refused(told).refused
    assert (first.what, second.what) == ("order", "wish")
    assert (first.order, first.agent, first.wish) == (2, "alpha", "hold +5 CL, aggressive, stop 0.25 away")
    assert (first.check.name, first.check.value_text, first.check.limit_text) == ("moon", "3", "2")
    assert first.reason == "waning"
    assert (second.order, second.reason, second.check) == (1, "too_late", None)
    assert second.wish == "change order 1 in CL to 9 lots in all, limit 71.00"
    assert load_refused(told, START + 2 * SECOND).refused == (second,)
    assert load_refused(told, START, START + 4 * SECOND).refused == (first,)


def test_what_an_order_tells_is_json(told):
    decoded = msgspec.json.decode(msgspec.json.encode(load_order(told, 1)))
    assert decoded["events"][2]["price"] == "70.02"
    assert decoded["decisions"][0]["checks"][1]["value"] == 5


def test_every_unit_belongs_to_a_check_of_risk():
    assert set(CHECK_UNITS) <= set(CHECK_NAMES)


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """The records of a real run with wishes of every kind, some refused, and its folder."""
    prices = [1_000 + (7 * k * k) % 13 - 6 for k in range(400)]
    rows = [bar_row(5 * k, p, p + 3, p - 3, p, sequence=k) for k, p in enumerate(prices)]
    risk = msgspec.structs.replace(
        open_risk(), limits=msgspec.structs.replace(open_risk().limits, max_order_lots=3, max_long_lots=4)
    )
    assert isinstance(risk.limits, InstrumentLimits)
    records, engine = run(rows, Restless, instruments=(CL,), risk=risk)
    return records, engine, write(tmp_path_factory.mktemp("busy") / "run", records)


def test_the_list_of_a_real_run_agrees_with_its_records(busy):
    records, engine, folder = busy
    told = {one.order: one for one in load_orders(folder).orders}
    assert list(told) == [order.order_id for record in records for order in record.orders]
    assert {name for name, one in told.items() if not one.ended} == set(engine.lives.open)
    filled, fees = Counter(), Counter()
    for record in records:
        for one in record.fills:
            filled[one.order_id] += one.quantity
            fees[one.order_id] += one.fee_micros
    assert {name: one.filled for name, one in told.items() if one.filled} == dict(filled)
    assert sum(one.fees_micros for one in told.values()) == sum(fees.values())
    assert len({one.status for one in told.values()}) >= 3
    every = [one for record in records for one in record.fills]
    ticks = {
        side: sum((f.price - f.reference_price) * f.signed_quantity for f in every if f.side is side) for side in Side
    }
    assert ticks[Side.SELL] != 0
    for side, cost in ticks.items():
        own = [one for one in told.values() if one.side == side.name.lower() and one.filled]
        # Slippage and delay together are the whole way from the mark at the decision to the fill.
        assert sum(one.slippage_micros + one.delay_micros for one in own) == cost * CL.tick_value_micros


def test_every_order_of_a_real_run_has_a_story_and_every_check_with_a_number_a_unit(busy):
    records, _, folder = busy
    decided = [number for record in records for intent in record.intents for number, _ in checks_of(intent)]
    sent = {one.order: one for one in load_orders(folder).orders}
    assert set(decided) - set(sent)
    for number in sorted(set(decided))[::7]:
        story = load_order(folder, number)
        assert len(story.decisions) == decided.count(number)
        assert story.order == sent.get(number)
        assert sum(event.lots for event in story.events if event.what == "trade") == (
            story.order.filled if story.order else 0
        )
        for decision in story.decisions:
            assert [one.name for one in decision.checks] == list(CHECK_NAMES)
            assert all(one.unit for one in decision.checks if one.value is not None or one.limit is not None)


def test_refusals_of_a_real_run_agree_with_its_records(busy):
    records, _, folder = busy
    expected = Counter()
    for record in records:
        for intent in record.intents:
            by_risk = [
                next(one.reason for one in checks if one.outcome is CheckOutcome.REFUSED)
                for _, checks in checks_of(intent)
                if any(one.outcome is CheckOutcome.REFUSED for one in checks)
            ]
            expected.update(by_risk)
            if intent.refused and intent.refused not in by_risk:
                expected[intent.refused] += 1
    assert len(expected) >= 2
    assert Counter(one.reason for one in load_refused(folder).refused) == expected
