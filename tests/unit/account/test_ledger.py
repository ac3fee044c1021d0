"""The ledger's edges: what it returns, what it counts, and the last amount that it books before it refuses."""

from decimal import Decimal
from fractions import Fraction
from math import floor

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.account.booking import book_fill, marked_value
from grandmodel.account.ledger import MAX_VALUE_MICROS, Ledger, Position, nearest_ratio
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.errors import InvariantError, UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from strategies import SHARE

NQ, IF, EURUSD = (BUILT_IN[InstrumentId(name)] for name in ("NQ", "IF", "EURUSD"))
UNIT = msgspec.structs.replace(NQ, id=InstrumentId("UNIT"), tick_value_micros=1)
"""A future of which one lot gains a millionth a tick, so that prices and values are one number."""
UNIT_SHARE = msgspec.structs.replace(SHARE, tick_size=Decimal("0.000001"), tick_value_micros=1)
CAPITAL = 10**12


def ledger_of(*instruments: Instrument, capital: int = CAPITAL, **rates: int) -> Ledger:
    return Ledger(instruments, capital, "USD", rates)


# -- the start ---------------------------------------------------------------------------------------------------------


def numbers(position: Position) -> tuple[int, ...]:
    """Lots, cost, mark, realised profit, fees, traded lots and settlement price."""
    return (
        position.lots, position.cost_micros, position.mark_ticks, position.realised_micros, position.fees_micros, position.traded_lots,
        position.settled_ticks,
    )  # fmt: skip


def test_a_new_ledger_holds_its_capital_and_nothing_else() -> None:
    ledger = ledger_of(NQ, IF, CNY=150_000)
    assert ledger.cash_micros == {"CNY": 0, "USD": CAPITAL}
    assert ledger.rates_micros == {"CNY": 150_000, "USD": 1_000_000}
    for position in ledger.positions:
        assert numbers(position) == (0, 0, UNDEFINED_PRICE, 0, 0, 0, UNDEFINED_PRICE)
    assert (ledger.repeated, ledger.seen_ids) == (0, set())
    assert ledger.base_currency == "USD"
    assert ledger.instruments == (NQ, IF)


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_that_is_not_above_zero_is_none(rate: int) -> None:
    with pytest.raises(UsageError, match=r"account\.rates\.CNY"):
        ledger_of(IF, CNY=rate)
    assert ledger_of(IF, CNY=1).rates_micros["CNY"] == 1


def test_a_position_lives_until_its_final_settlement() -> None:
    ledger = ledger_of(NQ, IF, CNY=150_000)
    assert [position.has_ended for position in ledger.positions] == [False, False]
    ledger.end(0, 0)
    assert [position.has_ended for position in ledger.positions] == [True, False]
    assert [position.settled_ticks for position in ledger.positions] == [0, UNDEFINED_PRICE]


# -- fills -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", [MAX_VALUE_MICROS // 4, -MAX_VALUE_MICROS // 4])
@pytest.mark.parametrize(("held", "filled"), [(0, 4), (0, -4), (3, 1), (-2, -2), (4, -4), (4, -3), (-3, 4), (1, -4)])
def test_the_largest_position_is_booked_and_one_tick_more_is_refused(price: int, held: int, filled: int) -> None:
    """What counts is the largest of what was held, what fills and what is then held."""
    for beyond, refused in ((0, False), (1, True)):
        ledger = ledger_of(UNIT)
        if held:
            ledger.apply_fill(0, held, 0, 0)
        away = price + (beyond if price > 0 else -beyond)
        if refused:
            with pytest.raises(InvariantError, match="too large"):
                ledger.apply_fill(0, filled, away, 0)
        else:
            ledger.apply_fill(0, filled, away, 0)
        assert ledger.positions[0].lots == (held if refused else held + filled)


def test_a_fill_pays_its_fee_and_counts_its_lots() -> None:
    ledger = ledger_of(NQ, EURUSD)
    assert ledger.apply_fill(0, 2, 100, 7) == 0
    assert ledger.apply_fill(0, -1, 103, 5) == 3 * NQ.tick_value_micros
    future = ledger.positions[0]
    assert (future.lots, future.fees_micros, future.traded_lots) == (1, 12, 3)
    assert future.realised_micros == 3 * NQ.tick_value_micros
    assert ledger.cash_micros["USD"] == CAPITAL + 3 * NQ.tick_value_micros - 12
    assert ledger.apply_fill(1, 2, 110_000, -3) == 0
    assert ledger.cash_micros["USD"] == (
        CAPITAL + 3 * NQ.tick_value_micros - 12 - 2 * 110_000 * EURUSD.tick_value_micros + 3
    )


def test_the_first_fill_marks_the_position_and_later_ones_leave_the_mark() -> None:
    ledger = ledger_of(NQ)
    ledger.apply_fill(0, 1, 100, 0)
    assert ledger.positions[0].mark_ticks == 100
    ledger.apply_fill(0, 1, 110, 0)
    assert ledger.positions[0].mark_ticks == 100
    ledger.mark(0, 90)
    assert ledger.unrealised_micros(0) == (180 - 210) * NQ.tick_value_micros


# -- what is there -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instrument", [NQ, SHARE])
def test_nothing_held_is_worth_nothing_whatever_the_mark(instrument: Instrument) -> None:
    ledger = ledger_of(instrument)
    for mark in (UNDEFINED_PRICE, 0, 105):
        ledger.mark(0, mark)
        assert (ledger.marked_micros(0), ledger.unrealised_micros(0)) == (0, 0)
        assert ledger.equity_micros() == CAPITAL
    ledger.apply_fill(0, 2, 100, 0)
    ledger.apply_fill(0, -2, 100, 0)
    assert (ledger.marked_micros(0), ledger.unrealised_micros(0)) == (0, 0)
    assert ledger.equity_micros() == CAPITAL


@pytest.mark.parametrize("lots", [3, 1, -1, -3])
def test_an_open_gain_is_the_mark_over_the_cost(lots: int) -> None:
    ledger = ledger_of(NQ, SHARE)
    for index, instrument in enumerate((NQ, SHARE)):
        ledger.apply_fill(index, lots, 100, 0)
        assert ledger.unrealised_micros(index) == 0  # Marked at what it cost.
        ledger.mark(index, 104)
        gain = 4 * lots * instrument.tick_value_micros
        assert ledger.unrealised_micros(index) == gain
        assert ledger.marked_micros(index) == (104 * lots * instrument.tick_value_micros if index else gain)
    assert ledger.equity_micros() == CAPITAL + 4 * lots * (NQ.tick_value_micros + SHARE.tick_value_micros)


def test_margin_is_that_of_the_open_lots_alone() -> None:
    ledger = ledger_of(NQ, IF, CNY=150_000)
    assert ledger.initial_margin_micros() == 0
    ledger.apply_fill(1, -3, 100, 0)
    assert ledger.initial_margin_micros() == 3 * IF.initial_margin_micros * 150_000 // 10**6


# -- what no order does ------------------------------------------------------------------------------------------------


def test_an_id_is_new_once_and_then_counted() -> None:
    ledger = ledger_of(NQ)
    assert [ledger.is_repeated(one) for one in ("a", "b", "a", "a")] == [False, False, True, True]
    assert (ledger.repeated, ledger.seen_ids) == (2, {"a", "b"})


@pytest.mark.parametrize("side", [1, -1])
def test_cash_moves_up_to_its_bound_and_no_further(side: int) -> None:
    ledger = ledger_of(NQ, capital=0)
    with pytest.raises(UsageError, match=r"2\^60"):
        ledger.move_cash("USD", side * (MAX_VALUE_MICROS + 1))
    ledger.move_cash("USD", side * MAX_VALUE_MICROS)
    assert ledger.cash_micros == {"USD": side * MAX_VALUE_MICROS}
    with pytest.raises(UsageError, match=r"2\^60"):
        ledger.move_cash("USD", side)
    ledger.move_cash("USD", -side * MAX_VALUE_MICROS)
    assert ledger.cash_micros == {"USD": 0}


def test_cash_of_a_currency_without_a_rate_is_refused_until_it_has_one() -> None:
    ledger = ledger_of(NQ)
    with pytest.raises(UsageError, match="give its exchange rate first"):
        ledger.move_cash("EUR", 1)
    assert ledger.cash_micros == {"USD": CAPITAL}
    ledger.set_rate("EUR", 1)
    ledger.move_cash("EUR", 2_000_000)
    ledger.set_rate("EUR", 1_500_000)
    assert ledger.cash_micros == {"USD": CAPITAL, "EUR": 2_000_000}
    assert ledger.equity_micros() == CAPITAL + 3_000_000


@pytest.mark.parametrize(("currency", "rate"), [("USD", 1_000_000), ("USD", 2), ("EUR", 0), ("EUR", -5)])
def test_a_rate_of_the_base_or_of_nothing_is_refused(currency: str, rate: int) -> None:
    ledger = ledger_of(NQ)
    with pytest.raises(UsageError, match="found a rate"):
        ledger.set_rate(currency, rate)
    assert ledger.rates_micros == {"USD": 1_000_000}


def test_a_settlement_pays_the_gain_and_returns_it() -> None:
    ledger = ledger_of(NQ)
    ledger.apply_fill(0, 2, 100, 0)
    ledger.mark(0, 104)
    assert ledger.settle(0, 103) == 6 * NQ.tick_value_micros
    position = ledger.positions[0]
    assert (position.cost_micros, position.realised_micros) == (206 * NQ.tick_value_micros, 6 * NQ.tick_value_micros)
    assert ledger.cash_micros["USD"] == CAPITAL + 6 * NQ.tick_value_micros
    assert ledger.settle(0, 101) == -4 * NQ.tick_value_micros
    assert position.realised_micros == 2 * NQ.tick_value_micros
    assert ledger.equity_micros() == CAPITAL + 8 * NQ.tick_value_micros


@pytest.mark.parametrize("lots", [4, -4])
def test_a_settlement_is_booked_up_to_the_bound(lots: int) -> None:
    ledger = ledger_of(UNIT)
    ledger.apply_fill(0, lots, 0, 0)
    with pytest.raises(InvariantError, match="too large"):
        ledger.settle(0, MAX_VALUE_MICROS // 4 + 1)
    assert ledger.cash_micros["USD"] == CAPITAL
    assert ledger.settle(0, MAX_VALUE_MICROS // 4) == (1 if lots > 0 else -1) * MAX_VALUE_MICROS


def test_what_was_paid_whole_has_no_daily_settlement_and_a_future_no_split() -> None:
    ledger = ledger_of(NQ, SHARE, EURUSD)
    for index in (1, 2):
        with pytest.raises(UsageError, match="daily settlement"):
            ledger.settle(index, 100)
    for index in (0, 2):
        with pytest.raises(UsageError, match="found a split"):
            ledger.split(index, 2, 1, 100)


@pytest.mark.parametrize("side", [1, -1])
def test_a_split_pays_out_the_part_of_a_share(side: int) -> None:
    ledger = ledger_of(SHARE)
    ledger.apply_fill(0, side * 5, 300, 0)  # cost 15.00
    ledger.mark(0, 301)
    before = ledger.cash_micros["USD"]
    # 3 for 2: 7.5 shares; the half is paid at 2.00, and its cost is 15.00 / 15.
    assert ledger.split(0, 3, 2, 200) == side * 1_000_000
    position = ledger.positions[0]
    assert (position.lots, position.cost_micros, position.mark_ticks) == (side * 7, side * 14_000_000, 201)
    assert position.realised_micros == 0
    assert ledger.cash_micros["USD"] == before + side * 1_000_000
    assert ledger.split(0, 2, 1, 100) == 0
    assert (position.lots, position.cost_micros, position.mark_ticks) == (side * 14, side * 14_000_000, 100)
    # 3 for 4: 10.5 shares; the half is paid at 3.00, and its cost is 14.00 x 2 / 42: what it gained is told as realised.
    assert ledger.split(0, 3, 4, 300) == side * 1_500_000
    share = 666_666 if side > 0 else -666_667
    assert (position.realised_micros, position.cost_micros) == (side * 1_500_000 - share, side * 14_000_000 - share)


def test_a_split_of_nothing_changes_the_mark_alone() -> None:
    ledger = ledger_of(SHARE)
    assert ledger.split(0, 2, 1, 100) == 0
    assert numbers(ledger.positions[0]) == (0, 0, UNDEFINED_PRICE, 0, 0, 0, UNDEFINED_PRICE)
    ledger.mark(0, 301)
    assert ledger.split(0, 2, 1, 100) == 0
    assert numbers(ledger.positions[0]) == (0, 0, 150, 0, 0, 0, UNDEFINED_PRICE)
    ledger.mark(0, MAX_VALUE_MICROS)  # Nothing held is never too large to count.
    assert ledger.split(0, 1, 2, 100) == 0
    assert numbers(ledger.positions[0]) == (0, 0, 2 * MAX_VALUE_MICROS, 0, 0, 0, UNDEFINED_PRICE)


def test_a_split_is_booked_up_to_the_bound() -> None:
    for beyond in (0, 1):
        ledger = ledger_of(UNIT_SHARE)
        ledger.apply_fill(0, -8, 0, 0)
        ledger.mark(0, -(MAX_VALUE_MICROS // 8 + beyond))
        if beyond:
            with pytest.raises(InvariantError, match="too large"):
                ledger.split(0, 1, 2, 0)
        else:
            assert ledger.split(0, 1, 2, 0) == 0
        assert ledger.positions[0].lots == (-8 if beyond else -4)
    ledger = ledger_of(SHARE)  # Of which a tick is 10,000 millionths.
    ledger.apply_fill(0, 4, 0, 0)
    ledger.mark(0, MAX_VALUE_MICROS // 10_000)
    with pytest.raises(InvariantError, match="too large"):
        ledger.split(0, 2, 1, 0)


# -- arithmetic --------------------------------------------------------------------------------------------------------


@given(st.integers(-50, 50), st.integers(1, 40), st.integers(-3, 3))
def test_the_nearest_whole_number_of_a_ratio_near_a_tie_is_that_of_round(whole: int, half: int, off: int) -> None:
    numerator = 2 * half * whole + half + off
    assert nearest_ratio(numerator, 2 * half) == round(Fraction(numerator, 2 * half))


lots_held = st.one_of(st.integers(-9, 9), st.integers(-(2**31), 2**31))


@given(
    lots_held, st.integers(-(2**60), 2**60), lots_held.filter(bool), st.integers(-(2**20), 2**20), st.integers(1, 100)
)
def test_a_fill_is_that_of_exact_fractions(lots: int, cost: int, signed: int, price: int, tick: int) -> None:
    cost = cost if lots else 0
    closing = 0
    if lots * signed < 0:
        closing = min(abs(lots), abs(signed)) * (1 if lots > 0 else -1)
    share = floor(Fraction(cost) * abs(closing) / abs(lots)) if closing else 0
    expected = (
        lots + signed,
        cost - share + price * (signed + closing) * tick,
        price * closing * tick - share,
    )
    assert book_fill(lots, cost, signed, price, tick) == expected


def test_a_position_adds_its_gain_or_its_whole_value() -> None:
    assert marked_value(3, 250, 100, 2, 0) == 350
    assert marked_value(3, 250, 100, 2, 1) == 600
    assert marked_value(-3, -250, 100, 2, 0) == -350
    assert marked_value(-3, -250, 100, 2, 1) == -600
    assert [marked_value(lots, 0, 100, 2, 0) for lots in (-1, 1)] == [-200, 200]
    for spot in (0, 1):
        assert marked_value(0, 0, 100, 2, spot) == 0
        assert marked_value(0, 0, UNDEFINED_PRICE, 2, spot) == 0


def test_a_close_returns_what_it_realised_itself() -> None:
    ledger = ledger_of(NQ)
    for price in (103, 106):
        ledger.apply_fill(0, 1, 100, 0)
        assert ledger.apply_fill(0, -1, price, 0) == (price - 100) * NQ.tick_value_micros
    assert ledger.positions[0].realised_micros == 9 * NQ.tick_value_micros


def test_all_are_marked_at_once() -> None:
    ledger = ledger_of(NQ, IF, CNY=150_000)
    ledger.mark_all(np.array([101, 202]))
    assert [position.mark_ticks for position in ledger.positions] == [101, 202]


def test_a_ledger_goes_on_from_what_another_saved() -> None:
    ledger, other = ledger_of(NQ, IF, CNY=150_000), ledger_of(NQ, IF, CNY=160_000)
    ledger.apply_fill(0, 2, 100, 7)
    ledger.apply_fill(1, -1, 300, 5)
    ledger.set_rate("EUR", 1_100_000)
    ledger.move_cash("EUR", 1_234)
    assert [ledger.is_repeated("a"), ledger.is_repeated("a")] == [False, True]
    ledger.end(1, 310)
    other.restore(ledger.save())
    assert (other.cash_micros, other.rates_micros) == (ledger.cash_micros, ledger.rates_micros)
    assert (other.seen_ids, other.repeated) == ({"a"}, 1)
    assert [numbers(one) for one in other.positions] == [numbers(one) for one in ledger.positions]
    for one in (ledger, other):
        one.mark(0, 120)
        one.apply_fill(0, -1, 120, 0)
    assert other.equity_micros() == ledger.equity_micros()
    assert other.save() == ledger.save()
