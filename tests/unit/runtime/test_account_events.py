"""What an account books without an order, on hand-worked numbers."""

import msgspec
import pytest

from engine_runs import FREE, build_engine, fills_of, note_of, open_risk
from grandmodel.domain.decisions import PlaceOrder, TargetPosition
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Advance, CashFlow, CashKind, Cause, ExchangeRate, Settlement, Split
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.orders import OrderType, Side
from grandmodel.risk.checks import listed
from grandmodel.risk.running import CLOSE
from grandmodel.risk.settings import Thresholds
from grandmodel.risk.standing import moved_capital, moved_peak
from grandmodel.runtime.settings import AccountSettings
from grandmodel.runtime.step import Step
from grandmodel.simulation.models import ConstantLatency, PerLotFee, VenueSettings
from strategies import MINUTE, NQ, SHARE, START, bar_row, stack

SAID = {"source": "statement", "why": "told"}
CAPITAL = 1_000_000 * 10**6
IF = BUILT_IN[InstrumentId("IF")]


def flat(minute, price, instrument=0):
    return bar_row(minute, price, price, price, price, instrument=instrument, sequence=minute)


def buy(lots, name="NQ"):
    """At the third bar, when risk is known, a target of ``lots``."""
    return lambda call, _bars, _account: [TargetPosition(instrument=InstrumentId(name), lots=lots)] if call == 3 else []


def flow(kind, amount, ident="1", currency="USD", **more):
    return CashFlow(ts=START, id=ident, kind=kind, amount_micros=amount, currency=currency, **SAID | more)


def quiet(engine, until=30):
    """Bars at 1,000 ticks."""
    return list(engine.on_block(stack([flat(minute, 1_000) for minute in range(0, until, 5)])))


def held(lots=4, instrument=NQ, **changes):
    """An engine that holds ``lots`` at 1,000 ticks."""
    engine = build_engine((buy(lots, instrument.id),), instruments=(instrument,), **changes)
    quiet(engine)
    assert engine.books.lots(instrument.id) == lots
    return engine


def only(records):
    (record,) = records
    return record


def drawdown(engine):
    """(fraction below the peak, loss of the day) as risk sees them now."""
    engine.books.forget_view()
    view = engine.books.risk_view()
    return engine.gate.losses(view.equity_micros, *engine.gate.references(view))


# Money that the owner brings or takes.


def test_a_deposit_is_no_gain_and_its_loss_later_is_measured_from_it():
    engine = held()
    record = only(engine.book(flow(CashKind.DEPOSIT, CAPITAL)))
    assert (record.cause, record.equity_micros) == (Cause.CASH, 2 * CAPITAL)
    assert note_of(record)["moved_micros"] == CAPITAL
    assert drawdown(engine) == (0.0, 0.0)
    assert engine.gate.references(engine.books.risk_view()) == (2 * CAPITAL, 2 * CAPITAL)


def test_a_withdrawal_is_no_loss_and_trips_no_breaker():
    risk = open_risk(drawdown=Thresholds(caution=0.015), daily_loss=Thresholds(caution=0.02))
    engine = held(risk=risk)
    list(engine.on_block(stack([flat(30, 500)])))  # 4 lots x 500 ticks x 5 USD = 10,000: one per cent
    before = drawdown(engine)
    assert before == (pytest.approx(0.01), pytest.approx(0.01))
    record = only(engine.book(flow(CashKind.WITHDRAWAL, -CAPITAL // 2)))
    assert record.equity_micros == 490_000 * 10**6
    assert not record.alerts
    assert drawdown(engine) == (pytest.approx(before[0], abs=1e-11), pytest.approx(before[1], abs=1e-11))


def bounds(engine):
    """What is allowed of one more lot, in micros: of one order, of this instrument, of all, gross and net, and of value at risk."""
    asked = PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=1, order_type=OrderType.MARKET)
    step = Step()
    engine.planner.act(step, engine.books.accounts[0], "agent", asked)
    found = {check.name: check.limit for check in listed(step.intents[0].checks[0])}
    names = ("order_notional", "concentration", "gross_exposure", "net_exposure", "var", "stressed_var")
    return [found[name] / CAPITAL for name in names]


def test_money_limits_follow_what_the_owner_brings_and_takes():
    risk = msgspec.structs.replace(
        open_risk(),
        limits=msgspec.structs.replace(open_risk().limits, max_order_notional=900.0, max_concentration=800.0),
        portfolio=msgspec.structs.replace(open_risk().portfolio, max_gross_exposure=700.0, max_net_exposure=600.0),
    )
    engine = held(risk=risk)
    first = bounds(engine)
    assert first[:4] == [900, 800, 700, 600]
    only(engine.book(flow(CashKind.DEPOSIT, CAPITAL)))
    assert bounds(engine) == pytest.approx([2 * one for one in first])
    only(engine.book(flow(CashKind.WITHDRAWAL, -CAPITAL, "2")))
    assert bounds(engine) == pytest.approx(first)
    only(engine.book(flow(CashKind.DIVIDEND, CAPITAL, "3")))
    assert bounds(engine) == pytest.approx(first)


def test_the_day_s_loss_is_a_share_of_what_was_brought_as_well():
    risk = open_risk(daily_loss=Thresholds(caution=0.015))
    engine = held(risk=risk)
    only(engine.book(flow(CashKind.DEPOSIT, CAPITAL)))
    list(engine.on_block(stack([flat(30, 100)])))  # 4 lots x 900 ticks x 5 USD = 18,000: 0.9 per cent of two millions
    assert drawdown(engine)[1] == pytest.approx(0.009)
    assert engine.gate.state.name == "NORMAL"


def test_what_was_earned_can_be_taken_out_and_leaves_limits_that_fit_what_is_left():
    assert moved_capital(100, 100, 150) == 150
    assert moved_capital(100, 400, 200) == 50
    assert moved_capital(100, 400, 399) == 99
    assert moved_capital(100, 50, 25) == 50
    assert moved_capital(100, 5, 1) == 20
    assert moved_capital(100, 50, -60) == 1
    assert moved_capital(100, -50, 60) == 210


def test_limits_that_followed_a_deposit_are_saved_and_restored():
    engine, fresh = held(), build_engine((buy(4),), instruments=(NQ,))
    only(engine.book(flow(CashKind.DEPOSIT, CAPITAL)))
    fresh.gate.restore(engine.gate.save())
    for one, two in (
        (fresh.gate.account.rows.limits, engine.gate.account.rows.limits),
        (fresh.gate.intake["var_limit"], engine.gate.intake["var_limit"]),
    ):
        assert (one == two).all()
    assert fresh.gate.account.rows.portfolio == engine.gate.account.rows.portfolio
    assert fresh.gate.capital_micros == 2 * CAPITAL
    assert engine.gate.intake["var_limit"][0] == engine.gate.settings.portfolio.max_var * 2 * CAPITAL


def test_a_dividend_is_a_gain_and_a_fee_is_a_loss():
    engine = held()
    only(engine.book(flow(CashKind.DIVIDEND, 240 * 10**6)))
    record = only(engine.book(flow(CashKind.FEE, -40 * 10**6, "2")))
    assert record.equity_micros == CAPITAL + 200 * 10**6
    assert engine.gate.references(engine.books.risk_view()) == (CAPITAL + 240 * 10**6, CAPITAL)


def test_the_same_id_twice_is_counted_and_changes_nothing():
    engine = held()
    only(engine.book(flow(CashKind.INTEREST, 7)))
    record = only(engine.book(flow(CashKind.INTEREST, 7)))
    assert record.equity_micros == CAPITAL + 7
    assert note_of(record)["repeated"]
    assert [alert.code for alert in record.alerts] == ["repeated_cash_flow"]
    assert engine.state_summary()["repeated_account_events"] == 1


def test_a_withdrawal_beyond_cash_is_a_loan_that_the_margin_check_sees():
    portfolio = msgspec.structs.replace(open_risk().portfolio, max_margin_share=1.0)
    risk = msgspec.structs.replace(open_risk(), portfolio=portfolio)
    engine = build_engine(
        (lambda call, _bars, _account: [TargetPosition(instrument=NQ.id, lots=2)] if call == 7 else [],), risk=risk
    )
    quiet(engine)
    record = only(engine.book(flow(CashKind.WITHDRAWAL, -CAPITAL - 5)))
    assert (record.equity_micros, [alert.code for alert in record.alerts]) == (-5, ["cash_below_zero"])
    made = list(engine.on_block(stack([flat(30, 1_000), flat(35, 1_000)])))
    (intent,) = [intent for record in made for intent in record.intents if intent.agent == "scripted"]
    assert intent.refused
    assert not any(record.orders for record in made)
    margin = next(check for check in listed(intent.checks[0]) if check.name == "margin")
    assert margin.outcome.value != "pass"


@pytest.mark.parametrize(
    ("before", "after", "peak", "moved"),
    [
        (90, 180, 100, 200),
        (90, 45, 100, 50),
        (90, 91, 100, 102),
        (-5, 95, 100, 200),
        (50, 0, 100, 50),
        (50, -70, 100, 1),
    ],
)
def test_the_peak_moves_with_what_the_owner_brings_or_takes(before, after, peak, moved):
    assert moved_peak(peak, before, after) == moved


def test_what_no_account_can_book_is_refused_before_anything_changes():
    engine = held()
    for given, words in (
        (flow(CashKind.FEE, -5, currency="CHF"), r"currency CHF.*account\.rates\.CHF"),
        (flow(CashKind.DIVIDEND, 5, instrument=InstrumentId("XX")), "instrument XX"),
    ):
        with pytest.raises(UsageError, match=words):
            list(engine.book(given))
    with pytest.raises(UsageError, match="a rate of USD"):
        list(engine.book(ExchangeRate(ts=START, currency="USD", rate_micros=2, **SAID)))
    with pytest.raises(UsageError, match="expected an equity"):
        list(engine.book(Split(ts=START, id="1", instrument=NQ.id, into=2, of=1, price=5, **SAID)))
    with pytest.raises(UsageError, match="one above 0"):
        list(engine.book(Settlement(ts=START, instrument=NQ.id, price=0, final=True, **SAID)))
    assert engine.equity_micros == CAPITAL
    for amount, kind in ((0, CashKind.FEE), (-5, CashKind.DEPOSIT), (5, CashKind.WITHDRAWAL)):
        with pytest.raises(ValueError, match="expected"):
            flow(kind, amount)
    with pytest.raises(ValueError, match="found no why"):
        flow(CashKind.FEE, -5, why=" ")


# Exchange rates.


def test_a_rate_values_cash_and_positions_anew_and_risk_sees_it():
    engine = held(instrument=IF, account=AccountSettings(rates={"CNY": 150_000}))
    list(engine.on_block(stack([flat(30, 1_010)])))  # 4 x 10 ticks x 60 CNY
    assert engine.equity_micros == CAPITAL + 360 * 10**6
    record = only(engine.book(ExchangeRate(ts=START, currency="CNY", rate_micros=140_000, **SAID)))
    assert record.equity_micros == CAPITAL + 336 * 10**6
    assert note_of(record)["before_micros"] == 150_000
    assert engine.books.risk_view().rates_micros == [140_000]
    list(engine.on_block(stack([flat(35, 1_020)])))
    assert engine.equity_micros == CAPITAL + 672 * 10**6


def test_a_currency_is_known_from_its_first_rate():
    engine = held()
    only(engine.book(ExchangeRate(ts=START, currency="CHF", rate_micros=1_100_000, **SAID)))
    record = only(engine.book(flow(CashKind.ADJUSTMENT, 10, currency="CHF")))
    assert record.equity_micros == CAPITAL + 11


# Settlements.


def test_a_daily_settlement_pays_the_gain_out_and_moves_no_equity():
    engine = held()
    list(engine.on_block(stack([flat(30, 1_010)])))
    record = only(engine.book(Settlement(ts=START, instrument=NQ.id, price=1_008, final=False, **SAID)))
    assert note_of(record)["paid_micros"] == 4 * 8 * 5 * 10**6
    assert record.equity_micros == CAPITAL + 4 * 10 * 5 * 10**6
    assert engine.ledger.cash_micros["USD"] == CAPITAL + 160 * 10**6
    assert engine.ledger.positions[0].cost_micros == 4 * 1_008 * 5 * 10**6


def test_an_expiry_closes_at_its_price_cancels_what_works_and_nothing_is_sent_any_more():
    resting = PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=1, order_type=OrderType.LIMIT, price=900)

    def script(call, bars, account):
        return {3: [TargetPosition(instrument=NQ.id, lots=4)], 5: [resting], 6: [resting]}.get(call, [])

    engine = build_engine((script,), venue=VenueSettings(fees=PerLotFee(per_lot_micros=10**6), half_spread_ticks=0))
    quiet(engine)
    list(engine.on_advance(Advance(ts=START + 30 * MINUTE)))
    assert len(engine.books.working(NQ.id)) == 2
    record = only(engine.book(Settlement(ts=START + 31 * MINUTE, instrument=NQ.id, price=1_003, final=True, **SAID)))
    assert len(record.cancels) == 2
    assert fills_of([record]) == [(-1, 4, 1_003, "settlement")]
    assert record.fills[0].fee_micros == 0
    assert record.equity_micros == CAPITAL + 4 * 3 * 5 * 10**6 - 4 * 10**6
    later = list(engine.on_block(stack([bar_row(30, 1_000, 1_000, 800, 800, sequence=30), flat(35, 800)])))
    assert not [fill for one in later for fill in one.fills]
    assert not engine.books.working(NQ.id)
    assert record.equity_micros == engine.equity_micros
    again = only(engine.book(Settlement(ts=START, instrument=NQ.id, price=1_500, final=True, **SAID)))
    assert [alert.code for alert in again.alerts] == ["settled_already"]


def test_a_wish_in_what_has_ended_is_refused_by_name():
    engine = build_engine(
        (lambda call, _bars, _account: [TargetPosition(instrument=NQ.id, lots=1)] if call > 6 else [],)
    )
    quiet(engine)
    list(engine.book(Settlement(ts=START + 30 * MINUTE, instrument=NQ.id, price=1_000, final=True, **SAID)))
    made = list(engine.on_block(stack([flat(30, 1_000), flat(35, 1_000), flat(40, 1_000)])))
    assert {intent.refused for one in made for intent in one.intents} == {"instrument_ended"}
    assert not any(one.orders for one in made)


def test_a_fill_heard_of_after_the_expiry_ends_at_its_price_too():
    slow = msgspec.structs.replace(FREE, latency=ConstantLatency(order=0, report=9 * MINUTE))
    engine = build_engine((buy(4),), venue=slow)
    quiet(engine, until=20)
    assert engine.books.lots(NQ.id) == 0
    *_, record = engine.book(Settlement(ts=START + 21 * MINUTE, instrument=NQ.id, price=1_002, final=True, **SAID))
    assert not record.fills
    made = list(engine.on_advance(Advance(ts=START + 40 * MINUTE)))
    assert fills_of(made) == [(1, 4, 1_000, "entry"), (-1, 4, 1_002, "settlement")]
    assert (engine.books.lots(NQ.id), engine.equity_micros) == (0, CAPITAL + 4 * 2 * 5 * 10**6)


# Splits.


def test_a_split_makes_shares_of_shares_and_pays_the_part_of_one():
    engine = held(lots=5, instrument=SHARE)
    before = engine.equity_micros
    record = only(engine.book(Split(ts=START, id="1", instrument=SHARE.id, into=3, of=2, price=667, **SAID)))
    # 5 x 3/2 = 7 and a half: 3.335 USD for the half; 1,000 ticks become 667 (666.67).
    position = engine.ledger.positions[0]
    assert (position.lots, position.mark_ticks) == (7, 667)
    assert note_of(record)["paid_micros"] == 3_335_000
    assert record.equity_micros == before - 5 * 10_000_000 + 7 * 6_670_000 + 3_335_000
    assert position.cost_micros == 50_000_000 - 50_000_000 // 15
    assert int(engine.market.instruments[0]["venue_position"]) == 7
    again = only(engine.book(Split(ts=START, id="1", instrument=SHARE.id, into=3, of=2, price=667, **SAID)))
    assert (again.equity_micros, engine.books.lots(SHARE.id)) == (record.equity_micros, 7)


def test_risk_tells_the_old_returns_in_new_shares():
    """Two accounts, one in old and one in new shares, see the same money at risk after a split of four for one."""
    closes = [1_000, 1_012, 996, 1_020, 1_004, 1_040]
    engine = build_engine((), instruments=(SHARE,))
    list(engine.on_block(stack([flat(5 * k, close) for k, close in enumerate(closes)])))
    list(engine.on_advance(Advance(ts=START + 31 * MINUTE)))
    before = engine.gate.running.value_at_risk([10], [10**6])
    list(engine.book(Split(ts=START, id="1", instrument=SHARE.id, into=4, of=1, price=260, **SAID)))
    assert engine.gate.running.value_at_risk([40], [10**6]) == pytest.approx(before, rel=1e-12)
    assert engine.gate.running.closes[CLOSE].tolist() == [260]
    list(engine.on_block(stack([flat(30, 260), flat(35, 260)])))
    assert engine.gate.running.value_at_risk([40], [10**6]) < before  # no jump from 1,040 to 260


def test_a_split_larger_than_the_limit_on_lots_halts_nothing():
    risk = open_risk()
    risk = msgspec.structs.replace(risk, limits=msgspec.structs.replace(risk.limits, max_long_lots=5))
    engine = held(lots=5, instrument=SHARE, risk=risk)
    record = only(engine.book(Split(ts=START, id="1", instrument=SHARE.id, into=4, of=1, price=250, **SAID)))
    assert (engine.books.lots(SHARE.id), record.alerts, engine.gate.state) == (20, (), 0)
