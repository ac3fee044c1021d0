"""How every command speaks: reports to stdout (a table for people, ``--json`` for programs), everything else to stderr."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from grandmodel.domain.errors import OperatingError, UsageError
from grandmodel.domain.files import path_text
from grandmodel.domain.paths import local_path
from grandmodel.domain.time import text_from_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from grandmodel.runtime.agents import OwnAgents

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or its name under runs/.")]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-agents",
        help="Import and run the agents of one's own (module:Class) that the run was decided by: they are code of whoever made it.",
    ),
]
AgentsFromOption = Annotated[
    Path | None,
    typer.Option(
        "--agents-from", help="With --trust-agents: the folder where their modules lie; default: the current folder."
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class LiteralConsole(Console):
    """Prints text to the letter: no markup, and a control character of somebody's text is shown, never sent to the terminal."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, emoji=False, markup=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does, with an escape and the like spelled out; what rich itself sends to the terminal stays."""
        for segment in super().render(renderable, options):
            if segment.control is None and _CONTROL.search(segment.text):
                text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", segment.text)
                yield Segment(text, segment.style)
            else:
                yield segment


console = LiteralConsole(stderr=True)
"""Progress and notes for people; never part of a report."""

stdout = LiteralConsole()
"""Reports for people. Both print to the letter, tables too: much of the text is of files and runs of others. Colour is ``rich.text.Text``."""


def print_json(report: Any) -> None:
    """Write ``report`` (structs, dataclasses, plain values) as one JSON document to stdout."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=2) + b"\n")
    sys.stdout.flush()


def run_folder(run: str) -> Path:
    """The folder that a command's RUN names. Raises ``UsageError`` where there is none."""
    named = local_path(run, "RUN")
    places = [named] if named.is_absolute() or len(named.parts) > 1 else [named, Path("runs") / run]
    for folder in places:
        if folder.is_dir():
            return folder
    looked = " and no ".join(str(place) for place in places)
    raise UsageError(f"found no folder {looked}, expected the folder of a run")


def trusted_agents(*, trust: bool, folder: Path | None) -> OwnAgents:
    """Which agents a run that was made before may bring with it: its own only where the user trusts them."""
    from grandmodel.runtime.agents import BUILT_IN_ONLY, OwnAgents

    if folder is not None and not trust:
        raise UsageError(
            "found --agents-from without --trust-agents, expected both: it is what imports code of the run"
        )
    return OwnAgents(kinds=None, folder=agents_folder(folder)) if trust else BUILT_IN_ONLY


def agents_folder(named: Path | None) -> Path:
    """The folder where agents of one's own are looked for. Raises ``UsageError`` where it is none."""
    folder = named or Path.cwd()
    if not folder.is_dir():
        raise UsageError(f"found no folder {folder}, expected the one where the agents' modules lie")
    return folder


def write_page(target: Path, html: str) -> None:
    """Write a page; raises ``OperatingError`` where it cannot be written."""
    try:
        target.write_text(html, encoding="utf-8")
    except OSError as error:
        raise OperatingError(f"{path_text(target)}: the page cannot be written ({error.strerror})") from error


def time_text(ts_ns: int) -> str:
    """A time without the zeros behind its last digit."""
    return text_from_ns(ts_ns).rstrip("Z").rstrip("0").rstrip(".") + "Z"


def say(text: str) -> None:
    """A line to stdout, to the letter."""
    stdout.print(text, soft_wrap=True)


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], right: set[str]) -> None:
    """A table of plain text, as wide as it must be: a figure that is cut off or folded is none."""
    from rich.box import SIMPLE_HEAD
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    if title:
        say(title)
    wide = Measurement.get(stdout, stdout.options.update(width=10_000), table).maximum
    LiteralConsole(width=wide).print(table)
