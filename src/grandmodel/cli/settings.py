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
    as_json: JsonFlag = True,
) -> None:
    """Print the resolved settings as JSON (with --json or without), as they would stand in a run's journal."""
    del as_json  # taken so that a program may say --json to every command
    from grandmodel.runtime.settings import load_settings

    print_json(load_settings(settings, overrides or ()))


@app.command("reference")
def reference_command() -> None:
    """Print every setting with its kind, default and meaning, as Markdown (docs/reference/settings.md)."""
    from grandmodel.runtime.settings_reference import reference_page

    typer.echo(reference_page(), nl=False)
