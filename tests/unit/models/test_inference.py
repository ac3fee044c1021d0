"""Compiled inference says what torch says of the same weights, window for window, sample for sample."""

import numpy as np
import pytest
import torch

from grandmodel.features.normaliser import Normaliser
from grandmodel.models.dropout import fill_masks
from grandmodel.models.inference import CompiledModel
from grandmodel.models.model_file import model_bytes, model_from_bytes
from grandmodel.models.superposition import superpose, tactical_stances

from .model_cases import manifest_of, schema_of, weights_of
from .torch_networks import TorchModel, bits_of

LAYERS = ("strategic", "tactical")
CLOSE = 1e-5


def compiled(layer, *, volume="known", dropout=0.25, seed=0, size=2.0, samples=1_000):
    manifest = manifest_of(layer, volume, dropout=dropout)
    model = model_from_bytes(model_bytes(manifest, weights_of(layer, seed, size)), "model")
    return CompiledModel(model, samples=samples), TorchModel(manifest.architecture, model.weights)


def windows_of(layer, count, seed=0, volume="known"):
    schema = schema_of(layer, volume)
    generator = np.random.default_rng(seed)
    windows = 2.0 * generator.standard_t(3, size=(count, schema.rows, len(schema.columns)))
    windows[..., list(schema.unknown_columns)] = np.nan
    return windows, generator.uniform(-3, 3, size=(count, 9)).astype(np.float32)


def normalised(model, windows):
    """By the features room's own normaliser."""
    manifest = model.manifest
    rows = Normaliser.from_data(manifest.normaliser, manifest.schema).apply(windows)
    return torch.tensor(rows.astype(np.float32))


def masks_of(model, seed):
    found = {}
    for place, agent in enumerate(model.agents):
        masks = np.empty(1_000, np.uint32)
        fill_masks(np.uint64(seed), np.uint64(place), model.architecture.dropout, masks)
        found[agent] = torch.tensor(bits_of(masks))
    return found


def entropy(p):
    return float(-(p * p.clamp_min(1e-30).log()).sum(-1).mean())


@pytest.mark.parametrize("volume", ["known", "unknown"])
@pytest.mark.parametrize("dropout", [0.25, 0.5])
def test_a_strategic_decision_is_torchs(volume, dropout):
    model, reference = compiled("strategic", volume=volume, dropout=dropout)
    windows, tails = windows_of("strategic", 6, volume=volume)
    for number, (window, tail) in enumerate(zip(windows, tails, strict=True)):
        seed = 1_000 + number
        found = model.strategic(window, tail, seed)
        rows, seen = normalised(model, window[None]), torch.tensor(tail[None])
        with torch.no_grad():
            plain, features = reference(rows, seen)
            sampled, _ = reference(rows, seen, masks_of(model, seed))
        np.testing.assert_allclose(found.features, torch.cat(list(features.values()), 1)[0], rtol=CLOSE, atol=CLOSE)
        samples = torch.stack([sampled[agent].softmax(-1) for agent in model.agents]).double()  # (A, S, 3)
        for place, agent in enumerate(model.agents):
            np.testing.assert_allclose(found.point_beliefs[place], plain[agent][0].softmax(-1), atol=CLOSE)
            np.testing.assert_allclose(found.beliefs[place], samples[place].mean(0), atol=CLOSE)
        weights = sampled["coordinator"][0].softmax(-1).double()
        np.testing.assert_allclose(found.weights, weights, atol=CLOSE)
        collapsed = torch.einsum("a,ask->sk", weights, samples)
        predictive, expected = entropy(collapsed.mean(0)), entropy(collapsed)
        assert found.predictive_entropy == pytest.approx(predictive, abs=CLOSE)
        assert found.expected_entropy == pytest.approx(expected, abs=CLOSE)
        assert found.mutual_information == pytest.approx(predictive - expected, abs=CLOSE)
        joint = superpose(found.beliefs, found.weights)
        np.testing.assert_allclose(found.belief, joint.belief, atol=1e-12)
        assert (found.purity, found.entropy) == pytest.approx((joint.purity, joint.entropy), abs=1e-12)


@pytest.mark.parametrize("volume", ["known", "unknown"])
def test_a_tactical_decision_is_torchs(volume):
    model, reference = compiled("tactical", volume=volume)
    windows, tails = windows_of("tactical", 6, volume=volume)
    for number, (window, tail) in enumerate(zip(windows, tails, strict=True)):
        found = model.tactical(window, tail, number)
        rows, seen = normalised(model, window[None]), torch.tensor(tail[None])
        with torch.no_grad():
            plain, features = reference(rows, seen)
            sampled, _ = reference(rows, seen, masks_of(model, number))
        np.testing.assert_allclose(found.features, features["trunk"][0], rtol=CLOSE, atol=CLOSE)
        own = sampled["tactical"].softmax(-1).double()
        np.testing.assert_allclose(found.point_stance, plain["tactical"][0].softmax(-1), atol=CLOSE)
        np.testing.assert_allclose(found.distributions[0], own.mean(0), atol=CLOSE)
        for place, agent in ((1, "risk"), (2, "execution")):
            np.testing.assert_allclose(found.distributions[place], plain[agent][0].softmax(-1), atol=CLOSE)
        assert found.predictive_entropy == pytest.approx(entropy(own.mean(0)), abs=CLOSE)
        assert found.expected_entropy == pytest.approx(entropy(own), abs=CLOSE)
        np.testing.assert_allclose(found.stances, tactical_stances(*found.distributions), atol=1e-12)
        joint = superpose(found.stances, np.full(3, 1 / 3))
        np.testing.assert_allclose(found.stance, joint.belief, atol=1e-12)
        assert (found.purity, found.entropy) == pytest.approx((joint.purity, joint.entropy), abs=1e-12)


@pytest.mark.parametrize("volume", ["known", "unknown"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_batch_is_torchs_and_the_single_decisions(layer, volume):
    model, reference = compiled(layer, volume=volume)
    windows, tails = windows_of(layer, 300, volume=volume)  # more than one part
    logits, decided = model.point_batch(windows, tails), model.decide_batch(windows, tails)
    with torch.no_grad():
        expected, features = reference(normalised(model, windows), torch.tensor(tails))
    assert set(logits) == set(expected)
    for agent, values in expected.items():
        np.testing.assert_allclose(logits[agent], values, rtol=CLOSE, atol=CLOSE)
        np.testing.assert_allclose(decided.distributions[agent], values.softmax(-1), atol=CLOSE)
    np.testing.assert_allclose(
        model.features_batch(windows), torch.cat(list(features.values()), 1), rtol=CLOSE, atol=CLOSE
    )
    for number in (0, 299):
        one = getattr(model, layer)(windows[number], tails[number], 0)
        points = (
            one.point_beliefs if layer == "strategic" else tactical_stances(one.point_stance, *one.distributions[1:])
        )
        np.testing.assert_allclose(decided.beliefs[number], points, atol=CLOSE)
        joint = superpose(decided.beliefs[number], decided.weights[number])
        np.testing.assert_allclose(decided.belief[number], joint.belief, atol=1e-9)
        assert decided.purity[number] == pytest.approx(joint.purity, abs=1e-9)
        assert decided.entropy[number] == pytest.approx(joint.entropy, abs=1e-9)
