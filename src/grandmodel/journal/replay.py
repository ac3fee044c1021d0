"""Run a journal again and compare: the same inputs must give the same records, byte for byte.

Used by ``grandmodel audit replay`` on a run whose code, models, agents and stored data are still those of then, and as the end of every test that claims determinism.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

from grandmodel.domain.events import End, Input, Record
from grandmodel.journal.format import JournalReader, StoredRecord, encode_record


class StateMachine(Protocol):
    """The pure state machine that a run drives: ``runtime.inputs.InputEngine``."""

    def on_input(self, number: int, given: Input) -> Iterable[Record]:
        """Take input ``number`` and give the records that it causes, in order."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first place where a replay differs; ``journalled`` or ``replayed`` is None where that side has no record."""

    record: int
    field: str
    journalled: msgspec.Raw | None
    replayed: msgspec.Raw | None


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What ``replay`` found."""

    equal: bool
    """Every journalled record was made again, byte for byte, and no other but those of ``unfinished``."""
    inputs: int
    records: int
    """Records that were compared and are equal."""
    difference: Difference | None = None
    unfinished: bool = False
    """The journal stops inside its last input and without an end, as that of a run which was stopped or killed does."""


class Again(NamedTuple):
    """One input run again (``record`` None), one of the records that it makes, or at the very end a record that no input makes."""

    number: int
    given: Input | None
    record: Record | None
    body: bytes
    kept: StoredRecord | None
    """The journalled record in this place; None behind the last."""

    @property
    def is_equal(self) -> bool:
        """True where the record is the journalled one, to the byte and from the same input."""
        return self.kept is not None and self.kept.body == self.body and self.kept.input == self.number


def run_again(
    inputs: Iterable[tuple[int, Input]], stored: Iterable[StoredRecord], engine: StateMachine
) -> Iterator[Again]:
    """Run journalled ``inputs`` through a fresh ``engine``: each input, then its records, each beside the one ``stored`` in its place."""
    left = iter(stored)
    number = -1
    for number, given in inputs:
        yield Again(number, given, None, b"", None)
        for record in engine.on_input(number, given):
            yield Again(number, given, record, encode_record(record), next(left, None))
    for kept in left:
        yield Again(number, None, None, b"", kept)


def replay(
    reader: JournalReader, engine: StateMachine, on_record: Callable[[Record], None] | None = None
) -> ReplayReport:
    """Feed the journalled inputs to a fresh ``engine`` and compare each record's bytes; stop at the first difference.

    ``on_record`` is called with every record that is equal. A run that was stopped or killed left the records of its last
    input unwritten: what is there is compared, and the rest is no difference; ``recovery.recover`` writes it.
    """
    given_inputs = reader.inputs()
    inputs = records = 0
    for made in run_again(given_inputs, reader.record_rows(), engine):
        if made.record is None:
            if made.kept is not None:
                difference = _difference(records, made.kept.input, made.kept, None)
                return ReplayReport(equal=False, inputs=inputs, records=records, difference=difference)
            inputs += 1
            continue
        if made.kept is None and not isinstance(made.given, End) and next(given_inputs, None) is None:
            return ReplayReport(equal=True, inputs=inputs, records=records, unfinished=True)
        if not made.is_equal:
            difference = _difference(records, made.number, made.kept, made.body)
            return ReplayReport(equal=False, inputs=inputs, records=records, difference=difference)
        records += 1
        if on_record is not None:
            on_record(made.record)
    return ReplayReport(equal=True, inputs=inputs, records=records)


def first_difference(left: bytes, right: bytes) -> str:
    """The path of the first field in which two JSON documents differ, such as ``orders[0].price``; empty if in none."""
    return _first_difference(msgspec.json.decode(left), msgspec.json.decode(right), "")


def _first_difference(left: Any, right: Any, path: str) -> str:
    if isinstance(left, dict) and isinstance(right, dict):
        for name in [*left, *(name for name in right if name not in left)]:
            if name not in left or name not in right:
                return f"{path}.{name}".lstrip(".")
            below = _first_difference(left[name], right[name], f"{path}.{name}")
            if below:
                return below.lstrip(".")
        return ""
    if isinstance(left, list) and isinstance(right, list):
        for place, (one, other) in enumerate(zip(left, right, strict=False)):
            below = _first_difference(one, other, f"{path}[{place}]")
            if below:
                return below
        return "" if len(left) == len(right) else f"{path}[{min(len(left), len(right))}]"
    return "" if type(left) is type(right) and left == right else path or "the whole record"


def _difference(number: int, given: int, kept: StoredRecord | None, body: bytes | None) -> Difference:
    if kept is None or body is None:
        field = "the whole record"
    elif kept.input != given:
        field = f"its input: journalled {kept.input}, replayed {given}"
    else:
        field = first_difference(kept.body, body) or "the encoding"
    return Difference(
        record=number,
        field=field,
        journalled=None if kept is None else msgspec.Raw(kept.body),
        replayed=None if body is None else msgspec.Raw(body),
    )
