"""Is a run's journal what was written? ``verify_run`` reads every byte of it and says what does not fit, and where.

Checked, in this order: the database's structure; the chain over the inputs and the content of their blocks; the chain
over the records; the checkpoints' order, signatures, heads and Merkle roots; the seal over the whole file; the files beside the
journal. Nothing is changed by looking. The formats are in ``format``, ``checkpoints`` and ``sealed_files``; what replays the run is
``journal.replay``.

Each finding names the first place where something does not fit. A changed place is followed by no false alarms: the
stored link of a changed record is taken as the start for the next one. What nothing shows to be changed, and no key that the
reader trusts shows to be unchanged, is a doubt: an unsigned run, an unknown key, a summary that nothing seals.
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from grandmodel.domain.errors import GrandModelError
from grandmodel.domain.events import Cause, MarketData
from grandmodel.journal.chain import INPUTS_START, RECORDS_START, link_input, link_record
from grandmodel.journal.checkpoints import (
    CHECKPOINTS_NAME,
    NO_PREVIOUS,
    Checkpoint,
    SignatureChecker,
    signed_message,
)
from grandmodel.journal.errors import AuditUsageError
from grandmodel.journal.format import (
    FORMAT,
    JOURNAL_NAME,
    LOCK_NAME,
    LOG_INDEX_NAME,
    LOG_NAME,
    ContentResolver,
    JournalReader,
    StoredContent,
    StoredInput,
    StoredRecord,
    decode_input,
    decode_record,
    file_sha256,
    remains,
    source_sha256,
    unpack,
)
from grandmodel.journal.merkle import MerkleTree
from grandmodel.journal.sealed_files import FILES_NAME, FilesSeal, files_message, journal_seal, read_file
from grandmodel.journal.write_ahead_log import log_damage

MAX_FINDINGS = 100
"""Findings kept in a report; more are only counted."""


UNSIGNED = "UNSIGNED: proves only accidental change"
"""What every unsigned run is called, wherever it is shown."""

_MOST_CONTENT_BYTES = 1 << 31
"""No block is larger; a larger size comes from damage and would ask for as much memory."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)

_PRODUCTS = frozenset({"summary.json", "report.html", "latency.json"})
"""What a run writes beside its journal, and people read instead of it."""


class Signature(enum.StrEnum):
    """Whose word there is for what was found."""

    TRUSTED = "trusted"
    """Everything is signed by keys that the reader trusts, and every signature holds."""
    UNKNOWN_KEY = "unknown_key"
    """Something is signed by a key that the reader does not know; nothing can be said of such a signature."""
    UNSIGNED = "unsigned"
    """Something is not signed."""


class FindingKind(enum.StrEnum):
    """What does not fit."""

    DAMAGED_DATABASE = "damaged_database"
    """SQLite cannot read the file as it was written: cut short, or bytes of its structure changed."""
    CHANGED_INPUT = "changed_input"
    CHANGED_RECORD = "changed_record"
    MOVED_RECORD = "moved_record"
    """A record stands where another belongs: swapped, repeated or put in."""
    CHANGED_CONTENT = "changed_content"
    MISSING_CONTENT = "missing_content"
    GAP = "gap"
    CUT_TAIL = "cut_tail"
    MISSING_CHECKPOINT = "missing_checkpoint"
    CHANGED_CHECKPOINT = "changed_checkpoint"
    REWRITTEN = "rewritten"
    """The chain holds in itself, but a checkpoint was made over other records."""
    BAD_SIGNATURE = "bad_signature"
    CHANGED_BYTES = "changed_bytes"
    """The file differs from the sealed one outside of every row."""
    UNEXPECTED = "unexpected"
    """The history does not begin with the one whose root was given."""
    MISSING_JOURNAL = "missing_journal"
    """The checkpoints are there, the journal is not."""
    DAMAGED_LOG = "damaged_log"
    """SQLite's write-ahead log, which holds what was written last in an open run, is missing or cannot be read to its end."""
    CHANGED_FILE = "changed_file"
    MISSING_FILE = "missing_file"
    CHANGED_FILES_SEAL = "changed_files_seal"
    """A line of ``files.jsonl`` does not follow the one before it, or belongs to another run."""


class JournalFinding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that does not fit."""

    kind: FindingKind
    where: str
    """``input``, ``record``, ``content``, ``checkpoint``, ``file``, or the name of a file beside the journal."""
    number: int | None = None
    text: str = ""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """A Merkle root kept elsewhere: the first ``records`` records must have this ``root``."""

    records: int
    root: str

    @classmethod
    def parse(cls, text: str) -> Expected:
        """From ``RECORDS:ROOT`` as ``audit verify`` prints it."""
        records, _, root = text.partition(":")
        if not records.isdigit() or source_sha256(root) is None:
            raise AuditUsageError(f"found {text!r}, expected RECORDS:ROOT with a root of 64 hexadecimal digits")
        return cls(records=int(records), root=root.lower())


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What ``verify_run`` found."""

    run: str
    intact: bool
    ended: bool
    """True where the journal is sealed."""
    inputs: int
    records: int
    contents: int
    checkpoints: int
    record_head: str
    root: str
    """Merkle root over all records; keep ``records:root`` elsewhere to catch a history that is cut as a whole."""
    signature: Signature
    signed_by: str
    """Ids of the trusted keys whose signatures were checked, where all is signed by such; else empty."""
    unknown_keys: tuple[str, ...]
    """Ids of the keys that the reader does not know."""
    findings: tuple[JournalFinding, ...]
    findings_total: int
    doubts: tuple[str, ...]
    """Why it is not proven that nothing was changed, though nothing shows that something was; empty where it is proven."""
    sealed_files: tuple[str, ...]
    """Files beside the journal that are sealed."""
    unsealed_files: tuple[str, ...]
    """Everything else in the folder: nothing is said of these."""
    notes: tuple[str, ...]

    @property
    def is_proven(self) -> bool:
        """True where it is intact, and a key or a root that the reader trusts says so."""
        return self.intact and not self.doubts


def verify_run(
    folder: Path,
    *,
    public_key: SignatureChecker | None = None,
    known: Mapping[str, SignatureChecker] | None = None,
    expected: Expected | None = None,
    resolver: ContentResolver | None = None,
) -> VerifyReport:
    """Check the run in ``folder``.

    ``public_key``: everything must be signed with its private half. Without it, signatures are held against the ``known`` keys, by
    their ids. ``expected``: a root kept elsewhere. ``resolver``: finds content that the journal only names; without it that content
    is counted in a note and not checked. Raises ``AuditUsageError`` where there is no journal, or one into which nothing was written
    and from which nothing was taken: a journal that is gone or lost all its rows while a checkpoint or ``expected`` knows of some
    is a finding.
    """
    check = _Check(folder, public_key, known or {}, expected)
    damage = log_damage(folder / JOURNAL_NAME)  # Before SQLite looks: it makes a new index.
    if not (folder / JOURNAL_NAME).exists() and remains(folder):
        check.look_at_remains()
        return check.report()
    if damage:
        check.found(FindingKind.DAMAGED_LOG, "file", None, damage)
    with JournalReader.open(folder, resolver) as reader:
        try:
            check.look_at(reader, resolver)
        except (sqlite3.Error, *_UNREADABLE) as error:
            check.found(FindingKind.DAMAGED_DATABASE, "file", None, f"the database cannot be read to its end: {error}")
    if not check.inputs and not check.records and not check.total:
        text = f"{folder}: found a journal without an input and without a record, there is nothing to check"
        if (folder / LOCK_NAME).exists() and not check.has_log:
            text += f" (its process died at once, or {LOG_NAME}, in which SQLite keeps what was written last, was taken away)"
        raise AuditUsageError(text)
    check.look_at_files()
    return check.report()


def text_of_finding(finding: JournalFinding) -> str:
    """One finding as a line for people: kind, place and text."""
    place = finding.where if finding.number is None else f"{finding.where} {finding.number}"
    return f"{finding.kind.value} {place}: {finding.text}"


class _Check:
    """The state of one verification, in the order in which its methods are called."""

    def __init__(
        self,
        folder: Path,
        public_key: SignatureChecker | None,
        known: Mapping[str, SignatureChecker],
        expected: Expected | None,
    ) -> None:
        self.folder = folder
        self.public_key = public_key
        self.known = known
        self.expected = expected
        self.trusted_keys: set[str] = set()
        self.unknown_keys: set[str] = set()
        self.doubts: list[str] = []
        self.has_log = (folder / LOG_NAME).exists()  # Before SQLite looks: it makes an empty one.
        self.sealed_files: tuple[str, ...] = ()
        self.unsealed_files: tuple[str, ...] = ()
        self.findings: list[JournalFinding] = []
        self.total = 0
        self.notes: list[str] = []
        self.run = ""
        self.every = 0
        self.inputs = 0
        self.input_heads: dict[int, bytes] = {}
        self.records = 0
        self.record_head = RECORDS_START
        self.tree = MerkleTree()
        self.ended_by_record = False
        self.contents: set[bytes] = set()
        self.checkpoints: list[Checkpoint] = []
        self.heads_at: dict[int, tuple[bytes, bytes, int]] = {}
        """Records covered -> record head, root, inputs that those records came from."""

    def found(self, kind: FindingKind, where: str, number: int | None, text: str) -> None:
        self.total += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(JournalFinding(kind=kind, where=where, number=number, text=text))

    def look_at(self, reader: JournalReader, resolver: ContentResolver | None) -> None:
        self.read_checkpoints()
        for text in reader.damage():
            self.found(FindingKind.DAMAGED_DATABASE, "file", None, text)
        about = reader.about()
        self.run = about.get("run", "")
        every = about.get("checkpoint_every", "")
        self.every = int(every) if every.isdigit() else 0
        if about.get("format") != str(FORMAT) or self.every < 1:
            self.found(FindingKind.DAMAGED_DATABASE, "file", None, f"the table 'about' holds {about}")
            self.every = max(self.every, 1)
        self.look_at_contents(reader)
        self.look_at_inputs(reader, resolver)
        self.look_at_records(reader)
        self.compare_checkpoints()
        self.look_at_seal()

    def read_checkpoints(self) -> None:
        """Read the lines, check that each follows the one before it, and the signatures."""
        path = self.folder / CHECKPOINTS_NAME
        written = b""
        if path.is_file():  # A pipe of that name would never end.
            written = path.read_bytes()
        else:
            text = f"found no {CHECKPOINTS_NAME}, which is there from a journal's first moment"
            self.found(FindingKind.MISSING_CHECKPOINT, "checkpoint", None, text)
        lines = written.split(b"\n")
        if lines.pop():
            self.notes.append("the last checkpoint line was cut short by a crash and is not counted")
        previous = NO_PREVIOUS
        for number, line in enumerate(lines):
            try:
                checkpoint = msgspec.json.decode(line, type=Checkpoint)
            except _UNREADABLE as error:
                self.found(FindingKind.CHANGED_CHECKPOINT, "checkpoint", number, f"the line cannot be read: {error}")
                previous = sha256(line).hexdigest()
                continue
            if checkpoint.previous != previous or msgspec.json.encode(checkpoint) != line:
                text = "it does not follow the line before it: a line was changed, moved or taken out"
                self.found(FindingKind.CHANGED_CHECKPOINT, "checkpoint", number, text)
            previous = sha256(line).hexdigest()
            self.checkpoints.append(checkpoint)
            self.look_at_signature(number, checkpoint)

    def look_at_signature(self, number: int, checkpoint: Checkpoint) -> None:
        if not self.is_trusted(checkpoint, signed_message(checkpoint)):
            text = f"found key {checkpoint.key or 'none'}, expected a signature by {self.expected_key(checkpoint.key)}"
            self.found(FindingKind.BAD_SIGNATURE, "checkpoint", number, text)

    def expected_key(self, found: str) -> str:
        return self.public_key.key_id if self.public_key is not None else f"it over these bytes ({found})"

    def is_trusted(self, signed: Checkpoint | FilesSeal, message: bytes) -> bool:
        """False where the signature is not what it has to be; a key that is not known is noted, not held against it."""
        checker = self.public_key or self.known.get(signed.key)
        if checker is None:
            if signed.key:
                self.unknown_keys.add(signed.key)
            return True
        try:
            signature = bytes.fromhex(signed.signature)
        except ValueError:
            signature = b""
        if signed.key != checker.key_id or not checker.is_signed(message, signature):
            return False
        self.trusted_keys.add(signed.key)
        return True

    def look_at_contents(self, reader: JournalReader) -> None:
        for content in map(_sound_content, reader.content_rows()):
            try:
                rows = unpack(content)
                fits = len(rows) == content.size and sha256(rows).digest() == content.sha256
            except ValueError:
                fits = False
            self.contents.add(content.sha256)
            if not fits:
                text = "its bytes do not have the sha256 under which they are kept"
                self.found(FindingKind.CHANGED_CONTENT, "content", content.number, text)

    def look_at_inputs(self, reader: JournalReader, resolver: ContentResolver | None) -> None:
        outside = 0
        head = INPUTS_START
        for row in map(_sound_input, reader.input_rows()):
            if row.number != self.inputs:
                text = f"numbers {self.inputs} to {row.number - 1} are missing"
                self.found(FindingKind.GAP, "input", self.inputs, text)
            elif link_input(head, row.body) != row.chain:
                text = "its bytes, or those of its link, are not those that were written"
                self.found(FindingKind.CHANGED_INPUT, "input", row.number, text)
            head = row.chain
            self.input_heads[row.number] = head
            self.inputs = row.number + 1
            try:
                given = decode_input(row.body)
            except _UNREADABLE:
                continue  # The link has shown it as changed; where it fits, it was written so and replay refuses it.
            if isinstance(given, MarketData) and given.source:
                outside += self.look_at_block(row.number, given, resolver)
        if outside:
            self.notes.append(f"{outside} blocks lie outside the journal and were not checked")

    def look_at_block(self, number: int, block: MarketData, resolver: ContentResolver | None) -> int:
        """Check a block's content; 1 where it lies outside and nothing can find it, else 0."""
        digest = source_sha256(block.source)
        if digest in self.contents:
            return 0
        if resolver is None:
            if " " not in block.source:  # Nothing says where else it could be: the journal held it once.
                self.found(
                    FindingKind.MISSING_CONTENT, "input", number, f"content {block.source} is not in the journal"
                )
                return 0
            return 1
        try:
            rows = resolver(block)
        except (LookupError, ValueError, OSError, GrandModelError) as error:
            self.found(FindingKind.MISSING_CONTENT, "input", number, f"content {block.source}: {error}")
            return 0
        if sha256(rows).digest() != digest:
            text = f"the content found for {block.source} has sha256 {sha256(rows).hexdigest()}"
            self.found(FindingKind.CHANGED_CONTENT, "input", number, text)
        return 0

    def look_at_records(self, reader: JournalReader) -> None:
        wanted = {one.records for one in self.checkpoints}
        if self.expected is not None:
            wanted.add(self.expected.records)
        last_input = 0
        self.mark(0, wanted, -1)
        for row in map(_sound_record, reader.record_rows()):
            if row.number != self.records:
                text = f"numbers {self.records} to {row.number - 1} are missing"
                self.found(FindingKind.GAP, "record", self.records, text)
            elif not self.links(row, last_input):
                self.found(*_explain(row))
            last_input = max(last_input, row.input)
            self.record_head = row.chain
            self.tree.append(row.chain)
            self.records = row.number + 1
            self.mark(self.records, wanted, row.input)
            last = row
        if self.records:
            try:
                self.ended_by_record = decode_record(last.body).cause is Cause.END
            except _UNREADABLE:
                self.ended_by_record = False

    def links(self, row: StoredRecord, last_input: int) -> bool:
        if row.input < last_input or row.input not in self.input_heads:
            return False
        return link_record(self.record_head, self.input_heads[row.input], row.body) == row.chain

    def mark(self, records: int, wanted: set[int], last_input: int) -> None:
        if records in wanted:
            self.heads_at[records] = (self.record_head, self.tree.root(), last_input + 1)

    def compare_checkpoints(self) -> None:
        """Hold the checkpoints against the rows: count, heads, roots."""
        fits_so_far = self.total == 0
        present = {one.records for one in self.checkpoints}
        ended = bool(self.checkpoints) and self.checkpoints[-1].final
        covered = max(present, default=0)
        for records in range(self.every, self.records + 1, self.every):
            if records in present:
                continue
            if records > covered and not ended:
                self.notes.append(f"no checkpoint yet for records from {covered}: the run was stopped, or is running")
                break
            text = f"none covers the first {records} records, expected one every {self.every}"
            self.found(FindingKind.MISSING_CHECKPOINT, "checkpoint", None, text)
        for number, one in enumerate(self.checkpoints):
            if one.run != self.run or one.every != self.every:
                text = f"it is of run {one.run!r} every {one.every}, the journal of {self.run!r} every {self.every}"
                self.found(FindingKind.CHANGED_CHECKPOINT, "checkpoint", number, text)
            if one.records > self.records:
                text = f"a checkpoint covers {one.records} records, the journal ends with {self.records}"
                self.found(FindingKind.CUT_TAIL, "record", self.records, text)
            elif one.inputs > self.inputs:
                text = f"a checkpoint covers {one.inputs} inputs, the journal ends with {self.inputs}"
                self.found(FindingKind.CUT_TAIL, "input", self.inputs, text)
            elif fits_so_far and not self.agrees(one):
                text = f"checkpoint {number} was made over other records than the {one.records} that the journal holds"
                self.found(FindingKind.REWRITTEN, "checkpoint", number, text)
        if self.expected is not None:
            self.compare_expected(self.expected)

    def agrees(self, one: Checkpoint) -> bool:
        if one.records not in self.heads_at:
            return False
        record_head, root, inputs = self.heads_at[one.records]
        input_head = self.input_heads.get(one.inputs - 1, b"") if one.inputs else INPUTS_START
        return (one.record_head, one.root, one.input_head) == (record_head.hex(), root.hex(), input_head.hex()) and (
            one.inputs == (self.inputs if one.final else inputs)
        )

    def compare_expected(self, expected: Expected) -> None:
        if expected.records > self.records:
            text = f"{expected.records} records were expected, the journal ends with {self.records}"
            self.found(FindingKind.CUT_TAIL, "record", self.records, text)
        elif self.heads_at[expected.records][1].hex() != expected.root:
            text = f"the first {expected.records} records have root {self.heads_at[expected.records][1].hex()}"
            self.found(FindingKind.UNEXPECTED, "record", None, f"{text}, expected {expected.root}")

    def look_at_seal(self) -> None:
        """Compare the whole file with the seal; a run without one is open, which is a note, not a finding."""
        last = self.checkpoints[-1] if self.checkpoints else None
        if last is None or not last.final:
            if self.ended_by_record and not (self.folder / LOCK_NAME).exists():
                text = "the run ended and its writer let go of it, but no checkpoint seals it"
                self.found(FindingKind.MISSING_CHECKPOINT, "checkpoint", None, text)
            elif self.ended_by_record:
                self.notes.append("the run ended, but died before its journal was sealed: start it again to seal it")
            else:
                self.notes.append("the run has not ended: records after the last checkpoint have only the chain")
            return
        path = self.folder / JOURNAL_NAME
        file_bytes = path.stat().st_size
        log = self.folder / LOG_NAME
        if log.exists() and log.stat().st_size:
            self.found(FindingKind.CHANGED_BYTES, "file", None, f"found a filled {log.name} beside a sealed journal")
        if file_bytes != last.file_bytes:
            text = f"the file has {file_bytes} bytes, it was sealed with {last.file_bytes}"
            kind = FindingKind.CUT_TAIL if file_bytes < last.file_bytes else FindingKind.CHANGED_BYTES
            self.found(kind, "file", None, text)
        elif self.total == 0 and file_sha256(path) != last.file_sha256:
            text = "the file is not the sealed one, though every row is: bytes outside the rows were changed"
            self.found(FindingKind.CHANGED_BYTES, "file", None, text)

    def look_at_remains(self) -> None:
        """The journal itself is gone: say so, and what the checkpoints still show."""
        text = f"{JOURNAL_NAME} is not there, though {' and '.join(remains(self.folder))} of its run are"
        self.found(FindingKind.MISSING_JOURNAL, "file", None, text)
        self.read_checkpoints()
        last = self.checkpoints[-1] if self.checkpoints else None
        if last is None:
            self.notes.append("no checkpoint tells what was in it: nothing can be proven")
            return
        self.run = last.run
        self.notes.append(
            f"still provable: that {last.records} records with root {last.root} were written; a copy of the journal can be held "
            "against that"
        )

    def look_at_files(self) -> None:
        """Hold the files beside the journal against the last line of ``files.jsonl``, and name those that it does not hold."""
        path = self.folder / FILES_NAME
        lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
        if lines.pop():
            self.notes.append(f"the last line of {FILES_NAME} was cut short by a crash and is not counted")
        seal = self.read_files_seals(lines)
        for file in seal.files if seal else ():
            found = read_file(self.folder, file.name)
            if found is None and not (self.folder / file.name).is_symlink():
                self.found(FindingKind.MISSING_FILE, file.name, None, "it was sealed, and is not there")
            elif found != file:
                what = "a link" if found is None else f"sha256 {found.sha256}"
                text = f"found {what}, it was sealed with sha256 {file.sha256}"
                self.found(FindingKind.CHANGED_FILE, file.name, None, text)
        self.sealed_files = tuple(file.name for file in seal.files) if seal else ()
        ours = {JOURNAL_NAME, CHECKPOINTS_NAME, FILES_NAME, *self.sealed_files}
        if not (self.checkpoints and self.checkpoints[-1].final):
            ours |= {LOCK_NAME, LOG_NAME, LOG_INDEX_NAME}
        names = {f"{one.name}/" if one.is_dir() else one.name for one in self.folder.iterdir()}
        self.unsealed_files = tuple(sorted(names - ours))
        bare = sorted(_PRODUCTS.intersection(self.unsealed_files))
        if bare:
            self.doubts.append(
                f"NOT SEALED: nothing shows whether {', '.join(bare)} are as they were written; `grandmodel backtest report "
                f"{self.folder}` writes them again from the journal"
            )

    def read_files_seals(self, lines: list[bytes]) -> FilesSeal | None:
        """The last line of ``files.jsonl``, after a look at each; None where there is none."""
        previous, last = NO_PREVIOUS, None
        for number, line in enumerate(lines):
            try:
                one = msgspec.json.decode(line, type=FilesSeal)
            except _UNREADABLE as error:
                self.found(FindingKind.CHANGED_FILES_SEAL, FILES_NAME, number, f"the line cannot be read: {error}")
                previous = sha256(line).hexdigest()
                continue
            if one.previous != previous or msgspec.json.encode(one) != line:
                text = "it does not follow the line before it: a line was changed, moved or taken out"
                self.found(FindingKind.CHANGED_FILES_SEAL, FILES_NAME, number, text)
            elif one.journal_seal != journal_seal(self.folder):
                text = "it was made for a journal with another seal"
                self.found(FindingKind.CHANGED_FILES_SEAL, FILES_NAME, number, text)
            previous = sha256(line).hexdigest()
            last = one
            if not self.is_trusted(one, files_message(one)):
                text = f"found key {one.key or 'none'}, expected a signature by {self.expected_key(one.key)}"
                self.found(FindingKind.BAD_SIGNATURE, FILES_NAME, number, text)
            if one.note:
                self.notes.append(f"{FILES_NAME} line {number}: {one.note}")
        if last is not None and not last.key:
            self.doubts.append(f"{FILES_NAME} is {UNSIGNED}")
        elif last is not None and self.public_key is None and last.key not in self.known:
            self.doubts.append(f"{FILES_NAME} is SIGNED BY AN UNKNOWN KEY: {last.key}")
        return last

    def signature(self) -> Signature:
        """What the signatures of the checkpoints are worth, with a doubt where it is not enough."""
        unsigned = sum(not one.key for one in self.checkpoints)
        unknown = (
            {one.key for one in self.checkpoints if one.key} - set(self.known) if self.public_key is None else set()
        )
        text = ""
        if unknown:
            text = (
                f"SIGNED BY AN UNKNOWN KEY: {', '.join(sorted(unknown))}. Ask whose it is, get its public half from them, and give "
                "it with --public-key, or keep it with `grandmodel audit trust FILE --name NAME`"
            )
        elif not self.checkpoints:
            text = f"{UNSIGNED}; the first checkpoint comes after {self.every or 'so many'} records, or at the end"
        elif unsigned:
            text = f"{UNSIGNED}: {unsigned} of {len(self.checkpoints)} checkpoints bear no signature"
        if text and not (self.expected is not None and self.expected.records == self.records):
            self.doubts.insert(0, text)  # A root that was kept elsewhere says as much as a signature.
        if unknown:
            return Signature.UNKNOWN_KEY
        return Signature.UNSIGNED if text else Signature.TRUSTED

    def tell_what_is_left(self) -> None:
        """Where the end is missing, say how far what is there can be proven."""
        ends = {FindingKind.DAMAGED_LOG, FindingKind.CUT_TAIL}
        if not self.findings or any(one.kind not in ends for one in self.findings):
            return
        covered = max((one.records for one in self.checkpoints if self.agrees(one)), default=0)
        self.notes.append(
            f"still provable: the first {covered} records, which a checkpoint covers; the other {self.records - covered} that are "
            "there fit the chain"
        )
        if not (self.checkpoints and self.checkpoints[-1].final) and not self.has_log:
            self.notes.append(f"{LOG_NAME}, in which SQLite keeps what was written last, is not there")

    def report(self) -> VerifyReport:
        self.tell_what_is_left()
        signature = self.signature()
        is_signed = signature is Signature.TRUSTED and not any(
            one.kind is FindingKind.BAD_SIGNATURE for one in self.findings
        )
        return VerifyReport(
            run=self.run or self.folder.name,
            intact=self.total == 0,
            ended=bool(self.checkpoints) and self.checkpoints[-1].final,
            inputs=self.inputs,
            records=self.records,
            contents=len(self.contents),
            checkpoints=len(self.checkpoints),
            record_head=self.record_head.hex(),
            root=self.tree.root().hex(),
            signature=signature,
            signed_by=", ".join(sorted(self.trusted_keys)) if is_signed else "",
            unknown_keys=tuple(sorted(self.unknown_keys)),
            findings=tuple(self.findings),
            findings_total=self.total,
            doubts=tuple(self.doubts),
            sealed_files=self.sealed_files,
            unsealed_files=self.unsealed_files,
            notes=tuple(self.notes),
        )


def _sound_input(row: StoredInput) -> StoredInput:
    """The row with an empty value for each that damage has given another type; its link then does not fit."""
    return StoredInput(row.number, _bytes(row.chain), _bytes(row.body))


def _sound_record(row: StoredRecord) -> StoredRecord:
    given = row.input if isinstance(row.input, int) else -1
    return StoredRecord(row.number, given, _bytes(row.chain), _bytes(row.body))


def _sound_content(row: StoredContent) -> StoredContent:
    size = row.size if isinstance(row.size, int) and 0 <= row.size < _MOST_CONTENT_BYTES else -1
    return StoredContent(row.number, _bytes(row.sha256), size, str(row.encoding), _bytes(row.bytes))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _explain(row: StoredRecord) -> tuple[FindingKind, str, int, str]:
    """A finding for a record that does not fit its link: moved where it says another number, else changed."""
    try:
        number = decode_record(row.body).number
    except _UNREADABLE:
        return FindingKind.CHANGED_RECORD, "record", row.number, "its bytes are no record any more"
    if number != row.number:
        return FindingKind.MOVED_RECORD, "record", row.number, f"record {number} stands in its place"
    text = "its bytes, its input's number or its link are not those that were written"
    return FindingKind.CHANGED_RECORD, "record", row.number, text
