"""One strategic agent more is one more line of columns: shapes, compiled inference and superposition follow from the architecture."""

import msgspec
import numpy as np
import torch

from grandmodel.features.schema import AGENT_COLUMNS, STRATEGIC_SCHEMA, TIME_COLUMNS
from grandmodel.models import architecture
from grandmodel.models.architecture import strategic_architecture
from grandmodel.models.inference import CompiledModel
from grandmodel.models.model_file import model_bytes, model_from_bytes
from grandmodel.models.superposition import superpose
from unit.models.model_cases import manifest_of
from unit.models.torch_networks import TorchModel

EIGHTH = (9, 12)
"""Momentum over 20 bars, and the skew of volume by price."""


def test_compiled_inference_of_four_beliefs_is_torchs(monkeypatch):
    monkeypatch.setitem(AGENT_COLUMNS, "tempo", EIGHTH)
    monkeypatch.setattr(architecture, "STRATEGIC_AGENTS", tuple(AGENT_COLUMNS))
    made = strategic_architecture()
    assert [head.agent for head in made.heads] == ["mlmi", "nwrqk", "regime", "tempo", "coordinator"]
    assert made.trunk("tempo_trunk").columns == (*EIGHTH, *TIME_COLUMNS)
    assert made.heads[-1].actions == ("mlmi", "nwrqk", "regime", "tempo")

    generator = np.random.default_rng(0)
    weights = {
        name: (2 * generator.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in made.shapes().items()
    }
    manifest = msgspec.structs.replace(manifest_of(), architecture=made)
    model = CompiledModel(model_from_bytes(model_bytes(manifest, weights), "model"))
    window = generator.normal(size=(48, len(STRATEGIC_SCHEMA.columns)))
    tail = generator.uniform(-1, 1, 9).astype(np.float32)
    found = model.strategic(window, tail, 7)

    data = manifest.normaliser
    rows = np.clip((window - np.array(data.centre)) / np.array(data.scale), -10, 10).astype(np.float32)
    with torch.no_grad():
        plain, _ = TorchModel(made, weights)(torch.tensor(rows[None]), torch.tensor(tail[None]))
    for place, agent in enumerate(model.agents):
        np.testing.assert_allclose(found.point_beliefs[place], plain[agent][0].softmax(-1), atol=1e-5)
    assert found.weights.shape == (4,)
    np.testing.assert_allclose(found.belief, superpose(found.beliefs, found.weights).belief, atol=1e-12)
