"""Merkle hashing against the public test vectors and against its own recursive definition."""

import base64
import json
from hashlib import sha256

import pytest

from grandmodel.journal.errors import ProofError
from grandmodel.journal.merkle import (
    EMPTY_ROOT,
    MerkleTree,
    inclusion_proof,
    is_included,
    merkle_root,
    node_hash,
)
from merkle_leaves import leaf_hash
from shared_data import shared

LEAVES = [leaf_hash(bytes([i])) for i in range(70)]


def vectors(name):
    cases = json.loads(shared(f"reference/merkle/{name}").read_text())
    assert len(cases) > 40
    return cases


def raw(text):
    return base64.b64decode(text or "")


@pytest.mark.shared
def test_inclusion_vectors_of_rfc_9162():
    for case in vectors("rfc9162_inclusion.json"):
        proof = [raw(step) for step in case["proof"] or []]
        verdict = is_included(raw(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, raw(case["root"]))
        assert verdict is not case["wantErr"], case["name"]


def test_small_trees_by_hand():
    a, b, c = LEAVES[:3]
    assert merkle_root([]) == EMPTY_ROOT == sha256(b"").digest()
    assert merkle_root([a]) == a
    assert merkle_root([a, b, c]) == node_hash(node_hash(a, b), c)
    assert leaf_hash(b"") == bytes.fromhex("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")


def test_growing_tree_equals_the_recursive_definition():
    for size in range(len(LEAVES) + 1):
        assert MerkleTree(LEAVES[:size]).root() == merkle_root(LEAVES[:size])


@pytest.mark.parametrize("cut", [0, 1, 3, 8, 13, 32, 63])
def test_extending_equals_appending(cut):
    for end in range(cut, len(LEAVES) + 1):
        tree = MerkleTree(LEAVES[:cut])
        tree.extend(LEAVES[cut:end])
        assert (tree.size, tree.root()) == (end, merkle_root(LEAVES[:end]))


def test_every_inclusion_proof_holds_and_no_other_leaf_passes():
    for size in (1, 2, 3, 7, 8, 9, 33):
        root = merkle_root(LEAVES[:size])
        for index in range(size):
            proof = inclusion_proof(LEAVES[:size], index)
            assert is_included(LEAVES[index], index, size, proof, root)
            assert not is_included(LEAVES[-1], index, size, proof, root)
            assert not is_included(LEAVES[index], index, size, [*proof, root], root)


def test_proofs_outside_the_tree_are_refused():
    with pytest.raises(ProofError, match="found leaf 3, expected one of the 3"):
        inclusion_proof(LEAVES[:3], 3)
