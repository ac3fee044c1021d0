"""Every command of the application, for tests that hold of all of them: what is added tomorrow is in it too."""

from grandmodel.cli.main import whole_app


def commands(noun=None, path=()):
    """(words, function) of each command."""
    noun = noun or whole_app()
    for one in noun.registered_commands:
        yield (*path, one.name or one.callback.__name__.removesuffix("_command").replace("_", "-")), one.callback
    for group in noun.registered_groups:
        yield from commands(group.typer_instance, (*path, group.name))
