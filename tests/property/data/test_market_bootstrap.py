"""Markets made of sessions drawn again: the same for a seed, whole sessions of the source, the same days for all instruments."""

import functools
import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.market.sessions import session_schedule
from grandmodel.domain.blocks import BAR, Block, Flag, Schema, empty_block
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import NS_PER_DAY, NS_PER_HOUR, ns_from_text
from grandmodel.simulation.market_bootstrap import (
    BarSource,
    Bootstrap,
    SessionPool,
    draw_sessions,
    find_sessions,
    scaled_ticks,
    source_of_blocks,
)

INSTRUMENTS = [BUILT_IN[InstrumentId(name)] for name in ("NQ", "CL")]
START, END = ns_from_text("2024-01-02"), ns_from_text("2024-04-20")
HOURS = (0, 1, 3, 9, 15, 22)
"""Hours after a session's open at which the made bars open."""


def _bars(place: int, spoilt: dict[int, int] = {}, missing: tuple[int, ...] = (), seed: int = 4) -> Block:  # noqa: B006  (never changed)
    """A walk in bars of an hour; ``spoilt`` gives flags to the third bar of sessions, ``missing`` ones have no bars."""
    schedule = session_schedule(INSTRUMENTS[place], START, END)
    draws = np.random.default_rng(seed + place)
    price, rows = (70_000, 7_000)[place], []
    for session, (opens, closes) in enumerate(zip(schedule.open_ns.tolist(), schedule.close_ns.tolist(), strict=True)):
        for k, hour in enumerate(HOURS):
            first = price + int(draws.normal(0, 30))
            price = first + int(draws.normal(0, 60))
            opened = opens + hour * NS_PER_HOUR
            if session not in missing and opened + NS_PER_HOUR <= closes:
                high, low = max(first, price) + int(draws.integers(0, 9)), min(first, price) - int(draws.integers(0, 9))
                flags = spoilt.get(session, 0) if k == 2 else 0
                rows.append((opened + NS_PER_HOUR, opened + NS_PER_HOUR, opened, first, high, low, price, 5 + k, 0, place, flags))  # fmt: skip
    return np.array(rows, dtype=BAR)


def _source(*bars: Block) -> BarSource:
    return source_of_blocks(INSTRUMENTS[: len(bars)], bars, "made bars")


@functools.cache
def _pool() -> SessionPool:
    return find_sessions(_source(_bars(0, {7: int(Flag.BAD_STRETCH)}, (20,)), _bars(1, {30: int(Flag.ROLL)})))


def _sessions(bars: Block, place: int) -> list[Block]:
    """The bars cut by session, in order of the days."""
    schedule = session_schedule(INSTRUMENTS[place], int(bars["ts_open"][0]), int(bars["ts_event"][-1]))
    session = np.searchsorted(schedule.open_ns, bars["ts_open"], side="right") - 1
    assert (bars["ts_event"] <= schedule.close_ns[session]).all()
    return [bars[session == one] for one in np.unique(session)]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    count=st.integers(1, 90),
    mean_block=st.floats(1.0, 30.0),
    first_day=st.sampled_from(["2021-03-01", "2024-01-02", "2024-06-30"]),
)
def test_every_session_is_one_of_the_source_at_another_level(
    seed: int, count: int, mean_block: float, first_day: str
) -> None:
    pool = _pool()
    made = Bootstrap(pool, count, mean_block, seed, ns_from_text(first_day))
    bars = [np.concatenate(list(made.bars(place))) for place in range(2)]
    again = Bootstrap(pool, count, mean_block, seed, ns_from_text(first_day))
    assert [np.concatenate(list(again.bars(place))).tobytes() for place in range(2)] == [one.tobytes() for one in bars]
    for place in range(2):
        assert len(bars[place]) == made.rows(place)
        assert (np.diff(bars[place]["ts_event"]) > 0).all()
        assert (bars[place]["high"] >= np.maximum(bars[place]["open"], bars[place]["close"])).all()
        assert (bars[place]["low"] <= np.minimum(bars[place]["open"], bars[place]["close"])).all()
        drawn_sessions = _sessions(bars[place], place)
        assert len(drawn_sessions) == count
        (source,) = pool.source.read(place, pool.source.start_ns, pool.source.end_ns)
        close = int(source["close"][-1])
        for n, session in enumerate(drawn_sessions):
            opened = pool.open_ns[place, made.drawn[n]]
            own = source[(source["ts_open"] >= opened) & (source["ts_open"] < opened + 23 * NS_PER_HOUR)]
            assert (session["volume"] == own["volume"]).all()
            assert (np.diff(session["ts_open"]) == np.diff(own["ts_open"])).all()
            ratio = Fraction(int(session["open"][0]), int(own["open"][0]))
            for name in ("open", "high", "low", "close"):
                exact = [ratio * int(price) for price in own[name]]
                assert max(abs(int(got) - want) for got, want in zip(session[name], exact, strict=True)) <= Fraction(
                    1, 2
                )
            # It opens at the close before it times its own step, and nothing else.
            before = source[source["ts_open"] < opened]
            step = Fraction(1)
            if pool.before[place, made.drawn[n]]:
                step = Fraction(int(own["open"][0]), int(before["close"][-1]))
            assert abs(int(session["open"][0]) - close * step) <= Fraction(1, 2)
            close = int(session["close"][-1])
    assert ((made.day_ns - pool.day_ns[made.drawn]) % (7 * NS_PER_DAY) == 0).all()
    # Both instruments have the same days, of the output and of the source.
    days = [[one["ts_open"][0] // NS_PER_DAY for one in _sessions(bars[place], place)] for place in range(2)]
    assert days[0] == days[1]
    assert (np.diff(pool.open_ns[:, made.drawn], axis=0) == 0).all()


def test_spoilt_and_missing_sessions_are_never_drawn_and_said() -> None:
    pool = _pool()
    assert pool.left_out[0]["in bad stretches or cut short"] == 1
    assert pool.left_out[0]["without bars"] == 1
    assert pool.left_out[1]["with a contract roll inside"] == 1
    assert pool.left_out[0]["that another instrument has not"] == 1
    schedule = session_schedule(INSTRUMENTS[0], START, END)
    assert not np.isin(schedule.day_ns[[7, 20, 30]], pool.day_ns).any()
    # The steps into the sessions after the spoilt and the missing one are not known; the one after a roll inside is.
    places = np.searchsorted(pool.day_ns, schedule.day_ns[[8, 21, 31]])
    assert (pool.before[0, places] > 0).tolist() == [False, False, True]
    assert (pool.before[1, places] > 0).all()


def test_the_step_of_a_contract_roll_is_not_drawn() -> None:
    bars = _bars(0)
    schedule = session_schedule(INSTRUMENTS[0], START, END)
    first = np.searchsorted(bars["ts_open"], schedule.open_ns[11])
    bars["flags"][first] = int(Flag.ROLL)
    pool = find_sessions(_source(bars))
    assert pool.before[0, np.searchsorted(pool.day_ns, schedule.day_ns[11])] == 0
    assert schedule.day_ns[11] in pool.day_ns
    made = Bootstrap(pool, 60, 10.0, 3, START)
    assert (np.concatenate(list(made.bars(0)))["flags"] == 0).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**40), sessions=st.integers(5, 300), mean_block=st.floats(1.0, 5.0))
def test_blocks_have_the_mean_length_asked_for_and_every_session_the_same_chance(
    seed: int, sessions: int, mean_block: float
) -> None:
    count = 20_000
    places = draw_sessions(np.zeros(sessions, np.int64), np.zeros(count, np.int64), mean_block, seed)
    goes_on = np.diff(places) % sessions == 1
    # A new block begins with chance 1 / mean; by chance it begins at the next session all the same.
    expected = 1 - (1 / mean_block) * (1 - 1 / sessions)
    assert abs(goes_on.mean() - expected) < 5 * np.sqrt(0.25 / count)
    share = np.bincount(places, minlength=sessions) / count
    assert np.abs(share - 1 / sessions).max() < 6 * np.sqrt(2 * mean_block / sessions / count) + 1e-3


@settings(max_examples=40, deadline=None)
@given(
    source=st.lists(st.integers(0, 4), min_size=20, max_size=60),
    weekdays=st.lists(st.integers(0, 4), min_size=1, max_size=200),
    seed=st.integers(0, 2**40),
    mean_block=st.floats(1.0, 20.0),
)
def test_sessions_keep_their_weekday(source: list[int], weekdays: list[int], seed: int, mean_block: float) -> None:
    places = draw_sessions(np.array(source), np.array(weekdays), mean_block, seed).tolist()
    for place, wanted in zip(places, weekdays, strict=True):
        assert source[place] == wanted or wanted not in source


@given(
    ticks=st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=20),
    numerator=st.integers(1, 2**31 - 1),
    denominator=st.integers(1, 2**31 - 1),
)
def test_scaling_is_exact_and_keeps_order(ticks: list[int], numerator: int, denominator: int) -> None:
    numerator = min(numerator, 2 * denominator)
    made = scaled_ticks(np.array(ticks, np.int64), numerator, denominator).tolist()
    for got, had in zip(made, ticks, strict=True):
        assert -Fraction(1, 2) < got - Fraction(had * numerator, denominator) <= Fraction(1, 2)
    for (a, had_a), (b, had_b) in itertools.pairwise(sorted(zip(made, ticks, strict=True))):
        assert (a <= b) == (had_a <= had_b) or a == b


def test_what_cannot_be_drawn_is_refused() -> None:
    few = _bars(0)
    few = few[few["ts_event"] < START + 12 * NS_PER_DAY]
    with pytest.raises(UsageError, match="sessions to draw from, expected 20 or more"):
        find_sessions(_source(few))
    early, late = _bars(0), _bars(1)
    middle = (START + END) // 2
    with pytest.raises(UsageError, match="no trading day that all instruments have"):
        find_sessions(_source(early[early["ts_event"] < middle], late[late["ts_open"] > middle + NS_PER_DAY]))
    below = _bars(1)
    below["low"][3] = -100
    with pytest.raises(UsageError, match="chained by returns"):
        find_sessions(_source(_bars(0), below))
    with pytest.raises(UsageError, match="no bars of CL"):
        _source(_bars(0), empty_block(Schema.BARS, 0))
    for count, mean_block, seed, said in (
        (10, 900.0, 1, "mean block of 900"),
        (10, 5.0, -1, "seed -1"),
        (0, 5.0, 1, "0 sessions to draw"),
    ):
        with pytest.raises(UsageError, match=said):
            Bootstrap(_pool(), count, mean_block, seed, START)
