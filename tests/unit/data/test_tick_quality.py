"""The pass over trades and quotes: every kind by hand, and the whole against a slow plain version."""

import itertools
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.data.historical.reading import Finding, Treatment
from grandmodel.data.historical.tick_quality import QualityLimits, check_book, check_ticks
from grandmodel.domain.blocks import UNDEFINED_PRICE, Action, Block, Flag, Schema, check_order, empty_block
from grandmodel.domain.errors import UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN, Instrument
from grandmodel.domain.sessions import SessionSchedule

NQ = BUILT_IN[InstrumentId("NQ")]
CL = BUILT_IN[InstrumentId("CL")]
NONE = UNDEFINED_PRICE
Row = tuple[int, int, str, int, int, int, int]
"""ts_event, ts_init, kind, price, bid, ask, size."""


def _block(rows: list[Row]) -> Block:
    block = empty_block(Schema.QUOTES, len(rows))
    for place, (ts_event, ts_init, kind, price, bid, ask, size) in enumerate(rows):
        block[place]["ts_event"], block[place]["ts_init"] = ts_event, ts_init
        block[place]["action"] = ord(kind)
        block[place]["price"], block[place]["bid_price"], block[place]["ask_price"] = price, bid, ask
        block[place]["size"], block[place]["sequence"] = size, place
    return block


def _checked(
    block: Block, instrument: Instrument, schedule: SessionSchedule | None = None, limits: QualityLimits | None = None
) -> tuple[Block, list[Finding]]:
    """The check, without the finding that says that there was no schedule."""
    checked, findings = check_ticks(block, instrument, schedule, limits)
    return checked, [finding for finding in findings if finding.kind != "unchecked_sessions"]


def _found(rows: list[Row], instrument: Instrument = NQ, schedule: SessionSchedule | None = None) -> dict[str, int]:
    return {finding.kind: finding.count for finding in _checked(_block(rows), instrument, schedule)[1]}


def _quote(ts: int, bid: int, ask: int) -> Row:
    return (ts, ts, "Q", NONE, bid, ask, 0)


def _trade(ts: int, price: int, size: int = 1) -> Row:
    return (ts, ts, "T", price, NONE, NONE, size)


def test_sound_rows_give_no_finding_and_no_flag() -> None:
    block, findings = _checked(_block([_quote(1, 100, 101), _trade(2, 101), _quote(3, 101, 102)]), NQ)
    assert findings == []
    assert block["flags"].tolist() == [0, 0, 0]


def test_a_crossed_quote_is_flagged_and_a_locked_one_is_not() -> None:
    block, findings = _checked(_block([_quote(1, 102, 101), _quote(2, 101, 101), _quote(3, 100, 101)]), NQ)
    assert block["flags"].tolist() == [Flag.CROSSED, 0, 0]
    assert [(finding.kind, finding.treatment, finding.lines) for finding in findings] == [
        ("crossed_quotes", Treatment.MARKED, (1,)),
        ("locked_quotes", Treatment.NOTED, (2,)),
    ]


def test_missing_sides_are_told_from_crossed_ones() -> None:
    assert _found([_quote(1, NONE, 101), _quote(2, 100, NONE), _quote(3, NONE, NONE)]) == {
        "one_sided_quotes": 2,
        "empty_quotes": 1,
    }


def test_equal_trades_are_counted_and_none_is_dropped() -> None:
    block, findings = _checked(_block([_trade(1, 100)] * 3 + [_trade(1, 100, 2)]), NQ)
    assert len(block) == 4
    assert {finding.kind: finding.count for finding in findings} == {"repeated_stamps": 3, "repeated_trades": 2}


def test_rows_out_of_order_are_sorted_and_ties_keep_their_sequence() -> None:
    block = _block([_trade(5, 100), _trade(3, 101), _trade(5, 102), _trade(4, 103)])
    ordered, findings = _checked(block, NQ)
    assert ordered["price"].tolist() == [101, 103, 100, 102]
    check_order(ordered)
    assert block["price"].tolist() == [100, 101, 102, 103]
    assert (findings[0].kind, findings[0].treatment, findings[0].count, findings[0].lines) == (
        "unsorted_rows",
        Treatment.REPAIRED,
        2,
        (2, 4),
    )


def test_a_sequence_that_falls_within_one_stamp_is_out_of_order() -> None:
    block = _block([_trade(5, 100), _trade(5, 101)])
    block["sequence"] = [9, 3]
    ordered, findings = _checked(block, NQ)
    assert ordered["price"].tolist() == [101, 100]
    assert findings[0].kind == "unsorted_rows"
    check_order(ordered)


def test_rows_known_before_they_happened_are_noted() -> None:
    assert _found([(5, 4, "T", 100, NONE, NONE, 1)]) == {"early_knowledge": 1}


def test_sizes_and_prices_that_cannot_be() -> None:
    rows = [_trade(1, 100, 0), _trade(2, 100, -1), _trade(3, 0), _quote(4, -5, 3)]
    block, findings = _checked(_block(rows), NQ)
    assert {finding.kind: finding.count for finding in findings} == {
        "sizeless_trades": 1,
        "negative_sizes": 1,
        "impossible_prices": 2,
    }
    assert block["flags"].tolist() == [0, Flag.BAD_STRETCH, Flag.BAD_STRETCH, Flag.BAD_STRETCH]
    assert _found([_trade(1, -3_698)], CL) == {}


def test_a_jump_is_measured_against_the_usual_step_and_never_below_the_floor() -> None:
    calm = [_trade(ts, 1_000 + ts % 2) for ts in range(50)]
    assert _found([*calm, _trade(60, 1_040)]) == {}
    assert _found([*calm, _trade(60, 1_052)]) == {"price_jumps": 1}
    wild = [_trade(ts, 1_000 + 10 * (ts % 2)) for ts in range(50)]
    assert _found([*wild, _trade(60, 1_400)]) == {}
    _, findings = _checked(_block([*calm, _trade(60, 1_040)]), NQ, limits=QualityLimits(jump_multiple=10.0))
    assert [finding.kind for finding in findings] == ["price_jumps"]


def test_a_quote_jumps_by_its_middle() -> None:
    calm = [_quote(ts, 1_000 + ts % 2, 1_001 + ts % 2) for ts in range(50)]
    assert _found([*calm, _quote(60, 1_100, 1_101)]) == {"price_jumps": 1}
    # A crossed quote says nothing about the level.
    assert _found([*calm, _quote(60, 2_000, 1_500), _quote(61, 1_000, 1_001)]) == {"crossed_quotes": 1}


def test_rows_outside_every_session_are_counted() -> None:
    sessions = SessionSchedule(np.array([10, 30]), np.array([20, 40]), np.array([0, 0]))
    rows = [_trade(ts, 100) for ts in (9, 10, 19, 20, 29, 30, 39, 40, 99)]
    found = {finding.kind: finding for finding in _checked(_block(rows), NQ, sessions)[1]}
    assert found["out_of_session_rows"].lines == (1, 4, 5, 8, 9)
    assert "out_of_session_rows" not in _found(rows)
    none = SessionSchedule(*(np.zeros(0, dtype=np.int64),) * 3)
    assert _found([_trade(1, 100)], schedule=none) == {"out_of_session_rows": 1}


def test_empty_blocks_and_other_layouts() -> None:
    assert check_ticks(empty_block(Schema.TRADES, 0), NQ)[1] == []
    with pytest.raises(UsageError, match="expected trades or quotes"):
        check_ticks(empty_block(Schema.BOOK, 1), NQ)
    with pytest.raises(UsageError, match="expected order book events"):
        check_book(empty_block(Schema.TRADES, 1))


def test_order_book_events_are_sorted_and_their_clocks_looked_at() -> None:
    block = empty_block(Schema.BOOK, 3)
    block["ts_init"], block["ts_event"] = [2, 1, 3], [1, 1, 4]
    ordered, findings = check_book(block)
    assert ordered["ts_init"].tolist() == [1, 2, 3]
    assert [(finding.kind, finding.count) for finding in findings] == [("unsorted_rows", 1), ("early_knowledge", 1)]


def _slow(rows: list[Row], sessions: list[tuple[int, int]], limits: QualityLimits) -> tuple[dict[str, int], list[int]]:
    """The same counts and flags, one plain rule after the other."""
    counts: dict[str, int] = {}

    def note(kind: str) -> None:
        counts[kind] = counts.get(kind, 0) + 1

    for before, row in itertools.pairwise(rows):
        if row[1] < before[1]:
            note("unsorted_rows")
    order = sorted(range(len(rows)), key=lambda place: (rows[place][1], place))
    rows = [rows[place] for place in order]
    trades = [row[3] for row in rows if row[2] == "T"]
    mids = [row[4] + row[5] for row in rows if row[2] == "Q" and NONE not in row[4:6] and row[4] <= row[5]]
    bands = []
    for levels, floor in ((trades, limits.jump_ticks), (mids, 2 * limits.jump_ticks)):
        steps = [abs(b - a) for a, b in itertools.pairwise(levels) if a != b]
        bands.append(max(int(limits.jump_multiple * float(np.median(steps))) if steps else 0, floor))
        for a, b in itertools.pairwise(levels):
            if abs(b - a) > bands[-1]:
                note("price_jumps")
    flags = []
    for place, (ts_event, ts_init, kind, price, bid, ask, size) in enumerate(rows):
        flag = 0
        if ts_init < ts_event:
            note("early_knowledge")
        if place and rows[place - 1][1] == ts_init:
            note("repeated_stamps")
        if not any(start <= ts_event < stop for start, stop in sessions):
            note("out_of_session_rows")
        if size < 0:
            note("negative_sizes")
            flag |= Flag.BAD_STRETCH
        if min(price, bid, ask) <= 0:
            note("impossible_prices")
            flag |= Flag.BAD_STRETCH
        if NONE not in (bid, ask) and bid > ask:
            note("crossed_quotes")
            flag |= Flag.CROSSED
        if kind == "Q":
            missing = (bid == NONE) + (ask == NONE)
            if missing:
                note(("", "one_sided_quotes", "empty_quotes")[missing])
            elif bid == ask:
                note("locked_quotes")
        else:
            if size == 0:
                note("sizeless_trades")
            before = rows[place - 1]
            same = (before[:4], before[6]) == ((ts_event, ts_init, "T", price), size)
            if place and same:
                note("repeated_trades")
        flags.append(int(flag))
    return counts, flags


side_price = st.sampled_from([NONE, -1, 0, 5, 6, 7, 100])
tick_rows = st.lists(
    st.one_of(
        st.tuples(
            st.integers(0, 9),
            st.integers(0, 9),
            st.just("Q"),
            st.just(NONE),
            side_price,
            side_price,
            st.integers(-1, 2),
        ),
        st.tuples(
            st.integers(0, 9),
            st.integers(0, 9),
            st.just("T"),
            st.integers(-1, 60),
            side_price,
            side_price,
            st.integers(-1, 2),
        ),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=300)
@given(rows=tick_rows, multiple=st.sampled_from([0.5, 2.0, 50.0]), floor=st.integers(0, 30))
def test_the_compiled_pass_agrees_with_the_plain_one(rows: list[Row], multiple: float, floor: int) -> None:
    limits = QualityLimits(jump_multiple=multiple, jump_ticks=floor)
    schedule = SessionSchedule(np.array([1, 5]), np.array([3, 8]), np.array([0, 0]))
    block, findings = _checked(_block(rows), NQ, schedule, limits)
    counts, flags = _slow(rows, [(1, 3), (5, 8)], limits)
    assert {finding.kind: finding.count for finding in findings} == counts
    assert block["flags"].tolist() == flags
    assert len(block) == len(rows)
    check_order(block)


def test_the_instrument_of_the_example_has_positive_prices_only() -> None:
    assert (NQ.negative_prices, CL.negative_prices, NQ.tick_size) == (False, True, Decimal("0.25"))
    assert ord("Q") == Action.QUOTE


def test_without_a_schedule_the_report_says_that_sessions_were_not_looked_at() -> None:
    found = {finding.kind: finding.count for finding in check_ticks(_block([_trade(1, 100), _trade(2, 101)]), NQ)[1]}
    assert found == {"unchecked_sessions": 2}
