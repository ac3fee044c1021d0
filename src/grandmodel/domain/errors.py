"""The base of every error this package raises on purpose.

::

    GrandModelError
    ├── UsageError            the caller asked for something that cannot be (exit code 2 on the command line)
    ├── OperatingError        the outside world failed: a file, a disk, a link
    │   ├── RecoverableError  trying again, or going on without it, is possible
    │   └── FatalError        the run cannot go on; starting again is the recovery path
    └── InvariantError        this program is wrong: money does not balance, a chain is broken; the process stops

Rooms derive their own errors from these in an ``errors.py`` of their own. An expected outcome (a denied order, no data
yet) is a value or an event, never an exception.
"""


class GrandModelError(Exception):
    """The base of every error raised on purpose."""


class UsageError(GrandModelError):
    """What was asked for cannot be done as asked; the message says what to change."""


class OperatingError(GrandModelError):
    """A fault outside the program: a file, a disk, a connection."""


class RecoverableError(OperatingError):
    """An operating fault after which the work can be tried again."""


class FatalError(OperatingError):
    """An operating fault after which this run cannot go on."""


class InvariantError(GrandModelError):
    """Something that must always hold does not; the process must stop."""
