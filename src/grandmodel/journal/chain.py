"""The hash chain: each link binds everything before it, so that nothing can be changed, moved or taken out unseen.

Two chains run beside each other. ``i`` numbers inputs, ``n`` records, ``||`` joins bytes::

    I_i = sha256(I_{i-1} || input_i)
    R_n = sha256(0x00 || R_{n-1} || I_{the input that record n came from} || record_n)

A record's link holds the head of the inputs, so neither an input nor a record can be changed alone. The leading zero
byte makes R_n the RFC 9162 hash of a leaf as well, so the Merkle tree of ``merkle`` takes the links as its leaves and no
record is hashed twice. What is checked is in ``verification``.
"""

from hashlib import sha256

HASH_BYTES = 32

INPUTS_START = sha256(b"grandmodel inputs 1").digest()
"""I_{-1}: the head of a journal without inputs."""

RECORDS_START = sha256(b"grandmodel records 1").digest()
"""R_{-1}: the head of a journal without records."""


def link_input(previous: bytes, body: bytes) -> bytes:
    """The input chain's next head, 32 bytes, after ``body``."""
    return sha256(previous + body).digest()


def link_record(previous: bytes, input_head: bytes, body: bytes) -> bytes:
    """The record chain's next head, 32 bytes, after ``body``, which came from the input whose head is ``input_head``.

    It is also the hash of the record's Merkle leaf, of ``previous + input_head + body`` (RFC 9162, section 2.1.1).
    """
    return sha256(b"\x00" + previous + input_head + body).digest()
