"""Showing one record to an outsider without handing over the run: the record, and the hashes that lead to a known root.

``prove_record`` makes such a proof from a journal, ``is_proven`` checks one with nothing but the proof itself. What makes it
worth something is the root: it is in a signed checkpoint, or was kept elsewhere when the run was made.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from grandmodel.journal.chain import RECORDS_START, link_record
from grandmodel.journal.errors import JournalDamagedError, ProofError
from grandmodel.journal.format import JournalReader
from grandmodel.journal.merkle import inclusion_proof, is_included, merkle_root


class RecordProof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record and why it belongs to the history with ``root``; hashes in hexadecimal."""

    run: str
    number: int
    record: str
    """The record exactly as it stands in the journal, as text: one changed space and it is proven no more."""
    link_before: str
    input_head: str
    records: int
    """How many records the history has that ``root`` stands for."""
    root: str
    path: tuple[str, ...]


def prove_record(folder: Path, number: int, records: int | None = None) -> RecordProof:
    """The proof that record ``number`` is in the first ``records`` records (all unless given) of the run in ``folder``.

    Give the ``records`` of a checkpoint to get a path to its root. Raises ``ProofError`` where there is no such record, and
    ``JournalDamagedError`` where its own bytes do not lead to the root any more. Other records are not checked here:
    ``verification.verify_run`` does.
    """
    with JournalReader.open(folder) as reader:
        links = [row.chain for row in reader.record_rows()]
        records = len(links) if records is None else records
        if not 0 <= number < records <= len(links):
            raise ProofError(f"found record {number} of {records}, expected one of the {len(links)} of this run")
        row = next(reader.record_rows(number))
        given = next(reader.input_rows(row.input), None)
        try:
            record = row.body.decode()
        except (UnicodeDecodeError, AttributeError) as error:
            raise JournalDamagedError(f"record {number}: its bytes are no text any more ({error})") from error
        if given is None:
            raise JournalDamagedError(f"record {number}: found no input {row.input}, from which it is said to come")
        proof = RecordProof(
            run=reader.about()["run"],
            number=number,
            record=record,
            link_before=(links[number - 1] if number else RECORDS_START).hex(),
            input_head=given.chain.hex(),
            records=records,
            root=merkle_root(links[:records]).hex(),
            path=tuple(step.hex() for step in inclusion_proof(links[:records], number)),
        )
    if not is_proven(proof):
        raise JournalDamagedError(
            f"record {number}: found bytes, a link or an input's number that do not lead to the root, expected those that "
            "were written: it cannot be proven"
        )
    return proof


def is_proven(proof: RecordProof) -> bool:
    """True where the record and the path do lead to the root. Compare the root with one that you trust."""
    try:
        before, head, root = (bytes.fromhex(text) for text in (proof.link_before, proof.input_head, proof.root))
        path = [bytes.fromhex(step) for step in proof.path]
    except ValueError:
        return False
    return is_included(link_record(before, head, proof.record.encode()), proof.number, proof.records, path, root)
