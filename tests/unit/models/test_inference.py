"""Compiled inference says what torch says of the same weights, window for window, sample for sample."""

import subprocess
import sys

import msgspec
import numpy as np
import pytest
import torch

import market_files
from grandmodel.features import strategic_rows, tactical_rows
from grandmodel.features.normaliser import Normaliser
from grandmodel.models.dropout import fill_masks
from grandmodel.models.errors import ModelError
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
        np.testing.assert_allclose(logits[agent], values, rtol=0.0, atol=CLOSE * float(values.abs().max()))
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


@pytest.mark.parametrize("layer", LAYERS)
def test_a_batch_gives_the_numbers_of_single_decisions_digit_for_digit(layer):
    """Wherever a window stands in a batch, and however large that is."""
    model, _ = compiled(layer)
    windows, tails = windows_of(layer, 150)
    batch, features = model.decide_batch(windows, tails), model.features_batch(windows)
    cut = model.decide_batch(windows[70:91], tails[70:91])
    np.testing.assert_array_equal(cut.belief, batch.belief[70:91])
    np.testing.assert_array_equal(cut.entropy, batch.entropy[70:91])
    for number in (0, 63, 64, 80, 149):
        one = getattr(model, layer)(windows[number], tails[number], 0)
        np.testing.assert_array_equal(one.features, features[number])
        if layer == "strategic":
            np.testing.assert_array_equal(one.point_beliefs, batch.beliefs[number])
        else:
            np.testing.assert_array_equal(one.point_stance, batch.distributions["tactical"][number])
            for place, agent in ((1, "risk"), (2, "execution")):
                np.testing.assert_array_equal(one.distributions[place], batch.distributions[agent][number])
        joint = superpose(batch.beliefs[number], batch.weights[number])
        assert (joint.purity, joint.entropy) == (batch.purity[number], batch.entropy[number])
        np.testing.assert_array_equal(joint.belief, batch.belief[number])


@pytest.mark.parametrize("layer", LAYERS)
def test_windows_need_not_lie_in_one_piece(layer):
    model, _ = compiled(layer)
    windows, tails = windows_of(layer, 3)
    wide = np.zeros((3, windows.shape[1], 2 * windows.shape[2]))
    wide[:, :, ::2] = windows
    apart = wide[:, :, ::2]
    here, there = (getattr(model, layer)(one[2], tails[2], 0) for one in (windows, apart))
    assert here.entropy == there.entropy
    np.testing.assert_array_equal(model.decide_batch(apart, tails).belief, model.decide_batch(windows, tails).belief)


@pytest.mark.parametrize("layer", LAYERS)
def test_what_was_decided_before_leaves_no_trace_in_a_batch(layer):
    model, _ = compiled(layer)
    windows, tails = windows_of(layer, 70)
    here = model.decide_batch(windows[:5], tails[:5])
    model.decide_batch(windows, tails)
    again = model.decide_batch(windows[:5], tails[:5])
    for agent, distribution in here.distributions.items():
        np.testing.assert_array_equal(again.distributions[agent], distribution)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_same_seed_is_the_same_decision_and_another_another(layer):
    model, _ = compiled(layer)
    windows, tails = windows_of(layer, 2)
    decide = getattr(model, layer)

    def numbers(seed, number=0):
        found = decide(windows[number], tails[number], seed)
        return (found.entropy, found.expected_entropy, found.mutual_information, *found.features.tolist())

    here = numbers(5)
    numbers(6, 1)  # what was decided before leaves no trace
    assert numbers(5) == here
    assert numbers(6) != here
    assert numbers(5 + 2**64) == here
    assert numbers(-1) != here


def test_numbers_keep_their_meaning():
    model, _ = compiled("strategic")
    for window, tail in zip(*windows_of("strategic", 20, seed=3), strict=True):
        found = model.strategic(window, tail, 0)
        for distribution in (*found.beliefs, *found.point_beliefs, found.weights, found.belief):
            assert distribution.min() >= 0.0
            assert distribution.sum() == pytest.approx(1.0, abs=1e-12)
        assert found.mutual_information == pytest.approx(found.predictive_entropy - found.expected_entropy)
        assert found.mutual_information > 0.0
        assert 1 / 3 <= found.purity <= 1.0


@pytest.mark.parametrize("layer", LAYERS)
def test_spread_raises_ignorance(layer):
    """Where samples are not already sure, wider ones know less; at 1 nothing changes."""
    model, _ = compiled(layer, size=1.0)
    decide = getattr(model, layer)
    grew = 0
    for window, tail in zip(*windows_of(layer, 20), strict=True):
        plain, same, wide = (decide(window, tail, 1, **more) for more in ({}, {"spread": 1.0}, {"spread": 3.0}))
        assert plain.mutual_information == same.mutual_information
        grew += wide.mutual_information > plain.mutual_information
    assert grew == 20


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_no_decision_is_taken_on_what_is_not_known(layer, wrong):
    model, _ = compiled(layer)
    windows, tails = windows_of(layer, 3)
    decide = getattr(model, layer)
    schema = schema_of(layer)
    for column, name in enumerate(schema.names):
        broken = windows[0].copy()
        broken[7, column] = wrong
        with pytest.raises(ModelError, match=f"{name} of row 7 not finite"):
            decide(broken, tails[0], 0)
    tail = tails[0].copy()
    tail[4] = wrong
    with pytest.raises(ModelError, match="tail: found a number at 4"):
        decide(windows[0], tail, 0)
    many = windows.copy()
    many[2, 5, 0] = wrong
    with pytest.raises(ModelError, match=f"window 2: found {schema.names[0]} of row 5"):
        model.point_batch(many, tails)
    tails[1, 8] = wrong
    with pytest.raises(ModelError, match="tail 1: found a number at 8"):
        model.decide_batch(windows, tails)


@pytest.mark.parametrize("layer", LAYERS)
def test_columns_without_volume_are_not_looked_at(layer):
    model, _ = compiled(layer, volume="unknown")
    windows, tails = windows_of(layer, 1, volume="unknown")
    filled = windows.copy()
    filled[..., list(schema_of(layer, "unknown").unknown_columns)] = 1e9
    here, there = (getattr(model, layer)(rows[0], tails[0], 0) for rows in (windows, filled))
    np.testing.assert_array_equal(here.features, there.features)


@pytest.mark.parametrize("layer", LAYERS)
def test_wrong_arguments_are_refused(layer):
    model, _ = compiled(layer)
    (window,), (tail,) = windows_of(layer, 1)
    decide = getattr(model, layer)
    for arguments, text in [
        ((window[1:], tail, 0), "window: found"),
        ((window.astype(np.float32), tail, 0), "window: found float32"),
        ((window, tail[:5], 0), "tail: found"),
        ((window, tail.astype(np.float64), 0), "tail: found float64"),
    ]:
        with pytest.raises(ModelError, match=text):
            decide(*arguments)
    for spread in (0.5, np.nan, np.inf):
        with pytest.raises(ModelError, match="spread: found"):
            decide(window, tail, 0, spread=spread)
    other = "tactical" if layer == "strategic" else "strategic"
    with pytest.raises(ModelError, match=f"found a {layer} model"):
        getattr(model, other)(window, tail, 0)
    with pytest.raises(ModelError, match="batch: found"):
        model.point_batch(window, tail)


def test_an_architecture_of_another_form_is_refused():
    manifest = manifest_of("strategic")
    turned = manifest.architecture.heads[::-1]
    odd = msgspec.structs.replace(manifest, architecture=msgspec.structs.replace(manifest.architecture, heads=turned))
    with pytest.raises(ModelError, match="expected the form of"):
        CompiledModel(model_from_bytes(model_bytes(odd, weights_of("strategic")), "model"))


@pytest.mark.parametrize(("widths", "hidden", "joint"), [((5, 7), 9, 6), ((16, 32), 0, 300), ((20, 16), 260, 0)])
def test_other_widths_and_hidden_layers_are_computed_as_well(widths, hidden, joint):
    """Nothing is tied to the widths that the default architecture happens to have."""
    plain = manifest_of("strategic")
    trunks = tuple(msgspec.structs.replace(trunk, widths=widths) for trunk in plain.architecture.trunks)
    heads = tuple(
        msgspec.structs.replace(head, hidden=hidden if head.trunk else joint) for head in plain.architecture.heads
    )
    architecture = msgspec.structs.replace(plain.architecture, trunks=trunks, heads=heads)
    generator = np.random.default_rng(0)
    weights = {
        name: (generator.normal(size=s) / np.sqrt(s[-1])).astype(np.float32)
        for name, s in architecture.shapes().items()
    }
    payload = model_bytes(msgspec.structs.replace(plain, architecture=architecture), weights)
    model = CompiledModel(model_from_bytes(payload, "model"))
    windows, tails = windows_of("strategic", 2)
    found, batch = model.strategic(windows[1], tails[1], 3), model.decide_batch(windows, tails)
    rows, seen = normalised(model, windows[1:]), torch.tensor(tails[1:])
    with torch.no_grad():
        expected, _ = TorchModel(architecture, weights)(rows, seen, masks_of(model, 3))
        points, _ = TorchModel(architecture, weights)(rows, seen)
    for place, agent in enumerate(model.agents):
        np.testing.assert_allclose(found.beliefs[place], expected[agent].softmax(-1).mean(0), atol=CLOSE)
        np.testing.assert_allclose(batch.beliefs[1, place], points[agent][0].softmax(-1), atol=CLOSE)
    np.testing.assert_allclose(found.weights, expected["coordinator"][0].softmax(-1), atol=CLOSE)


def test_deciding_needs_nothing_of_training(tmp_path):
    """With torch, scipy, pandas and pettingzoo as good as not installed."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(manifest_of("tactical"), weights_of("tactical")))
    script = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('torch', 'scipy', 'pandas', 'pettingzoo'))\n"
        "import numpy as np; from pathlib import Path\n"
        "from grandmodel.models.inference import CompiledModel; from grandmodel.models.model_file import read_model\n"
        f"model = CompiledModel(read_model(Path({str(path)!r})))\n"
        "print(model.tactical(np.zeros((60, 7)), np.zeros(9, np.float32), 0).stance.sum().round(9))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1.0"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("layer", "volume", "load", "rows_of"),
    [
        ("strategic", "known", market_files.nq_30m, strategic_rows),
        ("strategic", "known", market_files.cl_30m, strategic_rows),
        ("tactical", "unknown", market_files.nq_5m, tactical_rows),
    ],
    ids=["NQ 30m", "CL 30m", "NQ 5m"],
)
def test_decisions_on_real_bars_are_torchs(layer, volume, load, rows_of):
    bars = load().head(2_000)
    schema = schema_of(layer, volume)
    rows = rows_of(bars)
    fitted = Normaliser.fit(
        rows, bars["ts_event"].to_numpy(), schema, train_from_ns=0, train_to_ns=int(bars["ts_event"][1_500])
    )
    manifest = manifest_of(layer, volume, normaliser=fitted.to_data())
    model = CompiledModel(model_from_bytes(model_bytes(manifest, weights_of(layer, size=2.0)), "model"))
    reference = TorchModel(manifest.architecture, weights_of(layer, size=2.0))
    windows = np.lib.stride_tricks.sliding_window_view(rows, schema.rows, axis=0).transpose(0, 2, 1)[700::3]
    tails = windows_of(layer, len(windows))[1]
    logits, decided = model.point_batch(windows, tails), model.decide_batch(windows, tails)
    with torch.no_grad():
        expected, _ = reference(normalised(model, windows), torch.tensor(tails))
    for agent, values in expected.items():
        np.testing.assert_allclose(logits[agent], values, rtol=0.0, atol=CLOSE * float(values.abs().max()))
        np.testing.assert_allclose(decided.distributions[agent], values.softmax(-1), atol=CLOSE)
    for number in range(0, len(windows), 50):
        found = getattr(model, layer)(np.ascontiguousarray(windows[number]), tails[number], number)
        with torch.no_grad():
            sampled, _ = reference(
                normalised(model, windows[[number]]), torch.tensor(tails[[number]]), masks_of(model, number)
            )
        own = sampled[model.agents[0]].softmax(-1).double().mean(0)
        first = found.beliefs[0] if layer == "strategic" else found.distributions[0]
        np.testing.assert_allclose(first, own, atol=CLOSE)
