"""``grandmodel settings``: every setting with its default and meaning, and the resolved tree of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grandmodel.cli.output import JsonFlag, print_json

app = typer.Typer(help="Settings: what there is, and what a file resolves to.", no_args_is_help=True)


@app.command("show")
def show_command(
    settings: Annotated[Path | None, typer.Option("--settings", help="Settings file, TOML or JSON.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Override one setting (repeatable).")] = None,
    backtest: Annotated[
        bool, typer.Option("--backtest", help="What `backtest run` would use; without it, what `run` would.")
    ] = False,
    as_json: JsonFlag = True,
) -> None:
    """Print the settings that `run` (or `backtest run`) would use, as JSON (with --json or without): account, agents and all.

    What follows from the data alone (its seed, its bar widths, when trading begins) is only in the run's own journal.
    """
    del as_json  # taken so that a program may say --json to every command
    from grandmodel.cli.run import settings_of
    from grandmodel.runtime.settings import Mode

    print_json(settings_of(Mode.BACKTEST if backtest else Mode.PAPER, settings, overrides))


@app.command("reference")
def reference_command(as_json: JsonFlag = False) -> None:
    """Print every setting with its default and meaning, as Markdown (docs/reference/settings.md)."""
    from grandmodel.runtime.settings_reference import reference_page, reference_rows

    if as_json:
        print_json(reference_rows())
    else:
        typer.echo(reference_page(), nl=False)
