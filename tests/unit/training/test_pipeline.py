"""A layer from markets to model file: by seed, from the training span alone, and readable by what trades."""

import msgspec
import numpy as np
import pytest
import torch

from grandmodel.domain.blocks import Flag
from grandmodel.models.architecture import strategic_architecture
from grandmodel.models.calibration import classify_outcomes
from grandmodel.models.loaded import LoadedModel
from grandmodel.models.model_file import model_bytes, read_model
from grandmodel.training.environments import simulated_market
from grandmodel.training.errors import TrainingDataError, TrainingSettingsError
from grandmodel.training.layer_networks import build_actor, load_weights
from grandmodel.training.mappo import Settings
from grandmodel.training.market import Span, build_market
from grandmodel.training.pipeline import (
    LayerTrainingSettings,
    default_settings,
    prepare,
    split_labelled,
    train_layer,
)
from grandmodel.training.warm_start import WarmStartSettings
from training_markets import CL, NQ, some_bars

COUNT = 2_600


def bars_of(seed, marks=()):
    return some_bars(COUNT, seed, marks)


@pytest.fixture(scope="module")
def markets():
    return [
        build_market(bars_of(1, [(1_400, Flag.ROLL)]), NQ, "strategic"),
        build_market(bars_of(2), CL, "strategic"),
    ]


def spans_of(market, train=(600, 1_900), validation=(1_900, 2_500)):
    ts = market.ts_event
    return Span(int(ts[train[0]]), int(ts[train[1]])), Span(int(ts[validation[0]]), int(ts[validation[1]]))


def quick(layer="strategic", **more):
    settings = default_settings(layer)
    small = msgspec.structs.replace(settings.mappo, frames=512, envs=16, steps=16, epochs=2, minibatches=2)
    base = {"mappo": small, "warm_start": WarmStartSettings(epochs=2, batch=256)}
    return msgspec.structs.replace(settings, **(base | more))


@pytest.fixture(scope="module")
def trained(markets):
    return train_layer("strategic", markets, *spans_of(markets[0]), quick(), seed=3)


def test_the_same_seed_gives_the_same_file_and_another_gives_another(markets, trained):
    state = torch.get_rng_state()
    again = train_layer("strategic", markets, *spans_of(markets[0]), quick(), seed=3)
    assert torch.equal(state, torch.get_rng_state())
    assert model_bytes(again.manifest, again.tensors) == model_bytes(trained.manifest, trained.tensors)
    assert again.history == trained.history
    other = train_layer("strategic", markets, *spans_of(markets[0]), quick(), seed=4)
    assert not np.array_equal(other.tensors["mlmi.logits.weight"], trained.tensors["mlmi.logits.weight"])
    assert not np.array_equal(other.tensors["coordinator.logits.weight"], trained.tensors["coordinator.logits.weight"])


def test_the_file_is_read_back_and_decides_as_the_torch_networks_do(markets, trained, tmp_path):
    path = tmp_path / "model.safetensors"
    model = read_model(path, expect_layer="strategic") if trained.write(path) else None
    assert model.id == trained.model().id
    actor = build_actor(strategic_architecture(), torch.Generator().manual_seed(0))
    load_weights(actor, model.weights)
    loaded = LoadedModel(model, str(path))
    market, place = markets[1], 2_000
    window = market.rows[place - 47 : place + 1]
    output, _, _ = loaded.strategic(window, np.zeros(9, np.float32), 1)
    prepared = prepare("strategic", markets, spans_of(markets[0])[0], quick().env)
    for a, (head, trunk) in enumerate(zip(actor.architecture.heads, actor.architecture.trunks, strict=False)):
        rows = torch.from_numpy(prepared.windows.gather(trunk, np.array([COUNT + place])))
        belief = actor.agent_logits(head.agent, actor.get_submodule(trunk.name)(rows)).softmax(-1)
        np.testing.assert_allclose(output.point_beliefs[a], belief.detach().numpy()[0], atol=1e-5)


def test_nothing_behind_the_training_span_reaches_what_is_fitted_on_it(markets):
    train, validation = spans_of(markets[0])
    changed = []
    for market in markets:
        bars = market.bars.copy()
        later = bars["ts_event"] >= train.end_ns
        bars["close"][later] = bars["open"][later] + 9  # Another future altogether.
        bars["high"][later], bars["low"][later] = bars["close"][later] + 5, bars["open"][later] - 5
        changed.append(build_market(bars, market.instrument, "strategic"))
        assert not np.array_equal(changed[-1].rows[2_000:], market.rows[2_000:])
    one = train_layer("strategic", markets, train, validation, quick(), seed=1)
    two = train_layer("strategic", changed, train, validation, quick(), seed=1)
    for name, array in one.tensors.items():
        assert np.array_equal(array, two.tensors[name]), name
    assert (one.manifest.normaliser, one.manifest.outcomes) == (two.manifest.normaliser, two.manifest.outcomes)
    assert one.manifest.mean_scale == two.manifest.mean_scale
    assert one.manifest.conformal != two.manifest.conformal


def test_no_training_label_reaches_what_is_held_back_and_no_held_back_one_the_validation(markets):
    train, validation = spans_of(markets[0])
    prepared = prepare("strategic", markets, train, quick().env)
    settings = WarmStartSettings(held_back=0.3, embargo_bars=48)
    learnt, held = split_labelled(prepared, settings)
    for m, market in enumerate(markets):
        first, last = m * COUNT, (m + 1) * COUNT
        own = lambda places, first=first, last=last: places[(places >= first) & (places < last)] - first  # noqa: E731
        assert own(learnt.places).max() + market.horizon + 48 < own(held.places).min()
        assert market.ts_event[own(held.places).max() + market.horizon] < validation.start_ns
        ends = market.ts_event[own(prepared.examples.places) + market.horizon + 48]
        assert (ends < train.end_ns).all()
    expected = classify_outcomes(
        np.concatenate([market.outcome for market in markets])[learnt.places],
        prepared.outcomes.lower,
        prepared.outcomes.upper,
    )
    np.testing.assert_array_equal(learnt.classes, expected)


def test_the_manifest_says_what_was_done(markets, trained):
    train, validation = spans_of(markets[0])
    manifest = trained.manifest
    assert manifest.data.instruments == ("NQ", "CL")
    assert (manifest.data.train.start_ns, manifest.data.train.end_ns) == (train.start_ns, train.end_ns)
    assert manifest.data.validation.end_ns == validation.end_ns
    assert manifest.data.test is None
    assert manifest.seeds == (3,)
    assert msgspec.convert(manifest.settings, LayerTrainingSettings) == quick()
    assert set(manifest.conformal) == set(manifest.mean_scale) == {"NQ", "CL"}
    inside = train.holds(markets[1].ts_event)
    assert manifest.mean_scale["CL"] == pytest.approx(markets[1].scale[inside].mean())
    numbers = manifest.metrics
    assert numbers["mappo.frames"] == 512
    # Random walks: nobody can tell, and calibration has found that out.
    assert numbers["validation.log_loss"] == pytest.approx(numbers["validation.log_loss_constant"], abs=0.03)
    assert numbers["validation.log_loss"] <= numbers["validation.log_loss_uncalibrated"] + 1e-9


def test_progress_counts_up_through_the_stages(markets):
    seen = []
    train_layer("strategic", markets, *spans_of(markets[0]), quick(), seed=0, on_progress=seen.append)
    assert list(dict.fromkeys(one.stage for one in seen)) == ["warm start", "mappo", "calibration"]
    assert [one.done for one in seen if one.stage == "mappo"] == [1, 2]
    assert all(1 <= one.done <= one.total for one in seen)


def test_without_a_warm_start_networks_begin_at_random_by_the_seed(markets):
    found, other = (
        train_layer("strategic", markets, *spans_of(markets[0]), quick(warm_start=None), seed=seed) for seed in (0, 1)
    )
    assert found.warm_start == ()
    assert not any(name.startswith("warm_start") for name in found.manifest.metrics)
    for name in ("mlmi_trunk.patch1.weight", "coordinator.hidden.weight"):
        assert np.abs(found.tensors[name] - other.tensors[name]).max() > 0.1


def test_the_tactical_layer_is_trained_the_same_way():
    market = simulated_market("tactical")
    ts = market.ts_event
    train, validation = Span(int(ts[700]), int(ts[3_500])), Span(int(ts[3_500]), int(ts[4_200]))
    found = train_layer("tactical", [market], train, validation, quick("tactical"), seed=0)
    loaded = LoadedModel(found.model(), "")
    output, novelty, _ = loaded.tactical(market.rows[3_941:4_001], np.zeros(9, np.float32), 0)
    assert output.stance.sum() == pytest.approx(1.0)
    assert novelty > 0.0
    assert found.manifest.outcomes is None
    assert found.manifest.conformal == {}
    assert [report.agent for report in found.warm_start] == ["auxiliary"]


def test_what_cannot_be_trained_is_refused(markets):
    train, validation = spans_of(markets[0])
    with pytest.raises(TrainingDataError, match="begins before the training span ends"):
        train_layer("strategic", markets, train, Span(train.end_ns - 1, validation.end_ns), quick())
    with pytest.raises(TrainingDataError, match="found those of the strategic layer, expected tactical"):
        train_layer("tactical", markets, train, validation, quick("tactical"))
    end = int(markets[0].ts_event[-1])
    with pytest.raises(TrainingDataError, match="no decision with a known outcome"):
        train_layer("strategic", markets, train, Span(end, end + 1), quick())
    brief = Span(int(markets[0].ts_event[1_900]), int(markets[0].ts_event[2_050]))
    with pytest.raises(
        TrainingDataError, match=r"NQ: found 9[0-9] decisions in the validation span, expected at least 100"
    ):
        train_layer("strategic", markets, train, brief, quick(warm_start=None))
    with pytest.raises(TrainingSettingsError, match="expected 'state' and false"):
        LayerTrainingSettings(mappo=Settings(frames=1))
    with pytest.raises(TrainingSettingsError, match="belief_anchor"):
        LayerTrainingSettings(belief_anchor=-1.0)
