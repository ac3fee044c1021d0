"""From a wish for a position to the rows of what was asked: their order, what they rest on, and what stops them."""

import pytest

from grandmodel.account.planner import (
    CANCEL,
    CHANGE,
    NEW,
    WHYS,
    Target,
    position_coming,
    pursue_target,
    pursue_target_at,
)
from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.orders import ExecType, OrderType, Side, TimeInForce
from grandmodel.domain.time import NEVER_NS
from grandmodel.risk.checks import REASONS
from grandmodel.risk.rows import ASKED
from grandmodel.risk.settings import InstrumentLimits, RiskSettings
from risk import desk
from risk.desk import DeskGate

MARK = desk.MARKS[0]
FAR = InstrumentLimits(away_fraction=0.001)
"""A stop further than 80 ticks away is refused."""


def pursue(gate: DeskGate, lots: int, *, held: int = 0, view: dict | None = None, **wish: object) -> list[dict]:
    """The rows that a wish for ``lots`` of NQ puts down while ``held`` are held."""
    defaults = {
        "passive": False,
        "stop_ticks": 0,
        "target_ticks": 0,
        "effective_ts": 0,
        "in_bad_stretch": False,
        "last_order": 10,
    }
    given = defaults | wish
    gate.see(desk.view(**({"positions": [held, 0, 0]} | (view or {}))))
    gate.account.make_room(6)
    count, last = pursue_target_at(gate.account.handle, 0, 0, lots, *given.values())
    found = [dict(zip(ASKED.names, row, strict=True)) for row in gate.account.asked[0][:count].tolist()]
    numbers = [row["order_id"] for row in found if row["kind"] == NEW and row["order_id"]]
    assert numbers == list(range(int(given["last_order"]) + 1, last + 1))
    return found


def told(rows: list[dict]) -> list[tuple]:
    """(what, signed lots that left, tag) of each row, or (what, order, why)."""
    tags = ("", "entry", "exit", "stop", "target")
    return [
        ("new", row["side"] * row["approved"], tags[row["tag"]])
        if row["kind"] == NEW and not row["why"]
        else (
            {NEW: "new", CANCEL: "cancel", CHANGE: "change"}[row["kind"]],
            row["order_id"],
            WHYS[row["why"]] or row["approved"],
        )
        for row in rows
    ]


def bracketed(gate: DeskGate) -> None:
    """Three lots long with a stop and a target around them, numbers 1 to 3."""
    rows = pursue(gate, 3, stop_ticks=40, target_ticks=60, last_order=0)
    assert told(rows) == [("new", 3, "entry"), ("new", -3, "stop"), ("new", -3, "target")]
    desk.hear(gate, desk.report(1, ExecType.TRADE, last_quantity=3, leaves=0))


def test_an_entry_with_protection_is_a_bracket() -> None:
    gate = desk.gate()
    entry, stop, target = pursue(gate, -2, stop_ticks=40, target_ticks=60)
    assert (entry["order_type"], entry["side"], entry["parent"], entry["group"]) == (OrderType.MARKET, Side.SELL, 0, 0)
    assert (stop["order_type"], stop["stop_price"], target["price"]) == (OrderType.STOP, MARK + 40, MARK - 60)
    assert {row["parent"] for row in (stop, target)} == {11}
    assert stop["group"] == target["group"] < 0
    assert list(gate.working.orders) == [11, 12, 13]
    assert (gate.working.buys[0], gate.working.sells[0]) == (0, 2)  # children sleep


def test_nothing_is_asked_where_what_is_wanted_is_coming() -> None:
    gate = desk.gate()
    assert told(pursue(gate, 2)) == [("new", 2, "entry")]
    assert pursue(gate, 2, last_order=11) == []
    assert told(pursue(gate, 1, last_order=11)) == [("new", -1, "exit")]


def test_what_reduces_comes_before_what_opens_and_protection_goes_first() -> None:
    gate = desk.gate()
    bracketed(gate)
    assert told(pursue(gate, -2, held=3, stop_ticks=40)) == [
        ("cancel", 2, "retarget"),
        ("cancel", 3, "retarget"),
        ("new", -3, "exit"),
        ("new", -2, "entry"),
        ("new", 2, "stop"),
    ]


def test_protection_shrinks_with_the_position_until_a_change_is_under_way_or_it_is_too_late() -> None:
    gate = desk.gate()
    bracketed(gate)
    assert told(pursue(gate, 2, held=3)) == [("change", 2, 2), ("change", 3, 2), ("new", -1, "exit")]
    assert gate.working.ask_cancel(3, desk.START)
    desk.hear(gate, desk.report(11, ExecType.TRADE, last_quantity=1, leaves=0))
    later = {"ts": desk.START + 10**9, "positions": [2, 0, 0]}  # An equal order at once would be a duplicate.
    assert told(pursue(gate, 1, view=later, last_order=11)) == [
        ("change", 2, "change_under_way"),
        ("change", 3, "too_late"),
        ("new", -1, "exit"),
    ]


def test_a_smaller_position_with_new_distances_is_protected_anew() -> None:
    gate = desk.gate()
    bracketed(gate)
    assert told(pursue(gate, 1, held=3, stop_ticks=30)) == [
        ("cancel", 2, "retarget"),
        ("cancel", 3, "retarget"),
        ("new", -2, "exit"),
        ("new", -1, "stop"),
    ]


def test_an_entry_whose_stop_is_refused_is_cancelled_before_it_can_fill() -> None:
    gate = desk.gate(RiskSettings(limits=FAR))
    assert told(pursue(gate, 2, stop_ticks=500)) == [
        ("new", 2, "entry"),
        ("new", 0, "stop"),
        ("cancel", 11, "unprotected"),
    ]
    assert gate.working.orders[11].cancel_asked


@pytest.mark.parametrize(("bid", "price"), [(MARK - 3, MARK - 3), (UNDEFINED_PRICE, MARK)])
def test_a_patient_entry_rests_at_the_own_side_or_the_mark_and_goes_at_the_next_wish(bid: int, price: int) -> None:
    gate = desk.gate()
    quotes = {"best_bids": [bid, UNDEFINED_PRICE, UNDEFINED_PRICE]}
    (entry,) = pursue(gate, 2, passive=True, view=quotes)
    assert (entry["order_type"], entry["price"], entry["approved"]) == (OrderType.LIMIT, price, 2)
    assert told(pursue(gate, 2, last_order=11)) == [("cancel", 11, "retarget"), ("new", 2, "entry")]


def test_without_a_price_and_on_bad_prices_nothing_leaves() -> None:
    gate = desk.gate()
    nothing = {"marks": [UNDEFINED_PRICE, 7_500, 110_000]}
    for lots, side in ((2, Side.BUY), (-3, Side.SELL)):
        (row,) = pursue(gate, lots, passive=True, view=nothing)
        assert told([row]) == [("new", 0, "no_price")]
        assert (row["side"], row["quantity"], row["instrument"]) == (side, abs(lots), 0)
    assert told(pursue(gate, 2, in_bad_stretch=True)) == [("new", 11, "bad_stretch")]
    assert not gate.working.count


def test_what_market_orders_on_their_way_lead_to_counts_a_group_once_and_a_way_out_to_zero() -> None:
    gate = desk.gate()

    def coming(held: int) -> int:
        gate.see(desk.view(positions=[held, 0, 0]))
        return position_coming(gate.account.rows, 0, 0)

    gate.on_order(desk.order(1, quantity=1, oco_group=7))
    gate.on_order(desk.order(2, quantity=3, oco_group=7))
    assert coming(0) == 3
    gate.on_order(desk.order(3, side=Side.SELL, quantity=9, reduce_only=True))
    assert coming(0) == 0
    gate.working.ask_cancel(2, desk.START)
    assert coming(1) == 0
    gate.on_order(desk.order(4, side=Side.SELL, quantity=1, tag="stop"))
    assert coming(-5) == -4


def test_only_market_orders_of_an_agent_s_own_are_coming() -> None:
    gate = desk.gate()
    gate.on_order(desk.order(1, quantity=2, order_type=OrderType.LIMIT, price=MARK - 9, oco_group=7))
    gate.on_order(desk.order(2, quantity=2, oco_group=7, tag="target"))
    gate.on_order(desk.order(3, quantity=3, oco_group=7))
    gate.on_order(desk.order(4, quantity=5, instrument=InstrumentId("CL"), oco_group=7))
    gate.see(desk.view(positions=[1, -2, 0]))
    assert position_coming(gate.account.rows, 0, 0) == 1 + 3
    assert position_coming(gate.account.rows, 0, 1) == -2 + 5
    desk.hear(gate, desk.report(3, ExecType.TRADE, last_quantity=1, leaves=2))
    assert position_coming(gate.account.rows, 0, 0) == 1 + 2


def test_without_a_mark_nothing_new_protects_what_is_left() -> None:
    gate = desk.gate()
    bracketed(gate)
    nothing = {"marks": [UNDEFINED_PRICE, 7_500, 110_000]}
    rows = pursue(gate, 1, held=3, stop_ticks=30, view=nothing)
    assert told(rows) == [("cancel", 2, "retarget"), ("cancel", 3, "retarget"), ("new", 0, "exit")]
    assert REASONS[rows[-1]["reason"]] == "no_price"


def test_what_is_asked_carries_the_terms_of_the_order_and_of_the_wish() -> None:
    gate = desk.gate()
    later = desk.START + 10**12
    rows = pursue(gate, 2, stop_ticks=40, effective_ts=later)
    for row in rows:
        assert (row["kind"], row["why"], row["instrument"], row["ts"]) == (NEW, 0, 0, desk.START)
        assert (row["effective_ts"], row["expire_ts"], row["reduce_only"]) == (later, NEVER_NS, 0)
        assert (row["trail_ticks"], row["display_quantity"]) == (0, 0)
        assert (row["approved"], row["reason"], row["noted"]) == (2, 0, 0)
    assert [(row["time_in_force"], row["price"], row["group"]) for row in rows] == [
        (TimeInForce.DAY, UNDEFINED_PRICE, 0),
        (TimeInForce.GTC, UNDEFINED_PRICE, -12),
    ]
    desk.hear(gate, desk.report(11, ExecType.TRADE, last_quantity=2, leaves=0))
    change, out = pursue(gate, 1, held=2, last_order=12, effective_ts=later)
    assert (change["kind"], change["quantity"], change["ts"], change["effective_ts"]) == (CHANGE, 1, desk.START, later)
    same = (
        "order_id",
        "instrument",
        "side",
        "order_type",
        "time_in_force",
        "price",
        "stop_price",
        "parent",
        "group",
        "tag",
    )
    assert {name: change[name] for name in same} == {name: rows[1][name] for name in same}
    assert (out["side"], out["quantity"], out["parent"], out["group"]) == (Side.SELL, 1, 0, 0)


@pytest.mark.parametrize(("n", "m"), [(1, 0), (0, 1)])
def test_among_others_an_account_is_planned_by_its_own_rows_and_by_the_limits_named(n: int, m: int) -> None:
    """The other account and the other limits let nothing leave."""
    gate = desk.gate(RiskSettings(limits=FAR))
    bracketed(gate)
    for last_order, lots, stop in ((20, 1, 0), (30, -2, 30), (40, -3, 500)):
        gate.see(desk.view(positions=[3, 0, 0]))
        gate.account.make_room(6)
        mine = gate.account.rows
        both = desk.among_others(mine, n, m)
        other = [one[1 - n].copy() for name, one in zip(both._fields, both, strict=True) if name in desk.PER_ACCOUNT]
        count, last = pursue_target(both, n, m, Target(0, lots, False, stop, 0, 0, False), last_order)
        assert (count, last) == pursue_target_at(gate.account.handle, 0, 0, lots, False, stop, 0, 0, False, last_order)
        assert count > 1
        for name, before in zip(desk.PER_ACCOUNT, other, strict=True):
            found = getattr(both, name).copy()
            if name == "prints":  # Each holds whose it is.
                found["account"] = 0
            assert found[n].tobytes() == getattr(mine, name)[0].tobytes(), name
            assert found[1 - n].tobytes() == before.tobytes(), name
