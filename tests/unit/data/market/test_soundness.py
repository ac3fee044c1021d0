"""Which rows no market makes: the compiled rule against a plain one, and the cases worth naming."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.market.soundness import (
    JUMP,
    LARGEST_VOLUME,
    LAST_STAMP_NS,
    LEAST_PRICE_TICKS,
    LEAST_REFERENCE_TICKS,
    Fault,
    bar_fault,
    bar_price_faults,
    bar_stamps_are_sound,
    lowest_price,
    quote_fault,
    trade_fault,
)
from grandmodel.domain.blocks import UNDEFINED_PRICE, UNKNOWN_VOLUME
from grandmodel.domain.instruments import MAX_PRICE_TICKS
from strategies import CL, NQ

NOTHING = UNDEFINED_PRICE
ABOVE_ZERO, ANY = lowest_price(NQ), lowest_price(CL)

prices = st.one_of(
    st.integers(-200, 200),
    st.integers(-(2**41), 2**41),
    st.sampled_from(
        (0, 1, MAX_PRICE_TICKS, MAX_PRICE_TICKS + 1, -MAX_PRICE_TICKS, -MAX_PRICE_TICKS - 1, NOTHING, -(2**63))
    ),
)
marks = st.one_of(st.just(NOTHING), st.integers(1, 10_000))


def is_possible(price, negative):
    return -MAX_PRICE_TICKS <= price <= MAX_PRICE_TICKS and (negative or price > 0)


def jumps(price, mark, negative):
    if mark == NOTHING:
        return False
    if negative:
        return abs(price - mark) >= JUMP * max(abs(mark), LEAST_REFERENCE_TICKS)
    small, large = sorted((price, mark))
    return large / JUMP >= max(small, LEAST_PRICE_TICKS)


def plain_bar_fault(open_, high, low, close, volume, mark, negative):
    four = (open_, high, low, close)
    if not all(is_possible(price, negative) for price in four):
        return Fault.PRICE
    if max(four) != high or min(four) != low:
        return Fault.SHAPE
    if not (volume == UNKNOWN_VOLUME or 0 <= volume <= LARGEST_VOLUME):
        return Fault.SIZE
    return Fault.JUMP if jumps(high, mark, negative) or jumps(low, mark, negative) else Fault.NONE


@settings(deadline=None, max_examples=400)
@given(
    st.tuples(prices, prices, prices, prices),
    st.sampled_from((-2, -1, 0, 9, 2**53, 2**53 + 1)),
    marks,
    st.booleans(),
    st.booleans(),
)
def test_bars_are_judged_as_a_plain_rule_judges_them(four, volume, mark, negative, ordered):
    open_, high, low, close = (four[0], max(four), min(four), four[1]) if ordered else four
    lowest = ANY if negative else ABOVE_ZERO
    found = Fault(bar_fault(open_, high, low, close, volume, mark, lowest))
    assert found is plain_bar_fault(open_, high, low, close, volume, mark, negative)
    alone = bar_price_faults(*(np.array([price], np.int64) for price in (open_, high, low, close)), lowest)
    assert Fault(int(alone[0])) is plain_bar_fault(open_, high, low, close, 0, NOTHING, negative)


@settings(deadline=None, max_examples=300)
@given(prices, st.integers(-2, 3), marks, st.booleans())
def test_prints_are_judged_as_a_plain_rule_judges_them(price, size, mark, negative):
    expected = Fault.NONE
    if not is_possible(price, negative):
        expected = Fault.PRICE
    elif size < 0:
        expected = Fault.SIZE
    elif jumps(price, mark, negative):
        expected = Fault.JUMP
    assert Fault(trade_fault(price, size, mark, ANY if negative else ABOVE_ZERO)) is expected


@settings(deadline=None, max_examples=400)
@given(prices, prices, st.integers(-1, 2), st.integers(-1, 2), marks, st.booleans())
def test_quotes_are_judged_as_a_plain_rule_judges_them(bid, ask, bid_size, ask_size, mark, negative):
    known = [price for price in (bid, ask) if price != NOTHING]
    expected = Fault.NONE
    if not all(is_possible(price, negative) for price in known):
        expected = Fault.PRICE
    elif min(bid_size, ask_size) < 0:
        expected = Fault.SIZE
    elif known and jumps(sum(known) // len(known), mark, negative):
        expected = Fault.JUMP
    assert Fault(quote_fault(bid, ask, bid_size, ask_size, mark, ANY if negative else ABOVE_ZERO)) is expected


@pytest.mark.parametrize(
    ("price", "mark", "lowest", "fault"),
    [
        (-3763, 1, ANY, Fault.NONE),  # CL settled at -37.63 on 2020-04-20.
        (1, -3763, ANY, Fault.NONE),
        (1_000, 0, ANY, Fault.NONE),
        (10_000, 0, ANY, Fault.JUMP),
        (0, 50, ABOVE_ZERO, Fault.PRICE),
        (4_999, 50, ABOVE_ZERO, Fault.NONE),
        (5_000, 50, ABOVE_ZERO, Fault.JUMP),
        (11, 1_000, ABOVE_ZERO, Fault.NONE),
        (10, 1_000, ABOVE_ZERO, Fault.JUMP),
        (999, 1, ABOVE_ZERO, Fault.NONE),
        (1_000, 1, ABOVE_ZERO, Fault.JUMP),
    ],
)  # fmt: skip
def test_a_jump_is_told_where_prices_may_be_negative_too(price, mark, lowest, fault):
    assert Fault(trade_fault(price, 1, mark, lowest)) is fault


@pytest.mark.parametrize(
    ("stamps", "sound"),
    [
        ((0, 1, 1), True),
        ((5, 9, LAST_STAMP_NS), True),
        ((5, 9, LAST_STAMP_NS + 1), False),
        ((-1, 5, 5), False),
        ((5, 5, 5), False),
        ((9, 5, 9), False),
        ((5, 9, 8), False),
        ((2**63 - 1, -(2**63), 5), False),
    ],
)  # fmt: skip
def test_a_bar_opens_ends_and_is_known_in_this_order(stamps, sound):
    assert bar_stamps_are_sound(*stamps, LAST_STAMP_NS) is sound
