"""A model file is written whole or not at all, read back as it was, and refused after any change."""

import hashlib
import math
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from grandmodel.models.errors import ModelError, ModelFileError, ModelMismatchError
from grandmodel.models.model_file import (
    FORMAT_VERSION,
    ModelManifest,
    model_bytes,
    model_from_bytes,
    read_model,
    write_model,
)

from .model_cases import manifest_of, normaliser_of, schema_of, weights_of

PAYLOAD = model_bytes(manifest_of("tactical"), weights_of("tactical"))
NAME = "tactical.logits.weight"


def rebuilt(weights=None, **changes):
    """The bytes of a file whose manifest was changed behind ``write_model``'s back, its own digest brought up to date."""
    manifest = msgspec.to_builtins(manifest_of("tactical")) | changes
    document = msgspec.json.encode(manifest, order="deterministic")
    tensors = weights_of("tactical") if weights is None else weights
    digest = hashlib.sha256(document)
    for name in sorted(tensors):
        digest.update(f"\n{name} {tensors[name].dtype.str} {tensors[name].shape}\n".encode())
        digest.update(tensors[name].tobytes())
    version = manifest["format_version"]
    envelope = {"format_version": version, "sha256": digest.hexdigest(), "manifest": msgspec.Raw(document)}
    return save(tensors, metadata={"grandmodel": msgspec.json.encode(envelope).decode()})


def test_the_helper_below_makes_files_that_are_read():
    assert model_from_bytes(rebuilt(), "model").manifest == manifest_of("tactical")


def refused(payload, error=ModelError, **expectations):
    with pytest.raises(error) as caught:
        model_from_bytes(payload, "some.safetensors", **expectations)
    return str(caught.value)


@pytest.mark.parametrize("layer", ["strategic", "tactical"])
@pytest.mark.parametrize("volume", ["known", "unknown"])
def test_a_model_is_read_back_as_it_was_written(tmp_path, layer, volume):
    manifest, weights = manifest_of(layer, volume), weights_of(layer)
    novelty = {"novelty.mean": np.arange(4.0), "novelty.factor": np.ones((2, 2), np.float32)}
    path = tmp_path / "model.safetensors"
    written = write_model(path, manifest, weights | novelty)
    model = read_model(path, expect_layer=layer, expect_schema=schema_of(layer, volume))
    assert model.manifest == manifest
    assert model.id == written == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(model.weights) == set(weights)
    for name, tensor in weights.items():
        np.testing.assert_array_equal(model.weights[name], tensor)
        assert not model.weights[name].flags.writeable
    assert set(model.novelty) == {"mean", "factor"}
    np.testing.assert_array_equal(model.novelty["mean"], np.arange(4.0))
    assert [one.name for one in tmp_path.iterdir()] == ["model.safetensors"]


def test_equal_content_gives_equal_bytes_whatever_the_order_it_came_in():
    weights = weights_of("tactical")
    backwards = {name: np.asfortranarray(weights[name]) for name in sorted(weights, reverse=True)}
    manifest = manifest_of("tactical", mean_scale={"CL": 12.25, "NQ": 31.5}, settings={"rate": 0.001, "epochs": 3})
    assert model_bytes(manifest, backwards) == PAYLOAD


def test_another_seed_or_weight_gives_another_id():
    def id_of(payload):
        return model_from_bytes(payload, "model").id

    weights = weights_of("tactical")
    other = weights | {NAME: np.nextafter(weights[NAME], np.float32(1))}
    ids = {id_of(PAYLOAD), id_of(model_bytes(manifest_of("tactical", seeds=(7,)), weights))}
    assert len(ids | {id_of(model_bytes(manifest_of("tactical"), other))}) == 3


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(PAYLOAD) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(place, change):
    damaged = bytearray(PAYLOAD)
    damaged[place] ^= change
    refused(bytes(damaged))


def test_every_changed_byte_of_the_header_is_refused():
    """The header is where a change could keep its meaning: every byte of it, three changes each."""
    length = 8 + int.from_bytes(PAYLOAD[:8], "little")
    for place in range(length):
        for change in (1, 0x20, 0x80):
            damaged = bytearray(PAYLOAD)
            damaged[place] ^= change
            refused(bytes(damaged))


def test_other_blanks_in_the_padding_are_refused():
    padded = 0
    for length in range(8):  # one of these needs padding
        payload = model_bytes(manifest_of("tactical", code_version="0" * length), weights_of("tactical"))
        end = 8 + int.from_bytes(payload[:8], "little")
        if payload[end - 1 : end] == b" ":
            padded += 1
            for blank in b"\t\n\r":
                refused(payload[: end - 1] + bytes([blank]) + payload[end:], ModelFileError)
    assert padded


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(PAYLOAD) - 1))
def test_any_truncation_is_refused(length):
    refused(PAYLOAD[:length], ModelFileError)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    refused(noise, ModelFileError)
    refused(PAYLOAD + noise[:50] + b"x", ModelFileError)


def test_a_safetensors_file_of_something_else_is_refused():
    assert "without a manifest" in refused(save(weights_of("tactical")), ModelFileError)
    assert "cannot be read" in refused(save(weights_of("tactical"), {"grandmodel": "{}"}), ModelFileError)


def test_a_missing_an_extra_and_a_reshaped_tensor_are_named():
    weights = weights_of("tactical")
    missing = {name: tensor for name, tensor in weights.items() if name != NAME}
    assert f"{NAME} missing" in refused(rebuilt(missing), ModelFileError)
    assert "tensors spare beyond" in refused(rebuilt(weights | {"spare": np.ones(3, np.float32)}), ModelFileError)
    turned = weights | {NAME: np.ascontiguousarray(weights[NAME].T)}
    assert "found shape (32, 3), expected (3, 32)" in refused(rebuilt(turned), ModelFileError)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused(wrong):
    weights = weights_of("tactical")
    weights[NAME][1, 2] = wrong
    assert "1 numbers that are not finite" in refused(rebuilt(weights), ModelFileError)
    with pytest.raises(ModelFileError, match="diverged"):
        model_bytes(manifest_of("tactical"), weights)
    novelty = weights_of("tactical") | {"novelty.mean": np.array([wrong])}
    assert "novelty.mean" in refused(rebuilt(novelty), ModelFileError)


def test_weights_of_another_type_are_refused():
    weights = weights_of("tactical")
    weights[NAME] = weights[NAME].astype(np.float64)
    assert "found type float64" in refused(rebuilt(weights), ModelFileError)


def test_a_model_for_something_else_is_refused():
    assert "expected a strategic one" in refused(PAYLOAD, ModelMismatchError, expect_layer="strategic")
    without = schema_of("tactical", "unknown")
    assert "volume unknown" in refused(PAYLOAD, ModelMismatchError, expect_schema=without)
    assert f"expected {FORMAT_VERSION}" in refused(rebuilt(format_version=2), ModelMismatchError)


def test_a_model_of_older_definitions_is_refused():
    old = "0" * 64
    normaliser = msgspec.to_builtins(normaliser_of(schema_of("tactical"))) | {"schema_hash": old}
    assert "other definitions" in refused(rebuilt(schema_hash=old, normaliser=normaliser), ModelMismatchError)


def test_a_manifest_whose_parts_do_not_fit_is_refused():
    other = msgspec.to_builtins(normaliser_of(schema_of("strategic")))
    assert "a normaliser for features" in refused(rebuilt(normaliser=other), ModelMismatchError)
    narrow = msgspec.to_builtins(normaliser_of(schema_of("tactical"))) | {"scale": [0.0] * 7}
    assert "scales above 0" in refused(rebuilt(normaliser=narrow), ModelFileError)
    assert "temperature" in refused(rebuilt(temperature=0.0), ModelFileError)
    assert "cannot be read" in refused(rebuilt(extra=1), ModelFileError)
    assert "cannot be read" in refused(rebuilt(horizon_bars="eight"), ModelFileError)
    networks = msgspec.to_builtins(manifest_of("tactical").architecture) | {"dropout": 0.3}
    assert "cannot be read" in refused(rebuilt(architecture=networks), ModelFileError)
    for trunk in ({"name": "other"}, {"patches": [0, 3]}):
        changed = msgspec.json.decode(msgspec.json.encode(manifest_of("tactical").architecture))
        changed["trunks"][0] |= trunk
        refused(rebuilt(architecture=changed), ModelFileError)
    wrong_layer = msgspec.to_builtins(manifest_of("tactical").architecture) | {"layer": "strategic"}
    assert "networks of the strategic layer" in refused(rebuilt(architecture=wrong_layer), ModelMismatchError)


def test_what_cannot_be_read_back_is_not_written(tmp_path):
    path = tmp_path / "model.safetensors"
    for changes in ({"metrics": {"brier": math.nan}}, {"settings": {"rate": math.inf}}, {"settings": {"f": object()}}):
        with pytest.raises(ModelFileError, match="JSON cannot hold"):
            write_model(path, manifest_of("tactical", **changes), weights_of("tactical"))
    with pytest.raises(ModelFileError, match="missing"):
        write_model(path, manifest_of("strategic"), weights_of("tactical"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="found no file"):
        read_model(tmp_path / "none")
    with pytest.raises(ModelFileError, match="found no file"):
        read_model(tmp_path)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(ModelFileError, match="at most"):
        read_model(large)


WRITE_ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from grandmodel.models.model_file import read_model, write_model
model = read_model(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    write_model(Path(sys.argv[2]), model.manifest, model.weights)
except OSError:
    sys.exit(28)
"""
"""Copies a model in a process that may write files up to a size: the disk is full there."""


@pytest.mark.parametrize("limit", [0, 5_000, 40_000])
def test_a_full_disk_leaves_the_old_model_and_nothing_else(tmp_path, limit):
    new, folder = tmp_path / "new.safetensors", tmp_path / "models"
    write_model(new, manifest_of("tactical", seeds=(9,)), weights_of("tactical"))
    folder.mkdir()
    old = folder / "model.safetensors"
    old.write_bytes(PAYLOAD)
    command = [sys.executable, "-c", WRITE_ON_A_FULL_DISK, str(new), str(old), str(limit)]
    assert subprocess.run(command).returncode == 28
    assert [one.name for one in folder.iterdir()] == ["model.safetensors"]
    assert old.read_bytes() == PAYLOAD


def test_the_manifest_refuses_what_it_does_not_know():
    document = msgspec.json.encode(manifest_of("tactical"))
    assert msgspec.json.decode(document, type=ModelManifest) == manifest_of("tactical")
    assert load(PAYLOAD).keys() == weights_of("tactical").keys()
