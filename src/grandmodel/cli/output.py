"""How every command speaks: reports to stdout (a table for people, ``--json`` for programs), everything else to stderr."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")]

console = Console(stderr=True, highlight=False, emoji=False)
"""Progress and notes for people; never part of a report."""

stdout = Console(highlight=False, emoji=False)
"""Reports for people."""


def print_json(report: Any) -> None:
    """Write ``report`` (structs, dataclasses, plain values) as one JSON document to stdout."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=2) + b"\n")
    sys.stdout.flush()
