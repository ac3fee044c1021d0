"""What an import says about a file: its series, what was found in them and what was done about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from grandmodel.data.historical.reading import Finding
from grandmodel.data.historical.rolls import Roll
from grandmodel.data.historical.series import SessionCount


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """What became of one series of a file."""

    symbol: str
    schema: str
    rows_read: int
    rows_kept: int
    first_ns: int
    last_ns: int
    """``ts_event`` of the first and last row kept."""
    bar_width: str
    time_zone: str
    label: str
    evidence: tuple[str, ...]
    findings: tuple[Finding, ...]
    sessions: tuple[SessionCount, ...]
    rolls: tuple[Roll, ...]

    def count(self, kind: str) -> int:
        """How often the finding ``kind`` was met."""
        return sum(finding.count for finding in self.findings if finding.kind == kind)


@dataclass(frozen=True, slots=True)
class RefusedSeries:
    """A series of a file that cannot be read, where others can."""

    symbol: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was found in a file and what was done about it."""

    file: str
    """Its path; a byte of it that is no UTF-8 is written ``\\xNN``."""
    sha256: str
    bytes: int
    instrument: str
    series: tuple[SeriesReport, ...]
    rows_added: int = 0
    rows_known: int = 0
    files_changed: int = 0
    imported: tuple[str, ...] = field(default_factory=tuple)
    """Symbols put into the store."""
    refused: tuple[RefusedSeries, ...] = field(default_factory=tuple)
    mapped: dict[str, str] = field(default_factory=dict)
    """Symbols of the file that a person said stand for the instrument: symbol to instrument."""
    is_known: bool = False
    """True: this content was imported before with these settings, and its rows are in the store; it was not read again."""

    @property
    def source(self) -> str:
        """The name under which the store keeps the rows: the file's, and the start of its hash."""
        return f"{Path(self.file).name}#{self.sha256[:16]}"

    def count(self, kind: str) -> int:
        """How often the finding ``kind`` was met in all series."""
        return sum(series.count(kind) for series in self.series)
