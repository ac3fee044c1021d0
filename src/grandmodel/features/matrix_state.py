"""How the state of a matrix becomes bytes and comes back: a small header, then two arrays as they are.

 4 bytes   magic
64 bytes   hash of the schema, in hexadecimal digits
 8 bytes   number of float64 slots of the indicators' state, little-endian
           then the state, then the window (rows x columns), float64, little-endian
"""

from __future__ import annotations

import struct

import numpy as np

from grandmodel.features.arrays import Floats
from grandmodel.features.errors import FeatureError
from grandmodel.features.schema import FeatureSchema

MAGIC = b"GMF1"
_HEADER = struct.Struct("<4s64sQ")


def pack_state(schema: FeatureSchema, state: Floats, window: Floats) -> bytes:
    """The bytes of one matrix's state and window."""
    header = _HEADER.pack(MAGIC, schema.hash.encode("ascii"), len(state))
    return header + state.astype("<f8").tobytes() + window.astype("<f8").tobytes()


def unpack_state(schema: FeatureSchema, saved: bytes) -> tuple[Floats, Floats]:
    """State and window from ``pack_state``'s bytes.

    Raises ``SchemaMismatch`` where another schema wrote them, ``FeatureError`` where they are not whole.
    """
    if len(saved) < _HEADER.size or not saved.startswith(MAGIC):
        raise FeatureError(
            f"saved state: found {len(saved)} bytes that begin {saved[:4]!r}, expected {MAGIC!r} and a header"
        )
    _, schema_hash, slots = _HEADER.unpack_from(saved)
    schema.check_same(schema_hash.decode("ascii", "replace"), "saved state")
    shape = (schema.rows, len(schema.columns))
    expected = _HEADER.size + 8 * (slots + shape[0] * shape[1])
    if len(saved) != expected:
        raise FeatureError(
            f"saved state: found {len(saved)} bytes, expected {expected}; it is cut off or was written to"
        )
    values = np.frombuffer(saved, dtype="<f8", offset=_HEADER.size).astype(np.float64)
    return values[:slots], values[slots:].reshape(shape)
