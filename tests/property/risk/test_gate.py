"""Properties of the risk gate: the fuzz, and that raising a limit never denies more."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.domain.blocks import UNDEFINED_PRICE
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.orders import Order, OrderType, Side
from grandmodel.risk import working
from grandmodel.risk.gate import RiskGate
from grandmodel.risk.settings import InstrumentLimits, PortfolioLimits, RiskSettings
from grandmodel.risk.working import WorkingOrder, WorkingOrders
from risk import desk, fuzz_gate

WARM = desk.gate().running.save()
INSTRUMENT_LIMITS = [name for name in InstrumentLimits.__struct_fields__ if name != "collar_min_ticks"]
PORTFOLIO_LIMITS = list(PortfolioLimits.__struct_fields__)
FLOW_LIMITS = ["max_orders", "max_messages"]


def test_no_limit_is_ever_exceeded_by_any_combination_of_fills() -> None:
    outcomes, happened = fuzz_gate.run(12_000, seed=5, per_desk=1_000)
    assert outcomes["passed"] > 1_000
    sizes = ("position_long", "position_short", "position_overall", "gross_exposure", "net_exposure", "concentration")
    for reason in (*sizes, "margin", "var_limit", "stressed_var_limit", "order_quantity", "order_notional"):
        assert outcomes[reason] > 0, reason
    for what in ("filled", "shrunk by its group", "changed"):
        assert happened[what] > 50, what


_side_lots_with = WorkingOrders.side_lots_with


def _fills_of_a_group_as_room(book: WorkingOrders, order: Order, index: int) -> tuple[int, int, bool]:
    """What the others of a group filled before is room for a new one."""
    added, counted, child = _side_lots_with(book, order, index)
    filled = max((m.filled + m.reduced for m in book._members(index, order.oco_group)), default=0)
    return max(0, added - filled), counted + min(added, filled), child


def _always_take(partners: list[WorkingOrder], filler: WorkingOrder, lots: int, ts_event: int, heard: int) -> None:
    """Take a fill from every partner, also from one that joined after it."""
    for partner in partners:
        partner.reduced += lots


def _largest_alone(members: list[tuple[int, int]], heard: int) -> int:
    """One that has just joined counts with the others, though they may fill before it is there."""
    return max((lots for _, lots in members), default=0)


def _leave_asleep(book: WorkingOrders, parent: int, lots: int) -> None:
    """A bracket's children do not count, though their parent has filled."""


@pytest.mark.parametrize(
    ("where", "name", "fault"),
    [
        (WorkingOrders, "side_lots_with", _fills_of_a_group_as_room),
        (working, "shrink_partners", _always_take),
        (working, "most_lots", _largest_alone),
        (WorkingOrders, "_wake_children", _leave_asleep),
    ],
)
def test_the_fuzz_finds_a_planted_fault(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, fault: Callable[..., object]
) -> None:
    monkeypatch.setattr(where, name, fault)
    with pytest.raises(AssertionError):
        fuzz_gate.run(6_000, seed=3, per_desk=1_000)


def _approved(limits: RiskSettings, positions: list[int], working: list[int], order: desk.Order) -> int:
    gate = RiskGate(limits, desk.instruments(), desk.CAPITAL)
    gate.running.restore(WARM)
    for k, lots in enumerate(working):
        if lots:
            gate.on_order(
                desk.order(
                    10 + k,
                    instrument=InstrumentId(desk.NAMES[k]),
                    side=Side.BUY if lots > 0 else Side.SELL,
                    quantity=abs(lots),
                )
            )
    verdict = gate.check(order, desk.view(positions=list(positions)))
    return verdict.order.quantity if verdict.order is not None else 0


@st.composite
def _raised(draw: st.DrawFn) -> tuple[RiskSettings, RiskSettings]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = fuzz_gate.settings(rng)
    if draw(st.booleans()):
        low = msgspec.structs.replace(low, flow=msgspec.structs.replace(low.flow, max_orders=2, max_messages=2))
    part, name = draw(
        st.sampled_from(
            [("limits", x) for x in INSTRUMENT_LIMITS]
            + [("portfolio", x) for x in PORTFOLIO_LIMITS]
            + [("flow", x) for x in FLOW_LIMITS]
        )
    )
    group = getattr(low, part)
    before = getattr(group, name)
    factor = draw(st.floats(1.0, 50.0))
    after = type(before)(before * factor)
    return low, msgspec.structs.replace(low, **{part: msgspec.structs.replace(group, **{name: max(before, after)})})


@given(
    _raised(),
    st.lists(st.integers(-60, 60), min_size=3, max_size=3),
    st.lists(st.integers(-30, 30), min_size=3, max_size=3),
    st.integers(0, 2),
    st.sampled_from([Side.BUY, Side.SELL]),
    st.integers(1, 120),
    st.integers(-3_000, 3_000),
)
@settings(deadline=None, max_examples=300)
def test_raising_a_limit_never_denies_more(
    pair: tuple[RiskSettings, RiskSettings],
    positions: list[int],
    working: list[int],
    index: int,
    side: Side,
    quantity: int,
    offset: int,
) -> None:
    order = desk.order(
        1,
        instrument=InstrumentId(desk.NAMES[index]),
        side=side,
        quantity=quantity,
        order_type=OrderType.LIMIT,
        price=desk.MARKS[index] + offset,
    )
    low, high = pair
    assert _approved(high, positions, working, order) >= _approved(low, positions, working, order)


@given(
    st.lists(st.integers(-60, 60), min_size=3, max_size=3),
    st.integers(0, 2),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_an_order_cut_to_size_passes_when_it_is_asked_again(
    positions: list[int], index: int, seed: int, buy: bool
) -> None:
    limits = fuzz_gate.settings(np.random.default_rng(seed))
    order = desk.order(1, instrument=InstrumentId(desk.NAMES[index]), quantity=60, side=Side.BUY if buy else Side.SELL)
    fits = _approved(limits, positions, [0, 0, 0], order)
    if fits:
        again = msgspec.structs.replace(order, quantity=fits)
        assert _approved(limits, positions, [0, 0, 0], again) == fits


@given(
    st.sampled_from(["marks", "positions", "rates_micros", "mark_ts", "best_bids", "best_asks", "equity_micros", "ts"]),
    st.sampled_from([float("nan"), float("inf"), float("-inf"), None]),
    st.integers(0, 2),
    st.sampled_from([Side.BUY, Side.SELL]),
)
@settings(deadline=None, max_examples=100)
def test_a_number_that_is_none_refuses_everything(name: str, broken: float | None, at: int, side: Side) -> None:
    gate = RiskGate(RiskSettings(), desk.instruments(), desk.CAPITAL)
    gate.running.restore(WARM)
    view = desk.view(positions=[1, -1, 1], best_bids=[79_999, UNDEFINED_PRICE, UNDEFINED_PRICE])
    assert gate.check(desk.order(side=side), view).order is not None
    value = getattr(view, name)
    if isinstance(value, list):
        value[at] = broken
    else:
        setattr(view, name, broken)
    assert gate.check(desk.order(side=side), view).order is None
