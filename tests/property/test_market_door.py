"""Rows that no market makes: whatever comes, nothing crashes or hangs, and a refused row changes nothing but what is counted."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_runs import Restless, encoded, note_of, open_risk, run
from grandmodel.data.market.soundness import LAST_STAMP_NS
from grandmodel.domain.blocks import BAR, BOOK, TICK, UNDEFINED_PRICE, Action, BookSide
from grandmodel.domain.events import Cause
from grandmodel.runtime.market_step import SCHEDULE_GRACE_NS
from grandmodel.simulation.models import ConstantLatency, FillRuleName, VenueSettings
from strategies import ALL_DAY, CL, MID, MINUTE, NQ, START, bars, ticks

SLOW = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
COMMON = {
    "instruments": (NQ, CL), "schedules": [ALL_DAY, ALL_DAY], "widths_ns": (MINUTE, 5 * MINUTE), "risk": open_risk(MINUTE),
}  # fmt: skip
venues = st.builds(
    VenueSettings,
    latency=st.sampled_from((ConstantLatency(), ConstantLatency(order=1, report=500_000))),
    fill_rule=st.sampled_from(tuple(FillRuleName)),
)
NO_STAMP = (2**63 - 1, -(2**63), -1, LAST_STAMP_NS + 1, int(ALL_DAY.close_ns[-1]) + SCHEDULE_GRACE_NS + 1)
NO_PRICE = (2**63 - 2, -(2**63), 2**41, -(2**41), 100_000 * MID)
FAULTS = {
    "bars": [("ts_init", NO_STAMP), ("ts_event", (0, 2**63 - 1)), ("ts_open", (-5, 2**63 - 1)), ("volume", (-2, -(2**63), 2**53 + 1)), ("high", (1, *NO_PRICE)), ("low", (2**30, *NO_PRICE)), ("close", NO_PRICE)],
    "trades": [("ts_init", NO_STAMP), ("price", (*NO_PRICE, UNDEFINED_PRICE)), ("size", (-1, -(2**31)))],
    "quotes": [("ts_init", NO_STAMP), ("bid_price", NO_PRICE), ("ask_price", NO_PRICE), ("bid_size", (-1,)), ("ask_size", (-9,))],
}  # fmt: skip


def spoilt(sound, seed):
    """``sound`` rows with others among them that are copies of the row before with one impossible value."""
    mixed, generator = [], np.random.default_rng(seed)
    for row in sound:
        mixed.append(row)
        while generator.random() < 0.3:
            bad, kind = row.copy(), "bars"
            bad["flags"] = 0
            if row.dtype == TICK:
                kind = "trades" if generator.random() < 0.5 else "quotes"
                bad["action"] = Action.TRADE if kind == "trades" else Action.QUOTE
            name, values = FAULTS[kind][generator.integers(len(FAULTS[kind]))]
            bad[name] = values[generator.integers(len(values))]
            mixed.append(bad)
    return mixed


def told(records):
    """What a run comes to, without the numbers of records and rows, and without what single checks measured.

    A step between two others brings the gate's running peak up to date earlier, which a check may show.
    """
    return [
        (
            one.ts, one.cause, one.equity_micros, one.bars, one.reports, one.fills, one.orders, one.cancels, one.replaces,
            [(deed.number, deed.agent, deed.intent, deed.orders, deed.refused) for deed in one.intents],
        )
        for one in records
        if one.cause is not Cause.QUALITY
    ]  # fmt: skip


def check_door(sound, venue, seed, cut):
    mixed = spoilt(sound, seed)
    expected, _ = run(sound, Restless, venue=venue, seed=seed, **COMMON)
    found, engine = run(mixed, Restless, venue=venue, seed=seed, **COMMON)
    assert told(found) == told(expected)
    quality = note_of(found[-1])["quality"]
    refused = sum(quality[name].get("bad_rows", 0) for name in ("NQ", "CL"))
    assert refused == len(mixed) - len(sound)
    assert engine.market.position == len(mixed)
    for cuts in (range(1, len(mixed)), [min(cut, len(mixed))]):
        pieces, _ = run(mixed, Restless, cuts=cuts, venue=venue, seed=seed, **COMMON)
        assert encoded(pieces) == encoded(found)


@SLOW
@given(bars(instruments=2, min_size=8, max_size=25), venues, st.integers(0, 2**20), st.integers(0, 25))
def test_a_refused_bar_changes_nothing(stream, venue, seed, cut):
    check_door(stream, venue, seed, cut)


@SLOW
@given(ticks(instruments=2, min_size=20, max_size=50, warm=16), venues, st.integers(0, 2**20), st.integers(0, 50))
def test_a_refused_trade_or_quote_changes_nothing(stream, venue, seed, cut):
    check_door(stream, venue, seed, cut)


WILD = np.array(
    [0, 1, -1, 2, 9, 10, MID - 1, MID, MID + 1, 2 * MID, 99 * MID, 2**41, -(2**41), UNDEFINED_PRICE, -(2**63)]
)


def garbage(dtype, seed, count):
    """Rows of anything, half of them near a market; those whose stamp can be true are in order."""
    generator = np.random.default_rng(seed)
    raw = np.frombuffer(generator.bytes(count * dtype.itemsize), dtype).copy()
    tame = generator.random(count) < 0.8
    actions = [int(action) for action in (*Action, *[Action.TRADE, Action.QUOTE, Action.RESUME] * 6)]
    for name in dtype.names:
        if name in ("price", "bid_price", "ask_price", "open", "high", "low", "close"):
            raw[name] = np.where(tame, MID + generator.integers(-3, 4, count), generator.choice(WILD, count))
        elif name in ("ts_open", "ts_event", "ts_init"):
            late = {"ts_open": 0, "ts_event": MINUTE, "ts_init": MINUTE}[name]
            sane = START + np.sort(generator.integers(0, 60, count)) * MINUTE + late
            raw[name] = np.where(tame | (generator.random(count) < 0.5), sane, generator.choice((*NO_STAMP, 5), count))
        elif name in ("size", "bid_size", "ask_size", "volume"):
            raw[name] = np.where(tame, generator.integers(1, 9, count), raw[name])
    raw["sequence"] = 0
    raw["instrument"] = generator.integers(0, 2, count)
    raw["flags"] = np.where(generator.random(count) < 0.7, 1, raw["flags"])
    if "action" in dtype.names:
        raw["action"] = np.where(generator.random(count) < 0.9, generator.choice(actions, count), raw["action"])
        raw["side"] = generator.choice([int(side) for side in BookSide], count)
    if "order_id" in dtype.names:
        raw["order_id"] = generator.integers(0, 9, count)
    if dtype != BAR:  # A bar's own stamps decide whether its time is taken for true.
        raw["ts_init"] = np.where(raw["ts_init"] == 5, 2**63 - 1, raw["ts_init"])
        return list(raw)
    kept, last = [], 0
    for row in raw:
        if 0 <= row["ts_open"] < row["ts_event"] <= row["ts_init"] <= NO_STAMP[-1] - 1:
            if row["ts_init"] < last:
                continue
            last = row["ts_init"]
        kept.append(row)
    return kept


@settings(SLOW, max_examples=40)
@given(
    st.sampled_from((TICK, BAR, BOOK)),
    st.integers(0, 2**32),
    venues,
    st.lists(st.integers(0, 60), max_size=4),
    st.booleans(),
)
def test_garbage_neither_crashes_nor_hangs_nor_depends_on_how_it_is_cut(dtype, seed, venue, cuts, mark_on_quotes):
    rows = garbage(dtype, seed, 60)
    common = COMMON | {"venue": venue, "seed": seed % 1_000, "mark_on_quotes": mark_on_quotes}
    whole, engine = run(rows, Restless, **common)
    pieces, _ = run(rows, Restless, cuts=[cut for cut in cuts if cut < len(rows)], **common)
    assert encoded(pieces) == encoded(whole)
    assert engine.market.position == len(rows)
    for bar in (bar for record in whole for bar in record.bars):
        assert 0 < bar.low <= min(bar.open, bar.close) or bar.instrument == CL.id
        assert bar.low <= bar.open <= bar.high
        assert bar.low <= bar.close <= bar.high
        assert bar.high < 2**40


def test_the_garbage_above_is_partly_traded_on():
    """It would pass through a door that lets nothing in."""
    fills = refused = 0
    for seed in range(6):
        records, engine = run(garbage(TICK, seed, 120), Restless, seed=seed, **COMMON)
        fills += sum(len(record.fills) for record in records)
        refused += int(engine.market.instruments["bad_rows"].sum())
    assert fills > 10
    assert refused > 100
