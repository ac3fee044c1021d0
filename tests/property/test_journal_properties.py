"""Whatever is appended, committed, lost and taken up again, in whatever order: the journal holds what was committed."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandmodel.domain.events import Advance
from grandmodel.journal.chain import INPUTS_START, RECORDS_START, link_input, link_record
from grandmodel.journal.errors import AuditUsageError
from grandmodel.journal.format import encode_input
from grandmodel.journal.merkle import MerkleTree, inclusion_proof, is_included, merkle_root
from grandmodel.journal.verification import verify_run
from grandmodel.journal.writer import Durability, Journal
from merkle_leaves import leaf_hash

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("input"), st.integers(0, 2**62)),
        st.tuples(st.just("record"), st.binary(max_size=40)),
        st.tuples(st.sampled_from(["commit", "crash"]), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, every=st.sampled_from([1, 2, 4, 16]))
def test_a_journal_holds_what_was_committed_and_nothing_else(steps, every):
    base = Path(tempfile.mkdtemp(prefix="journal"))
    folder = base / "run"
    journal = Journal.create(folder, durability=Durability.OS, checkpoint_every=every)
    inputs, records = [], []  # What is committed: input bodies; (input number, record body).
    new_inputs, new_records = [], []
    try:
        for kind, value in [*steps, ("commit", None)]:
            if kind == "input":
                assert journal.append_input(Advance(ts=value)) == len(inputs) + len(new_inputs)
                new_inputs.append(encode_input(Advance(ts=value)))
            elif kind == "record" and inputs + new_inputs:
                journal.append_record(value)
                new_records.append((len(inputs) + len(new_inputs) - 1, value))
            elif kind == "commit":
                journal.commit()
                inputs, records = inputs + new_inputs, records + new_records
                new_inputs, new_records = [], []
            elif kind == "crash":
                journal.close()
                new_inputs, new_records = [], []
                journal = Journal.open(folder, durability=Durability.OS)
        assert [row.body for row in journal.input_rows()] == inputs
        assert [(row.input, row.body) for row in journal.records()] == records
        heads = [INPUTS_START]
        for body in inputs:
            heads.append(link_input(heads[-1], body))
        link = RECORDS_START
        for number, body in records:
            link = link_record(link, heads[number + 1], body)
        assert journal.head == (len(inputs), heads[-1], len(records), link)
        journal.seal()
        if not inputs:
            with pytest.raises(AuditUsageError, match="nothing to check"):
                verify_run(folder)
            return
        report = verify_run(folder)
        assert report.intact, report.findings
        assert report.records == len(records)
        assert report.checkpoints == len(records) // every + 1
    finally:
        journal.close()
        shutil.rmtree(base)


@given(
    parts=st.lists(st.integers(0, 40), max_size=6),
    place=st.integers(0, 10**6),
)
def test_a_tree_grown_in_any_parts_is_the_tree_and_proves_each_leaf(parts, place):
    leaves = [leaf_hash(i.to_bytes(4)) for i in range(sum(parts))]
    tree, at = MerkleTree(), 0
    for part in parts:
        tree.extend(leaves[at : at + part])
        at += part
    assert (tree.size, tree.root()) == (len(leaves), merkle_root(leaves))
    if leaves:
        index = place % len(leaves)
        proof = inclusion_proof(leaves, index)
        assert is_included(leaves[index], index, len(leaves), proof, tree.root())
        assert (
            not is_included(leaves[index], (index + 1) % len(leaves), len(leaves), proof, tree.root())
            or len(leaves) == 1
        )
