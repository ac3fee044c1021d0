"""A model is one safetensors file: the weights, and a manifest that says what they are, what they learnt from and how well.

``write_model`` and ``read_model`` are the only way in and out. The manifest stands as JSON in the file's metadata, with a
SHA-256 over itself and over every tensor, so that a reader who knows nothing else of the file still refuses it after any change
of its content. Equal content gives equal bytes: the SHA-256 of the whole file is the model's id.

Nothing is unpickled, and nothing is taken on trust: names, shapes and types of the tensors follow from the architecture in the
manifest, and every number must be finite. Read ``architecture.py`` before, ``inference.py`` next.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from grandmodel.domain.files import sync_folder
from grandmodel.features.normaliser import NormaliserData
from grandmodel.features.schema import STRATEGIC_SCHEMA, TACTICAL_SCHEMA, FeatureSchema
from grandmodel.models.architecture import Architecture
from grandmodel.models.errors import ModelError, ModelFileError, ModelMismatchError

Layer = Literal["strategic", "tactical"]
Tensors = dict[str, NDArray[Any]]

FORMAT_VERSION = 1
"""Raised when a file of the older kind can no longer be read as it was meant."""
MOST_BYTES = 1 << 28
"""A larger file is not one of ours; it is refused before it is read."""
NOVELTY = "novelty."
"""Tensors under this name belong to the novelty score; the architecture does not prescribe them."""
_METADATA = "grandmodel"
_SCHEMAS = {"strategic": STRATEGIC_SCHEMA, "tactical": TACTICAL_SCHEMA}


class DataSpan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stretch of time, [start_ns, end_ns), int64 ns UTC."""

    start_ns: int
    end_ns: int


class DataSpans(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model was fitted on, what settled its choices, and what it was judged on."""

    instruments: tuple[str, ...]
    """Those that it learnt from: it decides on no other."""
    train: DataSpan
    validation: DataSpan | None = None
    test: DataSpan | None = None


class ClassOutcomes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the three classes of a belief stand for, in units of the scale of moves times sqrt(horizon): see ``scale.py``.

    The outcome is bullish above ``upper``, bearish below ``lower``, neutral between. ``mean`` and ``mean_square`` of the outcome
    within each class over the training data, in the order of ``BELIEF``: they turn a belief into an expected move and its spread.
    """

    lower: float
    upper: float
    mean: tuple[float, float, float]
    mean_square: tuple[float, float, float]


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model file says of itself."""

    format_version: int = FORMAT_VERSION
    layer: Layer
    architecture: Architecture
    schema_hash: str
    """Of the features that it sees; with ``volume`` it names the schema."""
    volume: Literal["known", "unknown"]
    normaliser: NormaliserData
    horizon_bars: int
    """Bars ahead that its beliefs are about."""
    scale_decay: float
    """Weight of the past in the scale of moves after one bar."""
    mean_scale: dict[str, float]
    """Mean scale of moves over the training data, ticks, by instrument; one for each of ``data.instruments``."""
    outcomes: ClassOutcomes | None = None
    """Of a strategic model; a tactical one foretells nothing."""
    temperature: float = 1.0
    """Divides the logarithm of the collapsed belief; fitted on the validation span."""
    direction_support: float = 0.0
    """Share of a size that the validation span supports (``calibration.direction_support``); strategic only. Where nobody measured
    it, nothing is supported."""
    novelty: dict[str, Any] = msgspec.field(default_factory=dict)
    """Parameters of the novelty score; its arrays are tensors named ``novelty.*``."""
    conformal: dict[str, Any] = msgspec.field(default_factory=dict)
    """Where the adaptive intervals start."""
    data: DataSpans
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    """Of the training run."""
    code_version: str
    metrics: dict[str, float]

    @property
    def schema(self) -> FeatureSchema:
        """The schema of its layer and volume. Raises ``ModelMismatchError`` where this code defines it otherwise."""
        schema = _SCHEMAS[self.layer]
        if self.volume == "unknown":
            schema = schema.without_volume()
        if schema.hash != self.schema_hash:
            raise ModelMismatchError(
                f"model: found features {self.schema_hash[:12]}, expected {schema.hash[:12]} ({self.layer}, volume {self.volume}, "
                f"definitions {schema.definitions_version}): it was trained on other definitions; train it anew"
            )
        return schema


@dataclass(frozen=True, slots=True)
class Model:
    """A model as read: what it is, its tensors, and its id."""

    id: str
    """SHA-256 of the file, 64 hexadecimal digits."""
    manifest: ModelManifest
    weights: Tensors
    """float32, read-only, by the names of ``Architecture.shapes``."""
    novelty: Tensors
    """What stands under ``novelty.``, by the rest of the name."""


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in the metadata. The digest is over the manifest's bytes as they stand, then over every tensor."""

    format_version: int
    sha256: str
    manifest: msgspec.Raw


def write_model(path: Path, manifest: ModelManifest, weights: Mapping[str, NDArray[Any]]) -> str:
    """Write a model file whole or not at all, replacing one of the same name; its id.

    ``weights``: every tensor of ``manifest.architecture.shapes()`` as float32, and any under ``novelty.`` as float32 or float64.
    Raises ``ModelError`` where they do not fit the manifest, and ``OSError`` where the disk cannot hold it; neither leaves a file.
    """
    payload = model_bytes(manifest, weights)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return hashlib.sha256(payload).hexdigest()


def model_bytes(manifest: ModelManifest, weights: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a model file. Raises ``ModelError`` where it could not be read back as it is."""
    tensors = {name: np.ascontiguousarray(weights[name]) for name in sorted(weights)}
    document = _encode_manifest(manifest)
    _check_manifest(manifest, "model")
    _check_tensors(tensors, manifest.architecture, "model")
    envelope = _Envelope(
        format_version=manifest.format_version, sha256=_digest(document, tensors), manifest=msgspec.Raw(document)
    )
    return save(tensors, metadata={_METADATA: msgspec.json.encode(envelope).decode()})


def read_model(path: Path, *, expect_layer: Layer | None = None, expect_schema: FeatureSchema | None = None) -> Model:
    """Read a model file, and refuse it unless it is whole and fits.

    ``expect_layer``, ``expect_schema``: what it is to be used for; None where any will do (a list of models). Raises
    ``ModelFileError`` for a file that cannot be read, is damaged or incomplete, ``ModelMismatchError`` for one of another format,
    layer or feature schema.
    """
    return model_from_bytes(_read_bytes(path), str(path), expect_layer=expect_layer, expect_schema=expect_schema)


def model_from_bytes(
    payload: bytes, name: str, *, expect_layer: Layer | None = None, expect_schema: FeatureSchema | None = None
) -> Model:
    """The same from bytes that were read elsewhere (an object store); ``name`` is for messages."""
    try:
        tensors = load(payload)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelFileError(
            f"{name}: found no whole safetensors file ({error}), expected a model; copy or train it again"
        ) from error
    envelope = _decode_envelope(payload, name)
    if envelope.format_version != FORMAT_VERSION:
        raise ModelMismatchError(
            f"{name}: found a model file of format {envelope.format_version}, expected {FORMAT_VERSION}; "
            "use the release of grandmodel that wrote it, or train it anew"
        )
    document = bytes(envelope.manifest)
    found = _digest(document, tensors)
    if found != envelope.sha256:
        raise ModelFileError(
            f"{name}: found content of SHA-256 {found[:12]}, expected {envelope.sha256[:12]} as the file itself says; "
            "it is damaged or was changed: copy or train it again"
        )
    manifest = _decode_manifest(document, name)
    _check_tensors(tensors, manifest.architecture, name)
    _check_manifest(manifest, name)
    if expect_layer is not None and manifest.layer != expect_layer:
        raise ModelMismatchError(
            f"{name}: found a {manifest.layer} model, expected a {expect_layer} one; name another file"
        )
    if expect_schema is not None and manifest.schema_hash != expect_schema.hash:
        raise ModelMismatchError(
            f"{name}: found features {manifest.schema_hash[:12]} (volume {manifest.volume}), expected {expect_schema.hash[:12]} "
            f"({expect_schema.name}, volume {expect_schema.volume}); use a model trained on these, or train one"
        )
    for tensor in tensors.values():
        tensor.flags.writeable = False
    return Model(
        id=hashlib.sha256(payload).hexdigest(),
        manifest=manifest,
        weights={key: tensor for key, tensor in tensors.items() if not key.startswith(NOVELTY)},
        novelty={key.removeprefix(NOVELTY): tensor for key, tensor in tensors.items() if key.startswith(NOVELTY)},
    )


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ModelFileError(f"{path}: found {size} bytes, expected a model file of at most {MOST_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{path}: found no file that can be read ({error.strerror}), expected a model file; check the name"
        ) from error


def _decode_envelope(payload: bytes, name: str) -> _Envelope:
    """The metadata of a file that ``load`` has found whole: eight bytes of length, then the JSON of the header."""
    (length,) = struct.unpack("<Q", payload[:8])
    text = payload[8 : 8 + length]
    try:
        header = msgspec.json.decode(text)
        metadata = header.get("__metadata__") or {}
        if not text.rstrip(b" ").endswith(b"}"):
            # JSON allows other blanks where the format pads with spaces: the one change that would keep every meaning.
            raise ModelFileError(f"{name}: found a header that is not padded with spaces; it is damaged")
        if _METADATA not in metadata:
            raise ModelFileError(
                f"{name}: found a safetensors file without a manifest, expected one that write_model wrote"
            )
        return msgspec.json.decode(metadata[_METADATA], type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(
            f"{name}: found a manifest that cannot be read ({error}), expected one that write_model wrote; it is damaged"
        ) from error


def _encode_manifest(manifest: ModelManifest) -> bytes:
    """As JSON. Its encoder would write NaN as null without a word, so another one looks for it first."""
    try:
        json.dumps(msgspec.to_builtins(manifest), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelFileError(
            f"model: found values in the manifest that JSON cannot hold ({error}), expected finite numbers and plain data; "
            "mend settings or metrics"
        ) from error
    return msgspec.json.encode(manifest, order="deterministic")


def _decode_manifest(document: bytes, name: str) -> ModelManifest:
    try:
        return msgspec.json.decode(document, type=ModelManifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ModelError, ArithmeticError) as error:
        raise ModelFileError(
            f"{name}: found a manifest that cannot be read ({error}), expected one that write_model wrote; it is damaged"
        ) from error


def _check_manifest(manifest: ModelManifest, name: str) -> None:
    """Its parts must be about the same layer and features."""
    if manifest.format_version != FORMAT_VERSION:
        raise ModelMismatchError(f"{name}: found format {manifest.format_version}, expected {FORMAT_VERSION}")
    if manifest.architecture.layer != manifest.layer:
        raise ModelMismatchError(
            f"{name}: found networks of the {manifest.architecture.layer} layer, expected those of the {manifest.layer} one"
        )
    columns = len(manifest.schema.columns)
    normaliser = manifest.normaliser
    if normaliser.schema_hash != manifest.schema_hash:
        raise ModelMismatchError(
            f"{name}: found a normaliser for features {normaliser.schema_hash[:12]}, expected {manifest.schema_hash[:12]}; fit it anew"
        )
    if len(normaliser.centre) != columns or len(normaliser.scale) != columns or not min(normaliser.scale) > 0.0:
        raise ModelFileError(
            f"{name}: found a normaliser of {len(normaliser.centre)} centres and {len(normaliser.scale)} scales, "
            f"expected {columns} of each, scales above 0"
        )
    without = [
        instrument for instrument in manifest.data.instruments if not manifest.mean_scale.get(instrument, 0.0) > 0.0
    ]
    if without:
        raise ModelFileError(
            f"{name}: found no mean scale of moves above 0 for {', '.join(without)}, expected one for each instrument that it names"
        )
    if not manifest.temperature > 0.0:
        raise ModelFileError(f"{name}: found temperature {manifest.temperature}, expected above 0")


def _check_tensors(tensors: Tensors, architecture: Architecture, name: str) -> None:
    """Exactly the tensors of the architecture, and novelty's, all finite."""
    try:
        expected = architecture.shapes()
    except (StopIteration, ArithmeticError) as error:
        raise ModelFileError(
            f"{name}: found networks whose parts do not fit together, expected each head's trunk among them, all sizes above 0"
        ) from error
    missing = [key for key in expected if key not in tensors]
    extra = [key for key in tensors if key not in expected and not key.startswith(NOVELTY)]
    if missing or extra:
        raise ModelFileError(
            f"{name}: found tensors {', '.join(extra) or 'none'} beyond, and {', '.join(missing) or 'none'} missing, "
            "expected exactly those of its architecture; write it again with write_model"
        )
    for key, tensor in tensors.items():
        shape = expected.get(key, tensor.shape)
        if tensor.shape != shape:
            raise ModelFileError(f"{name}: tensor {key}: found shape {tensor.shape}, expected {shape}; train it anew")
        types = ("float32",) if key in expected else ("float32", "float64")
        if tensor.dtype.name not in types:
            raise ModelFileError(f"{name}: tensor {key}: found type {tensor.dtype}, expected {' or '.join(types)}")
        if not np.isfinite(tensor).all():
            raise ModelFileError(
                f"{name}: tensor {key}: found {int((~np.isfinite(tensor)).sum())} numbers that are not finite, expected none; "
                "the training diverged: train it anew"
            )


def _digest(document: bytes, tensors: Tensors) -> str:
    """SHA-256 over the manifest and, in the order of their names, each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(document)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
