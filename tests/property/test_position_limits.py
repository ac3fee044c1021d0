"""Limits on lots, seen from the venue: after every record its own slots say what can still fill, and that stays within limits.

Three agents at once send orders, targets, groups, brackets, changes, cancels and reduce-only orders under limits of a few lots.
Nothing here asks the risk gate or the engine what they think is open.
"""

from collections import Counter, defaultdict
from itertools import chain

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_runs import FREE, Restless, build_engine, open_risk
from grandmodel.domain.decisions import PlaceOrder
from grandmodel.domain.events import Advance
from grandmodel.domain.time import NEVER_NS
from grandmodel.risk.settings import InstrumentLimits
from grandmodel.runtime.order_planner import OrderPlanner
from grandmodel.simulation.models import ConstantLatency, FillRuleName, LiquidityName, LognormalLatency
from grandmodel.simulation.state import SlotState
from risk import planted
from strategies import ALL_DAY, CL, MINUTE, NQ, bar_row, bars, stack, ticks

INSTRUMENTS = (NQ, CL)
LONG, SHORT, OVERALL = 6, 4, 9
SLOW = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def tight_risk(width_ns=5 * MINUTE):
    """Room for everything but lots."""
    risk = open_risk(width_ns)
    limits = {name: getattr(risk.limits, name) for name in InstrumentLimits.__struct_fields__}
    limits |= {"max_long_lots": LONG, "max_short_lots": SHORT}
    portfolio = msgspec.structs.replace(risk.portfolio, max_overall_lots=OVERALL)
    return msgspec.structs.replace(risk, limits=InstrumentLimits(**limits), portfolio=portfolio)


class Grouping(Restless):
    """``Restless``, with most of its orders in one of two groups, some of them only to close, and larger than any limit."""

    name = "grouping"

    def wish(self, bar, account, close=None):
        wish = super().wish(bar, account, close)
        if not isinstance(wish, PlaceOrder):
            return wish
        only_closes = wish.bracket_stop is None and self.generator.random() < 0.3
        group, lots = int(self.generator.integers(0, 3)), int(self.generator.integers(1, 9))
        return msgspec.structs.replace(wish, oco_group=group, quantity=lots, reduce_only=only_closes)


venues = st.builds(
    lambda **changes: msgspec.structs.replace(FREE, **changes),
    latency=st.sampled_from(
        (
            ConstantLatency(),
            ConstantLatency(order=0, report=90 * 10**9),
            ConstantLatency(order=2 * 10**9, report=70 * 10**9),
            LognormalLatency(floor=0, median=60 * 10**9, sigma=1.0),
        )
    ),
    fill_rule=st.sampled_from((FillRuleName.TOUCH, FillRuleName.THROUGH)),
    liquidity=st.sampled_from(tuple(LiquidityName)),
    participation_ppm=st.sampled_from((0, 300_000)),
)


def lots_open(engine, i):
    """(buys, sells) that the venue's slots of instrument ``i`` can still fill, a change on its way as the larger quantity."""
    alone, groups = Counter(), defaultdict(int)
    for slot in engine.market.slots[: int(engine.market.step[0]["slots"])]:
        if slot["instrument"] != i or slot["state"] <= SlotState.ANSWERING:
            continue
        most = int(slot["quantity"])
        if slot["ts_replace"] < NEVER_NS:
            most = max(most, int(slot["new_quantity"]))
        if slot["parent"]:
            most = min(most, int(slot["woken"]))
        lots, side = max(0, most - int(slot["filled"]) - int(slot["reduced"])), int(slot["side"])
        if slot["oco_group"]:
            key = (int(slot["oco_group"]), side)
            groups[key] = max(groups[key], lots)
        else:
            alone[side] += lots
    for (_, side), lots in groups.items():
        alone[side] += lots
    return alone[1], alone[-1]


def check_limits(engine):
    overall = 0
    for i in range(len(INSTRUMENTS)):
        position = int(engine.market.instruments[i]["venue_position"])
        buys, sells = lots_open(engine, i)
        assert position + buys <= LONG, (i, position, buys)
        assert sells - position <= SHORT, (i, position, sells)
        overall += max(position + buys, sells - position)
    assert overall <= OVERALL


def check_nothing_is_left(engine):
    """Once every report has arrived, just those orders are open that the venue still holds."""
    rows = engine.market.slots[: int(engine.market.step[0]["slots"])]
    held = {int(row["order_id"]) for row in rows if row["state"] > SlotState.ANSWERING}
    assert set(engine.lives.open) == held
    assert set(engine.gate.working.orders) == held
    for i, instrument in enumerate(INSTRUMENTS):
        assert int(engine.market.instruments[i]["venue_position"]) == engine.books.lots(instrument.id)
        buys, sells = lots_open(engine, i)
        assert (engine.gate.working.buys[i], engine.gate.working.sells[i]) == (buys, sells)
        assert engine.lives.most_open(instrument.id) == (buys, sells)


def check_what_only_closes(records):
    """Fills in the venue's order: an order that only reduces moves the position towards zero, and never through it."""
    orders = {order.order_id: order for record in records for order in record.orders}
    lots = Counter()
    for fill in sorted((fill for record in records for fill in record.fills), key=lambda fill: fill.exec_id):
        before = lots[fill.instrument]
        lots[fill.instrument] += fill.signed_quantity
        if orders[fill.order_id].reduce_only:
            assert before * fill.signed_quantity < 0
            assert lots[fill.instrument] * before >= 0


def walk(rows, venue, seed, width_ns=5 * MINUTE):
    """Every record of three agents over ``rows`` and a while after, each checked as it is made; the engine on the result as well."""
    widths = (width_ns, 5 * MINUTE) if width_ns < 5 * MINUTE else (width_ns,)
    engine = build_engine(
        (Grouping,) * 3, instruments=INSTRUMENTS, schedules=[ALL_DAY] * 2, venue=venue, seed=seed, widths_ns=widths,
        risk=tight_risk(width_ns),
    )  # fmt: skip
    records = []
    later = Advance(ts=int(rows[-1]["ts_init"]) + 6 * 60 * MINUTE)
    for record in chain(engine.on_block(stack(rows)), engine.on_advance(later), reports_on_their_way(engine)):
        records.append(record)
        check_limits(engine)
    return records, engine


def reports_on_their_way(engine):
    """Time goes on until every report has arrived: an order may have expired just before the walk ends."""
    for _ in range(100):
        state = engine.market.step[0]
        if state["report_head"] == state["report_tail"]:
            return
        last = engine.market.reports[int(state["report_tail"]) - 1]
        yield from engine.on_advance(Advance(ts=max(int(last["due"]), engine.now)))


def check(rows, venue, seed, width_ns=5 * MINUTE):
    records, engine = walk(rows, venue, seed, width_ns)
    assert [alert for record in records for alert in record.alerts if alert.code == "limit_broken"] == []
    check_nothing_is_left(engine)
    check_what_only_closes(records)


@SLOW
@given(bars(instruments=2, min_size=15, max_size=40), venues, st.integers(0, 2**20))
def test_on_bars_no_limit_on_lots_is_exceeded_and_every_order_ends(rows, venue, seed):
    check(rows, venue, seed)


@SLOW
@given(ticks(instruments=2, min_size=20, max_size=60, warm=16), venues, st.integers(0, 2**20))
def test_on_trades_and_quotes_no_limit_on_lots_is_exceeded_and_every_order_ends(rows, venue, seed):
    check(rows, venue, seed, MINUTE)


def long_day(count=150):
    """Bars of two instruments that swing around their middle."""
    rows = []
    for k in range(count):
        middle = 1_000 + (k * 7) % 11 - 5
        rows.append(bar_row(5 * (k // 2), middle, middle + 4, middle - 4, middle + 1, instrument=k % 2, sequence=k))
    return rows


PARTIAL = msgspec.structs.replace(FREE, participation_ppm=3_000)
"""Three lots of a bar of 1,000."""


@pytest.mark.parametrize(
    "fault",
    [
        planted.ask_fills_of_a_group_as_room,
        planted.asks_whole(lambda order: True),  # noqa: ARG005
        planted.asks_whole(lambda order: order.oco_group > 0),
    ],
)
def test_the_engine_stops_what_a_faulty_gate_lets_through(monkeypatch, fault):
    """Nothing leaves that could take a position beyond its limit; trading halts, and the record says so."""
    monkeypatch.setattr(OrderPlanner, "_ask", fault)
    stopped = 0
    for seed in range(12):
        records, engine = walk(long_day(), PARTIAL, seed)  # ``walk`` finds no limit exceeded at the venue.
        broken = [alert for record in records for alert in record.alerts if alert.code == "limit_broken"]
        stopped += bool(broken)
        assert all(alert.severity == "critical" for alert in broken)
        assert bool(broken) == any(alert.code == "breaker_halt" for record in records for alert in record.alerts)
        if broken:
            assert [engine.books.lots(one.id) for one in INSTRUMENTS] == [0, 0]
            assert not engine.lives.open
    assert stopped >= 3


def test_the_days_above_are_not_stopped_without_a_fault_and_meet_what_they_are_for():
    seen = Counter()
    for seed in range(12):
        records, engine = walk(long_day(), PARTIAL, seed)
        check_nothing_is_left(engine)
        check_what_only_closes(records)
        for record in records:
            seen.update(alert.code for alert in record.alerts)
            seen.update(f"{report.exec_type.name} {report.reason.value}".strip() for report in record.reports)
            seen.update(deed.refused for deed in record.intents)
            seen.update(type(deed.intent).__name__ for deed in record.intents)
            seen["cut"] += sum(
                deed.intent.quantity > record.orders[0].quantity
                for deed in record.intents
                if isinstance(deed.intent, PlaceOrder) and len(deed.orders) == 1 and len(record.orders) == 1
            )
    wanted = (
        "CANCELED oco, CANCELED reduce_only, CANCELED parent, CANCELED asked, REPLACED, position_long, position_short, "
        "position_overall, nothing_to_reduce, cut, TargetPosition, ReplaceIntent, CancelIntent"
    )
    assert {name for name in wanted.split(", ") if not seen[name]} == set(), seen
    assert seen["limit_broken"] == 0
