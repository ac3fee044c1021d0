"""The tactical layer: choices become lots, urgency and stop; it stays silent where it must, and finds the way out."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandmodel.domain.agents import Standing
from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import NoDecision, TacticalDecision, Urgency
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import ClosedBar
from grandmodel.domain.time import FIVE_MINUTES_NS
from grandmodel.features.schema import TACTICAL_SCHEMA
from grandmodel.models.architecture import EXECUTION_ACTIONS, RISK_ACTIONS, TACTICAL_STANCES, TACTICAL_TAIL
from grandmodel.models.choices import tactical_target
from grandmodel.models.loaded import LoadedModel, decision_seed
from grandmodel.models.model_file import read_model
from grandmodel.tactical.agent import TacticalLayer
from grandmodel.tactical.decision import TacticalReason, TacticalSettings, collapse, plan_trade
from learning_runs import NQ, write_random_model

SETTINGS = TacticalSettings()
CHOICES = st.tuples(
    st.integers(0, len(TACTICAL_STANCES) - 1),
    st.integers(0, len(RISK_ACTIONS) - 1),
    st.integers(0, len(EXECUTION_ACTIONS) - 1),
)
ENTER, HOLD, EXIT = range(3)
FULL_SIZE, AGGRESSIVE, SLICE = 4, 2, 3


def plan(choices, **changes):
    values = {
        "exposure": 0.5,
        "full_lots": 40.0,
        "held": 0,
        "scale_ticks": 12.0,
        "size_scale": 1.0,
        "is_novel": False,
        "settings": SETTINGS,
    }
    return plan_trade(choices, **(values | changes))


# Choices


@given(CHOICES, st.floats(-1.0, 1.0), st.integers(-60, 60), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
def test_a_plan_stays_within_what_risk_and_novelty_allow(choices, exposure, held, size_scale, is_novel):
    made = plan(choices, exposure=exposure, held=held, size_scale=size_scale, is_novel=is_novel)
    assert abs(made.lots) <= max(abs(held), 40)
    assert made.stop_ticks >= 1
    if size_scale == 0.0 or is_novel:
        assert min(0, held) <= made.lots <= max(0, held)
    if choices[0] == EXIT and choices[2] != SLICE:
        assert made.lots == 0
    assert len(set(made.reasons)) == len(made.reasons)


@given(CHOICES, st.floats(-1.0, 1.0), st.integers(-40, 40))
def test_without_a_dead_band_the_lots_are_those_of_the_training_environment(choices, exposure, held):
    made = plan(choices, exposure=exposure, held=held, settings=TacticalSettings(dead_band=0.0))
    assert made.lots == tactical_target(*choices, exposure, 40.0, held)


def test_each_way_to_trade():
    assert plan((ENTER, FULL_SIZE, AGGRESSIVE)).lots == 20
    assert plan((ENTER, FULL_SIZE, AGGRESSIVE)).urgency is Urgency.AGGRESSIVE
    sliced = plan((ENTER, FULL_SIZE, SLICE))
    assert (sliced.lots, TacticalReason.SLICED in sliced.reasons) == (7, True)
    waiting = plan((ENTER, FULL_SIZE, 0))
    assert (waiting.urgency, TacticalReason.WAITS in waiting.reasons) == (Urgency.WAIT, True)
    half = plan((ENTER, 2, AGGRESSIVE))
    assert (half.lots, TacticalReason.SCALED in half.reasons) == (10, True)


def test_a_small_change_is_left_alone_and_an_exit_never_is():
    near = plan((ENTER, FULL_SIZE, AGGRESSIVE), held=18)
    assert (near.lots, TacticalReason.DEAD_BAND in near.reasons) == (18, True)
    assert plan((EXIT, FULL_SIZE, AGGRESSIVE), held=1).lots == 0
    assert plan((ENTER, FULL_SIZE, AGGRESSIVE), held=-1).lots == 20


def test_a_slice_of_a_large_gap_is_not_called_small():
    made = plan((ENTER, FULL_SIZE, SLICE), held=12, settings=TacticalSettings(dead_band=0.15))
    assert made.lots == 15  # a third of 8, less than the band of 6 lots, but on the way


def test_the_mode_is_taken():
    assert collapse([np.array([0.2, 0.5, 0.3]), np.array([0.1, 0.9])]) == (1, 1)


def test_a_dead_band_of_the_whole_exposure_is_refused():
    with pytest.raises(UsageError, match="dead_band"):
        TacticalSettings(dead_band=1.0)


# The layer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tactical.safetensors"
    write_random_model(path, "tactical", seed=3)
    return LoadedModel(read_model(path, expect_layer="tactical"), str(path))


class FakeAccount(SimpleNamespace):
    """What the layer may ask of an account."""

    equity_micros = 10**13

    def lots(self, _):
        return self.held

    def tactical_window(self, _):
        return self.window

    def working(self, _):
        return [SimpleNamespace(tag=tag) for tag in self.tags]


STANDING = Standing(
    open_profit_micros=0,
    tick_value_micros=5e6,
    drawdown=0.01,
    drawdown_limit=0.08,
    day_loss=0.0,
    day_loss_limit=0.02,
    size_scale=1.0,
    peak_micros=10**13,
    day_start_micros=10**13,
)


def account(held=0, tags=(), nan=False):
    window = np.random.default_rng(1).normal(size=(60, 7))
    if nan:
        window[3, 2] = np.nan
    return FakeAccount(held=held, window=window, tags=tags)


def bar(number, close=80_000, flags=0):
    return ClosedBar(
        instrument=NQ.id, width_ns=FIVE_MINUTES_NS, ts_open=number * FIVE_MINUTES_NS, ts_event=(number + 1) * FIVE_MINUTES_NS,
        open=close, high=close, low=close, close=close, volume=10, flags=flags,
    )  # fmt: skip


def warmed(model, bars=120):
    """A layer that has seen so many bars of a moving price; the number of the next bar."""
    layer = TacticalLayer([NQ.id], model, SETTINGS, seed=5)
    for number in range(bars):
        layer.on_bar(bar(number, 80_000 + 17 * (number % 5)), account(nan=True), STANDING, 0.0, -1)
    return layer, bars


def reasons_of(made):
    decision, _ = made
    assert isinstance(decision, NoDecision)
    return decision.reasons


def test_nothing_is_decided_before_all_is_known(model):
    fresh = TacticalLayer([NQ.id], model, SETTINGS, seed=5)
    assert reasons_of(fresh.on_bar(bar(0), account(nan=True), STANDING, 0.5, 0)) == ("warm_up",)
    assert reasons_of(fresh.on_bar(bar(1), account(), STANDING, 0.5, 0)) == ("scale_unknown",)
    layer, n = warmed(model)
    assert reasons_of(layer.on_bar(bar(n), account(nan=True), STANDING, 0.5, 0)) == ("feature_unknown",)
    assert reasons_of(layer.on_bar(bar(n + 1), account(), STANDING, 0.0, -1)) == ("no_strategy",)
    assert reasons_of(layer.on_bar(bar(n + 2, flags=Flag.BAD_STRETCH), account(), STANDING, 0.5, 0)) == ("bad_stretch",)
    for later in range(TACTICAL_SCHEMA.warm_up_bars + TACTICAL_SCHEMA.rows - 1):
        assert reasons_of(layer.on_bar(bar(n + 3 + later), account(), STANDING, 0.5, 0)) == ("warm_up",)
    decision, _ = layer.on_bar(bar(n + 200), account(), STANDING, 0.5, 0)
    assert isinstance(decision, TacticalDecision)


def test_where_neither_layer_can_decide_nothing_is_held(model):
    layer, n = warmed(model)
    _, wish = layer.on_bar(bar(n), account(held=4, nan=True), STANDING, 0.0, -1)
    assert (wish.lots, wish.urgency, wish.reasons) == (0, Urgency.AGGRESSIVE, ("no_decision",))
    _, wish = layer.on_bar(bar(n + 1), account(held=4, nan=True), STANDING, 0.5, 0)
    assert wish is None


def test_the_agents_see_the_exposure_its_age_and_what_rests(model):
    layer, n = warmed(model)
    layer.on_bar(bar(n, 80_040), account(held=0, tags=("stop", "entry")), STANDING, -0.25, (n - 2) * FIVE_MINUTES_NS)
    seen = dict(zip(TACTICAL_TAIL, layer.inputs(NQ.id).tail.tolist(), strict=True))
    assert seen["exposure"] == -0.25
    assert seen["exposure_age"] == pytest.approx(3 / 6)
    assert seen["gap"] == -0.25
    assert seen["drawdown"] == pytest.approx(0.125)
    assert seen["working"] == 1.0
    layer.on_bar(bar(n + 1, 80_020), account(held=0, tags=("stop",)), STANDING, -0.25, n * FIVE_MINUTES_NS)
    assert dict(zip(TACTICAL_TAIL, layer.inputs(NQ.id).tail.tolist(), strict=True))["working"] == 0.0


def test_a_saved_layer_goes_on_exactly(model):
    first, n = warmed(model)
    second = TacticalLayer([NQ.id], model, SETTINGS, seed=5)
    second.restore(first.save())
    for number in range(n, n + 5):
        one, two = (
            layer.on_bar(bar(number, 80_000 + 9 * number), account(held=2), STANDING, 0.4, 0)
            for layer in (first, second)
        )
        assert msgspec.json.encode(one) == msgspec.json.encode(two)
    assert first.save() == second.save()


def test_seeds_of_decisions_never_meet():
    seeds = {decision_seed(run, number) for run in range(20) for number in range(500)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**64 for seed in seeds)
