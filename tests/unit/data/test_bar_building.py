"""Bars built in the market step against a slow plain reckoning, and the cases that the rules are about.

The reference puts every trade into its bin of every width by itself, where the compiled code feeds the shortest bar only and
merges from there.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandmodel.domain.blocks import Action, Flag
from grandmodel.domain.time import NEVER_NS
from grandmodel.runtime.market_step import MarketStep, Stop
from grandmodel.simulation.models import VenueSettings
from strategies import ALL_DAY, CL, MID, MINUTE, NQ, START, bar_row, quote_row, schedule_of, stack, trade_row

WIDTHS = (MINUTE, 5 * MINUTE, 30 * MINUTE)
BROKEN = schedule_of((2, 95, 0), (102, 190, 0), (240, 377, 1), (400, 401, 2))
"""A lunch break, an early close, bounds that are no multiple of a width, a session of one minute."""
SCHEDULES = [BROKEN, ALL_DAY]
SLOW = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])


def build(rows, *, schedules=SCHEDULES, mark_on_quotes=False, widths=WIDTHS):
    """[(moment, [bar, ...]), ...] as the market step closes them; a bar is a tuple of its fields."""
    market = MarketStep((NQ, CL), schedules, widths, VenueSettings(), {}, mark_on_quotes=mark_on_quotes)
    closed = []
    block = stack(rows)
    schema = market.begin(block)
    while (stop := market.walk(block, schema)) is not Stop.END:
        closed.append((market.now, bars_of(market, stop)))
    while (stop := market.advance(NEVER_NS - 1)) is not Stop.END:
        closed.append((market.now, bars_of(market, stop)))
    return closed


def bars_of(market, stop):
    assert stop is Stop.BARS
    fields = ("instrument", "width", "start", "end", "open", "high", "low", "close", "volume", "flags")
    return [tuple(int(row[name]) for name in fields) for row in market.closed[: int(market.step[0]["closed_bars"])]]


def bin_of(schedule, ts, width):
    """Start and end of the bin that holds ``ts``: from the session's open, outside a session from the epoch."""
    coming = [(int(o), int(c)) for o, c in zip(schedule.open_ns, schedule.close_ns, strict=True) if c > ts]
    opened, closed = coming[0] if coming else (NEVER_NS, NEVER_NS)
    if opened <= ts:
        start = opened + (ts - opened) // width * width
        return start, min(start + width, closed)
    start = ts // width * width
    return start, min(start + width, opened)


def plain_bars(schedule, instrument, prices):
    """Every bar of one instrument from (ts, price, size or -1, flags)."""
    bars = []
    for width in WIDTHS:
        bins = {}
        for ts, price, size, flags in prices:
            bins.setdefault(bin_of(schedule, ts, width), []).append((ts, price, size, flags))
        for (start, end), rows in bins.items():
            shortest = {}
            for ts, _, size, _ in rows:
                shortest.setdefault(bin_of(schedule, ts, WIDTHS[0]), []).append(size)
            # A print of size 0 is one whose size the source did not say: the volume around it is unknown.
            known = [[size for size in sizes if size >= 0 and 0 not in sizes] for sizes in shortest.values()]
            volume = sum(sum(sizes) for sizes in known) if all(known) else -1
            values = [price for _, price, _, _ in rows]
            flags = 0
            for row in rows:
                flags |= row[3]
            bars.append((instrument, width, start, end, values[0], max(values), min(values), values[-1], volume, flags))
    return bars


def in_order(bars):
    """Grouped by the moment of their end; at one moment by instrument, then width."""
    moments = sorted({bar[3] for bar in bars})
    return [(moment, sorted(bar for bar in bars if bar[3] == moment)) for moment in moments]


@st.composite
def trades_and_quotes(draw):
    """Trades and quotes of two instruments at any nanosecond, often exactly on a bin's edge."""
    rows, ns = [], 0
    for number in range(draw(st.integers(1, 60))):
        step = draw(st.sampled_from((0, 1, MINUTE - 1, MINUTE, 3 * MINUTE, 17 * MINUTE, 61 * MINUTE)))
        ns += step
        if draw(st.booleans()):
            ns = -(-ns // MINUTE) * MINUTE
        price, instrument = MID + draw(st.integers(-9, 9)), draw(st.integers(0, 1))
        flags = draw(st.sampled_from((0, 0, 0, int(Flag.BAD_STRETCH), int(Flag.REPAIRED))))
        common = {"instrument": instrument, "sequence": number, "flags": flags}
        if draw(st.integers(0, 3)):
            rows.append(trade_row(ns, price, draw(st.integers(0, 9)), **common))
        else:
            rows.append(quote_row(ns, price, price + 3, **common))
    return rows


@SLOW
@given(trades_and_quotes(), st.booleans())
def test_bars_of_trades_and_quotes_are_those_of_the_plain_reckoning(rows, mark_on_quotes):
    prices = [[], []]
    for row in rows:
        ts, flags = int(row["ts_init"]), int(row["flags"]) & int(Flag.BAD_STRETCH)
        if row["action"] == Action.TRADE:
            prices[row["instrument"]].append((ts, int(row["price"]), int(row["size"]), flags))
        elif mark_on_quotes:
            prices[row["instrument"]].append((ts, int(row["bid_price"]) + 1, -1, flags))
    expected = [bar for i in (0, 1) for bar in plain_bars(SCHEDULES[i], i, prices[i])]
    assert build(rows, mark_on_quotes=mark_on_quotes) == in_order(expected)


@st.composite
def shorter_bars(draw):
    """Finished bars of one width per instrument, some late, some catching up in a burst."""
    widths = (draw(st.sampled_from((1, 5))), draw(st.sampled_from((1, 5, 30))))
    rows = []
    for instrument, width in enumerate(widths):
        minute, known = 0, 0
        for _ in range(draw(st.integers(0, 25))):
            minute += width * draw(st.sampled_from((1, 1, 1, 1, 2, 13)))
            late = draw(st.sampled_from((0, 0, 0, 1, 3 * MINUTE, 40 * MINUTE)))
            open_, close = MID + draw(st.integers(-9, 9)), MID + draw(st.integers(-9, 9))
            high, low = max(open_, close) + draw(st.integers(0, 3)), min(open_, close) - draw(st.integers(0, 3))
            flags = draw(st.sampled_from((0, 0, 0, int(Flag.BAD_STRETCH))))
            row = bar_row(
                minute, open_, high, low, close, draw(st.sampled_from((-1, 0, 7, 7))), width=width,
                instrument=instrument, flags=flags, late_ns=late,
            )  # fmt: skip
            row["ts_init"] = known = max(known, int(row["ts_init"]))
            rows.append(row)
    return sorted(rows, key=lambda row: int(row["ts_init"])) or [bar_row(0, MID, MID, MID, MID)]


def plain_longer_bars(rows, schedules):
    """Bars from bars, one row after the other: each goes into its bin of every width that is at least its own."""
    now, making, closed = -(2**63), {}, []

    def close_until(limit):
        nonlocal now
        while making and min(bar["due"] for bar in making.values()) <= limit:
            moment = min(bar["due"] for bar in making.values())
            now = max(now, moment)
            ready = sorted(key for key, bar in making.items() if bar["due"] <= moment)
            names = ("start", "end", "open", "high", "low", "close", "volume", "flags")
            closed.append((now, [(*key, *(making[key][name] for name in names)) for key in ready]))
            for key in ready:
                del making[key]

    for row in rows:
        ts, opened, ended, i = (int(row[name]) for name in ("ts_init", "ts_open", "ts_event", "instrument"))
        for key, bar in making.items():
            if key[0] == i and bar["end"] <= opened:
                bar["due"] = min(bar["due"], ts - 1)
        close_until(ts - 1)
        now = ts
        for width in WIDTHS:
            if width < ended - opened:
                continue
            start, end = bin_of(schedules[i], opened, width)
            bar = making.setdefault(
                (i, width),
                {
                    "start": start,
                    "end": max(end, ended),
                    "open": int(row["open"]),
                    "high": -(2**62),
                    "low": 2**62,
                    "volume": 0,
                    "flags": 0,
                },
            )
            bar["high"] = max(bar["high"], int(row["high"]))
            bar["low"] = min(bar["low"], int(row["low"]))
            bar["close"] = int(row["close"])
            unknown = row["volume"] < 0 or bar["volume"] < 0
            bar["volume"] = -1 if unknown else bar["volume"] + int(row["volume"])
            bar["flags"] |= int(row["flags"])
            bar["due"] = bar["end"] + ts - ended
    close_until(NEVER_NS - 1)
    return closed


@SLOW
@given(shorter_bars())
def test_longer_bars_of_shorter_ones_are_those_of_the_plain_reckoning(rows):
    assert build(rows) == plain_longer_bars(rows, SCHEDULES)


@SLOW
@given(trades_and_quotes())
def test_longer_bars_are_the_same_from_trades_and_from_the_one_minute_bars_of_those_trades(rows):
    rows = [row for row in rows if row["action"] == Action.TRADE]
    if not rows:
        return
    direct = [bar for _, bars in build(rows, schedules=[ALL_DAY, ALL_DAY]) for bar in bars]
    minutes = sorted((bar for bar in direct if bar[1] == MINUTE), key=lambda bar: bar[3])
    again = []
    for number, (i, _, start, _, open_, high, low, close, volume, flags) in enumerate(minutes):
        at = (start - START) // MINUTE
        again.append(bar_row(at, open_, high, low, close, volume, width=1, instrument=i, flags=flags, sequence=number))
    rebuilt = [bar for _, bars in build(again, schedules=[ALL_DAY, ALL_DAY]) for bar in bars]
    assert sorted(direct) == sorted(rebuilt)


def test_a_bar_ends_at_the_session_s_close_and_the_next_begins_at_its_open():
    rows = [trade_row(minute * MINUTE, MID + minute) for minute in (93, 94, 102, 103)]
    longest = [bar for _, bars in build(rows) for bar in bars if bar[1] == 30 * MINUTE]
    bounds = [((bar[2] - START) // MINUTE, (bar[3] - START) // MINUTE) for bar in longest]
    assert bounds == [(92, 95), (102, 132)]


def test_no_bar_is_made_up_where_nothing_traded():
    rows = [trade_row(3 * MINUTE, MID), trade_row(70 * MINUTE, MID)]
    assert [moment for moment, _ in build(rows, schedules=[ALL_DAY, ALL_DAY])] == [
        START + minute * MINUTE for minute in (4, 5, 30, 71, 75, 90)
    ]


def test_a_feed_that_catches_up_does_not_put_a_bar_into_the_bin_before_it():
    """Three five-minute bars arrive at one moment after an outage; the last of them begins the next half hour."""
    late = 17 * MINUTE
    rows = [bar_row(20, 10, 12, 9, 11, 5, late_ns=late), bar_row(25, 11, 13, 10, 12, 5, late_ns=late - 5 * MINUTE)]
    rows.append(bar_row(30, 50, 51, 49, 50, 5, late_ns=late - 10 * MINUTE))
    longest = [bar for _, bars in build(rows, schedules=[ALL_DAY, ALL_DAY]) for bar in bars if bar[1] == 30 * MINUTE]
    assert [bar[4:9] for bar in longest] == [(10, 13, 9, 12, 10), (50, 51, 49, 50, 5)]


def test_a_trade_on_the_edge_opens_the_next_bar():
    rows = [trade_row(0, 1), trade_row(MINUTE - 1, 2), trade_row(MINUTE, 3)]
    shortest = [bar for _, bars in build(rows, schedules=[ALL_DAY, ALL_DAY]) for bar in bars if bar[1] == MINUTE]
    assert [bar[4:8] for bar in shortest] == [(1, 2, 1, 2), (3, 3, 3, 3)]


def test_a_print_of_unknown_size_makes_the_volume_of_its_bars_unknown_and_of_no_other():
    sizes = (3, 0, 4, 5, 6)
    rows = [trade_row(k * MINUTE // 2, MID, size, sequence=k) for k, size in enumerate(sizes)]
    closed = [bar for _, bars in build(rows, schedules=[ALL_DAY, ALL_DAY]) for bar in bars]
    assert [bar[8] for bar in closed if bar[1] == MINUTE] == [-1, 9, 6]
    assert [bar[8] for bar in closed if bar[1] == 5 * MINUTE] == [-1]
