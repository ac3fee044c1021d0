"""Errors of the model room.

GrandModelError
└── UsageError
    └── ModelError            a model, or a part of one, cannot be used as asked
        ├── ModelFileError    a model file is damaged or incomplete
        ├── ModelMismatchError a model was made for other features, sizes or code than it is to be used with
        └── RegistryError     the registry has no such model, or may not move it so
"""

from grandmodel.domain.errors import UsageError


class ModelError(UsageError):
    """A model, or a part of one, cannot be used as asked; the message says what was found and what was expected."""


class ModelFileError(ModelError):
    """A model file cannot be read, is damaged or incomplete."""


class ModelMismatchError(ModelError):
    """A model was made for other features, sizes or code than it is to be used with."""


class RegistryError(ModelError):
    """The registry has no such model, or may not move it so."""
