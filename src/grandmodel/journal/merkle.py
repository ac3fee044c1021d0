"""Merkle trees as RFC 9162 section 2.1 (and RFC 6962) hashes them, with inclusion proofs.

A tree's root stands for a whole list of records in 32 bytes. An inclusion proof shows, with about log2(n) hashes, that
one record is in the list. ``checkpoints`` signs the roots. Leaves are hashed with the prefix 0x00 and inner nodes with 0x01, so neither can pass for the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from grandmodel.journal.chain import HASH_BYTES
from grandmodel.journal.errors import ProofError

EMPTY_ROOT = sha256(b"").digest()
"""The root of the tree without leaves."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node over its two children."""
    return sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """A tree that grows at its right end; it keeps one hash per complete subtree, not the leaves."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._complete: list[tuple[int, bytes]] = []
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        """Add one leaf by its hash."""
        self._add(1, leaf)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add many leaves by their hashes; the same tree as adding one by one, at about half the cost."""
        start = 0
        while start < len(leaves):
            room = self.size & -self.size if self.size else len(leaves)
            count = 1 << (min(room, len(leaves) - start).bit_length() - 1)
            level = list(leaves[start : start + count])
            while len(level) > 1:
                level = [sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=True)]
            self._add(count, level[0])
            start += count

    def root(self) -> bytes:
        """The root over the leaves so far, 32 bytes."""
        if not self._complete:
            return EMPTY_ROOT
        result = self._complete[-1][1]
        for _, left in reversed(self._complete[:-1]):
            result = node_hash(left, result)
        return result

    def _add(self, leaves: int, hashed: bytes) -> None:
        self.size += leaves
        while self._complete and self._complete[-1][0] == leaves:
            hashed = node_hash(self._complete.pop()[1], hashed)
            leaves *= 2
        self._complete.append((leaves, hashed))


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over ``leaves`` (their hashes), by the recursive definition of RFC 9162 section 2.1.1."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return node_hash(merkle_root(leaves[:split]), merkle_root(leaves[split:]))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from leaf ``index`` to the root over ``leaves`` (RFC 9162 section 2.1.3.1)."""
    if not 0 <= index < len(leaves):
        raise ProofError(f"found leaf {index}, expected one of the {len(leaves)} leaves from 0")
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion_proof(leaves[:split], index), merkle_root(leaves[split:])]
    return [*inclusion_proof(leaves[split:], index - split), merkle_root(leaves[:split])]


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """True where ``proof`` shows that ``leaf`` (a hash) stands at ``index`` of the ``size`` leaves under ``root``.

    RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size or len(leaf) != HASH_BYTES:
        return False
    position, last = index, size - 1
    result = leaf
    for step in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            result = node_hash(step, result)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            result = node_hash(result, step)
        position >>= 1
        last >>= 1
    return last == 0 and result == root


def _split(size: int) -> int:
    """The largest power of two below ``size`` (2 or more)."""
    return 1 << ((size - 1).bit_length() - 1)
