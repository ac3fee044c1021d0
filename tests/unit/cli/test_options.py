"""One record of options is, on the command line, one option a field."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.testing import CliRunner

from grandmodel.cli.options import grouped


@dataclass(frozen=True, kw_only=True)
class Where:
    folder: Annotated[Path, typer.Option("--folder", help="A folder.")] = Path("here")
    names: Annotated[list[str] | None, typer.Option("--name")] = None


def built():
    app, seen = typer.Typer(), []

    @app.command()
    @grouped
    def show(count: Annotated[int, typer.Argument()], where: Where, *, loud: bool = False) -> None:
        """Show it."""
        seen.append((count, where, loud))

    return app, seen


def test_fields_are_options_with_their_names_types_and_defaults():
    app, seen = built()
    assert CliRunner().invoke(app, ["3"]).exit_code == 0
    assert CliRunner().invoke(app, ["4", "--folder", "there", "--name", "a", "--name", "b", "--loud"]).exit_code == 0
    assert seen == [(3, Where(), False), (4, Where(folder=Path("there"), names=["a", "b"]), True)]


def test_the_help_lists_them_one_by_one():
    app, _ = built()
    said = CliRunner().invoke(app, ["--help"]).stdout
    assert "Show it." in said
    assert "--folder" in said
    assert "A folder." in said
    assert "--where" not in said
