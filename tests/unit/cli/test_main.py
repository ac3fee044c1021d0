"""The command's own words: versions, and how errors of a command become messages and exit codes."""

import errno
import json
import subprocess
import sys
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

import grandmodel
from grandmodel.cli import main as command
from grandmodel.cli import output
from grandmodel.domain.errors import OperatingError, UsageError
from grandmodel.runtime.errors import AgentChoiceError, AgentError


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["grandmodel", *arguments])
    try:
        command.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize("arguments", [("--version",), ("version",)])
def test_the_version_is_printed(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments) == 0
    assert capfd.readouterr().out.strip() == grandmodel.__version__


def test_the_version_is_json_where_asked(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "version", "--json") == 0
    assert json.loads(capfd.readouterr().out) == {"version": grandmodel.__version__}


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "grandmodel", "--version"], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == grandmodel.__version__


def test_settings_are_json_with_the_flag_and_without(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "settings", "show") == 0
    plain = capfd.readouterr().out
    assert call(monkeypatch, "settings", "show", "--json") == 0
    assert capfd.readouterr().out == plain
    assert "risk" in json.loads(plain)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("found agent nope:X, :smile: and [bold]x[/] of [1, 2]"), 2, "error: found agent nope:X, :smile: and [bold]x[/] of [1, 2]"),
        (OperatingError("the disk :X: is gone"), 1, "failed: the disk :X: is gone"),
        (AgentError("agent mine failed at ...: SystemExit(0)"), 1, "failed: agent mine failed"),
        (AgentChoiceError("agent nope: it cannot be imported"), 2, "error: agent nope"),
        (PermissionError(errno.EACCES, "Permission denied", "no/such"), 1, "failed: no/such: Permission denied"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), 1, "failed: a/b: Not a directory"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.csv"), 2, "error: a.csv: No such file"),
        (OSError("odd"), 1, "failed: odd"),
    ],
)  # fmt: skip
def test_an_error_is_printed_to_the_letter_with_its_exit_code(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(command, "whole_app", lambda: fail)
    assert call(monkeypatch) == code
    assert capfd.readouterr().err.startswith(said)


def test_text_of_others_is_printed_to_the_letter(capfd: pytest.CaptureFixture[str]) -> None:
    """Names, reasons and files hold brackets; they are no colours, and what closes none is no error."""
    table = Table("[/head]", title="[/title]")
    table.add_row("[green]intact[/]")
    for printer in (output.stdout, output.console):
        printer.print("[/x] and [red]", "[/y]")
        printer.print(table)
    for said in capfd.readouterr():
        for text in ("[/x] and [red] [/y]", "[/title]", "[/head]", "[green]intact[/]"):
            assert text in said


def test_a_control_character_of_others_is_shown_and_never_sent(capfd: pytest.CaptureFixture[str]) -> None:
    """A run's name or a reason may hold escape codes, which would clear a screen or move a cursor."""
    hostile = "a\x1b[2Jb\x07\x9bc\rd\ne\tf"
    table = Table("head")
    table.add_row(Text(hostile))
    for printer in (output.stdout, output.console):
        printer.print(hostile)
        printer.print(table)
    output.say(hostile)
    for said in capfd.readouterr():
        assert not set(said) & {"\x1b", "\x07", "\x9b", "\r"}
        assert "a\\x1b[2Jb" in said
