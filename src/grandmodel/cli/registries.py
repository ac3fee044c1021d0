"""Which registry of models a command works on, and who does it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grandmodel.domain.errors import UsageError

if TYPE_CHECKING:
    from grandmodel.models.registry import Registry

RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        help="Folder or address (s3://...); default: $GRANDMODEL_MODELS, else models/ here or in the checkout.",
    ),
]


def open_registry(given: str | None) -> Registry:
    """The registry that the option, the environment or the working folder names."""
    import os

    from grandmodel.models.registry import Registry, choose_location

    return Registry(choose_location(given, os.environ, Path.cwd()))


def user_name() -> str:
    """Who goes on the record where no option says."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise UsageError("found no name of the user in the environment, expected one: give --who") from error
