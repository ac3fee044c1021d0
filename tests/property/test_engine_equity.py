"""Every record's equity against cash flows and marks reckoned apart from the fills on the record and the rows walked."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_runs import RestlessOfEveryType, open_risk, run
from grandmodel.domain.blocks import Action, Flag
from grandmodel.domain.events import Cause
from grandmodel.runtime.settings import RollPolicy
from grandmodel.simulation.models import (
    ConstantLatency,
    FillRuleName,
    LognormalLatency,
    ProportionalFee,
    RandomSlippage,
    VenueSettings,
)
from strategies import ALL_DAY, CL, MINUTE, NQ, bars, ticks

SLOW = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
INSTRUMENTS = (NQ, CL)
CAPITAL = 1_000_000_000_000

venues = st.builds(
    VenueSettings,
    fees=st.just(ProportionalFee(maker_ppm=-20, taker_ppm=70)),
    latency=st.sampled_from((ConstantLatency(), LognormalLatency(median=30 * 10**9, sigma=1.5))),
    slippage=st.just(RandomSlippage()),
    fill_rule=st.sampled_from(tuple(FillRuleName)),
)


class Reckoning:
    """Cash paid and received, positions, and the last price of each instrument."""

    def __init__(self):
        self.cash, self.lots, self.marks = CAPITAL, {"NQ": 0, "CL": 0}, {}
        self.filled, self.asked = {}, {}

    def equity(self):
        return self.cash + sum(
            self.lots[one.id] * self.marks[one.id] * one.tick_value_micros for one in INSTRUMENTS if self.lots[one.id]
        )

    def take(self, fill):
        value = next(one.tick_value_micros for one in INSTRUMENTS if one.id == fill.instrument)
        self.cash -= fill.signed_quantity * fill.price * value + fill.fee_micros
        self.lots[fill.instrument] += fill.signed_quantity
        self.marks.setdefault(fill.instrument, fill.price)
        if fill.order_id:
            self.filled[fill.order_id] = self.filled.get(fill.order_id, 0) + fill.quantity


def check(rows, records, price_of):
    """``price_of(row)`` is what the row marks its instrument at, or None."""
    reckoning, walked = Reckoning(), 0
    for record in records:
        for row in rows[walked : record.position]:
            price = price_of(row)
            if price is not None:
                reckoning.marks[INSTRUMENTS[row["instrument"]].id] = price
        walked = record.position
        for fill in record.fills:
            reckoning.take(fill)
        if record.cause is Cause.ROLL and record.fills:
            reckoning.marks[record.fills[-1].instrument] = record.fills[-1].price
        for order in record.orders:
            reckoning.asked[order.order_id] = order.quantity
        for change in record.replaces:
            reckoning.asked[change.order_id] = max(change.quantity, reckoning.asked[change.order_id])
        assert record.equity_micros == reckoning.equity()
        for number, filled in reckoning.filled.items():
            assert filled <= reckoning.asked[number]
    return reckoning


@st.composite
def rolling_bars(draw):
    """Bars of two instruments, some of which begin a new contract at a distance."""
    rows = draw(bars(instruments=2, min_size=10, max_size=40))
    shift = [0, 0]
    for row in rows[4:]:
        if draw(st.integers(0, 7)) == 0:
            row["flags"] |= Flag.ROLL
            shift[row["instrument"]] += draw(st.integers(-60, 60))
        for name in ("open", "high", "low", "close"):
            row[name] += shift[row["instrument"]]
    return rows


@SLOW
@given(rolling_bars(), venues, st.integers(0, 2**20), st.sampled_from(tuple(RollPolicy)))
def test_equity_on_bars_with_rolls(rows, venue, seed, rolls):
    records, engine = run(
        rows, RestlessOfEveryType, instruments=INSTRUMENTS, schedules=[ALL_DAY] * 2, venue=venue, seed=seed, rolls=rolls
    )
    reckoning = check(rows, records, lambda row: int(row["close"]))
    assert {one.id: engine.books.lots(one.id) for one in INSTRUMENTS} == reckoning.lots


@SLOW
@given(ticks(instruments=2, min_size=20, max_size=60, warm=16), venues, st.integers(0, 2**20))
def test_equity_on_trades_and_quotes(rows, venue, seed):
    records, engine = run(
        rows,
        RestlessOfEveryType,
        instruments=INSTRUMENTS,
        schedules=[ALL_DAY] * 2,
        venue=venue,
        seed=seed,
        widths_ns=(MINUTE, 5 * MINUTE),
        risk=open_risk(MINUTE),
    )
    reckoning = check(rows, records, lambda row: int(row["price"]) if row["action"] == Action.TRADE else None)
    assert {one.id: engine.books.lots(one.id) for one in INSTRUMENTS} == reckoning.lots
