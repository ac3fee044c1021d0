"""Options that several commands share, as one record: what ``--help`` lists one by one, a command takes as one argument.

::

    @dataclass(frozen=True, kw_only=True)
    class FileOptions:
        data: DataOption = None
        label: LabelOption = None

    @app.command("run")
    @grouped
    def run_command(source: FileOptions, as_json: JsonFlag = False) -> None: ...
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` as typer shall see it: each parameter whose type is a dataclass is replaced by one option a field of it.

    The options stand where the parameter stood, in the order of the fields, with their defaults.
    """
    hints = typing.get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in groups:
            parameters += _options_of(groups[name])
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))

    def spread(**given: Any) -> None:
        records = {
            name: kind(**{field.name: given.pop(field.name) for field in dataclasses.fields(kind)})
            for name, kind in groups.items()
        }
        command(**given, **records)

    # Not ``functools.wraps``: typer must not look behind this function.
    spread.__name__, spread.__qualname__ = command.__name__, command.__qualname__
    spread.__module__, spread.__doc__ = command.__module__, command.__doc__
    spread.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
    spread.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect reads it
    return spread


def _options_of(kind: Any) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(kind)
    ]
