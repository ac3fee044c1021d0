"""Checkpoints: arrays in safetensors, everything else in JSON, never pickle.

A checkpoint is a folder of two files. ``checkpoint.json`` carries the SHA-256 of ``arrays.safetensors``, so a mixed or
damaged pair is refused. The folder appears by one rename: there is no moment at which half of it can be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from grandmodel.training.errors import CheckpointError

FORMAT = "grandmodel.training/1"
ARRAYS = "arrays.safetensors"
DOCUMENT = "checkpoint.json"

Arrays = dict[str, NDArray[Any]]


def write_checkpoint(folder: Path, arrays: Arrays, document: dict[str, Any]) -> None:
    """Write a checkpoint folder, replacing one of the same name. ``document`` must be plain JSON data."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    # Zero-dimensional and strided arrays are stored as they are read back: contiguous.
    payload = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    _write(part / ARRAYS, payload)
    head = {"format": FORMAT, "arrays_sha256": hashlib.sha256(payload).hexdigest()}
    _write(part / DOCUMENT, json.dumps(head | document, indent=1, allow_nan=False).encode())
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)


def read_checkpoint(folder: Path) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and document of a checkpoint.

    Raises ``CheckpointError`` where a file is missing, is of another format, or was not written together with the other.
    """
    try:
        payload = (folder / ARRAYS).read_bytes()
        document: dict[str, Any] = json.loads((folder / DOCUMENT).read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read a checkpoint at {folder}: {error}") from error
    if document.get("format") != FORMAT:
        raise CheckpointError(f"{folder / DOCUMENT} is of format {document.get('format')!r}; expected {FORMAT!r}")
    found = hashlib.sha256(payload).hexdigest()
    if document.get("arrays_sha256") != found:
        raise CheckpointError(
            f"{folder / ARRAYS} has SHA-256 {found}, {DOCUMENT} names {document.get('arrays_sha256')}"
        )
    try:
        return load(payload), document
    except SafetensorError as error:
        raise CheckpointError(f"{folder / ARRAYS} is not a safetensors file: {error}") from error


def checkpoint_name(update: int) -> str:
    """The folder name of the checkpoint after ``update`` updates; names sort in time."""
    return f"update_{update:07d}"


def _write(path: Path, payload: bytes) -> None:
    with path.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
