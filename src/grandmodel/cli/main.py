"""The command ``grandmodel``: noun, then verb. Exit code 0 done, 1 failed, 2 misused.

Each noun is a typer application in a module of its own; this module only joins them and turns the package's errors into
messages. Heavy imports happen inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import importlib
import sys

import typer
from rich.markup import escape

from grandmodel import __version__
from grandmodel.cli.doctor import bench_command, doctor_command
from grandmodel.cli.output import console
from grandmodel.cli.run import run_command
from grandmodel.domain.errors import GrandModelError, UsageError

app = typer.Typer(
    name="grandmodel",
    help="A risk-first, multi-agent reinforcement-learning trading system on one deterministic engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
def version() -> None:
    """Print the version of the installed package."""
    typer.echo(__version__)


def main() -> None:
    """The entry point: run one command, and end with its exit code."""
    app.command("run")(run_command)
    app.command("doctor")(doctor_command)
    app.command("bench")(bench_command)
    _add_nouns()
    try:
        app(standalone_mode=True)
    except UsageError as error:
        console.print(f"[bold red]error[/]: {escape(str(error))}", soft_wrap=True, markup=True)
        sys.exit(2)
    except GrandModelError as error:
        console.print(f"[bold red]failed[/]: {escape(str(error))}", soft_wrap=True, markup=True)
        sys.exit(1)


def _add_nouns() -> None:
    for noun, module in _NOUNS.items():
        app.add_typer(importlib.import_module(module).app, name=noun)


_NOUNS: dict[str, str] = {
    "audit": "grandmodel.cli.audit",
    "backtest": "grandmodel.cli.run",
    "data": "grandmodel.cli.data",
    "risk": "grandmodel.cli.risk",
    "settings": "grandmodel.cli.settings",
    "features": "grandmodel.cli.features",
    "market": "grandmodel.cli.market",
}
"""Noun to module; each module holds a typer application called ``app`` and imports nothing heavy at its top."""


if __name__ == "__main__":
    main()
