"""Errors of the file readers.

::

    GrandModelError
    ├── OperatingError
    │   └── CorruptFileError     the bytes are not what their format promises: cut off, garbage, an unknown version
    └── UsageError
        └── UnsettledFileError   the file is sound, but a person must settle something first; the message names the option
"""

from grandmodel.domain.errors import OperatingError, UsageError


class CorruptFileError(OperatingError):
    """The file breaks the rules of its own format; the message says where and what was expected."""


class UnsettledFileError(UsageError):
    """The file can be read in more than one way, or not as asked; the message names the option that settles it."""
