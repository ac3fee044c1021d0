"""A default never stands in for an unknown: what is not known refuses, and what is judged by a default is judged by the feed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_runs import build_engine, open_risk
from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import CheckOutcome, PlaceOrder
from grandmodel.domain.events import Advance, ClosedBar
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.orders import Side
from grandmodel.domain.time import NS_PER_SECOND
from grandmodel.risk.checks import checks_of
from grandmodel.risk.errors import RiskInputError
from grandmodel.risk.gate import RiskGate
from grandmodel.risk.pace import FeedPace
from grandmodel.risk.rows import limit_rows
from grandmodel.risk.settings import InstrumentLimits, RiskSettings
from risk import desk
from strategies import MINUTE, NQ, START, bar_row, quote_row, stack, trade_row

OWN = msgspec.structs.replace(BUILT_IN["GC"], id="GC2", initial_margin_micros=0)


# The margin.


def test_a_future_whose_margin_is_not_known_is_refused_before_the_run():
    with pytest.raises(RiskInputError, match="instrument GC2: found no initial margin"):
        RiskGate(RiskSettings(), [OWN], desk.CAPITAL)
    with pytest.raises(RiskInputError, match="instrument GC2: found no initial margin"):
        limit_rows(RiskSettings(), [OWN], desk.CAPITAL)


def test_what_is_only_watched_and_what_is_paid_in_full_need_no_margin():
    RiskGate(RiskSettings(authorised=("NQ",)), [BUILT_IN["NQ"], OWN], desk.CAPITAL)
    RiskGate(RiskSettings(), [msgspec.structs.replace(OWN, settlement="spot")], desk.CAPITAL)


def test_every_built_in_instrument_can_be_margined():
    RiskGate(RiskSettings(), list(BUILT_IN.values()), desk.CAPITAL)


# The age of a mark.

LIMITS = InstrumentLimits(max_mark_age_ns=35 * MINUTE, max_mark_gaps=100, min_mark_age_ns=10 * NS_PER_SECOND)


def closed(number, width=5 * MINUTE):
    return ClosedBar(
        instrument=NQ.id, width_ns=width, ts_open=number * width, ts_event=(number + 1) * width, open=1, high=1, low=1,
        close=1, volume=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows_a_bar", "oldest"),
    [
        (0, 35 * MINUTE),  # a feed of bars
        (1, 35 * MINUTE),  # 100 times five minutes is more than the settings allow
        (50, 10 * MINUTE),
        (1_000, 30 * NS_PER_SECOND),
        (10**6, 10 * NS_PER_SECOND),
    ],
)
def test_a_mark_is_too_old_after_a_hundred_of_the_feed_s_own_gaps(rows_a_bar, oldest):
    pace = FeedPace([LIMITS])
    for number in range(3):
        pace.on_bar(0, closed(number), rows_a_bar * (number + 1))
    assert pace.max_ages == [oldest]


def test_the_pace_follows_the_feed_and_a_feed_of_bars_ends_it():
    pace = FeedPace([LIMITS])
    rows = 0
    for number in range(60):
        rows += 1_000 if number < 20 else 50
        pace.on_bar(0, closed(number), rows)
        if number == 19:
            assert pace.max_ages == [30 * NS_PER_SECOND]
    assert 9 * MINUTE < pace.max_ages[0] <= 10 * MINUTE
    pace.on_bar(0, closed(61), 0)
    assert pace.max_ages == [35 * MINUTE]


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_the_oldest_age_never_leaves_its_bounds_and_goes_through_save(counts):
    pace, rows = FeedPace([LIMITS]), 0
    for number, count in enumerate(counts):
        rows += count
        pace.on_bar(0, closed(number), rows)
        assert LIMITS.min_mark_age_ns <= pace.max_ages[0] <= LIMITS.max_mark_age_ns
    again = FeedPace([LIMITS])
    again.restore(pace.save())
    assert again.save() == pace.save()


def stale_checks(rows, silent_minutes):
    """What ``stale_data`` says of an order wished for after a silence: (outcome, age, limit)."""
    risk = msgspec.structs.replace(
        open_risk(), limits=msgspec.structs.replace(open_risk().limits, max_mark_age_ns=35 * MINUTE)
    )
    wish = PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=1)
    last = int(rows[-1]["ts_init"])

    def script(number, bars, account):
        return [wish] if account.now > last else ()

    engine = build_engine((script,), risk=risk)
    list(engine.on_block(stack(rows)))
    records = list(engine.on_advance(Advance(ts=last + silent_minutes * MINUTE)))
    checks = [checks for record in records for intent in record.intents for _, checks in checks_of(intent)]
    (found,) = [check for check in checks[0] if check.name == "stale_data"]
    return found.outcome, found.value, found.limit


@pytest.mark.parametrize("row", [trade_row, lambda ns, price, **more: quote_row(ns, price, price + 1, **more)])
def test_a_tick_feed_that_falls_silent_takes_no_new_risk_long_before_half_an_hour(row):
    """A row a second, the last one at 28 minutes: the bar that closes at 30 may not be traded on."""
    rows = [trade_row(0, 1_000), *(row(k * NS_PER_SECOND, 1_000 + k % 3, sequence=k) for k in range(1, 28 * 60))]
    outcome, age, limit = stale_checks(rows, 5)
    assert outcome is CheckOutcome.REFUSED
    assert 100 * NS_PER_SECOND <= limit < 110 * NS_PER_SECOND  # the silence itself is in the last bar's pace
    assert age == int(START + 30 * MINUTE - rows[-1]["ts_init"])


def test_bars_of_half_an_hour_may_be_traded_on_until_the_next_is_due():
    rows = [bar_row(30 * k, 1_000, 1_000 + k % 3, 999, 1_000, width=30, sequence=k) for k in range(4)]
    engine = build_engine(
        (lambda number, bars, account: [PlaceOrder(instrument=NQ.id, side=Side.BUY, quantity=1)],),  # noqa: ARG005
        risk=open_risk(30 * MINUTE),
        widths_ns=(30 * MINUTE,),
    )
    records = list(engine.on_block(stack(rows)))
    assert engine.gate.pace.max_ages.tolist() == [2**52]
    assert any(record.orders for record in records)
    assert not any(int(row["flags"]) & Flag.BAD_STRETCH for row in rows)
