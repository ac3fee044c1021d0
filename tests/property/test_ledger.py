"""The ledger against an independent reckoning in exact fractions, after every single event."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.account.ledger import Ledger
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.errors import InvariantError, UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN

NAMES = ("NQ", "IF", "EURUSD", "BTCUSD", "CL")
INSTRUMENTS = [BUILT_IN[InstrumentId(name)] for name in NAMES]
CAPITAL = 1_000_000_000_000
RATES = {"CNY": 137_893}


class Exact:
    """Cash flows only: every fill is a payment, every position is worth its mark. No cost, no averages."""

    def __init__(self):
        self.paid = [Fraction(0)] * len(NAMES)
        self.fees = [Fraction(0)] * len(NAMES)
        self.lots = [0] * len(NAMES)
        self.marks = [0] * len(NAMES)

    def value(self, index, ticks, lots):
        instrument = INSTRUMENTS[index]
        per_tick = Fraction(instrument.tick_value_micros, 1_000_000)
        return Fraction(ticks) * lots * per_tick * 1_000_000

    def fill(self, index, lots, price, fee):
        self.paid[index] += self.value(index, price, lots)
        self.fees[index] += fee
        self.lots[index] += lots

    def profit(self, index):
        """Before fees."""
        return self.value(index, self.marks[index], self.lots[index]) - self.paid[index]


events = st.lists(
    st.one_of(
        st.tuples(
            st.just("fill"),
            st.integers(0, len(NAMES) - 1),
            st.integers(-40, 40).filter(bool),
            st.integers(-3_000, 9_000),
            st.integers(-5_000_000, 9_000_000),
        ),
        st.tuples(st.just("mark"), st.integers(0, len(NAMES) - 1), st.integers(-3_000, 9_000)),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(events)
def test_equity_is_capital_and_exact_profit_after_every_event(happened):
    ledger, exact = Ledger(INSTRUMENTS, CAPITAL, "USD", RATES), Exact()
    for event in happened:
        index = event[1]
        if event[0] == "fill":
            _, _, lots, price, fee = event
            if ledger.positions[index].mark_ticks == UNDEFINED_PRICE:
                exact.marks[index] = price
            before = ledger.positions[index].realised_micros
            realised = ledger.apply_fill(index, lots, price, fee)
            assert ledger.positions[index].realised_micros == before + realised
            exact.fill(index, lots, price, fee)
        else:
            ledger.mark(index, event[2])
            exact.marks[index] = event[2]
        check_against(ledger, exact)


def check_against(ledger, exact):
    """Equity to the last millionth: cash and each marked position converted apart, each rounded down."""
    cash = {"USD": Fraction(CAPITAL), "CNY": Fraction(0)}
    for index, (instrument, position) in enumerate(zip(INSTRUMENTS, ledger.positions, strict=True)):
        assert position.lots == exact.lots[index]
        profit = exact.profit(index)
        # What was earned, split into closed and open lots, is all that was earned.
        assert position.realised_micros + ledger.unrealised_micros(index) == profit
        assert position.fees_micros == exact.fees[index]
        spot = instrument.pays_whole_price
        worth = exact.value(index, exact.marks[index], exact.lots[index]) if spot else ledger.unrealised_micros(index)
        if not position.lots:
            assert position.cost_micros == 0
            worth = 0
        assert ledger.marked_micros(index) == worth
        cash[instrument.currency] += profit - worth - exact.fees[index]
    assert ledger.cash_micros == cash
    total = sum(
        cash["USD"] if currency == "USD" else floor(cash["CNY"] * Fraction(RATES["CNY"], 10**6)) for currency in cash
    )
    for index, instrument in enumerate(INSTRUMENTS):
        rate = Fraction(RATES.get(instrument.currency, 10**6), 10**6)
        total += floor(ledger.marked_micros(index) * rate)
    assert ledger.equity_micros() == total


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-20, 20).filter(bool), st.integers(1, 9_000)), min_size=1, max_size=30))
def test_realised_profit_is_that_of_the_average_cost_to_a_millionth_a_lot(fills):
    """Average cost in exact fractions; the ledger rounds each partial close by less than a millionth."""
    ledger = Ledger(INSTRUMENTS[:1], CAPITAL)
    tick = INSTRUMENTS[0].tick_value_micros
    lots, average, realised, closes = 0, Fraction(0), Fraction(0), 0
    for signed, price in fills:
        ledger.apply_fill(0, signed, price, 0)
        if lots and (lots > 0) != (signed > 0):
            closed = min(abs(lots), abs(signed)) * (1 if lots > 0 else -1)
            realised += (price - average) * closed * tick
            closes += 1
            if abs(signed) > abs(lots):
                average = Fraction(price)
        else:
            average = (average * lots + Fraction(price) * signed) / (lots + signed)
        lots += signed
        if lots == 0:
            average = Fraction(0)
        assert abs(ledger.positions[0].realised_micros - realised) < closes + 1
        assert abs(ledger.positions[0].cost_micros - average * lots * tick) < closes + 1


def test_a_turn_closes_at_the_average_and_opens_at_the_fill():
    ledger = Ledger(INSTRUMENTS[:1], CAPITAL)
    ledger.apply_fill(0, 2, 100, 10)
    ledger.apply_fill(0, 1, 103, 10)
    # 3 lots at 101; selling 5 at 110 earns 3 x 9 ticks of 5 USD and leaves 2 short at 110.
    assert ledger.apply_fill(0, -5, 110, 10) == 3 * 9 * 5_000_000
    position = ledger.positions[0]
    assert (position.lots, position.cost_micros, position.traded_lots) == (-2, -2 * 110 * 5_000_000, 8)
    assert ledger.cash_micros["USD"] == CAPITAL + 135_000_000 - 30
    ledger.mark(0, 112)
    assert ledger.equity_micros() == CAPITAL + 135_000_000 - 30 - 20_000_000


def test_what_cannot_be_divided_stays_with_the_open_lots():
    ledger = Ledger(INSTRUMENTS[3:4], CAPITAL)  # one lot of BTCUSD gains 10 millionths a tick
    for lots, price in ((1, 10), (1, 10), (1, 11)):
        ledger.apply_fill(0, lots, price, 0)
    assert ledger.positions[0].cost_micros == 310
    ledger.apply_fill(0, -1, 10, 0)
    assert (ledger.positions[0].realised_micros, ledger.positions[0].cost_micros) == (100 - 103, 207)
    ledger.apply_fill(0, -2, 10, 0)
    assert ledger.positions[0].realised_micros == -10
    assert ledger.equity_micros() == CAPITAL - 10


def test_initial_margin_counts_both_sides_and_converts():
    ledger = Ledger(INSTRUMENTS[:2], CAPITAL, "USD", RATES)
    ledger.apply_fill(0, -2, 100, 0)
    ledger.apply_fill(1, 3, 100, 0)
    expected = 2 * INSTRUMENTS[0].initial_margin_micros
    expected += 3 * INSTRUMENTS[1].initial_margin_micros * RATES["CNY"] // 10**6
    assert ledger.initial_margin_micros() == expected


def test_a_currency_without_a_rate_is_refused():
    with pytest.raises(UsageError, match=r"account\.rates\.CNY"):
        Ledger(INSTRUMENTS, CAPITAL)


def test_a_rate_for_the_base_currency_is_refused():
    with pytest.raises(UsageError, match="base currency"):
        Ledger(INSTRUMENTS[:1], CAPITAL, "USD", {"USD": 2_000_000})


def test_a_fill_of_no_lots_is_refused():
    with pytest.raises(InvariantError, match="0 lots"):
        Ledger(INSTRUMENTS[:1], CAPITAL).apply_fill(0, 0, 100, 0)


def test_a_position_too_large_to_count_is_refused():
    with pytest.raises(InvariantError, match="too large"):
        Ledger(INSTRUMENTS[:1], CAPITAL).apply_fill(0, 2**31, 2**31, 0)
