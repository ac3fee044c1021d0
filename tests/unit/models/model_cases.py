"""Small models for the tests of the model room: random weights of the right shapes, and a manifest that fits."""

import msgspec
import numpy as np

from grandmodel.features.normaliser import NormaliserData
from grandmodel.features.schema import STRATEGIC_SCHEMA, TACTICAL_SCHEMA
from grandmodel.models.architecture import strategic_architecture, tactical_architecture
from grandmodel.models.model_file import ClassOutcomes, DataSpan, DataSpans, ModelManifest

ARCHITECTURES = {"strategic": strategic_architecture(), "tactical": tactical_architecture()}
SCHEMAS = {"strategic": STRATEGIC_SCHEMA, "tactical": TACTICAL_SCHEMA}
OUTCOMES = ClassOutcomes(lower=-0.5, upper=0.5, mean=(1.1, 0.0, -1.1), mean_square=(1.9, 0.1, 1.9))


def schema_of(layer, volume="known"):
    return SCHEMAS[layer] if volume == "known" else SCHEMAS[layer].without_volume()


def normaliser_of(schema, seed=0):
    generator = np.random.default_rng(seed)
    columns = len(schema.columns)
    return NormaliserData(
        schema_hash=schema.hash,
        centre=tuple(generator.normal(size=columns).tolist()),
        scale=tuple(generator.uniform(0.5, 2.0, size=columns).tolist()),
        train_from_ns=0,
        train_to_ns=10**18,
        rows=1_000,
    )


def manifest_of(layer="strategic", volume="known", *, dropout=0.25, **changes):
    schema = schema_of(layer, volume)
    values = {
        "layer": layer,
        "architecture": msgspec.structs.replace(ARCHITECTURES[layer], dropout=dropout),
        "schema_hash": schema.hash,
        "volume": volume,
        "normaliser": normaliser_of(schema),
        "horizon_bars": 8,
        "scale_decay": 0.985,
        "mean_scale": {"NQ": 31.5, "CL": 12.25},
        "outcomes": OUTCOMES,
        "direction_support": 1.0,  # as if measured: without it no size is taken
        "data": DataSpans(instruments=("NQ", "CL"), train=DataSpan(start_ns=0, end_ns=10**18)),
        "seeds": (0, 1),
        "settings": {"epochs": 3, "rate": 0.001},
        "code_version": "0.1.0",
        "metrics": {"brier": 0.66},
    }
    return ModelManifest(**(values | changes))


def weights_of(layer="strategic", seed=0, size=1.0):
    """Normal weights divided by the root of the inputs, so that logits are of the size of ``size``."""
    generator = np.random.default_rng(seed)
    return {
        name: (size * generator.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in ARCHITECTURES[layer].shapes().items()
    }
