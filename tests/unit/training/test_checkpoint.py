"""Checkpoint folders: what goes in comes out, and nothing else is accepted."""

import json

import numpy as np
import pytest

from grandmodel.training.checkpoint import (
    ARRAYS,
    DOCUMENT,
    read_checkpoint,
    write_checkpoint,
)
from grandmodel.training.errors import CheckpointError

ROWS = {
    "floats": np.arange(6.0).reshape(2, 3).T,
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), dtype=np.int64),
    "scalar": np.array(3.5, dtype=np.float32),
}


def test_arrays_and_document_come_back_as_they_were(tmp_path):
    write_checkpoint(tmp_path / "one", ROWS, {"done": 3, "big": 2**100})
    arrays, document = read_checkpoint(tmp_path / "one")
    assert set(arrays) == set(ROWS)
    for name, array in ROWS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert (document["done"], document["big"]) == (3, 2**100)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_writing_again_replaces(tmp_path):
    write_checkpoint(tmp_path / "one", ROWS, {"done": 3})
    write_checkpoint(tmp_path / "one", ROWS, {"done": 4})
    assert read_checkpoint(tmp_path / "one")[1]["done"] == 4


def test_arrays_of_another_checkpoint_are_refused(tmp_path):
    write_checkpoint(tmp_path / "one", ROWS, {})
    write_checkpoint(tmp_path / "two", {"floats": np.zeros(2)}, {})
    (tmp_path / "one" / ARRAYS).write_bytes((tmp_path / "two" / ARRAYS).read_bytes())
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_checkpoint(tmp_path / "one")


def test_one_changed_bit_is_refused(tmp_path):
    write_checkpoint(tmp_path / "one", ROWS, {})
    payload = bytearray((tmp_path / "one" / ARRAYS).read_bytes())
    payload[-1] ^= 1
    (tmp_path / "one" / ARRAYS).write_bytes(payload)
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_checkpoint(tmp_path / "one")


@pytest.mark.parametrize("lost", [ARRAYS, DOCUMENT])
def test_a_missing_file_is_refused(tmp_path, lost):
    write_checkpoint(tmp_path / "one", ROWS, {})
    (tmp_path / "one" / lost).unlink()
    with pytest.raises(CheckpointError, match="cannot read"):
        read_checkpoint(tmp_path / "one")


def test_another_format_is_refused(tmp_path):
    write_checkpoint(tmp_path / "one", ROWS, {})
    document = json.loads((tmp_path / "one" / DOCUMENT).read_text())
    (tmp_path / "one" / DOCUMENT).write_text(json.dumps(document | {"format": "grandmodel.training/0"}))
    with pytest.raises(CheckpointError, match=r"training/0.*expected"):
        read_checkpoint(tmp_path / "one")
