"""What a reader of one file hands on: rows as blocks, and findings about what was wrong with them.

A reader turns one file's own layout into blocks of ours and says what it saw. It does not sort, drop or repair market
data: that is the quality stage's work, which is the same for every source. Read next: ``quality.py``, ``importing.py``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grandmodel.data.errors import ReadError
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.symbols import check_symbols
from grandmodel.domain.blocks import Block, Schema
from grandmodel.domain.instruments import Instrument


class Treatment(enum.StrEnum):
    """What was done about a finding."""

    NOTED = "noted"
    """Nothing is wrong; a person should know it (a negative price of an energy contract, a holiday session)."""
    REPAIRED = "repaired"
    """Changed without doubt (exact duplicates dropped, float noise rounded to the tick, rows sorted)."""
    MARKED = "marked"
    """Kept and flagged (a roll, a bad stretch, a crossed quote)."""
    DROPPED = "dropped"
    """Rows that cannot be market data, left out and counted (a NaN price, high below low)."""
    REFUSED = "refused"
    """The file is not imported."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of dirt in one file: how often, where first, and what was done."""

    kind: str
    """A constant snake_case name: ``duplicate_rows``, ``crossed_quotes``, ``roll_jumps``."""
    treatment: Treatment
    count: int
    text: str
    """A sentence for people: what was found, what is done about it, and which option changes that."""
    lines: tuple[int, ...] = ()
    """First few line (or row) numbers in the file, from 1."""


@dataclass(slots=True)
class Reading:
    """The rows of one file, per symbol as the file names it.

    ``blocks`` are writable and in file order; their ``instrument`` field is 0. ``lines`` gives, for each block row, the
    line of the file it came from (for messages), or is absent where the format has no lines.
    """

    schema: Schema
    blocks: dict[str, Block]
    findings: list[Finding] = field(default_factory=list)
    rows_read: int = 0
    names_symbols: bool = False
    """Whether the names in ``blocks`` are the file's own; without, they are the instrument's."""
    refused: dict[str, ReadError] = field(default_factory=dict)
    """Series of the file that cannot be read, where others can."""

    def check_symbols(self, path: Path, rows: Mapping[str, int], instrument: Instrument, options: TickOptions) -> None:
        """Refuse symbols (``rows``: how many rows of each) of another instrument, before their rows are converted."""
        if options.checks_symbols:
            stated = check_symbols(path, rows, instrument, options.mapped, options.symbols)
            self.findings.extend(Finding("mapped_symbols", Treatment.NOTED, 1, text) for text in stated)

    def refuse(self, symbol: str, error: ReadError, symbols: int) -> None:
        """Keep the reason why ``symbol`` cannot be read; raises it where the file has no other of its ``symbols``."""
        if symbols == 1:
            raise error
        self.refused[symbol] = error
