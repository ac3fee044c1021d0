"""The command ``grandmodel``: noun, then verb. Exit code 0 done, 1 failed, 2 misused (a file that is not there is misuse).

Each noun is a typer application in a module of its own; this module only joins them and turns the package's errors, and those
of the disk, into messages. Heavy imports happen inside the commands, so that ``--help`` answers at once.

The current folder may be a stranger's: nothing is imported from it (``runtime.agents`` has the one exception, for who asks). An address
(``s3://...``) where a path of this machine is meant is refused for every command, whichever declares it.
"""

from __future__ import annotations

import functools
import importlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text

from grandmodel import __version__
from grandmodel.cli.compiling import compile_command
from grandmodel.cli.doctor import bench_command, doctor_command
from grandmodel.cli.explain import explain_command
from grandmodel.cli.output import JsonFlag, console, print_json
from grandmodel.cli.run import run_command
from grandmodel.domain.errors import GrandModelError, UsageError
from grandmodel.domain.paths import local_path

app = typer.Typer(
    name="grandmodel",
    help="A risk-first, multi-agent reinforcement-learning trading system on one deterministic engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """What may be said before the noun; the application's own help stands above."""


@app.command("version")
def version_command(as_json: JsonFlag = False) -> None:
    """Print the version of the installed package."""
    if as_json:
        print_json({"version": __version__})
    else:
        typer.echo(__version__)


@functools.cache
def whole_app() -> typer.Typer:
    """The application with every noun and verb."""
    app.command("run")(run_command)
    app.command("explain")(explain_command)
    app.command("compile")(compile_command)
    app.command("doctor")(doctor_command)
    app.command("bench")(bench_command)
    _add_nouns()
    return app


def main() -> None:
    """The entry point: run one command, and end with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name of a file may hold bytes that are no text
    try:
        whole_app()(standalone_mode=True)
    except UsageError as error:
        _end("error", str(error), 2)
    except GrandModelError as error:
        _end("failed", str(error), 1)
    except FileNotFoundError as error:
        _end("error", _disk_text(error), 2)
    except OSError as error:
        _end("failed", _disk_text(error), 1)


def refuse_addresses(commands: typer.Typer) -> None:
    """Wrap every command, those of its nouns too, so that no path that it is given is an address."""
    for command in commands.registered_commands:
        if command.callback is not None and not hasattr(command.callback, "__wrapped__"):
            command.callback = _local_only(command.callback)
    for noun in commands.registered_groups:
        if noun.typer_instance is not None:
            refuse_addresses(noun.typer_instance)


def _local_only(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def checked(**given: Any) -> Any:
        for name, value in given.items():
            for one in value if isinstance(value, list | tuple) else (value,):
                if isinstance(one, Path):
                    local_path(one, name.replace("_", "-"))
        return command(**given)

    return checked


def _end(word: str, message: str, code: int) -> NoReturn:
    """Say what went wrong, to the letter (no markup, no emoji codes), and end the process."""
    console.print(Text.assemble((word, "bold red"), ": ", message), soft_wrap=True)
    sys.exit(code)


def _disk_text(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' to '.join(named)}: {what}" if named else what


def _add_nouns() -> None:
    for noun, module in _NOUNS.items():
        app.add_typer(importlib.import_module(module).app, name=noun)
    refuse_addresses(app)


_NOUNS: dict[str, str] = {
    "audit": "grandmodel.cli.audit",
    "backtest": "grandmodel.cli.run",
    "data": "grandmodel.cli.data",
    "risk": "grandmodel.cli.risk",
    "settings": "grandmodel.cli.settings",
    "features": "grandmodel.cli.features",
    "market": "grandmodel.cli.market",
    "venue": "grandmodel.cli.venue",
    "model": "grandmodel.cli.model",
}
"""Noun to module; each module holds a typer application called ``app`` and imports nothing heavy at its top."""


if __name__ == "__main__":
    main()
