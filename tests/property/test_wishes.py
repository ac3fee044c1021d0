"""Whatever an agent returns: an ``AgentError`` that names it, or a record that its own reader reads back to the byte."""

import enum
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import get_args

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine_runs import encoded, run
from grandmodel.domain.decisions import AgentChoice, Belief, Decision, Intent, PlaceOrder, TargetPosition, Urgency
from grandmodel.domain.orders import OrderType, Side, TimeInForce
from grandmodel.journal.format import decode_record
from grandmodel.runtime.errors import AgentError, WishError
from grandmodel.runtime.wishes import admitted
from strategies import NQ, bar_row

KINDS = (*get_args(Intent), *get_args(Decision))


class Colour(enum.IntEnum):
    """Somebody else's enum."""

    RED = 1


class Texts(str):
    """A text of one's own kind."""

    __slots__ = ()


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3),
    st.sampled_from((
        *Side, *OrderType, *TimeInForce, *Urgency, Colour.RED, "NQ", "ZZ", "\ud800", "buy", b"x", bytearray(b"x"), 0.5,
        math.nan, -math.inf, 10**400, 1 + 2j, Decimal(1), date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC), np.int64(1),
        np.float64(0.5), np.bool_(True), np.array([1.0]), np.str_("a"), Texts("a"), object(), object, print, {}, {"a": 1},
        {"a"}, [], [1], ["a"], (), (1,), (0.5, 0.5), ("a", "b"), ("\ud800",), ("a", 1), [[[[]]]], range(3), msgspec.Raw(b"}{"),
        msgspec.UNSET, Belief(bullish=0.5, neutral=0.5, bearish=0.0), Belief(bullish="a", neutral=None, bearish=True),
        (Belief(bullish=math.nan, neutral=0.5, bearish=0.0),), (AgentChoice(agent=1, actions="a", probabilities={}, chosen=()),),
        (AgentChoice(agent="a", actions=("a",), probabilities=(1.0,), chosen="a"),), TargetPosition(instrument="NQ", lots=1),
    )),
)  # fmt: skip
SOUND = {
    "instrument": st.just("NQ"), "ts": st.integers(0, 2**40), "side": st.sampled_from(tuple(Side)), "quantity": st.integers(1, 4),
    "lots": st.integers(-3, 3), "order_id": st.integers(0, 5), "layer": st.just("strategic"), "reasons": st.just(("a",)),
    "weights": st.just((1.0,)), "agents": st.just(("one",)), "belief": st.just(Belief(bullish=0.2, neutral=0.3, bearish=0.5)),
    "choices": st.just((AgentChoice(agent="a", actions=("a",), probabilities=(1.0,), chosen="a"),)),
}  # fmt: skip


@st.composite
def wishes(draw):
    """A wish of a random kind with sound values, of which one or two are then anything at all."""
    kind = draw(st.sampled_from(KINDS))
    required = [field.name for field in msgspec.structs.fields(kind) if field.required]
    given = {name: draw(SOUND.get(name, st.just(0.5))) for name in required}
    names = [field.name for field in msgspec.structs.fields(kind)]
    given |= {name: draw(ODD) for name in draw(st.lists(st.sampled_from(names), max_size=2))}
    return kind(**given)


RINGS = []
RINGS.append(RINGS)


@settings(deadline=None, max_examples=250)
@given(st.one_of(wishes(), ODD))
@example(TargetPosition(instrument="NQ", lots=1, reasons=RINGS))
@example(PlaceOrder(instrument="NQ", side=Side.BUY, quantity=1, reasons=("x",) * 20_000))
def test_a_wish_is_refused_or_read_back_as_it_is(wish):
    try:
        found = admitted(wish)
    except WishError as error:
        text = str(error)
        assert "found" in text
        assert "expected" in text
        text.encode()
        return
    assert type(found) is type(wish)
    again = msgspec.json.decode(msgspec.json.encode(found), type=type(found))
    assert again == found == wish
    for name in found.__struct_fields__:
        value, given_value = getattr(found, name), getattr(wish, name)
        assert type(value) is type(given_value) or (type(value), type(given_value)) == (float, int), name


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(wishes(), wishes(), ODD), min_size=1, max_size=2))
def test_whatever_an_agent_returns_the_record_can_be_read(answer):
    rows = [bar_row(5 * k, 1_000, 1_002, 998, 1_000, sequence=k) for k in range(5)]

    def answers(number, bars, account):
        return answer if number == 2 else ()

    try:
        records, _ = run(rows, answers)
    except AgentError as error:
        if "agent scripted" not in str(error):
            raise
        return
    bodies = encoded(records)
    assert encoded(map(decode_record, bodies)) == bodies


def test_the_property_above_meets_both_ends():
    """It would hold of a door that refuses all."""
    assert admitted(TargetPosition(instrument=NQ.id, lots=1)) == TargetPosition(instrument=NQ.id, lots=1)
    with pytest.raises(WishError):
        admitted(TargetPosition(instrument=NQ.id, lots=True))
