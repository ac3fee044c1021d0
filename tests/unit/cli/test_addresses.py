"""An address where a path of this machine is meant is refused by every command, and nothing is made in its place."""

import inspect
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer

from command_tree import commands
from grandmodel.cli import main as command
from grandmodel.data.historical.store import Store
from grandmodel.domain.errors import UsageError
from grandmodel.domain.paths import local_path
from grandmodel.journal.writer import Journal
from grandmodel.models.storage import ObjectStorage, open_storage

ADDRESS = "s3://bucket/x"


def parameters(callback):
    """(parameter, its typer declaration) of a command."""
    for parameter in inspect.signature(callback, eval_str=True).parameters.values():
        declared = [one for one in get_args(parameter.annotation) if isinstance(one, typer.models.ParameterInfo)]
        yield parameter, (declared[0] if declared else None)


def is_path(annotation):
    return annotation is Path or any(is_path(part) for part in get_args(annotation))


def flag(parameter, info):
    """The option's long name, as it was declared or as typer makes it of the parameter's."""
    declared = (
        (info.default, *(info.param_decls or ())) if info else ()
    )  # In Annotated the first stands where a default would.
    names = [name for name in declared if isinstance(name, str) and name.startswith("--")]
    return names[0].split("/")[0] if names else f"--{parameter.name.replace('_', '-')}"


def written(words, callback, parameter):
    """The command line that gives this parameter an address, and every other required one something harmless."""
    line = [*words]
    for other, info in parameters(callback):
        value = ADDRESS if other.name == parameter.name else "1"
        if value == ADDRESS or other.default is inspect.Parameter.empty:
            line += [value] if isinstance(info, typer.models.ArgumentInfo) else [flag(other, info), value]
    return line


def cases():
    seen = set()
    for words, callback in commands():
        for parameter, _ in parameters(callback):
            if is_path(parameter.annotation) and (words, parameter.name) not in seen:
                seen.add((words, parameter.name))
                yield pytest.param(written(words, callback, parameter), id=f"{' '.join(words)} {parameter.name}")


def refuse(line, folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "argv", ["grandmodel", *line])
    with pytest.raises(SystemExit) as ended:
        command.main()
    err = capfd.readouterr().err
    assert ended.value.code == 2, err
    assert f"found the address {ADDRESS}" in err, err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("line", list(cases()))
def test_every_path_of_every_command_refuses_an_address(line, tmp_path, monkeypatch, capfd):
    refuse(line, tmp_path, monkeypatch, capfd)


@pytest.mark.parametrize(
    "line",
    [
        ["audit", "verify", ADDRESS],
        ["audit", "replay", ADDRESS],
        ["audit", "show", ADDRESS],
        ["audit", "prove", ADDRESS, "1"],
        ["explain", ADDRESS],
        ["risk", "report", ADDRESS],
        ["backtest", "report", ADDRESS],
        ["run", "--data", f"NQ={ADDRESS}"],
        ["backtest", "run", "--data", f"NQ={ADDRESS}"],
        ["run", "--data", "NQ=x.csv", "--profile", ADDRESS],
    ],
    ids=" ".join,
)
def test_paths_that_are_given_as_words_refuse_an_address_too(line, tmp_path, monkeypatch, capfd):
    refuse(line, tmp_path, monkeypatch, capfd)


@pytest.mark.parametrize("name", ["GRANDMODEL_SIGNING_KEY", "XDG_CONFIG_HOME"])
def test_the_environment_names_no_address_either(name, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv(name, ADDRESS)
    line = ["run", "--day", "2024-07-10", "--row-scale", "0.001", "--agent", "random"]
    refuse(line, tmp_path, monkeypatch, capfd)


@pytest.mark.parametrize("given", ["s3://b/x", "gs://b", "file:///tmp/x", "https://x.org/a", Path("s3://b/x")])
def test_an_address_is_no_path(given):
    with pytest.raises(UsageError, match=r"what: found the address \w+://"):
        local_path(given, "what")


@pytest.mark.parametrize("given", ["a", "a/b", "/a:b/c", "C:/a", "a:b", "./s3:/b", ".", "~/x"])
def test_a_path_is_one(given):
    assert local_path(given, "what") == Path(given)


def test_a_store_and_a_journal_are_made_at_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for make in (Store, Journal.create):
        with pytest.raises(UsageError, match="found the address s3://b/x"):
            make(Path("s3://b/x"))
    assert list(tmp_path.iterdir()) == []


def test_the_registry_of_models_still_takes_one():
    assert isinstance(open_storage("memory://models"), ObjectStorage)
