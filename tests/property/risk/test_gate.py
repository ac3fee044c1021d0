"""Properties of the risk gate: the fuzz, and that raising a limit never denies more."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.orders import OrderType, Side
from grandmodel.risk.checks import CHECK_NAMES
from grandmodel.risk.reasons import RiskReason
from grandmodel.risk.settings import InstrumentLimits, PortfolioLimits, RiskSettings
from risk import desk, fuzz_gate, fuzz_pair, planted
from risk.desk import DeskGate

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


def test_no_limit_of_any_account_in_a_tree_is_ever_exceeded() -> None:
    outcomes, happened = fuzz_gate.run(8_000, seed=2, per_desk=500, depth=4)
    assert outcomes["passed"] > 500
    for what in ("filled", "shrunk by its group", "changed", "stopped by itself", "stopped above"):
        assert happened[what] > 20, what


def test_the_compiled_checks_say_what_the_plain_ones_say_in_every_state() -> None:
    seen = fuzz_pair.run(12_000, seed=1)
    assert {name for name, outcome in seen.checks if outcome == "passed"} == set(CHECK_NAMES)
    assert {name for name, outcome in seen.checks if outcome == "refused"} == {*CHECK_NAMES}
    sizes = {"position_long", "position_short", "position_overall", "gross_exposure", "net_exposure", "concentration"}
    states = {"drawdown", "daily_loss", "restricted_list", "stale_data", "breaker"}
    cut = {name for name, outcome in seen.checks if outcome == "shrunk"}
    assert cut == sizes | states | {"margin", "var", "stressed_var"}
    assert set(seen.verdicts) >= {reason.value for reason in RiskReason} - {
        "not_computed",
        "stressed_var_limit",
    }
    assert seen.beyond > 100


@pytest.mark.parametrize(
    ("where", "name", "fault"),
    [
        (DeskGate, "check", planted.check_fills_of_a_group_as_room),
        (desk, "tell", planted.tell_always_takes),
        (DeskGate, "check", planted.in_one_batch(DeskGate.check)),
        (desk, "tell", planted.tell_leaves_asleep),
        (DeskGate, "see", planted.see_half),
    ],
)
@pytest.mark.parametrize("is_compared", [False, True])
def test_the_fuzz_finds_a_planted_fault(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, fault: Callable[..., object], is_compared: bool
) -> None:
    """By what the venue's orders could come to alone, and by the plain form beside."""
    monkeypatch.setattr(where, name, fault)
    if not is_compared:
        monkeypatch.setattr(fuzz_gate.Desk, "check_both_ways", lambda *_: None)
    with pytest.raises(AssertionError):
        fuzz_gate.run(6_000, seed=3, per_desk=1_000)


@pytest.mark.parametrize(
    ("where", "name", "fault"),
    [
        (DeskGate, "check", planted.check_fills_of_a_group_as_room),
        (DeskGate, "check", planted.in_one_batch(DeskGate.check)),
        (DeskGate, "see", planted.see_half),
        (desk, "tell", planted.tell_always_takes),
        (desk, "tell", planted.tell_leaves_asleep),
    ],
)
def test_the_comparison_finds_a_planted_fault(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, fault: Callable[..., object]
) -> None:
    monkeypatch.setattr(where, name, fault)
    with pytest.raises(AssertionError):
        fuzz_pair.run(4_000, seed=1)


def _approved(limits: RiskSettings, positions: list[int], working: list[int], order: desk.Order) -> int:
    gate = DeskGate(limits, desk.instruments(), desk.CAPITAL)
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
