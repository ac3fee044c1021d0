"""Errors of the data room.

::

    GrandModelError
    ├── UsageError
    │   └── CalendarError   a calendar that does not exist, or that does not reach the asked span
    └── OperatingError
        ├── ReadError       a file cannot be read: damaged, empty, of no known layout
        │   └── AmbiguousError  a file can be read in more than one way; the message names the flag that settles it
        └── StoreError      the store on disk is damaged, busy or out of space; it is left as it was
"""

from __future__ import annotations

from grandmodel.domain.errors import OperatingError, UsageError


class CalendarError(UsageError):
    """A calendar that is unknown, or a span that it does not cover."""


class ReadError(OperatingError):
    """A file that cannot be read as market data; the message names the file, the row and what would help."""


class AmbiguousError(ReadError):
    """A file that can be read in more than one way; the message names the rows and the flag that settles it."""


class StoreError(OperatingError):
    """The store could not be read or written; an import that fails leaves it as it was."""
