"""Which files a store knows already: the report of each import, kept in the store under what made it.

An import is a function of the file's content and name, the instrument, the settings and this program. The same again would write the
same bytes, so it is not done: the kept report is given back, as long as the store still has the files that held the rows. Where
the clock had a say (rows of the future were left out) nothing is kept.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from grandmodel.data.historical.profile import ImportProfile
from grandmodel.data.historical.readers.options import TickOptions
from grandmodel.data.historical.reports import ImportReport
from grandmodel.data.historical.store import Store
from grandmodel.domain.blocks import Schema
from grandmodel.domain.files import path_text
from grandmodel.domain.instruments import Instrument

_FOLDER = "imports"
_ROOM = Path(__file__).resolve().parents[1]


class _KeptImport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One import, and the files of the store that held its rows: path under the root to SHA-256."""

    report: ImportReport
    files: dict[str, str]


def import_key(
    path: Path,
    sha256: str,
    instrument: Instrument,
    profile: ImportProfile | None,
    options: TickOptions,
    symbol: str,
) -> str:
    """What an import is a function of, as one hash in hex."""
    settings: dict[str, Any] = {
        "name": path_text(Path(path.name)),
        "sha256": sha256,
        "instrument": instrument,
        "profile": profile,
        "options": _plain(asdict(options)),
        "symbol": symbol,
        "rules": _rules(),
    }
    return hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()


def known_import(store: Store, key: str, path: Path) -> ImportReport | None:
    """The report of the import ``key`` if the store has its rows, about the file where it lies now, ``path``."""
    try:
        kept = msgspec.json.decode((store.root / _FOLDER / f"{key}.json").read_bytes(), type=_KeptImport)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None  # never imported, or kept by another version
    if not store.has(kept.files):
        return None
    kept_rows = sum(series.rows_kept for series in kept.report.series if series.symbol in kept.report.imported)
    return replace(
        kept.report, file=path_text(path), rows_added=0, rows_known=kept_rows, files_changed=0, is_known=True
    )


def keep_import(store: Store, key: str, report: ImportReport, instrument: Instrument, schema: Schema) -> None:
    """Keep ``report`` of an import that is done. Where the disk refuses, the next import of the file reads it again."""
    if report.count("stamps_in_the_future"):
        return
    (series,) = (series for series in report.series if series.symbol in report.imported)
    files = store.files_of(instrument, schema, series.first_ns, series.last_ns)
    kept = _KeptImport(report=report, files={file.path: file.sha256 for file in files})
    target = store.root / _FOLDER / f"{key}.json"
    try:
        target.parent.mkdir(exist_ok=True)
        waiting = target.with_suffix(".part")
        waiting.write_bytes(msgspec.json.encode(kept))
        waiting.replace(target)
    except OSError:
        return


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    return value


@cache
def _rules() -> str:
    """A hash of everything in this room, and of the calendars: other rules may come to another result."""
    digest = hashlib.sha256(importlib.metadata.version("exchange-calendars").encode())
    for path in sorted(path for ending in ("*.py", "*.toml") for path in _ROOM.rglob(ending)):
        digest.update(path.relative_to(_ROOM).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
